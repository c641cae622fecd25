/*
 * pg_impl.h - what the files of pages/ share: records, layouts, the builder of
 * committed images.
 *
 * A record is the same in images and in fragment bodies (PG-3):
 *
 *     control | varint suffix length | varint value length | suffix | value |
 *     u8 label length, label, if the control byte says so |
 *     zeros to a multiple of 4
 *
 * The label stands last, so that only who asks for the size of a record, or for
 * its label, need know of it. Records of committed images have none (PG-16).
 *
 * There are two ways to read one. pg_rec_read() believes it: for images, which
 * were checked when they were built. pg_rec_parse() does not: for bodies.
 */
#ifndef QUIRE_PAGES_PG_IMPL_H
#define QUIRE_PAGES_PG_IMPL_H

#include <assert.h>
#include <stdatomic.h>

#include "pages/pg.h"

#define PG_IMAGE_MAGIC 0x496d6751u /* "QgmI" */
#define PG_REC_ALIGN PG_REC_UNIT   /* bytes; slots are offsets / 4 */
#define PG_REC_ENTRY 3u            /* control byte: enum pg_entry */
#define PG_REC_LABEL 4u            /* control byte: a label follows the value */

/* Bytes of a working image's slot: offset, head, age, and a leaf's fingerprint
 * or what is beside an inner page's child. */
#define PG_WORK_LEAF_SLOT 8u
#define PG_WORK_INNER_SLOT 23u

/* Bytes of a committed image's slot: offset, head, and a leaf's fingerprint or
 * what is beside an inner page's child. */
#define PG_LEAF_SLOT 7u
#define PG_INNER_SLOT 22u

/* ---- byte strings that may be empty, and then have no address ---- */

static inline void pg_copy(void *to, const void *from, size_t len)
{
    if (len != 0)
        memcpy(to, from, len);
}

/* The same for what is mostly short: both ends, which may overlap. */
static inline void pg_copy_short(uint8_t *to, const uint8_t *from, size_t len)
{
    uint64_t a, b;

    if (QUIRE_UNLIKELY(len > 16)) {
        memcpy(to, from, len);
    } else if (len >= 8) {
        memcpy(&a, from, 8);
        memcpy(&b, from + len - 8, 8);
        memcpy(to, &a, 8);
        memcpy(to + len - 8, &b, 8);
    } else if (len >= 4) {
        uint32_t c, d;

        memcpy(&c, from, 4);
        memcpy(&d, from + len - 4, 4);
        memcpy(to, &c, 4);
        memcpy(to + len - 4, &d, 4);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
}

/* Bytewise order, a prefix before what it is a prefix of. */
static inline int pg_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
    size_t m = alen < blen ? alen : blen;
    int c = m == 0 ? 0 : memcmp(a, b, m);

    if (c != 0)
        return c;
    return alen < blen ? -1 : alen > blen;
}

/* Are they equal? Keys are mostly short: less is done here than a call of
 * memcmp() takes. */
static inline bool pg_same(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a;
    const uint8_t *y = b;

    if (QUIRE_UNLIKELY(len > 16))
        return memcmp(x, y, len) == 0;
    if (QUIRE_LIKELY(len >= 8)) /* both ends, which may overlap */
        return ((ra_le64(x) ^ ra_le64(y)) |
                (ra_le64(x + len - 8) ^ ra_le64(y + len - 8))) == 0;
    if (len >= 4)
        return ((ra_le32(x) ^ ra_le32(y)) |
                (ra_le32(x + len - 4) ^ ra_le32(y + len - 4))) == 0;
    /* of one to three bytes: the first, the middle, the last */
    return len == 0 || (x[0] == y[0] && x[len / 2] == y[len / 2] &&
                        x[len - 1] == y[len - 1]);
}

static inline size_t pg_common(const void *a, size_t alen, const void *b,
                               size_t blen)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    size_t m = alen < blen ? alen : blen;
    size_t i = 0;

    while (i < m && x[i] == y[i])
        i++;
    return i;
}

/* The first four bytes as a big-endian number, short strings zero padded: the
 * order of heads is the order of strings, but for equal heads. */
