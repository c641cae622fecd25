/*
 * adapt.c - choosing the configuration while running: the shadows.
 *
 * One shadow for each configuration: a cache of its own, made by the same
 * engine, whose entries have no page. It is fed with the keys whose hash is 0
 * modulo the rate R, and has an R-th of the capacity, so that its hits are
 * those that the cache would have under its configuration, on a sample. (Mini-
 * simulation: Waldspurger and others.) Misses of sampled keys go straight to
 * the shadows; hits come through a ring that threads write without a lock, and
 * may drop what they can't hold.
 *
 * Every period of sampled accesses the scores are reckoned: hits that decay.
 * The cache changes to the best shadow's configuration when that leads by more
 * than chance would make it, .002 of all accesses and some square roots of
 * them. Only targets change by that; entries migrate as evictions happen.
 *
 * The shadows start with the first eviction: until then all configurations
 * would do the same, and how many entries fit is not known. They are then
 * filled with what the cache holds. When the number of entries has moved far
 * from what the rate was chosen for, they start again.
 */
#include <string.h>

#include "cache/policy.h"

const struct pc_config pc_configs[PC_NCONFIGS] = {
    { .05, PC_RULE_MARGIN, 1, 20 }, { .01, PC_RULE_MARGIN, 1, 20 },
    { .01, PC_RULE_MARGIN, 0, 10 }, { .05, PC_RULE_MARGIN, 0, 10 },
    { .2, PC_RULE_MARGIN, 0, 10 },  { .6, PC_RULE_MARGIN, 0, 10 },
    { .99, PC_RULE_MARGIN, 0, 10 }, { .05, PC_RULE_PROMOTE, 1, 10 },
    { .2, PC_RULE_PROMOTE, 1, 10 }, { .02, PC_RULE_GHOST, 2, 10 },
    { .1, PC_RULE_GHOST, 2, 10 },   { .0, PC_RULE_DUAL, 0, 20 },
};

static const struct pc_config pc_clock_config = { 0, PC_RULE_CLOCK, 0, 10 };

/* Entries of a shadow: twice what an R-th of the cache's are; more by bytes,
 * for which a lower rate may be needed (pc_shadows_start()). */
static uint32_t pc_shadow_max(const struct pc_policy_options *opt)
{
    uint32_t part = opt->objective == QUIRE_OBJECTIVE_BYTES ? 8 : 2;
    uint64_t n = ra_max_u64(4 * PC_SHADOW_MIN,
                            opt->max_entries / (PC_RATE_MAX / part));

    return (uint32_t)ra_min_u64(opt->max_entries, n);
}

/* The heap costs memory; bytes have no use for it. */
static bool pc_with_heap(const struct pc_policy_options *opt)
{
    return opt->policy == QUIRE_POLICY_GREEDY_DUAL ||
           (opt->policy == QUIRE_POLICY_ADAPTIVE &&
            opt->objective == QUIRE_OBJECTIVE_REQUESTS);
}

static unsigned pc_shadow_count(const struct pc_policy_options *opt)
{
    if (opt->policy != QUIRE_POLICY_ADAPTIVE)
        return 0;
    return pc_with_heap(opt) ? PC_NCONFIGS : PC_NCONFIGS - 1;
}

size_t pc_policy_bytes(const struct pc_policy_options *opt)
{
    uint32_t max = pc_shadow_max(opt);
    size_t nbytes = pc_engine_bytes(opt->max_entries,
                                    opt->policy == QUIRE_POLICY_ADAPTIVE,
                                    pc_with_heap(opt));

    for (unsigned i = 0; i < pc_shadow_count(opt); i++)
        nbytes += pc_engine_bytes(max, pc_configs[i].rule == PC_RULE_GHOST,
                                  pc_configs[i].rule == PC_RULE_DUAL) +
                  pc_index_bytes(max) + ra_round_up(max * sizeof(uint32_t), 64);
    return nbytes;
}

/* A shadow's entry can always go. */
static bool pc_shadow_evict(void *ctx, uint32_t entry)
{
    struct pc_shadow *s = ctx;

    pc_index_del(&s->index, entry);
    s->free[s->nfree++] = entry;
    return true;
}

