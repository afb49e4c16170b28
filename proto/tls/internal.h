/* Shared by the files of proto/tls. */
#ifndef QUIRE_TLS_INTERNAL_H
#define QUIRE_TLS_INTERNAL_H

#include "proto/tls/tls.h"

#include <openssl/ssl.h>

struct quire_tls_settings {
    bool daemon;
    SSL_CTX *ctx;
    const BIO_METHOD *bio;
};

/* What OpenSSL complained of last, for people. */
void quire_tls_complaint(char *text, size_t bytes);

/* A socket that sends without SIGPIPE: a library must not end its host program because a daemon went away. NULL: no memory. */
const BIO_METHOD *quire_tls_bio_method(void);

#endif
