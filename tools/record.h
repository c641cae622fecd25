/*
 * record.h - records: how they are read, keyed, stored and printed.
 *
 * A *row* is how a record of fields (CSV, TSV) is kept: for each field its
 * length as a varint (seven bits a byte, the lowest first, the top bit set on
 * all but the last), then its bytes. A *schema* says what a tree's records
 * are, and is the tree's metadata. Both are described byte by byte in README.md.
 */
#ifndef QUIRE_TOOLS_RECORD_H
#define QUIRE_TOOLS_RECORD_H

#include "tools/input.h"
#include "tools/tool.h"

/* What a tree's records are. */
enum format {
    FORMAT_RAW,    /* no schema: keys and values are any bytes */
    FORMAT_CSV,    /* rows */
    FORMAT_TSV,    /* rows */
    FORMAT_NDJSON, /* the value is one JSON object's text */
    FORMAT_LINES,  /* the key is the line, the value empty */
    FORMAT_JSON,   /* of an input only: a document; a tree keeps its records as
                      NDJSON */
    FORMAT_DUMP,   /* of an input only, called raw: keys and values as they are,
                      and the tree's metadata */
    FORMAT_COUNT,
};

const char *format_name(enum format f);
/* The format called `name`; FORMAT_COUNT: none is, or only raw. */
enum format format_find(const char *name, size_t len);
/* The format that an input's name tells; FORMAT_COUNT: it tells none. */
enum format format_of_input(const char *name);
static inline bool format_has_rows(enum format f)
{
    return f == FORMAT_CSV || f == FORMAT_TSV;
}

/* ---- why a record is rejected (record.c) ---- */

enum reason {
    REASON_NONE,
    REASON_KEY_MISSING,
    REASON_KEY_EMPTY,
    REASON_KEY_TYPE,     /* null, an object, twice there */
    REASON_NOT_A_NUMBER, /* for :int */
    REASON_KEY_TOO_LONG,
    REASON_COLUMNS,
    REASON_QUOTING,
    REASON_UNTERMINATED, /* a quote, up to the end of the input */
    REASON_JSON,
    REASON_TOO_LONG, /* --max-record */
    REASON_RAW,      /* no line of a raw dump */
    REASON_COUNT,
};

const char *reason_name(enum reason r);

struct reject {
    enum reason reason;
    char text[200]; /* the reason with its particulars */
};

/* Fill `why`; returns -1, so that a check reads `return reject(...)`. */
int reject(struct reject *why, enum reason r, const char *fmt, ...)
    TOOL_PRINTF(3, 4);
#define reject(...) SAID(reject(__VA_ARGS__))

/* ---- rows (row.c) ---- */

#define VARINT_MAX 10 /* bytes of the longest varint */

size_t varint_put(unsigned char *to, uint64_t n);

int row_add(struct bytes *row, const void *field, size_t len);

/* Where a row begins; a row of nothing may come without an address. */
static inline const unsigned char *row_begin(const void *row, size_t row_len)
{
    return row_len > 0 ? row : (const unsigned char *)"";
}

/* Take the field at *pos and step over it; false at `end` or on damage. */
static inline bool row_next(const unsigned char **pos, const unsigned char *end,
                            const unsigned char **field, size_t *len)
{
    const unsigned char *p = *pos;
    uint64_t n = 0;
    unsigned shift = 0;

    do {
        if (p == end || shift > 63)
            return false;
        n |= (uint64_t)(*p & 0x7f) << shift;
        shift += 7;
    } while ((*p++ & 0x80) != 0);
    if (n > (uint64_t)(end - p))
        return false;
    *field = p;
    *len = (size_t)n;
    *pos = p + n;
    return true;
}

/* Field number `column` (from 0); false when the row has fewer. */
bool row_field(const void *row, size_t row_len, uint32_t column,
               const unsigned char **field, size_t *len);
/* The number of fields; UINT32_MAX: the row is damaged. */
uint32_t row_count(const void *row, size_t row_len);

/* The length of a row as it is stored: without the empty fields at its end. */
size_t row_trim(const void *row, size_t row_len);

