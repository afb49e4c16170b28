/*
 * Copies of namespaces' layouts for those who verify records on a worker: a namespace may be deleted meanwhile, its copy stays until the
 * last of them is done. One copy a namespace, kept while there is room. Loop thread only.
 */
#ifndef DAEMON_DISK_LAYOUTS_H
#define DAEMON_DISK_LAYOUTS_H

#include "proto/quire_types.h"

struct layouts_copy {
    uint32_t serial; /* of the namespace */
    uint32_t refs;
    uint64_t tag;
    uint64_t used; /* the larger, the later */
    quire_layout layout;
};
/* As many as may be held at once: then one is always free. */
struct layouts {
    struct layouts_copy **copies;
    uint32_t capacity;
    uint64_t uses;
};

enum quire_status layouts_setup(struct layouts *layouts, uint32_t capacity);
void layouts_teardown(struct layouts *layouts);
/* NULL: no memory, or a layout without a digest. */
struct layouts_copy *layouts_hold(struct layouts *layouts, uint32_t serial, const quire_layout *layout);
static inline void layouts_let_go(struct layouts_copy *copy) { copy->refs--; }

#endif
