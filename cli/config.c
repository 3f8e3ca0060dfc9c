#include "cli/config.h"

#include "cli/args.h"
#include "storage/multiformats/multiaddr.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fab_config_init(struct fab_config *config)
{
    *config = (struct fab_config){.store_high_water = 90, .jobs_keep = 30 * 86400, .mdns = true};
}

static void list_fini(struct fab_config_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
}

void fab_config_fini(struct fab_config *config)
{
    list_fini(&config->listen);
    list_fini(&config->peers);
    free(config->workspaces);
    fab_config_init(config);
}

uint64_t fab_config_quota(const struct fab_config *config, const char *workspace)
{
    for (size_t i = 0; i < config->n_workspaces; i++)
        if (!strcmp(config->workspaces[i].name, workspace))
            return config->workspaces[i].quota;
    return 0;
}

/* libconfuse hands its complaints to a function without a context of ours. */
static _Thread_local struct fab_err *complaint;
static _Thread_local const char *complaint_path;

FAB_PRINTF(2, 0) static void complain(cfg_t *cfg, const char *fmt, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    if (complaint && complaint->rc == FAB_OK)
        fab_err_set(complaint, FAB_EINVAL, "%s:%d: %s", complaint_path, cfg->line, text);
}

static int check_size(cfg_t *cfg, cfg_opt_t *opt)
{
    uint64_t v;
    const char *text = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    if (fab_parse_size(text, &v) == FAB_OK)
        return 0;
    cfg_error(cfg, "%s: '%s' is not a size such as 500G or 1.5TiB", cfg_opt_name(opt), text);
    return -1;
}

static int check_duration(cfg_t *cfg, cfg_opt_t *opt)
{
    uint64_t v;
    const char *text = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    if (fab_parse_duration(text, &v) == FAB_OK)
        return 0;
    cfg_error(cfg, "%s: '%s' is not a duration such as 12h or 30d", cfg_opt_name(opt), text);
    return -1;
}

static int check_percent(cfg_t *cfg, cfg_opt_t *opt)
{
    long v = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);
    if (v >= 1 && v <= 100)
        return 0;
    cfg_error(cfg, "%s: %ld is not a percentage, 1 to 100", cfg_opt_name(opt), v);
    return -1;
}

/* /ip4/A/tcp/P or /ip6/A/tcp/P, with /p2p/ID behind it if `peer`. */
static bool is_address(const char *text, bool peer)
{
    struct fab_multiaddr_part part;
    struct fab_buf binary;
    uint64_t codes[3] = {0};
    size_t n = 0;
    fab_buf_init(&binary, FAB_MULTIADDR_MAX);
    bool ok = fab_multiaddr_from_text(text, strlen(text), &binary) == FAB_OK;
    struct fab_reader reader = fab_reader(fab_buf_slice(&binary));
    for (; ok && fab_multiaddr_next(&reader, &part) == FAB_OK; n++)
        if (n < 3)
            codes[n] = part.code;
    fab_buf_fini(&binary);
    return ok && n == (peer ? 3 : 2) && (codes[0] == FAB_MA_IP4 || codes[0] == FAB_MA_IP6) &&
           codes[1] == FAB_MA_TCP && (!peer || codes[2] == FAB_MA_P2P);
}

static int check_listen(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *text = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    if (is_address(text, false))
        return 0;
    cfg_error(cfg, "%s: '%s' is not /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT",
              cfg_opt_name(opt), text);
    return -1;
}

static int check_peer(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *text = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    const char *space = strchr(text, ' ');
    if (space && space > text && space - text <= FAB_WORKSPACE_NAME_MAX &&
        is_address(space + 1, true))
        return 0;
    cfg_error(cfg, "%s: '%s' is not WORKSPACE /ip4/ADDRESS/tcp/PORT/p2p/PEERID", cfg_opt_name(opt),
              text);
    return -1;
}

static uint64_t size_of(cfg_t *section, const char *key)
{
    uint64_t v = 0;
    return fab_parse_size(cfg_getstr(section, key), &v) == FAB_OK ? v : 0;
}

static enum fab_rc take_list(cfg_t *section, const char *key, size_t max,
                             struct fab_config_list *out, struct fab_err *err)
{
    size_t n = cfg_size(section, key);
    if (n > max)
        return fab_err_set(err, FAB_EINVAL, "%s: %s: more than %zu entries", complaint_path, key,
                           max);
    if (n == 0)
        return FAB_OK;
    out->items = calloc(n, sizeof *out->items);
    for (size_t i = 0; out->items && i < n; i++) {
        out->items[i] = strdup(cfg_getnstr(section, key, (unsigned)i));
        if (!out->items[i])
            break;
        out->n++;
    }
    return out->n == n ? FAB_OK : fab_err_set(err, FAB_ENOMEM, "out of memory");
}

