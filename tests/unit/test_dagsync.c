/* dagsync from end to end, server and asker over a pipe: order, paths, ranges, prune, credit. */
#include "tests/support/dagsync_fixture.h"

#include "storage/dag/file_reader.h"
#include "storage/dag/resolve.h"

#include <pthread.h>

#define SEEDS 5

/* A directory with a file of three levels, a sharded directory, a symlink, a dag-cbor node and
 * shared children. */
struct sample {
    struct mem_blocks blocks;
    struct fab_dag_entry file;
    struct fab_cid small, hamt, link, cbor, sub, root;
};

static struct sample *sample_new(void)
{
    struct sample *s = calloc(1, sizeof *s);
    assert_non_null(s);
    struct mem_blocks *b = &s->blocks;
    struct fab_buf buf;
    b->volatile_slices = true;
    s->small = dag_raw(b, "small", 100);
    s->file = dag_file(b, "file", 100 * 3000 + 17, 3000, 5);
    s->hamt = dag_hamt(b, &s->small, 300);
    fab_buf_init(&buf, FAB_BLOCK_MAX);
    assert_ok(fab_unixfs_symlink(fab_slice("sub", 3), NULL, &buf));
    s->link = dag_put(b, FAB_CODEC_DAG_PB, fab_buf_slice(&buf));
    fab_buf_fini(&buf);
    s->cbor = dag_list(b, (struct fab_cid[]){s->file.cid, s->small, s->small}, 3);
    s->sub = dag_dir(b, (struct dag_named[]){{"deep", s->file.cid}, {"hamt", s->hamt}}, 2);
    s->root = dag_dir(b,
                      (struct dag_named[]){{"cbor", s->cbor},
                                           {"link", s->link},
                                           {"small", s->small},
                                           {"sub", s->sub},
                                           {"zfile", s->file.cid}},
                      5);
    return s;
}

static void sample_free(struct sample *s)
{
    mem_fini(&s->blocks);
    free(s);
}

static void assert_end(const struct sync_pipe *p, size_t i, uint8_t code)
{
    assert_true(i < p->log.ends_count);
    assert_int_equal(p->log.ends[i].code, code);
    assert_int_equal(p->log.ends[i].type, code ? FAB_DAGSYNC_ERROR : FAB_DAGSYNC_ITEM_DONE);
}

static void test_whole(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    struct dag_order order = dag_order(&s->blocks, &s->root);
    assert_true(order.count > 100);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sync_pipe p = sync_open(&s->blocks, seed, 8 << 20);
        sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
        assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
        assert_order(&p, order.cids, order.count);
        assert_int_equal(p.log.ends_count, 1);
        assert_end(&p, 0, 0);
        assert_int_equal(p.log.dones, 1);
        assert_true(p.log.done);
        assert_int_equal(p.log.missing_count, 0);
        uint64_t blocks, bytes;
        fab_dagsync_server_sent(p.server, &blocks, &bytes);
        assert_int_equal(blocks, order.count);
        assert_int_equal(bytes, p.log.bytes);
        /* Again, and parts of it: nothing is sent twice on one stream. */
        sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
        sync_ask(&p, &s->root, "sub/deep", FAB_DAGSYNC_ALL, 0, 0);
        assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
        assert_int_equal(p.log.count, order.count);
        assert_int_equal(p.log.dones, 3);
        assert_ok(fab_dagsync_server_input_end(p.server));
        assert_int_equal(fab_dagsync_server_state(p.server), FAB_DAGSYNC_FINISHED);
        assert_ok(fab_dagsync_client_input_end(p.client));
        sync_close(&p);
    }
    free(order.cids);
    sample_free(s);
}

