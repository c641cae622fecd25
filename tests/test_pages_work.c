/*
 * Working images: random changes against the model, room, marks, splits,
 * merges, and that the accounting agrees with what is built in the end.
 */
#include <stdlib.h>

#include "pages/pg.h"
#include "tests/lib_page.h"
#include "tests/test.h"

static const enum pg_kind kinds[] = { PG_LEAF, PG_INNER };

/* The committed form has the content's bytes (leaves) or fewer (inner pages,
 * whose references may be padded); and it holds the same. */
static struct pg_image *compact_check(const struct pg_image *img,
                                      const struct page_model *m)
{
    size_t len = pg_image_compact_bytes(img, 0);
    struct pg_image *back = malloc(len);
    struct pg_ref ref;
    uint64_t rng = 4;

    CHECK(back != NULL);
    if (img->kind == PG_LEAF)
        CHECK_EQ(pg_work_content(img), len);
    else
        CHECK(pg_work_content(img) >= len);
    page_ref_make(&ref, img->level, 0, &rng);
    CHECK(pg_image_compact(img, &ref, NULL, back, len));
    CHECK_EQ(back->used, len);
    page_check(back, m);
    return back;
}

/* Puts, replacements, deletes and reinsertions, WHOLE from an empty page, or
 * not, from a committed one. */
static void test_work_random_changes(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t s = 0; s < page_nshapes; s++) {
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            const struct page_shape *sh = &page_shapes[s];
            struct page_model m = { 0 };
            struct page_work w;
            struct pg_image *img;
            uint64_t n = test_rounds(400);

            CHECK_CASE(sh->name);
            page_work_init(&w, 4096, kinds[k], k ? 3 : 0, sh);
            if (kinds[k] == PG_INNER)
                page_first_child(&w, &m, sh, &rng);
            for (uint64_t i = 0; i < n; i++) {
                page_step(&w, &m, sh, &rng, i < n / 2 ? 3 : 9, 100);
                CHECK_EQ(w.img->ntomb, 0);
                if (i % 16 == 0)
                    page_check(w.img, &m);
            }
            CHECK_EQ(w.img->nchanged, w.img->n);
            for (unsigned round = 0; round < 3; round++) {
                uint32_t changed;

                img = compact_check(w.img, &m);
                page_work_fini(&w);
                page_work_copy(&w, img, img->used + 2000);
                free(img);
                CHECK_EQ(w.img->nchanged, 0);
                CHECK_EQ(w.img->flags & PG_IMAGE_WHOLE, 0);
                for (uint64_t i = 0; i < n / 4; i++) {
                    page_step(&w, &m, sh, &rng, 6, 100);
                    if (i % 16 == 0)
                        page_check(w.img, &m);
                }
                page_check(w.img, &m);
                changed = w.img->nchanged;
                CHECK(changed >= w.img->ntomb);
                /* a copy keeps marks and tombstones */
                img = w.img;
                page_work_copy(&w, img, pg_work_need(img, 0, 0));
                CHECK_EQ(w.img->nchanged, changed);
                CHECK_EQ(w.img->ntomb, img->ntomb);
                CHECK_EQ(w.img->garbage, 0);
                CHECK_EQ(pg_work_content(w.img), pg_work_content(img));
                page_check(w.img, &m);
                free(img);
            }
            page_work_fini(&w);
            page_model_fini(&m);
        }
    }
}

