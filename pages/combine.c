/*
 * combine.c - the combiner: bodies of a chain in, one committed image out.
 *
 * First every body is walked by itself: record by record, order, fences, values
 * (PG-1 to PG-5, PG-7). From then on its records are believed. A chain of one,
 * which is most of them, is copied in one piece, and its heads and slots are
 * made during that walk. A longer chain is merged twice, the first time only to
 * count what lives, since the arrays stand before the records and nothing is
 * allocated here.
 *
 * The merge is newest first. The whole page, at the end of the chain, has most
 * records; the deltas' least key is kept at hand, so that each of the whole
 * page's records costs one comparison, and the deltas are looked through only
 * when one of them moves on:
 *
 *       delta 0   --d---k-------            newest
 *       delta 1   --d-----m-----   least = d, of delta 0, hiding delta 1's
 *       whole     ab-cdefg-klm--
 *
 * A chain that has fences in each fragment may end with a delta (SLIDING): what
 * it lacks, newer ones have. Of such a chain it is remembered which fragment
 * each entry is from (PG-14), and of a DIFFERENTIAL one the tombstones of keys
 * that the whole page has (PG-15), since the next fragment must say so again.
 *
 * Labels stand in the records of bodies. They are taken out into the label memory
 * (label.c) on the way, so a page that has some is never copied in one piece.
 *
 * Whoever made the bytes may know how to make checksums. So the lengths are
 * checked against the bytes that are there, counts against what they imply,
 * and the image's length against `cap` before anything is written.
 */
#include "pages/pg_impl.h"

/* A body, its header taken apart. */
struct body {
    const uint8_t *recs;
    size_t recs_len; /* bytes */
    uint32_t nentries;
    uint32_t prefix_len;
    struct pg_fences fences; /* empty in a delta */
};

/* A position in a body that has been walked. */
struct cursor {
    const uint8_t *next;
    const uint8_t *end;
    struct pg_rec rec; /* the record before `next` */
    bool done;         /* no record: past the end */
};

struct merge {
    struct cursor cur[PG_CHAIN_MAX + 1]; /* newest first */
    unsigned n;     /* cursors; the last is the whole page's */
    unsigned least; /* delta with the least key, the newest such; n - 1: none */
    unsigned from;  /* which of them had the record that was taken last */
    bool last_has;  /* the last one has its key */
};

/* What a combination is about, and the status detail it leaves. */
struct combine {
    const struct pg_ref *ref;
    const struct pg_frag *frags;
    size_t key_max;
    void *labels; /* label memory to be made; NULL: there will be none */
    pg_id at;     /* the fragment being looked at */
};

static quire_status bad(const struct combine *c, const char *what)
{
    return ra_fail(QUIRE_CORRUPT, "page at offset %llu: %s",
                   (unsigned long long)pg_id_off(c->at), what);
}

/* ---- headers ---- */

/* Are the fragments the ones that the reference and the newest of them name?
 * (PG-9) */
static quire_status chain_check(struct combine *c, unsigned n)
{
    const struct pg_ref *ref = c->ref;
    const struct pg_frag *newest = &c->frags[0];

    c->at = ref->id;
    if (n == 0 || n > PG_CHAIN_MAX + 1 || n != ref->nchain + 1u)
        return bad(c, "its chain is not what its reference says");
    if (newest->id != ref->id || newest->sum != ref->sum ||
        newest->kind != ref->kind || newest->level != ref->level ||
        newest->birth != ref->birth || newest->count != ref->count ||
        newest->stored_len != ref->stored_len ||
        newest->raw_len != ref->raw_len ||
        newest->image_len != ref->image_len || newest->nchain != ref->nchain ||
        newest->fenced != ref->fenced || newest->step != ref->step ||
        newest->self_contained != (n == 1) ||
        !pg_chain_ok(newest->nchain, newest->fenced, newest->step))
        return bad(c, "it is not what its reference says");
    for (unsigned i = 1; i < n; i++) {
        const struct pg_frag *f = &c->frags[i];
        const struct pg_link *link = &newest->chain[i - 1];
        const struct pg_link *want = &ref->chain[i - 1];

        if (link->id != want->id || link->stored_len != want->stored_len ||
            link->raw_len != want->raw_len)
            return bad(c, "its chain is not what its reference says");
        c->at = f->id;
        if (f->id != link->id || f->sum != newest->sums[i - 1] ||
            f->stored_len != link->stored_len || f->raw_len != link->raw_len ||
            f->kind != newest->kind || f->level != newest->level ||
            f->birth > c->frags[i - 1].birth)
            return bad(c, "it does not belong into its chain");
        if (i < n - 1 && f->self_contained)
            return bad(c, "a whole page within its chain");
        if ((i == n - 1 || newest->fenced) && !f->self_contained && !f->fenced)
            return bad(c, "its chain does not end with a whole page");
        if (newest->step != 0 && !f->self_contained)
            return bad(c, "its chain does not end with a whole page");
    }
    return QUIRE_OK;
}

