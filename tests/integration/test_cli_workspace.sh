# The workspace commands: keys, who is admitted, removal; straight on the store, without a daemon.
. "$(dirname "$0")/lib.sh"

PEER=12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp
RSA=QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N
FINGERPRINT='^[0-9a-f]{32}$'

# ---- create, ls, show ----

eq local "$(fabric workspace ls -q)"
grep -q '^local -, 0 epochs, admission by key, 0 blocks, 0 B$' <(fabric workspace ls) || fail "local without a key"
refuses 1 "has no swarm key.*workspace create local" fabric workspace export-key local
refuses 1 "has no swarm key" fabric workspace rotate-key local

silent fabric workspace create lab
grep -qE '^created workspace lab, admission by key, key [0-9a-f]{32}$' .out || fail "create"
eq 600 "$(stat -c %a home/identity)" "mode of the identity"
LAB=$(fabric -q workspace show lab)
[[ $LAB =~ $FINGERPRINT ]] || fail "fingerprint $LAB"
grep -q "$LAB" .out || fail "create and show disagree"
refuses 1 'lab exists and has a key.*rotate-key lab' fabric workspace create lab
refuses 1 'lab exists' fabric workspace create lab --admit list
eq key "$(fabric --json workspace show lab | jq -r .admission)" "a refused create changes nothing"

ok fabric --json workspace create studio --admit list
json .name studio
json .epoch 1
json .admission list
json '.fingerprint | length' 32
STUDIO=$(jq -r .fingerprint .out)
[[ $STUDIO != "$LAB" ]] || fail "two workspaces with one key"

LOCAL=$(fabric -q workspace create local)
[[ $LOCAL =~ $FINGERPRINT ]] || fail "local gets a key"

ok fabric --json workspace ls
json 'map(.name) | sort | join(" ")' 'lab local studio'
json '.[] | select(.name == "studio") | "\(.fingerprint) \(.epochs | length) \(.admission) \(.blocks) \(.quota)"' \
    "$STUDIO 1 list 0 null"
eq 3 "$(fabric workspace ls -q | wc -l)"
ok fabric --json workspace show lab
json '.epochs | map("\(.number) \(.replaced) \(.fingerprint)") | join(",")' "1 null $LAB"
json '.epochs[0].created > 1500000000' true
json '.admitted | length' 0

# ---- export, import into another home ----

silent fabric workspace export-key lab
eq 3 "$(wc -l <.out)"
eq /key/swarm/psk/1.0.0/ "$(sed -n 1p .out)"
eq /base16/ "$(sed -n 2p .out)"
sed -n 3p .out | grep -qE '^[0-9a-f]{64}$' || fail "no base16 key"
cp .out printed.key
(umask 0 && fabric workspace export-key lab -o swarm.key) >/dev/null || fail "export -o"
eq 600 "$(stat -c %a swarm.key)" "mode of the key file"
cmp swarm.key printed.key || fail "-o writes something else"
refuses 1 'swarm.key exists; give --force' fabric workspace export-key lab -o swarm.key
(umask 0 && fabric workspace export-key studio -o swarm.key --force) >/dev/null || fail "export --force"
eq 600 "$(stat -c %a swarm.key)" "mode of the replaced key file"
cmp -s swarm.key printed.key && fail "--force did not replace"
ok fabric --json workspace export-key lab
eq "$(cat printed.key)" "$(jq -r .key .out)"
json .fingerprint "$LAB"
ok fabric --json workspace export-key lab -o j.key
json .path j.key
json 'has("key")' false
refuses 1 'cannot be written' fabric workspace export-key lab -o no/such/folder
refuses 2 'empty' fabric workspace export-key lab -o ''

other=(fabric --home "$WORK/second")
silent "${other[@]}" workspace import-key lab printed.key
eq "made workspace lab with key $LAB" "$(out)"
silent "${other[@]}" workspace import-key lab printed.key
eq "workspace lab has this key already: epoch 1, key $LAB" "$(out)"
eq "$(cat printed.key)" "$("${other[@]}" workspace export-key lab)" "round trip"
fabric workspace export-key studio | "${other[@]}" --json workspace import-key lab - >.out || fail "import from -"
json '"\(.name) \(.epoch) \(.made) \(.added) \(.fingerprint)"' "lab 2 false true $STUDIO"
eq "$STUDIO" "$("${other[@]}" -q workspace import-key lab swarm.key)"
ok "${other[@]}" --json workspace show lab
json '.epochs | map(.fingerprint) | join(" ")' "$STUDIO $LAB"
json '.epochs[1].replaced > 1500000000' true
# An older key becomes the newest again, and is there once.
silent "${other[@]}" workspace import-key lab printed.key
eq "workspace lab: epoch 3, key $LAB" "$(out)"
eq "3 2" "$("${other[@]}" --json workspace show lab | jq -r '.epochs | map(.number) | join(" ")')"
ok "${other[@]}" workspace show lab
grep -qE "^key: epoch 2, $STUDIO, made [0-9: -]+ UTC, taken until [0-9: -]+ UTC$" .out || fail "show"

