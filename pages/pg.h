/*
 * pg.h - what a page is: references, images, fragments, the combiner.
 *
 * Pure functions over memory: no I/O, no locks, no allocation, no globals. A
 * page lives in two forms. On disk it is a chain of fragments, of which the
 * newest self-contained one holds the whole page and the newer ones only what
 * changed. In memory it is one image in one segment: a committed image is
 * compact and never modified, a working image has slack and belongs to one
 * write transaction. Bytes from a file are checked, never trusted: whatever
 * they are, the answer is an image or QUIRE_CORRUPT.
 */
#ifndef QUIRE_PAGES_PG_H
#define QUIRE_PAGES_PG_H

#include <stdatomic.h>

#include "alloc/base.h"
#include "quire.h"

/* ---- image ids ---- */

/*
 * u64 = 48-bit file offset in 16-byte units << 16 | 16-bit recycle epoch of
 * the span. Address, cache key, hint check and guard against reuse in one.
 */
typedef uint64_t pg_id;

#define PG_ID_NONE ((pg_id)0) /* offset 0 is a superblock */
#define PG_ALIGN 16u          /* bytes: fragments start at multiples of it */

static inline pg_id pg_id_make(uint64_t off, uint16_t epoch)
{
    return (off / PG_ALIGN) << 16 | epoch;
}

static inline uint64_t pg_id_off(pg_id id)
{
    return (id >> 16) * PG_ALIGN;
}

/* ---- limits ---- */

#define PG_CHAIN_MAX (QUIRE_WINDOW_MAX - 1) /* fragments below the newest */
#define PG_LEVEL_MAX 24u                    /* height of a tree - 1 */
#define PG_IMAGE_MAX QUIRE_SEG_MAX          /* bytes of an image */
/* Payload bytes of an overflow page: header, and the tail of an output block,
 * fit beside it into 256 KiB. */
#define PG_OVERFLOW_MAX ((size_t)253952)
/* Fragments in a page's raw body are at most this long. */
#define PG_RAW_MAX PG_OVERFLOW_MAX

static inline size_t pg_key_max(uint32_t page_bytes)
{
    return page_bytes / 8;
}

/* Values longer than this go to overflow pages. */
static inline size_t pg_inline_max(uint32_t page_bytes)
{
    return page_bytes / 4;
}

/* ---- page references ---- */

/* Kinds of fragment; the numbers are on disk. */
enum pg_kind {
    PG_LEAF = 1,
    PG_INNER = 2,
    PG_OVERFLOW = 3, /* a piece of a large value: plain bytes */
    PG_OVINDEX = 4,  /* references of a large value's pieces */
    PG_DEAD = 5,     /* a list of fragments that a commit made dead */
    PG_RECORD = 6,   /* a commit record */
};

struct pg_link {
    pg_id id;
    uint32_t stored_len; /* bytes of the whole fragment, padding left out */
    uint32_t raw_len;    /* bytes of its body, decompressed */
};

/*
 * Where a page version is, and all that a load must know to reserve its memory
 * and read the chain at once. Kept in the parent's entry, or in the commit
 * record or the catalogue for a root.
 */
struct pg_ref {
    pg_id id;            /* newest fragment; PG_ID_NONE: no page */
    uint64_t sum;        /* its checksum */
    quire_rev birth;     /* revision that wrote it */
    uint64_t count;      /* records in and below the page; bytes for overflow */
    uint32_t stored_len; /* bytes of the newest fragment */
    uint32_t raw_len;    /* bytes of its body, decompressed */
    uint32_t image_len;  /* bytes of the committed image */
    uint32_t label_len;  /* bytes of its label memory; 0: no labels */
    uint8_t kind;        /* enum pg_kind */
    uint8_t level;       /* 0: leaf */
    uint8_t nchain;      /* 0 .. PG_CHAIN_MAX */
    bool fenced;  /* the newest fragment is a delta with fences (PG-14) */
    uint8_t step; /* DIFFERENTIAL: fragments written of the page since
                            its whole one, 1 .. PG_CHAIN_MAX; others: 0 */
    bool intent;  /* `id` is the number of a changed page that belongs to
                            a running transaction; never in a file */
    struct pg_link chain[PG_CHAIN_MAX]; /* older fragments, newest first; the
                                           last has the page's fences */
};

