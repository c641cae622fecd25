/*
 * test_store_threads.c - readers in threads while a writer runs: each sees one
 * revision, whole, whatever is committed, aborted, evicted or verified beside
 * it. Run under the thread sanitizer as well.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define READERS 3

struct shared {
    struct mem_disk *disk;
    struct quire_options opt;
    struct twin twin;       /* the writer's; model_at() is anybody's */
    _Atomic bool stop;      /* atomic: set when the writer has done */
    _Atomic uint64_t looks; /* atomic: comparisons made */
    _Atomic uint64_t olds;  /* atomic: of these, of older revisions */
    _Atomic uint64_t seeds; /* atomic: for the readers */
};

static void shared_begin(struct shared *s, uint32_t page_bytes)
{
    memset(s, 0, sizeof(*s));
    s->disk = mem_disk_create();
    s->opt = (struct quire_options){
        .size = sizeof(s->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = page_bytes,
        .io = mem_disk_io(s->disk),
    };
    atomic_init(&s->seeds, test_seed());
    twin_init(&s->twin);
    CHECK_OK(twin_open(&s->twin, "db", &s->opt));
}

static void shared_end(struct shared *s)
{
    CHECK_OK(twin_close(&s->twin));
    twin_fini(&s->twin);
    mem_disk_destroy(s->disk);
}

/* Wait until the model has the revision that was read; its commit has been
 * published, so that the writer is about to tell the model. */
static const struct model_snap *snap_of(struct shared *s, quire_rev rev)
{
    while (model_newest(s->twin.model) < rev)
        sched_yield();
    return model_at(s->twin.model, rev);
}

static bool stopped(struct shared *s)
{
    /* acquire: pairs with the release in run_readers() */
    return atomic_load_explicit(&s->stop, memory_order_acquire);
}

static void *read_in_thread(void *arg)
{
    struct shared *s = arg;
    /* relaxed, here and below: counters */
    uint64_t rand = atomic_fetch_add_explicit(&s->seeds, 1,
                                              memory_order_relaxed);
    bool last = false;

    while (!last) {
        char why[MODEL_WHY_CAP];
        struct quire_txn *txn = NULL;
        quire_rev newest = 0;
        bool old = test_rand_below(&rand, 3) == 0;

        last = stopped(s); /* one more round when all is there */
        CHECK_OK(quire_rev_newest(s->twin.db, &newest));
        if (old)
            CHECK_OK(quire_begin_at(s->twin.db,
                                    test_rand_below(&rand, newest + 1), &txn));
        else
            CHECK_OK(quire_begin(s->twin.db, QUIRE_READ, &txn));
        CHECK(old || quire_txn_rev(txn) >= newest);
        /* twice: it keeps seeing what it saw */
        for (unsigned i = 0; i < 2; i++) {
            if (!model_same(snap_of(s, quire_txn_rev(txn)), txn,
                            i == 0 ? MODEL_FORWARD : MODEL_DEEP, why)) {
                print_error("revision %" PRIu64 ": %s\n", quire_txn_rev(txn),
                            why);
                CHECK(false);
            }
        }
        quire_abort(txn);
        atomic_fetch_add_explicit(&s->looks, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->olds, old, memory_order_relaxed);
    }
    return NULL;
}

static void *verify_in_thread(void *arg)
{
    struct shared *s = arg;

    while (!stopped(s)) {
        struct quire_stat st = { .size = sizeof(st) };

        CHECK_OK(quire_verify(s->twin.db, NULL, NULL, NULL));
        CHECK_OK(quire_stat_get(s->twin.db, &st));
        CHECK(st.pool.resident_bytes <= QUIRE_BUDGET_MIN);
    }
    return NULL;
}

static void write_some(struct shared *s, unsigned n, size_t most,
                       uint64_t range)
{
    uint64_t rand = test_seed();

    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(twin_begin(&s->twin));
        for (unsigned k = (unsigned)test_rand_below(&rand, 40); k > 0; k--) {
            uint8_t key[GEN_KEY_MAX];
            struct quire_val v = { key, 0 };
            enum gen_shape shape = k % 2 ? GEN_PREFIX : GEN_BINARY;
            quire_status rc;

            v.size = gen_key(&rand, shape, range, 512, key);
            if (test_rand_below(&rand, 4) == 0) {
                rc = twin_del(&s->twin, NULL, &v);
                CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
            } else {
                CHECK_OK(twin_put_gen(&s->twin, NULL, key, v.size,
                                      test_rand_below(&rand, most), &rand));
            }
        }
        if (i % 6 == 5)
            twin_abort(&s->twin);
        else
            CHECK_OK(twin_commit(&s->twin, i % 4 > 0 ? QUIRE_NOSYNC : 0));
    }
}

