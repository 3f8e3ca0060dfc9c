#!/usr/bin/env bash
# Two processes put while a third collects, for FABRIC_SECONDS (60): nothing that was acknowledged is lost, and
# what was unpinned goes.
set -eu
source "$(dirname "$0")/lib.sh"

seconds=${FABRIC_SECONDS:-60}
export FABRIC_HOME=$work/home
fabric put -q - </dev/null >/dev/null
echo "store { cached = 1M }" >"$FABRIC_HOME/fabric.conf" # large blocks take both ways to the disk
end=$((SECONDS + seconds))

putter() {
    local n=0
    mkdir -p "$work/$1"
    while [ "$SECONDS" -lt "$end" ]; do
        n=$((n + 1))
        # Half of each file is common to both putters and to every round: old blocks are touched again.
        { head -c 3000000 /dev/zero | tr '\0' x; openssl rand $((n % 7 * 700000 + 10)); } >"$work/$1/file"
        cid=$(fabric put -q "$work/$1")
        if [ $((n % 3)) = 0 ]; then
            fabric pin rm -q "$cid" >/dev/null
        else
            echo "$cid" >>"$work/$1.kept"
        fi
    done
    echo "$1: $n puts"
}

collector() {
    local n=0
    while [ "$SECONDS" -lt "$end" ]; do
        fabric gc -q >/dev/null
        n=$((n + 1))
    done
    echo "$n collections"
    [ "$n" -gt 3 ]
}

putter a &
a=$!
putter b &
b=$!
collector &
c=$!
wait $a || fail "a put failed"
wait $b || fail "a put failed"
wait $c || fail "a collection failed, or there were too few"
sort -u "$work/a.kept" "$work/b.kept" | while read -r cid; do
    fabric get -q --verify -o "$work/got" "$cid" || fail "$cid was lost"
    rm -rf "${work:?}/got"
done
fabric verify -q || fail "verify found a damaged block"
fabric gc -q >/dev/null
pins=$(fabric pin ls -q | wc -l)
kept=$(sort -u "$work/a.kept" "$work/b.kept" | wc -l)
[ "$pins" = $((kept + 1)) ] || fail "$kept kept, but $pins pins"
echo "ok: $kept kept"
