#include "daemon/net/tokens.h"

#include "proto/base/base.h"
#include "proto/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ------------------------------------------------------------------------------------------------------------------- */
static enum quire_status open_private(const char *path, int *out, char *why, size_t why_bytes) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &facts) != 0) {
        snprintf(why, why_bytes, "tokens: %s: %s", path, strerror(errno));
    } else if (!S_ISREG(facts.st_mode)) {
        snprintf(why, why_bytes, "tokens: %s is no file", path);
    } else if ((facts.st_mode & 077) != 0 || (facts.st_uid != geteuid() && facts.st_uid != 0)) {
        snprintf(why, why_bytes,
                 "tokens: %s can be read or changed by others (mode %04o, user %u): chmod 600 it, and have it owned by user %u", path,
                 (unsigned)facts.st_mode & 07777u, (unsigned)facts.st_uid, (unsigned)geteuid());
        close(fd);
        return QUIRE_DENIED;
    } else {
        *out = fd;
        return QUIRE_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    return QUIRE_SYSTEM;
}

static enum quire_status read_all(int fd, const char *path, char *text, char *why, size_t why_bytes) {
    size_t have = 0;
    ssize_t got = 1;
    while (got > 0 && have <= TOKENS_FILE_BYTES) {
        got = read(fd, text + have, TOKENS_FILE_BYTES + 1 - have);
        have += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || have > TOKENS_FILE_BYTES || memchr(text, '\0', have) != NULL) {
        snprintf(why, why_bytes, "tokens: %s: %s", path, got < 0 ? strerror(errno) : "larger than 64 KiB, or no text");
        return QUIRE_INVALID;
    }
    text[have] = '\0';
    return QUIRE_OK;
}

/* ---- a line --------------------------------------------------------------------------------------------------------------------- */
static bool parse_rights(const char *text, uint32_t *rights) {
    static const struct {
        const char *word;
        uint32_t bit;
    } words[] = {{"read", TOKEN_READ}, {"write", TOKEN_WRITE}, {"admin", TOKEN_ADMIN}, {"rma", TOKEN_RMA}};
    *rights = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, ","), known = 0;
        for (size_t i = 0; i < QUIRE_ARRAY_LEN(words); i++) {
            if (strlen(words[i].word) == length && strncmp(words[i].word, text, length) == 0) {
                *rights |= words[i].bit;
                known++;
            }
        }
        if (known == 0) {
            return false;
        }
        text += length + (text[length] == ',');
    }
    return *rights != 0;
}

/* "requests_per_s=100" */
static const char *parse_limit(const char *word, struct token_limits *limits) {
    const struct {
        const char *name;
        uint64_t *value, least, most;
        bool size;
        const char *wrong;
    } known[] = {
        {"requests_per_s=", &limits->requests_per_s, 1, TOKEN_MOST_PER_S, false, "requests_per_s is a whole number, 1 at least"},
        {"bytes_per_s=", &limits->bytes_per_s, TOKEN_LEAST_BYTES_PER_S, TOKEN_MOST_PER_S, true,
         "bytes_per_s is a size such as 200MiB, 64KiB at least"},
        {"namespaces=", &limits->namespaces, 1, UINT16_MAX, false, "namespaces= is a whole number, 1 at least"},
        {"sessions=", &limits->sessions, 1, UINT32_MAX, false, "sessions= is a whole number, 1 at least"},
    };
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(known); i++) {
        size_t length = strlen(known[i].name);
        if (strncmp(word, known[i].name, length) == 0) {
            bool read = (known[i].size ? quire_parse_size(word + length, known[i].value)
                                       : quire_parse_count(word + length, false, known[i].value)) == QUIRE_OK;
            return read && *known[i].value >= known[i].least && *known[i].value <= known[i].most ? NULL : known[i].wrong;
        }
    }
    return "a line is: name secret rights namespaces [requests_per_s=NUMBER] [bytes_per_s=SIZE] [namespaces=NUMBER] [sessions=NUMBER]";
}

/* NULL when it is good; else what is wrong with it. */
static const char *parse_line(char *line, struct token *token) {
    char *rest = NULL, *name = strtok_r(line, " \t\r", &rest), *secret = strtok_r(NULL, " \t\r", &rest);
    const char *rights = strtok_r(NULL, " \t\r", &rest), *namespaces = strtok_r(NULL, " \t\r", &rest);
    if (namespaces == NULL) {
        return "a line is: name secret rights namespaces";
    }
    for (const char *word = strtok_r(NULL, " \t\r", &rest), *wrong; word != NULL; word = strtok_r(NULL, " \t\r", &rest)) {
        if ((wrong = parse_limit(word, &token->limits)) != NULL) {
            return wrong;
        }
    }
    if (strlen(name) >= sizeof token->name || strlen(namespaces) >= sizeof token->namespaces) {
        return "a name is too long";
    }
    if (strlen(secret) < TOKEN_SECRET_MIN || strlen(secret) > TOKEN_SECRET_MAX) {
        return "a secret has 16 to 128 characters: `openssl rand -hex 32` makes one";
    }
    if (!parse_rights(rights, &token->rights)) {
        return "rights are read, write, admin and rma, separated by commas";
    }
    strcpy(token->name, name);
    strcpy(token->secret, secret);
    strcpy(token->namespaces, namespaces);
    return NULL;
}

