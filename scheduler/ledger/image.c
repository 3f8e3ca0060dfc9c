#include "scheduler/ledger/image.h"

#include "scheduler/exec/dirs.h"
#include "scheduler/ledger/unpack.h"
#include "storage/dag/dag_cbor.h"
#include "storage/dag/resolve.h"
#include "storage/files/get.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND    "fabric-image"
#define IMAGES  "images"
#define LAYOUTS "layouts"

enum fab_rc fab_text_list_add(struct fab_text_list *list, const char *text)
{
    char **texts = realloc(list->texts, (list->n + 2) * sizeof *texts);
    if (!texts)
        return FAB_ENOMEM;
    list->texts = texts;
    texts[list->n] = strdup(text);
    if (!texts[list->n])
        return FAB_ENOMEM;
    texts[++list->n] = NULL;
    return FAB_OK;
}

void fab_text_list_fini(struct fab_text_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->texts[i]);
    free(list->texts);
    *list = (struct fab_text_list){0};
}

void fab_image_fini(struct fab_image *image)
{
    free(image->workdir);
    fab_text_list_fini(&image->env);
    fab_text_list_fini(&image->entrypoint);
    fab_text_list_fini(&image->command);
    *image = (struct fab_image){0};
}

/* ---- the block ---- */

static enum fab_rc put_list(struct fab_buf *b, const char *key, const struct fab_text_list *list)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    FAB_TRY(fab_cbor_put_array(b, list->n));
    for (size_t i = 0; i < list->n; i++)
        FAB_TRY(fab_cbor_put_str(b, list->texts[i]));
    return FAB_OK;
}

enum fab_rc fab_image_encode(const struct fab_image *image, struct fab_buf *b, struct fab_cid *cid)
{
    size_t start = b->len;
    FAB_TRY(fab_cbor_put_map(b, 7));
    FAB_TRY(put_list(b, "env", &image->env));
    FAB_TRY(fab_cbor_put_str(b, "arch"));
    FAB_TRY(fab_cbor_put_str(b, image->arch));
    FAB_TRY(fab_cbor_put_str(b, "kind"));
    FAB_TRY(fab_cbor_put_str(b, KIND));
    FAB_TRY(fab_cbor_put_str(b, "rootfs"));
    FAB_TRY(fab_cbor_put_cid(b, &image->rootfs));
    FAB_TRY(put_list(b, "command", &image->command));
    FAB_TRY(fab_cbor_put_str(b, "workdir"));
    FAB_TRY(fab_cbor_put_str(b, image->workdir ? image->workdir : ""));
    FAB_TRY(put_list(b, "entrypoint", &image->entrypoint));
    return fab_cid_of(1, FAB_CODEC_DAG_CBOR, FAB_MH_SHA2_256,
                      fab_slice(b->data + start, b->len - start), cid);
}

static bool is(struct fab_slice s, const char *text)
{
    return fab_slice_eq(s, fab_slice(text, strlen(text)));
}

static enum fab_rc read_text(struct fab_reader *r, char **out)
{
    struct fab_slice s;
    FAB_TRY(fab_cbor_read_text(r, &s));
    if (s.n && memchr(s.p, 0, s.n))
        return FAB_EFORMAT;
    *out = strndup(s.n ? (const char *)s.p : "", s.n);
    return *out ? FAB_OK : FAB_ENOMEM;
}

static enum fab_rc read_list(struct fab_reader *r, struct fab_text_list *list)
{
    size_t n;
    FAB_TRY(fab_cbor_read_array(r, &n));
    if (n > FAB_IMAGE_LIST_MAX || list->n)
        return FAB_EFORMAT;
    while (n--) {
        char *text = NULL;
        FAB_TRY(read_text(r, &text));
        enum fab_rc rc = fab_text_list_add(list, text);
        free(text);
        FAB_TRY(rc);
    }
    return FAB_OK;
}

static enum fab_rc read_field(struct fab_reader *r, struct fab_slice key, struct fab_image *image,
                              unsigned *seen)
{
    struct fab_slice s;
    if (is(key, "env"))
        return read_list(r, &image->env);
    if (is(key, "command"))
        return read_list(r, &image->command);
    if (is(key, "entrypoint"))
        return read_list(r, &image->entrypoint);
    if (is(key, "rootfs")) {
        *seen |= 1;
        return fab_cbor_read_cid(r, &image->rootfs);
    }
    if (is(key, "kind") || is(key, "arch")) {
        FAB_TRY(fab_cbor_read_text(r, &s));
        if (is(key, "kind")) {
            *seen |= 2;
            return is(s, KIND) ? FAB_OK : FAB_EFORMAT;
        }
        if (s.n >= sizeof image->arch || (s.n && memchr(s.p, 0, s.n)))
            return FAB_EFORMAT;
        if (s.n)
            memcpy(image->arch, s.p, s.n);
        image->arch[s.n] = '\0';
        return FAB_OK;
    }
    if (is(key, "workdir") && !image->workdir) {
        FAB_TRY(read_text(r, &image->workdir));
        if (image->workdir[0] == '/')
            return FAB_OK;
        bool empty = !image->workdir[0];
        free(image->workdir);
        image->workdir = NULL;
        return empty ? FAB_OK : FAB_EFORMAT;
    }
    return fab_cbor_skip(r);
}

