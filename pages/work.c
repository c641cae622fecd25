/*
 * work.c - images that a write transaction changes.
 *
 * A working image is filled from both of its slacks: slots are inserted into
 * the arrays, records are appended behind the others. A record that shrinks or
 * is deleted leaves garbage; nothing is moved to reclaim it. When either slack
 * is used up, a put says so and the caller copies the image into another
 * segment, of the same class when the garbage is enough, else of a larger one;
 * the copy packs the records and divides the room anew. So a put is a search
 * and three short moves, and the decision how much memory a page may have stays
 * with the caller.
 *
 * How the room is divided: `left` bytes serve left / (a + s) further slots of s
 * bytes, where a is the mean length of the page's records, and the rest is for
 * records. pg_work_need() is the inverse.
 *
 * Splits, merges and fresh pages get other fences, so mostly another prefix:
 * suffixes are then cut at the front, or lengthened with the old prefix's end.
 */
#include "pages/pg_impl.h"

/* Bytes: the mean record of a page that has none yet. A wrong guess costs one
 * copy. */
#define MEAN_GUESS 48u

/* ---- layout ---- */

struct work_layout {
    uint32_t lower;
    uint32_t upper;
    uint32_t fps; /* 0 in inner pages */
    uint32_t slots;
    uint32_t heads;
    uint32_t children; /* 0 in leaves */
    uint32_t ages;
    uint32_t recs;
    uint32_t slot_cap;
    uint32_t cap;
};

static size_t rec_mean(size_t n, size_t recs_len)
{
    return n == 0 ? MEAN_GUESS : recs_len / n;
}

static size_t slot_bytes(enum pg_kind kind)
{
    return kind == PG_LEAF ? PG_WORK_LEAF_SLOT : PG_WORK_INNER_SLOT;
}

/* Bytes of a working image without any slack. */
static size_t work_bytes(enum pg_kind kind, size_t fences_len, size_t n,
                         size_t recs_len)
{
    return sizeof(struct pg_image) + fences_len + n * slot_bytes(kind) +
           recs_len +
           (kind == PG_LEAF ? 7 : /* what aligning three arrays adds */
                sizeof(struct pg_pad) + 11); /* four */
}

/* Lay out an image for `n` records of `recs_len` bytes and what more fits into
 * `cap`. false: not even these fit. */
static bool layout(enum pg_kind kind, size_t lower_len, size_t upper_len,
                   size_t n, size_t recs_len, size_t cap,
                   struct work_layout *lay)
{
    size_t need = work_bytes(kind, lower_len + upper_len, n, recs_len);
    size_t slots, off;

    cap = ra_min_u64(cap, PG_IMAGE_MAX);
    if (need > cap)
        return false;
    slots = n + (cap - need) / (rec_mean(n, recs_len) + slot_bytes(kind));
    off = sizeof(struct pg_image);
    if (kind == PG_INNER)
        off += sizeof(struct pg_pad);
    lay->lower = (uint32_t)off;
    off += lower_len;
    lay->upper = (uint32_t)off;
    off += upper_len;
    lay->fps = kind == PG_LEAF ? (uint32_t)off : 0;
    if (kind == PG_LEAF)
        off += slots;
    off = ra_round_up(off, sizeof(uint16_t));
    lay->slots = (uint32_t)off;
    off += slots * sizeof(uint16_t);
    off = ra_round_up(off, sizeof(uint32_t));
    lay->heads = (uint32_t)off;
    off += slots * sizeof(uint32_t);
    lay->children = 0;
    if (kind == PG_INNER) {
        off = ra_round_up(off, sizeof(pg_id));
        lay->children = (uint32_t)off;
        off += slots * sizeof(struct pg_child);
    }
    lay->ages = (uint32_t)off;
    off += slots;
    lay->recs = (uint32_t)ra_round_up(off, PG_REC_ALIGN);
    lay->slot_cap = (uint32_t)slots;
    lay->cap = (uint32_t)cap;
    QUIRE_ASSERT(lay->recs + recs_len <= cap);
    return true;
}

