#include "scheduler/exec/host.h"

#include "scheduler/exec/cgroup.h"
#include "storage/multiformats/cid.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- control groups ---- */

static bool has_word(const char *list, const char *word, char separator)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n) {
        bool begins = p == list || p[-1] == separator || p[-1] == ' ';
        bool ends = !p[n] || p[n] == separator || p[n] == '\n' || p[n] == ' ';
        if (begins && ends)
            return true;
    }
    return false;
}

static bool writable(const char *dir)
{
    return access(dir, W_OK | X_OK) == 0;
}

static void probe_v2(struct fab_host *host, const char *mount)
{
    char path[sizeof host->memory_mount + FAB_CGROUP_PATH_MAX + 32], list[512];
    if (host->root ? !writable(mount) : !fab_cgroup_delegated(mount, host->group))
        return;
    snprintf(path, sizeof path, "%s%s/cgroup.controllers", mount, host->group);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    bool got = fgets(list, sizeof list, f) != NULL;
    fclose(f);
    if (!got)
        return;
    host->groups = true;
    host->cpu = has_word(list, "cpu", ' ');
    host->memory = has_word(list, "memory", ' ');
    host->pids = has_word(list, "pids", ' ');
    host->swap = host->memory && access("/proc/swaps", R_OK) == 0;
    snprintf(host->memory_mount, sizeof host->memory_mount, "%s", mount);
}

static void probe_v1(struct fab_host *host, const char *mount, const char *options)
{
    if (!host->root || !writable(mount))
        return;
    host->groups = true;
    if (has_word(options, "cpu", ','))
        host->cpu = true;
    if (has_word(options, "pids", ','))
        host->pids = true;
    if (has_word(options, "memory", ',')) {
        char path[320];
        host->memory = true;
        snprintf(path, sizeof path, "%s/memory.memsw.limit_in_bytes", mount);
        host->swap = access(path, W_OK) == 0;
        snprintf(host->memory_mount, sizeof host->memory_mount, "%s", mount);
    }
}

static void probe_cgroups(struct fab_host *host)
{
    FILE *f = fopen("/proc/self/mounts", "re");
    if (!f)
        return;
    char line[1024], mount[256], type[32], options[256], v2[256] = "";
    bool v1 = false;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %255s %31s %255s", mount, type, options) != 3)
            continue;
        if (strcmp(type, "cgroup") == 0) {
            v1 = true;
            probe_v1(host, mount, options);
        } else if (strcmp(type, "cgroup2") == 0 && !v2[0]) {
            snprintf(v2, sizeof v2, "%s", mount);
        }
    }
    fclose(f);
    if (v1)
        host->mode = v2[0] ? FAB_CGROUP_HYBRID : FAB_CGROUP_V1;
    else if (v2[0]) {
        host->mode = FAB_CGROUP_V2;
        probe_v2(host, v2);
    }
}

void fab_host_probe(struct fab_host *out)
{
    *out = (struct fab_host){.root = geteuid() == 0};
    probe_cgroups(out);

    cpu_set_t set;
    out->cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    struct sysinfo info;
    if (sysinfo(&info) == 0)
        out->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
    for (char path[32]; out->nvidia < 64; out->nvidia++) {
        snprintf(path, sizeof path, "/dev/nvidia%u", out->nvidia);
        if (access(path, F_OK) != 0)
            break;
    }
}

const char *fab_host_why_not(const struct fab_host *host)
{
    if (host->mode == FAB_CGROUP_NONE)
        return "no cgroup hierarchy is mounted";
    if (!host->root && host->mode == FAB_CGROUP_V2 && !host->groups)
        return "no cgroup is delegated to this user, as 'systemd-run --user --scope -p "
               "Delegate=yes' does";
    if (!host->root && !host->groups)
        return "no cgroup is delegated to this user";
    return "its cgroup controller is missing or not writable";
}

/* ---- the fingerprint ---- */

static const char *const os_release_paths[] = {"/etc/os-release", "/usr/lib/os-release", NULL};
static const char *const package_paths[] = {
    "/var/lib/dpkg/status",      "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages",
    "/lib/apk/db/installed",     NULL,
};

