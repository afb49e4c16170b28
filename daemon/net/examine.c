#include "daemon/net/examine.h"

#include "daemon/log.h"
#include "daemon/net/places.h"
#include "daemon/net/tokens.h"
#include "daemon/net/ucx_rail.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------ */
struct quire_tls_files examine_tls_files(const struct config_listen *listen) {
    return (struct quire_tls_files){.certificate = listen->tls_certificate[0] != '\0' ? listen->tls_certificate : NULL,
                                    .key = listen->tls_key[0] != '\0' ? listen->tls_key : NULL,
                                    .authorities = listen->tls_authorities[0] != '\0' ? listen->tls_authorities : NULL};
}

/* Its group may read it: services are given keys so. One that is not there is told by whoever reads it. */
static enum quire_status examine_key(const char *path, char *why, size_t why_bytes) {
    struct stat facts;
    if (stat(path, &facts) != 0 || (facts.st_mode & 027) == 0) {
        return QUIRE_OK;
    }
    snprintf(why, why_bytes, "listen: the private key in %s can be read or changed by others (mode %04o): chmod 600 it", path,
             (unsigned)facts.st_mode & 07777u);
    return QUIRE_DENIED;
}

enum quire_status examine_certificate(const struct config_listen *listen, int64_t *until_s, char *why, size_t why_bytes) {
    const struct quire_tls_files files = examine_tls_files(listen);
    struct quire_tls_settings *settings;
    char tls_why[QUIRE_TLS_WHY_BYTES] = "";
    int64_t from_s, now_s = time(NULL);
    *until_s = 0;
    if (listen->tls[0] == '\0') {
        return QUIRE_OK;
    }
    if (files.certificate == NULL) {
        snprintf(why, why_bytes,
                 "listen.tls: TLS needs a certificate: name its file as listen.tls_certificate, and its key's as listen.tls_key");
        return QUIRE_INVALID;
    }
    enum quire_status status = quire_tls_settings_create(true, &files, &settings, tls_why);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "listen: %s", tls_why);
        return status;
    }
    quire_tls_settings_valid(settings, &from_s, until_s);
    quire_tls_settings_destroy(&settings);
    if (*until_s <= now_s || from_s > now_s) {
        log_warn("certificate_expired", "%s %s: clients refuse it; put another there and let quired reload its configuration",
                 files.certificate, from_s > now_s ? "is not valid yet" : "has expired");
    }
    return examine_key(files.key != NULL ? files.key : files.certificate, why, why_bytes);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status examine_tokens(const struct config_listen *listen, uint32_t *n, char *why, size_t why_bytes) {
    struct tokens *tokens;
    if (listen->token_file[0] == '\0') {
        snprintf(why, why_bytes, "listen: other hosts may connect only with a token: name a file of them as listen.token_file");
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(tokens_load(listen->token_file, &tokens, why, why_bytes));
    *n = tokens->n;
    tokens_free(&tokens);
    return QUIRE_OK;
}

static enum quire_status examine_domain(const struct config *config, uint32_t *domain, char *why, size_t why_bytes) {
    const char *name = config->listen.domain;
    for (uint32_t i = 0; i < config->n_domains; i++) {
        if (name[0] == '\0' || strcmp(config->domains[i].name, name) == 0) {
            *domain = i;
            return QUIRE_OK;
        }
    }
    snprintf(why, why_bytes, "listen.domain: no trust domain '%s' is configured under `domains:`", name);
    return QUIRE_INVALID;
}

enum quire_status examine_listen(const struct config *config, struct examined *found, char *why, size_t why_bytes) {
    const struct config_listen *listen = &config->listen;
    struct place places[PLACES_MAX];
    uint32_t n;
    bool loopback;
    *found = (struct examined){0};
    if (listen->tls[0] == '\0' && listen->ucx[0] == '\0') {
        return QUIRE_OK;
    }
    QUIRE_FORWARD(examine_domain(config, &found->domain, why, why_bytes));
    if (listen->tls[0] != '\0') {
        QUIRE_FORWARD(places_here("listen.tls", listen->tls, listen, places, &n, why, why_bytes));
    }
    if (listen->ucx[0] != '\0') {
        QUIRE_FORWARD(ucx_rail_reach(listen->ucx, listen->trusted_fabric, &loopback, why, why_bytes));
        QUIRE_FORWARD(places_here("listen.ucx", listen->ucx, listen, places, &n, why, why_bytes));
    }
    QUIRE_FORWARD(examine_tokens(listen, &found->n_tokens, why, why_bytes));
    return examine_certificate(listen, &found->certificate_until_s, why, why_bytes);
}
