/*
 * policy.c - the eviction engine: two queues, a sketch, a ghost queue.
 *
 *             miss                 used, or wins the comparison
 *      ------------------> W ------------------------------------> M
 *                          |                                       |
 *                     loses|                       unused at tail  |
 *                          v                                       v
 *                       evicted -----> G (hashes only) <----- evicted
 *                                      |
 *      --- miss, GHOST rule, in G -----+-----------------------> M
 *
 * W, the window, and M, the main queue, are FIFO queues with reinsertion: a
 * hit only counts up the entry's counter of uses, and an entry is moved when
 * it is met at a tail (the clock form of W-TinyLFU: Einziger, Friedman,
 * Manes; with second chances in place of recency). The sketch estimates how
 * often a key was seen of late; it is fed by misses, and by the counters when
 * they are read. W's share, the rule of admission and the sketch's memory are
 * the configuration; changing it changes only what happens at the tails.
 *
 * Sizes. Room is made in bytes, and the queues' shares are shares of bytes.
 * Where sizes vary, the objective decides what they mean. BYTES: an entry is
 * compared with as many of the main queue's tail as it would displace.
 * REQUESTS: uses are compared by byte, and a second chance is paid with more
 * uses by larger entries. The rule DUAL (greedy-dual with frequency: Cherkasova)
 * keeps its order in a heap instead, which is built when it becomes the rule
 * and given up afterwards; the queues go on being kept, so that either way
 * entries migrate as they are evicted.
 *
 * Pinned entries. Which are pinned is asked when an entry would go; the answer
 * no sends it to the head of its queue, its count kept. A call gives up on a
 * queue in which it was refused as often as there are entries.
 *
 * Traps. What is made room for is not an entry yet, but counted to its queue
 * (pc_want.incoming): else a window smaller than one entry would throw out
 * what has just come. Counters are written by hits while they are read here;
 * a use that is lost does no harm.
 */
#include "cache/policy.h"

#include <string.h>

#define PC_SKETCH_MAX 15u /* of a counter of 4 bits */
#define PC_TAIL_LOOK 16u  /* entries compared at once by bytes */

/* Carve `nbytes` from *mem. */
static void *pc_carve(unsigned char **mem, size_t nbytes)
{
    void *at = *mem;

    *mem += ra_round_up(nbytes, 64);
    return at;
}

static uint32_t pc_pow2_over(uint32_t n)
{
    uint32_t p = 1;

    while (p < n)
        p <<= 1;
    return p;
}

/* ---- index ---- */

/* Slots for `max` numbers: half of them are empty at least. */
static uint32_t pc_index_slots(uint32_t max)
{
    return pc_pow2_over(max < 4 ? 8 : max) << 1;
}

size_t pc_index_bytes(uint32_t max)
{
    return ra_round_up(pc_index_slots(max) * sizeof(uint32_t), 64);
}

void pc_index_init(struct pc_index *x, uint32_t max, const void *base,
                   size_t stride, unsigned char **mem)
{
    x->slots = pc_carve(mem, pc_index_slots(max) * sizeof(uint32_t));
    x->mask = pc_index_slots(max) - 1;
    x->base = base;
    x->stride = stride;
}

static uint32_t pc_index_hash(const struct pc_index *x, uint32_t number)
{
    uint32_t hash;

    memcpy(&hash, x->base + (size_t)number * x->stride, sizeof(hash));
    return hash;
}

static uint32_t pc_index_home(const struct pc_index *x, uint32_t hash)
{
    uint64_t h = hash * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(h >> 32) & x->mask;
}

uint32_t pc_index_find(const struct pc_index *x, uint32_t hash)
{
    for (uint32_t i = pc_index_home(x, hash);; i = (i + 1) & x->mask) {
        if (x->slots[i] == 0)
            return PC_ENTRY_NONE;
        if (pc_index_hash(x, x->slots[i] - 1) == hash)
            return x->slots[i] - 1;
    }
}

void pc_index_add(struct pc_index *x, uint32_t number)
{
    uint32_t i = pc_index_home(x, pc_index_hash(x, number));

    while (x->slots[i] != 0)
        i = (i + 1) & x->mask;
    x->slots[i] = number + 1;
}

/* Take `number` out and close the gap: what follows moves up, unless it would
 * come before its home. */
