#include "scheduler/exec/attempt.h"

#include "scheduler/exec/cgroup.h"
#include "scheduler/exec/dirs.h"
#include "scheduler/exec/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MIN_MS    4
#define PAUSE_MAX_MS    50 /* how often a quiet job is looked at */
#define DISK_EVERY_MS   250
#define DISK_SHARE      20 /* the disk watch uses at most one part in 20 of the time */
#define LOG_CHUNK       65536
#define SYNC_MAX        8192 /* bytes that conmon may say */
#define START_GRACE_SEC 2    /* conmon's own time limit comes this much later than ours */

struct run {
    const struct fab_attempt_spec *spec;
    struct fab_attempt_result result;
    int logs[2]; /* read ends of stdout, stderr */
    uint64_t read_to[2];
    int conmon_fd, job_fd;
    int pause; /* milliseconds until the logs are looked at again */
    pid_t conmon, job;
    int64_t kill_at, disk_at; /* milliseconds of the monotonic clock, 0: never */
    bool killed;
    enum fab_attempt_end why;
    struct rusage usage;
};

static int64_t clock_ms(clockid_t which)
{
    struct timespec ts;
    clock_gettime(which, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- starting ---- */

static enum fab_rc open_log(struct run *r, int i, int *write_end, struct fab_err *err)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/%s", r->spec->dir->path, i == 0 ? "stdout" : "stderr");
    *write_end = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*write_end < 0)
        return fab_err_errno(err, errno, "cannot make %s", path);
    r->logs[i] = open(path, O_RDONLY | O_CLOEXEC);
    if (r->logs[i] < 0)
        return fab_err_errno(err, errno, "cannot open %s", path);
    return FAB_OK;
}

/* The last error line that the runtime logged, or "". */
static void runtime_says(const struct run *r, char *out, size_t room)
{
    char path[PATH_MAX + 16], line[4096];
    out[0] = '\0';
    snprintf(path, sizeof path, "%s/runtime.log", r->spec->dir->path);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        json_t *json = json_loads(line, 0, NULL);
        const char *msg = json_string_value(json_object_get(json, "msg"));
        const char *level = json_string_value(json_object_get(json, "level"));
        if (msg && level && strcmp(level, "error") == 0)
            snprintf(out, room, "%s", msg);
        json_decref(json);
    }
    fclose(f);
}

static enum fab_rc sandbox_failed(const struct run *r, const char *what, const char *said,
                                  struct fab_err *err)
{
    char text[600];
    runtime_says(r, text, sizeof text);
    return fab_err_set(err, FAB_EIO, "the sandbox could not be %s by %s: %s", what,
                       r->spec->runtime->oci_name,
                       text[0]           ? text
                       : said && said[0] ? said
                                         : "it gave no reason");
}

/* conmon writes {"pid":N} or {"pid":-1,"message":"..."} and a newline once the container is made.
 */
static enum fab_rc read_pid(struct run *r, int fd, struct fab_err *err)
{
    char text[SYNC_MAX];
    size_t n = 0;
    while (n < sizeof text - 1 && !memchr(text, '\n', n)) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    json_t *json = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    json_int_t pid = json_integer_value(json_object_get(json, "pid"));
    enum fab_rc rc = FAB_OK;
    if (pid > 0)
        r->job = (pid_t)pid;
    else
        rc = sandbox_failed(r, "made", json_string_value(json_object_get(json, "message")), err);
    json_decref(json);
    return rc;
}

struct paths {
    char root[PATH_MAX + 32], log[PATH_MAX + 32], exits[PATH_MAX + 32];
    char pidfile[PATH_MAX], timeout[32];
};

