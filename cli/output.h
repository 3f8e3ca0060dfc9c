/* Results on stdout: text lines, or JSON values with --json.
 *
 * Names and texts from outside may hold any byte. In text a control character, a backslash, or a
 * byte that is not UTF-8 is written \n, \t, \\ or \xNN, so one result is one line and a terminal is
 * never driven. In JSON a string that is not UTF-8 gets U+FFFD for every wrong byte, and a second
 * member KEY_base64 beside it holds the exact bytes. */
#ifndef FAB_CLI_OUTPUT_H
#define FAB_CLI_OUTPUT_H

#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

/* printf to stdout. A write error is kept and reported once at the end (exit 1). */
void fab_out(const char *fmt, ...) FAB_PRINTF(1, 2);
/* The n bytes, escaped as said above, to `file`. */
void fab_out_name(FILE *file, const char *name, size_t n);
/* As fab_out_name, but a backslash stays one: for messages that are escaped already. */
void fab_out_message(FILE *file, const char *text);
/* Flush; FAB_OK only if everything written to stdout so far has arrived and every JSON value could
 * be made. */
FAB_MUST enum fab_rc fab_out_flush(struct fab_err *err);
/* Writing to stdout has failed: a long listing may as well end. */
bool fab_out_failed(void);
/* Nobody reads stdout any more: a pipe whose other end is closed. */
bool fab_out_closed(void);

/* One JSON value and a newline. Takes the reference; NULL (out of memory while building) is
 * remembered as a failure and reported at the end. */
void fab_out_json(json_t *value);
/* As fab_out_json, flushed at once, for streams. */
void fab_out_json_line(json_t *value);
/* One JSON array, written item by item, so that a long list needs no memory. All zero to begin
 * with. */
struct fab_out_array {
    bool open;
};
void fab_out_array_item(struct fab_out_array *array, json_t *value);
void fab_out_array_end(struct fab_out_array *array);

/* Set members of `object`, remembering a failure for fab_out_json. */
void fab_json_set_name(json_t *object, const char *key, const char *name, size_t n);
void fab_json_set_text(json_t *object, const char *key, const char *text); /* fab_json_set_name */
void fab_json_set_uint(json_t *object, const char *key, uint64_t v); /* text above INT64_MAX */
void fab_json_set_bool(json_t *object, const char *key, bool v);
void fab_json_set_json(json_t *object, const char *key, json_t *value); /* takes the reference */
void fab_json_append(json_t *array, json_t *value);                     /* likewise */
void fab_json_set_cid(json_t *object, const char *key, const struct fab_cid *cid);

#define FAB_HUMAN_MAX 24
/* "1.5 GiB", "812 B". Gives `out`. */
const char *fab_human_size(uint64_t bytes, char out[FAB_HUMAN_MAX]);
/* "2 h 5 m", "41 s". Gives `out`. */
const char *fab_human_time(double seconds, char out[FAB_HUMAN_MAX]);

#endif
