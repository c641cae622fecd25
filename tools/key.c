/*
 * key.c - keys: from records, from the command line, and back to text.
 *
 * Stored keys compare bytewise, so the encoding keeps the order of the fields:
 *
 *     one text field     its bytes
 *     an :int field      8 bytes, big-endian, the sign bit turned over
 *     several fields     one after the other; a text field that is not the
 *                        last has each 0x00 written 0x00 0xff and ends with
 *                        0x00 0x00, so that "a" comes before "aa" whatever
 *                        follows, and no key is another's prefix by accident
 *
 * A JSON record is parsed by yajl's events: one parser for all records, told
 * to expect many values, and made anew after a broken record. Nothing is
 * allocated per record or field. Only members of the outermost object are looked
 * at; numbers are taken as their text, so that 1e400 and 12345678901234567890
 * stay what they are.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/parser.h"
#include "tools/record.h"

#define JSON_DEPTH_MAX \
    1000u /* nested objects and arrays; a limit is needed,
                                as each level costs the parser memory */

enum member_kind {
    MEMBER_ABSENT,
    MEMBER_STRING,
    MEMBER_NUMBER,
    MEMBER_TRUTH,
    MEMBER_NULL,
    MEMBER_NESTED, /* an object or array */
    MEMBER_TWICE,
};

/* What a JSON record has of a key field. */
struct member {
    enum member_kind kind;
    struct bytes text; /* a string's bytes, or a number's or truth's text */
};

struct keyer {
    const struct schema *schema;           /* the caller's */
    struct parser *json;                   /* NULL: not JSON, or to be made */
    struct member members[KEY_FIELDS_MAX]; /* by key field */
    unsigned depth;                        /* open objects and arrays */
    unsigned nvalues;                      /* outermost values seen */
    struct member *wanted; /* where the next value goes; NULL: nowhere */
    bool not_object;       /* the outermost value is no object */
    bool too_deep;
    bool nomem;
};

/* ---- numbers and parts of keys ---- */

void key_put_int(unsigned char to[8], int64_t n)
{
    uint64_t u = (uint64_t)n ^ ((uint64_t)1 << 63);

    for (int i = 7; i >= 0; i--) {
        to[i] = (unsigned char)u;
        u >>= 8;
    }
}

int64_t key_get_int(const unsigned char from[8])
{
    uint64_t u = 0;

    for (int i = 0; i < 8; i++)
        u = u << 8 | from[i];
    return (int64_t)(u ^ ((uint64_t)1 << 63));
}

/* A number as --key's :int takes it: digits, perhaps a minus before them. */
static bool parse_int(const unsigned char *p, size_t len, int64_t *n)
{
    bool negative = len > 0 && *p == '-';
    int64_t value = 0;
    size_t i = negative ? 1 : 0;

    if (i == len)
        return false;
    for (; i < len; i++) {
        int digit = p[i] - '0';

        if (digit < 0 || digit > 9 ||
            __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value))
            return false;
    }
    *n = value;
    return true;
}

/* Append a text field that is not the last; `end`: with its terminator. */
static int put_escaped(struct bytes *key, const unsigned char *p, size_t len,
                       bool end)
{
    if (bytes_reserve(key, 2 * len + 2) != 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        key->data[key->len++] = p[i];
        if (p[i] == 0)
            key->data[key->len++] = 0xff;
    }
    if (end) {
        key->data[key->len++] = 0;
        key->data[key->len++] = 0;
    }
    return 0;
}

/* Append field `i` of the key, of `n` bytes. As keyer_make(). */
static int put_field(const struct schema *s, unsigned i, const unsigned char *p,
                     size_t n, struct bytes *key, struct reject *why)
{
    const struct key_field *k = &s->key[i];

    if (n == 0)
        return reject(why, REASON_KEY_EMPTY, "key field \"%s\" is empty",
                      k->name);
    if (k->is_int) {
        int64_t number;

        if (!parse_int(p, n, &number))
            return reject(why, REASON_NOT_A_NUMBER,
                          "key field \"%s\" is \"%.*s\", not a whole number "
                          "of 64 bits",
                          k->name, (int)(n < 40 ? n : 40), (const char *)p);
        if (bytes_reserve(key, 8) != 0)
            return -2;
        key_put_int(key->data + key->len, number);
        key->len += 8;
        return 0;
    }
    /* Longer than any store takes: not worth a copy. */
    if (n > KEY_MAX_BYTES)
        return reject(why, REASON_KEY_TOO_LONG,
                      "key field \"%s\" has %zu bytes; a key has at most an "
                      "eighth of a page",
                      k->name, n);
    if (i + 1 == s->nkey)
        return bytes_append(key, p, n) == 0 ? 0 : -2;
    return put_escaped(key, p, n, true) == 0 ? 0 : -2;
}

