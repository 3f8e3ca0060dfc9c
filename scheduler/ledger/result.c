#include "scheduler/ledger/result.h"

#include "storage/dag/dag_cbor.h"

#include <string.h>

static enum fab_rc put_cid(struct fab_buf *b, const char *key, const struct fab_cid *cid)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_cid(b, cid);
}

static enum fab_rc put_int(struct fab_buf *b, const char *key, int64_t v)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_int(b, v);
}

enum fab_rc fab_result_encode(const struct fab_result *r, struct fab_buf *b, struct fab_cid *cid)
{
    size_t start = b->len;
    FAB_TRY(fab_cbor_put_map(b, 8));
    FAB_TRY(put_cid(b, "out", &r->out));
    FAB_TRY(put_int(b, "exit", r->exit_code));
    FAB_TRY(put_int(b, "ended", r->ended));
    FAB_TRY(put_cid(b, "action", &r->action));
    FAB_TRY(put_cid(b, "stderr", &r->err_log));
    FAB_TRY(put_cid(b, "stdout", &r->out_log));
    FAB_TRY(put_int(b, "started", r->started));
    FAB_TRY(fab_cbor_put_str(b, "resources"));
    FAB_TRY(fab_cbor_put_map(b, 2));
    FAB_TRY(fab_cbor_put_str(b, "cpu_usec"));
    FAB_TRY(fab_cbor_put_uint(b, r->cpu_usec));
    FAB_TRY(fab_cbor_put_str(b, "memory_peak"));
    FAB_TRY(fab_cbor_put_uint(b, r->memory_peak));
    return fab_cid_of(1, FAB_CODEC_DAG_CBOR, FAB_MH_SHA2_256,
                      fab_slice(b->data + start, b->len - start), cid);
}

static enum fab_rc key_is(struct fab_reader *r, struct fab_cbor_map *map, const char *name)
{
    struct fab_slice key;
    FAB_TRY(fab_cbor_read_key(r, map, &key));
    return fab_slice_eq(key, fab_slice(name, strlen(name))) ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc read_cid(struct fab_reader *r, struct fab_cbor_map *map, const char *name,
                            struct fab_cid *out)
{
    FAB_TRY(key_is(r, map, name));
    return fab_cbor_read_cid(r, out);
}

static enum fab_rc read_int(struct fab_reader *r, struct fab_cbor_map *map, const char *name,
                            int64_t *out)
{
    FAB_TRY(key_is(r, map, name));
    return fab_cbor_read_int(r, out);
}

enum fab_rc fab_result_decode(struct fab_slice block, struct fab_result *out)
{
    struct fab_reader r = fab_reader(block);
    struct fab_cbor_map map, inner;
    struct fab_result result;
    FAB_TRY(fab_cbor_read_map(&r, &map));
    if (map.left != 8)
        return FAB_EFORMAT;
    FAB_TRY(read_cid(&r, &map, "out", &result.out));
    FAB_TRY(read_int(&r, &map, "exit", &result.exit_code));
    FAB_TRY(read_int(&r, &map, "ended", &result.ended));
    FAB_TRY(read_cid(&r, &map, "action", &result.action));
    FAB_TRY(read_cid(&r, &map, "stderr", &result.err_log));
    FAB_TRY(read_cid(&r, &map, "stdout", &result.out_log));
    FAB_TRY(read_int(&r, &map, "started", &result.started));
    FAB_TRY(key_is(&r, &map, "resources"));
    FAB_TRY(fab_cbor_read_map(&r, &inner));
    if (inner.left != 2)
        return FAB_EFORMAT;
    FAB_TRY(key_is(&r, &inner, "cpu_usec"));
    FAB_TRY(fab_cbor_read_uint(&r, &result.cpu_usec));
    FAB_TRY(key_is(&r, &inner, "memory_peak"));
    FAB_TRY(fab_cbor_read_uint(&r, &result.memory_peak));
    FAB_TRY(fab_cbor_read_end(&r));
    *out = result;
    return FAB_OK;
}
