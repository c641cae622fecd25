/*
 * recover.c - finding the last whole commit.
 *
 * From the record that the newest superblock names, forward: the next batch
 * begins at the record's batch_end or at its next_span. A batch is whole when
 * its fragments follow each other from a block boundary to a record that knows
 * this boundary, the fragments' hash and its own checksum. It continues the
 * log when its revision is the next one, it names the previous record's
 * checksum, and its incarnation is not lower. If both places hold such a
 * batch, one was given up (batch.c, burning), and the higher incarnation is
 * the true one.
 *
 *     superblock --> record r --+--> batch r+1 at batch_end     --> ...
 *                               +--> batch r+1 at next_span.off
 *
 * The first step that finds nothing is the end of the log, or damage in its
 * midst. Then the rest of the span and the next one are searched for a record
 * that was written when a later revision was known durable: that proves a loss
 * (PF-10). Any other later record belongs to a tail that nobody was promised;
 * but it knows where its log went on, and the search goes there as well, since
 * of a long damaged batch the record is mostly intact.
 *
 * What cannot be told from a torn write is damage to the very last batch that
 * was acknowledged: nothing after it says that it was durable.
 *
 * A writer then makes the end of the log durable: after a failed sync the
 * system may show bytes that the disk lacks. What is not known durable is read
 * and written again, byte for byte, and synced, before anything is built on it.
 *
 * Memory is one window of 256 KiB over the file, whatever the log's length. The
 * batch at next_span is examined once for each span, not once for each step,
 * so that the window is not torn between two places.
 */
#include <stdio.h>

#include "pages/file/pf_impl.h"

struct pf_scan {
    struct pf_file *file;
    uint8_t *win;         /* a segment of PF_OUT_BYTES */
    size_t win_len;       /* bytes of the file in it */
    uint64_t win_off;     /* bytes: where in the file */
    void *raw;            /* a segment of PF_RECORD_BODY_MAX, for records */
    uint64_t incarnation; /* the highest seen anywhere */
    /* What is at the start of the span at other_off, 0: not looked yet */
    uint64_t other_off;
    bool other_whole;
    struct pf_record other;
    uint32_t magic; /* what every fragment begins with */
    /* Of the latest record found behind the end of the log; 0: none */
    quire_rev tail_rev;
    struct pf_span tail_next;
};

/* How far the log goes. */
struct pf_head {
    struct pf_record rec; /* the newest record that continues the log */
    uint64_t floor;       /* the next one's incarnation is not lower */
};

/*
 * Make `want` (<= PF_OUT_BYTES) bytes at `off` readable at *p. *have is how
 * many there are: fewer only at the end of the file, at least `want` otherwise.
 */
static quire_status pf_scan_at(struct pf_scan *scan, uint64_t off, size_t want,
                               const uint8_t **p, size_t *have)
{
    uint64_t end = scan->win_off + scan->win_len;
    quire_status rc;

    QUIRE_ASSERT(want <= PF_OUT_BYTES);
    if (off < scan->win_off || off > end || end - off < want) {
        scan->win_len = 0;
        scan->win_off = off;
        rc = pf_os_read(&scan->file->os, scan->win, PF_OUT_BYTES, off,
                        &scan->win_len);
        if (rc != QUIRE_OK)
            return rc;
        pf_count(&scan->file->read_bytes, scan->win_len);
        end = off + scan->win_len;
    }
    *p = scan->win + (off - scan->win_off);
    *have = (size_t)(end - off);
    return QUIRE_OK;
}

/* Add `len` bytes at `off` to the hash; *whole turns false at the file's end. */
static quire_status pf_scan_hash(struct pf_scan *scan, uint64_t off,
                                 uint64_t len, XXH3_state_t *hash, bool *whole)
{
    while (len > 0) {
        const uint8_t *p;
        size_t have;
        quire_status rc = pf_scan_at(scan, off, 1, &p, &have);

        if (rc != QUIRE_OK)
            return rc;
        if (have == 0) {
            *whole = false;
            return QUIRE_OK;
        }
        have = ra_min_u64(have, len);
        XXH3_64bits_update(hash, p, have);
        off += have;
        len -= have;
    }
    return QUIRE_OK;
}

