# What a job cannot do, tried as root.
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/lib.sh"
source "$HERE/job_sandbox_checks.sh" || exit 1
[[ $(id -u) == 0 ]] || { echo "SKIP: needs root"; exit 77; }
FABRIC=$FABRIC_BIN/fabric
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
before=$(host_traces)
sandbox_checks

# Not the host's root user, even without capabilities.
ok run id -u
[[ $(cat .out) != 0 ]] || fail "the job runs as the host's root"

if grep -qE 'cgroup.*(memory| - cgroup2)' /proc/self/mountinfo; then
    exits 137 fabric job run --memory 48M -- python3 -c 'b = bytearray(300 << 20); print("got it")'
    [[ ! -s .out ]] || fail "the memory limit was passed"
    grep -q 'memory limit' .err || fail "no word about the memory limit"
    ok fabric job run --memory 200M --no-cache -- python3 -c 'b = bytearray(100 << 20)'
    # A shell that survives the death of its child tells its own exit code.
    exits 9 fabric job run --memory 48M -- sh -c 'python3 -c "b = bytearray(300 << 20)"; exit 9'
    grep -q 'memory limit' .err || fail "no word about the memory limit"
    # What a limit has shaped is not the result for everybody.
    ok fabric job run --memory 48M -- sh -c 'python3 -c "b = bytearray(300 << 20)" && echo all || echo less'
    eq less "$(cat .out)"
    ok fabric job run --memory 600M -- sh -c 'python3 -c "b = bytearray(300 << 20)" && echo all || echo less'
    eq all "$(cat .out)" "a result that the memory limit shaped is remembered"
    start=$(date +%s%N)
    ok fabric job run --cpu 0.2 -- python3 -c '
import time
end, before = time.monotonic() + 1.0, time.process_time()
while time.monotonic() < end: pass
print(time.process_time() - before)'
    awk '{ exit !($1 < 0.45) }' .out || fail "the CPU limit was passed: $(cat .out) s of 1 s"
fi
eq '' "$(new_host_traces "$before")" "what jobs left"
grep -q "$FABRIC_HOME/jobs" /proc/mounts && fail "mounts are left"
echo ok