/* Bytes of an encoded reference: at most; with `nchain` links at most. */
#define PG_REF_BYTES_LINK 18u
#define PG_REF_BYTES(nchain) (54u + PG_REF_BYTES_LINK * (nchain))
#define PG_REF_BYTES_MAX PG_REF_BYTES(PG_CHAIN_MAX)

#define PG_REF_INTENT 0x80u /* in the byte of the kind */

/* Encode into `buf` (PG_REF_BYTES(ref->nchain) bytes); returns the length. The
 * image id is the first 8 bytes, little-endian. "No page" becomes zeros. */
size_t pg_ref_encode(const struct pg_ref *ref, uint8_t *buf);

/* Decode; trailing bytes are ignored. Returns QUIRE_OK; CORRUPT, *ref is then
 * undefined. References to intents are accepted (`intent` says so; of their
 * lengths nothing is asked), and so is "no page", which is all zeros. */
quire_status pg_ref_decode(const void *buf, size_t len,
                           struct pg_ref *ref) QUIRE_MUST_CHECK;

/* The image id of an encoded reference of at least 8 bytes. */
static inline pg_id pg_ref_peek_id(const void *buf)
{
    return ra_le64(buf);
}

/* Is a good encoded reference one to an intent? */
static inline bool pg_ref_peek_intent(const void *buf)
{
    return (((const uint8_t *)buf)[16] & PG_REF_INTENT) != 0;
}

/* ---- varints: LEB128, shortest form only ---- */

#define PG_VARINT_MAX 10u /* bytes */
size_t pg_varint_encode(uint8_t *buf, uint64_t value);
/* Returns the bytes read; 0: cut, overlong or more than 64 bits. */
size_t pg_varint_decode(const uint8_t *buf, size_t len, uint64_t *value);

/* ---- images ---- */

/* Where a reader remembers the cache frame of a child; the cache's pc_hint. */
typedef _Atomic uint32_t pg_hint;

/*
 * Beside each child of a committed inner image. `hint` and `where` are all that
 * ever changes in a committed image: whoever uses them verifies them, or asks
 * for nothing but a prefetch. atomic, relaxed.
 */
struct pg_child {
    pg_id id; /* immutable; as in the child's reference */
    pg_hint hint;
    /* Where the child's image was, in units of PG_WHERE from this one; 0: not
     * known. To fetch it before the cache has been asked for it. */
    _Atomic int32_t where;
};

#define PG_WHERE 4096 /* bytes: the smallest segment, to which all align */

#define PG_HINT_NONE UINT32_MAX

/* How an entry's value is to be read. */
enum pg_entry {
    PG_ENTRY_PLAIN = 0,    /* the value, or an encoded pg_ref in inner pages */
    PG_ENTRY_TOMB = 1,     /* deleted; in working images and fragments only */
    PG_ENTRY_OVERFLOW = 2, /* a struct pg_large, encoded */
};

/*
 * The header of every image, at the start of its segment. Offsets are from
 * there. Committed images are immutable but for the hints; a working image
 * belongs to the owner thread. Only leaf and inner pages have slots; for
 * overflow pages, `recs_off` and `used` bound the bytes.
 */
struct pg_image {
    uint32_t magic;
    uint8_t kind;   /* enum pg_kind */
    uint8_t level;  /* 0: leaf */
    uint8_t flags;  /* PG_IMAGE_* */
    uint8_t nchain; /* links below the newest fragment */
    /* What a search needs, within the first cache line. */
    uint32_t n;          /* slots, tombstones included */
    uint32_t ntomb;      /* of these, tombstones */
    uint16_t prefix_len; /* bytes that all keys begin with, left out in slots:
                             the common prefix of the fences */
    uint16_t head_skip;  /* bytes that the suffixes begin with, all but an
                            inner page's first; heads are of what follows. As
                            many as can be in committed images that are not
                            settled */
    uint32_t lower_off;
    uint32_t fps_off;      /* u8[slot_cap], leaves: fingerprints; else 0 */
    uint32_t slots_off;    /* u16[slot_cap]: record offsets / 4 */
    uint32_t heads_off;    /* u32[slot_cap]: first key bytes after the prefix
                              and what is skipped */
    uint32_t children_off; /* struct pg_child[slot_cap], inner images; else 0 */
    uint32_t recs_off;     /* records, or an overflow page's bytes */
    uint32_t used;         /* bytes: end of the records */
    uint32_t cap;          /* bytes of the segment that may be used */
    uint32_t lower_len;    /* bytes of the lower fence: least possible key */
    uint32_t upper_len;    /* bytes of the upper fence: keys are below it */
    uint32_t upper_off;
    uint32_t sums_off;    /* u64[nchain]: checksums of the chain's links */
    uint32_t ages_off;    /* u8[slot_cap] of PG_AGE_*: working images, and
                            committed ones that are AGED; else 0 */
    uint32_t slot_cap;    /* slots that there is room for */
    uint32_t nchanged;    /* of the slots, changed by the owning transaction */
    uint32_t garbage;     /* bytes of records no slot points to */
    uint32_t tomb_bytes;  /* bytes of the tombstones' records */
    uint32_t nghosts;     /* committed: tombstones behind the records, see
                            PG-15; not among the slots */
    uint32_t ghost_bytes; /* bytes of them, from `used` on */
    quire_rev birth;      /* committed: of the newest fragment */
    pg_id id;             /* committed: image id */
};

