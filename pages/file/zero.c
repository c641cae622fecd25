/*
 * zero.c - zeros ahead of the log.
 *
 * A sync after appending must also write the file's new length and extents,
 * which costs a second round to the disk. So a background thread writes zeros
 * ahead of the log and syncs them, and a small commit then overwrites blocks
 * that exist. It works in steps, from 64 KiB doubling to 1 MiB, so that a small
 * store stays a small file, and only within the span that the log is in. Large
 * batches do not wake it: they spend their time elsewhere.
 *
 *     log          last batch |  zeros on disk  | step in progress |
 *     ... | batch | batch     |                 |                  |   span end
 *                 zero_from ^      zero_done ^     zero_busy_to ^
 *
 * The thread and the writer never write the same block at the same time (PF-9).
 * The thread takes a range that begins at the greater of zero_from and
 * zero_done; the writer, before it writes, first waits until a step that meets
 * its range has written its zeros, then moves zero_from behind it. Both under
 * the lock, which nobody holds while writing. For the step's sync the writer
 * does not wait: what it writes over the zeros is in the cache of the system
 * after them.
 *
 * Only syncs ask for zeros, since only they are faster for them. The thread has
 * a condition variable to itself: to wake it for each commit would cost a
 * commit more than the zeros save.
 *
 * Without background threads no zeros are written.
 *
 * The zeros are a service: if they cannot be written that is logged, and none
 * are written any more. But a failed sync counts, since the system may have
 * meant anybody's pages (PF-5).
 */
#include <stdio.h>

#include "pages/file/pf_impl.h"

#define PF_ZERO_STEP_MIN ((uint64_t)64 << 10) /* bytes */
#define PF_ZERO_STEP_MAX ((uint64_t)1 << 20)

/* Under the lock: where the next step would begin. */
static uint64_t pf_zero_next(const struct pf_file *file)
{
    return ra_max_u64(file->zero_from, file->zero_done);
}

/* Under the lock: take the next step's range, if there is one. */
static bool pf_zero_take(struct pf_file *file)
{
    uint64_t end = pf_span_end(&file->zero_span);
    uint64_t from = pf_zero_next(file);

    if (!file->zero_wanted || from >= end)
        return false;
    file->zero_busy_from = from;
    file->zero_busy_to = from + ra_min_u64(file->zero_step, end - from);
    file->zero_writing = true;
    return true;
}

/* The step writes no more: who waited to write there may. */
static void pf_zero_written(struct pf_file *file)
{
    ra_mutex_lock(&file->lock);
    file->zero_writing = false;
    pthread_cond_broadcast(&file->changed);
    ra_mutex_unlock(&file->lock);
}

/* Write the zeros of a step and sync them. No lock is held. */
static quire_status pf_zero_write(struct pf_file *file, uint64_t from,
                                  uint64_t to)
{
    quire_status rc;

    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    rc = pf_os_zero(&file->os, file, to - from, from);
    pf_zero_written(file);
    if (rc == QUIRE_OK)
        rc = pf_sync(file); /* poisons when it fails */
    if (rc == QUIRE_OK)
        pf_count(&file->zeroed_bytes, to - from);
    else
        ra_log_line(&file->env.log, QUIRE_LOG_WARN,
                    "no zeros are written ahead any more: %s",
                    quire_error_detail());
    return rc;
}

static void pf_zero_run(void *arg)
{
    struct pf_file *file = arg;
    bool failed = false;

    ra_mutex_lock(&file->lock);
    while (!file->zero_stop) {
        uint64_t from;
        uint64_t to;
        uint64_t span_off;
        quire_status rc;

        if (failed || !pf_zero_take(file)) {
            file->zero_wanted = false;
            ra_cond_wait(&file->zero_news, &file->lock);
            continue;
        }
        from = file->zero_busy_from;
        to = file->zero_busy_to;
        span_off = file->zero_span.off;
        ra_mutex_unlock(&file->lock);
        rc = pf_zero_write(file, from, to);
        ra_mutex_lock(&file->lock);
        failed = rc != QUIRE_OK;
        /* The log may have moved on to another span meanwhile. */
        if (!failed && file->zero_span.off == span_off)
            file->zero_done = ra_max_u64(file->zero_done, to);
        file->zero_busy_from = 0;
        file->zero_busy_to = 0;
        file->zero_writing = false;
        file->zero_step = ra_min_u64(2 * file->zero_step, PF_ZERO_STEP_MAX);
        file->zero_wanted = false;
        pthread_cond_broadcast(&file->changed);
    }
    ra_mutex_unlock(&file->lock);
}

void pf_zero_move(struct pf_file *file, const struct pf_span *span,
                  uint64_t from, bool small)
{
    uint64_t left;

    ra_mutex_lock(&file->lock);
    if (file->zero_span.off != span->off) {
        file->zero_span = *span;
        file->zero_done = from;
    }
    file->zero_from = from;
    left = pf_zero_next(file) - from;
    /* A quarter of the next step is half of the one before, so that a store
     * grows by zeros only as it grows by commits. */
    file->zero_low = small && left < file->zero_step / 4;
    ra_mutex_unlock(&file->lock);
}

void pf_zero_ask(struct pf_file *file)
{
    if (!file->zero_low || file->zero_wanted)
        return;
    file->zero_wanted = true;
    pthread_cond_signal(&file->zero_news);
}

void pf_zero_claim(struct pf_file *file, uint64_t from, uint64_t to)
{
    ra_mutex_lock(&file->lock);
    while (file->zero_writing && file->zero_busy_from < to &&
           file->zero_busy_to > from)
        ra_cond_wait(&file->changed, &file->lock);
    if (from >= file->zero_span.off && from < pf_span_end(&file->zero_span))
        file->zero_from = ra_max_u64(file->zero_from, to);
    ra_mutex_unlock(&file->lock);
}

quire_status pf_zero_start(struct pf_file *file)
{
    const struct quire_sys *sys = ra_pool_sys(file->env.pool);
    char buf[128];
    int r;

    file->zero_step = PF_ZERO_STEP_MIN;
    pf_zero_move(file, &file->last.span, file->last.batch_end, false);
    if (!file->env.background)
        return QUIRE_OK;
    r = QUIRE_POINT(
        PF_ZERO_THREAD, -EAGAIN,
        sys->thread_create(sys->ctx, pf_zero_run, file, &file->zero_thread));
    if (r < 0) {
        file->zero_thread = NULL;
        return ra_fail(QUIRE_NOMEM, "%s: cannot start a thread: %s", file->path,
                       strerror_r(-r, buf, sizeof(buf)));
    }
    return QUIRE_OK;
}

void pf_zero_stop(struct pf_file *file)
{
    const struct quire_sys *sys = ra_pool_sys(file->env.pool);

    if (file->zero_thread == NULL)
        return;
    ra_mutex_lock(&file->lock);
    file->zero_stop = true;
    pthread_cond_signal(&file->zero_news);
    ra_mutex_unlock(&file->lock);
    sys->thread_join(sys->ctx, file->zero_thread);
    file->zero_thread = NULL;
}
