/*
 * load.c - look-up, pins, loading, handing pages over, removing them.
 *
 * A look-up believes a hint when the frame that it names has the key: one
 * load. Else it asks the table and corrects the hint. Both happen in a read
 * section, so that a frame in which the key was seen keeps its page until the
 * section ends (frame.c says why).
 *
 * A miss claims a frame first, which may take a while and may evict, and then,
 * under the stripe's lock, looks once more and enters the frame as LOADING.
 * Whoever comes for the key from then on pins the frame and waits; nobody
 * holds a lock while the loader runs.
 *
 *     loader                               waiter
 *     ------                               ------
 *     claim; stripe: enter, LOADING|1      finds it, LOADING|2, waits
 *     load()
 *       success: fill, charge,             wakes, has its pin already
 *         clear LOADING, wake all
 *       failure: stripe: no key, out of    wakes, copies status and detail,
 *         the table, ORPHAN|FAILED,          unpins, wakes the loader
 *         wake all; wait for their unpins
 *         unpin: limbo, without a page
 *
 * A failed load hands its status and detail to the waiters from the loader's
 * stack, so that a failure allocates nothing; hence it waits until they have
 * gone, which takes no longer than waking up. The key is free again before
 * that: the next look-up is a new miss.
 *
 * Traps. A loader may allocate (and so evict), and may pin other pages of the
 * same cache; two loaders that wait for each other's key would do so for ever,
 * so their kinds must have an order (a page waits for fragments, not the
 * reverse). A loader that asks for its own key is told so. A page may be
 * removed while it loads: it is then out of the table, those who wait get it
 * all the same, and it leaves with its last pin.
 */
#include "cache/pc_impl.h"

#include <stdio.h>

/* A hit of `frame`, counted now and then. */
static inline void pc_hit_hint(struct pc_cache *c, uint32_t frame)
{
    if (QUIRE_LIKELY(++pc_self.hits_hint < PC_SAMPLE))
        return;
    pc_self.hits_hint = 0;
    atomic_fetch_add_explicit(&pc_kind_of(c, &c->frames[frame])->hits_hint,
                              PC_SAMPLE, memory_order_relaxed);
}

static inline void pc_hit_table(struct pc_cache *c, uint32_t frame)
{
    if (QUIRE_LIKELY(++pc_self.hits_table < PC_SAMPLE))
        return;
    pc_self.hits_table = 0;
    atomic_fetch_add_explicit(&pc_kind_of(c, &c->frames[frame])->hits_table,
                              PC_SAMPLE, memory_order_relaxed);
}

/* The frame that `hint` names, if it has `key`: resident or loading, or
 * leaving just now. In a read section. */
static uint32_t pc_hint_find(const struct pc_cache *c, uint64_t key,
                             const pc_hint *hint)
{
    uint32_t frame;

    if (hint == NULL)
        return PC_FRAME_NONE;
    /* relaxed: verified by what follows */
    frame = atomic_load_explicit(hint, memory_order_relaxed);
    if (frame >= c->nframes)
        return PC_FRAME_NONE;
    pc_delay(PC_AT_HINT, frame);
    /* acquire: pairs with the release in pc_frame_publish(), so that the page
     * is seen with its key */
    if (atomic_load_explicit(&c->frames[frame].key, memory_order_acquire) !=
        key)
        return PC_FRAME_NONE;
    pc_delay(PC_AT_KEY, frame);
    return frame;
}

static void pc_hint_set(pc_hint *hint, uint32_t frame)
{
    /* relaxed: verified by whoever reads it */
    if (hint != NULL)
        atomic_store_explicit(hint, frame, memory_order_relaxed);
}

/* What a hit by hint does now and then: it counts itself, for others too, and
 * notes the use of a sampled key. The payload of `frame`. */
