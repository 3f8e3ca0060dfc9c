/* CAR archives: the specification's files, what is written, every cut of the input, and malformed
 * ones. */
#include "tests/support/car_fixtures.h"
#include "tests/support/dag_fixture.h"

#include "storage/dag/car.h"

struct got {
    unsigned headers;
    size_t roots;
    size_t blocks;
    uint64_t bytes;
    struct fab_cid first_root;
};

/* Read an archive in pieces of `step` bytes, each in memory of its own. */
static enum fab_rc read_car(const uint8_t *data, size_t n, size_t step,
                            const struct expected *expected, struct got *got, struct fab_err *err)
{
    struct fab_car_reader *r;
    enum fab_rc rc = FAB_OK;
    memset(got, 0, sizeof *got);
    assert_ok(fab_car_reader_new(&r));
    for (size_t at = 0; rc == FAB_OK && at < n; at += step) {
        size_t len = step < n - at ? step : n - at;
        uint8_t *piece = malloc(len);
        assert_non_null(piece);
        memcpy(piece, data + at, len);
        struct fab_slice in = fab_slice(piece, len);
        struct fab_car_event e;
        while ((rc = fab_car_reader_next(r, &in, &e, err)) == FAB_OK && e.kind != FAB_CAR_MORE) {
            if (e.kind == FAB_CAR_HEADER) {
                assert_int_equal(got->blocks, 0);
                got->headers++;
                got->roots = e.root_count;
                if (e.root_count)
                    got->first_root = e.roots[0];
                continue;
            }
            assert_int_equal(got->headers, 1);
            if (expected) {
                assert_cid(&e.cid, expected[got->blocks].cid);
                assert_int_equal(e.data.n, expected[got->blocks].bytes);
                assert_ok(fab_cid_check(&e.cid, e.data));
            }
            got->blocks++;
            got->bytes += e.data.n;
        }
        assert_true(rc != FAB_OK || in.n == 0);
        free(piece);
    }
    if (rc == FAB_OK)
        rc = fab_car_reader_finish(r, err);
    else
        assert_int_equal(fab_car_reader_finish(r, NULL), rc);
    fab_car_reader_free(r);
    return rc;
}

static void test_fixtures(void **state)
{
    struct got g;
    (void)state;
    for (size_t step = 1; step <= sizeof carv1_basic; step++) {
        assert_ok(read_car(carv1_basic, sizeof carv1_basic, step, carv1_blocks, &g, NULL));
        assert_int_equal(g.blocks, sizeof carv1_blocks / sizeof carv1_blocks[0]);
        assert_int_equal(g.roots, 2);
        assert_cid(&g.first_root, carv1_blocks[0].cid);
    }
    for (size_t step = 1; step <= sizeof carv2_basic; step++) {
        assert_ok(read_car(carv2_basic, sizeof carv2_basic, step, carv2_blocks, &g, NULL));
        assert_int_equal(g.blocks, sizeof carv2_blocks / sizeof carv2_blocks[0]);
        assert_int_equal(g.roots, 1);
        assert_cid(&g.first_root, "QmfEoLyB5NndqeKieExd1rtJzTduQUPEV8TwAYcUiy3H5Z");
    }
}

/* Cut anywhere, CARv1 is whole only between sections, CARv2 only after its inner archive. */
static void test_truncated(void **state)
{
    struct got g;
    (void)state;
    size_t whole = 0;
    for (size_t n = 0; n < sizeof carv1_basic; n++) {
        enum fab_rc rc = read_car(carv1_basic, n, n ? n : 1, NULL, &g, NULL);
        assert_true(rc == FAB_OK || rc == FAB_EFORMAT);
        whole += rc == FAB_OK;
    }
    assert_int_equal(whole, sizeof carv1_blocks / sizeof carv1_blocks[0]);
    for (size_t n = 0; n < 51 + 448; n++)
        assert_int_equal(read_car(carv2_basic, n, n ? n : 1, NULL, &g, NULL), FAB_EFORMAT);
    assert_ok(read_car(carv2_basic, 51 + 448, 100, carv2_blocks, &g, NULL));
}

