# SIGINT and SIGTERM end a command with 130 and one line, and leave nothing half-done. Needs python3.
. "$(dirname "$0")/lib.sh"

fabric put -q - </dev/null >/dev/null || fail "the home"
fabric pin rm -q "$(fabric pin ls -q)" >/dev/null
fabric gc -q

# A shell gives its background commands an ignored SIGINT; a terminal's commands have the default.
printf '%s\n' 'import os, signal, sys' \
    'signal.signal(signal.SIGINT, signal.SIG_DFL)' \
    'signal.signal(signal.SIGPIPE, signal.SIG_DFL)' \
    'os.execv(sys.argv[1], sys.argv[1:])' >.launch.py

# interrupted SIGNAL INPUT COMMAND...: signalled when it has read INPUT and waits for more.
interrupted()
{
    local signal=$1 input=$2 pid code
    shift 2
    python3 .launch.py "$FABRIC_BIN/fabric" "$@" <.fifo >.out 2>.err &
    pid=$!
    exec 9>.fifo
    cat "$input" >&9 || fail "the command ended by itself: $*: $(cat .err)"
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
make_bytes 20000000 >bytes
for signal in INT TERM; do
    interrupted $signal bytes put -
    left_nothing
    interrupted $signal bytes put --no-pin --wrap -
    left_nothing
done
fabric --home elsewhere car export "$(fabric --home elsewhere put -q bytes)" 2>/dev/null | head -c 15000000 >half.car
interrupted INT half.car car import -
left_nothing
head -c 1000000 bytes >few
interrupted INT few block put -
left_nothing

# A put of files, signalled at any moment, either acknowledged everything or left nothing.
mkdir many
split -b 40000 bytes many/part
for delay in 0.005 0.01 0.02 0.04 0.08; do
    python3 .launch.py "$FABRIC_BIN/fabric" put -q many >.out 2>.err &
    pid=$!
    sleep "0$(awk "BEGIN { print 0.03 + $delay }" | sed 's/^0//')"
    kill -INT $pid 2>/dev/null
    wait $pid
    code=$?
    if [[ $code == 0 ]]; then
        fabric pin rm -q "$(cat .out)" >/dev/null || fail "an acknowledged put has no pin"
        fabric gc -q
    elif [[ $code == 130 ]]; then
        eq '' "$(cat .out)" "stdout of an interrupted put"
    fi # else it was signalled before it was ours
    left_nothing
done

# The store is as good as before.
make_bytes 1000000 x >x
X=$(fabric put -q x)
fabric cat "$X" | cmp - x || fail "the store after interruptions"
ok fabric verify -q
exit 0
