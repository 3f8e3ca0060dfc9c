/* The identify message (libp2p specs identify/README.md): what a peer says about itself on
 * /ipfs/id/1.0.0 (the responder writes, then closes) and /ipfs/id/push/1.0.0 (the initiator does).
 *
 * On the stream, one or more protobuf messages, each behind its length as a varint, until the end
 * of the stream; they are merged: lists are joined, of the rest the last counts. Nothing in it is
 * proved except what the secured connection already proved. */
#ifndef FAB_SWARM_IDENTIFY_H
#define FAB_SWARM_IDENTIFY_H

#include "storage/base/bytes.h"

#define FAB_IDENTIFY_PROTOCOL      "/ipfs/id/1.0.0"
#define FAB_IDENTIFY_PUSH_PROTOCOL "/ipfs/id/push/1.0.0"
#define FAB_IDENTIFY_LISTEN_MAX    64  /* addresses kept */
#define FAB_IDENTIFY_PROTOCOLS_MAX 128 /* protocol names kept */
#define FAB_IDENTIFY_TEXT_MAX      256 /* bytes of a protocol name or version kept */

#define FAB_IDENTIFY_WRITE_MAX    4096 /* bytes that we write, with the length */
#define FAB_IDENTIFY_MESSAGE_MAX  8192 /* bytes of one message that we read, without the length */
#define FAB_IDENTIFY_MESSAGES_MAX 9    /* messages that we read */
#define FAB_IDENTIFY_TIMEOUT_US   5000000

/* Everything may be empty. Slices are borrowed: see the reader. */
struct fab_identify {
    struct fab_slice public_key;                      /* protobuf PublicKey (specs peer-ids) */
    struct fab_slice listen[FAB_IDENTIFY_LISTEN_MAX]; /* binary multiaddrs, checked */
    struct fab_slice protocols[FAB_IDENTIFY_PROTOCOLS_MAX];
    struct fab_slice observed;                        /* our address as the writer sees it */
    struct fab_slice protocol_version, agent_version; /* printable ASCII */
    struct fab_slice signed_peer_record;              /* an envelope, not checked */
    size_t n_listen, n_protocols;
};

/* Append one message with its length. Empty fields are left out. FAB_ELIMIT: longer than
 * FAB_IDENTIFY_WRITE_MAX, or more than `out` holds; FAB_EINVAL: a count over its maximum;
 * FAB_ENOMEM. `out` is then as before. */
FAB_MUST enum fab_rc fab_identify_write(const struct fab_identify *id, struct fab_buf *out);

/* Whether the peer lists that protocol. */
bool fab_identify_speaks(const struct fab_identify *id, const char *protocol);

/* Collects a stream's messages; at most 72 KiB. */
struct fab_identify_reader {
    struct fab_buf bytes; /* whole messages with their lengths, and the start of one */
    size_t need;          /* bytes that the message being read still lacks; 0: at its length */
    size_t at;            /* where in `bytes` the length being read starts */
    size_t messages;      /* begun */
    enum fab_rc failed;
};

/* No allocation. */
void fab_identify_reader_init(struct fab_identify_reader *r);
void fab_identify_reader_fini(struct fab_identify_reader *r);

/* Take the stream's next bytes, in pieces of any size; they are copied. FAB_EFORMAT: a malformed
 * length; FAB_ELIMIT: a message over FAB_IDENTIFY_MESSAGE_MAX, or more than
 * FAB_IDENTIFY_MESSAGES_MAX of them; FAB_ENOMEM. After an error the reader only repeats it. */
FAB_MUST enum fab_rc fab_identify_reader_feed(struct fab_identify_reader *r,
                                              struct fab_slice bytes);

/* The stream has ended: decode and merge. The slices in `out` lie in the reader, until its fini.
 * Addresses that are not valid multiaddrs, or of unknown protocols, texts that are too long or not
 * printable ASCII, and what is over a list's maximum, are left out; unknown fields are skipped.
 * FAB_EFORMAT: no message at all, a message cut short, or malformed. */
FAB_MUST enum fab_rc fab_identify_reader_finish(struct fab_identify_reader *r,
                                                struct fab_identify *out);

#endif
