#include "scheduler/exec/writers.h"

#include "scheduler/exec/spawn.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether descriptor `number` of process `pid` is for writing. */
static bool for_writing(pid_t pid, const char *number)
{
    char path[64], line[128];
    unsigned flags = 0;
    bool known = false;
    if ((size_t)snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", (int)pid, number) >= sizeof path)
        return false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (!known && fgets(line, sizeof line, f))
        known = sscanf(line, "flags: %o", &flags) == 1;
    fclose(f);
    return known && (flags & O_ACCMODE) != O_RDONLY;
}

static bool writes(pid_t pid, const struct stat *file)
{
    char path[32];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return false;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        struct stat st;
        found = isdigit((unsigned char)e->d_name[0]) &&
                fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_ino == file->st_ino &&
                st.st_dev == file->st_dev && for_writing(pid, e->d_name);
    }
    closedir(dir);
    return found;
}

size_t fab_writers_kill(int fd)
{
    struct stat file;
    size_t killed = 0;
    DIR *dir = fstat(fd, &file) == 0 ? opendir("/proc") : NULL;
    if (!dir)
        return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)strtol(e->d_name, NULL, 10) : 0;
        if (pid <= 0 || pid == getpid() || !writes(pid, &file))
            continue;
        /* The number may have become another's: what is looked at with a handle open is what the
         * handle is on. */
        int handle = fab_pidfd(pid);
        if (writes(pid, &file)) {
            fab_pidfd_kill(handle, pid);
            killed++;
        }
        if (handle >= 0)
            close(handle);
    }
    closedir(dir);
    return killed;
}
