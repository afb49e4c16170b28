/*
 * The link of a client on the local socket: a byte stream through the frame decoder, descriptors beside replies. Lives on the loop itself.
 */
#ifndef DAEMON_LOCAL_LINK_H
#define DAEMON_LOCAL_LINK_H

#include "daemon/link.h"

struct core;

/* Of a connected socket, which it closes by its ops. */
enum quire_status local_link_create(struct core *core, int fd, struct link **link);

#endif
