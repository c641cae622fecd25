/*
 * lib_trace.c - running traces, judging their crash states.
 *
 * The thread that writes zeros ahead would make a recording a matter of chance.
 * So it is held at a *gate* before each write and each sync, and let go on by
 * the thread that runs the trace: at seeded commits its zeros are written
 * between the commit's write and its sync, else after the commit; and it is
 * always waited for before the next one, whose blocks it may be in the way of.
 *
 * So would the threads of commits under way together. They are a *crew*: each
 * is given its transaction when the one before has been written, and syncs begin
 * and end when the thread that runs the trace says so.
 */
#include "tests/lib_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#include "pages/file/pf_impl.h"
#include "tests/test.h"
#include "txlog/tx_impl.h"

#define TRACE_PATH "crashed.quire"

const struct trace trace_table[] = {
    { .name = "one record each",
      .page_bytes = 4096,
      .window = 4,
      .commits = 30,
      .puts = 1,
      .val_max = 200,
      .weight = 6 },
    { .name = "full pages",
      .page_bytes = 4096,
      .window = 2,
      .versioning = QUIRE_VERSIONING_FULL,
      .commits = 20,
      .puts = 12,
      .val_max = 400,
      .reopen = 7,
      .weight = 3 },
    { .name = "incremental, un-synced",
      .page_bytes = 4096,
      .window = 4,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 40,
      .puts = 6,
      .val_max = 300,
      .nosync = 3,
      .reopen = 11,
      .weight = 5 },
    { .name = "large values",
      .page_bytes = 16384,
      .window = 16,
      .commits = 10,
      .puts = 4,
      .val_max = 90000,
      .nosync = 4,
      .reopen = 6,
      .weight = 2 },
    { .name = "written ahead",
      .page_bytes = 4096,
      .window = 4,
      .commits = 4,
      .puts = 5,
      .val_max = 300,
      .ahead = 2600,
      .weight = 2 },
    { .name = "superblock",
      .page_bytes = 4096,
      .window = 4,
      .before = 245,
      .commits = 24,
      .puts = 2,
      .val_max = 100,
      .nosync = 2,
      .reopen = 8,
      .weight = 1 },
    { .name = "second superblock",
      .page_bytes = 4096,
      .window = 4,
      .commits = 514,
      .puts = 1,
      .val_max = 20,
      .nosync = 3,
      .focus = 4,
      .super_least = 250,
      .weight = 3 },
    { .name = "full disk",
      .page_bytes = 4096,
      .window = 4,
      .commits = 24,
      .puts = 5,
      .val_max = 300,
      .nosync = 2,
      .full_disk = 4,
      .weight = 4 },
    { .name = "zeros ahead",
      .page_bytes = 4096,
      .window = 4,
      .commits = 60,
      .puts = 6,
      .val_max = 300,
      .nosync = 3,
      .reopen = 25,
      .weight = 5,
      .background = true },
    { .name = "failing syncs",
      .page_bytes = 4096,
      .window = 4,
      .commits = 24,
      .puts = 5,
      .val_max = 300,
      .nosync = 3,
      .bad_sync = 4,
      .weight = 5 },
    { .name = "the same again",
      .page_bytes = 4096,
      .window = 4,
      .commits = 24,
      .puts = 3,
      .val_max = 200,
      .nosync = 4,
      .reopen = 9,
      .weight = 3,
      .again = true },
    { .name = "pages of 8 KiB, window 3",
      .page_bytes = 8192,
      .window = 3,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 30,
      .puts = 40,
      .val_max = 900,
      .nosync = 2,
      .reopen = 5,
      .weight = 2 },
    { .name = "pages of 64 KiB, window 16",
      .page_bytes = 65536,
      .window = 16,
      .commits = 24,
      .puts = 60,
      .val_max = 3000,
      .nosync = 5,
      .reopen = 10,
      .weight = 2 },
    { .name = "full pages of 32 KiB, un-synced",
      .page_bytes = 32768,
      .window = 2,
      .versioning = QUIRE_VERSIONING_FULL,
      .commits = 24,
      .puts = 20,
      .val_max = 5000,
      .nosync = 4,
      .weight = 2 },
    { .name = "ahead, increments, un-synced",
      .page_bytes = 8192,
      .window = 8,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 6,
      .puts = 5,
      .val_max = 300,
      .ahead = 2600,
      .nosync = 2,
      .reopen = 5,
      .weight = 2 },
    { .name = "ahead, full pages, zeros",
      .page_bytes = 16384,
      .window = 2,
      .versioning = QUIRE_VERSIONING_FULL,
      .commits = 5,
      .puts = 5,
      .val_max = 300,
      .ahead = 2600,
      .reopen = 4,
      .weight = 1,
      .background = true },
    { .name = "differential",
      .page_bytes = 4096,
      .window = 5,
      .versioning = QUIRE_VERSIONING_DIFFERENTIAL,
      .commits = 30,
      .puts = 5,
      .val_max = 300,
      .nosync = 3,
      .reopen = 8,
      .weight = 4 },
    { .name = "sliding",
      .page_bytes = 4096,
      .window = 4,
      .versioning = QUIRE_VERSIONING_SLIDING,
      .commits = 30,
      .puts = 5,
      .val_max = 300,
      .nosync = 3,
      .reopen = 8,
      .weight = 4 },
    { .name = "ahead, sliding",
      .page_bytes = 8192,
      .window = 3,
      .versioning = QUIRE_VERSIONING_SLIDING,
      .commits = 6,
      .puts = 5,
      .val_max = 300,
      .ahead = 2600,
      .nosync = 2,
      .reopen = 5,
      .weight = 2 },
    { .name = "savepoints",
      .page_bytes = 4096,
      .window = 4,
      .commits = 20,
      .puts = 40,
      .val_max = 3000,
      .records = 800,
      .changes = CHANGE_SAVEPOINTS,
      .nosync = 3,
      .reopen = 7,
      .weight = 3 },
    { .name = "savepoints, ahead",
      .page_bytes = 8192,
      .window = 4,
      .commits = 4,
      .puts = 10,
      .val_max = 20000,
      .changes = CHANGE_SAVEPOINTS | CHANGE_RANGES,
      .ahead = 2600,
      .weight = 2 },
    { .name = "ranges, trees",
      .page_bytes = 4096,
      .window = 8,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 24,
      .puts = 80,
      .val_max = 900,
      .records = 3000,
      .changes = CHANGE_RANGES | CHANGE_TREES,
      .nosync = 2,
      .reopen = 9,
      .weight = 3 },
    { .name = "conditions, cursors, full pages",
      .page_bytes = 4096,
      .window = 2,
      .versioning = QUIRE_VERSIONING_FULL,
      .commits = 24,
      .puts = 30,
      .val_max = 3000,
      .records = 300,
      .changes = CHANGE_LOOKING | CHANGE_CURSORS,
      .nosync = 3,
      .bad_sync = 5,
      .weight = 2 },
    { .name = "values from functions",
      .page_bytes = 16384,
      .window = 4,
      .commits = 12,
      .puts = 20,
      .val_max = 90000,
      .changes = CHANGE_STREAMS,
      .nosync = 4,
      .reopen = 5,
      .weight = 1 },
    { .name = "all kinds",
      .page_bytes = 4096,
      .window = 4,
      .commits = 30,
      .puts = 60,
      .val_max = 9000,
      .records = 1000,
      .changes = CHANGE_ALL,
      .nosync = 3,
      .reopen = 11,
      .full_disk = 7,
      .weight = 3 },
    { .name = "all kinds, zeros ahead",
      .page_bytes = 8192,
      .window = 3,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 24,
      .puts = 60,
      .val_max = 9000,
      .records = 600,
      .changes = CHANGE_ALL,
      .nosync = 2,
      .reopen = 10,
      .weight = 2,
      .background = true },
    { .name = "threads",
      .page_bytes = 4096,
      .window = 4,
      .commits = 16,
      .puts = 4,
      .val_max = 300,
      .reopen = 7,
      .weight = 4,
      .threads = 5 },
    { .name = "threads, un-synced, all kinds",
      .page_bytes = 4096,
      .window = 3,
      .versioning = QUIRE_VERSIONING_INCREMENTAL,
      .commits = 14,
      .puts = 20,
      .val_max = 2000,
      .records = 800,
      .changes = CHANGE_ALL,
      .nosync = 2,
      .weight = 4,
      .threads = 4 },
    { .name = "threads, failing syncs",
      .page_bytes = 4096,
      .window = 4,
      .commits = 18,
      .puts = 5,
      .val_max = 300,
      .nosync = 3,
      .bad_sync = 3,
      .weight = 4,
      .threads = 4 },
    { .name = "threads, superblocks",
      .page_bytes = 4096,
      .window = 4,
      .before = 240,
      .commits = 14,
      .puts = 2,
      .val_max = 100,
      .reopen = 6,
      .weight = 2,
      .threads = 5 },
    { .name = "changing versionings",
      .page_bytes = 4096,
      .window = 4,
      .commits = 30,
      .puts = 6,
      .val_max = 300,
      .nosync = 3,
      .reopen = 7,
      .set = 4,
      .weight = 4 },
};

