/* Accepting connections: up to ACCEPTS in a turn. When the process or the system has no descriptor
 * left, the listener rests instead of spinning on a queue that it cannot empty. */
#include "fabric/loop/inner.h"
#include "fabric/loop/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS 64
#define REST_US 100000u
#define BACKLOG 511

struct fab_listener {
    uv_poll_t poll;
    struct fab_loop *loop;
    fab_accept_fn *accept;
    void *arg;
    int fd;
    bool closed;
    struct fab_timer rest;
    struct fab_address address;
};

static void on_closed(uv_handle_t *handle)
{
    struct fab_listener *listener = handle->data;
    listener->loop->open--;
    free(listener);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct fab_listener *listener = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS && !listener->closed; i++) {
        struct fab_address peer;
        socklen_t len = sizeof peer;
        memset(&peer, 0, sizeof peer);
        int fd = accept4(listener->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            uv_poll_stop(&listener->poll);
            fab_timer_start(&listener->rest, fab_loop_now_us() + REST_US);
            return;
        }
        struct fab_tcp *tcp;
        if (fd >= 0 && fab_tcp_accepted(listener->loop, fd, &peer, &tcp) == FAB_OK)
            listener->accept(listener->arg, tcp);
    }
}

static void on_rested(void *arg)
{
    struct fab_listener *listener = arg;
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

enum fab_rc fab_listener_new(struct fab_loop *loop, const struct fab_address *at,
                             fab_accept_fn *accept, void *arg, struct fab_listener **out,
                             struct fab_err *err)
{
    char text[FAB_ADDRESS_TEXT];
    int on = 1, bound = -1;
    enum fab_rc rc = FAB_OK;
    fab_address_text(at, text);
    if (fab_address_len(at) == 0)
        return fab_err_set(err, FAB_EINVAL, "cannot listen on an address of an unknown kind");
    struct fab_listener *listener = calloc(1, sizeof *listener);
    int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!listener) {
        rc = fab_err_set(err, FAB_ENOMEM, "cannot listen on %s: out of memory", text);
        goto out;
    }
    if (fd < 0) {
        rc = fab_err_errno(err, errno, "cannot listen on %s", text);
        goto out;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    bound = bind(fd, &at->any, fab_address_len(at));
    if (bound != 0 || listen(fd, BACKLOG) != 0) {
        if (errno == EADDRINUSE)
            rc = fab_err_set(err, FAB_EBUSY,
                             "cannot listen on %s: another program uses this port; stop it or "
                             "choose another port",
                             text);
        else
            rc = fab_err_errno(err, errno, "cannot listen on %s", text);
        goto out;
    }
    socklen_t len = sizeof listener->address;
    getsockname(fd, &listener->address.any, &len);
    if (uv_poll_init(&loop->uv, &listener->poll, fd) != 0) {
        rc = fab_err_set(err, FAB_EIO, "cannot watch the socket on %s", text);
        goto out;
    }
    listener->poll.data = listener;
    listener->loop = loop;
    listener->accept = accept;
    listener->arg = arg;
    listener->fd = fd;
    fab_timer_init(&listener->rest, loop, on_rested, listener);
    loop->open++;
    on_rested(listener);
    *out = listener;
    return FAB_OK;
out:
    if (fd >= 0)
        close(fd);
    free(listener);
    return rc;
}

const struct fab_address *fab_listener_address(const struct fab_listener *listener)
{
    return &listener->address;
}

void fab_listener_close(struct fab_listener *listener)
{
    if (!listener || listener->closed)
        return;
    listener->closed = true;
    fab_timer_stop(&listener->rest);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close(listener->fd);
}
