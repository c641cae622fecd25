/*
 * label.c - labels: a short byte string of the application's beside a record.
 *
 * In fragments and in working images a label stands in its record, behind the
 * value, and the control byte says so. So whatever is done with records, writing
 * a delta of them, rescuing, splitting, merging, copying them for a savepoint,
 * is done with their labels too, and they count when a page is measured.
 *
 * A committed leaf has them elsewhere: look-ups and scans, which rarely ask for
 * labels, would read past them. They lie in a second segment, the label memory,
 * which only a leaf with labels owns. Its address is the last eight bytes before
 * the image's records:
 *
 *     image    header | fences ... heads | sums | ages | labels* | records
 *                                                          |
 *     label    magic n len nlabels | u32 off[n] | len label | len label | ...
 *     memory                            '--------^
 *
 * Whoever gives an image back gives its label memory back (pg_image_labels()),
 * and the page's reference says how long it is (label_len), so that a load
 * reserves both at once.
 */
#include "pages/pg_impl.h"

#define LABELS_PTR 8u /* bytes before the records */

static_assert(sizeof(void *) <= LABELS_PTR, "the address fits");
static_assert(sizeof(struct pg_labels) == 16, "what PG_LABEL_ROOM() leaves out "
                                              "is known");
static_assert(QUIRE_LABEL_MAX <= UINT8_MAX, "a length is one byte");

/* ---- records ---- */

size_t pg_rec_add_label(uint8_t *to, const struct quire_val *label)
{
    struct pg_rec rec;
    uint8_t *p;
    size_t end, size;

    QUIRE_ASSERT((*to & (PG_REC_LABEL | PG_ENTRY_TOMB)) == 0);
    QUIRE_ASSERT(label->size > 0 && label->size <= QUIRE_LABEL_MAX);
    pg_rec_read_bare(to, &rec);
    p = to + (rec.val - to) + rec.val_len;
    *to |= PG_REC_LABEL;
    *p++ = (uint8_t)label->size;
    memcpy(p, label->data, label->size);
    end = (size_t)(p - to) + label->size;
    size = ra_round_up(end, PG_REC_ALIGN);
    memset(to + end, 0, size - end);
    return size;
}

size_t pg_rec_parse_labeled(const uint8_t *p, size_t avail, struct pg_rec *rec)
{
    uint64_t slen, vlen;
    size_t off = 1, n, end, size;

    if ((p[0] & PG_REC_LABEL) == 0 ||
        (p[0] & ~PG_REC_LABEL) > PG_ENTRY_OVERFLOW ||
        (p[0] & PG_REC_ENTRY) == PG_ENTRY_TOMB)
        return 0;
    n = pg_varint_decode(p + off, avail - off, &slen);
    off += n;
    if (n == 0 || slen > avail)
        return 0;
    n = pg_varint_decode(p + off, avail - off, &vlen);
    off += n;
    if (n == 0 || vlen > avail)
        return 0;
    end = off + slen + vlen;
    if (end >= avail || p[end] == 0)
        return 0;
    end += 1 + (size_t)p[end];
    size = ra_round_up(end, PG_REC_ALIGN);
    if (size > avail || !pg_zero(p + end, size - end))
        return 0;
    rec->start = p;
    rec->entry = (enum pg_entry)(p[0] & PG_REC_ENTRY);
    rec->suffix_len = (uint32_t)slen;
    rec->val_len = (uint32_t)vlen;
    rec->suffix = p + off;
    rec->val = p + off + slen;
    rec->size = (uint32_t)size;
    return size;
}

/* ---- label memories ---- */

static bool owns_labels(const struct pg_image *img)
{
    return (img->flags & (PG_IMAGE_LABELED | PG_IMAGE_WORK)) ==
           PG_IMAGE_LABELED;
}

void *pg_image_labels(const struct pg_image *img)
{
    void *labels = NULL;

    if (owns_labels(img))
        memcpy(&labels, pg_at(img, img->recs_off - LABELS_PTR), sizeof(labels));
    return labels;
}

void pg_labels_begin(struct pg_image *img, unsigned n, void *seg)
{
    struct pg_labels *labels = seg;

    QUIRE_ASSERT(owns_labels(img) && img->n == n);
    memset(labels, 0, sizeof(*labels) + n * sizeof(labels->off[0]));
    labels->magic = PG_LABELS_MAGIC;
    labels->n = n;
    labels->len = (uint32_t)(sizeof(*labels) + n * sizeof(labels->off[0]));
    memcpy(pg_at_mut(img, img->recs_off - LABELS_PTR), &seg, sizeof(seg));
}

