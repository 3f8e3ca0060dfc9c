/* Folders that a job wrote: removing them and measuring them, whatever is in them. */
#ifndef FAB_EXEC_DIRS_H
#define FAB_EXEC_DIRS_H

#include "storage/base/rc.h"

#include <stdint.h>

/* Remove `path` and everything below it, without following symlinks, through folders that the owner
 * cannot enter, and however deep they are nested. FAB_OK when it is not there. */
FAB_MUST enum fab_rc fab_dir_remove(const char *path, struct fab_err *err);

#define FAB_DIR_DEPTH_MAX 256

/* Bytes on disk below `path`; a file with several links counts once in all. FAB_ELIMIT below
 * FAB_DIR_DEPTH_MAX levels. Entries that vanish meanwhile, or cannot be read, do not count. */
FAB_MUST enum fab_rc fab_dir_usage(const char *path, uint64_t *out);

/* Give the owner the right to read every file and enter every folder below `path`, where he lacks
 * it. What cannot be changed is left. FAB_ELIMIT below FAB_DIR_DEPTH_MAX levels. */
FAB_MUST enum fab_rc fab_dir_readable(const char *path);

/* Make everything below `path` readable by all and writable by nobody (execute bits stay), with
 * `owner` (0: unchanged) as owner. For cached inputs. */
FAB_MUST enum fab_rc fab_dir_seal(const char *path, unsigned owner, struct fab_err *err);

#endif
