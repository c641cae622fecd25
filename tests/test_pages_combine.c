/*
 * The combiner: histories of a page, committed as whole pages and deltas, read
 * back from every fragment against the model; and bodies made to mislead it.
 */
#include "pages/pg.h"
#include "tests/lib_page.h"
#include "tests/test.h"

#define PAGE_BYTES 4096u

/* A page as the file has it: the newest first, each in memory of its own. */
struct disk {
    struct pg_ref ref; /* of the newest */
    uint8_t *frag[PG_CHAIN_MAX + 1];
    uint32_t len[PG_CHAIN_MAX + 1];
    unsigned n;
};

static void disk_fini(struct disk *d)
{
    while (d->n > 0)
        free(d->frag[--d->n]);
}

/*
 * Read the chain of `ref` from fragments in memory, as a load does it. The
 * image is in memory of exactly the length that `ref` promises; NULL when the
 * answer is not QUIRE_OK.
 */
static struct pg_image *load(const struct pg_ref *ref, uint8_t *const *bufs,
                             const uint32_t *lens, unsigned n,
                             quire_status *status)
{
    struct pg_frag frags[PG_CHAIN_MAX + 1];
    struct quire_val bodies[PG_CHAIN_MAX + 1];
    void *raw[PG_CHAIN_MAX + 1] = { NULL };
    struct pg_image *img = malloc(ref->image_len + 1);
    quire_status rc = QUIRE_OK;

    CHECK(img != NULL);
    for (unsigned i = 0; i < n && rc == QUIRE_OK; i++) {
        pg_id id = i == 0 ? ref->id : frags[0].chain[i - 1].id;
        const uint64_t *sum = i == 0 ? &ref->sum : &frags[0].sums[i - 1];

        rc = pg_frag_check(bufs[i], lens[i], id, sum, &frags[i]);
        if (rc != QUIRE_OK)
            break;
        raw[i] = malloc(frags[i].raw_len + 1);
        CHECK(raw[i] != NULL);
        rc = pg_frag_body(&frags[i], bufs[i], raw[i], frags[i].raw_len,
                          &bodies[i]);
    }
    if (rc == QUIRE_OK)
        rc = pg_combine(ref, frags, bodies, n, PAGE_BYTES, img, ref->image_len);
    for (unsigned i = 0; i < n; i++)
        free(raw[i]);
    if (rc != QUIRE_OK) {
        CHECK_STATUS(rc, QUIRE_CORRUPT);
        free(img);
        img = NULL;
    }
    *status = rc;
    return img;
}

/* Write the working image as the newest fragment of `d`, over the chain below
 * when `delta`; returns the committed image made from memory. */
static struct pg_image *commit(struct disk *d, const struct pg_image *work,
                               const struct page_model *m,
                               const struct pg_image *committed, bool delta,
                               pg_id id, quire_rev birth)
{
    struct pg_frag_in in = { .kind = work->kind, .level = work->level };
    size_t cap = pg_body_bound(work, delta);
    uint8_t *body = malloc(cap + 1);
    struct pg_image *img;

    CHECK(body != NULL);
    in.self_contained = !delta;
    in.id = id;
    in.birth = birth;
    in.count = page_model_count(m, work->kind);
    in.nchain = delta ? (uint8_t)d->n : 0;
    if (delta) {
        in.chain[0] = (struct pg_link){ d->ref.id, d->ref.stored_len,
                                        d->ref.raw_len };
        in.sums[0] = d->ref.sum;
        memcpy(in.chain + 1, d->ref.chain, (d->n - 1) * sizeof(in.chain[0]));
        memcpy(in.sums + 1, (const uint8_t *)committed + committed->sums_off,
               (d->n - 1) * sizeof(in.sums[0]));
    }
    in.image_len = (uint32_t)pg_image_compact_bytes(work, in.nchain);
    in.body = body;
    in.body_len = pg_body_encode(work, delta, body, cap, &in.nentries);
    CHECK(in.body_len != 0 && in.body_len <= cap);
    for (unsigned i = 0; i < 3; i++) {
        static const size_t shorts[] = { 0, 16, 1 };
        size_t less = shorts[i] == 1 ? in.body_len - 1 : shorts[i];
        uint8_t *exact = malloc(less + 1);
        uint32_t n;

        CHECK(exact != NULL);
        if (less < in.body_len)
            CHECK_EQ(pg_body_encode(work, delta, exact, less, &n), 0);
        free(exact);
    }
    if (work->kind == PG_LEAF)
        CHECK_EQ(in.body_len, cap); /* nothing is trimmed from leaves */
    CHECK_EQ(in.nentries, delta ? work->nchanged : work->n - work->ntomb);
    if (!delta)
        disk_fini(d);
    memmove(d->frag + 1, d->frag, d->n * sizeof(d->frag[0]));
    memmove(d->len + 1, d->len, d->n * sizeof(d->len[0]));
    d->n++;
    cap = pg_frag_bound(in.body_len, in.nchain);
    d->frag[0] = malloc(cap);
    CHECK(d->frag[0] != NULL);
    d->len[0] = (uint32_t)pg_frag_encode(&in, d->frag[0], cap, &d->ref);
    CHECK_NE(d->len[0], 0);
    d->frag[0] = realloc(d->frag[0], d->len[0]);
    CHECK(d->frag[0] != NULL);
    free(body);

    img = malloc(in.image_len);
    CHECK(img != NULL);
    CHECK(pg_image_compact(work, &d->ref, in.sums, img, in.image_len));
    page_check(img, m);
    return img;
}

