#include "scheduler/exec/bundle.h"

#include "scheduler/exec/blob.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define INIT_NAME    ".fabric-init"
#define TOP_MAX      512 /* top-level entries of an image */
#define CPU_PERIOD   100000
#define OOM_SCORE    500 /* a host that runs out of memory ends jobs first */
#define SHM_FALLBACK (64u << 20)

struct maker {
    const struct fab_bundle *bundle;
    json_t *mounts;
    int root; /* rootfs/ */
    bool failed;
};

bool fab_input_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > FAB_BUNDLE_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

/* ---- mounts ---- */

/* `json_pack` gives NULL when memory ends; one flag is looked at in the end. */
static void add_mount(struct maker *m, const char *to, const char *type, const char *from,
                      json_t *options)
{
    json_t *mount = json_pack("{s:s, s:s, s:s, s:o}", "destination", to, "type", type, "source",
                              from, "options", options);
    if (!mount || json_array_append_new(m->mounts, mount) != 0)
        m->failed = true;
}

/* In a user namespace a folder can be bound only together with what is mounted below it. */
static void bind_read_only(struct maker *m, const char *from, const char *to, bool folder)
{
    bool deep = m->bundle->rootless && folder;
    add_mount(
        m, to, "bind", from,
        json_pack("[s,s,s,s]", deep ? "rbind" : "bind", deep ? "rro" : "ro", "nosuid", "nodev"));
}

static void bind_writable(struct maker *m, const char *from, const char *to)
{
    add_mount(m, to, "bind", from, json_pack("[s,s,s]", "bind", "nosuid", "nodev"));
}

static enum fab_rc make_dir(int at, const char *path, mode_t mode, struct fab_err *err)
{
    /* The caller's umask must not decide what the job may enter. */
    if (mkdirat(at, path, mode) != 0 || fchmodat(at, path, mode, 0) != 0)
        return fab_err_errno(err, errno, "cannot make the job's folder %s", path);
    return FAB_OK;
}

static enum fab_rc make_file(int at, const char *path, const char *text, struct fab_err *err)
{
    size_t n = strlen(text);
    int fd = openat(at, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return fab_err_errno(err, errno, "cannot make the job's file %s", path);
    ssize_t wrote = write(fd, text, n);
    int failed = fchmod(fd, 0644);
    failed |= close(fd);
    if (wrote != (ssize_t)n || failed)
        return fab_err_errno(err, errno ? errno : EIO, "cannot write the job's file %s", path);
    return FAB_OK;
}

/* One top-level entry of a tree on the host: a symlink is copied, the rest is bound read-only. */
static enum fab_rc graft(struct maker *m, const char *from, const char *name, struct fab_err *err)
{
    char path[PATH_MAX], to[NAME_MAX + 2], target[PATH_MAX];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", from, name) >= sizeof path)
        return fab_err_set(err, FAB_EINVAL, "the path of %s is too long", name);
    if (lstat(path, &st) != 0)
        return fab_err_errno(err, errno, "cannot look at %s", path);
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n < 0)
            return fab_err_errno(err, errno, "cannot read the symlink %s", path);
        target[n] = '\0';
        if (symlinkat(target, m->root, name) != 0)
            return fab_err_errno(err, errno, "cannot make the symlink %s", name);
        return FAB_OK;
    }
    if (S_ISDIR(st.st_mode))
        FAB_TRY(make_dir(m->root, name, 0755, err));
    else if (S_ISREG(st.st_mode))
        FAB_TRY(make_file(m->root, name, "", err));
    else
        return FAB_OK;
    snprintf(to, sizeof to, "/%s", name);
    bind_read_only(m, path, to, S_ISDIR(st.st_mode));
    return FAB_OK;
}

/* A file or folder of the host's /etc, if it is there. */
static enum fab_rc graft_etc(struct maker *m, const char *name, struct fab_err *err)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "/etc/%s", name);
    if (stat(path, &st) != 0)
        return FAB_OK;
    if (S_ISDIR(st.st_mode))
        FAB_TRY(make_dir(m->root, path + 1, 0755, err));
    else
        FAB_TRY(make_file(m->root, path + 1, "", err));
    bind_read_only(m, path, path, S_ISDIR(st.st_mode));
    return FAB_OK;
}

