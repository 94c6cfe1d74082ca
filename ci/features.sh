#!/usr/bin/env bash
# The feature that skips WhatsApp's certificate chain belongs to tests and examples alone. Two things are shown: what
# `cargo build` links has it nowhere, and this look would see it if it were there.
set -eu
cd "$(dirname "$0")/.."
feature=danger-skip

shipped=$(cargo tree --quiet --package tautan --edges normal,features --prefix none)
if grep --quiet "$feature" <<<"$shipped"; then
    echo "the shipped program links a library that skips checks:" >&2
    grep "$feature" <<<"$shipped" >&2
    exit 1
fi
tested=$(cargo tree --quiet --package tautan --edges normal,dev,features --prefix none)
grep --quiet "$feature" <<<"$tested" || { echo "the look for '$feature' finds nothing even in the tests" >&2; exit 1; }
for member in tautan-simulator tautan-test-support; do
    if cargo tree --quiet --package "$member" --edges normal,features --prefix none | grep --quiet "$feature"; then
        echo "$member has it among its normal dependencies, from where it would spread" >&2
        exit 1
    fi
done
