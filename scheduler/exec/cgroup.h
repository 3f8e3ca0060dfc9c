/* Control groups: what is delegated to an ordinary user; that of one attempt, after the runtime has
 * made it: what was used, and its end. */
#ifndef FAB_EXEC_CGROUP_H
#define FAB_EXEC_CGROUP_H

#include "scheduler/exec/host.h"

struct fab_cgroup_usage {
    uint64_t cpu_usec, memory_peak; /* 0 when the host does not say */
    uint64_t oom_kills;
};

/* An ordinary user's jobs get groups where somebody has delegated one to him (version 2; the
 * kernel's cgroup-v2.rst, "Delegation"): systemd marks such a group with the attribute
 * user.delegate (systemd's CGROUP_DELEGATION). Whether this process is in one, or in the leaf of
 * one that fab_cgroup_vacate made; its path goes to `out`. */
bool fab_cgroup_delegated(const char *mount, char out[FAB_CGROUP_PATH_MAX]);

/* A group with processes cannot have groups with limits below it. So move whoever is in host->group
 * into a leaf of it, and let the jobs' groups there have limits. Nothing to do at the top. False
 * when that fails. */
bool fab_cgroup_vacate(const struct fab_host *host);

/* Read what the group `path` (".../fabric-ID") has used. Never fails. */
void fab_cgroup_usage(const struct fab_host *host, const char *path, struct fab_cgroup_usage *out);

/* Move this process into the group that it is in. That changes nothing, but the first move after a
 * pause makes the kernel wait until every processor has passed a quiet state (5 to 15 ms), and the
 * moves that soon follow, the runtime's own, no longer. Blocks for that long. Never fails. */
void fab_cgroup_warm(const struct fab_host *host);

/* Remove the empty group from every hierarchy, waiting up to a second for its last process to be
 * gone. False when one is left. */
bool fab_cgroup_remove(const char *path);

#endif
