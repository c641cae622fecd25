/*
 * schema.c - what a tree's records are: their format, key and columns.
 *
 * It is kept as the tree's metadata, so that a store explains itself, at each
 * of its revisions. The text is made of lines; names come as
 * netstrings, LENGTH:BYTES, since a column's name may hold any byte:
 *
 *     quire records 1
 *     format csv
 *     key int 1 2:ID            type, column (0: a member), name
 *     columns 2
 *     column 2:ID               as many as columns, or none
 *     column 4:Date
 */
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

#define MAGIC "quire records "
#define MAGIC_LEN (sizeof(MAGIC) - 1)

void schema_init(struct schema *s, enum format f)
{
    memset(s, 0, sizeof(*s));
    s->format = f;
}

void schema_free(struct schema *s)
{
    for (unsigned i = 0; i < s->nkey; i++)
        free(s->key[i].name);
    bytes_free(&s->columns);
    schema_init(s, FORMAT_RAW);
}

static int add_key(struct schema *s, const void *name, size_t len, bool is_int,
                   uint32_t column)
{
    struct key_field *k = &s->key[s->nkey];

    k->name = mem_alloc(len + 1);
    if (k->name == NULL) {
        say("the system has no memory for the key's names");
        return -1;
    }
    memcpy(k->name, name, len);
    k->name[len] = '\0';
    k->name_len = len;
    k->is_int = is_int;
    k->column = column;
    s->nkey++;
    return 0;
}

int schema_copy(struct schema *to, const struct schema *from)
{
    schema_init(to, from->format);
    to->foreign = from->foreign;
    to->key_auto = from->key_auto;
    to->header = from->header;
    to->ncolumns = from->ncolumns;
    if (bytes_append(&to->columns, from->columns.data, from->columns.len) != 0)
        goto failed;
    for (unsigned i = 0; i < from->nkey; i++) {
        const struct key_field *k = &from->key[i];

        if (add_key(to, k->name, k->name_len, k->is_int, k->column) != 0)
            goto failed;
    }
    return 0;

failed:
    schema_free(to);
    return -1;
}

static bool take_suffix(const unsigned char *name, size_t *len,
                        const char *suffix)
{
    size_t n = strlen(suffix);

    if (*len <= n || memcmp(name + *len - n, suffix, n) != 0)
        return false;
    *len -= n;
    return true;
}

int schema_parse_key(struct schema *s, const char *text)
{
    struct bytes row = { 0 };
    const unsigned char *pos;
    const unsigned char *name;
    const char *wrong = NULL;
    size_t len;
    uint32_t n;
    int rc = csv_split(text, strlen(text), &row, &n);

    if (rc > 0)
        wrong = "its quoting is broken";
    if (rc != 0)
        goto out;
    pos = row.data;
    while (wrong == NULL && rc == 0 &&
           row_next(&pos, row.data + row.len, &name, &len)) {
        bool is_int = take_suffix(name, &len, ":int");

        if (!is_int)
            take_suffix(name, &len, ":text");
        if (len == 0)
            wrong = "a field has no name";
        else if (s->nkey == KEY_FIELDS_MAX)
            wrong = "a key has at most 16 fields";
        else
            rc = add_key(s, name, len, is_int, 0);
    }

out:
    bytes_free(&row);
    if (wrong != NULL)
        say("--key %s: %s", text, wrong);
    return wrong == NULL ? rc : -1;
}

/* Say that no column is called `name`, and what they are called. */
static void say_no_column(const struct schema *s, const char *where,
                          const char *name)
{
    struct bytes list = { 0 };

    if (!s->header)
        say("%s: without a header line a column is given by number: "
            "'#1'",
            where);
    else if (row_to_text(&list, FORMAT_CSV, s->columns.data, s->columns.len,
                         0) == 0)
        say("%s: no column is called \"%s\"; its columns are: %.*s%s", where,
            name, (int)(list.len < 1000 ? list.len : 1000),
            (const char *)list.data, list.len < 1000 ? "" : " ...");
    bytes_free(&list);
}

int schema_find_column(const struct schema *s, const char *where,
                       struct key_field *k)
{
    const unsigned char *pos = s->columns.data;
    const unsigned char *name;
    size_t len;
    unsigned found = 0;

