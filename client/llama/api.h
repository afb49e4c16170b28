/*
 * OpenAI's completion requests and answers as JSON: from bytes to tokens, and from tokens to bytes. Greedy only: sampling
 * parameters are accepted and have no effect. No state; thread-safe.
 */
#ifndef QUIRE_LLAMA_API_H
#define QUIRE_LLAMA_API_H

#include "client/llama/worker.h"

#define API_STOPS_MAX 4
#define API_STOP_BYTES 64
#define API_DEFAULT_TOKENS 128
#define API_MESSAGES_MAX 4096

struct api_request {
    bool chat, stream, stream_usage;
    uint32_t *tokens; /* free it */
    size_t n_tokens;
    uint32_t max_tokens;
    uint32_t n_stops;
    char stop[API_STOPS_MAX][API_STOP_BYTES];
};

struct api_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
};

/* INVALID with why (for the client) when the body is not understood. */
enum quire_status api_parse(const struct engine *engine, bool chat, const char *body, size_t bytes, struct api_request *request, char *why,
                            size_t why_bytes);
void api_request_free(struct api_request *request);

/* Each is a malloc'ed string, NULL when out of memory. `finish`: "stop" or "length"; NULL within a stream. */
char *api_answer(bool chat, const char *model, uint64_t id, const char *text, size_t bytes, const char *finish,
                 const struct api_usage *usage);
/* One server-sent event; usage NULL: none. With usage and no finish it is the closing one that carries only that. */
char *api_event(bool chat, const char *model, uint64_t id, const char *text, size_t bytes, const char *finish,
                const struct api_usage *usage);
char *api_models(const char *model);
char *api_error(const char *message, const char *type);

/* Where the first stop string begins in text[0..bytes); bytes when there is none. */
size_t api_find_stop(const struct api_request *request, const char *text, size_t bytes);

#endif
