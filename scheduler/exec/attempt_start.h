/* The start of an attempt, private to this folder: conmon, the runtime, and handles on both. */
#ifndef FAB_EXEC_ATTEMPT_START_H
#define FAB_EXEC_ATTEMPT_START_H

#include "scheduler/exec/attempt.h"

#include <sys/types.h>

struct attempt_started {
    pid_t conmon;  /* our child, not yet waited for */
    pid_t job;     /* process 1 of the job; 0 when it has ended already */
    int conmon_fd; /* pidfds; -1 on a kernel without them, or without a process */
    int job_fd;
    int logs[2]; /* read ends of the job's stdout and stderr */
};

/* Write the bundle and start the job in it. Without FAB_OK nothing of the job is left but files,
 * and *out needs no closing. */
FAB_MUST enum fab_rc attempt_start(const struct fab_attempt_spec *spec, struct attempt_started *out,
                                   struct fab_err *err);
/* SIGKILL to the job, and so to all in it, if it has not ended. */
void attempt_kill(const struct attempt_started *started);
/* Close the descriptors. */
void attempt_close(struct attempt_started *started);

#endif