/* Several items, disjoint subtrees from several servers: together every block, each once. */
static void test_several_peers(void **state)
{
    struct sample *s = sample_new();
    size_t total = 0;
    (void)state;
    struct dag_order order = dag_order(&s->blocks, &s->root);
    struct sync_pipe a = sync_open(&s->blocks, 1, 1 << 20), b = sync_open(&s->blocks, 2, 1 << 20);
    sync_ask(&a, &s->root, "", FAB_DAGSYNC_ROOT, 0, 0);
    sync_ask(&a, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&a, &s->cbor, "", FAB_DAGSYNC_ROOT, 0, 0);
    sync_ask(&b, &s->hamt, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&b, &s->sub, "", FAB_DAGSYNC_ROOT, 0, 0);
    sync_ask(&b, &s->link, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&a), FAB_DAGSYNC_IDLE);
    assert_int_equal(sync_run(&b), FAB_DAGSYNC_IDLE);
    for (size_t i = 0; i < order.count; i++) {
        assert_true(sync_has(&a, &order.cids[i]) != sync_has(&b, &order.cids[i]));
        total++;
    }
    assert_int_equal(total, a.log.count + b.log.count);
    assert_int_equal(a.log.ends_count, 3);
    assert_int_equal(b.log.dones, 3);
    sync_close(&a);
    sync_close(&b);
    free(order.cids);
    sample_free(s);
}

static enum fab_rc record_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct {
        struct mem_blocks *blocks;
        struct dag_order order;
    } *r = ctx;
    FAB_TRY(mem_get(r->blocks, cid, out));
    for (size_t i = 0; i < r->order.count; i++)
        if (fab_cid_eq(&r->order.cids[i], cid))
            return FAB_OK;
    return dag_order_add(&r->order, cid, *out);
}

/* The blocks on the way come first, in the order in which a local resolution reads them; with them
 * alone the asker can resolve the path itself. */
static void test_paths(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    static const char *const paths[] = {"small", "sub/hamt/n123", "/sub//hamt/n7/", "link",
                                        "sub/deep"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct sync_pipe p = sync_open(&s->blocks, seed, 100);
            struct {
                struct mem_blocks *blocks;
                struct dag_order order;
            } record = {.blocks = &s->blocks};
            struct fab_block_source source = {&record, record_get};
            struct fab_slice path = fab_slice(paths[i], strlen(paths[i]));
            struct fab_cid target;
            struct fab_slice data;
            assert_ok(fab_resolve_from(&source, &s->root, path, &target, NULL));
            assert_ok(source.get(source.ctx, &target, &data));
            sync_ask(&p, &s->root, paths[i], FAB_DAGSYNC_ROOT, 0, 0);
            assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
            assert_order(&p, record.order.cids, record.order.count);
            assert_end(&p, 0, 0);
            free(record.order.cids);
            sync_close(&p);
        }
    sample_free(s);
}