    if (k->name[0] == '#' &&
        strspn(k->name + 1, "0123456789") == k->name_len - 1 &&
        k->name_len > 1 && k->name_len < 9) {
        unsigned long number = strtoul(k->name + 1, NULL, 10);

        if (number == 0 || (s->ncolumns != 0 && number > s->ncolumns)) {
            say("%s: field %s: the columns are #1 to #%u", where, k->name,
                s->ncolumns);
            return -1;
        }
        k->column = (uint32_t)number - 1;
        return 0;
    }
    for (uint32_t c = 0;
         s->header &&
         row_next(&pos, s->columns.data + s->columns.len, &name, &len);
         c++) {
        if (len == k->name_len && memcmp(name, k->name, len) == 0) {
            k->column = c;
            found++;
        }
    }
    if (found == 0)
        say_no_column(s, where, k->name);
    else if (found > 1)
        say("%s: %u columns are called \"%s\"; give it by number: "
            "'#N'",
            where, found, k->name);
    return found == 1 ? 0 : -1;
}

int schema_resolve(struct schema *s, const char *where)
{
    if (!format_has_rows(s->format))
        return 0;
    for (unsigned i = 0; i < s->nkey; i++) {
        if (schema_find_column(s, where, &s->key[i]) != 0)
            return -1;
    }
    return 0;
}

bool schema_same_key(const struct schema *a, const struct schema *b)
{
    if (a->format != b->format || a->key_auto != b->key_auto ||
        a->nkey != b->nkey)
        return false;
    for (unsigned i = 0; i < a->nkey; i++) {
        const struct key_field *x = &a->key[i];
        const struct key_field *y = &b->key[i];

        if (x->is_int != y->is_int)
            return false;
        if (format_has_rows(a->format)) {
            if (x->column != y->column)
                return false;
        } else if (x->name_len != y->name_len ||
                   memcmp(x->name, y->name, x->name_len) != 0) {
            return false;
        }
    }
    return true;
}

bool schema_same_kind(const struct schema *a, const struct schema *b)
{
    if (a->format != b->format || a->key_auto != b->key_auto ||
        a->nkey != b->nkey)
        return false;
    for (unsigned i = 0; i < a->nkey; i++) {
        if (a->key[i].is_int != b->key[i].is_int)
            return false;
    }
    return true;
}

int schema_key_text(const struct schema *s, struct bytes *out)
{
    if (s->key_auto)
        return bytes_append_text(out, "auto");
    if (s->nkey == 0)
        return bytes_append_text(out,
                                 s->format == FORMAT_LINES ? "line" : "bytes");
    for (unsigned i = 0; i < s->nkey; i++) {
        const struct key_field *k = &s->key[i];

        if (i > 0 && bytes_append(out, ",", 1) != 0)
            return -1;
        if (csv_quote(out, k->name, k->name_len) != 0)
            return -1;
        if (k->is_int && bytes_append_text(out, ":int") != 0)
            return -1;
    }
    return 0;
}

/* ---- as metadata ---- */

static int add_line(struct bytes *meta, const char *head, const void *name,
                    size_t len)
{
    char text[64];

    snprintf(text, sizeof(text), "%s %zu:", head, len);
    if (bytes_append_text(meta, text) != 0 ||
        bytes_append(meta, name, len) != 0)
        return -1;
    return bytes_append(meta, "\n", 1);
}

int schema_encode(const struct schema *s, struct bytes *meta)
{
    char text[64];
    int rc;

    snprintf(text, sizeof(text), MAGIC "1\nformat %s\n",
             format_name(s->format));
    rc = bytes_append_text(meta, text);
    if (rc == 0 && s->key_auto)
        rc = bytes_append_text(meta, "key auto\n");
    for (unsigned i = 0; i < s->nkey && rc == 0; i++) {
        const struct key_field *k = &s->key[i];

        snprintf(text, sizeof(text), "key %s %u", k->is_int ? "int" : "text",
                 format_has_rows(s->format) ? k->column + 1 : 0);
        rc = add_line(meta, text, k->name, k->name_len);
    }
    if (rc == 0 && s->ncolumns > 0) {
        snprintf(text, sizeof(text), "columns %u\n", s->ncolumns);
        rc = bytes_append_text(meta, text);
    }
    if (rc == 0 && s->header) {
        const unsigned char *pos = s->columns.data;
        const unsigned char *name;
        size_t len;

        while (rc == 0 &&
               row_next(&pos, s->columns.data + s->columns.len, &name, &len))
            rc = add_line(meta, "column", name, len);
    }
    return rc;
}

/* A position in metadata being decoded. */
struct scan {
    const char *pos;
    const char *end;
    bool nomem; /* said */
};

/* Step over `word` if it comes next. */
static bool scan_word(struct scan *in, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(in->end - in->pos) < len || memcmp(in->pos, word, len) != 0)
        return false;
    in->pos += len;
    return true;
}