__attribute__((noinline)) const void *pc_get_rare(struct pc_cache *cache,
                                                  uint64_t key, uint32_t frame)
{
    struct pc_frame *f = &cache->frames[frame];

    if (pc_self.hits_hint >= PC_SAMPLE) {
        pc_self.hits_hint--;
        pc_hit_hint(cache, frame);
    }
    if (pc_policy_sampled(&cache->policy, pc_sample_bits(key)))
        (void)pc_policy_sample(
            &cache->policy, pc_sample_hash(key),
            /* relaxed: as in pc_frame_touch() */
            atomic_load_explicit(&f->weight, memory_order_relaxed));
    /* relaxed: as in pc_get_near() */
    return atomic_load_explicit(&f->payload, memory_order_relaxed);
}

/* Without a hint, or with one that was wrong. */
__attribute__((noinline)) const void *pc_get_far(struct pc_cache *cache,
                                                 uint64_t key, pc_hint *hint,
                                                 uint32_t *frame)
{
    uint32_t at;

    if (QUIRE_UNLIKELY(key == PC_KEY_NONE))
        return NULL;
    at = pc_table_find(&cache->table, cache->frames, key);
    /* acquire: pairs with the release that clears LOADING in pc_load_done() */
    if (at == PC_FRAME_NONE ||
        !pc_state_resident(atomic_load_explicit(&cache->frames[at].state,
                                                memory_order_acquire)))
        return NULL;
    pc_hint_set(hint, at);
    pc_hit_table(cache, at);
    (void)pc_frame_touch(cache, at, key);
    if (frame != NULL)
        *frame = at;
    /* relaxed: as in pc_get_near() */
    return atomic_load_explicit(&cache->frames[at].payload,
                                memory_order_relaxed);
}

const void *pc_get(struct pc_cache *cache, uint64_t key, pc_hint *hint,
                   uint32_t *frame)
{
    return pc_get_near(cache, key, hint, frame);
}

bool pc_has(const struct pc_cache *cache, uint64_t key, const pc_hint *hint)
{
    QUIRE_ASSERT(pc_read_inside());
    return key != PC_KEY_NONE &&
           (pc_hint_find(cache, key, hint) != PC_FRAME_NONE ||
            pc_table_find(&cache->table, cache->frames, key) != PC_FRAME_NONE);
}

void pc_prefetch(const struct pc_cache *cache, const pc_hint *hint)
{
    /* relaxed: whatever it names is fetched in vain at worst */
    uint32_t at = atomic_load_explicit(hint, memory_order_relaxed);

    if (at < cache->nframes)
        __builtin_prefetch(&cache->frames[at]);
}

bool pc_pin_frame(struct pc_cache *cache, uint32_t frame, uint64_t key)
{
    pc_state s;

    QUIRE_ASSERT(pc_read_inside());
    /* relaxed: in this section the key was seen with acquire */
    if (frame >= cache->nframes || key == PC_KEY_NONE ||
        atomic_load_explicit(&cache->frames[frame].key, memory_order_relaxed) !=
            key)
        return false;
    if (!pc_frame_pin(cache, frame, key, false, &s))
        return false;
    pc_census_pin(cache, frame);
    return true;
}

/* Enter a claimed frame under `key`: in the table, then to be found. Under the
 * stripe's lock, when the key is not there. */
static bool pc_frame_publish(struct pc_cache *c, uint32_t frame, uint64_t key,
                             pc_state state)
{
    struct pc_frame *f = &c->frames[frame];

    if (!pc_table_insert(&c->table, key, frame))
        return false;
    /* relaxed: published by the key */
    atomic_store_explicit(&f->state, state, memory_order_relaxed);
    pc_delay(PC_AT_ENTERED, frame);
    /* release: pairs with the acquire in pc_hint_find() and pc_table_find() */
    atomic_store_explicit(&f->key, key, memory_order_release);
    return true;
}

static quire_status pc_fail_table(void)
{
    return ra_fail(QUIRE_NOMEM, "cache: the table had no empty slot");
}

/* ---- loading ---- */

static void pc_wake(struct pc_cache *c, uint32_t frame)
{
    struct pc_wait *w = pc_wait_of(c, frame);

    ra_mutex_lock(&w->lock);
    pthread_cond_broadcast(&w->cond);
    ra_mutex_unlock(&w->lock);
}

/* The load of `frame`, which this thread has pinned and found LOADING, is
 * another's: wait for it. On failure the pin is given back. */
