#include "scheduler/ledger/run_parts.h"

#include "scheduler/exec/blob.h"
#include "scheduler/exec/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CACHE_MAX    (32ull << 30) /* bytes of inputs and images that nobody uses now */
#define CACHE_SHARE  4             /* and at most one part in this many of the free disk */

/* ---- limits ---- */

static enum fab_rc refuse(const struct job_run *run, const char *flag, struct fab_err *err)
{
    return fab_err_set(
        err, FAB_EUNSUPPORTED,
        "this host cannot enforce %s: %s; leave it out, or run as root where cgroups "
        "are available",
        flag, fab_host_why_not(&run->host));
}

static enum fab_rc check_gpus(const struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    if (r->gpu_memory)
        return fab_err_set(err, FAB_EUNSUPPORTED,
                           "--gpu-memory cannot be enforced by this version: ask for whole GPUs "
                           "with --gpu N");
    if (r->gpus > run->host.nvidia)
        return fab_err_set(
            err, FAB_EUNSUPPORTED, "the job wants %u GPU%s, but this host has %u NVIDIA device%s",
            r->gpus, r->gpus == 1 ? "" : "s", run->host.nvidia, run->host.nvidia == 1 ? "" : "s");
    return FAB_OK;
}

enum fab_rc job_run_limits(struct job_run *run, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    const struct fab_host *h = &run->host;
    fab_host_probe(&run->host);
    if (!fab_cgroup_vacate(&run->host)) {
        run->host.groups = run->host.cpu = run->host.memory = run->host.pids = false;
        run->host.group[0] = '\0';
    }
    FAB_TRY(check_gpus(run, err));
    if (r->cpu_milli && !h->cpu)
        return refuse(run, "--cpu", err);
    if (r->memory && !h->memory)
        return refuse(run, "--memory", err);
    char *missing = run->job.unenforced;
    size_t room = sizeof run->job.unenforced;
    if (!h->memory)
        snprintf(missing, room, "memory");
    if (!h->pids && h->root)
        snprintf(missing + strlen(missing), room - strlen(missing), "%spids", *missing ? ", " : "");
    if (*missing && r->warn) {
        char line[256];
        snprintf(line, sizeof line, "this host cannot enforce the default limit on %s: %s", missing,
                 fab_host_why_not(h));
        r->warn(r->arg, line);
    }
    return fab_runtime_find(h, &run->runtime, err);
}

static uint64_t disk_free(const char *path)
{
    struct statvfs fs;
    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

/* ---- files ---- */

/* The init program as a file of this home: HOME/cache/init-SIZE-TIME would say less than its length
 * and the version, which change when it does. */
static enum fab_rc init_file(const char *home, char out[PATH_MAX], struct fab_err *err)
{
    struct fab_slice bytes = fab_blob_init();
    char fresh[PATH_MAX + 16];
    struct stat st;
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.n; i += 61)
        sum = sum * 31 + bytes.p[i];
    if ((size_t)snprintf(out, PATH_MAX, "%s/cache/init-%s-%zx-%08x", home, FABRIC_VERSION, bytes.n,
                         sum) >= PATH_MAX)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    if (stat(out, &st) == 0 && st.st_size == (off_t)bytes.n)
        return FAB_OK;
    snprintf(fresh, sizeof fresh, "%s/cache", home);
    if (mkdir(fresh, 0700) != 0 && errno != EEXIST)
        return fab_err_errno(err, errno, "cannot make %s", fresh);
    snprintf(fresh, sizeof fresh, "%s.%d", out, (int)getpid());
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (fd < 0)
        return fab_err_errno(err, errno, "cannot make %s", fresh);
    enum fab_rc rc = FAB_OK;
    if (write(fd, bytes.p, bytes.n) != (ssize_t)bytes.n || fchmod(fd, 0755) != 0)
        rc = fab_err_errno(err, errno ? errno : EIO, "cannot write %s", fresh);
    if (close(fd) != 0 && rc == FAB_OK)
        rc = fab_err_errno(err, errno, "cannot write %s", fresh);
    if (rc == FAB_OK && rename(fresh, out) != 0)
        rc = fab_err_errno(err, errno, "cannot make %s", out);
    if (rc != FAB_OK)
        unlink(fresh);
    return rc;
}

/* ---- the environment ---- */

static bool has_name(const struct fab_text_list *list, const char *entry)
{
    size_t n = strcspn(entry, "=") + 1;
    for (size_t i = 0; i < list->n; i++)
        if (strncmp(list->texts[i], entry, n) == 0)
            return true;
    return false;
}

/* What was asked for, then the image's, then the defaults: the first of a name wins. */
static enum fab_rc make_env(const struct job_run *run, struct fab_text_list *out)
{
    static const char *const defaults[] = {DEFAULT_PATH, "HOME=/tmp", "LANG=C.UTF-8", NULL};
    for (size_t i = 0; i < run->action.n_env; i++) {
        const struct fab_action_env *e = &run->action.env[i];
        size_t n = strlen(e->name) + strlen(e->value) + 2;
        char *text = malloc(n);
        if (!text)
            return FAB_ENOMEM;
        snprintf(text, n, "%s=%s", e->name, e->value);
        enum fab_rc rc = fab_text_list_add(out, text);
        free(text);
        FAB_TRY(rc);
    }
    for (size_t i = 0; i < run->image.env.n; i++)
        if (!has_name(out, run->image.env.texts[i]))
            FAB_TRY(fab_text_list_add(out, run->image.env.texts[i]));
    for (size_t i = 0; defaults[i]; i++)
        if (!has_name(out, defaults[i]))
            FAB_TRY(fab_text_list_add(out, defaults[i]));
    return FAB_OK;
}

