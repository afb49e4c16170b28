#include "client/quirectl/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static cJSON *number(uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_CreateRaw(text);
}

static cJSON *hex(const uint8_t *bytes, size_t size) {
    char *text = malloc(size * 2 + 1);
    if (text == NULL) {
        return cJSON_CreateNull();
    }
    for (size_t i = 0; i < size; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
    text[size * 2] = '\0';
    cJSON *value = cJSON_CreateString(text);
    free(text);
    return value;
}

static cJSON *json_value(const ProtobufCFieldDescriptor *field, const void *at) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return number(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return number(*(const uint64_t *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return cJSON_CreateBool(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return cJSON_CreateNumber((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return cJSON_CreateNumber(*(const double *)at);
    case PROTOBUF_C_TYPE_STRING:
        return cJSON_CreateString(*(char *const *)at != NULL ? *(char *const *)at : "");
    case PROTOBUF_C_TYPE_BYTES:
        return hex(((const ProtobufCBinaryData *)at)->data, ((const ProtobufCBinaryData *)at)->len);
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(ProtobufCMessage *const *)at != NULL ? json_message(*(ProtobufCMessage *const *)at) : cJSON_CreateNull();
    default:
        return cJSON_CreateNull(); /* a type that no message of Quire uses */
    }
}

static size_t element_bytes(const ProtobufCFieldDescriptor *field) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    default:
        return 8; /* 64-bit numbers and pointers */
    }
}

cJSON *json_message(const ProtobufCMessage *message) {
    cJSON *object = cJSON_CreateObject();
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *at = (const char *)message + field->offset;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            cJSON_AddItemToObject(object, field->name, json_value(field, at));
            continue;
        }
        cJSON *array = cJSON_AddArrayToObject(object, field->name);
        size_t n = *(const size_t *)(const void *)((const char *)message + field->quantifier_offset);
        const char *elements = *(const char *const *)(const void *)at;
        for (size_t j = 0; j < n; j++) {
            cJSON_AddItemToArray(array, json_value(field, elements + j * element_bytes(field)));
        }
    }
    return object;
}

void json_add_messages(cJSON *object, const char *name, void *const *messages, size_t n) {
    cJSON *array = cJSON_AddArrayToObject(object, name);
    for (size_t i = 0; i < n; i++) {
        cJSON_AddItemToArray(array, json_message(messages[i]));
    }
}

void json_add_u64(cJSON *object, const char *name, uint64_t value) { cJSON_AddItemToObject(object, name, number(value)); }
void json_add_hex(cJSON *object, const char *name, const void *bytes, size_t size) {
    cJSON_AddItemToObject(object, name, hex(bytes, size));
}

void json_print(cJSON *value, FILE *to) {
    char *text = cJSON_Print(value);
    fprintf(to, "%s\n", text != NULL ? text : "null");
    cJSON_free(text);
    cJSON_Delete(value);
}
