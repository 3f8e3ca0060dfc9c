#include "cli/target.h"

#include "cli/output.h"
#include "storage/dag/file_reader.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFRESH_SECONDS 0.2
#define RANGE_END       (((uint64_t)1 << 63) - 1) /* the largest end of a range (dagsync) */
#define PATH_AT_ONCE    4096                      /* bytes of a path that is sent to a peer */

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- a source that fetches ---- */

struct fab_target_reach {
    struct fab_cli *cli;
    struct fab_view *view; /* of the target */
    bool gave_up;          /* a fetch has failed */
    struct fab_err why;    /* of the last failure */
};

static enum fab_rc reach_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct fab_target_reach *reach = ctx;
    char text[FAB_CID_TEXT_MAX];
    enum fab_rc rc = fab_view_get(reach->view, cid, out);
    if (rc != FAB_ENOENT)
        return rc;
    if (reach->gave_up) {
        fab_cid_text(cid, text);
        return fab_err_set(&reach->why, rc,
                           "block %s is not in the workspace; fetch or import it first", text);
    }
    rc = fab_cli_fetch_block(reach->cli, cid, &reach->why);
    reach->gave_up = rc != FAB_OK;
    FAB_TRY(rc);
    FAB_TRY(fab_view_refresh(reach->view));
    return fab_view_get(reach->view, cid, out);
}

static enum fab_rc open_source(struct fab_cli *cli, struct fab_target *target, struct fab_err *err)
{
    FAB_TRY(fab_view_open(cli->store, cli->ws.id, &target->view, err));
    target->reach = calloc(1, sizeof *target->reach);
    if (!target->reach)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    *target->reach = (struct fab_target_reach){.cli = cli, .view = target->view};
    target->local = fab_view_source(target->view);
    target->source = (struct fab_block_source){.ctx = target->reach, .get = reach_get};
    return FAB_OK;
}

bool fab_target_reaches(const struct fab_target *target)
{
    return !target->reach->gave_up && fab_cli_fetch_possible(target->reach->cli);
}

enum fab_rc fab_target_why(const struct fab_target *target, enum fab_rc rc, struct fab_err *err)
{
    if (rc != FAB_OK && target->reach->why.rc == rc)
        *err = target->reach->why;
    return rc;
}

enum fab_rc fab_target_hint(struct fab_cli *cli, enum fab_rc rc, struct fab_err *err)
{
    size_t n = strlen(err->msg);
    if (rc == FAB_ENOENT && strstr(err->msg, "import") && !strstr(err->msg, "fabric up") &&
        !cli->daemon)
        snprintf(err->msg + n, sizeof err->msg - n, " (with `fabric up`, peers are asked for it)");
    return rc;
}

/* What the path needs and what is not here, in one request where a peer can walk a path. Whatever
 * it does not bring is fetched block by block as it is met. */
static enum fab_rc fetch_path(struct fab_cli *cli, struct fab_target *target,
                              const struct fab_cid *root, struct fab_err *err)
{
    struct fab_cid at;
    size_t rest;
    if (target->path.n > PATH_AT_ONCE || !fab_cli_fetch_possible(cli) ||
        !fab_resolve_lacks(&target->local, root, target->path, &at, &rest))
        return FAB_OK;
    enum fab_rc rc = fab_cli_fetch_part(cli, &at, (const char *)target->path.p + rest, 0, 0, err);
    if (rc == FAB_ENOENT || rc == FAB_EINTERRUPTED)
        return rc;
    return fab_view_refresh(target->view);
}

/* ---- targets ---- */

enum fab_rc fab_target_open(struct fab_cli *cli, const char *text, struct fab_target *out,
                            struct fab_err *err)
{
    struct fab_target target = {.refreshed = now_seconds()};
    struct fab_cid root;
    if (fab_path_parse(text, &root, &target.path, err) != FAB_OK)
        return err->rc = FAB_EINVAL;
    FAB_TRY(fab_lease_root(cli->store, cli->ws.id, &root, &target.lease, err));
    enum fab_rc rc = open_source(cli, &target, err);
    if (rc == FAB_OK)
        rc = fetch_path(cli, &target, &root, err);
    if (rc == FAB_OK) {
        rc = fab_resolve_from(&target.source, &root, target.path, &target.cid, err);
        rc = fab_target_why(&target, rc, err);
        if (rc == FAB_EINVAL) /* not the argument's form, but what it leads to */
            err->rc = rc = FAB_ENOENT;
    }
    if (rc != FAB_OK) {
        fab_target_close(&target);
        return rc;
    }
    *out = target;
    return FAB_OK;
}

static void close_view(struct fab_target *target)
{
    if (target->view)
        fab_view_close(target->view);
    target->view = NULL;
}

void fab_target_close(struct fab_target *target)
{
    close_view(target);
    fab_lease_release(target->lease);
    free(target->reach);
    *target = (struct fab_target){0};
}

enum fab_rc fab_target_whole(struct fab_cli *cli, struct fab_target *target,
                             const struct fab_cli_fetch_pin *pin, struct fab_err *err)
{
    close_view(target); /* its pages would not be reused while the blocks come */
    return fab_cli_fetch_possible(cli) ? fab_cli_fetch_missing(cli, &target->cid, pin, err)
                                       : FAB_OK;
}

/* Leaves of a part of a file that are not here, until there are enough for one request. */
struct part {
    struct fab_cli *cli;
    struct fab_target *target;
    struct fab_err *err;
    size_t n;
    struct fab_cid lacking[FAB_CLI_FETCH_MAX];
};

