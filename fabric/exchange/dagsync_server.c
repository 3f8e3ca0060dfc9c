/* The happy path: `input` cuts the stream into messages and lays them into the inbox (`in`, the
 * loop's); `apply` moves them to the walk's side (`items`, credit, prunes); `fill` takes one item
 * after the other: it follows the path, sending each block on the way as proof, then walks what the
 * scope asks for, and says ITEM_DONE; after the last one, DONE.
 *
 *     path ──▶ root ──▶ walk ──▶ ended, next item
 *       └────────┴────────┴──▶ (bad path, malformed block, ...) ERROR, next item
 *
 * A fill stops when its target is reached, the credit is used up, or much was read for nothing; the
 * next one goes on in the same place. A step that had no room is done again from its beginning; a
 * step of a path then remembers how many blocks it had sent (`proofs`), so that it comes to an end
 * even when the set of sent blocks is full.
 *
 * Failures: what the asker sends wrongly ends the stream; what the DAG or the store has wrong ends
 * the item. */
#include "fabric/exchange/dagsync_server.h"

#include "fabric/exchange/dagsync_walk.h"
#include "storage/dag/dir_reader.h"
#include "storage/dag/resolve.h"

#include <stdlib.h>
#include <string.h>

/* In the inbox: an item, or the print of a block to be pruned. */
enum { IN_ITEM, IN_PRUNE };

#define INBOX_PRUNES ((size_t)FAB_DAGSYNC_PRUNES_MAX)
#define INBOX_MAX                                                                                  \
    (FAB_DAGSYNC_ASK_MAX + FAB_DAGSYNC_ITEMS_MAX + INBOX_PRUNES * (1 + sizeof(uint64_t)))
#define KEEP_BYTES      4096u /* of the buffer of the message that arrives */
#define WORK_FACTOR     16u   /* a fill reads at most so many times its target */
#define WORK_TARGET_MIN ((size_t)64 << 10)

/* The loop's side. */
struct inbox {
    struct fab_dagsync_length length;
    size_t need;            /* bytes of the message that arrives; 0: its length is not whole */
    struct fab_buf message; /* what of it is here */
    struct fab_buf commands;
    size_t prunes; /* in commands */
    uint64_t credit;
    size_t open, open_bytes; /* items not ended, as the asker knows it */
    bool ended;
};

enum phase { PHASE_NONE, PHASE_PATH, PHASE_ROOT, PHASE_WALK };

struct fab_dagsync_server {
    uint8_t key[FAB_DAGSYNC_KEY];
    struct inbox in;

    /* The walk's side. */
    struct fab_dagsync_walk walk;
    struct fab_buf items; /* encoded; the first one from `items_at` on is the current one */
    size_t items_at;
    enum phase phase;
    struct fab_dagsync_item item; /* the current one; its path lies in `items` */
    size_t item_bytes;
    struct fab_cid cid; /* where the path has led so far */
    size_t path_at;
    unsigned components;
    unsigned proofs, gets; /* of the step: blocks done with, blocks asked for in this try */
    struct fab_cid missing;
    uint64_t index, said;      /* of the current item; the last DONE's number */
    size_t ended, ended_bytes; /* items since the last apply */
    enum fab_dagsync_state state;
};

enum fab_rc fab_dagsync_server_new(const uint8_t key[FAB_DAGSYNC_KEY],
                                   struct fab_dagsync_server **out)
{
    struct fab_dagsync_server *s = calloc(1, sizeof *s);
    if (!s)
        return FAB_ENOMEM;
    memcpy(s->key, key, sizeof s->key);
    fab_dagsync_walk_init(&s->walk, s->key);
    fab_buf_init(&s->in.message, FAB_DAGSYNC_ASK_MAX);
    fab_buf_init(&s->in.commands, INBOX_MAX);
    fab_buf_init(&s->items, FAB_DAGSYNC_ASK_MAX);
    s->state = FAB_DAGSYNC_IDLE;
    *out = s;
    return FAB_OK;
}

void fab_dagsync_server_free(struct fab_dagsync_server *server)
{
    if (!server)
        return;
    fab_dagsync_walk_fini(&server->walk);
    fab_buf_fini(&server->in.message);
    fab_buf_fini(&server->in.commands);
    fab_buf_fini(&server->items);
    free(server);
}

/* ---- the loop's side ---- */

