#include "scheduler/exec/attempt.h"

#include "scheduler/exec/attempt_start.h"
#include "scheduler/exec/cgroup.h"
#include "scheduler/exec/dirs.h"

#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MIN_MS  4
#define PAUSE_MAX_MS  50 /* how often a quiet job is looked at */
#define DISK_EVERY_MS 250
#define DISK_SHARE    20 /* the disk watch uses at most one part in 20 of the time */
#define LOG_CHUNK     65536
#define FOLLOW_CHUNKS 16

struct run {
    const struct fab_attempt_spec *spec;
    struct fab_attempt_result result;
    struct attempt_started on;
    uint64_t read_to[2];      /* how much of each log was handed over */
    bool pending[2];          /* the receiver did not take all that there was */
    int pause;                /* milliseconds until the logs are looked at again */
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

static void kill_job(struct run *r, enum fab_attempt_end why)
{
    if (r->killed)
        return;
    r->killed = true;
    r->why = why;
    attempt_kill(&r->on);
}

/* Hand over what the job has written since, some chunks at most, as a job that never stops writing
 * must not keep us from its limits; false when the receiver wants no more. */
static bool follow(struct run *r)
{
    static const int streams[2] = {1, 2};
    char chunk[LOG_CHUNK];
    for (int i = 0; i < 2; i++) {
        r->pending[i] = false;
        for (int n_chunks = 0; n_chunks < FOLLOW_CHUNKS && !r->pending[i]; n_chunks++) {
            ssize_t n = pread(r->on.logs[i], chunk, sizeof chunk, (off_t)r->read_to[i]);
            if (n <= 0)
                break;
            ssize_t taken = r->spec->output(r->spec->arg, streams[i], chunk, (size_t)n);
            if (taken < 0)
                return false;
            r->read_to[i] += (uint64_t)taken;
            r->pending[i] = taken < n;
        }
    }
    return true;
}

/* Wait for the end of conmon, or until what the receiver did not take can be handed to him. */
static void wait_for_news(struct run *r, bool ended, int ms)
{
    struct pollfd on[3];
    nfds_t n = 0;
    if (!ended)
        on[n++] = (struct pollfd){.fd = r->on.conmon_fd, .events = POLLIN};
    for (int i = 0; i < 2; i++)
        if (r->pending[i])
            on[n++] = (struct pollfd){.fd = r->spec->output_fds[i], .events = POLLOUT};
    (void)poll(on, n, ms);
}

static bool cancelled(const struct run *r)
{
    return r->spec->cancel && atomic_load(r->spec->cancel);
}

/* The rest of the output of a job that has ended, at the pace of the receiver. */
static void follow_to_end(struct run *r)
{
    for (;;) {
        uint64_t before = r->read_to[0] + r->read_to[1];
        if (!follow(r) || cancelled(r))
            return;
        bool waits = r->pending[0] || r->pending[1];
        if (!waits && r->read_to[0] + r->read_to[1] == before)
            return;
        if (waits)
            wait_for_news(r, true, PAUSE_MAX_MS);
    }
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
        if (fstat(r->on.logs[i], &st) == 0)
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
    if (cancelled(r))
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
        int64_t now = clock_ms(CLOCK_MONOTONIC);
        int wait = r->pause;
        if (!r->killed) {
            wait = until(r->kill_at, now, wait);
            wait = until(r->disk_at, now, wait);
        }
        wait_for_news(r, false, wait);
        if (wait4(r->on.conmon, NULL, WNOHANG, &r->usage) == r->on.conmon)
            break;
    }
    if (r->spec->output && !(r->killed && r->why == FAB_ATTEMPT_CANCELLED))
        follow_to_end(r);
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
    else if (!known) {
        /* Nobody supervises the job any more, if it lives. */
        (void)!fab_attempt_end(r->spec->dir);
        return fab_err_set(err, FAB_EIO, "conmon ended without saying how the job ended");
    } else
        result->exit_code = code < 0 ? 137 : code;
    result->oom_killed = used.oom_kills > 0;
    if (!r->killed && result->oom_killed && result->exit_code != 0)
        result->end = FAB_ATTEMPT_OOM;
    return FAB_OK;
}

enum fab_rc fab_attempt_run(const struct fab_attempt_spec *spec, struct fab_attempt_result *out,
                            struct fab_err *err)
{
    struct run r = {.spec = spec};
    FAB_TRY(attempt_start(spec, &r.on, err));
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    r.result.started_ms = clock_ms(CLOCK_REALTIME);
    if (spec->timeout_ms)
        r.kill_at = now + (int64_t)spec->timeout_ms;
    if (spec->disk)
        r.disk_at = now + DISK_EVERY_MS;
    run_loop(&r);
    enum fab_rc rc = conclude(&r, err);
    attempt_close(&r.on);
    if (rc == FAB_OK)
        *out = r.result;
    return rc;
}
