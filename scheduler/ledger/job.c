#include "scheduler/ledger/job.h"

#include "storage/dag/dag_cbor.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define RECORD_MAX 16384
#define JOBS       "jobs"
#define MEMO       "memo"
#define PIN_PREFIX "job/"

#define PIN_NAME_MAX (FAB_JOB_ID_LEN + 8)

static const char *const state_texts[FAB_JOB_STATES] = {
    [FAB_JOB_DONE] = "done",     [FAB_JOB_FAILED] = "failed", [FAB_JOB_TIMEOUT] = "timeout",
    [FAB_JOB_MEMORY] = "memory", [FAB_JOB_DISK] = "disk",     [FAB_JOB_CANCELLED] = "cancelled",
};

const char *fab_job_state_text(enum fab_job_state state)
{
    return state < FAB_JOB_STATES ? state_texts[state] : "unknown";
}

void fab_job_id(int64_t now, char out[FAB_JOB_ID_LEN + 1])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint64_t time = (uint64_t)now;
    uint32_t random = randombytes_random();
    for (int i = 9; i >= 0; i--, time >>= 5)
        out[i] = digits[time & 31];
    for (int i = 10; i < FAB_JOB_ID_LEN; i++, random >>= 5)
        out[i] = digits[random & 31];
    out[FAB_JOB_ID_LEN] = '\0';
}

/* ---- the record ---- */

static enum fab_rc put_text(struct fab_buf *b, const char *key, const char *value)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_str(b, value);
}

static enum fab_rc put_int(struct fab_buf *b, const char *key, int64_t value)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_int(b, value);
}

static enum fab_rc put_uint(struct fab_buf *b, const char *key, uint64_t value)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_uint(b, value);
}

static enum fab_rc put_cid(struct fab_buf *b, const char *key, const struct fab_cid *cid)
{
    FAB_TRY(fab_cbor_put_str(b, key));
    return fab_cbor_put_cid(b, cid);
}

enum fab_rc fab_job_encode(const struct fab_job *j, struct fab_buf *b)
{
    FAB_TRY(fab_cbor_put_map(b, j->has_results ? 19 : 15));
    FAB_TRY(put_text(b, "id", j->id));
    FAB_TRY(put_uint(b, "cpu", j->cpu_usec));
    if (j->has_results) {
        FAB_TRY(put_cid(b, "err", &j->err_log));
        FAB_TRY(put_cid(b, "log", &j->out_log));
        FAB_TRY(put_cid(b, "out", &j->out));
    }
    FAB_TRY(put_int(b, "exit", j->exit_code));
    FAB_TRY(put_text(b, "name", j->name));
    FAB_TRY(put_text(b, "node", j->node));
    FAB_TRY(put_uint(b, "peak", j->memory_peak));
    FAB_TRY(put_int(b, "ended", j->ended));
    FAB_TRY(put_uint(b, "state", j->state));
    FAB_TRY(put_cid(b, "action", &j->action));
    FAB_TRY(put_text(b, "reason", j->reason));
    if (j->has_results)
        FAB_TRY(put_cid(b, "result", &j->result));
    FAB_TRY(put_text(b, "command", j->command));
    FAB_TRY(put_int(b, "created", j->created));
    FAB_TRY(put_int(b, "started", j->started));
    FAB_TRY(put_int(b, "priority", j->priority));
    return put_text(b, "unenforced", j->unenforced);
}

static enum fab_rc read_text(struct fab_reader *r, char *out, size_t room)
{
    struct fab_slice s;
    FAB_TRY(fab_cbor_read_text(r, &s));
    if (s.n >= room || (s.n && memchr(s.p, 0, s.n)))
        return FAB_EFORMAT;
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return FAB_OK;
}

