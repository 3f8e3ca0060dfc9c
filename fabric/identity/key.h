/* A node's own identity: an Ed25519 key pair, whose public half makes its peer ID.
 *
 * The secret lives in sodium_malloc memory (guarded, locked where the system allows, wiped when
 * freed). Stored as libp2p stores it: PrivateKey{Type=1, Data=2} with seed and public key as Data
 * (libp2p/specs peer-ids, "Ed25519"). After it is made a key is read-only and may be used from any
 * thread. */
#ifndef FAB_IDENTITY_KEY_H
#define FAB_IDENTITY_KEY_H

#include "fabric/identity/peer_id.h"
#include "fabric/identity/public_key.h"

#define FAB_KEY_SEED_SIZE   32 /* bytes */
#define FAB_KEY_SIG_SIZE    64
#define FAB_KEY_PUBLIC_SIZE 36 /* bytes of the public protobuf form */
#define FAB_KEY_PROTO_SIZE  68 /* bytes of the private protobuf form */

struct fab_key;

/* A new key from the system's randomness (the one function of this folder that asks for it).
 * FAB_ENOMEM; FAB_EIO when libsodium cannot start. Release with fab_key_free. */
FAB_MUST enum fab_rc fab_key_generate(struct fab_key **out);

/* The key of a seed (RFC 8032), which stays the caller's to wipe. Errors as above. */
FAB_MUST enum fab_rc fab_key_from_seed(const uint8_t seed[FAB_KEY_SEED_SIZE], struct fab_key **out);

/* From the private protobuf form: Data of 64 bytes (seed, public key) or of 96 (the public key once
 * more, as old versions wrote). FAB_EFORMAT for malformed bytes or halves that do not belong
 * together; FAB_EUNSUPPORTED for another key type; else as above. `proto` stays the caller's to
 * wipe. */
FAB_MUST enum fab_rc fab_key_from_proto(struct fab_slice proto, struct fab_key **out);

/* Append the private protobuf form (FAB_KEY_PROTO_SIZE bytes, the 64-byte Data). The caller wipes
 * it, and makes `out` empty or with that much room reserved, so that growing leaves no copy behind.
 * FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_key_proto(const struct fab_key *key, struct fab_buf *out);

/* The public protobuf form, borrowed from `key`. */
struct fab_slice fab_key_public_proto(const struct fab_key *key);

/* The peer ID, borrowed from `key`. */
const struct fab_peer_id *fab_key_peer_id(const struct fab_key *key);

/* Sign a message (Ed25519, deterministic). */
void fab_key_sign(const struct fab_key *key, struct fab_slice message,
                  uint8_t out[FAB_KEY_SIG_SIZE]);

/* Wipe and release. NULL is allowed. */
void fab_key_free(struct fab_key *key);

#endif
