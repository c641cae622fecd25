/*
 * test_store_row.c - point reads when memory is smaller than the data: rows
 * save loads, and no read of any revision is ever answered by the wrong one.
 *
 * A record's value follows from its number and version, and a table says which
 * version each revision has, 0 for none. Reads take every way there is.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "db"
#define VALUE_MAX 300u
#define REVS 12u

struct rig {
    struct mem_disk *disk;
    struct quire_options opt;
    struct quire *db;
    uint64_t n;          /* records */
    uint64_t rand;       /* owner thread */
    uint16_t *version;   /* [REVS + 1][n]; rows of revisions not yet written are
                            not looked at */
    quire_rev rev[REVS]; /* numbers of the revisions */
    unsigned nrevs;
};

static struct quire_val key_of(uint64_t i, char buf[32])
{
    int len = snprintf(
        buf, 32, "%016llu",
        (unsigned long long)(i * UINT64_C(11400714819323198485)) %
            10000000000000000);

    return (struct quire_val){ buf, (size_t)len };
}

static struct quire_val value_of(uint64_t i, unsigned version,
                                 uint8_t buf[VALUE_MAX])
{
    uint64_t x = i * 64 + version;
    size_t len = 60 + test_rand(&x) % (VALUE_MAX - 60);

    if (version % 7 == 3)
        len = i % 8; /* short ones, and none at all */
    for (size_t at = 0; at < len; at++)
        buf[at] = (uint8_t)(test_rand(&x) >> 56);
    return (struct quire_val){ buf, len };
}

static uint16_t *version_at(struct rig *r, unsigned rev, uint64_t i)
{
    return &r->version[(uint64_t)rev * r->n + i];
}

/* Read record `i` in one of the ways there are: `version`, or 0: it is not
 * there. `damaged`: it may be unreadable, but not another. Returns whether it
 * was read. */
static bool read_one(struct quire_txn *txn, uint64_t i, unsigned version,
                     uint64_t way, bool damaged)
{
    uint8_t want_buf[VALUE_MAX];
    uint8_t buf[VALUE_MAX];
    char kbuf[32];
    struct quire_val key = key_of(i, kbuf);
    struct quire_val want = value_of(i, version, want_buf);
    struct quire_val got = { NULL, 0 };
    quire_status rc;

    if (way % 3 == 0) {
        rc = quire_get(txn, NULL, &key, &got);
    } else if (way % 3 == 1) {
        uint64_t off = way % 5 * 20;
        size_t cap = way % 7 * 50;
        uint64_t size = 0;

        memset(buf, 0xee, sizeof(buf));
        rc = quire_read(txn, NULL, &key, off, buf, cap, &size);
        if (rc == QUIRE_OK) {
            CHECK_EQ(size, want.size);
            for (size_t at = 0; at < sizeof(buf); at++)
                CHECK_EQ(buf[at], at < cap && off + at < want.size
                                      ? want_buf[off + at]
                                      : 0xee);
            got = want;
        }
    } else {
        struct quire_lookup l[3];
        uint8_t rest[2][VALUE_MAX];

        memset(l, 0, sizeof(l));
        for (unsigned k = 0; k < 3; k++) {
            l[k].key = key; /* the same, three times over */
            l[k].buf = k == 0 ? buf : rest[k - 1];
            l[k].cap = VALUE_MAX;
        }
        rc = quire_get_many(txn, NULL, l, 3);
        if (rc == QUIRE_OK) {
            rc = l[0].status;
            CHECK_EQ(l[1].status, rc);
            CHECK_EQ(l[2].status, rc);
            if (rc == QUIRE_OK) {
                CHECK_EQ(l[1].size, l[0].size);
                CHECK_MEM_EQ(rest[0], buf, l[0].size);
                CHECK_MEM_EQ(rest[1], buf, l[0].size);
            }
            got = (struct quire_val){ buf, l[0].size };
        }
    }
    if (damaged && rc == QUIRE_CORRUPT)
        return false;
    if (version == 0) {
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
        return true;
    }
    CHECK_OK(rc);
    CHECK_EQ(got.size, want.size);
    if (got.size > 0)
        CHECK_MEM_EQ(got.data, want.data, want.size);
    return true;
}

