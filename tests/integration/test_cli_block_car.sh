# block and car: single blocks, and archives between two homes.
. "$(dirname "$0")/lib.sh"

# block put, get, stat, rm.
printf 'hello world' >hello
HELLO=bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
silent fabric block put hello
eq "$HELLO" "$(out)"
silent fabric block put - <hello
eq "$HELLO" "$(out)"
silent fabric block put <hello
eq "$HELLO" "$(out)"
silent fabric block get "$HELLO"
cmp hello .out || fail "block get"
silent fabric block stat --json "$HELLO"
json '[.cid, .size, .codec, .hash, .version] | map(tostring) | join(" ")' "$HELLO 11 raw sha2-256 1"
silent fabric block stat -q "$HELLO"
eq 11 "$(out)"
silent fabric block stat "$HELLO"
grep -q '^codec *raw$' .out || fail "block stat as text"
silent fabric block put --json hello hello
json length 2
json '.[0].pinned' false
refuses 2 codec fabric block put --codec nonsense hello
refuses 1 'dag-pb' fabric block put --codec dag-pb hello
refuses 1 'dag-cbor' fabric block put --codec dag-cbor hello
printf '\x0a\x02\x08\x01' >emptydir
silent fabric block put --codec dag-pb emptydir
eq bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354 "$(out)"
printf '\xa1\x61\x61\x01' >map.cbor
silent fabric block put --codec dag-cbor --pin map.cbor
MAP=$(out)
silent fabric pin ls -q
eq "$MAP" "$(out)"
refuses 1 "$MAP.*(pin|need)" fabric block rm "$MAP"
silent fabric block rm "$HELLO"
eq "removed $HELLO" "$(out)"
refuses 1 "$HELLO" fabric block get "$HELLO"
refuses 1 "$HELLO" fabric block rm "$HELLO"
refuses 1 absent fabric block put absent
make_bytes 2097153 >toobig
refuses 1 '2 MiB' fabric block put toobig
head -c 2097152 toobig >largest
silent fabric block put largest
fabric block get "$(out)" | cmp - largest || fail "a block of 2 MiB"
# An identity CID carries its bytes.
silent fabric block get bafkqablimvwgy3y
eq hello "$(out)"

# A tree goes to another home as an archive, through a file and through a pipe.
mkdir -p d/sub
make_bytes 3000000 a >d/a
make_bytes 3000000 a >d/same
echo x >d/sub/x
ln -s a d/l
D=$(fabric put -q d)
silent fabric car export "$D" -o d.car
grep -q '^exported 8 blocks, .* to d.car$' .out || fail "the line of car export"
fabric car export "$D" >d2.car || fail "car export to a pipe"
cmp d.car d2.car || fail "both archives"
silent fabric car export --json "$D" -o d.car
json '.blocks' 8
json '.path' d.car
[[ -z $(find . -maxdepth 1 -name '.fabric*') ]] || fail "a temporary file was left"

export FABRIC_HOME=$work/home2
silent fabric car import d.car
eq "pinned $D" "$(out)"
ok fabric get --verify "$D" -o got
diff -r --no-dereference d got || fail "what came through the archive"
silent fabric pin ls "$D"
silent fabric car import --json d.car
json '.roots[0]' "$D"
json '.new_blocks' 0

export FABRIC_HOME=$work/home3
silent fabric car import -q --name sent - <d.car
eq "$D" "$(out)"
silent fabric pin ls --json
json '.[0].name' sent
silent fabric verify

# A part of a tree, several roots, --no-pin.
export FABRIC_HOME=$work/home
X=$(fabric stat --json --no-walk "$D/sub/x" | jq -r .cid)
silent fabric car export "$D/sub" "$X" -o part.car
export FABRIC_HOME=$work/home4
silent fabric car import --no-pin part.car
eq 2 "$(wc -l <.out)"
silent fabric pin ls
eq '' "$(out)"
ok fabric cat "$X"
eq x "$(out)"
refuses 2 name fabric car import --no-pin --name n part.car

# Bad archives leave nothing.
export FABRIC_HOME=$work/home5
refuses 1 absent fabric car import absent
refuses 1 . fabric car import hello
refuses 1 . fabric car import /dev/null
head -c 100000 d.car >cut.car
refuses 1 . fabric car import cut.car
size=$(stat -c %s d.car)
cp d.car rot.car
printf 'XX' | dd of=rot.car bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
refuses 1 'hash|CID|baf' fabric car import rot.car
# One that is well-formed and lacks its last block.
python3 - d.car lacks.car <<'P'
import sys
data = open(sys.argv[1], 'rb').read()
def varint(at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 128: return n, at
at, starts = 0, []
while at < len(data):
    starts.append(at)
    n, at = varint(at)
    at += n
open(sys.argv[2], 'wb').write(data[:starts[-1]])
P
refuses 1 'not whole: 1 of its blocks' fabric car import lacks.car
echo -n '{"a":{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}}' >lacks.json
refuses 1 'not whole' fabric block put --codec dag-json --pin lacks.json
silent fabric pin ls
eq '' "$(out)"
ok fabric gc --json
json .removed_blocks 0
ok fabric df --json
json .store.bytes 0

# Export of what is not whole fails and leaves no file.
export FABRIC_HOME=$work/home4
refuses 1 "$D" fabric car export "$D" -o never.car
[[ ! -e never.car ]] || fail "an archive of nothing"
export FABRIC_HOME=$work/home
refuses 1 'nowhere' fabric car export "$D" -o nowhere/d.car
refuses 2 CID fabric car export nonsense
exits 1 fabric car export bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy
exit 0