static void test_bad_paths(void **state)
{
    struct sample *s = sample_new();
    char *slashes = calloc(1, 2 * FAB_PATH_COMPONENTS_MAX + 8);
    (void)state;
    struct sync_pipe p = sync_open(&s->blocks, 3, 1 << 20);
    sync_ask(&p, &s->root, "nothing", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &s->root, "sub/hamt/n300", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &s->root, "link/deep", FAB_DAGSYNC_ALL, 0, 0); /* symlinks are not followed */
    sync_ask(&p, &s->root, "zfile/x", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &s->root, "small/x", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &s->root, "sub", FAB_DAGSYNC_RANGE, 0, 1);
    sync_ask(&p, &s->cbor, "", FAB_DAGSYNC_RANGE, 0, 1);
    sync_ask(&p, &s->root, "small", FAB_DAGSYNC_ALL, 0, 0); /* and the next item goes on */
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    const uint8_t codes[] = {
        FAB_DAGSYNC_ENAME,      FAB_DAGSYNC_ENAME, FAB_DAGSYNC_EDIRECTORY, FAB_DAGSYNC_EDIRECTORY,
        FAB_DAGSYNC_EDIRECTORY, FAB_DAGSYNC_EFILE, FAB_DAGSYNC_EFILE,      0};
    assert_int_equal(p.log.ends_count, sizeof codes);
    for (size_t i = 0; i < sizeof codes; i++)
        assert_end(&p, i, codes[i]);
    assert_int_equal(p.log.dones, sizeof codes);
    /* The blocks that prove it came. */
    assert_true(sync_has(&p, &s->root));
    assert_true(sync_has(&p, &s->link));
    assert_true(sync_has(&p, &s->file.cid));
    assert_true(sync_has(&p, &s->small));

    struct fab_cid dir = s->small;
    for (size_t i = 0; i <= FAB_PATH_COMPONENTS_MAX; i++) {
        dir = dag_dir(&s->blocks, (struct dag_named[]){{"a", dir}}, 1);
        memcpy(slashes + 2 * i, "/a", 2);
    }
    sync_ask(&p, &dir, slashes, FAB_DAGSYNC_ROOT, 0, 0);
    sync_ask(&p, &dir, slashes + 2, FAB_DAGSYNC_ROOT, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_end(&p, sizeof codes, FAB_DAGSYNC_ELIMIT);
    assert_end(&p, sizeof codes + 1, 0);
    sync_close(&p);
    free(slashes);
    sample_free(s);
}

struct range_check {
    uint64_t next;
};

static enum fab_rc range_data(void *arg, uint64_t offset, struct fab_slice data)
{
    struct range_check *c = arg;
    assert_int_equal(offset, c->next);
    c->next += data.n;
    return FAB_OK;
}

/* What came for a range is what reading the range needs, no block more. */
static void range_one(struct sample *s, uint64_t seed, uint64_t from, uint64_t to)
{
    struct sync_pipe p = sync_open(&s->blocks, seed, 5000);
    struct mem_blocks got = {0};
    struct {
        struct mem_blocks *blocks;
        struct dag_order order;
    } record = {.blocks = &s->blocks};
    struct fab_block_source source = {&record, record_get}, have = mem_source(&got);
    struct range_check check = {from};
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_RANGE, from, to);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_end(&p, 0, 0);
    for (size_t i = 0; i < p.log.count; i++) {
        struct mem_block *b = mem_find(&s->blocks, &p.log.cids[i]);
        assert_ok(mem_put(&got, &b->cid, fab_slice(b->data, b->n)));
    }
    assert_ok(fab_file_read(&have, &s->file.cid, from, to - from, range_data, &check));
    if (from < s->file.size)
        assert_int_equal(check.next, to < s->file.size ? to : s->file.size);
    check.next = from;
    assert_ok(fab_file_read(&source, &s->file.cid, from, to - from, range_data, &check));
    assert_order(&p, record.order.cids, record.order.count);
    free(record.order.cids);
    mem_fini(&got);
    sync_close(&p);
}

static void test_ranges(void **state)
{
    struct sample *s = sample_new();
    uint64_t size = s->file.size;
    (void)state;
    range_one(s, 1, 0, 1);
    range_one(s, 2, 0, FAB_DAGSYNC_RANGE_END);
    range_one(s, 3, size - 1, size);
    range_one(s, 4, size, size + 1);
    range_one(s, 5, size + 1000, FAB_DAGSYNC_RANGE_END);
    range_one(s, 6, 2999, 3001);
    range_one(s, 7, 3000, 6000);
    range_one(s, 8, 10000, 200000);
    struct sync_pipe dice = {.random = 42};
    for (uint64_t i = 0; i < 30; i++) {
        uint64_t from = sync_random(&dice, size);
        range_one(s, i, from, from + 1 + sync_random(&dice, size - from));
    }
    /* A raw block is a file. */
    struct sync_pipe p = sync_open(&s->blocks, 1, 1 << 20);
    sync_ask(&p, &s->root, "small", FAB_DAGSYNC_RANGE, 5, 6);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_end(&p, 0, 0);
    assert_int_equal(p.log.count, 2);
    /* What a range sent is walked on when everything is asked. */
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_RANGE, 7000, 7001);
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    struct dag_order order = dag_order(&s->blocks, &s->file.cid);
    assert_int_equal(p.log.count, 2 + order.count);
    for (size_t i = 0; i < order.count; i++)
        assert_true(sync_has(&p, &order.cids[i]));
    free(order.cids);
    sync_close(&p);
    sample_free(s);
}

