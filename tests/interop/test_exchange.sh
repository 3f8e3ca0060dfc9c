#!/usr/bin/env bash
# Archives and single blocks go from us to Kubo and back, and what arrives is what was put.
#   FABRIC_BIN=build/release/bin tests/interop/test_exchange.sh [SEED]
# shellcheck source=tests/interop/lib.sh
. "$(dirname "$0")/lib.sh"
seed=${1:-${FABRIC_SEED:-1}}
echo "seed $seed"
need Kubo "$cache/bin/ipfs" "run tests/interop/peers.sh"

for kind in sizes random wide; do
    "$here/gen_tree.py" "$seed" "$kind" "$scratch/$kind" || exit 1
done

for profile in "${profiles[@]}"; do
    for kind in sizes random wide; do
        tag=$kind-$profile
        mine=$("$fabric" put -q --hidden --profile "$profile" "$scratch/$kind")

        # Ours to Kubo.
        succeeds "$tag: car export" "$fabric" car export "$mine" -o "$scratch/ours.car"
        equal "$tag: roots that Kubo pins" "$mine" \
            "$(kubo "$profile" dag import --pin-roots --enc=text "$scratch/ours.car" 2>&1 | sed -n 's/.*root\t\(.*\)\tsuccess.*/\1/p')"
        rm -rf "$scratch/back"
        succeeds "$tag: ipfs get" kubo "$profile" get --progress=false -o "$scratch/back" "$mine" >/dev/null
        succeeds "$tag: same through Kubo" diff -r --no-dereference "$scratch/$kind" "$scratch/back"

        # Kubo's to us, into a home that has nothing.
        theirs=$(kubo_add "$profile" -r -H "$scratch/$kind")
        equal "$tag: root" "$theirs" "$mine"
        kubo "$profile" dag export --progress=false "$theirs" >"$scratch/theirs.car" || exit 1
        rm -rf "$scratch/home2" "$scratch/back2"
        equal "$tag: root of the import" "$theirs" \
            "$("$fabric" --home "$scratch/home2" car import -q "$scratch/theirs.car")"
        succeeds "$tag: get" "$fabric" --home "$scratch/home2" get -q "$theirs" -o "$scratch/back2"
        succeeds "$tag: same from Kubo" diff -r --no-dereference "$scratch/$kind" "$scratch/back2"

        # Both write every block once, depth first in link order: equal archives, byte for byte.
        succeeds "$tag: archives are equal" cmp "$scratch/ours.car" "$scratch/theirs.car"

        kubo "$profile" block get "$mine" >"$scratch/block.theirs" || exit 1
        "$fabric" block get "$mine" >"$scratch/block.ours"
        succeeds "$tag: root block" cmp "$scratch/block.theirs" "$scratch/block.ours"
    done
done

# A CAR that was cut short is refused, and nothing of it stays.
head -c 5000 "$scratch/theirs.car" >"$scratch/short.car"
checks=$((checks + 1))
if "$fabric" --home "$scratch/home3" car import "$scratch/short.car" 2>/dev/null; then
    failures=$((failures + 1))
    echo "FAIL: a cut CAR was accepted"
fi

finish
