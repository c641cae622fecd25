/*
 * pc_impl.h - the cache's own structures: frames, their state word, the table.
 *
 * The life of a frame, as its state word tells it. Each arrow names the
 * function that performs it:
 *
 *                    claim                 publish
 *            FREE ----------> LOADING|1 -------------> pins (resident)
 *             ^                   |  waiters: pin         ^  pin, unpin
 *             |                   |                       |
 *             |                   | load_fail             | detach
 *             |                   v                       v
 *             |          ORPHAN|FAILED|pins  ORPHAN|cause|pins
 *             |                   |                       |
 *             | leave             +----------+------------+
 *             |                              | last unpin
 *             +---------- LIMBO|cause <------+
 *
 * A frame that is removed while it loads is LOADING|ORPHAN, and becomes an
 * ordinary orphan when its load has ended. ORPHAN and LIMBO frames have key
 * PC_KEY_NONE, so that neither look-up nor hint finds them.
 */
#ifndef QUIRE_CACHE_PC_IMPL_H
#define QUIRE_CACHE_PC_IMPL_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <time.h>

#include "alloc/broken.h"
#include "cache/pc.h"
#include "cache/policy.h"

#define PC_CACHE_LINE 64         /* bytes */
#define PC_KEY_NONE UINT64_MAX   /* the key of a frame that holds no page */
#define PC_FRAME_NONE UINT32_MAX /* no frame; also the hint that knows none */
#define PC_PAGES_MAX (UINT32_C(1) << 31)
#define PC_NSTRIPES 64u  /* locks of the table, a power of two */
#define PC_NWAITS 16u    /* places to wait for a load, a power of two */
#define PC_NDEMOTED 64u  /* pages remembered for eviction before others */
#define PC_NCAUSES 4u    /* enum quire_cause */
#define PC_TEXT_CAP 512u /* bytes of an error detail, with the final 0 */
/* Rounds after which a caller gives up although some page could yet be
 * evicted; each but the last few makes progress for somebody. */
#define PC_ROUNDS_MAX 1000u
/* One look-up by hint in 61 is counted, as 61: a counter shared by all threads
 * would cost more than the look-up. 61: prime, so that a thread that goes
 * through several caches in turn does not count for one of them only. */
#define PC_SAMPLE 61u

/* ---- the state word ---- */

/* Bits 0..47 are the pins. Even pins that are only ever taken need weeks of a
 * processor to overflow 48 bits, so that no pin is ever refused for it. */
typedef uint64_t pc_state;

#define PC_ST_PINS ((UINT64_C(1) << 48) - 1)
#define PC_ST_LOADING (UINT64_C(1) << 48) /* claimed; its bytes are to come */
#define PC_ST_ORPHAN (UINT64_C(1) << 49)  /* out of the cache, pins remain */
#define PC_ST_LIMBO (UINT64_C(1) << 50)   /* no pin; waits for a reclaimer */
#define PC_ST_FREE (UINT64_C(1) << 51)    /* on the free list, or never used */
#define PC_ST_FAILED (UINT64_C(1) << 52)  /* its load failed: no page in it */
#define PC_ST_CAUSE_SHIFT 56              /* enum quire_cause, of the leaving */
#define PC_ST_CAUSE (UINT64_C(3) << PC_ST_CAUSE_SHIFT)

/* Any of these: not to be found. */
#define PC_ST_GONE (PC_ST_ORPHAN | PC_ST_LIMBO | PC_ST_FREE)

static inline uint64_t pc_state_pins(pc_state s)
{
    return s & PC_ST_PINS;
}

/* Resident: its payload may be used. */
static inline bool pc_state_resident(pc_state s)
{
    return (s & (PC_ST_LOADING | PC_ST_GONE)) == 0;
}

static inline enum quire_cause pc_state_cause(pc_state s)
{
    return (enum quire_cause)((s & PC_ST_CAUSE) >> PC_ST_CAUSE_SHIFT);
}

