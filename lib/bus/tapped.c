/* Messages recorded as JSON lines, and read again. A body that is a JSON object on one line is put
 * into its line as it came, and last, so that reading can take out the very same bytes: what stands
 * between "message": and the last brace. All else goes as text, and what is no text as base64
 * besides, since JSON knows no other bytes. */
#include "tasker/bus.h"

#include <inttypes.h>
#include <string.h>

#include "tasker/clock.h"

#define MESSAGE_KEY "\"message\":"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct tsk_buf *buf, const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0);
        tsk_buf_char(buf, digits[bits >> 18]);
        tsk_buf_char(buf, digits[bits >> 12 & 63]);
        tsk_buf_char(buf, left > 1 ? digits[bits >> 6 & 63] : '=');
        tsk_buf_char(buf, left > 2 ? digits[bits & 63] : '=');
    }
}

/* Returns the value of a digit, or -1. */
static int digit_value(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Adds what text stands for. Returns false if it is no base64 with its padding. */
static bool decode_base64(struct tsk_buf *buf, const char *text, size_t len)
{
    size_t pad = 0, bytes;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (len % 4)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        bool last = i + 4 == len;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = last && k >= 4 - pad ? 0 : digit_value(text[i + k]);
            if (value < 0)
                return false;
            bits = bits << 6 | (uint32_t)value;
        }
        bytes = last ? 3 - pad : 3;
        for (size_t k = 0; k < bytes; k++)
            tsk_buf_char(buf, (char)(bits >> (16 - 8 * k) & 0xFF));
    }
    return true;
}

/* Adds bytes as a JSON string. Returns whether all of them are in it. */
static bool add_text(struct tsk_buf *buf, const char *data, size_t len)
{
    struct json_object *value = tsk_json_lossy(data, len);
    size_t text_len;
    const char *text = tsk_json_text(value, &text_len);
    tsk_buf_add(buf, text, text_len);
    bool whole = (size_t)json_object_get_string_len(value) == len &&
                 (!len || memcmp(json_object_get_string(value), data, len) == 0);
    json_object_put(value);
    return whole;
}

static void add_raw(struct tsk_buf *line, const char *data, size_t len, bool truncated)
{
    tsk_buf_str(line, ",\"raw\":");
    bool whole = add_text(line, data, len);
    if (truncated) {
        tsk_buf_str(line, ",\"truncated\":true");
    } else if (!whole) {
        tsk_buf_str(line, ",\"raw_base64\":\"");
        add_base64(line, (const unsigned char *)data, len);
        tsk_buf_char(line, '"');
    }
}

static void add_message(struct tsk_buf *line, const struct tsk_frame *frame,
                        struct json_object *message)
{
    const char *data = frame->body;
    size_t len = frame->len;
    if (memchr(data, '\n', len) || memchr(data, '\r', len))
        data = tsk_json_text(message, &len);
    tsk_buf_str(line, "," MESSAGE_KEY);
    tsk_buf_add(line, data, len);
}

void tsk_tapped_write(struct tsk_buf *line, const struct tsk_frame *frame, const char *endpoint,
                      int64_t wall_ms, struct json_object *message)
{
    char time[TSK_TIME_SIZE];
    size_t start;
    tsk_time_format(wall_ms, time);
    tsk_buf_printf(line, "{\"message_type\":\"tapped\",\"time\":\"%s\",\"endpoint\":", time);
    add_text(line, endpoint, strlen(endpoint));
    tsk_buf_str(line, ",\"topic\":");
    start = line->len;
    bool has_topic = add_text(line, frame->topic, strlen(frame->topic));
    if (!has_topic) { /* no text, so it goes with the rest */
        line->len = start;
        tsk_buf_str(line, "\"\"");
    }
    tsk_buf_printf(line, ",\"size\":%zu", frame->whole ? frame->whole : frame->raw_len);
    if (message && has_topic && !frame->whole && tsk_json_within(message, TSK_JSON_DEPTH - 1))
        add_message(line, frame, message);
    else
        add_raw(line, has_topic ? frame->body : frame->raw, has_topic ? frame->len : frame->raw_len,
                frame->whole > 0);
    tsk_buf_char(line, '}');
}

bool tsk_tapped_is(struct json_object *json)
{
    const char *type = tsk_json_str(json, "message_type");
    return type && strcmp(type, "tapped") == 0;
}

