#include "scheduler/ledger/run_parts.h"

#include "scheduler/exec/dirs.h"
#include "storage/dag/dir_builder.h"
#include "storage/files/get.h"
#include "storage/files/pin_tree.h"
#include "storage/files/put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_NO_OUT 125

/* ---- collecting ---- */

static bool is_empty(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;
    if (!dir)
        return false;
    while (n < 3 && readdir(dir))
        n++;
    closedir(dir);
    return n == 2;
}

static void take_cid(void *arg, const struct fab_put_result *result)
{
    *(struct fab_cid *)arg = result->cid;
}

/* Most jobs of a kind leave nothing: then one node goes where the logs go, without a put of its
 * own. */
static enum fab_rc put_empty(const char *path, struct fab_ingest *ingest, struct fab_cid *out)
{
    struct stat st;
    struct fab_dir_builder *builder;
    struct fab_dag_entry entry;
    if (lstat(path, &st) != 0)
        return FAB_EIO;
    struct fab_unixfs_attr attr = {.has_mode = true, .mode = st.st_mode & 07777};
    struct fab_block_sink sink = fab_ingest_sink(ingest);
    FAB_TRY(fab_dir_builder_new(fab_profile_default(), 0, &builder));
    enum fab_rc rc = fab_dir_builder_finish(builder, &attr, &sink, &entry);
    fab_dir_builder_free(builder);
    if (rc == FAB_OK)
        *out = entry.cid;
    return rc;
}

static enum fab_rc put_out(struct job_run *run, struct fab_ingest *ingest, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    char path[PATH_MAX + 8];
    const char *paths[] = {path};
    snprintf(path, sizeof path, "%s/out", run->dir.path);
    if (is_empty(path) && put_empty(path, ingest, &run->job.out) == FAB_OK)
        return FAB_OK;
    /* Root reads everything; another user must be able to read what his job locked. */
    if (geteuid() != 0)
        (void)!fab_dir_readable(path);
    size_t dropped = 0;
    if (fab_dir_drop_special(path, &dropped) == FAB_OK && dropped && r->warn) {
        char line[96];
        snprintf(line, sizeof line, "%zu fifos, sockets and devices in /out were left out",
                 dropped);
        r->warn(r->arg, line);
    }
    struct fab_put_options options = {
        .no_pin = true, .hidden = true, .modes = true, .watch = {.cancel = r->cancel}};
    return fab_put(r->store, r->ws, paths, 1, &options, take_cid, &run->job.out, err);
}

static enum fab_rc put_log(struct job_run *run, const char *name, struct fab_ingest *ingest,
                           struct fab_cid *out, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    const size_t chunk = fab_profile_default()->chunk_size;
    char path[PATH_MAX + 8];
    struct stat st;
    uint8_t *bytes = NULL;
    snprintf(path, sizeof path, "%s/%s", run->dir.path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return fab_err_errno(err, errno, "cannot read %s", path);
    }
    enum fab_rc rc;
    size_t n = (size_t)st.st_size;
    if (n <= chunk) { /* one raw block is the whole file */
        bytes = malloc(n + 1);
        rc = !bytes ? FAB_ENOMEM : pread(fd, bytes, n, 0) == (ssize_t)n ? FAB_OK : FAB_EIO;
        if (rc == FAB_OK)
            rc = fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(bytes, n), out);
        if (rc == FAB_OK)
            rc = fab_ingest_put(ingest, out, fab_slice(bytes, n));
        if (rc != FAB_OK)
            fab_err_set(err, rc, "cannot store the job's %s: %s", name, fab_rc_text(rc));
    } else {
        struct fab_put_options options = {.no_pin = true, .watch = {.cancel = r->cancel}};
        struct fab_put_result result;
        rc = fab_put_fd(r->store, r->ws, fd, name, &options, &result, err);
        if (rc == FAB_OK)
            *out = result.cid;
    }
    free(bytes);
    close(fd);
    return rc;
}

/* What was encoded with the code `rc`. */
static enum fab_rc put_block(struct fab_ingest *ingest, enum fab_rc rc, struct fab_buf *block,
                             const struct fab_cid *cid, struct fab_err *err)
{
    if (rc == FAB_OK)
        rc = fab_ingest_put(ingest, cid, fab_buf_slice(block));
    return rc == FAB_OK
               ? rc
               : fab_err_set(err, rc, "cannot store the job's result: %s", fab_rc_text(rc));
}

