/* A timer in memory of the caller. Any number may be armed: they cost no allocation and no system
 * call each. */
#ifndef FAB_LOOP_TIMER_H
#define FAB_LOOP_TIMER_H

#include "fabric/loop/loop.h"

#include <stddef.h>

struct fab_timer {
    struct fab_loop *loop;
    void (*fire)(void *arg);
    void *arg;
    uint64_t at_us;
    uint64_t seq;                            /* below: the loop's */
    struct fab_timer *child, *next, **where; /* where is not NULL while armed */
};

/* Not armed. No allocation. */
void fab_timer_init(struct fab_timer *timer, struct fab_loop *loop, void (*fire)(void *arg),
                    void *arg);

/* Fire once at or after `at_us` (of fab_loop_now_us; within a millisecond or so on a free loop; a
 * past time fires in the next turn). An armed timer is moved. UINT64_MAX stops it, so that a
 * core's "next timeout" can be given as it is. `fire` may start it again, or free it. */
void fab_timer_start(struct fab_timer *timer, uint64_t at_us);

/* After this `fire` is not called, and the memory may go: no asynchronous close is needed. */
void fab_timer_stop(struct fab_timer *timer);

static inline bool fab_timer_armed(const struct fab_timer *timer)
{
    return timer->where != NULL;
}

#endif
