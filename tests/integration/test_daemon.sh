#!/bin/bash
# Two homes on this machine, each with its daemon, in one workspace: what one puts the other gets.
# shellcheck source=tests/integration/daemon_lib.sh
. "$(dirname "$0")/daemon_lib.sh"

a=$work/a b=$work/b c=$work/c
alias_a=(fabric --home "$a" --workspace lab)
alias_b=(fabric --home "$b" --workspace lab)
alias_c=(fabric --home "$c" --workspace lab)
homes=("$a" "$b" "$c")

# What finds peers by itself would make the order of things a matter of luck.
for home in "${homes[@]}"; do
    mkdir -m 700 "$home"
    echo 'swarm { mdns = false }' >"$home/fabric.conf"
done

# --- before any daemon

port_a=$(free_port)
port_b=$(free_port)
port_c=$(free_port)
ok fabric --home "$a" --json id
json '.addresses | length' 0
peer_a=$(out | jq -r .peer_id)
[[ $peer_a == 12D3KooW* ]] || fail "no peer ID: $peer_a"
ok fabric --home "$a" id -q
eq "$peer_a" "$(out)" "the peer ID stays"
refuses 1 'no daemon runs' fabric --home "$a" status
refuses 1 'fabric up' fabric --home "$a" peers
ok fabric --home "$a" down
grep -q 'no daemon runs' .err || fail "down without a daemon says nothing"
refuses 1 "cannot be listened on" fabric --home "$a" up --detach --listen nonsense

ok fabric --home "$a" workspace create lab
ok fabric --home "$a" workspace export-key lab
out >lab.key
ok fabric --home "$b" workspace import-key lab lab.key
ok fabric --home "$c" workspace create lab # of the same name, with another key

up "$a" "$port_a"
eq "$peer_a" "$(out)" "what up prints"
up "$b" "$port_b"
peer_b=$(out)
up "$b" "$port_b"
eq "$peer_b" "$(out)" "up again"
refuses 1 'another|already|runs' fabricd --home "$a" --listen "/ip4/127.0.0.1/tcp/$port_c"
ok fabric --home "$a" --json status
json '.workspaces | map(select(.name == "lab")) | .[0].epochs' 1
ok fabric --home "$a" --json id
json '.addresses[0]' "/ip4/127.0.0.1/tcp/$port_a/p2p/$peer_a"

# --- the handshake

refuses 1 'cannot be dialled' "${alias_b[@]}" swarm connect nonsense
refuses 1 'nobody listens' "${alias_b[@]}" swarm connect "/ip4/127.0.0.1/tcp/$port_c"
refuses 1 'another peer' "${alias_b[@]}" swarm connect "/ip4/127.0.0.1/tcp/$port_a/p2p/$peer_b"
ok "${alias_b[@]}" swarm connect -q "/ip4/127.0.0.1/tcp/$port_a"
eq "$peer_a" "$(out)" "the peer that was reached"
ok "${alias_b[@]}" --json peers
json '.[0].peer_id' "$peer_a"
json '.[0].connected' true
within 10 connected "${alias_a[@]}"

up "$c" "$port_c"
refuses 1 'same swarm key' "${alias_c[@]}" swarm connect "/ip4/127.0.0.1/tcp/$port_a"
ok "${alias_c[@]}" --json peers
json 'length' 0

# --- content

make_bytes 50000000 seed >big
mkdir -p tree/empty tree/many
for ((i = 0; i < 500; i++)); do echo "file $i of a tree" >"tree/many/$i"; done
: >tree/nothing
make_bytes 600000 part >tree/part
big=$("${alias_a[@]}" put -q big)
tree=$("${alias_a[@]}" put -q tree)
nothing=$("${alias_a[@]}" put -q tree/nothing)
mkdir hollow
hollow=$("${alias_a[@]}" put -q hollow)

