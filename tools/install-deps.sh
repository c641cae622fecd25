#!/bin/sh
#
# install-deps.sh - install the Debian packages that building, testing and the
# demonstration need, if any are missing; otherwise do nothing.
#
#   tools/install-deps.sh [--with-checks] [--with-peers]
#
# --with-checks adds what the continuous checks use: Valgrind, clang and gcovr.
# --with-peers adds the stores and allocators that `quire bench` compares with.
#
# A package counts as present when dpkg says so, or when the tool, header or
# library for which it is wanted is found: on a system other than Debian, or with libraries
# installed by hand, that is all that matters.

set -u

# Package and what it is wanted for: a program, a library, or a header for the
# compiler.
needs='
gcc             gcc
g++             g++
libc6-dev       <stdio.h>
make            make
binutils        objcopy
liburcu-dev     <urcu-bp.h>
liblz4-dev      <lz4.h>
libxxhash-dev   <xxhash.h>
libcsv-dev      <csv.h>
libyajl-dev     <yajl/yajl_parse.h>
libarchive-dev  <archive.h>
libzstd-dev     <zstd.h>
zlib1g-dev      <zlib.h>
libcmocka-dev   <cmocka.h>
libfiu-dev      <fiu-control.h>
zstd            zstd
gzip            gzip
time            /usr/bin/time
'
checks='
valgrind        valgrind
clang           clang
gcovr           gcovr
'

peers='
liblmdb-dev         <lmdb.h>
librocksdb-dev      <rocksdb/c.h>
libwiredtiger-dev   <wiredtiger.h>
libsqlite3-dev      <sqlite3.h>
libdb5.3-dev        <db.h>
libjemalloc2        libjemalloc.so.2
libmimalloc2.0      libmimalloc.so.2
'

for arg; do
    case $arg in
    --with-checks) needs=$needs$checks ;;
    --with-peers) needs=$needs$peers ;;
    *)
        echo "usage: $0 [--with-checks] [--with-peers]" >&2
        exit 2
        ;;
    esac
done

say()
{
    echo "install-deps: $*"
}

installed()
{
    command -v dpkg-query >/dev/null 2>&1 &&
        dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null |
        grep -q '^install ok installed$'
}

found()
{
    case $1 in
    '<'*)
        # cmocka.h wants these before it.
        printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>
#include <setjmp.h>\n#include %s\n' "$1" |
            ${CC:-cc} -E -x c - >/dev/null 2>&1
        ;;
    *.so.*) ldconfig -p 2>/dev/null | grep -q "$1" ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing()
{
    echo "$needs" | while read -r package wanted; do
        [ -n "$package" ] || continue
        installed "$package" || found "$wanted" || echo "$package"
    done
}

want=$(missing | tr '\n' ' ')
want=${want% }
[ -n "$want" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    say "missing, by the names of the Debian packages: $want" >&2
    say "this system has no apt-get; install their like, then go on" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        say "missing packages: $want" >&2
        say "installing them needs root, or sudo" >&2
        exit 1
    fi
    sudo=sudo
fi

say "installing $want"
say "${sudo:+sudo }apt-get update"
if ! $sudo apt-get -q update; then
    say "the package lists could not be brought up to date; trying the old" >&2
fi
say "${sudo:+sudo }apt-get install $want"
# shellcheck disable=SC2086  # the list is several words
if ! $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install -y --no-install-recommends $want; then
    say "apt-get could not install: $want" >&2
    exit 1
fi

want=$(missing | tr '\n' ' ')
if [ -n "$want" ]; then
    say "still missing: $want" >&2
    exit 1
fi
say "everything needed is installed"
