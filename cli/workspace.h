/* What the `workspace` commands share: a workspace with its keys, and how both are shown. Swarm
 * keys are wiped; only `workspace export-key` prints one. */
#ifndef FAB_CLI_WORKSPACE_H
#define FAB_CLI_WORKSPACE_H

#include "cli/command.h"
#include "cli/output.h"
#include "fabric/node/keyring.h"

struct fab_keys {
    struct fab_key *identity;
    struct fab_keyring *ring;
};
/* The home's keyring; the store is open. Close in every case after success. */
FAB_MUST enum fab_rc fab_keys_open(struct fab_cli *cli, struct fab_keys *out, struct fab_err *err);
void fab_keys_close(struct fab_keys *keys);

/* Epochs without their keys: what may be shown. */
struct fab_epoch_info {
    uint32_t number;
    int64_t created, replaced; /* seconds since 1970; replaced 0: the newest */
    char fingerprint[FAB_SWARM_KEY_FINGERPRINT_SIZE];
};
FAB_MUST enum fab_rc fab_keys_info(const struct fab_keys *keys, uint32_t ws,
                                   struct fab_epoch_info out[FAB_KEY_EPOCHS_MAX], size_t *n,
                                   struct fab_err *err);
/* Make 32 random bytes, or take `key`, and add it as the newest epoch. FAB_EEXIST as
 * fab_keyring_add; *out is the newest epoch then too. */
FAB_MUST enum fab_rc fab_keys_add(const struct fab_keys *keys, uint32_t ws, const uint8_t *key,
                                  struct fab_epoch_info *out, struct fab_err *err);

/* "key" or "list". */
const char *fab_admission_text(enum fab_admission mode);
/* The value of --admit; `otherwise` without one. False for one that is no admission, reported. */
bool fab_admission_arg(struct fab_cli *cli, const struct fab_args *args,
                       enum fab_admission otherwise, enum fab_admission *out);

#define FAB_UTC_MAX 32
/* "2026-11-28 02:00:00 UTC". Gives `out`. */
const char *fab_utc_text(int64_t seconds, char out[FAB_UTC_MAX]);

#endif
