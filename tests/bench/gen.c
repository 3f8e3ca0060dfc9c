/* Data for benchmarks:
 *   bench_gen stream SEED BYTES               unlike bytes to stdout
 *   bench_gen files SEED COUNT MIN MAX DIR    COUNT files of MIN to MAX bytes, 100 to a directory
 *   bench_gen write BYTES FILE                sequential write and one fdatasync, seconds to stdout
 */
#include "tests/bench/prng.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)

static int fail(const char *what)
{
    fprintf(stderr, "bench_gen: %s: %s\n", what, strerror(errno));
    return 1;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int stream(uint64_t seed, uint64_t bytes, int fd)
{
    static uint8_t piece[PIECE];
    struct prng prng = prng_seed(seed);
    while (bytes > 0) {
        size_t n = bytes < PIECE ? (size_t)bytes : PIECE;
        prng_fill(&prng, piece, n);
        if (write_all(fd, piece, n) != 0)
            return fail("write");
        bytes -= n;
    }
    return 0;
}

static int files(uint64_t seed, uint64_t count, uint64_t min, uint64_t max, const char *dir)
{
    static uint8_t piece[PIECE];
    struct prng prng = prng_seed(seed);
    char path[4096];
    if (max > PIECE || min > max) {
        errno = EINVAL;
        return fail("sizes");
    }
    if (mkdir(dir, 0777) != 0)
        return fail(dir);
    for (uint64_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/d%05" PRIu64, dir, i / 100);
        if (i % 100 == 0 && mkdir(path, 0777) != 0)
            return fail(path);
        snprintf(path, sizeof path, "%s/d%05" PRIu64 "/f%02" PRIu64, dir, i / 100, i % 100);
        size_t n = (size_t)prng_between(&prng, min, max);
        prng_fill(&prng, piece, n);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 || write_all(fd, piece, n) != 0 || close(fd) != 0)
            return fail(path);
    }
    return 0;
}

/* The floor for durable ingest: the same bytes, nothing done with them. */
static int sequential(uint64_t bytes, const char *path)
{
    static uint8_t piece[PIECE];
    struct prng prng = prng_seed(1);
    prng_fill(&prng, piece, PIECE);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(path);
    for (uint64_t left = bytes; left > 0;) {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        if (write_all(fd, piece, n) != 0)
            return fail(path);
        left -= n;
    }
    if (fdatasync(fd) != 0 || close(fd) != 0)
        return fail(path);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.3f\n",
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "stream") == 0)
        return stream(number(argv[2]), number(argv[3]), STDOUT_FILENO);
    if (argc == 7 && strcmp(argv[1], "files") == 0)
        return files(number(argv[2]), number(argv[3]), number(argv[4]), number(argv[5]), argv[6]);
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        return sequential(number(argv[2]), argv[3]);
    fprintf(stderr, "usage: bench_gen stream SEED BYTES | files SEED COUNT MIN MAX DIR | write "
                    "BYTES FILE\n");
    return 2;
}
