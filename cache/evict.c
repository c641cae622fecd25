/*
 * evict.c - making room: victims, limbo, removal callbacks.
 *
 * Whoever needs room makes it, on his own thread: the cache starts none. One
 * thread at a time reclaims, under the lock `reclaim`; the others wait for it
 * and then look again. A round is
 *
 *     take the limbo list; if that is not enough, let the policy choose
 *     (policy.c): victims become orphans as they are chosen, under its lock;
 *     after that they leave the table, go to limbo, and the list is taken
 *     again
 *     wait for one grace period, for all of them together
 *     for each: removal callback, its bytes off the books, frame to the free
 *     list (PC-3)
 *
 * so that a grace period is paid once for a batch. Limbo that comes of removals
 * is picked up by the next round, or, once there is a batch of it, by the next
 * miss (pc_evict_help()).
 *
 * Frames are in the policy's queues while their pages are resident (PC-10):
 * entered by the loader as it clears LOADING, taken out by whoever makes them
 * orphans. A pinned one that is met goes to the other end of its queue.
 *
 * Out of memory is said only of what stays so. A round that freed nothing may
 * have missed a page that was on its way: between its last unpin and the limbo
 * list, or held by the pin of a thread that is removing it. pc_evict_settled()
 * waits for the latter by passing through the stripes' locks, sees the former
 * by their state, and only when every frame is pinned or loading is that the
 * answer.
 *
 * Traps. The callback may release segments, and so take the allocator's locks;
 * it may not allocate: the allocator would ask for room, and so come back here
 * (ra_nowait_enter() makes it fail at once instead). The allocator asks for
 * room with no lock held, possibly on a thread that runs a loader: the frame
 * that it loads into is pinned, so it is no victim, and nothing that the
 * thread holds is wanted by the round.
 */
#include <sched.h>
#include <stdio.h>

#include "cache/pc_impl.h"

/* What a round has found. */
struct pc_haul {
    uint32_t list; /* frame index + 1, linked by `next`; 0: empty */
    uint64_t nframes;
    uint64_t nbytes; /* weights */
};

static uint64_t pc_weight(const struct pc_frame *f)
{
    /* relaxed: of a frame that the caller holds, or for statistics */
    return atomic_load_explicit(&f->weight, memory_order_relaxed);
}

void pc_evict_callback(struct pc_cache *c, uint64_t key,
                       const struct quire_page *page, enum quire_cause cause)
{
    pc_count(
        &c->kinds[(unsigned)page->kind % QUIRE_KIND_COUNT].removals[cause]);
    pc_self.reclaiming++;
    if (cause == QUIRE_CAUSE_EVICTED)
        pc_count(&c->nevicted);
    ra_nowait_enter();
    if (cause == QUIRE_CAUSE_EVICTED && c->opt.evicted != NULL)
        c->opt.evicted(c->opt.ctx, key, page);
    if (cause == QUIRE_CAUSE_EVICTED || !ra_broken(RA_BROKEN_EVICTED_ONLY))
        c->opt.removed(c->opt.ctx, key, page, cause);
    ra_nowait_exit();
    pc_self.reclaiming--;
}

/* Add all that is in limbo to `haul`. */
static void pc_limbo_take(struct pc_cache *c, struct pc_haul *haul)
{
    /* acquire: pairs with the release in pc_frame_to_limbo() */
    uint32_t at = atomic_exchange_explicit(&c->limbo_head, 0,
                                           memory_order_acquire);
    uint32_t n = 0;

    while (at != 0) {
        struct pc_frame *f = &c->frames[at - 1];
        uint32_t next = f->next;

        f->next = haul->list;
        haul->list = at;
        haul->nbytes += pc_weight(f);
        n++;
        at = next;
    }
    haul->nframes += n;
    /* relaxed: see pc_frame_to_limbo() */
    atomic_fetch_sub_explicit(&c->nlimbo, n, memory_order_relaxed);
}

static bool pc_enough(const struct pc_haul *haul, const struct pc_want *need)
{
    return haul->nframes >= need->entries && haul->nbytes >= need->bytes;
}