/* One that is asked for often, or any. */
static uint64_t draw(struct rig *r, uint64_t *rand)
{
    if (test_rand_below(rand, 4) > 0)
        return test_rand_below(rand, 300) * (r->n / 300);
    return test_rand_below(rand, r->n);
}

static struct quire_stat stat_of(struct rig *r)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK(st.pool.resident_peak_bytes <= r->opt.budget_bytes);
    return st;
}

/* Change record `i` in `txn`: to the next version, or delete it. */
static void change(struct rig *r, struct quire_txn *txn, uint64_t i,
                   unsigned version)
{
    uint8_t buf[VALUE_MAX];
    char kbuf[32];
    struct quire_val key = key_of(i, kbuf);
    struct quire_val val = value_of(i, version, buf);

    (void)r;
    if (version == 0) {
        quire_status rc = quire_del(txn, NULL, &key);

        CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
    } else {
        CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    }
}

/* A revision in which some are another version; what was read before, and is
 * read meanwhile, stays right. */
static void revision(struct rig *r, uint64_t nchanges)
{
    uint16_t *was = version_at(r, r->nrevs - 1, 0);
    uint16_t *is = version_at(r, r->nrevs, 0);
    struct quire_txn *txn;

    memcpy(is, was, r->n * sizeof(*is));
    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
    for (uint64_t k = 0; k < nchanges; k++) {
        uint64_t i = draw(r, &r->rand);

        is[i] = test_rand_below(&r->rand, 6) == 0
                    ? 0
                    : (uint16_t)(r->nrevs * 5 + 2);
        change(r, txn, i, is[i]);
        i = draw(r, &r->rand);
        read_one(txn, i, is[i], test_rand(&r->rand), false);
    }
    CHECK_OK(quire_commit(txn, 0, &r->rev[r->nrevs]));
    r->nrevs++;
}

/* One that changes much, is written ahead for the most part, and is given up:
 * its spans are used again. */
static void given_up(struct rig *r, bool savepoint)
{
    quire_savepoint sp = 0;
    struct quire_txn *txn;
    uint64_t before = stat_of(r).pages_ahead;

    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
    if (savepoint)
        CHECK_OK(quire_savepoint_set(txn, &sp));
    for (uint64_t i = 0; i < r->n; i++) {
        uint64_t at = test_rand_below(&r->rand, r->n);

        change(r, txn, at, 63);
        if (i % 4 == 0) /* through pages that this transaction wrote */
            read_one(txn, at, 63, test_rand(&r->rand), false);
    }
    CHECK(stat_of(r).pages_ahead > before);
    if (savepoint) {
        CHECK_OK(quire_savepoint_rollback(txn, sp));
        for (uint64_t i = 0; i < 2000; i++) {
            uint64_t at = draw(r, &r->rand);

            read_one(txn, at, *version_at(r, r->nrevs - 1, at),
                     test_rand(&r->rand), false);
        }
    }
    quire_abort(txn);
}

static void reads(struct rig *r, uint64_t n)
{
    for (uint64_t k = 0; k < n;) {
        unsigned rev = (unsigned)test_rand_below(&r->rand, r->nrevs);
        struct quire_txn *txn;

        CHECK_OK(quire_begin_at(r->db, r->rev[rev], &txn));
        for (unsigned j = 0; j < 50 && k < n; j++, k++) {
            uint64_t i = draw(r, &r->rand);

            read_one(txn, i, *version_at(r, rev, i), test_rand(&r->rand),
                     false);
        }
        quire_abort(txn);
    }
}

static void rig_open(struct rig *r)
{
    CHECK_OK(quire_open(PATH, &r->opt, &r->db));
}

static void rig_close(struct rig *r)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(r->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK(report.resident_peak_bytes <= r->opt.budget_bytes);
}

/* `n` records; all but every 16th are in the first revision. */
static void rig_init(struct rig *r, uint32_t page_bytes, uint64_t n,
                     unsigned flags)
{
    struct quire_txn *txn;

    memset(r, 0, sizeof(*r));
    r->rand = test_seed();
    r->n = n / 300 * 300;
    r->version = calloc((REVS + 1) * r->n, sizeof(*r->version));
    CHECK(r->version != NULL);
    r->disk = mem_disk_create();
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = page_bytes,
        .flags = flags,
        .io = mem_disk_io(r->disk),
    };
    rig_open(r);
    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &txn));
    for (uint64_t i = 0; i < r->n; i++) {
        *version_at(r, 0, i) = i % 16 == 15 ? 0 : 1;
        if (i % 16 != 15)
            change(r, txn, i, 1);
    }
    CHECK_OK(quire_commit(txn, 0, &r->rev[0]));
    r->nrevs = 1;
}