static bool scan_number(struct scan *in, uint32_t *number)
{
    uint64_t n = 0;
    const char *begin = in->pos;

    while (in->pos < in->end && *in->pos >= '0' && *in->pos <= '9' &&
           n < UINT32_MAX)
        n = n * 10 + (uint64_t)(*in->pos++ - '0');
    *number = (uint32_t)n;
    return in->pos > begin && n < UINT32_MAX;
}

/* A netstring and the line's end. */
static bool scan_name(struct scan *in, const char **name, size_t *len)
{
    uint32_t n;

    if (!scan_number(in, &n) || !scan_word(in, ":") ||
        (size_t)(in->end - in->pos) < (size_t)n + 1)
        return false;
    *name = in->pos;
    *len = n;
    in->pos += n;
    return scan_word(in, "\n");
}

static bool scan_format(struct scan *in, struct schema *s)
{
    const char *eol = memchr(in->pos, '\n', (size_t)(in->end - in->pos));

    if (eol == NULL)
        return false;
    s->format = format_find(in->pos, (size_t)(eol - in->pos));
    in->pos = eol + 1;
    if (s->format != FORMAT_COUNT && s->format != FORMAT_JSON &&
        s->format != FORMAT_DUMP)
        return true;
    s->format = FORMAT_RAW;
    return false;
}

static bool scan_key(struct scan *in, struct schema *s)
{
    const char *name;
    size_t len;
    uint32_t column;
    bool is_int;

    if (scan_word(in, "auto\n")) {
        s->key_auto = true;
        return s->nkey == 0;
    }
    is_int = scan_word(in, "int ");
    if (!is_int && !scan_word(in, "text "))
        return false;
    if (!scan_number(in, &column) || !scan_word(in, " ") ||
        !scan_name(in, &name, &len) || s->nkey == KEY_FIELDS_MAX ||
        format_has_rows(s->format) != (column > 0))
        return false;
    in->nomem = add_key(s, name, len, is_int, column > 0 ? column - 1 : 0) != 0;
    return !in->nomem;
}

/* What was read hangs together. */
static bool schema_is_whole(const struct schema *s)
{
    if (s->header && row_count(s->columns.data, s->columns.len) != s->ncolumns)
        return false;
    for (unsigned i = 0; i < s->nkey; i++) {
        if (format_has_rows(s->format) && s->key[i].column >= s->ncolumns)
            return false;
    }
    return s->format == FORMAT_LINES ? s->nkey == 0 && !s->key_auto
                                     : (s->nkey > 0) != s->key_auto;
}

int schema_decode(struct schema *s, const void *meta, size_t len)
{
    struct scan in = { meta, (const char *)meta + len, false };
    bool good;

    schema_init(s, FORMAT_RAW);
    if (!scan_word(&in, MAGIC))
        return 1;
    good = scan_word(&in, "1\nformat ") && scan_format(&in, s);
    while (good && in.pos < in.end) {
        const char *name;
        size_t name_len;

        if (scan_word(&in, "key ")) {
            good = scan_key(&in, s);
        } else if (scan_word(&in, "columns ")) {
            good = scan_number(&in, &s->ncolumns) && scan_word(&in, "\n");
        } else if (scan_word(&in, "column ")) {
            s->header = true;
            good = scan_name(&in, &name, &name_len);
            in.nomem = good && row_add(&s->columns, name, name_len) != 0;
            good = good && !in.nomem;
        } else {
            good = false;
        }
    }
    if (good && schema_is_whole(s))
        return 0;
    schema_free(s);
    return in.nomem ? -1 : 2;
}

int schema_load(const char *path, struct quire_txn *txn,
                struct quire_tree *tree, struct schema *s)
{
    struct bytes meta = { 0 };
    size_t size = 0;
    quire_status rc;
    int result = -1;

    schema_init(s, FORMAT_RAW);
    rc = quire_tree_get_meta(txn, tree, NULL, 0, &size);
    if (rc == QUIRE_OK && bytes_reserve(&meta, size + 1) != 0)
        goto out;
    if (rc == QUIRE_OK)
        rc = quire_tree_get_meta(txn, tree, meta.data, size, &size);
    if (rc == QUIRE_NOTFOUND) {
        result = 0;
        goto out;
    }
    if (rc != QUIRE_OK) {
        say_store(path, "the tree's metadata", rc);
        goto out;
    }
    result = schema_decode(s, meta.data, size);
    if (result > 1) {
        result = -1;
        say("%s: the tree's description is damaged or of a newer quire; use "
            "that one",
            path);
    } else if (result > 0) {
        s->foreign = true;
        result = 0;
    }

out:
    bytes_free(&meta);
    return result;
}
