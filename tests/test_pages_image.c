/*
 * Images as readers see them: search against the model, children, fences,
 * plain pages, and that pg_check_image() sees what is broken.
 */
#include "pages/pg_impl.h"
#include "tests/lib_page.h"
#include "tests/test.h"

/* The committed form of `w`, in memory of exactly its length. */
static struct pg_image *compact(const struct page_work *w, unsigned nchain)
{
    size_t len = pg_image_compact_bytes(w->img, nchain);
    uint64_t sums[PG_CHAIN_MAX];
    uint64_t rng = 9;
    struct pg_ref ref;
    struct pg_image *img = malloc(len);

    CHECK(img != NULL);
    page_ref_make(&ref, w->img->level, nchain, &rng);
    for (unsigned i = 0; i < nchain; i++)
        sums[i] = i * UINT64_C(0x0101010101010101);
    CHECK(!pg_image_compact(w->img, &ref, sums, img, len - 1));
    CHECK(pg_image_compact(w->img, &ref, sums, img, len));
    CHECK_EQ(img->used, len);
    CHECK_EQ(img->id, ref.id);
    CHECK_EQ(img->birth, ref.birth);
    CHECK_EQ(img->nchain, nchain);
    CHECK_MEM_EQ((uint8_t *)img + img->sums_off, sums,
                 nchain * sizeof(sums[0]));
    return img;
}

/* A model and its working and committed image, with random entries. */
struct page {
    struct page_model m;
    struct page_work w;
    struct pg_image *img;
};

static void page_make(struct page *p, enum pg_kind kind, unsigned level,
                      const struct page_shape *sh, unsigned nsteps,
                      unsigned nchain, uint64_t *rng)
{
    memset(p, 0, sizeof(*p));
    page_work_init(&p->w, 4096, kind, level, sh);
    if (kind == PG_INNER)
        page_first_child(&p->w, &p->m, sh, rng);
    for (unsigned i = 0; i < nsteps; i++)
        page_step(&p->w, &p->m, sh, rng, 2, 40);
    page_check(p->w.img, &p->m);
    p->img = compact(&p->w, nchain);
    page_check(p->img, &p->m);
}

