/*
 * read_json.c - reading the records of one JSON document, as a stream.
 *
 * yajl parses the document piece by piece and calls back for each token; the
 * place of a token in the piece tells where a record begins and ends, so that
 * its text is taken as it is and numbers stay as written:
 *
 *     buf: | finished records | open one ... | piece being parsed ... |
 *          0                  open           base                    len
 *
 * Where the records are, a JSON pointer says; without one they are the
 * outermost array, or, in an object, /data. That is the form of open-data
 * portals, whose records are arrays: their columns' names come before them, in
 * /meta/view/columns, and make an object of each array. What is handed out is
 * always a text of one line: as it is written if it is on one, else without
 * blanks between tokens.
 *
 * Traps
 *
 *   - yajl keeps a token that pieces cut, so a string without end would fill
 *     the memory: a document without a token in max_record bytes is refused.
 *   - It reads a cut token from its beginning again with each piece, so pieces
 *     grow while no token ends in them: else a long string would take time by
 *     the square of its length.
 *   - A record over max_record is dropped as it comes, but still parsed.
 *   - Broken syntax cannot be stepped over: the reader fails, and says at
 *     which byte, behind the records that came before it.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/parser.h"
#include "tools/record.h"

#define TOKENS_MAX 32u
#define PIECE_MAX ((size_t)2 << 20) /* bytes parsed at once */
#define DEPTH_MAX 1000u             /* as for NDJSON: each level costs memory */

/* Follows the way to the values that a pointer names. The containers that are
 * open and on the way are the first `level` ones. */
struct matcher {
    size_t ntokens;
    char *token[TOKENS_MAX]; /* malloc; "*" as `any` takes every element */
    bool any[TOKENS_MAX];
    unsigned level; /* <= ntokens */
    bool next;      /* the member whose name came last is on the way */
    bool array[TOKENS_MAX];
    uint64_t index[TOKENS_MAX]; /* of the next element */
};

struct span {
    size_t off; /* bytes, in buf */
    size_t len; /* bytes */
    uint64_t line;
    bool long_; /* over max_record; off and len are of no use */
};

struct json_reader {
    struct reader rd;
    struct parser *parser;
    bool fixed; /* the pointer was given */
    struct matcher records;
    struct matcher names;   /* columns' field names, of the portals' form */
    struct bytes columns;   /* these names, as a row */
    unsigned depth;         /* open objects and arrays */
    unsigned records_depth; /* inside the records' array; 0: not there */
    bool found;             /* the records' array has come */
    struct bytes buf;
    size_t base;     /* where the piece begins */
    size_t piece;    /* bytes: how large the next one should be */
    size_t prev_end; /* behind the last record */
    size_t open;     /* where the open record begins */
    bool is_open;
    bool dropping;     /* the open record is over max_record */
    uint64_t total;    /* bytes of the document before the piece */
    uint64_t event_at; /* byte of the last token */
    size_t counted;    /* line feeds before it are in `line` */
    uint64_t line;     /* from 1 */
    uint64_t open_line;
    struct span *spans;
    size_t nspans;
    size_t next_span;
    size_t cap_spans;
    struct bytes out;  /* the record handed out */
    const char *wrong; /* why a callback has stopped the parser */
    bool nomem;        /* said */
    bool failed;       /* behind the records that have been found */
    enum parsed how;   /* it failed */
    bool end;
};

/* ---- pointers ---- */

static int add_token(struct matcher *m, const char *text, size_t len)
{
    char *token;
    size_t n = 0;

    if (m->ntokens == TOKENS_MAX) {
        say("a JSON pointer has at most %u parts", TOKENS_MAX);
        return -1;
    }
    token = mem_alloc(len + 1);
    if (token == NULL) {
        say("the system has no memory for a JSON pointer");
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '~' && i + 1 < len &&
            (text[i + 1] == '0' || text[i + 1] == '1'))
            c = text[++i] == '0' ? '~' : '/';
        token[n++] = c;
    }
    token[n] = '\0';
    m->token[m->ntokens++] = token;
    return 0;
}

static int matcher_set(struct matcher *m, const char *pointer)
{
    while (*pointer == '/') {
        size_t len = strcspn(pointer + 1, "/");

        if (add_token(m, pointer + 1, len) != 0)
            return -1;
        pointer += 1 + len;
    }
    return 0;
}

static void matcher_free(struct matcher *m)
{
    while (m->ntokens > 0)
        free(m->token[--m->ntokens]);
}

static void match_name(struct matcher *m, unsigned depth, const void *name,
                       size_t len)
{
    if (depth != m->level || depth == 0)
        return;
    m->next = strlen(m->token[depth - 1]) == len &&
              memcmp(m->token[depth - 1], name, len) == 0;
}

