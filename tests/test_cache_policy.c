/*
 * The eviction engine by itself: queues, index, ghosts, the choice between
 * configurations, pinned entries, sizes.
 */
#include "cache/policy.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 20000u

/* A cache of numbers around a policy. */
struct toy {
    struct pc_policy p;
    void *mem;
    size_t nbytes;
    uint64_t capacity;
    uint32_t max;
    unsigned char *counts;
    uint32_t *of_key; /* entry + 1 of a key, 0 */
    uint32_t *key_of; /* of an entry */
    uint32_t *free;
    uint32_t nfree;
    bool *pinned; /* by entry */
    uint64_t nevicted;
    uint64_t nhits;
    uint64_t digest; /* of all evictions, in order */
};

static uint64_t toy_hash(uint64_t key)
{
    uint64_t h = (key + 1) * UINT64_C(0x9e3779b97f4a7c15);

    h ^= h >> 29;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static bool toy_evict(void *ctx, uint32_t entry)
{
    struct toy *t = ctx;

    if (t->pinned[entry])
        return false;
    t->digest = (t->digest ^ t->key_of[entry]) * UINT64_C(0x100000001b3);
    t->of_key[t->key_of[entry]] = 0;
    t->free[t->nfree++] = entry;
    t->nevicted++;
    return true;
}

static void toy_init(struct toy *t, uint32_t max, uint64_t capacity,
                     enum quire_policy policy, enum quire_objective objective)
{
    struct pc_policy_options opt = { .max_entries = max,
                                     .policy = policy,
                                     .objective = objective,
                                     .stride = 1,
                                     .evict = toy_evict,
                                     .ctx = t };

    memset(t, 0, sizeof(*t));
    t->max = max;
    t->capacity = capacity;
    t->counts = calloc(max, 1);
    t->of_key = calloc(MAX_KEYS, sizeof(uint32_t));
    t->key_of = calloc(max, sizeof(uint32_t));
    t->free = calloc(max, sizeof(uint32_t));
    t->pinned = calloc(max, sizeof(bool));
    opt.counts = t->counts;
    t->nbytes = pc_policy_bytes(&opt);
    CHECK_EQ(posix_memalign(&t->mem, 64, t->nbytes), 0);
    memset(t->mem, 0, t->nbytes);
    for (uint32_t i = max; i > 0; i--)
        t->free[t->nfree++] = i - 1;
    pc_policy_init(&t->p, &opt, t->mem);
}

static void toy_fini(struct toy *t)
{
    CHECK(pc_policy_check(&t->p));
    free(t->mem);
    free(t->counts);
    free(t->of_key);
    free(t->key_of);
    free(t->free);
    free(t->pinned);
}

/* Use `key`. Whether it was there; false too if there was no room for it. */
static bool toy_use(struct toy *t, uint32_t key, uint32_t weight)
{
    uint64_t hash = toy_hash(key);
    struct pc_want want = { .incoming = weight };
    uint32_t entry;

    if (t->of_key[key] != 0) {
        entry = t->of_key[key] - 1;
        if (t->counts[entry] < t->p.count_max)
            t->counts[entry]++;
        if (pc_policy_sample(&t->p, hash, weight))
            pc_policy_drain(&t->p);
        t->nhits++;
        return true;
    }
    want.to_main = pc_policy_miss(&t->p, hash, weight);
    if (t->p.engine.weight + weight > t->capacity)
        want.bytes = t->p.engine.weight + weight - t->capacity;
    want.entries = t->nfree == 0;
    if ((want.bytes > 0 || want.entries > 0) &&
        !pc_policy_evict(&t->p, t->capacity, &want))
        return false;
    entry = t->free[--t->nfree];
    t->key_of[entry] = key;
    t->of_key[key] = entry + 1;
    t->counts[entry] = 0;
    pc_policy_add(&t->p, entry, hash, weight, want.to_main);
    CHECK(t->p.engine.weight <= t->capacity);
    return false;
}

/* Numbers come and go; the index has those that are in, wherever they clash. */
static void test_index_against_array(void **state)
{
    static uint32_t hashes[512];
    static bool in[512];
    uint64_t seed = test_seed();
    unsigned char *mem = calloc(1, pc_index_bytes(512));
    unsigned char *at = mem;
    struct pc_index x;

    (void)state;
    CHECK(mem != NULL);
    for (uint32_t i = 0; i < 512; i++)
        hashes[i] = i * 3;
    pc_index_init(&x, 512, hashes, sizeof(hashes[0]), &at);
    CHECK_EQ(at - mem, pc_index_bytes(512));
    memset(in, 0, sizeof(in));
    for (unsigned n = 0; n < 50000; n++) {
        uint32_t i = (uint32_t)test_rand_below(&seed, 512);

        CHECK_EQ(pc_index_find(&x, hashes[i]), in[i] ? i : PC_ENTRY_NONE);
        if (in[i])
            pc_index_del(&x, i);
        else
            pc_index_add(&x, i);
        in[i] = !in[i];
    }
    free(mem);
}

/* A second chance each, in the order they came. */
static void test_clock_order(void **state)
{
    struct toy t;

    (void)state;
    toy_init(&t, 4, 4, QUIRE_POLICY_CLOCK, QUIRE_OBJECTIVE_REQUESTS);
    for (uint32_t key = 0; key < 4; key++)
        toy_use(&t, key, 1);
    toy_use(&t, 0, 1);
    toy_use(&t, 4, 1);
    CHECK(t.of_key[0] != 0);
    CHECK(t.of_key[1] == 0);
    toy_use(&t, 5, 1);
    CHECK(t.of_key[2] == 0);
    toy_fini(&t);
}

/* A loop a little larger than the cache: recency would never hit. */
static void test_loop_is_kept_in_part(void **state)
{
    struct toy t;

    (void)state;
    toy_init(&t, 800, 800, QUIRE_POLICY_ADAPTIVE, QUIRE_OBJECTIVE_REQUESTS);
    for (uint32_t n = 0; n < 100000; n++)
        toy_use(&t, n % 1000, 1);
    CHECK(t.nhits > 60000); /* 79,800 are possible */
    toy_fini(&t);
}

/* Pages used twice, soon after, and never again: the window must grow. */
static void test_pairs_enlarge_the_window(void **state)
{
    struct toy t;

    (void)state;
    toy_init(&t, 400, 400, QUIRE_POLICY_ADAPTIVE, QUIRE_OBJECTIVE_REQUESTS);
    for (uint32_t n = 0; n < 60000; n++) {
        toy_use(&t, n % MAX_KEYS, 1);
        if (n >= 150)
            toy_use(&t, (n - 150) % MAX_KEYS, 1);
    }
    CHECK(t.p.switches > 0);
    CHECK(t.nhits > 40000);
    toy_fini(&t);
}

/* A scan of pages used once leaves those that are used often. */
static void test_scan_resistance(void **state)
{
    uint64_t seed = 7;
    uint32_t there = 0;
    struct toy t;

    (void)state;
    toy_init(&t, 500, 500, QUIRE_POLICY_ADAPTIVE, QUIRE_OBJECTIVE_REQUESTS);
    for (unsigned n = 0; n < 20000; n++)
        toy_use(&t, (uint32_t)test_rand_below(&seed, 300), 1);
    for (uint32_t key = 1000; key < 6000; key++)
        toy_use(&t, key, 1);
    for (uint32_t key = 0; key < 300; key++)
        there += t.of_key[key] != 0;
    CHECK(there > 270);
    toy_fini(&t);
}

/* Pinned entries stay; each is met once, not again and again. */
static void test_pinned_are_passed_over(void **state)
{
    struct toy t;

    (void)state;
    toy_init(&t, 1000, 1000, QUIRE_POLICY_ADAPTIVE, QUIRE_OBJECTIVE_REQUESTS);
    for (uint32_t key = 0; key < 900; key++) {
        toy_use(&t, key, 1);
        t.pinned[t.of_key[key] - 1] = true;
    }
    for (uint32_t key = 900; key < 5000; key++)
        toy_use(&t, key, 1);
    for (uint32_t key = 0; key < 900; key++)
        CHECK(t.of_key[key] != 0);
    CHECK_EQ(t.p.engine.n, 1000);
    CHECK_EQ(t.nevicted, 4000);
    toy_fini(&t);
}

static void test_all_pinned_says_so(void **state)
{
    static const enum quire_policy policies[] = { QUIRE_POLICY_ADAPTIVE,
                                                  QUIRE_POLICY_TINYLFU,
                                                  QUIRE_POLICY_CLOCK,
                                                  QUIRE_POLICY_GREEDY_DUAL };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct pc_want want = { .bytes = 1 };
        struct toy t;

        toy_init(&t, 10, 10, policies[i], QUIRE_OBJECTIVE_REQUESTS);
        for (uint32_t key = 0; key < 10; key++) {
            toy_use(&t, key, 1);
            toy_use(&t, key, 1);
            t.pinned[t.of_key[key] - 1] = true;
        }
        CHECK(!pc_policy_evict(&t.p, 10, &want));
        CHECK_EQ(t.p.engine.n, 10);
        t.pinned[3] = false;
        CHECK(pc_policy_evict(&t.p, 10, &want));
        CHECK_EQ(t.p.engine.n, 9);
        toy_fini(&t);
    }
}