/* One more entry adds at most what pg_entry_bytes() says. */
static void test_work_entry_bytes(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t s = 0; s < page_nshapes; s++) {
        const struct page_shape *sh = &page_shapes[s];
        struct page_model m = { 0 };
        struct page_work w;

        CHECK_CASE(sh->name);
        page_work_init(&w, 65536, PG_LEAF, 0, sh);
        for (unsigned i = 0; i < 100; i++) {
            uint8_t key[PAGE_KEY_MAX], val[300] = { 0 };
            size_t key_len = page_key(sh, &rng, key);
            size_t val_len = test_rand_below(&rng, sizeof(val));
            size_t before = pg_work_content(w.img);

            if (page_work_put(&w, key, key_len, val, val_len, PG_ENTRY_PLAIN))
                continue;
            CHECK(pg_work_content(w.img) > before);
            CHECK(pg_work_content(w.img) - before <=
                  pg_entry_bytes(key_len, val_len));
        }
        page_work_fini(&w);
        page_model_fini(&m);
    }
}

/* What is refused for lack of room has changed nothing; a replacement that is
 * not longer is never refused. */
static void test_work_full(void **state)
{
    uint64_t rng = test_seed();
    const struct page_shape *sh = &page_shapes[0];
    struct page_model m = { 0 };
    struct page_work w;
    uint8_t *before = malloc(4096);

    (void)state;
    CHECK(before != NULL);
    page_work_init(&w, 4096, PG_LEAF, 0, sh);
    for (unsigned i = w.img->lower_off; i < 4096; i++)
        ((uint8_t *)w.img)[i] = 0x33; /* lower_off: no fences here */
    for (;;) {
        uint8_t key[PAGE_KEY_MAX], val[60] = { 0 };
        struct quire_val k = { key, page_key(sh, &rng, key) };
        struct quire_val v = { val, test_rand_below(&rng, sizeof(val)) };
        bool existed = true;

        memcpy(before, w.img, 4096);
        if (!pg_work_put(w.img, &k, &v, PG_ENTRY_PLAIN, &existed)) {
            CHECK_MEM_EQ(before, w.img, 4096);
            CHECK(existed);
            break;
        }
        page_model_put(&m, k.data, k.size, v.data, v.size, PG_ENTRY_PLAIN);
    }
    CHECK(m.n > 20);
    for (size_t i = 0; i < m.n; i++) {
        struct page_entry *e = &m.recs[i];
        struct quire_val k = { e->key, e->key_len };
        struct quire_val v = { e->val, test_rand_below(&rng, e->val_len + 1) };

        memset(e->val, 0x77, e->val_len);
        e->val_len = v.size;
        CHECK(pg_work_put(w.img, &k, &v, PG_ENTRY_PLAIN, NULL));
    }
    page_check(w.img, &m);
    page_work_fini(&w);
    page_model_fini(&m);
    free(before);
}

/* Too small a segment is refused, to the byte. */
static void test_work_cap(void **state)
{
    const struct page_shape *sh = &page_shapes[5];
    uint64_t rng = test_seed();
    struct page_model m = { 0 };
    struct page_work w;
    uint8_t *seg = malloc(65536);
    size_t least = 0;

    (void)state;
    CHECK(seg != NULL);
    for (size_t cap = 0; cap < 200; cap++) {
        if (pg_work_init(seg, cap, PG_LEAF, 0, &sh->lower, &sh->upper)) {
            least = least == 0 ? cap : least;
            CHECK(pg_check_image((struct pg_image *)(void *)seg));
        } else {
            CHECK_EQ(least, 0);
        }
    }
    CHECK_NE(least, 0);

    page_work_init(&w, 4096, PG_LEAF, 0, sh);
    for (unsigned i = 0; i < 100; i++)
        page_step(&w, &m, sh, &rng, 4, 50);
    least = 0;
    for (size_t cap = 0; cap < 8192; cap += 1 + test_rand_below(&rng, 40)) {
        uint8_t *exact = malloc(cap + 1);
        struct pg_image *img = (struct pg_image *)(void *)exact;

        CHECK(exact != NULL);
        if (pg_work_copy(w.img, exact, cap)) {
            least = least == 0 ? cap : least;
            page_check(img, &m);
            CHECK(pg_work_slice(w.img, 0, w.img->n, &sh->lower, &sh->upper,
                                exact, cap));
            page_check(img, &m);
        } else {
            CHECK_EQ(least, 0);
            CHECK(!pg_work_slice(w.img, 0, w.img->n, &sh->lower, &sh->upper,
                                 exact, cap));
        }
        free(exact);
    }
    CHECK_NE(least, 0);
    CHECK(pg_work_need(w.img, 0, 0) >= least - 40);
    page_work_fini(&w);
    page_model_fini(&m);
    free(seg);
}

