#!/usr/bin/env bash
# Installs Debian packages, as root or through sudo: tests/install_packages.sh SET...
# SET is build (compile it), run (execute jobs), demo (the data and the tools of docs/demo.sh), test (everything that
# the tests use), peers (other implementations to compare with), bench (what tests/bench measures against), vm (the virtual machine
# of tests/vm), check (the other compilers and checkers of CI).
set -euo pipefail

build="gcc libc6-dev cmake ninja-build pkg-config liblmdb-dev libsodium-dev libssl-dev libjansson-dev libconfuse-dev
    libarchive-dev libcmocka-dev libuv1-dev libmicrohttpd-dev libcurl4-openssl-dev"
run="runc crun conmon"
declare -A sets=(
    [build]=$build
    [run]=$run
    [demo]="openclipart-svg python3 gnuplot-nox"
    [test]="$build $run python3 attr jq openssl procps man-db zstd tar busybox-static iproute2 e2fsprogs xfsprogs btrfs-progs
        util-linux-extra"
    [peers]="golang-go ca-certificates nodejs npm ipfs-cid python3 jq openssl iproute2"
    [bench]="python3 openssl iproute2 iperf3 rsync xfsprogs"
    [vm]="qemu-system-x86 cpio busybox-static ca-certificates"
    [check]="clang clang-format clang-tidy libclang-rt-14-dev llvm valgrind libc6-dbg shellcheck git"
)

packages=()
for set in "$@"; do
    if [ -z "${sets[$set]:-}" ]; then
        echo "install_packages: unknown set '$set' (${!sets[*]})" >&2
        exit 2
    fi
    for name in ${sets[$set]}; do
        # What the machine has by another way (a newer Go or Node beside the packages) is left as it is.
        case $name in
        golang-go) command -v go >/dev/null && continue ;;
        nodejs | npm) command -v npm >/dev/null && continue ;;
        esac
        packages+=("$name")
    done
done

missing=()
for name in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_packages: run as root, or install: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
