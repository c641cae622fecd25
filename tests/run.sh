#!/bin/sh
#
# run.sh - run test programs and checks, two at a time, and add up.
#
#   tests/run.sh [-j JOBS] [-t SECONDS] [-w WRAPPER] [-p CHECK] [-s CHECK] [-v]
#                PROGRAM...
#
# A PROGRAM is a cmocka program, or anything else that says by its exit status
# whether it passed, and then counts as one test. Each prints one line when it
# ends; what the failing ones printed (with -v: all of them) follows in full at
# the end, and then one line `N passed, N failed`, with `, N skipped` where tests were skipped. The
# status is 0 only if nothing failed.
#
# SECONDS guards against a program that hangs: it is then ended and counted as
# failed. WRAPPER is a command put before each program (valgrind and the like).
# TMPDIR is a directory of its own for each program, removed afterwards.
# QUIRE_POINTS is one for all, where they leave what failure points they fired;
# -p's CHECK is run with it at the end, shown, and counted as one more test. So
# is QUIRE_SAYS with -s's, where the program leaves what it said, and the tests
# what they waited for.

set -u

# run_one PROGRAM: run it, leave its output and its counts in $RUN_DIR, and
# print its line.
run_one()
{
    prog=$1
    name=$(basename "$prog" .sh)
    log=$RUN_DIR/$name.log
    mkdir -p "$RUN_DIR/$name.tmp"
    start=$(date +%s)
    # shellcheck disable=SC2086  # the wrapper is a command with arguments
    TMPDIR=$RUN_DIR/$name.tmp \
        timeout -k 10 "$RUN_TIMEOUT" $RUN_WRAPPER "$prog" \
        >"$log" 2>&1 </dev/null
    status=$?
    took=$(($(date +%s) - start))
    rm -rf "$RUN_DIR/$name.tmp"

    # cmocka closes a group with "[  PASSED  ] 3 test(s)." and, if there are
    # any, the same with SKIPPED and FAILED; a program may run several groups.
    # shellcheck disable=SC2046
    set -- $(awk '
        /^\[==========\] Running [0-9]+ test/ { cmocka = 1; open = 1 }
        /^\[ +OK +\]/ { ok++ }
        /^\[==========\] .*[0-9]+ test\(s\) run/ { open = 0 }
        /^\[  PASSED  \] [0-9]+ test/ { passed += $4 }
        /^\[  SKIPPED \] [0-9]+ test/ { skipped += $4 }
        /^\[  FAILED  \] [0-9]+ test/ { failed += $4 }
        END {
            if (open) # it ended in the middle of a group
                passed = ok
            print passed + 0, failed + 0, skipped + 0, cmocka + 0
        }' "$log")
    passed=$1 failed=$2 skipped=$3
    if [ "$4" = 0 ] && [ "$status" = 0 ]; then
        passed=1
    fi
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
        failed=1
    fi

    word=ok
    why=
    if [ "$failed" != 0 ]; then
        word=FAILED
        : >"$RUN_DIR/$name.failed"
        case $status in
        124 | 137) why=", ended after $RUN_TIMEOUT s or killed" ;;
        *) why=", status $status" ;;
        esac
    elif [ "$skipped" != 0 ]; then
        why=", $skipped skipped"
    fi
    echo "$passed $failed $skipped" >"$RUN_DIR/$name.count"
    printf '%-6s %s: %d passed, %d failed%s (%d s)\n' \
        "$word" "$name" "$passed" "$failed" "$why" "$took"
}

if [ "${1:-}" = --one ]; then
    run_one "$2"
    exit 0
fi

jobs=2
RUN_TIMEOUT=280
RUN_WRAPPER=
POINT_CHECK=
SAYS_CHECK=
verbose=
while getopts j:t:w:p:s:v opt; do
    case $opt in
    j) jobs=$OPTARG ;;
    t) RUN_TIMEOUT=$OPTARG ;;
    w) RUN_WRAPPER=$OPTARG ;;
    p) POINT_CHECK=$OPTARG ;;
    s) SAYS_CHECK=$OPTARG ;;
    v) verbose=yes ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

RUN_DIR=$(mktemp -d "${TMPDIR:-/tmp}/quire-run-XXXXXX") || exit 1
QUIRE_POINTS=$RUN_DIR/points
QUIRE_SAYS=$RUN_DIR/says
mkdir "$QUIRE_POINTS" "$QUIRE_SAYS"
export RUN_DIR RUN_TIMEOUT RUN_WRAPPER QUIRE_POINTS QUIRE_SAYS
trap 'rm -rf "$RUN_DIR"' EXIT
trap 'exit 130' INT TERM HUP

if [ $# -gt 0 ]; then
    printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" "$0" --one
fi

passed=0 failed=0 skipped=0
for prog in "$@"; do
    name=$(basename "$prog" .sh)
    if [ ! -f "$RUN_DIR/$name.count" ]; then
        echo "FAILED $name: could not be run"
        failed=$((failed + 1))
        continue
    fi
    read -r p f s <"$RUN_DIR/$name.count"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ -f "$RUN_DIR/$name.failed" ] || [ -n "$verbose" ]; then
        echo
        echo "---- $name printed:"
        cat "$RUN_DIR/$name.log"
        echo "---- end of $name"
    elif [ "$s" != 0 ]; then
        grep -h '^SKIPPED' "$RUN_DIR/$name.log" | sed "s/^/$name: /"
    fi
done

# check_end CHECK DIRECTORY: a check of what all programs have left.
check_end()
{
    if [ -n "$1" ]; then
        echo
        if "$1" "$2"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    fi
}

check_end "$POINT_CHECK" "$QUIRE_POINTS"
check_end "$SAYS_CHECK" "$QUIRE_SAYS"

echo
if [ "$skipped" != 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ]