enum fab_rc fab_image_decode(struct fab_slice block, struct fab_image *out)
{
    struct fab_image image = {0};
    struct fab_reader r = fab_reader(block);
    struct fab_cbor_map map;
    unsigned seen = 0;
    if (block.n > FAB_IMAGE_BYTES_MAX)
        return FAB_ELIMIT;
    enum fab_rc rc = fab_cbor_read_map(&r, &map);
    while (rc == FAB_OK && map.left) {
        struct fab_slice key;
        rc = fab_cbor_read_key(&r, &map, &key);
        if (rc == FAB_OK)
            rc = read_field(&r, key, &image, &seen);
    }
    if (rc == FAB_OK)
        rc = fab_cbor_read_end(&r);
    if (rc == FAB_OK && seen != 3)
        rc = FAB_EFORMAT;
    if (rc != FAB_OK) {
        fab_image_fini(&image);
        return rc;
    }
    *out = image;
    return FAB_OK;
}

/* ---- opening ---- */

#define KEY_MAX (4 + FAB_MH_MAX)

static struct fab_slice make_key(uint8_t key[KEY_MAX], uint32_t ws, const struct fab_cid *cid)
{
    struct fab_slice mh = cid ? fab_cid_mh(cid) : fab_slice(NULL, 0);
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(ws >> (24 - 8 * i));
    if (mh.n)
        memcpy(key + 4, mh.p, mh.n);
    return fab_slice(key, 4 + mh.n);
}

static enum fab_rc read_block(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                              struct fab_image *out, struct fab_err *err)
{
    struct fab_view *view;
    struct fab_slice block;
    FAB_TRY(fab_view_open(store, ws, &view, err));
    enum fab_rc rc = fab_view_get(view, cid, &block);
    if (rc == FAB_OK)
        rc = fab_image_decode(block, out);
    fab_view_close(view);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "the image is not in this workspace");
    return rc == FAB_OK
               ? rc
               : fab_err_set(err, rc, "the CID does not name an image: %s", fab_rc_text(rc));
}

static enum fab_rc look_at_tree(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                bool *layout, struct fab_err *err)
{
    struct fab_view *view;
    struct fab_node_info info;
    struct fab_cid found;
    static const char mark[] = "oci-layout";
    FAB_TRY(fab_view_open(store, ws, &view, err));
    struct fab_block_source source = fab_view_source(view);
    enum fab_rc rc = fab_node_stat(&source, cid, &info);
    if (rc == FAB_OK && info.kind != FAB_NODE_DIRECTORY && info.kind != FAB_NODE_HAMT)
        rc = FAB_EINVAL;
    if (rc == FAB_OK)
        *layout = fab_resolve_from(&source, cid, fab_slice(mark, sizeof mark - 1), &found, NULL) ==
                  FAB_OK;
    fab_view_close(view);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "the image is not in this workspace");
    return rc == FAB_OK ? rc
                        : fab_err_set(err, rc,
                                      "the image must be a directory or what `fabric image import` "
                                      "gave");
}

static enum fab_rc known_layout(struct fab_store *store, uint32_t ws, const struct fab_cid *layout,
                                struct fab_cid *image)
{
    struct fab_buf value;
    uint8_t key[KEY_MAX];
    fab_buf_init(&value, FAB_CID_MAX);
    enum fab_rc rc = fab_table_get(store, LAYOUTS, make_key(key, ws, layout), &value);
    if (rc == FAB_OK)
        rc = fab_cid_parse(fab_buf_slice(&value), image);
    fab_buf_fini(&value);
    return rc;
}

