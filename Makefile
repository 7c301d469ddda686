# binlog-operator: `make help` lists the targets. Everything built goes to the cache, not the tree.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(BINLOG_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/binlog-operator)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# How much larger the suites run: rows, kills, streams.
export SCALE ?= 1
# Cases of each property, and seconds of each fuzz target, in `make fuzz`. The targets of a crate run at
# once and five crates have some: an hour in all.
CASES ?= 20000
FUZZ_SECONDS ?= 720

.PHONY: help check test test-long advisories bench bench-fleet fuzz demo demo-local build images release sbom clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  cache: $(CACHE)"

check: ## format, lints, licences, generated files, unit and property tests; starts no server
	@e2e/setup.sh check
	@e2e/run.sh check lint

test: ## set-up, check and every suite: real servers, a real S3 server, a real Kubernetes
	@e2e/context.sh
	@e2e/setup.sh all
	@e2e/run.sh check lint suites

test-long: export SCALE := 10
test-long: ## the same suites and assertions at ten times the scale, and an upgrade from another version
	@e2e/context.sh
	@e2e/setup.sh all
	@e2e/run.sh check lint suites

advisories: ## known vulnerabilities in dependencies; needs the network
	@e2e/setup.sh check
	@"$(CACHE)/bin/cargo-deny" --locked check advisories || \
	  { echo "advisories: found some, or the database could not be fetched (see above)"; exit 1; }

bench: ## the worker's figures beside those of its peers; BENCH=AB for some shapes, ROUNDS=5
	@e2e/bench.sh

bench-fleet: ## the operator with 1 000, 5 000 and 10 000 streams on a real control plane; FLEET=1000, STEADY=300
	@e2e/fleet.sh

fuzz: ## every fuzz target for FUZZ_SECONDS (720: an hour in all), every property with CASES cases (20000)
	@PROPTEST_CASES=$(CASES) FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$${FUZZ_SEED:-$$RANDOM} \
	  cargo test --release --locked --workspace --no-fail-fast --lib --bins --test suite --test assemble -- --nocapture

demo: ## a real Kubernetes, two servers, two streams, a kill, and a table that adds it up
	@e2e/context.sh
	@e2e/demo.sh

demo-local: ## one worker, one MariaDB, one directory
	@e2e/demo-local.sh

build: ## both programs, static
	@cargo build --release --locked --workspace --bins --tests
	@ls -l "$(CARGO_TARGET_DIR)"/x86_64-unknown-linux-gnu/release/{operator,worker}

images: build ## two OCI archives, made without a daemon or a registry
	@e2e/images.sh

release: ## dist/: programs, images, chart, manifests, bill of materials, checksums; amd64 and arm64
	@e2e/release.sh

sbom: ## what the programs are made of, CycloneDX on stdout
	@python3 e2e/release/sbom.py x86_64-unknown-linux-gnu

clean: ## stop the demo and remove all that was made in the tree
	@e2e/clean.sh
