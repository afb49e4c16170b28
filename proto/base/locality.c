#include "proto/base/locality.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 4096
#define PATH_BYTES 512
#define LAYERS_MAX 4 /* a VLAN on a bond on cards; more is a loop */

/* ---- processors ----------------------------------------------------------------------------------------------------------------- */
/* Digits alone: no sign, no blank. */
static bool parse_number(const char **at, unsigned *number) {
    size_t digits = strspn(*at, "0123456789");
    if (digits == 0 || digits > 6) {
        return false;
    }
    *number = (unsigned)strtoul(*at, NULL, 10);
    *at += digits;
    return *number < CPU_SETSIZE;
}

bool quire_locality_parse(const char *text, cpu_set_t *processors) {
    CPU_ZERO(processors);
    const char *at = text;
    do {
        unsigned first, last;
        at += *at == ',' && at != text;
        if (!parse_number(&at, &first)) {
            return false;
        }
        last = first;
        if (*at == '-') {
            at++;
            if (!parse_number(&at, &last)) {
                return false;
            }
        }
        if (last < first) {
            return false;
        }
        for (unsigned i = first; i <= last; i++) {
            CPU_SET(i, processors);
        }
    } while (*at == ',');
    return at[strspn(at, "\n")] == '\0';
}

void quire_locality_text(const cpu_set_t *processors, char *text, size_t text_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < CPU_SETSIZE && used < text_bytes; i++) {
        int first = i;
        if (!CPU_ISSET(i, processors)) {
            continue;
        }
        while (i + 1 < CPU_SETSIZE && CPU_ISSET(i + 1, processors)) {
            i++;
        }
        used += (size_t)snprintf(text + used, text_bytes - used, first == i ? "%s%d" : "%s%d-%d", used > 0 ? "," : "", first, i);
    }
}

/* ---- files of /sys -------------------------------------------------------------------------------------------------------------- */
static bool read_text(const char *path, char text[TEXT_BYTES]) {
    FILE *file = fopen(path, "re");
    size_t got = file != NULL ? fread(text, 1, TEXT_BYTES - 1, file) : 0;
    text[got] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return got > 0;
}

bool quire_locality_processors(const char *sys, int node, cpu_set_t *processors) {
    char path[PATH_BYTES], text[TEXT_BYTES];
    snprintf(path, sizeof path, "%s/devices/system/node/node%d/cpulist", sys, node);
    return read_text(path, text) && quire_locality_parse(text, processors);
}

uint32_t quire_locality_nodes(const char *sys) {
    char path[PATH_BYTES];
    cpu_set_t processors;
    uint32_t n = 0;
    snprintf(path, sizeof path, "%s/devices/system/node", sys);
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        int node, end = 0;
        if (sscanf(entry->d_name, "node%d%n", &node, &end) == 1 && entry->d_name[end] == '\0') {
            n += quire_locality_processors(sys, node, &processors);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return n;
}

static int node_below(const char *sys, const char *interface, unsigned layers);

/* Of the interfaces that it is made of, "lower_NAME" in its folder. */
static int node_of_lowers(const char *sys, const char *interface, unsigned layers) {
    char path[PATH_BYTES];
    int node = QUIRE_NODE_UNKNOWN;
    snprintf(path, sizeof path, "%s/class/net/%s", sys, interface);
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, "lower_", 6) != 0) {
            continue;
        }
        int below = node_below(sys, entry->d_name + 6, layers);
        if (below < 0 || (node >= 0 && below != node)) {
            node = QUIRE_NODE_UNKNOWN;
            break;
        }
        node = below;
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return node;
}

static int node_below(const char *sys, const char *interface, unsigned layers) {
    char path[PATH_BYTES], text[TEXT_BYTES];
    int node;
    snprintf(path, sizeof path, "%s/class/net/%s/device/numa_node", sys, interface);
    if (read_text(path, text)) {
        return sscanf(text, "%d", &node) == 1 && node >= 0 ? node : QUIRE_NODE_UNKNOWN; /* −1: the system does not know */
    }
    return layers > 0 ? node_of_lowers(sys, interface, layers - 1) : QUIRE_NODE_UNKNOWN;
}

int quire_locality_node(const char *sys, const char *interface) {
    return interface[0] != '\0' ? node_below(sys, interface, LAYERS_MAX) : QUIRE_NODE_UNKNOWN;
}

/* ---- addresses ------------------------------------------------------------------------------------------------------------------ */
static bool same_address(const struct sockaddr *a, const struct sockaddr *b) {
    if (b == NULL || a->sa_family != b->sa_family) {
        return false;
    }
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return a->sa_family == AF_INET6 && memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0 &&
           (x->sin6_scope_id == 0 || x->sin6_scope_id == y->sin6_scope_id);
}

void quire_locality_interface(const struct sockaddr *address, const struct ifaddrs *interfaces, char name[IF_NAMESIZE]) {
    name[0] = '\0';
    for (const struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next) {
        if (same_address(address, at->ifa_addr)) {
            size_t length = strcspn(at->ifa_name, ":"); /* "eth0:1" is another name of eth0 */
            snprintf(name, IF_NAMESIZE, "%.*s", (int)length, at->ifa_name);
            return;
        }
    }
}

/* ---- devices -------------------------------------------------------------------------------------------------------------------- */
static bool append(char *text, size_t text_bytes, const char *name, int port) {
    size_t used = strlen(text);
    int n = port > 0 ? snprintf(text + used, text_bytes - used, "%s%s:%d", used > 0 ? "," : "", name, port)
                     : snprintf(text + used, text_bytes - used, "%s%s", used > 0 ? "," : "", name);
    return n > 0 && (size_t)n < text_bytes - used;
}

/* Ports count from 1 with UCX, from 0 here. */
static int port_of(const char *sys, const char *interface) {
    char path[PATH_BYTES], text[TEXT_BYTES];
    const char *at = text;
    unsigned number;
    snprintf(path, sizeof path, "%s/class/net/%s/dev_port", sys, interface);
    return read_text(path, text) && parse_number(&at, &number) ? (int)number + 1 : 1;
}

static bool append_cards(const char *sys, const char *interface, uint32_t layer, char *text, size_t text_bytes) {
    char path[PATH_BYTES];
    bool fit = true;
    snprintf(path, sizeof path, "%s/class/net/%s/device/infiniband", sys, interface);
    DIR *cards = opendir(path);
    for (const struct dirent *card; cards != NULL && fit && (card = readdir(cards)) != NULL;) {
        fit = card->d_name[0] == '.' || append(text, text_bytes, card->d_name, port_of(sys, interface));
    }
    if (cards != NULL) {
        closedir(cards);
    }
    snprintf(path, sizeof path, "%s/class/net/%s", sys, interface);
    DIR *below = layer < LAYERS_MAX ? opendir(path) : NULL;
    for (const struct dirent *entry; below != NULL && fit && (entry = readdir(below)) != NULL;) {
        fit = strncmp(entry->d_name, "lower_", 6) != 0 || append_cards(sys, entry->d_name + 6, layer + 1, text, text_bytes);
    }
    if (below != NULL) {
        closedir(below);
    }
    return fit;
}

bool quire_locality_devices(const char *sys, const char *interface, char *text, size_t text_bytes) {
    text[0] = '\0';
    return append(text, text_bytes, interface, 0) && append_cards(sys, interface, 0, text, text_bytes);
}
