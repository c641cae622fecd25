/*
 * Writes and syncs that fail: what is poisoned, what is burned, what a later
 * opener finds. And transfers that are merely lazy.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>
#include <stdatomic.h>

static const struct rig_plan small = { .seed = 77,
                                       .npages = 2,
                                       .val_bytes = 50 };

static void test_status_of_errors(void **state)
{
    static const struct {
        const char *name;
        int err;
        quire_status want;
    } cases[] = {
        { "ENOSPC", ENOSPC, QUIRE_NOSPACE },
        { "EDQUOT", EDQUOT, QUIRE_NOSPACE },
        { "EFBIG", EFBIG, QUIRE_NOSPACE },
        { "EACCES", EACCES, QUIRE_PERM },
        { "EPERM", EPERM, QUIRE_PERM },
        { "EROFS", EROFS, QUIRE_PERM },
        { "ENOENT", ENOENT, QUIRE_NOTFOUND },
        { "EEXIST", EEXIST, QUIRE_EXISTS },
        { "EIO", EIO, QUIRE_IO },
        { "ENOMEM", ENOMEM, QUIRE_IO },
        { "ESTALE", ESTALE, QUIRE_IO },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        CHECK_EQ(pf_os_status(cases[i].err), cases[i].want);
    }
}

/* Half transfers and interruptions go unnoticed, from creation on. */
static void test_lazy_transfers(void **state)
{
    const struct rig_plan plan = {
        .seed = 5, .npages = 30, .nahead = 20, .val_bytes = 1000
    };
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    fault_shorten(&rig.fault, true, 3);
    rig_start(&rig);
    for (unsigned i = 0; i < 4; i++) {
        rig_commit_ok(&rig, i);
        CHECK_OK(rig_commit(&rig, &plan));
        CHECK_OK(pf_super_write(rig.file, &rig.last));
        rig_commit_ok(&rig, i);
        rig_reopen(&rig, rig.last.rev);
    }
    rig_check(&rig);
    rig_fini(&rig);
}

/* ---- tables that misbehave ---- */

static ssize_t no_progress_pwritev(void *ctx, void *file,
                                   const struct iovec *iov, int iovcnt,
                                   uint64_t off)
{
    (void)ctx;
    (void)file;
    (void)iov;
    (void)iovcnt;
    (void)off;
    return 0;
}

static ssize_t boasting_pread(void *ctx, void *file, void *buf, size_t nbytes,
                              uint64_t off)
{
    (void)ctx;
    (void)file;
    (void)buf;
    (void)off;
    return (ssize_t)nbytes + 1;
}

/* No endless loop over a transfer of nothing, no faith in one too long. */
static void test_tables_that_lie(void **state)
{
    struct quire_io io;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    rig_close(&rig);

    io = rig.fault.io;
    io.pwritev = no_progress_pwritev;
    rig.env.io = &io;
    CHECK_STATUS(rig_open(&rig, false), QUIRE_IO); /* the tail's rewriting */
    CHECK_OK(rig_open(&rig, true));
    rig_close(&rig);

    io = rig.fault.io;
    io.pread = boasting_pread;
    CHECK_STATUS(rig_open(&rig, false), QUIRE_IO);
    rig.env.io = &rig.fault.io;
    rig_reopen(&rig, 1);
    rig_fini(&rig);
}

/* ---- poisoned ---- */

/* Nothing can be written any more, everything can be read. */
static void check_poisoned(struct rig *rig)
{
    uint64_t writes = rig->fault.calls[FAULT_PWRITEV];
    uint64_t syncs = rig->fault.calls[FAULT_SYNC];
    struct pg_ref ref;

    CHECK(pf_file_poisoned(rig->file));
    CHECK_STATUS(pf_sync(rig->file), QUIRE_POISONED);
    CHECK_STATUS(rig_commit(rig, &small), QUIRE_POISONED);
    CHECK_STATUS(rig_page(rig, pf_ahead_add, 1, 0, 10, &ref), QUIRE_POISONED);
    CHECK_STATUS(pf_ahead_flush(rig->file), QUIRE_POISONED);
    CHECK_STATUS(pf_super_write(rig->file, &rig->last), QUIRE_POISONED);
    pf_ahead_abort(rig->file);
    rig_check(rig);
    CHECK_EQ(rig->fault.calls[FAULT_PWRITEV], writes);
    CHECK_EQ(rig->fault.calls[FAULT_SYNC], syncs);
}