ok "${alias_b[@]}" ls "$tree"
eq 4 "$(out | wc -l)" "entries"
ok "${alias_b[@]}" --json ls "$tree/many"
json 'length' 500
json '[.[] | select(.type == "file")] | length' 500
ok "${alias_b[@]}" --json stat "$big"
json .kind file
json '.missing > 0' true # ls and stat fetch no contents
ok "${alias_b[@]}" tree -q "$tree"
eq 504 "$(out | wc -l)" "paths of the tree"
"${alias_b[@]}" cat "$tree/part" | cmp - tree/part || fail "cat of a part"
ok "${alias_b[@]}" get "$tree" -o tree_b
diff -r tree tree_b || fail "the tree differs"
ok "${alias_b[@]}" get "$big" -o big_b
cmp big big_b || fail "the file differs"
ok "${alias_b[@]}" get "$nothing" -o nothing_b
[[ -f nothing_b && ! -s nothing_b ]] || fail "the empty file"
ok "${alias_b[@]}" get "$hollow" -o hollow_b
rmdir hollow_b || fail "the empty directory"
ok "${alias_b[@]}" --json peers
json '.[0].received > 50000000' true

pinned=$(make_bytes 3000000 pinned | "${alias_a[@]}" put -q -)
ok "${alias_b[@]}" --json pin add --name kept "$pinned"
json .name kept
ok "${alias_b[@]}" gc
"${alias_b[@]}" cat "$pinned" | cmp - <(make_bytes 3000000 pinned) || fail "the pin did not keep it"
archived=$(make_bytes 700000 archived | "${alias_a[@]}" put -q -)
"${alias_b[@]}" get --archive "$archived" -o - | tar x -O 2>/dev/null | cmp - <(make_bytes 700000 archived) || fail "the archive"

# --- a job with an input from the other node

if fabric --home "$b" job run -q -- true >/dev/null 2>&1; then
    input=$(echo "from afar" | "${alias_a[@]}" put -q -)
    ok "${alias_b[@]}" job run --input "word=$input" -- cat /in/word
    eq "from afar" "$(out)" "what the job read"
fi

# --- what nobody has

gone=$(echo "nobody has this" | fabric put -q --only-hash -)
refuses 1 "$gone" "${alias_b[@]}" get "$gone" -o gone
[[ ! -e gone ]] || fail "something is left of a get that failed"
refuses 1 "swarm key" fabric --home "$b" get "$big" -o gone # workspace local sees nothing of lab's

# --- interrupted

half=$(make_bytes 40000000 half | "${alias_a[@]}" put -q -)
mkdir here
(cd here && exec env --default-signal=INT "${alias_b[@]}" get "$half" -o half) >.out 2>.err &
job=$!
sleep 0.05
kill -INT "$job" 2>/dev/null
wait "$job"
code=$?
[[ $code == 130 || $code == 0 ]] || fail "an interrupted get ended with $code"
if [[ $code == 130 ]]; then eq "" "$(ls -A here)" "what an interrupted get left"; fi

# --- the end, and again

pid_b=$(pid_of "$b")
silent fabric --home "$b" down
if runs "$pid_b"; then fail "down returned before the daemon had ended"; fi
[[ ! -e $b/fabricd.sock ]] || fail "the socket is left"
later=$(make_bytes 300000 later | "${alias_a[@]}" put -q -)
refuses 1 "$later.*fabric up" "${alias_b[@]}" get "$later" -o later
refuses 1 "$later.*fabric up" "${alias_b[@]}" cat "$later"
up "$b" "$port_b"
within 20 connected "${alias_b[@]}" # by the peer book
ok "${alias_b[@]}" get "$later" -o later
cmp later <(make_bytes 300000 later) || fail "after a restart"

# A workspace that is made while the daemons run.
ok fabric --home "$a" workspace create second
ok fabric --home "$a" workspace export-key second
out >second.key
ok fabric --home "$b" workspace import-key second second.key
ok fabric --home "$b" --workspace second swarm connect "/ip4/127.0.0.1/tcp/$port_a/p2p/$peer_a"
word=$(echo second | fabric --home "$a" --workspace second put -q -)
eq second "$(fabric --home "$b" --workspace second cat "$word")" "content of the second workspace"
refuses 1 "$word" "${alias_b[@]}" cat "$word"

ok fabric --home "$b" --json doctor
json '[.[] | select(.result == "fail")] | length' 0

pid_b=$(pid_of "$b")
kill -TERM "$pid_b"
ended()
{
    ! runs "$pid_b"
}
within 5 ended
ok fabric --home "$a" down
ok fabric --home "$c" down
echo "ok"
