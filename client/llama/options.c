#include "client/llama/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

const char options_help[] =
    "quire-llama: a worker on llama.cpp that computes no more than Quire does not have\n"
    "\n"
    "  quire-llama run --model M.gguf --prompt-file F [-n TOKENS] [options]\n"
    "  quire-llama serve --model M.gguf [--port P] [options]      (or: quire-llama --serve ...)\n"
    "\n"
    "For both\n"
    "  --model FILE          the model, any GGUF that llama.cpp loads\n"
    "  --socket PATH         quired's socket (default: as every client finds it)\n"
    "  --ns NAME             namespace (default: the model's name and its layout's digest)\n"
    "  --block-tokens N      tokens a block, 1 to 1024 (default 64, or what fits into the model's window)\n"
    "  --ctx N               context in tokens (default: run: what is needed; serve: the model's, at most 8192)\n"
    "  --threads N           (default: all that this process may use)\n"
    "  --flash-attn on|off|auto\n"
    "  --no-quire            compute everything, store nothing\n"
    "\n"
    "run\n"
    "  --prompt-file FILE    the prompt; - is standard input\n"
    "  --prompt TEXT         likewise\n"
    "  --max-prompt-tokens N cut the prompt\n"
    "  -n, --predict N       tokens to generate (default 64)\n"
    "  --ignore-eos          go on past the model's end-of-text\n"
    "  --split N             end a batch at position N, as a run does that reuses N tokens\n"
    "  --dump-kv FILE        write the lanes of the prompt's full blocks\n"
    "  --json                one JSON object on standard output\n"
    "\n"
    "serve\n"
    "  --port P              (default 8377) OpenAI's /v1/completions, /v1/chat/completions, /v1/models; /health\n"
    "  --host ADDRESS        127.0.0.1 or ::1 (default 127.0.0.1)\n"
    "  --queue N             requests that may wait, 1 to 256 (default 16); more are answered 503\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 done (also without a daemon, which is said on standard error), 1 failed, 2 the command line is wrong.\n"
    "\n"
    "Examples\n"
    "  quire-llama run --model SmolLM2-135M-Instruct.gguf --prompt-file book.txt -n 32\n"
    "  quire-llama run --model M.gguf --prompt-file book.txt --no-quire --split 4096 --json\n"
    "  quire-llama serve --model M.gguf --port 8377 &\n"
    "  curl -s http://127.0.0.1:8377/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n";

enum option_id {
    ID_MODEL = 256,
    ID_SOCKET,
    ID_NS,
    ID_BLOCK,
    ID_CTX,
    ID_THREADS,
    ID_FLASH,
    ID_NO_QUIRE,
    ID_PROMPT_FILE,
    ID_PROMPT,
    ID_MAX_PROMPT,
    ID_IGNORE_EOS,
    ID_SPLIT,
    ID_DUMP,
    ID_JSON,
    ID_PORT,
    ID_HOST,
    ID_QUEUE,
    ID_SERVE,
    ID_HELP,
    ID_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, ID_MODEL},
    {"socket", required_argument, NULL, ID_SOCKET},
    {"ns", required_argument, NULL, ID_NS},
    {"block-tokens", required_argument, NULL, ID_BLOCK},
    {"ctx", required_argument, NULL, ID_CTX},
    {"threads", required_argument, NULL, ID_THREADS},
    {"flash-attn", required_argument, NULL, ID_FLASH},
    {"no-quire", no_argument, NULL, ID_NO_QUIRE},
    {"prompt-file", required_argument, NULL, ID_PROMPT_FILE},
    {"prompt", required_argument, NULL, ID_PROMPT},
    {"max-prompt-tokens", required_argument, NULL, ID_MAX_PROMPT},
    {"predict", required_argument, NULL, 'n'},
    {"ignore-eos", no_argument, NULL, ID_IGNORE_EOS},
    {"split", required_argument, NULL, ID_SPLIT},
    {"dump-kv", required_argument, NULL, ID_DUMP},
    {"json", no_argument, NULL, ID_JSON},
    {"port", required_argument, NULL, ID_PORT},
    {"host", required_argument, NULL, ID_HOST},
    {"queue", required_argument, NULL, ID_QUEUE},
    {"serve", no_argument, NULL, ID_SERVE},
    {"help", no_argument, NULL, ID_HELP},
    {"version", no_argument, NULL, ID_VERSION},
    {NULL, 0, NULL, 0},
};

struct parse {
    struct options *options;
    char *why;
    size_t why_bytes;
};

static bool number(const struct parse *parse, const char *name, uint32_t least, uint32_t most, uint32_t *out) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(optarg, &end, 10);
    if (errno != 0 || *end != '\0' || end == optarg || optarg[0] == '-' || value < least || value > most) {
        snprintf(parse->why, parse->why_bytes, "%s %s: must be a number from %u to %u", name, optarg, (unsigned)least, (unsigned)most);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool attention(const struct parse *parse) {
    static const char *const names[] = {"auto", "off", "on"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(optarg, names[i]) == 0) {
            parse->options->worker.flash_attn = i - 1;
            return true;
        }
    }
    snprintf(parse->why, parse->why_bytes, "--flash-attn %s: must be on, off or auto", optarg);
    return false;
}

static bool host(const struct parse *parse) {
    parse->options->host = optarg;
    if (strcmp(optarg, "127.0.0.1") == 0 || strcmp(optarg, "::1") == 0) {
        return true;
    }
    snprintf(parse->why, parse->why_bytes, "--host %s: only loopback is served, 127.0.0.1 or ::1", optarg);
    return false;
}

