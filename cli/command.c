#include "cli/command.h"

#include "cli/nearest.h"

#include <string.h>

/* Is `word` the whole first word of `name`? */
static bool is_first_word(const char *name, const char *word)
{
    size_t n = strlen(word);
    return !strncmp(name, word, n) && (name[n] == 0 || name[n] == ' ');
}

static const struct fab_group *find_group(const char *word)
{
    for (const struct fab_group *g = fab_groups; g->name; g++)
        if (!strcmp(g->name, word))
            return g;
    return NULL;
}

const struct fab_command *fab_command_find(int n, char *const *words, int *used,
                                           const struct fab_group **group)
{
    *used = 0;
    *group = NULL;
    if (n < 1)
        return NULL;
    *group = find_group(words[0]);
    if (*group)
        *used = 1;
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        const char *name = (*c)->name, *space = strchr(name, ' ');
        if (!is_first_word(name, words[0]) || !words[0][0])
            continue;
        if (!space || (n > 1 && !strcmp(space + 1, words[1]))) {
            *used = space ? 2 : 1;
            *group = NULL;
            return *c;
        }
    }
    return NULL;
}

const char *fab_command_nearest(const char *group, const char *word)
{
    struct fab_nearest nearest;
    size_t n = strlen(group);
    fab_nearest_init(&nearest, word);
    for (const struct fab_command *const *c = fab_commands; *c; c++) {
        const char *name = (*c)->name;
        if (n > 0 && is_first_word(name, group) && name[n] == ' ')
            fab_nearest_offer(&nearest, name + n + 1);
        else if (n == 0 && !strchr(name, ' '))
            fab_nearest_offer(&nearest, name);
    }
    for (const struct fab_group *g = fab_groups; n == 0 && g->name; g++)
        fab_nearest_offer(&nearest, g->name);
    return nearest.best;
}
