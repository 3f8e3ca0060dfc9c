/* Content identifiers, version 0 and 1 (multiformats/cid), and the multihash inside them.
 *
 * A CID is a version, a multicodec (how to read the block) and a multihash (which bytes). Blocks
 * are stored by multihash alone. Text forms: v0 is base58btc without prefix; v1 is written in
 * base32 and read in every multibase that multibase.h knows. */
#ifndef FAB_MULTIFORMATS_CID_H
#define FAB_MULTIFORMATS_CID_H

#include "storage/base/bytes.h"

/* Multicodec table (multiformats/multicodec). */
#define FAB_CODEC_RAW        0x55
#define FAB_CODEC_DAG_PB     0x70
#define FAB_CODEC_DAG_CBOR   0x71
#define FAB_CODEC_LIBP2P_KEY 0x72
#define FAB_CODEC_DAG_JSON   0x0129

#define FAB_MH_IDENTITY    0x00
#define FAB_MH_SHA2_256    0x12
#define FAB_MH_SHA2_512    0x13
#define FAB_MH_BLAKE2B_256 0xb220

#define FAB_DIGEST_MAX   128 /* bytes of digest, as Kubo's verifcid allows */
#define FAB_MH_MAX       (FAB_DIGEST_MAX + 12)
#define FAB_CID_MAX      (FAB_MH_MAX + 20) /* bytes of a binary CID */
#define FAB_CID_TEXT_MAX 288 /* bytes of the text form in base32 or base58, with the NUL */

struct fab_cid {
    uint64_t codec;
    uint8_t version;        /* 0 or 1 */
    uint8_t mh_len;         /* bytes of mh in use */
    uint8_t mh[FAB_MH_MAX]; /* binary multihash: varint code, varint length, digest */
};

/* Hash `data` with the multihash function `mh_code` and make the CID. Version 0 demands dag-pb and
 * sha2-256 (FAB_EINVAL). FAB_EUNSUPPORTED for a hash function that this build does not compute;
 * FAB_ELIMIT for identity over FAB_DIGEST_MAX bytes. */
FAB_MUST enum fab_rc fab_cid_of(unsigned version, uint64_t codec, uint64_t mh_code,
                                struct fab_slice data, struct fab_cid *out);

/* FAB_OK when `data` has the hash in `cid`, FAB_EHASH when not, FAB_EUNSUPPORTED for a function
 * that this build does not compute. */
FAB_MUST enum fab_rc fab_cid_check(const struct fab_cid *cid, struct fab_slice data);

/* Read one binary CID from the front of `r` (v0: 34 bytes 12 20 ...; else v1). FAB_EFORMAT,
 * FAB_ELIMIT. The reader moves only on success. */
FAB_MUST enum fab_rc fab_cid_read(struct fab_reader *r, struct fab_cid *out);
/* Parse bytes that are exactly one binary CID. */
FAB_MUST enum fab_rc fab_cid_parse(struct fab_slice s, struct fab_cid *out);
/* Write the binary form; `out` has room for FAB_CID_MAX bytes; gives the number of bytes. */
size_t fab_cid_bytes(const struct fab_cid *cid, uint8_t out[FAB_CID_MAX]);

/* Parse text of n bytes (no "/ipfs/" prefix here). FAB_EFORMAT. */
FAB_MUST enum fab_rc fab_cid_from_text(const char *text, size_t n, struct fab_cid *out);
/* The usual text form with a NUL (v0 base58btc, v1 base32); gives its length. A CID whose text
 * would not fit in FAB_CID_TEXT_MAX cannot exist (fab_cid_read limits it). */
size_t fab_cid_text(const struct fab_cid *cid, char out[FAB_CID_TEXT_MAX]);

bool fab_cid_eq(const struct fab_cid *a, const struct fab_cid *b);
/* The multihash as key of the block store. */
struct fab_slice fab_cid_mh(const struct fab_cid *cid);
/* The hash function's code and the digest. Borrowed from `cid`. */
uint64_t fab_cid_mh_code(const struct fab_cid *cid);
struct fab_slice fab_cid_digest(const struct fab_cid *cid);

#endif
