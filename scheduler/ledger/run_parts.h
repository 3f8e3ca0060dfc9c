/* The steps of fab_job_run, private to this folder. */
#ifndef FAB_LEDGER_RUN_PARTS_H
#define FAB_LEDGER_RUN_PARTS_H

#include "scheduler/core/action.h"
#include "scheduler/exec/attempt.h"
#include "scheduler/ledger/cache.h"
#include "scheduler/ledger/image.h"
#include "scheduler/ledger/result.h"
#include "scheduler/ledger/run.h"

struct job_run {
    const struct fab_job_request *request;
    struct fab_action action;
    struct fab_cid action_cid;
    struct fab_image image; /* when action.has_image */
    char **put_inputs;      /* names of the inputs that are paths and only hashed so far */
    struct fab_host host;
    struct fab_runtime runtime;
    struct fab_attempt_dir dir; /* lock -1: none */
    struct fab_job job;
    bool limited; /* a limit shaped the result, although the job ended with 0 */
};

/* run_action.c: fill in the action. Inputs that are small paths are hashed, not put. */
FAB_MUST enum fab_rc job_run_action(struct job_run *run, struct fab_err *err);
/* Put what was only hashed; FAB_ECHANGED if it is no longer the same. */
FAB_MUST enum fab_rc job_run_put_inputs(struct job_run *run, struct fab_err *err);

/* run_sandbox.c: check the limits, lay out the sandbox, run. */
FAB_MUST enum fab_rc job_run_limits(struct job_run *run, struct fab_err *err);
FAB_MUST enum fab_rc job_run_attempt(struct job_run *run, struct fab_attempt_result *result,
                                     struct fab_err *err);

/* run_results.c: what came out, as CIDs; sets the job's fields. Nothing is pinned yet: the caller
 * holds a lease until the record does that. */
FAB_MUST enum fab_rc job_run_collect(struct job_run *run, struct fab_err *err);
/* The remembered result of the action, if its blocks are there: FAB_ENOENT if not. */
FAB_MUST enum fab_rc job_run_recall(struct job_run *run, struct fab_err *err);

#endif
