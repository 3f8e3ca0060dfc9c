/* Finding nodes on the local network by multicast DNS (RFC 6762, RFC 6763), without telling
 * strangers which workspaces they belong to (docs/protocols/peers.md).
 *
 *   query          PTR? _fabric._tcp.local
 *   announcement   PTR _fabric._tcp.local = NONCE._fabric._tcp.local
 *                  TXT NONCE._fabric._tcp.local = "v=1" "p=PORT" "s=SLOT" "k0=..." "k1=..."
 *
 * NONCE is 16 hexadecimal digits, drawn anew for each time slot. The k strings hold entries of 48
 * bytes, one per swarm key: a tag of 16 and the announcer's Ed25519 key, sealed. Both come from
 * BLAKE2b-512 keyed with the swarm key, over "fabric mdns 1", nonce, slot and port: the first 16
 * bytes are the tag, the next 32 are XORed with the key. Who does not hold the swarm key sees
 * random bytes. Entries are filled up with random ones and sorted, so that their number and order
 * tell nothing.
 *
 * Nothing proves who sent an announcement: what it says is a hint whom to dial where. */
#ifndef FAB_SWARM_MDNS_H
#define FAB_SWARM_MDNS_H

#include "fabric/identity/peer_id.h"
#include "fabric/swarm/swarm_key.h"

#define FAB_MDNS_PORT        5353
#define FAB_MDNS_PACKET_MAX  1400 /* bytes that we send */
#define FAB_MDNS_NONCE       8    /* bytes */
#define FAB_MDNS_ENTRY       48   /* bytes */
#define FAB_MDNS_ENTRIES_MAX 24   /* of one announcement */
#define FAB_MDNS_SLOT_S      600  /* seconds of a time slot */
#define FAB_MDNS_SLOTS_OFF   6    /* slots that a clock may be off */
#define FAB_MDNS_SEEN_MAX    4    /* announcements read from one packet */

struct fab_mdns_announcement {
    uint8_t nonce[FAB_MDNS_NONCE];
    uint32_t slot; /* seconds since 1970 / FAB_MDNS_SLOT_S */
    uint16_t port; /* TCP, at the address that the packet comes from */
    size_t n;
    uint8_t entries[FAB_MDNS_ENTRIES_MAX][FAB_MDNS_ENTRY];
};

/* What a received packet says, as far as it concerns us. */
struct fab_mdns_packet {
    bool query; /* somebody asks for our service */
    size_t n;
    struct fab_mdns_announcement seen[FAB_MDNS_SEEN_MAX];
};

/* Append the query. FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_mdns_query(struct fab_buf *out);

/* Add the entry of one swarm key to an announcement whose nonce, slot and port are set. FAB_ELIMIT:
 * it is full; FAB_EUNSUPPORTED: a peer whose key is not Ed25519. */
FAB_MUST enum fab_rc fab_mdns_seal(struct fab_mdns_announcement *a,
                                   const uint8_t key[FAB_SWARM_KEY_SIZE],
                                   const struct fab_peer_id *self);
/* Fill up to the next multiple of 8 entries and sort them. `seed`: 32 secret bytes, the same during
 * a slot, so that the fill stays the same with it. */
void fab_mdns_cover(struct fab_mdns_announcement *a, const uint8_t seed[32]);
/* Append the packet, at most FAB_MDNS_PACKET_MAX bytes. FAB_EINVAL: port 0; FAB_ELIMIT, FAB_ENOMEM;
 * `out` is then as before. */
FAB_MUST enum fab_rc fab_mdns_announce(const struct fab_mdns_announcement *a, struct fab_buf *out);

/* Read a packet from anybody. Questions and records of other services, records that have ended
 * (TTL 0), versions other than 1 and announcements that are malformed are passed over. FAB_EFORMAT:
 * not a DNS message, or one cut short; FAB_EUNSUPPORTED: an opcode or response code other than 0.
 */
FAB_MUST enum fab_rc fab_mdns_parse(struct fab_slice packet, struct fab_mdns_packet *out);

/* Who the announcer is, to a holder of `key`. FAB_ENOENT: no entry is of this key. FAB_EFORMAT: it
 * is, but what it seals is no peer. */
FAB_MUST enum fab_rc fab_mdns_open(const struct fab_mdns_announcement *a,
                                   const uint8_t key[FAB_SWARM_KEY_SIZE], struct fab_peer_id *out);

#endif