static quire_status pc_load_wait(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];
    struct pc_wait *w = pc_wait_of(c, frame);
    char text[PC_TEXT_CAP];
    quire_status rc = QUIRE_OK;
    pc_state s;

    pc_count(&c->nwaits);
    ra_mutex_lock(&w->lock);
    for (;;) {
        /* acquire: pairs with the release in pc_load_done() and
         * pc_load_fail(): the page, or the failure, is seen */
        s = atomic_load_explicit(&f->state, memory_order_acquire);
        if ((s & PC_ST_LOADING) == 0)
            break;
        ra_cond_wait(&w->cond, &w->lock);
    }
    if ((s & PC_ST_FAILED) != 0) {
        /* relaxed: came with the state */
        const struct pc_load *load = atomic_load_explicit(&f->payload,
                                                          memory_order_relaxed);

        rc = load->rc;
        memcpy(text, load->text, sizeof(text));
        /* Under the wait's lock: the loader, who waits for this under it, can
         * go only when we have left `load`. */
        if (pc_frame_unpin(c, frame) == 1)
            pthread_cond_broadcast(&w->cond);
    }
    ra_mutex_unlock(&w->lock);
    if (rc == QUIRE_OK)
        pc_count(&pc_kind_of(c, f)->waits);
    else
        ra_fail(rc, "%s", text);
    return rc;
}

/* The page of `load` has come: make it resident, wake who waits. */
static void pc_load_done(struct pc_cache *c, uint64_t key,
                         const struct pc_load *load,
                         const struct quire_page *page, bool to_main)
{
    struct pc_frame *f = &c->frames[load->frame];
    pc_state was;

    pc_frame_fill(f, page);
    pc_delay(PC_AT_FILLED, load->frame);
    /* relaxed, here and below: figures */
    atomic_fetch_add_explicit(&c->npages, 1, memory_order_relaxed);
    ra_mutex_lock(&c->policy_lock);
    /* release: pairs with the acquire of whoever finds it resident */
    was = atomic_fetch_and_explicit(&f->state, ~PC_ST_LOADING,
                                    memory_order_release);
    if ((was & PC_ST_ORPHAN) == 0) /* see pc_frame_detach() */
        pc_evict_admit(c, load->frame, key, page->weight_bytes, to_main);
    ra_mutex_unlock(&c->policy_lock);
    if ((was & PC_ST_ORPHAN) != 0) { /* removed meanwhile */
        atomic_fetch_sub_explicit(&c->npages, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->gone_bytes, page->weight_bytes,
                                  memory_order_relaxed);
    }
    pc_wake(c, load->frame);
}

/* No page will come: hand load->rc to all who wait, and let the frame go. */
static void pc_load_fail(struct pc_cache *c, uint64_t key, struct pc_load *load)
{
    struct pc_frame *f = &c->frames[load->frame];
    struct pc_wait *w = pc_wait_of(c, load->frame);
    struct ra_mutex *stripe = pc_stripe_of(c, key);
    pc_state s;

    pc_count(&c->load_failures);
    snprintf(load->text, sizeof(load->text), "%s", quire_error_detail());
    /* relaxed: published by the state */
    atomic_store_explicit(&f->payload, load, memory_order_relaxed);

    ra_mutex_lock(stripe);
    s = atomic_load_explicit(&f->state, memory_order_relaxed);
    do {
        /* release: pairs with the acquire in pc_load_wait(). relaxed on
         * failure: `s` is only tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->state, &s, (s & ~PC_ST_LOADING) | PC_ST_ORPHAN | PC_ST_FAILED,
        memory_order_release, memory_order_relaxed));
    if ((s & PC_ST_ORPHAN) == 0) { /* else it was removed, and this is done */
        /* relaxed: see pc_frame_orphan() */
        atomic_store_explicit(&f->key, PC_KEY_NONE, memory_order_relaxed);
        pc_table_remove(&c->table, key, load->frame);
    }
    ra_mutex_unlock(stripe);

    ra_mutex_lock(&w->lock);
    pthread_cond_broadcast(&w->cond);
    /* acquire: pairs with the release of their unpins; `load` is ours alone
     * when only our pin is left */
    while (pc_state_pins(
               atomic_load_explicit(&f->state, memory_order_acquire)) > 1)
        ra_cond_wait(&w->cond, &w->lock);
    ra_mutex_unlock(&w->lock);
    pc_frame_unpin(c, load->frame); /* to limbo: readers may look at it */
}

