#!/usr/bin/env bash
# An upgrade and its rollback: builds a later version of the program from tests/process/later/version.patch and runs it
# beside this one, and after it, on one store.
set -u -o pipefail
cd "$(dirname "$0")/.."
. ci/copy.sh
build_with "$root/tests/process/later/version.patch" "$target/flaws/later" "$target/flaws/later.log" || exit 1
TAUTAN_LATER_PROGRAM=$target/flaws/later cargo test --workspace --test process -- --ignored later::
