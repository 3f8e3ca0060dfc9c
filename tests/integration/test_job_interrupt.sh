# Jobs that are interrupted, killed or run beside each other leave nothing behind.
source "$(dirname "$0")/lib.sh"

before=$(host_traces)
traces()
{
    ls "$FABRIC_HOME/jobs"
    new_host_traces "$before"
    grep "$FABRIC_HOME/jobs" /proc/mounts
    pgrep -af "sleep 4[0-9]7654[.]$$"
}
running()
{
    for _ in $(seq 100); do
        pgrep -f "sleep $1" >/dev/null && [[ -n $(ls "$FABRIC_HOME/jobs" 2>/dev/null) ]] && sleep 0.2 && return
        sleep 0.1
    done
    fail "the job does not run"
}

ok fabric job run -- true
for signal in INT TERM HUP; do
    # A shell's background job ignores SIGINT; python gives it back.
    python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$FABRIC_BIN/fabric" job run -- sh -c "(setsid sleep 417654.$$ &); sleep 417654.$$" 2>err.$signal &
    pid=$!
    running 417654.$$
    kill -$signal $pid
    wait $pid
    eq 130 $? "the exit code after SIG$signal"
    eq '' "$(traces)" "traces after SIG$signal"
done
eq cancelled "$(fabric job ls --json | jq -r '.[0].state')"

# kill -9 of fabric: the next command ends what it left.
fabric job run -- sleep 427654.$$ 2>/dev/null &
pid=$!
running 427654.$$
eq running "$(fabric job ls --json | jq -r '.[0].state')"
kill -9 $pid
wait $pid 2>/dev/null
pgrep -f "sleep 42765[4][.]$$" >/dev/null || fail "the test shows nothing: the job has ended by itself"
ok fabric job ls
eq '' "$(traces)" "traces after SIGKILL"
id=$(fabric job ls --json | jq -r '.[0].id')
eq 'cancelled 137 sleep 427654' "$(fabric job show --json "$id" | jq -r '"\(.state) \(.exit) \(.command)"' | cut -d. -f1)" "the record of a job whose fabric was killed"
fabric job show "$id" | grep -q 'its fabric was killed' || fail "no reason in the record"

# The same at any moment of a job's start: conmon, the runtime and the job are of different age then.
for i in $(seq 20); do
    fabric job run -- sleep 447654.$$ 2>/dev/null &
    pid=$!
    sleep 0.00$((i / 10))$((i % 10))
    sleep 0.0$((RANDOM % 3))
    kill -9 $pid
    wait $pid 2>/dev/null
    ok fabric job ls
done
sleep 0.2 # a runtime that found its bundle removed
ok fabric job ls
eq '' "$(traces)" "traces after SIGKILL while a job starts"

# What the runtime does not know, as it is while it makes a container, is found by the log that it inherited: who writes to
# the log is ended, a stopped process too; who only reads it stays.
dead=$FABRIC_HOME/jobs/01m80000000000aa
mkdir -p "$dead" && touch "$dead/lock" "$dead/stdout"
flock "$dead/stdout" sleep 467654.$$ >>"$dead/stdout" &
writer=$!
sleep 477654.$$ <"$dead/stdout" &
reader=$!
for _ in $(seq 50); do pgrep -f "^sleep 46765[4][.]$$" >/dev/null && break; sleep 0.1; done
kill -STOP $writer
ok fabric job ls
kill $reader || fail "who reads the log was ended"
wait $writer $reader 2>/dev/null
eq '' "$(traces)" "traces of a container that the runtime does not know"

# Without conmon nobody supervises the job: it is ended.
fabric job run -- sleep 457654.$$ 2>err.conmon &
pid=$!
running 457654.$$
kill -9 "$(pgrep -f "conmon.*$FABRIC_HOME")"
wait $pid
eq 125 $? "the exit code without conmon"
grep -q 'conmon ended' err.conmon || fail "no word about conmon: $(cat err.conmon)"
eq '' "$(traces)" "traces of a job without conmon"

# Who is interrupted while he waits for an input that another unpacks does not touch it.
mkdir wanted && echo wanted >wanted/f && wanted=$(fabric put -q wanted)
ok fabric job run --input w="$wanted" -- true
entry=$(ls -d "$FABRIC_HOME"/cache/in/*"$wanted".job)
mv "$entry" "$entry.new"
(exec flock -s "$entry.lock" sleep 407654.$$) &
holder=$!
for _ in $(seq 50); do pgrep -f "^sleep 40765[4][.]$$" >/dev/null && break; sleep 0.1; done
fabric job run --no-cache --input w="$wanted" -- true 2>err.waits &
pid=$!
sleep 0.5
kill -TERM $pid
wait $pid
eq 130 $? "the exit code of one who waits for an input: $(cat err.waits)"
[[ -e $entry.new/f && ! -e $entry ]] || fail "what another unpacks was touched"
pkill -f "^sleep 40765[4][.]$$"
wait $holder 2>/dev/null
ok fabric job run --no-cache --input w="$wanted" -- cat /in/w/f
eq wanted "$(cat .out)"

# Without a bundle there is nothing to run, and nobody waits for one.
mkdir wide && for i in $(seq 520); do : >wide/f$i; done
exits 125 fabric job run --image "$(fabric put -q wide)" -- true
grep -q 'more than 512 entries' .err || fail "not the bundle's fault: $(cat .err)"
eq '' "$(pgrep -af "conmon.*$FABRIC_HOME")" "a conmon that waits"
eq '' "$(traces)" "traces of a job without a bundle"

# Jobs that end before anybody looks.
for i in $(seq 20); do
    exits $((i % 4)) fabric job run --no-cache -- sh -c "echo $i; exit $((i % 4))"
    eq $i "$(cat .out)" "the output of a short job"
done

# The job's time limit holds without its fabric.
fabric job run --timeout 2s -- sleep 437654.$$ 2>/dev/null &
pid=$!
running 437654.$$
kill -9 $pid
wait $pid 2>/dev/null
sleep 6
pgrep -f "sleep 43765[4][.]$$" >/dev/null && fail "the time limit died with fabric"
ok fabric job ls
eq '' "$(traces)" "traces"

# job logs -f of a running job ends with it.
fabric job run -- sh -c 'echo one; sleep 2; echo two' >/dev/null 2>&1 &
pid=$!
for _ in $(seq 50); do id=$(fabric job ls --json | jq -r '.[] | select(.state == "running").id'); [[ -n $id ]] && break; sleep 0.1; done
eq 'one two' "$(fabric job logs -f "$id" | tr '\n' ' ' | sed 's/ $//')" "job logs -f"
wait $pid

# Many at once, sharing an input that none has unpacked yet.
mkdir shared && for i in $(seq 50); do echo $i >shared/$i; done
for i in $(seq 8); do
    fabric job run -q --input s=shared --env N=$i -- sh -c 'cat /in/s/* | wc -l; echo $N >n; cat /in/s/* >all' >out.$i 2>err.$i &
done
wait
for i in $(seq 8); do
    eq $i "$(fabric cat "$(cat out.$i)/n")" "job $i of several"
done
eq '' "$(traces)" "traces of many"
echo ok
