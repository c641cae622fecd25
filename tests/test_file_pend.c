/*
 * Batches that wait for the sync that they share: where they do, who writes
 * them, what a failure means.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>
#include <sched.h>

/* Zeros ahead are on the disk, and the thread has nothing to do. */
static void await_zeros(struct rig *rig)
{
    bool idle = false;

    while (!idle) {
        sched_yield();
        ra_mutex_lock(&rig->file->lock);
        idle = !rig->file->zero_wanted &&
               rig->file->zero_busy_from == rig->file->zero_busy_to;
        ra_mutex_unlock(&rig->file->lock);
    }
}

/* A store whose log has zeros ahead of it, after `n` commits. */
static void start(struct rig *rig, bool background, unsigned n)
{
    rig_init(rig, background);
    rig_start(rig);
    for (unsigned i = 1; i <= n; i++) {
        rig_commit_ok(rig, i);
        if (background)
            await_zeros(rig);
    }
}

static uint64_t written(struct rig *rig)
{
    struct pf_stat st;

    pf_file_stat(rig->file, &st);
    return st.written_bytes;
}

/* A commit whose sync comes later. */
static void commit_shared(struct rig *rig, unsigned npages, size_t val_bytes)
{
    const struct rig_plan plan = { .seed = 1000 + rig->last.rev,
                                   .npages = npages,
                                   .val_bytes = val_bytes,
                                   .nosync = true,
                                   .shared = true };

    CHECK_OK(rig_commit(rig, &plan));
}

static void sync_all(struct rig *rig)
{
    CHECK_OK(pf_sync_to(rig->file, rig->last.rev));
    rig->durable = rig->last.rev;
}

static void check_and_end(struct rig *rig)
{
    quire_rev rev = rig->last.rev;

    rig_check(rig);
    rig_reopen(rig, rev);
    rig_check(rig);
    rig_fini(rig);
}

/* They are written by the sync, with one call. */
static void test_one_write_for_all(void **state)
{
    struct rig rig;
    uint64_t before, calls;

    (void)state;
    start(&rig, true, 1);
    before = written(&rig);
    calls = rig.fault.calls[FAULT_PWRITEV];
    for (unsigned i = 0; i < 3; i++)
        commit_shared(&rig, 1, 20);
    CHECK_EQ(written(&rig), before);
    sync_all(&rig);
    CHECK_EQ(written(&rig), before + 3 * 4096);
    CHECK_EQ(rig.fault.calls[FAULT_PWRITEV], calls + 1);
    /* any sync will do */
    commit_shared(&rig, 1, 20);
    CHECK_OK(pf_sync(rig.file));
    CHECK_EQ(written(&rig), before + 4 * 4096);
    CHECK_EQ(pf_file_durable(rig.file), rig.last.rev);
    check_and_end(&rig);
}

/* A page of theirs can be read at once. */
static void test_reading_what_waits(void **state)
{
    struct rig rig;
    uint64_t before;

    (void)state;
    start(&rig, true, 1);
    before = written(&rig);
    commit_shared(&rig, 2, 30);
    CHECK_EQ(written(&rig), before);
    rig_check(&rig);
    CHECK(written(&rig) > before);
    before = written(&rig);
    sync_all(&rig);
    CHECK_EQ(written(&rig), before);
    check_and_end(&rig);
}

/* Without zeros, or where a batch is longer than the buffer, none waits; one
 * behind others that do changes nothing for them. */
static void test_not_everywhere(void **state)
{
    struct rig rig;
    uint64_t before;

    (void)state;
    start(&rig, false, 1);
    before = written(&rig);
    commit_shared(&rig, 1, 20);
    CHECK_EQ(written(&rig), before + 4096);
    sync_all(&rig);
    check_and_end(&rig);

    start(&rig, true, 40);
    before = written(&rig);
    commit_shared(&rig, 1, 20);
    CHECK_EQ(written(&rig), before);
    commit_shared(&rig, 40, 2000);
    CHECK(written(&rig) > before + (256 << 10));
    commit_shared(&rig, 1, 20);
    sync_all(&rig);
    check_and_end(&rig);
}