static enum quire_status parse(char *text, const char *path, struct tokens *tokens, char *why, size_t why_bytes) {
    unsigned number = 0;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        number++;
        line += strspn(line, " \t\r");
        if (*line == '\0' || *line == '#') {
            continue;
        }
        const char *wrong = tokens->n == TOKENS_MAX ? "there are more than 256 tokens" : parse_line(line, &tokens->tokens[tokens->n]);
        if (wrong != NULL) {
            snprintf(why, why_bytes, "tokens: %s:%u: %s", path, number, wrong);
            return QUIRE_INVALID;
        }
        tokens->n++;
    }
    if (tokens->n == 0) {
        snprintf(why, why_bytes, "tokens: %s names no token, so nobody could come in: to let nobody in, take `listen` away", path);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

enum quire_status tokens_load(const char *path, struct tokens **out, char *why, size_t why_bytes) {
    int fd = -1;
    *out = NULL;
    QUIRE_FORWARD(open_private(path, &fd, why, why_bytes));
    struct tokens *tokens = calloc(1, sizeof *tokens);
    char *text = malloc(TOKENS_FILE_BYTES + 2);
    enum quire_status status = QUIRE_NO_MEMORY;
    if (tokens != NULL && text != NULL) {
        status = read_all(fd, path, text, why, why_bytes);
        status = status == QUIRE_OK ? parse(text, path, tokens, why, why_bytes) : status;
        explicit_bzero(text, TOKENS_FILE_BYTES + 2);
    }
    free(text);
    close(fd);
    if (status != QUIRE_OK) {
        tokens_free(&tokens);
    }
    *out = tokens;
    return status;
}

void tokens_free(struct tokens **tokens) {
    if (*tokens != NULL) {
        explicit_bzero(*tokens, sizeof **tokens);
        free(*tokens);
        *tokens = NULL;
    }
}

/* ---- asking --------------------------------------------------------------------------------------------------------------------- */
const struct token *tokens_prove(const struct tokens *tokens, const char *name, const uint8_t nonce[QUIRE_NONCE_BYTES],
                                 const uint8_t *proof, size_t proof_bytes) {
    const struct token *found = NULL;
    static const struct token nobody = {.secret = "no token has this secret"};
    uint32_t tried = 0;
    uint8_t wanted[QUIRE_PROOF_BYTES];
    for (uint32_t i = 0; i < tokens->n; i++) {
        const struct token *token = &tokens->tokens[i];
        if (strcmp(token->name, name) == 0) {
            quire_proof(token->secret, strlen(token->secret), nonce, name, wanted);
            tried++;
            if (proof_bytes == sizeof wanted && quire_equal_secret(wanted, proof, sizeof wanted)) {
                found = token;
            }
        }
    }
    if (tried == 0) {
        quire_proof(nobody.secret, strlen(nobody.secret), nonce, name, wanted);
    }
    explicit_bzero(wanted, sizeof wanted);
    return found;
}

bool tokens_have(const struct tokens *tokens, const struct token *token) {
    for (uint32_t i = 0; i < tokens->n; i++) {
        const struct token *other = &tokens->tokens[i];
        if (strcmp(other->name, token->name) == 0 && other->rights == token->rights && strcmp(other->namespaces, token->namespaces) == 0 &&
            strcmp(other->secret, token->secret) == 0) {
            return true;
        }
    }
    return false;
}

static bool any_pattern(const struct token *token, bool (*fits)(const char *pattern, const char *ns), const char *ns) {
    char pattern[TOKEN_NAMES_BYTES];
    for (const char *at = token->namespaces; *at != '\0';) {
        size_t length = strcspn(at, ",");
        memcpy(pattern, at, length);
        pattern[length] = '\0';
        if (length > 0 && fits(pattern, ns)) {
            return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

static bool matches(const char *pattern, const char *ns) { return fnmatch(pattern, ns, 0) == 0; }

static bool is_all(const char *pattern, const char *ns) {
    (void)ns;
    return strcmp(pattern, "*") == 0;
}

bool token_matches(const struct token *token, const char *ns) { return any_pattern(token, matches, ns); }

uint32_t token_rights(const struct token *token, const char *ns) {
    return token_matches(token, ns) ? token->rights & (TOKEN_READ | TOKEN_WRITE) : 0;
}

bool token_administers(const struct token *token, const char *ns) {
    return (token->rights & TOKEN_ADMIN) != 0 && (ns != NULL ? token_matches(token, ns) : any_pattern(token, is_all, NULL));
}