static void make_paths(const struct run *r, struct paths *p)
{
    const char *dir = r->spec->dir->path;
    snprintf(p->root, sizeof p->root, "--root=%s/state", dir);
    snprintf(p->log, sizeof p->log, "--log=%s/runtime.log", dir);
    snprintf(p->exits, sizeof p->exits, "%s/exit", dir);
    fab_attempt_pidfile(dir, r->spec->dir->id, p->pidfile);
    uint64_t sec = (r->spec->timeout_ms + 999) / 1000 + START_GRACE_SEC;
    snprintf(p->timeout, sizeof p->timeout, "%llu",
             (unsigned long long)(sec > 2000000000 ? 2000000000 : sec));
}

static enum fab_rc start_conmon(struct run *r, const struct paths *p, int out_fd, int err_fd,
                                struct fab_err *err)
{
    const struct fab_attempt_spec *s = r->spec;
    char arg_root[sizeof p->root + 16], arg_log[sizeof p->log + 16];
    snprintf(arg_root, sizeof arg_root, "--runtime-arg=%s", p->root);
    snprintf(arg_log, sizeof arg_log, "--runtime-arg=%s", p->log);
    const char *argv[32] = {s->runtime->conmon,
                            "--sync",
                            "--cid",
                            s->dir->id,
                            "--cuuid",
                            s->dir->id,
                            "--name",
                            s->dir->id,
                            "--runtime",
                            s->runtime->oci,
                            "--bundle",
                            s->dir->path,
                            "--exit-dir",
                            p->exits,
                            "--persist-dir",
                            p->exits,
                            "--socket-dir-path",
                            ".",
                            "--container-pidfile",
                            p->pidfile,
                            "--log-level",
                            "error",
                            "--log-path",
                            "passthrough",
                            "--no-sync-log",
                            arg_root,
                            arg_log,
                            "--runtime-arg=--log-format=json",
                            NULL,
                            NULL,
                            NULL,
                            NULL};
    if (s->timeout_ms) {
        size_t n = 28;
        argv[n++] = "--timeout";
        argv[n] = p->timeout;
    }
    const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "_OCI_SYNCPIPE=3", NULL};
    int sync[2];
    if (pipe2(sync, O_CLOEXEC) != 0)
        return fab_err_errno(err, errno, "cannot make a pipe");
    struct fab_spawn spawn = {.argv = argv,
                              .env = env,
                              .dir = s->dir->path,
                              .fds = {-1, out_fd, err_fd, sync[1]},
                              .new_session = true};
    enum fab_rc rc = fab_spawn(&spawn, &r->conmon, err);
    close(sync[1]);
    if (rc == FAB_OK) {
        r->conmon_fd = pidfd(r->conmon);
        rc = read_pid(r, sync[0], err);
        unlink(p->pidfile);
    }
    close(sync[0]);
    return rc;
}

static enum fab_rc start_job(struct run *r, const struct paths *p, struct fab_err *err)
{
    /* The job waits for `start`, so this number is still its own. */
    r->job_fd = pidfd(r->job);
    const char *argv[] = {r->spec->runtime->oci, p->root, p->log, "--log-format=json", "start",
                          r->spec->dir->id,      NULL};
    const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct fab_spawn spawn = {.argv = argv, .env = env, .fds = {-1, -1, -1, -1}};
    if (fab_spawn_run(&spawn, err) != FAB_OK)
        return sandbox_failed(r, "started", err ? err->msg : NULL, err);
    return FAB_OK;
}

static enum fab_rc start(struct run *r, struct fab_err *err)
{
    int out_fd = -1, err_fd = -1;
    struct paths paths;
    make_paths(r, &paths);
    enum fab_rc rc = FAB_OK;
    if (mkdir(paths.exits, 0700) != 0 || mkdir(paths.root + strlen("--root="), 0700) != 0)
        rc = fab_err_errno(err, errno, "cannot make folders in %s", r->spec->dir->path);
    if (rc == FAB_OK)
        rc = open_log(r, 0, &out_fd, err);
    if (rc == FAB_OK)
        rc = open_log(r, 1, &err_fd, err);
    if (rc == FAB_OK)
        rc = start_conmon(r, &paths, out_fd, err_fd, err);
    close_fd(&out_fd);
    close_fd(&err_fd);
    r->result.started_ms = clock_ms(CLOCK_REALTIME);
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    if (rc == FAB_OK && r->spec->timeout_ms)
        r->kill_at = now + (int64_t)r->spec->timeout_ms;
    if (rc == FAB_OK && r->spec->disk)
        r->disk_at = now + DISK_EVERY_MS;
    if (rc == FAB_OK)
        rc = start_job(r, &paths, err);
    return rc;
}

