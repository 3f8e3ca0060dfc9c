/* pnet: the pre-shared key layer right above TCP (libp2p/specs pnet/Private-Networks-PSK-V1).
 *
 * Each side sends 24 random bytes, its nonce, in clear; all that it sends after them is XORed with
 * XSalsa20(swarm key, its nonce), one keystream per direction, without framing or authentication.
 *
 * Both directions of a connection are a struct fab_pnet_cipher. A listener with several swarm keys
 * first finds the dialer's with struct fab_pnet_select. A dialer reads FAB_PNET_NONCE_SIZE bytes
 * and starts its reading cipher with them; multistream then shows a wrong key in its first byte. */
#ifndef FAB_SWARM_PNET_H
#define FAB_SWARM_PNET_H

#include "fabric/swarm/swarm_key.h"

#define FAB_PNET_NONCE_SIZE 24
#define FAB_PNET_KEYS_MAX   256 /* keys that one selection chooses among */

struct fab_pnet_cipher {
    uint8_t subkey[32]; /* HSalsa20 of the key and the nonce's first 16 bytes */
    uint8_t nonce[8];   /* its last 8 */
    uint64_t block;     /* the next 64-byte block of the keystream */
    uint8_t rest[64];   /* the block before it; its last `left` bytes are unused */
    uint8_t left;
};

/* The start of one direction's keystream. `key` and `nonce` are copied. */
void fab_pnet_cipher_init(struct fab_pnet_cipher *c, const uint8_t key[FAB_SWARM_KEY_SIZE],
                          const uint8_t nonce[FAB_PNET_NONCE_SIZE]);

/* Encrypt or decrypt the next `n` bytes of the stream in place. Any split of a stream into calls
 * gives the same bytes. */
void fab_pnet_cipher_xor(struct fab_pnet_cipher *c, uint8_t *buf, size_t n);

/* Wipe. */
void fab_pnet_cipher_fini(struct fab_pnet_cipher *c);

/* Which of N keys did the dialer use? Its nonce and then 20 bytes are read, which must decrypt to
 * the multistream header "\x13/multistream/1.0.0\n". Byte by byte the keys that do not fit drop
 * out: with no key left the answer is there at once, on average in the first or second byte. The
 * keys are tried in time linear in their number, about 400 ns each, once (again only for those that
 * still fit). No allocation, no secret is kept. */
struct fab_pnet_select {
    uint8_t seen[FAB_PNET_NONCE_SIZE + 20]; /* what came, undecrypted */
    uint8_t count;                          /* bytes of it */
    uint8_t tried;                          /* bytes behind the nonce that were compared */
    uint64_t fits[FAB_PNET_KEYS_MAX / 64];  /* bit i: key i fits what was compared */
};

void fab_pnet_select_init(struct fab_pnet_select *s);

/* Take bytes as they arrive. `keys` holds `n` (1 to FAB_PNET_KEYS_MAX) pointers to 32-byte keys:
 * the same ones in the same order at every call of one selection. When the list changes meanwhile,
 * call fab_pnet_select_restart and go on.
 *
 * FAB_OK: `*out` is the index of the key (the first, should two be equal). Exactly the nonce and
 * the header were consumed; what is behind them is left in `in`. FAB_EBUSY: all was consumed, more
 * is needed. FAB_ENOENT: no key fits; close. FAB_EINVAL for n out of its range. */
FAB_MUST enum fab_rc fab_pnet_select_input(struct fab_pnet_select *s, const uint8_t *const *keys,
                                           size_t n, struct fab_reader *in, size_t *out);

/* Consider all keys again with the bytes that came so far (at the next input, which may be empty).
 */
void fab_pnet_select_restart(struct fab_pnet_select *s);

/* After FAB_OK: start the reading cipher with the key that was found, positioned behind the 20
 * header bytes. The header was eaten by the selection but belongs to multistream: give
 * FAB_MULTISTREAM_HEADER (multistream.h) to fab_multistream_input before the decrypted bytes. */
void fab_pnet_select_cipher(const struct fab_pnet_select *s, const uint8_t key[FAB_SWARM_KEY_SIZE],
                            struct fab_pnet_cipher *out);

#endif
