/*
 * The look-up table alone: against a naive model, with keys that all want the
 * same bucket, full, and with threads that enter and take out while others
 * look.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "cache/pc_impl.h"
#include "tests/test.h"

/* A table with its frames, without a cache. */
struct rig {
    struct pc_table table;
    struct pc_frame *frames;
    void *mem;
    uint32_t nframes;
    /* as the stripes of a cache; a key's by its hash */
    pthread_mutex_t locks[4];
};

static void rig_init(struct rig *r, uint32_t nframes)
{
    size_t nbytes = pc_table_bytes(nframes);

    r->nframes = nframes;
    r->mem = aligned_alloc(PC_CACHE_LINE, nbytes);
    r->frames = aligned_alloc(PC_CACHE_LINE, nframes * sizeof(r->frames[0]));
    CHECK(r->mem != NULL);
    CHECK(r->frames != NULL);
    memset(r->mem, 0, nbytes);
    memset((void *)r->frames, 0, nframes * sizeof(r->frames[0]));
    for (uint32_t i = 0; i < nframes; i++)
        atomic_store(&r->frames[i].key, PC_KEY_NONE);
    for (unsigned i = 0; i < ARRAY_LEN(r->locks); i++)
        pthread_mutex_init(&r->locks[i], NULL);
    pc_table_init(&r->table, r->mem, nframes);
}

static void rig_fini(struct rig *r)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->locks); i++)
        pthread_mutex_destroy(&r->locks[i]);
    free(r->frames);
    free(r->mem);
}

static void rig_enter(struct rig *r, uint64_t key, uint32_t frame)
{
    CHECK(pc_table_insert(&r->table, key, frame));
    atomic_store_explicit(&r->frames[frame].key, key, memory_order_release);
}

static void rig_take(struct rig *r, uint64_t key, uint32_t frame)
{
    atomic_store(&r->frames[frame].key, PC_KEY_NONE);
    pc_table_remove(&r->table, key, frame);
}

static uint32_t rig_find(const struct rig *r, uint64_t key)
{
    return pc_table_find(&r->table, r->frames, key);
}

/* No word and no counter is left. */
static void rig_check_empty(const struct rig *r)
{
    uint64_t overflows;

    CHECK_EQ(pc_table_count(&r->table, &overflows), 0);
    CHECK_EQ(overflows, 0);
}

/* Any number of frames, full: each key is found, no other is, and nothing
 * remains when all have gone. */
static void test_full_and_empty_again(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 4, 5, 7, 64, 1000, 4096 };

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        struct rig r;
        uint32_t n = sizes[s];

        rig_init(&r, n);
        for (uint32_t i = 0; i < n; i++)
            rig_enter(&r, i * UINT64_C(1000), i);
        for (uint32_t i = 0; i < n; i++) {
            CHECK_EQ(rig_find(&r, i * UINT64_C(1000)), i);
            CHECK_EQ(rig_find(&r, i * UINT64_C(1000) + 1), PC_FRAME_NONE);
        }
        for (uint32_t i = 0; i < n; i++) {
            rig_take(&r, i * UINT64_C(1000), i);
            CHECK_EQ(rig_find(&r, i * UINT64_C(1000)), PC_FRAME_NONE);
        }
        rig_check_empty(&r);
        rig_fini(&r);
    }
}

/* Keys that all want the same bucket spill over; taking out those at home does
 * not hide the others. */
static void test_one_bucket_for_all(void **state)
{
    enum {
        NKEYS = 40,
        NFRAMES = 256
    };
    uint64_t keys[NKEYS];
    struct rig r;
    uint64_t next = 0;
    uint64_t overflows;

    (void)state;
    rig_init(&r, NFRAMES);
    for (unsigned i = 0; i < NKEYS; i++) {
        while ((pc_hash(next) & r.table.mask) != 5)
            next++;
        keys[i] = next++;
        rig_enter(&r, keys[i], i);
    }
    for (unsigned i = 0; i < NKEYS; i++)
        CHECK_EQ(rig_find(&r, keys[i]), i);
    CHECK_EQ(pc_table_depth(&r.table, keys[0], 0), 0);
    CHECK(pc_table_depth(&r.table, keys[NKEYS - 1], NKEYS - 1) > 0);
    CHECK_EQ(pc_table_count(&r.table, &overflows), NKEYS);
    CHECK(overflows >= NKEYS - PC_BUCKET_SLOTS);
    for (unsigned i = 0; i < NKEYS; i++) {
        rig_take(&r, keys[i], i);
        for (unsigned j = i + 1; j < NKEYS; j++)
            CHECK_EQ(rig_find(&r, keys[j]), j);
    }
    rig_check_empty(&r);
    rig_fini(&r);
}

/* A frame on its way out is not found, and does not hide another of the same
 * key behind it. */
static void test_leaving_frames_are_passed_over(void **state)
{
    static const pc_state gone[] = { PC_ST_ORPHAN | 1, PC_ST_LIMBO,
                                     PC_ST_FREE };
    struct rig r;

    (void)state;
    rig_init(&r, 8);
    rig_enter(&r, 42, 3);
    CHECK_EQ(rig_find(&r, 42), 3);
    for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
        atomic_store(&r.frames[3].state, gone[i]);
        CHECK_EQ(rig_find(&r, 42), PC_FRAME_NONE);
    }
    rig_enter(&r, 42, 5);
    CHECK_EQ(rig_find(&r, 42), 5);
    rig_take(&r, 42, 3);
    CHECK_EQ(rig_find(&r, 42), 5);
    atomic_store(&r.frames[5].state, PC_ST_LOADING | 1);
    CHECK_EQ(rig_find(&r, 42), 5);
    rig_fini(&r);
}

