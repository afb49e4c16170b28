/*
 * The metadata file on disk: read whole, and replaced whole. What is in it: codec/log_meta.h.
 *
 * A new one is written beside the old one, synced and renamed over it: a crash at any moment leaves one of the two. What a crash left beside it
 * (PATH.new) is no metadata, and makes room for the next; what is not Quire's there is left alone, and nothing can be saved.
 */
#ifndef DAEMON_DISK_META_H
#define DAEMON_DISK_META_H

#include "codec/log_meta.h"
#include "proto/layout.h"

/* Whatever the pager's limits allow: no metadata is ever too large to be written. */
#define DISK_META_MAX_BYTES (3ull << 30)
static_assert((uint64_t)QUIRE_META_MAX_NAMESPACES * (sizeof(struct quire_meta_ns) + 2 * QUIRE_MAX_NAME + QUIRE_LAYOUT_WIRE_MAX + 7) +
                      (uint64_t)QUIRE_META_MAX_PINS * sizeof(struct quire_meta_pin) <
                  DISK_META_MAX_BYTES - 4096,
              "the most that the format takes");

/*
 * The bytes, by malloc, whole and of this set (set_id NULL: of any). NOT_FOUND: there is none; CORRUPT, VERSION, MISMATCH, SYSTEM,
 * NO_MEMORY: `why` says more.
 */
enum quire_status disk_meta_load(const char *path, const uint8_t set_id[16], uint8_t **bytes, size_t *size, char *why, size_t why_bytes);
/* Replaces the file; OK: it is durable. On failure the old one is as it was; SYSTEM: errno tells why. Takes as long as the drive: for a worker. Thread-safe, one at a time. */
enum quire_status disk_meta_save(const char *path, const uint8_t *bytes, size_t size, char *why, size_t why_bytes);
/* What was renamed or removed in the folder of `path` is durable then; errno says why not. */
bool disk_meta_sync_folder(const char *path);
/* By malloc; TOO_LARGE beyond DISK_META_MAX_BYTES. */
enum quire_status disk_meta_encode(const struct quire_meta_head *head, const struct quire_meta_item *items,
                                   const struct quire_meta_pin *pins, const uint8_t (*files)[16], uint8_t **bytes, size_t *size);

#endif
