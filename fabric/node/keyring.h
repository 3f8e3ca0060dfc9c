/* The swarm keys of the workspaces, who is admitted, and this node's identity: what is durable of
 * the private swarm. Commands and the daemon share it through the store; several processes may use
 * it at once.
 *
 * A workspace has no key until it is created or given one; then it has epochs, numbered from 1. The
 * newest is dialled with, older ones are still taken until they retire, FAB_KEY_GRACE_S after they
 * were replaced. Keys are sealed in the store (XSalsa20-Poly1305) under a key that is derived from
 * the identity, which lies in HOME/identity (mode 0600): the store alone gives no key away. */
#ifndef FAB_NODE_KEYRING_H
#define FAB_NODE_KEYRING_H

#include "fabric/identity/key.h"
#include "fabric/swarm/swarm_key.h"
#include "storage/store/store.h"

#define FAB_KEY_GRACE_S    (7 * 24 * 3600)
#define FAB_KEY_EPOCHS_MAX 8    /* that are not retired, of one workspace */
#define FAB_ADMITTED_MAX   4096 /* peers on a workspace's list */
#define FAB_IDENTITY_FILE  "identity"

/* Read HOME/identity, or make it (durably, mode 0600) when it is not there. One that others may
 * read or that is malformed is an error with its cure. Release with fab_key_free. */
FAB_MUST enum fab_rc fab_identity_open(const char *home, struct fab_key **out, struct fab_err *err);

struct fab_keyring; /* the store and the sealing key; any one thread at a time */

/* `store` and `identity` are borrowed until fab_keyring_free. */
FAB_MUST enum fab_rc fab_keyring_new(struct fab_store *store, const struct fab_key *identity,
                                     struct fab_keyring **out, struct fab_err *err);
void fab_keyring_free(struct fab_keyring *ring); /* wipes; NULL is allowed */

struct fab_epoch {
    uint32_t number;
    int64_t created;  /* seconds since 1970 */
    int64_t replaced; /* 0: the newest */
    uint8_t key[FAB_SWARM_KEY_SIZE];
};

/* The epochs that are not retired at `now` (seconds since 1970), newest first, into `out`; gives
 * their number in *n (0: no key). The caller wipes `out`. FAB_EACCES when a key does not open with
 * this identity. */
FAB_MUST enum fab_rc fab_keyring_epochs(struct fab_keyring *ring, uint32_t ws, int64_t now,
                                        struct fab_epoch out[FAB_KEY_EPOCHS_MAX], size_t *n,
                                        struct fab_err *err);

/* Add `key` as the newest epoch (FAB_EEXIST when it is already the newest; an older one becomes the
 * newest again), durably. The one before it is replaced at `now`. FAB_ELIMIT: FAB_KEY_EPOCHS_MAX
 * epochs are not retired. *number may be NULL. */
FAB_MUST enum fab_rc fab_keyring_add(struct fab_keyring *ring, uint32_t ws,
                                     const uint8_t key[FAB_SWARM_KEY_SIZE], int64_t now,
                                     uint32_t *number, struct fab_err *err);

/* ---- admission ---- */

enum fab_admission { FAB_ADMIT_KEY = 0, FAB_ADMIT_LIST = 1 };

FAB_MUST enum fab_rc fab_admission_get(struct fab_store *store, uint32_t ws,
                                       enum fab_admission *out);
FAB_MUST enum fab_rc fab_admission_set(struct fab_store *store, uint32_t ws,
                                       enum fab_admission mode, struct fab_err *err);
/* Put on, or take off, the workspace's list. FAB_EEXIST, FAB_ENOENT, FAB_ELIMIT. */
FAB_MUST enum fab_rc fab_admit(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                               struct fab_err *err);
FAB_MUST enum fab_rc fab_expel(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                               struct fab_err *err);
FAB_MUST enum fab_rc fab_admitted(struct fab_store *store, uint32_t ws,
                                  const struct fab_peer_id *peer, bool *out);
FAB_MUST enum fab_rc fab_admitted_each(struct fab_store *store, uint32_t ws,
                                       enum fab_rc (*fn)(void *arg, const struct fab_peer_id *peer),
                                       void *arg);

/* ---- the peer book: where peers were reached ---- */

#define FAB_BOOK_ADDRESSES 8    /* kept per peer, the newest first */
#define FAB_BOOK_PEERS     1024 /* kept per workspace; the longest unseen goes */

struct fab_book_entry {
    struct fab_peer_id peer;
    int64_t seen; /* seconds since 1970: when a connection last stood */
    size_t n;
    struct fab_slice addresses[FAB_BOOK_ADDRESSES]; /* binary multiaddrs without /p2p; borrowed */
};

/* Remember (add to what is known of the peer), not necessarily at once durable. */
FAB_MUST enum fab_rc fab_book_put(struct fab_store *store, uint32_t ws,
                                  const struct fab_book_entry *entry);
FAB_MUST enum fab_rc fab_book_each(struct fab_store *store, uint32_t ws,
                                   enum fab_rc (*fn)(void *arg, const struct fab_book_entry *entry),
                                   void *arg);

/* Forget keys, list, and book of a workspace. */
FAB_MUST enum fab_rc fab_keyring_forget(struct fab_keyring *ring, uint32_t ws, struct fab_err *err);

#endif
