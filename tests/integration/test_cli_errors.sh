# Wrong usage, bad configuration, homes that cannot be, and output that does not arrive: one line each.
. "$(dirname "$0")/lib.sh"

echo x >x
X=$(fabric put -q x)
D=$(mkdir d && make_bytes 5000000 >d/big && fabric put -q d)

# Usage: exit 2.
refuses 2 'no command' fabric
refuses 2 "unknown command 'putt'; did you mean .fabric put.?" fabric putt x
refuses 2 "unknown command 'frobnicate'; see .fabric help" fabric frobnicate
refuses 2 "unknown command 'pin ad'.*fabric pin add" fabric pin ad
refuses 2 'UTF-8' fabric job run --name $'\xff' -- true
refuses 2 "see .fabric help pin" fabric pin
refuses 2 "see .fabric help pin" fabric pin frobnicate
refuses 2 'put: unknown option --wrapp .did you mean --wrap.' fabric put --wrapp x
refuses 2 'unknown option --frobnicate' fabric put --frobnicate x
refuses 2 'unknown option -Z' fabric put -Z x
refuses 2 'unknown option --frobnicate' fabric --frobnicate put x
refuses 2 'needs a value' fabric put x --profile
refuses 2 'takes no value' fabric put --wrap=yes x
refuses 2 'twice' fabric put --name a --name b x
refuses 2 'missing' fabric put
refuses 2 'missing' fabric pin add
refuses 2 'too many' fabric cat "$X" "$X"
refuses 2 'too many' fabric version 1
refuses 2 'CID' fabric cat nonsense
refuses 2 'CID' fabric ls ''
refuses 2 'CID' fabric get /ipfs/
refuses 2 'empty' fabric --home '' df
refuses 2 'home' env -u HOME -u FABRIC_HOME "$FABRIC_BIN/fabric" df
refuses 2 'api' fabric --api http://127.0.0.1:1 df
refuses 2 'api' fabric df --api=http://127.0.0.1:1
refuses 2 'API' env FABRIC_API=http://127.0.0.1:1 "$FABRIC_BIN/fabric" df
refuses 2 'empty' fabric get "$X" -o ''

# A configuration that is no file.
mkdir -p "$work/odd/fabric.conf"
refuses 1 'fabric.conf: is not a file' fabric --home "$work/odd" df

# A recursive pin does not become a direct one by the way.
refuses 1 'pinned recursively' fabric pin add --direct "$D"
eq recursive "$(fabric pin ls --json "$D" | jq -r '.[0].mode')"

# Standard input that is closed is not an empty file; a limit on the size of files is an error like another.
closed_stdin() { "$@" <&-; }
refuses 1 'Bad file descriptor' closed_stdin fabric put -
refuses 1 'Bad file descriptor' closed_stdin fabric block put -
limited() { (ulimit -f 1000 && exec "$@"); }
refuses 1 'File too large|input.output error' limited fabric put --home "$work/limited" d/big
refuses 1 'File too large|input.output error' limited fabric get "$D" -o too-large
[[ -z $(ls -d too-large .fabric-* 2>/dev/null) ]] || fail "a get beyond the limit left something"

# Control characters of an argument do not reach the terminal.
exits 2 fabric $'pu\e[31mt\n'
eq 1 "$(wc -l <.err)" "lines"
grep -q $'\e' .err && fail "an escape character reached the terminal"
exits 1 fabric put $'no\xff\nsuch'
eq 1 "$(wc -l <.err)" "lines"

# Options in every form and place; -- ends them.
eq "$X" "$(fabric -q put x)"
eq "$X" "$(fabric put x -q)"
eq "$X" "$(fabric put -qn x)"
eq "$X" "$(fabric put -q --profile=unixfs-v1-2025 --chunker size-1048576 x)"
eq 1 "$(fabric --json pin ls "$X" | jq length)"
eq 1 "$(fabric pin --json ls "$X" | jq length)"
ok fabric get "$X" -oout1
ok fabric get -o out2 "$X"
ok fabric get --output=out3 "$X"
cmp out1 out2 && cmp out2 out3 || fail "forms of -o"
echo dashed >--dashed
eq "$(fabric put -q -n ./--dashed)" "$(fabric put -q -n -- --dashed)"
eq "$X" "$(FABRIC_WORKSPACE=env fabric put -q x)"
eq "$X" "$(fabric --workspace env pin ls -q)"
eq "$X" "$(FABRIC_WORKSPACE=nothing fabric --workspace=env pin ls -q)"
mkdir other
eq "$X" "$(fabric put -q x --home other/home)"
eq "$X" "$(fabric --home=other/home pin ls -q)"
[[ -d other/home/store ]] || fail "--home was not used"
env -u FABRIC_HOME XDG_DATA_HOME="$work/xdg" "$FABRIC_BIN/fabric" put -q x >/dev/null || fail "XDG_DATA_HOME"
[[ -d xdg/fabric/store ]] || fail "XDG_DATA_HOME was not used"
env -u FABRIC_HOME "$FABRIC_BIN/fabric" put -q x >/dev/null || fail "HOME"
[[ -d $HOME/.local/share/fabric/store ]] || fail "HOME was not used"

