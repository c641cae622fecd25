/*
 * image.c - a page in memory: layout, search, building the committed form.
 *
 * An image is one segment, the same for leaves and inner pages:
 *
 *   +--------+------+--------+-------+-------+-------+-------+---------------+
 *   | header | sums | fences | heads | hints | slots | ages  | records       |
 *   |        | u64  | bytes  | u32   | u32   | u16   | u8    | (pg_impl.h)   |
 *   +--------+------+--------+-------+-------+-------+-------+---------------+
 *
 * A committed image has exact arrays and its records in key order; it has sums
 * (of the fragments below the newest, which the next delta must name), hints
 * (inner pages), no ages. A working image has ages, no sums and hints, slack in
 * the arrays, and its records in any order with garbage between them.
 *
 * All keys of a page begin with the common prefix of its fences, which is
 * stored once, in the lower fence. What follows is the suffix; its first four
 * bytes are the head. A search compares the prefix once, then bisects the heads
 * (a dense array of integers, without a branch to mispredict), and looks at
 * records only where heads are equal. With well-spread keys that is one record.
 *
 * Traps: a short suffix is zero padded in its head, so "a" and "a\0" have equal
 * heads; only full suffixes settle that. A page without an upper fence has no
 * prefix. Tombstones are slots like others.
 */
#include "pages/pg_impl.h"

static_assert(sizeof(struct pg_image) % 8 == 0, "sums follow the header");
static_assert(PG_IMAGE_MAX / PG_REC_ALIGN <= 65536, "slots are 16 bits");
static_assert(sizeof(pg_hint) == 4, "a hint has the size of its integer");

size_t pg_rec_write(uint8_t *to, enum pg_entry entry, const void *s1,
                    size_t s1_len, const void *s2, size_t s2_len,
                    const void *val, size_t val_len)
{
    uint8_t *p = to;
    size_t pad;

    *p++ = (uint8_t)entry;
    p += pg_varint_encode(p, s1_len + s2_len);
    p += pg_varint_encode(p, val_len);
    pg_copy(p, s1, s1_len);
    p += s1_len;
    if (s2_len != 0)
        memmove(p, s2, s2_len);
    p += s2_len;
    if (val_len != 0)
        memmove(p, val, val_len);
    p += val_len;
    pad = ra_round_up((size_t)(p - to), PG_REC_ALIGN) - (size_t)(p - to);
    if (pad != 0)
        memset(p, 0, pad);
    return (size_t)(p - to) + pad;
}

/* ---- reading ---- */

void pg_image_key(const struct pg_image *img, unsigned i, struct pg_key *key)
{
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    key->prefix = pg_at(img, img->lower_off);
    key->prefix_len = img->prefix_len;
    key->suffix = rec.suffix;
    key->suffix_len = rec.suffix_len;
}

size_t pg_image_key_copy(const struct pg_image *img, unsigned i, void *buf)
{
    struct pg_key key;

    pg_image_key(img, i, &key);
    pg_copy(buf, key.prefix, key.prefix_len);
    pg_copy((uint8_t *)buf + key.prefix_len, key.suffix, key.suffix_len);
    return (size_t)key.prefix_len + key.suffix_len;
}

enum pg_entry pg_image_value(const struct pg_image *img, unsigned i,
                             struct quire_val *val)
{
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    val->data = rec.val;
    val->size = rec.val_len;
    return rec.entry;
}

/* The first of `n` ascending heads that is >= `head`. The step is an AND with
 * an all-ones or all-zeros mask, so that no branch depends on the data. */
static unsigned heads_seek(const uint32_t *heads, unsigned n, uint32_t head)
{
    const uint32_t *base = heads;

    if (n == 0)
        return 0;
    while (n > 1) {
        unsigned half = n / 2;

        base += half & (0u - (unsigned)(base[half - 1] < head));
        n -= half;
    }
    return (unsigned)(base - heads) + (*base < head);
}

