#include "storage/files/put_job.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum fab_rc job_init(struct put_job *job, struct fab_store *store, uint32_t ws, size_t n,
                            const struct fab_put_options *options, struct fab_err *err)
{
    *job = (struct put_job){.options = options, .err = err, .top = {.fd = AT_FDCWD}};
    watch_init(&job->watch, &options->watch);
    job->profile = options->profile ? fab_profile_find(options->profile) : fab_profile_default();
    if (!job->profile)
        return fab_err_set(err, FAB_EINVAL, "profile %s is not known; the default is %s",
                           options->profile, fab_profile_default()->name);
    if (options->chunker)
        FAB_TRY(fab_chunker_parse(options->chunker, &job->chunker, err));
    else
        job->chunker = fab_chunker_size(job->profile->chunk_size);
    if (!options->only_hash && !store)
        return fab_err_set(err, FAB_EINVAL, "a put that is not only for the hash needs a store");
    job->steps = calloc(PUT_STEPS, sizeof job->steps[0]);
    job->results = calloc(n + 1, sizeof job->results[0]);
    if (!job->steps || !job->results)
        return FAB_ENOMEM;
    if (options->wrap)
        FAB_TRY(fab_dir_builder_new(job->profile, 0, &job->top.builder));
    if (!options->only_hash) {
        FAB_TRY(fab_ingest_open(store, ws, &job->ingest, err));
        job->sink = fab_ingest_sink(job->ingest);
    }
    return lane_new(job->ingest, job->chunker.max, &job->lane);
}

/* The name that an argument gets inside the wrapper. */
static enum fab_rc wrap_name(struct put_job *job, const char *path, char out[PATH_MAX])
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    size_t len = n - begin;
    if ((len == 1 && path[begin] == '.') || (len == 2 && memcmp(path + begin, "..", 2) == 0)) {
        char real[PATH_MAX];
        if (!realpath(path, real))
            return fab_err_set(job->err, FAB_ENOENT, "cannot resolve %s", path);
        const char *slash = strrchr(real, '/');
        memcpy(out, slash + 1, strlen(slash + 1) + 1);
    } else {
        if (len >= PATH_MAX)
            return fab_err_set(job->err, FAB_EINVAL, "the name of %s is too long", path);
        memcpy(out, path + begin, len);
        out[len] = '\0';
    }
    if (out[0] == '\0' || out[0] == '/')
        return fab_err_set(job->err, FAB_EINVAL, "%s has no name to be wrapped under", path);
    return FAB_OK;
}

static enum fab_rc wrap(struct put_job *job, size_t n)
{
    struct fab_put_result *all = &job->results[n];
    *all = (struct fab_put_result){.path = "", .wrapper = true, .directories = 1};
    for (size_t i = 0; i < n; i++) {
        const struct fab_put_result *one = &job->results[i];
        char name[PATH_MAX];
        if (strcmp(one->path, "-") != 0)
            FAB_TRY(wrap_name(job, one->path, name));
        else if (job->options->stdin_name)
            FAB_TRY(wrap_name(job, job->options->stdin_name, name));
        else
            fab_cid_text(&one->cid, name);
        enum fab_rc rc = fab_dir_builder_add(job->top.builder, fab_slice(name, strlen(name)),
                                             &one->cid, one->dag_bytes);
        if (rc == FAB_EEXIST)
            return fab_err_set(job->err, FAB_EINVAL,
                               "two arguments are called %s; they cannot be wrapped together",
                               name);
        FAB_TRY(rc);
        all->bytes += one->bytes;
        all->files += one->files;
        all->directories += one->directories;
        all->symlinks += one->symlinks;
        all->hidden_skipped += one->hidden_skipped;
    }
    struct fab_dag_entry entry;
    FAB_TRY(fab_dir_builder_finish(job->top.builder, NULL, &job->sink, &entry));
    all->cid = entry.cid;
    all->dag_bytes = entry.tsize;
    return FAB_OK;
}

