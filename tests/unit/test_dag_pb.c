#include "storage/dag/dag_pb.h"
#include "storage/dag/links.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An identity CID of no bytes: 01 55 00 00. */
#define HASH     "\x0a\x04\x01\x55\x00\x00"
#define HASH_LEN 6

static const uint8_t cid_bytes[] = {0x01, 0x55, 0x00, 0x00};

static void test_write_and_read(void **state)
{
    (void)state;
    struct fab_pb_link in[] = {
        {.cid = {cid_bytes, 4}},
        {.cid = {cid_bytes, 4}, .has_name = true},
        {.cid = {cid_bytes, 4}, .has_name = true, .name = {(const uint8_t *)"name", 4}},
        {.cid = {cid_bytes, 4}, .has_tsize = true},
        {.cid = {cid_bytes, 4}, .has_name = true, .has_tsize = true, .tsize = UINT64_MAX},
    };
    const size_t n = sizeof(in) / sizeof(in[0]);
    struct fab_buf b;
    struct fab_pb_node node;
    struct fab_pb_link out;
    struct fab_cid cid;
    fab_buf_init(&b, 1024);
    for (size_t i = 0; i < n; i++) {
        size_t before = b.len;
        assert_int_equal(fab_pb_append_link(&b, &in[i]), FAB_OK);
        assert_int_equal(b.len - before, fab_pb_link_size(&in[i]));
    }
    size_t links_end = b.len;
    assert_int_equal(fab_pb_append_data(&b, fab_slice("data", 4)), FAB_OK);
    assert_int_equal(b.len - links_end, fab_pb_data_size(4));

    assert_int_equal(fab_pb_decode(fab_buf_slice(&b), &node), FAB_OK);
    assert_true(node.has_data && !node.data_first);
    assert_true(fab_slice_eq(node.data, fab_slice("data", 4)));
    assert_int_equal(node.links, n);
    assert_int_equal(node.links_bytes.n, links_end);
    struct fab_pb_links it = fab_pb_links(&node);
    for (size_t i = 0; i < n; i++) {
        assert_true(fab_pb_links_next(&it, &out));
        assert_int_equal(out.has_name, in[i].has_name);
        assert_int_equal(out.has_tsize, in[i].has_tsize);
        assert_true(fab_slice_eq(out.name, in[i].name));
        assert_true(out.tsize == in[i].tsize);
        assert_int_equal(fab_pb_link_cid(&out, &cid), FAB_OK);
        assert_int_equal(cid.codec, FAB_CODEC_RAW);
    }
    assert_false(fab_pb_links_next(&it, &out));
    fab_buf_fini(&b);
}

static void test_forms(void **state)
{
    (void)state;
    struct fab_pb_node node;
    struct fab_pb_links it;
    struct fab_pb_link link;
    assert_int_equal(fab_pb_decode(fab_slice(NULL, 0), &node), FAB_OK);
    assert_true(!node.has_data && node.links == 0);
    it = fab_pb_links(&node);
    assert_false(fab_pb_links_next(&it, &link));
    assert_int_equal(fab_pb_decode(fab_slice("\x0a\x00", 2), &node), FAB_OK);
    assert_true(node.has_data && node.data.n == 0 && !node.data_first);
    /* Data before the links is read, too. */
    assert_int_equal(fab_pb_decode(fab_slice("\x0a\x01x\x12\x06" HASH, 5 + HASH_LEN), &node),
                     FAB_OK);
    assert_true(node.has_data && node.data_first && node.links == 1);
    it = fab_pb_links(&node);
    assert_true(fab_pb_links_next(&it, &link));
    assert_false(fab_pb_links_next(&it, &link));
}

