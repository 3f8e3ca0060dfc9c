/* The happy path: bytes of the answer are copied behind one another into the batch that fills; each
 * message that is whole becomes an event that borrows from there; a batch in which the next message
 * has no room is full, and is taken.
 *
 * The server ends items in the order in which they were asked, so a ring of their sizes is all that
 * is kept of them. Whatever breaks the protocol is final: `failed` keeps the code. */
#include "fabric/exchange/dagsync_client.h"

#include "storage/multiformats/varint.h"

#include <stdlib.h>
#include <string.h>

#define EVENTS_FIRST 32u

struct holder {
    struct fab_dagsync_batch batch; /* the first member: a batch is its holder */
    struct fab_dagsync_event *events;
    size_t events_cap;
    uint8_t *data;
    size_t len, cap;
};

struct fab_dagsync_client {
    uint64_t asked, ended, said; /* items; the last DONE's number */
    size_t open_bytes;
    uint32_t sizes[FAB_DAGSYNC_ITEMS_MAX]; /* of the open items, by index modulo */
    int64_t credit;

    struct fab_dagsync_length length;
    size_t need, got; /* bytes of the message that arrives; 0: its length is not whole */
    bool full;
    enum fab_rc failed;
    struct holder *fills, *spare; /* NULL: none */
};

enum fab_rc fab_dagsync_client_new(struct fab_dagsync_client **out)
{
    struct fab_dagsync_client *c = calloc(1, sizeof *c);
    if (!c)
        return FAB_ENOMEM;
    *out = c;
    return FAB_OK;
}

void fab_dagsync_client_free(struct fab_dagsync_client *client)
{
    if (!client)
        return;
    fab_dagsync_batch_free(client->fills ? &client->fills->batch : NULL);
    fab_dagsync_batch_free(client->spare ? &client->spare->batch : NULL);
    free(client);
}

/* ---- asking ---- */

enum fab_rc fab_dagsync_client_ask(struct fab_dagsync_client *client,
                                   const struct fab_dagsync_item *items, size_t count,
                                   struct fab_buf *out, size_t *taken)
{
    struct fab_dagsync_client *c = client;
    size_t n = 0, body = 1, len = out->len, room = FAB_DAGSYNC_ITEMS_MAX - (c->asked - c->ended);
    enum fab_rc rc;
    for (; n < count && n < room; n++) {
        size_t size = fab_dagsync_item_size(&items[n]);
        if (items[n].path.n > FAB_DAGSYNC_PATH_MAX)
            return FAB_EINVAL;
        if (size > FAB_DAGSYNC_ASK_MAX - c->open_bytes - body)
            break;
        body += size;
    }
    if (n == 0) {
        *taken = 0;
        return FAB_OK;
    }
    rc = fab_varint_append(out, body);
    if (rc == FAB_OK)
        rc = fab_buf_byte(out, FAB_DAGSYNC_REQUEST);
    for (size_t i = 0; i < n && rc == FAB_OK; i++)
        rc = fab_dagsync_item_append(out, &items[i]);
    if (rc != FAB_OK) {
        out->len = len;
        return rc;
    }
    for (size_t i = 0; i < n; i++)
        c->sizes[(c->asked + i) % FAB_DAGSYNC_ITEMS_MAX] =
            (uint32_t)fab_dagsync_item_size(&items[i]);
    c->asked += n;
    c->open_bytes += body - 1;
    *taken = n;
    return FAB_OK;
}

enum fab_rc fab_dagsync_client_credit(struct fab_dagsync_client *client, uint64_t bytes,
                                      struct fab_buf *out)
{
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_CREDIT, .number = bytes};
    uint64_t left = fab_dagsync_client_credit_left(client);
    if (bytes == 0)
        return FAB_OK;
    if (bytes > FAB_DAGSYNC_CREDIT_MAX - left)
        return FAB_EINVAL;
    FAB_TRY(fab_dagsync_append(out, &m));
    client->credit += (int64_t)bytes;
    return FAB_OK;
}

enum fab_rc fab_dagsync_client_prune(struct fab_dagsync_client *client, const struct fab_cid *cid,
                                     struct fab_buf *out)
{
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_PRUNE, .cid = *cid};
    (void)client;
    return fab_dagsync_append(out, &m);
}