static enum fab_rc request_take(struct inbox *in, struct fab_slice items)
{
    struct fab_reader r = fab_reader(items);
    struct fab_dagsync_item item;
    while (fab_reader_left(&r) > 0) {
        const uint8_t *begin = r.p;
        FAB_TRY(fab_dagsync_item_read(&r, &item));
        size_t n = (size_t)(r.p - begin);
        if (in->open == FAB_DAGSYNC_ITEMS_MAX || n > FAB_DAGSYNC_ASK_MAX - in->open_bytes)
            return FAB_ELIMIT;
        in->open++;
        in->open_bytes += n;
        FAB_TRY(fab_buf_byte(&in->commands, IN_ITEM));
        FAB_TRY(fab_buf_append(&in->commands, begin, n));
    }
    return FAB_OK;
}

static enum fab_rc message_take(struct fab_dagsync_server *s, struct fab_slice message)
{
    struct inbox *in = &s->in;
    struct fab_dagsync_message m;
    uint64_t print;
    FAB_TRY(fab_dagsync_decode(message, false, &m));
    switch (m.type) {
    case FAB_DAGSYNC_REQUEST:
        return request_take(in, m.bytes);
    case FAB_DAGSYNC_CREDIT:
        if (m.number > FAB_DAGSYNC_CREDIT_MAX - in->credit)
            return FAB_ELIMIT;
        in->credit += m.number;
        return FAB_OK;
    default:
        /* A PRUNE; more than fit are passed over, since it is only a hint. */
        if (in->prunes == INBOX_PRUNES)
            return FAB_OK;
        print = fab_dagsync_print(s->key, &m.cid);
        FAB_TRY(fab_buf_byte(&in->commands, IN_PRUNE));
        FAB_TRY(fab_buf_append(&in->commands, &print, sizeof print));
        in->prunes++;
        return FAB_OK;
    }
}

enum fab_rc fab_dagsync_server_input(struct fab_dagsync_server *server, struct fab_slice bytes)
{
    struct inbox *in = &server->in;
    struct fab_reader r = fab_reader(bytes);
    struct fab_slice part;
    if (in->ended)
        return FAB_EFORMAT;
    while (fab_reader_left(&r) > 0) {
        if (in->need == 0) {
            uint8_t byte;
            bool whole;
            FAB_TRY(fab_read_u8(&r, &byte));
            FAB_TRY(fab_dagsync_length_byte(&in->length, byte, FAB_DAGSYNC_ASK_MAX, &whole));
            if (whole)
                in->need = in->length.value;
            continue;
        }
        size_t n = in->need - in->message.len, left = fab_reader_left(&r);
        FAB_TRY(fab_read_bytes(&r, n < left ? n : left, &part));
        if (part.n < in->need) {
            FAB_TRY(fab_buf_append(&in->message, part.p, part.n));
            if (in->message.len < in->need)
                return FAB_OK;
            part = fab_buf_slice(&in->message);
        }
        FAB_TRY(message_take(server, part));
        in->need = 0;
        in->length = (struct fab_dagsync_length){0};
        fab_buf_reset(&in->message);
        if (in->message.cap > KEEP_BYTES)
            fab_buf_fini(&in->message);
    }
    return FAB_OK;
}

enum fab_rc fab_dagsync_server_input_end(struct fab_dagsync_server *server)
{
    server->in.ended = true;
    return server->in.need > 0 || server->in.length.bytes > 0 ? FAB_EFORMAT : FAB_OK;
}

/* ---- handing over ---- */

/* Move the items that have not ended to the front, so that the buffer's maximum is theirs alone. */
static void items_compact(struct fab_dagsync_server *s)
{
    if (s->items_at == 0)
        return;
    s->items.len -= s->items_at;
    memmove(s->items.data, s->items.data + s->items_at, s->items.len);
    s->items_at = 0;
    if (s->phase != PHASE_NONE) {
        /* The path of the current item has moved with it; it was read before. */
        struct fab_reader r = fab_reader(fab_buf_slice(&s->items));
        if (fab_dagsync_item_read(&r, &s->item) != FAB_OK)
            s->phase = PHASE_NONE;
    }
}

static enum fab_rc command_apply(struct fab_dagsync_server *s, struct fab_reader *r)
{
    struct fab_dagsync_item item;
    struct fab_slice bytes;
    uint64_t print;
    uint8_t kind;
    FAB_TRY(fab_read_u8(r, &kind));
    if (kind == IN_PRUNE) {
        FAB_TRY(fab_read_bytes(r, sizeof print, &bytes));
        memcpy(&print, bytes.p, sizeof print);
        fab_dagsync_walk_prune(&s->walk, print);
        return FAB_OK;
    }
    const uint8_t *begin = r->p;
    FAB_TRY(fab_dagsync_item_read(r, &item));
    FAB_TRY(fab_buf_append(&s->items, begin, (size_t)(r->p - begin)));
    fab_dagsync_walk_unprune(&s->walk, fab_dagsync_print(s->key, &item.cid));
    return FAB_OK;
}