/* Is there a plausible fragment header at `off`, of a fragment that knows that
 * it is there and ends within the span? */
static quire_status pf_scan_peek(struct pf_scan *scan,
                                 const struct pf_span *span, uint64_t off,
                                 struct pg_frag *frag, bool *found)
{
    const uint8_t *p;
    size_t have;
    quire_status rc;

    *found = false;
    rc = pf_scan_at(scan, off, PG_FRAG_HEADER, &p, &have);
    if (rc != QUIRE_OK || have < PG_FRAG_HEADER)
        return rc;
    *found = pg_frag_peek(p, have, frag) == QUIRE_OK &&
             frag->id == pg_id_make(off, span->epoch) &&
             frag->stored_len >= PG_FRAG_HEADER &&
             frag->stored_len <= PF_FRAG_MAX &&
             frag->stored_len <= pf_span_end(span) - off;
    return QUIRE_OK;
}

/* Decode the record whose header was found at `off`; *found is false when it
 * isn't one after all. */
static quire_status pf_scan_record(struct pf_scan *scan,
                                   const struct pg_frag *frag, uint64_t off,
                                   struct pf_record *rec,
                                   struct pf_record_tail *tail, bool *found)
{
    const uint8_t *p;
    size_t have;
    quire_status rc;

    *found = false;
    if (frag->kind != PG_RECORD || frag->stored_len > PF_RECORD_FRAG_MAX)
        return QUIRE_OK;
    rc = pf_scan_at(scan, off, frag->stored_len, &p, &have);
    if (rc != QUIRE_OK || have < frag->stored_len)
        return rc;
    rc = pf_record_parse(&scan->file->geo, p, frag->stored_len, frag->id, NULL,
                         scan->raw, rec, tail);
    if (rc != QUIRE_OK)
        return QUIRE_OK;
    *found = true;
    scan->incarnation = ra_max_u64(scan->incarnation, rec->incarnation);
    return QUIRE_OK;
}

static bool pf_same_span(const struct pf_span *a, const struct pf_span *b)
{
    return a->off == b->off && a->len == b->len && a->epoch == b->epoch;
}

/* Is there a whole batch at `off` of `span`? (PF-2) */
static quire_status pf_scan_batch(struct pf_scan *scan,
                                  const struct pf_span *span, uint64_t off,
                                  struct pf_record *rec, bool *whole)
{
    uint64_t pos = off;
    struct pf_record_tail tail;
    struct pg_frag frag;
    XXH3_state_t hash;
    quire_status rc;

    *whole = false;
    XXH3_64bits_reset(&hash);
    while (pos < pf_span_end(span)) {
        uint64_t len;
        bool found;

        rc = pf_scan_peek(scan, span, pos, &frag, &found);
        if (rc != QUIRE_OK || !found)
            return rc;
        if (frag.kind == PG_RECORD)
            break;
        len = ra_round_up(frag.stored_len, PG_ALIGN);
        rc = pf_scan_hash(scan, pos, len, &hash, &found);
        if (rc != QUIRE_OK || !found)
            return rc;
        pos += len;
    }
    if (pos >= pf_span_end(span))
        return QUIRE_OK;
    rc = pf_scan_record(scan, &frag, pos, rec, &tail, whole);
    if (rc == QUIRE_OK && *whole)
        *whole = rec->batch_off == off && pf_same_span(&rec->span, span) &&
                 (tail.batch_sum == XXH3_64bits_digest(&hash) ||
                  ra_broken(RA_BROKEN_BATCH_SUM) ||
                  ra_broken(RA_BROKEN_ALL_SUMS));
    return rc;
}

/* Does `rec` continue the log after `head`? */
static bool pf_head_follows(const struct pf_head *head,
                            const struct pf_record *rec)
{
    return rec->rev == head->rec.rev + 1 && rec->prev_sum == head->rec.sum &&
           rec->incarnation >= head->floor;
}

