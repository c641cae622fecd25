/*
 * mag.c - magazines: what each thread keeps of the free segments.
 *
 * A magazine is a small stack of free segments for each class. A thread that
 * takes and releases about as much as it needs stays inside its own, without
 * a lock or a line that others write: what is left is the exchange of the
 * segment's state (RA-4). An empty stack is refilled by half from the fullest
 * region of its home (RA-13), a full one gives its older half back, each under
 * one lock of the class.
 *
 * What lies in a magazine is free, so a starved allocation, the sweeper and
 * ra_pool_sweep() want it. They enter the magazines of other threads. Its
 * owner enters often and must be cheap, the others seldom and may pay:
 *
 *     owner                        another, under ra_mag_lock
 *     busy = 1                     claimed = 1
 *     (compiler barrier)           membarrier()
 *     claimed? then stay out       wait until busy == 0
 *     ...                          ...
 *     busy = 0                     claimed = 0
 *
 * membarrier() makes every running thread of the process pass a full barrier,
 * so the owner's store and load need none of their own: either the owner's
 * store of busy is seen, or the owner sees claimed and takes the class's lock
 * instead. (Two locked instructions more for each pair were the alternative:
 * they would have doubled its cost.) An owner that sleeps inside is given some
 * turns, then left alone. Without membarrier() (before Linux 4.14, or denied)
 * there are no magazines.
 *
 * Magazines end with their thread, through the destructor of a key of the
 * pool, or with the pool, whatever comes first, perhaps at once. So all of
 * them are on one list of the process, under one mutex: a destructor that
 * doesn't find its magazine there came too late and does nothing. fork() is
 * held up while the list changes, so that a child finds the mutex free; the
 * magazines of the parent's pools are left alone there.
 *
 * Bounds: a thread keeps at most a 512th of the budget of each class, a 256th
 * from RA_HUGE_BUDGET_MIN on, 8 MiB and RA_MAG_MAX segments; all threads
 * together a quarter of the budget: the threads that come later do without. Budgets below RA_MAG_BUDGET_MIN have no
 * magazines: a few threads would hold a good part of them.
 */
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/ra_impl.h"

#define RA_MAG_BUDGET_MIN ((uint64_t)32 << 20) /* bytes */
#define RA_MAG_CLASS_BYTES ((uint64_t)8 << 20) /* most, of one class */
#define RA_MAG_TURNS 64 /* given to an owner that sleeps inside */

_Thread_local struct ra_mag_here ra_mag_here;

/* The magazines of all pools and threads. Static data, since the end of a
 * thread is an event of the process. */
static struct ra_mutex ra_mag_lock = { .os = PTHREAD_MUTEX_INITIALIZER,
                                       .rank = RA_RANK_RA_MAG };
static struct ra_mag *ra_mag_all;   /* under ra_mag_lock */
static _Atomic uint64_t ra_mag_ids; /* atomic: last mag_id given */
static pthread_once_t ra_mag_once = PTHREAD_ONCE_INIT;
static bool ra_mag_supported; /* written once, by ra_mag_prepare() */

static void ra_mag_lock_all(void)
{
    ra_mutex_lock(&ra_mag_lock);
}

static void ra_mag_unlock_all(void)
{
    ra_mutex_unlock(&ra_mag_lock);
}

