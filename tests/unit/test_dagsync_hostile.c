/* dagsync against who breaks its rules, and against DAGs made to be expensive. */
#include "tests/support/dagsync_fixture.h"

static enum fab_rc to_server(struct fab_slice bytes)
{
    struct fab_dagsync_server *server;
    static const uint8_t key[FAB_DAGSYNC_KEY];
    assert_ok(fab_dagsync_server_new(key, &server));
    enum fab_rc rc = fab_dagsync_server_input(server, bytes);
    if (rc == FAB_OK)
        rc = fab_dagsync_server_input_end(server);
    fab_dagsync_server_free(server);
    return rc;
}

#define BYTES(s) fab_slice(s, sizeof(s) - 1)

static void test_server_input(void **state)
{
    (void)state;
    assert_ok(to_server(BYTES("")));
    assert_ok(to_server(BYTES("\x02\x02\x01")));
    /* Lengths: 0, not minimal, too long, cut. */
    assert_int_equal(to_server(BYTES("\x00")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x82\x00\x02\x01")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x80\x80\x80\x80\x01")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x81\x80\x10")), FAB_EFORMAT); /* 256 KiB and 1 */
    assert_int_equal(to_server(BYTES("\x82")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x02\x02")), FAB_EFORMAT);
    /* Types of the server, and none. */
    assert_int_equal(to_server(BYTES("\x02\x12\x00")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x01\x00")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x01\x04")), FAB_EFORMAT);
    /* Credit: 0, more than there is, bytes left over. */
    assert_int_equal(to_server(BYTES("\x02\x02\x00")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x0a\x02\x81\x80\x80\x80\x80\x80\x80\x80\x40")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x03\x02\x01\x00")), FAB_EFORMAT);
    /* No item, no CID. */
    assert_int_equal(to_server(BYTES("\x01\x01")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x03\x01\x00\x00")), FAB_EFORMAT);
    assert_int_equal(to_server(BYTES("\x01\x03")), FAB_EFORMAT);
}

static void test_credit_limit(void **state)
{
    struct fab_dagsync_server *server;
    static const uint8_t key[FAB_DAGSYNC_KEY];
    static const uint8_t most[] = {0x0a, 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40};
    struct fab_buf up;
    struct fab_dagsync_client *client;
    (void)state;
    assert_ok(fab_dagsync_server_new(key, &server));
    assert_ok(fab_dagsync_server_input(server, fab_slice(most, sizeof most)));
    assert_int_equal(fab_dagsync_server_input(server, BYTES("\x02\x02\x01")), FAB_ELIMIT);
    assert_ok(fab_dagsync_server_apply(server));
    assert_ok(fab_dagsync_server_input(server, BYTES("\x02\x02\x01")));
    assert_int_equal(fab_dagsync_server_apply(server), FAB_ELIMIT);
    fab_dagsync_server_free(server);
    fab_dagsync_server_free(NULL);

    assert_ok(fab_dagsync_client_new(&client));
    fab_buf_init(&up, 64);
    assert_ok(fab_dagsync_client_credit(client, 0, &up));
    assert_int_equal(up.len, 0);
    assert_ok(fab_dagsync_client_credit(client, FAB_DAGSYNC_CREDIT_MAX, &up));
    assert_true(fab_slice_eq(fab_buf_slice(&up), fab_slice(most, sizeof most)));
    assert_int_equal(fab_dagsync_client_credit(client, 1, &up), FAB_EINVAL);
    assert_int_equal(up.len, sizeof most);
    fab_dagsync_client_free(client);
    fab_dagsync_client_free(NULL);
    fab_buf_fini(&up);
}

static void test_item_rules(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_dagsync_item item = {.cid = dag_raw(&blocks, "x", 10)}, back;
    char *path = calloc(1, FAB_DAGSYNC_PATH_MAX + 1);
    struct fab_buf buf;
    (void)state;
    assert_non_null(path);
    fab_buf_init(&buf, 1 << 20);
    item.path = fab_slice(path, FAB_DAGSYNC_PATH_MAX + 1);
    assert_int_equal(fab_dagsync_item_append(&buf, &item), FAB_EINVAL);
    item.path.n--;
    item.scope = (enum fab_dagsync_scope)3;
    assert_int_equal(fab_dagsync_item_append(&buf, &item), FAB_EINVAL);
    item.scope = FAB_DAGSYNC_RANGE;
    item.from = item.to = 7;
    assert_int_equal(fab_dagsync_item_append(&buf, &item), FAB_EINVAL);
    item.to = FAB_DAGSYNC_RANGE_END + 1;
    assert_int_equal(fab_dagsync_item_append(&buf, &item), FAB_EINVAL);
    assert_int_equal(buf.len, 0);
    item.to--;
    assert_ok(fab_dagsync_item_append(&buf, &item));
    assert_int_equal(buf.len, fab_dagsync_item_size(&item));
    struct fab_reader r = fab_reader(fab_buf_slice(&buf));
    assert_ok(fab_dagsync_item_read(&r, &back));
    assert_int_equal(fab_reader_left(&r), 0);
    assert_true(fab_cid_eq(&back.cid, &item.cid));
    assert_int_equal(back.path.n, item.path.n);
    assert_int_equal(back.from, 7);
    assert_int_equal(back.to, FAB_DAGSYNC_RANGE_END);
    /* Every prefix is refused, and the reader stays. */
    for (size_t n = 0; n < buf.len; n += n < 50 || n > buf.len - 50 ? 1 : 1000) {
        r = fab_reader(fab_slice(buf.data, n));
        assert_int_equal(fab_dagsync_item_read(&r, &back), FAB_EFORMAT);
        assert_ptr_equal(r.p, buf.data);
    }
    /* from = to, a scope of 3 and a path too long, from the wire. */
    const struct {
        const char *tail;
        size_t n;
    } bad[] = {{"\x00\x02\x07\x07", 4}, {"\x00\x03", 2}, {"\x81\x80\x01", 3}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t cid[FAB_CID_MAX];
        fab_buf_reset(&buf);
        assert_ok(fab_buf_append(&buf, cid, fab_cid_bytes(&item.cid, cid)));
        assert_ok(fab_buf_append(&buf, bad[i].tail, bad[i].n));
        if (i == 2)
            assert_ok(fab_buf_append(&buf, path, FAB_DAGSYNC_PATH_MAX + 1));
        r = fab_reader(fab_buf_slice(&buf));
        assert_int_equal(fab_dagsync_item_read(&r, &back), FAB_EFORMAT);
    }
    fab_buf_fini(&buf);
    free(path);
    mem_fini(&blocks);
}

/* The asker holds to the limits by itself; a server that is sent more ends the stream. */
static void test_open_items(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_dagsync_item *items = calloc(FAB_DAGSYNC_ITEMS_MAX + 10, sizeof *items);
    char *path = malloc(1000);
    size_t taken;
    (void)state;
    assert_non_null(items);
    assert_non_null(path);
    memset(path, 'a', 1000);
    struct fab_cid cid = dag_raw(&blocks, "x", 10);
    for (size_t i = 0; i < FAB_DAGSYNC_ITEMS_MAX + 10; i++)
        items[i].cid = cid;
    struct sync_pipe p = sync_open(&blocks, 1, 1 << 20);
    assert_ok(fab_dagsync_client_ask(p.client, items, FAB_DAGSYNC_ITEMS_MAX + 10, &p.up, &taken));
    assert_int_equal(taken, FAB_DAGSYNC_ITEMS_MAX);
    assert_ok(fab_dagsync_client_ask(p.client, items, 1, &p.up, &taken));
    assert_int_equal(taken, 0);
    assert_int_equal(fab_dagsync_client_open(p.client), FAB_DAGSYNC_ITEMS_MAX);
    struct fab_buf saved = p.up;
    p.up = (struct fab_buf){.max = 16 << 20};
    /* One more, behind the client's back. */
    assert_ok(fab_dagsync_server_input(p.server, fab_buf_slice(&saved)));
    struct fab_dagsync_client *other;
    assert_ok(fab_dagsync_client_new(&other));
    assert_ok(fab_dagsync_client_ask(other, items, 1, &p.up, &taken));
    assert_int_equal(fab_dagsync_server_input(p.server, fab_buf_slice(&p.up)), FAB_ELIMIT);
    fab_dagsync_client_free(other);
    sync_close(&p);

    /* By bytes, and going on as items end. */
    p = sync_open(&blocks, 2, 1 << 20);
    fab_buf_fini(&saved);
    for (size_t i = 0; i < 600; i++)
        items[i].path = fab_slice(path, 1000);
    size_t asked = 0;
    while (asked < 600) {
        assert_ok(fab_dagsync_client_ask(p.client, items + asked, 600 - asked, &p.up, &taken));
        assert_true(taken > 200 && taken < 260);
        assert_ok(fab_dagsync_client_ask(p.client, items, 1, &p.up, &taken));
        assert_int_equal(taken, 0);
        asked = (size_t)fab_dagsync_client_asked(p.client);
        sync_run(&p);
        assert_int_equal(p.log.ends_count, asked);
        if (asked > 300)
            break;
    }
    assert_int_equal(p.log.ends[0].code, FAB_DAGSYNC_EDIRECTORY);
    /* An item that breaks a rule, and a buffer that is full, leave everything as it was. */
    items[0].scope = FAB_DAGSYNC_RANGE;
    assert_int_equal(fab_dagsync_client_ask(p.client, items, 1, &p.up, &taken), FAB_EINVAL);
    struct fab_buf tiny;
    fab_buf_init(&tiny, 100);
    items[0].scope = FAB_DAGSYNC_ALL;
    assert_int_equal(fab_dagsync_client_ask(p.client, items, 1, &tiny, &taken), FAB_ELIMIT);
    assert_int_equal(tiny.len, 0);
    assert_int_equal(fab_dagsync_client_open(p.client), 0);
    fab_buf_fini(&tiny);
    sync_close(&p);
    free(items);
    free(path);
    mem_fini(&blocks);
}

/* ---- a hostile server ---- */

struct answer {
    struct fab_dagsync_client *client;
    struct fab_buf up, down;
};

static struct answer answer_open(const struct fab_cid *cid, size_t items, uint64_t credit)
{
    struct answer a;
    struct fab_dagsync_item item = {.cid = *cid};
    size_t taken;
    assert_ok(fab_dagsync_client_new(&a.client));
    fab_buf_init(&a.up, 1 << 20);
    fab_buf_init(&a.down, 16 << 20);
    for (size_t i = 0; i < items; i++)
        assert_ok(fab_dagsync_client_ask(a.client, &item, 1, &a.up, &taken));
    assert_ok(fab_dagsync_client_credit(a.client, credit, &a.up));
    return a;
}

static enum fab_rc answer_close(struct answer *a)
{
    size_t used;
    enum fab_rc rc = fab_dagsync_client_input(a->client, fab_buf_slice(&a->down), &used);
    if (rc != FAB_OK) {
        /* It is final. */
        assert_int_equal(fab_dagsync_client_input(a->client, BYTES(""), &used), rc);
        assert_int_equal(fab_dagsync_client_input_end(a->client), rc);
    }
    struct fab_dagsync_batch *batch;
    assert_ok(fab_dagsync_client_take(a->client, &batch));
    fab_dagsync_batch_free(batch);
    fab_dagsync_client_free(a->client);
    fab_buf_fini(&a->up);
    fab_buf_fini(&a->down);
    return rc;
}

static void say(struct answer *a, const struct fab_dagsync_message *m)
{
    assert_ok(fab_dagsync_append(&a->down, m));
}

static void test_hostile_server(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_cid cid = dag_raw(&blocks, "x", 10), identity;
    const struct fab_dagsync_message block = {
        .type = FAB_DAGSYNC_BLOCK, .cid = cid, .bytes = BYTES("0123456789")};
    const struct fab_dagsync_message missing = {.type = FAB_DAGSYNC_MISSING, .cid = cid};
    struct fab_dagsync_message end = {.type = FAB_DAGSYNC_ITEM_DONE},
                               done = {.type = FAB_DAGSYNC_DONE, .number = 1};
    struct answer a;
    (void)state;

    /* What is right passes. */
    a = answer_open(&cid, 1, 1);
    say(&a, &block);
    say(&a, &end);
    say(&a, &done);
    assert_ok(answer_close(&a));

    /* Beyond the credit: the first message passes, no second one. */
    a = answer_open(&cid, 1, 1);
    say(&a, &block);
    say(&a, &missing);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 1, 0);
    say(&a, &missing);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);

    /* Blocks when nothing is asked, or no more. */
    a = answer_open(&cid, 0, 1000);
    say(&a, &block);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 1, 1000);
    say(&a, &end);
    say(&a, &block);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);

    /* Ends: twice, out of order, of what was not asked; DONE too early, twice. */
    a = answer_open(&cid, 1, 1000);
    say(&a, &end);
    say(&a, &end);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 2, 1000);
    end.number = 1;
    say(&a, &end);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 0, 1000);
    end.number = 0;
    say(&a, &end);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 1, 1000);
    say(&a, &done);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 1, 1000);
    say(&a, &end);
    say(&a, &done);
    say(&a, &done);
    assert_int_equal(answer_close(&a), FAB_EFORMAT);

    /* Messages that are malformed, unknown, too long, or the asker's own. */
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"\x00", 1},         {"\x01\x15", 2},     {"\x02\x10\x00", 3},
               {"\x02\x02\x01", 3}, {"\x01\x12", 2},     {"\x03\x12\x00\x00", 4},
               {"\x02\x13\x00", 3}, {"\x80\x03\x13", 3}, {"\xff\xff\xff\x01\x10", 5}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a = answer_open(&cid, 1, 1000);
        assert_ok(fab_buf_append(&a.down, bad[i].bytes, bad[i].n));
        assert_int_equal(answer_close(&a), FAB_EFORMAT);
    }

    /* An identity CID, which cannot be missing and need not be sent. */
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, BYTES("i"), &identity));
    a = answer_open(&cid, 1, 1000);
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_MISSING, .cid = identity};
    assert_int_equal(fab_dagsync_append(&a.down, &m), FAB_EINVAL);
    assert_ok(fab_buf_append(&a.down, "\x06\x11\x01\x55\x00\x01i", 7));
    assert_int_equal(answer_close(&a), FAB_EFORMAT);

    /* One byte more than a block may have. */
    uint8_t *big = calloc(1, FAB_BLOCK_MAX + 1);
    assert_non_null(big);
    a = answer_open(&cid, 1, 1000);
    m = (struct fab_dagsync_message){
        .type = FAB_DAGSYNC_BLOCK, .cid = cid, .bytes = fab_slice(big, FAB_BLOCK_MAX + 1)};
    assert_int_equal(fab_dagsync_append(&a.down, &m), FAB_EINVAL);
    m.bytes.n--;
    say(&a, &m);
    /* The length, 3 to 4 bytes here, is one higher; so is the block. */
    assert_ok(fab_buf_byte(&a.down, 0));
    a.down.data[0]++;
    assert_int_equal(answer_close(&a), FAB_EFORMAT);
    a = answer_open(&cid, 1, 1000);
    say(&a, &m);
    assert_ok(answer_close(&a));
    free(big);

    /* A stream that ends too early. */
    a = answer_open(&cid, 1, 1000);
    assert_int_equal(fab_dagsync_client_input_end(a.client), FAB_EFORMAT);
    assert_ok(answer_close(&a));
    a = answer_open(&cid, 0, 1000);
    assert_ok(fab_buf_append(&a.down, "\x82", 1));
    size_t used;
    assert_ok(fab_dagsync_client_input(a.client, fab_buf_slice(&a.down), &used));
    assert_int_equal(fab_dagsync_client_input_end(a.client), FAB_EFORMAT);
    fab_buf_reset(&a.down);
    assert_ok(answer_close(&a));
    mem_fini(&blocks);
}

