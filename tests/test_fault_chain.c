/*
 * test_fault_chain.c - every way out of building a page from its chain.
 *
 * A leaf whose chain of fragments is not in memory is wanted by four threads
 * at once: one loads it, three wait for that. The load fails in each place
 * that it can (memory, and of each fragment the read, the checksum, the body;
 * the merge; the charge), at each position of the chain, on the read path and
 * on the write path. Each thread must get that very error; all pins and
 * segments must be back; the same call made again must succeed.
 *
 * The loader is held at the failure point before the load until the three are
 * counted as waiting: nothing here depends on time.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#include "tests/lib_fault.h"
#include "tests/lib_point.h"
#include "tests/test.h"

#define PATH "chain.quire"
#define NRECORDS 80u
#define NWAITERS 3u
#define NROLES (1 + NWAITERS)

/* The records of the leaf that is loaded, and one of another. */
#define WANTED 2u
#define OTHER (NRECORDS - 1)

enum path {
    PATH_READ,        /* readers all */
    PATH_WRITE,       /* the loader is the writer */
    PATH_WRITE_WAITS, /* one who waits is the writer */
    PATHS
};

static const char *const path_name[PATHS] = { "read", "write",
                                              "write, waiting" };

struct chain;

struct role {
    struct chain *c;
    struct quire_txn *txn;
    bool write;
    bool loads;
    quire_status rc;
    char detail[512];
};

struct chain {
    struct mem_disk *disk; /* with the store, closed */
    uint32_t window;
    quire_versioning versioning;
    unsigned nfrags; /* of the leaf */
    /* of one run */
    struct fault fault;
    struct quire *db;
    struct role role[NROLES];
    uint64_t waits; /* look-ups that had waited before */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool loading; /* under lock */
    bool let_go;  /* under lock */
};

/* ---- the store ---- */

static void value_of(unsigned i, unsigned version, char buf[160])
{
    memset(buf, 'v', 160);
    snprintf(buf, 160, "value %u of %u", version, i);
}

static quire_status put(struct quire_txn *txn, unsigned i, unsigned version)
{
    char kbuf[16];
    char vbuf[160];
    struct quire_val key = { kbuf, 0 };
    struct quire_val val = { vbuf, sizeof(vbuf) };

    key.size = (size_t)snprintf(kbuf, sizeof(kbuf), "key %04u", i);
    value_of(i, version, vbuf);
    return quire_put(txn, NULL, &key, &val, 0);
}

/* Get record `i`, which must have been written as `version` if it comes. */
static quire_status get(struct quire_txn *txn, unsigned i, unsigned version)
{
    char kbuf[16];
    char vbuf[160];
    struct quire_val key = { kbuf, 0 };
    struct quire_val val = { NULL, 0 };
    quire_status rc;

    key.size = (size_t)snprintf(kbuf, sizeof(kbuf), "key %04u", i);
    rc = quire_get(txn, NULL, &key, &val);
    if (rc == QUIRE_OK) {
        value_of(i, version, vbuf);
        CHECK_EQ(val.size, sizeof(vbuf));
        CHECK_MEM_EQ(val.data, vbuf, sizeof(vbuf));
    }
    return rc;
}

static void chain_open(struct chain *c, struct mem_disk *disk)
{
    struct quire_options opt = {
        .size = sizeof(opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = QUIRE_PAGE_MIN,
        .window = c->window,
        .versioning = c->versioning,
        .io = &c->fault.io,
        .sys = &c->fault.sys,
    };

    fault_init(&c->fault, mem_disk_io(disk), NULL);
    CHECK_OK(quire_open(PATH, &opt, &c->db));
}

static void chain_close(struct chain *c)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(c->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
    CHECK(fault_live_none(&c->fault));
    fault_fini(&c->fault);
}

static struct quire_stat chain_stat(struct chain *c)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(c->db, &st));
    return st;
}

/* A store with several leaves, one of them in as many fragments as it may. */
static void chain_init(struct chain *c, uint32_t window,
                       quire_versioning versioning)
{
    struct quire_txn *txn;

    memset(c, 0, sizeof(*c));
    c->window = window;
    c->versioning = versioning;
    c->disk = mem_disk_create();
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    chain_open(c, c->disk);
    CHECK_OK(quire_begin(c->db, QUIRE_WRITE, &txn));
    for (unsigned i = 0; i < NRECORDS; i++)
        CHECK_OK(put(txn, i, 0));
    CHECK_OK(quire_commit(txn, 0, NULL));
    for (unsigned v = 1; v < window; v++) {
        CHECK_OK(quire_begin(c->db, QUIRE_WRITE, &txn));
        CHECK_OK(put(txn, WANTED, v));
        CHECK_OK(quire_commit(txn, 0, NULL));
    }
    chain_close(c);

    /* Of how many fragments it is, a load tells. */
    chain_open(c, c->disk);
    CHECK_OK(quire_begin(c->db, QUIRE_READ, &txn));
    CHECK_OK(get(txn, OTHER, 0));
    point_survey();
    CHECK_OK(get(txn, WANTED, window - 1));
    point_disarm();
    c->nfrags = (unsigned)point_passed(point_find("pages/chain/read"));
    CHECK_EQ(c->nfrags, versioning == QUIRE_VERSIONING_FULL ? 1 : window);
    quire_abort(txn);
    chain_close(c);
}

