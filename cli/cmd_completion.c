/* Shell completion scripts from the commands' descriptors. */
#include "cli/command.h"
#include "cli/output.h"

#include <string.h>

/* Calls fn for every sub-command of `group`, or for first words with NULL. */
static void each_word(const char *group, void (*fn)(const char *word, const char *summary))
{
    size_t n = group ? strlen(group) : 0;
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        const char *name = (*c)->name;
        if (group && !strncmp(name, group, n) && name[n] == ' ')
            fn(name + n + 1, (*c)->summary);
        else if (!group && !strchr(name, ' '))
            fn(name, (*c)->summary);
    }
    for (const struct fab_group *g = fab_groups; !group && g->name; g++)
        fn(g->name, g->summary);
}

static void print_word(const char *word, const char *summary)
{
    (void)summary;
    fab_out("%s ", word);
}

static void print_options(const struct fab_option *option)
{
    for (; option && option->name; option++) {
        if (!option->help)
            continue;
        fab_out("--%s ", option->name);
        if (option->letter)
            fab_out("-%c ", option->letter);
    }
}

/* The global options that take a value, as alternatives of a shell pattern. */
static void print_value_options(void)
{
    const char *bar = "";
    for (const struct fab_option *o = fab_global_options; o->name; o++) {
        if (o->help && o->type != FAB_OPTION_FLAG) {
            fab_out("%s--%s", bar, o->name);
            bar = "|";
        }
    }
}

/* "group sub", or "command anything": a pattern for the first two words. */
static void print_pattern(const char *name)
{
    if (strchr(name, ' '))
        fab_out("    '%s')", name);
    else
        fab_out("    '%s '*)", name);
}

/* ---- bash ---- */

static const char bash_head[] =
    "# Completion of fabric for bash.\n"
    "_fabric()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} first= second= word skip= i words\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $skip ]]; then skip=; continue; fi\n"
    "        case $word in\n"
    "        ";

static const char bash_words[] = ") skip=1 ;;\n"
                                 "        -*) ;;\n"
                                 "        *) if [[ ! $first ]]; then first=$word; elif [[ ! "
                                 "$second ]]; then second=$word; fi ;;\n"
                                 "        esac\n"
                                 "    done\n"
                                 "    case \"$first $second\" in\n";

static const char bash_tail[] = "' ;;\n"
                                "    esac\n"
                                "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                                "}\n"
                                "complete -o default -o bashdefault -F _fabric fabric\n";

static void print_bash(void)
{
    fab_out("%s", bash_head);
    print_value_options();
    fab_out("%s", bash_words);
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        print_pattern((*c)->name);
        fab_out(" words='");
        print_options((*c)->options);
        print_options(fab_global_options);
        if (!strcmp((*c)->name, "help"))
            each_word(NULL, print_word);
        if (!strcmp((*c)->name, "completion"))
            fab_out("bash zsh fish ");
        fab_out("' ;;\n");
    }
    for (const struct fab_group *g = fab_groups; g->name; g++) {
        fab_out("    '%s '*) words='", g->name);
        each_word(g->name, print_word);
        fab_out("' ;;\n");
    }
    fab_out("    *) words='");
    each_word(NULL, print_word);
    print_options(fab_global_options);
    fab_out("%s", bash_tail);
}

/* ---- zsh ---- */

static const char zsh_head[] = "#compdef fabric\n"
                               "# Completion of fabric for zsh.\n"
                               "_fabric()\n"
                               "{\n"
                               "    local first= second= word skip= i\n"
                               "    local -a commands\n"
                               "    for ((i = 2; i < CURRENT; i++)); do\n"
                               "        word=$words[i]\n"
                               "        if [[ -n $skip ]]; then skip=; continue; fi\n"
                               "        case $word in\n"
                               "        ";

static const char zsh_words[] =
    ") skip=1 ;;\n"
    "        -*) ;;\n"
    "        *) if [[ -z $first ]]; then first=$word; elif [[ -z $second ]]; then second=$word; fi "
    ";;\n"
    "        esac\n"
    "    done\n"
    "    case \"$first $second\" in\n";

static const char zsh_tail[] =
    "        )\n"
    "        _describe command commands\n"
    "        ;;\n"
    "    esac\n"
    "}\n"
    "if [[ $funcstack[1] == _fabric ]]; then _fabric \"$@\"; else compdef _fabric fabric; fi\n";