enum fab_rc fab_dagsync_server_apply(struct fab_dagsync_server *server)
{
    struct fab_dagsync_server *s = server;
    struct inbox *in = &s->in;
    in->open -= s->ended;
    in->open_bytes -= s->ended_bytes;
    s->ended = s->ended_bytes = 0;
    if (in->commands.len > 0) {
        struct fab_reader r = fab_reader(fab_buf_slice(&in->commands));
        items_compact(s);
        while (fab_reader_left(&r) > 0)
            FAB_TRY(command_apply(s, &r));
        fab_buf_reset(&in->commands);
        in->prunes = 0;
        /* Also after a PRUNE alone: what waited for credit may have ended by it. */
        if (s->state != FAB_DAGSYNC_IDLE || s->items_at < s->items.len)
            s->state = FAB_DAGSYNC_WORK;
    }
    if (in->credit > 0) {
        if (s->walk.credit > 0 && in->credit > FAB_DAGSYNC_CREDIT_MAX - (uint64_t)s->walk.credit)
            return FAB_ELIMIT;
        s->walk.credit += (int64_t)in->credit;
        in->credit = 0;
        if (s->state == FAB_DAGSYNC_WAIT && s->walk.credit > 0)
            s->state = FAB_DAGSYNC_WORK;
    }
    return FAB_OK;
}

enum fab_dagsync_state fab_dagsync_server_state(const struct fab_dagsync_server *server)
{
    if (server->state != FAB_DAGSYNC_WORK && server->in.ended)
        return FAB_DAGSYNC_FINISHED;
    return server->state;
}

/* ---- paths ---- */

static bool component_next(const struct fab_dagsync_server *s, size_t *begin, size_t *end)
{
    struct fab_slice path = s->item.path;
    size_t at = s->path_at;
    while (at < path.n && path.p[at] == '/')
        at++;
    *begin = at;
    while (at < path.n && path.p[at] != '/')
        at++;
    *end = at;
    return *end > *begin;
}

/* A source that sends what is read from it. */
static enum fab_rc proof_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct fab_dagsync_server *s = ctx;
    struct fab_slice data;
    enum fab_rc rc = fab_dagsync_walk_get(&s->walk, cid, &data);
    if (rc == FAB_ENOENT)
        s->missing = *cid;
    FAB_TRY(rc);
    if (s->gets++ == s->proofs) {
        uint64_t print = fab_dagsync_print(s->key, cid);
        FAB_TRY(fab_dagsync_walk_block(&s->walk, cid, print, data));
        s->proofs++;
    }
    *out = data;
    return FAB_OK;
}

static enum fab_rc path_step(struct fab_dagsync_server *s, bool *ended)
{
    struct fab_block_source source = {s, proof_get};
    struct fab_cid next;
    bool missing = false;
    size_t begin, end;
    if (!component_next(s, &begin, &end)) {
        s->phase = PHASE_ROOT;
        return FAB_OK;
    }
    if (s->components == FAB_PATH_COMPONENTS_MAX)
        return FAB_ELIMIT;
    s->gets = 0;
    enum fab_rc rc = fab_dir_find(&source, &s->cid, fab_slice(s->item.path.p + begin, end - begin),
                                  &missing, &next, NULL);
    if (rc == FAB_ENOENT && missing) {
        struct fab_dagsync_message m = {.type = FAB_DAGSYNC_MISSING, .cid = s->missing};
        FAB_TRY(fab_dagsync_walk_send(&s->walk, &m));
        *ended = true;
        return FAB_OK;
    }
    FAB_TRY(rc);
    s->cid = next;
    s->path_at = end;
    s->components++;
    s->proofs = 0;
    return FAB_OK;
}

/* ---- items ---- */

static enum fab_rc say(struct fab_dagsync_server *s, const struct fab_dagsync_message *m)
{
    enum fab_rc rc = fab_dagsync_append(s->walk.out, m);
    if (rc == FAB_OK)
        return FAB_OK;
    s->walk.fatal = rc;
    return FAB_EINTERRUPTED;
}

static enum fab_rc item_next(struct fab_dagsync_server *s)
{
    struct fab_reader r =
        fab_reader(fab_slice(s->items.data + s->items_at, s->items.len - s->items_at));
    const uint8_t *begin = r.p;
    FAB_TRY(fab_dagsync_item_read(&r, &s->item));
    s->item_bytes = (size_t)(r.p - begin);
    s->cid = s->item.cid;
    s->path_at = s->components = s->proofs = 0;
    s->walk.from = s->item.from;
    s->walk.to = s->item.to == FAB_DAGSYNC_RANGE_END ? UINT64_MAX : s->item.to;
    s->phase = PHASE_PATH;
    return FAB_OK;
}