#define PG_IMAGE_WORK 1u      /* a working image */
#define PG_IMAGE_WHOLE 2u     /* working: will be written self-contained */
#define PG_IMAGE_UPPER_INF 4u /* no upper fence: the rightmost page */
#define PG_IMAGE_AGED 8u      /* where each entry comes from is known (PG-14) */
#define PG_IMAGE_LABELED \
    16u                      /* committed leaf: it owns a label memory; working
                                 one: a record may have a label (PG-16) */
#define PG_IMAGE_SETTLED 32u /* committed as it was changed (PG-17) */

/* What is known of a slot's entry. All zeros: unchanged, of the newest fragment
 * (or it is not known of which), and the whole page below has the key. */
#define PG_AGE_CHANGED 1u /* working: by the owning transaction */
#define PG_AGE_NEW 2u     /* the whole page at the chain's end lacks the key */
#define PG_AGE_SHIFT 4u   /* above: index of its fragment, 0 the newest */

/* What a body holds. */
enum pg_form {
    PG_FORM_WHOLE = 0,  /* all entries, and the fences */
    PG_FORM_DELTA = 1,  /* the changed entries, tombstones included */
    PG_FORM_FENCED = 2, /* a delta, and the fences */
};

#define PG_REC_UNIT 4u /* bytes: slots are offsets in it */

struct pg_key { /* prefix, then suffix, is the key */
    const uint8_t *prefix;
    const uint8_t *suffix;
    uint32_t prefix_len;
    uint32_t suffix_len;
};

/* The key of slot `i` < img->n, and a copy of it into `buf`, which must hold
 * prefix and suffix; returns its length. */
void pg_image_key(const struct pg_image *img, unsigned i, struct pg_key *key);
size_t pg_image_key_copy(const struct pg_image *img, unsigned i, void *buf);

/* The value of slot `i`, and how to read it. */
enum pg_entry pg_image_value(const struct pg_image *img, unsigned i,
                             struct quire_val *val);

/* Both at once. */
enum pg_entry pg_image_record(const struct pg_image *img, unsigned i,
                              struct pg_key *key, struct quire_val *val);

/*
 * The record of slot `i` with its whole key. Where the page has a prefix the
 * key is put together in `buf`, which begins with the prefix already if
 * `prefixed`; else it is where it is.
 */
enum pg_entry pg_image_whole(const struct pg_image *img, unsigned i,
                             uint8_t *buf, bool prefixed, struct quire_val *key,
                             struct quire_val *val);

/*
 * What a cursor has asked memory for, so that records are there when it comes
 * to them: what lies `dist` bytes ahead, and behind the last record of its leaf
 * the first ones of the next.
 *
 * Where records lie in the order of their keys (PG-8), that is a line or two for
 * each record. A settled leaf (PG-17) has them in any order: while a cursor goes
 * through it the next one is asked for as a whole, as it lies in memory; and a
 * leaf for which that was not done, record by record.
 */
struct pg_fetch {
    uint32_t asked; /* bytes, from where the cursor enters the records; while it
                       is in a settled leaf: of the next, from its beginning */
    uint32_t dist;  /* grows from PG_FETCH_FIRST to PG_FETCH_MAX, lest a short
                       range ask for much that it does not want */
    bool forward;   /* where it goes */
    bool head;      /* the next leaf's first lines have been asked for */
    bool whole;     /* it is in a settled leaf that was asked for as a whole */
};

