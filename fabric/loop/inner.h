/* What the files of this folder share. Nobody else includes it. */
#ifndef FAB_LOOP_INNER_H
#define FAB_LOOP_INNER_H

#include "fabric/loop/loop.h"
#include "fabric/loop/tcp.h"
#include "fabric/loop/timer.h"

#include <pthread.h>
#include <uv.h>

#define FAB_LOOP_SIGNALS 3

struct fab_loop {
    uv_loop_t uv;
    uv_async_t posted;     /* posts wait */
    uv_idle_t deferring;   /* active while deferred functions wait, so that a turn does not block */
    uv_timer_t clock;      /* armed for the first of the timers */
    struct fab_defer head; /* sentinel of the deferred functions */
    pthread_mutex_t mutex; /* over the posts */
    struct fab_post *posts, **posts_end;
    struct fab_timer *timers; /* root of a pairing heap by (at_us, seq) */
    uint64_t timer_seq;
    struct fab_defer due; /* the first timer is due already */
    size_t open;          /* connections, listeners, polls, sockets whose uv handle is not closed */
    size_t working;       /* struct fab_work under way */
    bool stopped;
    uv_signal_t signals[FAB_LOOP_SIGNALS];
    bool signals_on;
    void (*on_signal)(void *arg, int signo);
    void *on_signal_arg;
    uint8_t input[FAB_TCP_CHUNK], output[FAB_TCP_CHUNK]; /* shared by all connections */
};

/* The clock has fired: fire what is due, arm it again. */
void fab_timer_run(struct fab_loop *loop);

#endif
