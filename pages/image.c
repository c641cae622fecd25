/*
 * image.c - a page in memory: layout, search, building the committed form.
 *
 * An image is one segment, the same for leaves and inner pages:
 *
 *   +--------+--------+-----+-------+-------+----------+------+------+---------+
 *   | header | fences | fps | slots | heads | children | sums | ages | records |
 *   |        | bytes  | u8  | u16   | u32   | 16 bytes | u64  | u8   |         |
 *   +--------+--------+-----+-------+-------+----------+------+------+---------+
 *                                                   labels* (8) | ghosts |
 *                                                  -------------+--------+
 *
 * A committed image has exact arrays and its records in key order; it has
 * fingerprints (leaves), what is to be known of children (inner pages), sums
 * (of the fragments below the newest, which the next delta must name), no ages.
 * A working image has ages, no sums, slack in the arrays, and its records in any
 * order with garbage between them; a settled one is a working one that was
 * committed as it was (PG-17).
 *
 * All keys of a page begin with the common prefix of its fences, which is
 * stored once, in the lower fence. What follows is the suffix; its first four
 * bytes, behind what all suffixes of a committed page begin with, are the head.
 * There are two searches. A seek compares the prefix once, then finds its place
 * among the heads (a dense array of integers, without a branch to mispredict),
 * and looks at records only where heads are equal. With well-spread keys that
 * is one record. A look-up in a committed leaf compares the fingerprints of all
 * suffixes instead, 16 to 64 at a time, and looks at the records where they are
 * equal. It touches three bytes a record where a seek has six in its way, and
 * they lie beside the header: all lines are asked for at once, before the page
 * is known to be the right one.
 *
 * Traps: a short suffix is zero padded in its head, so "a" and "a\0" have equal
 * heads; only full suffixes settle that. A page without an upper fence has no
 * prefix. Tombstones are slots like others.
 */
#include "pages/pg_impl.h"

static_assert(sizeof(struct pg_image) % 8 == 0, "what follows is aligned");
static_assert(offsetof(struct pg_image, recs_off) < 64, "one cache line");
static_assert(PG_IMAGE_MAX / PG_REC_ALIGN <= 65536, "slots are 16 bits");
static_assert(sizeof(struct pg_child) == 16, "four to a cache line");

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

enum pg_entry pg_image_record(const struct pg_image *img, unsigned i,
                              struct pg_key *key, struct quire_val *val)
{
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    key->prefix = pg_at(img, img->lower_off);
    key->prefix_len = img->prefix_len;
    key->suffix = rec.suffix;
    key->suffix_len = rec.suffix_len;
    val->data = rec.val;
    val->size = rec.val_len;
    return rec.entry;
}

enum pg_entry pg_image_whole(const struct pg_image *img, unsigned i,
                             uint8_t *buf, bool prefixed, struct quire_val *key,
                             struct quire_val *val)
{
    size_t prefix_len = img->prefix_len;
    struct pg_rec rec;

    QUIRE_ASSERT(i < img->n);
    pg_rec_read(pg_rec_at(img, i), &rec);
    val->data = rec.val;
    val->size = rec.val_len;
    key->size = prefix_len + rec.suffix_len;
    if (prefix_len == 0) {
        key->data = rec.suffix;
        return rec.entry;
    }
    if (!prefixed)
        memcpy(buf, pg_at(img, img->lower_off), prefix_len);
    pg_copy_short(buf + prefix_len, rec.suffix, rec.suffix_len);
    key->data = buf;
    return rec.entry;
}