/* Append `row` to `out` as text, with `ncolumns` fields at least; no line end.
 * -1: no memory, or a damaged row (said). */
int row_to_text(struct bytes *out, enum format f, const void *row,
                size_t row_len, uint32_t ncolumns);
/* Append one field quoted as CSV wants it. */
int csv_quote(struct bytes *out, const void *field, size_t len);

/* What libcsv allocates with. */
void *csv_resize(void *ptr, size_t nbytes);
/* Split one CSV record in `text` and append its row. 1: it is none; -1: no
 * memory, said. */
int csv_split(const char *text, size_t len, struct bytes *row,
              uint32_t *nfields);

/* ---- schemas (schema.c) ---- */

#define KEY_FIELDS_MAX 16u
#define KEY_MAX_BYTES QUIRE_KEY_MAX(QUIRE_PAGE_MAX) /* of any store */

struct key_field {
    bool is_int;     /* sorts as a signed 64-bit number */
    uint32_t column; /* from 0; rows only, once resolved */
    char *name;      /* malloc; as given, or the member's name */
    size_t name_len; /* bytes */
};

struct schema {
    enum format format;
    bool foreign;         /* raw, with metadata of another program's */
    bool key_auto;        /* the key counts on */
    bool header;          /* the columns have names */
    uint32_t ncolumns;    /* rows only; 0: not known yet */
    struct bytes columns; /* the header as a row, when `header` */
    unsigned nkey;        /* key fields, 0 for lines, raw and key_auto */
    struct key_field key[KEY_FIELDS_MAX];
};

void schema_init(struct schema *s, enum format f);
void schema_free(struct schema *s);
int schema_copy(struct schema *to, const struct schema *from);

/* Read --key's value into `s`. -1, said. */
int schema_parse_key(struct schema *s, const char *text);
/* Find the key's columns by name or number among `s`'s. -1, said; `where` names
 * the input. */
int schema_resolve(struct schema *s, const char *where);
/* Find the column of one field, by its name or #N. -1, said; as above. */
int schema_find_column(const struct schema *s, const char *where,
                       struct key_field *k);
/* Whether two resolved schemas make the same keys and values. */
bool schema_same_key(const struct schema *a, const struct schema *b);
/* Whether their records are of one format, and their keys of the same types,
 * wherever in the record they lie. */
bool schema_same_kind(const struct schema *a, const struct schema *b);
/* The key specification as --key takes it; "auto", "line" or "bytes". */
int schema_key_text(const struct schema *s, struct bytes *out);

int schema_encode(const struct schema *s, struct bytes *meta);
/* 0; 1: `meta` is another program's; 2: a schema, but damaged or of a newer
 * version; -1: no memory, said. `s` is then empty. */
int schema_decode(struct schema *s, const void *meta, size_t len);

/* The schema of a tree as `txn` sees it; FORMAT_RAW when it has none, or
 * another program's metadata. -1, said. */
int schema_load(const char *path, struct quire_txn *txn,
                struct quire_tree *tree, struct schema *s);

/* ---- keys (key.c) ---- */

/* Makes keys from records; holds what that takes. */
struct keyer;

int keyer_create(const struct schema *s, struct keyer **k);
void keyer_destroy(struct keyer *k);
/*
 * The key of a record, appended to the emptied `key`; `s` as at creation. The
 * record is checked too, as far as its format asks for it (JSON).
 * 0; -1 and *why; -2 no memory, said.
 */
int keyer_make(struct keyer *k, const void *record, size_t len,
               struct bytes *key, struct reject *why);

/* The key that `text` on the command line gives: one CSV row of key fields;
 * the line itself; the bytes themselves. With `part`, fewer fields may be
 * given, for the place where such keys begin. -1, said. */
int key_from_text(const struct schema *s, const char *text, bool part,
                  struct bytes *key);
/* The bounds of the keys whose first field begins with `prefix`: from `low` up
 * to, not including, `high`; *open: there is no upper bound. -1, said. */
