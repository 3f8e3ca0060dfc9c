/* Bitswap messages against bytes written by hand from the specification; the stream in every cut;
 * every rule broken once; round trips. */
#include "fabric/exchange/bitswap_message.h"

#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)

/* CIDv1 raw sha2-256 of "hello" and the CIDv0 with the same digest. */
static const uint8_t hello_v1[36] = {0x01, 0x55, 0x12, 0x20, 0x2c, 0xf2, 0x4d, 0xba, 0x5f,
                                     0xb0, 0xa3, 0x0e, 0x26, 0xe8, 0x3b, 0x2a, 0xc5, 0xb9,
                                     0xe2, 0x9e, 0x1b, 0x16, 0x1e, 0x5c, 0x1f, 0xa7, 0x42,
                                     0x5e, 0x73, 0x04, 0x33, 0x62, 0x93, 0x8b, 0x98, 0x24};

static struct fab_cid hello(void)
{
    struct fab_cid cid;
    assert_ok(fab_cid_parse(fab_slice(hello_v1, sizeof hello_v1), &cid));
    return cid;
}

struct text {
    uint8_t bytes[4096];
    size_t n;
};

static void put(struct text *t, const void *p, size_t n)
{
    assert_true(t->n + n <= sizeof t->bytes);
    memcpy(t->bytes + t->n, p, n);
    t->n += n;
}

#define PUT(t, ...) put(t, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static enum fab_rc check(const struct text *t, struct fab_bitswap_summary *sum)
{
    uint8_t *copy = malloc(t->n ? t->n : 1); /* alone in its memory */
    assert_non_null(copy);
    memcpy(copy, t->bytes, t->n);
    enum fab_rc rc = fab_bitswap_message_check(fab_slice(copy, t->n), sum);
    free(copy);
    return rc;
}

/* A message with everything in it, as the specification's fields lie on the wire. */
static void everything(struct text *t)
{
    t->n = 0;
    /* Message.wantlist = 1 */
    PUT(t, 0x0a, 4 + 2 * 38 + 5 + 2 + 4 + 6 + 2);
    /* Entry: block = CID, priority = 2^31-1, wantType = Have, sendDontHave */
    PUT(t, 0x0a, 38 + 6 + 2 + 2, 0x0a, 36);
    put(t, hello_v1, 36);
    PUT(t, 0x10, 0xff, 0xff, 0xff, 0xff, 0x07, 0x20, 0x01, 0x28, 0x01);
    /* Entry: cancel */
    PUT(t, 0x0a, 40, 0x0a, 36);
    put(t, hello_v1, 36);
    PUT(t, 0x18, 0x01);
    PUT(t, 0x10, 0x01); /* full = true */
    /* payload = 3: Block{prefix, data} */
    PUT(t, 0x1a, 13, 0x0a, 4, 0x01, 0x55, 0x12, 0x20, 0x12, 5, 'h', 'e', 'l', 'l', 'o');
    /* blocks = 2, of 1.0.0 */
    PUT(t, 0x12, 3, 'a', 'b', 'c');
    /* blockPresences = 4: Have (type absent), then DontHave */
    PUT(t, 0x22, 38, 0x0a, 36);
    put(t, hello_v1, 36);
    PUT(t, 0x22, 40, 0x0a, 36);
    put(t, hello_v1, 36);
    PUT(t, 0x10, 0x01);
    PUT(t, 0x28, 0x64);              /* pendingBytes = 5 */
    PUT(t, 0x9a, 0x06, 2, 'x', 'y'); /* field 99, of a later version */
    t->bytes[1] = (uint8_t)(2 + 48 + 2 + 40 + 2);
}