/* Move `head` one batch forward; *moved says whether there was one. */
static quire_status pf_head_next(struct pf_scan *scan, struct pf_head *head,
                                 bool *moved)
{
    const struct pf_record *best = NULL;
    struct pf_record near;
    bool whole = false;
    quire_status rc;

    if (scan->other_off != head->rec.next_span.off) {
        rc = pf_scan_batch(scan, &head->rec.next_span, head->rec.next_span.off,
                           &scan->other, &scan->other_whole);
        if (rc != QUIRE_OK)
            return rc;
        scan->other_off = head->rec.next_span.off;
    }
    rc = pf_scan_batch(scan, &head->rec.span, head->rec.batch_end, &near,
                       &whole);
    if (rc != QUIRE_OK)
        return rc;
    if (whole && pf_head_follows(head, &near))
        best = &near;
    if (scan->other_whole && pf_head_follows(head, &scan->other) &&
        (best == NULL || scan->other.incarnation > best->incarnation))
        best = &scan->other;
    *moved = best != NULL;
    if (best != NULL) {
        head->rec = *best;
        head->floor = best->incarnation;
    }
    return QUIRE_OK;
}

/* The record that the superblock names. It is durable, so that not to find it
 * is a loss. */
static quire_status pf_head_start(struct pf_scan *scan, struct pf_head *head)
{
    const struct pf_file *file = scan->file;
    const struct pf_super *super = &file->super;
    uint64_t off = pg_id_off(super->id);
    struct pf_record_tail tail;
    const uint8_t *p;
    size_t have;
    quire_status rc;

    if (super->stored_len < PG_FRAG_HEADER ||
        super->stored_len > PF_RECORD_FRAG_MAX)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: the superblock names a record of %u bytes",
                       file->path, super->stored_len);
    rc = pf_scan_at(scan, off, super->stored_len, &p, &have);
    if (rc != QUIRE_OK)
        return rc;
    if (have < super->stored_len)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: the file ends at %llu, before the record of "
                       "revision %llu at %llu: it was cut",
                       file->path, PF_ULL(off + have), PF_ULL(super->rev),
                       PF_ULL(off));
    rc = pf_record_parse(&file->geo, p, super->stored_len, super->id,
                         &super->sum, scan->raw, &head->rec, &tail);
    if (rc == QUIRE_OK && head->rec.rev != super->rev)
        rc = QUIRE_CORRUPT;
    if (rc != QUIRE_OK)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: the record of revision %llu at %llu, which the "
                       "superblock names, is damaged",
                       file->path, PF_ULL(super->rev), PF_ULL(off));
    head->floor = ra_max_u64(super->incarnation, head->rec.incarnation);
    scan->incarnation = ra_max_u64(scan->incarnation, head->floor);
    return QUIRE_OK;
}

/* Search [from, end of span) for a record that proves that a revision after
 * `last` was durable. */
static quire_status pf_scan_loss(struct pf_scan *scan,
                                 const struct pf_span *span, uint64_t from,
                                 const struct pf_record *last)
{
    for (uint64_t off = from; off < pf_span_end(span); off += PG_ALIGN) {
        struct pf_record rec;
        struct pf_record_tail tail;
        struct pg_frag frag;
        const uint8_t *p;
        size_t have;
        bool found;
        quire_status rc;

        rc = pf_scan_at(scan, off, PG_FRAG_HEADER, &p, &have);
        if (rc != QUIRE_OK)
            return rc;
        if (have < PG_FRAG_HEADER)
            return QUIRE_OK; /* the end of the file */
        if (ra_le32(p) != scan->magic)
            continue;
        rc = pf_scan_peek(scan, span, off, &frag, &found);
        if (rc == QUIRE_OK && found)
            rc = pf_scan_record(scan, &frag, off, &rec, &tail, &found);
        if (rc != QUIRE_OK)
            return rc;
        if (!found || rec.incarnation < last->incarnation)
            continue;
        if (rec.durable_through > last->rev)
            return ra_fail(QUIRE_CORRUPT,
                           "%s: revision %llu is missing at %llu, though the "
                           "record of revision %llu at %llu says that it was "
                           "durable",
                           scan->file->path, PF_ULL(last->rev + 1),
                           PF_ULL(last->batch_end), PF_ULL(rec.rev),
                           PF_ULL(off));
        if (rec.rev > last->rev && rec.rev > scan->tail_rev) {
            scan->tail_rev = rec.rev;
            scan->tail_next = rec.next_span;
        }
    }
    return QUIRE_OK;
}

