# make run: build and serve with demo workspaces; make test: everything, on real servers.

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)
PACKAGES ?= ./...

.PHONY: build run test lint soak bench scale gobench allocations help

build: ## the program, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/gatehouse ./cmd/gatehouse

run: build ## serve on 127.0.0.1:8181 with an SQLite file, the embedded policies and demo workspaces
	./bin/gatehouse serve --demo

# -race needs a C compiler. Postgres and Redis are found, or installed where that is allowed; see
# internal/testenv. Not "go run": it would not hand on the signals that end the servers.
test: lint ## everything, with the race detector, on a real Postgres and a real Redis; and that nothing allocates more
	@command -v $${CC:-cc} >/dev/null || { echo "make test needs a C compiler for the race detector: install gcc" >&2; exit 1; }
	go build -o bin/withservices ./internal/testenv/withservices
	./bin/withservices -- go test -race -timeout 20m $(PACKAGES)
	go test ./adapters/opa/fastpath # its proofs, which need no race detector and take minutes with it
	cd bench && ../bin/withservices -- go test -race ./...
	go -C bench run . allocations

# golangci-lint runs gofmt and go vet too; on empty caches, running them once more would cost minutes.
lint: ## gofmt, vet and more by golangci-lint (built once, from tools/go.mod); for policies fmt, Regal (tools/regal) and check
	go -C tools build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	./bin/golangci-lint run ./...
	cd bench && ../bin/golangci-lint run ./...
	go build -o bin/gatehouse ./cmd/gatehouse
	@echo "gatehouse fmt --list policies policies_test"; ./bin/gatehouse fmt --list policies policies_test || \
	  { echo "not formatted (bin/gatehouse fmt --write policies policies_test)" >&2; exit 1; }
	./bin/gatehouse check --policies policies
	go -C tools/regal build -o ../../bin/regal github.com/open-policy-agent/regal
	./bin/regal lint policies policies_test

soak: ## the fault tests at full length: 50 times kill -9, two replicas, 2,000 denies; faults in the fast path, and its fuzzer
	go build -o bin/withservices ./internal/testenv/withservices
	GATEHOUSE_SOAK=1 ./bin/withservices -- go test -race -count 1 -timeout 60m -v -run 'Kill9|Replicas' ./cmd/gatehouse/...
	GATEHOUSE_SOAK=1 go test -count 1 -timeout 60m -v -run 'Mutations' ./adapters/opa/fastpath
	GATEHOUSE_SOAK=1 ./bin/withservices -- go test -race -count 1 -timeout 60m -run 'Conformance' ./adapters/sqlite ./adapters/postgres
	go test -run '^$$' -fuzz FuzzFastPath -fuzztime 1m ./adapters/opa/fastpath

# OPA's program is built from a module of its own, because it needs much that Gatehouse does not; the versions of OPA
# must be the same, or compare refuses.
bench: build ## Gatehouse beside "opa run --server" and a bare handler, in at most 10 minutes; writes docs/performance.md
	go -C tools/opa build -o ../../bin/opa github.com/open-policy-agent/opa
	go -C bench build -o ../bin/bench .
	timeout --signal=INT 600 ./bin/bench compare -write docs/performance.md

scale: build ## one, two and four replicas on one Postgres behind nginx, in at most 5 minutes; writes docs/scale.md
	go -C bench build -o ../bin/bench .
	timeout --signal=INT 300 ./bin/bench scale -write docs/scale.md

gobench: ## every Go benchmark, in the form that benchstat compares; see docs/performance.md
	go build -o bin/withservices ./internal/testenv/withservices
	./bin/withservices -- go test -run '^$$' -bench . -benchmem $(PACKAGES)
	cd bench && go test -run '^$$' -bench . -benchmem ./allocations

allocations: ## write down what each stage of a review allocates; "make test" fails when it becomes more
	go -C bench run . allocations -write

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/'
