/* Importing an image: find the manifest, check and apply the layers, put the tree.
 *
 * Both layouts name a configuration and an ordered list of layer archives. `docker save` does it in
 * manifest.json, by path; OCI (image-spec: image layout) in index.json, by digest, which is
 * checked. */
#include "scheduler/exec/dirs.h"
#include "scheduler/exec/host.h"
#include "scheduler/ledger/unpack.h"
#include "storage/files/put.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define JSON_MAX     (4u << 20)
#define LAYERS_MAX   512
#define NESTING_MAX  4 /* indexes in indexes */
#define DIGEST_TEXT  80
#define PIN_TEXT_MAX (FAB_IMAGE_TAG_MAX + 8)

struct import {
    struct fab_store *store;
    uint32_t ws;
    const char *path; /* as given, for messages */
    const atomic_bool *cancel;
    struct fab_import_stats stats;
    uint64_t max_bytes;
    int archive; /* the opened layout */
    int root;    /* the tree that is built */
    struct fab_unpack_folder folder;
    struct fab_image image;
    struct fab_image_entry entry;
};

static enum fab_rc malformed(const struct import *im, const char *what, struct fab_err *err)
{
    return fab_err_set(err, FAB_EFORMAT, "%s is not an image archive: %s", im->path, what);
}

/* ---- files of the layout ---- */