/* ---- JSON ---- */

/* A value begins: count it, and say where it belongs. */
static struct member *begin_value(struct keyer *k, enum member_kind kind)
{
    struct member *m = k->wanted;

    if (k->depth == 0) {
        k->nvalues++;
        k->not_object = true; /* an object takes it back */
    }
    k->wanted = NULL;
    if (m == NULL)
        return NULL;
    m->kind = m->kind == MEMBER_ABSENT ? kind : MEMBER_TWICE;
    return m;
}

static int keep_text(struct keyer *k, enum member_kind kind, const void *text,
                     size_t len)
{
    struct member *m = begin_value(k, kind);

    /* One byte over the limit is enough to see that it is over. */
    if (len > KEY_MAX_BYTES + 1)
        len = KEY_MAX_BYTES + 1;
    if (m != NULL && m->kind == kind &&
        bytes_append(&m->text, text, len) != 0) {
        k->nomem = true;
        return 0;
    }
    return 1;
}

static int on_null(void *ctx)
{
    begin_value(ctx, MEMBER_NULL);
    return 1;
}

static int on_boolean(void *ctx, int truth)
{
    return keep_text(ctx, MEMBER_TRUTH, truth ? "true" : "false",
                     truth ? 4 : 5);
}

static int on_number(void *ctx, const char *text, size_t len)
{
    return keep_text(ctx, MEMBER_NUMBER, text, len);
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
    return keep_text(ctx, MEMBER_STRING, text, len);
}

static int on_begin(struct keyer *k, bool object)
{
    begin_value(k, MEMBER_NESTED);
    if (k->depth == 0 && object)
        k->not_object = false;
    if (++k->depth <= JSON_DEPTH_MAX)
        return 1;
    k->too_deep = true;
    return 0;
}

static int on_start_map(void *ctx)
{
    return on_begin(ctx, true);
}

static int on_start_array(void *ctx)
{
    return on_begin(ctx, false);
}

static int on_end(void *ctx)
{
    struct keyer *k = ctx;

    k->depth--;
    return 1;
}

static int on_map_key(void *ctx, const unsigned char *name, size_t len)
{
    struct keyer *k = ctx;

    if (k->depth != 1)
        return 1;
    for (unsigned i = 0; i < k->schema->nkey; i++) {
        const struct key_field *f = &k->schema->key[i];

        if (f->name_len == len && f->name[0] != '/' &&
            memcmp(f->name, name, len) == 0)
            k->wanted = &k->members[i];
    }
    return 1;
}

static const yajl_callbacks json_events = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

static void json_drop(struct keyer *k)
{
    parser_destroy(k->json);
    k->json = NULL;
}

/* Say in *why what the parser found broken. */
static void reject_json(struct keyer *k, const void *text, size_t len,
                        struct reject *why)
{
    size_t pos = parser_consumed(k->json);
    char error[150];

    parser_error(k->json, text, len, error, sizeof(error));
    reject(why, REASON_JSON, "broken JSON near byte %zu: %s", pos + 1, error);
}

/* Parse one record; its key members end up in k->members. As keyer_make(). */
static int json_parse(struct keyer *k, const void *text, size_t len,
                      struct reject *why)
{
    enum parsed rc = PARSED_NOMEM;

    for (unsigned i = 0; i < k->schema->nkey; i++) {
        k->members[i].kind = MEMBER_ABSENT;
        bytes_reset(&k->members[i].text, 2 * KEY_MAX_BYTES);
    }
    k->depth = 0;
    k->nvalues = 0;
    k->wanted = NULL;
    k->not_object = false;
    k->too_deep = false;
    if (k->json == NULL)
        k->json = parser_create(&json_events, k, true);
    if (k->json != NULL)
        rc = parser_feed(k->json, text, len);
    if (k->nomem)
        return -2; /* said */
    if (k->too_deep)
        reject(why, REASON_JSON, "nested deeper than %u", JSON_DEPTH_MAX);
    else if (rc == PARSED_BROKEN)
        reject_json(k, text, len, why);
    /* The line's end also ends a number or word standing alone. */
    if (rc == PARSED_OK) {
        rc = parser_feed(k->json, "\n", 1);
        if (rc == PARSED_BROKEN || (rc == PARSED_OK && k->depth > 0)) {
            reject(why, REASON_JSON, "broken JSON: the record ends too early");
            rc = PARSED_BROKEN;
        }
    }
    if (rc == PARSED_NOMEM) {
        say("the system has no memory for a JSON record");
        return -2;
    }
    /* Broken, or grown by a huge record: the next one gets a new parser. */
    if (rc == PARSED_BROKEN || len > (1u << 20))
        json_drop(k);
    if (rc == PARSED_OK && (k->nvalues != 1 || k->not_object))
        return reject(why, REASON_JSON, "the line is not one JSON object");
    return rc == PARSED_OK ? 0 : -1;
}