/* The values were checked while they were parsed. */
static enum fab_rc take(cfg_t *cfg, struct fab_config *config, struct fab_err *err)
{
    cfg_t *store = cfg_getsec(cfg, "store");
    uint64_t ms = 0;
    config->store_quota = size_of(store, "quota");
    config->store_map = size_of(store, "map");
    config->store_cached = size_of(store, "cached");
    config->store_high_water = (unsigned)cfg_getint(store, "high_water");
    if (fab_parse_duration(cfg_getstr(cfg_getsec(cfg, "jobs"), "keep"), &ms) == FAB_OK)
        config->jobs_keep = ms / 1000;
    cfg_t *swarm = cfg_getsec(cfg, "swarm");
    FAB_TRY(take_list(swarm, "listen", FAB_CONFIG_LISTEN_MAX, &config->listen, err));
    FAB_TRY(take_list(swarm, "peers", FAB_CONFIG_PEERS_MAX, &config->peers, err));
    config->mdns = cfg_getbool(swarm, "mdns");
    size_t n = cfg_size(cfg, "workspace");
    if (n == 0)
        return FAB_OK;
    config->workspaces = calloc(n, sizeof *config->workspaces);
    if (!config->workspaces)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        cfg_t *section = cfg_getnsec(cfg, "workspace", (unsigned)i);
        const char *name = cfg_title(section);
        if (strlen(name) > FAB_WORKSPACE_NAME_MAX)
            return fab_err_set(err, FAB_EINVAL,
                               "%s: workspace '%s': a name has at most %d characters",
                               complaint_path, name, FAB_WORKSPACE_NAME_MAX);
        memcpy(config->workspaces[i].name, name, strlen(name));
        config->workspaces[i].quota = size_of(section, "quota");
        config->n_workspaces++;
    }
    return FAB_OK;
}

enum fab_rc fab_config_load(const char *path, struct fab_config *out, struct fab_err *err)
{
    cfg_opt_t store[] = {CFG_STR("quota", "0", CFGF_NONE), CFG_INT("high_water", 90, CFGF_NONE),
                         CFG_STR("map", "0", CFGF_NONE), CFG_STR("cached", "0", CFGF_NONE),
                         CFG_END()};
    cfg_opt_t jobs[] = {CFG_STR("keep", "30d", CFGF_NONE), CFG_END()};
    cfg_opt_t swarm[] = {CFG_STR_LIST("listen", NULL, CFGF_NONE),
                         CFG_STR_LIST("peers", NULL, CFGF_NONE),
                         CFG_BOOL("mdns", cfg_true, CFGF_NONE), CFG_END()};
    cfg_opt_t workspace[] = {CFG_STR("quota", "0", CFGF_NONE), CFG_END()};
    cfg_opt_t options[] = {CFG_SEC("store", store, CFGF_NONE), CFG_SEC("jobs", jobs, CFGF_NONE),
                           CFG_SEC("swarm", swarm, CFGF_NONE),
                           CFG_SEC("workspace", workspace, CFGF_TITLE | CFGF_MULTI), CFG_END()};
    struct fab_err why = {0};
    FILE *file = fopen(path, "re");
    if (!file)
        return fab_err_errno(err, errno, "%s cannot be read", path);
    struct stat st;
    char byte;
    /* libconfuse ends the process when it cannot read. */
    if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode) ||
        pread(fileno(file), &byte, 1, 0) < 0) {
        fclose(file);
        return fab_err_set(err, FAB_EINVAL, "%s: is not a file that can be read", path);
    }
    cfg_t *cfg = cfg_init(options, CFGF_NONE);
    if (!cfg) {
        fclose(file);
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    }
    cfg_set_error_function(cfg, complain);
    cfg_set_validate_func(cfg, "store|quota", check_size);
    cfg_set_validate_func(cfg, "store|map", check_size);
    cfg_set_validate_func(cfg, "store|cached", check_size);
    cfg_set_validate_func(cfg, "store|high_water", check_percent);
    cfg_set_validate_func(cfg, "jobs|keep", check_duration);
    cfg_set_validate_func(cfg, "swarm|listen", check_listen);
    cfg_set_validate_func(cfg, "swarm|peers", check_peer);
    cfg_set_validate_func(cfg, "workspace|quota", check_size);
    complaint = &why;
    complaint_path = path;
    struct fab_config config;
    fab_config_init(&config);
    enum fab_rc rc = cfg_parse_fp(cfg, file) == CFG_SUCCESS ? take(cfg, &config, &why) : FAB_EINVAL;
    complaint = NULL;
    if (rc != FAB_OK && why.rc == FAB_OK)
        fab_err_set(&why, rc, "%s: is not a fabric.conf", path);
    cfg_free(cfg);
    fclose(file);
    if (rc != FAB_OK) {
        fab_config_fini(&config);
        if (err)
            *err = why;
        return rc;
    }
    *out = config;
    return FAB_OK;
}
