/* The action: what a job does, in canonical dag-cbor, so that its CID is the key of the memo table.
 *
 * Everything that can change the result is in it, and nothing else: limits, priority, name and
 * where it runs stand beside it. The block is a map:
 *
 *     v        1
 *     env      {NAME: value}          what was given, not the defaults (they belong to v)
 *     out      ["out"]                declared outputs: folders below "/"
 *     arch     "x86_64"
 *     image    link                   the image; or instead of it
 *     system   32 bytes               the fingerprint of the host's system
 *     inputs   {NAME: link}           mounted at /in/NAME
 *     command  [text, ...]
 *     network  "none" | "host"
 */
#ifndef FAB_SCHED_ACTION_H
#define FAB_SCHED_ACTION_H

#include "storage/multiformats/cid.h"

#define FAB_ACTION_VERSION    1
#define FAB_ACTION_ARGS_MAX   4096
#define FAB_ACTION_ENV_MAX    1024
#define FAB_ACTION_INPUTS_MAX 256
#define FAB_ACTION_BYTES_MAX  (1u << 20) /* of the block */
#define FAB_ACTION_SYSTEM     32

struct fab_action_env {
    char *name, *value;
};

struct fab_action_input {
    char *name;
    struct fab_cid cid;
};

/* Made all zero, freed with fab_action_fini. Strings and arrays are owned; env and inputs are kept
 * sorted as the block has them. */
struct fab_action {
    char arch[32];
    bool has_image;
    struct fab_cid image;              /* with has_image */
    uint8_t system[FAB_ACTION_SYSTEM]; /* without */
    bool network_host;
    char **args; /* NULL-terminated */
    size_t n_args;
    struct fab_action_env *env;
    size_t n_env;
    struct fab_action_input *inputs;
    size_t n_inputs;
};

void fab_action_fini(struct fab_action *action);

/* Copy one in. FAB_EINVAL when the text is not UTF-8, a name is empty or has '=' (env) or '/'
 * (input); FAB_EEXIST for an input name that is there; a variable that is there gets the new value.
 * FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_action_add_arg(struct fab_action *action, const char *text);
FAB_MUST enum fab_rc fab_action_set_env(struct fab_action *action, const char *name,
                                        const char *value);
FAB_MUST enum fab_rc fab_action_add_input(struct fab_action *action, const char *name,
                                          const struct fab_cid *cid);

/* Append the block, and give its CID (v1, dag-cbor, sha2-256). FAB_EINVAL without a command. */
FAB_MUST enum fab_rc fab_action_encode(const struct fab_action *action, struct fab_buf *block,
                                       struct fab_cid *cid);
/* Strict: any other bytes than fab_action_encode writes are FAB_EFORMAT; another version is
 * FAB_EUNSUPPORTED. `out` is made, to be freed with fab_action_fini. */
FAB_MUST enum fab_rc fab_action_decode(struct fab_slice block, struct fab_action *out);

#endif
