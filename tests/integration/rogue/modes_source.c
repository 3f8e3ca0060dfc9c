/* Against a fetch of the node's: it asks us for a block, and what we answer is of no use. The node
 * drops the bytes, gives the stream up in time, and keeps the connection. */
#include "tests/integration/rogue/modes.h"

#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/dagsync_message.h"
#include "storage/multiformats/varint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_MS  45000.0
#define BLOCK    100000u
#define TRICKLED 4096u

enum way { WRONG, STALL, TRICKLE, FLOOD };

static struct peer p;
static struct {
    enum way way;
    const struct fab_cid *cid;
    unsigned asked;    /* times */
    struct stream *to; /* where the answer goes */
    double asked_ms;
} state;

static void put_block(struct fab_buf *out, bool dagsync, const struct fab_cid *cid)
{
    uint8_t *bytes = calloc(1, BLOCK);
    if (!bytes)
        broken("out of memory");
    struct fab_dagsync_message m = {
        .type = FAB_DAGSYNC_BLOCK, .cid = *cid, .bytes = fab_slice(bytes, BLOCK)};
    if (dagsync) {
        must(fab_dagsync_append(out, &m));
    } else {
        struct fab_bitswap_writer writer;
        struct fab_slice message;
        must(fab_bitswap_writer_begin(&writer, out));
        must(fab_bitswap_writer_block(&writer, cid, m.bytes));
        fab_bitswap_writer_end(&writer, &message);
        memmove(out->data, message.p, message.n);
        out->len = message.n;
    }
    free(bytes);
}

static void answer(struct stream *s, bool dagsync)
{
    struct fab_buf out;
    fab_buf_init(&out, 8u << 20);
    put_block(&out, dagsync, state.cid);
    if (state.way == WRONG)
        peer_say(&p, s, out.data, out.len);
    for (int i = 0; state.way == FLOOD && i < 1000 && !s->reset && !p.w.ended; i++)
        if (!peer_say(&p, s, out.data, out.len))
            break;
    for (uint32_t i = 0; state.way == TRICKLE && i < 40 && !s->reset && !p.w.ended; i++) {
        peer_say(&p, s, out.data + i, 1);
        peer_pump(&p, 1000, NULL, NULL);
    }
    fab_buf_fini(&out);
}

/* Whether a message of the node's wants the block. */
static bool wants(const struct stream *s)
{
    uint8_t cid[FAB_CID_MAX];
    size_t n = fab_cid_bytes(state.cid, cid);
    return s->in.len >= n && memmem(s->in.data, s->in.len, cid, n) != NULL;
}

static void on_stream(struct peer *peer, struct stream *s)
{
    (void)peer;
    if (s->ours || s->reset || state.to || !wants(s))
        return;
    state.asked++;
    state.to = s;
    if (state.asked_ms == 0)
        state.asked_ms = now_ms();
    fab_buf_reset(&s->in);
}

static bool asked(struct peer *peer, void *arg)
{
    (void)peer;
    (void)arg;
    return state.to != NULL;
}

/* Answer whatever the node asks, for as long as it asks. */
static bool serve(const struct target *t, const struct fab_cid *cid, enum way way,
                  const char *protocol)
{
    bool dagsync = strcmp(protocol, FAB_DAGSYNC_PROTOCOL) == 0, dropped = false;
    double start = now_ms();
    state.way = way;
    state.cid = cid;
    p.speaks[0] = protocol;
    p.on_stream = on_stream;
    connect_or_end(&p, t);
    while (now_ms() - start < LAST_MS && !p.w.ended) {
        if (peer_pump(&p, 1000, asked, NULL) != 1) {
            if (state.asked && now_ms() - state.asked_ms > 12000)
                break;
            continue;
        }
        struct stream *s = state.to;
        answer(dagsync || way == STALL ? s : peer_open(&p, protocol, NULL, 0, false), dagsync);
        dropped |= s->reset;
        state.to = NULL;
    }
    for (size_t i = 0; i < STREAMS_MAX; i++)
        dropped |= p.streams[i].id && p.streams[i].reset;
    printf("asked %u times, %s, ", state.asked, dropped ? "stream reset" : "stream kept");
    return lives(&p, "") && state.asked > 0 && (dropped || !dagsync);
}

#define WAY(name, way, protocol)                                                                   \
    static bool name(const struct target *t, const struct fab_cid *cid)                            \
    {                                                                                              \
        return serve(t, cid, way, protocol);                                                       \
    }

WAY(dagsync_wrong, WRONG, FAB_DAGSYNC_PROTOCOL)
WAY(dagsync_stall, STALL, FAB_DAGSYNC_PROTOCOL)
WAY(dagsync_trickle, TRICKLE, FAB_DAGSYNC_PROTOCOL)
WAY(dagsync_flood, FLOOD, FAB_DAGSYNC_PROTOCOL)
WAY(bitswap_wrong, WRONG, FAB_BITSWAP_PROTOCOL)
WAY(bitswap_stall, STALL, FAB_BITSWAP_PROTOCOL)
WAY(bitswap_trickle, TRICKLE, FAB_BITSWAP_PROTOCOL)
WAY(bitswap_flood, FLOOD, FAB_BITSWAP_PROTOCOL)

const struct mode source_modes[] = {
    {"source-dagsync-wrong", dagsync_wrong},
    {"source-dagsync-stall", dagsync_stall},
    {"source-dagsync-trickle", dagsync_trickle},
    {"source-dagsync-flood", dagsync_flood},
    {"source-bitswap-wrong", bitswap_wrong},
    {"source-bitswap-stall", bitswap_stall},
    {"source-bitswap-trickle", bitswap_trickle},
    {"source-bitswap-flood", bitswap_flood},
    {NULL, NULL},
};