/* Inside '...' where a colon and brackets mean something. */
static void print_zsh_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fab_out("'\\''");
        else if (strchr(":[]", *text))
            fab_out("\\%c", *text);
        else
            fab_out("%c", *text);
    }
}

static void print_zsh_word(const char *word, const char *summary)
{
    fab_out("        '%s:", word);
    print_zsh_text(summary);
    fab_out("'\n");
}

static void print_zsh_options(const struct fab_option *option)
{
    for (; option && option->name; option++) {
        if (!option->help)
            continue;
        fab_out(" \\\n            '%s--%s%s[", option->repeat ? "*" : "", option->name,
                option->metavar ? "=" : "");
        print_zsh_text(option->help);
        fab_out("]");
        if (option->metavar)
            fab_out(":%s:_files", option->metavar);
        fab_out("'");
    }
}

static void print_zsh(void)
{
    fab_out("%s", zsh_head);
    print_value_options();
    fab_out("%s", zsh_words);
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        print_pattern((*c)->name);
        fab_out("\n        _arguments");
        print_zsh_options((*c)->options);
        print_zsh_options(fab_global_options);
        fab_out(" \\\n            '*::argument:_files'\n        ;;\n");
    }
    for (const struct fab_group *g = fab_groups; g->name; g++) {
        fab_out("    '%s '*)\n        commands=(\n", g->name);
        each_word(g->name, print_zsh_word);
        fab_out("        )\n        _describe command commands\n        ;;\n");
    }
    fab_out("    *)\n        commands=(\n");
    each_word(NULL, print_zsh_word);
    fab_out("%s", zsh_tail);
}

/* ---- fish ---- */

static void print_fish_text(const char *text)
{
    fab_out("'");
    for (; *text; text++)
        fab_out("%s%c", *text == '\'' || *text == '\\' ? "\\" : "", *text);
    fab_out("'\n");
}

static void print_fish_options(const struct fab_option *option, const char *condition)
{
    for (; option && option->name; option++) {
        if (!option->help)
            continue;
        fab_out("complete -c fabric%s -l %s", condition, option->name);
        if (option->letter)
            fab_out(" -s %c", option->letter);
        fab_out("%s -d ", option->metavar ? " -r" : "");
        print_fish_text(option->help);
    }
}

static void print_fish_word(const char *word, const char *summary)
{
    fab_out("complete -c fabric -f -n __fish_use_subcommand -a %s -d ", word);
    print_fish_text(summary);
}

static void print_fish_command(const struct fab_command *command)
{
    const char *name = command->name, *space = strchr(name, ' ');
    int n = space ? (int)(space - name) : (int)strlen(name);
    char condition[256];
    if (space) {
        fab_out("complete -c fabric -f -n '__fish_seen_subcommand_from %.*s' -a %s -d ", n, name,
                space + 1);
        print_fish_text(command->summary);
        snprintf(condition, sizeof condition,
                 " -n '__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s'", n,
                 name, space + 1);
    } else {
        snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %s'", name);
    }
    print_fish_options(command->options, condition);
}

static void print_fish(void)
{
    fab_out("# Completion of fabric for fish.\n");
    print_fish_options(fab_global_options, "");
    each_word(NULL, print_fish_word);
    for (const struct fab_command *const *c = fab_commands; *c; c++)
        print_fish_command(*c);
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    const char *shell = fab_args_at(args, 0);
    if (!strcmp(shell, "bash"))
        print_bash();
    else if (!strcmp(shell, "zsh"))
        print_zsh();
    else if (!strcmp(shell, "fish"))
        print_fish();
    else
        return fab_cli_usage(cli, "completion: unknown shell '%s'; there are bash, zsh and fish",
                             shell);
    return FAB_EXIT_OK;
}

static const char *const description[] = {
    "Prints a script that completes commands and options; --json changes nothing.",
    NULL,
};

static const struct fab_example examples[] = {
    {"source <(fabric completion bash)", "Complete in this shell."},
    {"fabric completion fish > ~/.config/fish/completions/fabric.fish", "Complete in every fish."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_completion = {
    .name = "completion",
    .summary = "Print a completion script for a shell",
    .synopsis = "bash|zsh|fish",
    .description = description,
    .examples = examples,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