#define PG_FETCH_FIRST 1024u
#define PG_FETCH_GROWS 256u
#define PG_FETCH_MAX \
    4096u /* what a scan does while memory answers; a page of
                              the system's, at whose end the processor's own
                              reading ahead ends */

/* A cursor that will go on `forward` or not has come to slot `i`, not from a
 * neighbour. */
void pg_fetch_begin(struct pg_fetch *f, const struct pg_image *img, unsigned i,
                    bool forward);

/* It has come from the leaf `from` to its neighbour `to`. */
void pg_fetch_turn(struct pg_fetch *f, const struct pg_image *from,
                   const struct pg_image *to);

/* It is at slot `i` of `img`. `next` is where the neighbour was last seen; that
 * it is like `img` is a guess, too. NULL: not known. */
void pg_fetch_step(struct pg_fetch *f, const struct pg_image *img,
                   const struct pg_image *next, unsigned i);

/*
 * Up to `max` records of a committed leaf from slot `from` on, as *f goes, those
 * before the first that is not PLAIN. Keys are put together in `buf` where the
 * page has a prefix, as many as fit. Returns how many. `next` as above.
 */
unsigned pg_image_records(const struct pg_image *img, unsigned from,
                          unsigned max, struct quire_record *records,
                          uint8_t *buf, size_t buf_bytes, struct pg_fetch *f,
                          const struct pg_image *next);

/*
 * The first slot whose key is >= `key` (img->n if none); *found says whether it
 * is equal. Tombstones count. Any key, also one outside the fences.
 */
unsigned pg_image_seek(const struct pg_image *img, const void *key, size_t len,
                       bool *found);

/* The same for a cursor that will go on from there: *f begins. */
unsigned pg_image_seek_from(const struct pg_image *img, const void *key,
                            size_t len, bool *found, struct pg_fetch *f,
                            bool forward);

/*
 * The slot whose key is `key`, tombstones included; img->n: there is none. In
 * leaves by fingerprints, which touch fewer cache lines than pg_image_seek().
 */
unsigned pg_image_find(const struct pg_image *img, const void *key, size_t len);

/*
 * The same in two steps, for committed leaves: the first finds out which
 * records it may be and asks for their cache lines, the second looks at them.
 * Between the two there is time for other look-ups. `key` is needed for both.
 */
#define PG_PROBE_WORDS 4u
struct pg_probe {
    const uint8_t *suffix;
    size_t len;                    /* bytes of the suffix */
    uint64_t bits[PG_PROBE_WORDS]; /* slots to look at, of the first ones */
    uint8_t fp;
    bool none; /* the key does not begin with the page's prefix */
};
void pg_image_probe(const struct pg_image *img, const void *key, size_t len,
                    struct pg_probe *probe);
unsigned pg_image_probe_end(const struct pg_image *img,
                            const struct pg_probe *probe);

/* Ask for the cache lines that pg_image_find() will read in a committed leaf
 * of the common sort. (Always inline: compilers drop calls of functions that
 * do nothing but prefetch.) */
static inline __attribute__((always_inline)) void pg_image_prefetch(
    const struct pg_image *img)
{
    const char *p = (const char *)img;

    /* Header, fences, fingerprints and slots of 130 records: more is not worth
     * it, less is likely to be wasted. */
    for (unsigned i = 0; i < 9; i++)
        __builtin_prefetch(p + 64 * i);
}

/* The same of pg_image_seek(): header and fences, and behind the fingerprints
 * slots and heads. */
static inline __attribute__((always_inline)) void pg_image_prefetch_seek(
    const struct pg_image *img)
{
    const char *p = (const char *)img;

    for (unsigned i = 0; i < 18; i++)
        if (i != 3)
            __builtin_prefetch(p + 64 * i);
}

/* Inner pages: the slot of the child that holds `key`, which is not below the
 * lower fence; with `below`, the child that holds the greatest keys below
 * `key` (slot 0 when `key` is the lower fence). Tombstones are passed over to
 * the left: the keys of a child that went belong to its left neighbour, and
 * slot 0 is never deleted. */
unsigned pg_image_child(const struct pg_image *img, const void *key, size_t len,
                        bool below);

/* Compare the key of slot `i` with `key` bytewise: < 0, 0, > 0. */
int pg_image_key_cmp(const struct pg_image *img, unsigned i, const void *key,
                     size_t len);

/* The fences. upper: false when there is none. */
void pg_image_lower(const struct pg_image *img, struct quire_val *fence);
bool pg_image_upper(const struct pg_image *img, struct quire_val *fence);

