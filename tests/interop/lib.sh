# Sourced by the interop tests: a scratch directory, the peers, and counting.
# FABRIC_BIN is the folder of the program. Without a peer a test prints why and ends with 77 (skipped); with CI=true
# that is a failure, since CI installs them.
# shellcheck shell=bash disable=SC2034
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fabric-peers
fabric=${FABRIC_BIN:?the folder of the fabric program}/fabric
export IPFS_TELEMETRY=off LC_ALL=C.UTF-8
scratch=$(mktemp -d)
trap 'chmod -R u+rwX "$scratch"; rm -rf "$scratch"' EXIT
export FABRIC_HOME=$scratch/home
checks=0
failures=0

# need NAME PROGRAM HOW: skip, or in CI fail, unless the program is there
need() {
    if command -v "$2" >/dev/null; then
        return
    fi
    echo "SKIP: $1 is not installed ($3)"
    [ "${CI:-}" = true ] && exit 1
    exit 77
}

# equal WHAT EXPECTED ACTUAL
equal() {
    checks=$((checks + 1))
    if [ -z "$2" ] || [ "$2" != "$3" ]; then
        failures=$((failures + 1))
        echo "FAIL: $1: theirs '$2', ours '$3'"
    fi
}

# succeeds WHAT COMMAND...
succeeds() {
    local what=$1
    shift
    checks=$((checks + 1))
    if ! "$@"; then
        failures=$((failures + 1))
        echo "FAIL: $what: $*"
    fi
}

finish() {
    echo "$checks comparisons, $failures failed"
    [ "$failures" -eq 0 ] && [ "$checks" -gt 0 ]
}

# kubo PROFILE ARG...: ipfs on a repository of its own per profile
kubo() {
    local profile=$1 init=test
    shift
    if [ ! -d "$scratch/kubo-$profile" ]; then
        [ "$profile" = cid-v1-plain ] || init=test,$profile
        IPFS_PATH=$scratch/kubo-$profile "$cache/bin/ipfs" init --profile="$init" >/dev/null || exit 1
    fi
    IPFS_PATH=$scratch/kubo-$profile "$cache/bin/ipfs" "$@"
}

# kubo_add PROFILE ARG...: the root CID
kubo_add() {
    local profile=$1 version=()
    shift
    [ "$profile" = cid-v1-plain ] && version=(--cid-version=1)
    kubo "$profile" add -Q "${version[@]}" "$@"
}

profiles=(unixfs-v1-2025 unixfs-v0-2015 cid-v1-plain)