/* An entry of any length can be put after a copy to what pg_work_need() says,
 * whatever the mean length of the others. */
static void test_work_need(void **state)
{
    static const size_t vals[] = { 0, 1, 30, 500 };
    static const size_t more[] = { 0, 1, 100, 1000, 4096, 16384 };
    uint64_t rng = test_seed();

    (void)state;
    for (size_t v = 0; v < ARRAY_LEN(vals); v++) {
        struct page_model m = { 0 };
        struct page_work w;

        page_work_init(&w, 65536, PG_LEAF, 0, &page_shapes[0]);
        for (unsigned i = 0; i < 60; i++)
            page_step(&w, &m, &page_shapes[0], &rng, 1, vals[v]);
        for (size_t i = 0; i < ARRAY_LEN(more); i++) {
            static const uint8_t val[16384];
            struct quire_val k = { "a key that is new, and long", 27 };
            struct quire_val x = { val, more[i] };
            struct page_work copy;

            for (size_t extra = 0; extra < 64; extra++) {
                page_work_copy(&copy, w.img,
                               pg_work_need(w.img, k.size, x.size) + extra);
                CHECK(pg_work_put(copy.img, &k, &x, PG_ENTRY_PLAIN, NULL));
                CHECK(pg_check_image(copy.img));
                page_work_fini(&copy);
            }
        }
        page_work_fini(&w);
        page_model_fini(&m);
    }
}

/* In a page that is not WHOLE, deletes leave changed tombstones, and a key can
 * come back over its own. */
static void test_work_tombstones(void **state)
{
    const struct page_shape *sh = &page_shapes[5];
    struct quire_val key = { "user/1", 6 };
    struct quire_val val = { "some value", 10 };
    struct page_model m = { 0 };
    struct page_work w;
    struct pg_image *img;
    bool existed;

    (void)state;
    page_work_init(&w, 4096, PG_LEAF, 0, sh);
    page_work_put(&w, "user/1", 6, "some value", 10, PG_ENTRY_PLAIN);
    page_work_put(&w, "user/2", 6, "", 0, PG_ENTRY_PLAIN);
    page_model_put(&m, "user/1", 6, "some value", 10, PG_ENTRY_PLAIN);
    page_model_put(&m, "user/2", 6, "", 0, PG_ENTRY_PLAIN);
    img = compact_check(w.img, &m);
    page_work_fini(&w);
    page_work_copy(&w, img, 4096);
    free(img);

    pg_work_del(w.img, 0);
    page_model_del(&m, 0);
    CHECK_EQ(w.img->n, 2);
    CHECK_EQ(w.img->ntomb, 1);
    CHECK_EQ(w.img->nchanged, 1);
    page_check(w.img, &m);
    img = compact_check(w.img, &m);
    free(img);

    CHECK(pg_work_put(w.img, &key, &val, PG_ENTRY_PLAIN, &existed));
    CHECK(!existed);
    page_model_put(&m, "user/1", 6, "some value", 10, PG_ENTRY_PLAIN);
    CHECK_EQ(w.img->ntomb, 0);
    CHECK_EQ(w.img->nchanged, 1);
    page_check(w.img, &m);
    CHECK(pg_work_put(w.img, &key, &val, PG_ENTRY_PLAIN, &existed));
    CHECK(existed);
    page_work_fini(&w);
    page_model_fini(&m);
}

