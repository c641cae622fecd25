/*
 * check.c - every invariant of an image, one after the other (PG-1 to PG-8, PG-14
 * to PG-17 and the count of PG-18 in README.md).
 *
 * It believes nothing but the address and `cap`: the bounds are established
 * before anything inside them is read, so that tests may run it over images
 * built from damaged bytes.
 */
#include "pages/pg_impl.h"

#define AGE_NONE 0x0cu /* bits of an age that mean nothing */

/* Does a part of `nbytes` at `off` follow `*end`? Moves `*end` behind it. */
static bool part_ok(size_t off, size_t nbytes, size_t align, size_t *end)
{
    if (off % align != 0 || off < *end)
        return false;
    *end = off + nbytes;
    return true;
}

/* PG-17: the checksums of a settled image are behind its records. */
static bool settled_sums_ok(const struct pg_image *img)
{
    return img->sums_off == ra_round_up(img->used, sizeof(uint64_t)) &&
           img->sums_off + img->nchain * sizeof(uint64_t) <= img->cap;
}

/* PG-6: the parts lie one behind the other, aligned, inside `cap`; those of a
 * committed image exactly where they must. */
static bool parts_ok(const struct pg_image *img)
{
    size_t end = sizeof(*img);
    bool leaf = img->kind == PG_LEAF;
    bool aged = pg_is_work(img) || (img->flags & PG_IMAGE_AGED) != 0;
    struct pg_layout lay;

    if (img->cap > PG_IMAGE_MAX || img->used > img->cap ||
        img->recs_off > img->used || img->slot_cap > img->cap ||
        img->lower_len > img->cap || img->upper_len > img->cap ||
        img->n > img->slot_cap || img->nchain > PG_CHAIN_MAX ||
        img->ghost_bytes > img->cap - img->used)
        return false;
    if (!pg_is_work(img) && !pg_is_settled(img)) {
        pg_layout_flags(img->kind, img->nchain, img->flags, img->lower_len,
                        img->upper_len, img->n, &lay);
        return img->sums_off == lay.sums && img->lower_off == lay.lower &&
               img->upper_off == lay.upper && img->heads_off == lay.heads &&
               img->children_off == lay.children &&
               img->slots_off == lay.slots && img->fps_off == lay.fps &&
               img->recs_off == lay.recs && img->ages_off == lay.ages;
    }
    if (!leaf)
        end += sizeof(struct pg_pad);
    return (img->nchain == 0 || pg_is_settled(img)) &&
           (img->children_off != 0) == !leaf && img->nghosts == 0 &&
           img->ghost_bytes == 0 && (img->fps_off != 0) == leaf &&
           part_ok(img->lower_off, img->lower_len, 1, &end) &&
           part_ok(img->upper_off, img->upper_len, 1, &end) &&
           (!leaf || part_ok(img->fps_off, img->slot_cap, 1, &end)) &&
           part_ok(img->slots_off, img->slot_cap * 2u, 2, &end) &&
           part_ok(img->heads_off, img->slot_cap * 4u, 4, &end) &&
           (leaf ||
            part_ok(img->children_off, img->slot_cap * sizeof(struct pg_child),
                    8, &end)) &&
           (!aged || part_ok(img->ages_off, img->slot_cap, 1, &end)) &&
           part_ok(img->recs_off, 0, PG_REC_ALIGN, &end) &&
           (!pg_is_settled(img) || settled_sums_ok(img));
}

/* PG-2: the fences are in order and the prefix is theirs. */
static bool fences_ok(const struct pg_image *img)
{
    struct pg_fences f;

    pg_fences_of(img, &f);
    if (!f.has_upper && img->upper_len != 0)
        return false;
    if (f.has_upper &&
        pg_cmp(f.lower.data, f.lower.size, f.upper.data, f.upper.size) >= 0)
        return false;
    return img->prefix_len == pg_fences_prefix(&f);
}

