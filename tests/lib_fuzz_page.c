/*
 * lib_fuzz_page.c - the target page: bodies put together, and everything that
 * is then done with an image.
 *
 * An input is a few bytes that say what page it is, a list of changes, and the
 * bodies of a chain, newest first. Headers of fragments and the reference are
 * made to fit, so that pg_combine() comes to the bodies; the headers of these
 * too, if the input wants it, and records in the wrong place are then left out.
 *
 * What is accepted must be a sound image that fits its own length exactly, hold
 * what a merge done in the plainest way holds, be found, sought and scanned,
 * and survive being copied, changed, encoded, split and merged.
 */
#include "pages/pg_impl.h"
#include "tests/lib_fuzz.h"
#include "tests/lib_page.h"
#include "tests/test.h"

#define BODIES_MAX 5u
#define RECS_MAX 4096u /* an input of FUZZ_LEN_MAX has fewer */
#define OPS_MAX 64u

static_assert(FUZZ_LEN_MAX / PG_REC_ALIGN <= RECS_MAX, "records have 4 bytes");

/* The first byte of an input beside the number of fragments, less one. */
#define PAGE_FENCED 64u /* deltas have fences */
#define PAGE_STEP 128u  /* and stand on the whole page, as DIFFERENTIAL's */

/* The second byte. */
#define PAGE_HEADERS 1u     /* make the bodies' headers fit */
#define PAGE_ORDER 2u       /* leave out records that are not in their place */
#define PAGE_BYTES 12u      /* 4 KiB << of these bits / 4 */
#define PAGE_ASCENDING 16u  /* split as a page that grew at its end */
#define PAGE_OPEN 64u       /* with FENCED: the last fragment is a delta too */
#define PAGE_UNLABELED 128u /* keep labels from the reference */
#define PAGE_EQUAL 32u /* but keep a record whose key is the one before's */

struct chain {
    struct pg_ref ref;
    struct pg_frag frags[BODIES_MAX + 1];
    struct quire_val bodies[BODIES_MAX + 1];
    uint8_t *buf[BODIES_MAX + 1];
    unsigned n;
    uint32_t page_bytes;
    bool fenced;  /* deltas have fences */
    bool open;    /* so has the last fragment, which is one */
    uint8_t step; /* of the newest fragment */
};

/* ---- bodies ---- */

static bool is_child(const struct pg_rec *rec, unsigned level)
{
    struct pg_ref ref;
    size_t used;

    return pg_ref_parse(rec->val, rec->val_len, &ref, &used) == QUIRE_OK &&
           used == rec->val_len && ref.level + 1u == level;
}

/* Where the records of a body begin, as its header says. */
static size_t body_begin(const uint8_t *p)
{
    size_t upper = ra_le16(p + 8);

    if (upper == PG_BODY_NO_UPPER)
        upper = 0;
    return ra_round_up(PG_BODY_HEADER + (size_t)ra_le16(p + 6) + upper,
                       PG_REC_ALIGN);
}

/* Make the header of a body fit what follows it; returns its new length. */
static size_t body_fit(uint8_t *p, size_t len, unsigned level, bool fences_here,
                       unsigned how, uint32_t *prefix_len)
{
    size_t lower = ra_le16(p + 6);
    size_t upper = ra_le16(p + 8);
    struct pg_fences fences = { .has_upper = upper != PG_BODY_NO_UPPER };
    struct pg_rec rec = { 0 };
    uint8_t *last = NULL;
    uint32_t last_len = 0;
    uint32_t n = 0;
    size_t recs;
    size_t from;
    size_t to;

    if (!fences_here) {
        lower = 0;
        fences.has_upper = false;
        ra_put_le16(p + 6, 0);
        ra_put_le16(p + 8, PG_BODY_NO_UPPER);
    }
    if (!fences.has_upper)
        upper = 0;
    recs = ra_round_up(PG_BODY_HEADER + lower + upper, PG_REC_ALIGN);
    if (recs > len)
        return len;
    memset(p + PG_BODY_HEADER + lower + upper, 0,
           recs - PG_BODY_HEADER - lower - upper);
    if (fences_here) {
        fences.lower = (struct quire_val){ p + PG_BODY_HEADER, lower };
        fences.upper = (struct quire_val){ p + PG_BODY_HEADER + lower, upper };
        *prefix_len = (uint32_t)pg_fences_prefix(&fences);
    }
    for (from = to = recs; from < len; from += rec.size) {
        if (pg_rec_parse(p + from, len - from, &rec) == 0)
            break;
        if (how & PAGE_ORDER && last != NULL &&
            pg_cmp(last, last_len, rec.suffix, rec.suffix_len) >=
                (how & PAGE_EQUAL ? 1 : 0))
            continue;
        if (how & PAGE_ORDER && level > 0 && rec.entry == PG_ENTRY_PLAIN &&
            !is_child(&rec, level))
            continue;
        memmove(p + to, p + from, rec.size);
        last = p + to + (rec.suffix - rec.start);
        last_len = rec.suffix_len;
        to += rec.size;
        n++;
    }
    ra_put_le32(p, n);
    ra_put_le16(p + 4, (uint16_t)*prefix_len);
    p[10] = (uint8_t)level;
    p[11] = 0;
    ra_put_le32(p + 12, (uint32_t)(to - recs));
    return to;
}

