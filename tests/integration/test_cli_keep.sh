# pin, gc, df, verify, and the quotas of fabric.conf: what stays and what goes.
. "$(dirname "$0")/lib.sh"

make_bytes 1500000 a >a
make_bytes 700000 b >b
mkdir d
cp a d/a
echo c >d/c
A=$(fabric put -q a)
B=$(fabric put -q --no-pin b)
D=$(fabric put -q d)

# pin ls, rm, add.
silent fabric pin ls -q
eq "$(printf '%s\n' "$A" "$D" | sort)" "$(sort .out)"
silent fabric pin ls "$A"
eq "$A recursive" "$(out)"
refuses 1 "$B is not pinned" fabric pin ls "$B"
silent fabric pin rm "$A"
eq "unpinned $A" "$(out)"
refuses 1 "$A is not pinned" fabric pin rm "$A"
silent fabric pin add "$A" --name first
eq "pinned $A recursively" "$(out)"
silent fabric pin ls --json
json 'map(select(.name == "first")) | length' 1
silent fabric pin add -q "$D/c"
eq "$(fabric put -q -n d/c)" "$(out)"
silent fabric pin add --json --direct "$B"
json '.mode + " " + .cid' "direct $B"
silent fabric pin ls "$B"
eq "$B direct" "$(out)"
refuses 2 'path' fabric pin rm "$D/c"
refuses 2 'CID' fabric pin rm nonsense
refuses 1 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy' \
    fabric pin add bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy
refuses 2 'name' fabric pin add "$A" --name "$(head -c 300 /dev/zero | tr '\0' n)"
fabric pin rm -q "$(fabric put -q -n d/c)" >/dev/null
fabric pin rm -q "$B" >/dev/null 2>&1

# gc --dry-run counts what gc removes.
silent fabric gc --dry-run
eq "would remove 1 blocks, 683.6 KiB" "$(out)"
ok fabric cat "$B"
silent fabric gc --json --dry-run
json '(.dry_run | tostring) + " " + (.removed_bytes | tostring)' 'true 700000'
silent fabric gc --json
json '(.removed_blocks | tostring) + " " + (.removed_bytes | tostring)' '1 700000'
refuses 1 "$B" fabric cat "$B"
fabric cat "$A" | cmp - a || fail "gc took what is pinned"
silent fabric gc -q
eq '' "$(out)"
refuses 2 'dry-run' fabric gc --dry-run --compact

# The tree keeps a although its own pin goes.
fabric pin rm -q "$A" >/dev/null
ok fabric gc
fabric cat "$D/a" | cmp - a || fail "gc took what a directory reaches"

# df, and space that gc gives back.
silent fabric df --json
json '.store.quota' null
json '.workspaces[0].name' local
json '.store.bytes == .workspaces[0].bytes' true
json '.store.blocks > 0 and .store.disk_free > 0 and .store.file_bytes > .store.bytes' true
silent fabric df
grep -q '^workspace local: ' .out || fail "df as text"
bytes=$(fabric df --json | jq .store.bytes)
silent fabric df -q
eq "$bytes" "$(out)"
fabric pin rm -q "$D" >/dev/null
ok fabric gc --compact
ok fabric df --json
json '.store.bytes' 0
json '.store.file_bytes < 500000' true

# verify.
D=$(fabric put -q d)
silent fabric verify
grep -q '^checked [0-9]* blocks, .* 0 rotten$' .out || fail "verify as text"
silent fabric verify --json
json '(.rotten | length | tostring) + " " + (.dropped | tostring)' '0 0'
silent fabric verify -q
eq '' "$(out)"