# Workspaces: a name that is new is made by what writes only, and must be a name.
refuses 1 "workspace.*fresh" fabric --workspace fresh ls "$X"
refuses 1 'workspace|name' fabric --workspace 'no such/name' put x
refuses 1 'workspace|name' fabric --workspace '' put x
ok fabric --workspace fresh put x
ok fabric --workspace fresh ls "$X"

# fabric.conf: what is wrong, and where.
conf=$FABRIC_HOME/fabric.conf
cp "$conf" conf.sample
bad_conf()
{
    printf '%s\n' "$2" >"$conf"
    refuses 1 "fabric.conf.*$1" fabric df
}
bad_conf ':2:.*frobnicate' $'store {\n frobnicate = 1\n}'
bad_conf ':2:.*nonsense' $'store {\n quota = nonsense\n}'
bad_conf ':2:.*cached' $'store {\n cached = -1\n}'
bad_conf 'high_water' $'store {\n high_water = 101\n}'
bad_conf 'keep' $'jobs {\n keep = soon\n}'
bad_conf '.' '}'
bad_conf ':1:' 'unknown { }'
bad_conf '.' $'workspace {\n quota = 1G\n}'
cat >"$conf" <<'EOF'
# a comment
store {
    quota = 1.5GiB   # another
    high_water = 80
    map = 10G
    cached = 1G
}
jobs { keep = 2w }
workspace local { quota = "512M" }
EOF
silent fabric df --json
json '.store.quota' 1610612736
json '.store.high_water_percent' 80
json '.workspaces[] | select(.name == "local") | .quota' 536870912
if [[ $(id -u) != 0 ]]; then
    chmod 0 "$conf"
    refuses 1 'fabric.conf.*Permission' fabric df
    chmod 600 "$conf"
fi
cp conf.sample "$conf"
silent fabric df
# The sample says the defaults: without its comment signs it means the same.
sed -E 's/^( *)# ([a-z_]+ = |workspace local|    quota = |\})/\1\2/' conf.sample >"$conf"
silent fabric df --json
json '.store.quota' null
cp conf.sample "$conf"

# Homes that cannot be.
echo file >afile
refuses 1 'afile' fabric --home afile df
refuses 1 'afile/home' fabric --home afile/home df
refuses 1 '/proc/nothing' fabric --home /proc/nothing df
if [[ $(id -u) != 0 ]]; then
    mkdir readonly
    chmod 500 readonly
    refuses 1 'readonly' fabric --home readonly/home df
fi

# Output that does not arrive: exit 1. A full disk says so, a closed pipe is quiet.
for command in version help "help --man put" "ls $D" "pin ls" df "df --json" "stat $D" "tree $D" "cat $D/big" \
    "block get $X" "car export $D" "put x" "completion bash"; do
    # shellcheck disable=SC2086
    "$FABRIC_BIN/fabric" $command >/dev/full 2>.err
    eq 1 $? "exit code with a full disk: $command"
    eq 1 "$(wc -l <.err)" "lines on stderr with a full disk: $command"
    grep -q 'No space left' .err || fail "the reason is missing: $command: $(cat .err)"
done
for command in "cat $D/big" "car export $D" "get --archive $D -o -"; do
    # shellcheck disable=SC2086
    { "$FABRIC_BIN/fabric" $command 2>.err; echo $? >.code; } | head -c 10 >/dev/null
    eq 1 "$(cat .code)" "exit code with a closed pipe: $command"
    eq '' "$(cat .err)" "stderr with a closed pipe: $command"
done
"$FABRIC_BIN/fabric" cat "$X" >&- 2>.err && fail "success although stdout is closed"
eq 1 "$(wc -l <.err)" "lines on stderr with stdout closed"
ok fabric verify -q
"$FABRIC_BIN/fabric" put -q x >.out 2>&- || fail "put with stderr closed"
eq "$X" "$(out)"
ok fabric verify -q

# Two homes are two fabrics, and two processes may make one at once.
fresh_home
for i in 1 2 3 4 5 6; do
    "$FABRIC_BIN/fabric" put -q x >".made$i" 2>".madeerr$i" &
done
wait
for i in 1 2 3 4 5 6; do
    eq "$X" "$(cat ".made$i")" "put while the home is made: $(cat ".madeerr$i")"
done
[[ -z $(find "$FABRIC_HOME" -name '.fabric.conf*') ]] || fail "a temporary fabric.conf was left"
exit 0