static void test_read(void **state)
{
    (void)state;
    struct text t;
    struct fab_bitswap_summary sum;
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    struct fab_cid cid = hello(), got;
    everything(&t);
    assert_ok(check(&t, &sum));
    assert_true(sum.full);
    assert_int_equal(sum.wants, 1);
    assert_int_equal(sum.cancels, 1);
    assert_int_equal(sum.blocks, 2);
    assert_int_equal(sum.presences, 2);
    assert_int_equal(sum.skipped, 0);

    fab_bitswap_iter_init(&it, fab_slice(t.bytes, t.n));
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_WANT_HAVE);
    assert_true(fab_cid_eq(&item.cid, &cid));
    assert_int_equal(item.priority, INT32_MAX);
    assert_true(item.send_dont_have);
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_CANCEL);
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_BLOCK);
    assert_int_equal(item.data.n, 5);
    assert_memory_equal(item.data.p, "hello", 5);
    assert_ok(fab_bitswap_prefix_cid(&item.prefix, item.data, &got));
    assert_true(fab_cid_eq(&got, &cid));
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_BLOCK);
    assert_int_equal(item.prefix.version, 0);
    assert_ok(fab_bitswap_prefix_cid(&item.prefix, item.data, &got));
    assert_int_equal(got.version, 0);
    assert_int_equal(got.codec, FAB_CODEC_DAG_PB);
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_HAVE);
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_DONT_HAVE);
    assert_int_equal(fab_bitswap_iter_next(&it, &item), FAB_ENOENT);

    /* Every shorter piece is whole or malformed, and never read past. */
    size_t whole = 0;
    for (size_t n = t.n; n-- > 0;) {
        t.n = n;
        enum fab_rc rc = check(&t, &sum);
        assert_true(rc == FAB_OK || rc == FAB_EFORMAT);
        whole += rc == FAB_OK;
    }
    assert_int_equal(whole, 7); /* where one of the seven fields begins */
}

static void test_empty(void **state)
{
    (void)state;
    struct text t = {.n = 0};
    struct fab_bitswap_summary sum;
    assert_ok(check(&t, &sum));
    assert_false(sum.full);
    PUT(&t, 0x0a, 0x00); /* Go's empty wantlist */
    assert_ok(check(&t, &sum));
    assert_int_equal(sum.wants, 0);
}

static void entry(struct text *t, const void *cid, size_t n)
{
    size_t inner = 1 + fab_varint_size(n) + n;
    size_t list = 1 + fab_varint_size(inner) + inner;
    uint8_t v[FAB_VARINT_PB_MAX];
    t->n = 0;
    PUT(t, 0x0a);
    put(t, v, fab_varint_put(list, v));
    PUT(t, 0x0a);
    put(t, v, fab_varint_put(inner, v));
    PUT(t, 0x0a);
    put(t, v, fab_varint_put(n, v));
    put(t, cid, n);
}

static void test_cids(void **state)
{
    (void)state;
    struct text t;
    struct fab_bitswap_summary sum;
    uint8_t cid[200] = {0x01, 0x55, 0x00, 0x00};
    /* Identity: skipped. */
    entry(&t, cid, 4);
    assert_ok(check(&t, &sum));
    assert_int_equal(sum.wants, 0);
    assert_int_equal(sum.skipped, 1);
    /* 168 bytes with a digest over 128, and more than 168 bytes: skipped. */
    for (size_t n = 168; n <= 170; n++) {
        memcpy(cid, (const uint8_t[]){0x01, 0x55, 0x12}, 3);
        fab_varint_put(n - 5, cid + 3);
        entry(&t, cid, n);
        assert_ok(check(&t, &sum));
        assert_int_equal(sum.wants, 0);
        assert_int_equal(sum.skipped, 1);
        fab_varint_put(n - 6, cid + 3); /* the digest ends early */
        entry(&t, cid, n);
        assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    }
    /* An unknown hash function is no reason not to look. */
    memcpy(cid, (const uint8_t[]){0x01, 0x55, 0x16, 2, 9, 9}, 6);
    entry(&t, cid, 6);
    assert_ok(check(&t, &sum));
    assert_int_equal(sum.wants, 1);
    /* Malformed. */
    entry(&t, cid, 5);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    entry(&t, cid, 0);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    entry(&t, hello_v1, 35);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    memcpy(cid, hello_v1, 36);
    cid[36] = 0;
    entry(&t, cid, 37);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    cid[0] = 2;
    entry(&t, cid, 36);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    /* No CID at all, in a presence too. */
    t.n = 0;
    PUT(&t, 0x0a, 0x02, 0x0a, 0x00);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    t.n = 0;
    PUT(&t, 0x22, 0x00);
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
    t.n = 0;
    PUT(&t, 0x22, 38, 0x0a, 36);
    put(&t, hello_v1, 36);
    assert_ok(check(&t, &sum));
    assert_int_equal(sum.presences, 1);
    /* A presence of a type that is not known yet. */
    t.bytes[1] = 40;
    PUT(&t, 0x10, 0x02);
    assert_ok(check(&t, &sum));
    assert_int_equal(sum.presences, 0);
}

static enum fab_rc check_prefix(const uint8_t *prefix, size_t n, size_t data)
{
    struct text t = {.n = 0};
    struct fab_bitswap_summary sum;
    uint8_t zeros[200] = {0};
    PUT(&t, 0x1a, (uint8_t)(2 + n + 2 + data), 0x0a, (uint8_t)n);
    put(&t, prefix, n);
    PUT(&t, 0x12, (uint8_t)data);
    put(&t, zeros, data);
    return check(&t, &sum);
}

