/* A connection on a descriptor of our own that libuv polls.
 *
 * Happy path: connect, wait until writable, `opened`; or accept and start. Then readable gives
 * `input` from the loop's buffer, and a wake queues the connection for its turn: `output` fills
 * the loop's other buffer, which is sent at once. What the kernel does not take is copied into
 * `pending`, and nothing more is asked until it has drained. A turn ends after FAB_TCP_TURN bytes
 * and queues the next.
 *
 * Failures: every one goes through end(), once, from any state: descriptor and buffers go at
 * once, `closed` comes from libuv's close callback, and then the memory goes.
 *
 *   CONNECTING ─▶ OPEN ─▶ FINISHING ─▶ ENDED
 *   ACCEPTED ───▶ OPEN       (all states may go to ENDED directly)
 *
 * FINISHING sends what is left. If this side began it, it then ends the sending direction and
 * reads until the peer ends too: closing with unread bytes would reset the connection, and the
 * peer would lose what we sent. */
#include "fabric/loop/tcp.h"
#include "fabric/loop/inner.h"
#include "fabric/loop/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FINISH_US 10000000u

enum state { CONNECTING, ACCEPTED, OPEN, FINISHING, ENDED };

struct fab_tcp {
    uv_poll_t poll;
    struct fab_loop *loop;
    const struct fab_tcp_ops *ops;
    void *arg;
    int fd;
    int events; /* what libuv watches */
    enum state state;
    enum fab_tcp_reason reason; /* from FINISHING on */
    bool paused;
    bool wanted; /* output is to be asked */
    bool shut;   /* the sending direction has been ended */
    struct fab_defer turn;
    struct fab_timer limit; /* of the connect, of the finish */
    uint8_t *pending;       /* what the kernel did not take; NULL: nothing */
    size_t pending_off, pending_len;
    uint64_t received, sent;
    struct fab_address local, peer;
};

const char *fab_tcp_reason_text(enum fab_tcp_reason reason)
{
    switch (reason) {
    case FAB_TCP_CLOSED:
        return "closed";
    case FAB_TCP_EOF:
        return "closed by the peer";
    case FAB_TCP_RESET:
        return "connection reset";
    case FAB_TCP_REFUSED:
        return "connection refused";
    case FAB_TCP_TIMEOUT:
        return "no answer in time";
    case FAB_TCP_FAILED:
        return "cannot be reached";
    }
    return "unknown";
}