/* What is combined from the fragments is, byte for byte, what was committed
 * from memory. */
static void reload_check(const struct disk *d, const struct pg_image *img,
                         const struct page_model *m)
{
    quire_status rc;
    struct pg_image *back = load(&d->ref, d->frag, d->len, d->n, &rc);
    struct pg_ref shorter = d->ref;

    CHECK_OK(rc);
    CHECK_EQ(back->used, img->used);
    CHECK_MEM_EQ(back, img, img->used);
    page_check(back, m);
    free(back);
    /* the reference is believed: one byte less is not enough */
    shorter.image_len--;
    CHECK(load(&shorter, d->frag, d->len, d->n, &rc) == NULL);
}

static void history(enum pg_kind kind, const struct page_shape *sh,
                    unsigned window, unsigned ncommits, uint64_t *rng)
{
    struct page_model m = { 0 };
    struct disk d = { .n = 0 };
    struct page_work w;
    struct pg_image *img = NULL;
    struct pg_image *before = NULL;

    page_work_init(&w, 4096, kind, kind == PG_LEAF ? 0 : 2, sh);
    if (kind == PG_INNER)
        page_first_child(&w, &m, sh, rng);
    for (unsigned rev = 1; rev <= ncommits; rev++) {
        bool delta = rev > 1 && d.n < window;
        uint64_t nsteps = 1 + test_rand_below(rng, rev == 1 ? 80 : 12);

        for (uint64_t i = 0; i < nsteps; i++)
            page_step(&w, &m, sh, rng, 5, 60);
        img = commit(&d, w.img, &m, before, delta, 16 + 65536u * rev, rev);
        reload_check(&d, img, &m);
        page_work_fini(&w);
        page_work_copy(&w, img, img->used + 3000);
        free(before);
        before = img;
    }
    free(before);
    page_work_fini(&w);
    page_model_fini(&m);
    disk_fini(&d);
}

static void test_combine_histories(void **state)
{
    uint64_t rng = test_seed();
    unsigned ncommits = (unsigned)test_rounds(40);

    (void)state;
    for (size_t s = 0; s < page_nshapes; s++) {
        CHECK_CASE(page_shapes[s].name);
        for (unsigned window = 1; window <= PG_CHAIN_MAX + 1; window++) {
            history(PG_LEAF, &page_shapes[s], window, ncommits, &rng);
            history(PG_INNER, &page_shapes[s], window, ncommits, &rng);
        }
    }
}