/* Transitions as pure functions: the word after, given the word before. false:
 * refused, *next untouched. */

/* One more pin for a new holder. A loading frame is pinned only by those who
 * will wait for it. */
static inline bool pc_state_pin(pc_state s, bool will_wait, pc_state *next)
{
    if ((s & PC_ST_GONE) != 0)
        return false;
    if ((s & PC_ST_LOADING) != 0 && !will_wait)
        return false;
    QUIRE_ASSERT(pc_state_pins(s) < PC_ST_PINS);
    *next = s + 1;
    return true;
}

/* One pin less; the last one of an orphan sends it to limbo. */
static inline bool pc_state_unpin(pc_state s, pc_state *next)
{
    if (pc_state_pins(s) == 0)
        return false;
    s--;
    if (pc_state_pins(s) == 0 && (s & PC_ST_ORPHAN) != 0)
        s = (s & ~PC_ST_ORPHAN) | PC_ST_LIMBO;
    *next = s;
    return true;
}

/* Out of the cache for `cause`, with a pin for the one who does it: it still
 * has to clear the key and the table. */
static inline bool pc_state_detach(pc_state s, enum quire_cause cause,
                                   bool only_unpinned, pc_state *next)
{
    if ((s & PC_ST_GONE) != 0)
        return false;
    if (only_unpinned && (pc_state_pins(s) != 0 || (s & PC_ST_LOADING) != 0))
        return false;
    QUIRE_ASSERT(pc_state_pins(s) < PC_ST_PINS);
    *next = (s + 1) | PC_ST_ORPHAN | ((pc_state)cause << PC_ST_CAUSE_SHIFT);
    return true;
}

/* ---- frames ---- */

/* `uses`: how often the page was used since the policy last looked, in
 * PC_COUNT_BITS, up to the policy's limit; or this: wanted as next victim. */
#define PC_USES_DEMOTED 0x80u

/*
 * Places between two steps of a transition, at which a test may hold or delay
 * a thread (test_cache_delay.c). Nothing in a release build.
 */
enum pc_place {
    PC_AT_HINT,    /* a frame was named, by a hint or the table */
    PC_AT_KEY,     /* it has the key; its state is next */
    PC_AT_PINNED,  /* it is pinned; its key is looked at again next */
    PC_AT_ORPHAN,  /* it is an orphan, with its key */
    PC_AT_CLEARED, /* and without; the table is next */
    PC_AT_ENTERED, /* it is in the table, without its key */
    PC_AT_FILLED,  /* it has its page; LOADING is cleared next */
    PC_AT_LIMBO,   /* it has lost its last pin; the limbo list is next */
    PC_AT_REUSE,   /* its page has gone; it is free next */
    PC_PLACES
};

#if QUIRE_DEBUG >= 1
extern void (*_Atomic pc_delay_fn)(enum pc_place place, uint32_t frame);

static inline void pc_delay(enum pc_place place, uint32_t frame)
{
    /* relaxed: set while no other thread uses a cache */
    void (*fn)(enum pc_place place, uint32_t frame) = atomic_load_explicit(
        &pc_delay_fn, memory_order_relaxed);

    if (QUIRE_UNLIKELY(fn != NULL))
        fn(place, frame);
}
#else
#define pc_delay(place, frame) ((void)0)
#endif

struct pc_load;

/* One cache line. Type-stable: a frame is always a frame, and serves another
 * key only after a grace period (PC-3). */