void pc_policy_init(struct pc_policy *p, const struct pc_policy_options *opt,
                    void *mem)
{
    unsigned char *at = mem;

    memset(p, 0, sizeof(*p));
    p->policy = opt->policy;
    p->nshadows = pc_shadow_count(opt);
    pc_engine_init(&p->engine, opt->max_entries,
                   opt->policy == QUIRE_POLICY_ADAPTIVE, pc_with_heap(opt),
                   &at);
    p->engine.counts = opt->counts;
    p->engine.stride = opt->stride;
    p->engine.objective = opt->objective;
    p->engine.evict = opt->evict;
    p->engine.ctx = opt->ctx;
    pc_engine_configure(&p->engine, opt->policy == QUIRE_POLICY_CLOCK
                                        ? &pc_clock_config
                                    : opt->policy == QUIRE_POLICY_GREEDY_DUAL
                                        ? &pc_configs[PC_CONFIG_DUAL]
                                        : &pc_configs[0]);
    for (unsigned i = 0; i < p->nshadows; i++) {
        struct pc_shadow *s = &p->shadows[i];
        uint32_t max = pc_shadow_max(opt);

        pc_engine_init(&s->engine, max, pc_configs[i].rule == PC_RULE_GHOST,
                       pc_configs[i].rule == PC_RULE_DUAL, &at);
        pc_index_init(&s->index, max, s->engine.nodes, sizeof(struct pc_node),
                      &at);
        s->free = (uint32_t *)(void *)at;
        at += ra_round_up(max * sizeof(uint32_t), 64);
        s->engine.counts = (unsigned char *)s->engine.nodes +
                           offsetof(struct pc_node, count);
        s->engine.stride = sizeof(struct pc_node);
        s->engine.objective = opt->objective;
        s->engine.evict = pc_shadow_evict;
        s->engine.ctx = s;
        pc_engine_configure(&s->engine, &pc_configs[i]);
    }
    /* relaxed, both: handed to other threads with the cache */
    atomic_store_explicit(&p->sample_mask, UINT32_MAX, memory_order_relaxed);
    atomic_store_explicit(&p->count_max,
                          opt->policy == QUIRE_POLICY_CLOCK ? 1 : PC_COUNT_MAX,
                          memory_order_relaxed);
}

/* ---- the shadows ---- */

static bool pc_by_bytes(const struct pc_policy *p)
{
    return p->engine.sized && p->engine.objective == QUIRE_OBJECTIVE_BYTES;
}

/* What an access counts in the scores. */
static double pc_worth(const struct pc_policy *p, uint32_t weight)
{
    return pc_by_bytes(p) ? weight / p->mean : 1;
}

static unsigned pc_count_max(const struct pc_policy *p)
{
    return p->engine.sized && p->engine.objective == QUIRE_OBJECTIVE_REQUESTS
               ? PC_COUNT_SIZED
               : PC_COUNT_MAX;
}

static uint32_t pc_shadow_access(struct pc_policy *p, struct pc_shadow *s,
                                 uint32_t hash, uint32_t weight)
{
    struct pc_engine *e = &s->engine;
    uint32_t entry = pc_index_find(&s->index, hash);
    struct pc_want want = { .incoming = weight };

    if (entry != PC_ENTRY_NONE) {
        _Atomic uint8_t *count = pc_engine_count(e, entry);
        uint8_t n = atomic_load_explicit(count, memory_order_relaxed);

        /* relaxed, both: of the one thread that has the lock */
        if (n < pc_count_max(p))
            atomic_store_explicit(count, (uint8_t)(n + 1),
                                  memory_order_relaxed);
        s->hits += pc_worth(p, weight);
        return entry;
    }
    want.to_main = pc_engine_miss(e, hash);
    if (weight > e->capacity)
        return PC_ENTRY_NONE;
    if (e->weight + weight > e->capacity)
        want.bytes = e->weight + weight - e->capacity;
    want.entries = e->n == e->max;
    pc_engine_evict(e, &want);
    entry = s->free[--s->nfree];
    pc_engine_add(e, entry, hash, weight, want.to_main);
    atomic_store_explicit(pc_engine_count(e, entry), 0, memory_order_relaxed);
    pc_index_add(&s->index, entry);
    return entry;
}

