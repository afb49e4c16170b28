/*
 * Remote sessions as the core sees them: its rails, the messages that they bring, the tokens, and who may try. For who has the
 * core: the loop's thread, or the rail's that borrowed it (core_borrow).
 *
 * A wire that opens becomes a session at once and is told a CHALLENGE; its HELLO must prove a token, and what the session may do is that
 * token's rights, at its tenant's rate. A token that is changed or taken away ends its sessions at the next reload.
 */
#ifndef DAEMON_NET_NET_H
#define DAEMON_NET_NET_H

#include "daemon/net/crowd.h"
#include "daemon/net/rail.h"
#include "daemon/net/rates.h"
#include "daemon/net/tokens.h"
#include "proto/quire.pb-c.h"

struct session;

struct net {
    struct rail *rails;
    struct tokens *tokens; /* NULL: nobody listens */
    struct guard guard;
    struct crowd strangers;    /* sessions that have not proven a token: they take nobody's place */
    uint64_t refused, guarded; /* here, beside what rails count */
    struct rates rates;
    int64_t certificate_until_s; /* since 1970; 0: there is none */
};

/* What a session that came over a wire has, beside what every session has. */
struct remote {
    uint8_t nonce[QUIRE_NONCE_BYTES];
    bool challenged;
    struct crowd_member stranger; /* until it has proven a token */
    bool afar;                    /* it may read the pool's memory */
    struct token token;           /* name "" before HELLO */
    struct tenant *tenant;        /* NULL before HELLO */
    struct rate_waiter waiter;
};

/* Refuses what must not be: a listener without tokens, TLS without a certificate. Binds the addresses; nobody can connect before net_start. */
enum quire_status net_create(struct core *core, char *why, size_t why_bytes);
enum quire_status net_start(struct core *core, char *why, size_t why_bytes);
/* Brings the core's counters up to what the rails have counted. */
void net_count(struct core *core);
/* It said nothing in time: its address may wait before it tries again. */
void net_silent(struct session *session);
/* Fills what a client needs to read the pool's memory from afar; false: it may not. Good until its session ends. */
bool net_afar(const struct session *session, Quire__Wire__Afar *afar);
/* After every session has ended. */
void net_destroy(struct core *core);
/* Tokens and certificates are read anew; what is wrong with them is logged, and the old ones stay. */
enum quire_status net_reload(struct core *core);

/* HELLO of a session that came over a wire: OK, and it has its rights; else the session has been told and ended. */
enum quire_status net_hello(struct session *session, uint64_t request, const char *token, const uint8_t *proof, size_t proof_bytes);
/* May this request be handled now? False: its tenant has used up its rate; the session is run again when its turn has come. */
bool net_admits(struct session *session, const struct quire_frame *frame);
/* An admitted request takes so many bytes of answers. Nothing for a local session. */
void net_charge(struct session *session, uint64_t bytes);
/* Turns that have come; and when the next do. */
void net_tick(struct core *core);
uint64_t net_deadline(const struct core *core);
/* It has ended, and waits for no turn. */
void net_session_ended(struct session *session);
/* Frees what session_create's caller gave it. */
void net_session_gone(struct session *session);

#endif
