/* One direction of Noise transport (noiseprotocol.org, rev 34, "The CipherState object"): a
 * ChaCha20-Poly1305 key (RFC 8439) and a counter. Frames have no associated data. The context of
 * the cipher is made once; a frame costs no allocation. */
#ifndef FAB_SWARM_NOISE_CIPHER_H
#define FAB_SWARM_NOISE_CIPHER_H

#include "storage/base/bytes.h"

#define FAB_NOISE_KEY 32 /* bytes */

struct evp_cipher_ctx_st;

struct fab_noise_cipher {
    struct evp_cipher_ctx_st *ctx; /* owned */
    uint64_t nonce;                /* of the next frame */
};

/* For sealing, or else for opening; the key is copied. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_noise_cipher_init(struct fab_noise_cipher *c,
                                           const uint8_t key[FAB_NOISE_KEY], bool sealing);
/* Wipes the key. A zeroed struct is allowed. */
void fab_noise_cipher_fini(struct fab_noise_cipher *c);

/* Encrypt n bytes in place; 16 bytes of tag are written behind them. FAB_ELIMIT: the nonces are
 * used up; FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_noise_cipher_seal(struct fab_noise_cipher *c, uint8_t *data, size_t n);

/* Decrypt n bytes in place, which 16 bytes of tag follow. FAB_EFORMAT: not genuine, the bytes are
 * then wiped; FAB_ELIMIT, FAB_ENOMEM as above. */
FAB_MUST enum fab_rc fab_noise_cipher_open(struct fab_noise_cipher *c, uint8_t *data, size_t n);

#endif
