/* fabric.conf: the settings of one home, read with libconfuse.
 *
 * `key = value` inside `section { }` or `section name { }`; `#` begins a comment; values may be
 * quoted. Sizes and durations have the suffixes of args.h. */
#ifndef FAB_CLI_CONFIG_H
#define FAB_CLI_CONFIG_H

#include "storage/base/rc.h"
#include "storage/store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAB_CONFIG_WORKSPACES_MAX 256
#define FAB_CONFIG_LISTEN_MAX     8
#define FAB_CONFIG_PEERS_MAX      256

struct fab_config_workspace {
    char name[FAB_WORKSPACE_NAME_MAX + 1];
    uint64_t quota; /* bytes; 0: none */
};

struct fab_config_list {
    char **items; /* owned */
    size_t n;
};

struct fab_config {
    uint64_t store_quota;      /* bytes; 0: none */
    unsigned store_high_water; /* percent of the quota above which unpinned roots are evicted */
    uint64_t store_cached;     /* bytes of one put that stay in the page cache; 0: the store's own
                                  choice */
    uint64_t store_map;        /* bytes of address space; 0: the store's own choice */
    uint64_t jobs_keep; /* seconds that a job's record pins its outputs and logs; 0: until job rm */
    struct fab_config_list listen; /* multiaddrs; empty: the daemon's own choice */
    struct fab_config_list peers;  /* "WORKSPACE MULTIADDR" */
    bool mdns;                     /* look for peers on the local network */
    size_t n_workspaces;
    struct fab_config_workspace *workspaces; /* owned */
};

/* The defaults. No allocation. */
void fab_config_init(struct fab_config *config);
void fab_config_fini(struct fab_config *config);
/* The quota of one workspace, 0 for none. */
uint64_t fab_config_quota(const struct fab_config *config, const char *workspace);
/* Read `path` over the defaults. An unknown key, a wrong type or a value out of range is
 * FAB_EINVAL with the file and the line. FAB_ENOENT if there is no
 * such file. */
FAB_MUST enum fab_rc fab_config_load(const char *path, struct fab_config *out, struct fab_err *err);

#endif
