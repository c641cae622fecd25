/*
 * table.c - memory of any size for tables that live long.
 *
 * A table has a mapping of its own, is charged to both limits as whole pages,
 * committed at once, and found again in a list: there are few, made when
 * something is opened. The list lets a wrong release be refused, leaks be
 * named, and the kernel's figure be compared with ours.
 */
#include <errno.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

/* Ask for huge pages in a table of `nbytes` that is not committed yet, where the
 * pool uses them: tables are looked up at random, so that with small pages most
 * of the wait is the processor's search for the address. What a refusal leaves
 * is as good, but slower. */
static void ra_table_make_huge(struct ra_pool *pool, void *mem, size_t nbytes)
{
    if (!pool->huge || nbytes < RA_HUGE_BYTES ||
        ((uintptr_t)mem & (RA_HUGE_BYTES - 1)) != 0)
        return;
    /* RA-12: whole ranges only */
    nbytes -= nbytes & (RA_HUGE_BYTES - 1);
    (void)QUIRE_POINT(RA_TABLE_HUGE, -ENOMEM,
                      pool->sys.huge(pool->sys.ctx, mem, nbytes, true));
}

/* One attempt; NULL and *why. */
static void *ra_table_take(struct ra_pool *pool, size_t nbytes,
                           struct ra_why *why)
{
    struct ra_table *t = NULL;
    size_t align = pool->huge && nbytes >= RA_HUGE_BYTES ? RA_HUGE_BYTES
                                                         : RA_OS_PAGE;
    void *mem = NULL;
    bool charged;
    bool charged_virtual = false;

    why->kind = RA_WHY_BUDGET;
    charged = QUIRE_POINT(RA_TABLE_BUDGET, false,
                          ra_pool_reserve(pool, nbytes)); /* RA-2 */
    if (!charged)
        goto out;
    why->kind = RA_WHY_VIRTUAL;
    charged_virtual = QUIRE_POINT(RA_TABLE_ADDRESSES, false,
                                  ra_pool_reserve_virtual(pool, nbytes));
    if (!charged_virtual)
        goto out;
    why->kind = RA_WHY_SYSTEM;
    why->err = -ENOMEM;
    t = QUIRE_POINT(RA_TABLE_DESCRIPTOR, NULL,
                    pool->sys.alloc(pool->sys.ctx, sizeof(*t)));
    if (t == NULL)
        goto out;
    why->err = QUIRE_POINT(RA_TABLE_MAP, -ENOMEM,
                           pool->sys.map(pool->sys.ctx, nbytes, align, &mem));
    if (why->err != 0) {
        mem = NULL;
        goto out;
    }
    ra_table_make_huge(pool, mem, nbytes);
    why->err = QUIRE_POINT(RA_TABLE_COMMIT, -ENOMEM,
                           pool->sys.commit(pool->sys.ctx, mem, nbytes));
    if (why->err != 0)
        goto out;

    t->mem = mem;
    t->nbytes = nbytes;
    ra_mutex_lock(&pool->table_lock);
    t->next = pool->tables;
    pool->tables = t;
    ra_mutex_unlock(&pool->table_lock);
    ra_count(&pool->table_bytes, nbytes);
    return mem;

out:
    if (mem != NULL)
        pool->sys.unmap(pool->sys.ctx, mem, nbytes);
    ra_obj_free(&pool->sys, t);
    if (charged_virtual)
        ra_pool_unreserve_virtual(pool, nbytes);
    if (charged)
        ra_pool_unreserve(pool, nbytes);
    return NULL;
}

quire_status ra_table_alloc(struct ra_pool *pool, size_t nbytes, void **mem)
{
    struct ra_room room = { 0 };
    struct ra_why why = { 0 };
    size_t asked = nbytes;

    QUIRE_ASSERT(nbytes > 0);
    *mem = NULL;
    if (ra_sections > 0) /* RA-8 */
        return ra_room_in_section();
    nbytes = (size_t)ra_round_up(nbytes, RA_OS_PAGE);
    /* What can never fit is refused before anything is swept or evicted. */
    if (nbytes < asked || nbytes > ra_pool_budget(pool))
        return ra_room_fail(pool, &why, "a table", asked);
    do {
        *mem = ra_table_take(pool, nbytes, &why);
        /* Regions are never unmapped, so nothing makes addresses free. */
    } while (*mem == NULL && why.kind != RA_WHY_VIRTUAL &&
             ra_room_make(pool, &room, &why, nbytes));
    ra_room_leave(pool, &room);
    if (*mem != NULL)
        return QUIRE_OK;
    return ra_room_fail(pool, &why, "a table", nbytes);
}

void ra_table_free(struct ra_pool *pool, void *mem, size_t nbytes)
{
    struct ra_table **link = &pool->tables;
    struct ra_table *t;

    if (mem == NULL)
        return;
    nbytes = (size_t)ra_round_up(nbytes, RA_OS_PAGE);
    ra_mutex_lock(&pool->table_lock);
    while (*link != NULL && (*link)->mem != mem)
        link = &(*link)->next;
    t = *link;
    if (t != NULL && t->nbytes == nbytes)
        *link = t->next;
    else
        t = NULL;
    ra_mutex_unlock(&pool->table_lock);
    if (t == NULL) {
        ra_count(&pool->misuses, 1);
        RA_PROBE(misuse, mem, nbytes);
        ra_log_line(&pool->log, QUIRE_LOG_WARN,
                    "release of a table at %p of %zu bytes refused: there is "
                    "none",
                    mem, nbytes);
        return;
    }
    pool->sys.unmap(pool->sys.ctx, mem, nbytes);
    ra_obj_free(&pool->sys, t);
    /* relaxed: see struct ra_pool */
    atomic_fetch_sub_explicit(&pool->table_bytes, nbytes, memory_order_relaxed);
    ra_pool_unreserve_virtual(pool, nbytes);
    ra_pool_unreserve(pool, nbytes);
    ra_room_news(pool);
}
