# make run: build and serve with demo workspaces; make check: before a commit; make test: everything, on real servers.

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)
# The packages whose tests take longest come first: they begin while the others are compiled.
PACKAGES ?= ./cmd/gatehouse/... ./adapters/sqlite/... ./adapters/postgres/... ./...
# These run one command or one proof after the other, on CPU time of which the race detector needs three times as much. What a command
# starts beside itself (audits, replays, exports, the server) is tested with it in its own package; "make soak" tests these with it too.
WITHOUT_RACE := ./cmd/gatehouse/author ./cmd/gatehouse/operate ./cmd/gatehouse/program ./adapters/opa/fastpath
# What "make check" lints is what has changed since this commit.
SINCE ?= $(shell git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || echo HEAD)

# No registry that Go, npm or Debian read serves golangci-lint or Regal built. They are built once for each version of theirs
# and of Go, and kept in Go's build cache for every checkout.
TOOLS := $(shell go env GOCACHE)/tools-$(shell go env GOVERSION)
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(shell git hash-object tools/go.sum)
REGAL := $(TOOLS)/regal-$(shell git hash-object tools/regal/go.sum)

.DELETE_ON_ERROR:
.PHONY: build run check unit test race lint lint-go lint-policies soak bench scale gobench allocations help

build: ## the program, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/gatehouse ./cmd/gatehouse

run: build ## serve on 127.0.0.1:8181 with an SQLite file, the embedded policies and demo workspaces
	./bin/gatehouse serve --demo

check: ## before a commit, in less than a minute: build, vet, lint of what changed since main, and the tests that need no server
	go build ./... && go -C bench build ./...
	go vet ./...
	$(MAKE) --no-print-directory $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) run --new-from-rev=$(SINCE) ./...
	$(MAKE) --no-print-directory unit

# A package whose tests start servers or the program imports internal/testenv.
unit: ## the tests of packages that need no server, without the race detector and with fewer random policies
	QUICK_TESTS=1 go test -vet=off $$(go list -f '{{.ImportPath}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}' ./... | \
	  grep -v internal/testenv | cut -d' ' -f1)

# Most tests wait, for servers and for time to pass. The linters are built and run meanwhile.
test: ## everything: lint, and all tests with the race detector, on a real Postgres and a real Redis; and that nothing allocates more
	$(MAKE) --no-print-directory -j2 race lint
	go -C bench run . allocations

# -race needs a C compiler. Postgres and Redis are found, or installed where that is allowed; see
# internal/testenv. Not "go run": it would not hand on the signals that end the servers.
race: ## all tests, with the race detector where goroutines meet; PACKAGES=… for some
	@command -v $${CC:-cc} >/dev/null || { echo "make test needs a C compiler for the race detector: install gcc" >&2; exit 1; }
	go build -o bin/withservices ./internal/testenv/withservices
	all=$$(go list $(PACKAGES)) && calm=$$(go list $(WITHOUT_RACE)) && \
	  with=$$(echo "$$all" | grep -vxF "$$calm" || true) && without=$$(echo "$$all" | grep -xF "$$calm" || true) && \
	  ./bin/withservices -- sh -ec '[ -z "$$1" ] || go test -race -vet=off -timeout 20m $$1; [ -z "$$2" ] || go test -vet=off -timeout 20m $$2' \
	    sh "$$(echo $$with)" "$$(echo $$without)"
	cd bench && ../bin/withservices -- go test -race -vet=off ./...

lint: lint-policies lint-go ## golangci-lint for Go; for policies fmt, check and Regal

# golangci-lint runs gofmt and go vet too; on empty caches, running them once more would cost minutes.
lint-go: $(GOLANGCI_LINT) ## the Go half of lint
	$(GOLANGCI_LINT) run ./...
	cd bench && $(GOLANGCI_LINT) run ./...

lint-policies: $(REGAL) ## the half of lint for policies
	go build -o bin/gatehouse ./cmd/gatehouse
	@echo "gatehouse fmt --list policies policies_test"; ./bin/gatehouse fmt --list policies policies_test || \
	  { echo "not formatted (bin/gatehouse fmt --write policies policies_test)" >&2; exit 1; }
	./bin/gatehouse check --policies policies
	$(REGAL) lint policies policies_test

$(GOLANGCI_LINT):
	go -C tools build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(REGAL):
	go -C tools/regal build -o $@ github.com/open-policy-agent/regal

soak: ## the fault tests at full length: 50 times kill -9, two replicas, 2,000 denies; faults in the fast path, and its fuzzer
	go build -o bin/withservices ./internal/testenv/withservices
	GATEHOUSE_SOAK=1 ./bin/withservices -- go test -race -count 1 -timeout 60m -v -run 'Kill9|Replicas' ./cmd/gatehouse/...
	./bin/withservices -- go test -race -vet=off -count 1 -timeout 60m $(WITHOUT_RACE)
	GATEHOUSE_SOAK=1 go test -count 1 -timeout 60m -v -run 'Mutations' ./adapters/opa/fastpath
	GATEHOUSE_SOAK=1 ./bin/withservices -- go test -race -count 1 -timeout 60m -run 'Conformance' ./adapters/sqlite ./adapters/postgres
	go test -run '^$$' -fuzz FuzzFastPath -fuzztime 1m ./adapters/opa/fastpath

# OPA's program is built from a module of its own, because it needs much that Gatehouse does not; the versions of OPA
# must be the same, or compare refuses.
bench: build ## Gatehouse beside "opa run --server" and beside what a team would write itself, in at most 10 minutes; writes docs/performance.md
	go -C tools/opa build -o ../../bin/opa github.com/open-policy-agent/opa
	go -C bench build -o ../bin/bench .
	timeout --signal=INT 600 ./bin/bench compare --write docs/performance.md

scale: build ## one, two and four replicas on one Postgres behind nginx, in at most 5 minutes; writes docs/scale.md
	go -C bench build -o ../bin/bench .
	timeout --signal=INT 300 ./bin/bench scale --write docs/scale.md

gobench: ## every Go benchmark, in the form that benchstat compares; see docs/performance.md
	go build -o bin/withservices ./internal/testenv/withservices
	./bin/withservices -- go test -run '^$$' -bench . -benchmem $(PACKAGES)
	cd bench && go test -run '^$$' -bench . -benchmem ./allocations

allocations: ## write down what each stage of a review allocates; "make test" fails when it becomes more
	go -C bench run . allocations --write

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/'
