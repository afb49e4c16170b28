#include "proto/tls/internal.h"

#include <openssl/err.h>
#include <openssl/x509err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The first thing that OpenSSL complained of; its queue is left empty. */
void quire_tls_complaint(char *text, size_t bytes) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    snprintf(text, bytes, "%s", reason != NULL ? reason : "no reason given");
    ERR_clear_error();
}

static enum quire_status complain(char *why, const char *file, const char *what) {
    char complaint[128];
    quire_tls_complaint(complaint, sizeof complaint);
    snprintf(why, QUIRE_TLS_WHY_BYTES, "%.120s: %s (%s)", file, what, complaint);
    return QUIRE_INVALID;
}

static enum quire_status take_files(SSL_CTX *ctx, const struct quire_tls_files *files, char *why) {
    if (files->certificate != NULL && SSL_CTX_use_certificate_chain_file(ctx, files->certificate) != 1) {
        return complain(why, files->certificate, "is no certificate that can be read: give a PEM file, the own certificate first");
    }
    const char *key = files->key != NULL ? files->key : files->certificate;
    if (files->certificate != NULL && SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        bool other = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
        return complain(why, key,
                        other ? "does not belong to the certificate"
                              : "is no private key that can be read: give a PEM file without password");
    }
    if (files->authorities != NULL && SSL_CTX_load_verify_locations(ctx, files->authorities, NULL) != 1) {
        return complain(why, files->authorities, "has no certificate of an authority: give a PEM file");
    }
    return QUIRE_OK;
}

/* The other end must name our protocol: another service's client or server is refused before a byte of ours is said. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_bytes, const unsigned char *in, unsigned int in_bytes,
                       void *arg) {
    static const unsigned char ours[] = "\x07" QUIRE_TLS_ALPN;
    unsigned char *found;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&found, out_bytes, ours, sizeof ours - 1, in, in_bytes) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

static enum quire_status set_rules(struct quire_tls_settings *settings, const struct quire_tls_files *files, char *why) {
    SSL_CTX *ctx = settings->ctx;
    static const unsigned char alpn[] = "\x07" QUIRE_TLS_ALPN;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    /* Partial writes: what was sent counts at once. Moving: a queue may have been moved in memory between two tries. */
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1) {
        return complain(why, "TLS", "1.3 is not to be had from this OpenSSL");
    }
    if (settings->daemon) {
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
        SSL_CTX_set_verify(ctx, files->authorities != NULL ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
        return QUIRE_OK;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1) != 0 ||
        (files->authorities == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1)) {
        return complain(why, "TLS", "cannot be set up");
    }
    return QUIRE_OK;
}

enum quire_status quire_tls_settings_create(bool daemon, const struct quire_tls_files *files, struct quire_tls_settings **out,
                                            char why[QUIRE_TLS_WHY_BYTES]) {
    struct quire_tls_settings *settings = calloc(1, sizeof *settings);
    *out = NULL;
    if (settings == NULL) {
        snprintf(why, QUIRE_TLS_WHY_BYTES, "out of memory for TLS");
        return QUIRE_NO_MEMORY;
    }
    settings->daemon = daemon;
    settings->ctx = SSL_CTX_new(daemon ? TLS_server_method() : TLS_client_method());
    settings->bio = quire_tls_bio_method();
    enum quire_status status = settings->ctx != NULL && settings->bio != NULL ? QUIRE_OK : complain(why, "TLS", "cannot be set up");
    status = status == QUIRE_OK ? set_rules(settings, files, why) : status;
    status = status == QUIRE_OK ? take_files(settings->ctx, files, why) : status;
    if (status != QUIRE_OK) {
        quire_tls_settings_destroy(&settings);
    }
    *out = settings;
    return status;
}

static int64_t seconds_of(const ASN1_TIME *at) {
    struct tm utc;
    return at != NULL && ASN1_TIME_to_tm(at, &utc) == 1 ? (int64_t)timegm(&utc) : 0;
}

void quire_tls_settings_valid(const struct quire_tls_settings *settings, int64_t *from_s, int64_t *until_s) {
    const X509 *certificate = SSL_CTX_get0_certificate(settings->ctx);
    *from_s = certificate != NULL ? seconds_of(X509_get0_notBefore(certificate)) : 0;
    *until_s = certificate != NULL ? seconds_of(X509_get0_notAfter(certificate)) : 0;
}

void quire_tls_settings_destroy(struct quire_tls_settings **handle) {
    struct quire_tls_settings *settings = *handle;
    *handle = NULL;
    if (settings != NULL) {
        SSL_CTX_free(settings->ctx);
        free(settings);
    }
}
