/* The life of a record: one function a state. Each is told what happens and answers with the next state. */
#include "pager/disk/internal.h"

typedef enum pager_state state_function(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening);

static enum pager_state absent(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    (void)pager, (void)domain, (void)slot, (void)happening;
    assert(!"nothing happens to a record that is not there");
    return PAGER_ABSENT;
}

/* Readers and writers hold its bytes to the last of them. */
static enum pager_state doomed(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    assert(happening == PAGER_HAPPENS_LET_GO || happening == PAGER_HAPPENS_DROP);
    struct pager_record *record = &domain->records[slot];
    if (record->refs > 0 || record->busy > 0) {
        return PAGER_DOOMED;
    }
    pager_record_free(pager, domain, slot);
    return PAGER_ABSENT;
}

static enum pager_state filling(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    switch (happening) {
    case PAGER_HAPPENS_LET_GO:
        return PAGER_FILLING;
    case PAGER_HAPPENS_FILLED:
        assert(domain->records[slot].busy == 0);
        return PAGER_SEALING;
    default:
        assert(happening == PAGER_HAPPENS_DROP);
        domain->records[slot].block = PAGER_NO_BLOCK;
        return doomed(pager, domain, slot, happening);
    }
}

static enum pager_state sealing(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    switch (happening) {
    case PAGER_HAPPENS_LET_GO:
    case PAGER_HAPPENS_RESEAL:
        return PAGER_SEALING;
    case PAGER_HAPPENS_SEALED:
        assert(domain->records[slot].busy == 0);
        pager_record_link(pager, domain, slot);
        pager_record_arrived(pager, domain, slot);
        return PAGER_RESIDENT;
    default:
        assert(happening == PAGER_HAPPENS_DROP);
        domain->records[slot].block = PAGER_NO_BLOCK;
        return doomed(pager, domain, slot, happening);
    }
}

/* Nobody holds it, or it has left its block: the disk goes on knowing it, the slot does not. */
static enum pager_state away(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    uint32_t block = domain->records[slot].block;
    switch (happening) {
    case PAGER_HAPPENS_LOAD:
        domain->records[slot].busy++;
        return PAGER_LOADING;
    case PAGER_HAPPENS_LET_GO:
        if (domain->records[slot].refs > 0) {
            return PAGER_AWAY;
        }
        if (pager_block_is_orphan(pager, pager_block_at(pager, block))) {
            pager_orphans_expect(pager); /* it stayed only because it was held */
        }
        pager_record_unlink(pager, domain, slot);
        pager_block_file(pager, block); /* its other groups in memory may go now */
        break;
    default:
        assert(happening == PAGER_HAPPENS_DROP);
        pager_record_unlink(pager, domain, slot);
    }
    return doomed(pager, domain, slot, happening);
}

/* Whoever waits for it may leave: the read lands all the same. */
static enum pager_state loading(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    struct pager_record *record = &domain->records[slot];
    switch (happening) {
    case PAGER_HAPPENS_LET_GO:
        return PAGER_LOADING;
    case PAGER_HAPPENS_LOADED:
        record->busy--;
        pager_record_arrived(pager, domain, slot);
        return PAGER_RESIDENT;
    case PAGER_HAPPENS_UNLOAD:
        record->busy--;
        record->state = PAGER_AWAY;
        return away(pager, domain, slot, PAGER_HAPPENS_LET_GO);
    default:
        assert(happening == PAGER_HAPPENS_DROP);
        pager_record_unlink(pager, domain, slot);
        domain->leased_bytes += record->refs && record->extent != PAGER_NO_EXTENT ? record->size_bytes : 0;
        return doomed(pager, domain, slot, happening);
    }
}

static enum pager_state resident(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    if (happening == PAGER_HAPPENS_MOVE) {
        assert(domain->records[slot].refs == 0);
        domain->records[slot].busy++;
        return PAGER_MOVING;
    }
    assert(happening == PAGER_HAPPENS_DROP);
    pager_record_unlink(pager, domain, slot);
    return doomed(pager, domain, slot, happening);
}

static enum pager_state moving(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    if (happening == PAGER_HAPPENS_MOVED) {
        domain->records[slot].busy--;
        return PAGER_RESIDENT;
    }
    assert(happening == PAGER_HAPPENS_DROP);
    pager_record_unlink(pager, domain, slot);
    return doomed(pager, domain, slot, happening); /* not before the copy has ended */
}

static const struct {
    const char *name;
    state_function *function;
} states[PAGER_STATES] = {
    [PAGER_ABSENT] = {"absent", absent},       [PAGER_FILLING] = {"filling", filling}, [PAGER_SEALING] = {"sealing", sealing},
    [PAGER_RESIDENT] = {"resident", resident}, [PAGER_MOVING] = {"moving", moving},    [PAGER_AWAY] = {"away", away},
    [PAGER_LOADING] = {"loading", loading},    [PAGER_DOOMED] = {"doomed", doomed},
};

const char *pager_state_name(uint8_t state) { return states[state].name; }

void pager_record_step(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening) {
    assert(slot < domain->slots_touched);
    struct pager_record *record = &domain->records[slot];
    enum pager_state next = states[record->state].function(pager, domain, slot, happening);
    if (next != PAGER_ABSENT) {
        record->state = (uint8_t)next;
    }
}