struct pc_frame {
    /* RCU; the key while the page is to be found, else PC_KEY_NONE. Set under
     * the stripe's lock, cleared by whoever detached the frame. */
    alignas(PC_CACHE_LINE) _Atomic uint64_t key;
    _Atomic pc_state state; /* atomic; above */
    /* RCU; the page's bytes, written before `key` or before LOADING is
     * cleared; of a FAILED frame: its struct pc_load. */
    void *_Atomic payload;
    /* The key of an ORPHAN or LIMBO frame; written by whoever detached it,
     * with its pin, read by the reclaimer. Atomic since a census looks at any
     * time. */
    _Atomic uint64_t gone_key;
    /* Bytes charged; 0: no page. Written as `payload`; atomic since statistics
     * look at any time. */
    _Atomic uint32_t weight;
    /* Frame index + 1 of the next in the limbo or free list, 0 at its end;
     * written by whoever puts it there. */
    uint32_t next;
    _Atomic uint32_t born_ms; /* when its page came, in milliseconds of a clock
                                 of 32 bits (pc_now_ms()); as `weight` */
    _Atomic uint8_t kind;     /* enum quire_kind; as `weight` */
    _Atomic uint8_t uses;     /* atomic; any order will do: a hint */
};

static_assert(sizeof(struct pc_frame) == PC_CACHE_LINE, "PC-1: one line");

/* ---- the table ---- */

#define PC_BUCKET_SLOTS 7u

/* One cache line. */
struct pc_bucket {
    /* {tag, frame index + 1}, 0 empty. RCU; set and cleared under the lock of
     * the key's stripe. */
    alignas(PC_CACHE_LINE) _Atomic uint64_t slot[PC_BUCKET_SLOTS];
    /* Words that found this bucket full and went on; 0: a search ends here.
     * atomic. */
    _Atomic uint64_t overflow;
};

static_assert(sizeof(struct pc_bucket) == PC_CACHE_LINE, "one line");

struct pc_table {
    struct pc_bucket *buckets; /* immutable */
    uint32_t mask;             /* immutable; buckets - 1, a power of two - 1 */
};

/* All 64 bits of the result depend on all of the key; the low ones choose the
 * bucket, the high ones are the tag, the highest the stripe. */
static inline uint64_t pc_hash(uint64_t key)
{
    key ^= key >> 32;
    key *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */
    key ^= key >> 29;
    key *= UINT64_C(0xd6e8feb86659fd93); /* odd, half of its bits set */
    key ^= key >> 32;
    return key;
}

/* The policy's hash of a key. Its low bits, which choose the sample and are
 * wanted at every hit, take one multiplication. */
static inline uint64_t pc_sample_bits(uint64_t key)
{
    return ((key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15)) >> 57;
}

static inline uint64_t pc_sample_hash(uint64_t key)
{
    return (pc_hash(key) & ~(uint64_t)(PC_RATE_MAX - 1)) | pc_sample_bits(key);
}

static_assert(PC_RATE_MAX == 1 << (64 - 57), "the low bits of the hash");

/* Bytes that the table for `max_pages` frames needs. */
size_t pc_table_bytes(uint32_t max_pages);

/* Make a table in `mem`, zeroed, of pc_table_bytes(). */
void pc_table_init(struct pc_table *t, void *mem, uint32_t max_pages);

/* The frame of `key` that is resident or loading, else PC_FRAME_NONE. Inside a
 * read section, or under the lock of the key's stripe: then NONE is final. */
uint32_t pc_table_find(const struct pc_table *t, const struct pc_frame *frames,
                       uint64_t key);

/* Enter `frame`, which gets its key afterwards. Under the lock of the key's
 * stripe. false: all slots were taken while others came and went; nothing has
 * changed. */
bool pc_table_insert(struct pc_table *t, uint64_t key, uint32_t frame);

/* Take out `frame`, which is there. Under the lock of the key's stripe. */
void pc_table_remove(struct pc_table *t, uint64_t key, uint32_t frame);

/* Words in the table, and the sum of all overflow counters; quiescent. */
uint64_t pc_table_count(const struct pc_table *t, uint64_t *overflows);

/* How many overflow counters the word of `key` and `frame` is in; -1: it is
 * not in the table. Quiescent. */
int64_t pc_table_depth(const struct pc_table *t, uint64_t key, uint32_t frame);

/* ---- who holds pins (census.c) ---- */

