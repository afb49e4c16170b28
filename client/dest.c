/* Destinations: is one sound for a record of this shape, and where in it do the record's bytes belong as they come. */
#include "client/internal.h"
#include "proto/status.h"

#include <stdlib.h>

enum quire_status dest_check(const quire_layout *layout, const quire_dest *dest, uint32_t n_tokens, quire_rect *rect) {
    const quire_group *group = &layout->group[dest->group];
    QUIRE_FORWARD(rect_resolve(layout, dest->group, &dest->rect, rect));
    uint32_t elem_bytes = (uint32_t)quire_elem_bytes(group->elem);
    struct plane k = {(const void *const *)dest->k_base, rect->n_layers,      rect->n_heads,       n_tokens,
                      group->k_dim * elem_bytes,         dest->k_head_stride, dest->k_token_stride};
    QUIRE_FORWARD(bounds_check(&k, dest->region, dest->region_bytes));
    if (group->v_dim == 0) {
        return QUIRE_OK;
    }
    struct plane v = {(const void *const *)dest->v_base, rect->n_layers,      rect->n_heads,       n_tokens,
                      group->v_dim * elem_bytes,         dest->v_head_stride, dest->v_token_stride};
    return bounds_check(&v, dest->region, dest->region_bytes);
}

struct quire_scatter dest_scatter(const quire_dest *dest, const quire_rect *rect) {
    return (struct quire_scatter){.rect = *rect,
                                  .k_base = dest->k_base,
                                  .v_base = dest->v_base,
                                  .k_head_stride = dest->k_head_stride,
                                  .k_token_stride = dest->k_token_stride,
                                  .v_head_stride = dest->v_head_stride,
                                  .v_token_stride = dest->v_token_stride};
}

/* ---- places --------------------------------------------------------------------------------------------------------------- */
static void add_opaque(struct dest_places *places, const quire_dest *dest, const struct quire_record_shape *shape) {
    uint32_t bytes = shape->size_bytes - shape->payload_offset;
    if (dest->opaque != NULL && dest->opaque_bytes >= bytes) {
        places->of[places->n++] =
            (struct quire_record_place){.offset_bytes = shape->payload_offset, .size_bytes = bytes, .to = dest->opaque};
    }
}

static uint64_t sum(const struct dest_places *places) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < places->n; i++) {
        bytes += places->of[i].size_bytes;
    }
    return bytes;
}

/* What lies between the places, and is not padding, stays in memory of ours. */
static enum quire_status add_rest(struct dest_places *places, uint32_t own_bytes, struct spare *spare) {
    bool fits = spare->bytes != NULL && spare->size_bytes >= own_bytes;
    places->own = fits ? spare->bytes : malloc(own_bytes == 0 ? 1 : own_bytes);
    places->own_bytes = own_bytes;
    if (fits) {
        *spare = (struct spare){0};
    }
    return places->own != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

enum quire_status dest_places_own(struct dest_places *places, uint32_t size_bytes, struct spare *spare) {
    *places = (struct dest_places){0};
    return add_rest(places, size_bytes, spare);
}

enum quire_status dest_places_find(struct dest_places *places, const quire_dest *dest, const struct quire_record_shape *shape,
                                   const quire_rect *rect, uint64_t wanted_bytes, struct spare *spare) {
    uint32_t most = shape->opaque ? 1 : 2u * rect->n_layers * rect->n_heads;
    *places = (struct dest_places){.of = malloc(most * sizeof(*places->of))};
    if (places->of == NULL) {
        return QUIRE_NO_MEMORY;
    }
    if (shape->opaque) {
        add_opaque(places, dest, shape);
    } else {
        const struct quire_scatter to = dest_scatter(dest, rect);
        places->n = quire_record_places(shape, &to, places->of);
    }
    places->payload_offset = places->n > 0 ? shape->payload_offset : 0;
    bool all = places->n > 0 && sum(places) == wanted_bytes;
    return add_rest(places, all ? shape->payload_offset : shape->size_bytes, spare);
}

static bool is_behind(uint32_t offset, const struct quire_record_place *place) {
    return offset >= place->offset_bytes && offset - place->offset_bytes >= place->size_bytes;
}

uint8_t *dest_places_at(struct dest_places *places, uint32_t *next, uint32_t offset, uint32_t *size) {
    uint32_t room = UINT32_MAX; /* before the next place */
    while (*next < places->n && is_behind(offset, &places->of[*next])) {
        ++*next;
    }
    if (*next < places->n) {
        const struct quire_record_place *place = &places->of[*next];
        if (offset >= place->offset_bytes) {
            uint32_t in = offset - place->offset_bytes;
            *size = (uint32_t)quire_min_u64(*size, place->size_bytes - in);
            return place->to + in;
        }
        room = place->offset_bytes - offset;
    }
    bool ours = offset < places->own_bytes;
    room = (uint32_t)quire_min_u64(room, ours ? places->own_bytes - offset : sizeof(places->padding));
    *size = (uint32_t)quire_min_u64(*size, room);
    return ours ? places->own + offset : places->padding;
}

void dest_places_free(struct dest_places *places) {
    free(places->of);
    free(places->own);
    *places = (struct dest_places){0};
}
