#include "storage/dag/dag_cbor.h"
#include "storage/dag/ipld_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

/* Tag 42 with an identity CID of no bytes. */
#define LINK     "\xd8\x2a\x45\x00\x01\x55\x00\x00"
#define LINK_LEN 8

static void test_write_and_read(void **state)
{
    (void)state;
    struct fab_buf b;
    struct fab_cid cid, cid_out;
    fab_buf_init(&b, 4096);
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &cid),
                     FAB_OK);
    assert_int_equal(fab_cbor_put_map(&b, 3), FAB_OK);
    assert_int_equal(fab_cbor_put_str(&b, ""), FAB_OK);
    assert_int_equal(fab_cbor_put_cid(&b, &cid), FAB_OK);
    assert_int_equal(fab_cbor_put_str(&b, "b"), FAB_OK);
    assert_int_equal(fab_cbor_put_array(&b, 7), FAB_OK);
    assert_int_equal(fab_cbor_put_int(&b, INT64_MIN), FAB_OK);
    assert_int_equal(fab_cbor_put_uint(&b, UINT64_MAX), FAB_OK);
    assert_int_equal(fab_cbor_put_negint(&b, UINT64_MAX), FAB_OK);
    assert_int_equal(fab_cbor_put_float(&b, -1.5), FAB_OK);
    assert_int_equal(fab_cbor_put_bool(&b, true), FAB_OK);
    assert_int_equal(fab_cbor_put_null(&b), FAB_OK);
    assert_int_equal(fab_cbor_put_bytes(&b, fab_slice("\x00\xff", 2)), FAB_OK);
    assert_int_equal(fab_cbor_put_str(&b, "aa"), FAB_OK);
    assert_int_equal(fab_cbor_put_str(&b, "ü"), FAB_OK);
    assert_int_equal(fab_cbor_validate(fab_buf_slice(&b)), FAB_OK);

    struct fab_reader r = fab_reader(fab_buf_slice(&b));
    struct fab_cbor_map map;
    struct fab_cbor_item item;
    struct fab_slice s;
    enum fab_cbor_kind kind;
    size_t n;
    int64_t i;
    uint64_t u;
    double f;
    bool flag;
    assert_int_equal(fab_cbor_read_map(&r, &map), FAB_OK);
    assert_int_equal(map.left, 3);
    assert_int_equal(fab_cbor_read_key(&r, &map, &s), FAB_OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(fab_cbor_peek(&r, &kind), FAB_OK);
    assert_int_equal(kind, FAB_CBOR_LINK);
    assert_int_equal(fab_cbor_read_cid(&r, &cid_out), FAB_OK);
    assert_true(fab_cid_eq(&cid, &cid_out));
    assert_int_equal(fab_cbor_read_key(&r, &map, &s), FAB_OK);
    assert_int_equal(fab_cbor_read_array(&r, &n), FAB_OK);
    assert_int_equal(n, 7);
    assert_int_equal(fab_cbor_read_int(&r, &i), FAB_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(fab_cbor_read_int(&r, &i), FAB_EFORMAT); /* does not fit; the reader stays */
    assert_int_equal(fab_cbor_read_uint(&r, &u), FAB_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(fab_cbor_read_int(&r, &i), FAB_EFORMAT);
    assert_int_equal(fab_cbor_read_uint(&r, &u), FAB_EFORMAT);
    assert_int_equal(fab_cbor_read(&r, &item), FAB_OK);
    assert_true(item.kind == FAB_CBOR_NEGINT && item.u == UINT64_MAX);
    assert_int_equal(fab_cbor_read_float(&r, &f), FAB_OK);
    assert_true(f == -1.5);
    assert_int_equal(fab_cbor_read_null(&r), FAB_EFORMAT);
    assert_int_equal(fab_cbor_read_bool(&r, &flag), FAB_OK);
    assert_true(flag);
    assert_int_equal(fab_cbor_read_null(&r), FAB_OK);
    assert_int_equal(fab_cbor_read_text(&r, &s), FAB_EFORMAT);
    assert_int_equal(fab_cbor_read_bytes(&r, &s), FAB_OK);
    assert_true(fab_slice_eq(s, fab_slice("\x00\xff", 2)));
    assert_int_equal(fab_cbor_read_key(&r, &map, &s), FAB_OK);
    assert_int_equal(fab_cbor_read_end(&r), FAB_EFORMAT);
    assert_int_equal(fab_cbor_skip(&r), FAB_OK);
    assert_int_equal(map.left, 0);
    assert_int_equal(fab_cbor_read_key(&r, &map, &s), FAB_EINVAL);
    assert_int_equal(fab_cbor_read_end(&r), FAB_OK);
    fab_buf_fini(&b);
}

/* RFC 8949 appendix A, the shortest heads. */
static void test_known_heads(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        const char *bytes;
        size_t n;
    } known[] = {
        {0, "\x00", 1},
        {23, "\x17", 1},
        {24, "\x18\x18", 2},
        {255, "\x18\xff", 2},
        {256, "\x19\x01\x00", 3},
        {65535, "\x19\xff\xff", 3},
        {65536, "\x1a\x00\x01\x00\x00", 5},
        {4294967295, "\x1a\xff\xff\xff\xff", 5},
        {4294967296, "\x1b\x00\x00\x00\x01\x00\x00\x00\x00", 9},
        {-1, "\x20", 1},
        {-24, "\x37", 1},
        {-25, "\x38\x18", 2},
        {-1000, "\x39\x03\xe7", 3},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct fab_buf b;
        int64_t v;
        fab_buf_init(&b, 16);
        assert_int_equal(fab_cbor_put_int(&b, known[i].v), FAB_OK);
        assert_int_equal(b.len, known[i].n);
        assert_memory_equal(b.data, known[i].bytes, b.len);
        struct fab_reader r = fab_reader(fab_buf_slice(&b));
        assert_int_equal(fab_cbor_read_int(&r, &v), FAB_OK);
        assert_true(v == known[i].v);
        fab_buf_fini(&b);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } bad[] = {
        {"", 0, "nothing"},
        {"\x00\x00", 2, "trailing bytes"},
        {"\x18\x17", 2, "23 in two bytes"},
        {"\x19\x00\xff", 3, "255 in three bytes"},
        {"\x1a\x00\x00\xff\xff", 5, "65535 in five bytes"},
        {"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", 9, "32 bits in nine bytes"},
        {"\x38\x17", 2, "-24 in two bytes"},
        {"\x58\x01x", 3, "a long length of bytes"},
        {"\x78\x01x", 3, "a long length of text"},
        {"\x98\x01\x00", 3, "a long count of an array"},
        {"\xb8\x01\x61x\x00", 5, "a long count of a map"},
        {"\x1c", 1, "a reserved head"},
        {"\x1f", 1, "an indefinite integer"},
        {"\x5f\x41x\xff", 4, "indefinite bytes"},
        {"\x7f\x61x\xff", 4, "indefinite text"},
        {"\x9f\x00\xff", 3, "an indefinite array"},
        {"\xbf\x61x\x00\xff", 5, "an indefinite map"},
        {"\xff", 1, "a break"},
        {"\xf7", 1, "undefined"},
        {"\xe0", 1, "a simple value"},
        {"\xf8\x20", 2, "a simple value in two bytes"},
        {"\xf8\x14", 2, "false in two bytes"},
        {"\xf9\x3e\x00", 3, "a float of 16 bits"},
        {"\xfa\x3f\xc0\x00\x00", 5, "a float of 32 bits"},
        {"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", 9, "NaN"},
        {"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00", 9, "infinity"},
        {"\xfb\xff\xf0\x00\x00\x00\x00\x00\x00", 9, "minus infinity"},
        {"\xfb\x3f\xf8\x00\x00\x00\x00\x00", 8, "a cut float"},
        {"\x61\xff", 2, "text that is not UTF-8"},
        {"\x63\xed\xa0\x80", 4, "a surrogate"},
        {"\x62\xc0\x80", 3, "an overlong NUL"},
        {"\x64\xf4\x90\x80\x80", 5, "a code point that does not exist"},
        {"\x62\xc3x", 3, "a cut sequence"},
        {"\x42x", 2, "cut bytes"},
        {"\x82\x00", 2, "a cut array"},
        {"\xa1\x61x", 3, "a map without value"},
        {"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 9, "an array of 2^64 - 1"},
        {"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", 9, "a map of 2^63 - 1"},
        {"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", 9, "bytes of 2^64 - 1"},
        {"\xa1\x00\x00", 3, "a key that is a number"},
        {"\xa1\x41x\x00", 4, "a key of bytes"},
        {"\xa2\x61x\x00\x61x\x00", 7, "a key twice"},
        {"\xa2\x61y\x00\x61x\x00", 7, "keys out of order"},
        {"\xa2\x62xx\x00\x61y\x00", 8, "a longer key first"},
        {"\xc0\x60", 2, "another tag"},
        {"\xd8\x2b\x45\x00\x01\x55\x00\x00", 8, "tag 43"},
        {"\xd9\x00\x2a\x45\x00\x01\x55\x00\x00", 9, "tag 42 in three bytes"},
        {"\xd8\x2a\x44\x01\x55\x00\x00", 7, "a link without multibase"},
        {"\xd8\x2a\x45\x01\x01\x55\x00\x00", 8, "a link of another multibase"},
        {"\xd8\x2a\x41\x00", 4, "a link of nothing"},
        {"\xd8\x2a\x40", 3, "a link of no bytes"},
        {"\xd8\x2a\x46\x00\x01\x55\x00\x00\x00", 9, "a link and more"},
        {"\xd8\x2a\x65\x00\x01\x55\x00\x00", 8, "a link of text"},
        {"\xd8\x2a\xd8\x2a\x45\x00\x01\x55\x00\x00", 10, "a link of a link"},
        {"\xd8\x2a", 2, "a tag of nothing"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fab_ipld tree;
        struct fab_ipld_node *node;
        struct fab_slice s = fab_slice(bad[i].bytes, bad[i].n);
        if (fab_cbor_validate(s) != FAB_EFORMAT)
            fail_msg("%s is accepted", bad[i].why);
        fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
        if (fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, s, &node) != FAB_EFORMAT)
            fail_msg("%s becomes a tree", bad[i].why);
        fab_ipld_fini(&tree);
    }
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    uint8_t deep[FAB_CBOR_DEPTH_MAX + 2];
    struct fab_ipld tree;
    struct fab_ipld_node *node;
    memset(deep, 0x81, sizeof(deep));
    deep[FAB_CBOR_DEPTH_MAX] = 0x00;
    struct fab_slice most = fab_slice(deep, FAB_CBOR_DEPTH_MAX + 1);
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    assert_int_equal(fab_cbor_validate(most), FAB_OK);
    assert_int_equal(fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, most, &node), FAB_OK);
    deep[FAB_CBOR_DEPTH_MAX] = 0x81;
    deep[FAB_CBOR_DEPTH_MAX + 1] = 0x00;
    struct fab_slice over = fab_slice(deep, sizeof(deep));
    assert_int_equal(fab_cbor_validate(over), FAB_ELIMIT);
    assert_int_equal(fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, over, &node), FAB_ELIMIT);
    fab_ipld_fini(&tree);
}

