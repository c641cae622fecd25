/*
 * The strategies: what each writes of a changed page, over long random
 * histories against the model, each version read back from its fragments; their
 * promises as numbers; and the faults that a design before this one had, by
 * name.
 */
#include "pages/pg.h"
#include "tests/lib_page.h"
#include "tests/test.h"

#define PAGE_BYTES 65536u /* bounds keys only */

/* ---- a page and all that was ever written of it ---- */

struct version {
    struct pg_ref ref;
    struct pg_image *img; /* made from memory at the commit */
};

struct page {
    quire_versioning versioning;
    unsigned window;
    struct page_work work;
    struct version *versions; /* the newest is the last */
    uint8_t **frags;          /* fragment of versions[i] */
    size_t n;
    /* of the last commit: */
    struct pg_plan plan;
    uint32_t nentries;
    size_t whole_bytes; /* of a body with everything */
};

static void page_init(struct page *p, quire_versioning versioning,
                      unsigned window, enum pg_kind kind,
                      const struct page_shape *sh)
{
    memset(p, 0, sizeof(*p));
    p->versioning = versioning;
    p->window = window;
    page_work_init(&p->work, 4096, kind, kind == PG_LEAF ? 0 : 2, sh);
}

static void page_fini(struct page *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->versions[i].img);
        free(p->frags[i]);
    }
    free(p->versions);
    free(p->frags);
    page_work_fini(&p->work);
}

static size_t index_of(pg_id id)
{
    return (size_t)(id / 65536u) - 1;
}

/* Load a version from its fragments: byte for byte what was made from memory,
 * and what the model has. */
static void version_check(const struct page *p, const struct version *v,
                          const struct page_model *m)
{
    struct pg_frag frags[PG_CHAIN_MAX + 1];
    struct quire_val bodies[PG_CHAIN_MAX + 1];
    void *raw[PG_CHAIN_MAX + 1];
    unsigned n = v->ref.nchain + 1u;
    struct pg_image *img = malloc(v->ref.image_len + 1);

    CHECK(img != NULL);
    for (unsigned i = 0; i < n; i++) {
        pg_id id = i == 0 ? v->ref.id : v->ref.chain[i - 1].id;
        const uint64_t *sum = i == 0 ? &v->ref.sum : &frags[0].sums[i - 1];
        const struct pg_ref *ref = &p->versions[index_of(id)].ref;

        CHECK_OK(pg_frag_check(p->frags[index_of(id)], ref->stored_len, id, sum,
                               &frags[i]));
        raw[i] = malloc(frags[i].raw_len + 1);
        CHECK(raw[i] != NULL);
        CHECK_OK(pg_frag_body(&frags[i], p->frags[index_of(id)], raw[i],
                              frags[i].raw_len, &bodies[i]));
    }
    CHECK_OK(pg_combine(&v->ref, frags, bodies, n, PAGE_BYTES, img,
                        v->ref.image_len));
    CHECK_EQ(img->used + img->ghost_bytes, v->ref.image_len);
    CHECK_MEM_EQ(img, v->img, v->ref.image_len);
    if (m != NULL)
        page_check(img, m);
    for (unsigned i = 0; i < n; i++)
        free(raw[i]);
    free(img);
}

static uint64_t nsettled; /* versions that were made so */

static const uint64_t *sums_of(const struct pg_image *img)
{
    return (const void *)((const uint8_t *)img + img->sums_off);
}

static uint8_t age_of(const struct pg_image *img, unsigned i)
{
    return img->ages_off == 0 ? 0 : ((const uint8_t *)img + img->ages_off)[i];
}

/* PG-17: the working image itself, made the version's, is what was made anew
 * but for where its parts are. */
static bool settle_check(struct pg_image *work, const struct version *v,
                         const uint64_t *sums, const struct page_model *m)
{
    struct pg_image *img = v->img;
    unsigned ntomb = work->ntomb;
    size_t room = work->cap - work->used;

    if (!pg_work_settle(work, &v->ref, sums)) {
        CHECK(ntomb != 0 || (work->flags & PG_IMAGE_LABELED) != 0 ||
              room < v->ref.nchain * 8u + 8);
        CHECK((work->flags & PG_IMAGE_WORK) != 0);
        return false;
    }
    CHECK_EQ(work->kind, img->kind);
    CHECK_EQ(ntomb, 0);
    page_check(work, m);
    CHECK_EQ(work->flags & ~PG_IMAGE_SETTLED, img->flags);
    CHECK_EQ(work->id, img->id);
    CHECK_EQ(work->birth, img->birth);
    CHECK_EQ(work->n, img->n);
    CHECK_EQ(work->nchain, img->nchain);
    CHECK_MEM_EQ(sums_of(work), sums_of(img), work->nchain * 8u);
    for (unsigned i = 0; i < work->n; i++) {
        uint8_t key[PAGE_KEY_MAX];
        size_t len = pg_image_key_copy(img, i, key);

        CHECK_EQ(age_of(work, i), age_of(img, i));
        CHECK_EQ(pg_image_find(work, key, len), i);
    }
    return true;
}

