/*
 * span.c - spans: where the stream and what is written ahead may lie.
 *
 * The frontier is a number: no span reaches beyond it. Reserving moves it and
 * writes nothing; a file grows only by what is written to it. A span that was
 * reserved, but that no commit names, is forgotten by a crash, and the next
 * opener reserves the same range again. That is safe: nothing refers to it.
 *
 *     superblocks | first span | next span | ahead | ahead | ... | frontier
 *
 * Spans never overlap (PF-12).
 *
 * A transaction's spans ahead grow with what it has written, so that their
 * number stays logarithmic, and with it the list in its commit record.
 *
 * Spans of an aborted transaction are offered again under a raised epoch:
 * their fragments' ids were seen by the cache, and an id never names two
 * things (PF-6).
 */
#include "pages/file/pf_impl.h"

/* The greatest power of two that is not above `x`, which is not 0. */
static uint64_t pf_span_pow2(uint64_t x)
{
    return (uint64_t)1 << (63 - __builtin_clzll(x));
}

static uint64_t pf_span_clamp(uint64_t x, uint64_t least, uint64_t most)
{
    return x <= least ? least : pf_span_pow2(ra_min_u64(x, most));
}

quire_status pf_span_reserve(struct pf_file *file, uint64_t len,
                             struct pf_span *span)
{
    QUIRE_ASSERT(len % file->geo.block_bytes == 0);
    if (len > PF_FILE_MAX - file->frontier)
        return ra_fail(QUIRE_NOSPACE, "%s: the greatest file offset is reached",
                       file->path);
    span->off = file->frontier;
    span->len = len;
    span->epoch = 0;
    file->frontier += len;
    return QUIRE_OK;
}

uint64_t pf_span_stream_len(const struct pf_file *file)
{
    return pf_span_clamp(file->frontier / 8, PF_STREAM_MIN, PF_STREAM_MAX);
}

quire_status pf_span_take(struct pf_file *file, uint64_t len,
                          struct pf_span *span)
{
    uint64_t want = pf_span_clamp(file->ahead_bytes / 4, PF_AHEAD_MIN,
                                  PF_AHEAD_MAX);
    unsigned best = PF_SPANS_MAX;
    quire_status rc;

    QUIRE_ASSERT(len <= want);
    if (file->ntxn_spans == PF_SPANS_MAX)
        return ra_fail(QUIRE_NOSPACE,
                       "%s: the transaction has written too much ahead",
                       file->path);
    for (unsigned i = 0; i < file->nfree_spans; i++)
        if (file->free_spans[i].len >= want &&
            (best == PF_SPANS_MAX ||
             file->free_spans[i].len < file->free_spans[best].len))
            best = i;
    if (best != PF_SPANS_MAX) {
        *span = file->free_spans[best];
        file->free_spans[best] = file->free_spans[--file->nfree_spans];
    } else {
        rc = QUIRE_POINT_RC(PF_AHEAD_RESERVE, QUIRE_NOSPACE,
                            pf_span_reserve(file, want, span));
        if (rc != QUIRE_OK)
            return rc;
    }
    file->txn_spans[file->ntxn_spans++] = *span;
    return QUIRE_OK;
}

void pf_span_give_back(struct pf_file *file, unsigned from)
{
    for (unsigned i = from; i < file->ntxn_spans; i++) {
        struct pf_span span = file->txn_spans[i];

        /* A span whose epoch would wrap is retired, and when the list is full
         * the range is given up: both cost file space only. */
        if (span.epoch == UINT16_MAX || file->nfree_spans == PF_SPANS_MAX)
            continue;
        span.epoch++;
        file->free_spans[file->nfree_spans++] = span;
    }
    file->ntxn_spans = from;
}

void pf_span_keep(struct pf_file *file)
{
    file->ntxn_spans = 0;
}
