/* What a command's run function works with: the global flags, the home, the store, and how to
 * report.
 *
 * Everything here belongs to the main thread, except `cancel`, which any thread may read. */
#ifndef FAB_CLI_CLI_H
#define FAB_CLI_CLI_H

#include "cli/config.h"
#include "storage/store/store.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct fab_command;
struct fab_daemon;

#define FAB_EXIT_OK          0
#define FAB_EXIT_FAILURE     1
#define FAB_EXIT_USAGE       2
#define FAB_EXIT_INTERRUPTED 130

struct fab_cli {
    const struct fab_command *command;
    const char *home;      /* absolute path of the home; it may not exist before fab_cli_open */
    const char *workspace; /* the workspace's name */
    bool json, quiet;
    bool progress; /* show a progress bar: stderr is a terminal and nobody forbade it */
    const atomic_bool
        *cancel; /* becomes true at SIGINT or SIGTERM; a second signal ends the process */
    const volatile sig_atomic_t *interrupted; /* as *cancel */
    struct fab_daemon *daemon;                /* once fab_daemon_find has found it */

    /* Set by fab_cli_open, closed after run by the caller of run: */
    struct fab_config config;
    struct fab_store *store;
    struct fab_workspace_info ws;
};

enum fab_cli_open {
    FAB_CLI_STORE, /* home, configuration and store; no workspace */
    FAB_CLI_READ,  /* ... and the workspace, which must exist */
    FAB_CLI_MAKE,  /* ... and the workspace, which is made if it is new */
};

/* Make the home if it is new, read its configuration, open the store and the workspace. To be
 * called once, first thing in run, by the commands that need it. */
FAB_MUST enum fab_rc fab_cli_open(struct fab_cli *cli, enum fab_cli_open how, struct fab_err *err);

/* Report: "fabric: MESSAGE" on stderr as one line. They give the exit code to return from run.
 * fab_cli_fail gives 1, or 130 when err->rc is FAB_EINTERRUPTED; a closed pipe of stdout is not
 * printed.
 */
int fab_cli_fail(struct fab_cli *cli, const struct fab_err *err);
int fab_cli_failf(struct fab_cli *cli, const char *fmt, ...) FAB_PRINTF(2, 3);
int fab_cli_usage(struct fab_cli *cli, const char *fmt, ...) FAB_PRINTF(2, 3); /* gives 2 */
/* A remark on stderr as one line "fabric: ..."; silent with --quiet. */
void fab_cli_note(struct fab_cli *cli, const char *fmt, ...) FAB_PRINTF(2, 3);

#endif
