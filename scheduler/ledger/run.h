/* Run one job here, without a daemon: from what was typed to the recorded result.
 *
 *   inputs ─▶ CIDs ─▶ action ─▶ remembered? ──yes──▶ the result, at once
 *                                  │ no
 *                     inputs on disk (cache) ─▶ attempt ─▶ /out, logs ─▶ CIDs, pinned ─▶ record,
 * memo
 *
 * The attempt's folder is removed in every case. Ending early (cancel) leaves a record and nothing
 * else. */
#ifndef FAB_LEDGER_RUN_H
#define FAB_LEDGER_RUN_H

#include "scheduler/ledger/job.h"

#include <sys/types.h>

struct fab_job_request {
    const char *home;
    struct fab_store *store;
    uint32_t ws;
    char *const *command;   /* NULL-terminated, at least one */
    const char *const *env; /* "NAME=VALUE" */
    size_t n_env;
    const char *const *inputs; /* "NAME=CID[/PATH]" or "NAME=PATH" */
    size_t n_inputs;
    const char *image; /* CID, or NULL for the host's system */
    bool network_host;
    bool no_cache; /* run even if the result is remembered; the new result is remembered */
    /* Limits; 0 is the default, which the host may be unable to enforce (then `warn`). A limit that
     * is given and cannot be enforced is FAB_EUNSUPPORTED before anything is started. */
    uint64_t cpu_milli; /* thousandths of a CPU; default none */
    uint64_t memory;    /* bytes; default nine tenths of the machine's */
    uint64_t pids;      /* default FAB_JOB_PIDS */
    uint64_t disk;      /* bytes of /out, /tmp and logs; default half of what is free */
    uint64_t timeout_ms;
    unsigned gpus;
    uint64_t gpu_memory;
    int64_t priority;
    const char *name;          /* or NULL */
    uint64_t keep;             /* seconds that records are kept; 0: until removed */
    const atomic_bool *cancel; /* may be NULL */
    /* What the job writes, as it is written: as fab_attempt_spec's. */
    ssize_t (*output)(void *arg, int stream, const void *bytes, size_t n);
    int output_fds[2];
    void (*warn)(void *arg, const char *line);
    void *arg;
};

#define FAB_JOB_PIDS 4096

struct fab_job_outcome {
    struct fab_job job;
    bool remembered; /* job.id is then "" */
};

/* FAB_OK when the job ran (whatever its exit code) or was remembered; else what kept it from
 * running. */
FAB_MUST enum fab_rc fab_job_run(const struct fab_job_request *request, struct fab_job_outcome *out,
                                 struct fab_err *err);

/* Remove what killed fabric processes left, recording their jobs, and expired records.
 * Cheap when there is nothing to do. */
void fab_job_tidy(struct fab_store *store, uint32_t ws, const char *home, uint64_t keep);

#endif
