#include "scheduler/ledger/run_parts.h"

#include "storage/dag/resolve.h"
#include "storage/files/put.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Paths up to this size are hashed before anything is written, so that a remembered job writes
 * nothing; larger ones are put at once, since hashing them twice would cost more. */
#define HASH_FIRST_MAX (64u << 20)

struct put_one {
    struct fab_cid cid;
};

static void take_cid(void *arg, const struct fab_put_result *result)
{
    struct put_one *one = arg;
    one->cid = result->cid;
}

static enum fab_rc put_path(const struct job_run *run, const char *path, bool only_hash,
                            struct fab_cid *out, struct fab_err *err)
{
    struct put_one one;
    struct fab_put_options options = {.only_hash = only_hash,
                                      .no_pin = true,
                                      .hidden = true,
                                      .modes = true,
                                      .watch = {.cancel = run->request->cancel}};
    FAB_TRY(
        fab_put(run->request->store, run->request->ws, &path, 1, &options, take_cid, &one, err));
    *out = one.cid;
    return FAB_OK;
}

/* ftw has no argument for its function; one thread runs jobs. */
static _Thread_local uint64_t tree_bytes;

static int add_size(const char *path, const struct stat *st, int kind)
{
    (void)path;
    if (kind == FTW_F)
        tree_bytes += (uint64_t)st->st_size + 512;
    return tree_bytes > HASH_FIRST_MAX;
}

static bool is_small(const char *path)
{
    tree_bytes = 0;
    return ftw(path, add_size, 16) == 0;
}

static enum fab_rc resolve_cid(const struct job_run *run, const char *text, struct fab_cid *out,
                               struct fab_err *err)
{
    struct fab_view *view;
    FAB_TRY(fab_view_open(run->request->store, run->request->ws, &view, err));
    struct fab_block_source source = fab_view_source(view);
    enum fab_rc rc = fab_resolve(&source, text, out, err);
    fab_view_close(view);
    return rc;
}

static enum fab_rc add_input(struct job_run *run, size_t i, struct fab_err *err)
{
    const char *given = run->request->inputs[i];
    const char *equals = strchr(given, '=');
    char name[FAB_BUNDLE_NAME_MAX + 1];
    struct fab_cid cid;
    struct fab_slice path;
    struct stat st;
    if (!equals || equals == given || !equals[1])
        return fab_err_set(err, FAB_EINVAL, "the input '%s' must be NAME=CID[/PATH] or NAME=PATH",
                           given);
    size_t n = (size_t)(equals - given);
    if (n < sizeof name) {
        memcpy(name, given, n);
        name[n] = '\0';
    }
    if (n >= sizeof name || !fab_input_name_ok(name))
        return fab_err_set(
            err, FAB_EINVAL,
            "'%.*s' cannot be an input's name: letters, digits, '.', '_' and '-' are "
            "allowed, and no '.' or '-' at the front",
            (int)n, given);
    const char *value = equals + 1;
    if (fab_path_parse(value, &cid, &path, NULL) == FAB_OK) {
        FAB_TRY(resolve_cid(run, value, &cid, err));
    } else if (stat(value, &st) != 0) {
        return fab_err_set(err, FAB_ENOENT,
                           "the input %s=%s is neither a CID nor a path that exists", name, value);
    } else {
        char *real = realpath(value, NULL);
        bool hash_first = is_small(real ? real : value);
        enum fab_rc rc = put_path(run, real ? real : value, hash_first, &cid, err);
        if (rc == FAB_OK && hash_first) {
            run->put_inputs[i] = real;
            real = NULL;
        }
        free(real);
        FAB_TRY(rc);
    }
    enum fab_rc rc = fab_action_add_input(&run->action, name, &cid);
    if (rc == FAB_EEXIST)
        return fab_err_set(err, rc, "the input name '%s' is given twice", name);
    if (rc == FAB_ENOMEM)
        return fab_err_set(err, rc, "out of memory");
    return rc == FAB_OK ? rc : fab_err_set(err, rc, "too many inputs, or one is wrong: %s", name);
}

enum fab_rc job_run_put_inputs(struct job_run *run, struct fab_err *err)
{
    for (size_t i = 0; i < run->request->n_inputs; i++) {
        struct fab_cid cid;
        bool same = false;
        if (!run->put_inputs[i])
            continue;
        FAB_TRY(put_path(run, run->put_inputs[i], false, &cid, err));
        for (size_t k = 0; k < run->action.n_inputs; k++)
            same = same || fab_cid_eq(&run->action.inputs[k].cid, &cid);
        if (!same)
            return fab_err_set(err, FAB_ECHANGED, "the input %s changed while it was read",
                               run->request->inputs[i]);
    }
    return FAB_OK;
}

static enum fab_rc add_env(struct job_run *run, const char *given, struct fab_err *err)
{
    const char *equals = strchr(given, '=');
    enum fab_rc rc = FAB_EINVAL;
    if (equals && equals != given) {
        char *name = strndup(given, (size_t)(equals - given));
        rc = name ? fab_action_set_env(&run->action, name, equals + 1) : FAB_ENOMEM;
        free(name);
    }
    if (rc == FAB_EINVAL)
        return fab_err_set(err, rc, "the environment entry '%s' must be NAME=VALUE in UTF-8",
                           given);
    return rc == FAB_OK ? rc : fab_err_set(err, rc, "too many environment entries");
}

static enum fab_rc add_system(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    if (!r->image) {
        char path[PATH_MAX];
        if ((size_t)snprintf(path, sizeof path, "%s/cache", r->home) >= sizeof path - 16)
            return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
        (void)mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/cache/system", r->home);
        return fab_host_fingerprint(path, run->action.system, err);
    }
    FAB_TRY(resolve_cid(run, r->image, &run->action.image, err));
    run->action.has_image = true;
    FAB_TRY(
        fab_image_open(r->store, r->ws, r->home, &run->action.image, r->cancel, &run->image, err));
    if (run->image.arch[0] && strcmp(run->image.arch, fab_host_arch()) != 0)
        return fab_err_set(err, FAB_EUNSUPPORTED, "the image is for %s, but this machine is %s",
                           run->image.arch, fab_host_arch());
    return FAB_OK;
}

enum fab_rc job_run_action(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    struct fab_buf block;
    run->put_inputs = calloc(r->n_inputs + 1, sizeof *run->put_inputs);
    if (!run->put_inputs)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    snprintf(run->action.arch, sizeof run->action.arch, "%.31s", fab_host_arch());
    run->action.network_host = r->network_host;
    for (size_t i = 0; r->command[i]; i++) {
        enum fab_rc rc = fab_action_add_arg(&run->action, r->command[i]);
        if (rc != FAB_OK)
            return fab_err_set(err, rc, "the command's argument %zu %s", i,
                               rc == FAB_EINVAL   ? "is not UTF-8"
                               : rc == FAB_ELIMIT ? "is one too many"
                                                  : "cannot be taken: out of memory");
    }
    for (size_t i = 0; i < r->n_env; i++)
        FAB_TRY(add_env(run, r->env[i], err));
    for (size_t i = 0; i < r->n_inputs; i++)
        FAB_TRY(add_input(run, i, err));
    FAB_TRY(add_system(run, err));

    fab_buf_init(&block, FAB_ACTION_BYTES_MAX + 65536);
    enum fab_rc rc = fab_action_encode(&run->action, &block, &run->action_cid);
    fab_buf_fini(&block);
    return rc == FAB_OK
               ? rc
               : fab_err_set(err, rc, "the job's description is too large: %s", fab_rc_text(rc));
}