/* Compare the suffix of slot `i` with a suffix. */
static int suffix_cmp(const struct pg_image *img, unsigned i,
                      const uint8_t *suffix, size_t len)
{
    struct pg_rec rec;

    pg_rec_read(pg_rec_at(img, i), &rec);
    return pg_cmp(rec.suffix, rec.suffix_len, suffix, len);
}

unsigned pg_image_seek(const struct pg_image *img, const void *key, size_t len,
                       bool *found)
{
    const uint32_t *heads = pg_heads(img);
    const uint8_t *suffix = key;
    uint32_t head;
    unsigned lo, hi;
    int c;

    *found = false;
    if (img->prefix_len != 0) {
        c = pg_cmp(key, ra_min_u64(len, img->prefix_len),
                   pg_at(img, img->lower_off), img->prefix_len);
        if (c != 0)
            return c < 0 ? 0 : img->n;
        suffix += img->prefix_len;
        len -= img->prefix_len;
    }
    head = pg_head(suffix, len);
    lo = heads_seek(heads, img->n, head);
    if (lo == img->n || heads[lo] != head)
        return lo;

    /* Equal heads. Mostly there is one, and then it is decided here. */
    c = suffix_cmp(img, lo, suffix, len);
    if (c >= 0) {
        *found = c == 0;
        return lo;
    }
    lo++;
    if (lo == img->n || heads[lo] != head)
        return lo;
    hi = head == UINT32_MAX
             ? img->n
             : lo + heads_seek(heads + lo, img->n - lo, head + 1);
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        c = suffix_cmp(img, mid, suffix, len);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

unsigned pg_image_child(const struct pg_image *img, const void *key, size_t len,
                        bool below)
{
    bool found;
    unsigned i = pg_image_seek(img, key, len, &found);

    QUIRE_ASSERT(img->kind == PG_INNER && img->n > 0);
    if (i > 0 && (below || !found))
        i--;
    if (QUIRE_UNLIKELY(img->ntomb != 0)) {
        while (i > 0 && pg_is_tomb(img, i))
            i--;
    }
    return i;
}

int pg_image_key_cmp(const struct pg_image *img, unsigned i, const void *key,
                     size_t len)
{
    const uint8_t *suffix = key;
    int c;

    QUIRE_ASSERT(i < img->n);
    if (img->prefix_len != 0) {
        c = pg_cmp(pg_at(img, img->lower_off), img->prefix_len, key,
                   ra_min_u64(len, img->prefix_len));
        if (c != 0)
            return c;
        suffix += img->prefix_len;
        len -= img->prefix_len;
    }
    return suffix_cmp(img, i, suffix, len);
}

void pg_image_lower(const struct pg_image *img, struct quire_val *fence)
{
    fence->data = pg_at(img, img->lower_off);
    fence->size = img->lower_len;
}

bool pg_image_upper(const struct pg_image *img, struct quire_val *fence)
{
    if ((img->flags & PG_IMAGE_UPPER_INF) != 0) {
        fence->data = NULL;
        fence->size = 0;
        return false;
    }
    fence->data = pg_at(img, img->upper_off);
    fence->size = img->upper_len;
    return true;
}

pg_hint *pg_image_hint(const struct pg_image *img, unsigned i)
{
    if (img->hints_off == 0)
        return NULL;
    QUIRE_ASSERT(i < img->n);
    /* The one part of a committed image that changes: so const ends here. */
    return (pg_hint *)(uintptr_t)pg_at(img, img->hints_off) + i;
}

void pg_image_bytes(const struct pg_image *img, struct quire_val *bytes)
{
    QUIRE_ASSERT(!pg_kind_slotted(img->kind));
    bytes->data = pg_at(img, img->recs_off);
    bytes->size = img->used - img->recs_off;
}

/* ---- building the committed form ---- */

void pg_fences_of(const struct pg_image *img, struct pg_fences *f)
{
    pg_image_lower(img, &f->lower);
    f->has_upper = pg_image_upper(img, &f->upper);
}

size_t pg_fences_prefix(const struct pg_fences *f)
{
    if (!f->has_upper)
        return 0;
    return pg_common(f->lower.data, f->lower.size, f->upper.data,
                     f->upper.size);
}

size_t pg_layout_of(enum pg_kind kind, unsigned nchain, size_t lower_len,
                    size_t upper_len, size_t n, struct pg_layout *lay)
{
    size_t off = sizeof(struct pg_image);

    lay->sums = (uint32_t)off;
    off += nchain * sizeof(uint64_t);
    lay->lower = (uint32_t)off;
    off += lower_len;
    lay->upper = (uint32_t)off;
    off += upper_len;
    off = ra_round_up(off, 4);
    lay->heads = (uint32_t)off;
    off += n * sizeof(uint32_t);
    lay->hints = kind == PG_INNER ? (uint32_t)off : 0;
    if (kind == PG_INNER)
        off += n * sizeof(pg_hint);
    lay->slots = (uint32_t)off;
    off += n * sizeof(uint16_t);
    off = ra_round_up(off, PG_REC_ALIGN);
    lay->recs = (uint32_t)off;
    return off;
}

bool pg_build_begin(struct pg_build *b, const struct pg_ref *ref,
                    const uint64_t *sums, const struct pg_fences *fences,
                    size_t n, size_t recs_len, void *seg, size_t cap)
{
    struct pg_image *img = seg;
    size_t upper_len = fences->has_upper ? fences->upper.size : 0;
    struct pg_layout lay;
    size_t recs_off;
    uint32_t upper_end, slots_end;

    cap = ra_min_u64(cap, PG_IMAGE_MAX);
    /* first, so that no product below can wrap: n <= 2^18 */
    if (cap < sizeof(*img) || n > cap / PG_REC_ALIGN || recs_len > cap)
        return false;
    recs_off = pg_layout_of(ref->kind, ref->nchain, fences->lower.size,
                            upper_len, n, &lay);
    if (recs_off > cap || recs_len > cap - recs_off)
        return false;

    memset(img, 0, sizeof(*img));
    img->magic = PG_IMAGE_MAGIC;
    img->kind = ref->kind;
    img->level = ref->level;
    img->flags = fences->has_upper ? 0 : PG_IMAGE_UPPER_INF;
    img->nchain = ref->nchain;
    img->cap = (uint32_t)cap;
    img->used = (uint32_t)(recs_off + recs_len);
    img->n = (uint32_t)n;
    img->slot_cap = (uint32_t)n;
    img->lower_len = (uint32_t)fences->lower.size;
    img->upper_len = (uint32_t)upper_len;
    img->prefix_len = (uint32_t)pg_fences_prefix(fences);
    img->lower_off = lay.lower;
    img->upper_off = lay.upper;
    img->sums_off = lay.sums;
    img->heads_off = lay.heads;
    img->slots_off = lay.slots;
    img->hints_off = lay.hints;
    img->recs_off = lay.recs;
    img->birth = ref->birth;
    img->id = ref->id;
    pg_copy(pg_at_mut(img, lay.sums), sums, ref->nchain * sizeof(uint64_t));
    pg_copy(pg_at_mut(img, lay.lower), fences->lower.data, fences->lower.size);
    pg_copy(pg_at_mut(img, lay.upper), fences->upper.data, upper_len);
    /* The gaps that alignment leaves: no byte of an image is by chance. */
    upper_end = lay.upper + (uint32_t)upper_len;
    memset(pg_at_mut(img, upper_end), 0, lay.heads - upper_end);
    slots_end = lay.slots + (uint32_t)(n * sizeof(uint16_t));
    memset(pg_at_mut(img, slots_end), 0, lay.recs - slots_end);
    for (unsigned i = 0; lay.hints != 0 && i < n; i++)
        atomic_init(pg_image_hint(img, i), PG_HINT_NONE);

    b->img = img;
    b->heads = (uint32_t *)(void *)pg_at_mut(img, lay.heads);
    b->slots = (uint16_t *)(void *)pg_at_mut(img, lay.slots);
    b->n = 0;
    return true;
}

void pg_rec_trim(const struct pg_image *img, unsigned i, struct pg_rec *rec)
{
    pg_rec_read(pg_rec_at(img, i), rec);
    if (img->kind == PG_INNER && rec->entry == PG_ENTRY_PLAIN) {
        rec->val_len = (uint32_t)pg_ref_bytes(rec->val);
        rec->size = (uint32_t)pg_rec_bytes(rec->suffix_len, rec->val_len);
    }
}

/* Bytes of the live records, trimmed. O(1) in leaves. */
static size_t trimmed_bytes(const struct pg_image *img)
{
    size_t sum = 0;
    struct pg_rec rec;

    if (img->kind != PG_INNER)
        return pg_live_bytes(img);
    for (unsigned i = 0; i < img->n; i++) {
        pg_rec_trim(img, i, &rec);
        if (rec.entry != PG_ENTRY_TOMB)
            sum += rec.size;
    }
    return sum;
}

size_t pg_image_compact_bytes(const struct pg_image *img, unsigned nchain)
{
    struct pg_layout lay;

    return pg_layout_of(img->kind, nchain, img->lower_len, img->upper_len,
                        img->n - img->ntomb, &lay) +
           trimmed_bytes(img);
}

bool pg_image_compact(const struct pg_image *img, const struct pg_ref *ref,
                      const uint64_t *sums, void *seg, size_t cap)
{
    struct pg_fences fences;
    struct pg_build b;
    struct pg_rec rec;
    uint32_t off;

    QUIRE_ASSERT(ref->kind == img->kind && ref->level == img->level);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    pg_fences_of(img, &fences);
    if (!pg_build_begin(&b, ref, sums, &fences, img->n - img->ntomb,
                        trimmed_bytes(img), seg, cap))
        return false;
    off = b.img->recs_off;
    for (unsigned i = 0; i < img->n; i++) {
        pg_rec_trim(img, i, &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;
        pg_build_slot(&b, off, rec.suffix, rec.suffix_len);
        off += (uint32_t)pg_rec_write(pg_at_mut(b.img, off), rec.entry,
                                      rec.suffix, rec.suffix_len, NULL, 0,
                                      rec.val, rec.val_len);
    }
    QUIRE_ASSERT(off == b.img->used && b.n == b.img->n);
    return true;
}

size_t pg_image_plain_bytes(size_t nbytes)
{
    return sizeof(struct pg_image) + nbytes;
}

quire_status pg_image_plain(const struct pg_ref *ref,
                            const struct quire_val *body, void *seg, size_t cap)
{
    struct pg_image *img = seg;
    uint8_t *bytes = (uint8_t *)seg + sizeof(*img);
    size_t len = pg_image_plain_bytes(body->size);

    if (body->size != ref->raw_len || pg_kind_slotted(ref->kind))
        return ra_fail(QUIRE_CORRUPT,
                       "page at offset %llu: %zu bytes, its reference says %u",
                       (unsigned long long)pg_id_off(ref->id), body->size,
                       (unsigned)ref->raw_len);
    if (cap > PG_IMAGE_MAX)
        cap = PG_IMAGE_MAX;
    if (len > cap)
        return ra_fail(QUIRE_CORRUPT,
                       "page at offset %llu: an image of %zu bytes, its "
                       "reference says %u",
                       (unsigned long long)pg_id_off(ref->id), len,
                       (unsigned)ref->image_len);
    if (body->data != bytes)
        pg_copy(bytes, body->data, body->size);
    memset(img, 0, sizeof(*img));
    img->magic = PG_IMAGE_MAGIC;
    img->kind = ref->kind;
    img->flags = PG_IMAGE_UPPER_INF;
    img->cap = (uint32_t)cap;
    img->used = (uint32_t)len;
    img->recs_off = sizeof(*img);
    img->birth = ref->birth;
    img->id = ref->id;
    return QUIRE_OK;
}
