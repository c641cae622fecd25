/*
 * test_crash_store.c - crash states of small loads.
 *
 * A *trace* is some work on a new store through a recorder: commits of many
 * sizes, aborts, un-synced commits, writing ahead, reopenings. lib_crash.h
 * builds states from it, and each must open, verify, hold exactly a revision
 * that was acknowledged or a later one that had been begun, with exactly its
 * contents, and take the next transaction. In some states the recovery is
 * recorded in its turn and crashes again.
 *
 * 2,000 states; 20,000 with QUIRE_CRASH=long, and then also all
 * subsets of few sectors at each sync. The last tests doubt the tests: when
 * syncs are lies, the same checks must fail.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>

#include "tests/lib_crash.h"
#include "tests/lib_fault.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define PATH "crashed.quire"

struct trace {
    const char *name;
    uint32_t page_bytes;
    quire_versioning versioning;
    uint32_t window;
    unsigned commits;
    unsigned puts;      /* most puts of a commit */
    size_t val_max;     /* bytes */
    unsigned nosync;    /* only each so many commits is synced; 0: each */
    unsigned reopen;    /* after each so many commits; 0: never */
    unsigned ahead;     /* records of a great transaction; 0: none */
    unsigned weight;    /* its share of the states */
    unsigned before;    /* small commits that are not recorded */
    unsigned full_disk; /* each so many commits fails for want of space, though
                           all is written; 0: none */
    unsigned focus;     /* crash in the last so many commits; 0: anywhere */
    unsigned bad_sync;  /* the sync of each so many commits fails, and the
                           store is opened again; 0: none */
    bool background;    /* zeros are written ahead, by a thread: states of
                           equal seeds differ then */
};

static const struct trace traces[] = {
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
};

/* A commit that failed: until its caller was told, its revision may have been
 * there; from then on it may not. */
struct ghost {
    uint64_t from; /* number of an event */
    uint64_t to;
    quire_rev rev;
    struct model *model; /* its newest snapshot is what was to be */
};

#define GHOSTS 16 /* most failed commits of a trace */

/* A trace that was run: what was recorded, and what each revision holds. */
struct run {
    const struct trace *trace;
    struct mem_disk *disk;
    struct crash_rec *rec;
    struct fault sync_fault; /* below the recorder, which sees its failures */
    struct fault fault;      /* over the recorder */
    struct twin twin;
    struct quire_options opt;
    struct ghost ghost[GHOSTS];
    unsigned nghosts;
    uint64_t first; /* number of the first event to crash after */
    uint64_t rand;
};

static void open_marked(struct run *r)
{
    CHECK_OK(twin_open(&r->twin, PATH, &r->opt));
    crash_mark(r->rec, CRASH_TRIED, r->twin.published);
    crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
    crash_mark(r->rec, CRASH_ACKED, r->twin.published);
}

static void close_marked(struct run *r)
{
    CHECK_OK(twin_close(&r->twin));
    crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
}

/* A commit whose write reports a full disk. */
static void commit_failing(struct run *r, unsigned flags)
{
    struct ghost *g = &r->ghost[r->nghosts++];

    CHECK(r->nghosts <= GHOSTS);
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
static void commit_undecided(struct run *r)
{
    crash_mark(r->rec, CRASH_TRIED, r->twin.published + 1);
    fault_arm(&r->sync_fault, FAULT_BIT(FAULT_SYNC), 1, EIO, FAULT_ONCE);
    CHECK_STATUS(twin_commit(&r->twin, QUIRE_EMPTY), QUIRE_UNDECIDED);
    fault_heal(&r->sync_fault);
    (void)twin_close(&r->twin);
    open_marked(r);
}

static void commit_marked(struct run *r, unsigned flags)
{
    crash_mark(r->rec, CRASH_TRIED, r->twin.published + 1);
    CHECK_OK(twin_commit(&r->twin, flags));
    crash_mark(r->rec, CRASH_RETURNED, r->twin.published);
    crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
}

static void change_some(struct run *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t what = test_rand_below(&r->rand, 10);
        const char *tree = what % 3 == 0 ? "side" : NULL;
        enum gen_shape shape = (enum gen_shape)test_rand_below(&r->rand,
                                                               GEN_SHAPES);
        uint8_t key[GEN_KEY_MAX];
        struct quire_val k = { key, 0 };
        size_t max = test_rand_below(&r->rand, 5) == 0 ? r->trace->val_max
                                                       : 120;

        k.size = gen_key(&r->rand, shape, 150,
                         QUIRE_KEY_MAX(r->trace->page_bytes), key);
        if (what < 7)
            CHECK_OK(twin_put_gen(&r->twin, tree, key, k.size,
                                  test_rand_below(&r->rand, max + 1),
                                  &r->rand));
        else
            (void)!twin_del(&r->twin, tree, &k);
    }
}

