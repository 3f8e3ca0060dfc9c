/* Blocks that are not in the workspace, fetched by the daemon from the workspace's peers.
 *
 * Main thread. The daemon writes to the store that this process reads: views must be refreshed. */
#ifndef FAB_CLI_FETCH_H
#define FAB_CLI_FETCH_H

#include "cli/cli.h"

/* A daemon runs on this home. */
bool fab_cli_fetch_possible(struct fab_cli *cli);

/* Fetch the one block. FAB_ENOENT with a line that names it and says why: no daemon runs, the
 * workspace has no swarm key, nobody has it. FAB_EINTERRUPTED. */
FAB_MUST enum fab_rc fab_cli_fetch_block(struct fab_cli *cli, const struct fab_cid *cid,
                                         struct fab_err *err);

#define FAB_CLI_FETCH_MAX 64

/* The same for 1 to FAB_CLI_FETCH_MAX blocks at once; those that are here cost nothing. */
FAB_MUST enum fab_rc fab_cli_fetch_blocks(struct fab_cli *cli, const struct fab_cid *cids, size_t n,
                                          struct fab_err *err);

/* Ask one peer that walks DAGs itself for what lies on the way from `root` along `path` (names with
 * slashes between them, NUL-terminated) and, if `to` is not 0, for what bytes [from, to) of the
 * file there need: one round trip however deep it is. FAB_OK does not say that everything has come:
 * look then, and fetch what is still lacking. FAB_ENOENT: nobody has the root. */
FAB_MUST enum fab_rc fab_cli_fetch_part(struct fab_cli *cli, const struct fab_cid *root,
                                        const char *path, uint64_t from, uint64_t to,
                                        struct fab_err *err);

struct fab_cli_fetch_pin {
    const char *name; /* NULL: none, or the one that it has */
};

/* Fetch the whole DAG, with a bar. With `pin` (may be NULL) it is pinned in the transaction that
 * makes it whole. Errors as above; FAB_ENOENT lists the first blocks that nobody has. */
FAB_MUST enum fab_rc fab_cli_fetch_dag(struct fab_cli *cli, const struct fab_cid *cid,
                                       const struct fab_cli_fetch_pin *pin, struct fab_err *err);

/* See that the whole DAG is here: fetch it when blocks are missing and a daemon runs. FAB_ENOENT as
 * above. No view should be held. */
FAB_MUST enum fab_rc fab_cli_fetch_missing(struct fab_cli *cli, const struct fab_cid *cid,
                                           const struct fab_cli_fetch_pin *pin,
                                           struct fab_err *err);

#endif
