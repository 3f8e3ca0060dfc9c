#include "cli/fetch.h"

#include "cli/daemon.h"
#include "cli/progress.h"
#include "storage/files/pin_tree.h"

#include <stdlib.h>
#include <string.h>

#define MISSING_TEXT 512
#define QUERY_MAX    (64u << 10) /* bytes of a part's path, escaped */

struct fetch {
    struct fab_bar bar;
    char missing[MISSING_TEXT]; /* the first CIDs that nobody has, with commas */
    size_t n_missing;
    uint64_t wanted;
};

bool fab_cli_fetch_possible(struct fab_cli *cli)
{
    struct fab_daemon *daemon;
    return fab_daemon_find(cli, &daemon, NULL) == FAB_OK;
}

static void take_missing(struct fetch *fetch, const json_t *list)
{
    size_t i;
    json_t *cid;
    json_array_foreach(list, i, cid)
    {
        size_t n = strlen(fetch->missing);
        const char *text = json_string_value(cid);
        if (text && n + strlen(text) + 3 < sizeof fetch->missing) {
            snprintf(fetch->missing + n, sizeof fetch->missing - n, "%s%s", n ? ", " : "", text);
            fetch->n_missing++;
        }
    }
}

static void on_line(void *arg, json_t *object)
{
    struct fetch *fetch = arg;
    struct fab_progress now = {.bytes = fab_json_uint(object, "bytes"),
                               .items = fab_json_uint(object, "blocks")};
    fetch->bar.peers = (unsigned)fab_json_uint(object, "peers");
    fab_bar_show(&fetch->bar, &now);
    fetch->wanted = fab_json_uint(object, "wanted");
    take_missing(fetch, json_object_get(object, "missing"));
}

/* What to fetch: a DAG, single blocks, or what lies along a path and in a range. */
struct order {
    const struct fab_cid *cids;
    size_t n;
    bool root_only;
    const char *part; /* the path; NULL: no part */
    uint64_t from, to;
    const struct fab_cli_fetch_pin *pin; /* NULL: none */
};

static enum fab_rc append_part(const struct order *order, struct fab_buf *out)
{
    char range[64];
    if (!order->part)
        return FAB_OK;
    char *path = fab_daemon_escape(order->part);
    if (!path)
        return FAB_ENOMEM;
    enum fab_rc rc = fab_buf_append(out, "&path=", 6);
    if (rc == FAB_OK)
        rc = fab_buf_append(out, path, strlen(path));
    free(path);
    if (rc != FAB_OK || order->to == 0)
        return rc;
    int n = snprintf(range, sizeof range, "&from=%llu&to=%llu", (unsigned long long)order->from,
                     (unsigned long long)order->to);
    return fab_buf_append(out, range, (size_t)n);
}

/* Owned by the caller. NULL: no memory. */
static char *order_path(const struct fab_cli *cli, const struct order *order)
{
    const struct fab_cli_fetch_pin *pin = order->pin;
    char *name = fab_daemon_escape(pin && pin->name ? pin->name : ""), *path = NULL;
    char text[FAB_CID_TEXT_MAX];
    struct fab_buf cids;
    enum fab_rc rc = FAB_OK;
    fab_buf_init(&cids, FAB_CLI_FETCH_MAX * FAB_CID_TEXT_MAX + QUERY_MAX);
    for (size_t i = 0; i < order->n && rc == FAB_OK; i++) {
        size_t n = fab_cid_text(&order->cids[i], text);
        if (i > 0)
            rc = fab_buf_append(&cids, ",", 1);
        if (rc == FAB_OK)
            rc = fab_buf_append(&cids, text, n);
    }
    if (rc == FAB_OK)
        rc = append_part(order, &cids);
    if (name && rc == FAB_OK)
        path = fab_daemon_path(cli, "/fetch?cid=%.*s%s%s%s%s", (int)cids.len,
                               (const char *)cids.data, order->root_only ? "&root-only=1" : "",
                               pin ? "&pin=1" : "", name[0] ? "&name=" : "", name);
    fab_buf_fini(&cids);
    free(name);
    return path;
}

