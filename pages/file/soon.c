/*
 * soon.c - reading ahead of the loads.
 *
 * Whoever knows which pages will be loaded collects where their fragments are,
 * without a call of the system, and then has all of them read ahead. Fragments
 * of neighbouring pages that one commit wrote lie one behind the other, others
 * anywhere; so the ranges are sorted, and those that nearly touch are asked for
 * as one: a call and a transfer cost more than a few blocks too many.
 *
 * Nothing hangs on it. The loads find their bytes in the system's cache, or
 * read them.
 */
#include "pages/file/pf_impl.h"

/* Bytes between two ranges that are read with them. */
#define PF_SOON_GAP ((uint64_t)16 << 10)

bool pf_soon_add(struct pf_soon *soon, const struct pg_ref *ref)
{
    unsigned n = soon->n;

    if (n + 1u + ref->nchain > PF_SOON_MAX)
        return false;
    for (unsigned i = 0; i <= ref->nchain; i++) {
        pg_id id = i == 0 ? ref->id : ref->chain[i - 1].id;
        uint32_t len = i == 0 ? ref->stored_len : ref->chain[i - 1].stored_len;

        /* The load will say that it is no page of ours. */
        if (len > PF_FRAG_MAX)
            return true;
        soon->range[n].off = pg_id_off(id);
        soon->range[n++].len = len;
    }
    soon->n = n;
    return true;
}

/* By insertion: most come in order. */
static void pf_soon_sort(struct pf_soon *soon)
{
    for (unsigned i = 1; i < soon->n; i++) {
        uint64_t off = soon->range[i].off;
        uint64_t len = soon->range[i].len;
        unsigned k = i;

        for (; k > 0 && soon->range[k - 1].off > off; k--)
            soon->range[k] = soon->range[k - 1];
        soon->range[k].off = off;
        soon->range[k].len = len;
    }
}

void pf_soon_read(struct pf_file *file, struct pf_soon *soon)
{
    uint64_t from = 0;
    uint64_t to = 0;

    /* Past the system's cache nothing can be read into it. */
    if (file->direct.handle != NULL)
        soon->n = 0;
    pf_soon_sort(soon);
    for (unsigned i = 0; i < soon->n; i++) {
        uint64_t off = soon->range[i].off;
        uint64_t end = off + soon->range[i].len;

        if (to != 0 && off <= to + PF_SOON_GAP) {
            to = end > to ? end : to;
            continue;
        }
        if (to != 0)
            pf_read_soon(file, from, to - from);
        from = off;
        to = end;
    }
    if (to != 0)
        pf_read_soon(file, from, to - from);
    soon->n = 0;
}
