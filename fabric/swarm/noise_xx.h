/* The handshake Noise_XX_25519_ChaChaPoly_SHA256 (noiseprotocol.org, rev 34), with any prologue and
 * payloads; what libp2p puts in them is noise.h's. Messages are here without lengths.
 *
 *     0  initiator  e
 *     1  responder  e, ee, s, es
 *     2  initiator  s, se */
#ifndef FAB_SWARM_NOISE_XX_H
#define FAB_SWARM_NOISE_XX_H

#include "storage/base/bytes.h"

#define FAB_NOISE_DH    32 /* bytes of an X25519 key, of a hash, and of a cipher key */
#define FAB_NOISE_STEPS 3

struct fab_noise_xx {
    bool initiator, keyed;
    unsigned step; /* messages written and read */
    uint64_t nonce;
    uint8_t ck[FAB_NOISE_DH], h[FAB_NOISE_DH], k[FAB_NOISE_DH];
    uint8_t s[FAB_NOISE_DH], s_public[FAB_NOISE_DH]; /* our static and ephemeral keys */
    uint8_t e[FAB_NOISE_DH], e_public[FAB_NOISE_DH];
    uint8_t rs[FAB_NOISE_DH], re[FAB_NOISE_DH]; /* the remote's public ones, as they arrive */
};

/* The secrets are copied. */
void fab_noise_xx_init(struct fab_noise_xx *xx, bool initiator, const uint8_t s[FAB_NOISE_DH],
                       const uint8_t e[FAB_NOISE_DH], struct fab_slice prologue);
void fab_noise_xx_wipe(struct fab_noise_xx *xx);

/* Append the next message with that payload. FAB_EINVAL: it is the remote's turn, or the handshake
 * is over; FAB_EFORMAT: the remote's key gives the all-zero shared secret; FAB_ELIMIT, FAB_ENOMEM.
 * After an error the handshake cannot go on. */
FAB_MUST enum fab_rc fab_noise_xx_write(struct fab_noise_xx *xx, struct fab_slice payload,
                                        struct fab_buf *out);

/* Take the next message and append its payload. Errors as above; FAB_EFORMAT also for a message
 * that is too short or not genuine. */
FAB_MUST enum fab_rc fab_noise_xx_read(struct fab_noise_xx *xx, struct fab_slice message,
                                       struct fab_buf *payload);

/* After the last message: the keys of the two directions. */
void fab_noise_xx_split(const struct fab_noise_xx *xx, uint8_t send[FAB_NOISE_DH],
                        uint8_t receive[FAB_NOISE_DH]);

#endif
