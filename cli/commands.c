/* The one table of commands, in the order of the help page. */
#include "cli/command.h"

#include <stddef.h>

#define COMMANDS(X)                                                                                \
    X(put)                                                                                         \
    X(get)                                                                                         \
    X(cat)                                                                                         \
    X(ls)                                                                                          \
    X(stat)                                                                                        \
    X(tree)                                                                                        \
    X(pin_add)                                                                                     \
    X(pin_rm)                                                                                      \
    X(pin_ls)                                                                                      \
    X(gc)                                                                                          \
    X(verify)                                                                                      \
    X(df)                                                                                          \
    X(block_get)                                                                                   \
    X(block_put)                                                                                   \
    X(block_stat)                                                                                  \
    X(block_rm)                                                                                    \
    X(car_export)                                                                                  \
    X(car_import)                                                                                  \
    X(job_run)                                                                                     \
    X(job_ls)                                                                                      \
    X(job_show)                                                                                    \
    X(job_logs)                                                                                    \
    X(job_rm)                                                                                      \
    X(image_import)                                                                                \
    X(image_ls)                                                                                    \
    X(up)                                                                                          \
    X(down)                                                                                        \
    X(status)                                                                                      \
    X(id)                                                                                          \
    X(doctor)                                                                                      \
    X(peers)                                                                                       \
    X(swarm_connect)                                                                               \
    X(workspace_create)                                                                            \
    X(workspace_ls)                                                                                \
    X(workspace_show)                                                                              \
    X(workspace_set)                                                                               \
    X(workspace_rm)                                                                                \
    X(workspace_export_key)                                                                        \
    X(workspace_import_key)                                                                        \
    X(workspace_rotate_key)                                                                        \
    X(workspace_admit)                                                                             \
    X(workspace_expel)                                                                             \
    X(completion)                                                                                  \
    X(help)                                                                                        \
    X(version)

#define DECLARE(name) extern const struct fab_command fab_cmd_##name;
COMMANDS(DECLARE)

#define ENTRY(name) &fab_cmd_##name,
const struct fab_command *const fab_commands[] = {COMMANDS(ENTRY) NULL};

const struct fab_group fab_groups[] = {
    {"pin", "Keep content from collection"}, {"block", "Work with single blocks"},
    {"car", "Write and read CAR archives"},  {"job", "Run commands in a sandbox"},
    {"image", "Root file systems for jobs"}, {"workspace", "Who shares what with whom"},
    {"swarm", "Reach peers by hand"},        {NULL, NULL},
};

const struct fab_option fab_global_options[] = {
    {.name = "home",
     .type = FAB_OPTION_STRING,
     .metavar = "DIR",
     .help = "The home, made on first use. Default: $FABRIC_HOME, else $XDG_DATA_HOME/fabric, else "
             "~/.local/share/fabric."},
    {.name = "workspace",
     .type = FAB_OPTION_STRING,
     .metavar = "NAME",
     .help = "The workspace. Default: $FABRIC_WORKSPACE, else local. Commands that write make it."},
    {.name = "json", .help = "Print one JSON value, or one per line for a stream of results."},
    {.name = "quiet", .letter = 'q', .help = "Print only the essential; no remarks."},
    {.name = "no-progress", .help = "No progress bar, on a terminal too."},
    {.name = "api", .type = FAB_OPTION_STRING, .metavar = "URL"}, /* refused, see main.c */
    {.name = "help", .letter = 'h', .help = "Print this help."},
    {.name = "version", .help = "Print the version."},
    {.name = NULL},
};