/* A value begins. 0: it is off the way; 1: on it; 2: it is what the pointer
 * names. */
static int match_value(struct matcher *m, unsigned depth)
{
    char number[24];

    if (depth != m->level)
        return 0;
    if (depth > 0 && m->array[depth - 1]) {
        snprintf(number, sizeof(number), "%llu",
                 (unsigned long long)m->index[depth - 1]++);
        m->next = m->any[depth - 1] || strcmp(m->token[depth - 1], number) == 0;
    }
    if (depth > 0 && !m->next)
        return 0;
    return depth == m->ntokens ? 2 : 1;
}

static void match_open(struct matcher *m, int matched, bool array)
{
    if (matched != 1)
        return;
    m->array[m->level] = array;
    m->index[m->level] = 0;
    m->next = false;
    m->level++;
}

static void match_close(struct matcher *m, unsigned depth)
{
    if (m->level > depth)
        m->level = depth;
    m->next = false;
}

/* ---- records ---- */

static size_t position(struct json_reader *r)
{
    size_t pos = parser_consumed(r->parser);

    r->event_at = r->total + pos;
    return r->base + pos;
}

static uint64_t line_at(struct json_reader *r, size_t off)
{
    for (; r->counted < off; r->counted++)
        r->line += r->buf.data[r->counted] == '\n';
    return r->line;
}

/* The place behind `off` where a value can begin. */
static size_t skip_between(const struct json_reader *r, size_t off)
{
    while (off < r->buf.len && strchr(" \t\r\n,", r->buf.data[off]) != NULL &&
           r->buf.data[off] != '\0')
        off++;
    return off;
}

static int add_span(struct json_reader *r, size_t end)
{
    struct span *s;

    if (r->nspans == r->cap_spans) {
        size_t cap = r->cap_spans == 0 ? 512 : 2 * r->cap_spans;
        struct span *spans = mem_resize(r->spans, cap * sizeof(*spans));

        if (spans == NULL) {
            say("the system has no memory for JSON records");
            r->nomem = true;
            return 0;
        }
        r->spans = spans;
        r->cap_spans = cap;
    }
    s = &r->spans[r->nspans++];
    s->off = r->open;
    s->len = r->dropping ? 0 : end - r->open;
    s->line = r->open_line;
    s->long_ = r->dropping;
    r->is_open = false;
    r->dropping = false;
    r->prev_end = end;
    return 1;
}

static void open_record(struct json_reader *r)
{
    r->open = skip_between(r, r->prev_end);
    r->open_line = line_at(r, r->open);
    r->is_open = true;
}

/* A value of no parts. */
static int on_scalar(struct json_reader *r, const void *text, size_t len)
{
    size_t end = position(r);

    if (match_value(&r->records, r->depth) == 2) {
        r->wrong = "the records are not in an array there";
        return 0;
    }
    /* What comes behind the records must not depend on how much was read. */
    if (match_value(&r->names, r->depth) == 2 && text != NULL && !r->found &&
        row_add(&r->columns, text, len) != 0) {
        r->nomem = true;
        return 0;
    }
    if (r->records_depth == 0 || r->depth != r->records_depth)
        return 1;
    open_record(r);
    return add_span(r, end);
}

static int on_null(void *ctx)
{
    return on_scalar(ctx, NULL, 0);
}

static int on_boolean(void *ctx, int truth)
{
    (void)truth;
    return on_scalar(ctx, NULL, 0);
}

static int on_number(void *ctx, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return on_scalar(ctx, NULL, 0);
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
    return on_scalar(ctx, text, len);
}

/* The outermost value tells the form, unless a pointer was given. */
static int choose_form(struct json_reader *r, bool array)
{
    if (r->fixed || array)
        return 0;
    if (matcher_set(&r->records, "/data") != 0 ||
        matcher_set(&r->names, "/meta/view/columns/*/fieldName") != 0)
        return -1;
    r->names.any[3] = true;
    return 0;
}

static int on_begin(struct json_reader *r, bool array)
{
    size_t end = position(r);
    int matched;

    if (r->depth == 0 && choose_form(r, array) != 0) {
        r->nomem = true;
        return 0;
    }
    if (r->depth == DEPTH_MAX) {
        r->wrong = "it is nested deeper than 1000";
        return 0;
    }
    matched = match_value(&r->records, r->depth);
    match_open(&r->records, matched, array);
    if (r->names.ntokens > 0)
        match_open(&r->names, match_value(&r->names, r->depth), array);
    if (r->records_depth > 0 && r->depth == r->records_depth)
        open_record(r);
    r->depth++;
    if (matched == 2) {
        if (!array || r->found) {
            r->wrong = array ? "there is a second array of records"
                             : "the records are not in an array there";
            return 0;
        }
        r->found = true;
        r->records_depth = r->depth;
        r->prev_end = end;
    }
    return 1;
}