/* Sizes of all kinds, entries that leave by themselves, pins that come and go:
 * the queues hold together under every policy, and twice the same calls give
 * the same victims. */
static void test_random_and_deterministic(void **state)
{
    uint64_t first = test_seed();

    (void)state;
    for (unsigned run = 0; run < 8; run++) {
        enum quire_policy policy = (enum quire_policy)(run / 2);
        enum quire_objective objective = (enum quire_objective)(run % 2);
        uint64_t digest[2];

        for (unsigned again = 0; again < 2; again++) {
            uint64_t seed = first + run;
            struct toy t;

            toy_init(&t, 2000, 40000, policy, objective);
            for (unsigned n = 0; n < 20000; n++) {
                uint64_t r = test_rand_below(&seed, 4000);
                uint32_t key = (uint32_t)(r * r / 4000);
                uint32_t weight = 1u << (key % 9);

                toy_use(&t, key, weight);
                r = test_rand_below(&seed, 100);
                if (r < 3 && t.of_key[key] != 0) {
                    uint32_t entry = t.of_key[key] - 1;

                    CHECK(pc_policy_del(&t.p, entry));
                    CHECK(!pc_policy_del(&t.p, entry));
                    t.pinned[entry] = false;
                    toy_evict(&t, entry);
                } else if (r < 10 && t.of_key[key] != 0) {
                    t.pinned[t.of_key[key] - 1] ^= 1;
                }
                if (n % 1000 == 0)
                    CHECK(pc_policy_check(&t.p));
            }
            digest[again] = t.digest;
            toy_fini(&t);
        }
        CHECK_EQ(digest[0], digest[1]);
    }
}

