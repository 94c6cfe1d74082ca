#!/usr/bin/env bash
# Shows a release build a WhatsApp that is none: strict builds start (and would refuse its certificate), a build without
# the check refuses to start because the address is not loopback.
set -eu
binary=$1
data=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$data"' EXIT
TAUTAN_DATA_DIR=$data TAUTAN_LISTEN=127.0.0.1:0 TAUTAN_LOG=json "$binary" >"$data/out" 2>"$data/err" &
pid=$!
for _ in $(seq 100); do
    grep --quiet '"listening"' "$data/err" && break
    kill -0 "$pid" 2>/dev/null || { cat "$data/err" >&2; exit 1; }
    sleep 0.1
done
grep --quiet '"listening"' "$data/err" || { echo "it does not start" >&2; exit 1; }
kill -TERM "$pid"
wait "$pid"
echo "$binary: starts against wss://web.whatsapp.com, so its certificate check is in it; drains with 0"
