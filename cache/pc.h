/*
 * pc.h - the page cache: frames, pins, look-up, eviction, removal callbacks.
 *
 * A key names one immutable image (PC-1). A pinned page stays where it is and
 * is never a victim (PC-2). Each page that was in the cache leaves through the
 * removal callback exactly once, after its last pin and a grace period (PC-3).
 * No I/O, wait, allocation or callback happens inside a read section (PC-4).
 * quire_cache_* in quire.h are these functions with checked arguments.
 */
#ifndef QUIRE_CACHE_PC_H
#define QUIRE_CACHE_PC_H

#include "alloc/ra.h"
#include "quire.h"

struct pc_cache; /* opaque */

#define PC_HINT_NONE QUIRE_HINT_NONE

/* A hint lives in memory shared by threads: relaxed is enough, since it is
 * verified against the frame's key before it is believed. */
typedef _Atomic uint32_t pc_hint;

struct pc_options {
    uint64_t capacity_bytes; /* 0: no limit but the pool's budget */
    uint32_t max_pages;      /* frames; 1 .. 2^31 */
    /* See struct quire_cache_options. */
    quire_status (*load)(void *ctx, uint64_t key, void *arg,
                         struct quire_page *page);
    void (*removed)(void *ctx, uint64_t key, const struct quire_page *page,
                    quire_cause cause);
    void *ctx;
    bool background; /* run the evicting thread */
    enum quire_objective objective;
    enum quire_policy policy;
    bool synchronous; /* see struct quire_cache_options, here and below */
    void (*evicted)(void *ctx, uint64_t key, const struct quire_page *page);
    uint8_t min_share_percent[QUIRE_KIND_COUNT];
    size_t row_set_bytes;   /* a segment of rows: 4 to 64 KiB, a power of two;
                               best the size of most pages; 0: no rows */
    uint64_t row_bytes_max; /* all of them */
    struct ra_log log;
};

/*
 * Returns: QUIRE_OK and *cache, and the pool's pressure callback is this
 *          cache's; NOMEM; INVAL.
 */
quire_status pc_cache_create(struct ra_pool *pool, const struct pc_options *opt,
                             struct pc_cache **cache) QUIRE_MUST_CHECK;

/* Remove every page (CLOSED) and free the cache. Returns the number of pages
 * still pinned, whose payloads are then not given back: logged each with its
 * key, and an assertion in debug builds unless `leaks_expected`. */
uint64_t pc_cache_destroy(struct pc_cache *cache, bool leaks_expected);

/*
 * A read section (urcu-bp; nests, no registration). Pages returned by pc_get()
 * inside it keep their bytes until it ends.
 */
void pc_read_enter(void);
void pc_read_exit(void);
bool pc_read_inside(void); /* is this thread in one? */

/* Wait until all read sections that are running now have ended. Context:
 * outside read sections; with no lock but of rank PC_RECLAIM or below. */
void pc_grace(void);

/*
 * The payload of `key` when it is resident, else NULL. Inside a read section.
 * No read-modify-write; one relaxed store when the reference bit is clear.
 * `hint` may be NULL; it is updated when the table had to be asked. *frame,
 * if not NULL, is the frame's number for pc_pin_frame().
 */
const void *pc_get(struct pc_cache *cache, uint64_t key, pc_hint *hint,
                   uint32_t *frame);

/* Is `key` resident or being loaded? No use of it. Inside a read section. */
bool pc_has(const struct pc_cache *cache, uint64_t key, const pc_hint *hint);

/* Fetch what a pc_get() by this hint will look at first. */
void pc_prefetch(const struct pc_cache *cache, const pc_hint *hint);

/* Pin the page found in `frame` by pc_get() in this read section. false: it
 * has gone meanwhile; treat as a miss. */
bool pc_pin_frame(struct pc_cache *cache, uint32_t frame,
                  uint64_t key) QUIRE_MUST_CHECK;

/*
 * Pin the page of `key`, loading it on a miss: the caller becomes the loader,
 * or waits for the one that is. `arg` goes to the loader.
 *
 * Returns: QUIRE_OK, *payload and *frame; what the loader said (to every
 *          waiter); NOMEM when no frame can be had, with pinned figures;
 *          MISUSE inside a read section.
 * Context: any thread with no lock held; I/O in the loader.
 * Owner:   the pin is the caller's, until pc_unpin().
 */
