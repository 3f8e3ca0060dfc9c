#include "scheduler/exec/members.h"

#include "scheduler/exec/spawn.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only descriptor 1: any other may be a file system that does not answer, or have been handed to a
 * stranger. Without synchronisation, for the same reason. */
static bool writes_log(pid_t pid, const struct statx *log)
{
    char path[64], line[128];
    struct statx st;
    unsigned flags = 0;
    bool known = false;
    snprintf(path, sizeof path, "/proc/%d/fd/1", (int)pid);
    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO, &st) != 0 ||
        st.stx_ino != log->stx_ino || st.stx_dev_major != log->stx_dev_major ||
        st.stx_dev_minor != log->stx_dev_minor)
        return false;
    snprintf(path, sizeof path, "/proc/%d/fdinfo/1", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (!known && fgets(line, sizeof line, f))
        known = sscanf(line, "flags: %o", &flags) == 1;
    fclose(f);
    return known && (flags & O_ACCMODE) != O_RDONLY;
}

static bool in_group(pid_t pid, const char *group)
{
    char path[32], line[1024];
    bool found = false;
    size_t n = strlen(group);
    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f)) {
        size_t end = strcspn(line, "\n");
        found = end >= n && memcmp(line + end - n, group, n) == 0;
    }
    fclose(f);
    return found;
}

/* A zombie is still listed in its group, until its parent looks: it has ended. */
static bool is_zombie(pid_t pid)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    return name_end && strncmp(name_end, ") Z", 3) == 0;
}

/* conmon keeps the log under a number of its own until it has started the runtime. */
static bool is_conmon(pid_t pid, const char *dir)
{
    char path[32], *arg = NULL, name[16] = "";
    size_t room = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool conmon = fgets(name, sizeof name, f) && strcmp(name, "conmon\n") == 0;
    fclose(f);
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    f = conmon ? fopen(path, "re") : NULL;
    if (!f)
        return false;
    while (!found && getdelim(&arg, &room, '\0', f) > 0)
        found = strcmp(arg, dir) == 0;
    free(arg);
    fclose(f);
    return found;
}

struct attempt {
    const char *group, *dir;
    bool logged; /* the following is known */
    struct statx log;
};

static bool belongs(pid_t pid, const struct attempt *attempt)
{
    return (in_group(pid, attempt->group) && !is_zombie(pid)) || is_conmon(pid, attempt->dir) ||
           (attempt->logged && writes_log(pid, &attempt->log));
}

size_t fab_members_kill(int log, const char *group, const char *dir)
{
    struct attempt attempt = {.group = group, .dir = dir};
    size_t killed = 0;
    attempt.logged = statx(log, "", AT_EMPTY_PATH, STATX_INO, &attempt.log) == 0;
    DIR *all = opendir("/proc");
    if (!all)
        return 0;
    for (struct dirent *e; (e = readdir(all));) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)strtol(e->d_name, NULL, 10) : 0;
        if (pid <= 0 || pid == getpid() || !belongs(pid, &attempt))
            continue;
        /* The number may have become another's: what is looked at with a handle open is what the
         * handle is on. */
        int handle = fab_pidfd(pid);
        if (belongs(pid, &attempt)) {
            fab_pidfd_kill(handle, pid);
            killed++;
        }
        if (handle >= 0)
            close(handle);
    }
    closedir(all);
    return killed;
}
