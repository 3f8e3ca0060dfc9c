#include "fabric/loop/poll.h"
#include "fabric/loop/inner.h"

#include <stdlib.h>

struct fab_poll {
    uv_poll_t uv;
    struct fab_loop *loop;
    void (*ready)(void *arg, unsigned events);
    void *arg;
    unsigned events;
};

static void on_closed(uv_handle_t *handle)
{
    struct fab_poll *poll = handle->data;
    poll->loop->open--;
    free(poll);
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct fab_poll *poll = handle->data;
    unsigned ready = (events & UV_READABLE ? FAB_POLL_READ : 0u) |
                     (events & UV_WRITABLE ? FAB_POLL_WRITE : 0u) |
                     (events & UV_DISCONNECT ? FAB_POLL_HANGUP : 0u);
    if (status < 0) { /* libuv has stopped watching */
        poll->events = 0;
        ready = FAB_POLL_READ | FAB_POLL_WRITE | FAB_POLL_HANGUP;
    }
    poll->ready(poll->arg, ready);
}

enum fab_rc fab_poll_new(struct fab_loop *loop, int fd, void (*ready)(void *arg, unsigned events),
                         void *arg, struct fab_poll **out)
{
    struct fab_poll *poll = calloc(1, sizeof *poll);
    if (!poll)
        return FAB_ENOMEM;
    if (uv_poll_init(&loop->uv, &poll->uv, fd) != 0) {
        free(poll);
        return FAB_EIO;
    }
    poll->loop = loop;
    poll->ready = ready;
    poll->arg = arg;
    poll->uv.data = poll;
    loop->open++;
    *out = poll;
    return FAB_OK;
}

void fab_poll_set(struct fab_poll *poll, unsigned events)
{
    if (events == poll->events)
        return;
    poll->events = events;
    int uv = (events & FAB_POLL_READ ? UV_READABLE : 0) |
             (events & FAB_POLL_WRITE ? UV_WRITABLE : 0) |
             (events & FAB_POLL_HANGUP ? UV_DISCONNECT : 0);
    if (uv)
        uv_poll_start(&poll->uv, uv, on_ready);
    else
        uv_poll_stop(&poll->uv);
}

void fab_poll_close(struct fab_poll *poll)
{
    if (poll)
        uv_close((uv_handle_t *)&poll->uv, on_closed);
}
