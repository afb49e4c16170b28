/* Ancestry: the worst fidelity that a sequence was ever given. */
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

static float worse(float a, float b) { return a > b ? a : b; }

void seq_learn(quire_seq *seq, const quire_fidelity *fidelity) {
    if (seq != NULL) {
        seq->worst.error = worse(seq->worst.error, fidelity->error);
        seq->worst.ancestry_error = worse(seq->worst.ancestry_error, fidelity->ancestry_error);
        seq->worst.rung = seq->worst.rung > fidelity->rung ? seq->worst.rung : fidelity->rung;
    }
}