void pc_index_del(struct pc_index *x, uint32_t number)
{
    uint32_t i = pc_index_home(x, pc_index_hash(x, number));
    uint32_t gap;

    while (x->slots[i] != number + 1) {
        QUIRE_ASSERT(x->slots[i] != 0);
        i = (i + 1) & x->mask;
    }
    gap = i;
    for (;;) {
        uint32_t home;

        i = (i + 1) & x->mask;
        if (x->slots[i] == 0)
            break;
        home = pc_index_home(x, pc_index_hash(x, x->slots[i] - 1));
        if (((i - home) & x->mask) >= ((i - gap) & x->mask)) {
            x->slots[gap] = x->slots[i];
            gap = i;
        }
    }
    x->slots[gap] = 0;
}

/* ---- sketch ---- */

/* One word an entry, with 16 counters; a power of two, the nearest above three
 * quarters. */
static uint32_t pc_sketch_words(uint32_t max)
{
    return pc_pow2_over(max < 8 ? 8 : max - max / 4);
}

/* Where row `row` has the counter of `hash`: the word, and the bit in it. */
static uint64_t *pc_sketch_at(const struct pc_sketch *s, uint32_t hash,
                              unsigned row, unsigned *bit)
{
    static const uint64_t odd[4] = { UINT64_C(0xc3a5c85c97cb3127),
                                     UINT64_C(0xb492b66fbe98f273),
                                     UINT64_C(0x9ae16a3b2f90404f),
                                     UINT64_C(0xcbf29ce484222325) };
    uint64_t h = (hash + odd[row]) * odd[row];

    h ^= h >> 32;
    *bit = row * 16 + (unsigned)(h & 3) * 4;
    return &s->words[(h >> 2) & s->mask];
}

static unsigned pc_sketch_get(const struct pc_sketch *s, uint32_t hash)
{
    unsigned least = PC_SKETCH_MAX;

    for (unsigned row = 0; row < 4; row++) {
        unsigned bit;
        const uint64_t *word = pc_sketch_at(s, hash, row, &bit);
        unsigned n = (unsigned)(*word >> bit) & PC_SKETCH_MAX;

        least = n < least ? n : least;
    }
    return least;
}

static void pc_sketch_add(struct pc_engine *e, uint32_t hash, unsigned n)
{
    struct pc_sketch *s = &e->sketch;

    for (unsigned row = 0; row < 4; row++) {
        unsigned bit;
        uint64_t *word = pc_sketch_at(s, hash, row, &bit);
        unsigned was = (unsigned)(*word >> bit) & PC_SKETCH_MAX;
        unsigned more = n < PC_SKETCH_MAX - was ? n : PC_SKETCH_MAX - was;

        *word += (uint64_t)more << bit;
    }
    s->additions += n;
    if (s->additions < (uint64_t)e->config->mult * (e->n + 1))
        return;
    s->additions = 0;
    for (uint32_t i = 0; i <= s->mask; i++)
        s->words[i] = (s->words[i] >> 1) & UINT64_C(0x7777777777777777);
}

/* ---- ghosts ---- */

static void pc_ghost_drop(struct pc_ghost *g)
{
    struct pc_ghost_entry *old = &g->ring[g->first];

    if (old->weight != 0) {
        pc_index_del(&g->index, g->first);
        g->weight -= old->weight;
    }
    g->first = g->first + 1 == g->cap ? 0 : g->first + 1;
    g->n--;
}

/* Is `hash` among the ghosts? It is no longer. */
static bool pc_ghost_take(struct pc_ghost *g, uint32_t hash)
{
    uint32_t at;

    if (g->ring == NULL)
        return false;
    at = pc_index_find(&g->index, hash);
    if (at == PC_ENTRY_NONE)
        return false;
    pc_index_del(&g->index, at);
    g->weight -= g->ring[at].weight;
    g->ring[at].weight = 0;
    return true;
}

static void pc_ghost_add(struct pc_ghost *g, uint32_t hash, uint32_t weight,
                         uint64_t limit)
{
    uint32_t at;

    if (g->ring == NULL || weight > limit)
        return;
    pc_ghost_take(g, hash); /* it may have gone and come unseen */
    while (g->n > 0 && (g->n == g->cap || g->weight + weight > limit))
        pc_ghost_drop(g);
    at = g->first + g->n < g->cap ? g->first + g->n : g->first + g->n - g->cap;
    g->ring[at].hash = hash;
    g->ring[at].weight = weight;
    g->n++;
    g->weight += weight;
    pc_index_add(&g->index, at);
}

/* ---- queues ---- */