/* PF-10: is there proof that the log went on beyond `last`? */
static quire_status pf_loss_check(struct pf_scan *scan,
                                  const struct pf_record *last)
{
    const struct pf_file *file = scan->file;
    uint64_t done = last->next_span.off;
    const uint8_t *p;
    size_t have;
    quire_status rc;

    if (file->super_other > last->rev)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: revision %llu is missing at %llu, though a "
                       "superblock names revision %llu",
                       file->path, PF_ULL(last->rev + 1),
                       PF_ULL(last->batch_end), PF_ULL(file->super_other));
    /* The search looks at every 16th byte, so it asks for more only where a
     * fragment seems to begin; the record is one that does. */
    rc = pf_scan_at(scan, pg_id_off(last->id), PG_FRAG_HEADER, &p, &have);
    if (rc != QUIRE_OK)
        return rc;
    QUIRE_ASSERT(have >= PG_FRAG_HEADER);
    scan->magic = ra_le32(p);
    rc = pf_scan_loss(scan, &last->span, last->batch_end, last);
    if (rc == QUIRE_OK)
        rc = pf_scan_loss(scan, &last->next_span, last->next_span.off, last);
    /* Ends, since only a later revision leads on. */
    while (rc == QUIRE_OK && scan->tail_rev != 0 &&
           scan->tail_next.off != done) {
        const struct pf_span span = scan->tail_next;

        done = span.off;
        rc = pf_scan_loss(scan, &span, done, last);
    }
    if (rc == QUIRE_OK && scan->tail_rev != 0)
        ra_log_line(&file->env.log, QUIRE_LOG_WARN,
                    "revisions up to %llu were written after %llu but never "
                    "made durable; they are cut",
                    PF_ULL(scan->tail_rev), PF_ULL(last->rev));
    return rc;
}

/* Write the blocks of a batch again as they are. A file may have been cut in
 * the zeros behind the record; they are made good. */
static quire_status pf_rewrite_batch(struct pf_scan *scan,
                                     const struct pf_record *rec)
{
    struct pf_file *file = scan->file;
    uint64_t off = rec->batch_off;
    quire_status rc;

    scan->win_len = 0; /* the window is used as a buffer */
    while (off < rec->batch_end) {
        size_t n = ra_min_u64(rec->batch_end - off, PF_OUT_BYTES);
        size_t got = 0;

        rc = pf_os_read(&file->os, scan->win, n, off, &got);
        if (rc != QUIRE_OK)
            return rc;
        memset(scan->win + got, 0, n - got);
        rc = pf_write_all(file, scan->win, n, off, false);
        if (rc != QUIRE_OK)
            return rc;
        off += n;
    }
    return QUIRE_OK;
}

/* Make the log after `base`, whose record is durable, durable up to `last`. */
static quire_status pf_rewrite_tail(struct pf_scan *scan,
                                    const struct pf_head *base,
                                    const struct pf_record *last)
{
    struct pf_head head = *base;
    bool moved = true;
    quire_status rc;

    if (last->rev == base->rec.rev || ra_broken(RA_BROKEN_TAIL_KEPT))
        return QUIRE_OK;
    scan->other_off = 0;
    while (head.rec.rev < last->rev) {
        rc = pf_head_next(scan, &head, &moved);
        if (rc == QUIRE_OK && !moved)
            rc = ra_fail(QUIRE_IO, "%s: the log changes while it is recovered",
                         scan->file->path);
        if (rc == QUIRE_OK && head.rec.rev > last->durable_through)
            rc = pf_rewrite_batch(scan, &head.rec);
        if (rc != QUIRE_OK)
            return rc;
    }
    if (ra_broken(RA_BROKEN_TAIL_UNSYNCED))
        return QUIRE_OK;
    rc = pf_sync(scan->file);
    return rc == QUIRE_UNDECIDED ? QUIRE_IO : rc;
}