static inline uint32_t pg_head(const uint8_t *p, size_t len)
{
    uint32_t v = 0;

    if (QUIRE_LIKELY(len >= 4)) {
        memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        v = __builtin_bswap32(v);
#endif
        return v;
    }
    for (size_t i = 0; i < len; i++)
        v |= (uint32_t)p[i] << (24 - 8 * i);
    return v;
}

static inline bool pg_zero(const uint8_t *p, size_t len)
{
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= p[i];
    return any == 0;
}

/*
 * A fingerprint: eight bits that depend on every bit of a suffix and on its
 * length. A multiply-and-fold hash, eight bytes a step; its top byte is best
 * mixed. It need only spread: equal fingerprints are settled by the keys.
 */
static inline uint8_t pg_fp(const uint8_t *p, size_t len)
{
    uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */
    uint64_t tail = 0;

    for (; len > 8; p += 8, len -= 8) {
        h = (h ^ ra_le64(p)) * UINT64_C(0xd6e8feb86659fd93); /* odd, half of
                                                        its bits are set */
        h ^= h >> 32;
    }
    if (len >= 4) /* its two ends, which may overlap */
        tail = ra_le32(p) | (uint64_t)ra_le32(p + len - 4) << 32;
    else if (len != 0)
        tail = p[0] | (uint64_t)p[len / 2] << 8 | (uint64_t)p[len - 1] << 16;
    return (uint8_t)((h ^ tail) * UINT64_C(0xd6e8feb86659fd93) >> 56);
}

/* ---- searching with vectors (simd.c) ---- */

#define PG_MATCH_MAX 64u /* fingerprints matched by one call */

struct pg_simd {
    const char *name;
    /* How many of `n` ascending heads are below `head`. */
    unsigned (*seek)(const uint32_t *heads, unsigned n, uint32_t head);
    /* Bit i: fps[i] == fp; n <= PG_MATCH_MAX. */
    uint64_t (*match)(const uint8_t *fps, unsigned n, uint8_t fp);
};

/* NULL before the first search; atomic, relaxed: it points to constants. */
extern const struct pg_simd *_Atomic pg_simd_chosen;
const struct pg_simd *pg_simd_choose(void);

static inline const struct pg_simd *pg_simd_now(void)
{
    const struct pg_simd *v = atomic_load_explicit(&pg_simd_chosen,
                                                   memory_order_relaxed);

    return QUIRE_LIKELY(v != NULL) ? v : pg_simd_choose();
}

/* ---- records ---- */

struct pg_rec {
    const uint8_t *start;
    const uint8_t *suffix;
    const uint8_t *val;
    uint32_t suffix_len;
    uint32_t val_len;
    uint32_t size; /* bytes with padding */
    enum pg_entry entry;
};

