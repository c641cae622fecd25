/*
 * lib_page.c - the functions behind lib_page.h.
 *
 * The model does everything in the plainest way: linear insertion, memcmp() on
 * whole keys. What it shares with the library is the encoding of references
 * and of large values, which have tests of their own.
 */
#include "tests/lib_page.h"

#include <stdlib.h>

#include "tests/test.h"

#define NUL10 "\0\0\0\0\0\0\0\0\0\0"

const struct page_shape page_shapes[] = {
    { .name = "any bytes", .stem = "", .min_len = 0, .max_len = 12 },
    { .name = "one or two bytes", .stem = "", .min_len = 0, .max_len = 2 },
    { .name = "zeros and ones",
      .stem = "",
      .alphabet = "\0\1",
      .nalphabet = 2,
      .min_len = 0,
      .max_len = 8 },
    { .name = "nothing but zeros",
      .stem = "",
      .alphabet = "\0",
      .nalphabet = 1,
      .min_len = 0,
      .max_len = 40,
      .lower = { "", 0 },
      .upper = { "\1", 1 } },
    { .name = "greatest heads",
      .stem = "",
      .alphabet = "\xff\xfe",
      .nalphabet = 2,
      .min_len = 0,
      .max_len = 9,
      .lower = { "\xfe", 1 } },
    { .name = "prefix from the fences",
      .stem = "user/",
      .alphabet = "0123456789",
      .nalphabet = 10,
      .min_len = 0,
      .max_len = 8,
      .lower = { "user/", 5 },
      .upper = { "user0", 5 } },
    { .name = "prefix is the lower fence",
      .stem = "ab",
      .alphabet = "\0\1",
      .nalphabet = 2,
      .min_len = 0,
      .max_len = 6,
      .lower = { "ab", 2 },
      .upper = { "ab\1\1", 4 } },
    { .name = "equal heads without a prefix",
      .stem = "the same beginning, ",
      .alphabet = "xyz",
      .nalphabet = 3,
      .min_len = 0,
      .max_len = 10 },
    { .name = "equal heads behind a prefix",
      .stem = "k5same",
      .alphabet = "0123456789abcdef",
      .nalphabet = 16,
      .min_len = 1,
      .max_len = 6,
      .lower = { "k5", 2 },
      .upper = { "k6", 2 } },
    { .name = "longest keys",
      .stem = "",
      .alphabet = "ab",
      .nalphabet = 2,
      .min_len = 120,
      .max_len = PAGE_KEY_MAX },
    { .name = "long fences",
      .stem = "0123456789012345678901234567890123456789",
      .min_len = 0,
      .max_len = 20,
      .lower = { "0123456789012345678901234567890123456789" NUL10, 50 },
      .upper = { "012345678901234567890123456789012345678:", 40 } },
    { .name = "numbers, and the least of them below",
      .stem = "0000000000",
      .alphabet = "0123456789",
      .nalphabet = 10,
      .min_len = 6,
      .max_len = 6,
      .lower = { "0000000000000000", 16 } },
};

const size_t page_nshapes = ARRAY_LEN(page_shapes);

static int key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
    size_t m = alen < blen ? alen : blen;
    int c = m == 0 ? 0 : memcmp(a, b, m);

    return c != 0 ? c : alen < blen ? -1 : alen > blen;
}

const struct quire_val *page_shape_upper(const struct page_shape *sh)
{
    return sh->upper.data == NULL ? NULL : &sh->upper;
}

size_t page_key(const struct page_shape *sh, uint64_t *rng, uint8_t *buf)
{
    size_t stem_len = strlen(sh->stem);

    for (;;) {
        size_t n = stem_len;
        size_t more = sh->min_len +
                      test_rand_below(rng, sh->max_len - sh->min_len + 1);

        memcpy(buf, sh->stem, stem_len);
        for (size_t i = 0; i < more && n < PAGE_KEY_MAX; i++) {
            uint64_t r = test_rand(rng) >> 32;

            buf[n++] = sh->alphabet == NULL
                           ? (uint8_t)r
                           : (uint8_t)sh->alphabet[r % sh->nalphabet];
        }
        if (key_cmp(buf, n, sh->lower.data, sh->lower.size) < 0)
            continue;
        if (sh->upper.data != NULL &&
            key_cmp(buf, n, sh->upper.data, sh->upper.size) >= 0)
            continue;
        return n;
    }
}

