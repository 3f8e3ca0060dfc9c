/* How far a long operation has come, told to whoever watches it. */
#ifndef FAB_FILES_PROGRESS_H
#define FAB_FILES_PROGRESS_H

#include "storage/base/rc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fab_progress {
    uint64_t bytes;       /* done so far */
    uint64_t total_bytes; /* 0 while it is not known */
    uint64_t items;       /* files or blocks done so far */
};

/* What every operation of this folder takes. All zero means: watched by nobody, never cancelled.
 * `progress` is called on the calling thread, at most every 50 ms, and once at the end of a
 * success. When `*cancel` becomes true the operation ends soon with FAB_EINTERRUPTED and leaves
 * nothing behind. */
struct fab_watch {
    void (*progress)(void *arg, const struct fab_progress *now);
    void *arg;
    const atomic_bool *cancel;
};

#endif