/* Write the working image as its strategy wants it, and go on from there. */
static void page_commit(struct page *p, const struct page_model *m)
{
    static const struct pg_ref none;
    const struct version *before = p->n > 0 ? &p->versions[p->n - 1] : NULL;
    const struct pg_ref *old = before != NULL ? &before->ref : &none;
    struct pg_image *work = p->work.img;
    struct pg_frag_in in = { .kind = work->kind, .level = work->level };
    const struct pg_image *again_from;
    struct version v;
    struct pg_plan again;
    size_t cap;
    uint8_t *body;

    p->whole_bytes = pg_body_bound(work, PG_FORM_WHOLE);
    pg_plan_make(work, old, p->versioning, p->window, &p->plan);
    pg_plan_make(work, old, p->versioning, p->window, &again);
    CHECK_MEM_EQ(&p->plan, &again, sizeof(again)); /* it only looks */
    pg_plan_mark(work, &p->plan);
    pg_plan_links(&p->plan, old, before == NULL ? NULL : sums_of(before->img),
                  &in);
    in.id = (p->n + 1) * 65536u;
    in.birth = p->n + 1;
    in.count = page_model_count(m, work->kind);
    in.image_len = (uint32_t)pg_plan_image_bytes(work, &p->plan);
    cap = p->plan.body_bytes;
    CHECK_EQ(cap, pg_body_bound(work, p->plan.form));
    body = malloc(cap + 1);
    CHECK(body != NULL);
    in.body = body;
    in.body_len = pg_body_encode(work, p->plan.form, body, cap, &in.nentries);
    CHECK(in.body_len != 0 && in.body_len <= cap);
    p->nentries = in.nentries;
    p->frags = realloc(p->frags, (p->n + 1) * sizeof(p->frags[0]));
    p->versions = realloc(p->versions, (p->n + 1) * sizeof(p->versions[0]));
    CHECK(p->frags != NULL && p->versions != NULL);
    cap = pg_frag_bound(in.body_len, in.nchain);
    p->frags[p->n] = malloc(cap);
    CHECK(p->frags[p->n] != NULL);
    CHECK_NE(pg_frag_encode(&in, p->frags[p->n], cap, &v.ref), 0);
    free(body);
    v.img = malloc(in.image_len);
    CHECK(v.img != NULL);
    CHECK(!pg_image_compact(work, &v.ref, in.sums, v.img, in.image_len - 1));
    CHECK(pg_image_compact(work, &v.ref, in.sums, v.img, in.image_len));
    page_check(v.img, m);
    p->versions[p->n++] = v;
    version_check(p, &v, m);
    /* the next one is made from either */
    again_from = v.img;
    if (settle_check(work, &v, in.sums, m)) {
        nsettled++;
        if (p->n % 3 != 0)
            again_from = work;
    }
    page_work_copy(&p->work, again_from, pg_work_need(again_from, 64, 400));
    free(work);
    page_check(p->work.img, m);
}

/* What the strategy promises of the fragment that was written over `old`. */
static void promises_check(const struct page *p, const struct pg_ref *old,
                           bool was_whole)
{
    const struct pg_ref *ref = &p->versions[p->n - 1].ref;
    bool whole = ref->nchain == 0;

    CHECK(ref->nchain < p->window);
    if (was_whole) {
        CHECK(whole); /* new, split or merged */
        return;
    }
    CHECK(whole || p->plan.body_bytes < p->whole_bytes);
    switch (p->versioning) {
    case QUIRE_VERSIONING_FULL:
        CHECK(whole);
        break;
    case QUIRE_VERSIONING_INCREMENTAL:
        if (old->nchain + 2u > p->window)
            CHECK(whole);
        if (!whole)
            CHECK_EQ(ref->nchain, old->nchain + 1u);
        break;
    case QUIRE_VERSIONING_DIFFERENTIAL:
        CHECK(ref->nchain <= 1); /* two reads */
        CHECK_EQ(ref->step, whole ? 0 : old->step + 1u);
        CHECK(ref->step < p->window);
        break;
    case QUIRE_VERSIONING_SLIDING:
        if (!whole)
            CHECK(ref->fenced && ref->step == 0);
        break;
    case QUIRE_VERSIONING_ADAPTIVE:
        CHECK(ref->nchain <= 1);
        break;
    default:
        break;
    }
}