static struct pc_queue *pc_queue_of(struct pc_engine *e, uint8_t id)
{
    return id == PC_QUEUE_WINDOW ? &e->window : &e->main;
}

static void pc_queue_unlink(struct pc_engine *e, uint32_t entry)
{
    struct pc_node *node = &e->nodes[entry];
    struct pc_queue *q = pc_queue_of(e, node->queue);

    QUIRE_ASSERT(node->queue != PC_QUEUE_NONE);
    if (node->prev != 0)
        e->nodes[node->prev - 1].next = node->next;
    else
        q->head = node->next;
    if (node->next != 0)
        e->nodes[node->next - 1].prev = node->prev;
    else
        q->tail = node->prev;
    q->n--;
    q->weight -= node->weight;
    node->queue = PC_QUEUE_NONE;
}

static void pc_queue_push(struct pc_engine *e, uint32_t entry, uint8_t id)
{
    struct pc_node *node = &e->nodes[entry];
    struct pc_queue *q = pc_queue_of(e, id);

    node->prev = 0;
    node->next = q->head;
    if (q->head != 0)
        e->nodes[q->head - 1].prev = entry + 1;
    else
        q->tail = entry + 1;
    q->head = entry + 1;
    q->n++;
    q->weight += node->weight;
    node->queue = id;
}

static void pc_queue_move(struct pc_engine *e, uint32_t entry, uint8_t id)
{
    pc_queue_unlink(e, entry);
    pc_queue_push(e, entry, id);
}

static unsigned pc_count_get(const struct pc_engine *e, uint32_t entry)
{
    /* relaxed: a count of uses, which others write as they use */
    return atomic_load_explicit(pc_engine_count(e, entry),
                                memory_order_relaxed) &
           PC_COUNT_BITS;
}

static void pc_count_set(struct pc_engine *e, uint32_t entry, unsigned n)
{
    /* relaxed: as above */
    atomic_store_explicit(pc_engine_count(e, entry), (uint8_t)n,
                          memory_order_relaxed);
}

/* ---- heap, for greedy-dual ---- */

static void pc_heap_put(struct pc_engine *e, uint32_t at, uint32_t entry)
{
    e->heap[at] = entry;
    e->heap_pos[entry] = at;
}

static void pc_heap_up(struct pc_engine *e, uint32_t at, uint32_t entry)
{
    while (at > 0) {
        uint32_t up = (at - 1) / 2;

        if (e->prio[e->heap[up]] <= e->prio[entry])
            break;
        pc_heap_put(e, at, e->heap[up]);
        at = up;
    }
    pc_heap_put(e, at, entry);
}

static void pc_heap_down(struct pc_engine *e, uint32_t at, uint32_t entry)
{
    for (;;) {
        uint32_t down = 2 * at + 1;

        if (down >= e->heap_n)
            break;
        if (down + 1 < e->heap_n &&
            e->prio[e->heap[down + 1]] < e->prio[e->heap[down]])
            down++;
        if (e->prio[entry] <= e->prio[e->heap[down]])
            break;
        pc_heap_put(e, at, e->heap[down]);
        at = down;
    }
    pc_heap_put(e, at, entry);
}

static void pc_heap_del(struct pc_engine *e, uint32_t entry)
{
    uint32_t at = e->heap_pos[entry];
    uint32_t last = e->heap[--e->heap_n];

    if (last == entry)
        return;
    if (e->prio[last] < e->prio[entry])
        pc_heap_up(e, at, last);
    else
        pc_heap_down(e, at, last);
}

static double pc_dual_prio(const struct pc_engine *e, uint32_t entry)
{
    return e->clock + (double)e->nodes[entry].freq / e->nodes[entry].weight;
}

static void pc_heap_add(struct pc_engine *e, uint32_t entry)
{
    unsigned freq = pc_sketch_get(&e->sketch, e->nodes[entry].hash);

    e->nodes[entry].freq = (uint8_t)(freq > 0 ? freq : 1);
    e->prio[entry] = pc_dual_prio(e, entry);
    pc_heap_up(e, e->heap_n++, entry);
}

/* ---- leaving ---- */

void pc_engine_del(struct pc_engine *e, uint32_t entry)
{
    if (e->config->rule == PC_RULE_DUAL)
        pc_heap_del(e, entry);
    e->weight -= e->nodes[entry].weight;
    if ((e->nodes[entry].sample & e->sample_mask) == 0)
        e->sampled -= e->nodes[entry].weight;
    e->n--;
    pc_queue_unlink(e, entry);
}

