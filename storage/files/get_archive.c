#include "storage/dag/dir_reader.h"
#include "storage/dag/file_reader.h"
#include "storage/dag/resolve.h"
#include "storage/files/archive_lib.h"
#include "storage/files/get.h"
#include "storage/files/out.h"
#include "storage/files/tree.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX (64u << 10) /* of one entry */
#define PAD_MAX        (64u << 20) /* bytes of an unfinished entry that closing may fill up */

/* The names of one directory, by keyed hash: an archive has no file system to say that a name comes
 * twice. */
struct seen {
    uint64_t *slot; /* 0: empty */
    size_t slots, n;
};

struct tar {
    struct source source;
    struct watch watch;
    struct out out;
    const struct fab_archive_lib *lib;
    struct archive *archive;
    struct fab_buf path; /* of the entry, with a NUL after it */
    struct fab_node_info info;
    unsigned depth;
    uint64_t max_bytes;
    uint8_t key[crypto_shorthash_KEYBYTES];
    enum fab_rc out_rc; /* of the first failed write; later ones go nowhere */
    uint64_t left;      /* bytes that the current entry still lacks */
    struct fab_get_stats stats;
    struct fab_err *err;
};

struct tar_dir {
    struct tar *tar;
    struct seen seen;
};

static enum fab_rc entry_add(struct tar *tar, const struct fab_cid *cid);

static enum fab_rc seen_grow(struct seen *seen)
{
    size_t slots = seen->slots ? seen->slots * 2 : 64;
    uint64_t *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return FAB_ENOMEM;
    for (size_t i = 0; i < seen->slots; i++) {
        size_t at = seen->slot[i] & (slots - 1);
        if (!seen->slot[i])
            continue;
        while (slot[at])
            at = (at + 1) & (slots - 1);
        slot[at] = seen->slot[i];
    }
    free(seen->slot);
    seen->slot = slot;
    seen->slots = slots;
    return FAB_OK;
}

static enum fab_rc seen_add(struct seen *seen, const struct tar *tar, struct fab_slice name,
                            bool *fresh)
{
    uint8_t digest[crypto_shorthash_BYTES];
    uint64_t hash;
    if (seen->n * 4 >= seen->slots * 3)
        FAB_TRY(seen_grow(seen));
    crypto_shorthash(digest, name.p, name.n, tar->key);
    memcpy(&hash, digest, sizeof hash);
    hash |= (uint64_t)(hash == 0);
    size_t at = hash & (seen->slots - 1);
    while (seen->slot[at] && seen->slot[at] != hash)
        at = (at + 1) & (seen->slots - 1);
    *fresh = seen->slot[at] == 0;
    if (*fresh) {
        seen->slot[at] = hash;
        seen->n++;
    }
    return FAB_OK;
}

/* Never fails: libarchive does not free all of itself after a failed write. */
static la_ssize_t on_write(struct archive *archive, void *arg, const void *bytes, size_t n)
{
    struct tar *tar = arg;
    (void)archive;
    if (tar->out_rc == FAB_OK)
        tar->out_rc = out_write(&tar->out, fab_slice(bytes, n));
    return (la_ssize_t)n;
}

static enum fab_rc archive_fault(struct tar *tar)
{
    if (tar->out_rc != FAB_OK)
        return tar->out_rc;
    const char *text = tar->lib->archive_error_string(tar->archive);
    return fab_err_set(tar->err, FAB_EIO, "cannot archive %s: %s", (const char *)tar->path.data,
                       text ? text : "unknown error");
}

static enum fab_rc header_add(struct tar *tar, mode_t type, uint64_t size)
{
    const struct fab_unixfs_attr *attr = &tar->info.attr;
    struct archive_entry *entry = tar->lib->archive_entry_new();
    if (!entry)
        return FAB_ENOMEM;
    mode_t usual = type == AE_IFDIR ? 0755 : type == AE_IFLNK ? 0777 : 0644;
    tar->lib->archive_entry_copy_pathname(entry, (const char *)tar->path.data);
    tar->lib->archive_entry_set_filetype(entry, type);
    tar->lib->archive_entry_set_perm(entry, attr->has_mode ? attr->mode & 0777 : usual);
    tar->lib->archive_entry_set_size(entry, (la_int64_t)size);
    tar->lib->archive_entry_set_mtime(entry, attr->has_mtime ? attr->mtime : 0,
                                      attr->has_mtime ? (long)attr->mtime_nsec : 0);
    if (type == AE_IFLNK)
        tar->lib->archive_entry_copy_symlink(entry, tar->info.target);
    int result = tar->lib->archive_write_header(tar->archive, entry);
    tar->lib->archive_entry_free(entry);
    tar->left = size;
    return result < ARCHIVE_WARN ? archive_fault(tar) : tar->out_rc;
}