static void page_fini(struct page *p)
{
    free(p->img);
    page_work_fini(&p->w);
    page_model_fini(&p->m);
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

/* Ask the image and the model for one key. */
static void seek_check(const struct pg_image *img, const struct page_model *m,
                       const void *key, size_t len)
{
    bool found, want_found;
    size_t want = page_model_seek(m, key, len, &want_found);
    unsigned i = pg_image_seek(img, key, len, &found);

    CHECK_EQ(found, want_found);
    CHECK_EQ(i, want);
    CHECK_EQ(pg_image_find(img, key, len), want_found ? want : img->n);
    if (i < img->n)
        CHECK_EQ(sign(pg_image_key_cmp(img, i, key, len)), found ? 0 : 1);
    if (i > 0)
        CHECK_EQ(sign(pg_image_key_cmp(img, i - 1, key, len)), -1);
    if (img->kind != PG_INNER || img->n == 0)
        return;
    CHECK_EQ(pg_image_child(img, key, len, false), found      ? want
                                                   : want > 0 ? want - 1
                                                              : 0);
    CHECK_EQ(pg_image_child(img, key, len, true), want > 0 ? want - 1 : 0);
}

/* All keys of the page, their neighbours, the fences, and anything else. */
static void seek_check_all(const struct pg_image *img,
                           const struct page_model *m,
                           const struct page_shape *sh, uint64_t *rng)
{
    uint8_t key[PAGE_KEY_MAX + 1];
    size_t len;

    seek_check(img, m, NULL, 0);
    seek_check(img, m, sh->lower.data, sh->lower.size);
    seek_check(img, m, sh->upper.data, sh->upper.size);
    for (size_t i = 0; i < m->n; i++) {
        len = m->recs[i].key_len;
        memcpy(key, m->recs[i].key, len);
        seek_check(img, m, key, len);
        key[len] = 0;
        seek_check(img, m, key, len + 1);
        if (len > 0) {
            seek_check(img, m, key, len - 1);
            key[len - 1]++;
            seek_check(img, m, key, len);
            key[len - 1] -= 2;
            seek_check(img, m, key, len);
        }
    }
    for (unsigned i = 0; i < 200; i++) {
        len = page_key(sh, rng, key);
        seek_check(img, m, key, len);
        len = page_key(&page_shapes[test_rand_below(rng, page_nshapes)], rng,
                       key);
        seek_check(img, m, key, len);
    }
}

static void test_image_seek(void **state)
{
    static const unsigned nsteps[] = { 0, 1, 2, 3, 7, 40, 300 };
    uint64_t rng = test_seed();
    unsigned nvariants = 0;

    (void)state;
    while (quire_simd_variant(nvariants) != NULL)
        nvariants++;
    CHECK(nvariants > 0);
    for (size_t s = 0; s < page_nshapes; s++) {
        CHECK_CASE(page_shapes[s].name);
        for (size_t i = 0; i < ARRAY_LEN(nsteps); i++) {
            struct page p;

            CHECK_OK(quire_simd_use(quire_simd_variant((s + i) % nvariants)));
            page_make(&p, PG_LEAF, 0, &page_shapes[s], nsteps[i], 0, &rng);
            seek_check_all(p.w.img, &p.m, &page_shapes[s], &rng);
            seek_check_all(p.img, &p.m, &page_shapes[s], &rng);
            page_fini(&p);
            page_make(&p, PG_INNER, 2, &page_shapes[s], nsteps[i], 3, &rng);
            seek_check_all(p.w.img, &p.m, &page_shapes[s], &rng);
            seek_check_all(p.img, &p.m, &page_shapes[s], &rng);
            page_fini(&p);
        }
    }
    CHECK_OK(quire_simd_use(NULL));
}

/* What all keys begin with, but an inner page's first, tells nothing apart:
 * heads are of what follows. Numbers of fixed width, in a page that has no
 * upper fence and so no prefix. */
static void test_image_heads_skip(void **state)
{
    static const struct {
        const char *name;
        enum pg_kind kind;
        unsigned n; /* numbers, beside an inner page's first, empty key */
        unsigned skip;
    } cases[] = {
        { "a leaf", PG_LEAF, 30, 14 },
        { "two records", PG_LEAF, 2, 15 },
        { "one record", PG_LEAF, 1, 0 },
        { "an inner page", PG_INNER, 30, 14 },
        { "two children more", PG_INNER, 2, 15 },
        { "one child more", PG_INNER, 1, 0 },
        { "the first child alone", PG_INNER, 0, 0 },
    };
    uint64_t rng = test_seed();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const uint32_t *heads;
        struct page p = { 0 };
        struct page_work copy;
        unsigned from = cases[i].kind == PG_INNER;
        bool found;

        CHECK_CASE(cases[i].name);
        page_work_init(&p.w, 65536, cases[i].kind, from, &page_shapes[0]);
        if (from != 0)
            page_first_child(&p.w, &p.m, &page_shapes[0], &rng);
        for (unsigned k = 0; k < cases[i].n; k++) {
            uint8_t val[PG_REF_BYTES_MAX] = { 1 };
            size_t len = 1;
            char key[17];

            if (from != 0) {
                struct pg_ref ref;

                page_ref_make(&ref, 0, 0, &rng);
                len = pg_ref_encode(&ref, val);
            }
            snprintf(key, sizeof(key), "%016u", k);
            page_work_put(&p.w, key, 16, val, len, PG_ENTRY_PLAIN);
            page_model_put(&p.m, key, 16, val, len, PG_ENTRY_PLAIN);
        }
        CHECK_EQ(p.w.img->head_skip, 0);
        p.img = compact(&p.w, 0);
        CHECK(pg_check_image(p.img));
        CHECK_EQ(p.img->head_skip, cases[i].skip);
        heads = (const uint32_t *)(const void *)((const uint8_t *)p.img +
                                                 p.img->heads_off);
        for (unsigned k = 1; cases[i].skip != 0 && k < p.img->n; k++)
            CHECK(heads[k - 1] < heads[k]);
        seek_check_all(p.img, &p.m, &page_shapes[5], &rng);
        page_work_copy(&copy, p.img, 65536);
        CHECK_EQ(copy.img->head_skip, cases[i].skip);
        CHECK(pg_check_image(copy.img));
        /* the empty key, which has no address */
        CHECK_EQ(pg_image_seek(copy.img, NULL, 0, &found), 0);
        CHECK_EQ(pg_image_seek(p.img, NULL, 0, &found), 0);
        seek_check_all(copy.img, &p.m, &page_shapes[5], &rng);
        page_work_fini(&copy);
        page_fini(&p);
    }
}

