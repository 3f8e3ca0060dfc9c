/* yamux, /yamux/1.0.0 (libp2p/specs yamux/README.md): many streams over one ordered connection.
 *
 * A core without I/O and without payload buffers. Received payload is handed on in pieces as it
 * arrives; payload to be sent is pulled from its owner while a frame is written. What a session
 * keeps is its streams (about 150 bytes each) and short, bounded queues of control frames.
 *
 *   connection bytes -> fab_yamux_input  -> incoming, data, end, reset, closed
 *   connection bytes <- fab_yamux_output <- pull, closed
 *   time             -> fab_yamux_tick
 *
 * Frame: version 0, type (1 byte: 0 Data, 1 WindowUpdate, 2 Ping, 3 GoAway), flags (2 bytes: SYN 1,
 * ACK 2, FIN 4, RST 8), stream (4 bytes), length (4 bytes), big endian; then, for Data, `length`
 * bytes of payload. The dialler's streams are odd, the listener's even.
 *
 * Windows. Each stream starts with 256 KiB each way, as the specification fixes. The window that we
 * offer doubles when half of it was consumed in less than four round trips, up to
 * `stream_window_max`, as long as the budgets last; a refused growth only costs speed. A peer is
 * told of freed window when half of it is free. Backpressure is not calling
 * fab_yamux_stream_consumed; an owner that needs more bytes than half a window before it can go on
 * must take them over and consume them, or it waits for ever.
 *
 * Ending. A remote that breaks the protocol, floods, or is silent for 40 s ends the session: the
 * call returns the error, every stream has got `reset` (FAB_YAMUX_SESSION_ENDED) and `closed`, a
 * GoAway is queued; the caller writes what fab_yamux_output still gives and closes the connection.
 * A GoAway 0 from the remote only stops new streams; the existing ones finish (Go ends the session
 * at once, which would lose answers on their way). Session-ending: wrong version or type, SYN of
 * the wrong parity or for a live stream, payload beyond the window, a Data frame longer than
 * `stream_window_max`, more than FAB_YAMUX_PONGS_MAX pongs or FAB_YAMUX_REFUSALS_MAX refusals that
 * we could not send yet. Not session-ending: frames for a stream that is unknown or gone are
 * swallowed, unasked pongs and unknown flags ignored.
 *
 * Re-entrancy. Events run only inside fab_yamux_input, _output, _tick and _free, on the caller's
 * thread. Every call may be made inside every event, with these effects: fab_yamux_input gives
 * FAB_EBUSY; fab_yamux_output inside `pull` gives 0; fab_yamux_free takes effect when the outermost
 * call is left: that then returns FAB_EINTERRUPTED (fab_yamux_output: 0), and y is gone.
 * A stream lives until its `closed` event has returned, and `closed` runs when the outermost call
 * is about to go on or to return, never inside a call on the stream itself. So a stream that was
 * reset inside its own `data` is valid until that callback returns.
 *
 * Time is monotonic microseconds. One thread. */
#ifndef FAB_SWARM_YAMUX_H
#define FAB_SWARM_YAMUX_H

#include "storage/base/bytes.h"

#define FAB_YAMUX_PROTOCOL       "/yamux/1.0.0"
#define FAB_YAMUX_HEADER         12                         /* bytes */
#define FAB_YAMUX_FRAME_MAX      (65536 - FAB_YAMUX_HEADER) /* payload bytes that we send in one */
#define FAB_YAMUX_WINDOW_INITIAL 262144u
#define FAB_YAMUX_BACKLOG        256  /* own streams that the remote has not acknowledged */
#define FAB_YAMUX_PONGS_MAX      32   /* unsent answers to pings */
#define FAB_YAMUX_REFUSALS_MAX   1024 /* unsent resets of refused streams */

/* Codes of resets (libp2p error codes). */
#define FAB_YAMUX_NO_ERROR           0x0u
#define FAB_YAMUX_NEGOTIATION_FAILED 0x1001u
#define FAB_YAMUX_RESOURCE_LIMIT     0x1002u
#define FAB_YAMUX_SESSION_ENDED      0xffffffffu /* never on the wire: the session is over */

