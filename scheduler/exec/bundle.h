/* The OCI bundle of one attempt: a root file system made of mounts, and config.json.
 *
 * What the job sees: "/" read-only, assembled from the host's /usr or from an image by one
 * read-only bind mount per top-level entry (so nothing is ever written into the image's cached
 * tree); /in/NAME read-only; /out and /tmp writable, from the attempt's directory; /proc with the
 * usual masks, a minimal /dev, no /sys; namespaces of its own for processes, mounts, IPC, host
 * name, cgroups, and the network unless that is granted; no capability, no new privileges, a
 * seccomp allow-list. As root the job runs as user FAB_JOB_UID, otherwise as user 0 of a user
 * namespace that holds the caller alone. */
#ifndef FAB_EXEC_BUNDLE_H
#define FAB_EXEC_BUNDLE_H

#include "storage/base/bytes.h"

#include <sys/types.h>

#define FAB_JOB_UID         60999 /* neither a Debian system user nor systemd's dynamic range's end */
#define FAB_BUNDLE_NAME_MAX 128

struct fab_bundle_input {
    const char *name;   /* checked with fab_input_name_ok */
    const char *source; /* absolute path of a file or directory on the host */
};

struct fab_bundle {
    const char *dir;   /* absolute, exists: rootfs/, out/, tmp/ and config.json are made in it */
    const char *init;  /* a copy of fab_blob_init on the same file system */
    char *const *argv; /* NULL-terminated, at least one */
    char *const *env;  /* "K=V", NULL-terminated */
    const char *cwd;
    const char *image_root; /* an image's tree on the host; NULL: the host's /usr */
    const struct fab_bundle_input *inputs;
    size_t n_inputs;
    bool network_host;
    bool rootless;      /* make a user namespace */
    const char *cgroup; /* "/fabric-ID", or NULL to make no group */
    /* Limits, 0 for none; each only where the host can enforce it. */
    uint64_t cpu_milli; /* thousandths of a CPU */
    uint64_t memory;    /* bytes */
    bool no_swap;       /* the memory limit covers swap too */
    uint64_t pids;
    uint64_t nproc;     /* RLIMIT_NPROC, which a user namespace counts by itself */
    uint64_t file_size; /* bytes of the largest file */
    unsigned gpus;      /* NVIDIA devices 0 to gpus-1 */
};

/* 1 to FAB_BUNDLE_NAME_MAX bytes of letters, digits, '.', '_', '-', not beginning with '.' or '-'.
 */
bool fab_input_name_ok(const char *name);

/* Make rootfs/, out/ and tmp/, and write config.json. FAB_EINVAL, FAB_ENOENT, FAB_EIO, FAB_ENOMEM.
 */
FAB_MUST enum fab_rc fab_bundle_write(const struct fab_bundle *bundle, struct fab_err *err);

#endif