static int ra_mag_barrier(int cmd)
{
    return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

static void ra_mag_prepare(void)
{
    if (ra_mag_barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0)
        return;
    if (pthread_atfork(ra_mag_lock_all, ra_mag_unlock_all, ra_mag_unlock_all) !=
        0)
        return;
    ra_mag_supported = true;
}

/* ---- one magazine; the caller is inside ---- */

/* Of class `c` there is none: get a half; how many. */
static uint32_t ra_mag_refill(struct ra_mag *m, struct ra_class *c)
{
    struct ra_mag_class *k = &m->cls[c->id];
    /* relaxed: a bound may be seen late */
    uint32_t cap = atomic_load_explicit(&m->pool->mag_cap[c->id],
                                        memory_order_relaxed);
    uint32_t n;

    if (cap == 0)
        return 0;
    n = ra_class_refill(c, m->home, k->spare, (cap + 1) / 2);
    /* relaxed: see struct ra_mag_class */
    atomic_store_explicit(&k->n, n, memory_order_relaxed);
    return n;
}

/* Give back the oldest `n` of class `c`. */
static void ra_mag_give(struct ra_mag *m, struct ra_class *c, uint32_t n)
{
    struct ra_mag_class *k = &m->cls[c->id];
    uint32_t left = atomic_load_explicit(&k->n, memory_order_relaxed) - n;

    ra_class_put(c, k->spare, n);
    memmove(k->spare, k->spare + n, left * sizeof(k->spare[0]));
    atomic_store_explicit(&k->n, left, memory_order_relaxed);
}

/* Class `c` is full: give the older half back. */
static void ra_mag_flush(struct ra_mag *m, struct ra_class *c)
{
    /* relaxed: as in ra_mag_refill() */
    uint32_t n = atomic_load_explicit(&m->cls[c->id].n, memory_order_relaxed);
    uint32_t cap = atomic_load_explicit(&m->pool->mag_cap[c->id],
                                        memory_order_relaxed);

    ra_mag_give(m, c, n - cap / 2); /* n may be above a cap that was lowered */
}

static uint64_t ra_mag_empty(struct ra_mag *m)
{
    uint64_t nbytes = 0;

    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        struct ra_class *c = &m->pool->cls[i];
        uint32_t n = atomic_load_explicit(&m->cls[i].n, memory_order_relaxed);

        if (n > 0)
            ra_mag_give(m, c, n);
        nbytes += (uint64_t)n << c->seg_shift;
    }
    return nbytes;
}

/* ---- the list; its lock is held ---- */

/* `m` gets the home that has the fewest threads. */
static void ra_mag_settle(struct ra_mag *m)
{
    uint32_t nthreads[RA_HOMES] = { 0 };

    for (const struct ra_mag *k = ra_mag_all; k != NULL; k = k->next) {
        if (k->pool == m->pool)
            nthreads[k->home]++;
    }
    for (uint32_t home = 1; home < m->pool->nhomes; home++) {
        if (nthreads[home] < nthreads[m->home])
            m->home = home;
    }
}

static void ra_mag_link(struct ra_mag *m)
{
    ra_mag_settle(m);
    m->next = ra_mag_all;
    if (m->next != NULL)
        m->next->prev = m;
    ra_mag_all = m;
}

/* Off the list, freed, no longer charged. It is empty. */
static void ra_mag_end(struct ra_mag *m)
{
    struct ra_pool *pool = m->pool;

    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        ra_mag_all = m->next;
    if (m->next != NULL)
        m->next->prev = m->prev;
    ra_line_free(&pool->sys, m);
    ra_pool_unreserve(pool, ra_mag_charge());
    /* relaxed: see struct ra_pool */
    atomic_fetch_sub_explicit(&pool->nmags, 1, memory_order_relaxed);
}

/* The destructor of a pool's key: this thread ends. */
static void ra_mag_thread_ends(void *arg)
{
    struct ra_mag *m;

    ra_mutex_lock(&ra_mag_lock);
    /* The pool may be gone, and its magazine the memory of another one; but
     * not of this thread's, which makes none meanwhile. */
    for (m = ra_mag_all; m != NULL; m = m->next) {
        if (m == arg && m->owner == &ra_mag_here)
            break;
    }
    if (m != NULL && !ra_pool_forked(m->pool)) {
        (void)ra_mag_empty(m);
        ra_mag_end(m);
    }
    ra_mutex_unlock(&ra_mag_lock);
    ra_mag_here.id = 0;
    ra_mag_here.mag = NULL;
}

/* ---- a pool's magazines ---- */

/* Most bytes of one class in one magazine. */
static uint64_t ra_mag_class_bytes(uint64_t budget_bytes)
{
    if (budget_bytes < RA_MAG_BUDGET_MIN)
        return 0;
    if (budget_bytes < RA_HUGE_BUDGET_MIN)
        return budget_bytes / 512;
    return ra_min_u64(budget_bytes / 256, RA_MAG_CLASS_BYTES);
}

/* Most segments of class `c` in one magazine. */
static uint64_t ra_mag_segs(const struct ra_class *c, uint64_t budget_bytes)
{
    return ra_min_u64(ra_mag_class_bytes(budget_bytes) >> c->seg_shift,
                      RA_MAG_MAX);
}

