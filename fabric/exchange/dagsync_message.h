/* The messages of /fabric/dagsync/1 (docs/protocols/dagsync.md): one file, both directions.
 *
 * A message is a uvarint length, a type byte and a body; the length counts type and body. CIDs are
 * binary and end by themselves. What is not exactly as written is FAB_EFORMAT: bytes left over, an
 * unknown type or scope, a CID that does not parse, a limit passed. Pure: any thread. */
#ifndef FAB_EXCHANGE_DAGSYNC_MESSAGE_H
#define FAB_EXCHANGE_DAGSYNC_MESSAGE_H

#include "storage/dag/block_io.h"

#define FAB_DAGSYNC_PROTOCOL "/fabric/dagsync/1"

#define FAB_DAGSYNC_ITEMS_MAX  4096u        /* items asked and not ended, of one stream */
#define FAB_DAGSYNC_ASK_MAX    (256u << 10) /* their bytes; also the longest asker's message */
#define FAB_DAGSYNC_PATH_MAX   16384u       /* bytes of an item's path */
#define FAB_DAGSYNC_TEXT_MAX   256u         /* bytes of an error's text */
#define FAB_DAGSYNC_CREDIT_MAX ((uint64_t)1 << 62) /* bytes of credit not used, of one stream */
#define FAB_DAGSYNC_RANGE_END  (((uint64_t)1 << 63) - 1) /* `to` of a range that has no end */
/* The longest server's message, type and body, and with its length. */
#define FAB_DAGSYNC_ANSWER_MAX (1u + FAB_CID_MAX + FAB_BLOCK_MAX)
#define FAB_DAGSYNC_FRAME_MAX  (FAB_DAGSYNC_ANSWER_MAX + 4u)

enum fab_dagsync_type {
    /* asker to server */
    FAB_DAGSYNC_REQUEST = 0x01, /* items, one or more, to the end of the message */
    FAB_DAGSYNC_CREDIT = 0x02,  /* uvarint: bytes more, at least 1 */
    FAB_DAGSYNC_PRUNE = 0x03,   /* CID */
    /* server to asker */
    FAB_DAGSYNC_BLOCK = 0x10,     /* CID, then the block's bytes to the end */
    FAB_DAGSYNC_MISSING = 0x11,   /* CID */
    FAB_DAGSYNC_ITEM_DONE = 0x12, /* uvarint: index of the item */
    FAB_DAGSYNC_ERROR = 0x13,     /* uvarint: index, one byte: code, text to the end */
    FAB_DAGSYNC_DONE = 0x14,      /* uvarint: how many items have ended */
};

enum fab_dagsync_scope {
    FAB_DAGSYNC_ALL = 0,   /* the block and everything below it */
    FAB_DAGSYNC_ROOT = 1,  /* the block alone */
    FAB_DAGSYNC_RANGE = 2, /* of a file: what [from, to) needs */
};

/* Why an item ended early. Codes that are not listed are to be taken as FAB_DAGSYNC_EINTERNAL. */
enum fab_dagsync_error {
    FAB_DAGSYNC_ENAME = 1,      /* the path names an entry that the directory does not have */
    FAB_DAGSYNC_EDIRECTORY = 2, /* the path leads through what is not a directory */
    FAB_DAGSYNC_EFILE = 3,      /* a range of what is not a file */
    FAB_DAGSYNC_EMALFORMED = 4, /* a block that does not decode; it was sent before */
    FAB_DAGSYNC_ELIMIT = 5,     /* too deep, too many components, a block over FAB_BLOCK_MAX */
    FAB_DAGSYNC_EINTERNAL = 6,  /* the server could not read its store */
};

struct fab_dagsync_item {
    struct fab_cid cid;
    struct fab_slice path; /* UnixFS names between slashes; empty: `cid` itself. Borrowed */
    enum fab_dagsync_scope scope;
    uint64_t from, to; /* FAB_DAGSYNC_RANGE: from < to <= FAB_DAGSYNC_RANGE_END; else not read */
};

/* Read one item from the front of a REQUEST's body; `path` borrows from it. The reader moves only
 * on success. */
FAB_MUST enum fab_rc fab_dagsync_item_read(struct fab_reader *r, struct fab_dagsync_item *out);
/* Bytes that fab_dagsync_item_append appends: what counts against FAB_DAGSYNC_ASK_MAX. */
size_t fab_dagsync_item_size(const struct fab_dagsync_item *item);
/* The item without any frame around it. FAB_EINVAL for an item that breaks a limit; FAB_ELIMIT,
 * FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_dagsync_item_append(struct fab_buf *b,
                                             const struct fab_dagsync_item *item);

/* A decoded message; slices borrow from the body. `type` says which fields are set. */
struct fab_dagsync_message {
    enum fab_dagsync_type type;
    struct fab_cid cid;     /* PRUNE, BLOCK, MISSING */
    struct fab_slice bytes; /* REQUEST: items, each checked; BLOCK: the block; ERROR: the text */
    uint64_t number;        /* CREDIT: bytes; ITEM_DONE, ERROR: index; DONE: count */
    uint8_t code;           /* ERROR */
};

/* Decode type and body (what the length counts). `from_server` says which types are valid. BLOCK
 * and MISSING with an identity CID, and a block over FAB_BLOCK_MAX, are FAB_EFORMAT. */
FAB_MUST enum fab_rc fab_dagsync_decode(struct fab_slice message, bool from_server,
                                        struct fab_dagsync_message *out);

/* Append one whole message with its length, or nothing at all. FAB_ELIMIT, FAB_ENOMEM; FAB_EINVAL
 * for what fab_dagsync_decode would refuse. */
FAB_MUST enum fab_rc fab_dagsync_append(struct fab_buf *b,
                                        const struct fab_dagsync_message *message);
/* What fab_dagsync_append appends, in bytes, length included. For BLOCK and MISSING it is what the
 * message costs of the credit. */
size_t fab_dagsync_frame_size(const struct fab_dagsync_message *message);

/* The length in front of a message, fed byte by byte: all zero before the first. FAB_EFORMAT when
 * it is 0, beyond `max`, longer than it must be or than 4 bytes. */
struct fab_dagsync_length {
    uint32_t value;
    unsigned bytes;
};
FAB_MUST enum fab_rc fab_dagsync_length_byte(struct fab_dagsync_length *l, uint8_t byte, size_t max,
                                             bool *whole);

#endif
