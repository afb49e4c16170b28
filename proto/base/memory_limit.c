#include "proto/base/memory_limit.h"

#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdio.h>
#include <stdlib.h>

/* A file of one number; "max" and what cannot be read are no limit. */
static uint64_t read_limit(const char *path) {
    char text[64] = "";
    uint64_t value;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    const char *line = fgets(text, sizeof text, file);
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return line != NULL && quire_parse_count(text, false, &value) == QUIRE_OK ? value : UINT64_MAX;
}

/* The tightest limit from a cgroup up to the root of its hierarchy. In a container the path may name a place outside of what is
   mounted; the mounted root is then the container's own group. */
static uint64_t cgroup_limit(const char *root, const char *mount, char *group, const char *file) {
    char path[4400];
    uint64_t limit = UINT64_MAX;
    for (;;) {
        snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s/%s", root, mount, strcmp(group, "/") == 0 ? "" : group, file);
        limit = quire_min_u64(limit, read_limit(path));
        char *slash = strrchr(group, '/');
        if (slash == NULL || group[0] == '\0') {
            return limit;
        }
        *slash = '\0';
    }
}

static uint64_t cgroups_limit(const char *root) {
    char path[256], line[4096];
    uint64_t limit = UINT64_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        if (controllers[1] == '\0') {
            limit = quire_min_u64(limit, cgroup_limit(root, "", group, "memory.max"));
        } else if (strstr(controllers, "memory") != NULL) {
            limit = quire_min_u64(limit, cgroup_limit(root, "/memory", group, "memory.limit_in_bytes"));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return limit;
}

static uint64_t host_memory(const char *root) {
    char path[256], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "MemTotal:", 9) == 0) {
            kib = strtoull(line + 9, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib > 0 ? (uint64_t)kib << 10 : UINT64_MAX;
}

uint64_t quire_memory_limit(const char *root) {
    const char *prefix = strcmp(root, "/") == 0 ? "" : root;
    uint64_t limit = quire_min_u64(host_memory(prefix), cgroups_limit(prefix));
    return limit == UINT64_MAX ? 0 : limit;
}
