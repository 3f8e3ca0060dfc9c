#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "storage/files/get.h"

#include <stdio.h>
#include <unistd.h>

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_target target;
    struct fab_cat_options options = {
        .offset = fab_args_number(args, "offset", 0),
        .length = fab_args_number(args, "length", UINT64_MAX),
        .verify = fab_args_given(args, "verify"),
        .watch = {.cancel = cli->cancel},
    };
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (fab_target_open(cli, fab_args_at(args, 0), &target, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    fflush(stdout);
    /* Before the first byte: what has been written cannot be taken back. */
    bool whole = options.offset == 0 && options.length == UINT64_MAX;
    enum fab_rc rc = whole ? fab_target_whole(cli, &target, NULL, &err)
                           : fab_target_part(cli, &target, options.offset, options.length, &err);
    if (rc == FAB_OK)
        rc = fab_cat(cli->store, cli->ws.id, &target.cid, &options, STDOUT_FILENO, NULL, &err);
    if (rc == FAB_ENOENT)
        rc = fab_target_hint(cli, rc, &err);
    fab_target_close(&target);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const description[] = {
    "Writes a file's bytes to standard output, as they are; --json changes nothing.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "offset",
     .type = FAB_OPTION_SIZE,
     .metavar = "N",
     .help = "Begin at this byte; beyond the end gives nothing."},
    {.name = "length", .type = FAB_OPTION_SIZE, .metavar = "N", .help = "At most so many bytes."},
    {.name = "verify", .help = "Hash every block that is read."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric cat CID/notes.txt", "Print a file of a directory."},
    {"fabric cat CID --offset 1M --length 4K", "Print a part of a file."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_cat = {
    .name = "cat",
    .summary = "Print a file",
    .synopsis = "CID[/PATH]",
    .description = description,
    .options = options_table,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