/* ---- histories ---- */

static const quire_versioning strategies[] = {
    QUIRE_VERSIONING_FULL,         QUIRE_VERSIONING_INCREMENTAL,
    QUIRE_VERSIONING_DIFFERENTIAL, QUIRE_VERSIONING_SLIDING,
    QUIRE_VERSIONING_ADAPTIVE,
};

static const char *const strategy_names[] = {
    "full", "incremental", "differential", "sliding", "adaptive",
};

static void some_steps(struct page *p, struct page_model *m,
                       const struct page_shape *sh, uint64_t *rng, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        page_step(&p->work, m, sh, rng, m->n > 60 ? 10 : 4, 60);
}

/* What a split or a merge leaves: an image that is to be written whole. */
static void renew(struct page *p)
{
    struct page_work w = { NULL, p->work.cap + 512, 0 };
    struct pg_image *img = p->work.img;
    struct quire_val lower, upper;
    bool bounded = pg_image_upper(img, &upper);

    pg_image_lower(img, &lower);
    w.img = malloc(w.cap);
    CHECK(w.img != NULL);
    CHECK(pg_work_slice(img, 0, img->n, &lower, bounded ? &upper : NULL, w.img,
                        w.cap));
    page_work_fini(&p->work);
    p->work = w;
}

static void history(quire_versioning versioning, unsigned window,
                    enum pg_kind kind, const struct page_shape *sh,
                    unsigned ncommits, bool change, uint64_t *rng)
{
    struct page_model m = { 0 };
    struct page p;

    page_init(&p, versioning, window, kind, sh);
    if (kind == PG_INNER)
        page_first_child(&p.work, &m, sh, rng);
    some_steps(&p, &m, sh, rng, 60);
    for (unsigned i = 0; i < ncommits; i++) {
        struct pg_ref old = { 0 };
        bool was_whole;

        /* Other strategies and windows go on with what they find. */
        if (change && test_rand_below(rng, 6) == 0) {
            p.versioning = strategies[test_rand_below(rng, 5)];
            p.window = 2 + (unsigned)test_rand_below(rng, 15);
        }
        was_whole = (p.work.img->flags & PG_IMAGE_WHOLE) != 0;
        if (p.n > 0)
            old = p.versions[p.n - 1].ref;
        page_commit(&p, &m);
        if (change)
            CHECK(p.versions[p.n - 1].ref.nchain < p.window);
        else
            promises_check(&p, &old, was_whole);
        if (i % 8 == 7 || i + 1 == ncommits) {
            for (size_t k = p.n > 40 ? p.n - 40 : 0; k < p.n; k++)
                version_check(&p, &p.versions[k], NULL);
        }
        some_steps(&p, &m, sh, rng, 1 + test_rand_below(rng, 9));
        if (test_rand_below(rng, 30) == 0)
            renew(&p);
    }
    page_model_fini(&m);
    page_fini(&p);
}

static void histories(bool change)
{
    unsigned ncommits = (unsigned)test_rounds(32);
    uint64_t rng = test_seed();

    for (size_t s = 0; s < ARRAY_LEN(strategies); s++) {
        for (unsigned window = 2; window <= QUIRE_WINDOW_MAX; window++) {
            for (size_t sh = window % 3; sh < page_nshapes; sh += 3) {
                CHECK_CASE(strategy_names[s]);
                history(strategies[s], window, PG_LEAF, &page_shapes[sh],
                        ncommits, change, &rng);
                history(strategies[s], window, PG_INNER, &page_shapes[sh],
                        ncommits, change, &rng);
            }
        }
    }
}

static void test_strategy_histories(void **state)
{
    (void)state;
    nsettled = 0;
    histories(false);
    CHECK(nsettled > 100);
}

/* The strategy and the window change in the middle of a chain. */
static void test_strategy_transitions(void **state)
{
    (void)state;
    histories(true);
}

/* ---- the promises as numbers: 500 slots, a few changes a commit ---- */

#define NSLOTS 500u
#define NCHANGES 5u

static const struct page_shape plain = { .name = "plain" };

static size_t key_of(unsigned i, char key[16])
{
    return (size_t)snprintf(key, 16, "key%05u", i);
}

static void put(struct page *p, struct page_model *m, unsigned i,
                const char *val)
{
    char key[16];
    size_t len = key_of(i, key);

    (void)page_work_put(&p->work, key, len, val, strlen(val), PG_ENTRY_PLAIN);
    page_model_put(m, key, len, val, strlen(val), PG_ENTRY_PLAIN);
}

