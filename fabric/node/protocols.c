/* What a peer may open to us. */
#include "fabric/node/internal.h"

#include <string.h>

static const struct fab_protocol *const protocols[] = {
    &identify_protocol, &identify_push_protocol, &ping_protocol,
    &bitswap_protocol,  &dagsync_protocol,       &peer_exchange_protocol,
};

#define PROTOCOLS (sizeof protocols / sizeof(struct fab_protocol *))

const struct fab_protocol *protocol_find(struct fab_slice name)
{
    for (size_t i = 0; i < PROTOCOLS; i++)
        if (fab_slice_eq(name, fab_slice(protocols[i]->name, strlen(protocols[i]->name))))
            return protocols[i];
    return NULL;
}

size_t protocol_names(const char **out, size_t max)
{
    size_t n = 0;
    for (; n < PROTOCOLS && n < max; n++)
        out[n] = protocols[n]->name;
    return n;
}

size_t outbuf_pull(struct outbuf *out, uint8_t *p, size_t cap, bool *fin)
{
    size_t left = out->buf.len - out->sent;
    size_t n = left < cap ? left : cap;
    if (n > 0)
        memcpy(p, out->buf.data + out->sent, n);
    out->sent += n;
    if (out->sent == out->buf.len) {
        fab_buf_reset(&out->buf);
        out->sent = 0;
        *fin = out->fin;
    }
    return n;
}
