#include "client/llama/api.h"

#include "client/llama/text.h"
#include "proto/base/base.h"

#include <cjson/cJSON.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INVALID(...) (snprintf(why, why_bytes, __VA_ARGS__), QUIRE_INVALID)

/* ---- requests --------------------------------------------------------------------------------------------------------------------- */
static enum quire_status parse_limits(const cJSON *root, struct api_request *request, char *why, size_t why_bytes) {
    const cJSON *most = cJSON_GetObjectItemCaseSensitive(root, "max_completion_tokens");
    most = most != NULL ? most : cJSON_GetObjectItemCaseSensitive(root, "max_tokens");
    request->max_tokens = API_DEFAULT_TOKENS;
    if (most != NULL && !cJSON_IsNull(most)) {
        if (!cJSON_IsNumber(most) || most->valuedouble < 0 || most->valuedouble > 1e6) {
            return INVALID("max_tokens must be a number from 0 to 1000000");
        }
        request->max_tokens = (uint32_t)most->valuedouble;
    }
    request->stream = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "stream"));
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(root, "stream_options");
    request->stream_usage = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(options, "include_usage"));
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(root, "n");
    return n == NULL || cJSON_IsNull(n) || n->valuedouble == 1 ? QUIRE_OK : INVALID("n: only one answer a request");
}

static enum quire_status add_stop(const cJSON *item, struct api_request *request, char *why, size_t why_bytes) {
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0' || strlen(item->valuestring) >= API_STOP_BYTES ||
        request->n_stops == API_STOPS_MAX) {
        return INVALID("stop: at most %d strings of 1 to %d bytes", API_STOPS_MAX, API_STOP_BYTES - 1);
    }
    snprintf(request->stop[request->n_stops++], API_STOP_BYTES, "%s", item->valuestring);
    return QUIRE_OK;
}

static enum quire_status parse_stops(const cJSON *root, struct api_request *request, char *why, size_t why_bytes) {
    const cJSON *stop = cJSON_GetObjectItemCaseSensitive(root, "stop"), *item;
    if (stop == NULL || cJSON_IsNull(stop)) {
        return QUIRE_OK;
    }
    if (!cJSON_IsArray(stop)) {
        return add_stop(stop, request, why, why_bytes);
    }
    cJSON_ArrayForEach(item, stop) { QUIRE_FORWARD(add_stop(item, request, why, why_bytes)); }
    return QUIRE_OK;
}

static enum quire_status take_token_array(const struct engine *engine, const cJSON *array, struct api_request *request, char *why,
                                          size_t why_bytes) {
    const cJSON *item;
    request->tokens = malloc(((size_t)cJSON_GetArraySize(array) + 1) * sizeof(*request->tokens));
    if (request->tokens == NULL) {
        return QUIRE_NO_MEMORY;
    }
    cJSON_ArrayForEach(item, array) {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble >= engine->n_vocab) {
            return INVALID("prompt: tokens are numbers below %u", (unsigned)engine->n_vocab);
        }
        request->tokens[request->n_tokens++] = (uint32_t)item->valuedouble;
    }
    return QUIRE_OK;
}

static enum quire_status parse_prompt(const struct engine *engine, const cJSON *root, struct api_request *request, char *why,
                                      size_t why_bytes) {
    const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(root, "prompt");
    if (cJSON_IsArray(prompt) && cJSON_IsNumber(cJSON_GetArrayItem(prompt, 0))) {
        return take_token_array(engine, prompt, request, why, why_bytes);
    }
    if (cJSON_IsArray(prompt) && cJSON_GetArraySize(prompt) == 1) {
        prompt = cJSON_GetArrayItem(prompt, 0);
    }
    if (!cJSON_IsString(prompt)) {
        return INVALID("prompt must be a string, one string in an array, or an array of tokens");
    }
    return engine_tokenise(engine, prompt->valuestring, strlen(prompt->valuestring), true, false, &request->tokens, &request->n_tokens);
}