int key_prefix(const struct schema *s, const char *prefix, struct bytes *low,
               struct bytes *high, bool *open);
/* Append `key` to `out` as text, as key_from_text() takes it. */
int key_to_text(const struct schema *s, const void *key, size_t len,
                struct bytes *out);
void key_put_int(unsigned char to[8], int64_t n);
int64_t key_get_int(const unsigned char from[8]);

/* ---- reading records (reader.c, read_csv.c, read_json.c) ---- */

enum read_result {
    READ_RECORD,
    READ_REJECT, /* `why` says why; go on reading */
    READ_END,
    READ_FAILED,  /* said */
    READ_STOPPED, /* by a signal */
};

struct record {
    const unsigned char *data; /* the row; else the line. Valid until the next
                                  call */
    size_t len;                /* bytes */
    uint32_t nfields;          /* of a row; 0: an empty line */
    uint64_t line;             /* where it began, from 1 */
    struct quire_val key;      /* of a raw dump only */
    struct reject why;         /* of READ_REJECT; data is then the record's
                                  text, up to REJECT_TEXT_MAX bytes of it */
};

#define REJECT_TEXT_MAX ((size_t)1 << 20) /* bytes kept of a broken record */

struct reader;

/* Read records of format `f` from `in`, none longer than `max_record` bytes;
 * `pointer`, of JSON documents, says where they are, or is NULL. */
int reader_open(enum format f, const char *pointer, struct input *in,
                uint64_t max_record, struct reader **rd);
enum read_result reader_next(struct reader *rd, struct record *rec);
void reader_close(struct reader *rd); /* leaves `in` open; NULL accepted */
uint64_t reader_bytes(const struct reader *rd); /* plain bytes read so far */

/* What a kind of reader supplies; `struct reader` is its first member. */
struct reader_ops {
    enum read_result (*next)(struct reader *rd, struct record *rec);
    void (*close)(struct reader *rd);
};

struct reader {
    const struct reader_ops *ops; /* immutable */
    struct input *in;             /* the caller's */
    uint64_t max_record;          /* bytes */
    uint64_t nread;               /* plain bytes taken from `in` */
};

/* Read from rd->in, leaving out a byte order mark at its very beginning. As
 * input_read(). */
ssize_t reader_fill(struct reader *rd, void *buf, size_t cap);
int csv_reader_create(struct reader **rd);
int json_reader_create(const char *pointer, struct reader **rd);

#define RAW_MAGIC "quire raw 1" /* the first line of a raw dump */

int raw_reader_create(struct reader **rd);
/* Read up to the records: the metadata of the tree that was dumped, if it had
 * any. READ_RECORD: go on with reader_next(); READ_FAILED or READ_STOPPED. */
enum read_result raw_reader_begin(struct reader *rd, struct bytes *meta,
                                  bool *has_meta);

/* ---- records with their keys, read ahead (feed.c) ---- */

enum feed_mode {
    FEED_AUTO,     /* a thread reads ahead in inputs that are worth it */
    FEED_BY_TURNS, /* reading and inserting take turns */
    FEED_AT_ONCE,  /* a thread reads ahead from the first record on */
};

/* What comes next; it is valid until the next call. */
struct feed_item {
    enum read_result result;
    bool row;                  /* data are a row, else text */
    const unsigned char *data; /* the record; of READ_REJECT at most
                                  REJECT_TEXT_MAX bytes, unless it is a row */
    size_t len;                /* bytes */
    uint64_t line;             /* where it began, from 1 */
    struct quire_val key;      /* of READ_RECORD; empty with automatic keys */
    const struct reject *why;  /* of READ_REJECT */
};

struct feed;

/*
 * Feed the records of `rd`, which reads `in`, with their keys by `keyer`, none
 * longer than `key_max` bytes; `s` is complete. Until feed_close() all of these
 * belong to the feed, which may use them in a thread of its own.
 */
int feed_open(struct reader *rd, struct input *in, const struct schema *s,
              struct keyer *keyer, size_t key_max, enum feed_mode mode,
              struct feed **f);
