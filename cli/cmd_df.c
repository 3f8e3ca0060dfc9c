#include "cli/command.h"
#include "cli/output.h"

struct listing {
    struct fab_cli *cli;
    json_t *workspaces; /* array; NULL for text */
};

static void set_quota(json_t *object, uint64_t quota)
{
    if (quota > 0)
        fab_json_set_uint(object, "quota", quota);
    else
        fab_json_set_json(object, "quota", json_null());
}

static void print_quota(uint64_t used, uint64_t quota)
{
    char text[FAB_HUMAN_MAX];
    if (quota > 0)
        fab_out(" of %s (%.0f%%)", fab_human_size(quota, text),
                100.0 * (double)used / (double)quota);
}

/* The quota is the configuration's, which the store learns when the workspace is opened next. */
static enum fab_rc on_workspace(void *arg, const struct fab_workspace_info *info)
{
    struct listing *listing = arg;
    char text[FAB_HUMAN_MAX];
    uint64_t quota = fab_config_quota(&listing->cli->config, info->name);
    if (listing->workspaces) {
        json_t *object = json_object();
        fab_json_set_text(object, "name", info->name);
        fab_json_set_uint(object, "bytes", info->bytes);
        fab_json_set_uint(object, "blocks", info->blocks);
        set_quota(object, quota);
        fab_json_append(listing->workspaces, object);
        return FAB_OK;
    }
    fab_out("workspace %s: %s", info->name, fab_human_size(info->bytes, text));
    print_quota(info->bytes, quota);
    fab_out(" in %llu blocks\n", (unsigned long long)info->blocks);
    return FAB_OK;
}

static void print_store(const struct fab_store_info *info)
{
    char text[FAB_HUMAN_MAX];
    fab_out("store: %s", fab_human_size(info->bytes, text));
    print_quota(info->bytes, info->quota);
    fab_out(" in %llu blocks\n", (unsigned long long)info->blocks);
    fab_out("file: %s", fab_human_size(info->file_bytes, text));
    fab_out(", of which %s is free for reuse\n", fab_human_size(info->free_bytes, text));
    fab_out("disk: %s free\n", fab_human_size(info->disk_free, text));
}

static json_t *store_json(const struct fab_cli *cli, const struct fab_store_info *info)
{
    json_t *object = json_object();
    fab_json_set_uint(object, "bytes", info->bytes);
    fab_json_set_uint(object, "blocks", info->blocks);
    set_quota(object, info->quota);
    fab_json_set_uint(object, "high_water_percent", cli->config.store_high_water);
    fab_json_set_uint(object, "file_bytes", info->file_bytes);
    fab_json_set_uint(object, "free_bytes", info->free_bytes);
    fab_json_set_uint(object, "disk_free", info->disk_free);
    return object;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_store_info info;
    struct listing listing = {.cli = cli};
    (void)args;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK ||
        fab_store_info(cli->store, &info, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->quiet && !cli->json) {
        fab_out("%llu\n", (unsigned long long)info.bytes);
        return FAB_EXIT_OK;
    }
    if (cli->json)
        listing.workspaces = json_array();
    else
        print_store(&info);
    enum fab_rc rc = fab_workspace_list(cli->store, on_workspace, &listing);
    if (rc != FAB_OK) {
        json_decref(listing.workspaces);
        fab_err_set(&err, rc, "the workspaces cannot be listed: %s", fab_rc_text(rc));
        return fab_cli_fail(cli, &err);
    }
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "home", cli->home);
        fab_json_set_json(object, "store", store_json(cli, &info));
        fab_json_set_json(object, "workspaces", listing.workspaces);
        fab_out_json(object);
    }
    return FAB_EXIT_OK;
}

static const char *const description[] = {
    "Prints what the blocks of the store take, its file and the disk, and what each workspace "
    "sees. Bytes are stored once; a workspace is charged in full for what it sees. Quotas are set "
    "in HOME/fabric.conf.",
    "With --quiet only the bytes of the blocks. With --json: home; store, an object of bytes, "
    "blocks, quota (null for none), high_water_percent, file_bytes, free_bytes and disk_free; and "
    "workspaces, an array of name, bytes, blocks and quota.",
    NULL,
};

const struct fab_command fab_cmd_df = {
    .name = "df",
    .summary = "Show how much is used and free",
    .description = description,
    .run = run,
};
