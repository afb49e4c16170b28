#include "tests/bench/disk.h"
#include "proto/base/base.h"

static const struct bench_case cases[] = {
    {"store_stream", "payload bytes demoted to disk, blocks of 2 MiB; ceiling: bare sequential writes of 2 MiB", ">= 0.95",
     disk_store_stream},
    {"store_small", "the same with blocks of 24 KiB", ">= 0.90", disk_store_small},
    {"fetch_2MiB_random",
     "blocks of 2 MiB from disk into the caller's memory, 16 at once; ceiling: bare io_uring reads of 2 MiB, 16 at once", ">= 0.95",
     disk_fetch_2mib},
    {"fetch_64KiB_random",
     "lanes of 64 KiB out of blocks of 2 MiB whose headers the daemon knows, 32 at once; ceiling: bare io_uring reads of 64 KiB, 32 at "
     "once",
     ">= 0.90", disk_fetch_64kib},
    {"fetch_64KiB_cold", "the same by a daemon that has just started and reads the header of each block, too", "none",
     disk_fetch_64kib_cold},
    {"write_amplification_chat20",
     "a chat trace through the real pager and log, a disk of 20 % of its blocks and memory for 1 %: bytes written / first admitted",
     "<= 1.15", disk_trace},
    {"restart_first_hit", "seconds from the start of a killed daemon with a million records of 4 KiB to the first one fetched", "< 1 s",
     disk_restart_first_hit},
    {"restart_index_rate", "records indexed a second; ceiling: bare reads of the same footers", ">= 0.80", disk_restart_rate},
    {"host_p99_under_demotion", "p99 of fetches of 64 KiB from memory while the disk is saturated by demotion; ceiling: the idle p99",
     "<= 2", disk_host_p99},
    {"bytes_per_disk_block", "memory for a block that only the disk has", "<= 96 bytes", disk_block_bytes},
};

const struct bench_subject bench_disk = {"disk", "the disk tier", cases, QUIRE_ARRAY_LEN(cases), .apart = false};