/* Body `i` with the fences of the last one, before its own records. */
static void body_fence(struct chain *c, unsigned i)
{
    const struct quire_val *last = &c->bodies[c->n - 1];
    const uint8_t *from = c->bodies[i].data;
    size_t skip = body_begin(from);
    size_t head = body_begin(last->data);
    size_t len;
    uint8_t *to;

    if (skip > c->bodies[i].size || head > last->size)
        return;
    len = head + c->bodies[i].size - skip;
    to = fuzz_alloc(len);
    memcpy(to, last->data, head);
    pg_copy(to + head, from + skip, c->bodies[i].size - skip);
    free(c->buf[i]);
    c->buf[i] = to;
    c->bodies[i] = (struct quire_val){ to, len };
}

static void bodies_read(struct chain *c, struct fuzz_in *in, unsigned how)
{
    unsigned level = c->ref.level;
    uint32_t prefix_len = 0;

    for (unsigned i = 0; i < c->n; i++) {
        size_t want = i + 1 < c->n ? fuzz_u16(in) : in->left;
        size_t len;
        const uint8_t *from = fuzz_bytes(in, want, &len);

        c->buf[i] = fuzz_alloc(len);
        if (len != 0)
            memcpy(c->buf[i], from, len);
        c->bodies[i] = (struct quire_val){ c->buf[i], len };
    }
    for (unsigned i = c->n; how & PAGE_HEADERS && i-- > 0;) {
        bool fences = i == c->n - 1 || c->fenced;
        size_t len;
        uint8_t *exact;

        if (c->bodies[i].size < PG_BODY_HEADER ||
            c->bodies[c->n - 1].size < PG_BODY_HEADER)
            continue;
        if (i < c->n - 1 && c->fenced)
            body_fence(c, i);
        len = body_fit(c->buf[i], c->bodies[i].size, level, fences, how,
                       &prefix_len);
        exact = fuzz_alloc(len);
        memcpy(exact, c->buf[i], len);
        free(c->buf[i]);
        c->buf[i] = exact;
        c->bodies[i] = (struct quire_val){ exact, len };
    }
}

/* Give `c` the reference to its newest fragment. */
static void ref_fit(struct chain *c)
{
    const struct pg_frag *f = &c->frags[0];

    c->ref.id = f->id;
    c->ref.sum = f->sum;
    c->ref.birth = f->birth;
    c->ref.count = f->count;
    c->ref.stored_len = f->stored_len;
    c->ref.raw_len = f->raw_len;
    c->ref.image_len = f->image_len;
    c->ref.kind = (uint8_t)f->kind;
    c->ref.level = f->level;
    c->ref.nchain = f->nchain;
    c->ref.fenced = f->fenced;
    c->ref.step = f->step;
    memcpy(c->ref.chain, f->chain, sizeof(f->chain));
}

/* The header of fragment `i`, but for its chain. */
static void frag_fit(struct chain *c, unsigned i)
{
    struct pg_frag *f = &c->frags[i];

    memset(f, 0, sizeof(*f));
    f->kind = (enum pg_kind)c->ref.kind;
    f->level = c->ref.level;
    f->id = pg_id_make(65536 - 4096 * i, 0);
    f->birth = 100 - i;
    f->sum = 1000 + i;
    f->nentries = c->bodies[i].size < PG_BODY_HEADER
                      ? 0
                      : ra_le32(c->bodies[i].data);
    f->raw_len = (uint32_t)c->bodies[i].size;
    f->stored_len = PG_FRAG_HEADER + f->raw_len;
    f->image_len = PG_IMAGE_MAX;
}

/* Headers and a reference that fit these bodies. */
static void chain_fit(struct chain *c)
{
    struct pg_frag *newest = &c->frags[0];

    for (unsigned i = 0; i < c->n; i++) {
        struct pg_frag *f = &c->frags[i];

        frag_fit(c, i);
        f->nchain = (uint8_t)(c->n - 1 - i);
        f->self_contained = i == c->n - 1 && !c->open;
        f->fenced = c->fenced && !f->self_contained;
        if (i == 0)
            continue;
        newest->chain[i - 1] = (struct pg_link){ f->id, f->stored_len,
                                                 f->raw_len };
        newest->sums[i - 1] = f->sum;
    }
    newest->step = c->step;
    ref_fit(c);
}

