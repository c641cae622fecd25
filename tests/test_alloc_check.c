/*
 * test_alloc_check.c - ra_check_pool() finds what is broken, and the kernel
 * agrees with the figures.
 *
 * Each row breaks one thing by hand, expects the check to fail and to name
 * the invariant, and mends it again.
 */
#include <inttypes.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define BUDGET (8 * MIB)
#define RANGES_MAX 1000

/* A pool with a region that has segments in use, warm and cold, a whole one,
 * and a table. */
struct scene {
    struct ra_pool *pool;
    struct ra_region *r; /* of the 64 KiB class: 0 in use, 1 cold, 2 warm */
    struct ra_class *c;
    void *seg[3];
    void *table;
};

static void scene_init(struct scene *s)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = BUDGET,
    };
    void *seg;

    CHECK_OK(ra_pool_create(&opt, &s->pool));
    CHECK_OK(ra_table_alloc(s->pool, 5000, &s->table));
    CHECK_OK(ra_seg_alloc(s->pool, 4 * KIB, &seg));
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(ra_seg_alloc(s->pool, 64 * KIB, &s->seg[i]));
    CHECK(ra_seg_free(s->pool, seg));
    CHECK(ra_seg_free(s->pool, s->seg[1]));
    ra_pool_sweep(s->pool);
    CHECK(ra_seg_free(s->pool, s->seg[2]));
    s->r = ra_region_find(s->pool, s->seg[0]);
    s->c = &s->pool->cls[4];
    CHECK_OK(ra_seg_alloc(s->pool, 8 * KIB, &seg));
    CHECK(ra_seg_free(s->pool, seg)); /* a whole region */
}

static void scene_fini(struct scene *s)
{
    CHECK(ra_check_pool(s->pool));
    CHECK(ra_seg_free(s->pool, s->seg[0]));
    ra_table_free(s->pool, s->table, 5000);
    CHECK_EQ(ra_pool_destroy(s->pool, false), 0);
}

static void must_fail(struct scene *s, const char *rule)
{
    CHECK(!ra_check_pool(s->pool));
    CHECK(strstr(quire_error_detail(), rule) != NULL);
}

static void test_check_finds_what_is_broken(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    CHECK(ra_check_pool(s.pool));

    CHECK_CASE("RA-1: the wrong class");
    atomic_store(&s.r->cls, 5);
    must_fail(&s, "RA-1");
    atomic_store(&s.r->cls, RA_CLASS_NONE);
    must_fail(&s, "RA-1");
    atomic_store(&s.r->cls, 4);

    CHECK_CASE("RA-5: on offer twice");
    ra_bits_set(&s.r->cold, 2);
    must_fail(&s, "RA-5");
    ra_bits_clear(&s.r->cold, 2);

    CHECK_CASE("RA-5: on offer and in use");
    ra_bits_set(&s.r->warm, 0);
    s.r->nwarm++;
    must_fail(&s, "RA-5");
    s.r->nwarm--;
    ra_bits_clear(&s.r->warm, 0);

    CHECK_CASE("RA-5: warm, yet decommitted");
    atomic_store(ra_region_state(s.r, s.c->seg_shift, 2), RA_DECOMMITTED);
    must_fail(&s, "RA-5");
    atomic_store(ra_region_state(s.r, s.c->seg_shift, 2), RA_FREE);

    CHECK_CASE("RA-5: in use of another class");
    atomic_store(ra_region_state(s.r, s.c->seg_shift, 0), RA_IN_USE + 1);
    must_fail(&s, "RA-5");
    atomic_store(ra_region_state(s.r, s.c->seg_shift, 0), RA_IN_USE + 4);

    CHECK_CASE("RA-5: a wrong count");
    s.r->ncold--;
    must_fail(&s, "RA-5");
    s.r->ncold++;

    CHECK_CASE("RA-6: on the wrong list");
    s.r->list += 1;
    must_fail(&s, "RA-6");
    s.r->list -= 1;

    CHECK_CASE("RA-6: the mask");
    s.c->home[0].mask ^= 1u << 17;
    must_fail(&s, "RA-6");
    s.c->home[0].mask ^= 1u << 17;

    CHECK_CASE("RA-6: the wrong home");
    s.r->home = 1;
    must_fail(&s, "RA-6");
    s.r->home = 0;

    CHECK_CASE("RA-6: a list");
    s.r->prev = s.r;
    must_fail(&s, "RA-6");
    s.r->prev = NULL;

    CHECK_CASE("RA-7: not found");
    s.r->base += s.pool->region_bytes * 64;
    must_fail(&s, "RA-7");
    s.r->base -= s.pool->region_bytes * 64;

    CHECK_CASE("RA-9: warm segments of a class");
    s.c->nwarm++;
    must_fail(&s, "RA-9");
    s.c->nwarm--;

    CHECK_CASE("RA-9: segments on offer in a home");
    s.c->home[0].noffer++;
    must_fail(&s, "RA-9");
    s.c->home[0].noffer--;

    CHECK_CASE("RA-9: segments in use");
    atomic_fetch_add(&s.c->out, 1);
    must_fail(&s, "RA-9");
    atomic_fetch_sub(&s.c->out, 1);

    CHECK_CASE("RA-9: resident");
    atomic_fetch_add(&s.pool->resident, 4096);
    must_fail(&s, "RA-9: the resident");
    atomic_fetch_sub(&s.pool->resident, 4096);

    CHECK_CASE("RA-9: virtual");
    atomic_fetch_add(&s.pool->mapped, 4096);
    must_fail(&s, "RA-9: the virtual");
    atomic_fetch_sub(&s.pool->mapped, 4096);

    CHECK_CASE("RA-9: whole regions");
    atomic_fetch_add(&s.pool->regions_whole, 1);
    must_fail(&s, "RA-9");
    atomic_fetch_sub(&s.pool->regions_whole, 1);

    CHECK_CASE("RA-9: tables");
    atomic_fetch_add(&s.pool->table_bytes, 1);
    must_fail(&s, "RA-9");
    atomic_fetch_sub(&s.pool->table_bytes, 1);

    CHECK_CASE("RA-2: above the budget");
    s.pool->budget_bytes = 4096;
    must_fail(&s, "RA-2");
    s.pool->budget_bytes = BUDGET;

    CHECK_CASE("RA-1: an empty region off the list");
    {
        struct ra_region *r;
        uint64_t top;

        ra_pool_sweep(s.pool);
        CHECK(ra_check_pool(s.pool));
        top = atomic_load(&s.pool->empty);
        atomic_store(&s.pool->empty, RA_SLOT_NONE);
        must_fail(&s, "RA-1");
        atomic_store(&s.pool->empty, top);

        CHECK_CASE("RA-5: an empty region with resident segments");
        r = atomic_load(&s.pool->slot[(uint32_t)top]);
        atomic_store(&r->state[3], RA_FREE);
        must_fail(&s, "RA-5");
        atomic_store(&r->state[3], RA_DECOMMITTED);
    }
    scene_fini(&s);
}

