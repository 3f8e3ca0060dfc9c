/* Peers telling each other about peers.
 *
 * A reader holds at most one record that is not whole. The collection is an array with one record
 * per peer. Each record has a stamp, a number that grows: it is given when the record begins to be
 * passed on (its peer is connected) and when a newer one takes its place while it is; so "what came
 * after the stamp that I told last" is all that is to be known per listener. A record with stamp 0
 * is only held, so that an older one is not taken for news. */
#include "fabric/swarm/peer_exchange.h"

#include "storage/multiformats/varint.h"

#include <stdlib.h>
#include <string.h>

struct held {
    struct fab_peer_id peer;
    uint64_t seq, stamp;
    uint64_t connected_us; /* when its peer last was; counts only with a stamp */
    uint8_t *envelope;     /* owned */
    size_t n;
};

struct fab_peer_records {
    size_t max, count;
    uint64_t stamp; /* the last one given */
    struct held held[];
};

/* ---- one half of a stream ---- */

enum fab_rc fab_peers_append(struct fab_buf *out, struct fab_slice envelope)
{
    if (envelope.n == 0 || envelope.n > FAB_PEERS_RECORD_MAX)
        return FAB_EINVAL;
    FAB_TRY(fab_buf_reserve(out, envelope.n + fab_varint_size(envelope.n)));
    FAB_TRY(fab_varint_append(out, envelope.n));
    return fab_buf_append(out, envelope.p, envelope.n);
}

void fab_peers_reader_init(struct fab_peers_reader *r)
{
    *r = (struct fab_peers_reader){.failed = FAB_OK};
    fab_buf_init(&r->record, FAB_PEERS_RECORD_MAX);
}

void fab_peers_reader_fini(struct fab_peers_reader *r)
{
    fab_buf_fini(&r->record);
}

/* One byte of a length, which is at most FAB_PEERS_RECORD_MAX and so has one or two. */
static enum fab_rc length_byte(struct fab_peers_reader *r, uint8_t byte)
{
    if (r->prefix == 0) {
        if (r->records == FAB_PEERS_RECORDS_MAX)
            return FAB_ELIMIT;
        r->records++;
        if (byte == 0)
            return FAB_EFORMAT;
        if (byte & 0x80)
            r->prefix = byte;
        else
            r->length = byte;
        return FAB_OK;
    }
    if (byte == 0)
        return FAB_EFORMAT;
    if (byte & 0x80)
        return FAB_ELIMIT;
    r->length = (size_t)byte << 7 | (r->prefix & 0x7f);
    r->prefix = 0;
    return r->length > FAB_PEERS_RECORD_MAX ? FAB_ELIMIT : FAB_OK;
}

enum fab_rc fab_peers_reader_feed(struct fab_peers_reader *r, struct fab_slice bytes,
                                  void (*take)(void *arg, struct fab_slice envelope), void *arg)
{
    while (bytes.n > 0 && r->failed == FAB_OK) {
        if (r->length == 0) {
            r->failed = length_byte(r, bytes.p[0]);
            bytes = fab_slice(bytes.p + 1, bytes.n - 1);
            continue;
        }
        size_t lacks = r->length - r->record.len;
        size_t n = bytes.n < lacks ? bytes.n : lacks;
        r->failed = fab_buf_append(&r->record, bytes.p, n);
        bytes = fab_slice(bytes.p + n, bytes.n - n);
        if (r->failed == FAB_OK && n == lacks) {
            take(arg, fab_buf_slice(&r->record));
            fab_buf_reset(&r->record);
            r->length = 0;
        }
    }
    return r->failed;
}

enum fab_rc fab_peers_reader_finish(const struct fab_peers_reader *r)
{
    if (r->failed != FAB_OK)
        return r->failed;
    return r->length == 0 && r->prefix == 0 ? FAB_OK : FAB_EFORMAT;
}

/* ---- the records that are held ---- */

enum fab_rc fab_peer_records_new(size_t max, struct fab_peer_records **out)
{
    struct fab_peer_records *records = calloc(1, sizeof *records + max * sizeof *records->held);
    if (!records)
        return FAB_ENOMEM;
    records->max = max;
    *out = records;
    return FAB_OK;
}

void fab_peer_records_free(struct fab_peer_records *records)
{
    for (size_t i = 0; records && i < records->count; i++)
        free(records->held[i].envelope);
    free(records);
}

size_t fab_peer_records_count(const struct fab_peer_records *records)
{
    return records->count;
}

static size_t find(const struct fab_peer_records *records, const struct fab_peer_id *peer)
{
    size_t i = 0;
    while (i < records->count && !fab_peer_id_eq(&records->held[i].peer, peer))
        i++;
    return i;
}

