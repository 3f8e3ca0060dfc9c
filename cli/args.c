#include "cli/args.h"

#include "cli/nearest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct value {
    const struct fab_option *option;
    const char *text; /* borrowed from argv; NULL for a flag */
    uint64_t number;
};

struct fab_args {
    const struct fab_option *options, *global;
    char **positional; /* owned array, NULL at the end */
    size_t n_positional;
    struct value *values; /* owned */
    size_t n_values;
};

void fab_args_free(struct fab_args *args)
{
    if (!args)
        return;
    free(args->positional);
    free(args->values);
    free(args);
}

static const struct fab_option *find_in(const struct fab_option *table, const char *name, size_t n)
{
    for (; table && table->name; table++)
        if (strlen(table->name) == n && !memcmp(table->name, name, n))
            return table;
    return NULL;
}

static const struct fab_option *find_long(const struct fab_args *args, const char *name, size_t n)
{
    const struct fab_option *option = find_in(args->options, name, n);
    return option ? option : find_in(args->global, name, n);
}

static const struct fab_option *find_letter(const struct fab_args *args, char letter)
{
    const struct fab_option *tables[] = {args->options, args->global};
    for (size_t i = 0; i < 2; i++)
        for (const struct fab_option *o = tables[i]; o && o->name; o++)
            if (o->letter && o->letter == letter)
                return o;
    return NULL;
}

static enum fab_rc unknown_long(const struct fab_args *args, const char *name, size_t n,
                                struct fab_err *err)
{
    char word[64];
    struct fab_nearest nearest;
    if (n < sizeof word) {
        memcpy(word, name, n);
        word[n] = 0;
        fab_nearest_init(&nearest, word);
        const struct fab_option *tables[] = {args->options, args->global};
        for (size_t i = 0; i < 2; i++)
            for (const struct fab_option *o = tables[i]; o && o->name; o++)
                fab_nearest_offer(&nearest, o->name);
        if (nearest.best)
            return fab_err_set(err, FAB_EINVAL, "unknown option --%s (did you mean --%s?)", word,
                               nearest.best);
    }
    return fab_err_set(err, FAB_EINVAL, "unknown option --%.*s", (int)(n < 200 ? n : 200), name);
}

static const char *type_hint(enum fab_option_type type)
{
    switch (type) {
    case FAB_OPTION_UINT:
        return "a number such as 8";
    case FAB_OPTION_SIZE:
        return "a size such as 4096, 64K or 1.5GiB";
    case FAB_OPTION_DURATION:
        return "a duration such as 90s, 15m, 1h30m or 30d";
    default:
        return "a value";
    }
}

static enum fab_rc add_value(struct fab_args *args, const struct fab_option *option,
                             const char *text, struct fab_err *err)
{
    struct value v = {.option = option, .text = text};
    enum fab_rc rc = FAB_OK;
    if (option->type != FAB_OPTION_FLAG && !option->repeat)
        for (size_t i = 0; i < args->n_values; i++)
            if (args->values[i].option == option)
                return fab_err_set(err, FAB_EINVAL, "option --%s is given twice", option->name);
    if (option->type == FAB_OPTION_UINT)
        rc = fab_parse_uint(text, &v.number);
    else if (option->type == FAB_OPTION_SIZE)
        rc = fab_parse_size(text, &v.number);
    else if (option->type == FAB_OPTION_DURATION)
        rc = fab_parse_duration(text, &v.number);
    if (rc != FAB_OK)
        return fab_err_set(err, FAB_EINVAL, "option --%s: '%s' is %s; give %s", option->name, text,
                           rc == FAB_ELIMIT ? "too large" : "not valid", type_hint(option->type));
    args->values[args->n_values++] = v;
    return FAB_OK;
}

static enum fab_rc need_value(const struct fab_option *option, struct fab_err *err)
{
    return fab_err_set(err, FAB_EINVAL, "option --%s needs a value: --%s %s", option->name,
                       option->name, option->metavar ? option->metavar : "VALUE");
}