static enum fab_rc read_field(struct fab_reader *r, struct fab_slice key, struct fab_job *j)
{
    const struct {
        const char *key;
        char *text;
        size_t room;
        int64_t *number;
        uint64_t *count;
        struct fab_cid *cid;
    } fields[] = {
        {"id", j->id, sizeof j->id, NULL, NULL, NULL},
        {"name", j->name, sizeof j->name, NULL, NULL, NULL},
        {"node", j->node, sizeof j->node, NULL, NULL, NULL},
        {"command", j->command, sizeof j->command, NULL, NULL, NULL},
        {"reason", j->reason, sizeof j->reason, NULL, NULL, NULL},
        {"unenforced", j->unenforced, sizeof j->unenforced, NULL, NULL, NULL},
        {"priority", NULL, 0, &j->priority, NULL, NULL},
        {"created", NULL, 0, &j->created, NULL, NULL},
        {"started", NULL, 0, &j->started, NULL, NULL},
        {"ended", NULL, 0, &j->ended, NULL, NULL},
        {"cpu", NULL, 0, NULL, &j->cpu_usec, NULL},
        {"peak", NULL, 0, NULL, &j->memory_peak, NULL},
        {"action", NULL, 0, NULL, NULL, &j->action},
        {"result", NULL, 0, NULL, NULL, &j->result},
        {"out", NULL, 0, NULL, NULL, &j->out},
        {"log", NULL, 0, NULL, NULL, &j->out_log},
        {"err", NULL, 0, NULL, NULL, &j->err_log},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!fab_slice_eq(key, fab_slice(fields[i].key, strlen(fields[i].key))))
            continue;
        if (fields[i].text)
            return read_text(r, fields[i].text, fields[i].room);
        if (fields[i].number)
            return fab_cbor_read_int(r, fields[i].number);
        if (fields[i].count)
            return fab_cbor_read_uint(r, fields[i].count);
        if (fields[i].cid == &j->result)
            j->has_results = true;
        return fab_cbor_read_cid(r, fields[i].cid);
    }
    if (fab_slice_eq(key, fab_slice("exit", 4))) {
        int64_t code;
        FAB_TRY(fab_cbor_read_int(r, &code));
        j->exit_code = (int)(code & 0xff);
        return FAB_OK;
    }
    if (fab_slice_eq(key, fab_slice("state", 5))) {
        uint64_t state;
        FAB_TRY(fab_cbor_read_uint(r, &state));
        j->state = state < FAB_JOB_STATES ? (enum fab_job_state)state : FAB_JOB_STATES;
        return FAB_OK;
    }
    return fab_cbor_skip(r);
}

enum fab_rc fab_job_decode(struct fab_slice value, struct fab_job *out)
{
    struct fab_job j = {0};
    struct fab_reader r = fab_reader(value);
    struct fab_cbor_map map;
    FAB_TRY(fab_cbor_read_map(&r, &map));
    while (map.left) {
        struct fab_slice key;
        FAB_TRY(fab_cbor_read_key(&r, &map, &key));
        FAB_TRY(read_field(&r, key, &j));
    }
    FAB_TRY(fab_cbor_read_end(&r));
    *out = j;
    return FAB_OK;
}

/* ---- the tables ---- */

#define KEY_MAX (4 + FAB_MH_MAX)

/* Workspace, then what is looked for: one prefix lists one workspace. */
static struct fab_slice make_key(uint8_t key[KEY_MAX], uint32_t ws, struct fab_slice rest)
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(ws >> (24 - 8 * i));
    if (rest.n)
        memcpy(key + 4, rest.p, rest.n);
    return fab_slice(key, 4 + rest.n);
}

static struct fab_slice job_key(uint8_t key[KEY_MAX], uint32_t ws, const char *id)
{
    size_t n = strlen(id);
    return make_key(key, ws, fab_slice(id, n < FAB_JOB_ID_LEN ? n : FAB_JOB_ID_LEN));
}

/* Pin what the record names. A pin that somebody else made keeps its name, so that `job rm` leaves
 * it. */