const size_t trace_ntable = ARRAY_LEN(trace_table);

const struct trace *trace_named(const char *name)
{
    size_t i = 0;

    while (i < trace_ntable && strcmp(trace_table[i].name, name) != 0)
        i++;
    CHECK(i < trace_ntable);
    return &trace_table[i];
}

static void open_marked(struct trace_run *r)
{
    CHECK_OK(twin_open(&r->twin, TRACE_PATH, &r->opt));
    crash_mark(r->rec, CRASH_TRIED, r->twin.published);
    crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
    crash_mark(r->rec, CRASH_ACKED, r->twin.published);
}

static void close_marked(struct trace_run *r)
{
    CHECK_OK(twin_close(&r->twin));
    crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
}

/* A commit whose write reports a full disk. */
static void commit_failing(struct trace_run *r, unsigned flags)
{
    struct trace_ghost *g = &r->ghost[r->nghosts++];

    CHECK(r->nghosts <= TRACE_GHOSTS);
    g->rev = r->twin.published + 1;
    g->model = model_fork_work(r->twin.model);
    g->from = crash_rec_figures(r->rec).events;
    crash_mark(r->rec, CRASH_TRIED, g->rev);
    fault_arm(&r->fault, FAULT_BIT(FAULT_PWRITEV), 1, ENOSPC,
              FAULT_ONCE | FAULT_WHOLE);
    CHECK_STATUS(twin_commit(&r->twin, flags), QUIRE_NOSPACE);
    fault_heal(&r->fault);
    g->to = crash_rec_figures(r->rec).events;
    crash_mark(r->rec, CRASH_TRIED, r->twin.published);
}