static void rig_fini(struct rig *r)
{
    rig_close(r);
    mem_disk_destroy(r->disk);
    free(r->version);
}

/* A fraction of the loads that there would be without rows. */
static void test_hot_records_need_no_load(void **state)
{
    enum {
        HOT = 1500 /* in as many leaves, or nearly: three times the budget */
    };
    struct quire_cache_stat before;
    struct quire_cache_stat st;
    struct quire_txn *txn;
    struct rig r;

    (void)state;
    rig_init(&r, 0, 150000, 0);
    for (unsigned round = 0; round < 8; round++) {
        before = stat_of(&r).cache;
        CHECK_OK(quire_begin(r.db, QUIRE_READ, &txn));
        for (uint64_t k = 0; k < HOT; k++) {
            uint64_t i = k * (r.n / HOT);

            read_one(txn, i, *version_at(&r, 0, i), k + round, false);
        }
        quire_abort(txn);
    }
    st = stat_of(&r).cache;
    CHECK(st.rows > HOT / 2);
    CHECK(st.row_bytes > 0);
    CHECK(st.row_bytes <= r.opt.budget_bytes * 3 / 8);
    CHECK(st.row_hits - before.row_hits > HOT / 2);
    CHECK(st.loads - before.loads < HOT / 4);
    rig_fini(&r);
}

/* Where all has its place there are no rows. */
static void test_no_rows_in_memory(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 0, 9000, 0);
    rig_close(&r);
    rig_open(&r);
    for (unsigned i = 0; i < 3; i++)
        reads(&r, 20000);
    CHECK_EQ(stat_of(&r).cache.rows, 0);
    CHECK_EQ(stat_of(&r).cache.row_bytes, 0);
    rig_fini(&r);
}

static void histories(uint32_t page_bytes, unsigned flags)
{
    uint64_t n = 15000 + test_rounds(20000); /* more than memory holds */
    struct rig r;

    rig_init(&r, page_bytes, n, flags);
    for (unsigned rev = 1; rev < REVS; rev++) {
        revision(&r, n / 100);
        reads(&r, n / 10);
        if (rev % 4 == 1)
            given_up(&r, rev % 8 == 1);
        if (rev % 4 == 1)
            reads(&r, n / 10);
        if (rev % 4 == 3) {
            rig_close(&r);
            rig_open(&r);
        }
    }
    reads(&r, n / 2);
    if (n > 30000) {
        CHECK(stat_of(&r).cache.row_hits > n / 40);
        CHECK(stat_of(&r).cache.rows > 100);
    }
    CHECK_OK(quire_verify(r.db, NULL, NULL, NULL));
    rig_fini(&r);
}

static void test_histories(void **state)
{
    (void)state;
    histories(0, 0);
}

static void test_histories_of_small_pages(void **state)
{
    (void)state;
    histories(QUIRE_PAGE_MIN, QUIRE_NOBACKGROUND);
}

