# Reads what the fuzzers say, adds up their executions, and fails where one of them has failed. What
# `make fuzz` starts has the name of its target before each line.

{ print; fflush() }
$2 == "in" { begun++ }                          # a target of the go command
$2 == "fuzz:" && $5 == "execs:" { most[$1] = $6 }
$2 == "ok" { passed++ }
$4 == "executions" { sum += $3; took += $6 }    # a target in the tests' process
/^(FAIL|panic:)/ { failed = 1 }

END {
	for (target in most)
		sum += most[target]
	printf "%d executions", sum
	if (took)
		printf " in %.0f s", took
	print ""
	exit failed || begun != passed || !sum
}
