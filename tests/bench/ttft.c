/*
 * Time to first token with a real model: two worker processes meet the same 4,096 tokens of real text; the first prefills them, the
 * second fetches. The value says how many times sooner the second can start than by prefilling (1: no sooner). Loading the model is in neither.
 */
#include "proto/base/base.h"
#include "tests/bench/fixture.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 2, OUTPUT_MAX = 1 << 20 };

struct run {
    double prefill_ms, lookup_ms, fetch_ms, import_ms, prompt_tokens, reused_tokens;
};

/* Runs the command and reads its standard output; NULL when it fails. */
static char *output_of(const char *command) {
    char *text = calloc(1, OUTPUT_MAX);
    FILE *pipe = popen(command, "r");
    if (text == NULL || pipe == NULL) {
        free(text);
        return NULL;
    }
    size_t n = fread(text, 1, OUTPUT_MAX - 1, pipe);
    text[n] = '\0';
    if (pclose(pipe) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static double number(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static int worker(const struct bench_options *options, const struct bench_case *c, const struct fixture *fixture, const char *text,
                  const char *extra, struct run *run) {
    char command[9000];
    snprintf(command, sizeof command,
             "'%s/quire-llama' run --model '%s' --prompt-file '%s' --max-prompt-tokens 4097 --ctx 4224 -n 1 --json %s "
             "--socket '%s' 2>>'%s/quired.log'",
             options->bin, options->model, text, extra, fixture->address + strlen("unix://"), fixture->folder);
    char *output = output_of(command);
    cJSON *object = output != NULL ? cJSON_Parse(output) : NULL;
    free(output);
    if (object == NULL) {
        return bench_fail(c, "quire-llama failed: %s", command);
    }
    *run = (struct run){.prefill_ms = number(object, "prefill_ms"),
                        .lookup_ms = number(object, "lookup_ms"),
                        .fetch_ms = number(object, "fetch_ms"),
                        .import_ms = number(object, "import_ms"),
                        .prompt_tokens = number(object, "prompt_tokens"),
                        .reused_tokens = number(object, "reused_tokens")};
    cJSON_Delete(object);
    return 0;
}

/* A long real text that every Debian has. */
static int write_text(const struct fixture *fixture, char *path, size_t path_bytes) {
    char command[600];
    snprintf(path, path_bytes, "%s/text", fixture->folder);
    snprintf(command, sizeof command, "cat /usr/share/common-licenses/GPL-3 /usr/share/common-licenses/LGPL-2.1 > '%s'", path);
    return system(command) == 0 ? 0 : 1;
}

static int ttft_rounds(const struct bench_options *options, const struct bench_case *self, const struct fixture *fixture,
                       const char *text) {
    double sooner[ROUNDS], fetches[ROUNDS], prefills[ROUNDS];
    struct run first, second;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const char *how = round == 0 ? "" : "--no-quire"; /* the first one's prefill is stored, too */
        if (worker(options, self, fixture, text, how, &first) != 0 || worker(options, self, fixture, text, "", &second) != 0) {
            return 1;
        }
        if (second.reused_tokens < 4096) {
            return bench_fail(self, "only %.0f of %.0f tokens were reused", second.reused_tokens, second.prompt_tokens);
        }
        prefills[round] = first.prefill_ms - second.prefill_ms; /* the last token is computed by both */
        fetches[round] = second.lookup_ms + second.fetch_ms + second.import_ms;
        sooner[round] = prefills[round] / fetches[round];
    }
    double times = bench_median(sooner, ROUNDS);
    bench_report(options, "ttft", self, times, "x", 1, times);
    bench_note(options,
               "%.1f ms for look-up, fetch and import of %.0f tokens against %.0f ms of prefill; the last token's own step (%.0f ms) is in "
               "neither",
               bench_median(fetches, ROUNDS), second.reused_tokens, bench_median(prefills, ROUNDS), second.prefill_ms);
    return 0;
}

static int ttft_4096(const struct bench_options *options, const struct bench_case *self) {
    struct fixture fixture;
    char text[128];
    if (options->model == NULL || access(options->model, R_OK) != 0) {
        return bench_fail(self, "give a model with --model or $QUIRE_MODEL (`deploy/deps path model` tells where the quickstart's is)");
    }
    int failed = fixture_start(options, self, "domains:\n  - name: default\n    pool_bytes: 512MiB\n", &fixture);
    failed = failed != 0 ? failed : write_text(&fixture, text, sizeof text);
    failed = failed != 0 ? failed : ttft_rounds(options, self, &fixture, text);
    unlink(text);
    fixture_stop(&fixture);
    return failed;
}

static const struct bench_case cases[] = {
    {"ttft_4096", "SmolLM2-135M, 4,096 tokens of real text: prefill / (look-up + fetch + import)", ">= 50", ttft_4096},
};

const struct bench_subject bench_ttft = {"ttft", "time to first token on a real model", cases, QUIRE_ARRAY_LEN(cases), .apart = false};