/* A message's content is a string, or parts of which the text ones count. malloc'ed; NULL when it is neither. */
static char *content_of(const cJSON *message) {
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content"), *part;
    if (cJSON_IsString(content)) {
        return strdup(content->valuestring);
    }
    char *joined = NULL;
    size_t used = 0;
    cJSON_ArrayForEach(part, content) {
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(part, "text");
        if (!cJSON_IsString(text)) {
            free(joined);
            return NULL;
        }
        const size_t length = strlen(text->valuestring);
        char *larger = realloc(joined, used + length + 1);
        if (larger == NULL) {
            free(joined);
            return NULL;
        }
        joined = larger;
        memcpy(joined + used, text->valuestring, length + 1);
        used += length;
    }
    return joined;
}

static enum quire_status apply_template(const struct engine *engine, const struct llama_chat_message *messages, size_t n,
                                        struct api_request *request, char *why, size_t why_bytes) {
    const char *template = llama_model_chat_template(engine->model, NULL);
    template = template != NULL ? template : "chatml";
    int32_t length = llama_chat_apply_template(template, messages, n, true, NULL, 0);
    if (length < 0) {
        template = "chatml"; /* a template that llama.cpp does not know */
        length = llama_chat_apply_template(template, messages, n, true, NULL, 0);
    }
    char *text = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (text == NULL) {
        return INVALID("messages: the model's chat template cannot be applied");
    }
    llama_chat_apply_template(template, messages, n, true, text, length + 1);
    const enum quire_status status = engine_tokenise(engine, text, (size_t)length, true, true, &request->tokens, &request->n_tokens);
    free(text);
    return status;
}

static enum quire_status parse_messages(const struct engine *engine, const cJSON *root, struct api_request *request, char *why,
                                        size_t why_bytes) {
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(root, "messages"), *item;
    const int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (count == 0 || count > API_MESSAGES_MAX) {
        return INVALID("messages must be an array of 1 to %d", API_MESSAGES_MAX);
    }
    struct llama_chat_message *messages = calloc((size_t)count, sizeof(*messages));
    size_t n = 0;
    enum quire_status status = messages != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
    cJSON_ArrayForEach(item, array) {
        const cJSON *role = cJSON_GetObjectItemCaseSensitive(item, "role");
        char *content = status == QUIRE_OK && cJSON_IsString(role) ? content_of(item) : NULL;
        if (content == NULL) {
            status = status == QUIRE_OK ? INVALID("messages: each needs a role and text as its content") : status;
            break;
        }
        messages[n++] = (struct llama_chat_message){.role = role->valuestring, .content = content};
    }
    status = status == QUIRE_OK ? apply_template(engine, messages, n, request, why, why_bytes) : status;
    for (size_t i = 0; i < n; i++) {
        free((char *)messages[i].content);
    }
    free(messages);
    return status;
}

enum quire_status api_parse(const struct engine *engine, bool chat, const char *body, size_t bytes, struct api_request *request, char *why,
                            size_t why_bytes) {
    memset(request, 0, sizeof(*request));
    request->chat = chat;
    cJSON *root = cJSON_ParseWithLength(body, bytes);
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return INVALID("the body is not a JSON object");
    }
    enum quire_status status = parse_limits(root, request, why, why_bytes);
    status = status == QUIRE_OK ? parse_stops(root, request, why, why_bytes) : status;
    if (status == QUIRE_OK) {
        status = chat ? parse_messages(engine, root, request, why, why_bytes) : parse_prompt(engine, root, request, why, why_bytes);
    }
    cJSON_Delete(root);
    if (status == QUIRE_OK && request->n_tokens == 0) {
        status = INVALID("the prompt is empty");
    }
    if (status != QUIRE_OK) {
        if (why[0] == '\0') {
            snprintf(why, why_bytes, "the prompt cannot be turned into tokens of this model");
        }
        api_request_free(request);
    }
    return status;
}

void api_request_free(struct api_request *request) {
    free(request->tokens);
    memset(request, 0, sizeof(*request));
}

