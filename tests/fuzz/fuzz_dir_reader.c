/* Any bundle as a directory: the walk ends, costs no more blocks than it gives entries (times the
 * levels), and what it gives is found again by name. */
#include "tests/fuzz/bundle.h"

#include "storage/dag/dir_reader.h"
#include "storage/dag/resolve.h"
#include "storage/dag/unixfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define ENTRIES_MAX 300
#define FOUND_MAX   20

struct seen {
    struct fab_slice names[FOUND_MAX];
    struct fab_cid cids[FOUND_MAX];
    unsigned count;
};

static enum fab_rc on_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                            uint64_t tsize)
{
    struct seen *s = arg;
    (void)tsize;
    if (s->count < FOUND_MAX) {
        uint8_t *copy = malloc(name.n ? name.n : 1);
        CHECK(copy);
        if (name.n)
            memcpy(copy, name.p, name.n);
        s->names[s->count] = fab_slice(copy, name.n);
        s->cids[s->count] = *cid;
    }
    return ++s->count == ENTRIES_MAX ? FAB_EINTERRUPTED : FAB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bundle b;
    struct fab_cid root = bundle_root(FAB_CODEC_DAG_PB), got;
    struct fab_block_source source = {&b, bundle_get};
    static struct fab_node_info info;
    struct seen s = {0};
    bundle_parse(&b, data, n);
    enum fab_rc rc = fab_dir_each(&source, &root, on_entry, &s);
    CHECK(b.gets <= (uint64_t)(s.count + 2) * 22);
    if (fab_node_stat(&source, &root, &info) == FAB_OK)
        CHECK(info.kind != FAB_NODE_FILE || rc == FAB_EINVAL);
    for (unsigned i = 0; i < s.count && i < FOUND_MAX; i++) {
        bool missing;
        enum fab_rc found = fab_dir_find(&source, &root, s.names[i], &missing, &got, NULL);
        /* A basic directory may hold a name twice; find gives the first. */
        CHECK(found == FAB_OK);
        bool same = false;
        for (unsigned k = 0; k <= i; k++)
            same |= fab_slice_eq(s.names[k], s.names[i]) && fab_cid_eq(&s.cids[k], &got);
        CHECK(same);
    }
    for (unsigned i = 0; i < s.count && i < FOUND_MAX; i++)
        free((void *)s.names[i].p);
    if (n > 4) {
        bool missing;
        rc = fab_dir_find(&source, &root, fab_slice(data, 4), &missing, &got, NULL);
        (void)rc;
    }
    bundle_fini(&b);
    return 0;
}
