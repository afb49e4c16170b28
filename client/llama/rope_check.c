#include "client/llama/rope_check.h"

#include "proto/base/base.h"
#include "proto/status.h"

#include <ggml.h>
#include <math.h>
#include <stdio.h>

#define POSITIONS_MAX 64u

static double element(const uint8_t *row, uint32_t index, uint8_t elem) {
    uint16_t half;
    float value;
    switch (elem) {
    case QUIRE_F16:
        memcpy(&half, row + 2ull * index, 2);
        return ggml_fp16_to_fp32(half);
    case QUIRE_BF16:
        memcpy(&half, row + 2ull * index, 2);
        return ggml_bf16_to_fp32((ggml_bf16_t){half});
    default:
        memcpy(&value, row + 4ull * index, 4);
        return value;
    }
}

/* One head's K with the rotation undone. */
static void unrotate(const quire_group *group, const uint8_t *row, uint32_t head, int32_t position, double *out) {
    const quire_rope *rope = &group->rope;
    for (uint32_t d = 0; d < group->k_dim; d++) {
        out[d] = element(row, head * group->k_dim + d, group->elem);
    }
    if (rope->pairing == QUIRE_ROPE_NONE || !rope->applied) {
        return;
    }
    const uint32_t half = rope->n_dims / 2u;
    for (uint32_t i = 0; i < half; i++) {
        const uint32_t a = rope->pairing == QUIRE_ROPE_HALF ? i : 2 * i, b = rope->pairing == QUIRE_ROPE_HALF ? i + half : 2 * i + 1;
        const double angle = (double)position * rope->inv_freq[i], c = cos(angle), s = sin(angle), x = out[a], y = out[b];
        out[a] = (x * c + y * s) / rope->factor;
        out[b] = (y * c - x * s) / rope->factor;
    }
}

double rope_check_rows(const quire_group *group, const uint8_t *const *rows, const int32_t *positions, uint32_t n) {
    double first[QUIRE_MAX_DIM] = {0}, other[QUIRE_MAX_DIM] = {0}, off = 0, all = 0;
    for (uint32_t h = 0; h < group->n_kv_heads; h++) {
        unrotate(group, rows[0], h, positions[0], first);
        for (uint32_t i = 1; i < n; i++) {
            unrotate(group, rows[i], h, positions[i], other);
            for (uint32_t d = 0; d < group->k_dim; d++) {
                off += (other[d] - first[d]) * (other[d] - first[d]);
                all += first[d] * first[d];
            }
        }
    }
    return all > 0 ? off / all : (off > 0 ? INFINITY : 0);
}

static double check_layer(const struct model_layout *model, uint32_t g, uint32_t layer, const struct kvblob *blob,
                          const uint8_t *const *bytes, uint32_t n_blobs) {
    const uint8_t *rows[POSITIONS_MAX];
    int32_t positions[POSITIONS_MAX];
    uint32_t n = 0;
    for (uint32_t b = 0; b < n_blobs; b++) {
        const struct kvblob_section *section = &blob[b].section[model->section[g]];
        const struct kvblob_plane *k = &section->k[model->place[g][layer]];
        for (uint32_t t = 0; t < section->n_cells && n < POSITIONS_MAX; t++, n++) {
            rows[n] = bytes[b] + k->offset + k->row_bytes * t;
            positions[n] = section->first_pos + (int32_t)t;
        }
    }
    return n > 1 ? rope_check_rows(&model->layout.group[g], rows, positions, n) : INFINITY;
}

enum quire_status rope_check(const struct model_layout *model, const struct kvblob *blob, const uint8_t *const *bytes, uint32_t n_blobs,
                             double *worst, char *why, size_t why_bytes) {
    double largest = 0;
    uint16_t seen[QUIRE_MAX_GROUPS] = {0};
    enum quire_status status = QUIRE_OK;
    for (uint32_t l = 0; l < model->layout.n_layers && status == QUIRE_OK; l++) {
        const uint32_t g = model->layout.group_of[l];
        if (model->layout.kv_src[l] != l) {
            continue;
        }
        const uint32_t layer = seen[g]++;
        if ((l > 0 && model->sinks) || model->layout.group[g].rope.pairing == QUIRE_ROPE_NONE) {
            continue; /* nothing that could be seen here, nothing that is claimed there */
        }
        const double deviation = check_layer(model, g, layer, blob, bytes, n_blobs);
        largest = fmax(largest, deviation);
        if (!(deviation <= (l == 0 ? ROPE_CHECK_FIRST : ROPE_CHECK_DEEP))) {
            snprintf(why, why_bytes, "layer %u: K without its rotation differs between positions (by %.2g)", (unsigned)l, deviation);
            status = QUIRE_UNSUPPORTED;
        }
    }
    if (worst != NULL) {
        *worst = largest;
    }
    return status;
}
