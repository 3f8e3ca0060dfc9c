/* workspace export-key, import-key, rotate-key, admit, expel: what lets machines into a workspace.
 */
#include "cli/outfile.h"
#include "cli/target.h"
#include "cli/workspace.h"
#include "storage/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum fab_rc open_workspace(struct fab_cli *cli, const struct fab_args *args,
                                  struct fab_workspace_info *info, struct fab_err *err)
{
    FAB_TRY(fab_cli_open(cli, FAB_CLI_STORE, err));
    return fab_workspace_find(cli->store, fab_args_at(args, 0), false, info, err);
}

static enum fab_rc no_key(const struct fab_workspace_info *info, struct fab_err *err)
{
    return fab_err_set(err, FAB_ENOENT,
                       "workspace %s has no swarm key; `fabric workspace create %s` makes one",
                       info->name, info->name);
}

static json_t *key_json(const struct fab_workspace_info *info, const struct fab_epoch_info *epoch)
{
    json_t *object = json_object();
    fab_json_set_text(object, "name", info->name);
    fab_json_set_uint(object, "epoch", epoch->number);
    fab_json_set_text(object, "fingerprint", epoch->fingerprint);
    return object;
}

/* ---- workspace export-key ---- */

/* The newest key and what may be shown of it; the caller wipes `out`. */
static enum fab_rc newest(struct fab_cli *cli, const struct fab_workspace_info *info,
                          struct fab_epoch *out, struct fab_epoch_info *shown, struct fab_err *err)
{
    struct fab_keys keys;
    struct fab_epoch epochs[FAB_KEY_EPOCHS_MAX];
    size_t n = 0;
    FAB_TRY(fab_keys_open(cli, &keys, err));
    enum fab_rc rc = fab_keyring_epochs(keys.ring, info->id, time(NULL), epochs, &n, err);
    fab_keys_close(&keys);
    if (rc == FAB_OK && n == 0)
        rc = no_key(info, err);
    if (rc == FAB_OK) {
        *out = epochs[0];
        shown->number = epochs[0].number;
        rc = fab_swarm_key_fingerprint(epochs[0].key, shown->fingerprint);
        if (rc != FAB_OK)
            fab_err_set(err, rc, "the key's fingerprint cannot be made: %s", fab_rc_text(rc));
    }
    explicit_bzero(epochs, sizeof epochs);
    return rc;
}

/* With mode 0600, whatever the umask. */
static enum fab_rc write_key(const char *path, bool force, const char *text, size_t n,
                             struct fab_err *err)
{
    struct fab_outfile file;
    mode_t old = umask(077);
    enum fab_rc rc = fab_outfile_open(path, force, &file, err);
    umask(old);
    if (rc != FAB_OK)
        return rc;
    if (fab_fd_write(file.fd, fab_slice(text, n)) == FAB_OK)
        return fab_outfile_commit(&file, err);
    int saved = errno;
    fab_outfile_abort(&file);
    return fab_err_errno(err, saved, "%s cannot be written", path);
}

static void print_exported(struct fab_cli *cli, const struct fab_workspace_info *info,
                           const struct fab_epoch_info *epoch, const char *path, const char *text)
{
    if (cli->json) {
        json_t *object = key_json(info, epoch);
        if (path)
            fab_json_set_name(object, "path", path, strlen(path));
        else
            fab_json_set_text(object, "key", text);
        fab_out_json(object);
    } else if (!path) {
        fab_out("%s", text);
    } else if (!cli->quiet) {
        fab_out("wrote the key of workspace %s (epoch %lu, %s) to ", info->name,
                (unsigned long)epoch->number, epoch->fingerprint);
        fab_out_name(stdout, path, strlen(path));
        fab_out("\n");
    }
}

