/* Any bundle as a file: memory stays bounded, the cost follows what is given out, both walks agree.
 */
#include "tests/fuzz/bundle.h"

#include "storage/dag/file_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define EVENTS_MAX 200

struct seen {
    uint64_t next, bytes;
    unsigned events;
};

static enum fab_rc on_leaf(void *arg, uint64_t offset, const struct fab_cid *leaf, uint64_t payload)
{
    struct seen *s = arg;
    (void)leaf;
    CHECK(payload > 0 && offset == s->next);
    s->next = offset + payload;
    s->bytes += payload;
    return ++s->events == EVENTS_MAX ? FAB_EINTERRUPTED : FAB_OK;
}

static enum fab_rc on_data(void *arg, uint64_t offset, struct fab_slice bytes)
{
    struct seen *s = arg;
    CHECK(bytes.n > 0 && offset == s->next);
    s->next = offset + bytes.n;
    s->bytes += bytes.n;
    return ++s->events == EVENTS_MAX ? FAB_EINTERRUPTED : FAB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bundle b;
    struct fab_cid root = bundle_root(FAB_CODEC_DAG_PB);
    struct fab_block_source source = {&b, bundle_get};
    struct seen leaves = {0}, all = {0};
    uint64_t size = 0;
    bundle_parse(&b, data, n);
    enum fab_rc rc = fab_file_size(&source, &root, &size);
    b.gets = 0;
    enum fab_rc leaves_rc = fab_file_leaves(&source, &root, 0, UINT64_MAX, on_leaf, &leaves);
    CHECK(b.gets <= (uint64_t)(leaves.events + 2) * (FAB_DEPTH_MAX + 1));
    CHECK(rc == FAB_OK || leaves_rc == rc);
    if (leaves_rc == FAB_OK)
        CHECK(leaves.bytes == size);
    enum fab_rc read_rc = fab_file_read(&source, &root, 0, UINT64_MAX, on_data, &all);
    if (read_rc == FAB_OK)
        CHECK(leaves_rc == FAB_OK && all.bytes == size);
    if (n > 0 && rc == FAB_OK && size > 1) {
        uint64_t offset = size / 256 * data[n - 1], length = data[0];
        struct seen part = {.next = offset};
        read_rc = fab_file_read(&source, &root, offset, length, on_data, &part);
        CHECK(part.bytes <= length);
        if (read_rc == FAB_OK)
            CHECK(part.bytes == (length < size - offset ? length : size - offset));
    }
    bundle_fini(&b);
    return 0;
}
