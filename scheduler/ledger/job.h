/* Job records: what ran here, one per attempt, kept in the store's table "jobs".
 *
 * A record pins its result object, outputs and logs under the name "job/ID" until it expires or is
 * removed. A CID that has another pin, or that another record still names, keeps its pin. */
#ifndef FAB_LEDGER_JOB_H
#define FAB_LEDGER_JOB_H

#include "storage/store/store.h"

#define FAB_JOB_ID_LEN      16
#define FAB_JOB_NAME_MAX    63
#define FAB_JOB_COMMAND_MAX 255
#define FAB_JOB_REASON_MAX  255

enum fab_job_state {
    FAB_JOB_DONE,      /* exit 0 */
    FAB_JOB_FAILED,    /* another exit code */
    FAB_JOB_TIMEOUT,   /* its time limit */
    FAB_JOB_MEMORY,    /* its memory limit */
    FAB_JOB_DISK,      /* its disk limit */
    FAB_JOB_CANCELLED, /* interrupted */
    FAB_JOB_STATES,
};

struct fab_job {
    char id[FAB_JOB_ID_LEN + 1]; /* sorts by time */
    enum fab_job_state state;
    char name[FAB_JOB_NAME_MAX + 1];
    char node[FAB_JOB_NAME_MAX + 1];       /* host name */
    char command[FAB_JOB_COMMAND_MAX + 1]; /* for lists, cut short */
    char reason[FAB_JOB_REASON_MAX + 1];   /* why it ended as it did, "" if by itself */
    char unenforced[FAB_JOB_NAME_MAX + 1]; /* default limits that the host could not enforce */
    int64_t priority;
    int64_t created, started, ended; /* milliseconds since 1970 */
    int exit_code;
    uint64_t cpu_usec, memory_peak; /* 0: not known */
    struct fab_cid action;
    bool has_results;                             /* the following are there */
    struct fab_cid result, out, out_log, err_log; /* result object, /out, stdout, stderr */
};

/* "done", "failed", ... Static. */
const char *fab_job_state_text(enum fab_job_state state);

/* A new id: 10 digits of time in milliseconds, 6 random ones, base32. `now` in milliseconds. */
void fab_job_id(int64_t now, char out[FAB_JOB_ID_LEN + 1]);

/* dag-cbor, for the table. Keys that are not known are passed over. */
FAB_MUST enum fab_rc fab_job_encode(const struct fab_job *job, struct fab_buf *out);
FAB_MUST enum fab_rc fab_job_decode(struct fab_slice value, struct fab_job *out);

/* Write the record, pin what it names, and with `memo` remember the result for the action, in one
 * durable transaction. The blocks are there already, kept by a lease. */
FAB_MUST enum fab_rc fab_job_record(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                                    bool memo, struct fab_err *err);

/* `id` may be cut short if it is still the only one. FAB_ENOENT, FAB_EINVAL (several). */
FAB_MUST enum fab_rc fab_job_find(struct fab_store *store, uint32_t ws, const char *id,
                                  struct fab_job *out, struct fab_err *err);
/* Newest first; another code than FAB_OK stops and is given back. */
FAB_MUST enum fab_rc fab_job_each(struct fab_store *store, uint32_t ws,
                                  enum fab_rc (*fn)(void *arg, const struct fab_job *job),
                                  void *arg);
/* Remove the record and the pins that only it holds. */
FAB_MUST enum fab_rc fab_job_remove(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                                    struct fab_err *err);
/* Remove the records that ended before `before` (milliseconds since 1970). */
FAB_MUST enum fab_rc fab_job_sweep(struct fab_store *store, uint32_t ws, int64_t before,
                                   struct fab_err *err);

/* The result object that the workspace remembers for an action. FAB_ENOENT. */
FAB_MUST enum fab_rc fab_memo_get(struct fab_store *store, uint32_t ws,
                                  const struct fab_cid *action, struct fab_cid *result);

#endif
