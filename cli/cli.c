#include "cli/cli.h"

#include "cli/home.h"
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Only what differs is written, so that reading commands stay readers. */
static enum fab_rc apply_quota(struct fab_cli *cli, struct fab_err *err)
{
    uint64_t quota = fab_config_quota(&cli->config, cli->ws.name);
    if (cli->ws.quota != quota)
        FAB_TRY(fab_workspace_set_quota(cli->store, cli->ws.id, quota, err));
    cli->ws.quota = quota;
    return FAB_OK;
}

enum fab_rc fab_cli_open(struct fab_cli *cli, enum fab_cli_open how, struct fab_err *err)
{
    char *path = NULL;
    FAB_TRY(fab_home_make(cli->home, err));
    FAB_TRY(fab_home_file(cli->home, "fabric.conf", &path, err));
    enum fab_rc rc = fab_config_load(path, &cli->config, err);
    free(path);
    if (rc != FAB_OK)
        return rc;
    struct fab_store_options options = {.map_bytes = cli->config.store_map,
                                        .cached = cli->config.store_cached,
                                        .quota_bytes = cli->config.store_quota,
                                        .high_water = cli->config.store_high_water};
    FAB_TRY(fab_home_file(cli->home, "store", &path, err));
    rc = fab_store_open(path, &options, &cli->store, err);
    free(path);
    if (rc != FAB_OK)
        return rc;
    if (how == FAB_CLI_STORE)
        return FAB_OK;
    FAB_TRY(fab_workspace_find(cli->store, cli->workspace, how == FAB_CLI_MAKE, &cli->ws, err));
    return apply_quota(cli, err);
}

static void print_line(const char *message)
{
    fflush(stdout);
    fputs("fabric: ", stderr);
    fab_out_message(stderr, message);
    fputc('\n', stderr);
}

int fab_cli_fail(struct fab_cli *cli, const struct fab_err *err)
{
    (void)cli;
    if (err->rc == FAB_EINTERRUPTED) {
        print_line("interrupted");
        return FAB_EXIT_INTERRUPTED;
    }
    if (err->rc != FAB_EIO || !fab_out_closed())
        print_line(err->msg[0] ? err->msg : fab_rc_text(err->rc));
    return FAB_EXIT_FAILURE;
}

int fab_cli_failf(struct fab_cli *cli, const char *fmt, ...)
{
    struct fab_err err;
    char text[sizeof err.msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fab_err_set(&err, FAB_EINVAL, "%s", text);
    return fab_cli_fail(cli, &err);
}

int fab_cli_usage(struct fab_cli *cli, const char *fmt, ...)
{
    struct fab_err err;
    char text[sizeof err.msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)cli;
    fab_err_set(&err, FAB_EINVAL, "%s", text);
    print_line(err.msg);
    return FAB_EXIT_USAGE;
}

void fab_cli_note(struct fab_cli *cli, const char *fmt, ...)
{
    struct fab_err err;
    char text[sizeof err.msg];
    va_list ap;
    if (cli->quiet)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fab_err_set(&err, FAB_OK, "%s", text);
    print_line(err.msg);
}
