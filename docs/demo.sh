#!/usr/bin/env bash
# Installs what is needed, builds, and runs the main job on real input: 7,458 drawings (165 MiB) of Debian's package
# openclipart-svg. Prints each command before it runs it. The home of this fabric is $FABRIC_HOME, or one in build/.
# shellcheck disable=SC2016 # the commands are printed as typed
set -euo pipefail
cd "$(dirname "$0")/.."

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

show tests/install_packages.sh build run demo
show cmake --preset release
show cmake --build --preset release
export PATH=$PWD/build/release/bin:$PATH
export FABRIC_HOME=${FABRIC_HOME:-$PWD/build/demo/home}
out=build/demo/result
rm -rf "$out"
mkdir -p build/demo

# The data goes in once. -q prints only the CID; the script keeps it for the commands that follow.
printf '\n$ drawings=$(fabric put -q /usr/share/openclipart/svg)\n'
drawings=$(fabric put -q /usr/share/openclipart/svg)
echo "$drawings"
show fabric stat "$drawings"

# The job sees the drawings under /in/drawings and what it leaves in /out becomes a CID. No network, no other files.
job=(fabric job run -q --input "drawings=$drawings" --input tools=docs/demo --
    python3 /in/tools/index.py /in/drawings /out)
printf '\n$ time result=$(%s)\n' "${job[*]}"
time result=$("${job[@]}")
echo "$result"

# The same job again: the result is remembered, so nothing runs.
printf '\n$ time again=$(%s)\n' "${job[*]}"
time again=$("${job[@]}")
echo "$again"
[ "$again" = "$result" ] || { echo "demo: the remembered result differs" >&2; exit 1; }

show fabric ls "$result"
show fabric get "$result" -o "$out"
show head -n 3 "$out/colours.tsv"
printf '\nThe index is %s, the picture %s.\n' "$out/keywords.tsv" "$out/colours.png"
