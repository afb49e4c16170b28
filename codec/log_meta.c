#include "codec/log_meta.h"

#include "codec/checksum.h"
#include "codec/log_internal.h"
#include "proto/layout.h"

#define FILE_ID_BYTES 16u

/* How much a namespace takes, its padding included. */
static uint64_t item_bytes(uint32_t name_bytes, uint32_t domain_bytes, uint32_t layout_bytes) {
    return quire_align_up(sizeof(struct quire_meta_ns) + (uint64_t)name_bytes + domain_bytes + layout_bytes, 8);
}

static bool is_name(const char *name, uint32_t name_bytes) {
    return name_bytes > 0 && name_bytes <= QUIRE_MAX_NAME && memchr(name, 0, name_bytes) == NULL;
}

static bool item_valid(const struct quire_meta_item *item, uint32_t next_serial) {
    return item->serial > 0 && item->serial <= next_serial && is_name(item->name, item->name_bytes) &&
           is_name(item->domain, item->domain_bytes) && item->layout_bytes > 0 && item->layout_bytes <= QUIRE_LAYOUT_WIRE_MAX;
}

static bool counts_valid(const struct quire_meta_head *head) {
    return head->n_namespaces <= QUIRE_META_MAX_NAMESPACES && head->n_pins <= QUIRE_META_MAX_PINS && head->n_files <= QUIRE_LOG_MAX_FILES;
}

static uint64_t pins_bytes(const struct quire_meta_head *head) { return (uint64_t)head->n_pins * sizeof(struct quire_meta_pin); }
static uint64_t files_bytes(const struct quire_meta_head *head) { return (uint64_t)head->n_files * FILE_ID_BYTES; }

static uint8_t *put(uint8_t *out, const void *bytes, size_t size) {
    if (size > 0) {
        memcpy(out, bytes, size);
    }
    return out + size;
}

static uint8_t *put_item(uint8_t *out, const struct quire_meta_item *item) {
    uint8_t *end = out + item_bytes(item->name_bytes, item->domain_bytes, item->layout_bytes);
    const struct quire_meta_ns ns = {
        .serial = item->serial,
        .name_bytes = (uint16_t)item->name_bytes,
        .domain_bytes = (uint16_t)item->domain_bytes,
        .layout_bytes = item->layout_bytes,
        .root = item->root,
    };
    out = put(out, &ns, sizeof(ns));
    out = put(out, item->name, item->name_bytes);
    out = put(out, item->domain, item->domain_bytes);
    out = put(out, item->layout, item->layout_bytes);
    memset(out, 0, (size_t)(end - out));
    return end;
}

/* What the file will take; INVALID when quire_meta_open would refuse it. */
static enum quire_status measure(const struct quire_meta_head *head, const struct quire_meta_item *items, uint64_t *total) {
    *total = 0;
    if (!counts_valid(head) || head->generation >= QUIRE_LOG_GENERATIONS) {
        return QUIRE_INVALID;
    }
    uint64_t bytes = sizeof(*head) + pins_bytes(head) + files_bytes(head) + sizeof(uint64_t);
    for (uint32_t i = 0; i < head->n_namespaces; i++) {
        if (!item_valid(&items[i], head->next_serial)) {
            return QUIRE_INVALID;
        }
        bytes += item_bytes(items[i].name_bytes, items[i].domain_bytes, items[i].layout_bytes);
    }
    *total = bytes;
    return QUIRE_OK;
}

enum quire_status quire_meta_encode(const struct quire_meta_head *head, const struct quire_meta_item *items,
                                    const struct quire_meta_pin *pins, const uint8_t (*files)[16], uint8_t *out, size_t capacity,
                                    size_t *size) {
    struct quire_meta_head stored = *head;
    enum quire_status status = measure(head, items, &stored.size_bytes);
    *size = stored.size_bytes;
    QUIRE_FORWARD(status);
    if (capacity < stored.size_bytes) {
        return QUIRE_TOO_LARGE;
    }
    stored.magic = QUIRE_META_MAGIC;
    stored.version = QUIRE_META_VERSION;
    uint8_t *at = put(out, &stored, sizeof(stored));
    for (uint32_t i = 0; i < head->n_namespaces; i++) {
        at = put_item(at, &items[i]);
    }
    at = put(at, pins, pins_bytes(head));
    at = put(at, files, files_bytes(head));
    uint64_t check = quire_checksum(out, (size_t)(at - out));
    put(at, &check, sizeof(check));
    return QUIRE_OK;
}