/* The loader found no memory: what the cache holds pinned belongs to the
 * answer, since it alone could not be evicted for it. */
static quire_status pc_load_nomem(struct pc_cache *c)
{
    char why[PC_TEXT_CAP / 2];
    char pinned[PC_TEXT_CAP / 2];

    snprintf(why, sizeof(why), "%s", quire_error_detail());
    pc_pinned_text(c, pinned, sizeof(pinned));
    return ra_fail(QUIRE_NOMEM, "%s; cache: %s", why, pinned);
}

/* Load `key` into `frame`, which this thread has entered as LOADING with a
 * pin. On failure frame and pin are gone. */
static quire_status pc_load_run(struct pc_cache *c, uint64_t key,
                                uint32_t frame, void *arg)
{
    struct pc_load load = {
        .outer = pc_self.loads,
        .cache = c,
        .frame = frame,
    };
    struct quire_page page = { 0 };
    bool loaded = false; /* the page is ours to give back */
    bool to_main = false;

    pc_count(&c->loads); /* begun; those of a kind are counted when done */
    pc_self.loads = &load;
    load.rc = QUIRE_POINT_RC(PC_LOAD_PAGE, QUIRE_NOMEM,
                             c->opt.load(c->opt.ctx, key, arg, &page));
    pc_self.loads = load.outer;
    if (load.rc == QUIRE_NOMEM)
        load.rc = pc_load_nomem(c);
    if (load.rc != QUIRE_OK)
        goto out;
    loaded = true;
    load.rc = pc_page_check(&page);
    if (load.rc != QUIRE_OK)
        goto out;
    load.rc = QUIRE_POINT_RC(
        PC_LOAD_CHARGE, QUIRE_NOMEM,
        pc_evict_charge(c, key, page.weight_bytes, &to_main));

out:
    if (load.rc == QUIRE_OK) {
        pc_count(&c->kinds[page.kind].loads);
        pc_load_done(c, key, &load, &page, to_main);
        return QUIRE_OK;
    }
    pc_load_fail(c, key, &load);
    if (loaded && page.payload != NULL)
        pc_evict_callback(c, key, &page, QUIRE_CAUSE_EVICTED);
    return ra_fail(load.rc, "%s", load.text);
}

/* Is this thread, perhaps further out, loading into `frame`? */
static bool pc_load_is_own(const struct pc_cache *c, uint32_t frame)
{
    for (const struct pc_load *l = pc_self.loads; l != NULL; l = l->outer) {
        if (l->cache == c && l->frame == frame)
            return true;
    }
    return false;
}

/* ---- pins ---- */

/* Pin `key` if it is there, resident or loading. */
static bool pc_pin_found(struct pc_cache *c, uint64_t key, pc_hint *hint,
                         uint32_t *frame, pc_state *s)
{
    bool pinned = false;

    pc_read_enter();
    *frame = pc_hint_find(c, key, hint);
    if (*frame != PC_FRAME_NONE) {
        pinned = pc_frame_pin(c, *frame, key, true, s);
        if (pinned && (*s & PC_ST_LOADING) == 0)
            pc_hit_hint(c, *frame);
    }
    if (!pinned) {
        *frame = pc_table_find(&c->table, c->frames, key);
        if (*frame != PC_FRAME_NONE)
            pinned = pc_frame_pin(c, *frame, key, true, s);
        if (pinned)
            pc_hint_set(hint, *frame);
        if (pinned && (*s & PC_ST_LOADING) == 0)
            pc_hit_table(c, *frame);
    }
    pc_read_exit();
    return pinned;
}

