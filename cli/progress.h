/* The progress bar on a terminal's stderr: bytes, rate, time left, items; erased at the end.
 *
 * Main thread only. Without a terminal, or with --quiet or --no-progress, everything here does
 * nothing. */
#ifndef FAB_CLI_PROGRESS_H
#define FAB_CLI_PROGRESS_H

#include "cli/cli.h"
#include "storage/files/progress.h"

struct fab_bar {
    bool on, drawn;
    const char *verb, *items; /* "adding", "files"; static */
    bool from_peers;          /* say how many peers, and when nothing comes from them */
    unsigned peers;           /* that are asked */
    double begun, last;       /* seconds, monotonic */
    double moved;             /* when bytes came last */
    double rate;              /* bytes per second, smoothed */
    uint64_t last_bytes;
};

/* `items` NULL: not counted. */
void fab_bar_start(struct fab_bar *bar, const struct fab_cli *cli, const char *verb,
                   const char *items);
void fab_bar_show(struct fab_bar *bar, const struct fab_progress *now);
/* Instead, for work that is counted in steps: "collecting: mark 120 of 400". */
void fab_bar_phase(struct fab_bar *bar, const char *phase, uint64_t done, uint64_t total);
/* Before anything else is written to the terminal, and at the end. */
void fab_bar_erase(struct fab_bar *bar);

/* What storage/files takes: it draws `bar`, which must outlive it, and ends when the user
 * interrupts. */
struct fab_watch fab_bar_watch(struct fab_bar *bar, const struct fab_cli *cli);

#endif
