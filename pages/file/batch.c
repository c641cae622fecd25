/*
 * batch.c - the commit stream: one batch for each revision.
 *
 *     block boundary                                          block boundary
 *     | fragment |.| fragment | fragment |.| record |000000000|
 *      ^ batch_off                          ^ last            ^ batch_end
 *
 * Where a batch may begin follows from the last record alone, since that is
 * all that recovery knows: at its batch_end, or at the start of its next_span.
 * The second place is taken when the batch does not fit into the rest of the
 * span, or when the first one is burned:
 *
 *     last.batch_end --- fits, not burned ---> batch in last.span,
 *                                              its next_span as before
 *                    --- else ---------------> batch at last.next_span, its
 *                                              next_span a new one (the spare)
 *
 * Burning (PF-7). A batch whose write failed for want of space may be on disk
 * all the same, whole, though its committer is told that it is not. Three
 * things keep it from coming back: its first block is overwritten with zeros
 * and synced; the blocks are left alone until the next record is in the other
 * place; and that record, and any superblock, carries a raised incarnation,
 * which recovery prefers. A second failure in the other place is answered by
 * writing there again: no third place can be found by recovery, and after the
 * zeros nothing in those blocks means anything.
 */
#include <stdio.h>

#include "pages/file/pf_impl.h"

static uint64_t pf_batch_rest(const struct pf_file *file)
{
    return file->burned ? 0
                        : pf_span_end(&file->last.span) - file->last.batch_end;
}

uint64_t pf_batch_room(struct pf_file *file)
{
    uint64_t most = ra_max_u64(pf_batch_rest(file), file->last.next_span.len);

    QUIRE_ASSERT(most > PF_RECORD_ROOM);
    return most - PF_RECORD_ROOM;
}

/* Give the unused end of the transaction's last span back to the frontier, so
 * that a great transaction does not leave a great hole. Only one that came
 * from the frontier: what comes from there has never been used (PF-6). */
static void pf_batch_trim_ahead(struct pf_file *file)
{
    struct pf_span *span;
    uint64_t end;

    if (!file->ahead_owned || file->ntxn_spans == 0)
        return;
    end = ra_round_up(file->ahead_pos, file->geo.block_bytes) + PF_AHEAD_MIN;
    span = &file->txn_spans[file->ntxn_spans - 1];
    if (pf_span_end(span) != file->frontier || span->off != file->ahead.off ||
        span->epoch != 0 || end >= file->frontier)
        return;
    span->len = end - span->off;
    file->ahead.len = span->len;
    file->frontier = end;
}

/* PF-3: what was written ahead is on disk before the record that needs it. */
static quire_status pf_batch_sync_ahead(struct pf_file *file)
{
    quire_status rc;

    rc = pf_ahead_flush(file);
    if (rc != QUIRE_OK || !file->ahead_unsynced ||
        ra_broken(RA_BROKEN_AHEAD_LATE))
        return rc;
    rc = pf_sync(file);
    if (rc == QUIRE_UNDECIDED)
        return QUIRE_IO; /* of this transaction nothing is in the log */
    if (rc == QUIRE_OK)
        file->ahead_unsynced = false;
    return rc;
}

/* Choose where the batch begins; `need` bytes with its record. */
static quire_status pf_batch_place(struct pf_file *file, uint64_t need)
{
    quire_status rc;

    if (need <= pf_batch_rest(file)) {
        file->batch_span = file->last.span;
        file->batch_next = file->last.next_span;
        file->batch_off = file->last.batch_end;
        return QUIRE_OK;
    }
    if (need > file->last.next_span.len)
        return ra_fail(QUIRE_INVAL,
                       "%s: a batch of %llu bytes, more than there is room for",
                       file->path, PF_ULL(need));
    if (file->spare.len == 0) {
        rc = QUIRE_POINT_RC(
            PF_BATCH_SPAN, QUIRE_NOSPACE,
            pf_span_reserve(file, pf_span_stream_len(file), &file->spare));
        if (rc != QUIRE_OK)
            return rc;
    }
    file->batch_span = file->last.next_span;
    file->batch_next = file->spare;
    file->batch_off = file->batch_span.off;
    return QUIRE_OK;
}

/* Bytes of the record's fragment, at most. Its references' chains are not
 * known yet. */
static uint64_t pf_batch_record_bound(const struct pf_file *file)
{
    struct pf_record rec;

    memset(&rec, 0, sizeof(rec));
    rec.catalogue.nchain = PG_CHAIN_MAX;
    rec.system.nchain = PG_CHAIN_MAX;
    rec.dead.nchain = PG_CHAIN_MAX;
    return ra_round_up(
        pg_frag_bound(pf_record_bound(&rec, file->ntxn_spans + 1), 0),
        PG_ALIGN);
}

