/* One attempt: run a job's command in its sandbox, from the bundle to the end.
 *
 *   conmon + bundle ─▶ runtime ─▶ runs ─▶ exit file ─▶ logs drained
 *                         │        │
 *                fails: 125        time limit, disk limit, cancel: SIGKILL of the job's process 1
 *
 * runc makes and starts the container in one step; with crun we call `start` (attempt_start.c).
 * conmon is our child, but has a session of its own and outlives us; it holds the time limit too,
 * in whole seconds, should we die. The job writes its output straight to two append-only files,
 * which are followed here while it runs. Killing process 1 of a process namespace ends all in it.
 */
#ifndef FAB_EXEC_ATTEMPT_H
#define FAB_EXEC_ATTEMPT_H

#include "scheduler/exec/attempt_dir.h"
#include "scheduler/exec/bundle.h"

#include <stdatomic.h>
#include <sys/types.h>

enum fab_attempt_end {
    FAB_ATTEMPT_EXITED,    /* by itself */
    FAB_ATTEMPT_TIMEOUT,   /* the time limit; exit code 124 */
    FAB_ATTEMPT_OOM,       /* the memory limit */
    FAB_ATTEMPT_DISK,      /* the disk limit; exit code 137 */
    FAB_ATTEMPT_CANCELLED, /* *cancel became true, or `output` said so; 130 */
};

struct fab_attempt_spec {
    const struct fab_host *host;
    const struct fab_runtime *runtime;
    const struct fab_bundle *bundle; /* its dir is dir->path */
    const struct fab_attempt_dir *dir;
    uint64_t timeout_ms; /* 0: none */
    uint64_t disk;       /* bytes of /out, /tmp and the two logs; 0: none. Looked at several times a
                            second, so it can be passed by what is written in between */
    const atomic_bool *cancel; /* may be NULL */
    /* What the job wrote to its stdout (1) or stderr (2), while it runs. Gives how much it could
     * take without waiting; the rest comes again, once output_fds[stream - 1] can be written to.
     * Negative: cancels. NULL: not wanted. It must not block, because the limits are looked at in
     * between. */
    ssize_t (*output)(void *arg, int stream, const void *bytes, size_t n);
    int output_fds[2]; /* -1: the rest comes again after a while */
    void *arg;
};

struct fab_attempt_result {
    enum fab_attempt_end end;
    int exit_code;                  /* as a shell gives it */
    bool oom_killed;                /* a process of the job, by the kernel, for the memory limit */
    int64_t started_ms, ended_ms;   /* since 1970 */
    uint64_t cpu_usec, memory_peak; /* bytes; what is not known is 0 */
};

/* Run it to its end. The container is gone afterwards; the folder, with out/, stdout and stderr,
 * stays the caller's. Errors are failures of the sandbox, not of the job, with a line: FAB_EIO,
 * FAB_ENOMEM, ... */
FAB_MUST enum fab_rc fab_attempt_run(const struct fab_attempt_spec *spec,
                                     struct fab_attempt_result *out, struct fab_err *err);

#endif
