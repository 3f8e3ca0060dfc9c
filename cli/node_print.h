/* What ls and tree show of an entry. */
#ifndef FAB_CLI_NODE_PRINT_H
#define FAB_CLI_NODE_PRINT_H

#include "cli/output.h"
#include "cli/target.h"

/* A file's bytes, or a directory's DAG: from the entry's own block; from the link alone, with
 * `known` false, when that block is not in the workspace or cannot be read. */
struct fab_entry {
    struct fab_cid cid;
    uint64_t tsize; /* as the link claims */
    bool known;
    struct fab_node_info node;
};
void fab_entry_read(const struct fab_target *target, const struct fab_cid *cid, uint64_t tsize,
                    struct fab_entry *out);
bool fab_entry_is_dir(const struct fab_entry *entry);
/* "file", "directory", "symlink", "other", or "missing" if not known. How it is stored (raw block,
 * shards) makes no difference here. */
const char *fab_entry_type(const struct fab_entry *entry);
/* The number in the listing. */
uint64_t fab_entry_size(const struct fab_entry *entry);
/* cid, type ("missing" if not known), size, dag_bytes, and where recorded mode, mtime, target. */
void fab_entry_json(json_t *object, const struct fab_entry *entry);
void fab_attr_json(json_t *object, const struct fab_node_info *node);

#endif
