#!/usr/bin/env bash
# Stands between cargo and rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER, set by ci/test.sh in CI): clippy
# compiles them, and rustdoc reads each library with the same arguments. `cargo clippy` and `cargo doc` would first check
# all dependencies, which the tests compile anyway: a quarter of a cold run.
set -eu
shift # "rustc"
clippy-driver rustc "$@"
[[ " $* " == *" --crate-type lib "* && " $* " != *" --test "* ]] || exit 0
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --emit=*) ;;
        --out-dir) arguments+=(--out-dir "${2%/debug/deps}/doc"); shift ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
rustdoc "${arguments[@]}"