/* A failed sync, once: the commit is undecided, and nothing is written after
 * it. The next opener finds it whole, writes it again and syncs it. */
static void test_failed_sync_poisons(void **state)
{
    struct rig rig;
    uint64_t writes;
    uint64_t syncs;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_SYNC), 1, EIO, FAULT_ONCE);
    CHECK_STATUS(rig_commit(&rig, &small), QUIRE_UNDECIDED);
    check_poisoned(&rig);
    fault_heal(&rig.fault);
    writes = rig.fault.calls[FAULT_PWRITEV];
    syncs = rig.fault.calls[FAULT_SYNC];
    rig_reopen(&rig, 2);
    CHECK_EQ(rig.fault.calls[FAULT_PWRITEV], writes + 1);
    CHECK_EQ(rig.fault.calls[FAULT_SYNC], syncs + 1);
    rig_check(&rig);
    rig_commit_ok(&rig, 3);
    rig_fini(&rig);
}

/* Any write that fails for another reason than space poisons; what the record
 * was in is undecided, what was before it is not. */
static void test_failed_write_poisons(void **state)
{
    static const struct {
        const char *name;
        unsigned nahead;
        unsigned npages;
        size_t val_bytes;
        unsigned nth;
        quire_status want;
    } cases[] = {
        { "the only write of a batch", 0, 1, 10, 1, QUIRE_UNDECIDED },
        { "the first of two", 0, 20, 2000, 1, QUIRE_IO },
        { "the last of two", 0, 20, 2000, 2, QUIRE_UNDECIDED },
        { "written ahead", 2, 1, 10, 1, QUIRE_IO },
        { "the batch behind it", 2, 1, 10, 2, QUIRE_UNDECIDED },
    };
    static const unsigned hows[] = { FAULT_ONCE, FAULT_TORN, FAULT_WHOLE };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases) * 3; i++) {
        const struct rig_plan plan = { .seed = 2,
                                       .npages = cases[i / 3].npages,
                                       .nahead = cases[i / 3].nahead,
                                       .val_bytes = cases[i / 3].val_bytes };
        unsigned how = hows[i % 3];
        bool undecided = cases[i / 3].want == QUIRE_UNDECIDED;
        struct rig rig;

        CHECK_CASE(cases[i / 3].name);
        rig_init(&rig, false);
        rig_start(&rig);
        rig_commit_ok(&rig, 1);
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), cases[i / 3].nth, EIO,
                  how);
        CHECK_STATUS(rig_commit(&rig, &plan), cases[i / 3].want);
        fault_heal(&rig.fault);
        check_poisoned(&rig);
        rig_close(&rig);
        CHECK_OK(rig_open(&rig, false));
        CHECK(rig.last.rev == 1 || (undecided && how != FAULT_ONCE));
        CHECK(rig.last.rev == 2 || !undecided || how != FAULT_WHOLE);
        if (rig.last.rev == 2) { /* undecided, and now decided */
            uint64_t seed;

            CHECK_OK(rig_verify(&rig, &rig.last, &seed));
            CHECK_EQ(seed, 2);
        } else {
            rig_check(&rig);
            rig_commit_ok(&rig, 3);
            rig_check(&rig);
        }
        rig_fini(&rig);
    }
}

/* ---- a full disk ---- */

/*
 * A commit that fails for want of space is gone for good, whatever part of it
 * the disk has: not found by an opener at once, not by one after a clean close,
 * not when it is followed by others. The store goes on.
 */
