/* Intrusive doubly linked lists with a sentinel: an element is in at most one list and leaves it without knowing which. */
#ifndef CLIENT_LIST_H
#define CLIENT_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

#define LINK_OWNER(link_, type, member) ((type *)(void *)((char *)(link_)-offsetof(type, member)))

static inline void list_init(struct link *list) { list->prev = list->next = list; }
static inline bool list_empty(const struct link *list) { return list->next == list; }
static inline bool link_linked(const struct link *link) { return link->next != link; }
static inline void link_append(struct link *list, struct link *link) {
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}
/* Harmless for an element that is in no list (list_init makes one such). */
static inline void link_remove(struct link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = link;
}

#endif
