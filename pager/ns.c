/* Namespaces: opened by name, agreed on by layout and salt, deleted at once for everybody who looks and bit by bit inside. */
#include "pager/disk/internal.h"
#include "proto/key.h"
#include "proto/layout.h"

#include <stdio.h>
#include <stdlib.h>

static void say(char *why, size_t why_bytes, const char *text) {
    if (why && why_bytes > 0) {
        snprintf(why, why_bytes, "%s", text);
    }
}

/* Printable, no blanks: it stands in metrics, commands and logs. */
static bool is_name(const char *name) {
    size_t n = strnlen(name, QUIRE_MAX_NAME + 1);
    for (size_t i = 0; i < n; i++) {
        if (name[i] <= ' ' || name[i] > '~' || strchr("\"'\\{}`", name[i])) {
            return false;
        }
    }
    return n > 0 && n <= QUIRE_MAX_NAME;
}

/* In one domain, UINT32_MAX: in any; the number of those found. */
static uint32_t find(const struct pager *pager, uint32_t domain, const char *name, uint16_t *ns) {
    uint32_t n_found = 0;
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        const struct pager_ns *n = pager->namespaces[i];
        if (n && !n->deleted && (domain == UINT32_MAX || n->domain == domain) && strcmp(n->name, name) == 0) {
            *ns = (uint16_t)i;
            n_found++;
        }
    }
    return n_found;
}

static enum quire_status find_qualified(const struct pager *pager, const char *name, uint16_t *ns) {
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        size_t n = strlen(pager->domains[i].name);
        if (strncmp(name, pager->domains[i].name, n) == 0 && name[n] == '/' && find(pager, i, name + n + 1, ns) > 0) {
            return QUIRE_OK;
        }
    }
    return QUIRE_NOT_FOUND;
}

enum quire_status pager_ns_find(const struct pager *pager, const char *name, uint16_t *ns) {
    uint32_t n_found = find(pager, UINT32_MAX, name, ns);
    if (n_found == 0) {
        return find_qualified(pager, name, ns);
    }
    return n_found == 1 ? QUIRE_OK : QUIRE_MISMATCH;
}

static void ns_free(struct pager_ns **ns) {
    if (*ns) {
        pager_charter_free(&(*ns)->charter);
        free((*ns)->layout);
        free(*ns);
        *ns = NULL;
    }
}

static enum quire_status describe(struct pager_ns *ns, const quire_layout *layout, const void *salt, size_t salt_bytes) {
    QUIRE_FORWARD(quire_layout_digest(layout, ns->digest));
    memcpy(&ns->layout_tag, ns->digest, sizeof(ns->layout_tag));
    ns->root = quire_key_root(ns->digest, salt, salt_bytes);
    ns->n_groups = layout->opaque ? 1 : layout->n_groups;
    ns->all_mask = (1u << ns->n_groups) - 1;
    for (uint32_t g = 0; g < ns->n_groups; g++) {
        ns->window_blocks[g] = layout->opaque ? UINT32_MAX : quire_layout_window_blocks(layout, g);
        ns->windowed_mask |= ns->window_blocks[g] == UINT32_MAX ? 0 : 1u << g;
    }
    ns->layout = malloc(sizeof(*layout));
    if (!ns->layout) {
        return QUIRE_NO_MEMORY;
    }
    *ns->layout = *layout;
    return QUIRE_OK;
}

/* Whoever opens names without end fills the table with namespaces that nobody needs: the first of them go. */
static bool drop_unused(struct pager *pager) {
    struct pager_ns *oldest = NULL;
    if (pager->disk && pager->disk->restoring) {
        return false; /* what looks empty may have all its blocks on disk */
    }
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        struct pager_ns *ns = pager->namespaces[i];
        if (ns && ns->users == 0 && ns->entries == 0 && ns->slots == 0 && (!oldest || ns->serial < oldest->serial)) {
            oldest = ns;
        }
    }
    if (oldest) {
        pager_meta_changed(pager);
        ns_free(&pager->namespaces[oldest->number]);
    }
    return oldest != NULL;
}

static enum quire_status free_number(struct pager *pager, uint32_t *number) {
    do {
        for (*number = 0; *number < pager->n_namespaces && pager->namespaces[*number]; ++*number) {
        }
    } while (*number >= pager->options.max_namespaces && drop_unused(pager));
    return *number < pager->options.max_namespaces && pager_meta_has_room(pager) ? QUIRE_OK : QUIRE_FULL;
}

