/* The worker's edges: its command line, text of any bytes, OpenAI's requests, and where batches end. */
#include "client/llama/api.h"
#include "client/llama/options.h"
#include "client/llama/text.h"
#include "client/llama/worker.h"
#include "tests/unit/llama_engine.h"
#include "tests/unit/llama_tiny.h"

/* More than the 107 bytes that a socket's path may have. */
#define LONG_PART "/0123456789/0123456789/0123456789"
#define LONG_PATH LONG_PART LONG_PART LONG_PART LONG_PART

static bool parse(struct options *options, char *why, const char *line) {
    static char copy[512];
    char *argv[32], *rest = copy;
    int argc = 0;
    snprintf(copy, sizeof(copy), "quire-llama %s", line);
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    why[0] = '\0';
    return options_parse(argc, argv, options, why, 256);
}

/* Every batch ends where it would have ended without reuse, so who resumes at a boundary computes the same. */
Test(llama_words, batches_end_at_the_same_places) {
    for (uint32_t n = 1; n < 1400; n += 7) {
        for (uint32_t resume = 0; resume < n; resume += 64) {
            uint32_t ends = 0, shared = 0;
            for (uint32_t at = resume; at < n;) {
                const uint32_t end = worker_batch_end(at, n, 512, 64, 0);
                cr_assert(end > at && end <= n && end - at <= 512);
                cr_assert(end % 512 == 0 || end == (n - 1) / 64 * 64 || end == n - 1 || end == n, "%u of %u", end, n);
                at = end;
                ends++;
            }
            for (uint32_t at = 0; at < n;) { /* the run without reuse, split where the other resumed */
                at = worker_batch_end(at, n, 512, 64, resume);
                shared += at > resume;
            }
            cr_assert_eq(ends, shared);
        }
    }
}

Test(llama_words, command_line) {
    struct options options;
    char why[256];
    cr_assert(parse(&options, why, "run --model m.gguf --prompt-file f -n 7 --socket /s --split 64 --json --flash-attn off"), "%s", why);
    cr_assert_eq(options.command, OPTIONS_RUN);
    cr_assert_eq(options.n_predict, 7);
    cr_assert_eq(options.split, 64);
    cr_assert_eq(options.worker.flash_attn, 0);
    cr_assert_eq(options.worker.block_tokens, 0); /* the engine chooses */
    cr_assert(parse(&options, why, "--serve --model m.gguf --port 9000"), "%s", why);
    cr_assert_eq(options.command, OPTIONS_SERVE);
    cr_assert_eq(options.port, 9000);
    cr_assert(parse(&options, why, "--help"));
    cr_assert_eq(options.command, OPTIONS_HELP);
    static const char *const wrong[] = {"walk --model m",
                                        "run --prompt-file f",
                                        "run --model m",
                                        "run --model m --prompt-file f --prompt p",
                                        "run --model m --prompt p -n -1",
                                        "run --model m --prompt p -n 1x",
                                        "run --model m --prompt p --block-tokens 0",
                                        "run --model m --prompt p --block-tokens 1025",
                                        "run --model m --prompt p --flash-attn maybe",
                                        "run --model m --prompt p stray",
                                        "serve --model m --host 0.0.0.0",
                                        "serve --model m --port 65536",
                                        "run --model m --prompt p --socket unix://s",
                                        "run --model m --prompt p --socket tcp://localhost:1",
                                        "run --model m --prompt p --socket unix://",
                                        "run --model m --prompt p --socket " LONG_PATH,
                                        "run --model"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_not(parse(&options, why, wrong[i]), "%s", wrong[i]);
        cr_assert_neq(why[0], '\0', "%s", wrong[i]);
    }
}

/* A socket is where the user's shell says, also for libquire, which knows only absolute paths; another host's address stays as it is. */
Test(llama_words, where_the_socket_is) {
    struct options options;
    char why[256];
    cr_assert_eq(chdir("/tmp"), 0);
    static const char *const sockets[][2] = {{"/run/s", "/run/s"},
                                             {"unix:///run/s", "/run/s"},
                                             {"s", "/tmp/s"},
                                             {"./there/s", "/tmp/./there/s"},
                                             {"tls://host:1", "tls://host:1"},
                                             {"tls://10.0.0.1:7070,10.1.0.1:7070", "tls://10.0.0.1:7070,10.1.0.1:7070"},
                                             {"ucx://10.0.0.1:7070", "ucx://10.0.0.1:7070"}};
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "serve --model m --socket %s", sockets[i][0]);
        cr_assert(parse(&options, why, line), "%s", why);
        cr_assert_str_eq(options.worker.socket, sockets[i][1]);
    }
}

