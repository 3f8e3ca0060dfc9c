/* Noise_XX_25519_ChaChaPoly_SHA256 as libp2p uses it (libp2p specs noise/README.md, with early
 * muxer negotiation from connections/inlined-muxer-negotiation.md): mutual proof of peer IDs, then
 * encrypted frames.
 *
 *     initiator                                     responder
 *     start      ── 1: e ──────────────────────▶    handshake
 *     handshake  ◀── 2: e, ee, s, es, payload ──    (appends 2)
 *     (appends 3, ready)
 *                ── 3: s, se, payload ──────────▶   handshake, ready
 *
 * On the wire every message, of the handshake and after it, is its length as two big-endian bytes,
 * then the message. The core does no I/O and takes its randomness from the caller. After an error
 * of a call that was made at the right moment the connection must end: later calls give FAB_EINVAL.
 */
#ifndef FAB_SWARM_NOISE_H
#define FAB_SWARM_NOISE_H

#include "fabric/identity/key.h"
#include "storage/base/bytes.h"

#define FAB_NOISE_PROTOCOL      "/noise"
#define FAB_NOISE_HEAD          2     /* bytes of a frame's length */
#define FAB_NOISE_TAG           16    /* bytes after a frame's ciphertext */
#define FAB_NOISE_PLAIN_MAX     65519 /* plaintext bytes of the largest frame */
#define FAB_NOISE_MESSAGE_MAX   65535 /* bytes of the largest message, without its length */
#define FAB_NOISE_HANDSHAKE_MAX 4096  /* bytes of the largest handshake message taken, likewise */
#define FAB_NOISE_MUXERS_MAX    8     /* muxers offered by us */
#define FAB_NOISE_SECRET        32    /* bytes */

enum fab_noise_role { FAB_NOISE_INITIATOR, FAB_NOISE_RESPONDER };

struct fab_noise;

struct fab_noise_config {
    enum fab_noise_role role;
    const struct fab_key *key; /* our identity; borrowed until the handshake is over */
    /* X25519 secrets, FAB_NOISE_SECRET bytes of fresh randomness each, copied by fab_noise_new; for
       the caller to wipe. */
    const uint8_t *static_secret, *ephemeral_secret;
    /* Our muxers, best first, at most FAB_NOISE_MUXERS_MAX; the array and its strings are borrowed
       for the life of the noise. None: the extension is not sent. */
    const char *const *muxers;
    size_t n_muxers;
    const struct fab_peer_id *expected; /* NULL: anyone; copied */
};

/* FAB_EINVAL (too many muxers, a missing secret or key), FAB_ENOMEM. Release with fab_noise_free.
 */
FAB_MUST enum fab_rc fab_noise_new(const struct fab_noise_config *config, struct fab_noise **out);

/* Wipe the keys and free. NULL is allowed. */
void fab_noise_free(struct fab_noise *noise);

/* The initiator's first step: append message 1 with its length. FAB_EINVAL for a responder or a
 * second call; FAB_ELIMIT, FAB_ENOMEM from `out`. */
FAB_MUST enum fab_rc fab_noise_start(struct fab_noise *noise, struct fab_buf *out);

/* Take one whole handshake message, without its length, and append the reply, if there is one, with
 * its length. `out` is unchanged on an error.
 * FAB_EFORMAT: malformed, tampered with, an all-zero shared secret, or an identity without a valid
 * signature. FAB_ELIMIT: over FAB_NOISE_HANDSHAKE_MAX, or `out` is full. FAB_EACCES: the remote
 * proved an identity, but not the expected one. FAB_EUNSUPPORTED: a type of identity key that
 * fab_public_verify does not know. FAB_EINVAL: not a moment for a message. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_noise_handshake(struct fab_noise *noise, struct fab_slice message,
                                         struct fab_buf *out);

/* Whether the handshake is complete and nothing failed: frames may be sealed and opened. The
 * responder is ready after message 3, the initiator once it appended it. */
bool fab_noise_ready(const struct fab_noise *noise);

/* The peer ID that the remote proved; NULL before. It is also there after FAB_EACCES, to be
 * reported. Valid until the noise is freed. */
const struct fab_peer_id *fab_noise_remote(const struct fab_noise *noise);

/* The remote's public key as protobuf (specs peer-ids); empty before it is proved. Valid until the
 * noise is freed. */
struct fab_slice fab_noise_remote_key(const struct fab_noise *noise);

/* The index into our muxers of the one agreed on in the handshake, the first of the initiator's
 * that both have; -1: none, so the muxer is to be negotiated by multistream. Once ready. */
int fab_noise_muxer(const struct fab_noise *noise);

/* Make a frame in place. `frame` holds FAB_NOISE_HEAD bytes of room, n bytes of plaintext (0 to
 * FAB_NOISE_PLAIN_MAX), and FAB_NOISE_TAG bytes of room; all FAB_NOISE_HEAD + n + FAB_NOISE_TAG of
 * them are written, and are to be sent in the order of sealing. FAB_EINVAL: not ready, or n too
 * large (nothing happened); FAB_ELIMIT: 2^64 - 1 frames are used up; FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_noise_seal(struct fab_noise *noise, uint8_t *frame, size_t n);

/* Open a frame in place: `body` is the n bytes (FAB_NOISE_TAG to FAB_NOISE_MESSAGE_MAX) after the
 * length, and `plain` lies in it, n - FAB_NOISE_TAG bytes, possibly none. FAB_EFORMAT: too short,
 * or not what the remote sealed next (the body's content is then lost); FAB_EINVAL: not ready;
 * FAB_ELIMIT as above; FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_noise_open(struct fab_noise *noise, uint8_t *body, size_t n,
                                    struct fab_slice *plain);

#endif
