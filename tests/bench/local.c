#include "tests/bench/local.h"
#include "proto/base/base.h"

static const struct bench_case cases[] = {
    {"fetch_2MiB", "2 MiB blocks into the caller's memory, batches of 16, 1 GiB working set; ceiling: memcpy of the same bytes", ">= 0.95",
     local_fetch_2mib},
    {"fetch_2MiB_verify", "the same with verify_always", ">= 0.80", local_fetch_2mib_verify},
    {"store_2MiB", "2 MiB blocks stored in batches of 16: two copies and a checksum; ceiling: memcpy", ">= 0.42", local_store_2mib},
    {"fetch_64KiB_p50", "median of one block; ceiling: a bare Unix-socket ping-pong and memcpy of the size", "<= 1.5", local_fetch_64kib},
    {"lookup_1250_of_1M", "1,250 keys among 1 million blocks, caches cold, with leases; ceiling: bare batched probe and a ping-pong",
     "<= 1.5", local_lookup},
    {"index_bytes_per_block", "what a block costs while its record is on no faster tier", "<= 96 bytes", local_index_bytes},
    {"pool_usable_churn", "live record bytes per pool byte after 10 turnovers of 20 KiB to 2 MiB records", ">= 0.92", local_churn},
    {"rss_100_sessions", "daemon memory beyond pool, index and ingest with 100 sessions", "<= 64 MiB", local_sessions},
};

const struct bench_subject bench_local = {"local", "one host, shared memory", cases, QUIRE_ARRAY_LEN(cases), .apart = false};