static enum fab_rc open_file(const struct import *im, const char *name, int *out,
                             struct fab_err *err)
{
    struct stat st;
    int fd = fab_unpack_open(im->archive, name, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return fab_err_errno(err, errno, "cannot read %s of %s", name, im->path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return malformed(im, "a part of it is not a file", err);
    }
    *out = fd;
    return FAB_OK;
}

/* "sha256:<64 hex digits>" to "blobs/sha256/<hex>", and is it the hash of the file? */
static enum fab_rc open_digest(const struct import *im, const char *digest, int *out,
                               struct fab_err *err)
{
    char path[DIGEST_TEXT + 32];
    uint8_t want[32];
    if (!digest || strncmp(digest, "sha256:", 7) != 0 || strlen(digest) != 7 + 64)
        return malformed(im, "a digest is not sha256", err);
    for (size_t i = 0; i < 32; i++) {
        char pair[3] = {digest[7 + 2 * i], digest[8 + 2 * i], '\0'};
        char *end;
        want[i] = (uint8_t)strtoul(pair, &end, 16);
        if (*end || pair[0] == '-' || pair[0] == '+' || pair[0] == ' ')
            return malformed(im, "a digest is not hexadecimal", err);
    }
    snprintf(path, sizeof path, "blobs/sha256/%s", digest + 7);
    int fd;
    FAB_TRY(open_file(im, path, &fd, err));
    struct stat st;
    struct fab_cid cid;
    void *map = MAP_FAILED;
    enum fab_rc rc = FAB_OK;
    size_t n = fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    if (n && (map = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = fab_err_errno(err, errno, "cannot read %s of %s", path, im->path);
    if (rc == FAB_OK)
        rc = fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(n ? map : NULL, n), &cid);
    if (rc == FAB_OK && memcmp(fab_cid_digest(&cid).p, want, 32) != 0)
        rc = fab_err_set(err, FAB_EHASH, "%s of %s does not have the hash in its name", path,
                         im->path);
    if (map != MAP_FAILED)
        munmap(map, n);
    if (rc != FAB_OK)
        close(fd);
    else
        *out = fd;
    return rc;
}

static enum fab_rc parse_json(const struct import *im, int fd, json_t **out, struct fab_err *err)
{
    struct stat st;
    json_error_t why;
    enum fab_rc rc = FAB_OK;
    char *text = NULL;
    if (fstat(fd, &st) != 0 || st.st_size > JSON_MAX)
        rc = malformed(im, "its description is too long", err);
    else if (!(text = malloc((size_t)st.st_size + 1)))
        rc = fab_err_set(err, FAB_ENOMEM, "out of memory");
    else if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
        rc = fab_err_set(err, FAB_EIO, "cannot read %s", im->path);
    else if (!(*out = json_loadb(text, (size_t)st.st_size, JSON_REJECT_DUPLICATES, &why)))
        rc = malformed(im, "its description is not JSON", err);
    free(text);
    close(fd);
    return rc;
}

/* ---- the configuration ---- */

/* Go's name of an architecture to that of uname. */
static const char *arch_name(const char *go)
{
    static const char *const names[][2] = {
        {"amd64", "x86_64"},    {"arm64", "aarch64"},       {"386", "i686"},
        {"arm", "armv7l"},      {"s390x", "s390x"},         {"riscv64", "riscv64"},
        {"ppc64le", "ppc64le"}, {"loong64", "loongarch64"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(go, names[i][0]) == 0)
            return names[i][1];
    return go;
}

static enum fab_rc take_list(const struct import *im, const json_t *array,
                             struct fab_text_list *out, struct fab_err *err)
{
    if (json_array_size(array) > FAB_IMAGE_LIST_MAX)
        return malformed(im, "its configuration is too long", err);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (!text)
            return malformed(im, "its configuration is wrong", err);
        if (fab_text_list_add(out, text) != FAB_OK)
            return fab_err_set(err, FAB_ENOMEM, "out of memory");
    }
    return FAB_OK;
}

static enum fab_rc read_config(struct import *im, int fd, struct fab_err *err)
{
    json_t *json = NULL;
    FAB_TRY(parse_json(im, fd, &json, err));
    const json_t *config = json_object_get(json, "config");
    const char *arch = json_string_value(json_object_get(json, "architecture"));
    const char *dir = json_string_value(json_object_get(config, "WorkingDir"));
    enum fab_rc rc = FAB_OK;
    if (arch)
        snprintf(im->image.arch, sizeof im->image.arch, "%.31s", arch_name(arch));
    if (im->image.arch[0] && strcmp(im->image.arch, fab_host_arch()) != 0)
        rc = fab_err_set(err, FAB_EUNSUPPORTED, "%s is an image for %s, but this machine is %s",
                         im->path, im->image.arch, fab_host_arch());
    if (rc == FAB_OK && dir && dir[0] == '/' && !(im->image.workdir = strdup(dir)))
        rc = fab_err_set(err, FAB_ENOMEM, "out of memory");
    if (rc == FAB_OK)
        rc = take_list(im, json_object_get(config, "Env"), &im->image.env, err);
    if (rc == FAB_OK)
        rc = take_list(im, json_object_get(config, "Entrypoint"), &im->image.entrypoint, err);
    if (rc == FAB_OK)
        rc = take_list(im, json_object_get(config, "Cmd"), &im->image.command, err);
    json_decref(json);
    return rc;
}

/* ---- layers ---- */

static enum fab_rc apply_layer(struct import *im, int fd, const char *name, struct fab_err *err)
{
    char label[512];
    snprintf(label, sizeof label, "layer %.80s of %.400s", name, im->path);
    struct fab_unpack unpack = {.root = im->root,
                                .layer = true,
                                .label = label,
                                .max_bytes = im->max_bytes,
                                .cancel = im->cancel,
                                .stats = &im->stats};
    enum fab_rc rc = fab_unpack_tar(&unpack, fd, err);
    im->max_bytes = unpack.max_bytes;
    im->stats.layers++;
    close(fd);
    return rc;
}

static void take_tag(struct import *im, const char *tag)
{
    if (tag && strlen(tag) <= FAB_IMAGE_TAG_MAX)
        memcpy(im->entry.tag, tag, strlen(tag) + 1);
}

static enum fab_rc import_docker(struct import *im, int fd, struct fab_err *err)
{
    json_t *json = NULL;
    FAB_TRY(parse_json(im, fd, &json, err));
    const json_t *image = json_array_get(json, 0);
    const json_t *layers = json_object_get(image, "Layers");
    const char *config = json_string_value(json_object_get(image, "Config"));
    enum fab_rc rc = FAB_OK;
    if (!config || !json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
        rc = malformed(im, "its manifest.json names no configuration and layers", err);
    else if (json_array_size(json) > 1)
        rc = fab_err_set(err, FAB_EUNSUPPORTED,
                         "%s holds %zu images: save one at a time and import each", im->path,
                         json_array_size(json));
    if (rc == FAB_OK) {
        take_tag(im, json_string_value(json_array_get(json_object_get(image, "RepoTags"), 0)));
        rc = open_file(im, config, &fd, err);
    }
    if (rc == FAB_OK)
        rc = read_config(im, fd, err);
    for (size_t i = 0; rc == FAB_OK && i < json_array_size(layers); i++) {
        const char *name = json_string_value(json_array_get(layers, i));
        rc = name ? open_file(im, name, &fd, err) : malformed(im, "a layer has no name", err);
        if (rc == FAB_OK)
            rc = apply_layer(im, fd, name, err);
    }
    json_decref(json);
    return rc;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Of several manifests the one for this machine; one that says nothing fits. */
static const json_t *choose(const json_t *manifests)
{
    const json_t *only = NULL;
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        const json_t *m = json_array_get(manifests, i);
        const json_t *platform = json_object_get(m, "platform");
        if (!platform && !only)
            only = m;
        if (platform && strcmp(arch_name(text_of(platform, "architecture")), fab_host_arch()) == 0)
            return m;
    }
    return only ? only : json_array_size(manifests) == 1 ? json_array_get(manifests, 0) : NULL;
}

static enum fab_rc import_manifest(struct import *im, const json_t *manifest, struct fab_err *err)
{
    const json_t *layers = json_object_get(manifest, "layers");
    int fd;
    if (!json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
        return malformed(im, "its manifest names no layers", err);
    FAB_TRY(open_digest(im, text_of(json_object_get(manifest, "config"), "digest"), &fd, err));
    FAB_TRY(read_config(im, fd, err));
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *digest = text_of(json_array_get(layers, i), "digest");
        FAB_TRY(open_digest(im, digest, &fd, err));
        FAB_TRY(apply_layer(im, fd, digest, err));
    }
    return FAB_OK;
}

static enum fab_rc import_index(struct import *im, int fd, unsigned nesting, struct fab_err *err)
{
    json_t *json = NULL;
    FAB_TRY(parse_json(im, fd, &json, err));
    const json_t *manifests = json_object_get(json, "manifests");
    enum fab_rc rc;
    if (!manifests) {
        rc = import_manifest(im, json, err);
    } else if (nesting == NESTING_MAX) {
        rc = malformed(im, "its indexes are nested too deeply", err);
    } else {
        const json_t *m = choose(manifests);
        if (!m) {
            rc = fab_err_set(err, FAB_EUNSUPPORTED, "%s has no image for this machine (%s)",
                             im->path, fab_host_arch());
        } else {
            const json_t *notes = json_object_get(m, "annotations");
            const char *name = text_of(notes, "io.containerd.image.name");
            if (!im->entry.tag[0])
                take_tag(im, *name ? name : text_of(notes, "org.opencontainers.image.ref.name"));
            rc = open_digest(im, text_of(m, "digest"), &fd, err);
            if (rc == FAB_OK)
                rc = import_index(im, fd, nesting + 1, err);
        }
    }
    json_decref(json);
    return rc;
}

static enum fab_rc import_layout(struct import *im, struct fab_err *err)
{
    int fd = fab_unpack_open(im->archive, "manifest.json", O_RDONLY);
    if (fd >= 0)
        return import_docker(im, fd, err);
    fd = fab_unpack_open(im->archive, "index.json", O_RDONLY);
    if (fd >= 0)
        return import_index(im, fd, 0, err);
    return malformed(im, "it has neither manifest.json (docker save) nor index.json (OCI)", err);
}

/* ---- the result ---- */

static void take_cid(void *arg, const struct fab_put_result *result)
{
    *(struct fab_cid *)arg = result->cid;
}

static enum fab_rc store_image(struct import *im, const char *tree, struct fab_err *err)
{
    struct fab_ingest *ingest;
    struct fab_buf block;
    char pin[PIN_TEXT_MAX];
    struct fab_put_options options = {
        .no_pin = true, .hidden = true, .modes = true, .watch = {.cancel = im->cancel}};
    /* Opened first: its lease keeps the tree from collection until the pin. */
    FAB_TRY(fab_ingest_open(im->store, im->ws, &ingest, err));
    enum fab_rc rc =
        fab_put(im->store, im->ws, &tree, 1, &options, take_cid, &im->image.rootfs, err);
    fab_buf_init(&block, FAB_IMAGE_BYTES_MAX);
    if (rc == FAB_OK) {
        rc = fab_image_encode(&im->image, &block, &im->entry.cid);
        if (rc == FAB_OK)
            rc = fab_ingest_put(ingest, &im->entry.cid, fab_buf_slice(&block));
        if (rc != FAB_OK)
            fab_err_set(err, rc, "cannot store the image: %s", fab_rc_text(rc));
    }
    fab_buf_fini(&block);
    if (rc != FAB_OK) {
        fab_ingest_abort(ingest);
        return rc;
    }
    snprintf(pin, sizeof pin, "image/%.240s", im->entry.tag);
    const struct fab_ingest_root root = {im->entry.cid, true, pin};
    FAB_TRY(fab_ingest_commit(ingest, &root, 1, NULL, err));
    im->entry.imported = (int64_t)time(NULL);
    return fab_image_list_add(im->store, im->ws, &im->entry, err);
}

static enum fab_rc make_below(struct import *im, const char *name, int *out, struct fab_err *err)
{
    char path[FAB_UNPACK_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", im->folder.path, name);
    if (mkdir(path, 0755) != 0 || chmod(path, 0755) != 0)
        return fab_err_errno(err, errno, "cannot make %s", path);
    *out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out >= 0 ? FAB_OK : fab_err_errno(err, errno, "cannot open %s", path);
}

static enum fab_rc open_archive(struct import *im, struct fab_err *err)
{
    struct stat st;
    int fd = open(im->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return fab_err_errno(err, errno, "cannot open %s", im->path);
    }
    if (S_ISDIR(st.st_mode)) {
        im->archive = fd;
        return FAB_OK;
    }
    enum fab_rc rc = S_ISREG(st.st_mode) ? make_below(im, "archive", &im->archive, err)
                                         : fab_err_set(err, FAB_EUNSUPPORTED,
                                                       "%s is neither a file nor a directory: save "
                                                       "the archive to a file first",
                                                       im->path);
    if (rc == FAB_OK) {
        struct fab_import_stats ignored = {0};
        struct fab_unpack unpack = {.root = im->archive,
                                    .label = im->path,
                                    .max_bytes = im->max_bytes,
                                    .cancel = im->cancel,
                                    .stats = &ignored};
        rc = fab_unpack_tar(&unpack, fd, err);
        im->max_bytes = unpack.max_bytes;
    }
    close(fd);
    return rc;
}

enum fab_rc fab_image_import(struct fab_store *store, uint32_t ws, const char *home,
                             const char *path, const atomic_bool *cancel,
                             struct fab_image_entry *out, struct fab_import_stats *stats,
                             struct fab_err *err)
{
    struct import im = {
        .store = store, .ws = ws, .path = path, .cancel = cancel, .archive = -1, .root = -1};
    char tree[FAB_UNPACK_PATH_MAX + 16];
    struct statvfs fs;
    FAB_TRY(fab_unpack_folder_make(home, &im.folder, err));
    snprintf(tree, sizeof tree, "%s/rootfs", im.folder.path);
    im.max_bytes = statvfs(im.folder.path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize / 2 : 0;
    enum fab_rc rc = open_archive(&im, err);
    if (rc == FAB_OK)
        rc = make_below(&im, "rootfs", &im.root, err);
    if (rc == FAB_OK)
        rc = import_layout(&im, err);
    if (rc == FAB_OK)
        rc = store_image(&im, tree, err);
    if (im.archive >= 0)
        close(im.archive);
    if (im.root >= 0)
        close(im.root);
    fab_unpack_folder_remove(&im.folder);
    fab_image_fini(&im.image);
    if (rc == FAB_OK) {
        *out = im.entry;
        if (stats)
            *stats = im.stats;
    }
    return rc;
}
