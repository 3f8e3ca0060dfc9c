#!/bin/bash
# The daemon's settings: what fabric.conf may say, where it listens, in the foreground, as a systemd service.
test_dir=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/integration/daemon_lib.sh
. "$(dirname "$0")/daemon_lib.sh"

a=$work/a b=$work/b
homes=("$a" "$b")
mkdir -m 700 "$a" "$b"

# --- what it may not say is one line with file and number, from both programs

peer=12D3KooWAfPDpPRRRBrmqy9is2zjU5srQ4hKuZitiGmh4NTTpS2d
# wrong LINE PATTERN TEXT
wrong()
{
    printf '%s\n' "$3" >"$a/fabric.conf"
    refuses 1 "$a/fabric.conf:$1: .*$2" fabric --home "$a" df
    refuses 1 "$a/fabric.conf:$1: .*$2" fabricd --home "$a"
    refuses 1 "$a/fabric.conf:$1: .*$2" fabric --home "$a" up --detach
}
wrong 2 "'lisen'" $'swarm {\n    lisen = {"/ip4/127.0.0.1/tcp/4001"}\n}'
wrong 1 "'swarms'" 'swarms { mdns = true }'
wrong 3 "mdns" $'\nswarm {\n    mdns = maybe\n}'
wrong 2 "listen: 'nonsense'" $'swarm {\n    listen = {"/ip4/127.0.0.1/tcp/4001", "nonsense"}\n}'
wrong 1 "listen: '/ip4/127.0.0.1'" 'swarm { listen = {"/ip4/127.0.0.1"} }'
wrong 1 "listen: '/ip4/127.0.0.1/udp/4001'" 'swarm { listen = {"/ip4/127.0.0.1/udp/4001"} }'
wrong 1 "listen: '/ip4/300.0.0.1/tcp/4001'" 'swarm { listen = {"/ip4/300.0.0.1/tcp/4001"} }'
wrong 1 "listen: '/ip4/127.0.0.1/tcp/70000'" 'swarm { listen = {"/ip4/127.0.0.1/tcp/70000"} }'
wrong 1 "listen: " "swarm { listen = {\"/ip4/127.0.0.1/tcp/4001/p2p/$peer\"} }"
wrong 2 "peers: '/ip4/" $'swarm {\n    peers = {"/ip4/127.0.0.1/tcp/4001/p2p/'$peer$'"}\n}'
wrong 1 "peers: 'lab /ip4/" 'swarm { peers = {"lab /ip4/127.0.0.1/tcp/4001"} }'
wrong 1 "peers: 'lab /dns4/" "swarm { peers = {\"lab /dns4/example.org/tcp/4001/p2p/$peer\"} }"
wrong 1 "peers: 'lab'" 'swarm { peers = {"lab"} }'
nine=$(for ((i = 1; i <= 9; i++)); do printf '"/ip4/127.0.0.1/tcp/%d", ' "$i"; done)
printf 'swarm { listen = {%s} }\n' "${nine%, }" >"$a/fabric.conf"
refuses 1 'listen: more than 8' fabricd --home "$a"
echo "swarm { mdns = false peers = {\"lab /ip4/127.0.0.1/tcp/4001/p2p/$peer\"} }" >"$a/fabric.conf"
refuses 1 'no such workspace' fabricd --home "$a" --listen /ip4/127.0.0.1/tcp/0
refuses 2 'takes no arguments' fabricd now
ok fabricd --version
ok fabricd --help
grep -q -- --listen .out || fail "--help does not name --listen"

# --- peers in fabric.conf are dialled by themselves

port_a=$(free_port)
port_b=$(free_port)
echo "swarm { mdns = false listen = {\"/ip4/127.0.0.1/tcp/$port_a\"} }" >"$a/fabric.conf"
echo "swarm { mdns = false }" >"$b/fabric.conf"
ok fabric --home "$a" workspace create lab
ok fabric --home "$a" workspace export-key lab
out >lab.key
ok fabric --home "$b" workspace import-key lab lab.key
ok fabric --home "$a" --json id
peer_a=$(out | jq -r .peer_id)
cat >"$b/fabric.conf" <<END
swarm {
    mdns = false
    listen = {"/ip4/127.0.0.1/tcp/$port_b"}
    peers = {"lab /ip4/127.0.0.1/tcp/$port_a/p2p/$peer_a"}
}
END
ok fabric --home "$b" up --detach # before the peer is there
ok fabric --home "$a" up --detach
ok fabric --home "$a" --json status
json '.addresses | length' 1
json '.addresses[0]' "/ip4/127.0.0.1/tcp/$port_a/p2p/$peer_a"
within 60 connected fabric --home "$b" --workspace lab
ok fabric --home "$b" --workspace lab --json peers
json '.[0].peer_id' "$peer_a"
json '.[0].connections[0].direction' out
ok fabric --home "$b" down

# --- in the foreground, until ^C

env --default-signal=INT fabric --home "$b" up >up.out 2>up.log &
job=$!
within 10 fabric --home "$b" status
grep -q " listening .*address=127.0.0.1:$port_b" up.log || fail "what it does is not logged"
kill -INT "$job"
wait "$job" || fail "^C is no success"
grep -q " stopped" up.log || fail "the end is not logged"
[[ ! -s up.out ]] || fail "the log is on stdout"
[[ ! -e $b/fabricd.sock ]] || fail "the socket is left"
ok fabric --home "$a" down

# --- port 4001 on all addresses, where nothing else is said

if unshare -rn true 2>/dev/null; then
    echo 'swarm { mdns = false }' >"$a/fabric.conf"
    : >"$a/fabricd.log"
    ok unshare -rn fabric --home "$a" up --detach
    grep -q 'address=0\.0\.0\.0:4001' "$a/fabricd.log" || fail "it does not listen on IPv4"
    if [[ -e /proc/net/if_inet6 ]]; then
        grep -q 'address=\[::\]:4001' "$a/fabricd.log" || fail "it does not listen on IPv6"
    fi
    ok fabric --home "$a" down
else
    echo "note: no network namespace for an ordinary user here, so the default addresses were not tried"
fi

# --- as a service

if command -v systemd-analyze >/dev/null; then
    unit=$test_dir/../../conf/fabricd.service
    sed "s|/usr/bin/fabricd|$FABRIC_BIN/fabricd|; /^Documentation=/d" "$unit" >fabricd.service
    XDG_RUNTIME_DIR=$work systemd-analyze --user --man=no verify ./fabricd.service >verify.log 2>&1 ||
        fail "systemd: $(cat verify.log)"
    if grep -q 'fabricd.service' verify.log; then fail "systemd: $(grep fabricd.service verify.log)"; fi
else
    echo "note: systemd-analyze is not installed, so the unit was not verified"
fi
echo "ok"