static void run_readers(struct shared *s, unsigned n, size_t most,
                        uint64_t range)
{
    pthread_t thread[READERS];
    pthread_t verifier;

    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, read_in_thread, s), 0);
    CHECK_EQ(pthread_create(&verifier, NULL, verify_in_thread, s), 0);
    write_some(s, n, most, range);
    /* release: pairs with the acquire in stopped() */
    atomic_store_explicit(&s->stop, true, memory_order_release);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    CHECK_EQ(pthread_join(verifier, NULL), 0);
    print_message("threads: %" PRIu64 " revisions, %" PRIu64
                  " comparisons, %" PRIu64 " of older ones\n",
                  s->twin.published, s->looks, s->olds);
}

static void test_readers_beside_a_writer(void **state)
{
    struct shared s;

    (void)state;
    shared_begin(&s, QUIRE_PAGE_MIN);
    run_readers(&s, (unsigned)test_rounds(400), 200, 400);
    shared_end(&s);
}

/* More data than the cache holds, so that pages come and go all the time. */
static void test_readers_and_eviction(void **state)
{
    struct shared s;

    (void)state;
    shared_begin(&s, QUIRE_PAGE_DEFAULT);
    run_readers(&s, (unsigned)test_rounds(160), 30000, 1000);
    shared_end(&s);
}

/* Transactions are begun and ended by many threads at once. */
static void *short_reads_in_thread(void *arg)
{
    struct shared *s = arg;
    uint64_t rounds = test_rounds(4000);

    for (uint64_t i = 0; i < rounds; i++) {
        struct quire_txn *txn = NULL;
        struct quire_cursor *cur = NULL;
        struct quire_val key = { "counter", 7 };
        struct quire_val val = { NULL, 0 };
        quire_rev rev;
        quire_status rc;

        CHECK_OK(quire_begin(s->twin.db, QUIRE_READ, &txn));
        rev = quire_txn_rev(txn);
        rc = quire_get(txn, NULL, &key, &val);
        if (rev == 0) {
            CHECK_STATUS(rc, QUIRE_NOTFOUND);
        } else {
            uint64_t n = 0;

            CHECK_OK(rc);
            CHECK_EQ(val.size, sizeof(n));
            memcpy(&n, val.data, sizeof(n));
            CHECK_EQ(n, rev); /* the value belongs to the revision */
        }
        CHECK_OK(quire_cursor_open(txn, NULL, &cur));
        rc = quire_cursor_next(cur);
        CHECK(rc == QUIRE_OK || (rc == QUIRE_NOTFOUND && rev == 0));
        if (i % 2 == 0)
            quire_abort(txn);
        else
            CHECK_OK(quire_commit(txn, 0, NULL));
    }
    return NULL;
}

static void test_many_short_transactions(void **state)
{
    pthread_t thread[READERS];
    uint64_t rounds = test_rounds(1000);
    struct shared s;

    (void)state;
    shared_begin(&s, QUIRE_PAGE_MIN);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, short_reads_in_thread, &s),
                 0);
    for (uint64_t n = 1; n <= rounds; n++) {
        struct quire_val key = { "counter", 7 };
        struct quire_val val = { &n, sizeof(n) };

        CHECK_OK(twin_begin(&s.twin));
        CHECK_OK(twin_put(&s.twin, NULL, &key, &val, 0));
        CHECK_OK(twin_commit(&s.twin, n % 10 > 0 ? QUIRE_NOSYNC : 0));
    }
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    shared_end(&s);
}

#define COPIES 512u  /* records that are read into buffers */
#define COPY_LEN 900 /* bytes of each */

struct copying {
    struct shared *s;
    _Atomic bool stop;  /* atomic: set when there were looks enough */
    _Atomic uint64_t n; /* atomic: calls made */
    bool many;
};

/* Read into buffers, one by one or many at a time. */
static void *copy_in_thread(void *arg)
{
    struct copying *c = arg;
    static uint8_t buf[64][COPY_LEN]; /* one thread runs this at a time */
    uint64_t rand = test_seed();
    struct quire_txn *txn = NULL;

    CHECK_OK(quire_begin(c->s->twin.db, QUIRE_READ, &txn));
    /* relaxed: only when to stop */
    while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
        struct quire_lookup l[64] = { 0 };
        uint32_t no[64];

        for (unsigned i = 0; i < ARRAY_LEN(l); i++) {
            no[i] = (uint32_t)test_rand_below(&rand, COPIES);
            l[i].key = (struct quire_val){ &no[i], sizeof(no[i]) };
            l[i].buf = buf[i];
            l[i].cap = COPY_LEN;
        }
        if (c->many)
            CHECK_OK(quire_get_many(txn, NULL, l, ARRAY_LEN(l)));
        else
            for (unsigned i = 0; i < ARRAY_LEN(l); i++)
                CHECK_OK(quire_read(txn, NULL, &l[i].key, 0, buf[i], COPY_LEN,
                                    &l[i].size));
        for (unsigned i = 0; i < ARRAY_LEN(l); i++) {
            CHECK_OK(l[i].status);
            CHECK_EQ(l[i].size, COPY_LEN);
            CHECK_MEM_EQ(buf[i], &no[i], sizeof(no[i]));
        }
        atomic_fetch_add_explicit(&c->n, 1, memory_order_relaxed);
    }
    quire_abort(txn);
    return NULL;
}