/* Slot `i` of an inner image, which readers have only committed ones of; NULL in
 * leaves. */
static inline struct pg_child *pg_image_child_at(const struct pg_image *img,
                                                 unsigned i)
{
    /* The one part of a committed image that changes: so const ends here. */
    char *children = (char *)(uintptr_t)img + img->children_off;

    if (img->children_off == 0)
        return NULL;
    QUIRE_ASSERT(i < img->n);
    return (struct pg_child *)(void *)children + i;
}

/* Its hint; NULL in leaves and working images. */
static inline pg_hint *pg_image_hint(const struct pg_image *img, unsigned i)
{
    struct pg_child *child = pg_image_child_at(img, i);

    return child == NULL || (img->flags & PG_IMAGE_WORK) != 0 ? NULL
                                                              : &child->hint;
}

/* Where the image of `child` of `img` was last seen, to be prefetched, or to be
 * compared with where it is; never to be read. `img` itself: it is not known. */
static inline const struct pg_image *pg_child_guess(
    const struct pg_image *img, const struct pg_child *child)
{
    int32_t where = atomic_load_explicit(&child->where, memory_order_relaxed);

    return (const struct pg_image *)((uintptr_t)img +
                                     (uintptr_t)((intptr_t)where * PG_WHERE));
}

/* Remember that it is at `at`. */
static inline void pg_child_seen(const struct pg_image *img,
                                 struct pg_child *child,
                                 const struct pg_image *at)
{
    intptr_t diff = (intptr_t)((uintptr_t)at - (uintptr_t)img);
    int32_t where = 0;

    if (diff % PG_WHERE == 0 && diff / PG_WHERE <= INT32_MAX &&
        diff / PG_WHERE >= INT32_MIN)
        where = (int32_t)(diff / PG_WHERE);
    if (atomic_load_explicit(&child->where, memory_order_relaxed) != where)
        atomic_store_explicit(&child->where, where, memory_order_relaxed);
}

/* An overflow page's bytes. */
void pg_image_bytes(const struct pg_image *img, struct quire_val *bytes);

/* Verify every invariant of an image; false for the first that does not hold.
 * For assertions and tests; O(n). */
bool pg_check_image(const struct pg_image *img);

/* ---- labels (label.c) ---- */

/*
 * The label of slot `i` of a leaf, in place; size 0: it has none. In a committed
 * image it lies in the label memory, else behind the record's value.
 */
void pg_image_label(const struct pg_image *img, unsigned i,
                    struct quire_val *label);

/* The label memory that the image owns, a segment of its own that is given back
 * with it; NULL: it has none. */
void *pg_image_labels(const struct pg_image *img);

/* Bytes of the label memory of the committed image made from the working image
 * `img`, or of that which a committed one has. 0, in O(1), where no record was
 * given a label. */
size_t pg_label_bytes(const struct pg_image *img);

/* ---- working images ---- */

/* Bytes that a committed image of the live entries of `img` needs, with no
 * chain: what page sizes are compared with when splitting and merging. O(1).
 * In inner pages the padding of references counts, so that it is a bound. */
size_t pg_work_content(const struct pg_image *img);

/* Most bytes that one more entry adds to the above: the whole key, and what
 * an inner page has beside its slot, are counted. A label counts as bytes of
 * the value: PG_LABEL_ROOM(). */
size_t pg_entry_bytes(size_t key_len, size_t val_len);

/* What a label of `len` bytes takes behind a value. */
#define PG_LABEL_ROOM(len) ((len) == 0 ? (size_t)0 : (size_t)1 + (len))

/* An empty working image, WHOLE, in `seg` of `cap` bytes; `upper` NULL: none.
 * false when `cap` is too small. The fences are copied. */
bool pg_work_init(void *seg, size_t cap, enum pg_kind kind, unsigned level,
                  const struct quire_val *lower, const struct quire_val *upper);

/*
 * Copy `src` (committed or working) into `seg` as a working image, with records
 * packed and what room is left over shared between slots and records. Changed
 * marks, tombstones and WHOLE are kept from a working source. false when `cap`
 * is too small. `seg` must not overlap `src`.
 */
bool pg_work_copy(const struct pg_image *src, void *seg, size_t cap);

/* Smallest `cap` with which pg_work_copy() succeeds and an entry of these
 * lengths can be put afterwards. */
size_t pg_work_need(const struct pg_image *src, size_t key_len, size_t val_len);

