/*
 * Labels in one page: puts, copies, splits, merges; committed images made from
 * memory and from fragments, which must agree; what is refused. Histories of
 * labels in stores are in test_store_label.c and test_store_versioning.c.
 *
 * All memory is of exactly the length that was asked for, so that the sanitizers
 * see a byte too far.
 */
#include <stdio.h>

#include "pages/pg_impl.h"
#include "tests/test.h"

#define PAGE_BYTES 4096u
#define NKEYS 40u

static const struct quire_val lowest = { "", 0 };

static struct quire_val val_of(const char *text)
{
    return (struct quire_val){ text, strlen(text) };
}

/* ---- pages whose labels follow from the key ---- */

static struct quire_val key_of(unsigned i, char buf[16])
{
    return (struct quire_val){ buf, (size_t)snprintf(buf, 16, "k%04u", i) };
}

/* The label that key `i` has in state `state`; one of three has none, and in
 * state 0 none has. */
static struct quire_val label_of(unsigned i, unsigned state,
                                 uint8_t buf[QUIRE_LABEL_MAX])
{
    size_t len = state == 0 || (i + state) % 3 == 0 ? 0
                 : (i + state) % 7 == 0             ? QUIRE_LABEL_MAX
                                                    : 1 + (i * 5 + state) % 30;

    for (size_t k = 0; k < len; k++)
        buf[k] = (uint8_t)(i + state + k);
    return (struct quire_val){ buf, len };
}

/* Put `label` with a value of `len` bytes, making room as the tree does. */
static void put(struct pg_image **img, const struct quire_val *key, size_t len,
                const struct quire_val *label)
{
    static const char text[64] = "values are all alike";
    struct quire_val val = { text, len };
    struct pg_image *more;
    size_t cap;

    if (pg_work_put_labeled(*img, key, &val, label, PG_ENTRY_PLAIN, NULL))
        return;
    cap = pg_work_need(*img, key->size, len + PG_LABEL_ROOM(label->size));
    more = malloc(cap);
    CHECK(more != NULL);
    CHECK(pg_work_copy(*img, more, cap));
    free(*img);
    *img = more;
    CHECK(pg_work_put_labeled(more, key, &val, label, PG_ENTRY_PLAIN, NULL));
}

/* `state` of all slots, or of those whose keys are in from .. to-1; *img may be
 * NULL for an empty page. */
static void put_state(struct pg_image **img, unsigned from, unsigned to,
                      unsigned state)
{
    uint8_t text[QUIRE_LABEL_MAX];
    char buf[16];

    if (*img == NULL) {
        *img = malloc(1024);
        CHECK(*img != NULL);
        CHECK(pg_work_init(*img, 1024, PG_LEAF, 0, &lowest, NULL));
    }
    for (unsigned i = from; i < to; i++) {
        struct quire_val key = key_of(i, buf);
        struct quire_val label = label_of(i, state, text);

        put(img, &key, 3 + i % 9, &label);
    }
    CHECK(pg_check_image(*img));
}

static void check_label(const struct pg_image *img, unsigned slot, unsigned i,
                        unsigned state)
{
    uint8_t text[QUIRE_LABEL_MAX];
    struct quire_val want = label_of(i, state, text);
    struct quire_val label;

    pg_image_label(img, slot, &label);
    CHECK_EQ(label.size, want.size);
    if (want.size != 0)
        CHECK_MEM_EQ(label.data, want.data, want.size);
}

/* The live records are the keys from .. to-1, in this state. */
static void check_state(const struct pg_image *img, unsigned from, unsigned to,
                        unsigned state)
{
    CHECK(pg_check_image(img));
    CHECK_EQ(img->n - img->ntomb, to - from);
    for (unsigned i = from; i < to; i++) {
        struct quire_val key, val;
        char buf[16];
        bool found;
        unsigned slot;

        key = key_of(i, buf);
        slot = pg_image_seek(img, key.data, key.size, &found);
        CHECK(found);
        CHECK_EQ(pg_image_value(img, slot, &val), PG_ENTRY_PLAIN);
        CHECK_EQ(val.size, 3 + i % 9);
        check_label(img, slot, i, state);
    }
}

/* ---- versions of a page ---- */

#define NVERSIONS 4u

struct version {
    struct pg_ref ref;
    uint64_t sums[PG_CHAIN_MAX];
    uint8_t *frag;
    struct pg_image *img; /* made from memory */
    void *labels;
};

