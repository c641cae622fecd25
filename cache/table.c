/*
 * table.c - which frame holds a key: a fixed open-addressing table.
 *
 * A word is {tag, frame index + 1}: 32 bits of the key's hash, which spare
 * most looks at frames that hold another key, and the frame, whose own key
 * decides. Seven words and a counter make a bucket of one cache line:
 *
 *     +------+------+------+------+------+------+------+----------+
 *     | word | word | word | word | word | word | word | overflow |
 *     +------+------+------+------+------+------+------+----------+
 *
 * A key's buckets are home, home + step, home + 2 step, ..., modulo their
 * number, a power of two; step is odd, so that all are visited. A word goes
 * into the first with an empty slot, and is counted in the overflow of every
 * full one that it passed. A search goes on only while the overflow of the
 * bucket it has looked through is not 0. Taking a word out takes it off the
 * counters again, so that there are no tombstones: the table does not decay,
 * and is never rebuilt.
 *
 * There are more slots than frames by three quarters at least, so that nearly
 * all words are at home, and a search that fails looks at one line.
 *
 * Concurrency. Changes for one key are made under the lock of its stripe, so
 * that a key is not entered twice, and a search under that lock is exact. Keys
 * of different stripes meet in a bucket: an empty slot is claimed by compare-
 * and-swap, counters are added to. Searches take no lock. The counters that a
 * word needs are raised before the word is there and lowered after it has
 * gone, hence a search that began after the word was entered finds it.
 *
 * A word may lead to a frame that no longer has the key, or not yet: the frame
 * is always a frame (type-stable), and its key is compared. A frame gets its
 * key only once its word is in the table: an entry that finds no slot leaves
 * nothing behind that a hint could lead to.
 */
#include "cache/pc_impl.h"

static uint32_t pc_table_nbuckets(uint32_t max_pages)
{
    uint32_t n = 1;

    /* four words a bucket or fewer, of the seven it has room for */
    while (n < (max_pages + UINT64_C(3)) / 4)
        n <<= 1;
    return n;
}

size_t pc_table_bytes(uint32_t max_pages)
{
    return (size_t)pc_table_nbuckets(max_pages) * sizeof(struct pc_bucket);
}

void pc_table_init(struct pc_table *t, void *mem, uint32_t max_pages)
{
    t->buckets = mem;
    t->mask = pc_table_nbuckets(max_pages) - 1;
}

static inline uint64_t pc_table_word(uint64_t hash, uint32_t frame)
{
    return (hash & ~UINT64_C(0xffffffff)) | (frame + UINT32_C(1));
}

static inline uint32_t pc_table_step(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1;
}

uint32_t pc_table_find(const struct pc_table *t, const struct pc_frame *frames,
                       uint64_t key)
{
    uint64_t hash = pc_hash(key);
    uint32_t b = (uint32_t)hash & t->mask;

    for (uint32_t n = 0; n <= t->mask; n++) {
        const struct pc_bucket *bucket = &t->buckets[b];

        for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
            /* relaxed: a number that leads to a frame, whose key decides */
            uint64_t w = atomic_load_explicit(&bucket->slot[i],
                                              memory_order_relaxed);
            const struct pc_frame *f;

            if (w == 0 || (w >> 32) != (hash >> 32))
                continue;
            f = &frames[(uint32_t)w - 1];
            pc_delay(PC_AT_HINT, (uint32_t)w - 1);
            /* acquire, both: pair with the releases of the key and the state
             * in load.c, so that the payload is seen with them. A frame that
             * is leaving does not count: the key may be there again, further
             * on. */
            if (atomic_load_explicit(&f->key, memory_order_acquire) == key &&
                (atomic_load_explicit(&f->state, memory_order_acquire) &
                 PC_ST_GONE) == 0)
                return (uint32_t)w - 1;
        }
        /* relaxed: the counter was raised before the word that we look for
         * was entered further on; if that happened before this search began,
         * it is seen here by coherence, since the word's own part of it is
         * not taken back while the word is there */
        if (atomic_load_explicit(&bucket->overflow, memory_order_relaxed) == 0)
            break;
        b = (b + pc_table_step(hash)) & t->mask;
    }
    return PC_FRAME_NONE;
}

