/* Against bitswap, dagsync and identify: the stream is reset, and the connection lives. */
#include "tests/integration/rogue/modes.h"

#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/dagsync_message.h"
#include "fabric/swarm/identify.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct peer p;

static bool was_reset(struct peer *peer, void *arg)
{
    (void)peer;
    return ((struct stream *)arg)->reset;
}

/* The stream is reset within a second, the connection is not. */
static bool resets(struct stream *s)
{
    if (peer_pump(&p, 1000, was_reset, s) != 1) {
        printf("the stream is not reset; ");
        return false;
    }
    return lives(&p, "stream reset");
}

static bool one_stream(const struct target *t, const char *protocol, const void *bytes, size_t n)
{
    connect_or_end(&p, t);
    return resets(peer_open(&p, protocol, bytes, n, false));
}

/* ---- bitswap ---- */

static bool bitswap_length(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return one_stream(t, FAB_BITSWAP_PROTOCOL, "\x80\x80\x80\x80\x10hello", 10);
}

static bool bitswap_protobuf(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return one_stream(t, FAB_BITSWAP_PROTOCOL, "\x05\xff\xff\xff\xff\xff", 6);
}

static struct fab_cid some_cid(uint32_t i)
{
    struct fab_cid cid;
    must(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(&i, sizeof i), &cid));
    return cid;
}

static void put_wants(struct fab_buf *out, uint32_t from, uint32_t n, const struct fab_cid *cid)
{
    struct fab_buf entries;
    fab_buf_init(&entries, 8u << 20);
    for (uint32_t i = 0; i < n; i++) {
        struct fab_cid other = some_cid(from + i);
        must(fab_bitswap_entry_append(&entries, FAB_BITSWAP_WANT_BLOCK, cid ? cid : &other, 1,
                                      true));
    }
    must(fab_bitswap_write_wants(out, fab_buf_slice(&entries), false));
    fab_buf_fini(&entries);
}

static bool wants_100000(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    uint64_t answered = 0;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&out, 64u << 20);
    struct stream *s = peer_open(&p, FAB_BITSWAP_PROTOCOL, NULL, 0, false);
    for (uint32_t i = 0; i < 100; i++) {
        fab_buf_reset(&out);
        put_wants(&out, i * 1000, 1000, NULL);
        peer_say(&p, s, out.data, out.len);
        peer_pump(&p, 5, NULL, NULL);
    }
    peer_pump(&p, 500, NULL, NULL);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (p.streams[i].id && !p.streams[i].ours)
            answered += p.streams[i].in.len / 40;
    fab_buf_fini(&out);
    printf("about %llu answered, ", (unsigned long long)answered);
    return lives(&p, "");
}

/* The window for the answers is never opened again. */
static bool wants_unread(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    connect_or_end(&p, t);
    p.greedy = true;
    fab_buf_init(&out, 64u << 20);
    struct stream *s = peer_open(&p, FAB_BITSWAP_PROTOCOL, NULL, 0, false);
    for (uint32_t i = 0; i < 100; i++) {
        fab_buf_reset(&out);
        put_wants(&out, 0, 1, cid);
        peer_say(&p, s, out.data, out.len);
        peer_pump(&p, 10, NULL, NULL);
    }
    fab_buf_fini(&out);
    double start = now_ms();
    while (p.resets == 0 && now_ms() - start < 20000 && !p.w.ended)
        peer_pump(&p, 100, NULL, NULL);
    printf("an answer that is not read is %s after %.0f s, ", p.resets ? "reset" : "kept",
           (now_ms() - start) / 1e3);
    return lives(&p, "") && p.resets > 0;
}

/* Many messages that never end. */
static bool partial_messages(const struct target *t, const struct fab_cid *cid)
{
    uint8_t *bytes = calloc(1, 200000);
    (void)cid;
    if (!bytes)
        broken("out of memory");
    memcpy(bytes, "\xff\xff\xff\x01", 4); /* 4 MiB - 1 */
    connect_or_end(&p, t);
    for (int i = 0; i < 400; i++)
        peer_open(&p, FAB_BITSWAP_PROTOCOL, bytes, 200000, false);
    free(bytes);
    peer_pump(&p, 500, NULL, NULL);
    printf("%llu of 400 reset, ", (unsigned long long)p.resets);
    return lives(&p, "80 MB of beginnings");
}

