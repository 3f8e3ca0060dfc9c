/* Negotiation: bytes that come in pieces mean what they mean in one piece. The first byte chooses
 * the role (bit 0) and the size of the pieces. */
#include "fabric/swarm/multistream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum fab_rc rc;
    bool done;
    int chosen;
    size_t taken;
    struct fab_buf out;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static const char *const names[] = {"/noise", "/yamux/1.0.0", "/x"};

static int match(void *ctx, struct fab_slice name)
{
    (void)ctx;
    check(name.n <= FAB_MULTISTREAM_NAME_MAX);
    for (int i = 0; i < 2; i++)
        if (fab_slice_eq(name, fab_slice(names[i], strlen(names[i]))))
            return i;
    return -1;
}

static struct result negotiate(bool dial, struct fab_slice bytes, size_t piece)
{
    struct result r = {FAB_OK, false, -1, 0, {0}};
    struct fab_multistream ms;

    fab_buf_init(&r.out, 128); /* less than all refusals take, so that it is full at times */
    if (dial)
        check(fab_multistream_dial(&ms, names, 3) == FAB_OK);
    else
        fab_multistream_listen(&ms, match, NULL);
    check(fab_multistream_start(&ms, &r.out) == FAB_OK);
    while (r.rc == FAB_OK && !ms.done && r.taken < bytes.n) {
        size_t n = bytes.n - r.taken < piece ? bytes.n - r.taken : piece;
        uint8_t *copy = malloc(n);
        check(copy);
        memcpy(copy, bytes.p + r.taken, n);
        struct fab_reader in = fab_reader(fab_slice(copy, n));
        r.rc = fab_multistream_input(&ms, &in, &r.out);
        check(r.rc != FAB_OK || ms.done || fab_reader_left(&in) == 0);
        r.taken += n - fab_reader_left(&in);
        free(copy);
    }
    check(ms.done == (ms.chosen >= 0));
    check(!ms.done || r.rc == FAB_OK);
    r.done = ms.done;
    r.chosen = ms.chosen;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct fab_slice bytes = fab_slice(data + 1, size - 1);
    struct result a = negotiate(data[0] & 1, bytes, size);
    struct result b = negotiate(data[0] & 1, bytes, 1 + (data[0] >> 1) % 40);
    check(a.rc == b.rc && a.done == b.done && a.chosen == b.chosen && a.taken == b.taken);
    check(fab_slice_eq(fab_buf_slice(&a.out), fab_buf_slice(&b.out)));
    fab_buf_fini(&a.out);
    fab_buf_fini(&b.out);
    return 0;
}
