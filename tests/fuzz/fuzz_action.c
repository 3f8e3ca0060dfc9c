/* Actions, result objects, records and image blocks come from stores and peers. */
#include "scheduler/core/action.h"
#include "scheduler/ledger/image.h"
#include "scheduler/ledger/job.h"
#include "scheduler/ledger/result.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_slice block = fab_slice(data, size);
    struct fab_action action;
    struct fab_image image;
    struct fab_result result;
    struct fab_job job;
    if (fab_action_decode(block, &action) == FAB_OK)
        fab_action_fini(&action);
    if (fab_image_decode(block, &image) == FAB_OK)
        fab_image_fini(&image);
    if (fab_result_decode(block, &result) == FAB_OK && result.action.version > 1)
        abort();
    if (fab_job_decode(block, &job) == FAB_OK && job.state > FAB_JOB_STATES)
        abort();
    return 0;
}
