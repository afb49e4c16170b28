#include "tests/bench/fixture.h"
#include "proto/base/base.h"
#include "proto/sha256.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_config(const struct fixture *fixture, const char *yaml, char *path, size_t path_bytes) {
    snprintf(path, path_bytes, "%s/quired.yaml", fixture->folder);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return 1;
    }
    fprintf(file, "socket_path: %s/quired.sock\nmetrics_enabled: false\nlog_level: warn\n%s", fixture->folder, yaml);
    return fclose(file) == 0 ? 0 : 1;
}

static pid_t spawn_daemon(const struct bench_options *options, const struct fixture *fixture, const char *config) {
    char program[4200], log[128];
    snprintf(program, sizeof program, "%s/quired", options->bin);
    snprintf(log, sizeof log, "%s/quired.log", fixture->folder);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* a bench that is killed leaves no daemon behind */
        if (getppid() != parent) {
            _exit(127);
        }
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            dup2(fd, STDERR_FILENO);
        }
        execl(program, "quired", "--config", config, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int connect_client(const struct bench_case *c, struct fixture *fixture) {
    enum quire_status status = QUIRE_DISCONNECTED;
    quire_options options = {.address = fixture->address, .client_name = "quire-bench", .default_deadline_ms = 20000};
    for (uint32_t tries = 0; tries < 10000; tries++) {
        status = quire_open(&options, &fixture->client);
        if (status == QUIRE_OK) {
            return 0;
        }
        if (waitpid(fixture->daemon, NULL, WNOHANG) == fixture->daemon) {
            fixture->daemon = 0;
            return bench_fail(c, "quired ended at once; its log: %s/quired.log", fixture->folder);
        }
        usleep(1000);
    }
    return bench_fail(c, "no connection to quired: %s", quire_last_error());
}

int fixture_start(const struct bench_options *options, const struct bench_case *c, const char *yaml, struct fixture *fixture) {
    memset(fixture, 0, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/quire-bench-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL) {
        return bench_fail(c, "cannot make a folder below /tmp");
    }
    snprintf(fixture->address, sizeof fixture->address, "unix://%s/quired.sock", fixture->folder);
    char config[128];
    if (write_config(fixture, yaml, config, sizeof config) != 0) {
        return bench_fail(c, "cannot write %s", config);
    }
    fixture->daemon = spawn_daemon(options, fixture, config);
    if (fixture->daemon < 0) {
        return bench_fail(c, "cannot start quired");
    }
    return connect_client(c, fixture);
}

static void stop(struct fixture *fixture, int signal) {
    if (fixture->folder[0] == '\0') { /* never started */
        return;
    }
    if (fixture->ns != NULL) {
        quire_ns_close(&fixture->ns);
    }
    if (fixture->client != NULL) {
        quire_close(&fixture->client);
    }
    if (fixture->daemon > 0) {
        kill(fixture->daemon, signal);
        waitpid(fixture->daemon, NULL, 0);
    }
    static const char *const names[] = {"quired.yaml", "quired.log", "quired.sock", "quired.sock.lock"};
    char path[128];
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", fixture->folder, names[i]);
        unlink(path);
    }
    rmdir(fixture->folder);
    fixture->daemon = 0;
}

void fixture_stop(struct fixture *fixture) { stop(fixture, SIGTERM); }

void fixture_kill(struct fixture *fixture) { stop(fixture, SIGKILL); }

int fixture_open_ns(const struct bench_case *c, struct fixture *fixture, const char *name, const quire_layout *layout) {
    if (quire_ns_open(fixture->client, name, layout, &fixture->ns) != QUIRE_OK) {
        return bench_fail(c, "cannot open namespace %s: %s", name, quire_last_error());
    }
    return 0;
}

void fixture_layout(quire_layout *layout, uint16_t n_layers, uint16_t n_heads) {
    memset(layout, 0, sizeof *layout);
    memset(layout->weights_digest, 0xB5, sizeof layout->weights_digest);
    layout->n_layers = n_layers;
    layout->n_groups = 1;
    layout->block_tokens = 16;
    for (uint16_t l = 0; l < n_layers; l++) {
        layout->kv_src[l] = l;
    }
    layout->group[0] = (quire_group){.n_kv_heads = n_heads, .k_dim = 128, .v_dim = 128, .elem = QUIRE_F16};
}

void fixture_opaque_layout(quire_layout *layout) {
    memset(layout, 0, sizeof *layout);
    layout->opaque = true;
    layout->block_tokens = 16;
    snprintf(layout->engine, sizeof layout->engine, "quire-bench");
    snprintf(layout->engine_format, sizeof layout->engine_format, "1");
}

quire_key fixture_key(uint64_t number) {
    quire_key key;
    quire_sha256(&number, sizeof number, key.b);
    return key;
}

static uint64_t half_bytes(const quire_layout *layout) {
    return (uint64_t)layout->group[0].n_kv_heads * layout->block_tokens * layout->group[0].k_dim * 2;
}

void fixture_dest(quire_dest *dest, const quire_layout *layout, uint8_t *memory, void **bases, uint32_t key_index) {
    uint64_t half = half_bytes(layout);
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        bases[l] = memory + 2 * l * half;
        bases[layout->n_layers + l] = memory + (2 * l + 1) * half;
    }
    int64_t token = layout->group[0].k_dim * 2, head = token * layout->block_tokens;
    *dest = (quire_dest){.key_index = key_index,
                         .k_base = bases,
                         .v_base = bases + layout->n_layers,
                         .k_head_stride = head,
                         .k_token_stride = token,
                         .v_head_stride = head,
                         .v_token_stride = token,
                         .region = memory,
                         .region_bytes = 2 * half * layout->n_layers};
}

void fixture_source(quire_source *source, const quire_layout *layout, const uint8_t *memory, const void **bases, const quire_key *key) {
    uint64_t half = half_bytes(layout);
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        bases[l] = memory + 2 * l * half;
        bases[layout->n_layers + l] = memory + (2 * l + 1) * half;
    }
    int64_t token = layout->group[0].k_dim * 2, head = token * layout->block_tokens;
    *source = (quire_source){.key = *key,
                             .n_tokens = layout->block_tokens,
                             .k_base = bases,
                             .v_base = bases + layout->n_layers,
                             .k_head_stride = head,
                             .k_token_stride = token,
                             .v_head_stride = head,
                             .v_token_stride = token};
}

uint64_t fixture_proc_bytes(pid_t pid, const char *field) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        size_t n = strlen(field);
        if (strncmp(line, field, n) == 0 && line[n] == ':') {
            kib = strtoull(line + n + 1, NULL, 10);
        }
    }
    fclose(file);
    return kib << 10;
}