/* Under the stripe's lock: as pc_pin_found(), and then false is final. */
static bool pc_pin_locked(struct pc_cache *c, uint64_t key, uint32_t *frame,
                          pc_state *s)
{
    for (;;) {
        *frame = pc_table_find(&c->table, c->frames, key);
        if (*frame == PC_FRAME_NONE)
            return false;
        if (pc_frame_pin(c, *frame, key, true, s))
            return true;
        /* An evictor was faster: that frame is not found again, and no other
         * can be entered for the key while we hold the lock. */
    }
}

quire_status pc_pin(struct pc_cache *cache, uint64_t key, pc_hint *hint,
                    void *arg, const void **payload, uint32_t *frame)
{
    struct ra_mutex *stripe = pc_stripe_of(cache, key);
    uint32_t fresh = PC_FRAME_NONE;
    bool load = false;
    bool missed = false;
    uint32_t at;
    pc_state s;
    quire_status rc = pc_may_wait("cache: pin");

    if (rc != QUIRE_OK)
        return rc;
    if (key == PC_KEY_NONE)
        return ra_fail(QUIRE_INVAL, "cache: key 2^64-1 is reserved");
    if (!pc_pin_found(cache, key, hint, &at, &s)) {
        missed = true;
        pc_count(&cache->misses);
        pc_evict_help(cache);
        rc = QUIRE_POINT_RC(PC_PIN_FRAME, QUIRE_NOMEM,
                            pc_evict_claim(cache, &fresh));
        if (rc != QUIRE_OK)
            return rc;
        ra_mutex_lock(stripe);
        if (!pc_pin_locked(cache, key, &at, &s)) {
            at = fresh;
            load = QUIRE_POINT(
                PC_PIN_ENTRY, false,
                pc_frame_publish(cache, fresh, key, PC_ST_LOADING | 1));
            if (!load)
                rc = pc_fail_table();
        }
        ra_mutex_unlock(stripe);
        if (!load)
            pc_frame_push(cache, fresh);
        if (rc != QUIRE_OK)
            return rc;
        pc_hint_set(hint, at);
    }

    if (load) {
        rc = pc_load_run(cache, key, at, arg);
    } else if ((s & PC_ST_LOADING) != 0) {
        if (!missed)
            pc_count(&cache->misses);
        missed = true;
        if (pc_load_is_own(cache, at)) {
            pc_frame_unpin(cache, at);
            return ra_fail(QUIRE_MISUSE,
                           "cache: the loader of key %llu asked for it",
                           (unsigned long long)key);
        }
        rc = pc_load_wait(cache, at);
    }
    if (rc != QUIRE_OK)
        return rc;
    if (!load && pc_frame_touch(cache, at, key) && cache->opt.synchronous) {
        ra_mutex_lock(&cache->policy_lock);
        pc_policy_drain(&cache->policy); /* so that no sampled hit is lost */
        ra_mutex_unlock(&cache->policy_lock);
    }
    if (missed)
        pc_count(&pc_kind_of(cache, &cache->frames[at])->misses);
    /* relaxed: came with the state, and stays while pinned (PC-2) */
    *payload = atomic_load_explicit(&cache->frames[at].payload,
                                    memory_order_relaxed);
    *frame = at;
    pc_census_pin(cache, at);
    return QUIRE_OK;
}

/* ---- handing over and removing ---- */

quire_status pc_page_check(const struct quire_page *page)
{
    if (page->payload == NULL)
        return ra_fail(QUIRE_INVAL, "cache: page without payload");
    if (page->weight_bytes == 0 || page->weight_bytes > UINT32_MAX)
        return ra_fail(QUIRE_INVAL,
                       "cache: weight_bytes %llu is not in 1 .. 2^32-1",
                       (unsigned long long)page->weight_bytes);
    if ((unsigned)page->kind >= QUIRE_KIND_COUNT)
        return ra_fail(QUIRE_INVAL, "cache: kind %u is none of quire_kind",
                       (unsigned)page->kind);
    return QUIRE_OK;
}

quire_status pc_insert(struct pc_cache *cache, uint64_t key,
                       const struct quire_page *page)
{
    uint32_t hint;

    return pc_insert_hint(cache, key, page, &hint);
}

