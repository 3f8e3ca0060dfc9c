#!/usr/bin/env bash
# Two workspaces on one daemon and one port: a member of one is never served, or even told of, what only the other
# holds. Then who is let in: keys and their epochs, lists, and what expelling and rotating do to what is under way.
. "$(dirname "$0")/../interop/swarm_lib.sh"
. "$(dirname "$0")/lib.sh"

rogue=$FABRIC_BIN/../tests/rogue
[[ -x $rogue ]] || fail "the program rogue is not built"
rogue=$(realpath "$rogue")
port=$((20000 + $$ % 20000))
at=127.0.0.1:$port
node=$work/node other=$work/other

on_node() { fabric --home "$node" "$@"; }
on_other() { fabric --home "$other" "$@"; }
on_exit 'on_node down >/dev/null 2>&1; on_other down >/dev/null 2>&1'

# ask KEY CID HOW: every word of the answer
ask() { "$rogue" ask "$at" "$1" "$2" "$3"; }

# Lines of the daemon's log that match; soon there are MIN to MAX of them.
log_has() {
    local min=$1 max=$2 i n
    shift 2
    for ((i = 0; i < 50; i++)); do
        n=$(grep -cE "$*" "$node/fabricd.log")
        [[ $n -ge $min && $n -le $max ]] && return
        sleep 0.1
    done
    fail "$n lines of '$*' in the log: $(tail -n 5 "$node/fabricd.log")"
}

# ---- what is where

make_bytes 3000000 common >common.bin
mkdir tree
make_bytes 3500000 secret >tree/big
echo "of a alone" >tree/small
ok on_node workspace create a
ok on_node workspace create b
on_node workspace export-key a >a.key
on_node workspace export-key b >b.key
root=$(on_node --workspace a put -q tree)
common=$(on_node --workspace a put -q common.bin)
eq "$common" "$(on_node --workspace b put -q common.bin)" "the same bytes in both"
big=$(fabric put -q --only-hash tree/big)
small=$(fabric put -q --only-hash tree/small)
chunk=$(head -c 1048576 tree/big | fabric put -q --only-hash -)
exits 0 on_node --workspace a block stat "$chunk"
nowhere=$(head -c 1000 /dev/urandom | fabric put -q --only-hash -)
make_bytes 2500000 nowhere >nowhere.bin
nowhere_root=$(fabric put -q --only-hash nowhere.bin) # of the same codec as the roots
ok on_node up --detach --listen "/ip4/127.0.0.1/tcp/$port"

# ---- served to its own, and to the other exactly as what exists nowhere

for cid in "$root" "$big" "$small" "$chunk" "$common"; do
    absent=$nowhere
    [[ $cid == bafkrei* ]] || absent=$nowhere_root
    for how in dagsync-root dagsync-all dagsync-range dagsync-path=small dagsync-path=big dagsync-path=x/y \
        bitswap-have bitswap-block bitswap-have-silent bitswap-block-silent; do
        own=$(ask a.key "$cid" "$how")
        stranger=$(ask b.key "$cid" "$how")
        none=$(ask b.key "$absent" "$how")
        if [[ $cid == "$common" ]]; then
            eq "$own" "$stranger" "both hold $cid: $how"
        else
            eq "$none" "$stranger" "$cid by $how from the other workspace"
        fi
        case $how in
        dagsync-root | dagsync-all) [[ $own == block* ]] || fail "$how of $cid is not served: $own" ;;
        bitswap-block*) eq block "$own" "$how of $cid" ;;
        bitswap-have*) [[ $own == have || $own == block ]] || fail "$how of $cid: $own" ;;
        esac
    done
done
eq "block item_done done" "$(ask a.key "$root" dagsync-path=small)" "a path in its own workspace"

# What comes to be known in one workspace stays there: b asks for what a has, with a daemon of its own.
ok on_other workspace import-key b b.key
ok on_other up --detach --listen "/ip4/127.0.0.1/tcp/$((port + 1))"
ok on_other --workspace b swarm connect "/ip4/127.0.0.1/tcp/$port"
exits 1 on_other --workspace b get "$small" -o stolen
[[ ! -e stolen ]] || fail "something was written"
ok on_other --workspace b get "$common" -o common.out
cmp common.bin common.out || fail "the common file differs"

# ---- who is let in

swarm_key_new wrong.key
eq refused "$(ask wrong.key "$common" dagsync-root)" "a wrong key"
log_has 1 1 "connection_refused workspace=- .*why=no_key_fits"

ok on_node workspace create --admit list c
on_node workspace export-key c >c.key
listed=$(on_node --workspace c put -q common.bin)
sleep 1.5 # a daemon looks for what commands changed once a second
answer=$(ask c.key "$listed" dagsync-root)
[[ $answer == closed || $answer == refused ]] || fail "a peer that is not on the list: $answer"
log_has 1 1 "connection_refused workspace=c .*why=not_admitted"
id=$(on_other --json id | jq -r .peer_id)
ok on_other workspace import-key c c.key
exits 1 on_other --workspace c swarm connect "/ip4/127.0.0.1/tcp/$port"
ok on_node workspace admit c "$id"
sleep 1.5
ok on_other --workspace c swarm connect "/ip4/127.0.0.1/tcp/$port"
ok on_other --workspace c get "$listed" -o listed.out
ok on_node workspace expel c "$id"
log_has 1 2 "peer_disconnected workspace=c .*why=not_admitted" # two dialled each other at once
exits 1 on_other --workspace c swarm connect "/ip4/127.0.0.1/tcp/$port"
eq 0 "$(on_other --workspace c --json peers | jq length)" "connected peers of an expelled one"
[[ $(on_other --workspace b --json peers | jq length) -ge 1 ]] || fail "the other workspace lost its peer too"

# ---- rotation under a running transfer

make_bytes 400000000 rotated >rotated.bin
rotated=$(on_node --workspace b put -q rotated.bin)
on_other --workspace b get "$rotated" -o rotated.out >get.out 2>get.err &
get=$!
sleep 0.3
ok on_node workspace rotate-key b
wait "$get" || fail "get during a rotation: $(cat get.err)"
cmp rotated.bin rotated.out || fail "the file got during a rotation differs"
sleep 1.5
# The key before it is still taken, and still dialled with, within its grace.
eq "block item_done done" "$(ask b.key "$common" dagsync-root)" "the key before the newest"
ok on_other down
ok on_other up --detach --listen "/ip4/127.0.0.1/tcp/$((port + 1))"
ok on_other --workspace b swarm connect "/ip4/127.0.0.1/tcp/$port"
ok on_node down
ok on_other down
mv "$other/fabricd.log" "$other/fabricd.log.1"
ok on_other up --detach --listen "/ip4/127.0.0.1/tcp/$((port + 1))"
ok on_node up --detach --listen "/ip4/127.0.0.1/tcp/$port"
ok on_node --workspace b swarm connect "/ip4/127.0.0.1/tcp/$((port + 1))"
on_node workspace export-key b >b2.key
cmp -s b.key b2.key && fail "the key was not rotated"
ok on_other workspace import-key b b2.key
sleep 1.5
eq "block item_done done" "$(ask b2.key "$common" dagsync-root)" "the newest key"
