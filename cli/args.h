/* Options and positional arguments of one command line, parsed against the command's option table.
 */
#ifndef FAB_CLI_ARGS_H
#define FAB_CLI_ARGS_H

#include "storage/base/rc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fab_option_type {
    FAB_OPTION_FLAG,   /* takes no value */
    FAB_OPTION_STRING, /* any text */
    FAB_OPTION_UINT,   /* a decimal number */
    FAB_OPTION_SIZE,   /* bytes, with an optional suffix: 4096, 10K, 1.5GiB, 2T (all powers of 1024)
                        */
    FAB_OPTION_DURATION, /* 90, 90s, 15m, 12h, 30d, 2w, 500ms, 1h30m; kept in milliseconds */
};

struct fab_option {
    const char *name; /* long name without the dashes; NULL ends the table */
    char letter;      /* short name, 0 for none */
    enum fab_option_type type;
    bool repeat;         /* may be given more than once; otherwise a second one is a usage error */
    const char *metavar; /* what the value is called in the help; NULL for a flag */
    const char *help; /* one or two sentences; NULL keeps the option out of help and completion */
};

struct fab_args;

/* Positional arguments, in order. Borrowed from the command line. */
size_t fab_args_count(const struct fab_args *args);
const char *fab_args_at(const struct fab_args *args, size_t i);
/* All of them as a NULL-terminated array, for execve and the like. */
char *const *fab_args_all(const struct fab_args *args);

/* Values of the option with the long name `name`, which must be in the command's table (asserted).
 * They were checked before the command ran, so none of these can fail. */
bool fab_args_given(const struct fab_args *args, const char *name);
const char *fab_args_string(const struct fab_args *args, const char *name); /* NULL if not given */
/* A number, bytes, or milliseconds, after the option's type. */
uint64_t fab_args_number(const struct fab_args *args, const char *name, uint64_t otherwise);
/* For an option that repeats: how often, and the i-th value in order. */
size_t fab_args_repeats(const struct fab_args *args, const char *name);
const char *fab_args_repeat(const struct fab_args *args, const char *name, size_t i);

/* Text to bytes or milliseconds: the whole text, no blanks, no sign. FAB_EINVAL, or FAB_ELIMIT when
 * it does not fit in 64 bits. */
FAB_MUST enum fab_rc fab_parse_uint(const char *text, uint64_t *out);
FAB_MUST enum fab_rc fab_parse_size(const char *text, uint64_t *out);
FAB_MUST enum fab_rc fab_parse_duration(const char *text, uint64_t *out);

/* Parse argv[0..n-1] (what follows the command's name) against two tables, the command's and the
 * global one. With `options_first` everything after the first positional argument is positional;
 * "--" always has that effect. The result borrows argv. FAB_EINVAL with a line in `err` for a usage
 * error. */
FAB_MUST enum fab_rc fab_args_parse(const struct fab_option *options,
                                    const struct fab_option *global, bool options_first, int n,
                                    char **argv, struct fab_args **out, struct fab_err *err);
void fab_args_free(struct fab_args *args); /* NULL is allowed */

#endif