/* PG-5, PG-7: the value can be what its page says it is. */
static bool value_ok(const struct pg_image *img, const struct pg_rec *rec)
{
    struct quire_val val = { rec->val, rec->val_len };
    struct pg_large large;
    struct pg_ref ref;
    size_t used;

    switch (rec->entry) {
    case PG_ENTRY_TOMB:
        return pg_is_work(img) && rec->val_len == 0;
    case PG_ENTRY_OVERFLOW:
        return img->kind == PG_LEAF &&
               pg_large_decode(&val, &large) == QUIRE_OK &&
               (pg_is_work(img) || !large.ref.intent);
    default:
        break;
    }
    if (img->kind == PG_LEAF)
        return true;
    if (pg_ref_parse(rec->val, rec->val_len, &ref, &used) != QUIRE_OK ||
        (ref.id == PG_ID_NONE && !ref.intent) || ref.level + 1 != img->level ||
        ref.kind != (img->level == 1 ? PG_LEAF : PG_INNER))
        return false;
    if (ref.intent && !pg_is_work(img))
        return false;
    if (pg_is_work(img) || pg_is_settled(img))
        return pg_zero(rec->val + used, rec->val_len - used);
    return used == rec->val_len;
}

/* PG-14: the age names a fragment of the chain, and what the whole page lacks
 * is not in it. */
static bool age_ok(const struct pg_image *img, unsigned i)
{
    unsigned age = pg_age(img, i);
    unsigned bits = pg_ages(img)[i] & (AGE_NONE | PG_AGE_CHANGED);

    return bits == 0 && age <= img->nchain &&
           ((pg_ages(img)[i] & PG_AGE_NEW) == 0 || age < img->nchain);
}

/* PG-4: the head of slot `i` is that of its record. */
static bool head_ok(const struct pg_image *img, unsigned i,
                    const struct pg_rec *rec)
{
    uint32_t skip = img->head_skip;

    if (skip != 0 && i < pg_skip_from(img))
        return pg_heads(img)[i] == 0;
    return skip <= rec->suffix_len &&
           pg_heads(img)[i] ==
               pg_head(rec->suffix + skip, rec->suffix_len - skip);
}

/* PG-4: heads skip what they can. Records are good. */
static bool skip_ok(const struct pg_image *img)
{
    unsigned from = pg_skip_from(img);
    struct pg_rec first, last;

    bool exact = !pg_is_work(img) && !pg_is_settled(img);
    size_t most;

    if (img->n <= from || (exact && img->n < from + 2))
        return img->head_skip == 0;
    pg_rec_read(pg_rec_at(img, from), &first);
    pg_rec_read(pg_rec_at(img, img->n - 1), &last);
    most = pg_common(first.suffix, first.suffix_len, last.suffix,
                     last.suffix_len);
    return exact ? img->head_skip == most : img->head_skip <= most;
}

/* PG-1, PG-3, PG-4: records are good, in order, between the fences, and their
 * heads are theirs; the counts are right. */
static bool slots_ok(const struct pg_image *img)
{
    bool work = pg_is_work(img);
    uint64_t recs_len = 0;
    uint32_t ntomb = 0;
    uint32_t nchanged = 0;
    uint32_t tomb_bytes = 0;
    uint32_t pad_bytes = 0;
    struct pg_rec rec;
    struct pg_rec before = { 0 };
    struct pg_fences f;

    pg_fences_of(img, &f);
    for (unsigned i = 0; i < img->n; i++) {
        uint32_t off = (uint32_t)pg_slots(img)[i] * PG_REC_ALIGN;

        if (off < img->recs_off || off >= img->used ||
            pg_rec_parse(pg_at(img, off), img->used - off, &rec) == 0)
            return false;
        if (!work && !pg_is_settled(img) && off != img->recs_off + recs_len)
            return false;
        if ((*rec.start & PG_REC_LABEL) != 0 &&
            (!work || img->kind != PG_LEAF ||
             (img->flags & PG_IMAGE_LABELED) == 0))
            return false;
        if (!head_ok(img, i, &rec))
            return false;
        if (img->fps_off != 0 &&
            pg_fps(img)[i] != pg_fp(rec.suffix, rec.suffix_len))
            return false;
        if (i > 0 && pg_cmp(before.suffix, before.suffix_len, rec.suffix,
                            rec.suffix_len) >= 0)
            return false;
        if (pg_image_key_cmp(img, i, f.lower.data, f.lower.size) < 0)
            return false;
        if (f.has_upper &&
            pg_image_key_cmp(img, i, f.upper.data, f.upper.size) >= 0)
            return false;
        if (!value_ok(img, &rec))
            return false;
        if (img->kind == PG_INNER) {
            pg_id id = rec.entry == PG_ENTRY_TOMB ? PG_ID_NONE
                                                  : pg_ref_peek_id(rec.val);

            if (pg_children(img)[i].id != id)
                return false;
            pad_bytes += pg_rec_pad(&rec);
        }
        if (work) {
            if ((pg_ages(img)[i] & AGE_NONE) != 0)
                return false;
            nchanged += pg_is_changed(img, i);
        } else if (img->ages_off != 0 && !age_ok(img, i)) {
            return false;
        }
        if (rec.entry == PG_ENTRY_TOMB) {
            ntomb++;
            tomb_bytes += rec.size;
        }
        recs_len += rec.size;
        before = rec;
    }
    return skip_ok(img) && ntomb == img->ntomb && nchanged == img->nchanged &&
           tomb_bytes == img->tomb_bytes && pad_bytes == pg_pad_bytes(img) &&
           recs_len + img->garbage == img->used - img->recs_off;
}