quire_status pc_insert_hint(struct pc_cache *cache, uint64_t key,
                            const struct quire_page *page, uint32_t *hint)
{
    struct ra_mutex *stripe = pc_stripe_of(cache, key);
    uint32_t fresh = PC_FRAME_NONE;
    bool charged = false;
    bool to_main = false;
    uint32_t old;
    quire_status rc = pc_may_wait("cache: insert");

    if (rc != QUIRE_OK)
        return rc;
    if (key == PC_KEY_NONE)
        return ra_fail(QUIRE_INVAL, "cache: key 2^64-1 is reserved");
    rc = pc_page_check(page);
    if (rc != QUIRE_OK)
        return rc;
    pc_evict_help(cache);
    rc = QUIRE_POINT_RC(PC_INSERT_FRAME, QUIRE_NOMEM,
                        pc_evict_claim(cache, &fresh));
    if (rc != QUIRE_OK)
        return rc;
    rc = QUIRE_POINT_RC(
        PC_INSERT_CHARGE, QUIRE_NOMEM,
        pc_evict_charge(cache, key, page->weight_bytes, &to_main));
    if (rc != QUIRE_OK)
        goto out;
    charged = true;
    pc_frame_fill(&cache->frames[fresh], page);

    ra_mutex_lock(stripe);
    /* Not pinned: the lock keeps the frame from being used for another key,
     * and a loader whose load fails waits for every pin to go. */
    old = pc_table_find(&cache->table, cache->frames, key);
    /* relaxed: only whether it is loading; it has no say over its bytes */
    if (old != PC_FRAME_NONE &&
        (atomic_load_explicit(&cache->frames[old].state, memory_order_relaxed) &
         PC_ST_LOADING) != 0) {
        rc = ra_fail(QUIRE_BUSY, "cache: key %llu is being loaded",
                     (unsigned long long)key);
        goto unlock;
    }
    /* Entered before the old one goes, so that the key is never missing; with
     * a pin, so that it isn't evicted before it is whole. */
    if (!QUIRE_POINT(PC_INSERT_ENTRY, false,
                     pc_frame_publish(cache, fresh, key, 1))) {
        rc = pc_fail_table();
        goto unlock;
    }
    atomic_fetch_add_explicit(&cache->npages, 1, memory_order_relaxed);
    ra_mutex_lock(&cache->policy_lock);
    pc_evict_admit(cache, fresh, key, page->weight_bytes, to_main);
    ra_mutex_unlock(&cache->policy_lock);
    if (old != PC_FRAME_NONE) /* false: an evictor was faster, as good */
        pc_frame_detach(cache, old, QUIRE_CAUSE_REPLACED, false, true);
    pc_frame_unpin(cache, fresh);
    *hint = fresh;
    fresh = PC_FRAME_NONE; /* the cache's by now, and the bytes too */
    charged = false;

unlock:
    ra_mutex_unlock(stripe);
out:
    if (charged)
        /* relaxed: see pc_charge() in evict.c */
        atomic_fetch_sub_explicit(&cache->charged_bytes, page->weight_bytes,
                                  memory_order_relaxed);
    if (fresh != PC_FRAME_NONE)
        pc_frame_push(cache, fresh);
    return rc;
}

quire_status pc_remove(struct pc_cache *cache, uint64_t key)
{
    struct ra_mutex *stripe = pc_stripe_of(cache, key);
    bool removed = false;
    uint32_t frame;
    quire_status rc = pc_may_wait("cache: remove");

    if (rc != QUIRE_OK)
        return rc;
    if (key == PC_KEY_NONE)
        return QUIRE_NOTFOUND;
    ra_mutex_lock(stripe);
    for (;;) {
        frame = pc_table_find(&cache->table, cache->frames, key);
        if (frame == PC_FRAME_NONE)
            break;
        removed = pc_frame_detach(cache, frame, QUIRE_CAUSE_REMOVED, false,
                                  true);
        if (removed)
            break;
        /* An evictor was faster; it is not found again. */
    }
    ra_mutex_unlock(stripe);
    return removed ? QUIRE_OK : QUIRE_NOTFOUND;
}