/* A server that floods with messages that cost nothing to hold meets a full batch. */
static void test_batch_bounds(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_cid cid = dag_raw(&blocks, "x", 10);
    struct fab_dagsync_message missing = {.type = FAB_DAGSYNC_MISSING, .cid = cid};
    struct fab_dagsync_batch *batch;
    size_t used, total = 3 * FAB_DAGSYNC_BATCH_EVENTS + 5, events = 0, at = 0;
    (void)state;
    struct answer a = answer_open(&cid, 1, 1 << 20);
    for (size_t i = 0; i < total; i++)
        say(&a, &missing);
    while (at < a.down.len) {
        assert_ok(fab_dagsync_client_input(a.client, fab_slice(a.down.data + at, a.down.len - at),
                                           &used));
        at += used;
        assert_true(at == a.down.len || fab_dagsync_client_ready(a.client));
        assert_ok(fab_dagsync_client_take(a.client, &batch));
        assert_true(batch->count <= FAB_DAGSYNC_BATCH_EVENTS);
        assert_int_equal(batch->cost, batch->count * fab_dagsync_frame_size(&missing));
        events += batch->count;
        fab_dagsync_client_recycle(a.client, batch);
    }
    assert_int_equal(events, total);
    fab_buf_reset(&a.down);
    assert_ok(answer_close(&a));
    mem_fini(&blocks);
}

