#include "cli/command.h"
#include "cli/output.h"
#include "scheduler/core/action.h"
#include "scheduler/exec/attempt_dir.h"
#include "scheduler/ledger/run.h"
#include "storage/files/get.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FOLLOW_PAUSE 100000000 /* nanoseconds */

static enum fab_rc open_store(struct fab_cli *cli, struct fab_err *err)
{
    FAB_TRY(fab_cli_open(cli, FAB_CLI_READ, err));
    fab_job_tidy(cli->store, cli->ws.id, cli->home, cli->config.jobs_keep);
    return FAB_OK;
}

/* ---- job ls ---- */

struct listing {
    struct fab_cli *cli;
    json_t *array; /* NULL for text */
};

static void on_running(void *arg, const char *id)
{
    struct listing *l = arg;
    if (l->array) {
        json_t *object = json_object();
        fab_json_set_text(object, "id", id);
        fab_json_set_text(object, "state", "running");
        fab_json_append(l->array, object);
    } else if (l->cli->quiet) {
        fab_out("%s\n", id);
    } else {
        fab_out("%-16s  %-9s\n", id, "running");
    }
}

static json_t *job_json(const struct fab_job *j)
{
    json_t *object = json_object();
    fab_json_set_text(object, "id", j->id);
    fab_json_set_text(object, "state", fab_job_state_text(j->state));
    fab_json_set_uint(object, "exit", (uint64_t)j->exit_code);
    fab_json_set_text(object, "name", j->name);
    fab_json_set_text(object, "node", j->node);
    fab_json_set_text(object, "command", j->command);
    fab_json_set_text(object, "reason", j->reason);
    fab_json_set_text(object, "unenforced", j->unenforced);
    fab_json_set_json(object, "priority", json_integer(j->priority));
    fab_json_set_uint(object, "created", (uint64_t)j->created);
    fab_json_set_uint(object, "started", (uint64_t)j->started);
    fab_json_set_uint(object, "ended", (uint64_t)j->ended);
    fab_json_set_uint(object, "cpu_usec", j->cpu_usec);
    fab_json_set_uint(object, "memory_peak", j->memory_peak);
    fab_json_set_cid(object, "action", &j->action);
    if (j->has_results) {
        fab_json_set_cid(object, "out", &j->out);
        fab_json_set_cid(object, "stdout", &j->out_log);
        fab_json_set_cid(object, "stderr", &j->err_log);
        fab_json_set_cid(object, "result", &j->result);
    }
    return object;
}

static enum fab_rc on_job(void *arg, const struct fab_job *j)
{
    struct listing *l = arg;
    char took[FAB_HUMAN_MAX], when[32];
    if (l->array) {
        fab_json_append(l->array, job_json(j));
        return FAB_OK;
    }
    if (l->cli->quiet) {
        fab_out("%s\n", j->id);
        return FAB_OK;
    }
    time_t ended = (time_t)(j->ended / 1000);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&ended, &tm));
    fab_out("%-16s  %-9s  %3d  %s  %8s  ", j->id, fab_job_state_text(j->state), j->exit_code, when,
            fab_human_time((double)(j->ended - j->started) / 1000, took));
    const char *what = j->name[0] ? j->name : j->command;
    fab_out_name(stdout, what, strlen(what));
    fab_out("\n");
    return fab_out_failed() ? FAB_EIO : FAB_OK;
}

static int run_ls(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct listing l = {.cli = cli, .array = NULL};
    (void)args;
    if (open_store(cli, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->json)
        l.array = json_array();
    enum fab_rc rc = fab_attempt_dir_each(cli->home, on_running, &l, &err);
    if (rc == FAB_OK && (rc = fab_job_each(cli->store, cli->ws.id, on_job, &l)) != FAB_OK)
        fab_err_set(&err, rc, "cannot read the records of jobs: %s", fab_rc_text(rc));
    if (rc != FAB_OK) {
        json_decref(l.array);
        return fab_cli_fail(cli, &err);
    }
    if (cli->json)
        fab_out_json(l.array);
    return FAB_EXIT_OK;
}

static const char *const ls_description[] = {
    "Newest first, running ones before: id, state, exit code, end, duration, name or command. "
    "Records are kept for jobs.keep (30 days).",
    "With --quiet only the ids. With --json one array.",
    NULL,
};

const struct fab_command fab_cmd_job_ls = {
    .name = "job ls",
    .summary = "List the jobs that ran here",
    .description = ls_description,
    .run = run_ls,
};

/* ---- job show ---- */

static void show_cid(const char *label, const struct fab_cid *cid)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    fab_out("%-10s %s\n", label, text);
}

static void show_text(const char *label, const char *text)
{
    if (!text[0])
        return;
    fab_out("%-10s ", label);
    fab_out_name(stdout, text, strlen(text));
    fab_out("\n");
}

static void show_time(const char *label, int64_t ms)
{
    char text[40];
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", localtime_r(&seconds, &tm));
    fab_out("%-10s %s\n", label, text);
}