/* Builds with assertions note it, but for the thread sanitizer's. */
#if defined(__SANITIZE_THREAD__)
#define PC_CENSUS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PC_CENSUS 0
#endif
#endif
#ifndef PC_CENSUS
#define PC_CENSUS (QUIRE_DEBUG >= 1)
#endif

struct pc_cache;

#if PC_CENSUS
#define PC_HOLDERS 1024u /* pins that are noted; those beyond are counted */
#define PC_TAG_CAP 32u   /* bytes of a tag, with the final 0 */

/* A pin; under pc_census.lock. */
struct pc_holder {
    uint32_t frame;
    uint32_t next; /* index + 1, 0 at the end: of its list, or free */
    uint32_t tid;  /* as the kernel numbers threads */
    char tag[PC_TAG_CAP];
};

struct pc_census {
    struct ra_mutex lock; /* rank PC_CENSUS */
    uint32_t free;        /* index + 1 of the first free note; under lock */
    uint32_t list[256];   /* by frame: index + 1 of the newest; under lock */
    uint64_t lost;        /* pins that were not noted; under lock */
    struct pc_holder holder[PC_HOLDERS];
};

void pc_census_init(struct pc_census *s);
void pc_census_fini(struct pc_census *s);

/* This thread has taken a pin of `frame`, or is about to give one back. */
void pc_census_pin(struct pc_cache *c, uint32_t frame);
void pc_census_unpin(struct pc_cache *c, uint32_t frame);
#else
#define pc_census_init(s) ((void)0)
#define pc_census_fini(s) ((void)0)
#define pc_census_pin(c, frame) ((void)(c), (void)(frame))
#define pc_census_unpin(c, frame) ((void)(c), (void)(frame))
#endif

/* Who holds `frame`: ": by ...", or nothing if it is not known. */
void pc_census_text(struct pc_cache *c, uint32_t frame, char *buf, size_t cap);

/* Pins that were not noted. */
uint64_t pc_census_lost(struct pc_cache *c);

/* "leaf" ... */
const char *pc_kind_name(unsigned kind);

/* A log line about `frame`, which begins with `begin`; false, and none, if it
 * is not pinned. */
bool pc_census_line(struct pc_cache *c, uint32_t frame, quire_log_level level,
                    const char *begin);

/* ---- the cache ---- */

/* Where threads wait for loads of the frames with this index mod PC_NWAITS. */
struct pc_wait {
    struct ra_mutex lock; /* rank PC_WAIT */
    pthread_cond_t cond;  /* LOADING cleared, or a waiter of a failed load has
                             gone; under lock */
};

/* A load that is running; on the loader's stack. */
struct pc_load {
    struct pc_load *outer;  /* the same thread's load around this; owner */
    struct pc_cache *cache; /* immutable */
    uint32_t frame;         /* immutable */
    quire_status rc;        /* as text */
    char text[PC_TEXT_CAP]; /* detail of a failure; owner until the frame is
                               FAILED, then read under the wait's lock */
};

/* Of a kind of page; atomic. */
struct pc_kind {
    _Atomic uint64_t bytes; /* resident, as the policy's queues have them;
                               written under policy_lock or by an evictor */
    _Atomic uint64_t hits_hint;
    _Atomic uint64_t hits_table;
    _Atomic uint64_t misses;
    _Atomic uint64_t loads;
    _Atomic uint64_t waits;
    _Atomic uint64_t removals[PC_NCAUSES];
};

/* ---- rows: row.c ---- */

#define PC_ROW_LOCKS 32u
#define PC_ROW_SET_MAX ((size_t)64 << 10) /* offsets have 16 bits */
/* Rows take at most this share of what pages take. */
#define PC_ROW_SHARE 1u
#define PC_ROW_SHARE_OF 1u

struct pc_row_set;

