/* A command: one static descriptor, from which the parser, `fabric help`, the man page and the
 * shell completions are made.
 *
 * To add one: write cli/cmd_NAME.c with `const struct fab_command fab_cmd_NAME` (fab_cmd_GROUP_SUB
 * for a sub-command; one file may hold those of a group), begin from cmd_version.c, and add NAME to
 * the table in cli/commands.c. */
#ifndef FAB_CLI_COMMAND_H
#define FAB_CLI_COMMAND_H

#include "cli/args.h"
#include "cli/cli.h"

struct fab_example {
    const char *command; /* as typed, without a prompt; NULL ends the table */
    const char *meaning; /* what it does, one sentence */
};

struct fab_exit_code {
    const char *code; /* "124", or "128+N"; NULL ends the table */
    const char *meaning;
};

struct fab_command {
    const char *name;     /* "put", or group and sub-command with one space between: "car export" */
    const char *summary;  /* one line without a full stop, beginning with a verb */
    const char *synopsis; /* the positional arguments only: "PATH...|-"; NULL for none */
    const char *const *description;   /* paragraphs; NULL ends them */
    const struct fab_option *options; /* NULL for none; the global ones are understood everywhere */
    const struct fab_example *examples;     /* NULL for none */
    const struct fab_exit_code *exit_codes; /* besides 0, 1, 2 and 130; NULL for none */
    unsigned min_args, max_args; /* of positional arguments; FAB_ARGS_ANY for no maximum */
    bool options_first; /* what follows the first positional argument is not parsed (job run
                           COMMAND) */
    bool tells_daemon;  /* it changes workspaces, keys or who is admitted: a daemon that runs looks
                           at them again before the command ends */
    /* Do it and give the exit code: 0, or what fab_cli_fail or fab_cli_usage gave, or one of
     * exit_codes. */
    int (*run)(struct fab_cli *cli, const struct fab_args *args);
};

#define FAB_ARGS_ANY 0xffffffffu

/* Words that only group sub-commands. */
struct fab_group {
    const char *name; /* "car"; NULL ends the table */
    const char *summary;
};

/* Every command, sorted for the help page; NULL ends it. */
extern const struct fab_command *const fab_commands[];
extern const struct fab_group fab_groups[];
/* The options that every command takes. */
extern const struct fab_option fab_global_options[];

/* The command that the n words name, or NULL. `*used` is how many of the words belong to the name.
 * With a group alone, `*group` is set and NULL given back. */
const struct fab_command *fab_command_find(int n, char *const *words, int *used,
                                           const struct fab_group **group);
/* The command or group name nearest to `word`, within `group` ("" for the first word), or NULL. */
const char *fab_command_nearest(const char *group, const char *word);

#endif
