/* Blocks of one workspace for a long reader: a view that is let go of while its reader waits, so
 * that it neither holds back LMDB's page reuse nor the growth of its map. One thread at a time. */
#ifndef FAB_FILES_SOURCE_H
#define FAB_FILES_SOURCE_H

#include "storage/store/store.h"

struct source {
    struct fab_store *store;
    uint32_t ws;
    bool verify; /* hash what is read: FAB_EHASH */
    struct fab_view *view;
    uint64_t opened_ms;
    struct fab_cid bad; /* the block of the last FAB_ENOENT or FAB_EHASH */
};

void source_init(struct source *s, struct fab_store *store, uint32_t ws, bool verify);
struct fab_block_source source_table(struct source *s);
/* A block, or the bytes inside an identity CID. */
FAB_MUST enum fab_rc source_block(struct source *s, const struct fab_cid *cid,
                                  struct fab_slice *out);
FAB_MUST enum fab_rc source_size(struct source *s, const struct fab_cid *cid, uint64_t *out);
/* As fab_view_clone, in the snapshot of the block that was read last. */
FAB_MUST enum fab_rc source_clone(struct source *s, const struct fab_cid *cid, uint64_t n, int fd,
                                  uint64_t offset);
/* Where nothing borrowed is held: take a newer snapshot if this one is old. */
void source_breathe(struct source *s);
/* Let the view go; the next use opens another. Also ends the source's life. */
void source_rest(struct source *s);

/* One line for a failed read of `path`; `rc` is given back. A message that is there already stays.
 */
enum fab_rc source_err(const struct source *s, enum fab_rc rc, const char *path,
                       struct fab_err *err);

#endif