unsigned pg_image_records(const struct pg_image *img, unsigned from,
                          unsigned max, struct quire_record *records,
                          uint8_t *buf, size_t buf_bytes)
{
    const uint8_t *prefix = pg_at(img, img->lower_off);
    size_t prefix_len = img->prefix_len;
    const uint8_t *p;
    struct pg_rec rec;
    unsigned n = 0;

    QUIRE_ASSERT(!pg_is_work(img) && from < img->n);
    max = (unsigned)ra_min_u64(max, img->n - from);
    p = pg_rec_at(img, from);
    for (; n < max; n++, p += rec.size) {
        struct quire_record *r = &records[n];

        /* records follow one another in key order (PG-8), but for PG-17 */
        if (QUIRE_UNLIKELY(pg_is_settled(img)))
            p = pg_rec_at(img, from + n);

        /* A page of the system's ends the processor's own reading ahead. */
        __builtin_prefetch(p + 1024);
        __builtin_prefetch(p + 1088);
        pg_rec_read_bare(p, &rec);
        if (QUIRE_UNLIKELY(rec.entry != PG_ENTRY_PLAIN))
            break;
        r->val.data = rec.val;
        r->val.size = rec.val_len;
        r->key.data = rec.suffix;
        r->key.size = rec.suffix_len;
        if (prefix_len == 0)
            continue;
        r->key.size += prefix_len;
        if (r->key.size > buf_bytes)
            break;
        pg_copy_short(buf, prefix, prefix_len);
        pg_copy_short(buf + prefix_len, rec.suffix, rec.suffix_len);
        r->key.data = buf;
        buf += r->key.size;
        buf_bytes -= r->key.size;
    }
    return n;
}

/* Compare the suffix of slot `i` with a suffix. */
static inline int suffix_cmp(const struct pg_image *img, unsigned i,
                             const uint8_t *suffix, size_t len)
{
    struct pg_rec rec;

    pg_rec_read(pg_rec_at(img, i), &rec);
    return pg_cmp(rec.suffix, rec.suffix_len, suffix, len);
}

/* The place of a key that does not begin as heads have it that skip. */
static __attribute__((noinline)) unsigned seek_outside(
    const struct pg_image *img, const uint8_t *suffix, size_t len, bool *found)
{
    struct pg_rec rec;
    int c;

    pg_rec_read(pg_rec_at(img, pg_skip_from(img)), &rec);
    c = pg_cmp(suffix, ra_min_u64(len, img->head_skip), rec.suffix,
               img->head_skip);
    if (c > 0)
        return img->n;
    if (pg_skip_from(img) == 0)
        return 0;
    c = suffix_cmp(img, 0, suffix, len);
    *found = c == 0;
    return c < 0;
}

/* Do these bytes begin as heads have it that skip? */
static inline bool skip_fits(const struct pg_image *img, const uint8_t *suffix,
                             size_t len)
{
    struct pg_rec rec;

    pg_rec_read(pg_rec_at(img, pg_skip_from(img)), &rec);
    return len >= img->head_skip && pg_same(suffix, rec.suffix, img->head_skip);
}

/* Is the place of a suffix that of an inner page's first, whose head says nothing
 * if the others skip? */
static __attribute__((noinline)) bool seek_first(const struct pg_image *img,
                                                 const uint8_t *suffix,
                                                 size_t len, bool *found)
{
    int c;

    if (img->head_skip == 0 || img->kind != PG_INNER)
        return false;
    c = suffix_cmp(img, 0, suffix, len);
    *found = c == 0;
    return c >= 0;
}

