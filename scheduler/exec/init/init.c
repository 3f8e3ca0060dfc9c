/* fabric-init: process 1 of every job.
 *
 * The kernel ignores signals with default action that process 1 sends to itself, so a job that ran
 * as process 1 could not abort() or kill itself, and its orphans would stay zombies. This program,
 * linked statically because an image may hold no C library, starts the command as its child, reaps
 * whatever ends, passes signals on, and ends as the command ended: its exit code, 128+N for signal
 * N, 126 or 127 when it cannot be run. With it the whole process namespace ends, daemonised
 * children included. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, const char *what)
{
    char line[512];
    int n = snprintf(line, sizeof line, "fabric: %.400s: %s\n", name, what);
    if (n > 0 && write(2, line, (size_t)n) < 0)
        return;
}

static void run_command(char **argv, const sigset_t *mask)
{
    sigprocmask(SIG_SETMASK, mask, NULL);
    setsid();
    execvp(argv[0], argv);
    int err = errno;
    if (err == ENOENT || err == ENOTDIR) {
        say(argv[0], "command not found in the job's root file system");
        _exit(127);
    }
    say(argv[0], strerror(err));
    _exit(126);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        say("fabric-init", "no command");
        return 125;
    }
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    sigemptyset(&old);

    /* The command must not trace, and so stop, the process that reaps it; its own exec undoes this.
     */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    pid_t child = fork();
    if (child < 0) {
        say(argv[1], strerror(errno));
        return 125;
    }
    if (child == 0)
        run_command(argv + 1, &old);

    for (;;) {
        int sig = sigwaitinfo(&all, NULL);
        if (sig < 0)
            continue;
        if (sig != SIGCHLD) {
            kill(-child, sig);
            continue;
        }
        for (;;) {
            int status;
            pid_t pid = waitpid(-1, &status, WNOHANG);
            if (pid <= 0)
                break;
            if (pid == child)
                return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}
