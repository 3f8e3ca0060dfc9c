#include "storage/files/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum fab_rc out_init(struct out *out, int fd, struct source *source, struct watch *watch)
{
    *out = (struct out){.fd = fd, .source = source, .watch = watch};
    (void)fcntl(fd, F_SETPIPE_SZ, OUT_BYTES); /* a wish, and only pipes have it */
    out->buffer = malloc(OUT_BYTES + OUT_PIECE_MAX);
    return out->buffer ? FAB_OK : FAB_ENOMEM;
}

void out_fini(struct out *out)
{
    free(out->buffer);
}

enum fab_rc out_flush(struct out *out)
{
    size_t at = 0;
    while (at < out->len) {
        FAB_TRY(watch_tick(out->watch));
        ssize_t n = write(out->fd, out->buffer + at, out->len - at);
        if (n >= 0) {
            at += (size_t)n;
            out->written += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd ready = {.fd = out->fd, .events = POLLOUT};
            poll(&ready, 1, 100);
        } else if (errno != EINTR) {
            out->error = errno;
            return fab_rc_errno(errno);
        }
    }
    out->len = 0;
    return FAB_OK;
}

enum fab_rc out_append(struct out *out, struct fab_slice data)
{
    if (OUT_BYTES + OUT_PIECE_MAX - out->len < data.n)
        return FAB_ELIMIT;
    memcpy(out->buffer + out->len, data.p, data.n);
    out->len += data.n;
    return FAB_OK;
}

enum fab_rc out_write(struct out *out, struct fab_slice data)
{
    while (data.n) {
        /* A block fits in any case, so that its view can go before the descriptor is waited for. */
        size_t room = OUT_BYTES + OUT_PIECE_MAX - out->len;
        size_t n = room < data.n ? room : data.n;
        memcpy(out->buffer + out->len, data.p, n);
        out->len += n;
        data = fab_slice(data.p + n, data.n - n);
        if (out->len < OUT_BYTES)
            continue;
        if (data.n == 0)
            source_rest(out->source);
        FAB_TRY(out_flush(out));
    }
    return FAB_OK;
}