/*
 * Walk the log. *base is the newest position that the walk passed whose record
 * was durable when *head's was written, or one before it: from there the tail
 * is written anew.
 */
static quire_status pf_walk(
    struct pf_scan *scan,
    quire_status (*on_record)(void *arg, const struct pf_record *rec),
    void *arg, struct pf_head *head, struct pf_head *base)
{
    struct pf_file *file = scan->file;
    struct pf_head later;
    bool moved = true;
    quire_status rc;

    rc = pf_head_start(scan, head);
    *base = *head;
    later = *head;
    while (rc == QUIRE_OK && moved) {
        if (on_record != NULL)
            rc = on_record(arg, &head->rec);
        if (rc != QUIRE_OK)
            break;
        /* `later` waits until a record says that it was durable. */
        if (later.rec.rev <= head->rec.durable_through) {
            *base = later;
            later = *head;
        }
        rc = pf_head_next(scan, head, &moved);
        if (rc == QUIRE_OK && moved)
            pf_count(&file->log_bytes,
                     head->rec.batch_end - head->rec.batch_off);
    }
    if (rc == QUIRE_OK)
        rc = pf_loss_check(scan, &head->rec);
    return rc;
}

/* Take the state of the log over and make the file ready for writing. */
static quire_status pf_recover_writer(struct pf_scan *scan,
                                      const struct pf_head *base,
                                      const struct pf_record *last)
{
    struct pf_file *file = scan->file;
    quire_status rc;

    /* Numbers that count up to here were never counted, but forged. */
    if (scan->incarnation >= PF_COUNT_MAX || last->rev >= PF_COUNT_MAX)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: revision %llu, incarnation %llu: no store gets "
                       "that old",
                       file->path, PF_ULL(last->rev),
                       PF_ULL(scan->incarnation));
    rc = pf_rewrite_tail(scan, base, last);
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_out_alloc(file);
    if (rc != QUIRE_OK)
        return rc;
    file->last = *last;
    file->frontier = last->frontier;
    file->incarnation = scan->incarnation + 1; /* PF-8 */
    if (ra_broken(RA_BROKEN_INCARNATION))
        file->incarnation = scan->incarnation;
    return pf_zero_start(file);
}

quire_status pf_file_recover(
    struct pf_file *file,
    quire_status (*on_record)(void *arg, const struct pf_record *rec),
    void *arg, struct pf_record *last)
{
    static const size_t sizes[2] = { PF_OUT_BYTES, PF_RECORD_BODY_MAX };
    void *segs[2] = { NULL, NULL };
    struct pf_scan scan;
    struct pf_head head;
    struct pf_head base;
    quire_status rc;

    rc = QUIRE_POINT_RC(PF_RECOVER_SEGMENTS, QUIRE_NOMEM,
                        ra_seg_alloc_many(file->env.pool, sizes, 2, segs));
    if (rc != QUIRE_OK)
        return rc;
    memset(&scan, 0, sizeof(scan));
    scan.file = file;
    scan.win = segs[0];
    scan.raw = segs[1];
    scan.incarnation = file->super.incarnation;
    rc = pf_walk(&scan, on_record, arg, &head, &base);
    if (rc != QUIRE_OK)
        goto out;
    file->last = head.rec;
    file->incarnation = head.floor;
    file->super_sync = PF_SYNC_NEVER;
    if (!file->rdonly) {
        rc = pf_recover_writer(&scan, &base, &head.rec);
        if (rc != QUIRE_OK)
            goto out;
    }
    file->written = head.rec.rev;
    pf_note(&file->durable, head.rec.rev);
    pf_note(&file->log_end, file->last.batch_end);
    pf_note(&file->incarnation_seen, file->incarnation);
    ra_log_line(&file->env.log, QUIRE_LOG_INFO,
                "recovered revision %llu, log ends at %llu, incarnation %llu",
                PF_ULL(head.rec.rev), PF_ULL(head.rec.batch_end),
                PF_ULL(file->incarnation));
    *last = head.rec;

out:
    ra_seg_free(file->env.pool, segs[1]);
    ra_seg_free(file->env.pool, segs[0]);
    return rc;
}
