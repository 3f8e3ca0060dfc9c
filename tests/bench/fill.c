/* Fills a store with many blocks through the library, quickly:
 *   bench_fill STORE SEED COUNT MIN MAX KEEP [QUOTA-BYTES]
 * COUNT raw blocks of MIN to MAX unlike bytes in the workspace `local`; no more once QUOTA-BYTES
 * are reached. KEEP says what a pin reaches: all, none, or half (every second block, in the order
 * of writing). */
#include "storage/dag/dag_pb.h"
#include "storage/store/store.h"
#include "tests/bench/prng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LINKS_PER_NODE 4000u
#define NODES_MAX      4000u

struct filler {
    struct fab_ingest *ingest;
    struct fab_buf node; /* links to the blocks since the last node */
    size_t links;
    struct fab_cid *nodes;
    size_t n_nodes;
};

static enum fab_rc append_link(struct fab_buf *node, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_CID_MAX];
    size_t n = fab_cid_bytes(cid, bytes);
    struct fab_pb_link link = {
        .cid = fab_slice(bytes, n), .name = fab_slice("", 0), .has_name = true};
    return fab_pb_append_link(node, &link);
}

static enum fab_rc put_node(struct fab_ingest *ingest, struct fab_buf *node, struct fab_cid *out)
{
    FAB_TRY(fab_cid_of(1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_buf_slice(node), out));
    FAB_TRY(fab_ingest_put(ingest, out, fab_buf_slice(node)));
    fab_buf_reset(node);
    return FAB_OK;
}

static enum fab_rc flush_links(struct filler *f)
{
    if (f->links == 0)
        return FAB_OK;
    if (f->n_nodes == NODES_MAX)
        return FAB_ELIMIT;
    FAB_TRY(put_node(f->ingest, &f->node, &f->nodes[f->n_nodes]));
    f->n_nodes++;
    f->links = 0;
    return FAB_OK;
}

static enum fab_rc keep_block(struct filler *f, const struct fab_cid *cid)
{
    FAB_TRY(append_link(&f->node, cid));
    if (++f->links == LINKS_PER_NODE)
        return flush_links(f);
    return FAB_OK;
}

static enum fab_rc fill(struct filler *f, struct prng *prng, uint64_t count, uint64_t min,
                        uint64_t max, unsigned keep_every, uint64_t quota, uint8_t *block)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < count && bytes < quota; i++) {
        struct fab_cid cid;
        size_t n = (size_t)prng_between(prng, min, max);
        prng_fill(prng, block, n);
        FAB_TRY(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(block, n), &cid));
        FAB_TRY(fab_ingest_put(f->ingest, &cid, fab_slice(block, n)));
        bytes += n;
        if (keep_every != 0 && i % keep_every == 0)
            FAB_TRY(keep_block(f, &cid));
    }
    return flush_links(f);
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc > 8) {
        fprintf(stderr, "usage: bench_fill STORE SEED COUNT MIN MAX all|half|none [QUOTA-BYTES]\n");
        return 2;
    }
    struct prng prng = prng_seed(strtoull(argv[2], NULL, 10));
    uint64_t count = strtoull(argv[3], NULL, 10);
    uint64_t min = strtoull(argv[4], NULL, 10), max = strtoull(argv[5], NULL, 10);
    unsigned keep_every = strcmp(argv[6], "all") == 0 ? 1 : strcmp(argv[6], "half") == 0 ? 2 : 0;
    uint64_t quota = argc == 8 ? strtoull(argv[7], NULL, 10) : UINT64_MAX;
    if (min == 0 || min > max || max > FAB_BLOCK_MAX) {
        fprintf(stderr, "bench_fill: sizes must be 1 to %u\n", FAB_BLOCK_MAX);
        return 2;
    }

    struct fab_store *store = NULL;
    struct fab_workspace_info ws;
    struct fab_err err = {0};
    struct filler f = {0};
    uint8_t *block = malloc(FAB_BLOCK_MAX);
    f.nodes = calloc(NODES_MAX, sizeof *f.nodes);
    fab_buf_init(&f.node, FAB_BLOCK_MAX);
    enum fab_rc rc = block && f.nodes ? FAB_OK : FAB_ENOMEM;
    if (rc == FAB_OK)
        rc = fab_store_open(argv[1], NULL, &store, &err);
    if (rc == FAB_OK)
        rc = fab_workspace_find(store, FAB_WORKSPACE_LOCAL, true, &ws, &err);
    if (rc == FAB_OK)
        rc = fab_ingest_open(store, ws.id, &f.ingest, &err);
    if (rc == FAB_OK)
        rc = fill(&f, &prng, count, min, max, keep_every, quota, block);

    struct fab_ingest_root root = {.pin = true};
    for (size_t i = 0; rc == FAB_OK && i < f.n_nodes; i++)
        rc = append_link(&f.node, &f.nodes[i]);
    if (rc == FAB_OK && keep_every != 0)
        rc = put_node(f.ingest, &f.node, &root.cid);
    struct fab_ingest_stats stats = {0};
    if (rc == FAB_OK) {
        rc = fab_ingest_commit(f.ingest, &root, keep_every != 0 ? 1 : 0, &stats, &err);
        f.ingest = NULL;
    }
    fab_ingest_abort(f.ingest);
    if (rc == FAB_OK)
        printf("%" PRIu64 " blocks, %" PRIu64 " bytes\n", stats.blocks, stats.bytes);
    else
        fprintf(stderr, "bench_fill: %s: code %d %s\n", argv[1], (int)rc, err.msg);
    fab_buf_fini(&f.node);
    fab_store_close(store);
    free(f.nodes);
    free(block);
    return rc == FAB_OK ? 0 : 1;
}
