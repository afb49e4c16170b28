#include "client/quirectl/keys.h"

#include "proto/base/base.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

enum cli_exit keys_from_words(struct cli *cli, const struct args_list *words, struct keys *keys) {
    *keys = (struct keys){.key = calloc(words->n + 1, sizeof *keys->key)};
    if (keys->key == NULL) {
        return cli_fail(cli, QUIRE_NO_MEMORY, "out of memory");
    }
    for (unsigned i = 0; i < words->n; i++) {
        if (quire_key_from_text(words->items[i], &keys->key[keys->n++]) != QUIRE_OK) {
            keys_free(keys);
            return cli_usage(cli, "'%.70s' is no key: 64 hexadecimal digits", words->items[i]);
        }
    }
    return CLI_OK;
}

void keys_free(struct keys *keys) {
    free(keys->key);
    *keys = (struct keys){0};
}

static bool append(uint32_t **tokens, size_t *n, size_t *capacity, uint32_t token) {
    if (*n == *capacity) {
        *capacity = *capacity > 0 ? *capacity * 2 : 4096;
        uint32_t *larger = realloc(*tokens, *capacity * sizeof **tokens);
        if (larger == NULL) {
            return false;
        }
        *tokens = larger;
    }
    (*tokens)[(*n)++] = token;
    return true;
}

/* Next character that is no separator; EOF at the end. */
static int skip(FILE *file, unsigned *line) {
    int c;
    while ((c = getc(file)) != EOF && (isspace(c) || c == ',' || c == '[' || c == ']')) {
        *line += c == '\n';
    }
    return c;
}

static enum cli_exit read_all(struct cli *cli, FILE *file, const char *name, uint32_t **tokens, size_t *n_tokens) {
    unsigned line = 1;
    size_t capacity = 0;
    for (int c = skip(file, &line); c != EOF; c = skip(file, &line)) {
        uint64_t token = 0;
        if (!isdigit(c)) {
            return cli_usage(cli, "%s:%u: '%c' is no token: numbers are expected, as the tokenizer gives them", name, line,
                             isprint(c) ? c : '?');
        }
        for (; isdigit(c) && token <= UINT32_MAX; c = getc(file)) {
            token = token * 10 + (uint64_t)(c - '0');
        }
        ungetc(c, file);
        if (token > UINT32_MAX || *n_tokens == KEYS_TOKENS_MAX) {
            return token > UINT32_MAX ? cli_usage(cli, "%s:%u: a token does not fit 32 bits", name, line)
                                      : cli_usage(cli, "%s: more than %u tokens", name, KEYS_TOKENS_MAX);
        }
        if (!append(tokens, n_tokens, &capacity, (uint32_t)token)) {
            return cli_fail(cli, QUIRE_NO_MEMORY, "out of memory");
        }
    }
    return CLI_OK;
}

enum cli_exit keys_read_tokens(struct cli *cli, const char *path, uint32_t **tokens, size_t *n_tokens) {
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "re");
    *tokens = NULL;
    *n_tokens = 0;
    if (file == NULL) {
        return cli_usage(cli, "%s: %s", path, strerror(errno));
    }
    enum cli_exit result = read_all(cli, file, standard ? "standard input" : path, tokens, n_tokens);
    if (!standard) {
        fclose(file);
    }
    if (result == CLI_OK && *n_tokens == 0) {
        result = cli_usage(cli, "%s: no tokens", standard ? "standard input" : path);
    }
    if (result != CLI_OK) {
        free(*tokens);
        *tokens = NULL;
    }
    return result;
}

enum cli_exit keys_from_tokens(struct cli *cli, const quire_ns *ns, const char *path, struct keys *keys) {
    uint32_t *tokens;
    size_t n_keys = 0;
    *keys = (struct keys){.block_tokens = quire_ns_layout(ns)->block_tokens};
    enum cli_exit result = keys_read_tokens(cli, path, &tokens, &keys->n_tokens);
    if (result != CLI_OK) {
        return result;
    }
    size_t capacity = keys->n_tokens / keys->block_tokens;
    keys->key = calloc(capacity + 1, sizeof *keys->key);
    enum quire_status status = QUIRE_NO_MEMORY;
    if (keys->key != NULL) {
        status = quire_chain(ns, tokens, keys->n_tokens, NULL, 0, false, keys->key, capacity + 1, &n_keys);
    }
    free(tokens);
    keys->n = (unsigned)n_keys;
    if (status == QUIRE_OK && n_keys == 0) {
        status = QUIRE_INVALID;
        result = cli_usage(cli, "%zu tokens make no full block: one has %u", keys->n_tokens, keys->block_tokens);
    } else if (status == QUIRE_OK && n_keys > QUIRE_MAX_BATCH) {
        status = QUIRE_TOO_LARGE;
        result = cli_usage(cli, "%zu blocks are more than one lookup takes (%d)", n_keys, QUIRE_MAX_BATCH);
    } else if (status != QUIRE_OK) {
        result = cli_fail(cli, status, "%s", quire_last_error());
    }
    if (status != QUIRE_OK) {
        keys_free(keys);
    }
    return result;
}