/* The action's block, which the record pins. */
static enum fab_rc read_action(struct fab_cli *cli, const struct fab_cid *cid,
                               struct fab_action *out)
{
    struct fab_view *view;
    struct fab_slice block;
    FAB_TRY(fab_view_open(cli->store, cli->ws.id, &view, NULL));
    enum fab_rc rc = fab_view_get(view, cid, &block);
    if (rc == FAB_OK)
        rc = fab_action_decode(block, out);
    fab_view_close(view);
    return rc;
}

static void show_action(const struct fab_action *a)
{
    char text[FAB_CID_TEXT_MAX];
    fab_out("%-10s", "command");
    for (size_t i = 0; i < a->n_args; i++) {
        fab_out(" ");
        fab_out_name(stdout, a->args[i], strlen(a->args[i]));
    }
    fab_out("\n");
    for (size_t i = 0; i < a->n_env; i++) {
        fab_out("%-10s ", "env");
        fab_out_name(stdout, a->env[i].name, strlen(a->env[i].name));
        fab_out("=");
        fab_out_name(stdout, a->env[i].value, strlen(a->env[i].value));
        fab_out("\n");
    }
    for (size_t i = 0; i < a->n_inputs; i++) {
        fab_cid_text(&a->inputs[i].cid, text);
        fab_out("%-10s %s=%s\n", "input", a->inputs[i].name, text);
    }
    if (a->has_image)
        show_cid("image", &a->image);
    fab_out("%-10s %s\n%-10s %s\n", "arch", a->arch, "network", a->network_host ? "host" : "none");
}

static json_t *action_json(const struct fab_action *a)
{
    json_t *object = json_object(), *args = json_array(), *env = json_object();
    json_t *inputs = json_object();
    for (size_t i = 0; i < a->n_args; i++)
        fab_json_append(args, json_string(a->args[i]));
    for (size_t i = 0; i < a->n_env; i++)
        fab_json_set_text(env, a->env[i].name, a->env[i].value);
    for (size_t i = 0; i < a->n_inputs; i++)
        fab_json_set_cid(inputs, a->inputs[i].name, &a->inputs[i].cid);
    fab_json_set_json(object, "command", args);
    fab_json_set_json(object, "env", env);
    fab_json_set_json(object, "inputs", inputs);
    fab_json_set_text(object, "arch", a->arch);
    fab_json_set_text(object, "network", a->network_host ? "host" : "none");
    if (a->has_image)
        fab_json_set_cid(object, "image", &a->image);
    return object;
}

static void show(const struct fab_job *j, const struct fab_action *a)
{
    char text[FAB_HUMAN_MAX];
    fab_out("%-10s %s\n", "id", j->id);
    show_text("name", j->name);
    fab_out("%-10s %s\n%-10s %d\n", "state", fab_job_state_text(j->state), "exit", j->exit_code);
    show_text("reason", j->reason);
    if (a)
        show_action(a);
    else
        show_text("command", j->command);
    show_text("node", j->node);
    show_text("unenforced", j->unenforced);
    fab_out("%-10s %lld\n", "priority", (long long)j->priority);
    show_time("started", j->started);
    show_time("ended", j->ended);
    fab_out("%-10s %s\n", "took", fab_human_time((double)(j->ended - j->started) / 1000, text));
    fab_out("%-10s %.3f s\n", "cpu", (double)j->cpu_usec / 1e6);
    fab_out("%-10s %s\n", "memory", fab_human_size(j->memory_peak, text));
    show_cid("action", &j->action);
    if (!j->has_results)
        return;
    show_cid("out", &j->out);
    show_cid("stdout", &j->out_log);
    show_cid("stderr", &j->err_log);
    show_cid("result", &j->result);
}