static void chain_count(struct chain *c, uint64_t count)
{
    c->ref.count = count;
    c->frags[0].count = count;
}

/* ---- images, with the label memories that they own ---- */

static void image_free(struct pg_image *img)
{
    if (img == NULL)
        return;
    free(pg_image_labels(img));
    free(img);
}

/* As pg_combine_labeled(), with a label memory of exactly its length. */
static quire_status combine_into(const struct chain *c, struct pg_image *img,
                                 size_t cap)
{
    void *labels = c->ref.label_len == 0 ? NULL : fuzz_alloc(c->ref.label_len);
    quire_status rc = pg_combine_labeled(&c->ref, c->frags, c->bodies, c->n,
                                         c->page_bytes, img, cap, labels);

    if (rc != QUIRE_OK)
        free(labels);
    else
        FUZZ_MUST(pg_image_labels(img) == labels &&
                  pg_label_bytes(img) == c->ref.label_len);
    return rc;
}

/* ---- the merge, in the plainest way ---- */

static struct pg_rec recs[RECS_MAX]; /* live and dead, any order */
static unsigned nrecs;

/* The newest record of each key; false: the bodies are not even records. */
static bool merge_plain(const struct chain *c)
{
    nrecs = 0;
    for (unsigned i = 0; i < c->n; i++) {
        const uint8_t *p = c->bodies[i].data;
        size_t len = c->bodies[i].size;
        unsigned nolder = nrecs;
        struct pg_rec rec;
        size_t at;

        if (len < PG_BODY_HEADER)
            return false;
        at = body_begin(p);
        /* What the header says; that it is true, fits_header() wants later. */
        if (at < len && ra_le32(p + 12) < len - at)
            len = at + ra_le32(p + 12);
        for (; at < len; at += rec.size) {
            unsigned k = 0;

            if (pg_rec_parse(p + at, len - at, &rec) == 0)
                return false;
            while (k < nolder && pg_cmp(recs[k].suffix, recs[k].suffix_len,
                                        rec.suffix, rec.suffix_len) != 0)
                k++;
            if (k < nolder)
                continue;
            FUZZ_MUST(nrecs < RECS_MAX);
            recs[nrecs++] = rec;
        }
    }
    return true;
}

/* Every byte of an accepted body is accounted for by its header. */
static void fits_header(const struct quire_val *body)
{
    size_t at = body_begin(body->data);

    FUZZ_MUST(at <= body->size &&
              ra_le32((const uint8_t *)body->data + 12) == body->size - at);
}

/* What a reference to the page counts. */
static uint64_t merge_count(const struct chain *c)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < nrecs; i++) {
        struct pg_ref ref;

        if (recs[i].entry == PG_ENTRY_TOMB)
            continue;
        if (c->ref.kind == PG_LEAF)
            sum++;
        else if (pg_ref_decode(recs[i].val, recs[i].val_len, &ref) == QUIRE_OK)
            sum += ref.count;
    }
    return sum;
}

/* The label memory of the page. */
static size_t merge_labels(void)
{
    size_t nlabels = 0;
    size_t nlive = 0;
    size_t bytes = 0;

    for (unsigned i = 0; i < nrecs; i++) {
        struct quire_val label;

        if (recs[i].entry == PG_ENTRY_TOMB)
            continue;
        pg_rec_label(&recs[i], &label);
        nlive++;
        nlabels += label.size != 0;
        bytes += label.size;
    }
    return pg_labels_bytes(nlive, nlabels, bytes);
}

static void merge_compare(const struct pg_image *img)
{
    unsigned nlive = 0;

    for (unsigned i = 0; i < nrecs; i++)
        nlive += recs[i].entry != PG_ENTRY_TOMB;
    FUZZ_MUST(nlive == img->n);
    for (unsigned i = 0; i < nrecs; i++) {
        uint8_t key[2 * QUIRE_PAGE_MAX / 8];
        struct quire_val val;
        struct quire_val label;
        struct quire_val want;
        enum pg_entry entry;
        bool found;
        unsigned at;

        if (img->prefix_len != 0)
            memcpy(key, pg_at(img, img->lower_off), img->prefix_len);
        pg_copy(key + img->prefix_len, recs[i].suffix, recs[i].suffix_len);
        at = pg_image_seek(img, key, img->prefix_len + recs[i].suffix_len,
                           &found);
        FUZZ_MUST(found == (recs[i].entry != PG_ENTRY_TOMB));
        if (!found)
            continue;
        entry = pg_image_value(img, at, &val);
        FUZZ_MUST(entry == recs[i].entry && val.size == recs[i].val_len &&
                  pg_cmp(val.data, val.size, recs[i].val, recs[i].val_len) ==
                      0);
        pg_image_label(img, at, &label);
        pg_rec_label(&recs[i], &want);
        FUZZ_MUST(pg_cmp(label.data, label.size, want.data, want.size) == 0);
    }
}

