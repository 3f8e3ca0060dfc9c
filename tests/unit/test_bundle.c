/* The bundle of a job, read back as JSON: what the sandbox promises stands in it. */
#include "scheduler/exec/blob.h"
#include "scheduler/exec/bundle.h"
#include "scheduler/exec/dirs.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char init_path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test-bundle-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(init_path, sizeof init_path, "%s/init", folder);
    int fd = open(init_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return fab_dir_remove(folder, NULL);
}

static json_t *make(struct fab_bundle *b)
{
    static char *argv[] = {"true", NULL};
    static char *env[] = {"A=b", NULL};
    struct fab_err err = {0};
    char path[96];
    b->dir = folder;
    b->init = init_path;
    b->argv = argv;
    b->env = env;
    b->cwd = "/out";
    b->rootless = geteuid() != 0;
    if (fab_bundle_write(b, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *config = json_load_file(path, 0, NULL);
    assert_non_null(config);
    return config;
}

static bool has_namespace(const json_t *config, const char *type)
{
    const json_t *list = json_object_get(json_object_get(config, "linux"), "namespaces");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "type")), type) == 0)
            return true;
    return false;
}

static void denies_by_default(void **state)
{
    (void)state;
    struct fab_bundle b = {.file_size = 1000};
    json_t *config = make(&b);
    const json_t *process = json_object_get(config, "process");
    assert_true(json_is_true(json_object_get(process, "noNewPrivileges")));
    const json_t *caps = json_object_get(process, "capabilities");
    static const char *const sets[] = {"bounding", "effective", "inheritable", "permitted",
                                       "ambient"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(json_array_size(json_object_get(caps, sets[i])), 0);
    assert_true(json_is_true(json_object_get(json_object_get(config, "root"), "readonly")));
    static const char *const spaces[] = {"pid", "ipc", "uts", "mount", "cgroup", "network"};
    for (size_t i = 0; i < 6; i++)
        assert_true(has_namespace(config, spaces[i]));
    assert_non_null(json_object_get(json_object_get(config, "linux"), "seccomp"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(process, "args"), 0)),
                        "/.fabric-init");
    json_decref(config);
}

static void only_out_and_tmp_are_writable(void **state)
{
    (void)state;
    struct fab_bundle_input input = {"data", init_path};
    struct fab_bundle b = {.inputs = &input, .n_inputs = 1};
    json_t *config = make(&b);
    const json_t *mounts = json_object_get(config, "mounts");
    unsigned writable = 0;
    bool seen = false;
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        const json_t *m = json_array_get(mounts, i), *options = json_object_get(m, "options");
        const char *to = json_string_value(json_object_get(m, "destination"));
        bool read_only = false;
        for (size_t k = 0; k < json_array_size(options); k++) {
            const char *o = json_string_value(json_array_get(options, k));
            read_only = read_only || strcmp(o, "ro") == 0 || strcmp(o, "rro") == 0;
        }
        if (strcmp(to, "/in/data") == 0)
            seen = read_only;
        if (strcmp(json_string_value(json_object_get(m, "type")), "bind") == 0 && !read_only) {
            assert_true(strcmp(to, "/out") == 0 || strcmp(to, "/tmp") == 0);
            writable++;
        }
    }
    assert_true(seen);
    assert_int_equal(writable, 2);
    json_decref(config);
}

static void the_network_is_granted_by_leaving_the_namespace_out(void **state)
{
    (void)state;
    struct fab_bundle b = {.network_host = true};
    json_t *config = make(&b);
    assert_false(has_namespace(config, "network"));
    json_decref(config);
}

static void limits_are_written(void **state)
{
    (void)state;
    struct fab_bundle b = {
        .cgroup = "/fabric-x", .cpu_milli = 1500, .memory = 1 << 20, .no_swap = true, .pids = 9};
    json_t *config = make(&b);
    const json_t *r = json_object_get(json_object_get(config, "linux"), "resources");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "cpu"), "quota")),
                     150000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "memory"), "limit")),
                     1 << 20);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "memory"), "swap")),
                     1 << 20);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "pids"), "limit")), 9);
    json_decref(config);
}

static void refuses_bad_inputs(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "a/b", "-x", ".x", "a b", "a\n", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(fab_input_name_ok(bad[i]));
    assert_true(fab_input_name_ok("A-z_0.9"));
    static char *argv[] = {"\xff", NULL}, *env[] = {NULL};
    struct fab_err err = {0};
    struct fab_bundle b = {.dir = folder,
                           .init = init_path,
                           .argv = argv,
                           .env = env,
                           .cwd = "/",
                           .rootless = geteuid() != 0};
    assert_int_equal(fab_bundle_write(&b, &err), FAB_EINVAL);
}

/* Deeper than descriptors or the stack would bear, with folders that their owner cannot enter. */
static void removes_what_jobs_leave(void **state)
{
    (void)state;
    char path[96];
    struct stat st;
    uint64_t bytes = 0;
    snprintf(path, sizeof path, "%s/deep", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "d", 0700), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (i % 100 == 7)
            assert_int_equal(fchmod(at, 0500), 0);
        close(at);
        at = next;
    }
    close(at);
    assert_int_equal(fab_dir_usage(path, &bytes), FAB_ELIMIT);
    assert_int_equal(fab_dir_remove(path, NULL), FAB_OK);
    assert_int_not_equal(stat(path, &st), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(denies_by_default, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_out_and_tmp_are_writable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_network_is_granted_by_leaving_the_namespace_out, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(limits_are_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_bad_inputs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removes_what_jobs_leave, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
