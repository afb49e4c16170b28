/* A layout's RoPE is verified, not believed: K that was rotated as the layout says agrees between positions, any other does not. */
#include "client/llama/model_layout.h"
#include "client/llama/rope_check.h"

#include <criterion/criterion.h>
#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 3, DIM = 64, POSITIONS = 12 };

static quire_group group_with(uint8_t pairing, double base, uint16_t n_dims) {
    quire_group group = {.n_kv_heads = HEADS, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    group.rope = (quire_rope){.pairing = pairing, .applied = true, .n_dims = n_dims, .factor = 1};
    for (int i = 0; i < n_dims / 2; i++) {
        group.rope.inv_freq[i] = (float)pow(base, -2.0 * i / n_dims);
    }
    return group;
}

/* One token's K, rotated to a position as the group says. */
static void rotated_row(const quire_group *group, int32_t position, uint16_t *row) {
    for (int h = 0; h < HEADS; h++) {
        double x[DIM];
        for (int d = 0; d < DIM; d++) {
            x[d] = sin(1.0 + h * 100 + d * 1.7);
        }
        for (int i = 0; i < group->rope.n_dims / 2; i++) {
            const int half = group->rope.n_dims / 2;
            const int a = group->rope.pairing == QUIRE_ROPE_HALF ? i : 2 * i,
                      b = group->rope.pairing == QUIRE_ROPE_HALF ? i + half : 2 * i + 1;
            const double angle = (double)position * group->rope.inv_freq[i], p = x[a], q = x[b];
            x[a] = p * cos(angle) - q * sin(angle);
            x[b] = p * sin(angle) + q * cos(angle);
        }
        for (int d = 0; d < DIM; d++) {
            row[h * DIM + d] = ggml_fp32_to_fp16((float)x[d]);
        }
    }
}

static double deviation(const quire_group *truth, const quire_group *claim) {
    static const int32_t positions[POSITIONS] = {0, 1, 2, 3, 5, 8, 301, 302, 303, 1507, 1508, 1514};
    uint16_t rows[POSITIONS][HEADS * DIM];
    const uint8_t *row[POSITIONS];
    for (int i = 0; i < POSITIONS; i++) {
        rotated_row(truth, positions[i], rows[i]);
        row[i] = (const uint8_t *)rows[i];
    }
    return rope_check_rows(claim, row, positions, POSITIONS);
}

/* Both pairings, and rotation of only the front of a head, are confirmed. */
Test(llama_rope, what_is_true_agrees) {
    for (uint8_t pairing = QUIRE_ROPE_HALF; pairing <= QUIRE_ROPE_INTERLEAVED; pairing++) {
        for (uint16_t n_dims = 16; n_dims <= DIM; n_dims += 16) {
            const quire_group group = group_with(pairing, 1e5, n_dims);
            cr_assert_lt(deviation(&group, &group), 1e-5);
        }
    }
}

/* Another base, the other pairing, other dims, one wrong frequency, a wrong magnitude of the claim: each is seen. */
Test(llama_rope, what_is_false_does_not) {
    const quire_group truth = group_with(QUIRE_ROPE_INTERLEAVED, 1e5, DIM);
    quire_group claim = group_with(QUIRE_ROPE_INTERLEAVED, 1e4, DIM);
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_DEEP);
    claim = group_with(QUIRE_ROPE_INTERLEAVED, 1.1e5, DIM);
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_DEEP);
    claim = group_with(QUIRE_ROPE_HALF, 1e5, DIM);
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_DEEP);
    claim = group_with(QUIRE_ROPE_INTERLEAVED, 1e5, DIM / 2);
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_DEEP);
    claim = truth;
    claim.rope.inv_freq[7] *= 1.02f;
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_FIRST);
    claim = truth;
    claim.rope.pairing = QUIRE_ROPE_NONE;
    cr_assert_gt(deviation(&truth, &claim), ROPE_CHECK_DEEP);
}

/* ggml's parameters become frequencies: plain, scaled, with factors, and with YaRN's ramp between both. */
Test(llama_rope, parameters) {
    char why[128] = "";
    quire_rope rope;
    struct probe_rope seen = {
        .found = true, .n_dims = 8, .mode = GGML_ROPE_TYPE_NEOX, .freq_base = 1e4f, .freq_scale = 0.25f, .attn_factor = 1};
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_OK);
    cr_assert_eq(rope.pairing, QUIRE_ROPE_HALF);
    cr_assert_float_eq(rope.inv_freq[1], 0.025f, 1e-6);
    cr_assert_eq(rope.inv_freq[4], 0);
    seen.n_factors = 4;
    for (int i = 0; i < 4; i++) {
        seen.factors[i] = 2;
    }
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_OK);
    cr_assert_float_eq(rope.inv_freq[1], 0.0125f, 1e-6);
    seen.n_factors = 0;
    seen.ext_factor = 1;
    seen.n_ctx_orig = 4096;
    seen.beta_fast = 32;
    seen.beta_slow = 1;
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_OK);
    cr_assert_float_eq(rope.inv_freq[0], 1.0f, 1e-6, "the fastest pair is not stretched");
    cr_assert_float_eq(rope.factor, 1.0f + 0.1f * logf(4), 1e-5);
}

/* What quire_rope cannot say is refused by name. */
Test(llama_rope, refusals) {
    char why[128] = "";
    quire_rope rope;
    struct probe_rope seen = {
        .found = true, .n_dims = 8, .mode = GGML_ROPE_TYPE_MROPE, .freq_base = 1e4f, .freq_scale = 1, .attn_factor = 1};
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_UNSUPPORTED);
    cr_assert(strstr(why, "several positions") != NULL, "%s", why);
    seen.mode = GGML_ROPE_TYPE_NORMAL;
    seen.offset = 8;
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_UNSUPPORTED);
    seen = (struct probe_rope){0};
    cr_assert_eq(model_layout_rope(&seen, 16, &rope, why, sizeof(why)), QUIRE_OK);
    cr_assert_eq(rope.pairing, QUIRE_ROPE_NONE);
}
