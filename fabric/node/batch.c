/* Blocks that came together: their hashes are checked and their links read in the pool, the bytes
 * stay where they arrived until the store has written them. A batch is shared by the fetches that
 * want blocks of it and by the store's writer, and freed by the last of them, on the loop. */
#include "fabric/node/fetch_internal.h"

#include "storage/dag/links.h"

#include <stdlib.h>

struct stored {
    struct fab_ingest_block block;
    struct block_batch *batch;
};

struct block_batch *batch_new(struct node_workspace *ws, size_t n)
{
    struct block_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    batch->blocks = calloc(n ? n : 1, sizeof *batch->blocks);
    if (!batch->blocks) {
        free(batch);
        return NULL;
    }
    batch->store = ws->node->store;
    batch->ws = ws->id;
    batch->loop = ws->node->loop;
    atomic_init(&batch->refs, 1);
    return batch;
}

/* ---- in the pool ---- */

static enum fab_rc add_link(void *arg, const struct fab_cid *cid)
{
    struct link_list *list = arg;
    uint64_t size;
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY)
        return FAB_OK; /* its bytes are in the CID; its links are not followed, as in a walk */
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct fab_fetch_link *links = realloc(list->links, cap * sizeof *links);
        if (!links)
            return FAB_ENOMEM;
        list->links = links;
        list->cap = cap;
    }
    enum fab_rc rc = fab_view_size(list->view, cid, &size);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    list->links[list->n++] = (struct fab_fetch_link){.cid = *cid, .held = rc == FAB_OK};
    return FAB_OK;
}

enum fab_rc links_of(struct link_list *list, uint64_t codec, struct fab_slice data)
{
    enum fab_rc rc = fab_dag_links(codec, data, add_link, list);
    return rc == FAB_EUNSUPPORTED ? FAB_OK : rc; /* a codec without known links */
}

static enum fab_rc check_block(struct batch_block *block, struct link_list *list)
{
    enum fab_rc rc = block->has_cid
                         ? fab_cid_check(&block->cid, block->data)
                         : fab_bitswap_prefix_cid(&block->prefix, block->data, &block->cid);
    block->link = list->n;
    if (rc == FAB_OK)
        rc = links_of(list, block->cid.codec, block->data);
    block->links = list->n - block->link;
    block->good = rc == FAB_OK;
    return rc == FAB_ENOMEM || rc == FAB_EIO ? rc : FAB_OK;
}

static void check_run(struct fab_work *work)
{
    struct block_batch *batch =
        (struct block_batch *)((char *)work - offsetof(struct block_batch, work));
    struct link_list list = {0};
    batch->rc = fab_view_open(batch->store, batch->ws, &list.view, NULL);
    for (size_t i = 0; i < batch->n && batch->rc == FAB_OK; i++)
        batch->rc = check_block(&batch->blocks[i], &list);
    fab_view_close(list.view);
    batch->links = list.links;
    batch->n_links = list.n;
}

static void check_done(struct fab_work *work)
{
    struct block_batch *batch =
        (struct block_batch *)((char *)work - offsetof(struct block_batch, work));
    batch->is_checked = true;
    batch->checked(batch);
}

void batch_check(struct block_batch *batch, struct fab_node *node)
{
    batch->work.run = check_run;
    batch->work.done = check_done;
    fab_work_start(&batch->work, node->loop, node->pool);
}

/* ---- into the store ---- */

static void written(struct fab_ingest_block *block)
{
    struct stored *stored = (struct stored *)((char *)block - offsetof(struct stored, block));
    struct block_batch *batch = stored->batch;
    free(stored);
    batch_unref(batch);
}

enum fab_rc batch_store(struct block_batch *batch, size_t i, struct fab_ingest *ingest)
{
    struct stored *stored = calloc(1, sizeof *stored);
    if (!stored)
        return FAB_ENOMEM;
    stored->batch = batch;
    stored->block = (struct fab_ingest_block){
        .cid = batch->blocks[i].cid, .data = batch->blocks[i].data, .done = written};
    atomic_fetch_add(&batch->refs, 1);
    fab_ingest_submit(ingest, &stored->block);
    return FAB_OK;
}

static void release(struct fab_post *post)
{
    struct block_batch *batch =
        (struct block_batch *)((char *)post - offsetof(struct block_batch, post));
    if (batch->released)
        batch->released(batch);
    fab_dagsync_batch_free(batch->dagsync);
    free(batch->bytes);
    free(batch->blocks);
    free(batch->links);
    free(batch);
}

void batch_unref(struct block_batch *batch)
{
    if (atomic_fetch_sub(&batch->refs, 1) != 1)
        return;
    batch->post.run = release;
    fab_loop_post(batch->loop, &batch->post);
}