/* Its part of the capacity: what sampled keys take of the cache, rather than
 * an R-th. A sample that has some keys more than its share would else make
 * shadows see a loop that does not fit, though it does; and the reverse. */
static uint64_t pc_shadow_capacity(const struct pc_policy *p)
{
    const struct pc_engine *e = &p->engine;

    if (e->weight == 0)
        return e->capacity / p->rate;
    return (uint64_t)((double)e->sampled * (double)e->capacity /
                      (double)e->weight);
}

/* At once: a shadow that holds too much may never miss. */
static void pc_shadow_resize(struct pc_shadow *s, uint64_t capacity)
{
    struct pc_want want = { 0 };

    s->engine.capacity = capacity;
    if (s->engine.weight > capacity)
        want.bytes = s->engine.weight - capacity;
    pc_engine_evict(&s->engine, &want);
}

/* Empty the shadow and give it its part of the cache. */
static void pc_shadow_restart(struct pc_policy *p, struct pc_shadow *s)
{
    struct pc_engine *e = &s->engine;

    pc_engine_clear(e);
    memset(s->index.slots, 0, ((size_t)s->index.mask + 1) * sizeof(uint32_t));
    for (uint32_t i = 0; i < e->max; i++)
        s->free[i] = e->max - 1 - i;
    s->nfree = e->max;
    s->hits = 0;
    s->score = 0;
    e->sized = p->engine.sized;
    e->capacity = pc_shadow_capacity(p);
}

/* Put what the cache has in one of its queues into the shadows, oldest first,
 * with its counts. */
static void pc_shadows_fill(struct pc_policy *p, const struct pc_queue *q)
{
    const struct pc_engine *e = &p->engine;

    for (uint32_t at = q->tail; at != 0; at = e->nodes[at - 1].prev) {
        const struct pc_node *node = &e->nodes[at - 1];
        /* relaxed, both: counts of use */
        uint8_t count = atomic_load_explicit(pc_engine_count(e, at - 1),
                                             memory_order_relaxed) &
                        PC_COUNT_BITS;

        if ((node->sample & (p->rate - 1)) != 0)
            continue;
        for (unsigned i = 0; i < p->nshadows; i++) {
            struct pc_shadow *s = &p->shadows[i];
            uint32_t entry = pc_shadow_access(p, s, node->hash, node->weight);

            if (entry != PC_ENTRY_NONE)
                atomic_store_explicit(pc_engine_count(&s->engine, entry), count,
                                      memory_order_relaxed);
        }
    }
}

/* Bytes of sampled entries in a queue. */
static uint64_t pc_queue_sampled(const struct pc_engine *e,
                                 const struct pc_queue *q)
{
    uint64_t nbytes = 0;

    for (uint32_t at = q->head; at != 0; at = e->nodes[at - 1].next) {
        if ((e->nodes[at - 1].sample & e->sample_mask) == 0)
            nbytes += e->nodes[at - 1].weight;
    }
    return nbytes;
}

/* Choose the rate for the entries there are, and begin. */
static void pc_shadows_start(struct pc_policy *p)
{
    uint32_t max = p->shadows[0].engine.max;
    uint32_t rate = PC_RATE_MAX;
    double n = p->engine.n;

    /* By bytes, few large entries decide: as many as would have the same
     * variance if all were equal. */
    if (pc_by_bytes(p))
        n *= p->mean * p->mean / p->mean_sq;
    if (max < p->engine.max)
        max /= 2; /* some hold more entries than the cache's R-th */
    while (rate > 1 && n / rate < PC_SHADOW_MIN &&
           p->engine.n / (rate / 2) <= max)
        rate /= 2;
    p->rate = rate;
    p->engine.sample_mask = rate - 1;
    p->engine.sampled = pc_queue_sampled(&p->engine, &p->engine.window) +
                        pc_queue_sampled(&p->engine, &p->engine.main);
    p->entries = p->engine.n;
    p->nsampled = 0;
    p->weighed = 0;
    p->total = 0;
    for (unsigned i = 0; i < p->nshadows; i++)
        pc_shadow_restart(p, &p->shadows[i]);
    pc_shadows_fill(p, &p->engine.main);
    pc_shadows_fill(p, &p->engine.window);
    for (unsigned i = 0; i < p->nshadows; i++)
        p->shadows[i].hits = 0;
    /* relaxed: hits before and after are sampled at one rate or the other */
    atomic_store_explicit(&p->sample_mask, rate - 1, memory_order_relaxed);
}