static bool is_fresh(const struct held *held, uint64_t now_us)
{
    return held->stamp > 0 && now_us - held->connected_us < FAB_PEERS_FRESH_US;
}

enum fab_rc fab_peer_records_check(const struct fab_peer_records *records,
                                   struct fab_slice envelope, struct fab_signed_record *out)
{
    struct fab_signed_record record;
    if (envelope.n > FAB_PEERS_RECORD_MAX)
        return FAB_ELIMIT;
    /* The common case, and the one that a nuisance can repeat: no signature is checked for it. */
    for (size_t i = 0; i < records->count; i++)
        if (fab_slice_eq(envelope, fab_slice(records->held[i].envelope, records->held[i].n)))
            return FAB_EEXIST;
    FAB_TRY(fab_signed_record_decode(envelope, &record));
    size_t i = find(records, &record.peer);
    if (i < records->count && record.seq <= records->held[i].seq)
        return FAB_EEXIST;
    *out = record;
    return FAB_OK;
}

static void drop(struct fab_peer_records *records, size_t i)
{
    free(records->held[i].envelope);
    records->count--;
    memmove(&records->held[i], &records->held[i + 1], (records->count - i) * sizeof *records->held);
}

/* Those at the front came first. */
static enum fab_rc make_room(struct fab_peer_records *records, uint64_t now_us)
{
    for (size_t i = 0; i < records->count; i++) {
        if (!is_fresh(&records->held[i], now_us)) {
            drop(records, i);
            return FAB_OK;
        }
    }
    return FAB_ELIMIT;
}

enum fab_rc fab_peer_records_put(struct fab_peer_records *records, struct fab_slice envelope,
                                 const struct fab_signed_record *record, uint64_t now_us)
{
    size_t i = find(records, &record->peer);
    bool known = i < records->count;
    uint8_t *copy = malloc(envelope.n ? envelope.n : 1);
    if (!copy)
        return FAB_ENOMEM;
    memcpy(copy, envelope.p, envelope.n);
    if (!known && records->count == records->max) {
        if (make_room(records, now_us) != FAB_OK) {
            free(copy);
            return FAB_ELIMIT;
        }
        i = records->count;
    }
    struct held *held = &records->held[i];
    if (known) {
        free(held->envelope);
    } else {
        *held = (struct held){.peer = record->peer};
        records->count++;
    }
    held->envelope = copy;
    held->n = envelope.n;
    held->seq = record->seq;
    if (held->stamp > 0)
        held->stamp = ++records->stamp;
    return FAB_OK;
}

void fab_peer_records_touch(struct fab_peer_records *records, const struct fab_peer_id *peer,
                            uint64_t now_us)
{
    size_t i = find(records, peer);
    if (i == records->count)
        return;
    struct held *held = &records->held[i];
    if (!is_fresh(held, now_us))
        held->stamp = ++records->stamp;
    held->connected_us = now_us;
}

void fab_peer_records_remove(struct fab_peer_records *records, const struct fab_peer_id *peer)
{
    size_t i = find(records, peer);
    if (i < records->count)
        drop(records, i);
}

static int by_stamp(const void *a, const void *b)
{
    const struct held *const *x = a, *const *y = b;
    return ((*x)->stamp > (*y)->stamp) - ((*x)->stamp < (*y)->stamp);
}

enum fab_rc fab_peer_records_tell(const struct fab_peer_records *records, uint64_t *mark,
                                  const struct fab_peer_id *except, uint64_t now_us,
                                  struct fab_buf *out, size_t *n)
{
    const struct held **list = malloc((records->count + 1) * sizeof(struct held *));
    size_t count = 0, first = 0, before = out->len;
    enum fab_rc rc = FAB_OK;
    if (!list)
        return FAB_ENOMEM;
    for (size_t i = 0; i < records->count; i++) {
        const struct held *held = &records->held[i];
        if (held->stamp > *mark && is_fresh(held, now_us) && !fab_peer_id_eq(&held->peer, except))
            list[count++] = held;
    }
    qsort(list, count, sizeof(struct held *), by_stamp);
    if (count > FAB_PEERS_OTHERS_MAX && *mark == 0)
        first = count - FAB_PEERS_OTHERS_MAX;
    size_t end = count - first > FAB_PEERS_OTHERS_MAX ? first + FAB_PEERS_OTHERS_MAX : count;
    for (size_t i = first; i < end && rc == FAB_OK; i++)
        rc = fab_peers_append(out, fab_slice(list[i]->envelope, list[i]->n));
    if (rc == FAB_OK) {
        *mark = end < count ? list[end - 1]->stamp : records->stamp;
        *n = end - first;
    } else {
        out->len = before;
    }
    free(list);
    return rc;
}
