/* The daemon of this home: started, and ended. */
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/home.h"
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_NAME   "fabricd.log"
#define START_MS   60000
#define STOP_MS    30000
#define STEP_MS    20
#define LOG_TAIL   4096
#define LISTEN_MAX 8

/* False when the user interrupts. */
static bool pause_ms(const struct fab_cli *cli, long ms)
{
    struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
    return !atomic_load(cli->cancel);
}

/* ---- up ---- */

/* Beside this program, else by the search path. Owned by the caller. */
static char *find_fabricd(void)
{
    char self[PATH_MAX + sizeof "/fabricd"];
    ssize_t n = readlink("/proc/self/exe", self, PATH_MAX);
    char *slash = NULL;
    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
    }
    if (slash) {
        memcpy(slash, "/fabricd", sizeof "/fabricd");
        if (access(self, X_OK) == 0)
            return strdup(self);
    }
    return strdup("fabricd");
}

/* Its command line; the texts are borrowed. NULL: no memory. */
static char **make_argv(const struct fab_cli *cli, const struct fab_args *args, char *program)
{
    size_t n = fab_args_repeats(args, "listen"), at = 0;
    char **argv = calloc(4 + 2 * n, sizeof *argv);
    if (!argv)
        return NULL;
    argv[at++] = program;
    argv[at++] = "--home";
    argv[at++] = (char *)cli->home;
    for (size_t i = 0; i < n; i++) {
        argv[at++] = "--listen";
        argv[at++] = (char *)fab_args_repeat(args, "listen", i);
    }
    return argv;
}

/* The last line of the log that this start wrote, without what a line of its own begins with. */
static void last_line(int log, off_t from, struct fab_err *err)
{
    char tail[LOG_TAIL + 1];
    off_t end = lseek(log, 0, SEEK_END), begin = end - LOG_TAIL > from ? end - LOG_TAIL : from;
    ssize_t n = pread(log, tail, LOG_TAIL, begin);
    if (n <= 0)
        return;
    tail[n] = '\0';
    while (n > 0 && tail[n - 1] == '\n')
        tail[--n] = '\0';
    const char *line = strrchr(tail, '\n');
    line = line ? line + 1 : tail;
    if (!strncmp(line, "fabric: ", 8))
        line += 8;
    if (line[0])
        fab_err_set(err, err->rc, "%s", line);
}

static pid_t start(char *const *argv, int log)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    setsid();
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigemptyset(&standard.sa_mask);
    sigaction(SIGINT, &standard, NULL);
    sigaction(SIGTERM, &standard, NULL);
    sigaction(SIGHUP, &standard, NULL);
    if (null < 0 || chdir("/") != 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(127);
    execvp(argv[0], argv);
    static const char text[] = "fabric: the program fabricd was not found beside fabric or in "
                               "PATH; install it\n";
    (void)!write(2, text, sizeof text - 1);
    _exit(127);
}

static void print_up(struct fab_cli *cli, const json_t *status, const char *state)
{
    const json_t *addresses = json_object_get(status, "addresses");
    size_t i;
    json_t *address;
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "peer_id", fab_json_text(status, "peer_id"));
        fab_json_set_uint(object, "pid", fab_json_uint(status, "pid"));
        fab_json_set_json(object, "addresses", json_deep_copy(addresses));
        fab_out_json(object);
        return;
    }
    fab_out("%s\n", fab_json_text(status, "peer_id"));
    if (cli->quiet)
        return;
    fab_cli_note(cli, "the daemon %s, process %llu", state,
                 (unsigned long long)fab_json_uint(status, "pid"));
    json_array_foreach(addresses, i, address)
    {
        fab_cli_note(cli, "listening on %s", json_string_value(address));
    }
}

/* Until it answers. It listens before it serves the socket's first request. */
static enum fab_rc await(struct fab_cli *cli, pid_t pid, json_t **status, struct fab_err *err)
{
    struct fab_daemon *daemon;
    for (int waited = 0; waited < START_MS; waited += STEP_MS) {
        int how;
        if (waitpid(pid, &how, WNOHANG) == pid)
            return fab_err_set(err, FAB_EIO, "the daemon ended at once");
        if (fab_daemon_find(cli, &daemon, err) == FAB_OK &&
            fab_daemon_ask(daemon, "GET", "/api/v1/status", status, err) == FAB_OK)
            return FAB_OK;
        if (!pause_ms(cli, STEP_MS))
            return fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
    }
    return fab_err_set(err, FAB_ETIMEOUT, "the daemon does not answer after %d seconds",
                       START_MS / 1000);
}

