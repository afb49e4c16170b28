/* Text for the codes of quire_types.h; total functions: an unknown value has a text too. Thread-safe, static strings. */
#ifndef QUIRE_STATUS_H
#define QUIRE_STATUS_H

#include "proto/quire_types.h"

#pragma GCC visibility push(default)                     /* quire.h offers these too: libquire.so shows them */
const char *quire_status_name(enum quire_status status); /* "MISS" */
const char *quire_status_text(enum quire_status status); /* "not stored here" */
const char *quire_miss_text(enum quire_miss reason);
#pragma GCC visibility pop
const char *quire_miss_name(enum quire_miss reason); /* "never_stored", as in metric labels */
const char *quire_rung_name(enum quire_rung rung);
const char *quire_elem_name(enum quire_elem elem);
size_t quire_elem_bytes(enum quire_elem elem); /* 0 for an unknown type */

#endif
