#!/usr/bin/env bash
# What a put begins with is in the page cache afterwards, for who reads it next; the large blocks that come when that is
# enough are not, in every profile whose leaves are whole pages.
set -eu
source "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount the file system that this test needs"; exit 77; }
mount_image "$work/disk" 600M mkfs.ext4 -m 0
openssl rand 60000000 >"$work/file"

# cached_by CONF ARGUMENT...: MB of blocks.dat that are in the page cache after a put into a new home.
cached_by()
{
    export FABRIC_HOME=$work/disk/home
    rm -rf "$FABRIC_HOME"
    mkdir -m 700 "$FABRIC_HOME"
    echo "$1" >"$FABRIC_HOME/fabric.conf"
    shift
    fabric put -q "$@" "$work/file" >"$work/cid"
    resident=$(fincore -b -n -o RES "$FABRIC_HOME/store/blocks.dat")
    resident=$((resident / 1000000))
    fabric get -q --verify -o "$work/got" "$(cat "$work/cid")"
    cmp "$work/file" "$work/got"
    rm "$work/got"
}

cached_by ''
[ "$resident" -ge 55 ] || fail "of a put of 60 MB, $resident MB stayed in the page cache"
for profile in unixfs-v1-2025 cid-v1-plain; do
    cached_by 'store { cached = 10M }' --profile "$profile"
    { [ "$resident" -ge 8 ] && [ "$resident" -le 14 ]; } || fail "$profile: $resident MB stayed in the page cache, not 10"
done
cached_by 'store { cached = 1 }' --chunker size-131072
[ "$resident" -le 4 ] || fail "chunks of 128 KiB: $resident MB stayed in the page cache"
echo "ok"