/* Take a body's header apart. */
static quire_status body_open(const struct combine *c,
                              const struct pg_frag *frag,
                              const struct quire_val *val, struct body *b)
{
    const uint8_t *p = val->data;
    size_t lower_len, upper_len, end, recs;
    bool has_upper;

    if (val->size != frag->raw_len || val->size < PG_BODY_HEADER)
        return bad(c, "its body is too short");
    b->nentries = ra_le32(p);
    b->prefix_len = ra_le16(p + 4);
    lower_len = ra_le16(p + 6);
    upper_len = ra_le16(p + 8);
    b->recs_len = ra_le32(p + 12);
    has_upper = upper_len != PG_BODY_NO_UPPER;
    if (!has_upper)
        upper_len = 0;
    if (p[10] != frag->level || p[11] != 0 || b->nentries != frag->nentries)
        return bad(c, "malformed body");
    if (lower_len > c->key_max || upper_len > c->key_max)
        return bad(c, "a fence is too long");
    if (!frag->self_contained && !frag->fenced && (lower_len != 0 || has_upper))
        return bad(c, "fences in a delta that has none");
    end = PG_BODY_HEADER + lower_len + upper_len;
    recs = ra_round_up(end, PG_REC_ALIGN);
    if (recs > val->size || b->recs_len != val->size - recs ||
        b->recs_len % PG_REC_ALIGN != 0 ||
        b->nentries > b->recs_len / PG_REC_ALIGN ||
        !pg_zero(p + end, recs - end))
        return bad(c, "the lengths in its body are wrong");
    b->recs = p + recs;
    b->fences = (struct pg_fences){
        .lower = { p + PG_BODY_HEADER, lower_len },
        .upper = { p + PG_BODY_HEADER + lower_len, upper_len },
        .has_upper = has_upper,
    };
    if (!frag->self_contained && !frag->fenced)
        return QUIRE_OK;
    if (has_upper && pg_cmp(b->fences.lower.data, lower_len,
                            b->fences.upper.data, upper_len) >= 0)
        return bad(c, "its fences are in the wrong order");
    if (b->prefix_len != pg_fences_prefix(&b->fences))
        return bad(c, "its prefix is not that of its fences");
    return QUIRE_OK;
}

/* ---- entries ---- */

/* A child's reference: exactly that, and one level down. */
static quire_status child_decode(const struct combine *c,
                                 const struct pg_rec *rec, struct pg_ref *ref)
{
    unsigned level = c->ref->level;
    size_t used;

    if (pg_ref_parse(rec->val, rec->val_len, ref, &used) != QUIRE_OK ||
        used != rec->val_len || ref->intent || ref->id == PG_ID_NONE)
        return bad(c, "a malformed reference");
    if (ref->level + 1u != level ||
        ref->kind != (level == 1 ? PG_LEAF : PG_INNER))
        return bad(c, "a reference to a page of a wrong kind or level");
    return QUIRE_OK;
}

/* Can the value be what its page says it is? (PG-5, PG-7) */
static quire_status value_check(const struct combine *c,
                                const struct pg_rec *rec, bool self_contained)
{
    struct quire_val val = { rec->val, rec->val_len };
    struct pg_large large;
    struct pg_ref ref;

    switch (rec->entry) {
    case PG_ENTRY_TOMB:
        if (self_contained || rec->val_len != 0)
            return bad(c, "a misplaced tombstone");
        return QUIRE_OK;
    case PG_ENTRY_OVERFLOW:
        if (c->ref->kind != PG_LEAF ||
            pg_large_decode(&val, &large) != QUIRE_OK || large.ref.intent)
            return bad(c, "a malformed large value");
        return QUIRE_OK;
    default:
        return c->ref->kind == PG_LEAF ? QUIRE_OK : child_decode(c, rec, &ref);
    }
}

