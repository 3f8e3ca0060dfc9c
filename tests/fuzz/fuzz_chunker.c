/* A spec, NUL, then content: chunks cover the content, keep their bounds, and do not depend on the
 * view. */
#include "storage/dag/chunker.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fab_chunker c;
    struct fab_err err = {0};
    const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
    if (!nul)
        return 0;
    enum fab_rc rc = fab_chunker_parse((const char *)data, &c, &err);
    CHECK(rc == FAB_OK || (rc == FAB_EINVAL && err.msg[0]));
    if (rc != FAB_OK)
        return 0;
    CHECK(c.min >= 1 && c.min <= c.avg && c.avg <= c.max && c.max <= FAB_CHUNK_MAX);
    const uint8_t *p = nul + 1;
    size_t left = n - (size_t)(p - data);
    unsigned count = 0;
    while (left > 0 && count++ < 1000) {
        struct fab_slice view = fab_slice(p, left);
        size_t len = fab_chunker_next(&c, view, true);
        CHECK(len >= 1 && len <= left && len <= c.max);
        CHECK(len >= c.min || len == left);
        size_t early = fab_chunker_next(&c, fab_slice(p, left / 2), false);
        CHECK(early == 0 || early == len);
        p += len;
        left -= len;
    }
    return 0;
}
