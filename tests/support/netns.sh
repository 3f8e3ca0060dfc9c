# Sourced by tests that want several hosts: network namespaces on one bridge, each with an address and an own link.
# netns_start N makes hosts 1 to N; host I is 10.77.0.I/24 on its eth0, with lo up. The bridge has a namespace of its
# own, so nothing of the machine is changed. All of it, and what runs in it, goes when the test ends. Needs root and
# iproute2; without, netns_start ends the test with 77 (skipped) and says why.
# shellcheck shell=bash

netns_prefix=fabric-$$-
netns_count=0

# netns_start N: once per test
netns_start() {
    local why i
    if [ "$(id -u)" -ne 0 ]; then
        why="not root"
    elif ! command -v ip >/dev/null; then
        why="iproute2 is not installed"
    elif ! why=$(ip netns add "${netns_prefix}0" 2>&1); then
        why="not permitted here: $why"
    else
        why=
    fi
    if [ -n "$why" ]; then
        echo "SKIP: network namespaces: $why"
        exit 77
    fi
    netns_at_exit
    ip -n "${netns_prefix}0" link add bridge type bridge || return
    ip -n "${netns_prefix}0" link set bridge up || return
    for ((i = 1; i <= $1; i++)); do
        netns_add_host "$i" || return
    done
}

netns_add_host() {
    local host=$netns_prefix$1
    ip netns add "$host" || return
    netns_count=$1
    ip -n "$host" link set lo up || return
    ip -n "${netns_prefix}0" link add "port$1" type veth peer name eth0 netns "$host" || return
    ip -n "${netns_prefix}0" link set "port$1" master bridge up || return
    ip -n "$host" addr add "$(netns_ip "$1")/24" dev eth0 || return
    ip -n "$host" link set eth0 up
}

# Before what the test does at its end: a scratch folder can go only when nothing writes to it any more.
netns_at_exit() {
    if declare -F on_exit >/dev/null; then
        on_exit netns_stop
        return
    fi
    local -a earlier
    eval "earlier=($(trap -p EXIT))" # trap -- COMMAND EXIT
    # shellcheck disable=SC2064 # the earlier command is meant as it is now
    trap "netns_stop; ${earlier[2]:-:}" EXIT
}

netns_stop() {
    local i pids
    for ((i = netns_count; i >= 1; i--)); do
        pids=$(ip netns pids "$netns_prefix$i" 2>/dev/null)
        # shellcheck disable=SC2086 # a list of numbers
        [ -z "$pids" ] || kill -9 $pids 2>/dev/null
        ip netns del "$netns_prefix$i"
    done
    ip netns del "${netns_prefix}0"
    netns_count=0
}

# The address of host I.
netns_ip() {
    echo "10.77.0.$1"
}

# The namespace of host I, for `ip netns exec`.
netns_name() {
    echo "$netns_prefix$1"
}

# netns_run I COMMAND...
netns_run() {
    local host=$netns_prefix$1
    shift
    ip netns exec "$host" "$@"
}

# netns_rate I RATE: what host I sends and gets is held to RATE (as tc has it: 200mbit), each way.
netns_rate() {
    local shape=(tbf rate "$2" burst 256k latency 50ms)
    tc -n "$netns_prefix$1" qdisc replace dev eth0 root "${shape[@]}" &&
        tc -n "${netns_prefix}0" qdisc replace dev "port$1" root "${shape[@]}"
}

# netns_cut I, netns_heal I: takes host I from the network without a word to anybody, and gives it back.
netns_cut() {
    ip -n "${netns_prefix}0" link set "port$1" nomaster
}

netns_heal() {
    ip -n "${netns_prefix}0" link set "port$1" master bridge
}
