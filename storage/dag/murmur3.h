/* The 64-bit half of MurmurHash3 x64-128 with seed 0: where a name lies in a HAMT directory. Not
 * for anything that an adversary should be unable to predict. */
#ifndef FAB_DAG_MURMUR3_H
#define FAB_DAG_MURMUR3_H

#include "storage/base/bytes.h"

/* h1. Its most significant byte is consumed first. */
uint64_t fab_murmur3_64(struct fab_slice s);

#endif