size_t api_find_stop(const struct api_request *request, const char *text, size_t bytes) {
    size_t first = bytes;
    for (uint32_t i = 0; i < request->n_stops; i++) {
        const char *at = memmem(text, bytes, request->stop[i], strlen(request->stop[i]));
        if (at != NULL && (size_t)(at - text) < first) {
            first = (size_t)(at - text);
        }
    }
    return first;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------------- */
static void add_usage(cJSON *root, const struct api_usage *usage) {
    cJSON *object = cJSON_AddObjectToObject(root, "usage");
    cJSON_AddNumberToObject(object, "prompt_tokens", usage->prompt_tokens);
    cJSON_AddNumberToObject(object, "completion_tokens", usage->completion_tokens);
    cJSON_AddNumberToObject(object, "total_tokens", (double)usage->prompt_tokens + usage->completion_tokens);
    cJSON *details = cJSON_AddObjectToObject(object, "prompt_tokens_details");
    cJSON_AddNumberToObject(details, "cached_tokens", usage->cached_tokens);
}

static cJSON *head(bool chat, bool chunk, const char *model, uint64_t id) {
    char name[64];
    cJSON *root = cJSON_CreateObject();
    snprintf(name, sizeof(name), "%s-%016llx", chat ? "chatcmpl" : "cmpl", (unsigned long long)id);
    cJSON_AddStringToObject(root, "id", name);
    cJSON_AddStringToObject(root, "object", !chat ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion");
    cJSON_AddNumberToObject(root, "created", (double)time(NULL));
    cJSON_AddStringToObject(root, "model", model);
    return root;
}

static void add_choice(cJSON *choices, bool chat, bool chunk, const char *text, const char *finish) {
    cJSON *choice = cJSON_CreateObject();
    cJSON_AddItemToArray(choices, choice);
    cJSON_AddNumberToObject(choice, "index", 0);
    if (!chat) {
        cJSON_AddStringToObject(choice, "text", text);
    } else {
        cJSON *message = cJSON_AddObjectToObject(choice, chunk ? "delta" : "message");
        cJSON_AddStringToObject(message, "role", "assistant");
        cJSON_AddStringToObject(message, "content", text);
    }
    cJSON_AddNullToObject(choice, "logprobs");
    if (finish != NULL) {
        cJSON_AddStringToObject(choice, "finish_reason", finish);
    } else {
        cJSON_AddNullToObject(choice, "finish_reason");
    }
}

static char *print_and_delete(cJSON *root) {
    char *line = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return line;
}

static char *completion(bool chat, bool chunk, const char *model, uint64_t id, const char *text, size_t bytes, const char *finish,
                        const struct api_usage *usage) {
    char *clean = text_clean(text, bytes);
    if (clean == NULL) {
        return NULL;
    }
    cJSON *root = head(chat, chunk, model, id);
    cJSON *choices = cJSON_AddArrayToObject(root, "choices");
    if (!chunk || finish != NULL || usage == NULL) {
        add_choice(choices, chat, chunk, clean, finish);
    }
    if (usage != NULL) {
        add_usage(root, usage);
    }
    free(clean);
    return print_and_delete(root);
}

char *api_answer(bool chat, const char *model, uint64_t id, const char *text, size_t bytes, const char *finish,
                 const struct api_usage *usage) {
    return completion(chat, false, model, id, text, bytes, finish, usage);
}

char *api_event(bool chat, const char *model, uint64_t id, const char *text, size_t bytes, const char *finish,
                const struct api_usage *usage) {
    char *line = completion(chat, true, model, id, text, bytes, finish, usage), *event = NULL;
    if (line != NULL && asprintf(&event, "data: %s\n\n", line) < 0) {
        event = NULL;
    }
    cJSON_free(line);
    return event;
}

char *api_models(const char *model) {
    cJSON *root = cJSON_CreateObject(), *entry = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "object", "list");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(root, "data"), entry);
    cJSON_AddStringToObject(entry, "id", model);
    cJSON_AddStringToObject(entry, "object", "model");
    cJSON_AddStringToObject(entry, "owned_by", "quire-llama");
    return print_and_delete(root);
}

char *api_error(const char *message, const char *type) {
    cJSON *root = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(root, "error");
    cJSON_AddStringToObject(error, "message", message);
    cJSON_AddStringToObject(error, "type", type);
    cJSON_AddNullToObject(error, "code");
    return print_and_delete(root);
}