struct pc_rows {
    size_t set_bytes;          /* immutable; of a segment; 0: no rows */
    uint32_t max;              /* immutable; most sets */
    struct pc_row_set **sets;  /* [max]; the first n, each under its lock */
    struct ra_mutex size_lock; /* rank PC_ROWS; n */
    struct ra_mutex locks[PC_ROW_LOCKS]; /* rank PC_ROW; a set's is the one of
                                            its index, modulo */
    _Atomic uint32_t n;                  /* atomic; written under size_lock */
    _Atomic uint64_t nrows;              /* atomic, as all below: figures */
    _Atomic uint64_t lookups;
    _Atomic uint64_t hits;
    _Atomic uint64_t seen_loads; /* when it was looked whether rows are found */
    _Atomic uint64_t seen_hits;
    _Atomic uint64_t seen_lookups;
};

struct pc_cache {
    struct pc_frame *frames; /* immutable; nframes of them */
    struct pc_table table;
    uint32_t nframes;     /* immutable; 1 .. PC_PAGES_MAX */
    uint32_t batch;       /* immutable; frames reclaimed together, at least 1 */
    uint64_t capacity;    /* immutable; bytes, 0: none */
    struct ra_pool *pool; /* immutable */
    const volatile uint8_t *alive; /* immutable; *alive is 0 in a child */
    struct pc_options opt;         /* immutable */
    size_t table_bytes;            /* immutable */
    size_t frame_bytes;            /* immutable */

    struct pc_wait waits[PC_NWAITS];
    struct ra_mutex stripes[PC_NSTRIPES]; /* rank PC_STRIPE */
    struct ra_mutex reclaim;              /* rank PC_RECLAIM */
    bool shares;                          /* immutable; some kind has a share */
    bool no_shares;   /* this choice disregards them; under policy_lock */
    uint32_t claimed; /* frame index + 1, 0 none: orphans of this round, by
                         `next`; under reclaim */

    struct ra_mutex policy_lock; /* rank PC_POLICY */
    void *policy_mem;            /* immutable */
    size_t policy_bytes;         /* immutable */
    /* Under policy_lock, but for what policy.h says is atomic. Entries are
     * frames; resident ones are in its queues (PC-10). */
    struct pc_policy policy;

    /* The evictor (evictor.c). */
    struct ra_mutex wake_lock; /* rank PC_WAKE */
    pthread_cond_t wake;       /* wanted or stop */
    void *thread;              /* the caller of destroy */
    bool background;           /* immutable once the cache is made */
    bool stop;                 /* under wake_lock */

    struct ra_mutex free_lock; /* rank PC_FREE */
    uint32_t free_head;        /* frame index + 1, 0 none; under free_lock */
    /* Frames 0 .. nused-1 have been used; written under free_lock, atomic for
     * those who scan. */
    _Atomic uint32_t nused;

    /* What follows is written by many threads, on misses and removals but
     * never by a hit; what hits read, above, is kept off its lines. (Not by
     * alignas: the object comes from an allocator that knows of none.) */
    char pad[PC_CACHE_LINE];
    /* Frame index + 1, 0 none; a stack: pushed by anybody, taken whole. */
    _Atomic uint32_t limbo_head;
    _Atomic uint32_t nlimbo; /* atomic; frames in limbo */
    _Atomic uint32_t
        nfree;           /* atomic; on the free list; written under its lock */
    _Atomic bool wanted; /* atomic; the evictor is asked for a pass */
    _Atomic bool tired;  /* atomic; its last pass found too little */
    _Atomic uint64_t full_bytes; /* atomic; in use of the pool when it asked for
                                    room, 0: it never has; a guess */
    _Atomic uint32_t
        looks; /* atomic; at the pool's budget, by those who load */
    _Atomic uint32_t reclaiming;   /* atomic; 1: somebody is at it */
    _Atomic uint32_t demoted_next; /* atomic; place in `demoted`, modulo */
    _Atomic uint32_t demoted[PC_NDEMOTED]; /* atomic; frame index + 1, 0 */
    _Atomic uint64_t charged_bytes; /* atomic; resident, orphans, limbo, and
                                       what is about to become resident */
    _Atomic uint64_t gone_bytes;    /* atomic; of these, orphans and limbo */
    _Atomic uint64_t npages;        /* atomic; resident */