static void test_work_set(void **state)
{
    const struct page_shape *sh = &page_shapes[5];
    struct page_model m = { 0 };
    struct page_work w;
    struct pg_image *img;
    struct quire_val val;

    (void)state;
    page_work_init(&w, 4096, PG_LEAF, 0, sh);
    page_work_put(&w, "user/1", 6, "some value", 10, PG_ENTRY_PLAIN);
    page_model_put(&m, "user/1", 6, "some value", 10, PG_ENTRY_PLAIN);
    img = compact_check(w.img, &m);
    page_work_fini(&w);
    page_work_copy(&w, img, 4096);
    free(img);
    pg_work_set(w.img, 0, "other", 5, false);
    CHECK_EQ(w.img->nchanged, 0);
    pg_image_value(w.img, 0, &val);
    CHECK_EQ(val.size, 10);
    CHECK_MEM_EQ(val.data, "other\0\0\0\0\0", 10);
    pg_work_set(w.img, 0, "ten bytes!", 10, true);
    pg_work_set(w.img, 0, "ten bytes.", 10, true);
    CHECK_EQ(w.img->nchanged, 1);
    pg_image_value(w.img, 0, &val);
    CHECK_MEM_EQ(val.data, "ten bytes.", 10);
    CHECK(pg_check_image(w.img));
    page_work_fini(&w);
    page_model_fini(&m);
}

/* An image at a multiple of 4096 bytes, as segments are. */
static struct pg_image *seg_of(size_t nbytes)
{
    void *seg = NULL;

    CHECK_EQ(posix_memalign(&seg, PG_WHERE, nbytes), 0);
    memset(seg, 0xa5, nbytes);
    return seg;
}

/* What is known of children, and their references' padding, are the same after
 * pages were copied, changed beside them, and made committed where they lie. */
static void test_work_keeps_what_is_known_of_children(void **state)
{
    enum {
        N = 40,
        CAP = 16384,
        CHANGED = 7
    };
    struct quire_val lowest = { "", 0 };
    uint64_t rng = test_seed();
    struct pg_image *work = seg_of(CAP), *copy = seg_of(CAP), *img;
    struct pg_ref ref, other, page;
    uint8_t enc[PG_REF_BYTES_MAX];
    size_t len;

    (void)state;
    CHECK(pg_work_init(work, CAP, PG_INNER, 1, &lowest, NULL));
    for (unsigned i = 0; i < N; i++) {
        char key[17];
        struct quire_val k = { key, i == 0 ? 0 : 16 };
        struct quire_val v = { enc, 0 };

        snprintf(key, sizeof(key), "%016u", i);
        page_ref_make(&ref, 0, i % 3, &rng);
        memset(enc, 0, sizeof(enc));
        v.size = pg_ref_encode(&ref, enc) + i % 30; /* padded */
        CHECK(pg_work_put(work, &k, &v, PG_ENTRY_PLAIN, NULL));
    }
    len = pg_image_compact_bytes(work, 0);
    img = seg_of(len);
    page_ref_make(&page, 1, 0, &rng);
    CHECK(pg_image_compact(work, &page, NULL, img, len));
    CHECK_EQ(img->used, len);
    for (unsigned i = 0; i < N; i++) {
        struct pg_child *child = pg_image_child_at(img, i);

        CHECK(child != NULL);
        CHECK_EQ(child->hint, PG_HINT_NONE);
        child->hint = 1000 + i;
        if (i % 5 != 0)
            pg_child_seen(img, child,
                          (const struct pg_image *)((uintptr_t)img +
                                                    (i + 1u) * PG_WHERE));
    }
    CHECK(pg_work_copy(img, work, CAP));
    CHECK(pg_check_image(work));
    CHECK(pg_work_copy(work, copy, CAP));
    CHECK(pg_check_image(copy));
    page_ref_make(&other, 0, 0, &rng);
    pg_work_set(copy, CHANGED, enc, pg_ref_encode(&other, enc), true);
    CHECK_EQ(*pg_work_hint(copy, CHANGED), PG_HINT_NONE);
    pg_work_child_seen(copy, CHANGED, 77, img);
    CHECK_EQ(pg_work_next_changed(copy, 0), CHANGED);
    CHECK_EQ(pg_work_next_changed(copy, CHANGED + 1), N);
    CHECK(pg_work_settle(copy, &page, NULL));
    CHECK(pg_check_image(copy));
    for (unsigned i = 0; i < N; i++) {
        const struct pg_child *child = pg_image_child_at(copy, i);
        const struct pg_image *want =
            (const struct pg_image *)((uintptr_t)img + (i + 1u) * PG_WHERE);

        CHECK(child != NULL);
        if (i == CHANGED) {
            CHECK_EQ(child->id, other.id);
            CHECK_EQ(child->hint, 77);
            CHECK(pg_child_guess(copy, child) == img);
            continue;
        }
        CHECK_EQ(child->hint, 1000 + i);
        CHECK(pg_child_guess(copy, child) == (i % 5 != 0 ? want : copy));
    }
    /* and from there again; what can't be said is left out */
    CHECK(pg_work_copy(copy, work, CAP));
    CHECK(pg_check_image(work));
    len = pg_image_compact_bytes(work, 0);
    CHECK(len < copy->used); /* padding is not in it */
    free(img);
    img = malloc(len);
    CHECK(img != NULL);
    CHECK(pg_image_compact(work, &page, NULL, img, len));
    CHECK_EQ(img->used, len);
    CHECK(pg_check_image(img));
    free(img);
    free(copy);
    free(work);
}

