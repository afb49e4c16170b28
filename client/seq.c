/* Ancestry, the worst fidelity that a sequence was ever given; and what a token of it took to compute, until that is told. */
#include "client/internal.h"

#include <stdlib.h>

enum quire_status quire_seq_create(quire_ns *ns, quire_seq **seq) {
    if (ns == NULL || seq == NULL) {
        return error_set(QUIRE_INVALID, "quire_seq_create: ns or seq is NULL");
    }
    *seq = calloc(1, sizeof(**seq));
    return *seq != NULL ? QUIRE_OK : error_set(QUIRE_NO_MEMORY, "out of memory for a sequence");
}

void quire_seq_destroy(quire_seq **seq) {
    if (seq != NULL) {
        free(*seq);
        *seq = NULL;
    }
}

quire_fidelity quire_seq_ancestry(const quire_seq *seq) { return seq == NULL ? (quire_fidelity){0} : seq->worst; }

enum quire_status quire_seq_set_cost(quire_seq *seq, double us_per_token) {
    const bool possible = us_per_token == 0 || (us_per_token >= QUIRE_COST_MIN_US && us_per_token <= QUIRE_COST_MAX_US);
    if (seq == NULL || !possible) {
        return error_set(QUIRE_INVALID, seq == NULL ? "quire_seq_set_cost: seq is NULL"
                                                    : "quire_seq_set_cost: a token takes 0.001 to 60,000,000 microseconds; 0 is unknown");
    }
    seq->us_per_token = (float)us_per_token;
    return QUIRE_OK;
}

float seq_take_cost(quire_seq *seq) {
    const float us_per_token = seq != NULL ? seq->us_per_token : 0;
    if (seq != NULL) {
        seq->us_per_token = 0;
    }
    return us_per_token;
}

void seq_keep_cost(quire_seq *seq, float us_per_token) {
    if (seq != NULL && us_per_token > 0) {
        seq->us_per_token = us_per_token;
    }
}

static float worse(float a, float b) { return a > b ? a : b; }

void seq_learn(quire_seq *seq, const quire_fidelity *fidelity) {
    if (seq != NULL) {
        seq->worst.error = worse(seq->worst.error, fidelity->error);
        seq->worst.ancestry_error = worse(seq->worst.ancestry_error, fidelity->ancestry_error);
        seq->worst.rung = seq->worst.rung > fidelity->rung ? seq->worst.rung : fidelity->rung;
    }
}
