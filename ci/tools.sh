#!/usr/bin/env bash
# Installs what the tests need besides Rust, where that is possible: Debian's packages as root or through sudo, and
# cargo-deny from crates.io. The step that needs a missing tool reports it.
set -u
cd "$(dirname "$0")/.."
# Debian installs haproxy and nginx there, and only root's PATH has it.
PATH=$PATH:/usr/sbin

declare -A package=(
    [cc]=gcc [curl]=curl [jq]=jq [node]=nodejs [npm]=npm [zbarimg]=zbar-tools [chromium]=chromium [chromedriver]=chromium-driver
    [python3]=python3 [redis-server]=redis-server [redis-sentinel]=redis-sentinel [openssl]=openssl
    [haproxy]=haproxy [nginx]=nginx [caddy]=caddy [systemd-analyze]=systemd [valgrind]=valgrind
    [promtool]=prometheus
    [tinyproxy]=tinyproxy [microsocks]=microsocks
)
missing=()
for command in "${!package[@]}"; do
    command -v "$command" >/dev/null || missing+=("${package[$command]}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then sudo=(); elif sudo -n true 2>/dev/null; then sudo=(sudo -n); else sudo=(false); fi
    export DEBIAN_FRONTEND=noninteractive
    # Debian starts each server that it installs. Unless the machine has a rule of its own, none is started here: the tests
    # start their own, and nginx and Caddy would both listen on port 80.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap '"${sudo[@]}" rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null && "${sudo[@]}" chmod 755 $policy
    fi
    echo "installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "could not be installed here; as root: apt-get install ${missing[*]}"
fi

if ! cargo deny --version >/dev/null 2>&1; then
    # Unoptimised and without line numbers: it runs for a second and would compile for many minutes otherwise.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --version 0.20.2 cargo-deny || echo "cargo-deny could not be installed"
fi
exit 0
