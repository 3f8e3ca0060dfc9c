/* The lane: blocks on their way through worker threads into an ingest, in a fixed set of buffers.
 *
 * The calling thread takes items (a slot of bytes with a work function), in batches that share a
 * buffer and a task; a worker runs each item's work, which fills and hashes the slot and may submit
 * the block; the ingest's writer gives it back. A batch is used again when every item was both
 * collected by the calling thread and given back by the writer. */
#ifndef FAB_FILES_LANE_H
#define FAB_FILES_LANE_H

#include "storage/base/pool.h"
#include "storage/store/store.h"

#include <pthread.h>
#include <sys/stat.h>

#define LANE_BYTES    (32u << 20) /* of all buffers together */
#define LANE_BUFFER   (1u << 20)  /* of payload in one, unless a chunk is larger */
#define LANE_ITEMS    64          /* of one batch */
#define LANE_OVERHEAD 128 /* bytes of a slot beyond the payload, for an encoded leaf's frame */
#define LANE_SLACK    (32u << 10) /* of a buffer beyond its payload: overhead, and whole pages */
#define LANE_PAGED    (64u << 10) /* a slot for so much begins on a page, as direct writes want */

struct lane;
struct lane_batch;

struct lane_item {
    struct fab_ingest_block block; /* cid and data are set by the work */
    struct lane_batch *batch;
    void (*work)(struct lane_item *item); /* on a worker */
    uint8_t *p;                           /* the slot: room for `room` bytes */
    size_t room, len;                     /* len: bytes of payload */
    bool submitted;
    enum fab_rc rc; /* of the work */
    int error;      /* errno behind rc, or 0 */

    /* The user's. */
    void *owner, *file, *dir;
    const char *name;
    uint64_t offset;
    struct stat st;
};

/* The buffers hold chunks of up to `chunk_max` bytes. `ingest` NULL: lane_item_submit keeps
 * nothing. */
FAB_MUST enum fab_rc lane_new(struct fab_ingest *ingest, size_t chunk_max, struct lane **out);
/* Run what was taken, wait for the workers. Afterwards no work runs; buffers may still be with the
 * ingest. */
void lane_stop(struct lane *lane);
/* After lane_stop and the end of the ingest. NULL is allowed. */
void lane_free(struct lane *lane);

/* An item with room for `len` payload bytes, or NULL when every buffer is in use. */
struct lane_item *lane_take(struct lane *lane, size_t len);
/* Let the workers have the batch that is being filled. */
void lane_flush(struct lane *lane);
/* Wait until a buffer may be free (a spurious return is allowed). Only right when nothing waits to
 * be collected. */
void lane_wait_free(struct lane *lane);

/* Whether the item's work has run; after true its results may be read. */
bool lane_item_ready(struct lane_item *item);
/* Wait until it has. */
void lane_item_wait(struct lane_item *item);
/* The calling thread needs the item no more. */
void lane_item_collect(struct lane_item *item);

/* From inside a work function: hand block.cid and block.data to the ingest. */
void lane_item_submit(struct lane_item *item);

/* From inside a work function: a buffer to encode a leaf in, given back before the work ends. */
struct fab_buf *lane_scratch(struct lane *lane);
void lane_scratch_back(struct lane *lane, struct fab_buf *scratch);
struct lane *lane_of(const struct lane_item *item);

#endif
