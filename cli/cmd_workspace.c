/* workspace create, ls, show, set, rm. */
#include "cli/target.h"
#include "cli/workspace.h"

#include <stdlib.h>
#include <string.h>

/* Everything that the commands show of a workspace. */
struct shown {
    struct fab_workspace_info info;
    uint64_t quota; /* the configuration's */
    enum fab_admission admission;
    struct fab_epoch_info epochs[FAB_KEY_EPOCHS_MAX]; /* newest first */
    size_t n;
    bool sealed; /* the keys do not open with this home's identity */
};

static enum fab_rc look(struct fab_cli *cli, const struct fab_keys *keys,
                        const struct fab_workspace_info *info, struct shown *out,
                        struct fab_err *err)
{
    *out = (struct shown){.info = *info, .quota = fab_config_quota(&cli->config, info->name)};
    enum fab_rc rc = fab_admission_get(cli->store, info->id, &out->admission);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "the admission of workspace %s cannot be read: %s", info->name,
                           fab_rc_text(rc));
    return fab_keys_info(keys, info->id, out->epochs, &out->n, err);
}

static void set_time(json_t *object, const char *key, int64_t seconds)
{
    fab_json_set_json(object, key, seconds > 0 ? json_integer(seconds) : json_null());
}

static json_t *epoch_json(const struct fab_epoch_info *epoch)
{
    json_t *object = json_object();
    fab_json_set_uint(object, "number", epoch->number);
    set_time(object, "created", epoch->created);
    set_time(object, "replaced", epoch->replaced);
    fab_json_set_text(object, "fingerprint", epoch->fingerprint);
    return object;
}

static json_t *workspace_json(const struct shown *shown)
{
    json_t *object = json_object(), *epochs = json_array();
    fab_json_set_text(object, "name", shown->info.name);
    if (shown->n > 0)
        fab_json_set_text(object, "fingerprint", shown->epochs[0].fingerprint);
    else
        fab_json_set_json(object, "fingerprint", json_null());
    for (size_t i = 0; i < shown->n; i++)
        fab_json_append(epochs, epoch_json(&shown->epochs[i]));
    fab_json_set_json(object, "epochs", epochs);
    fab_json_set_text(object, "admission", fab_admission_text(shown->admission));
    fab_json_set_uint(object, "blocks", shown->info.blocks);
    fab_json_set_uint(object, "bytes", shown->info.bytes);
    if (shown->quota > 0)
        fab_json_set_uint(object, "quota", shown->quota);
    else
        fab_json_set_json(object, "quota", json_null());
    return object;
}

static void print_usage(const struct shown *shown)
{
    char used[FAB_HUMAN_MAX], quota[FAB_HUMAN_MAX];
    fab_out("%llu blocks, %s", (unsigned long long)shown->info.blocks,
            fab_human_size(shown->info.bytes, used));
    if (shown->quota > 0)
        fab_out(" of %s", fab_human_size(shown->quota, quota));
}

/* ---- workspace create ---- */

static int created(struct fab_cli *cli, const struct fab_workspace_info *info,
                   enum fab_admission admission, const struct fab_epoch_info *epoch)
{
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "name", info->name);
        fab_json_set_uint(object, "epoch", epoch->number);
        fab_json_set_text(object, "fingerprint", epoch->fingerprint);
        fab_json_set_text(object, "admission", fab_admission_text(admission));
        fab_out_json(object);
    } else if (cli->quiet) {
        fab_out("%s\n", epoch->fingerprint);
    } else {
        fab_out("created workspace %s, admission by %s, key %s\n", info->name,
                fab_admission_text(admission), epoch->fingerprint);
    }
    return FAB_EXIT_OK;
}

static enum fab_rc create(struct fab_cli *cli, const struct fab_args *args,
                          const struct fab_keys *keys, enum fab_admission admission,
                          struct fab_workspace_info *info, struct fab_epoch_info *epoch,
                          struct fab_err *err)
{
    struct fab_epoch_info epochs[FAB_KEY_EPOCHS_MAX];
    size_t n;
    FAB_TRY(fab_workspace_find(cli->store, fab_args_at(args, 0), true, info, err));
    FAB_TRY(fab_keys_info(keys, info->id, epochs, &n, err));
    if (n > 0)
        return fab_err_set(err, FAB_EEXIST,
                           "workspace %s exists and has a key; `fabric workspace rotate-key %s` "
                           "gives it a new one",
                           info->name, info->name);
    if (fab_args_given(args, "admit")) /* before the key, with which the daemon begins to admit */
        FAB_TRY(fab_admission_set(cli->store, info->id, admission, err));
    return fab_keys_add(keys, info->id, NULL, epoch, err);
}

