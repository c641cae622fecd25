/*
 * row.c - rows: records of fields, as they are stored and as text.
 *
 * The reader builds rows straight from the parser's fields, so that what is
 * stored is what was parsed, without another copy. Empty fields at a row's end
 * are left out when it is stored: so a row from before columns were added is
 * the same bytes as one that has nothing in them, and load of a dump, which
 * prints all columns, gives what was there.
 */
#include <csv.h>
#include <string.h>

#include "tools/record.h"

size_t varint_put(unsigned char *to, uint64_t n)
{
    size_t len = 0;

    while (n >= 0x80) {
        to[len++] = (unsigned char)(n | 0x80);
        n >>= 7;
    }
    to[len++] = (unsigned char)n;
    return len;
}

int row_add(struct bytes *row, const void *field, size_t len)
{
    if (row->cap - row->len < len + VARINT_MAX &&
        bytes_reserve(row, len + VARINT_MAX) != 0)
        return -1;
    row->len += varint_put(row->data + row->len, len);
    if (len > 0)
        memcpy(row->data + row->len, field, len);
    row->len += len;
    return 0;
}

bool row_field(const void *row, size_t row_len, uint32_t column,
               const unsigned char **field, size_t *len)
{
    const unsigned char *pos = row_begin(row, row_len);
    const unsigned char *end = pos + row_len;

    while (row_next(&pos, end, field, len)) {
        if (column-- == 0)
            return true;
    }
    return false;
}

uint32_t row_count(const void *row, size_t row_len)
{
    const unsigned char *pos = row_begin(row, row_len);
    const unsigned char *end = pos + row_len;
    const unsigned char *field;
    size_t len;
    uint32_t n = 0;

    while (row_next(&pos, end, &field, &len))
        n++;
    return pos == end ? n : UINT32_MAX;
}

size_t row_trim(const void *row, size_t row_len)
{
    const unsigned char *pos = row_begin(row, row_len);
    const unsigned char *end = pos + row_len;
    const unsigned char *last = pos; /* behind the last field with bytes */
    const unsigned char *field;
    size_t len;

    /* An empty field is one byte, 0; few rows end with one. */
    if (row_len == 0 || end[-1] != 0)
        return row_len;
    while (row_next(&pos, end, &field, &len)) {
        if (len > 0)
            last = pos;
    }
    return row_len - (size_t)(end - last);
}

int csv_quote(struct bytes *out, const void *field, size_t len)
{
    const unsigned char *p = field;
    bool quote = false;

    for (size_t i = 0; i < len && !quote; i++)
        quote = p[i] == ',' || p[i] == '"' || p[i] == '\n' || p[i] == '\r';
    if (!quote)
        return bytes_append(out, field, len);
    if (bytes_reserve(out, 2 * len + 2) != 0)
        return -1;
    out->data[out->len++] = '"';
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"')
            out->data[out->len++] = '"';
        out->data[out->len++] = p[i];
    }
    out->data[out->len++] = '"';
    return 0;
}

int row_to_text(struct bytes *out, enum format f, const void *row,
                size_t row_len, uint32_t ncolumns)
{
    const unsigned char *pos = row_begin(row, row_len);
    const unsigned char *end = pos + row_len;
    const unsigned char *field = NULL;
    char delimiter = f == FORMAT_TSV ? '\t' : ',';
    size_t begin = out->len;
    size_t len = 0;
    uint32_t n = 0;

    while (row_next(&pos, end, &field, &len)) {
        if (n++ > 0 && bytes_append(out, &delimiter, 1) != 0)
            return -1;
        if ((f == FORMAT_TSV ? bytes_append(out, field, len)
                             : csv_quote(out, field, len)) != 0)
            return -1;
    }
    if (pos != end) {
        say("a record is no row of fields: the tree was not filled by quire "
            "load, or is damaged");
        return -1;
    }
    /* An empty line would be no record. */
    if (f == FORMAT_CSV && n <= 1 && ncolumns <= 1 && out->len == begin)
        return bytes_append_text(out, "\"\"");
    for (; n < ncolumns; n++) {
        if (n > 0 && bytes_append(out, &delimiter, 1) != 0)
            return -1;
    }
    return 0;
}

struct split {
    struct bytes *row;
    uint32_t nfields;
    uint32_t nrows; /* line ends that closed a record */
    bool late;      /* a field came behind the first record's end */
    bool failed;    /* no memory, said */
};

static void split_field(void *field, size_t len, void *arg)
{
    struct split *s = arg;

    if (s->failed)
        return;
    if (s->nrows > 0)
        s->late = true;
    else if (row_add(s->row, field, len) != 0)
        s->failed = true;
    else
        s->nfields++;
}

static void split_row(int c, void *arg)
{
    struct split *s = arg;

    (void)c;
    s->nrows++;
}

static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

void *csv_resize(void *ptr, size_t nbytes)
{
    return mem_resize(ptr, nbytes);
}

int csv_split(const char *text, size_t len, struct bytes *row,
              uint32_t *nfields)
{
    struct csv_parser p;
    struct split s = { .row = row };
    int rc;

    csv_init(&p, CSV_STRICT | CSV_STRICT_FINI); /* it can't fail */
    csv_set_realloc_func(&p, csv_resize);
    csv_set_space_func(&p, no_space); /* blanks are data */
    rc = csv_parse(&p, text, len, split_field, split_row, &s) == len ? 0 : 1;
    if (rc == 0 && csv_fini(&p, split_field, split_row, &s) != 0)
        rc = 1;
    if (csv_error(&p) == CSV_ENOMEM && !s.failed) {
        say("the system has no memory for a row of CSV");
        s.failed = true;
    }
    csv_free(&p);
    if (rc == 0 && s.nrows == 0) /* nothing at all is one empty field */
        split_field(NULL, 0, &s);
    *nfields = s.nfields;
    return s.failed ? -1 : rc == 0 && !s.late ? 0 : 1;
}
