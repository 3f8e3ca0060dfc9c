/* /fabric/peers/1: a hostile half of a stream gives the same records whole and in pieces; what is
 * held of them stays within its maximum, and can be told and read again. */
#include "fabric/swarm/peer_exchange.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct taken {
    unsigned n;
    size_t bytes;
    struct fab_peer_records *records; /* NULL: count only */
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void take(void *arg, struct fab_slice envelope)
{
    struct taken *taken = arg;
    struct fab_signed_record record;
    check(envelope.n > 0 && envelope.n <= FAB_PEERS_RECORD_MAX);
    taken->n++;
    taken->bytes += envelope.n;
    if (!taken->records || fab_peer_records_check(taken->records, envelope, &record) != FAB_OK)
        return;
    enum fab_rc rc = fab_peer_records_put(taken->records, envelope, &record, taken->n);
    check(rc == FAB_OK || rc == FAB_ELIMIT);
    if (rc == FAB_OK) {
        check(fab_peer_records_check(taken->records, envelope, &record) == FAB_EEXIST);
        fab_peer_records_touch(taken->records, &record.peer, taken->n);
    }
}

static enum fab_rc read_in(struct fab_slice bytes, size_t step, struct taken *taken)
{
    struct fab_peers_reader r;
    enum fab_rc rc = FAB_OK;
    fab_peers_reader_init(&r);
    for (size_t at = 0; at < bytes.n && rc == FAB_OK; at += step)
        rc = fab_peers_reader_feed(
            &r, fab_slice(bytes.p + at, bytes.n - at < step ? bytes.n - at : step), take, taken);
    rc = fab_peers_reader_finish(&r);
    fab_peers_reader_fini(&r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct taken whole = {0}, pieces = {0}, told = {0};
    struct fab_peer_id nobody = {0};
    struct fab_buf b;
    uint64_t mark = 0;
    size_t n = 0;
    if (size == 0)
        return 0;
    struct fab_slice bytes = fab_slice(data + 1, size - 1);
    check(fab_peer_records_new(2, &whole.records) == FAB_OK);
    enum fab_rc rc = read_in(bytes, size, &whole);
    check(rc == read_in(bytes, 1 + data[0] % 16, &pieces));
    check(whole.n == pieces.n && whole.bytes == pieces.bytes);
    check(whole.n <= FAB_PEERS_RECORDS_MAX && fab_peer_records_count(whole.records) <= 2);
    fab_buf_init(&b, FAB_PEERS_HALF_MAX);
    check(fab_peer_records_tell(whole.records, &mark, &nobody, 100, &b, &n) == FAB_OK);
    check(read_in(fab_buf_slice(&b), size, &told) == FAB_OK);
    check(told.n == n && n == fab_peer_records_count(whole.records));
    fab_buf_fini(&b);
    fab_peer_records_free(whole.records);
    return 0;
}
