/* Identify: a hostile stream gives the same result whole and in pieces; what is kept is within the
 * limits and valid, and can be written and read again. */
#include "fabric/swarm/identify.h"
#include "storage/multiformats/multiaddr.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* The caller ends the reader. */
static enum fab_rc read_in(struct fab_identify_reader *r, struct fab_slice bytes, size_t step,
                           struct fab_identify *out)
{
    fab_identify_reader_init(r);
    for (size_t at = 0; at < bytes.n; at += step) {
        size_t n = bytes.n - at < step ? bytes.n - at : step;
        enum fab_rc rc = fab_identify_reader_feed(r, fab_slice(bytes.p + at, n));
        if (rc != FAB_OK)
            return rc;
    }
    return fab_identify_reader_finish(r, out);
}

static void same_lists(const struct fab_slice *a, size_t n, const struct fab_slice *b, size_t m)
{
    check(n == m);
    for (size_t i = 0; i < n; i++)
        check(fab_slice_eq(a[i], b[i]));
}

static void same(const struct fab_identify *a, const struct fab_identify *b)
{
    check(fab_slice_eq(a->public_key, b->public_key));
    check(fab_slice_eq(a->observed, b->observed));
    check(fab_slice_eq(a->protocol_version, b->protocol_version));
    check(fab_slice_eq(a->agent_version, b->agent_version));
    check(fab_slice_eq(a->signed_peer_record, b->signed_peer_record));
    same_lists(a->listen, a->n_listen, b->listen, b->n_listen);
    same_lists(a->protocols, a->n_protocols, b->protocols, b->n_protocols);
}

static void kept_check(const struct fab_identify *id)
{
    struct fab_identify_reader r;
    struct fab_identify again;
    struct fab_buf wire;
    check(id->n_listen <= FAB_IDENTIFY_LISTEN_MAX);
    check(id->n_protocols <= FAB_IDENTIFY_PROTOCOLS_MAX);
    for (size_t i = 0; i < id->n_listen; i++)
        check(fab_multiaddr_check(id->listen[i]) == FAB_OK);
    for (size_t i = 0; i < id->n_protocols; i++)
        check(id->protocols[i].n > 0 && id->protocols[i].n <= FAB_IDENTIFY_TEXT_MAX);

    fab_buf_init(&wire, FAB_IDENTIFY_WRITE_MAX);
    enum fab_rc rc = fab_identify_write(id, &wire);
    if (rc == FAB_OK) {
        check(read_in(&r, fab_buf_slice(&wire), wire.len, &again) == FAB_OK);
        same(id, &again);
        fab_identify_reader_fini(&r);
    } else {
        check(rc == FAB_ELIMIT);
    }
    fab_buf_fini(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_identify_reader r[2];
    struct fab_identify id[2];
    if (size == 0)
        return 0;
    struct fab_slice bytes = fab_slice(data + 1, size - 1);
    enum fab_rc whole = read_in(&r[0], bytes, size, &id[0]);
    enum fab_rc pieces = read_in(&r[1], bytes, 1 + data[0] % 16, &id[1]);
    check(whole == pieces);
    if (whole == FAB_OK) {
        same(&id[0], &id[1]);
        kept_check(&id[0]);
    }
    fab_identify_reader_fini(&r[0]);
    fab_identify_reader_fini(&r[1]);
    return 0;
}
