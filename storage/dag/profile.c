#include "storage/dag/profile.h"

#include <string.h>

static const struct fab_profile profiles[] = {
    {
        .name = "unixfs-v1-2025",
        .about = "CIDv1, 1 MiB raw leaves, 1024 links; what IPIP-0499 recommends",
        .cid_version = 1,
        .chunk_size = 1048576,
        .file_links = 1024,
        .raw_leaves = true,
        .hamt_fanout = 256,
        .hamt_threshold = 262144,
        .dir_estimate = FAB_DIR_ESTIMATE_BLOCK,
    },
    {
        .name = "unixfs-v0-2015",
        .about = "CIDv0, 256 KiB dag-pb leaves, 174 links; what Kubo does without options",
        .cid_version = 0,
        .chunk_size = 262144,
        .file_links = 174,
        .raw_leaves = false,
        .hamt_fanout = 256,
        .hamt_threshold = 262144,
        .dir_estimate = FAB_DIR_ESTIMATE_LINKS,
    },
    {
        .name = "cid-v1-plain",
        .about = "CIDv1, 256 KiB raw leaves, 174 links; what Kubo does with --cid-version=1",
        .cid_version = 1,
        .chunk_size = 262144,
        .file_links = 174,
        .raw_leaves = true,
        .hamt_fanout = 256,
        .hamt_threshold = 262144,
        .dir_estimate = FAB_DIR_ESTIMATE_LINKS,
    },
};

#define PROFILES (sizeof profiles / sizeof profiles[0])

const struct fab_profile *fab_profile_default(void)
{
    return &profiles[0];
}

const struct fab_profile *fab_profile_find(const char *name)
{
    if (strcmp(name, "legacy-cid-v0") == 0)
        name = "unixfs-v0-2015";
    for (size_t i = 0; i < PROFILES; i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

const struct fab_profile *fab_profile_at(size_t i)
{
    return i < PROFILES ? &profiles[i] : NULL;
}
