#include "storage/dag/resolve.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/dir_reader.h"
#include "storage/dag/links.h"

#include <string.h>

#define NAME_SHOWN 200 /* bytes of a component in a message */

static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

enum fab_rc fab_path_parse(const char *text, struct fab_cid *root, struct fab_slice *path,
                           struct fab_err *err)
{
    const char *s = after(text, "/ipfs/");
    if (!s)
        s = after(text, "ipfs://");
    if (!s)
        s = text;
    size_t n = strcspn(s, "/");
    if (n == 0)
        return fab_err_set(err, FAB_EFORMAT, "%.*s: a CID is missing; write CID or CID/PATH",
                           NAME_SHOWN, text);
    struct fab_cid cid;
    enum fab_rc rc = fab_cid_from_text(s, n, &cid);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "%.*s: not a CID", (int)(n < NAME_SHOWN ? n : NAME_SHOWN), s);
    *root = cid;
    *path = fab_slice(s + n, strlen(s + n));
    if (path->n > 0)
        *path = fab_slice(path->p + 1, path->n - 1);
    return FAB_OK;
}

/* The bytes of a path up to and with a component, for messages. */
struct place {
    const struct fab_cid *root;
    struct fab_slice path;
};

static enum fab_rc fail(const struct place *at, enum fab_rc rc, const char *what,
                        struct fab_err *err)
{
    char cid[FAB_CID_TEXT_MAX];
    size_t n = at->path.n < NAME_SHOWN ? at->path.n : NAME_SHOWN;
    fab_cid_text(at->root, cid);
    return fab_err_set(err, rc, "%s%s%.*s: %s", cid, n ? "/" : "", (int)n,
                       n ? (const char *)at->path.p : "", what);
}

static enum fab_rc step(const struct fab_block_source *source, const struct place *dir,
                        const struct place *at, struct fab_slice name, struct fab_cid *cid,
                        struct fab_err *err)
{
    bool missing = false;
    struct fab_cid next;
    enum fab_rc rc = fab_dir_find(source, cid, name, &missing, &next, NULL);
    switch (rc) {
    case FAB_OK:
        *cid = next;
        return FAB_OK;
    case FAB_ENOENT:
        if (missing)
            return fail(dir, rc, "a block of this directory is not here", err);
        return fail(at, rc, "no such name in the directory", err);
    case FAB_EINVAL:
        return fail(dir, rc, "not a directory", err);
    default:
        return fail(dir, rc, fab_rc_text(rc), err);
    }
}

enum fab_rc fab_resolve_from(const struct fab_block_source *source, const struct fab_cid *root,
                             struct fab_slice path, struct fab_cid *out, struct fab_err *err)
{
    struct fab_cid cid = *root;
    struct place dir = {root, fab_slice(path.p, 0)};
    unsigned count = 0;
    for (size_t i = 0; i < path.n;) {
        const uint8_t *slash = memchr(path.p + i, '/', path.n - i);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        if (end > i) {
            struct place at = {root, fab_slice(path.p, end)};
            if (++count > FAB_PATH_COMPONENTS_MAX)
                return fail(&dir, FAB_ELIMIT, "the path has too many components", err);
            FAB_TRY(step(source, &dir, &at, fab_slice(path.p + i, end - i), &cid, err));
            dir = at;
        }
        i = end + 1;
    }
    *out = cid;
    return FAB_OK;
}

bool fab_resolve_lacks(const struct fab_block_source *source, const struct fab_cid *root,
                       struct fab_slice path, struct fab_cid *at, size_t *rest)
{
    *at = *root;
    for (size_t i = 0; i < path.n;) {
        const uint8_t *slash = memchr(path.p + i, '/', path.n - i);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        bool missing = false;
        struct fab_cid next;
        *rest = i;
        if (end > i) {
            if (fab_dir_find(source, at, fab_slice(path.p + i, end - i), &missing, &next, NULL) !=
                FAB_OK)
                return missing;
            *at = next;
        }
        i = end + 1;
    }
    return false;
}

