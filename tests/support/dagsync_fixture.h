/* A dagsync server and its asker, joined by a pipe in memory that cuts at random. */
#ifndef FAB_TESTS_DAGSYNC_FIXTURE_H
#define FAB_TESTS_DAGSYNC_FIXTURE_H

#include "tests/support/dag_fixture.h"

#include "fabric/exchange/dagsync_client.h"
#include "fabric/exchange/dagsync_server.h"
#include "storage/dag/dag_cbor.h"
#include "storage/dag/dag_pb.h"
#include "storage/dag/dir_builder.h"
#include "storage/dag/walk.h"

struct sync_log {
    struct fab_cid *cids; /* of the blocks, in order */
    size_t count, cap;
    uint64_t bytes;
    struct fab_cid missing[64];
    size_t missing_count;
    struct fab_dagsync_event ends[64]; /* ITEM_DONE and ERROR; text not kept */
    size_t ends_count;
    uint64_t dones;
    bool done;
};

struct sync_pipe {
    struct mem_blocks *blocks; /* the server's */
    struct fab_dagsync_server *server;
    struct fab_dagsync_client *client;
    struct fab_buf up, down;
    uint64_t random;
    uint64_t window; /* credit is renewed as batches are taken, if not 0 */
    size_t target;   /* of a fill; 0: random */
    size_t memory;   /* the most that the server held */
    bool eager;      /* batches are taken after every round */
    struct sync_log log;
    /* Called for each block, if not NULL. */
    void (*on_block)(struct sync_pipe *p, const struct fab_dagsync_event *event);
    const struct fab_cid *victim; /* of on_block */
};

static inline uint64_t sync_random(struct sync_pipe *p, uint64_t below)
{
    p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    return (p->random >> 33) % below;
}

static inline struct sync_pipe sync_open(struct mem_blocks *blocks, uint64_t seed, uint64_t window)
{
    struct sync_pipe p = {.blocks = blocks, .random = seed, .window = window};
    uint8_t key[FAB_DAGSYNC_KEY];
    memset(key, (int)seed, sizeof key);
    assert_ok(fab_dagsync_server_new(key, &p.server));
    assert_ok(fab_dagsync_client_new(&p.client));
    fab_buf_init(&p.up, 16 << 20);
    fab_buf_init(&p.down, 64 << 20);
    if (window)
        assert_ok(fab_dagsync_client_credit(p.client, window, &p.up));
    return p;
}

static inline void sync_close(struct sync_pipe *p)
{
    fab_dagsync_server_free(p->server);
    fab_dagsync_client_free(p->client);
    fab_buf_fini(&p->up);
    fab_buf_fini(&p->down);
    free(p->log.cids);
}

static inline void sync_ask(struct sync_pipe *p, const struct fab_cid *cid, const char *path,
                            enum fab_dagsync_scope scope, uint64_t from, uint64_t to)
{
    struct fab_dagsync_item item = {*cid, fab_slice(path, strlen(path)), scope, from, to};
    size_t taken;
    assert_ok(fab_dagsync_client_ask(p->client, &item, 1, &p->up, &taken));
    assert_int_equal(taken, 1);
}

static inline void sync_event(struct sync_pipe *p, const struct fab_dagsync_event *e)
{
    struct sync_log *l = &p->log;
    switch (e->type) {
    case FAB_DAGSYNC_BLOCK:
        assert_ok(fab_cid_check(&e->cid, e->bytes));
        if (l->count == l->cap) {
            l->cap = l->cap ? 2 * l->cap : 64;
            l->cids = realloc(l->cids, l->cap * sizeof *l->cids);
            assert_non_null(l->cids);
        }
        l->cids[l->count++] = e->cid;
        l->bytes += e->bytes.n;
        if (p->on_block)
            p->on_block(p, e);
        break;
    case FAB_DAGSYNC_MISSING:
        assert_true(l->missing_count < 64);
        l->missing[l->missing_count++] = e->cid;
        break;
    case FAB_DAGSYNC_DONE:
        l->dones = e->number;
        break;
    default:
        if (l->ends_count < 64)
            l->ends[l->ends_count] = *e;
        assert_int_equal(e->number, l->ends_count);
        l->ends_count++;
    }
}

