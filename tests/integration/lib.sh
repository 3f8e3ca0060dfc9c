# Sourced by the tests that run the program: a fresh home in a temporary folder, which is the current one, and
# assertions that end the test with the line that failed. FABRIC_BIN names the folder of the built `fabric`, which
# comes first in PATH. Needs jq and openssl.
set -u
: "${FABRIC_BIN:?names the folder of the built fabric}"
FABRIC_BIN=$(cd "$FABRIC_BIN" && pwd)
work=$(mktemp -d)
WORK=$work
at_exit=()

# on_exit COMMAND: evaluated when the test ends, the last one first.
on_exit()
{
    at_exit=("$1" "${at_exit[@]}")
}

clean_up()
{
    local command
    cd /
    for command in "${at_exit[@]}"; do
        eval "$command"
    done
    # The control groups of jobs whose fabric was killed: nothing else knows of them once their home is gone.
    if [[ -n $(ls "$FABRIC_HOME/jobs" 2>/dev/null) ]]; then fabric job ls >/dev/null 2>&1; fi
    chmod -R u+rwx "$work" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

export PATH=$FABRIC_BIN:$PATH HOME=$work/user FABRIC_HOME=$work/home LC_ALL=C
unset FABRIC_WORKSPACE FABRIC_API XDG_DATA_HOME
mkdir "$HOME"
cd "$work" || exit 1

# mount_image PLACE SIZE MKFS...: a file system of its own at PLACE, made in a file. The test is skipped where such
# cannot be mounted.
mount_image()
{
    local place=$1 size=$2
    shift 2
    mkdir "$place"
    truncate -s "$size" "$place.image"
    "$@" -q "$place.image" >"$WORK/.out" 2>"$WORK/.err" || fail "$*: see tests/install_packages.sh test"
    if ! mount -o loop "$place.image" "$place" 2>"$WORK/.err"; then
        echo "SKIP: what $* makes cannot be mounted from a file here: $(cat "$WORK/.err")"
        exit 77
    fi
    on_exit "umount '$place'"
}

# What jobs leave outside of their home, control groups and pid files. On a machine that runs others, only what came
# since counts: new_host_traces BEFORE, which is what host_traces printed then.
host_traces()
{
    ls -d /sys/fs/cgroup/*/fabric-* /sys/fs/cgroup/fabric-* /dev/shm/fabric-* /run/fabric-*.pid 2>/dev/null | sort
}
new_host_traces()
{
    comm -13 <(echo "$1") <(host_traces)
}

# A home without anything in it.
fresh_home()
{
    chmod -R u+rwx "$FABRIC_HOME" 2>/dev/null
    rm -rf "$FABRIC_HOME"
}

fail()
{
    local i
    echo "FAIL: $*" >&2
    for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
        echo "  at ${BASH_SOURCE[i]}:${BASH_LINENO[i - 1]}" >&2
    done
    if [[ -s $WORK/.out ]]; then echo "  stdout: $(head -c 2000 "$WORK/.out")" >&2; fi
    if [[ -s $WORK/.err ]]; then echo "  stderr: $(head -c 2000 "$WORK/.err")" >&2; fi
    exit 1
}

# eq EXPECTED ACTUAL [WHAT]
eq()
{
    [[ "$1" == "$2" ]] || fail "${3:-value}: expected '$1', got '$2'"
}

# Runs a command that must end with CODE; its output is then in .out and .err. exits CODE COMMAND...
exits()
{
    local want=$1 got
    shift
    "$@" >"$WORK/.out" 2>"$WORK/.err"
    got=$?
    [[ $got == "$want" ]] || fail "exit code $got instead of $want: $*"
}

ok()
{
    exits 0 "$@"
}

# Success without a word on stderr.
silent()
{
    exits 0 "$@"
    [[ ! -s $WORK/.err ]] || fail "something on stderr: $*"
}

# refuses CODE PATTERN COMMAND...: nothing on stdout, and exactly one line on stderr, which matches the extended
# regular expression and begins with "fabric: ".
refuses()
{
    local code=$1 pattern=$2
    shift 2
    exits "$code" "$@"
    [[ ! -s $WORK/.out ]] || fail "something on stdout: $*"
    eq 1 "$(wc -l <"$WORK/.err")" "lines on stderr of $*"
    grep -q '^fabric: .' "$WORK/.err" || fail "the line does not begin with 'fabric: ': $*"
    grep -qE -- "$pattern" "$WORK/.err" || fail "the line does not match '$pattern': $*"
}

# The output of the last command.
out()
{
    cat "$WORK/.out"
}

# json FILTER EXPECTED: the last output is JSON, and the filter of jq gives EXPECTED. A stream is made an array.
json()
{
    local got
    got=$(jq -rs "if length == 1 then .[0] else . end | $1" "$WORK/.out" 2>&1) ||
        fail "not the JSON that was expected: $got"
    eq "$2" "$got" "JSON $1"
}

# make_bytes N [SEED]: N reproducible bytes that no compressor or duplicate finder shrinks.
make_bytes()
{
    openssl enc -aes-128-ctr -nosalt -pass "pass:${2:-seed}" -pbkdf2 -in /dev/zero 2>/dev/null |
        head -c "$1"
}