/* The place of a suffix among those from slot `lo` on that have its head. */
static __attribute__((noinline)) unsigned seek_equal(const struct pg_image *img,
                                                     unsigned lo, uint32_t head,
                                                     const uint8_t *suffix,
                                                     size_t len, bool *found)
{
    const uint32_t *heads = pg_heads(img);
    unsigned hi;
    int c;

    /* Mostly there is one, and then it is decided here. */
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
             : lo + pg_simd_now()->seek(heads + lo, img->n - lo, head + 1);
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

static inline unsigned image_seek(const struct pg_image *img, const void *key,
                                  size_t len, bool *found)
{
    const uint32_t *heads = pg_heads(img);
    const uint8_t *suffix = key;
    size_t skip = img->head_skip;
    uint32_t head;
    unsigned lo;

    *found = false;
    if (img->prefix_len != 0) {
        const uint8_t *prefix = pg_at(img, img->lower_off);

        if (QUIRE_UNLIKELY(len < img->prefix_len ||
                           !pg_same(key, prefix, img->prefix_len)))
            return pg_cmp(key, ra_min_u64(len, img->prefix_len), prefix,
                          img->prefix_len) < 0
                       ? 0
                       : img->n;
        suffix += img->prefix_len;
        len -= img->prefix_len;
    }
    if (skip != 0 && QUIRE_UNLIKELY(!skip_fits(img, suffix, len)))
        return seek_outside(img, suffix, len, found);
    /* the empty key may have no address */
    head = skip == 0 ? pg_head(suffix, len)
                     : pg_head(suffix + skip, len - skip);
    lo = pg_simd_now()->seek(heads, img->n, head);
    if (QUIRE_UNLIKELY(lo == 1) && seek_first(img, suffix, len, found))
        return 0;
    if (lo == img->n || heads[lo] != head)
        return lo;
    return seek_equal(img, lo, head, suffix, len, found);
}

unsigned pg_image_seek(const struct pg_image *img, const void *key, size_t len,
                       bool *found)
{
    return image_seek(img, key, len, found);
}

/* Ask for the records of the slots `from` + i, for each bit i: their first
 * lines, since values are wanted too; a record ends where the next begins
 * (PG-8). One in 256 matches by chance. All that do are fetched at once, so
 * that the wrong ones cost no wait of their own. */
static inline __attribute__((always_inline)) void bits_prefetch(
    const struct pg_image *img, unsigned from, uint64_t bits)
{
    for (; bits != 0; bits &= bits - 1) {
        unsigned i = from + (unsigned)__builtin_ctzll(bits);
        const uint8_t *p = pg_rec_at(img, i);
        const uint8_t *end = i + 1 < img->n ? pg_rec_at(img, i + 1)
                                            : pg_at(img, img->used);

        __builtin_prefetch(p);
        __builtin_prefetch(p + 64 < end ? p + 64 : p);
        __builtin_prefetch(p + 128 < end ? p + 128 : end - 1);
    }
}

/* Which of these slots has this suffix; img->n: none. */
static inline unsigned bits_find(const struct pg_image *img, unsigned from,
                                 uint64_t bits, const uint8_t *suffix,
                                 size_t len)
{
    for (; bits != 0; bits &= bits - 1) {
        unsigned i = from + (unsigned)__builtin_ctzll(bits);
        struct pg_rec rec;

        pg_rec_read(pg_rec_at(img, i), &rec);
        if (rec.suffix_len == len && pg_same(rec.suffix, suffix, len))
            return i;
    }
    return img->n;
}

static inline uint64_t match_at(const struct pg_image *img, unsigned from,
                                uint8_t fp)
{
    unsigned n = (unsigned)ra_min_u64(img->n - from, PG_MATCH_MAX);

    return pg_simd_now()->match(pg_fps(img) + from, n, fp);
}

void pg_image_probe(const struct pg_image *img, const void *key, size_t len,
                    struct pg_probe *probe)
{
    const uint8_t *suffix = key;

    QUIRE_ASSERT(img->fps_off != 0);
    memset(probe->bits, 0, sizeof(probe->bits));
    probe->none = false;
    if (img->prefix_len != 0) {
        if (len < img->prefix_len ||
            !pg_same(key, pg_at(img, img->lower_off), img->prefix_len)) {
            probe->none = true;
            return;
        }
        suffix += img->prefix_len;
        len -= img->prefix_len;
    }
    probe->suffix = suffix;
    probe->len = len;
    probe->fp = pg_fp(suffix, len);
    for (unsigned w = 0; w < PG_PROBE_WORDS && w * PG_MATCH_MAX < img->n; w++) {
        probe->bits[w] = match_at(img, w * PG_MATCH_MAX, probe->fp);
        bits_prefetch(img, w * PG_MATCH_MAX, probe->bits[w]);
    }
}

unsigned pg_image_probe_end(const struct pg_image *img,
                            const struct pg_probe *probe)
{
    unsigned from = 0;
    unsigned i;

    if (probe->none)
        return img->n;
    for (unsigned w = 0; w < PG_PROBE_WORDS; w++, from += PG_MATCH_MAX) {
        i = bits_find(img, from, probe->bits[w], probe->suffix, probe->len);
        if (i < img->n)
            return i;
    }
    for (; from < img->n; from += PG_MATCH_MAX) {
        i = bits_find(img, from, match_at(img, from, probe->fp), probe->suffix,
                      probe->len);
        if (i < img->n)
            return i;
    }
    return img->n;
}

unsigned pg_image_find(const struct pg_image *img, const void *key, size_t len)
{
    struct pg_probe probe;
    unsigned i;
    bool found;

    if (img->fps_off == 0) {
        i = pg_image_seek(img, key, len, &found);
        return found ? i : img->n;
    }
    pg_image_probe(img, key, len, &probe);
    return pg_image_probe_end(img, &probe);
}

unsigned pg_image_child(const struct pg_image *img, const void *key, size_t len,
                        bool below)
{
    bool found;
    unsigned i = image_seek(img, key, len, &found);

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

size_t pg_layout_flags(enum pg_kind kind, unsigned nchain, unsigned flags,
                       size_t lower_len, size_t upper_len, size_t n,
                       struct pg_layout *lay)
{
    bool aged = (flags & PG_IMAGE_AGED) != 0;
    size_t off = sizeof(struct pg_image);

    lay->lower = (uint32_t)off;
    off += lower_len;
    lay->upper = (uint32_t)off;
    off += upper_len;
    lay->fps = kind == PG_LEAF ? (uint32_t)off : 0;
    if (kind == PG_LEAF)
        off += n;
    off = ra_round_up(off, sizeof(uint16_t));
    lay->slots = (uint32_t)off;
    off += n * sizeof(uint16_t);
    off = ra_round_up(off, sizeof(uint32_t));
    lay->heads = (uint32_t)off;
    off += n * sizeof(uint32_t);
    lay->children = 0;
    if (kind == PG_INNER) {
        off = ra_round_up(off, sizeof(pg_id));
        lay->children = (uint32_t)off;
        off += n * sizeof(struct pg_child);
    }
    if (nchain != 0)
        off = ra_round_up(off, sizeof(uint64_t));
    lay->sums = (uint32_t)off;
    off += nchain * sizeof(uint64_t);
    lay->ages = aged ? (uint32_t)off : 0;
    if (aged)
        off += n;
    if (QUIRE_UNLIKELY((flags & PG_IMAGE_LABELED) != 0))
        off = ra_round_up(off, 8) + 8; /* the label memory's address */
    off = ra_round_up(off, PG_REC_ALIGN);
    lay->recs = (uint32_t)off;
    return off;
}

bool pg_build_begin(struct pg_build *b, const struct pg_ref *ref,
                    const uint64_t *sums, const struct pg_fences *fences,
                    size_t n, size_t recs_len, size_t ghosts, void *seg,
                    size_t cap)
{
    struct pg_image *img = seg;
    size_t upper_len = fences->has_upper ? fences->upper.size : 0;
    unsigned flags = ref->fenced ? PG_IMAGE_AGED : 0;
    struct pg_layout lay;
    size_t recs_off;

    cap = ra_min_u64(cap, PG_IMAGE_MAX);
    /* first, so that no product below can wrap: n <= 2^18 */
    if (cap < sizeof(*img) || n > cap / PG_REC_ALIGN || recs_len > cap ||
        ghosts > cap)
        return false;
    if (ref->label_len != 0)
        flags |= PG_IMAGE_LABELED;
    recs_off = pg_layout_flags(ref->kind, ref->nchain, flags,
                               fences->lower.size, upper_len, n, &lay);
    if (recs_off > cap || recs_len > cap - recs_off ||
        ghosts > cap - recs_off - recs_len)
        return false;

    memset(img, 0, sizeof(*img));
    img->magic = PG_IMAGE_MAGIC;
    img->kind = ref->kind;
    img->level = ref->level;
    img->flags = (uint8_t)(flags |
                           (fences->has_upper ? 0 : PG_IMAGE_UPPER_INF));
    img->nchain = ref->nchain;
    img->cap = (uint32_t)cap;
    img->used = (uint32_t)(recs_off + recs_len);
    img->n = (uint32_t)n;
    img->slot_cap = (uint32_t)n;
    img->lower_len = (uint32_t)fences->lower.size;
    img->upper_len = (uint32_t)upper_len;
    img->prefix_len = (uint16_t)pg_fences_prefix(fences);
    img->lower_off = lay.lower;
    img->upper_off = lay.upper;
    img->sums_off = lay.sums;
    img->ages_off = lay.ages;
    img->heads_off = lay.heads;
    img->slots_off = lay.slots;
    img->fps_off = lay.fps;
    img->children_off = lay.children;
    img->recs_off = lay.recs;
    img->birth = ref->birth;
    img->id = ref->id;
    /* Also the gaps that alignment leaves: no byte of an image is by chance. */
    memset(pg_at_mut(img, lay.lower), 0, recs_off - lay.lower);
    pg_copy(pg_at_mut(img, lay.sums), sums, ref->nchain * sizeof(uint64_t));
    pg_copy(pg_at_mut(img, lay.lower), fences->lower.data, fences->lower.size);
    pg_copy(pg_at_mut(img, lay.upper), fences->upper.data, upper_len);

    b->img = img;
    b->fps = lay.fps != 0 ? pg_at_mut(img, lay.fps) : NULL;
    b->ages = lay.ages != 0 ? pg_at_mut(img, lay.ages) : NULL;
    b->children = lay.children != 0 ? (void *)pg_at_mut(img, lay.children)
                                    : NULL;
    b->heads = (uint32_t *)(void *)pg_at_mut(img, lay.heads);
    b->slots = (uint16_t *)(void *)pg_at_mut(img, lay.slots);
    b->n = 0;
    return true;
}

void pg_build_end(struct pg_build *b)
{
    struct pg_image *img = b->img;
    unsigned from = pg_skip_from(img);
    struct pg_rec rec, last;
    size_t skip;

    QUIRE_ASSERT(b->n == img->n);
    if (img->n < from + 2)
        return;
    pg_rec_read(pg_rec_at(img, from), &rec);
    pg_rec_read(pg_rec_at(img, img->n - 1), &last);
    skip = pg_common(rec.suffix, rec.suffix_len, last.suffix, last.suffix_len);
    if (skip == 0)
        return;
    img->head_skip = (uint16_t)skip;
    b->heads[0] = 0; /* an inner page's first is below all others */
    for (unsigned i = from; i < img->n; i++) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        b->heads[i] = pg_head(rec.suffix + skip, rec.suffix_len - skip);
    }
}

void pg_rec_trim(const struct pg_image *img, unsigned i, struct pg_rec *rec)
{
    if (img->kind == PG_LEAF) {
        pg_rec_read(pg_rec_at(img, i), rec);
        return;
    }
    pg_rec_read_bare(pg_rec_at(img, i), rec);
    if (rec->entry == PG_ENTRY_PLAIN && rec->val[rec->val_len - 1] == 0) {
        rec->val_len = (uint32_t)pg_ref_bytes(rec->val);
        rec->size = (uint32_t)pg_rec_bytes(rec->suffix_len, rec->val_len);
    }
}

/* O(1), but for leaves with labels. */
size_t pg_bare_bytes(const struct pg_image *img)
{
    size_t sum = pg_live_bytes(img) - pg_pad_bytes(img);
    struct pg_rec rec;

    for (unsigned i = 0; (img->flags & PG_IMAGE_LABELED) != 0 && i < img->n;
         i++) {
        pg_rec_read(pg_rec_at(img, i), &rec);
        if (rec.entry != PG_ENTRY_TOMB)
            sum -= rec.size - pg_rec_bytes(rec.suffix_len, rec.val_len);
    }
    return sum;
}

/* Bytes before the records of the committed image that is made of `img`. */
static size_t recs_begin(const struct pg_image *img, unsigned nchain,
                         unsigned flags)
{
    struct pg_layout lay;

    if (pg_label_bytes(img) != 0)
        flags |= PG_IMAGE_LABELED;
    return pg_layout_flags(img->kind, nchain, flags, img->lower_len,
                           img->upper_len, img->n - img->ntomb, &lay);
}

size_t pg_image_compact_bytes(const struct pg_image *img, unsigned nchain)
{
    return recs_begin(img, nchain, 0) + pg_bare_bytes(img);
}

size_t pg_ghost_bytes(const struct pg_image *img, unsigned step)
{
    size_t sum = 0;
    struct pg_rec rec;

    if (step == 0 || img->ntomb == 0)
        return 0;
    for (unsigned i = 0; i < img->n; i++) {
        if (!pg_is_tomb(img, i) || !pg_is_changed(img, i))
            continue;
        pg_rec_read(pg_rec_at(img, i), &rec);
        sum += rec.size;
    }
    return sum;
}

size_t pg_image_aged_bytes(const struct pg_image *img, unsigned nchain,
                           unsigned step)
{
    return recs_begin(img, nchain, PG_IMAGE_AGED) + pg_bare_bytes(img) +
           pg_ghost_bytes(img, step);
}

void pg_ages_commit(const struct pg_image *img, const struct pg_ref *ref,
                    uint8_t *ages)
{
    unsigned n = 0;
    unsigned i = 0;

    /* Mostly eight at a time: of a differential, or of the whole page. */
    for (; ref->step != 0 && img->ntomb == 0 && i + 8 <= img->n; i += 8) {
        uint64_t word = pg_ages_word(img, i);
        uint64_t changed = pg_lanes_changed(word) * 0xff;

        word = (word & changed & PG_AGE_NEW * PG_LANES) |
               (~changed & (1u << PG_AGE_SHIFT) * PG_LANES);
        ra_put_le64(ages + n, word);
        n += 8;
    }
    for (; i < img->n; i++) {
        unsigned age = pg_age(img, i) + 1;

        if (img->ntomb != 0 && pg_is_tomb(img, i))
            continue;
        if (pg_is_changed(img, i))
            ages[n++] = ref->step != 0 ? pg_ages(img)[i] & PG_AGE_NEW : 0;
        else
            ages[n++] = (uint8_t)((ref->step != 0 ? 1 : age) << PG_AGE_SHIFT);
        QUIRE_ASSERT(ages[n - 1] >> PG_AGE_SHIFT <= ref->nchain);
    }
}

void pg_build_ghosts(const struct pg_image *img, struct pg_build *b)
{
    struct pg_rec rec;

    for (unsigned i = 0; i < img->n; i++) {
        if (!pg_is_tomb(img, i) || !pg_is_changed(img, i))
            continue;
        pg_rec_read(pg_rec_at(img, i), &rec);
        pg_build_ghost(b, &rec);
    }
}

bool pg_image_compact(const struct pg_image *img, const struct pg_ref *ref,
                      const uint64_t *sums, void *seg, size_t cap)
{
    const uint8_t *run = NULL; /* records to be copied in one piece ... */
    size_t run_len = 0;        /* ... bytes of them; they belong before `off` */
    size_t ghosts = pg_ghost_bytes(img, ref->step);
    struct pg_fences fences;
    struct pg_build b;
    struct pg_rec rec;
    uint32_t off;

    QUIRE_ASSERT(ref->kind == img->kind && ref->level == img->level);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
    pg_fences_of(img, &fences);
    if (!pg_build_begin(&b, ref, sums, &fences, img->n - img->ntomb,
                        pg_bare_bytes(img), ghosts, seg, cap))
        return false;
    off = b.img->recs_off;
    for (unsigned i = 0; i < img->n; i++) {
        uint32_t val_len;

        pg_rec_read_bare(pg_rec_at(img, i), &rec);
        if (rec.entry == PG_ENTRY_TOMB)
            continue;
        val_len = rec.val_len;
        pg_rec_trim(img, i, &rec);
        pg_build_slot(&b, off, &rec);
        if (run_len == 0 || rec.start != run + run_len ||
            rec.val_len != val_len) {
            pg_copy(pg_at_mut(b.img, off - (uint32_t)run_len), run, run_len);
            run = rec.start;
            run_len = 0;
        }
        if (rec.val_len == val_len)
            run_len += rec.size;
        else
            pg_rec_write(pg_at_mut(b.img, off), rec.entry, rec.suffix,
                         rec.suffix_len, NULL, 0, rec.val, rec.val_len);
        off += rec.size;
    }
    pg_copy(pg_at_mut(b.img, off - (uint32_t)run_len), run, run_len);
    QUIRE_ASSERT(off == b.img->used && b.n == b.img->n);
    if (b.ages != NULL)
        pg_ages_commit(img, ref, b.ages);
    if (ghosts != 0)
        pg_build_ghosts(img, &b);
    pg_build_end(&b);
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
