#include "cli/target.h"

#include "cli/output.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFRESH_SECONDS 0.2

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

enum fab_rc fab_target_open(struct fab_cli *cli, const char *text, struct fab_target *out,
                            struct fab_err *err)
{
    struct fab_target target = {.refreshed = now_seconds()};
    struct fab_cid root;
    if (fab_path_parse(text, &root, &target.path, err) != FAB_OK)
        return err->rc = FAB_EINVAL;
    FAB_TRY(fab_lease_root(cli->store, cli->ws.id, &root, &target.lease, err));
    enum fab_rc rc = fab_view_open(cli->store, cli->ws.id, &target.view, err);
    if (rc == FAB_OK) {
        target.source = fab_view_source(target.view);
        rc = fab_resolve_from(&target.source, &root, target.path, &target.cid, err);
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

void fab_target_close(struct fab_target *target)
{
    if (target->view)
        fab_view_close(target->view);
    fab_lease_release(target->lease);
    *target = (struct fab_target){0};
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
    fab_cid_text(&target->cid, text);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "block %s is not in the workspace; fetch or import it first",
                           text);
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