static void put_large(struct page *p, struct page_model *m, unsigned i)
{
    struct pg_large large = { .size = 5000, .piece_bytes = 5000 };
    uint8_t val[PG_LARGE_BYTES];
    uint64_t rng = i;
    char key[16];
    size_t len = key_of(i, key);

    page_ref_make(&large.ref, 0, 0, &rng);
    large.ref.kind = PG_OVERFLOW;
    large.ref.raw_len = 5000;
    pg_large_encode(&large, val);
    (void)page_work_put(&p->work, key, len, val, sizeof(val),
                        PG_ENTRY_OVERFLOW);
    page_model_put(m, key, len, val, sizeof(val), PG_ENTRY_OVERFLOW);
}

static void del(struct page *p, struct page_model *m, unsigned i)
{
    char key[16];
    size_t len = key_of(i, key);
    bool found;
    unsigned slot = pg_image_seek(p->work.img, key, len, &found);

    CHECK(found);
    pg_work_del(p->work.img, slot);
    slot = (unsigned)page_model_seek(m, key, len, &found);
    CHECK(found);
    page_model_del(m, slot);
}

/* A page of NSLOTS entries, written. */
static void filled(struct page *p, struct page_model *m,
                   quire_versioning versioning, unsigned window)
{
    memset(m, 0, sizeof(*m));
    page_init(p, versioning, window, PG_LEAF, &plain);
    for (unsigned i = 0; i < NSLOTS; i++)
        put(p, m, 2 * i, "12345678");
    page_commit(p, m);
}

/* Change NCHANGES entries that the last commits have left alone, and commit. */
static void change(struct page *p, struct page_model *m, unsigned round)
{
    for (unsigned i = 0; i < NCHANGES; i++)
        put(p, m, 2 * ((round * NCHANGES + i) * 7 % NSLOTS), "87654321");
    page_commit(p, m);
}

/* The Java original wrote the whole page every time. */
static void test_differential_grows_by_what_changed(void **state)
{
    (void)state;
    for (unsigned window = 2; window <= QUIRE_WINDOW_MAX; window++) {
        struct page_model m;
        struct page p;

        filled(&p, &m, QUIRE_VERSIONING_DIFFERENTIAL, window);
        for (unsigned round = 1; round < 4 * window; round++) {
            unsigned step = round % window;

            change(&p, &m, round);
            CHECK_EQ(p.nentries, step == 0 ? NSLOTS : step * NCHANGES);
            CHECK_EQ(p.versions[p.n - 1].ref.nchain, step != 0);
        }
        page_model_fini(&m);
        page_fini(&p);
    }
}

/* It wrote 5, 5, and from then on the whole page every time: a chain must begin
 * anew with a whole page. */
static void test_incremental_restarts_at_a_whole_page(void **state)
{
    (void)state;
    for (unsigned window = 2; window <= QUIRE_WINDOW_MAX; window++) {
        struct page_model m;
        struct page p;

        filled(&p, &m, QUIRE_VERSIONING_INCREMENTAL, window);
        for (unsigned round = 1; round < 4 * window; round++) {
            change(&p, &m, round);
            CHECK_EQ(p.nentries, round % window == 0 ? NSLOTS : NCHANGES);
            CHECK_EQ(p.versions[p.n - 1].ref.nchain, round % window);
        }
        page_model_fini(&m);
        page_fini(&p);
    }
}

/* It had no share, and wrote nearly the whole page when the oldest fragment
 * left: 5, 5, 490, 10, 10, 480. The rescue is spread, so that every fragment
 * has about its share, and none is the whole page again. */
static void test_sliding_writes_no_whole_page_and_no_spike(void **state)
{
    (void)state;
    for (unsigned window = 2; window <= QUIRE_WINDOW_MAX; window++) {
        struct page_model m;
        struct page p;

        filled(&p, &m, QUIRE_VERSIONING_SLIDING, window);
        for (unsigned round = 1; round < 6 * window; round++) {
            const struct pg_ref *ref;

            change(&p, &m, round);
            ref = &p.versions[p.n - 1].ref;
            CHECK_EQ(p.plan.form, PG_FORM_FENCED);
            CHECK_EQ(ref->nchain, round < window ? round : window - 1);
            CHECK(p.nentries >= NCHANGES);
            CHECK(p.nentries <= NSLOTS / window + NCHANGES + 2);
        }
        page_model_fini(&m);
        page_fini(&p);
    }
}