/* Must `frame` stay for its kind's share? */
static bool pc_evict_spared(struct pc_cache *c, uint32_t frame)
{
    const struct pc_frame *f = &c->frames[frame];
    const struct pc_kind *k = pc_kind_of(c, f);
    uint64_t share = c->opt.min_share_percent[k - c->kinds];

    if (QUIRE_LIKELY(share == 0) || c->no_shares)
        return false;
    /* relaxed: what is removed meanwhile does not hang on it */
    return atomic_load_explicit(&k->bytes, memory_order_relaxed) <
           c->policy.engine.weight / 100 * share + pc_weight(f);
}

bool pc_evict_victim(void *cache, uint32_t frame)
{
    struct pc_cache *c = cache;

    if (pc_evict_spared(c, frame))
        return false;
    if (!pc_frame_orphan(c, frame, QUIRE_CAUSE_EVICTED, true))
        return false;
    /* `next` is free for us: the frame gets to limbo with our pin only. */
    c->frames[frame].next = c->claimed;
    c->claimed = frame + 1;
    return true;
}

void pc_evict_admit(struct pc_cache *c, uint32_t frame, uint64_t key,
                    uint64_t nbytes, bool to_main)
{
    /* relaxed: a figure, for the shares */
    atomic_fetch_add_explicit(&pc_kind_of(c, &c->frames[frame])->bytes, nbytes,
                              memory_order_relaxed);
    pc_policy_add(&c->policy, frame, pc_sample_hash(key), (uint32_t)nbytes,
                  to_main);
}

/* Evict the demoted pages that are remembered. Under policy_lock. */
static void pc_evict_demoted(struct pc_cache *c, struct pc_want *want)
{
    for (uint32_t i = 0; i < PC_NDEMOTED; i++) {
        uint32_t at;

        if (want->bytes == 0 && want->entries == 0)
            return;
        /* relaxed, both: hints; the state word decides */
        at = atomic_exchange_explicit(&c->demoted[i], 0, memory_order_relaxed);
        if (at != 0 &&
            atomic_load_explicit(&c->frames[at - 1].uses,
                                 memory_order_relaxed) == PC_USES_DEMOTED)
            (void)pc_policy_evict_one(&c->policy, at - 1, want);
    }
}

/* Let the policy evict until `haul`, with what goes to limbo by that, is as
 * much as *need says. Under `reclaim`. */
static void pc_evict_choose(struct pc_cache *c, const struct pc_want *need,
                            const struct pc_haul *haul)
{
    struct pc_want want = *need;
    uint64_t capacity;

    want.bytes -= ra_min_u64(want.bytes, haul->nbytes);
    want.entries -= ra_min_u64(want.entries, haul->nframes);
    ra_mutex_lock(&c->policy_lock);
    pc_evict_demoted(c, &want);
    /* Shares are of what there is; of the capacity where that is less. */
    capacity = c->policy.engine.weight + want.incoming;
    if (c->capacity != 0)
        capacity = ra_min_u64(capacity, c->capacity);
    if (!pc_policy_evict(&c->policy, capacity, &want) && c->shares) {
        /* All else is pinned: a share is no reason to refuse. */
        c->no_shares = true;
        (void)pc_policy_evict(&c->policy, capacity, &want);
        c->no_shares = false;
    }
    ra_mutex_unlock(&c->policy_lock);
    while (c->claimed != 0) {
        uint32_t frame = c->claimed - 1;

        c->claimed = c->frames[frame].next;
        pc_frame_forget(c, frame, false);
    }
}

/* The frame at the end of its way: callback, books, and empty. */
static void pc_frame_leave(struct pc_cache *c, uint32_t frame)
{
    struct pc_frame *f = &c->frames[frame];
    /* relaxed, all: in limbo, past the grace period, the frame is ours */
    pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
    struct quire_page page = {
        .payload = atomic_load_explicit(&f->payload, memory_order_relaxed),
        .weight_bytes = pc_weight(f),
        .kind = (enum quire_kind)atomic_load_explicit(&f->kind,
                                                      memory_order_relaxed),
    };

    QUIRE_ASSERT((s & PC_ST_LIMBO) != 0);
    QUIRE_ASSERT(pc_state_pins(s) == 0);
    if ((s & PC_ST_FAILED) != 0)
        return; /* there never was a page */
    pc_evict_callback(c,
                      atomic_load_explicit(&f->gone_key, memory_order_relaxed),
                      &page, pc_state_cause(s));
    atomic_fetch_sub_explicit(&c->gone_bytes, page.weight_bytes,
                              memory_order_relaxed);
    if (ra_broken(RA_BROKEN_WEIGHTLESS))
        return;
    atomic_fetch_sub_explicit(&c->charged_bytes, page.weight_bytes,
                              memory_order_relaxed);
}

