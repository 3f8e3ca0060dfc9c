/* Small things about names and trees of the file system. */
#ifndef FAB_FILES_TREE_H
#define FAB_FILES_TREE_H

#include "storage/base/bytes.h"

#define TREE_NAME_MAX  255 /* bytes of a name that file systems take */
#define TREE_TEMP_SIZE 20  /* ".fabric-get-XXXXXX" with its NUL */

/* NULL when `name` may be an entry of a directory on disk or in an archive, else what is wrong with
 * it. */
const char *tree_name_fault(struct fab_slice name);

/* Split a path of a result in its parent directory (opened) and its name. FAB_EINVAL for "", "/",
 * ".", "..". */
FAB_MUST enum fab_rc tree_open_parent(const char *path, int *dirfd, char name[TREE_NAME_MAX + 1],
                                      struct fab_err *err);
void tree_temp_name(char out[TREE_TEMP_SIZE]);

/* Remove whatever `name` is in `dirfd`, with everything below, following no symlink. FAB_OK when it
 * is not there. */
FAB_MUST enum fab_rc tree_remove(int dirfd, const char *name);

/* Let what is complete under `temp` appear as `name`. FAB_EEXIST when that exists, without `force`;
 * with it, what was there is removed. On failure `temp` is still there. */
FAB_MUST enum fab_rc tree_publish(int dirfd, const char *temp, const char *name, bool force,
                                  const char *path, struct fab_err *err);

#endif