/* A commit that changes much of the page is spread too when it falls due. */
static void test_sliding_spreads_a_large_commit(void **state)
{
    struct page_model m;
    struct page p;
    unsigned most = 0;

    (void)state;
    filled(&p, &m, QUIRE_VERSIONING_SLIDING, 5);
    for (unsigned round = 1; round < 12; round++)
        change(&p, &m, round);
    for (unsigned i = 0; i < NSLOTS * 4 / 5; i++)
        put(&p, &m, 2 * i, "abcdefgh");
    page_commit(&p, &m);
    CHECK_EQ(p.plan.form, PG_FORM_FENCED);
    for (unsigned round = 1; round < 12; round++) {
        change(&p, &m, round);
        CHECK_EQ(p.plan.form, PG_FORM_FENCED);
        most = p.nentries > most ? p.nentries : most;
    }
    CHECK(most <= NSLOTS / 4);
    page_model_fini(&m);
    page_fini(&p);
}

/* When everything is changed the page is written whole, and only then. */
static void test_sliding_whole_when_all_changes(void **state)
{
    struct page_model m;
    struct page p;

    (void)state;
    filled(&p, &m, QUIRE_VERSIONING_SLIDING, 3);
    for (unsigned round = 1; round < 7; round++)
        change(&p, &m, round);
    for (unsigned i = 0; i < NSLOTS; i++)
        put(&p, &m, 2 * i, "abcdefgh");
    page_commit(&p, &m);
    CHECK_EQ(p.plan.form, PG_FORM_WHOLE);
    change(&p, &m, 1);
    CHECK_EQ(p.versions[p.n - 1].ref.nchain, 1);
    page_model_fini(&m);
    page_fini(&p);
}

/* ---- tombstones ---- */

/* A key that the whole page has stays deleted through every differential; one
 * that came later and went leaves nothing behind. */
static void test_differential_keeps_needed_tombstones_only(void **state)
{
    struct page_model m;
    struct page p;

    (void)state;
    filled(&p, &m, QUIRE_VERSIONING_DIFFERENTIAL, 16);
    del(&p, &m, 10);      /* the whole page has it */
    put(&p, &m, 11, "x"); /* it lacks this one */
    page_commit(&p, &m);
    CHECK_EQ(p.nentries, 2);
    CHECK_EQ(p.versions[p.n - 1].img->nghosts, 1);
    del(&p, &m, 11);
    page_commit(&p, &m);
    CHECK_EQ(p.nentries, 1);
    put(&p, &m, 13, "y"); /* comes and goes within a transaction */
    del(&p, &m, 13);
    put(&p, &m, 20, "z");
    page_commit(&p, &m);
    CHECK_EQ(p.nentries, 2);
    put(&p, &m, 10, "back");
    page_commit(&p, &m);
    CHECK_EQ(p.nentries, 2);
    CHECK_EQ(p.versions[p.n - 1].img->nghosts, 0);
    del(&p, &m, 10); /* a tombstone again: it hides the whole page's */
    page_commit(&p, &m);
    CHECK_EQ(p.nentries, 2);
    CHECK_EQ(p.versions[p.n - 1].img->nghosts, 1);
    page_model_fini(&m);
    page_fini(&p);
}

/* What a newer fragment has deleted does not come back with the rescue, nor
 * when the fragment with the tombstone is the oldest, or has left. */
static void test_sliding_does_not_resurrect(void **state)
{
    (void)state;
    for (unsigned window = 2; window <= 6; window++) {
        for (unsigned when = 0; when < 2 * window; when++) {
            struct page_model m;
            struct page p;

            filled(&p, &m, QUIRE_VERSIONING_SLIDING, window);
            for (unsigned round = 1; round < 5 * window; round++) {
                if (round == when + 1)
                    del(&p, &m, 2 * 123);
                if (round == when + window + 1)
                    put(&p, &m, 2 * 123, "again");
                for (unsigned i = 0; i < 3; i++)
                    put(&p, &m, 2 * ((round * 3 + i) % 100), "changed");
                page_commit(&p, &m); /* compares with the model */
            }
            page_model_fini(&m);
            page_fini(&p);
        }
    }
}

/* A value that moves between the page and overflow pages: the newer kind hides
 * the older one, under every strategy and over every distance. (The original
 * resurrected old values.) */
