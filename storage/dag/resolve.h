/* Paths through directories, and what a CID is. */
#ifndef FAB_DAG_RESOLVE_H
#define FAB_DAG_RESOLVE_H

#include "storage/dag/block_io.h"
#include "storage/dag/unixfs.h"

#define FAB_PATH_COMPONENTS_MAX 256u

/* Split "CID[/PATH]", "/ipfs/CID[/PATH]" or "ipfs://CID[/PATH]". `path` is what follows the CID,
 * borrowed from `text`, without the slash at its front; empty when there is none. FAB_EFORMAT with
 * a message. */
FAB_MUST enum fab_rc fab_path_parse(const char *text, struct fab_cid *root, struct fab_slice *path,
                                    struct fab_err *err);

/* Follow `path` (components between slashes; empty ones are passed over; "." and ".." have no
 * meaning here and are names) from `root` through directories. FAB_ENOENT, FAB_EINVAL (a component
 * is not in a directory), FAB_EFORMAT, FAB_ELIMIT; the message names the component. */
FAB_MUST enum fab_rc fab_resolve_from(const struct fab_block_source *source,
                                      const struct fab_cid *root, struct fab_slice path,
                                      struct fab_cid *out, struct fab_err *err);

/* Whether `path` cannot be followed to its end because the source lacks a block. Then *at is the
 * directory that a block is lacking of, and *rest the offset in `path` of the name to look for in
 * it. False for a path that fab_resolve_from can follow, and for one that it refuses. */
bool fab_resolve_lacks(const struct fab_block_source *source, const struct fab_cid *root,
                       struct fab_slice path, struct fab_cid *at, size_t *rest);

/* fab_path_parse and fab_resolve_from. */
FAB_MUST enum fab_rc fab_resolve(const struct fab_block_source *source, const char *text,
                                 struct fab_cid *out, struct fab_err *err);

enum fab_node_kind {
    FAB_NODE_RAW,       /* a raw block: a file of its bytes */
    FAB_NODE_FILE,      /* UnixFS file (or UnixFS Raw leaf) */
    FAB_NODE_DIRECTORY, /* basic */
    FAB_NODE_HAMT,      /* sharded directory */
    FAB_NODE_SYMLINK,
    FAB_NODE_OTHER, /* any other block: dag-cbor, dag-json, dag-pb without UnixFS, ... */
};

struct fab_node_info {
    enum fab_node_kind kind;
    uint64_t size; /* file, raw: content bytes; symlink: bytes of the target; other: block bytes;
                      directories: 0 */
    uint64_t block_bytes; /* of this block */
    uint64_t tsize;       /* block_bytes and what its links claim; saturates at UINT64_MAX */
    uint64_t links;       /* in this block */
    struct fab_unixfs_attr attr;
    char target[FAB_UNIXFS_SYMLINK_MAX + 1]; /* symlink: NUL-terminated target (a NUL inside is
                                                FAB_EFORMAT); else "" */
};

/* What `cid` is, from its own block. FAB_EFORMAT for a malformed block or a symlink target that is
 * empty, too long or holds NUL. */
FAB_MUST enum fab_rc fab_node_stat(const struct fab_block_source *source, const struct fab_cid *cid,
                                   struct fab_node_info *out);

/* "file", "directory", ... for output. Static. */
const char *fab_node_kind_text(enum fab_node_kind kind);

#endif