static inline void sync_take(struct sync_pipe *p)
{
    struct fab_dagsync_batch *batch;
    assert_ok(fab_dagsync_client_take(p->client, &batch));
    if (!batch)
        return;
    uint64_t blocks = 0;
    for (size_t i = 0; i < batch->count; i++) {
        blocks += batch->events[i].type == FAB_DAGSYNC_BLOCK;
        sync_event(p, &batch->events[i]);
    }
    assert_int_equal(blocks, batch->blocks);
    p->log.done = batch->done;
    if (p->window)
        assert_ok(fab_dagsync_client_credit(p->client, batch->cost, &p->up));
    if (sync_random(p, 2))
        fab_dagsync_client_recycle(p->client, batch);
    else
        fab_dagsync_batch_free(batch);
}

static inline void sync_feed_server(struct sync_pipe *p)
{
    size_t at = 0;
    while (at < p->up.len) {
        size_t n = 1 + (size_t)sync_random(p, p->up.len - at);
        assert_ok(fab_dagsync_server_input(p->server, fab_slice(p->up.data + at, n)));
        at += n;
    }
    fab_buf_reset(&p->up);
}

static inline void sync_feed_client(struct sync_pipe *p)
{
    size_t at = 0;
    while (at < p->down.len) {
        size_t used, n = 1 + (size_t)sync_random(p, p->down.len - at);
        /* A copy of exactly n bytes, so that reading past them is seen. */
        uint8_t *bytes = malloc(n);
        assert_non_null(bytes);
        memcpy(bytes, p->down.data + at, n);
        assert_ok(fab_dagsync_client_input(p->client, fab_slice(bytes, n), &used));
        free(bytes);
        assert_true(used == n || fab_dagsync_client_ready(p->client));
        at += used;
        if (fab_dagsync_client_ready(p->client) || sync_random(p, 8) == 0)
            sync_take(p);
    }
    fab_buf_reset(&p->down);
}

/* One round: what was asked goes over, one fill, and its answer. Gives the server's state. */
static inline enum fab_dagsync_state sync_round(struct sync_pipe *p)
{
    struct fab_block_source source = mem_source(p->blocks);
    size_t target = p->target ? p->target : 1 + (size_t)sync_random(p, 300000);
    sync_feed_server(p);
    assert_ok(fab_dagsync_server_apply(p->server));
    if (fab_dagsync_server_state(p->server) == FAB_DAGSYNC_WORK) {
        p->down.max = target + FAB_DAGSYNC_FRAME_MAX + 512;
        assert_ok(fab_dagsync_server_fill(p->server, &source, &p->down, target));
        assert_ok(fab_dagsync_server_apply(p->server));
    }
    size_t held = fab_dagsync_server_memory(p->server);
    if (held > p->memory)
        p->memory = held;
    sync_feed_client(p);
    if (p->eager)
        sync_take(p);
    return fab_dagsync_server_state(p->server);
}

/* Rounds until the server has nothing to do and nothing is on its way. */
static inline enum fab_dagsync_state sync_run(struct sync_pipe *p)
{
    enum fab_dagsync_state state;
    do {
        state = sync_round(p);
        if (state != FAB_DAGSYNC_WORK)
            sync_take(p);
    } while (state == FAB_DAGSYNC_WORK || p->up.len > 0);
    return state;
}

static inline bool sync_has(const struct sync_pipe *p, const struct fab_cid *cid)
{
    for (size_t i = 0; i < p->log.count; i++)
        if (fab_cid_eq(&p->log.cids[i], cid))
            return true;
    return false;
}

/* ---- DAGs ---- */

static inline struct fab_cid dag_put(struct mem_blocks *blocks, uint64_t codec, struct fab_slice s)
{
    struct fab_cid cid;
    assert_ok(fab_cid_of(1, codec, FAB_MH_SHA2_256, s, &cid));
    assert_ok(mem_put(blocks, &cid, s));
    return cid;
}

/* A dag-cbor list of links. */
static inline struct fab_cid dag_list(struct mem_blocks *blocks, const struct fab_cid *links,
                                      size_t count)
{
    struct fab_buf buf;
    fab_buf_init(&buf, FAB_BLOCK_MAX);
    assert_ok(fab_cbor_put_array(&buf, count));
    for (size_t i = 0; i < count; i++)
        assert_ok(fab_cbor_put_cid(&buf, &links[i]));
    struct fab_cid cid = dag_put(blocks, FAB_CODEC_DAG_CBOR, fab_buf_slice(&buf));
    fab_buf_fini(&buf);
    return cid;
}

