#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"

static void print_json(const struct fab_gc_stats *stats, bool dry_run, bool compacting,
                       uint64_t given_back)
{
    json_t *object = json_object();
    fab_json_set_bool(object, "dry_run", dry_run);
    fab_json_set_uint(object, "kept_blocks", stats->marked_blocks);
    fab_json_set_uint(object, "removed_blocks", stats->removed_blocks);
    fab_json_set_uint(object, "removed_bytes", stats->removed_bytes);
    fab_json_set_json(object, "mark_seconds", json_real(stats->mark_seconds));
    fab_json_set_json(object, "sweep_seconds", json_real(stats->sweep_seconds));
    fab_json_set_json(object, "longest_txn_seconds", json_real(stats->longest_txn_seconds));
    if (compacting)
        fab_json_set_uint(object, "compacted_bytes", given_back);
    fab_out_json(object);
}

static void show_phase(void *arg, const char *phase, uint64_t done, uint64_t total)
{
    fab_bar_phase(arg, phase, done, total);
}

/* How many bytes the store's file lost. */
static enum fab_rc compact(struct fab_cli *cli, uint64_t *given_back, struct fab_err *err)
{
    struct fab_store_info before, after;
    FAB_TRY(fab_store_info(cli->store, &before, err));
    FAB_TRY(fab_store_compact(cli->store, err));
    FAB_TRY(fab_store_info(cli->store, &after, err));
    *given_back = before.file_bytes > after.file_bytes ? before.file_bytes - after.file_bytes : 0;
    return FAB_OK;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_bar bar;
    struct fab_gc_stats stats = {0};
    bool dry_run = fab_args_given(args, "dry-run"), compacting = fab_args_given(args, "compact");
    uint64_t given_back = 0;
    char text[FAB_HUMAN_MAX];
    if (dry_run && compacting)
        return fab_cli_usage(cli, "gc: --dry-run changes nothing, so --compact cannot go with it");
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    fab_bar_start(&bar, cli, "collecting", NULL);
    struct fab_gc_options options = {
        .dry_run = dry_run, .cancel = cli->cancel, .progress = show_phase, .arg = &bar};
    enum fab_rc rc = fab_gc(cli->store, cli->ws.id, &options, &stats, &err);
    fab_bar_erase(&bar);
    if (rc == FAB_OK && compacting)
        rc = compact(cli, &given_back, &err);
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->json) {
        print_json(&stats, dry_run, compacting, given_back);
    } else if (!cli->quiet) {
        fab_out("%s %llu blocks, %s\n", dry_run ? "would remove" : "removed",
                (unsigned long long)stats.removed_blocks,
                fab_human_size(stats.removed_bytes, text));
        if (compacting)
            fab_out("gave back %s to the disk\n", fab_human_size(given_back, text));
    }
    return FAB_EXIT_OK;
}

static const char *const description[] = {
    "Removes from the workspace the blocks that no pin and no running work reaches, roots put "
    "without a pin among them. It runs beside everything else. The bytes go when no workspace sees "
    "them; their space in the store's file is reused.",
    "With --quiet nothing is printed. With --json: dry_run, kept_blocks, removed_blocks, "
    "removed_bytes, mark_seconds, sweep_seconds, longest_txn_seconds, and with --compact "
    "compacted_bytes.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "dry-run", .letter = 'n', .help = "Say what would be removed, and remove nothing."},
    {.name = "compact",
     .help = "Then rewrite the store's file without its free space. No other process may use the "
             "store."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric gc --dry-run", "How much would be freed?"},
    {NULL, NULL},
};

const struct fab_command fab_cmd_gc = {
    .name = "gc",
    .summary = "Remove what nothing keeps",
    .description = description,
    .options = options_table,
    .examples = examples,
    .run = run,
};
