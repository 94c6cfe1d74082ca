#!/usr/bin/env bash
# Lighthouse looks at the page as a phone on a slow network would: accessibility 100, best practices 100, performance 95
# or more, nothing moves, or this fails. Slow and dependent on the machine's mood, so a part of `make long`; the reports
# stay in target/lighthouse.
set -eu
cd "$(dirname "$0")/.."
tools=target/tools/lighthouse reports=target/lighthouse port=${LIGHTHOUSE_PORT:-8189}
mkdir -p "$tools" "$reports"
[ -x "$tools/node_modules/.bin/lighthouse" ] || npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent lighthouse@12.8.2

cargo build --quiet --workspace --examples
data=$(mktemp -d)
# What signs the token is made for this run alone.
secret=$(head -c 32 /dev/urandom | base64 | tr -d '\n')
JWT_SECRET=$secret TAUTAN_DATA_DIR=$data TAUTAN_LISTEN=127.0.0.1:$port TAUTAN_WHATSAPP_URL=ws://127.0.0.1:9/ TAUTAN_LOG=json \
    target/debug/examples/tautan-sim 2>"$data/log" &
program=$!
trap 'kill "$program" 2>/dev/null || true; rm -rf "$data"' EXIT
for _ in $(seq 100); do
    curl --silent --output /dev/null "http://127.0.0.1:$port/healthz" && break
    sleep 0.1
done
encode() { base64 | tr '+/' '-_' | tr -d '=\n'; }
claims=$(printf '{"alg":"HS256","typ":"JWT"}' | encode).$(printf '{"id":"lighthouse","exp":%d}' $(($(date +%s) + 3600)) | encode)
signature=$(printf '%s' "$claims" | SECRET=$secret node -e '
    const mac = require("crypto").createHmac("sha256", process.env.SECRET);
    process.stdin.on("data", (text) => mac.update(text)).on("end", () => process.stdout.write(mac.digest("base64url")));')

export CHROME_PATH=${CHROME_PATH:-$(command -v chromium)}
"$tools/node_modules/.bin/lighthouse" "http://127.0.0.1:$port/dashboard/settings/whatsapp" --quiet \
    --only-categories=performance,accessibility,best-practices --output=json --output=html --output-path="$reports/page" \
    --extra-headers="{\"Authorization\":\"Bearer $claims.$signature\"}" \
    --chrome-flags="--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
REPORT=$PWD/$reports/page.report.json node -e '
    const { categories, audits } = require(process.env.REPORT);
    const least = { performance: 95, accessibility: 100, "best-practices": 100 };
    const scores = Object.entries(least).map(([id, wanted]) => [id, Math.round(categories[id].score * 100), wanted]);
    console.log(scores.map(([id, score]) => `${id} ${score}`).join(", "));
    for (const id of ["first-contentful-paint", "largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift", "speed-index", "total-byte-weight"])
        console.log(`  ${audits[id].title}: ${audits[id].displayValue}`);
    const low = scores.filter(([, score, wanted]) => score < wanted);
    for (const [id] of low)
        for (const { id: audit } of categories[id].auditRefs)
            if (audits[audit].score !== null && audits[audit].score < 1) console.log(`  ${id}: ${audit}: ${audits[audit].title}`);
    const still = audits["cumulative-layout-shift"].numericValue === 0;
    process.exit(low.length || !still ? 1 : 0);'