/* A page that has lost all its records, and gets some back. */
static void test_combine_empty_page(void **state)
{
    struct page_model m = { 0 };
    struct disk d = { .n = 0 };
    struct page_work w;
    struct pg_image *img, *next;

    (void)state;
    page_work_init(&w, 4096, PG_LEAF, 0, &page_shapes[5]);
    img = commit(&d, w.img, &m, NULL, false, 65536, 1);
    reload_check(&d, img, &m);
    page_work_fini(&w);
    page_work_copy(&w, img, 4096);
    page_work_put(&w, "user/7", 6, "x", 1, PG_ENTRY_PLAIN);
    page_model_put(&m, "user/7", 6, "x", 1, PG_ENTRY_PLAIN);
    next = commit(&d, w.img, &m, img, true, 2 * 65536, 2);
    reload_check(&d, next, &m);
    page_work_fini(&w);
    page_work_copy(&w, next, 4096);
    free(img);
    pg_work_del(w.img, 0);
    page_model_del(&m, 0);
    img = commit(&d, w.img, &m, next, true, 3 * 65536, 3);
    reload_check(&d, img, &m);
    CHECK_EQ(d.n, 3);
    CHECK_EQ(img->n, 0);
    page_work_fini(&w);
    free(img);
    free(next);
    disk_fini(&d);
    page_model_fini(&m);
}

/* ---- bodies made to mislead ---- */

/* A chain before it is encoded: raw bodies that can be changed at will. */
struct forged {
    struct pg_frag_in in[4];
    uint8_t *body[4];
    unsigned n;
};

/* Encode all, oldest first, with checksums and lengths that fit, and load. */
static struct pg_image *forged_load(struct forged *f, quire_status *rc)
{
    struct disk d = { .n = 0 };
    struct pg_image *img;
    struct pg_ref ref;

    d.n = f->n;
    for (unsigned i = f->n; i-- > 0;) {
        struct pg_frag_in in = f->in[i];
        size_t cap;

        in.body = f->body[i];
        in.nchain = (uint8_t)(f->n - 1 - i);
        in.self_contained = in.nchain == 0;
        cap = pg_frag_bound(in.body_len, in.nchain);
        d.frag[i] = malloc(cap);
        CHECK(d.frag[i] != NULL);
        for (unsigned k = i + 1; k < f->n; k++) {
            in.chain[k - i - 1] = f->in[k].chain[PG_CHAIN_MAX - 1];
            in.sums[k - i - 1] = f->in[k].sums[PG_CHAIN_MAX - 1];
        }
        d.len[i] = (uint32_t)pg_frag_encode(&in, d.frag[i], cap, &ref);
        CHECK_NE(d.len[i], 0);
        /* remembered for the fragments above, in a place not used else */
        f->in[i].chain[PG_CHAIN_MAX - 1] = (struct pg_link){ ref.id,
                                                             ref.stored_len,
                                                             ref.raw_len };
        f->in[i].sums[PG_CHAIN_MAX - 1] = ref.sum;
        d.ref = ref;
    }
    img = load(&d.ref, d.frag, d.len, d.n, rc);
    disk_fini(&d);
    return img;
}

static void forged_fini(struct forged *f)
{
    for (unsigned i = 0; i < f->n; i++)
        free(f->body[i]);
}

/* A good chain of `n` fragments. */
static void forged_make(struct forged *f, enum pg_kind kind,
                        const struct page_shape *sh, unsigned n,
                        struct page_model *m, uint64_t *rng)
{
    struct page_work w;
    struct pg_ref ref;
    struct pg_image *img;

    memset(f, 0, sizeof(*f));
    f->n = n;
    page_work_init(&w, 4096, kind, kind == PG_LEAF ? 0 : 1, sh);
    if (kind == PG_INNER)
        page_first_child(&w, m, sh, rng);
    for (unsigned i = n; i-- > 0;) {
        bool delta = i != n - 1;
        struct pg_frag_in *in = &f->in[i];
        size_t cap;

        for (unsigned k = 0; k < (delta ? 6 : 25); k++)
            page_step(&w, m, sh, rng, 4, 30);
        cap = pg_body_bound(w.img, delta);
        f->body[i] = malloc(cap + 1);
        CHECK(f->body[i] != NULL);
        in->kind = kind;
        in->level = w.img->level;
        in->id = (n - i) * 65536u;
        in->birth = n - i;
        in->count = page_model_count(m, kind);
        in->image_len = (uint32_t)pg_image_compact_bytes(w.img, n - 1 - i);
        in->body_len = pg_body_encode(w.img, delta, f->body[i], cap,
                                      &in->nentries);
        CHECK_NE(in->body_len, 0);
        /* the next working image, not WHOLE */
        page_ref_make(&ref, w.img->level, 0, rng);
        cap = pg_image_compact_bytes(w.img, 0);
        img = malloc(cap);
        CHECK(img != NULL);
        CHECK(pg_image_compact(w.img, &ref, NULL, img, cap));
        page_work_fini(&w);
        page_work_copy(&w, img, cap + 2000);
        free(img);
    }
    page_work_fini(&w);
}

