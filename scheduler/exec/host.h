/* What this machine offers to jobs: control groups, its size, and the fingerprint of its system. */
#ifndef FAB_EXEC_HOST_H
#define FAB_EXEC_HOST_H

#include "storage/base/bytes.h"

enum fab_cgroup_mode {
    FAB_CGROUP_NONE,
    FAB_CGROUP_V1,
    FAB_CGROUP_HYBRID, /* v1 controllers, and an empty v2 hierarchy beside them; crun refuses it */
    FAB_CGROUP_V2,
};

#define FAB_CGROUP_PATH_MAX 256 /* bytes of a group's path below its mount point, with the NUL */

/* Where limits are set. A flag is true when this process may make a group there that limits. */
struct fab_host {
    enum fab_cgroup_mode mode;
    bool root; /* effective user 0 without a user namespace being needed */
    bool cpu, memory, swap, pids;
    bool groups; /* jobs get groups of their own, below `group` */
    char
        group[FAB_CGROUP_PATH_MAX]; /* "": the top; of an ordinary user, what is delegated to him */
    char memory_mount[256]; /* v1: mount point of the memory controller; v2: of the hierarchy */
    unsigned cpus;          /* that this process may use */
    uint64_t memory_bytes;  /* of the machine */
    unsigned nvidia;        /* /dev/nvidia0, 1, ...: how many there are */
};

/* Look at /proc and /sys; a few small files. Never fails: what cannot be seen is not offered. */
void fab_host_probe(struct fab_host *out);

/* "no cgroup is delegated to this user ...": why a limit of this host cannot be enforced. Static.
 */
const char *fab_host_why_not(const struct fab_host *host);

#define FAB_FINGERPRINT_BYTES 32

/* SHA-256 over the architecture, os-release and the package database (dpkg, rpm, apk or pacman):
 * what a job without an image runs on. `cache` names a file that keeps it by the files' inode, size
 * and time, so that it is usually two stats; a cache that cannot be written is no failure. FAB_EIO.
 */
FAB_MUST enum fab_rc fab_host_fingerprint(const char *cache, uint8_t out[FAB_FINGERPRINT_BYTES],
                                          struct fab_err *err);

/* The machine's architecture as uname gives it ("x86_64"). Static. */
const char *fab_host_arch(void);

#endif
