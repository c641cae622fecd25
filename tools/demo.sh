#!/bin/sh
#
# demo.sh - what quire does, shown on a million records.
#
#   tools/demo.sh [PROGRAM]
#
# PROGRAM is the program `quire`; without it $QUIRE_BIN, else build/quire. Needs
# half a gigabyte in $TMPDIR (or /tmp) for some seconds; leaves nothing
# behind. Each step is checked: the status is 0 only if all of them did what
# they say.

set -eu

quire=${1:-${QUIRE_BIN:-build/quire}}
records=1000000
budget=32 # MiB
slack=24  # MiB that code, stacks and decoding may take besides

if [ ! -x "$quire" ]; then
    echo "demo: $quire is no program; run make first" >&2
    exit 1
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/quire-demo-XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
db=$dir/crimes.quire

step()
{
    printf '\n== %s\n' "$*"
}

fail()
{
    echo "demo: FAILED: $*" >&2
    exit 1
}

# same WHAT GOT WANT
same()
{
    [ "$2" = "$3" ] || fail "$1 is $2, not $3"
}

# figure NAME FILE: the number in the line `NAME: NUMBER`
figure()
{
    sed -n "s/^$1: //p" "$2"
}

start=$(date +%s)

step "Generate $records records of CSV."
"$quire" gen --shape crimes --records $records --seed 1 >"$dir/crimes.csv"
ls -l "$dir/crimes.csv" | awk '{ print $5, "bytes; they begin with" }'
head -n 3 "$dir/crimes.csv"
same 'the number of lines' "$(wc -l <"$dir/crimes.csv" | tr -d ' ')" \
    $((records + 1))

step "Load them within $budget MiB of memory, a durable commit each 100,000."
if [ -x /usr/bin/time ]; then
    measure="/usr/bin/time -q -f %M -o $dir/peak"
else
    measure=
fi
# shellcheck disable=SC2086  # the measure is a command with arguments
$measure "$quire" load --db "$db" --memory ${budget}M --commit-every 100000 \
    --key ID:int "$dir/crimes.csv" >"$dir/load"
cat "$dir/load"
same 'records loaded' "$(figure 'records loaded' "$dir/load")" $records
same 'records rejected' "$(figure 'records rejected' "$dir/load")" 0
same 'revisions' "$(figure revisions "$dir/load")" 10

step "Read some back: the first record, one in the middle, the last."
first=$("$quire" scan --db "$db" --keys --limit 1)
last=$("$quire" scan --db "$db" --keys --limit 1 --reverse)
middle=$("$quire" scan --db "$db" --keys --limit 1 --from 11000000)
"$quire" get --db "$db" "$first" "$middle" "$last" >"$dir/got"
cat "$dir/got"
for key in "$first" "$middle" "$last"; do
    grep -m 1 "^$key," "$dir/crimes.csv"
done | cmp - "$dir/got" || fail 'the records differ from the input'

step "Scan a range of keys, from 11500000 up to 11500010."
"$quire" scan --db "$db" --from 11500000 --to 11500010 >"$dir/range"
cut -d, -f 1-9 "$dir/range"
same 'the number of records' "$(sed 1d "$dir/range" | wc -l | tr -d ' ')" \
    "$(awk -F, '$1 >= 11500000 && $1 < 11500010' "$dir/crimes.csv" |
        wc -l | tr -d ' ')"

step "Scan everything, and compare it with the input, sorted."
"$quire" scan --db "$db" >"$dir/all"
{
    head -n 1 "$dir/crimes.csv"
    sed 1d "$dir/crimes.csv" | LC_ALL=C sort -t , -k 1,1n
} | cmp - "$dir/all" || fail 'the scan differs from the input'
echo "$records records, byte for byte the same"
rm "$dir/all"

step "Change one record and delete another; look at the revision before."
"$quire" get --db "$db" "$middle" >"$dir/old"
sed 's/,02\/10\/2018 /,11\/20\/2026 /' "$dir/old" |
    "$quire" put --db "$db" "$middle" -
"$quire" del --db "$db" "$last"
"$quire" revisions --db "$db" | tail -n 4
echo 'now:'
"$quire" get --db "$db" "$middle" | tee "$dir/now"
echo 'at revision 10:'
"$quire" get --db "$db" --rev 10 "$middle" "$last" >"$dir/then"
cat "$dir/then"
grep -q ',11/20/2026 ' "$dir/now" || fail 'the change is not there'
sed 1d "$dir/got" | cmp - "$dir/then" || fail 'the past has changed'
same 'records at revision 3' \
    "$("$quire" scan --db "$db" --rev 3 --keys | wc -l | tr -d ' ')" 300000
if "$quire" get --db "$db" "$last" 2>"$dir/error"; then
    fail 'the deleted record is there'
fi
cat "$dir/error"

step "Verify every page of every revision."
"$quire" verify --db "$db" --memory ${budget}M | tee "$dir/verify"
same 'faults' "$(figure faults "$dir/verify")" 0
same 'records' "$(figure records "$dir/verify")" $((records - 1))

step "Memory during the load, in MiB."
awk -F ': ' -v budget=$budget '
    /^memory budget bytes/ { printf "budget            %7.1f\n", $2 / 1048576 }
    /^memory peak resident/ {
        printf "peak of the store %7.1f\n", $2 / 1048576
        if ($2 > budget * 1048576)
            exit 1
    }
    /^regions |^pages still|^segments still/ {
        printf "%-24s %s\n", $1, $2
    }' "$dir/load" || fail 'the store has passed its budget'
if [ -s "$dir/peak" ]; then
    awk '{ printf "peak of the process, from outside %.1f\n", $1 / 1024 }' \
        "$dir/peak"
    [ "$(cat "$dir/peak")" -le $(((budget + slack) * 1024)) ] ||
        fail "the process took more than $budget + $slack MiB"
fi
same 'pages still pinned' "$(figure 'pages still pinned' "$dir/load")" 0
same 'segments still in use' "$(figure 'segments still in use' "$dir/load")" 0

printf '\ndemo: all of it is as it should be, in %d seconds\n' \
    $(($(date +%s) - start))
