/* Messages of Bitswap 1.2.0 (ipfs/specs, bitswap-protocol): the delimited stream, the reader and
 * the writer. A stream is a sequence of uvarint(length) and a protobuf message of at most 4 MiB.
 *
 * Reading: bytes of a stream go into a struct fab_bitswap_stream, which gives back whole messages;
 * fab_bitswap_message_check looks at one from end to end; only then is it walked with a struct
 * fab_bitswap_iter, item by item, without copying. So a malformed message has no effect at all.
 * After FAB_EFORMAT or FAB_ELIMIT the owner resets the stream; the connection lives. */
#ifndef FAB_EXCHANGE_BITSWAP_MESSAGE_H
#define FAB_EXCHANGE_BITSWAP_MESSAGE_H

#include "storage/multiformats/cid.h"

#define FAB_BITSWAP_PROTOCOL    "/ipfs/bitswap/1.2.0"
#define FAB_BITSWAP_MESSAGE_MAX (4u << 20) /* bytes of a message, without its length prefix */
#define FAB_BITSWAP_WANTS_MAX   (2u << 20) /* bytes of entries in a message that we write */
#define FAB_BITSWAP_CID_MAX     168        /* bytes; entries with longer CIDs are skipped */
#define FAB_BITSWAP_LENGTH_MAX  4          /* bytes of the longest length prefix */

/* ---- the stream ---- */

struct fab_bitswap_stream {
    struct fab_buf collected; /* grows as bytes arrive, never for a length alone */
    uint64_t length;          /* of the message being read */
    unsigned length_bytes;    /* of the prefix read so far */
    bool have_length;
    bool given; /* `collected` was given out and goes with the next call */
};

/* No allocation. */
void fab_bitswap_stream_init(struct fab_bitswap_stream *s);
void fab_bitswap_stream_fini(struct fab_bitswap_stream *s);

/* Take bytes from the front of *in, up to the end of one message. *whole says whether *message was
 * set; if not, all of *in was taken and more is needed. *message is borrowed from `s` or from *in:
 * valid until the next call on `s` and as long as the input. Call again while in->n is not 0.
 * FAB_ELIMIT as soon as a length over FAB_BITSWAP_MESSAGE_MAX is read, FAB_EFORMAT for a malformed
 * length, FAB_ENOMEM; the stream is then of no further use. */
FAB_MUST enum fab_rc fab_bitswap_stream_read(struct fab_bitswap_stream *s, struct fab_slice *in,
                                             bool *whole, struct fab_slice *message);

/* Whether the stream stands between two messages (an end of file is clean here). */
bool fab_bitswap_stream_idle(const struct fab_bitswap_stream *s);

/* ---- reading a message ---- */

/* How a block's CID is made from its bytes. */
struct fab_bitswap_prefix {
    uint64_t codec, mh_code;
    unsigned version;
};

/* Hash `data` and make its CID; for a worker thread. FAB_ENOMEM; FAB_ELIMIT for identity over
 * FAB_DIGEST_MAX; never FAB_EUNSUPPORTED for a prefix that came out of a checked message. */
FAB_MUST enum fab_rc fab_bitswap_prefix_cid(const struct fab_bitswap_prefix *prefix,
                                            struct fab_slice data, struct fab_cid *out);

enum fab_bitswap_kind {
    FAB_BITSWAP_WANT_BLOCK, /* entries of the wantlist */
    FAB_BITSWAP_WANT_HAVE,
    FAB_BITSWAP_CANCEL,
    FAB_BITSWAP_BLOCK, /* a block, also of the old field `blocks` (CIDv0) */
    FAB_BITSWAP_HAVE,  /* presences */
    FAB_BITSWAP_DONT_HAVE
};

struct fab_bitswap_item {
    enum fab_bitswap_kind kind;
    struct fab_cid cid;               /* all but FAB_BITSWAP_BLOCK */
    int32_t priority;                 /* wants: higher first */
    bool send_dont_have;              /* wants: the peer asks to be told */
    struct fab_bitswap_prefix prefix; /* FAB_BITSWAP_BLOCK */
    struct fab_slice data;            /* FAB_BITSWAP_BLOCK; borrowed from the message */
};

struct fab_bitswap_summary {
    bool full; /* the wantlist replaces what the peer wanted before */
    size_t wants, cancels, blocks, presences;
    size_t skipped; /* entries with identity CIDs or CIDs over the limits: not given as items */
};

/* Look at the whole message. FAB_EFORMAT for malformed protobuf, a malformed CID, or a block whose
 * hash function this build does not compute (or whose prefix is malformed). */
FAB_MUST enum fab_rc fab_bitswap_message_check(struct fab_slice message,
                                               struct fab_bitswap_summary *out);

struct fab_bitswap_iter {
    struct fab_reader message, wantlist;
    size_t skipped;
    bool full;
};

/* Walk `message`, which is borrowed as long as the iterator and its items are used. */
void fab_bitswap_iter_init(struct fab_bitswap_iter *it, struct fab_slice message);
/* The next item in the order of the bytes. FAB_ENOENT at the end; FAB_EFORMAT as above. */
FAB_MUST enum fab_rc fab_bitswap_iter_next(struct fab_bitswap_iter *it,
                                           struct fab_bitswap_item *out);

/* ---- writing ---- */

/* Append one Wantlist.entries field for a want or a cancel, without any framing: collect entries in
 * a buffer and give it to fab_bitswap_write_wants. FAB_EINVAL for another kind. */
FAB_MUST enum fab_rc fab_bitswap_entry_append(struct fab_buf *entries, enum fab_bitswap_kind kind,
                                              const struct fab_cid *cid, int32_t priority,
                                              bool send_dont_have);

/* Append delimited messages that carry `entries`, each at most FAB_BITSWAP_WANTS_MAX bytes of them,
 * the first one marked `full` if so. At least one message, also for no entries. FAB_EINVAL when
 * `entries` was not made by fab_bitswap_entry_append. On an error `out` is as it was. */
FAB_MUST enum fab_rc fab_bitswap_write_wants(struct fab_buf *out, struct fab_slice entries,
                                             bool full);

/* Compose a response in place: begin, then blocks and presences, then end. Between begin and end
 * nothing else touches `out`, which has room up to FAB_BITSWAP_MESSAGE_MAX +
 * FAB_BITSWAP_LENGTH_MAX more bytes at its maximum. */
struct fab_bitswap_writer {
    struct fab_buf *out;
    size_t start; /* where the message's length prefix will lie, at the earliest */
};

FAB_MUST enum fab_rc fab_bitswap_writer_begin(struct fab_bitswap_writer *w, struct fab_buf *out);
/* FAB_ELIMIT when the message would pass FAB_BITSWAP_MESSAGE_MAX; it is then as it was. */
FAB_MUST enum fab_rc fab_bitswap_writer_block(struct fab_bitswap_writer *w,
                                              const struct fab_cid *cid, struct fab_slice data);
FAB_MUST enum fab_rc fab_bitswap_writer_presence(struct fab_bitswap_writer *w,
                                                 const struct fab_cid *cid, bool have);
/* Bytes of the message so far. */
size_t fab_bitswap_writer_size(const struct fab_bitswap_writer *w);
/* Write the length prefix right before the message. The delimited message is `*message`, up to
 * out->len; up to 3 bytes between `start` and it are of no use. Borrowed from `out`. */
void fab_bitswap_writer_end(struct fab_bitswap_writer *w, struct fab_slice *message);

#endif