static enum fab_rc no_link(void *arg, const struct fab_cid *link)
{
    (void)arg, (void)link;
    fail_msg("a malformed block gave a link");
    return FAB_OK;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x12\x00", 2},                                /* a link without Hash */
        {"\x12\x02\x0a\x00", 4},                        /* an empty Hash */
        {"\x12\x05\x0a\x03\x01\x55\x00", 7},            /* no whole CID */
        {"\x12\x07\x0a\x05\x01\x55\x00\x00\x00", 9},    /* more than a CID */
        {"\x12\x0c" HASH HASH, 14},                     /* Hash twice */
        {"\x12\x0a" HASH "\x12\x00\x12\x00", 12},       /* Name twice */
        {"\x12\x0a" HASH "\x18\x01\x18\x01", 12},       /* Tsize twice */
        {"\x12\x08\x12\x00" HASH, 10},                  /* Name before Hash */
        {"\x12\x0a" HASH "\x18\x01\x12\x00", 12},       /* Tsize before Name */
        {"\x12\x08" HASH "\x20\x01", 10},               /* an unknown field in a link */
        {"\x12\x08" HASH "\x1a\x00", 10},               /* Tsize with another wire type */
        {"\x12\x09" HASH "\x18\x81\x00", 11},           /* Tsize is not minimal */
        {"\x12\x86\x00" HASH, 9},                       /* nor is the link's length */
        {"\x12\x07" HASH, 8},                           /* the link is cut */
        {"\x12\x05" HASH, 8},                           /* the link is too short for its Hash */
        {"\x0a\x01x\x0a\x01x", 6},                      /* Data twice */
        {"\x0a\x01x\x12\x06" HASH "\x0a\x01x", 14},     /* Data before and after */
        {"\x12\x06" HASH "\x0a\x01x\x12\x06" HASH, 19}, /* Data between links */
        {"\x0a\x02x", 3},                               /* Data is cut */
        {"\x0a", 1},                                    /* no length */
        {"\x08\x01", 2},                                /* Data as a number */
        {"\x1a\x00", 2},                                /* an unknown field */
        {"\x0a\x00\x00", 3},                            /* trailing bytes */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fab_pb_node node;
        struct fab_slice s = fab_slice(bad[i].bytes, bad[i].n);
        if (fab_pb_decode(s, &node) != FAB_EFORMAT)
            fail_msg("case %zu is accepted", i);
        assert_int_equal(fab_dag_links(FAB_CODEC_DAG_PB, s, no_link, NULL), FAB_EFORMAT);
    }
}

static enum fab_rc stop_at_two(void *arg, const struct fab_cid *link)
{
    (void)link;
    return ++*(int *)arg == 2 ? FAB_EINTERRUPTED : FAB_OK;
}

static void test_links(void **state)
{
    (void)state;
    static const char three[] = "\x12\x06" HASH "\x12\x06" HASH "\x12\x06" HASH;
    int n = 0;
    assert_int_equal(fab_dag_links(FAB_CODEC_DAG_PB, fab_slice(three, 24), stop_at_two, &n),
                     FAB_EINTERRUPTED);
    assert_int_equal(n, 2);
    assert_int_equal(fab_dag_links(FAB_CODEC_RAW, fab_slice(three, 24), no_link, NULL), FAB_OK);
    assert_int_equal(fab_dag_links(FAB_CODEC_LIBP2P_KEY, fab_slice(three, 24), no_link, NULL),
                     FAB_OK);
    assert_int_equal(fab_dag_links(0x78, fab_slice(three, 24), no_link, NULL), FAB_EUNSUPPORTED);
}

static void test_writing_is_checked(void **state)
{
    (void)state;
    struct fab_buf b;
    struct fab_pb_link link = {.cid = {cid_bytes, 0}};
    fab_buf_init(&b, 7);
    assert_int_equal(fab_pb_append_link(&b, &link), FAB_EINVAL);
    link.cid.n = 4;
    assert_int_equal(fab_pb_append_link(&b, &link), FAB_ELIMIT);
    assert_int_equal(b.len, 0);
    fab_buf_fini(&b);
}

static enum fab_rc get_nothing(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    (void)ctx, (void)cid, (void)out;
    return FAB_ENOENT;
}

static void test_identity_blocks_need_no_source(void **state)
{
    (void)state;
    struct fab_block_source source = {.get = get_nothing};
    struct fab_cid cid;
    struct fab_slice data;
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, fab_slice("inline", 6), &cid),
                     FAB_OK);
    assert_int_equal(fab_block_get(&source, &cid, &data), FAB_OK);
    assert_true(fab_slice_eq(data, fab_slice("inline", 6)));
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("inline", 6), &cid),
                     FAB_OK);
    assert_int_equal(fab_block_get(&source, &cid, &data), FAB_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_writing_is_checked),
        cmocka_unit_test(test_identity_blocks_need_no_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
