/* Any bytes to a dagsync server over any bundle, or to a client: what the server says is well
 * formed and within credit, memory and work; what the client takes does not depend on how it was
 * cut.
 *
 * Input: a byte (lowest bit: who is fed; the others: the seed of the cuts), two bytes: the length
 * of the stream, little endian, the stream, a bundle. */
#include "tests/fuzz/bundle.h"

#include "fabric/exchange/dagsync_client.h"
#include "fabric/exchange/dagsync_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FILLS_MAX 200
#define TARGET    1000u
#define CREDIT    100000u

static size_t cut(uint32_t *seed, size_t left)
{
    *seed = *seed * 1103515245u + 12345u;
    size_t n = 1 + (*seed >> 16) % 64;
    return n < left ? n : left;
}

/* Whole messages only; gives what they cost. */
static uint64_t answers_check(struct fab_slice out)
{
    struct fab_reader r = fab_reader(out);
    uint64_t cost = 0;
    while (fab_reader_left(&r) > 0) {
        struct fab_dagsync_length length = {0};
        struct fab_dagsync_message m;
        struct fab_slice body;
        bool whole = false;
        uint8_t byte;
        while (!whole) {
            CHECK(fab_read_u8(&r, &byte) == FAB_OK);
            CHECK(fab_dagsync_length_byte(&length, byte, FAB_DAGSYNC_ANSWER_MAX, &whole) == FAB_OK);
        }
        CHECK(fab_read_bytes(&r, length.value, &body) == FAB_OK);
        CHECK(fab_dagsync_decode(body, true, &m) == FAB_OK);
        CHECK(fab_dagsync_frame_size(&m) == length.value + length.bytes);
        if (m.type == FAB_DAGSYNC_BLOCK || m.type == FAB_DAGSYNC_MISSING)
            cost += length.value + length.bytes;
    }
    return cost;
}

static void server_run(struct fab_slice stream, uint32_t seed, struct bundle *b)
{
    static const uint8_t key[FAB_DAGSYNC_KEY];
    static const uint8_t credit[] = {4, FAB_DAGSYNC_CREDIT, 0xa0, 0x8d, 0x06}; /* CREDIT */
    struct fab_block_source source = {b, bundle_get};
    struct fab_dagsync_server *server;
    struct fab_buf out;
    uint64_t cost = 0;
    size_t at = 0, fills = 0;
    CHECK(fab_dagsync_server_new(key, &server) == FAB_OK);
    CHECK(fab_dagsync_server_input(server, fab_slice(credit, sizeof credit)) == FAB_OK);
    fab_buf_init(&out, TARGET + FAB_DAGSYNC_FRAME_MAX + 512);
    for (;;) {
        CHECK(fab_dagsync_server_memory(server) <= FAB_DAGSYNC_SERVER_MEMORY);
        if (fab_dagsync_server_apply(server) != FAB_OK)
            break;
        enum fab_dagsync_state state = fab_dagsync_server_state(server);
        if (state == FAB_DAGSYNC_WORK) {
            if (++fills == FILLS_MAX)
                break;
            b->gets = 0;
            fab_buf_reset(&out);
            CHECK(fab_dagsync_server_fill(server, &source, &out, TARGET) == FAB_OK);
            CHECK(b->gets <= 16 * (64u << 10) / 256 + 64);
            cost += answers_check(fab_buf_slice(&out));
        } else if (at == stream.n) {
            break;
        }
        if (at < stream.n) {
            size_t k = cut(&seed, stream.n - at);
            if (fab_dagsync_server_input(server, fab_slice(stream.p + at, k)) != FAB_OK)
                break;
            at += k;
        }
    }
    uint64_t blocks, bytes;
    fab_dagsync_server_sent(server, &blocks, &bytes);
    CHECK(bytes <= cost);
    fab_dagsync_server_free(server);
    fab_buf_fini(&out);
}

struct tally {
    uint64_t events, bytes, cost, open, left;
    enum fab_rc rc;
};

static struct tally client_run(struct fab_slice stream, uint32_t seed, bool whole)
{
    struct fab_dagsync_client *client;
    struct fab_dagsync_item items[4] = {{.cid = bundle_root(FAB_CODEC_DAG_PB)},
                                        {.cid = bundle_root(FAB_CODEC_RAW)},
                                        {.cid = bundle_root(FAB_CODEC_RAW)},
                                        {.cid = bundle_root(FAB_CODEC_RAW)}};
    struct tally t = {0};
    struct fab_buf up;
    size_t taken, at = 0;
    fab_buf_init(&up, 1000);
    CHECK(fab_dagsync_client_new(&client) == FAB_OK);
    CHECK(fab_dagsync_client_ask(client, items, 4, &up, &taken) == FAB_OK && taken == 4);
    CHECK(fab_dagsync_client_credit(client, CREDIT, &up) == FAB_OK);
    for (bool end = false; !end;) {
        struct fab_dagsync_batch *batch;
        size_t used = 0, k = whole ? stream.n - at : cut(&seed, stream.n - at);
        t.rc = fab_dagsync_client_input(client, fab_slice(stream.p + at, k), &used);
        at += used;
        end = t.rc != FAB_OK || at == stream.n;
        if (!end && !fab_dagsync_client_ready(client) && (whole || seed & 1u << 20))
            continue;
        CHECK(fab_dagsync_client_take(client, &batch) == FAB_OK);
        for (size_t i = 0; batch && i < batch->count; i++) {
            volatile uint8_t sum = 0;
            for (size_t j = 0; j < batch->events[i].bytes.n; j++)
                sum = (uint8_t)(sum + batch->events[i].bytes.p[j]);
            t.events++;
            t.bytes += batch->events[i].bytes.n;
        }
        t.cost += batch ? batch->cost : 0;
        fab_dagsync_client_recycle(client, batch);
    }
    t.open = fab_dagsync_client_open(client);
    t.left = fab_dagsync_client_credit_left(client);
    CHECK(t.cost <= CREDIT + FAB_DAGSYNC_FRAME_MAX);
    fab_dagsync_client_free(client);
    fab_buf_fini(&up);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bundle b;
    if (n < 3)
        return 0;
    size_t len = data[1] | (size_t)data[2] << 8;
    uint32_t seed = data[0];
    struct fab_slice stream = fab_slice(data + 3, len < n - 3 ? len : n - 3);
    bundle_parse(&b, stream.p + stream.n, n - 3 - stream.n);
    if (data[0] & 1) {
        struct tally whole = client_run(stream, seed, true),
                     parts = client_run(stream, seed, false);
        CHECK(whole.events == parts.events && whole.bytes == parts.bytes);
        CHECK(whole.cost == parts.cost && whole.open == parts.open);
        CHECK(whole.left == parts.left && whole.rc == parts.rc);
    } else {
        server_run(stream, seed, &b);
    }
    bundle_fini(&b);
    return 0;
}