/* The roots, and everything that was written, become durable. */
static enum fab_rc commit(struct put_job *job, size_t n)
{
    if (!job->ingest)
        return FAB_OK;
    size_t count = job->options->wrap ? 1 : n;
    struct fab_ingest_root *roots = calloc(count ? count : 1, sizeof roots[0]);
    if (!roots)
        return FAB_ENOMEM;
    for (size_t i = 0; i < count; i++)
        roots[i] = (struct fab_ingest_root){
            .cid = job->results[job->options->wrap ? n : i].cid,
            .pin = !job->options->no_pin,
            .name = job->options->name,
        };
    enum fab_rc rc = fab_ingest_commit(job->ingest, roots, count, NULL, job->err);
    job->ingest = NULL;
    free(roots);
    return rc;
}

/* How much there is to read, when the arguments alone tell. */
static uint64_t total_bytes(const char *const *paths, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (lstat(paths[i], &st) != 0 || !S_ISREG(st.st_mode))
            return 0;
        total += (uint64_t)st.st_size;
    }
    return total;
}

/* One message for every failure: ours, the ingest's, or the code's text. */
static enum fab_rc job_fail(struct put_job *job, enum fab_rc rc, const char *label)
{
    if (job->ingest && rc == fab_ingest_failed(job->ingest) && job->err->msg[0] == '\0') {
        rc = fab_ingest_commit(job->ingest, NULL, 0, NULL,
                               job->err); /* fails too, with the message */
        job->ingest = NULL;
    }
    if (job->err->msg[0] == '\0')
        fab_err_set(job->err, rc, "cannot put %s: %s", label, fab_rc_text(rc));
    return rc;
}

static void job_fini(struct put_job *job)
{
    fab_ingest_abort(job->ingest);
    lane_free(job->lane);
    put_drop(job);
    fab_dir_builder_free(job->top.builder);
    free(job->window);
    free(job->entries);
    free(job->steps);
    free(job->results);
}

/* `fd` is read for the argument "-", and with `only_fd` for the one argument there is. */
static enum fab_rc put(struct fab_store *store, uint32_t ws, const char *const *paths, size_t n,
                       int fd, bool only_fd, const struct fab_put_options *options,
                       void (*result)(void *arg, const struct fab_put_result *result), void *arg,
                       struct fab_err *err)
{
    static const struct fab_put_options defaults;
    struct fab_err local;
    struct put_job job;
    if (!err)
        err = &local;
    err->rc = FAB_OK;
    err->msg[0] = '\0';
    enum fab_rc rc = job_init(&job, store, ws, n, options ? options : &defaults, err);
    job.watch.now.total_bytes = only_fd ? 0 : total_bytes(paths, n);
    for (size_t i = 0; rc == FAB_OK && i < n; i++) {
        job.results[i].path = paths[i];
        if (only_fd || strcmp(paths[i], "-") == 0)
            rc = put_stream(&job, &job.top, paths[i], i, fd);
        else
            rc = put_entry(&job, &job.top, paths[i], i, 0);
    }
    if (rc == FAB_OK)
        rc = put_drain(&job);
    if (rc == FAB_OK && job.options->wrap)
        rc = wrap(&job, n);
    if (rc != FAB_OK)
        atomic_store(&job.stop, true);
    if (job.lane)
        lane_stop(job.lane);
    if (rc == FAB_OK)
        rc = commit(&job, n);
    if (rc != FAB_OK) {
        rc = job_fail(&job, rc, n == 1 ? paths[0] : "the arguments");
    } else {
        watch_end(&job.watch);
        for (size_t i = 0; result && i < n + (job.options->wrap ? 1 : 0); i++)
            result(arg, &job.results[i]);
    }
    job_fini(&job);
    return rc;
}

enum fab_rc fab_put(struct fab_store *store, uint32_t ws, const char *const *paths, size_t n,
                    const struct fab_put_options *options,
                    void (*result)(void *arg, const struct fab_put_result *result), void *arg,
                    struct fab_err *err)
{
    return put(store, ws, paths, n, STDIN_FILENO, false, options, result, arg, err);
}

static void keep_last(void *arg, const struct fab_put_result *result)
{
    *(struct fab_put_result *)arg = *result;
}

enum fab_rc fab_put_fd(struct fab_store *store, uint32_t ws, int fd, const char *label,
                       const struct fab_put_options *options, struct fab_put_result *out,
                       struct fab_err *err)
{
    struct fab_put_result last;
    FAB_TRY(put(store, ws, &label, 1, fd, true, options, keep_last, &last, err));
    if (out)
        *out = last;
    return FAB_OK;
}
