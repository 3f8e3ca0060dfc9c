/* blocks.dat from the inside: where blocks lie (extent.c), what is free (room.c), and how bytes get
 * into it (bytes.c). */
#ifndef FAB_STORE_ROOM_H
#define FAB_STORE_ROOM_H

#include "storage/store/internal.h"

#include <sys/uio.h>

#define EXTENT_PAGE          FAB_STORE_PAGE
#define EXTENT_SEGMENT       ((uint64_t)256 << 20) /* bytes of one map */
#define EXTENT_SEGMENT_PAGES (EXTENT_SEGMENT / EXTENT_PAGE)
#define EXTENT_SEGMENTS      65536u /* 16 TiB; about as many maps as Linux allows a process */

#define EXTENT_GATHER 16u /* blocks that wait to be written at once */

struct store_extents {
    int fd;
    int direct_fd; /* of the same file, past the page cache; -1: there is no such way */
    bool dirty;    /* the open transaction has written */
    bool appended; /* and has moved the end on, from `end` */
    uint64_t end;
    size_t nudged; /* bytes written since the disk was told to begin */

    /* Blocks that lie one behind the other from a page on and are not written yet. */
    struct iovec gathered[EXTENT_GATHER];
    unsigned gathered_n;
    size_t gathered_bytes;
    uint64_t gathered_page;

    uint64_t ripened;      /* the transaction in which this was done last */
    _Atomic uint64_t size; /* of the file, when a reader looked last */
    _Atomic(uint8_t *) segment[EXTENT_SEGMENTS];
};

static inline uint64_t store_pages_of(size_t bytes)
{
    return ((uint64_t)bytes + EXTENT_PAGE - 1) / EXTENT_PAGE;
}

/* A block's bytes to the pages from `page` on; past the cache before the commit, see
 * store_extents_flush. */
enum fab_rc store_bytes_write(struct fab_store *store, struct fab_slice data, uint64_t page,
                              bool past_cache);

/* Everything happens in the caller's write transaction, and counts when that is committed. */

/* The page behind the last extent. A read transaction will do. */
enum fab_rc store_room_end(struct fab_store *store, MDB_txn *txn, uint64_t *out);
/* Room for so many pages, which cross no segment's border: the smallest hole that is large enough,
 * or the end of the file. FAB_ENOSPC when the file has its greatest size. */
enum fab_rc store_room_take(struct fab_store *store, MDB_txn *txn, uint64_t pages, uint64_t *out);
/* The pages are no longer used from this transaction on. They become a hole when they are ripe. */
enum fab_rc store_room_free(struct fab_store *store, MDB_txn *txn, uint64_t page, uint64_t pages);
/* Move what is ripe to the holes, once in a transaction and not more than a few milliseconds'
 * worth. */
enum fab_rc store_room_ripen(struct fab_store *store, MDB_txn *txn);
/* Every row of DBI_HOLES or DBI_FREED. A read transaction will do. */
enum fab_rc store_room_each(struct fab_store *store, MDB_txn *txn, enum store_dbi table,
                            void (*fn)(void *arg, uint64_t page, uint64_t pages), void *arg);

#endif