static int run_create(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_keys keys;
    struct fab_workspace_info info;
    struct fab_epoch_info epoch;
    enum fab_admission admission;
    if (!fab_admission_arg(cli, args, FAB_ADMIT_KEY, &admission))
        return FAB_EXIT_USAGE;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK ||
        fab_keys_open(cli, &keys, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    enum fab_rc rc = create(cli, args, &keys, admission, &info, &epoch, &err);
    fab_keys_close(&keys);
    if (rc != FAB_OK)
        return fab_target_fail(cli, &err);
    return created(cli, &info, admission, &epoch);
}

#define ADMIT_HELP                                                                                 \
    "Who is let in: 'key', whoever holds the swarm key, or 'list', of them only the peers that "   \
    "`fabric workspace admit` named."

static const char *const create_description[] = {
    "Makes a workspace with a new random swarm key, or gives one to a workspace that has none, as "
    "`local` at first. Machines with the same key form one private swarm; carry it to them with "
    "`fabric workspace export-key` and `import-key`. A running daemon serves the workspace within "
    "a second.",
    "With --quiet only the key's fingerprint. With --json: name, epoch, fingerprint, admission.",
    NULL,
};

static const struct fab_option create_options[] = {
    {.name = "admit",
     .type = FAB_OPTION_STRING,
     .metavar = "key|list",
     .help = ADMIT_HELP " Default: key."},
    {.name = NULL},
};

static const struct fab_example create_examples[] = {
    {"fabric workspace create lab", "Makes the workspace lab with a key of its own."},
    {"fabric workspace create lab --admit list", "The same, for peers that are admitted by ID."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_workspace_create = {
    .name = "workspace create",
    .summary = "Make a workspace with a new swarm key",
    .synopsis = "NAME",
    .description = create_description,
    .options = create_options,
    .examples = create_examples,
    .min_args = 1,
    .max_args = 1,
    .tells_daemon = true,
    .run = run_create,
};

/* ---- workspace ls ---- */

#define LIST_MAX 4096

struct names {
    struct fab_workspace_info *info;
    size_t n;
};

static enum fab_rc gather(void *arg, const struct fab_workspace_info *info)
{
    struct names *names = arg;
    if (names->n == LIST_MAX)
        return FAB_ELIMIT;
    struct fab_workspace_info *p = realloc(names->info, (names->n + 1) * sizeof *p);
    if (!p)
        return FAB_ENOMEM;
    names->info = p;
    p[names->n++] = *info;
    return FAB_OK;
}

static void print_row(struct fab_cli *cli, struct fab_out_array *array, const struct shown *shown)
{
    if (cli->json) {
        fab_out_array_item(array, workspace_json(shown));
        return;
    }
    fab_out("%s %s, %zu %s, admission by %s, ", shown->info.name,
            shown->sealed  ? "?"
            : shown->n > 0 ? shown->epochs[0].fingerprint
                           : "-",
            shown->n, shown->n == 1 ? "epoch" : "epochs", fab_admission_text(shown->admission));
    print_usage(shown);
    fab_out("\n");
}

static enum fab_rc print_rows(struct fab_cli *cli, const struct names *names, struct fab_err *err)
{
    struct fab_keys keys;
    struct fab_out_array array = {0};
    enum fab_rc rc = FAB_OK;
    FAB_TRY(fab_keys_open(cli, &keys, err));
    for (size_t i = 0; rc == FAB_OK && i < names->n && !fab_out_failed(); i++) {
        struct shown shown;
        rc = look(cli, &keys, &names->info[i], &shown, err);
        if (rc == FAB_EACCES) { /* the others can still be shown */
            fab_cli_note(cli, "%s: %s", names->info[i].name, err->msg);
            shown.sealed = true;
            rc = FAB_OK;
        }
        if (rc == FAB_OK)
            print_row(cli, &array, &shown);
    }
    if (rc == FAB_OK && cli->json)
        fab_out_array_end(&array);
    fab_keys_close(&keys);
    return rc;
}

static int run_ls(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct names names = {0};
    (void)args;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    enum fab_rc rc = fab_workspace_list(cli->store, gather, &names);
    if (rc != FAB_OK)
        fab_err_set(&err, rc, "the workspaces cannot be listed: %s", fab_rc_text(rc));
    else if (cli->quiet && !cli->json)
        for (size_t i = 0; i < names.n; i++)
            fab_out("%s\n", names.info[i].name);
    else
        rc = print_rows(cli, &names, &err);
    free(names.info);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const ls_description[] = {
    "Prints of each workspace its name, the fingerprint of its newest swarm key (- without one), "
    "how many keys are taken, who is admitted, and what it sees. The fingerprint is the one that "
    "Kubo prints for the same key; it tells nothing about the key.",
    "With --quiet only the names. With --json an array: name, fingerprint (null without a key), "
    "epochs, admission, blocks, bytes and quota, as `fabric workspace show` has them.",
    NULL,
};

const struct fab_command fab_cmd_workspace_ls = {
    .name = "workspace ls",
    .summary = "List the workspaces",
    .description = ls_description,
    .run = run_ls,
};

/* ---- workspace show ---- */

static enum fab_rc add_peer(void *arg, const struct fab_peer_id *peer)
{
    char text[FAB_PEER_ID_TEXT_MAX];
    fab_peer_id_text(peer, text);
    if (arg)
        fab_json_append(arg, json_string(text));
    else
        fab_out("admitted: %s\n", text);
    return FAB_OK;
}

static void print_epochs(const struct shown *shown)
{
    char begin[FAB_UTC_MAX], end[FAB_UTC_MAX];
    if (shown->n == 0)
        fab_out("key: none; `fabric workspace create %s` makes one\n", shown->info.name);
    for (size_t i = 0; i < shown->n; i++) {
        const struct fab_epoch_info *epoch = &shown->epochs[i];
        fab_out("key: epoch %lu, %s, made %s", (unsigned long)epoch->number, epoch->fingerprint,
                fab_utc_text(epoch->created, begin));
        if (epoch->replaced > 0)
            fab_out(", taken until %s", fab_utc_text(epoch->replaced + FAB_KEY_GRACE_S, end));
        fab_out("\n");
    }
}

static enum fab_rc show(struct fab_cli *cli, const struct shown *shown, struct fab_err *err)
{
    json_t *object = NULL, *peers = NULL;
    if (cli->json) {
        object = workspace_json(shown);
        peers = json_array();
    } else if (cli->quiet) {
        fab_out("%s\n", shown->n > 0 ? shown->epochs[0].fingerprint : "-");
        return FAB_OK;
    } else {
        fab_out("workspace: %s\n", shown->info.name);
        print_epochs(shown);
        fab_out("admission: %s\n", fab_admission_text(shown->admission));
        fab_out("content: ");
        print_usage(shown);
        fab_out("\n");
    }
    enum fab_rc rc = fab_admitted_each(cli->store, shown->info.id, add_peer, peers);
    if (rc != FAB_OK) {
        json_decref(peers);
        json_decref(object);
        return fab_err_set(err, rc, "the list of admitted peers cannot be read: %s",
                           fab_rc_text(rc));
    }
    if (cli->json) {
        fab_json_set_json(object, "admitted", peers);
        fab_out_json(object);
    }
    return FAB_OK;
}

static int run_show(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    struct fab_keys keys;
    struct shown shown;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK ||
        fab_workspace_find(cli->store, fab_args_at(args, 0), false, &info, &err) != FAB_OK ||
        fab_keys_open(cli, &keys, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    enum fab_rc rc = look(cli, &keys, &info, &shown, &err);
    if (rc == FAB_OK)
        rc = show(cli, &shown, &err);
    fab_keys_close(&keys);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const show_description[] = {
    "Prints every swarm key that is taken, by its fingerprint: the newest, and those that it "
    "replaced within the last 7 days. Then who is admitted, and what the workspace sees.",
    "With --quiet only the newest key's fingerprint. With --json: name; fingerprint; epochs, an "
    "array of number, created, replaced (seconds since 1970, null for the newest) and fingerprint; "
    "admission; blocks; bytes; quota (null for none); and admitted, an array of peer IDs.",
    NULL,
};

const struct fab_command fab_cmd_workspace_show = {
    .name = "workspace show",
    .summary = "Show a workspace's keys, peers and use",
    .synopsis = "NAME",
    .description = show_description,
    .min_args = 1,
    .max_args = 1,
    .run = run_show,
};

/* ---- workspace set ---- */

static int run_set(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    enum fab_admission admission;
    if (!fab_args_given(args, "admit"))
        return fab_cli_usage(cli,
                             "workspace set: nothing to set; give --admit key or --admit list");
    if (!fab_admission_arg(cli, args, FAB_ADMIT_KEY, &admission))
        return FAB_EXIT_USAGE;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK ||
        fab_workspace_find(cli->store, fab_args_at(args, 0), false, &info, &err) != FAB_OK ||
        fab_admission_set(cli->store, info.id, admission, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "name", info.name);
        fab_json_set_text(object, "admission", fab_admission_text(admission));
        fab_out_json(object);
    } else if (!cli->quiet) {
        fab_out("workspace %s admits by %s\n", info.name, fab_admission_text(admission));
    }
    return FAB_EXIT_OK;
}

static const char *const set_description[] = {
    "Changes who is let in. With `list`, a running daemon ends within a second the connections of "
    "peers that are not on the list.",
    "With --json: name, admission.",
    NULL,
};

static const struct fab_option set_options[] = {
    {.name = "admit", .type = FAB_OPTION_STRING, .metavar = "key|list", .help = ADMIT_HELP},
    {.name = NULL},
};

const struct fab_command fab_cmd_workspace_set = {
    .name = "workspace set",
    .summary = "Change who is admitted to a workspace",
    .synopsis = "NAME",
    .description = set_description,
    .options = set_options,
    .min_args = 1,
    .max_args = 1,
    .tells_daemon = true,
    .run = run_set,
};

/* ---- workspace rm ---- */

static enum fab_rc see_pin(void *arg, const struct fab_pin *pin)
{
    (void)arg;
    (void)pin;
    return FAB_EEXIST;
}

static enum fab_rc check_pins(struct fab_cli *cli, const struct fab_workspace_info *info,
                              struct fab_err *err)
{
    enum fab_rc rc = fab_pin_list(cli->store, info->id, see_pin, NULL);
    if (rc == FAB_EEXIST)
        return fab_err_set(
            err, rc, "workspace %s has pinned content; give --force to remove it all", info->name);
    return rc == FAB_OK ? rc
                        : fab_err_set(err, rc, "the pins of workspace %s cannot be read: %s",
                                      info->name, fab_rc_text(rc));
}

static enum fab_rc remove_workspace(struct fab_cli *cli, const struct fab_keys *keys,
                                    const struct fab_args *args, struct fab_workspace_info *info,
                                    struct fab_err *err)
{
    FAB_TRY(fab_workspace_find(cli->store, fab_args_at(args, 0), false, info, err));
    if (strcmp(info->name, FAB_WORKSPACE_LOCAL) == 0)
        return fab_err_set(err, FAB_EACCES,
                           "the workspace " FAB_WORKSPACE_LOCAL " always exists; `fabric pin rm` "
                           "and `fabric gc` empty it");
    if (!fab_args_given(args, "force"))
        FAB_TRY(check_pins(cli, info, err));
    FAB_TRY(fab_workspace_remove(cli->store, info->id, err));
    FAB_TRY(fab_keyring_forget(keys->ring, info->id, err));
    return fab_workspace_sweep(cli->store, cli->cancel, err);
}

static int run_rm(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_keys keys;
    struct fab_workspace_info info;
    char text[FAB_HUMAN_MAX];
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) != FAB_OK ||
        fab_keys_open(cli, &keys, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    enum fab_rc rc = remove_workspace(cli, &keys, args, &info, &err);
    fab_keys_close(&keys);
    if (rc != FAB_OK)
        return fab_target_fail(cli, &err);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "name", info.name);
        fab_json_set_uint(object, "blocks", info.blocks);
        fab_json_set_uint(object, "bytes", info.bytes);
        fab_out_json(object);
    } else if (cli->quiet) {
        fab_out("%s\n", info.name);
    } else {
        fab_out("removed workspace %s, which saw %s\n", info.name,
                fab_human_size(info.bytes, text));
    }
    return FAB_EXIT_OK;
}

static const char *const rm_description[] = {
    "Removes a workspace with its swarm keys, its list of peers, its pins and its jobs' records, "
    "and the blocks that no other workspace sees. It is refused while work runs there. If it is "
    "interrupted, the workspace is gone all the same, and the next `fabric gc` frees the rest. "
    "The workspace `local` stays.",
    "With --json: name, and the blocks and bytes that it saw.",
    NULL,
};

static const struct fab_option rm_options[] = {
    {.name = "force", .help = "Also when it has pinned content."},
    {.name = NULL},
};

const struct fab_command fab_cmd_workspace_rm = {
    .name = "workspace rm",
    .summary = "Remove a workspace and what only it sees",
    .synopsis = "NAME",
    .description = rm_description,
    .options = rm_options,
    .min_args = 1,
    .max_args = 1,
    .tells_daemon = true,
    .run = run_rm,
};
