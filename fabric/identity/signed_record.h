/* Signed peer records: which addresses a peer says it has, signed by it, so that others may pass
 * them on (libp2p/specs RFC 0002 signed envelopes, RFC 0003 address records).
 *
 *   Envelope   { PublicKey public_key=1; bytes payload_type=2 (03 01); bytes payload=3;
 *                bytes signature=5 }
 *   PeerRecord { bytes peer_id=1; uint64 seq=2; repeated { bytes multiaddr=1 } addresses=3 }
 *
 * The signature is over "libp2p-peer-record", the payload type and the payload, each behind its
 * length as a varint. */
#ifndef FAB_IDENTITY_SIGNED_RECORD_H
#define FAB_IDENTITY_SIGNED_RECORD_H

#include "fabric/identity/key.h"

#define FAB_SIGNED_RECORD_MAX       8192 /* bytes of an envelope */
#define FAB_SIGNED_RECORD_ADDRS_MAX 64

struct fab_signed_record {
    struct fab_peer_id peer;
    uint64_t seq; /* later records of a peer have a higher one */
    size_t addr_count;
    struct fab_slice addrs[FAB_SIGNED_RECORD_ADDRS_MAX]; /* valid binary multiaddrs, borrowed from
                                                            the envelope's bytes */
};

/* Make, sign and append the envelope with our addresses (binary multiaddrs, `n` of them).
 * FAB_EINVAL for an invalid address; FAB_ELIMIT for more than the limits above or a full `out`;
 * FAB_ENOMEM. `out` is unchanged on failure. */
FAB_MUST enum fab_rc fab_signed_record_encode(const struct fab_key *key, uint64_t seq,
                                              const struct fab_slice *addrs, size_t n,
                                              struct fab_buf *out);

/* Check and take apart an envelope. Addresses of protocols that this program does not know are left
 * out. FAB_EFORMAT for malformed bytes, another payload type, or a record of another peer than the
 * signer; FAB_EACCES for a wrong signature; FAB_ELIMIT for more than the limits above;
 * FAB_EUNSUPPORTED, FAB_ENOMEM from the key. */
FAB_MUST enum fab_rc fab_signed_record_decode(struct fab_slice envelope,
                                              struct fab_signed_record *out);

#endif
