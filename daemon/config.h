/*
 * Configuration: defaults, then a YAML file, then flags. Every option has a default, a comment and a range; `quired --print-config`
 * prints the whole as YAML with comments, and what it prints can be loaded again. Options of the pager and of its disk tier are their own tables
 * (PAGER_OPTIONS, PAGER_DISK_OPTIONS) and appear under `pager:` and `disk:`.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "daemon/disk/io.h"
#include "daemon/log.h"
#include "pager/disk.h"

#include <stdio.h>
#include <sys/types.h>

#define CONFIG_MAX_DOMAINS 16
#define CONFIG_MAX_IDS 64
#define CONFIG_MAX_SALTS 64
#define CONFIG_PATH_MAX 108 /* a Unix socket's path */
#define CONFIG_FILE_PATH_MAX 400
#define CONFIG_MAX_FAULTS 32
#define CONFIG_FAULT_BYTES 256
#define CONFIG_LEAST_SEGMENTS 8 /* of a file of the disk tier */

/* A trust domain: members see each other's memory, guests get copies, everybody else is refused. */
struct config_domain {
    char name[QUIRE_MAX_NAME + 1];
    uint64_t pool_bytes; /* 0: a quarter of what the cgroup or the host allows, shared evenly by the domains that say 0 */
    uid_t members[CONFIG_MAX_IDS];
    uint32_t n_members;
    uid_t guests[CONFIG_MAX_IDS];
    uint32_t n_guests;
    bool rma; /* who comes over UCX with a token that has the right may read its memory from afar, and is trusted with it */
};

struct config_salt {
    char ns[QUIRE_MAX_NAME + 1];
    char salt[256];
};

/* A file of the disk tier. */
struct config_file {
    char path[CONFIG_FILE_PATH_MAX];
    uint64_t size_bytes; /* for segments: the file is QUIRE_LOG_FIRST_SEGMENT larger */
};

/* How the files are used, beside PAGER_DISK_OPTIONS. */
struct config_disk {
    uint64_t segment_bytes;         /* 64 MiB */
    enum disk_io_choice io_backend; /* auto */
    uint32_t io_depth;              /* operations that the system gets at once, a file; 64 */
    uint64_t scrub_bytes_per_s;     /* 8 MiB; 0: nothing is scrubbed */
    uint32_t stall_warn_ms;         /* 5000: a file that does not answer for so long is told */
    uint32_t stall_limit_ms;        /* 30000: and given up after so long */
    bool new_set;                   /* true: where no file is, a set may be made */
    struct pager_disk_options pager;
};

/* Which threads carry the addresses: daemon/net/places.h. */
enum config_rails { CONFIG_RAILS_AUTO, CONFIG_RAILS_ONE, CONFIG_RAILS_EACH };

/* Where other hosts may connect, and what they must show. */
struct config_listen {
    char tls[512]; /* "host:port", several separated by commas; "": nowhere */
    char ucx[512]; /* likewise */
    bool trusted_fabric;
    uint32_t ucx_loops;        /* threads an address, 1 */
    uint32_t ucx_busy_poll_us; /* 0: they sleep when there is nothing to do */
    char tls_certificate[CONFIG_FILE_PATH_MAX], tls_key[CONFIG_FILE_PATH_MAX], tls_authorities[CONFIG_FILE_PATH_MAX];
    char token_file[CONFIG_FILE_PATH_MAX];
    char domain[QUIRE_MAX_NAME + 1]; /* the trust domain that they are guests of; "": the first */
    enum config_rails rails;
    char pin[256]; /* auto, none, or processors */
};

struct config {
    char socket_path[CONFIG_PATH_MAX]; /* resolved: $XDG_RUNTIME_DIR/quire/quired.sock, as a service /run/quire/quired.sock */
    uint32_t socket_mode;              /* 0600 by default: who may connect at all */
    enum log_level log_level;
    bool log_json;
    bool metrics_enabled;
    char metrics_address[64];                         /* loopback by default, "127.0.0.1" */
    uint16_t metrics_port;                            /* 9470; 0: any free port, told in the log and in status */
    uint32_t prefill_tokens_per_s;                    /* prefill where no worker reports what it takes, to tell seconds saved; 0: unknown */
    uint32_t max_sessions;                            /* 1024 */
    uint32_t max_session_memory_bytes;                /* of records on their way to one guest, 16 MiB */
    uint64_t max_remote_read_bytes;                   /* to all sessions over wires, 64 MiB */
    uint32_t idle_timeout_ms;                         /* 0: sessions may idle for ever */
    uint64_t ingest_bytes;                            /* all ingest windows together, 64 MiB */
    uint64_t ingest_window_bytes;                     /* one session's, 16 MiB */
    uint32_t ingest_idle_ms;                          /* a window unused this long is asked back, 2000 */
    uint32_t work_threads;                            /* 0: as many as processors, at most 4; resolved: 2 at least beside a disk tier */
    uint32_t drain_ms;                                /* bound of an orderly stop, 5000 */
    bool verify_always;                               /* readers check each lane's checksum */
    bool huge_pages;                                  /* ask for them, go on without */
    uint32_t record_slots;                            /* per domain; 0: pool_bytes / 8 KiB */
    struct config_domain domains[CONFIG_MAX_DOMAINS]; /* default: one, "default"; without members and guests: the daemon's own uid */
    uint32_t n_domains;
    struct config_salt salts[CONFIG_MAX_SALTS];
    uint32_t n_salts;
    struct config_file files[QUIRE_LOG_MAX_FILES]; /* none: no disk tier */
    uint32_t n_files;
    char faults[CONFIG_MAX_FAULTS][CONFIG_FAULT_BYTES]; /* rules of daemon/disk/faults.h */
    uint32_t n_faults;
    bool allow_faults; /* `quirectl fault` may add and remove them */
    struct config_disk disk;
    struct config_listen listen;
    struct pager_options pager;
};

/* The name under which config_set takes files, as --disk does; a first one replaces those of the file. */
#define CONFIG_FILE_OPTION "tiers.file"

void config_default(struct config *config);
/* Merges a YAML file. On failure `why` has file, line where known, option, and what to do. Unknown options are errors. */
enum quire_status config_load(struct config *config, const char *path, char *why, size_t why_bytes);
/* Sets one option from text, as --set and the other flags do: "log_level", "pager.lease_ms"; "tiers.file" and "PATH:SIZE" add a file. */
enum quire_status config_set(struct config *config, const char *name, const char *value, char *why, size_t why_bytes);
/* Checks what options mean together and resolves what depends on the machine (sizes, paths). Creates nothing. */
enum quire_status config_resolve(struct config *config, char *why, size_t why_bytes);
/* Makes the socket's folder when it is a default one, and refuses a folder that somebody else could write to. */
enum quire_status config_prepare_socket_folder(const struct config *config, char *why, size_t why_bytes);
void config_print(const struct config *config, FILE *to);
/* Writes names of options that differ and cannot change while running into `names` (comma-separated); true if there are any. */
bool config_fixed_diff(const struct config *running, const struct config *wanted, char *names, size_t names_bytes);
/* Likewise those that can. */
bool config_live_diff(const struct config *running, const struct config *wanted, char *names, size_t names_bytes);
/* Takes over what can change, leaves the rest. */
void config_take_live(struct config *running, const struct config *wanted);

#endif
