# How daemons find each other: told by a common peer (/fabric/peers/1), and by multicast DNS on a local network.
. "$(dirname "$0")/../support/netns.sh"
. "$(dirname "$0")/lib.sh"

daemons=()

# home NAME: where that daemon lives.
home()
{
    echo "$WORK/home-$1"
}

# on NAME ARGUMENT...: the program with that home.
on()
{
    local name=$1
    shift
    fabric --home "$(home "$name")" --workspace lab "$@"
}

# make NAME KEYFILE: a home with the workspace lab.
make()
{
    on "$1" workspace import-key lab "$2" >/dev/null || fail "no home $1"
    printf 'swarm {\n    mdns = %s\n    peers = {%s}\n}\n' "$3" "${4:+\"$4\"}" >"$(home "$1")/fabric.conf"
}

# start NAME MULTIADDR [PREFIX...]: a daemon, in the background; its first address is then in $address.
start()
{
    local name=$1 listen=$2
    shift 2
    "$@" fabric --home "$(home "$name")" up --detach --listen "$listen" --json >"$WORK/up.json" ||
        fail "daemon $name does not start: $(tail -n 5 "$(home "$name")/fabricd.log")"
    daemons+=("$(jq -r .pid "$WORK/up.json")")
    id=$(jq -r .peer_id "$WORK/up.json")
    address=$(jq -r '.addresses[0]' "$WORK/up.json")
}

stop_all()
{
    local pid
    for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${daemons[@]}"; do
        while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    done
    daemons=()
}
on_exit stop_all

# connected NAME ID: whether the daemon NAME has that peer now.
connected()
{
    on "$1" peers --quiet | grep -qx "$2"
}

# within SECONDS COMMAND...
within()
{
    local i
    for ((i = 0; i < $1 * 10; i++)); do
        "${@:2}" && return
        sleep 0.1
    done
    return 1
}

logs()
{
    tail -n 20 "$WORK"/home-*/fabricd.log >&2
    fail "$@"
}

fabric --home "$WORK/maker" workspace create lab >/dev/null
fabric --home "$WORK/maker" workspace export-key lab >key
fabric --home "$WORK/maker" workspace create other >/dev/null
fabric --home "$WORK/maker" workspace export-key other >other-key

# B and C know only A; A knows nobody.
make a key false
start a /ip4/127.0.0.1/tcp/0
A=$id
peer="lab ${address%/p2p/*}/p2p/$A"
make b key false "$peer"
make c key false "$peer"
start b /ip4/127.0.0.1/tcp/0
B=$id
within 10 connected b "$A" || logs "B does not reach A"
start c /ip4/127.0.0.1/tcp/0
C=$id
within 10 connected c "$A" || logs "C does not reach A"
within 10 connected c "$B" || logs "C did not hear of B"
within 10 connected b "$C" || logs "B does not see C"

# Where admission is by list, being told of a peer does not make it one.
on b workspace set lab --admit list >/dev/null
on b workspace admit lab "$A" "$C" >/dev/null
sleep 1.5
make d key false "$peer"
start d /ip4/127.0.0.1/tcp/0
D=$id
port=${address#*/tcp/}
port=${port%%/*}
within 10 connected d "$C" || logs "D did not hear of C"
grep -q "address=127.0.0.1:$port " <(cat "$(home c)/fabricd.log" "$(home d)/fabricd.log") ||
    logs "the logs are not as this test reads them"
sleep 6 # A tells B of D
! grep -qE "$D|address=127.0.0.1:$port " "$(home b)/fabricd.log" || logs "B had to do with D"
connected b "$C" || logs "B lost C"

# Without A they stay connected.
kill "${daemons[0]}"
within 10 eval '! connected c "$A"' || logs "A is still connected"
connected c "$B" || logs "B and C were connected only through A"
stop_all

# On one network: A and B have the same key, C another; nobody knows an address.
netns_start 3
rm -rf "$WORK"/home-*
make a key true
make b key true
make c other-key true
for name in a b c; do
    host=$(($(printf '%d' "'$name") - 96))
    ip -n "$(netns_name $host)" route add default dev eth0
    start "$name" /ip4/0.0.0.0/tcp/4001 netns_run $host
    declare "${name^}=$id"
done
within 20 connected a "$B" || logs "A and B do not find each other"
within 5 connected b "$A" || logs "B does not see A"
sleep 4
eq "$B" "$(on a peers --quiet)" "peers of A"
eq "$A" "$(on b peers --quiet)" "peers of B"
eq "" "$(on c peers --quiet)" "peers of C"
! grep -qE 'mdns_found|connection_refused' "$(home c)/fabricd.log" || logs "C dialled, or was dialled"
! grep -q connection_refused "$(home a)/fabricd.log" "$(home b)/fabricd.log" || logs "a stranger was dialled"

# With the key C is found, too: it was within hearing all the time.
on c workspace import-key lab key >/dev/null
within 20 connected a "$C" || logs "C has the key, and is not found"
within 20 connected b "$C" || logs "C has the key, and B does not see it"
stop_all