quire_status pf_batch_begin(struct pf_file *file, uint64_t max_bytes)
{
    uint64_t record = pf_batch_record_bound(file);
    quire_status rc;

    QUIRE_ASSERT(!file->rdonly);
    QUIRE_ASSERT(!file->batch_open);
    rc = pf_batch_sync_ahead(file);
    if (rc != QUIRE_OK)
        return rc;
    pf_batch_trim_ahead(file);
    max_bytes = ra_round_up(max_bytes, PG_ALIGN);
    rc = pf_batch_place(file, max_bytes + record);
    if (rc != QUIRE_OK)
        return rc;
    pf_out_begin(file, file->batch_off);
    XXH3_64bits_reset(file->hash);
    file->batch_limit = pf_span_end(&file->batch_span) - record;
    file->batch_written = false;
    file->batch_open = true;
    QUIRE_ASSERT_SLOW(pf_check_file(file));
    return QUIRE_OK;
}

quire_status pf_batch_add(struct pf_file *file, struct pg_frag_in *in,
                          struct pg_ref *ref)
{
    size_t bound = ra_round_up(pg_frag_bound(in->body_len, in->nchain),
                               PG_ALIGN);
    uint64_t pos = pf_out_pos(file);
    size_t start;
    size_t len;
    quire_status rc;

    QUIRE_ASSERT(file->batch_open);
    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    if (bound > file->batch_limit - pos)
        return ra_fail(QUIRE_INVAL,
                       "%s: the batch is longer than it was begun with",
                       file->path);
    rc = pf_out_room(file, bound);
    if (rc != QUIRE_OK)
        return rc;
    start = file->out_len;
    in->id = pg_id_make(pos, file->batch_span.epoch);
    len = pg_frag_encode(in, file->out + start, bound, ref);
    QUIRE_ASSERT(len != 0);
    file->out_len += len;
    pf_out_pad(file, PG_ALIGN);
    XXH3_64bits_update(file->hash, file->out + start, file->out_len - start);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
    return QUIRE_OK;
}

/*
 * Append the record's fragment and complete *rec. The body is built at the end
 * of the buffer and the fragment in front of it.
 */
static quire_status pf_batch_add_record(struct pf_file *file,
                                        struct pf_record *rec)
{
    bool moved = file->batch_off == file->last.next_span.off;
    unsigned nspans = file->ntxn_spans;
    size_t body_cap;
    size_t bound;
    struct pf_record_tail tail;
    struct pg_frag_in in;
    struct pg_ref ref;
    quire_status rc;

    rec->prev_sum = file->last.sum;
    rec->incarnation = file->incarnation;
    rec->batch_off = file->batch_off;
    rec->span = file->batch_span;
    rec->next_span = file->batch_next;
    rec->frontier = file->frontier;

    body_cap = ra_round_up(pf_record_bound(rec, nspans + moved), PG_ALIGN);
    bound = ra_round_up(pg_frag_bound(body_cap, 0), PG_ALIGN);
    rc = pf_out_room(file, bound + body_cap);
    if (rc != QUIRE_OK)
        return rc;
    tail.batch_len = pf_out_pos(file) - file->batch_off;
    tail.batch_sum = XXH3_64bits_digest(file->hash);

    memset(&in, 0, sizeof(in));
    in.kind = PG_RECORD;
    in.self_contained = true;
    in.id = pg_id_make(pf_out_pos(file), file->batch_span.epoch);
    in.birth = rec->rev;
    in.body = file->out + file->out_cap - body_cap;
    if (moved) /* the list has room: PF_SPANS_MAX is checked before */
        file->txn_spans[nspans++] = file->batch_next;
    in.body_len = pf_record_encode(rec, file->geo.uuid, &tail, file->txn_spans,
                                   nspans,
                                   file->out + file->out_cap - body_cap);
    QUIRE_ASSERT(in.body_len <= body_cap);
    file->out_len += pg_frag_encode(&in, file->out + file->out_len, bound,
                                    &ref);
    rec->id = ref.id;
    rec->sum = ref.sum;
    rec->stored_len = ref.stored_len;
    rec->batch_end = ra_round_up(pf_out_pos(file), file->geo.block_bytes);
    QUIRE_ASSERT(rec->batch_end <= pf_span_end(&rec->span));
    return QUIRE_OK;
}

