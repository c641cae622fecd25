/*
 * json.c - looking into JSON text that is known to be whole.
 *
 * Records are checked by yajl when they are loaded, so here no syntax is
 * checked: the functions find where values begin and end, and stay inside the
 * text whatever it is. Values are taken as slices of the text, so that numbers
 * and escapes stay as they were written.
 */
#include <string.h>

#include "tools/record.h"

static const unsigned char *skip_blanks(const unsigned char *p,
                                        const unsigned char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* Step over the string that begins at `p` with its quote. */
static const unsigned char *skip_string(const unsigned char *p,
                                        const unsigned char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
    }
    return p < end ? p + 1 : end;
}

/* Step over the value that begins at `p`. */
static const unsigned char *skip_value(const unsigned char *p,
                                       const unsigned char *end)
{
    size_t depth = 0;

    if (p < end && *p == '"')
        return skip_string(p, end);
    if (p < end && *p != '{' && *p != '[') {
        while (p < end && strchr(",]} \t\r\n", *p) == NULL)
            p++;
        return p;
    }
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        p++;
        if (depth == 0)
            break;
    }
    return p;
}

bool json_open(struct json_walk *w, const void *text, size_t len)
{
    w->pos = text;
    w->end = w->pos + len;
    w->pos = skip_blanks(w->pos, w->end);
    w->object = w->pos < w->end && *w->pos == '{';
    if (!w->object && (w->pos == w->end || *w->pos != '['))
        return false;
    w->pos++;
    return true;
}

bool json_next(struct json_walk *w, struct json_text *name,
               struct json_text *value)
{
    const unsigned char *p = skip_blanks(w->pos, w->end);

    if (p < w->end && *p == ',')
        p = skip_blanks(p + 1, w->end);
    if (p == w->end || *p == '}' || *p == ']')
        return false;
    name->p = p;
    name->len = 0;
    if (w->object) {
        if (*p != '"')
            return false;
        p = skip_string(p, w->end);
        name->len = (size_t)(p - name->p);
        p = skip_blanks(p, w->end);
        if (p == w->end || *p != ':')
            return false;
        p = skip_blanks(p + 1, w->end);
    }
    value->p = p;
    p = skip_value(p, w->end);
    value->len = (size_t)(p - value->p);
    w->pos = p;
    return value->len > 0;
}

