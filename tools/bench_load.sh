#!/bin/bash
#
# bench_load.sh - `quire load` beside the loaders of other stores, on the same
# records, in one run.
#
#   tools/bench_load.sh INPUT KEY
#
# INPUT is a CSV file, plain or .zst, with a header; KEY the column of whole
# numbers that is its key. Rounds are interleaved and medians told, with the
# spread; what a loader wrote is counted at the end of its last round.
#
#   quire            load INPUT as it is and as plain CSV
#   sqlite3          .import of the plain CSV into a table with the primary key,
#                    one transaction, synchronous and journal off
#   mdb_load, ldb    the keys and values that quire stores, in the order of the
#                    keys: `quire dump --format raw` and a filter, not timed
#
# A loader that is not installed is left out, and that is said.
#
#   QUIRE_BIN=  the program (build/release/quire)
#   DIR=        where to work (a new directory under TMPDIR); it is on the file
#               system that is measured
#   ROUNDS=     how many (7)
#   PREPARED=1  DIR holds what an earlier run with KEEP=1 has made
set -u
export LC_ALL=C

if [ $# != 2 ]; then
    sed -n '3,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
input=$1
key=$2
quire=${QUIRE_BIN:-build/release/quire}
rounds=${ROUNDS:-7}
own=
if [ -z "${DIR:-}" ]; then
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/bench-load-XXXXXX") || exit 1
    own=1
fi
mkdir -p "$DIR" || exit 1
store=$DIR/store
plain=$DIR/input.csv

finish()
{
    rm -rf "$store" "$store"-* "$DIR/times."*
    [ -n "${KEEP:-}" ] || rm -f "$plain" "$DIR/input.mdb" "$DIR/input.ldb" \
        "$DIR/import.sql"
    [ -z "$own" ] || [ -n "${KEEP:-}" ] || rmdir "$DIR"
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---- what each loader reads ----

prepare()
{
    case $input in
    *.zst) zstd -dqcf "$input" >"$plain" || exit 1 ;;
    *) cp "$input" "$plain" || exit 1 ;;
    esac
    {
        echo 'PRAGMA journal_mode=OFF;'
        echo 'PRAGMA synchronous=OFF;'
        echo 'PRAGMA locking_mode=EXCLUSIVE;'
        echo 'PRAGMA cache_size=-65536;'
        head -n 1 "$plain" | tr -d '\r' | awk -F, -v key="$key" '{
            printf "CREATE TABLE t("
            for (i = 1; i <= NF; i++)
                printf("%s\"%s\"%s", (i > 1 ? "," : ""), $i,
                    ($i == key ? " INTEGER PRIMARY KEY" : " TEXT"))
            print ");"
        }'
        echo 'BEGIN;'
        echo '.mode csv'
        echo ".import --skip 1 \"$plain\" t"
        echo 'COMMIT;'
    } >"$DIR/import.sql"
    rm -rf "$store"
    "$quire" load --db "$store" --key "$key:int" "$plain" >/dev/null || exit 1
    "$quire" dump --db "$store" --format raw | perl -ne '
        BEGIN {
            open(M, ">", $ARGV[0]) or die;
            open(L, ">", $ARGV[1]) or die;
            @ARGV = ();
            print M "VERSION=3\nformat=print\ntype=btree\n",
                "mapsize=4294967296\nHEADER=END\n";
            %plain = (t => "\t", n => "\n", r => "\r", "\\" => "\\");
        }
        chomp;
        next unless /\t/;
        for my $part (split /\t/, $_, -1) {
            $part =~ s/\\(x(..)|.)/defined $2 ? chr hex $2 : $plain{$1}/ge;
            push @pair, $part;
        }
        print L "0x", uc unpack("H*", $pair[0]), " ==> 0x",
            uc unpack("H*", $pair[1]), "\n";
        for (@pair) {
            s/([^ -\[\]-~])/sprintf "\\%02x", ord $1/ge;
            print M " $_\n";
        }
        @pair = ();
    ' "$DIR/input.mdb" "$DIR/input.ldb" || exit 1
    sync
}

# ---- the loaders ----

run_quire()
{
    "$quire" load --db "$store" --key "$key:int" "$plain"
}
run_quire_packed()
{
    "$quire" load --db "$store" --key "$key:int" "$input"
}
run_quire_by_turns()
{
    "$quire" load --threads 1 --db "$store" --key "$key:int" "$plain"
}
run_sqlite()
{
    sqlite3 -init /dev/null "$store" ".read '$DIR/import.sql'"
}
run_mdb()
{
    mkdir "$store" && mdb_load ${append:+-a} -f "$DIR/input.mdb" "$store"
}
run_ldb()
{
    ldb --db="$store" load --create_if_missing --bulk_load --disable_wal \
        --hex --compression_type=lz4 <"$DIR/input.ldb"
}

count_quire() { "$quire" verify --db "$store" | sed -n 's/^records: //p'; }
count_quire_packed() { count_quire; }
count_quire_by_turns() { count_quire; }
count_sqlite() { sqlite3 -init /dev/null "$store" 'select count(*) from t'; }
count_mdb() { mdb_stat "$store" | sed -n 's/^  Entries: //p'; }
count_ldb()
{
    ldb --db="$store" dump --count_only | sed -n 's/^Keys in range: //p'
}

names="quire"
[ "$input" = "${input%.zst}" ] || names="$names quire_packed"
names="$names quire_by_turns"
for one in sqlite:sqlite3 mdb:mdb_load ldb:ldb; do
    if command -v "${one#*:}" >/dev/null; then
        names="$names ${one%:*}"
    else
        echo "LEFT OUT: ${one#*:} is not installed" >&2
    fi
done
# Only newer ones can append, which is what sorted input asks for.
append=
if strings "$(command -v mdb_load)" 2>/dev/null | grep -q '\[-a\]'; then
    append=1
fi
[ -n "${PREPARED:-}" ] || prepare
rm -f "$DIR/times."*
for round in $(seq "$rounds"); do
    for name in $names; do
        rm -rf "$store" "$store"-*
        begin=$(date +%s%N)
        if ! "run_$name" >"$DIR/times.said" 2>&1; then
            echo "$name has failed:" >&2
            cat "$DIR/times.said" >&2
            exit 1
        fi
        end=$(date +%s%N)
        echo $(((end - begin) / 1000000)) >>"$DIR/times.$name"
        if [ "$round" = "$rounds" ]; then
            "count_$name" 2>/dev/null >"$DIR/times.count.$name"
            du -sb "$store" | cut -f1 >"$DIR/times.bytes.$name"
        fi
    done
done

printf '%-16s %8s %8s %8s %12s %10s %12s\n' \
    loader median least most records/s records 'file bytes'
for name in $names; do
    read -r records <"$DIR/times.count.$name"
    read -r bytes <"$DIR/times.bytes.$name"
    sort -n "$DIR/times.$name" | awk -v name="$name" -v records="$records" \
        -v bytes="$bytes" '
        { t[NR] = $1 }
        END {
            m = NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2
            printf "%-16s %8.2f %8.2f %8.2f %12.0f %10d %12d\n", name,
                m / 1000, t[1] / 1000, t[NR] / 1000, records * 1000 / m,
                records, bytes
        }'
done
