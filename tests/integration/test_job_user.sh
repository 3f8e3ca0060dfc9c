# Jobs of an ordinary user: the same sandbox in a user namespace, and an honest word about limits.
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/lib.sh"
source "$HERE/job_sandbox_checks.sh" || exit 1
if [[ $(id -u) == 0 ]]; then
    chmod 755 "$WORK"
    mkdir "$WORK/nobody"
    cp "$FABRIC_BIN/fabric" "$WORK/nobody/"
    chown -R 65534:65534 "$WORK/nobody"
    export FABRIC_HOME=$WORK/nobody/home
    cat >"$WORK/nobody/run" <<R
#!/bin/bash
cd "$WORK"
exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$WORK/nobody $WORK/nobody/fabric "\$@"
R
    chmod 755 "$WORK/nobody/run"
    FABRIC=$WORK/nobody/run
else
    FABRIC=$FABRIC_BIN/fabric
fi
run()
{
    "$FABRIC" job run --no-cache -- "$@"
}
run_in()
{
    local input=$1
    shift
    "$FABRIC" job run --no-cache --input "$input" -- "$@"
}

ok "$FABRIC" job run -- sh -c 'echo works; echo kept >f'
eq works "$(cat .out)"
grep -q 'cannot enforce the default limit on memory' .err || fail "no word about limits"
eq 1 "$(grep -c 'cannot enforce' .err)" "said once"
cid=$(sed -n 's/^result //p' .err)
eq kept "$("$FABRIC" cat "$cid/f")"
exits 125 "$FABRIC" job run --memory 64M -- true
grep -q 'cannot enforce --memory' .err || fail "a limit that was asked for"
exits 125 "$FABRIC" job run --cpu 1 -- true
exits 124 "$FABRIC" job run --timeout 1s -- sh -c '(setsid sleep 50 &); sleep 50'
exits 137 "$FABRIC" job run --disk 10M -- sh -c 'i=0; while :; do head -c 1M /dev/zero >f$i; i=$((i+1)); sleep 0.05; done'
# Nor does hiding it help: a folder that its owner cannot read, or not enter.
for mode in 0300 0600; do
    exits 137 "$FABRIC" job run --disk 10M -- sh -c "mkdir d; i=0; while :; do chmod 700 d; head -c 1M /dev/zero >d/f\$i; chmod $mode d; i=\$((i+1)); sleep 0.05; done"
done
# What is deep and locked is removed all the same.
ok "$FABRIC" job run -- sh -c 'cd /tmp; i=0; while [ $i -lt 90 ]; do mkdir d; cd d; i=$((i+1)); done; chmod -R 0500 /tmp/d'
eq '' "$(ls "$FABRIC_HOME/jobs")" "attempts that are left"
eq memory "$("$FABRIC" job run --json --no-cache -- true | jq -r .unenforced)"
# What a job locks is kept all the same.
cid=$("$FABRIC" job run -q --no-cache -- sh -c 'echo locked >f; chmod 0 f; mkdir d; echo deep >d/g; chmod 0 d')
eq 'locked deep' "$("$FABRIC" cat "$cid/f") $("$FABRIC" cat "$cid/d/g")" "files without a mode"

# After kill -9 the next command ends the job, which closed its logs.
"$FABRIC" job run -- sh -c "exec sleep 487654.$$ >/dev/null 2>&1" 2>/dev/null &
pid=$!
for _ in $(seq 100); do pgrep -f "^sleep 48765[4][.]$$" >/dev/null && break; sleep 0.1; done
kill -9 $pid
wait $pid 2>/dev/null
pgrep -f "^sleep 48765[4][.]$$" >/dev/null || fail "the test shows nothing: the job has ended by itself"
ok "$FABRIC" job ls
eq '' "$(pgrep -f "^sleep 48765[4][.]$$")" "the job of a killed fabric"
eq '' "$(ls "$FABRIC_HOME/jobs")" "attempts that are left"

sandbox_checks
echo ok
