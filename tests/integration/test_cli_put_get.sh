# put and get: what goes in comes out, with every flag.
. "$(dirname "$0")/lib.sh"

# A file's CID is known to everybody (IPIP-0499 vectors), and the line is the one that ipfs users expect.
printf 'hello world' >hello
HELLO=bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
silent fabric put hello
eq "added $HELLO hello" "$(out)"
silent fabric put -q hello
eq "$HELLO" "$(out)"
silent fabric put -q ./hello "$PWD/hello"
eq "$HELLO $HELLO" "$(out | tr '\n' ' ' | sed 's/ $//')"
eq 700 "$(stat -c %a "$FABRIC_HOME")" "mode of the home"
[[ -s $FABRIC_HOME/fabric.conf ]] || fail "no fabric.conf"

# Standard input, empty input, empty directory.
silent fabric put -q - <hello
eq "$HELLO" "$(out)"
printf 'hello world' | fabric put - >.got || fail "put - from a pipe"
eq "added $HELLO $HELLO" "$(cat .got)"
silent fabric put -q - </dev/null
eq bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku "$(out)" "empty file"
mkdir empty
silent fabric put -q empty
eq bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354 "$(out)" "empty directory"
silent fabric get "$(out)" -o empty2
[[ -d empty2 && -z $(ls -A empty2) ]] || fail "empty directory came out wrong"

# A tree: several sizes, names with spaces, newlines and bytes that are not UTF-8, symlinks, depth.
mkdir -p tree/sub/deep/er
make_bytes 3500000 a >tree/big
make_bytes 1048576 b >tree/one_chunk
make_bytes 1048577 c >tree/two_chunks
: >tree/nothing
echo x >'tree/with space'
printf y >$'tree/new\nline'
printf z >$'tree/bad\xff\xfeutf8'
printf t >$'tree/back\\slash\ttab'
printf w >tree/sub/deep/er/leaf
printf u >'tree/Zürich'
ln -s ../big tree/sub/link
ln -s nowhere tree/dangling
mkdir tree/hollow
silent fabric put -q tree
TREE=$(out)
ok fabric get "$TREE" -o got
diff -r --no-dereference tree got || fail "the tree came out different"
eq "../big" "$(readlink got/sub/link)"
ok fabric put -q got
eq "$TREE" "$(out)" "the CID of what came out"

# The default destination is the last part of the path, or the CID.
mkdir here
cd here || exit 1
ok fabric get "$TREE/sub/deep/er/leaf"
eq w "$(cat leaf)"
ok fabric get "$TREE"
diff -r --no-dereference ../tree "$TREE" || fail "get CID"
ok fabric get "/ipfs/$TREE/with space"
eq x "$(cat 'with space')"
ok fabric get --archive "$TREE/sub"
[[ -s sub.tar ]] || fail "--archive has no default name"
cd ..
silent fabric get -q "$TREE/nothing" -o nothing
[[ -f nothing && ! -s nothing && ! -s .out ]] || fail "an empty file"
ok fabric get "$TREE/sub/link" -o alink
eq ../big "$(readlink alink)" "a symlink alone"

# --force, and nothing happens without it.
echo mine >dest
refuses 1 'dest.*(exists|force)' fabric get "$TREE/nothing" -o dest
eq mine "$(cat dest)"
ok fabric get "$TREE/nothing" -o dest --force
eq '' "$(cat dest)"
ok fabric get "$TREE" -o dest -f
diff -r --no-dereference tree dest || fail "a directory in place of a file"
refuses 1 'missing/parent|parent|No such' fabric get "$TREE/nothing" -o missing/parent/file
[[ ! -e missing ]] || fail "something was left"

# Archives, to a file and to standard output.
ok fabric get --archive "$TREE" -o t.tar
mkdir untar
tar xf t.tar -C untar 2>.tarerr || fail "tar cannot read the archive: $(cat .tarerr)"
diff -r --no-dereference tree "untar/$TREE" || fail "the archive differs"
fabric get -a "$TREE" -o - >u.tar || fail "archive to a pipe"
cmp t.tar u.tar || fail "the archive on stdout differs"
ok fabric get --archive "$TREE/sub" -o plain.tar
tar tf plain.tar >/dev/null 2>.tarerr
eq '' "$(cat .tarerr)" "what tar says of plain names"
refuses 1 't.tar.*exists' fabric get --archive "$TREE" -o t.tar
ok fabric get --archive "$TREE" -o t.tar --force
refuses 2 'archive|cat' fabric get "$TREE" -o -

# --verify reads everything and agrees.
ok fabric get --verify "$TREE" -o verified
diff -r --no-dereference tree verified || fail "--verify"

# Hidden entries are skipped and counted; an argument that is hidden itself is taken.
mkdir -p hid/.git/objects hid/sub
echo 1 >hid/a
echo 2 >hid/.b
echo 3 >hid/.git/objects/c
echo 4 >hid/sub/.d
ok fabric put -q hid
grep -q '^fabric: 3 hidden entries were skipped; --hidden takes them$' .err ||
    [[ ! -s .err ]] || fail "the count of hidden entries"
