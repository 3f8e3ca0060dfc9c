/* Records, pins and the memo table, in a real store. */
#include "scheduler/exec/dirs.h"
#include "scheduler/ledger/image.h"
#include "scheduler/ledger/job.h"
#include "scheduler/ledger/result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64];
static struct fab_store *store;
static uint32_t ws;

static int set_up(void **state)
{
    (void)state;
    char path[80];
    struct fab_workspace_info info;
    snprintf(folder, sizeof folder, "/tmp/test-ledger-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/store", folder);
    if (fab_store_open(path, NULL, &store, NULL) != FAB_OK ||
        fab_workspace_find(store, FAB_WORKSPACE_LOCAL, true, &info, NULL) != FAB_OK)
        return -1;
    ws = info.id;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fab_store_close(store);
    return fab_dir_remove(folder, NULL);
}

static struct fab_cid put(const char *text)
{
    struct fab_ingest *ingest;
    struct fab_cid cid;
    struct fab_slice s = fab_slice(text, strlen(text));
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, s, &cid), FAB_OK);
    assert_int_equal(fab_ingest_open(store, ws, &ingest, NULL), FAB_OK);
    assert_int_equal(fab_ingest_put(ingest, &cid, s), FAB_OK);
    assert_int_equal(fab_ingest_commit(ingest, NULL, 0, NULL, NULL), FAB_OK);
    return cid;
}

static struct fab_job make(const char *out, int64_t time)
{
    struct fab_job job = {.state = FAB_JOB_DONE,
                          .created = time,
                          .started = time,
                          .ended = time + 5,
                          .cpu_usec = 12,
                          .memory_peak = 34,
                          .priority = -3,
                          .has_results = true};
    fab_job_id(time, job.id);
    snprintf(job.name, sizeof job.name, "name of %s", out);
    snprintf(job.command, sizeof job.command, "sh -c true");
    job.action = put("action");
    job.result = put(job.id);
    job.out = put(out);
    job.out_log = put("same log");
    job.err_log = put("same log");
    return job;
}

static bool pinned(const struct fab_cid *cid)
{
    struct fab_pin pin;
    return fab_pin_get(store, ws, cid, &pin) == FAB_OK;
}

static void ids_sort_by_time(void **state)
{
    (void)state;
    char a[FAB_JOB_ID_LEN + 1], b[FAB_JOB_ID_LEN + 1], c[FAB_JOB_ID_LEN + 1];
    fab_job_id(1000, a);
    fab_job_id(1001, b);
    fab_job_id(1795216325049, c);
    assert_true(strcmp(a, b) < 0 && strcmp(b, c) < 0);
    assert_int_equal(strlen(c), FAB_JOB_ID_LEN);
    fab_job_id(1000, b);
    assert_string_not_equal(a, b);
}

static void a_record_comes_back(void **state)
{
    (void)state;
    struct fab_job job = make("one", 1000), found;
    assert_int_equal(fab_job_record(store, ws, &job, false, NULL), FAB_OK);
    assert_int_equal(fab_job_find(store, ws, job.id, &found, NULL), FAB_OK);
    assert_string_equal(found.name, job.name);
    assert_int_equal(found.priority, -3);
    assert_int_equal(found.ended, job.ended);
    assert_true(found.has_results && fab_cid_eq(&found.out, &job.out));
    char begin[13] = {0};
    memcpy(begin, job.id, 12);
    assert_int_equal(fab_job_find(store, ws, begin, &found, NULL), FAB_OK);
    assert_int_equal(fab_job_find(store, ws, "", &found, NULL), FAB_ENOENT);
    assert_int_equal(fab_job_find(store, ws, "zz", &found, NULL), FAB_ENOENT);
    assert_int_equal(fab_job_find(store, ws + 1, job.id, &found, NULL), FAB_ENOENT);
    struct fab_job other = make("two", 1000);
    assert_int_equal(fab_job_record(store, ws, &other, false, NULL), FAB_OK);
    begin[5] = '\0';
    assert_int_equal(fab_job_find(store, ws, begin, &found, NULL), FAB_EINVAL);
}

