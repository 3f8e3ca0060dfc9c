/* /fabric/peers/1: the nodes of a workspace tell each other the signed addresses of the peers that
 * they know (docs/protocols/peers.md).
 *
 * Each side of a stream writes up to FAB_PEERS_RECORDS_MAX signed peer records
 * (fabric/identity/signed_record.h), each behind its length as a varint, and ends its half. Its own
 * comes first. Here are the reader of such a half, and the collection of records that a workspace
 * holds: the newest of each peer. A record is passed on only while its peer is connected, or was
 * within the last hour, so that what nobody reaches dies out. */
#ifndef FAB_SWARM_PEER_EXCHANGE_H
#define FAB_SWARM_PEER_EXCHANGE_H

#include "fabric/identity/signed_record.h"

#define FAB_PEERS_PROTOCOL    "/fabric/peers/1"
#define FAB_PEERS_RECORD_MAX  2048 /* bytes of an envelope */
#define FAB_PEERS_RECORDS_MAX 65   /* of one half of a stream */
#define FAB_PEERS_OTHERS_MAX  64   /* of these, of others than the writer */
#define FAB_PEERS_HELD_MAX    1024
/* Bytes of one half of a stream. */
#define FAB_PEERS_HALF_MAX   ((size_t)FAB_PEERS_RECORDS_MAX * (FAB_PEERS_RECORD_MAX + 2))
#define FAB_PEERS_TIMEOUT_US 10000000u   /* of a stream */
#define FAB_PEERS_FRESH_US   3600000000u /* since the peer was connected */

/* ---- one half of a stream ---- */

/* Append an envelope with its length. FAB_EINVAL: empty, or longer than FAB_PEERS_RECORD_MAX;
 * FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_peers_append(struct fab_buf *out, struct fab_slice envelope);

struct fab_peers_reader {
    struct fab_buf record; /* what came of it */
    size_t length;         /* of the record; 0: its length is not known yet */
    uint8_t prefix;        /* first byte of a length of two; 0: none */
    unsigned records;      /* begun */
    enum fab_rc failed;
};

void fab_peers_reader_init(struct fab_peers_reader *r); /* no allocation */
void fab_peers_reader_fini(struct fab_peers_reader *r);
/* Take the stream's next bytes, in pieces of any size; `take` is called for each whole record, with
 * bytes that are valid during the call. FAB_EFORMAT: a malformed length; FAB_ELIMIT: a record or a
 * number over the limits; FAB_ENOMEM. After an error the reader only repeats it. */
FAB_MUST enum fab_rc fab_peers_reader_feed(struct fab_peers_reader *r, struct fab_slice bytes,
                                           void (*take)(void *arg, struct fab_slice envelope),
                                           void *arg);
/* The half has ended. FAB_EFORMAT: in the middle of a record. */
FAB_MUST enum fab_rc fab_peers_reader_finish(const struct fab_peers_reader *r);

/* ---- the records that are held ---- */

struct fab_peer_records;

/* Empty, for at most `max` records. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_peer_records_new(size_t max, struct fab_peer_records **out);
void fab_peer_records_free(struct fab_peer_records *records); /* NULL is allowed */

/* Check an envelope from anybody. FAB_OK: it is valid and newer than what is held of its peer; the
 * addresses in *out are borrowed from `envelope`. FAB_EEXIST: it is not newer. The rest as
 * fab_signed_record_decode, and FAB_ELIMIT over FAB_PEERS_RECORD_MAX. */
FAB_MUST enum fab_rc fab_peer_records_check(const struct fab_peer_records *records,
                                            struct fab_slice envelope,
                                            struct fab_signed_record *out);
/* Keep a checked record (a copy) in place of the peer's older one. When all places are taken, a
 * record that is not passed on any more goes; FAB_ELIMIT when there is none. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_peer_records_put(struct fab_peer_records *records,
                                          struct fab_slice envelope,
                                          const struct fab_signed_record *record, uint64_t now_us);
/* Its peer is connected: the record, if one is held, is passed on from now on, for
 * FAB_PEERS_FRESH_US. */
void fab_peer_records_touch(struct fab_peer_records *records, const struct fab_peer_id *peer,
                            uint64_t now_us);
void fab_peer_records_remove(struct fab_peer_records *records, const struct fab_peer_id *peer);
size_t fab_peer_records_count(const struct fab_peer_records *records);

/* Append, each behind its length, up to FAB_PEERS_OTHERS_MAX records that are passed on and came or
 * changed after *mark, oldest first; give their number in *n and move *mark behind them. A mark of
 * 0 stands for a peer that was told nothing yet: it gets the newest ones. The record of `except`,
 * who is told, is left out. FAB_ELIMIT, FAB_ENOMEM; `out` and *mark are then as before. */
FAB_MUST enum fab_rc fab_peer_records_tell(const struct fab_peer_records *records, uint64_t *mark,
                                           const struct fab_peer_id *except, uint64_t now_us,
                                           struct fab_buf *out, size_t *n);

#endif