/* Blocks that nobody asked for. */
static bool unasked_blocks(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out, block;
    (void)cid;
    fab_buf_init(&out, 8u << 20);
    fab_buf_init(&block, 2u << 20);
    must(fab_buf_reserve(&block, 1u << 20));
    block.len = 1u << 20;
    connect_or_end(&p, t);
    struct stream *s = peer_open(&p, FAB_BITSWAP_PROTOCOL, NULL, 0, false);
    for (int i = 0; i < 100; i++) {
        struct fab_bitswap_writer writer;
        struct fab_slice message;
        struct fab_cid one;
        randombytes_buf(block.data, 64);
        must(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_buf_slice(&block), &one));
        fab_buf_reset(&out);
        must(fab_bitswap_writer_begin(&writer, &out));
        must(fab_bitswap_writer_block(&writer, &one, fab_buf_slice(&block)));
        fab_bitswap_writer_end(&writer, &message);
        if (!peer_say(&p, s, message.p, message.n))
            break;
    }
    fab_buf_fini(&out);
    fab_buf_fini(&block);
    return lives(&p, "100 MB of blocks dropped");
}

/* More peers than the node asks, each with an answer to what it was not asked. */
static bool presences_80(const struct target *t, const struct fab_cid *cid)
{
    static struct peer many[80];
    struct fab_buf out;
    int connected = 0;
    (void)cid;
    fab_buf_init(&out, 4096);
    for (uint32_t i = 0; i < 80; i++) {
        struct fab_bitswap_writer writer;
        struct fab_slice message;
        struct fab_cid one = some_cid(i);
        if (!peer_connect(&many[i], t))
            continue;
        connected++;
        fab_buf_reset(&out);
        must(fab_bitswap_writer_begin(&writer, &out));
        must(fab_bitswap_writer_presence(&writer, &one, false));
        fab_bitswap_writer_end(&writer, &message);
        peer_open(&many[i], FAB_BITSWAP_PROTOCOL, message.p, message.n, false);
        peer_pump(&many[i], 20, NULL, NULL);
    }
    fab_buf_fini(&out);
    printf("%d of 80 connected, ", connected);
    connect_or_end(&p, t);
    return lives(&p, "") && connected == 80;
}

/* ---- dagsync ---- */

static void put_message(struct fab_buf *out, enum fab_dagsync_type type, uint64_t number,
                        const struct fab_cid *cid)
{
    struct fab_dagsync_message m = {.type = type, .number = number};
    if (cid)
        m.cid = *cid;
    must(fab_dagsync_append(out, &m));
}

static void put_request(struct fab_buf *out, const struct fab_cid *cid,
                        enum fab_dagsync_scope scope)
{
    struct fab_dagsync_item item = {.cid = *cid, .scope = scope};
    struct fab_buf items;
    fab_buf_init(&items, 4096);
    must(fab_dagsync_item_append(&items, &item));
    must(fab_dagsync_append(out, &(struct fab_dagsync_message){.type = FAB_DAGSYNC_REQUEST,
                                                               .bytes = fab_buf_slice(&items)}));
    fab_buf_fini(&items);
}

static bool dagsync_length(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return one_stream(t, FAB_DAGSYNC_PROTOCOL, "\x80\x80\x80\x80\x10hello", 10);
}

static bool dagsync_items(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&out, 64u << 20);
    struct stream *s = peer_open(&p, FAB_DAGSYNC_PROTOCOL, NULL, 0, false);
    for (uint32_t i = 0; i < 100000 && !s->reset && !p.w.ended; i++) {
        struct fab_cid one = some_cid(i);
        put_request(&out, &one, FAB_DAGSYNC_ALL);
        if (i % 500 == 499) {
            peer_say(&p, s, out.data, out.len);
            fab_buf_reset(&out);
            peer_pump(&p, 5, NULL, NULL);
        }
    }
    fab_buf_fini(&out);
    return resets(s);
}

static bool dagsync_prunes(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    connect_or_end(&p, t);
    fab_buf_init(&out, 64u << 20);
    put_request(&out, cid, FAB_DAGSYNC_ALL);
    struct stream *s = peer_open(&p, FAB_DAGSYNC_PROTOCOL, out.data, out.len, false);
    for (uint32_t i = 0; i < 500 && !s->reset && !p.w.ended; i++) {
        fab_buf_reset(&out);
        for (uint32_t j = 0; j < 2000; j++) {
            struct fab_cid one = some_cid(i * 2000 + j);
            put_message(&out, FAB_DAGSYNC_PRUNE, 0, &one);
        }
        peer_say(&p, s, out.data, out.len);
        peer_pump(&p, 2, NULL, NULL);
    }
    fab_buf_fini(&out);
    return lives(&p, s->reset ? "stream reset" : "1000000 taken");
}

