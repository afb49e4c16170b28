#include "client/quirectl/args.h"

#include "proto/base/base.h"
#include "proto/base/nearest.h"
#include "proto/base/units.h"

static const struct args_option *find(const struct args_option *options, unsigned n, const char *word, const char **value) {
    for (unsigned i = 0; i < n; i++) {
        size_t length = strlen(options[i].name);
        if (strncmp(word, options[i].name, length) == 0 && (word[length] == '\0' || word[length] == '=')) {
            *value = word[length] == '=' ? word + length + 1 : NULL;
            return &options[i];
        }
    }
    return NULL;
}

static enum cli_exit refuse(struct cli *cli, const struct args_option *options, unsigned n, const char *word) {
    const char *names[16];
    char bare[64];
    unsigned n_names = 0;
    for (; n_names < n && n_names < QUIRE_ARRAY_LEN(names); n_names++) {
        names[n_names] = options[n_names].name;
    }
    snprintf(bare, sizeof bare, "%.60s", word);
    bare[strcspn(bare, "=")] = '\0';
    const char *near = quire_nearest(bare, names, n_names);
    return near != NULL ? cli_usage(cli, "no option '%.60s' here, did you mean '%s'?", word, near)
                        : cli_usage(cli, "no option '%.60s' here; --help tells what there is", word);
}

static enum cli_exit take(struct cli *cli, const struct args_option *option, const char *value) {
    struct args_list *list = option->to;
    switch (option->kind) {
    case ARGS_FLAG:
        *(bool *)option->to = true;
        return CLI_OK;
    case ARGS_TEXT:
        *(const char **)option->to = value;
        return CLI_OK;
    case ARGS_SIZE:
        return quire_parse_size(value, option->to) == QUIRE_OK
                   ? CLI_OK
                   : cli_usage(cli, "%s: '%.60s' is not a size such as 512MiB or 2GiB", option->name, value);
    case ARGS_TIME:
        return quire_parse_duration(value, option->to) == QUIRE_OK
                   ? CLI_OK
                   : cli_usage(cli, "%s: '%.60s' is not a time such as 500ms or 2s", option->name, value);
    case ARGS_LIST:
        if (list->n == ARGS_LIST_MAX) {
            return cli_usage(cli, "%s: given more than %d times", option->name, ARGS_LIST_MAX);
        }
        list->items[list->n++] = value;
        return CLI_OK;
    }
    return CLI_USAGE;
}

static enum cli_exit take_option(struct cli *cli, int argc, char **argv, int *at, const struct args_option *options, unsigned n_options) {
    const char *value, *word = argv[*at];
    const struct args_option *option = find(options, n_options, word, &value);
    if (option == NULL) {
        return refuse(cli, options, n_options, word);
    }
    if (option->kind == ARGS_FLAG && value != NULL) {
        return cli_usage(cli, "%s takes no value", option->name);
    }
    if (option->kind != ARGS_FLAG && value == NULL) {
        if (*at + 1 == argc) {
            return cli_usage(cli, "%s needs a value", option->name);
        }
        value = argv[++*at];
    }
    return take(cli, option, value);
}

enum cli_exit args_parse(struct cli *cli, int argc, char **argv, const struct args_option *options, unsigned n_options, const char *what,
                         unsigned least, unsigned most, struct args_list *words) {
    bool only_words = false;
    words->n = 0;
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            enum cli_exit result = take_option(cli, argc, argv, &i, options, n_options);
            if (result != CLI_OK) {
                return result;
            }
        } else if (words->n == most || words->n == ARGS_LIST_MAX) {
            return cli_usage(cli, most == 0 ? "'%.60s' is one word too many; --help tells what is expected" : "'%.60s' is one %s too many",
                             argv[i], what);
        } else {
            words->items[words->n++] = argv[i];
        }
    }
    return words->n >= least ? CLI_OK : cli_usage(cli, "%s is missing; --help tells what is expected", what);
}
