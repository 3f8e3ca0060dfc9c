#include "fabric/swarm/identify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t tcp[] = {4, 127, 0, 0, 1, 6, 0x0f, 0xa1}; /* /ip4/127.0.0.1/tcp/4001 */
static const uint8_t tcp2[] = {4, 10, 0, 0, 2, 6, 0x0f, 0xa1}; /* /ip4/10.0.0.2/tcp/4001 */
static const uint8_t unknown[] = {0xff, 0x7f, 1};              /* protocol 16383 */

static struct fab_slice text(const char *s)
{
    return fab_slice(s, strlen(s));
}

static bool is(struct fab_slice s, const char *want)
{
    return fab_slice_eq(s, text(want));
}

/* Feed everything in pieces of `step` bytes, then finish. The caller ends the reader. */
static enum fab_rc read_in(struct fab_identify_reader *r, struct fab_slice bytes, size_t step,
                           struct fab_identify *out)
{
    fab_identify_reader_init(r);
    for (size_t at = 0; at < bytes.n; at += step) {
        size_t n = bytes.n - at < step ? bytes.n - at : step;
        enum fab_rc rc = fab_identify_reader_feed(r, fab_slice(bytes.p + at, n));
        if (rc != FAB_OK) { /* which it repeats */
            assert_int_equal(fab_identify_reader_feed(r, text("x")), rc);
            assert_int_equal(fab_identify_reader_finish(r, out), rc);
            return rc;
        }
    }
    return fab_identify_reader_finish(r, out);
}

/* The result of a whole stream, the same in any pieces. */
static enum fab_rc result(struct fab_slice bytes)
{
    struct fab_identify_reader r;
    struct fab_identify id;
    enum fab_rc rc = read_in(&r, bytes, bytes.n ? bytes.n : 1, &id);
    fab_identify_reader_fini(&r);
    enum fab_rc again = read_in(&r, bytes, 1, &id);
    fab_identify_reader_fini(&r);
    assert_int_equal(rc, again);
    return rc;
}

static struct fab_identify sample(void)
{
    struct fab_identify id = {
        .public_key = text("key"),
        .listen = {fab_slice(tcp, sizeof tcp), fab_slice(tcp2, sizeof tcp2)},
        .n_listen = 2,
        .protocols = {text("/ipfs/bitswap/1.2.0"), text("/ipfs/ping/1.0.0")},
        .n_protocols = 2,
        .observed = fab_slice(tcp2, sizeof tcp2),
        .protocol_version = text("ipfs/0.1.0"),
        .agent_version = text("fabric/0.1.0"),
        .signed_peer_record = text("record"),
    };
    return id;
}

static void check_sample(const struct fab_identify *id)
{
    assert_true(is(id->public_key, "key"));
    assert_int_equal(id->n_listen, 2);
    assert_true(fab_slice_eq(id->listen[0], fab_slice(tcp, sizeof tcp)));
    assert_true(fab_slice_eq(id->listen[1], fab_slice(tcp2, sizeof tcp2)));
    assert_int_equal(id->n_protocols, 2);
    assert_true(is(id->protocols[0], "/ipfs/bitswap/1.2.0"));
    assert_true(is(id->protocols[1], "/ipfs/ping/1.0.0"));
    assert_true(fab_slice_eq(id->observed, fab_slice(tcp2, sizeof tcp2)));
    assert_true(is(id->protocol_version, "ipfs/0.1.0"));
    assert_true(is(id->agent_version, "fabric/0.1.0"));
    assert_true(is(id->signed_peer_record, "record"));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct fab_identify id = sample(), got;
    struct fab_identify_reader r;
    struct fab_buf wire;
    fab_buf_init(&wire, FAB_IDENTIFY_WRITE_MAX);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    for (size_t step = 1; step <= wire.len; step++) {
        assert_int_equal(read_in(&r, fab_buf_slice(&wire), step, &got), FAB_OK);
        check_sample(&got);
        fab_identify_reader_fini(&r);
    }
    fab_buf_fini(&wire);
}

static void test_known_bytes(void **state)
{
    (void)state;
    static const uint8_t want[] = {30, 10, 1,   'k', 18, 8,   4,   127, 0,  0,   1,
                                   6,  15, 161, 26,  2,  '/', 'p', 34,  2,  'o', 'o',
                                   42, 1,  'v', 50,  1,  'a', 66,  1,   'r'};
    struct fab_identify id = {.public_key = text("k"),
                              .listen = {fab_slice(tcp, sizeof tcp)},
                              .n_listen = 1,
                              .protocols = {text("/p")},
                              .n_protocols = 1,
                              .observed = text("oo"), /* the writer does not check */
                              .protocol_version = text("v"),
                              .agent_version = text("a"),
                              .signed_peer_record = text("r")};
    struct fab_buf wire;
    fab_buf_init(&wire, 64);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    assert_int_equal(wire.len, sizeof want);
    assert_memory_equal(wire.data, want, sizeof want);
    fab_buf_fini(&wire);
}