/* An empty working image for `n` records of `recs_len` bytes. */
static struct pg_image *work_begin(void *seg, size_t cap, enum pg_kind kind,
                                   unsigned level,
                                   const struct pg_fences *fences, size_t n,
                                   size_t recs_len)
{
    struct pg_image *img = seg;
    size_t upper_len = fences->has_upper ? fences->upper.size : 0;
    struct work_layout lay;

    QUIRE_ASSERT(pg_kind_slotted(kind) && pg_kind_level_ok(kind, level));
    if (!layout(kind, fences->lower.size, upper_len, n, recs_len, cap, &lay))
        return NULL;
    memset(img, 0, sizeof(*img));
    img->magic = PG_IMAGE_MAGIC;
    img->kind = (uint8_t)kind;
    img->level = (uint8_t)level;
    img->flags = PG_IMAGE_WORK | (fences->has_upper ? 0 : PG_IMAGE_UPPER_INF);
    img->cap = lay.cap;
    img->used = lay.recs;
    img->slot_cap = lay.slot_cap;
    img->lower_len = (uint32_t)fences->lower.size;
    img->upper_len = (uint32_t)upper_len;
    img->prefix_len = (uint16_t)pg_fences_prefix(fences);
    img->lower_off = lay.lower;
    img->upper_off = lay.upper;
    img->sums_off = lay.recs; /* none: nchain is 0 */
    img->fps_off = lay.fps;
    img->slots_off = lay.slots;
    img->heads_off = lay.heads;
    img->children_off = lay.children;
    img->ages_off = lay.ages;
    img->recs_off = lay.recs;
    if (kind == PG_INNER)
        *pg_pad_mut(img) = (struct pg_pad){ 0, 0 };
    pg_copy(pg_at_mut(img, lay.lower), fences->lower.data, fences->lower.size);
    pg_copy(pg_at_mut(img, lay.upper), fences->upper.data, upper_len);
    return img;
}

static uint32_t *heads_mut(struct pg_image *img)
{
    return (uint32_t *)(void *)pg_at_mut(img, img->heads_off);
}

static uint16_t *slots_mut(struct pg_image *img)
{
    return (uint16_t *)(void *)pg_at_mut(img, img->slots_off);
}

static uint8_t *ages_mut(struct pg_image *img)
{
    return pg_at_mut(img, img->ages_off);
}

/* NULL in inner pages. */
static uint8_t *fps_mut(struct pg_image *img)
{
    return img->fps_off == 0 ? NULL : pg_at_mut(img, img->fps_off);
}

/* Make the heads skip `skip` bytes, which all suffixes begin with, but for an
 * inner page's first. */
static void heads_skip(struct pg_image *img, size_t skip)
{
    unsigned from = skip == 0 ? 0 : pg_skip_from(img);
    struct pg_rec rec;

    img->head_skip = (uint16_t)skip;
    if (from != 0)
        heads_mut(img)[0] = 0; /* it is below all others */
    for (unsigned i = from; i < img->n; i++) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        heads_mut(img)[i] = pg_head(rec.suffix + skip, rec.suffix_len - skip);
    }
}

/* The head of a suffix that is new to `img`. */
static uint32_t head_of(struct pg_image *img, const uint8_t *suffix, size_t len)
{
    struct pg_rec rec;

    if (img->head_skip != 0) {
        pg_rec_read(pg_rec_at(img, pg_skip_from(img)), &rec);
        if (len < img->head_skip ||
            memcmp(suffix, rec.suffix, img->head_skip) != 0)
            heads_skip(img, 0);
    }
    /* the empty key may have no address */
    return img->head_skip == 0
               ? pg_head(suffix, len)
               : pg_head(suffix + img->head_skip, len - img->head_skip);
}

static void mark_changed(struct pg_image *img, unsigned i)
{
    uint8_t *age = ages_mut(img) + i;

    img->nchanged += (*age & PG_AGE_CHANGED) == 0;
    *age |= PG_AGE_CHANGED;
}

/* ---- what is beside children ---- */

/* The child in slot `i` is another. */
static void child_set(struct pg_image *img, unsigned i, pg_id id)
{
    struct pg_child *child = pg_children(img) + i;

    child->id = id;
    atomic_store_explicit(&child->hint, PG_HINT_NONE, memory_order_relaxed);
    atomic_store_explicit(&child->where, 0, memory_order_relaxed);
}

/* What is known of the child in slot `j` of `src` holds for slot `i`, where the
 * same child is; images lie elsewhere, so the way to the child's is another. */
static void child_carry(struct pg_image *img, unsigned i,
                        const struct pg_image *src, unsigned j)
{
    const struct pg_child *from = pg_children(src) + j;
    struct pg_child *to = pg_children(img) + i;
    intptr_t way = atomic_load_explicit(&from->where, memory_order_relaxed);
    intptr_t apart = (intptr_t)src - (intptr_t)img;

    to->id = from->id;
    atomic_store_explicit(
        &to->hint, atomic_load_explicit(&from->hint, memory_order_relaxed),
        memory_order_relaxed);
    if (way != 0)
        way += apart / PG_WHERE;
    if (apart % PG_WHERE != 0 || way < INT32_MIN || way > INT32_MAX)
        way = 0;
    atomic_store_explicit(&to->where, (int32_t)way, memory_order_relaxed);
}