/* Codes of GoAway. */
#define FAB_YAMUX_AWAY_NORMAL   0u
#define FAB_YAMUX_AWAY_PROTOCOL 1u
#define FAB_YAMUX_AWAY_INTERNAL 2u

struct fab_yamux;
struct fab_yamux_stream;

/* Grown receive windows of several sessions together; both in bytes. The owner sets `max`, keeps it
 * alive longer than every session that uses it, and finds `used` at 0 when all are gone. */
struct fab_yamux_budget {
    uint64_t used, max;
};

/* A member that is 0 takes the default in brackets. Copied. */
struct fab_yamux_config {
    bool dialler;          /* we opened the connection: our streams are odd */
    uint32_t inbound_max;  /* streams opened by the remote at a time [1024] */
    uint32_t outbound_max; /* streams opened by us at a time [4096] */
    uint32_t
        stream_window_max; /* bytes, at least FAB_YAMUX_WINDOW_INITIAL, at most 1 GiB [16 MiB] */
    uint64_t session_grown_max; /* bytes of window beyond the initial ones, all streams [64 MiB] */
    struct fab_yamux_budget *shared; /* the same for several sessions; NULL: none */
    uint64_t hash_seed;              /* random, so that a peer cannot choose colliding ids */
};

/* What a session tells its owner. All are required. `ctx` goes back unchanged. Pointers to bytes
 * are valid during the callback. */
struct fab_yamux_events {
    void *ctx;
    /* The remote opened `s`. Anything but FAB_OK refuses it with FAB_YAMUX_RESOURCE_LIMIT, and no
     * further event follows for it. Runs before any byte of the stream. */
    enum fab_rc (*incoming)(void *ctx, struct fab_yamux_stream *s);
    /* n > 0 received bytes; give them back by fab_yamux_stream_consumed, now or later. */
    void (*data)(void *ctx, struct fab_yamux_stream *s, const uint8_t *p, size_t n);
    /* The remote sends nothing more. At most once; not after `reset`. */
    void (*end)(void *ctx, struct fab_yamux_stream *s);
    /* The remote reset the stream, or the session ended (FAB_YAMUX_SESSION_ENDED). Neither pull
     * nor data nor end follow. Not after our own reset. */
    void (*reset)(void *ctx, struct fab_yamux_stream *s, uint32_t code);
    /* Write up to `cap` (> 0) bytes of payload to `p` and return how many. 0 without *fin: nothing
     * now, `pull` runs again after fab_yamux_stream_wake. *fin (false on entry) = true: nothing
     * will ever follow these bytes; our side is then half-closed. */
    size_t (*pull)(void *ctx, struct fab_yamux_stream *s, uint8_t *p, size_t cap, bool *fin);
    /* The last event of every stream that was accepted or opened: both sides have ended, or a
     * reset was received or sent. `s` is freed when it returns. */
    void (*closed)(void *ctx, struct fab_yamux_stream *s);
};

/* A session at its start; a first ping, for the round-trip time, is queued. FAB_EINVAL for a
 * configuration out of bounds or a missing event, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_yamux_new(const struct fab_yamux_config *config,
                                   const struct fab_yamux_events *events, uint64_t now_us,
                                   struct fab_yamux **out);
/* Ends every stream (`reset`, unless it already ended so, and `closed`), then frees. Takes NULL. */
void fab_yamux_free(struct fab_yamux *y);

/* Bytes from the connection, split anywhere. FAB_EFORMAT: the remote broke the protocol.
 * FAB_ELIMIT: it flooded. FAB_EINTERRUPTED: it ended the session by a GoAway other than 0 (or y was
 * freed inside an event). FAB_ENOMEM: out of memory for the session's own table. All of these end
 * the session, and are returned again by later calls. FAB_EBUSY: called inside an event; nothing
 * was taken. */
FAB_MUST enum fab_rc fab_yamux_input(struct fab_yamux *y, const uint8_t *p, size_t n,
                                     uint64_t now_us);