/*
 * Check every record of `b`, a body of a page with `fences`, against all rules
 * that concern one body. `build`, if not NULL, gets heads and slots for the
 * records as they lie behind `recs_off`.
 */
static quire_status body_walk(const struct combine *c, const struct body *b,
                              const struct pg_fences *fences,
                              bool self_contained, struct pg_build *build)
{
    const uint8_t *lower = fences->lower.data;
    const uint8_t *upper = fences->upper.data;
    size_t prefix_len = b->prefix_len;
    struct pg_rec rec = { 0 };
    struct pg_rec before;
    quire_status rc;
    size_t off = 0;

    for (uint32_t i = 0; i < b->nentries; i++) {
        before = rec;
        if (off == b->recs_len ||
            pg_rec_parse(b->recs + off, b->recs_len - off, &rec) == 0)
            return bad(c, "a malformed record");
        if (prefix_len + rec.suffix_len > c->key_max)
            return bad(c, "a key is too long");
        if (i == 0 && pg_cmp(rec.suffix, rec.suffix_len, lower + prefix_len,
                             fences->lower.size - prefix_len) < 0)
            return bad(c, "a key below its lower fence");
        if (i > 0 && pg_cmp(before.suffix, before.suffix_len, rec.suffix,
                            rec.suffix_len) >= 0)
            return bad(c, "keys out of order");
        rc = value_check(c, &rec, self_contained);
        if (rc != QUIRE_OK)
            return rc;
        if (QUIRE_UNLIKELY((*rec.start & PG_REC_LABEL) != 0) &&
            (c->ref->kind != PG_LEAF || build != NULL))
            return bad(c, "a misplaced label");
        if (build != NULL)
            pg_build_slot(build, build->img->recs_off + (uint32_t)off, &rec);
        off += rec.size;
    }
    if (off != b->recs_len)
        return bad(c, "bytes behind its last record");
    if (b->nentries > 0 && fences->has_upper &&
        pg_cmp(rec.suffix, rec.suffix_len, upper + prefix_len,
               fences->upper.size - prefix_len) >= 0)
        return bad(c, "a key not below its upper fence");
    return QUIRE_OK;
}

/* ---- merging ---- */

static void cursor_next(struct cursor *cur)
{
    cur->done = cur->next == cur->end;
    if (!cur->done) {
        pg_rec_read(cur->next, &cur->rec);
        cur->next += cur->rec.size;
    }
}

static int rec_cmp(const struct pg_rec *a, const struct pg_rec *b)
{
    return pg_cmp(a->suffix, a->suffix_len, b->suffix, b->suffix_len);
}

static void least_find(struct merge *m)
{
    m->least = m->n - 1;
    for (unsigned i = 0; i < m->n - 1; i++) {
        if (m->cur[i].done)
            continue;
        if (m->least == m->n - 1 ||
            rec_cmp(&m->cur[i].rec, &m->cur[m->least].rec) < 0)
            m->least = i;
    }
}

static void merge_begin(struct merge *m, const struct body *bodies, unsigned n)
{
    m->n = n;
    for (unsigned i = 0; i < n; i++) {
        m->cur[i].next = bodies[i].recs;
        m->cur[i].end = bodies[i].recs + bodies[i].recs_len;
        cursor_next(&m->cur[i]);
    }
    least_find(m);
}

