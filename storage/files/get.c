#include "storage/files/get_job.h"

#include <fcntl.h>
#include <unistd.h>

static enum fab_rc get(struct get_job *job, int parent, const char *temp, const struct fab_cid *cid)
{
    struct get_node *top;
    int fd = dup(parent);
    if (fd < 0)
        return FAB_EIO;
    FAB_TRY(get_node_new(job, NULL, "", fd, true, NULL, &top));
    enum fab_rc rc = get_workers_start(job);
    if (rc == FAB_OK)
        rc = get_entry(job, top, temp, cid);
    if (rc != FAB_OK)
        atomic_store(&job->stop, true);
    get_workers_stop(job);
    source_rest(&job->source);
    get_node_drop(job, top);
    return job->rc != FAB_OK ? job->rc : rc;
}

enum fab_rc fab_get(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                    const struct fab_get_options *options, struct fab_get_stats *stats,
                    struct fab_err *err)
{
    struct fab_err local;
    struct fab_lease *lease;
    char name[TREE_NAME_MAX + 1], temp[TREE_TEMP_SIZE];
    int parent;
    if (!err)
        err = &local;
    err->rc = FAB_OK;
    err->msg[0] = '\0';
    FAB_TRY(tree_open_parent(options->dest, &parent, name, err));
    if (!options->force && faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        close(parent);
        return fab_err_set(err, FAB_EEXIST, "%s exists already; give another path or --force",
                           options->dest);
    }
    enum fab_rc rc = fab_lease_root(store, ws, cid, &lease, err);
    if (rc != FAB_OK) {
        close(parent);
        return rc;
    }
    struct get_job job = {.store = store, .ws = ws, .options = options, .err = err};
    source_init(&job.source, store, ws, options->verify);
    watch_init(&job.watch, &options->watch);
    tree_temp_name(temp);
    rc = get(&job, parent, temp, cid);
    if (rc == FAB_OK)
        rc = tree_publish(parent, temp, name, options->force, options->dest, err);
    if (rc != FAB_OK) {
        if (tree_remove(parent, temp) != FAB_OK && err->msg[0] == '\0')
            fab_err_set(err, rc, "%s: %s; the temporary %s could not be removed", options->dest,
                        fab_rc_text(rc), temp);
        if (err->msg[0] == '\0')
            fab_err_set(err, rc, "cannot get %s: %s", options->dest, fab_rc_text(rc));
    } else {
        job.stats.bytes = job.watch.now.bytes = atomic_load(&job.bytes);
        job.stats.files = job.watch.now.items = atomic_load(&job.files);
        watch_end(&job.watch);
        if (stats)
            *stats = job.stats;
    }
    fab_lease_release(lease);
    close(parent);
    return rc;
}