static int put_utf8(struct bytes *out, uint32_t c)
{
    unsigned char b[4];
    size_t n = 0;

    if (c < 0x80) {
        b[n++] = (unsigned char)c;
    } else if (c < 0x800) {
        b[n++] = (unsigned char)(0xc0 | c >> 6);
        b[n++] = (unsigned char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        b[n++] = (unsigned char)(0xe0 | c >> 12);
        b[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (unsigned char)(0x80 | (c & 0x3f));
    } else {
        b[n++] = (unsigned char)(0xf0 | c >> 18);
        b[n++] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
        b[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (unsigned char)(0x80 | (c & 0x3f));
    }
    return bytes_append(out, b, n);
}

/* The four hexadecimal digits at `p`; UINT32_MAX: there are none. */
static uint32_t take_hex(const unsigned char *p, const unsigned char *end)
{
    uint32_t c = 0;

    if (end - p < 4)
        return UINT32_MAX;
    for (int i = 0; i < 4; i++) {
        int digit = p[i] >= '0' && p[i] <= '9'   ? p[i] - '0'
                    : p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
                    : p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10
                                                 : -1;

        if (digit < 0)
            return UINT32_MAX;
        c = c << 4 | (uint32_t)digit;
    }
    return c;
}

int json_decode(struct bytes *out, const struct json_text *value)
{
    static const char plain[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    const unsigned char *p = value->p;
    const unsigned char *end = p + value->len;

    if (value->len < 2 || *p != '"')
        return bytes_append(out, p, value->len);
    end--;
    for (p++; p < end; p++) {
        const char *found;
        uint32_t c;

        if (*p != '\\' || p + 1 == end) {
            if (bytes_append(out, p, 1) != 0)
                return -1;
            continue;
        }
        p++;
        if (*p != 'u') {
            found = memchr(plain, *p, sizeof(plain) - 1);
            if (found == NULL)
                found = plain;
            if (bytes_append(out, meant + (found - plain), 1) != 0)
                return -1;
            continue;
        }
        c = take_hex(p + 1, end);
        if (c == UINT32_MAX)
            return bytes_append(out, p, (size_t)(end - p));
        p += 4;
        if (c >= 0xd800 && c < 0xdc00 && end - p > 2 && p[1] == '\\' &&
            p[2] == 'u') {
            uint32_t low = take_hex(p + 3, end);

            if (low >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            }
        }
        if (c >= 0xd800 && c < 0xe000)
            c = 0xfffd; /* half of a pair stands for no character */
        if (put_utf8(out, c) != 0)
            return -1;
    }
    return 0;
}

/* Take the next token of a JSON pointer, decoded, into `token`. */
static int take_token(const char **pos, const char *end, struct bytes *token)
{
    const char *p = *pos + 1; /* behind the slash */

    token->len = 0;
    for (; p < end && *p != '/'; p++) {
        char c = *p;

        if (c == '~' && p + 1 < end && (p[1] == '0' || p[1] == '1'))
            c = *++p == '0' ? '~' : '/';
        if (bytes_append(token, &c, 1) != 0)
            return -1;
    }
    *pos = p;
    return 0;
}

/* Find the member or element that `token` names in `in`. */
static int find_one(const struct json_text *in, const struct bytes *token,
                    struct bytes *scratch, struct json_text *value)
{
    struct json_walk w;
    struct json_text name;
    struct json_text one;
    int found = 0;
    char index[24];

    if (!json_open(&w, in->p, in->len))
        return 0;
    for (uint64_t i = 0; json_next(&w, &name, &one); i++) {
        scratch->len = 0;
        if (w.object) {
            if (json_decode(scratch, &name) != 0)
                return -1;
        } else {
            snprintf(index, sizeof(index), "%llu", (unsigned long long)i);
            if (bytes_append_text(scratch, index) != 0)
                return -1;
        }
        if (scratch->len == token->len &&
            (token->len == 0 ||
             memcmp(scratch->data, token->data, token->len) == 0)) {
            *value = one;
            found++;
        }
    }
    return found > 1 ? 2 : found;
}

int json_find(const void *text, size_t len, const char *pointer,
              size_t pointer_len, struct json_text *value)
{
    const char *pos = pointer;
    const char *end = pointer + pointer_len;
    struct bytes token = { 0 };
    struct bytes scratch = { 0 };
    int rc = 1;

    value->p = text;
    value->len = len;
    if (pointer_len > 0 && *pointer != '/') { /* a member's name */
        rc = bytes_append(&token, pointer, pointer_len);
        if (rc == 0)
            rc = find_one(value, &token, &scratch, value);
        pos = end;
    }
    while (rc == 1 && pos < end) {
        struct json_text in = *value;

        rc = take_token(&pos, end, &token) == 0
                 ? find_one(&in, &token, &scratch, value)
                 : -1;
    }
    bytes_free(&token);
    bytes_free(&scratch);
    return rc;
}

/* The bytes of the UTF-8 character at `p`; 0: it is none. */
static size_t utf8_len(const unsigned char *p, const unsigned char *end)
{
    size_t n = *p < 0x80   ? 1
               : *p < 0xc2 ? 0
               : *p < 0xe0 ? 2
               : *p < 0xf0 ? 3
               : *p < 0xf5 ? 4
                           : 0;

    if (n == 0 || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, halves of pairs, and what lies above U+10FFFF. */
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

int json_quote(struct bytes *out, const void *data, size_t len)
{
    const unsigned char *p = data;
    const unsigned char *end = p + len;
    char text[8];

    if (bytes_append(out, "\"", 1) != 0)
        return -1;
    while (p < end) {
        size_t n = utf8_len(p, end);
        int rc;

        if (n == 0)
            return 1;
        if (*p == '"' || *p == '\\') {
            snprintf(text, sizeof(text), "\\%c", *p);
            rc = bytes_append_text(out, text);
        } else if (*p < 0x20) {
            snprintf(text, sizeof(text), "\\u%04x", *p);
            rc = bytes_append_text(out, text);
        } else {
            rc = bytes_append(out, p, n);
        }
        if (rc != 0)
            return -1;
        p += n;
    }
    return bytes_append(out, "\"", 1);
}

size_t json_trim(const unsigned char **text, size_t len)
{
    const unsigned char *p = *text;
    const unsigned char *end = p + len;

    p = skip_blanks(p, end);
    while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n' ||
                       end[-1] == '\r'))
        end--;
    *text = p;
    return (size_t)(end - p);
}

int json_compact(struct bytes *out, const void *text, size_t len)
{
    const unsigned char *p = text;
    const unsigned char *end = p + len;

    if (bytes_reserve(out, len) != 0)
        return -1;
    while (p < end) {
        const unsigned char *from = skip_blanks(p, end);

        p = from;
        while (p < end && *p != ' ' && *p != '\t' && *p != '\n' && *p != '\r')
            p = *p == '"' ? skip_string(p, end) : p + 1;
        if (p > from && bytes_append(out, from, (size_t)(p - from)) != 0)
            return -1;
    }
    return 0;
}