#define CACHE_LINE_MAX 256

const char *fab_host_arch(void)
{
    static struct utsname name;
    return uname(&name) == 0 ? name.machine : "unknown";
}

static const char *first_there(const char *const *paths, struct stat *st)
{
    for (; *paths; paths++)
        if (stat(*paths, st) == 0 && S_ISREG(st->st_mode))
            return *paths;
    memset(st, 0, sizeof *st);
    return NULL;
}

/* SHA-256 of a whole file; of nothing when `path` is NULL. */
static enum fab_rc hash_file(const char *path, uint8_t out[32], struct fab_err *err)
{
    struct fab_cid cid;
    void *map = MAP_FAILED;
    size_t n = 0;
    enum fab_rc rc = FAB_OK;
    int fd = -1;
    if (path) {
        struct stat st;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0) {
            rc = fab_err_errno(err, errno, "cannot read %s", path);
            goto out;
        }
        n = (size_t)st.st_size;
        if (n && (map = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
            rc = fab_err_errno(err, errno, "cannot read %s", path);
            goto out;
        }
    }
    rc = fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(n ? map : NULL, n), &cid);
    if (rc == FAB_OK)
        memcpy(out, fab_cid_digest(&cid).p, 32);
out:
    if (map != MAP_FAILED)
        munmap(map, n);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int stat_text(char *out, size_t room, const struct stat *st)
{
    return snprintf(out, room, "%llx.%llx.%llx.%lld.%09ld", (unsigned long long)st->st_dev,
                    (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
                    (long long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec);
}

static bool from_hex(const char *hex, uint8_t out[32])
{
    for (size_t i = 0; i < 32; i++) {
        unsigned v;
        if (sscanf(hex + 2 * i, "%2x", &v) != 1)
            return false;
        out[i] = (uint8_t)v;
    }
    return true;
}

static bool cache_read(const char *cache, const char *key, uint8_t out[32])
{
    char line[CACHE_LINE_MAX + 80];
    FILE *f = fopen(cache, "re");
    if (!f)
        return false;
    size_t n = strlen(key);
    bool hit = fgets(line, sizeof line, f) && strncmp(line, key, n) == 0 && line[n] == ' ' &&
               strlen(line + n + 1) >= 64 && from_hex(line + n + 1, out);
    fclose(f);
    return hit;
}

static void cache_write(const char *cache, const char *key, const uint8_t hash[32])
{
    char temporary[4096], hex[65];
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.%d", cache, (int)getpid()) >=
        sizeof temporary)
        return;
    FILE *f = fopen(temporary, "wxe");
    if (!f)
        return;
    bool ok = fprintf(f, "%s %s\n", key, hex) > 0;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(temporary, cache) != 0)
        unlink(temporary);
}

enum fab_rc fab_host_fingerprint(const char *cache, uint8_t out[FAB_FINGERPRINT_BYTES],
                                 struct fab_err *err)
{
    struct stat os_stat, packages_stat;
    const char *os = first_there(os_release_paths, &os_stat);
    const char *packages = first_there(package_paths, &packages_stat);
    char key[CACHE_LINE_MAX], a[120], b[120];
    stat_text(a, sizeof a, &os_stat);
    stat_text(b, sizeof b, &packages_stat);
    snprintf(key, sizeof key, "%.60s:%.90s:%.90s", fab_host_arch(), a, b);
    if (cache_read(cache, key, out))
        return FAB_OK;

    uint8_t parts[64 + 65] = {0};
    struct fab_cid cid;
    FAB_TRY(hash_file(os, parts, err));
    FAB_TRY(hash_file(packages, parts + 32, err));
    snprintf((char *)parts + 64, 65, "%s", fab_host_arch());
    size_t n = 64 + strlen((char *)parts + 64);
    FAB_TRY(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(parts, n), &cid));
    memcpy(out, fab_cid_digest(&cid).p, FAB_FINGERPRINT_BYTES);
    cache_write(cache, key, out);
    return FAB_OK;
}
