/*
 * output.c - records in the form that --format and --fields ask for.
 *
 *     record --cells--> one slice a field --form--> csv, tsv, ndjson, json, table
 *
 * A record in its tree's own form and whole goes straight to print_record();
 * everything else is first cut into cells. A table needs the widths of its
 * columns before its first line, so its first rows are held back, up to
 * TABLE_HELD bytes; what comes behind them uses the same widths, and a wider
 * cell pushes its line to the right.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

#define TABLE_HELD ((size_t)256 << 10) /* bytes of rows, to find widths */
#define FIELDS_MAX 100000u             /* columns; a guard for sizes */

struct field {
    const unsigned char *name; /* in the names' row */
    size_t name_len;           /* bytes */
    uint32_t column;           /* from 0; rows only */
    size_t width;              /* characters; tables only */
};

/* One field of the record in work. */
struct cell {
    const unsigned char *p; /* NULL: the record doesn't have it */
    size_t len;             /* bytes */
    bool json;              /* JSON text; else the field's own bytes */
};

struct printer {
    const struct schema *schema; /* the caller's */
    enum output form;
    bool whole;               /* the tree's own form, all fields */
    const struct bytes *meta; /* the tree's, for raw; NULL: none */
    bool begun;               /* something has been printed */
    bool header;              /* to be printed */
    struct bytes names;       /* the fields' names, as a row */
    struct field *field;      /* nfields of them */
    struct cell *cell;        /* as many */
    uint32_t nfields;
    uint64_t nprinted; /* records */
    bool flowing;      /* tables: the widths are found */
    struct bytes held; /* tables: rows of escaped cells, each behind the
                            8 bytes of its length */
    struct bytes row;  /* scratch */
    struct bytes line; /* scratch */
};

static const char *const output_names[] = {
    [OUTPUT_OWN] = "",      [OUTPUT_CSV] = "csv",
    [OUTPUT_TSV] = "tsv",   [OUTPUT_NDJSON] = "ndjson",
    [OUTPUT_JSON] = "json", [OUTPUT_TABLE] = "table",
    [OUTPUT_RAW] = "raw",
};

int output_find(const char *command, const char *name, enum output *form)
{
    *form = OUTPUT_OWN;
    if (name == NULL)
        return -1;
    for (size_t i = 1; i < ARRAY_LEN(output_names); i++) {
        if (i == OUTPUT_RAW && strcmp(command, "dump") != 0)
            break;
        if (strcmp(output_names[i], name) == 0) {
            *form = (enum output)i;
            return -1;
        }
    }
    return say_usage(
        command, "--format %s: it is csv, tsv, ndjson, json%s", name,
        strcmp(command, "dump") == 0 ? ", table or raw" : " or table");
}

/* ---- choosing the fields ---- */

static enum output own_form(enum format f)
{
    switch (f) {
    case FORMAT_CSV:
        return OUTPUT_CSV;
    case FORMAT_TSV:
        return OUTPUT_TSV;
    case FORMAT_NDJSON:
        return OUTPUT_NDJSON;
    default:
        return OUTPUT_OWN;
    }
}

/* Collect the names of all fields. */
static int all_names(struct printer *p)
{
    const struct schema *s = p->schema;
    char number[16];

    switch (s->format) {
    case FORMAT_CSV:
    case FORMAT_TSV:
        if (s->header)
            return bytes_append(&p->names, s->columns.data, s->columns.len);
        for (uint32_t c = 1; c <= s->ncolumns; c++) {
            snprintf(number, sizeof(number), "#%u", c);
            if (row_add(&p->names, number, strlen(number)) != 0)
                return -1;
        }
        return 0;
    case FORMAT_LINES:
        return row_add(&p->names, "line", 4);
    case FORMAT_NDJSON:
        say("records of JSON have no fixed columns: choose some with "
            "--fields, or print them as ndjson or json");
        return -1;
    default:
        return row_add(&p->names, "key", 3) == 0
                   ? row_add(&p->names, "value", 5)
                   : -1;
    }
}