void pg_labels_add(const struct pg_image *img, unsigned i,
                   const struct quire_val *label)
{
    struct pg_labels *labels = pg_image_labels(img);
    uint8_t *p = (uint8_t *)labels + labels->len;

    QUIRE_ASSERT(i < labels->n && label->size > 0);
    *p = (uint8_t)label->size;
    memcpy(p + 1, label->data, label->size);
    labels->off[i] = labels->len;
    labels->len += 1 + (uint32_t)label->size;
    labels->nlabels++;
}

void pg_image_label(const struct pg_image *img, unsigned i,
                    struct quire_val *label)
{
    const struct pg_labels *labels;
    const uint8_t *p;
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->n);
    label->data = NULL;
    label->size = 0;
    if ((img->flags & PG_IMAGE_LABELED) == 0)
        return;
    if (pg_is_work(img)) {
        pg_rec_read_bare(pg_rec_at(img, i), &rec);
        pg_rec_label(&rec, label);
        return;
    }
    labels = pg_image_labels(img);
    if (labels->off[i] == 0)
        return;
    p = (const uint8_t *)labels + labels->off[i];
    label->data = p + 1;
    label->size = *p;
}

size_t pg_label_bytes(const struct pg_image *img)
{
    const struct pg_labels *labels = pg_image_labels(img);
    size_t nlabels = 0;
    size_t bytes = 0;
    struct quire_val label;

    if (labels != NULL)
        return labels->len;
    if ((img->flags & PG_IMAGE_LABELED) == 0)
        return 0;
    for (unsigned i = 0; i < img->n; i++) {
        pg_image_label(img, i, &label);
        nlabels += label.size != 0;
        bytes += label.size;
    }
    return pg_labels_bytes(img->n - img->ntomb, nlabels, bytes);
}

bool pg_image_compact_labeled(const struct pg_image *img,
                              const struct pg_ref *ref, const uint64_t *sums,
                              void *seg, size_t cap, void *labels)
{
    size_t ghosts = pg_ghost_bytes(img, ref->step);
    struct pg_fences fences;
    struct pg_build b;
    struct pg_rec rec;
    struct quire_val label;
    uint32_t off;

    if (ref->label_len == 0)
        return pg_image_compact(img, ref, sums, seg, cap);
    QUIRE_ASSERT(ref->label_len == pg_label_bytes(img));
    QUIRE_ASSERT(ref->kind == img->kind && img->kind == PG_LEAF);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    pg_fences_of(img, &fences);
    if (!pg_build_begin(&b, ref, sums, &fences, img->n - img->ntomb,
                        pg_bare_bytes(img), ghosts, seg, cap))
        return false;
    pg_labels_begin(b.img, b.img->n, labels);
    off = b.img->recs_off;
    for (unsigned i = 0; i < img->n; i++) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;
        pg_image_label(img, i, &label);
        if (label.size != 0)
            pg_labels_add(b.img, b.n, &label);
        pg_build_slot(&b, off, &rec);
        off += (uint32_t)pg_rec_write(pg_at_mut(b.img, off), rec.entry,
                                      rec.suffix, rec.suffix_len, NULL, 0,
                                      rec.val, rec.val_len);
    }
    QUIRE_ASSERT(off == b.img->used && b.n == b.img->n);
    if (b.ages != NULL)
        pg_ages_commit(img, ref, b.ages);
    if (ghosts != 0)
        pg_build_ghosts(img, &b);
    pg_build_end(&b);
    return true;
}

bool pg_check_labels(const struct pg_image *img)
{
    const struct pg_labels *labels = pg_image_labels(img);
    size_t end = sizeof(*labels) + img->n * sizeof(labels->off[0]);
    uint32_t nlabels = 0;

    if (labels == NULL)
        return true;
    if (img->kind != PG_LEAF || labels->magic != PG_LABELS_MAGIC ||
        labels->n != img->n || labels->len > QUIRE_SEG_MAX)
        return false;
    for (unsigned i = 0; i < img->n; i++) {
        if (labels->off[i] == 0)
            continue;
        if (labels->off[i] != end || end >= labels->len ||
            ((const uint8_t *)labels)[end] == 0)
            return false;
        end += 1u + ((const uint8_t *)labels)[end];
        nlabels++;
    }
    return end == labels->len && nlabels != 0 && nlabels == labels->nlabels;
}
