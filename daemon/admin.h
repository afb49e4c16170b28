/*
 * What the files of administration share: the call that is being answered, and one function a verb. Each fills its sections of the reply from the
 * call's arena and returns the reply's status; admin.c says who may ask for what.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "daemon/core_internal.h"

/* Who asks: NULL session means the daemon itself. */
struct admin_call {
    struct core *core;
    const struct session *session;
    const Quire__Wire__AdminRequest *request;
    Quire__Wire__AdminReply *reply;
    struct arena *arena;
};

/* May change things and see everything. */
bool admin_is_operator(const struct admin_call *call);
/* Came over a wire, and may not: what it is told is about its own namespaces. */
bool admin_is_tenant(const struct admin_call *call);
/* May see what this domain holds. */
bool admin_sees(const struct admin_call *call, uint32_t domain);
/* May see this namespace: all of its domain, or it, by a token's `admin`. */
bool admin_sees_ns(const struct admin_call *call, const struct pager_ns_info *info);
/* The namespace that the request names. NOT_FOUND to a token for another one's, too; DENIED to members of another domain. */
enum quire_status admin_find_ns(const struct admin_call *call, uint16_t *ns);
/* Copies in the call's arena; empty when it is full. */
ProtobufCBinaryData admin_bytes(const struct admin_call *call, const void *bytes, size_t size);
char *admin_text(const struct admin_call *call, const char *text);
/* Adds what the item takes to *used; false, and a note in the reply, when a frame cannot hold it any more. The daemon itself has no limit. */
bool admin_fits(const struct admin_call *call, const ProtobufCMessage *item, size_t *used);

/* admin_status.c */
enum quire_status admin_status(const struct admin_call *call);
enum quire_status admin_counters(const struct admin_call *call);
enum quire_status admin_config(const struct admin_call *call);
enum quire_status admin_reload(const struct admin_call *call);

/* admin_disk.c: fills the tier that all domains share, and the reply's section about it. There is a disk tier. */
enum quire_status admin_disk(const struct admin_call *call, Quire__Wire__TierInfo *tier);

/* admin_verify.c: what an operator does to the disk tier. The faults only when quired was started with --allow-faults. */
enum quire_status admin_verify(const struct admin_call *call);
enum quire_status admin_fault_list(const struct admin_call *call);
enum quire_status admin_fault_add(const struct admin_call *call);
enum quire_status admin_fault_clear(const struct admin_call *call);

/* admin_blocks.c */
enum quire_status admin_ns_list(const struct admin_call *call);
enum quire_status admin_ns_delete(const struct admin_call *call);
enum quire_status admin_block_show(const struct admin_call *call);
enum quire_status admin_evict(const struct admin_call *call);

/* admin_sessions.c */
enum quire_status admin_session_list(const struct admin_call *call);
enum quire_status admin_session_kick(const struct admin_call *call);

#endif