/* A leaf of more records than a probe has bits for, with every variant. */
static void test_image_find_many(void **state)
{
    struct page_model m = { 0 };
    struct page_work w;
    struct pg_image *img;

    (void)state;
    page_work_init(&w, PG_IMAGE_MAX, PG_LEAF, 0, &page_shapes[0]);
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t key[2] = { (uint8_t)(i >> 8), (uint8_t)i };
        struct quire_val k = { key, 2 }, v = { key, i % 3 };

        CHECK(pg_work_put(w.img, &k, &v, PG_ENTRY_PLAIN, NULL));
    }
    img = compact(&w, 0);
    CHECK(pg_check_image(img));
    for (unsigned v = 0; quire_simd_variant(v) != NULL; v++) {
        CHECK_CASE(quire_simd_variant(v));
        CHECK_OK(quire_simd_use(quire_simd_variant(v)));
        for (unsigned i = 0; i < 4000; i++) {
            uint8_t key[2] = { (uint8_t)(i >> 8), (uint8_t)i };

            CHECK_EQ(pg_image_find(img, key, 2), i < 3000 ? i : 3000);
            CHECK_EQ(pg_image_find(img, key, 1), 3000);
        }
    }
    CHECK_OK(quire_simd_use(NULL));
    free(img);
    page_work_fini(&w);
    page_model_fini(&m);
}

/* Children that went are passed over to the left. */
static void test_image_child_tombstones(void **state)
{
    const struct page_shape *sh = &page_shapes[0];
    uint64_t rng = test_seed();
    struct page p;
    struct page_work w;

    (void)state;
    page_make(&p, PG_INNER, 1, sh, 200, 1, &rng);
    page_work_copy(&w, p.img, 65536);
    while (p.m.n > 1) {
        size_t at = 1 + test_rand_below(&rng, p.m.n - 1);
        bool found;
        unsigned i = pg_image_seek(w.img, p.m.recs[at].key,
                                   p.m.recs[at].key_len, &found);

        CHECK(found);
        pg_work_del(w.img, i);
        page_model_del(&p.m, at);
        page_check(w.img, &p.m);
        for (size_t k = 0; k < 40; k++) {
            uint8_t key[PAGE_KEY_MAX], got[PAGE_KEY_MAX];
            size_t len = page_key(sh, &rng, key);
            size_t want = page_model_seek(&p.m, key, len, &found);
            struct page_entry *e = &p.m.recs[found ? want : want - 1];

            i = pg_image_child(w.img, key, len, false);
            CHECK_EQ(pg_image_key_copy(w.img, i, got), e->key_len);
            CHECK_MEM_EQ(got, e->key, e->key_len);
        }
    }
    page_work_fini(&w);
    page_fini(&p);
}

/* A child's place is remembered from its parent, if it can be. */
static void test_image_child_place(void **state)
{
    static const struct {
        const char *name;
        int64_t diff; /* bytes, child - parent */
        int32_t want;
    } cases[] = {
        { "itself", 0, 0 },
        { "above", 4096, 1 },
        { "below", -8192, -2 },
        { "not aligned", 100, 0 },
        { "as far as it goes", (int64_t)INT32_MAX * PG_WHERE, INT32_MAX },
        { "further", ((int64_t)INT32_MAX + 1) * PG_WHERE, 0 },
        { "as far below", (int64_t)INT32_MIN * PG_WHERE, INT32_MIN },
        { "further below", ((int64_t)INT32_MIN - 1) * PG_WHERE, 0 },
    };
    uint64_t rng = test_seed();
    struct page p;

    (void)state;
    page_make(&p, PG_INNER, 1, &page_shapes[0], 10, 0, &rng);
    CHECK(pg_image_hint(p.w.img, 0) == NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pg_child *child = pg_image_child_at(p.img, 0);

        CHECK_CASE(cases[i].name);
        pg_child_seen(p.img, child,
                      (const struct pg_image *)((uintptr_t)p.img +
                                                (uintptr_t)cases[i].diff));
        CHECK_EQ(child->where, cases[i].want);
        /* harmless, wherever it leads */
        pg_image_prefetch(pg_child_guess(p.img, child));
    }
    page_check(p.img, &p.m);
    page_fini(&p);
}

