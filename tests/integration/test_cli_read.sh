# cat, ls, stat, tree: reading what is stored.
. "$(dirname "$0")/lib.sh"

mkdir -p d/sub
make_bytes 2500000 a >d/big
echo small >d/small
: >d/empty
ln -s small d/link
printf q >$'d/sub/odd\n\xffname'
D=$(fabric put -q d)

# cat, whole and in part.
for file in big small empty; do
    fabric cat "$D/$file" >got || fail "cat $file"
    cmp "d/$file" got || fail "cat $file differs"
done
for range in '0 10' '1 1' '1048570 12' '2499999 100' '2500000 5' '9999999 5' '100 0' '1K 2K'; do
    read -r offset length <<<"$range"
    fabric cat "$D/big" --offset "$offset" --length="$length" >got || fail "cat $range"
    tail -c +$((${offset/K/*1024} + 1)) d/big | head -c $((${length/K/*1024})) >want
    cmp want got || fail "cat --offset $offset --length $length differs"
done
fabric cat --offset 2400000 "$D/big" >got
tail -c 100000 d/big | cmp - got || fail "cat --offset without --length"
ok fabric cat --verify "$D/small"
eq small "$(out)"
refuses 1 'not a file' fabric cat "$D"
refuses 1 'absent' fabric cat "$D/absent"
refuses 1 . fabric cat "$D/small/below"
refuses 2 'offset' fabric cat "$D/big" --offset -1
refuses 2 'length' fabric cat "$D/big" --length 1X
refuses 2 'twice' fabric cat "$D/big" --length 1 --length 2

# ls.
silent fabric ls "$D"
eq 5 "$(wc -l <.out)"
grep -q "^$(fabric put -q -n d/big) *2500000 big$" .out || fail "ls: big"
grep -q ' sub/$' .out || fail "ls: a directory has a slash"
grep -q ' link -> small$' .out || fail "ls: where a symlink leads"
silent fabric ls -q "$D"
eq "big empty link small sub" "$(out | tr '\n' ' ' | sed 's/ $//')"
silent fabric ls -q "$D/sub"
eq 'odd\n\xffname' "$(out)" "a name with a newline and a byte that is not UTF-8"
silent fabric ls --json "$D"
json 'map(.name + ":" + .type + ":" + (.size | tostring)) | join(" ")' \
    "big:file:2500000 empty:file:0 link:symlink:5 small:file:6 sub:directory:$(fabric stat --json "$D/sub" | jq .cumulative_size)"
json '.[2].target' small
silent fabric ls --json "$D/sub"
json '.[0].name_base64 | @base64d | length > 0' true
eq "$(printf 'odd\n\xffname' | base64)" "$(jq -r '.[0].name_base64' .out)" "the exact bytes of a name"
json '.[0].name | contains("\ufffd")' true
silent fabric ls "$D/small"
grep -q ' 6 small$' .out || fail "ls of a file"
mkdir none
silent fabric ls --json "$(fabric put -q none)"
json length 0

# stat.
silent fabric stat --json "$D"
json '.cid + " " + .kind + " " + .pinned' "$D directory recursive"
json '.links' 5
json '.missing' 0
json '.blocks' 10 # two directories, the big file's node and its three leaves, four small entries
silent fabric stat --json "$D/big"
json '.size' 2500000
json '.links' 3
json '.blocks' 4
json '.pinned' no
silent fabric stat --no-walk --json "$D/big"
json 'has("blocks")' false
silent fabric stat --json "$D/link"
json '.kind + " " + .target' 'symlink small'
silent fabric stat "$D"
grep -q '^kind *directory$' .out || fail "stat as text"
touch -d '2001-02-03 04:05:06 UTC' d/small
chmod 741 d/small
silent fabric stat --json "$(fabric put -q --preserve d/small)"
json '(.mode | tostring) + " " + (.mtime | tostring)' "481 981173106"

# What is missing is counted.
LEAF=$(fabric cat "$D/big" --length 1048576 | fabric put -q -n -)
FILE=$(fabric stat --json "$D/big" | jq -r .cid)
fabric pin rm -q "$D" >/dev/null
ok fabric block rm "$LEAF"
ok fabric stat --json "$FILE"
json '.missing' 1
refuses 1 "$LEAF" fabric cat "$FILE"
refuses 1 "$LEAF" fabric get "$FILE" -o incomplete
[[ ! -e incomplete ]] || fail "a part of a file was left"
[[ -z $(find . -maxdepth 1 -name '*incomplete*') ]] || fail "a temporary file was left"
ok fabric ls "$D"
eq 5 "$(wc -l <.out)" "ls of a directory that lacks a leaf"

# tree.
silent fabric tree -q "$D"
eq 'big empty link small sub sub/odd\n\xffname' "$(out | tr '\n' ' ' | sed 's/ $//')"
silent fabric tree "$D"
grep -q '1 directories, 5 other entries' .out || fail "tree: the count"
eq 9 "$(wc -l <.out)"
silent fabric tree --json "$D"
json 'map(.depth | tostring) | join("")' 111112
json '.[5].path_base64 | length > 0' true
silent fabric tree --json "$D/sub"
json length 1
refuses 1 'not a directory' fabric tree "$D/small"

# A sharded directory: every name is found and listed.
mkdir wide
for i in {1..6000}; do
    : >"wide/a rather long name that fills the directory soon $i"
done
W=$(fabric put -q wide)
silent fabric stat --json "$W"
json '.kind + " " + (.sharded | tostring)' 'directory true'
silent fabric ls -q "$W"
eq "$(cd wide && printf '%s\n' * | sort | sha256sum)" "$(sort .out | sha256sum)" "names of a sharded directory"
ok fabric cat "$W/a rather long name that fills the directory soon 4711"
refuses 1 . fabric cat "$W/a rather long name that fills the directory soon 7000"
silent fabric ls --json "$W"
json length 6000

# Workspaces do not see each other's content.
refuses 1 "workspace 'other'|other" fabric --workspace other cat "$D/small"
ok fabric --workspace other put -q d/small
refuses 1 . fabric --workspace other cat "$D/empty"
exit 0
