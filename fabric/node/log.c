#include "fabric/node/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define LINE_MAX_BYTES   2048
#define LINES_PER_SECOND 10

FAB_PRINTF(2, 0) static void write_line(const char *event, const char *fmt, va_list args)
{
    char line[LINE_MAX_BYTES];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(line + n, sizeof line - n, ".%03ldZ %s ", now.tv_nsec / 1000000, event);
    n += (size_t)more;
    more = vsnprintf(line + n, sizeof line - n, fmt, args);
    n += more < 0 ? 0 : (size_t)more;
    if (n > sizeof line - 2)
        n = sizeof line - 2;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[n] = '\n';
    fwrite(line, 1, n + 1, stderr);
}

void fab_log(const char *event, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line(event, fmt, args);
    va_end(args);
}

void fab_log_limited(struct fab_log_limit *limit, const char *event, const char *fmt, ...)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (limit->second != now.tv_sec) {
        if (limit->left_out > 0)
            fab_log(event, "left_out=%u", limit->left_out);
        *limit = (struct fab_log_limit){.second = now.tv_sec};
    }
    if (limit->lines >= LINES_PER_SECOND) {
        limit->left_out++;
        return;
    }
    limit->lines++;
    va_list args;
    va_start(args, fmt);
    write_line(event, fmt, args);
    va_end(args);
}
