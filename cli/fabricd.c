/* fabricd: the daemon of one home. It opens what every command opens, gives it to the node, and
 * stays in the foreground until it is told to end. Its log goes to stderr. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/home.h"
#include "cli/output.h"
#include "cli/setup.h"
#include "fabric/node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_4 "/ip4/0.0.0.0/tcp/4001"
#define LISTEN_6 "/ip6/::/tcp/4001"

static const struct fab_option no_options[] = {{.name = NULL}};
static const struct fab_option options[] = {
    {.name = "home", .type = FAB_OPTION_STRING, .metavar = "DIR"},
    {.name = "listen", .type = FAB_OPTION_STRING, .repeat = true, .metavar = "MULTIADDR"},
    {.name = "help", .letter = 'h'},
    {.name = "version"},
    {.name = NULL},
};

static const char help[] =
    "Usage: fabricd [--home DIR] [--listen MULTIADDR]...\n"
    "\n"
    "The daemon of one home: it serves the home's workspaces to their peers and fetches from "
    "them,\n"
    "until SIGTERM, SIGINT or `fabric down`. It stays in the foreground and logs to stderr;\n"
    "`fabric up --detach` starts it in the background.\n"
    "\n"
    "  --home DIR           The home. Default: $FABRIC_HOME, else $XDG_DATA_HOME/fabric, else\n"
    "                       ~/.local/share/fabric.\n"
    "  --listen MULTIADDR   Listen here, such as /ip4/0.0.0.0/tcp/4001; may be repeated. Default:\n"
    "                       `listen` in the home's fabric.conf, else port 4001 on all addresses.\n"
    "  -h, --help           Print this help.\n"
    "  --version            Print the version.\n";

static bool have_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0 && access("/proc/net/if_inet6", F_OK) == 0;
}

/* The flags, else fabric.conf, else port 4001. */
static size_t choose_listen(const struct fab_args *args, const struct fab_config *config,
                            const char *out[FAB_CONFIG_LISTEN_MAX], bool *too_many)
{
    size_t n = fab_args_repeats(args, "listen");
    *too_many = n > FAB_CONFIG_LISTEN_MAX;
    for (size_t i = 0; i < n && !*too_many; i++)
        out[i] = fab_args_repeat(args, "listen", i);
    if (n > 0)
        return n;
    for (size_t i = 0; i < config->listen.n; i++)
        out[i] = config->listen.items[i];
    if (config->listen.n > 0)
        return config->listen.n;
    out[0] = LISTEN_4;
    out[1] = LISTEN_6;
    return have_ipv6() ? 2 : 1;
}

static enum fab_rc serve(struct fab_cli *cli, const struct fab_args *args, struct fab_err *err)
{
    const char *listen[FAB_CONFIG_LISTEN_MAX];
    struct fab_node *node = NULL;
    bool too_many;
    FAB_TRY(fab_cli_open(cli, FAB_CLI_STORE, err));
    struct fab_node_config config = {
        .home = cli->home,
        .store = cli->store,
        .listen = listen,
        .n_listen = choose_listen(args, &cli->config, listen, &too_many),
        .peers = (const char *const *)cli->config.peers.items,
        .n_peers = cli->config.peers.n,
        .mdns = cli->config.mdns,
    };
    if (too_many)
        return fab_err_set(err, FAB_EINVAL, "--listen is given more than %d times",
                           FAB_CONFIG_LISTEN_MAX);
    FAB_TRY(fab_node_new(&config, &node, err));
    fab_node_run(node, NULL, NULL);
    fab_node_free(node);
    return FAB_OK;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    char *home = NULL;
    if (fab_args_given(args, "help") || fab_args_given(args, "version")) {
        fab_out("%s", fab_args_given(args, "help") ? help : "fabricd " FABRIC_VERSION "\n");
        return fab_out_flush(&err) == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
    }
    if (fab_args_count(args) > 0)
        return fab_cli_usage(cli, "fabricd takes no arguments, only options; see `fabricd --help`");
    if (fab_home_path(fab_args_string(args, "home"), &home, &err) != FAB_OK)
        return fab_cli_usage(cli, "%s", err.msg);
    cli->home = home;
    fab_config_init(&cli->config);
    enum fab_rc rc = serve(cli, args, &err);
    if (cli->store)
        fab_store_close(cli->store);
    fab_config_fini(&cli->config);
    free(home);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

int main(int argc, char **argv)
{
    atomic_bool cancel = false;
    struct fab_cli cli = {.cancel = &cancel, .workspace = FAB_WORKSPACE_LOCAL};
    struct fab_args *args = NULL;
    struct fab_err err = {0};
    if (!fab_setup())
        return FAB_EXIT_FAILURE;
    umask(077); /* what a daemon makes is its owner's */
    if (fab_args_parse(options, no_options, false, argc - 1, argv + 1, &args, &err) != FAB_OK)
        return fab_cli_usage(&cli, "%s; see `fabricd --help`", err.msg);
    int code = run(&cli, args);
    fab_args_free(args);
    return code;
}