    /* Events; atomic, relaxed throughout: nothing is decided by them. */
    struct pc_kind kinds[QUIRE_KIND_COUNT];
    _Atomic uint64_t misses;
    _Atomic uint64_t loads;
    _Atomic uint64_t load_failures;
    _Atomic uint64_t nwaits;
    _Atomic uint64_t misuses;
    _Atomic uint64_t background_evicted;
    _Atomic uint64_t nevicted; /* pages of all kinds */
    struct pc_rows rows;
#if PC_CENSUS
    struct pc_census census;
#endif
};

/* What this thread is doing; owner thread. */
struct pc_thread {
    uint32_t reclaiming;   /* 1: holds a `reclaim` lock, or runs a callback */
    uint32_t hits_hint;    /* towards the next sample of hits by hint */
    uint32_t hits_table;   /* ... and by table */
    struct pc_load *loads; /* innermost load that it runs; NULL: none */
};

/* initial-exec: a few instructions instead of a call in the shared library */
extern _Thread_local struct pc_thread pc_self
    __attribute__((tls_model("initial-exec")));

static inline void pc_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline struct ra_mutex *pc_stripe_of(struct pc_cache *c, uint64_t key)
{
    return &c->stripes[(pc_hash(key) >> 32) /
                       (UINT64_C(0x100000000) / PC_NSTRIPES)];
}

static inline struct pc_kind *pc_kind_of(struct pc_cache *c,
                                         const struct pc_frame *f)
{
    /* relaxed: checked when the page was handed over, and came with it */
    return &c->kinds[atomic_load_explicit(&f->kind, memory_order_relaxed) %
                     QUIRE_KIND_COUNT];
}

/* Milliseconds of the monotonic clock, modulo 2^32. */
static inline uint32_t pc_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000 +
                      (uint64_t)t.tv_nsec / 1000000);
}

static inline struct pc_wait *pc_wait_of(struct pc_cache *c, uint32_t frame)
{
    return &c->waits[frame & (PC_NWAITS - 1)];
}

/*
 * May this thread wait, take locks and load? MISUSE in a read section and in a
 * removal callback, with the detail naming `what`.
 */
quire_status pc_may_wait(const char *what) QUIRE_MUST_CHECK;

/* Check a page that is handed over: INVAL names what is wrong. */
quire_status pc_page_check(const struct quire_page *page) QUIRE_MUST_CHECK;

/* ---- frame.c ---- */

/* Pin `frame` if it holds `key`; a loading one only if `will_wait`. In a read
 * section that found it, or under the key's stripe. */
bool pc_frame_pin(struct pc_cache *c, uint32_t frame, uint64_t key,
                  bool will_wait, pc_state *state);

/* Give back a pin; of an orphan the last one sends it to limbo. Returns the
 * pins that remain; an underflow is counted and logged, and 0. */
uint64_t pc_frame_unpin(struct pc_cache *c, uint32_t frame);

/*
 * Take `frame` out of the cache for `cause`: look-ups no longer find it, and
 * it goes to limbo with its last pin. false: it has left already, or is pinned
 * or loading and `only_unpinned`. Under the stripe's lock if `locked`, else
 * with no lock of that rank or above.
 */
bool pc_frame_detach(struct pc_cache *c, uint32_t frame, enum quire_cause cause,
                     bool only_unpinned, bool locked);

/* Its two halves, for the evictor: the frame is an orphan with the caller's
 * pin between them. The first takes no lock, the second the stripe's unless
 * `locked`. The policy's queues are the caller's business. */
bool pc_frame_orphan(struct pc_cache *c, uint32_t frame, enum quire_cause cause,
                     bool only_unpinned);
