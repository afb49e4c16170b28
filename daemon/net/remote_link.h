/*
 * The core's side of a wire: a link (daemon/link.h) whose frames come from a rail's thread and whose replies go there. Loop thread only.
 *
 * Bulk bytes behind a PUT go straight into the session's ingest window: the frame is looked at first, the rail is told their place, and the frame
 * is handled when they are there. The window is kept while the rail may write to it, whatever becomes of the session.
 */
#ifndef DAEMON_NET_REMOTE_LINK_H
#define DAEMON_NET_REMOTE_LINK_H

#include "daemon/link.h"
#include "daemon/net/exchange.h"

struct core;
struct rail_memory;

/* For a wire that was OPENED. */
enum quire_status remote_link_create(struct core *core, struct wire *wire, struct link **link);
/* Messages of the rail's. FRAME is taken over. */
void remote_link_frame(struct link *link, struct exchange_msg *msg);
void remote_link_bulk(struct link *link);
void remote_link_sent(struct link *link, const struct exchange_msg *msg);
void remote_link_gone(struct link *link);
/* The rail's last word: frees the wire, and the link, unless the session still holds it. */
void remote_link_closed(struct link *link);
/* It has proven who it is: said before its greeting is answered, so that what it sends next is no stranger's. */
void remote_link_known(struct link *link);
/* What its client may read from afar, if it may. */
const struct rail_memory *remote_link_memory(const struct link *link);
/* Where its client is, for people. */
const char *remote_link_peer(const struct link *link);
const struct rail *remote_link_rail(const struct link *link);

#endif
