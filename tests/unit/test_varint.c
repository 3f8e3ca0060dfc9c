#include "storage/multiformats/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t values[] = {
    0, 1, 127, 128, 255, 300, 16383, 16384, (1ull << 35) - 1, 1ull << 35, (1ull << 63) - 1,
};

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct fab_buf b;
        uint64_t v, w;
        fab_buf_init(&b, 16);
        assert_int_equal(fab_varint_append(&b, values[i]), FAB_OK);
        assert_int_equal(b.len, fab_varint_size(values[i]));
        struct fab_reader r = fab_reader(fab_buf_slice(&b)), pb = r;
        assert_int_equal(fab_varint_read(&r, &v), FAB_OK);
        assert_int_equal(fab_varint_read_pb(&pb, &w), FAB_OK);
        assert_true(v == values[i] && w == values[i]);
        assert_int_equal(fab_reader_left(&r), 0);
        /* Every shorter prefix is cut off, and the reader stays. */
        for (size_t n = 0; n < b.len; n++) {
            r = fab_reader(fab_slice(b.data, n));
            const uint8_t *before = r.p;
            assert_int_equal(fab_varint_read(&r, &v), FAB_EFORMAT);
            assert_ptr_equal(r.p, before);
        }
        fab_buf_fini(&b);
    }
}

static void test_known_bytes(void **state)
{
    (void)state;
    uint8_t out[FAB_VARINT_PB_MAX];
    assert_int_equal(fab_varint_put(300, out), 2);
    assert_memory_equal(out, "\xac\x02", 2);
    assert_int_equal(fab_varint_put(UINT64_MAX, out), 10);
    assert_memory_equal(out, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
    assert_int_equal(fab_varint_size(UINT64_MAX), 10);
}

static enum fab_rc read_both(const char *bytes, size_t n, enum fab_rc *pb)
{
    uint64_t v;
    struct fab_reader r = fab_reader(fab_slice(bytes, n)), s = r;
    *pb = fab_varint_read_pb(&s, &v);
    return fab_varint_read(&r, &v);
}

static void test_refused(void **state)
{
    (void)state;
    enum fab_rc pb;
    /* Not minimal. */
    assert_int_equal(read_both("\x80\x00", 2, &pb), FAB_EFORMAT);
    assert_int_equal(pb, FAB_EFORMAT);
    assert_int_equal(read_both("\xff\x80\x00", 3, &pb), FAB_EFORMAT);
    assert_int_equal(pb, FAB_EFORMAT);
    /* Ten bytes: only protobuf, and only bit 63 in the last. */
    assert_int_equal(read_both("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10, &pb), FAB_EFORMAT);
    assert_int_equal(pb, FAB_OK);
    assert_int_equal(read_both("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 10, &pb), FAB_EFORMAT);
    assert_int_equal(pb, FAB_EFORMAT);
    assert_int_equal(read_both("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, &pb),
                     FAB_EFORMAT);
    assert_int_equal(pb, FAB_EFORMAT);
    assert_int_equal(read_both("", 0, &pb), FAB_EFORMAT);
    assert_int_equal(pb, FAB_EFORMAT);
}

static void test_append_limits(void **state)
{
    (void)state;
    struct fab_buf b;
    fab_buf_init(&b, 10);
    assert_int_equal(fab_varint_append(&b, FAB_VARINT_LIMIT), FAB_EINVAL);
    assert_int_equal(fab_varint_append_pb(&b, FAB_VARINT_LIMIT), FAB_OK);
    assert_int_equal(fab_varint_append(&b, 1), FAB_ELIMIT);
    fab_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_append_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