static enum fab_rc pin_all(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                           struct fab_store_batch *batch)
{
    char name[PIN_NAME_MAX];
    const struct {
        const struct fab_cid *cid;
        enum fab_pin_mode mode;
    } pins[] = {
        {&job->out, FAB_PIN_RECURSIVE},
        {&job->out_log, FAB_PIN_RECURSIVE},
        {&job->err_log, FAB_PIN_RECURSIVE},
        /* Their links lead to the inputs, which a record does not keep. */
        {&job->result, FAB_PIN_DIRECT},
        {&job->action, FAB_PIN_DIRECT},
    };
    snprintf(name, sizeof name, PIN_PREFIX "%s", job->id);
    for (size_t i = 0; i < sizeof pins / sizeof *pins; i++) {
        struct fab_pin pin;
        enum fab_rc rc = fab_pin_get(store, ws, pins[i].cid, &pin);
        if (rc != FAB_OK && rc != FAB_ENOENT)
            return rc;
        bool theirs = rc == FAB_OK && strncmp(pin.name, PIN_PREFIX, strlen(PIN_PREFIX)) != 0;
        FAB_TRY(fab_batch_pin(batch, ws, pins[i].cid, pins[i].mode, theirs ? NULL : name));
    }
    return FAB_OK;
}

enum fab_rc fab_job_record(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                           bool memo, struct fab_err *err)
{
    struct fab_buf value;
    struct fab_store_batch *batch;
    uint8_t key[KEY_MAX], cid[FAB_CID_MAX];
    fab_buf_init(&value, RECORD_MAX);
    enum fab_rc rc = fab_job_encode(job, &value);
    if (rc != FAB_OK) {
        fab_err_set(err, rc, "cannot make the record of job %s: %s", job->id, fab_rc_text(rc));
        goto out;
    }
    if ((rc = fab_batch_begin(store, &batch, err)) != FAB_OK)
        goto out;
    rc = fab_batch_put(batch, JOBS, job_key(key, ws, job->id), fab_buf_slice(&value));
    if (rc == FAB_OK && job->has_results)
        rc = pin_all(store, ws, job, batch);
    if (rc == FAB_OK && memo)
        rc = fab_batch_put(batch, MEMO, make_key(key, ws, fab_cid_mh(&job->action)),
                           fab_slice(cid, fab_cid_bytes(&job->result, cid)));
    if (rc == FAB_OK) {
        rc = fab_batch_commit(batch, err);
        goto out;
    }
    fab_batch_abort(batch);
    fab_err_set(err, rc, "cannot record job %s: %s", job->id, fab_rc_text(rc));
out:
    fab_buf_fini(&value);
    return rc;
}

struct each {
    enum fab_rc (*fn)(void *arg, const struct fab_job *job);
    void *arg;
};

static enum fab_rc each_record(void *arg, struct fab_slice key, struct fab_slice value)
{
    const struct each *each = arg;
    struct fab_job job;
    (void)key;
    enum fab_rc rc = fab_job_decode(value, &job);
    return rc == FAB_OK ? each->fn(each->arg, &job) : rc;
}

static enum fab_rc each_prefix(struct fab_store *store, uint32_t ws, const char *prefix,
                               enum fab_rc (*fn)(void *arg, const struct fab_job *job), void *arg)
{
    uint8_t key[KEY_MAX];
    struct each each = {fn, arg};
    return fab_table_each(store, JOBS, job_key(key, ws, prefix), true, each_record, &each);
}

enum fab_rc fab_job_each(struct fab_store *store, uint32_t ws,
                         enum fab_rc (*fn)(void *arg, const struct fab_job *job), void *arg)
{
    return each_prefix(store, ws, "", fn, arg);
}

struct finder {
    struct fab_job job;
    unsigned found;
};

static enum fab_rc find_one(void *arg, const struct fab_job *job)
{
    struct finder *f = arg;
    f->job = *job;
    return ++f->found > 1 ? FAB_EINVAL : FAB_OK;
}

enum fab_rc fab_job_find(struct fab_store *store, uint32_t ws, const char *id, struct fab_job *out,
                         struct fab_err *err)
{
    struct finder f = {0};
    size_t n = strlen(id);
    enum fab_rc rc = FAB_OK;
    if (n > 0 && n <= FAB_JOB_ID_LEN)
        rc = each_prefix(store, ws, id, find_one, &f);
    if (f.found > 1)
        return fab_err_set(err, FAB_EINVAL, "several jobs begin with '%s': give more of the id",
                           id);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "cannot read the records of jobs: %s", fab_rc_text(rc));
    if (f.found == 0)
        return fab_err_set(err, FAB_ENOENT,
                           "no job '%.40s' is recorded here: `fabric job ls` lists them", id);
    *out = f.job;
    return FAB_OK;
}

