/* Help pages and man pages from the commands' descriptors. They go to `out`, whose errors the
 * caller sees. */
#ifndef FAB_CLI_HELP_H
#define FAB_CLI_HELP_H

#include "cli/command.h"

#include <stdio.h>

void fab_help_overview(FILE *out);
void fab_help_group(FILE *out, const struct fab_group *group);
void fab_help_command(FILE *out, const struct fab_command *command);

/* troff with the man macros, section 1. */
void fab_man_overview(FILE *out);
void fab_man_group(FILE *out, const struct fab_group *group);
void fab_man_command(FILE *out, const struct fab_command *command);

/* The exit codes that every command has. */
extern const struct fab_exit_code fab_help_exit_codes[];
/* "[--chunker C]", "[--env K=V]...", "[--json]" for a synopsis. */
void fab_help_option_usage(const struct fab_option *option, char *out, size_t n);

#endif
