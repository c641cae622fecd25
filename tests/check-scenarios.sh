#!/bin/sh
#
# check-scenarios.sh - every function of quire.h has a failure scenario.
#
#   tests/check-scenarios.sh
#
# The table of tests/test_fault_api.c has rows ROW(FUNCTION, SCENARIO, ...),
# whose work is done by on_SCENARIO(). Each function that quire.h declares must
# be in some row, and the row's work must call it: directly, in a function of
# the file that the work names, or as the model's twin does (twin_put() for
# quire_put()).

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
            gsub(/\/\*[^*]*\*\//, " ", line)
            if (line ~ /^ *\/\*/ || line ~ /^ *\*/)
                continue
            if (line ~ /^static [a-z_ ]*[ *][a-z0-9_]*\(/) {
                body = line
                sub(/\(.*/, "", body)
                sub(/.*[ *]/, "", body)
            } else if (line ~ /^}/) {
                body = ""
            } else if (body != "") {
                gsub(/twin_put_gen\(/, "quire_put(", line)
                gsub(/twin_set_meta\(/, "quire_tree_set_meta(", line)
                gsub(/twin_/, "quire_", line)
                while (match(line, /[a-z0-9_]+\(?/)) {
                    word = substr(line, RSTART, RLENGTH)
                    if (sub(/\(/, "", word))
                        calls[body, word] = 1
                    names[body] = names[body] " " word
                    line = substr(line, RSTART + RLENGTH)
                }
            } else if (match(line, /^ *ROW\([a-z0-9_]*, [a-z0-9_]*/)) {
                row = substr(line, RSTART, RLENGTH)
                sub(/^ *ROW\(/, "", row)
                split(row, part, ", ")
                rows++
                has[part[1]] = 1
                fn[rows] = part[1]
                scene[rows] = "on_" part[2]
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
            met = (scene[i], fn[i]) in calls
            m = split(names[scene[i]], part, " ")
            for (k = 1; k <= m && !met; k++)
                met = (part[k], fn[i]) in calls
            if (!met) {
                print scene[i] "() does not call " fn[i] "()"
                bad = 1
            }
        }
        if (!bad)
            print n " functions, " rows " scenarios"
        exit bad || n == 0
    }'