/* ---- the model ---- */

void page_model_fini(struct page_model *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->recs[i].val);
    free(m->recs);
    memset(m, 0, sizeof(*m));
}

size_t page_model_seek(const struct page_model *m, const void *key, size_t len,
                       bool *found)
{
    size_t i = 0;
    int c = 1;

    while (i < m->n &&
           (c = key_cmp(m->recs[i].key, m->recs[i].key_len, key, len)) < 0)
        i++;
    *found = i < m->n && c == 0;
    return i;
}

bool page_model_put(struct page_model *m, const void *key, size_t key_len,
                    const void *val, size_t val_len, enum pg_entry entry)
{
    bool found;
    size_t i = page_model_seek(m, key, key_len, &found);
    struct page_entry *e;

    if (!found && m->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->recs = realloc(m->recs, m->cap * sizeof(m->recs[0]));
        CHECK(m->recs != NULL);
    }
    e = &m->recs[i];
    if (!found) {
        memmove(e + 1, e, (m->n - i) * sizeof(*e));
        m->n++;
        if (key_len != 0)
            memcpy(e->key, key, key_len);
        e->key_len = key_len;
    } else {
        free(e->val);
    }
    e->val = malloc(val_len + 1);
    CHECK(e->val != NULL);
    if (val_len != 0)
        memcpy(e->val, val, val_len);
    e->val_len = val_len;
    e->entry = entry;
    return found;
}

void page_model_del(struct page_model *m, size_t i)
{
    free(m->recs[i].val);
    m->n--;
    memmove(&m->recs[i], &m->recs[i + 1], (m->n - i) * sizeof(m->recs[0]));
}

uint64_t page_model_count(const struct page_model *m, enum pg_kind kind)
{
    uint64_t sum = 0;

    if (kind == PG_LEAF)
        return m->n;
    for (size_t i = 0; i < m->n; i++) {
        struct pg_ref ref;

        CHECK_OK(pg_ref_decode(m->recs[i].val, m->recs[i].val_len, &ref));
        sum += ref.count;
    }
    return sum;
}

/* Many records at a time are the ones that single reading finds, in both
 * directions, wherever the next leaf is thought to be; keys stay in their
 * buffer, of which few, some or all have room. */
static void check_records(const struct pg_image *img)
{
    static const size_t rooms[] = { PAGE_KEY_MAX, PAGE_KEY_MAX + 31, 40000 };
    struct quire_record recs[40];
    unsigned seen, n;

    for (unsigned k = 0; k < 2 * ARRAY_LEN(rooms); k++) {
        size_t room = rooms[k / 2];
        uint8_t *buf = malloc(room + 1);
        bool forward = k % 2 == 0;
        struct pg_fetch fetch;

        CHECK(buf != NULL);
        buf[room] = 0xa5;
        pg_fetch_begin(&fetch, img, forward ? 0 : img->n - 1, forward);
        for (seen = 0; seen < img->n; seen += n) {
            unsigned from = forward ? seen : img->n - 1 - seen;
            struct quire_val val;
            unsigned i = from;

            n = pg_image_records(img, from,
                                 1 + (seen * 7 + k) % ARRAY_LEN(recs), recs,
                                 buf, room, &fetch, k % 3 == 0 ? NULL : img);
            CHECK(n <= img->n - seen);
            for (unsigned r = 0; r < n; r++, i += forward ? 1u : -1u) {
                CHECK_EQ(pg_image_value(img, i, &val), PG_ENTRY_PLAIN);
                CHECK_EQ(recs[r].val.size, val.size);
                CHECK(recs[r].val.data == val.data);
                CHECK_EQ(pg_image_key_cmp(img, i, recs[r].key.data,
                                          recs[r].key.size),
                         0);
            }
            if (n == 0) {
                CHECK(pg_image_value(img, i, &val) != PG_ENTRY_PLAIN);
                n = 1;
            }
            if (seen % 3 == 0)
                pg_fetch_step(&fetch, img, NULL, from);
        }
        pg_fetch_turn(&fetch, img, img);
        CHECK_EQ(fetch.forward, forward);
        CHECK_EQ(buf[room], 0xa5);
        free(buf);
    }
}

