#include "scheduler/ledger/run_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Arguments with blanks between them, cut at a character's end. */
static void describe_command(char *const *command, char *out, size_t room)
{
    size_t n = 0;
    for (; *command; command++) {
        int wrote = snprintf(out + n, room - n, "%s%s", n ? " " : "", *command);
        if (wrote < 0 || (size_t)wrote >= room - n) {
            n = room - 1;
            break;
        }
        n += (size_t)wrote;
    }
    /* A character that was cut in two would not be UTF-8. */
    size_t start = n;
    while (start > 0 && ((unsigned char)out[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)out[start - 1] >= 0xc0) {
        unsigned char lead = (unsigned char)out[start - 1];
        size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (n - (start - 1) < need)
            n = start - 1;
    }
    out[n] = '\0';
}

static void describe(struct job_run *run)
{
    struct fab_job *j = &run->job;
    const struct fab_job_request *r = run->request;
    j->created = now_ms();
    fab_job_id(j->created, j->id);
    j->priority = r->priority;
    snprintf(j->name, sizeof j->name, "%s", r->name ? r->name : "");
    if (gethostname(j->node, sizeof j->node - 1) != 0)
        snprintf(j->node, sizeof j->node, "localhost");
    describe_command(r->command, j->command, sizeof j->command);
}

static void conclude(struct job_run *run, const struct fab_attempt_result *result)
{
    struct fab_job *j = &run->job;
    const struct fab_job_request *r = run->request;
    j->started = result->started_ms;
    j->ended = result->ended_ms;
    j->cpu_usec = result->cpu_usec;
    j->memory_peak = result->memory_peak;
    j->exit_code = result->exit_code;
    j->state = result->exit_code == 0 ? FAB_JOB_DONE : FAB_JOB_FAILED;
    run->limited = result->oom_killed;
    switch (result->end) {
    case FAB_ATTEMPT_EXITED:
        break;
    case FAB_ATTEMPT_TIMEOUT:
        j->state = FAB_JOB_TIMEOUT;
        snprintf(j->reason, sizeof j->reason, "the time limit of %.3g s was reached",
                 (double)r->timeout_ms / 1000);
        break;
    case FAB_ATTEMPT_OOM:
        j->state = FAB_JOB_MEMORY;
        snprintf(j->reason, sizeof j->reason,
                 "the memory limit was reached and the kernel killed a process of the job: raise "
                 "--memory");
        break;
    case FAB_ATTEMPT_DISK:
        j->state = FAB_JOB_DISK;
        snprintf(j->reason, sizeof j->reason,
                 "the disk limit on /out, /tmp and the logs was reached: raise --disk");
        break;
    case FAB_ATTEMPT_CANCELLED:
        j->state = FAB_JOB_CANCELLED;
        snprintf(j->reason, sizeof j->reason, "interrupted");
        break;
    }
}

/* Store what the job left and record it. The record's commit pins the blocks, which an earlier one
 * wrote; an ingest that writes nothing lends its lease to the time between. */
static enum fab_rc keep(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    struct fab_ingest *guard;
    FAB_TRY(fab_ingest_open(r->store, r->ws, &guard, err));
    enum fab_rc rc = FAB_OK;
    if (run->job.state != FAB_JOB_CANCELLED)
        rc = job_run_collect(run, err);
    if (rc == FAB_OK) {
        bool memo = run->job.state == FAB_JOB_DONE && !r->network_host && !run->limited;
        rc = fab_job_record(r->store, r->ws, &run->job, memo, err);
    }
    fab_ingest_abort(guard);
    return rc;
}

static void *strip(void *arg)
{
    const struct job_run *run = arg;
    fab_attempt_dir_strip(&run->dir);
    return NULL;
}

/* The result is stored while another thread removes what it does not need. */
static enum fab_rc keep_and_strip(struct job_run *run, struct fab_err *err)
{
    pthread_t thread;
    bool started = pthread_create(&thread, NULL, strip, run) == 0;
    enum fab_rc rc = keep(run, err);
    if (started)
        pthread_join(thread, NULL);
    return rc;
}

static enum fab_rc execute(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    struct fab_attempt_result result = {0};
    FAB_TRY(job_run_limits(run, err));
    FAB_TRY(job_run_put_inputs(run, err));
    enum fab_rc rc = job_run_attempt(run, &result, err);
    if (rc == FAB_OK) {
        conclude(run, &result);
        run->job.action = run->action_cid;
        rc = keep_and_strip(run, err);
    }
    if (run->dir.lock >= 0) {
        struct fab_err late = {0};
        enum fab_rc removed = fab_attempt_dir_remove(&run->dir, &late);
        if (removed != FAB_OK && r->warn)
            r->warn(r->arg, late.msg);
    }
    return rc;
}

enum fab_rc fab_job_run(const struct fab_job_request *request, struct fab_job_outcome *out,
                        struct fab_err *err)
{
    struct job_run run = {.request = request, .dir = {.lock = -1}};
    describe(&run);
    bool remembered = false;
    enum fab_rc rc = job_run_action(&run, err);
    if (rc == FAB_OK && !request->no_cache && !request->network_host) {
        rc = job_run_recall(&run, err);
        remembered = rc == FAB_OK;
        if (rc == FAB_ENOENT)
            rc = FAB_OK;
    }
    if (rc == FAB_OK && !remembered)
        rc = execute(&run, err);
    if (rc == FAB_OK) {
        if (remembered)
            run.job.id[0] = '\0';
        out->job = run.job;
        out->remembered = remembered;
    }
    for (size_t i = 0; run.put_inputs && i < request->n_inputs; i++)
        free(run.put_inputs[i]);
    free(run.put_inputs);
    fab_image_fini(&run.image);
    fab_action_fini(&run.action);
    return rc;
}

/* A job whose fabric was killed is one that ran here too. */
static void record_abandoned(void *arg, const char *id, struct fab_slice note)
{
    struct fab_store *store = arg;
    struct fab_reader r = fab_reader(note);
    struct fab_job job, known;
    uint64_t ws;
    if (fab_read_be(&r, 4, &ws) != FAB_OK ||
        fab_job_decode(fab_slice(note.p + 4, note.n - 4), &job) != FAB_OK ||
        strcmp(job.id, id) != 0 || fab_job_find(store, (uint32_t)ws, id, &known, NULL) == FAB_OK)
        return;
    job.ended = now_ms();
    FAB_UNUSED enum fab_rc rc = fab_job_record(store, (uint32_t)ws, &job, false, NULL);
}

void fab_job_tidy(struct fab_store *store, uint32_t ws, const char *home, uint64_t keep)
{
    fab_attempt_reap(home, record_abandoned, store);
    if (keep)
        (void)!fab_job_sweep(store, ws, now_ms() - (int64_t)keep * 1000, NULL);
}
