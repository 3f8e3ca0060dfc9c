/* How bytes get into blocks.dat.
 *
 *     what an ingest begins with ──┐
 *     small, or not in whole pages ┴─────────────▶ page cache ──nudge──▶ disk
 *     large and in whole pages ──gather──▶ one write past the cache ───▶ disk
 *
 * What has just been put is soon read, so as much as can be kept goes through the cache. Past it a
 * large block costs no copy and no write-back, and does not push out what others read. Such a write
 * returns when the disk has the bytes, and the larger it is the better the disk is used, so blocks
 * that lie one behind the other and came together are written at once. The commit syncs the file in
 * any case: its length, and the disk's own cache. */
#include "storage/store/room.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define NUDGE_BYTES  (8u << 20)
#define DIRECT_MIN   (128u << 10) /* bytes of a block: a smaller one is better off in the cache */
#define GATHER_BYTES (8u << 20)   /* in one write; half as much was a little slower */

/* Through the page cache. Whole pages: to write a part of one that is not in memory, the kernel
 * would have to read it. Gives an errno, as gathered_write. */
static int write_cached(struct fab_store *store, struct fab_slice data, uint64_t page)
{
    static const uint8_t zeros[EXTENT_PAGE];
    struct store_extents *ext = store->extents;
    size_t whole = store_pages_of(data.n) * EXTENT_PAGE, done = 0;
    while (done < whole) {
        size_t left = done < data.n ? data.n - done : 0;
        struct iovec parts[2] = {{(void *)(uintptr_t)(data.p + data.n - left), left},
                                 {(void *)(uintptr_t)zeros, left ? whole - data.n : whole - done}};
        ssize_t n = pwritev(ext->fd, parts, 2, (off_t)(page * EXTENT_PAGE + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        done += (size_t)n;
    }
    ext->nudged += data.n;
    if (!store->memory_fs && ext->nudged >= NUDGE_BYTES) {
        /* So that the disk works while the next blocks come. A hint: the commit syncs. */
        (void)!sync_file_range(ext->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        ext->nudged = 0;
    }
    return 0;
}

bool store_extents_pending(const struct fab_store *store)
{
    return store->extents->gathered_n > 0;
}

static int gathered_write(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    unsigned n = ext->gathered_n;
    uint64_t page = ext->gathered_page;
    int rc = 0;
    if (n == 0)
        return 0;
    ext->gathered_n = 0;
    ssize_t wrote = pwritev(ext->direct_fd, ext->gathered, (int)n, (off_t)(page * EXTENT_PAGE));
    size_t done = wrote > 0 ? (size_t)wrote : 0;
    /* A disk that is full, or wants another alignment: the cache takes the rest, or says why not.
     */
    for (unsigned i = 0; i < n && rc == 0; i++) {
        struct fab_slice data = fab_slice(ext->gathered[i].iov_base, ext->gathered[i].iov_len);
        if (done < data.n)
            rc = write_cached(store, data, page);
        done -= done < data.n ? done : data.n;
        page += data.n / EXTENT_PAGE;
    }
    return rc;
}

enum fab_rc store_extents_flush(struct fab_store *store)
{
    int rc = gathered_write(store);
    return rc ? fab_rc_errno(rc) : FAB_OK;
}

static bool in_whole_pages(struct fab_slice data)
{
    return data.n % EXTENT_PAGE == 0 && (uintptr_t)data.p % EXTENT_PAGE == 0;
}

enum fab_rc store_bytes_write(struct fab_store *store, struct fab_slice data, uint64_t page,
                              bool past_cache)
{
    struct store_extents *ext = store->extents;
    ext->dirty = true;
    if (!past_cache || ext->direct_fd < 0 || data.n < DIRECT_MIN || !in_whole_pages(data)) {
        int rc = write_cached(store, data, page);
        return rc ? fab_rc_errno(rc) : FAB_OK;
    }
    if (ext->gathered_n == EXTENT_GATHER ||
        (ext->gathered_n > 0 && (page != ext->gathered_page + ext->gathered_bytes / EXTENT_PAGE ||
                                 ext->gathered_bytes + data.n > GATHER_BYTES)))
        FAB_TRY(store_extents_flush(store));
    if (ext->gathered_n == 0) {
        ext->gathered_page = page;
        ext->gathered_bytes = 0;
    }
    ext->gathered[ext->gathered_n++] = (struct iovec){(void *)(uintptr_t)data.p, data.n};
    ext->gathered_bytes += data.n;
    return FAB_OK;
}

/* ---- with the transaction ---- */

void store_extents_forget(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    ext->dirty = ext->appended = false;
    ext->gathered_n = 0;
    ext->ripened = 0;
}

void store_extents_abort(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    if (ext->appended) /* on a full disk others need the room */
        (void)!ftruncate(ext->fd, (off_t)(ext->end * EXTENT_PAGE));
    store_extents_forget(store);
}

int store_extents_sync(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    int rc = gathered_write(store);
    if (rc == 0 && ext->dirty && !store->memory_fs)
        while ((rc = fdatasync(ext->fd) == 0 ? 0 : errno) == EINTR)
            ;
    return rc;
}