# Forms that other programs write: base64, bin, line ends of Windows.
# shellcheck disable=SC2059 # the format is made of the key's digits
raw_key() { printf "$(tail -n 1 printed.key | sed 's/../\\x&/g')"; }
base64=$(raw_key | base64)
printf '/key/swarm/psk/1.0.0/\r\n/base64/\r\n%s\r\n' "$base64" | "${other[@]}" -q workspace import-key b64 - >.out ||
    fail "base64"
eq "$LAB" "$(out)"
{ printf '/key/swarm/psk/1.0.0/\n/bin/\n' && raw_key; } |
    "${other[@]}" -q workspace import-key bin - >.out || fail "bin"
eq "$LAB" "$(out)"

# Nothing is made of a key that cannot be read.
echo nonsense >bad.key
refuses 1 'bad.key: swarm key: the first line' "${other[@]}" workspace import-key new bad.key
head -c 100000 /dev/zero >big.key
refuses 1 'big.key: swarm key: longer' "${other[@]}" workspace import-key new big.key
refuses 1 'none.key cannot be read' "${other[@]}" workspace import-key new none.key
refuses 1 'cannot be read' "${other[@]}" workspace import-key new .
grep -q '^new ' <("${other[@]}" workspace ls) && fail "a workspace without its key was made"
sed '3s/..$//' printed.key >short.key
refuses 1 'swarm key' "${other[@]}" workspace import-key new short.key
grep -q "$(sed -n 3p short.key | head -c 20)" .err && fail "a part of the key on stderr"

# ---- rotate ----

ok fabric workspace rotate-key lab
grep -qE '^workspace lab: epoch 2, key [0-9a-f]{32}; the one before is taken until 2[0-9: -]+ UTC$' .out || fail "rotate"
ok fabric --json workspace rotate-key lab
json .epoch 3
json '.previous_until - 604800 > 1500000000' true
eq "3 2 1" "$(fabric --json workspace show lab | jq -r '.epochs | map(.number) | join(" ")')"
for i in 4 5 6 7 8; do ok fabric workspace rotate-key lab; done
refuses 1 '8 keys that are still taken' fabric workspace rotate-key lab
eq "8" "$(fabric --json workspace show lab | jq -r '.epochs | length')"

# Processes that rotate and import at once each get an epoch of their own.
ok fabric workspace create busy
pids=()
for i in 1 2 3 4; do
    fabric -q workspace rotate-key busy >"busy.$i" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a rotation beside others: $(cat busy.*)"
done
eq "5 4 3 2 1" "$(fabric --json workspace show busy | jq -r '.epochs | map(.number) | join(" ")')"
eq "$(sort busy.?)" "$(fabric --json workspace show busy | jq -r '.epochs[:4][].fingerprint' | sort)"

# So do processes that make the home's identity at once.
pids=()
for i in 1 2 3 4; do
    fabric --home "$WORK/race" workspace create "w$i" >"race.$i" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a creation beside others: $(cat race.*)"
done
silent fabric --home "$WORK/race" workspace ls
eq 4 "$(grep -cE ' [0-9a-f]{32}, 1 epoch,' .out)" "keys that open"

# ---- admit, expel, set ----

ok fabric workspace admit lab "$PEER"
eq "admitted $PEER" "$(out)"
grep -q 'admits whoever has its key.*set lab --admit list' .err || fail "no remark"
silent fabric -q workspace admit lab "$PEER"
silent fabric workspace set lab --admit list
eq "workspace lab admits by list" "$(out)"
silent fabric --json workspace admit lab "$PEER" "$RSA"
json 'map("\(.peer) \(.changed)") | join(",")' "$PEER false,$RSA true"
# The same peer as a CID.
silent fabric --json workspace admit lab bafzaajaiaejcal72gwuz2or47oyxxn6b3rkwdmmkrxgkjxzy3rqt5kczyn7lcm3l
json .changed true
ok fabric --json workspace show lab
json .admission list
json '.admitted | length' 3
json ".admitted | index(\"$PEER\") != null" true
silent fabric workspace expel lab "$PEER"
eq "expelled $PEER" "$(out)"
refuses 1 "$PEER is not on the workspace's list" fabric workspace expel lab "$PEER"
refuses 2 "'nobody' is not a peer ID" fabric workspace admit lab "$PEER" nobody
eq 2 "$(fabric --json workspace show lab | jq '.admitted | length')" "nothing is admitted beside a wrong one"
eq key "$(fabric --json workspace set lab --admit key | jq -r .admission)"
refuses 2 "'key' or 'list', not 'all'" fabric workspace set lab --admit all
refuses 2 "'key' or 'list', not ''" fabric workspace create x --admit ''
refuses 2 'nothing to set' fabric workspace set lab
refuses 2 'argument is missing' fabric workspace admit lab

