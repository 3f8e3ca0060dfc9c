/* Progress and cancellation inside this folder. */
#ifndef FAB_FILES_WATCH_H
#define FAB_FILES_WATCH_H

#include "storage/files/progress.h"

#include <time.h>

struct watch {
    struct fab_watch user;
    struct fab_progress now;
    uint64_t told_ms;
};

static inline uint64_t watch_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* `user` may be NULL. */
static inline void watch_init(struct watch *w, const struct fab_watch *user)
{
    *w = (struct watch){0};
    if (user)
        w->user = *user;
}

static inline bool watch_cancelled(const struct watch *w)
{
    return w->user.cancel && atomic_load_explicit(w->user.cancel, memory_order_relaxed);
}

/* Tell the progress if it is time to. FAB_EINTERRUPTED when cancelled. Calling thread only. */
static inline enum fab_rc watch_tick(struct watch *w)
{
    if (watch_cancelled(w))
        return FAB_EINTERRUPTED;
    if (w->user.progress) {
        uint64_t ms = watch_clock_ms();
        if (ms - w->told_ms >= 50) {
            w->told_ms = ms;
            w->user.progress(w->user.arg, &w->now);
        }
    }
    return FAB_OK;
}

static inline void watch_end(struct watch *w)
{
    if (w->user.progress)
        w->user.progress(w->user.arg, &w->now);
}

#endif
