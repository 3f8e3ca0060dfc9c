#!/usr/bin/env bash
# Does what the swarm tests stand on work by itself? Kubo and Helia exchange a file and a directory over a key made on
# the spot, on this host, and two Kubos between two network namespaces; a peer with another key is refused.
#   tests/interop/swarm_check.sh        (needs tests/interop/peers.sh; no part of CI by itself)
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/swarm_lib.sh"
. "$here/../support/netns.sh"
swarm_need kubo
swarm_need helia
work=$(mktemp -d)
started=()
clean_up() {
    local stop
    for stop in "${started[@]}"; do
        $stop
    done
    rm -rf "$work"
}
trap clean_up EXIT
failures=0

holds() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        echo "ok: $what"
    else
        echo "FAIL: $what"
        failures=$((failures + 1))
    fi
}

kubo() { # NAME KEY: its address in $address
    address=$(kubo_private_start "$work/$1" "$work/$2") || exit 1
    started+=("kubo_stop $work/$1")
    echo "$1: $address"
}

kubo_gets() { # NAME CID SOURCE
    local out=$work/out-$RANDOM$RANDOM
    kubo_at "$work/$1" --timeout=60s pin add --progress=false "$2" >/dev/null &&
        kubo_at "$work/$1" get --progress=false -o "$out" "$2" >/dev/null && diff -r "$3" "$out"
}

helia_gets() { # CID SOURCE
    local out=$work/out-$RANDOM$RANDOM
    helia_ask "$work/h" pin "$1" >/dev/null && helia_ask "$work/h" get "$1" "$out" >/dev/null && diff -r "$2" "$out"
}

refused() { # NAME ADDRESS
    ! kubo_at "$work/$1" --timeout=10s swarm connect "$2" >/dev/null 2>&1
}

swarm_key_new "$work/key"
swarm_key_new "$work/other"
mkdir -p "$work/tree/sub"
openssl rand -out "$work/file" 5000000
openssl rand -out "$work/tree/a" 1000
openssl rand -out "$work/tree/sub/b" 300000

kubo k1 key
k1=$address
kubo k2 key
file=$(kubo_at "$work/k1" add -Q "$work/file")
tree=$(kubo_at "$work/k1" add -r -Q "$work/tree")
holds "Kubo connects to Kubo" kubo_at "$work/k2" swarm connect "$k1"
holds "Kubo gets a file from Kubo" kubo_gets k2 "$file" "$work/file"
holds "Kubo gets a directory from Kubo" kubo_gets k2 "$tree" "$work/tree"

kubo k3 other
holds "another key is refused" refused k3 "$k1"

helia=$(helia_start "$work/h" "$work/key") || exit 1
started+=("helia_stop $work/h")
echo "helia: $helia"
holds "Helia connects to Kubo" helia_ask "$work/h" connect "$k1"
holds "Helia gets a file from Kubo" helia_gets "$file" "$work/file"
holds "Helia gets a directory from Kubo" helia_gets "$tree" "$work/tree"
openssl rand -out "$work/file2" 3000000
openssl rand -out "$work/tree/c" 2000
file=$(helia_ask "$work/h" add "$work/file2")
tree=$(helia_ask "$work/h" add "$work/tree")
holds "Kubo gets a file from Helia" kubo_gets k1 "$file" "$work/file2"
holds "Kubo gets a directory from Helia" kubo_gets k1 "$tree" "$work/tree"

netns_start 2
SWARM_NETNS=$(netns_name 1) SWARM_IP=$(netns_ip 1) kubo n1 key
n1=$address
SWARM_NETNS=$(netns_name 2) SWARM_IP=$(netns_ip 2) kubo n2 key
file=$(kubo_at "$work/n1" add -Q "$work/file")
holds "Kubo connects across namespaces" kubo_at "$work/n2" swarm connect "$n1"
holds "Kubo gets a file across namespaces" kubo_gets n2 "$file" "$work/file"
netns_cut 1
holds "a cut host is not reached" refused k1 "$n1"

ended() {
    ! kill -0 "$(cat "$work/$1/pid")" 2>/dev/null
}
daemon_of() {
    [ "$(cat "/proc/$(cat "$work/$1/pid")/comm")" = "$2" ]
}
for name in k1 k2 k3; do
    holds "$name is known by the process id of its daemon" daemon_of "$name" ipfs
    kubo_stop "$work/$name"
    holds "$name ends when it is stopped" ended "$name"
done
helia_stop "$work/h"
holds "Helia ends when it is stopped" ended h
started=()
echo "$failures failed"
[ "$failures" -eq 0 ]
