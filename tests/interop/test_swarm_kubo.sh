#!/usr/bin/env bash
# A private swarm of our nodes and Kubo's: each fetches from the other whatever there is, over connections that either
# dialled, and meets the other's oddities. The times on the left are of single runs.
#   FABRIC_BIN=build/release/bin tests/interop/test_swarm_kubo.sh [SEED]
# shellcheck disable=SC2154,SC2034 # address_NAME is set by start and used by on
# shellcheck source=tests/interop/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/interop/swarm_test.sh
. "$here/swarm_test.sh"
swarm_need kubo
seed=${1:-${FABRIC_SEED:-$RANDOM}}
echo "seed $seed"
big=${SWARM_BIG:-300000000}
part=$((big / 5))

# ---- the peers: k1 dials us, we dial k0; f5 listens on many addresses

make_key || exit 1
start k1
start k0
start f1
start k5
start f5 key /ip4/127.0.0.{2..8}/tcp/"${address_k5##*/tcp/}"
holds "Kubo dials us" connects k1 f1
holds "we dial Kubo" connects f1 k0
holds "Kubo dials the other of ours" connects k5 f5

# ---- a connection that nobody uses, beside all the rest: it is checked at the end

quiet_ends() {
    on k5 swarm peers
    on f5 --json peers | jq -c '.[].connections'
}
before=$(quiet_ends)
quiet_since=$SECONDS

# ---- who we are, as Kubo sees it

about=$(on k5 id "$(id_of f5)")
equal "addresses that we tell" 8 "$(jq '.Addresses | length' <<<"$about")"
equal "our agent" fabric "$(jq -r '.AgentVersion' <<<"$about" | cut -d/ -f1)"
succeeds "bitswap is told" jq -e '.Protocols | index("/ipfs/bitswap/1.2.0")' <<<"$about" >/dev/null
holds "ipfs ping" on k1 ping -n 2 "$(id_of f1)" >/dev/null

# ---- everything, both ways

mkdir "$scratch/a" "$scratch/b"
for set in a b; do
    random_file "$scratch/$set/big" "$big"
    random_file "$scratch/$set/part" "$part"
    random_file "$scratch/$set/block" 2097152
    "$here/swarm_trees.py" "$seed-$set" tree "$scratch/$set/tree"
    "$here/gen_tree.py" "$seed-$set" wide "$scratch/$set/wide"
    "$here/gen_tree.py" "$seed-$set" random "$scratch/$set/random"
    : >"$scratch/$set/random/nothing"
done

exchange a k1 f1 big tree wide random
exchange b f1 k1 big tree wide random
exchange a k0 f1 part tree wide random
profile=unixfs-v0-2015 exchange b f1 k0 part tree wide random

block_put() { # NAME CODEC FILE
    case $1 in
    k*) on "$1" block put --cid-codec="$2" "$3" ;;
    f*) on "$1" block put -q --codec "$2" "$3" ;;
    esac
}

# same_block NAME CID FILE
same_block() {
    on "$1" block get "$2" | cmp - "$3"
}

# Single blocks of the largest size, and a DAG that is not of files.
blocks() { # SET FROM TO
    local set=$1 from=$2 to=$3 raw leaf inner top
    raw=$(block_put "$from" raw "$scratch/$set/block")
    succeeds "$to gets the block of $from" same_block "$to" "$raw" "$scratch/$set/block"
    random_file "$scratch/$set/leaf" 3000
    leaf=$(block_put "$from" raw "$scratch/$set/leaf")
    "$here/swarm_trees.py" "$seed-$set-inner" cbor "$leaf" "$raw" >"$scratch/$set/inner"
    inner=$(block_put "$from" dag-cbor "$scratch/$set/inner")
    "$here/swarm_trees.py" "$seed-$set-top" cbor "$inner" "$leaf" "$inner" >"$scratch/$set/top"
    top=$(block_put "$from" dag-cbor "$scratch/$set/top")
    holds "$to gets dag-cbor of $from" fetch "$to" "$top"
    succeeds "$to has the root" same_block "$to" "$top" "$scratch/$set/top"
    succeeds "$to has what is between" same_block "$to" "$inner" "$scratch/$set/inner"
    succeeds "$to has the leaf" same_block "$to" "$leaf" "$scratch/$set/leaf"
}
blocks a k1 f1
blocks b f1 k1