static uint64_t pinned(struct shared *s)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(s->twin.db, &st));
    return st.cache.pinned_pages;
}

/* What is copied into the caller's buffer needs no pin: whoever looks, while it
 * is read and afterwards, finds none. */
static void test_copies_take_no_pin(void **state)
{
    struct shared s;

    (void)state;
    shared_begin(&s, QUIRE_PAGE_DEFAULT);
    CHECK_OK(twin_begin(&s.twin));
    for (uint32_t i = 0; i < COPIES; i++) {
        uint8_t value[COPY_LEN] = { 0 };
        struct quire_val key = { &i, sizeof(i) };
        struct quire_val val = { value, sizeof(value) };

        memcpy(value, &i, sizeof(i));
        CHECK_OK(twin_put(&s.twin, NULL, &key, &val, 0));
    }
    CHECK_OK(twin_commit(&s.twin, 0));
    for (unsigned many = 0; many < 2; many++) {
        struct copying c = { .s = &s, .many = many != 0 };
        uint64_t looks = test_rounds(5000);
        struct quire_txn *txn = NULL;
        struct quire_cursor *cur = NULL;
        pthread_t thread;

        /* all that is read is there, and a pin is seen where one is */
        CHECK_OK(quire_begin(s.twin.db, QUIRE_READ, &txn));
        CHECK_OK(quire_cursor_open(txn, NULL, &cur));
        for (uint32_t i = 0; i < COPIES; i++)
            CHECK_OK(quire_cursor_next(cur));
        CHECK_EQ(pinned(&s), 1);
        quire_abort(txn);
        CHECK_EQ(pinned(&s), 0);
        CHECK_EQ(pthread_create(&thread, NULL, copy_in_thread, &c), 0);
        /* looks count only once the thread is at it, until it has gone on */
        while (atomic_load_explicit(&c.n, memory_order_relaxed) == 0)
            sched_yield();
        for (uint64_t i = 0; i < looks; i++)
            CHECK_EQ(pinned(&s), 0);
        atomic_store_explicit(&c.stop, true, memory_order_relaxed);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(pinned(&s), 0);
    }
    shared_end(&s);
}

/* A thread that the store has never seen reads a revision, and ends. */
static void *one_read_in_thread(void *arg)
{
    struct shared *s = arg;
    uint64_t rand = atomic_fetch_add_explicit(&s->seeds, 1,
                                              memory_order_relaxed);
    struct quire_val key = { "counter", 7 };
    uint8_t buf[sizeof(uint64_t)];
    struct quire_txn *txn = NULL;
    uint64_t size = 0;
    uint64_t n = 0;
    quire_rev rev;

    rev = 1 + test_rand_below(&rand, model_newest(s->twin.model));
    CHECK_OK(quire_begin_at(s->twin.db, rev, &txn));
    CHECK_OK(quire_read(txn, NULL, &key, 0, buf, sizeof(buf), &size));
    CHECK_EQ(size, sizeof(n));
    memcpy(&n, buf, sizeof(n));
    CHECK_EQ(n, rev);
    quire_abort(txn);
    return NULL;
}

/* Reading needs no registration, and none is left behind: threads come, read
 * an old revision once and go, while the writer commits. */
static void test_threads_come_and_go(void **state)
{
    uint64_t rounds = test_rounds(200);
    struct quire_stat st = { .size = sizeof(st) };
    struct shared s;

    (void)state;
    shared_begin(&s, QUIRE_PAGE_MIN);
    for (uint64_t n = 1; n <= rounds; n++) {
        struct quire_val key = { "counter", 7 };
        struct quire_val val = { &n, sizeof(n) };
        pthread_t thread[READERS];

        for (unsigned i = 0; i < READERS && n > 1; i++)
            CHECK_EQ(pthread_create(&thread[i], NULL, one_read_in_thread, &s),
                     0);
        CHECK_OK(twin_begin(&s.twin));
        CHECK_OK(twin_put(&s.twin, NULL, &key, &val, 0));
        CHECK_OK(twin_commit(&s.twin, QUIRE_NOSYNC));
        for (unsigned i = 0; i < READERS && n > 1; i++)
            CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    CHECK_OK(quire_stat_get(s.twin.db, &st));
    CHECK_EQ(st.cache.pinned_pages, 0);
    CHECK(st.pool.magazines <= READERS); /* of 600 threads */
    shared_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_beside_a_writer),
        cmocka_unit_test(test_readers_and_eviction),
        cmocka_unit_test(test_many_short_transactions),
        cmocka_unit_test(test_copies_take_no_pin),
        cmocka_unit_test(test_threads_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
