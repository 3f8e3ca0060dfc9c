/* Peer IDs (libp2p/specs peer-ids): the multihash of a peer's public key, as bytes and as text.
 *
 * A key whose protobuf form has at most 42 bytes (Ed25519, secp256k1) stands in the ID itself, as
 * an identity multihash; of a longer one (RSA, ECDSA) the ID holds the sha2-256. Nothing here
 * allocates. */
#ifndef FAB_IDENTITY_PEER_ID_H
#define FAB_IDENTITY_PEER_ID_H

#include "storage/base/bytes.h"

#define FAB_PEER_ID_MAX      44 /* bytes of the longest multihash that is a peer ID */
#define FAB_PEER_ID_TEXT_MAX 64 /* bytes of the base58btc text with its NUL */

struct fab_peer_id {
    uint8_t len;    /* bytes of mh in use; 0 in a zeroed struct, which is no peer */
    uint8_t mh[64]; /* binary multihash; zero behind len */
};

/* The ID of a public key in its protobuf form. FAB_EFORMAT for bytes that fab_public_parse
 * (public_key.h) refuses, so that no key has two IDs; FAB_EUNSUPPORTED for a key type that no
 * specification knows; FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_peer_id_of_public(struct fab_slice public_proto, struct fab_peer_id *out);

/* From bytes that are exactly one multihash: identity of at most 42 bytes that are a public key, or
 * sha2-256. FAB_EFORMAT for all else. */
FAB_MUST enum fab_rc fab_peer_id_from_bytes(struct fab_slice mh, struct fab_peer_id *out);

/* The multihash, borrowed from `id`. */
struct fab_slice fab_peer_id_bytes(const struct fab_peer_id *id);

/* The public key's protobuf form where the ID holds it, borrowed from `id`; FAB_ENOENT where it
 * holds only a hash. */
FAB_MUST enum fab_rc fab_peer_id_public(const struct fab_peer_id *id, struct fab_slice *out);

/* From a text of n characters: base58btc (12D3KooW..., Qm...) or a CIDv1 with codec libp2p-key in
 * any multibase. FAB_EFORMAT. */
FAB_MUST enum fab_rc fab_peer_id_from_text(const char *text, size_t n, struct fab_peer_id *out);
/* The base58btc text with a NUL; gives its length, which is 0 for a zeroed struct. */
size_t fab_peer_id_text(const struct fab_peer_id *id, char out[FAB_PEER_ID_TEXT_MAX]);

bool fab_peer_id_eq(const struct fab_peer_id *a, const struct fab_peer_id *b);
/* memcmp order of the multihashes, the shorter first when one is a prefix of the other. */
int fab_peer_id_cmp(const struct fab_peer_id *a, const struct fab_peer_id *b);

#endif
