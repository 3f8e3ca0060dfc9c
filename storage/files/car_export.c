#include "storage/dag/car.h"
#include "storage/dag/walk.h"
#include "storage/files/car_io.h"
#include "storage/files/out.h"

#include <stdlib.h>

#define EXPORT_BLOCKS_MAX (16u << 20) /* of one archive; about 50 bytes of memory each */

struct export
{
    struct source source;
    struct watch watch;
    struct out out;
    struct fab_car_stats stats;
};

static enum fab_rc on_block(void *arg, const struct fab_cid *cid, struct fab_slice data)
{
    struct export *e = arg;
    uint8_t frame[FAB_CAR_FRAME_MAX];
    /* Bytes inside a CID need no section. */
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY)
        return FAB_OK;
    if (data.n > FAB_BLOCK_MAX)
        return FAB_ELIMIT;
    e->stats.blocks++;
    e->stats.bytes += data.n;
    e->watch.now.items++;
    e->watch.now.bytes += data.n;
    /* The frame and the block are one piece: the view may go when the block is in the buffer. */
    size_t n = fab_car_frame(cid, data.n, frame);
    FAB_TRY(out_append(&e->out, fab_slice(frame, n)));
    FAB_TRY(out_write(&e->out, data));
    source_breathe(&e->source);
    return watch_tick(&e->watch);
}

static enum fab_rc export_all(struct export *e, const struct fab_cid *roots, size_t n,
                              struct fab_visited_set *seen)
{
    struct fab_block_source table = source_table(&e->source);
    struct fab_walk walk = {
        .source = &table, .visited = fab_visited_set_table(seen), .arg = e, .block = on_block};
    struct fab_buf header;
    fab_buf_init(&header, FAB_CAR_HEADER_MAX + 16);
    enum fab_rc rc = fab_car_header(roots, n, &header);
    if (rc == FAB_OK)
        rc = out_write(&e->out, fab_buf_slice(&header));
    fab_buf_fini(&header);
    for (size_t i = 0; rc == FAB_OK && i < n; i++)
        rc = fab_walk_dag(&walk, &roots[i]);
    if (rc != FAB_OK)
        return rc;
    source_rest(&e->source);
    return out_flush(&e->out);
}

static enum fab_rc lease_all(struct fab_store *store, uint32_t ws, const struct fab_cid *roots,
                             size_t n, struct fab_lease **leases, struct fab_err *err)
{
    for (size_t i = 0; i < n; i++)
        FAB_TRY(fab_lease_root(store, ws, &roots[i], &leases[i], err));
    return FAB_OK;
}

enum fab_rc fab_car_export(struct fab_store *store, uint32_t ws, const struct fab_cid *roots,
                           size_t n, int fd, const struct fab_watch *watch,
                           struct fab_car_stats *stats, struct fab_err *err)
{
    struct fab_err local;
    struct fab_visited_set *seen = NULL;
    struct export e = {.stats.roots = n};
    if (!err)
        err = &local;
    err->rc = FAB_OK;
    err->msg[0] = '\0';
    source_init(&e.source, store, ws, false);
    watch_init(&e.watch, watch);
    struct fab_lease **leases = calloc(n ? n : 1, sizeof(struct fab_lease *));
    enum fab_rc rc = leases ? lease_all(store, ws, roots, n, leases, err) : FAB_ENOMEM;
    if (rc == FAB_OK)
        rc = fab_visited_set_new(EXPORT_BLOCKS_MAX, &seen);
    if (rc == FAB_OK)
        rc = out_init(&e.out, fd, &e.source, &e.watch);
    if (rc == FAB_OK)
        rc = export_all(&e, roots, n, seen);
    if (rc == FAB_OK) {
        watch_end(&e.watch);
        if (stats)
            *stats = e.stats;
    } else if (e.out.error) {
        fab_err_errno(err, e.out.error, "cannot write the archive");
    } else {
        source_err(&e.source, rc, "the exported DAG", err);
    }
    source_rest(&e.source);
    out_fini(&e.out);
    fab_visited_set_free(seen);
    for (size_t i = 0; leases && i < n; i++)
        fab_lease_release(leases[i]);
    free(leases);
    return rc;
}
