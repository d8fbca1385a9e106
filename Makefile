# What can be done here; `make help` lists it.

GO ?= go
# The race detector needs a C compiler; without one the tests run without it.
RACE ?= $(if $(shell command -v $$($(GO) env CC) 2>/dev/null),-race)
# Tools are pinned here, outside go.mod: nothing that uses the module needs them.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.1.4
UNREACHABLE = dial tcp|no such host|i/o timeout|connection refused|GOPROXY|unexpected status code|403 Forbidden|TLS handshake timeout|fetching vulnerabilities|proxyconnect
# How many cases each property is tried with by `make property`.
CHECKS ?= 10000
# How long each fuzz target runs by `make fuzz`, and which do. Those of which the name ends in
# Property draw from a property, which the tests try as well.
FUZZTIME ?= 1m
FUZZ ?= .
# How many executions all targets of bytes get by `make fuzz-long`, in the process of the tests.
EXECS ?= 100000000
# The tests that have a long form.
SOAK = NoSelfDeadlock|Lossless|Bounded|Stalled|Isolated|BothPush|Stopped|HundredEnd|ExitLoses|Scale|Cycles|CutsUnderLoad|EveryByte|FaultEvery|GapIsTold|Killed|CrashedStarts|BusProcess|Hosts|Mob|WrongCredentials|SpeaksForAnother|OutOfDescriptors|PropertyPermissions|BadInputs|BadFrames
# The packages whose tests know rapid's flags.
RAPID = $(sort $(dir $(shell grep -rl --include='*_test.go' pgregory.net/rapid .)))

.PHONY: help fmt lint vulncheck test race property fuzz fuzz-long soak bench bench-smoke cover examples ci

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | awk -F: '{printf "%-12s%s\n", $$1, $$2}'

fmt: ## fail if a file is not formatted
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

lint: fmt vulncheck ## fmt, vet on three systems, staticcheck, and govulncheck
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd bench && $(GO) vet ./... && GOOS=windows $(GO) vet ./... && GOOS=darwin $(GO) vet ./... && \
		$(GO) run $(STATICCHECK) ./...

test: ## run all tests, in random order, with the race detector if there is a C compiler
	$(GO) test $(RACE) -shuffle=on -timeout 30m ./...

race: RACE = -race
race: test ## the same, and fail if there is none

# The database is on another machine. Where that cannot be reached, nothing is known and nothing
# fails, but that it was so is said.
vulncheck: ## look up known vulnerabilities of what the module uses
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1); code=$$?; echo "$$out"; \
	if [ $$code -ne 0 ] && echo "$$out" | grep -qE "$(UNREACHABLE)"; then \
		echo "govulncheck was SKIPPED: it, or the database of vulnerabilities, cannot be reached from here"; \
	else exit $$code; fi

property: ## try each property with CHECKS random cases
	$(GO) test -run Property -timeout 120m $(RAPID) -rapid.checks=$(CHECKS)

fuzz: ## run each fuzz target that matches FUZZ for FUZZTIME, two at a time
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z]*' . | \
		sed 's|/[^/]*_test.go:func | |' | grep -E ' Fuzz.*($(FUZZ))' | sort -u | \
		xargs -P 2 -L 1 sh -c 'echo "$$1 in $$0 for $(FUZZTIME)"; $(GO) test -run "^$$" \
		-fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -parallel 1 -timeout 24h $$0 2>&1 | sed "s/^/$$1 /"' | \
		awk -f .ci/fuzz.awk

fuzz-long: ## run the fuzz targets of bytes in the tests' process, for EXECS executions in all
	@$(GO) version; grep -m 1 'model name' /proc/cpuinfo; getconf _NPROCESSORS_ONLN
	@LAHJA_EXECS=$(EXECS) $(GO) test -p 1 -count 1 -run FuzzAtLength -timeout 24h -v \
		$(sort $(dir $(shell grep -rl --include='*_test.go' fuzzing.AtLength .))) 2>&1 | \
		awk -f .ci/fuzz.awk

soak: ## the tests under load in their long form, with their figures
	LAHJA_SOAK=1 $(GO) test -run '$(SOAK)' -timeout 120m -v .

cover: ## print how much of each package the tests of all packages execute, and fail if it is little
	@$(GO) test -coverpkg=./... -coverprofile=coverage.out ./... >coverage.log || { cat coverage.log; exit 1; }
	@awk -f .ci/cover.awk coverage.out

examples: ## run the examples for a few seconds each
	$(GO) run ./examples/pingpong -for 6s
	$(GO) run ./examples/request
	$(GO) run ./examples/checksum docs
	$(GO) run ./examples/workers
	$(GO) run ./examples/state
	$(GO) run ./examples/plugin
	$(GO) run ./examples/swap

bench: ## measure beside the peers, for some minutes; writes docs/bench
	cd bench && $(GO) run . -out ../docs/bench

bench-smoke: ## count allocations, see that each benchmark works, in seconds, and what -race leaves out
	$(GO) test -run 'Allocs|Secrets|Mob' -bench . -benchtime 1x . >/dev/null
	cd bench && $(GO) test ./... && out=$$(mktemp -d) && { $(GO) run . -small -out "$$out" && \
		test -s "$$out/table.md" && test -s "$$out/oneway.svg"; code=$$?; rm -r "$$out"; exit $$code; }

# Of the fuzz targets those of bytes, for half a minute each: not those that end in Property.
ci: lint test bench-smoke ## what has to pass before a change lands
	$(MAKE) fuzz FUZZTIME=30s FUZZ='([^t]y|[^y])$$'
