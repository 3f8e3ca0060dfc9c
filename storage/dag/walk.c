#include "storage/dag/walk.h"

#include "storage/dag/links.h"

#include <stdlib.h>

/* The links of one level that are still to be visited: a length byte and a binary CID each. */
struct level {
    struct fab_buf cids;
    size_t next;
};

struct run {
    const struct fab_walk *walk;
    unsigned depth; /* levels in use */
    struct level levels[FAB_DEPTH_MAX];
};

static enum fab_rc link_keep(void *arg, const struct fab_cid *link)
{
    struct level *level = arg;
    uint8_t bytes[1 + FAB_CID_MAX];
    size_t n = fab_cid_bytes(link, bytes + 1);
    bytes[0] = (uint8_t)n;
    return fab_buf_append(&level->cids, bytes, n + 1);
}

/* Collect the links of a block in a new level, which stays only if there are any. */
static enum fab_rc links_push(struct run *r, const struct fab_cid *cid, struct fab_slice data)
{
    struct level none = {0};
    bool deepest = r->depth == FAB_DEPTH_MAX;
    struct level *level = deepest ? &none : &r->levels[r->depth];
    fab_buf_reset(&level->cids);
    level->next = 0;
    /* In the deepest level a buffer of no bytes turns the first link into FAB_ELIMIT. */
    enum fab_rc rc = fab_dag_links(cid->codec, data, link_keep, level);
    if (rc == FAB_EUNSUPPORTED && r->walk->allow_unknown)
        return FAB_OK;
    if (rc == FAB_OK && !deepest && level->cids.len > 0)
        r->depth++;
    return rc;
}

static enum fab_rc visit(struct run *r, const struct fab_cid *cid)
{
    const struct fab_walk *w = r->walk;
    struct fab_slice data;
    bool fresh;
    FAB_TRY(w->visited.add(w->visited.ctx, cid, &fresh));
    if (!fresh)
        return FAB_OK;
    if (cid->codec == FAB_CODEC_RAW && w->raw)
        return w->raw(w->arg, cid);
    enum fab_rc rc = fab_block_get(w->source, cid, &data);
    if (rc == FAB_ENOENT && w->missing)
        return w->missing(w->arg, cid);
    FAB_TRY(rc);
    FAB_TRY(links_push(r, cid, data));
    return w->block ? w->block(w->arg, cid, data) : FAB_OK;
}

static enum fab_rc run_all(struct run *r, const struct fab_cid *root)
{
    FAB_TRY(visit(r, root));
    while (r->depth > 0) {
        struct level *level = &r->levels[r->depth - 1];
        struct fab_cid cid;
        if (level->next == level->cids.len) {
            r->depth--;
            continue;
        }
        const uint8_t *p = level->cids.data + level->next;
        level->next += 1 + (size_t)p[0];
        FAB_TRY(fab_cid_parse(fab_slice(p + 1, p[0]), &cid));
        FAB_TRY(visit(r, &cid));
    }
    return FAB_OK;
}

enum fab_rc fab_walk_dag(const struct fab_walk *walk, const struct fab_cid *root)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return FAB_ENOMEM;
    r->walk = walk;
    for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
        fab_buf_init(&r->levels[i].cids, 4 * FAB_BLOCK_MAX);
    enum fab_rc rc = run_all(r, root);
    for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
        fab_buf_fini(&r->levels[i].cids);
    free(r);
    return rc;
}