# ---- k2 knows only us: what k1 had comes through us

start k2
holds "the second Kubo dials us" connects k2 f1
equal "k2 knows one peer" 1 "$(on k2 swarm peers | wc -l)"
for kind in big tree wide random; do
    cid=$("$fabric" put -q --hidden --only-hash "$scratch/a/$kind")
    holds "k2 gets $kind of k1 through f1" arrives k2 "$cid" "$scratch/a/$kind"
done
if [ -n "${SWARM_COMPARE:-}" ]; then # for the figure only
    start k3
    connects k3 k1
    cid=$("$fabric" put -q --only-hash "$scratch/a/big")
    holds "k3 gets big of k1, Kubo from Kubo" arrives k3 "$cid" "$scratch/a/big"
fi

# ---- wants that come before the block

random_file "$scratch/late" 700000
cid=$("$fabric" put -q --only-hash "$scratch/late")
on k1 --timeout=30s cat "$cid" >"$scratch/late.k1" &
asking=$!
sleep 1
succeeds "put what Kubo waits for" test "$(add f1 "$scratch/late")" = "$cid"
put_at=$EPOCHREALTIME
holds "Kubo gets what it had asked for before" wait "$asking"
succeeds "it is the same" cmp "$scratch/late" "$scratch/late.k1"
# Kubo asks again by itself after 44 s.
succeeds "it came without a new request" test "$(seconds_since "$put_at" | cut -d. -f1)" -lt 8

random_file "$scratch/late" 700000
cid=$("$fabric" put -q --only-hash "$scratch/late")
on f1 get -q "$cid" -o "$scratch/late.f1" &
asking=$!
sleep 1
succeeds "add what we wait for" test "$(add k1 "$scratch/late")" = "$cid"
put_at=$EPOCHREALTIME
holds "we get what we had asked for before" wait "$asking"
succeeds "it is the same" cmp "$scratch/late" "$scratch/late.f1"
succeeds "it came without a new request" test "$(seconds_since "$put_at" | cut -d. -f1)" -lt 8

# ---- wants that we cannot serve, or do not understand, cost nothing: hashes beside SHA-256, and a long digest

for hash in sha2-512 blake3 keccak-256 blake2b-256 sha3-512; do
    random_file "$scratch/odd" 50000
    cid=$(on k1 block put --cid-codec=raw --mhtype="$hash" "$scratch/odd")
    if on f1 block get "$cid" >"$scratch/odd.f1" 2>"$scratch/odd.err"; then
        succeeds "the block under $hash" cmp "$scratch/odd" "$scratch/odd.f1"
        echo "blocks under $hash are taken"
    else
        succeeds "a refusal of $hash in one line" test "$(wc -l <"$scratch/odd.err")" = 1
        echo "blocks under $hash are not taken: $(cat "$scratch/odd.err")"
    fi
    random_file "$scratch/odd" 50000
    cid=$(on k0 --offline block put --cid-codec=raw --mhtype="$hash" "$scratch/odd")
    on k2 --timeout=0.3s block get "$cid" >/dev/null 2>&1
done
random_file "$scratch/odd" 50000
cid=$(add f1 "$scratch/odd")
holds "Kubo still gets from us" arrives k2 "$cid" "$scratch/odd"

# ---- another key

swarm_key_new "$scratch/other"
start kx other
! on kx --timeout=10s swarm connect "$address_f1" >"$scratch/refused" 2>&1
holds "Kubo with another key is refused" test $? = 0
succeeds "our log says so" grep -qE 'connection_refused .*why=no_key_fits' "$scratch/f1/fabricd.log"
! on f1 swarm connect "$address_kx" >"$scratch/refused" 2>&1
holds "we are refused by it" test $? = 0
succeeds "in one line, with the reason" grep -q "same swarm key" "$scratch/refused"
cat "$scratch/refused"

