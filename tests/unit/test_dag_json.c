#include "storage/dag/dag_json.h"
#include "storage/dag/ipld_codec.h"
#include "storage/dag/links.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#define HELLO "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

static enum fab_rc decode(const char *text, size_t n, enum fab_json_mode mode, struct fab_buf *out)
{
    struct fab_ipld tree;
    struct fab_ipld_node *node;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    enum fab_rc rc = fab_json_decode(&tree, fab_slice(text, n), mode, &node);
    if (rc == FAB_OK && out)
        rc = fab_json_encode(out, node);
    fab_ipld_fini(&tree);
    return rc;
}

/* Any JSON in, the canonical form out; only the canonical form is accepted as such. */
static void test_canonical_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {" [ 1 ,\t2\n,3\r]", "[1,2,3]"},
        {"{\"b\":1,\"a\":2,\"aa\":3}", "{\"a\":2,\"aa\":3,\"b\":1}"},
        {"\"\\u0041\\/\\u00fc\\u4e16\\ud83d\\ude00\"", "\"A/ü世😀\""},
        {"\"\\b\\f\\n\\r\\t\\\"\\\\\\u0001\\u001F\"", "\"\\b\\f\\n\\r\\t\\\"\\\\\\u0001\\u001f\""},
        {"\"\\u007f\\u2028\"", "\"\x7f\u2028\""},
        {"\"\\u0000\"", "\"\\u0000\""},
        {"-0", "0"},
        {"1.0", "1.0"},
        {"-0.0", "-0.0"},
        {"0e5", "0.0"},
        {"1e2", "100.0"},
        {"10E-1", "1.0"},
        {"1.50", "1.5"},
        {"1e20", "100000000000000000000.0"},
        {"1e21", "1e+21"},
        {"1.5e300", "1.5e+300"},
        {"0.000001", "0.000001"},
        {"0.0000012", "0.0000012"},
        {"0.0000001", "1e-7"},
        {"123456.789", "123456.789"},
        {"5e-324", "5e-324"},
        {"1.7976931348623157e308", "1.7976931348623157e+308"},
        {"0.1", "0.1"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"18446744073709551615", "18446744073709551615"},
        {"-18446744073709551616", "-18446744073709551616"},
        {"{\"/\" : {\"bytes\" : \"AQID\"} }", "{\"/\":{\"bytes\":\"AQID\"}}"},
        {"{\"/\":\"f01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9\"}",
         "{\"/\":\"" HELLO "\"}"},
        {"{\"bytes\":\"AQID\"}", "{\"bytes\":\"AQID\"}"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        const char *in = pairs[i][0], *want = pairs[i][1];
        struct fab_buf b;
        fab_buf_init(&b, 1024);
        if (decode(in, strlen(in), FAB_JSON_ANY, &b) != FAB_OK)
            fail_msg("%s is refused", in);
        if (!fab_slice_eq(fab_buf_slice(&b), fab_slice(want, strlen(want))))
            fail_msg("%s became %.*s", in, (int)b.len, (char *)b.data);
        assert_int_equal(decode(want, strlen(want), FAB_JSON_CANONICAL, NULL), FAB_OK);
        if (strcmp(in, want))
            assert_int_equal(decode(in, strlen(in), FAB_JSON_CANONICAL, NULL), FAB_EFORMAT);
        fab_buf_fini(&b);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "1 2",
        "[] x",
        "nul",
        "nulls",
        "True",
        "tru",
        "NaN",
        "Infinity",
        "+1",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "1.e5",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"a\nb\"",
        "\"\x01\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "{\"\xff\":1}",
        "// comment\n1",
        /* The reserved key. */
        "{\"/\":1}",
        "{\"/\":null}",
        "{\"/\":\"\"}",
        "{\"/\":\"nocid\"}",
        "{\"/\":\"" HELLO "\",\"a\":1}",
        "{\"a\":1,\"/\":\"" HELLO "\"}",
        "{\"/\":{}}",
        "{\"/\":{\"byte\":\"AQID\"}}",
        "{\"/\":{\"bytes\":1}}",
        "{\"/\":{\"bytes\":\"AQID\",\"a\":1}}",
        "{\"/\":{\"bytes\":\"AQID\"},\"a\":1}",
        "{\"/\":{\"bytes\":\"AQI=\"}}",
        "{\"/\":{\"bytes\":\"AQJ\"}}",
        "{\"/\":{\"bytes\":\"A\"}}",
        "{\"/\":{\"bytes\":\"-_-_\"}}",
        "{\"/\":[\"bytes\"]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (decode(bad[i], strlen(bad[i]), FAB_JSON_ANY, NULL) != FAB_EFORMAT)
            fail_msg("%s is accepted", bad[i]);
    }
    assert_int_equal(decode("1\0", 2, FAB_JSON_ANY, NULL), FAB_EFORMAT);
    assert_int_equal(decode("\"\\\0\"", 4, FAB_JSON_ANY, NULL), FAB_EFORMAT);
}