void page_check(const struct pg_image *img, const struct page_model *m)
{
    bool padded = (img->flags & (PG_IMAGE_WORK | PG_IMAGE_SETTLED)) != 0 &&
                  img->kind == PG_INNER;
    size_t at = 0;

    CHECK(pg_check_image(img));
    if (img->kind == PG_LEAF && (img->flags & PG_IMAGE_WORK) == 0)
        check_records(img);
    for (unsigned i = 0; i < img->n; i++) {
        uint8_t key[PAGE_KEY_MAX];
        struct quire_val val;
        enum pg_entry entry = pg_image_value(img, i, &val);
        const struct page_entry *e = &m->recs[at];

        if (entry == PG_ENTRY_TOMB)
            continue;
        CHECK(at < m->n);
        CHECK_EQ(pg_image_key_copy(img, i, key), e->key_len);
        CHECK_MEM_EQ(key, e->key, e->key_len);
        CHECK_EQ(entry, e->entry);
        CHECK(padded ? val.size >= e->val_len : val.size == e->val_len);
        CHECK_MEM_EQ(val.data, e->val, e->val_len);
        for (unsigned prefixed = 0; prefixed < 2; prefixed++) {
            struct quire_val whole, same;

            /* key[] has the prefix of this page by now */
            CHECK_EQ(pg_image_whole(img, i, key, prefixed != 0, &whole, &same),
                     entry);
            CHECK_EQ(whole.size, e->key_len);
            CHECK_MEM_EQ(whole.data, e->key, e->key_len);
            CHECK(same.data == val.data && same.size == val.size);
        }
        at++;
    }
    CHECK_EQ(at, m->n);
    CHECK_EQ(img->n - img->ntomb, m->n);
}

/* ---- working images ---- */

void page_work_init(struct page_work *w, size_t cap, enum pg_kind kind,
                    unsigned level, const struct page_shape *sh)
{
    w->ncopies = 0;
    w->cap = cap;
    w->img = malloc(cap);
    CHECK(w->img != NULL);
    CHECK(pg_work_init(w->img, cap, kind, level, &sh->lower,
                       page_shape_upper(sh)));
}

void page_work_copy(struct page_work *w, const struct pg_image *src, size_t cap)
{
    w->ncopies = 0;
    w->cap = cap;
    w->img = malloc(cap);
    CHECK(w->img != NULL);
    CHECK(pg_work_copy(src, w->img, cap));
}

void page_work_fini(struct page_work *w)
{
    free(w->img);
    w->img = NULL;
}

bool page_work_put(struct page_work *w, const void *key, size_t key_len,
                   const void *val, size_t val_len, enum pg_entry entry)
{
    struct quire_val k = { key, key_len };
    struct quire_val v = { val, val_len };
    struct pg_image *old = w->img;
    bool existed;

    if (pg_work_put(w->img, &k, &v, entry, &existed))
        return existed;
    /* The smallest that promises room; that promise is what is tested. */
    w->cap = pg_work_need(old, key_len, val_len);
    w->img = malloc(w->cap);
    CHECK(w->img != NULL);
    CHECK(pg_work_copy(old, w->img, w->cap));
    CHECK_EQ(w->img->garbage, 0);
    free(old);
    w->ncopies++;
    CHECK(pg_work_put(w->img, &k, &v, entry, &existed));
    return existed;
}

