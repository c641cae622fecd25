/*
 * test_store_large.c - transactions and values larger than memory.
 *
 * A transaction several times the budget is committed, another aborted, another
 * killed; values are put from a function, and read in parts. The short form
 * uses megabytes on a disk in memory; with QUIRE_SOAK (make soak) it is 4 GiB
 * of records under 64 MiB and a value of 1 GiB under 32 MiB, in a real file.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

static bool soak(void)
{
    return getenv("QUIRE_SOAK") != NULL;
}

/* ---- bytes that follow from a seed and a place ---- */

static uint8_t byte_at(uint64_t seed, uint64_t off)
{
    uint64_t x = (off / 8 + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ seed;

    return (uint8_t)((x ^ x >> 29) >> (off % 8 * 8));
}

static void fill(uint64_t seed, uint64_t off, uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(seed, off + i);
}

struct giver {
    uint64_t seed;
    uint64_t off;
    uint64_t fail_at; /* says QUIRE_IO once this has been given; 0: never */
};

static quire_status give(void *arg, void *buf, size_t nbytes)
{
    struct giver *g = arg;

    if (g->fail_at != 0 && g->off >= g->fail_at)
        return QUIRE_IO;
    fill(g->seed, g->off, buf, nbytes);
    g->off += nbytes;
    return QUIRE_OK;
}

/* The value of `key` has `size` bytes of `seed`; read in parts. */
static void check_value(struct quire_txn *txn, const char *key, uint64_t seed,
                        uint64_t size)
{
    const struct quire_val k = { key, strlen(key) };
    const size_t part = 100000;
    uint8_t *got = malloc(part);
    uint8_t *want = malloc(part);
    uint64_t whole = 0;

    CHECK(got != NULL && want != NULL);
    for (uint64_t off = 0; off == 0 || off < size; off += part) {
        size_t n = size - off < part ? (size_t)(size - off) : part;

        CHECK_OK(quire_read(txn, NULL, &k, off, got, part, &whole));
        CHECK_EQ(whole, size);
        fill(seed, off, want, n);
        CHECK_MEM_EQ(got, want, n);
    }
    free(want);
    free(got);
}

static quire_status put_from(struct quire_txn *txn, const char *key,
                             uint64_t seed, uint64_t size, uint64_t fail_at)
{
    const struct quire_val k = { key, strlen(key) };
    struct giver g = { .seed = seed, .fail_at = fail_at };
    quire_status rc = quire_put_from(txn, NULL, &k, size, give, &g);

    if (rc == QUIRE_OK)
        CHECK_EQ(g.off, size);
    return rc;
}

/* ---- where the stores are ---- */

struct place {
    struct mem_disk *disk; /* NULL: a real one */
    struct quire_options opt;
    char dir[2048];
    char path[4096];
};

static void place_make(struct place *p, uint64_t budget)
{
    memset(p, 0, sizeof(*p));
    p->opt.size = sizeof(p->opt);
    p->opt.flags = QUIRE_NOBACKGROUND;
    p->opt.budget_bytes = budget;
    if (soak()) {
        test_tmpdir(p->dir, sizeof(p->dir));
        snprintf(p->path, sizeof(p->path), "%s/large.quire", p->dir);
    } else {
        p->disk = mem_disk_create();
        p->opt.io = mem_disk_io(p->disk);
        snprintf(p->path, sizeof(p->path), "large.quire");
    }
}

static void place_remove(struct place *p)
{
    if (p->disk == NULL)
        test_rmtree(p->dir);
    mem_disk_destroy(p->disk);
}

static void close_clean(struct quire *db, uint64_t budget)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(db, &report));
    CHECK_EQ(report.pinned_pages + report.segments_in_use + report.intents, 0);
    CHECK(report.resident_peak_bytes <= budget);
}

/* ---- transactions ---- */

#define RECORD_BYTES 1000u

/* Keys in random order; in a soak, where each would cost reading and writing a
 * page that memory has no room for, a thousand neighbours at a time. */