/* What one call of pc_engine_evict() has met. */
struct pc_scan {
    struct pc_want *want;
    uint64_t steps; /* left before counts are no longer regarded */
    uint32_t refused_window;
    uint32_t refused_main;
};

/* Take the uses that entitle `entry` to stay at a tail of the main queue.
 * false: it has none. */
static bool pc_second_chance(struct pc_engine *e, uint32_t entry,
                             struct pc_scan *scan)
{
    unsigned count = pc_count_get(e, entry);
    unsigned price = 1;

    if (scan->steps == 0 || count == 0)
        return false;
    scan->steps--;
    if (e->config->rule == PC_RULE_CLOCK) {
        price = count;
    } else if (e->sized && e->objective == QUIRE_OBJECTIVE_REQUESTS) {
        double x = (double)e->nodes[entry].weight * e->n / (double)e->weight;

        /* xorshift; the fraction by chance */
        e->random ^= e->random << 13;
        e->random ^= e->random >> 7;
        e->random ^= e->random << 17;
        if (x > PC_COUNT_BITS)
            x = PC_COUNT_BITS;
        price = (unsigned)x;
        if ((double)(e->random >> 11) * 0x1p-53 < x - price)
            price++;
        if (price > count) {
            pc_sketch_add(e, e->nodes[entry].hash, count);
            pc_count_set(e, entry, 0);
            return false;
        }
    }
    if (price > 0)
        pc_sketch_add(e, e->nodes[entry].hash, price);
    pc_count_set(e, entry, count - price);
    pc_queue_move(e, entry, PC_QUEUE_MAIN);
    return true;
}

/* The next to leave the main queue, at its tail; NONE: it is empty. */
static uint32_t pc_main_victim(struct pc_engine *e, struct pc_scan *scan)
{
    while (e->main.tail != 0) {
        uint32_t entry = e->main.tail - 1;

        if (!pc_second_chance(e, entry, scan))
            return entry;
    }
    return PC_ENTRY_NONE;
}

/* Evict `entry`, or make it the youngest of its queue if it is pinned. */
static bool pc_take(struct pc_engine *e, uint32_t entry, struct pc_scan *scan)
{
    struct pc_node *node = &e->nodes[entry];
    uint8_t queue = node->queue;

    if (!e->evict(e->ctx, entry)) {
        if (queue == PC_QUEUE_WINDOW)
            scan->refused_window++;
        else
            scan->refused_main++;
        pc_queue_move(e, entry, queue);
        return false;
    }
    pc_engine_del(e, entry);
    pc_ghost_add(&e->ghost, node->hash, node->weight, e->capacity);
    scan->want->bytes -= ra_min_u64(scan->want->bytes, node->weight);
    scan->want->entries -= ra_min_u64(scan->want->entries, 1);
    return true;
}

/* Is `entry`, of the window, worth more than `victim`? */
static bool pc_wins(const struct pc_engine *e, uint32_t entry, uint32_t victim)
{
    const struct pc_node *c = &e->nodes[entry];
    const struct pc_node *v = &e->nodes[victim];
    unsigned fc = pc_sketch_get(&e->sketch, c->hash);
    unsigned fv = pc_sketch_get(&e->sketch, v->hash);

    if (e->config->rule == PC_RULE_MARGIN)
        fv += e->config->threshold;
    if (!e->sized || e->objective == QUIRE_OBJECTIVE_BYTES)
        return fc > fv;
    return (fc + .1) / c->weight > (fv + .1) / v->weight;
}

/* By bytes: compare `entry` with what it would displace, and evict one or the
 * others. */
static void pc_contest(struct pc_engine *e, uint32_t entry, uint64_t room,
                       struct pc_scan *scan)
{
    uint32_t tail[PC_TAIL_LOOK];
    unsigned freq[PC_TAIL_LOOK];
    unsigned n = 0;
    unsigned nlosers = 0;
    uint32_t at = e->main.tail;
    uint64_t bytes = 0;
    double weighed = 0;
    unsigned margin = e->config->rule == PC_RULE_MARGIN ? e->config->threshold
                                                        : 0;