static enum fab_rc on_data(void *arg, uint64_t offset, struct fab_slice data)
{
    struct tar *tar = arg;
    (void)offset;
    while (data.n) {
        la_ssize_t n = tar->lib->archive_write_data(tar->archive, data.p, data.n);
        if (n <= 0)
            return archive_fault(tar);
        data = fab_slice(data.p + n, data.n - (size_t)n);
        tar->watch.now.bytes += (uint64_t)n;
        tar->left -= (uint64_t)n;
    }
    FAB_TRY(tar->out_rc);
    source_breathe(&tar->source);
    return watch_tick(&tar->watch);
}

static enum fab_rc file_add(struct tar *tar, const struct fab_cid *cid)
{
    uint64_t size = tar->info.size;
    struct fab_block_source table = source_table(&tar->source);
    if (size > INT64_MAX || (tar->max_bytes && size > tar->max_bytes - tar->stats.bytes))
        return fab_err_set(tar->err, FAB_ELIMIT, "%s has more bytes than the limit allows",
                           (const char *)tar->path.data);
    FAB_TRY(header_add(tar, AE_IFREG, size));
    FAB_TRY(fab_file_read(&table, cid, 0, UINT64_MAX, on_data, tar));
    tar->stats.files++;
    tar->stats.bytes += size;
    tar->watch.now.items++;
    return FAB_OK;
}

static enum fab_rc path_set(struct tar *tar, size_t base, struct fab_slice name, bool slash)
{
    tar->path.len = base;
    FAB_TRY(fab_buf_append(&tar->path, name.p, name.n));
    if (slash)
        FAB_TRY(fab_buf_byte(&tar->path, '/'));
    FAB_TRY(fab_buf_byte(&tar->path, '\0'));
    tar->path.len--;
    return FAB_OK;
}

static enum fab_rc on_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                            uint64_t tsize)
{
    (void)tsize;
    struct tar_dir *dir = arg;
    struct tar *tar = dir->tar;
    size_t base = tar->path.len;
    bool fresh;
    const char *fault = tree_name_fault(name);
    if (!fault) {
        FAB_TRY(seen_add(&dir->seen, tar, name, &fresh));
        fault = fresh ? NULL : "a name that comes twice";
    }
    if (fault)
        return fab_err_set(tar->err, FAB_EFORMAT, "%s has %s", (const char *)tar->path.data, fault);
    source_breathe(&tar->source);
    FAB_TRY(watch_tick(&tar->watch));
    FAB_TRY(path_set(tar, base, name, false));
    FAB_TRY(entry_add(tar, cid));
    return path_set(tar, base, fab_slice(NULL, 0), false);
}

static enum fab_rc directory_add(struct tar *tar, const struct fab_cid *cid)
{
    struct tar_dir dir = {.tar = tar};
    struct fab_block_source table = source_table(&tar->source);
    if (tar->depth >= FAB_DEPTH_MAX)
        return fab_err_set(tar->err, FAB_ELIMIT, "%s lies too many directories deep",
                           (const char *)tar->path.data);
    FAB_TRY(path_set(tar, tar->path.len, fab_slice(NULL, 0), true));
    FAB_TRY(header_add(tar, AE_IFDIR, 0));
    tar->depth++;
    enum fab_rc rc = fab_dir_each(&table, cid, on_entry, &dir);
    tar->depth--;
    free(dir.seen.slot);
    tar->stats.directories++;
    return rc;
}

