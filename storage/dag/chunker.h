/* Where a file is cut into leaves: `size-N`, `rabin`, `rabin-AVG`, `rabin-MIN-AVG-MAX`, `buzhash`,
 * with the cuts that Kubo makes. A chunker has no position: each cut depends only on the bytes
 * since the cut before. */
#ifndef FAB_DAG_CHUNKER_H
#define FAB_DAG_CHUNKER_H

#include "storage/base/bytes.h"

enum fab_chunker_kind { FAB_CHUNKER_SIZE, FAB_CHUNKER_RABIN, FAB_CHUNKER_BUZHASH };

#define FAB_CHUNK_MAX ((2u << 20) - 256) /* bytes of the largest chunk, as Kubo limits it */

/* A value; copied freely, used by any number of threads at once. */
struct fab_chunker {
    enum fab_chunker_kind kind;
    size_t min, avg, max; /* bytes of a chunk; all equal for size-N */
};

/* Read a spec. FAB_EINVAL with a message that names what is wrong and what is allowed. */
FAB_MUST enum fab_rc fab_chunker_parse(const char *spec, struct fab_chunker *out,
                                       struct fab_err *err);
/* size-N without text; 1 <= bytes <= FAB_CHUNK_MAX. */
struct fab_chunker fab_chunker_size(size_t bytes);

/* The length of the chunk that begins at view.p, or 0: more bytes are needed. `eof` says that
 * nothing follows the view; then the answer is 0 only for an empty view. With chunker->max bytes in
 * the view the answer is never 0; with fewer the caller may be asked to come again with a longer
 * view from the same start, which is scanned anew: so offer max bytes where possible. */
size_t fab_chunker_next(const struct fab_chunker *chunker, struct fab_slice view, bool eof);

#endif