static void test_image_fences_and_hints(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t s = 0; s < page_nshapes; s++) {
        const struct page_shape *sh = &page_shapes[s];
        struct quire_val fence;
        struct page p;

        CHECK_CASE(sh->name);
        page_make(&p, PG_INNER, PG_LEVEL_MAX, sh, 60, PG_CHAIN_MAX, &rng);
        for (int work = 0; work < 2; work++) {
            const struct pg_image *img = work ? p.w.img : p.img;

            pg_image_lower(img, &fence);
            CHECK_EQ(fence.size, sh->lower.size);
            CHECK_MEM_EQ(fence.data, sh->lower.data, fence.size);
            CHECK_EQ(pg_image_upper(img, &fence), sh->upper.data != NULL);
            CHECK_EQ(fence.size, sh->upper.size);
            CHECK_MEM_EQ(fence.data, sh->upper.data, fence.size);
        }
        CHECK(pg_image_hint(p.w.img, 0) == NULL);
        for (unsigned i = 0; i < p.img->n; i++) {
            pg_hint *hint = pg_image_hint(p.img, i);

            CHECK_EQ((uintptr_t)hint % 4, 0);
            CHECK_EQ(*hint, PG_HINT_NONE);
            *hint = i;
        }
        page_check(p.img, &p.m);
        page_fini(&p);
    }
}

static void test_image_plain(void **state)
{
    static const size_t sizes[] = { 0, 1, 24, 4000, PG_OVERFLOW_MAX };
    uint64_t rng = test_seed();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t cap = pg_image_plain_bytes(sizes[i]);
        struct pg_image *img = malloc(cap);
        uint8_t *bytes = malloc(sizes[i] + 1);
        struct quire_val body = { bytes, sizes[i] };
        struct quire_val back;
        struct pg_ref ref;

        CHECK(img != NULL && bytes != NULL);
        CHECK(cap <= PG_IMAGE_MAX);
        memset(bytes, 0x5a, sizes[i]);
        page_ref_make(&ref, 0, 0, &rng);
        ref.kind = PG_OVERFLOW;
        ref.raw_len = (uint32_t)sizes[i];
        CHECK_STATUS(pg_image_plain(&ref, &body, img, cap - 1), QUIRE_CORRUPT);
        CHECK_OK(pg_image_plain(&ref, &body, img, cap));
        CHECK(pg_check_image(img));
        pg_image_bytes(img, &back);
        CHECK_EQ(back.size, sizes[i]);
        CHECK_MEM_EQ(back.data, bytes, sizes[i]);
        CHECK_EQ((const uint8_t *)back.data - (uint8_t *)img,
                 pg_image_plain_bytes(0));
        /* once more, the bytes being in their place already */
        body.data = back.data;
        CHECK_OK(pg_image_plain(&ref, &body, img, cap));
        pg_image_bytes(img, &back);
        CHECK_MEM_EQ(back.data, bytes, sizes[i]);
        ref.raw_len++;
        CHECK_STATUS(pg_image_plain(&ref, &body, img, cap), QUIRE_CORRUPT);
        ref.raw_len--;
        ref.kind = PG_LEAF;
        CHECK_STATUS(pg_image_plain(&ref, &body, img, cap), QUIRE_CORRUPT);
        free(bytes);
        free(img);
    }
}

/* Every field that pg_check_image() must see when it is wrong. (upper_len is
 * none of them: with a byte of the padding behind it a fence is as good.) */
