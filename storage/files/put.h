/* Files, directories and pipes into the store, as UnixFS DAGs.
 *
 * The calling thread walks the tree and builds nodes, worker threads read and hash, the ingest's
 * writer thread writes. Memory is bounded whatever is put: at most 32 MiB of chunk buffers, the
 * DAG's right edge, and the names and links of the directories that are open. */
#ifndef FAB_FILES_PUT_H
#define FAB_FILES_PUT_H

#include "storage/files/progress.h"
#include "storage/store/store.h"

/* All zero is the default: profile unixfs-v1-2025, its chunker, pinned, hidden entries skipped. */
struct fab_put_options {
    const char *profile; /* a name that fab_profile_find knows; NULL: the default one */
    const char
        *chunker; /* size-N, rabin, rabin-AVG, rabin-MIN-AVG-MAX, buzhash; NULL: the profile's */
    const char *name; /* of the pin (with several roots: of each); NULL for none */
    const char
        *stdin_name; /* with `wrap`, the entry name of what came from a descriptor; NULL: its CID */
    bool only_hash;  /* compute CIDs, write nothing; `store` may then be NULL */
    bool wrap;       /* put all arguments as entries of one more directory */
    bool no_pin;     /* remember the roots without a pin */
    bool hidden;     /* take the entries inside directories whose names begin with '.' */
    bool preserve;   /* record mode and modification time */
    bool modes;      /* record the mode alone */
    struct fab_watch watch;
};

struct fab_put_result {
    const char *path; /* the argument, as given; "" for the directory that `wrap` makes */
    struct fab_cid cid;
    uint64_t bytes;     /* payload bytes of the files in it */
    uint64_t dag_bytes; /* serialized bytes of its DAG, equal subtrees counted each time (Tsize) */
    uint64_t files, directories, symlinks;
    uint64_t hidden_skipped; /* hidden entries that were not taken (a directory counts once) */
    bool wrapper;            /* it is the directory that `wrap` makes, always the last result */
};

/* Put `n` paths in one ingest. A path "-" is standard input. A path that is a symlink is put as a
 * symlink. After everything is durable, `result` (may be NULL) is called on the calling thread once
 * per path in order, then once for the wrapper; it is never called when the put fails, and nothing
 * then stays in the store. Roots are the arguments, or the wrapper alone. Errors, with one line
 * that names the file: FAB_ENOENT, FAB_EACCES, FAB_EIO (reading), FAB_ECHANGED (a file changed
 * while it was read), FAB_EUNSUPPORTED (a fifo, socket or device), FAB_EINVAL (unknown profile or
 * chunker, two arguments of one name with `wrap`), FAB_ELIMIT (directories nested deeper than
 * FAB_PUT_DEPTH_MAX), FAB_EQUOTA, FAB_ENOSPC, FAB_EINTERRUPTED, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_put(struct fab_store *store, uint32_t ws, const char *const *paths,
                             size_t n, const struct fab_put_options *options,
                             void (*result)(void *arg, const struct fab_put_result *result),
                             void *arg, struct fab_err *err);

/* Put what a descriptor gives until its end: a pipe, a socket, or a regular file from its current
 * offset. The descriptor stays the caller's. `label` names it in messages and results. With `wrap`,
 * `out` is the wrapper. `out` may be NULL. */
FAB_MUST enum fab_rc fab_put_fd(struct fab_store *store, uint32_t ws, int fd, const char *label,
                                const struct fab_put_options *options, struct fab_put_result *out,
                                struct fab_err *err);

#define FAB_PUT_DEPTH_MAX                                                                          \
    120 /* directories inside each other; FAB_DEPTH_MAX leaves room for the files */

#endif