static enum fab_rc entry_add(struct tar *tar, const struct fab_cid *cid)
{
    struct fab_block_source table = source_table(&tar->source);
    FAB_TRY(fab_node_stat(&table, cid, &tar->info));
    switch (tar->info.kind) {
    case FAB_NODE_RAW:
    case FAB_NODE_FILE:
        return file_add(tar, cid);
    case FAB_NODE_DIRECTORY:
    case FAB_NODE_HAMT:
        return directory_add(tar, cid);
    case FAB_NODE_SYMLINK:
        tar->stats.symlinks++;
        return header_add(tar, AE_IFLNK, 0);
    case FAB_NODE_OTHER:
        break;
    }
    return fab_err_set(tar->err, FAB_EUNSUPPORTED,
                       "%s is no file, directory or symlink (not UnixFS)",
                       (const char *)tar->path.data);
}

static enum fab_rc archive_open(struct tar *tar)
{
    tar->archive = tar->lib->archive_write_new();
    if (!tar->archive)
        return FAB_ENOMEM;
    /* Names are any bytes. In this program's locale, C, all but ASCII cannot be converted: then
     * libarchive writes them as they are, declares that (hdrcharset=BINARY), and warns. */
    if (tar->lib->archive_write_set_format_pax_restricted(tar->archive) != ARCHIVE_OK ||
        tar->lib->archive_write_set_bytes_per_block(tar->archive, 0) != ARCHIVE_OK ||
        tar->lib->archive_write_open2(tar->archive, tar, NULL, on_write, NULL, NULL) != ARCHIVE_OK)
        return archive_fault(tar);
    return FAB_OK;
}

static enum fab_rc archive_all(struct tar *tar, const struct fab_cid *cid, struct fab_slice name)
{
    FAB_TRY(path_set(tar, 0, name, false));
    FAB_TRY(archive_open(tar));
    FAB_TRY(entry_add(tar, cid));
    if (tar->lib->archive_write_close(tar->archive) != ARCHIVE_OK || tar->out_rc != FAB_OK)
        return archive_fault(tar);
    source_rest(&tar->source);
    return out_flush(&tar->out);
}

/* Closing fills the unfinished entry up and writes the end marks: after a failure they go nowhere.
 * An entry that lacks too much is given up instead, which costs the few bytes that libarchive then
 * leaks. */
static void archive_close(struct tar *tar, enum fab_rc rc)
{
    if (!tar->archive)
        return;
    if (rc != FAB_OK && tar->out_rc == FAB_OK)
        tar->out_rc = rc;
    if (tar->left > PAD_MAX)
        tar->lib->archive_write_fail(tar->archive);
    tar->lib->archive_write_free(tar->archive);
}

enum fab_rc fab_get_archive(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                            const char *name, const struct fab_get_options *options, int fd,
                            struct fab_get_stats *stats, struct fab_err *err)
{
    struct fab_err local;
    struct fab_lease *lease;
    struct tar tar = {.max_bytes = options ? options->max_bytes : 0};
    tar.err = err ? err : &local;
    tar.err->rc = FAB_OK;
    tar.err->msg[0] = '\0';
    if (tree_name_fault(fab_slice(name, strlen(name))))
        return fab_err_set(err, FAB_EINVAL, "'%s' cannot be the name of an entry", name);
    FAB_TRY(fab_archive_lib(&tar.lib, err));
    FAB_TRY(fab_lease_root(store, ws, cid, &lease, err));
    source_init(&tar.source, store, ws, options && options->verify);
    watch_init(&tar.watch, options ? &options->watch : NULL);
    fab_buf_init(&tar.path, PATH_BYTES_MAX);
    randombytes_buf(tar.key, sizeof tar.key);
    enum fab_rc rc = out_init(&tar.out, fd, &tar.source, &tar.watch);
    if (rc == FAB_OK)
        rc = archive_all(&tar, cid, fab_slice(name, strlen(name)));
    if (rc == FAB_OK) {
        tar.watch.now.bytes = tar.stats.bytes;
        watch_end(&tar.watch);
        if (stats)
            *stats = tar.stats;
    } else if (tar.out.error) {
        fab_err_errno(err, tar.out.error, "cannot write the archive");
    } else {
        source_err(&tar.source, rc, tar.path.len ? (const char *)tar.path.data : name, tar.err);
    }
    archive_close(&tar, rc);
    source_rest(&tar.source);
    out_fini(&tar.out);
    fab_buf_fini(&tar.path);
    fab_lease_release(lease);
    return rc;
}
