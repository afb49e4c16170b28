/* Wishes go out in the order in which they arose; their completions come back by ticket. */
#include "pager/disk/internal.h"

#define MOVE_TICKET (1ull << 63)

void pager_wish_ask(struct pager *pager, struct pager_wish *wish, enum pager_event_type type) {
    assert(!wish->next);
    wish->type = (uint8_t)type;
    wish->next = &pager->wishes;
    wish->prev = pager->wishes.prev;
    wish->prev->next = wish;
    wish->next->prev = wish;
}

void pager_wish_cancel(struct pager_wish *wish) {
    assert(wish->next);
    wish->prev->next = wish->next;
    wish->next->prev = wish->prev;
    wish->prev = wish->next = NULL;
}

/* FILL and SEAL: the daemon is at the record from here until it says so. */
static void tell_part(struct pager *pager, struct pager_part *part, struct pager_event *event) {
    struct pager_assembly *assembly = part->assembly;
    struct pager_domain *domain = &pager->domains[part->domain];
    struct pager_record *record = &domain->records[part->slot];
    const struct pager_ns *ns = pager->namespaces[assembly->ns];
    part->state = PAGER_PART_FLYING;
    record->busy++;
    event->ticket = part->handle;
    event->cookie = part->cookie;
    event->offset = record->offset;
    event->size_bytes = record->size_bytes;
    event->shape = assembly->shape;
    event->rect = part->rect;
    event->check = part->check;
    event->seal = event->type == PAGER_FILL && part->whole;
    if (event->seal || event->type == PAGER_SEAL) {
        assembly->sequence = ++pager->sequence;
        event->facts = (struct quire_record_facts){
            .key = pager_block_at(pager, assembly->block)->key,
            .layout_tag = ns->layout_tag,
            .sequence = assembly->sequence,
            .group = assembly->group,
            .ancestry_error = assembly->ancestry_error,
        };
    }
}

static void tell_done(struct pager *pager, struct pager_part *part, struct pager_event *event) {
    event->cookie = part->cookie;
    event->status = (enum quire_status)part->verdict;
    event->retry_after_ms = part->retry_after_ms;
    pager_part_discard(pager, part);
}

static void tell_move(const struct pager *pager, const struct pager_move *move, struct pager_event *event) {
    const struct pager_domain *domain = &pager->domains[move->domain];
    event->ticket = move->handle | MOVE_TICKET;
    event->offset = domain->records[move->slot].offset;
    event->to_offset = domain->tier_ops->offset(domain->tier, move->to_extent);
    event->size_bytes = domain->records[move->slot].size_bytes;
}

static void tell_disk(struct pager *pager, struct pager_wish *wish, struct pager_event *event) {
    switch (event->type) {
    case PAGER_LOAD_DONE:
        pager_load_tell(pager, wish, event);
        break;
    case PAGER_DURABLE:
        pager_barrier_tell(pager, wish, event);
        break;
    case PAGER_FLUSHED:
        break;
    default:
        pager_op_tell((const struct pager_op *)wish, event);
    }
}

bool pager_next_event(struct pager *pager, struct pager_event *event) {
    struct pager_wish *wish = pager->wishes.next;
    if (wish == &pager->wishes && pager->disk) {
        pager_disk_pump(pager); /* whatever was called before may have made something possible */
        wish = pager->wishes.next;
    }
    if (wish == &pager->wishes) {
        return false;
    }
    pager_wish_cancel(wish);
    *event = (struct pager_event){.type = (enum pager_event_type)wish->type};
    if (wish->type >= PAGER_DISK_WRITE) {
        tell_disk(pager, wish, event);
        return true;
    }
    if (wish->type == PAGER_MOVE) {
        event->domain = ((struct pager_move *)wish)->domain;
        tell_move(pager, (struct pager_move *)wish, event);
        return true;
    }
    struct pager_part *part = (struct pager_part *)wish;
    event->domain = part->domain;
    if (wish->type == PAGER_PUT_DONE) {
        tell_done(pager, part, event);
    } else {
        tell_part(pager, part, event);
    }
    return true;
}

void pager_complete(struct pager *pager, uint64_t now_ns, uint64_t ticket, enum quire_status status) {
    pager_clock(pager, now_ns);
    if (ticket & PAGER_DISK_TICKET) {
        pager_op_ended(pager, ticket, status);
    } else if (ticket & MOVE_TICKET) {
        struct pager_move *move = pager_table_find(&pager->moves, ticket & ~MOVE_TICKET);
        if (move && !move->wish.next) {
            pager_compact_moved(pager, move, status);
        }
    } else {
        struct pager_part *part = pager_table_find(&pager->parts, ticket);
        if (part && part->state == PAGER_PART_FLYING) {
            pager_part_landed(pager, part, status);
        }
    }
    pager_room_serve_all(pager);
}