/* ---- running ---- */

struct mounted {
    struct fab_bundle_input *inputs;
    struct fab_cached *held; /* the inputs and the image */
    size_t n;
    const char *image_root;
};

static enum fab_rc hold_content(struct job_run *run, struct mounted *m, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    uint64_t share = disk_free(r->home) / CACHE_SHARE;
    struct fab_cache_options options = {.home = r->home,
                                        .owner = run->host.root ? FAB_JOB_UID : 0,
                                        .budget = share < CACHE_MAX ? share : CACHE_MAX,
                                        .cancel = r->cancel};
    for (size_t i = 0; i < run->action.n_inputs; i++) {
        const struct fab_action_input *in = &run->action.inputs[i];
        FAB_TRY(fab_cache_hold(r->store, r->ws, &in->cid, &options, &m->held[m->n], err));
        m->inputs[i] = (struct fab_bundle_input){in->name, m->held[m->n].path};
        m->n++;
    }
    if (!run->action.has_image)
        return FAB_OK;
    options.image = true;
    FAB_TRY(fab_cache_hold(r->store, r->ws, &run->image.rootfs, &options, &m->held[m->n], err));
    m->image_root = m->held[m->n++].path;
    return FAB_OK;
}

/* What is to be recorded should this process be killed. */
static enum fab_rc leave_note(struct job_run *run, struct fab_err *err)
{
    struct fab_buf note;
    struct fab_job job = run->job;
    uint8_t ws[4];
    for (int i = 0; i < 4; i++)
        ws[i] = (uint8_t)(run->request->ws >> (24 - 8 * i));
    job.action = run->action_cid;
    job.state = FAB_JOB_CANCELLED;
    job.exit_code = 137;
    job.started = job.created;
    snprintf(job.reason, sizeof job.reason, "its fabric was killed; nothing of it is left");
    fab_buf_init(&note, FAB_ATTEMPT_NOTE_MAX);
    enum fab_rc rc = fab_buf_append(&note, ws, sizeof ws);
    if (rc == FAB_OK)
        rc = fab_job_encode(&job, &note);
    if (rc == FAB_OK)
        rc = fab_attempt_dir_note(&run->dir, fab_buf_slice(&note), err);
    else
        fab_err_set(err, rc, "cannot note the job: %s", fab_rc_text(rc));
    fab_buf_fini(&note);
    return rc;
}

static enum fab_rc run_in(struct job_run *run, const struct mounted *m, struct fab_text_list *env,
                          struct fab_attempt_result *result, struct fab_err *err)
{
    const struct fab_job_request *r = run->request;
    const struct fab_host *h = &run->host;
    char init[PATH_MAX];
    uint64_t pids = r->pids ? r->pids : FAB_JOB_PIDS;
    uint64_t disk = r->disk ? r->disk : disk_free(r->home) / 2;
    FAB_TRY(init_file(r->home, init, err));
    FAB_TRY(fab_attempt_dir_make(r->home, run->job.id, h->group, &run->dir, err));
    FAB_TRY(leave_note(run, err));
    struct fab_bundle bundle = {
        .dir = run->dir.path,
        .init = init,
        .argv = run->action.args,
        .env = env->texts,
        .cwd = run->image.workdir ? run->image.workdir : "/out",
        .image_root = m->image_root,
        .inputs = m->inputs,
        .n_inputs = run->action.n_inputs,
        .network_host = r->network_host,
        .rootless = !h->root,
        .cgroup = h->groups ? run->dir.cgroup : NULL,
        .cpu_milli = h->cpu ? r->cpu_milli : 0,
        .memory = !h->memory  ? 0
                  : r->memory ? r->memory
                              : h->memory_bytes / 10 * 9,
        .no_swap = h->swap,
        .pids = h->pids ? pids : 0,
        .nproc = h->root || h->pids ? 0 : pids,
        .file_size = disk,
        .gpus = r->gpus,
    };
    struct fab_attempt_spec spec = {
        .host = h,
        .runtime = &run->runtime,
        .bundle = &bundle,
        .dir = &run->dir,
        .timeout_ms = r->timeout_ms,
        .disk = disk,
        .cancel = r->cancel,
        .output = r->output,
        .output_fds = {r->output_fds[0], r->output_fds[1]},
        .arg = r->arg,
    };
    return fab_attempt_run(&spec, result, err);
}

enum fab_rc job_run_attempt(struct job_run *run, struct fab_attempt_result *result,
                            struct fab_err *err)
{
    struct fab_text_list env = {0};
    size_t n = run->action.n_inputs + 1; /* by what is there: a folder's path is large */
    struct mounted m = {.inputs = calloc(n, sizeof *m.inputs), .held = calloc(n, sizeof *m.held)};
    enum fab_rc rc = FAB_OK;
    if (!m.inputs || !m.held || make_env(run, &env) != FAB_OK)
        rc = fab_err_set(err, FAB_ENOMEM, "out of memory");
    if (rc == FAB_OK)
        rc = hold_content(run, &m, err);
    if (rc == FAB_OK)
        rc = run_in(run, &m, &env, result, err);
    for (size_t i = 0; i < m.n; i++)
        fab_cache_release(&m.held[i]);
    fab_text_list_fini(&env);
    free(m.inputs);
    free(m.held);
    return rc;
}