static void pins_go_with_the_last_record(void **state)
{
    (void)state;
    struct fab_job a = make("shared", 1000), b = make("shared", 2000), c = make("own", 3000);
    assert_int_equal(fab_pin_add(store, ws, &c.out, FAB_PIN_RECURSIVE, "mine", NULL), FAB_OK);
    assert_int_equal(fab_job_record(store, ws, &a, false, NULL), FAB_OK);
    assert_int_equal(fab_job_record(store, ws, &b, false, NULL), FAB_OK);
    assert_int_equal(fab_job_record(store, ws, &c, false, NULL), FAB_OK);
    struct fab_pin pin;
    assert_int_equal(fab_pin_get(store, ws, &a.out, &pin), FAB_OK);
    assert_int_equal(pin.mode, FAB_PIN_RECURSIVE);
    assert_int_equal(fab_pin_get(store, ws, &a.result, &pin), FAB_OK);
    assert_int_equal(pin.mode, FAB_PIN_DIRECT);
    assert_true(pinned(&a.action) && pinned(&a.out_log) && pinned(&a.err_log));
    assert_int_equal(fab_job_remove(store, ws, &a, NULL), FAB_OK);
    assert_false(pinned(&a.result));
    assert_true(pinned(&a.out) && pinned(&a.out_log) && pinned(&a.action));
    assert_int_equal(fab_job_remove(store, ws, &b, NULL), FAB_OK);
    assert_false(pinned(&a.out));
    assert_int_equal(fab_job_remove(store, ws, &c, NULL), FAB_OK);
    assert_true(pinned(&c.out)); /* a name of the user's */
    assert_false(pinned(&c.out_log) || pinned(&c.action));
}

static enum fab_rc count(void *arg, const struct fab_job *job)
{
    (void)job;
    ++*(unsigned *)arg;
    return FAB_OK;
}

static void expired_records_are_swept(void **state)
{
    (void)state;
    unsigned n = 0;
    for (int64_t t = 1000; t <= 5000; t += 1000) {
        struct fab_job job = make("x", t);
        assert_int_equal(fab_job_record(store, ws, &job, false, NULL), FAB_OK);
    }
    assert_int_equal(fab_job_sweep(store, ws, 3500, NULL), FAB_OK);
    assert_int_equal(fab_job_each(store, ws, count, &n), FAB_OK);
    assert_int_equal(n, 2);
}

static void only_what_is_asked_is_remembered(void **state)
{
    (void)state;
    struct fab_job job = make("one", 1000);
    struct fab_cid result;
    assert_int_equal(fab_job_record(store, ws, &job, false, NULL), FAB_OK);
    assert_int_equal(fab_memo_get(store, ws, &job.action, &result), FAB_ENOENT);
    assert_int_equal(fab_job_record(store, ws, &job, true, NULL), FAB_OK);
    assert_int_equal(fab_memo_get(store, ws, &job.action, &result), FAB_OK);
    assert_true(fab_cid_eq(&result, &job.result));
    assert_int_equal(fab_memo_get(store, ws + 1, &job.action, &result), FAB_ENOENT);
}

static void result_objects_are_strict(void **state)
{
    (void)state;
    struct fab_job job = make("one", 1000);
    struct fab_result in = {job.action, job.out, job.out_log, job.err_log, 3, 1, 2, 4, 5}, out;
    struct fab_buf b;
    struct fab_cid cid;
    fab_buf_init(&b, FAB_RESULT_MAX);
    assert_int_equal(fab_result_encode(&in, &b, &cid), FAB_OK);
    assert_int_equal(fab_result_decode(fab_buf_slice(&b), &out), FAB_OK);
    assert_int_equal(out.exit_code, 3);
    assert_int_equal(out.memory_peak, 5);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(fab_result_decode(fab_slice(b.data, n), &out), FAB_OK);
    b.data[2] ^= 1;
    assert_int_not_equal(fab_result_decode(fab_buf_slice(&b), &out), FAB_OK);
    fab_buf_fini(&b);
}

static void image_blocks_come_back(void **state)
{
    (void)state;
    struct fab_image in = {.rootfs = put("root"), .arch = "x86_64"}, out;
    struct fab_buf b;
    struct fab_cid cid;
    assert_int_equal(fab_text_list_add(&in.env, "A=b"), FAB_OK);
    in.workdir = strdup("/w");
    fab_buf_init(&b, FAB_IMAGE_BYTES_MAX);
    assert_int_equal(fab_image_encode(&in, &b, &cid), FAB_OK);
    assert_int_equal(fab_image_decode(fab_buf_slice(&b), &out), FAB_OK);
    assert_string_equal(out.env.texts[0], "A=b");
    assert_string_equal(out.workdir, "/w");
    fab_image_fini(&out);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(fab_image_decode(fab_slice(b.data, n), &out), FAB_OK);
    fab_buf_fini(&b);
    fab_image_fini(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_sort_by_time),
        cmocka_unit_test_setup_teardown(a_record_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pins_go_with_the_last_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_records_are_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_asked_is_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(result_objects_are_strict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(image_blocks_come_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
