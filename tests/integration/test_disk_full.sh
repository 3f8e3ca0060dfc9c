#!/usr/bin/env bash
# A full disk: one clear line, nothing lost, nothing half-written, and room that gc makes is room for the next put.
set -eu
source "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount the small file system that this test fills"; exit 77; }
mkdir "$work/small"
mount -t tmpfs -o size=48m tmpfs "$work/small"
on_exit "umount '$work/small'"
export FABRIC_HOME=$work/small/home

openssl rand 15000000 >"$work/first"
openssl rand 60000000 >"$work/second"
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

head -c 20000000 "$work/second" >"$work/third"
third=$(fabric put -q "$work/third") || fail "what fits is refused after a full disk"
fabric get -q --verify -o "$work/got3" "$third"
cmp "$work/third" "$work/got3"

# A get onto the full disk leaves nothing.
if fabric get -q -o "$work/small/big" "$third" 2>"$work/err"; then
    fail "20 MB were written to a full disk"
fi
[ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $(cat "$work/err")"
[ -z "$(find "$work/small" -maxdepth 1 ! -name home ! -path "$work/small")" ] || fail "a failed get left something"
echo "ok"
