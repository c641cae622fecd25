/*
 * test_alloc_fault.c - the allocator when the system refuses.
 *
 * Between the pool and the system stands a table that keeps an account of its
 * own: which pages are mapped, which are committed, how many small objects
 * live. It fails the Nth call of one kind, once or from then on. A scenario is
 * run for N = 1, 2, 3, ... until nothing is refused any more; after each run
 * the pool's figures are compared with that account to the byte, and the pool
 * must work on.
 */
#include <errno.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define BUDGET (8 * MIB)
#define RANGES_MAX 200

enum kind {
    KIND_MAP,
    KIND_COMMIT,
    KIND_DECOMMIT,
    KIND_ALLOC,
    KIND_HUGE,
    KIND_PROTECT,
    KINDS
};

static const char *const kind_name[KINDS] = { "map",   "commit", "decommit",
                                              "alloc", "huge",   "protect" };

struct range {
    char *addr;
    size_t nbytes;
    unsigned char *committed; /* one byte for each page */
};

struct watch {
    struct range range[RANGES_MAX];
    unsigned nranges;
    unsigned nobjs;
    enum kind kind;   /* which to refuse */
    uint64_t nth;     /* from 1; 0: refuse nothing */
    bool sticky;      /* and all that follow */
    uint64_t ballast; /* bytes charged for nothing, so that a pool with a large
                         budget starves early */
    uint64_t ncalls;  /* of `kind` */
    uint64_t nrefused;
};

static bool refused(struct watch *w, enum kind kind)
{
    if (w->nth == 0 || kind != w->kind)
        return false;
    w->ncalls++;
    if (w->ncalls != w->nth && !(w->sticky && w->ncalls > w->nth))
        return false;
    w->nrefused++;
    return true;
}

static struct range *range_of(struct watch *w, void *addr, size_t nbytes)
{
    for (unsigned i = 0; i < w->nranges; i++) {
        struct range *r = &w->range[i];

        if ((char *)addr >= r->addr &&
            (char *)addr + nbytes <= r->addr + r->nbytes)
            return r;
    }
    CHECK(!"a range that was never mapped");
    return NULL;
}

static int watch_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    struct watch *w = ctx;
    int rc;

    if (refused(w, KIND_MAP))
        return -ENOMEM;
    rc = quire_sys_default()->map(NULL, nbytes, align, addr);
    CHECK_EQ(rc, 0);
    CHECK_EQ((uintptr_t)*addr % align, 0);
    CHECK(w->nranges < RANGES_MAX);
    w->range[w->nranges].addr = *addr;
    w->range[w->nranges].nbytes = nbytes;
    w->range[w->nranges].committed = calloc(1, nbytes / 4096);
    CHECK(w->range[w->nranges].committed != NULL);
    w->nranges++;
    return 0;
}

static void watch_unmap(void *ctx, void *addr, size_t nbytes)
{
    struct watch *w = ctx;
    struct range *r = range_of(w, addr, nbytes);

    CHECK(r->addr == addr && r->nbytes == nbytes);
    free(r->committed);
    *r = w->range[--w->nranges];
    quire_sys_default()->unmap(NULL, addr, nbytes);
}

static int watch_commit(void *ctx, void *addr, size_t nbytes)
{
    struct watch *w = ctx;
    struct range *r = range_of(w, addr, nbytes);
    int rc;

    if (refused(w, KIND_COMMIT))
        return -ENOMEM;
    rc = quire_sys_default()->commit(NULL, addr, nbytes);
    CHECK_EQ(rc, 0);
    for (size_t off = 0; off < nbytes; off += 4096) {
        unsigned char *page =
            &r->committed[((char *)addr - r->addr + off) / 4096];

        CHECK(*page == 0); /* never twice */
        *page = 1;
    }
    return 0;
}

static int watch_decommit(void *ctx, void *addr, size_t nbytes)
{
    struct watch *w = ctx;
    struct range *r = range_of(w, addr, nbytes);
    int rc;

    if (refused(w, KIND_DECOMMIT))
        return -EBUSY;
    rc = quire_sys_default()->decommit(NULL, addr, nbytes);
    CHECK_EQ(rc, 0);
    memset(&r->committed[((char *)addr - r->addr) / 4096], 0, nbytes / 4096);
    return 0;
}

static int watch_huge(void *ctx, void *addr, size_t nbytes, bool allow)
{
    struct watch *w = ctx;

    (void)range_of(w, addr, nbytes);
    if (refused(w, KIND_HUGE))
        return -ENOMEM;
    return quire_sys_default()->huge(NULL, addr, nbytes, allow);
}