uint64_t fab_dagsync_client_asked(const struct fab_dagsync_client *client)
{
    return client->asked;
}

uint64_t fab_dagsync_client_open(const struct fab_dagsync_client *client)
{
    return client->asked - client->ended;
}

uint64_t fab_dagsync_client_credit_left(const struct fab_dagsync_client *client)
{
    return client->credit > 0 ? (uint64_t)client->credit : 0;
}

/* ---- batches ---- */

static void holder_reset(struct holder *h)
{
    h->batch = (struct fab_dagsync_batch){.events = h->events};
    h->len = 0;
}

/* An empty batch with room for a message of `n` bytes: the spare one if it will do. */
static enum fab_rc holder_get(struct fab_dagsync_client *c, size_t n, struct holder **out)
{
    size_t cap = n > FAB_DAGSYNC_BATCH ? n : FAB_DAGSYNC_BATCH;
    struct holder *h = c->spare;
    c->spare = NULL;
    if (h && h->cap < cap) {
        fab_dagsync_batch_free(&h->batch);
        h = NULL;
    }
    if (!h) {
        h = calloc(1, sizeof *h);
        if (!h)
            return FAB_ENOMEM;
        h->cap = cap;
        h->data = malloc(cap);
        if (!h->data) {
            free(h);
            return FAB_ENOMEM;
        }
    }
    *out = h;
    return FAB_OK;
}

void fab_dagsync_batch_free(struct fab_dagsync_batch *batch)
{
    struct holder *h = (struct holder *)batch;
    if (!h)
        return;
    free(h->events);
    free(h->data);
    free(h);
}

void fab_dagsync_client_recycle(struct fab_dagsync_client *client, struct fab_dagsync_batch *batch)
{
    struct holder *h = (struct holder *)batch;
    if (!h)
        return;
    if (client->spare) {
        fab_dagsync_batch_free(batch);
        return;
    }
    holder_reset(h);
    client->spare = h;
}

bool fab_dagsync_client_pending(const struct fab_dagsync_client *client)
{
    return client->fills && client->fills->batch.count > 0;
}

bool fab_dagsync_client_ready(const struct fab_dagsync_client *client)
{
    return client->full || (client->fills && client->fills->batch.done);
}

enum fab_rc fab_dagsync_client_take(struct fab_dagsync_client *client,
                                    struct fab_dagsync_batch **out)
{
    struct fab_dagsync_client *c = client;
    struct holder *next = NULL;
    if (!fab_dagsync_client_pending(c)) {
        *out = NULL;
        return FAB_OK;
    }
    if (c->got > 0 && c->failed == FAB_OK) {
        FAB_TRY(holder_get(c, c->need, &next));
        memcpy(next->data, c->fills->data + c->fills->len, c->got);
    }
    *out = &c->fills->batch;
    c->fills = next;
    c->full = false;
    return FAB_OK;
}

/* ---- the answer ---- */

static enum fab_rc event_slot(struct holder *h, struct fab_dagsync_event **out)
{
    if (h->batch.count == h->events_cap) {
        size_t cap = h->events_cap ? 2 * h->events_cap : EVENTS_FIRST;
        struct fab_dagsync_event *events = realloc(h->events, cap * sizeof *events);
        if (!events)
            return FAB_ENOMEM;
        h->events = events;
        h->events_cap = cap;
        h->batch.events = events;
    }
    *out = &h->events[h->batch.count];
    return FAB_OK;
}

/* What the type alone tells, before the body is kept. */
static enum fab_rc type_check(const struct fab_dagsync_client *c, uint8_t type)
{
    switch (type) {
    case FAB_DAGSYNC_BLOCK:
    case FAB_DAGSYNC_MISSING:
        return c->credit > 0 && c->ended < c->asked ? FAB_OK : FAB_EFORMAT;
    case FAB_DAGSYNC_ITEM_DONE:
    case FAB_DAGSYNC_ERROR:
    case FAB_DAGSYNC_DONE:
        return c->need <= 2 + FAB_VARINT_MAX + FAB_DAGSYNC_TEXT_MAX ? FAB_OK : FAB_EFORMAT;
    default:
        return FAB_EFORMAT;
    }
}

