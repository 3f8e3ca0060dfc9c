#include "cli/home.h"
#include "storage/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fab_rc join(const char *a, const char *slash, const char *b, char **out,
                        struct fab_err *err)
{
    size_t n = strlen(a) + strlen(slash) + strlen(b) + 1;
    char *text = malloc(n);
    if (!text)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    snprintf(text, n, "%s%s%s", a, slash, b);
    *out = text;
    return FAB_OK;
}

enum fab_rc fab_home_file(const char *home, const char *name, char **out, struct fab_err *err)
{
    return join(home, "/", name, out, err);
}

static enum fab_rc make_absolute(const char *path, char **out, struct fab_err *err)
{
    if (path[0] == '/')
        return join(path, "", "", out, err);
    char *here = getcwd(NULL, 0);
    if (!here)
        return fab_err_errno(err, errno, "the current folder has no path; give --home as one");
    enum fab_rc rc = join(here, "/", path, out, err);
    free(here);
    return rc;
}

enum fab_rc fab_home_path(const char *given, char **out, struct fab_err *err)
{
    const char *env = getenv("FABRIC_HOME"), *xdg = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
    if (given && !given[0])
        return fab_err_set(err, FAB_EINVAL, "--home is empty; name a folder");
    if (given)
        return make_absolute(given, out, err);
    if (env && env[0])
        return make_absolute(env, out, err);
    if (xdg && xdg[0] == '/') /* relative ones are to be ignored (XDG base directories) */
        return join(xdg, "/", "fabric", out, err);
    if (user && user[0] == '/')
        return join(user, "/", ".local/share/fabric", out, err);
    return fab_err_set(err, FAB_EINVAL,
                       "no home: neither FABRIC_HOME nor HOME is set; give --home DIR");
}

/* mkdir -p; what is made gets mode 0700. */
static enum fab_rc make_folders(const char *path, struct fab_err *err)
{
    enum fab_rc rc = FAB_OK;
    char *copy = NULL;
    FAB_TRY(join(path, "", "", &copy, err));
    for (char *p = copy + 1;; p++) {
        char c = *p;
        if (c != '/' && c)
            continue;
        *p = 0;
        if (mkdir(copy, 0700) && errno != EEXIST) {
            int saved = errno;
            struct stat st;
            /* Read-only and automounted parents answer with other codes although they are there. */
            if (stat(copy, &st) || !S_ISDIR(st.st_mode)) {
                rc = fab_err_errno(err, saved, "the home %s cannot be made at %s", path, copy);
                break;
            }
        }
        if (!c)
            break;
        *p = c;
    }
    free(copy);
    return rc;
}

/* Written under another name and linked, so that nobody reads half of it and nobody's own is
 * replaced. */
static enum fab_rc write_sample(const char *home, const char *path, struct fab_err *err)
{
    char *temp = NULL;
    enum fab_rc rc = fab_home_file(home, ".fabric.conf-XXXXXX", &temp, err);
    if (rc != FAB_OK)
        return rc;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        rc = fab_err_errno(err, errno, "cannot write to the home %s", home);
        goto out;
    }
    if (fab_fd_write(fd, fab_slice(fab_home_sample_conf, strlen(fab_home_sample_conf))) != FAB_OK ||
        (link(temp, path) && errno != EEXIST))
        rc = fab_err_errno(err, errno, "%s cannot be written", path);
    close(fd);
    unlink(temp);
out:
    free(temp);
    return rc;
}

enum fab_rc fab_home_make(const char *home, struct fab_err *err)
{
    struct stat st;
    char *conf = NULL;
    if (stat(home, &st)) {
        if (errno != ENOENT)
            return fab_err_errno(err, errno, "the home %s cannot be used", home);
        FAB_TRY(make_folders(home, err));
    } else if (!S_ISDIR(st.st_mode)) {
        return fab_err_set(err, FAB_EINVAL, "the home %s is not a folder; give --home DIR", home);
    }
    FAB_TRY(fab_home_file(home, "fabric.conf", &conf, err));
    enum fab_rc rc = FAB_OK;
    if (access(conf, F_OK) && errno == ENOENT)
        rc = write_sample(home, conf, err);
    free(conf);
    return rc;
}
