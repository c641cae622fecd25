/*
 * ra_impl.h - the inside of alloc/: regions, classes, the pool. Included by
 * alloc/ alone.
 */
#ifndef QUIRE_ALLOC_RA_IMPL_H
#define QUIRE_ALLOC_RA_IMPL_H

#include <stdalign.h>
#include <stdatomic.h>

#include "alloc/ra.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RA_ASAN 1
#endif
#ifdef RA_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if QUIRE_DEBUG >= 1 && __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define RA_VALGRIND 1
#endif

/* Static probes, `quire:<name>`, with two numbers each. */
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define RA_PROBE(name, a, b) DTRACE_PROBE2(quire, name, a, b)
#else
#define RA_PROBE(name, a, b) ((void)(a), (void)(b))
#endif

#define RA_OS_PAGE ((size_t)4096) /* bytes; checked at creation */

/* Huge pages: their size, and the least budget that uses them. */
#define RA_HUGE_SHIFT 21
#define RA_HUGE_BYTES ((uint64_t)1 << RA_HUGE_SHIFT)
#define RA_HUGE_BUDGET_MIN ((uint64_t)256 << 20)

#define RA_REGION_MIN ((uint64_t)512 << 10)    /* bytes */
#define RA_REGION_MAX ((uint64_t)64 << 20)     /* bytes */
#define RA_REGION_AUTO_MAX ((uint64_t)4 << 20) /* bytes; most by default */

/* How long a starved allocation waits for what others give back. */
#define RA_WAIT_MS 50

/* Bytes; half of what 47-bit addresses can name. */
#define RA_BUDGET_MAX ((uint64_t)1 << 46)

/* Bytes that two processors take from each other as one. */
#define RA_LINE 64

/* Debug builds: every byte of a released segment. */
#define RA_FILL 0xDB

/* ---- what memory checkers are told ---- */

/* A released or never used range: touching it is a fault. */
static inline void ra_guard(void *addr, size_t nbytes)
{
#ifdef RA_ASAN
    __asan_poison_memory_region(addr, nbytes);
#endif
#ifdef RA_VALGRIND
    VALGRIND_MAKE_MEM_NOACCESS(addr, nbytes);
#endif
    (void)addr;
    (void)nbytes;
}

/* The range has an owner again; its bytes are undefined. */
static inline void ra_unguard(void *addr, size_t nbytes)
{
#ifdef RA_ASAN
    __asan_unpoison_memory_region(addr, nbytes);
#endif
#ifdef RA_VALGRIND
    VALGRIND_MAKE_MEM_UNDEFINED(addr, nbytes);
#endif
    (void)addr;
    (void)nbytes;
}

/* ---- bitmaps: one bit for each segment of a region ---- */

#define RA_SUM_WORDS (RA_REGION_MAX / QUIRE_SEG_MIN / 64 / 64)

/* Under the lock of the region's class, as all of a region that changes. The
 * first set bit is found with at most RA_SUM_WORDS + 1 words looked at. */
struct ra_bits {
    uint64_t *word;             /* bit i: segment i; pointer immutable */
    uint64_t sum[RA_SUM_WORDS]; /* bit w: word[w] != 0 */
};

static inline bool ra_bits_test(const struct ra_bits *b, uint32_t i)
{
    return (b->word[i / 64] >> (i % 64)) & 1;
}

static inline void ra_bits_set(struct ra_bits *b, uint32_t i)
{
    b->word[i / 64] |= UINT64_C(1) << (i % 64);
    b->sum[i / 4096] |= UINT64_C(1) << (i / 64 % 64);
}

static inline void ra_bits_clear(struct ra_bits *b, uint32_t i)
{
    b->word[i / 64] &= ~(UINT64_C(1) << (i % 64));
    if (b->word[i / 64] == 0)
        b->sum[i / 4096] &= ~(UINT64_C(1) << (i / 64 % 64));
}

/* The lowest set bit; there must be one. */
static inline uint32_t ra_bits_first(const struct ra_bits *b)
{
    uint32_t s = 0;
    uint32_t w;

    while (b->sum[s] == 0) {
        s++;
        QUIRE_ASSERT(s < RA_SUM_WORDS);
    }
    w = s * 64 + (uint32_t)__builtin_ctzll(b->sum[s]);
    return w * 64 + (uint32_t)__builtin_ctzll(b->word[w]);
}

