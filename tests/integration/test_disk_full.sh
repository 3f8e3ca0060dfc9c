#!/usr/bin/env bash
# A full disk: one clear line, nothing lost, nothing half-written, and room that gc makes is room for the next put. In
# memory, and on a disk, where large blocks are written past the page cache.
set -eu
source "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount the small file system that this test fills"; exit 77; }
openssl rand 15000000 >"$work/first"
openssl rand 60000000 >"$work/second"
head -c 20000000 "$work/second" >"$work/third"

# fills WHERE: a home in the file system, of about 48 MB, that is mounted there.
fills()
{
    local small=$1 first third
    export FABRIC_HOME=$small/home
    mkdir -m 700 "$FABRIC_HOME"
    echo "store { cached = 1M }" >"$FABRIC_HOME/fabric.conf"
    rm -f "$work"/got*
    first=$(fabric put -q "$work/first")

    if fabric put -q "$work/second" >"$work/out" 2>"$work/err"; then
        fail "60 MB were put on a disk of 48 MB"
    fi
    [ ! -s "$work/out" ] || fail "a CID was printed for a put that failed"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $(cat "$work/err")"
    grep -qi "space" "$work/err" || fail "the line does not say that the disk is full: $(cat "$work/err")"

    fabric get -q --verify -o "$work/got" "$first"
    cmp "$work/first" "$work/got"
    [ "$(fabric pin ls -q | wc -l)" = 1 ] || fail "a pin of the failed put stayed"

    third=$(fabric put -q "$work/third") || fail "what fits is refused after a full disk"
    fabric get -q --verify -o "$work/got3" "$third"
    cmp "$work/third" "$work/got3"

    # A get onto the full disk leaves nothing.
    if fabric get -q -o "$small/big" "$third" 2>"$work/err"; then
        fail "20 MB were written to a full disk"
    fi
    [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $(cat "$work/err")"
    [ -z "$(find "$small" -mindepth 1 -maxdepth 1 ! -name home ! -name lost+found)" ] || fail "a failed get left something"
}

mkdir "$work/memory"
mount -t tmpfs -o size=48m tmpfs "$work/memory"
on_exit "umount '$work/memory'"
fills "$work/memory"

mount_image "$work/disk" 56M mkfs.ext4 -m 0
fills "$work/disk"
echo "ok"