static enum fab_rc root_of_host(struct maker *m, struct fab_err *err)
{
    static const char *const tops[] = {"usr",   "bin",    "sbin",  "lib",
                                       "lib32", "libx32", "lib64", NULL};
    for (size_t i = 0; tops[i]; i++) {
        struct stat st;
        char path[16];
        snprintf(path, sizeof path, "/%s", tops[i]);
        if (lstat(path, &st) == 0)
            FAB_TRY(graft(m, "", tops[i], err));
    }
    FAB_TRY(make_dir(m->root, "etc", 0755, err));
    FAB_TRY(make_dir(m->root, "var", 0755, err));
    FAB_TRY(make_dir(m->root, "run", 0755, err));
    FAB_TRY(graft_etc(m, "alternatives", err));
    FAB_TRY(graft_etc(m, "ld.so.cache", err));
    unsigned uid = m->bundle->rootless ? 0 : FAB_JOB_UID;
    char text[256];
    if (uid)
        snprintf(text, sizeof text,
                 "root:x:0:0:root:/:/usr/sbin/nologin\njob:x:%u:%u:job:/tmp:/bin/sh\n"
                 "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
                 uid, uid);
    else
        snprintf(text, sizeof text,
                 "root:x:0:0:job:/tmp:/bin/sh\n"
                 "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n");
    FAB_TRY(make_file(m->root, "etc/passwd", text, err));
    if (uid)
        snprintf(text, sizeof text, "root:x:0:\njob:x:%u:\nnogroup:x:65534:\n", uid);
    else
        snprintf(text, sizeof text, "root:x:0:\nnogroup:x:65534:\n");
    FAB_TRY(make_file(m->root, "etc/group", text, err));
    if (!m->bundle->network_host) {
        FAB_TRY(make_file(m->root, "etc/hosts",
                          "127.0.0.1 localhost job\n::1 localhost ip6-localhost\n", err));
        return make_file(m->root, "etc/nsswitch.conf",
                         "passwd: files\ngroup: files\nhosts: files\n", err);
    }
    FAB_TRY(make_file(m->root, "etc/nsswitch.conf",
                      "passwd: files\ngroup: files\nhosts: files dns\n", err));
    FAB_TRY(graft_etc(m, "hosts", err));
    FAB_TRY(graft_etc(m, "resolv.conf", err));
    FAB_TRY(graft_etc(m, "services", err));
    FAB_TRY(make_dir(m->root, "etc/ssl", 0755, err));
    return graft_etc(m, "ssl/certs", err);
}

