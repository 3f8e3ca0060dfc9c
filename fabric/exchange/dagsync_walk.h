/* The server's walk: depth first below one block at a time, over a stack that stays small however
 * wide the blocks are. Internal to dagsync_server; any thread, one at a time.
 *
 * Results of fab_dagsync_walk_begin, _step and _send, beside FAB_OK:
 *   FAB_EBUSY         no room or no credit (`starved`); nothing has changed, call again later
 *   FAB_EINTERRUPTED  the fill cannot go on; `fatal` says why
 *   FAB_EINVAL        a range of what is not a file
 *   FAB_EFORMAT, FAB_ELIMIT, FAB_EIO   the item cannot go on: fab_dagsync_walk_drop */
#ifndef FAB_EXCHANGE_DAGSYNC_WALK_H
#define FAB_EXCHANGE_DAGSYNC_WALK_H

#include "fabric/exchange/dagsync_marks.h"
#include "fabric/exchange/dagsync_message.h"

/* A block whose links are being followed. A window of its links lies in `links` of the walk, the
 * rest is read from the block again when the window is used up. */
struct fab_dagsync_frame {
    struct fab_cid cid;
    uint64_t print;
    size_t begin, end; /* the window */
    size_t at;         /* in the window: the next child */
    size_t next;       /* index of the first link behind the window */
    bool more;         /* there are links behind the window */
    bool whole;        /* everything below is wanted; else what the range needs */
    uint64_t offset;   /* not whole: where the node's bytes begin in the file */
    uint64_t size;     /* not whole: the node's bytes; UINT64_MAX: not claimed (the root) */
};

struct fab_dagsync_walk {
    const uint8_t *key;              /* of the marks; borrowed */
    struct fab_dagsync_marks seen;   /* blocks sent; the bit: everything below is done or on the
                                        stack */
    struct fab_dagsync_marks prunes; /* the bit: in force */
    struct fab_buf links;            /* the windows, one after the other */
    unsigned depth;
    struct fab_dagsync_frame frames[FAB_DEPTH_MAX];
    uint64_t from, to; /* the range of the item that is walked */
    int64_t credit;
    uint64_t blocks, bytes; /* sent */

    /* of the fill that runs */
    const struct fab_block_source *source;
    struct fab_buf *out;
    size_t out_end; /* no message begins at or behind it */
    uint64_t work;  /* bytes read and links looked at */
    bool starved;   /* the last FAB_EBUSY was for credit */
    enum fab_rc fatal;
};

void fab_dagsync_walk_init(struct fab_dagsync_walk *w, const uint8_t *key);
void fab_dagsync_walk_fini(struct fab_dagsync_walk *w);

/* Append a BLOCK or MISSING within room and credit. */
FAB_MUST enum fab_rc fab_dagsync_walk_send(struct fab_dagsync_walk *w,
                                           const struct fab_dagsync_message *message);
/* The bytes of a block, valid until the source is asked again. FAB_ENOENT, FAB_EIO, FAB_ELIMIT,
 * FAB_EINTERRUPTED. */
FAB_MUST enum fab_rc fab_dagsync_walk_get(struct fab_dagsync_walk *w, const struct fab_cid *cid,
                                          struct fab_slice *out);
/* Send a block unless it was sent before. */
FAB_MUST enum fab_rc fab_dagsync_walk_block(struct fab_dagsync_walk *w, const struct fab_cid *cid,
                                            uint64_t print, struct fab_slice data);

/* Visit `root` and stand before its first child. The stack is empty. */
FAB_MUST enum fab_rc fab_dagsync_walk_begin(struct fab_dagsync_walk *w, const struct fab_cid *root,
                                            enum fab_dagsync_scope scope);
/* Visit one more block, or leave one. The walk has ended when depth is 0. */
FAB_MUST enum fab_rc fab_dagsync_walk_step(struct fab_dagsync_walk *w);
/* Give up what is on the stack from frame `depth` (0: everything) on. */
void fab_dagsync_walk_drop(struct fab_dagsync_walk *w, unsigned depth);

/* Leave out the block and what is below it, now and later. */
void fab_dagsync_walk_prune(struct fab_dagsync_walk *w, uint64_t print);
/* Take that back, for the block itself. */
void fab_dagsync_walk_unprune(struct fab_dagsync_walk *w, uint64_t print);

#endif
