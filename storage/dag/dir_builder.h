/* Directories: entries in any order in, one basic directory or a HAMT-sharded one out, by the
 * profile's threshold. A million entries take about 100 bytes each. */
#ifndef FAB_DAG_DIR_BUILDER_H
#define FAB_DAG_DIR_BUILDER_H

#include "storage/dag/file_builder.h"

#define FAB_NAME_MAX 4096u /* bytes of the longest entry name that is built or read */

struct fab_dir_builder;

/* `profile` is borrowed until free. `max_bytes` bounds the memory of names and CIDs (0: 1 GiB). */
FAB_MUST enum fab_rc fab_dir_builder_new(const struct fab_profile *profile, size_t max_bytes,
                                         struct fab_dir_builder **out);
void fab_dir_builder_free(struct fab_dir_builder *builder); /* NULL is allowed */

/* Add an entry; the name is any 1 to FAB_NAME_MAX bytes but '/' and NUL (FAB_EINVAL) and is copied.
 * FAB_EEXIST when the name is there, FAB_ELIMIT at max_bytes. */
FAB_MUST enum fab_rc fab_dir_builder_add(struct fab_dir_builder *builder, struct fab_slice name,
                                         const struct fab_cid *cid, uint64_t tsize);
size_t fab_dir_builder_count(const struct fab_dir_builder *builder);

/* Encode, give every block to the sink (children before parents; put may be NULL), root last.
 * `attr` may be NULL. The builder is then only good for free. */
FAB_MUST enum fab_rc fab_dir_builder_finish(struct fab_dir_builder *builder,
                                            const struct fab_unixfs_attr *attr,
                                            const struct fab_block_sink *sink,
                                            struct fab_dag_entry *out);

#endif