static void key_of(uint64_t i, char key[20])
{
    const unsigned near = soak() ? 10 : 0;
    const uint64_t group = (i >> near) * UINT64_C(0x9E3779B97F4A7C15);

    snprintf(key, 20, "%016" PRIx64,
             near == 0 ? group : group << near | (i & ((1u << near) - 1)));
}

static void put_many(struct quire_txn *txn, uint64_t seed, uint64_t n)
{
    uint8_t val[RECORD_BYTES];
    char key[20];
    const struct quire_val k = { key, 16 };
    const struct quire_val v = { val, sizeof(val) };

    for (uint64_t i = 0; i < n; i++) {
        key_of(i, key);
        fill(seed, i * RECORD_BYTES, val, sizeof(val));
        CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
    }
}

/* A store holds `n` records of `seed`, or (n 0) none: all, or some of many. */
static void check_many(struct quire *db, uint64_t seed, uint64_t n)
{
    uint8_t want[RECORD_BYTES];
    struct quire_txn *txn;
    uint64_t count = 0;
    char key[20];
    const struct quire_val k = { key, 16 };
    struct quire_val v;

    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    CHECK_EQ(count, n);
    for (uint64_t i = 0; i < n; i += 1 + n / 5000) {
        key_of(i, key);
        fill(seed, i * RECORD_BYTES, want, sizeof(want));
        CHECK_OK(quire_get(txn, NULL, &k, &v));
        CHECK_EQ(v.size, sizeof(want));
        CHECK_MEM_EQ(v.data, want, sizeof(want));
    }
    quire_abort(txn);
}

static uint64_t file_bytes(struct quire *db)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(db, &st));
    return st.file_bytes;
}

