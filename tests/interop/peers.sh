#!/usr/bin/env bash
# Installs the programs that our CIDs and archives are compared with into a cache, once.
#   tests/interop/peers.sh [kubo|npm]...   install (default: both); prints what is there
# The cache is $XDG_CACHE_HOME/fabric-peers (or ~/.cache/fabric-peers): bin/ipfs is Kubo 0.42.0, npm/ holds
# ipfs-unixfs-importer and the node that runs it. Kubo takes about two and a half minutes on two cores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fabric-peers
go_version=1.26.8 # Kubo 0.42.0 wants 1.26
mkdir -p "$cache/bin"

# Debian 12 has Go 1.19, which builds nothing of today but can fetch a module: the newer toolchain is one.
go_program() {
    local have minor
    if command -v go >/dev/null; then
        have=$(GOTOOLCHAIN=local go env GOVERSION)
        minor=${have#go1.}
        minor=${minor%%.*}
        if [ "$minor" -ge 26 ]; then
            command -v go
            return
        fi
    else
        echo "peers: no go program: install golang-go" >&2
        return 1
    fi
    if [ ! -x "$cache/go/bin/go" ]; then
        local arch module
        arch=$(go env GOARCH)
        module=golang.org/toolchain@v0.0.1-go$go_version.linux-$arch
        (cd "$cache" && GOPATH="$cache/gopath" GOFLAGS='' go mod download "$module")
        cp -r "$cache/gopath/pkg/mod/$module" "$cache/go.part"
        chmod -R u+w "$cache/go.part"
        chmod +x "$cache"/go.part/bin/* "$cache"/go.part/pkg/tool/*/*
        mv "$cache/go.part" "$cache/go"
    fi
    echo "$cache/go/bin/go"
}

install_kubo() {
    if [ -x "$cache/bin/ipfs" ]; then
        return
    fi
    local go
    go=$(go_program)
    rm -rf "$cache/kubo-build"
    mkdir -p "$cache/kubo-build"
    cp "$here"/kubo/* "$cache/kubo-build/"
    (cd "$cache/kubo-build" && GOTOOLCHAIN=local GOROOT='' GOFLAGS='-mod=mod -buildvcs=false' CGO_ENABLED=0 \
        "$go" build -o "$cache/bin/ipfs.part" github.com/ipfs/kubo/cmd/ipfs)
    mv "$cache/bin/ipfs.part" "$cache/bin/ipfs"
    rm -rf "$cache/kubo-build"
}

install_npm() {
    if [ -x "$cache/npm/node_modules/.bin/node" ] &&
        cmp -s "$here/npm/package-lock.json" "$cache/npm/package-lock.json"; then
        return
    fi
    mkdir -p "$cache/npm"
    cp "$here"/npm/package*.json "$cache/npm/"
    (cd "$cache/npm" && npm ci --no-fund --no-audit --loglevel=error)
}

for peer in "${@:-kubo npm}"; do
    for name in $peer; do
        case $name in
        kubo) install_kubo ;;
        npm) install_npm ;;
        *)
            echo "peers: unknown peer '$name' (kubo, npm)" >&2
            exit 2
            ;;
        esac
    done
done
[ -x "$cache/bin/ipfs" ] && "$cache/bin/ipfs" version
[ -x "$cache/npm/node_modules/.bin/node" ] && echo "node $("$cache/npm/node_modules/.bin/node" --version)"
exit 0
