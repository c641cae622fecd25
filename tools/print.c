/*
 * print.c - records on standard output, as they would be loaded again.
 */
#include <string.h>

#include "tools/record.h"

int print_mark(struct bytes *line)
{
    static const unsigned char mark[3] = { 0xef, 0xbb, 0xbf };

    if (line->len < sizeof(mark) || memcmp(line->data, mark, sizeof(mark)) != 0)
        return 0;
    if (bytes_reserve(line, sizeof(mark)) != 0)
        return -1;
    memmove(line->data + sizeof(mark), line->data, line->len);
    memcpy(line->data, mark, sizeof(mark));
    line->len += sizeof(mark);
    return 0;
}

/* A line that ends with a carriage return gets another one, which its reader
 * takes for part of the line end. */
static int print_line(struct bytes *line)
{
    bool cr = line->len > 0 && line->data[line->len - 1] == '\r';

    if (bytes_append_text(line, cr ? "\r\n" : "\n") != 0)
        return -1;
    if (fwrite(line->data, 1, line->len, stdout) != line->len) {
        say("standard output: %m");
        return -1;
    }
    bytes_reset(line, 1 << 20);
    return 0;
}

int print_escaped(struct bytes *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;
    unsigned char *to;

    if (len == 0)
        return 0; /* `out` may have no memory yet */
    if (len > SIZE_MAX / 4 || bytes_reserve(out, 4 * len) != 0)
        return -1;
    to = out->data + out->len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = p[i];

        if (c >= 0x20 && c != 0x7f && c != '\\') {
            *to++ = c;
            continue;
        }
        *to++ = '\\';
        switch (c) {
        case '\\':
            *to++ = '\\';
            break;
        case '\t':
            *to++ = 't';
            break;
        case '\n':
            *to++ = 'n';
            break;
        case '\r':
            *to++ = 'r';
            break;
        default:
            *to++ = 'x';
            *to++ = (unsigned char)digits[c >> 4];
            *to++ = (unsigned char)digits[c & 15];
            break;
        }
    }
    out->len = (size_t)(to - out->data);
    return 0;
}

int print_header(const struct schema *s, struct bytes *line)
{
    if (!format_has_rows(s->format) || !s->header)
        return 0;
    if (row_to_text(line, s->format, s->columns.data, s->columns.len, 0) != 0 ||
        print_mark(line) != 0)
        return -1;
    return print_line(line);
}

int print_key(const struct schema *s, const struct quire_val *key,
              struct bytes *line)
{
    if (key_to_text(s, key->data, key->size, line) != 0)
        return -1;
    return print_line(line);
}

int print_record(const struct schema *s, const struct quire_val *key,
                 const struct quire_val *val, bool first, struct bytes *line)
{
    int rc = 0;

    switch (s->format) {
    case FORMAT_CSV:
    case FORMAT_TSV:
        rc = row_to_text(line, s->format, val->data, val->size, s->ncolumns);
        if (rc == 0 && line->len == 0 && first && !s->header) {
            say("the first record is an empty line, which a reader of tsv "
                "passes over; use csv");
            rc = -1;
        }
        break;
    case FORMAT_NDJSON:
        rc = bytes_append(line, val->data, val->size);
        break;
    case FORMAT_LINES:
        rc = bytes_append(line, key->data, key->size);
        break;
    default:
        rc = print_escaped(line, key->data, key->size);
        if (rc == 0)
            rc = bytes_append(line, "\t", 1);
        if (rc == 0)
            rc = print_escaped(line, val->data, val->size);
        break;
    }
    if (rc == 0 && first)
        rc = print_mark(line);
    return rc == 0 ? print_line(line) : -1;
}
