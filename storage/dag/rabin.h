/* Content-defined cuts by Rabin fingerprint and by buzhash: what chunker.c dispatches to. */
#ifndef FAB_DAG_RABIN_H
#define FAB_DAG_RABIN_H

#include "storage/dag/chunker.h"

#define FAB_RABIN_WINDOW 16u /* bytes that the fingerprint covers; also the smallest minimum */
#define FAB_BUZHASH_MIN  (128u << 10)
#define FAB_BUZHASH_MAX  (512u << 10)

/* As fab_chunker_next, for a view of at least chunker->min bytes: the length of the chunk, or 0
 * when there is no cut within the view's first chunker->max bytes. */
size_t fab_rabin_cut(const struct fab_chunker *chunker, struct fab_slice view);
size_t fab_buzhash_cut(const struct fab_chunker *chunker, struct fab_slice view);

#endif
