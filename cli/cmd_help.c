#include "cli/command.h"
#include "cli/help.h"
#include "cli/output.h"

static void print_names(void)
{
    for (const struct fab_group *g = fab_groups; g->name; g++)
        fab_out("%s\n", g->name);
    for (const struct fab_command *const *c = fab_commands; *c; c++)
        fab_out("%s\n", (*c)->name);
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    const struct fab_group *group = NULL;
    size_t n = fab_args_count(args);
    int used = 0;
    bool man = fab_args_given(args, "man");
    if (fab_args_given(args, "names")) {
        print_names();
        return FAB_EXIT_OK;
    }
    if (n == 0) {
        (man ? fab_man_overview : fab_help_overview)(stdout);
        return FAB_EXIT_OK;
    }
    const struct fab_command *command = fab_command_find((int)n, fab_args_all(args), &used, &group);
    if (command && (size_t)used == n)
        (man ? fab_man_command : fab_help_command)(stdout, command);
    else if (group && n == 1)
        (man ? fab_man_group : fab_help_group)(stdout, group);
    else
        return fab_cli_usage(cli, "help: there is no command '%s%s%s'; see `fabric help`",
                             fab_args_at(args, 0), n > 1 ? " " : "",
                             n > 1 ? fab_args_at(args, 1) : "");
    return FAB_EXIT_OK;
}

static const char *const description[] = {
    "Without an argument it lists the commands. `man fabric-COMMAND` says the same.",
    NULL,
};

static const struct fab_option options[] = {
    {.name = "man", .help = "Print the manual page as troff source."},
    {.name = "names", .help = "Print only the names of all groups and commands."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric help car export", "Explain one command."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_help = {
    .name = "help",
    .summary = "Explain a command",
    .synopsis = "[COMMAND [SUB]]",
    .description = description,
    .options = options,
    .examples = examples,
    .max_args = 2,
    .run = run,
};
