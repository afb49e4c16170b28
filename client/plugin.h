/*
 * What the plug-in objects for wires share: to say why, and to look up "host:port". They are objects of their own, so each has its copy.
 */
#ifndef CLIENT_PLUGIN_H
#define CLIENT_PLUGIN_H

#include "client/transport.h"
#include "proto/base/address.h"

#include <stdarg.h>
#include <stdio.h>

/* Formats *why, and returns the status that it explains. */
__attribute__((format(printf, 3, 4))) static inline enum quire_status plugin_say(struct transport_why why, enum quire_status status,
                                                                                 const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why.text, why.bytes, format, args);
    va_end(args);
    return status;
}

/* transport_ops.resolve of those whose addresses are host:port; `connect` takes one by quire_address_choose. */
static inline enum quire_status plugin_resolve(const char *address, char *full, struct transport_why why) {
    const char *text = "";
    enum quire_status status = quire_address_resolve(address, full, TRANSPORT_ADDRESS_MAX, &text);
    return status == QUIRE_OK ? QUIRE_OK : plugin_say(why, status, "%s", text);
}

#endif