/* ---- looking at an image ---- */

static bool inside(const struct pg_image *img, const void *p, size_t len)
{
    const uint8_t *at = p;
    const uint8_t *start = (const uint8_t *)img;

    return len == 0 || (at >= start && at + len <= start + img->used);
}

static void look_slots(const struct pg_image *img)
{
    uint8_t key[QUIRE_PAGE_MAX / 8];

    for (unsigned i = 0; i < img->n; i++) {
        struct pg_key k;
        struct quire_val val;
        size_t len;
        bool found;

        pg_image_record(img, i, &k, &val);
        FUZZ_MUST(inside(img, k.prefix, k.prefix_len) &&
                  inside(img, k.suffix, k.suffix_len) &&
                  inside(img, val.data, val.size));
        len = pg_image_key_copy(img, i, key);
        FUZZ_MUST(len <= sizeof(key) && len == k.prefix_len + k.suffix_len);
        FUZZ_MUST(pg_image_key_cmp(img, i, key, len) == 0);
        FUZZ_MUST(pg_image_seek(img, key, len, &found) == i && found);
        FUZZ_MUST(pg_image_find(img, key, len) == i);
        if (!pg_is_work(img) && img->kind == PG_LEAF) {
            struct pg_probe probe;

            pg_image_probe(img, key, len, &probe);
            FUZZ_MUST(pg_image_probe_end(img, &probe) == i);
        }
        if (img->kind == PG_INNER && !pg_is_tomb(img, i)) {
            FUZZ_MUST(pg_image_child(img, key, len, false) == i);
            FUZZ_MUST(pg_image_child(img, key, len, true) < img->n);
        }
    }
}

/* Search for a key that need not be there. */
static void look_key(const struct pg_image *img, const uint8_t *key, size_t len)
{
    bool found;
    unsigned at = pg_image_seek(img, key, len, &found);

    FUZZ_MUST(at <= img->n);
    FUZZ_MUST(at == 0 || pg_image_key_cmp(img, at - 1, key, len) < 0);
    FUZZ_MUST(at == img->n || pg_image_key_cmp(img, at, key, len) >= 0);
    FUZZ_MUST(found ==
              (at < img->n && pg_image_key_cmp(img, at, key, len) == 0));
    FUZZ_MUST(pg_image_find(img, key, len) == (found ? at : img->n));
}

static void look_scan(const struct pg_image *img)
{
    struct quire_record out[16];
    uint8_t buf[700]; /* too little for all of them */
    unsigned i = 0;

    while (!pg_is_work(img) && img->kind == PG_LEAF && i < img->n) {
        struct pg_fetch fetch;
        unsigned n;

        pg_fetch_begin(&fetch, img, i, true);
        n = pg_image_records(img, i, ARRAY_LEN(out), out, buf, sizeof(buf),
                             &fetch, NULL);

        FUZZ_MUST(n <= ARRAY_LEN(out) && n <= img->n - i);
        for (unsigned k = 0; k < n; k++)
            FUZZ_MUST(pg_image_key_cmp(img, i + k, out[k].key.data,
                                       out[k].key.size) == 0 &&
                      inside(img, out[k].val.data, out[k].val.size));
        i += n == 0 ? 1 : n; /* a large value, or a key longer than `buf` */
    }
}

/* ---- changing it ---- */

static uint64_t image_count(const struct pg_image *img)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < img->n; i++) {
        struct quire_val val;
        struct pg_ref ref;

        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            continue;
        if (img->kind == PG_LEAF) {
            sum++;
        } else {
            FUZZ_MUST(pg_ref_decode(val.data, val.size, &ref) == QUIRE_OK);
            sum += ref.count;
        }
    }
    return sum;
}

/* A copy with room for an entry; NULL: that is more than an image may have. */
static struct pg_image *copy_for(const struct pg_image *img, size_t key_len,
                                 size_t val_len)
{
    size_t cap = pg_work_need(img, key_len, val_len);
    struct pg_image *to;

    if (cap > PG_IMAGE_MAX)
        return NULL;
    to = fuzz_alloc(cap);
    FUZZ_MUST(pg_work_copy(img, to, cap));
    FUZZ_MUST(pg_check_image(to) && to->garbage == 0);
    return to;
}