static inline size_t pg_varint_bytes(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* Bytes of a record with padding. */
static inline size_t pg_rec_bytes(size_t suffix_len, size_t val_len)
{
    return ra_round_up(1 + pg_varint_bytes(suffix_len) +
                           pg_varint_bytes(val_len) + suffix_len + val_len,
                       PG_REC_ALIGN);
}

static inline size_t pg_rec_bytes_labeled(size_t suffix_len, size_t val_len,
                                          size_t label_len)
{
    return ra_round_up(1 + pg_varint_bytes(suffix_len) +
                           pg_varint_bytes(val_len) + suffix_len + val_len +
                           PG_LABEL_ROOM(label_len),
                       PG_REC_ALIGN);
}

/* A varint known to be good and below 2^21. */
static inline uint32_t pg_len_read(const uint8_t **p)
{
    const uint8_t *q = *p;
    uint32_t v = *q++;

    if (QUIRE_UNLIKELY(v >= 0x80)) {
        v = (v & 0x7f) | (uint32_t)(*q & 0x7f) << 7;
        if (*q++ >= 0x80)
            v |= (uint32_t)*q++ << 14;
    }
    *p = q;
    return v;
}

/* Of a committed image, where records have no labels. */
static inline void pg_rec_read_bare(const uint8_t *p, struct pg_rec *rec)
{
    rec->start = p;
    rec->entry = (enum pg_entry)(*p++ & PG_REC_ENTRY);
    rec->suffix_len = pg_len_read(&p);
    rec->val_len = pg_len_read(&p);
    rec->suffix = p;
    rec->val = p + rec->suffix_len;
    rec->size = (uint32_t)ra_round_up(
        (size_t)(rec->val + rec->val_len - rec->start), PG_REC_ALIGN);
}

static inline void pg_rec_read(const uint8_t *p, struct pg_rec *rec)
{
    pg_rec_read_bare(p, rec);
    if (QUIRE_UNLIKELY((*p & PG_REC_LABEL) != 0))
        rec->size = (uint32_t)ra_round_up(
            (size_t)(rec->val + rec->val_len - p) + 1 + rec->val[rec->val_len],
            PG_REC_ALIGN);
}

/* The label that stands in the record itself. */
static inline void pg_rec_label(const struct pg_rec *rec,
                                struct quire_val *label)
{
    bool has = (*rec->start & PG_REC_LABEL) != 0;

    label->data = has ? rec->val + rec->val_len + 1 : NULL;
    label->size = has ? rec->val[rec->val_len] : 0;
}

/* As pg_rec_parse(), for a control byte of more than PG_ENTRY_OVERFLOW. */
size_t pg_rec_parse_labeled(const uint8_t *p, size_t avail, struct pg_rec *rec);

/* Read a record from untrusted bytes, `avail` of them. Returns its size, 0
 * when it is not one. */
static inline size_t pg_rec_parse(const uint8_t *p, size_t avail,
                                  struct pg_rec *rec)
{
    uint64_t slen, vlen;
    size_t off = 1, n, end, size;

    if (avail < PG_REC_ALIGN)
        return 0;
    if (QUIRE_UNLIKELY(p[0] > PG_ENTRY_OVERFLOW))
        return pg_rec_parse_labeled(p, avail, rec);
    if (QUIRE_LIKELY(p[1] < 0x80 && p[2] < 0x80)) {
        slen = p[1];
        vlen = p[2];
        off = 3;
    } else {
        n = pg_varint_decode(p + off, avail - off, &slen);
        off += n;
        if (n == 0 || slen > avail)
            return 0;
        n = pg_varint_decode(p + off, avail - off, &vlen);
        off += n;
        if (n == 0 || vlen > avail)
            return 0;
    }
    end = off + slen + vlen;
    size = ra_round_up(end, PG_REC_ALIGN);
    if (size > avail || !pg_zero(p + end, size - end))
        return 0;
    rec->start = p;
    rec->entry = (enum pg_entry)p[0];
    rec->suffix_len = (uint32_t)slen;
    rec->val_len = (uint32_t)vlen;
    rec->suffix = p + off;
    rec->val = p + off + slen;
    rec->size = (uint32_t)size;
    return size;
}

/*
 * Write a record whose suffix comes in two parts (either may be empty); the
 * second and the value may overlap the destination from behind, as when a
 * record shrinks in its place. Returns its size.
 */
size_t pg_rec_write(uint8_t *to, enum pg_entry entry, const void *s1,
                    size_t s1_len, const void *s2, size_t s2_len,
                    const void *val, size_t val_len);

/* Put a label of 1 to QUIRE_LABEL_MAX bytes behind the value of the record at
 * `to`, which has none; it does not lie in the record. Returns the record's size
 * now. */
size_t pg_rec_add_label(uint8_t *to, const struct quire_val *label);

/* ---- references ---- */

/* As pg_ref_decode(), and says how many bytes it took. */
quire_status pg_ref_parse(const uint8_t *buf, size_t len, struct pg_ref *ref,
                          size_t *used) QUIRE_MUST_CHECK;

/* Bytes of a good encoded reference. */
size_t pg_ref_bytes(const uint8_t *buf);

/* ---- reading images ---- */

static inline const uint8_t *pg_at(const struct pg_image *img, uint32_t off)
{
    return (const uint8_t *)img + off;
}

static inline uint8_t *pg_at_mut(struct pg_image *img, uint32_t off)
{
    return (uint8_t *)img + off;
}

static inline const uint32_t *pg_heads(const struct pg_image *img)
{
    return (const uint32_t *)(const void *)pg_at(img, img->heads_off);
}

static inline const uint16_t *pg_slots(const struct pg_image *img)
{
    return (const uint16_t *)(const void *)pg_at(img, img->slots_off);
}

static inline const uint8_t *pg_fps(const struct pg_image *img)
{
    return pg_at(img, img->fps_off);
}

static inline const uint8_t *pg_rec_at(const struct pg_image *img, unsigned i)
{
    return pg_at(img, (uint32_t)pg_slots(img)[i] * PG_REC_ALIGN);
}

static inline bool pg_is_work(const struct pg_image *img)
{
    return (img->flags & PG_IMAGE_WORK) != 0;
}

/* A committed image that was a working one (PG-17). */
static inline bool pg_is_settled(const struct pg_image *img)
{
    return (img->flags & PG_IMAGE_SETTLED) != 0;
}

/* What inner images have behind the header as long as their references may be
 * padded: while they are changed, and when they are settled. */
struct pg_pad {
    uint32_t
        bytes; /* by which the references' records are longer than need be */
    uint32_t zero;
};

static inline struct pg_pad *pg_pad_mut(struct pg_image *img)
{
    return (struct pg_pad *)(void *)(img + 1);
}

static inline uint32_t pg_pad_bytes(const struct pg_image *img)
{
    const struct pg_pad *pad = (const struct pg_pad *)(const void *)(img + 1);

    return img->kind == PG_INNER && (pg_is_work(img) || pg_is_settled(img))
               ? pad->bytes
               : 0;
}

/* The children of an inner image of any sort. */
static inline struct pg_child *pg_children(const struct pg_image *img)
{
    return (struct pg_child *)(void *)((char *)(uintptr_t)img +
                                       img->children_off);
}

static inline const uint8_t *pg_ages(const struct pg_image *img)
{
    return pg_at(img, img->ages_off);
}

static inline unsigned pg_age(const struct pg_image *img, unsigned i)
{
    return pg_ages(img)[i] >> PG_AGE_SHIFT;
}

static inline bool pg_is_changed(const struct pg_image *img, unsigned i)
{
    return (pg_ages(img)[i] & PG_AGE_CHANGED) != 0;
}

/*
 * Ages eight at a time: a word has one in each byte, that of slot i in the
 * lowest. What is asked of them is answered in the lowest bits of the bytes.
 */
#define PG_LANES UINT64_C(0x0101010101010101)

/* The ages of the slots from `i` < img->n on; of slots that are not there: one
 * that is neither changed nor of the newest fragment. */
static inline uint64_t pg_ages_word(const struct pg_image *img, unsigned i)
{
    const uint8_t *ages = pg_ages(img) + i;
    uint64_t word = 0xf0 * PG_LANES;

    if (QUIRE_LIKELY(img->n - i >= 8))
        return ra_le64(ages);
    for (unsigned k = img->n - i; k-- > 0;)
        word = word << 8 | ages[k];
    return word;
}

static inline uint64_t pg_lanes_changed(uint64_t ages)
{
    return ages & PG_AGE_CHANGED * PG_LANES;
}

/* Which are of the newest fragment: the high halves that are 0. */
static inline uint64_t pg_lanes_newest(uint64_t ages)
{
    uint64_t high = ages >> PG_AGE_SHIFT & 0x0f * PG_LANES;

    high |= high >> 1;
    return ~(high | high >> 2) & PG_LANES;
}

/* Take the first of some lanes; there is one. */
static inline unsigned pg_lanes_pop(uint64_t *lanes)
{
    unsigned k = (unsigned)__builtin_ctzll(*lanes) / 8;

    *lanes &= *lanes - 1;
    return k;
}

/* How many there are. */
static inline uint32_t pg_lanes_count(uint64_t lanes)
{
    return (uint32_t)(lanes * PG_LANES >> 56);
}

/* The first changed slot from `i` on; img->n: there is none. */
static inline unsigned pg_next_changed(const struct pg_image *img, unsigned i)
{
    for (; i < img->n; i += 8) {
        uint64_t lanes = pg_lanes_changed(pg_ages_word(img, i));

        if (lanes != 0)
            return i + pg_lanes_pop(&lanes);
    }
    return img->n;
}

static inline bool pg_is_tomb(const struct pg_image *img, unsigned i)
{
    return (*pg_rec_at(img, i) & PG_REC_ENTRY) == PG_ENTRY_TOMB;
}

/* Bytes of the live entries' records. */
static inline uint32_t pg_live_bytes(const struct pg_image *img)
{
    return img->used - img->recs_off - img->garbage - img->tomb_bytes;
}

/* The first slot of those whose suffixes begin with the bytes that heads skip. */
static inline unsigned pg_skip_from(const struct pg_image *img)
{
    return img->kind == PG_INNER;
}

/* Bytes of the padding behind the reference of this record of an inner page. */
static inline uint32_t pg_rec_pad(const struct pg_rec *rec)
{
    /* The last byte of a reference is the end of a varint: zero only if all of
     * it is. So most need not be looked through. */
    if (rec->entry != PG_ENTRY_PLAIN || rec->val[rec->val_len - 1] != 0)
        return 0;
    return rec->size -
           (uint32_t)pg_rec_bytes(rec->suffix_len, pg_ref_bytes(rec->val));
}

/* Read the record of slot `i` as it will be written: without the padding behind
 * the reference of an inner page. */
void pg_rec_trim(const struct pg_image *img, unsigned i, struct pg_rec *rec);

/* Fences as byte strings; the upper one NULL when there is none. */
struct pg_fences {
    struct quire_val lower;
    struct quire_val upper;
    bool has_upper;
};

void pg_fences_of(const struct pg_image *img, struct pg_fences *f);

/* What all keys between the fences begin with. */
size_t pg_fences_prefix(const struct pg_fences *f);

/* ---- layouts ---- */

/* Offsets of a committed image's parts (PG-6). */
struct pg_layout {
    uint32_t lower;
    uint32_t upper;
    uint32_t fps; /* 0 in inner pages */
    uint32_t slots;
    uint32_t heads;
    uint32_t children; /* 0 in leaves */
    uint32_t sums;
    uint32_t ages; /* 0 unless AGED */
    uint32_t recs;
};

/* Where the parts of a committed image are; returns where its records begin,
 * so that its length is that plus the bytes of the records. Of `flags` AGED and
 * LABELED matter. */
size_t pg_layout_flags(enum pg_kind kind, unsigned nchain, unsigned flags,
                       size_t lower_len, size_t upper_len, size_t n,
                       struct pg_layout *lay);

static inline size_t pg_layout_of(enum pg_kind kind, unsigned nchain,
                                  size_t lower_len, size_t upper_len, size_t n,
                                  struct pg_layout *lay)
{
    return pg_layout_flags(kind, nchain, 0, lower_len, upper_len, n, lay);
}

/* The ages of the live entries of a working image as the fenced version `ref`
 * has them, into `ages`, which may be the image's own: what was written is the
 * newest, the rest is older by a fragment (with a step: in the whole page). */
void pg_ages_commit(const struct pg_image *img, const struct pg_ref *ref,
                    uint8_t *ages);

/* ---- building a committed image, records in key order ---- */

struct pg_build {
    struct pg_image *img;
    uint8_t *fps;  /* NULL in inner pages */
    uint8_t *ages; /* NULL unless AGED */
    uint32_t *heads;
    uint16_t *slots;
    struct pg_child *children; /* NULL in leaves */
    uint32_t n;                /* records so far */
};

/*
 * Begin the committed image of `ref` with room for exactly `n` records of
 * `recs_len` bytes together, and `ghosts` bytes behind them. false when `cap`
 * is too small.
 */
bool pg_build_begin(struct pg_build *b, const struct pg_ref *ref,
                    const uint64_t *sums, const struct pg_fences *fences,
                    size_t n, size_t recs_len, size_t ghosts, void *seg,
                    size_t cap);

/* Append a ghost; there is room. */
static inline void pg_build_ghost(struct pg_build *b, const struct pg_rec *rec)
{
    struct pg_image *img = b->img;

    memcpy(pg_at_mut(img, img->used + img->ghost_bytes), rec->start, rec->size);
    img->ghost_bytes += rec->size;
    img->nghosts++;
}

/*
 * All records are in their places: find out what heads may skip. Most pages
 * have nothing of the kind, since it is in the prefix; those without an upper
 * fence, as every root, have no prefix, and numbers of fixed width would there
 * have one head for all. An inner page's first key is its lower fence, which
 * need not begin as the others do.
 */
void pg_build_end(struct pg_build *b);

/* Enter the record `rec`, which the caller has written, or will write, at `off`
 * bytes from the image's start. */
static inline void pg_build_slot(struct pg_build *b, uint32_t off,
                                 const struct pg_rec *rec)
{
    b->heads[b->n] = pg_head(rec->suffix, rec->suffix_len);
    b->slots[b->n] = (uint16_t)(off / PG_REC_ALIGN);
    if (b->fps != NULL) {
        b->fps[b->n] = pg_fp(rec->suffix, rec->suffix_len);
    } else {
        b->children[b->n].id = pg_ref_peek_id(rec->val);
        atomic_init(&b->children[b->n].hint, PG_HINT_NONE);
        atomic_init(&b->children[b->n].where, 0);
    }
    b->n++;
}

/* The tombstones that a working image's commit puts behind the records
 * (image.c). */
void pg_build_ghosts(const struct pg_image *img, struct pg_build *b);
/* Bytes of these, and of the live records, labels and padding left out. */
size_t pg_ghost_bytes(const struct pg_image *img, unsigned step);
size_t pg_bare_bytes(const struct pg_image *img);

/* ---- label memories (label.c) ---- */

/*
 * A segment of its own: offsets of the labels of all slots, then the labels in
 * the order of their slots, each behind a byte that is its length.
 */
struct pg_labels {
    uint32_t magic;
    uint32_t n;       /* slots, as the image has */
    uint32_t len;     /* bytes of it all */
    uint32_t nlabels; /* of the slots, with a label; not 0 */
    uint32_t off[];   /* [n] bytes from the start; 0: no label */
};

#define PG_LABELS_MAGIC 0x626c6751u /* "Qglb" */

/* Bytes of a label memory. */
static inline size_t pg_labels_bytes(size_t n, size_t nlabels, size_t bytes)
{
    return nlabels == 0 ? 0
                        : sizeof(struct pg_labels) + n * sizeof(uint32_t) +
                              nlabels + bytes;
}

/* Begin one for `n` slots in `seg`, and let `img`, whose layout is LABELED, own
 * it; then add the labels by ascending slot. There is room. */
void pg_labels_begin(struct pg_image *img, unsigned n, void *seg);
void pg_labels_add(const struct pg_image *img, unsigned i,
                   const struct quire_val *label);

/* Is it what the image says? (PG-16) */
bool pg_check_labels(const struct pg_image *img);

/* ---- bodies (body.c has the layout) ---- */

#define PG_BODY_HEADER 16u       /* bytes */
#define PG_BODY_NO_UPPER 0xffffu /* upper_len: there is no upper fence */

/* Does a page of this kind have slots? */
static inline bool pg_kind_slotted(unsigned kind)
{
    return kind == PG_LEAF || kind == PG_INNER;
}

/* Are what a fragment says of itself and the length of its chain in accord?
 * A fenced one is a delta; one with a step stands on the whole page (PG-9). */
static inline bool pg_chain_ok(unsigned nchain, bool fenced, unsigned step)
{
    if (step != 0)
        return fenced && nchain == 1;
    return !fenced || nchain != 0;
}

/* Can there be a page of this kind at this level? */
static inline bool pg_kind_level_ok(unsigned kind, unsigned level)
{
    if (kind < PG_LEAF || kind > PG_RECORD || level > PG_LEVEL_MAX)
        return false;
    return kind == PG_INNER ? level != 0 : level == 0;
}

#endif /* QUIRE_PAGES_PG_IMPL_H */
