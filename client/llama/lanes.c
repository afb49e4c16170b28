#include "client/llama/lanes.h"

#include "proto/base/base.h"
#include "proto/status.h"

#include <string.h>

bool lanes_present(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint32_t first, uint32_t end) {
    const struct kvblob_section *section = &rows->section[model->section[group]];
    return section->n_cells > 0 && (uint32_t)section->first_pos <= first && end <= (uint32_t)section->first_pos + section->n_cells;
}

static void fill_bases(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint8_t *bytes, uint32_t first,
                       struct lane_bases *bases) {
    const struct kvblob_section *section = &rows->section[model->section[group]];
    const uint64_t row = first - (uint32_t)section->first_pos;
    for (uint32_t l = 0; l < model->n_layers[group]; l++) {
        const struct kvblob_plane *k = &section->k[model->place[group][l]], *v = &section->v[model->place[group][l]];
        bases->k[l] = bytes + k->offset + k->row_bytes * row;
        bases->v[l] = bytes + v->offset + v->row_bytes * row;
    }
}

struct strides {
    int64_t k_head, k_token, v_head, v_token;
};

static struct strides strides_of(const struct model_layout *model, uint32_t group) {
    const quire_group *g = &model->layout.group[group];
    const int64_t elem = (int64_t)quire_elem_bytes((enum quire_elem)g->elem);
    return (struct strides){.k_head = elem * g->k_dim,
                            .k_token = elem * g->k_dim * g->n_kv_heads,
                            .v_head = elem * g->v_dim,
                            .v_token = elem * g->v_dim * g->n_kv_heads};
}

void lanes_dest(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint8_t *bytes, uint32_t first,
                struct lane_bases *bases, quire_dest *dest) {
    const struct strides s = strides_of(model, group);
    fill_bases(model, group, rows, bytes, first, bases);
    dest->group = (uint8_t)group;
    dest->k_base = bases->k;
    dest->v_base = bases->v;
    dest->k_head_stride = s.k_head;
    dest->k_token_stride = s.k_token;
    dest->v_head_stride = s.v_head;
    dest->v_token_stride = s.v_token;
    dest->region = bytes;
    dest->region_bytes = rows->size_bytes;
}

void lanes_source(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint8_t *bytes, uint32_t first,
                  struct lane_bases *bases, quire_source *source) {
    const struct strides s = strides_of(model, group);
    fill_bases(model, group, rows, bytes, first, bases);
    source->group = (uint8_t)group;
    source->k_base = (const void *const *)bases->k;
    source->v_base = (const void *const *)bases->v;
    source->k_head_stride = s.k_head;
    source->k_token_stride = s.k_token;
    source->v_head_stride = s.v_head;
    source->v_token_stride = s.v_token;
}

uint64_t lanes_copy_out(const struct model_layout *model, uint32_t group, uint32_t layer, bool v, uint32_t head, const struct kvblob *rows,
                        const uint8_t *bytes, uint32_t first, uint32_t n_tokens, uint8_t *out) {
    const quire_group *g = &model->layout.group[group];
    const struct kvblob_section *section = &rows->section[model->section[group]];
    const struct kvblob_plane *plane = v ? &section->v[model->place[group][layer]] : &section->k[model->place[group][layer]];
    const uint64_t head_bytes = quire_elem_bytes((enum quire_elem)g->elem) * (v ? g->v_dim : g->k_dim);
    for (uint32_t t = 0; out != NULL && t < n_tokens; t++) {
        const uint64_t row = first + t - (uint32_t)section->first_pos;
        memcpy(out + head_bytes * t, bytes + plane->offset + plane->row_bytes * row + head_bytes * head, head_bytes);
    }
    return head_bytes * n_tokens;
}
