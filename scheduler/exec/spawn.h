/* Starting a program without fork: nothing of this process (LMDB, threads, locks) runs in the
 * child. */
#ifndef FAB_EXEC_SPAWN_H
#define FAB_EXEC_SPAWN_H

#include "storage/base/rc.h"

#include <stdbool.h>
#include <sys/types.h>

struct fab_spawn {
    const char *const *argv; /* argv[0] is the program's absolute path; NULL-terminated */
    const char *const *env;  /* NULL-terminated */
    const char *dir;         /* working directory; NULL: ours */
    int fds[5]; /* become 0 to 4 in the child; -1: /dev/null for 0 to 2, none for 3 and 4 */
    bool new_session;
};

/* Start it with every signal at its default and none blocked. Only the given descriptors reach the
 * child, as long as all others are close-on-exec. FAB_EIO with a line. */
FAB_MUST enum fab_rc fab_spawn(const struct fab_spawn *spawn, pid_t *out, struct fab_err *err);

/* Wait for a child of this process; gives its wait status, or -1. Not ended by signals. */
int fab_spawn_wait(pid_t pid);

/* Start, wait, and give FAB_EIO with a line if it did not end with 0. */
FAB_MUST enum fab_rc fab_spawn_run(const struct fab_spawn *spawn, struct fab_err *err);

/* A handle on a process, close-on-exec: -1 where there is none of that number or the kernel knows
 * no such handles (before Linux 5.3). */
int fab_pidfd(pid_t pid);

/* SIGKILL to the process behind the handle, or to number `pid` (if > 0) where `pidfd` is -1. */
void fab_pidfd_kill(int pidfd, pid_t pid);

#endif