# ---- three at once

random_file "$scratch/c1" $((part * 2))
random_file "$scratch/c2" $((part * 2))
c1=$(add k1 "$scratch/c1")
c2=$(add f1 "$scratch/c2")
profile=unixfs-v0-2015
c3=$(add f1 "$scratch/c1")
unset profile
arrives f1 "$c1" "$scratch/c1" &
one=$!
arrives k1 "$c2" "$scratch/c2" &
two=$!
arrives k0 "$c3" "$scratch/c1" &
holds "of three at once we get ours" wait "$one"
holds "Kubo its own" wait "$two"
holds "and the other Kubo" wait $!

# ---- a daemon that was stopped for a while, and Kubo's kill in the middle

frozen=$(fabric_pid f1)
random_file "$scratch/odd" 3000000
cid=$(add f1 "$scratch/odd")
kill -STOP "$frozen"
arrives k2 "$cid" "$scratch/odd" &
asking=$!
sleep 5
kill -CONT "$frozen"
holds "Kubo gets from us what it asked while we stood still" wait "$asking"

received_of() { # NAME: bytes that f1 has of it
    on f1 --json peers --all | jq --arg id "$(id_of "$1")" '[.[] | select(.peer_id == $id) | .received] | add // 0'
}

# kill_midway FILE: k1 is gone when a part of FILE has come; the get goes on as process $getting
kill_midway() {
    local base cid pid
    random_file "$1" "$big"
    cid=$(add k1 "$1")
    base=$(received_of k1) || exit 1
    pid=$(cat "$scratch/k1/pid")
    on f1 get -q "$cid" -o "$1.f1" 2>"$scratch/get.err" &
    getting=$!
    while (($(received_of k1) < base + big / 20)); do
        kill -0 "$getting" 2>/dev/null || break
    done
    kill -9 "$pid"
    killed_at=$EPOCHREALTIME
    succeeds "the get was under way" kill -0 "$getting"
}

kill_midway "$scratch/d1"
address_k1=$(kubo_run "$scratch/k1")
succeeds "Kubo dials us again" connects k1 f1
holds "the get goes on when Kubo is back" wait "$getting"
succeeds "it is the same" cmp "$scratch/d1" "$scratch/d1.f1"
cat "$scratch/get.err"

kill_midway "$scratch/d2"
! wait "$getting"
holds "the get ends when Kubo stays away" test $? = 0
echo "$(seconds_since "$killed_at") s  after the kill it said: $(cat "$scratch/get.err")"
succeeds "it says what is missing" grep -qE "is not whole: .*[0-9]+ .*b(afkrei|afybei)[a-z2-7]{52}" "$scratch/get.err"
succeeds "nothing is left of it" test ! -e "$scratch/d2.f1"
address_k1=$(kubo_run "$scratch/k1")
within 20 sees f1 k1
holds "and goes on later" on f1 get -q "$("$fabric" put -q --only-hash "$scratch/d2")" -o "$scratch/d2.f1"
succeeds "it is the same" cmp "$scratch/d2" "$scratch/d2.f1"
grep -E 'fetch_ended' "$scratch/f1/fabricd.log" | tail -n 2

# ---- the quiet connection

left=$((65 - (SECONDS - quiet_since)))
((left > 0)) && sleep "$left"
equal "the connection that nobody used" "$before" "$(quiet_ends)"
random_file "$scratch/odd" 5000
cid=$(add f5 "$scratch/odd")
holds "it still carries" arrives k5 "$cid" "$scratch/odd"
equal "connections that f5 ever had" 1 "$(grep -c peer_connected "$scratch/f5/fabricd.log")"

echo "$SECONDS s in all"
finish