static int watch_protect(void *ctx, void *addr, size_t nbytes, bool access)
{
    struct watch *w = ctx;
    struct range *r = range_of(w, addr, nbytes);

    /* nothing that is resident is closed */
    for (size_t p = 0; p < r->nbytes / 4096; p++)
        CHECK_EQ(r->committed[p], 0);
    if (refused(w, KIND_PROTECT))
        return -ENOMEM;
    return quire_sys_default()->protect(NULL, addr, nbytes, access);
}

static void *watch_alloc(void *ctx, size_t nbytes)
{
    struct watch *w = ctx;

    if (refused(w, KIND_ALLOC))
        return NULL;
    w->nobjs++;
    return quire_sys_default()->alloc(NULL, nbytes);
}

static void watch_free(void *ctx, void *ptr)
{
    struct watch *w = ctx;

    CHECK(w->nobjs > 0 && ptr != NULL);
    w->nobjs--;
    quire_sys_default()->free(NULL, ptr);
}

static struct quire_sys watch_sys(struct watch *w)
{
    struct quire_sys sys = *quire_sys_default();

    sys.ctx = w;
    sys.map = watch_map;
    sys.unmap = watch_unmap;
    sys.commit = watch_commit;
    sys.decommit = watch_decommit;
    sys.alloc = watch_alloc;
    sys.huge = watch_huge;
    sys.protect = watch_protect;
    sys.free = watch_free;
    return sys;
}

/* RA-9, RA-10: the pool's figures are those of the account. */
static void check_figures(struct watch *w, struct ra_pool *pool,
                          uint64_t in_use)
{
    struct quire_pool_stat st;
    uint64_t mapped = 0;
    uint64_t resident = 0;

    for (unsigned i = 0; i < w->nranges; i++) {
        mapped += w->range[i].nbytes;
        for (size_t p = 0; p < w->range[i].nbytes / 4096; p++)
            resident += w->range[i].committed[p] * 4096u;
    }
    ra_pool_stat(pool, &st);
    CHECK_EQ(st.virtual_bytes, mapped);
    CHECK_EQ(st.resident_bytes, resident + st.regions * pool->meta_bytes +
                                    st.magazines * ra_mag_charge() +
                                    w->ballast);
    CHECK_EQ(st.in_use_bytes, in_use);
    ra_pool_unreserve(pool, w->ballast);
    CHECK(ra_check_pool(pool));
    CHECK(ra_pool_reserve(pool, w->ballast));
}

/* ---- the scenario ---- */

#define WORK_SEGS 500

struct work {
    struct ra_pool *pool;
    void *seg[WORK_SEGS];
    size_t nbytes[WORK_SEGS];
    unsigned n;
    void *table;
    unsigned nfailed;
    bool pressed;
};

/* Bytes of its table: with huge pages, enough for one. */
static size_t work_table(const struct work *k)
{
    return 300 * KIB + (k->pool->huge ? (size_t)RA_HUGE_BYTES : 0);
}

static uint64_t in_use(const struct work *k)
{
    uint64_t sum = k->table != NULL ? ra_round_up(work_table(k), 4096) : 0;

    for (unsigned i = 0; i < k->n; i++)
        sum += ra_seg_class_bytes(k->nbytes[i]);
    return sum;
}

static void work_take(struct work *k, size_t nbytes, unsigned n)
{
    for (unsigned i = 0; i < n && k->n < WORK_SEGS; i++) {
        void *seg = k;
        quire_status rc = ra_seg_alloc(k->pool, nbytes, &seg);

        if (rc != QUIRE_OK) {
            CHECK_EQ(rc, QUIRE_NOMEM);
            CHECK_EQ(seg, NULL);
            k->nfailed++;
            continue;
        }
        memset(seg, 0x77, ra_seg_class_bytes(nbytes));
        k->seg[k->n] = seg;
        k->nbytes[k->n++] = nbytes;
    }
}

/* Give back every `every`-th segment, from the last. */
static void work_give(struct work *k, unsigned every)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < k->n; i++) {
        if (i % every == 0) {
            CHECK(ra_seg_free(k->pool, k->seg[i]));
        } else {
            k->seg[kept] = k->seg[i];
            k->nbytes[kept++] = k->nbytes[i];
        }
    }
    k->n = kept;
}

static uint64_t work_pressure(void *arg, uint64_t nbytes)
{
    struct work *k = arg;
    uint64_t given = 0;

    k->pressed = true;
    while (given < nbytes && k->n > 0) {
        k->n--;
        given += ra_seg_class_bytes(k->nbytes[k->n]);
        CHECK(ra_seg_free(k->pool, k->seg[k->n]));
    }
    return given;
}