/* Most bytes in one magazine. */
static uint64_t ra_mag_bytes(const struct ra_pool *pool, uint64_t budget_bytes)
{
    uint64_t nbytes = 0;

    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        nbytes += ra_mag_segs(&pool->cls[i], budget_bytes)
                  << pool->cls[i].seg_shift;
    return nbytes;
}

void ra_mag_set_caps(struct ra_pool *pool, uint64_t budget_bytes)
{
    /* relaxed: a bound may be seen late */
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        atomic_store_explicit(
            &pool->mag_cap[i],
            (uint32_t)ra_mag_segs(&pool->cls[i], budget_bytes),
            memory_order_relaxed);
    /* A new name, so that threads that had to do without ask again. relaxed:
     * only has to differ. */
    if (ra_figure(&pool->mag_id) != 0)
        atomic_store_explicit(
            &pool->mag_id,
            1 + atomic_fetch_add_explicit(&ra_mag_ids, 1, memory_order_relaxed),
            memory_order_relaxed);
}

void ra_mag_close(struct ra_pool *pool)
{
    /* relaxed: who misses it is found inside by the drain that follows, or
     * enters after it and sees this */
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        atomic_store_explicit(&pool->mag_cap[i], 0, memory_order_relaxed);
}

void ra_mag_init(struct ra_pool *pool)
{
    (void)pthread_once(&ra_mag_once, ra_mag_prepare);
    if (!ra_mag_supported ||
        pthread_key_create(&pool->mag_key, ra_mag_thread_ends) != 0)
        return; /* mag_id stays 0: none */
    atomic_store_explicit(&pool->mag_id, 1, memory_order_relaxed);
    ra_mag_set_caps(pool, ra_pool_budget(pool));
}

void ra_mag_fini(struct ra_pool *pool)
{
    struct ra_mag *next;

    if (ra_figure(&pool->mag_id) == 0)
        return;
    /* Before the magazines are freed: threads that end from here on don't
     * come, and those that come already wait for the lock. */
    (void)pthread_key_delete(pool->mag_key);
    ra_mutex_lock(&ra_mag_lock);
    for (struct ra_mag *m = ra_mag_all; m != NULL; m = next) {
        next = m->next;
        if (m->pool == pool)
            ra_mag_end(m);
    }
    ra_mutex_unlock(&ra_mag_lock);
}

/* A magazine for this thread, or NULL. */
static struct ra_mag *ra_mag_make(struct ra_pool *pool)
{
    struct ra_mag *m = NULL;
    uint64_t all = (ra_figure(&pool->nmags) + 1) *
                   ra_mag_bytes(pool, ra_pool_budget(pool));

    if (all > ra_pool_budget(pool) / 4)
        return NULL;
    if (!QUIRE_POINT(RA_MAG_BUDGET, false,
                     ra_pool_reserve(pool, ra_mag_charge())))
        return NULL;
    m = QUIRE_POINT(RA_MAG_DESCRIPTOR, NULL,
                    ra_line_alloc(&pool->sys, sizeof(*m)));
    if (m == NULL)
        goto unreserve;
    m->pool = pool;
    m->owner = &ra_mag_here;
    if (pthread_setspecific(pool->mag_key, m) != 0)
        goto unreserve;
    ra_count(&pool->nmags, 1);
    ra_mutex_lock(&ra_mag_lock);
    ra_mag_link(m);
    ra_mutex_unlock(&ra_mag_lock);
    return m;

unreserve:
    ra_line_free(&pool->sys, m);
    ra_pool_unreserve(pool, ra_mag_charge());
    return NULL;
}

/* This thread's magazine, wherever it is; a thread that has none gets one if
 * `may_make`. NULL: none. */
static struct ra_mag *ra_mag_find(struct ra_pool *pool, bool may_make)
{
    /* relaxed: see ra_mag_near() */
    uint64_t id = atomic_load_explicit(&pool->mag_id, memory_order_relaxed);
    struct ra_mag *m;
    bool off;