/* argv[*i] is "--name" or "--name=value". */
static enum fab_rc parse_long(struct fab_args *args, int n, char **argv, int *i,
                              struct fab_err *err)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct fab_option *option = find_long(args, name, len);
    if (!option)
        return unknown_long(args, name, len, err);
    if (option->type == FAB_OPTION_FLAG) {
        if (equals)
            return fab_err_set(err, FAB_EINVAL, "option --%s takes no value", option->name);
        return add_value(args, option, NULL, err);
    }
    if (equals)
        return add_value(args, option, equals + 1, err);
    if (*i + 1 >= n)
        return need_value(option, err);
    return add_value(args, option, argv[++*i], err);
}

/* argv[*i] is "-abc": flags, the last of which may take the rest or the next word as its value. */
static enum fab_rc parse_letters(struct fab_args *args, int n, char **argv, int *i,
                                 struct fab_err *err)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct fab_option *option = find_letter(args, *p);
        if (!option)
            return fab_err_set(err, FAB_EINVAL, "unknown option -%c in '%s'", *p, argv[*i]);
        if (option->type == FAB_OPTION_FLAG) {
            FAB_TRY(add_value(args, option, NULL, err));
            continue;
        }
        if (p[1])
            return add_value(args, option, p + 1, err);
        if (*i + 1 >= n)
            return need_value(option, err);
        return add_value(args, option, argv[++*i], err);
    }
    return FAB_OK;
}

static enum fab_rc parse_all(struct fab_args *args, bool options_first, int n, char **argv,
                             struct fab_err *err)
{
    bool only_positional = false;
    for (int i = 0; i < n; i++) {
        const char *word = argv[i];
        if (only_positional || word[0] != '-' || !word[1]) {
            args->positional[args->n_positional++] = argv[i];
            only_positional = only_positional || options_first;
        } else if (!strcmp(word, "--")) {
            only_positional = true;
        } else if (word[1] == '-') {
            FAB_TRY(parse_long(args, n, argv, &i, err));
        } else {
            FAB_TRY(parse_letters(args, n, argv, &i, err));
        }
    }
    return FAB_OK;
}

enum fab_rc fab_args_parse(const struct fab_option *options, const struct fab_option *global,
                           bool options_first, int n, char **argv, struct fab_args **out,
                           struct fab_err *err)
{
    size_t letters = 1;
    for (int i = 0; i < n; i++)
        letters += strlen(argv[i]) + 1; /* no word gives more values than it has letters */
    struct fab_args *args = calloc(1, sizeof *args);
    if (!args)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    args->options = options;
    args->global = global;
    args->positional = calloc((size_t)n + 1, sizeof *args->positional);
    args->values = calloc(letters, sizeof *args->values);
    enum fab_rc rc = args->positional && args->values
                         ? parse_all(args, options_first, n, argv, err)
                         : fab_err_set(err, FAB_ENOMEM, "out of memory");
    if (rc != FAB_OK) {
        fab_args_free(args);
        return rc;
    }
    *out = args;
    return FAB_OK;
}

size_t fab_args_count(const struct fab_args *args)
{
    return args->n_positional;
}

const char *fab_args_at(const struct fab_args *args, size_t i)
{
    assert(i < args->n_positional);
    return args->positional[i];
}

char *const *fab_args_all(const struct fab_args *args)
{
    return args->positional;
}

/* The i-th value of the option called `name`, or NULL. */
static const struct value *find_value(const struct fab_args *args, const char *name, size_t i)
{
    const struct fab_option *option = find_long(args, name, strlen(name));
    assert(option);
    for (size_t k = 0; k < args->n_values; k++)
        if (args->values[k].option == option && i-- == 0)
            return &args->values[k];
    return NULL;
}

bool fab_args_given(const struct fab_args *args, const char *name)
{
    return find_value(args, name, 0) != NULL;
}

const char *fab_args_string(const struct fab_args *args, const char *name)
{
    const struct value *v = find_value(args, name, 0);
    return v ? v->text : NULL;
}

uint64_t fab_args_number(const struct fab_args *args, const char *name, uint64_t otherwise)
{
    const struct value *v = find_value(args, name, 0);
    return v ? v->number : otherwise;
}

size_t fab_args_repeats(const struct fab_args *args, const char *name)
{
    size_t n = 0;
    while (find_value(args, name, n))
        n++;
    return n;
}

const char *fab_args_repeat(const struct fab_args *args, const char *name, size_t i)
{
    const struct value *v = find_value(args, name, i);
    return v ? v->text : NULL;
}
