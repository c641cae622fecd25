/*
 * test_store_revs.c - a store of many revisions: they are found by number and
 * by time, and what opening the store or a revision reads does not grow with
 * their number. Reads are counted, not timed.
 */
#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "revs.quire"

/* Opening reads the log from the last superblock on and searches the rest of
 * two spans, in pieces of 256 KiB, whatever came before. */
#define OPEN_READS_MAX 200u

struct rig {
    struct mem_disk *disk;
    struct fault fault;
    struct quire_options opt;
    struct quire *db;
};

static void commit_one(struct quire *db, quire_rev rev, unsigned flags)
{
    uint64_t slot = rev % 50;
    const struct quire_val key = { &slot, sizeof(slot) };
    const struct quire_val val = { &rev, sizeof(rev) };
    struct quire_txn *txn;
    quire_rev made = 0;

    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    CHECK_OK(quire_commit(txn, flags, &made));
    CHECK_EQ(made, rev);
}

/* Is this transaction at revision `rev`, with its contents? */
static void check_rev(struct quire_txn *txn, quire_rev rev)
{
    uint64_t slot = rev % 50;
    const struct quire_val key = { &slot, sizeof(slot) };
    struct quire_val val;

    CHECK_EQ(quire_txn_rev(txn), rev);
    if (rev == 0) {
        CHECK_STATUS(quire_get(txn, NULL, &key, &val), QUIRE_NOTFOUND);
        return;
    }
    CHECK_OK(quire_get(txn, NULL, &key, &val));
    CHECK_EQ(val.size, sizeof(rev));
    CHECK_MEM_EQ(val.data, &rev, sizeof(rev));
}

static int64_t time_of(struct quire *db, quire_rev rev)
{
    struct quire_rev_info info = { .size = sizeof(info) };

    CHECK_OK(quire_rev_info(db, rev, &info));
    CHECK_EQ(info.rev, rev);
    return info.time_us;
}

static uint64_t reads(const struct rig *r)
{
    return r->fault.calls[FAULT_PREAD];
}

/* Each revision's time leads to it, or to a later one of the same time. */
static void check_times(struct quire *db, uint64_t *rand, quire_rev newest)
{
    struct quire_txn *txn;

    CHECK_STATUS(quire_begin_at_time(db, time_of(db, 0) - 1, &txn),
                 QUIRE_NOTFOUND);
    CHECK(txn == NULL);
    CHECK_OK(quire_begin_at_time(db, INT64_MAX, &txn));
    check_rev(txn, newest);
    quire_abort(txn);
    for (unsigned i = 0; i < 300; i++) {
        quire_rev rev = i < 2 ? i * newest : test_rand_below(rand, newest + 1);
        int64_t t = time_of(db, rev);
        quire_rev found;

        CHECK_OK(quire_begin_at_time(db, t, &txn));
        found = quire_txn_rev(txn);
        CHECK(found >= rev);
        CHECK_EQ(time_of(db, found), t);
        if (found < newest)
            CHECK(time_of(db, found + 1) > t);
        check_rev(txn, found);
        quire_abort(txn);
    }
}

static void test_many_revisions(void **state)
{
    const quire_rev n = test_rounds(12000);
    uint64_t rand = test_seed();
    struct quire_txn *txn;
    struct rig r;
    uint64_t before;
    int64_t last = 0;

    (void)state;
    memset(&r, 0, sizeof(r));
    r.disk = mem_disk_create();
    fault_init(&r.fault, mem_disk_io(r.disk), NULL);
    r.opt.size = sizeof(r.opt);
    r.opt.flags = QUIRE_NOBACKGROUND;
    r.opt.budget_bytes = (uint64_t)32 << 20;
    r.opt.page_bytes = QUIRE_PAGE_MIN;
    r.opt.io = &r.fault.io;
    CHECK_OK(quire_open(PATH, &r.opt, &r.db));
    for (quire_rev rev = 1; rev <= n; rev++)
        commit_one(r.db, rev, rev % 16 == 0 ? 0 : QUIRE_NOSYNC);
    check_times(r.db, &rand, n);

    /* As it is after a kill, and closed. */
    for (unsigned closed = 0; closed < 2; closed++) {
        struct mem_disk *copy;
        struct rig c = r;

        if (closed == 1)
            CHECK_OK(quire_close(r.db));
        copy = mem_disk_copy(r.disk);
        fault_init(&c.fault, mem_disk_io(copy), NULL);
        c.opt.io = &c.fault.io;
        CHECK_OK(quire_open(PATH, &c.opt, &c.db));
        CHECK(reads(&c) <= OPEN_READS_MAX);
        check_times(c.db, &rand, n);
        for (quire_rev rev = 0; rev <= n; rev++) {
            int64_t t = time_of(c.db, rev);

            CHECK(t >= last);
            last = t;
        }
        last = 0;
        /* The index is in memory now: what is read of a revision is its
         * record. */
        before = reads(&c);
        for (unsigned i = 0; i < 500; i++) {
            CHECK_OK(quire_begin_at(c.db, 1 + test_rand_below(&rand, n), &txn));
            quire_abort(txn);
        }
        CHECK(reads(&c) - before <= 500);
        CHECK_STATUS(quire_begin_at(c.db, n + 1, &txn), QUIRE_NOTFOUND);
        CHECK_OK(quire_close(c.db));
        CHECK(fault_live_none(&c.fault));
        fault_fini(&c.fault);
        mem_disk_destroy(copy);
    }
    CHECK(fault_live_none(&r.fault));
    fault_fini(&r.fault);
    mem_disk_destroy(r.disk);
}

static void test_misuse(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND,
                                 .io = mem_disk_io(disk) };
    struct quire_txn *txn;
    struct quire *db;

    (void)state;
    CHECK_STATUS(quire_begin_at_time(NULL, 0, &txn), QUIRE_MISUSE);
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_STATUS(quire_begin_at_time(db, 0, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_begin_at_time(db, INT64_MAX, &txn));
    check_rev(txn, 0);
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_revisions),
        cmocka_unit_test(test_misuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
