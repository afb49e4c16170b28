/* What a client over a wire is told beside the address: its token, and the files of TLS. */
#include "client/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_FILE_BYTES 4096

/* "name secret", the first line that is no comment. */
static bool parse_token(char *text, struct client_token *token) {
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        char *word = NULL, *name = strtok_r(line, " \t\r", &word);
        const char *secret = name != NULL && name[0] != '#' ? strtok_r(NULL, " \t\r", &word) : NULL;
        if (name == NULL || name[0] == '#') {
            continue;
        }
        if (secret == NULL || strlen(name) >= sizeof(token->name) || strlen(secret) >= sizeof(token->secret)) {
            return false;
        }
        strcpy(token->name, name);
        strcpy(token->secret, secret);
        return true;
    }
    return false;
}

static enum quire_status read_token(const char *path, struct client_token *token) {
    char text[TOKEN_FILE_BYTES + 1];
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &facts) != 0) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return error_set(QUIRE_INVALID, "the token's file %.100s: %s", path, strerrordesc_np(error));
    }
    if (!S_ISREG(facts.st_mode) || (facts.st_mode & 077) != 0) {
        close(fd);
        return error_set(QUIRE_DENIED, "the token's file %.100s can be read by others: chmod 600 it", path);
    }
    ssize_t got = read(fd, text, TOKEN_FILE_BYTES);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    bool good = parse_token(text, token);
    explicit_bzero(text, sizeof(text));
    return good ? QUIRE_OK : error_set(QUIRE_INVALID, "the token's file %.100s has no line `name secret`", path);
}

/* An option, else the environment's; a copy. */
static enum quire_status take(const char *option, const char *variable, const char **to) {
    const char *value = option != NULL ? option : secure_getenv(variable);
    *to = value != NULL && value[0] != '\0' ? strdup(value) : NULL;
    return value == NULL || value[0] == '\0' || *to != NULL ? QUIRE_OK : error_set(QUIRE_NO_MEMORY, "out of memory for an option");
}

static enum quire_status take_fetch_path(const quire_options *options, uint32_t *path) {
    static const char *const words[] = {[QUIRE_FETCH_AUTO] = "auto", [QUIRE_FETCH_AM] = "am", [QUIRE_FETCH_RMA] = "rma"};
    const char *word = secure_getenv("QUIRE_FETCH_PATH");
    *path = options->fetch_path;
    for (uint32_t i = QUIRE_FETCH_AUTO; *path == 0 && word != NULL && i < QUIRE_ARRAY_LEN(words); i++) {
        *path = strcmp(word, words[i]) == 0 ? i : 0;
    }
    if (*path == 0 && (word == NULL || word[0] == '\0')) {
        *path = QUIRE_FETCH_AUTO;
    }
    return *path >= QUIRE_FETCH_AUTO && *path <= QUIRE_FETCH_RMA ? QUIRE_OK
                                                                 : error_set(QUIRE_INVALID, "fetch_path is none of auto, am and rma");
}

enum quire_status wire_settings(quire_client *client, const quire_options *options) {
    struct transport_settings *settings = &client->settings;
    QUIRE_FORWARD(take_fetch_path(options, &client->fetch_path));
    settings->may_attach = client->fetch_path != QUIRE_FETCH_AM;
    const char *file = options->token_file != NULL ? options->token_file : secure_getenv("QUIRE_TOKEN_FILE");
    if (file == NULL || file[0] == '\0') {
        return error_set(QUIRE_INVALID, "another host's quired wants a token: name its file as token_file, or in $QUIRE_TOKEN_FILE");
    }
    QUIRE_FORWARD(read_token(file, &client->token));
    QUIRE_FORWARD(take(options->tls_authorities, "QUIRE_TLS_AUTHORITIES", &settings->tls_authorities));
    QUIRE_FORWARD(take(options->tls_certificate, "QUIRE_TLS_CERTIFICATE", &settings->tls_certificate));
    return take(options->tls_key, "QUIRE_TLS_KEY", &settings->tls_key);
}

void wire_forget(quire_client *client) {
    explicit_bzero(&client->token, sizeof(client->token));
    free((char *)(uintptr_t)client->settings.tls_authorities);
    free((char *)(uintptr_t)client->settings.tls_certificate);
    free((char *)(uintptr_t)client->settings.tls_key);
    client->settings = (struct transport_settings){0};
}
