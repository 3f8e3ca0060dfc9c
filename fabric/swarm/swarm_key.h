/* The swarm key: the 32 random bytes that make a swarm private, and the file `swarm.key` that Kubo
 * and Helia read (libp2p/specs pnet/Private-Networks-PSK-V1):
 *
 *   /key/swarm/psk/1.0.0/
 *   /base16/                      or /base64/, or /bin/ with the 32 bytes themselves
 *   64 hexadecimal digits         js-libp2p reads nothing else, so nothing else is written */
#ifndef FAB_SWARM_SWARM_KEY_H
#define FAB_SWARM_SWARM_KEY_H

#include "storage/base/bytes.h"

#define FAB_SWARM_KEY_SIZE             32  /* bytes */
#define FAB_SWARM_KEY_FILE_MAX         512 /* bytes of a file that is read */
#define FAB_SWARM_KEY_TEXT_MAX         97  /* bytes of the text that is written, with the NUL */
#define FAB_SWARM_KEY_FINGERPRINT_SIZE 33  /* 32 hexadecimal digits and the NUL */

/* Read a file's text. FAB_EFORMAT with one line in `err` (which may be NULL; it never holds a part
 * of the key). The text and the key are the caller's to wipe; `out` is set only on success. */
FAB_MUST enum fab_rc fab_swarm_key_parse(struct fab_slice text, uint8_t out[FAB_SWARM_KEY_SIZE],
                                         struct fab_err *err);

/* Write the file's text in base16, with a NUL; gives its length, FAB_SWARM_KEY_TEXT_MAX - 1. The
 * caller wipes it. */
size_t fab_swarm_key_text(const uint8_t key[FAB_SWARM_KEY_SIZE], char out[FAB_SWARM_KEY_TEXT_MAX]);

/* The fingerprint that Kubo prints when it starts: SHAKE128, 16 bytes, of 64 bytes of the Salsa20
 * keystream with the nonce "finprint"; as hexadecimal digits with a NUL. It tells nothing about the
 * key and may be shown. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_swarm_key_fingerprint(const uint8_t key[FAB_SWARM_KEY_SIZE],
                                               char out[FAB_SWARM_KEY_FINGERPRINT_SIZE]);

#endif
