#include "scheduler/exec/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int set_files(posix_spawn_file_actions_t *actions, const struct fab_spawn *spawn)
{
    int failed = 0;
    for (int i = 0; i < 5 && !failed; i++) {
        if (spawn->fds[i] >= 0)
            failed = posix_spawn_file_actions_adddup2(actions, spawn->fds[i], i);
        else if (i < 3)
            failed = posix_spawn_file_actions_addopen(actions, i, "/dev/null",
                                                      i == 0 ? O_RDONLY : O_WRONLY, 0);
    }
    if (!failed && spawn->dir)
        failed = posix_spawn_file_actions_addchdir_np(actions, spawn->dir);
    return failed;
}

enum fab_rc fab_spawn(const struct fab_spawn *spawn, pid_t *out, struct fab_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (spawn->new_session)
        flags |= POSIX_SPAWN_SETSID;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed)
        return fab_err_errno(err, failed, "cannot start %s", spawn->argv[0]);
    if ((failed = posix_spawnattr_init(&attr)))
        goto no_attr;
    pid_t pid = 0;
    failed = set_files(&actions, spawn);
    if (!failed)
        failed = posix_spawnattr_setflags(&attr, flags);
    if (!failed)
        failed = posix_spawnattr_setsigmask(&attr, &none);
    if (!failed)
        failed = posix_spawnattr_setsigdefault(&attr, &all);
    if (!failed)
        failed = posix_spawn(&pid, spawn->argv[0], &actions, &attr, (char *const *)spawn->argv,
                             (char *const *)spawn->env);
    posix_spawnattr_destroy(&attr);
no_attr:
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return fab_err_errno(err, failed, "cannot start %s", spawn->argv[0]);
    *out = pid;
    return FAB_OK;
}

int fab_spawn_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

enum fab_rc fab_spawn_run(const struct fab_spawn *spawn, struct fab_err *err)
{
    pid_t pid;
    FAB_TRY(fab_spawn(spawn, &pid, err));
    int status = fab_spawn_wait(pid);
    if (status < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fab_err_set(err, FAB_EIO, "%s ended with %d", spawn->argv[0],
                           status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return FAB_OK;
}

int fab_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

void fab_pidfd_kill(int pidfd, pid_t pid)
{
    if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    else if (pid > 0)
        kill(pid, SIGKILL);
}
