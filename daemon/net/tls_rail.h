/*
 * The rail for TLS: listeners on TCP, TLS 1.3 (proto/tls/tls.h), and the byte stream of proto/frame.h inside it. Bulk bytes are read straight to
 * where the core says.
 *
 * A stranger costs little: handshakes are bounded in number and time, and see inlet.h. Everything that a client may not do ends its connection,
 * counted and logged with its address, at most some lines a second.
 */
#ifndef DAEMON_NET_TLS_RAIL_H
#define DAEMON_NET_TLS_RAIL_H

#include "daemon/net/rail.h"
#include "proto/tls/tls.h"

/* Binds every "host:port" of the list (separated by commas) and prepares the rail; nobody can connect before rail_start. On failure `why` tells
   which, and what to do. */
enum quire_status tls_rail_create(struct core *core, const char *addresses, const struct quire_tls_files *files,
                                  const struct rail_limits *limits, void (*taken)(struct loop_wakeup *wakeup), struct rail **rail,
                                  char *why, size_t why_bytes);

#endif
