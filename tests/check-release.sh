#!/bin/sh
#
# check-release.sh - the released program has nothing of what tests ask of it.
#
#   CC=... FLAGS=... tests/check-release.sh
#
# What the compiler sees of tools/ without failure points names neither libfiu
# nor what tools/fail.h reads from the environment.

set -u
: "${CC:=cc}" "${FLAGS:=-std=c11 -D_GNU_SOURCE -I.}"
status=0
count=0

for source in tools/*.c; do
    count=$((count + 1))
    # shellcheck disable=SC2086  # flags are several words
    if ! text=$($CC $FLAGS -UFIU_ENABLE -E -P "$source"); then
        status=1
    elif echo "$text" |
        grep -n 'fiu_\|QUIRE_FAIL\|QUIRE_SAYS\|fail_here\|fail_place'; then
        echo "$source: that is for tests, but is there without failure points"
        status=1
    fi
done

[ $status != 0 ] || echo "$count sources looked at"
exit $status