/* Records with labels and large values beside others. */
static void test_labels_and_large_values(void **state)
{
    static uint8_t large[40000];
    uint64_t n = test_rounds(40000);
    struct quire_txn *txn;
    struct rig r;

    (void)state;
    memset(large, 'x', sizeof(large));
    rig_init(&r, 0, n, 0);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    for (uint64_t i = 0; i < r.n; i += 100) {
        uint8_t buf[VALUE_MAX];
        char kbuf[32];
        struct quire_val key = key_of(i, kbuf);
        struct quire_val val = value_of(i, 1, buf);
        struct quire_val label = { kbuf, 5 };

        if (i % 200 == 0)
            CHECK_OK(quire_put_labeled(txn, NULL, &key, &val, &label, 0));
        else
            val = (struct quire_val){ large, sizeof(large) - i % 1000 };
        if (i % 200 != 0)
            CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    for (unsigned round = 0; round < 4; round++) {
        CHECK_OK(quire_begin(r.db, QUIRE_READ, &txn));
        for (uint64_t i = 0; i < r.n; i += 100) {
            char kbuf[32];
            char label[8];
            size_t label_size = 9;
            uint64_t size = 0;
            struct quire_val key = key_of(i, kbuf);

            if (i % 200 == 0) {
                read_one(txn, i, 1, i / 100 + round, false);
                CHECK_OK(quire_get_label(txn, NULL, &key, label, sizeof(label),
                                         &label_size));
                CHECK_EQ(label_size, 5);
                CHECK_MEM_EQ(label, kbuf, 5);
            } else {
                CHECK_OK(quire_read(txn, NULL, &key, 39000 - i % 1000, label, 1,
                                    &size));
                CHECK_EQ(size, sizeof(large) - i % 1000);
                CHECK_EQ(label[0], 'x');
            }
        }
        quire_abort(txn);
    }
    rig_fini(&r);
}

/*
 * Bytes of the file change under an open store. What was read may go on being
 * read, as it could be from a page in memory; nothing is ever wrong, and who
 * verifies is told.
 */
static void test_damage(void **state)
{
    uint64_t n = 30000 + test_rounds(30000);
    uint64_t unread = 0;
    uint64_t read = 0;
    struct quire_txn *txn;
    uint8_t *bytes;
    size_t nbytes;
    struct rig r;

    (void)state;
    rig_init(&r, 0, n, QUIRE_NOBACKGROUND);
    reads(&r, n);
    bytes = mem_disk_bytes(r.disk, PATH, &nbytes);
    for (size_t at = 64 << 10; at < nbytes; at += 4096 * 5)
        bytes[at + test_rand_below(&r.rand, 4096)] ^= 0x40;
    for (unsigned again = 0; again < 2; again++) {
        quire_status rc = QUIRE_OK;

        CHECK_OK(quire_begin(r.db, QUIRE_READ, &txn));
        for (uint64_t k = 0; k < n; k++) {
            uint64_t i = draw(&r, &r.rand);

            if (read_one(txn, i, *version_at(&r, 0, i), test_rand(&r.rand),
                         true))
                read++;
            else
                unread++;
        }
        quire_abort(txn);
        rc = quire_verify(r.db, NULL, NULL, NULL);
        CHECK_STATUS(rc, QUIRE_CORRUPT);
    }
    CHECK(read > 0);
    CHECK(unread > 0);
    rig_fini(&r);
}

/* ---- threads ---- */

struct reader {
    struct rig *r;
    uint64_t rand;
    _Atomic unsigned *nrevs; /* that are written */
    uint64_t n;
    pthread_t thread;
};

static void *reader_main(void *arg)
{
    struct reader *t = arg;

    for (uint64_t k = 0; k < t->n;) {
        unsigned rev = (unsigned)test_rand_below(&t->rand,
                                                 atomic_load(t->nrevs));
        struct quire_txn *txn;

        CHECK_OK(quire_begin_at(t->r->db, t->r->rev[rev], &txn));
        for (unsigned j = 0; j < 30; j++, k++) {
            uint64_t i = draw(t->r, &t->rand);

            read_one(txn, i, *version_at(t->r, rev, i), test_rand(&t->rand),
                     false);
        }
        quire_abort(txn);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct reader readers[3];
    _Atomic unsigned nrevs;
    struct rig r;

    (void)state;
    rig_init(&r, 0, 15000 + test_rounds(20000), 0);
    atomic_init(&nrevs, 1);
    for (unsigned i = 0; i < ARRAY_LEN(readers); i++) {
        readers[i] = (struct reader){ .r = &r,
                                      .rand = r.rand + i,
                                      .nrevs = &nrevs,
                                      .n = test_rounds(30000) };
        CHECK_EQ(
            pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]),
            0);
    }
    while (r.nrevs < REVS) {
        revision(&r, r.n / 100);
        atomic_store(&nrevs, r.nrevs);
        if (r.nrevs == 5)
            given_up(&r, false);
    }
    for (unsigned i = 0; i < ARRAY_LEN(readers); i++)
        CHECK_EQ(pthread_join(readers[i].thread, NULL), 0);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hot_records_need_no_load),
        cmocka_unit_test(test_no_rows_in_memory),
        cmocka_unit_test(test_histories),
        cmocka_unit_test(test_histories_of_small_pages),
        cmocka_unit_test(test_labels_and_large_values),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