static bool is_ours(const char *name)
{
    static const char *const ours[] = {".",    "..",  "in",  "out",     "tmp",
                                       "proc", "dev", "sys", INIT_NAME, NULL};
    for (size_t i = 0; ours[i]; i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static enum fab_rc root_of_image(struct maker *m, struct fab_err *err)
{
    const char *root = m->bundle->image_root;
    DIR *dir = opendir(root);
    if (!dir)
        return fab_err_errno(err, errno, "cannot read the image's folder %s", root);
    enum fab_rc rc = FAB_OK;
    size_t n = 0;
    for (struct dirent *e; rc == FAB_OK && (e = readdir(dir));) {
        if (is_ours(e->d_name))
            continue;
        if (++n > TOP_MAX)
            rc = fab_err_set(err, FAB_ELIMIT,
                             "the image has more than %d entries in its root folder", TOP_MAX);
        else
            rc = graft(m, root, e->d_name, err);
    }
    closedir(dir);
    FAB_TRY(rc);
    if (m->bundle->network_host) {
        static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts", NULL};
        for (size_t i = 0; files[i]; i++) {
            char path[PATH_MAX];
            struct stat st;
            snprintf(path, sizeof path, "%s%s", root, files[i]);
            if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && access(files[i], R_OK) == 0)
                bind_read_only(m, files[i], files[i], false);
        }
    }
    return FAB_OK;
}

static enum fab_rc add_inputs(struct maker *m, struct fab_err *err)
{
    FAB_TRY(make_dir(m->root, "in", 0755, err));
    for (size_t i = 0; i < m->bundle->n_inputs; i++) {
        const struct fab_bundle_input *in = &m->bundle->inputs[i];
        char to[FAB_BUNDLE_NAME_MAX + 8];
        struct stat st;
        if (!fab_input_name_ok(in->name))
            return fab_err_set(err, FAB_EINVAL, "'%s' is not a usable input name", in->name);
        snprintf(to, sizeof to, "/in/%s", in->name);
        if (lstat(in->source, &st) != 0)
            return fab_err_errno(err, errno, "cannot look at the input %s", in->source);
        if (S_ISDIR(st.st_mode))
            FAB_TRY(make_dir(m->root, to + 1, 0755, err));
        else if (S_ISREG(st.st_mode))
            FAB_TRY(make_file(m->root, to + 1, "", err));
        else
            return fab_err_set(err, FAB_EUNSUPPORTED,
                               "the input %s is neither a file nor a directory", in->name);
        bind_read_only(m, in->source, to, S_ISDIR(st.st_mode));
    }
    return FAB_OK;
}

static void add_gpu(struct maker *m, const char *path)
{
    if (access(path, F_OK) == 0)
        add_mount(m, path, "bind", path, json_pack("[s,s]", "bind", "nosuid"));
}

static enum fab_rc add_kernel_mounts(struct maker *m, struct fab_err *err)
{
    const struct fab_bundle *b = m->bundle;
    char shm[32];
    uint64_t shm_bytes = b->memory ? b->memory / 2 : SHM_FALLBACK;
    snprintf(shm, sizeof shm, "size=%llu", (unsigned long long)shm_bytes);
    FAB_TRY(make_dir(m->root, "proc", 0555, err));
    FAB_TRY(make_dir(m->root, "dev", 0755, err));
    add_mount(m, "/proc", "proc", "proc", json_pack("[s,s,s]", "nosuid", "noexec", "nodev"));
    add_mount(m, "/dev", "tmpfs", "tmpfs",
              json_pack("[s,s,s,s,s]", "nosuid", "noexec", "mode=755", "size=65536k", "ro"));
    add_mount(
        m, "/dev/pts", "devpts", "devpts",
        json_pack("[s,s,s,s,s]", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"));
    add_mount(m, "/dev/shm", "tmpfs", "shm",
              json_pack("[s,s,s,s,s]", "nosuid", "noexec", "nodev", "mode=1777", shm));
    for (unsigned i = 0; i < b->gpus; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/nvidia%u", i);
        add_gpu(m, path);
    }
    if (b->gpus) {
        add_gpu(m, "/dev/nvidiactl");
        add_gpu(m, "/dev/nvidia-uvm");
        add_gpu(m, "/dev/nvidia-uvm-tools");
    }
    return FAB_OK;
}

/* ---- the rest of config.json ---- */

static json_t *string_list(char *const *list)
{
    json_t *array = json_array();
    for (; array && *list; list++) {
        /* Arguments are bytes; JSON wants UTF-8. */
        json_t *text = json_string(*list);
        if (!text || json_array_append_new(array, text) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *rlimit(const char *type, uint64_t soft, uint64_t hard)
{
    return json_pack("{s:s, s:I, s:I}", "type", type, "soft", (json_int_t)soft, "hard",
                     (json_int_t)hard);
}

static json_t *rlimits(const struct fab_bundle *b)
{
    json_t *list = json_array();
    struct rlimit files;
    bool failed = !list;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        uint64_t hard = files.rlim_max == RLIM_INFINITY || files.rlim_max > 1048576
                            ? 1048576
                            : (uint64_t)files.rlim_max;
        failed =
            json_array_append_new(list, rlimit("RLIMIT_NOFILE", hard < 1024 ? hard : 1024, hard)) ||
            failed;
    }
    failed = json_array_append_new(list, rlimit("RLIMIT_CORE", 0, 0)) || failed;
    if (b->file_size)
        failed = json_array_append_new(list, rlimit("RLIMIT_FSIZE", b->file_size, b->file_size)) ||
                 failed;
    if (b->nproc)
        failed = json_array_append_new(list, rlimit("RLIMIT_NPROC", b->nproc, b->nproc)) || failed;
    if (failed) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *resources(const struct fab_bundle *b)
{
    json_t *r = json_object();
    json_t *devices = json_pack("[{s:b, s:s}]", "allow", 0, "access", "rwm");
    if (b->gpus &&
        json_array_append_new(devices, json_pack("{s:b, s:s, s:s, s:i}", "allow", 1, "access", "rw",
                                                 "type", "c", "major", 195)) != 0)
        goto fail;
    if (json_object_set_new(r, "devices", devices) != 0)
        goto fail;
    if (b->cpu_milli &&
        json_object_set_new(r, "cpu",
                            json_pack("{s:I, s:i}", "quota",
                                      (json_int_t)(b->cpu_milli * (CPU_PERIOD / 1000)), "period",
                                      CPU_PERIOD)) != 0)
        goto fail;
    if (b->memory) {
        json_t *memory = json_pack("{s:I}", "limit", (json_int_t)b->memory);
        if (b->no_swap && memory)
            json_object_set_new(memory, "swap", json_integer((json_int_t)b->memory));
        if (json_object_set_new(r, "memory", memory) != 0)
            goto fail;
    }
    if (b->pids &&
        json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)b->pids)) != 0)
        goto fail;
    return r;
fail:
    json_decref(r);
    return NULL;
}

static json_t *linux_part(const struct fab_bundle *b, struct fab_err *err)
{
    struct fab_slice text = fab_blob_seccomp();
    json_error_t json_err;
    json_t *seccomp = json_loadb((const char *)text.p, text.n, 0, &json_err);
    if (!seccomp) {
        fab_err_set(err, FAB_EFORMAT, "the seccomp profile is not JSON: %s", json_err.text);
        return NULL;
    }
    json_t *l = json_pack(
        "{s:[{s:s},{s:s},{s:s},{s:s},{s:s}], s:[s,s,s,s,s,s,s,s], s:[s,s,s,s,s], s:s, s:o}",
        "namespaces", "type", "pid", "type", "ipc", "type", "uts", "type", "mount", "type",
        "cgroup", "maskedPaths", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "readonlyPaths",
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
        "rootfsPropagation", "private", "seccomp", seccomp);
    if (!l)
        return NULL;
    json_t *namespaces = json_object_get(l, "namespaces");
    bool failed = false;
    if (!b->network_host)
        failed |= json_array_append_new(namespaces, json_pack("{s:s}", "type", "network")) != 0;
    if (b->rootless) {
        failed |= json_array_append_new(namespaces, json_pack("{s:s}", "type", "user")) != 0;
        failed |= json_object_set_new(l, "uidMappings",
                                      json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID",
                                                (json_int_t)geteuid(), "size", 1)) != 0;
        failed |= json_object_set_new(l, "gidMappings",
                                      json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID",
                                                (json_int_t)getegid(), "size", 1)) != 0;
    }
    if (b->cgroup) {
        failed |= json_object_set_new(l, "cgroupsPath", json_string(b->cgroup)) != 0;
        failed |= json_object_set_new(l, "resources", resources(b)) != 0;
    }
    if (failed) {
        json_decref(l);
        return NULL;
    }
    return l;
}

static json_t *process_part(const struct fab_bundle *b, struct fab_err *err)
{
    json_t *args = string_list(b->argv), *env = string_list(b->env), *limits = rlimits(b);
    json_t *init = json_string("/" INIT_NAME);
    if (!args || !env) {
        json_decref(args);
        json_decref(env);
        json_decref(limits);
        json_decref(init);
        fab_err_set(err, FAB_EINVAL, "the command and its environment must be valid UTF-8");
        return NULL;
    }
    if (json_array_insert_new(args, 0, init) != 0) {
        json_decref(args);
        json_decref(env);
        json_decref(limits);
        return NULL;
    }
    unsigned uid = b->rootless ? 0 : FAB_JOB_UID;
    return json_pack(
        "{s:b, s:{s:i, s:i, s:i}, s:o, s:o, s:s, s:b, s:{s:[],s:[],s:[],s:[],s:[]}, s:i, s:o}",
        "terminal", 0, "user", "uid", (int)uid, "gid", (int)uid, "umask", 022, "args", args, "env",
        env, "cwd", b->cwd, "noNewPrivileges", 1, "capabilities", "bounding", "effective",
        "inheritable", "permitted", "ambient", "oomScoreAdj", OOM_SCORE, "rlimits", limits);
}

static enum fab_rc write_config(const struct fab_bundle *b, json_t *mounts, int dir,
                                struct fab_err *err)
{
    json_t *process = process_part(b, err);
    json_t *lin = process ? linux_part(b, err) : NULL;
    if (!process || !lin) {
        json_decref(process);
        return err && err->msg[0] ? err->rc : FAB_ENOMEM;
    }
    json_t *config = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:O, s:o}", "ociVersion", "1.0.2",
                               "process", process, "root", "path", "rootfs", "readonly", 1,
                               "hostname", "job", "mounts", mounts, "linux", lin);
    if (!config)
        return fab_err_set(err, FAB_ENOMEM, "out of memory while making the job's bundle");
    char *text = json_dumps(config, JSON_COMPACT); /* json_dumpfd writes every token by itself */
    json_decref(config);
    if (!text)
        return fab_err_set(err, FAB_ENOMEM, "out of memory while making the job's bundle");
    enum fab_rc rc = make_file(dir, "config.json", text, err);
    free(text);
    return rc;
}