/* A settled inner page of any length, with whatever garbage, can be copied with
 * room for an entry more, if its records alone would let it. */
static void test_work_garbage_never_takes_the_room(void **state)
{
    enum {
        N = 25,
        KEY = 8000,
        WIDE = 324 /* bytes of a reference */
    };
    struct quire_val lowest = { "", 0 };
    uint64_t rng = test_seed();
    struct pg_image *work = seg_of(PG_IMAGE_MAX), *copy = seg_of(PG_IMAGE_MAX);
    char key[KEY + 1];
    bool left_out = false;

    (void)state;
    memset(key, 'k', sizeof(key));
    for (unsigned nwide = 0; nwide <= 9; nwide++) {
        struct pg_ref ref, page;
        uint8_t enc[PG_REF_BYTES_MAX];
        size_t need;

        CHECK(pg_work_init(work, PG_IMAGE_MAX, PG_INNER, 1, &lowest, NULL));
        for (unsigned i = 0; i < N + nwide; i++) {
            struct quire_val k = { key, i % N == 0 ? 0 : KEY };
            struct quire_val v = { enc, 0 };

            snprintf(key + KEY - 2, 3, "%02u", i % N);
            page_ref_make(&ref, 0, 0, &rng);
            memset(enc, 0, sizeof(enc));
            v.size = pg_ref_encode(&ref, enc);
            if (i >= N) /* the record that it replaces is garbage */
                v.size = WIDE;
            CHECK(pg_work_put(work, &k, &v, PG_ENTRY_PLAIN, NULL));
            if (i == 1) { /* how long records are is known from now on */
                struct pg_image *other = copy;

                CHECK(pg_work_copy(work, copy, PG_IMAGE_MAX));
                copy = work;
                work = other;
            }
        }
        page_ref_make(&page, 1, 0, &rng);
        CHECK(pg_work_settle(work, &page, NULL));
        need = pg_work_need(work, KEY, WIDE);
        CHECK(need <= PG_IMAGE_MAX);
        CHECK(pg_work_copy(work, copy, need));
        CHECK(pg_check_image(copy));
        CHECK_EQ(copy->n, N);
        left_out = left_out || copy->garbage < work->garbage;
        snprintf(key + KEY - 2, 3, "%02u", N);
        CHECK(pg_work_put(copy, &(struct quire_val){ key, KEY },
                          &(struct quire_val){ enc, WIDE }, PG_ENTRY_PLAIN,
                          NULL));
        CHECK(pg_check_image(copy));
    }
    CHECK(left_out);
    free(copy);
    free(work);
}