/* The answer is an image that holds what it must, or QUIRE_CORRUPT (which
 * load() insists on); it may only be the first when nothing is wrong. */
static bool forged_try(struct forged *f)
{
    quire_status rc;
    struct pg_image *img = forged_load(f, &rc);

    if (img == NULL)
        return false;
    CHECK(pg_check_image(img));
    free(img);
    return true;
}

static const enum pg_kind kinds[] = { PG_LEAF, PG_INNER };

/* Every bit of every body of a chain, with checksums that are right. */
static void test_combine_every_bit(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (unsigned n = 1; n <= 3; n += 2) {
            struct page_model m = { 0 };
            struct forged f;

            forged_make(&f, kinds[k], &page_shapes[5], n, &m, &rng);
            CHECK(forged_try(&f));
            for (unsigned i = 0; i < n; i++) {
                for (size_t b = 0; b < 8 * f.in[i].body_len; b++) {
                    f.body[i][b / 8] ^= (uint8_t)(1 << b % 8);
                    forged_try(&f);
                    f.body[i][b / 8] ^= (uint8_t)(1 << b % 8);
                }
            }
            CHECK(forged_try(&f));
            forged_fini(&f);
            page_model_fini(&m);
        }
    }
}

/* Every truncation of every body. */
static void test_combine_every_length(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct page_model m = { 0 };
        struct forged f;

        forged_make(&f, kinds[k], &page_shapes[5], 3, &m, &rng);
        for (unsigned i = 0; i < f.n; i++) {
            size_t len = f.in[i].body_len;

            for (f.in[i].body_len = 0; f.in[i].body_len < len;
                 f.in[i].body_len++)
                CHECK(!forged_try(&f));
        }
        CHECK(forged_try(&f));
        forged_fini(&f);
        page_model_fini(&m);
    }
}

/* Some thousand random changes: bytes, runs, lengths, headers. */
static void test_combine_random_damage(void **state)
{
    uint64_t rng = test_seed();
    uint64_t nok = 0;

    (void)state;
    for (uint64_t round = 0; round < test_rounds(100); round++) {
        const struct page_shape *sh =
            &page_shapes[test_rand_below(&rng, page_nshapes)];
        enum pg_kind kind = kinds[test_rand_below(&rng, 2)];
        struct page_model m = { 0 };
        struct forged good;

        CHECK_CASE(sh->name);
        forged_make(&good, kind, sh, 1 + (unsigned)test_rand_below(&rng, 4), &m,
                    &rng);
        for (unsigned t = 0; t < 200; t++) {
            struct forged f = good;
            unsigned i = (unsigned)test_rand_below(&rng, f.n);
            struct pg_frag_in *in = &f.in[i];
            size_t len = in->body_len;
            uint8_t *body = malloc(len + 64);
            uint64_t nchanges = 1 + test_rand_below(&rng, 3);

            CHECK(body != NULL);
            memcpy(body, good.body[i], len);
            memset(body + len, 0, 64);
            f.body[i] = body;
            while (nchanges-- > 0) {
                size_t at = test_rand_below(&rng, len);
                size_t from = test_rand_below(&rng, len);
                size_t run = test_rand_below(&rng, 32);

                switch (test_rand_below(&rng, 8)) {
                case 0:
                    at = test_rand_below(&rng, 16);
                    /* fall through */
                case 1:
                case 2:
                    body[at] = (uint8_t)(test_rand(&rng) >> 32);
                    break;
                case 3:
                    body[at] ^= (uint8_t)(1 << test_rand_below(&rng, 8));
                    break;
                case 4:
                    if (at + run <= len && from + run <= len)
                        memmove(body + at, body + from, run);
                    break;
                case 5:
                    in->nentries += (uint32_t)test_rand_below(&rng, 3) - 1;
                    ra_put_le32(body, in->nentries);
                    break;
                case 6:
                    in->body_len = test_rand_below(&rng, len + 64);
                    break;
                default:
                    in->count += test_rand_below(&rng, 3) - 1;
                    in->image_len = (uint32_t)test_rand_below(
                        &rng, 2 * in->image_len + 1);
                    break;
                }
            }
            nok += forged_try(&f);
            free(body);
        }
        forged_fini(&good);
        page_model_fini(&m);
    }
    CHECK_NE(nok, 0); /* changed values in leaves are nobody's business */
}