/* /out and /tmp belong to the user that the job runs as. */
static enum fab_rc make_writable(const struct fab_bundle *b, int dir, const char *name, mode_t mode,
                                 struct fab_err *err)
{
    FAB_TRY(make_dir(dir, name, 0700, err));
    if ((!b->rootless && fchownat(dir, name, FAB_JOB_UID, FAB_JOB_UID, 0) != 0) ||
        fchmodat(dir, name, mode, 0) != 0)
        return fab_err_errno(err, errno, "cannot hand %s/%s to the job", b->dir, name);
    return FAB_OK;
}

static enum fab_rc make_root(struct maker *m, struct fab_err *err)
{
    const struct fab_bundle *b = m->bundle;
    char path[PATH_MAX];
    if (linkat(AT_FDCWD, b->init, m->root, INIT_NAME, 0) != 0)
        return fab_err_errno(err, errno, "cannot link %s into the job's root", b->init);
    FAB_TRY(b->image_root ? root_of_image(m, err) : root_of_host(m, err));
    FAB_TRY(add_kernel_mounts(m, err));
    FAB_TRY(add_inputs(m, err));
    FAB_TRY(make_dir(m->root, "out", 0755, err));
    FAB_TRY(make_dir(m->root, "tmp", 0755, err));
    snprintf(path, sizeof path, "%s/out", b->dir);
    bind_writable(m, path, "/out");
    snprintf(path, sizeof path, "%s/tmp", b->dir);
    bind_writable(m, path, "/tmp");
    return m->failed ? fab_err_set(err, FAB_ENOMEM, "out of memory while making the job's bundle")
                     : FAB_OK;
}

enum fab_rc fab_bundle_write(const struct fab_bundle *b, struct fab_err *err)
{
    struct maker m = {.bundle = b, .mounts = json_array(), .root = -1};
    struct fab_err local = {0};
    enum fab_rc rc = FAB_ENOMEM;
    int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        rc = fab_err_errno(&local, errno, "cannot open %s", b->dir);
        goto out;
    }
    if (!m.mounts)
        goto out;
    if ((rc = make_dir(dir, "rootfs", 0755, &local)) != FAB_OK ||
        (rc = make_writable(b, dir, "out", 0755, &local)) != FAB_OK ||
        (rc = make_writable(b, dir, "tmp", 01777, &local)) != FAB_OK)
        goto out;
    m.root = openat(dir, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m.root < 0) {
        rc = fab_err_errno(&local, errno, "cannot open %s/rootfs", b->dir);
        goto out;
    }
    if ((rc = make_root(&m, &local)) == FAB_OK)
        rc = write_config(b, m.mounts, dir, &local);
out:
    if (rc != FAB_OK && err)
        *err = local;
    if (m.root >= 0)
        close(m.root);
    if (dir >= 0)
        close(dir);
    json_decref(m.mounts);
    return rc;
}
