/*
 * frame.c - frames: pins, leaving the cache, limbo, the free list.
 *
 * All that decides over a frame is in its state word (pc_impl.h has the
 * diagram), and each function here performs one transition of it by compare-
 * and-swap. Three rules make that sufficient:
 *
 *   1. A pin is taken on the state word, then the key is compared. Between a
 *      look-up and the pin the page may have been removed: then the key is no
 *      longer there, and the pin is given back. A pin that was refused is
 *      never given back.
 *   2. Whoever removes a page takes a pin with the same exchange that makes it
 *      an orphan. With it he clears the key and the table at leisure: the
 *      frame cannot reach limbo before he has given the pin back. This is the
 *      one way out of the cache, for all causes.
 *   3. An orphan is not pinned anew, so that its pins only fall; the holder of
 *      the last one is alone with the frame and puts it on the limbo list.
 *
 * The key is cleared when a page leaves, not when its frame is used again. A
 * reader that finds the key in its section can therefore be sure that the page
 * left after the section began, and that the grace period which follows waits
 * for it. Were the key left in place, a section that began during that grace
 * period would find it too, and read on while the frame gets another page.
 *
 * Limbo is a stack linked through the frames: an unpin allocates nothing and
 * takes no lock. It is only ever taken whole, so that a head that comes back
 * to the same frame does no harm.
 */
#include "cache/pc_impl.h"

#if QUIRE_DEBUG >= 1
void (*_Atomic pc_delay_fn)(enum pc_place place, uint32_t frame);
#endif

static void pc_misuse(struct pc_cache *c, uint32_t frame, const char *what)
{
    pc_count(&c->misuses);
    ra_log_line(&c->opt.log, QUIRE_LOG_WARN,
                "cache: %s frame %lu, which is not pinned: ignored", what,
                (unsigned long)frame);
}

bool pc_frame_pin(struct pc_cache *c, uint32_t frame, uint64_t key,
                  bool will_wait, pc_state *state)
{
    struct pc_frame *f = &c->frames[frame];
    pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
    pc_state next;

    do {
        if (!pc_state_pin(s, will_wait, &next))
            return false;
        /* acquire: pairs with the release that made the page resident
         * (load.c); pins since then are read-modify-writes and prolong that
         * release sequence. relaxed on failure: `s` is only tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->state, &s, next, memory_order_acquire, memory_order_relaxed));
    *state = next;
    pc_delay(PC_AT_PINNED, frame);
    /* Still loading: then it is the load of this key, since the caller saw it
     * here, and how it ends is what the caller waits for. */
    if ((next & PC_ST_LOADING) != 0)
        return true;
    /* relaxed: a frame whose key the caller saw in this section, or sees under
     * the stripe's lock, has that key or none */
    if (atomic_load_explicit(&f->key, memory_order_relaxed) != key) {
        pc_frame_unpin(c, frame);
        return false;
    }
    return true;
}

static void pc_frame_to_limbo(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];
    uint32_t head = atomic_load_explicit(&c->limbo_head, memory_order_relaxed);

    /* relaxed: a count for those who wonder whether it is worth their while */
    atomic_fetch_add_explicit(&c->nlimbo, 1, memory_order_relaxed);
    do {
        f->next = head;
        /* release: pairs with the acquire of the exchange in evict.c; all that
         * was written to the frame comes with it. relaxed on failure: `head`
         * is only tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        &c->limbo_head, &head, frame + 1, memory_order_release,
        memory_order_relaxed));
}

uint64_t pc_frame_unpin(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];
    pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
    pc_state next;

    do {
        if (!pc_state_unpin(s, &next)) {
            pc_misuse(c, frame, "unpin of");
            return 0;
        }
        /* release: the holder's reads of the page end before the pin does;
         * acquire: of an orphan the last one sees what all others did, and
         * hands it on to limbo. Pairs with itself and with the acquire of the
         * exchange in pc_frame_orphan(). */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->state, &s, next, memory_order_acq_rel, memory_order_relaxed));
    if ((next & PC_ST_LIMBO) != 0) {
        pc_delay(PC_AT_LIMBO, frame);
        pc_frame_to_limbo(c, frame); /* PC-3: ours alone by now */
    }
    return pc_state_pins(next);
}

void pc_unpin(struct pc_cache *cache, uint32_t frame)
{
    if (frame >= cache->nframes) {
        pc_misuse(cache, frame, "unpin of");
        return;
    }
    pc_census_unpin(cache, frame); /* before it may be another's */
    if (ra_broken(RA_BROKEN_PINNED_LOST) &&
        (atomic_load_explicit(&cache->frames[frame].state,
                              memory_order_relaxed) &
         PC_ST_ORPHAN) != 0)
        return;
    pc_frame_unpin(cache, frame);
}

void pc_repin(struct pc_cache *cache, uint32_t frame)
{
    struct pc_frame *f;
    pc_state s;

    if (frame >= cache->nframes) {
        pc_misuse(cache, frame, "repin of");
        return;
    }
    f = &cache->frames[frame];
    s = atomic_load_explicit(&f->state, memory_order_relaxed);
    do {
        if (pc_state_pins(s) == 0) {
            pc_misuse(cache, frame, "repin of");
            return;
        }
        /* relaxed, both: the caller has a pin, so that it has seen the page
         * and keeps it; an orphan too may be pinned once more that way */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->state, &s, s + 1, memory_order_relaxed, memory_order_relaxed));
    pc_census_pin(cache, frame);
}

