#include "cli/help.h"

#include <string.h>

#define WIDTH  80
#define INDENT 4
#define COLUMN 28 /* where the explanation of an option or command begins */

const struct fab_exit_code fab_help_exit_codes[] = {
    {"0", "Success."},
    {"1", "Failure; one line on standard error says why."},
    {"2", "Wrong usage; nothing was done."},
    {"130", "Interrupted by SIGINT or SIGTERM; nothing half-done was left."},
    {NULL, NULL},
};

/* `text` folded at words, every line but the first indented; `column` is where the first begins. */
static void print_folded(FILE *out, const char *text, size_t indent, size_t column)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column > indent && column + 1 + n > WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)n, text);
        column += n;
        text += n;
        while (*text == ' ')
            text++;
    }
    fputc('\n', out);
}

/* A term at the left and its explanation in a column. */
static void print_pair(FILE *out, const char *term, const char *text)
{
    int n = fprintf(out, "%*s%s", INDENT, "", term);
    if (n < 0 || n + 2 > COLUMN) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", COLUMN - n, "");
    print_folded(out, text, COLUMN, COLUMN);
}

void fab_help_option_usage(const struct fab_option *option, char *out, size_t n)
{
    snprintf(out, n, "[%s%s%s%s]%s", option->letter ? (char[]){'-', option->letter, 0} : "--",
             option->letter ? "" : option->name, option->metavar ? " " : "",
             option->metavar ? option->metavar : "", option->repeat ? "..." : "");
}

static void print_options(FILE *out, const struct fab_option *options)
{
    char term[128];
    for (; options && options->name; options++) {
        if (!options->help)
            continue;
        snprintf(term, sizeof term, "%s--%s%s%s",
                 options->letter ? (char[]){'-', options->letter, ',', ' ', 0} : "", options->name,
                 options->metavar ? " " : "", options->metavar ? options->metavar : "");
        print_pair(out, term, options->help);
    }
}

static void print_usage(FILE *out, const struct fab_command *command)
{
    char line[1024], part[128];
    size_t n = 0;
    line[0] = 0;
    for (const struct fab_option *o = command->options; o && o->name; o++) {
        fab_help_option_usage(o, part, sizeof part);
        n += (size_t)snprintf(line + n, sizeof line - n, " %s", part);
        if (n >= sizeof line)
            n = sizeof line - 1;
    }
    if (command->synopsis)
        snprintf(line + n, sizeof line - n, " %s", command->synopsis);
    int column = fprintf(out, "Usage: fabric %s", command->name);
    print_folded(out, line + (line[0] == ' '), 11, column < 0 ? 0 : (size_t)column);
}

void fab_help_command(FILE *out, const struct fab_command *command)
{
    print_usage(out, command);
    fprintf(out, "\n%s.\n", command->summary);
    for (const char *const *p = command->description; p && *p; p++) {
        fputc('\n', out);
        print_folded(out, *p, 0, 0);
    }
    if (command->options && command->options->name) {
        fputs("\nOptions:\n", out);
        print_options(out, command->options);
    }
    fputs("\nGlobal options, before or after the command:\n", out);
    print_options(out, fab_global_options);
    if (command->examples && command->examples->command)
        fputs("\nExamples:\n", out);
    for (const struct fab_example *e = command->examples; e && e->command; e++) {
        fprintf(out, "%*s%s\n%*s", INDENT, "", e->command, INDENT + 4, "");
        print_folded(out, e->meaning, INDENT + 4, INDENT + 4);
    }
    if (command->exit_codes) {
        fputs("\nExit codes:\n", out);
        for (const struct fab_exit_code *c = fab_help_exit_codes; c->code; c++)
            print_pair(out, c->code, c->meaning);
        for (const struct fab_exit_code *c = command->exit_codes; c->code; c++)
            print_pair(out, c->code, c->meaning);
    }
}

static void print_commands(FILE *out, const char *group)
{
    size_t n = group ? strlen(group) : 0;
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        const char *name = (*c)->name;
        if (n == 0 || (!strncmp(name, group, n) && name[n] == ' '))
            print_pair(out, name, (*c)->summary);
    }
}

void fab_help_group(FILE *out, const struct fab_group *group)
{
    fprintf(out, "Usage: fabric %s COMMAND [ARGUMENT]...\n\n%s.\n\nCommands:\n", group->name,
            group->summary);
    print_commands(out, group->name);
    fprintf(out, "\n`fabric help %s COMMAND` explains one of them.\n", group->name);
}

void fab_help_overview(FILE *out)
{
    fputs("Usage: fabric [OPTION]... COMMAND [ARGUMENT]...\n\n"
          "Content-addressed storage, and jobs that run where their data is.\n\nCommands:\n",
          out);
    print_commands(out, NULL);
    fputs("\nGlobal options, before or after the command:\n", out);
    print_options(out, fab_global_options);
    fputs("\n`fabric help COMMAND` explains one command.\n", out);
}
