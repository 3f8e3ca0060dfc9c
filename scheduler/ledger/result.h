/* The result object of an attempt: a dag-cbor block that links what came out of it.
 *
 *     {out: link, exit: int, ended: int, action: link, stderr: link, stdout: link, started: int,
 *      resources: {cpu_usec: int, memory_peak: int}}        times in milliseconds since 1970 */
#ifndef FAB_LEDGER_RESULT_H
#define FAB_LEDGER_RESULT_H

#include "storage/multiformats/cid.h"

struct fab_result {
    struct fab_cid action, out, out_log, err_log;
    int64_t exit_code, started, ended;
    uint64_t cpu_usec, memory_peak;
};

#define FAB_RESULT_MAX 4096 /* bytes of the block */

FAB_MUST enum fab_rc fab_result_encode(const struct fab_result *result, struct fab_buf *block,
                                       struct fab_cid *cid);
/* Strict: FAB_EFORMAT for anything else than fab_result_encode writes. */
FAB_MUST enum fab_rc fab_result_decode(struct fab_slice block, struct fab_result *out);

#endif
