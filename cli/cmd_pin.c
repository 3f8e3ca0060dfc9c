#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "storage/files/pin_tree.h"

#include <string.h>

static const char *mode_text(enum fab_pin_mode mode)
{
    return mode == FAB_PIN_RECURSIVE ? "recursive" : "direct";
}

/* ---- pin add ---- */

static void print_added(struct fab_cli *cli, const struct fab_cid *cid, enum fab_pin_mode mode,
                        const char *name, const struct fab_tree_stats *stats)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", text);
        fab_json_set_text(object, "mode", mode_text(mode));
        if (name)
            fab_json_set_text(object, "name", name);
        fab_json_set_uint(object, "blocks", stats->blocks);
        fab_json_set_uint(object, "bytes", stats->bytes);
        fab_out_json_line(object);
    } else if (cli->quiet) {
        fab_out("%s\n", text);
    } else {
        fab_out("pinned %s %s\n", text, mode == FAB_PIN_RECURSIVE ? "recursively" : "directly");
    }
}

static enum fab_rc fetch_root(struct fab_target *target, struct fab_err *err)
{
    struct fab_slice block;
    enum fab_rc rc = fab_block_get(&target->source, &target->cid, &block);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "the block cannot be read: %s", fab_rc_text(rc));
    rc = fab_target_why(target, rc, err);
    fab_view_close(target->view);
    target->view = NULL;
    return rc;
}

static enum fab_rc add_one(struct fab_cli *cli, const char *text, enum fab_pin_mode mode,
                           const char *name, struct fab_err *err)
{
    struct fab_target target;
    struct fab_tree_stats stats = {0};
    struct fab_bar bar;
    struct fab_pin held;
    FAB_TRY(fab_target_open(cli, text, &target, err));
    if (mode == FAB_PIN_DIRECT && target.path.n == 0 &&
        fab_pin_get(cli->store, cli->ws.id, &target.cid, &held) == FAB_OK &&
        held.mode == FAB_PIN_RECURSIVE) {
        fab_target_close(&target);
        return fab_err_set(err, FAB_EEXIST,
                           "%s is pinned recursively, which covers the block: `fabric pin rm` it "
                           "first to pin only the block",
                           text);
    }
    const struct fab_cli_fetch_pin pin = {.name = name};
    enum fab_rc rc;
    if (mode == FAB_PIN_RECURSIVE) /* of a path: the pin comes with the walk below */
        rc = fab_target_whole(cli, &target, target.path.n == 0 ? &pin : NULL, err);
    else
        rc = fetch_root(&target, err);
    if (rc != FAB_OK) {
        fab_target_close(&target);
        return rc;
    }
    fab_bar_start(&bar, cli, "reading", "blocks");
    struct fab_watch watch = fab_bar_watch(&bar, cli);
    rc = fab_pin_tree(cli->store, cli->ws.id, &target.cid, mode, name, &watch, &stats, err);
    fab_bar_erase(&bar);
    if (rc == FAB_OK)
        print_added(cli, &target.cid, mode, name, &stats);
    else
        rc = fab_target_hint(cli, rc, err);
    fab_target_close(&target);
    return rc;
}

static int run_add(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    const char *name = fab_args_string(args, "name");
    enum fab_pin_mode mode = fab_args_given(args, "direct") ? FAB_PIN_DIRECT : FAB_PIN_RECURSIVE;
    if (name && strlen(name) > FAB_PIN_NAME_MAX)
        return fab_cli_usage(cli, "pin add: --name has more than %d bytes", FAB_PIN_NAME_MAX);
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    for (size_t i = 0; i < fab_args_count(args); i++)
        if (add_one(cli, fab_args_at(args, i), mode, name, &err) != FAB_OK)
            return fab_target_fail(cli, &err);
    return FAB_EXIT_OK;
}

static const char *const add_description[] = {
    "Keeps content from collection until `fabric pin rm`. A recursive pin, the default, covers the "
    "whole DAG, which must be in the workspace; a direct one only the one block. With several "
    "arguments the first failure ends it; pins made before it stay.",
    "With --quiet only the CIDs. With --json one line per pin: cid, mode, name, blocks, bytes.",
    NULL,
};

static const struct fab_option add_options[] = {
    {.name = "name",
     .type = FAB_OPTION_STRING,
     .metavar = "N",
     .help = "The pin's name. Without it a pin that exists keeps its own."},
    {.name = "direct", .help = "Pin only the block itself."},
    {.name = NULL},
};

const struct fab_command fab_cmd_pin_add = {
    .name = "pin add",
    .summary = "Keep content from collection",
    .synopsis = "CID[/PATH]...",
    .description = add_description,
    .options = add_options,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_add,
};