static enum fab_tcp_reason reason_of(int err)
{
    switch (err) {
    case ECONNREFUSED:
        return FAB_TCP_REFUSED;
    case ETIMEDOUT:
        return FAB_TCP_TIMEOUT;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return FAB_TCP_RESET;
    default:
        return FAB_TCP_FAILED;
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct fab_tcp *tcp = handle->data;
    tcp->loop->open--;
    if (tcp->ops)
        tcp->ops->closed(tcp->arg, tcp->reason);
    free(tcp);
}

static void end(struct fab_tcp *tcp, enum fab_tcp_reason reason)
{
    if (tcp->state == ENDED)
        return;
    tcp->state = ENDED;
    tcp->reason = reason;
    fab_loop_cancel(&tcp->turn);
    fab_timer_stop(&tcp->limit);
    free(tcp->pending);
    tcp->pending = NULL;
    uv_close((uv_handle_t *)&tcp->poll, on_closed);
    close(tcp->fd);
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Watch what this state waits for. */
static void watch(struct fab_tcp *tcp)
{
    int events = 0;
    switch (tcp->state) {
    case CONNECTING:
        events = UV_WRITABLE;
        break;
    case OPEN:
        events = (tcp->paused ? 0 : UV_READABLE) | (tcp->pending ? UV_WRITABLE : 0);
        break;
    case FINISHING:
        events = (tcp->reason == FAB_TCP_EOF ? 0 : UV_READABLE) | (tcp->pending ? UV_WRITABLE : 0);
        break;
    case ACCEPTED:
        break;
    case ENDED:
        return;
    }
    if (events == tcp->events)
        return;
    tcp->events = events;
    if (events == 0)
        uv_poll_stop(&tcp->poll);
    else if (uv_poll_start(&tcp->poll, events, on_poll) != 0)
        end(tcp, FAB_TCP_FAILED);
}

/* --- sending --- */

/* Hand bytes to the kernel. Gives how many it took; ends the connection on an error. */
static size_t hand_over(struct fab_tcp *tcp, const uint8_t *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t k = send(tcp->fd, p + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            end(tcp, reason_of(errno));
        if (k < 0)
            break;
        done += (size_t)k;
    }
    tcp->sent += done;
    return done;
}

static void send_pending(struct fab_tcp *tcp)
{
    tcp->pending_off +=
        hand_over(tcp, tcp->pending + tcp->pending_off, tcp->pending_len - tcp->pending_off);
    if (tcp->state == ENDED || tcp->pending_off < tcp->pending_len)
        return;
    free(tcp->pending);
    tcp->pending = NULL;
}

static void keep(struct fab_tcp *tcp, const uint8_t *p, size_t n)
{
    tcp->pending = malloc(n);
    if (!tcp->pending) {
        end(tcp, FAB_TCP_FAILED);
        return;
    }
    memcpy(tcp->pending, p, n);
    tcp->pending_off = 0;
    tcp->pending_len = n;
}

static void finish_sending(struct fab_tcp *tcp)
{
    if (tcp->state != FINISHING || tcp->pending || tcp->wanted || tcp->shut)
        return;
    if (tcp->reason == FAB_TCP_EOF || shutdown(tcp->fd, SHUT_WR) != 0)
        end(tcp, tcp->reason);
    tcp->shut = true;
}

/* One turn of sending. */
static void transmit(struct fab_tcp *tcp)
{
    uint64_t until = tcp->sent + FAB_TCP_TURN;
    if (tcp->pending)
        send_pending(tcp);
    while (tcp->state != ENDED && tcp->wanted && !tcp->pending) {
        if (tcp->sent >= until) {
            fab_loop_defer(tcp->loop, &tcp->turn);
            break;
        }
        tcp->wanted = false;
        size_t n = tcp->ops->output(tcp->arg, tcp->loop->output, FAB_TCP_CHUNK);
        if (tcp->state == ENDED)
            return;
        if (n == 0)
            break; /* `wanted` again if output itself has called wake */
        tcp->wanted = true;
        size_t taken = hand_over(tcp, tcp->loop->output, n);
        if (tcp->state != ENDED && taken < n)
            keep(tcp, tcp->loop->output + taken, n - taken);
    }
    finish_sending(tcp);
    watch(tcp);
}

static void on_turn(struct fab_defer *turn)
{
    transmit((struct fab_tcp *)(void *)((char *)turn - offsetof(struct fab_tcp, turn)));
}

/* --- receiving --- */

static void begin_finish(struct fab_tcp *tcp, enum fab_tcp_reason reason)
{
    tcp->state = FINISHING;
    tcp->reason = reason;
    fab_timer_start(&tcp->limit, fab_loop_now_us() + FINISH_US);
    fab_tcp_wake(tcp);
}

static void on_eof(struct fab_tcp *tcp)
{
    if (tcp->state == OPEN)
        begin_finish(tcp, FAB_TCP_EOF);
    else if (tcp->shut)
        end(tcp, tcp->reason);
    else /* both ended; what is left is still sent */
        tcp->reason = FAB_TCP_EOF;
}

static void receive(struct fab_tcp *tcp)
{
    uint64_t until = tcp->received + FAB_TCP_TURN;
    while (tcp->received < until) {
        ssize_t n = recv(tcp->fd, tcp->loop->input, FAB_TCP_CHUNK, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            end(tcp, reason_of(errno));
        else if (n == 0)
            on_eof(tcp);
        if (n <= 0)
            return;
        tcp->received += (uint64_t)n;
        if (tcp->state == OPEN)
            tcp->ops->input(tcp->arg, tcp->loop->input, (size_t)n);
        if (tcp->state == ENDED || tcp->paused || (size_t)n < FAB_TCP_CHUNK)
            return;
    }
}

/* --- events --- */

static void begin_open(struct fab_tcp *tcp)
{
    struct fab_address local;
    socklen_t len = sizeof local;
    memset(&local, 0, sizeof local);
    getsockname(tcp->fd, &local.any, &len);
    tcp->local = local;
    tcp->state = OPEN;
    fab_tcp_wake(tcp);
}

static void on_connected(struct fab_tcp *tcp)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(tcp->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        err = errno;
    if (err) {
        end(tcp, reason_of(err));
        return;
    }
    fab_timer_stop(&tcp->limit);
    begin_open(tcp);
    if (tcp->ops->opened)
        tcp->ops->opened(tcp->arg);
    watch(tcp);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct fab_tcp *tcp = poll->data;
    if (status < 0) { /* the descriptor is in error, and libuv has stopped watching it */
        tcp->events = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (tcp->state == CONNECTING) {
        on_connected(tcp);
        return;
    }
    /* In this order: bytes that came before a reset are still given. */
    if ((events & UV_READABLE) && !(tcp->state == OPEN && tcp->paused))
        receive(tcp);
    if (tcp->state != ENDED && (events & UV_WRITABLE))
        transmit(tcp);
    watch(tcp);
}

static void on_limit(void *arg)
{
    struct fab_tcp *tcp = arg;
    end(tcp, tcp->state == CONNECTING ? FAB_TCP_TIMEOUT : tcp->reason);
}

/* --- life --- */

/* Wrap a non-blocking descriptor, which is taken (closed on failure). */
static enum fab_rc wrap(struct fab_loop *loop, int fd, enum state state, struct fab_tcp **out)
{
    struct fab_tcp *tcp = calloc(1, sizeof *tcp);
    int on = 1, idle = 60, interval = 15, count = 4;
    if (!tcp || uv_poll_init(&loop->uv, &tcp->poll, fd) != 0) {
        enum fab_rc rc = tcp ? FAB_EIO : FAB_ENOMEM;
        free(tcp);
        close(fd);
        return rc;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    loop->open++;
    tcp->poll.data = tcp;
    tcp->loop = loop;
    tcp->fd = fd;
    tcp->state = state;
    tcp->turn.run = on_turn;
    fab_timer_init(&tcp->limit, loop, on_limit, tcp);
    *out = tcp;
    return FAB_OK;
}

enum fab_rc fab_tcp_connect(struct fab_loop *loop, const struct fab_address *to,
                            uint64_t timeout_us, const struct fab_tcp_ops *ops, void *arg,
                            struct fab_tcp **out)
{
    if (fab_address_len(to) == 0)
        return FAB_EINVAL;
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return FAB_EIO;
    struct fab_tcp *tcp;
    FAB_TRY(wrap(loop, fd, CONNECTING, &tcp));
    tcp->ops = ops;
    tcp->arg = arg;
    tcp->peer = *to;
    fab_timer_start(&tcp->limit, fab_loop_now_us() + timeout_us);
    if (connect(fd, &to->any, fab_address_len(to)) != 0 && errno != EINPROGRESS && errno != EINTR)
        end(tcp, reason_of(errno));
    watch(tcp);
    *out = tcp;
    return FAB_OK;
}

enum fab_rc fab_tcp_accepted(struct fab_loop *loop, int fd, const struct fab_address *peer,
                             struct fab_tcp **out)
{
    FAB_TRY(wrap(loop, fd, ACCEPTED, out));
    (*out)->peer = *peer;
    return FAB_OK;
}

void fab_tcp_start(struct fab_tcp *tcp, const struct fab_tcp_ops *ops, void *arg)
{
    if (tcp->state != ACCEPTED)
        return;
    tcp->ops = ops;
    tcp->arg = arg;
    begin_open(tcp);
    watch(tcp);
}

void fab_tcp_wake(struct fab_tcp *tcp)
{
    if (tcp->state == ENDED || tcp->shut)
        return;
    tcp->wanted = true;
    if (!tcp->pending && (tcp->state == OPEN || tcp->state == FINISHING))
        fab_loop_defer(tcp->loop, &tcp->turn);
}

void fab_tcp_pause(struct fab_tcp *tcp)
{
    tcp->paused = true;
    watch(tcp);
}

void fab_tcp_resume(struct fab_tcp *tcp)
{
    tcp->paused = false;
    watch(tcp);
}

void fab_tcp_close(struct fab_tcp *tcp)
{
    end(tcp, FAB_TCP_CLOSED);
}

void fab_tcp_finish(struct fab_tcp *tcp)
{
    if (tcp->state == OPEN) {
        begin_finish(tcp, FAB_TCP_CLOSED);
        tcp->paused = false;
        watch(tcp);
    } else if (tcp->state != FINISHING) {
        end(tcp, FAB_TCP_CLOSED);
    }
}

const struct fab_address *fab_tcp_local(const struct fab_tcp *tcp)
{
    return &tcp->local;
}

const struct fab_address *fab_tcp_peer(const struct fab_tcp *tcp)
{
    return &tcp->peer;
}

uint64_t fab_tcp_received(const struct fab_tcp *tcp)
{
    return tcp->received;
}

uint64_t fab_tcp_sent(const struct fab_tcp *tcp)
{
    return tcp->sent;
}