/* ---- regions ---- */

/*
 * State of a segment, one atomic byte. IN_USE names the class as well, so
 * that a look-up that raced with a change of the region's class can't release
 * what another class has handed out since (RA-4).
 *
 *                      ra_class_take(), cold
 *     DECOMMITTED ------------------------------> IN_USE + class
 *         ^                                        |        ^
 *         | ra_sweep_*()             ra_seg_free() |        | ra_class_take(),
 *         |                                        v        | ra_mag_take()
 *         +-------------------------------------- FREE -----+
 *
 * A segment in a magazine is FREE, so that its second release is seen.
 *
 * Relaxed throughout: a byte decides by itself whether a release is valid.
 * Memory changes hands under the class lock, which orders the contents, or
 * stays in one thread, whose magazine it went through.
 */
enum ra_state {
    RA_DECOMMITTED = 0, /* not charged: never touched, or given back */
    RA_FREE = 1,        /* resident and charged */
    RA_IN_USE = 2,      /* + class number: charged, a caller owns it */
};

#define RA_CLASS_NONE QUIRE_SEG_CLASSES /* of a region in no class */
#define RA_SLOT_NONE UINT32_MAX

/* Levels of fullness: 0 is a region whose segments are all on offer, 1 to 8
 * are the eighths of those handed out. */
#define RA_LEVELS 9
#define RA_LIST_WARM 0         /* lists of regions with free resident ones */
#define RA_LIST_COLD RA_LEVELS /* ... with free decommitted ones only */
#define RA_LISTS (2 * RA_LEVELS)
#define RA_LIST_NONE RA_LISTS /* nothing on offer, or in no class */

/* Homes: each class has its lists once for each. A thread that has a magazine
 * belongs to a home, and a region to that of the thread which brought it into
 * the class. A thread takes from regions of its own home first (RA-13). */
#define RA_HOMES 4
#define RA_HOMES_BUDGET_MIN ((uint64_t)512 << 20) /* bytes; less: one home */

/* A segment is on offer when its bit is set in `warm` or `cold`, never both
 * (RA-5); otherwise one owner has it: a caller, or the sweeper. */
struct ra_region {
    char *base;             /* immutable; multiple of the region size */
    _Atomic uint8_t *state; /* atomic, one for each 4 KiB; pointer immutable;
                               ra_region_state() */
    uint32_t slot;          /* immutable: where the region table holds it */
    _Atomic uint32_t cls;   /* atomic; RA_CLASS_NONE: owned by the sweeper, or
                             empty. Written by the region's only owner */
    _Atomic uint32_t next_empty; /* atomic: slot of the next empty region */

    /* What each release reads is above, on a line of its own. What changes
     * with most segments put on offer is on the next one. */
    alignas(RA_LINE) uint32_t list; /* under the class lock; which it is on */
    uint32_t nwarm;                 /* under the class lock; bits set in warm */
    uint32_t ncold;                 /* under the class lock; bits set in cold */
    uint32_t plain; /* under the class lock; bit g: no huge page in the g-th
                       2 MiB (RA-12) */
    struct ra_region *prev; /* under the class lock */
    struct ra_region *next; /* under the class lock */
    uint64_t *idle; /* under the class lock; bit i, with that of warm: segment
                       i is free since the sweeper's last pass */
    struct ra_bits warm; /* under the class lock: free and resident */
    struct ra_bits cold; /* under the class lock: free and decommitted */
    uint32_t home;       /* of the lists that it is on; written by the region's
                            only owner before it joins a class */
};

/* The state of segment `i`, of 1 << seg_shift bytes; enum ra_state. It is the
 * byte of the segment's first 4 KiB, so that the states of large segments,
 * which different threads hold, are on different cache lines. */
static inline _Atomic uint8_t *ra_region_state(const struct ra_region *r,
                                               uint32_t seg_shift, uint32_t i)
{
    return &r->state[(size_t)i << (seg_shift - 12)];
}

/* A free segment that one owner has, and where its state is. */
struct ra_spare {
    char *seg;
    _Atomic uint8_t *state;
};

/* ---- classes ---- */

