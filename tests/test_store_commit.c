/*
 * test_store_commit.c - commits of several threads: shared syncs, the three
 * roots, the order of acknowledgement, failing syncs, crashes; and the writers'
 * queue.
 *
 * A *gate* is an I/O table whose sync waits: for a permit of the test, or, for
 * crowds of threads, until every thread that lives has written a commit. So
 * which commits share a sync follows from the test and not from the clock.
 *
 * A *crowd* is a number of threads that commit in a loop. Each adds one to a
 * counter of its own and writes the number of its revision, so that what any
 * revision holds follows from who made those up to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#include "tests/lib_crash.h"
#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"
#include "txlog/tx_impl.h"

#define PATH "commits.quire"
#define CROWD 5u  /* most threads */
#define REVS 200u /* most revisions of a crowd */

/* ---- the gate ---- */

struct gate {
    struct quire_io io;
    const struct quire_io *inner;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool free;   /* immutable: syncs wait for nothing */
    bool manual; /* under lock, like all below: syncs wait for permits */
    unsigned permits;
    unsigned waiting; /* syncs that wait for one */
    unsigned live;    /* threads of a crowd */
    uint64_t writes;  /* of batches */
    uint64_t over; /* of these: before the crowd, or their commits returned */
    uint64_t syncs;
    int fail; /* errno of the next sync; 0: none */
};

static int gate_open(void *ctx, const char *path, unsigned flags, unsigned mode,
                     void **file)
{
    const struct gate *g = ctx;

    return g->inner->open(g->inner->ctx, path, flags, mode, file);
}

static ssize_t gate_pread(void *ctx, void *file, void *buf, size_t nbytes,
                          uint64_t off)
{
    const struct gate *g = ctx;

    return g->inner->pread(g->inner->ctx, file, buf, nbytes, off);
}

static ssize_t gate_pwritev(void *ctx, void *file, const struct iovec *iov,
                            int iovcnt, uint64_t off)
{
    struct gate *g = ctx;
    ssize_t n = g->inner->pwritev(g->inner->ctx, file, iov, iovcnt, off);

    if (n < 0 || off < 8192) /* superblocks */
        return n;
    pthread_mutex_lock(&g->lock);
    g->writes++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return n;
}

static int gate_sync(void *ctx, void *file)
{
    struct gate *g = ctx;
    int fail;

    pthread_mutex_lock(&g->lock);
    g->waiting++;
    pthread_cond_broadcast(&g->changed);
    while (g->manual && g->permits == 0)
        pthread_cond_wait(&g->changed, &g->lock);
    /* until every thread of the crowd has written a batch that it waits for */
    while (!g->free && !g->manual && g->live > 0 &&
           g->live + g->over > g->writes)
        pthread_cond_wait(&g->changed, &g->lock);
    if (g->manual)
        g->permits--;
    g->waiting--;
    g->syncs++;
    fail = g->fail;
    g->fail = 0;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return fail != 0 ? -fail : g->inner->sync(g->inner->ctx, file);
}

static int gate_get_size(void *ctx, void *file, uint64_t *nbytes)
{
    const struct gate *g = ctx;

    return g->inner->get_size(g->inner->ctx, file, nbytes);
}

static int gate_block_size(void *ctx, void *file, uint32_t *nbytes)
{
    const struct gate *g = ctx;

    return g->inner->block_size(g->inner->ctx, file, nbytes);
}

static int gate_lock(void *ctx, void *file, bool exclusive)
{
    const struct gate *g = ctx;

    return g->inner->lock(g->inner->ctx, file, exclusive);
}

static void gate_close(void *ctx, void *file)
{
    const struct gate *g = ctx;

    g->inner->close(g->inner->ctx, file);
}

static int gate_rename(void *ctx, const char *from, const char *to)
{
    const struct gate *g = ctx;

    return g->inner->rename(g->inner->ctx, from, to);
}

static int gate_remove(void *ctx, const char *path)
{
    const struct gate *g = ctx;

    return g->inner->remove(g->inner->ctx, path);
}

static int gate_sync_dir(void *ctx, const char *path)
{
    const struct gate *g = ctx;

    return g->inner->sync_dir(g->inner->ctx, path);
}

static void gate_init(struct gate *g, const struct quire_io *inner)
{
    memset(g, 0, sizeof(*g));
    g->inner = inner;
    g->io = *inner;
    g->io.ctx = g;
    g->io.pread_once = NULL; /* they would get our ctx */
    g->io.read_ahead = NULL;
    g->io.open = gate_open;
    g->io.pread = gate_pread;
    g->io.pwritev = gate_pwritev;
    g->io.sync = gate_sync;
    g->io.allocate = NULL;
    g->io.truncate = NULL;
    g->io.get_size = gate_get_size;
    g->io.block_size = gate_block_size;
    g->io.lock = gate_lock;
    g->io.close = gate_close;
    g->io.rename = gate_rename;
    g->io.remove = gate_remove;
    g->io.sync_dir = gate_sync_dir;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
}

