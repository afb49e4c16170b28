#include "client/quirectl/refusals.h"

#include "proto/base/base.h"

const struct refusal refusals[] = {
    {"puts_full", "for want of room",
     "leases and pins hold the pool: see `quirectl session list`; unpin, release earlier, or raise pool_bytes"},
    {"puts_over_share", "over a session's share",
     "one session had too much unfinished or waiting: finish blocks that come in parts, or store fewer at a time"},
    {"ingest_refused", "without an ingest window in time",
     "all ingest memory was lent: raise ingest_bytes, or store with longer deadlines"},
    {"puts_invalid", "malformed",
     "a worker's blocks do not fit their namespace or overlap: its return values and quire_last_error say which"},
    {"puts_corrupt", "with a wrong checksum",
     "a worker changed its bytes while they were stored, or memory is bad: look at that worker first"},
};
const unsigned n_refusals = QUIRE_ARRAY_LEN(refusals);
