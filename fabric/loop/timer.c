/* Timers in a pairing heap: starting is constant time, stopping and firing are logarithmic
 * (amortised), and the links lie in the timers themselves. One libuv timer stands for the first.
 */
#include "fabric/loop/inner.h"

static bool before(const struct fab_timer *a, const struct fab_timer *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

/* Both are roots: no `next`. The later becomes the first child of the earlier. */
static struct fab_timer *merge(struct fab_timer *a, struct fab_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (before(b, a)) {
        struct fab_timer *earlier = b;
        b = a;
        a = earlier;
    }
    b->next = a->child;
    if (b->next)
        b->next->where = &b->next;
    b->where = &a->child;
    a->child = b;
    return a;
}

static struct fab_timer *merge_list(struct fab_timer *list)
{
    struct fab_timer *pairs = NULL, *root = NULL;
    while (list) {
        struct fab_timer *a = list, *b = a->next;
        list = b ? b->next : NULL;
        a->next = NULL;
        if (b)
            b->next = NULL;
        a = merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct fab_timer *a = pairs;
        pairs = a->next;
        a->next = NULL;
        root = merge(root, a);
    }
    return root;
}

static void add_root(struct fab_loop *loop, struct fab_timer *timer)
{
    loop->timers = merge(loop->timers, timer);
    if (loop->timers) {
        loop->timers->where = &loop->timers;
        loop->timers->next = NULL;
    }
}

static void on_clock(uv_timer_t *clock)
{
    fab_timer_run(clock->data);
}

static void on_due(struct fab_defer *due)
{
    fab_timer_run((struct fab_loop *)(void *)((char *)due - offsetof(struct fab_loop, due)));
}

static void arm(struct fab_loop *loop)
{
    uv_timer_stop(&loop->clock);
    fab_loop_cancel(&loop->due);
    if (!loop->timers)
        return;
    uint64_t now_us = fab_loop_now_us(), at_us = loop->timers->at_us;
    if (at_us <= now_us) {
        /* Not by the clock: libuv fires one that is due again and again within the same turn. */
        loop->due.run = on_due;
        fab_loop_defer(loop, &loop->due);
        return;
    }
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->clock, on_clock, (at_us - now_us) / 1000 + 1, 0);
}

static void take_out(struct fab_timer *timer)
{
    struct fab_loop *loop = timer->loop;
    *timer->where = timer->next;
    if (timer->next)
        timer->next->where = timer->where;
    struct fab_timer *children = merge_list(timer->child);
    timer->child = timer->next = NULL;
    timer->where = NULL;
    add_root(loop, children);
}

void fab_timer_init(struct fab_timer *timer, struct fab_loop *loop, void (*fire)(void *arg),
                    void *arg)
{
    *timer = (struct fab_timer){.loop = loop, .fire = fire, .arg = arg};
}

void fab_timer_start(struct fab_timer *timer, uint64_t at_us)
{
    struct fab_loop *loop = timer->loop;
    if (timer->where && timer->at_us == at_us)
        return;
    struct fab_timer *first = loop->timers;
    uint64_t first_us = first ? first->at_us : 0;
    if (timer->where)
        take_out(timer);
    timer->at_us = at_us;
    if (at_us != UINT64_MAX) {
        timer->seq = loop->timer_seq++;
        add_root(loop, timer);
    }
    if (loop->timers != first || (first && loop->timers->at_us != first_us))
        arm(loop);
}

void fab_timer_stop(struct fab_timer *timer)
{
    if (timer->where)
        take_out(timer); /* the clock may tick once for nothing */
}

void fab_timer_run(struct fab_loop *loop)
{
    uint64_t now_us = fab_loop_now_us(), seq = loop->timer_seq;
    /* What is started meanwhile has a later seq and waits for the next turn, even if it is due. */
    while (loop->timers && loop->timers->at_us <= now_us && loop->timers->seq < seq) {
        struct fab_timer *timer = loop->timers;
        take_out(timer);
        timer->fire(timer->arg);
    }
    arm(loop);
}
