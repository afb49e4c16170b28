/* A command's own words: options in any order, and what stands for itself. "--" ends the options. */
#ifndef QUIRECTL_ARGS_H
#define QUIRECTL_ARGS_H

#include "client/quirectl/cli.h"

enum args_kind { ARGS_FLAG, ARGS_TEXT, ARGS_SIZE, ARGS_TIME, ARGS_LIST };

#define ARGS_LIST_MAX 256
struct args_list {
    const char *items[ARGS_LIST_MAX];
    unsigned n;
};

/* `to` is a bool, a const char *, a uint64_t (bytes, or milliseconds), or a struct args_list of words that may be given repeatedly. */
struct args_option {
    const char *name; /* "--ns" */
    enum args_kind kind;
    void *to;
};

/* Fills the options' targets and `words`; CLI_USAGE has been told. At least `least` and at most `most` words. */
enum cli_exit args_parse(struct cli *cli, int argc, char **argv, const struct args_option *options, unsigned n_options, const char *what,
                         unsigned least, unsigned most, struct args_list *words);

#endif
