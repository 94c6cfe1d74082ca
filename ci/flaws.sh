#!/usr/bin/env bash
# Shows that the history check sees what it is there for: each flaw of tests/cluster/flaws is planted into a copy of the
# sources, and has to be found within three seeds. Production knows nothing of them. With names as arguments: only those.
set -u -o pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
copy=$target/flaws/sources built_in=$target/flaws/target
declare -A finds=(
    [dropped-publish]=Lost [missing-fence-check]=TwoOwners [read-before-subscribe]=Lost
    [reused-sequence]='TwoEventsOfOneId|Disorder' [foreign-tenant]=Foreign [unnumbered-wish]=LostWish
    [redial-without-lease]=ReplacedLink
)
[ $# -gt 0 ] || set -- "${!finds[@]}"
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z | xargs -0 cp --parents --target-directory "$copy"

# The tests themselves, without a flaw.
tests=$(cargo test --workspace --test cluster --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
[ -n "$tests" ] || { echo "the tests do not build" >&2; exit 1; }
cp "$tests" "$target/flaws/tests"
missed=()
for flaw in "$@"; do
    patch=$root/tests/cluster/flaws/$flaw.patch program=$target/flaws/$flaw log=$target/flaws/$flaw.log
    (cd "$copy" && patch --quiet -p1 <"$patch") || { missed+=("$flaw (does not apply)"); continue; }
    # In a target directory of its own: in a shared one cargo takes the copy's packages for the real ones.
    (cd "$copy" && CARGO_TARGET_DIR=$built_in cargo build --quiet --workspace --example tautan-sim 2>"$log") &&
        cp "$built_in/debug/examples/tautan-sim" "$program"
    built=$?
    (cd "$copy" && patch --quiet --reverse -p1 <"$patch")
    [ $built = 0 ] || { missed+=("$flaw (does not build)"); continue; }
    found=
    for seed in 1 2 3; do
        HISTORY_SEED=$seed TAUTAN_SIM_PROGRAM=$program "$target/flaws/tests" \
            --exact --nocapture history::no_client_loses_doubles_or_swaps_an_event_whatever_goes_wrong >"$log" 2>&1
        found=$(grep --extended-regexp --count "^WRONG (${finds[$flaw]}):" "$log")
        [ "$found" = 0 ] || break
    done
    if [ "$found" = 0 ]; then
        missed+=("$flaw")
        echo "$flaw: not found"
    else
        echo "$flaw: found with seed $seed ($found times ${finds[$flaw]})"
    fi
done
for flaw in ${missed[@]+"${missed[@]}"}; do echo "NOT FOUND: $flaw"; done
[ ${#missed[@]} -eq 0 ]
