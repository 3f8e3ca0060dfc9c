/* Multihash (multiformats/multihash): a hash function's code, the digest's length, the digest.
 *
 * Computed here: sha2-256 and sha2-512 (OpenSSL), blake2b-256 (libsodium), identity. Others are
 * carried, compared and stored, but not computed. Any thread; each keeps its own hashing context.
 */
#ifndef FAB_MULTIFORMATS_MULTIHASH_H
#define FAB_MULTIFORMATS_MULTIHASH_H

#include "storage/multiformats/cid.h"

/* The digest of `data`: `n` bytes are written to `out`. FAB_EUNSUPPORTED for a function that is not
 * computed here, FAB_ELIMIT for identity over FAB_DIGEST_MAX bytes, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_mh_digest(uint64_t code, struct fab_slice data,
                                   uint8_t out[FAB_DIGEST_MAX], size_t *n);

/* SHA-256 alone, for names that are not CIDs. */
FAB_MUST enum fab_rc fab_sha256(struct fab_slice data, uint8_t out[32]);

/* Write the binary multihash of a digest of at most FAB_DIGEST_MAX bytes; `code` is below 2^63.
 * Gives the number of bytes. */
size_t fab_mh_put(uint64_t code, struct fab_slice digest, uint8_t out[FAB_MH_MAX]);

/* Read one binary multihash from the front of `r`. `whole` (code, length and digest) and `digest`
 * are borrowed from the reader's bytes; any output may be NULL. FAB_EFORMAT, or FAB_ELIMIT for a
 * digest over FAB_DIGEST_MAX bytes. The reader moves only on success. */
FAB_MUST enum fab_rc fab_mh_read(struct fab_reader *r, uint64_t *code, struct fab_slice *digest,
                                 struct fab_slice *whole);

#endif
