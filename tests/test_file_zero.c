/*
 * Zeros ahead of the log, written by a thread beside the writer; syncs and
 * loads from other threads at the same time.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

static uint64_t zeroed(struct rig *rig)
{
    struct pf_stat st;

    pf_file_stat(rig->file, &st);
    return st.zeroed_bytes;
}

/* The thread has nothing to do and is not at work. */
static bool idle(struct pf_file *file)
{
    bool yes;

    ra_mutex_lock(&file->lock);
    yes = file->zero_thread == NULL ||
          (!file->zero_wanted && file->zero_busy_from == file->zero_busy_to);
    ra_mutex_unlock(&file->lock);
    return yes;
}

static void await_idle(struct rig *rig)
{
    while (!idle(rig->file))
        sched_yield();
}

/* The zeros lie where the next commits go, in growing steps; a small store
 * stays small; without background threads there are none. */
static void test_zeros_are_ahead(void **state)
{
    (void)state;
    for (int background = 0; background < 2; background++) {
        struct rig rig;
        struct pf_stat st;
        uint64_t first = 64 << 10;

        rig_init(&rig, background);
        rig_start(&rig);
        CHECK_EQ(zeroed(&rig), 0); /* opening alone writes nothing */
        for (unsigned i = 1; i <= 5; i++) {
            rig_commit_ok(&rig, i);
            await_idle(&rig);
        }
        CHECK_EQ(zeroed(&rig), background ? first : 0);
        pf_file_stat(rig.file, &st);
        CHECK_EQ(st.file_bytes,
                 background ? 4 * 4096 + first : 3 * 4096 + 5 * 4096);
        CHECK_EQ(st.log_off, 8 * 4096);
        for (unsigned i = 6; i <= 60; i++) {
            rig_commit_ok(&rig, i);
            await_idle(&rig);
        }
        CHECK_EQ(zeroed(&rig) >= 3 * first, background);
        CHECK(zeroed(&rig) <= 7 * first);
        rig_check(&rig);
        rig_reopen(&rig, 60);
        rig_check(&rig);
        rig_fini(&rig);
    }
}

/* A commit into zeros that are there: one write, one sync, and the file does
 * not grow. */
static void test_commit_into_zeros(void **state)
{
    struct rig rig;
    struct pf_stat before;
    struct pf_stat after;

    (void)state;
    rig_init(&rig, true);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    await_idle(&rig);
    pf_file_stat(rig.file, &before);
    rig_commit_ok(&rig, 2);
    pf_file_stat(rig.file, &after);
    CHECK_EQ(after.file_bytes, before.file_bytes);
    CHECK_EQ(after.written_bytes, before.written_bytes + 4096);
    CHECK_EQ(after.syncs, before.syncs + 1);
    rig_fini(&rig);
}

/* Nor do commits that nobody syncs: they gain nothing by zeros. */
static void test_unsynced_batches_do_not_wake(void **state)
{
    const struct rig_plan plan = {
        .seed = 1, .npages = 1, .val_bytes = 20, .nosync = true
    };
    struct rig rig;

    (void)state;
    rig_init(&rig, true);
    rig_start(&rig);
    for (unsigned i = 0; i < 40; i++)
        CHECK_OK(rig_commit(&rig, &plan));
    await_idle(&rig);
    CHECK_EQ(zeroed(&rig), 0);
    rig_commit_ok(&rig, 7);
    await_idle(&rig);
    CHECK_EQ(zeroed(&rig), 64 << 10);
    rig_check(&rig);
    rig_fini(&rig);
}

/* Great batches do not wake the thread. */
static void test_great_batches_do_not_wake(void **state)
{
    const struct rig_plan plan = { .seed = 1, .npages = 60, .val_bytes = 900 };
    struct rig rig;

    (void)state;
    rig_init(&rig, true);
    rig_start(&rig);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(rig_commit(&rig, &plan));
        await_idle(&rig);
    }
    CHECK_EQ(zeroed(&rig), 0);
    rig_commit_ok(&rig, 7);
    await_idle(&rig);
    CHECK_EQ(zeroed(&rig), 64 << 10);
    rig_check(&rig);
    rig_fini(&rig);
}

/* ---- two writers, never in one block (PF-9) ---- */

