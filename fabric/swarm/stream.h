/* A stream: one negotiated protocol inside a connection, and the table by which its owner is told.
 *
 * Bytes are pulled and pushed, never queued here: `input` gets them as they arrive, `output` is
 * asked for more when the connection can send. Every function here may be called from inside any
 * event. All of it runs on the thread that drives the connection. */
#ifndef FAB_SWARM_STREAM_H
#define FAB_SWARM_STREAM_H

#include "fabric/identity/key.h"
#include "storage/base/bytes.h"

struct fab_conn;
struct fab_stream;

/* Reset codes (go-yamux). */
#define FAB_STREAM_CANCELLED   0u
#define FAB_STREAM_NEGOTIATION 0x1001u
#define FAB_STREAM_RESOURCE    0x1002u

struct fab_stream_events {
    /* `n` more bytes, borrowed during the call. They count against the receive window until
     * fab_stream_consumed. */
    void (*input)(void *user, struct fab_stream *stream, const uint8_t *p, size_t n);
    /* The other side has ended its half; nothing more comes. May be NULL. */
    void (*end)(void *user, struct fab_stream *stream);
    /* Write up to `cap` bytes to `p` and give their number; 0 when there is nothing: then it is not
     * asked again before fab_stream_wake. *fin = true: after these our half ends. */
    size_t (*output)(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin);
    /* The last event, exactly once: the stream is gone after it. FAB_OK when both halves ended;
     * FAB_EUNSUPPORTED when the other side speaks none of the protocols; FAB_EINTERRUPTED when it
     * was reset, by either side, or the connection ended. */
    void (*closed)(void *user, struct fab_stream *stream, enum fab_rc why);
};

/* A protocol that others may open to us. */
struct fab_protocol {
    const char *name;
    void *ctx;
    const struct fab_stream_events *events;
    /* A stream was opened and agreed on; *user goes to the events. Another code than FAB_OK resets
     * it, and no event follows. */
    enum fab_rc (*accept)(void *ctx, struct fab_stream *stream, void **user);
};

/* There is something to send. */
void fab_stream_wake(struct fab_stream *stream);
/* `n` bytes of input are dealt with: the sender may send as many more. */
void fab_stream_consumed(struct fab_stream *stream, size_t n);
/* End both halves at once; `closed` follows, during this call or soon after. */
void fab_stream_reset(struct fab_stream *stream, uint32_t code);
struct fab_conn *fab_stream_conn(struct fab_stream *stream);

#endif
