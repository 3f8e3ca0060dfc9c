/* Folders that a job wrote: removing them and measuring them, whatever is in them. */
#ifndef FAB_EXEC_DIRS_H
#define FAB_EXEC_DIRS_H

#include "storage/base/rc.h"

#include <stddef.h>
#include <stdint.h>

/* Remove `path` and everything below it, without following symlinks, through folders that the owner
 * cannot enter, and however deep they are nested. FAB_OK when it is not there. */
FAB_MUST enum fab_rc fab_dir_remove(const char *path, struct fab_err *err);

#define FAB_DIR_DEPTH_MAX 256

/* Bytes on disk below `path`; a file with several links counts once in all. FAB_ELIMIT below
 * FAB_DIR_DEPTH_MAX levels, and where a folder cannot be read. Entries that vanish meanwhile do not
 * count. A user who is not root gets the right to read and enter each folder. */
FAB_MUST enum fab_rc fab_dir_usage(const char *path, uint64_t *out);

/* Give the owner the right to read every file and enter every folder below `path`, where he lacks
 * it. What cannot be changed is left. FAB_ELIMIT below FAB_DIR_DEPTH_MAX levels. */
FAB_MUST enum fab_rc fab_dir_readable(const char *path);

/* Remove what is neither file, folder nor symlink below `path`: fifos, sockets, devices. Gives how
 * many. FAB_ELIMIT below FAB_DIR_DEPTH_MAX levels. */
FAB_MUST enum fab_rc fab_dir_drop_special(const char *path, size_t *dropped);

/* Make everything below `path` readable by all and writable by nobody (execute bits stay), with
 * `owner` (0: unchanged) as owner. For cached inputs. */
FAB_MUST enum fab_rc fab_dir_seal(const char *path, unsigned owner, struct fab_err *err);

#endif
