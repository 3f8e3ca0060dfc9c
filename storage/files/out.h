/* A buffered descriptor that a stream of blocks goes to. The reader's view is let go of before a
 * write that may block. */
#ifndef FAB_FILES_OUT_H
#define FAB_FILES_OUT_H

#include "storage/files/source.h"
#include "storage/files/watch.h"

#define OUT_BYTES     (1u << 20) /* written at once */
#define OUT_PIECE_MAX (FAB_BLOCK_MAX + 4096)

struct out {
    int fd;
    struct source *source;
    struct watch *watch;
    uint8_t *buffer;
    size_t len;
    uint64_t written; /* bytes that the descriptor took */
    int error;        /* errno of a failed write */
};

FAB_MUST enum fab_rc out_init(struct out *out, int fd, struct source *source, struct watch *watch);
void out_fini(struct out *out);
/* Slices got from the source are invalid afterwards, except `data` until the call returns. */
FAB_MUST enum fab_rc out_write(struct out *out, struct fab_slice data);
/* Few bytes that belong to the data of the next out_write: nothing is let go
 * and nothing written. FAB_ELIMIT when they do not fit (OUT_PIECE_MAX - FAB_BLOCK_MAX always do).
 */
FAB_MUST enum fab_rc out_append(struct out *out, struct fab_slice data);
FAB_MUST enum fab_rc out_flush(struct out *out);

#endif
