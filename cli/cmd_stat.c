#include "cli/command.h"
#include "cli/node_print.h"
#include "cli/progress.h"
#include "storage/files/pin_tree.h"

#include <string.h>
#include <time.h>

struct facts {
    struct fab_entry entry;
    struct fab_tree_stats tree;
    bool walked;
    const char *pinned; /* "recursive", "direct", "no" */
};

static void print_time(int64_t seconds)
{
    char text[64];
    struct tm tm;
    time_t t = (time_t)seconds;
    if (gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        fab_out("mtime       %s\n", text);
    else
        fab_out("mtime       %lld\n", (long long)seconds);
}

static void print_size(const char *label, uint64_t bytes)
{
    char text[FAB_HUMAN_MAX];
    fab_out("%-11s %llu", label, (unsigned long long)bytes);
    if (bytes >= 1024)
        fab_out(" (%s)", fab_human_size(bytes, text));
    fab_out("\n");
}

static void print_text(const struct facts *facts)
{
    char text[FAB_CID_TEXT_MAX];
    const struct fab_node_info *node = &facts->entry.node;
    fab_cid_text(&facts->entry.cid, text);
    fab_out("cid         %s\nkind        %s%s\n", text, fab_entry_type(&facts->entry),
            node->kind == FAB_NODE_HAMT ? " (sharded)" : "");
    if (!fab_entry_is_dir(&facts->entry))
        print_size("size", node->size);
    print_size("cumulative", node->tsize);
    print_size("block", node->block_bytes);
    fab_out("links       %llu\n", (unsigned long long)node->links);
    if (facts->walked) {
        fab_out("blocks      %llu\n", (unsigned long long)facts->tree.blocks);
        print_size("stored", facts->tree.bytes);
        fab_out("missing     %llu\n", (unsigned long long)facts->tree.missing);
    }
    if (node->attr.has_mode)
        fab_out("mode        %04o\n", (unsigned)node->attr.mode);
    if (node->attr.has_mtime)
        print_time(node->attr.mtime);
    if (node->kind == FAB_NODE_SYMLINK) {
        fab_out("target      ");
        fab_out_name(stdout, node->target, strlen(node->target));
        fab_out("\n");
    }
    fab_out("pinned      %s\n", facts->pinned);
}

static void print_json(const struct facts *facts)
{
    const struct fab_node_info *node = &facts->entry.node;
    json_t *object = json_object();
    fab_json_set_cid(object, "cid", &facts->entry.cid);
    fab_json_set_text(object, "kind", fab_entry_type(&facts->entry));
    fab_json_set_bool(object, "sharded", node->kind == FAB_NODE_HAMT);
    fab_json_set_uint(object, "size", node->size);
    fab_json_set_uint(object, "cumulative_size", node->tsize);
    fab_json_set_uint(object, "block_bytes", node->block_bytes);
    fab_json_set_uint(object, "links", node->links);
    if (facts->walked) {
        fab_json_set_uint(object, "blocks", facts->tree.blocks);
        fab_json_set_uint(object, "stored_bytes", facts->tree.bytes);
        fab_json_set_uint(object, "missing", facts->tree.missing);
    }
    fab_attr_json(object, node);
    fab_json_set_text(object, "pinned", facts->pinned);
    fab_out_json(object);
}

static enum fab_rc walk(struct fab_cli *cli, struct facts *facts, struct fab_err *err)
{
    struct fab_bar bar;
    fab_bar_start(&bar, cli, "reading", "blocks");
    struct fab_watch watch = fab_bar_watch(&bar, cli);
    enum fab_rc rc =
        fab_tree_check(cli->store, cli->ws.id, &facts->entry.cid, &watch, &facts->tree, err);
    fab_bar_erase(&bar);
    facts->walked = true;
    return rc == FAB_ENOENT && facts->tree.missing > 0 ? FAB_OK : rc;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_target target;
    struct fab_pin pin;
    struct facts facts = {.entry = {.known = true}, .pinned = "no"};
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (fab_target_open(cli, fab_args_at(args, 0), &target, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    facts.entry.cid = target.cid;
    enum fab_rc rc = fab_target_stat(&target, &facts.entry.node, &err);
    facts.entry.tsize = facts.entry.node.tsize;
    if (rc == FAB_OK && fab_pin_get(cli->store, cli->ws.id, &target.cid, &pin) == FAB_OK)
        facts.pinned = pin.mode == FAB_PIN_RECURSIVE ? "recursive" : "direct";
    if (rc == FAB_OK && !fab_args_given(args, "no-walk")) {
        /* The walk takes its own snapshots; this one would keep pages from reuse meanwhile. */
        fab_view_close(target.view);
        target.view = NULL;
        rc = walk(cli, &facts, &err);
    }
    if (rc == FAB_OK && cli->json)
        print_json(&facts);
    else if (rc == FAB_OK)
        print_text(&facts);
    fab_target_close(&target);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const description[] = {
    "Prints the kind; the content's size; the cumulative size that the root block claims for its "
    "whole DAG; the root block's size and links; how many distinct blocks of the DAG are in the "
    "workspace, their bytes, and how many are missing; mode and time where they were recorded; and "
    "whether the CID itself is pinned.",
    "With --json: cid, kind (file, directory, symlink or other), sharded, size, cumulative_size, "
    "block_bytes, links, blocks, stored_bytes, "
    "missing, pinned (recursive, direct or no), and where recorded mode, mtime, target.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "no-walk", .help = "Read only the root block: no blocks, stored and missing."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric stat CID", "Is everything of it here?"},
    {NULL, NULL},
};

const struct fab_command fab_cmd_stat = {
    .name = "stat",
    .summary = "Describe content",
    .synopsis = "CID[/PATH]",
    .description = description,
    .options = options_table,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
