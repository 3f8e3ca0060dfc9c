#!/usr/bin/env bash
# Installs the programs that our CIDs and archives are compared with into a cache, once.
#   tests/interop/peers.sh [kubo|npm|helia]...   install (default: all); prints what is there
# The cache is $XDG_CACHE_HOME/fabric-peers (or ~/.cache/fabric-peers): bin/ipfs is Kubo 0.42.0, npm/ holds
# ipfs-unixfs-importer and helia/ a Helia node, each with the node that runs it. Kubo takes about two and a half minutes
# on two cores, Helia ten seconds and 300 MB.
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

# install_npm FOLDER [OPTION]...: what FOLDER/package-lock.json names
install_npm() {
    local folder=$1
    shift
    if [ -x "$cache/$folder/node_modules/.bin/node" ] &&
        cmp -s "$here/$folder/package-lock.json" "$cache/$folder/package-lock.json"; then
        return
    fi
    mkdir -p "$cache/$folder"
    cp "$here/$folder"/package*.json "$cache/$folder/"
    if ! (cd "$cache/$folder" && npm ci --no-fund --no-audit --loglevel=error "$@"); then
        rm -f "$cache/$folder/package-lock.json" # so that the next run tries again
        return 1
    fi
}

for peer in "${@:-kubo npm helia}"; do
    for name in $peer; do
        case $name in
        kubo) install_kubo ;;
        npm) install_npm npm ;;
        # The lock was made so: the peer dependencies are a phone's user interface.
        helia) install_npm helia --legacy-peer-deps ;;
        *)
            echo "peers: unknown peer '$name' (kubo, npm, helia)" >&2
            exit 2
            ;;
        esac
    done
done
[ -x "$cache/bin/ipfs" ] && "$cache/bin/ipfs" version
for folder in npm helia; do
    node=$cache/$folder/node_modules/.bin/node
    [ -x "$node" ] && echo "node $("$node" --version) for $folder"
done
exit 0
