/*
 * policy.h - which page goes next: queues, sketch, ghosts, shadow caches.
 *
 * The engine (struct pc_engine) knows entries by number: a hash, a weight, a
 * counter of uses. One implementation serves the cache's own frames and the
 * shadows, tiny caches without payloads that try other configurations on a
 * sample of the keys; struct pc_policy is the cache's engine with its shadows,
 * and follows the best of them. policy.c has the algorithm, adapt.c the
 * shadows. Deterministic: the same calls give the same victims.
 *
 * Nothing here locks or allocates. All calls for one policy are made under one
 * lock of the caller's, but for pc_policy_sample().
 */
#ifndef QUIRE_CACHE_POLICY_H
#define QUIRE_CACHE_POLICY_H

#include <stdatomic.h>

#include "alloc/base.h"
#include "quire.h"

#define PC_ENTRY_NONE UINT32_MAX
#define PC_NCONFIGS 12u    /* shadows, at most */
#define PC_RATE_MAX 128u   /* one key in so many is sampled, at most */
#define PC_SHADOW_MIN 128u /* entries that a shadow should hold */
#define PC_RING_LEN 256u   /* sampled hits kept for the shadows, a power of 2 */
#define PC_COUNT_MAX 3u    /* where the counters of use stop ... */
#define PC_COUNT_SIZED 7u  /* ... and where sizes vary and requests count */
#define PC_COUNT_BITS 0x0fu /* of a counter; the rest is the caller's */

enum pc_rule {
    PC_RULE_MARGIN,  /* admit to the main queue by comparison alone */
    PC_RULE_PROMOTE, /* ... and what was used `threshold` times in the window */
    PC_RULE_GHOST,   /* ... or comes back soon; no comparison */
    PC_RULE_CLOCK,   /* one queue; for comparison, and predictable */
    PC_RULE_DUAL,    /* greedy-dual: by clock + frequency / size */
};

struct pc_config {
    double window; /* share of the capacity for the window, 0..1 */
    enum pc_rule rule;
    unsigned threshold; /* MARGIN: uses by which to win; else to promote */
    unsigned mult;      /* additions per entry after which the sketch halves */
};

/* The configurations of the adaptive policy; the first is where it starts. */
extern const struct pc_config pc_configs[PC_NCONFIGS];

#define PC_CONFIG_DUAL (PC_NCONFIGS - 1) /* only where sizes vary */

enum pc_queue_id {
    PC_QUEUE_NONE = 0,
    PC_QUEUE_WINDOW,
    PC_QUEUE_MAIN
};

struct pc_node {
    uint32_t hash;   /* first: struct pc_index finds it there */
    uint32_t weight; /* bytes; set when it is added */
    uint32_t prev;   /* towards the head; entry + 1, 0: none */
    uint32_t next;   /* towards the tail; entry + 1, 0: none */
    uint8_t queue;   /* enum pc_queue_id; NONE: not an entry now */
    uint8_t freq;    /* DUAL: uses known, at least 1 */
    uint8_t sample;  /* low bits of the cache's hash, which choose the sample */
    _Atomic uint8_t count; /* of a shadow's entry: uses */
};

struct pc_queue {
    uint32_t head; /* entry + 1; the youngest */
    uint32_t tail; /* entry + 1; the next to be looked at */
    uint32_t n;
    uint64_t weight; /* bytes */
};

/* From hash to number: linear probing over elements that begin with their
 * hash. */
struct pc_index {
    uint32_t *slots; /* number + 1, 0 empty */
    uint32_t mask;   /* slots - 1, a power of two - 1 */
    const unsigned char *base;
    size_t stride; /* bytes of an element */
};

/* Count-min: 4 rows of counters of 4 bits. A word has 4 counters of each. */
struct pc_sketch {
    uint64_t *words;
    uint32_t mask;      /* words - 1, a power of two - 1 */
    uint64_t additions; /* since it was last halved */
};

struct pc_ghost_entry {
    uint32_t hash;
    uint32_t weight; /* bytes; 0: it came back */
};

