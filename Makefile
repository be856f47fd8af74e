# The two commands of a new user are `make demo` and `make test`. Both install
# what is missing on a Debian machine, as root.
.DEFAULT_GOAL := build
.PHONY: build setup demo test catalog bench conformance clean

GO       ?= go
STATE    ?= $(CURDIR)/.state
ASHLAR   := bin/ashlar

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(ASHLAR) ./cmd/ashlar

setup:
	./scripts/setup

demo: setup build
	./scripts/demo

test: setup
	./check

# Build, gate and attest every definition of the starter catalog.
catalog: setup build
	$(ASHLAR) --state $(STATE)/catalog build --keep-going --jobs 1 catalog

# Measure, and write docs/benchmarks.md.
bench: setup build
	./scripts/bench

# Compare the solver with apt on random source packages; writes docs/conformance-solver.md.
conformance: setup
	ASHLAR_CONFORMANCE=1 $(GO) test -count=1 -timeout 60m -run Conformance -v ./internal/resolve

clean:
	rm -rf bin