static int run_export(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    struct fab_epoch epoch;
    struct fab_epoch_info shown = {0};
    char text[FAB_SWARM_KEY_TEXT_MAX];
    const char *path = fab_args_string(args, "output");
    if (path && !path[0])
        return fab_cli_usage(cli, "workspace export-key: -o is empty; name a file");
    if (path && strcmp(path, "-") == 0)
        path = NULL;
    if (open_workspace(cli, args, &info, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    enum fab_rc rc = newest(cli, &info, &epoch, &shown, &err);
    if (rc == FAB_OK) {
        size_t n = fab_swarm_key_text(epoch.key, text);
        if (path)
            rc = write_key(path, fab_args_given(args, "force"), text, n, &err);
        if (rc == FAB_OK)
            print_exported(cli, &info, &shown, path, text);
    }
    explicit_bzero(&epoch, sizeof epoch);
    explicit_bzero(text, sizeof text);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const export_description[] = {
    "Prints the workspace's newest swarm key as the file swarm.key, which Kubo and Helia read and "
    "`fabric workspace import-key` takes on another machine. Whoever has it can join the "
    "workspace's swarm: carry it over a safe way, and delete it where it is not needed.",
    "With --json: name, epoch, fingerprint, and key, the text of the file; or path with -o.",
    NULL,
};

static const struct fab_option export_options[] = {
    {.name = "output",
     .letter = 'o',
     .type = FAB_OPTION_STRING,
     .metavar = "FILE",
     .help = "Write to FILE, which only you may read, instead of standard output."},
    {.name = "force", .help = "Replace FILE if it exists."},
    {.name = NULL},
};

static const struct fab_example export_examples[] = {
    {"fabric workspace export-key lab -o ~/.ipfs/swarm.key", "Lets this machine's Kubo join lab."},
    {"fabric workspace export-key lab | ssh box fabric workspace import-key lab -",
     "Gives the key to another machine without a file."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_workspace_export_key = {
    .name = "workspace export-key",
    .summary = "Print a workspace's swarm key",
    .synopsis = "NAME",
    .description = export_description,
    .options = export_options,
    .examples = export_examples,
    .min_args = 1,
    .max_args = 1,
    .run = run_export,
};

/* ---- workspace import-key ---- */

static enum fab_rc read_key(const char *path, uint8_t out[FAB_SWARM_KEY_SIZE], struct fab_err *err)
{
    uint8_t text[FAB_SWARM_KEY_FILE_MAX + 1];
    size_t n = 0;
    struct fab_err why;
    bool in = strcmp(path, "-") == 0;
    const char *name = in ? "standard input" : path;
    int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fab_err_errno(err, errno, "%s cannot be read", path);
    enum fab_rc rc = fab_fd_read(fd, text, sizeof text, &n); /* a longer one does not parse */
    int saved = errno;
    if (!in)
        close(fd);
    if (rc != FAB_OK) {
        fab_err_errno(err, saved, "%s cannot be read", name);
    } else {
        rc = fab_swarm_key_parse(fab_slice(text, n), out, &why);
        if (rc != FAB_OK)
            fab_err_set(err, rc, "%s: %s", name, why.msg);
    }
    explicit_bzero(text, sizeof text);
    return rc;
}

struct import {
    struct fab_workspace_info info;
    struct fab_epoch_info epoch;
    bool made;  /* the workspace is new */
    bool added; /* the key was not its newest already */
};

static enum fab_rc import_key(struct fab_cli *cli, const char *name, const uint8_t *key,
                              struct import *out, struct fab_err *err)
{
    struct fab_keys keys;
    FAB_TRY(fab_keys_open(cli, &keys, err));
    enum fab_rc rc = fab_workspace_find(cli->store, name, false, &out->info, err);
    out->made = rc == FAB_ENOENT;
    if (out->made)
        rc = fab_workspace_find(cli->store, name, true, &out->info, err);
    if (rc == FAB_OK) {
        rc = fab_keys_add(&keys, out->info.id, key, &out->epoch, err);
        out->added = rc == FAB_OK;
        if (rc == FAB_EEXIST)
            rc = FAB_OK;
    }
    fab_keys_close(&keys);
    return rc;
}

static void print_imported(struct fab_cli *cli, const struct import *import)
{
    const char *name = import->info.name, *fingerprint = import->epoch.fingerprint;
    unsigned long number = import->epoch.number;
    if (cli->json) {
        json_t *object = key_json(&import->info, &import->epoch);
        fab_json_set_bool(object, "made", import->made);
        fab_json_set_bool(object, "added", import->added);
        fab_out_json(object);
    } else if (cli->quiet) {
        fab_out("%s\n", fingerprint);
    } else if (import->made) {
        fab_out("made workspace %s with key %s\n", name, fingerprint);
    } else if (import->added) {
        fab_out("workspace %s: epoch %lu, key %s\n", name, number, fingerprint);
    } else {
        fab_out("workspace %s has this key already: epoch %lu, key %s\n", name, number,
                fingerprint);
    }
}

static int run_import(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct import import = {0};
    uint8_t key[FAB_SWARM_KEY_SIZE];
    enum fab_rc rc = read_key(fab_args_at(args, 1), key, &err);
    if (rc == FAB_OK)
        rc = fab_cli_open(cli, FAB_CLI_STORE, &err);
    if (rc == FAB_OK) {
        rc = import_key(cli, fab_args_at(args, 0), key, &import, &err);
        if (rc == FAB_EINVAL) {
            explicit_bzero(key, sizeof key);
            return fab_target_fail(cli, &err);
        }
    }
    explicit_bzero(key, sizeof key);
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    print_imported(cli, &import);
    return FAB_EXIT_OK;
}

static const char *const import_description[] = {
    "Takes a swarm key from a file swarm.key, of Kubo or of `fabric workspace export-key`, or from "
    "standard input. A workspace that is new is made with it; one that has a key gets it as its "
    "newest, and the one before is taken for another 7 days.",
    "With --quiet only the key's fingerprint. With --json: name, epoch, fingerprint, made (the "
    "workspace is new), added (false when it was the newest key already).",
    NULL,
};

static const struct fab_example import_examples[] = {
    {"fabric workspace import-key lab swarm.key", "Joins the swarm lab with a key from elsewhere."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_workspace_import_key = {
    .name = "workspace import-key",
    .summary = "Make a workspace of a swarm key, or renew its key",
    .synopsis = "NAME FILE|-",
    .description = import_description,
    .examples = import_examples,
    .min_args = 2,
    .max_args = 2,
    .tells_daemon = true,
    .run = run_import,
};

/* ---- workspace rotate-key ---- */

static enum fab_rc rotate(struct fab_cli *cli, const struct fab_workspace_info *info,
                          struct fab_epoch_info *epoch, struct fab_err *err)
{
    struct fab_keys keys;
    struct fab_epoch_info epochs[FAB_KEY_EPOCHS_MAX];
    size_t n = 0;
    FAB_TRY(fab_keys_open(cli, &keys, err));
    enum fab_rc rc = fab_keys_info(&keys, info->id, epochs, &n, err);
    if (rc == FAB_OK && n == 0)
        rc = no_key(info, err);
    if (rc == FAB_OK)
        rc = fab_keys_add(&keys, info->id, NULL, epoch, err);
    fab_keys_close(&keys);
    return rc;
}

static int run_rotate(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    struct fab_epoch_info epoch;
    char text[FAB_UTC_MAX];
    if (open_workspace(cli, args, &info, &err) != FAB_OK ||
        rotate(cli, &info, &epoch, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    int64_t until = epoch.created + FAB_KEY_GRACE_S;
    if (cli->json) {
        json_t *object = key_json(&info, &epoch);
        fab_json_set_json(object, "previous_until", json_integer(until));
        fab_out_json(object);
    } else if (cli->quiet) {
        fab_out("%s\n", epoch.fingerprint);
    } else {
        fab_out("workspace %s: epoch %lu, key %s; the one before is taken until %s\n", info.name,
                (unsigned long)epoch.number, epoch.fingerprint, fab_utc_text(until, text));
    }
    return FAB_EXIT_OK;
}

static const char *const rotate_description[] = {
    "Gives the workspace a new random swarm key. This machine dials with it from now on, and takes "
    "the one before for another 7 days: until then carry the new one to the other machines with "
    "`fabric workspace export-key` and `import-key`, and nobody is cut off meanwhile. Machines "
    "that "
    "do not get it are out then.",
    "With --quiet only the new key's fingerprint. With --json: name, epoch, fingerprint, and "
    "previous_until (seconds since 1970).",
    NULL,
};

const struct fab_command fab_cmd_workspace_rotate_key = {
    .name = "workspace rotate-key",
    .summary = "Give a workspace a new swarm key",
    .synopsis = "NAME",
    .description = rotate_description,
    .min_args = 1,
    .max_args = 1,
    .tells_daemon = true,
    .run = run_rotate,
};

/* ---- workspace admit, workspace expel ---- */

static enum fab_rc parse_peer(const char *text, struct fab_peer_id *out, struct fab_err *err)
{
    if (fab_peer_id_from_text(text, strlen(text), out) == FAB_OK)
        return FAB_OK;
    return fab_err_set(err, FAB_EINVAL, "'%s' is not a peer ID; `fabric id` prints one", text);
}

static enum fab_rc change_one(struct fab_cli *cli, const struct fab_workspace_info *info,
                              const struct fab_peer_id *peer, bool admit, struct fab_err *err)
{
    char text[FAB_PEER_ID_TEXT_MAX];
    fab_peer_id_text(peer, text);
    enum fab_rc rc = admit ? fab_admit(cli->store, info->id, peer, err)
                           : fab_expel(cli->store, info->id, peer, err);
    bool changed = rc == FAB_OK;
    if (rc == FAB_EEXIST)
        rc = FAB_OK;
    FAB_TRY(rc);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "name", info->name);
        fab_json_set_text(object, "peer", text);
        fab_json_set_bool(object, "changed", changed);
        fab_out_json_line(object);
    } else if (cli->quiet) {
        fab_out("%s\n", text);
    } else {
        fab_out("%s %s\n",
                !admit    ? "expelled"
                : changed ? "admitted"
                          : "was admitted already",
                text);
    }
    return FAB_OK;
}

static void remark(struct fab_cli *cli, const struct fab_workspace_info *info)
{
    enum fab_admission mode;
    if (fab_admission_get(cli->store, info->id, &mode) == FAB_OK && mode == FAB_ADMIT_KEY)
        fab_cli_note(cli,
                     "workspace %s admits whoever has its key; `fabric workspace set %s --admit "
                     "list` makes the list count",
                     info->name, info->name);
}

static int change(struct fab_cli *cli, const struct fab_args *args, bool admit)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    struct fab_peer_id peer;
    size_t n = fab_args_count(args);
    for (size_t i = 1; i < n; i++) /* before anything is changed */
        if (parse_peer(fab_args_at(args, i), &peer, &err) != FAB_OK)
            return fab_target_fail(cli, &err);
    if (open_workspace(cli, args, &info, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    for (size_t i = 1; i < n; i++)
        if (parse_peer(fab_args_at(args, i), &peer, &err) != FAB_OK ||
            change_one(cli, &info, &peer, admit, &err) != FAB_OK)
            return fab_target_fail(cli, &err);
    remark(cli, &info);
    return FAB_EXIT_OK;
}

static int run_admit(struct fab_cli *cli, const struct fab_args *args)
{
    return change(cli, args, true);
}

static int run_expel(struct fab_cli *cli, const struct fab_args *args)
{
    return change(cli, args, false);
}

static const char *const admit_description[] = {
    "Puts peers on the workspace's list. They still need its swarm key. The list counts once the "
    "workspace admits by it (`fabric workspace set NAME --admit list`). One that is on it already "
    "is no failure.",
    "With --quiet only the peer IDs. With --json one line per peer: name, peer, changed.",
    NULL,
};

const struct fab_command fab_cmd_workspace_admit = {
    .name = "workspace admit",
    .summary = "Let peers into a workspace by their IDs",
    .synopsis = "NAME PEERID...",
    .description = admit_description,
    .min_args = 2,
    .max_args = FAB_ARGS_ANY,
    .tells_daemon = true,
    .run = run_admit,
};

static const char *const expel_description[] = {
    "Takes peers off the workspace's list. Where it admits by list, a running daemon ends their "
    "connections within a second; `fabric workspace rotate-key` makes it final, since they still "
    "hold the old key.",
    "With --quiet only the peer IDs. With --json one line per peer: name, peer, changed.",
    NULL,
};

const struct fab_command fab_cmd_workspace_expel = {
    .name = "workspace expel",
    .summary = "Take peers off a workspace's list",
    .synopsis = "NAME PEERID...",
    .description = expel_description,
    .min_args = 2,
    .max_args = FAB_ARGS_ANY,
    .tells_daemon = true,
    .run = run_expel,
};