/* ---- the choice ---- */

/* Learn what sizes are asked for: first of all misses, then of all sampled
 * accesses. (Misses alone would be misleading once a policy favours a size.) */
static void pc_sizes_note(struct pc_policy *p, uint32_t weight)
{
    /* The mean of the last thousand or so, at first of all. */
    double part = 1.0 / (double)ra_min_u64(++p->nsizes, 1024);

    p->mean += (weight - p->mean) * part;
    p->mean_sq += ((double)weight * weight - p->mean_sq) * part;
}

/* Do sizes vary? By a standard deviation of a quarter of the mean; no longer
 * when it is less than an eighth. */
static void pc_sizes_judge(struct pc_policy *p)
{
    double square = p->mean * p->mean;
    bool sized = p->mean_sq - square > square / (p->engine.sized ? 64 : 16);

    if (sized == p->engine.sized)
        return;
    p->engine.sized = sized;
    for (unsigned i = 0; i < p->nshadows; i++)
        p->shadows[i].engine.sized = sized;
    /* relaxed: a limit that hits may learn of late */
    atomic_store_explicit(&p->count_max, (uint8_t)pc_count_max(p),
                          memory_order_relaxed);
}

/* A period has ended. */
static void pc_choose(struct pc_policy *p)
{
    double memory = 160.0 * (p->engine.n + 1) / p->rate; /* accesses */
    double x = (double)p->nsampled / memory;
    double keep = 1 / (1 + x + x * x / 2 + x * x * x / 6); /* exp(-x) */
    double chance = pc_count_max(p) == PC_COUNT_SIZED ? .3 : .1;
    double lead;
    unsigned best = p->current;

    p->total = p->total * keep + p->weighed;
    p->nsampled = 0;
    p->weighed = 0;
    for (unsigned i = 0; i < p->nshadows; i++) {
        struct pc_shadow *s = &p->shadows[i];

        s->score = s->score * keep + s->hits;
        s->hits = 0;
        pc_shadow_resize(s, pc_shadow_capacity(p));
        if (i == PC_CONFIG_DUAL && !p->engine.sized)
            continue;
        if (s->score > p->shadows[best].score)
            best = i;
    }
    pc_sizes_judge(p);
    lead = p->shadows[best].score - p->shadows[p->current].score -
           .002 * p->total;
    if (lead > 0 && lead * lead > chance * chance * p->total) {
        p->current = best;
        p->switches++;
        pc_engine_configure(&p->engine, &pc_configs[best]);
    }
}

static uint64_t pc_period(const struct pc_policy *p)
{
    uint64_t most = pc_count_max(p) == PC_COUNT_SIZED ? 250 : 1000;
    uint64_t t = ra_min_u64(UINT64_C(4) * p->engine.n / p->rate, most);

    return ra_max_u64(t, 100);
}

/* One access to a sampled key. */
static void pc_sampled(struct pc_policy *p, uint32_t hash, uint32_t weight)
{
    pc_sizes_note(p, weight);
    for (unsigned i = 0; i < p->nshadows; i++)
        pc_shadow_access(p, &p->shadows[i], hash, weight);
    p->weighed += pc_worth(p, weight);
    if (++p->nsampled < pc_period(p))
        return;
    pc_choose(p);
    if (p->engine.n > 4 * (uint64_t)p->entries ||
        (uint64_t)p->engine.n * 4 < p->entries)
        pc_shadows_start(p);
}

