/* Compaction: blocks.dat gives its holes back, and a copy of data.mdb without its free pages takes
 * the old file's place. */
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define COPY_NAME "data.mdb.compact"

static int lock_open(struct fab_store *store, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
    return fcntl(store->open_fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

static enum fab_rc copy(struct fab_store *store, struct fab_err *err)
{
    unlinkat(store->dirfd, COPY_NAME, 0);
    int fd = openat(store->dirfd, COPY_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fab_err_errno(err, errno, "store %s: cannot make %s", store->dir, COPY_NAME);
    int rc = mdb_env_copyfd2(store->env, fd, MDB_CP_COMPACT);
    enum fab_rc result = rc ? store_err(err, store, rc, "cannot copy") : FAB_OK;
    if (result == FAB_OK && fsync(fd) != 0)
        result = fab_err_errno(err, errno, "store %s: cannot sync %s", store->dir, COPY_NAME);
    close(fd);
    if (result != FAB_OK)
        unlinkat(store->dirfd, COPY_NAME, 0);
    return result;
}

enum fab_rc fab_store_compact(struct fab_store *store, struct fab_err *err)
{
    if (lock_open(store, F_WRLCK) != 0)
        return fab_err_set(err, FAB_EBUSY,
                           "store %s: other processes have it open; end them and compact again",
                           store->dir);
    enum fab_rc rc = store_extents_give_back(store);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "store %s: cannot give free space back: %s", store->dir,
                    fab_rc_text(rc));
    store_gate_close(store);
    if (rc == FAB_OK)
        rc = copy(store, err);
    if (rc == FAB_OK) {
        store_env_close(store);
        if (renameat(store->dirfd, COPY_NAME, store->dirfd, "data.mdb") != 0)
            rc = fab_err_errno(err, errno, "store %s: cannot replace data.mdb", store->dir);
        else if (fsync(store->dirfd) != 0)
            rc = fab_err_errno(err, errno, "store %s: cannot sync the directory", store->dir);
        enum fab_rc opened = store_env_reopen(store, rc == FAB_OK ? err : NULL);
        if (rc == FAB_OK)
            rc = opened;
    }
    store_gate_open(store);
    if (lock_open(store, F_RDLCK) != 0 && rc == FAB_OK)
        rc = fab_err_set(err, FAB_EIO, "store %s: cannot lock", store->dir);
    return rc;
}