/* Let the thread that writes zeros ahead come to do so: the first time wait for
 * it, later only make room. */
static void let_zeros_be_written(struct run *r, bool wait)
{
    struct quire_stat st = { .size = sizeof(st) };
    uint64_t before;
    unsigned turns = 0;

    CHECK_OK(quire_stat_get(r->twin.db, &st));
    before = st.zeroed_bytes;
    do {
        sched_yield();
        CHECK_OK(quire_stat_get(r->twin.db, &st));
    } while (wait ? st.zeroed_bytes == 0
                  : st.zeroed_bytes == before && ++turns < 200);
}

/* Commits that make the store older than the recording. */
static void run_before(struct run *r)
{
    CHECK_OK(twin_open(&r->twin, PATH, &r->opt));
    for (unsigned i = 0; i < r->trace->before; i++) {
        CHECK_OK(twin_begin(&r->twin));
        CHECK_OK(twin_tree_create(&r->twin, "side"));
        change_some(r, 1);
        CHECK_OK(twin_commit(&r->twin, QUIRE_EMPTY | QUIRE_NOSYNC));
    }
    CHECK_OK(twin_close(&r->twin));
    for (int i = 0; i < CRASH_MARKS; i++)
        crash_mark(r->rec, (enum crash_mark)i, r->twin.acked);
}

static void run_trace(struct run *r, const struct trace *tr, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->trace = tr;
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
    };
    if (tr->before > 0)
        run_before(r);
    r->opt.io = &r->fault.io;
    if (tr->background)
        r->opt.flags &= ~QUIRE_NOBACKGROUND;
    open_marked(r);
    for (unsigned i = 1; i <= tr->commits; i++) {
        if (tr->focus > 0 && i == tr->commits - tr->focus)
            r->first = crash_rec_figures(r->rec).events;
        CHECK_OK(twin_begin(&r->twin));
        CHECK_OK(twin_tree_create(&r->twin, "side"));
        change_some(r, 1 + (unsigned)test_rand_below(&r->rand, tr->puts));
        if (i % 8 == 0) {
            twin_abort(&r->twin);
            CHECK_OK(twin_begin(&r->twin));
            change_some(r, 1);
        }
        if (tr->full_disk > 0 && i % tr->full_disk == 0) {
            commit_failing(r, i % 3 == 0 ? QUIRE_NOSYNC | QUIRE_EMPTY
                                         : QUIRE_EMPTY);
            CHECK_OK(twin_begin(&r->twin));
            change_some(r, 2);
        }
        if (tr->ahead > 0 && i == tr->commits - 1) {
            for (unsigned k = 0; k < tr->ahead; k++) {
                char key[16];
                int n = snprintf(key, sizeof(key), "ahead%06u", k);

                CHECK_OK(twin_put_gen(&r->twin, NULL, key, (size_t)n, 900,
                                      &r->rand));
            }
        }
        if (tr->bad_sync > 0 && i % tr->bad_sync == 0) {
            commit_undecided(r);
            continue;
        }
        commit_marked(
            r, QUIRE_EMPTY |
                   (tr->nosync > 0 && i % tr->nosync != 0 ? QUIRE_NOSYNC : 0));
        if (tr->background)
            let_zeros_be_written(r, i == 1);
        if (tr->nosync > 0 && i % (3 * tr->nosync) == 1) {
            CHECK_OK(twin_sync(&r->twin));
            crash_mark(r->rec, CRASH_ACKED, r->twin.acked);
        }
        if (tr->reopen > 0 && i % tr->reopen == 0) {
            close_marked(r);
            open_marked(r);
        }
    }
    close_marked(r);
    r->opt.io = NULL;
    r->opt.flags |= QUIRE_NOBACKGROUND;
}

