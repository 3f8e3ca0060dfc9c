#include "cli/command.h"
#include "cli/output.h"
#include "cli/target.h"
#include "scheduler/ledger/run.h"
#include "storage/dag/utf8.h"
#include "storage/files/get.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_FABRIC 125

struct stream {
    struct fab_cli *cli;
    bool closed;   /* nobody reads our stdout any more */
    int failed[2]; /* why stdout, stderr took no more: an errno. The job goes on, its logs are kept
                    */
};

/* Straight to the descriptor: what a job writes is bytes, and is wanted at once. A pipe that poll()
 * calls writable takes PIPE_BUF bytes without waiting. */
static ssize_t on_output(void *arg, int stream, const void *bytes, size_t n)
{
    struct stream *s = arg;
    const char *p = bytes;
    size_t done = 0;
    if (s->cli->quiet || (s->cli->json && stream == STDOUT_FILENO) || s->failed[stream - 1])
        return (ssize_t)n;
    while (done < n) {
        struct pollfd on = {.fd = stream, .events = POLLOUT};
        if (poll(&on, 1, 0) == 0)
            break;
        ssize_t wrote = write(stream, p + done, n - done < PIPE_BUF ? n - done : PIPE_BUF);
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
            break;
        if (wrote < 0 && errno == EPIPE) {
            s->closed = true;
            return -1;
        }
        if (wrote < 0) {
            s->failed[stream - 1] = errno;
            return (ssize_t)n;
        }
        done += (size_t)wrote;
    }
    return (ssize_t)done;
}

static void on_warning(void *arg, const char *line)
{
    struct stream *s = arg;
    fab_cli_note(s->cli, "%s", line);
}

static void say_cid(const char *what, const struct fab_cid *cid)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    fprintf(stderr, "%s %s\n", what, text);
}

static void print_json(const struct fab_job_outcome *out)
{
    const struct fab_job *j = &out->job;
    json_t *object = json_object();
    if (j->id[0])
        fab_json_set_text(object, "id", j->id);
    fab_json_set_text(object, "state", fab_job_state_text(j->state));
    fab_json_set_uint(object, "exit", (uint64_t)j->exit_code);
    fab_json_set_bool(object, "remembered", out->remembered);
    fab_json_set_cid(object, "action", &j->action);
    if (j->has_results) {
        fab_json_set_cid(object, "out", &j->out);
        fab_json_set_cid(object, "stdout", &j->out_log);
        fab_json_set_cid(object, "stderr", &j->err_log);
        fab_json_set_cid(object, "result", &j->result);
    }
    fab_json_set_text(object, "reason", j->reason);
    fab_json_set_text(object, "unenforced", j->unenforced);
    fab_json_set_uint(object, "started", (uint64_t)j->started);
    fab_json_set_uint(object, "ended", (uint64_t)j->ended);
    fab_json_set_uint(object, "cpu_usec", j->cpu_usec);
    fab_json_set_uint(object, "memory_peak", j->memory_peak);
    fab_out_json(object);
}

/* A remembered job has written its logs long ago; they are given again. */
static enum fab_rc replay(struct fab_cli *cli, const struct fab_job *job, struct fab_err *err)
{
    const struct fab_cat_options options = {.length = UINT64_MAX, .watch = {.cancel = cli->cancel}};
    if (!cli->json && !cli->quiet)
        FAB_TRY(fab_cat(cli->store, cli->ws.id, &job->out_log, &options, STDOUT_FILENO, NULL, err));
    if (!cli->quiet)
        FAB_TRY(fab_cat(cli->store, cli->ws.id, &job->err_log, &options, STDERR_FILENO, NULL, err));
    return FAB_OK;
}