/* All that a pool does: fill, thin out, sweep, change class, starve, tables. */
static void work_run(struct watch *w, struct work *k)
{
    static const size_t many[] = { 4 * KIB, 100 * KIB, 256 * KIB, 30 * KIB };
    void *got[ARRAY_LEN(many)];

    ra_pool_set_pressure(k->pool, work_pressure, k);
    work_take(k, 64 * KIB, 40);
    check_figures(w, k->pool, in_use(k));
    work_give(k, 3);
    ra_pool_sweep(k->pool);
    check_figures(w, k->pool, in_use(k));
    work_take(k, 20 * KIB, 120);
    if (ra_table_alloc(k->pool, work_table(k), &k->table) != QUIRE_OK) {
        CHECK_EQ(k->table, NULL);
        k->nfailed++;
    }
    check_figures(w, k->pool, in_use(k));
    if (ra_seg_alloc_many(k->pool, many, ARRAY_LEN(many), got) == QUIRE_OK) {
        for (size_t i = 0; i < ARRAY_LEN(many); i++)
            CHECK(ra_seg_free(k->pool, got[i]));
    } else {
        k->nfailed++;
        for (size_t i = 0; i < ARRAY_LEN(many); i++)
            CHECK_EQ(got[i], NULL);
    }
    check_figures(w, k->pool, in_use(k));
    work_take(k, 256 * KIB, 30); /* starves, and presses */
    check_figures(w, k->pool, in_use(k));
    work_give(k, 2);
    ra_pool_sweep(k->pool);
    check_figures(w, k->pool, in_use(k));
}

static void work_end(struct watch *w, struct work *k)
{
    work_give(k, 1);
    ra_table_free(k->pool, k->table, work_table(k));
    k->table = NULL;
    check_figures(w, k->pool, 0);
}

/* With huge pages the budget must be large, and most of it is ballast. */
static quire_status make(struct watch *w, struct ra_pool **pool)
{
    struct quire_sys sys = watch_sys(w);
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = BUDGET,
        .sys = &sys,
    };
    quire_status rc;

    if (w->kind == KIND_HUGE) {
        opt.budget_bytes = RA_HUGE_BUDGET_MIN;
        opt.region_bytes = (uint32_t)RA_HUGE_BYTES;
    }
    rc = ra_pool_create(&opt, pool);
    if (rc == QUIRE_OK) {
        (*pool)->wait_ms = 0; /* nobody else is there */
        w->ballast = opt.budget_bytes - BUDGET;
        CHECK(ra_pool_reserve(*pool, w->ballast));
    }
    return rc;
}

static void run_all(enum kind kind, bool sticky)
{
    /* sanitizers and Valgrind leave out some beyond the first few */
    uint64_t stride = 16 / test_rounds(16);
    bool untouched = false;

    CHECK_CASE(kind_name[kind]);
    for (uint64_t nth = 1; !untouched; nth += nth < 16 ? 1 : stride) {
        struct watch w = { .kind = kind, .nth = nth, .sticky = sticky };
        struct work k = { 0 };
        quire_status rc = make(&w, &k.pool);

        if (rc != QUIRE_OK) {
            CHECK_EQ(rc, QUIRE_NOMEM);
            CHECK_EQ(k.pool, NULL);
            CHECK(w.nrefused > 0);
            CHECK_EQ(w.nranges, 0);
            CHECK_EQ(w.nobjs, 0);
            continue;
        }
        work_run(&w, &k);
        untouched = w.nrefused == 0;
        if (untouched)
            CHECK_EQ(k.nfailed, 0);
        /* healed, the pool does everything again */
        w.nth = 0;
        k.nfailed = 0;
        k.pressed = false;
        work_end(&w, &k);
        work_run(&w, &k);
        CHECK_EQ(k.nfailed, 0);
        CHECK(k.pressed);
        work_end(&w, &k);
        ra_pool_unreserve(k.pool, w.ballast);
        CHECK_EQ(ra_pool_destroy(k.pool, false), 0);
        CHECK_EQ(w.nranges, 0);
        CHECK_EQ(w.nobjs, 0);
        /* the scenario is long enough to mean something */
        if (untouched)
            CHECK(nth > (kind == KIND_COMMIT ? 100 : 5));
    }
}

static void test_map_refused(void **state)
{
    (void)state;
    run_all(KIND_MAP, false);
    run_all(KIND_MAP, true);
}