static void test_speaks(void **state)
{
    (void)state;
    struct fab_identify id = sample();
    assert_true(fab_identify_speaks(&id, "/ipfs/bitswap/1.2.0"));
    assert_true(fab_identify_speaks(&id, "/ipfs/ping/1.0.0"));
    assert_false(fab_identify_speaks(&id, "/ipfs/bitswap/1.2"));
    assert_false(fab_identify_speaks(&id, "/ipfs/bitswap/1.2.0x"));
    id.n_protocols = 1;
    assert_false(fab_identify_speaks(&id, "/ipfs/ping/1.0.0"));
}

static void test_write_limits(void **state)
{
    (void)state;
    static const uint8_t filler[FAB_IDENTIFY_WRITE_MAX];
    struct fab_identify id = {0};
    struct fab_buf wire;
    fab_buf_init(&wire, 2 * FAB_IDENTIFY_WRITE_MAX);
    assert_int_equal(fab_buf_append(&wire, "abc", 3), FAB_OK);
    id.signed_peer_record = fab_slice(filler, FAB_IDENTIFY_WRITE_MAX - 2 - 3);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    assert_int_equal(wire.len, 3 + FAB_IDENTIFY_WRITE_MAX);
    wire.len = 3;
    id.signed_peer_record.n++;
    assert_int_equal(fab_identify_write(&id, &wire), FAB_ELIMIT);
    assert_int_equal(wire.len, 3);
    id = (struct fab_identify){.n_listen = FAB_IDENTIFY_LISTEN_MAX + 1};
    assert_int_equal(fab_identify_write(&id, &wire), FAB_EINVAL);
    id = (struct fab_identify){.n_protocols = FAB_IDENTIFY_PROTOCOLS_MAX + 1};
    assert_int_equal(fab_identify_write(&id, &wire), FAB_EINVAL);
    assert_int_equal(wire.len, 3);
    fab_buf_fini(&wire);

    id = sample();
    fab_buf_init(&wire, 20);
    assert_int_equal(fab_buf_append(&wire, "abc", 3), FAB_OK);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_ELIMIT);
    assert_int_equal(wire.len, 3);
    fab_buf_fini(&wire);
}

/* Lists are joined; of the rest the last counts, and what the last lacks stays. */
static void test_merge(void **state)
{
    (void)state;
    struct fab_identify first = sample(), last = {0}, got;
    struct fab_identify_reader r;
    struct fab_buf wire;
    fab_buf_init(&wire, 8192);
    last.agent_version = text("newer");
    last.signed_peer_record = text("envelope");
    last.protocols[last.n_protocols++] = text("/third");
    last.listen[last.n_listen++] = fab_slice(tcp, sizeof tcp);
    assert_int_equal(fab_identify_write(&first, &wire), FAB_OK);
    assert_int_equal(fab_buf_byte(&wire, 0), FAB_OK); /* an empty message between them */
    assert_int_equal(fab_identify_write(&last, &wire), FAB_OK);
    for (size_t step = 1; step < 40; step++) {
        assert_int_equal(read_in(&r, fab_buf_slice(&wire), step, &got), FAB_OK);
        assert_true(is(got.agent_version, "newer"));
        assert_true(is(got.protocol_version, "ipfs/0.1.0"));
        assert_true(is(got.signed_peer_record, "envelope"));
        assert_true(is(got.public_key, "key"));
        assert_int_equal(got.n_protocols, 3);
        assert_true(is(got.protocols[2], "/third"));
        assert_int_equal(got.n_listen, 3);
        fab_identify_reader_fini(&r);
    }
    fab_buf_fini(&wire);
}

/* One odd entry costs that entry. */
static void test_left_out(void **state)
{
    (void)state;
    static const char long_name[FAB_IDENTIFY_TEXT_MAX + 1] = "/";
    struct fab_identify id = {0}, got;
    struct fab_identify_reader r;
    struct fab_buf wire;
    char name[FAB_IDENTIFY_TEXT_MAX + 1];
    fab_buf_init(&wire, 8192);
    memset(name, 'n', sizeof name);
    id.listen[id.n_listen++] = fab_slice(unknown, sizeof unknown);
    id.listen[id.n_listen++] = fab_slice(tcp, sizeof tcp - 1);
    id.listen[id.n_listen++] = fab_slice(NULL, 0);
    id.listen[id.n_listen++] = fab_slice(tcp, sizeof tcp);
    id.protocols[id.n_protocols++] = fab_slice(name, sizeof name);
    id.protocols[id.n_protocols++] = fab_slice(name, sizeof name - 1);
    id.protocols[id.n_protocols++] = text("/a\nb");
    id.protocols[id.n_protocols++] = text("/a\x1b[2J");
    id.protocols[id.n_protocols++] = text("/caf\xc3\xa9");
    id.protocols[id.n_protocols++] = text("/a\x7f");
    id.protocols[id.n_protocols++] = fab_slice("/a\0b", 4);
    id.protocols[id.n_protocols++] = fab_slice(NULL, 0);
    id.protocols[id.n_protocols++] = text("/good ~");
    id.observed = fab_slice(unknown, sizeof unknown);
    id.agent_version = fab_slice(long_name, sizeof long_name);
    id.protocol_version = text("tab\t");
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    assert_int_equal(read_in(&r, fab_buf_slice(&wire), 4096, &got), FAB_OK);
    assert_int_equal(got.n_listen, 1);
    assert_true(fab_slice_eq(got.listen[0], fab_slice(tcp, sizeof tcp)));
    assert_int_equal(got.n_protocols, 2);
    assert_int_equal(got.protocols[0].n, FAB_IDENTIFY_TEXT_MAX);
    assert_true(is(got.protocols[1], "/good ~"));
    assert_int_equal(got.observed.n, 0);
    assert_int_equal(got.agent_version.n, 0);
    assert_int_equal(got.protocol_version.n, 0);
    fab_identify_reader_fini(&r);
    fab_buf_fini(&wire);
}