/* Takes the namespace that begins at `at` apart, as far as `end` allows. */
static bool read_item(const uint8_t *in, uint64_t at, uint64_t end, struct quire_meta_item *item, uint64_t *next) {
    struct quire_meta_ns ns;
    if (!quire_in_range(at, sizeof(ns), end)) {
        return false;
    }
    memcpy(&ns, in + at, sizeof(ns));
    uint64_t text = at + sizeof(ns), bytes = item_bytes(ns.name_bytes, ns.domain_bytes, ns.layout_bytes);
    if (!quire_in_range(at, bytes, end)) {
        return false;
    }
    *item = (struct quire_meta_item){
        .serial = ns.serial,
        .root = ns.root,
        .name = (const char *)in + text,
        .domain = (const char *)in + text + ns.name_bytes,
        .layout = in + text + ns.name_bytes + ns.domain_bytes,
        .name_bytes = ns.name_bytes,
        .domain_bytes = ns.domain_bytes,
        .layout_bytes = ns.layout_bytes,
    };
    *next = at + bytes;
    uint64_t used = text + ns.name_bytes + ns.domain_bytes + ns.layout_bytes;
    return ns.reserved == 0 && quire_log_is_zero(in + used, *next - used);
}

/* Where the namespaces end, and the pins begin; UINT64_MAX: the sizes do not fit together. */
static uint64_t namespaces_end(const struct quire_meta_head *head) {
    uint64_t rest = pins_bytes(head) + files_bytes(head) + sizeof(uint64_t);
    return head->size_bytes >= sizeof(*head) + rest ? head->size_bytes - rest : UINT64_MAX;
}

static enum quire_status check_head(const uint8_t *in, size_t size, struct quire_meta_head *head) {
    uint64_t check;
    if (size < sizeof(*head) + sizeof(check)) {
        return QUIRE_CORRUPT;
    }
    memcpy(head, in, sizeof(*head));
    if (head->magic != QUIRE_META_MAGIC) {
        return QUIRE_CORRUPT;
    }
    if (head->version != QUIRE_META_VERSION) {
        return QUIRE_VERSION;
    }
    memcpy(&check, in + size - sizeof(check), sizeof(check));
    uint64_t end = namespaces_end(head);
    bool fits = head->size_bytes == size && end != UINT64_MAX && (uint64_t)head->n_namespaces * sizeof(struct quire_meta_ns) <= end;
    if (!fits || head->n_files > QUIRE_LOG_MAX_FILES || head->generation >= QUIRE_LOG_GENERATIONS ||
        check != quire_checksum(in, size - sizeof(check))) {
        return QUIRE_CORRUPT;
    }
    return counts_valid(head) ? QUIRE_OK : QUIRE_TOO_LARGE;
}

enum quire_status quire_meta_open(const uint8_t *in, size_t size, const uint8_t set_id[16], struct quire_meta_head *head) {
    memset(head, 0, sizeof(*head));
    QUIRE_FORWARD(check_head(in, size, head));
    if (set_id != NULL && !quire_log_same_set(head->set_id, set_id)) {
        return QUIRE_MISMATCH;
    }
    uint64_t at = sizeof(*head), end = namespaces_end(head);
    for (uint32_t i = 0; i < head->n_namespaces; i++) {
        struct quire_meta_item item;
        if (!read_item(in, at, end, &item, &at) || !item_valid(&item, head->next_serial)) {
            return QUIRE_CORRUPT;
        }
    }
    return at == end ? QUIRE_OK : QUIRE_CORRUPT;
}

bool quire_meta_next(const uint8_t *in, size_t *at, struct quire_meta_item *item) {
    struct quire_meta_head head;
    memcpy(&head, in, sizeof(head));
    uint64_t next, end = namespaces_end(&head);
    if (!read_item(in, *at == 0 ? sizeof(head) : *at, end, item, &next)) {
        return false;
    }
    *at = next;
    return true;
}

const struct quire_meta_head *quire_meta_head_of(const uint8_t *in) { return (const struct quire_meta_head *)in; }

void quire_meta_pin_at(const uint8_t *in, uint32_t i, struct quire_meta_pin *pin) {
    struct quire_meta_head head;
    memcpy(&head, in, sizeof(head));
    assert(i < head.n_pins);
    memcpy(pin, in + namespaces_end(&head) + (uint64_t)i * sizeof(*pin), sizeof(*pin));
}

void quire_meta_file_at(const uint8_t *in, uint32_t i, uint8_t file_id[16]) {
    struct quire_meta_head head;
    memcpy(&head, in, sizeof(head));
    assert(i < head.n_files);
    memcpy(file_id, in + namespaces_end(&head) + pins_bytes(&head) + (uint64_t)i * FILE_ID_BYTES, FILE_ID_BYTES);
}
