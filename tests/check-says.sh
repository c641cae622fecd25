#!/bin/sh
#
# check-says.sh - every message of the program was waited for by some test.
#
#   QUIRE_BIN=... tests/check-says.sh DIRECTORY
#
# DIRECTORY holds what the program has said while the tests ran (said.*: the
# place in the source, a tab, the message; see tools/fail.h) and the lines that
# the tests have waited for and found (waited.*, see CHECK_SAYS). The places are
# those that the program itself lists. A message counts when it is part of such
# a line. Fails with the places of which none does. What `bench`, `gen` and
# `replay` say is left out.

set -u
dir=${1:?directory of the messages}
status=0

places=$(QUIRE_FAIL=list "${QUIRE_BIN:?the program}" |
    grep -v '^tools/\(bench\|engine\|gen\.c\|replay\.c\)' |
    LC_ALL=C sort -t : -k 1,1 -k 2,2n -u)
if [ -z "$places" ]; then
    echo 'the program lists no places of messages'
    exit 1
fi

find "$dir" -name 'waited.*' -exec cat {} + | LC_ALL=C sort -u >"$dir/waited"
find "$dir" -name 'said.*' -exec cat {} + | LC_ALL=C sort -u >"$dir/said"
LC_ALL=C awk -F '\t' -v places="$places" '
    FILENAME ~ /waited$/ {
        waited[n++] = $0
        next
    }
    !($1 in done) {
        said[$1] = substr($0, length($1) + 2)
        for (i = 0; i < n && !($1 in done); i++)
            if (index(waited[i], said[$1]))
                done[$1] = 1
    }
    END {
        count = split(places, place, "\n")
        for (i = 1; i <= count; i++)
            if (!(place[i] in done)) {
                never++
                print place[i] ": " (place[i] in said ? \
                    "no test waits for: " said[place[i]] : "never said")
            }
        printf "%d messages, %d not waited for\n", count, never
        exit never > 0
    }' "$dir/waited" "$dir/said" || status=1

exit $status