static int resolve_field(const struct schema *s, struct field *f)
{
    struct key_field k = { .name_len = f->name_len };
    int rc;

    k.name = mem_alloc(f->name_len + 1);
    if (k.name == NULL) {
        say("the system has no memory for a name");
        return -1;
    }
    memcpy(k.name, f->name, f->name_len);
    k.name[f->name_len] = '\0';
    rc = schema_find_column(s, "--fields", &k);
    f->column = k.column;
    free(k.name);
    return rc;
}

static bool same_name(const struct field *a, const struct field *b)
{
    return a->name_len == b->name_len &&
           memcmp(a->name, b->name, a->name_len) == 0;
}

/* JSON objects need names that differ. */
static int check_names(const struct printer *p)
{
    /* Columns are compared pairwise only where there are few enough. */
    for (uint32_t i = 1; i < p->nfields && i < 4096; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (same_name(&p->field[i], &p->field[j])) {
                say("two columns are called \"%.*s\", which no JSON object "
                    "can have; print csv, or choose with --fields",
                    (int)p->field[i].name_len, (const char *)p->field[i].name);
                return -1;
            }
        }
    }
    return 0;
}

static int choose_fields(struct printer *p, const char *fields)
{
    const struct schema *s = p->schema;
    const unsigned char *pos;
    uint32_t n;
    int rc = fields == NULL ? all_names(p)
                            : csv_split(fields, strlen(fields), &p->names, &n);

    if (rc > 0)
        say("--fields %s: it is not one CSV row of names", fields);
    if (rc != 0)
        return -1;
    if (fields != NULL && !format_has_rows(s->format) &&
        s->format != FORMAT_NDJSON) {
        say("--fields %s: the records of this tree have no fields", fields);
        return -1;
    }
    n = row_count(p->names.data, p->names.len);
    if (n == 0 || n > FIELDS_MAX) {
        say("--fields: it is 1 to %u fields", FIELDS_MAX);
        return -1;
    }
    p->field = mem_zero(n, sizeof(*p->field));
    p->cell = mem_zero(n, sizeof(*p->cell));
    if (p->field == NULL || p->cell == NULL) {
        say("the system has no memory for %u fields", n);
        return -1;
    }
    p->nfields = n;
    pos = p->names.data;
    for (uint32_t i = 0; i < n; i++) {
        struct field *f = &p->field[i];

        row_next(&pos, p->names.data + p->names.len, &f->name, &f->name_len);
        f->column = i;
        if (fields != NULL && format_has_rows(s->format) &&
            resolve_field(s, f) != 0)
            return -1;
    }
    if (p->form == OUTPUT_NDJSON || p->form == OUTPUT_JSON)
        return check_names(p);
    return 0;
}

int printer_create(const struct schema *s, enum output form, const char *fields,
                   bool header, struct printer **out)
{
    struct printer *p = mem_zero(1, sizeof(*p));

    if (p == NULL) {
        say("the system has no memory for printing");
        return -1;
    }
    p->schema = s;
    p->form = form != OUTPUT_OWN ? form : own_form(s->format);
    p->header = header;
    /* JSON records are whole in an array too. */
    p->whole = fields == NULL &&
               (p->form == own_form(s->format) || p->form == OUTPUT_RAW ||
                (s->format == FORMAT_NDJSON && p->form == OUTPUT_JSON));
    if (!p->whole && choose_fields(p, fields) != 0) {
        printer_destroy(p);
        return -1;
    }
    *out = p;
    return 0;
}

void printer_destroy(struct printer *p)
{
    if (p == NULL)
        return;
    bytes_free(&p->names);
    bytes_free(&p->held);
    bytes_free(&p->row);
    bytes_free(&p->line);
    free(p->field);
    free(p->cell);
    free(p);
}

/* ---- cells ---- */