/*
 * One round, under `reclaim`: what *need says if it can be had. The first freed
 * frame is not put on the free list but claimed and given to *mine, if that is
 * not NULL, so that the caller's work is never snatched away whole. Returns the
 * bytes given back; *nfreed counts frames.
 */
static uint64_t pc_round(struct pc_cache *c, const struct pc_want *need,
                         uint32_t *mine, uint64_t *nfreed)
{
    struct pc_haul haul = { 0 };

    pc_limbo_take(c, &haul);
    if (!pc_enough(&haul, need)) {
        pc_evict_choose(c, need, &haul);
        pc_limbo_take(c, &haul);
    }
    *nfreed = haul.nframes;
    if (haul.list == 0)
        return 0;
    if (!c->opt.synchronous) /* then there are no readers */
        pc_grace();          /* PC-3 */
    while (haul.list != 0) {
        uint32_t frame = haul.list - 1;

        haul.list = c->frames[frame].next;
        pc_frame_leave(c, frame);
        pc_delay(PC_AT_REUSE, frame);
        if (mine != NULL && *mine == PC_FRAME_NONE) {
            pc_frame_reset(c, frame);
            *mine = frame;
        } else {
            pc_frame_push(c, frame);
        }
    }
    ra_log_line(&c->opt.log, QUIRE_LOG_DEBUG,
                "cache: %llu pages of %llu bytes given back",
                (unsigned long long)*nfreed, (unsigned long long)haul.nbytes);
    return haul.nbytes;
}

static void pc_reclaim_lock(struct pc_cache *c)
{
    ra_mutex_lock(&c->reclaim);
    /* relaxed: only tells others that waiting here would be long */
    atomic_store_explicit(&c->reclaiming, 1, memory_order_relaxed);
    pc_self.reclaiming++;
}

static void pc_reclaim_unlock(struct pc_cache *c)
{
    pc_self.reclaiming--;
    atomic_store_explicit(&c->reclaiming, 0, memory_order_relaxed);
    ra_mutex_unlock(&c->reclaim);
}

/* After a round that freed nothing: is every frame pinned or loading, free
 * ones apart unless `want_frame`? Else another round is worth it. Under
 * `reclaim`. */
