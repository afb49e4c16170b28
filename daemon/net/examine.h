/*
 * What the section `listen` asks for, looked at before anything is bound: the same for a start and for --check-config, so that neither finds good what the
 * other refuses. Warns of what is allowed and will not work.
 */
#ifndef DAEMON_NET_EXAMINE_H
#define DAEMON_NET_EXAMINE_H

#include "daemon/config.h"
#include "proto/tls/tls.h"

struct examined {
    uint32_t domain;             /* of those who come over a wire */
    uint32_t n_tokens;           /* 0: nobody listens */
    int64_t certificate_until_s; /* since 1970; 0: there is none */
};

/* On failure `why` tells what is wrong and what to do. Names may be looked up. */
enum quire_status examine_listen(const struct config *config, struct examined *found, char *why, size_t why_bytes);
/* The part of it that a reload reads anew. */
enum quire_status examine_certificate(const struct config_listen *listen, int64_t *until_s, char *why, size_t why_bytes);
struct quire_tls_files examine_tls_files(const struct config_listen *listen);

#endif