/* The newest record of the next key, tombstones included; false: no more. */
static bool merge_next(struct merge *m, struct pg_rec *rec)
{
    struct cursor *whole = &m->cur[m->n - 1];
    int c;

    m->from = m->n - 1;
    m->last_has = true;
    if (m->least == m->n - 1) {
        if (whole->done)
            return false;
        *rec = whole->rec;
        cursor_next(whole);
        return true;
    }
    c = whole->done ? 1 : rec_cmp(&whole->rec, &m->cur[m->least].rec);
    if (c < 0) {
        *rec = whole->rec;
        cursor_next(whole);
        return true;
    }
    *rec = m->cur[m->least].rec;
    m->from = m->least;
    m->last_has = c == 0;
    if (c == 0)
        cursor_next(whole);
    for (unsigned i = m->least; i < m->n - 1; i++) {
        if (!m->cur[i].done && rec_cmp(&m->cur[i].rec, rec) == 0)
            cursor_next(&m->cur[i]);
    }
    least_find(m);
    return true;
}

/* ---- the image ---- */

/* Does what lives agree with the reference's count, and is an inner page's
 * first child where its keys begin? (PG-7, PG-10) */
static quire_status image_check(struct combine *c, const struct pg_image *img)
{
    uint64_t sum = img->n;
    struct pg_rec rec;
    struct pg_ref ref;
    quire_status rc;

    c->at = c->ref->id;
    if (img->kind == PG_INNER) {
        if (img->n == 0)
            return bad(c, "no children");
        if (pg_image_key_cmp(img, 0, pg_at(img, img->lower_off),
                             img->lower_len) != 0)
            return bad(c, "its first child is not at its lower fence");
        sum = 0;
        for (unsigned i = 0; i < img->n; i++) {
            pg_rec_read(pg_rec_at(img, i), &rec);
            rc = child_decode(c, &rec, &ref);
            if (rc != QUIRE_OK)
                return rc;
            if (ref.count > UINT64_MAX - sum)
                return bad(c, "its children hold too many records");
            sum += ref.count;
        }
    }
    if (sum != c->ref->count)
        return bad(c, "its number of records is not what its reference says");
    return QUIRE_OK;
}

static quire_status too_long(const struct combine *c)
{
    return bad(c, "its image is longer than its reference says");
}

static quire_status image_whole(struct combine *c, const struct body *b,
                                void *seg, size_t cap)
{
    struct pg_build build;
    quire_status rc;

    if (!pg_build_begin(&build, c->ref, NULL, &b->fences, b->nentries,
                        b->recs_len, 0, seg, cap))
        return too_long(c);
    rc = body_walk(c, b, &b->fences, true, &build);
    if (rc != QUIRE_OK)
        return rc;
    pg_copy(pg_at_mut(build.img, build.img->recs_off), b->recs, b->recs_len);
    pg_build_end(&build);
    return QUIRE_OK;
}

static bool fences_equal(const struct pg_fences *a, const struct pg_fences *b)
{
    return a->has_upper == b->has_upper &&
           pg_cmp(a->lower.data, a->lower.size, b->lower.data, b->lower.size) ==
               0 &&
           pg_cmp(a->upper.data, a->upper.size, b->upper.data, b->upper.size) ==
               0;
}

/* Is the record that was taken last a tombstone to be remembered? (PG-15) */
static bool is_ghost(const struct combine *c, const struct merge *m,
                     const struct pg_rec *rec)
{
    return c->ref->step != 0 && rec->entry == PG_ENTRY_TOMB && m->last_has;
}

/* What is known of it (PG-14). */
static uint8_t age_of(const struct combine *c, const struct merge *m)
{
    uint8_t age = (uint8_t)(m->from << PG_AGE_SHIFT);

    if (c->ref->step != 0 && !m->last_has)
        age |= PG_AGE_NEW;
    return age;
}

