/* The programs that make the sandbox: conmon, and an OCI runtime (crun or runc). */
#ifndef FAB_EXEC_RUNTIME_H
#define FAB_EXEC_RUNTIME_H

#include "scheduler/exec/host.h"

#define FAB_RUNTIME_PATH_MAX 512

struct fab_runtime {
    char conmon[FAB_RUNTIME_PATH_MAX]; /* absolute paths */
    char oci[FAB_RUNTIME_PATH_MAX];
    const char *oci_name; /* "crun" or "runc"; static */
};

/* Find both in PATH and in the system's sbin folders: crun first, except on a hybrid cgroup host,
 * where it refuses to work. FABRIC_RUNTIME in the environment names one of the two instead. Also
 * checks, for an ordinary user, that user namespaces are open to him. FAB_ENOENT with a line that
 * names the Debian package to install, FAB_EACCES, FAB_EINVAL. Starts no process. */
FAB_MUST enum fab_rc fab_runtime_find(const struct fab_host *host, struct fab_runtime *out,
                                      struct fab_err *err);

#endif
