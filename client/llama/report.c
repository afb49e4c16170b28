#include "client/llama/report.h"

#include "client/llama/text.h"
#include "proto/status.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>

static void add_ms(cJSON *object, const char *name, double ms) { cJSON_AddNumberToObject(object, name, round(ms * 1000) / 1000); }

static const char *rung_of(const struct worker_result *result) {
    return result->reused_tokens > 0 ? quire_rung_name((enum quire_rung)result->fidelity.rung) : "none";
}

void report_json(const struct worker_result *result, FILE *out) {
    cJSON *object = cJSON_CreateObject();
    char *text = text_clean(result->text != NULL ? result->text : "", result->text_bytes);
    cJSON_AddNumberToObject(object, "prompt_tokens", result->prompt_tokens);
    cJSON_AddNumberToObject(object, "reused_tokens", result->reused_tokens);
    add_ms(object, "lookup_ms", result->lookup_ms);
    add_ms(object, "fetch_ms", result->fetch_ms);
    add_ms(object, "import_ms", result->import_ms);
    add_ms(object, "prefill_ms", result->prefill_ms);
    add_ms(object, "generate_ms", result->generate_ms);
    add_ms(object, "store_ms", result->store_ms);
    cJSON_AddNumberToObject(object, "stored_blocks", result->stored_blocks);
    cJSON_AddStringToObject(object, "text", text != NULL ? text : "");
    cJSON *tokens = cJSON_AddArrayToObject(object, "tokens");
    for (uint32_t i = 0; i < result->n_generated; i++) {
        cJSON_AddItemToArray(tokens, cJSON_CreateNumber(result->tokens[i]));
    }
    cJSON_AddStringToObject(object, "rung", rung_of(result));
    cJSON_AddNumberToObject(object, "ancestry_error", result->fidelity.ancestry_error);
    char *line = cJSON_PrintUnformatted(object);
    fprintf(out, "%s\n", line != NULL ? line : "{}");
    cJSON_free(line);
    cJSON_Delete(object);
    free(text);
}

void report_text(const struct worker_result *result, FILE *out, FILE *about) {
    fwrite(result->text, 1, result->text_bytes, out);
    fputc('\n', out);
    fflush(out);
    fprintf(about, "prompt     %u tokens: %u fetched, %u computed\n", (unsigned)result->prompt_tokens, (unsigned)result->reused_tokens,
            (unsigned)(result->prompt_tokens - result->reused_tokens));
    if (result->reused_tokens > 0) {
        fprintf(about, "fetched    in %.1f ms (look-up %.1f, fetch %.1f, import %.1f), %s, error %g\n",
                result->lookup_ms + result->fetch_ms + result->import_ms, result->lookup_ms, result->fetch_ms, result->import_ms,
                rung_of(result), (double)fmaxf(result->fidelity.error, result->fidelity.ancestry_error));
    }
    fprintf(about, "computed   in %.1f ms\n", result->prefill_ms);
    fprintf(about, "generated  %u tokens in %.1f ms%s\n", (unsigned)result->n_generated, result->generate_ms,
            result->ended ? ", to the model's end" : "");
    if (result->stored_blocks > 0) {
        fprintf(about, "stored     %u blocks in %.1f ms\n", (unsigned)result->stored_blocks, result->store_ms);
    }
}