static int on_start_map(void *ctx)
{
    return on_begin(ctx, false);
}

static int on_start_array(void *ctx)
{
    return on_begin(ctx, true);
}

static int on_end(void *ctx)
{
    struct json_reader *r = ctx;
    size_t end = position(r);

    r->depth--;
    match_close(&r->records, r->depth);
    match_close(&r->names, r->depth);
    if (r->records_depth > 0 && r->depth < r->records_depth)
        r->records_depth = 0; /* the array has ended */
    if (r->is_open && r->depth == r->records_depth)
        return add_span(r, end);
    return 1;
}

static int on_map_key(void *ctx, const unsigned char *name, size_t len)
{
    struct json_reader *r = ctx;

    position(r);
    match_name(&r->records, r->depth, name, len);
    match_name(&r->names, r->depth, name, len);
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

/* ---- pieces ---- */

static enum read_result json_fail(struct json_reader *r, enum parsed parsed,
                                  size_t len)
{
    const char *name = input_name(r->rd.in);
    size_t pos = parser_consumed(r->parser);
    char why[200];

    if (r->nomem)
        return READ_FAILED;
    if (parsed == PARSED_NOMEM) {
        say("%s: at byte %llu: the system has no memory for what follows", name,
            (unsigned long long)r->event_at);
        return READ_FAILED;
    }
    if (r->wrong != NULL) {
        say("%s: at byte %llu: %s", name, (unsigned long long)r->event_at,
            r->wrong);
        return READ_FAILED;
    }
    parser_error(r->parser, r->buf.data + r->base, len, why, sizeof(why));
    say("%s: at byte %llu: broken JSON: %s; the load can't go on behind it",
        name, (unsigned long long)(r->total + pos), why);
    return READ_FAILED;
}

static enum read_result json_finish(struct json_reader *r)
{
    enum parsed parsed;

    r->end = true;
    r->base = r->buf.len;
    parsed = parser_end(r->parser);
    if (parsed != PARSED_OK)
        return json_fail(r, parsed, 0);
    if (r->found)
        return READ_RECORD;
    say("%s: it has no array of records there; name its place with --records",
        input_name(r->rd.in));
    return READ_FAILED;
}

/* All records have been handed out: parse more. */
static enum read_result json_fill(struct json_reader *r)
{
    size_t keep_from = r->is_open && !r->dropping ? r->open : r->prev_end;
    ssize_t n;
    size_t len;
    enum parsed parsed;

    if (r->dropping || (r->records_depth == 0 && !r->is_open))
        keep_from = r->buf.len;
    line_at(r, keep_from);
    if (keep_from > 0)
        memmove(r->buf.data, r->buf.data + keep_from, r->buf.len - keep_from);
    r->buf.len -= keep_from;
    r->counted -= keep_from;
    r->prev_end = 0;
    r->open = 0;
    r->nspans = 0;
    r->next_span = 0;
    if (r->buf.len < INPUT_CHUNK && r->buf.cap > 2 * REJECT_TEXT_MAX) {
        /* A huge record is behind us: give its memory back. */
        unsigned char *less = mem_resize(r->buf.data, 2 * INPUT_CHUNK);

        if (less != NULL) {
            r->buf.data = less;
            r->buf.cap = 2 * INPUT_CHUNK;
        }
    }
    r->base = r->buf.len;
    do {
        if (bytes_reserve(&r->buf, INPUT_CHUNK) != 0)
            return READ_FAILED;
        n = reader_fill(&r->rd, r->buf.data + r->buf.len, INPUT_CHUNK);
        if (n == INPUT_STOPPED)
            return READ_STOPPED;
        if (n < 0)
            return READ_FAILED;
        r->buf.len += (size_t)n;
        len = r->buf.len - r->base;
    } while (n > 0 && len < r->piece && input_ready(r->rd.in));
    if (len == 0)
        return json_finish(r);
    parsed = parser_feed(r->parser, r->buf.data + r->base, len);
    if (parsed != PARSED_OK) {
        r->failed = true;
        r->how = parsed;
        return READ_RECORD; /* the records before that place come first */
    }
    if (r->event_at > r->total)
        r->piece = 0;
    else if (r->piece < PIECE_MAX)
        r->piece = 2 * len;
    r->total += len;
    if (r->total - r->event_at > r->rd.max_record + INPUT_CHUNK) {
        say("%s: at byte %llu: no token ends within --max-record %llu bytes; "
            "allow more",
            input_name(r->rd.in), (unsigned long long)r->event_at,
            (unsigned long long)r->rd.max_record);
        return READ_FAILED;
    }
    if (r->is_open && !r->dropping && r->buf.len - r->open > r->rd.max_record)
        r->dropping = true;
    if (!r->is_open)
        r->prev_end = skip_between(r, r->prev_end);
    return READ_RECORD;
}

/* Make an object of an array, with the columns' names. READ_RECORD, READ_REJECT
 * or READ_FAILED. */
static enum read_result name_columns(struct json_reader *r, const void *text,
                                     size_t len, struct reject *why)
{
    const unsigned char *pos = r->columns.data;
    const unsigned char *end;
    struct json_walk w;
    struct json_text none;
    struct json_text value;
    const unsigned char *name;
    size_t name_len;
    uint32_t n = 0;

    if (r->columns.len == 0) {
        say("%s: near byte %llu: the records are arrays, and no names of their "
            "columns (/meta/view/columns) came before them; meta must come "
            "before data",
            input_name(r->rd.in), (unsigned long long)r->event_at);
        return READ_FAILED;
    }
    end = pos + r->columns.len;
    if (bytes_append(&r->out, "{", 1) != 0)
        return READ_FAILED;
    for (json_open(&w, text, len); json_next(&w, &none, &value); n++) {
        if (!row_next(&pos, end, &name, &name_len)) {
            reject(why, REASON_COLUMNS,
                   "it has more values than the document names columns");
            return READ_REJECT;
        }
        if ((n > 0 && bytes_append(&r->out, ",", 1) != 0) ||
            json_quote(&r->out, name, name_len) != 0 ||
            bytes_append(&r->out, ":", 1) != 0 ||
            json_compact(&r->out, value.p, value.len) != 0)
            return READ_FAILED;
    }
    if (pos != end) {
        reject(why, REASON_COLUMNS,
               "it has %u values, fewer than the document names columns", n);
        return READ_REJECT;
    }
    return bytes_append(&r->out, "}", 1) == 0 ? READ_RECORD : READ_FAILED;
}

static enum read_result hand_out(struct json_reader *r, struct record *rec)
{
    const struct span *s = &r->spans[r->next_span++];
    const unsigned char *text = r->buf.data + s->off;
    enum read_result rc = READ_RECORD;

    rec->line = s->line;
    rec->nfields = 0;
    rec->data = text;
    rec->len = s->len < REJECT_TEXT_MAX ? s->len : REJECT_TEXT_MAX;
    if (s->long_ || s->len > r->rd.max_record) {
        reject(&rec->why, REASON_TOO_LONG,
               "the record is over --max-record %llu bytes",
               (unsigned long long)r->rd.max_record);
        return READ_REJECT;
    }
    bytes_reset(&r->out, REJECT_TEXT_MAX);
    rec->len = s->len;
    if (text[0] == '[' && !r->fixed && r->names.ntokens > 0)
        rc = name_columns(r, text, s->len, &rec->why);
    else if (memchr(text, '\n', s->len) == NULL)
        return READ_RECORD; /* one line: as it is */
    else if (json_compact(&r->out, text, s->len) != 0)
        rc = READ_FAILED;
    if (rc == READ_REJECT && rec->len > REJECT_TEXT_MAX)
        rec->len = REJECT_TEXT_MAX;
    if (rc == READ_RECORD) {
        rec->data = r->out.data;
        rec->len = r->out.len;
    }
    return rc;
}

static enum read_result json_next_record(struct reader *rd, struct record *rec)
{
    struct json_reader *r = (struct json_reader *)rd;

    for (;;) {
        enum read_result rc;

        if (r->next_span < r->nspans)
            return hand_out(r, rec);
        if (r->failed)
            return json_fail(r, r->how, r->buf.len - r->base);
        if (r->end)
            return READ_END;
        rc = json_fill(r);
        if (rc != READ_RECORD)
            return rc;
    }
}

static void json_close(struct reader *rd)
{
    struct json_reader *r = (struct json_reader *)rd;

    parser_destroy(r->parser);
    matcher_free(&r->records);
    matcher_free(&r->names);
    bytes_free(&r->columns);
    bytes_free(&r->buf);
    bytes_free(&r->out);
    free(r->spans);
    free(r);
}

static const struct reader_ops json_ops = { json_next_record, json_close };

int json_reader_create(const char *pointer, struct reader **rd)
{
    struct json_reader *r = mem_zero(1, sizeof(*r));

    if (r == NULL)
        goto nomem;
    r->rd.ops = &json_ops;
    r->line = 1;
    r->fixed = pointer != NULL;
    if (pointer != NULL && matcher_set(&r->records, pointer) != 0)
        goto failed;
    r->parser = parser_create(&json_events, r, false);
    if (r->parser == NULL)
        goto nomem;
    *rd = &r->rd;
    return 0;

nomem:
    say("the system has no memory for a JSON reader");
failed:
    if (r != NULL)
        json_close(&r->rd);
    return -1;
}
