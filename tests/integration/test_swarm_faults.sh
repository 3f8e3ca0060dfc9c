#!/usr/bin/env bash
# Three holders and one asker on four hosts; holders are killed, links are cut, the asker is killed, everybody is gone.
. "$(dirname "$0")/../support/netns.sh"
. "$(dirname "$0")/../interop/swarm_lib.sh"
. "$(dirname "$0")/lib.sh"

rogue=$FABRIC_BIN/../tests/rogue
[[ -x $rogue ]] || fail "the program rogue is not built"
rogue=$(realpath "$rogue")
netns_start 4
swarm_key_new key
size=150000000
asker=4

# on HOST ARG...: fabric there, in the workspace
on() {
    local host=$1
    shift
    netns_run "$host" fabric --home "$work/h$host" --workspace swarm "$@"
}
up() { ok on "$1" up --detach --listen "/ip4/$(netns_ip "$1")/tcp/4001"; }
pid_of() { on "$1" --json status | jq -r .pid; }
connect() { ok on "$1" swarm connect "/ip4/$(netns_ip "$2")/tcp/4001"; }
received() { on "$asker" --json peers --all | jq '[.[].received] | add // 0'; }
# Bytes that the asker's interface has received.
wire_bytes() { netns_run "$asker" cat /sys/class/net/eth0/statistics/rx_bytes; }

# get_slowly CID: in the background, `get`; with its output in get.out
get_slowly() {
    on "$asker" get "$1" -o out >get.out 2>get.err &
    get=$!
}
# Until that much more has come since `mark`.
await_bytes() {
    local i
    for ((i = 0; i < 600; i++)); do
        [[ $(($(wire_bytes) - mark)) -ge $1 ]] && return
        kill -0 "$get" 2>/dev/null || fail "get ended too soon: $(cat get.err)"
        sleep 0.05
    done
    fail "only $(($(wire_bytes) - mark)) bytes have come"
}
finish() {
    wait "$get" || fail "$1: $(cat get.err)"
    cmp big.bin out || fail "$1: the file differs"
    rm out
}

# A fresh asker that is connected to the holders HOST...
fresh_asker() {
    local host
    on "$asker" down >/dev/null 2>&1
    rm -rf "$work/h$asker"
    netns_run "$asker" fabric --home "$work/h$asker" workspace import-key swarm key >/dev/null || fail "import-key"
    up "$asker"
    for host in "$@"; do connect "$asker" "$host"; done
    mark=$(wire_bytes)
}

make_bytes "$size" big >big.bin
for host in 1 2 3; do
    netns_run "$host" fabric --home "$work/h$host" workspace import-key swarm key >/dev/null || fail "import-key"
    cid=$(on "$host" put -q big.bin)
    up "$host"
    netns_rate "$host" 200mbit # so that there is a middle of a transfer
done

echo "holders killed"
fresh_asker 1 2 3
get_slowly "$cid"
await_bytes 20000000
kill -9 "$(pid_of 1)"
await_bytes 50000000
kill -9 "$(pid_of 2)"
finish "get while two of three holders were killed"
up 1
up 2

echo "a link cut and healed"
fresh_asker 1 2
get_slowly "$cid"
await_bytes 20000000
netns_cut 1
await_bytes 60000000
netns_heal 1
finish "get while a link was cut"
fresh_asker 3
get_slowly "$cid"
await_bytes 20000000
netns_cut 3
sleep 3
netns_heal 3
finish "get over a link that was cut for 3 seconds"

echo "the asker killed and started again"
fresh_asker 1 2 3
get_slowly "$cid"
await_bytes 70000000
kill -9 "$(pid_of "$asker")"
wait "$get"
eq 1 $? "exit code of get whose daemon is killed"
[[ ! -e out ]] || fail "something half-written"
up "$asker"
for host in 1 2 3; do connect "$asker" "$host"; done
mark=$(wire_bytes)
get_slowly "$cid"
finish "get after the asker was killed"
again=$(($(wire_bytes) - mark))
echo "  $again of $size bytes came after the restart"
[[ $again -lt $((size - 20000000)) ]] || fail "$again of $size bytes were fetched again"

echo "a holder that is of no use, beside a good one"
for mode in source-dagsync-wrong source-dagsync-stall source-dagsync-trickle source-bitswap-wrong source-bitswap-stall; do
    fresh_asker 1
    netns_run 2 "$rogue" "$mode" "$(netns_ip "$asker"):4001" key "$cid" >rogue.out 2>&1 &
    mode_pid=$!
    sleep 0.5
    get_slowly "$cid"
    finish "get beside $mode"
    echo "  $mode: $(tr '\n' ' ' <rogue.out)"
    kill "$mode_pid" 2>/dev/null
    wait "$mode_pid" 2>/dev/null
done

echo "all holders gone"
fresh_asker 1 2 3
get_slowly "$cid"
await_bytes 30000000
for host in 1 2 3; do kill -9 "$(pid_of "$host")"; done
wait "$get"
eq 1 $? "exit code of get when all holders are gone"
echo "  $(cat get.err)"
grep -q '^fabric: ' get.err || fail "no clear error: $(cat get.err)"
grep -qE '[0-9]+ blocks' get.err || fail "the error does not say what is lacking: $(cat get.err)"
[[ ! -e out ]] || fail "something half-written"
exits 0 on "$asker" verify
