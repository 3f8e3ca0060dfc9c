#include "cli/command.h"
#include "cli/node_print.h"
#include "storage/dag/dir_reader.h"

#include <stdlib.h>
#include <string.h>

struct ls {
    struct fab_cli *cli;
    struct fab_target target;
    struct fab_out_array array;
};

static void print_entry(struct ls *ls, struct fab_slice name, const struct fab_entry *entry)
{
    char text[FAB_CID_TEXT_MAX];
    if (ls->cli->json) {
        json_t *object = json_object();
        fab_json_set_name(object, "name", (const char *)name.p, name.n);
        fab_entry_json(object, entry);
        fab_out_array_item(&ls->array, object);
        return;
    }
    if (!ls->cli->quiet) {
        fab_cid_text(&entry->cid, text);
        fab_out("%s %12llu ", text, (unsigned long long)fab_entry_size(entry));
    }
    fab_out_name(stdout, (const char *)name.p, name.n);
    if (!ls->cli->quiet && fab_entry_is_dir(entry))
        fab_out("/");
    if (!ls->cli->quiet && entry->known && entry->node.kind == FAB_NODE_SYMLINK) {
        fab_out(" -> ");
        fab_out_name(stdout, entry->node.target, strlen(entry->node.target));
    }
    fab_out("\n");
}

static enum fab_rc on_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                            uint64_t tsize)
{
    struct ls *ls = arg;
    struct fab_entry entry = {.known = false, .cid = *cid, .tsize = tsize};
    if (!ls->cli->quiet || ls->cli->json)
        fab_entry_read(&ls->target, cid, tsize, &entry);
    print_entry(ls, name, &entry);
    return fab_target_tick(ls->cli, &ls->target);
}

/* A file or symlink is listed as itself. */
static enum fab_rc list_one(struct ls *ls, const struct fab_entry *entry, struct fab_err *err)
{
    char *name = NULL;
    enum fab_rc rc = fab_target_name(&ls->target, &name, err);
    if (rc == FAB_EINVAL) /* "." or "..": no name for a result, but one for a listing */
        print_entry(ls, ls->target.path, entry);
    else if (rc == FAB_OK)
        print_entry(ls, fab_slice(name, strlen(name)), entry);
    free(name);
    return rc == FAB_EINVAL ? FAB_OK : rc;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct ls ls = {.cli = cli};
    struct fab_entry entry = {.known = true};
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (fab_target_open(cli, fab_args_at(args, 0), &ls.target, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    enum fab_rc rc = fab_target_stat(&ls.target, &entry.node, &err);
    entry.cid = ls.target.cid;
    entry.tsize = entry.node.tsize;
    if (rc == FAB_OK && fab_entry_is_dir(&entry)) {
        rc = fab_dir_each(&ls.target.source, &ls.target.cid, on_entry, &ls);
        if (rc != FAB_OK)
            fab_err_set(&err, rc, "listing %s: %s", fab_args_at(args, 0), fab_rc_text(rc));
        rc = fab_target_why(&ls.target, rc, &err);
    } else if (rc == FAB_OK) {
        rc = list_one(&ls, &entry, &err);
    }
    if (rc == FAB_OK && cli->json)
        fab_out_array_end(&ls.array);
    fab_target_close(&ls.target);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const description[] = {
    "Prints the CID, the size in bytes and the name of each entry; a file or symlink is listed as "
    "itself. The size of a file is that of its content, of a directory that of its whole DAG as "
    "its "
    "link claims it. Directories that are sharded come in the order of their hashes.",
    "With --quiet only the names. With --json an array: name, cid, type (file, directory, symlink, "
    "other "
    "or missing), size, dag_bytes, and where recorded mode, mtime, target.",
    NULL,
};

static const struct fab_example examples[] = {
    {"fabric ls CID/photos", "List a directory."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_ls = {
    .name = "ls",
    .summary = "List a directory",
    .synopsis = "CID[/PATH]",
    .description = description,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
