/* This home's daemon, over HTTP on its Unix socket (docs/protocols/api.md).
 *
 * Main thread; calls block, and end with FAB_EINTERRUPTED when the user interrupts. */
#ifndef FAB_CLI_DAEMON_H
#define FAB_CLI_DAEMON_H

#include "cli/cli.h"

#include <jansson.h>

struct fab_daemon; /* cli->daemon, freed with the command */

/* The daemon, found once per command. FAB_ENOENT, with the cure, when none runs on this home. */
FAB_MUST enum fab_rc fab_daemon_find(struct fab_cli *cli, struct fab_daemon **out,
                                     struct fab_err *err);
void fab_daemon_free(struct fab_daemon *daemon); /* NULL is allowed */

/* Look again at the next fab_daemon_find. */
void fab_daemon_forget(struct fab_cli *cli);

/* Send a request without a body. `path` is encoded already. `out` may be NULL; else it is the
 * answer's JSON, NULL when there is none, to be released by the caller. An error answer gives its
 * own message and the code that it stands for; FAB_EUNSUPPORTED is also "the workspace has no swarm
 * key". A daemon that ends meanwhile is FAB_EIO. */
FAB_MUST enum fab_rc fab_daemon_ask(struct fab_daemon *daemon, const char *method, const char *path,
                                    json_t **out, struct fab_err *err);
/* The same for an answer of one JSON object per line: `line` is called for each but an error, which
 * is the result. */
FAB_MUST enum fab_rc fab_daemon_stream(struct fab_daemon *daemon, const char *method,
                                       const char *path, void (*line)(void *arg, json_t *object),
                                       void *arg, struct fab_err *err);

/* Have a daemon that runs read workspaces, keys and admissions again, which it does within a second
 * anyway. */
void fab_daemon_reload(struct fab_cli *cli);

/* "/api/v1/workspaces/WS" and what printf makes of the rest; names in it are the caller's to
 * encode. Owned by the caller; NULL: no memory. */
char *fab_daemon_path(const struct fab_cli *cli, const char *fmt, ...) FAB_PRINTF(2, 3);
/* Percent-encoded, owned by the caller. NULL: no memory. */
char *fab_daemon_escape(const char *text);

/* A string, number or boolean member; what is absent or of another type is "" or 0. */
const char *fab_json_text(const json_t *object, const char *key);
uint64_t fab_json_uint(const json_t *object, const char *key);

#endif