/* Reading the first fixture and writing it again gives the same bytes. */
static void test_writer(void **state)
{
    struct fab_car_reader *r;
    struct fab_car_event e;
    struct fab_buf out;
    struct fab_slice in = fab_slice(carv1_basic, sizeof carv1_basic);
    (void)state;
    fab_buf_init(&out, 1 << 20);
    assert_ok(fab_car_reader_new(&r));
    for (;;) {
        assert_ok(fab_car_reader_next(r, &in, &e, NULL));
        if (e.kind == FAB_CAR_MORE)
            break;
        if (e.kind == FAB_CAR_HEADER) {
            assert_ok(fab_car_header(e.roots, e.root_count, &out));
            continue;
        }
        uint8_t frame[FAB_CAR_FRAME_MAX];
        size_t n = fab_car_frame(&e.cid, e.data.n, frame);
        assert_ok(fab_buf_append(&out, frame, n));
        assert_ok(fab_buf_append(&out, e.data.p, e.data.n));
    }
    assert_int_equal(out.len, sizeof carv1_basic);
    assert_memory_equal(out.data, carv1_basic, sizeof carv1_basic);
    fab_car_reader_free(r);
    fab_buf_reset(&out);
    assert_ok(fab_car_header(NULL, 0, &out));
    assert_int_equal(out.len, 18);
    assert_memory_equal(out.data, "\x11\xa2\x65roots\x80\x67version\x01", 18);
    fab_buf_fini(&out);
}

static void check(const char *bytes, size_t n, enum fab_rc expect, const char *word)
{
    struct got g;
    for (size_t step = 1; step <= n; step += n > 1 ? n - 1 : 1) {
        struct fab_err err = {0};
        assert_int_equal(read_car((const uint8_t *)bytes, n, step, NULL, &g, &err), expect);
        if (word)
            assert_non_null(strstr(err.msg, word));
    }
}

#define CHECK(text, expect, word) check(text, sizeof(text) - 1, expect, word)
#define HEAD                      "\x11\xa2\x65roots\x80\x67version\x01"

static void test_malformed(void **state)
{
    (void)state;
    CHECK(HEAD, FAB_OK, NULL);
    CHECK("\x00", FAB_EFORMAT, "not a CAR");
    CHECK("PK\x03\x04", FAB_EFORMAT, "early"); /* 80 bytes of header are waited for */
    CHECK("\xff\xff\xff\x7f", FAB_ELIMIT, "not a CAR");
    CHECK("\x91\x00", FAB_EFORMAT, "length");
    CHECK("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", FAB_EFORMAT, "length");
    CHECK("\x11\xa2\x65roots\x80\x67version\x03", FAB_EUNSUPPORTED, "versions");
    CHECK("\x11\xa2\x65roots\x80\x67version\x02", FAB_EUNSUPPORTED, "versions");
    CHECK("\x0a\xa1\x67version\x01", FAB_EFORMAT, "roots");
    CHECK("\x08\xa1\x65roots\x80", FAB_EFORMAT, "malformed");
    CHECK("\x11\xa2\x65roots\x80\x67wersion\x01", FAB_EFORMAT, "malformed");
    CHECK("\x12\xa2\x65roots\x81\x01\x67version\x01", FAB_EFORMAT, "malformed");
    CHECK("\x12\xa2\x65roots\x80\x67version\x01\x00", FAB_EFORMAT, "malformed");
    /* Sections. */
    CHECK(HEAD "\x05\x01\x55\x00\x01x", FAB_OK, NULL); /* identity CID "x", no data */
    CHECK(HEAD "\x04\x01\x55\x00\x01", FAB_EFORMAT, "CID");
    CHECK(HEAD "\x01\x01", FAB_EFORMAT, "CID");
    CHECK(HEAD "\x05\x01\x55\x00\x01", FAB_EFORMAT, "early");
    CHECK(HEAD "\x80\x80\x80\x02", FAB_ELIMIT, "2 MiB");
    CHECK(HEAD "\x85\x00\x01", FAB_EFORMAT, "length");
    /* Padding. */
    CHECK(HEAD "\x00", FAB_OK, NULL);
    CHECK(HEAD "\x00\x00\x00\x00", FAB_OK, NULL);
    CHECK(HEAD "\x00\x00\x05\x01\x55\x00\x01x", FAB_EFORMAT, "padding");
}