/* Append a record behind all others, in slot and place; there is room. */
static void work_append(struct pg_image *img, enum pg_entry entry,
                        const uint8_t *s1, size_t s1_len, const uint8_t *s2,
                        size_t s2_len, const uint8_t *val, size_t val_len,
                        bool changed)
{
    unsigned i = img->n;
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->slot_cap);
    QUIRE_ASSERT(pg_rec_bytes(s1_len + s2_len, val_len) <=
                 img->cap - img->used);
    pg_rec_write(pg_at_mut(img, img->used), entry, s1, s1_len, s2, s2_len, val,
                 val_len);
    pg_rec_read_bare(pg_at(img, img->used), &rec);
    heads_mut(img)[i] = pg_head(rec.suffix, rec.suffix_len);
    slots_mut(img)[i] = (uint16_t)(img->used / PG_REC_ALIGN);
    ages_mut(img)[i] = changed;
    if (img->fps_off != 0) {
        fps_mut(img)[i] = pg_fp(rec.suffix, rec.suffix_len);
    } else {
        child_set(img, i,
                  entry == PG_ENTRY_TOMB ? PG_ID_NONE
                                         : pg_ref_peek_id(rec.val));
        pg_pad_mut(img)->bytes += pg_rec_pad(&rec);
    }
    img->used += rec.size;
    img->nchanged += changed;
    if (entry == PG_ENTRY_TOMB) {
        img->ntomb++;
        img->tomb_bytes += rec.size;
    }
    img->n++;
}

/* The same with a label (size 0: none). */
static inline void work_append_labeled(struct pg_image *img,
                                       enum pg_entry entry, const uint8_t *s1,
                                       size_t s1_len, const uint8_t *s2,
                                       size_t s2_len, const uint8_t *val,
                                       size_t val_len, bool changed,
                                       const struct quire_val *label)
{
    uint32_t off = img->used;

    work_append(img, entry, s1, s1_len, s2, s2_len, val, val_len, changed);
    if (label->size == 0)
        return;
    img->used = off + (uint32_t)pg_rec_add_label(pg_at_mut(img, off), label);
    img->flags |= PG_IMAGE_LABELED;
    QUIRE_ASSERT(img->used <= img->cap);
}

/* ---- sizes ---- */

/* Bytes that the labels of a committed image take when it is changed and they
 * stand in its records, with so much padding each. */
static size_t committed_labels(const struct pg_image *img, size_t pad)
{
    const struct pg_labels *labels;

    if (QUIRE_LIKELY((img->flags & PG_IMAGE_LABELED) == 0))
        return 0;
    labels = pg_image_labels(img);
    if (labels == NULL)
        return 0;
    return labels->len - sizeof(*labels) - labels->n * sizeof(labels->off[0]) +
           labels->nlabels * pad;
}

size_t pg_work_content(const struct pg_image *img)
{
    struct pg_layout lay;

    return pg_layout_of(img->kind, 0, img->lower_len, img->upper_len,
                        img->n - img->ntomb, &lay) +
           pg_live_bytes(img) + committed_labels(img, 0);
}

size_t pg_entry_bytes(size_t key_len, size_t val_len)
{
    return pg_rec_bytes(key_len, val_len) + PG_INNER_SLOT +
           12; /* what the rounding of four arrays may add */
}

/* The garbage that a copy keeps, since it is then made in one piece: that of
 * inner pages that were settled, which each commit copies, while it is little,
 * and the image not so long that there would be no room left for an entry. */
static size_t kept_garbage(const struct pg_image *src)
{
    return src->kind == PG_INNER && pg_is_settled(src) &&
                   src->used <= PG_IMAGE_MAX / 4 * 3 &&
                   src->garbage <= (src->used - src->recs_off) / 4
               ? src->garbage
               : 0;
}

/* Bytes of the records of a copy of `src`. */
static size_t copy_recs(const struct pg_image *src)
{
    return src->used - src->recs_off - src->garbage + kept_garbage(src) +
           src->ghost_bytes + committed_labels(src, 3);
}