#define PREFIX(data, ...)                                                                          \
    check_prefix((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), data)

static void test_prefixes(void **state)
{
    (void)state;
    assert_ok(PREFIX(5, 1, 0x55, 0x12, 32));
    assert_ok(PREFIX(0, 1, 0x55, 0x12, 32)); /* an empty block */
    assert_ok(PREFIX(5, 0, 0x70, 0x12, 32));
    assert_ok(PREFIX(5, 1, 0x71, 0x13, 64));
    assert_ok(PREFIX(5, 1, 0x71, 0xa0, 0xe4, 0x02, 32)); /* blake2b-256 */
    assert_ok(PREFIX(5, 1, 0x55, 0x00, 5));
    assert_int_equal(PREFIX(5, 1, 0x55, 0x16, 32), FAB_EFORMAT); /* sha3-256 is not computed */
    assert_int_equal(PREFIX(5, 1, 0x55, 0x12, 20), FAB_EFORMAT); /* cut digests neither */
    assert_int_equal(PREFIX(5, 1, 0x55, 0x12, 0), FAB_EFORMAT);
    assert_int_equal(PREFIX(5, 1, 0x55, 0x00, 4), FAB_EFORMAT);
    assert_int_equal(PREFIX(100, 1, 0x55, 0x00, 101), FAB_EFORMAT);
    assert_int_equal(PREFIX(5, 0, 0x55, 0x12, 32), FAB_EFORMAT);
    assert_int_equal(PREFIX(5, 2, 0x55, 0x12, 32), FAB_EFORMAT);
    assert_int_equal(PREFIX(5, 1, 0x55, 0x12), FAB_EFORMAT);
    assert_int_equal(PREFIX(5, 1, 0x55, 0x12, 32, 0), FAB_EFORMAT);
    struct text t = {.n = 0};
    struct fab_bitswap_summary sum;
    PUT(&t, 0x1a, 0x00); /* no prefix */
    assert_int_equal(check(&t, &sum), FAB_EFORMAT);
}

