/* The happy path: a block is fetched, sent, and pushed with a window of its links; the window's
 * children are visited in turn; a window that is used up is filled again from the block itself; a
 * frame without links is popped.
 *
 * A block that was sent is not sent again, and what is below it not looked at again once that was
 * done or is under way. Of a range, only the nodes at its two edges are walked as a file; what lies
 * between is wanted whole, so that shared subtrees cost one visit there too.
 *
 * Failures: a missing block is said and passed over; a malformed one, one too deep and a source
 * that fails end the item. Whatever is given up is no longer marked as done, so that it may be
 * asked again. */
#include "fabric/exchange/dagsync_walk.h"

#include "fabric/exchange/dagsync_server.h"
#include "storage/dag/dag_pb.h"
#include "storage/dag/links.h"
#include "storage/dag/unixfs.h"

#include <string.h>

/* Windows: large where DAGs are wide, small where only a hostile one reaches. */
#define WINDOW_TOP    ((size_t)64 << 10)
#define WINDOW_DEEP   ((size_t)4 << 10)
#define WINDOW_LEVELS 8u
#define LINKS_MAX     (WINDOW_LEVELS * WINDOW_TOP + (FAB_DEPTH_MAX - WINDOW_LEVELS) * WINDOW_DEEP)

#define SEEN_SLOTS   (FAB_DAGSYNC_SEEN_MAX / 3 * 4)
#define PRUNES_SLOTS (2 * FAB_DAGSYNC_PRUNES_MAX)

#define WORK_GET   256u /* what looking a block up counts, in bytes read */
#define WORK_CHILD 64u

struct child {
    struct fab_cid cid;
    bool whole;
    uint64_t offset, size;
};

void fab_dagsync_walk_init(struct fab_dagsync_walk *w, const uint8_t *key)
{
    w->key = key;
    fab_dagsync_marks_init(&w->seen, SEEN_SLOTS);
    fab_dagsync_marks_init(&w->prunes, PRUNES_SLOTS);
    fab_buf_init(&w->links, LINKS_MAX);
}

void fab_dagsync_walk_fini(struct fab_dagsync_walk *w)
{
    fab_dagsync_marks_fini(&w->seen);
    fab_dagsync_marks_fini(&w->prunes);
    fab_buf_fini(&w->links);
}

static enum fab_rc fatal(struct fab_dagsync_walk *w, enum fab_rc rc)
{
    w->fatal = rc;
    return FAB_EINTERRUPTED;
}

enum fab_rc fab_dagsync_walk_send(struct fab_dagsync_walk *w,
                                  const struct fab_dagsync_message *message)
{
    w->starved = false;
    if (w->out->len >= w->out_end)
        return FAB_EBUSY;
    w->starved = w->credit <= 0;
    if (w->starved)
        return FAB_EBUSY;
    enum fab_rc rc = fab_dagsync_append(w->out, message);
    if (rc != FAB_OK)
        return fatal(w, rc);
    w->credit -= (int64_t)fab_dagsync_frame_size(message);
    return FAB_OK;
}

enum fab_rc fab_dagsync_walk_get(struct fab_dagsync_walk *w, const struct fab_cid *cid,
                                 struct fab_slice *out)
{
    struct fab_slice data;
    w->work += WORK_GET;
    enum fab_rc rc = fab_block_get(w->source, cid, &data);
    if (rc == FAB_ENOMEM)
        return fatal(w, rc);
    if (rc != FAB_OK)
        return rc == FAB_ENOENT ? rc : FAB_EIO;
    if (data.n > FAB_BLOCK_MAX)
        return FAB_ELIMIT;
    w->work += data.n;
    *out = data;
    return FAB_OK;
}

enum fab_rc fab_dagsync_walk_block(struct fab_dagsync_walk *w, const struct fab_cid *cid,
                                   uint64_t print, struct fab_slice data)
{
    struct fab_dagsync_message m = {.type = FAB_DAGSYNC_BLOCK, .cid = *cid, .bytes = data};
    if (fab_dagsync_marks_get(&w->seen, print) != FAB_DAGSYNC_NO_MARK)
        return FAB_OK;
    /* The bytes of an identity CID came with the link. */
    if (fab_cid_mh_code(cid) != FAB_MH_IDENTITY) {
        FAB_TRY(fab_dagsync_walk_send(w, &m));
        w->blocks++;
        w->bytes += data.n;
    }
    fab_dagsync_marks_set(&w->seen, print, cid->codec == FAB_CODEC_RAW);
    return FAB_OK;
}

/* ---- windows ---- */

struct window {
    struct fab_dagsync_walk *walk;
    struct fab_dagsync_frame *frame;
    size_t limit; /* of links.len */
    size_t index; /* of the link that comes next */
};