void pc_policy_drain(struct pc_policy *p)
{
    /* relaxed, both: an element may be of another hit than its number says,
     * or be seen twice; each was one sometime */
    uint32_t next = atomic_load_explicit(&p->ring_next, memory_order_relaxed);

    if (p->rate == 0 || next == p->ring_done)
        return;
    if (next - p->ring_done > PC_RING_LEN)
        p->ring_done = next - PC_RING_LEN;
    while (p->ring_done != next) {
        uint64_t hit = atomic_load_explicit(
            &p->ring[p->ring_done++ & (PC_RING_LEN - 1)], memory_order_relaxed);

        if (hit >> 32 != 0)
            pc_sampled(p, (uint32_t)hit, (uint32_t)(hit >> 32));
    }
}

/* ---- the policy ---- */

bool pc_policy_miss(struct pc_policy *p, uint64_t hash, uint32_t weight)
{
    if (p->nshadows > 0 && p->rate == 0) {
        pc_sizes_note(p, weight);
    } else if (p->rate != 0) {
        pc_policy_drain(p);
        if (((uint32_t)hash & (p->rate - 1)) == 0)
            pc_sampled(p, pc_policy_hash(hash), weight);
    }
    return pc_engine_miss(&p->engine, pc_policy_hash(hash));
}

void pc_policy_add(struct pc_policy *p, uint32_t entry, uint64_t hash,
                   uint32_t weight, bool to_main)
{
    p->engine.nodes[entry].sample = (uint8_t)(hash & (PC_RATE_MAX - 1));
    pc_engine_add(&p->engine, entry, pc_policy_hash(hash), weight, to_main);
}

bool pc_policy_del(struct pc_policy *p, uint32_t entry)
{
    if (p->engine.nodes[entry].queue == PC_QUEUE_NONE)
        return false;
    pc_engine_del(&p->engine, entry);
    return true;
}

bool pc_policy_evict(struct pc_policy *p, uint64_t capacity,
                     struct pc_want *want)
{
    struct pc_engine *e = &p->engine;

    e->capacity = capacity != 0 ? capacity : e->weight + want->incoming;
    if (p->nshadows > 0 && p->rate == 0) {
        pc_sizes_judge(p);
        pc_shadows_start(p);
    }
    return pc_engine_evict(e, want);
}

bool pc_policy_evict_one(struct pc_policy *p, uint32_t entry,
                         struct pc_want *want)
{
    struct pc_engine *e = &p->engine;
    uint32_t weight = e->nodes[entry].weight;

    if (e->nodes[entry].queue == PC_QUEUE_NONE || !e->evict(e->ctx, entry))
        return false;
    pc_engine_del(e, entry);
    want->bytes -= ra_min_u64(want->bytes, weight);
    want->entries -= ra_min_u64(want->entries, 1);
    return true;
}

static bool pc_queue_check(const struct pc_engine *e, const struct pc_queue *q,
                           uint8_t id)
{
    uint64_t weight = 0;
    uint32_t after = 0;
    uint32_t n = 0;

    for (uint32_t at = q->head; at != 0; at = e->nodes[at - 1].next) {
        const struct pc_node *node = &e->nodes[at - 1];

        if (node->queue != id || node->prev != after || n++ > e->max)
            return false;
        weight += node->weight;
        after = at;
    }
    return after == q->tail && n == q->n && weight == q->weight;
}

bool pc_policy_check(const struct pc_policy *p)
{
    for (unsigned i = 0; i <= p->nshadows; i++) {
        const struct pc_engine *e = i == 0 ? &p->engine
                                           : &p->shadows[i - 1].engine;

        if (!pc_queue_check(e, &e->window, PC_QUEUE_WINDOW) ||
            !pc_queue_check(e, &e->main, PC_QUEUE_MAIN) ||
            e->n != e->window.n + e->main.n ||
            e->weight != e->window.weight + e->main.weight ||
            (e->heap_n != 0 && e->heap_n != e->n))
            return false;
    }
    return true;
}
