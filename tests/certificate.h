/* A certificate that signs itself, good for 127.0.0.1 for an hour, with its key in the same file: whoever needs one makes it. */
#ifndef TESTS_CERTIFICATE_H
#define TESTS_CERTIFICATE_H

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>

static inline bool certificate_sign(X509 *certificate, EVP_PKEY *key) {
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    bool good = names != NULL && X509_set_version(certificate, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), -60) != NULL &&
                X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL && X509_set_pubkey(certificate, key) == 1 &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"quire test", -1, -1, 0) == 1 &&
                X509_set_issuer_name(certificate, name) == 1 && X509_add_ext(certificate, names, -1) == 1;
    X509_EXTENSION_free(names);
    return good && X509_sign(certificate, key, EVP_sha256()) > 0;
}

static inline bool certificate_write(const char *path) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool good = key != NULL && certificate != NULL && file != NULL && certificate_sign(certificate, key) &&
                PEM_write_X509(file, certificate) == 1 && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
    good = (file == NULL || fclose(file) == 0) && good;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return good;
}

#endif