/* Where sizes vary, small pages are worth more by request. */
static void test_objectives(void **state)
{
    uint64_t hits[2];

    (void)state;
    for (unsigned o = 0; o < 2; o++) {
        uint64_t seed = 11;
        struct toy t;

        toy_init(&t, 5000, 50000, QUIRE_POLICY_ADAPTIVE,
                 (enum quire_objective)o);
        for (unsigned n = 0; n < 100000; n++) {
            uint64_t r = test_rand_below(&seed, 5000);
            uint32_t key = (uint32_t)(r * r / 5000);

            toy_use(&t, key, key % 10 == 0 ? 200 : 10);
        }
        CHECK(t.p.engine.sized);
        hits[o] = t.nhits;
        toy_fini(&t);
    }
    CHECK(hits[QUIRE_OBJECTIVE_REQUESTS] > hits[QUIRE_OBJECTIVE_BYTES]);
}

/* What is kept beside an entry is bounded. */
static void test_memory_is_bounded(void **state)
{
    struct pc_policy_options opt = { .max_entries = 1 << 20 };

    (void)state;
    CHECK(pc_policy_bytes(&opt) < 100 * (size_t)opt.max_entries);
    opt.objective = QUIRE_OBJECTIVE_BYTES;
    CHECK(pc_policy_bytes(&opt) < 100 * (size_t)opt.max_entries);
    opt.max_entries = 1;
    CHECK(pc_policy_bytes(&opt) < 32768);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_against_array),
        cmocka_unit_test(test_clock_order),
        cmocka_unit_test(test_loop_is_kept_in_part),
        cmocka_unit_test(test_pairs_enlarge_the_window),
        cmocka_unit_test(test_scan_resistance),
        cmocka_unit_test(test_pinned_are_passed_over),
        cmocka_unit_test(test_all_pinned_says_so),
        cmocka_unit_test(test_random_and_deterministic),
        cmocka_unit_test(test_objectives),
        cmocka_unit_test(test_memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
