#!/usr/bin/env bash
# Shows that the history check sees what it is there for: each flaw of tests/cluster/flaws is planted into a copy of the
# sources, and has to be found within three seeds. Production knows nothing of them. With names as arguments: only those.
# Some flaws show only under one kind of fault. Their seeds are those whose schedule has this fault.
set -u -o pipefail
cd "$(dirname "$0")/.."
. ci/copy.sh
declare -A finds=(
    [dropped-publish]=Lost [missing-fence-check]=TwoOwners [read-before-subscribe]=Lost
    [reused-sequence]='TwoEventsOfOneId|Disorder' [foreign-tenant]=Foreign [unnumbered-desired-state]=LostRequest
    [redial-without-lease]=ReplacedLink [acquired-outside-index]=Stuck [revived-deadline]=ReplacedLink
    [acquired-before-compared]=ReplacedLink
)
declare -A seeds=([acquired-before-compared]="4 10 16" [revived-deadline]="5 11 17")
[ $# -gt 0 ] || set -- "${!finds[@]}"
# The tests themselves, without a flaw.
tests=$(test_binary cluster)
[ -n "$tests" ] || { echo "the tests do not build" >&2; exit 1; }
cp "$tests" "$target/flaws/tests"
missed=()
for flaw in "$@"; do
    patch=$root/tests/cluster/flaws/$flaw.patch program=$target/flaws/$flaw log=$target/flaws/$flaw.log
    build_with "$patch" "$program" "$log" || { missed+=("$flaw (is not planted)"); continue; }
    found=
    for seed in ${seeds[$flaw]:-1 2 3}; do
        HISTORY_SEED=$seed TAUTAN_SIM_PROGRAM=$program "$target/flaws/tests" \
            --exact --nocapture history::clients_receive_each_event_once_and_in_order_under_faults >"$log" 2>&1
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