/* ---- pin rm ---- */

static enum fab_rc parse_cid(const char *text, struct fab_cid *out, struct fab_err *err)
{
    struct fab_slice path;
    if (fab_path_parse(text, out, &path, err) != FAB_OK)
        return err->rc = FAB_EINVAL;
    if (path.n > 0)
        return fab_err_set(err, FAB_EINVAL, "'%s': a CID alone is needed here, without a path",
                           text);
    return FAB_OK;
}

static enum fab_rc remove_one(struct fab_cli *cli, const char *text, struct fab_err *err)
{
    struct fab_cid cid;
    char name[FAB_CID_TEXT_MAX];
    FAB_TRY(parse_cid(text, &cid, err));
    fab_cid_text(&cid, name);
    enum fab_rc rc = fab_pin_remove(cli->store, cli->ws.id, &cid, err);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "%s is not pinned in workspace %s; see `fabric pin ls`", name,
                           cli->ws.name);
    FAB_TRY(rc);
    fab_target_done(cli, "unpinned", name);
    return FAB_OK;
}

static int run_rm(struct fab_cli *cli, const struct fab_args *args)
{
    return fab_target_each(cli, args, remove_one);
}

static const char *const rm_description[] = {
    "The blocks stay until `fabric gc`, or until room is needed.",
    "With --quiet only the CIDs. With --json one line per pin: cid.",
    NULL,
};

const struct fab_command fab_cmd_pin_rm = {
    .name = "pin rm",
    .summary = "Let go of pinned content",
    .synopsis = "CID...",
    .description = rm_description,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_rm,
};

/* ---- pin ls ---- */

struct listing {
    struct fab_cli *cli;
    struct fab_out_array array;
};

static enum fab_rc print_pin(void *arg, const struct fab_pin *pin)
{
    struct listing *listing = arg;
    char text[FAB_CID_TEXT_MAX];
    if (listing->cli->json) {
        json_t *object = json_object();
        fab_json_set_cid(object, "cid", &pin->cid);
        fab_json_set_text(object, "mode", mode_text(pin->mode));
        fab_json_set_text(object, "name", pin->name);
        fab_json_set_json(object, "created", json_integer(pin->created));
        fab_out_array_item(&listing->array, object);
        return fab_out_failed() ? FAB_EIO : FAB_OK;
    }
    fab_cid_text(&pin->cid, text);
    fab_out("%s", text);
    if (!listing->cli->quiet) {
        fab_out(" %s%s", mode_text(pin->mode), pin->name[0] ? " " : "");
        fab_out_name(stdout, pin->name, strlen(pin->name));
    }
    fab_out("\n");
    return fab_out_failed() ? FAB_EIO : FAB_OK;
}

static enum fab_rc print_given(struct listing *listing, const char *text, struct fab_err *err)
{
    struct fab_cid cid;
    struct fab_pin pin;
    char name[FAB_CID_TEXT_MAX];
    FAB_TRY(parse_cid(text, &cid, err));
    fab_cid_text(&cid, name);
    enum fab_rc rc = fab_pin_get(listing->cli->store, listing->cli->ws.id, &cid, &pin);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "%s is not pinned in workspace %s", name,
                           listing->cli->ws.name);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "the pin of %s cannot be read: %s", name, fab_rc_text(rc));
    return print_pin(listing, &pin);
}

static int run_ls(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct listing listing = {.cli = cli};
    enum fab_rc rc = FAB_OK;
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    size_t n = fab_args_count(args);
    for (size_t i = 0; i < n && rc == FAB_OK; i++)
        rc = print_given(&listing, fab_args_at(args, i), &err);
    if (n == 0) {
        rc = fab_pin_list(cli->store, cli->ws.id, print_pin, &listing);
        if (rc != FAB_OK)
            fab_err_set(&err, rc, "the pins cannot be listed: %s", fab_rc_text(rc));
    }
    if (rc != FAB_OK)
        return fab_target_fail(cli, &err);
    if (cli->json)
        fab_out_array_end(&listing.array);
    return FAB_EXIT_OK;
}

static const char *const ls_description[] = {
    "Prints the CID, the mode (recursive or direct) and the name of each pin, or of those that are "
    "given; one that is not pinned is then a failure.",
    "With --quiet only the CIDs. With --json an array: cid, mode, name, created (seconds since "
    "1970).",
    NULL,
};

const struct fab_command fab_cmd_pin_ls = {
    .name = "pin ls",
    .summary = "List the pins",
    .synopsis = "[CID]...",
    .description = ls_description,
    .max_args = FAB_ARGS_ANY,
    .run = run_ls,
};
