#include "tests/integration/rogue/peer.h"

#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/dagsync_message.h"
#include "fabric/swarm/identify.h"
#include "fabric/swarm/multistream.h"
#include "fabric/swarm/yamux.h"
#include "storage/multiformats/varint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_MAX (64u << 20)

bool peer_connect(struct peer *p, const struct target *t)
{
    p->next_id = 1;
    return wire_open(&p->w, t) && wire_greet(&p->w) && wire_secure(&p->w);
}

void stream_forget(struct stream *s)
{
    fab_buf_fini(&s->in);
    memset(s, 0, sizeof *s);
}

void peer_close(struct peer *p)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (p->streams[i].id)
            stream_forget(&p->streams[i]);
    wire_close(&p->w);
}

static struct stream *find(struct peer *p, uint32_t id)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (p->streams[i].id == id)
            return &p->streams[i];
    return NULL;
}

static struct stream *add(struct peer *p, uint32_t id, bool ours)
{
    struct stream *s = find(p, 0);
    if (!s)
        return NULL;
    s->id = id;
    s->ours = ours;
    s->window = FAB_YAMUX_WINDOW_INITIAL;
    fab_buf_init(&s->in, STREAM_MAX);
    return s;
}

void hello_put(struct fab_buf *b, const char *protocol)
{
    must(fab_buf_append(b, FAB_MULTISTREAM_HEADER, FAB_MULTISTREAM_HEADER_SIZE));
    must(fab_buf_byte(b, (uint8_t)(strlen(protocol) + 1)));
    must(fab_buf_append(b, protocol, strlen(protocol)));
    must(fab_buf_byte(b, '\n'));
}

struct stream *peer_open(struct peer *p, const char *protocol, const void *bytes, size_t n,
                         bool fin)
{
    struct stream *s = add(p, p->next_id, true);
    struct fab_buf out;
    if (!s)
        broken("too many streams");
    p->next_id += 2;
    snprintf(s->name, sizeof s->name, "%s", protocol);
    fab_buf_init(&out, STREAM_MAX);
    hello_put(&out, protocol);
    if (n > 0)
        must(fab_buf_append(&out, bytes, n));
    wire_put_frame(&p->w, DATA, SYN | (fin ? FIN : 0), s->id, (uint32_t)out.len, out.data, out.len);
    s->window -= (int64_t)out.len;
    fab_buf_fini(&out);
    return s;
}

static bool may_send(struct peer *p, void *arg)
{
    struct stream *s = arg;
    (void)p;
    return s->window > 0 || s->reset;
}

bool peer_say(struct peer *p, struct stream *s, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    while (n > 0) {
        if (peer_pump(p, 10000, may_send, s) != 1 || s->reset)
            return false;
        size_t part = n < 65536 ? n : 65536;
        if ((int64_t)part > s->window)
            part = (size_t)s->window;
        if (!wire_put_frame(&p->w, DATA, 0, s->id, (uint32_t)part, at, part))
            return false;
        s->window -= (int64_t)part;
        at += part;
        n -= part;
    }
    return true;
}

/* ---- what the node opens ---- */

static void tell_identity(struct peer *p, struct stream *s)
{
    struct fab_identify id = {.public_key = fab_key_public_proto(p->w.identity),
                              .agent_version = fab_slice("rogue", 5)};
    struct fab_buf out;
    fab_buf_init(&out, 1u << 20);
    for (size_t i = 0; i < 8 && p->speaks[i]; i++)
        id.protocols[id.n_protocols++] = fab_slice(p->speaks[i], strlen(p->speaks[i]));
    for (unsigned i = 0; i == 0 || i < p->identifies; i++)
        must(fab_identify_write(&id, &out));
    wire_put_frame(&p->w, DATA, FIN, s->id, (uint32_t)out.len, out.data, out.len);
    fab_buf_fini(&out);
}

static bool serves(const struct peer *p, const char *name)
{
    for (size_t i = 0; i < 8 && p->speaks[i]; i++)
        if (strcmp(p->speaks[i], name) == 0)
            return true;
    return strcmp(name, FAB_IDENTIFY_PROTOCOL) == 0 || strcmp(name, FAB_BITSWAP_PROTOCOL) == 0;
}

