#!/usr/bin/env bash
# Kubo, connected to a node of ours that listens on all addresses, learns of one that is added later (identify push).
. "$(dirname "$0")/swarm_lib.sh"
. "$(dirname "$0")/../support/netns.sh"
. "$(dirname "$0")/../integration/lib.sh"

swarm_need kubo
netns_start 2
swarm_key_new key
stop() {
    fabric_stop "$work/ours"
    SWARM_NETNS=$(netns_name 1) kubo_stop "$work/kubo"
}
on_exit stop

kubo=$(SWARM_NETNS=$(netns_name 1) SWARM_IP=$(netns_ip 1) kubo_private_start "$work/kubo" key 4001) || fail "kubo"
export SWARM_NETNS SWARM_IP=0.0.0.0
SWARM_NETNS=$(netns_name 2)
ours=$(fabric_start "$work/ours" key 4001) || fail "fabric: $(cat "$work/ours/up.log")"
id=${ours##*/}
fabric_at "$work/ours" swarm connect "$kubo" >/dev/null || fail "not connected"

# told ADDRESS: Kubo knows it as one of ours, within ten seconds
told() {
    local i
    for ((i = 0; i < 100; i++)); do
        kubo_at "$work/kubo" id "$id" | jq -e --arg a "/ip4/$1/tcp/4001/p2p/$id" '.Addresses | index($a)' >/dev/null &&
            return
        sleep 0.1
    done
    fail "Kubo was not told of $1: $(kubo_at "$work/kubo" id "$id" | jq -c .Addresses)"
}

told "$(netns_ip 2)"
kubo_at "$work/kubo" id "$id" | jq -e '[.Addresses[] | select(contains("10.77.0.99"))] | length == 0' >/dev/null ||
    fail "told of an address that is not there"
sleep 6 # our first look at the interfaces is behind us
ip -n "$SWARM_NETNS" addr add 10.77.0.99/24 dev eth0
told 10.77.0.99
