# The words that CI types are the words that you type.
#
#   make test    everything that guards correctness
#   make long    the suites that race, ten times over, many instances for a long time, the page under Lighthouse
#   make bench   figures, in release
#   make ship    the release build and the proof that its certificate check is in it

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: test long bench ship tools fmt

TARGET := $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

test:
	@ci/test.sh

# What takes longer than a change should wait for: the suites that race, ten times over, the store's own figures, the
# page under Lighthouse, ten thousand sessions, a minute without Redis, twenty histories, and the proof that their check
# finds what is wrong.
long:
	@ci/tools.sh
	cargo build --workspace --all-targets
	cargo test --test store -- --ignored figures --nocapture
	cargo test --test process -- --ignored webhooks
	@ci/lighthouse.sh
	for round in 1 2 3 4 5 6 7 8 9 10; do echo "round $$round"; cargo test --test store --test whatsapp --test process; done
	cargo test --workspace --test cluster -- --ignored --nocapture --test-threads 1
	ci/later.sh
	ci/flaws.sh

bench:
	cargo test --release --test bench -- --ignored --nocapture

ship:
	cargo build --release --bin tautan
	@ci/guard.sh $(TARGET)/release/tautan

tools:
	@ci/tools.sh

fmt:
	cargo fmt --all
