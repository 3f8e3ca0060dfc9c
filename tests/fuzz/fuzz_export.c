/* Any bundle written out by the real `fab_get` from a real store: it ends, writes nothing outside
 * its destination, leaves nothing when it fails, and never more than its limit. */
#include "tests/fuzz/bundle.h"

#include "storage/dag/links.h"
#include "storage/files/get.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define BYTES_MAX (1u << 20)

static struct fab_store *store;
static uint32_t ws;
static char top[64], jail[96], dest[112];

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    CHECK(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void at_end(void)
{
    fab_store_close(store);
    remove_tree(top);
}

static void start(void)
{
    char path[96];
    struct fab_workspace_info info;
    snprintf(top, sizeof top, "/tmp/fuzz-export-XXXXXX");
    CHECK(mkdtemp(top));
    snprintf(path, sizeof path, "%s/store", top);
    snprintf(jail, sizeof jail, "%s/jail", top);
    snprintf(dest, sizeof dest, "%s/out", jail);
    CHECK(mkdir(jail, 0700) == 0);
    CHECK(fab_store_open(path, NULL, &store, NULL) == FAB_OK);
    CHECK(fab_workspace_find(store, FAB_WORKSPACE_LOCAL, false, &info, NULL) == FAB_OK);
    ws = info.id;
    atexit(at_end);
}

static unsigned entries(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(dir);
    return count;
}

struct fill {
    struct bundle *bundle;
    struct fab_ingest *ingest;
};

/* A link leads to the block that its digest's first byte names, whatever the bytes hash to. */
static enum fab_rc put_target(void *arg, const struct fab_cid *link)
{
    struct fill *fill = arg;
    struct fab_slice bytes;
    if (fab_cid_mh_code(link) == FAB_MH_IDENTITY ||
        bundle_get(fill->bundle, link, &bytes) != FAB_OK)
        return FAB_OK;
    return fab_ingest_put(fill->ingest, link, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!store)
        start();
    struct bundle b;
    struct fab_cid root = bundle_root(FAB_CODEC_DAG_PB);
    struct fill fill = {.bundle = &b};
    bundle_parse(&b, data, n);
    CHECK(fab_ingest_open(store, ws, &fill.ingest, NULL) == FAB_OK);
    CHECK(put_target(&fill, &root) == FAB_OK);
    for (size_t i = 0; i < b.count; i++) {
        enum fab_rc rc = fab_dag_links(FAB_CODEC_DAG_PB, b.blocks[i], put_target, &fill);
        CHECK(rc == FAB_OK || rc == FAB_EFORMAT || rc == FAB_ELIMIT);
    }
    CHECK(fab_ingest_commit(fill.ingest, NULL, 0, NULL, NULL) == FAB_OK);

    struct fab_get_options options = {.dest = dest, .max_bytes = BYTES_MAX};
    struct fab_get_stats stats;
    struct fab_err err = {0};
    enum fab_rc rc = fab_get(store, ws, &root, &options, &stats, &err);
    CHECK(entries(top) == 2); /* the store and the jail */
    CHECK(entries(jail) == (rc == FAB_OK ? 1 : 0));
    if (rc == FAB_OK) {
        CHECK(stats.bytes <= BYTES_MAX);
        remove_tree(dest);
    } else {
        CHECK(err.rc == rc && err.msg[0]);
    }
    struct fab_gc_options gc = {0};
    CHECK(fab_gc(store, ws, &gc, NULL, NULL) == FAB_OK);
    bundle_fini(&b);
    return 0;
}