static void test_full_disk_burns(void **state)
{
    static const unsigned hows[] = { FAULT_ONCE, FAULT_TORN, FAULT_WHOLE };
    enum {
        REOPEN,
        COMMIT,
        COMMIT_TWICE,
        SUPER,
        AGAIN,
        NEXTS
    };

    (void)state;
    for (unsigned i = 0; i < 3 * NEXTS * 2; i++) {
        const struct rig_plan plan = {
            .seed = 66, .npages = 2, .nahead = i % 2 ? 3 : 0, .val_bytes = 300
        };
        unsigned how = hows[i / 2 % 3];
        unsigned next = i / 6;
        struct pf_record before;
        struct rig rig;

        rig_init(&rig, false);
        rig_start(&rig);
        rig_commit_ok(&rig, 1);
        before = rig.last;
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), i % 2 ? 2 : 1, ENOSPC,
                  how);
        CHECK_STATUS(rig_commit(&rig, &plan), QUIRE_NOSPACE);
        CHECK(strstr(quire_error_detail(), "No space") != NULL);
        fault_heal(&rig.fault);
        CHECK(!pf_file_poisoned(rig.file));
        switch (next) {
        case REOPEN:
            rig_reopen(&rig, 1);
            break;
        case AGAIN: /* in the only other place there is */
            fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), i % 2 ? 2 : 1,
                      EDQUOT, how);
            CHECK_STATUS(rig_commit(&rig, &plan), QUIRE_NOSPACE);
            fault_heal(&rig.fault);
            /* fall through */
        case COMMIT:
        case COMMIT_TWICE:
            rig_commit_ok(&rig, 2);
            CHECK_EQ(rig.last.batch_off, before.next_span.off);
            CHECK(rig.last.incarnation > before.incarnation);
            if (next == COMMIT_TWICE)
                rig_commit_ok(&rig, 3);
            break;
        case SUPER:
            CHECK_OK(pf_super_write(rig.file, &rig.last));
            break;
        default:
            break;
        }
        rig_check(&rig);
        rig_reopen(&rig, rig.last.rev);
        rig_check(&rig);
        rig_commit_ok(&rig, 9);
        rig_reopen(&rig, rig.last.rev);
        rig_check(&rig);
        rig_fini(&rig);
    }
}

/*
 * The batch that was given up is whole, and so is the one that took its
 * revision in the next span: the higher incarnation counts. The bytes of the
 * first are put back behind the writer's back, as a disk might.
 */
static void test_two_candidates(void **state)
{
    struct rig rig;
    struct pf_record before;
    uint8_t *lost;
    uint8_t *bytes;
    size_t nbytes;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    before = rig.last;
    rig_close(&rig);
    bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
    lost = malloc(nbytes);
    memcpy(lost, bytes, nbytes);
    rig_reopen(&rig, 1);
    CHECK_OK(rig_commit(&rig, &small)); /* what will be found beside it */
    rig_close(&rig);
    bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
    {
        size_t len = rig.last.batch_end - rig.last.batch_off;
        uint64_t off = rig.last.batch_off;
        uint8_t *batch = malloc(len);

        memcpy(batch, bytes + off, len);
        CHECK_EQ(off, before.batch_end);
        mem_disk_put(rig.disk, RIG_PATH, lost, off);
        rig.last = before;
        rig_reopen(&rig, 1);
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC, FAULT_ONCE);
        CHECK_STATUS(rig_commit(&rig, &small), QUIRE_NOSPACE);
        fault_heal(&rig.fault);
        rig_commit_ok(&rig, 22);
        CHECK_EQ(rig.last.batch_off, before.next_span.off);
        bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        memcpy(bytes + off, batch, len);
        free(batch);
    }
    rig_reopen(&rig, 2);
    CHECK_EQ(rig.last.batch_off, before.next_span.off);
    rig_check(&rig);
    rig_commit_ok(&rig, 3);
    rig_reopen(&rig, 3);
    rig_check(&rig);
    free(lost);
    rig_fini(&rig);
}

/* A superblock that names the newest record keeps out what was given up behind
 * it, should the disk have it after all (PF-8). */
static void test_superblock_keeps_given_up_out(void **state)
{
    struct rig rig;
    struct pf_record before;
    uint8_t batch[4096];
    uint8_t *bytes;
    size_t nbytes;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    before = rig.last;
    /* The commit as it would be, from a copy of the store. */
    {
        struct mem_disk *copy;

        rig_close(&rig);
        copy = mem_disk_copy(rig.disk);
        rig_reopen(&rig, 1);
        CHECK_OK(rig_commit(&rig, &small));
        CHECK_EQ(rig.last.batch_end - rig.last.batch_off, sizeof(batch));
        bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        memcpy(batch, bytes + rig.last.batch_off, sizeof(batch));
        rig_close(&rig);
        bytes = mem_disk_bytes(copy, RIG_PATH, &nbytes);
        mem_disk_put(rig.disk, RIG_PATH, bytes, nbytes);
        mem_disk_destroy(copy);
    }
    rig_reopen(&rig, 1);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC, FAULT_ONCE);
    CHECK_STATUS(rig_commit(&rig, &small), QUIRE_NOSPACE);
    fault_heal(&rig.fault);
    CHECK_OK(pf_super_write(rig.file, &rig.last));
    rig_close(&rig);
    bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
    memcpy(bytes + before.batch_end, batch, sizeof(batch));
    CHECK_OK(rig_open(&rig, false));
    CHECK_EQ(rig.last.rev, 1);
    rig_fini(&rig);
}