static void end_trace(struct run *r)
{
    crash_rec_destroy(r->rec);
    fault_fini(&r->fault);
    fault_fini(&r->sync_fault);
    mem_disk_destroy(r->disk);
    twin_fini(&r->twin);
    for (unsigned i = 0; i < r->nghosts; i++)
        model_destroy(r->ghost[i].model);
}

/* ---- checking a state ---- */

struct judge {
    struct run *run;
    uint64_t states;
    uint64_t lost;   /* states that lack what was acknowledged */
    uint64_t broken; /* that don't open or verify, or differ */
    uint64_t none;   /* that rightly hold no store */
    uint64_t olds;   /* older revisions compared */
    uint64_t again;  /* states of a second crash */
    uint64_t ghosts; /* states that hold a commit about to fail */
    uint64_t rand;
    bool second;      /* these are states of a second crash */
    bool expect;      /* faults are expected: tell none */
    char first[1024]; /* the first fault */
};

static void judge_fault(struct judge *j, uint64_t *count,
                        const struct crash_state *st, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void judge_fault(struct judge *j, uint64_t *count,
                        const struct crash_state *st, const char *fmt, ...)
{
    char text[MODEL_WHY_CAP];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (j->lost + j->broken == 0)
        snprintf(j->first, sizeof(j->first),
                 "trace \"%s\": %s (acknowledged %" PRId64 ", returned %" PRId64
                 ", begun %" PRId64 "): %s",
                 j->run->trace->name, st->how, st->mark[CRASH_ACKED],
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
static bool judge_ghost(struct judge *j, const struct crash_state *st,
                        struct quire *db, quire_rev rev)
{
    const struct run *r = j->run;
    char why[MODEL_WHY_CAP];

    for (unsigned i = 0; i < r->nghosts; i++) {
        const struct ghost *g = &r->ghost[i];

        if (g->rev == rev && st->event >= g->from && st->event <= g->to)
            return !j->second &&
                   model_same_at(g->model, db, rev, MODEL_FORWARD, why);
    }
    return false;
}

/* The revision in `db` is one of those that may be, with its contents, and so
 * are some older ones. */
static bool judge_contents(struct judge *j, const struct crash_state *st,
                           struct quire *db, quire_rev rev)
{
    const struct model *m = j->run->twin.model;
    int64_t least = st->mark[st->killed ? CRASH_RETURNED : CRASH_ACKED];
    struct tell tell = { 0 };
    char why[MODEL_WHY_CAP];
    quire_status rc;

    if ((int64_t)rev < least || (int64_t)rev > st->mark[CRASH_TRIED]) {
        judge_fault(j, &j->lost, st, "opens at revision %" PRIu64, rev);
        return false;
    }
    rc = quire_verify(db, tell_fault, &tell, NULL);
    if (rc != QUIRE_OK) {
        judge_fault(j, &j->broken, st, "verify: %d; %s", (int)rc, tell.text);
        return false;
    }
    for (unsigned i = 0; i < 3; i++) {
        quire_rev r = i == 0 ? rev : test_rand_below(&j->rand, rev + 1);

        if (!model_same_at(m, db, r, MODEL_FORWARD, why)) {
            if (r == rev && judge_ghost(j, st, db, rev)) {
                j->ghosts++;
                continue;
            }
            judge_fault(j, &j->broken, st, "%s", why);
            return false;
        }
        j->olds += i > 0;
    }
    return true;
}

/* The store takes a transaction, closes clean, and has it when reopened. */
static bool judge_goes_on(struct judge *j, const struct crash_state *st,
                          struct quire *db, quire_rev rev,
                          const struct quire_options *opt)
{
    struct quire_val key = { "after the crash", 15 };
    struct quire_close_report report = { .size = sizeof(report) };
    struct quire_txn *txn = NULL;
    struct quire_val val;
    quire_rev made = 0;
    quire_status rc;

    rc = quire_begin(db, QUIRE_WRITE, &txn);
    if (rc == QUIRE_OK)
        rc = quire_put(txn, NULL, &key, &key, 0);
    if (rc == QUIRE_OK) {
        rc = quire_commit(txn, 0, &made);
        txn = NULL;
    }
    quire_abort(txn);
    if (rc != QUIRE_OK || made != rev + 1)
        judge_fault(j, &j->broken, st, "the next commit: %d, %s", (int)rc,
                    quire_error_detail());
    rc = quire_close_report(db, &report);
    CHECK_EQ(report.pinned_pages + report.segments_in_use + report.intents, 0);
    if (rc != QUIRE_OK)
        judge_fault(j, &j->broken, st, "close: %d", (int)rc);
    if (rc != QUIRE_OK || made != rev + 1 || st->event % 8 != 0)
        return rc == QUIRE_OK;
    db = NULL;
    rc = quire_open(PATH, opt, &db);
    if (rc == QUIRE_OK)
        rc = quire_begin(db, QUIRE_READ, &txn);
    if (rc == QUIRE_OK)
        rc = quire_get(txn, NULL, &key, &val);
    if (rc != QUIRE_OK)
        judge_fault(j, &j->broken, st, "reopened: %d, %s", (int)rc,
                    quire_error_detail());
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    return rc == QUIRE_OK;
}

static void judge_state(void *arg, struct crash_state *st);

/* Crash again: during the recovery that led to revision `rev`, and after. */
static void judge_again(struct judge *j, struct crash_rec *rec)
{
    struct judge again = { .run = j->run,
                           .rand = test_rand(&j->rand),
                           .second = true };
    struct crash_plan plan = { .seed = test_rand(&j->rand), .nstates = 6 };

    j->again += crash_states(rec, &plan, judge_state, &again);
    if (again.lost + again.broken > 0 && j->lost + j->broken == 0)
        snprintf(j->first, sizeof(j->first), "a second crash: %.990s",
                 again.first);
    j->lost += again.lost;
    j->broken += again.broken;
}

static void judge_state(void *arg, struct crash_state *st)
{
    struct judge *j = arg;
    struct quire_options opt = j->run->opt;
    struct crash_rec *rec = NULL;
    struct quire *db = NULL;
    quire_rev rev = 0;
    quire_status rc;

    j->states++;
    opt.io = mem_disk_io(st->disk);
    opt.flags |= st->mark[CRASH_ACKED] < 0 ? 0 : QUIRE_NOCREATE;
    if (st->mark[CRASH_ACKED] < 0)
        j->none++;
    if (!j->second && !j->expect && j->run->nghosts == 0 &&
        test_rand_below(&j->rand, 16) == 0) {
        rec = crash_rec_create(opt.io);
        if (!st->killed) /* what the disk lacks no kill can save */
            st->mark[CRASH_RETURNED] = st->mark[CRASH_ACKED];
        for (int i = 0; i < CRASH_MARKS; i++)
            if (st->mark[i] >= 0)
                crash_mark(rec, (enum crash_mark)i, (quire_rev)st->mark[i]);
        opt.io = crash_rec_io(rec);
    }
    rc = quire_open(PATH, &opt, &db);
    if (rc != QUIRE_OK) {
        judge_fault(j, &j->broken, st, "does not open: %d, %s", (int)rc,
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
        if (judge_contents(j, st, db, rev) && rec == NULL) {
            judge_goes_on(j, st, db, rev, &opt);
        } else {
            struct quire_close_report report = { .size = sizeof(report) };

            (void)quire_close_report(db, &report);
            CHECK_EQ(report.pinned_pages + report.segments_in_use, 0);
        }
    }
    if (rec != NULL && rc == QUIRE_OK)
        judge_again(j, rec);
    crash_rec_destroy(rec);
}

/* ---- the tests ---- */

static bool crash_long(void)
{
    const char *s = getenv("QUIRE_CRASH");

    return s != NULL && strcmp(s, "long") == 0;
}

static void test_crash_states(void **state)
{
    uint64_t seed = test_seed();
    uint64_t want = test_rounds(crash_long() ? 20000 : 2000);
    uint64_t states = 0;
    uint64_t again = 0;
    uint64_t olds = 0;
    unsigned weights = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(traces); i++)
        weights += traces[i].weight;
    for (size_t i = 0; i < ARRAY_LEN(traces); i++) {
        struct crash_plan plan = { .seed = seed + i,
                                   .exhaustive = crash_long() };
        struct judge judge = { .rand = seed + i };
        struct crash_figures fig;
        struct run run;

        CHECK_CASE(traces[i].name);
        plan.nstates = want * traces[i].weight / weights + 1;
        run_trace(&run, &traces[i], seed + i);
        judge.run = &run;
        plan.first = run.first;
        fig = crash_rec_figures(run.rec);
        crash_states(run.rec, &plan, judge_state, &judge);
        print_message("crash: %-24s %3" PRIu64 " revisions, %4" PRIu64
                      " writes, %3" PRIu64 " syncs, %8" PRIu64
                      " bytes: %5" PRIu64 " states, %4" PRIu64
                      " of a second crash, %" PRIu64 " lost, %" PRIu64
                      " broken\n",
                      traces[i].name, run.twin.published, fig.writes, fig.syncs,
                      fig.written_bytes, judge.states, judge.again, judge.lost,
                      judge.broken);
        if (judge.lost + judge.broken > 0)
            print_error("%s\n", judge.first);
        CHECK_EQ(judge.lost + judge.broken, 0);
        /* These are there for their superblocks: the first of a session
         * rewrites the older one before. */
        if (traces[i].before > 0)
            CHECK(fig.head_writes >= 2);
        if (traces[i].focus > 0)
            CHECK(fig.head_writes >= 4);
        CHECK_EQ(run.nghosts > 0, traces[i].full_disk > 0);
        states += judge.states;
        again += judge.again;
        olds += judge.olds;
        end_trace(&run);
    }
    print_message("crash: %" PRIu64 " states, %" PRIu64
                  " of a second crash, %" PRIu64 " older revisions compared\n",
                  states, again, olds);
    CHECK(states >= want);
    CHECK(again > 0 || want < 500);
}

/* Judge `trace` under a plan that takes syncs for lies. */
static struct judge judge_lies(const struct trace *trace, enum crash_lie lie,
                               uint64_t nstates)
{
    uint64_t seed = test_seed();
    struct crash_plan plan = { .seed = seed,
                               .nstates = nstates,
                               .exhaustive = lie == CRASH_LIE_EARLY,
                               .lie = lie };
    struct judge judge = { .rand = seed, .expect = true };
    struct run run;

    run_trace(&run, trace, seed);
    judge.run = &run;
    crash_states(run.rec, &plan, judge_state, &judge);
    print_message("crash: lies, %-20s %4" PRIu64 " states, %" PRIu64
                  " lost, %" PRIu64 " broken; the first:\n    %s\n",
                  trace->name, judge.states, judge.lost, judge.broken,
                  judge.first);
    end_trace(&run);
    return judge;
}

/* A disk that drops what was synced is noticed. */
static void test_dropped_syncs_are_noticed(void **state)
{
    struct judge j = judge_lies(&traces[0], CRASH_LIE_ALL, 60);

    (void)state;
    CHECK(j.lost > 0);
    CHECK(j.lost + j.broken > j.states / 4);
}

/* So is one on which the record comes before what was written ahead of it:
 * nothing acknowledged is lost, but the newest revision is not whole. */
static void test_record_before_data_is_noticed(void **state)
{
    static const struct trace trace = {
        .name = "record before data",
        .page_bytes = 4096,
        .window = 4,
        .commits = 3,
        .puts = 2,
        .val_max = 300,
        .ahead = 2600,
    };
    struct judge j = judge_lies(&trace, CRASH_LIE_EARLY, 200);

    (void)state;
    CHECK(j.broken > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_states),
        cmocka_unit_test(test_dropped_syncs_are_noticed),
        cmocka_unit_test(test_record_before_data_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
