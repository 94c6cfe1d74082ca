# The words that CI types are the words that you type.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check test long bench ship tools fmt

# Asked only by what needs it: cargo takes a moment to answer.
TARGET = $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Only this crate is optimised, with its overflow checks: all other crates stay as they are built already.
FUZZ = cargo test --workspace --lib --config profile.dev.package.tautan.opt-level=3 -- --nocapture fuzz::

help:
	@echo 'Targets:'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s  %s\n", $$1, $$2 }'

# Not the suites that start processes: they take longer than you would wait between two edits.
check: ## the quick loop: fmt, clippy, unit tests, documents; two minutes once it is built
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo test --quiet --workspace --lib
	cargo test --quiet --workspace --test docs --test layers

test: ## everything that guards correctness
	@ci/test.sh

# What takes longer than a change should wait for: the suites that race, ten times over, the store's own figures, every
# alert with its fault, the page under Lighthouse, two thousand hostile clients, ten thousand sessions, a minute without Redis, twenty histories, the
# proof that their check finds what is wrong, the instructions of the hot paths in a release build, ten million random
# inputs for each cheap parser, and everything mixed.
long: ## the suites that race, ten times over, many instances for a long time, the page under Lighthouse
	@ci/tools.sh
	cargo build --workspace --all-targets
	cargo test --workspace --test store -- --ignored figures --nocapture
	cargo test --workspace --test process -- --ignored webhooks contacts documents walkthrough
	cargo test --workspace --test process -- --ignored --test-threads 2 alerts
	cargo test --workspace --test api -- --ignored
	cargo test --workspace --release --test crowd -- --ignored --nocapture --test-threads 1 hardening_
	@ci/lighthouse.sh
	for round in 1 2 3 4 5 6 7 8 9 10; do echo "round $$round"; cargo test --workspace --test store --test whatsapp --test process; done
	cargo test --workspace --test cluster -- --ignored --nocapture --test-threads 1
	ci/later.sh
	ci/flaws.sh
	cargo test --workspace --release --test bench -- --ignored --nocapture instructions
	FUZZ_CASES=10000000 FUZZ_SECONDS=900 $(FUZZ)
	cargo test --workspace --test crowd -- --ignored --nocapture --test-threads 1 soak

bench: ## figures in release beside other servers; ROWS=idle,fan-out prints some rows alone
	cargo test --workspace --release --test bench -- --ignored --nocapture --test-threads 1 side_by_side promised

ship: ## the release build and the proof that its certificate check is in it
	cargo build --release --bin tautan
	@ci/guard.sh $(TARGET)/release/tautan

tools: ## installs what the tests need besides Rust
	@ci/tools.sh

fmt: ## formats the code
	cargo fmt --all
