/* The loop over libuv.
 *
 * A turn: the clock's timers; the functions deferred before it; then libuv waits for descriptors
 * (not at all when functions are deferred) and calls back; posts arrive as one such callback.
 * libuv's handles of the loop's own are four and live as long as it does; others count in `open`.
 */
#include "fabric/loop/inner.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

uint64_t fab_loop_now_us(void)
{
    return uv_hrtime() / 1000;
}

static void append(struct fab_defer *head, struct fab_defer *defer)
{
    defer->prev = head->prev;
    defer->next = head;
    head->prev->next = defer;
    head->prev = defer;
}

static void on_idle(uv_idle_t *idle)
{
    struct fab_loop *loop = idle->data;
    struct fab_defer now = {.prev = &now, .next = &now};
    if (loop->head.next != &loop->head) { /* what is queued from here on waits for the next turn */
        now.next = loop->head.next;
        now.prev = loop->head.prev;
        now.next->prev = now.prev->next = &now;
        loop->head.prev = loop->head.next = &loop->head;
    }
    while (now.next != &now) {
        struct fab_defer *defer = now.next;
        fab_loop_cancel(defer);
        defer->run(defer);
    }
    if (loop->head.next == &loop->head)
        uv_idle_stop(idle);
}

static void on_posted(uv_async_t *async)
{
    struct fab_loop *loop = async->data;
    pthread_mutex_lock(&loop->mutex);
    struct fab_post *post = loop->posts;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    pthread_mutex_unlock(&loop->mutex);
    while (post) {
        struct fab_post *next = post->next;
        post->run(post);
        post = next;
    }
}

enum fab_rc fab_loop_new(struct fab_loop **out)
{
    struct fab_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return FAB_ENOMEM;
    if (uv_loop_init(&loop->uv) != 0) {
        free(loop);
        return FAB_EIO;
    }
    uv_idle_init(&loop->uv, &loop->deferring);
    uv_timer_init(&loop->uv, &loop->clock);
    loop->posted.data = loop->deferring.data = loop->clock.data = loop;
    loop->head.prev = loop->head.next = &loop->head;
    loop->posts_end = &loop->posts;
    pthread_mutex_init(&loop->mutex, NULL);
    if (uv_async_init(&loop->uv, &loop->posted, on_posted) != 0) {
        loop->posted.type = UV_UNKNOWN_HANDLE;
        fab_loop_free(loop);
        return FAB_EIO;
    }
    *out = loop;
    return FAB_OK;
}

void fab_loop_run(struct fab_loop *loop)
{
    while (!loop->stopped)
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    loop->stopped = false;
}

void fab_loop_stop(struct fab_loop *loop)
{
    loop->stopped = true;
    uv_stop(&loop->uv);
}

static bool busy(struct fab_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    bool posts = loop->posts != NULL;
    pthread_mutex_unlock(&loop->mutex);
    return posts || loop->open > 0 || loop->working > 0 || loop->head.next != &loop->head;
}

static void nothing(void *arg)
{
    (void)arg;
}

enum fab_rc fab_loop_drain(struct fab_loop *loop, uint64_t limit_us)
{
    uint64_t end_us = fab_loop_now_us() + limit_us;
    struct fab_timer limit;
    fab_timer_init(&limit, loop, nothing, NULL);
    fab_timer_start(&limit, end_us);
    while (busy(loop) && fab_loop_now_us() < end_us)
        uv_run(&loop->uv, UV_RUN_ONCE);
    fab_timer_stop(&limit);
    loop->stopped = false;
    return busy(loop) ? FAB_ETIMEOUT : FAB_OK;
}

void fab_loop_free(struct fab_loop *loop)
{
    if (!loop)
        return;
    assert(loop->open == 0 && loop->working == 0);
    if (loop->posted.type == UV_ASYNC)
        uv_close((uv_handle_t *)&loop->posted, NULL);
    uv_close((uv_handle_t *)&loop->deferring, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    for (int i = 0; loop->signals_on && i < FAB_LOOP_SIGNALS; i++)
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    int left = uv_loop_close(&loop->uv);
    assert(left == 0);
    if (left != 0)
        return; /* the kernel still knows this memory: leaking is the lesser evil */
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

void fab_loop_defer(struct fab_loop *loop, struct fab_defer *defer)
{
    if (defer->next)
        return;
    append(&loop->head, defer);
    uv_idle_start(&loop->deferring, on_idle);
}

void fab_loop_cancel(struct fab_defer *defer)
{
    if (!defer->next)
        return;
    defer->prev->next = defer->next;
    defer->next->prev = defer->prev;
    defer->prev = defer->next = NULL;
}

void fab_loop_post(struct fab_loop *loop, struct fab_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    *loop->posts_end = post;
    loop->posts_end = &post->next;
    /* Under the mutex: once the loop has seen the post, its owner may free the loop. */
    uv_async_send(&loop->posted);
    pthread_mutex_unlock(&loop->mutex);
}