/* Streams that wait for credit that never comes: as many as there may be. */
static bool dagsync_no_credit(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    connect_or_end(&p, t);
    fab_buf_init(&out, 4096);
    put_request(&out, cid, FAB_DAGSYNC_ALL);
    for (int i = 0; i < 100; i++)
        peer_open(&p, FAB_DAGSYNC_PROTOCOL, out.data, out.len, false);
    fab_buf_fini(&out);
    peer_pump(&p, 3000, NULL, NULL);
    printf("%llu of 100 streams reset, ", (unsigned long long)p.resets);
    return lives(&p, "");
}

/* Credit without end, and nothing is read. */
static bool dagsync_unread(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf out;
    connect_or_end(&p, t);
    p.greedy = true;
    fab_buf_init(&out, 4096);
    put_message(&out, FAB_DAGSYNC_CREDIT, FAB_DAGSYNC_CREDIT_MAX, NULL);
    put_request(&out, cid, FAB_DAGSYNC_ALL);
    for (int i = 0; i < 100; i++)
        peer_open(&p, FAB_DAGSYNC_PROTOCOL, out.data, out.len, false);
    fab_buf_fini(&out);
    double start = now_ms();
    peer_pump(&p, 3000, NULL, NULL);
    uint64_t at_once = p.resets;
    while (p.resets == at_once && now_ms() - start < 70000 && !p.w.ended)
        peer_pump(&p, 200, NULL, NULL);
    printf("%llu of 100 streams reset at once, %llu after %.0f s, ", (unsigned long long)at_once,
           (unsigned long long)(p.resets - at_once), (now_ms() - start) / 1e3);
    return lives(&p, "") && p.resets > at_once;
}

/* Requests whose streams are reset at once, while the answers are being made. */
static bool dagsync_reset(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf frames, first;
    connect_or_end(&p, t);
    fab_buf_init(&frames, 1u << 20);
    fab_buf_init(&first, 4096);
    hello_put(&first, FAB_DAGSYNC_PROTOCOL);
    put_message(&first, FAB_DAGSYNC_CREDIT, FAB_DAGSYNC_CREDIT_MAX, NULL);
    put_request(&first, cid, FAB_DAGSYNC_ALL);
    for (uint32_t i = 0; i < 20000 && !p.w.ended; i++) {
        uint32_t id = 101 + 2 * i;
        frame_put(&frames, DATA, SYN, id, (uint32_t)first.len, first.data, first.len);
        frame_put(&frames, WINDOW, RST, id, 0, NULL, 0);
        if (i % 20 == 19) {
            wire_plain(&p.w, frames.data, frames.len);
            fab_buf_reset(&frames);
            peer_pump(&p, 1, NULL, NULL);
        }
    }
    fab_buf_fini(&frames);
    fab_buf_fini(&first);
    return lives(&p, "20000 asked and reset");
}

/* ---- identify ---- */

static bool identify_10(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    p.identifies = 10;
    connect_or_end(&p, t);
    peer_pump(&p, 300, NULL, NULL);
    return lives(&p, p.resets ? "stream reset" : "answer dropped");
}

static bool push_10(const struct target *t, const struct fab_cid *cid)
{
    struct fab_identify id = {.agent_version = fab_slice("rogue", 5)};
    struct fab_buf out;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&out, 1u << 20);
    for (int i = 0; i < 10; i++)
        must(fab_identify_write(&id, &out));
    struct stream *s = peer_open(&p, FAB_IDENTIFY_PUSH_PROTOCOL, out.data, out.len, false);
    fab_buf_fini(&out);
    return resets(s);
}

/* It never answers the node's own questions. */
static bool identify_silent(const struct target *t, const struct fab_cid *cid)
{
    struct frame f;
    int reset = 0;
    (void)cid;
    connect_or_end(&p, t);
    double start = now_ms();
    while (!reset && now_ms() - start < 12000 && wire_frame(&p.w, &f, 12000) == 1)
        reset = (f.flags & RST) != 0;
    printf("given up after %.1f s, ", (now_ms() - start) / 1e3);
    return lives(&p, "") && reset;
}

const struct mode protocol_modes[] = {
    {"bitswap-length", bitswap_length},
    {"bitswap-protobuf", bitswap_protobuf},
    {"wants-100000", wants_100000},
    {"wants-unread", wants_unread},
    {"partial-messages", partial_messages},
    {"unasked-blocks", unasked_blocks},
    {"presences-80", presences_80},
    {"dagsync-length", dagsync_length},
    {"dagsync-items", dagsync_items},
    {"dagsync-prunes", dagsync_prunes},
    {"dagsync-no-credit", dagsync_no_credit},
    {"dagsync-unread", dagsync_unread},
    {"dagsync-reset", dagsync_reset},
    {"identify-10", identify_10},
    {"identify-push-10", push_10},
    {"identify-silent", identify_silent},
    {NULL, NULL},
};