static bool in_fences(const struct pg_image *img, const void *key, size_t len)
{
    struct quire_val lower;
    struct quire_val upper;

    pg_image_lower(img, &lower);
    return pg_cmp(key, len, lower.data, lower.size) >= 0 &&
           (!pg_image_upper(img, &upper) ||
            pg_cmp(key, len, upper.data, upper.size) < 0);
}

/* A key made of one that is there, or of the input alone. */
static size_t op_key(const struct pg_image *img, struct fuzz_in *in,
                     size_t key_max, uint8_t *key)
{
    unsigned from = fuzz_u8(in);
    size_t len = 0;
    size_t want = fuzz_u8(in) % 12;
    size_t more;
    const uint8_t *tail;

    if (from < 128 && img->n > 0)
        len = pg_image_key_copy(img, from % img->n, key);
    else if (img->prefix_len != 0)
        memcpy(key, pg_at(img, img->lower_off), len = img->prefix_len);
    if (len > 0 && want > 8 && len > img->prefix_len)
        len--;
    tail = fuzz_bytes(in, want, &more);
    if (more > key_max - len)
        more = key_max - len;
    pg_copy(key + len, tail, more);
    return len + more;
}

/* The value of a put: some bytes, or in an inner page a child's reference. */
static size_t op_value(const struct pg_image *img, struct fuzz_in *in,
                       uint8_t *val)
{
    size_t want = fuzz_u8(in);
    size_t len;
    const uint8_t *from;

    if (img->kind == PG_INNER) {
        uint64_t rand = want;
        struct pg_ref ref;

        page_ref_make(&ref, img->level - 1u, want % 4, &rand);
        ref.count %= 1000;
        return pg_ref_encode(&ref, val);
    }
    from = fuzz_bytes(in, want, &len);
    pg_copy(val, from, len);
    return len;
}

/* Changes that the input lists, to a copy of `img`, which is freed. */
static struct pg_image *ops_do(struct pg_image *img, struct fuzz_in *in,
                               size_t key_max)
{
    for (unsigned i = 0; i < OPS_MAX && in->left > 0; i++) {
        unsigned op = fuzz_u8(in);
        struct quire_val label = { NULL, 0 };
        struct quire_val had;
        uint8_t key[QUIRE_PAGE_MAX / 8];
        uint8_t val[PG_REF_BYTES_MAX];
        struct quire_val k = { key, 0 };
        struct quire_val v = { val, 0 };
        uint32_t nlive = img->n - img->ntomb;
        struct pg_image *grown;
        bool existed = false;
        bool found;
        unsigned at;

        k.size = op_key(img, in, key_max, key);
        look_key(img, key, k.size);
        if (!in_fences(img, key, k.size))
            continue;
        at = pg_image_seek(img, key, k.size, &found);
        found = found && !pg_is_tomb(img, at);
        if (op % 4 == 0) {
            if (!found || (img->kind == PG_INNER && at == 0))
                continue;
            pg_work_del(img, at);
            FUZZ_MUST(img->n - img->ntomb == nlive - 1);
        } else {
            v.size = op_value(img, in, val);
            if (op % 4 == 1 && img->kind == PG_LEAF)
                label = (struct quire_val){ key, ra_min_u64(k.size,
                                                            QUIRE_LABEL_MAX) };
            if (!pg_work_put_labeled(img, &k, &v, &label, PG_ENTRY_PLAIN,
                                     &existed)) {
                grown = copy_for(img, k.size,
                                 v.size + PG_LABEL_ROOM(label.size));
                if (grown == NULL)
                    break;
                free(img);
                img = grown;
                FUZZ_MUST(pg_work_put_labeled(img, &k, &v, &label,
                                              PG_ENTRY_PLAIN, &existed));
            }
            pg_image_label(img, pg_image_find(img, key, k.size), &had);
            FUZZ_MUST(pg_cmp(had.data, had.size, label.data, label.size) == 0);
            FUZZ_MUST(existed == found);
            FUZZ_MUST(img->n - img->ntomb == nlive + !existed);
        }
        FUZZ_MUST(pg_check_image(img));
    }
    return img;
}

/* ---- from an image to bytes, and back ---- */

/* Bytes of an image, with the tombstones that it remembers (PG-15). */
static size_t image_bytes(const struct pg_image *img)
{
    return (size_t)img->used + img->ghost_bytes;
}

/* The committed image of `img`, `cap` bytes; NULL when there cannot be one. */
static struct pg_image *compact(const struct pg_image *img,
                                const struct pg_ref *ref, const uint64_t *sums,
                                size_t cap)
{
    struct pg_image *to;
    void *labels;

    if (cap > PG_IMAGE_MAX || ref->label_len > PG_IMAGE_MAX)
        return NULL;
    to = fuzz_alloc(cap);
    labels = ref->label_len == 0 ? NULL : fuzz_alloc(ref->label_len);
    FUZZ_MUST(pg_image_compact_labeled(img, ref, sums, to, cap, labels));
    FUZZ_MUST(image_bytes(to) == cap && pg_check_image(to));
    return to;
}

