/* bench_pnet BYTES: XORs that many bytes with a swarm's keystream, 64 KiB at a time as the daemon
 * does, and prints the CPU seconds that it took. */
#include "fabric/swarm/pnet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PIECE (64u << 10)

int main(int argc, char **argv)
{
    static uint8_t piece[PIECE];
    static const uint8_t key[FAB_SWARM_KEY_SIZE] = {1}, nonce[FAB_PNET_NONCE_SIZE] = {2};
    char *end = NULL;
    unsigned long long bytes = argc == 2 ? strtoull(argv[1], &end, 10) : 0;
    if (bytes < PIECE || *end) {
        fprintf(stderr, "usage: bench_pnet BYTES (at least %u)\n", PIECE);
        return 2;
    }
    struct fab_pnet_cipher cipher;
    fab_pnet_cipher_init(&cipher, key, nonce);
    clock_t begin = clock();
    for (unsigned long long done = 0; done < bytes; done += PIECE)
        fab_pnet_cipher_xor(&cipher, piece, PIECE);
    printf("%.6f\n", (double)(clock() - begin) / CLOCKS_PER_SEC);
    return 0;
}