static void version_fini(struct version *v)
{
    free(v->frag);
    free(v->img);
    free(v->labels);
}

static void *exactly(size_t len)
{
    void *seg = len == 0 ? NULL : malloc(len);

    CHECK(len == 0 || seg != NULL);
    return seg;
}

/* Write `work` over the version `before` (NULL: none), in the form that the
 * versioning wants. */
static void write_version(struct pg_image *work, const struct version *before,
                          quire_versioning versioning, struct version *v)
{
    struct pg_frag_in in = { .kind = PG_LEAF, .count = work->n - work->ntomb };
    struct pg_ref none = { .id = PG_ID_NONE };
    const struct pg_ref *ref = before == NULL ? &none : &before->ref;
    struct pg_plan plan;
    uint8_t *body;
    size_t cap;

    pg_plan_make(work, ref, versioning, 4, &plan);
    pg_plan_mark(work, &plan);
    pg_plan_links(&plan, ref, before == NULL ? NULL : before->sums, &in);
    body = exactly(plan.body_bytes);
    in.id = ref->id + 65536;
    in.birth = ref->birth + 1;
    in.body = body;
    in.body_len = pg_body_encode(work, plan.form, body, plan.body_bytes,
                                 &in.nentries);
    CHECK(in.body_len != 0);
    in.image_len = (uint32_t)pg_plan_image_bytes(work, &plan);
    in.label_len = (uint32_t)pg_label_bytes(work);
    cap = pg_frag_bound(in.body_len, in.nchain);
    v->frag = exactly(cap);
    CHECK_NE(pg_frag_encode(&in, v->frag, cap, &v->ref), 0);
    free(body);
    memcpy(v->sums, in.sums, sizeof(v->sums));
    v->img = exactly(in.image_len);
    v->labels = exactly(in.label_len);
    CHECK(!pg_image_compact_labeled(work, &v->ref, v->sums, v->img,
                                    in.image_len - 1, v->labels));
    CHECK(pg_image_compact_labeled(work, &v->ref, v->sums, v->img, in.image_len,
                                   v->labels));
    CHECK_EQ(v->img->used + v->img->ghost_bytes, in.image_len);
    CHECK_EQ(pg_label_bytes(v->img), in.label_len);
    CHECK(pg_image_labels(v->img) == v->labels);
}

/* The page of version `v`, whose fragments are among the `n` versions. */
static quire_status combine(const struct version *all, unsigned n,
                            const struct pg_ref *ref, struct pg_image *img,
                            void *labels)
{
    struct pg_frag frags[PG_CHAIN_MAX + 1];
    struct quire_val bodies[PG_CHAIN_MAX + 1];
    void *raw[PG_CHAIN_MAX + 1];
    quire_status rc;

    for (unsigned i = 0; i <= ref->nchain; i++) {
        pg_id id = i == 0 ? ref->id : ref->chain[i - 1].id;
        const struct version *v = all;

        while (v < all + n && v->ref.id != id)
            v++;
        CHECK(v < all + n);
        CHECK_OK(
            pg_frag_check(v->frag, v->ref.stored_len, id, NULL, &frags[i]));
        raw[i] = exactly(frags[i].raw_len);
        CHECK_OK(pg_frag_body(&frags[i], v->frag, raw[i], frags[i].raw_len,
                              &bodies[i]));
    }
    rc = pg_combine_labeled(ref, frags, bodies, ref->nchain + 1u, PAGE_BYTES,
                            img, ref->image_len, labels);
    for (unsigned i = 0; i <= ref->nchain; i++)
        free(raw[i]);
    return rc;
}

/* What is combined from fragments equals what was made from memory, but for
 * where the label memory is. */
static void reload(const struct version *all, unsigned n,
                   const struct version *v, unsigned to, unsigned state)
{
    struct pg_image *img = exactly(v->ref.image_len);
    void *labels = exactly(v->ref.label_len);

    CHECK_OK(combine(all, n, &v->ref, img, labels));
    check_state(img, 0, to, state);
    if (labels != NULL) {
        CHECK_MEM_EQ(labels, v->labels, v->ref.label_len);
        memcpy((uint8_t *)img + img->recs_off - 8, &v->labels, sizeof(void *));
    }
    CHECK_MEM_EQ(img, v->img, v->ref.image_len);
    free(labels);
    free(img);
}