# One byte of a block is turned in the store's file: verify names it, --verify refuses it, --repair drops it.
silent fabric put -q - <<<"a needle in the store that is easily found"
NEEDLE=$(out)
offset=$(grep -abo 'a needle in the store' "$FABRIC_HOME/store/data.mdb" | head -n 1 | cut -d: -f1)
[[ -n $offset ]] || fail "the block's bytes are not in the file"
printf X | dd of="$FABRIC_HOME/store/data.mdb" bs=1 seek=$((offset + 2)) conv=notrunc 2>/dev/null
exits 1 fabric verify
grep -q "^rotten $NEEDLE 43$" .out || fail "verify does not name the block"
eq 1 "$(wc -l <.err)" "lines on stderr"
exits 1 fabric verify --json
json '.rotten[0].cid' "$NEEDLE"
exits 1 fabric verify -q
eq "$NEEDLE" "$(out)"
exits 1 fabric get --verify "$NEEDLE" -o rotten
[[ ! -e rotten ]] || fail "rotten bytes came out"
exits 1 fabric cat --verify "$NEEDLE"
ok fabric verify --repair
silent fabric verify -q
refuses 1 "$NEEDLE" fabric cat "$NEEDLE"
fabric cat "$D/a" | cmp - a || fail "--repair took more"

# The same for a block that lies in the other file.
silent fabric put -q - < <(echo "a large needle"; head -c 30000 /dev/zero)
LARGE=$(out)
offset=$(grep -abo 'a large needle' "$FABRIC_HOME/store/blocks.dat" | head -n 1 | cut -d: -f1)
[[ -n $offset ]] || fail "the large block's bytes are not in the file"
printf X | dd of="$FABRIC_HOME/store/blocks.dat" bs=1 seek=$((offset + 20000)) conv=notrunc 2>/dev/null
exits 1 fabric verify
grep -q "^rotten $LARGE 30015$" .out || fail "verify does not name the large block"
exits 1 fabric get --verify "$LARGE" -o rotten
[[ ! -e rotten ]] || fail "rotten bytes came out"
ok fabric verify --repair
silent fabric verify -q
refuses 1 "$LARGE" fabric cat "$LARGE"

# And when the file has lost its end: what lay there is named, dropped, and can be put again.
make_bytes 3000000 lost >lost
LOST=$(fabric put -q lost)
truncate -s 1M "$FABRIC_HOME/store/blocks.dat"
exits 1 fabric verify
(($(grep -c '^rotten ' .out) >= 2)) || fail "verify does not name what lay behind the end"
ok fabric verify --repair
silent fabric verify -q
exits 1 fabric cat "$LOST"
eq "$LOST" "$(fabric put -q lost)"
ok fabric get --verify "$LOST" -o found
cmp lost found || fail "what was put again"
silent fabric verify -q

# Quotas. A write beyond it fails with one line and leaves nothing; unpinned roots make room.
fresh_home
mkdir -m 700 "$FABRIC_HOME"
cat >"$FABRIC_HOME/fabric.conf" <<'EOF'
store {
    quota = 4M
}
workspace small {
    quota = 1M
}
EOF
make_bytes 3000000 q1 >q1
make_bytes 3000000 q2 >q2
Q1=$(fabric put -q q1)
silent fabric df --json
json '.store.quota' 4194304
before=$(fabric df --json | jq .store.bytes)
refuses 1 'quota' fabric put q2
eq "$before" "$(fabric df --json | jq .store.bytes)" "bytes after a put that failed"
ok fabric gc --json
json .removed_blocks 0
refuses 1 'quota' fabric --workspace small put q2
ok fabric --workspace small put b
silent fabric df --json
json '.workspaces[] | select(.name == "small") | .quota' 1048576
fabric pin rm -q "$Q1" >/dev/null
fabric --workspace small pin rm -q "$(fabric put -q -n b)" >/dev/null
ok fabric put -q q2
fabric cat "$(out)" | cmp - q2 || fail "what was put after eviction"

# A quota that is taken out of the configuration is gone.
: >"$FABRIC_HOME/fabric.conf"
silent fabric df --json
json '.store.quota' null
ok fabric put -q q1
exit 0