/* A relative path is the shell's; libquire wants to know exactly. Another host's address is for libquire to look at. */
static bool socket_path(const struct parse *parse) {
    static const char scheme[] = "unix://";
    char here[PATH_MAX] = "";
    const bool named = strncmp(optarg, scheme, strlen(scheme)) == 0;
    const char *path = named ? optarg + strlen(scheme) : optarg;
    const bool remote = strncmp(optarg, "tls://", 6) == 0 || strncmp(optarg, "ucx://", 6) == 0, relative = path[0] != '/' && !remote;
    if (path[0] == '\0' || (strstr(path, "://") != NULL && !remote) || (named && relative)) {
        snprintf(parse->why, parse->why_bytes, "--socket %s: must be a path, unix:///path, tls://host:port or ucx://host:port", optarg);
        return false;
    }
    if (relative && getcwd(here, sizeof(here)) == NULL) {
        snprintf(parse->why, parse->why_bytes, "--socket %s: %s", optarg, strerror(errno));
        return false;
    }
    struct options *options = parse->options;
    const size_t most = remote ? sizeof(options->socket) : sizeof(((struct sockaddr_un *)0)->sun_path);
    const int length = snprintf(options->socket, sizeof(options->socket), "%s%s%s", here, relative ? "/" : "", path);
    if (length < 0 || (size_t)length >= most) {
        snprintf(parse->why, parse->why_bytes, "--socket %s: an address of its kind has at most %zu bytes", optarg, most - 1);
        return false;
    }
    options->worker.socket = options->socket;
    return true;
}

static bool take_worker(const struct parse *parse, int id) {
    struct worker_options *worker = &parse->options->worker;
    switch (id) {
    case ID_MODEL:
        worker->model_path = optarg;
        return true;
    case ID_SOCKET:
        return socket_path(parse);
    case ID_NS:
        worker->ns = optarg;
        return true;
    case ID_BLOCK:
        return number(parse, "--block-tokens", 1, QUIRE_MAX_BLOCK_TOKENS, &worker->block_tokens);
    case ID_CTX:
        return number(parse, "--ctx", 1, 1u << 22, &parse->options->ctx_tokens);
    case ID_THREADS:
        return number(parse, "--threads", 1, 512, &worker->threads);
    case ID_FLASH:
        return attention(parse);
    default:
        worker->no_quire = true;
        return true;
    }
}

static bool take_serve(const struct parse *parse, int id) {
    struct options *options = parse->options;
    uint32_t port;
    switch (id) {
    case ID_PORT:
        if (!number(parse, "--port", 0, 65535, &port)) {
            return false;
        }
        options->port = (uint16_t)port;
        return true;
    case ID_HOST:
        return host(parse);
    case ID_QUEUE:
        return number(parse, "--queue", 1, 256, &options->queue);
    default:
        options->command = OPTIONS_SERVE;
        return true;
    }
}

static bool take(const struct parse *parse, int id) {
    struct options *options = parse->options;
    switch (id) {
    case ID_PROMPT_FILE:
        options->prompt_file = optarg;
        return true;
    case ID_PROMPT:
        options->prompt = optarg;
        return true;
    case ID_MAX_PROMPT:
        return number(parse, "--max-prompt-tokens", 1, 1u << 22, &options->max_prompt_tokens);
    case 'n':
        return number(parse, "-n", 0, 1u << 20, &options->n_predict);
    case ID_IGNORE_EOS:
        options->ignore_end = true;
        return true;
    case ID_SPLIT:
        return number(parse, "--split", 1, 1u << 22, &options->split);
    case ID_DUMP:
        options->dump_path = optarg;
        return true;
    case ID_JSON:
        options->json = true;
        return true;
    case ID_HELP:
        options->command = OPTIONS_HELP;
        return true;
    case ID_VERSION:
        options->command = OPTIONS_VERSION;
        return true;
    default:
        return id <= ID_NO_QUIRE ? take_worker(parse, id) : take_serve(parse, id);
    }
}

static bool check(const struct parse *parse) {
    const struct options *options = parse->options;
    const char *wrong = NULL;
    if (options->command != OPTIONS_RUN && options->command != OPTIONS_SERVE) {
        return true;
    }
    if (options->worker.model_path == NULL) {
        wrong = "--model is missing";
    } else if (options->command == OPTIONS_RUN && (options->prompt == NULL) == (options->prompt_file == NULL)) {
        wrong = "run needs one of --prompt-file and --prompt";
    }
    if (wrong != NULL) {
        snprintf(parse->why, parse->why_bytes, "%s", wrong);
    }
    return wrong == NULL;
}

bool options_parse(int argc, char **argv, struct options *options, char *why, size_t why_bytes) {
    const struct parse parse = {options, why, why_bytes};
    *options = (struct options){
        .command = OPTIONS_HELP, .worker = {.flash_attn = -1}, .n_predict = 64, .host = "127.0.0.1", .port = 8377, .queue = 16};
    int id;
    opterr = 0;
    if (argc > 1 && argv[1][0] != '-') {
        if (strcmp(argv[1], "run") != 0 && strcmp(argv[1], "serve") != 0) {
            snprintf(why, why_bytes, "%s: no such command; there are run and serve", argv[1]);
            return false;
        }
        options->command = argv[1][0] == 'r' ? OPTIONS_RUN : OPTIONS_SERVE;
        argv++;
        argc--;
    }
    optind = 1;
    while ((id = getopt_long(argc, argv, "n:h", long_options, NULL)) != -1) {
        if (id == '?') {
            snprintf(why, why_bytes, "%s: not understood, or its value is missing", argv[optind - 1]);
            return false;
        }
        if (!take(&parse, id == 'h' ? ID_HELP : id)) {
            return false;
        }
    }
    if (optind < argc) {
        snprintf(why, why_bytes, "%s: not understood", argv[optind]);
        return false;
    }
    return check(&parse);
}