quire_status pc_pin(struct pc_cache *cache, uint64_t key, pc_hint *hint,
                    void *arg, const void **payload,
                    uint32_t *frame) QUIRE_MUST_CHECK;

/* One more pin of a page that the caller has pinned already. */
void pc_repin(struct pc_cache *cache, uint32_t frame);

/* Give a pin back. Cannot fail, allocates nothing, calls nothing back. An
 * underflow is counted, logged and ignored. Any thread, also inside a read
 * section. */
void pc_unpin(struct pc_cache *cache, uint32_t frame);

/*
 * Hand `page` over under `key`. A page that is there already leaves (REPLACED).
 *
 * Returns: QUIRE_OK; NOMEM (no frame, or over capacity with everything pinned):
 *          the caller keeps the payload.
 * Context: outside read sections. Never waits for a load: a key that is being
 *          loaded gives QUIRE_BUSY, and the caller keeps the payload.
 */
quire_status pc_insert(struct pc_cache *cache, uint64_t key,
                       const struct quire_page *page) QUIRE_MUST_CHECK;

/* The same, and a hint for pc_get() and pc_pin() in *hint, if it succeeds. */
quire_status pc_insert_hint(struct pc_cache *cache, uint64_t key,
                            const struct quire_page *page,
                            uint32_t *hint) QUIRE_MUST_CHECK;

/* Remove the page of `key`: NOTFOUND, or it is invisible from now on and its
 * removal callback will come (REMOVED). Cannot fail otherwise. */
quire_status pc_remove(struct pc_cache *cache, uint64_t key);

/* Make `key` the next to be evicted, if resident and not pinned: a hint that
 * it will not be needed again. */
void pc_demote(struct pc_cache *cache, uint64_t key);

/*
 * Evict at least `nbytes` if possible, wait for the grace period, call back.
 * Returns the weight given back. Context: outside read sections, no lock held.
 */
uint64_t pc_evict(struct pc_cache *cache, uint64_t nbytes);

/* Give back what is past its last pin (orphans, limbo) now, with callbacks.
 * Context as pc_evict(). */
void pc_reclaim(struct pc_cache *cache);

/*
 * Rows (PC-12): what a page holds under a name, kept without the page.
 *
 * pc_row_get(): the row of `page` and `name`, if there is one: up to `cap` of
 * its bytes from `off` on are copied into `buf`, *size is how many it has in
 * all; or it says that the page has *nothing under that name.
 *
 * pc_row_put(): the page, which had to be loaded for it, holds `val` under
 * `name`; `val` NULL: nothing. Taken when it is worth it. Name and value
 * together have pc_row_max() bytes at most, else they are not taken. Neither is
 * anything before a page was evicted.
 *
 * Context: outside read sections, with no lock held. Cannot fail.
 */
bool pc_row_get(struct pc_cache *cache, uint64_t page,
                const struct quire_val *name, uint64_t off, void *buf,
                size_t cap, uint64_t *size, bool *nothing);
void pc_row_put(struct pc_cache *cache, uint64_t page,
                const struct quire_val *name, const struct quire_val *val);
size_t pc_row_max(const struct pc_cache *cache);

uint64_t pc_pinned_pages(struct pc_cache *cache);

/* Log each pinned page; in builds with assertions with who pinned it. How many
 * there are. Takes no lock of rank below PC_CENSUS. */
uint64_t pc_census(struct pc_cache *cache, quire_log_level level);

/* Name the pins that this thread takes from now on, for pc_census(); the name
 * until now. NULL: none. The text is copied with each pin. Builds without
 * assertions ignore it. */
#if QUIRE_DEBUG >= 1
const char *pc_tag(const char *tag);
#else
static inline const char *pc_tag(const char *tag)
{
    (void)tag;
    return NULL;
}
#endif

void pc_stat(struct pc_cache *cache, struct quire_cache_stat *st);

/* Verify every invariant of cache/README.md by number; false and a log line
 * for the first that does not hold. For quiescent caches. */
bool pc_check_cache(struct pc_cache *cache);

#endif /* QUIRE_CACHE_PC_H */
