/*
 * test_store_memory.c - the budget holds: large loads, large transactions,
 * large values and pinned pages with 8 MiB, watched while they run.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

struct rig {
    struct mem_disk *disk;
    struct fault fault; /* counts what is mapped */
    struct quire_options opt;
    struct quire *db;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    CHECK(r != NULL);
    r->disk = mem_disk_create();
    fault_init(&r->fault, mem_disk_io(r->disk), NULL);
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .io = &r->fault.io,
        .sys = &r->fault.sys,
    };
    CHECK_OK(quire_open("db", &r->opt, &r->db));
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(r->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
    CHECK(report.resident_peak_bytes <= QUIRE_BUDGET_MIN);
    CHECK(fault_live_none(&r->fault));
    fault_fini(&r->fault);
    mem_disk_destroy(r->disk);
    free(r);
    return 0;
}

static void check_budget(struct rig *r)
{
    struct quire_stat st = { .size = sizeof(st) };
    struct fault_live live = fault_live_get(&r->fault);

    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK(st.pool.resident_bytes <= QUIRE_BUDGET_MIN);
    CHECK(st.pool.resident_peak_bytes <= QUIRE_BUDGET_MIN);
    CHECK(st.pool.in_use_bytes <= st.pool.resident_bytes);
    CHECK(st.pool.virtual_bytes <= 4 * QUIRE_BUDGET_MIN);
    /* one page beside the pool: the one that tells a forked child */
    CHECK(live.map_bytes <= (int64_t)(4 * QUIRE_BUDGET_MIN + 65536));
    CHECK_EQ(st.pool.misuses, 0);
}

static size_t make_key(uint64_t i, char key[32])
{
    return (size_t)snprintf(key, 32, "record %010" PRIu64,
                            i * UINT64_C(2654435761) % 1000000007);
}

/* 40 MB in random order, commits now and then, and all of it is there. */
static void test_large_load(void **state)
{
    struct rig *r = *state;
    uint64_t n = test_rounds(100000);
    struct quire_txn *txn = NULL;
    uint64_t count = 0;
    char val[400];

    memset(val, 'v', sizeof(val));
    for (uint64_t i = 0; i < n; i++) {
        char key[32];
        struct quire_val k = { key, make_key(i, key) };
        struct quire_val v = { val, sizeof(val) };

        if (txn == NULL)
            CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
        memcpy(val, &i, sizeof(i));
        CHECK_OK(quire_put(txn, NULL, &k, &v, QUIRE_NOREPLACE));
        if (i % 500 == 0)
            check_budget(r);
        if (i % 20000 == 19999) {
            CHECK_OK(quire_commit(txn, 0, NULL));
            txn = NULL;
        }
    }
    if (txn != NULL)
        CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_begin(r->db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    CHECK_EQ(count, n);
    for (uint64_t i = 0; i < n; i++) {
        char key[32];
        struct quire_val k = { key, make_key(i, key) };
        struct quire_val v;

        CHECK_OK(quire_get(txn, NULL, &k, &v));
        CHECK_EQ(v.size, sizeof(val));
        CHECK_MEM_EQ(v.data, &i, sizeof(i));
        if (i % 5000 == 0)
            check_budget(r);
    }
    quire_abort(txn);
}

/* One transaction of five times the budget; then it is aborted, and again. */
static void test_transaction_larger_than_memory(void **state)
{
    struct rig *r = *state;
    unsigned n = (unsigned)test_rounds(10000);
    struct quire_stat st = { .size = sizeof(st) };
    uint64_t rand = 1;
    static uint8_t val[4000];

    for (unsigned round = 0; round < 3; round++) {
        struct quire_txn *txn = NULL;
        uint64_t count = 0;

        CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
        for (unsigned i = 0; i < n; i++) {
            char key[32];
            struct quire_val k = { key, make_key(i, key) };

            for (size_t b = 0; b < sizeof(val); b += 8) {
                uint64_t x = test_rand(&rand);

                memcpy(val + b, &x, 8);
            }
            CHECK_OK(quire_put(txn, NULL, &k,
                               &(struct quire_val){ val, sizeof(val) }, 0));
            if (i % 100 == 0)
                check_budget(r);
        }
        CHECK_OK(quire_tree_count(txn, NULL, &count));
        CHECK_EQ(count, n);
        if (round == 1)
            CHECK_OK(quire_commit(txn, 0, NULL));
        else
            quire_abort(txn);
        check_budget(r);
        CHECK_OK(quire_begin(r->db, QUIRE_READ, &txn));
        CHECK_OK(quire_tree_count(txn, NULL, &count));
        CHECK_EQ(count, round == 0 ? 0 : n);
        quire_abort(txn);
    }
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK(st.pages_ahead > 0 || test_rounds(64) < 64);
    CHECK_OK(quire_verify(r->db, NULL, NULL, NULL));
    check_budget(r);
}

/* A value of many times the budget goes in and comes out in parts. */
static void test_value_larger_than_memory(void **state)
{
    struct rig *r = *state;
    size_t size = (size_t)24 << 20;
    uint8_t *val = malloc(size);
    uint8_t part[100000];
    struct quire_val key = { "huge", 4 };
    struct quire_txn *txn = NULL;
    uint64_t rand = 9;
    uint64_t whole = 0;

    CHECK(val != NULL);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t x = test_rand(&rand);

        memcpy(val + i, &x, 8);
    }
    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_put(txn, NULL, &key, &(struct quire_val){ val, size }, 0));
    check_budget(r);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_begin(r->db, QUIRE_READ, &txn));
    for (size_t off = 0; off < size; off += sizeof(part)) {
        size_t n = size - off < sizeof(part) ? size - off : sizeof(part);

        CHECK_OK(quire_read(txn, NULL, &key, off, part, sizeof(part), &whole));
        CHECK_EQ(whole, size);
        CHECK_MEM_EQ(part, val + off, n);
    }
    check_budget(r);
    quire_abort(txn);
    free(val);
}

