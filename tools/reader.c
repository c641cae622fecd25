/*
 * reader.c - reading records: what all formats share, and those whose record
 * is a line (TSV, NDJSON, lines). CSV, whose records may span lines, is in
 * read_csv.c.
 *
 * Lines are found in place, in one buffer:
 *
 *     buf: | handed out | line being looked for ... | free |
 *          0            begin                       len    cap
 *
 * The rest of a line that the buffer cuts moves to its front before more is
 * read; the buffer grows only for a line longer than itself, up to max_record,
 * and shrinks again afterwards. A longer line is passed over as it comes, so
 * that no input, however broken, takes more memory than that.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

struct lines {
    struct reader rd;
    enum format format; /* immutable */
    struct bytes buf;
    size_t begin;     /* of the next line; <= buf.len */
    uint64_t line;    /* its number, from 1 */
    bool end;         /* the input has no more bytes */
    struct bytes row; /* TSV: the record handed out; the text of a rejected
                         line */
};

/* ---- what all readers use ---- */

ssize_t reader_fill(struct reader *rd, void *buf, size_t cap)
{
    static const unsigned char mark[3] = { 0xef, 0xbb, 0xbf };
    unsigned char *to = buf;
    size_t n = 0;
    ssize_t got;

    if (rd->nread > 0) {
        got = input_read(rd->in, buf, cap);
        if (got > 0)
            rd->nread += (uint64_t)got;
        return got;
    }
    /* The very beginning: three bytes are needed to know the mark. */
    do {
        got = input_read(rd->in, to + n, cap - n);
        if (got < 0)
            return got;
        n += (size_t)got;
    } while (got > 0 && n < sizeof(mark));
    rd->nread = n;
    if (n < sizeof(mark) || memcmp(to, mark, sizeof(mark)) != 0)
        return (ssize_t)n;
    n -= sizeof(mark);
    memmove(to, to + sizeof(mark), n);
    if (n > 0)
        return (ssize_t)n;
    return reader_fill(rd, buf, cap);
}

enum read_result reader_next(struct reader *rd, struct record *rec)
{
    return rd->ops->next(rd, rec);
}

uint64_t reader_bytes(const struct reader *rd)
{
    return rd->nread;
}

void reader_close(struct reader *rd)
{
    if (rd != NULL)
        rd->ops->close(rd);
}

/* ---- lines ---- */

/* Get more of the input into the buffer. */
static enum read_result lines_fill(struct lines *l)
{
    struct bytes *b = &l->buf;
    size_t rest = b->len - l->begin;
    ssize_t n;

    if (l->begin > 0) {
        memmove(b->data, b->data + l->begin, rest);
        b->len = rest;
        l->begin = 0;
    }
    if (b->cap > (1u << 20) && rest < INPUT_CHUNK) {
        /* A huge line is behind us: give its memory back. */
        unsigned char *less = mem_resize(b->data, 2 * INPUT_CHUNK);

        if (less != NULL) {
            b->data = less;
            b->cap = 2 * INPUT_CHUNK;
        }
    }
    if (bytes_reserve(b, INPUT_CHUNK) != 0)
        return READ_FAILED;
    n = reader_fill(&l->rd, b->data + b->len, INPUT_CHUNK);
    if (n == INPUT_STOPPED)
        return READ_STOPPED;
    if (n < 0)
        return READ_FAILED;
    b->len += (size_t)n;
    l->end = n == 0;
    return READ_RECORD;
}

/* A line is over the limit: pass over it to its end. */
static enum read_result lines_skip(struct lines *l, struct record *rec)
{
    enum read_result rc = READ_RECORD;
    uint64_t nbytes = 0;