struct watch {
    struct quire_io io;
    const struct quire_io *inner;
    pthread_mutex_t lock;
    struct {
        uint64_t from;
        uint64_t to;
    } busy[4];     /* under lock; from == to: free */
    uint64_t nmet; /* writes that found another at work; under lock */
};

static ssize_t watch_pwritev(void *ctx, void *file, const struct iovec *iov,
                             int iovcnt, uint64_t off)
{
    struct watch *w = ctx;
    uint64_t to = off;
    unsigned mine = 4;
    ssize_t n;

    for (int i = 0; i < iovcnt; i++)
        to += iov[i].iov_len;
    pthread_mutex_lock(&w->lock);
    for (unsigned i = 0; i < 4; i++) {
        if (w->busy[i].from == w->busy[i].to) {
            mine = i;
            continue;
        }
        w->nmet++;
        CHECK(to <= w->busy[i].from || off >= w->busy[i].to);
    }
    CHECK(mine < 4);
    w->busy[mine].from = off;
    w->busy[mine].to = to;
    pthread_mutex_unlock(&w->lock);
    sched_yield();
    n = w->inner->pwritev(w->inner->ctx, file, iov, iovcnt, off);
    pthread_mutex_lock(&w->lock);
    w->busy[mine].from = 0;
    w->busy[mine].to = 0;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static ssize_t watch_pread(void *ctx, void *file, void *buf, size_t n,
                           uint64_t off)
{
    struct watch *w = ctx;

    return w->inner->pread(w->inner->ctx, file, buf, n, off);
}

static int watch_open(void *ctx, const char *path, unsigned flags,
                      unsigned mode, void **file)
{
    struct watch *w = ctx;

    return w->inner->open(w->inner->ctx, path, flags, mode, file);
}

static int watch_sync(void *ctx, void *file)
{
    struct watch *w = ctx;

    return w->inner->sync(w->inner->ctx, file);
}

static int watch_get_size(void *ctx, void *file, uint64_t *n)
{
    struct watch *w = ctx;

    return w->inner->get_size(w->inner->ctx, file, n);
}

static int watch_lock(void *ctx, void *file, bool exclusive)
{
    struct watch *w = ctx;

    return w->inner->lock(w->inner->ctx, file, exclusive);
}

static void watch_close(void *ctx, void *file)
{
    struct watch *w = ctx;

    w->inner->close(w->inner->ctx, file);
}

/* What others do meanwhile. */
struct others {
    struct rig *rig;
    struct pf_record rec; /* immutable: a durable revision */
    _Atomic bool stop;
};

static void *sync_run(void *arg)
{
    struct others *o = arg;

    while (!atomic_load(&o->stop)) {
        struct pf_stat st;

        CHECK_OK(pf_sync(o->rig->file));
        pf_file_stat(o->rig->file, &st);
        CHECK(st.log_off >= o->rec.batch_end);
        sched_yield();
    }
    return NULL;
}

static void *load_run(void *arg)
{
    struct others *o = arg;

    while (!atomic_load(&o->stop)) {
        struct pf_record rec;
        uint64_t seed = 0;

        CHECK_OK(
            pf_record_read(o->rig->file, o->rec.id, o->rec.stored_len, &rec));
        CHECK_OK(rig_verify(o->rig, &rec, &seed));
        CHECK_EQ(seed, 1000);
        sched_yield();
    }
    return NULL;
}

static void test_threads_share_the_file(void **state)
{
    const struct rig_plan base = {
        .seed = 1000, .npages = 3, .nahead = 2, .val_bytes = 200
    };
    uint64_t rand = test_seed();
    uint64_t nrounds = test_rounds(450);
    pthread_t threads[2];
    struct others o;
    struct watch w;
    struct rig rig;

    (void)state;
    memset(&w, 0, sizeof(w));
    rig_init(&rig, true);
    pthread_mutex_init(&w.lock, NULL);
    w.inner = &rig.fault.io;
    w.io = rig.fault.io;
    w.io.ctx = &w;
    w.io.pread_once = NULL;
    w.io.read_ahead = NULL;
    w.io.open = watch_open;
    w.io.pread = watch_pread;
    w.io.pread_once = NULL; /* they would get our ctx */
    w.io.read_ahead = NULL;
    w.io.pwritev = watch_pwritev;
    w.io.sync = watch_sync;
    w.io.get_size = watch_get_size;
    w.io.lock = watch_lock;
    w.io.close = watch_close;
    CHECK_OK(rig_create(&rig));
    rig.env.io = &w.io;
    CHECK_OK(rig_open(&rig, false));
    CHECK_OK(rig_commit(&rig, &base));
    memset(&o, 0, sizeof(o));
    o.rig = &rig;
    o.rec = rig.last;
    CHECK_EQ(pthread_create(&threads[0], NULL, sync_run, &o), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, load_run, &o), 0);
    for (uint64_t i = 0; i < nrounds; i++) {
        const struct rig_plan plan = {
            .seed = i,
            .npages = (unsigned)test_rand_below(&rand, 6),
            .nahead = (unsigned)(test_rand_below(&rand, 8) == 0),
            .val_bytes = test_rand_below(&rand, 16) == 0 ? 5000 : 60,
            .nosync = test_rand_below(&rand, 2) == 0,
        };

        CHECK_OK(rig_commit(&rig, &plan));
        if (i % 64 == 63 && rig.durable == rig.last.rev)
            CHECK_OK(pf_super_write(rig.file, &rig.last));
    }
    atomic_store(&o.stop, true);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    CHECK(zeroed(&rig) > 0);
    rig_check(&rig);
    rig_reopen(&rig, 1 + nrounds);
    rig_check(&rig);
    rig_close(&rig);
    pthread_mutex_destroy(&w.lock);
    rig_fini(&rig);
}