/* When everything is pinned the next reader is told so, with figures, and goes
 * on as soon as something is given back. */
static void test_everything_pinned(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn[200] = { NULL };
    static uint8_t big[200000];
    struct quire_txn *w = NULL;
    struct quire_val val;
    quire_status rc = QUIRE_OK;
    unsigned held = 0;

    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &w));
    for (uint8_t i = 0; i < 100; i++) {
        memset(big, i, sizeof(big));
        CHECK_OK(quire_put(w, NULL, &(struct quire_val){ &i, 1 },
                           &(struct quire_val){ big, sizeof(big) }, 0));
    }
    CHECK_OK(quire_commit(w, 0, NULL));
    for (uint8_t i = 0; i < 100 && rc == QUIRE_OK; i++) {
        CHECK_OK(quire_begin(r->db, QUIRE_READ, &txn[i]));
        rc = quire_get(txn[i], NULL, &(struct quire_val){ &i, 1 }, &val);
        held += rc == QUIRE_OK;
        check_budget(r);
    }
    CHECK_STATUS(rc, QUIRE_NOMEM);
    print_message("memory: %s\n", quire_error_detail());
    CHECK(strstr(quire_error_detail(), "pinned") != NULL);
    CHECK(held >= 10); /* of 256 KiB each */
    /* what is held has kept its bytes */
    for (uint8_t i = 0; i < held; i++) {
        uint8_t first = 0;
        uint64_t size = 0;

        CHECK_OK(quire_read(txn[i], NULL, &(struct quire_val){ &i, 1 }, 9,
                            &first, 1, &size));
        CHECK_EQ(first, i);
        CHECK_EQ(size, sizeof(big));
    }
    for (unsigned i = 0; i < ARRAY_LEN(txn); i++)
        quire_abort(txn[i]);
    CHECK_OK(quire_begin(r->db, QUIRE_READ, &w));
    for (uint8_t i = 0; i < 100; i++) {
        CHECK_OK(quire_get(w, NULL, &(struct quire_val){ &i, 1 }, &val));
        CHECK_EQ(((const uint8_t *)val.data)[77], i);
    }
    quire_abort(w);
    check_budget(r);
}

