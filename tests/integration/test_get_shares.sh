#!/usr/bin/env bash
# On a file system whose files can share pages (XFS, btrfs), a get of large blocks writes none: it takes no room, and
# neither the store nor the result sees what becomes of the other.
set -eu
source "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount the file system that this test needs"; exit 77; }
truncate -s 600M "$work/image"
mkfs.xfs -q "$work/image" || fail "mkfs.xfs: install xfsprogs"
mkdir "$work/xfs"
if ! mount -o loop "$work/image" "$work/xfs" 2>"$work/err"; then
    echo "SKIP: an XFS cannot be mounted from a file here: $(cat "$work/err")"
    exit 77
fi
on_exit "umount '$work/xfs'"
export FABRIC_HOME=$work/xfs/home

# MiB that are used of it, once everything is written.
used()
{
    sync -f "$work/xfs"
    df --output=used -B1M "$work/xfs" | tail -n 1 | tr -d ' '
}

# 100 MB with an odd tail, a hole and blocks too small to share; a tree of files of one block.
openssl rand 100000001 >"$work/large"
truncate -s 130000000 "$work/large"
openssl rand 12345 >>"$work/large"
mkdir "$work/tree"
for i in 1 2 3 4 5 6 7 8; do openssl rand $((i * 120011)) >"$work/tree/$i"; done
large=$(fabric put -q "$work/large")
tree=$(fabric put -q "$work/tree")

before=$(used)
fabric get -q -o "$work/xfs/large" "$large"
fabric get -q --verify -o "$work/xfs/large2" "$large"
fabric get -q -o "$work/xfs/tree" "$tree"
after=$(used)
[ $((after - before)) -le 8 ] || fail "three gets of 205 MB took $((after - before)) MiB"
cmp "$work/large" "$work/xfs/large"
cmp "$work/large" "$work/xfs/large2"
diff -r "$work/tree" "$work/xfs/tree"
[ "$(stat -c %b "$work/xfs/large")" -le $((102 << 11)) ] || fail "the hole was filled"

# Who writes into the result changes neither the store nor another result.
printf 'changed' | dd of="$work/xfs/large" bs=1 seek=5000000 conv=notrunc status=none
fabric verify -q || fail "a change of the result has damaged the store"
cmp "$work/large" "$work/xfs/large2"

# A store whose blocks were collected, whose room was taken by others, and which gave back the rest leaves the results.
fabric pin rm -q "$large" >/dev/null
fabric pin rm -q "$tree" >/dev/null
fabric gc -q
openssl rand 60000000 >"$work/other"
other=$(fabric put -q "$work/other")
fabric gc -q --compact
cmp "$work/large" "$work/xfs/large2"
diff -r "$work/tree" "$work/xfs/tree"
fabric get -q --verify -o "$work/xfs/other" "$other"
cmp "$work/other" "$work/xfs/other"

# Blocks whose payload begins inside a page, and another file system for the result: copied.
wrapped=$(fabric put -q --profile unixfs-v0-2015 "$work/other")
fabric get -q -o "$work/xfs/wrapped" "$wrapped"
cmp "$work/other" "$work/xfs/wrapped"
fabric get -q -o "$work/elsewhere" "$other"
cmp "$work/other" "$work/elsewhere"
echo "ok"
