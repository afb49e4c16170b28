/*
 * TLS as both ends of a connection speak it: version 1.3 only, one protocol name (ALPN), no session to resume, no renegotiation. A stream
 * over a connected socket that does not block; whoever waits polls the socket.
 *
 * Certificates: the daemon shows its own, and the client checks it against the authorities it was given and against the name it connects to.
 * Where the daemon was given authorities, too, clients must show one. Revocation is by what they live on: short certificates and tokens.
 *
 * A settings object may be used by many threads at once; a stream belongs to one at a time. Built on OpenSSL; its own target, because libquire
 * loads it on demand only.
 */
#ifndef QUIRE_TLS_H
#define QUIRE_TLS_H

#include "proto/quire_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUIRE_TLS_ALPN "quire/1"
#define QUIRE_TLS_WHY_BYTES 256
#define QUIRE_TLS_NAME_BYTES 256

struct quire_tls_files {
    const char *certificate; /* PEM, the whole chain, its own first; the daemon must have one */
    const char *key;         /* PEM; NULL: in the certificate's file */
    const char *authorities; /* PEM, whom to believe; NULL: a client believes the system's, a daemon asks for no certificate */
};

struct quire_tls_settings;
/* Reads the files. INVALID with `why`: which file, what is wrong with it, what to do. */
enum quire_status quire_tls_settings_create(bool daemon, const struct quire_tls_files *files, struct quire_tls_settings **settings,
                                            char why[QUIRE_TLS_WHY_BYTES]);
/* The own certificate's time, in seconds since 1970; both 0 without one. */
void quire_tls_settings_valid(const struct quire_tls_settings *settings, int64_t *from_s, int64_t *until_s);
/* Streams made from them may live longer. */
void quire_tls_settings_destroy(struct quire_tls_settings **settings);

/* What both ends want of a TCP socket: nothing is held back, and a host that is gone is noticed within QUIRE_TLS_DEAD_MS, also while nobody
   sends: the system asks it, so that a client whose program is busy elsewhere is not taken for dead. */
#define QUIRE_TLS_DEAD_MS 11000
void quire_tls_prepare_socket(int fd);

struct quire_tls;
/* Over a socket that stays the caller's. `host`: whom a client means to reach, a name or an address; NULL for a daemon. NO_MEMORY. */
enum quire_status quire_tls_create(struct quire_tls_settings *settings, int fd, const char *host, struct quire_tls **tls);
/* Frees it; a word of goodbye goes out first when it can be sent at once, unless `silent`. */
void quire_tls_destroy(struct quire_tls **tls, bool silent);

/* Goes on with the handshake: OK: it is done. PENDING. DENIED: a certificate was not accepted. VERSION, DISCONNECTED, CORRUPT. */
enum quire_status quire_tls_handshake(struct quire_tls *tls);
/* As much as came, at most size bytes: *got > 0 with OK. PENDING, DISCONNECTED (also an orderly end), CORRUPT (tampered with), DENIED. */
enum quire_status quire_tls_read(struct quire_tls *tls, void *bytes, size_t size, size_t *got);
/* What can be sent at once: *sent > 0 with OK. After PENDING the same bytes come first in the next call, at whatever address. */
enum quire_status quire_tls_write(struct quire_tls *tls, const void *bytes, size_t size, size_t *sent);

/* What the last PENDING waits for: the socket to become writable; else readable. */
bool quire_tls_wants_out(const struct quire_tls *tls);
/* Bytes came that were not taken: a read has something, though the socket may not be readable. */
bool quire_tls_has_more(const struct quire_tls *tls);
/* What went wrong, for people; valid until the next call on it. */
const char *quire_tls_why(const struct quire_tls *tls);
/* The name in the other end's certificate (its common name), "" without one. */
void quire_tls_peer(const struct quire_tls *tls, char name[QUIRE_TLS_NAME_BYTES]);

#endif
