/* Salsa20 (D. J. Bernstein, "The Salsa20 family of stream ciphers"), 20 rounds, a 32-byte key:
 * whole blocks of the keystream XORed into a buffer.
 *
 * libsodium's, whose fastest form works on eight blocks at a time, except on a processor with
 * AVX-512: there ours works on sixteen, since every byte of a swarm passes through here twice. */
#ifndef FAB_SWARM_SALSA20_H
#define FAB_SWARM_SALSA20_H

#include <stddef.h>
#include <stdint.h>

#define FAB_SALSA20_BLOCK 64 /* bytes */

/* XOR `blocks` blocks of the keystream, from block `counter` on, into `buf`. */
void fab_salsa20_xor(uint8_t *buf, size_t blocks, const uint8_t nonce[8], uint64_t counter,
                     const uint8_t key[32]);

#endif