/* A file whose every node links twice to the same child, 60 levels of it: a range must not cost
 * 2^60 visits. */
static void test_range_of_a_bomb(void **state)
{
    struct mem_blocks blocks = {.volatile_slices = true};
    uint64_t size = 1;
    (void)state;
    struct fab_cid cid = dag_put(&blocks, FAB_CODEC_RAW, fab_slice("x", 1));
    for (unsigned i = 0; i < 60; i++) {
        struct fab_buf buf;
        uint8_t bytes[FAB_CID_MAX];
        uint64_t sizes[2] = {size, size};
        struct fab_pb_link link = {.cid = fab_slice(bytes, fab_cid_bytes(&cid, bytes)),
                                   .has_name = true,
                                   .has_tsize = true};
        struct fab_unixfs fs = {
            .type = FAB_UNIXFS_FILE, .has_filesize = true, .filesize = 2 * size, .sizes_count = 2};
        fab_buf_init(&buf, FAB_BLOCK_MAX);
        assert_ok(fab_pb_append_link(&buf, &link));
        assert_ok(fab_pb_append_link(&buf, &link));
        assert_ok(fab_unixfs_encode_field(&fs, sizes, &buf));
        cid = dag_put(&blocks, FAB_CODEC_DAG_PB, fab_buf_slice(&buf));
        fab_buf_fini(&buf);
        size *= 2;
    }
    struct sync_pipe p = sync_open(&blocks, 1, 1 << 20);
    sync_ask(&p, &cid, "", FAB_DAGSYNC_RANGE, 1, size - 1);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, 61);
    assert_true(blocks.gets < 1000);
    sync_close(&p);
    mem_fini(&blocks);
}

static void prune_victim(struct sync_pipe *p, const struct fab_dagsync_event *event)
{
    if (p->victim && fab_cid_eq(&event->cid, p->victim)) {
        assert_ok(fab_dagsync_client_prune(p->client, p->victim, &p->up));
        p->victim = NULL;
    }
}

static void test_prune(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    /* Before it is reached: neither it nor what hangs below it alone. */
    struct sync_pipe p = sync_open(&s->blocks, 1, 1 << 20);
    assert_ok(fab_dagsync_client_prune(p.client, &s->file.cid, &p.up));
    sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    struct dag_order all = dag_order(&s->blocks, &s->root),
                     file = dag_order(&s->blocks, &s->file.cid);
    assert_int_equal(p.log.count, all.count - file.count);
    for (size_t i = 0; i < file.count; i++)
        assert_false(sync_has(&p, &file.cids[i]));
    /* Asked for by itself it comes. */
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, all.count);
    sync_close(&p);

    /* While it is sent: the rest of it does not come; what comes after it does. */
    p = sync_open(&s->blocks, 2, 1 << 20);
    p.target = 1;
    p.eager = true;
    p.on_block = prune_victim;
    p.victim = &s->file.cid;
    sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_true(sync_has(&p, &s->file.cid));
    assert_int_equal(p.log.count, all.count - file.count + 1);
    assert_true(sync_has(&p, &s->hamt));
    /* And can be asked for again, as a frontier: the root of it is not sent twice. */
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, all.count);
    /* An item that waits is pruned too. */
    sync_close(&p);
    p = sync_open(&s->blocks, 3, 1 << 20);
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_ok(fab_dagsync_client_prune(p.client, &s->file.cid, &p.up));
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, 0);
    assert_end(&p, 0, 0);
    sync_close(&p);
    free(all.cids);
    free(file.cids);
    sample_free(s);
}

