#include "storage/dag/file_reader.h"
#include "storage/files/get.h"
#include "storage/files/out.h"

struct cat {
    struct source source;
    struct watch watch;
    struct out out;
};

static enum fab_rc on_data(void *arg, uint64_t offset, struct fab_slice data)
{
    struct cat *cat = arg;
    (void)offset;
    cat->watch.now.bytes += data.n;
    FAB_TRY(out_write(&cat->out, data));
    source_breathe(&cat->source);
    return watch_tick(&cat->watch);
}

enum fab_rc fab_cat(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                    const struct fab_cat_options *options, int fd, uint64_t *written,
                    struct fab_err *err)
{
    static const struct fab_cat_options everything = {.length = UINT64_MAX};
    struct fab_err local;
    struct fab_lease *lease;
    struct cat cat;
    char text[FAB_CID_TEXT_MAX];
    if (!options)
        options = &everything;
    if (!err)
        err = &local;
    err->rc = FAB_OK;
    err->msg[0] = '\0';
    if (written)
        *written = 0;
    FAB_TRY(fab_lease_root(store, ws, cid, &lease, err));
    fab_cid_text(cid, text);
    source_init(&cat.source, store, ws, options->verify);
    watch_init(&cat.watch, &options->watch);
    struct fab_block_source table = source_table(&cat.source);
    uint64_t size = 0;
    enum fab_rc rc = out_init(&cat.out, fd, &cat.source, &cat.watch);
    if (rc == FAB_OK)
        rc = fab_file_size(&table, cid, &size);
    if (rc == FAB_EINVAL)
        fab_err_set(err, rc, "%s is not a file", text);
    if (rc == FAB_OK) {
        uint64_t left = options->offset < size ? size - options->offset : 0;
        cat.watch.now.total_bytes = left < options->length ? left : options->length;
        rc = fab_file_read(&table, cid, options->offset, options->length, on_data, &cat);
        source_rest(&cat.source);
    }
    if (rc == FAB_OK)
        rc = out_flush(&cat.out);
    if (rc == FAB_OK)
        watch_end(&cat.watch);
    else if (cat.out.error)
        fab_err_errno(err, cat.out.error, "cannot write the bytes of %s", text);
    else
        source_err(&cat.source, rc, text, err);
    if (written)
        *written = cat.out.written;
    source_rest(&cat.source);
    out_fini(&cat.out);
    fab_lease_release(lease);
    return rc;
}