static void test_protobuf(void **state)
{
    (void)state;
    struct fab_bitswap_summary sum;
    static const struct text bad[] = {
        {{0x0a, 0x05}, 2},             /* a length past the end */
        {{0x0b}, 1},                   /* a group */
        {{0x00, 0x00}, 2},             /* field 0 */
        {{0x0a, 0x02, 0x0a, 0x01}, 4}, /* an entry past its wantlist */
        {{0x0a}, 1},
        {{0x1a, 0x01, 0x0a}, 3},
        {{0x22, 0x01, 0x0a}, 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(check(&bad[i], &sum), FAB_EFORMAT);
}

/* Two messages in pieces of every size. */
static void test_stream(void **state)
{
    (void)state;
    struct text t, all = {.n = 0};
    everything(&t);
    uint8_t v[FAB_VARINT_PB_MAX];
    for (unsigned i = 0; i < 2; i++) {
        put(&all, v, fab_varint_put(t.n, v));
        put(&all, t.bytes, t.n);
        PUT(&all, 0x00); /* and an empty message */
    }
    for (size_t step = 1; step <= all.n; step++) {
        struct fab_bitswap_stream s;
        unsigned count = 0;
        fab_bitswap_stream_init(&s);
        for (size_t at = 0; at < all.n; at += step) {
            size_t n = step < all.n - at ? step : all.n - at;
            uint8_t *piece = malloc(n);
            assert_non_null(piece);
            memcpy(piece, all.bytes + at, n);
            struct fab_slice in = fab_slice(piece, n), message;
            while (in.n) {
                bool whole;
                assert_ok(fab_bitswap_stream_read(&s, &in, &whole, &message));
                if (!whole)
                    continue;
                assert_int_equal(message.n, count % 2 ? 0 : t.n);
                if (message.n)
                    assert_memory_equal(message.p, t.bytes, t.n);
                count++;
            }
            free(piece);
        }
        assert_int_equal(count, 4);
        assert_true(fab_bitswap_stream_idle(&s));
        fab_bitswap_stream_fini(&s);
    }
}

static enum fab_rc feed(struct fab_bitswap_stream *s, const void *p, size_t n, bool *whole)
{
    struct fab_slice in = fab_slice(p, n), message;
    enum fab_rc rc = FAB_OK;
    *whole = false;
    while (rc == FAB_OK && in.n)
        rc = fab_bitswap_stream_read(s, &in, whole, &message);
    return rc;
}

static void test_stream_limits(void **state)
{
    (void)state;
    struct fab_bitswap_stream s;
    bool whole;
    /* 4,194,304 is taken, and a length alone costs nothing. */
    fab_bitswap_stream_init(&s);
    assert_ok(feed(&s, "\x80\x80\x80\x02", 4, &whole));
    assert_int_equal(s.collected.cap, 0);
    uint8_t *piece = calloc(1, 1 << 16);
    assert_non_null(piece);
    for (unsigned i = 0; i < 64; i++) {
        assert_false(whole);
        assert_ok(feed(&s, piece, 1 << 16, &whole));
        assert_true(s.collected.cap <= (i + 1) * (2u << 16));
    }
    assert_true(whole);
    assert_ok(feed(&s, "\x00", 1, &whole));
    assert_true(whole);
    assert_true(s.collected.cap < 1 << 20); /* what a large message took is given back */
    fab_bitswap_stream_fini(&s);
    free(piece);
    /* One more is refused when its length has been read; so are 4 GiB and malformed lengths. */
    static const struct {
        const char *bytes;
        size_t n;
        enum fab_rc rc;
    } bad[] = {{"\x81\x80\x80\x02", 4, FAB_ELIMIT},
               {"\x80\x80\x80\x80\x10", 5, FAB_ELIMIT},
               {"\xff\xff\xff\xff\xff", 5, FAB_ELIMIT},
               {"\x80\x00", 2, FAB_EFORMAT},
               {"\x85\x80\x00", 3, FAB_EFORMAT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fab_bitswap_stream_init(&s);
        assert_int_equal(feed(&s, bad[i].bytes, bad[i].n, &whole), bad[i].rc);
        fab_bitswap_stream_fini(&s);
    }
}

static void test_write_wants(void **state)
{
    (void)state;
    struct fab_buf entries, out;
    struct fab_cid cid = hello();
    fab_buf_init(&entries, 1 << 20);
    fab_buf_init(&out, 1 << 20);
    /* An empty wantlist is there. */
    assert_ok(fab_bitswap_write_wants(&out, fab_buf_slice(&entries), false));
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "\x02\x0a\x00", 3);
    fab_buf_reset(&out);
    /* Bytes by hand: a want-have that asks for DONT_HAVE, and `full`. */
    assert_ok(fab_bitswap_entry_append(&entries, FAB_BITSWAP_WANT_HAVE, &cid, INT32_MAX, true));
    assert_ok(fab_bitswap_entry_append(&entries, FAB_BITSWAP_CANCEL, &cid, 0, false));
    assert_ok(fab_bitswap_write_wants(&out, fab_buf_slice(&entries), true));
    struct text t;
    everything(&t);
    size_t n = 2 + t.bytes[1];
    assert_int_equal(out.len, n + 1);
    assert_int_equal(out.data[0], n);
    assert_memory_equal(out.data + 1, t.bytes, n);
    /* A negative priority comes back. */
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    fab_buf_reset(&out);
    fab_buf_reset(&entries);
    assert_ok(fab_bitswap_entry_append(&entries, FAB_BITSWAP_WANT_BLOCK, &cid, -7, false));
    assert_ok(fab_bitswap_write_wants(&out, fab_buf_slice(&entries), false));
    fab_bitswap_iter_init(&it, fab_slice(out.data + 1, out.len - 1));
    assert_ok(fab_bitswap_iter_next(&it, &item));
    assert_int_equal(item.kind, FAB_BITSWAP_WANT_BLOCK);
    assert_int_equal(item.priority, -7);
    assert_false(item.send_dont_have);
    /* Only entries may be given, and only wants are entries. */
    size_t before = out.len;
    assert_int_equal(fab_bitswap_write_wants(&out, fab_slice("\x10\x01", 2), false), FAB_EINVAL);
    assert_int_equal(fab_bitswap_write_wants(&out, fab_slice("\x0a", 1), false), FAB_EINVAL);
    assert_int_equal(out.len, before);
    assert_int_equal(fab_bitswap_entry_append(&entries, FAB_BITSWAP_HAVE, &cid, 0, false),
                     FAB_EINVAL);
    /* No room: nothing is written. */
    struct fab_buf small;
    fab_buf_init(&small, 20);
    assert_int_equal(fab_bitswap_write_wants(&small, fab_buf_slice(&entries), false), FAB_ELIMIT);
    assert_int_equal(small.len, 0);
    fab_buf_fini(&small);
    fab_buf_fini(&entries);
    fab_buf_fini(&out);
}

/* 60,000 entries take more than 2 MiB: two messages, no entry lost. */
static void test_write_wants_cut(void **state)
{
    (void)state;
    struct fab_buf entries, out;
    struct fab_bitswap_stream s;
    fab_buf_init(&entries, 8 << 20);
    fab_buf_init(&out, 8 << 20);
    for (uint32_t i = 0; i < 60000; i++) {
        struct fab_cid cid = hello();
        memcpy(cid.mh + 2, &i, 4);
        assert_ok(fab_bitswap_entry_append(&entries, FAB_BITSWAP_WANT_BLOCK, &cid, 1, true));
    }
    assert_ok(fab_bitswap_write_wants(&out, fab_buf_slice(&entries), true));
    struct fab_slice in = fab_buf_slice(&out), message;
    unsigned count = 0;
    size_t wants = 0;
    fab_bitswap_stream_init(&s);
    while (in.n) {
        bool whole;
        struct fab_bitswap_summary sum;
        assert_ok(fab_bitswap_stream_read(&s, &in, &whole, &message));
        assert_true(whole);
        assert_true(message.n <= FAB_BITSWAP_WANTS_MAX + 16);
        assert_ok(fab_bitswap_message_check(message, &sum));
        assert_int_equal(sum.full, count == 0);
        wants += sum.wants;
        count++;
    }
    assert_int_equal(count, 2);
    assert_int_equal(wants, 60000);
    fab_bitswap_stream_fini(&s);
    fab_buf_fini(&entries);
    fab_buf_fini(&out);
}

static void test_write_response(void **state)
{
    (void)state;
    struct fab_buf out;
    struct fab_bitswap_writer w;
    struct fab_slice message;
    struct fab_cid cid = hello();
    fab_buf_init(&out, FAB_BITSWAP_MESSAGE_MAX + FAB_BITSWAP_LENGTH_MAX);
    assert_ok(fab_bitswap_writer_begin(&w, &out));
    assert_ok(fab_bitswap_writer_block(&w, &cid, fab_slice("hello", 5)));
    assert_ok(fab_bitswap_writer_presence(&w, &cid, true));
    assert_ok(fab_bitswap_writer_presence(&w, &cid, false));
    fab_bitswap_writer_end(&w, &message);
    struct text t = {.n = 0};
    PUT(&t, 2 + 15 + 40 + 42, 0x0a, 0x00);
    PUT(&t, 0x1a, 13, 0x0a, 4, 0x01, 0x55, 0x12, 0x20, 0x12, 5, 'h', 'e', 'l', 'l', 'o');
    PUT(&t, 0x22, 38, 0x0a, 36);
    put(&t, hello_v1, 36);
    PUT(&t, 0x22, 40, 0x0a, 36);
    put(&t, hello_v1, 36);
    PUT(&t, 0x10, 0x01);
    assert_int_equal(message.n, t.n);
    assert_memory_equal(message.p, t.bytes, t.n);
    assert_ptr_equal(message.p + message.n, out.data + out.len);
    fab_buf_fini(&out);

    /* A message is filled to its last byte, and no further. */
    fab_buf_init(&out, FAB_BITSWAP_MESSAGE_MAX + FAB_BITSWAP_LENGTH_MAX);
    uint8_t *data = calloc(1, FAB_BITSWAP_MESSAGE_MAX);
    assert_non_null(data);
    assert_ok(fab_bitswap_writer_begin(&w, &out));
    size_t left = FAB_BITSWAP_MESSAGE_MAX - fab_bitswap_writer_size(&w);
    size_t around = 1 + 4 + 6 + 1 + 4;
    assert_int_equal(fab_bitswap_writer_block(&w, &cid, fab_slice(data, left - around + 1)),
                     FAB_ELIMIT);
    assert_int_equal(fab_bitswap_writer_size(&w), 2);
    assert_ok(fab_bitswap_writer_block(&w, &cid, fab_slice(data, left - around)));
    assert_int_equal(fab_bitswap_writer_size(&w), FAB_BITSWAP_MESSAGE_MAX);
    assert_int_equal(fab_bitswap_writer_presence(&w, &cid, true), FAB_ELIMIT);
    fab_bitswap_writer_end(&w, &message);
    assert_int_equal(message.n, FAB_BITSWAP_MESSAGE_MAX + 4);
    struct fab_bitswap_summary sum;
    assert_ok(fab_bitswap_message_check(fab_slice(message.p + 4, message.n - 4), &sum));
    assert_int_equal(sum.blocks, 1);
    free(data);
    fab_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_cids),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_protobuf),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_limits),
        cmocka_unit_test(test_write_wants),
        cmocka_unit_test(test_write_wants_cut),
        cmocka_unit_test(test_write_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
