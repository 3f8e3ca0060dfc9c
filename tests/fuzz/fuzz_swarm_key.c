/* swarm.key: what is read is written in base16, and read again as the same key. */
#include "fabric/swarm/swarm_key.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t key[FAB_SWARM_KEY_SIZE], again[FAB_SWARM_KEY_SIZE];
    char text[FAB_SWARM_KEY_TEXT_MAX];
    struct fab_err err = {0};
    enum fab_rc rc = fab_swarm_key_parse(fab_slice(data, size), key, &err);

    if (rc != FAB_OK) {
        check(rc == FAB_EFORMAT && err.rc == rc && err.msg[0]);
        return 0;
    }
    size_t n = fab_swarm_key_text(key, text);
    check(n == strlen(text));
    check(fab_swarm_key_parse(fab_slice(text, n), again, NULL) == FAB_OK);
    check(memcmp(key, again, sizeof key) == 0);
    return 0;
}
