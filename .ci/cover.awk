# Reads a profile of go test -coverprofile, prints how much of each package's statements the tests
# execute, and fails where it is less than has to be. What a test runs in a child process is not
# counted. Use: awk -f .ci/cover.awk coverage.out

BEGIN {
	module = "github.com/lahja-go/lahja"
	floor["all"] = 90
	floor["/internal/codec"] = floor["/internal/session"] = 95
	floor["/internal/router"] = floor["/internal/core"] = 95 # who routes
}

$1 != "mode:" { # file.go:line.column,line.column statements count; a block may come several times
	size[$1] = $2
	hits[$1] += $3
}

END {
	for (block in size) {
		package = substr(block, length(module) + 1)
		sub(/\/[^\/]*$/, "", package)
		all[package] += size[block]
		all["all"] += size[block]
		done[package] += hits[block] > 0 ? size[block] : 0
		done["all"] += hits[block] > 0 ? size[block] : 0
	}
	for (package in all) {
		percent = 100 * done[package] / all[package]
		short = percent < floor[package]
		failed = failed || short
		name = package == "all" ? package : "lahja" package
		printf "%5.1f %%  %5d statements  %s%s\n", percent, all[package], name,
			short ? ": it has to be " floor[package] " %" : "" | "sort -k5"
	}
	close("sort -k5")
	for (package in floor)
		if (!(package in all)) {
			print "no statements of " package
			failed = 1
		}
	exit failed
}
