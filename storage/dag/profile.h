/* Import profiles: the named sets of parameters that decide which CID a file or directory gets
 * (IPIP-0499). Same bytes, same profile, same CID, in every implementation. */
#ifndef FAB_DAG_PROFILE_H
#define FAB_DAG_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

/* How the size of a directory is estimated before it is compared with the HAMT threshold. */
enum fab_dir_estimate {
    FAB_DIR_ESTIMATE_BLOCK, /* exact bytes of the serialized dag-pb node */
    FAB_DIR_ESTIMATE_LINKS, /* bytes of names and CIDs only */
};

struct fab_profile {
    const char *name;
    const char *about;    /* one line for help texts */
    unsigned cid_version; /* 0 or 1; the hash is sha2-256 */
    size_t chunk_size;    /* bytes per leaf of the default chunker, size-N */
    unsigned file_links;  /* children of one file node, at most */
    bool raw_leaves;      /* leaves are raw blocks, not UnixFS nodes */
    unsigned hamt_fanout;
    size_t hamt_threshold; /* bytes; a directory estimated above it is sharded */
    enum fab_dir_estimate dir_estimate;
};

/* unixfs-v1-2025. Static. */
const struct fab_profile *fab_profile_default(void);
/* By name (`legacy-cid-v0` is another name of unixfs-v0-2015); NULL when there is none. Static. */
const struct fab_profile *fab_profile_find(const char *name);
/* The i-th profile, the default first; NULL after the last. Aliases are not listed. */
const struct fab_profile *fab_profile_at(size_t i);

#endif
