#include "scheduler/exec/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool find_in(const char *path, const char *name, char out[FAB_RUNTIME_PATH_MAX])
{
    while (path && *path) {
        size_t n = strcspn(path, ":");
        int wrote = snprintf(out, FAB_RUNTIME_PATH_MAX, "%.*s/%s", (int)n, path, name);
        struct stat st;
        /* Only absolute folders: "." in PATH must not choose what runs as root. */
        if (n && path[0] == '/' && wrote > 0 && wrote < FAB_RUNTIME_PATH_MAX &&
            access(out, X_OK) == 0 && stat(out, &st) == 0 && S_ISREG(st.st_mode))
            return true;
        path += n;
        path += *path == ':';
    }
    out[0] = '\0';
    return false;
}

static bool find(const char *name, char out[FAB_RUNTIME_PATH_MAX])
{
    return find_in(getenv("PATH"), name, out) ||
           find_in("/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/bin:/sbin", name, out);
}

/* The number in a /proc/sys file, or `otherwise` when there is no such file. */
static long sysctl(const char *path, long otherwise)
{
    FILE *f = fopen(path, "re");
    long v = otherwise;
    if (!f)
        return otherwise;
    if (fscanf(f, "%ld", &v) != 1)
        v = otherwise;
    fclose(f);
    return v;
}

static enum fab_rc check_user_namespaces(struct fab_err *err)
{
    if (sysctl("/proc/sys/user/max_user_namespaces", 1) == 0 ||
        sysctl("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0 ||
        sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
        return fab_err_set(err, FAB_EACCES,
                           "this host does not let ordinary users make user namespaces, so jobs "
                           "cannot be isolated: run as root, or enable them (sysctl "
                           "user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                           "kernel.apparmor_restrict_unprivileged_userns)");
    return FAB_OK;
}

enum fab_rc fab_runtime_find(const struct fab_host *host, struct fab_runtime *out,
                             struct fab_err *err)
{
    if (!find("conmon", out->conmon))
        return fab_err_set(err, FAB_ENOENT,
                           "conmon, which supervises jobs, is not installed: "
                           "apt install conmon (Debian package conmon)");
    if (!host->root)
        FAB_TRY(check_user_namespaces(err));

    const char *wanted = getenv("FABRIC_RUNTIME");
    if (wanted && *wanted) {
        out->oci_name = strcmp(wanted, "crun") == 0   ? "crun"
                        : strcmp(wanted, "runc") == 0 ? "runc"
                                                      : NULL;
        if (!out->oci_name)
            return fab_err_set(err, FAB_EINVAL, "FABRIC_RUNTIME must be crun or runc, not '%s'",
                               wanted);
        if (!find(out->oci_name, out->oci))
            return fab_err_set(err, FAB_ENOENT,
                               "the OCI runtime %s is not installed: apt install %s (Debian "
                               "package %s)",
                               wanted, wanted, wanted);
        return FAB_OK;
    }
    if (host->mode != FAB_CGROUP_HYBRID && find("crun", out->oci)) {
        out->oci_name = "crun";
        return FAB_OK;
    }
    if (find("runc", out->oci)) {
        out->oci_name = "runc";
        return FAB_OK;
    }
    if (host->mode == FAB_CGROUP_HYBRID)
        return fab_err_set(err, FAB_ENOENT,
                           "no OCI runtime that works here is installed (this host mixes cgroup v1 "
                           "and v2, which crun refuses): apt install runc (Debian package runc)");
    return fab_err_set(err, FAB_ENOENT,
                       "no OCI runtime is installed: apt install crun (Debian package crun, or "
                       "runc)");
}