static void test_missing(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    struct dag_order file = dag_order(&s->blocks, &s->file.cid);
    struct fab_cid leaf = file.cids[file.count - 1], inner = file.cids[1];
    struct mem_block *kept = mem_find(&s->blocks, &inner);
    uint8_t *bytes = malloc(kept->n);
    struct fab_slice data = fab_slice(bytes, kept->n);
    assert_non_null(bytes);
    memcpy(bytes, kept->data, kept->n);
    mem_drop(&s->blocks, &leaf);
    mem_drop(&s->blocks, &inner);
    struct dag_order rest = dag_order(&s->blocks, &s->file.cid);
    assert_int_equal(rest.missing, 2);
    struct sync_pipe p = sync_open(&s->blocks, 1, 1 << 20);
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_order(&p, rest.cids, rest.count);
    assert_int_equal(p.log.missing_count, 2);
    assert_true(fab_cid_eq(&p.log.missing[0], &inner));
    assert_true(fab_cid_eq(&p.log.missing[1], &leaf));
    assert_end(&p, 0, 0);
    /* It arrives at the server: asked for again, the frontier comes. */
    assert_ok(mem_put(&s->blocks, &inner, data));
    sync_ask(&p, &inner, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, file.count - 1);
    /* A missing block on a path. */
    mem_drop(&s->blocks, &s->sub);
    sync_ask(&p, &s->root, "sub/hamt", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.missing_count, 3);
    assert_true(fab_cid_eq(&p.log.missing[2], &s->sub));
    assert_end(&p, 2, 0);
    assert_int_equal(p.log.dones, 3);
    sync_close(&p);
    free(bytes);
    free(rest.cids);
    free(file.cids);
    sample_free(s);
}

static void test_credit(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    struct dag_order order = dag_order(&s->blocks, &s->root);
    /* Without credit nothing is sent but what costs none. */
    struct sync_pipe p = sync_open(&s->blocks, 1, 0);
    sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_WAIT);
    assert_int_equal(p.log.count, 0);
    /* One byte of credit lets one message pass; what went past it is owed, to the byte. */
    for (size_t i = 0; i < order.count; i++) {
        struct mem_block *b = mem_find(&s->blocks, &order.cids[i]);
        struct fab_dagsync_message m = {
            .type = FAB_DAGSYNC_BLOCK, .cid = b->cid, .bytes = fab_slice(b->data, b->n)};
        bool last = i + 1 == order.count;
        assert_ok(fab_dagsync_client_credit(p.client, 1, &p.up));
        assert_int_equal(fab_dagsync_client_credit_left(p.client), 1);
        assert_int_equal(sync_run(&p), last ? FAB_DAGSYNC_IDLE : FAB_DAGSYNC_WAIT);
        assert_int_equal(p.log.count, i + 1);
        assert_int_equal(fab_dagsync_client_credit_left(p.client), 0);
        assert_ok(fab_dagsync_client_credit(p.client, fab_dagsync_frame_size(&m) - 1, &p.up));
        assert_int_equal(sync_run(&p), last ? FAB_DAGSYNC_IDLE : FAB_DAGSYNC_WAIT);
        assert_int_equal(p.log.count, i + 1);
    }
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_order(&p, order.cids, order.count);
    assert_end(&p, 0, 0);
    sync_close(&p);
    /* The asker that ends while the server waits for credit gets what it has. */
    p = sync_open(&s->blocks, 1, 0);
    sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_WAIT);
    assert_ok(fab_dagsync_server_input_end(p.server));
    assert_int_equal(fab_dagsync_server_state(p.server), FAB_DAGSYNC_FINISHED);
    assert_int_equal(fab_dagsync_client_input_end(p.client), FAB_EFORMAT);
    sync_close(&p);
    free(order.cids);
    sample_free(s);
}

struct frontier {
    struct sync_pipe *pipe;
    size_t count;
};

static enum fab_rc frontier_ask(void *arg, const struct fab_cid *cid)
{
    struct frontier *f = arg;
    sync_ask(f->pipe, cid, "", FAB_DAGSYNC_ALL, 0, 0);
    f->count++;
    return FAB_OK;
}