/* What each rule is for, one by one. */
static void test_combine_rules(void **state)
{
    /* A body by hand: the records, and what else may be wrong. */
    static const struct {
        const char *name;
        enum pg_kind kind;
        uint32_t nentries;
        uint64_t count;
        const char *lower;
        const char *upper; /* NULL: none */
        const char *recs;
        size_t recs_len;
        quire_status want;
    } cases[] = {
#define RECS(s) s, sizeof(s) - 1
        { "one record", PG_LEAF, 1, 1, "", NULL, RECS("\0\1\0a"), QUIRE_OK },
        { "none", PG_LEAF, 0, 0, "", NULL, RECS(""), QUIRE_OK },
        { "ascending", PG_LEAF, 2, 2, "", NULL, RECS("\0\1\0a\0\1\0b"),
          QUIRE_OK },
        { "an empty key first", PG_LEAF, 2, 2, "", NULL, RECS("\0\0\1x\0\1\0b"),
          QUIRE_OK },
        { "equal keys", PG_LEAF, 2, 2, "", NULL, RECS("\0\1\0a\0\1\0a"),
          QUIRE_CORRUPT },
        { "descending", PG_LEAF, 2, 2, "", NULL, RECS("\0\1\0b\0\1\0a"),
          QUIRE_CORRUPT },
        { "one record too many", PG_LEAF, 1, 1, "", NULL,
          RECS("\0\1\0a\0\1\0b"), QUIRE_CORRUPT },
        { "one too few", PG_LEAF, 2, 2, "", NULL, RECS("\0\1\0a"),
          QUIRE_CORRUPT },
        { "a wrong count", PG_LEAF, 1, 2, "", NULL, RECS("\0\1\0a"),
          QUIRE_CORRUPT },
        { "padding that is not zero", PG_LEAF, 1, 1, "", NULL,
          RECS("\0\2\0ab\0\0\1"), QUIRE_CORRUPT },
        { "a tombstone in a whole page", PG_LEAF, 1, 0, "", NULL,
          RECS("\1\1\0a"), QUIRE_CORRUPT },
        { "an unknown control byte", PG_LEAF, 1, 1, "", NULL, RECS("\4\1\0a"),
          QUIRE_CORRUPT },
        { "entry kind 3", PG_LEAF, 1, 1, "", NULL, RECS("\3\1\0a"),
          QUIRE_CORRUPT },
        { "a large value that is none", PG_LEAF, 1, 1, "", NULL,
          RECS("\2\1\0a"), QUIRE_CORRUPT },
        { "an overlong length", PG_LEAF, 1, 1, "", NULL,
          RECS("\0\x81\0\0a\0\0\0"), QUIRE_CORRUPT },
        { "a key at the lower fence", PG_LEAF, 1, 1, "a", "c", RECS("\0\1\0a"),
          QUIRE_OK },
        { "a key below the lower fence", PG_LEAF, 1, 1, "b", "c",
          RECS("\0\1\0a"), QUIRE_CORRUPT },
        { "a key at the upper fence", PG_LEAF, 1, 1, "a", "c", RECS("\0\1\0c"),
          QUIRE_CORRUPT },
        { "fences in the wrong order", PG_LEAF, 0, 0, "c", "a", RECS(""),
          QUIRE_CORRUPT },
        { "equal fences", PG_LEAF, 0, 0, "", "", RECS(""), QUIRE_CORRUPT },
        { "a child that is no reference", PG_INNER, 1, 0, "", NULL,
          RECS("\0\0\1x"), QUIRE_CORRUPT },
        { "no children", PG_INNER, 0, 0, "", NULL, RECS(""), QUIRE_CORRUPT },
#undef RECS
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t lower_len = strlen(cases[i].lower);
        size_t upper_len = cases[i].upper == NULL ? 0 : strlen(cases[i].upper);
        struct forged f = { .n = 1 };
        uint8_t body[128] = { 0 };
        size_t recs = ra_round_up(16 + lower_len + upper_len, 4);

        CHECK_CASE(cases[i].name);
        ra_put_le32(body, cases[i].nentries);
        ra_put_le16(body + 6, (uint16_t)lower_len);
        ra_put_le16(body + 8,
                    cases[i].upper == NULL ? 0xffff : (uint16_t)upper_len);
        body[10] = cases[i].kind == PG_INNER;
        ra_put_le32(body + 12, (uint32_t)cases[i].recs_len);
        memcpy(body + 16, cases[i].lower, lower_len);
        if (upper_len != 0)
            memcpy(body + 16 + lower_len, cases[i].upper, upper_len);
        memcpy(body + recs, cases[i].recs, cases[i].recs_len);
        f.in[0] = (struct pg_frag_in){
            .kind = cases[i].kind,
            .level = body[10],
            .id = 65536,
            .count = cases[i].count,
            .nentries = cases[i].nentries,
            .image_len = 4096,
            .body_len = recs + cases[i].recs_len,
        };
        f.body[0] = body;
        CHECK_EQ(forged_try(&f), cases[i].want == QUIRE_OK);
    }
}

