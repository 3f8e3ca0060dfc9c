/* A directory and everything below it. An entry is printed when the next one of its directory, or
 * the end, is known, since its branch differs for the last. */
#include "cli/command.h"
#include "cli/node_print.h"
#include "storage/dag/dir_reader.h"

#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES (1u << 20)

struct tree {
    struct fab_cli *cli;
    struct fab_target target;
    struct fab_out_array array;
    struct fab_buf path;   /* of the directory that is being read, with a slash at its end */
    struct fab_buf prefix; /* the branches at its left */
    unsigned depth;
    uint64_t directories, others;
};

/* One directory, and its entry that waits. */
struct level {
    struct tree *tree;
    bool waiting;
    struct fab_buf name;
    struct fab_entry entry;
};

static enum fab_rc walk(struct tree *tree, const struct fab_cid *dir);

static void print_json(struct tree *tree, const struct level *level)
{
    json_t *object = json_object();
    fab_json_set_name(object, "path", (const char *)tree->path.data, tree->path.len);
    fab_json_set_name(object, "name", (const char *)level->name.data, level->name.len);
    fab_json_set_uint(object, "depth", tree->depth);
    fab_entry_json(object, &level->entry);
    fab_out_array_item(&tree->array, object);
}

static void print_text(struct tree *tree, const struct level *level, bool last)
{
    const struct fab_entry *entry = &level->entry;
    fab_out("%.*s%s", (int)tree->prefix.len,
            tree->prefix.data ? (const char *)tree->prefix.data : "",
            last ? "\u2514\u2500\u2500 " : "\u251c\u2500\u2500 ");
    fab_out_name(stdout, (const char *)level->name.data, level->name.len);
    if (fab_entry_is_dir(entry))
        fab_out("/");
    if (entry->known && entry->node.kind == FAB_NODE_SYMLINK) {
        fab_out(" -> ");
        fab_out_name(stdout, entry->node.target, strlen(entry->node.target));
    }
    fab_out("%s\n", entry->known ? "" : " (missing)");
}

/* tree->path is that of the entry here. */
static enum fab_rc print_and_descend(struct tree *tree, struct level *level, bool last)
{
    bool dir = fab_entry_is_dir(&level->entry);
    *(dir ? &tree->directories : &tree->others) += 1;
    if (tree->cli->json) {
        print_json(tree, level);
    } else if (tree->cli->quiet) {
        fab_out_name(stdout, (const char *)tree->path.data, tree->path.len);
        fab_out("\n");
    } else {
        print_text(tree, level, last);
    }
    if (!dir)
        return FAB_OK;
    size_t prefix = tree->prefix.len;
    FAB_TRY(fab_buf_printf(&tree->prefix, "%s", last ? "    " : "\u2502   "));
    FAB_TRY(fab_buf_byte(&tree->path, '/'));
    struct fab_cid cid = level->entry.cid;
    enum fab_rc rc = walk(tree, &cid);
    tree->prefix.len = prefix;
    return rc;
}

static enum fab_rc flush(struct level *level, bool last)
{
    struct tree *tree = level->tree;
    size_t path = tree->path.len;
    if (!level->waiting)
        return FAB_OK;
    level->waiting = false;
    FAB_TRY(fab_buf_append(&tree->path, level->name.data, level->name.len));
    FAB_TRY(print_and_descend(tree, level, last));
    tree->path.len = path; /* after a failure it stays, for the message */
    return FAB_OK;
}

static enum fab_rc on_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                            uint64_t tsize)
{
    struct level *level = arg;
    struct tree *tree = level->tree;
    struct fab_cid copy = *cid;
    struct fab_buf next;
    fab_buf_init(&next, PATH_MAX_BYTES);
    enum fab_rc rc = fab_buf_append(&next, name.p, name.n);
    if (rc == FAB_OK)
        rc = flush(level, false);
    fab_buf_fini(&level->name);
    level->name = next;
    FAB_TRY(rc);
    fab_entry_read(&tree->target, &copy, tsize, &level->entry);
    level->waiting = true;
    return fab_target_tick(tree->cli, &tree->target);
}

static enum fab_rc walk(struct tree *tree, const struct fab_cid *dir)
{
    if (tree->depth == FAB_DEPTH_MAX)
        return FAB_ELIMIT;
    struct level *level = calloc(1, sizeof *level);
    if (!level)
        return FAB_ENOMEM;
    level->tree = tree;
    fab_buf_init(&level->name, PATH_MAX_BYTES);
    tree->depth++;
    enum fab_rc rc = fab_dir_each(&tree->target.source, dir, on_entry, level);
    if (rc == FAB_OK)
        rc = flush(level, true);
    tree->depth--;
    fab_buf_fini(&level->name);
    free(level);
    return rc;
}

static enum fab_rc print_root(struct tree *tree, struct fab_err *err)
{
    struct fab_entry root = {.cid = tree->target.cid, .known = true};
    char text[FAB_CID_TEXT_MAX];
    FAB_TRY(fab_target_stat(&tree->target, &root.node, err));
    if (!fab_entry_is_dir(&root))
        return fab_err_set(err, FAB_ENOENT,
                           "tree: this is a %s, not a directory; see `fabric stat`",
                           fab_entry_type(&root));
    fab_cid_text(&tree->target.cid, text);
    if (!tree->cli->json && !tree->cli->quiet)
        fab_out("%s\n", text);
    enum fab_rc rc = walk(tree, &tree->target.cid);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "tree: %s, at '%.*s' below %s", fab_rc_text(rc),
                           (int)tree->path.len,
                           tree->path.data ? (const char *)tree->path.data : "", text);
    if (tree->cli->json)
        fab_out_array_end(&tree->array);
    else if (!tree->cli->quiet)
        fab_out("\n%llu directories, %llu other entries\n", (unsigned long long)tree->directories,
                (unsigned long long)tree->others);
    return FAB_OK;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct tree tree = {.cli = cli};
    fab_buf_init(&tree.path, PATH_MAX_BYTES);
    fab_buf_init(&tree.prefix, PATH_MAX_BYTES);
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (fab_target_open(cli, fab_args_at(args, 0), &tree.target, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    enum fab_rc rc = print_root(&tree, &err);
    fab_target_close(&tree.target);
    fab_buf_fini(&tree.path);
    fab_buf_fini(&tree.prefix);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const description[] = {
    "Prints a directory and everything below it. What is not in the workspace is marked as "
    "missing.",
    "With --quiet only the paths, one per line. With --json an array: path, name, depth (from 1), "
    "cid, type, size, dag_bytes, and where recorded mode, mtime, target.",
    NULL,
};

static const struct fab_example examples[] = {
    {"fabric tree CID/src", "Show a part of a directory."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_tree = {
    .name = "tree",
    .summary = "List a directory and everything below it",
    .synopsis = "CID[/PATH]",
    .description = description,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
