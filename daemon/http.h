/*
 * The daemon's small HTTP server: /metrics for Prometheus, /healthz for whoever watches, / for people who look.
 *
 * It has a thread of its own (libmicrohttpd's) and reaches the core through core_call with a bounded wait, one request at a time; when
 * the loop does not answer in time the request gets 503. Connections, their memory and their time are bounded. There is no
 * access control: it listens on loopback unless the operator says otherwise.
 */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "daemon/core.h"

struct http;

#define HTTP_ADDRESS_BYTES 80
/* When the configured port is taken, any free one is used and told. `address`: "127.0.0.1:9470", where it listens. */
enum quire_status http_start(struct core *core, const struct config *config, struct http **http, char address[HTTP_ADDRESS_BYTES],
                             char *why, size_t why_bytes);
/* After the core has stopped running and before it is destroyed. NULL-safe. */
void http_stop(struct http **http);

#endif