#define PRAGMA "\x0a\xa1\x67version\x02"
#define ZERO8  "\0\0\0\0\0\0\0\0"
#define NUM(c) c "\0\0\0\0\0\0\0"
#define INNER  HEAD "\x05\x01\x55\x00\x01x" /* 24 bytes */

static void test_v2(void **state)
{
    (void)state;
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x18") ZERO8 INNER, FAB_OK, NULL);
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x18") NUM("\x4b") INNER "index", FAB_OK, NULL);
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x36") NUM("\x18") ZERO8 "pad" INNER, FAB_OK, NULL);
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x12") ZERO8 INNER, FAB_OK,
          NULL); /* after it: index */
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x1a") ZERO8 INNER "\0\0", FAB_OK, NULL);
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x1a") ZERO8 INNER "\0", FAB_EFORMAT, "early");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x17") ZERO8 INNER, FAB_EFORMAT, "passes the end");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x05") ZERO8 INNER, FAB_EFORMAT, "passes the end");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x19") ZERO8 INNER, FAB_EFORMAT, "early");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x32") NUM("\x18") ZERO8 INNER, FAB_EFORMAT, "contradicts");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x18") NUM("\x40") INNER, FAB_EFORMAT, "contradicts");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") ZERO8 ZERO8, FAB_EFORMAT, "did not finish");
    CHECK(PRAGMA ZERO8 ZERO8 "\xff\xff\xff\xff\xff\xff\xff\xff" NUM("\x18") ZERO8, FAB_EFORMAT,
          "contradicts");
    CHECK(PRAGMA, FAB_EFORMAT, "early");
    CHECK(PRAGMA ZERO8, FAB_EFORMAT, "early");
    CHECK(PRAGMA ZERO8 ZERO8 NUM("\x33") NUM("\x0b") ZERO8 PRAGMA, FAB_EUNSUPPORTED, "versions");
}

/* A block of the largest size passes, one byte more does not. */
static void test_block_limit(void **state)
{
    struct fab_cid cid;
    struct got g;
    struct fab_buf car;
    uint8_t frame[FAB_CAR_FRAME_MAX];
    (void)state;
    fab_buf_init(&car, FAB_BLOCK_MAX + 1000);
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &cid));
    for (size_t more = 0; more < 2; more++) {
        fab_buf_reset(&car);
        assert_ok(fab_car_header(&cid, 1, &car));
        size_t n = fab_car_frame(&cid, FAB_BLOCK_MAX + more, frame);
        assert_ok(fab_buf_append(&car, frame, n));
        assert_ok(fab_buf_reserve(&car, FAB_BLOCK_MAX + more));
        memset(car.data + car.len, 7, FAB_BLOCK_MAX + more);
        car.len += FAB_BLOCK_MAX + more;
        for (size_t step = 10000; step < 4000000; step += 3900000)
            assert_int_equal(read_car(car.data, car.len, step, NULL, &g, NULL),
                             more ? FAB_ELIMIT : FAB_OK);
        assert_int_equal(g.bytes, more ? 0 : FAB_BLOCK_MAX);
    }
    fab_buf_fini(&car);
}

static void test_root_limit(void **state)
{
    struct fab_cid *roots = calloc(FAB_CAR_ROOTS_MAX + 1, sizeof *roots);
    struct fab_buf car;
    struct got g;
    (void)state;
    assert_non_null(roots);
    for (size_t i = 0; i <= FAB_CAR_ROOTS_MAX; i++)
        assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &roots[i]));
    fab_buf_init(&car, 1 << 20);
    assert_int_equal(fab_car_header(roots, FAB_CAR_ROOTS_MAX + 1, &car), FAB_ELIMIT);
    assert_int_equal(car.len, 0);
    assert_ok(fab_car_header(roots, FAB_CAR_ROOTS_MAX, &car));
    assert_ok(read_car(car.data, car.len, 1000, NULL, &g, NULL));
    assert_int_equal(g.roots, FAB_CAR_ROOTS_MAX);
    fab_buf_fini(&car);
    free(roots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),   cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_writer),     cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_v2),         cmocka_unit_test(test_block_limit),
        cmocka_unit_test(test_root_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