static int report(struct fab_cli *cli, const struct stream *stream,
                  const struct fab_job_outcome *out)
{
    const struct fab_job *j = &out->job;
    char text[FAB_CID_TEXT_MAX];
    if (j->state == FAB_JOB_CANCELLED && stream->closed)
        return 128 + SIGPIPE;
    if (j->reason[0] && j->state != FAB_JOB_CANCELLED)
        fab_cli_failf(cli, "job %s: %s", j->id, j->reason);
    if (j->state == FAB_JOB_CANCELLED) {
        fab_cli_failf(cli, "job %s was interrupted; nothing of it is left", j->id);
        return FAB_EXIT_INTERRUPTED;
    }
    if (cli->json) {
        print_json(out);
    } else if (cli->quiet) {
        fab_cid_text(&j->out, text);
        fab_out("%s\n", text);
    } else {
        if (out->remembered)
            fab_cli_note(cli, "remembered from an earlier run; --no-cache runs it again");
        say_cid("result", &j->out);
    }
    int failed = stream->failed[0] ? stream->failed[0] : stream->failed[1];
    if (!failed)
        return j->exit_code;
    fab_cli_failf(cli, "standard %s: %s; `fabric job logs %s` has all of it",
                  stream->failed[0] ? "output" : "error", strerror(failed), j->id);
    return EXIT_FABRIC;
}

/* "2", "0.5", "1.25" to thousandths. */
static enum fab_rc parse_cpu(const char *text, uint64_t *out)
{
    char *end;
    if (!*text || !strchr("0123456789.", *text))
        return FAB_EINVAL;
    double v = strtod(text, &end);
    if (*end || !(v >= 0.01) || v > 100000)
        return FAB_EINVAL;
    *out = (uint64_t)(v * 1000 + 0.5);
    return FAB_OK;
}

static int read_options(struct fab_cli *cli, const struct fab_args *args, struct fab_job_request *r)
{
    const char *network = fab_args_string(args, "network");
    const char *cpu = fab_args_string(args, "cpu");
    const char *priority = fab_args_string(args, "priority");
    if (fab_args_given(args, "detach"))
        return fab_cli_usage(cli, "job run: --detach needs the daemon of a later release; run it "
                                  "in the background of your shell instead");
    if (network && strcmp(network, "host") != 0 && strcmp(network, "none") != 0)
        return fab_cli_usage(cli, "job run: --network is none or host, not '%s'", network);
    if (cpu && parse_cpu(cpu, &r->cpu_milli) != FAB_OK)
        return fab_cli_usage(cli, "job run: --cpu must be a number of CPUs from 0.01, not '%s'",
                             cpu);
    if (priority) {
        char *end;
        long v = strtol(priority, &end, 10);
        if (!*priority || *end || v < -1000 || v > 1000)
            return fab_cli_usage(
                cli, "job run: --priority is a number from -1000 to 1000, not '%s'", priority);
        r->priority = v;
    }
    static const char *const positive[] = {"memory", "disk", "timeout", NULL};
    for (size_t i = 0; positive[i]; i++)
        if (fab_args_given(args, positive[i]) && fab_args_number(args, positive[i], 0) == 0)
            return fab_cli_usage(cli, "job run: --%s must be more than 0", positive[i]);
    if (fab_args_given(args, "memory") && fab_args_number(args, "memory", 0) < (4u << 20))
        return fab_cli_usage(cli, "job run: --memory must be at least 4M");
    if (fab_args_number(args, "gpu", 0) > 64)
        return fab_cli_usage(cli, "job run: --gpu is at most 64");
    r->name = fab_args_string(args, "name");
    if (r->name && (strlen(r->name) > FAB_JOB_NAME_MAX || !*r->name))
        return fab_cli_usage(cli, "job run: --name must have 1 to %d bytes", FAB_JOB_NAME_MAX);
    if (r->name && !fab_utf8_valid(fab_slice(r->name, strlen(r->name))))
        return fab_cli_usage(cli, "job run: --name must be UTF-8");
    r->image = fab_args_string(args, "image");
    r->network_host = network && strcmp(network, "host") == 0;
    r->no_cache = fab_args_given(args, "no-cache");
    r->memory = fab_args_number(args, "memory", 0);
    r->disk = fab_args_number(args, "disk", 0);
    r->timeout_ms = fab_args_number(args, "timeout", 0);
    r->gpus = (unsigned)fab_args_number(args, "gpu", 0);
    r->gpu_memory = fab_args_number(args, "gpu-memory", 0);
    return FAB_EXIT_OK;
}

static const char **repeated(const struct fab_args *args, const char *name, size_t *n)
{
    *n = fab_args_repeats(args, name);
    const char **list = calloc(*n + 1, sizeof *list);
    for (size_t i = 0; list && i < *n; i++)
        list[i] = fab_args_repeat(args, name, i);
    return list;
}

