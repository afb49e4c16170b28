#include "proto/tls/internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_AHEAD_BYTES (64u << 10)

struct quire_tls {
    SSL *ssl;
    bool wants_out, more;
    char why[QUIRE_TLS_WHY_BYTES];
};

/* A client must reach whom it means: the certificate has to bear that name or address. */
static bool expect_host(SSL *ssl, const char *host) {
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1) {
        return true;
    }
    ERR_clear_error();
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

enum quire_status quire_tls_create(struct quire_tls_settings *settings, int fd, const char *host, struct quire_tls **out) {
    struct quire_tls *tls = calloc(1, sizeof *tls);
    SSL *ssl = SSL_new(settings->ctx);
    BIO *bio = BIO_new(settings->bio);
    *out = NULL;
    if (tls == NULL || ssl == NULL || bio == NULL || (host != NULL && !expect_host(ssl, host))) {
        ERR_clear_error();
        BIO_free(bio);
        SSL_free(ssl);
        free(tls);
        return QUIRE_NO_MEMORY;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_read_ahead(ssl, 1); /* a system call brings several records */
    SSL_set_default_read_buffer_len(ssl, READ_AHEAD_BYTES);
    if (settings->daemon) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    tls->ssl = ssl;
    *out = tls;
    return QUIRE_OK;
}

void quire_tls_destroy(struct quire_tls **handle, bool silent) {
    struct quire_tls *tls = *handle;
    *handle = NULL;
    if (tls == NULL) {
        return;
    }
    if (!silent && SSL_is_init_finished(tls->ssl)) {
        SSL_shutdown(tls->ssl);
    }
    SSL_free(tls->ssl);
    ERR_clear_error();
    free(tls);
}

static enum quire_status say(struct quire_tls *tls, enum quire_status status, const char *text) {
    snprintf(tls->why, sizeof tls->why, "%s", text);
    return status;
}

/* A certificate that was refused, by us or by the other end, which says so by an alert. */
static bool is_refusal(int reason) {
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static enum quire_status broken(struct quire_tls *tls) {
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    long verified = SSL_get_verify_result(tls->ssl);
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        return say(tls, QUIRE_DISCONNECTED, "the other end hung up without a word");
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK) {
        ERR_clear_error();
        snprintf(tls->why, sizeof tls->why, "the other end's certificate is not accepted: %s", X509_verify_cert_error_string(verified));
        return QUIRE_DENIED;
    }
    if (reason == SSL_R_NO_APPLICATION_PROTOCOL || reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) {
        ERR_clear_error();
        return say(tls, QUIRE_VERSION,
                   "the other end does not speak " QUIRE_TLS_ALPN ": it is of another version, which must match, or not of Quire");
    }
    quire_tls_complaint(tls->why, sizeof tls->why);
    return is_refusal(reason) ? QUIRE_DENIED : QUIRE_CORRUPT;
}

/* Why an operation did not go through. */
static enum quire_status outcome(struct quire_tls *tls, int rc) {
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        tls->wants_out = false;
        return QUIRE_PENDING;
    case SSL_ERROR_WANT_WRITE:
        tls->wants_out = true;
        return QUIRE_PENDING;
    case SSL_ERROR_ZERO_RETURN:
        return say(tls, QUIRE_DISCONNECTED, "the other end has closed the connection");
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return say(tls, QUIRE_DISCONNECTED, "the connection is gone");
    default:
        return broken(tls);
    }
}

enum quire_status quire_tls_handshake(struct quire_tls *tls) {
    ERR_clear_error();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc != 1) {
        return outcome(tls, rc);
    }
    const unsigned char *alpn;
    unsigned int alpn_bytes;
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_bytes);
    tls->wants_out = false;
    return alpn_bytes > 0 ? QUIRE_OK : say(tls, QUIRE_CORRUPT, "the other end speaks TLS, and not Quire's protocol");
}

enum quire_status quire_tls_read(struct quire_tls *tls, void *bytes, size_t size, size_t *got) {
    size_t filled = 0, n = 0;
    int rc = 1;
    ERR_clear_error();
    while (filled < size && (rc = SSL_read_ex(tls->ssl, (uint8_t *)bytes + filled, size - filled, &n)) == 1) {
        filled += n;
    }
    tls->more = rc == 1 && SSL_has_pending(tls->ssl) == 1;
    if (filled == 0) {
        return outcome(tls, rc);
    }
    *got = filled; /* what ended it is told by the next call */
    tls->wants_out = false;
    return QUIRE_OK;
}

enum quire_status quire_tls_write(struct quire_tls *tls, const void *bytes, size_t size, size_t *sent) {
    ERR_clear_error();
    int rc = SSL_write_ex(tls->ssl, bytes, size, sent);
    if (rc != 1) {
        return outcome(tls, rc);
    }
    tls->wants_out = false;
    return QUIRE_OK;
}

bool quire_tls_wants_out(const struct quire_tls *tls) { return tls->wants_out; }

bool quire_tls_has_more(const struct quire_tls *tls) { return tls->more; }

const char *quire_tls_why(const struct quire_tls *tls) { return tls->why; }

void quire_tls_peer(const struct quire_tls *tls, char name[QUIRE_TLS_NAME_BYTES]) {
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    name[0] = '\0';
    if (certificate != NULL &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, QUIRE_TLS_NAME_BYTES) < 0) {
        name[0] = '\0';
    }
}
