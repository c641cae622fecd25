/*
 * read_csv.c - reading CSV (RFC 4180) with libcsv.
 *
 * libcsv pushes: it takes a piece of input and calls back for each field and
 * each record's end, and cannot be stopped in between. So a piece is parsed
 * whole, its records are kept as rows, one behind the other, and handed out one
 * by one:
 *
 *     rows: | row | row | row | the record that the piece's end cut |
 *           0                 open                                  len
 *
 * Before the next piece the cut record moves to the front. Memory is a piece
 * plus its rows, whatever the input's size; libcsv itself keeps the field that
 * it is in.
 *
 * Traps
 *
 *   - Strict: a quote inside an unquoted field, or anything but a delimiter
 *     behind a closing one, is an error and not guessed at. libcsv stops there; the
 *     record is rejected and reading goes on at the next line, with a fresh
 *     parser. That line may be in the middle of a quoted field of a broken
 *     record, and be rejected too: there is no telling.
 *   - A record that grows past max_record is dropped the same way; else a lost
 *     quote would swallow the rest of the input into memory.
 *   - An unquoted carriage return ends a record in libcsv, alone or before a
 *     line feed. Empty lines are reported to us only because we ask for them
 *     (CSV_REPALL_NL), for the sake of line numbers and of inputs with one
 *     column.
 *   - Line numbers come from the ends of records plus the line feeds inside
 *     them; after an error, from counting all line feeds of the input so far.
 */
#include <csv.h>
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

#define HUGE_FIELD \
    ((size_t)1 << 20) /* bytes: buffers beyond it are given
                                        back when they have served */

#define FIELD_STEP \
    ((size_t)256 << 10) /* bytes by which libcsv's buffer for a
                                          field grows; the least it has */

/* Where a finished record lies in `rows`. */
struct span {
    size_t off; /* bytes */
    size_t len; /* bytes */
    uint64_t line;
    uint32_t nfields; /* 0: an empty line */
};

struct csv_reader {
    struct reader rd;
    struct csv_parser parser;
    bool parser_ready;    /* csv_init() has been called */
    int parser_idle;      /* its state between two records */
    bool skipping;        /* to the next line, after an error */
    bool end;             /* the input has no more bytes */
    bool nomem;           /* said */
    int last_end;         /* the character that ended the last line */
    unsigned char *piece; /* INPUT_CHUNK bytes of input */
    size_t piece_pos;     /* the first not parsed */
    size_t piece_len;
    struct bytes rows;
    size_t open;          /* where the unfinished record begins */
    uint32_t open_fields; /* fields it has so far */
    uint64_t open_line;   /* its first line, from 1 */
    struct span *spans;   /* finished records not yet handed out */
    size_t nspans;
    size_t next_span; /* <= nspans */
    size_t cap_spans;
    uint64_t feeds;       /* line feeds in the input before piece_pos */
    struct record reject; /* a reject that follows the spans, when the line
                             has been passed over */
    bool has_reject;
    struct bytes text; /* of the rejected record */
};

static int no_space(unsigned char c)
{
    (void)c;
    return 0; /* blanks are data */
}

static void parser_start(struct csv_reader *r)
{
    if (r->parser_ready)
        csv_free(&r->parser);
    /* It allocates nothing yet, so that it can't fail. */
    csv_init(&r->parser, CSV_STRICT | CSV_STRICT_FINI | CSV_REPALL_NL);
    r->parser_ready = true;
    csv_set_realloc_func(&r->parser, csv_resize);
    csv_set_space_func(&r->parser, no_space);
    csv_set_blk_size(&r->parser, FIELD_STEP);
    r->parser_idle = r->parser.pstate;
}

static uint64_t count_feeds(const unsigned char *p, size_t len)
{
    const unsigned char *end = p + len;
    uint64_t n = 0;

    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        n++;
        p++;
    }
    return n;
}

static void on_field(void *field, size_t len, void *arg)
{
    struct csv_reader *r = arg;

    if (r->nomem)
        return;
    if (row_add(&r->rows, field, len) != 0)
        r->nomem = true;
    r->open_fields++;
}

/* Line feeds in the fields of a row. */
static uint64_t feeds_inside(const unsigned char *row, size_t len)
{
    const unsigned char *pos = row;
    const unsigned char *field;
    size_t n;
    uint64_t feeds = 0;

    /* Most rows have none, though a length may look like one. */
    if (memchr(row, '\n', len) == NULL)
        return 0;
    while (row_next(&pos, row + len, &field, &n))
        feeds += count_feeds(field, n);
    return feeds;
}