/* But one that names an older record does not keep out those after it. */
static void test_older_superblock_keeps_nothing_out(void **state)
{
    struct rig rig;
    struct pf_record first;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    first = rig.last;
    rig_commit_ok(&rig, 2);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC, FAULT_ONCE);
    CHECK_STATUS(rig_commit(&rig, &small), QUIRE_NOSPACE);
    fault_heal(&rig.fault);
    CHECK_OK(pf_super_write(rig.file, &first));
    rig_reopen(&rig, 2);
    CHECK_EQ(rig.first, 1);
    rig_check(&rig);
    rig_fini(&rig);
}

/* Where a batch that was given up could not be made unreadable, what it refers
 * to is not written over. */
static void test_failed_kill_keeps_spans(void **state)
{
    const struct rig_plan plan = { .seed = 1, .nahead = 2, .val_bytes = 10 };
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 2, ENOSPC,
                  sticky != 0 ? FAULT_STICKY : FAULT_ONCE);
        CHECK_STATUS(rig_commit(&rig, &plan), QUIRE_NOSPACE);
        fault_heal(&rig.fault);
        CHECK_EQ(rig.file->nfree_spans, sticky != 0 ? 0 : 1);
    }
    rig_commit_ok(&rig, 1);
    rig_reopen(&rig, 1);
    rig_fini(&rig);
}

static _Atomic unsigned writes_left; /* until they fail; for the next */

/* The fault layer's, after so many writes of EIO. */
static ssize_t broken_pwritev(void *ctx, void *file, const struct iovec *iov,
                              int iovcnt, uint64_t off)
{
    const struct fault *f = ctx;

    if (writes_left == 0)
        return -EIO;
    writes_left--;
    return f->io.pwritev(ctx, file, iov, iovcnt, off);
}

/* A full disk, and then it cannot be written at all: whether the batch that was
 * given up is whole can't be known, and so nothing may follow it. */
static void test_kill_that_fails_poisons(void **state)
{
    struct quire_io io;
    struct rig rig;
    uint64_t seed;

    (void)state;
    rig_init(&rig, false);
    io = rig.fault.io;
    io.pwritev = broken_pwritev;
    rig.env.io = &io;
    writes_left = 100;
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC,
              FAULT_ONCE | FAULT_WHOLE);
    writes_left = 1;
    CHECK(rig_commit(&rig, &small) != QUIRE_OK);
    fault_heal(&rig.fault);
    writes_left = 100;
    check_poisoned(&rig);
    rig_reopen(&rig, 2); /* it was */
    CHECK_OK(rig_verify(&rig, &rig.last, &seed));
    CHECK_EQ(seed, small.seed);
    rig_fini(&rig);
}

/* What was buffered when a write ahead failed is lost, so the transaction can
 * only be aborted. */
static void test_failed_write_ahead_ends_transaction(void **state)
{
    struct rig rig;
    struct pg_ref ref;
    quire_status rc;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC, FAULT_ONCE);
    do {
        rc = rig_page(&rig, pf_ahead_add, 1, 0, 9000, &ref);
    } while (rc == QUIRE_OK);
    CHECK_STATUS(rc, QUIRE_NOSPACE);
    fault_heal(&rig.fault);
    CHECK_STATUS(rig_page(&rig, pf_ahead_add, 1, 0, 9, &ref), QUIRE_NOSPACE);
    CHECK_STATUS(pf_ahead_flush(rig.file), QUIRE_NOSPACE);
    CHECK_STATUS(pf_batch_begin(rig.file, 100), QUIRE_NOSPACE);
    pf_ahead_abort(rig.file);
    rig_commit_ok(&rig, 1);
    rig_check(&rig);
    rig_fini(&rig);
}