static int cut_row(struct printer *p, const struct quire_val *val)
{
    const unsigned char *pos = row_begin(val->data, val->size);
    const unsigned char *end = pos + val->size;
    uint32_t count = row_count(val->data, val->size);
    uint32_t i = 0;

    if (count == UINT32_MAX) {
        say("a record is no row of fields: the tree was not filled by quire "
            "load, or is damaged");
        return -1;
    }
    /* Columns in order take one pass together. */
    while (i < p->nfields && p->field[i].column == i &&
           row_next(&pos, end, &p->cell[i].p, &p->cell[i].len))
        i++;
    for (; i < p->nfields; i++) {
        struct cell *c = &p->cell[i];

        /* Empty fields at a row's end are not stored. */
        if (p->field[i].column >= count ||
            !row_field(val->data, val->size, p->field[i].column, &c->p,
                       &c->len)) {
            c->p = (const unsigned char *)"";
            c->len = 0;
        }
    }
    return 0;
}

static int cut_json(struct printer *p, const struct quire_val *val)
{
    for (uint32_t i = 0; i < p->nfields; i++) {
        struct cell *c = &p->cell[i];
        struct json_text value;
        int rc = json_find(val->data, val->size, (const char *)p->field[i].name,
                           p->field[i].name_len, &value);

        if (rc < 0)
            return -1;
        c->p = rc > 0 ? value.p : NULL;
        c->len = rc > 0 ? value.len : 0;
        c->json = true;
    }
    return 0;
}

static int cut_record(struct printer *p, const struct quire_val *key,
                      const struct quire_val *val)
{
    switch (p->schema->format) {
    case FORMAT_CSV:
    case FORMAT_TSV:
        return cut_row(p, val);
    case FORMAT_NDJSON:
        return cut_json(p, val);
    default:
        p->cell[0].p = key->data;
        p->cell[0].len = key->size;
        if (p->nfields > 1) {
            p->cell[1].p = val->data;
            p->cell[1].len = val->size;
        }
        return 0;
    }
}

/* The plain bytes of a cell, appended: a JSON string's characters, nothing for
 * null. */
static int cell_plain(struct bytes *out, const struct cell *c)
{
    struct json_text text = { c->p, c->len };

    if (c->p == NULL)
        return 0;
    if (!c->json)
        return bytes_append(out, c->p, c->len);
    if (c->len == 4 && memcmp(c->p, "null", 4) == 0)
        return 0;
    return json_decode(out, &text);
}

/* ---- forms ---- */

static int emit(struct bytes *line)
{
    if (fwrite(line->data, 1, line->len, stdout) != line->len) {
        say("standard output: %m");
        return -1;
    }
    bytes_reset(line, 1 << 20);
    return 0;
}

/* Cells to a line of CSV or TSV. */
static int print_columns(struct printer *p)
{
    struct bytes *line = &p->line;
    int rc = 0;

    for (uint32_t i = 0; i < p->nfields && rc == 0; i++) {
        if (i > 0)
            rc = bytes_append(line, p->form == OUTPUT_TSV ? "\t" : ",", 1);
        p->row.len = 0;
        if (rc == 0)
            rc = cell_plain(&p->row, &p->cell[i]);
        if (rc != 0)
            break;
        if (p->form == OUTPUT_CSV) {
            rc = csv_quote(line, p->row.data, p->row.len);
        } else if (p->row.len > 0 &&
                   (memchr(p->row.data, '\t', p->row.len) != NULL ||
                    memchr(p->row.data, '\n', p->row.len) != NULL ||
                    p->row.data[p->row.len - 1] == '\r')) {
            say("field \"%.*s\" of record %llu holds a tab or a line end, "
                "which tsv can't; use csv or ndjson",
                (int)p->field[i].name_len, (const char *)p->field[i].name,
                (unsigned long long)p->nprinted + 1);
            rc = -1;
        } else {
            rc = bytes_append(line, p->row.data, p->row.len);
        }
    }
    if (rc == 0 && p->form == OUTPUT_CSV && line->len == 0)
        rc = bytes_append_text(line, "\"\""); /* no empty line: no record */
    if (rc == 0 && !p->begun)
        rc = print_mark(line);
    p->begun = true;
    if (rc == 0)
        rc = bytes_append(line, "\n", 1);
    return rc == 0 ? emit(line) : -1;
}