static enum fab_rc item_end(struct fab_dagsync_client *c, uint64_t index)
{
    if (index != c->ended || c->ended == c->asked)
        return FAB_EFORMAT;
    c->open_bytes -= c->sizes[c->ended % FAB_DAGSYNC_ITEMS_MAX];
    c->ended++;
    return FAB_OK;
}

static enum fab_rc message_end(struct fab_dagsync_client *c)
{
    struct holder *h = c->fills;
    struct fab_dagsync_message m;
    struct fab_dagsync_event *event;
    size_t cost;
    FAB_TRY(fab_dagsync_decode(fab_slice(h->data + h->len, c->need), true, &m));
    FAB_TRY(event_slot(h, &event));
    switch (m.type) {
    case FAB_DAGSYNC_BLOCK:
    case FAB_DAGSYNC_MISSING:
        cost = fab_varint_size(c->need) + c->need;
        c->credit -= (int64_t)cost;
        h->batch.cost += cost;
        h->batch.blocks += m.type == FAB_DAGSYNC_BLOCK;
        break;
    case FAB_DAGSYNC_DONE:
        if (m.number != c->ended || m.number == c->said)
            return FAB_EFORMAT;
        c->said = m.number;
        break;
    default:
        FAB_TRY(item_end(c, m.number));
    }
    h->batch.done = m.type == FAB_DAGSYNC_DONE && m.number == c->asked;
    *event = (struct fab_dagsync_event){
        .type = m.type, .code = m.code, .cid = m.cid, .bytes = m.bytes, .number = m.number};
    h->batch.count++;
    h->len += c->need;
    /* Waiting for what would fill the last eighth is not worth the delay. */
    c->full = h->batch.count == FAB_DAGSYNC_BATCH_EVENTS || h->cap - h->len < h->cap / 8;
    return FAB_OK;
}

/* The first byte of a body is there: find a batch for it. Sets `full` if this one has no room. */
static enum fab_rc message_begin(struct fab_dagsync_client *c, uint8_t type)
{
    struct holder *h = c->fills;
    FAB_TRY(type_check(c, type));
    if (!h)
        return holder_get(c, c->need, &c->fills);
    c->full = c->need > h->cap - h->len;
    return FAB_OK;
}

static enum fab_rc input(struct fab_dagsync_client *c, struct fab_reader *r)
{
    while (fab_reader_left(r) > 0 && !c->full) {
        struct fab_slice part;
        if (c->need == 0) {
            uint8_t byte;
            bool whole;
            FAB_TRY(fab_read_u8(r, &byte));
            FAB_TRY(fab_dagsync_length_byte(&c->length, byte, FAB_DAGSYNC_ANSWER_MAX, &whole));
            if (whole)
                c->need = c->length.value;
            continue;
        }
        if (c->got == 0) {
            FAB_TRY(message_begin(c, *r->p));
            if (c->full)
                return FAB_OK;
        }
        size_t n = c->need - c->got, left = fab_reader_left(r);
        FAB_TRY(fab_read_bytes(r, n < left ? n : left, &part));
        memcpy(c->fills->data + c->fills->len + c->got, part.p, part.n);
        c->got += part.n;
        if (c->got < c->need)
            return FAB_OK;
        FAB_TRY(message_end(c));
        c->need = c->got = 0;
        c->length = (struct fab_dagsync_length){0};
    }
    return FAB_OK;
}

enum fab_rc fab_dagsync_client_input(struct fab_dagsync_client *client, struct fab_slice bytes,
                                     size_t *used)
{
    struct fab_reader r = fab_reader(bytes);
    FAB_TRY(client->failed);
    client->failed = input(client, &r);
    FAB_TRY(client->failed);
    *used = bytes.n - fab_reader_left(&r);
    return FAB_OK;
}

enum fab_rc fab_dagsync_client_input_end(struct fab_dagsync_client *client)
{
    FAB_TRY(client->failed);
    if (client->need > 0 || client->length.bytes > 0 || client->ended < client->asked)
        return FAB_EFORMAT;
    return FAB_OK;
}
