/*
 * Parts that come again. Whoever does not know whether a part arrived sends it once more, and its block is still one: what landed is there
 * already, and what is under way is waited for. A part is the same when its place, its bytes' checksum and what it says of them are.
 */
#include "pager/internal.h"

#include <stdlib.h>

#define FIRST_CAPACITY 4u
#define LANDED_MAX 1024u /* more parts of one block than ranks and layers make; what came beyond is not known again */

static struct pager_landed of_part(const struct pager_part *part) {
    return (struct pager_landed){.rect = part->rect, .check = part->check, .ancestry_error = part->ancestry_error, .pin = part->pin};
}

static bool same(const struct pager_landed *a, const struct pager_landed *b) {
    return a->rect.first_layer == b->rect.first_layer && a->rect.n_layers == b->rect.n_layers && a->rect.first_head == b->rect.first_head &&
           a->rect.n_heads == b->rect.n_heads && a->check == b->check && a->ancestry_error == b->ancestry_error && a->pin == b->pin;
}

enum quire_status pager_repeat_note(struct pager_assembly *assembly, const struct pager_part *part) {
    if (assembly->n_landed == LANDED_MAX) {
        return QUIRE_OK;
    }
    if (assembly->n_landed == assembly->landed_capacity) {
        uint32_t capacity = assembly->landed_capacity > 0 ? 2 * assembly->landed_capacity : FIRST_CAPACITY;
        struct pager_landed *grown = realloc(assembly->landed, capacity * sizeof(*grown));
        if (!grown) {
            return QUIRE_NO_MEMORY;
        }
        assembly->landed = grown;
        assembly->landed_capacity = capacity;
    }
    assembly->landed[assembly->n_landed++] = of_part(part);
    return QUIRE_OK;
}

enum quire_status pager_repeat_of(const struct pager_assembly *assembly, const struct pager_part *part) {
    struct pager_landed asked = of_part(part);
    for (const struct pager_part *other = assembly->first; other; other = other->next) {
        struct pager_landed there = of_part(other);
        if (other != part && other->state != PAGER_PART_WAITING && same(&there, &asked)) {
            return QUIRE_RETRY;
        }
    }
    for (uint32_t i = 0; i < assembly->n_landed; i++) {
        if (same(&assembly->landed[i], &asked)) {
            return QUIRE_OK;
        }
    }
    return QUIRE_NOT_FOUND;
}