/* PG-15: tombstones in key order, none of a key that is there. */
static bool ghosts_ok(const struct pg_image *img)
{
    struct pg_rec before = { 0 };
    struct pg_rec rec;
    uint32_t off = 0;
    bool found = false;

    for (uint32_t i = 0; i < img->nghosts; i++) {
        struct pg_key key;
        uint8_t buf[QUIRE_PAGE_MAX / 8];

        if (off >= img->ghost_bytes ||
            pg_rec_parse(pg_at(img, img->used + off), img->ghost_bytes - off,
                         &rec) == 0 ||
            rec.entry != PG_ENTRY_TOMB || rec.val_len != 0 ||
            img->prefix_len + rec.suffix_len > sizeof(buf))
            return false;
        if (i > 0 && pg_cmp(before.suffix, before.suffix_len, rec.suffix,
                            rec.suffix_len) >= 0)
            return false;
        key.prefix = pg_at(img, img->lower_off);
        pg_copy(buf, key.prefix, img->prefix_len);
        pg_copy(buf + img->prefix_len, rec.suffix, rec.suffix_len);
        (void)pg_image_seek(img, buf, img->prefix_len + rec.suffix_len, &found);
        if (found)
            return false;
        before = rec;
        off += rec.size;
    }
    return off == img->ghost_bytes;
}

/* PG-7 */
static bool first_ok(const struct pg_image *img)
{
    struct pg_fences f;

    if (img->kind == PG_LEAF)
        return true;
    pg_fences_of(img, &f);
    return img->n > 0 &&
           pg_image_key_cmp(img, 0, f.lower.data, f.lower.size) == 0;
}

bool pg_check_image(const struct pg_image *img)
{
    if (img->magic != PG_IMAGE_MAGIC ||
        !pg_kind_level_ok(img->kind, img->level))
        return false;
    if (!pg_kind_slotted(img->kind))
        return img->recs_off == sizeof(*img) && img->recs_off <= img->used &&
               img->used <= img->cap && img->cap <= PG_IMAGE_MAX &&
               img->n == 0 && img->flags == PG_IMAGE_UPPER_INF;
    if (!parts_ok(img) || !fences_ok(img) || !slots_ok(img))
        return false;
    if (pg_is_work(img))
        return !pg_is_settled(img);
    if (pg_is_settled(img)) /* PG-17 */
        return img->ntomb == 0 && first_ok(img) &&
               (img->ages_off != 0) == ((img->flags & PG_IMAGE_AGED) != 0) &&
               (img->flags &
                ~(PG_IMAGE_UPPER_INF | PG_IMAGE_AGED | PG_IMAGE_SETTLED)) == 0;

    /* PG-8: a committed image has nothing that it could do without. */
    if (img->slot_cap != img->n || img->garbage != 0 || img->ntomb != 0 ||
        (img->flags &
         ~(PG_IMAGE_UPPER_INF | PG_IMAGE_AGED | PG_IMAGE_LABELED)) != 0 ||
        !ghosts_ok(img) || !pg_check_labels(img))
        return false;
    return first_ok(img);
}
