/* Multiaddr (multiformats/multiaddr): network addresses as a chain of protocols,
 * /ip4/10.0.0.1/tcp/4001/p2p/ID.
 *
 * The binary form is, per part, the protocol's code as a varint and its value (with a varint length
 * where the size is not fixed). Known: ip4 ip6 ip6zone dns dns4 dns6 dnsaddr tcp udp unix p2p (read
 * as /ipfs too) p2p-circuit quic quic-v1 webtransport certhash tls sni noise http https ws wss.
 * Values are checked in both directions, so each address has one binary form and one text that this
 * file writes. A unix path is the rest of the text. Peer IDs are read as base58btc or as a CIDv1 of
 * a libp2p key, and written as base58btc (libp2p specs/peer-ids). */
#ifndef FAB_MULTIFORMATS_MULTIADDR_H
#define FAB_MULTIFORMATS_MULTIADDR_H

#include "storage/base/bytes.h"

#define FAB_MULTIADDR_MAX      1024 /* bytes of the binary form */
#define FAB_MULTIADDR_TEXT_MAX 4096 /* characters of the text form */

/* multicodec codes of the protocols that callers ask for. */
#define FAB_MA_IP4         4
#define FAB_MA_TCP         6
#define FAB_MA_IP6         41
#define FAB_MA_IP6ZONE     42
#define FAB_MA_DNS         53
#define FAB_MA_DNS4        54
#define FAB_MA_DNS6        55
#define FAB_MA_DNSADDR     56
#define FAB_MA_UDP         273
#define FAB_MA_P2P_CIRCUIT 290
#define FAB_MA_UNIX        400
#define FAB_MA_P2P         421
#define FAB_MA_TLS         448
#define FAB_MA_QUIC_V1     461
#define FAB_MA_WS          477
#define FAB_MA_WSS         478

struct fab_multiaddr_part {
    uint64_t code;
    const char *name;       /* static */
    struct fab_slice value; /* ip4: 4 bytes, ip6: 16, tcp and udp: 2 big-endian, p2p: a multihash,
                               names and paths: text; borrowed */
};

/* The next part of a binary address, checked. FAB_ENOENT at the end; FAB_EFORMAT; FAB_EUNSUPPORTED
 * for an unknown protocol, whose length nobody can know. The reader moves only on success. */
FAB_MUST enum fab_rc fab_multiaddr_next(struct fab_reader *r, struct fab_multiaddr_part *out);

/* FAB_OK when the bytes are one whole address of at least one part; FAB_EFORMAT, FAB_EUNSUPPORTED,
 * FAB_ELIMIT over FAB_MULTIADDR_MAX. */
FAB_MUST enum fab_rc fab_multiaddr_check(struct fab_slice addr);

/* Append the binary form of a text of n characters. FAB_EFORMAT, FAB_EUNSUPPORTED, FAB_ELIMIT,
 * FAB_ENOMEM; `out` is then as before. */
FAB_MUST enum fab_rc fab_multiaddr_from_text(const char *text, size_t n, struct fab_buf *out);

/* Append the text form, without a NUL. Errors as above. */
FAB_MUST enum fab_rc fab_multiaddr_to_text(struct fab_slice addr, struct fab_buf *out);

/* The value of the first part of that protocol; FAB_ENOENT when there is none. The address is
 * valid. */
FAB_MUST enum fab_rc fab_multiaddr_find(struct fab_slice addr, uint64_t code,
                                        struct fab_slice *out);

#endif