/* Find what a JSON pointer names, in a record known to be whole. */
static int member_at_pointer(const struct key_field *f, const void *text,
                             size_t len, struct member *m)
{
    struct json_text value;
    int rc = json_find(text, len, f->name, f->name_len, &value);

    if (rc < 0)
        return -1;
    if (rc == 0)
        return 0; /* MEMBER_ABSENT */
    switch (value.p[0]) {
    case '{':
    case '[':
        m->kind = MEMBER_NESTED;
        break;
    case 'n':
        m->kind = MEMBER_NULL;
        break;
    case '"':
        m->kind = MEMBER_STRING;
        break;
    default:
        m->kind = MEMBER_NUMBER; /* or a truth: its text as well */
        break;
    }
    if (rc == 2)
        m->kind = MEMBER_TWICE;
    return json_decode(&m->text, &value);
}

static int key_from_json(struct keyer *k, const void *text, size_t len,
                         struct bytes *key, struct reject *why)
{
    const struct schema *s = k->schema;
    int rc = json_parse(k, text, len, why);

    for (unsigned i = 0; i < s->nkey && rc == 0; i++) {
        struct member *m = &k->members[i];
        const char *name = s->key[i].name;

        if (name[0] == '/' && member_at_pointer(&s->key[i], text, len, m) != 0)
            return -2;
        switch (m->kind) {
        case MEMBER_ABSENT:
            return reject(why, REASON_KEY_MISSING,
                          "there is no member \"%s\" for the key", name);
        case MEMBER_NULL:
            return reject(why, REASON_KEY_EMPTY, "key member \"%s\" is null",
                          name);
        case MEMBER_NESTED:
            return reject(why, REASON_KEY_TYPE,
                          "key member \"%s\" is an object or an array", name);
        case MEMBER_TWICE:
            return reject(why, REASON_KEY_TYPE,
                          "key member \"%s\" is there more than once", name);
        default:
            rc = put_field(s, i, m->text.data, m->text.len, key, why);
            break;
        }
    }
    return rc;
}

/* ---- records ---- */

static int key_from_row(const struct schema *s, const void *row, size_t len,
                        struct bytes *key, struct reject *why)
{
    int rc = 0;

    for (unsigned i = 0; i < s->nkey && rc == 0; i++) {
        const unsigned char *field;
        size_t n;

        if (!row_field(row, len, s->key[i].column, &field, &n))
            return reject(why, REASON_KEY_MISSING,
                          "the row has no field for the key, \"%s\"",
                          s->key[i].name);
        rc = put_field(s, i, field, n, key, why);
    }
    return rc;
}

int keyer_create(const struct schema *s, struct keyer **out)
{
    struct keyer *k = mem_zero(1, sizeof(*k));

    if (k == NULL) {
        say("the system has no memory for the making of keys");
        return -1;
    }
    k->schema = s;
    *out = k;
    return 0;
}

void keyer_destroy(struct keyer *k)
{
    if (k == NULL)
        return;
    json_drop(k);
    for (unsigned i = 0; i < KEY_FIELDS_MAX; i++)
        bytes_free(&k->members[i].text);
    free(k);
}

int keyer_make(struct keyer *k, const void *record, size_t len,
               struct bytes *key, struct reject *why)
{
    const struct schema *s = k->schema;

    key->len = 0;
    switch (s->format) {
    case FORMAT_CSV:
    case FORMAT_TSV:
        return key_from_row(s, record, len, key, why);
    case FORMAT_NDJSON:
        return key_from_json(k, record, len, key, why);
    default:
        if (len == 0)
            return reject(why, REASON_KEY_EMPTY, "the line is empty");
        if (len > KEY_MAX_BYTES)
            return reject(why, REASON_KEY_TOO_LONG,
                          "the line has %zu bytes; a key has at most an "
                          "eighth of a page",
                          len);
        return bytes_append(key, record, len) == 0 ? 0 : -2;
    }
}

/* ---- the command line ---- */