/* A raw block of `n` bytes made from `seed`. */
static inline struct fab_cid dag_raw(struct mem_blocks *blocks, const char *seed, size_t n)
{
    struct seeded s;
    uint8_t *bytes = malloc(n ? n : 1);
    assert_non_null(bytes);
    seeded_init(&s, seed);
    seeded_bytes(&s, bytes, n);
    struct fab_cid cid = dag_put(blocks, FAB_CODEC_RAW, fab_slice(bytes, n));
    free(bytes);
    return cid;
}

/* A file of `size` bytes in chunks of `chunk`, `width` links a node. */
static inline struct fab_dag_entry dag_file(struct mem_blocks *blocks, const char *seed,
                                            uint64_t size, size_t chunk, unsigned width)
{
    struct fab_profile profile = *fab_profile_find("unixfs-v1-2025");
    struct fab_chunker chunker = fab_chunker_size(chunk);
    struct seeded_fill fill = {.left = size};
    profile.file_links = width;
    seeded_init(&fill.seeded, seed);
    return import_bytes(&profile, &chunker, NULL, blocks,
                        (struct source_bytes){seeded_fill, &fill});
}

struct dag_named {
    const char *name;
    struct fab_cid cid;
};

static inline struct fab_cid dag_dir(struct mem_blocks *blocks, const struct dag_named *entries,
                                     size_t count)
{
    struct fab_dir_builder *builder;
    struct fab_dag_entry out;
    struct fab_block_sink sink = mem_sink(blocks);
    assert_ok(fab_dir_builder_new(fab_profile_find("unixfs-v1-2025"), 0, &builder));
    for (size_t i = 0; i < count; i++)
        assert_ok(fab_dir_builder_add(builder, fab_slice(entries[i].name, strlen(entries[i].name)),
                                      &entries[i].cid, 1));
    assert_ok(fab_dir_builder_finish(builder, NULL, &sink, &out));
    fab_dir_builder_free(builder);
    return out.cid;
}

/* A sharded directory, of 16 buckets a shard: entries n0, n1, ... that all lead to `target`. */
static inline struct fab_cid dag_hamt(struct mem_blocks *blocks, const struct fab_cid *target,
                                      unsigned count)
{
    struct fab_profile profile = *fab_profile_find("unixfs-v1-2025");
    struct fab_dir_builder *builder;
    struct fab_dag_entry out;
    struct fab_block_sink sink = mem_sink(blocks);
    profile.hamt_threshold = 1000;
    profile.hamt_fanout = 16;
    assert_ok(fab_dir_builder_new(&profile, 0, &builder));
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "n%u", i);
        assert_ok(fab_dir_builder_add(builder, fab_slice(name, (size_t)n), target, 1));
    }
    assert_ok(fab_dir_builder_finish(builder, NULL, &sink, &out));
    fab_dir_builder_free(builder);
    return out.cid;
}

/* ---- what a local walk finds ---- */

struct dag_order {
    struct fab_cid *cids;
    size_t count, cap;
    size_t missing;
};

static inline enum fab_rc dag_order_add(void *arg, const struct fab_cid *cid, struct fab_slice data)
{
    struct dag_order *o = arg;
    (void)data;
    if (o->count == o->cap) {
        o->cap = o->cap ? 2 * o->cap : 64;
        o->cids = realloc(o->cids, o->cap * sizeof *o->cids);
        assert_non_null(o->cids);
    }
    o->cids[o->count++] = *cid;
    return FAB_OK;
}

static inline enum fab_rc dag_order_missing(void *arg, const struct fab_cid *cid)
{
    (void)cid;
    ((struct dag_order *)arg)->missing++;
    return FAB_OK;
}

static inline struct dag_order dag_order(struct mem_blocks *blocks, const struct fab_cid *root)
{
    struct dag_order order = {0};
    struct fab_block_source source = mem_source(blocks);
    struct fab_visited_set *set;
    assert_ok(fab_visited_set_new(1 << 20, &set));
    struct fab_walk walk = {.source = &source,
                            .visited = fab_visited_set_table(set),
                            .arg = &order,
                            .block = dag_order_add,
                            .missing = dag_order_missing,
                            .allow_unknown = true};
    assert_ok(fab_walk_dag(&walk, root));
    fab_visited_set_free(set);
    return order;
}

static inline void assert_order(const struct sync_pipe *p, const struct fab_cid *cids, size_t count)
{
    assert_int_equal(p->log.count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(fab_cid_eq(&p->log.cids[i], &cids[i]));
}

#endif
