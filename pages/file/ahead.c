/*
 * ahead.c - what a transaction writes before its commit.
 *
 * A transaction larger than its share of memory writes finished pages ahead,
 * into spans of its own, never into the commit stream. They are referred to by
 * nothing in the file until its commit record is there, and that is written
 * only after they have been synced (PF-3).
 *
 *     span:   | earlier transaction |pad| this one ...    | free |
 *                                       ^ block boundary  ^ ahead_pos
 *
 * The rest of a partly filled span serves the next transaction, from the next
 * block on, committed or not: a block that was written is never written again,
 * and an id never names two things (PF-1, PF-6).
 *
 * A failed write loses what was buffered, fragments included for which
 * pf_ahead_add() had said QUIRE_OK; so from then on every call of this
 * transaction fails until pf_ahead_abort().
 */
#include "pages/file/pf_impl.h"

/* May the transaction still write? */
static quire_status pf_ahead_usable(const struct pf_file *file)
{
    QUIRE_ASSERT(!file->rdonly);
    QUIRE_ASSERT(!file->batch_open);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    if (file->ahead_failed)
        return ra_fail(QUIRE_NOSPACE,
                       "%s: an earlier write of this transaction failed",
                       file->path);
    return QUIRE_OK;
}

quire_status pf_ahead_flush(struct pf_file *file)
{
    quire_status rc;

    rc = pf_ahead_usable(file);
    if (rc != QUIRE_OK || file->out_len == 0)
        return rc;
    rc = pf_out_flush(file);
    if (rc != QUIRE_OK) {
        file->ahead_failed = true;
        return rc;
    }
    file->ahead_pos = pf_out_pos(file);
    return QUIRE_OK;
}

/* Make `ahead` a span with room for `bound` bytes at ahead_pos, and the buffer
 * continue there. */
static quire_status pf_ahead_room(struct pf_file *file, size_t bound)
{
    struct pf_span span;
    quire_status rc;

    if (file->ahead.len == 0 ||
        bound > pf_span_end(&file->ahead) - file->ahead_pos) {
        rc = pf_ahead_flush(file);
        if (rc != QUIRE_OK)
            return rc;
        rc = QUIRE_POINT_RC(PF_AHEAD_SPAN, QUIRE_NOSPACE,
                            pf_span_take(file, bound, &span));
        if (rc != QUIRE_OK)
            return rc;
        file->ahead = span;
        file->ahead_pos = span.off;
        file->ahead_owned = true;
    }
    if (file->out_len == 0)
        pf_out_begin(file, file->ahead_pos);
    return QUIRE_OK;
}

quire_status pf_ahead_add(struct pf_file *file, struct pg_frag_in *in,
                          struct pg_ref *ref)
{
    size_t bound = ra_round_up(pg_frag_bound(in->body_len, in->nchain),
                               PG_ALIGN);
    size_t len;
    quire_status rc;

    rc = pf_ahead_usable(file);
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_ahead_room(file, bound);
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_out_room(file, bound);
    if (rc != QUIRE_OK) {
        file->ahead_failed = true;
        return rc;
    }
    QUIRE_ASSERT(pf_out_pos(file) == file->ahead_pos);
    in->id = pg_id_make(file->ahead_pos, file->ahead.epoch);
    len = pg_frag_encode(in, file->out + file->out_len, bound, ref);
    QUIRE_ASSERT(len != 0);
    file->out_len += len;
    pf_out_pad(file, PG_ALIGN);
    file->ahead_bytes += pf_out_pos(file) - file->ahead_pos;
    file->ahead_pos = pf_out_pos(file);
    pf_count(&file->ahead_frags, 1);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
    return QUIRE_OK;
}

void pf_ahead_abort(struct pf_file *file)
{
    QUIRE_ASSERT(!file->batch_open);
    /* Of what is buffered nothing was written; its blocks are skipped all the
     * same, since their ids were given out. */
    file->ahead_pos = ra_round_up(file->ahead_pos, file->geo.block_bytes);
    pf_out_drop(file);
    if (file->ahead_owned || file->ahead_pos == pf_span_end(&file->ahead)) {
        memset(&file->ahead, 0, sizeof(file->ahead));
        file->ahead_pos = 0;
    }
    file->ahead_owned = false;
    file->ahead_failed = false;
    file->ahead_unsynced = false;
    file->ahead_bytes = 0;
    pf_span_give_back(file, 0);
    QUIRE_ASSERT_SLOW(pf_check_file(file));
}

quire_status pf_ahead_mark(struct pf_file *file, struct pf_ahead_mark *mark)
{
    quire_status rc;

    rc = pf_ahead_flush(file);
    if (rc != QUIRE_OK)
        return rc;
    mark->nspans = file->ntxn_spans;
    mark->off = file->ahead.off;
    mark->nbytes = file->ahead_bytes;
    return QUIRE_OK;
}

void pf_ahead_rewind(struct pf_file *file, const struct pf_ahead_mark *mark)
{
    QUIRE_ASSERT(!file->batch_open && mark->nspans <= file->ntxn_spans);
    /* As in pf_ahead_abort(): ids that were given out are not used again. */
    file->ahead_pos = ra_round_up(file->ahead_pos, file->geo.block_bytes);
    pf_out_drop(file);
    if (file->ahead.off != mark->off ||
        file->ahead_pos == pf_span_end(&file->ahead)) {
        /* It goes back; the one before had no room left. */
        memset(&file->ahead, 0, sizeof(file->ahead));
        file->ahead_pos = 0;
        file->ahead_owned = false;
    }
    pf_span_give_back(file, mark->nspans);
    file->ahead_bytes = mark->nbytes; /* sizes the next span */
    QUIRE_ASSERT_SLOW(pf_check_file(file));
}