/* ---- DAGs made to be expensive, and malformed ones ---- */

/* A node of nearly 2 MiB: 45,000 links to 300 blocks, in front of a last one that occurs once. The
 * server's memory does not grow with it, and the node is read again only a few times. */
static void test_wide(void **state)
{
    enum { LINKS = 45000, LEAVES = 300 };
    struct mem_blocks blocks = {.volatile_slices = true};
    struct fab_cid *links = calloc(LINKS, sizeof *links);
    (void)state;
    assert_non_null(links);
    for (size_t i = 0; i < LEAVES; i++) {
        char seed[16];
        snprintf(seed, sizeof seed, "%zu", i);
        links[i] = dag_raw(&blocks, seed, 50);
    }
    for (size_t i = LEAVES; i + 1 < LINKS; i++)
        links[i] = links[i * 7919 % LEAVES];
    links[LINKS - 1] = dag_raw(&blocks, "last", 60);
    struct fab_cid root = dag_list(&blocks, links, LINKS);
    struct fab_cid deeper = root;
    for (size_t i = 0; i < 100; i++)
        deeper = dag_list(&blocks, (struct fab_cid[]){deeper, links[i]}, 2);
    struct sync_pipe p = sync_open(&blocks, 1, 1 << 20);
    p.target = 1 << 20;
    blocks.gets = 0;
    sync_ask(&p, &deeper, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, 1 + 100 + LEAVES + 1);
    assert_true(fab_cid_eq(&p.log.cids[100], &root));
    assert_true(p.memory < 256 << 10);
    assert_true(blocks.gets < p.log.count + 1000);
    sync_close(&p);
    free(links);
    mem_fini(&blocks);
}