static enum fab_rc import_layout(struct fab_store *store, uint32_t ws, const char *home,
                                 const struct fab_cid *layout, const atomic_bool *cancel,
                                 struct fab_cid *image, struct fab_err *err)
{
    struct fab_unpack_folder folder;
    char dest[FAB_UNPACK_PATH_MAX + 16];
    uint8_t key[KEY_MAX], cid[FAB_CID_MAX];
    struct fab_image_entry entry;
    struct fab_store_batch *batch;
    FAB_TRY(fab_unpack_folder_make(home, &folder, err));
    snprintf(dest, sizeof dest, "%s/layout", folder.path);
    struct fab_get_options get = {.dest = dest, .watch = {.cancel = cancel}};
    enum fab_rc rc = fab_get(store, ws, layout, &get, NULL, err);
    if (rc == FAB_OK)
        rc = fab_image_import(store, ws, home, dest, cancel, &entry, NULL, err);
    fab_unpack_folder_remove(&folder);
    FAB_TRY(rc);
    FAB_TRY(fab_batch_begin(store, &batch, err));
    rc = fab_batch_put(batch, LAYOUTS, make_key(key, ws, layout),
                       fab_slice(cid, fab_cid_bytes(&entry.cid, cid)));
    if (rc != FAB_OK) {
        fab_batch_abort(batch);
        return fab_err_set(err, rc, "cannot record the image: %s", fab_rc_text(rc));
    }
    FAB_TRY(fab_batch_commit(batch, err));
    *image = entry.cid;
    return FAB_OK;
}

enum fab_rc fab_image_open(struct fab_store *store, uint32_t ws, const char *home,
                           const struct fab_cid *cid, const atomic_bool *cancel,
                           struct fab_image *out, struct fab_err *err)
{
    struct fab_cid image;
    bool layout = false;
    if (cid->codec == FAB_CODEC_DAG_CBOR)
        return read_block(store, ws, cid, out, err);
    FAB_TRY(look_at_tree(store, ws, cid, &layout, err));
    if (!layout) {
        *out = (struct fab_image){.rootfs = *cid};
        return FAB_OK;
    }
    if (known_layout(store, ws, cid, &image) == FAB_OK &&
        read_block(store, ws, &image, out, NULL) == FAB_OK)
        return FAB_OK;
    FAB_TRY(import_layout(store, ws, home, cid, cancel, &image, err));
    return read_block(store, ws, &image, out, err);
}

/* ---- the list ---- */

struct each {
    enum fab_rc (*fn)(void *arg, const struct fab_image_entry *entry);
    void *arg;
};

static enum fab_rc each_entry(void *arg, struct fab_slice key, struct fab_slice value)
{
    const struct each *each = arg;
    struct fab_image_entry entry = {0};
    struct fab_reader r = fab_reader(value);
    struct fab_slice tag;
    size_t n;
    (void)key;
    FAB_TRY(fab_cbor_read_array(&r, &n));
    if (n != 3)
        return FAB_EFORMAT;
    FAB_TRY(fab_cbor_read_cid(&r, &entry.cid));
    FAB_TRY(fab_cbor_read_text(&r, &tag));
    FAB_TRY(fab_cbor_read_int(&r, &entry.imported));
    FAB_TRY(fab_cbor_read_end(&r));
    if (tag.n > FAB_IMAGE_TAG_MAX)
        return FAB_EFORMAT;
    if (tag.n)
        memcpy(entry.tag, tag.p, tag.n);
    return each->fn(each->arg, &entry);
}

enum fab_rc fab_image_each(struct fab_store *store, uint32_t ws,
                           enum fab_rc (*fn)(void *arg, const struct fab_image_entry *entry),
                           void *arg)
{
    uint8_t key[KEY_MAX];
    struct each each = {fn, arg};
    return fab_table_each(store, IMAGES, make_key(key, ws, NULL), false, each_entry, &each);
}

enum fab_rc fab_image_list_add(struct fab_store *store, uint32_t ws,
                               const struct fab_image_entry *entry, struct fab_err *err)
{
    struct fab_buf value;
    struct fab_store_batch *batch;
    uint8_t key[KEY_MAX];
    fab_buf_init(&value, 2048);
    enum fab_rc rc = fab_cbor_put_array(&value, 3);
    if (rc == FAB_OK)
        rc = fab_cbor_put_cid(&value, &entry->cid);
    if (rc == FAB_OK)
        rc = fab_cbor_put_str(&value, entry->tag);
    if (rc == FAB_OK)
        rc = fab_cbor_put_int(&value, entry->imported);
    if (rc != FAB_OK) {
        fab_err_set(err, rc, "cannot list the image: %s", fab_rc_text(rc));
        goto out;
    }
    if ((rc = fab_batch_begin(store, &batch, err)) != FAB_OK)
        goto out;
    rc = fab_batch_put(batch, IMAGES, make_key(key, ws, &entry->cid), fab_buf_slice(&value));
    if (rc == FAB_OK) {
        rc = fab_batch_commit(batch, err);
    } else {
        fab_batch_abort(batch);
        fab_err_set(err, rc, "cannot list the image: %s", fab_rc_text(rc));
    }
out:
    fab_buf_fini(&value);
    return rc;
}
