/*
 * print.c - records on standard output, as they would be loaded again.
 */
#include <string.h>

#include "tools/record.h"

static int print_line(struct bytes *line)
{
    if (bytes_append(line, "\n", 1) != 0)
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
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        char text[8];

        switch (p[i]) {
        case '\\':
            strcpy(text, "\\\\");
            break;
        case '\t':
            strcpy(text, "\\t");
            break;
        case '\n':
            strcpy(text, "\\n");
            break;
        case '\r':
            strcpy(text, "\\r");
            break;
        default:
            if (p[i] < 0x20 || p[i] == 0x7f)
                snprintf(text, sizeof(text), "\\x%02x", p[i]);
            else
                snprintf(text, sizeof(text), "%c", p[i]);
            break;
        }
        if (bytes_append_text(out, text) != 0)
            return -1;
    }
    return 0;
}

int print_header(const struct schema *s, struct bytes *line)
{
    if (!format_has_rows(s->format) || !s->header)
        return 0;
    if (row_to_text(line, s->format, s->columns.data, s->columns.len, 0) != 0)
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
                 const struct quire_val *val, struct bytes *line)
{
    int rc = 0;

    switch (s->format) {
    case FORMAT_CSV:
    case FORMAT_TSV:
        rc = row_to_text(line, s->format, val->data, val->size,
                         s->header ? s->ncolumns : 0);
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
    return rc == 0 ? print_line(line) : -1;
}
