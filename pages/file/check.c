/*
 * check.c - the writer's state, invariant by invariant.
 *
 * Called by the functions that change it, on the way in and out, in builds with
 * slow assertions; and by tests.
 */
#include "pages/file/pf_impl.h"

/* Whole blocks behind the superblocks, not beyond the frontier. */
static bool pf_check_span(const struct pf_file *file,
                          const struct pf_span *span)
{
    uint64_t block = file->geo.block_bytes;

    return span->len != 0 && span->off % block == 0 && span->len % block == 0 &&
           span->off >= 2 * block && pf_span_end(span) <= file->frontier;
}

static bool pf_check_apart(const struct pf_span *a, const struct pf_span *b)
{
    return a->len == 0 || b->len == 0 || pf_span_end(a) <= b->off ||
           pf_span_end(b) <= a->off;
}

/* PF-12, for a list and the spans of the stream. */
static bool pf_check_list(const struct pf_file *file,
                          const struct pf_span *spans, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!pf_check_span(file, &spans[i]) ||
            !pf_check_apart(&spans[i], &file->last.span) ||
            !pf_check_apart(&spans[i], &file->last.next_span) ||
            !pf_check_apart(&spans[i], &file->spare) ||
            (i > 0 && !pf_check_apart(&spans[i], &spans[i - 1])))
            return false;
    return true;
}

static bool pf_check_ahead(const struct pf_file *file)
{
    if (file->ahead.len == 0)
        return !file->ahead_owned;
    /* It is the one that was taken last, or left by an earlier commit. */
    if (file->ahead_owned &&
        (file->ntxn_spans == 0 ||
         file->txn_spans[file->ntxn_spans - 1].off != file->ahead.off))
        return false;
    return pf_check_span(file, &file->ahead) &&
           pf_check_apart(&file->ahead, &file->last.span) &&
           pf_check_apart(&file->ahead, &file->last.next_span) &&
           pf_check_apart(&file->ahead, &file->spare) &&
           file->ahead_pos >= file->ahead.off &&
           file->ahead_pos <= pf_span_end(&file->ahead);
}

static bool pf_check_out(const struct pf_file *file)
{
    if (file->out_len > file->out_cap ||
        file->out_off % file->geo.block_bytes != 0)
        return false;
    if (file->batch_open) /* PF-7: one of the two places */
        return (file->batch_off == file->last.next_span.off ||
                (file->batch_off == file->last.batch_end && !file->burned)) &&
               pf_out_pos(file) <= file->batch_limit &&
               file->batch_limit <= pf_span_end(&file->batch_span);
    return file->out_len == 0 || pf_out_pos(file) == file->ahead_pos;
}

bool pf_check_file(const struct pf_file *file)
{
    const struct pf_record *last = &file->last;

    if (file->table == NULL)
        return true; /* not for writing, or not recovered */
    return pf_check_span(file, &last->span) &&
           pf_check_span(file, &last->next_span) &&
           pf_check_apart(&last->span, &last->next_span) &&
           last->batch_end >= last->span.off &&
           last->batch_end <= pf_span_end(&last->span) &&
           (file->spare.len == 0 || pf_check_span(file, &file->spare)) &&
           pf_check_apart(&file->spare, &last->span) &&
           pf_check_apart(&file->spare, &last->next_span) &&
           file->incarnation >= last->incarnation && /* PF-8 */
           file->ntxn_spans <= PF_SPANS_MAX &&
           file->nfree_spans <= PF_SPANS_MAX &&
           pf_check_list(file, file->txn_spans, file->ntxn_spans) &&
           pf_check_list(file, file->free_spans, file->nfree_spans) &&
           pf_check_ahead(file) && pf_check_out(file);
}