/* The image that `c` is put together to equals `want`. */
static void combine_equals(const struct chain *c, const struct pg_image *want)
{
    size_t len = image_bytes(want);
    struct pg_image *img = fuzz_alloc(len);
    void *theirs = pg_image_labels(want);
    void *labels;

    FUZZ_MUST(combine_into(c, img, len) == QUIRE_OK);
    labels = pg_image_labels(img);
    if (labels != NULL) { /* in both, but not at the same address */
        FUZZ_MUST(memcmp(labels, theirs, c->ref.label_len) == 0);
        memcpy((uint8_t *)img + img->recs_off - 8, &theirs, sizeof(theirs));
    }
    FUZZ_MUST(image_bytes(img) == len && memcmp(img, want, len) == 0);
    free(labels);
    free(img); /* PG-8 */
}

static uint8_t *encode(const struct pg_image *img, enum pg_form form,
                       size_t *len)
{
    size_t cap = pg_body_bound(img, form);
    uint8_t *body = fuzz_alloc(cap);
    uint32_t nentries = 0;

    *len = pg_body_encode(img, form, body, cap, &nentries);
    FUZZ_MUST(*len >= PG_BODY_HEADER && *len <= cap);
    FUZZ_MUST(ra_le32(body) == nentries);
    FUZZ_MUST(pg_body_encode(img, form, body, *len - 1, &nentries) == 0);
    FUZZ_MUST(pg_body_encode(img, form, body, *len, &nentries) == *len);
    return body;
}

/* Written as a whole page, and read. */
static void whole_again(const struct chain *c, const struct pg_image *work)
{
    struct chain w = { .n = 1, .page_bytes = c->page_bytes };
    struct pg_image *want;
    size_t len;

    w.buf[0] = encode(work, PG_FORM_WHOLE, &len);
    w.bodies[0] = (struct quire_val){ w.buf[0], len };
    w.ref.kind = c->ref.kind;
    w.ref.level = c->ref.level;
    chain_fit(&w);
    chain_count(&w, image_count(work));
    w.ref.label_len = (uint32_t)pg_label_bytes(work);
    want = compact(work, &w.ref, NULL, pg_image_compact_bytes(work, 0));
    if (want != NULL && len <= PG_RAW_MAX)
        combine_equals(&w, want);
    image_free(want);
    free(w.buf[0]);
}

/* Written as a strategy wants it, on top of `c`, and read. Marks entries. */
static void plan_again(const struct chain *c, struct pg_image *work,
                       quire_versioning versioning, unsigned window)
{
    struct chain d = { .page_bytes = c->page_bytes, .ref = c->ref };
    struct pg_plan plan;
    struct pg_frag_in in;
    struct pg_image *want;
    size_t len;

    if (work->nchanged == 0)
        return; /* nothing is written of it */
    memset(&in, 0, sizeof(in));
    pg_plan_make(work, &c->ref, versioning, window, &plan);
    pg_plan_mark(work, &plan);
    FUZZ_MUST(pg_check_image(work));
    pg_plan_links(&plan, &c->ref, c->frags[0].sums, &in);
    FUZZ_MUST(in.nchain < window);
    d.buf[0] = encode(work, plan.form, &len);
    FUZZ_MUST(len <= plan.body_bytes);
    d.bodies[0] = (struct quire_val){ d.buf[0], len };
    d.n = 1u + plan.nlinks;
    frag_fit(&d, 0);
    for (unsigned i = 1; i < d.n; i++) {
        d.frags[i] = c->frags[plan.from + i - 1];
        d.bodies[i] = c->bodies[plan.from + i - 1];
    }
    d.frags[0].id = pg_id_make(1 << 20, 0);
    d.frags[0].birth = 200;
    d.frags[0].nchain = in.nchain;
    d.frags[0].self_contained = in.self_contained;
    d.frags[0].fenced = in.fenced;
    d.frags[0].step = in.step;
    memcpy(d.frags[0].chain, in.chain, sizeof(in.chain));
    memcpy(d.frags[0].sums, in.sums, sizeof(in.sums));
    d.frags[0].count = image_count(work);
    ref_fit(&d);
    d.ref.label_len = (uint32_t)pg_label_bytes(work);
    want = compact(work, &d.ref, d.frags[0].sums,
                   pg_plan_image_bytes(work, &plan));
    if (want != NULL && len <= PG_RAW_MAX)
        combine_equals(&d, want);
    image_free(want);
    free(d.buf[0]);
}

