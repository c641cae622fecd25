#!/bin/sh
#
# check-symbols.sh - the libraries give an application no name but quire_*.
#
#   LIBRARY_DIR=DIRECTORY tests/check-symbols.sh
#
# DIRECTORY holds libquire.so and libquire.a.
#
# A two-letter prefix is enough inside, and too little in a program that links
# other people's libraries: hidden symbols must be gone from the export table
# of the shared library, and local in the static one. What quire.h declares
# must be there, or a program would compile and not link.

set -u
dir=${LIBRARY_DIR:-build/release}
status=0

# names FILE NM-OPTIONS: the defined global symbols of a library.
names()
{
    file=$1
    shift
    if [ ! -f "$file" ]; then
        echo "$file is missing" >&2
        return 1
    fi
    nm -g --defined-only "$@" "$file" | awk 'NF == 3 { print $3 }' |
        LC_ALL=C sort -u
}

# From QUIRE_API to the parenthesis, comments and line breaks aside.
declared=$(awk '
    /^QUIRE_API/ { decl = ""; open = 1 }
    open {
        decl = decl " " $0
        if (match(decl, /quire_[a-z0-9_]*\(/)) {
            print substr(decl, RSTART, RLENGTH - 1)
            open = 0
        }
    }' quire.h | LC_ALL=C sort -u)

for lib in libquire.so libquire.a; do
    case $lib in
    *.so) found=$(names "$dir/$lib" -D) ;;
    *) found=$(names "$dir/$lib") ;;
    esac || status=1
    if [ -z "$found" ]; then
        echo "$lib defines nothing"
        status=1
    fi
    for name in $found; do
        case $name in
        quire_*) ;;
        *)
            echo "$lib defines $name"
            status=1
            ;;
        esac
    done
    for name in $declared; do
        if ! echo "$found" | grep -qx "$name"; then
            echo "$lib lacks $name, which quire.h declares"
            status=1
        fi
    done
done
[ $status = 0 ] && echo "libquire.so and libquire.a define quire_* only"
exit $status
