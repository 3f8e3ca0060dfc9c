#include "cli/command.h"
#include "cli/output.h"
#include "scheduler/ledger/image.h"

#include <string.h>
#include <time.h>

/* ---- image import ---- */

static int run_import(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_image_entry entry;
    struct fab_import_stats stats = {0};
    char text[FAB_CID_TEXT_MAX];
    if (fab_cli_open(cli, FAB_CLI_MAKE, &err) != FAB_OK ||
        fab_image_import(cli->store, cli->ws.id, cli->home, fab_args_at(args, 0), cli->cancel,
                         &entry, &stats, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    fab_cid_text(&entry.cid, text);
    if (stats.skipped)
        fab_cli_note(cli, "%llu device nodes, fifos or sockets of the image were left out",
                     (unsigned long long)stats.skipped);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", text);
        fab_json_set_text(object, "tag", entry.tag);
        fab_json_set_uint(object, "layers", stats.layers);
        fab_json_set_uint(object, "files", stats.files);
        fab_json_set_uint(object, "bytes", stats.bytes);
        fab_json_set_uint(object, "skipped", stats.skipped);
        fab_out_json(object);
    } else {
        fab_out("%s%s\n", cli->quiet ? "" : "imported ", text);
    }
    return FAB_EXIT_OK;
}

static const char *const import_description[] = {
    "Reads what `docker save` writes, or an OCI archive, as tar (also compressed) or as a "
    "directory, "
    "applies its layers, and keeps the tree with its environment and working directory under one "
    "CID, pinned, for `fabric job run --image`. Modes are kept, without setuid; owners and device "
    "nodes are not.",
    "With --quiet only the CID. With --json one object: cid, tag, layers, files, bytes, skipped.",
    NULL,
};

const struct fab_command fab_cmd_image_import = {
    .name = "image import",
    .summary = "Make an image from what docker save or OCI tools wrote",
    .synopsis = "ARCHIVE",
    .description = import_description,
    .min_args = 1,
    .max_args = 1,
    .run = run_import,
};

/* ---- image ls ---- */

struct listing {
    struct fab_cli *cli;
    json_t *array; /* NULL for text */
};

static enum fab_rc on_image(void *arg, const struct fab_image_entry *entry)
{
    struct listing *l = arg;
    char text[FAB_CID_TEXT_MAX], when[32];
    fab_cid_text(&entry->cid, text);
    if (l->array) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", text);
        fab_json_set_text(object, "tag", entry->tag);
        fab_json_set_json(object, "imported", json_integer(entry->imported));
        fab_json_append(l->array, object);
        return FAB_OK;
    }
    if (l->cli->quiet) {
        fab_out("%s\n", text);
        return FAB_OK;
    }
    time_t imported = (time_t)entry->imported;
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&imported, &tm));
    fab_out("%s  %s  ", text, when);
    fab_out_name(stdout, entry->tag, strlen(entry->tag));
    fab_out("\n");
    return fab_out_failed() ? FAB_EIO : FAB_OK;
}

static int run_ls(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct listing l = {.cli = cli, .array = NULL};
    (void)args;
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->json)
        l.array = json_array();
    enum fab_rc rc = fab_image_each(cli->store, cli->ws.id, on_image, &l);
    if (rc != FAB_OK) {
        json_decref(l.array);
        fab_err_set(&err, rc, "cannot read the list of images: %s", fab_rc_text(rc));
        return fab_cli_fail(cli, &err);
    }
    if (cli->json)
        fab_out_json(l.array);
    return FAB_EXIT_OK;
}

static const char *const ls_description[] = {
    "CID, time of the import, and the tag that the archive gave.",
    "With --quiet only the CIDs. With --json one array.",
    NULL,
};

const struct fab_command fab_cmd_image_ls = {
    .name = "image ls",
    .summary = "List the imported images",
    .description = ls_description,
    .run = run_ls,
};