ok fabric put hid
eq 'fabric: 3 hidden entries were skipped; --hidden takes them' "$(cat .err)"
ok fabric get "$(cut -d' ' -f2 .out)" -o hid2
eq "a sub" "$(ls -A hid2 | tr '\n' ' ' | sed 's/ $//')"
eq '' "$(ls -A hid2/sub)"
silent fabric put -q --hidden hid
ok fabric get "$(out)" -o hid3
diff -r hid hid3 || fail "--hidden"
silent fabric put -q hid/.b
ok fabric cat "$(out)"
eq 2 "$(out)"

# --wrap: one more directory, which keeps the names.
silent fabric put --wrap hello tree/nothing
eq 3 "$(wc -l <.out)"
ok fabric put -q --wrap hello tree/nothing
eq 1 "$(wc -l <.out)" "lines of put -q --wrap"
WRAP=$(out)
ok fabric ls -q "$WRAP"
eq "hello nothing" "$(out | tr '\n' ' ' | sed 's/ $//')"
ok fabric cat "$WRAP/hello"
eq "hello world" "$(out)"
mkdir other
cp hello other/hello
refuses 1 hello fabric put --wrap hello other/hello

# --only-hash stores nothing, not even a home.
fresh_home
silent fabric put -q --only-hash tree
eq "$TREE" "$(out)"
[[ ! -e $FABRIC_HOME ]] || fail "--only-hash made a home"
ok fabric pin ls
eq '' "$(out)"
refuses 1 . fabric cat "$TREE/nothing"

# Profiles and chunkers.
silent fabric put -q --only-hash --profile unixfs-v0-2015 hello
eq Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD "$(out)" "v0"
make_bytes 600000 p >p
one=$(fabric put -q -n p)
two=$(fabric put -q -n --chunker size-262144 p)
three=$(fabric put -q -n --profile cid-v1-plain p)
[[ $one != "$two" ]] || fail "--chunker changes nothing"
[[ $three != "$one" ]] || fail "--profile changes nothing"
for c in rabin rabin-65536 rabin-16384-65536-131072 buzhash size-1000; do
    ok fabric put -q --chunker "$c" p
    ok fabric cat "$(out)"
    cmp p .out || fail "chunker $c"
done
refuses 2 'profile.*unixfs-v1-2025' fabric put --profile nonsense p
refuses 2 chunk fabric put --chunker nonsense p
refuses 2 chunk fabric put --chunker size-0 p
refuses 2 chunk fabric put --chunker=size-99999999 p

# --preserve keeps mode and time; without it neither changes the CID.
mkdir pres
echo script >pres/run.sh
chmod 750 pres/run.sh
touch -d '2001-02-03 04:05:06 UTC' pres/run.sh
plain=$(fabric put -q pres)
chmod 700 pres/run.sh
eq "$plain" "$(fabric put -q pres)" "the CID without --preserve"
chmod 750 pres/run.sh
touch -d '2001-02-03 04:05:06 UTC' pres/run.sh
ok fabric put -q --preserve pres
[[ $(out) != "$plain" ]] || fail "--preserve changes nothing"
ok fabric get "$(out)" -o pres2
eq "750 981173106" "$(stat -c '%a %Y' pres2/run.sh)"

# --name, --no-pin.
fresh_home
ok fabric put -q --name 'my pin' hello
ok fabric pin ls --json
json '.[0] | .cid + " " + .name + " " + .mode' "$HELLO my pin recursive"
ok fabric put -q --no-pin p
ok fabric pin ls -q
eq "$HELLO" "$(out)"
ok fabric cat "$one"
cmp p .out || fail "--no-pin"
refuses 2 name fabric put --name x --no-pin p
refuses 2 'standard input' fabric put - -

# JSON: one value per root.
ok fabric put --json tree hello
json length 2
json '.[0].cid' "$TREE"
json '.[1] | .cid + " " + .name + " " + (.bytes | tostring)' "$HELLO hello 11"
ok fabric put --json --hidden hid
json '.files' 4
json '.hidden_skipped' 0
ok fabric get --json "$TREE" -o got3
json '.cid + " " + .path' "$TREE got3"
json .symlinks 2

# What cannot be put.
refuses 1 'absent' fabric put absent
mkfifo pipe
refuses 1 'pipe' fabric put pipe
mkdir locked
echo secret >locked/f
chmod 0 locked/f
if [[ $(id -u) != 0 ]]; then
    refuses 1 'locked/f' fabric put locked
fi
before=$(fabric pin ls -q | sort)
refuses 1 absent fabric put hello absent
eq "$before" "$(fabric pin ls -q | sort)" "pins after a put that failed"

# On a terminal long work shows how far it is and how fast, and wipes the line at its end; not where it was told not to.
slow='{ openssl rand 3000000; sleep 1.5; openssl rand 3000000; } | fabric put -'
script -qefc "$slow" terminal >/dev/null
tr '\r' '\n' <terminal | grep -qE 'adding 2\.[0-9] MiB, [0-9.]+ [KM]iB/s' || fail "no bar: $(cat -v terminal)"
tr '\r' '\n' <terminal | tail -n 4 | grep -qE '^.\[Kadded bafy' || fail "the bar's line was not wiped: $(cat -v terminal)"
script -qefc "${slow/put/--no-progress put}" terminal >/dev/null
if grep -qa adding terminal; then fail "a bar in spite of --no-progress"; fi
exit 0
