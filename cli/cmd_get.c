#include "cli/command.h"
#include "cli/outfile.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "storage/files/get.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct get {
    struct fab_cli *cli;
    struct fab_target target;
    struct fab_get_options options;
    struct fab_get_stats stats;
    const char *name; /* of the result, or of the top entry of the archive */
    const char *dest;
    bool archive;
};

static enum fab_rc write_archive(struct get *get, struct fab_err *err)
{
    struct fab_outfile file;
    FAB_TRY(fab_outfile_open(get->dest, get->options.force, &file, err));
    enum fab_rc rc = fab_get_archive(get->cli->store, get->cli->ws.id, &get->target.cid, get->name,
                                     &get->options, file.fd, &get->stats, err);
    if (rc == FAB_OK)
        return fab_outfile_commit(&file, err);
    fab_outfile_abort(&file);
    return rc;
}

static void report(const struct get *get)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(&get->target.cid, text);
    if (!strcmp(get->dest, "-") || (get->cli->quiet && !get->cli->json))
        return;
    if (!get->cli->json) {
        fab_out("saved %s ", text);
        fab_out_name(stdout, get->dest, strlen(get->dest));
        fab_out("\n");
        return;
    }
    json_t *object = json_object();
    fab_json_set_cid(object, "cid", &get->target.cid);
    fab_json_set_text(object, "path", get->dest);
    fab_json_set_uint(object, "bytes", get->stats.bytes);
    fab_json_set_uint(object, "files", get->stats.files);
    fab_json_set_uint(object, "directories", get->stats.directories);
    fab_json_set_uint(object, "symlinks", get->stats.symlinks);
    fab_out_json(object);
}

static enum fab_rc write_it(struct get *get, struct fab_err *err)
{
    return get->archive ? write_archive(get, err)
                        : fab_get(get->cli->store, get->cli->ws.id, &get->target.cid, &get->options,
                                  &get->stats, err);
}

/* What is here is written at once. When a block is missing nothing is left of it, and it begins
 * again once all is fetched; but what went to a pipe cannot be taken back. */
static enum fab_rc write_or_fetch(struct get *get, struct fab_bar *bar, struct fab_err *err)
{
    if (!strcmp(get->dest, "-")) {
        FAB_TRY(fab_target_whole(get->cli, &get->target, NULL, err));
        return write_it(get, err);
    }
    enum fab_rc rc = write_it(get, err);
    if (rc != FAB_ENOENT || !fab_cli_fetch_possible(get->cli))
        return fab_target_hint(get->cli, rc, err);
    fab_bar_erase(bar);
    FAB_TRY(fab_target_whole(get->cli, &get->target, NULL, err));
    *err = (struct fab_err){0};
    get->stats = (struct fab_get_stats){0};
    return write_it(get, err);
}

/* The default destination: the name, with ".tar" for an archive. Owned by the caller. */
static char *default_dest(const struct get *get)
{
    size_t n = strlen(get->name) + sizeof ".tar";
    char *dest = malloc(n);
    if (dest)
        snprintf(dest, n, "%s%s", get->name, get->archive ? ".tar" : "");
    return dest;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_bar bar;
    struct get get = {.cli = cli,
                      .dest = fab_args_string(args, "output"),
                      .archive = fab_args_given(args, "archive")};
    char *name = NULL, *made = NULL;
    int code = FAB_EXIT_OK;
    if (get.dest && !get.dest[0])
        return fab_cli_usage(cli, "get: -o is empty; name the result");
    if (get.dest && !strcmp(get.dest, "-") && !get.archive)
        return fab_cli_usage(cli, "get: only --archive goes to standard output; for a file there "
                                  "is `fabric cat`");
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (fab_target_open(cli, fab_args_at(args, 0), &get.target, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    struct fab_err name_err = {0};
    if (fab_target_name(&get.target, &name, &name_err) != FAB_OK && !get.dest) {
        code = fab_target_fail(cli, &name_err);
        goto out;
    }
    get.name = name ? name : "content";
    if (!get.dest) {
        made = default_dest(&get);
        get.dest = made;
    }
    fab_bar_start(&bar, cli, "writing", "files");
    get.options = (struct fab_get_options){
        .dest = get.dest,
        .force = fab_args_given(args, "force"),
        .verify = fab_args_given(args, "verify"),
        .watch = fab_bar_watch(&bar, cli),
    };
    enum fab_rc rc;
    if (!get.dest)
        rc = fab_err_set(&err, FAB_ENOMEM, "out of memory");
    else
        rc = write_or_fetch(&get, &bar, &err);
    fab_bar_erase(&bar);
    if (rc == FAB_OK)
        report(&get);
    else
        code = fab_cli_fail(cli, &err);
out:
    free(made);
    free(name);
    fab_target_close(&get.target);
    return code;
}

static const char *const description[] = {
    "Writes what the CID, or the path below it, names: a file, a directory or a symlink. It "
    "appears "
    "under its name only when it is whole; nothing is left on failure. Permissions and times are "
    "set where they were recorded.",
    "Entries whose names are empty, `.` or `..`, hold a slash or NUL, come twice, or lead through "
    "a "
    "symlink are refused.",
    "With --json: cid, path, bytes, files, directories, symlinks.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "output",
     .letter = 'o',
     .type = FAB_OPTION_STRING,
     .metavar = "DEST",
     .help =
         "The path of the result itself. Default: the last part of the path, or the CID, in the "
         "current folder. With --archive, - is standard output."},
    {.name = "force", .letter = 'f', .help = "Replace what is at DEST."},
    {.name = "archive",
     .letter = 'a',
     .help = "Write a tar archive; the default name then ends in .tar."},
    {.name = "verify", .help = "Hash every block that is read."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric get CID -o photos", "Write a directory as photos."},
    {"fabric get CID/2024/a.jpg", "Write one file as a.jpg."},
    {"fabric get --archive CID -o - | tar t", "List the content as a tar stream."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_get = {
    .name = "get",
    .summary = "Write content to files",
    .synopsis = "CID[/PATH]",
    .description = description,
    .options = options_table,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
