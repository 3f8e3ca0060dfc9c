#!/usr/bin/env bash
# Peers that misbehave, one way at a time, against a daemon: what becomes of them, and that an honest peer is served all
# the while and the daemon's private memory grows by at most 16 MiB. Prints a table. ROGUE_MODES names some modes instead
# of all. Modes: tests/integration/rogue.
#   ROGUE_LATENCY_MS=100 judges how long the honest peer waited, on a machine that does nothing else. Without it a second
#   is allowed: a daemon that serves one peer to the end before the next is found, a busy machine is not.
. "$(dirname "$0")/../interop/swarm_lib.sh"
. "$(dirname "$0")/lib.sh"

rogue=$FABRIC_BIN/../tests/rogue
[[ -x $rogue ]] || fail "the program rogue is not built"
rogue=$(realpath "$rogue")
latency_max=${ROGUE_LATENCY_MS:-1000}
growth_max=16384 # KiB
tries=3         # the machine may be busy with something else
measured=1
if grep -q __asan_init "$FABRIC_BIN/fabricd"; then
    measured=0 # a sanitizer's own memory and time
    echo "built with sanitizers: latency and memory are not judged"
fi
port=$((20000 + $$ % 20000))
at=127.0.0.1:$port
home=$work/n
swarm_key_new key
fab() { fabric --home "$home" --workspace swarm "$@"; }

start_daemon() {
    fab --json up --detach --listen "/ip4/127.0.0.1/tcp/$port" >up.json 2>up.err || fail "up: $(cat up.err)"
    pid=$(jq -r .pid up.json)
    fab get "$big" -o warm --force -q 2>/dev/null
    "$rogue" probe "$at" key "$small" 127.0.0.3 "$pid" >warm.out &
    local warm=$!
    sleep 0.4
    kill "$warm"
    wait "$warm"
    : >"$home/fabricd.log"
}

stop_daemon() {
    fab down >/dev/null 2>&1
}
on_exit stop_daemon

# A block that nobody has, and which the daemon is made to ask for.
unknown_cid() {
    head -c 100 /dev/urandom | fabric put -q --only-hash -
}

# Which block a mode is about.
subject() {
    case $1 in
    *-prunes | *-no-credit | *-unread | dagsync-reset) echo "$big" ;;
    source-*) unknown_cid ;;
    *) echo "$small" ;;
    esac
}

# run_mode MODE: sets result, code, latency, growth, failed, count, seconds.
run_mode() {
    local probe cid get='' began=$SECONDS
    cid=$(subject "$1")
    "$rogue" probe "$at" key "$small" 127.0.0.3 "$pid" >probe.out &
    probe=$!
    sleep 0.2
    timeout 180 "$rogue" "$1" "$at" key "$cid" 127.0.0.2 >mode.out 2>&1 &
    local mode=$!
    if [[ $1 == source-* ]]; then
        sleep 0.3
        fab get "$cid" -o lost >get.out 2>get.err &
        get=$!
    fi
    wait "$mode"
    code=$?
    if [[ -n $get ]]; then
        wait "$get"
        get_code=$?
    fi
    sleep 0.2
    kill "$probe"
    wait "$probe"
    local before peak
    read -r count failed latency before peak <probe.out
    growth=$((peak - before))
    seconds=$((SECONDS - began))
    result=$(tr '\n' ' ' <mode.out)
}

# What the log says of the rogue: one line where it is refused, none where it lives.
log_lines() {
    grep -cE "(connection_refused|peer_disconnected).* address=127\.0\.0\.2[^0-9].* why=$1" "$home/fabricd.log"
}

# The rest of the table is wanted too.
found=()
wrong() {
    echo "  ^ $*"
    found+=("$mode: $*")
}
same() {
    [[ $1 == "$2" ]] || wrong "$3: $2 instead of $1"
}

