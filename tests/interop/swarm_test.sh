# Sourced by the tests that exchange content in a private swarm, after lib.sh: peers by name, and what arrives at them.
# A name's first letter says what it is: k a Kubo, h a Helia, f one of ours. Its folder is $scratch/NAME.
# shellcheck shell=bash
# shellcheck source=tests/interop/swarm_lib.sh
. "$here/swarm_lib.sh"

running=()

stop_all() {
    local name pid
    for name in "${running[@]}"; do
        case $name in
        k* | h*) [ -e "$scratch/$name/pid" ] && pid=$(cat "$scratch/$name/pid") && kill -9 "$pid" 2>/dev/null ;;
        f*)
            pid=$(fabric_pid "$name")
            [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
            ;;
        esac
    done
    wait
    chmod -R u+rwX "$scratch"
    rm -rf "$scratch"
}
trap stop_all EXIT

# on NAME ARG...: ipfs, fabric, or a command of helia_peer.mjs, at that peer
on() {
    local name=$1
    shift
    case $name in
    k*) kubo_at "$scratch/$name" "$@" ;;
    h*) helia_ask "$scratch/$name" "$@" ;;
    f*) fabric_at "$scratch/$name" "$@" ;;
    esac
}

fabric_pid() { # NAME
    "$fabric" --home "$scratch/$1" --json status 2>/dev/null | jq -r .pid
}

free_port() {
    local port
    for port in $(shuf -i 20000-32000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# start NAME [KEY]: its address is then in the variable address_NAME. A Kubo whose name ends in 0 has the old profile.
start() {
    local name=$1 key=${2:-key} profile=unixfs-v1-2025 address
    running+=("$name")
    case $name in
    k*0) profile=unixfs-v0-2015 ;;
    esac
    case $name in
    k*) address=$(KUBO_PROFILE=$profile kubo_private_start "$scratch/$name" "$scratch/$key" "$(free_port)") ;;
    h*) address=$(helia_start "$scratch/$name" "$scratch/$key") ;;
    f*) address=$(fabric_start "$scratch/$name" "$scratch/$key" "$(free_port)" "${@:3}") ;;
    esac
    if [ -z "$address" ]; then
        echo "FAIL: $name does not start"
        exit 1
    fi
    printf -v "address_$name" %s "$address"
}

# holds WHAT COMMAND...: as succeeds, and says so, with the time it took
holds() {
    local begin=$EPOCHREALTIME
    succeeds "$@"
    printf '%s s  %s\n' "$(seconds_since "$begin")" "$1"
}

seconds_since() {
    LC_ALL=C awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}

# within SECONDS COMMAND...: waits for it to succeed
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# connects NAME OTHER: NAME dials
connects() {
    local address=address_$2
    case $1 in
    h*) on "$1" connect "${!address}" ;;
    *) on "$1" swarm connect "${!address}" ;;
    esac >/dev/null && within 5 sees "$2" "$1"
}

id_of() { # NAME
    local address=address_$1
    echo "${!address##*/}"
}

# sees NAME OTHER: NAME is connected with OTHER, and knows what it speaks
sees() {
    case $1 in
    k*) on "$1" swarm peers --identify --enc=json | jq -e --arg id "$(id_of "$2")" '.Peers[] | select(.Peer == $id)' ;;
    h*) on "$1" peers | grep -F "$(id_of "$2")" ;;
    f*)
        on "$1" --json peers |
            jq -e --arg id "$(id_of "$2")" '.[] | select(.peer_id == $id and .connected and .bitswap)'
        ;;
    esac
}

# add NAME PATH: the CID
add() {
    case $1 in
    k*) on "$1" add -Q -r -H "$2" ;;
    h*) on "$1" add "$2" ;;
    f*) on "$1" put -q --hidden --profile "${profile:-unixfs-v1-2025}" "$2" ;;
    esac
}

# fetch NAME CID: all of it, kept
fetch() {
    case $1 in
    k*) on "$1" --timeout=60s pin add --progress=false "$2" ;;
    h*) on "$1" pin "$2" ;;
    f*) on "$1" pin add "$2" ;;
    esac >/dev/null
}

# arrives NAME CID SOURCE: NAME, which lacks it, fetches it, and has then what SOURCE is
arrives() {
    local out=$scratch/out-$1-$RANDOM$RANDOM rc
    fetch "$1" "$2" || return
    case $1 in
    k*) on "$1" --offline get --progress=false -o "$out" "$2" ;;
    h*) on "$1" get "$2" "$out" ;;
    f*) on "$1" get -q "$2" -o "$out" ;;
    esac >/dev/null && diff -r --no-dereference "$3" "$out"
    rc=$?
    rm -rf "$out"
    return "$rc"
}

# exchange SET FROM TO KIND...: TO gets from FROM what lies in the folder SET, each KIND by itself
exchange() {
    local set=$1 from=$2 to=$3 kind cid
    shift 3
    for kind; do
        cid=$(add "$from" "$scratch/$set/$kind")
        holds "$to gets $kind of $from" arrives "$to" "$cid" "$scratch/$set/$kind"
    done
}

# random_file PATH BYTES
random_file() {
    openssl rand -out "$1" "$2"
}

# The one key, made by us, as every peer reads it.
make_key() {
    "$fabric" --home "$scratch/maker" workspace create swarm >/dev/null &&
        (umask 077 && "$fabric" --home "$scratch/maker" workspace export-key swarm >"$scratch/key")
}