/* A model of the entries from .. to-1 of `m`. */
static void model_slice(const struct page_model *m, size_t from, size_t to,
                        struct page_model *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = from; i < to; i++)
        page_model_put(out, m->recs[i].key, m->recs[i].key_len, m->recs[i].val,
                       m->recs[i].val_len, m->recs[i].entry);
}

/* Live entries before slot `at`. */
static size_t live_before(const struct pg_image *img, unsigned at)
{
    size_t n = 0;
    struct quire_val val;

    for (unsigned i = 0; i < at; i++)
        n += pg_image_value(img, i, &val) != PG_ENTRY_TOMB;
    return n;
}

/* Split `w` at `at` with the separator, check both halves, merge them again. */
static void split_check(const struct page_work *w, const struct page_model *m,
                        unsigned at)
{
    struct page_model left_m, right_m;
    struct pg_image *left = malloc(PG_IMAGE_MAX);
    struct pg_image *right = malloc(PG_IMAGE_MAX);
    struct pg_image *both = malloc(PG_IMAGE_MAX);
    uint8_t sep[PAGE_KEY_MAX];
    unsigned slot;
    struct quire_val lower, upper, mid;
    struct quire_val *up;
    size_t nleft = live_before(w->img, at);

    CHECK(left != NULL && right != NULL && both != NULL);
    mid.data = sep;
    mid.size = pg_work_separator(w->img, at, sep);
    CHECK(mid.size <= PAGE_KEY_MAX);
    CHECK(pg_image_key_cmp(w->img, at - 1, sep, mid.size) < 0);
    CHECK(pg_image_key_cmp(w->img, at, sep, mid.size) >= 0);
    if (w->img->kind == PG_INNER)
        CHECK_EQ(pg_image_key_cmp(w->img, at, sep, mid.size), 0);
    else /* one byte less would not separate */
        CHECK(mid.size > 0 &&
              pg_image_key_cmp(w->img, at - 1, sep, mid.size - 1) >= 0);
    pg_image_lower(w->img, &lower);
    up = pg_image_upper(w->img, &upper) ? &upper : NULL;
    model_slice(m, 0, nleft, &left_m);
    model_slice(m, nleft, m->n, &right_m);
    CHECK(pg_work_slice(w->img, 0, at, &lower, &mid, left, PG_IMAGE_MAX));
    CHECK(pg_work_slice(w->img, at, w->img->n, &mid, up, right, PG_IMAGE_MAX));
    page_check(left, &left_m);
    page_check(right, &right_m);
    CHECK_EQ(left->nchanged, left->n);
    CHECK(left->flags & PG_IMAGE_WHOLE);
    free(compact_check(left, &left_m));
    free(compact_check(right, &right_m));
    CHECK(pg_work_merge(left, right, both, PG_IMAGE_MAX));
    page_check(both, m);
    /* without its spare slots, and less than what aligning may have added */
    slot = both->kind == PG_LEAF ? 8 : 23;
    CHECK(!pg_work_merge(left, right, both,
                         both->used - 12 - (both->slot_cap - both->n) * slot));
    CHECK(pg_work_merge(left, right, both, PG_IMAGE_MAX));
    CHECK(both->flags & PG_IMAGE_WHOLE);
    free(compact_check(both, m));
    page_model_fini(&left_m);
    page_model_fini(&right_m);
    free(left);
    free(right);
    free(both);
}

