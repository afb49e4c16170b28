#include "proto/layout.h"

#include "proto/base/base.h"
#include "proto/status.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct complaint {
    char *why;
    size_t why_bytes;
};

static enum quire_status complain(const struct complaint *to, enum quire_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum quire_status complain(const struct complaint *to, enum quire_status status, const char *format, ...) {
    if (to->why != NULL && to->why_bytes > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(to->why, to->why_bytes, format, arguments);
        va_end(arguments);
    }
    return status;
}

static enum quire_status check_range(const struct complaint *to, const char *field, uint32_t value, uint32_t least, uint32_t most) {
    if (value < least) {
        return complain(to, QUIRE_INVALID, "%s is %u, must be at least %u", field, value, least);
    }
    if (value > most) {
        return complain(to, QUIRE_TOO_LARGE, "%s is %u, must be at most %u", field, value, most);
    }
    return QUIRE_OK;
}

static enum quire_status check_name(const struct complaint *to, const char *field, const char name[QUIRE_MAX_NAME + 1]) {
    size_t length = strnlen(name, QUIRE_MAX_NAME + 1);
    if (length == 0 || length > QUIRE_MAX_NAME) {
        return complain(to, QUIRE_INVALID, "%s must have 1 to %d characters", field, QUIRE_MAX_NAME);
    }
    for (size_t i = 0; i < length; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) {
            return complain(to, QUIRE_INVALID, "%s must be printable ASCII", field);
        }
    }
    return QUIRE_OK;
}

static enum quire_status check_no_rope(const struct complaint *to, const quire_rope *rope, uint32_t g) {
    if (rope->n_dims != 0 || rope->applied || rope->factor != 0 || signbit(rope->factor)) {
        return complain(to, QUIRE_INVALID, "group[%u].rope must be all zero when its pairing is none", g);
    }
    return QUIRE_OK;
}

static enum quire_status check_frequencies(const struct complaint *to, const quire_rope *rope, uint32_t g) {
    for (uint32_t i = 0; i < QUIRE_MAX_DIM / 2; i++) {
        float f = rope->inv_freq[i];
        if (i < rope->n_dims / 2u && (!isfinite(f) || signbit(f))) {
            return complain(to, QUIRE_INVALID, "group[%u].rope.inv_freq[%u] must be finite and not negative", g, i);
        }
        if (i >= rope->n_dims / 2u && (f != 0 || signbit(f))) {
            return complain(to, QUIRE_INVALID, "group[%u].rope.inv_freq[%u] is behind n_dims and must be zero", g, i);
        }
    }
    return QUIRE_OK;
}

static enum quire_status check_rope(const struct complaint *to, const quire_group *group, uint32_t g) {
    const quire_rope *rope = &group->rope;
    if (rope->pairing >= QUIRE_PAIRING_COUNT) {
        return complain(to, QUIRE_UNSUPPORTED, "group[%u].rope.pairing %u is not known", g, rope->pairing);
    }
    if (rope->pairing == QUIRE_ROPE_NONE) {
        QUIRE_FORWARD(check_no_rope(to, rope, g));
    } else {
        if (rope->n_dims == 0 || rope->n_dims % 2 != 0 || rope->n_dims > group->k_dim) {
            return complain(to, QUIRE_INVALID, "group[%u].rope.n_dims is %u, must be even and 2 to k_dim %u", g, rope->n_dims,
                            group->k_dim);
        }
        if (!isfinite(rope->factor) || rope->factor <= 0) {
            return complain(to, QUIRE_INVALID, "group[%u].rope.factor must be finite and positive", g);
        }
    }
    return check_frequencies(to, rope, g);
}

