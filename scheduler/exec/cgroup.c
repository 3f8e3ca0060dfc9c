#include "scheduler/exec/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define REMOVE_TRIES  500
#define REMOVE_PAUSE  2000000 /* nanoseconds */
#define VACATE_TRIES  20
#define LEAF          "/fabric" /* the group for all but jobs, in a delegated one */
#define FILE_PATH_MAX 640       /* of a file of a group */

static bool next_mount(FILE *f, char mount[256], char type[32])
{
    char line[1024];
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %255s %31s", mount, type) == 2 && strncmp(type, "cgroup", 6) == 0)
            return true;
    return false;
}

/* The number after `word` and a blank, or the file's only number when word is NULL. 0 if absent. */
static uint64_t number(const char *mount, const char *path, const char *file, const char *word)
{
    char name[FILE_PATH_MAX], line[256];
    uint64_t v = 0;
    if ((size_t)snprintf(name, sizeof name, "%s%s/%s", mount, path, file) >= sizeof name)
        return 0;
    FILE *f = fopen(name, "re");
    if (!f)
        return 0;
    size_t n = word ? strlen(word) : 0;
    while (fgets(line, sizeof line, f))
        if (!word || (strncmp(line, word, n) == 0 && line[n] == ' ')) {
            v = strtoull(line + n, NULL, 10);
            break;
        }
    fclose(f);
    return v;
}

void fab_cgroup_usage(const struct fab_host *host, const char *path, struct fab_cgroup_usage *out)
{
    *out = (struct fab_cgroup_usage){0};
    if (!host->memory_mount[0])
        return;
    if (host->mode == FAB_CGROUP_V2) {
        out->cpu_usec = number(host->memory_mount, path, "cpu.stat", "usage_usec");
        out->memory_peak = number(host->memory_mount, path, "memory.peak", NULL);
        out->oom_kills = number(host->memory_mount, path, "memory.events", "oom_kill");
        return;
    }
    out->memory_peak = number(host->memory_mount, path, "memory.max_usage_in_bytes", NULL);
    out->oom_kills = number(host->memory_mount, path, "memory.oom_control", "oom_kill");
    out->cpu_usec = number("/sys/fs/cgroup/cpuacct", path, "cpuacct.usage", NULL) / 1000;
}

/* The path of the process's own group in the hierarchy of `controller`, "" for version 2. */
static bool own_group(const char *controller, char *out, size_t room)
{
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f)) { /* ID:CONTROLLERS:PATH */
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = strcmp(controllers + 1, controller) == 0 &&
                (size_t)snprintf(out, room, "%s", path) < room;
    }
    fclose(f);
    return found;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

void fab_cgroup_warm(const struct fab_host *host)
{
    char group[FAB_CGROUP_PATH_MAX], path[FILE_PATH_MAX];
    const char *controller = host->mode == FAB_CGROUP_V2 ? "" : "memory";
    if (!host->memory_mount[0] || !own_group(controller, group, sizeof group))
        return;
    snprintf(path, sizeof path, "%s%s/cgroup.procs", host->memory_mount, group);
    (void)!write_file(path, "0"); /* the writer */
}

/* ---- delegation ---- */

static bool may_use(const char *mount, const char *group)
{
    static const char *const needed[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    char path[FILE_PATH_MAX], mark[2];
    snprintf(path, sizeof path, "%s%s", mount, group);
    if (getxattr(path, "user.delegate", mark, sizeof mark) != 1 || mark[0] != '1')
        return false;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        snprintf(path, sizeof path, "%s%s%s", mount, group, needed[i]);
        if (access(path, W_OK) != 0)
            return false;
    }
    return true;
}

bool fab_cgroup_delegated(const char *mount, char out[FAB_CGROUP_PATH_MAX])
{
    char group[FAB_CGROUP_PATH_MAX];
    out[0] = '\0';
    if (!own_group("", group, sizeof group))
        return false;
    size_t n = strlen(group), leaf = strlen(LEAF);
    if (n > leaf && strcmp(group + n - leaf, LEAF) == 0)
        group[n - leaf] = '\0';
    if (!may_use(mount, group))
        return false;
    memcpy(out, group, strlen(group) + 1);
    return true;
}

static void move_all(const char *from, const char *to)
{
    char pid[32];
    FILE *f = fopen(from, "re");
    if (!f)
        return;
    while (fgets(pid, sizeof pid, f)) {
        pid[strcspn(pid, "\n")] = '\0';
        (void)!write_file(to, pid); /* it may have ended */
    }
    fclose(f);
}

bool fab_cgroup_vacate(const struct fab_host *host)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX], control[FILE_PATH_MAX], wanted[32];
    const char *mount = host->memory_mount, *group = host->group;
    if (!group[0])
        return true;
    snprintf(to, sizeof to, "%s%s%s", mount, group, LEAF);
    if (mkdir(to, 0755) != 0 && errno != EEXIST)
        return false;
    snprintf(from, sizeof from, "%s%s/cgroup.procs", mount, group);
    snprintf(to, sizeof to, "%s%s%s/cgroup.procs", mount, group, LEAF);
    snprintf(control, sizeof control, "%s%s/cgroup.subtree_control", mount, group);
    snprintf(wanted, sizeof wanted, "%s%s%s", host->cpu ? "+cpu " : "",
             host->memory ? "+memory " : "", host->pids ? "+pids" : "");
    /* Who is there may fork meanwhile. */
    for (int tries = 0; tries < VACATE_TRIES; tries++) {
        move_all(from, to);
        if (write_file(control, wanted))
            return true;
    }
    return false;
}

/* ---- the end ---- */

bool fab_cgroup_remove(const char *path)
{
    FILE *f = fopen("/proc/self/mounts", "re");
    if (!f)
        return false;
    bool ok = true;
    int tries = 0; /* in all hierarchies together: the same processes are in each */
    char mount[256], type[32], name[FILE_PATH_MAX];
    while (next_mount(f, mount, type)) {
        if ((size_t)snprintf(name, sizeof name, "%s%s", mount, path) >= sizeof name)
            continue;
        while (rmdir(name) != 0) {
            if (errno == ENOENT || errno == EROFS) /* nobody can have made it there */
                break;
            if (errno != EBUSY || tries++ >= REMOVE_TRIES) {
                ok = false;
                break;
            }
            nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE}, NULL);
        }
    }
    fclose(f);
    return ok;
}