/* The regions with something on offer of one home of a class. */
struct ra_lists {
    alignas(RA_LINE) uint32_t mask;   /* bit i: list[i] is not empty */
    uint64_t noffer;                  /* segments on offer, warm or cold */
    struct ra_region *list[RA_LISTS]; /* by fullness */
};

struct ra_class {
    alignas(RA_LINE) struct ra_pool *pool; /* immutable */
    uint32_t id;          /* immutable: 0 for 4 KiB ... 6 for 256 KiB */
    uint32_t seg_shift;   /* immutable: log2 of the segment's bytes */
    uint32_t nsegs;       /* immutable: segments in a region */
    uint32_t nsegs_shift; /* immutable: log2 of that */

    /* What every operation reads is above, what some write below: on two
     * lines, that threads take from each other, and on those of one home. */
    alignas(RA_LINE) struct ra_mutex lock; /* rank RA_CLASS */
    uint64_t nwarm;       /* under lock; free resident segments on offer */
    _Atomic uint64_t out; /* written under lock; read relaxed for figures:
                                segments handed out, to callers and to
                                magazines */
    uint64_t out_peak;    /* under lock; most segments out at once */
    uint64_t wake_at;     /* under lock; nwarm that wakes the sweeper */
    uint32_t nregions;    /* under lock */
    /* relaxed: figures, events since the pool was made */
    _Atomic uint64_t mapped;      /* regions mapped for it */
    _Atomic uint64_t reused;      /* empty ones taken for it */
    _Atomic uint64_t freed;       /* given back as empty */
    _Atomic uint64_t decommitted; /* bytes given back to the system */
    _Atomic bool sweeping; /* atomic; a background pass is at this class, and
                                a second one passes it by */
    struct ra_lists home[RA_HOMES]; /* under lock */
};

static inline size_t ra_class_bytes(const struct ra_class *c)
{
    return (size_t)1 << c->seg_shift;
}

/* ---- the pool ---- */

/* A table handed out by ra_table_alloc(). */
struct ra_table {
    struct ra_table *next; /* under table_lock */
    void *mem;             /* immutable */
    size_t nbytes;         /* immutable; whole pages */
};

/* Why memory could not be had; decides what may help. */
enum ra_why_kind {
    RA_WHY_BUDGET = 0, /* resident limit */
    RA_WHY_VIRTUAL,    /* limit on mapped addresses */
    RA_WHY_REGION,     /* no region on offer, and mapping was not allowed */
    RA_WHY_SYSTEM,     /* the system refused: err */
};

struct ra_why {
    enum ra_why_kind kind;
    int err; /* negative errno */
};

/*
 * The figures are relaxed atomics: each is a number that is only added to and
 * subtracted from, compared with a limit by compare-and-swap. They publish no
 * memory.
 */
struct ra_pool {
    struct quire_sys sys;          /* immutable */
    struct ra_log log;             /* immutable */
    _Atomic uint64_t budget_bytes; /* atomic; ra_pool_set_budget() */
    uint64_t budget_peak;   /* written by ra_pool_set_budget(), one caller at
                               a time: the greatest budget so far */
    uint64_t virtual_limit; /* immutable; bytes */
    uint32_t region_bytes;  /* immutable */
    uint32_t region_shift;  /* immutable */
    bool huge;              /* immutable: huge pages are used */
    uint32_t nhomes;        /* immutable: 1 to RA_HOMES */
    uint32_t meta_bytes;    /* immutable: a descriptor with its arrays */

    /* The region table: open addressing, never more than half full, no
     * removals. Entries are atomic: release under table_lock in
     * ra_region_insert(), acquire in ra_region_find(). */
    struct ra_region *_Atomic *slot; /* pointer immutable */
    uint32_t nslots_shift;           /* immutable: log2 of the capacity */
    size_t slot_bytes;               /* immutable; of its mapping */

    /* One page that a forked child sees wiped to 0; *alive is 1 here. */
    const volatile uint8_t *alive; /* immutable */
    void *alive_page;              /* immutable; NULL: not supported */