/* ---- failures of the thread's own ---- */

/* Zeros that cannot be written are given up, commits go on. */
static void test_failed_zeros_are_given_up(void **state)
{
    static const int errs[] = { ENOSPC, EIO };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        struct rig rig;

        rig_init(&rig, true);
        rig_start(&rig);
        /* the commit's write is the first, the zeros' the second */
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV), 2, errs[i], FAULT_TORN);
        rig_commit_ok(&rig, 1);
        await_idle(&rig);
        CHECK_EQ(rig.fault.fired, 1);
        fault_heal(&rig.fault);
        for (unsigned k = 2; k < 40; k++)
            rig_commit_ok(&rig, k);
        await_idle(&rig);
        CHECK(!pf_file_poisoned(rig.file));
        CHECK_EQ(zeroed(&rig), 0);
        rig_check(&rig);
        rig_reopen(&rig, 39);
        rig_check(&rig);
        rig_fini(&rig);
    }
}

/* But a sync that fails there counts as any other (PF-5). */
static void test_failed_sync_of_zeros_poisons(void **state)
{
    const struct rig_plan plan = {
        .seed = 2, .npages = 1, .val_bytes = 10, .nosync = true
    };
    struct rig rig;

    (void)state;
    rig_init(&rig, true);
    rig_start(&rig);
    fault_arm(&rig.fault, FAULT_BIT(FAULT_SYNC), 1, EIO, FAULT_ONCE);
    CHECK_OK(rig_commit(&rig, &plan));
    ra_mutex_lock(&rig.file->lock); /* what a commit's sync would begin with */
    pf_zero_ask(rig.file);
    ra_mutex_unlock(&rig.file->lock);
    while (!pf_file_poisoned(rig.file))
        sched_yield();
    CHECK_STATUS(pf_sync(rig.file), QUIRE_POISONED);
    CHECK_STATUS(rig_commit(&rig, &plan), QUIRE_POISONED);
    fault_heal(&rig.fault);
    rig_reopen(&rig, 1);
    rig_check(&rig);
    rig_fini(&rig);
}

static void test_no_thread(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, true);
    CHECK_OK(rig_create(&rig));
    fault_arm(&rig.fault, FAULT_BIT(FAULT_THREAD), 1, EAGAIN, FAULT_ONCE);
    CHECK_STATUS(rig_open(&rig, false), QUIRE_NOMEM);
    fault_heal(&rig.fault);
    CHECK_OK(rig_open(&rig, false));
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros_are_ahead),
        cmocka_unit_test(test_commit_into_zeros),
        cmocka_unit_test(test_unsynced_batches_do_not_wake),
        cmocka_unit_test(test_great_batches_do_not_wake),
        cmocka_unit_test(test_threads_share_the_file),
        cmocka_unit_test(test_failed_zeros_are_given_up),
        cmocka_unit_test(test_failed_sync_of_zeros_poisons),
        cmocka_unit_test(test_no_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
