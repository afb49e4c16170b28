/* Any bytes as the body of a completion request (the first says whether of a chat): refused with a reason, or tokens and limits in range. */
#include "client/llama/api.h"
#include "tests/unit/llama_tiny.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* A model that reads any text: each byte is a token. */
static struct engine *reader(void) {
    static const struct tiny model = {
        .arch = "llama", .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 16, .rope_base = 1e4f, .reads = true};
    char why[256] = "";
    struct engine *engine = NULL;
    char *path = tiny_write(&model);
    require(engine_load(path, &engine, why, sizeof(why)) == QUIRE_OK);
    unlink(path);
    free(path);
    return engine;
}

static void check_request(const struct engine *engine, const struct api_request *request) {
    require(request->tokens != NULL && request->n_tokens > 0 && request->max_tokens <= 1000000 && request->n_stops <= API_STOPS_MAX);
    for (size_t i = 0; i < request->n_tokens; i++) {
        require(request->tokens[i] < engine->n_vocab);
    }
    for (uint32_t i = 0; i < request->n_stops; i++) {
        const size_t length = strnlen(request->stop[i], API_STOP_BYTES);
        require(length > 0 && length < API_STOP_BYTES);
    }
}

/* What a model says may be any bytes, too: the answer is JSON all the same, and ends before the stop. */
static void check_answer(const struct api_request *request, const char *text, size_t bytes) {
    const struct api_usage usage = {.prompt_tokens = (uint32_t)request->n_tokens};
    const size_t end = api_find_stop(request, text, bytes);
    require(end <= bytes);
    char *answer = api_answer(request->chat, "fuzz", 1, text, end, "stop", &usage);
    require(answer != NULL);
    cJSON *parsed = cJSON_Parse(answer);
    require(parsed != NULL);
    cJSON_Delete(parsed);
    free(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct engine *engine;
    struct api_request request;
    char why[256] = "";
    engine = engine != NULL ? engine : reader();
    if (size == 0) {
        return 0;
    }
    const char *body = (const char *)data + 1;
    const bool chat = data[0] & 1;
    size--;
    if (api_parse(engine, chat, body, size, &request, why, sizeof(why)) != QUIRE_OK) {
        require(why[0] != '\0' && request.tokens == NULL);
        char *error = api_error(why, "invalid_request_error");
        require(error != NULL);
        free(error);
        return 0;
    }
    require(request.chat == chat);
    check_request(engine, &request);
    check_answer(&request, body, size);
    api_request_free(&request);
    return 0;
}
