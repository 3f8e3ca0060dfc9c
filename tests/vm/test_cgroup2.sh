#!/usr/bin/env bash
# The tests of jobs with control groups of version 2 and Debian's own kernel.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${FABRIC_BIN:?names the folder of the built fabric}"
for program in qemu-system-x86_64 cpio busybox; do
    command -v "$program" >/dev/null || { echo "SKIP: no $program: tests/install_packages.sh vm"; exit 77; }
done
"$here/kernel.sh" --cached >/dev/null 2>&1 || { echo "SKIP: no kernel for the virtual machine: tests/vm/kernel.sh"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root, to show this machine's files to the virtual one"; exit 77; }

"$here/run" "
    export FABRIC_BIN='/mnt$FABRIC_BIN'
    grep -qw memory /sys/fs/cgroup/cgroup.controllers || exit 1
    for name in run sandbox user delegated; do
        echo \"test_job_\$name\"
        bash '/mnt$here/../integration/test_job_'\$name.sh || { echo \"FAIL: test_job_\$name ended with \$?\"; exit 1; }
    done"