/* A commit whose sync fails: the store must be opened again, and whether the
 * commit is there is settled then, for good. */
static void commit_undecided(struct trace_run *r)
{
    quire_status rc;

    crash_mark(r->rec, CRASH_TRIED, r->twin.published + 1);
    fault_arm(&r->sync_fault, FAULT_BIT(FAULT_SYNC), 1, EIO, FAULT_ONCE);
    rc = twin_commit(&r->twin, QUIRE_EMPTY);
    fault_heal(&r->sync_fault);
    if (rc == QUIRE_OK && ra_broken(RA_BROKEN_NO_POISON)) {
        crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
        return;
    }
    CHECK_STATUS(rc, QUIRE_UNDECIDED);
    (void)twin_close(&r->twin);
    open_marked(r);
}

static void commit_marked(struct trace_run *r, unsigned flags)
{
    crash_mark(r->rec, CRASH_TRIED, r->twin.published + 1);
    CHECK_OK(twin_commit(&r->twin, flags));
    crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
    crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
}

/* Up to `n` changes, as `*rand` has it. */
static void change_up_to(const struct trace *tr, struct twin *t, uint64_t *rand,
                         unsigned n)
{
    struct change_how how = { .kinds = tr->changes,
                              .range = tr->changes != 0 ? 400 : 150,
                              .key_max = QUIRE_KEY_MAX(tr->page_bytes),
                              .val_max = tr->val_max };

    change_some(t, &how, rand, 1 + (unsigned)test_rand_below(rand, n));
}

/* What the revision after `t`'s newest changes; with `again` it follows from
 * its number. */
static void change_next(const struct trace_run *r, struct twin *t,
                        uint64_t *rand)
{
    uint64_t own = r->seed ^ ((t->tried + 1) << 32);

    if (r->trace->again)
        rand = &own;
    CHECK_OK(twin_begin(t));
    CHECK_OK(twin_tree_create(t, "side"));
    change_up_to(r->trace, t, rand, r->trace->puts);
}

/* Put `n` records, of every four one into "side". */
static void change_load(struct trace_run *r, unsigned n, size_t val_len)
{
    for (unsigned k = 0; k < n; k++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "load%06u", k);

        CHECK_OK(twin_put_gen(&r->twin, k % 4 == 3 ? "side" : NULL, key,
                              (size_t)len, val_len, &r->rand));
    }
}

/* What `txn` sees is what the model has. */
static void change_compare(struct trace_run *r, struct quire_txn *txn,
                           const struct model_snap *snap)
{
    char why[MODEL_WHY_CAP];

    if (!model_same(snap, txn, MODEL_FORWARD, why)) {
        print_error("trace \"%s\", revision %" PRIu64 ": %s\n", r->trace->name,
                    quire_txn_rev(txn), why);
        CHECK(false);
    }
}

/* The records of a great transaction, larger than its share of memory: whatever
 * they hold, their pages have the same lengths each time. Then all are read, so
 * that the cache has the pages that were written ahead. */
static void change_many(struct trace_run *r)
{
    for (unsigned k = 0; k < r->trace->ahead; k++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "many%06u", k);
        const struct quire_val at = { key, (size_t)len };
        uint64_t bytes[112];

        for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
            bytes[i] = test_rand(&r->rand);
        CHECK_OK(twin_put(&r->twin, k % 4 == 3 ? "side" : NULL, &at,
                          &(struct quire_val){ bytes, sizeof(bytes) }, 0));
    }
    change_compare(r, r->twin.txn, model_work(r->twin.model));
}

/* A great transaction. With savepoints, much is written ahead when one is set,
 * and after it; and it goes back, and is aborted before that: what follows
 * takes the same places in the file. */
static void change_great(struct trace_run *r)
{
    struct quire_stat st = { .size = sizeof(st) };
    quire_savepoint sp = 0;
    struct model_snap *mark;

    if ((r->trace->changes & CHANGE_SAVEPOINTS) != 0) {
        change_many(r);
        twin_abort(&r->twin);
        change_next(r, &r->twin, &r->rand);
        change_many(r);
        for (unsigned i = 0; i < 2; i++) {
            CHECK_OK(quire_savepoint_set(r->twin.txn, &sp));
            mark = model_mark(r->twin.model);
            change_many(r);
            CHECK_OK(quire_savepoint_rollback(r->twin.txn, sp));
            model_back(r->twin.model, mark);
            model_mark_free(mark);
            r->twin.nopen = 0;
            change_compare(r, r->twin.txn, model_work(r->twin.model));
            change_load(r, 200, 900);
        }
    }
    change_many(r);
    CHECK_OK(quire_stat_get(r->twin.db, &st));
    CHECK(st.pages_ahead > 0);
}

/* ---- the gate ---- */

enum gate_let {
    GATE_NONE,   /* the thread waits at its next call */
    GATE_WRITES, /* it may write, and waits at the next sync */
    GATE_ALL
};

