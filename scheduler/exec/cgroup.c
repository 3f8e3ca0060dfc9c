#include "scheduler/exec/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REMOVE_TRIES 500
#define REMOVE_PAUSE 2000000 /* nanoseconds */

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
    char name[512], line[256];
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

/* The process's own group in the hierarchy at host->memory_mount. */
static bool own_group(const struct fab_host *host, char *out, size_t room)
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
        controllers++;
        found = host->mode == FAB_CGROUP_V2 ? !*controllers : strcmp(controllers, "memory") == 0;
        if (found && (size_t)snprintf(out, room, "%s%s", host->memory_mount, path) >= room)
            found = false;
    }
    fclose(f);
    return found;
}

void fab_cgroup_warm(const struct fab_host *host)
{
    char group[512], path[sizeof group + 16];
    if (!host->memory_mount[0] || !own_group(host, group, sizeof group))
        return;
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "0", 1); /* the writer */
    close(fd);
}

bool fab_cgroup_remove(const char *path)
{
    FILE *f = fopen("/proc/self/mounts", "re");
    if (!f)
        return false;
    bool ok = true;
    char mount[256], type[32], name[512];
    while (next_mount(f, mount, type)) {
        if ((size_t)snprintf(name, sizeof name, "%s%s", mount, path) >= sizeof name)
            continue;
        for (int tries = 0; rmdir(name) != 0; tries++) {
            if (errno == ENOENT)
                break;
            if (errno != EBUSY || tries == REMOVE_TRIES) {
                ok = false;
                break;
            }
            nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE}, NULL);
        }
    }
    fclose(f);
    return ok;
}
