/* What libp2p puts into messages 2 and 3 of the Noise handshake (specs noise/README.md):
 *
 *     NoiseHandshakePayload{ bytes identity_key=1; bytes identity_sig=2; NoiseExtensions
 * extensions=4 } NoiseExtensions{ repeated bytes webtransport_certhashes=1; repeated string
 * stream_muxers=2 } */
#ifndef FAB_SWARM_NOISE_PAYLOAD_H
#define FAB_SWARM_NOISE_PAYLOAD_H

#include "storage/base/bytes.h"

#define FAB_NOISE_PAYLOAD_MUXERS_MAX 32

struct fab_noise_payload {
    struct fab_slice identity_key; /* protobuf PublicKey */
    struct fab_slice identity_sig;
    struct fab_slice muxers[FAB_NOISE_PAYLOAD_MUXERS_MAX];
    size_t n_muxers;
};

/* Append. The extensions are left out when there are no muxers. FAB_ELIMIT, FAB_ENOMEM; `out` is
 * then as before. */
FAB_MUST enum fab_rc fab_noise_payload_encode(const struct fab_noise_payload *payload,
                                              struct fab_buf *out);

/* Slices are borrowed from `bytes`. Unknown fields are skipped; of a repeated single field the last
 * counts. FAB_EFORMAT: malformed, a known field of another wire type, or no key or signature;
 * FAB_ELIMIT: more muxers than fit. */
FAB_MUST enum fab_rc fab_noise_payload_decode(struct fab_slice bytes,
                                              struct fab_noise_payload *out);

#endif
