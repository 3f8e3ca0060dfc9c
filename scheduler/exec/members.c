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

struct attempt {
    const char *group;
    bool logged; /* the following is known */
    struct statx log;
};

static bool belongs(pid_t pid, const struct attempt *attempt)
{
    return in_group(pid, attempt->group) || (attempt->logged && writes_log(pid, &attempt->log));
}

size_t fab_members_kill(int log, const char *group)
{
    struct attempt attempt = {.group = group};
    size_t killed = 0;
    attempt.logged = statx(log, "", AT_EMPTY_PATH, STATX_INO, &attempt.log) == 0;
    DIR *dir = opendir("/proc");
    if (!dir)
        return 0;
    for (struct dirent *e; (e = readdir(dir));) {
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
    closedir(dir);
    return killed;
}
