#!/bin/sh
#
# check-headers.sh - each header compiles alone, and is guarded by its path.
#
#   CC=... CXX=... FLAGS=... tests/check-headers.sh
#
# quire.h is also compiled as C++ where there is a compiler for it.

set -u
: "${CC:=cc}" "${CXX:=c++}" "${FLAGS:=-std=c11 -D_GNU_SOURCE -I. -Wall -Wextra}"
status=0
count=0

for header in quire.h $(find alloc cache pages txlog tests tools -name '*.h' |
    LC_ALL=C sort); do
    count=$((count + 1))
    # shellcheck disable=SC2086  # flags are several words
    if ! printf '#include "%s"\n' "$header" |
        $CC $FLAGS -Werror -fsyntax-only -x c -; then
        echo "$header does not compile alone"
        status=1
    fi
    guard=$(echo "$header" | tr 'a-z/.-' 'A-Z___')
    case $guard in
    QUIRE_*) ;;
    *) guard=QUIRE_$guard ;;
    esac
    if ! grep -q "^#ifndef $guard\$" "$header" ||
        ! grep -q "^#define $guard\$" "$header"; then
        echo "$header: its guard should be $guard"
        status=1
    fi
done

if command -v "${CXX%% *}" >/dev/null 2>&1; then
    if ! printf '#include "quire.h"\n' |
        $CXX -I. -Wall -Wextra -Werror -fsyntax-only -x c++ -; then
        echo "quire.h does not compile as C++"
        status=1
    fi
else
    echo "no C++ compiler ($CXX): quire.h was not tried as C++"
fi

[ $status = 0 ] && echo "$count headers compile alone"
exit $status