size_t pg_work_need(const struct pg_image *src, size_t key_len, size_t val_len)
{
    size_t recs_len = copy_recs(src);
    size_t n = src->n + src->nghosts;
    size_t mean = rec_mean(n, recs_len);
    size_t rec = pg_rec_bytes(key_len, val_len);
    size_t slot = slot_bytes(src->kind);
    size_t left;

    /* Of `left` bytes, left * mean / (mean + slot) go to records. One slot
     * needs left >= mean + slot. */
    left = (rec * (mean + slot) + mean - 1) / mean;
    left = ra_max_u64(left, mean + slot);
    return work_bytes(src->kind, src->lower_len + src->upper_len, n, recs_len) +
           left;
}

/* ---- making ---- */

bool pg_work_init(void *seg, size_t cap, enum pg_kind kind, unsigned level,
                  const struct quire_val *lower, const struct quire_val *upper)
{
    struct pg_fences fences = { .lower = *lower, .has_upper = upper != NULL };
    struct pg_image *img;

    if (upper != NULL)
        fences.upper = *upper;
    img = work_begin(seg, cap, kind, level, &fences, 0, 0);
    if (img == NULL)
        return false;
    img->flags |= PG_IMAGE_WHOLE;
    return true;
}

/* Copy the records of `src`, which has no ghosts, and the garbage between them,
 * in one piece: the slots are the same but for where the records begin. */
static void copy_records(struct pg_image *img, const struct pg_image *src)
{
    const uint16_t *from = pg_slots(src);
    uint16_t *to = slots_mut(img);
    /* wraps, as adding it does */
    uint16_t shift = (uint16_t)((img->recs_off - src->recs_off) / PG_REC_ALIGN);
    unsigned i = 0;

    pg_copy(pg_at_mut(img, img->recs_off), pg_at(src, src->recs_off),
            src->used - src->recs_off);
    if (img->fps_off != 0)
        pg_copy(fps_mut(img), pg_fps(src), src->n);
    for (; i + 8 <= src->n; i += 8) {
        uint16_t eight __attribute__((vector_size(16)));

        memcpy(&eight, from + i, sizeof(eight));
        eight += shift;
        memcpy(to + i, &eight, sizeof(eight));
    }
    for (; i < src->n; i++)
        to[i] = (uint16_t)(from[i] + shift);
    img->head_skip = src->head_skip;
    pg_copy(heads_mut(img), pg_heads(src), src->n * sizeof(uint32_t));
    if (img->kind == PG_INNER) {
        for (i = 0; i < src->n; i++)
            child_carry(img, i, src, i);
        pg_pad_mut(img)->bytes = pg_pad_bytes(src);
    }
    if (src->ages_off != 0)
        pg_copy(ages_mut(img), pg_ages(src), src->n);
    else
        memset(ages_mut(img), 0, src->n);
    img->n = src->n;
    img->used += src->used - src->recs_off;
    img->garbage = src->garbage;
    img->ntomb = src->ntomb;
    img->tomb_bytes = src->tomb_bytes;
    img->nchanged = src->nchanged;
}

/* Append the ghosts of `src` from *off on whose keys are below that of `rec`
 * (NULL: all that are left), as tombstones. */
static void ghosts_append(struct pg_image *img, const struct pg_image *src,
                          uint32_t *off, const struct pg_rec *rec)
{
    struct pg_rec ghost;

    while (*off < src->ghost_bytes) {
        pg_rec_read(pg_at(src, src->used + *off), &ghost);
        if (rec != NULL && pg_cmp(ghost.suffix, ghost.suffix_len, rec->suffix,
                                  rec->suffix_len) > 0)
            return;
        work_append(img, PG_ENTRY_TOMB, NULL, 0, ghost.suffix, ghost.suffix_len,
                    NULL, 0, false);
        *off += ghost.size;
    }
}