/* ---- splitting and merging ---- */

static struct pg_image *slice(const struct pg_image *img, unsigned from,
                              unsigned to, const struct quire_val *lower,
                              const struct quire_val *upper)
{
    struct pg_image *part = fuzz_alloc(PG_IMAGE_MAX);

    FUZZ_MUST(pg_work_slice(img, from, to, lower, upper, part, PG_IMAGE_MAX));
    FUZZ_MUST(pg_check_image(part));
    return part;
}

static void split_and_merge(const struct pg_image *img, size_t page_bytes,
                            bool ascending)
{
    struct quire_val sep;
    struct quire_val lower;
    struct quire_val upper;
    uint8_t buf[QUIRE_PAGE_MAX / 8];
    struct pg_image *left;
    struct pg_image *right;
    struct pg_image *both;
    bool bounded;
    unsigned at;
    size_t a_len;
    size_t b_len;
    uint8_t *a;
    uint8_t *b;

    if (img->n - img->ntomb < 2)
        return;
    at = pg_work_split_point(img, page_bytes, ascending);
    FUZZ_MUST(at > 0 && at < img->n);
    sep = (struct quire_val){ buf, pg_work_separator(img, at, buf) };
    FUZZ_MUST(sep.size <= sizeof(buf));
    FUZZ_MUST(pg_image_key_cmp(img, at - 1, sep.data, sep.size) < 0);
    FUZZ_MUST(pg_image_key_cmp(img, at, sep.data, sep.size) >= 0);
    pg_image_lower(img, &lower);
    bounded = pg_image_upper(img, &upper);
    left = slice(img, 0, at, &lower, &sep);
    right = slice(img, at, img->n, &sep, bounded ? &upper : NULL);
    FUZZ_MUST(left->n > 0 && right->n > 0);
    FUZZ_MUST(left->n + right->n == img->n - img->ntomb);
    both = fuzz_alloc(PG_IMAGE_MAX);
    FUZZ_MUST(pg_work_merge(left, right, both, PG_IMAGE_MAX));
    FUZZ_MUST(pg_check_image(both));
    a = encode(img, PG_FORM_WHOLE, &a_len);
    b = encode(both, PG_FORM_WHOLE, &b_len);
    FUZZ_MUST(a_len == b_len && memcmp(a, b, a_len) == 0);
    free(b);
    free(a);
    free(both);
    free(right);
    free(left);
}

/* ---- the target ---- */

/* The image of `c` in memory of exactly its length; NULL: it was refused. */
static struct pg_image *combine(struct chain *c)
{
    struct pg_image *big = fuzz_alloc(PG_IMAGE_MAX);
    struct pg_image *img = NULL;
    size_t len;
    quire_status rc;

    rc = combine_into(c, big, PG_IMAGE_MAX);
    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_CORRUPT);
    if (rc == QUIRE_OK) {
        len = image_bytes(big);
        img = fuzz_alloc(len - 1);
        FUZZ_MUST(combine_into(c, img, len - 1) == QUIRE_CORRUPT);
        free(img);
        img = fuzz_alloc(len);
        FUZZ_MUST(combine_into(c, img, len) == QUIRE_OK);
        FUZZ_MUST(image_bytes(img) == len && pg_check_image(img));
        image_free(big);
    } else {
        free(big);
    }
    return img;
}