/* Random entries and removals, compared with a plain array. */
static void test_against_model(void **state)
{
    enum {
        NFRAMES = 500,
        NKEYS = 2000
    };
    static uint32_t frame_of[NKEYS];
    static uint64_t key_of[NFRAMES];
    uint64_t seed = test_seed();
    uint64_t n = test_rounds(200000);
    struct rig r;

    (void)state;
    rig_init(&r, NFRAMES);
    for (unsigned k = 0; k < NKEYS; k++)
        frame_of[k] = PC_FRAME_NONE;
    for (unsigned f = 0; f < NFRAMES; f++)
        key_of[f] = PC_KEY_NONE;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t k = test_rand_below(&seed, NKEYS);
        uint32_t f = (uint32_t)test_rand_below(&seed, NFRAMES);

        CHECK_EQ(rig_find(&r, k), frame_of[k]);
        if (key_of[f] != PC_KEY_NONE) {
            rig_take(&r, key_of[f], f);
            frame_of[key_of[f]] = PC_FRAME_NONE;
            key_of[f] = PC_KEY_NONE;
        } else if (frame_of[k] == PC_FRAME_NONE) {
            rig_enter(&r, k, f);
            frame_of[k] = f;
            key_of[f] = k;
        }
    }
    for (unsigned f = 0; f < NFRAMES; f++) {
        if (key_of[f] != PC_KEY_NONE)
            rig_take(&r, key_of[f], f);
    }
    rig_check_empty(&r);
    rig_fini(&r);
}

/* Threads enter and take out keys of their own, in crowded buckets, while one
 * set of keys stays: that set is found at every moment. */
enum {
    STAY = 300,
    COME = 200,
    COMERS = 3,
    RIG_FRAMES = STAY + COME * COMERS
};

struct comer {
    struct rig *rig;
    unsigned id;
    uint64_t seed;
    uint64_t rounds;
};

static void *comer_main(void *arg)
{
    struct comer *c = arg;
    uint32_t base = STAY + c->id * COME;
    bool in[COME] = { false };

    for (uint64_t i = 0; i < c->rounds; i++) {
        uint32_t f = base + (uint32_t)test_rand_below(&c->seed, COME);
        uint64_t key = UINT64_C(1000000) + f;
        pthread_mutex_t *lock = &c->rig->locks[pc_hash(key) >> 62];
        uint64_t stays = test_rand_below(&c->seed, STAY);

        pthread_mutex_lock(lock);
        if (in[f - base])
            rig_take(c->rig, key, f);
        else
            rig_enter(c->rig, key, f);
        in[f - base] = !in[f - base];
        CHECK_EQ(rig_find(c->rig, key), in[f - base] ? f : PC_FRAME_NONE);
        pthread_mutex_unlock(lock);
        CHECK_EQ(rig_find(c->rig, stays), stays);
    }
    for (uint32_t i = 0; i < COME; i++) {
        if (in[i])
            rig_take(c->rig, UINT64_C(1000000) + base + i, base + i);
    }
    return NULL;
}

static void test_threads_in_one_table(void **state)
{
    struct comer comers[COMERS];
    pthread_t threads[COMERS];
    uint64_t seed = test_seed();
    struct rig r;

    (void)state;
    rig_init(&r, RIG_FRAMES);
    for (uint32_t i = 0; i < STAY; i++)
        rig_enter(&r, i, i);
    for (unsigned i = 0; i < COMERS; i++) {
        comers[i] = (struct comer){ .rig = &r,
                                    .id = i,
                                    .seed = test_rand(&seed),
                                    .rounds = test_rounds(100000) };
        CHECK_EQ(pthread_create(&threads[i], NULL, comer_main, &comers[i]), 0);
    }
    for (unsigned i = 0; i < COMERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < STAY; i++)
        rig_take(&r, i, i);
    rig_check_empty(&r);
    rig_fini(&r);
}

/* Neighbouring keys, and keys that differ only in their high bits as image ids
 * do, spread over buckets and stripes. */
static void test_hash_spreads(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift += 4) {
        unsigned buckets[64] = { 0 };
        unsigned stripes[PC_NSTRIPES] = { 0 };

        /* 4 shift + 10 bits: as many keys as that leaves */
        unsigned n = shift > 54 ? 1u << (64 - shift) : 1024u;

        if (n < 1024)
            continue;
        for (uint64_t i = 0; i < n; i++) {
            buckets[pc_hash(i << shift) & 63]++;
            stripes[pc_hash(i << shift) >> 58]++;
        }
        for (unsigned b = 0; b < 64; b++) {
            CHECK(buckets[b] < 64); /* 16 expected */
            CHECK(stripes[b] < 64);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_and_empty_again),
        cmocka_unit_test(test_one_bucket_for_all),
        cmocka_unit_test(test_leaving_frames_are_passed_over),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_threads_in_one_table),
        cmocka_unit_test(test_hash_spreads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
