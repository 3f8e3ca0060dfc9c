#include "storage/base/fd.h"

#include <errno.h>
#include <unistd.h>

enum fab_rc fab_fd_read(int fd, uint8_t *out, size_t cap, size_t *n)
{
    *n = 0;
    while (*n < cap) {
        ssize_t got = read(fd, out + *n, cap - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FAB_EIO;
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return FAB_OK;
}

enum fab_rc fab_fd_write(int fd, struct fab_slice data)
{
    while (data.n > 0) {
        ssize_t put = write(fd, data.p, data.n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return FAB_EIO;
        data.p += put;
        data.n -= (size_t)put;
    }
    return FAB_OK;
}