static quire_status image_merged(struct combine *c, const struct body *bodies,
                                 unsigned n, void *seg, size_t cap)
{
    const struct body *whole = &bodies[n - 1];
    struct pg_build build;
    struct merge m;
    struct pg_rec rec;
    quire_status rc;
    size_t nlive = 0;
    size_t recs_len = 0;
    size_t ghosts = 0;
    size_t nlabels = 0;
    size_t label_bytes = 0;
    struct quire_val label;
    uint32_t off;

    for (unsigned i = 0; i < n; i++) {
        c->at = c->frags[i].id;
        if (bodies[i].prefix_len != whole->prefix_len)
            return bad(c, "its prefix is not that of its whole page");
        if (c->frags[i].fenced &&
            !fences_equal(&bodies[i].fences, &whole->fences))
            return bad(c, "its fences are not those of its whole page");
        rc = body_walk(c, &bodies[i], &whole->fences,
                       c->frags[i].self_contained, NULL);
        if (rc != QUIRE_OK)
            return rc;
    }
    c->at = c->ref->id;
    merge_begin(&m, bodies, n);
    while (merge_next(&m, &rec)) {
        if (rec.entry != PG_ENTRY_TOMB) {
            nlive++;
            if (QUIRE_UNLIKELY((*rec.start & PG_REC_LABEL) != 0)) {
                pg_rec_label(&rec, &label);
                label_bytes += label.size;
                nlabels++;
                rec.size = (uint32_t)pg_rec_bytes(rec.suffix_len, rec.val_len);
            }
            recs_len += rec.size;
        } else if (is_ghost(c, &m, &rec)) {
            ghosts += rec.size;
        }
    }
    if (pg_labels_bytes(nlive, nlabels, label_bytes) != c->ref->label_len)
        return bad(c, "its labels are not what its reference says");
    if (!pg_build_begin(&build, c->ref, c->frags[0].sums, &whole->fences, nlive,
                        recs_len, ghosts, seg, cap))
        return too_long(c);
    if (nlabels != 0)
        pg_labels_begin(build.img, (unsigned)nlive, c->labels);
    off = build.img->recs_off;
    merge_begin(&m, bodies, n);
    while (merge_next(&m, &rec)) {
        if (rec.entry == PG_ENTRY_TOMB) {
            if (is_ghost(c, &m, &rec))
                pg_build_ghost(&build, &rec);
            continue;
        }
        if (build.ages != NULL)
            build.ages[build.n] = age_of(c, &m);
        if (QUIRE_UNLIKELY((*rec.start & PG_REC_LABEL) != 0)) {
            pg_rec_label(&rec, &label);
            pg_labels_add(build.img, build.n, &label);
            pg_build_slot(&build, off, &rec);
            off += (uint32_t)pg_rec_write(pg_at_mut(build.img, off), rec.entry,
                                          rec.suffix, rec.suffix_len, NULL, 0,
                                          rec.val, rec.val_len);
            continue;
        }
        pg_build_slot(&build, off, &rec);
        memcpy(pg_at_mut(build.img, off), rec.start, rec.size);
        off += rec.size;
    }
    QUIRE_ASSERT(build.n == nlive && off == build.img->used);
    QUIRE_ASSERT(build.img->ghost_bytes == ghosts);
    pg_build_end(&build);
    return QUIRE_OK;
}

quire_status pg_combine(const struct pg_ref *ref, const struct pg_frag *frags,
                        const struct quire_val *bodies, unsigned n,
                        uint32_t page_bytes, void *seg, size_t cap)
{
    return pg_combine_labeled(ref, frags, bodies, n, page_bytes, seg, cap,
                              NULL);
}

quire_status pg_combine_labeled(const struct pg_ref *ref,
                                const struct pg_frag *frags,
                                const struct quire_val *bodies, unsigned n,
                                uint32_t page_bytes, void *seg, size_t cap,
                                void *labels)
{
    struct combine c = {
        .ref = ref,
        .frags = frags,
        .key_max = pg_key_max(page_bytes),
        .labels = labels,
    };
    struct body b[PG_CHAIN_MAX + 1];
    quire_status rc;

    rc = chain_check(&c, n);
    if (rc != QUIRE_OK)
        return rc;
    if (!pg_kind_slotted(ref->kind))
        return bad(&c, "it is neither leaf nor inner page");
    if (ref->label_len != 0 && (labels == NULL || ref->kind != PG_LEAF))
        return bad(&c, "labels where there can be none");
    for (unsigned i = 0; i < n; i++) {
        c.at = frags[i].id;
        rc = body_open(&c, &frags[i], &bodies[i], &b[i]);
        if (rc != QUIRE_OK)
            return rc;
    }
    rc = n == 1 && ref->label_len == 0 ? image_whole(&c, &b[0], seg, cap)
                                       : image_merged(&c, b, n, seg, cap);
    if (rc != QUIRE_OK)
        return rc;
    rc = image_check(&c, seg);
    QUIRE_ASSERT_SLOW(rc != QUIRE_OK || pg_check_image(seg));
    return rc;
}
