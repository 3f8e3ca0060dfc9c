/* Starting an attempt.
 *
 *   warm the cgroup lock ─┐ (a thread)
 *   conmon loads ─────────┼─▶ gate ─▶ runtime ─▶ conmon says the job's number ─▶ handle on the job
 *   bundle ───────────────┘
 *
 * What takes long by itself is begun first: conmon is started before there is a bundle and waits at
 * a gate, a descriptor on which it wants one byte. After a failure conmon is killed, and then
 * whoever else there is. */
#include "scheduler/exec/attempt_start.h"

#include "scheduler/exec/cgroup.h"
#include "scheduler/exec/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYNC_MAX        8192 /* bytes that conmon may say */
#define START_GRACE_SEC 2    /* conmon's own time limit comes this much later than ours */

struct starter {
    const struct fab_attempt_spec *spec;
    struct attempt_started out;
    int gate; /* conmon waits for a byte on its other end before it starts the runtime */
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void attempt_kill(const struct attempt_started *started)
{
    fab_pidfd_kill(started->job_fd, started->job);
}

void attempt_close(struct attempt_started *started)
{
    close_fd(&started->logs[0]);
    close_fd(&started->logs[1]);
    close_fd(&started->conmon_fd);
    close_fd(&started->job_fd);
}

static enum fab_rc open_log(struct starter *r, int i, int *write_end, struct fab_err *err)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/%s", r->spec->dir->path, i == 0 ? "stdout" : "stderr");
    *write_end = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*write_end < 0)
        return fab_err_errno(err, errno, "cannot make %s", path);
    /* Whoever inherits it holds the lock: so the next fabric knows when the last is gone. */
    if (i == 0)
        (void)!flock(*write_end, LOCK_EX | LOCK_NB);
    r->out.logs[i] = open(path, O_RDONLY | O_CLOEXEC);
    if (r->out.logs[i] < 0)
        return fab_err_errno(err, errno, "cannot open %s", path);
    return FAB_OK;
}

/* The last error line that the runtime logged, or "". */
static void runtime_says(const struct starter *r, char *out, size_t room)
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

static enum fab_rc sandbox_failed(const struct starter *r, const char *what, const char *said,
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

static bool open_gate(struct starter *r)
{
    bool opened = send(r->gate, "", 1, MSG_NOSIGNAL) == 1;
    close_fd(&r->gate);
    return opened;
}

/* conmon writes {"pid":N} or {"pid":-1,"message":"..."} and a newline once the container is made.
 */
static enum fab_rc read_pid(struct starter *r, int fd, struct fab_err *err)
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
        r->out.job = (pid_t)pid;
    else
        rc = sandbox_failed(r, "made", json_string_value(json_object_get(json, "message")), err);
    json_decref(json);
    return rc;
}

struct paths {
    char root[PATH_MAX + 32], log[PATH_MAX + 32], exits[PATH_MAX + 32];
    char pidfile[PATH_MAX], timeout[32];
};

static void make_paths(const struct starter *r, struct paths *p)
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

/* runc makes and starts a container in one command, `run --detach`, which saves a second start of
 * that program. conmon puts `create` behind the arguments that it passes on: here it becomes the
 * value of a --pid-file, and the real --pid-file that follows replaces it. */
static bool starts_at_once(const struct starter *r)
{
    return strcmp(r->spec->runtime->oci_name, "runc") == 0;
}

static enum fab_rc spawn_conmon(struct starter *r, const struct paths *p, const int logs[2],
                                int sync, int gate, struct fab_err *err)
{
    const struct fab_attempt_spec *s = r->spec;
    char arg_root[sizeof p->root + 16], arg_log[sizeof p->log + 16];
    snprintf(arg_root, sizeof arg_root, "--runtime-arg=%s", p->root);
    snprintf(arg_log, sizeof arg_log, "--runtime-arg=%s", p->log);
    const char *argv[40] = {s->runtime->conmon,
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
                            NULL};
    size_t n = 0;
    while (argv[n])
        n++;
    if (starts_at_once(r)) {
        argv[n++] = "--runtime-arg=run";
        argv[n++] = "--runtime-arg=--detach";
        argv[n++] = "--runtime-arg=--pid-file";
    }
    if (s->timeout_ms) {
        argv[n++] = "--timeout";
        argv[n++] = p->timeout;
    }
    const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "_OCI_SYNCPIPE=3",
                         "_OCI_STARTPIPE=4", NULL};
    struct fab_spawn spawn = {.argv = argv,
                              .env = env,
                              .dir = s->dir->path,
                              .fds = {-1, logs[0], logs[1], sync, gate},
                              .new_session = true};
    return fab_spawn(&spawn, &r->out.conmon, err);
}