static void on_row(int c, void *arg)
{
    struct csv_reader *r = arg;
    struct span *s;
    bool second = r->open_fields == 0 && c == '\n' && r->last_end == '\r';

    r->last_end = c;
    if (second || r->nomem)
        return; /* the line feed of a line end that has two characters */
    if (r->nspans == r->cap_spans) {
        size_t cap = r->cap_spans == 0 ? 512 : 2 * r->cap_spans;
        struct span *spans = mem_resize(r->spans, cap * sizeof(*spans));

        if (spans == NULL) {
            say("the system has no memory for CSV records");
            r->nomem = true;
            return;
        }
        r->spans = spans;
        r->cap_spans = cap;
    }
    s = &r->spans[r->nspans++];
    s->off = r->open;
    s->len = r->rows.len - r->open;
    s->nfields = r->open_fields;
    s->line = r->open_line;
    r->open_line += 1;
    if (s->len > 0)
        r->open_line += feeds_inside(r->rows.data + s->off, s->len);
    r->open = r->rows.len;
    r->open_fields = 0;
}

/* Add to the rejected record's text, as far as it is kept. */
static void add_text(struct csv_reader *r, const void *data, size_t len)
{
    size_t room = REJECT_TEXT_MAX - r->text.len;

    if (!r->nomem && bytes_append(&r->text, data, len < room ? len : room) != 0)
        r->nomem = true;
}

/*
 * Write the unfinished record down again, as text: its fields, then what the
 * parser has of the next one. The line's rest is added as it is passed over.
 * `closed`: the parser's last character is a closing quote.
 */
static void keep_text(struct csv_reader *r, bool closed)
{
    const unsigned char *pos = r->rows.data + r->open;
    const unsigned char *end = r->rows.data + r->rows.len;
    const unsigned char *p = r->parser.entry_buf;
    size_t len = r->parser.entry_pos;
    const unsigned char *field;
    size_t n;

    r->text.len = 0;
    while (r->text.len < REJECT_TEXT_MAX && row_next(&pos, end, &field, &n)) {
        if (n > REJECT_TEXT_MAX)
            n = REJECT_TEXT_MAX;
        if (!r->nomem && csv_quote(&r->text, field, n) != 0)
            r->nomem = true;
        if (r->text.len > REJECT_TEXT_MAX)
            r->text.len = REJECT_TEXT_MAX;
        add_text(r, ",", 1);
    }
    if (!r->parser.quoted) {
        add_text(r, p, len);
        return;
    }
    add_text(r, "\"", 1);
    for (size_t i = 0; i < len && r->text.len < REJECT_TEXT_MAX; i++) {
        if (p[i] == '"' && !(closed && i + 1 == len))
            add_text(r, "\"", 1);
        add_text(r, p + i, 1);
    }
}

/* Drop the unfinished record; `reject` follows the finished ones. */
static struct record *drop_open(struct csv_reader *r, bool closed)
{
    keep_text(r, closed);
    r->reject.line = r->open_line;
    r->has_reject = true;
    r->rows.len = r->open;
    r->open_fields = 0;
    r->skipping = true;
    return &r->reject;
}

/* Go to the next line in the piece, if it is there. */
static int skip_line(struct csv_reader *r)
{
    unsigned char *from = r->piece + r->piece_pos;
    size_t rest = r->piece_len - r->piece_pos;
    unsigned char *eol = memchr(from, '\n', rest);

    add_text(r, from, eol != NULL ? (size_t)(eol - from) : rest);
    if (r->nomem)
        return -1;
    if (eol == NULL) {
        r->piece_pos = r->piece_len;
        return 0;
    }
    r->piece_pos += (size_t)(eol - from) + 1;
    r->feeds++;
    r->open_line = r->feeds + 1;
    r->last_end = '\n';
    r->skipping = false;
    parser_start(r);
    return 0;
}

/* Parse what the piece still has, up to an error. */
static int parse_piece(struct csv_reader *r)
{
    const unsigned char *from = r->piece + r->piece_pos;
    size_t len = r->piece_len - r->piece_pos;
    size_t done;

    if (r->parser.entry_size > HUGE_FIELD) {
        /* The parser's buffer is to go as soon as it is between two records,
         * so stop where that may be. */
        const unsigned char *eol = memchr(from, '\n', len);

        if (eol != NULL)
            len = (size_t)(eol - from) + 1;
        if (r->parser.pstate == r->parser_idle)
            parser_start(r);
    }
    done = csv_parse(&r->parser, from, len, on_field, on_row, r);
    if (r->nomem)
        return -1;
    r->feeds += count_feeds(from, done);
    r->piece_pos += done;
    if (done < len) {
        if (csv_error(&r->parser) != CSV_EPARSE) {
            say("the CSV parser has no memory for a field");
            return -1;
        }
        reject(&drop_open(r, r->parser.quoted != 0)->why, REASON_QUOTING,
               "a quote where none may be, or text behind a closing one");
    } else if (r->rows.len - r->open + r->parser.entry_pos > r->rd.max_record) {
        reject(&drop_open(r, false)->why, REASON_TOO_LONG,
               "the record is over --max-record %llu bytes; is a quote "
               "missing?",
               (unsigned long long)r->rd.max_record);
    }
    return 0;
}