struct trace_gate {
    pthread_t owner; /* immutable: who runs the trace */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of anything below */
    enum gate_let let;      /* under lock */
    uint64_t written;       /* bytes, by the thread; under lock */
    uint64_t seen;          /* of those, before this step; owner thread */
    bool before_sync;       /* at the owner's next sync; owner thread */
    bool partly;            /* the step has written, not synced; owner thread */
};

/* Bytes of the step that the thread has taken or will take; 0: none. */
static uint64_t gate_step(struct trace_run *r)
{
    struct pf_file *file = r->twin.db->file;
    uint64_t nbytes;
    bool wanted;

    do { /* it is about to look whether there is a step to be taken */
        sched_yield();
        ra_mutex_lock(&file->lock);
        nbytes = file->zero_busy_to - file->zero_busy_from;
        wanted = file->zero_wanted && nbytes == 0;
        ra_mutex_unlock(&file->lock);
    } while (wanted);
    return nbytes;
}

/* Let the thread write its zeros; with `whole` also sync them, and wait until
 * it has nothing to do. */
static void gate_pass(struct trace_run *r, bool whole)
{
    struct trace_gate *g = r->gate;
    uint64_t nbytes = gate_step(r);

    if (nbytes == 0)
        return;
    pthread_mutex_lock(&g->lock);
    g->let = whole ? GATE_ALL : GATE_WRITES;
    pthread_cond_broadcast(&g->changed);
    while (g->written - g->seen < nbytes)
        pthread_cond_wait(&g->changed, &g->lock);
    g->partly = !whole;
    pthread_mutex_unlock(&g->lock);
    while (whole && gate_step(r) != 0)
        sched_yield();
    pthread_mutex_lock(&g->lock);
    g->let = GATE_NONE;
    if (whole)
        g->seen = g->written;
    pthread_mutex_unlock(&g->lock);
}

