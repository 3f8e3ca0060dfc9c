#include "cli/help.h"

#include <ctype.h>
#include <string.h>

/* Text for troff: backslashes, hyphens and a control character at the start of a line escaped. */
static void put(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '~')
            fputs("\\(ti", out);
        else if (*text == '^')
            fputs("\\(ha", out);
        else if (*text == '`')
            fputs("\\(ga", out);
        else if (*text == '\'')
            fputs("\\(aq", out);
        else
            fputc(*text, out);
    }
}

static void line(FILE *out, const char *text)
{
    put(out, text);
    fputc('\n', out);
}

static void title(FILE *out, const char *name)
{
    fputs(".TH FABRIC", out);
    for (const char *p = name; *p; p++) {
        if (p == name)
            fputs("\\-", out);
        if (*p == ' ')
            fputs("\\-", out);
        else
            fputc(toupper((unsigned char)*p), out);
    }
    fputs(" 1 \"\" \"fabric " FABRIC_VERSION "\" \"Fabric\"\n.SH NAME\n", out);
}

/* fabric-car-export */
static void page_name(FILE *out, const char *name)
{
    fputs(*name ? "fabric\\-" : "fabric", out);
    for (; *name; name++)
        *name == ' ' ? fputs("\\-", out) : fputc(*name, out);
}

static void options(FILE *out, const struct fab_option *option)
{
    for (; option && option->name; option++) {
        if (!option->help)
            continue;
        fputs(".TP\n", out);
        if (option->letter)
            fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
        fputs("\\fB\\-\\-", out);
        put(out, option->name);
        fputs("\\fR", out);
        if (option->metavar) {
            fputs(" \\fI", out);
            put(out, option->metavar);
            fputs("\\fR", out);
        }
        fputc('\n', out);
        line(out, option->help);
    }
}

static void exit_codes(FILE *out, const struct fab_exit_code *code)
{
    for (; code && code->code; code++) {
        fprintf(out, ".TP\n\\fB%s\\fR\n", code->code);
        line(out, code->meaning);
    }
}

static void environment(FILE *out)
{
    fputs(".SH ENVIRONMENT\n.TP\n\\fBFABRIC_HOME\\fR, \\fBXDG_DATA_HOME\\fR, \\fBHOME\\fR\n"
          "Where the home is, unless \\fB\\-\\-home\\fR says so.\n"
          ".TP\n\\fBFABRIC_WORKSPACE\\fR\n"
          "The workspace, unless \\fB\\-\\-workspace\\fR says so.\n",
          out);
}

static void synopsis(FILE *out, const struct fab_command *command)
{
    char part[128];
    fputs(".SH SYNOPSIS\n\\fBfabric ", out);
    put(out, command->name);
    fputs("\\fR", out);
    for (const struct fab_option *o = command->options; o && o->name; o++) {
        fab_help_option_usage(o, part, sizeof part);
        fputc(' ', out);
        put(out, part);
    }
    if (command->synopsis) {
        fputs(" \\fI", out);
        put(out, command->synopsis);
        fputs("\\fR", out);
    }
    fputc('\n', out);
}

void fab_man_command(FILE *out, const struct fab_command *command)
{
    title(out, command->name);
    page_name(out, command->name);
    fputs(" \\- ", out);
    line(out, command->summary);
    synopsis(out, command);
    fputs(".SH DESCRIPTION\n", out);
    fprintf(out, "%s.\n", command->summary);
    for (const char *const *p = command->description; p && *p; p++) {
        fputs(".PP\n", out);
        line(out, *p);
    }
    if (command->options && command->options->name)
        fputs(".SH OPTIONS\n", out);
    options(out, command->options);
    fputs(".SH GLOBAL OPTIONS\nThey may stand before or after the command.\n", out);
    options(out, fab_global_options);
    fputs(".SH EXIT STATUS\n", out);
    exit_codes(out, fab_help_exit_codes);
    exit_codes(out, command->exit_codes);
    environment(out);
    if (command->examples && command->examples->command)
        fputs(".SH EXAMPLES\n", out);
    for (const struct fab_example *e = command->examples; e && e->command; e++) {
        fputs(".TP\n\\fB", out);
        put(out, e->command);
        fputs("\\fR\n", out);
        line(out, e->meaning);
    }
    fputs(".SH SEE ALSO\n.BR fabric (1)\n", out);
}

/* Of the group, or all with "". */
static void commands(FILE *out, const char *group)
{
    size_t n = strlen(group);
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        const char *name = (*c)->name;
        if (n > 0 && (strncmp(name, group, n) || name[n] != ' '))
            continue;
        fputs(".TP\n\\fB", out);
        page_name(out, name);
        fputs("\\fR(1)\n", out);
        fprintf(out, "%s.\n", (*c)->summary);
    }
}

void fab_man_group(FILE *out, const struct fab_group *group)
{
    title(out, group->name);
    page_name(out, group->name);
    fputs(" \\- ", out);
    line(out, group->summary);
    fprintf(out, ".SH SYNOPSIS\n\\fBfabric %s\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n",
            group->name);
    fprintf(out, ".SH DESCRIPTION\n%s.\n.SH COMMANDS\n", group->summary);
    commands(out, group->name);
    fputs(".SH SEE ALSO\n.BR fabric (1)\n", out);
}

void fab_man_overview(FILE *out)
{
    title(out, "");
    fputs(
        "fabric \\- content\\-addressed storage, and jobs that run where their data is\n"
        ".SH SYNOPSIS\n\\fBfabric\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n"
        ".SH DESCRIPTION\n"
        "Fabric keeps files as content\\-addressed DAGs with IPFS CIDs. Results go to standard\n"
        "output, everything else to standard error. Every error is one line.\n"
        ".PP\n"
        "In text a control character, a backslash or a byte that is not UTF\\-8 in a name is\n"
        "written \\en, \\et, \\e\\e or \\exNN. In JSON each such byte that is not UTF\\-8 becomes\n"
        "U+FFFD, and a second member, called as the first with _base64 at its end, holds the\n"
        "exact bytes.\n"
        ".SH COMMANDS\n",
        out);
    commands(out, "");
    fputs(".SH GLOBAL OPTIONS\nThey may stand before or after the command.\n", out);
    options(out, fab_global_options);
    fputs(".SH EXIT STATUS\n", out);
    exit_codes(out, fab_help_exit_codes);
    environment(out);
    fputs(".SH FILES\n.TP\nHOME/fabric.conf\nThe settings: quotas, and how long jobs are kept.\n"
          ".TP\nHOME/store\nThe store.\n",
          out);
}
