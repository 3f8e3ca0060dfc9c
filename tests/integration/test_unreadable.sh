#!/usr/bin/env bash
# What an ordinary user may not read or write: one clear line that names it, and nothing is left behind.
set -eu
source "$(dirname "$0")/lib.sh"

as_user=()
if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    cp "$FABRIC_BIN/fabric" "$work/program" # the build may lie where that user cannot go
    chmod 755 "$work"
else
    ln -s "$FABRIC_BIN/fabric" "$work/program"
fi
mkdir -m 777 "$work/area"
export FABRIC_HOME=$work/area/home
user() { "${as_user[@]}" "$work/program" "$@"; }

# refused NAME COMMAND...: exit 1, one line on stderr that contains NAME, nothing on stdout
refused() {
    local name=$1 status=0
    shift
    user "$@" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = 1 ] || fail "$*: exit $status"
    [ ! -s "$work/out" ] || fail "$*: printed $(cat "$work/out")"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "$*: not one line: $(cat "$work/err")"
    grep -qF "$name" "$work/err" || fail "$*: the line does not name $name: $(cat "$work/err")"
}

mkdir "$work/tree" "$work/tree/closed"
echo first >"$work/tree/a"
echo secret >"$work/tree/secret"
chmod 000 "$work/tree/secret"
refused secret put -q "$work/tree"
rm -f "$work/tree/secret"
chmod 000 "$work/tree/closed"
refused closed put -q "$work/tree"
[ "$(user pin ls -q | wc -l)" = 0 ] || fail "a failed put left a pin"
[ "$(user df --json | jq .store.blocks)" = 0 ] || fail "a failed put left blocks"

chmod 755 "$work/tree/closed"
cid=$(user put -q "$work/tree")
mkdir -m 555 "$work/fixed"
refused fixed get -q -o "$work/fixed/out" "$cid"
[ -z "$(ls -A "$work/fixed")" ] || fail "a failed get left something"
echo ok