static void gate_fini(struct gate *g)
{
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
}

/* Wait until `n` syncs wait for a permit and `writes` batches are written. */
static void gate_await(struct gate *g, unsigned n, uint64_t writes)
{
    pthread_mutex_lock(&g->lock);
    while (g->waiting != n || g->writes < writes)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void gate_permit(struct gate *g, int fail)
{
    pthread_mutex_lock(&g->lock);
    g->fail = fail;
    g->permits++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void gate_manual(struct gate *g, bool manual)
{
    pthread_mutex_lock(&g->lock);
    g->manual = manual;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* ---- a store behind a gate, and threads that commit in it ---- */

struct rig {
    struct mem_disk *disk;
    struct gate gate;
    struct quire_options opt;
    struct quire *db;
};

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->disk = mem_disk_create();
    gate_init(&r->gate, mem_disk_io(r->disk));
    r->opt.size = sizeof(r->opt);
    r->opt.flags = QUIRE_NOBACKGROUND;
    r->opt.budget_bytes = QUIRE_BUDGET_MIN;
    r->opt.page_bytes = QUIRE_PAGE_MIN;
    r->opt.io = &r->gate.io;
    CHECK_OK(quire_open(PATH, &r->opt, &r->db));
}

static void rig_fini(struct rig *r)
{
    gate_fini(&r->gate);
    mem_disk_destroy(r->disk);
}

static void put(struct quire_txn *txn, const char *key, uint64_t n)
{
    const struct quire_val k = { key, strlen(key) };
    const struct quire_val v = { &n, sizeof(n) };

    CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
}

/* 0 when there is no such key. */
static uint64_t get(struct quire_txn *txn, const char *key)
{
    const struct quire_val k = { key, strlen(key) };
    struct quire_val v = { NULL, 0 };
    uint64_t n = 0;
    quire_status rc = quire_get(txn, NULL, &k, &v);

    if (rc == QUIRE_NOTFOUND)
        return 0;
    CHECK_OK(rc);
    CHECK_EQ(v.size, sizeof(n));
    memcpy(&n, v.data, sizeof(n));
    return n;
}

/* What readers see. */
static uint64_t seen(struct quire *db, const char *key)
{
    struct quire_txn *txn;
    uint64_t n;

    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    n = get(txn, key);
    quire_abort(txn);
    return n;
}

static quire_rev newest(struct quire *db)
{
    quire_rev rev = 0;

    CHECK_OK(quire_rev_newest(db, &rev));
    return rev;
}

/* A commit in a thread of its own. */
struct job {
    pthread_t thread;
    struct quire_txn *txn;
    unsigned flags;
    quire_status rc;
    quire_rev rev;
};

static void *job_run(void *arg)
{
    struct job *j = arg;

    j->rc = quire_commit(j->txn, j->flags, &j->rev);
    return NULL;
}

/* Begin here, put `key` = `n` (unless NULL), commit in another thread. */
static void job_start(struct rig *r, struct job *j, const char *key, uint64_t n,
                      unsigned flags)
{
    memset(j, 0, sizeof(*j));
    j->flags = flags;
    CHECK_OK(quire_begin(r->db, QUIRE_WRITE, &j->txn));
    if (key != NULL)
        put(j->txn, key, n);
    CHECK_EQ(pthread_create(&j->thread, NULL, job_run, j), 0);
}

static quire_status job_end(struct job *j)
{
    CHECK_EQ(pthread_join(j->thread, NULL), 0);
    return j->rc;
}

/* Begin a write transaction when another thread has taken the last one over:
 * until then this one may not wait for it. */
static struct quire_txn *begin_behind(struct rig *r)
{
    struct quire_txn *txn;
    quire_status rc;

    while ((rc = quire_begin(r->db, QUIRE_WRITE, &txn)) == QUIRE_MISUSE)
        sched_yield();
    CHECK_OK(rc);
    return txn;
}

/* While one sync runs, two more commits are written; they share the next. Each
 * is seen by readers when it is durable, and by writers at once. */
static void test_commits_share_a_sync(void **state)
{
    struct rig r;
    struct job a;
    struct job b;
    struct job c;
    struct quire_txn *txn;
    uint64_t before;

    (void)state;
    rig_init(&r);
    gate_manual(&r.gate, true);
    before = r.gate.syncs;
    job_start(&r, &a, "a", 1, 0);
    gate_await(&r.gate, 1, 1);
    CHECK_EQ(newest(r.db), 0);
    job_start(&r, &b, "b", 2, 0);
    gate_await(&r.gate, 1, 2);
    job_start(&r, &c, "c", 3, 0);
    gate_await(&r.gate, 1, 3);
    CHECK_EQ(newest(r.db), 0);
    CHECK_EQ(seen(r.db, "a"), 0);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    CHECK_EQ(quire_txn_rev(txn), 3);
    CHECK_EQ(get(txn, "a") + get(txn, "b") + get(txn, "c"), 6);
    quire_abort(txn);

    gate_permit(&r.gate, 0);
    CHECK_OK(job_end(&a));
    CHECK_EQ(a.rev, 1);
    CHECK_EQ(newest(r.db), 1);
    CHECK_EQ(seen(r.db, "a"), 1);
    CHECK_EQ(seen(r.db, "b"), 0);

    gate_permit(&r.gate, 0);
    CHECK_OK(job_end(&b));
    CHECK_EQ(b.rev, 2);
    CHECK_EQ(seen(r.db, "b"), 2);
    CHECK_OK(job_end(&c));
    CHECK_EQ(c.rev, 3);
    CHECK_EQ(seen(r.db, "c"), 3);
    CHECK_EQ(r.gate.syncs, before + 2);
    gate_manual(&r.gate, false);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

/* An un-synced commit is published at once, but never before an earlier synced
 * one; so is what a commit of nothing has seen. */
static void test_unsynced_waits_for_synced(void **state)
{
    struct rig r;
    struct job a;
    struct job b;
    struct job c;

    (void)state;
    rig_init(&r);
    gate_manual(&r.gate, true);
    job_start(&r, &a, "a", 1, QUIRE_NOSYNC);
    CHECK_OK(job_end(&a));
    CHECK_EQ(seen(r.db, "a"), 1);
    CHECK_EQ(r.gate.waiting, 0);

    job_start(&r, &a, "a", 2, 0);
    gate_await(&r.gate, 1, 2);
    job_start(&r, &b, "b", 1, QUIRE_NOSYNC);
    gate_await(&r.gate, 1, 3);
    job_start(&r, &c, NULL, 0, 0);
    CHECK_EQ(newest(r.db), 1);
    gate_permit(&r.gate, 0);
    CHECK_OK(job_end(&b));
    CHECK_EQ(b.rev, 3);
    CHECK_EQ(seen(r.db, "a"), 2);
    CHECK_EQ(seen(r.db, "b"), 1);
    CHECK_OK(job_end(&c));
    CHECK_EQ(c.rev, 3);
    CHECK_EQ(newest(r.db), 3);
    CHECK_OK(job_end(&a));

    /* The un-synced one is made durable by asking for it, once. */
    {
        struct quire_stat st = { .size = sizeof(st) };
        uint64_t before = r.gate.syncs;

        CHECK_OK(quire_stat_get(r.db, &st));
        CHECK_EQ(st.rev_durable, 2);
        gate_manual(&r.gate, false);
        CHECK_OK(quire_sync(r.db));
        CHECK_OK(quire_sync(r.db));
        CHECK_EQ(r.gate.syncs, before + 1);
        CHECK_OK(quire_stat_get(r.db, &st));
        CHECK_EQ(st.rev_durable, 3);
    }
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

/* When a sync fails, so do the commits written behind it, and a transaction
 * begun on one of them; what was published stays readable. */
static void test_failed_sync_fails_its_successors(void **state)
{
    struct rig r;
    struct job a;
    struct job b;
    struct job c;
    struct job d;
    struct quire_txn *txn;
    struct quire_txn *abandoned;
    quire_rev rev = 77;

    (void)state;
    for (unsigned ending = 0; ending < 3; ending++) {
        rig_init(&r);
        job_start(&r, &a, "a", 1, 0);
        CHECK_OK(job_end(&a));
        gate_manual(&r.gate, true);
        job_start(&r, &a, "a", 2, 0);
        gate_await(&r.gate, 1, 2);
        job_start(&r, &b, "b", 2, 0);
        gate_await(&r.gate, 1, 3);
        job_start(&r, &c, "c", 2, QUIRE_NOSYNC);
        gate_await(&r.gate, 1, 4);
        job_start(&r, &d, NULL, 0, 0);
        txn = begin_behind(&r);
        CHECK_EQ(quire_txn_rev(txn), 4);
        put(txn, "d", 2);
        gate_permit(&r.gate, EIO);
        CHECK_STATUS(job_end(&a), QUIRE_UNDECIDED);
        CHECK_STATUS(job_end(&b), QUIRE_UNDECIDED);
        CHECK_STATUS(job_end(&c), QUIRE_UNDECIDED);
        CHECK_STATUS(job_end(&d), QUIRE_POISONED);
        if (ending == 0)
            CHECK_STATUS(quire_commit(txn, 0, &rev), QUIRE_POISONED);
        else if (ending == 1)
            CHECK_STATUS(quire_commit(txn, QUIRE_NOSYNC, &rev), QUIRE_POISONED);
        else
            quire_abort(txn);
        CHECK_EQ(rev, 77);
        CHECK_STATUS(quire_begin(r.db, QUIRE_WRITE, &abandoned),
                     QUIRE_POISONED);
        CHECK_EQ(newest(r.db), 1);
        CHECK_EQ(seen(r.db, "a"), 1);
        CHECK_EQ(seen(r.db, "c"), 0);
        CHECK_OK(quire_close(r.db));
        /* This disk has kept all; they are settled now. */
        gate_manual(&r.gate, false);
        CHECK_OK(quire_open(PATH, &r.opt, &r.db));
        CHECK_EQ(newest(r.db), 4);
        CHECK_EQ(seen(r.db, "a") + seen(r.db, "b") + seen(r.db, "c"), 6);
        CHECK_EQ(seen(r.db, "d"), 0);
        CHECK_OK(quire_close(r.db));
        rig_fini(&r);
    }
}

/* A sync that succeeded is not taken back by a later one that fails. */
static void test_durable_stays_durable(void **state)
{
    struct rig r;
    struct job a;
    struct job b;

    (void)state;
    rig_init(&r);
    gate_manual(&r.gate, true);
    job_start(&r, &a, "a", 1, 0);
    gate_await(&r.gate, 1, 1);
    job_start(&r, &b, "b", 1, 0);
    gate_await(&r.gate, 1, 2);
    gate_permit(&r.gate, 0);
    CHECK_OK(job_end(&a));
    gate_await(&r.gate, 1, 2);
    gate_permit(&r.gate, EIO);
    CHECK_STATUS(job_end(&b), QUIRE_UNDECIDED);
    CHECK_EQ(newest(r.db), 1);
    CHECK_STATUS(quire_sync(r.db), QUIRE_OK);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

static void *sync_run(void *arg)
{
    CHECK_OK(quire_sync(arg));
    return NULL;
}

/* A store is not closed under a commit, or a quire_sync(), that waits. */
static void test_close_while_a_sync_runs(void **state)
{
    struct rig r;
    struct job a;
    pthread_t thread;

    (void)state;
    rig_init(&r);
    gate_manual(&r.gate, true);
    job_start(&r, &a, "a", 1, 0);
    gate_await(&r.gate, 1, 1);
    CHECK_STATUS(quire_close(r.db), QUIRE_BUSY);
    CHECK_STATUS(quire_commit(a.txn, 0, NULL), QUIRE_MISUSE);
    gate_permit(&r.gate, 0);
    CHECK_OK(job_end(&a));
    job_start(&r, &a, "a", 2, QUIRE_NOSYNC);
    CHECK_OK(job_end(&a));
    CHECK_EQ(pthread_create(&thread, NULL, sync_run, r.db), 0);
    gate_await(&r.gate, 1, 2);
    CHECK_STATUS(quire_close(r.db), QUIRE_BUSY);
    gate_permit(&r.gate, 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    gate_manual(&r.gate, false);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

/* ---- crowds ---- */

struct crowd {
    struct quire *db;
    struct gate *gate;
    struct crash_rec *rec; /* NULL: nothing is marked */
    unsigned nthreads;
    unsigned ncommits; /* of each thread */
    unsigned nosync;   /* one in so many commits; 0: none */
    bool full;         /* writes may fail, and not only syncs */
    pthread_mutex_t lock;
    uint8_t owner[REVS]; /* who tried to make it; under lock */
    quire_rev tried;     /* under lock */
    quire_rev returned;  /* under lock */
    quire_rev acked;     /* under lock */
    unsigned nundecided; /* under lock */
    unsigned next;       /* under lock: who is next to be numbered */
};

static void crowd_note(struct crowd *c, quire_rev *mark, enum crash_mark what,
                       quire_rev rev)
{
    pthread_mutex_lock(&c->lock);
    if (rev > *mark) {
        *mark = rev;
        if (c->rec != NULL)
            crash_mark(c->rec, what, rev);
    }
    pthread_mutex_unlock(&c->lock);
}

static void counter_name(char name[16], unsigned who)
{
    snprintf(name, 16, "n%u", who);
}

/* One commit; false when the store takes no more. */
static bool crowd_commit(struct crowd *c, unsigned who, unsigned i)
{
    unsigned flags = c->nosync > 0 && (i + who) % c->nosync == 0 ? QUIRE_NOSYNC
                                                                 : 0;
    struct quire_txn *txn;
    char name[16];
    quire_rev rev;
    quire_rev made = 0;
    quire_status rc = quire_begin(c->db, QUIRE_WRITE, &txn);

    if (rc == QUIRE_POISONED)
        return false;
    CHECK_OK(rc);
    counter_name(name, who);
    rev = quire_txn_rev(txn) + 1;
    CHECK(rev < REVS);
    CHECK_EQ(get(txn, name), i);
    CHECK_EQ(get(txn, "rev"), rev - 1);
    put(txn, name, i + 1);
    put(txn, "rev", rev);
    c->owner[rev] = (uint8_t)who; /* whose turn it is owns the entry */
    crowd_note(c, &c->tried, CRASH_TRIED, rev);
    rc = quire_commit(txn, flags, &made);
    pthread_mutex_lock(&c->gate->lock);
    c->gate->over++;
    pthread_cond_broadcast(&c->gate->changed);
    pthread_mutex_unlock(&c->gate->lock);
    if (rc != QUIRE_OK) {
        CHECK(rc == QUIRE_UNDECIDED || rc == QUIRE_POISONED ||
              (c->full && (rc == QUIRE_NOSPACE || rc == QUIRE_IO)));
        pthread_mutex_lock(&c->lock);
        c->nundecided += rc == QUIRE_UNDECIDED;
        pthread_mutex_unlock(&c->lock);
        return false;
    }
    CHECK_EQ(made, rev);
    crowd_note(c, &c->returned, CRASH_RETURNED, rev);
    if ((flags & QUIRE_NOSYNC) == 0)
        crowd_note(c, &c->acked, CRASH_ACKED, rev);
    /* One's own commit is published when it returns, and all before it. */
    CHECK(newest(c->db) >= rev);
    CHECK_EQ(seen(c->db, name), i + 1);
    return true;
}

static void *crowd_run(void *arg)
{
    struct crowd *c = arg;
    unsigned who;

    pthread_mutex_lock(&c->lock);
    who = c->next++;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->ncommits && crowd_commit(c, who, i); i++)
        ;
    pthread_mutex_lock(&c->gate->lock);
    c->gate->live--;
    pthread_cond_broadcast(&c->gate->changed);
    pthread_mutex_unlock(&c->gate->lock);
    return NULL;
}

/* Let the crowd loose on the store that `io` leads to. */
static void crowd_start(struct crowd *c, struct gate *g,
                        const struct quire_options *opt)
{
    pthread_t threads[CROWD];

    pthread_mutex_init(&c->lock, NULL);
    c->gate = g;
    if (c->rec != NULL)
        crash_mark(c->rec, CRASH_TRIED, 0);
    CHECK_OK(quire_open(PATH, opt, &c->db));
    for (int i = CRASH_RETURNED; c->rec != NULL && i < CRASH_MARKS; i++)
        crash_mark(c->rec, (enum crash_mark)i, 0);
    g->live = c->nthreads;
    g->over = g->writes;
    for (unsigned i = 0; i < c->nthreads; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, crowd_run, c), 0);
    for (unsigned i = 0; i < c->nthreads; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(g->live, 0);
    pthread_mutex_destroy(&c->lock);
}

/* Is revision `rev` in `db` what the crowd made of it? */
static bool crowd_same(const struct crowd *c, struct quire *db, quire_rev rev)
{
    struct quire_txn *txn;
    bool same;

    CHECK_OK(quire_begin_at(db, rev, &txn));
    same = get(txn, "rev") == rev;
    for (unsigned who = 0; who < c->nthreads; who++) {
        uint64_t want = 0;
        char name[16];

        for (quire_rev r = 1; r <= rev; r++)
            want += c->owner[r] == who;
        counter_name(name, who);
        same = same && get(txn, name) == want;
    }
    quire_abort(txn);
    return same;
}

/* Opened again, the store has all that was acknowledged, and nothing that was
 * never tried. */
static void crowd_reopen(struct crowd *c, const struct quire_options *opt)
{
    CHECK_OK(quire_open(PATH, opt, &c->db));
    CHECK(newest(c->db) >= c->returned);
    CHECK(newest(c->db) <= c->tried);
    for (quire_rev r = 1; r <= newest(c->db); r++)
        CHECK(crowd_same(c, c->db, r));
    CHECK_OK(quire_verify(c->db, NULL, NULL, NULL));
    CHECK_OK(quire_close(c->db));
}

static void crowd_options(struct quire_options *opt, const struct quire_io *io)
{
    memset(opt, 0, sizeof(*opt));
    opt->size = sizeof(*opt);
    opt->flags = QUIRE_NOBACKGROUND;
    opt->budget_bytes = QUIRE_BUDGET_MIN;
    opt->page_bytes = QUIRE_PAGE_MIN;
    opt->io = io;
}

/* With a sync failing at each point: nothing acknowledged is lost, nobody waits
 * for ever, the store is whole when it is opened again. */
static void test_crowd_with_a_failing_sync(void **state)
{
    unsigned nundecided = 0;
    uint64_t nth;

    (void)state;
    for (nth = 1; nth < 1000; nth++) {
        struct crowd c = { .nthreads = 4,
                           .ncommits = 6,
                           .nosync = nth % 2 * 3 };
        struct mem_disk *disk = mem_disk_create();
        struct quire_options opt;
        struct fault fault;
        struct gate g;
        bool fired;

        fault_init(&fault, mem_disk_io(disk), NULL);
        gate_init(&g, &fault.io);
        crowd_options(&opt, &g.io);
        CHECK_OK(quire_open(PATH, &opt, &c.db));
        CHECK_OK(quire_close(c.db));
        fault_arm(&fault, FAULT_BIT(FAULT_SYNC), nth, EIO, FAULT_ONCE);
        crowd_start(&c, &g, &opt);
        fired = fault.fired > 0;
        CHECK_EQ(newest(c.db), c.returned);
        CHECK(crowd_same(&c, c.db, newest(c.db)));
        if (!fired)
            CHECK_EQ(c.returned, c.nthreads * c.ncommits);
        fault_heal(&fault);
        CHECK_OK(quire_close(c.db));
        crowd_reopen(&c, &opt);
        nundecided += c.nundecided;
        gate_fini(&g);
        CHECK(fault_live_none(&fault));
        fault_fini(&fault);
        mem_disk_destroy(disk);
        if (!fired)
            break;
    }
    /* Some failures met several commits at once. */
    CHECK(nth > 3 && nth < 1000);
    CHECK(nundecided > nth);
}

struct judge {
    const struct crowd *crowd;
    uint64_t wrong;
    char first[256];
};

static void judge_state(void *arg, struct crash_state *st)
{
    struct judge *j = arg;
    int64_t least = st->mark[st->killed ? CRASH_RETURNED : CRASH_ACKED];
    struct quire_options opt;
    struct quire *db = NULL;
    struct quire_txn *txn;
    quire_rev rev = 0;
    quire_status rc;
    const char *what = NULL;

    crowd_options(&opt, mem_disk_io(st->disk));
    rc = quire_open(PATH, &opt, &db);
    if (rc != QUIRE_OK) {
        what = "does not open";
        if (least < 0 && rc == QUIRE_NOTFOUND)
            return;
    } else {
        rev = newest(db);
        if ((int64_t)rev < least || (int64_t)rev > st->mark[CRASH_TRIED])
            what = "another revision";
        else if (!crowd_same(j->crowd, db, rev))
            what = "other contents";
        else if (quire_verify(db, NULL, NULL, NULL) != QUIRE_OK)
            what = "does not verify";
    }
    if (what == NULL) {
        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        put(txn, "next", 1);
        CHECK_OK(quire_commit(txn, 0, NULL));
        CHECK_EQ(newest(db), rev + 1);
    } else if (j->wrong++ == 0) {
        snprintf(j->first, sizeof(j->first),
                 "%s: %s (revision %" PRIu64 ", acknowledged %" PRId64
                 ", begun %" PRId64 ")",
                 st->how, what, rev, st->mark[CRASH_ACKED],
                 st->mark[CRASH_TRIED]);
    }
    CHECK_OK(quire_close(db));
}

/* Whatever a crash leaves of commits that were under way together, it is a
 * revision not before the last acknowledged one, with the contents of exactly
 * the commits up to it. And syncs that lie are noticed. */
static void test_crowd_after_a_crash(void **state)
{
    bool lengthy = getenv("QUIRE_CRASH") != NULL;
    uint64_t rand = test_seed();
    uint64_t nstates = 0;

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct crowd c = { .nthreads = 2 + round % 4,
                           .ncommits = round < 4 ? 8 : 20,
                           .nosync = round == 3 ? 3 : 0 };
        struct mem_disk *disk = mem_disk_create();
        struct crash_plan plan = {
            .seed = test_rand(&rand),
            .nstates = test_rounds(lengthy ? 4000 : 150),
            .exhaustive = lengthy,
        };
        struct judge honest = { .crowd = &c };
        struct judge lies = { .crowd = &c };
        struct quire_options opt;
        struct gate g;

        gate_init(&g, mem_disk_io(disk));
        c.rec = crash_rec_create(&g.io);
        crowd_options(&opt, crash_rec_io(c.rec));
        if (round >= 4) { /* into zeros: batches wait for their sync */
            opt.flags = 0;
            g.free = true;
        }
        crowd_start(&c, &g, &opt);
        CHECK_EQ(c.returned, c.nthreads * c.ncommits);
        CHECK_OK(quire_close(c.db));
        nstates += crash_states(c.rec, &plan, judge_state, &honest);
        if (honest.wrong > 0)
            print_message("%s\n", honest.first);
        CHECK_EQ(honest.wrong, 0);
        plan.lie = CRASH_LIE_ALL;
        plan.nstates = 150;
        plan.exhaustive = false;
        crash_states(c.rec, &plan, judge_state, &lies);
        CHECK(lies.wrong > 0);
        crash_rec_destroy(c.rec);
        gate_fini(&g);
        mem_disk_destroy(disk);
    }
    print_message("%" PRIu64 " crash states of commits under way together\n",
                  nstates);
}

/* With zeros ahead the batches of several threads wait for the sync that they
 * share. Whatever call fails then, and whatever power cut comes: nothing that was
 * acknowledged is lost, and nobody waits for ever. */
static void test_crowd_into_zeros(void **state)
{
    static const int errs[] = { EIO, ENOSPC };
    unsigned ntries = test_rounds(120);
    uint64_t nfired = 0;

    (void)state;
    for (unsigned i = 0; i < ntries; i++) {
        struct crowd c = { .nthreads = 4,
                           .ncommits = 25,
                           .nosync = i % 3 == 2 ? 5 : 0,
                           .full = true };
        struct mem_disk *disk = mem_disk_create();
        struct quire_options opt;
        struct fault fault;
        struct gate g;

        fault_init(&fault, mem_disk_io(disk), NULL);
        gate_init(&g, &fault.io);
        g.free = true;
        crowd_options(&opt, &g.io);
        CHECK_OK(quire_open(PATH, &opt, &c.db));
        CHECK_OK(quire_close(c.db));
        opt.flags = 0; /* with the thread that writes zeros */
        if (i > 0)
            fault_arm(&fault, FAULT_BIT(FAULT_SYNC) | FAULT_BIT(FAULT_PWRITEV),
                      i, errs[i % 2], i % 5 == 0 ? FAULT_TORN : FAULT_ONCE);
        crowd_start(&c, &g, &opt);
        nfired += fault.fired;
        CHECK_EQ(newest(c.db), c.returned);
        CHECK(crowd_same(&c, c.db, newest(c.db)));
        if (fault.fired == 0)
            CHECK_EQ(c.returned, c.nthreads * c.ncommits);
        fault_heal(&fault);
        CHECK_OK(quire_close(c.db));
        opt.flags = QUIRE_NOBACKGROUND;
        crowd_reopen(&c, &opt);
        gate_fini(&g);
        CHECK(fault_live_none(&fault));
        fault_fini(&fault);
        mem_disk_destroy(disk);
    }
    CHECK(nfired > 0);
}

/* ---- the writers' queue ---- */

struct queued {
    struct quire *db;
    pthread_t thread;
    uint64_t timeout_ms;
    quire_status rc;
    uint64_t *turns; /* how many have had their turn, by the store's order */
    uint64_t turn;
};

static void *queued_run(void *arg)
{
    struct queued *q = arg;
    struct quire_txn *txn;

    q->rc = quire_begin_timed(q->db, QUIRE_WRITE, q->timeout_ms, &txn);
    if (q->rc == QUIRE_OK) {
        q->turn = ++*q->turns; /* it has the turn: nobody else counts */
        quire_abort(txn);
    }
    return NULL;
}

/* Wait until `n` calls or transactions hold the store open. */
static void await_transactions(struct quire *db, uint64_t n)
{
    struct quire_stat st = { .size = sizeof(st) };

    do {
        sched_yield();
        CHECK_OK(quire_stat_get(db, &st));
    } while (st.transactions < n);
}

/* Turns come in the order of asking; who gives up leaves no gap. */
static void test_queue_is_fair(void **state)
{
    struct rig r;
    struct queued q[5];
    struct quire_txn *txn;
    struct quire_txn *none = (struct quire_txn *)&r;
    uint64_t turns = 0;

    (void)state;
    rig_init(&r);
    CHECK_OK(quire_begin_timed(r.db, QUIRE_WRITE, 0, &txn));
    for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
        q[i] = (struct queued){ .db = r.db,
                                .timeout_ms = i % 2 == 1 ? 1 : 1000000,
                                .turns = &turns };
        CHECK_EQ(pthread_create(&q[i].thread, NULL, queued_run, &q[i]), 0);
        if (i % 2 == 1) {
            /* Its time passes while it is the last, or not. */
            CHECK_EQ(pthread_join(q[i].thread, NULL), 0);
            CHECK_STATUS(q[i].rc, QUIRE_TIMEOUT);
        } else {
            await_transactions(r.db, 2 + i / 2);
        }
    }
    CHECK_STATUS(quire_close(r.db), QUIRE_BUSY);
    CHECK_STATUS(quire_begin_timed(r.db, QUIRE_WRITE, 0, &none), QUIRE_MISUSE);
    CHECK(none == NULL);
    CHECK_EQ(turns, 0);
    quire_abort(txn);
    for (unsigned i = 0; i < ARRAY_LEN(q); i += 2) {
        CHECK_EQ(pthread_join(q[i].thread, NULL), 0);
        CHECK_OK(q[i].rc);
        CHECK_EQ(q[i].turn, 1 + i / 2);
    }
    /* Without waiting, from another thread. */
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    q[0] = (struct queued){ .db = r.db, .turns = &turns };
    CHECK_EQ(pthread_create(&q[0].thread, NULL, queued_run, &q[0]), 0);
    CHECK_EQ(pthread_join(q[0].thread, NULL), 0);
    CHECK_STATUS(q[0].rc, QUIRE_TIMEOUT);
    quire_abort(txn);
    CHECK_OK(quire_begin_timed(r.db, QUIRE_READ, 0, &txn));
    quire_abort(txn);
    CHECK_STATUS(quire_begin_timed(r.db, 7, 0, &txn), QUIRE_INVAL);
    CHECK_STATUS(quire_begin_timed(r.db, QUIRE_READ, 0, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

/* Threads that take many short turns, of which some give up waiting. */
struct hasty {
    struct quire *db;
    pthread_t thread;
    unsigned ntries;
    uint64_t timeout_ms;
    uint64_t *turns; /* of all threads, by the store's order */
    uint64_t had;
    uint64_t gave_up;
};

static void *hasty_run(void *arg)
{
    struct hasty *h = arg;

    for (unsigned i = 0; i < h->ntries; i++) {
        struct quire_txn *txn;
        quire_status rc = quire_begin_timed(h->db, QUIRE_WRITE, h->timeout_ms,
                                            &txn);

        if (rc == QUIRE_OK) {
            ++*h->turns; /* nobody else counts */
            h->had++;
            quire_abort(txn);
        } else {
            CHECK_STATUS(rc, QUIRE_TIMEOUT);
            h->gave_up++;
        }
    }
    return NULL;
}

/* `n` threads, each with its time limit. */
static void hasty_all(struct quire *db, const uint64_t *timeouts, unsigned n,
                      unsigned ntries)
{
    struct hasty h[CROWD];
    uint64_t turns = 0;
    uint64_t had = 0;

    for (unsigned i = 0; i < n; i++) {
        h[i] = (struct hasty){ .db = db,
                               .ntries = ntries,
                               .timeout_ms = timeouts[i],
                               .turns = &turns };
        CHECK_EQ(pthread_create(&h[i].thread, NULL, hasty_run, &h[i]), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(pthread_join(h[i].thread, NULL), 0);
        CHECK_EQ(h[i].had + h[i].gave_up, ntries);
        if (timeouts[i] > 1)
            CHECK_EQ(h[i].gave_up, 0);
        had += h[i].had;
    }
    CHECK_EQ(turns, had);
}

/* However short the turns are, and whoever spins, sleeps or gives up: one at a
 * time has it, none is lost, and nobody takes another's turn for his own. */
static void test_short_turns(void **state)
{
    static const uint64_t timeouts[CROWD] = { 1000000, 1000000, 0, 1, 1000000 };
    struct rig r;

    (void)state;
    rig_init(&r);
    hasty_all(r.db, timeouts, 5, test_rounds(4000));
    /* Two hardly ever wait: each often finds that the other has just begun. */
    hasty_all(r.db, timeouts, 2, test_rounds(200000));
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

/* Who waits spins only where the one that it waits for can run meanwhile. */
static void test_no_spinning_on_one_processor(void **state)
{
    cpu_set_t all, one;
    struct rig r;

    (void)state;
    CHECK_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    rig_init(&r);
    CHECK_EQ(r.db->may_spin, CPU_COUNT(&all) > 1);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    rig_init(&r);
    CHECK_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
    CHECK(!r.db->may_spin);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

struct moved {
    struct quire *db;
    struct quire_txn *txn;
};

static void *moved_run(void *arg)
{
    struct moved *m = arg;
    struct quire_txn *second;

    put(m->txn, "moved", 1);
    /* Now it is this thread that would wait for itself. */
    CHECK_STATUS(quire_begin(m->db, QUIRE_WRITE, &second), QUIRE_MISUSE);
    return NULL;
}

static void *moved_commit(void *arg)
{
    struct moved *m = arg;

    CHECK_OK(quire_commit(m->txn, 0, NULL));
    return NULL;
}

/* A write transaction moves between threads; the one that used it last may not
 * begin another, the others wait. */
/* Born where the thread that wrote last has died: it is another one. */
static void *moved_other(void *arg)
{
    const struct moved *m = arg;
    struct quire_txn *txn;

    CHECK_STATUS(quire_begin_timed(m->db, QUIRE_WRITE, 0, &txn), QUIRE_TIMEOUT);
    return NULL;
}

static void test_transaction_moves(void **state)
{
    struct rig r;
    struct moved m;
    struct quire_txn *txn;
    pthread_t thread;

    (void)state;
    rig_init(&r);
    m.db = r.db;
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &m.txn));
    CHECK_STATUS(quire_begin(r.db, QUIRE_WRITE, &txn), QUIRE_MISUSE);
    CHECK_EQ(pthread_create(&thread, NULL, moved_run, &m), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, moved_other, &m), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_STATUS(quire_begin_timed(r.db, QUIRE_WRITE, 0, &txn), QUIRE_TIMEOUT);
    CHECK_STATUS(quire_begin_timed(r.db, QUIRE_WRITE, 1, &txn), QUIRE_TIMEOUT);
    CHECK_EQ(pthread_create(&thread, NULL, moved_commit, &m), 0);
    txn = begin_behind(&r);
    CHECK_EQ(get(txn, "moved"), 1);
    quire_abort(txn);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_STATUS(quire_commit(m.txn, 0, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_close(r.db));
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commits_share_a_sync),
        cmocka_unit_test(test_unsynced_waits_for_synced),
        cmocka_unit_test(test_failed_sync_fails_its_successors),
        cmocka_unit_test(test_durable_stays_durable),
        cmocka_unit_test(test_close_while_a_sync_runs),
        cmocka_unit_test(test_crowd_with_a_failing_sync),
        cmocka_unit_test(test_crowd_after_a_crash),
        cmocka_unit_test(test_crowd_into_zeros),
        cmocka_unit_test(test_queue_is_fair),
        cmocka_unit_test(test_short_turns),
        cmocka_unit_test(test_no_spinning_on_one_processor),
        cmocka_unit_test(test_transaction_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
