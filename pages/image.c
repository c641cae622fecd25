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

/* ---- asking memory for what a cursor comes to ---- */

#define FETCH_LINE 64u
#define FETCH_SLOTS 12u /* records of a settled leaf that are asked for ahead */

/*
 * The lines of a leaf's records in the order in which a cursor comes to them,
 * and behind `edge`, where they end, those of the next leaf.
 */
struct lines {
    uintptr_t at;   /* asked for next; going backwards, the last byte of it */
    uintptr_t edge; /* going backwards, the first byte */
    uintptr_t over; /* from there to the next leaf's first records */
    bool next;      /* there is one */
};

static inline __attribute__((always_inline)) struct lines lines_of(
    const struct pg_fetch *f, const struct pg_image *img,
    const struct pg_image *next, bool forward)
{
    uintptr_t begin = (uintptr_t)img + img->recs_off;
    uintptr_t end = (uintptr_t)img + img->used;
    uintptr_t diff = (uintptr_t)next - (uintptr_t)img;
    struct lines l = { .next = next != NULL };

    if (forward) {
        l.at = begin + f->asked;
        l.edge = end;
        l.over = diff - (end - begin);
    } else {
        l.at = end - 1 - f->asked;
        l.edge = begin;
        l.over = diff + (end - begin);
    }
    return l;
}

static inline __attribute__((always_inline)) uint32_t lines_asked(
    const struct lines *l, const struct pg_image *img, bool forward)
{
    return forward ? (uint32_t)(l->at - (uintptr_t)img) - img->recs_off
                   : (uint32_t)((uintptr_t)img + img->used - 1 - l->at);
}

/* Ask for all lines up to the address `to`. */
static inline __attribute__((always_inline)) void lines_ask(struct lines *l,
                                                            uintptr_t to,
                                                            bool forward)
{
    while (forward ? l->at < to : l->at > to) {
        uintptr_t p = l->at;

        if (forward ? p >= l->edge : p < l->edge) {
            if (!l->next)
                return;
            p += l->over;
        }
        __builtin_prefetch((const void *)p);
        l->at += forward ? FETCH_LINE : -(uintptr_t)FETCH_LINE;
    }
}

/* How far to be ahead in this leaf: not beyond the end of the next. */
static inline uint32_t fetch_dist(const struct pg_fetch *f,
                                  const struct pg_image *img)
{
    uint32_t len = img->used - img->recs_off;

    return f->dist < len ? f->dist : len;
}

/* The record of slot `i`, if there is one, as one of average size. */
static inline __attribute__((always_inline)) void fetch_slot(
    const struct pg_image *img, unsigned i)
{
    const char *p;
    uint32_t size;

    if (i >= img->n) /* below 0, too */
        return;
    p = (const char *)pg_rec_at(img, i);
    size = (img->used - img->recs_off) / img->n;
    for (uint32_t at = 0; at < size && at < 4 * FETCH_LINE; at += FETCH_LINE)
        __builtin_prefetch(p + at);
    __builtin_prefetch(p + size - 1);
}

void pg_fetch_begin(struct pg_fetch *f, const struct pg_image *img, unsigned i,
                    bool forward)
{
    struct lines l;
    uint32_t off;

    memset(f, 0, sizeof(*f));
    f->forward = forward;
    f->dist = PG_FETCH_FIRST;
    if (i >= img->n)
        return;
    if (pg_is_settled(img)) {
        for (unsigned k = 0; k < FETCH_SLOTS; k++)
            fetch_slot(img, forward ? i + k : i - k);
        return;
    }
    off = (uint32_t)pg_slots(img)[i] * PG_REC_ALIGN;
    f->asked = forward ? off - img->recs_off : img->used - off;
    l = lines_of(f, img, NULL, forward);
    if (forward)
        lines_ask(&l, l.at + fetch_dist(f, img), true);
    else
        lines_ask(&l, l.at - fetch_dist(f, img), false);
    f->asked = lines_asked(&l, img, forward);
}

void pg_fetch_turn(struct pg_fetch *f, const struct pg_image *from,
                   const struct pg_image *to)
{
    uint32_t len = from->used - from->recs_off;

    f->head = false;
    if (pg_is_settled(from)) {
        f->whole = f->asked >= from->used / 2;
        f->asked = f->whole && !pg_is_settled(to) ? to->used - to->recs_off : 0;
    } else {
        f->whole = false;
        f->asked = f->asked > len && !pg_is_settled(to) ? f->asked - len : 0;
    }
}

/* Half of the leaf is done: the header of the next one, its fences and slots. */
static inline void fetch_head(struct pg_fetch *f, const struct pg_image *img,
                              const struct pg_image *next, unsigned i)
{
    if (QUIRE_LIKELY(f->head || next == NULL ||
                     (i >= img->n / 2) != f->forward))
        return;
    f->head = true;
    pg_image_prefetch(next);
}

static void fetch_settled(struct pg_fetch *f, const struct pg_image *img,
                          const struct pg_image *next, unsigned i)
{
    uint32_t to = f->asked + img->used / img->n + 8; /* a bit more than due */

    if (!f->whole)
        fetch_slot(img, f->forward ? i + FETCH_SLOTS : i - FETCH_SLOTS);
    if (f->dist < PG_FETCH_MAX)
        f->dist += PG_FETCH_GROWS;
    else if (next != NULL)
        for (; f->asked < to && f->asked < img->used; f->asked += FETCH_LINE)
            __builtin_prefetch((const char *)next + f->asked);
}