bool pc_frame_orphan(struct pc_cache *c, uint32_t frame, enum quire_cause cause,
                     bool only_unpinned)
{
    struct pc_frame *f = &c->frames[frame];
    pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
    pc_state next;

    do {
        if (!pc_state_detach(s, cause, only_unpinned, &next))
            return false;
        /* acquire: pairs with the release of the unpins; what their holders
         * did is over. relaxed on failure: `s` is only tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->state, &s, next, memory_order_acquire, memory_order_relaxed));
    pc_delay(PC_AT_ORPHAN, frame);

    /* Ours to take apart, by the pin in `next`. relaxed: nobody else writes
     * the key now, and a section that begins after the grace period that is
     * to come sees it cleared. */
    atomic_store_explicit(&f->gone_key,
                          atomic_load_explicit(&f->key, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&f->key, PC_KEY_NONE, memory_order_relaxed);
    if ((s & PC_ST_LOADING) == 0) {
        /* relaxed, both: figures. A loading page is not yet in them; its
         * loader will find it an orphan. */
        uint64_t weight = atomic_load_explicit(&f->weight,
                                               memory_order_relaxed);

        atomic_fetch_sub_explicit(&c->npages, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->gone_bytes, weight, memory_order_relaxed);
        atomic_fetch_sub_explicit(&pc_kind_of(c, f)->bytes, weight,
                                  memory_order_relaxed);
    }
    return true;
}

void pc_frame_forget(struct pc_cache *c, uint32_t frame, bool locked)
{
    /* relaxed: ours, or came with the pin */
    uint64_t key = atomic_load_explicit(&c->frames[frame].gone_key,
                                        memory_order_relaxed);
    struct ra_mutex *stripe = pc_stripe_of(c, key);

    pc_delay(PC_AT_CLEARED, frame);
    if (!locked)
        ra_mutex_lock(stripe);
    pc_table_remove(&c->table, key, frame);
    if (!locked)
        ra_mutex_unlock(stripe);
    pc_frame_unpin(c, frame);
}

bool pc_frame_detach(struct pc_cache *c, uint32_t frame, enum quire_cause cause,
                     bool only_unpinned, bool locked)
{
    if (!pc_frame_orphan(c, frame, cause, only_unpinned))
        return false;
    /* A loader enters its frame into the queues under this lock unless it
     * finds it an orphan: it has done so, or won't (PC-10). */
    ra_mutex_lock(&c->policy_lock);
    pc_policy_del(&c->policy, frame);
    ra_mutex_unlock(&c->policy_lock);
    pc_frame_forget(c, frame, locked);
    return true;
}

uint32_t pc_frame_pop(struct pc_cache *c)
{
    uint32_t frame = PC_FRAME_NONE;
    uint32_t nused;

    ra_mutex_lock(&c->free_lock);
    /* relaxed: written under this lock only */
    nused = atomic_load_explicit(&c->nused, memory_order_relaxed);
    if (c->free_head != 0) {
        frame = c->free_head - 1;
        c->free_head = c->frames[frame].next;
        /* relaxed: written under this lock only; others take it for a figure */
        atomic_fetch_sub_explicit(&c->nfree, 1, memory_order_relaxed);
    } else if (nused < c->nframes) {
        frame = nused;
        /* relaxed: scans look at frames of any state, all of them set up at
         * creation */
        atomic_store_explicit(&c->nused, nused + 1, memory_order_relaxed);
    }
    if (frame != PC_FRAME_NONE)
        /* relaxed: nobody can find the frame before it has a key */
        atomic_store_explicit(&c->frames[frame].state, PC_ST_LOADING | 1,
                              memory_order_relaxed);
    ra_mutex_unlock(&c->free_lock);
    return frame;
}

void pc_frame_reset(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];

    QUIRE_ASSERT(atomic_load_explicit(&f->key, memory_order_relaxed) ==
                 PC_KEY_NONE);
    /* relaxed, all: nobody can find the frame (PC-3) */
    atomic_store_explicit(&f->payload, NULL, memory_order_relaxed);
    atomic_store_explicit(&f->weight, 0, memory_order_relaxed);
    atomic_store_explicit(&f->uses, 0, memory_order_relaxed);
    atomic_store_explicit(&f->state, PC_ST_LOADING | 1, memory_order_relaxed);
}

void pc_frame_push(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];

    pc_frame_reset(c, frame);
    ra_mutex_lock(&c->free_lock);
    /* relaxed: as above */
    atomic_store_explicit(&f->state, PC_ST_FREE, memory_order_relaxed);
    f->next = c->free_head;
    c->free_head = frame + 1;
    atomic_fetch_add_explicit(&c->nfree, 1, memory_order_relaxed);
    ra_mutex_unlock(&c->free_lock);
}

void pc_frame_fill(struct pc_frame *f, const struct quire_page *page)
{
    /* relaxed, all: published by the key or the state that follows */
    atomic_store_explicit(&f->payload, page->payload, memory_order_relaxed);
    atomic_store_explicit(&f->weight, (uint32_t)page->weight_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&f->kind, (uint8_t)page->kind, memory_order_relaxed);
    atomic_store_explicit(&f->born_ms, pc_now_ms(), memory_order_relaxed);
}