static void test_values_move_in_and_out(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(strategies); s++) {
        for (unsigned window = 2; window <= 5; window++) {
            struct page_model m;
            struct page p;

            CHECK_CASE(strategy_names[s]);
            filled(&p, &m, strategies[s], window);
            for (unsigned round = 1; round < 6 * window; round++) {
                unsigned k = 2 * (round % 3);

                if (round % 4 == 0)
                    put(&p, &m, k, "inline");
                else if (round % 4 == 1)
                    put_large(&p, &m, k);
                else if (round % 4 == 2)
                    put(&p, &m, 400, "else");
                page_commit(&p, &m);
            }
            page_model_fini(&m);
            page_fini(&p);
        }
    }
}

/* ADAPTIVE's rounds are as long as is best: it writes hardly more than rounds of
 * any one length would, however much changes at a time. */
static void test_adaptive_writes_the_least(void **state)
{
    static const unsigned changes[] = { 1, 2, 5, 20, 60, 200, 450 };

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(changes); c++) {
        const unsigned nwrites = 300;
        double rec, whole, least, sum = 0;
        struct page_model m;
        struct page p;
        unsigned next = 0;

        filled(&p, &m, QUIRE_VERSIONING_ADAPTIVE, 2);
        whole = (double)p.whole_bytes;
        rec = whole / NSLOTS;
        least = whole; /* every write whole */
        for (unsigned k = 2; k < 400; k++) {
            double round = whole;

            for (unsigned j = 1; j < k; j++)
                round += j * changes[c] < NSLOTS ? rec * j * changes[c] : whole;
            least = round / k < least ? round / k : least;
        }
        for (unsigned i = 0; i < nwrites; i++) {
            char val[16];

            snprintf(val, sizeof(val), "%08u", i);
            for (unsigned k = 0; k < changes[c]; k++)
                put(&p, &m, 2 * (next++ % NSLOTS), val);
            page_commit(&p, &m);
            CHECK(p.versions[p.n - 1].ref.nchain <= 1);
            sum += (double)p.plan.body_bytes;
        }
        /* in every body there are some bytes more than its records */
        CHECK(sum / nwrites < 1.1 * least + 32);
        page_model_fini(&m);
        page_fini(&p);
    }
}

/* ---- transitions ---- */

/* What the newest fragment is, after the strategy was changed over a chain that
 * another one made. */
