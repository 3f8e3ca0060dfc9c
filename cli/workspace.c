#include "cli/workspace.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

enum fab_rc fab_keys_open(struct fab_cli *cli, struct fab_keys *out, struct fab_err *err)
{
    struct fab_keys keys = {0};
    FAB_TRY(fab_identity_open(cli->home, &keys.identity, err));
    enum fab_rc rc = fab_keyring_new(cli->store, keys.identity, &keys.ring, err);
    if (rc != FAB_OK) {
        fab_key_free(keys.identity);
        return rc;
    }
    *out = keys;
    return FAB_OK;
}

void fab_keys_close(struct fab_keys *keys)
{
    fab_keyring_free(keys->ring);
    fab_key_free(keys->identity);
    *keys = (struct fab_keys){0};
}

static enum fab_rc describe(const struct fab_epoch *epoch, struct fab_epoch_info *out,
                            struct fab_err *err)
{
    *out = (struct fab_epoch_info){
        .number = epoch->number, .created = epoch->created, .replaced = epoch->replaced};
    enum fab_rc rc = fab_swarm_key_fingerprint(epoch->key, out->fingerprint);
    return rc == FAB_OK
               ? rc
               : fab_err_set(err, rc, "the key's fingerprint cannot be made: %s", fab_rc_text(rc));
}

enum fab_rc fab_keys_info(const struct fab_keys *keys, uint32_t ws,
                          struct fab_epoch_info out[FAB_KEY_EPOCHS_MAX], size_t *n,
                          struct fab_err *err)
{
    struct fab_epoch epochs[FAB_KEY_EPOCHS_MAX];
    size_t count = 0;
    enum fab_rc rc = fab_keyring_epochs(keys->ring, ws, time(NULL), epochs, &count, err);
    for (size_t i = 0; rc == FAB_OK && i < count; i++)
        rc = describe(&epochs[i], &out[i], err);
    explicit_bzero(epochs, sizeof epochs);
    if (rc == FAB_OK)
        *n = count;
    return rc;
}

enum fab_rc fab_keys_add(const struct fab_keys *keys, uint32_t ws, const uint8_t *key,
                         struct fab_epoch_info *out, struct fab_err *err)
{
    uint8_t fresh[FAB_SWARM_KEY_SIZE];
    struct fab_epoch_info epochs[FAB_KEY_EPOCHS_MAX];
    size_t n = 0;
    if (!key && getrandom(fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh)
        return fab_err_set(err, FAB_EIO, "the system gives no random bytes");
    char fingerprint[FAB_SWARM_KEY_FINGERPRINT_SIZE];
    enum fab_rc added = fab_swarm_key_fingerprint(key ? key : fresh, fingerprint);
    if (added == FAB_OK)
        added = fab_keyring_add(keys->ring, ws, key ? key : fresh, time(NULL), NULL, err);
    else
        fab_err_set(err, added, "the key's fingerprint cannot be made: %s", fab_rc_text(added));
    explicit_bzero(fresh, sizeof fresh);
    if (added != FAB_OK && added != FAB_EEXIST)
        return added;
    FAB_TRY(fab_keys_info(keys, ws, epochs, &n, err));
    for (size_t i = 0; i < n; i++) { /* another process may have added one since */
        if (strcmp(epochs[i].fingerprint, fingerprint) != 0)
            continue;
        *out = epochs[i];
        return added;
    }
    return fab_err_set(err, FAB_ECHANGED, "another process removed the workspace's keys");
}

const char *fab_admission_text(enum fab_admission mode)
{
    return mode == FAB_ADMIT_LIST ? "list" : "key";
}

bool fab_admission_arg(struct fab_cli *cli, const struct fab_args *args,
                       enum fab_admission otherwise, enum fab_admission *out)
{
    const char *text = fab_args_string(args, "admit");
    *out = otherwise;
    if (!text)
        return true;
    *out = strcmp(text, "list") == 0 ? FAB_ADMIT_LIST : FAB_ADMIT_KEY;
    if (strcmp(text, fab_admission_text(*out)) == 0)
        return true;
    fab_cli_usage(cli, "%s: --admit is 'key' or 'list', not '%s'", cli->command->name, text);
    return false;
}

const char *fab_utc_text(int64_t seconds, char out[FAB_UTC_MAX])
{
    struct tm tm;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || strftime(out, FAB_UTC_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        out[0] = 0;
    return out;
}