/* ---- removing ---- */

struct others {
    const struct fab_job *job;
    const struct fab_cid *cid;
    char keeper[FAB_JOB_ID_LEN + 1];
};

static enum fab_rc names_it(void *arg, const struct fab_job *job)
{
    struct others *o = arg;
    if (!job->has_results || strcmp(job->id, o->job->id) == 0)
        return FAB_OK;
    if (fab_cid_eq(&job->out, o->cid) || fab_cid_eq(&job->out_log, o->cid) ||
        fab_cid_eq(&job->err_log, o->cid) || fab_cid_eq(&job->result, o->cid) ||
        fab_cid_eq(&job->action, o->cid))
        memcpy(o->keeper, job->id, sizeof o->keeper);
    return FAB_OK;
}

/* Only a pin that a job made is taken away, and only when no other record names the CID. */
static enum fab_rc release(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                           const struct fab_cid *cid, struct fab_store_batch *batch)
{
    struct fab_pin pin;
    struct others others = {.job = job, .cid = cid};
    enum fab_rc rc = fab_pin_get(store, ws, cid, &pin);
    if (rc == FAB_ENOENT ||
        (rc == FAB_OK && strncmp(pin.name, PIN_PREFIX, strlen(PIN_PREFIX)) != 0))
        return FAB_OK;
    FAB_TRY(rc);
    FAB_TRY(fab_job_each(store, ws, names_it, &others));
    if (!others.keeper[0]) {
        rc = fab_batch_unpin(batch, ws, cid);
        return rc == FAB_ENOENT ? FAB_OK : rc;
    }
    char name[PIN_NAME_MAX];
    snprintf(name, sizeof name, PIN_PREFIX "%s", others.keeper);
    return fab_batch_pin(batch, ws, cid, pin.mode, name);
}

enum fab_rc fab_job_remove(struct fab_store *store, uint32_t ws, const struct fab_job *job,
                           struct fab_err *err)
{
    struct fab_store_batch *batch;
    uint8_t key[KEY_MAX];
    FAB_TRY(fab_batch_begin(store, &batch, err));
    enum fab_rc rc = fab_batch_delete(batch, JOBS, job_key(key, ws, job->id));
    const struct fab_cid *cids[] = {&job->result, &job->action, &job->out, &job->out_log,
                                    &job->err_log};
    for (size_t i = 0; rc == FAB_OK && job->has_results && i < 5; i++)
        rc = release(store, ws, job, cids[i], batch);
    if (rc == FAB_OK)
        return fab_batch_commit(batch, err);
    fab_batch_abort(batch);
    return fab_err_set(err, rc, "cannot remove job %s: %s", job->id, fab_rc_text(rc));
}

struct sweeper {
    int64_t before;
    bool found;
    struct fab_job oldest;
};

static enum fab_rc expired(void *arg, const struct fab_job *job)
{
    struct sweeper *s = arg;
    if (job->ended < s->before) {
        s->found = true;
        s->oldest = *job;
    }
    return FAB_OK;
}

enum fab_rc fab_job_sweep(struct fab_store *store, uint32_t ws, int64_t before, struct fab_err *err)
{
    for (;;) {
        struct sweeper s = {.before = before};
        FAB_TRY(fab_job_each(store, ws, expired, &s));
        if (!s.found)
            return FAB_OK;
        FAB_TRY(fab_job_remove(store, ws, &s.oldest, err));
    }
}

enum fab_rc fab_memo_get(struct fab_store *store, uint32_t ws, const struct fab_cid *action,
                         struct fab_cid *result)
{
    struct fab_buf value;
    uint8_t key[KEY_MAX];
    fab_buf_init(&value, FAB_CID_MAX);
    enum fab_rc rc = fab_table_get(store, MEMO, make_key(key, ws, fab_cid_mh(action)), &value);
    if (rc == FAB_OK)
        rc = fab_cid_parse(fab_buf_slice(&value), result);
    fab_buf_fini(&value);
    return rc;
}
