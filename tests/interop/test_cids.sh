#!/usr/bin/env bash
# The same bytes get the same CIDs from us, from Kubo, from ipfs-unixfs-importer and from ipfs_cid.
#   FABRIC_BIN=build/release/bin tests/interop/test_cids.sh [SEED]
# shellcheck source=tests/interop/lib.sh
. "$(dirname "$0")/lib.sh"
seed=${1:-${FABRIC_SEED:-1}}
echo "seed $seed"
need Kubo "$cache/bin/ipfs" "run tests/interop/peers.sh"
need ipfs-unixfs-importer "$cache/npm/node_modules/.bin/node" "run tests/interop/peers.sh"
need ipfs_cid ipfs_cid "install the package ipfs-cid"

ours() {
    "$fabric" put -q --only-hash "$@"
}
cp "$here/npm/put.mjs" "$cache/npm/"
importer() {
    (cd "$cache/npm" && node_modules/.bin/node put.mjs "$@")
}

for kind in sizes random edge wide; do
    "$here/gen_tree.py" "$seed" "$kind" "$scratch/$kind" || exit 1
    for profile in "${profiles[@]}"; do
        mine=$(ours --profile "$profile" --hidden "$scratch/$kind")
        equal "$kind, $profile, Kubo" "$(kubo_add "$profile" -n -r -H "$scratch/$kind")" "$mine"
        equal "$kind, $profile, ipfs-unixfs-importer" "$(importer "$profile" default "$scratch/$kind")" "$mine"
    done
done

# Hidden entries are skipped by default, as Kubo skips them.
equal "random without hidden" "$(kubo_add unixfs-v1-2025 -n -r "$scratch/random")" "$(ours "$scratch/random")"

# File by file, each on its own.
for file in "$scratch"/sizes/*; do
    name=$(basename "$file")
    theirs=$(ipfs_cid "$file" 2>/dev/null | sed -n 's/.*"CIDv0":"\([^"]*\)".*/\1/p')
    equal "$name, ipfs_cid" "$theirs" "$(ours --profile unixfs-v0-2015 "$file")"
    equal "$name, stdin" "$(kubo_add unixfs-v1-2025 -n "$file")" "$(ours - <"$file")"
done

# Wrapped: the arguments become entries of one more directory.
equal "wrap" "$(kubo_add unixfs-v1-2025 -n -w "$scratch/sizes/zeros" "$scratch/sizes/repeat")" \
    "$(ours --wrap "$scratch/sizes/zeros" "$scratch/sizes/repeat" | tail -n 1)"

# Chunkers, on bytes that have no pattern, one pattern, and none but zeros.
head -c 5500000 "$scratch"/sizes/size-5* >"$scratch/noise"
for file in noise sizes/repeat sizes/zeros sizes/size-1 sizes/size-0 sizes/size-4097; do
    for chunker in size-4096 size-65536 size-1000003 size-2096896 rabin rabin-65536 rabin-131072 \
        rabin-16384-32768-65536 rabin-20000-50000-90001 buzhash; do
        for profile in unixfs-v1-2025 unixfs-v0-2015; do
            equal "$file, $chunker, $profile" "$(kubo_add "$profile" -n -s "$chunker" "$scratch/$file")" \
                "$(ours --profile "$profile" --chunker "$chunker" "$scratch/$file")"
        done
    done
done
equal "size-1, Kubo" "$(kubo_add unixfs-v0-2015 -n -s size-1 "$scratch/sizes/size-4097")" \
    "$(ours --profile unixfs-v0-2015 --chunker size-1 "$scratch/sizes/size-4097")"
equal "size-1000, ipfs-unixfs-importer" "$(importer unixfs-v1-2025 size-1000 "$scratch/noise")" \
    "$(ours --chunker size-1000 "$scratch/noise")"

# Modes and times, asked for.
mkdir "$scratch/modes"
printf x >"$scratch/modes/plain"
printf y >"$scratch/modes/program"
chmod 0755 "$scratch/modes/program"
chmod 0640 "$scratch/modes/plain"
touch -d '2001-02-03 04:05:06.789 UTC' "$scratch/modes/plain"
touch -d '1999-12-31 23:59:59 UTC' "$scratch/modes/program"
cp "$scratch/noise" "$scratch/modes/large"
chmod 0444 "$scratch/modes/large"
touch -d '2020-01-01 00:00:00 UTC' "$scratch/modes" "$scratch/modes/large"
# (Kubo wants to write when a directory has them.)
preserve=(--preserve-mode --preserve-mtime --raw-leaves=false)
for profile in "${profiles[@]}"; do
    for file in plain program large; do
        equal "preserve, $profile, $file" "$(kubo_add "$profile" "${preserve[@]}" "$scratch/modes/$file")" \
            "$(ours --profile "$profile" --preserve "$scratch/modes/$file")"
    done
    equal "preserve, $profile, directory" "$(kubo_add "$profile" "${preserve[@]}" -r "$scratch/modes")" \
        "$(ours --profile "$profile" --preserve "$scratch/modes")"
done

finish