/* Take the word that passed `n` buckets off their counters. */
static void pc_table_unpass(struct pc_table *t, uint64_t hash, uint32_t n)
{
    uint32_t b = (uint32_t)hash & t->mask;

    while (n-- > 0) {
        /* relaxed: no search that must succeed needs this part of it */
        uint64_t was = atomic_fetch_sub_explicit(&t->buckets[b].overflow, 1,
                                                 memory_order_relaxed);

        QUIRE_ASSERT(was > 0);
        (void)was;
        b = (b + pc_table_step(hash)) & t->mask;
    }
}

bool pc_table_insert(struct pc_table *t, uint64_t key, uint32_t frame)
{
    uint64_t hash = pc_hash(key);
    uint64_t word = pc_table_word(hash, frame);
    uint32_t b = (uint32_t)hash & t->mask;
    uint32_t n;

    for (n = 0; n <= t->mask; n++) {
        struct pc_bucket *bucket = &t->buckets[b];

        for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
            uint64_t empty = 0;

            /* relaxed: only a guess, the exchange decides */
            if (atomic_load_explicit(&bucket->slot[i], memory_order_relaxed) !=
                0)
                continue;
            /* relaxed: what is published is the frame's key, afterwards */
            if (atomic_compare_exchange_strong_explicit(
                    &bucket->slot[i], &empty, word, memory_order_relaxed,
                    memory_order_relaxed))
                return true;
        }
        /* relaxed: see pc_table_find() */
        atomic_fetch_add_explicit(&bucket->overflow, 1, memory_order_relaxed);
        b = (b + pc_table_step(hash)) & t->mask;
    }
    pc_table_unpass(t, hash, n);
    return false;
}

void pc_table_remove(struct pc_table *t, uint64_t key, uint32_t frame)
{
    uint64_t hash = pc_hash(key);
    uint64_t word = pc_table_word(hash, frame);
    uint32_t b = (uint32_t)hash & t->mask;

    for (uint32_t n = 0; n <= t->mask; n++) {
        for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &t->buckets[b].slot[i];

            /* relaxed: the word was entered under the stripe's lock, which
             * this thread holds */
            if (atomic_load_explicit(slot, memory_order_relaxed) != word)
                continue;
            /* relaxed: the slot says nothing but that it is empty */
            atomic_store_explicit(slot, 0, memory_order_relaxed);
            pc_table_unpass(t, hash, n);
            return;
        }
        b = (b + pc_table_step(hash)) & t->mask;
    }
    QUIRE_ASSERT(!"PC-5: a frame that left was in the table");
}

uint64_t pc_table_count(const struct pc_table *t, uint64_t *overflows)
{
    uint64_t nwords = 0;

    *overflows = 0;
    for (uint32_t b = 0; b <= t->mask; b++) {
        for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++)
            nwords += atomic_load_explicit(&t->buckets[b].slot[i],
                                           memory_order_relaxed) != 0;
        *overflows += atomic_load_explicit(&t->buckets[b].overflow,
                                           memory_order_relaxed);
    }
    return nwords;
}

int64_t pc_table_depth(const struct pc_table *t, uint64_t key, uint32_t frame)
{
    uint64_t hash = pc_hash(key);
    uint64_t word = pc_table_word(hash, frame);
    uint32_t b = (uint32_t)hash & t->mask;

    for (uint32_t n = 0; n <= t->mask; n++) {
        for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
            if (atomic_load_explicit(&t->buckets[b].slot[i],
                                     memory_order_relaxed) == word)
                return n;
        }
        b = (b + pc_table_step(hash)) & t->mask;
    }
    return -1;
}
