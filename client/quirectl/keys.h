/* Keys from the command line: as hexadecimal digits, or as the chain of tokens in a file. */
#ifndef QUIRECTL_KEYS_H
#define QUIRECTL_KEYS_H

#include "client/quirectl/args.h"

struct keys {
    quire_key *key;
    unsigned n;
    size_t n_tokens;       /* with tokens: how many were read */
    unsigned block_tokens; /* with tokens */
};

enum cli_exit keys_from_words(struct cli *cli, const struct args_list *words, struct keys *keys);
/* The keys of the full blocks of the tokens in `path` ("-": standard input). */
enum cli_exit keys_from_tokens(struct cli *cli, const quire_ns *ns, const char *path, struct keys *keys);
void keys_free(struct keys *keys);

/* Numbers separated by blanks, commas or line ends, in brackets or not. *tokens is malloc'ed. */
#define KEYS_TOKENS_MAX (1u << 23)
enum cli_exit keys_read_tokens(struct cli *cli, const char *path, uint32_t **tokens, size_t *n_tokens);

#endif
