#include "storage/dag/car.h"

#include "storage/dag/dag_cbor.h"
#include "storage/multiformats/varint.h"

enum fab_rc fab_car_header(const struct fab_cid *roots, size_t count, struct fab_buf *out)
{
    struct fab_buf body;
    enum fab_rc rc;
    if (count > FAB_CAR_ROOTS_MAX)
        return FAB_ELIMIT;
    fab_buf_init(&body, 64 + count * (FAB_CID_MAX + 8));
    if ((rc = fab_cbor_put_map(&body, 2)) != FAB_OK ||
        (rc = fab_cbor_put_str(&body, "roots")) != FAB_OK ||
        (rc = fab_cbor_put_array(&body, count)) != FAB_OK)
        goto out;
    for (size_t i = 0; i < count; i++)
        if ((rc = fab_cbor_put_cid(&body, &roots[i])) != FAB_OK)
            goto out;
    if ((rc = fab_cbor_put_str(&body, "version")) != FAB_OK ||
        (rc = fab_cbor_put_uint(&body, 1)) != FAB_OK ||
        (rc = fab_varint_append(out, body.len)) != FAB_OK)
        goto out;
    rc = fab_buf_append(out, body.data, body.len);
out:
    fab_buf_fini(&body);
    return rc;
}

size_t fab_car_frame(const struct fab_cid *cid, uint64_t data_bytes, uint8_t out[FAB_CAR_FRAME_MAX])
{
    uint8_t bytes[FAB_CID_MAX];
    struct fab_slice s = fab_slice(bytes, fab_cid_bytes(cid, bytes));
    size_t n = fab_varint_put(s.n + data_bytes, out);
    for (size_t i = 0; i < s.n; i++)
        out[n + i] = bytes[i];
    return n + s.n;
}
