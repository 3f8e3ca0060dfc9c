/* Questions about one block, and all that the node answers, in words. */
#ifndef ROGUE_ASK_H
#define ROGUE_ASK_H

#include "tests/integration/rogue/peer.h"

/* `how`: dagsync-root, dagsync-all, dagsync-path=PATH, dagsync-range, bitswap-have, bitswap-block,
 * and the last two with -silent (no DONT_HAVE is asked for). Prints the kinds of the answer's
 * messages on one line, such as "missing item_done done"; blocks of the same kind once. False:
 * no such question. */
bool ask_in_words(struct peer *p, const char *how, const struct fab_cid *cid);

#endif