void pc_frame_forget(struct pc_cache *c, uint32_t frame, bool locked);

/* Take a frame from the free list: LOADING, one pin, no key. */
uint32_t pc_frame_pop(struct pc_cache *c);

/* Empty `frame`, which nobody can find, and claim it: as pc_frame_pop(). */
void pc_frame_reset(struct pc_cache *c, uint32_t frame);

/* Empty `frame`, which nobody can find, and put it on the free list. */
void pc_frame_push(struct pc_cache *c, uint32_t frame);

/* Give `frame`, claimed or loading, its page. */
void pc_frame_fill(struct pc_frame *f, const struct quire_page *page);

/* Count a use of `f`, by one store if there is something to count. */
static inline void pc_frame_use(struct pc_cache *c, struct pc_frame *f)
{
    /* relaxed, all: hints for the policy, nothing hangs on them */
    unsigned uses = atomic_load_explicit(&f->uses, memory_order_relaxed);

    if ((uses & PC_COUNT_BITS) <
        atomic_load_explicit(&c->policy.count_max, memory_order_relaxed))
        atomic_store_explicit(&f->uses, (uint8_t)((uses & PC_COUNT_BITS) + 1),
                              memory_order_relaxed);
}

/* The same, and note those of sampled keys in the policy's ring. Returns
 * whether that gets full. */
static inline bool pc_frame_touch(struct pc_cache *c, uint32_t frame,
                                  uint64_t key)
{
    struct pc_frame *f = &c->frames[frame];

    pc_frame_use(c, f);
    if (QUIRE_LIKELY(!pc_policy_sampled(&c->policy, pc_sample_bits(key))))
        return false;
    return pc_policy_sample(
        &c->policy, pc_sample_hash(key),
        /* relaxed: as above */
        atomic_load_explicit(&f->weight, memory_order_relaxed));
}

/* ---- load.c ---- */

const void *pc_get_rare(struct pc_cache *cache, uint64_t key, uint32_t frame);
const void *pc_get_far(struct pc_cache *cache, uint64_t key, pc_hint *hint,
                       uint32_t *frame);

/*
 * pc_get(), for those who want it inline: as few instructions as there can be
 * where the hint is right. What such a look-up costs is the wait for the
 * frame's line, and the fewer instructions lie between two look-ups the more
 * of them a processor waits for at once: all else is called, and last.
 */
static inline const void *pc_get_near(struct pc_cache *cache, uint64_t key,
                                      pc_hint *hint, uint32_t *frame)
{
    struct pc_frame *f;
    uint32_t at;
    bool rare;

    QUIRE_ASSERT(pc_read_inside());
    if (hint == NULL || QUIRE_UNLIKELY(key == PC_KEY_NONE))
        return pc_get_far(cache, key, hint, frame);
    /* relaxed: verified by what follows */
    at = atomic_load_explicit(hint, memory_order_relaxed);
    if (at >= cache->nframes)
        return pc_get_far(cache, key, hint, frame);
    pc_delay(PC_AT_HINT, at);
    f = &cache->frames[at];
    /* acquire: pairs with the release in pc_frame_publish(), so that the page
     * is seen with its key */
    if (QUIRE_UNLIKELY(atomic_load_explicit(&f->key, memory_order_acquire) !=
                       key))
        return pc_get_far(cache, key, hint, frame);
    pc_delay(PC_AT_KEY, at);
    /* acquire: pairs with the release that clears LOADING in pc_load_done() */
    if (QUIRE_UNLIKELY(!pc_state_resident(
            atomic_load_explicit(&f->state, memory_order_acquire))))
        return pc_get_far(cache, key, hint, frame);
    if (frame != NULL)
        *frame = at;
    pc_frame_use(cache, f);
    rare = ++pc_self.hits_hint >= PC_SAMPLE;
    rare |= pc_policy_sampled(&cache->policy, pc_sample_bits(key));
    if (QUIRE_UNLIKELY(rare))
        return pc_get_rare(cache, key, at);
    /* relaxed: came with the key or the state; it stays until the frame is
     * used again, after this section (PC-3) */
    return atomic_load_explicit(&f->payload, memory_order_relaxed);
}

