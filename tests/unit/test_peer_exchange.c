/* Peers about peers: the halves of a stream, and which records are held and passed on. */
#include "fabric/swarm/peer_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR FAB_PEERS_FRESH_US

static const uint8_t address[] = {4, 10, 0, 0, 1, 6, 0x0f, 0xa1};

static struct fab_key *key_of(unsigned n)
{
    uint8_t seed[FAB_KEY_SEED_SIZE] = {(uint8_t)n, (uint8_t)(n >> 8), 1};
    struct fab_key *key;
    assert_int_equal(fab_key_from_seed(seed, &key), FAB_OK);
    return key;
}

static struct fab_peer_id id_of(unsigned n)
{
    struct fab_key *key = key_of(n);
    struct fab_peer_id id = *fab_key_peer_id(key);
    fab_key_free(key);
    return id;
}

static void record_of(unsigned n, uint64_t seq, struct fab_buf *out)
{
    struct fab_key *key = key_of(n);
    struct fab_slice a = fab_slice(address, sizeof address);
    fab_buf_init(out, FAB_PEERS_RECORD_MAX);
    assert_int_equal(fab_signed_record_encode(key, seq, &a, 1, out), FAB_OK);
    fab_key_free(key);
}

/* Check and keep. */
static enum fab_rc give(struct fab_peer_records *records, unsigned n, uint64_t seq, uint64_t now)
{
    struct fab_signed_record record;
    struct fab_buf b;
    record_of(n, seq, &b);
    enum fab_rc rc = fab_peer_records_check(records, fab_buf_slice(&b), &record);
    if (rc == FAB_OK)
        rc = fab_peer_records_put(records, fab_buf_slice(&b), &record, now);
    fab_buf_fini(&b);
    return rc;
}

static void touch(struct fab_peer_records *records, unsigned n, uint64_t now)
{
    struct fab_peer_id id = id_of(n);
    fab_peer_records_touch(records, &id, now);
}

struct taken {
    unsigned n;
    uint64_t sum; /* of the seqs */
    uint64_t seqs[FAB_PEERS_RECORDS_MAX];
    struct fab_peer_id last;
};

static void take(void *arg, struct fab_slice envelope)
{
    struct taken *taken = arg;
    struct fab_signed_record record;
    assert_int_equal(fab_signed_record_decode(envelope, &record), FAB_OK);
    taken->seqs[taken->n++] = record.seq;
    taken->last = record.peer;
}

/* What `to` is told after *mark. */
static struct taken told(const struct fab_peer_records *records, uint64_t *mark, unsigned to,
                         uint64_t now)
{
    struct taken taken = {0};
    struct fab_peers_reader r;
    struct fab_peer_id id = id_of(to);
    struct fab_buf b;
    size_t n;
    fab_buf_init(&b, FAB_PEERS_HALF_MAX);
    assert_int_equal(fab_peer_records_tell(records, mark, &id, now, &b, &n), FAB_OK);
    fab_peers_reader_init(&r);
    assert_int_equal(fab_peers_reader_feed(&r, fab_buf_slice(&b), take, &taken), FAB_OK);
    assert_int_equal(fab_peers_reader_finish(&r), FAB_OK);
    assert_int_equal(taken.n, n);
    fab_peers_reader_fini(&r);
    fab_buf_fini(&b);
    return taken;
}

/* ---- halves ---- */

static void count(void *arg, struct fab_slice envelope)
{
    (void)envelope;
    ++*(unsigned *)arg;
}

static enum fab_rc read_all(struct fab_slice bytes, size_t step, unsigned *n)
{
    struct fab_peers_reader r;
    enum fab_rc rc = FAB_OK;
    *n = 0;
    fab_peers_reader_init(&r);
    for (size_t at = 0; at < bytes.n && rc == FAB_OK; at += step)
        rc = fab_peers_reader_feed(
            &r, fab_slice(bytes.p + at, bytes.n - at < step ? bytes.n - at : step), count, n);
    if (rc != FAB_OK)
        assert_int_equal(fab_peers_reader_feed(&r, fab_slice("\1a", 2), count, n), rc);
    rc = fab_peers_reader_finish(&r);
    fab_peers_reader_fini(&r);
    return rc;
}

static void test_halves(void **state)
{
    uint8_t bytes[FAB_PEERS_RECORD_MAX + 1] = {0};
    struct fab_buf b;
    unsigned n;
    (void)state;
    fab_buf_init(&b, FAB_PEERS_HALF_MAX);
    assert_int_equal(read_all(fab_buf_slice(&b), 1, &n), FAB_OK);
    assert_int_equal(fab_peers_append(&b, fab_slice(bytes, 0)), FAB_EINVAL);
    assert_int_equal(fab_peers_append(&b, fab_slice(bytes, sizeof bytes)), FAB_EINVAL);
    static const size_t sizes[] = {1, 127, 128, 2048};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fab_peers_append(&b, fab_slice(bytes, sizes[i])), FAB_OK);
    assert_int_equal(b.len, 1 + 1 + 1 + 127 + 2 + 128 + 2 + 2048);
    assert_memory_equal(b.data + 130, "\x80\1", 2);
    for (size_t step = 1; step < 300; step += 7) {
        assert_int_equal(read_all(fab_buf_slice(&b), step, &n), FAB_OK);
        assert_int_equal(n, 4);
    }
    for (size_t cut = 1; cut < b.len; cut++)
        if (cut != 2 && cut != 130 && cut != 260)
            assert_int_equal(read_all(fab_slice(b.data, cut), 64, &n), FAB_EFORMAT);
    fab_buf_fini(&b);
}