# ---- names ----

refuses 2 "not a workspace name" fabric workspace create UPPER
refuses 2 "not a workspace name" fabric workspace import-key ../up printed.key
refuses 2 "not a workspace name" fabric workspace show ''
for command in show rm export-key rotate-key; do
    refuses 1 "there is no workspace 'nowhere'" fabric workspace "$command" nowhere
done
refuses 1 "there is no workspace 'nowhere'" fabric workspace set nowhere --admit list
refuses 1 "there is no workspace 'nowhere'" fabric workspace expel nowhere "$PEER"
refuses 2 'see .fabric help workspace' fabric workspace frobnicate

# ---- rm ----

make_bytes 3000000 a >shared
make_bytes 3000000 b >own
SHARED=$(fabric put -q shared)
eq "$SHARED" "$(fabric --workspace lab put -q shared)"
OWN=$(fabric --workspace lab put -q own)
refuses 1 'pinned content; give --force' fabric workspace rm lab
[[ $(fabric -q workspace show lab) =~ $FINGERPRINT ]] || fail "a refused rm takes the keys"
before=$(fabric df -q)
ok fabric --json workspace rm lab --force
json .name lab
json '.bytes > 6000000' true
refuses 1 "there is no workspace 'lab'" fabric workspace show lab
refuses 1 "there is no workspace 'lab'" fabric --workspace lab cat "$OWN"
(($(fabric df -q) < before - 2900000)) || fail "its bytes stay"
ok fabric verify
fabric cat "$SHARED" | cmp - shared || fail "what another workspace sees went too"
refuses 1 'local always exists' fabric workspace rm local
ok fabric workspace create lab
eq 1 "$(fabric --json workspace show lab | jq '.epochs | length')" "a new workspace of the same name begins anew"
eq 0 "$(fabric --json workspace show lab | jq '.blocks + (.admitted | length)')"
eq studio "$(fabric -q workspace rm studio)"

# ---- another identity, and one that others may read ----

ok fabric workspace ls
mv home/identity identity.mine
refuses 1 "does not open with this home's identity" fabric workspace show lab
refuses 1 "does not open with this home's identity" fabric workspace export-key lab
ok fabric workspace ls
grep -q '^lab ?' .out || fail "ls names the workspace all the same"
grep -q "does not open" .err || fail "ls says why"
mv identity.mine home/identity
chmod 640 home/identity
refuses 1 'open to other users.*chmod 600' fabric workspace show lab
chmod 600 home/identity
ok fabric workspace show lab
head -c 40 home/identity >cut.short
cp home/identity identity.mine
cat cut.short >home/identity
refuses 1 'identity.* is damaged' fabric workspace show lab
cat identity.mine >home/identity

# The key stands nowhere in the store in the clear.
digits=$(fabric workspace export-key lab | tail -n 1)
od -An -v -tx1 home/store/data.mdb | tr -d ' \n' | grep -q "$digits" && fail "the key stands in the store in the clear"
grep -q "$digits" home/store/data.mdb && fail "the key's text stands in the store"

# ---- help ----

for command in create ls show set rm export-key import-key rotate-key admit expel; do
    ok fabric help workspace "$command"
    grep -q -- "fabric workspace $command" .out || fail "help of $command"
    ok fabric workspace "$command" --help
done

# ---- Kubo prints the same fingerprint ----

ipfs=${FABRIC_PEERS:-$(getent passwd "$(id -u)" | cut -d: -f6)/.cache/fabric-peers}/bin/ipfs
if [[ -x $ipfs ]]; then
    export IPFS_PATH=$WORK/ipfs LIBP2P_FORCE_PNET=1
    "$ipfs" init --profile=test >/dev/null 2>&1 || fail "ipfs init"
    fabric workspace export-key lab -o "$IPFS_PATH/swarm.key" >/dev/null || fail "export for Kubo"
    "$ipfs" daemon >kubo.log 2>&1 &
    kubo=$!
    on_exit "kill $kubo 2>/dev/null; wait $kubo"
    for ((i = 0; i < 300; i++)); do
        grep -q 'Daemon is ready' kubo.log && break
        sleep 0.1
    done
    eq "$(fabric -q workspace show lab)" "$(sed -n 's/^Swarm key fingerprint: //p' kubo.log)" "Kubo's fingerprint"
else
    echo "skipped: Kubo's fingerprint, since $ipfs is not there"
fi