void page_ref_make(struct pg_ref *ref, unsigned level, unsigned nchain,
                   uint64_t *rng)
{
    memset(ref, 0, sizeof(*ref));
    ref->id = test_rand(rng) | 1;
    ref->sum = test_rand(rng);
    ref->birth = test_rand(rng) >> test_rand_below(rng, 64);
    ref->count = (test_rand(rng) >> 8) >> test_rand_below(rng, 56);
    ref->stored_len = (uint32_t)(PG_FRAG_HEADER +
                                 test_rand_below(rng, PG_RAW_MAX));
    ref->raw_len = (uint32_t)test_rand_below(rng, PG_RAW_MAX + 1);
    ref->image_len = (uint32_t)test_rand_below(rng, PG_IMAGE_MAX + 1);
    ref->kind = level == 0 ? PG_LEAF : PG_INNER;
    ref->level = (uint8_t)level;
    ref->nchain = (uint8_t)nchain;
    for (unsigned i = 0; i < nchain; i++) {
        ref->chain[i].id = test_rand(rng) | 1;
        ref->chain[i].stored_len = (uint32_t)(PG_FRAG_HEADER +
                                              test_rand_below(rng, PG_RAW_MAX));
        ref->chain[i].raw_len = (uint32_t)test_rand_below(rng, PG_RAW_MAX + 1);
    }
}

/* A random value for `img`, and how long it is in its committed form. */
static size_t value_make(const struct pg_image *img, uint64_t *rng,
                         size_t val_max, uint8_t *buf, size_t *padded,
                         enum pg_entry *entry)
{
    size_t len;

    *entry = PG_ENTRY_PLAIN;
    if (img->kind == PG_INNER) {
        struct pg_ref ref;

        page_ref_make(&ref, img->level - 1u, (unsigned)test_rand_below(rng, 4),
                      rng);
        ref.count %= 1000000;
        memset(buf, 0, PG_REF_BYTES(3));
        len = pg_ref_encode(&ref, buf);
        *padded = test_rand_below(rng, 4) == 0 ? len : PG_REF_BYTES(3);
        return len;
    }
    if (test_rand_below(rng, 32) == 0) {
        struct pg_large large = { .size = 5000, .piece_bytes = 5000 };

        page_ref_make(&large.ref, 0, 0, rng);
        large.ref.kind = PG_OVERFLOW;
        large.ref.raw_len = 5000;
        *entry = PG_ENTRY_OVERFLOW;
        *padded = pg_large_encode(&large, buf);
        return *padded;
    }
    len = test_rand_below(rng, val_max + 1);
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(test_rand(rng) >> 32);
    *padded = len;
    return len;
}

void page_first_child(struct page_work *w, struct page_model *m,
                      const struct page_shape *sh, uint64_t *rng)
{
    uint8_t val[PG_REF_BYTES_MAX];
    size_t padded;
    enum pg_entry entry;
    size_t len = value_make(w->img, rng, 0, val, &padded, &entry);

    CHECK(
        !page_work_put(w, sh->lower.data, sh->lower.size, val, padded, entry));
    page_model_put(m, sh->lower.data, sh->lower.size, val, len, entry);
}

void page_step(struct page_work *w, struct page_model *m,
               const struct page_shape *sh, uint64_t *rng, unsigned ndel,
               size_t val_max)
{
    uint8_t key[PAGE_KEY_MAX], val[8192];
    size_t key_len = page_key(sh, rng, key);
    size_t val_len, padded, at;
    enum pg_entry entry;
    bool found, in_image;

    if (test_rand_below(rng, 16) < ndel) {
        unsigned i;

        at = page_model_seek(m, key, key_len, &found);
        if (!found && m->n > 0 && test_rand_below(rng, 2) == 0) {
            at = test_rand_below(rng, m->n);
            key_len = m->recs[at].key_len;
            memcpy(key, m->recs[at].key, key_len);
            found = true;
        }
        i = pg_image_seek(w->img, key, key_len, &in_image);
        CHECK(in_image || !found);
        if (!found || (w->img->kind == PG_INNER && at == 0))
            return;
        pg_work_del(w->img, i);
        page_model_del(m, at);
        return;
    }
    if (m->n > 0 && test_rand_below(rng, 4) == 0) {
        at = test_rand_below(rng, m->n);
        key_len = m->recs[at].key_len;
        memcpy(key, m->recs[at].key, key_len);
    }
    val_len = value_make(w->img, rng, val_max, val, &padded, &entry);
    found = page_model_put(m, key, key_len, val, val_len, entry);
    CHECK_EQ(page_work_put(w, key, key_len, val, padded, entry), found);
}