/* More than the buffer holds, and over the end of the zeros and of the span. */
static void test_many_wait(void **state)
{
    struct rig rig;

    (void)state;
    start(&rig, true, 60);
    for (unsigned i = 0; i < 300; i++) {
        commit_shared(&rig, 1 + i % 3, 20 + i % 7 * 30);
        if (i % 70 == 69) {
            sync_all(&rig);
            await_zeros(&rig);
        }
    }
    sync_all(&rig);
    check_and_end(&rig);
}

/* What comes behind them in the buffer: a batch that is given up, pages written
 * ahead, an un-synced commit. */
static void test_others_behind_them(void **state)
{
    struct rig_plan plan = {
        .seed = 5, .npages = 1, .nahead = 5, .val_bytes = 900, .nosync = true
    };
    struct rig rig;
    struct pg_ref ref;

    (void)state;
    start(&rig, true, 20);
    commit_shared(&rig, 1, 20);
    CHECK_OK(pf_batch_begin(rig.file, 8192));
    CHECK_OK(rig_page(&rig, pf_batch_add, 3, 0, 20, &ref));
    pf_batch_abort(rig.file);
    commit_shared(&rig, 1, 20);
    CHECK_OK(rig_page(&rig, pf_ahead_add, 3, 0, 20, &ref));
    pf_ahead_abort(rig.file);
    commit_shared(&rig, 1, 20);
    CHECK_OK(rig_commit(&rig, &plan)); /* syncs what is ahead, and so them */
    commit_shared(&rig, 1, 20);
    plan.nahead = 0;
    CHECK_OK(rig_commit(&rig, &plan));
    plan.shared = true;
    CHECK_OK(rig_commit(&rig, &plan));
    sync_all(&rig);
    check_and_end(&rig);
}

/* Their write fails: the commits are undecided, nothing is written any more,
 * and what was durable stays. */
static void test_failing(void **state)
{
    static const int errs[] = { EIO, ENOSPC };

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        const struct rig_plan plan = { .seed = 9, .npages = 1 };
        bool torn = i % 4 / 2 != 0;
        struct rig rig;
        uint64_t seed;

        start(&rig, true, 1);
        commit_shared(&rig, 1, 20);
        commit_shared(&rig, 1, 20);
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, errs[i % 2],
                  torn ? FAULT_TORN : FAULT_ONCE);
        if (i < 4) { /* the sync's, or a reader's */
            CHECK_STATUS(pf_sync_to(rig.file, rig.last.rev), QUIRE_UNDECIDED);
        } else {
            CHECK_STATUS(rig_verify(&rig, &rig.last, &seed), QUIRE_IO);
            CHECK_STATUS(pf_sync_to(rig.file, rig.last.rev), QUIRE_UNDECIDED);
        }
        CHECK_EQ(rig.fault.fired, 1);
        CHECK(pf_file_poisoned(rig.file));
        CHECK_EQ(pf_file_durable(rig.file), 1);
        CHECK_STATUS(rig_verify(&rig, &rig.last, &seed), QUIRE_POISONED);
        CHECK_STATUS(rig_commit(&rig, &plan), QUIRE_POISONED);
        fault_heal(&rig.fault);
        /* torn: half of two batches is the first of them */
        rig_reopen(&rig, torn ? 2 : 1);
        rig_check(&rig);
        rig_commit_ok(&rig, 77);
        check_and_end(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_write_for_all),
        cmocka_unit_test(test_reading_what_waits),
        cmocka_unit_test(test_not_everywhere),
        cmocka_unit_test(test_many_wait),
        cmocka_unit_test(test_others_behind_them),
        cmocka_unit_test(test_failing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