/* Gives in `*sync` what conmon will speak to. */
static enum fab_rc start_conmon(struct starter *r, const struct paths *p, int *sync,
                                struct fab_err *err)
{
    int said[2] = {-1, -1}, gate[2] = {-1, -1}, logs[2] = {-1, -1};
    enum fab_rc rc = FAB_OK;
    if (pipe2(said, O_CLOEXEC) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) != 0)
        rc = fab_err_errno(err, errno, "cannot make a pipe");
    for (int i = 0; rc == FAB_OK && i < 2; i++)
        rc = open_log(r, i, &logs[i], err);
    if (rc == FAB_OK)
        rc = spawn_conmon(r, p, logs, said[1], gate[0], err);
    if (rc == FAB_OK)
        r->out.conmon_fd = fab_pidfd(r->out.conmon);
    for (int i = 0; i < 2; i++)
        close_fd(&logs[i]);
    close_fd(&said[1]);
    close_fd(&gate[0]);
    *sync = said[0];
    r->gate = gate[1];
    return rc;
}

/* The parent of process `pid`, 0 if there is no such process. */
static pid_t parent_of(pid_t pid)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    int parent = 0;
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    if (!name_end || sscanf(name_end + 1, " %*c %d", &parent) != 1)
        return 0;
    return (pid_t)parent;
}

/* A handle on the job's process 1. A job that runs already may have ended, and once conmon has
 * waited for it its number is anybody's: only a child of conmon is ours, and one that still exists
 * after the look at its parent is the one that was looked at. Without a handle there is nothing to
 * kill. */
static void hold_job(struct starter *r)
{
    r->out.job_fd = fab_pidfd(r->out.job);
    if (!starts_at_once(r))
        return; /* it waits for `start`, so the number is still its own */
    if (parent_of(r->out.job) == r->out.conmon &&
        (r->out.job_fd < 0 || syscall(SYS_pidfd_send_signal, r->out.job_fd, 0, NULL, 0) == 0))
        return;
    close_fd(&r->out.job_fd);
    r->out.job = 0;
}

static enum fab_rc start_job(struct starter *r, const struct paths *p, struct fab_err *err)
{
    const char *argv[] = {r->spec->runtime->oci, p->root, p->log, "--log-format=json", "start",
                          r->spec->dir->id,      NULL};
    const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct fab_spawn spawn = {.argv = argv, .env = env, .fds = {-1, -1, -1, -1, -1}};
    if (fab_spawn_run(&spawn, err) != FAB_OK)
        return sandbox_failed(r, "started", err ? err->msg : NULL, err);
    return FAB_OK;
}

static enum fab_rc start(struct starter *r, const struct paths *p, struct fab_err *err)
{
    int sync = -1;
    enum fab_rc rc = FAB_OK;
    if (mkdir(p->exits, 0700) != 0 || mkdir(p->root + strlen("--root="), 0700) != 0)
        rc = fab_err_errno(err, errno, "cannot make folders in %s", r->spec->dir->path);
    if (rc == FAB_OK)
        rc = start_conmon(r, p, &sync, err);
    if (rc == FAB_OK)
        rc = fab_bundle_write(r->spec->bundle, err);
    if (rc == FAB_OK) {
        if (!open_gate(r))
            rc = fab_err_set(err, FAB_EIO, "conmon ended before the sandbox was made");
        else
            rc = read_pid(r, sync, err);
        unlink(p->pidfile);
    }
    close_fd(&sync);
    if (rc == FAB_OK)
        hold_job(r);
    if (rc == FAB_OK && !starts_at_once(r))
        rc = start_job(r, p, err);
    return rc;
}

/* After a failure: nothing of the container may stay. conmon goes first, as a gate that closes
 * opens too. What does not end is left to the next who looks at the folder. */
static void clean_up(struct starter *r)
{
    if (r->out.conmon <= 0)
        return;
    kill(r->out.conmon, SIGKILL);
    (void)fab_spawn_wait(r->out.conmon);
    (void)!fab_attempt_end(r->spec->dir);
}

static void *warm(void *arg)
{
    fab_cgroup_warm(((const struct fab_attempt_spec *)arg)->host);
    return NULL;
}

enum fab_rc attempt_start(const struct fab_attempt_spec *spec, struct attempt_started *out,
                          struct fab_err *err)
{
    struct starter r = {
        .spec = spec, .out = {.conmon_fd = -1, .job_fd = -1, .logs = {-1, -1}}, .gate = -1};
    struct paths paths;
    pthread_t warmer;
    make_paths(&r, &paths);
    bool warming = spec->bundle->cgroup && pthread_create(&warmer, NULL, warm, (void *)spec) == 0;
    enum fab_rc rc = start(&r, &paths, err);
    if (rc != FAB_OK) {
        clean_up(&r);
        attempt_close(&r.out);
    }
    if (warming)
        pthread_join(warmer, NULL);
    close_fd(&r.gate);
    *out = r.out;
    return rc;
}
