# SIGINT and SIGTERM end a command with 130 and one line, and leave nothing half-done.
. "$(dirname "$0")/lib.sh"

fabric put -q - </dev/null >/dev/null || fail "the home"
fabric pin rm -q "$(fabric pin ls -q)" >/dev/null
fabric gc -q

# interrupted SIGNAL COMMAND...: started in its own process with the signals as a terminal's command has them,
# signalled once it has begun to read.
interrupted()
{
    local signal=$1 pid code
    shift
    python3 - "$FABRIC_BIN/fabric" "$@" <.fifo >.out 2>.err 9>&- <<'EOF' &
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.dup2(os.open(".fifo", os.O_RDONLY), 0)
os.execv(sys.argv[1], sys.argv[1:])
EOF
    pid=$!
    exec 9>.fifo
    make_bytes 20000000 "$signal" >&9
    sleep 0.3
    kill "-$signal" $pid
    wait $pid
    code=$?
    exec 9>&-
    eq 130 "$code" "exit code after SIG$signal of $*"
    eq 'fabric: interrupted' "$(cat .err)" "stderr after SIG$signal of $*"
    eq '' "$(cat .out)" "stdout after SIG$signal of $*"
}

left_nothing()
{
    eq '' "$(fabric pin ls -q)" "pins"
    ok fabric gc --json
    json .removed_blocks 0
    ok fabric df --json
    json .store.bytes 0
}

mkfifo .fifo
for signal in INT TERM; do
    interrupted $signal put -
    left_nothing
    interrupted $signal put --no-pin --wrap -
    left_nothing
done
interrupted INT car import -
left_nothing
interrupted INT block put -
left_nothing

# A second signal ends it at once; the store is as before for the next one.
make_bytes 1000000 >x
X=$(fabric put -q x)
fabric cat "$X" | cmp - x || fail "the store after interruptions"
ok fabric verify -q
exit 0
