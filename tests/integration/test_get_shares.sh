#!/usr/bin/env bash
# On a file system whose files can share pages (XFS, btrfs), a get of large blocks writes none: it takes no room, and
# neither the store nor the result sees what becomes of the other.
set -eu
source "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount the file system that this test needs"; exit 77; }
# 100 MB with an odd tail, a hole and blocks too small to share; a tree of files of one block.
openssl rand 100000001 >"$work/large"
truncate -s 130000000 "$work/large"
openssl rand 12345 >>"$work/large"
mkdir "$work/tree"
for i in 1 2 3 4 5 6 7 8; do openssl rand $((i * 120011)) >"$work/tree/$i"; done
openssl rand 60000000 >"$work/other"

# MiB that are used of the file system, once everything is written.
used()
{
    sync -f "$place"
    df --output=used -B1M "$place" | tail -n 1 | tr -d ' '
}

# shares MKFS-ARGUMENT...: with a home in a new file system.
shares()
{
    local before after large tree other wrapped
    place=$work/$1
    export FABRIC_HOME=$place/home
    rm -f "$work/elsewhere"
    mount_image "$place" 600M "$@"

    mkdir -m 700 "$FABRIC_HOME" # what is put goes through the page cache first, and then past it
    echo "store { cached = 20M }" >"$FABRIC_HOME/fabric.conf"
    large=$(fabric put -q "$work/large")
    tree=$(fabric put -q "$work/tree")

    before=$(used)
    fabric get -q -o "$place/large" "$large"
    fabric get -q --verify -o "$place/large2" "$large"
    fabric get -q -o "$place/tree" "$tree"
    after=$(used)
    [ $((after - before)) -le 8 ] || fail "three gets of 205 MB took $((after - before)) MiB"
    cmp "$work/large" "$place/large"
    cmp "$work/large" "$place/large2"
    diff -r "$work/tree" "$place/tree"
    [ "$(stat -c %b "$place/large")" -le $((102 << 11)) ] || fail "the hole was filled"

    # Who writes into the result changes neither the store nor another result.
    printf 'changed' | dd of="$place/large" bs=1 seek=5000000 conv=notrunc status=none
    fabric verify -q || fail "a change of the result has damaged the store"
    cmp "$work/large" "$place/large2"

    # A store whose blocks were collected, whose room was taken by others, and which gave back the rest leaves the results.
    fabric pin rm -q "$large" >/dev/null
    fabric pin rm -q "$tree" >/dev/null
    fabric gc -q
    other=$(fabric put -q "$work/other")
    fabric gc -q --compact
    cmp "$work/large" "$place/large2"
    diff -r "$work/tree" "$place/tree"
    fabric get -q --verify -o "$place/other" "$other"
    cmp "$work/other" "$place/other"

    # Blocks whose payload begins inside a page, and another file system for the result: copied.
    wrapped=$(fabric put -q --profile unixfs-v0-2015 "$work/other")
    fabric get -q -o "$place/wrapped" "$wrapped"
    cmp "$work/other" "$place/wrapped"
    fabric get -q -o "$work/elsewhere" "$other"
    cmp "$work/other" "$work/elsewhere"
}

shares mkfs.xfs
shares mkfs.btrfs
echo "ok"
