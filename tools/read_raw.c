/*
 * read_raw.c - reading what `quire dump --format raw` has printed: the keys and
 * values of any tree as they are, and its metadata.
 *
 *     quire raw 1                      the version of this text
 *     meta TEXT                        the tree's metadata; may be missing
 *     KEY <tab> VALUE                  the records
 *     end N                            how many they are
 *
 * TEXT, KEY and VALUE are any bytes, escaped so that each stays on its line and
 * behind its tab (print_escaped()). Only records have a tab, so nothing in them
 * can pass for the end; without it the text has been cut and the load fails, as
 * it does when records are missing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

struct raw_reader {
    struct reader rd;
    struct reader *lines; /* NULL: not yet opened */
    struct record next;   /* a line read by raw_begin(), when has_next */
    bool has_next;
    bool ended;      /* the end line has come */
    uint64_t nlines; /* record lines so far */
    struct bytes key;
    struct bytes value;
};

/* The value of a hexadecimal digit; -1: it is none. */
static int hex(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Append to `out` what print_escaped() has made `p` from. 1: it has not. */
static int take_escaped(struct bytes *out, const unsigned char *p, size_t len)
{
    const unsigned char *end = p + len;

    if (bytes_reserve(out, len) != 0)
        return -1;
    while (p < end) {
        const unsigned char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash != NULL ? slash : end) - p);

        memcpy(out->data + out->len, p, plain);
        out->len += plain;
        p += plain;
        if (slash == NULL)
            break;
        if (end - p < 2)
            return 1;
        switch (p[1]) {
        case '\\':
            out->data[out->len++] = '\\';
            break;
        case 't':
            out->data[out->len++] = '\t';
            break;
        case 'n':
            out->data[out->len++] = '\n';
            break;
        case 'r':
            out->data[out->len++] = '\r';
            break;
        case 'x':
            if (end - p < 4 || hex(p[2]) < 0 || hex(p[3]) < 0)
                return 1;
            out->data[out->len++] = (unsigned char)(hex(p[2]) << 4 | hex(p[3]));
            p += 2;
            break;
        default:
            return 1;
        }
        p += 2;
    }
    return 0;
}

/* Read a line. As reader_next(). */
static enum read_result next_line(struct raw_reader *r, struct record *rec)
{
    enum read_result rc;

    if (r->lines == NULL && reader_open(FORMAT_LINES, NULL, r->rd.in,
                                        r->rd.max_record, &r->lines) != 0)
        return READ_FAILED;
    rc = reader_next(r->lines, rec);
    r->rd.nread = reader_bytes(r->lines);
    return rc;
}

static bool begins(const struct record *rec, const char *word)
{
    size_t len = strlen(word);

    return rec->len >= len && memcmp(rec->data, word, len) == 0;
}

static enum read_result say_line(const struct raw_reader *r,
                                 const struct record *rec, const char *why)
{
    (say)("%s:%" PRIu64 ": %s", input_name(r->rd.in), rec->line, why);
    return READ_FAILED;
}

#define fail(r, rec, why) SAID(say_line((r), (rec), (why)))

enum read_result raw_reader_begin(struct reader *rd, struct bytes *meta,
                                  bool *has_meta)
{
    struct raw_reader *r = (struct raw_reader *)rd;
    struct record rec = { .line = 1 };
    enum read_result rc = next_line(r, &rec);

    *has_meta = false;
    if (rc == READ_FAILED || rc == READ_STOPPED)
        return rc;
    if (rc != READ_RECORD || rec.len != strlen(RAW_MAGIC) ||
        !begins(&rec, RAW_MAGIC))
        return fail(r, &rec, "it does not begin as a raw dump of quire does");
    rc = next_line(r, &rec);
    if (rc == READ_FAILED || rc == READ_STOPPED)
        return rc;
    if (rc == READ_END)
        return READ_RECORD; /* raw_next() tells that the end is missing */
    if (rc == READ_RECORD && begins(&rec, "meta ")) {
        int bad = take_escaped(meta, rec.data + 5, rec.len - 5);

        if (bad > 0)
            return fail(r, &rec, "the tree's metadata are damaged");
        *has_meta = true;
        return bad == 0 ? READ_RECORD : READ_FAILED;
    }
    if (rc == READ_REJECT)
        return fail(r, &rec, rec.why.text);
    r->next = rec;
    r->has_next = true;
    return READ_RECORD;
}

/* The end line, which must agree with what has come. */
static enum read_result check_end(struct raw_reader *r,
                                  const struct record *rec)
{
    char want[64];

    snprintf(want, sizeof(want), "end %" PRIu64, r->nlines);
    if (rec->len != strlen(want) || !begins(rec, want))
        return fail(r, rec,
                    "records are missing before this end, or have been "
                    "added");
    r->ended = true;
    return READ_RECORD;
}

static enum read_result raw_next(struct reader *rd, struct record *rec)
{
    struct raw_reader *r = (struct raw_reader *)rd;

    for (;;) {
        enum read_result rc = READ_RECORD;
        const unsigned char *tab;
        int bad;

        if (r->has_next) {
            *rec = r->next;
            r->has_next = false;
        } else {
            rc = next_line(r, rec);
        }
        if (rc == READ_END && !r->ended) {
            say("%s: its last line, \"end\", is missing: it has been cut",
                input_name(rd->in));
            return READ_FAILED;
        }
        if (rc != READ_RECORD && rc != READ_REJECT)
            return rc;
        if (r->ended)
            return fail(r, rec, "there is text behind the end");
        r->nlines++;
        if (rc == READ_REJECT)
            return rc;
        tab = memchr(rec->data, '\t', rec->len);
        if (tab == NULL && begins(rec, "end ")) {
            r->nlines--;
            if (check_end(r, rec) != READ_RECORD)
                return READ_FAILED;
            continue;
        }
        r->key.len = 0;
        bytes_reset(&r->value, REJECT_TEXT_MAX);
        bad = tab == NULL
                  ? 1
                  : take_escaped(&r->key, rec->data, (size_t)(tab - rec->data));
        if (bad == 0)
            bad = take_escaped(&r->value, tab + 1,
                               rec->len - (size_t)(tab + 1 - rec->data));
        if (bad < 0)
            return READ_FAILED;
        if (bad > 0) {
            reject(&rec->why, REASON_RAW,
                   "the line is no escaped key and value with a tab between "
                   "them");
            if (rec->len > REJECT_TEXT_MAX)
                rec->len = REJECT_TEXT_MAX;
            return READ_REJECT;
        }
        rec->data = r->value.data;
        rec->len = r->value.len;
        rec->key.data = r->key.data;
        rec->key.size = r->key.len;
        return READ_RECORD;
    }
}

static void raw_close(struct reader *rd)
{
    struct raw_reader *r = (struct raw_reader *)rd;

    reader_close(r->lines);
    bytes_free(&r->key);
    bytes_free(&r->value);
    free(r);
}

static const struct reader_ops raw_ops = { raw_next, raw_close };

int raw_reader_create(struct reader **rd)
{
    struct raw_reader *r = mem_zero(1, sizeof(*r));

    if (r == NULL) {
        say("the system has no memory for a reader");
        return -1;
    }
    r->rd.ops = &raw_ops;
    *rd = &r->rd;
    return 0;
}
