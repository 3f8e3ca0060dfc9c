/* Images: a root file system as a UnixFS tree, and beside it a small dag-cbor block that says how
 * to run in it.
 *
 *     {env: [text], arch: text, kind: "fabric-image", rootfs: link, command: [text],
 *      workdir: text, entrypoint: [text]}
 *
 * The block's CID is the image's. Tags and times are not part of it; they are in the table
 * "images". A job runs its own command: entrypoint and command of the image are kept for people to
 * read. */
#ifndef FAB_LEDGER_IMAGE_H
#define FAB_LEDGER_IMAGE_H

#include "storage/store/store.h"

#define FAB_IMAGE_BYTES_MAX (256u << 10)
#define FAB_IMAGE_LIST_MAX  1024
#define FAB_IMAGE_TAG_MAX   255

struct fab_text_list {
    char **texts; /* NULL-terminated when not NULL */
    size_t n;
};

FAB_MUST enum fab_rc fab_text_list_add(struct fab_text_list *list, const char *text);
void fab_text_list_fini(struct fab_text_list *list);

/* All zero at birth. */
struct fab_image {
    struct fab_cid rootfs;
    char arch[32]; /* as uname gives it; "" if unknown */
    char *workdir; /* NULL: none */
    struct fab_text_list env, entrypoint, command;
};

void fab_image_fini(struct fab_image *image);

FAB_MUST enum fab_rc fab_image_encode(const struct fab_image *image, struct fab_buf *block,
                                      struct fab_cid *cid);
/* FAB_EFORMAT for anything that is not an image's block. */
FAB_MUST enum fab_rc fab_image_decode(struct fab_slice block, struct fab_image *out);

/* The image that `cid` names: an image block, the tree of a root file system, or the tree of an OCI
 * image layout, which is imported (once; its image is remembered). `home` is where that is
 * unpacked. Freed with fab_image_fini. FAB_ENOENT, FAB_EINVAL, and as fab_image_import. */
FAB_MUST enum fab_rc fab_image_open(struct fab_store *store, uint32_t ws, const char *home,
                                    const struct fab_cid *cid, const atomic_bool *cancel,
                                    struct fab_image *out, struct fab_err *err);

struct fab_image_entry {
    struct fab_cid cid;
    int64_t imported;                /* seconds since 1970 */
    char tag[FAB_IMAGE_TAG_MAX + 1]; /* as the archive named it, "" if it did not */
};

struct fab_import_stats {
    unsigned layers;
    uint64_t files, bytes;
    uint64_t skipped; /* device nodes, fifos and sockets, which are not taken */
};

/* Make an image from `path`: what `docker save` writes, or an OCI archive, as tar (also compressed)
 * or as a directory. It is unpacked below HOME/tmp, put, pinned as "image/TAG" and listed. Entries
 * that lead out of the tree (absolute, "..", through a symlink) are refused: FAB_EFORMAT. Device
 * nodes are left out; owners are not kept; setuid bits neither. FAB_EUNSUPPORTED for another
 * architecture's image. `stats` may be NULL. */
FAB_MUST enum fab_rc fab_image_import(struct fab_store *store, uint32_t ws, const char *home,
                                      const char *path, const atomic_bool *cancel,
                                      struct fab_image_entry *out, struct fab_import_stats *stats,
                                      struct fab_err *err);

/* What was imported here, in no order; another code than FAB_OK stops and is given back. */
FAB_MUST enum fab_rc
fab_image_each(struct fab_store *store, uint32_t ws,
               enum fab_rc (*fn)(void *arg, const struct fab_image_entry *entry), void *arg);

#endif
