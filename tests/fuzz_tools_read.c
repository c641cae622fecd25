/*
 * fuzz_tools_read.c - a libFuzzer target for the readers of records, the keys
 * made of them and their printed forms. The first byte of the input chooses the
 * format, the second how large the pieces are in which the rest is given.
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

/* A record's fields survive being printed as CSV and read again. */
static void check_row(const struct record *rec)
{
    struct bytes text = { 0 };
    struct bytes row = { 0 };
    uint32_t n;

    if (rec->nfields > 0) { /* else an empty line */
        must(row_count(rec->data, rec->len) == rec->nfields);
        must(row_to_text(&text, FORMAT_CSV, rec->data, rec->len, 1) == 0);
        must(csv_split((const char *)text.data, text.len, &row, &n) == 0);
        must(n == rec->nfields && row.len == rec->len &&
             memcmp(row.data, rec->data, row.len) == 0);
    }
    bytes_free(&text);
    bytes_free(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const enum format formats[] = { FORMAT_CSV, FORMAT_TSV,
                                           FORMAT_NDJSON, FORMAT_LINES,
                                           FORMAT_JSON };
    struct input in = { data + 2, len - 2, 0 };
    struct reader *rd = NULL;
    struct keyer *keyer = NULL;
    struct schema s;
    struct bytes key = { 0 };
    struct bytes text = { 0 };
    struct record rec;
    struct reject why;
    enum format f;
    enum read_result rc;

    if (len < 2)
        return 0;
    f = formats[data[0] % ARRAY_LEN(formats)];
    in.piece = 1 + data[1];
    schema_init(&s, f == FORMAT_JSON ? FORMAT_NDJSON : f);
    if (f == FORMAT_NDJSON || f == FORMAT_JSON)
        must(schema_parse_key(&s, "a,/a/b") == NULL);
    else if (f != FORMAT_LINES)
        s.key_auto = true;
    must(keyer_create(&s, &keyer) == 0);
    must(reader_open(f, NULL, &in, 64, &rd) == 0);
    while ((rc = reader_next(rd, &rec)) == READ_RECORD || rc == READ_REJECT) {
        if (rc == READ_REJECT) {
            must(rec.why.text[0] != 0);
            continue;
        }
        if (format_has_rows(f)) {
            check_row(&rec);
        } else if (keyer_make(keyer, rec.data, rec.len, &key, &why) == 0) {
            text.len = 0;
            must(key_to_text(&s, key.data, key.len, &text) == 0);
            text.len = 0;
            must(json_compact(&text, rec.data, rec.len) == 0);
        }
    }
    reader_close(rd);
    keyer_destroy(keyer);
    schema_free(&s);
    bytes_free(&key);
    bytes_free(&text);
    return 0;
}
