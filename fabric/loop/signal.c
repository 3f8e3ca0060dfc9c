#include "fabric/loop/signal.h"
#include "fabric/loop/inner.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void on_signal(uv_signal_t *handle, int signo)
{
    struct fab_loop *loop = handle->data;
    loop->on_signal(loop->on_signal_arg, signo);
}

enum fab_rc fab_loop_signals(struct fab_loop *loop, void (*fn)(void *arg, int signo), void *arg)
{
    static const int signos[FAB_LOOP_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    if (sigaction(SIGPIPE, &ignore, NULL) != 0)
        return FAB_EIO;
    loop->on_signal = fn;
    loop->on_signal_arg = arg;
    for (int i = 0; i < FAB_LOOP_SIGNALS; i++) {
        uv_signal_init(&loop->uv, &loop->signals[i]);
        loop->signals[i].data = loop;
    }
    loop->signals_on = true;
    for (int i = 0; i < FAB_LOOP_SIGNALS; i++)
        if (uv_signal_start(&loop->signals[i], on_signal, signos[i]) != 0)
            return FAB_EIO;
    return FAB_OK;
}

enum fab_rc fab_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@'))
        return FAB_ENOENT;
    size_t n = strlen(path);
    if (n >= sizeof to.sun_path)
        return FAB_ELIMIT;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@') /* the abstract namespace */
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fab_rc_errno(errno);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, len);
    enum fab_rc rc = sent < 0 ? fab_rc_errno(errno) : FAB_OK;
    close(fd);
    return rc;
}
