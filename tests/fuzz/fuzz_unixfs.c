/* What decodes can be encoded again, and that decodes to the same. */
#include "storage/dag/unixfs.h"

#include <stdlib.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fab_unixfs a, b;
    struct fab_unixfs_sizes it;
    struct fab_buf buf;
    uint64_t size, sum = 0, count = 0;
    if (fab_unixfs_decode(fab_slice(data, n), &a) != FAB_OK)
        return 0;
    CHECK(a.sizes_count <= n && a.data.n <= n);
    uint64_t *sizes = calloc(a.sizes_count + 1, sizeof *sizes);
    CHECK(sizes);
    for (fab_unixfs_sizes_init(&it, &a); fab_unixfs_sizes_next(&it, &size);) {
        CHECK(count < a.sizes_count);
        sizes[count++] = size;
        sum += size;
    }
    CHECK(count == a.sizes_count && sum == a.sizes_sum);
    fab_buf_init(&buf, 4 * n + 4096);
    CHECK(fab_unixfs_encode(&a, sizes, &buf) == FAB_OK);
    CHECK(fab_unixfs_decode(fab_buf_slice(&buf), &b) == FAB_OK);
    CHECK(a.type == b.type && a.has_data == b.has_data && fab_slice_eq(a.data, b.data));
    CHECK(a.has_filesize == b.has_filesize && a.filesize == b.filesize);
    CHECK(a.sizes_count == b.sizes_count && a.sizes_sum == b.sizes_sum);
    CHECK(a.fanout == b.fanout && a.hash_type == b.hash_type);
    CHECK(a.attr.mode == b.attr.mode && a.attr.has_mtime == b.attr.has_mtime);
    CHECK(a.attr.mtime == b.attr.mtime && a.attr.mtime_nsec == b.attr.mtime_nsec);
    fab_buf_fini(&buf);
    free(sizes);
    return 0;
}
