#include "cli/command.h"
#include "cli/outfile.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "storage/files/car_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- car export ---- */

static enum fab_rc export_roots(struct fab_cli *cli, const struct fab_cid *roots, size_t n,
                                const char *path, struct fab_car_stats *stats, struct fab_err *err)
{
    struct fab_outfile file;
    struct fab_bar bar;
    FAB_TRY(fab_outfile_open(path, true, &file, err));
    fab_bar_start(&bar, cli, "exporting", "blocks");
    struct fab_watch watch = fab_bar_watch(&bar, cli);
    enum fab_rc rc = fab_car_export(cli->store, cli->ws.id, roots, n, file.fd, &watch, stats, err);
    fab_bar_erase(&bar);
    if (rc == FAB_OK)
        return fab_outfile_commit(&file, err);
    fab_outfile_abort(&file);
    return rc;
}

static void report_export(struct fab_cli *cli, const char *path, const struct fab_car_stats *stats)
{
    char text[FAB_HUMAN_MAX];
    if (!strcmp(path, "-"))
        return;
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "path", path);
        fab_json_set_uint(object, "roots", stats->roots);
        fab_json_set_uint(object, "blocks", stats->blocks);
        fab_json_set_uint(object, "bytes", stats->bytes);
        fab_out_json(object);
    } else if (!cli->quiet) {
        fab_out("exported %llu blocks, %s, to ", (unsigned long long)stats->blocks,
                fab_human_size(stats->bytes, text));
        fab_out_name(stdout, path, strlen(path));
        fab_out("\n");
    }
}

static int run_export(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_car_stats stats = {0};
    const char *path = fab_args_string(args, "output");
    size_t n = fab_args_count(args), open = 0;
    enum fab_rc rc = FAB_OK;
    int code = FAB_EXIT_OK;
    if (path && !path[0])
        return fab_cli_usage(cli, "car export: -o is empty; name a file");
    path = path ? path : "-";
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    struct fab_target *targets = calloc(n, sizeof *targets);
    struct fab_cid *roots = calloc(n, sizeof *roots);
    if (!targets || !roots)
        rc = fab_err_set(&err, FAB_ENOMEM, "out of memory");
    for (; rc == FAB_OK && open < n; open++) {
        rc = fab_target_open(cli, fab_args_at(args, open), &targets[open], &err);
        if (rc != FAB_OK)
            break;
        roots[open] = targets[open].cid;
        /* The lease stays; a snapshot per root would keep pages from reuse. */
        fab_view_close(targets[open].view);
        targets[open].view = NULL;
    }
    if (rc == FAB_OK)
        rc = export_roots(cli, roots, n, path, &stats, &err);
    if (rc == FAB_OK)
        report_export(cli, path, &stats);
    else
        code = fab_target_fail(cli, &err);
    for (size_t i = 0; i < open; i++)
        fab_target_close(&targets[i]);
    free(targets);
    free(roots);
    return code;
}

static const char *const export_description[] = {
    "Writes one CARv1 archive that holds every block under the CIDs, which are its roots. A file "
    "appears under its name only when it is whole; one that is there is replaced.",
    "With -o and --json: path, roots, blocks, bytes.",
    NULL,
};

static const struct fab_option export_options[] = {
    {.name = "output",
     .letter = 'o',
     .type = FAB_OPTION_STRING,
     .metavar = "F",
     .help = "The file. Default: -, standard output, which must not be a terminal."},
    {.name = NULL},
};