/* A disk with a limit: commits fail, room is made, commits work. */
static void test_disk_fills_and_is_enlarged(void **state)
{
    struct rig rig;
    struct pf_stat st;
    uint64_t limit;
    unsigned nfull = 0;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    pf_file_stat(rig.file, &st);
    limit = st.file_bytes + 20000;
    for (unsigned i = 0; i < 60; i++) {
        const struct rig_plan plan = {
            .seed = i, .npages = i % 7, .nahead = i % 3, .val_bytes = 20 * i
        };
        quire_status rc;

        mem_disk_limit(rig.disk, limit);
        rc = rig_commit(&rig, &plan);
        if (rc == QUIRE_NOSPACE) {
            nfull++;
            limit += 50000;
        } else {
            CHECK_OK(rc);
        }
        rig_check(&rig);
        if (i % 10 == 9)
            rig_reopen(&rig, rig.last.rev);
    }
    CHECK(nfull > 5);
    CHECK(!pf_file_poisoned(rig.file));
    rig_fini(&rig);
}

/* ---- every call ---- */

/* A little of everything. What was acknowledged is in the rig. */
static void everything(struct rig *rig)
{
    static const struct rig_plan plans[] = {
        { .seed = 21, .npages = 1, .val_bytes = 10 },
        { .seed = 22, .npages = 2, .nahead = 3, .val_bytes = 200 },
        { .seed = 23, .npages = 1, .val_bytes = 10, .nosync = true },
        { .seed = 24, .npages = 20, .val_bytes = 2000 },
    };

    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        if (rig_commit(rig, &plans[i]) == QUIRE_OK &&
            rig->durable == rig->last.rev)
            (void)!pf_super_write(rig->file, &rig->last);
}

/*
 * Fail each call of opening and working in turn. Whatever fails, nothing is
 * held, and the next opener finds what was acknowledged, and at most the one
 * attempt more that was undecided.
 */
static void test_each_call_fails(void **state)
{
    static const struct {
        const char *name;
        unsigned kinds;
        int err;
        unsigned how;
    } cases[] = {
        { "I/O errors", FAULT_IO, EIO, FAULT_ONCE },
        { "I/O errors that stay", FAULT_IO, EIO, FAULT_STICKY | FAULT_TORN },
        { "writes that happen", FAULT_WRITES, EIO, FAULT_WHOLE },
        { "full disk", FAULT_WRITES, ENOSPC, FAULT_TORN },
        { "full disk that stays", FAULT_WRITES, ENOSPC, FAULT_STICKY },
        { "full disk, written", FAULT_WRITES, ENOSPC, FAULT_WHOLE },
        { "no memory", FAULT_MEMORY, ENOMEM, FAULT_ONCE },
        { "no memory any more", FAULT_MEMORY, ENOMEM, FAULT_STICKY },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool fired = true;

        CHECK_CASE(cases[i].name);
        for (uint64_t nth = 1; fired; nth++) {
            quire_rev written = 1;
            quire_rev acked;
            uint64_t seed;
            struct rig rig;

            rig_init(&rig, false);
            rig_start(&rig);
            rig_commit_ok(&rig, 1);
            rig_close(&rig);
            fault_arm(&rig.fault, cases[i].kinds, nth, cases[i].err,
                      cases[i].how);
            if (rig_open(&rig, false) == QUIRE_OK)
                everything(&rig);
            rig_close(&rig);
            fired = rig.fault.fired != 0;
            fault_heal(&rig.fault);
            acked = rig.durable;
            while (rig.seed[written + 1] != 0)
                written++;
            CHECK_OK(rig_open(&rig, false));
            CHECK(rig.last.rev >= acked);
            CHECK(rig.last.rev <= written + 1);
            if (!fired || cases[i].err == ENOSPC) /* nothing is undecided */
                CHECK_EQ(rig.last.rev, written);
            if (rig.last.rev <= written)
                rig_check(&rig);
            CHECK_OK(rig_verify(&rig, &rig.last, &seed));
            rig_commit_ok(&rig, 99);
            rig_fini(&rig);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_of_errors),
        cmocka_unit_test(test_lazy_transfers),
        cmocka_unit_test(test_tables_that_lie),
        cmocka_unit_test(test_failed_sync_poisons),
        cmocka_unit_test(test_failed_write_poisons),
        cmocka_unit_test(test_full_disk_burns),
        cmocka_unit_test(test_two_candidates),
        cmocka_unit_test(test_superblock_keeps_given_up_out),
        cmocka_unit_test(test_older_superblock_keeps_nothing_out),
        cmocka_unit_test(test_failed_kill_keeps_spans),
        cmocka_unit_test(test_kill_that_fails_poisons),
        cmocka_unit_test(test_failed_write_ahead_ends_transaction),
        cmocka_unit_test(test_disk_fills_and_is_enlarged),
        cmocka_unit_test(test_each_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