static void test_what_a_changed_strategy_goes_on_with(void **state)
{
    static const struct {
        const char *name;
        quire_versioning before;
        unsigned nbefore; /* commits over the whole page */
        quire_versioning after;
        enum pg_form form;
        unsigned nchain;
    } cases[] = {
        { "increments, differential", QUIRE_VERSIONING_INCREMENTAL, 2,
          QUIRE_VERSIONING_DIFFERENTIAL, PG_FORM_WHOLE, 0 },
        { "increments, sliding", QUIRE_VERSIONING_INCREMENTAL, 2,
          QUIRE_VERSIONING_SLIDING, PG_FORM_WHOLE, 0 },
        { "increments, adaptive", QUIRE_VERSIONING_INCREMENTAL, 2,
          QUIRE_VERSIONING_ADAPTIVE, PG_FORM_WHOLE, 0 },
        { "adaptive, sliding", QUIRE_VERSIONING_ADAPTIVE, 1,
          QUIRE_VERSIONING_SLIDING, PG_FORM_FENCED, 2 },
        { "adaptive, differential", QUIRE_VERSIONING_ADAPTIVE, 1,
          QUIRE_VERSIONING_DIFFERENTIAL, PG_FORM_FENCED, 1 },
        { "adaptive at length, differential", QUIRE_VERSIONING_ADAPTIVE, 5,
          QUIRE_VERSIONING_DIFFERENTIAL, PG_FORM_WHOLE, 0 },
        { "differential, adaptive", QUIRE_VERSIONING_DIFFERENTIAL, 2,
          QUIRE_VERSIONING_ADAPTIVE, PG_FORM_FENCED, 1 },
        { "whole page, differential", QUIRE_VERSIONING_FULL, 2,
          QUIRE_VERSIONING_DIFFERENTIAL, PG_FORM_FENCED, 1 },
        { "whole page, sliding", QUIRE_VERSIONING_FULL, 2,
          QUIRE_VERSIONING_SLIDING, PG_FORM_FENCED, 1 },
        { "whole page, increments", QUIRE_VERSIONING_FULL, 2,
          QUIRE_VERSIONING_INCREMENTAL, PG_FORM_DELTA, 1 },
        { "differential, sliding", QUIRE_VERSIONING_DIFFERENTIAL, 2,
          QUIRE_VERSIONING_SLIDING, PG_FORM_FENCED, 2 },
        { "differential, increments", QUIRE_VERSIONING_DIFFERENTIAL, 2,
          QUIRE_VERSIONING_INCREMENTAL, PG_FORM_DELTA, 2 },
        { "sliding, differential", QUIRE_VERSIONING_SLIDING, 2,
          QUIRE_VERSIONING_DIFFERENTIAL, PG_FORM_WHOLE, 0 },
        { "sliding, increments", QUIRE_VERSIONING_SLIDING, 2,
          QUIRE_VERSIONING_INCREMENTAL, PG_FORM_DELTA, 3 },
        { "sliding without its whole page, increments",
          QUIRE_VERSIONING_SLIDING, 9, QUIRE_VERSIONING_INCREMENTAL,
          PG_FORM_WHOLE, 0 },
        { "sliding, full", QUIRE_VERSIONING_SLIDING, 9, QUIRE_VERSIONING_FULL,
          PG_FORM_WHOLE, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct page_model m;
        struct page p;

        CHECK_CASE(cases[i].name);
        filled(&p, &m, cases[i].before, 4);
        for (unsigned k = 0; k < cases[i].nbefore; k++)
            change(&p, &m, k);
        p.versioning = cases[i].after;
        change(&p, &m, 50);
        CHECK_EQ(p.plan.form, cases[i].form);
        CHECK_EQ(p.versions[p.n - 1].ref.nchain, cases[i].nchain);
        for (unsigned k = 0; k < 12; k++)
            change(&p, &m, 60 + k);
        CHECK(p.versions[p.n - 1].ref.nchain < 4);
        page_model_fini(&m);
        page_fini(&p);
    }
}

/* Under a smaller window a long chain is cut at once, without a whole page
 * where that is possible; under a larger one it grows. */
static void test_window_changes(void **state)
{
    struct page_model m;
    struct page p;

    (void)state;
    filled(&p, &m, QUIRE_VERSIONING_SLIDING, 8);
    for (unsigned k = 0; k < 20; k++)
        change(&p, &m, k);
    CHECK_EQ(p.versions[p.n - 1].ref.nchain, 7);
    p.window = 4;
    change(&p, &m, 21);
    CHECK_EQ(p.versions[p.n - 1].ref.nchain, 3);
    CHECK_EQ(p.plan.form, PG_FORM_FENCED);
    p.window = 6;
    for (unsigned k = 22; k < 30; k++)
        change(&p, &m, k);
    CHECK_EQ(p.versions[p.n - 1].ref.nchain, 5);
    CHECK_EQ(p.plan.form, PG_FORM_FENCED);
    page_model_fini(&m);
    page_fini(&p);
}

/* ---- chains that lie ---- */

/* A version taken apart: what the combiner is handed. */
struct parts {
    struct pg_ref ref;
    struct pg_frag frags[PG_CHAIN_MAX + 1];
    struct quire_val bodies[PG_CHAIN_MAX + 1];
    uint8_t *raw[PG_CHAIN_MAX + 1];
    unsigned n;
};

static void parts_take(const struct page *p, struct parts *parts)
{
    parts->ref = p->versions[p->n - 1].ref;
    parts->n = parts->ref.nchain + 1u;
    for (unsigned i = 0; i < parts->n; i++) {
        pg_id id = i == 0 ? parts->ref.id : parts->ref.chain[i - 1].id;
        struct pg_frag *frag = &parts->frags[i];
        struct quire_val body;

        CHECK_OK(pg_frag_check(p->frags[index_of(id)],
                               p->versions[index_of(id)].ref.stored_len, id,
                               NULL, frag));
        parts->raw[i] = malloc(frag->raw_len);
        CHECK(parts->raw[i] != NULL);
        CHECK_OK(pg_frag_body(frag, p->frags[index_of(id)], parts->raw[i],
                              frag->raw_len, &body));
        if (body.data != parts->raw[i])
            memcpy(parts->raw[i], body.data, body.size);
        parts->bodies[i] = (struct quire_val){ parts->raw[i], body.size };
    }
}

/* Whatever the parts are, the answer is a good image or CORRUPT. */
static bool parts_combine(const struct parts *parts)
{
    size_t cap = parts->ref.image_len;
    uint8_t *seg = malloc(cap);
    quire_status rc;

    CHECK(seg != NULL);
    rc = pg_combine(&parts->ref, parts->frags, parts->bodies, parts->n,
                    PAGE_BYTES, seg, cap);
    if (rc == QUIRE_OK)
        CHECK(pg_check_image((struct pg_image *)(void *)seg));
    else
        CHECK_STATUS(rc, QUIRE_CORRUPT);
    free(seg);
    return rc == QUIRE_OK;
}

static void parts_fini(struct parts *parts)
{
    for (unsigned i = 0; i < parts->n; i++)
        free(parts->raw[i]);
}

/* Some versions of a small page between fences. */
static void parts_make(struct parts *parts, quire_versioning versioning,
                       unsigned ncommits)
{
    const struct page_shape *sh = &page_shapes[5];
    uint64_t rng = test_seed();
    struct page_model m = { 0 };
    struct page p;

    CHECK(sh->upper.data != NULL);
    page_init(&p, versioning, 4, PG_LEAF, sh);
    some_steps(&p, &m, sh, &rng, 40);
    for (unsigned i = 0; i <= ncommits; i++) {
        page_commit(&p, &m);
        some_steps(&p, &m, sh, &rng, 3);
    }
    CHECK(p.versions[p.n - 1].ref.fenced);
    parts_take(&p, parts);
    page_model_fini(&m);
    page_fini(&p);
}

static const struct {
    const char *name;
    quire_versioning versioning;
    unsigned ncommits;
} fenced[] = {
    { "differential", QUIRE_VERSIONING_DIFFERENTIAL, 3 },
    { "sliding, with its whole page", QUIRE_VERSIONING_SLIDING, 2 },
    { "sliding, without", QUIRE_VERSIONING_SLIDING, 7 },
};

static void test_fenced_chains_every_bit(void **state)
{
    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(fenced); c++) {
        struct parts parts;

        CHECK_CASE(fenced[c].name);
        parts_make(&parts, fenced[c].versioning, fenced[c].ncommits);
        CHECK(parts_combine(&parts));
        for (unsigned i = 0; i < parts.n; i++) {
            for (size_t b = 0; b < 8 * parts.bodies[i].size; b++) {
                parts.raw[i][b / 8] ^= (uint8_t)(1 << b % 8);
                /* the fences are those of all */
                if (b / 8 >= 4 && b / 8 < 10)
                    CHECK(!parts_combine(&parts));
                else
                    (void)parts_combine(&parts);
                parts.raw[i][b / 8] ^= (uint8_t)(1 << b % 8);
            }
        }
        CHECK(parts_combine(&parts));
        parts_fini(&parts);
    }
}