/* Inputs and the image by CID come to this node first, where a daemon can fetch them; the leases
 * keep them until the job has its own. */
static enum fab_rc fetch_content(struct fab_cli *cli, const struct fab_job_request *r,
                                 struct fab_target *held, size_t *n, struct fab_err *err)
{
    if (!fab_cli_fetch_possible(cli))
        return FAB_OK;
    for (size_t i = 0; i <= r->n_inputs; i++) {
        const char *equals = i < r->n_inputs ? strchr(r->inputs[i], '=') : NULL;
        const char *value = i < r->n_inputs ? (equals ? equals + 1 : NULL) : r->image;
        struct fab_cid cid;
        struct fab_slice path;
        if (!value || fab_path_parse(value, &cid, &path, NULL) != FAB_OK)
            continue;
        FAB_TRY(fab_target_open(cli, value, &held[*n], err));
        FAB_TRY(fab_target_whole(cli, &held[(*n)++], NULL, err));
    }
    return FAB_OK;
}

static int run_in_store(struct fab_cli *cli, struct fab_job_request *r, struct stream *stream)
{
    struct fab_err err = {0};
    struct fab_job_outcome out;
    size_t n_held = 0;
    int code;
    struct fab_target *held = calloc(r->n_inputs + 1, sizeof *held);
    if (!held) {
        fab_err_set(&err, FAB_ENOMEM, "out of memory");
        goto failed;
    }
    if (fab_cli_open(cli, FAB_CLI_MAKE, &err) != FAB_OK ||
        fetch_content(cli, r, held, &n_held, &err) != FAB_OK)
        goto failed;
    r->store = cli->store;
    r->ws = cli->ws.id;
    r->keep = cli->config.jobs_keep;
    if (fab_job_run(r, &out, &err) != FAB_OK) {
        fab_target_hint(cli, err.rc, &err);
        goto failed;
    }
    if (out.remembered && replay(cli, &out.job, &err) != FAB_OK)
        goto failed;
    code = report(cli, stream, &out);
    if (!out.remembered)
        fab_job_tidy(cli->store, cli->ws.id, cli->home, cli->config.jobs_keep);
    goto out;
failed:
    code = fab_cli_fail(cli, &err) == FAB_EXIT_INTERRUPTED ? FAB_EXIT_INTERRUPTED : EXIT_FABRIC;
out:
    for (size_t i = 0; i < n_held; i++)
        fab_target_close(&held[i]);
    free(held);
    return code;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct stream stream = {.cli = cli};
    struct fab_job_request r = {.home = cli->home,
                                .command = fab_args_all(args),
                                .cancel = cli->cancel,
                                .output = on_output,
                                .output_fds = {STDOUT_FILENO, STDERR_FILENO},
                                .warn = on_warning,
                                .arg = &stream};
    int code = read_options(cli, args, &r);
    if (code != FAB_EXIT_OK)
        return code;
    const char **env = repeated(args, "env", &r.n_env);
    const char **inputs = repeated(args, "input", &r.n_inputs);
    r.env = env;
    r.inputs = inputs;
    if (!env || !inputs) {
        fab_cli_failf(cli, "out of memory");
        code = EXIT_FABRIC;
    } else {
        code = run_in_store(cli, &r, &stream);
    }
    free(env);
    free(inputs);
    return code;
}

static const char *const description[] = {
    "Runs COMMAND in a sandbox on this machine, without a daemon. The command sees a read-only "
    "root "
    "file system (the host's /usr, or an image), its inputs read-only as /in/NAME, an empty /out "
    "to "
    "write results to (also its working directory, unless the image names another), a private "
    "/tmp, "
    "and no network. What it leaves in /out becomes a CID, with modes and hidden entries, without "
    "times; so do its stdout and stderr, which are also shown while it runs. Fifos, sockets and "
    "devices are left out with a remark; what cannot be stored for another reason (too deep a "
    "tree) makes the job a failed one with exit code 125.",
    "The same command with the same environment, inputs, image (or host system) that ended with 0 "
    "before in this workspace is not run again: its result is given at once, if its blocks are "
    "still "
    "there (no limits are checked then). Jobs with network access are not remembered.",
    "It ends with the job's exit code and prints `result CID` (of /out) on stderr. With --quiet "
    "only "
    "that CID, on stdout. With --json one object: id (not of a remembered result), state, exit, "
    "remembered, action, out, "
    "stdout, "
    "stderr, result (the CID of the object that links them), reason, unenforced, started, ended "
    "(milliseconds since 1970), cpu_usec, memory_peak.",
    "A limit given here that this machine cannot enforce ends the job with 125 before it starts; a "
    "default one is only remarked on. As an ordinary user, CPU and memory can be limited only "
    "where "
    "a cgroup is delegated to you: systemd-run --user --scope -p Delegate=yes fabric job run ...",
    NULL,
};