static enum quire_status check_group(const struct complaint *to, const quire_layout *layout, uint32_t g) {
    const quire_group *group = &layout->group[g];
    char field[32];
    snprintf(field, sizeof(field), "group[%u].n_kv_heads", g);
    QUIRE_FORWARD(check_range(to, field, group->n_kv_heads, 1, QUIRE_MAX_HEADS));
    snprintf(field, sizeof(field), "group[%u].k_dim", g);
    QUIRE_FORWARD(check_range(to, field, group->k_dim, 1, QUIRE_MAX_DIM));
    snprintf(field, sizeof(field), "group[%u].v_dim", g);
    QUIRE_FORWARD(check_range(to, field, group->v_dim, 0, QUIRE_MAX_DIM));
    if (group->elem >= QUIRE_ELEM_COUNT) {
        return complain(to, QUIRE_UNSUPPORTED, "group[%u].elem %u is not known", g, group->elem);
    }
    if (quire_layout_group_layers(layout, g) == 0) {
        return complain(to, QUIRE_INVALID, "group[%u] has no layers", g);
    }
    quire_rect whole = quire_layout_whole(layout, g);
    if (quire_layout_rect_bytes(layout, g, &whole, layout->block_tokens) > QUIRE_MAX_RECORD_BYTES) {
        return complain(to, QUIRE_TOO_LARGE, "group[%u] needs more than %u bytes a block", g, QUIRE_MAX_RECORD_BYTES);
    }
    return check_rope(to, group, g);
}

static enum quire_status check_layers(const struct complaint *to, const quire_layout *layout) {
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        uint32_t source = layout->kv_src[l];
        if (source > l || layout->kv_src[source] != source) {
            return complain(to, QUIRE_INVALID, "kv_src[%u] is %u, must be a layer at or before it that reads its own", l, source);
        }
        if (source == l && layout->group_of[l] >= layout->n_groups) {
            return complain(to, QUIRE_INVALID, "group_of[%u] is %u, must be below n_groups %u", l, layout->group_of[l], layout->n_groups);
        }
    }
    for (uint32_t l = layout->n_layers; l < QUIRE_MAX_LAYERS; l++) {
        if (layout->kv_src[l] != 0 || layout->group_of[l] != 0) {
            return complain(to, QUIRE_INVALID, "kv_src[%u] and group_of[%u] are behind n_layers and must be zero", l, l);
        }
    }
    return QUIRE_OK;
}

enum quire_status quire_layout_check(const quire_layout *layout, char *why, size_t why_bytes) {
    const struct complaint to = {why, why_bytes};
    QUIRE_FORWARD(check_range(&to, "block_tokens", layout->block_tokens, 1, QUIRE_MAX_BLOCK_TOKENS));
    if (layout->opaque) {
        QUIRE_FORWARD(check_name(&to, "engine", layout->engine));
        return check_name(&to, "engine_format", layout->engine_format);
    }
    QUIRE_FORWARD(check_range(&to, "n_layers", layout->n_layers, 1, QUIRE_MAX_LAYERS));
    QUIRE_FORWARD(check_range(&to, "n_groups", layout->n_groups, 1, QUIRE_MAX_GROUPS));
    QUIRE_FORWARD(check_layers(&to, layout));
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        QUIRE_FORWARD(check_group(&to, layout, g));
    }
    return QUIRE_OK;
}

uint32_t quire_layout_groups(const quire_layout *layout) { return layout->opaque ? 1 : layout->n_groups; }

uint32_t quire_layout_group_layers(const quire_layout *layout, uint32_t group) {
    uint32_t n_layers = 0;
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        n_layers += layout->kv_src[l] == l && layout->group_of[l] == group;
    }
    return n_layers;
}

uint64_t quire_layout_lane_bytes(const quire_layout *layout, uint32_t group, uint32_t kv, uint32_t n_tokens) {
    const quire_group *shape = &layout->group[group];
    uint64_t dim = kv == 0 ? shape->k_dim : shape->v_dim;
    return dim * quire_elem_bytes(shape->elem) * n_tokens;
}

uint64_t quire_layout_rect_bytes(const quire_layout *layout, uint32_t group, const quire_rect *rect, uint32_t n_tokens) {
    uint64_t both = quire_layout_lane_bytes(layout, group, 0, n_tokens) + quire_layout_lane_bytes(layout, group, 1, n_tokens);
    return both * rect->n_layers * rect->n_heads;
}

quire_rect quire_layout_whole(const quire_layout *layout, uint32_t group) {
    return (quire_rect){
        .n_layers = (uint16_t)quire_layout_group_layers(layout, group),
        .n_heads = layout->group[group].n_kv_heads,
    };
}

uint32_t quire_layout_window_blocks(const quire_layout *layout, uint32_t group) {
    uint32_t window = layout->opaque ? 0 : layout->group[group].window_tokens;
    if (window == 0) {
        return UINT32_MAX;
    }
    return window / layout->block_tokens + (window % layout->block_tokens != 0);
}
