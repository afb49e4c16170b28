/* Administration for quirectl: one request, one reply. Not part of libquire.so. */
#ifndef CLIENT_ADMIN_H
#define CLIENT_ADMIN_H

#include "client/quire.h"
#include "proto/quire.pb-c.h"

/*
 * Sends an administrative request and waits for its reply, deadline_ms at most (0: the client's default). OK when a reply came: its own
 * status says how the verb went. Free it with quire__wire__admin_reply__free_unpacked(reply, NULL). Thread-safe.
 */
enum quire_status quire_admin_call(quire_client *client, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply **reply,
                                   uint32_t deadline_ms);

#endif
