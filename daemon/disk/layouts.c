#include "daemon/disk/layouts.h"

#include "codec/record.h"
#include "proto/base/base.h"
#include "proto/layout.h"

#include <stdlib.h>

enum quire_status layouts_setup(struct layouts *layouts, uint32_t capacity) {
    *layouts = (struct layouts){.capacity = capacity, .copies = calloc(capacity, sizeof *layouts->copies)};
    return layouts->copies != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

void layouts_teardown(struct layouts *layouts) {
    for (uint32_t i = 0; layouts->copies != NULL && i < layouts->capacity; i++) {
        free(layouts->copies[i]);
    }
    free(layouts->copies);
    *layouts = (struct layouts){0};
}

/* The namespace's copy; else an empty place, else the copy that nobody has used for longest. Places are filled from the front. */
static struct layouts_copy **layouts_place(const struct layouts *layouts, uint32_t serial) {
    struct layouts_copy **place = NULL;
    for (uint32_t i = 0; i < layouts->capacity; i++) {
        struct layouts_copy **at = &layouts->copies[i];
        if (*at == NULL) {
            return at;
        }
        if ((*at)->serial == serial) {
            return at;
        }
        if ((*at)->refs == 0 && (place == NULL || (*at)->used < (*place)->used)) {
            place = at;
        }
    }
    return place;
}

struct layouts_copy *layouts_hold(struct layouts *layouts, uint32_t serial, const quire_layout *layout) {
    struct layouts_copy **place = layouts_place(layouts, serial);
    if (place == NULL || (*place == NULL && (*place = calloc(1, sizeof **place)) == NULL)) {
        return NULL;
    }
    struct layouts_copy *copy = *place;
    if (copy->serial != serial || copy->used == 0) {
        uint8_t digest[32];
        copy->serial = serial;
        copy->layout = *layout;
        copy->used = 0;
        if (quire_layout_digest(layout, digest) != QUIRE_OK) {
            return NULL;
        }
        copy->tag = quire_record_layout_tag(digest);
    }
    copy->used = ++layouts->uses;
    copy->refs++;
    return copy;
}
