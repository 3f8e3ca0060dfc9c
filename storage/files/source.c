#include "storage/files/source.h"

#include "storage/files/watch.h"

#include <stdio.h>

#define SNAPSHOT_MS 200 /* how old a snapshot may get */

void source_init(struct source *s, struct fab_store *store, uint32_t ws, bool verify)
{
    *s = (struct source){.store = store, .ws = ws, .verify = verify};
}

static enum fab_rc open_view(struct source *s)
{
    if (s->view)
        return FAB_OK;
    FAB_TRY(fab_view_open(s->store, s->ws, &s->view, NULL));
    s->opened_ms = watch_clock_ms();
    return FAB_OK;
}

static enum fab_rc get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct source *s = ctx;
    FAB_TRY(open_view(s));
    enum fab_rc rc = fab_view_get(s->view, cid, out);
    if (rc == FAB_OK && s->verify)
        rc = fab_cid_check(cid, *out);
    if (rc == FAB_ENOENT || rc == FAB_EHASH)
        s->bad = *cid;
    return rc;
}

struct fab_block_source source_table(struct source *s)
{
    return (struct fab_block_source){.ctx = s, .get = get};
}

enum fab_rc source_block(struct source *s, const struct fab_cid *cid, struct fab_slice *out)
{
    struct fab_block_source table = source_table(s);
    return fab_block_get(&table, cid, out);
}

enum fab_rc source_size(struct source *s, const struct fab_cid *cid, uint64_t *out)
{
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY) {
        *out = fab_cid_digest(cid).n;
        return FAB_OK;
    }
    FAB_TRY(open_view(s));
    enum fab_rc rc = fab_view_size(s->view, cid, out);
    if (rc == FAB_ENOENT)
        s->bad = *cid;
    return rc;
}

enum fab_rc source_clone(struct source *s, const struct fab_cid *cid, uint64_t n, int fd,
                         uint64_t offset)
{
    FAB_TRY(open_view(s));
    return fab_view_clone(s->view, cid, n, fd, offset);
}

void source_breathe(struct source *s)
{
    if (s->view && watch_clock_ms() - s->opened_ms > SNAPSHOT_MS)
        source_rest(s);
}

void source_rest(struct source *s)
{
    fab_view_close(s->view);
    s->view = NULL;
}

enum fab_rc source_err(const struct source *s, enum fab_rc rc, const char *path,
                       struct fab_err *err)
{
    char cid[FAB_CID_TEXT_MAX];
    if (rc == FAB_OK || !err || err->msg[0] != '\0')
        return rc;
    if (rc == FAB_ENOENT) {
        fab_cid_text(&s->bad, cid);
        return fab_err_set(
            err, rc, "block %s of %s is not in the store; fetch it or import it first", cid, path);
    }
    if (rc == FAB_EHASH) {
        fab_cid_text(&s->bad, cid);
        return fab_err_set(err, rc,
                           "block %s of %s is rotten: its bytes do not have its hash; drop it with "
                           "'fabric verify --repair' and put or fetch it again",
                           cid, path);
    }
    if (rc == FAB_EFORMAT)
        return fab_err_set(err, rc, "%s is malformed: it has a node that is not valid UnixFS",
                           path);
    if (rc == FAB_ELIMIT)
        return fab_err_set(
            err, rc,
            "%s goes beyond what is followed: its nodes lie more than %u deep, or it "
            "has more blocks than can be looked at",
            path, FAB_DEPTH_MAX);
    return fab_err_set(err, rc, "cannot read %s: %s", path, fab_rc_text(rc));
}