static void page_run(const uint8_t *data, size_t len)
{
    struct fuzz_in in = { data, len };
    unsigned nfrags = fuzz_u8(&in);
    unsigned how = fuzz_u8(&in);
    unsigned level = fuzz_u8(&in) % 3;
    unsigned variant = fuzz_u8(&in);
    struct chain c = { .n = 1 + (nfrags & (PAGE_FENCED - 1)) % BODIES_MAX };
    struct fuzz_in ops;
    struct pg_image *img;
    struct pg_image *work;
    size_t nops;
    unsigned nvariants = 0;
    unsigned window;

    while (quire_simd_variant(nvariants) != NULL)
        nvariants++;
    FUZZ_MUST(quire_simd_use(quire_simd_variant(variant % nvariants)) ==
              QUIRE_OK);
    c.page_bytes = QUIRE_PAGE_MIN << (how & PAGE_BYTES) / 4;
    c.ref.level = (uint8_t)level;
    c.ref.kind = level == 0 ? PG_LEAF : PG_INNER;
    if (nfrags & PAGE_FENCED && c.n > 1) {
        c.fenced = true;
        c.open = (how & PAGE_OPEN) != 0;
        if (nfrags & PAGE_STEP) {
            c.n = 2;
            c.open = false;
            c.step = (uint8_t)(1 + variant % PG_CHAIN_MAX);
        }
    }
    nops = fuzz_u16(&in);
    window = 2 + (unsigned)(nops >> 12) % (QUIRE_WINDOW_MAX - 1);
    ops.next = fuzz_bytes(&in, nops & 0xfff, &ops.left);
    bodies_read(&c, &in, how);
    chain_fit(&c);
    if (merge_plain(&c))
        chain_count(&c, merge_count(&c));
    if (!(how & PAGE_UNLABELED) && level == 0)
        c.ref.label_len = (uint32_t)ra_min_u64(merge_labels(), PG_IMAGE_MAX);
    img = combine(&c);
    if (img != NULL) {
        fuzz_accepted++;
        for (unsigned i = 0; i < c.n; i++)
            fits_header(&c.bodies[i]);
        merge_compare(img);
        look_slots(img);
        look_scan(img);
        look_key(img, data, len < 40 ? len : 40);
        split_and_merge(img, c.page_bytes, false);
        whole_again(&c, img);
        work = copy_for(img, 0, 0);
        if (work != NULL) {
            work = ops_do(work, &ops, pg_key_max(c.page_bytes));
            look_slots(work);
            plan_again(&c, work, 1 + variant / 4 % 5, window);
            whole_again(&c, work);
            split_and_merge(work, c.page_bytes, (how & PAGE_ASCENDING) != 0);
            free(work);
        }
    }
    image_free(img);
    for (unsigned i = 0; i < c.n; i++)
        free(c.buf[i]);
    FUZZ_MUST(quire_simd_use(NULL) == QUIRE_OK);
}

/* ---- seeds ---- */

#define PAGE_SEEDS 24u

/* A page of some records, or some changes to one. */
static size_t seed_body(unsigned level, const struct page_shape *sh, bool delta,
                        uint64_t *rand, uint8_t *buf, size_t cap)
{
    struct page_work w;
    struct page_model m = { 0 };
    uint32_t n;
    size_t len;

    page_work_init(&w, 16384, level == 0 ? PG_LEAF : PG_INNER, level, sh);
    if (level > 0)
        page_first_child(&w, &m, sh, rand);
    for (unsigned i = 0; i < (delta ? 3 : 8); i++)
        page_step(&w, &m, sh, rand, delta ? 6 : 0, 20);
    for (unsigned i = 0; level == 0 && i < w.img->n; i += 3) {
        uint8_t key[QUIRE_PAGE_MAX / 8];
        struct quire_val k = { key, pg_image_key_copy(w.img, i, key) };
        struct quire_val v = { "beside a label", i };
        struct quire_val l = { key, ra_min_u64(k.size, 9) };

        if (!pg_is_tomb(w.img, i))
            FUZZ_MUST(
                pg_work_put_labeled(w.img, &k, &v, &l, PG_ENTRY_PLAIN, NULL));
    }
    len = pg_body_encode(w.img, delta ? PG_FORM_DELTA : PG_FORM_WHOLE, buf, cap,
                         &n);
    page_model_fini(&m);
    page_work_fini(&w);
    return len;
}

static size_t page_seed(unsigned i, uint8_t *buf, size_t cap)
{
    static const uint8_t ops[] = { 1, 200, 3, 'a', 'b', 'c', 4, 1,   2, 3,
                                   4, 0,   1, 0,   1,   1,   2, 'z', 0 };
    unsigned nfrags = 1 + i % 3;
    unsigned level = i % 2 == 0 ? 0 : 1 + i % 4 / 3;
    const struct page_shape *sh = &page_shapes[i % 6];
    uint64_t rand = i;
    size_t at = 6 + sizeof(ops);

    if (i >= PAGE_SEEDS)
        return 0;
    buf[0] = (uint8_t)(nfrags - 1);
    if (i >= PAGE_SEEDS / 2)
        buf[0] |= PAGE_FENCED | (i % 3 == 1 ? PAGE_STEP : 0);
    buf[1] = (uint8_t)(PAGE_HEADERS | PAGE_ORDER | (i % 4) << 2 |
                       (i % 5 == 0 ? PAGE_OPEN : 0));
    buf[2] = (uint8_t)level;
    buf[3] = (uint8_t)(5 * i);
    ra_put_le16(buf + 4, (uint16_t)(sizeof(ops) | (i % 15) << 12));
    memcpy(buf + 6, ops, sizeof(ops));
    for (unsigned k = 0; k < nfrags; k++) {
        bool last = k == nfrags - 1;
        size_t head = last ? 0 : 2;
        size_t len = seed_body(level, sh, !last, &rand, buf + at + head,
                               cap - at - head);

        if (!last)
            ra_put_le16(buf + at, (uint16_t)len);
        at += head + len;
    }
    return at;
}

const struct fuzz_target fuzz_page = { "page", page_run, page_seed };