/* Write whole frames to `p`, at most `cap` bytes, and return how many bytes; 0: nothing to send (or
 * cap < FAB_YAMUX_HEADER). Control frames first, then Data: streams in turn, fair by bytes, frames
 * of at most FAB_YAMUX_FRAME_MAX bytes of payload, made to fit `cap` and the send window. Data
 * needs cap > FAB_YAMUX_HEADER. Call until 0 or until the connection takes no more. */
size_t fab_yamux_output(struct fab_yamux *y, uint8_t *p, size_t cap, uint64_t now_us);
/* A call of fab_yamux_output is worth while (it may still give 0, when `pull` has nothing). */
bool fab_yamux_wants_output(const struct fab_yamux *y);

/* When fab_yamux_tick is wanted next; UINT64_MAX once the session has ended. */
uint64_t fab_yamux_deadline(const struct fab_yamux *y);
/* Queue a ping every 30 s; FAB_ETIMEOUT ends the session after 40 s without any frame, a ping
 * having waited 10 s. Else FAB_OK, or the error that ended the session before. Call it at or after
 * the deadline; calling it more often does no harm. */
FAB_MUST enum fab_rc fab_yamux_tick(struct fab_yamux *y, uint64_t now_us);

/* Open a stream. It is announced (SYN) by the next output, and `pull` runs after a wake. `user` is
 * what fab_yamux_stream_user gives. FAB_EBUSY: FAB_YAMUX_BACKLOG streams are unacknowledged, try
 * later. FAB_ELIMIT: outbound_max streams, or ids used up. FAB_EINTERRUPTED: the session has ended,
 * or either side said GoAway. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_yamux_open(struct fab_yamux *y, void *user, struct fab_yamux_stream **out);
/* Queue a GoAway with FAB_YAMUX_AWAY_*: streams that the remote opens from now on are refused, ours
 * cannot be opened. Existing streams go on; a Go peer resets them. Once; later calls do nothing. */
void fab_yamux_go_away(struct fab_yamux *y, uint32_t code);
/* The session has ended, or a GoAway was sent or received and no stream is left: time to close. */
bool fab_yamux_over(const struct fab_yamux *y);
/* Either side said GoAway, or the session has ended: fab_yamux_open would refuse. */
bool fab_yamux_leaving(const struct fab_yamux *y);

/* Smoothed round-trip time in microseconds, 0 while unknown. */
uint64_t fab_yamux_rtt_us(const struct fab_yamux *y);
/* Streams whose `closed` has not run, in both directions; and of these the remote's. */
size_t fab_yamux_streams(const struct fab_yamux *y);
size_t fab_yamux_inbound(const struct fab_yamux *y);
/* Bytes of receive window beyond the initial ones. */
uint64_t fab_yamux_grown(const struct fab_yamux *y);

/* All of the following do nothing where the state makes them meaningless (a stream that was reset
 * or has ended), until `closed` has run; after that the pointer is invalid. */

/* There is something to pull. */
void fab_yamux_stream_wake(struct fab_yamux_stream *s);
/* The owner is done with n received bytes (more than were received counts as all of them). */
void fab_yamux_stream_consumed(struct fab_yamux_stream *s, size_t n);
/* Half-close without a `pull` (which waits for the send window): what was pulled so far is all. */
void fab_yamux_stream_finish(struct fab_yamux_stream *s);
/* End both directions at once; the remote is told `code`. Only `closed` follows, after the reset
 * went out. */
void fab_yamux_stream_reset(struct fab_yamux_stream *s, uint32_t code);

void *fab_yamux_stream_user(const struct fab_yamux_stream *s);
void fab_yamux_stream_set_user(struct fab_yamux_stream *s, void *user);
struct fab_yamux *fab_yamux_stream_session(const struct fab_yamux_stream *s);
uint32_t fab_yamux_stream_id(const struct fab_yamux_stream *s);
/* Opened by the remote. */
bool fab_yamux_stream_inbound(const struct fab_yamux_stream *s);
/* The receive window that we offer when all is consumed, and what the remote still lets us send. */
uint32_t fab_yamux_stream_window(const struct fab_yamux_stream *s);
uint64_t fab_yamux_stream_send_window(const struct fab_yamux_stream *s);

#endif