static int run_show(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_job job;
    struct fab_action action = {0};
    if (open_store(cli, &err) != FAB_OK ||
        fab_job_find(cli->store, cli->ws.id, fab_args_at(args, 0), &job, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    bool known = read_action(cli, &job.action, &action) == FAB_OK;
    if (cli->json) {
        json_t *object = job_json(&job);
        if (known)
            fab_json_set_json(object, "description", action_json(&action));
        fab_out_json(object);
    } else if (cli->quiet) {
        char text[FAB_CID_TEXT_MAX];
        if (job.has_results) {
            fab_cid_text(&job.out, text);
            fab_out("%s\n", text);
        }
    } else {
        show(&job, known ? &action : NULL);
    }
    fab_action_fini(&action);
    return FAB_EXIT_OK;
}

static const char *const show_description[] = {
    "What it was asked to do, how it ended, what it used, and the CIDs of what came out. An id may "
    "be "
    "cut short.",
    "With --quiet only the CID of /out. With --json one object.",
    NULL,
};

const struct fab_command fab_cmd_job_show = {
    .name = "job show",
    .summary = "Show one job",
    .synopsis = "ID",
    .description = show_description,
    .min_args = 1,
    .max_args = 1,
    .run = run_show,
};

/* ---- job logs ---- */

struct running {
    const char *wanted;
    char id[FAB_ATTEMPT_ID_MAX + 1];
};

static void match_running(void *arg, const char *id)
{
    struct running *r = arg;
    if (strncmp(id, r->wanted, strlen(r->wanted)) == 0)
        snprintf(r->id, sizeof r->id, "%s", id);
}

static bool is_running(struct fab_cli *cli, const char *id, char full[FAB_ATTEMPT_ID_MAX + 1])
{
    struct running r = {.wanted = id};
    struct fab_err err;
    if (fab_attempt_dir_each(cli->home, match_running, &r, &err) != FAB_OK || !r.id[0])
        return false;
    memcpy(full, r.id, sizeof r.id);
    return true;
}

/* Give what a file has beyond *from to our own descriptor `to`. False when nobody reads it. */
static bool copy_more(int file, int to, off_t *from)
{
    char chunk[65536];
    ssize_t n;
    while ((n = pread(file, chunk, sizeof chunk, *from)) > 0) {
        *from += n;
        for (ssize_t done = 0; done < n;) {
            ssize_t wrote = write(to, chunk + done, (size_t)(n - done));
            if (wrote < 0 && errno != EINTR)
                return false;
            done += wrote > 0 ? wrote : 0;
        }
    }
    return true;
}

static enum fab_rc copy_running(struct fab_cli *cli, const char *id, bool follow)
{
    static const char *const names[2] = {"stdout", "stderr"};
    int files[2] = {-1, -1};
    off_t from[2] = {0, 0};
    char full[FAB_ATTEMPT_ID_MAX + 1];
    for (int i = 0; i < 2; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/jobs/%s/%s", cli->home, id, names[i]);
        files[i] = open(path, O_RDONLY | O_CLOEXEC);
    }
    for (bool more = true; more;) {
        /* Asked before the copy, so that the last words are copied too. */
        more = follow && !atomic_load(cli->cancel) && is_running(cli, id, full);
        for (int i = 0; i < 2; i++)
            if (files[i] >= 0 && !copy_more(files[i], i + 1, &from[i]))
                more = false;
        if (more)
            nanosleep(&(struct timespec){.tv_nsec = FOLLOW_PAUSE}, NULL);
    }
    for (int i = 0; i < 2; i++)
        if (files[i] >= 0)
            close(files[i]);
    return atomic_load(cli->cancel) ? FAB_EINTERRUPTED : FAB_OK;
}

static int run_logs(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_job job;
    char id[FAB_ATTEMPT_ID_MAX + 1];
    const char *wanted = fab_args_at(args, 0);
    const struct fab_cat_options all = {.length = UINT64_MAX, .watch = {.cancel = cli->cancel}};
    if (open_store(cli, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (*wanted && is_running(cli, wanted, id)) {
        err.rc = copy_running(cli, id, fab_args_given(args, "follow"));
        return err.rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
    }
    if (fab_job_find(cli->store, cli->ws.id, wanted, &job, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (!job.has_results)
        return fab_cli_failf(cli, "job %s was interrupted: its logs were not kept", job.id);
    if (fab_cat(cli->store, cli->ws.id, &job.out_log, &all, STDOUT_FILENO, NULL, &err) != FAB_OK ||
        fab_cat(cli->store, cli->ws.id, &job.err_log, &all, STDERR_FILENO, NULL, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    return FAB_EXIT_OK;
}

static const char *const logs_description[] = {
    "The job's stdout goes to stdout, its stderr to stderr. Of a running job what there is so far.",
    NULL,
};

static const struct fab_option logs_options[] = {
    {.name = "follow", .letter = 'f', .help = "Go on until the job has ended."},
    {.name = NULL},
};

const struct fab_command fab_cmd_job_logs = {
    .name = "job logs",
    .summary = "Print what a job wrote",
    .synopsis = "ID",
    .description = logs_description,
    .options = logs_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_logs,
};

/* ---- job rm ---- */

static int run_rm(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    if (open_store(cli, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    for (size_t i = 0; i < fab_args_count(args); i++) {
        struct fab_job job;
        if (fab_job_find(cli->store, cli->ws.id, fab_args_at(args, i), &job, &err) != FAB_OK ||
            fab_job_remove(cli->store, cli->ws.id, &job, &err) != FAB_OK)
            return fab_cli_fail(cli, &err);
        if (cli->json) {
            json_t *object = json_object();
            fab_json_set_text(object, "id", job.id);
            fab_out_json_line(object);
        } else {
            fab_out("%s%s\n", cli->quiet ? "" : "removed ", job.id);
        }
    }
    return FAB_EXIT_OK;
}

static const char *const rm_description[] = {
    "Forgets the record and lets go of its /out and logs, which stay until `fabric gc` unless "
    "something else pins them. While their blocks are there, the same job is still remembered.",
    "With --quiet only the ids. With --json one line per job: id.",
    NULL,
};

const struct fab_command fab_cmd_job_rm = {
    .name = "job rm",
    .summary = "Forget jobs and let go of what they left",
    .synopsis = "ID...",
    .description = rm_description,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_rm,
};