/* The daemon's refusal, with what this command needed. */
static enum fab_rc explain(const struct fetch *fetch, const struct order *order, enum fab_rc rc,
                           struct fab_err *err)
{
    struct fab_err copy = *err; /* err is written while it is read */
    const char *why = copy.msg[0] ? copy.msg : fab_rc_text(rc);
    char cid[FAB_CID_TEXT_MAX];
    fab_cid_text(&order->cids[0], cid);
    if (rc == FAB_EUNSUPPORTED)
        return fab_err_set(err, FAB_ENOENT, "block %s is not in the workspace: %s", cid, why);
    if (rc != FAB_ENOENT && rc != FAB_ETIMEOUT)
        return fab_err_set(err, rc, "fetching %s: %s", cid, why);
    if (fetch->n_missing == 0 || order->part || (order->root_only && order->n == 1))
        return fab_err_set(err, FAB_ENOENT, "block %s is not in the workspace: %s", cid, why);
    const char *more = fetch->wanted > fetch->n_missing ? ", ..." : "";
    if (order->root_only)
        return fab_err_set(err, FAB_ENOENT, "not all blocks are in the workspace: %s: %s%s", why,
                           fetch->missing, more);
    return fab_err_set(err, FAB_ENOENT, "%s is not whole: %s: %s%s", cid, why, fetch->missing,
                       more);
}

static enum fab_rc fetch_it(struct fab_cli *cli, const struct order *order, struct fab_err *err)
{
    struct fab_daemon *daemon;
    struct fetch fetch = {0};
    struct fab_err why = {0};
    char text[FAB_CID_TEXT_MAX];
    enum fab_rc rc = fab_daemon_find(cli, &daemon, &why);
    if (rc == FAB_ENOENT) {
        fab_cid_text(&order->cids[0], text);
        return fab_err_set(err, rc,
                           "block %s is not in the workspace; start the daemon with `fabric up` to "
                           "fetch it from peers, or import it",
                           text);
    }
    if (rc == FAB_OK) {
        char *path = order_path(cli, order);
        if (!path)
            return fab_err_set(err, FAB_ENOMEM, "out of memory");
        fab_bar_start(&fetch.bar, cli, "fetching", "blocks");
        fetch.bar.from_peers = true;
        rc = fab_daemon_stream(daemon, "POST", path, on_line, &fetch, &why);
        fab_bar_erase(&fetch.bar);
        free(path);
        if (rc != FAB_OK && rc != FAB_EINTERRUPTED)
            rc = explain(&fetch, order, rc, &why);
    }
    if (rc != FAB_OK && err)
        *err = why;
    return rc;
}

enum fab_rc fab_cli_fetch_block(struct fab_cli *cli, const struct fab_cid *cid, struct fab_err *err)
{
    return fab_cli_fetch_blocks(cli, cid, 1, err);
}

enum fab_rc fab_cli_fetch_blocks(struct fab_cli *cli, const struct fab_cid *cids, size_t n,
                                 struct fab_err *err)
{
    return fetch_it(cli, &(struct order){.cids = cids, .n = n, .root_only = true}, err);
}

enum fab_rc fab_cli_fetch_part(struct fab_cli *cli, const struct fab_cid *root, const char *path,
                               uint64_t from, uint64_t to, struct fab_err *err)
{
    return fetch_it(
        cli, &(struct order){.cids = root, .n = 1, .part = path, .from = from, .to = to}, err);
}

enum fab_rc fab_cli_fetch_dag(struct fab_cli *cli, const struct fab_cid *cid,
                              const struct fab_cli_fetch_pin *pin, struct fab_err *err)
{
    return fetch_it(cli, &(struct order){.cids = cid, .n = 1, .pin = pin}, err);
}

enum fab_rc fab_cli_fetch_missing(struct fab_cli *cli, const struct fab_cid *cid,
                                  const struct fab_cli_fetch_pin *pin, struct fab_err *err)
{
    struct fab_tree_stats stats = {0};
    struct fab_watch watch = {.cancel = cli->cancel};
    enum fab_rc rc = fab_tree_check(cli->store, cli->ws.id, cid, &watch, &stats, err);
    if (rc != FAB_ENOENT || stats.missing == 0)
        return rc;
    if (fab_cli_fetch_possible(cli))
        return fab_cli_fetch_dag(cli, cid, pin, err);
    return fab_cli_fetch_block(cli, &stats.first_missing[0], err); /* it says what to do */
}