/* Versions in which labels come, change and go, under each versioning. */
static void test_labels_of_versions(void **state)
{
    static const unsigned states[NVERSIONS] = { 1, 2, 0, 5 };

    (void)state;
    for (unsigned how = 1; how <= 5; how++) {
        struct version all[NVERSIONS];
        struct pg_image *work = NULL;

        put_state(&work, 0, NKEYS, states[0]);
        for (unsigned i = 0; i < NVERSIONS; i++) {
            size_t cap;

            write_version(work, i == 0 ? NULL : &all[i - 1],
                          (quire_versioning)how, &all[i]);
            check_state(all[i].img, 0, NKEYS, states[i]);
            CHECK_EQ(all[i].ref.label_len != 0, states[i] != 0);
            for (unsigned k = 0; k <= i; k++)
                reload(all, i + 1, &all[k], NKEYS, states[k]);
            if (i + 1 == NVERSIONS)
                break;
            cap = pg_work_need(all[i].img, 20, 20);
            free(work);
            work = exactly(cap);
            CHECK(pg_work_copy(all[i].img, work, cap));
            check_state(work, 0, NKEYS, states[i]);
            /* 3: padding that labels stood in */
            CHECK(pg_work_content(all[i].img) <=
                  pg_work_content(work) + 3 * NKEYS);
            put_state(&work, 0, NKEYS, states[i + 1]);
        }
        free(work);
        for (unsigned i = 0; i < NVERSIONS; i++)
            version_fini(&all[i]);
    }
}

/* Deleted and put again without one, a record has no label; a tombstone has none
 * either. */
static void test_deleted_labels(void **state)
{
    struct version all[2];
    struct pg_image *work = NULL;
    struct quire_val key, label;
    bool found;
    char buf[16];
    size_t cap;

    (void)state;
    put_state(&work, 0, NKEYS, 1);
    write_version(work, NULL, QUIRE_VERSIONING_DIFFERENTIAL, &all[0]);
    free(work);
    cap = pg_work_need(all[0].img, 20, 20);
    work = exactly(cap);
    CHECK(pg_work_copy(all[0].img, work, cap));
    for (unsigned i = 0; i < 2; i++) {
        key = key_of(6 + i, buf); /* both have a label */
        pg_work_del(work, pg_image_seek(work, key.data, key.size, &found));
        CHECK(found && pg_check_image(work));
    }
    pg_image_label(work, 6, &label);
    CHECK_EQ(label.size, 0);
    CHECK(pg_work_put(work, &key, &lowest, PG_ENTRY_PLAIN, NULL));
    write_version(work, &all[0], QUIRE_VERSIONING_DIFFERENTIAL, &all[1]);
    CHECK_EQ(all[1].ref.nchain, 1);
    CHECK_EQ(all[1].img->nghosts, 1);
    pg_image_label(all[1].img, 6, &label); /* the second of the two */
    CHECK_EQ(label.size, 0);
    check_label(all[1].img, 7, 8, 1);
    CHECK(pg_check_image(all[1].img));
    free(work);
    version_fini(&all[0]);
    version_fini(&all[1]);
}

/* Labels go with their records into halves and back. */
static void test_labels_split_and_merge(void **state)
{
    struct pg_image *work = NULL;
    uint8_t *left = exactly(8192), *right = exactly(8192);
    uint8_t *back = exactly(8192);
    struct quire_val sep;
    char buf[16];

    (void)state;
    put_state(&work, 0, NKEYS, 3);
    for (unsigned at = 1; at < NKEYS; at++) {
        sep = key_of(at, buf);
        CHECK(pg_work_slice(work, 0, at, &lowest, &sep, left, 8192));
        CHECK(pg_work_slice(work, at, NKEYS, &sep, NULL, right, 8192));
        check_state((struct pg_image *)(void *)left, 0, at, 3);
        check_state((struct pg_image *)(void *)right, at, NKEYS, 3);
        CHECK(pg_work_merge((struct pg_image *)(void *)left,
                            (struct pg_image *)(void *)right, back, 8192));
        check_state((struct pg_image *)(void *)back, 0, NKEYS, 3);
    }
    free(work);
    free(left);
    free(right);
    free(back);
}

/* ---- what is refused ---- */

