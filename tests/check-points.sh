#!/bin/sh
#
# check-points.sh - every failure point was fired by some test.
#
#   tests/check-points.sh DIRECTORY
#
# DIRECTORY holds what the test programs have written (lib_point.h): lines of a
# point's name, how often it has fired, and in which scenario, separated by
# tabs. The names are those of alloc/point.h. Prints a table; fails when a point
# never fired.

set -u
dir=${1:?directory of the firings}

names=$(sed -n 's/^ *X([A-Z0-9_]*, *"\([^"]*\)".*/\1/p' alloc/point.h)
if [ -z "$names" ]; then
    echo 'alloc/point.h names no failure point'
    exit 1
fi

find "$dir" -type f -exec cat {} + | awk -F '\t' -v names="$names" '
    { fired[$1] += $2 }
    !(($1, $3) in seen) {
        seen[$1, $3] = 1
        scenes[$1]++
        if (scenes[$1] <= 3)
            list[$1] = list[$1] (list[$1] == "" ? "" : "; ") $3
    }
    END {
        n = split(names, name, "\n")
        printf "%-26s %8s  %s\n", "failure point", "fired", "in"
        for (i = 1; i <= n; i++) {
            p = name[i]
            known[p] = 1
            more = (scenes[p] > 3) ? "; and " (scenes[p] - 3) " more" : ""
            printf "%-26s %8d  %s\n", p, fired[p], \
                (fired[p] ? list[p] more : "NEVER FIRED")
            never += fired[p] == 0
            total += fired[p]
        }
        for (p in fired)
            if (!(p in known)) {
                print p ": is not in alloc/point.h"
                never++
            }
        printf "%d points, %d failures, %d never fired\n", n, total, never
        exit never > 0
    }'
