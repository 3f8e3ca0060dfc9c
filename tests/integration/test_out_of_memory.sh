#!/usr/bin/env bash
# Each allocation of each command fails once: either it is done without, and the result is right, or there is one line that
# says so, and nothing half-written. The library that makes them fail counts only the program's own, since OpenSSL and
# libconfuse end the process when one of theirs fails.
set -eu
source "$(dirname "$0")/lib.sh"
library=$FABRIC_BIN/../tests/libfail_malloc.so
[ -e "$library" ] || { echo "SKIP: a build with sanitizers has an allocator of its own"; exit 77; }

mkdir -p tree/a/b
for i in $(seq 1 20); do openssl rand $((i * 9000)) >"tree/a/f$i"; done
ln -s f1 tree/a/link
seq 1 100000 >tree/numbers
tree=$(fabric put -q tree)
fabric car export -q "$tree" -o tree.car
fabric job run -q -- true >/dev/null

with_failure()
{
    local at=$1
    shift
    FAIL_AT=$at FAIL_COUNT=$work/made LD_PRELOAD=$library fabric "$@"
}

# Whatever a command makes is called `made-*`.
made_here() { find "$work" -maxdepth 1 \( -name 'made-*' -o -name '.fabric-*' \) -print; }

runs=0 refused=0
# each_fails ARGUMENT...: of fabric. Stdout of every run that succeeds is what it is without a failure.
each_fails()
{
    local count i code
    rm -rf made-*
    with_failure 0 "$@" >expected 2>err || fail "$* does not work: $(cat err)"
    count=$(cat made)
    [ "$count" -gt 5 ] || fail "$*: $count allocations were seen"
    for ((i = 1; i <= count; i++)); do
        rm -rf made-*
        code=0
        with_failure "$i" "$@" >out 2>err || code=$?
        runs=$((runs + 1))
        if [ "$code" = 0 ]; then
            cmp -s out expected || fail "$*: allocation $i failed, and it gave something else"
            continue
        fi
        refused=$((refused + 1))
        [ "$code" -lt 124 ] || [ "$code" = 125 ] || fail "$*: allocation $i failed: exit $code $(cat err)"
        [ "$(wc -l <err)" = 1 ] || fail "$*: allocation $i failed: not one line: $(cat err)"
        grep -q 'memory' err || fail "$*: allocation $i failed: $(cat err)"
        [ -z "$(made_here)" ] || fail "$*: allocation $i failed and left $(made_here)"
    done
}

each_fails put -q tree
each_fails put -q --profile unixfs-v0-2015 tree
each_fails get -q "$tree" -o made-tree
each_fails get -q "$tree" --archive -o made-tar
each_fails cat "$tree/a/f3"
each_fails ls --json "$tree/a"
each_fails tree "$tree"
each_fails stat "$tree"
each_fails pin ls --json
each_fails pin add -q "$tree"
each_fails verify -q
each_fails df
each_fails gc -q
each_fails block get "$tree"
each_fails car export -q "$tree" -o made-car
each_fails car import -q tree.car
each_fails workspace ls
each_fails job run -q --input "tree=$tree" -- wc -c /in/tree/numbers
each_fails job ls -q
[ "$refused" -gt 100 ] || fail "of $runs runs only $refused were refused"

# Nothing was lost on the way, and nothing is left behind that a collection does not take.
fabric verify -q
fabric get -q --verify "$tree" -o whole
diff -r tree whole
[ -z "$(ls "$FABRIC_HOME/store/leases")" ] || fail "leases are left: $(ls "$FABRIC_HOME/store/leases")"
[ -z "$(ls "$FABRIC_HOME/jobs")" ] || fail "attempts are left: $(ls "$FABRIC_HOME/jobs")"
echo "ok: $runs allocations failed, $refused runs were refused"