static const struct fab_option options[] = {
    {.name = "input",
     .type = FAB_OPTION_STRING,
     .repeat = true,
     .metavar = "NAME=CID[/PATH]|NAME=PATH",
     .help = "Mount content read-only at /in/NAME. A path is put first."},
    {.name = "env",
     .type = FAB_OPTION_STRING,
     .repeat = true,
     .metavar = "K=V",
     .help = "Set a variable. Nothing of the caller's environment is passed on."},
    {.name = "image",
     .type = FAB_OPTION_STRING,
     .metavar = "CID",
     .help = "Run in this root file system: what `fabric image import` gave, a tree, or an OCI "
             "layout. Its entrypoint is not used."},
    {.name = "cpu",
     .type = FAB_OPTION_STRING,
     .metavar = "N",
     .help = "CPUs that may be used, such as 2 or 0.5. Default: all."},
    {.name = "memory",
     .type = FAB_OPTION_SIZE,
     .metavar = "SIZE",
     .help = "Memory that may be used, swap included. Default: nine tenths of the machine's."},
    {.name = "gpu",
     .type = FAB_OPTION_UINT,
     .metavar = "N",
     .help = "NVIDIA GPUs that the job may use."},
    {.name = "gpu-memory",
     .type = FAB_OPTION_SIZE,
     .metavar = "SIZE",
     .help = "Memory on each GPU. Not enforceable in this version, and therefore refused."},
    {.name = "disk",
     .type = FAB_OPTION_SIZE,
     .metavar = "SIZE",
     .help =
         "Disk that /out, /tmp and the output may take together. Measured several times a second, "
         "so a fast writer can pass it briefly; no single file can. Default: half of what is "
         "free."},
    {.name = "timeout",
     .type = FAB_OPTION_DURATION,
     .metavar = "D",
     .help = "Time after which the job and everything it started is killed (exit code 124)."},
    {.name = "network",
     .type = FAB_OPTION_STRING,
     .metavar = "none|host",
     .help = "none, the default, or the host's network."},
    {.name = "no-cache", .help = "Run even if the result is remembered."},
    {.name = "priority",
     .type = FAB_OPTION_STRING,
     .metavar = "P",
     .help = "A number that is recorded; it will order jobs that wait."},
    {.name = "name", .type = FAB_OPTION_STRING, .metavar = "N", .help = "A name for lists."},
    {.name = "detach", .help = "Belongs to the daemon of a later release; refused."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric job run -- sh -c 'echo hello > greeting'", "Run a command and keep its /out."},
    {"fabric job run --input data=./set --memory 2G -- wc -l /in/data/a.csv",
     "Give it a folder, and a limit."},
    {"fabric job run --image $(fabric image import -q app.tar) -- /app/main",
     "Run in an image that `docker save` wrote."},
    {NULL, NULL},
};

static const struct fab_exit_code exit_codes[] = {
    {"N", "the job's own exit code"},
    {"124", "the time limit was reached"},
    {"125", "fabric could not run the job"},
    {"126", "the command cannot be executed"},
    {"127", "the command was not found"},
    {"128+N", "the job was ended by signal N; 137 also when it reached its memory or disk limit"},
    {NULL, NULL},
};

const struct fab_command fab_cmd_job_run = {
    .name = "job run",
    .summary = "Run a command in a sandbox and keep what it leaves",
    .synopsis = "-- COMMAND ARG...",
    .description = description,
    .options = options,
    .examples = examples,
    .exit_codes = exit_codes,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .options_first = true,
    .run = run,
};