static void gate_hook(void *arg, enum crash_call call, size_t written)
{
    struct trace_run *r = arg;
    struct trace_gate *g = r->gate;
    bool sync = call == CRASH_BEFORE_SYNC;

    if (call == CRASH_DURING_SYNC)
        return;
    if (pthread_equal(pthread_self(), g->owner)) {
        if (g->before_sync && sync)
            gate_pass(r, false);
        else if (g->partly && call == CRASH_BEFORE_WRITE)
            gate_pass(r, true);
        if (sync)
            g->before_sync = false;
        return;
    }
    pthread_mutex_lock(&g->lock);
    g->written += written;
    pthread_cond_broadcast(&g->changed);
    while (call != CRASH_AFTER_WRITE &&
           g->let < (sync ? GATE_ALL : GATE_WRITES))
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void gate_create(struct trace_run *r)
{
    struct trace_gate *g = calloc(1, sizeof(*g));

    CHECK(g != NULL);
    g->owner = pthread_self();
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    r->gate = g;
    crash_rec_hook(r->rec, gate_hook, r);
}

static void gate_destroy(struct trace_gate *g)
{
    if (g == NULL)
        return;
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- the crew ---- */

struct trace_job {
    struct trace_crew *crew;
    struct quire_txn *txn;
    unsigned flags;
    pthread_t thread;
    quire_status rc;
    quire_rev rev;
};

struct trace_crew {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of anything below */
    unsigned begins;        /* syncs that may begin; under lock */
    unsigned ends;          /* and that may end; under lock */
    unsigned nrunning;      /* have begun and wait for that; under lock */
    struct trace_job job[TRACE_THREADS]; /* who runs the trace, or the thread */
};

static _Thread_local bool crew_member;

static void crew_hook(void *arg, enum crash_call call, size_t written)
{
    struct trace_crew *crew = ((struct trace_run *)arg)->crew;

    (void)written;
    if (!crew_member || call < CRASH_BEFORE_SYNC)
        return;
    pthread_mutex_lock(&crew->lock);
    if (call == CRASH_BEFORE_SYNC) {
        while (crew->begins == 0)
            pthread_cond_wait(&crew->changed, &crew->lock);
        crew->begins--;
    } else {
        crew->nrunning++;
        pthread_cond_broadcast(&crew->changed);
        while (crew->ends == 0)
            pthread_cond_wait(&crew->changed, &crew->lock);
        crew->nrunning--;
        crew->ends--;
    }
    pthread_mutex_unlock(&crew->lock);
}

static void crew_create(struct trace_run *r)
{
    struct trace_crew *crew = calloc(1, sizeof(*crew));

    CHECK(crew != NULL && r->trace->threads <= TRACE_THREADS);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->changed, NULL);
    r->crew = crew;
    crash_rec_hook(r->rec, crew_hook, r);
}

static void crew_destroy(struct trace_crew *crew)
{
    if (crew == NULL)
        return;
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

/* So many syncs more may begin and end. */
static void crew_let(struct trace_crew *crew, unsigned begins, unsigned ends)
{
    pthread_mutex_lock(&crew->lock);
    crew->begins = begins;
    crew->ends = ends;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
}

static void crew_await_sync(struct trace_crew *crew)
{
    pthread_mutex_lock(&crew->lock);
    while (crew->nrunning == 0)
        pthread_cond_wait(&crew->changed, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
}

static void *job_run(void *arg)
{
    struct trace_job *j = arg;

    crew_member = true;
    j->rc = quire_commit(j->txn, j->flags, &j->rev);
    return NULL;
}

/* Hand the twin's transaction over to a thread that commits it; returns when it
 * is another's turn to write. */
static void job_start(struct trace_run *r, struct trace_job *j, unsigned flags)
{
    struct quire_txn *txn = NULL;
    quire_status rc;

    *j = (struct trace_job){ .crew = r->crew, .flags = flags };
    j->txn = twin_give(&r->twin);
    crash_mark(r->rec, CRASH_TRIED, r->twin.tried);
    CHECK_EQ(pthread_create(&j->thread, NULL, job_run, j), 0);
    while ((rc = quire_begin(r->twin.db, QUIRE_WRITE, &txn)) == QUIRE_MISUSE)
        sched_yield(); /* this thread still is the one that last used it */
    CHECK_OK(rc);
    quire_abort(txn);
}

static void job_end(struct trace_run *r, struct trace_job *j)
{
    CHECK_EQ(pthread_join(j->thread, NULL), 0);
    twin_given(&r->twin, j->flags, j->rev, j->rc);
    if (j->rc == QUIRE_OK) {
        crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
        crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
    }
}

/*
 * `n` commits under way together:
 *
 *     written  0      1 2 3
 *     syncs       |---------| |-------|
 *     returns                 0       1 2 3
 *
 * The first sync is held while the others are written: it covers none of them.
 * The second begins when those are back who wait for the first; those are the
 * first commit and un-synced ones behind it. So equal seeds make equal
 * recordings. `fails`: the number of the sync that fails, 0 for none.
 */
static void crew_commit(struct trace_run *r, unsigned n, unsigned first,
                        unsigned fails)
{
    struct trace_crew *crew = r->crew;
    const unsigned nosync = r->trace->nosync;
    unsigned back = 0;

    if (fails > 0)
        fault_arm(&r->sync_fault, FAULT_BIT(FAULT_SYNC), fails, EIO,
                  FAULT_ONCE);
    for (unsigned i = 0; i < n; i++) {
        bool synced = i == 0 || nosync == 0 || (first + i) % nosync == 0;

        if (i > 0)
            change_next(r, &r->twin, &r->rand);
        if (i == 0)
            crew_let(crew, 1, 0);
        job_start(r, &crew->job[i], QUIRE_EMPTY | (synced ? 0 : QUIRE_NOSYNC));
        if (i == 0)
            crew_await_sync(crew);
    }
    crew_let(crew, 0, 1);
    do
        job_end(r, &crew->job[back++]);
    while (back < n && (crew->job[back].flags & QUIRE_NOSYNC) != 0);
    crew_let(crew, 1, 1);
    while (back < n)
        job_end(r, &crew->job[back++]);
    fault_heal(&r->sync_fault);
    if (r->twin.poisoned) {
        (void)twin_close(&r->twin);
        open_marked(r);
    }
}

/* ---- running ---- */

/* Commits that make the store older than the recording. */
static void run_before(struct trace_run *r)
{
    CHECK_OK(twin_open(&r->twin, TRACE_PATH, &r->opt));
    for (unsigned i = 0; i < r->trace->before; i++) {
        CHECK_OK(twin_begin(&r->twin));
        CHECK_OK(twin_tree_create(&r->twin, "side"));
        change_up_to(r->trace, &r->twin, &r->rand, 1);
        CHECK_OK(twin_commit(&r->twin, QUIRE_EMPTY | QUIRE_NOSYNC));
    }
    CHECK_OK(twin_close(&r->twin));
    for (int i = 0; i < CRASH_MARKS; i++)
        crash_mark(r->rec, (enum crash_mark)i, r->twin.acked);
}

static void run_begin(struct trace_run *r, const struct trace *tr,
                      uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->trace = tr;
    r->seed = seed;
    r->rand = seed;
    r->disk = mem_disk_create();
    fault_init(&r->sync_fault, mem_disk_io(r->disk), NULL);
    r->rec = crash_rec_create(&r->sync_fault.io);
    fault_init(&r->fault, crash_rec_io(r->rec), NULL);
    twin_init(&r->twin);
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = tr->page_bytes,
        .versioning = tr->versioning,
        .window = tr->window,
        .io = mem_disk_io(r->disk),
        .sys = mem_sys_kept(),
    };
    if (tr->before > 0)
        run_before(r);
    r->opt.io = &r->fault.io;
    if (tr->background) {
        r->opt.flags &= ~QUIRE_NOBACKGROUND;
        gate_create(r);
    }
    if (tr->threads > 0)
        crew_create(r);
    open_marked(r);
}

/* Another versioning and another window than before. */
static void set_marked(struct trace_run *r, unsigned nth)
{
    static const quire_versioning turns[] = {
        QUIRE_VERSIONING_SLIDING,      QUIRE_VERSIONING_INCREMENTAL,
        QUIRE_VERSIONING_DIFFERENTIAL, QUIRE_VERSIONING_SLIDING,
        QUIRE_VERSIONING_FULL,         QUIRE_VERSIONING_ADAPTIVE,
    };

    crash_mark(r->rec, CRASH_TRIED, r->twin.published + 1);
    CHECK_OK(twin_set_versioning(&r->twin, turns[nth % ARRAY_LEN(turns)],
                                 2 + nth * 5 % 15));
    crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
    crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
}

/* The transaction that becomes a revision, and before it some that don't. */
static void run_commit(struct trace_run *r, unsigned i)
{
    const struct trace *tr = r->trace;
    bool synced = tr->nosync == 0 || i % tr->nosync == 0;

    if (tr->set > 0 && i % tr->set == 0)
        set_marked(r, i / tr->set);
    change_next(r, &r->twin, &r->rand);
    if (i % 8 == 0) {
        twin_abort(&r->twin);
        change_next(r, &r->twin, &r->rand);
    }
    if (tr->full_disk > 0 && i % tr->full_disk == 0) {
        commit_failing(r,
                       i % 3 == 0 ? QUIRE_NOSYNC | QUIRE_EMPTY : QUIRE_EMPTY);
        change_next(r, &r->twin, &r->rand);
    }
    if (i == 1)
        change_load(r, tr->records, 300);
    if (tr->ahead > 0 && i == tr->commits - 1)
        change_great(r);
    if (tr->threads > 0 && i % 4 != 0) {
        unsigned n = 1 + (unsigned)test_rand_below(&r->rand, tr->threads);
        bool fails = tr->bad_sync > 0 && i % tr->bad_sync == 0;

        crew_commit(r, n, i, fails ? 1 + i % 2 : 0);
        return;
    }
    if (tr->bad_sync > 0 && i % tr->bad_sync == 0) {
        commit_undecided(r);
        return;
    }
    if (r->gate != NULL) {
        gate_pass(r, true); /* what the commits above have asked for */
        r->gate->before_sync = synced && test_rand_below(&r->rand, 2) == 0;
    }
    commit_marked(r, QUIRE_EMPTY | (synced ? 0 : QUIRE_NOSYNC));
    if (r->gate != NULL)
        gate_pass(r, true);
}

/* The newest revision is what it should be, for readers beside the writer. */
static void run_compare_newest(struct trace_run *r)
{
    struct quire_txn *txn = NULL;

    CHECK_OK(quire_begin(r->twin.db, QUIRE_READ, &txn));
    CHECK_EQ(quire_txn_rev(txn), r->twin.published);
    change_compare(r, txn, model_at(r->twin.model, r->twin.published));
    quire_abort(txn);
}

/* Every revision of the whole store that was left is as it was made. */
static void run_compare(struct trace_run *r)
{
    struct quire_options opt = r->opt;
    struct quire *db = NULL;
    char why[MODEL_WHY_CAP];

    opt.io = mem_disk_io(r->disk);
    opt.flags |= QUIRE_RDONLY;
    CHECK_OK(quire_open(TRACE_PATH, &opt, &db));
    for (quire_rev rev = 0; rev <= r->twin.published; rev++) {
        if (!model_same_at(r->twin.model, db, rev, MODEL_FORWARD, why)) {
            print_error("trace \"%s\", at its end: %s\n", r->trace->name, why);
            CHECK(false);
        }
    }
    CHECK_OK(quire_close(db));
}

void trace_run(struct trace_run *r, const struct trace *tr, uint64_t seed)
{
    run_begin(r, tr, seed);
    for (unsigned i = 1; i <= tr->commits; i++) {
        if (tr->focus > 0 && i == tr->commits - tr->focus)
            r->first = crash_rec_figures(r->rec).events;
        run_commit(r, i);
        if (i % 4 == 0 || tr->ahead > 0)
            run_compare_newest(r);
        if (tr->nosync > 0 && i % (3 * tr->nosync) == 1) {
            CHECK_OK(twin_sync(&r->twin));
            crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
            if (r->gate != NULL)
                gate_pass(r, true);
        }
        if (tr->reopen > 0 && i % tr->reopen == 0) {
            close_marked(r);
            open_marked(r);
        }
    }
    close_marked(r);
    r->opt.io = NULL;
    r->opt.flags |= QUIRE_NOBACKGROUND;
    run_compare(r);
}

void trace_end(struct trace_run *r)
{
    crash_rec_destroy(r->rec);
    gate_destroy(r->gate);
    crew_destroy(r->crew);
    fault_fini(&r->fault);
    fault_fini(&r->sync_fault);
    mem_disk_destroy(r->disk);
    twin_fini(&r->twin);
    for (unsigned i = 0; i < r->nghosts; i++)
        model_destroy(r->ghost[i].model);
}

/* ---- judging a state ---- */

static void judge_fault(struct trace_verdict *v, uint64_t *count,
                        const struct crash_state *st, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void judge_fault(struct trace_verdict *v, uint64_t *count,
                        const struct crash_state *st, const char *fmt, ...)
{
    char text[MODEL_WHY_CAP];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (v->lost + v->broken == 0)
        snprintf(v->first, sizeof(v->first),
                 "trace \"%s\": %s (acknowledged %" PRId64 ", returned %" PRId64
                 ", begun %" PRId64 "): %s",
                 v->run->trace->name, st->how, st->mark[CRASH_ACKED],
                 st->mark[CRASH_RETURNED], st->mark[CRASH_TRIED], text);
    (*count)++;
}

struct tell {
    uint64_t n;
    char text[200];
};

static void tell_fault(void *arg, const struct quire_fault *f)
{
    struct tell *t = arg;

    if (t->n++ == 0)
        snprintf(t->text, sizeof(t->text),
                 "revision %" PRIu64 ", offset %" PRIu64 ": %s", f->rev,
                 f->file_off, f->text);
}

/* Revision `rev`, the newest in `db`, is a commit that was failing when the
 * crash came. */
static bool judge_ghost(struct trace_verdict *v, const struct crash_state *st,
                        struct quire *db, quire_rev rev)
{
    const struct trace_run *r = v->run;
    char why[MODEL_WHY_CAP];

    for (unsigned i = 0; i < r->nghosts; i++) {
        const struct trace_ghost *g = &r->ghost[i];

        if (g->rev == rev && st->event >= g->from && st->event <= g->to)
            return !v->second &&
                   model_same_at(g->model, db, rev, MODEL_FORWARD, why);
    }
    return false;
}

/* The revision in `db` is one of those that may be, with its contents, and so
 * are the older ones. */
static bool judge_contents(struct trace_verdict *v,
                           const struct crash_state *st, struct quire *db,
                           quire_rev rev)
{
    const struct model *m = v->run->twin.model;
    int64_t least = st->mark[st->killed ? CRASH_RETURNED : CRASH_ACKED];
    quire_rev first = st->mark[CRASH_ACKED] > 0
                          ? (quire_rev)st->mark[CRASH_ACKED]
                          : 0;
    struct tell tell = { 0 };
    char why[MODEL_WHY_CAP];
    quire_status rc;

    if ((int64_t)rev < least || (int64_t)rev > st->mark[CRASH_TRIED]) {
        judge_fault(v, &v->lost, st, "opens at revision %" PRIu64, rev);
        return false;
    }
    rc = quire_verify(db, tell_fault, &tell, NULL);
    if (rc != QUIRE_OK) {
        judge_fault(v, &v->broken, st, "verify: %d; %s", (int)rc, tell.text);
        return false;
    }
    /* What the state may have touched, and two of those before. */
    for (quire_rev i = first; i <= rev + 2; i++) {
        quire_rev at = i <= rev ? i : test_rand_below(&v->rand, rev + 1);

        if (!model_same_at(m, db, at, MODEL_FORWARD, why)) {
            if (at == rev && judge_ghost(v, st, db, rev)) {
                v->ghosts++;
                continue;
            }
            judge_fault(v, &v->broken, st, "%s", why);
            return false;
        }
        v->olds += at < rev;
    }
    return true;
}

/* Open the store that had revision `made` when it was closed. What was written
 * since the crash is not in the place of anything older. */
static bool judge_reopened(struct trace_verdict *v,
                           const struct crash_state *st,
                           const struct quire_options *opt, quire_rev made,
                           const struct quire_val *key)
{
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    struct quire_val val;
    struct tell tell = { 0 };
    char why[MODEL_WHY_CAP];
    quire_rev rev = 0;
    quire_status rc;
    bool good;

    rc = quire_open(TRACE_PATH, opt, &db);
    if (rc == QUIRE_OK)
        rc = quire_rev_newest(db, &rev);
    if (rc == QUIRE_OK)
        rc = quire_begin(db, QUIRE_READ, &txn);
    if (rc == QUIRE_OK && key != NULL)
        rc = quire_get(txn, NULL, key, &val);
    if (rc == QUIRE_OK)
        rc = quire_verify(db, tell_fault, &tell, NULL);
    good = rc == QUIRE_OK && rev == made;
    if (rc != QUIRE_OK)
        judge_fault(v, &v->broken, st, "reopened: %d, %s; %s", (int)rc,
                    quire_error_detail(), tell.text);
    else if (!good)
        judge_fault(v, &v->broken, st,
                    "reopened at revision %" PRIu64 " after %" PRIu64, rev,
                    made);
    if (good &&
        !model_same_at(v->run->twin.model, db, made - 1, MODEL_FORWARD, why) &&
        !judge_ghost(v, st, db, made - 1)) {
        judge_fault(v, &v->broken, st, "reopened: %s", why);
        good = false;
    }
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    return good;
}

/* Where the trace writes ahead, so does the next transaction, now and then: in
 * spans that nothing older has. */
static quire_status judge_puts(const struct trace_verdict *v,
                               const struct crash_state *st,
                               struct quire_txn *txn)
{
    unsigned n = st->event % 16 == 0 ? v->run->trace->ahead : 0;
    quire_status rc = QUIRE_OK;

    for (unsigned k = 0; k < n && rc == QUIRE_OK; k++) {
        char text[900] = "";
        struct quire_val key = { text, sizeof("new000000") };
        struct quire_val val = { text, sizeof(text) };

        snprintf(text, sizeof(text), "new%06u", k);
        rc = quire_put(txn, NULL, &key, &val, 0);
    }
    return rc;
}

/* Make the next revision of a trace whose changes follow from their number once
 * more: its bytes are those that the crash cut off. */
static quire_status judge_same_again(struct trace_verdict *v, struct quire *db,
                                     quire_rev rev, quire_rev *made)
{
    struct twin twin;
    uint64_t unused = 0;
    quire_status rc;

    twin_init(&twin);
    model_destroy(twin.model);
    twin.model = model_fork(v->run->twin.model);
    model_forget(twin.model, rev);
    twin.db = db;
    twin.acked = rev;
    twin.published = rev;
    twin.tried = rev;
    change_next(v->run, &twin, &unused);
    rc = twin_commit(&twin, QUIRE_EMPTY);
    *made = twin.published;
    twin.db = NULL;
    twin_fini(&twin);
    return rc;
}

/* The store takes a transaction, closes clean, and has it when reopened, and
 * nothing after it. */
static bool judge_goes_on(struct trace_verdict *v, const struct crash_state *st,
                          struct quire *db, quire_rev rev,
                          const struct quire_options *opt)
{
    struct quire_val key = { "after the crash", 15 };
    struct quire_close_report report = { .size = sizeof(report) };
    bool same = v->run->trace->again;
    struct quire_txn *txn = NULL;
    quire_rev made = 0;
    quire_status rc;

    if (same) {
        rc = judge_same_again(v, db, rev, &made);
    } else {
        rc = quire_begin(db, QUIRE_WRITE, &txn);
        if (rc == QUIRE_OK)
            rc = quire_put(txn, NULL, &key, &key, 0);
        if (rc == QUIRE_OK)
            rc = judge_puts(v, st, txn);
        if (rc == QUIRE_OK) {
            rc = quire_commit(txn, 0, &made);
            txn = NULL;
        }
        quire_abort(txn);
    }
    if (rc != QUIRE_OK || made != rev + 1)
        judge_fault(v, &v->broken, st, "the next commit: %d, %s", (int)rc,
                    quire_error_detail());
    rc = quire_close_report(db, &report);
    CHECK_EQ(report.pinned_pages + report.segments_in_use + report.intents, 0);
    if (rc != QUIRE_OK)
        judge_fault(v, &v->broken, st, "close: %d", (int)rc);
    if (rc != QUIRE_OK || made != rev + 1 || (st->event % 8 != 0 && !same))
        return rc == QUIRE_OK;
    return judge_reopened(v, st, opt, made, same ? NULL : &key);
}

/* Recovery began where the superblocks allow. */
static bool judge_start(struct trace_verdict *v, const struct crash_state *st,
                        struct quire *db)
{
    quire_rev from = db->file->super.rev;

    if (from >= v->run->trace->super_least)
        return true;
    judge_fault(v, &v->broken, st,
                "recovery began at revision %" PRIu64 ", for want of a newer "
                "superblock",
                from);
    return false;
}

/* Crash again: during the recovery that led to revision `rev`, and after. */
static void judge_again(struct trace_verdict *v, struct crash_rec *rec)
{
    struct trace_verdict again = { .run = v->run,
                                   .rand = test_rand(&v->rand),
                                   .second = true };
    struct crash_plan plan = { .seed = test_rand(&v->rand), .nstates = 6 };

    v->again += crash_states(rec, &plan, trace_judge, &again);
    if (again.lost + again.broken > 0 && v->lost + v->broken == 0)
        snprintf(v->first, sizeof(v->first), "a second crash: %.990s",
                 again.first);
    v->lost += again.lost;
    v->broken += again.broken;
}

void trace_judge(void *arg, struct crash_state *st)
{
    struct trace_verdict *v = arg;
    struct quire_options opt = v->run->opt;
    struct crash_rec *rec = NULL;
    struct quire *db = NULL;
    quire_rev rev = 0;
    quire_status rc;

    v->states++;
    opt.io = mem_disk_io(st->disk);
    opt.flags |= st->mark[CRASH_ACKED] < 0 ? 0 : QUIRE_NOCREATE;
    if (st->mark[CRASH_ACKED] < 0)
        v->none++;
    if (!v->second && !v->once && v->run->nghosts == 0 &&
        test_rand_below(&v->rand, 16) == 0) {
        rec = crash_rec_create(opt.io);
        if (!st->killed) /* what the disk lacks no kill can save */
            st->mark[CRASH_RETURNED] = st->mark[CRASH_ACKED];
        for (int i = 0; i < CRASH_MARKS; i++)
            if (st->mark[i] >= 0)
                crash_mark(rec, (enum crash_mark)i, (quire_rev)st->mark[i]);
        opt.io = crash_rec_io(rec);
    }
    rc = quire_open(TRACE_PATH, &opt, &db);
    if (rc != QUIRE_OK) {
        judge_fault(v, &v->broken, st, "does not open: %d, %s", (int)rc,
                    quire_error_detail());
    } else {
        CHECK_OK(quire_rev_newest(db, &rev));
        if (st->mark[CRASH_TRIED] < 0 && rev == 0)
            st->mark[CRASH_TRIED] = 0; /* created anew, or just there */
        if (rec != NULL) {             /* what an opener was shown must stay */
            crash_mark(rec, CRASH_TRIED, rev);
            crash_mark(rec, CRASH_RETURNED, rev);
            crash_mark(rec, CRASH_ACKED, rev);
        }
        if (judge_start(v, st, db) && judge_contents(v, st, db, rev) &&
            rec == NULL) {
            judge_goes_on(v, st, db, rev, &opt);
        } else {
            struct quire_close_report report = { .size = sizeof(report) };

            (void)quire_close_report(db, &report);
            CHECK_EQ(report.pinned_pages + report.segments_in_use, 0);
        }
    }
    if (rec != NULL && rc == QUIRE_OK)
        judge_again(v, rec);
    crash_rec_destroy(rec);
}
