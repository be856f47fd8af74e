# The two commands of a new user are `make demo` and `make test`. Both install
# what is missing on a Debian machine, as root.
.DEFAULT_GOAL := build
.PHONY: build setup demo test catalog bench conformance clean

GO       ?= go
STATE    ?= /var/lib/ashlar
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
	@$(ASHLAR) --state $(STATE)/catalog key list >/dev/null 2>&1 || $(ASHLAR) --state $(STATE)/catalog key init
	$(ASHLAR) --state $(STATE)/catalog build --keep-going catalog

# Measure, and write docs/benchmarks.md.
bench: setup build
	STATE=$(STATE)/catalog ./scripts/bench

# Compare the solver with apt on random source packages; writes docs/conformance-solver.md.
conformance: setup
	ASHLAR_CONFORMANCE=$(STATE)/conformance $(GO) test -count=1 -timeout 60m -run TestConformance -v ./internal/resolve

clean:
	rm -rf bin
