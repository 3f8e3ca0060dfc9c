# Sourced by the sandbox tests, as root and as an ordinary user: every claim is tried from inside a job.
# `run` is how a job is started.

sandbox_checks()
{
    # ---- files
    ok run sh -c 'for p in / /usr /usr/bin /etc /dev /in /proc/sys/kernel /run /var; do
        touch $p/x 2>/dev/null && echo "wrote $p"; done; touch /out/x /tmp/x || echo "cannot write /out or /tmp"'
    eq '' "$(cat .out)" "writing outside /out and /tmp"
    # The store, the home and the host's files are not there, whatever path is used.
    ok run sh -c "ls -d '$FABRIC_HOME' '$WORK' /home /root /srv /opt /mnt /boot 2>/dev/null; true"
    eq '' "$(cat .out)" "the host's folders"
    ok run sh -c 'ls /proc/1/root/home /proc/1/cwd/../../home /proc/self/root/root 2>/dev/null;
        find / -xdev \( -name data.mdb -o -name blocks.dat \) 2>/dev/null; cat /etc/shadow 2>/dev/null; true'
    eq '' "$(cat .out)" "ways around the root"
    ok run sh -c 'grep -c . /proc/self/mountinfo; grep -E " /(in|usr|lib|etc)[^ ]* " /proc/self/mountinfo | grep -vE " ro[, ]"; true'
    eq 1 "$(wc -l <.out)" "a mount that is not read-only"
    # No file descriptor of ours is inherited.
    ok run sh -c 'ls /proc/self/fd | wc -l; ls /proc/1/fd 2>/dev/null | wc -l'
    (($(head -1 .out) <= 5)) || fail "descriptors are inherited: $(cat .out)"

    # ---- inputs are read-only, and what is below cannot be changed by mode either
    mkdir -p ro && echo keep >ro/f
    ok run_in r=ro sh -c 'echo x >/in/r/f; chmod 777 /in/r/f; rm -f /in/r/f; mv /in/r/f /tmp/g; touch /in/new; cat /in/r/f' 
    eq keep "$(cat .out)" "an input was changed"
    ok run_in r=ro cat /in/r/f
    eq keep "$(cat .out)" "the cached input was changed"

    # ---- privileges
    ok run sh -c 'grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status | grep -v 0000000000000000; grep -E "NoNewPrivs:.1|Seccomp:.2" /proc/self/status | wc -l'
    eq 2 "$(cat .out)" "capabilities, no new privileges, seccomp"
    # A set-user-id program of the host gives nothing.
    ok run sh -c 'id -u; su -c id root </dev/null 2>&1; mount -t tmpfs x /tmp 2>&1; umount /proc 2>&1; true'
    grep -qE 'uid=0.*euid=0|mounted' .out && fail "privileges were gained"
    cat >setuid.c <<'C'
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("%d %d\n", (int)getuid(), (int)geteuid()); return getuid() != geteuid(); }
C
    gcc -static -o setuid setuid.c && chmod 4755 setuid
    ok run_in p=./setuid sh -c 'test ! -u /in/p && cp /in/p /tmp/p && chmod 4755 /tmp/p && /tmp/p && /in/p'
    # Namespaces, devices, kernel interfaces.
    ok run python3 -c '
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def refused(name, r):
    if r >= 0: print(name, "was allowed")
refused("unshare user", libc.unshare(0x10000000))
refused("unshare net", libc.unshare(0x40000000))
refused("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
refused("setns", libc.setns(os.open("/proc/self/ns/pid", os.O_RDONLY), 0))
refused("chroot then escape", libc.syscall(161, b"/tmp"))
refused("bpf", libc.syscall(321, 0, 0, 0))
refused("keyctl", libc.syscall(250, 0, 0, 0))
refused("io_uring_setup", libc.syscall(425, 1, 0))
refused("userfaultfd", libc.syscall(323, 0))
refused("perf_event_open", libc.syscall(298, 0, 0, -1, -1, 0))
refused("ptrace init", libc.ptrace(16, 1, 0, 0))
refused("sethostname", libc.sethostname(b"x", 1))
refused("reboot", libc.reboot(0))
refused("open_by_handle_at", libc.syscall(304, -100, 0, 0))
refused("init_module", libc.syscall(175, 0, 0, b""))
for family in (38, 40, 17, 29, 31):
    try:
        socket.socket(family, socket.SOCK_STREAM); print("socket family", family, "was allowed")
    except OSError: pass
try:
    os.mknod("/tmp/dev", 0o20666, os.makedev(1, 1)); open("/tmp/dev", "rb"); print("a device was made")
except OSError: pass
for path in ("/proc/kcore", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/dev/mem", "/dev/vda", "/dev/sda"):
    try:
        f = os.open(path, os.O_WRONLY)
        if os.fstat(f).st_rdev != os.makedev(1, 3): print(path, "could be opened")  # else /dev/null lies over it
    except OSError: pass
try:
    os.setuid(12345); os.setgroups([0]); print("groups were set")
except OSError: pass
'
    eq '' "$(cat .out)" "what the kernel must refuse"

    # ---- network
    python3 -c 'import socket,time
s=socket.socket(); s.setsockopt(1,2,1); s.bind(("0.0.0.0",18765)); s.listen(9)
a=socket.socket(socket.AF_UNIX); a.bind("\0fabric-job-test"); a.listen(9); time.sleep(60)' &
    local listener=$!
    sleep 0.5
    ok run python3 -c '
import socket
for target in (("127.0.0.1", 18765), ("10.0.0.1", 80), ("1.1.1.1", 53)):
    s = socket.socket(); s.settimeout(2)
    try: s.connect(target); print(target, "was reached")
    except OSError: pass
a = socket.socket(socket.AF_UNIX)
try: a.connect("\0fabric-job-test"); print("an abstract socket was reached")
except OSError: pass
print(sorted(n for _, n in socket.if_nameindex()) if hasattr(socket, "if_nameindex") else "")
' 
    eq "['lo']" "$(cat .out)" "the network"
    ok "$FABRIC" job run --network host -q --no-cache -- python3 -c 'import socket; socket.create_connection(("127.0.0.1", 18765), 2)'
    kill $listener 2>/dev/null
    wait $listener 2>/dev/null

    # ---- other processes, and other jobs
    ok run sh -c 'ls /proc | grep -c "^[0-9]"; kill -9 -1; hostname'
    (($(head -1 .out) <= 6)) || fail "processes of the host can be seen"
    run sh -c 'echo secret >/tmp/s; echo secret >/out/s; sleep 2' >/dev/null 2>&1 &
    local other=$!
    sleep 0.7
    ok run sh -c 'ls /tmp /out; ls -a /proc/*/root/tmp 2>/dev/null | grep secret; true'
    eq '/out:  /tmp:' "$(tr '\n' ' ' <.out | sed 's/ *$//')" "another job's files"
    wait $other

    # ---- it cannot use up the host's processes
    exits 7 run sh -c 'python3 -c "
import os, time
n = 0
try:
    while n < 20000:
        if os.fork() == 0: time.sleep(5); os._exit(0)
        n += 1
except OSError: pass
print(n)
" ; exit 7'
    (($(cat .out) < 5000)) || fail "$(cat .out) processes were started"

    # ---- nothing outlives a job
    ok run sh -c "(setsid nohup sleep 987654.$$ >/dev/null 2>&1 &); true"
    sleep 0.2
    pgrep -f "sleep 98765[4][.]$$" >/dev/null && fail "a process outlived its job"
    [[ -z $(ls "$FABRIC_HOME/jobs") ]] || fail "attempts are left"
    true
}
