/*
 * pend.c - batches that wait for the sync that they share.
 *
 * When several threads commit at the same time, one of them leads a sync for
 * all. Each could write its own batch before, but the writer's turn would then
 * last so much longer, and the sync would find as many dirty blocks in the
 * system's cache. So a batch that will be synced, and whose writer is not alone,
 * stays in the output buffer: whoever leads the next sync writes all that have
 * gathered, one behind the other in the file as in the buffer, with one call,
 * past the system's cache where that can be had, and then syncs.
 *
 *     file:    ... | batch | batch | batch | zeros ...
 *     buffer:  |   | batch | batch | batch | open batch ...  |
 *                  ^ pend_at, pend_from    ^ out, out_off    ^ the table's end
 *                                          ^ pend_to
 *
 * The writer goes on behind them. When the rest of the buffer is short, or the
 * log goes on elsewhere, it writes them itself; so does who would read of them,
 * which only a writer can whose cache has lost a page that it has just made.
 *
 * The trap is in the errors: the commits are given to the next writer as written
 * before they are. What the disk may refuse then is not to be told apart from a
 * failed sync. So a batch waits only where zeros ahead are on the disk, which
 * leaves no reason for being refused but a broken disk (or a file system that
 * never writes in place, when it is full), and any failure poisons (PF-5): the
 * commits are undecided.
 */
#include "pages/file/pf_impl.h"

/* Bytes of the buffer that a batch is begun with at least: some of its pages. */
#define PF_PEND_ROOM ((size_t)128 << 10)

/* Under the lock. */
static bool pf_pend_none(const struct pf_file *file)
{
    return file->pend_from == file->pend_to;
}

/* Under the lock: tell those who read without it. */
static void pf_pend_mark(struct pf_file *file)
{
    /* release: pairs with the acquire in pf_pend_read() */
    atomic_store_explicit(&file->pend_low,
                          pf_pend_none(file) ? UINT64_MAX : file->pend_from,
                          memory_order_release);
}

quire_status pf_pend_write(struct pf_file *file)
{
    quire_status rc = QUIRE_OK;

    while (file->pend_writing) {
        file->pend_waits++;
        ra_cond_wait(&file->changed, &file->lock);
        file->pend_waits--;
    }
    if (!pf_pend_none(file)) {
        const uint8_t *from = file->pend_at;
        uint64_t off = file->pend_from;
        size_t nbytes = (size_t)(file->pend_to - off);
        bool past = file->pend_past;

        file->pend_writing = true;
        ra_mutex_unlock(&file->lock);
        rc = pf_write_all(file, from, nbytes, off, past);
        if (rc == QUIRE_NOSPACE) {
            pf_poison(file, quire_error_detail());
            rc = QUIRE_IO;
        }
        ra_mutex_lock(&file->lock);
        file->pend_writing = false;
        if (rc == QUIRE_OK) { /* else nobody ever writes them */
            file->pend_at += nbytes;
            file->pend_from += nbytes;
            pf_pend_mark(file);
        }
        if (file->pend_waits > 0)
            pthread_cond_broadcast(&file->changed);
    }
    return rc;
}

bool pf_pend_add(struct pf_file *file)
{
    size_t nbytes = ra_round_up(file->out_len, file->geo.block_bytes);
    uint64_t end = file->out_off + nbytes;
    bool past = pf_past_wanted(file);
    bool may;

    if (file->batch_written || ra_broken(RA_BROKEN_RECORD_FIRST))
        return false;
    pf_out_pad(file, file->geo.block_bytes);
    ra_mutex_lock(&file->lock);
    may = file->out_off >= file->zero_span.off &&
          end <= ra_min_u64(file->zero_done, pf_span_end(&file->zero_span)) &&
          (pf_pend_none(file) || file->pend_to == file->out_off);
    if (may) {
        if (pf_pend_none(file)) {
            file->pend_at = file->out;
            file->pend_from = file->out_off;
        }
        file->pend_to = end;
        file->pend_past = past;
        file->zero_from = ra_max_u64(file->zero_from, end); /* PF-9 */
        pf_pend_mark(file);
    }
    ra_mutex_unlock(&file->lock);
    if (may) {
        file->out += nbytes;
        file->out_cap -= nbytes;
        file->out_off = end;
        file->out_len = 0;
    }
    return may;
}

void pf_pend_begin(struct pf_file *file)
{
    QUIRE_ASSERT(file->out_len == 0);
    if (file->out == file->out_buf)
        return;
    ra_mutex_lock(&file->lock);
    /* A failure has poisoned the file: nobody will write them any more. */
    if ((!pf_pend_none(file) || file->pend_writing) &&
        file->out_cap < PF_PEND_ROOM)
        (void)!pf_pend_write(file);
    if (pf_pend_none(file) && !file->pend_writing) {
        file->out_cap += (size_t)(file->out - file->out_buf);
        file->out = file->out_buf;
    }
    ra_mutex_unlock(&file->lock);
}

quire_status pf_pend_rewind(struct pf_file *file)
{
    quire_status rc;

    ra_mutex_lock(&file->lock);
    rc = pf_pend_write(file);
    ra_mutex_unlock(&file->lock);
    memmove(file->out_buf, file->out, file->out_len);
    file->out_cap += (size_t)(file->out - file->out_buf);
    file->out = file->out_buf;
    return rc;
}

quire_status pf_pend_read(struct pf_file *file, uint64_t off, uint64_t nbytes)
{
    quire_status rc = QUIRE_OK;

    /* acquire: pairs with the release in pf_pend_mark(); who knows of a page
     * that waits has had its id from the writer who put it there */
    if (off + nbytes <=
        atomic_load_explicit(&file->pend_low, memory_order_acquire))
        return QUIRE_OK;
    ra_mutex_lock(&file->lock);
    if (off < file->pend_to && off + nbytes > file->pend_from)
        rc = pf_pend_write(file);
    ra_mutex_unlock(&file->lock);
    return rc;
}
