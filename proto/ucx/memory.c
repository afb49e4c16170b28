/* Memory that is read from afar. */
#include "proto/ucx/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct quire_ucx_memory {
    ucp_context_h context;
    ucp_mem_h handle;
    void *key;
    size_t key_bytes;
};

enum quire_status quire_ucx_expose(struct quire_ucx_port *port, void *base, size_t bytes, struct quire_ucx_memory **out,
                                   char why[QUIRE_UCX_WHY_BYTES]) {
    struct quire_ucx_memory *memory = calloc(1, sizeof *memory);
    const ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                       UCP_MEM_MAP_PARAM_FIELD_PROT,
                                         .address = base,
                                         .length = bytes,
                                         .prot = UCP_MEM_MAP_PROT_LOCAL_READ | UCP_MEM_MAP_PROT_LOCAL_WRITE | UCP_MEM_MAP_PROT_REMOTE_READ};
    *out = NULL;
    if (memory == NULL) {
        snprintf(why, QUIRE_UCX_WHY_BYTES, "out of memory");
        return QUIRE_NO_MEMORY;
    }
    memory->context = port->context;
    ucs_status_t status = ucp_mem_map(port->context, &params, &memory->handle);
    if (status == UCS_OK) {
        status = ucp_rkey_pack(port->context, memory->handle, &memory->key, &memory->key_bytes);
    }
    if (status != UCS_OK || memory->key_bytes > QUIRE_UCX_KEY_BYTES) {
        snprintf(why, QUIRE_UCX_WHY_BYTES, "UCX cannot let others read memory here: %s", ucs_status_string(status));
        quire_ucx_conceal(&memory);
        return QUIRE_SYSTEM;
    }
    *out = memory;
    return QUIRE_OK;
}

void quire_ucx_conceal(struct quire_ucx_memory **handle) {
    struct quire_ucx_memory *memory = *handle;
    *handle = NULL;
    if (memory == NULL) {
        return;
    }
    if (memory->key != NULL) {
        ucp_rkey_buffer_release(memory->key);
    }
    if (memory->handle != NULL) {
        ucp_mem_unmap(memory->context, memory->handle);
    }
    free(memory);
}

const void *quire_ucx_key(const struct quire_ucx_memory *memory, size_t *bytes) {
    *bytes = memory->key_bytes;
    return memory->key;
}

/* ---- of the other end's ---------------------------------------------------------------------------------------------------------- */
enum quire_status quire_ucx_reach(struct quire_ucx_wire *wire, const void *key, size_t key_bytes, uint64_t address, uint64_t bytes,
                                  struct quire_ucx_remote *remote) {
    uint8_t whole[QUIRE_UCX_KEY_BYTES] = {0}; /* UCX believes what the key says of its own length */
    *remote = (struct quire_ucx_remote){.wire = wire, .address = address, .bytes = bytes};
    if (key_bytes == 0 || key_bytes > sizeof whole) {
        return QUIRE_INVALID;
    }
    memcpy(whole, key, key_bytes);
    if (wire->ep == NULL || ucp_ep_rkey_unpack(wire->ep, whole, (ucp_rkey_h *)&remote->key) != UCS_OK) {
        return QUIRE_UNSUPPORTED;
    }
    return QUIRE_OK;
}

void quire_ucx_leave(struct quire_ucx_remote *remote) {
    if (remote->key != NULL) {
        ucp_rkey_destroy(remote->key);
    }
    *remote = (struct quire_ucx_remote){0};
}

struct ucx_get {
    struct quire_ucx_wire *wire;
    quire_ucx_got *got;
    void *arg;
};

static void get_end(struct ucx_get *get, ucs_status_t status) {
    struct quire_ucx_wire *wire = get->wire;
    wire->sending--;
    if (status != UCS_OK && !wire->closing) {
        ucx_wire_fail(wire, QUIRE_DISCONNECTED, ucs_status_string(status));
    }
    ucx_wire_ready(wire);
    get->got(get->arg, status == UCS_OK ? QUIRE_OK : QUIRE_DISCONNECTED);
    free(get);
}

static void on_got(void *request, ucs_status_t status, void *arg) {
    get_end(arg, status);
    ucp_request_free(request);
}

enum quire_status quire_ucx_get(const struct quire_ucx_remote *remote, uint64_t offset, void *to, size_t size, quire_ucx_got *got,
                                void *arg) {
    struct quire_ucx_wire *wire = remote->wire;
    if (offset > remote->bytes || size > remote->bytes - offset) {
        return QUIRE_INVALID;
    }
    if (wire->ep == NULL || wire->status != QUIRE_OK) {
        return QUIRE_DISCONNECTED;
    }
    struct ucx_get *get = malloc(sizeof *get);
    if (get == NULL) {
        return QUIRE_NO_MEMORY;
    }
    *get = (struct ucx_get){.wire = wire, .got = got, .arg = arg};
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA, .cb.send = on_got, .user_data = get};
    wire->sending++;
    void *request = ucp_get_nbx(wire->ep, to, size, remote->address + offset, remote->key, &param);
    if (!UCS_PTR_IS_PTR(request)) {
        get_end(get, UCS_PTR_STATUS(request)); /* done, or refused: told in the same way */
    }
    return QUIRE_OK;
}

/* UCX 1.13 says which lanes an endpoint has only in what it prints for people. */
bool quire_ucx_has_rdma(const struct quire_ucx_wire *wire) {
    static const char *const cards[] = {":rc_", ":dc_", " rc_", " dc_"};
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = wire->ep != NULL ? open_memstream(&text, &bytes) : NULL;
    bool found = false;
    if (to == NULL) {
        return false;
    }
    ucp_ep_print_info(wire->ep, to);
    if (fclose(to) == 0 && text != NULL) {
        for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
            found = found || strstr(text, cards[i]) != NULL;
        }
    }
    free(text);
    return found;
}