bool pg_work_copy(const struct pg_image *src, void *seg, size_t cap)
{
    size_t recs_len = copy_recs(src);
    bool work = pg_is_work(src);
    bool labeled = (src->flags & PG_IMAGE_LABELED) != 0;
    bool moves = labeled && !work;         /* labels, into the records */
    bool aged = src->nchain == 0 && !work; /* all is in the whole page */
    uint32_t ghost = 0;
    struct pg_fences fences;
    struct pg_image *img;
    struct quire_val label = { NULL, 0 };
    struct pg_rec rec;

    QUIRE_ASSERT_SLOW(pg_check_image(src));
    pg_fences_of(src, &fences);
    img = work_begin(seg, cap, src->kind, src->level, &fences,
                     src->n + src->nghosts, recs_len);
    if (img == NULL)
        return false;
    img->flags |= src->flags &
                  (PG_IMAGE_WHOLE | PG_IMAGE_AGED | PG_IMAGE_LABELED);
    if (aged)
        img->flags |= PG_IMAGE_AGED;
    if (src->garbage == kept_garbage(src) && src->nghosts == 0 && !moves)
        copy_records(img, src);
    for (unsigned i = img->n; i < src->n; i++) {
        pg_rec_read(pg_rec_at(src, i), &rec);
        ghosts_append(img, src, &ghost, &rec);
        if (labeled)
            pg_image_label(src, i, &label);
        work_append_labeled(img, rec.entry, NULL, 0, rec.suffix, rec.suffix_len,
                            rec.val, rec.val_len, work && pg_is_changed(src, i),
                            &label);
        if (src->ages_off != 0)
            ages_mut(img)[img->n - 1] = pg_ages(src)[i];
        if (img->kind == PG_INNER)
            child_carry(img, img->n - 1, src, i);
    }
    ghosts_append(img, src, &ghost, NULL);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    return true;
}

/* A record's suffix under another prefix: the end of the old prefix, or
 * nothing, and the suffix or its end. */
struct resuffix {
    const uint8_t *s1;
    const uint8_t *s2;
    uint32_t s1_len;
    uint32_t s2_len;
};

static void resuffix(const struct pg_image *src, const struct pg_rec *rec,
                     uint32_t prefix_len, struct resuffix *s)
{
    uint32_t old = src->prefix_len;

    s->s1 = NULL;
    s->s1_len = 0;
    s->s2 = rec->suffix;
    s->s2_len = rec->suffix_len;
    if (prefix_len < old) {
        s->s1 = pg_at(src, src->lower_off) + prefix_len;
        s->s1_len = old - prefix_len;
    } else {
        QUIRE_ASSERT(prefix_len - old <= rec->suffix_len);
        s->s2 += prefix_len - old;
        s->s2_len -= prefix_len - old;
    }
}

/* Count the live records of slots from .. to-1 and their bytes under another
 * prefix. */