    if (id == 0)
        return NULL;
    if (id == ra_mag_here.id)
        return ra_mag_here.mag;
    m = pthread_getspecific(pool->mag_key);
    /* relaxed: a bound may be seen late */
    off = atomic_load_explicit(&pool->mag_cap[0], memory_order_relaxed) == 0;
    if (m == NULL && may_make && !off)
        m = ra_mag_make(pool);
    /* Who got none for lack of memory asks again the next time. */
    if (m != NULL || off) {
        ra_mag_here.id = id;
        ra_mag_here.mag = m;
    }
    return m;
}

uint32_t ra_mag_home(struct ra_pool *pool)
{
    struct ra_mag *m = ra_mag_find(pool, false);

    return m != NULL ? m->home : 0;
}

bool ra_mag_take(struct ra_class *c, struct ra_spare *spare)
{
    struct ra_mag *m = ra_mag_find(c->pool, true);
    uint32_t n;

    if (m == NULL || !ra_mag_enter(m))
        return false;
    /* relaxed: written by who is inside */
    n = atomic_load_explicit(&m->cls[c->id].n, memory_order_relaxed);
    if (n == 0)
        n = ra_mag_refill(m, c);
    if (n > 0)
        *spare = ra_mag_top(m, c->id, n);
    ra_mag_exit(m);
    return n > 0;
}

bool ra_mag_put(struct ra_class *c, struct ra_spare spare)
{
    struct ra_mag *m = ra_mag_find(c->pool, false);
    uint32_t n;
    uint32_t cap;

    if (m == NULL || !ra_mag_enter(m))
        return false;
    /* relaxed: as in ra_mag_enter_room() */
    n = atomic_load_explicit(&m->cls[c->id].n, memory_order_relaxed);
    cap = atomic_load_explicit(&c->pool->mag_cap[c->id], memory_order_relaxed);
    if (cap == 0) {
        ra_mag_exit(m);
        return false;
    }
    if (n >= cap)
        ra_mag_flush(m, c);
    ra_mag_push(m, c->id,
                atomic_load_explicit(&m->cls[c->id].n, memory_order_relaxed),
                spare);
    return true;
}

/* Wait until the owner of `m`, which is claimed, is outside. */
static bool ra_mag_claim(struct ra_mag *m)
{
    for (unsigned turn = 0; turn < RA_MAG_TURNS; turn++) {
        /* acquire: pairs with the release in ra_mag_exit() */
        if (atomic_load_explicit(&m->busy, memory_order_acquire) == 0)
            return true;
        sched_yield();
    }
    return false;
}

uint64_t ra_mag_drain(struct ra_pool *pool)
{
    uint64_t nbytes = 0;

    if (ra_figure(&pool->nmags) == 0)
        return 0;
    ra_mutex_lock(&ra_mag_lock);
    for (struct ra_mag *m = ra_mag_all; m != NULL; m = m->next) {
        /* relaxed: ordered before the look at busy by the membarrier */
        if (m->pool == pool)
            atomic_store_explicit(&m->claimed, 1, memory_order_relaxed);
    }
    if (ra_mag_barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
        for (struct ra_mag *m = ra_mag_all; m != NULL; m = m->next) {
            if (m->pool == pool && ra_mag_claim(m))
                nbytes += ra_mag_empty(m);
        }
    }
    for (struct ra_mag *m = ra_mag_all; m != NULL; m = m->next) {
        /* release: pairs with the acquire in ra_mag_enter() */
        if (m->pool == pool)
            atomic_store_explicit(&m->claimed, 0, memory_order_release);
    }
    ra_mutex_unlock(&ra_mag_lock);
    return nbytes;
}

void ra_mag_sum(struct ra_pool *pool, uint64_t n[QUIRE_SEG_CLASSES])
{
    memset(n, 0, QUIRE_SEG_CLASSES * sizeof(n[0]));
    if (ra_figure(&pool->nmags) == 0)
        return;
    ra_mutex_lock(&ra_mag_lock);
    for (struct ra_mag *m = ra_mag_all; m != NULL; m = m->next) {
        for (unsigned i = 0; m->pool == pool && i < QUIRE_SEG_CLASSES; i++) {
            /* relaxed: a figure */
            n[i] += atomic_load_explicit(&m->cls[i].n, memory_order_relaxed);
        }
    }
    ra_mutex_unlock(&ra_mag_lock);
}
