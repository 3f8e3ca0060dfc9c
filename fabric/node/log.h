/* The daemon's log: one line per event on stderr, a stable name and key=value pairs. Libraries
 * return; only this layer logs, once. Loop thread. */
#ifndef FAB_NODE_LOG_H
#define FAB_NODE_LOG_H

#include "storage/base/rc.h"

/* "2026-11-20T12:00:00.123Z event key=value ...". Control characters
 * become '?'. */
void fab_log(const char *event, const char *fmt, ...) FAB_PRINTF(2, 3);

/* For events that a stranger can cause: at most 10 lines per second of one kind, and then a count
 * of those left out. */
struct fab_log_limit {
    long long second;
    unsigned lines, left_out;
};
void fab_log_limited(struct fab_log_limit *limit, const char *event, const char *fmt, ...)
    FAB_PRINTF(3, 4);

#endif