static void test_commit_refused(void **state)
{
    (void)state;
    run_all(KIND_COMMIT, false);
    run_all(KIND_COMMIT, true);
}

static void test_decommit_refused(void **state)
{
    (void)state;
    run_all(KIND_DECOMMIT, false);
    run_all(KIND_DECOMMIT, true);
}

/* RA-12: permission given and taken for huge pages. */
static void test_huge_refused(void **state)
{
    (void)state;
    run_all(KIND_HUGE, false);
    run_all(KIND_HUGE, true);
}

#if QUIRE_DEBUG >= 1
/* Closing and opening of empty regions. */
static void test_protect_refused(void **state)
{
    (void)state;
    run_all(KIND_PROTECT, false);
    run_all(KIND_PROTECT, true);
}
#endif

static void test_alloc_refused(void **state)
{
    (void)state;
    run_all(KIND_ALLOC, false);
    run_all(KIND_ALLOC, true);
}

/* What the system does not take back stays charged and on offer. */
static void test_refused_decommit_keeps_segments(void **state)
{
    struct watch w = { .kind = KIND_DECOMMIT };
    struct work k = { 0 };
    struct quire_pool_stat before;
    struct quire_pool_stat st;

    (void)state;
    CHECK_OK(make(&w, &k.pool));
    work_take(&k, 16 * KIB, 64); /* two regions */
    for (unsigned i = 0; i < 40; i++)
        CHECK(ra_seg_free(k.pool, k.seg[--k.n]));
    ra_pool_stat(k.pool, &before);
    w.nth = 1;
    w.sticky = true;
    CHECK_EQ(ra_pool_sweep(k.pool), 0);
    CHECK(w.nrefused > 0);
    ra_pool_stat(k.pool, &st);
    CHECK_EQ(st.resident_bytes, before.resident_bytes);
    CHECK_EQ(st.regions_empty, 0);
    check_figures(&w, k.pool, in_use(&k));
    work_take(&k, 16 * KIB, 40); /* none needs a commit */
    CHECK_EQ(k.nfailed, 0);
    ra_pool_stat(k.pool, &st);
    CHECK_EQ(st.resident_bytes, before.resident_bytes);
    work_end(&w, &k);
    CHECK_EQ(ra_pool_destroy(k.pool, false), 0);
    CHECK_EQ(w.nranges, 0);
}

/* A detail says that it was the system, and which error. */
static void test_detail_names_the_system(void **state)
{
    struct watch w = { .kind = KIND_COMMIT };
    struct work k = { 0 };
    void *seg;

    (void)state;
    CHECK_OK(make(&w, &k.pool));
    w.nth = 1;
    w.sticky = true;
    CHECK_EQ(ra_seg_alloc(k.pool, 1, &seg), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "the system refused (error 12)") !=
          NULL);
    CHECK_EQ(ra_pool_destroy(k.pool, false), 0);
}

/* A replaced map() that does not align is refused, not believed. */
static int crooked_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    char *p;
    int rc;

    (void)ctx;
    if (align <= 4096)
        return quire_sys_default()->map(NULL, nbytes, align, addr);
    rc = quire_sys_default()->map(NULL, nbytes + align, align, addr);
    if (rc == 0) {
        p = *addr;
        quire_sys_default()->unmap(NULL, p, 4096);
        quire_sys_default()->unmap(NULL, p + 4096 + nbytes, align - 4096);
        *addr = p + 4096;
    }
    return rc;
}

static void test_unaligned_map_is_refused(void **state)
{
    struct quire_sys sys = *quire_sys_default();
    struct quire_pool_options opt = { .size = sizeof(opt), .sys = &sys };
    struct quire_pool_stat st;
    struct ra_pool *pool;
    void *seg;

    (void)state;
    sys.map = crooked_map;
    CHECK_OK(ra_pool_create(&opt, &pool));
    CHECK_EQ(ra_seg_alloc(pool, 1, &seg), QUIRE_NOMEM);
    ra_pool_stat(pool, &st);
    CHECK_EQ(st.regions, 0);
    CHECK(ra_check_pool(pool));
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_refused),
        cmocka_unit_test(test_commit_refused),
        cmocka_unit_test(test_decommit_refused),
        cmocka_unit_test(test_alloc_refused),
        cmocka_unit_test(test_huge_refused),
#if QUIRE_DEBUG >= 1
        cmocka_unit_test(test_protect_refused),
#endif
        cmocka_unit_test(test_refused_decommit_keeps_segments),
        cmocka_unit_test(test_detail_names_the_system),
        cmocka_unit_test(test_unaligned_map_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
