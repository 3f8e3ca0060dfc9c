# Sourced by the tests that run daemons, with lib.sh: `homes` names the homes whose daemons end with the test.
# shellcheck shell=bash
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
homes=()

# A port that nobody listens on now.
free_port()
{
    local port
    for port in $(shuf -i 20000-60000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    fail "no free port"
}

# What `fabricd.sock` of a home says about its process; empty when none runs.
pid_of()
{
    fabric --home "$1" --json status 2>/dev/null | jq -r .pid
}

end_daemons()
{
    local home pid
    for home in "${homes[@]}"; do
        pid=$(pid_of "$home")
        if [[ -n $pid ]]; then kill -KILL "$pid"; fi
    done
}
on_exit end_daemons

# A process that has ended and waits for its parent runs no more.
runs()
{
    [[ -r /proc/$1/stat && $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) != Z* ]]
}

# Waits up to SECONDS for a command to succeed. within SECONDS COMMAND...
within()
{
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "did not come true: $*"
        sleep 0.1
    done
}

connected()
{
    [[ $("$@" --json peers 2>/dev/null | jq '[.[] | select(.connected)] | length') -ge 1 ]]
}

up()
{
    ok fabric --home "$1" up --detach --listen "/ip4/127.0.0.1/tcp/$2"
}