static void test_work_split_and_merge(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (size_t s = 0; s < page_nshapes; s++) {
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            const struct page_shape *sh = &page_shapes[s];
            struct page_model m = { 0 };
            struct page_work w;
            struct pg_image *img;
            size_t content;
            unsigned at;

            CHECK_CASE(sh->name);
            page_work_init(&w, 4096, kinds[k], k ? 1 : 0, sh);
            if (kinds[k] == PG_INNER)
                page_first_child(&w, &m, sh, &rng);
            while (m.n < 40)
                page_step(&w, &m, sh, &rng, 0, 80);
            img = compact_check(w.img, &m);
            page_work_fini(&w);
            page_work_copy(&w, img, 65536); /* with tombstones */
            free(img);
            for (unsigned i = 0; i < 40; i++)
                page_step(&w, &m, sh, &rng, 8, 80);

            for (at = 1; at < w.img->n; at++) {
                struct quire_val val;

                /* an inner page is split at a child */
                if (w.img->kind == PG_LEAF ||
                    pg_image_value(w.img, at, &val) != PG_ENTRY_TOMB)
                    split_check(&w, &m, at);
            }

            at = pg_work_split_point(w.img, 4096, false);
            CHECK(at > 0 && at < w.img->n);
            CHECK(live_before(w.img, at) > 0);
            CHECK(live_before(w.img, at) < m.n);
            split_check(&w, &m, at);

            /* ascending: the left half fits, one more would not */
            content = pg_work_content(w.img);
            for (size_t bytes = 300; bytes < content + 200; bytes += 97) {
                size_t n;

                at = pg_work_split_point(w.img, bytes, true);
                CHECK(at > 0 && at < w.img->n);
                n = live_before(w.img, at);
                CHECK(n > 0 && n < m.n);
                if (bytes >= content)
                    CHECK(n == m.n - 1 || m.n < 2);
            }
            page_work_fini(&w);
            page_model_fini(&m);
        }
    }
}

/* Halves of entries of one length are halves. */
static void test_work_split_point_balance(void **state)
{
    struct page_work w;
    struct quire_val lower = { "", 0 };
    unsigned at;

    (void)state;
    page_work_init(&w, 16384, PG_LEAF, 0, &page_shapes[0]);
    for (unsigned i = 0; i < 100; i++) {
        uint8_t key[2] = { (uint8_t)(i / 10), (uint8_t)(i % 10) };
        uint8_t val[50] = { 0 };

        page_work_put(&w, key, 2, val, 50, PG_ENTRY_PLAIN);
    }
    CHECK_EQ(pg_work_split_point(w.img, 4096, false), 50);
    for (size_t bytes = 1000; bytes < 6000; bytes += 100) {
        struct pg_image *left = malloc(PG_IMAGE_MAX);
        uint8_t sep[PAGE_KEY_MAX];
        struct quire_val mid = { sep, 0 };

        CHECK(left != NULL);
        at = pg_work_split_point(w.img, bytes, true);
        mid.size = pg_work_separator(w.img, at, sep);
        CHECK(pg_work_slice(w.img, 0, at, &lower, &mid, left, PG_IMAGE_MAX));
        CHECK(pg_work_content(left) <= bytes);
        if (at < 99) {
            mid.size = pg_work_separator(w.img, at + 1, sep);
            CHECK(pg_work_slice(w.img, 0, at + 1, &lower, &mid, left,
                                PG_IMAGE_MAX));
            CHECK(pg_work_content(left) + 4 > bytes);
        }
        free(left);
    }
    page_work_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_random_changes),
        cmocka_unit_test(test_work_entry_bytes),
        cmocka_unit_test(test_work_full),
        cmocka_unit_test(test_work_cap),
        cmocka_unit_test(test_work_need),
        cmocka_unit_test(test_work_tombstones),
        cmocka_unit_test(test_work_set),
        cmocka_unit_test(test_work_keeps_what_is_known_of_children),
        cmocka_unit_test(test_work_garbage_never_takes_the_room),
        cmocka_unit_test(test_work_split_and_merge),
        cmocka_unit_test(test_work_split_point_balance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