/* The batch is given up after a part of it may have been written. */
static void pf_batch_burn(struct pf_file *file)
{
    if (file->batch_off == file->last.batch_end)
        file->burned = true;
    file->incarnation++;
    pf_note(&file->incarnation_seen, file->incarnation);
    ra_log_line(&file->env.log, QUIRE_LOG_WARN,
                "blocks from %llu on are left alone after a failed write; "
                "incarnation %llu",
                PF_ULL(file->batch_off), PF_ULL(file->incarnation));
}

/*
 * A batch that may be whole on disk has failed: make it unreadable. Where that
 * is refused too (for want of space: then its first block was most likely never
 * there), what it refers to must not be written over either.
 */
static void pf_batch_kill(struct pf_file *file)
{
    quire_status rc;

    if (ra_broken(RA_BROKEN_NO_KILL))
        return;
    pf_zero_claim(file, file->batch_off,
                  file->batch_off + file->geo.block_bytes);
    rc = pf_os_zero(&file->os, NULL, file->geo.block_bytes, file->batch_off);
    if (rc == QUIRE_OK)
        rc = pf_sync(file);
    else if (rc != QUIRE_NOSPACE)
        pf_poison(file, quire_error_detail());
    if (rc != QUIRE_OK) {
        pf_span_keep(file);
        file->ahead_owned = false;
    }
}

/* What pf_batch_commit() must not do: the record's block goes first and is
 * synced. For RA_BROKEN_RECORD_FIRST. */
static quire_status pf_batch_record_first(struct pf_file *file)
{
    size_t block = file->geo.block_bytes;
    size_t front;
    quire_status rc;

    pf_out_pad(file, block);
    front = file->out_len - block;
    rc = pf_write_all(file, file->out + front, block, file->out_off + front,
                      false);
    if (rc == QUIRE_OK)
        rc = pf_os_sync(&file->os, false);
    return rc == QUIRE_OK ? pf_out_flush(file) : rc;
}

quire_status pf_batch_commit(struct pf_file *file, struct pf_record *rec,
                             enum pf_batch_sync sync)
{
    bool moved = file->batch_off == file->last.next_span.off;
    uint64_t len;
    quire_status rc;

    QUIRE_ASSERT(file->batch_open);
    QUIRE_ASSERT(rec->rev == file->last.rev + 1);
    QUIRE_ASSERT(rec->durable_through < rec->rev);
    rc = pf_file_poisoned(file) ? pf_refuse_poisoned(file)
                                : pf_batch_add_record(file, rec);
    if (rc != QUIRE_OK) { /* without its record the batch is nothing */
        pf_batch_abort(file);
        return rc;
    }
    file->batch_now = sync == PF_BATCH_ALONE && pf_sync_alone(file);
    if (sync == PF_BATCH_UNSYNCED || file->batch_now || !pf_pend_add(file))
        rc = ra_broken(RA_BROKEN_RECORD_FIRST) ? pf_batch_record_first(file)
                                               : pf_out_flush(file);
    file->batch_open = false;
    file->batch_now = false;
    if (rc == QUIRE_NOSPACE) {
        char detail[256];

        /* Killing may fail and say so; what counts is why this failed. */
        snprintf(detail, sizeof(detail), "%s", quire_error_detail());
        pf_out_drop(file);
        pf_batch_burn(file);
        pf_batch_kill(file);
        return ra_fail(pf_file_poisoned(file) ? QUIRE_UNDECIDED : QUIRE_NOSPACE,
                       "%s", detail);
    }
    if (rc != QUIRE_OK) {
        pf_out_drop(file);
        return rc == QUIRE_POISONED ? rc : QUIRE_UNDECIDED;
    }

    if (moved)
        memset(&file->spare, 0, sizeof(file->spare));
    file->burned = false;
    file->last = *rec;
    pf_span_keep(file);
    file->ahead_owned = false;
    file->ahead_bytes = 0;
    len = rec->batch_end - rec->batch_off;
    pf_count(&file->log_bytes, len);
    pf_note(&file->log_end, rec->batch_end);
    pf_sync_note(file, rec->rev);
    pf_zero_move(file, &rec->span, rec->batch_end, len < PF_OUT_BYTES);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
    return QUIRE_OK;
}

void pf_batch_abort(struct pf_file *file)
{
    if (!file->batch_open)
        return;
    file->batch_open = false;
    pf_out_drop(file);
    /* Without its record the batch does not exist, so nothing need be killed;
     * but its blocks were written once. */
    if (file->batch_written)
        pf_batch_burn(file);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
}
