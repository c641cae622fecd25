/*
 * ra.h - region allocator: power-of-two segments cut from mapped regions,
 * under one hard budget.
 *
 * A region serves one size class at a time (RA-1). Resident bytes never exceed
 * the budget, nor mapped bytes the virtual limit (RA-2). Releasing cannot fail
 * (RA-3), and a pointer that is no segment in use is detected (RA-4).
 * quire_pool_* in quire.h are these functions with checked arguments.
 */
#ifndef QUIRE_ALLOC_RA_H
#define QUIRE_ALLOC_RA_H

#include "alloc/base.h"
#include "alloc/lock.h"
#include "quire.h"

struct ra_pool; /* opaque */

/*
 * Create a pool with `opt`, whose size field has been checked; zero fields
 * mean defaults.
 *
 * Returns: QUIRE_OK and *pool; INVAL (the option is named); NOMEM.
 * Context: any thread; may start the sweeper's thread.
 */
quire_status ra_pool_create(const struct quire_pool_options *opt,
                            struct ra_pool **pool) QUIRE_MUST_CHECK;

/* Unmap everything. Segments still in use are logged, and counted in the
 * result; in debug builds that is an assertion unless `leaks_expected`. NULL
 * is accepted and has none. */
uint64_t ra_pool_destroy(struct ra_pool *pool, bool leaks_expected);

/*
 * Take a segment of the smallest class that holds `nbytes`, 1 ..
 * QUIRE_SEG_MAX; not cleared, resident, aligned to its own size.
 *
 * Returns: QUIRE_OK and *seg; QUIRE_NOMEM over budget, *seg is then NULL.
 * Context: any thread, outside read sections. May sweep and call the pressure
 *          callback, with no lock held.
 * Owner:   the caller, until ra_seg_free() or a documented hand-over.
 */
quire_status ra_seg_alloc(struct ra_pool *pool, size_t nbytes,
                          void **seg) QUIRE_MUST_CHECK;

/* Take `n` segments, all or none, for work that must not run out halfway. On
 * failure every segs[i] is NULL. Returns and context as ra_seg_alloc(). */
quire_status ra_seg_alloc_many(struct ra_pool *pool, const size_t *nbytes,
                               unsigned n, void **segs) QUIRE_MUST_CHECK;

/* As ra_seg_alloc(), but only from what is free now: no sweep, no pressure
 * callback, no error detail. For work that can be left undone. */
void *ra_seg_try(struct ra_pool *pool, size_t nbytes);

/* Give `seg` back; NULL is accepted, so cleanup code needs no test. A foreign,
 * interior or second release is counted, logged and otherwise ignored: false
 * (RA-4). Allocates nothing, takes the class lock only. */
bool ra_seg_free(struct ra_pool *pool, void *seg);

/* Bytes of the class that serves `nbytes` (1 .. QUIRE_SEG_MAX). */
static inline size_t ra_seg_class_bytes(size_t nbytes)
{
    size_t c = QUIRE_SEG_MIN;

    while (c < nbytes)
        c <<= 1;
    return c;
}

/* Bytes of the class of `seg`, a segment in use. O(1), no lock. */
size_t ra_seg_bytes(struct ra_pool *pool, const void *seg);

/*
 * Memory of any size for tables that live long: mapped on its own, zeroed,
 * resident, charged to the budget and the virtual limit as whole pages.
 *
 * Returns: QUIRE_OK and *mem; NOMEM.
 * Owner:   the caller, until ra_table_free() with the same size.
 */
quire_status ra_table_alloc(struct ra_pool *pool, size_t nbytes,
                            void **mem) QUIRE_MUST_CHECK;
void ra_table_free(struct ra_pool *pool, void *mem, size_t nbytes);

/* The embedder's system table, for threads and small fixed-size objects. */
const struct quire_sys *ra_pool_sys(const struct ra_pool *pool);
const struct ra_log *ra_pool_log(const struct ra_pool *pool);

/* Zeroed small object through the system table, of fixed size (handles); not
 * charged. NULL when refused. */
void *ra_obj_alloc(const struct quire_sys *sys, size_t nbytes);
void ra_obj_free(const struct quire_sys *sys, void *obj);

/* Set the pressure callback; fn NULL for none. Waits until a running call of
 * the previous one has returned. */
void ra_pool_set_pressure(struct ra_pool *pool, quire_pressure_fn fn,
                          void *arg);

/*
 * Mark this thread as inside work that an allocation must not wait for (the
 * reclaimer, a removal callback): ra_seg_alloc() then fails at once instead of
 * sweeping or calling back. Nests. Thread-local.
 */
void ra_nowait_enter(void);
void ra_nowait_exit(void);
bool ra_nowait(void);

/*
 * How many read sections this thread is in (the cache's; its functions count
 * them). Nothing may wait inside one, so nothing is allocated there:
 * QUIRE_MISUSE. initial-exec: one load.
 */
extern _Thread_local uint32_t ra_sections
    __attribute__((tls_model("initial-exec")));

/* As quire_pool_set_budget(). */
quire_status ra_pool_set_budget(struct ra_pool *pool,
                                uint64_t budget_bytes) QUIRE_MUST_CHECK;

/* Decommit every empty region and idle free segment; returns bytes given
 * back. Context: any thread with no lock of rank RA_SWEEP or above. */
uint64_t ra_pool_sweep(struct ra_pool *pool);

void ra_pool_stat(struct ra_pool *pool, struct quire_pool_stat *st);

/* Is this process a forked child of the one that made `pool`? One load of
 * memory. Then nothing but the pool's own fields may be touched: the regions
 * are not there. Always false where the kernel can't tell (before Linux 4.14,
 * or a replaced map() whose memory isn't private and anonymous). */
bool ra_pool_forked(const struct ra_pool *pool);

/* What ra_pool_forked() looks at, for those who look often: 0 in a child. */
const volatile uint8_t *ra_pool_alive(const struct ra_pool *pool);

/* Verify every invariant of alloc/README.md by number; false and a log line
 * for the first that does not hold. Takes every class lock in turn; the sums
 * hold only while no other thread uses the pool. */
bool ra_check_pool(struct ra_pool *pool);

/* In /proc/self/smaps terms: resident bytes of the pool's mappings as the
 * kernel counts them (mincore-free, through /proc). 0 when unknown. Tests. */
uint64_t ra_pool_kernel_resident(struct ra_pool *pool);

#endif /* QUIRE_ALLOC_RA_H */