static const struct fab_example export_examples[] = {
    {"fabric car export CID -o photos.car", "Write an archive."},
    {"fabric car export CID | ssh host fabric car import -", "Copy content to another machine."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_car_export = {
    .name = "car export",
    .summary = "Write content as a CAR archive",
    .synopsis = "CID[/PATH]...",
    .description = export_description,
    .options = export_options,
    .examples = export_examples,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_export,
};

/* ---- car import ---- */

struct import {
    struct fab_cli *cli;
    struct fab_bar bar;
    bool pin;
    json_t *roots; /* array; NULL for text */
};

static void on_root(void *arg, const struct fab_cid *cid)
{
    struct import *import = arg;
    char text[FAB_CID_TEXT_MAX];
    fab_bar_erase(&import->bar);
    fab_cid_text(cid, text);
    if (import->cli->json)
        fab_json_append(import->roots, json_string(text));
    else if (import->cli->quiet)
        fab_out("%s\n", text);
    else
        fab_out("%s %s\n", import->pin ? "pinned" : "imported", text);
}

static void report_import(struct import *import, const char *path,
                          const struct fab_car_stats *stats)
{
    json_t *object = json_object();
    fab_json_set_text(object, "path", path);
    fab_json_set_json(object, "roots", import->roots);
    fab_json_set_uint(object, "blocks", stats->blocks);
    fab_json_set_uint(object, "bytes", stats->bytes);
    fab_json_set_uint(object, "new_blocks", stats->new_blocks);
    fab_json_set_uint(object, "new_bytes", stats->new_bytes);
    fab_out_json_line(object);
}

static enum fab_rc import_one(struct import *import, const char *path,
                              struct fab_car_import_options *options, struct fab_err *err)
{
    struct fab_cli *cli = import->cli;
    struct fab_car_stats stats = {0};
    bool is_stdin = !strcmp(path, "-");
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fab_err_errno(err, errno, "%s cannot be read", path);
    import->roots = cli->json ? json_array() : NULL;
    fab_bar_start(&import->bar, cli, "importing", "blocks");
    options->watch = fab_bar_watch(&import->bar, cli);
    enum fab_rc rc =
        fab_car_import(cli->store, cli->ws.id, fd, options, on_root, import, &stats, err);
    fab_bar_erase(&import->bar);
    if (!is_stdin)
        close(fd);
    if (rc == FAB_OK && cli->json)
        report_import(import, path, &stats);
    else
        json_decref(import->roots);
    return rc;
}

static int run_import(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct import import = {.cli = cli, .pin = !fab_args_given(args, "no-pin")};
    struct fab_car_import_options options = {
        .no_pin = !import.pin,
        .name = fab_args_string(args, "name"),
    };
    if (options.name && options.no_pin)
        return fab_cli_usage(cli, "car import: --name names a pin, and --no-pin makes none");
    if (options.name && strlen(options.name) > FAB_PIN_NAME_MAX)
        return fab_cli_usage(cli, "car import: --name has more than %d bytes", FAB_PIN_NAME_MAX);
    if (fab_cli_open(cli, FAB_CLI_MAKE, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    for (size_t i = 0; i < fab_args_count(args); i++)
        if (import_one(&import, fab_args_at(args, i), &options, &err) != FAB_OK)
            return fab_cli_fail(cli, &err);
    return FAB_EXIT_OK;
}

static const char *const import_description[] = {
    "Reads CARv1 and CARv2 archives; - is standard input. Every block is checked against its CID. "
    "The roots are pinned, so everything under them must be in the archive or in the workspace. A "
    "bad archive leaves nothing; with several files, those before it stay.",
    "With --quiet only the roots' CIDs. With --json one line per file: path, roots (an array of "
    "CIDs), blocks, bytes, new_blocks, new_bytes.",
    NULL,
};

static const struct fab_option import_options[] = {
    {.name = "name", .type = FAB_OPTION_STRING, .metavar = "N", .help = "The name of the pins."},
    {.name = "no-pin",
     .help = "Do not pin: the roots may be incomplete, and evicted when room is needed."},
    {.name = NULL},
};

const struct fab_command fab_cmd_car_import = {
    .name = "car import",
    .summary = "Read CAR archives and pin their roots",
    .synopsis = "F...|-",
    .description = import_description,
    .options = import_options,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_import,
};