/* ---- running ---- */

static void kill_job(struct run *r, enum fab_attempt_end why)
{
    if (r->killed)
        return;
    r->killed = true;
    r->why = why;
    if (r->job_fd >= 0)
        syscall(SYS_pidfd_send_signal, r->job_fd, SIGKILL, NULL, 0);
    else if (r->job > 0)
        kill(r->job, SIGKILL);
}

/* Hand over what the job has written since; false when the receiver wants no more. */
static bool follow(struct run *r)
{
    static const int streams[2] = {1, 2};
    char chunk[LOG_CHUNK];
    for (int i = 0; i < 2; i++) {
        ssize_t n;
        while ((n = pread(r->logs[i], chunk, sizeof chunk, (off_t)r->read_to[i])) > 0) {
            r->read_to[i] += (uint64_t)n;
            if (!r->spec->output(r->spec->arg, streams[i], chunk, (size_t)n))
                return false;
            /* A job that never stops writing must not keep us from its time limit. */
            if (r->kill_at && clock_ms(CLOCK_MONOTONIC) >= r->kill_at && !r->killed)
                break;
        }
    }
    return true;
}

static bool disk_exceeded(struct run *r)
{
    static const char *const names[] = {"out", "tmp"};
    uint64_t sum = 0;
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX + 8];
        uint64_t bytes = 0;
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", r->spec->dir->path, names[i]);
        if (fab_dir_usage(path, &bytes) != FAB_OK)
            return true; /* nested too deeply to be measured */
        sum += bytes;
        if (fstat(r->logs[i], &st) == 0)
            sum += (uint64_t)st.st_blocks * 512;
    }
    return sum > r->spec->disk;
}

static int until(int64_t when, int64_t now, int most)
{
    if (!when)
        return most;
    int64_t left = when - now;
    return left <= 0 ? 0 : left < most ? (int)left : most;
}

static void check_limits(struct run *r)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    if (r->spec->cancel && atomic_load(r->spec->cancel))
        kill_job(r, FAB_ATTEMPT_CANCELLED);
    if (r->kill_at && now >= r->kill_at)
        kill_job(r, FAB_ATTEMPT_TIMEOUT);
    if (r->disk_at && now >= r->disk_at) {
        if (disk_exceeded(r))
            kill_job(r, FAB_ATTEMPT_DISK);
        int64_t took = clock_ms(CLOCK_MONOTONIC) - now;
        int64_t pause = took * DISK_SHARE > DISK_EVERY_MS ? took * DISK_SHARE : DISK_EVERY_MS;
        r->disk_at = now + took + pause;
    }
}

/* Until conmon has ended: it writes the exit file before. The logs are looked at again and again,
 * because giving up an inotify instance makes the kernel wait for up to 20 ms, half of what a short
 * job takes. */