/*
 * Put an entry, replacing one with the same key; marks it changed. `key` is
 * within the fences; neither it nor `val` lies in `img`. false when there is
 * no room: nothing has changed, and the caller copies to a larger (or
 * compacted) image. A replacement that is not longer never fails. *existed
 * (may be NULL): a live entry was replaced.
 */
bool pg_work_put(struct pg_image *img, const struct quire_val *key,
                 const struct quire_val *val, enum pg_entry entry,
                 bool *existed) QUIRE_MUST_CHECK;

/* The same with a label of 0 to QUIRE_LABEL_MAX bytes, which is not in `img`
 * either; pg_work_put() takes away the one that is there. */
bool pg_work_put_labeled(struct pg_image *img, const struct quire_val *key,
                         const struct quire_val *val,
                         const struct quire_val *label, enum pg_entry entry,
                         bool *existed) QUIRE_MUST_CHECK;

/* Would a put of a value of `val_len` bytes replace a live entry, in its place?
 * It then needs no room, and the page does not grow. */
bool pg_work_replaces(const struct pg_image *img, const struct quire_val *key,
                      size_t val_len);

/* Delete the live entry in slot `i`: WHOLE images lose the slot, others keep a
 * changed tombstone. Needs no room. */
void pg_work_del(struct pg_image *img, unsigned i);

/* The first slot from `i` on that the owning transaction has changed; img->n:
 * there is none. References to intents are in such slots only. */
unsigned pg_work_next_changed(const struct pg_image *img, unsigned i);

/* The hint of the child in slot `i` of an inner page. */
pg_hint *pg_work_hint(struct pg_image *img, unsigned i);

/* The child in slot `i`, which has been written, is in frame `hint` now, at
 * `at`. Both may be wrong, as hints may. */
void pg_work_child_seen(struct pg_image *img, unsigned i, uint32_t hint,
                        const struct pg_image *at);

/* Overwrite the value of slot `i` in place, at most as long as it is; a shorter
 * one is padded with zeros to the old length. Marks it changed if `change`. */
void pg_work_set(struct pg_image *img, unsigned i, const void *val, size_t len,
                 bool change);

/*
 * Where to split: the slot that becomes the first of the right half, 1 .. n-1,
 * halving the bytes; with `ascending`, at the end, so that the left half stays
 * as full as `page_bytes` allows. Needs n >= 2; counts live entries only.
 */
unsigned pg_work_split_point(const struct pg_image *img, size_t page_bytes,
                             bool ascending);

/* The shortest separator for a split at slot `at`: greater than the key at-1,
 * not greater than the key at. For inner pages it is the key at `at` itself.
 * Writes it to `buf` (of pg_key_max() bytes) and returns its length. */
size_t pg_work_separator(const struct pg_image *img, unsigned at, void *buf);

/* Copy the live entries of slots from .. to-1 into `seg` as a working, WHOLE
 * image with these fences (upper NULL: none), all marked changed. false when
 * `cap` is too small. */
bool pg_work_slice(const struct pg_image *src, unsigned from, unsigned to,
                   const struct quire_val *lower, const struct quire_val *upper,
                   void *seg, size_t cap);

/* The live entries of two neighbours as one WHOLE working image, with left's
 * lower and right's upper fence. false when `cap` is too small. */
bool pg_work_merge(const struct pg_image *left, const struct pg_image *right,
                   void *seg, size_t cap);

/* Bytes of the committed image of a working image; and build it in `seg`, for
 * the version that `ref` names, whose links have the checksums `sums`. Trailing
 * padding of references in inner pages is trimmed. false when too small. */
size_t pg_image_compact_bytes(const struct pg_image *img, unsigned nchain);
/* The same for a version whose newest fragment is fenced, of this step. */
size_t pg_image_aged_bytes(const struct pg_image *img, unsigned nchain,
                           unsigned step);
bool pg_image_compact(const struct pg_image *img, const struct pg_ref *ref,
                      const uint64_t *sums, void *seg, size_t cap);
/* The same for a version that may have labels: ref->label_len is what
 * pg_label_bytes() says, and `labels` has room for so many bytes (NULL if 0). The
 * image owns `labels` when this has succeeded. */
bool pg_image_compact_labeled(const struct pg_image *img,
                              const struct pg_ref *ref, const uint64_t *sums,
                              void *seg, size_t cap, void *labels);

