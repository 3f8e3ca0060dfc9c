/* What the files of the yamux core share; nobody else includes it. */
#ifndef FAB_SWARM_YAMUX_INTERNAL_H
#define FAB_SWARM_YAMUX_INTERNAL_H

#include "fabric/swarm/yamux.h"

enum { TYPE_DATA, TYPE_WINDOW, TYPE_PING, TYPE_GO_AWAY };
enum { FLAG_SYN = 1, FLAG_ACK = 2, FLAG_FIN = 4, FLAG_RST = 8 };

/* A ring with its head in the owner; a link on its own points to itself. */
struct link {
    struct link *prev, *next;
};

static inline void link_init(struct link *l)
{
    l->prev = l->next = l;
}

static inline bool link_alone(const struct link *l)
{
    return l->next == l;
}

static inline void link_remove(struct link *l)
{
    l->prev->next = l->next; /* NOLINT(clang-analyzer-unix.Malloc): unlinked before it is freed */
    l->next->prev = l->prev;
    link_init(l);
}

static inline void link_append(struct link *head, struct link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* The life of a stream. What is due is written by the next output; a stream with anything due is in
 * the session's `control` ring.
 *
 *   open:     SYN_DUE, UNACKED      incoming: INBOUND, ACK_DUE
 *   pull fin: FIN_DUE -> FIN_SENT   remote:   FIN_RECEIVED
 *   both FIN, or a received RST     -> DEAD, in the ring `dying`, until `closed`
 *   our reset: RST_DUE, out of the table: what still arrives is unknown -> (written) DEAD */
enum {
    S_INBOUND = 1 << 0,
    S_SYN_DUE = 1 << 1,
    S_UNACKED = 1 << 2,
    S_ACK_DUE = 1 << 3,
    S_UPDATE_DUE = 1 << 4,
    S_WOKEN = 1 << 5,
    S_FIN_DUE = 1 << 6,
    S_FIN_SENT = 1 << 7,
    S_FIN_RECEIVED = 1 << 8,
    S_RST_DUE = 1 << 9,
    S_DEAD = 1 << 10,
};
#define S_ANY_DUE    (S_SYN_DUE | S_ACK_DUE | S_UPDATE_DUE | S_FIN_DUE | S_RST_DUE)
#define S_GONE       (S_RST_DUE | S_DEAD)
#define S_WRITE_OVER (S_GONE | S_FIN_DUE | S_FIN_SENT)

struct fab_yamux_stream {
    struct fab_yamux *y;
    void *user;
    struct fab_yamux_stream *chain; /* the table's bucket */
    struct link ready;              /* woken, with send window */
    struct link control;            /* something is due; or dying */
    uint64_t send_window;
    uint64_t epoch_us; /* the last window update, or the birth */
    uint32_t id;
    uint32_t flags;       /* S_* */
    uint32_t recv_target; /* the window that we offer when all is consumed */
    uint32_t recv_left;   /* what the remote may still send */
    uint32_t recv_held;   /* announced by Data frames, not consumed; left + held <= target */
    uint32_t reset_code;
    int32_t deficit; /* payload bytes left of its turn */
};

struct fab_yamux {
    struct fab_yamux_config config;
    struct fab_yamux_events events;
    enum fab_rc failed; /* not FAB_OK: the session has ended */
    unsigned depth;     /* calls that are running, each inside an event of the one before */
    bool pulling, doomed;
    bool local_away, remote_away;
    bool go_away_due;
    uint32_t go_away_code;
    uint64_t now_us;

    struct fab_yamux_stream **buckets;
    unsigned bucket_bits;
    size_t in_table, streams, inbound, outbound, unacked;
    uint32_t next_id;
    uint64_t grown;

    struct link ready, control, dying;

    uint8_t head[FAB_YAMUX_HEADER]; /* of the frame that is being received */
    unsigned head_len;
    uint32_t in_left;                   /* its payload to come */
    struct fab_yamux_stream *in_stream; /* whose payload; NULL: swallowed */
    bool in_fin;

    uint32_t pongs[FAB_YAMUX_PONGS_MAX];
    unsigned pong_count;
    uint32_t *refusals; /* FAB_YAMUX_REFUSALS_MAX ids once there was one */
    unsigned refusal_count, refusal_next;

    uint64_t last_frame_us; /* received */
    uint64_t ping_next_us, ping_queued_us, ping_sent_us, rtt_us;
    uint32_t ping_value;
    bool ping_due, ping_waiting; /* to be written; without its answer */
};

/* Around every call that may run events. The outermost yamux_leave runs `closed` for the dead and
 * frees a doomed session: y is not to be used after it. */
void yamux_enter(struct fab_yamux *y, uint64_t now_us);
void yamux_leave(struct fab_yamux *y);
/* `closed` for the dead, if this is the outermost call. */
void yamux_reap(struct fab_yamux *y);
/* End the session and all of its streams, once. */
void yamux_fail(struct fab_yamux *y, enum fab_rc rc, bool say, uint32_t code);

struct fab_yamux_stream *yamux_stream_find(const struct fab_yamux *y, uint32_t id);
/* A stream in the table and in the counts. NULL: out of memory. */
struct fab_yamux_stream *yamux_stream_new(struct fab_yamux *y, uint32_t id, uint32_t flags);
/* Gone at once, from everywhere. */
void yamux_stream_drop(struct fab_yamux_stream *s);
/* Neither sends nor receives any more; `closed` is to run. */
void yamux_stream_die(struct fab_yamux_stream *s);
void yamux_stream_acked(struct fab_yamux_stream *s);
/* Something is due. */
void yamux_stream_due(struct fab_yamux_stream *s, uint32_t flags);
/* In the ready ring or not, as it is woken and has window. */
void yamux_stream_sort(struct fab_yamux_stream *s);
/* Open the receive window again, wider if the epoch was short; the delta to tell. */
uint32_t yamux_stream_reopen(struct fab_yamux_stream *s);

#define YAMUX_STREAM_OF(l, member)                                                                 \
    ((struct fab_yamux_stream *)((char *)(l)-offsetof(struct fab_yamux_stream, member)))

#define YAMUX_QUANTUM 16384 /* payload bytes per turn */

#endif
