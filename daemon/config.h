/*
 * Configuration: defaults, then a YAML file, then flags. Every option has a default, a comment and a range; `quired --print-config`
 * prints the whole as YAML with comments, and what it prints can be loaded again. Options of the pager are its own table
 * (PAGER_OPTIONS) and appear under `pager:`.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "daemon/log.h"
#include "pager/pager.h"

#include <stdio.h>
#include <sys/types.h>

#define CONFIG_MAX_DOMAINS 16
#define CONFIG_MAX_IDS 64
#define CONFIG_MAX_SALTS 64
#define CONFIG_PATH_MAX 108 /* a Unix socket's path */

/* A trust domain: members see each other's memory, guests get copies, everybody else is refused. */
struct config_domain {
    char name[QUIRE_MAX_NAME + 1];
    uint64_t pool_bytes; /* 0: a quarter of what the cgroup or the host allows, shared evenly by the domains that say 0 */
    uid_t members[CONFIG_MAX_IDS];
    uint32_t n_members;
    uid_t guests[CONFIG_MAX_IDS];
    uint32_t n_guests;
};

struct config_salt {
    char ns[QUIRE_MAX_NAME + 1];
    char salt[256];
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
    uint32_t max_session_memory_bytes;                /* copies for one guest at once, 4 MiB */
    uint32_t idle_timeout_ms;                         /* 0: sessions may idle for ever */
    uint64_t ingest_bytes;                            /* all ingest windows together, 64 MiB */
    uint64_t ingest_window_bytes;                     /* one session's, 16 MiB */
    uint32_t ingest_idle_ms;                          /* a window unused this long is asked back, 2000 */
    uint32_t work_threads;                            /* 0: as many as processors, at most 4 */
    uint32_t drain_ms;                                /* bound of an orderly stop, 5000 */
    bool verify_always;                               /* readers check each lane's checksum */
    bool huge_pages;                                  /* ask for them, go on without */
    uint32_t record_slots;                            /* per domain; 0: pool_bytes / 8 KiB */
    struct config_domain domains[CONFIG_MAX_DOMAINS]; /* default: one, "default"; without members and guests: the daemon's own uid */
    uint32_t n_domains;
    struct config_salt salts[CONFIG_MAX_SALTS];
    uint32_t n_salts;
    struct pager_options pager;
};

void config_default(struct config *config);
/* Merges a YAML file. On failure `why` has file, line where known, option, and what to do. Unknown options are errors. */
enum quire_status config_load(struct config *config, const char *path, char *why, size_t why_bytes);
/* Sets one option from text, as --set and the other flags do: "log_level", "pager.lease_ms". */
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