enum fab_rc fab_resolve(const struct fab_block_source *source, const char *text,
                        struct fab_cid *out, struct fab_err *err)
{
    struct fab_cid root;
    struct fab_slice path;
    FAB_TRY(fab_path_parse(text, &root, &path, err));
    return fab_resolve_from(source, &root, path, out, err);
}

/* ---- what a CID is ---- */

static enum fab_rc count_link(void *arg, const struct fab_cid *link)
{
    struct fab_node_info *info = arg;
    (void)link;
    info->links++;
    return FAB_OK;
}

static void pb_links_info(const struct fab_pb_node *pb, struct fab_node_info *info)
{
    struct fab_pb_links it = fab_pb_links(pb);
    struct fab_pb_link link;
    info->links = pb->links;
    while (fab_pb_links_next(&it, &link))
        info->tsize = link.tsize > UINT64_MAX - info->tsize ? UINT64_MAX : info->tsize + link.tsize;
}

static enum fab_rc unixfs_info(const struct fab_unixfs *fs, struct fab_node_info *info)
{
    info->attr = fs->attr;
    info->size = 0;
    switch (fs->type) {
    case FAB_UNIXFS_RAW:
    case FAB_UNIXFS_FILE:
        if (fs->data.n > UINT64_MAX - fs->sizes_sum)
            return FAB_EFORMAT;
        info->kind = FAB_NODE_FILE;
        info->size = fs->sizes_sum + fs->data.n;
        return FAB_OK;
    case FAB_UNIXFS_DIRECTORY:
        info->kind = FAB_NODE_DIRECTORY;
        return FAB_OK;
    case FAB_UNIXFS_HAMT:
        info->kind = FAB_NODE_HAMT;
        return FAB_OK;
    case FAB_UNIXFS_SYMLINK:
        if (fs->data.n == 0 || fs->data.n > FAB_UNIXFS_SYMLINK_MAX ||
            memchr(fs->data.p, 0, fs->data.n))
            return FAB_EFORMAT;
        info->kind = FAB_NODE_SYMLINK;
        info->size = fs->data.n;
        memcpy(info->target, fs->data.p, fs->data.n);
        info->target[fs->data.n] = '\0';
        return FAB_OK;
    case FAB_UNIXFS_METADATA:
        break;
    }
    info->kind = FAB_NODE_OTHER;
    info->size = info->block_bytes;
    return FAB_OK;
}

static enum fab_rc pb_info(struct fab_slice block, struct fab_node_info *info)
{
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    FAB_TRY(fab_pb_decode(block, &pb));
    pb_links_info(&pb, info);
    /* Without UnixFS inside it is still a well-formed dag-pb node, of some other application. */
    if (!pb.has_data || fab_unixfs_decode(pb.data, &fs) != FAB_OK)
        return FAB_OK;
    return unixfs_info(&fs, info);
}

enum fab_rc fab_node_stat(const struct fab_block_source *source, const struct fab_cid *cid,
                          struct fab_node_info *out)
{
    struct fab_slice block;
    FAB_TRY(fab_block_get(source, cid, &block));
    struct fab_node_info info = {
        .kind = FAB_NODE_OTHER, .size = block.n, .block_bytes = block.n, .tsize = block.n};
    if (cid->codec == FAB_CODEC_RAW) {
        info.kind = FAB_NODE_RAW;
    } else if (cid->codec == FAB_CODEC_DAG_PB) {
        FAB_TRY(pb_info(block, &info));
    } else {
        enum fab_rc rc = fab_dag_links(cid->codec, block, count_link, &info);
        if (rc != FAB_OK && rc != FAB_EUNSUPPORTED)
            return rc;
    }
    *out = info;
    return FAB_OK;
}

const char *fab_node_kind_text(enum fab_node_kind kind)
{
    switch (kind) {
    case FAB_NODE_RAW:
        return "raw";
    case FAB_NODE_FILE:
        return "file";
    case FAB_NODE_DIRECTORY:
        return "directory";
    case FAB_NODE_HAMT:
        return "sharded directory";
    case FAB_NODE_SYMLINK:
        return "symlink";
    case FAB_NODE_OTHER:
        break;
    }
    return "other";
}
