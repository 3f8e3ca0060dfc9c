# Sourced by tests of the private swarm: Kubo daemons, Helia nodes and our own, which hold a swarm key. Each has a folder,
# DIR, which must not exist; with SWARM_NETNS set they run in that network namespace, and listen on SWARM_IP (default
# 127.0.0.1). Who starts one stops it, before DIR goes. The functions work in $(...) too. A private Kubo has neither
# routing nor other transports: its peers are connected by hand.
# shellcheck shell=bash

swarm_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
swarm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/fabric-peers

# swarm_need kubo|helia: skips the test, or in CI fails it, unless that peer is installed
swarm_need() {
    local program=$swarm_cache/bin/ipfs
    [ "$1" = kubo ] || program=$swarm_cache/helia/node_modules/.bin/node
    [ -x "$program" ] && return
    echo "SKIP: $1 is not installed (run tests/interop/peers.sh $1)"
    [ "${CI:-}" = true ] && exit 1
    exit 77
}

# swarm_key_new FILE: a fresh key. Base 16, the one form that Helia reads.
swarm_key_new() {
    (umask 077 && printf '/key/swarm/psk/1.0.0/\n/base16/\n%s\n' "$(openssl rand -hex 32)" >"$1")
}

# swarm_exec COMMAND...: becomes the command, in the namespace; for a subshell, whose process id is then the command's
swarm_exec() {
    if [ -n "${SWARM_NETNS:-}" ]; then
        exec ip netns exec "$SWARM_NETNS" "$@"
    fi
    exec "$@"
}

# swarm_end PID: asks it to end, and makes it after 10 s
swarm_end() {
    local i
    kill "$1" 2>/dev/null
    for ((i = 0; i < 100; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null
    return 1
}

# ---- Kubo

# kubo_at DIR ARG...: ipfs on that repository, through its daemon when one runs (from any namespace)
kubo_at() {
    local dir=$1
    shift
    IPFS_PATH=$dir IPFS_TELEMETRY=off LIBP2P_FORCE_PNET=1 "$swarm_cache/bin/ipfs" "$@"
}

kubo_private_init() { # DIR KEYFILE PORT; KUBO_PROFILE says how its CIDs are made
    kubo_at "$1" init --profile="test,${KUBO_PROFILE:-unixfs-v1-2025}" >/dev/null || return
    cp "$2" "$1/swarm.key" || return
    jq --arg listen "/ip4/${SWARM_IP:-127.0.0.1}/tcp/$3" --arg api "/unix$1/api.sock" '
        .Addresses.Swarm = [$listen] | .Addresses.API = $api | .Addresses.Gateway = [] | .Bootstrap = []
        | .AutoConf.Enabled = false | .AutoTLS.Enabled = false | .Routing.Type = "none"
        | .Swarm.Transports.Network.Websocket = false' "$1/config" >"$1/config.new" &&
        mv "$1/config.new" "$1/config"
}

# kubo_private_start DIR KEYFILE [PORT]: DIR is absolute and short (its API is a socket there). Prints the address with
# the peer id, once the daemon answers. Its log is DIR/log.
kubo_private_start() {
    kubo_private_init "$1" "$2" "${3:-0}" && kubo_run "$1"
}

# kubo_run DIR: the same again, after it was stopped
kubo_run() {
    local i pid address id
    rm -f "$1/api" "$1/api.sock" # what a killed one left
    IPFS_PATH=$1 IPFS_TELEMETRY=off LIBP2P_FORCE_PNET=1 \
        swarm_exec "$swarm_cache/bin/ipfs" daemon >>"$1/log" 2>&1 &
    pid=$!
    echo "$pid" >"$1/pid"
    for ((i = 0; i < 300; i++)); do
        if [ -e "$1/api" ] && address=$(kubo_at "$1" swarm addrs listen 2>/dev/null) && [ -n "$address" ]; then
            id=$(kubo_at "$1" id -f '<id>') || return
            echo "${address%%$'\n'*}/p2p/$id"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "kubo does not answer:" >&2
    tail -n 5 "$1/log" >&2
    return 1
}

# kubo_stop DIR
kubo_stop() {
    swarm_end "$(cat "$1/pid")"
}

# ---- Helia

# helia_start DIR KEYFILE [PORT]: prints its address with the peer id, once it listens. Its log is DIR/log.
helia_start() {
    local peer
    mkdir "$1" && mkfifo "$1/in" "$1/out" || return
    # Beside its node_modules, where imports are looked for.
    peer=$(mktemp -p "$swarm_cache/helia" peer-XXXXXXXX.mjs) || return
    cp "$swarm_here/helia_peer.mjs" "$peer" || return
    # Both ends of both pipes stay open in the node: every helia_ask may open and close them.
    swarm_exec "$swarm_cache/helia/node_modules/.bin/node" "$peer" "$2" \
        "/ip4/${SWARM_IP:-127.0.0.1}/tcp/${3:-0}" 0<>"$1/in" 1<>"$1/out" 2>"$1/log" &
    echo $! >"$1/pid"
    helia_answer "$1"
    local rc=$?
    rm -f "$peer"
    return "$rc"
}

helia_answer() {
    local reply='' part i
    for ((i = 0; i < 130; i++)); do
        if read -r -t 1 part <>"$1/out"; then
            reply+=$part
            case $reply in
            ok*)
                reply=${reply#ok}
                echo "${reply# }"
                return 0
                ;;
            *)
                echo "helia: $reply" >&2
                return 1
                ;;
            esac
        fi
        reply+=$part # the time was over in the middle of a line
        kill -0 "$(cat "$1/pid")" 2>/dev/null || break
    done
    echo "helia does not answer:" >&2
    tail -n 15 "$1/log" >&2
    return 1
}

# helia_ask DIR COMMAND...: as helia_peer.mjs has them; prints the value
helia_ask() {
    local dir=$1
    shift
    kill -0 "$(cat "$dir/pid")" 2>/dev/null && echo "$*" >"$dir/in"
    helia_answer "$dir"
}

# helia_stop DIR
helia_stop() {
    echo quit >"$1/in"
    swarm_end "$(cat "$1/pid")"
}

# ---- ours; the program is $fabric, or the one in PATH

# fabric_at DIR ARG...: fabric on that home, in the workspace that fabric_start made
fabric_at() {
    local dir=$1
    shift
    (swarm_exec "${fabric:-fabric}" --home "$dir" --workspace swarm "$@")
}

# fabric_start DIR KEYFILE PORT [MULTIADDR]...: prints its address with the peer id, once it listens, there too. It
# meets nobody by itself.
fabric_start() {
    local id extra listen=(--listen "/ip4/${SWARM_IP:-127.0.0.1}/tcp/$3")
    for extra in "${@:4}"; do
        listen+=(--listen "$extra")
    done
    mkdir -m 700 "$1" && echo 'swarm { mdns = false }' >"$1/fabric.conf" || return
    "${fabric:-fabric}" --home "$1" workspace import-key swarm "$2" >/dev/null || return
    fabric_at "$1" up --detach "${listen[@]}" >"$1/up.log" 2>&1 </dev/null || return
    id=$(fabric_at "$1" id | grep -oE '12D3KooW[1-9A-HJ-NP-Za-km-z]+' | head -n 1)
    [ -n "$id" ] && echo "/ip4/${SWARM_IP:-127.0.0.1}/tcp/$3/p2p/$id"
}

# fabric_stop DIR
fabric_stop() {
    fabric_at "$1" down >/dev/null
}