static void test_depth(void **state)
{
    struct mem_blocks blocks = {0};
    (void)state;
    struct fab_cid x = dag_raw(&blocks, "x", 5), cid = x;
    for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
        cid = dag_list(&blocks, &cid, 1);
    struct fab_cid deeper = dag_list(&blocks, &cid, 1);
    struct sync_pipe p = sync_open(&blocks, 1, 1 << 20);
    sync_ask(&p, &deeper, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.count, FAB_DEPTH_MAX + 1);
    assert_int_equal(p.log.ends[0].code, FAB_DAGSYNC_ELIMIT);
    assert_false(sync_has(&p, &x));
    /* The same blocks from one level below: what was given up may be asked for again. */
    sync_ask(&p, &cid, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.ends[1].type, FAB_DAGSYNC_ITEM_DONE);
    assert_true(sync_has(&p, &x));
    assert_int_equal(p.log.count, FAB_DEPTH_MAX + 2);
    sync_close(&p);
    mem_fini(&blocks);
}

static enum fab_rc broken_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    (void)cid;
    *out = fab_slice(NULL, 0);
    return *(enum fab_rc *)ctx;
}

static void test_bad_blocks(void **state)
{
    struct mem_blocks blocks = {0};
    (void)state;
    struct fab_cid x = dag_raw(&blocks, "x", 5), y = dag_raw(&blocks, "y", 5), identity;
    struct fab_cid bad = dag_put(&blocks, FAB_CODEC_DAG_PB, BYTES("\xff"));
    struct fab_cid other = dag_put(&blocks, 0x78, BYTES("git"));
    struct fab_cid root = dag_list(&blocks, (struct fab_cid[]){x, bad, y}, 3);
    struct fab_cid mixed = dag_list(&blocks, (struct fab_cid[]){other, y}, 2);
    struct sync_pipe p = sync_open(&blocks, 1, 1 << 20);
    sync_ask(&p, &root, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &mixed, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &bad, "name", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &bad, "", FAB_DAGSYNC_ROOT, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_int_equal(p.log.ends[0].code, FAB_DAGSYNC_EMALFORMED);
    assert_order(&p, (struct fab_cid[]){root, x, bad, mixed, other, y}, 6);
    assert_int_equal(p.log.ends[1].code, 0);
    assert_int_equal(p.log.ends[2].code, FAB_DAGSYNC_EMALFORMED);
    assert_int_equal(p.log.ends[3].code, 0);
    sync_close(&p);

    /* Identity CIDs are not sent; what they link to is. */
    struct fab_buf buf;
    fab_buf_init(&buf, 1000);
    assert_ok(fab_cbor_put_array(&buf, 1));
    assert_ok(fab_cbor_put_cid(&buf, &x));
    assert_ok(fab_cid_of(1, FAB_CODEC_DAG_CBOR, FAB_MH_IDENTITY, fab_buf_slice(&buf), &identity));
    fab_buf_fini(&buf);
    root = dag_list(&blocks, (struct fab_cid[]){identity, y}, 2);
    p = sync_open(&blocks, 1, 1 << 20);
    sync_ask(&p, &root, "", FAB_DAGSYNC_ALL, 0, 0);
    assert_int_equal(sync_run(&p), FAB_DAGSYNC_IDLE);
    assert_order(&p, (struct fab_cid[]){root, x, y}, 3);
    sync_close(&p);

    /* A store that fails ends the item; memory that fails, the stream. */
    const struct {
        enum fab_rc store, fill;
    } fails[] = {{FAB_EIO, FAB_OK}, {FAB_EBUSY, FAB_OK}, {FAB_ENOMEM, FAB_ENOMEM}};
    for (size_t i = 0; i < 3; i++) {
        enum fab_rc store = fails[i].store;
        struct fab_block_source source = {&store, broken_get};
        p = sync_open(&blocks, 1, 1 << 20);
        sync_ask(&p, &root, "", FAB_DAGSYNC_ALL, 0, 0);
        sync_ask(&p, &x, "a/b", FAB_DAGSYNC_ALL, 0, 0);
        sync_ask(&p, &bad, "a/b", FAB_DAGSYNC_ALL, 0, 0);
        sync_feed_server(&p);
        assert_ok(fab_dagsync_server_apply(p.server));
        assert_int_equal(fab_dagsync_server_fill(p.server, &source, &p.down, 100), fails[i].fill);
        if (fails[i].fill == FAB_OK) {
            sync_feed_client(&p);
            sync_take(&p);
            assert_int_equal(p.log.ends[0].code, FAB_DAGSYNC_EINTERNAL);
            assert_int_equal(p.log.ends[2].code, FAB_DAGSYNC_EINTERNAL);
        }
        sync_close(&p);
    }
    /* A buffer that is smaller than promised. */
    struct fab_block_source source = mem_source(&blocks);
    p = sync_open(&blocks, 1, 1 << 20);
    sync_ask(&p, &root, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_feed_server(&p);
    assert_ok(fab_dagsync_server_apply(p.server));
    p.down.max = 20;
    assert_int_equal(fab_dagsync_server_fill(p.server, &source, &p.down, 100), FAB_ELIMIT);
    assert_int_equal(p.down.len, 0);
    sync_close(&p);
    mem_fini(&blocks);
}

/* Items that cost reading but bring nothing: a fill stops, and the next one goes on. */
static void test_work_is_bounded(void **state)
{
    enum { ENTRIES = 30000, ITEMS = 64 };
    struct mem_blocks blocks = {.volatile_slices = true};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_dag_entry out;
    struct fab_block_sink sink = mem_sink(&blocks);
    struct fab_profile profile = *fab_profile_default();
    struct fab_dir_builder *builder;
    (void)state;
    struct fab_cid x = dag_raw(&blocks, "x", 5);
    profile.hamt_threshold = SIZE_MAX;
    assert_ok(fab_dir_builder_new(&profile, 0, &builder));
    for (unsigned i = 0; i < ENTRIES; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%u", i);
        assert_ok(fab_dir_builder_add(builder, fab_slice(name, (size_t)n), &x, 1));
    }
    assert_ok(fab_dir_builder_finish(builder, NULL, &sink, &out));
    fab_dir_builder_free(builder);
    struct sync_pipe p = sync_open(&blocks, 1, 16 << 20);
    p.target = 1 << 16;
    for (size_t i = 0; i < ITEMS; i++)
        sync_ask(&p, &out.cid, "none", FAB_DAGSYNC_ALL, 0, 0);
    sync_feed_server(&p);
    assert_ok(fab_dagsync_server_apply(p.server));
    size_t fills = 0;
    while (fab_dagsync_server_state(p.server) == FAB_DAGSYNC_WORK) {
        size_t gets = blocks.gets;
        assert_ok(fab_dagsync_server_fill(p.server, &source, &p.down, p.target));
        assert_true(blocks.gets - gets <= 3);
        assert_ok(fab_dagsync_server_apply(p.server));
        sync_feed_client(&p);
        fills++;
    }
    assert_true(fills > ITEMS / 3);
    sync_take(&p);
    assert_int_equal(p.log.ends_count, ITEMS);
    assert_int_equal(p.log.count, 1);
    sync_close(&p);
    mem_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_input),   cmocka_unit_test(test_credit_limit),
        cmocka_unit_test(test_item_rules),     cmocka_unit_test(test_open_items),
        cmocka_unit_test(test_hostile_server), cmocka_unit_test(test_batch_bounds),
        cmocka_unit_test(test_wide),           cmocka_unit_test(test_depth),
        cmocka_unit_test(test_bad_blocks),     cmocka_unit_test(test_work_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