    /* Magazines (mag.c). */
    _Atomic uint64_t mag_id; /* atomic: names the pool in thread-local data;
                                0: it has no magazines, and never will */
    pthread_key_t mag_key;   /* immutable; each thread's magazine */
    _Atomic uint32_t mag_cap[QUIRE_SEG_CLASSES]; /* atomic; most segments; all
                                                    0 while somebody waits */
    _Atomic uint32_t nwaiting; /* written under room_lock, seq_cst; starved
                                  callers that wait */
    unsigned wait_ms;          /* immutable once the pool is known: how long
                                  one waits at most; 0: not at all */

    /* What every operation reads is above, what some write below. */
    alignas(RA_LINE) _Atomic uint64_t
        resident;                   /* atomic; bytes, <= budget (RA-2) */
    _Atomic uint64_t resident_peak; /* atomic; bytes */
    _Atomic uint64_t mapped;        /* atomic; bytes, <= virtual_limit (RA-2) */
    _Atomic uint64_t table_bytes;   /* atomic; bytes of tables handed out */
    _Atomic uint64_t regions;       /* atomic; mapped now */
    _Atomic uint64_t regions_empty; /* atomic; on the list of empty ones */
    _Atomic uint64_t regions_whole; /* atomic; in a class, nothing handed out:
                                       a hint that a sweep gains regions */
    _Atomic uint64_t regions_reused; /* atomic; events, from here on */
    _Atomic uint64_t regions_freed;
    _Atomic uint64_t sweeps;
    _Atomic uint64_t pressure_calls;
    _Atomic uint64_t waits;
    _Atomic uint64_t failed_allocs;
    _Atomic uint64_t misuses;
    _Atomic uint64_t nmags;       /* atomic; magazines of this pool's threads */
    _Atomic uint64_t passes;      /* atomic; of the background sweeper */
    _Atomic uint64_t decommitted; /* atomic; bytes, all since creation */

    /* Empty regions, any class's: a stack of slots. Low half: slot of the
     * top, or RA_SLOT_NONE; high half: count of pops, against ABA. */
    _Atomic uint64_t empty;

    struct ra_mutex sweep_lock; /* rank RA_SWEEP: one sweep at a time */
    struct ra_mutex table_lock; /* rank RA_TABLE: inserting, tables */
    struct ra_table *tables;    /* under table_lock */

    /* The background sweeper (sweeper.c). */
    struct ra_mutex wake_lock; /* rank RA_WAKE */
    pthread_cond_t wake;       /* with wake_lock */
    bool background;           /* immutable once the pool is known */
    void *thread;              /* of who creates and destroys the pool */
    _Atomic bool wanted;       /* atomic; set by who wakes it, cleared by it */
    bool stop;                 /* under wake_lock */

    /* Starved callers that wait for what others give back (room.c). */
    struct ra_mutex room_lock; /* rank RA_ROOM */
    pthread_cond_t room_news;  /* with room_lock */
    uint64_t news; /* under room_lock; times that something was given back
                      while somebody waited */

    struct ra_mutex pressure_lock; /* rank RA_PRESSURE */
    pthread_cond_t pressure_idle;  /* with pressure_lock: none runs */
    quire_pressure_fn pressure_fn; /* under pressure_lock */
    void *pressure_arg;            /* under pressure_lock */
    unsigned pressure_running;     /* under pressure_lock; calls */

    struct ra_class cls[QUIRE_SEG_CLASSES];
};

/* As ra_obj_alloc(), at the beginning of a cache line; takes RA_LINE bytes more
 * (sys.c). */
void *ra_line_alloc(const struct quire_sys *sys, size_t nbytes);
void ra_line_free(const struct quire_sys *sys, void *obj);

/* ---- figures (pool.c) ---- */

/* Charge `nbytes` against the budget, or the virtual limit: false, and nothing
 * is charged, when the limit would be passed (RA-2). */
bool ra_pool_reserve(struct ra_pool *pool, uint64_t nbytes);
void ra_pool_unreserve(struct ra_pool *pool, uint64_t nbytes);
bool ra_pool_reserve_virtual(struct ra_pool *pool, uint64_t nbytes);
void ra_pool_unreserve_virtual(struct ra_pool *pool, uint64_t nbytes);

static inline uint64_t ra_pool_budget(const struct ra_pool *pool)
{
    /* relaxed: see struct ra_pool */
    return atomic_load_explicit(&pool->budget_bytes, memory_order_relaxed);
}

