/* The control group of one attempt, after the runtime has made it: what was used, and its end. */
#ifndef FAB_EXEC_CGROUP_H
#define FAB_EXEC_CGROUP_H

#include "scheduler/exec/host.h"

struct fab_cgroup_usage {
    uint64_t cpu_usec, memory_peak; /* 0 when the host does not say */
    uint64_t oom_kills;
};

/* Read what the group `path` ("/fabric-ID") has used. Never fails. */
void fab_cgroup_usage(const struct fab_host *host, const char *path, struct fab_cgroup_usage *out);

/* Remove the empty group from every hierarchy, waiting up to a second for its last process to be
 * gone. False when one is left. */
bool fab_cgroup_remove(const char *path);

#endif