/* Each byte of the label memory and of its address matters. */
static void test_damage_is_seen(void **state)
{
    struct pg_image *work = NULL;
    struct pg_labels *labels;
    struct version v;
    unsigned slot = 0;

    (void)state;
    put_state(&work, 0, NKEYS, 1);
    write_version(work, NULL, QUIRE_VERSIONING_FULL, &v);
    labels = v.labels;
    CHECK(pg_check_image(v.img));
    while (labels->off[slot] == 0)
        slot++;
    for (unsigned i = 0; i < 6; i++) {
        struct pg_labels was = *labels;
        uint32_t off = labels->off[slot];

        switch (i) {
        case 0:
            labels->magic++;
            break;
        case 1:
            labels->n--;
            break;
        case 2:
            labels->len--;
            break;
        case 3:
            labels->nlabels++;
            break;
        case 4:
            labels->off[slot]++;
            break;
        default:
            labels->off[slot] = 0;
            break;
        }
        CHECK(!pg_check_image(v.img));
        *labels = was;
        labels->off[slot] = off;
        CHECK(pg_check_image(v.img));
    }
    v.img->flags &= (uint8_t)~PG_IMAGE_LABELED; /* the layout is another */
    CHECK(!pg_check_image(v.img));
    work->flags &= (uint8_t)~PG_IMAGE_LABELED;
    CHECK(!pg_check_image(work));
    free(work);
    version_fini(&v);
}

/* A body of one record, `rec` of `len` bytes, in a page of `kind` that says that
 * its label memory has `label_len` bytes. */
static quire_status combine_record(enum pg_kind kind, const void *rec,
                                   size_t len, uint32_t label_len, bool give)
{
    uint8_t body[PG_BODY_HEADER + 64] = { 0 };
    struct pg_frag_in in = {
        .kind = kind,
        .level = kind == PG_INNER,
        .self_contained = true,
        .id = 65536,
        .birth = 1,
        .count = 1,
        .nentries = 1,
        .image_len = 1024,
        .label_len = label_len,
        .body = body,
        .body_len = PG_BODY_HEADER + len,
    };
    uint8_t frag[512];
    struct version v = { .frag = frag };
    struct pg_image *img = exactly(1024);
    void *labels = exactly(label_len);
    quire_status rc;

    ra_put_le32(body, 1);
    ra_put_le16(body + 8, PG_BODY_NO_UPPER);
    body[10] = in.level;
    ra_put_le32(body + 12, (uint32_t)len);
    memcpy(body + PG_BODY_HEADER, rec, len);
    CHECK_NE(pg_frag_encode(&in, frag, sizeof(frag), &v.ref), 0);
    rc = combine(&v, 1, &v.ref, img, give ? labels : NULL);
    if (rc == QUIRE_OK)
        CHECK(pg_check_image(img));
    free(labels);
    free(img);
    return rc;
}

