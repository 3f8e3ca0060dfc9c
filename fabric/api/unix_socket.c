/* A listening Unix socket in place of whatever dead one lies there.
 *
 * It is made under another name in the same directory, with its mode and listening, and then
 * renamed: nobody ever sees one that does not answer, or that others may open. Two servers that
 * start at the same instant both succeed and the later wins: whoever starts servers holds a lock.
 */
#include "fabric/api/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

/* The address of `name` in the directory: a socket address holds 107 bytes, a path any number. */
static bool address_of(int dir_fd, const char *name, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    return n > 0 && (size_t)n < sizeof out->sun_path;
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* FAB_OK: the name is free, or a dead socket. */
static enum fab_rc check_free(int dir_fd, const char *name, const char *path, struct fab_err *err)
{
    struct sockaddr_un at;
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? FAB_OK : fab_err_errno(err, errno, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return fab_err_set(err, FAB_EEXIST, "%s is not a socket; move it away", path);
    int fd = new_socket();
    if (fd < 0)
        return fab_err_errno(err, errno, "cannot make a socket");
    (void)address_of(dir_fd, name, &at);
    int connected = connect(fd, (struct sockaddr *)&at, sizeof at);
    int why = errno;
    close(fd);
    if (connected == 0 || why == EAGAIN)
        return fab_err_set(err, FAB_EBUSY,
                           "another fabricd runs and listens on %s; stop it with `fabric down`",
                           path);
    if (why != ECONNREFUSED && why != ENOENT)
        return fab_err_errno(err, why, "cannot tell whether somebody listens on %s", path);
    return FAB_OK;
}

enum fab_rc fab_api_socket_open(const char *path, struct fab_api_socket *out, struct fab_err *err)
{
    struct fab_api_socket s = {.fd = -1, .dir_fd = -1};
    struct sockaddr_un at;
    struct stat st;
    char temporary[64];
    enum fab_rc rc = FAB_ENOMEM;
    bool made = false;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    s.name = strdup(name);
    if (!dir || !s.name)
        goto out;
    s.dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s.dir_fd < 0) {
        rc = fab_err_errno(err, errno, "cannot open the directory of %s", path);
        goto out;
    }
    snprintf(temporary, sizeof temporary, ".socket-%ld", (long)getpid());
    if (name[0] == '\0' || !address_of(s.dir_fd, name, &at) ||
        !address_of(s.dir_fd, temporary, &at)) {
        rc = fab_err_set(err, FAB_EINVAL, "%s cannot be the name of a socket", path);
        goto out;
    }
    rc = check_free(s.dir_fd, name, path, err);
    if (rc != FAB_OK)
        goto out;
    (void)unlinkat(s.dir_fd, temporary, 0); /* of a process that died here with our number */
    s.fd = new_socket();
    /* The mode before the name: bind makes the file with it. */
    made =
        s.fd >= 0 && fchmod(s.fd, 0600) == 0 && bind(s.fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (!made || listen(s.fd, BACKLOG) != 0 ||
        fstatat(s.dir_fd, temporary, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        renameat(s.dir_fd, temporary, s.dir_fd, name) != 0) {
        rc = fab_err_errno(err, errno, "cannot listen on %s", path);
        goto out;
    }
    s.dev = st.st_dev;
    s.ino = st.st_ino;
    *out = s;
    free(dir);
    return FAB_OK;
out:
    if (rc == FAB_ENOMEM)
        fab_err_set(err, rc, "cannot listen on %s: out of memory", path);
    if (made)
        (void)unlinkat(s.dir_fd, temporary, 0);
    if (s.fd >= 0)
        close(s.fd);
    if (s.dir_fd >= 0)
        close(s.dir_fd);
    free(s.name);
    free(dir);
    return rc;
}

void fab_api_socket_remove(struct fab_api_socket *socket)
{
    struct stat st;
    if (fstatat(socket->dir_fd, socket->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == socket->dev && st.st_ino == socket->ino)
        (void)unlinkat(socket->dir_fd, socket->name, 0);
    close(socket->dir_fd);
    free(socket->name);
}