static void item_leave(struct fab_dagsync_server *s)
{
    s->items_at += s->item_bytes;
    s->ended_bytes += s->item_bytes;
    s->ended++;
    s->index++;
    s->phase = PHASE_NONE;
}

static enum fab_rc item_done(struct fab_dagsync_server *s)
{
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_ITEM_DONE, .number = s->index};
    FAB_TRY(say(s, &m));
    item_leave(s);
    return FAB_OK;
}

static enum fab_rc item_failed(struct fab_dagsync_server *s, enum fab_rc rc)
{
    struct fab_dagsync_message m = {
        .type = FAB_DAGSYNC_ERROR, .number = s->index, .code = FAB_DAGSYNC_EINTERNAL};
    const char *text = "the server cannot read the block";
    if (rc == FAB_ENOENT) {
        m.code = FAB_DAGSYNC_ENAME;
        text = "no such name in the directory";
    } else if (rc == FAB_EINVAL && s->phase == PHASE_PATH) {
        m.code = FAB_DAGSYNC_EDIRECTORY;
        text = "not a directory";
    } else if (rc == FAB_EINVAL) {
        m.code = FAB_DAGSYNC_EFILE;
        text = "not a file";
    } else if (rc == FAB_EFORMAT) {
        m.code = FAB_DAGSYNC_EMALFORMED;
        text = "a malformed block";
    } else if (rc == FAB_ELIMIT) {
        m.code = FAB_DAGSYNC_ELIMIT;
        text = "too deep or too large";
    }
    m.bytes = fab_slice(text, strlen(text));
    FAB_TRY(say(s, &m));
    fab_dagsync_walk_drop(&s->walk, 0);
    item_leave(s);
    return FAB_OK;
}

static enum fab_rc item_step(struct fab_dagsync_server *s)
{
    bool ended = false;
    switch (s->phase) {
    case PHASE_NONE:
        FAB_TRY(item_next(s));
        return FAB_OK;
    case PHASE_PATH:
        FAB_TRY(path_step(s, &ended));
        break;
    case PHASE_ROOT:
        FAB_TRY(fab_dagsync_walk_begin(&s->walk, &s->cid, s->item.scope));
        s->phase = PHASE_WALK;
        break;
    case PHASE_WALK:
        ended = s->walk.depth == 0;
        if (!ended)
            FAB_TRY(fab_dagsync_walk_step(&s->walk));
        break;
    }
    return ended ? item_done(s) : FAB_OK;
}

static enum fab_rc all_done(struct fab_dagsync_server *s)
{
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_DONE, .number = s->index};
    s->state = FAB_DAGSYNC_IDLE;
    if (s->said == s->index)
        return FAB_OK;
    s->said = s->index;
    return say(s, &m);
}

enum fab_rc fab_dagsync_server_fill(struct fab_dagsync_server *server,
                                    const struct fab_block_source *source, struct fab_buf *out,
                                    size_t target)
{
    struct fab_dagsync_server *s = server;
    struct fab_dagsync_walk *w = &s->walk;
    uint64_t work_max =
        (uint64_t)WORK_FACTOR * (target > WORK_TARGET_MIN ? target : WORK_TARGET_MIN);
    enum fab_rc rc = FAB_OK;
    w->source = source;
    w->out = out;
    w->out_end = out->len + target;
    w->work = 0;
    s->state = FAB_DAGSYNC_WORK;
    while (rc == FAB_OK && out->len < w->out_end && w->work < work_max) {
        if (s->phase == PHASE_NONE && s->items_at == s->items.len) {
            rc = all_done(s);
            break;
        }
        rc = item_step(s);
        if (rc == FAB_EBUSY && w->starved)
            s->state = FAB_DAGSYNC_WAIT;
        else if (rc != FAB_OK && rc != FAB_EBUSY && rc != FAB_EINTERRUPTED)
            rc = item_failed(s, rc);
    }
    w->source = NULL;
    w->out = NULL;
    return rc == FAB_EINTERRUPTED ? w->fatal : FAB_OK;
}

size_t fab_dagsync_server_memory(const struct fab_dagsync_server *server)
{
    const struct fab_dagsync_walk *w = &server->walk;
    return sizeof *server + server->in.message.cap + server->in.commands.cap + server->items.cap +
           w->links.cap + (w->seen.slot_count + w->prunes.slot_count) * sizeof *w->seen.slots;
}

void fab_dagsync_server_sent(const struct fab_dagsync_server *server, uint64_t *blocks,
                             uint64_t *bytes)
{
    *blocks = server->walk.blocks;
    *bytes = server->walk.bytes;
}