static void chain_fini(struct chain *c)
{
    pthread_cond_destroy(&c->cond);
    pthread_mutex_destroy(&c->lock);
    mem_disk_destroy(c->disk);
}

/* ---- one load and those who wait for it ---- */

/* In the loader, which holds no lock: let the others come, and wait until they
 * wait. */
static void hold_loader(void *arg)
{
    struct chain *c = arg;

    pthread_mutex_lock(&c->lock);
    c->loading = true;
    pthread_cond_broadcast(&c->cond);
    while (!c->let_go)
        pthread_cond_wait(&c->cond, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

/* In the test's own thread. */
static void let_loader_go(struct chain *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->loading)
        pthread_cond_wait(&c->cond, &c->lock);
    pthread_mutex_unlock(&c->lock);
    while (chain_stat(c).cache.waits < c->waits + NWAITERS)
        sched_yield();
    pthread_mutex_lock(&c->lock);
    c->let_go = true;
    pthread_cond_broadcast(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

static quire_status role_call(const struct role *r)
{
    unsigned newest = r->c->window - 1;

    return r->write ? put(r->txn, WANTED, newest + 1)
                    : get(r->txn, WANTED, newest);
}

static void *role_main(void *arg)
{
    struct role *r = arg;

    if (!r->loads) {
        pthread_mutex_lock(&r->c->lock);
        while (!r->c->loading)
            pthread_cond_wait(&r->c->cond, &r->c->lock);
        pthread_mutex_unlock(&r->c->lock);
    }
    r->rc = role_call(r);
    snprintf(r->detail, sizeof(r->detail), "%s", quire_error_detail());
    return NULL;
}

/* What a run injects. */
struct injection {
    const char *what;
    int point;      /* a failure point; -1: the Nth call of `kinds` */
    unsigned kinds; /* then */
    unsigned how;
    quire_status rc;
    const char *detail; /* words of the error */
};

/* One run; true if the load was made to fail. */
static bool run_once(struct chain *c, enum path path,
                     const struct injection *in, uint64_t nth)
{
    struct mem_disk *disk = mem_disk_copy(c->disk);
    pthread_t thread[NROLES];
    struct quire_stat before;
    struct quire_stat after;
    struct quire_txn *txn;
    unsigned writer = path == PATH_WRITE ? 0 : 1;
    bool failed;
    bool retried;

    chain_open(c, disk);
    for (unsigned i = 0; i < NROLES; i++) {
        struct role *r = &c->role[i];

        *r = (struct role){ .c = c, .loads = i == 0 };
        r->write = path != PATH_READ && i == writer;
        CHECK_OK(
            quire_begin(c->db, r->write ? QUIRE_WRITE : QUIRE_READ, &r->txn));
        /* All but the leaf is in memory, or among the changed pages. */
        CHECK_OK(r->write ? put(r->txn, OTHER, 1) : get(r->txn, OTHER, 0));
        if (!r->write) /* a key that is not there, so that nothing is held */
            CHECK_STATUS(get(r->txn, NRECORDS + 5, 0), QUIRE_NOTFOUND);
    }
    before = chain_stat(c);
    CHECK_EQ(before.cache.pinned_pages, 0);
    c->waits = before.cache.waits;
    c->loading = false;
    c->let_go = false;

    point_watch(point_find("cache/load/page"), hold_loader, c);
    if (in->point >= 0)
        point_arm("combiner's exits", (unsigned)in->point, nth, false);
    else
        fault_arm(&c->fault, in->kinds, nth, EIO, in->how);
    for (unsigned i = 0; i < NROLES; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, role_main, &c->role[i]), 0);
    let_loader_go(c);
    for (unsigned i = 0; i < NROLES; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    point_watch(0, NULL, NULL);
    failed = in->point >= 0 ? point_fired() > 0 : c->fault.fired > 0;
    point_disarm();
    fault_heal(&c->fault);

    /* A put that finds no memory writes pages ahead and tries once more. */
    retried = failed && in->rc == QUIRE_NOMEM && path != PATH_READ;
    after = chain_stat(c);
    CHECK(c->loading);
    CHECK_EQ(after.cache.waits, before.cache.waits + NWAITERS);
    CHECK_EQ(after.cache.loads, before.cache.loads + 1 + retried);
    CHECK_EQ(after.pool.misuses + after.cache.misuses, 0);
    CHECK_EQ(after.cache.load_failures,
             before.cache.load_failures + (failed ? 1 : 0));
    for (unsigned i = 0; i < NROLES; i++) {
        bool told = failed && !(retried && c->role[i].write);

        CHECK_STATUS(c->role[i].rc, told ? in->rc : QUIRE_OK);
        if (told && strstr(c->role[i].detail, in->detail) == NULL) {
            print_error("%s: %s\n", in->what, c->role[i].detail);
            CHECK(false);
        }
    }
    if (failed && !retried) { /* all is back, the transactions still open */
        CHECK_EQ(after.cache.pinned_pages, 0);
        CHECK_EQ(after.cache.pages, before.cache.pages);
        CHECK_EQ(after.cache.limbo_bytes, before.cache.limbo_bytes);
        CHECK_EQ(after.pool.segments_in_use, before.pool.segments_in_use);
        CHECK_EQ(after.pool.in_use_bytes, before.pool.in_use_bytes);
    }
    for (unsigned i = 0; i < NROLES; i++)
        CHECK_OK(role_call(&c->role[i]));
    for (unsigned i = 0; i < NROLES; i++) {
        if (c->role[i].write)
            CHECK_OK(quire_commit(c->role[i].txn, 0, NULL));
        else
            quire_abort(c->role[i].txn);
    }
    CHECK_EQ(chain_stat(c).cache.pinned_pages, 0);
    CHECK_OK(quire_begin(c->db, QUIRE_READ, &txn));
    CHECK_OK(get(txn, WANTED, c->window - (path == PATH_READ)));
    quire_abort(txn);
    CHECK_OK(quire_verify(c->db, NULL, NULL, NULL));
    chain_close(c);
    mem_disk_destroy(disk);
    return failed;
}

/* As many failures as `want`, one in each run, and a run without. */
static unsigned run_all(struct chain *c, enum path path,
                        const struct injection *in, unsigned least,
                        unsigned most)
{
    char name[160];
    uint64_t nth = 1;

    do {
        snprintf(name, sizeof(name), "%s %" PRIu64 ", %s, window %u", in->what,
                 nth, path_name[path], c->window);
        CHECK_CASE(name);
    } while (run_once(c, path, in, nth++));
    nth -= 2;
    CHECK(nth >= least && nth <= most);
    return (unsigned)nth;
}

static unsigned run_point(struct chain *c, enum path path, const char *name,
                          quire_status rc, unsigned least, unsigned most)
{
    struct injection in = { name, (int)point_find(name), 0, 0,
                            rc,   "failure point" };

    return run_all(c, path, &in, least, most);
}

static void run_chain(uint32_t window, quire_versioning versioning)
{
    static const struct injection refused = {
        "refused read", -1, FAULT_BIT(FAULT_PREAD), 0, QUIRE_IO, "cannot read"
    };
    static const struct injection flipped = {
        "flipped bit", -1, FAULT_BIT(FAULT_PREAD), FAULT_FLIP, QUIRE_CORRUPT, ""
    };
    struct chain c;
    unsigned n;
    unsigned total = 0;

    if (point_count() == 0) {
        print_message("SKIPPED: a library without failure points\n");
        skip();
    }
    chain_init(&c, window, versioning);
    n = c.nfrags;
    for (enum path p = 0; p < PATHS; p++) {
        total += run_point(&c, p, "pages/chain/segments", QUIRE_NOMEM, 1, 1);
        total += run_point(&c, p, "alloc/segment/many", QUIRE_NOMEM, 2,
                           2 * n + 1);
        total += run_point(&c, p, "pages/chain/read", QUIRE_IO, n, n);
        total += run_point(&c, p, "pages/chain/check", QUIRE_CORRUPT, n, n);
        total += run_point(&c, p, "pages/chain/body", QUIRE_CORRUPT, n, n);
        total += run_point(&c, p, "pages/chain/merge", QUIRE_CORRUPT, 1, 1);
        total += run_point(&c, p, "cache/load/charge", QUIRE_NOMEM, 1, 1);
        total += run_all(&c, p, &refused, n, n);
        total += run_all(&c, p, &flipped, n, n);
    }
    print_message("fault: chain of %u fragments: %u failed loads, each with %u "
                  "threads waiting\n",
                  n, total, NWAITERS);
    chain_fini(&c);
}

static void test_whole_pages(void **state)
{
    (void)state;
    run_chain(4, QUIRE_VERSIONING_FULL);
}

static void test_shortest_chain(void **state)
{
    (void)state;
    run_chain(2, QUIRE_VERSIONING_INCREMENTAL);
}

static void test_usual_chain(void **state)
{
    (void)state;
    run_chain(2, QUIRE_VERSIONING_ADAPTIVE);
}

static void test_longer_chain(void **state)
{
    (void)state;
    run_chain(4, QUIRE_VERSIONING_INCREMENTAL);
}

static void test_longest_chain(void **state)
{
    (void)state;
    run_chain(QUIRE_WINDOW_MAX, QUIRE_VERSIONING_INCREMENTAL);
}

static void test_differential(void **state)
{
    (void)state;
    run_chain(2, QUIRE_VERSIONING_DIFFERENTIAL);
}

static void test_sliding(void **state)
{
    (void)state;
    run_chain(5, QUIRE_VERSIONING_SLIDING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_pages),
        cmocka_unit_test(test_shortest_chain),
        cmocka_unit_test(test_usual_chain),
        cmocka_unit_test(test_longer_chain),
        cmocka_unit_test(test_longest_chain),
        cmocka_unit_test(test_differential),
        cmocka_unit_test(test_sliding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