static void test_halves_limits(void **state)
{
    struct fab_buf b;
    unsigned n;
    (void)state;
    assert_int_equal(read_all(fab_slice("\0", 1), 1, &n), FAB_EFORMAT);
    assert_int_equal(read_all(fab_slice("\x81\0", 2), 1, &n), FAB_EFORMAT);  /* 1 in two bytes */
    assert_int_equal(read_all(fab_slice("\x81\x10", 2), 1, &n), FAB_ELIMIT); /* 2049 */
    assert_int_equal(read_all(fab_slice("\x80\x80\1", 3), 1, &n), FAB_ELIMIT);
    fab_buf_init(&b, FAB_PEERS_HALF_MAX);
    for (int i = 0; i < FAB_PEERS_RECORDS_MAX; i++)
        assert_int_equal(fab_peers_append(&b, fab_slice("a", 1)), FAB_OK);
    assert_int_equal(read_all(fab_buf_slice(&b), 3, &n), FAB_OK);
    assert_int_equal(n, FAB_PEERS_RECORDS_MAX);
    assert_int_equal(fab_peers_append(&b, fab_slice("a", 1)), FAB_OK);
    assert_int_equal(read_all(fab_buf_slice(&b), 3, &n), FAB_ELIMIT);
    assert_int_equal(n, FAB_PEERS_RECORDS_MAX);
    fab_buf_fini(&b);

    fab_buf_init(&b, 4);
    assert_int_equal(fab_peers_append(&b, fab_slice("1234", 4)), FAB_ELIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(fab_peers_append(&b, fab_slice("123", 3)), FAB_OK);
    fab_buf_fini(&b);
}

/* ---- records ---- */

static void test_newest(void **state)
{
    struct fab_peer_records *records;
    (void)state;
    assert_int_equal(fab_peer_records_new(FAB_PEERS_HELD_MAX, &records), FAB_OK);
    assert_int_equal(give(records, 1, 10, 1), FAB_OK);
    assert_int_equal(give(records, 1, 10, 2), FAB_EEXIST);
    assert_int_equal(give(records, 1, 9, 2), FAB_EEXIST);
    assert_int_equal(fab_peer_records_count(records), 1);
    assert_int_equal(give(records, 1, 11, 2), FAB_OK);
    assert_int_equal(fab_peer_records_count(records), 1);
    assert_int_equal(give(records, 2, 5, 2), FAB_OK);
    assert_int_equal(fab_peer_records_count(records), 2);
    struct fab_peer_id id = id_of(1);
    fab_peer_records_remove(records, &id);
    fab_peer_records_remove(records, &id);
    assert_int_equal(fab_peer_records_count(records), 1);
    assert_int_equal(give(records, 1, 9, 3), FAB_OK);
    fab_peer_records_free(records);
    fab_peer_records_free(NULL);
}

static void test_forged(void **state)
{
    struct fab_peer_records *records;
    struct fab_signed_record record;
    struct fab_buf b;
    unsigned refused = 0;
    (void)state;
    assert_int_equal(fab_peer_records_new(4, &records), FAB_OK);
    record_of(1, 10, &b);
    assert_int_equal(fab_peer_records_check(records, fab_buf_slice(&b), &record), FAB_OK);
    assert_int_equal(record.seq, 10);
    assert_int_equal(record.addr_count, 1);
    for (size_t i = 0; i < b.len; i++) { /* no byte of it may change */
        b.data[i] ^= 1;
        refused += fab_peer_records_check(records, fab_buf_slice(&b), &record) != FAB_OK;
        b.data[i] ^= 1;
        assert_int_not_equal(fab_peer_records_check(records, fab_slice(b.data, i), &record),
                             FAB_OK);
    }
    assert_int_equal(refused, b.len);
    uint8_t *big = calloc(1, FAB_PEERS_RECORD_MAX + 1);
    assert_non_null(big);
    assert_int_equal(
        fab_peer_records_check(records, fab_slice(big, FAB_PEERS_RECORD_MAX + 1), &record),
        FAB_ELIMIT);
    free(big);
    assert_int_equal(fab_peer_records_count(records), 0);
    fab_buf_fini(&b);
    fab_peer_records_free(records);
}

static void test_tell(void **state)
{
    struct fab_peer_records *records;
    uint64_t mark = 0, other = 0;
    (void)state;
    assert_int_equal(fab_peer_records_new(FAB_PEERS_HELD_MAX, &records), FAB_OK);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(give(records, i, 100 + i, 1), FAB_OK);
    /* Nobody is connected: nothing is passed on. */
    assert_int_equal(told(records, &mark, 9, 1).n, 0);
    touch(records, 3, 1);
    touch(records, 1, 1);
    struct taken taken = told(records, &mark, 9, 2);
    assert_int_equal(taken.n, 2);
    assert_int_equal(taken.seqs[0], 103);
    assert_int_equal(taken.seqs[1], 101);
    assert_int_equal(told(records, &mark, 9, 2).n, 0); /* once */
    /* Its own record is not told to a peer. */
    taken = told(records, &other, 3, 2);
    assert_int_equal(taken.n, 1);
    assert_int_equal(taken.seqs[0], 101);
    /* That it is still connected is no news; a newer record is. */
    touch(records, 3, 3);
    assert_int_equal(told(records, &mark, 9, 3).n, 0);
    assert_int_equal(give(records, 3, 200, 3), FAB_OK);
    assert_int_equal(give(records, 4, 200, 3), FAB_OK); /* not connected */
    taken = told(records, &mark, 9, 3);
    assert_int_equal(taken.n, 1);
    assert_int_equal(taken.seqs[0], 200);
    touch(records, 4, 4);
    assert_int_equal(told(records, &mark, 9, 4).n, 1);
    fab_peer_records_free(records);
}

static void test_expiry(void **state)
{
    struct fab_peer_records *records;
    uint64_t mark = 0, fresh = 0;
    (void)state;
    assert_int_equal(fab_peer_records_new(4, &records), FAB_OK);
    assert_int_equal(give(records, 1, 1, 1), FAB_OK);
    touch(records, 1, 1);
    assert_int_equal(told(records, &mark, 9, 1).n, 1);
    assert_int_equal(told(records, &fresh, 9, HOUR).n, 1);
    fresh = 0;
    assert_int_equal(told(records, &fresh, 9, HOUR + 1).n, 0);
    touch(records, 1, HOUR + 2); /* back again: news */
    assert_int_equal(told(records, &mark, 9, HOUR + 2).n, 1);
    fab_peer_records_free(records);
}

static void test_many(void **state)
{
    struct fab_peer_records *records;
    uint64_t mark = 0;
    (void)state;
    assert_int_equal(fab_peer_records_new(FAB_PEERS_HELD_MAX, &records), FAB_OK);
    for (unsigned i = 1; i <= 100; i++) {
        assert_int_equal(give(records, i, i, 1), FAB_OK);
        touch(records, i, 1);
    }
    struct taken taken = told(records, &mark, 500, 1); /* the newest */
    assert_int_equal(taken.n, FAB_PEERS_OTHERS_MAX);
    assert_int_equal(taken.seqs[0], 37);
    assert_int_equal(taken.seqs[63], 100);
    assert_int_equal(told(records, &mark, 500, 1).n, 0);
    /* After that nothing is left out. */
    for (unsigned i = 1; i <= 100; i++)
        assert_int_equal(give(records, i, 1000 + i, 2), FAB_OK);
    taken = told(records, &mark, 500, 2);
    assert_int_equal(taken.n, FAB_PEERS_OTHERS_MAX);
    assert_int_equal(taken.seqs[0], 1001);
    taken = told(records, &mark, 500, 2);
    assert_int_equal(taken.n, 36);
    assert_int_equal(taken.seqs[35], 1100);

    /* No room: nothing is said, and the mark stays. */
    struct fab_buf b;
    size_t n = 99;
    uint64_t zero = 0;
    struct fab_peer_id id = id_of(500);
    fab_buf_init(&b, 300);
    assert_int_equal(fab_peer_records_tell(records, &zero, &id, 2, &b, &n), FAB_ELIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(zero, 0);
    assert_int_equal(n, 99);
    fab_buf_fini(&b);
    fab_peer_records_free(records);
}

static void test_room(void **state)
{
    struct fab_peer_records *records;
    uint64_t mark = 0;
    (void)state;
    assert_int_equal(fab_peer_records_new(3, &records), FAB_OK);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(give(records, i, i, 1), FAB_OK);
    touch(records, 1, 1);
    touch(records, 3, 1);
    assert_int_equal(give(records, 4, 4, 2), FAB_OK); /* in place of 2 */
    assert_int_equal(fab_peer_records_count(records), 3);
    assert_int_equal(give(records, 2, 2, 2), FAB_OK); /* in place of 4 */
    touch(records, 2, 2);
    assert_int_equal(give(records, 5, 5, 3), FAB_ELIMIT);
    assert_int_equal(give(records, 3, 30, 3), FAB_OK); /* has its place */
    struct taken taken = told(records, &mark, 9, 3);
    assert_int_equal(taken.n, 3);
    assert_int_equal(taken.seqs[2], 30);
    assert_int_equal(give(records, 5, 5, HOUR + 1), FAB_OK); /* 1 is long gone */
    fab_peer_records_free(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves), cmocka_unit_test(test_halves_limits),
        cmocka_unit_test(test_newest), cmocka_unit_test(test_forged),
        cmocka_unit_test(test_tell),   cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_many),   cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