/*
 * Make of a working image the committed one of the version that `ref` names,
 * where it lies: nothing is copied, and it keeps its slack (PG-17). Only without
 * tombstones, labels and references to intents, and with room for `sums` behind the records.
 * false: it is as it was, and pg_image_compact() serves.
 */
bool pg_work_settle(struct pg_image *img, const struct pg_ref *ref,
                    const uint64_t *sums);

/* ---- fragments ---- */

/* What a fragment is made from. */
struct pg_frag_in {
    enum pg_kind kind;
    uint8_t level;
    bool self_contained;
    pg_id id; /* where it will be */
    quire_rev birth;
    uint64_t count; /* becomes ref->count */
    uint32_t nentries;
    uint32_t image_len; /* becomes ref->image_len */
    uint32_t label_len; /* becomes ref->label_len; not in the fragment */
    uint8_t nchain;     /* links below; 0 if self-contained */
    bool fenced;        /* becomes ref->fenced */
    uint8_t step;       /* becomes ref->step */
    struct pg_link chain[PG_CHAIN_MAX];
    uint64_t sums[PG_CHAIN_MAX]; /* their checksums */
    const void *body;
    size_t body_len; /* <= PG_RAW_MAX */
};

#define PG_FRAG_HEADER 64u /* bytes */

/* Most bytes of a fragment with this body and chain. */
static inline size_t pg_frag_bound(size_t body_len, unsigned nchain)
{
    return PG_FRAG_HEADER + nchain * 32u + body_len;
}

/* The body of a working image's fragment in `buf` of `cap` bytes. Values of
 * inner pages are trimmed to their references. Returns its length, 0 when
 * `cap` is too small; *nentries. */
size_t pg_body_encode(const struct pg_image *img, enum pg_form form, void *buf,
                      size_t cap, uint32_t *nentries);

/* Most bytes of that body. O(1) for WHOLE, else O(n). */
size_t pg_body_bound(const struct pg_image *img, enum pg_form form);

/*
 * Encode a fragment into `out` of `cap` bytes, compressed when that is shorter
 * by at least an eighth, and the reference to it in *ref. Returns its length;
 * 0 when `cap` is less than pg_frag_bound().
 */
size_t pg_frag_encode(const struct pg_frag_in *in, void *out, size_t cap,
                      struct pg_ref *ref);

/* A fragment's header, decoded and found plausible. */
struct pg_frag {
    enum pg_kind kind;
    uint8_t level;
    bool self_contained;
    bool lz4;
    bool fenced;
    uint8_t step;
    uint8_t nchain;
    pg_id id;
    quire_rev birth;
    uint64_t count;
    uint64_t sum; /* as stored; checked by pg_frag_check() */
    uint32_t nentries;
    uint32_t image_len;
    uint32_t stored_len; /* bytes of the fragment, header included */
    uint32_t raw_len;
    uint32_t body_off; /* bytes from the fragment's start */
    struct pg_link chain[PG_CHAIN_MAX];
    uint64_t sums[PG_CHAIN_MAX];
};

/*
 * Decode the header in the first `len` (>= PG_FRAG_HEADER) bytes at `buf`,
 * without the chain and without the checksum: how recovery walks a batch.
 * Returns QUIRE_OK; CORRUPT: no fragment header is here.
 */
quire_status pg_frag_peek(const void *buf, size_t len,
                          struct pg_frag *frag) QUIRE_MUST_CHECK;

/* Decode the whole fragment in `buf`, exactly `len` bytes: header, chain,
 * checksum, and that it is the one that was asked for: its id, `sum` (when not
 * NULL). Returns QUIRE_OK; CORRUPT with the offset in the detail. */
quire_status pg_frag_check(const void *buf, size_t len, pg_id id,
                           const uint64_t *sum,
                           struct pg_frag *frag) QUIRE_MUST_CHECK;

/*
 * The body of a checked fragment: in place when stored raw, else decompressed
 * into `raw` of `cap` >= frag->raw_len bytes. Returns QUIRE_OK; CORRUPT.
 */
quire_status pg_frag_body(const struct pg_frag *frag, const void *buf,
                          void *raw, size_t cap,
                          struct quire_val *body) QUIRE_MUST_CHECK;

