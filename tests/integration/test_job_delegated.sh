# Jobs of an ordinary user in a group that was delegated to him, as systemd-run --user --scope -p Delegate=yes does it:
# there his limits hold. Needs control groups of version 2 (tests/vm/test_cgroup2.sh brings them).
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/lib.sh"
[[ $(id -u) == 0 ]] || { echo "SKIP: only root can delegate a group"; exit 77; }
top=/sys/fs/cgroup
grep -qsw memory $top/cgroup.controllers || { echo "SKIP: this host has no control groups of version 2"; exit 77; }
command -v setfattr >/dev/null || { echo "SKIP: no setfattr (Debian package attr)"; exit 77; }

user=$WORK/user1
group=$top/fabric-test-$$
chmod 755 "$WORK"
mkdir "$user" "$group"
cp "$FABRIC_BIN/fabric" "$user/"
chown -R 65534:65534 "$user"
echo '+cpu +memory +pids' >$top/cgroup.subtree_control
chown 65534 "$group" "$group/cgroup.procs" "$group/cgroup.threads" "$group/cgroup.subtree_control"
on_exit "find $group -depth -type d -exec rmdir {} +"
export FABRIC_HOME=$user/home

# In the group, beside a process of the user's that is there already, as his shell is.
cat >"$user/run" <<R
#!/bin/bash
echo \$\$ 2>/dev/null >$group/fabric/cgroup.procs || echo \$\$ >$group/cgroup.procs
cd "$user"
exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$user bash -c '"\$@"; exit \$?' run $user/fabric "\$@"
R
chmod 755 "$user/run"

# Not marked, it is somebody's, but not given to him.
exits 125 "$user/run" job run --memory 64M -- true
grep -q 'no cgroup is delegated' .err || fail "not refused for the mark: $(cat .err)"
setfattr -n user.delegate -v 1 "$group"

ok "$user/run" job run -- sh -c 'cat /proc/self/cgroup; echo kept >f'
grep -q 'cannot enforce' .err && fail "a limit is not enforced: $(cat .err)"
cid=$(sed -n 's/^result //p' .err)
eq kept "$("$user/run" cat "$cid/f")"
exits 137 "$user/run" job run --no-cache --memory 48M -- python3 -c 'b = bytearray(300 << 20); print("got it")'
[[ ! -s .out ]] || fail "the memory limit was passed"
grep -q 'memory limit' .err || fail "no word about the memory limit: $(cat .err)"
ok "$user/run" job run --no-cache --memory 200M -- python3 -c 'b = bytearray(100 << 20)'
ok "$user/run" job run --no-cache --cpu 0.2 -- python3 -c '
import time
end, before = time.monotonic() + 1.0, time.process_time()
while time.monotonic() < end: pass
print(time.process_time() - before)'
awk '{ exit !($1 < 0.45) }' .out || fail "the CPU limit was passed: $(cat .out) s of 1 s"
"$user/run" job run --json --no-cache -- python3 -c 'b = bytearray(60 << 20)' >.out
eq true "$(jq '.memory_peak > 60000000 and (.unenforced == null or .unenforced == "")' .out)" "what was measured: $(cat .out)"
eq "$group/fabric" "$(find "$group" -mindepth 1 -type d)" "the groups that are left"

# Killed with its job, its group is the next one's to remove.
"$user/run" job run --no-cache -- sleep 1000 >/dev/null 2>&1 &
for _ in $(seq 100); do ls -d "$group"/fabric-* >/dev/null 2>&1 && break; sleep 0.2; done
ls -d "$group"/fabric-* >/dev/null || fail "the job got no group"
sleep 1
pkill -9 -f "^$user/fabric job run --no-cache -- sleep 1000" || fail "there is no fabric to kill"
wait
ok "$user/run" job run --no-cache -- true
eq "$group/fabric" "$(find "$group" -mindepth 1 -type d)" "the groups that are left after a kill"
echo ok
