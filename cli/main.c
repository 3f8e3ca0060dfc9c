/* fabric: find the command, read the global flags, run it, and see that its output has arrived. */
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/help.h"
#include "cli/home.h"
#include "cli/output.h"
#include "cli/setup.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_bool cancel;
static volatile sig_atomic_t interrupted; /* the same, for libraries that want this type */

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
    if (atomic_exchange(&cancel, true))
        _exit(FAB_EXIT_INTERRUPTED);
}

static void set_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
    /* No SA_RESTART: a read that waits for input ends at once. Whoever ignores SIGINT (a shell's
     * background job) or SIGHUP (nohup) keeps it so. */
    static const int ends[] = {SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (!sigaction(ends[i], NULL, &before) && before.sa_handler != SIG_IGN)
            sigaction(ends[i], &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct globals {
    const char *home, *workspace;
    bool json, quiet, no_progress, help, version, api;
};

static void take_globals(struct globals *globals, const struct fab_args *args)
{
    if (fab_args_given(args, "home"))
        globals->home = fab_args_string(args, "home");
    if (fab_args_given(args, "workspace"))
        globals->workspace = fab_args_string(args, "workspace");
    globals->json |= fab_args_given(args, "json");
    globals->quiet |= fab_args_given(args, "quiet");
    globals->no_progress |= fab_args_given(args, "no-progress");
    globals->api |= fab_args_given(args, "api");
    globals->help |= fab_args_given(args, "help");
    globals->version |= fab_args_given(args, "version");
}

/* Global options before a word: they are taken, and *argc and *argv move to the word. */
static enum fab_rc skip_globals(struct globals *globals, int *argc, char ***argv,
                                struct fab_err *err)
{
    struct fab_args *args = NULL;
    FAB_TRY(fab_args_parse(NULL, fab_global_options, true, *argc, *argv, &args, err));
    take_globals(globals, args);
    int left = (int)fab_args_count(args);
    fab_args_free(args);
    *argv += *argc - left;
    *argc = left;
    return FAB_OK;
}

extern const struct fab_command fab_cmd_version;

static int no_command(struct fab_cli *cli, const struct globals *globals,
                      const struct fab_group *group, const char *word)
{
    const char *in = group ? group->name : "", *space = group ? " " : "";
    if (!word && globals->version)
        return fab_cmd_version.run(cli, NULL);
    if (!word && globals->help) {
        if (group)
            fab_help_group(stdout, group);
        else
            fab_help_overview(stdout);
        return FAB_EXIT_OK;
    }
    if (!word)
        return fab_cli_usage(cli, "no command is given; see `fabric help%s%s`", space, in);
    const char *near = fab_command_nearest(in, word);
    if (near)
        return fab_cli_usage(cli, "unknown command '%s%s%s'; did you mean `fabric %s%s%s`?", in,
                             space, word, in, space, near);
    return fab_cli_usage(cli, "unknown command '%s%s%s'; see `fabric help%s%s`", in, space, word,
                         space, in);
}

/* Without the home's check, so that `fabric put --help` needs none. */
static int run_command(struct fab_cli *cli, const struct globals *globals,
                       const struct fab_args *args)
{
    const struct fab_command *command = cli->command;
    struct fab_err err = {0};
    char *home = NULL;
    size_t n = fab_args_count(args);
    if (globals->help) {
        fab_help_command(stdout, command);
        return FAB_EXIT_OK;
    }
    if (globals->version)
        return fab_cmd_version.run(cli, NULL);
    /* A flag that is silently ignored would write to the wrong place. */
    const char *api = getenv("FABRIC_API");
    if (globals->api || (api && api[0]))
        return fab_cli_usage(cli, "--api and FABRIC_API belong to a later release; run the command "
                                  "on the machine that holds the home");
    if (n < command->min_args || n > command->max_args)
        return fab_cli_usage(cli, "%s: %s; usage: fabric %s %s", command->name,
                             n < command->min_args ? "an argument is missing"
                                                   : "too many arguments",
                             command->name, command->synopsis ? command->synopsis : "");
    const char *env = getenv("FABRIC_WORKSPACE");
    cli->workspace = globals->workspace ? globals->workspace
                     : env && env[0]    ? env
                                        : FAB_WORKSPACE_LOCAL;
    if (fab_home_path(globals->home, &home, &err) != FAB_OK)
        return fab_cli_usage(cli, "%s", err.msg);
    cli->home = home;
    fab_config_init(&cli->config);
    int code = command->run(cli, args);
    if (code == FAB_EXIT_OK && command->tells_daemon)
        fab_daemon_reload(cli);
    fab_daemon_forget(cli);
    if (cli->store)
        fab_store_close(cli->store);
    fab_config_fini(&cli->config);
    free(home);
    return code;
}

static int dispatch(struct fab_cli *cli, int argc, char **argv)
{
    struct globals globals = {0};
    struct fab_err err = {0};
    const struct fab_group *group = NULL;
    struct fab_args *args = NULL;
    int used = 0;
    if (skip_globals(&globals, &argc, &argv, &err) != FAB_OK)
        return fab_cli_usage(cli, "%s; see `fabric help`", err.msg);
    const struct fab_command *command = fab_command_find(argc, argv, &used, &group);
    if (group) {
        char *name = argv[0];
        argv++;
        argc--;
        if (skip_globals(&globals, &argc, &argv, &err) != FAB_OK)
            return fab_cli_usage(cli, "%s; see `fabric help %s`", err.msg, name);
        if (argc > 0) {
            char *const words[] = {name, argv[0]};
            const struct fab_group *ignored = NULL;
            command = fab_command_find(2, words, &used, &ignored);
            used = 1;
        }
    }
    cli->json = globals.json;
    cli->quiet = globals.quiet;
    if (!command)
        return no_command(cli, &globals, group, argc > 0 ? argv[0] : NULL);
    cli->command = command;
    if (fab_args_parse(command->options, fab_global_options, command->options_first, argc - used,
                       argv + used, &args, &err) != FAB_OK)
        return fab_cli_usage(cli, "%s: %s; see `fabric help %s`", command->name, err.msg,
                             command->name);
    take_globals(&globals, args);
    cli->json = globals.json;
    cli->quiet = globals.quiet;
    cli->progress = !globals.quiet && !globals.no_progress && isatty(STDERR_FILENO);
    int code = run_command(cli, &globals, args);
    fab_args_free(args);
    return code;
}

int main(int argc, char **argv)
{
    struct fab_cli cli = {.cancel = &cancel, .interrupted = &interrupted};
    struct fab_err err = {0};
    if (!fab_setup())
        return FAB_EXIT_FAILURE;
    set_signals();
    int code = dispatch(&cli, argc - 1, argv + 1);
    if (fab_out_flush(&err) != FAB_OK && code == FAB_EXIT_OK)
        code = fab_cli_fail(&cli, &err);
    return code;
}
