/* How a seed's world is made: everything that an operator, a drive or chance could choose, within what the product allows. */
#ifndef SIM_CONFIG_H
#define SIM_CONFIG_H

#include "pager/disk.h"

#define SIM_MAX_DEVICES 3u
#define SIM_MAX_DOMAINS 2u
#define SIM_MAX_SPACES 3u
#define SIM_MAX_CLIENTS 6u

enum sim_rot { SIM_ROT_NONE, SIM_ROT_RECORDS, SIM_ROT_FOOTERS, SIM_ROT_ANYWHERE };

struct sim;
struct sim_config {
    struct pager_log_shape shape;
    struct pager_options pager;
    struct pager_disk_options disk;
    uint32_t n_domains, n_spaces, n_clients, n_keys, n_slots;
    uint64_t pool_bytes;
    uint32_t opaque_most; /* bytes of an opaque block */
    /* chances, in percent of what they are about, or thousandths */
    uint32_t drop_pct, repeat_pct, corrupt_put_pct;
    uint32_t read_error_permille, refused_write_permille;
    uint32_t full_permille, long_full_permille; /* a drive has no room for a while; drives have none for long */
    bool meta_fills;                            /* the metadata's file is on the first drive's file system */
    uint32_t short_permille;                    /* memory is short now and then */
    uint32_t meta_failure_pct, entries_failure_pct;
    uint32_t deaths_permille; /* of crashes and deaths, per think of a client */
    uint32_t crash_permille, rot_permille;
    uint32_t bad_sector_permille, restart_error_permille; /* sectors that become unreadable; reads of a start that fail once */
    enum sim_rot rot;
    bool scrubs;
    bool slow;                               /* now and then the drive takes its time */
    uint32_t hangs_permille, stall_limit_ms; /* one of them takes very long, and is given up after so much of it */
    uint32_t slow_reader_ms;                 /* clients take so long at most to take a record */
    uint32_t think_us;
};

void sim_config_roll(struct sim *sim);

#endif
