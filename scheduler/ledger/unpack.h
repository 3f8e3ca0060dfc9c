/* Unpacking archives and layers of images below one folder, out of which nothing can lead.
 *
 * The archives are outsiders' data. Every path is resolved by the kernel with the folder as root
 * (openat2, RESOLVE_IN_ROOT), so that symlinks of earlier entries stay inside; names with ".." or a
 * slash at the front are refused. */
#ifndef FAB_LEDGER_UNPACK_H
#define FAB_LEDGER_UNPACK_H

#include "scheduler/ledger/image.h"

#define FAB_UNPACK_PATH_MAX 3072

struct fab_unpack_folder {
    char path[FAB_UNPACK_PATH_MAX];
    int lock; /* on the folder, held while it is used */
};

/* Make a new private folder HOME/tmp/image-XXXXXX; removes those of processes that died. */
FAB_MUST enum fab_rc fab_unpack_folder_make(const char *home, struct fab_unpack_folder *out,
                                            struct fab_err *err);
/* Remove it and what is in it. */
void fab_unpack_folder_remove(struct fab_unpack_folder *folder);

struct fab_unpack {
    int root;                  /* directory descriptor */
    bool layer;                /* entries named ".wh." take away what earlier layers brought */
    const char *label;         /* for messages */
    uint64_t max_bytes;        /* left to be written; counted down */
    const atomic_bool *cancel; /* may be NULL */
    struct fab_import_stats *stats;
};

/* Unpack the tar (any compression that libarchive knows) that `fd` gives from its start. Files keep
 * their permission bits without setuid, setgid and sticky, and are readable by their owner; hard
 * links inside the tree are kept; devices, fifos and sockets are counted and left out. FAB_EFORMAT,
 * FAB_ELIMIT, FAB_ENOSPC, FAB_EIO, FAB_EINTERRUPTED. */
FAB_MUST enum fab_rc fab_unpack_tar(struct fab_unpack *unpack, int fd, struct fab_err *err);

/* Open a file below the folder `root`, following symlinks inside it. -1 with errno. */
int fab_unpack_open(int root, const char *path, uint64_t flags);

/* Write the entry into the table that fab_image_each reads. */
FAB_MUST enum fab_rc fab_image_list_add(struct fab_store *store, uint32_t ws,
                                        const struct fab_image_entry *entry, struct fab_err *err);

#endif