void feed_close(struct feed *f); /* NULL accepted */
void feed_next(struct feed *f, struct feed_item *item);
/* The item of a record that was read before feed_open(); call it before
 * feed_next(). False: it is an empty line, no record. */
bool feed_make(struct feed *f, const struct record *rec,
               struct feed_item *item);
/* As reader_bytes() and input_taken(), as far as items have been given. */
uint64_t feed_bytes(const struct feed *f);
uint64_t feed_taken(const struct feed *f);

/* ---- printing records (print.c) ---- */

/* Print the header line of `s`, if it has one. */
int print_header(const struct schema *s, struct bytes *line);
/* `first`: nothing has been printed yet. */
int print_record(const struct schema *s, const struct quire_val *key,
                 const struct quire_val *val, bool first, struct bytes *line);
/* Make `line`, the first one that is printed, one that a reader takes as it is,
 * though it begin like a byte order mark. */
int print_mark(struct bytes *line);
int print_key(const struct schema *s, const struct quire_val *key,
              struct bytes *line);
/* Append bytes of any kind so that they stay on one line and in one column:
 * backslash, tab, line end and other control bytes are escaped. */
int print_escaped(struct bytes *out, const void *data, size_t len);

/* ---- looking into JSON (json.c) ---- */

/* A piece of JSON text. */
struct json_text {
    const unsigned char *p;
    size_t len; /* bytes */
};

/* A walk over the members of an object or the elements of an array. */
struct json_walk {
    const unsigned char *pos;
    const unsigned char *end;
    bool object;
};

/* Begin a walk over `text`; false: it is neither an object nor an array. */
bool json_open(struct json_walk *w, const void *text, size_t len);
/* The next value, and in an object its name with the quotes; false at the
 * end. */
bool json_next(struct json_walk *w, struct json_text *name,
               struct json_text *value);
/* Find a value by the name of a member of the outermost object, or, when that
 * begins with a slash, by a JSON pointer (RFC 6901).
 * 1: *value; 2: a name on the way is there more than once; 0: there is none;
 * -1: no memory, said. */
int json_find(const void *text, size_t len, const char *pointer,
              size_t pointer_len, struct json_text *value);
/* Append a value's plain text: a string's characters, else the text itself. */
int json_decode(struct bytes *out, const struct json_text *value);
/* Append `data` as a JSON string. 1: it is not UTF-8; -1: no memory, said. */
int json_quote(struct bytes *out, const void *data, size_t len);
/* Leave out the blanks before and behind a JSON text; its length. */
size_t json_trim(const unsigned char **text, size_t len);
/* Append `text` without the blanks and line ends between its tokens. */
int json_compact(struct bytes *out, const void *text, size_t len);

/* ---- records in a form of choice (output.c) ---- */

enum output {
    OUTPUT_OWN, /* as the tree is */
    OUTPUT_CSV,
    OUTPUT_TSV,
    OUTPUT_NDJSON,
    OUTPUT_JSON, /* one array */
    OUTPUT_TABLE,
    OUTPUT_RAW, /* keys and values as they are; for dump */
};

struct printer;

/* The form that --format names; NULL is OUTPUT_OWN. -1, or EXIT_USAGE. */
int output_find(const char *command, const char *name, enum output *form);
/*
 * A printer of records of `s`: those of `fields`, one CSV row of names, or all
 * (NULL); with a header line, where the form has one, if `header`. Then
 * begin, any number of records, end; each -1 when it has said why it failed.
 */
int printer_create(const struct schema *s, enum output form, const char *fields,
                   bool header, struct printer **p);
/* What printer_begin() prints of a tree's metadata in OUTPUT_RAW; they live
 * until then. */
void printer_meta(struct printer *p, const struct bytes *meta);
int printer_begin(struct printer *p);
int printer_record(struct printer *p, const struct quire_val *key,
                   const struct quire_val *val);
int printer_end(struct printer *p);
void printer_destroy(struct printer *p); /* NULL is accepted */

#endif /* QUIRE_TOOLS_RECORD_H */