static void test_forged_labels(void **state)
{
    static const struct {
        const char *name;
        uint8_t rec[16];
        size_t len;
        uint32_t label_len; /* 16 + 4 + 1 + bytes */
        bool inner;
        bool kept; /* no memory is given for the labels */
        quire_status want;
    } cases[] = {
        { "a good one", { 4, 1, 1, 'k', 'v', 2, 'l', 'm' }, 8, 23, 0, 0, 0 },
        { "padded", { 4, 1, 0, 'k', 1, 'l' }, 8, 22, 0, 0, 0 },
        { "no label", { 0, 1, 1, 'k', 'v' }, 8, 0, 0, 0, 0 },
        { "a length of 0", { 4, 1, 1, 'k', 'v', 0 }, 8, 21, 0, 0, 1 },
        { "no length", { 4, 1, 2, 'k', 'v', 'v' }, 4, 21, 0, 0, 1 },
        { "past the end", { 4, 1, 1, 'k', 'v', 3, 'l', 'm' }, 8, 24, 0, 0, 1 },
        { "padding", { 4, 1, 0, 'k', 1, 'l', 0, 1 }, 8, 22, 0, 0, 1 },
        { "of a tombstone", { 5, 1, 0, 'k', 1, 'l' }, 8, 22, 0, 0, 1 },
        { "of kind 3", { 7, 1, 0, 'k', 1, 'l' }, 8, 22, 0, 0, 1 },
        { "another bit", { 12, 1, 0, 'k', 1, 'l' }, 8, 22, 0, 0, 1 },
        { "one byte less", { 4, 1, 0, 'k', 1, 'l' }, 8, 21, 0, 0, 1 },
        { "one byte more", { 4, 1, 0, 'k', 1, 'l' }, 8, 23, 0, 0, 1 },
        { "not known of", { 4, 1, 0, 'k', 1, 'l' }, 8, 0, 0, 0, 1 },
        { "known of in vain", { 0, 1, 1, 'k', 'v' }, 8, 22, 0, 0, 1 },
        { "no memory", { 4, 1, 0, 'k', 1, 'l' }, 8, 22, 0, 1, 1 },
        { "an inner page", { 4, 0, 0, 1, 'l' }, 8, 0, 1, 0, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        CHECK_STATUS(combine_record(cases[i].inner ? PG_INNER : PG_LEAF,
                                    cases[i].rec, cases[i].len,
                                    cases[i].label_len, !cases[i].kept),
                     cases[i].want == 0 ? QUIRE_OK : QUIRE_CORRUPT);
    }
}

/* References: a length that is there, in leaves, and possible. */
static void test_references_with_labels(void **state)
{
    struct pg_ref ref = { .id = 65536,
                          .birth = UINT64_MAX,
                          .count = UINT64_MAX,
                          .stored_len = PG_FRAG_HEADER + 100000,
                          .raw_len = PG_RAW_MAX,
                          .image_len = PG_IMAGE_MAX,
                          .label_len = PG_IMAGE_MAX,
                          .kind = PG_LEAF };
    uint8_t buf[PG_REF_BYTES(0)];
    struct pg_ref back;
    size_t len = pg_ref_encode(&ref, buf), used = 0;

    (void)state;
    CHECK(len <= sizeof(buf));
    CHECK_EQ(pg_ref_bytes(buf), len);
    CHECK_OK(pg_ref_parse(buf, len, &back, &used));
    CHECK_EQ(used, len);
    CHECK_EQ(back.label_len, PG_IMAGE_MAX);
    CHECK_EQ(back.image_len, PG_IMAGE_MAX);
    CHECK_EQ(buf[16], PG_LEAF | 0x20);
    for (size_t cut = 0; cut < len; cut++)
        CHECK_STATUS(pg_ref_decode(buf, cut, &back), QUIRE_CORRUPT);
    ref.label_len = PG_IMAGE_MAX + 1;
    len = pg_ref_encode(&ref, buf);
    CHECK_STATUS(pg_ref_decode(buf, len, &back), QUIRE_CORRUPT);
    ref.label_len = 1;
    len = pg_ref_encode(&ref, buf);
    CHECK_OK(pg_ref_decode(buf, len, &back));
    buf[len - 1] = 0;
    CHECK_STATUS(pg_ref_decode(buf, len, &back), QUIRE_CORRUPT);
    ref.kind = PG_INNER;
    ref.level = 1;
    len = pg_ref_encode(&ref, buf);
    CHECK_STATUS(pg_ref_decode(buf, len, &back), QUIRE_CORRUPT);
}

/* The longest label fits where the shortest does, if there is room; what was
 * refused has changed nothing (PG-13). */
static void test_put_without_room(void **state)
{
    static const char text[QUIRE_LABEL_MAX];
    struct quire_val key = val_of("key"), val = val_of("value");
    struct quire_val label = { text, 0 };
    struct pg_image *img = exactly(400);
    struct quire_val had;
    unsigned fitted = 0;

    (void)state;
    for (unsigned len = 1; len <= QUIRE_LABEL_MAX; len++) {
        CHECK(pg_work_init(img, 400, PG_LEAF, 0, &lowest, NULL));
        label.size = 1;
        CHECK(
            pg_work_put_labeled(img, &key, &val, &label, PG_ENTRY_PLAIN, NULL));
        label.size = len;
        if (pg_work_put_labeled(img, &key, &val, &label, PG_ENTRY_PLAIN, NULL))
            fitted = len;
        else
            label.size = 1;
        CHECK(pg_check_image(img));
        pg_image_label(img, 0, &had);
        CHECK_EQ(had.size, label.size);
    }
    CHECK(fitted > 50 && fitted < QUIRE_LABEL_MAX);
    free(img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_of_versions),
        cmocka_unit_test(test_deleted_labels),
        cmocka_unit_test(test_labels_split_and_merge),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_forged_labels),
        cmocka_unit_test(test_references_with_labels),
        cmocka_unit_test(test_put_without_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