/* A length byte, the CID, and for a range offset and size. FAB_EQUOTA: the window is full. */
static enum fab_rc window_add(struct window *win, const struct fab_cid *cid, const uint64_t *place)
{
    struct fab_buf *links = &win->walk->links;
    uint8_t bytes[1 + FAB_CID_MAX];
    size_t n = fab_cid_bytes(cid, bytes + 1), extra = place ? 2 * sizeof *place : 0;
    bytes[0] = (uint8_t)n;
    if (links->len + 1 + n + extra > win->limit) {
        win->frame->more = true;
        return FAB_EQUOTA;
    }
    FAB_TRY(fab_buf_append(links, bytes, n + 1));
    return fab_buf_append(links, place, extra);
}

static enum fab_rc link_keep(void *arg, const struct fab_cid *link)
{
    struct window *win = arg;
    if (win->index >= win->frame->next) {
        FAB_TRY(window_add(win, link, NULL));
        win->frame->next++;
    }
    win->index++;
    return FAB_OK;
}

static enum fab_rc file_decode(const struct fab_dagsync_frame *f, struct fab_slice data,
                               struct fab_pb_node *pb, struct fab_unixfs *fs)
{
    bool root = f->size == UINT64_MAX;
    if (f->cid.codec != FAB_CODEC_DAG_PB)
        return root ? FAB_EINVAL : FAB_EFORMAT;
    FAB_TRY(fab_pb_decode(data, pb));
    if (!pb->has_data)
        return root ? FAB_EINVAL : FAB_EFORMAT;
    FAB_TRY(fab_unixfs_decode(pb->data, fs));
    if (fs->type != FAB_UNIXFS_FILE && fs->type != FAB_UNIXFS_RAW)
        return root ? FAB_EINVAL : FAB_EFORMAT;
    if (fs->sizes_count != pb->links || fs->data.n > UINT64_MAX - fs->sizes_sum)
        return FAB_EFORMAT;
    uint64_t size = fs->sizes_sum + fs->data.n;
    if ((fs->has_filesize && fs->filesize != size) || (!root && f->size != size))
        return FAB_EFORMAT;
    return FAB_OK;
}

/* The children that lie in the range: `offset + size` cannot wrap, since every node's size was
 * checked to be its children's sum. */
static enum fab_rc range_window(struct window *win, struct fab_slice data)
{
    struct fab_dagsync_walk *w = win->walk;
    struct fab_dagsync_frame *f = win->frame;
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    struct fab_unixfs_sizes sizes;
    struct fab_pb_link link;
    uint64_t place[2];
    FAB_TRY(file_decode(f, data, &pb, &fs));
    struct fab_pb_links it = fab_pb_links(&pb);
    fab_unixfs_sizes_init(&sizes, &fs);
    place[0] = f->offset + fs.data.n;
    while (place[0] < w->to && fab_pb_links_next(&it, &link) &&
           fab_unixfs_sizes_next(&sizes, &place[1])) {
        struct fab_cid cid;
        if (win->index >= f->next) {
            if (place[1] > 0 && place[0] + place[1] > w->from) {
                FAB_TRY(fab_pb_link_cid(&link, &cid));
                FAB_TRY(window_add(win, &cid, place));
            }
            f->next++;
        }
        win->index++;
        place[0] += place[1];
    }
    return FAB_OK;
}

/* Fill the window of `f`, the topmost frame or one about to be, from the link f->next on. */
static enum fab_rc window_fill(struct fab_dagsync_walk *w, struct fab_dagsync_frame *f,
                               struct fab_slice data, size_t room)
{
    struct window win = {w, f, w->links.len + room, 0};
    f->begin = f->at = w->links.len;
    f->more = false;
    enum fab_rc rc =
        f->whole ? fab_dag_links(f->cid.codec, data, link_keep, &win) : range_window(&win, data);
    if (rc == FAB_ENOMEM)
        return fatal(w, rc);
    if (rc != FAB_OK && rc != FAB_EQUOTA && rc != FAB_EUNSUPPORTED) {
        w->links.len = f->begin;
        return rc;
    }
    f->end = w->links.len;
    return FAB_OK;
}

static size_t window_room(unsigned depth)
{
    return depth < WINDOW_LEVELS ? WINDOW_TOP : WINDOW_DEEP;
}

static enum fab_rc window_again(struct fab_dagsync_walk *w, struct fab_dagsync_frame *f)
{
    struct fab_slice data;
    enum fab_rc rc = fab_dagsync_walk_get(w, &f->cid, &data);
    /* It was there a moment ago, and was sent. */
    if (rc == FAB_ENOENT)
        return FAB_EIO;
    FAB_TRY(rc);
    w->links.len = f->begin;
    return window_fill(w, f, data, window_room(w->depth - 1));
}

/* ---- visits ---- */

