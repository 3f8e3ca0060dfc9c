#!/usr/bin/env bash
# kill -9 at random points of put, gc and pin: every acknowledged CID is whole afterwards without any repair, and one
# gc takes back all that is left over. FABRIC_KILLS sets the number of kills, FABRIC_SEED repeats a run.
set -eu
source "$(dirname "$0")/lib.sh"

kills=${FABRIC_KILLS:-100}
RANDOM=${FABRIC_SEED:-$((BASHPID % 32768))}
echo "seed ${FABRIC_SEED:-$((BASHPID % 32768))}, $kills kills"

export FABRIC_HOME=$work/home
mkdir "$work/data"
acknowledged=$work/acknowledged
: >"$acknowledged"

fabric put -q - </dev/null >/dev/null # the home and the store are made before the first kill
echo "store { cached = 1M }" >"$FABRIC_HOME/fabric.conf" # large blocks take both ways to the disk

# A tree of some 6 MB that no other round has.
make_data() {
    local i
    rm -rf "${work:?}/data"
    mkdir -p "$work/data/small"
    openssl enc -aes-256-ctr -pass "pass:$1" -nosalt -pbkdf2 -iter 1 -in /dev/zero 2>/dev/null |
        head -c $((RANDOM * 200)) >"$work/data/large" || true
    for i in $(seq 1 60); do
        printf '%s %s\n' "$1" "$i" >"$work/data/small/$i"
    done
}

for round in $(seq 1 "$kills"); do
    case $((RANDOM % 4)) in
    0 | 1)
        make_data "$round-$RANDOM"
        (exec fabric put -q "$work/data" >"$work/out" 2>/dev/null) &
        ;;
    2) (exec fabric gc >/dev/null 2>&1) & ;;
    3)
        cid=$(shuf -n 1 --random-source=<(yes "$round") "$acknowledged" || true)
        [ -n "$cid" ] || continue
        (exec fabric pin add --name "round $round" "$cid" >/dev/null 2>&1) &
        ;;
    esac
    victim=$!
    sleep "0.$(printf '%03d' $((RANDOM % 120)))"
    kill -9 "$victim" 2>/dev/null || true
    wait "$victim" 2>/dev/null || true
    if [ -s "$work/out" ]; then
        cat "$work/out" >>"$acknowledged"
    fi
    rm -f "$work/out"
done

count=$(sort -u "$acknowledged" | wc -l)
echo "$count puts were acknowledged"
[ "$count" -gt 0 ] || fail "no put survived: the kills come too early to test anything"
fabric verify -q || fail "verify found a damaged block"
sort -u "$acknowledged" | while read -r cid; do
    fabric get -q --verify -o "$work/got" "$cid" || fail "$cid was acknowledged and is not whole"
    rm -rf "${work:?}/got"
done

fabric pin ls -q | while read -r cid; do
    fabric pin rm -q "$cid" >/dev/null
done
fabric gc -q >/dev/null
blocks=$(fabric df --json | jq .store.blocks)
[ "$blocks" = 0 ] || fail "$blocks blocks are left that gc does not take"
left=$(find "$FABRIC_HOME/store" -name 'mark-*' -o -path '*/leases/*' | wc -l)
[ "$left" = 0 ] || fail "$left work files of killed processes are left"
echo "ok"
