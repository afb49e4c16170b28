#include "proto/base/address.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 64
#define NUMBERS_MAX 16
#define FULL_MAX 4096

bool quire_address_split(const char *address, char host[QUIRE_HOST_BYTES], char port[QUIRE_PORT_BYTES]) {
    const char *colon = strrchr(address, ':');
    size_t length = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = length > 2 && address[0] == '[' && address[length - 1] == ']';
    if (bracketed) {
        address++;
        length -= 2;
    }
    if (length == 0 || length >= QUIRE_HOST_BYTES || strlen(colon + 1) >= QUIRE_PORT_BYTES || colon[1] == '\0' ||
        colon[1 + strspn(colon + 1, "0123456789")] != '\0' || strtoul(colon + 1, NULL, 10) > UINT16_MAX) {
        return false;
    }
    memcpy(host, address, length);
    host[length] = '\0';
    strcpy(port, colon + 1);
    return strchr(host, ' ') == NULL;
}

enum quire_status quire_address_resolve(const char *address, char *full, size_t full_bytes, const char **why) {
    char host[QUIRE_HOST_BYTES], port[QUIRE_PORT_BYTES], number[NUMBER_BYTES];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    if (!quire_address_split(address, host, port)) {
        *why = "it is not host:port";
        return QUIRE_INVALID;
    }
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        *why = gai_strerror(rc);
        return QUIRE_NOT_FOUND;
    }
    size_t used = (size_t)snprintf(full, full_bytes, "%s %s", host, port);
    for (const struct addrinfo *at = found; at != NULL && used < full_bytes; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, number, sizeof number, NULL, 0, NI_NUMERICHOST) == 0 &&
            used + strlen(number) + 1 < full_bytes) {
            used += (size_t)snprintf(full + used, full_bytes - used, " %s", number);
        }
    }
    freeaddrinfo(found);
    *why = "the host's name is too long";
    return used < full_bytes ? QUIRE_OK : QUIRE_TOO_LARGE;
}

enum quire_status quire_address_choose(const char *full, uint32_t attempt, struct quire_address *chosen) {
    char text[FULL_MAX], *rest = NULL, *numbers[NUMBERS_MAX];
    uint32_t n = 0;
    snprintf(text, sizeof text, "%s", full);
    const char *host = strtok_r(text, " ", &rest), *port = strtok_r(NULL, " ", &rest);
    while (n < NUMBERS_MAX && (numbers[n] = strtok_r(NULL, " ", &rest)) != NULL) {
        n++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found = NULL;
    if (n == 0 || getaddrinfo(numbers[attempt % n], port, &hints, &found) != 0) {
        return QUIRE_INVALID;
    }
    *chosen = (struct quire_address){.at_bytes = found->ai_addrlen};
    snprintf(chosen->host, sizeof chosen->host, "%s", host);
    snprintf(chosen->port, sizeof chosen->port, "%s", port);
    memcpy(&chosen->at, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return QUIRE_OK;
}
