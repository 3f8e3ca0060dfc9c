/* Addresses: what is valid in one form goes through the other and back unchanged. */
#include "storage/multiformats/multiaddr.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_binary(struct fab_slice addr)
{
    struct fab_buf text, again;
    fab_buf_init(&text, FAB_MULTIADDR_TEXT_MAX);
    fab_buf_init(&again, FAB_MULTIADDR_TEXT_MAX);
    check(fab_multiaddr_check(addr) == FAB_OK);
    enum fab_rc rc = fab_multiaddr_to_text(addr, &text);
    if (rc != FAB_ELIMIT) {
        check(rc == FAB_OK);
        check(fab_multiaddr_from_text((char *)text.data, text.len, &again) == FAB_OK);
        check(fab_slice_eq(addr, fab_buf_slice(&again)));
    }
    fab_buf_fini(&text);
    fab_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_buf addr;
    if (fab_multiaddr_check(fab_slice(data, size)) == FAB_OK)
        check_binary(fab_slice(data, size));
    fab_buf_init(&addr, 2 * FAB_MULTIADDR_TEXT_MAX);
    if (fab_multiaddr_from_text((const char *)data, size, &addr) == FAB_OK)
        check_binary(fab_buf_slice(&addr));
    fab_buf_fini(&addr);
    return 0;
}