/* ---- the kernel's view ---- */

struct map {
    uintptr_t from;
    uintptr_t to;
};

struct mapped {
    struct map map[RANGES_MAX];
    unsigned n;
};

static int noting_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    struct mapped *m = ctx;
    int rc = quire_sys_default()->map(NULL, nbytes, align, addr);

    if (rc == 0) {
        CHECK(m->n < RANGES_MAX);
        m->map[m->n].from = (uintptr_t)*addr;
        m->map[m->n++].to = (uintptr_t)*addr + nbytes;
    }
    return rc;
}

static void noting_unmap(void *ctx, void *addr, size_t nbytes)
{
    struct mapped *m = ctx;

    for (unsigned i = 0; i < m->n; i++) {
        if (m->map[i].from == (uintptr_t)addr)
            m->map[i] = m->map[--m->n];
    }
    quire_sys_default()->unmap(NULL, addr, nbytes);
}

/* How much of [from, to) is the pool's. */
static uint64_t overlap(const struct mapped *m, uintptr_t from, uintptr_t to)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->n; i++) {
        uintptr_t a = m->map[i].from > from ? m->map[i].from : from;
        uintptr_t b = m->map[i].to < to ? m->map[i].to : to;

        if (a < b)
            sum += b - a;
    }
    return sum;
}

/* Rss of the pool's mappings, from /proc/self/smaps. */
static uint64_t smaps_rss(const struct mapped *m)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    uint64_t sum = 0;
    bool ours = false;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        uintptr_t from;
        uintptr_t to;
        uint64_t kib;
        char perms[8];

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, perms) ==
            3) {
            uint64_t n = overlap(m, from, to);

            ours = n > 0;
            /* a mapping that isn't inherited stands alone */
            if (ours)
                CHECK_EQ(n, to - from);
        } else if (ours && sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
            sum += kib * 1024;
        }
    }
    fclose(f);
    return sum;
}

static void check_kernel(struct ra_pool *pool, const struct mapped *m)
{
    struct quire_pool_stat st;
    uint64_t rss = smaps_rss(m);
    uint64_t kernel = ra_pool_kernel_resident(pool);
    uint64_t pages;

    ra_pool_stat(pool, &st);
    CHECK_EQ(kernel, rss);
    /* to the page, but for the descriptors, which malloc() has */
    pages = st.resident_bytes - st.regions * pool->meta_bytes;
    CHECK_EQ(rss, pages);
    CHECK(rss <= st.resident_bytes);
    if (st.resident_bytes > MIB)
        CHECK(rss + st.resident_bytes / 20 >= st.resident_bytes);
}

static void test_kernel_agrees(void **state)
{
    static struct mapped m;
    static void *segs[4096];
    struct quire_sys sys = *quire_sys_default();
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = BUDGET,
        .sys = &sys,
    };
    struct ra_pool *pool;
    uint64_t rand = test_seed();
    unsigned n = 0;

    (void)state;
    memset(&m, 0, sizeof(m));
    sys.ctx = &m;
    sys.map = noting_map;
    sys.unmap = noting_unmap;
    CHECK_OK(ra_pool_create(&opt, &pool));
    check_kernel(pool, &m);
    for (unsigned round = 0; round < 6; round++) {
        unsigned cls = round * 3 % QUIRE_SEG_CLASSES;

        /* untouched segments are resident all the same */
        while (n < ARRAY_LEN(segs) &&
               ra_seg_alloc(pool, QUIRE_SEG_MIN << cls, &segs[n]) == QUIRE_OK)
            n++;
        check_kernel(pool, &m);
        for (unsigned i = 0; i < n; i++)
            memset(segs[i], 1, ra_seg_bytes(pool, segs[i]));
        check_kernel(pool, &m);
        for (unsigned i = 0; i < n;) {
            if (test_rand_below(&rand, 10) > 0) {
                CHECK(ra_seg_free(pool, segs[i]));
                segs[i] = segs[--n];
            } else {
                i++;
            }
        }
        check_kernel(pool, &m);
        if (round % 2 == 1)
            ra_pool_sweep(pool);
        check_kernel(pool, &m);
    }
    while (n > 0)
        CHECK(ra_seg_free(pool, segs[--n]));
    ra_pool_sweep(pool);
    check_kernel(pool, &m);
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
    CHECK_EQ(m.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_finds_what_is_broken),
        cmocka_unit_test(test_kernel_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