static inline __attribute__((always_inline)) void fetch_sorted(
    struct pg_fetch *f, const struct pg_image *img, const struct pg_image *next,
    unsigned i, bool forward)
{
    uintptr_t p = (uintptr_t)pg_rec_at(img, i);
    struct lines l = lines_of(f, img, next, forward);

    lines_ask(&l, forward ? p + fetch_dist(f, img) : p - fetch_dist(f, img),
              forward);
    f->asked = lines_asked(&l, img, forward);
    f->dist += f->dist < PG_FETCH_MAX ? PG_FETCH_GROWS : 0;
}

void pg_fetch_step(struct pg_fetch *f, const struct pg_image *img,
                   const struct pg_image *next, unsigned i)
{
    fetch_head(f, img, next, i);
    if (pg_is_settled(img))
        fetch_settled(f, img, next, i);
    else if (f->forward)
        fetch_sorted(f, img, next, i, true);
    else
        fetch_sorted(f, img, next, i, false);
}

/* ---- records ---- */

#define BRIEF 16u /* bytes of keys' parts that are copied at once */

static inline __attribute__((always_inline)) unsigned take_records(
    const struct pg_image *img, unsigned from, unsigned max,
    struct quire_record *records, uint8_t *buf, size_t buf_bytes,
    struct pg_fetch *f, const struct pg_image *next, bool settled, bool forward)
{
    const uint8_t *prefix = pg_at(img, img->lower_off);
    size_t prefix_len = img->prefix_len;
    const uint8_t *p = pg_rec_at(img, from);
    const uint8_t *end = pg_at(img, img->used);
    struct lines l = lines_of(f, img, next, forward);
    uint32_t dist = fetch_dist(f, img);
    uint32_t dist_max = (uint32_t)ra_min_u64(PG_FETCH_MAX,
                                             img->used - img->recs_off);
    uint8_t brief[BRIEF] = { 0 };
    struct pg_rec rec;
    unsigned n = 0;

    if (prefix_len <= BRIEF)
        pg_copy_short(brief, prefix, prefix_len);
    for (; n < max; n++) {
        struct quire_record *r = &records[n];
        unsigned i = forward ? from + n : from - n;

        /* records follow one another in key order (PG-8), but for PG-17 */
        if (settled || !forward)
            p = pg_rec_at(img, i);
        pg_rec_read_bare(p, &rec);
        if (settled)
            fetch_settled(f, img, next, i);
        else
            lines_ask(&l,
                      forward ? (uintptr_t)p + rec.size + dist
                              : (uintptr_t)p - dist,
                      forward);
        dist += dist < dist_max ? PG_FETCH_GROWS : 0;
        if (QUIRE_UNLIKELY(rec.entry != PG_ENTRY_PLAIN))
            break;
        p += rec.size;
        r->val.data = rec.val;
        r->val.size = rec.val_len;
        r->key.data = rec.suffix;
        r->key.size = rec.suffix_len;
        if (prefix_len == 0)
            continue;
        r->key.size += prefix_len;
        if (r->key.size > buf_bytes)
            break;
        if (QUIRE_LIKELY(prefix_len <= BRIEF && rec.suffix_len <= BRIEF &&
                         (size_t)(end - rec.suffix) >= BRIEF &&
                         buf_bytes >= 2 * BRIEF)) {
            /* more than there is, without asking how much */
            memcpy(buf, brief, BRIEF);
            memcpy(buf + prefix_len, rec.suffix, BRIEF);
        } else {
            pg_copy_short(buf, prefix, prefix_len);
            pg_copy_short(buf + prefix_len, rec.suffix, rec.suffix_len);
        }
        r->key.data = buf;
        buf += r->key.size;
        buf_bytes -= r->key.size;
    }
    if (!settled) {
        f->asked = lines_asked(&l, img, forward);
        f->dist = (uint32_t)ra_min_u64(PG_FETCH_MAX,
                                       f->dist + n * PG_FETCH_GROWS);
    }
    return n;
}

unsigned pg_image_records(const struct pg_image *img, unsigned from,
                          unsigned max, struct quire_record *records,
                          uint8_t *buf, size_t buf_bytes, struct pg_fetch *f,
                          const struct pg_image *next)
{
    unsigned n;

    QUIRE_ASSERT(!pg_is_work(img) && from < img->n);
    max = (unsigned)ra_min_u64(max, f->forward ? img->n - from : from + 1);
    if (pg_is_settled(img))
        n = take_records(img, from, max, records, buf, buf_bytes, f, next, true,
                         f->forward);
    else if (f->forward)
        n = take_records(img, from, max, records, buf, buf_bytes, f, next,
                         false, true);
    else
        n = take_records(img, from, max, records, buf, buf_bytes, f, next,
                         false, false);
    fetch_head(f, img, next, f->forward ? from + n : from - n);
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

static inline __attribute__((always_inline)) unsigned image_seek(
    const struct pg_image *img, const void *key, size_t len, bool *found,
    struct pg_fetch *f, bool forward)
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
    if (f != NULL) /* while the record is waited for, those behind it come */
        pg_fetch_begin(f, img, lo, forward);
    if (lo == img->n || heads[lo] != head)
        return lo;
    return seek_equal(img, lo, head, suffix, len, found);
}

unsigned pg_image_seek(const struct pg_image *img, const void *key, size_t len,
                       bool *found)
{
    return image_seek(img, key, len, found, NULL, false);
}

unsigned pg_image_seek_from(const struct pg_image *img, const void *key,
                            size_t len, bool *found, struct pg_fetch *f,
                            bool forward)
{
    pg_fetch_begin(f, img, img->n, forward); /* lest the key be outside */
    return image_seek(img, key, len, found, f, forward);
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
    unsigned i = image_seek(img, key, len, &found, NULL, false);

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