static int append_quoted(struct printer *p, const void *data, size_t len)
{
    int rc = json_quote(&p->line, data, len);

    if (rc > 0)
        say("record %llu is not UTF-8, which JSON must be; use csv",
            (unsigned long long)p->nprinted + 1);
    return rc == 0 ? 0 : -1;
}

/* Cells to a JSON object; a field that isn't there is left out. */
static int print_object(struct printer *p)
{
    struct bytes *line = &p->line;
    bool first = true;

    if (bytes_append(line, "{", 1) != 0)
        return -1;
    for (uint32_t i = 0; i < p->nfields; i++) {
        const struct cell *c = &p->cell[i];

        if (c->p == NULL)
            continue;
        if ((!first && bytes_append(line, ",", 1) != 0) ||
            append_quoted(p, p->field[i].name, p->field[i].name_len) != 0 ||
            bytes_append(line, ":", 1) != 0 ||
            (c->json ? bytes_append(line, c->p, c->len)
                     : append_quoted(p, c->p, c->len)) != 0)
            return -1;
        first = false;
    }
    return bytes_append(line, "}", 1);
}

static size_t count_characters(const unsigned char *p, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += (p[i] & 0xc0) != 0x80;
    return n;
}

static int table_line(struct printer *p, const unsigned char *row, size_t len)
{
    const unsigned char *pos = row;
    const unsigned char *cell;
    size_t n;
    size_t blanks = 0;

    for (uint32_t i = 0; row_next(&pos, row + len, &cell, &n); i++) {
        size_t width = p->field[i].width;
        size_t have = count_characters(cell, n);

        for (; blanks > 0; blanks--) {
            if (bytes_append(&p->line, " ", 1) != 0)
                return -1;
        }
        if (bytes_append(&p->line, cell, n) != 0)
            return -1;
        blanks = 2 + (width > have ? width - have : 0);
    }
    if (bytes_append(&p->line, "\n", 1) != 0)
        return -1;
    return emit(&p->line);
}

/* Print the rows held back; from here on the widths stay. */
static int table_flow(struct printer *p)
{
    size_t pos = 0;

    p->flowing = true;
    while (pos < p->held.len) {
        uint64_t len;

        memcpy(&len, p->held.data + pos, sizeof(len));
        pos += sizeof(len);
        if (table_line(p, p->held.data + pos, (size_t)len) != 0)
            return -1;
        pos += (size_t)len;
    }
    bytes_free(&p->held);
    return 0;
}

static int table_row(struct printer *p)
{
    struct bytes cell = { 0 };
    struct bytes text = { 0 };
    uint64_t len;
    int rc = 0;

    p->row.len = 0;
    for (uint32_t i = 0; i < p->nfields && rc == 0; i++) {
        size_t width;

        cell.len = 0;
        text.len = 0;
        rc = cell_plain(&cell, &p->cell[i]);
        if (rc == 0)
            rc = print_escaped(&text, cell.data, cell.len);
        if (rc == 0)
            rc = row_add(&p->row, text.data, text.len);
        width = count_characters(text.data, text.len);
        if (!p->flowing && width > p->field[i].width)
            p->field[i].width = width;
    }
    bytes_free(&cell);
    bytes_free(&text);
    if (rc != 0)
        return -1;
    if (p->flowing)
        return table_line(p, p->row.data, p->row.len);
    len = p->row.len;
    if (bytes_append(&p->held, &len, sizeof(len)) != 0 ||
        bytes_append(&p->held, p->row.data, p->row.len) != 0)
        return -1;
    return p->held.len < TABLE_HELD ? 0 : table_flow(p);
}