/* Without threads the callers do all the work, and the budget holds too. */
static void test_without_background(void **state)
{
    struct rig *r = *state;

    CHECK_OK(quire_close(r->db));
    r->opt.flags = QUIRE_NOBACKGROUND;
    r->opt.page_bytes = QUIRE_PAGE_MIN;
    CHECK_OK(quire_open("db", &r->opt, &r->db));
    CHECK_EQ(fault_live_get(&r->fault).threads, 0);
    test_large_load(state);
    CHECK_EQ(fault_live_get(&r->fault).threads, 0);
}

/* Change a record of each page, `n` times. */
static void commit_all_over(struct quire *db, unsigned n)
{
    char key[32], val[100] = "";

    for (unsigned k = 0; k < n; k++) {
        struct quire_txn *txn;

        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        for (uint64_t i = 0; i < 2000; i += k == 0 ? 1 : 20) {
            struct quire_val key_val = { key, make_key(i, key) };
            struct quire_val v = { val, sizeof(val) };

            val[0] = (char)k;
            CHECK_OK(quire_put(txn, NULL, &key_val, &v, 0));
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
    }
}

static uint64_t scan(struct quire_txn *txn)
{
    struct quire_cursor *cur;
    uint64_t n = 0;

    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    while (quire_cursor_next(cur) == QUIRE_OK)
        n++;
    quire_cursor_close(cur);
    return n;
}

static struct quire_stat stat_of(struct quire *db)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(db, &st));
    return st;
}

/* What a commit supersedes gives its memory back, far below the budget; but
 * not what an open revision reads. */
static void test_superseded_pages_leave(void **state)
{
    struct rig *r = *state;
    struct quire_options opt = r->opt;
    struct quire *db;
    struct quire_txn *old;
    uint64_t pages, bytes, misses;

    opt.budget_bytes = UINT64_C(256) << 20;
    opt.flags = QUIRE_NOBACKGROUND;
    CHECK_OK(quire_open("large", &opt, &db));
    commit_all_over(db, 20);
    pages = stat_of(db).cache.pages;
    bytes = stat_of(db).pool.in_use_bytes;
    CHECK(pages > 10); /* the newest revision stays */
    commit_all_over(db, 300);
    CHECK(stat_of(db).cache.pages <= 2 * pages);
    CHECK(stat_of(db).pool.in_use_bytes <= 2 * bytes);

    CHECK_OK(quire_begin(db, QUIRE_READ, &old));
    CHECK_EQ(scan(old), 2000);
    commit_all_over(db, 20);
    misses = stat_of(db).cache.misses;
    CHECK_EQ(scan(old), 2000);
    CHECK_EQ(stat_of(db).cache.misses, misses);
    quire_abort(old);
    CHECK_OK(quire_close(db));
}

/* So do those of transactions that write ahead, whose pages are not among their
 * changed ones any more when they commit. What is left after many is little
 * more than what there is after one that has changed everything. */
static void test_superseded_ahead_leave(void **state)
{
    struct rig *r = *state;
    struct quire_options opt = r->opt;
    uint64_t pages[2] = { 0 };
    struct quire_txn *txn;
    struct quire *db;
    char val[400] = { 0 };
    char key[32];

    opt.budget_bytes = UINT64_C(32) << 20;
    opt.page_bytes = 4096;
    opt.flags = QUIRE_NOBACKGROUND;
    CHECK_OK(quire_open("ahead", &opt, &db));
    for (unsigned k = 0; k < 2; k++) {
        uint64_t ahead = stat_of(db).pages_ahead;

        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        for (uint64_t i = 0; i < 30000; i++) {
            struct quire_val key_val = { key, make_key(i, key) };
            struct quire_val v = { val, sizeof(val) };

            val[0] = (char)k;
            CHECK_OK(quire_put(txn, NULL, &key_val, &v, 0));
            if (k == 0 && i % 500 == 499) {
                CHECK_OK(quire_commit(txn, 0, NULL));
                CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
            }
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
        CHECK(stat_of(db).pages_ahead > ahead + 500);
        pages[k] = stat_of(db).cache.pages;
    }
    CHECK(pages[0] <= pages[1] + pages[1] / 4);
    CHECK_OK(quire_close(db));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_large_load),
        TEST(test_transaction_larger_than_memory),
        TEST(test_value_larger_than_memory),
        TEST(test_everything_pinned),
        TEST(test_without_background),
        TEST(test_superseded_pages_leave),
        TEST(test_superseded_ahead_leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