/* Finds the bytes of message in the line as tsk_tapped_write left it. Any JSON object that stands
 * between the key and the last brace is the value of that key; the text as a whole is JSON. */
static bool find_message(struct json_object *json, const char *topic, const char *text, size_t len,
                         const char **data, size_t *size)
{
    int64_t whole, head = *topic ? (int64_t)strlen(topic) + 1 : 0;
    size_t key = strlen(MESSAGE_KEY);
    if (tsk_json_int(json, "size", &whole) != 1 || whole <= head + 1 || (uint64_t)whole >= len)
        return false;
    *size = (size_t)(whole - head);
    if (len < *size + key + 1 || text[len - 1] != '}')
        return false;
    *data = text + len - 1 - *size;
    return memcmp(*data - key, MESSAGE_KEY, key) == 0;
}

static void take_message(struct tsk_tapped *tapped, struct json_object *json, const char *text,
                         size_t len)
{
    const char *data;
    size_t size;
    struct tsk_json *parser = tsk_json_new();
    struct json_object *found = NULL;
    if (find_message(json, tapped->topic, text, len, &data, &size))
        found = tsk_json_object(parser, data, size, NULL);
    if (!found)
        data = tsk_json_text(tapped->message, &size);
    tsk_buf_add(&tapped->body, data, size);
    json_object_put(found);
    tsk_json_free(parser);
}

static int take_raw(struct tsk_tapped *tapped, struct json_object *json, struct tsk_err *err)
{
    struct json_object *raw = tsk_json_get(json, "raw");
    struct json_object *bytes = tsk_json_get(json, "raw_base64");
    struct json_object *from = bytes ? bytes : raw;
    if (!json_object_is_type(from, json_type_string))
        return tsk_err_set(err, TSK_DATA, "%s is not a string", bytes ? "raw_base64" : "raw");
    const char *text = json_object_get_string(from);
    size_t len = (size_t)json_object_get_string_len(from);
    if (!bytes)
        tsk_buf_add(&tapped->body, text, len);
    else if (!decode_base64(&tapped->body, text, len))
        return tsk_err_set(err, TSK_DATA, "raw_base64 is not base64");
    return 0;
}

static int read_head(struct tsk_tapped *tapped, struct json_object *json, struct tsk_err *err)
{
    struct json_object *time = tsk_json_get(json, "time");
    const char *text = tsk_json_str(json, "time");
    const char *topic = tsk_json_str(json, "topic");
    if (!topic)
        return tsk_err_set(err, TSK_DATA,
                           tsk_json_get(json, "topic") ? "topic is not a string without NUL"
                                                       : "topic is missing");
    if (strlen(topic) >= TSK_TOPIC_SIZE)
        return tsk_err_set(err, TSK_DATA, "topic has over %d bytes", TSK_TOPIC_SIZE - 1);
    tapped->topic = topic;
    if (time && (!text || tsk_time_parse(text, &tapped->wall_ms) < 0))
        return tsk_err_set(err, TSK_DATA, "time is not as 2026-01-24T12:00:00.123Z");
    return 0;
}

int tsk_tapped_read(struct tsk_tapped *tapped, struct json_object *json, const char *text,
                    size_t len, bool need_body, struct tsk_err *err)
{
    bool truncated = false;
    *tapped = (struct tsk_tapped){.wall_ms = -1, .topic = ""};
    if (read_head(tapped, json, err) < 0)
        return -1;
    if (tsk_json_bool(json, "truncated", &truncated) < 0)
        return tsk_err_set(err, TSK_DATA, "truncated is not true or false");
    if (truncated)
        return tsk_err_set(err, TSK_DATA, "the message was too long: only its beginning is here");
    tapped->message = tsk_json_get(json, "message");
    bool raw = tsk_json_get(json, "raw") || tsk_json_get(json, "raw_base64");
    if (!tapped->message && !raw)
        return tsk_err_set(err, TSK_DATA, "message is missing, and so is raw");
    if (tapped->message && raw)
        return tsk_err_set(err, TSK_DATA, "message and raw are both there");
    if (!tapped->message)
        return take_raw(tapped, json, err);
    if (!json_object_is_type(tapped->message, json_type_object))
        return tsk_err_set(err, TSK_DATA, "message is not an object");
    if (need_body)
        take_message(tapped, json, text, len);
    return 0;
}

void tsk_tapped_fini(struct tsk_tapped *tapped)
{
    tsk_buf_fini(&tapped->body);
}