/*
 * Put a page together: bodies[0] is the newest fragment's, the last has the
 * fences; none but that is self-contained. Entries of newer fragments hide
 * older ones, tombstones included. Builds the committed image of `ref` in
 * `seg` of `cap` bytes, checking structure, order and bounds on the way.
 * `page_bytes` bounds key lengths.
 *
 * Returns: QUIRE_OK; CORRUPT: `seg` is then undefined. No allocation.
 */
quire_status pg_combine(const struct pg_ref *ref, const struct pg_frag *frags,
                        const struct quire_val *bodies, unsigned n,
                        uint32_t page_bytes, void *seg,
                        size_t cap) QUIRE_MUST_CHECK;
/* The same for a version that may have labels: `labels` has room for
 * ref->label_len bytes (NULL if 0), and belongs to the image if this returns
 * QUIRE_OK. */
quire_status pg_combine_labeled(const struct pg_ref *ref,
                                const struct pg_frag *frags,
                                const struct quire_val *bodies, unsigned n,
                                uint32_t page_bytes, void *seg, size_t cap,
                                void *labels) QUIRE_MUST_CHECK;

/* The image of an overflow, ovindex or dead page: header and plain bytes. The
 * bytes may already be in their place, pg_image_plain_bytes(0) into `seg`. */
quire_status pg_image_plain(const struct pg_ref *ref,
                            const struct quire_val *body, void *seg,
                            size_t cap) QUIRE_MUST_CHECK;

/* Bytes of the image of a plain page of `nbytes`. */
size_t pg_image_plain_bytes(size_t nbytes);

/* ---- what a commit writes of a changed page ---- */

/*
 * A strategy's decision, worked out from the ages of the slots; strategy.c. The
 * new fragment's links are `nlinks` of the version before, from fragment `from`
 * on, the newest being 0.
 */
struct pg_plan {
    enum pg_form form;
    uint8_t step;      /* of the new fragment */
    uint8_t from;      /* 0 .. ref->nchain */
    uint8_t nlinks;    /* 0 if WHOLE */
    uint8_t all_age;   /* SLIDING: entries of this age and above are rescued, */
    size_t some_bytes; /* and so many bytes of those one below */
    size_t body_bytes; /* most bytes of the body */
};

/*
 * Decide what is to be written of the working image `img`, whose committed
 * version is `ref` (id PG_ID_NONE: there is none), when chains may have
 * `window` fragments, 2 .. QUIRE_WINDOW_MAX. Changes nothing; O(n).
 */
void pg_plan_make(const struct pg_image *img, const struct pg_ref *ref,
                  quire_versioning versioning, unsigned window,
                  struct pg_plan *plan);

/* Mark the entries that the plan wants to be written beside the changed ones,
 * and unmark those that it can do without. To be done before the body is
 * encoded, and once; a plan made afterwards is another one. */
void pg_plan_mark(struct pg_image *img, const struct pg_plan *plan);

/* The links of the new fragment, from the version before, whose own links have
 * the checksums `sums`; and its form and step. */
void pg_plan_links(const struct pg_plan *plan, const struct pg_ref *ref,
                   const uint64_t *sums, struct pg_frag_in *in);

/* Bytes of the committed image. */
size_t pg_plan_image_bytes(const struct pg_image *img,
                           const struct pg_plan *plan);

/* ---- large values ---- */

/*
 * What stands in a leaf for a value in overflow pages: its length, the length
 * of every piece but the last, and the reference of the only piece (kind
 * OVERFLOW) or of the index (kind OVINDEX), whose body is one struct
 * pg_ovslot for each piece. Encoded in exactly PG_LARGE_BYTES, so that a
 * reference to an intent can be replaced in place.
 */
struct pg_large {
    uint64_t size;        /* bytes of the value */
    uint32_t piece_bytes; /* PG_OVERFLOW_MAX when written by this version */
    struct pg_ref ref;
};

#define PG_LARGE_BYTES 80u

size_t pg_large_encode(const struct pg_large *large, uint8_t *buf);
quire_status pg_large_decode(const struct quire_val *val,
                             struct pg_large *large) QUIRE_MUST_CHECK;

/* One piece in an index; 24 bytes on disk. */
struct pg_ovslot {
    pg_id id;
    uint64_t sum;
    uint32_t stored_len;
    uint32_t raw_len;
};

#define PG_OVSLOT_BYTES 24u

void pg_ovslot_encode(const struct pg_ovslot *slot, uint8_t *buf);
void pg_ovslot_decode(const uint8_t *buf, struct pg_ovslot *slot);

#endif /* QUIRE_PAGES_PG_H */
