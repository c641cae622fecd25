/*
 * body.c - the entries of a page as one string of bytes: what leaf and inner
 * fragments carry.
 *
 *     0   u32 nentries
 *     4   u16 prefix_len
 *     6   u16 lower_len    0 in a delta without fences
 *     8   u16 upper_len    0xFFFF: no upper fence, or such a delta
 *     10  u8  level
 *     11  u8  flags        0
 *     12  u32 recs_len     bytes, a multiple of 4
 *     16  lower fence, upper fence, zeros to a multiple of 4
 *         records in key order, without gaps
 *
 * Records are as in images, so that a whole body is copied in one piece and
 * only walked. A delta's suffixes are cut by its base's prefix: fences change
 * in whole fragments only. A fenced delta repeats them, so that it may become
 * the last of its chain.
 */
#include "pages/pg_impl.h"

static_assert(QUIRE_PAGE_MAX / 8 < PG_BODY_NO_UPPER, "fences are keys");

/* The first slot from `i` on whose record is written; img->n: none. Tombstones
 * are in deltas only. */
static inline unsigned next_selected(const struct pg_image *img, unsigned i,
                                     enum pg_form form)
{
    if (form != PG_FORM_WHOLE)
        return pg_next_changed(img, i);
    while (img->ntomb != 0 && i < img->n && pg_is_tomb(img, i))
        i++;
    return i;
}

size_t pg_body_bound(const struct pg_image *img, enum pg_form form)
{
    size_t len = PG_BODY_HEADER;
    struct pg_rec rec;

    QUIRE_ASSERT(form == PG_FORM_WHOLE || pg_is_work(img));
    if (form != PG_FORM_DELTA)
        len = ra_round_up(len + img->lower_len + img->upper_len, PG_REC_ALIGN);
    if (form == PG_FORM_WHOLE)
        return len + pg_live_bytes(img) +
               (pg_is_work(img) ? 0 : pg_label_bytes(img));
    for (unsigned i = next_selected(img, 0, form); i < img->n;
         i = next_selected(img, i + 1, form)) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        len += rec.size;
    }
    return len;
}

size_t pg_body_encode(const struct pg_image *img, enum pg_form form, void *buf,
                      size_t cap, uint32_t *nentries)
{
    bool delta = form == PG_FORM_DELTA;
    uint8_t *p = buf;
    size_t lower_len = delta ? 0 : img->lower_len;
    size_t upper_len = delta ? 0 : img->upper_len;
    bool no_upper = delta || (img->flags & PG_IMAGE_UPPER_INF) != 0;
    size_t recs, size, end = PG_BODY_HEADER + lower_len + upper_len;
    struct quire_val label = { NULL, 0 };
    bool labeled = (img->flags & PG_IMAGE_LABELED) != 0;
    uint32_t n = 0;
    struct pg_rec rec;

    QUIRE_ASSERT(form == PG_FORM_WHOLE || pg_is_work(img));
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    recs = ra_round_up(end, PG_REC_ALIGN);
    if (recs > cap)
        return 0;
    pg_copy(p + PG_BODY_HEADER, pg_at(img, img->lower_off), lower_len);
    pg_copy(p + PG_BODY_HEADER + lower_len, pg_at(img, img->upper_off),
            upper_len);
    for (; end < recs; end++)
        p[end] = 0;
    for (unsigned i = next_selected(img, 0, form); i < img->n;
         i = next_selected(img, i + 1, form)) {
        pg_rec_trim(img, i, &rec);
        if (QUIRE_UNLIKELY(labeled)) {
            pg_image_label(img, i, &label);
            rec.size = (uint32_t)pg_rec_bytes_labeled(rec.suffix_len,
                                                      rec.val_len, label.size);
        }
        if (rec.size > cap - end)
            return 0;
        size = pg_rec_write(p + end, rec.entry, NULL, 0, rec.suffix,
                            rec.suffix_len, rec.val, rec.val_len);
        if (QUIRE_UNLIKELY(label.size != 0))
            size = pg_rec_add_label(p + end, &label);
        end += size;
        n++;
    }
    ra_put_le32(p, n);
    ra_put_le16(p + 4, (uint16_t)img->prefix_len);
    ra_put_le16(p + 6, (uint16_t)lower_len);
    ra_put_le16(p + 8, no_upper ? PG_BODY_NO_UPPER : (uint16_t)upper_len);
    p[10] = img->level;
    p[11] = 0;
    ra_put_le32(p + 12, (uint32_t)(end - recs));
    *nentries = n;
    return end;
}
