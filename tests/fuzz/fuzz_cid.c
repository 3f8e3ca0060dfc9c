/* CIDs, binary and text, and text in every multibase. */
#include "storage/multiformats/cid.h"
#include "storage/multiformats/multibase.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* A CID that was read is written as the same CID in both forms. */
static void check_cid(const struct fab_cid *cid)
{
    struct fab_cid again;
    uint8_t bytes[FAB_CID_MAX];
    char text[FAB_CID_TEXT_MAX];
    size_t n = fab_cid_bytes(cid, bytes);
    check(fab_cid_parse(fab_slice(bytes, n), &again) == FAB_OK && fab_cid_eq(cid, &again));
    n = fab_cid_text(cid, text);
    check(n > 0 && strlen(text) == n);
    check(fab_cid_from_text(text, n, &again) == FAB_OK && fab_cid_eq(cid, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_cid cid;
    struct fab_reader r = fab_reader(fab_slice(data, size));
    if (fab_cid_read(&r, &cid) == FAB_OK) {
        uint8_t bytes[FAB_CID_MAX];
        size_t n = fab_cid_bytes(&cid, bytes);
        check(n == size - fab_reader_left(&r) && memcmp(bytes, data, n) == 0);
        check_cid(&cid);
        enum fab_rc rc = fab_cid_check(&cid, fab_slice(data, size));
        check(rc == FAB_EHASH || rc == FAB_EUNSUPPORTED);
    }
    if (fab_cid_from_text((const char *)data, size, &cid) == FAB_OK)
        check_cid(&cid);

    uint8_t out[512];
    size_t n, len;
    if (fab_multibase_decode((const char *)data, size, out, sizeof(out), &n) == FAB_OK) {
        char text[FAB_BASE_TEXT_MAX(sizeof(out)) + 1];
        check(fab_multibase_encode((char)data[0], fab_slice(out, n), text, sizeof(text), &len) ==
              FAB_OK);
        check(len == size && memcmp(text, data, size) == 0);
    }
    return 0;
}
