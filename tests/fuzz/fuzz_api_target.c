/* The path and query of an API request: whatever is accepted matches its own shape, and nothing
 * decoded holds a NUL. */
#include "fabric/api/inner.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const patterns[] = {
        "/api/v1/id",
        "/api/v1/workspaces/{workspace}/fetch",
        "/{a}",
        "/{a}/{b}/{c}",
    };
    struct fab_api_target target;
    char *raw = malloc(size + 1);
    if (!raw)
        return 0;
    if (size > 0)
        memcpy(raw, data, size);
    raw[size] = '\0';
    enum fab_rc rc = fab_api_target_parse(raw, &target);
    if (rc == FAB_OK) {
        for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
            if (fab_api_target_match(&target, patterns[i]) && raw[0] != '/')
                abort();
    } else if (rc != FAB_EFORMAT && rc != FAB_ELIMIT && rc != FAB_ENOMEM) {
        abort();
    }
    fab_api_target_fini(&target);
    free(raw);
    return 0;
}