/* What was evicted lately, oldest first. */
struct pc_ghost {
    struct pc_ghost_entry *ring; /* NULL: none are kept */
    uint32_t cap;                /* entries of the ring */
    uint32_t first;              /* the oldest */
    uint32_t n;
    uint64_t weight; /* bytes */
    struct pc_index index;
};

struct pc_engine {
    struct pc_node *nodes;
    uint32_t max; /* entries 0 .. max-1 */
    uint32_t n;   /* of them in a queue */
    /* Bytes that the queues' shares are parts of. */
    uint64_t capacity;
    uint64_t weight;      /* bytes in both queues */
    uint32_t sample_mask; /* as the policy's, and ... */
    uint64_t sampled;     /* ... bytes of sampled entries */
    const struct pc_config *config;
    struct pc_queue window;
    struct pc_queue main;
    struct pc_sketch sketch;
    struct pc_ghost ghost;
    /* Counters of use, one every `stride` bytes; written by hits at any time,
     * so a lost one must not matter. */
    unsigned char *counts;
    size_t stride;
    enum quire_objective objective;
    bool sized;      /* sizes vary, so they count */
    uint64_t random; /* state of the dice */
    /* DUAL: a heap of entries, the next victim first. NULL: never DUAL. */
    double *prio;       /* by entry */
    uint32_t *heap;     /* entries */
    uint32_t *heap_pos; /* by entry */
    uint32_t heap_n;    /* 0 while the configuration is another */
    double clock;
    /* Take the entry: it is the caller's then, and in no queue. false: it is
     * pinned. */
    bool (*evict)(void *ctx, uint32_t entry);
    void *ctx;
};

/* What is being made room for. */
struct pc_want {
    uint64_t bytes;    /* to evict at least, and ... */
    uint64_t entries;  /* ... so many */
    uint64_t incoming; /* bytes that will be added; counted to their queue */
    bool to_main;      /* that queue */
};

struct pc_shadow {
    struct pc_engine engine;
    struct pc_index index;
    uint32_t *free; /* entries in no queue; nfree of them */
    uint32_t nfree;
    double hits;  /* in this period; bytes / mean where bytes count */
    double score; /* hits, decaying */
};

struct pc_policy {
    struct pc_engine engine; /* the cache's own */
    enum quire_policy policy;
    unsigned current; /* index of pc_configs; adaptive */
    unsigned nshadows;
    uint64_t switches;
    uint32_t rate;     /* 1 in so many keys is sampled; 0: shadows are off */
    uint32_t entries;  /* of the cache when the shadows were made */
    uint64_t nsampled; /* accesses in this period */
    double weighed;    /* the same, bytes / mean where bytes count */
    double total;      /* decaying, as the scores */
    uint64_t nsizes;   /* accesses whose weights are in the means */
    double mean;       /* weight of what was asked for of late */
    double mean_sq;    /* of its square */
    struct pc_shadow shadows[PC_NCONFIGS];
    uint32_t ring_done; /* hits handed on */
    char pad_hot[64];
    /* Read by every hit; hits themselves are noted without a lock, and may be
     * lost. */
    _Atomic uint32_t sample_mask; /* sampled: (hash & mask) == 0 */
    _Atomic uint8_t count_max;    /* where counters stop */
    char pad_ring[64];
    _Atomic uint32_t ring_next;
    _Atomic uint64_t ring[PC_RING_LEN]; /* weight << 32 | hash */
};

struct pc_policy_options {
    uint32_t max_entries; /* 1 .. 2^31 */
    enum quire_policy policy;
    enum quire_objective objective;
    unsigned char *counts; /* see struct pc_engine */
    size_t stride;
    bool (*evict)(void *ctx, uint32_t entry);
    void *ctx;
};

/* Bytes of memory that a policy with `opt` needs. */
size_t pc_policy_bytes(const struct pc_policy_options *opt);

/* Make *p in `mem`, zeroed, of pc_policy_bytes() and aligned to 64 bytes. */
void pc_policy_init(struct pc_policy *p, const struct pc_policy_options *opt,
                    void *mem);

/* What entries are known by; the low bits choose the sample. */
static inline uint32_t pc_policy_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

