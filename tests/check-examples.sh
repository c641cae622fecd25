#!/bin/sh
#
# check-examples.sh - the worked examples run, and what they print adds up.
#
#   LIBRARY_DIR=build/debug QUIRE_BIN=... tests/check-examples.sh
#
# pool: resident stays within the budget that each line names, nothing is in
# use at the end. cache: each page that was loaded was called back for, and
# memory stayed within the budget. store: it ends well, twice on one file.

set -u
dir=${LIBRARY_DIR:?}/examples
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

fail()
{
    echo "example $1: $2"
    cat "$tmp/out"
    exit 1
}

"$dir/pool" >"$tmp/out" 2>&1 || fail pool "status $?"
awk '
    $1 == "budget" {
        n++
        if ($5 + 0 > $2 + 0 || $8 + 0 > $5 + 1)
            bad = 1
        last = $8 + 0
    }
    END { exit bad || n < 3 || last != 0 }' "$tmp/out" ||
    fail pool "a figure is above its limit"

"$dir/cache" "${QUIRE_BIN:?}" >"$tmp/out" 2>&1 || fail cache "status $?"
awk '
    $1 == "loads" { loads = $2 + 0 }
    $1 == "memory:" { ok = $4 + 0 <= $6 + 0 }
    $1 == "removed" { removed = $2 }
    END { exit !(ok && loads > 0 && loads == removed) }' "$tmp/out" ||
    fail cache "loads and removals differ, or memory is above the budget"

for round in 1 2; do
    "$dir/store" "$tmp/example.db" <tools/examples/store.c >"$tmp/out" 2>&1 ||
        fail store "round $round, status $?"
done
echo "3 examples ran"
