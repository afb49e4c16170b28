/* Sessions: what a session's end frees, and what it leaves to those who may still read. */
#include "pager/disk/internal.h"

#include <stdlib.h>

struct pager_session *pager_session_find(const struct pager *pager, uint64_t session) {
    struct pager_session *s = pager_table_find(&pager->sessions, session);
    return s && !s->quarantined ? s : NULL;
}

enum quire_status pager_entitled(const struct pager *pager, uint64_t session, uint16_t ns, struct pager_session **s, struct pager_ns **n) {
    *s = pager_session_find(pager, session);
    *n = pager_ns_at(pager, ns);
    if (!*s || !*n || (*n)->deleted) {
        return QUIRE_NOT_FOUND;
    }
    return (*s)->domain == (*n)->domain ? QUIRE_OK : QUIRE_DENIED;
}

enum quire_status pager_session_open(struct pager *pager, uint32_t domain, uint64_t *session) {
    if (domain >= pager->n_domains) {
        return QUIRE_NOT_FOUND;
    }
    struct pager_session *s = calloc(1, sizeof(*s));
    enum quire_status status = s ? pager_table_add(&pager->sessions, s, &s->handle) : QUIRE_NO_MEMORY;
    if (status != QUIRE_OK) {
        free(s);
        return status;
    }
    s->domain = domain;
    *session = s->handle;
    return QUIRE_OK;
}

/* ---- shares --------------------------------------------------------------------------------------------------------------- */
/* A limit's share, though not less than what one needs to work at all. */
static uint64_t share(uint64_t limit, uint32_t parts, uint32_t least) { return quire_max_u64(limit / parts, least); }

bool pager_session_may_lease(const struct pager *pager, const struct pager_session *s) {
    return s->n_leases < share(pager->options.max_leases, PAGER_SHARE_LEASES, PAGER_SHARE_LEAST);
}

bool pager_session_may_wait(const struct pager *pager, uint64_t session) {
    const struct pager_session *s = pager_session_find(pager, session);
    return !s || s->n_waiting <= share(pager->options.max_puts_waiting, PAGER_SHARE_PUTS, PAGER_SHARE_LEAST);
}

bool pager_session_may_build(const struct pager *pager, uint64_t session, uint64_t bytes, bool parts) {
    const struct pager_session *s = pager_session_find(pager, session);
    if (!s || s->n_building == 0) {
        return true;
    }
    uint64_t pool = pager->domains[s->domain].capacity_bytes;
    return s->n_building < share(pager->options.max_parts_pending, PAGER_SHARE_PUTS, PAGER_SHARE_LEAST) &&
           (!parts || s->building_bytes == 0 || s->building_bytes + bytes <= pool / PAGER_SHARE_PUTS);
}

void pager_session_waits(struct pager *pager, uint64_t session, int by) {
    struct pager_session *s = pager_table_find(&pager->sessions, session);
    pager->n_waiting += (uint32_t)by;
    if (s) {
        s->n_waiting += (uint32_t)by;
    }
}

void pager_session_builds(struct pager *pager, const struct pager_assembly *assembly, bool begins) {
    struct pager_session *s = pager_table_find(&pager->sessions, assembly->owner);
    uint64_t bytes = assembly->put_id ? assembly->shape.size_bytes : 0;
    pager->n_assemblies += begins ? 1 : UINT32_MAX;
    if (s) {
        s->n_building += begins ? 1 : UINT32_MAX;
        s->building_bytes += begins ? bytes : -bytes;
    }
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
static void end_leases(struct pager *pager, struct pager_session *s) {
    while (s->leases) {
        pager->counters.leases_reaped++;
        pager_lease_end(pager, s->leases);
    }
}

static void session_free(struct pager *pager, struct pager_session *s) {
    end_leases(pager, s);
    pager_ns_unuse(pager, s);
    pager_table_remove(&pager->sessions, s->handle);
    free(s);
}

void pager_session_close(struct pager *pager, uint64_t session, bool quarantine) {
    struct pager_session *s = pager_session_find(pager, session);
    if (!s) {
        return;
    }
    pager_assembly_session_gone(pager, session);
    if (quarantine) {
        s->quarantined = true;
        for (struct pager_lease *lease = s->leases; lease; lease = lease->next) {
            pager_loads_end(pager, lease);
        }
        pager_ns_unuse(pager, s);
        pager->domains[s->domain].quarantined_bytes += s->leased_bytes;
    } else {
        session_free(pager, s);
    }
    pager_room_serve_all(pager);
}

void pager_session_gone(struct pager *pager, uint64_t session) {
    struct pager_session *s = pager_table_find(&pager->sessions, session);
    if (s && s->quarantined) {
        session_free(pager, s);
        pager_room_serve_all(pager);
    }
}

enum quire_status pager_session_info(const struct pager *pager, uint64_t session, struct pager_session_info *info) {
    const struct pager_session *s = pager_table_find(&pager->sessions, session);
    if (!s) {
        return QUIRE_NOT_FOUND;
    }
    *info = (struct pager_session_info){s->n_leases, s->leased_bytes, s->fetched_bytes, s->stored_bytes};
    return QUIRE_OK;
}
