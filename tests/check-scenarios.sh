#!/bin/sh
#
# check-scenarios.sh - every function of quire.h has a failure scenario.
#
#   tests/check-scenarios.sh
#
# The table of tests/test_fault_api.c has rows ROW(FUNCTION, SCENARIO, ...),
# whose work is done by on_SCENARIO(). Each function that quire.h declares must
# be in some row, and the row's work must call it: directly, or as the model's
# twin does (twin_put() for quire_put()).

set -u
table=tests/test_fault_api.c

# From QUIRE_API to the parenthesis, comments and line breaks aside.
awk '
    /^QUIRE_API/ { decl = ""; open = 1 }
    open {
        decl = decl " " $0
        if (match(decl, /quire_[a-z0-9_]*\(/)) {
            print substr(decl, RSTART, RLENGTH - 1)
            open = 0
        }
    }' quire.h | awk -v table="$table" '
    { declared[$1] = 1; n++ }
    END {
        while ((getline line < table) > 0) {
            if (line ~ /^static void on_[a-z0-9_]*\(/) {
                body = line
                sub(/^static void on_/, "", body)
                sub(/\(.*/, "", body)
            } else if (line ~ /^}/) {
                body = ""
            } else if (body != "") {
                gsub(/twin_put_gen\(/, "quire_put(", line)
                gsub(/twin_set_meta\(/, "quire_tree_set_meta(", line)
                gsub(/twin_/, "quire_", line)
                while (match(line, /quire_[a-z0-9_]*\(/)) {
                    calls[body, substr(line, RSTART, RLENGTH - 1)] = 1
                    line = substr(line, RSTART + RLENGTH)
                }
            } else if (match(line, /^ *ROW\([a-z0-9_]*, [a-z0-9_]*/)) {
                row = substr(line, RSTART, RLENGTH)
                sub(/^ *ROW\(/, "", row)
                split(row, word, ", ")
                rows++
                has[word[1]] = 1
                fn[rows] = word[1]
                scene[rows] = word[2]
            }
        }
        for (f in declared)
            if (!(f in has)) {
                print f "() has no scenario in " table
                bad = 1
            }
        for (i = 1; i <= rows; i++) {
            if (!(fn[i] in declared)) {
                print fn[i] "() is in " table ", but not in quire.h"
                bad = 1
            }
            if (!((scene[i], fn[i]) in calls)) {
                print "on_" scene[i] "() does not call " fn[i] "()"
                bad = 1
            }
        }
        if (!bad)
            print n " functions, " rows " scenarios"
        exit bad || n == 0
    }'