static void test_transaction_larger_than_memory(void **state)
{
    const uint64_t budget = soak() ? (uint64_t)64 << 20 : QUIRE_BUDGET_MIN;
    const uint64_t n = soak() ? ((uint64_t)4 << 30) / RECORD_BYTES
                              : test_rounds(24000);
    struct quire_txn *txn;
    struct place p;
    struct quire *db;
    uint64_t size = 0;

    (void)state;
    place_make(&p, budget);
    CHECK_OK(quire_open(p.path, &p.opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    put_many(txn, 1, n);
    CHECK_OK(quire_commit(txn, 0, NULL));
    check_many(db, 1, n);

    /* What aborted ones wrote is written over by the next. Spans differ in
     * length, so that it takes some until there are enough of each. */
    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        put_many(txn, 2 + i, n / 4);
        quire_abort(txn);
        if (i <= 2)
            size = file_bytes(db);
        CHECK(file_bytes(db) - size <= n / 64 * RECORD_BYTES);
        check_many(db, 1, n);
    }

    /* Killed in the midst: nothing of it is there. */
    if (p.disk != NULL) {
        struct mem_disk *copy;
        struct quire_options opt = p.opt;
        struct quire *other;

        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        put_many(txn, 9, n / 4);
        copy = mem_disk_copy(p.disk);
        quire_abort(txn);
        close_clean(db, budget);
        opt.io = mem_disk_io(copy);
        CHECK_OK(quire_open(p.path, &opt, &other));
        check_many(other, 1, n);
        CHECK_OK(quire_verify(other, NULL, NULL, NULL));
        close_clean(other, budget);
        mem_disk_destroy(copy);
    } else {
        pid_t child;
        int status = 0;

        close_clean(db, budget);
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_OK(quire_open(p.path, &p.opt, &db));
            CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
            put_many(txn, 9, n / 4);
            _exit(0); /* as good as killed: nothing is given back */
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK_OK(quire_open(p.path, &p.opt, &db));
        check_many(db, 1, n);
        CHECK_OK(quire_verify(db, NULL, NULL, NULL));
        close_clean(db, budget);
    }
    place_remove(&p);
}

/* ---- values ---- */

static void test_value_from_a_function(void **state)
{
    static const uint64_t sizes[] = { 0,     1,      200,    4096,   65536,
                                      65537, 253952, 253953, 600000, 3000000 };
    const uint64_t budget = soak() ? (uint64_t)32 << 20 : QUIRE_BUDGET_MIN;
    const uint64_t great = soak() ? QUIRE_VALUE_MAX : (uint64_t)20 << 20;
    struct quire_txn *txn;
    struct place p;
    struct quire *db;
    char key[20];

    (void)state;
    place_make(&p, budget);
    CHECK_OK(quire_open(p.path, &p.opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        snprintf(key, sizeof(key), "size %zu", i);
        CHECK_OK(put_from(txn, key, i, sizes[i], 0));
        check_value(txn, key, i, sizes[i]);
    }
    CHECK_OK(put_from(txn, "great", 77, great, 0));
    check_value(txn, "great", 77, great);

    /* A function that fails leaves the old value, and the transaction. */
    CHECK_STATUS(put_from(txn, "size 3", 5, 300, 1), QUIRE_OK);
    CHECK_STATUS(put_from(txn, "size 9", 5, 2000000, 1000000), QUIRE_IO);
    check_value(txn, "size 9", 9, 3000000);
    CHECK_STATUS(put_from(txn, "none", 5, QUIRE_VALUE_MAX + 1, 0),
                 QUIRE_TOOBIG);
    CHECK_STATUS(
        quire_put_from(txn, NULL, &(struct quire_val){ "k", 1 }, 1, NULL, NULL),
        QUIRE_MISUSE);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    close_clean(db, budget);

    CHECK_OK(quire_open(p.path, &p.opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        snprintf(key, sizeof(key), "size %zu", i);
        check_value(txn, key, i == 3 ? 5 : i, i == 3 ? 300 : sizes[i]);
    }
    check_value(txn, "great", 77, great);
    CHECK_STATUS(put_from(txn, "great", 1, 1, 0), QUIRE_READONLY);
    quire_abort(txn);
    close_clean(db, budget);
    place_remove(&p);
}

/* Whatever call for memory fails, the value is stored whole or not at all, and
 * nothing is lost. */
static void test_value_without_memory(void **state)
{
    bool fired = true;
    uint64_t nth;

    (void)state;
    for (nth = 1; fired && nth < 1000; nth++) {
        struct mem_disk *disk = mem_disk_create();
        struct quire_options opt = { .size = sizeof(opt),
                                     .flags = QUIRE_NOBACKGROUND,
                                     .budget_bytes = QUIRE_BUDGET_MIN };
        struct quire_txn *txn;
        struct fault fault;
        struct quire *db;
        quire_status rc;

        fault_init(&fault, mem_disk_io(disk), NULL);
        opt.io = &fault.io;
        opt.sys = &fault.sys;
        CHECK_OK(quire_open("large.quire", &opt, &db));
        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        CHECK_OK(put_from(txn, "a", 1, 100, 0));
        fault_arm(&fault, FAULT_MEMORY, nth, ENOMEM, FAULT_ONCE);
        rc = put_from(txn, "a", 2, 600000, 0);
        fired = fault.fired > 0;
        fault_heal(&fault);
        CHECK(rc == QUIRE_OK || (fired && rc == QUIRE_NOMEM));
        check_value(txn, "a", rc == QUIRE_OK ? 2 : 1,
                    rc == QUIRE_OK ? 600000 : 100);
        CHECK_OK(put_from(txn, "a", 3, 300000, 0));
        CHECK_OK(quire_commit(txn, 0, NULL));
        CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
        check_value(txn, "a", 3, 300000);
        quire_abort(txn);
        close_clean(db, QUIRE_BUDGET_MIN);
        CHECK(fault_live_none(&fault));
        fault_fini(&fault);
        mem_disk_destroy(disk);
    }
    CHECK(nth > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction_larger_than_memory),
        cmocka_unit_test(test_value_from_a_function),
        cmocka_unit_test(test_value_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
