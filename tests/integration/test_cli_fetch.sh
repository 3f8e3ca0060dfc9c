#!/bin/bash
# What `cat` and `get` fetch from a peer and say meanwhile: a part of a file, what nobody has, the bar on a terminal.
# shellcheck source=tests/integration/daemon_lib.sh
. "$(dirname "$0")/daemon_lib.sh"

a=$work/a b=$work/b d=$work/d
homes=("$a" "$b")
at_a=(fabric --home "$a" --workspace lab)
at_b=(fabric --home "$b" --workspace lab)

for home in "$a" "$b" "$d"; do
    mkdir -m 700 "$home"
    echo 'swarm { mdns = false }' >"$home/fabric.conf"
done
port_a=$(free_port)
port_b=$(free_port)
ok fabric --home "$a" workspace create lab
ok fabric --home "$a" workspace export-key lab
out >lab.key
ok fabric --home "$b" workspace import-key lab lab.key
up "$a" "$port_a"
pid_a=$(pid_of "$a")
on_exit "kill -CONT $pid_a 2>/dev/null"
up "$b" "$port_b"

# --- nobody is connected

gone=$(echo "nobody has this" | fabric put -q --only-hash -)
refuses 1 "$gone.*no peer of workspace lab is connected" "${at_b[@]}" get "$gone" -o gone
ok "${at_b[@]}" swarm connect "/ip4/127.0.0.1/tcp/$port_a"

# --- a part of a file

received()
{
    "${at_b[@]}" --json peers | jq '.[0].received'
}

# part NAME CID OFFSET LENGTH MOST: the bytes are right, and at most so many came from the peer.
part()
{
    local before after
    before=$(received)
    "${at_b[@]}" cat "$2" --offset "$3" --length "$4" >part || fail "cat of a part"
    after=$(received)
    cmp part <(tail -c "+$(($3 + 1))" "$1" | head -c "$4") || fail "bytes $3 to $3 + $4 of $1 are wrong"
    ((after - before <= $5)) || fail "$((after - before)) bytes came for $4 of them"
}

make_bytes 300000000 seed >big
big=$("${at_a[@]}" put -q big)
part big "$big" 123456789 1000 1200000 # a leaf of 1 MiB, and the root above it
part big "$big" 123456789 1000 0
part big "$big" 299999000 5000 1200000 # beyond the end
part big "$big" 300000000 10 0
part big "$big" 0 100000000 102000000 # more leaves than one request holds
ok "${at_b[@]}" --json stat "$big"
json '.missing > 100' true
old=$("${at_a[@]}" put -q --profile unixfs-v0-2015 big) # leaves that are dag-pb
part big "$old" 200000000 300000 1300000
exits 1 "${at_b[@]}" cat "$gone" --offset 1 --length 1
grep -q "$gone" .err || fail "the part of what nobody has: no CID in the message"
mkdir folder && echo x >folder/x
folder=$("${at_a[@]}" put -q folder)
refuses 1 'is not a file' "${at_b[@]}" cat "$folder" --offset 1 --length 1

# --- a path, and a part at its end: one request each, however deep

fetches()
{
    grep -c '^[^ ]* fetch_ended ' "$b/fabricd.log"
}

# in_fetches N COMMAND...: it succeeds, and the daemon has fetched so often.
in_fetches()
{
    local n=$1 before
    before=$(fetches)
    shift
    ok "$@"
    eq $((before + n)) "$(fetches)" "the fetches of: $*"
}