/* What a sweep gives back beyond what was asked, so that the next need finds
 * some. */
static inline uint64_t ra_pool_slack(const struct ra_pool *pool)
{
    return ra_pool_budget(pool) / 64;
}

/* Bytes that callers hold: segments and tables. Takes the lock of rank
 * RA_MAG, as what lies in magazines is not in use. */
uint64_t ra_pool_in_use(struct ra_pool *pool);

static inline void ra_count(_Atomic uint64_t *figure, uint64_t n)
{
    /* relaxed: see struct ra_pool */
    atomic_fetch_add_explicit(figure, n, memory_order_relaxed);
}

static inline uint64_t ra_figure(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

/* ---- making room (room.c) ---- */

/* How far a starved allocation has gone; {0} at first. */
struct ra_room {
    unsigned nsteps;
    unsigned nidle;    /* steps in a row that gave nothing back */
    bool waiting;      /* counted in nwaiting */
    bool over;         /* it has waited as long as it may */
    uint64_t seen;     /* news that it knows */
    uint64_t until_ns; /* monotonic clock: when its time is over */
};

/* One step toward room for `nbytes`: a sweep, then the pressure callback, in
 * turn; then a wait. false: give up. Once it has been called, whether memory
 * was found or not, ra_room_leave() must be. */
bool ra_room_make(struct ra_pool *pool, struct ra_room *room,
                  const struct ra_why *why, size_t nbytes);
void ra_room_leave(struct ra_pool *pool, struct ra_room *room);

/* Wake those who wait. With any lock. */
void ra_room_tell(struct ra_pool *pool);

/* Something was given back: memory, or segments that are on offer. */
static inline void ra_room_news(struct ra_pool *pool)
{
    /* seq_cst: pairs with ra_room_enter(). The caller has changed a figure or,
     * under a class lock, a list; who waits has counted itself first and
     * looked there then. One of the two sees the other's. */
    if (QUIRE_UNLIKELY(
            atomic_load_explicit(&pool->nwaiting, memory_order_seq_cst) > 0))
        ra_room_tell(pool);
}

/* Choose the magazines' bounds for the budget as it is now. */
void ra_room_set_caps(struct ra_pool *pool);

/* Count and log the failure and set its detail; QUIRE_NOMEM. `what` begins
 * the detail: "a segment". */
quire_status ra_room_fail(struct ra_pool *pool, const struct ra_why *why,
                          const char *what, size_t nbytes);

/* The answer to an allocation where ra_sections isn't 0: MISUSE. */
quire_status ra_room_in_section(void) __attribute__((cold));

/* Is this thread inside a pressure callback? */
bool ra_room_in_pressure(void);

/* ---- regions (region.c) ---- */

/* Slot at which the search for the region that holds `addr` begins. */
static inline uint32_t ra_region_hash(const struct ra_pool *pool,
                                      uintptr_t addr)
{
    /* Fibonacci hashing: 2^64 / golden ratio, the high bits */
    return (uint32_t)((((uint64_t)addr >> pool->region_shift) *
                       UINT64_C(0x9E3779B97F4A7C15)) >>
                      (64 - pool->nslots_shift));
}

/* The region that holds `addr`, or NULL. Lock-free. */
struct ra_region *ra_region_find(struct ra_pool *pool, const void *addr);

/* The same inline, where it is found at once, as nearly always. */
static inline struct ra_region *ra_region_near(struct ra_pool *pool,
                                               const void *addr)
{
    /* acquire: as in ra_region_find() */
    struct ra_region *r = atomic_load_explicit(
        &pool->slot[ra_region_hash(pool, (uintptr_t)addr)],
        memory_order_acquire);

    if (QUIRE_LIKELY(r != NULL &&
                     (uintptr_t)addr - (uintptr_t)r->base < pool->region_bytes))
        return r;
    return ra_region_find(pool, addr);
}

/* Take an empty region off the shared list, or NULL. Lock-free. */
struct ra_region *ra_region_pop(struct ra_pool *pool);

/* Put a decommitted region in no class on the shared list. Lock-free. */
void ra_region_push(struct ra_pool *pool, struct ra_region *r);

/* Map one more region; NULL and *why. It is in no class. */
struct ra_region *ra_region_map(struct ra_pool *pool, struct ra_why *why);
void ra_region_unmap(struct ra_pool *pool, struct ra_region *r);

/* Debug builds: no access to `r`, which is empty, or access again; false: the
 * system refused. Its owner may. */
bool ra_region_protect(struct ra_pool *pool, struct ra_region *r, bool access);

/* Ask for huge pages in all of `r`, where the pool uses them; its owner may,
 * while all of it is decommitted. */
void ra_region_make_huge(struct ra_pool *pool, struct ra_region *r);

/* No huge pages from now on in the parts of [off, off + nbytes) that are not a
 * whole range; false: the system refused. Under the class lock. */
bool ra_region_make_plain(struct ra_pool *pool, struct ra_region *r,
                          uint64_t off, uint64_t nbytes);

/* ---- classes (class.c); the lock is held unless said otherwise ---- */

/* `r`, owned by the caller and in no class, joins `c` as its bitmaps say. */
void ra_class_join(struct ra_class *c, struct ra_region *r);

/* `r`, with every segment on offer, leaves `c`; the caller owns it. */
void ra_class_leave(struct ra_class *c, struct ra_region *r);

/* All segments of `r`, owned by the caller and in no class, are decommitted
 * and will be of class `c`. No lock needed. */
void ra_class_make_cold(const struct ra_class *c, struct ra_region *r);

/* `warm` more segments of `r` are warm ones on offer, `cold` more cold ones;
 * ra_class_place() when the bitmaps say so too. */
static inline void ra_class_count(struct ra_class *c, struct ra_region *r,
                                  int32_t warm, int32_t cold)
{
    r->nwarm += (uint32_t)warm;
    r->ncold += (uint32_t)cold;
    c->nwarm += (uint64_t)warm;
    c->home[r->home].noffer += (uint64_t)warm + (uint64_t)cold;
}

/* Move `r` to the list its counts ask for. */
void ra_class_place(struct ra_class *c, struct ra_region *r);

/* Segments of `r` that are not on offer. */
static inline uint32_t ra_class_out(const struct ra_class *c,
                                    const struct ra_region *r)
{
    return c->nsegs - r->nwarm - r->ncold;
}

/* Take a segment from what is free now, of `home` if possible, without
 * sweeping; mapping a region only with `may_map`. NULL and *why. Takes the lock
 * itself. */
void *ra_class_take(struct ra_class *c, uint32_t home, bool may_map,
                    struct ra_why *why);

/* Put `n` released segments, whose state is RA_FREE, on offer. Takes the lock
 * itself. */
void ra_class_put(struct ra_class *c, const struct ra_spare *spare, uint32_t n);

/* Take at most `n` warm segments, neighbours, for a magazine of `home`; how
 * many. They stay RA_FREE. Takes the lock itself. */
uint32_t ra_class_refill(struct ra_class *c, uint32_t home,
                         struct ra_spare *spare, uint32_t n);

/* A region of list `list` of some home, or NULL. */
struct ra_region *ra_class_on_list(const struct ra_class *c, uint32_t list);

/* `spare`, of class `cls`, has a caller for its owner: its state, and what
 * memory checkers know; the segment. No lock needed. */
static inline void *ra_class_hand_out(uint32_t cls, struct ra_spare spare,
                                      bool was_free)
{
    size_t nbytes = QUIRE_SEG_MIN << cls;

    ra_unguard(spare.seg, nbytes);
#if QUIRE_DEBUG >= 2
    if (was_free) {
        const unsigned char *seg = (const unsigned char *)spare.seg;

#ifdef RA_VALGRIND
        VALGRIND_MAKE_MEM_DEFINED(seg, nbytes);
#endif
        /* somebody wrote to a segment after its release */
        for (size_t i = 0; i < nbytes; i++)
            QUIRE_ASSERT(seg[i] == RA_FILL);
        ra_unguard(spare.seg, nbytes);
    }
#endif
    (void)was_free;
    (void)nbytes;
    /* relaxed: see enum ra_state */
    atomic_store_explicit(spare.state, (uint8_t)(RA_IN_USE + cls),
                          memory_order_relaxed);
    return spare.seg;
}

/* Check the invariants of one region (RA-1, RA-5, RA-6). */
bool ra_class_check(const struct ra_class *c, const struct ra_region *r);

/* ---- magazines (mag.c) ---- */

#define RA_MAG_MAX 64 /* most segments of one class; the bytes bound it too */

/* The segments of one class, last in, first out. */
struct ra_mag_class {
    _Atomic uint32_t n; /* atomic; written by who is inside, read by figures */
    struct ra_spare spare[RA_MAG_MAX]; /* of who is inside */
};

/*
 * What one thread keeps of one pool's free segments. Its thread is inside
 * while `busy` is 1; another one may be while `claimed` is 1 and it has seen
 * `busy` 0 since.
 */
struct ra_mag {
    _Atomic uint32_t busy;    /* atomic; written by the owner thread */
    _Atomic uint32_t claimed; /* atomic; written under RA_MAG */
    struct ra_pool *pool;     /* immutable */
    const void *owner;        /* immutable: which thread's it is */
    uint32_t home;            /* immutable once on the list */
    struct ra_mag *prev;      /* under RA_MAG */
    struct ra_mag *next;      /* under RA_MAG */
    struct ra_mag_class cls[QUIRE_SEG_CLASSES];
};

/* What a magazine is charged for itself. */
static inline size_t ra_mag_charge(void)
{
    return sizeof(struct ra_mag) + RA_LINE;
}

/* This thread's magazine of the pool it used last. initial-exec: one load; 16
 * bytes fit into what the C library reserves for libraries opened late. */
struct ra_mag_here {
    uint64_t id;        /* that pool's mag_id; 0: none */
    struct ra_mag *mag; /* NULL: this thread has to do without */
};
extern _Thread_local struct ra_mag_here ra_mag_here
    __attribute__((tls_model("initial-exec")));

/* Choose the magazines' sizes for the pool's budget; at creation, and when the
 * budget changes. */
void ra_mag_init(struct ra_pool *pool);
void ra_mag_set_caps(struct ra_pool *pool, uint64_t budget_bytes);
/* No magazine takes anything until ra_mag_set_caps() is called again. Both
 * under room_lock, once the pool is known. */
void ra_mag_close(struct ra_pool *pool);
/* No thread uses the pool any more. */
void ra_mag_fini(struct ra_pool *pool);

/* Put what all threads' magazines hold back on offer; how many bytes. Takes
 * the lock of rank RA_MAG. */
uint64_t ra_mag_drain(struct ra_pool *pool);

/* Add up what magazines hold of each class. Takes the lock of rank RA_MAG. */
void ra_mag_sum(struct ra_pool *pool, uint64_t n[QUIRE_SEG_CLASSES]);

/* This thread's magazine, where ra_mag_here has it; or NULL. */
static inline struct ra_mag *ra_mag_near(struct ra_pool *pool)
{
    /* relaxed: the number alone matters; a budget that changes gives a new
     * one */
    if (QUIRE_LIKELY(
            ra_mag_here.id ==
            atomic_load_explicit(&pool->mag_id, memory_order_relaxed)) &&
        ra_mag_here.id != 0)
        return ra_mag_here.mag;
    return NULL;
}

/* This thread's home: that of its magazine, the first one without. */
uint32_t ra_mag_home(struct ra_pool *pool);

/* Be inside; false: somebody else is. */
static inline bool ra_mag_enter(struct ra_mag *m)
{
    /* relaxed, and a barrier for the compiler alone: the processor's half of
     * the order store-busy, load-claimed is the membarrier in ra_mag_claim(),
     * after which either that thread sees busy or this one sees claimed */
    atomic_store_explicit(&m->busy, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    /* acquire: pairs with the release in ra_mag_unclaim() */
    if (QUIRE_LIKELY(atomic_load_explicit(&m->claimed, memory_order_acquire) ==
                     0))
        return true;
    atomic_store_explicit(&m->busy, 0, memory_order_release);
    return false;
}

static inline void ra_mag_exit(struct ra_mag *m)
{
    /* release: pairs with the acquire in ra_mag_claim() */
    atomic_store_explicit(&m->busy, 0, memory_order_release);
}

/* Inside `m`, which holds `n` of class `cls`, at least 1: take the last. */
static inline struct ra_spare ra_mag_top(struct ra_mag *m, uint32_t cls,
                                         uint32_t n)
{
    struct ra_mag_class *k = &m->cls[cls];

    /* relaxed: written by who is inside */
    atomic_store_explicit(&k->n, n - 1, memory_order_relaxed);
    return k->spare[n - 1];
}

/*
 * Take a free segment of class `cls` from this thread's magazine: true and
 * *spare. false: it has none, and nothing has changed; ra_mag_take() knows
 * more. It calls nothing, so that what is inlined here needs no registers
 * saved.
 */
static inline bool ra_mag_pop(struct ra_pool *pool, uint32_t cls,
                              struct ra_spare *spare)
{
    struct ra_mag *m = ra_mag_near(pool);
    uint32_t n;

    if (QUIRE_UNLIKELY(m == NULL) || QUIRE_UNLIKELY(!ra_mag_enter(m)))
        return false;
    /* relaxed: written by who is inside */
    n = atomic_load_explicit(&m->cls[cls].n, memory_order_relaxed);
    if (QUIRE_LIKELY(n > 0))
        *spare = ra_mag_top(m, cls, n);
    ra_mag_exit(m);
    return n > 0;
}

/* Be inside this thread's magazine, which has room for another segment of
 * class `cls`: how many there are is in *n. NULL: outside, and nothing has
 * changed; ra_mag_put() knows more. Calls nothing, as ra_mag_pop(). */
static inline struct ra_mag *ra_mag_enter_room(struct ra_pool *pool,
                                               uint32_t cls, uint32_t *n)
{
    struct ra_mag *m = ra_mag_near(pool);

    if (QUIRE_UNLIKELY(m == NULL) || QUIRE_UNLIKELY(!ra_mag_enter(m)))
        return NULL;
    /* relaxed: as in ra_mag_pop(); a bound may be seen late */
    *n = atomic_load_explicit(&m->cls[cls].n, memory_order_relaxed);
    if (QUIRE_LIKELY(*n < atomic_load_explicit(&pool->mag_cap[cls],
                                               memory_order_relaxed)))
        return m;
    ra_mag_exit(m);
    return NULL;
}

/* Inside `m`, which holds `n` of class `cls`: put one more, and leave. */
static inline void ra_mag_push(struct ra_mag *m, uint32_t cls, uint32_t n,
                               struct ra_spare spare)
{
    struct ra_mag_class *k = &m->cls[cls];

    k->spare[n] = spare;
    /* relaxed: written by who is inside */
    atomic_store_explicit(&k->n, n + 1, memory_order_relaxed);
    ra_mag_exit(m);
}

/* As ra_mag_pop(), after making a magazine, and refilling it by half, if need
 * be. */
bool ra_mag_take(struct ra_class *c, struct ra_spare *spare);

/* Put a released segment into this thread's magazine, which is emptied by half
 * if need be; false: there is none. */
bool ra_mag_put(struct ra_class *c, struct ra_spare spare);

/* ---- sweeping (sweep.c) ---- */

/* Give back at least `want` bytes if possible, and not much more: whole
 * regions first, then, unless `whole_only`, free segments of regions partly in
 * use. With `whole_only` a region counts for all its bytes. Returns what was
 * given back, in the measure asked for. */
uint64_t ra_sweep_run(struct ra_pool *pool, uint64_t want, bool whole_only);

/* Give back what is idle in the region, which was of class `c` a moment ago:
 * all of it, or free segments that were free at the last pass already; mark
 * what is free now. Bytes given back. */
uint64_t ra_sweep_idle(struct ra_class *c, struct ra_region *r);

/* ---- the background sweeper (sweeper.c) ---- */

/* Start its thread; NOMEM. */
quire_status ra_sweeper_start(struct ra_pool *pool);
/* Stop it; nothing if there is none. */
void ra_sweeper_stop(struct ra_pool *pool);
/* Set the thresholds of a class for what is free and in use now. */
void ra_sweeper_set_threshold(struct ra_class *c, uint64_t in_use_bytes);
/* Ask for a pass. With any lock but RA_WAKE. */
void ra_sweeper_wake(struct ra_pool *pool);
/* One pass over everything, as the thread makes; bytes given back. */
uint64_t ra_sweeper_pass(struct ra_pool *pool);

#endif /* QUIRE_ALLOC_RA_IMPL_H */