static enum fab_rc put_objects(struct job_run *run, struct fab_ingest *ingest, struct fab_err *err)
{
    struct fab_job *j = &run->job;
    struct fab_buf block;
    fab_buf_init(&block, FAB_ACTION_BYTES_MAX + 65536);
    enum fab_rc rc = fab_action_encode(&run->action, &block, &j->action);
    rc = put_block(ingest, rc, &block, &j->action, err);
    struct fab_result result = {.action = j->action,
                                .out = j->out,
                                .out_log = j->out_log,
                                .err_log = j->err_log,
                                .exit_code = j->exit_code,
                                .started = j->started,
                                .ended = j->ended,
                                .cpu_usec = j->cpu_usec,
                                .memory_peak = j->memory_peak};
    fab_buf_reset(&block);
    if (rc == FAB_OK) {
        rc = fab_result_encode(&result, &block, &j->result);
        rc = put_block(ingest, rc, &block, &j->result, err);
    }
    fab_buf_fini(&block);
    return rc;
}

/* What is in /out cannot be a CID: then the job has failed, and its logs and its record say so. */
static enum fab_rc without_out(struct job_run *run, struct fab_ingest *ingest,
                               const struct fab_err *why)
{
    char path[PATH_MAX + 8];
    struct fab_job *j = &run->job;
    snprintf(path, sizeof path, "%s/out", run->dir.path);
    j->state = FAB_JOB_FAILED;
    if (j->exit_code == 0)
        j->exit_code = EXIT_NO_OUT;
    snprintf(j->reason, sizeof j->reason, "/out cannot be stored: %.200s", why->msg);
    return put_empty(path, ingest, &j->out);
}

enum fab_rc job_run_collect(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    struct fab_job *j = &run->job;
    struct fab_ingest *ingest;
    FAB_TRY(fab_ingest_open(r->store, r->ws, &ingest, err));
    struct fab_err why = {0};
    enum fab_rc rc = put_out(run, ingest, &why);
    if (rc == FAB_EUNSUPPORTED || rc == FAB_ELIMIT || rc == FAB_EINVAL) {
        rc = without_out(run, ingest, &why);
    } else if (rc != FAB_OK && err) {
        *err = why;
    }
    if (rc == FAB_OK)
        rc = put_log(run, "stdout", ingest, &j->out_log, err);
    if (rc == FAB_OK)
        rc = put_log(run, "stderr", ingest, &j->err_log, err);
    if (rc == FAB_OK)
        rc = put_objects(run, ingest, err);
    if (rc != FAB_OK) {
        fab_ingest_abort(ingest);
        return rc;
    }
    FAB_TRY(fab_ingest_commit(ingest, NULL, 0, NULL, err));
    j->has_results = true;
    return FAB_OK;
}

/* ---- recalling ---- */

static enum fab_rc read_result(const struct job_run *run, const struct fab_cid *cid,
                               struct fab_result *out, struct fab_err *err)
{
    struct fab_view *view;
    struct fab_slice block;
    FAB_TRY(fab_view_open(run->request->store, run->request->ws, &view, err));
    enum fab_rc rc = fab_view_get(view, cid, &block);
    if (rc == FAB_OK)
        rc = fab_result_decode(block, out);
    fab_view_close(view);
    return rc;
}

enum fab_rc job_run_recall(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    struct fab_job *j = &run->job;
    struct fab_cid cid;
    struct fab_result result;
    if (fab_memo_get(r->store, r->ws, &run->action_cid, &cid) != FAB_OK ||
        read_result(run, &cid, &result, NULL) != FAB_OK || result.exit_code != 0 ||
        !fab_cid_eq(&result.action, &run->action_cid))
        return FAB_ENOENT;
    const struct fab_cid *parts[] = {&result.out, &result.out_log, &result.err_log};
    const struct fab_watch watch = {.cancel = r->cancel};
    for (size_t i = 0; i < 3; i++) {
        enum fab_rc rc = fab_tree_check(r->store, r->ws, parts[i], &watch, NULL, err);
        if (rc == FAB_EINTERRUPTED)
            return rc;
        if (rc != FAB_OK)
            return FAB_ENOENT;
    }
    j->state = FAB_JOB_DONE;
    j->action = result.action;
    j->result = cid;
    j->out = result.out;
    j->out_log = result.out_log;
    j->err_log = result.err_log;
    j->has_results = true;
    j->started = result.started;
    j->ended = result.ended;
    j->cpu_usec = result.cpu_usec;
    j->memory_peak = result.memory_peak;
    return FAB_OK;
}