    rec->line = l->line++;
    l->row.len = 0;
    for (;;) {
        unsigned char *from = l->buf.data + l->begin;
        size_t rest = l->buf.len - l->begin;
        unsigned char *eol = memchr(from, '\n', rest);
        size_t part = eol != NULL ? (size_t)(eol - from) : rest;
        size_t room = REJECT_TEXT_MAX - l->row.len;

        if (bytes_append(&l->row, from, part < room ? part : room) != 0)
            return READ_FAILED;
        if (eol != NULL) {
            nbytes += (uint64_t)(eol - from);
            l->begin += (size_t)(eol - from) + 1;
            break;
        }
        nbytes += rest;
        l->begin = l->buf.len;
        if (l->end)
            break;
        rc = lines_fill(l);
        if (rc != READ_RECORD)
            return rc;
    }
    reject(&rec->why, REASON_TOO_LONG,
           "the line has %llu bytes, over --max-record %llu",
           (unsigned long long)nbytes, (unsigned long long)l->rd.max_record);
    rec->data = l->row.data;
    rec->len = l->row.len;
    return READ_REJECT;
}

/* Split a line of `len` bytes at its tabs. */
static int split_tabs(struct bytes *row, const unsigned char *p, size_t len,
                      uint32_t *nfields)
{
    const unsigned char *end = p + len;

    row->len = 0;
    *nfields = 0;
    if (len == 0)
        return 0;
    for (;;) {
        const unsigned char *tab = memchr(p, '\t', (size_t)(end - p));
        const unsigned char *stop = tab != NULL ? tab : end;

        if (row_add(row, p, (size_t)(stop - p)) != 0)
            return -1;
        ++*nfields;
        if (tab == NULL)
            return 0;
        p = tab + 1;
    }
}

static enum read_result lines_next(struct reader *rd, struct record *rec)
{
    struct lines *l = (struct lines *)rd;
    size_t seen = 0; /* bytes of the line without a line end in them */

    for (;;) {
        const unsigned char *from = l->buf.data + l->begin;
        size_t rest = l->buf.len - l->begin;
        const unsigned char *eol = rest > seen
                                       ? memchr(from + seen, '\n', rest - seen)
                                       : NULL;
        enum read_result rc;
        size_t len;

        if (eol == NULL && !l->end && rest <= rd->max_record) {
            seen = rest;
            rc = lines_fill(l);
            if (rc != READ_RECORD)
                return rc;
            continue;
        }
        if (eol == NULL && rest == 0)
            return READ_END;
        len = eol != NULL ? (size_t)(eol - from) : rest;
        if (len > rd->max_record)
            return lines_skip(l, rec);
        l->begin += len + (eol != NULL);
        if (eol != NULL && len > 0 && from[len - 1] == '\r')
            len--;
        if (l->format == FORMAT_NDJSON)
            len = json_trim(&from, len);
        rec->data = from;
        rec->len = len;
        rec->nfields = 1;
        rec->line = l->line++;
        if (l->format == FORMAT_TSV) {
            bytes_reset(&l->row, 1 << 20);
            if (split_tabs(&l->row, from, len, &rec->nfields) != 0)
                return READ_FAILED;
            rec->data = l->row.data;
            rec->len = l->row.len;
        }
        if (l->format != FORMAT_NDJSON || len > 0)
            return READ_RECORD;
        seen = 0; /* an empty line is no record */
    }
}

static void lines_close(struct reader *rd)
{
    struct lines *l = (struct lines *)rd;

    bytes_free(&l->buf);
    bytes_free(&l->row);
    free(l);
}

static const struct reader_ops lines_ops = { lines_next, lines_close };

int reader_open(enum format f, const char *pointer, struct input *in,
                uint64_t max_record, struct reader **out)
{
    struct reader *rd = NULL;

    if (f == FORMAT_CSV) {
        if (csv_reader_create(&rd) != 0)
            return -1;
    } else if (f == FORMAT_JSON) {
        if (json_reader_create(pointer, &rd) != 0)
            return -1;
    } else if (f == FORMAT_DUMP) {
        if (raw_reader_create(&rd) != 0)
            return -1;
    } else {
        struct lines *l = mem_zero(1, sizeof(*l));

        if (l == NULL) {
            say("the system has no memory for a reader");
            return -1;
        }
        l->format = f;
        l->line = 1;
        rd = &l->rd;
        rd->ops = &lines_ops;
        if (bytes_reserve(&l->buf, 2 * INPUT_CHUNK) != 0) {
            free(l);
            return -1;
        }
    }
    rd->in = in;
    rd->max_record = max_record;
    *out = rd;
    return 0;
}
