/* TCP: listeners and connections.
 *
 * Reading hands bytes in a buffer that all connections of the loop share; writing asks for bytes
 * into another shared one. A connection that is idle holds no buffer, one whose peer is slow holds
 * at most FAB_TCP_CHUNK bytes. TCP_NODELAY and keepalive are on.
 *
 *   fab_tcp_connect ──▶ opened ──▶ input*, output* ──▶ closed
 *   accept ──▶ fab_tcp_start  ──▶ input*, output* ──▶ closed
 *
 * closed comes exactly once: after fab_tcp_close, when the peer has ended or reset, when a connect
 * failed. Nothing is called after it, and the connection's memory is gone when it returns. */
#ifndef FAB_LOOP_TCP_H
#define FAB_LOOP_TCP_H

#include "fabric/loop/address.h"
#include "fabric/loop/loop.h"

#include <stddef.h>

#define FAB_TCP_CHUNK (256u << 10) /* bytes of each shared buffer */
#define FAB_TCP_TURN  (1u << 20)   /* bytes moved for one connection before others get their turn */

struct fab_tcp;

enum fab_tcp_reason {
    FAB_TCP_CLOSED,  /* fab_tcp_close or fab_tcp_finish, on this side */
    FAB_TCP_EOF,     /* the peer ended its side */
    FAB_TCP_RESET,   /* the peer, or the network, broke it */
    FAB_TCP_REFUSED, /* connect: nobody listens there */
    FAB_TCP_TIMEOUT, /* connect: no answer in time; later: what was sent is not acknowledged */
    FAB_TCP_FAILED,  /* no route, no memory, no descriptor, anything else */
};

/* A short English phrase, static. */
const char *fab_tcp_reason_text(enum fab_tcp_reason reason);

struct fab_tcp_ops {
    /* A connect has succeeded. May be NULL. */
    void (*opened)(void *arg);
    /* Received bytes, 1 to FAB_TCP_CHUNK: to be used, and changed in place, during the call only.
     */
    void (*input)(void *arg, uint8_t *p, size_t n);
    /* Fill `p` with up to `cap` bytes to send, at most FAB_TCP_CHUNK, and return how many. 0:
     * nothing now; it is not called again before fab_tcp_wake. `p` is shared: valid during the
     * call only. */
    size_t (*output)(void *arg, uint8_t *p, size_t cap);
    /* The end. `arg` may be freed here. */
    void (*closed)(void *arg, enum fab_tcp_reason reason);
};

/* Connect. `ops` must live as long as the connection. The connection belongs to the loop; *out
 * is valid until closed returns. `timeout_us` bounds the handshake. The errors are FAB_ENOMEM,
 * FAB_EINVAL (an address of no known family) and FAB_EIO (no descriptor): then no callback runs.
 */
FAB_MUST enum fab_rc fab_tcp_connect(struct fab_loop *loop, const struct fab_address *to,
                                     uint64_t timeout_us, const struct fab_tcp_ops *ops, void *arg,
                                     struct fab_tcp **out);

/* Take an accepted connection: reading begins, output is asked once. */
void fab_tcp_start(struct fab_tcp *tcp, const struct fab_tcp_ops *ops, void *arg);

/* There may be something to send: output is called in the next turn. Cheap and idempotent;
 * allowed before opened (it then waits) and after close (nothing happens). */
void fab_tcp_wake(struct fab_tcp *tcp);

/* No input until resume: the peer feels the backpressure. Allowed inside input: it is the last one
 * then. While paused with nothing to send, neither the peer's end nor a reset is seen. Idempotent.
 */
void fab_tcp_pause(struct fab_tcp *tcp);
void fab_tcp_resume(struct fab_tcp *tcp);

/* End it now: what is not sent is lost, no more input or output; closed(FAB_TCP_CLOSED) comes in a
 * later turn. Idempotent. Allowed in every callback but closed. An accepted connection that was
 * not started goes without a callback. */
void fab_tcp_close(struct fab_tcp *tcp);

/* As fab_tcp_close, after everything that output still gives has been handed to the kernel, or 10
 * seconds. No more input. The same happens by itself when the peer ends (FAB_TCP_EOF). */
void fab_tcp_finish(struct fab_tcp *tcp);

/* Valid from opened or start on. */
const struct fab_address *fab_tcp_local(const struct fab_tcp *tcp);
const struct fab_address *fab_tcp_peer(const struct fab_tcp *tcp);
/* Bytes received from and accepted by the kernel so far. */
uint64_t fab_tcp_received(const struct fab_tcp *tcp);
uint64_t fab_tcp_sent(const struct fab_tcp *tcp);

struct fab_listener;

/* A new connection: call fab_tcp_start or fab_tcp_close on it before returning. */
typedef void fab_accept_fn(void *arg, struct fab_tcp *tcp);

/* Listen on `at`; port 0 lets the kernel choose. An IPv6 listener takes IPv6 only. FAB_EBUSY when
 * the port is taken, FAB_EACCES, FAB_EIO, FAB_ENOMEM. When descriptors run out, accepting rests for
 * 100 ms. */
FAB_MUST enum fab_rc fab_listener_new(struct fab_loop *loop, const struct fab_address *at,
                                      fab_accept_fn *accept, void *arg, struct fab_listener **out,
                                      struct fab_err *err);
/* With the port that the kernel chose. */
const struct fab_address *fab_listener_address(const struct fab_listener *listener);
/* No accept after this; the connections live on. NULL is allowed. */
void fab_listener_close(struct fab_listener *listener);

#endif