/* Headers of bodies, of the whole page and of a delta, field by field. */
static void test_combine_body_headers(void **state)
{
    static const struct {
        const char *name;
        unsigned off, size;
        uint32_t add;
    } cases[] = {
        { "as it is", 0, 4, 0 },
        { "one entry more", 0, 4, 1 },
        { "one entry less", 0, 4, UINT32_MAX },
        { "most entries", 0, 4, 0x80000000 },
        { "a longer prefix", 4, 2, 1 },
        { "a shorter prefix", 4, 2, 0xffff },
        { "the longest prefix", 4, 2, 0xff00 },
        { "a longer lower fence", 6, 2, 1 },
        { "the longest lower fence", 6, 2, 0xff00 },
        { "a longer upper fence", 8, 2, 4 },
        { "another level", 10, 1, 1 },
        { "flags", 11, 1, 1 },
        { "longer records", 12, 4, 4 },
        { "shorter records", 12, 4, (uint32_t)-4 },
        { "records not aligned", 12, 4, 1 },
        { "longest records", 12, 4, 0x80000000 },
    };
    uint64_t rng = test_seed();

    (void)state;
    for (size_t k = 0; k < 2 * ARRAY_LEN(kinds); k++) {
        /* with fences and a prefix, and without */
        const struct page_shape *sh = &page_shapes[k < 2 ? 5 : 0];
        struct page_model m = { 0 };
        struct forged f;

        forged_make(&f, kinds[k % 2], sh, 2, &m, &rng);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            for (unsigned b = 0; b < 2; b++) {
                uint8_t *field = f.body[b] + cases[i].off;
                uint8_t good[4], le[4];

                CHECK_CASE(cases[i].name);
                memcpy(good, field, 4);
                ra_put_le32(le, ra_le32(good) + cases[i].add);
                if (cases[i].size < 4)
                    ra_put_le16(le, (uint16_t)(ra_le16(good) + cases[i].add));
                memcpy(field, le, cases[i].size);
                CHECK_EQ(forged_try(&f), cases[i].add == 0);
                memcpy(field, good, 4);
            }
        }
        /* an upper fence of no bytes, where deltas have none at all */
        ra_put_le16(f.body[0] + 8, 0);
        CHECK(!forged_try(&f));
        forged_fini(&f);
        page_model_fini(&m);
    }
}

