/*
 * Tokens: who may come over a wire, and what for. A file of the operator's, a line a token:
 *
 *   # name     secret (16 to 128 characters)        rights        namespaces      limits, if any
 *   worker     kJ9vYpZk2rQ0bTtS6mWc                 read,write    llama-*,smol    requests_per_s=1000 bytes_per_s=200MiB namespaces=20
 *   operator   9f2c1d7e55aa4b0f8f13c2a4d1e0b7aa     admin,read    *
 *
 * Names may come more than once: an old and a new secret are both good while they are being changed. A namespace is named or matched (`*`, `?`).
 * Every right is for these namespaces; `admin` for `*` is for the whole daemon. Limits are for all sessions of a name together (daemon/net/rates.h).
 * A file that others may read or write is refused. Loop thread only; a loaded table does not change.
 */
#ifndef DAEMON_NET_TOKENS_H
#define DAEMON_NET_TOKENS_H

#include "proto/proof.h"

#include <stdbool.h>

#define TOKENS_MAX 256
#define TOKENS_FILE_BYTES (64u << 10)
#define TOKEN_SECRET_MIN 16
#define TOKEN_SECRET_MAX 128
#define TOKEN_NAMES_BYTES 256
#define TOKEN_LEAST_BYTES_PER_S (64u << 10) /* less would keep a single answer waiting for longer than any caller does */
#define TOKEN_MOST_PER_S (1ull << 44)

enum token_right { TOKEN_READ = 1, TOKEN_WRITE = 2, TOKEN_ADMIN = 4, TOKEN_RMA = 8 };

/* Of all sessions of a name together. 0: none; of namespaces half of max_namespaces. */
struct token_limits {
    uint64_t requests_per_s, bytes_per_s;
    uint64_t namespaces; /* it makes no more of them where its patterns match so many; whoever made these */
    uint64_t sessions;   /* open at once */
};

struct token {
    char name[QUIRE_MAX_NAME + 1];
    char secret[TOKEN_SECRET_MAX + 1];
    uint32_t rights;                    /* enum token_right */
    char namespaces[TOKEN_NAMES_BYTES]; /* patterns, separated by commas */
    struct token_limits limits;
};

struct tokens {
    uint32_t n;
    struct token tokens[TOKENS_MAX];
};

/* On failure `why` has the file, the line where it is one, and what to do. DENIED: others may read it; INVALID; SYSTEM; NO_MEMORY. */
enum quire_status tokens_load(const char *path, struct tokens **tokens, char *why, size_t why_bytes);
/* Wipes it. NULL is fine. */
void tokens_free(struct tokens **tokens);
/* The token of this name whose secret makes this proof of the nonce; NULL: none does. Takes as long for a name that there is not. */
const struct token *tokens_prove(const struct tokens *tokens, const char *name, const uint8_t nonce[QUIRE_NONCE_BYTES],
                                 const uint8_t *proof, size_t proof_bytes);
/* The same token, with the same secret and rights, is there; its limits may be others. */
bool tokens_have(const struct tokens *tokens, const struct token *token);
/* What a token may do in a namespace: READ, WRITE. */
uint32_t token_rights(const struct token *token, const char *ns);
/* One of its patterns matches. */
bool token_matches(const struct token *token, const char *ns);
/* May it operate in this namespace; NULL: all of the daemon, for which it needs a pattern that is nothing but `*`. */
bool token_administers(const struct token *token, const char *ns);

#endif
