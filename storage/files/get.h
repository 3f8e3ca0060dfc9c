/* UnixFS DAGs out of the store: to the file system, to a descriptor, to a tar stream.
 *
 * The content is outsiders' data. Names that could leave the destination are refused, nothing is
 * followed through a symlink, and the result appears under its name only when it is whole. */
#ifndef FAB_FILES_GET_H
#define FAB_FILES_GET_H

#include "storage/files/progress.h"
#include "storage/store/store.h"

struct fab_get_options {
    const char *dest;   /* the path of the result itself; its parent exists */
    bool force;         /* replace what is at `dest`, a whole directory too */
    bool verify;        /* hash every block that is read */
    uint64_t max_bytes; /* FAB_ELIMIT when the files would have more payload bytes; 0: no limit */
    struct fab_watch watch;
};

struct fab_get_stats {
    uint64_t bytes; /* payload bytes, holes included */
    uint64_t files, directories, symlinks;
};

/* Write `cid` (a file, raw block, directory, HAMT directory or symlink) to options->dest. Written
 * under a temporary name beside it, renamed at the end; nothing is left on failure. Mode and time
 * are set when the nodes carry them (never setuid, setgid or sticky). Runs of zero blocks become
 * holes. Large leaves share their pages with the store's file where the file system can
 * (fab_view_clone). Holds a root lease. Errors: FAB_ENOENT (a block is missing: its CID and path;
 * or the parent directory), FAB_EEXIST (dest is there, without `force`), FAB_EFORMAT (malformed
 * node; an entry name that is empty, ".", "..", has '/' or NUL, or comes twice), FAB_EHASH (with
 * `verify`), FAB_EUNSUPPORTED (not UnixFS), FAB_ELIMIT, FAB_ENOSPC, FAB_EACCES, FAB_EIO,
 * FAB_EINTERRUPTED, FAB_ENOMEM. `stats` may be NULL. */
FAB_MUST enum fab_rc fab_get(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                             const struct fab_get_options *options, struct fab_get_stats *stats,
                             struct fab_err *err);

struct fab_cat_options {
    uint64_t offset; /* beyond the end gives nothing */
    uint64_t length; /* UINT64_MAX: to the end */
    bool verify;
    struct fab_watch watch;
};

/* Write payload bytes of one file to `fd`, whatever it is. `options` may be NULL (everything).
 * `written` (may be NULL) is set in every case. Errors as fab_get; FAB_EINVAL when `cid` is a
 * directory; a closed pipe is FAB_EIO (the caller ignores SIGPIPE). */
FAB_MUST enum fab_rc fab_cat(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                             const struct fab_cat_options *options, int fd, uint64_t *written,
                             struct fab_err *err);

/* Write a tar stream (pax) to `fd`; the top entry is called `name`. Only max_bytes, verify and
 * watch of the options are used. The names in the archive obey the rules of fab_get. Without FAB_OK
 * the stream is cut short, without the end marks. */
FAB_MUST enum fab_rc fab_get_archive(struct fab_store *store, uint32_t ws,
                                     const struct fab_cid *cid, const char *name,
                                     const struct fab_get_options *options, int fd,
                                     struct fab_get_stats *stats, struct fab_err *err);

#endif
