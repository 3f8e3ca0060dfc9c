#include "cli/node_print.h"

void fab_entry_read(const struct fab_target *target, const struct fab_cid *cid, uint64_t tsize,
                    struct fab_entry *out)
{
    out->cid = *cid;
    out->tsize = tsize;
    enum fab_rc rc = fab_node_stat(&target->local, cid, &out->node);
    if (rc == FAB_ENOENT && cid->codec == FAB_CODEC_RAW && fab_target_reaches(target)) {
        /* All that is shown of it is known without its bytes. */
        out->node = (struct fab_node_info){.kind = FAB_NODE_RAW, .size = tsize, .tsize = tsize};
        rc = FAB_OK;
    } else if (rc == FAB_ENOENT) {
        rc = fab_node_stat(&target->source, cid, &out->node);
    }
    out->known = rc == FAB_OK;
}

bool fab_entry_is_dir(const struct fab_entry *entry)
{
    return entry->known &&
           (entry->node.kind == FAB_NODE_DIRECTORY || entry->node.kind == FAB_NODE_HAMT);
}

const char *fab_entry_type(const struct fab_entry *entry)
{
    if (!entry->known)
        return "missing";
    switch (entry->node.kind) {
    case FAB_NODE_RAW:
    case FAB_NODE_FILE:
        return "file";
    case FAB_NODE_DIRECTORY:
    case FAB_NODE_HAMT:
        return "directory";
    case FAB_NODE_SYMLINK:
        return "symlink";
    default:
        return "other";
    }
}

uint64_t fab_entry_size(const struct fab_entry *entry)
{
    return entry->known && !fab_entry_is_dir(entry) ? entry->node.size : entry->tsize;
}

void fab_attr_json(json_t *object, const struct fab_node_info *node)
{
    const struct fab_unixfs_attr *attr = &node->attr;
    if (attr->has_mode)
        fab_json_set_uint(object, "mode", attr->mode);
    if (attr->has_mtime) {
        fab_json_set_json(object, "mtime", json_integer(attr->mtime));
        fab_json_set_uint(object, "mtime_nsec", attr->mtime_nsec);
    }
    if (node->kind == FAB_NODE_SYMLINK)
        fab_json_set_text(object, "target", node->target);
}

void fab_entry_json(json_t *object, const struct fab_entry *entry)
{
    fab_json_set_cid(object, "cid", &entry->cid);
    fab_json_set_text(object, "type", fab_entry_type(entry));
    fab_json_set_uint(object, "size", fab_entry_size(entry));
    fab_json_set_uint(object, "dag_bytes", entry->tsize);
    if (entry->known)
        fab_attr_json(object, &entry->node);
}