    for (uint32_t left = e->main.n; left > 0 && n < PC_TAIL_LOOK; left--) {
        uint32_t victim = at - 1;
        unsigned f;
        unsigned i;

        at = e->nodes[victim].prev;
        if (pc_second_chance(e, victim, scan))
            continue;
        /* Least frequent first, equal ones in the order of the queue. */
        f = pc_sketch_get(&e->sketch, e->nodes[victim].hash);
        for (i = n++; i > 0 && freq[i - 1] > f; i--) {
            freq[i] = freq[i - 1];
            tail[i] = tail[i - 1];
        }
        freq[i] = f;
        tail[i] = victim;
    }
    while (nlosers < n && room + bytes < e->nodes[entry].weight) {
        uint64_t weight = e->nodes[tail[nlosers]].weight;

        bytes += weight;
        weighed += (double)freq[nlosers++] * (double)weight;
    }
    if (nlosers == 0 || pc_sketch_get(&e->sketch, e->nodes[entry].hash) <=
                            weighed / (double)bytes + margin) {
        pc_take(e, entry, scan);
        return;
    }
    for (unsigned i = 0; i < nlosers; i++)
        pc_take(e, tail[i], scan);
    pc_queue_move(e, entry, PC_QUEUE_MAIN);
}

/* One step at the window's tail. */
static void pc_window_step(struct pc_engine *e, uint64_t main_target,
                           struct pc_scan *scan)
{
    const struct pc_config *cf = e->config;
    uint32_t entry = e->window.tail - 1;
    struct pc_node *node = &e->nodes[entry];
    unsigned count = pc_count_get(e, entry);
    uint64_t used = e->main.weight +
                    (scan->want->to_main ? scan->want->incoming : 0);
    uint64_t room = main_target > used ? main_target - used : 0;
    uint32_t victim;

    if (count > 0 && scan->steps > 0) {
        bool promote = (cf->rule == PC_RULE_PROMOTE ||
                        cf->rule == PC_RULE_GHOST) &&
                       count >= cf->threshold;

        scan->steps--;
        pc_sketch_add(e, node->hash, count);
        pc_count_set(e, entry, 0);
        pc_queue_move(e, entry, promote ? PC_QUEUE_MAIN : PC_QUEUE_WINDOW);
    } else if (node->weight <= room) {
        pc_queue_move(e, entry, PC_QUEUE_MAIN);
    } else if (cf->rule == PC_RULE_GHOST || e->main.n == 0 ||
               scan->refused_main >= e->main.n) {
        pc_take(e, entry, scan);
    } else if (e->sized && e->objective == QUIRE_OBJECTIVE_BYTES) {
        pc_contest(e, entry, room, scan);
    } else {
        victim = pc_main_victim(e, scan);
        if (!pc_wins(e, entry, victim))
            pc_take(e, entry, scan);
        else if (pc_take(e, victim, scan))
            pc_queue_move(e, entry, PC_QUEUE_MAIN);
    }
}

/* One step of greedy-dual: a used entry is valued anew when it is met. */
static void pc_dual_step(struct pc_engine *e, struct pc_scan *scan)
{
    uint32_t entry = e->heap[0];
    unsigned count = pc_count_get(e, entry);
    struct pc_node *node = &e->nodes[entry];

    if (e->prio[entry] > e->clock)
        e->clock = e->prio[entry];
    if (count > 0 && scan->steps > 0) {
        scan->steps--;
        pc_sketch_add(e, node->hash, count);
        pc_count_set(e, entry, 0);
        node->freq = (uint8_t)(node->freq + count < UINT8_MAX
                                   ? node->freq + count
                                   : UINT8_MAX);
    } else if (pc_take(e, entry, scan)) {
        return;
    }
    e->prio[entry] = pc_dual_prio(e, entry);
    pc_heap_down(e, 0, entry);
}

bool pc_engine_evict(struct pc_engine *e, struct pc_want *want)
{
    struct pc_scan scan = { .want = want };
    uint64_t window = (uint64_t)(e->config->window * (double)e->capacity);
    uint64_t main_target = e->capacity - window;

    /* All counters are read down once in so many steps. */
    scan.steps = (uint64_t)(PC_COUNT_SIZED + 1) * (e->n + 1);
    while (want->bytes > 0 || want->entries > 0) {
        bool no_window = scan.refused_window >= e->window.n;
        bool no_main = scan.refused_main >= e->main.n;
        uint64_t in_window = e->window.weight +
                             (want->to_main ? 0 : want->incoming);
        uint32_t victim;

        if (no_window && no_main)
            return false;
        if (e->config->rule == PC_RULE_DUAL) {
            if (scan.refused_window + scan.refused_main >= e->n)
                return false;
            pc_dual_step(e, &scan);
        } else if (!no_window && (in_window > window || no_main)) {
            pc_window_step(e, main_target, &scan);
        } else if (!no_main) {
            victim = pc_main_victim(e, &scan);
            pc_take(e, victim, &scan);
        }
    }
    return true;
}