/* Models emit bytes; JSON wants characters. */
Test(llama_words, text_of_any_bytes) {
    static const char bytes[] = "a\xc3\xa9\xff\xe2\x82z\0b\xf0\x9f\x98\x80\xed\xa0\x80\xc0\x80";
    char *clean = text_clean(bytes, sizeof(bytes) - 1);
    cr_assert_str_eq(clean, "a\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd"
                            "b\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    free(clean);
    cr_assert_eq(text_whole("abc", 3), 3);
    cr_assert_eq(text_whole("ab\xc3", 3), 2);
    cr_assert_eq(text_whole("a\xf0\x9f\x98", 4), 1);
    cr_assert_eq(text_whole("\xf0\x9f\x98\x80", 4), 4);
    cr_assert_eq(text_whole("\x80\x80\x80\x80", 4), 4);
    cr_assert_eq(text_whole("", 0), 0);
}

static struct engine *tiny_engine(char **path) {
    static const struct tiny model = {.arch = "llama", .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 16, .rope_base = 1e4f};
    char why[256] = "";
    struct engine *engine = NULL;
    *path = tiny_write(&model);
    cr_assert_eq(engine_load(*path, &engine, why, sizeof(why)), QUIRE_OK, "%s", why);
    return engine;
}

/* A request in tokens is taken as it is; what is not understood is said, and nothing of it is kept. */
Test(llama_words, requests) {
    char *path, why[256];
    struct engine *engine = tiny_engine(&path);
    struct api_request request;
    static const char good[] =
        "{\"prompt\":[1,2,255],\"max_tokens\":5,\"stream\":true,\"stream_options\":{\"include_usage\":true},\"stop\":[\"ab\",\"c\"]}";
    why[0] = '\0';
    cr_assert_eq(api_parse(engine, false, good, sizeof(good) - 1, &request, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(request.n_tokens, 3);
    cr_assert_eq(request.tokens[2], 255);
    cr_assert_eq(request.max_tokens, 5);
    cr_assert(request.stream && request.stream_usage);
    cr_assert_eq(api_find_stop(&request, "xxabcxx", 7), 2);
    cr_assert_eq(api_find_stop(&request, "xxa", 3), 3);
    api_request_free(&request);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{",
                                      "{\"prompt\":7}",
                                      "{\"prompt\":[]}",
                                      "{\"prompt\":[256]}",
                                      "{\"prompt\":[-1]}",
                                      "{\"prompt\":[1,\"x\"]}",
                                      "{\"prompt\":[\"a\",\"b\"]}",
                                      "{\"prompt\":[1],\"max_tokens\":-3}",
                                      "{\"prompt\":[1],\"max_tokens\":\"many\"}",
                                      "{\"prompt\":[1],\"n\":2}",
                                      "{\"prompt\":[1],\"stop\":[\"\"]}",
                                      "{\"prompt\":[1],\"stop\":7}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = '\0';
        cr_assert_neq(api_parse(engine, false, bad[i], strlen(bad[i]), &request, why, sizeof(why)), QUIRE_OK, "%s", bad[i]);
        cr_assert_neq(why[0], '\0', "%s", bad[i]);
    }
    static const char *const bad_chat[] = {"{}", "{\"messages\":[]}", "{\"messages\":[{}]}", "{\"messages\":[{\"role\":\"user\"}]}",
                                           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}"};
    for (size_t i = 0; i < sizeof(bad_chat) / sizeof(bad_chat[0]); i++) {
        why[0] = '\0';
        cr_assert_neq(api_parse(engine, true, bad_chat[i], strlen(bad_chat[i]), &request, why, sizeof(why)), QUIRE_OK, "%s", bad_chat[i]);
    }
    engine_close(&engine);
    unlink(path);
    free(path);
}

/* Answers are what OpenAI's clients read: text, a reason, and how much came from the cache. */
Test(llama_words, answers) {
    const struct api_usage usage = {.prompt_tokens = 10, .cached_tokens = 8, .completion_tokens = 3};
    char *answer = api_answer(true, "m", 1, "hi\xff", 3, "stop", &usage);
    cr_assert(strstr(answer, "\"cached_tokens\":8") != NULL, "%s", answer);
    cr_assert(strstr(answer, "\"content\":\"hi\xef\xbf\xbd\"") != NULL, "%s", answer);
    cr_assert(strstr(answer, "\"total_tokens\":13") != NULL, "%s", answer);
    free(answer);
    char *event = api_event(false, "m", 1, "x", 1, NULL, NULL);
    cr_assert_eq(strncmp(event, "data: {", 7), 0);
    cr_assert(strstr(event, "\"finish_reason\":null") != NULL, "%s", event);
    cr_assert_str_eq(event + strlen(event) - 2, "\n\n");
    free(event);
    event = api_event(true, "m", 1, "", 0, NULL, &usage);
    cr_assert(strstr(event, "\"choices\":[]") != NULL, "%s", event);
    free(event);
}
