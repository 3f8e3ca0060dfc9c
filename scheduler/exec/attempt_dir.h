/* The folder of one attempt, and what a dead owner left.
 *
 * HOME/jobs/ID holds the bundle, /out and /tmp of the job, its two log files, the runtime's state
 * and a lock file that its owner keeps locked while it lives. A process that is killed leaves the
 * folder with the lock free; the next one that runs a job command ends who is left and removes
 * everything. The file stdout is locked too, by all who inherited it: the runtime while it starts
 * the job, and process 1 of the job, with whom all of it ends. By that file and by the control
 * group they are found, and by that lock the one who removes knows when the last of them is gone.
 */
#ifndef FAB_EXEC_ATTEMPT_DIR_H
#define FAB_EXEC_ATTEMPT_DIR_H

#include "scheduler/exec/runtime.h"

#include <limits.h>
#include <stdbool.h>

#define FAB_ATTEMPT_ID_MAX 32

struct fab_attempt_dir {
    char id[FAB_ATTEMPT_ID_MAX + 1];
    char path[PATH_MAX];
    char cgroup[FAB_CGROUP_PATH_MAX + FAB_ATTEMPT_ID_MAX + 16]; /* ".../fabric-ID" */
    int lock; /* locked exclusively; -1 when there is none */
};

/* Make HOME/jobs/ID (mode 0700) and lock it. Its group will lie below the group `cgroups` (as
 * fab_host's), which the folder tells whoever cleans up. FAB_EEXIST. */
FAB_MUST enum fab_rc fab_attempt_dir_make(const char *home, const char *id, const char *cgroups,
                                          struct fab_attempt_dir *out, struct fab_err *err);
/* After the container has ended: remove its cgroup and all of the folder but out/, the two logs and
 * the lock. Another thread may read those meanwhile. What cannot be removed is left to the next. */
void fab_attempt_dir_strip(const struct fab_attempt_dir *dir);
/* Kill whoever is left of the attempt and wait for them, a second at most: false if they do not go.
 * Not through the runtime, which while it makes a container does not know it yet, and forgets it
 * when it is told to delete it then, while its process lives on. */
FAB_MUST bool fab_attempt_end(const struct fab_attempt_dir *dir);
/* Remove it and everything in it, the attempt's cgroup too; the container has ended. FAB_EBUSY,
 * with everything still there, when processes are left in the cgroup. In any case it is unlocked.
 */
FAB_MUST enum fab_rc fab_attempt_dir_remove(struct fab_attempt_dir *dir, struct fab_err *err);

/* Call `fn` with the id of every attempt whose owner lives. */
FAB_MUST enum fab_rc fab_attempt_dir_each(const char *home, void (*fn)(void *arg, const char *id),
                                          void *arg, struct fab_err *err);

#define FAB_ATTEMPT_NOTE_MAX 16384
/* Leave a note for whoever finds the owner dead, once. FAB_ELIMIT over FAB_ATTEMPT_NOTE_MAX bytes.
 */
FAB_MUST enum fab_rc fab_attempt_dir_note(const struct fab_attempt_dir *dir, struct fab_slice note,
                                          struct fab_err *err);

/* End and remove what dead owners left. `found` (may be NULL) is told the id and the note, empty if
 * there is none, of each that has ended, before its folder goes; it may come again. Cheap when
 * there is nothing. Failures are skipped: the next command tries again. */
void fab_attempt_reap(const char *home,
                      void (*found)(void *arg, const char *id, struct fab_slice note), void *arg);

/* Where the runtime writes the job's process id: in memory where there is such a folder, because it
 * does so synchronously, which on a busy disk takes longer than all the rest. Removed once it is
 * read. */
void fab_attempt_pidfile(const char *path, const char *id, char out[PATH_MAX]);

#endif