/* Children: of the right kind and level, from the lower fence on, counted. */
static void test_combine_children(void **state)
{
    static const struct {
        const char *name;
        struct pg_ref ref[2];
        uint64_t count;
        const char *first_key;
        bool trailing; /* a byte behind the second reference */
        bool want;
    } cases[] = {
#define LEAF(c) { .id = 99, .kind = PG_LEAF, .stored_len = 64, .count = c }
        { "two leaves", { LEAF(3), LEAF(4) }, 7, "", false, true },
        { "a wrong sum", { LEAF(3), LEAF(4) }, 8, "", false, false },
        { "more than can be counted",
          { LEAF(UINT64_MAX), LEAF(2) },
          1,
          "",
          false,
          false },
        { "the first not at the fence",
          { LEAF(3), LEAF(4) },
          7,
          "0",
          false,
          false },
        { "a byte behind", { LEAF(3), LEAF(4) }, 7, "", true, false },
        { "a grandchild",
          { LEAF(3),
            { .id = 9,
              .kind = PG_INNER,
              .level = 1,
              .stored_len = 64,
              .count = 4 } },
          7,
          "",
          false,
          false },
        { "an overflow page",
          { LEAF(3),
            { .id = 9, .kind = PG_OVERFLOW, .stored_len = 64, .count = 4 } },
          7,
          "",
          false,
          false },
        { "an intent",
          { LEAF(3),
            { .id = 9,
              .kind = PG_LEAF,
              .intent = true,
              .stored_len = 64,
              .count = 4 } },
          7,
          "",
          false,
          false },
        { "no page", { LEAF(3), { .id = PG_ID_NONE } }, 3, "", false, false },
#undef LEAF
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct forged f = { .n = 1 };
        uint8_t body[256] = { 0 };
        size_t off = 16;

        CHECK_CASE(cases[i].name);
        for (unsigned k = 0; k < 2; k++) {
            const char *key = k == 0 ? cases[i].first_key : "m";
            size_t start = off;
            size_t len;

            body[off + 1] = (uint8_t)strlen(key);
            memcpy(body + off + 3, key, strlen(key));
            len = pg_ref_encode(&cases[i].ref[k], body + off + 3 + strlen(key));
            len += k == 1 && cases[i].trailing;
            body[off + 2] = (uint8_t)len;
            off = start + ra_round_up(3 + strlen(key) + len, 4);
        }
        ra_put_le32(body, 2);
        ra_put_le16(body + 8, 0xffff);
        body[10] = 1;
        ra_put_le32(body + 12, (uint32_t)(off - 16));
        f.in[0] = (struct pg_frag_in){
            .kind = PG_INNER,
            .level = 1,
            .id = 65536,
            .count = cases[i].count,
            .nentries = 2,
            .image_len = 4096,
            .body_len = off,
        };
        f.body[0] = body;
        CHECK_EQ(forged_try(&f), cases[i].want);
    }
}

/* Fragments that are good but are not the ones the reference names. (Without
 * fences a delta's body could be a whole page's.) */
static void test_combine_foreign_fragments(void **state)
{
    static const struct {
        const char *name;
        size_t off;
        unsigned size; /* of the field in the reference */
    } fields[] = {
#define FIELD(f) \
    { #f, offsetof(struct pg_ref, f), sizeof(((struct pg_ref *)0)->f) }
        FIELD(id),
        FIELD(sum),
        FIELD(birth),
        FIELD(count),
        FIELD(stored_len),
        FIELD(raw_len),
        FIELD(image_len),
        FIELD(kind),
        FIELD(level),
        FIELD(nchain),
        FIELD(chain[0].id),
        FIELD(chain[0].stored_len),
        FIELD(chain[0].raw_len),
        FIELD(chain[1].id),
#undef FIELD
    };
    uint64_t rng = test_seed();
    struct page_model m = { 0 };
    struct disk d = { .n = 0 };
    struct page_work w;
    struct pg_image *img[4] = { NULL };
    struct pg_frag frags[3];
    struct quire_val bodies[3];
    uint8_t *raw[3];
    uint8_t *seg = malloc(65536);

    (void)state;
    CHECK(seg != NULL);
    page_work_init(&w, 4096, PG_LEAF, 0, &page_shapes[0]);
    for (unsigned rev = 1; rev <= 3; rev++) {
        for (unsigned i = 0; i < 30; i++)
            page_step(&w, &m, &page_shapes[0], &rng, 2, 30);
        img[rev] = commit(&d, w.img, &m, img[rev - 1], rev > 1, rev * 65536u,
                          rev);
        page_work_fini(&w);
        page_work_copy(&w, img[rev], 16384);
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(pg_frag_check(d.frag[i], d.len[i], (3 - i) * 65536u, NULL,
                               &frags[i]));
        raw[i] = malloc(frags[i].raw_len);
        CHECK(raw[i] != NULL);
        CHECK_OK(pg_frag_body(&frags[i], d.frag[i], raw[i], frags[i].raw_len,
                              &bodies[i]));
    }
    CHECK_OK(pg_combine(&d.ref, frags, bodies, 3, PAGE_BYTES, seg, 65536));
    page_check((struct pg_image *)(void *)seg, &m);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct pg_ref ref = d.ref;

        CHECK_CASE(fields[i].name);
        ((uint8_t *)&ref)[fields[i].off] ^= 1;
        CHECK_STATUS(pg_combine(&ref, frags, bodies, 3, PAGE_BYTES, seg, 65536),
                     QUIRE_CORRUPT);
    }
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, 2, PAGE_BYTES, seg, 65536),
                 QUIRE_CORRUPT);
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, 0, PAGE_BYTES, seg, 65536),
                 QUIRE_CORRUPT);
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, PG_CHAIN_MAX + 2, PAGE_BYTES,
                            seg, 65536),
                 QUIRE_CORRUPT);
    frags[2].self_contained = false;
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, 3, PAGE_BYTES, seg, 65536),
                 QUIRE_CORRUPT);
    frags[2].self_contained = true;
    frags[1].self_contained = true;
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, 3, PAGE_BYTES, seg, 65536),
                 QUIRE_CORRUPT);
    frags[1].self_contained = false;
    CHECK_OK(pg_combine(&d.ref, frags, bodies, 3, PAGE_BYTES, seg, 65536));
    frags[2].sum ^= 1; /* not the one that the newest names */
    CHECK_STATUS(pg_combine(&d.ref, frags, bodies, 3, PAGE_BYTES, seg, 65536),
                 QUIRE_CORRUPT);
    for (unsigned i = 0; i < 3; i++)
        free(raw[i]);
    for (unsigned i = 0; i < 4; i++)
        free(img[i]);
    free(seg);
    disk_fini(&d);
    page_work_fini(&w);
    page_model_fini(&m);
}