/* Header and protocol name from the front of `in`; the name is then agreed on. */
static void negotiate(struct peer *p, struct stream *s)
{
    struct fab_buf *in = &s->in, out;
    if (in->len < FAB_MULTISTREAM_HEADER_SIZE + 1u)
        return;
    size_t n = in->data[FAB_MULTISTREAM_HEADER_SIZE], from = FAB_MULTISTREAM_HEADER_SIZE + 1;
    if (in->len < from + n || n < 2 || n >= sizeof s->name)
        return;
    if (!s->ours)
        snprintf(s->name, sizeof s->name, "%.*s", (int)n - 1, (const char *)in->data + from);
    bool same = strlen(s->name) == n - 1 && memcmp(s->name, in->data + from, n - 1) == 0;
    memmove(in->data, in->data + from + n, in->len - from - n);
    in->len -= from + n;
    s->agreed = true;
    if (s->ours) {
        s->reset |= !same; /* na */
        return;
    }
    if (!serves(p, s->name)) {
        wire_put_frame(&p->w, WINDOW, RST, s->id, 0x1001, NULL, 0);
        stream_forget(s);
        return;
    }
    fab_buf_init(&out, 256);
    hello_put(&out, s->name);
    wire_put_frame(&p->w, DATA, ACK, s->id, (uint32_t)out.len, out.data, out.len);
    fab_buf_fini(&out);
    if (strcmp(s->name, FAB_IDENTIFY_PROTOCOL) == 0) {
        tell_identity(p, s);
        stream_forget(s);
    }
}

static void stream_frame(struct peer *p, const struct frame *f)
{
    struct stream *s = find(p, f->id);
    if ((f->flags & SYN) && !s)
        s = add(p, f->id, false);
    if (f->flags & RST)
        p->resets++;
    if (!s)
        return;
    if (f->flags & RST) {
        s->reset = true;
        s->code = f->length;
    }
    if (f->type == WINDOW && !(f->flags & RST))
        s->window += f->length;
    if (f->type == DATA && f->length > 0) {
        must(fab_buf_append(&s->in, f->data, f->length));
        if (!p->greedy)
            wire_put_frame(&p->w, WINDOW, 0, f->id, f->length, NULL, 0);
    }
    s->ended |= (f->flags & FIN) != 0;
    if (!s->agreed)
        negotiate(p, s);
    if (s->id && (s->agreed || s->reset) && p->on_stream)
        p->on_stream(p, s);
}

int peer_pump(struct peer *p, double timeout_ms, bool (*done)(struct peer *p, void *arg), void *arg)
{
    double until = now_ms() + timeout_ms;
    for (;;) {
        struct frame f;
        if (done && done(p, arg))
            return 1;
        double left = until - now_ms();
        int rc = wire_frame(&p->w, &f, left > 0 ? left : 0);
        if (rc != 1)
            return rc;
        p->frames++;
        if (f.type == PING && (f.flags & SYN))
            wire_put_frame(&p->w, PING, ACK, 0, f.length, NULL, 0);
        else if (f.type == PING)
            p->pongs++;
        else if (f.type == DATA || f.type == WINDOW)
            stream_frame(p, &f);
    }
}

static bool ponged(struct peer *p, void *arg)
{
    return p->pongs > *(uint64_t *)arg;
}

double peer_alive(struct peer *p)
{
    uint64_t before = p->pongs;
    double start = now_ms();
    if (!wire_put_frame(&p->w, PING, SYN, 0, 7, NULL, 0) ||
        peer_pump(p, 5000, ponged, &before) != 1)
        return -1;
    return now_ms() - start;
}

/* ---- asking ---- */

struct asked {
    const struct fab_cid *cid;
    struct stream *stream;
    int result; /* 0 waiting, 1 has come, -1 reset, -2 the node has it not */
};

/* Whole messages at the front of a stream of dagsync. */
static bool dagsync_done(struct peer *p, void *arg)
{
    struct asked *asked = arg;
    (void)p;
    struct fab_reader r = fab_reader(fab_buf_slice(&asked->stream->in));
    struct fab_dagsync_message m;
    struct fab_slice body;
    uint64_t n;
    if (asked->stream->reset)
        asked->result = -1;
    if (!asked->stream->agreed)
        return asked->result != 0;
    while (asked->result == 0 && fab_varint_read(&r, &n) == FAB_OK &&
           fab_read_bytes(&r, n, &body) == FAB_OK) {
        if (fab_dagsync_decode(body, true, &m) != FAB_OK)
            broken("the node's dagsync message does not decode");
        if (m.type == FAB_DAGSYNC_BLOCK && fab_cid_eq(&m.cid, asked->cid))
            asked->result = fab_cid_check(&m.cid, m.bytes) == FAB_OK ? 1 : -1;
        else if (m.type == FAB_DAGSYNC_MISSING || m.type == FAB_DAGSYNC_ERROR)
            asked->result = -2;
    }
    return asked->result != 0;
}