static void test_many(void **state)
{
    (void)state;
    struct fab_identify id = {0}, got;
    struct fab_identify_reader r;
    struct fab_buf wire;
    fab_buf_init(&wire, 1 << 14);
    for (size_t i = 0; i < FAB_IDENTIFY_LISTEN_MAX; i++)
        id.listen[id.n_listen++] = fab_slice(tcp, sizeof tcp);
    for (size_t i = 0; i < FAB_IDENTIFY_PROTOCOLS_MAX; i++)
        id.protocols[id.n_protocols++] = text("/p");
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    assert_int_equal(read_in(&r, fab_buf_slice(&wire), 1000, &got), FAB_OK);
    assert_int_equal(got.n_listen, FAB_IDENTIFY_LISTEN_MAX);
    assert_int_equal(got.n_protocols, FAB_IDENTIFY_PROTOCOLS_MAX);
    fab_identify_reader_fini(&r);
    fab_buf_fini(&wire);
}

static void test_read_limits(void **state)
{
    (void)state;
    struct fab_buf wire;
    uint8_t *filler = calloc(1, FAB_IDENTIFY_MESSAGE_MAX + 1);
    assert_non_null(filler);
    /* field 15, 8189 bytes: an unknown field that fills a message exactly */
    filler[0] = 15 << 3 | 2;
    filler[1] = 0x80 | (8189 & 0x7f);
    filler[2] = 8189 >> 7;
    fab_buf_init(&wire, 1 << 18);
    for (unsigned i = 1; i <= FAB_IDENTIFY_MESSAGES_MAX; i++) {
        assert_int_equal(fab_buf_append(&wire, "\x80\x40", 2), FAB_OK);
        assert_int_equal(fab_buf_append(&wire, filler, FAB_IDENTIFY_MESSAGE_MAX), FAB_OK);
        assert_int_equal(result(fab_buf_slice(&wire)), FAB_OK);
    }
    assert_int_equal(fab_buf_byte(&wire, 0), FAB_OK);
    assert_int_equal(result(fab_buf_slice(&wire)), FAB_ELIMIT); /* a tenth */
    fab_buf_fini(&wire);
    free(filler);

    assert_int_equal(result(text("\x81\x40")), FAB_ELIMIT);     /* 8193 */
    assert_int_equal(result(text("\x80\x80\x01")), FAB_ELIMIT); /* three bytes of length */
    assert_int_equal(result(fab_slice("\0\0\0\0\0\0\0\0\0", 9)), FAB_OK);
    assert_int_equal(result(fab_slice("\0\0\0\0\0\0\0\0\0\0", 10)), FAB_ELIMIT);
}

static void test_malformed(void **state)
{
    (void)state;
    struct fab_identify id = sample();
    struct fab_buf wire;
    assert_int_equal(result(fab_slice(NULL, 0)), FAB_EFORMAT);
    assert_int_equal(result(fab_slice("\x80\0", 2)), FAB_EFORMAT); /* zero in two bytes */
    assert_int_equal(result(text("\x80")), FAB_EFORMAT);
    assert_int_equal(result(text("\x03\x0a\x02k")), FAB_EFORMAT); /* a field beyond its message */
    assert_int_equal(result(text("\x02\x08\x01")), FAB_EFORMAT);  /* the key a varint */
    assert_int_equal(result(text("\x02\x40\x01")), FAB_EFORMAT);  /* the record a varint */
    assert_int_equal(result(text("\x02\x38\x01")), FAB_OK);       /* unknown field 7 */
    assert_int_equal(result(text("\x02\x4b\x4c")), FAB_EFORMAT);  /* a group */

    fab_buf_init(&wire, 4096);
    assert_int_equal(fab_identify_write(&id, &wire), FAB_OK);
    for (size_t n = 0; n < wire.len; n++)
        assert_int_equal(result(fab_slice(wire.data, n)), FAB_EFORMAT);
    fab_buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_speaks),     cmocka_unit_test(test_write_limits),
        cmocka_unit_test(test_merge),      cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_many),       cmocka_unit_test(test_read_limits),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