/* ---- evict.c ---- */

/*
 * A claimed frame (LOADING, one pin, no key), evicting if none is free.
 * Returns: QUIRE_OK; NOMEM with the pinned figures.
 */
quire_status pc_evict_claim(struct pc_cache *c,
                            uint32_t *frame) QUIRE_MUST_CHECK;

/* Charge the `nbytes` of the page of `key`, evicting if that passes the
 * capacity. NOMEM with the pinned figures, and nothing charged. *to_main is
 * for pc_evict_admit(). */
quire_status pc_evict_charge(struct pc_cache *c, uint64_t key, uint64_t nbytes,
                             bool *to_main) QUIRE_MUST_CHECK;

/* Enter `frame`, of a key and weight, into the policy's queues. Under
 * policy_lock, by a holder of a pin. */
void pc_evict_admit(struct pc_cache *c, uint32_t frame, uint64_t key,
                    uint64_t nbytes, bool to_main);

/* The policy's callback: make `frame` an orphan, if it isn't pinned. */
bool pc_evict_victim(void *cache, uint32_t frame);

/* Reclaim if limbo has grown to a batch and nobody else is at it; the evictor
 * does it if there is one. */
void pc_evict_help(struct pc_cache *c);

/* As pc_evict_claim() and pc_evict_charge() do when they have to: one round,
 * as one of a pass of the evictor. *freed: pages. false: it had nothing to
 * do. */
bool pc_evict_ahead(struct pc_cache *c, const struct pc_want *need,
                    uint64_t *nfreed);

/* ---- row.c ---- */

quire_status pc_row_init(struct pc_cache *c,
                         const struct pc_options *opt) QUIRE_MUST_CHECK;
void pc_row_fini(struct pc_cache *c);

/* Give back what is beyond the rows' share, or not worth it; and at least
 * `nbytes`, if there are as many. Bytes given back. With no lock held of rank
 * PC_ROWS or above. */
uint64_t pc_row_trim(struct pc_cache *c);
uint64_t pc_row_give(struct pc_cache *c, uint64_t nbytes);

bool pc_row_check(struct pc_cache *c);
void pc_row_stat(struct pc_cache *c, struct quire_cache_stat *st);

/* ---- evictor.c ---- */

/* NOMEM when the thread can't be started. */
quire_status pc_evictor_start(struct pc_cache *c) QUIRE_MUST_CHECK;
void pc_evictor_stop(struct pc_cache *c);

/* Wake the evictor, if there is one, when a high mark is passed. With no lock
 * held. */
void pc_evictor_look(struct pc_cache *c);
/* The pool is full. */
void pc_evictor_full(struct pc_cache *c);
void pc_evictor_wake(struct pc_cache *c);

/* Call back for a page that is nobody's any more. */
void pc_evict_callback(struct pc_cache *c, uint64_t key,
                       const struct quire_page *page, enum quire_cause cause);

/* What is pinned now. */
struct pc_pinned {
    uint64_t pages[QUIRE_KIND_COUNT];
    uint64_t bytes[QUIRE_KIND_COUNT];
    uint64_t orphans[QUIRE_KIND_COUNT]; /* of these */
    uint64_t orphan_bytes[QUIRE_KIND_COUNT];
    uint64_t npages;  /* sum of pages */
    uint64_t loading; /* frames claimed or loading, not among the pages */
};

void pc_pinned_scan(struct pc_cache *c, struct pc_pinned *p);

/* The same in words, for error details. */
void pc_pinned_text(struct pc_cache *c, char *buf, size_t cap);

#endif /* QUIRE_CACHE_PC_IMPL_H */