static enum fab_rc enter(struct fab_dagsync_walk *w, const struct child *c, uint64_t print,
                         struct fab_slice data)
{
    struct fab_dagsync_frame none, *f = &none;
    bool deepest = w->depth == FAB_DEPTH_MAX;
    if (!deepest)
        f = &w->frames[w->depth];
    *f = (struct fab_dagsync_frame){
        .cid = c->cid, .print = print, .whole = c->whole, .offset = c->offset, .size = c->size};
    FAB_TRY(window_fill(w, f, data, deepest ? 0 : window_room(w->depth)));
    if (deepest && f->more)
        return FAB_ELIMIT;
    if (f->end > f->begin)
        w->depth++;
    if (c->whole)
        fab_dagsync_marks_set(&w->seen, print, true);
    return FAB_OK;
}

static enum fab_rc visit(struct fab_dagsync_walk *w, const struct child *c, bool alone)
{
    uint64_t print = fab_dagsync_print(w->key, &c->cid);
    enum fab_dagsync_mark mark = fab_dagsync_marks_get(&w->seen, print);
    bool leaf = alone || c->cid.codec == FAB_CODEC_RAW;
    struct fab_slice data;
    w->work += WORK_CHILD;
    if (fab_dagsync_marks_get(&w->prunes, print) == FAB_DAGSYNC_MARK_BIT)
        return FAB_OK;
    if (mark != FAB_DAGSYNC_NO_MARK && leaf)
        return FAB_OK;
    if (mark == FAB_DAGSYNC_MARK_BIT && c->whole)
        return FAB_OK;
    enum fab_rc rc = fab_dagsync_walk_get(w, &c->cid, &data);
    if (rc == FAB_ENOENT) {
        struct fab_dagsync_message m = {.type = FAB_DAGSYNC_MISSING, .cid = c->cid};
        return fab_dagsync_walk_send(w, &m);
    }
    FAB_TRY(rc);
    FAB_TRY(fab_dagsync_walk_block(w, &c->cid, print, data));
    return leaf ? FAB_OK : enter(w, c, print, data);
}

enum fab_rc fab_dagsync_walk_begin(struct fab_dagsync_walk *w, const struct fab_cid *root,
                                   enum fab_dagsync_scope scope)
{
    struct child c = {.cid = *root, .whole = scope == FAB_DAGSYNC_ALL, .size = UINT64_MAX};
    return visit(w, &c, scope == FAB_DAGSYNC_ROOT);
}

static enum fab_rc child_next(const struct fab_dagsync_walk *w, struct fab_dagsync_frame *f,
                              struct child *out)
{
    struct fab_reader r = fab_reader(fab_slice(w->links.data + f->at, f->end - f->at));
    struct fab_slice cid;
    uint8_t n;
    FAB_TRY(fab_read_u8(&r, &n));
    FAB_TRY(fab_read_bytes(&r, n, &cid));
    FAB_TRY(fab_cid_parse(cid, &out->cid));
    out->whole = f->whole;
    if (!f->whole) {
        struct fab_slice place;
        uint64_t v[2];
        FAB_TRY(fab_read_bytes(&r, sizeof v, &place));
        memcpy(v, place.p, sizeof v);
        out->offset = v[0];
        out->size = v[1];
        out->whole = v[0] >= w->from && v[0] + v[1] <= w->to;
    }
    f->at = f->end - fab_reader_left(&r);
    return FAB_OK;
}

enum fab_rc fab_dagsync_walk_step(struct fab_dagsync_walk *w)
{
    struct fab_dagsync_frame *f = &w->frames[w->depth - 1];
    struct child c = {0};
    if (f->at == f->end && f->more)
        FAB_TRY(window_again(w, f));
    if (f->at == f->end) {
        w->links.len = f->begin;
        w->depth--;
        return FAB_OK;
    }
    size_t at = f->at;
    FAB_TRY(child_next(w, f, &c));
    enum fab_rc rc = visit(w, &c, false);
    if (rc == FAB_EBUSY)
        f->at = at;
    return rc;
}

void fab_dagsync_walk_drop(struct fab_dagsync_walk *w, unsigned depth)
{
    if (depth >= w->depth)
        return;
    for (unsigned i = depth; i < w->depth; i++)
        if (w->frames[i].whole)
            fab_dagsync_marks_set(&w->seen, w->frames[i].print, false);
    w->links.len = w->frames[depth].begin;
    w->depth = depth;
}

void fab_dagsync_walk_prune(struct fab_dagsync_walk *w, uint64_t print)
{
    fab_dagsync_marks_set(&w->prunes, print, true);
    for (unsigned i = 0; i < w->depth; i++)
        if (w->frames[i].print == print)
            fab_dagsync_walk_drop(w, i);
}

void fab_dagsync_walk_unprune(struct fab_dagsync_walk *w, uint64_t print)
{
    if (fab_dagsync_marks_get(&w->prunes, print) != FAB_DAGSYNC_NO_MARK)
        fab_dagsync_marks_set(&w->prunes, print, false);
}