static void run_loop(struct run *r)
{
    r->pause = PAUSE_MIN_MS;
    for (;;) {
        uint64_t before = r->read_to[0] + r->read_to[1];
        check_limits(r);
        if (r->spec->output && !follow(r))
            kill_job(r, FAB_ATTEMPT_CANCELLED);
        bool quiet = r->read_to[0] + r->read_to[1] == before;
        r->pause = quiet ? r->pause * 3 / 2 : PAUSE_MIN_MS;
        if (r->pause > PAUSE_MAX_MS)
            r->pause = PAUSE_MAX_MS;
        struct pollfd end = {.fd = r->conmon_fd, .events = POLLIN};
        int64_t now = clock_ms(CLOCK_MONOTONIC);
        int wait = r->pause;
        if (!r->killed) {
            wait = until(r->kill_at, now, wait);
            wait = until(r->disk_at, now, wait);
        }
        (void)poll(&end, 1, wait);
        if (wait4(r->conmon, NULL, WNOHANG, &r->usage) == r->conmon) {
            r->conmon = 0;
            break;
        }
    }
    if (r->spec->output && !(r->killed && r->why == FAB_ATTEMPT_CANCELLED))
        (void)follow(r);
}

/* ---- ending ---- */

static bool read_exit_file(const struct run *r, int *code)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/exit/%s", r->spec->dir->path, r->spec->dir->id);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fscanf(f, "%d", code) == 1;
    fclose(f);
    return ok;
}

static enum fab_rc conclude(struct run *r, struct fab_err *err)
{
    struct fab_attempt_result *result = &r->result;
    struct fab_cgroup_usage used = {0};
    int code = -1;
    result->ended_ms = clock_ms(CLOCK_REALTIME);
    if (r->spec->bundle->cgroup)
        fab_cgroup_usage(r->spec->host, r->spec->bundle->cgroup, &used);
    result->cpu_usec =
        used.cpu_usec ? used.cpu_usec
                      : (uint64_t)(r->usage.ru_utime.tv_sec + r->usage.ru_stime.tv_sec) * 1000000 +
                            (uint64_t)(r->usage.ru_utime.tv_usec + r->usage.ru_stime.tv_usec);
    result->memory_peak = used.memory_peak ? used.memory_peak : (uint64_t)r->usage.ru_maxrss * 1024;
    bool known = read_exit_file(r, &code);
    result->end = r->killed ? r->why : FAB_ATTEMPT_EXITED;
    if (r->killed)
        result->exit_code = r->why == FAB_ATTEMPT_TIMEOUT ? 124
                            : r->why == FAB_ATTEMPT_DISK  ? 137
                                                          : 130;
    else if (!known)
        return fab_err_set(err, FAB_EIO, "conmon ended without saying how the job ended");
    else
        result->exit_code = code < 0 ? 137 : code;
    if (!r->killed && used.oom_kills && result->exit_code != 0)
        result->end = FAB_ATTEMPT_OOM;
    return FAB_OK;
}

/* After a failed start: nothing of the container may stay. */
static void clean_up(struct run *r, const struct paths *p)
{
    if (r->job > 0)
        kill_job(r, FAB_ATTEMPT_CANCELLED);
    const char *argv[] = {r->spec->runtime->oci, p->root, "delete", "--force",
                          r->spec->dir->id,      NULL};
    const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct fab_spawn spawn = {.argv = argv, .env = env, .fds = {-1, -1, -1, -1}};
    (void)!fab_spawn_run(&spawn, NULL);
    if (r->conmon > 0)
        (void)fab_spawn_wait(r->conmon);
    r->conmon = 0;
}

enum fab_rc fab_attempt_run(const struct fab_attempt_spec *spec, struct fab_attempt_result *out,
                            struct fab_err *err)
{
    struct run r = {.spec = spec, .logs = {-1, -1}, .conmon_fd = -1, .job_fd = -1};
    FAB_TRY(fab_bundle_write(spec->bundle, err));
    enum fab_rc rc = start(&r, err);
    if (rc == FAB_OK) {
        run_loop(&r);
        rc = conclude(&r, err);
    } else {
        struct paths paths;
        make_paths(&r, &paths);
        clean_up(&r, &paths);
    }
    close_fd(&r.logs[0]);
    close_fd(&r.logs[1]);
    close_fd(&r.conmon_fd);
    close_fd(&r.job_fd);
    if (rc == FAB_OK)
        *out = r.result;
    return rc;
}