static void live_count(const struct pg_image *src, unsigned from, unsigned to,
                       uint32_t prefix_len, size_t *n, size_t *recs_len)
{
    bool labeled = (src->flags & PG_IMAGE_LABELED) != 0;
    struct quire_val label = { NULL, 0 };
    struct resuffix s;
    struct pg_rec rec;

    for (unsigned i = from; i < to; i++) {
        pg_rec_read(pg_rec_at(src, i), &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;
        resuffix(src, &rec, prefix_len, &s);
        if (labeled)
            pg_image_label(src, i, &label);
        *n += 1;
        *recs_len += pg_rec_bytes_labeled(s.s1_len + s.s2_len, rec.val_len,
                                          label.size);
    }
}

static void live_append(struct pg_image *img, const struct pg_image *src,
                        unsigned from, unsigned to)
{
    bool labeled = (src->flags & PG_IMAGE_LABELED) != 0;
    struct quire_val label = { NULL, 0 };
    struct resuffix s;
    struct pg_rec rec;

    for (unsigned i = from; i < to; i++) {
        pg_rec_read(pg_rec_at(src, i), &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;
        resuffix(src, &rec, img->prefix_len, &s);
        if (labeled)
            pg_image_label(src, i, &label);
        work_append_labeled(img, rec.entry, s.s1, s.s1_len, s.s2, s.s2_len,
                            rec.val, rec.val_len, true, &label);
        if (img->kind == PG_INNER)
            child_carry(img, img->n - 1, src, i);
    }
}

bool pg_work_slice(const struct pg_image *src, unsigned from, unsigned to,
                   const struct quire_val *lower, const struct quire_val *upper,
                   void *seg, size_t cap)
{
    struct pg_fences fences = { .lower = *lower, .has_upper = upper != NULL };
    struct pg_image *img;
    size_t n = 0;
    size_t recs_len = 0;

    QUIRE_ASSERT(from <= to && to <= src->n);
    if (upper != NULL)
        fences.upper = *upper;
    live_count(src, from, to, (uint32_t)pg_fences_prefix(&fences), &n,
               &recs_len);
    img = work_begin(seg, cap, src->kind, src->level, &fences, n, recs_len);
    if (img == NULL)
        return false;
    img->flags |= PG_IMAGE_WHOLE;
    live_append(img, src, from, to);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    return true;
}

bool pg_work_merge(const struct pg_image *left, const struct pg_image *right,
                   void *seg, size_t cap)
{
    struct pg_fences fences;
    struct pg_image *img;
    uint32_t prefix_len;
    size_t n = 0;
    size_t recs_len = 0;

    QUIRE_ASSERT(left->kind == right->kind && left->level == right->level);
    pg_image_lower(left, &fences.lower);
    fences.has_upper = pg_image_upper(right, &fences.upper);
    prefix_len = (uint32_t)pg_fences_prefix(&fences);
    live_count(left, 0, left->n, prefix_len, &n, &recs_len);
    live_count(right, 0, right->n, prefix_len, &n, &recs_len);
    img = work_begin(seg, cap, left->kind, left->level, &fences, n, recs_len);
    if (img == NULL)
        return false;
    img->flags |= PG_IMAGE_WHOLE;
    live_append(img, left, 0, left->n);
    live_append(img, right, 0, right->n);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    return true;
}

/* ---- changing ---- */

/* Make room for a slot at `i`; there is some. */
static inline __attribute__((always_inline)) void slot_insert(
    struct pg_image *img, unsigned i)
{
    uint32_t *heads = heads_mut(img);
    uint16_t *slots = slots_mut(img);
    uint8_t *ages = ages_mut(img);
    uint8_t *fps = fps_mut(img);
    size_t behind = img->n - i;

    memmove(heads + i + 1, heads + i, behind * sizeof(*heads));
    memmove(slots + i + 1, slots + i, behind * sizeof(*slots));
    memmove(ages + i + 1, ages + i, behind);
    if (fps != NULL)
        memmove(fps + i + 1, fps + i, behind);
    else
        memmove(pg_children(img) + i + 1, pg_children(img) + i,
                behind * sizeof(struct pg_child));
    ages[i] = PG_AGE_NEW;
    img->n++;
}

static void slot_remove(struct pg_image *img, unsigned i)
{
    uint32_t *heads = heads_mut(img);
    uint16_t *slots = slots_mut(img);
    uint8_t *ages = ages_mut(img);
    uint8_t *fps = fps_mut(img);
    size_t behind = img->n - i - 1;

    img->nchanged -= ages[i] & PG_AGE_CHANGED;
    memmove(heads + i, heads + i + 1, behind * sizeof(*heads));
    memmove(slots + i, slots + i + 1, behind * sizeof(*slots));
    memmove(ages + i, ages + i + 1, behind);
    if (fps != NULL)
        memmove(fps + i, fps + i + 1, behind);
    else
        memmove(pg_children(img) + i, pg_children(img) + i + 1,
                behind * sizeof(struct pg_child));
    img->n--;
    if (img->n <= pg_skip_from(img) && img->head_skip != 0)
        heads_skip(img, 0); /* there is none left that skips */
}

/* Slot `i` of an inner page has another reference, which is not counted yet. */
static void ref_changed(struct pg_image *img, unsigned i)
{
    struct pg_rec rec;

    pg_rec_read_bare(pg_rec_at(img, i), &rec);
    child_set(img, i, pg_ref_peek_id(rec.val));
    pg_pad_mut(img)->bytes += pg_rec_pad(&rec);
}

/* What both kinds of put do; inlined into them, so that the one without a label
 * has no trace of it. */
static inline __attribute__((always_inline)) bool put_record(
    struct pg_image *img, const struct quire_val *key,
    const struct quire_val *val, const struct quire_val *label,
    enum pg_entry entry, bool *existed)
{
    size_t label_len = label == NULL ? 0 : label->size;
    const uint8_t *suffix = key->data;
    size_t suffix_len = key->size - img->prefix_len;
    size_t size = pg_rec_bytes_labeled(suffix_len, val->size, label_len);
    bool found;
    bool live = false;
    unsigned i = pg_image_seek(img, key->data, key->size, &found);
    uint32_t off = img->used;
    uint32_t head;

    QUIRE_ASSERT(pg_is_work(img));
    QUIRE_ASSERT(entry != PG_ENTRY_TOMB);
    QUIRE_ASSERT(key->size >= img->prefix_len);
    if (img->prefix_len != 0)
        suffix += img->prefix_len;
    if (found) {
        struct pg_rec old;

        pg_rec_read(pg_rec_at(img, i), &old);
        if (size <= old.size)
            off = (uint32_t)slots_mut(img)[i] * PG_REC_ALIGN;
        else if (size > img->cap - img->used)
            return false;
        live = old.entry != PG_ENTRY_TOMB;
        if (!live) {
            img->ntomb--;
            img->tomb_bytes -= old.size;
        }
        if (img->kind == PG_INNER)
            pg_pad_mut(img)->bytes -= pg_rec_pad(&old);
        img->garbage += old.size;
        if (off != img->used)
            img->garbage -= (uint32_t)size;
    } else {
        if (img->n == img->slot_cap || size > img->cap - img->used)
            return false;
        head = head_of(img, suffix, suffix_len);
        slot_insert(img, i);
        heads_mut(img)[i] = head;
        if (img->fps_off != 0)
            fps_mut(img)[i] = pg_fp(suffix, suffix_len);
    }
    pg_rec_write(pg_at_mut(img, off), entry, NULL, 0, suffix, suffix_len,
                 val->data, val->size);
    if (label_len != 0) {
        pg_rec_add_label(pg_at_mut(img, off), label);
        img->flags |= PG_IMAGE_LABELED;
    }
    slots_mut(img)[i] = (uint16_t)(off / PG_REC_ALIGN);
    if (off == img->used)
        img->used += (uint32_t)size;
    if (img->kind == PG_INNER)
        ref_changed(img, i);
    mark_changed(img, i);
    if (existed != NULL)
        *existed = live;
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    return true;
}

bool pg_work_replaces(const struct pg_image *img, const struct quire_val *key,
                      size_t val_len)
{
    unsigned i = pg_image_find(img, key->data, key->size);
    struct pg_rec rec;

    if (i == img->n)
        return false;
    pg_rec_read(pg_rec_at(img, i), &rec);
    return rec.entry != PG_ENTRY_TOMB &&
           pg_rec_bytes(rec.suffix_len, val_len) <= rec.size;
}

bool pg_work_put(struct pg_image *img, const struct quire_val *key,
                 const struct quire_val *val, enum pg_entry entry,
                 bool *existed)
{
    return put_record(img, key, val, NULL, entry, existed);
}

bool pg_work_put_labeled(struct pg_image *img, const struct quire_val *key,
                         const struct quire_val *val,
                         const struct quire_val *label, enum pg_entry entry,
                         bool *existed)
{
    QUIRE_ASSERT(img->kind == PG_LEAF || label->size == 0);
    return put_record(img, key, val, label, entry, existed);
}

void pg_work_del(struct pg_image *img, unsigned i)
{
    struct pg_rec rec;
    size_t size;

    QUIRE_ASSERT(pg_is_work(img) && i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    QUIRE_ASSERT(rec.entry != PG_ENTRY_TOMB);
    if ((img->flags & PG_IMAGE_WHOLE) != 0) {
        img->garbage += rec.size;
        if (img->kind == PG_INNER)
            pg_pad_mut(img)->bytes -= pg_rec_pad(&rec);
        slot_remove(img, i);
        return;
    }
    if (img->kind == PG_INNER) {
        pg_pad_mut(img)->bytes -= pg_rec_pad(&rec);
        child_set(img, i, PG_ID_NONE);
    }
    size = pg_rec_write(
        pg_at_mut(img, (uint32_t)slots_mut(img)[i] * PG_REC_ALIGN),
        PG_ENTRY_TOMB, NULL, 0, rec.suffix, rec.suffix_len, NULL, 0);
    img->garbage += rec.size - (uint32_t)size;
    img->tomb_bytes += (uint32_t)size;
    img->ntomb++;
    mark_changed(img, i);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
}

unsigned pg_work_next_changed(const struct pg_image *img, unsigned i)
{
    QUIRE_ASSERT(pg_is_work(img));
    return pg_next_changed(img, i);
}

pg_hint *pg_work_hint(struct pg_image *img, unsigned i)
{
    QUIRE_ASSERT(pg_is_work(img) && img->kind == PG_INNER && i < img->n);
    return &pg_children(img)[i].hint;
}

void pg_work_child_seen(struct pg_image *img, unsigned i, uint32_t hint,
                        const struct pg_image *at)
{
    atomic_store_explicit(pg_work_hint(img, i), hint, memory_order_relaxed);
    pg_child_seen(img, &pg_children(img)[i], at);
}

void pg_work_set(struct pg_image *img, unsigned i, const void *val, size_t len,
                 bool change)
{
    struct pg_rec rec;
    uint8_t *to;

    QUIRE_ASSERT(pg_is_work(img) && i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    QUIRE_ASSERT(rec.entry != PG_ENTRY_TOMB);
    QUIRE_ASSERT(len <= rec.val_len);
    to = pg_at_mut(img, (uint32_t)(rec.val - (const uint8_t *)img));
    if (img->kind == PG_INNER)
        pg_pad_mut(img)->bytes -= pg_rec_pad(&rec);
    pg_copy(to, val, len);
    memset(to + len, 0, rec.val_len - len);
    if (img->kind == PG_INNER)
        ref_changed(img, i);
    if (change)
        mark_changed(img, i);
}

/* ---- committing ---- */

bool pg_work_settle(struct pg_image *img, const struct pg_ref *ref,
                    const uint64_t *sums)
{
    size_t sums_off = ra_round_up(img->used, sizeof(uint64_t));
    unsigned from = pg_skip_from(img);

    QUIRE_ASSERT(pg_is_work(img));
    QUIRE_ASSERT(ref->kind == img->kind && ref->level == img->level);
    if (img->ntomb != 0 || (img->flags & PG_IMAGE_LABELED) != 0 ||
        sums_off + ref->nchain * sizeof(uint64_t) > img->cap)
        return false;
    if (img->head_skip == 0 && img->n >= from + 2) {
        struct pg_rec first, last;
        size_t skip;

        pg_rec_read(pg_rec_at(img, from), &first);
        pg_rec_read(pg_rec_at(img, img->n - 1), &last);
        skip = pg_common(first.suffix, first.suffix_len, last.suffix,
                         last.suffix_len);
        if (skip != 0)
            heads_skip(img, skip);
    }
    img->flags &= PG_IMAGE_UPPER_INF;
    img->flags |= PG_IMAGE_SETTLED;
    if (ref->fenced) {
        img->flags |= PG_IMAGE_AGED;
        pg_ages_commit(img, ref, ages_mut(img));
    } else {
        img->ages_off = 0;
    }
    pg_copy(pg_at_mut(img, (uint32_t)sums_off), sums,
            ref->nchain * sizeof(uint64_t));
    img->sums_off = (uint32_t)sums_off;
    img->nchain = ref->nchain;
    img->nchanged = 0;
    img->birth = ref->birth;
    img->id = ref->id;
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    return true;
}

/* ---- splitting ---- */

unsigned pg_work_split_point(const struct pg_image *img, size_t page_bytes,
                             bool ascending)
{
    uint32_t nlive = img->n - img->ntomb;
    uint32_t live = pg_live_bytes(img);
    size_t slot = img->kind == PG_INNER ? PG_INNER_SLOT : PG_LEAF_SLOT;
    size_t total = live + nlive * slot;
    size_t left = 0;  /* bytes of the records before `i` */
    size_t nleft = 0; /* live records before `i` */
    size_t best_diff = SIZE_MAX;
    unsigned best = 1;
    struct pg_layout lay;
    struct pg_rec rec;

    QUIRE_ASSERT(img->n >= 2);
    for (unsigned i = 0; i < img->n && nleft < nlive; i++) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;    /* an inner page's half begins with a child */
        if (nleft > 0) { /* both halves have a record */
            size_t part = left + nleft * slot;
            size_t diff = part < total - part ? total - 2 * part
                                              : 2 * part - total;

            if (ascending) {
                size_t key_len = (size_t)img->prefix_len + rec.suffix_len;

                /* the separator is not longer than this key */
                diff = pg_layout_of(img->kind, 0, img->lower_len, key_len,
                                    nleft, &lay) +
                       left;
                if (diff > page_bytes && best_diff != SIZE_MAX)
                    break;
                best = i;
                best_diff = diff;
            } else if (diff < best_diff) {
                best = i;
                best_diff = diff;
            }
        }
        left += rec.size;
        nleft++;
    }
    return best;
}

size_t pg_work_separator(const struct pg_image *img, unsigned at, void *buf)
{
    struct pg_key before, key;
    size_t len;

    QUIRE_ASSERT(at > 0 && at < img->n);
    if (img->kind == PG_INNER)
        return pg_image_key_copy(img, at, buf);
    pg_image_key(img, at - 1, &before);
    pg_image_key(img, at, &key);
    len = pg_common(before.suffix, before.suffix_len, key.suffix,
                    key.suffix_len) +
          1;
    QUIRE_ASSERT(len <= key.suffix_len);
    pg_copy(buf, key.prefix, key.prefix_len);
    memcpy((uint8_t *)buf + key.prefix_len, key.suffix, len);
    return key.prefix_len + len;
}
