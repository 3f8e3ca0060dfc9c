/* A CAR archive in one piece and in pieces gives the same events and the same end. */
#include "storage/dag/car.h"

#include <stdlib.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct sum {
    uint64_t events, roots, bytes, mix;
    enum fab_rc rc;
};

static struct sum read_all(const uint8_t *data, size_t n, size_t step)
{
    struct fab_car_reader *r;
    struct sum s = {0};
    CHECK(fab_car_reader_new(&r) == FAB_OK);
    for (size_t at = 0; s.rc == FAB_OK && at < n; at += step) {
        struct fab_slice in = fab_slice(data + at, step < n - at ? step : n - at);
        struct fab_car_event e;
        while ((s.rc = fab_car_reader_next(r, &in, &e, NULL)) == FAB_OK && e.kind != FAB_CAR_MORE) {
            s.events++;
            s.mix = s.mix * 31 + e.kind;
            if (e.kind == FAB_CAR_HEADER) {
                s.roots += e.root_count;
                continue;
            }
            CHECK(e.data.n <= FAB_BLOCK_MAX);
            s.bytes += e.data.n;
            for (size_t i = 0; i < e.data.n; i++)
                s.mix = s.mix * 31 + e.data.p[i];
        }
    }
    if (s.rc == FAB_OK)
        s.rc = fab_car_reader_finish(r, NULL);
    fab_car_reader_free(r);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sum whole = read_all(data, n, n ? n : 1);
    static const size_t steps[] = {1, 7, 64};
    for (size_t i = 0; i < 3; i++) {
        struct sum s = read_all(data, n, steps[i]);
        CHECK(s.events == whole.events);
        CHECK(s.roots == whole.roots && s.bytes == whole.bytes && s.mix == whole.mix);
        CHECK(s.rc == whole.rc);
    }
    return 0;
}
