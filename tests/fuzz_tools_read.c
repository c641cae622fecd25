/*
 * fuzz_tools_read.c - libFuzzer targets for the readers of records, the keys
 * made of them and their printed forms: one each for CSV, for TSV with the other
 * formats of plain lines, and for JSON with NDJSON, as FUZZ_CSV, FUZZ_TSV or
 * FUZZ_JSON is defined. The first byte of the input chooses among a target's
 * formats, the second how large the pieces are in which the rest is given.
 *
 * It stands in for input.c: bytes come from memory. Messages go to /dev/null.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

struct input {
    const uint8_t *data;
    size_t len;   /* bytes left */
    size_t piece; /* bytes given at once */
};

#if defined(FUZZ_CSV)
static const enum format formats[] = { FORMAT_CSV };
#elif defined(FUZZ_TSV)
static const enum format formats[] = { FORMAT_TSV, FORMAT_LINES, FORMAT_DUMP };
#elif defined(FUZZ_JSON)
static const enum format formats[] = { FORMAT_NDJSON, FORMAT_JSON };
#else
#error "define FUZZ_CSV, FUZZ_TSV or FUZZ_JSON"
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

ssize_t input_read(struct input *in, void *buf, size_t cap)
{
    size_t n = in->len < in->piece ? in->len : in->piece;

    if (n > cap)
        n = cap;
    memcpy(buf, in->data, n);
    in->data += n;
    in->len -= n;
    return (ssize_t)n;
}

bool input_ready(const struct input *in)
{
    return in->len > 0;
}

const char *input_name(const struct input *in)
{
    (void)in;
    return "fuzz";
}

size_t input_stem(const char *name)
{
    return strlen(name);
}

static void must(int ok)
{
    if (!ok)
        abort();
}

/* A record's fields survive being printed as CSV and read again, with the empty
 * ones at the end left out as they are when it is stored. */
static void check_row(const struct record *rec)
{
    struct bytes text = { 0 };
    struct bytes row = { 0 };
    size_t stored = row_trim(rec->data, rec->len);
    uint32_t n;

    if (rec->nfields > 0) { /* else an empty line */
        must(row_count(rec->data, rec->len) == rec->nfields);
        must(row_to_text(&text, FORMAT_CSV, rec->data, stored, rec->nfields) ==
             0);
        must(csv_split((const char *)text.data, text.len, &row, &n) == 0);
        must(n == rec->nfields && row.len == rec->len &&
             memcmp(row.data, rec->data, row.len) == 0);
    }
    bytes_free(&text);
    bytes_free(&row);
}

/* A key survives being printed and given on the command line again. */
static void check_key(const struct schema *s, const struct bytes *key)
{
    struct bytes text = { 0 };
    struct bytes again = { 0 };

    must(key_to_text(s, key->data, key->len, &text) == 0);
    if (memchr(text.data, 0, text.len) == NULL) {
        must(bytes_append(&text, "", 1) == 0);
        must(key_from_text(s, (const char *)text.data, false, &again) == 0);
        must(again.len == key->len &&
             memcmp(again.data, key->data, key->len) == 0);
    }
    bytes_free(&text);
    bytes_free(&again);
}

/* What a raw dump's line holds survives being escaped again. */
static void check_raw(const struct record *rec)
{
    struct bytes text = { 0 };

    if (rec->len == 0)
        return;
    must(print_escaped(&text, rec->data, rec->len) == 0);
    must(memchr(text.data, '\n', text.len) == NULL &&
         memchr(text.data, '\t', text.len) == NULL && text.len >= rec->len);
    bytes_free(&text);
}

/* A JSON record that was taken for one has its text on one line. */
static void check_json(const struct record *rec)
{
    struct bytes text = { 0 };
    struct json_walk w;
    struct json_text name;
    struct json_text value;

    must(memchr(rec->data, '\n', rec->len) == NULL);
    must(json_compact(&text, rec->data, rec->len) == 0);
    must(text.len <= rec->len);
    must(json_open(&w, rec->data, rec->len));
    while (json_next(&w, &name, &value))
        must(value.p >= rec->data &&
             value.p + value.len <= rec->data + rec->len);
    bytes_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = { data + 2, len - 2, 0 };
    struct reader *rd = NULL;
    struct keyer *keyer = NULL;
    struct schema s;
    struct bytes key = { 0 };
    struct bytes meta = { 0 };
    struct record rec;
    struct reject why;
    enum format f;
    enum read_result rc = READ_RECORD;
    bool given;

    if (len < 2)
        return 0;
    f = formats[data[0] % ARRAY_LEN(formats)];
    in.piece = 1 + data[1];
    schema_init(&s, f == FORMAT_JSON   ? FORMAT_NDJSON
                    : f == FORMAT_DUMP ? FORMAT_RAW
                                       : f);
    if (s.format == FORMAT_NDJSON)
        must(schema_parse_key(&s, "a,/a/b") == 0);
    else if (format_has_rows(f))
        must(schema_parse_key(&s, "#2,#1:int") == 0);
    must(schema_resolve(&s, "fuzz") == 0);
    must(keyer_create(&s, &keyer) == 0);
    must(reader_open(f, NULL, &in, 64, &rd) == 0);
    if (f == FORMAT_DUMP)
        rc = raw_reader_begin(rd, &meta, &given);
    while (rc == READ_RECORD || rc == READ_REJECT) {
        rc = reader_next(rd, &rec);
        if (rc == READ_REJECT)
            must(rec.why.text[0] != 0 && rec.len <= REJECT_TEXT_MAX);
        if (rc != READ_RECORD)
            continue;
        if (format_has_rows(f))
            check_row(&rec);
        if (f == FORMAT_DUMP) {
            check_raw(&rec);
            continue;
        }
        if (keyer_make(keyer, rec.data, rec.len, &key, &why) != 0)
            continue;
        check_key(&s, &key);
        if (s.format == FORMAT_NDJSON)
            check_json(&rec);
    }
    reader_close(rd);
    keyer_destroy(keyer);
    schema_free(&s);
    bytes_free(&key);
    bytes_free(&meta);
    return 0;
}
