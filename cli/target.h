/* CID[/PATH] of a command line, resolved in the workspace and kept from collection while it is
 * used. */
#ifndef FAB_CLI_TARGET_H
#define FAB_CLI_TARGET_H

#include "cli/args.h"
#include "cli/cli.h"
#include "storage/dag/resolve.h"

struct fab_target {
    struct fab_cid cid;      /* what CID/PATH names */
    struct fab_slice path;   /* borrowed from the argument; empty for a CID alone */
    struct fab_lease *lease; /* of the CID before the path */
    struct fab_view *view;
    struct fab_block_source source; /* of the view; refreshed by fab_target_tick */
    double refreshed;
};

/* Resolve `text`. The store and the workspace are open. On FAB_EINVAL the text itself is malformed,
 * a usage error. Close in every case after success. */
FAB_MUST enum fab_rc fab_target_open(struct fab_cli *cli, const char *text, struct fab_target *out,
                                     struct fab_err *err);
void fab_target_close(struct fab_target *target);

/* To be called often by long readers, when no slice of the source is held: moves to a new snapshot
 * now and then, and gives FAB_EINTERRUPTED when the user wants to stop, FAB_EIO when stdout takes
 * no more. */
FAB_MUST enum fab_rc fab_target_tick(struct fab_cli *cli, struct fab_target *target);

/* The last component of the path, or the CID's text when there is none; NUL-terminated, owned by
 * the caller. FAB_EINVAL for one that is "." or "..", which names no new file. */
FAB_MUST enum fab_rc fab_target_name(const struct fab_target *target, char **out,
                                     struct fab_err *err);

/* fab_node_stat with a line for what went wrong. */
FAB_MUST enum fab_rc fab_target_stat(const struct fab_target *target, struct fab_node_info *out,
                                     struct fab_err *err);

/* The exit code for a failure: 2 for a malformed argument (rc FAB_EINVAL), else as fab_cli_fail. */
int fab_target_fail(struct fab_cli *cli, const struct fab_err *err);

/* Open the store and call `one` for each argument; the first failure is reported and ends. Gives
 * the exit code. */
int fab_target_each(struct fab_cli *cli, const struct fab_args *args,
                    enum fab_rc (*one)(struct fab_cli *cli, const char *text, struct fab_err *err));

/* The result line of a command that did `verb` to a CID. */
void fab_target_done(struct fab_cli *cli, const char *verb, const char *cid);

#endif
