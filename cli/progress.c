#include "cli/progress.h"

#include "cli/output.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define DELAY_SECONDS  0.3 /* what is over sooner shows nothing */
#define STALL_SECONDS  5
#define LINE_MAX_BYTES 256

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void fab_bar_start(struct fab_bar *bar, const struct fab_cli *cli, const char *verb,
                   const char *items)
{
    *bar = (struct fab_bar){.on = cli->progress, .verb = verb, .items = items};
    bar->begun = bar->last = bar->moved = now_seconds();
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < 20)
        return 80;
    return size.ws_col < LINE_MAX_BYTES ? size.ws_col : LINE_MAX_BYTES - 1;
}

static void add(char *line, const char *text)
{
    size_t n = strlen(line);
    snprintf(line + n, LINE_MAX_BYTES - n, "%s", text);
}

static void measure(struct fab_bar *bar, const struct fab_progress *now, double t)
{
    double sample = (double)(now->bytes - bar->last_bytes) / (t - bar->last);
    if (now->bytes != bar->last_bytes)
        bar->moved = t;
    bar->rate = bar->rate > 0 ? bar->rate * 0.8 + sample * 0.2 : sample;
    bar->last = t;
    bar->last_bytes = now->bytes;
}

static void add_peers(const struct fab_bar *bar, char *line)
{
    char part[64];
    snprintf(part, sizeof part, "%u peer%s", bar->peers, bar->peers == 1 ? "" : "s");
    add(line, bar->last - bar->moved < STALL_SECONDS ? ", " : ", waiting for ");
    add(line, bar->peers > 0 ? part : "peers");
}

static void draw(struct fab_bar *bar, char *line)
{
    line[terminal_width() - 1] = 0;
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    bar->drawn = true;
}

void fab_bar_phase(struct fab_bar *bar, const char *phase, uint64_t done, uint64_t total)
{
    char line[LINE_MAX_BYTES], end[32] = "";
    double t = bar->on ? now_seconds() : 0;
    if (!bar->on || t - bar->begun < DELAY_SECONDS || t - bar->last < REDRAW_SECONDS)
        return;
    bar->last = t;
    if (total > 0)
        snprintf(end, sizeof end, " of %llu", (unsigned long long)total);
    snprintf(line, sizeof line, "%s: %s %llu%s", bar->verb, phase, (unsigned long long)done, end);
    draw(bar, line);
}

void fab_bar_show(struct fab_bar *bar, const struct fab_progress *now)
{
    char line[LINE_MAX_BYTES] = "", text[FAB_HUMAN_MAX], part[64];
    double t = bar->on ? now_seconds() : 0;
    if (!bar->on || t - bar->begun < DELAY_SECONDS || t - bar->last < REDRAW_SECONDS)
        return;
    if (now->bytes < bar->last_bytes)
        bar->last_bytes = now->bytes;
    measure(bar, now, t);
    add(line, bar->verb);
    add(line, " ");
    add(line, fab_human_size(now->bytes, text));
    if (now->total_bytes > 0 && now->bytes <= now->total_bytes) {
        add(line, " of ");
        add(line, fab_human_size(now->total_bytes, text));
        snprintf(part, sizeof part, " (%.0f%%)",
                 100.0 * (double)now->bytes / (double)now->total_bytes);
        add(line, part);
    }
    add(line, ", ");
    add(line, fab_human_size((uint64_t)bar->rate, text));
    add(line, "/s");
    if (bar->items) {
        snprintf(part, sizeof part, ", %llu %s", (unsigned long long)now->items, bar->items);
        add(line, part);
    }
    if (bar->from_peers && (bar->peers > 0 || bar->last - bar->moved >= STALL_SECONDS))
        add_peers(bar, line);
    if (now->total_bytes > now->bytes && bar->rate > 1) {
        add(line, ", ");
        add(line, fab_human_time((double)(now->total_bytes - now->bytes) / bar->rate, text));
        add(line, " left");
    }
    draw(bar, line);
}

void fab_bar_erase(struct fab_bar *bar)
{
    if (!bar->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar->drawn = false;
}

static void show(void *arg, const struct fab_progress *now)
{
    fab_bar_show(arg, now);
}

struct fab_watch fab_bar_watch(struct fab_bar *bar, const struct fab_cli *cli)
{
    return (struct fab_watch){.progress = show, .arg = bar, .cancel = cli->cancel};
}