/* Keys and fences up to an eighth of a page, and not a byte more. */
static void test_combine_key_lengths(void **state)
{
    (void)state;
    for (size_t len = 511; len <= 513; len++) {
        for (unsigned fence = 0; fence < 2; fence++) {
            struct forged f = { .n = 1 };
            uint8_t body[1200] = { 0 };
            size_t recs = 16 + (fence ? ra_round_up(len, 4) : 0);
            size_t n;

            ra_put_le32(body, 1);
            ra_put_le16(body + 6, fence ? (uint16_t)len : 0);
            ra_put_le16(body + 8, 0xffff);
            memset(body + 16, 'k', fence ? len : 0);
            n = 1 + pg_varint_encode(body + recs + 1, len - fence);
            body[recs + n++] = 0;
            memset(body + recs + n, 'l', len - fence);
            n = ra_round_up(n + len - fence, 4);
            ra_put_le32(body + 12, (uint32_t)n);
            f.in[0] = (struct pg_frag_in){
                .kind = PG_LEAF,
                .id = 65536,
                .count = 1,
                .nentries = 1,
                .image_len = 4096,
                .body_len = recs + n,
            };
            f.body[0] = body;
            CHECK_EQ(forged_try(&f), len <= 512);
        }
    }
}

/* A plain page has no entries to combine. */
static void test_combine_plain_kind(void **state)
{
    struct pg_frag_in in = { .kind = PG_OVERFLOW, .id = 65536 };
    struct pg_frag frag;
    struct pg_ref ref;
    struct quire_val body;
    uint8_t buf[256], seg[256];

    (void)state;
    /* what would be the body of an empty leaf */
    in.body = "\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0\0";
    in.body_len = 16;
    CHECK_NE(pg_frag_encode(&in, buf, sizeof(buf), &ref), 0);
    CHECK_OK(pg_frag_check(buf, ref.stored_len, ref.id, &ref.sum, &frag));
    CHECK_OK(pg_frag_body(&frag, buf, NULL, 0, &body));
    CHECK_STATUS(
        pg_combine(&ref, &frag, &body, 1, PAGE_BYTES, seg, sizeof(seg)),
        QUIRE_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_combine_histories),
        cmocka_unit_test(test_combine_empty_page),
        cmocka_unit_test(test_combine_rules),
        cmocka_unit_test(test_combine_body_headers),
        cmocka_unit_test(test_combine_children),
        cmocka_unit_test(test_combine_key_lengths),
        cmocka_unit_test(test_combine_plain_kind),
        cmocka_unit_test(test_combine_foreign_fragments),
        cmocka_unit_test(test_combine_every_bit),
        cmocka_unit_test(test_combine_every_length),
        cmocka_unit_test(test_combine_random_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
