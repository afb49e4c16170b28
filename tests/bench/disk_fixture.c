#include "tests/bench/disk_fixture.h"
#include "client/admin.h"
#include "proto/base/base.h"
#include "proto/status.h"
#include "proto/wire.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#define RAW_MEMORY_BYTES (512ull << 20)

int disk_fixture_create(const struct bench_options *options, const struct bench_case *c, uint64_t raw_bytes, struct disk_fixture *disk) {
    memset(disk, 0, sizeof *disk);
    disk->options = options;
    disk->c = c;
    disk->raw.fd = -1;
    char path[600];
    snprintf(disk->folder, sizeof disk->folder, "%s/quire-bench-XXXXXX", options->dir);
    if (mkdtemp(disk->folder) == NULL) {
        disk->folder[0] = '\0';
        return bench_fail(c, "cannot make a folder below %s", options->dir);
    }
    snprintf(path, sizeof path, "%s/raw", disk->folder);
    return raw_bytes > 0 ? raw_create(c, path, raw_bytes, RAW_MEMORY_BYTES, &disk->raw) : 0;
}

int disk_fixture_start(struct disk_fixture *disk, uint64_t log_bytes, uint64_t pool_bytes, const char *yaml, const quire_layout *layout) {
    char text[2048];
    snprintf(text, sizeof text,
             "ingest_bytes: 512MiB\ningest_window_bytes: 256MiB\ndomains:\n  - name: default\n    pool_bytes: %lluMiB\n"
             "tiers:\n  file:\n    - path: \"%s/log0\"\n      size: %lluMiB\n%s",
             (unsigned long long)(pool_bytes >> 20), disk->folder, (unsigned long long)(log_bytes >> 20), yaml);
    int failed = fixture_start(disk->options, disk->c, text, &disk->fixture);
    return failed != 0 ? failed : fixture_open_ns(disk->c, &disk->fixture, "bench", layout);
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *walk) {
    (void)facts;
    (void)type;
    (void)walk;
    return remove(path);
}

void disk_fixture_stop(struct disk_fixture *disk) {
    if (disk->fixture.daemon > 0) {
        fixture_stop(&disk->fixture);
    }
    raw_destroy(&disk->raw);
    if (disk->folder[0] != '\0') {
        nftw(disk->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
}

static Quire__Wire__AdminReply *ask(struct disk_fixture *disk, uint32_t verb, uint64_t number) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    request.verb = verb;
    request.number = number;
    if (quire_admin_call(disk->fixture.client, &request, &reply, 20000) != QUIRE_OK) {
        bench_fail(disk->c, "quired does not answer: %s", quire_last_error());
        return NULL;
    }
    return reply;
}

int disk_fixture_counters(struct disk_fixture *disk, const char *const *names, double *values, uint32_t n) {
    Quire__Wire__AdminReply *reply = ask(disk, QUIRE_ADMIN_COUNTERS, 0);
    if (reply == NULL) {
        return 1;
    }
    for (uint32_t k = 0; k < n; k++) {
        values[k] = 0;
        for (size_t i = 0; i < reply->n_counters; i++) {
            values[k] = strcmp(reply->counters[i]->name, names[k]) == 0 ? reply->counters[i]->value : values[k];
        }
    }
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return 0;
}

int disk_fixture_again(struct disk_fixture *disk, uint64_t log_bytes, uint64_t pool_bytes, const char *yaml, const quire_layout *layout,
                       double records) {
    static const char *const name = "disk_restored";
    fixture_stop(&disk->fixture);
    if (disk_fixture_start(disk, log_bytes, pool_bytes, yaml, layout) != 0) {
        return 1;
    }
    for (uint64_t until_ns = bench_now_ns() + 20 * QUIRE_NS_PER_S; bench_now_ns() < until_ns; usleep(1000)) {
        double found;
        if (disk_fixture_counters(disk, &name, &found, 1) != 0) {
            return 1;
        }
        if (found >= records) {
            return 0;
        }
    }
    return bench_fail(disk->c, "not all was found again within 20 s");
}

/* One request may take only so much: asked until nothing is left. */
int disk_fixture_evict(struct disk_fixture *disk) {
    for (uint64_t freed = 1; freed > 0;) {
        Quire__Wire__AdminReply *reply = ask(disk, QUIRE_ADMIN_EVICT, UINT64_MAX >> 1);
        if (reply == NULL) {
            return 1;
        }
        enum quire_status status = (enum quire_status)reply->status;
        freed = strtoull(reply->text, NULL, 10);
        quire__wire__admin_reply__free_unpacked(reply, NULL);
        if (status != QUIRE_OK) {
            return bench_fail(disk->c, "cannot evict: %s", quire_status_text(status));
        }
    }
    return 0;
}

int disk_fixture_watch(struct disk_fixture *disk, struct disk_watch *watch) {
    static const char *const names[] = {"disk_writes", "disk_admitted_bytes"};
    double values[2];
    int failed = disk_fixture_counters(disk, names, values, 2);
    *watch = (struct disk_watch){.writes = values[0], .admitted = values[1]};
    return failed;
}

int disk_fixture_demoted(struct disk_fixture *disk, const struct disk_watch *watch, double bytes, double *seconds) {
    struct disk_watch now;
    uint64_t before_ns = bench_now_ns(), begun_ns = 0, until_ns = before_ns + 20 * QUIRE_NS_PER_S;
    for (bool first = true;; first = false) {
        if (disk_fixture_watch(disk, &now) != 0) {
            return 1;
        }
        uint64_t now_ns = bench_now_ns();
        if (begun_ns == 0 && now.writes > watch->writes) {
            if (first) {
                return bench_fail(disk->c, "writing began before all was stored: %.0f writes, %.0f bytes", now.writes - watch->writes,
                                  now.admitted - watch->admitted);
            }
            begun_ns = before_ns + (now_ns - before_ns) / 2;
        }
        if (now.admitted - watch->admitted >= bytes) {
            *seconds = (double)(now_ns - begun_ns) / 1e9;
            return 0;
        }
        if (now_ns > until_ns) {
            return bench_fail(disk->c, "only %.0f of %.0f MiB were demoted within 20 s", (now.admitted - watch->admitted) / (1 << 20),
                              bytes / (1 << 20));
        }
        before_ns = now_ns;
        usleep(1000);
    }
}

int disk_fixture_in_step(struct disk_fixture *disk, quire_source *source, double bytes) {
    struct disk_watch watch;
    double seconds;
    if (disk_fixture_watch(disk, &watch) != 0) {
        return 1;
    }
    if (quire_store(disk->fixture.ns, source, 1, NULL, 20000, NULL) != QUIRE_OK) {
        return bench_fail(disk->c, "store: %s", quire_last_error());
    }
    watch.writes = 1e18; /* when it began is not wanted */
    return disk_fixture_demoted(disk, &watch, bytes, &seconds);
}