static enum quire_status create(struct pager *pager, uint32_t domain, const char *name, const quire_layout *layout, const void *salt,
                                size_t salt_bytes, uint16_t *ns, char *why, size_t why_bytes) {
    uint32_t number;
    QUIRE_FORWARD(quire_layout_check(layout, why, why_bytes));
    enum quire_status status = free_number(pager, &number);
    if (status != QUIRE_OK) {
        say(why, why_bytes, "there are as many namespaces as are allowed: delete one, or raise max_namespaces");
        return status;
    }
    struct pager_ns *made = calloc(1, sizeof(*made));
    status = made ? describe(made, layout, salt, salt_bytes) : QUIRE_NO_MEMORY;
    if (status != QUIRE_OK) {
        ns_free(&made);
        return status;
    }
    snprintf(made->name, sizeof(made->name), "%s", name);
    made->number = (uint16_t)number;
    made->domain = domain;
    pager->namespaces[number] = made;
    pager->n_namespaces += number == pager->n_namespaces;
    pager_meta_changed(pager);
    *ns = made->number;
    return QUIRE_OK;
}

enum quire_status pager_ns_restore(struct pager *pager, const struct quire_meta_item *item, const quire_layout *layout, uint32_t domain) {
    char name[QUIRE_MAX_NAME + 1];
    uint16_t ns;
    if (item->name_bytes > QUIRE_MAX_NAME || domain >= pager->n_domains || item->serial == 0) {
        return QUIRE_INVALID;
    }
    snprintf(name, sizeof(name), "%.*s", (int)item->name_bytes, item->name);
    if (!is_name(name) || find(pager, domain, name, &ns) > 0 || pager_ns_of_serial(pager, item->serial)) {
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(create(pager, domain, name, layout, NULL, 0, &ns, NULL, 0));
    pager->namespaces[ns]->root = item->root;
    pager->namespaces[ns]->serial = item->serial;
    return QUIRE_OK;
}

static enum quire_status agree(const struct pager_ns *ns, const quire_layout *layout, const void *salt, size_t salt_bytes, char *why,
                               size_t why_bytes) {
    char field[128];
    QUIRE_FORWARD(quire_layout_check(layout, why, why_bytes));
    const char *differs = quire_layout_diff(ns->layout, layout, field, sizeof(field));
    if (!differs) {
        quire_key root = quire_key_root(ns->digest, salt, salt_bytes);
        differs = quire_key_equal(&root, &ns->root) ? NULL : "salt";
    }
    if (!differs) {
        return QUIRE_OK;
    }
    if (why && why_bytes > 0) {
        snprintf(why, why_bytes, "%s differs from the namespace's", differs);
    }
    return QUIRE_MISMATCH;
}

enum quire_status pager_ns_open(struct pager *pager, uint32_t domain, const char *name, const quire_layout *layout, const void *salt,
                                size_t salt_bytes, uint16_t *ns, char *why, size_t why_bytes) {
    say(why, why_bytes, "");
    if (!is_name(name) || domain >= pager->n_domains) {
        say(why, why_bytes, "a name has 1 to 63 printable characters, no blanks, quotes or braces");
        return QUIRE_INVALID;
    }
    uint16_t found;
    if (find(pager, domain, name, &found) == 0) {
        if (!layout) {
            say(why, why_bytes, "no such namespace");
            return QUIRE_NOT_FOUND;
        }
        if (pager->next_serial ==
            UINT32_MAX) { /* as a file said that was not written here: a number that is used twice brings back what was deleted */
            say(why, why_bytes,
                "no number is left for another namespace: the metadata of the disk tier says that all were used; begin it anew");
            return QUIRE_FULL;
        }
        QUIRE_FORWARD(create(pager, domain, name, layout, salt, salt_bytes, ns, why, why_bytes));
        pager->namespaces[*ns]->serial = ++pager->next_serial;
        return QUIRE_OK;
    }
    const struct pager_ns *n = pager->namespaces[found];
    if (layout) {
        QUIRE_FORWARD(agree(n, layout, salt, salt_bytes, why, why_bytes));
    }
    *ns = found;
    return QUIRE_OK;
}

/* ---- who uses it ---------------------------------------------------------------------------------------------------------- */
/* The session's note of a number: of this namespace, or of one that had the number before it. */
static struct pager_ns_use *use_of(const struct pager_session *s, uint16_t ns) {
    for (uint32_t i = 0; i < s->n_uses; i++) {
        if (s->uses[i].ns == ns) {
            return &s->uses[i];
        }
    }
    return NULL;
}

enum quire_status pager_ns_use(struct pager *pager, uint64_t session, uint16_t ns) {
    struct pager_session *s;
    struct pager_ns *n;
    QUIRE_FORWARD(pager_entitled(pager, session, ns, &s, &n));
    struct pager_ns_use *use = use_of(s, ns);
    if (use && use->serial == n->serial) {
        return QUIRE_OK;
    }
    if (!use) {
        struct pager_ns_use *grown = realloc(s->uses, (s->n_uses + 1) * sizeof(*grown));
        if (!grown) {
            return QUIRE_NO_MEMORY;
        }
        s->uses = grown;
        use = &grown[s->n_uses++];
    }
    *use = (struct pager_ns_use){.serial = n->serial, .ns = ns};
    n->users++;
    return QUIRE_OK;
}

void pager_ns_unuse(struct pager *pager, struct pager_session *s) {
    for (uint32_t i = 0; i < s->n_uses; i++) {
        struct pager_ns *ns = pager_ns_at(pager, s->uses[i].ns);
        if (ns && ns->serial == s->uses[i].serial) {
            ns->users--;
        }
    }
    free(s->uses);
    s->uses = NULL;
    s->n_uses = 0;
}

/* ---- views ---------------------------------------------------------------------------------------------------------------- */
static const struct pager_ns *live(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = pager_ns_at(pager, ns);
    return n && !n->deleted ? n : NULL;
}

const quire_layout *pager_ns_layout(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = live(pager, ns);
    return n ? n->layout : NULL;
}

quire_key pager_ns_root(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = live(pager, ns);
    return n ? n->root : (quire_key){{0}};
}

uint32_t pager_ns_domain(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = live(pager, ns);
    return n ? n->domain : UINT32_MAX;
}

uint32_t pager_ns_serial(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = live(pager, ns);
    return n ? n->serial : 0;
}

/* ---- deletion ------------------------------------------------------------------------------------------------------------- */
void pager_ns_let_go(struct pager *pager, struct pager_ns *ns) {
    if (ns->deleted && ns->entries == 0 && ns->slots == 0) {
        uint16_t number = ns->number;
        ns_free(&pager->namespaces[number]);
    }
}

static void end_assemblies(struct pager *pager, uint16_t ns) {
    struct pager_assembly *next;
    for (struct pager_assembly *assembly = pager->assemblies.next; assembly != &pager->assemblies; assembly = next) {
        next = assembly->next;
        if (assembly->ns == ns) {
            pager_assembly_end(pager, assembly, QUIRE_NOT_FOUND);
        }
    }
}

enum quire_status pager_ns_delete(struct pager *pager, const char *name, uint64_t *blocks) {
    uint16_t number;
    enum quire_status status = pager_ns_find(pager, name, &number);
    *blocks = 0;
    if (status != QUIRE_OK) {
        return status == QUIRE_NOT_FOUND ? pager_kept_delete(pager, name) : status;
    }
    struct pager_ns *ns = pager->namespaces[number];
    *blocks = ns->blocks;
    pager->counters.deleted_blocks += ns->blocks;
    ns->deleted = true;
    pager_meta_urgent(pager);
    if (ns->pins_waiting > 0) {
        pager_pins_expect(pager); /* they have no block that takes them along */
    }
    ns->entries++; /* stays until the last line: ending assemblies may remove its last entry */
    end_assemblies(pager, number);
    ns->entries--;
    if (ns->entries > 0) {
        pager->sweep_again = pager->sweeping;
        pager->sweep_cursor = pager->sweeping ? pager->sweep_cursor : 0;
        pager->sweeping = true;
    }
    pager_ns_let_go(pager, ns);
    pager_ns_sweep(pager);
    pager_room_serve_all(pager);
    return QUIRE_OK;
}

/* Removes entries of deleted namespaces, a bounded number of looks a call. Placeholders go with the last of their children. */
void pager_ns_sweep(struct pager *pager) {
    for (uint32_t i = 0; pager->sweeping && i < PAGER_SWEEP_BUDGET; i++) {
        uint32_t block;
        pager->sweep_cursor = pager_index_next(pager->index, pager->sweep_cursor, &block);
        if (pager->sweep_cursor == PAGER_NO_BLOCK) {
            pager->sweeping = pager->sweep_again;
            pager->sweep_again = false;
            pager->sweep_cursor = 0;
            continue;
        }
        if (pager->namespaces[pager_block_at(pager, block)->ns]->deleted) {
            uint64_t bytes;
            pager_block_drop(pager, block, PAGER_GHOST_NONE, &bytes);
        }
    }
}

void pager_ns_free_all(struct pager *pager) {
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        ns_free(&pager->namespaces[i]);
    }
    free(pager->namespaces);
}
