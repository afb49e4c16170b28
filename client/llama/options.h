/* The command line of quire-llama. */
#ifndef QUIRE_LLAMA_OPTIONS_H
#define QUIRE_LLAMA_OPTIONS_H

#include "client/llama/worker.h"

#define OPTIONS_SOCKET_BYTES 320

enum options_command { OPTIONS_RUN, OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
    enum options_command command;
    struct worker_options worker;
    char socket[OPTIONS_SOCKET_BYTES]; /* what worker.socket points to: an absolute path */
    uint32_t ctx_tokens;               /* 0: what is needed, or the model's own */
    const char *prompt, *prompt_file, *dump_path;
    uint32_t max_prompt_tokens; /* 0: all */
    uint32_t n_predict, split;
    bool json, ignore_end;
    const char *host; /* of serve: an address of this machine's loopback */
    uint16_t port;
    uint32_t queue; /* requests that wait */
};

/* False with a sentence in why for anything that is not understood. *options must stay where it is. */
bool options_parse(int argc, char **argv, struct options *options, char *why, size_t why_bytes);
extern const char options_help[];

#endif