/* What the fragments of a chain say of themselves must agree. */
static void test_fenced_chains_lying_headers(void **state)
{
    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(fenced); c++) {
        struct parts good, p;
        unsigned last;

        CHECK_CASE(fenced[c].name);
        parts_make(&good, fenced[c].versioning, fenced[c].ncommits);
        last = good.n - 1;
        for (unsigned i = 0; i < good.n; i++) {
            p = good;
            p.frags[i].self_contained = !p.frags[i].self_contained;
            if (i < last || good.frags[i].self_contained)
                CHECK_EQ(parts_combine(&p), i == last && good.frags[i].fenced);
            p = good;
            p.frags[i].fenced = !p.frags[i].fenced;
            /* of a whole page the flag says nothing more */
            CHECK_EQ(parts_combine(&p), i == last && p.frags[i].self_contained);
        }
        p = good;
        p.ref.fenced = false;
        CHECK(!parts_combine(&p));
        p = good;
        p.ref.step++;
        CHECK(!parts_combine(&p));
        p = good; /* a part of the window is missing */
        if (!p.frags[last].self_contained) {
            p.n--;
            p.ref.nchain--;
            p.frags[0].nchain--;
            CHECK(!parts_combine(&p));
        }
        p = good; /* a differential over something else than the whole page */
        p.ref.step = p.frags[0].step = 1;
        CHECK_EQ(parts_combine(&p),
                 fenced[c].versioning == QUIRE_VERSIONING_DIFFERENTIAL);
        parts_fini(&good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategy_histories),
        cmocka_unit_test(test_strategy_transitions),
        cmocka_unit_test(test_differential_grows_by_what_changed),
        cmocka_unit_test(test_incremental_restarts_at_a_whole_page),
        cmocka_unit_test(test_sliding_writes_no_whole_page_and_no_spike),
        cmocka_unit_test(test_sliding_spreads_a_large_commit),
        cmocka_unit_test(test_sliding_whole_when_all_changes),
        cmocka_unit_test(test_differential_keeps_needed_tombstones_only),
        cmocka_unit_test(test_sliding_does_not_resurrect),
        cmocka_unit_test(test_values_move_in_and_out),
        cmocka_unit_test(test_adaptive_writes_the_least),
        cmocka_unit_test(test_what_a_changed_strategy_goes_on_with),
        cmocka_unit_test(test_window_changes),
        cmocka_unit_test(test_fenced_chains_every_bit),
        cmocka_unit_test(test_fenced_chains_lying_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
