#!/usr/bin/env bash
# A private swarm of our nodes and Helia's: each fetches from the other files, a tree and a sharded directory, over
# connections that either dialled. The times on the left are of single runs.
#   FABRIC_BIN=build/release/bin tests/interop/test_swarm_helia.sh [SEED]
# shellcheck disable=SC2154,SC2034 # address_NAME is set by start and used by on
# shellcheck source=tests/interop/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/interop/swarm_test.sh
. "$here/swarm_test.sh"
swarm_need helia
seed=${1:-${FABRIC_SEED:-$RANDOM}}
echo "seed $seed"
big=${SWARM_BIG:-100000000}

# ---- h1 dials us, we dial h2

make_key || exit 1
start h1
start h2
start f1
holds "Helia dials us" connects h1 f1
holds "we dial Helia" connects f1 h2

# ---- everything, both ways

mkdir "$scratch/a" "$scratch/b"
for set in a b; do
    random_file "$scratch/$set/big" "$big"
    random_file "$scratch/$set/part" $((big / 10))
    "$here/swarm_trees.py" "$seed-$set" tree "$scratch/$set/tree" 10 # Helia asks for one block at a time
    "$here/gen_tree.py" "$seed-$set" wide "$scratch/$set/wide"
    rm "$scratch/$set/wide/link" # helia_peer.mjs makes no symlinks
    : >"$scratch/$set/nothing"
done

exchange a h1 f1 big tree wide nothing
exchange b f1 h1 big tree wide
exchange b h2 f1 part
profile=unixfs-v0-2015 exchange a f1 h2 part tree

# ---- h3 knows only us: what h1 had comes through us

start h3
holds "the third Helia dials us" connects h3 f1
for kind in big tree; do
    cid=$("$fabric" put -q --only-hash "$scratch/a/$kind")
    holds "h3 gets $kind of h1 through f1" arrives h3 "$cid" "$scratch/a/$kind"
done

# ---- a want that comes before the block

random_file "$scratch/late" 700000
cid=$("$fabric" put -q --only-hash "$scratch/late")
arrives h3 "$cid" "$scratch/late" &
asking=$!
sleep 1
succeeds "put what Helia waits for" test "$(add f1 "$scratch/late")" = "$cid"
holds "Helia gets what it had asked for before" wait "$asking"

# ---- another key

swarm_key_new "$scratch/other"
start hx other
! connects hx f1 >"$scratch/refused" 2>&1
holds "Helia with another key is refused" test $? = 0
succeeds "our log says so" grep -qE 'connection_refused .*why=no_key_fits' "$scratch/f1/fabricd.log"
! on f1 swarm connect "$address_hx" >"$scratch/refused" 2>&1
holds "we are refused by it" test $? = 0
succeeds "in one line, with the reason" grep -q "same swarm key" "$scratch/refused"

# ---- at once, both ways

random_file "$scratch/c1" $((big / 4))
random_file "$scratch/c2" $((big / 4))
c1=$(add h2 "$scratch/c1")
c2=$(add f1 "$scratch/c2")
arrives f1 "$c1" "$scratch/c1" &
one=$!
arrives h1 "$c2" "$scratch/c2" &
two=$!
arrives h3 "$c2" "$scratch/c2" &
holds "of three at once we get ours" wait "$one"
holds "Helia its own" wait "$two"
holds "and the other Helia" wait $!

echo "$SECONDS s in all"
finish