/*
 * A page of `weight` bytes is wanted and not there: let the sketch, the ghosts
 * and the shadows know. Returns whether it should be added to the main queue.
 */
bool pc_policy_miss(struct pc_policy *p, uint64_t hash, uint32_t weight);

/* Add `entry`, which is in no queue. */
void pc_policy_add(struct pc_policy *p, uint32_t entry, uint64_t hash,
                   uint32_t weight, bool to_main);

/* Take `entry` out because it left by itself. false: it is in no queue. */
bool pc_policy_del(struct pc_policy *p, uint32_t entry);

/*
 * Evict until *want is met, or no entry can be taken; a pinned one that is met
 * goes to the head of its queue with its count kept, so that it isn't met
 * again soon. `capacity` is what the shares are parts of, 0: what is there.
 * false: *want is not met.
 */
bool pc_policy_evict(struct pc_policy *p, uint64_t capacity,
                     struct pc_want *want);

/* Evict `entry` of a queue if it isn't pinned; *want as above. */
bool pc_policy_evict_one(struct pc_policy *p, uint32_t entry,
                         struct pc_want *want);

/* Hand the sampled hits on to the shadows. */
void pc_policy_drain(struct pc_policy *p);

/* Verify the queues: every entry linked once, sums right. false: not so. */
bool pc_policy_check(const struct pc_policy *p);

/* Is a key with these low bits of the hash sampled? */
static inline bool pc_policy_sampled(const struct pc_policy *p, uint64_t hash)
{
    /* relaxed: a sample, of which some may be lost */
    return ((uint32_t)hash &
            atomic_load_explicit(&p->sample_mask, memory_order_relaxed)) == 0;
}

/* Note a hit of a sampled key. Any thread, no lock. Returns whether the ring is
 * getting full. */
static inline bool pc_policy_sample(struct pc_policy *p, uint64_t hash,
                                    uint32_t weight)
{
    uint32_t at;

    if (!pc_policy_sampled(p, hash))
        return false;
    /* relaxed, all: as above */
    at = atomic_load_explicit(&p->ring_next, memory_order_relaxed);
    atomic_store_explicit(&p->ring[at & (PC_RING_LEN - 1)],
                          (uint64_t)weight << 32 | pc_policy_hash(hash),
                          memory_order_relaxed);
    atomic_store_explicit(&p->ring_next, at + 1, memory_order_relaxed);
    return ((at + 1) & (PC_RING_LEN / 2 - 1)) == 0;
}

/* ---- the engine, for adapt.c ---- */

/* Bytes for an engine of `max` entries; with a ghost and a heap if asked. */
size_t pc_engine_bytes(uint32_t max, bool ghost, bool heap);

/* Carve the engine's arrays from *mem, which is moved on. */
void pc_engine_init(struct pc_engine *e, uint32_t max, bool ghost, bool heap,
                    unsigned char **mem);

/* Forget everything but what never changes. */
void pc_engine_clear(struct pc_engine *e);

void pc_engine_configure(struct pc_engine *e, const struct pc_config *config);
bool pc_engine_miss(struct pc_engine *e, uint32_t hash);
void pc_engine_add(struct pc_engine *e, uint32_t entry, uint32_t hash,
                   uint32_t weight, bool to_main);
void pc_engine_del(struct pc_engine *e, uint32_t entry);
bool pc_engine_evict(struct pc_engine *e, struct pc_want *want);

size_t pc_index_bytes(uint32_t max);
void pc_index_init(struct pc_index *x, uint32_t max, const void *base,
                   size_t stride, unsigned char **mem);
uint32_t pc_index_find(const struct pc_index *x, uint32_t hash);
void pc_index_add(struct pc_index *x, uint32_t number);
void pc_index_del(struct pc_index *x, uint32_t number);

static inline _Atomic uint8_t *pc_engine_count(const struct pc_engine *e,
                                               uint32_t entry)
{
    return (_Atomic uint8_t *)(e->counts + (size_t)entry * e->stride);
}

#endif /* QUIRE_CACHE_POLICY_H */
