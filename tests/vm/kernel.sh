#!/usr/bin/env bash
# Fetches Debian's kernel, unpacks it into the cache and prints the folder: tests/vm/kernel.sh [--cached]
# The folder is $XDG_CACHE_HOME/fabric-peers/kernel (or ~/.cache/...), with boot/ and lib/modules/; nothing is installed.
# --cached: only print it; exit status 1 if it is not there.
set -euo pipefail

kernel=${XDG_CACHE_HOME:-$HOME/.cache}/fabric-peers/kernel
if [ ! -d "$kernel" ]; then
    if [ "${1:-}" = --cached ]; then
        echo "kernel: none is there: run tests/vm/kernel.sh" >&2
        exit 1
    fi
    mkdir -p "${kernel%/*}"
    part=$(mktemp -d "$kernel.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    name=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends:/ { print $2; exit }')
    if [ -z "$name" ]; then
        echo "kernel: apt does not know linux-image-amd64: run apt-get update, on Debian for amd64" >&2
        exit 1
    fi
    (cd "$part" && apt-get download -qq -o APT::Sandbox::User=root "$name" && dpkg-deb -x "$name"_*.deb tree)
    mv "$part/tree" "$kernel"
fi
echo "$kernel"