static void test_image_check_sees_damage(void **state)
{
    static const struct {
        const char *name;
        size_t off;
        size_t len;
    } fields[] = {
#define FIELD(f) \
    { #f, offsetof(struct pg_image, f), sizeof(((struct pg_image *)0)->f) }
        FIELD(magic),     FIELD(kind),
        FIELD(level),     FIELD(used),
        FIELD(n),         FIELD(ntomb),
        FIELD(nchanged),  FIELD(slot_cap),
        FIELD(garbage),   FIELD(tomb_bytes),
        FIELD(lower_len), FIELD(prefix_len),
        FIELD(head_skip), FIELD(heads_off),
        FIELD(slots_off), FIELD(sums_off),
        FIELD(ages_off),  FIELD(fps_off),
        FIELD(recs_off),  FIELD(children_off),
#undef FIELD
    };
    uint64_t rng = test_seed();
    struct page p;

    (void)state;
    page_make(&p, PG_INNER, 1, &page_shapes[5], 60, 2, &rng);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        uint8_t *field = (uint8_t *)p.img + fields[i].off;

        CHECK_CASE(fields[i].name);
        for (size_t k = 0; k < 8 * fields[i].len; k++) {
            field[k / 8] ^= (uint8_t)(1 << k % 8);
            CHECK(!pg_check_image(p.img));
            field[k / 8] ^= (uint8_t)(1 << k % 8);
        }
    }
    for (unsigned i = 0; i < p.img->n; i++) {
        uint32_t *head = (uint32_t *)(void *)((uint8_t *)p.img +
                                              p.img->heads_off) +
                         i;
        uint16_t *slot = (uint16_t *)(void *)((uint8_t *)p.img +
                                              p.img->slots_off) +
                         i;
        uint8_t *rec = (uint8_t *)p.img + 4 * *slot;

        CHECK_CASE("heads, slots, records");
        for (unsigned k = 0; k < 32; k++) {
            *head ^= UINT32_C(1) << k;
            CHECK(!pg_check_image(p.img));
            *head ^= UINT32_C(1) << k;
        }
        for (unsigned k = 0; k < 16; k++) {
            *slot ^= (uint16_t)(1 << k);
            CHECK(!pg_check_image(p.img));
            *slot ^= (uint16_t)(1 << k);
        }
        for (unsigned k = 0; k < 64; k++) {
            pg_image_child_at(p.img, i)->id ^= UINT64_C(1) << k;
            CHECK(!pg_check_image(p.img));
            pg_image_child_at(p.img, i)->id ^= UINT64_C(1) << k;
        }
        for (unsigned k = 0; k < 24; k++) { /* control byte, lengths */
            rec[k / 8] ^= (uint8_t)(1 << k % 8);
            CHECK(!pg_check_image(p.img));
            rec[k / 8] ^= (uint8_t)(1 << k % 8);
        }
    }
    CHECK(pg_check_image(p.img));
    page_fini(&p);

    page_make(&p, PG_LEAF, 0, &page_shapes[5], 60, 2, &rng);
    for (unsigned i = 0; i < p.img->n; i++) {
        uint8_t *fp = (uint8_t *)p.img + p.img->fps_off + i;

        CHECK_CASE("fingerprints");
        for (unsigned k = 0; k < 8; k++) {
            *fp ^= (uint8_t)(1 << k);
            CHECK(!pg_check_image(p.img));
            *fp ^= (uint8_t)(1 << k);
        }
    }
    CHECK(pg_check_image(p.img));
    page_fini(&p);
}