static double answer(struct peer *p, struct asked *asked, double start, double timeout_ms,
                     bool (*done)(struct peer *p, void *arg))
{
    double took = -1;
    if (peer_pump(p, timeout_ms, done, asked) == 1)
        took = asked->result == 1 ? now_ms() - start : asked->result;
    wire_put_frame(&p->w, WINDOW, RST, asked->stream->id, 0, NULL, 0);
    stream_forget(asked->stream);
    return took;
}

double ask_dagsync(struct peer *p, const struct fab_cid *cid, double timeout_ms)
{
    struct fab_dagsync_item item = {.cid = *cid, .scope = FAB_DAGSYNC_ROOT};
    struct fab_buf items, out;
    double start = now_ms();
    fab_buf_init(&items, 4096);
    fab_buf_init(&out, 4096);
    must(fab_dagsync_item_append(&items, &item));
    must(fab_dagsync_append(
        &out, &(struct fab_dagsync_message){.type = FAB_DAGSYNC_CREDIT, .number = 8u << 20}));
    must(fab_dagsync_append(&out, &(struct fab_dagsync_message){.type = FAB_DAGSYNC_REQUEST,
                                                                .bytes = fab_buf_slice(&items)}));
    struct asked asked = {.cid = cid,
                          .stream = peer_open(p, FAB_DAGSYNC_PROTOCOL, out.data, out.len, false)};
    fab_buf_fini(&items);
    fab_buf_fini(&out);
    return answer(p, &asked, start, timeout_ms, dagsync_done);
}

/* The answer comes on a stream of the node's. */
static bool bitswap_done(struct peer *p, void *arg)
{
    struct asked *asked = arg;
    if (asked->stream->reset)
        asked->result = -1;
    for (size_t i = 0; i < STREAMS_MAX && asked->result == 0; i++) {
        struct stream *s = &p->streams[i];
        if (!s->id || s->ours || !s->agreed || strcmp(s->name, FAB_BITSWAP_PROTOCOL) != 0)
            continue;
        struct fab_reader r = fab_reader(fab_buf_slice(&s->in));
        struct fab_slice message;
        uint64_t n;
        while (fab_varint_read(&r, &n) == FAB_OK && fab_read_bytes(&r, n, &message) == FAB_OK) {
            struct fab_bitswap_iter it;
            struct fab_bitswap_item item;
            struct fab_cid cid;
            fab_bitswap_iter_init(&it, message);
            while (fab_bitswap_iter_next(&it, &item) == FAB_OK) {
                if (item.kind == FAB_BITSWAP_BLOCK &&
                    fab_bitswap_prefix_cid(&item.prefix, item.data, &cid) == FAB_OK &&
                    fab_cid_eq(&cid, asked->cid))
                    asked->result = 1;
                else if (item.kind == FAB_BITSWAP_HAVE && fab_cid_eq(&item.cid, asked->cid))
                    asked->result = 1;
                else if (item.kind == FAB_BITSWAP_DONT_HAVE && fab_cid_eq(&item.cid, asked->cid))
                    asked->result = -2;
            }
        }
        if (s->ended) { /* one message is one stream; the next answer needs the slot */
            wire_put_frame(&p->w, WINDOW, FIN, s->id, 0, NULL, 0);
            stream_forget(s);
        }
    }
    return asked->result != 0;
}

double ask_bitswap(struct peer *p, const struct fab_cid *cid, double timeout_ms)
{
    struct fab_buf entries, out;
    double start = now_ms();
    fab_buf_init(&entries, 4096);
    fab_buf_init(&out, 4096);
    must(fab_bitswap_entry_append(&entries, FAB_BITSWAP_WANT_BLOCK, cid, 1, true));
    must(fab_bitswap_write_wants(&out, fab_buf_slice(&entries), false));
    struct asked asked = {.cid = cid,
                          .stream = peer_open(p, FAB_BITSWAP_PROTOCOL, out.data, out.len, false)};
    fab_buf_fini(&entries);
    fab_buf_fini(&out);
    return answer(p, &asked, start, timeout_ms, bitswap_done);
}
