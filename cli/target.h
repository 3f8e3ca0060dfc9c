/* CID[/PATH] of a command line, resolved in the workspace and kept from collection while it is
 * used. */
#ifndef FAB_CLI_TARGET_H
#define FAB_CLI_TARGET_H

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/fetch.h"
#include "storage/dag/resolve.h"

struct fab_target {
    struct fab_cid cid;      /* what CID/PATH names */
    struct fab_slice path;   /* borrowed from the argument; empty for a CID alone */
    struct fab_lease *lease; /* of the CID before the path */
    struct fab_view *view;
    struct fab_block_source local; /* of the view; refreshed by fab_target_tick */
    /* The same, and a block that is missing is fetched, where a daemon runs: this refreshes the
     * view. After the first that nobody has, nothing more is asked for. */
    struct fab_block_source source;
    struct fab_target_reach *reach; /* of `source` */
    double refreshed;
};

/* Resolve `text`. The store and the workspace are open. On FAB_EINVAL the text itself is malformed,
 * a usage error. Close in every case after success. */
FAB_MUST enum fab_rc fab_target_open(struct fab_cli *cli, const char *text, struct fab_target *out,
                                     struct fab_err *err);
void fab_target_close(struct fab_target *target);

/* See that the whole DAG below the target is here, fetching what is missing (cli/fetch.h), and pin
 * it then if `pin` is not NULL. Without a daemon nothing is looked at. The view is closed. */
FAB_MUST enum fab_rc fab_target_whole(struct fab_cli *cli, struct fab_target *target,
                                      const struct fab_cli_fetch_pin *pin, struct fab_err *err);

/* The same for what bytes [offset, offset + length) of a file need: all at once from a peer that
 * can walk files itself; else the inner nodes above them one by one, the leaves many at once. What
 * is not a file is left for its reader to refuse. */
FAB_MUST enum fab_rc fab_target_part(struct fab_cli *cli, struct fab_target *target,
                                     uint64_t offset, uint64_t length, struct fab_err *err);

/* Missing blocks may still be fetched: a daemon runs, and none was refused so far. */
bool fab_target_reaches(const struct fab_target *target);

/* Why `source` has just given `rc`: the message of the fetch, if there was one, replaces that in
 * `err`. Gives `rc`. */
enum fab_rc fab_target_why(const struct fab_target *target, enum fab_rc rc, struct fab_err *err);

/* To a message about a missing block: what would fetch it, when no daemon runs. Gives `rc`. */
enum fab_rc fab_target_hint(struct fab_cli *cli, enum fab_rc rc, struct fab_err *err);

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