/* ---- coming ---- */

bool pc_engine_miss(struct pc_engine *e, uint32_t hash)
{
    bool again;

    if (e->config->rule == PC_RULE_CLOCK)
        return true;
    pc_sketch_add(e, hash, 1);
    again = pc_ghost_take(&e->ghost, hash);
    return again && e->config->rule == PC_RULE_GHOST;
}

void pc_engine_add(struct pc_engine *e, uint32_t entry, uint32_t hash,
                   uint32_t weight, bool to_main)
{
    struct pc_node *node = &e->nodes[entry];

    QUIRE_ASSERT(node->queue == PC_QUEUE_NONE);
    node->hash = hash;
    node->weight = weight;
    pc_queue_push(e, entry, to_main ? PC_QUEUE_MAIN : PC_QUEUE_WINDOW);
    e->weight += weight;
    if ((node->sample & e->sample_mask) == 0)
        e->sampled += weight;
    e->n++;
    if (e->config->rule == PC_RULE_DUAL)
        pc_heap_add(e, entry);
}

/* ---- setting up ---- */

size_t pc_engine_bytes(uint32_t max, bool ghost, bool heap)
{
    size_t nbytes = ra_round_up(max * sizeof(struct pc_node), 64) +
                    ra_round_up(pc_sketch_words(max) * sizeof(uint64_t), 64);

    if (ghost)
        nbytes += ra_round_up(max * sizeof(struct pc_ghost_entry), 64) +
                  pc_index_bytes(max);
    if (heap)
        nbytes += ra_round_up(max * sizeof(double), 64) +
                  2 * ra_round_up(max * sizeof(uint32_t), 64);
    return nbytes;
}

void pc_engine_init(struct pc_engine *e, uint32_t max, bool ghost, bool heap,
                    unsigned char **mem)
{
    e->max = max;
    e->random = UINT64_C(0x2545f4914f6cdd1d); /* any but 0 */
    e->nodes = pc_carve(mem, max * sizeof(struct pc_node));
    e->sketch.words = pc_carve(mem, pc_sketch_words(max) * sizeof(uint64_t));
    e->sketch.mask = pc_sketch_words(max) - 1;
    if (ghost) {
        e->ghost.ring = pc_carve(mem, max * sizeof(struct pc_ghost_entry));
        e->ghost.cap = max;
        pc_index_init(&e->ghost.index, max, e->ghost.ring,
                      sizeof(struct pc_ghost_entry), mem);
    }
    if (heap) {
        e->prio = pc_carve(mem, max * sizeof(double));
        e->heap = pc_carve(mem, max * sizeof(uint32_t));
        e->heap_pos = pc_carve(mem, max * sizeof(uint32_t));
    }
}

void pc_engine_clear(struct pc_engine *e)
{
    memset(e->nodes, 0, e->max * sizeof(struct pc_node));
    memset(e->sketch.words, 0, ((size_t)e->sketch.mask + 1) * sizeof(uint64_t));
    e->sketch.additions = 0;
    memset(&e->window, 0, sizeof(e->window));
    memset(&e->main, 0, sizeof(e->main));
    e->n = 0;
    e->weight = 0;
    e->sampled = 0;
    e->heap_n = 0;
    e->clock = 0;
    if (e->ghost.ring != NULL) {
        e->ghost.first = 0;
        e->ghost.n = 0;
        e->ghost.weight = 0;
        memset(e->ghost.index.slots, 0,
               ((size_t)e->ghost.index.mask + 1) * sizeof(uint32_t));
    }
}

void pc_engine_configure(struct pc_engine *e, const struct pc_config *config)
{
    bool was = e->config != NULL && e->config->rule == PC_RULE_DUAL;

    e->config = config;
    if (was == (config->rule == PC_RULE_DUAL))
        return;
    e->heap_n = 0;
    e->clock = 0;
    if (was)
        return;
    /* From the tails, so that among equals the oldest are on top. */
    for (uint32_t at = e->window.tail; at != 0; at = e->nodes[at - 1].prev)
        pc_heap_add(e, at - 1);
    for (uint32_t at = e->main.tail; at != 0; at = e->nodes[at - 1].prev)
        pc_heap_add(e, at - 1);
}