/* A transfer that broke off: what a walk over the blocks that came finds missing is asked for on a
 * new stream, what came is pruned, and together every block came once. */
static void test_resume(void **state)
{
    struct sample *s = sample_new();
    (void)state;
    struct dag_order order = dag_order(&s->blocks, &s->root);
    for (size_t cut = 1; cut < order.count; cut += order.count / 7) {
        struct sync_pipe p = sync_open(&s->blocks, cut, 0), q = sync_open(&s->blocks, cut, 1 << 20);
        struct mem_blocks have = {0};
        struct frontier frontier = {.pipe = &q};
        struct fab_visited_set *set;
        sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
        while (p.log.count < cut) {
            assert_ok(fab_dagsync_client_credit(p.client, 500, &p.up));
            sync_run(&p);
        }
        assert_true(p.log.count < order.count);
        for (size_t i = 0; i < p.log.count; i++) {
            struct mem_block *b = mem_find(&s->blocks, &p.log.cids[i]);
            assert_ok(mem_put(&have, &b->cid, fab_slice(b->data, b->n)));
            assert_ok(fab_dagsync_client_prune(q.client, &b->cid, &q.up));
        }
        struct fab_block_source source = mem_source(&have);
        assert_ok(fab_visited_set_new(1 << 20, &set));
        struct fab_walk walk = {.source = &source,
                                .visited = fab_visited_set_table(set),
                                .arg = &frontier,
                                .missing = frontier_ask};
        assert_ok(fab_walk_dag(&walk, &s->root));
        fab_visited_set_free(set);
        assert_true(frontier.count > 0 && frontier.count <= order.count - p.log.count);
        assert_int_equal(sync_run(&q), FAB_DAGSYNC_IDLE);
        assert_order(&q, order.cids + p.log.count, order.count - p.log.count);
        assert_int_equal(q.log.dones, frontier.count);
        mem_fini(&have);
        sync_close(&p);
        sync_close(&q);
    }
    free(order.cids);
    sample_free(s);
}

struct fill_job {
    struct sync_pipe *pipe;
    enum fab_rc rc;
};

static void *fill_run(void *arg)
{
    struct fill_job *job = arg;
    struct fab_block_source source = mem_source(job->pipe->blocks);
    job->rc = fab_dagsync_server_fill(job->pipe->server, &source, &job->pipe->down, 20000);
    return NULL;
}

/* Fills on another thread, beside input: for the thread sanitizer, and that nothing is lost. */
static void test_fill_beside_input(void **state)
{
    struct sample *s = sample_new();
    struct dag_order order = dag_order(&s->blocks, &s->root);
    struct sync_pipe p = sync_open(&s->blocks, 1, 1);
    struct fab_cid none = dag_raw(&s->blocks, "none", 9);
    (void)state;
    p.down.max = 4 << 20;
    sync_ask(&p, &s->file.cid, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_feed_server(&p);
    assert_ok(fab_dagsync_server_apply(p.server));
    for (size_t i = 0; fab_dagsync_server_state(p.server) == FAB_DAGSYNC_WORK; i++) {
        struct fill_job job = {.pipe = &p};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, fill_run, &job), 0);
        if (i == 0)
            sync_ask(&p, &s->root, "", FAB_DAGSYNC_ALL, 0, 0);
        assert_ok(fab_dagsync_client_prune(p.client, &none, &p.up));
        assert_ok(fab_dagsync_client_credit(p.client, 30000, &p.up));
        sync_feed_server(&p);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_ok(job.rc);
        assert_ok(fab_dagsync_server_apply(p.server));
        sync_feed_client(&p);
    }
    sync_take(&p);
    assert_int_equal(p.log.count, order.count);
    assert_int_equal(p.log.dones, 2);
    sync_close(&p);
    free(order.cids);
    sample_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_several_peers),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_range_of_a_bomb),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_credit),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_fill_beside_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
