/* The worked example of docs/protocols/dagsync.md, byte by byte, and the set of seen blocks. */
#include "tests/support/dagsync_fixture.h"

#include "fabric/exchange/dagsync_marks.h"

/* root: a dag-cbor list of two links, to "hello" and to a block that the server does not have. */
#define HELLO                                                                                      \
    "01551220"                                                                                     \
    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define ABSENT                                                                                     \
    "01551220"                                                                                     \
    "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
#define ROOT                                                                                       \
    "01711220"                                                                                     \
    "346ad47c1eb089406203d4045849543afacd4e2682f445da21ba2ed096d4e535"

static const char asked[] = "0402808004"       /* CREDIT 65536 */
                            "2701" ROOT "0000" /* REQUEST: root, no path, everything */
                            "2f01" ROOT "062f612f622f63"
                            "020a14";                    /* REQUEST: a range */
static const char pruned[] = "2503" HELLO;               /* PRUNE */
static const char answered[] = "7810" ROOT "82"          /* BLOCK */
                               "d82a582500" HELLO        /* its bytes: two links */
                               "d82a582500" ABSENT       /**/
                               "2a10" HELLO "68656c6c6f" /* BLOCK */
                               "2511" ABSENT             /* MISSING */
                               "021200"                  /* ITEM_DONE 0 */
                               "12130102"
                               "6e6f742061206469726563746f7279" /* ERROR */
                               "021402";                        /* DONE: two */

static void unhex(const char *hex, struct fab_buf *out)
{
    fab_buf_init(out, 4096);
    for (size_t i = 0; hex[i]; i += 2) {
        char two[3] = {hex[i], hex[i + 1], 0}, *end;
        assert_ok(fab_buf_byte(out, (uint8_t)strtoul(two, &end, 16)));
        assert_true(*end == '\0');
    }
}

static void assert_hex(const struct fab_buf *buf, const char *hex)
{
    struct fab_buf expected;
    unhex(hex, &expected);
    if (!fab_slice_eq(fab_buf_slice(buf), fab_buf_slice(&expected))) {
        for (size_t i = 0; i < buf->len; i++)
            print_error("%02x", buf->data[i]);
        fail_msg(" is not %s", hex);
    }
    fab_buf_fini(&expected);
}

static void test_example(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_cid hello, world, root;
    struct fab_buf down;
    (void)state;
    hello = dag_put(&blocks, FAB_CODEC_RAW, fab_slice("hello", 5));
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("world", 5), &world));
    root = dag_list(&blocks, (struct fab_cid[]){hello, world}, 2);
    struct sync_pipe p = sync_open(&blocks, 1, 65536);
    sync_ask(&p, &root, "", FAB_DAGSYNC_ALL, 0, 0);
    sync_ask(&p, &root, "/a/b/c", FAB_DAGSYNC_RANGE, 10, 20);
    assert_hex(&p.up, asked);
    sync_feed_server(&p);
    assert_ok(fab_dagsync_server_apply(p.server));
    fab_buf_init(&down, 4 << 20);
    assert_ok(fab_dagsync_server_fill(p.server, &source, &down, 1 << 20));
    assert_hex(&down, answered);
    p.window = 0;
    assert_ok(fab_buf_append(&p.down, down.data, down.len));
    sync_feed_client(&p);
    sync_take(&p);
    assert_order(&p, (struct fab_cid[]){root, hello}, 2);
    assert_int_equal(p.log.missing_count, 1);
    assert_int_equal(p.log.ends[1].code, FAB_DAGSYNC_EDIRECTORY);
    assert_true(p.log.done);
    /* What BLOCK and MISSING cost of the credit: their whole frames. */
    assert_int_equal(65536 - fab_dagsync_client_credit_left(p.client), 121 + 43 + 38);
    fab_buf_reset(&p.up);
    assert_ok(fab_dagsync_client_prune(p.client, &hello, &p.up));
    assert_hex(&p.up, pruned);
    fab_buf_fini(&down);
    sync_close(&p);
    mem_fini(&blocks);
}

/* Every message that decodes is written again as the same bytes, and no prefix of it decodes as
 * itself. */
static void test_twins(void **state)
{
    const char *const streams[] = {asked, pruned, answered};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fab_buf in, out;
        unhex(streams[i], &in);
        fab_buf_init(&out, 4096);
        for (size_t at = 0; at < in.len;) {
            size_t n = in.data[at];
            struct fab_dagsync_message m, other;
            struct fab_slice body = fab_slice(in.data + at + 1, n);
            assert_true(n < 0x80 && n <= in.len - at - 1);
            assert_ok(fab_dagsync_decode(body, i == 2, &m));
            assert_int_equal(fab_dagsync_decode(body, i != 2, &other), FAB_EFORMAT);
            assert_int_equal(fab_dagsync_frame_size(&m), n + 1);
            assert_ok(fab_dagsync_append(&out, &m));
            at += n + 1;
        }
        assert_true(fab_slice_eq(fab_buf_slice(&in), fab_buf_slice(&out)));
        fab_buf_fini(&in);
        fab_buf_fini(&out);
    }
}

static void test_marks(void **state)
{
    enum { SLOTS = 4096, FULL = SLOTS / 4 * 3 };
    static const uint8_t key[FAB_DAGSYNC_KEY] = {1}, other_key[FAB_DAGSYNC_KEY] = {2};
    struct fab_dagsync_marks marks;
    struct fab_cid cid, same;
    (void)state;
    assert_ok(fab_cid_of(0, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_slice("x", 1), &cid));
    same = cid;
    same.version = 1;
    uint64_t print = fab_dagsync_print(key, &cid);
    assert_int_equal(fab_dagsync_print(key, &same), print);
    assert_int_equal(print & 1, 0);
    assert_true(fab_dagsync_print(other_key, &cid) != print);
    same.codec = FAB_CODEC_RAW;
    assert_true(fab_dagsync_print(key, &same) != print);

    fab_dagsync_marks_init(&marks, SLOTS);
    assert_int_equal(fab_dagsync_marks_get(&marks, print), FAB_DAGSYNC_NO_MARK);
    uint64_t *prints = calloc(FULL + 100, sizeof *prints);
    assert_non_null(prints);
    for (uint32_t i = 0; i < FULL + 100; i++) {
        assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(&i, sizeof i), &cid));
        prints[i] = fab_dagsync_print(key, &cid);
        fab_dagsync_marks_set(&marks, prints[i], i % 2);
    }
    assert_int_equal(marks.used, FULL);
    assert_int_equal(marks.slot_count, SLOTS);
    for (uint32_t i = 0; i < FULL + 100; i++) {
        enum fab_dagsync_mark mark = i >= FULL ? FAB_DAGSYNC_NO_MARK
                                     : i % 2   ? FAB_DAGSYNC_MARK_BIT
                                               : FAB_DAGSYNC_MARK;
        assert_int_equal(fab_dagsync_marks_get(&marks, prints[i]), mark);
    }
    /* The bit changes in a full set too. */
    fab_dagsync_marks_set(&marks, prints[1], false);
    assert_int_equal(fab_dagsync_marks_get(&marks, prints[1]), FAB_DAGSYNC_MARK);
    assert_int_equal(marks.used, FULL);
    free(prints);
    fab_dagsync_marks_fini(&marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