/* The same of a working image, whose parts may lie anywhere that is right. */
static void test_image_check_sees_damage_of_work(void **state)
{
    static const struct {
        const char *name;
        size_t off;
        uint32_t value; /* instead */
        bool wide;      /* a field of 32 bits, not of 8 */
    } cases[] = {
#define FIELD(f) offsetof(struct pg_image, f)
        { "longer than a segment", FIELD(cap), PG_IMAGE_MAX + 1, true },
        { "a chain", FIELD(nchain), 1, false },
        { "too long a chain", FIELD(nchain), PG_CHAIN_MAX + 1, false },
        { "children", FIELD(children_off), 400, true },
        { "fingerprints", FIELD(fps_off), 400, true },
        { "the lower fence in the header", FIELD(lower_off), 8, true },
        { "the upper fence in the lower", FIELD(upper_off), 105, true },
        { "heads in the fences", FIELD(heads_off), 108, true },
        { "heads not aligned", FIELD(heads_off), 119, true },
        { "slots in the heads", FIELD(slots_off), 160, true },
        { "ages in the slots", FIELD(ages_off), 300, true },
        { "no ages", FIELD(ages_off), 0, true },
        { "records in the arrays", FIELD(recs_off), 400, true },
        { "records outside", FIELD(recs_off), 4096, true },
        { "used too little", FIELD(used), 400, true },
        { "used too much", FIELD(used), 4097, true },
        { "more slots than room", FIELD(n), 4000, true },
        { "a fence too long", FIELD(upper_len), 5000, true },
        { "an upper fence that is the lower", FIELD(upper_len), 4, true },
#undef FIELD
    };
    struct page_model m = { 0 };
    struct page_work w;
    uint64_t rng = test_seed();
    uint8_t *ages;

    (void)state;
    page_work_init(&w, 4096, PG_LEAF, 0, &page_shapes[5]);
    while (m.n < 20)
        page_step(&w, &m, &page_shapes[5], &rng, 0, 20);
    CHECK_EQ(w.cap, 4096);
    CHECK(pg_check_image(w.img));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *field = (uint8_t *)w.img + cases[i].off;
        uint8_t good[4];

        CHECK_CASE(cases[i].name);
        memcpy(good, field, 4);
        if (cases[i].wide)
            memcpy(field, &cases[i].value, 4);
        else
            *field = (uint8_t)cases[i].value;
        CHECK(!pg_check_image(w.img));
        memcpy(field, good, 4);
        CHECK(pg_check_image(w.img));
    }
    CHECK_CASE("ages, the order of fences, gaps");
    ages = (uint8_t *)w.img + w.img->ages_off;
    ages[0] = 2; /* the sum stays right */
    ages[1] = 0;
    CHECK(!pg_check_image(w.img));
    ages[0] = ages[1] = 1;
    w.img->flags |= PG_IMAGE_UPPER_INF;
    CHECK(!pg_check_image(w.img));
    w.img->flags &= (uint8_t)~PG_IMAGE_UPPER_INF;
    CHECK(pg_check_image(w.img));
    page_work_fini(&w);

    /* fences of an empty page, which no key contradicts */
    page_work_init(&w, 4096, PG_LEAF, 0, &page_shapes[9]);
    CHECK(pg_check_image(w.img));
    w.img->flags &= (uint8_t)~PG_IMAGE_UPPER_INF;
    CHECK(!pg_check_image(w.img)); /* equal fences */
    w.img->flags |= PG_IMAGE_UPPER_INF;
    w.img->upper_len = 1;
    CHECK(!pg_check_image(w.img)); /* one too many */
    page_work_fini(&w);
    page_model_fini(&m);
}

/* Keys that are not where they should be, their heads being right. */
static void test_image_check_sees_order(void **state)
{
    static const struct {
        const char *name;
        const char *keys[2]; /* instead of "m" and "p" */
        bool want;
    } cases[] = {
        { "as they are", { "m", "p" }, true },
        { "others", { "n", "o" }, true },
        { "equal", { "m", "m" }, false },
        { "exchanged", { "p", "m" }, false },
        { "below the lower fence", { "k", "p" }, false },
        { "at the lower fence", { "l", "p" }, true },
        { "at the upper fence", { "m", "q" }, false },
    };
    const struct page_shape sh = { .stem = "",
                                   .lower = { "l", 1 },
                                   .upper = { "q", 1 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct page p;

        CHECK_CASE(cases[i].name);
        memset(&p, 0, sizeof(p));
        page_work_init(&p.w, 4096, PG_LEAF, 0, &sh);
        page_work_put(&p.w, "m", 1, "1", 1, PG_ENTRY_PLAIN);
        page_work_put(&p.w, "p", 1, "2", 1, PG_ENTRY_PLAIN);
        p.img = compact(&p.w, 0);
        for (unsigned k = 0; k < 2; k++) {
            struct pg_key key;

            pg_image_key(p.img, k, &key);
            ((uint8_t *)(uintptr_t)key.suffix)[0] =
                (uint8_t)cases[i].keys[k][0];
            ((uint32_t *)(void *)((uint8_t *)p.img + p.img->heads_off))[k] =
                (uint32_t)cases[i].keys[k][0] << 24;
            ((uint8_t *)p.img +
             p.img->fps_off)[k] = pg_fp((const uint8_t *)cases[i].keys[k], 1);
        }
        CHECK_EQ(pg_check_image(p.img), cases[i].want);
        page_fini(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_seek),
        cmocka_unit_test(test_image_heads_skip),
        cmocka_unit_test(test_image_find_many),
        cmocka_unit_test(test_image_child_tombstones),
        cmocka_unit_test(test_image_child_place),
        cmocka_unit_test(test_image_fences_and_hints),
        cmocka_unit_test(test_image_plain),
        cmocka_unit_test(test_image_check_sees_damage),
        cmocka_unit_test(test_image_check_sees_damage_of_work),
        cmocka_unit_test(test_image_check_sees_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