static void test_limits(void **state)
{
    (void)state;
    static const char *const over[] = {
        "18446744073709551616",
        "-18446744073709551617",
        "99999999999999999999999999999999999999999999999999999999",
        "1e309",
        "-1e999999999999",
    };
    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++)
        assert_int_equal(decode(over[i], strlen(over[i]), FAB_JSON_ANY, NULL), FAB_ELIMIT);
    char deep[2 * FAB_IPLD_DEPTH_MAX + 2];
    memset(deep, '[', FAB_IPLD_DEPTH_MAX);
    memset(deep + FAB_IPLD_DEPTH_MAX, ']', FAB_IPLD_DEPTH_MAX);
    assert_int_equal(decode(deep, 2 * FAB_IPLD_DEPTH_MAX, FAB_JSON_CANONICAL, NULL), FAB_OK);
    memset(deep, '[', FAB_IPLD_DEPTH_MAX + 1);
    memset(deep + FAB_IPLD_DEPTH_MAX + 1, ']', FAB_IPLD_DEPTH_MAX + 1);
    assert_int_equal(decode(deep, sizeof(deep), FAB_JSON_ANY, NULL), FAB_ELIMIT);
    struct fab_ipld tree;
    struct fab_ipld_node *node;
    fab_ipld_init(&tree, 2 * sizeof(struct fab_ipld_node));
    assert_int_equal(fab_json_decode(&tree, fab_slice("[1,2]", 5), FAB_JSON_ANY, &node),
                     FAB_ELIMIT);
    fab_ipld_fini(&tree);
}

static void test_what_has_no_form(void **state)
{
    (void)state;
    struct fab_ipld tree;
    struct fab_ipld_node *map, *v;
    struct fab_buf b;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    fab_buf_init(&b, 1024);
    /* {"/": 0} is a fine map in dag-cbor. */
    assert_int_equal(
        fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, fab_slice("\xa1\x61/\x00", 4), &map), FAB_OK);
    assert_int_equal(fab_json_encode(&b, map), FAB_EINVAL);
    assert_int_equal(fab_ipld_text(&tree, fab_slice("\xff", 1), &v), FAB_OK);
    assert_int_equal(fab_json_encode(&b, v), FAB_EINVAL);
    assert_int_equal(fab_ipld_new(&tree, FAB_IPLD_FLOAT, &v), FAB_OK);
    v->f = NAN;
    assert_int_equal(fab_json_encode(&b, v), FAB_EINVAL);
    v->f = INFINITY;
    assert_int_equal(fab_json_encode(&b, v), FAB_EINVAL);
    assert_int_equal(fab_ipld_new(&tree, FAB_IPLD_LINK, &v), FAB_OK);
    assert_int_equal(fab_json_encode(&b, v), FAB_EINVAL);
    fab_buf_fini(&b);
    fab_ipld_fini(&tree);
}

/* Random bits as doubles: what is written reads back as the same number. */
static void test_floats_round_trip(void **state)
{
    (void)state;
    uint64_t bits = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 20000; i++) {
        struct fab_ipld tree;
        struct fab_ipld_node *in, *out;
        struct fab_buf b;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        fab_ipld_init(&tree, 4096);
        fab_buf_init(&b, 64);
        assert_int_equal(fab_ipld_new(&tree, FAB_IPLD_FLOAT, &in), FAB_OK);
        memcpy(&in->f, &bits, sizeof(bits));
        if (i % 2)
            in->f = (double)(int64_t)bits / (double)(1ull << (i % 50));
        if (isfinite(in->f)) {
            assert_int_equal(fab_json_encode(&b, in), FAB_OK);
            assert_int_equal(fab_json_decode(&tree, fab_buf_slice(&b), FAB_JSON_CANONICAL, &out),
                             FAB_OK);
            assert_int_equal(out->kind, FAB_IPLD_FLOAT);
            assert_memory_equal(&in->f, &out->f, sizeof(double));
        }
        fab_buf_fini(&b);
        fab_ipld_fini(&tree);
    }
}

static enum fab_rc count(void *arg, const struct fab_cid *link)
{
    assert_int_equal(link->codec, FAB_CODEC_RAW);
    ++*(int *)arg;
    return FAB_OK;
}

static void test_links(void **state)
{
    (void)state;
    static const char two[] = "[{\"/\":\"" HELLO "\"}, {\"a\":{\"/\":\"" HELLO "\"}}]";
    int n = 0;
    assert_int_equal(fab_dag_links(FAB_CODEC_DAG_JSON, fab_slice(two, sizeof(two) - 1), count, &n),
                     FAB_OK);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(fab_dag_links(FAB_CODEC_DAG_JSON, fab_slice(two, sizeof(two) - 2), count, &n),
                     FAB_EFORMAT);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_form),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_has_no_form),
        cmocka_unit_test(test_floats_round_trip),
        cmocka_unit_test(test_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