void printer_meta(struct printer *p, const struct bytes *meta)
{
    p->meta = meta;
}

static int raw_begin(struct printer *p)
{
    if (bytes_append_text(&p->line, RAW_MAGIC "\n") != 0)
        return -1;
    if (p->meta != NULL &&
        (bytes_append_text(&p->line, "meta ") != 0 ||
         print_escaped(&p->line, p->meta->data, p->meta->len) != 0 ||
         bytes_append_text(&p->line, "\n") != 0))
        return -1;
    return emit(&p->line);
}

static int raw_record(struct printer *p, const struct quire_val *key,
                      const struct quire_val *val)
{
    if (print_escaped(&p->line, key->data, key->size) != 0 ||
        bytes_append(&p->line, "\t", 1) != 0 ||
        print_escaped(&p->line, val->data, val->size) != 0 ||
        bytes_append(&p->line, "\n", 1) != 0)
        return -1;
    return emit(&p->line);
}

static int raw_end(struct printer *p)
{
    char text[32];

    snprintf(text, sizeof(text), "end %llu\n", (unsigned long long)p->nprinted);
    return bytes_append_text(&p->line, text) == 0 ? emit(&p->line) : -1;
}

int printer_begin(struct printer *p)
{
    if (p->form == OUTPUT_RAW)
        return raw_begin(p);
    if (p->form == OUTPUT_JSON)
        return bytes_append(&p->line, "[", 1) == 0 ? emit(&p->line) : -1;
    if (p->form == OUTPUT_NDJSON || !p->header)
        return 0;
    p->begun = p->whole && p->schema->header;
    if (p->whole)
        return print_header(p->schema, &p->line);
    if (format_has_rows(p->schema->format) && !p->schema->header &&
        p->form != OUTPUT_TABLE)
        return 0;
    for (uint32_t i = 0; i < p->nfields; i++) {
        p->cell[i].p = p->field[i].name;
        p->cell[i].len = p->field[i].name_len;
        p->cell[i].json = false;
    }
    return p->form == OUTPUT_TABLE ? table_row(p) : print_columns(p);
}

int printer_record(struct printer *p, const struct quire_val *key,
                   const struct quire_val *val)
{
    int rc = 0;

    if (p->whole && p->form != OUTPUT_JSON) {
        bool first = !p->begun;

        p->begun = true;
        p->nprinted++;
        return p->form == OUTPUT_RAW
                   ? raw_record(p, key, val)
                   : print_record(p->schema, key, val, first, &p->line);
    }
    if (!p->whole && cut_record(p, key, val) != 0)
        return -1;
    switch (p->form) {
    case OUTPUT_CSV:
    case OUTPUT_TSV:
        rc = print_columns(p);
        break;
    case OUTPUT_TABLE:
        rc = table_row(p);
        break;
    case OUTPUT_JSON:
        rc = bytes_append_text(&p->line, p->nprinted > 0 ? ",\n" : "\n");
        if (rc == 0)
            rc = p->whole ? bytes_append(&p->line, val->data, val->size)
                          : print_object(p);
        if (rc == 0)
            rc = emit(&p->line);
        break;
    default:
        rc = print_object(p);
        if (rc == 0)
            rc = bytes_append(&p->line, "\n", 1);
        if (rc == 0)
            rc = emit(&p->line);
        break;
    }
    p->nprinted++;
    return rc;
}

int printer_end(struct printer *p)
{
    if (p->form == OUTPUT_TABLE && !p->flowing)
        return table_flow(p);
    if (p->form == OUTPUT_RAW)
        return raw_end(p);
    if (p->form != OUTPUT_JSON)
        return 0;
    return bytes_append_text(&p->line, "\n]\n") == 0 ? emit(&p->line) : -1;
}
