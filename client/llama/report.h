/* What a run did, for programs (one JSON object) and for people (a few lines). */
#ifndef QUIRE_LLAMA_REPORT_H
#define QUIRE_LLAMA_REPORT_H

#include "client/llama/worker.h"

#include <stdio.h>

void report_json(const struct worker_result *result, FILE *out);
/* The answer, and a summary on `about`. */
void report_text(const struct worker_result *result, FILE *out, FILE *about);

#endif