static int key_from_fields(const struct schema *s, const char *text, bool part,
                           struct bytes *key)
{
    struct bytes row = { 0 };
    struct reject why;
    const unsigned char *pos;
    const unsigned char *field;
    size_t len;
    uint32_t n;
    int rc;

    rc = csv_split(text, strlen(text), &row, &n);
    if (rc > 0)
        say("key %s: it is not one CSV row of key fields", text);
    if (rc != 0)
        goto failed;
    if (n > s->nkey || (n < s->nkey && !part)) {
        say("key %s: it has %u field%s; the tree's key has %u", text, n,
            n == 1 ? "" : "s", s->nkey);
        goto failed;
    }
    pos = row.data;
    for (unsigned i = 0; i < n; i++) {
        int bad = row_next(&pos, row.data + row.len, &field, &len)
                      ? put_field(s, i, field, len, key, &why)
                      : -2;

        if (bad == -1) /* else it has been said */
            say("key %s: %s", text, why.text);
        if (bad != 0)
            goto failed;
    }
    bytes_free(&row);
    return 0;

failed:
    bytes_free(&row);
    return -1;
}

int key_from_text(const struct schema *s, const char *text, bool part,
                  struct bytes *key)
{
    int64_t number;

    key->len = 0;
    if (s->nkey > 0)
        return key_from_fields(s, text, part, key);
    if (!s->key_auto)
        return bytes_append(key, text, strlen(text));
    if (!parse_int((const unsigned char *)text, strlen(text), &number)) {
        say("key %s: this tree's keys are whole numbers", text);
        return -1;
    }
    if (bytes_reserve(key, 8) != 0)
        return -1;
    key_put_int(key->data, number);
    key->len = 8;
    return 0;
}

int key_prefix(const struct schema *s, const char *prefix, struct bytes *low,
               struct bytes *high, bool *open)
{
    size_t len = strlen(prefix);

    low->len = 0;
    high->len = 0;
    if (s->key_auto || (s->nkey > 0 && s->key[0].is_int)) {
        say("--prefix %s: this tree's keys begin with a number; use --from "
            "and --to",
            prefix);
        return -1;
    }
    if (put_escaped(low, (const unsigned char *)prefix, len, false) != 0 ||
        bytes_append(high, low->data, low->len) != 0)
        return -1;
    while (high->len > 0 && high->data[high->len - 1] == 0xff)
        high->len--;
    *open = high->len == 0;
    if (!*open)
        high->data[high->len - 1]++;
    return 0;
}

static int say_damaged_key(void)
{
    (say)("a key does not fit the tree's description: the tree was not filled "
          "by quire load, or is damaged");
    return -1;
}

/* Take the text field that begins at *pos, up to its terminator, into
 * `field`. */
static int take_escaped(const unsigned char **pos, const unsigned char *end,
                        struct bytes *field)
{
    const unsigned char *p = *pos;

    while (end - p >= 1) {
        if (*p == 0) {
            if (end - p < 2 || (p[1] != 0 && p[1] != 0xff))
                break;
            if (p[1] == 0) {
                *pos = p + 2;
                return 0;
            }
        }
        if (bytes_append(field, p, 1) != 0)
            return -1;
        p += *p == 0 ? 2 : 1;
    }
    return SAID(say_damaged_key());
}

static int int_to_text(const unsigned char *p, struct bytes *out)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)key_get_int(p));
    return bytes_append_text(out, text);
}

int key_to_text(const struct schema *s, const void *key, size_t len,
                struct bytes *out)
{
    const unsigned char *pos = key;
    const unsigned char *end = pos + len;
    struct bytes field = { 0 };
    int rc = 0;

    if (s->key_auto)
        return len == 8 ? int_to_text(pos, out) : SAID(say_damaged_key());
    if (s->format == FORMAT_LINES)
        return bytes_append(out, key, len);
    if (s->nkey == 0)
        return print_escaped(out, key, len);
    for (unsigned i = 0; i < s->nkey && rc == 0; i++) {
        if (i > 0)
            rc = bytes_append(out, ",", 1);
        if (rc != 0)
            break;
        if (s->key[i].is_int) {
            rc = end - pos >= 8 ? int_to_text(pos, out)
                                : SAID(say_damaged_key());
            pos += 8;
        } else if (i + 1 == s->nkey) {
            rc = csv_quote(out, pos, (size_t)(end - pos));
            pos = end;
        } else {
            field.len = 0;
            rc = take_escaped(&pos, end, &field);
            if (rc == 0)
                rc = csv_quote(out, field.data, field.len);
        }
    }
    bytes_free(&field);
    return rc;
}