static void test_tree_budget(void **state)
{
    (void)state;
    uint8_t many[1001] = {0x99, 0x03, 0xe6};
    struct fab_ipld tree;
    struct fab_ipld_node *node;
    fab_ipld_init(&tree, 999 * sizeof(struct fab_ipld_node));
    assert_int_equal(
        fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, fab_slice(many, sizeof(many)), &node), FAB_OK);
    assert_int_equal(node->count, 998);
    fab_ipld_fini(&tree);
    fab_ipld_init(&tree, 998 * sizeof(struct fab_ipld_node));
    assert_int_equal(
        fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, fab_slice(many, sizeof(many)), &node),
        FAB_ELIMIT);
    fab_ipld_fini(&tree);
}

static void test_writing_is_checked(void **state)
{
    (void)state;
    struct fab_buf b;
    fab_buf_init(&b, 64);
    assert_int_equal(fab_cbor_put_float(&b, NAN), FAB_EINVAL);
    assert_int_equal(fab_cbor_put_float(&b, -INFINITY), FAB_EINVAL);
    assert_int_equal(fab_cbor_put_text(&b, fab_slice("\xff", 1)), FAB_EINVAL);
    assert_int_equal(b.len, 0);
    fab_buf_fini(&b);
}

static void test_maps_are_written_in_order(void **state)
{
    (void)state;
    static const char want[] = "\xa3\x61\x62\x00\x61\x63\x01\x62\x61\x61\x02";
    struct fab_ipld tree;
    struct fab_ipld_node *map, *v;
    struct fab_buf b;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    fab_buf_init(&b, 64);
    assert_int_equal(fab_ipld_new(&tree, FAB_IPLD_MAP, &map), FAB_OK);
    assert_int_equal(fab_ipld_int(&tree, 2, &v), FAB_OK);
    assert_int_equal(fab_ipld_put(map, fab_slice("aa", 2), v), FAB_OK);
    assert_int_equal(fab_ipld_int(&tree, 1, &v), FAB_OK);
    assert_int_equal(fab_ipld_put(map, fab_slice("c", 1), v), FAB_OK);
    assert_int_equal(fab_ipld_int(&tree, 0, &v), FAB_OK);
    assert_int_equal(fab_ipld_put(map, fab_slice("b", 1), v), FAB_OK);
    assert_int_equal(fab_ipld_add(map, v), FAB_EINVAL);
    assert_ptr_equal(fab_ipld_get(map, "b"), v);
    assert_int_equal(fab_ipld_encode(&b, FAB_CODEC_DAG_CBOR, map), FAB_OK);
    assert_true(fab_slice_eq(fab_buf_slice(&b), fab_slice(want, sizeof(want) - 1)));
    /* A key twice has no form. */
    assert_int_equal(fab_ipld_int(&tree, 0, &v), FAB_OK);
    assert_int_equal(fab_ipld_put(map, fab_slice("c", 1), v), FAB_OK);
    assert_int_equal(fab_ipld_encode(&b, FAB_CODEC_DAG_CBOR, map), FAB_EINVAL);
    fab_buf_fini(&b);
    fab_ipld_fini(&tree);
}

static enum fab_rc count(void *arg, const struct fab_cid *link)
{
    assert_int_equal(link->codec, FAB_CODEC_RAW);
    return ++*(int *)arg == 3 ? FAB_EINTERRUPTED : FAB_OK;
}

static void test_links(void **state)
{
    (void)state;
    static const char two[] = "\x82" LINK "\xa1\x61x" LINK;
    static const char three[] = "\x83" LINK LINK LINK;
    int n = 0;
    assert_int_equal(fab_dag_links(FAB_CODEC_DAG_CBOR, fab_slice(two, sizeof(two) - 1), count, &n),
                     FAB_OK);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(
        fab_dag_links(FAB_CODEC_DAG_CBOR, fab_slice(three, sizeof(three) - 1), count, &n),
        FAB_EINTERRUPTED);
    n = 0;
    assert_int_equal(fab_dag_links(FAB_CODEC_DAG_CBOR, fab_slice(two, sizeof(two)), count, &n),
                     FAB_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_known_heads),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_tree_budget),
        cmocka_unit_test(test_writing_is_checked),
        cmocka_unit_test(test_maps_are_written_in_order),
        cmocka_unit_test(test_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