check_log() {
    case $1 in
    wrong-key) same 1 "$(log_lines no_key_fits)" "log lines of $1" ;;
    half-open | byte-a-second) same 1 "$(log_lines silent)" "log lines of $1" ;;
    bad-signature | bad-payload-key) same 1 "$(log_lines malformed)" "log lines of $1" ;;
    window-overflow | huge-frame | wrong-version | wrong-type) same 1 "$(log_lines malformed)" "log lines of $1" ;;
    garbage | long-line | huge-noise) same 1 "$(log_lines '(over_a_limit|malformed)')" "log lines of $1" ;;
    many-names | ping-flood) same 1 "$(log_lines over_a_limit)" "log lines of $1" ;;
    half-open-500) [[ $(log_lines too_many_connections) -gt 0 ]] || wrong "no log line of $1" ;;
    same-peer-100) [[ $(log_lines too_many_connections) -gt 0 ]] || wrong "no log line of $1" ;;
    wrong-keys-1000)
        local lines
        lines=$(wc -l <"$home/fabricd.log") # limited in number, and the rest counted
        [[ $(log_lines no_key_fits) -gt 0 && $lines -lt 200 ]] || wrong "$lines log lines of $1"
        ;;
    idle-200) [[ $(log_lines idle) -gt 0 ]] || wrong "no log line of $1" ;;
    source-dagsync-wrong) grep -q '^[^ ]* wrong_block ' "$home/fabricd.log" || wrong "no log line of $1" ;;
    source-dagsync-stall | source-dagsync-trickle)
        grep -q '^[^ ]* peer_stalled ' "$home/fabricd.log" || wrong "no log line of $1"
        ;;
    source-dagsync-flood) grep -qE '^[^ ]* (wrong_block|dagsync_malformed) ' "$home/fabricd.log" || wrong "no log line of $1" ;;
    esac
}

# A fetch that only the rogue answered: a clear failure, and nothing written.
check_get() {
    same 1 "$get_code" "exit code of get in $1"
    same 1 "$(wc -l <get.err)" "lines on stderr of get in $1"
    grep -q '^fabric: ' get.err || wrong "get in $1 says: $(cat get.err)"
    [[ ! -e lost ]] || wrong "get in $1 left a file"
}

good_enough() {
    [[ $measured == 1 ]] || return 0
    [[ $failed == 0 && $growth -le $growth_max ]] && awk "BEGIN { exit !($latency <= $latency_max) }"
}

make_bytes 12000000 >big.bin
echo "honest" >small.txt
"$FABRIC_BIN/fabric" --home "$home" workspace import-key swarm key >/dev/null || fail "import-key"
big=$(fab put -q big.bin) || fail "put"
small=$(fab put -q small.txt) || fail "put"

printf '%-24s %-80s %5s %9s %11s\n' mode 'what happened' s 'worst ms' 'growth KiB'
for mode in ${ROGUE_MODES:-$("$rogue" modes)}; do
    for ((try = 1; try <= tries; try++)); do
        start_daemon
        run_mode "$mode"
        kill -0 "$pid" 2>/dev/null || fail "the daemon died in mode $mode: $(tail -n 5 "$home/fabricd.log")"
        [[ $code == 0 ]] && good_enough && break
        [[ $try == "$tries" ]] || stop_daemon
    done
    printf '%-24s %-80s %5d %9s %11d\n' "$mode" "$result" "$seconds" "$latency" "$growth"
    [[ $code == 0 ]] || wrong "not as it must be"
    good_enough || wrong "at most $latency_max ms and $growth_max KiB; $failed of $count requests failed"
    check_log "$mode"
    [[ $mode != source-* ]] || check_get "$mode"
    stop_daemon
    ! grep -q 'Sanitizer' "$home/fabricd.log" || wrong "$(grep -A 12 Sanitizer "$home/fabricd.log")"
done
[[ ${#found[@]} == 0 ]] || fail "$(printf '%s; ' "${found[@]}")"
