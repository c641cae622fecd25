/*
 * out.c - the output buffer: bytes gather here and leave in whole blocks.
 *
 *     file:     ... | block | block | block | block | ...
 *                   ^ out_off
 *     buffer:       | fragment | fragment | frag|              |
 *                                               ^ out_len      ^ out_cap
 *
 * When the next fragment does not fit, the whole blocks are written with one
 * call and the partial one moves to the front: a block is written once. The
 * buffer holds 256 KiB beside an open block, so a small commit is one write.
 * Batches that wait for a sync (pend.c) keep their place in front of all this.
 *
 * One table holds the buffer, the hash state and the lists of spans. It is
 * charged to the budget like everything else.
 */
#include "pages/file/pf_impl.h"

/* Bytes of each list of spans; one more for a next_span in the record. */
#define PF_SPANS_BYTES ((PF_SPANS_MAX + 1) * sizeof(struct pf_span))
/* The hash state lies behind whole blocks: it wants 64. */
#define PF_HASH_BYTES 1024u

static_assert(sizeof(XXH3_state_t) <= PF_HASH_BYTES, "the hash state fits");

quire_status pf_out_alloc(struct pf_file *file)
{
    size_t cap = PF_OUT_BYTES + file->geo.block_bytes;
    size_t nbytes = PF_HASH_BYTES + 2 * PF_SPANS_BYTES + cap;
    void *table = NULL;
    uint8_t *p;
    quire_status rc;

    rc = QUIRE_POINT_RC(PF_OUT_TABLE, QUIRE_NOMEM,
                        ra_table_alloc(file->env.pool, nbytes, &table));
    if (rc != QUIRE_OK)
        return rc;
    p = table;
    file->table = table;
    file->table_bytes = nbytes;
    file->out_buf = p; /* aligned, as writes past the system's cache want it */
    p += cap;
    file->hash = (void *)p;
    file->txn_spans = (struct pf_span *)(void *)(p + PF_HASH_BYTES);
    file->free_spans = file->txn_spans + PF_SPANS_MAX + 1;
    file->out = file->out_buf;
    file->out_cap = cap;
    return QUIRE_OK;
}

void pf_out_free(struct pf_file *file)
{
    if (file->table != NULL)
        ra_table_free(file->env.pool, file->table, file->table_bytes);
    file->table = NULL;
}

void pf_out_begin(struct pf_file *file, uint64_t off)
{
    QUIRE_ASSERT(off % file->geo.block_bytes == 0);
    pf_pend_begin(file);
    file->out_off = off;
}

/* Write the first `nbytes`, whole blocks, and move the rest to the front. */
static quire_status pf_out_write(struct pf_file *file, size_t nbytes)
{
    bool past = false;
    quire_status rc;

    QUIRE_ASSERT(nbytes % file->geo.block_bytes == 0);
    if (nbytes == 0)
        return QUIRE_OK;
    if (file->batch_open) {
        past = file->batch_now && !file->batch_written && pf_past_wanted(file);
        file->batch_written = true;
        pf_zero_claim(file, file->out_off, file->out_off + nbytes);
    } else {
        file->ahead_unsynced = true;
    }
    rc = pf_write_all(file, file->out, nbytes, file->out_off, past);
    if (rc != QUIRE_OK)
        return rc;
    memmove(file->out, file->out + nbytes, file->out_len - nbytes);
    file->out_off += nbytes;
    file->out_len -= nbytes;
    return QUIRE_OK;
}

quire_status pf_out_room(struct pf_file *file, size_t bound)
{
    size_t block = file->geo.block_bytes;
    quire_status rc;

    QUIRE_ASSERT(bound <= PF_OUT_BYTES);
    if (bound <= file->out_cap - file->out_len)
        return QUIRE_OK;
    rc = pf_out_write(file, file->out_len / block * block);
    if (rc != QUIRE_OK)
        return rc;
    /* Batches that wait may be in the way. */
    if (bound > file->out_cap - file->out_len)
        rc = pf_pend_rewind(file);
    QUIRE_ASSERT(bound <= file->out_cap - file->out_len);
    return rc;
}

void pf_out_pad(struct pf_file *file, size_t align)
{
    size_t end = ra_round_up(file->out_len, align);

    QUIRE_ASSERT(end <= file->out_cap);
    memset(file->out + file->out_len, 0, end - file->out_len);
    file->out_len = end;
}

quire_status pf_out_flush(struct pf_file *file)
{
    /* The buffer is a whole number of blocks, so this cannot overflow it. */
    pf_out_pad(file, file->geo.block_bytes);
    return pf_out_write(file, file->out_len);
}

void pf_out_drop(struct pf_file *file)
{
    file->out_len = 0;
}