mkdir -p deep/1/2/3/4/5/6
cp big deep/1/2/3/4/5/6/file
head -c 5000 big >deep/1/2/3/4/5/6/other
for ((i = 0; i < 30; i++)); do echo "$i" >"deep/1/n$i"; done
deep=$("${at_a[@]}" put -q --chunker size-65536 deep)
in_fetches 1 "${at_b[@]}" ls -q "$deep/1/2/3/4/5/6"
in_fetches 0 "${at_b[@]}" ls -q "$deep/1/2"
refuses 1 'no such name' "${at_b[@]}" ls -q "$deep/1/2/other/5"
in_fetches 1 "${at_b[@]}" cat "$deep/1/2/3/4/5/6/file" --offset 100M --length 50M
cmp .out <(tail -c +104857601 big | head -c 52428800) || fail "a part at the end of a path is wrong"
in_fetches 0 "${at_b[@]}" cat "$deep/1/2/3/4/5/6/file" --offset 120M --length 10M
in_fetches 1 "${at_b[@]}" cat "$deep/1/2/3/4/5/6/file" --offset 140M --length 30M # half of it is here
cmp .out <(tail -c +146800641 big | head -c 31457280) || fail "the second part is wrong"
mkdir -p many/in && seq -f 'many/in/a name that is long enough for a sharded directory %g' 5000 | while read -r name; do echo "$name" >"$name"; done
sharded=$("${at_a[@]}" put -q many)
name='in/a name that is long enough for a sharded directory 4321'
in_fetches 1 "${at_b[@]}" cat "$sharded/$name" # the shards on the way, and the file
eq "many/$name" "$(cat .out)" "the file in a sharded directory"
odd='deep name & more%2F?#+ü'
mkdir -p "odd/$odd" && echo odd >"odd/$odd/$odd"
odd_cid=$("${at_a[@]}" put -q odd)
ok "${at_b[@]}" cat "$odd_cid/$odd/$odd"
eq odd "$(cat .out)" "the file with an odd name"

# --- the peer has a part of it only

mkdir holes
for ((i = 0; i < 12; i++)); do echo "hole $i" >"holes/$i"; done
holes=$(fabric --home "$d" put -q holes)
fabric --home "$d" block get "$holes" >holes.block || fail "no block"
eq "$holes" "$("${at_a[@]}" block put -q --codec dag-pb holes.block)" "the directory's block"
begun=$SECONDS
refuses 1 "$holes.* 12 blocks " "${at_b[@]}" get "$holes" -o holes_b
((SECONDS - begun <= 5)) || fail "it took $((SECONDS - begun)) s to say what nobody has"
listed=$(grep -oE 'bafkrei[a-z2-7]+' .err | sort -u)
((8 == $(wc -l <<<"$listed"))) || fail "not the first eight CIDs are listed"
ok fabric --home "$d" --json ls "$holes"
for cid in $listed; do
    jq -e --arg cid "$cid" 'any(.[]; .cid == $cid)' .out >/dev/null || fail "$cid is not in the directory"
done
[[ ! -e holes_b ]] || fail "something is left of a get that failed"
begun=$SECONDS
refuses 1 "$gone" "${at_b[@]}" get "$gone" -o gone
((SECONDS - begun <= 5)) || fail "it took $((SECONDS - begun)) s to say that nobody has it"
# What came is kept for the next attempt.
for ((i = 0; i < 12; i++)); do ok "${at_a[@]}" put -q "holes/$i"; done
ok "${at_b[@]}" get "$holes" -o holes_b
diff -r holes holes_b || fail "the directory differs"

# --- the bar

# What a terminal shows at the end of its last line.
shown()
{
    sed 's/.*\x1b\[K//' "$1" | tr -d '\r'
}

make_bytes 5000000 shown >shown_a
shown=$("${at_a[@]}" put -q shown_a)
silent "${at_b[@]}" cat "$shown" # not to a terminal
later=$(make_bytes 5000000 later | "${at_a[@]}" put -q -)
kill -STOP "$pid_a"
script -qefc "fabric --home $b --workspace lab get $later -o later" terminal >/dev/null &
job=$!
within 20 grep -qaE 'fetching [0-9.]+ [KMG]?i?B, [0-9.]+ [KMG]?i?B/s, [0-9]+ blocks, 1 peer' terminal
within 20 grep -qaE 'blocks, waiting for 1 peer' terminal # nothing came for 5 s
kill -CONT "$pid_a"
wait "$job" || fail "get on a terminal"
cmp later <(make_bytes 5000000 later) || fail "the file differs"
if shown terminal | grep -q fetching; then fail "the bar is left on the terminal"; fi
shown terminal | grep -q "^saved $later later" || fail "the result is not on the terminal"

none=$(make_bytes 5000000 none | "${at_a[@]}" put -q -)
kill -STOP "$pid_a"
script -qefc "fabric --home $b --workspace lab --no-progress get $none -o none" terminal >/dev/null &
job=$!
sleep 1
kill -CONT "$pid_a"
wait "$job" || fail "get without a bar"
if grep -qa fetching terminal; then fail "a bar in spite of --no-progress"; fi

ok fabric --home "$b" down
ok fabric --home "$a" down
echo "ok"
