# The words that CI types are the words that you type.
#
#   make test    everything that guards correctness
#   make long    what takes longer: every kill point, soaks
#   make bench   figures, in release
#   make ship    the release build and the proof that its certificate check is in it

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: test long bench ship tools fmt

TARGET := $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

test:
	@ci/test.sh

# The three suites that start the program do so from this build; an ignored test is one that takes minutes.
long:
	@ci/tools.sh
	cargo build --workspace --all-targets
	cargo test --workspace --test process --test store -- --ignored --skip bench --test-threads 2 --nocapture

bench:
	cargo build --release --example tautan-sim
	cargo test --workspace --test process -- --ignored bench --test-threads 1 --nocapture

ship:
	cargo build --release --bin tautan
	@ci/guard.sh $(TARGET)/release/tautan

tools:
	@ci/tools.sh

fmt:
	cargo fmt --all