static int detach(struct fab_cli *cli, char *const *argv)
{
    struct fab_err err = {0};
    char *path = NULL;
    json_t *status = NULL;
    int code = FAB_EXIT_OK, log = -1;
    if (fab_home_file(cli->home, LOG_NAME, &path, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    off_t from = log < 0 ? 0 : lseek(log, 0, SEEK_END);
    pid_t pid = log < 0 ? -1 : start(argv, log);
    if (pid < 0) {
        code = fab_cli_failf(cli, "the daemon cannot be started with its log %s: %s", path,
                             strerror(errno));
    } else if (await(cli, pid, &status, &err) == FAB_OK) {
        print_up(cli, status, "runs");
    } else {
        if (err.rc == FAB_EINTERRUPTED)
            kill(pid, SIGTERM);
        if (err.rc == FAB_EIO)
            last_line(log, from, &err);
        code = fab_cli_fail(cli, &err);
    }
    json_decref(status);
    if (log >= 0)
        close(log);
    free(path);
    return code;
}

static int run_up(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    json_t *status = NULL;
    if (fab_args_repeats(args, "listen") > LISTEN_MAX)
        return fab_cli_usage(cli, "up: --listen is given more than %d times", LISTEN_MAX);
    if (fab_home_make(cli->home, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    enum fab_rc rc = fab_daemon_find(cli, &daemon, &err);
    if (rc == FAB_OK && fab_daemon_ask(daemon, "GET", "/api/v1/status", &status, &err) == FAB_OK) {
        print_up(cli, status, "runs already");
        json_decref(status);
        return FAB_EXIT_OK;
    }
    if (rc != FAB_ENOENT)
        return fab_cli_fail(cli, &err);
    char *program = find_fabricd();
    char **argv = program ? make_argv(cli, args, program) : NULL;
    int code;
    if (!argv) {
        code = fab_cli_failf(cli, "out of memory");
    } else if (fab_args_given(args, "detach")) {
        code = detach(cli, argv);
    } else {
        execvp(program, argv);
        code = fab_cli_failf(cli, "the program fabricd cannot be run: %s", strerror(errno));
    }
    free(argv);
    free(program);
    return code;
}

static const char *const up_description[] = {
    "Runs fabricd: it serves the workspaces of this home to their peers, and fetches from them "
    "what "
    "commands need. Only workspaces with a swarm key have peers (`fabric workspace create`, "
    "`import-key`); those that are made later are served without a restart.",
    "Without --detach it stays in the foreground and logs to stderr. With it the daemon logs to "
    "fabricd.log in the home, and the command returns when it listens, with the peer ID on stdout. "
    "Where a daemon runs already, only that is printed.",
    "With --detach and --json: peer_id, pid, addresses.",
    NULL,
};

static const struct fab_option up_options[] = {
    {.name = "detach", .help = "Start it in the background and return when it listens."},
    {.name = "listen",
     .type = FAB_OPTION_STRING,
     .repeat = true,
     .metavar = "MULTIADDR",
     .help = "Listen here, such as /ip4/0.0.0.0/tcp/4001; may be repeated. Default: `listen` in "
             "fabric.conf, else port 4001 on all addresses."},
    {.name = NULL},
};

static const struct fab_example up_examples[] = {
    {"fabric up --detach", "Start the daemon."},
    {"fabric up --listen /ip4/10.0.0.5/tcp/4101", "Stay in the foreground, on one address."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_up = {
    .name = "up",
    .summary = "Start the daemon",
    .description = up_description,
    .options = up_options,
    .examples = up_examples,
    .run = run_up,
};

/* ---- down ---- */

/* Until the process has ended: it closes its socket before that. `handle` is -1 where the kernel
 * has no such handles. */
static enum fab_rc await_end(struct fab_cli *cli, pid_t pid, int handle)
{
    for (int waited = 0; waited < STOP_MS; waited += STEP_MS) {
        struct pollfd poller = {.fd = handle, .events = POLLIN};
        if (handle >= 0 ? poll(&poller, 1, STEP_MS) > 0 : kill(pid, 0) != 0 && errno == ESRCH)
            return FAB_OK;
        if (handle < 0)
            pause_ms(cli, STEP_MS);
        if (atomic_load(cli->cancel))
            return FAB_EINTERRUPTED;
    }
    return FAB_ETIMEOUT;
}

static int run_down(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    json_t *status = NULL;
    (void)args;
    enum fab_rc rc = fab_daemon_find(cli, &daemon, &err);
    if (rc == FAB_ENOENT) {
        fab_cli_note(cli, "no daemon runs on the home %s", cli->home);
        return FAB_EXIT_OK;
    }
    if (rc == FAB_OK)
        rc = fab_daemon_ask(daemon, "GET", "/api/v1/status", &status, &err);
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    pid_t pid = (pid_t)fab_json_uint(status, "pid");
    json_decref(status);
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    rc = fab_daemon_ask(daemon, "POST", "/api/v1/shutdown", NULL, &err);
    if (rc == FAB_EIO || rc == FAB_ENOENT) /* it ended before its answer was read */
        rc = FAB_OK;
    if (rc == FAB_OK) {
        rc = await_end(cli, pid, handle);
        if (rc == FAB_ETIMEOUT)
            fab_err_set(&err, rc,
                        "the daemon, process %d, has not ended after %d seconds; see "
                        "%s/" LOG_NAME,
                        (int)pid, STOP_MS / 1000, cli->home);
        else if (rc != FAB_OK)
            fab_err_set(&err, rc, "interrupted");
    }
    if (handle >= 0)
        close(handle);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const down_description[] = {
    "Ends the daemon of this home, and returns when it has ended, 30 seconds later at most. "
    "Transfers are cut off; what was fetched so far stays for the next attempt.",
    NULL,
};

const struct fab_command fab_cmd_down = {
    .name = "down",
    .summary = "End the daemon",
    .description = down_description,
    .run = run_down,
};
