/* The file HOME/identity: the private half of this node's key in libp2p's protobuf form.
 *
 * It is made under another name and given its own only when it is whole and on the disk, and never
 * over one that is there: of several processes that make it at once one wins, and all read back
 * what the winner wrote. */
#include "fabric/node/keyring.h"
#include "storage/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 128 /* bytes; libp2p's longer old form of an Ed25519 key has 100 */

static enum fab_rc join(const char *home, const char *name, char **out, struct fab_err *err)
{
    size_t n = strlen(home) + 1 + strlen(name) + 1;
    char *path = malloc(n);
    if (!path)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    snprintf(path, n, "%s/%s", home, name);
    *out = path;
    return FAB_OK;
}

/* ---- reading ---- */

static enum fab_rc check_mode(int fd, const char *path, struct fab_err *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return fab_err_errno(err, errno, "the identity %s cannot be read", path);
    if (!S_ISREG(st.st_mode))
        return fab_err_set(err, FAB_EINVAL, "the identity %s is not a file; move it away", path);
    if (st.st_uid != geteuid())
        return fab_err_set(err, FAB_EACCES,
                           "the identity %s belongs to another user; give it to the one who runs "
                           "fabric: `chown %lu %s`",
                           path, (unsigned long)geteuid(), path);
    if (st.st_mode & 077)
        return fab_err_set(err, FAB_EACCES,
                           "the identity %s is open to other users; close it: `chmod 600 %s`", path,
                           path);
    return FAB_OK;
}

/* FAB_ENOENT, without a line in `err`, when there is no file. */
static enum fab_rc read_identity(const char *path, struct fab_key **out, struct fab_err *err)
{
    uint8_t bytes[FILE_MAX + 1];
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? FAB_ENOENT
                               : fab_err_errno(err, errno, "the identity %s cannot be read", path);
    enum fab_rc rc = check_mode(fd, path, err);
    if (rc != FAB_OK)
        goto out;
    rc = fab_fd_read(fd, bytes, sizeof bytes, &n); /* one more than may be */
    if (rc != FAB_OK) {
        rc = fab_err_errno(err, errno, "the identity %s cannot be read", path);
        goto out;
    }
    rc = n > FILE_MAX ? FAB_EFORMAT : fab_key_from_proto(fab_slice(bytes, n), out);
    if (rc == FAB_EFORMAT || rc == FAB_EUNSUPPORTED)
        fab_err_set(err, rc,
                    "the identity %s is %s; restore it from a copy, or move it away for a new one, "
                    "which opens none of this home's swarm keys",
                    path, rc == FAB_EFORMAT ? "damaged" : "not an Ed25519 key");
    else if (rc != FAB_OK)
        fab_err_set(err, rc, "the identity %s cannot be used: %s", path, fab_rc_text(rc));
out:
    sodium_memzero(bytes, sizeof bytes);
    close(fd);
    return rc;
}

/* ---- making ---- */

/* Give the file its name unless somebody was first, which is as good. */
static bool give_name(const char *temp, const char *path)
{
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0 || errno == EEXIST)
        return true;
    /* Some file systems know no RENAME_NOREPLACE. */
    return link(temp, path) == 0 || errno == EEXIST;
}

static bool sync_folder(const char *home)
{
    int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static enum fab_rc write_identity(const char *home, const char *path, struct fab_slice proto,
                                  struct fab_err *err)
{
    char *temp = NULL;
    FAB_TRY(join(home, ".identity-XXXXXX", &temp, err));
    int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        enum fab_rc rc = fab_err_errno(err, errno, "the identity %s cannot be made", path);
        free(temp);
        return rc;
    }
    enum fab_rc rc = FAB_OK;
    if (fab_fd_write(fd, proto) != FAB_OK || fsync(fd) != 0 || !give_name(temp, path) ||
        !sync_folder(home))
        rc = fab_err_errno(err, errno, "the identity %s cannot be made", path);
    close(fd);
    unlink(temp);
    free(temp);
    return rc;
}

static enum fab_rc make_identity(const char *home, const char *path, struct fab_err *err)
{
    struct fab_key *key = NULL;
    struct fab_buf proto;
    fab_buf_init(&proto, FAB_KEY_PROTO_SIZE);
    enum fab_rc rc = fab_key_generate(&key);
    if (rc == FAB_OK)
        rc = fab_key_proto(key, &proto);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "the identity %s cannot be made: %s", path, fab_rc_text(rc));
    else
        rc = write_identity(home, path, fab_buf_slice(&proto), err);
    if (proto.data)
        sodium_memzero(proto.data, proto.cap);
    fab_buf_fini(&proto);
    fab_key_free(key);
    return rc;
}

enum fab_rc fab_identity_open(const char *home, struct fab_key **out, struct fab_err *err)
{
    char *path = NULL;
    FAB_TRY(join(home, FAB_IDENTITY_FILE, &path, err));
    enum fab_rc rc = read_identity(path, out, err);
    if (rc == FAB_ENOENT) {
        rc = make_identity(home, path, err);
        if (rc == FAB_OK)
            rc = read_identity(path, out, err);
        if (rc == FAB_ENOENT)
            fab_err_set(err, rc, "the identity %s vanished while it was made", path);
    }
    free(path);
    return rc;
}