static enum fab_rc fetch_lacking(struct part *part)
{
    size_t n = part->n;
    part->n = 0;
    if (n == 0)
        return FAB_OK;
    FAB_TRY(fab_cli_fetch_blocks(part->cli, part->lacking, n, part->err));
    return fab_view_refresh(part->target->view);
}

static enum fab_rc see_leaf(void *arg, uint64_t file_offset, const struct fab_cid *leaf,
                            uint64_t payload)
{
    struct part *part = arg;
    struct fab_slice data;
    (void)file_offset;
    (void)payload;
    FAB_TRY(fab_target_tick(part->cli, part->target));
    enum fab_rc rc = fab_block_get(&part->target->local, leaf, &data);
    if (rc != FAB_ENOENT)
        return rc;
    part->lacking[part->n++] = *leaf;
    return part->n < FAB_CLI_FETCH_MAX ? FAB_OK : fetch_lacking(part);
}

static enum fab_rc look_at_leaf(void *arg, uint64_t file_offset, const struct fab_cid *leaf,
                                uint64_t payload)
{
    const struct fab_target *target = arg;
    struct fab_slice data;
    (void)file_offset;
    (void)payload;
    return fab_block_get(&target->local, leaf, &data);
}

/* What the range needs, in one request where something of it is not here. */
static enum fab_rc fetch_range(struct fab_cli *cli, struct fab_target *target, uint64_t offset,
                               uint64_t length, struct fab_err *err)
{
    uint64_t to = length < RANGE_END - offset ? offset + length : RANGE_END;
    if (offset >= RANGE_END || length == 0 ||
        fab_file_leaves(&target->local, &target->cid, offset, length, look_at_leaf, target) !=
            FAB_ENOENT)
        return FAB_OK;
    enum fab_rc rc = fab_cli_fetch_part(cli, &target->cid, "", offset, to, err);
    if (rc == FAB_ENOENT || rc == FAB_EINTERRUPTED)
        return rc;
    return fab_view_refresh(target->view);
}

enum fab_rc fab_target_part(struct fab_cli *cli, struct fab_target *target, uint64_t offset,
                            uint64_t length, struct fab_err *err)
{
    struct part part = {.cli = cli, .target = target, .err = err};
    enum fab_rc rc = FAB_OK;
    if (fab_target_reaches(target)) {
        rc = fetch_range(cli, target, offset, length, err);
        if (rc == FAB_OK)
            rc = fab_file_leaves(&target->source, &target->cid, offset, length, see_leaf, &part);
        if (rc == FAB_OK)
            rc = fetch_lacking(&part);
        rc = fab_target_why(target, rc, err);
    }
    close_view(target);
    if (rc == FAB_EINVAL || rc == FAB_EFORMAT) /* no file, or malformed: its reader says so */
        return FAB_OK;
    return rc == FAB_OK || err->rc == rc ? rc : fab_err_set(err, rc, "%s", fab_rc_text(rc));
}

enum fab_rc fab_target_tick(struct fab_cli *cli, struct fab_target *target)
{
    double now = now_seconds();
    if (atomic_load(cli->cancel))
        return FAB_EINTERRUPTED;
    if (fab_out_failed())
        return FAB_EIO;
    if (now - target->refreshed < REFRESH_SECONDS)
        return FAB_OK;
    target->refreshed = now;
    return fab_view_refresh(target->view);
}

enum fab_rc fab_target_name(const struct fab_target *target, char **out, struct fab_err *err)
{
    char text[FAB_CID_TEXT_MAX];
    const char *p = (const char *)target->path.p;
    size_t end = target->path.n, begin;
    while (end > 0 && p[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && p[begin - 1] != '/';)
        begin--;
    size_t n = end - begin;
    if (n == 0) {
        n = fab_cid_text(&target->cid, text);
        p = text;
        begin = 0;
    }
    if ((n == 1 && p[begin] == '.') || (n == 2 && p[begin] == '.' && p[begin + 1] == '.'))
        return fab_err_set(err, FAB_EINVAL, "'%.*s' cannot be the name of the result; give -o DEST",
                           (int)n, p + begin);
    char *name = strndup(p + begin, n);
    if (!name)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    *out = name;
    return FAB_OK;
}

enum fab_rc fab_target_stat(const struct fab_target *target, struct fab_node_info *out,
                            struct fab_err *err)
{
    char text[FAB_CID_TEXT_MAX];
    enum fab_rc rc = fab_node_stat(&target->source, &target->cid, out);
    if (rc == FAB_OK)
        return FAB_OK;
    if (target->reach->why.rc == rc)
        return fab_target_why(target, rc, err);
    fab_cid_text(&target->cid, text);
    return fab_err_set(err, rc, "block %s cannot be read: %s", text, fab_rc_text(rc));
}

int fab_target_fail(struct fab_cli *cli, const struct fab_err *err)
{
    return err->rc == FAB_EINVAL ? fab_cli_usage(cli, "%s", err->msg) : fab_cli_fail(cli, err);
}

int fab_target_each(struct fab_cli *cli, const struct fab_args *args,
                    enum fab_rc (*one)(struct fab_cli *cli, const char *text, struct fab_err *err))
{
    struct fab_err err = {0};
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    for (size_t i = 0; i < fab_args_count(args); i++)
        if (one(cli, fab_args_at(args, i), &err) != FAB_OK)
            return fab_target_fail(cli, &err);
    return FAB_EXIT_OK;
}

void fab_target_done(struct fab_cli *cli, const char *verb, const char *cid)
{
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", cid);
        fab_out_json_line(object);
    } else {
        fab_out("%s%s%s\n", cli->quiet ? "" : verb, cli->quiet ? "" : " ", cid);
    }
}