static bool pc_evict_settled(struct pc_cache *c, bool want_frame)
{
    uint32_t n = atomic_load_explicit(&c->nused, memory_order_relaxed);

    /* A thread that removes a page holds its stripe and a pin of its own. */
    for (unsigned i = 0; i < PC_NSTRIPES; i++) {
        ra_mutex_lock(&c->stripes[i]);
        ra_mutex_unlock(&c->stripes[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        /* relaxed: what changes under our eyes is seen by the next round */
        pc_state s = atomic_load_explicit(&c->frames[i].state,
                                          memory_order_relaxed);

        if (pc_state_pins(s) != 0 || (s == PC_ST_FREE && !want_frame))
            continue;
        sched_yield(); /* to a thread between its last unpin and limbo */
        return false;
    }
    return true;
}

void pc_pinned_scan(struct pc_cache *c, struct pc_pinned *p)
{
    uint32_t n = atomic_load_explicit(&c->nused, memory_order_relaxed);

    memset(p, 0, sizeof(*p));
    for (uint32_t i = 0; i < n; i++) {
        const struct pc_frame *f = &c->frames[i];
        /* relaxed, all: figures; frames change while we look */
        pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
        uint8_t kind = atomic_load_explicit(&f->kind, memory_order_relaxed);

        if (pc_state_pins(s) == 0)
            continue;
        if ((s & (PC_ST_LOADING | PC_ST_FAILED)) != 0 ||
            kind >= QUIRE_KIND_COUNT) {
            p->loading++;
            continue;
        }
        p->npages++;
        p->pages[kind]++;
        p->bytes[kind] += pc_weight(f);
        if ((s & PC_ST_ORPHAN) != 0) {
            p->orphans[kind]++;
            p->orphan_bytes[kind] += pc_weight(f);
        }
    }
}

void pc_pinned_text(struct pc_cache *c, char *buf, size_t cap)
{
    struct pc_pinned p;

    pc_pinned_scan(c, &p);
    snprintf(buf, cap,
             "%llu pages pinned (leaf %llu of %llu bytes, inner %llu of %llu, "
             "fragment %llu of %llu, overflow %llu of %llu), %llu loading",
             (unsigned long long)p.npages,
             (unsigned long long)p.pages[QUIRE_KIND_LEAF],
             (unsigned long long)p.bytes[QUIRE_KIND_LEAF],
             (unsigned long long)p.pages[QUIRE_KIND_INNER],
             (unsigned long long)p.bytes[QUIRE_KIND_INNER],
             (unsigned long long)p.pages[QUIRE_KIND_FRAGMENT],
             (unsigned long long)p.bytes[QUIRE_KIND_FRAGMENT],
             (unsigned long long)p.pages[QUIRE_KIND_OVERFLOW],
             (unsigned long long)p.bytes[QUIRE_KIND_OVERFLOW],
             (unsigned long long)p.loading);
}

/* NOMEM, and why. */
static quire_status pc_fail_pinned(struct pc_cache *c, const char *what,
                                   uint64_t figure)
{
    char pinned[PC_TEXT_CAP / 2];

    pc_pinned_text(c, pinned, sizeof(pinned));
    return ra_fail(QUIRE_NOMEM,
                   "cache: %s (%llu) and nothing can be evicted: %s", what,
                   (unsigned long long)figure, pinned);
}

quire_status pc_evict_claim(struct pc_cache *c, uint32_t *frame)
{
    const struct pc_want need = { .entries = c->batch };
    uint64_t nfreed;

    *frame = pc_frame_pop(c);
    pc_evictor_look(c);
    if (*frame != PC_FRAME_NONE)
        return QUIRE_OK;
    pc_reclaim_lock(c);
    for (unsigned round = 0; round < PC_ROUNDS_MAX; round++) {
        /* Another thread may have had its turn while we waited. */
        *frame = pc_frame_pop(c);
        if (*frame != PC_FRAME_NONE)
            break;
        pc_round(c, &need, frame, &nfreed);
        if (*frame != PC_FRAME_NONE)
            break;
        if (nfreed == 0 && pc_evict_settled(c, true))
            break;
    }
    pc_reclaim_unlock(c);
    if (*frame == PC_FRAME_NONE)
        return pc_fail_pinned(c, "all frames are in use", c->nframes);
    return QUIRE_OK;
}

/* Charge `nbytes` if that keeps within the capacity. */
static bool pc_charge(struct pc_cache *c, uint64_t nbytes)
{
    /* relaxed, all: a sum, which publishes nothing */
    uint64_t sum = atomic_load_explicit(&c->charged_bytes,
                                        memory_order_relaxed);

    if (ra_broken(RA_BROKEN_WEIGHTLESS))
        return true;
    do {
        if (c->capacity != 0 &&
            (nbytes > c->capacity || sum > c->capacity - nbytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(
        &c->charged_bytes, &sum, sum + nbytes, memory_order_relaxed,
        memory_order_relaxed));
    return true;
}

/* What to evict for `nbytes` that do not fit. */
static uint64_t pc_charge_want(struct pc_cache *c, uint64_t nbytes)
{
    /* relaxed: a figure, which the charge that follows verifies */
    uint64_t sum = atomic_load_explicit(&c->charged_bytes,
                                        memory_order_relaxed);

    if (c->opt.synchronous)
        return sum > c->capacity - nbytes ? sum - (c->capacity - nbytes) : 1;
    /* A batch, so that those who come next need no round of their own; what
     * others charge meanwhile costs another round. */
    return ra_max_u64(nbytes, c->capacity / 32);
}

quire_status pc_evict_charge(struct pc_cache *c, uint64_t key, uint64_t nbytes,
                             bool *to_main)
{
    struct pc_want need = { .incoming = nbytes };
    bool charged;
    uint64_t nfreed;

    if (c->capacity == 0 || nbytes <= c->capacity) {
        ra_mutex_lock(&c->policy_lock);
        *to_main = pc_policy_miss(&c->policy, pc_sample_hash(key),
                                  (uint32_t)nbytes);
        ra_mutex_unlock(&c->policy_lock);
    }
    charged = pc_charge(c, nbytes);
    if (charged) {
        pc_evictor_look(c);
        return QUIRE_OK;
    }
    if (nbytes > c->capacity)
        return ra_fail(QUIRE_NOMEM,
                       "cache: a page of %llu bytes is larger than the "
                       "capacity of %llu",
                       (unsigned long long)nbytes,
                       (unsigned long long)c->capacity);
    pc_reclaim_lock(c);
    for (unsigned round = 0; round < PC_ROUNDS_MAX; round++) {
        charged = pc_charge(c, nbytes);
        if (charged)
            break;
        need.bytes = pc_charge_want(c, nbytes);
        need.to_main = *to_main;
        pc_round(c, &need, NULL, &nfreed);
        if (nfreed == 0 && pc_evict_settled(c, false)) {
            charged = pc_charge(c, nbytes);
            break;
        }
    }
    pc_reclaim_unlock(c);
    if (!charged)
        return pc_fail_pinned(c, "the capacity in bytes is used up",
                              c->capacity);
    return QUIRE_OK;
}

uint64_t pc_evict(struct pc_cache *cache, uint64_t nbytes)
{
    struct pc_want need = { 0 };
    uint64_t nfreed;
    uint64_t gone;
    /* relaxed: a figure */
    uint64_t charged = atomic_load_explicit(&cache->charged_bytes,
                                            memory_order_relaxed);

    if (pc_read_inside() || pc_self.reclaiming)
        return 0; /* PC-4 */
    pc_reclaim_lock(cache);
    /* A 32nd of what there is, at least: one grace period for many pages. */
    need.bytes = ra_max_u64(nbytes, charged / 32);
    gone = pc_round(cache, &need, NULL, &nfreed);
    need.bytes = nbytes;
    if (nfreed == 0 && nbytes > 0 && !pc_evict_settled(cache, false))
        gone = pc_round(cache, &need, NULL, &nfreed);
    pc_reclaim_unlock(cache);
    return gone;
}

void pc_reclaim(struct pc_cache *cache)
{
    const struct pc_want nothing = { 0 };
    uint64_t nfreed;

    if (pc_read_inside() || pc_self.reclaiming)
        return; /* PC-4 */
    pc_reclaim_lock(cache);
    pc_round(cache, &nothing, NULL, &nfreed);
    pc_reclaim_unlock(cache);
}

void pc_evict_help(struct pc_cache *c)
{
    /* relaxed, both: guesses; a wrong one is made good by the next miss */
    if (atomic_load_explicit(&c->nlimbo, memory_order_relaxed) < c->batch ||
        atomic_load_explicit(&c->reclaiming, memory_order_relaxed) != 0)
        return;
    if (c->background)
        pc_evictor_wake(c);
    else
        pc_reclaim(c);
}

bool pc_evict_ahead(struct pc_cache *c, const struct pc_want *need,
                    uint64_t *nfreed)
{
    pc_reclaim_lock(c);
    pc_round(c, need, NULL, nfreed);
    pc_reclaim_unlock(c);
    /* relaxed: a figure */
    atomic_fetch_add_explicit(&c->background_evicted, *nfreed,
                              memory_order_relaxed);
    return *nfreed > 0;
}

void pc_demote(struct pc_cache *cache, uint64_t key)
{
    uint32_t frame;

    if (key == PC_KEY_NONE)
        return;
    pc_read_enter();
    frame = pc_table_find(&cache->table, cache->frames, key);
    if (frame != PC_FRAME_NONE) {
        /* relaxed, all: hints. When more pages are demoted than there are
         * places, the oldest are left to the policy, as unused. */
        uint32_t at = atomic_fetch_add_explicit(&cache->demoted_next, 1,
                                                memory_order_relaxed);

        atomic_store_explicit(&cache->frames[frame].uses, PC_USES_DEMOTED,
                              memory_order_relaxed);
        atomic_store_explicit(&cache->demoted[at % PC_NDEMOTED], frame + 1,
                              memory_order_relaxed);
    }
    pc_read_exit();
}