/* The input has ended: so does its last record. */
static int parse_end(struct csv_reader *r)
{
    if (!r->skipping && csv_fini(&r->parser, on_field, on_row, r) != 0)
        reject(&drop_open(r, false)->why, REASON_UNTERMINATED,
               "a quoted field is not closed: everything from here to the "
               "end of the input is lost");
    return r->nomem ? -1 : 0;
}

/* All records have been handed out: parse more. */
static enum read_result csv_fill(struct csv_reader *r)
{
    size_t cut = r->rows.len - r->open;
    size_t keep = cut < HUGE_FIELD ? HUGE_FIELD : cut;

    if (cut > 0 && r->open > 0)
        memmove(r->rows.data, r->rows.data + r->open, cut);
    if (r->rows.cap > 2 * keep) {
        /* A huge record is behind us: give its memory back. */
        unsigned char *less = mem_resize(r->rows.data, keep);

        if (less != NULL) {
            r->rows.data = less;
            r->rows.cap = keep;
        }
    }
    r->rows.len = cut;
    r->open = 0;
    r->nspans = 0;
    r->next_span = 0;
    if (r->piece_pos == r->piece_len) {
        ssize_t n = reader_fill(&r->rd, r->piece, INPUT_CHUNK);

        if (n == INPUT_STOPPED)
            return READ_STOPPED;
        if (n < 0)
            return READ_FAILED;
        r->piece_pos = 0;
        r->piece_len = (size_t)n;
        if (n == 0) {
            r->end = true;
            return parse_end(r) == 0 ? READ_RECORD : READ_FAILED;
        }
    }
    if (r->skipping)
        return skip_line(r) == 0 ? READ_RECORD : READ_FAILED;
    return parse_piece(r) == 0 ? READ_RECORD : READ_FAILED;
}

static enum read_result csv_next(struct reader *rd, struct record *rec)
{
    struct csv_reader *r = (struct csv_reader *)rd;

    for (;;) {
        enum read_result rc;

        if (r->next_span < r->nspans) {
            const struct span *s = &r->spans[r->next_span++];

            rec->data = r->rows.data + s->off;
            rec->len = s->len;
            rec->nfields = s->nfields;
            rec->line = s->line;
            if (s->len <= rd->max_record)
                return READ_RECORD;
            reject(&rec->why, REASON_TOO_LONG,
                   "the record has %zu bytes, over --max-record %llu", s->len,
                   (unsigned long long)rd->max_record);
            r->text.len = 0;
            if (row_to_text(&r->text, FORMAT_CSV, rec->data, rec->len, 0) != 0)
                return READ_FAILED;
            rec->data = r->text.data;
            rec->len = r->text.len < REJECT_TEXT_MAX ? r->text.len
                                                     : REJECT_TEXT_MAX;
            return READ_REJECT;
        }
        if (r->has_reject && (!r->skipping || r->end)) {
            r->has_reject = false;
            if (r->text.len > 0 && r->text.data[r->text.len - 1] == '\r')
                r->text.len--;
            rec->data = r->text.data;
            rec->len = r->text.len;
            rec->line = r->reject.line;
            rec->why = r->reject.why;
            return READ_REJECT;
        }
        if (r->end)
            return READ_END;
        rc = csv_fill(r);
        if (rc != READ_RECORD)
            return rc;
    }
}

static void csv_close(struct reader *rd)
{
    struct csv_reader *r = (struct csv_reader *)rd;

    if (r->parser_ready)
        csv_free(&r->parser);
    bytes_free(&r->rows);
    bytes_free(&r->text);
    free(r->spans);
    free(r->piece);
    free(r);
}

static const struct reader_ops csv_ops = { csv_next, csv_close };

int csv_reader_create(struct reader **rd)
{
    struct csv_reader *r = mem_zero(1, sizeof(*r));

    if (r == NULL)
        goto nomem;
    r->rd.ops = &csv_ops;
    r->open_line = 1;
    r->piece = mem_alloc(INPUT_CHUNK);
    if (r->piece == NULL)
        goto nomem;
    if (bytes_reserve(&r->rows, 2 * INPUT_CHUNK) != 0)
        goto failed;
    parser_start(r);
    *rd = &r->rd;
    return 0;

nomem:
    say("the system has no memory for a CSV reader");
failed:
    if (r != NULL)
        csv_close(&r->rd);
    return -1;
}
