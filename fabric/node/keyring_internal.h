/* What the files of the keyring share: the tables' names and keys. Every key begins with the
 * workspace's number, big-endian, so one workspace is one range of each table. */
#ifndef FAB_NODE_KEYRING_INTERNAL_H
#define FAB_NODE_KEYRING_INTERNAL_H

#include "fabric/node/keyring.h"

#include <string.h>

#define TABLE_KEYS      "swarmkey"
#define TABLE_ADMISSION "admitmode"
#define TABLE_ADMITTED  "admitted"
#define TABLE_BOOK      "book"

#define WS_KEY_SIZE   4 /* bytes */
#define PEER_KEY_SIZE (WS_KEY_SIZE + FAB_PEER_ID_MAX)

static inline void be_put(uint8_t *p, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static inline struct fab_slice ws_key(uint32_t ws, uint8_t bytes[WS_KEY_SIZE])
{
    be_put(bytes, WS_KEY_SIZE, ws);
    return fab_slice(bytes, WS_KEY_SIZE);
}

/* FAB_EINVAL for what is no peer. */
FAB_MUST static inline enum fab_rc peer_key(uint32_t ws, const struct fab_peer_id *peer,
                                            uint8_t bytes[PEER_KEY_SIZE], struct fab_slice *out)
{
    if (peer->len == 0 || peer->len > FAB_PEER_ID_MAX)
        return FAB_EINVAL;
    be_put(bytes, WS_KEY_SIZE, ws);
    memcpy(bytes + WS_KEY_SIZE, peer->mh, peer->len);
    *out = fab_slice(bytes, WS_KEY_SIZE + (size_t)peer->len);
    return FAB_OK;
}

/* The peer that such a key names. FAB_EFORMAT. */
FAB_MUST static inline enum fab_rc peer_of_key(struct fab_slice key, struct fab_peer_id *out)
{
    if (key.n <= WS_KEY_SIZE)
        return FAB_EFORMAT;
    return fab_peer_id_from_bytes(fab_slice(key.p + WS_KEY_SIZE, key.n - WS_KEY_SIZE), out);
}

#endif
