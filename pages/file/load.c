/*
 * load.c - the loader that fills the cache.
 *
 * A page version is a chain of fragments, and its reference says all that a
 * load must know: where each one is, how long it is stored and how long
 * decompressed. So the memory for all of them and for the image is reserved in
 * one step, packed into as few segments as hold it:
 *
 *     segs[0]  image                                        (the result)
 *     segs[1]  label memory, of a leaf with labels          (the result)
 *     segs[2]  stored 0 | raw 0 | stored 1 | raw 1 | ...    (given back)
 *     segs[3]  ... when one segment is too small
 *
 * What is read past the system's cache comes in whole aligned units, so that
 * `stored` begins with what lies before the fragment in its unit.
 *
 * `raw` is there for fragments that may be stored compressed, as their lengths
 * tell. Then each fragment is acquired: read, verified, decompressed;
 * each is registered in the load as soon as it is held, and one exit releases
 * all, newest last, whatever failed.
 *
 * The disk is told of the older fragments before the newest is read: their places
 * are known from the reference, and so all are on their way at once. (The README
 * has what that gains.)
 *
 * Lengths in a reference are checked against the format's limits before any
 * memory is asked for them, and nothing is returned of a page that does not
 * verify (PF-11).
 */
#include <stdio.h>

#include "pages/file/pf_impl.h"

/* The image, its label memory, and for each fragment two buffers, each in its own
 * segment at worst. */
#define PF_LOAD_FRAGS (PG_CHAIN_MAX + 1)
#define PF_LOAD_SEGS (2 + 2 * PF_LOAD_FRAGS)

/* Where a buffer is in the reserved segments. */
struct pf_slot {
    unsigned seg;
    size_t off; /* bytes; where it is read past the system's cache, of the unit
                   in which it begins */
};

struct pf_load {
    struct pf_file *file;
    const struct pg_ref *ref;
    unsigned nfrags;                    /* 1 .. PF_LOAD_FRAGS */
    struct pg_link link[PF_LOAD_FRAGS]; /* newest first */
    struct pf_slot stored[PF_LOAD_FRAGS];
    struct pf_slot raw[PF_LOAD_FRAGS];
    bool direct[PF_LOAD_FRAGS];   /* read past the system's cache */
    bool once;                    /* the system need not keep them */
    bool packable[PF_LOAD_FRAGS]; /* may be compressed: `raw` is there */
    size_t seg_bytes[PF_LOAD_SEGS];
    void *segs[PF_LOAD_SEGS];
    unsigned nsegs;
    unsigned nresults; /* 1 or 2: the first of them, which are handed over */
    /* what has been acquired */
    unsigned nheld;
    struct pg_frag frag[PF_LOAD_FRAGS];
    struct quire_val body[PF_LOAD_FRAGS];
};

static quire_status pf_load_refuse(const struct pf_load *ld, const char *what)
{
    return ra_fail(QUIRE_CORRUPT, "%s: reference to the page at %llu: %s",
                   ld->file->path, PF_ULL(pg_id_off(ld->ref->id)), what);
}

/* Room for `len` bytes at a multiple of `align` in the buffer segments. */
static struct pf_slot pf_load_pack(struct pf_load *ld, size_t len, size_t align)
{
    unsigned seg = ld->nsegs - 1;
    struct pf_slot slot;

    len = ra_round_up(len, align);
    if (seg >= ld->nresults)
        ld->seg_bytes[seg] = ra_round_up(ld->seg_bytes[seg], align);
    if (seg < ld->nresults || len > QUIRE_SEG_MAX - ld->seg_bytes[seg]) {
        seg = ld->nsegs++;
        ld->seg_bytes[seg] = 0;
    }
    slot.seg = seg;
    slot.off = ld->seg_bytes[seg];
    ld->seg_bytes[seg] += len;
    return slot;
}

static uint8_t *pf_load_buf(const struct pf_load *ld, struct pf_slot slot)
{
    return (uint8_t *)ld->segs[slot.seg] + slot.off;
}

/* Check the reference against the limits and plan the memory. */
static quire_status pf_load_plan(struct pf_load *ld)
{
    const struct pg_ref *ref = ld->ref;

    if (ref->intent || ref->id == PG_ID_NONE || ref->nchain > PG_CHAIN_MAX ||
        ref->image_len == 0 || ref->image_len > PG_IMAGE_MAX ||
        ref->label_len > PG_IMAGE_MAX)
        return pf_load_refuse(ld, "malformed");
    ld->nfrags = ref->nchain + 1u;
    ld->link[0].id = ref->id;
    ld->link[0].stored_len = ref->stored_len;
    ld->link[0].raw_len = ref->raw_len;
    memcpy(&ld->link[1], ref->chain, ref->nchain * sizeof(ref->chain[0]));
    ld->seg_bytes[0] = ref->image_len;
    ld->nsegs = 1;
    if (ref->label_len != 0)
        ld->seg_bytes[ld->nsegs++] = ref->label_len;
    ld->nresults = ld->nsegs;
    for (unsigned i = 0; i < ld->nfrags; i++) {
        const struct pg_link *link = &ld->link[i];
        size_t whole;

        if (link->stored_len < PG_FRAG_HEADER ||
            link->stored_len > PF_FRAG_MAX || link->raw_len > PG_RAW_MAX)
            return pf_load_refuse(ld, "a length is out of range");
        /* The reference does not say whether a body is compressed, nor how long
         * the list of links before it is, which only the newest's is known of.
         * As long as this bound it is certainly not compressed. */
        ld->packable[i] = link->stored_len <
                          pg_frag_bound(link->raw_len,
                                        i == 0 ? ref->nchain : PG_CHAIN_MAX);
        whole = pg_id_off(link->id) % PF_DIRECT_ALIGN + link->stored_len;
        whole = ra_round_up(whole, PF_DIRECT_ALIGN);
        /* The very longest find no segment with what is around them. */
        ld->direct[i] = ld->file->direct.handle != NULL &&
                        whole <= QUIRE_SEG_MAX;
        if (ld->direct[i])
            ld->stored[i] = pf_load_pack(ld, whole, PF_DIRECT_ALIGN);
        else
            ld->stored[i] = pf_load_pack(ld, link->stored_len, PG_ALIGN);
        if (ld->packable[i])
            ld->raw[i] = pf_load_pack(ld, link->raw_len, PG_ALIGN);
    }
    return QUIRE_OK;
}

/* Read fragment `i` into its reserved buffer; *frag is where it begins. */
static quire_status pf_load_read(struct pf_load *ld, unsigned i, uint8_t **frag)
{
    const struct pg_link *link = &ld->link[i];
    uint8_t *buf = pf_load_buf(ld, ld->stored[i]);
    uint64_t off = pg_id_off(link->id);

    *frag = buf;
    if (!ld->direct[i])
        return pf_read_all(ld->file, buf, link->stored_len, off, ld->once);
    *frag += off % PF_DIRECT_ALIGN;
    return pf_read_direct(ld->file, buf, link->stored_len, off);
}

/* Let the disk begin with what is read after the newest fragment. */
static void pf_load_announce(const struct pf_load *ld)
{
    for (unsigned i = 1; i < ld->nfrags; i++) {
        if (!ld->direct[i])
            pf_read_soon(ld->file, pg_id_off(ld->link[i].id),
                         ld->link[i].stored_len);
    }
}

/* Read and verify fragment `i`, and find its body.
 * The newest one comes first: it knows the others' checksums. */
static quire_status pf_load_acquire(struct pf_load *ld, unsigned i)
{
    const struct pg_link *link = &ld->link[i];
    uint8_t *buf = NULL;
    uint64_t sum = ld->ref->sum;
    quire_status rc;

    if (i > 0) {
        if (ld->frag[0].nchain < i)
            return pf_load_refuse(ld, "its chain is longer than the page's");
        sum = ld->frag[0].sums[i - 1];
    }
    rc = QUIRE_POINT_RC(PF_CHAIN_READ, QUIRE_IO, pf_load_read(ld, i, &buf));
    if (rc != QUIRE_OK)
        return rc;
    pf_count(&ld->file->frags_read, 1);
    rc = QUIRE_POINT_RC(
        PF_CHAIN_CHECK, QUIRE_CORRUPT,
        pg_frag_check(buf, link->stored_len, link->id, &sum, &ld->frag[i]));
    if (rc != QUIRE_OK)
        return rc;
    if (ld->frag[i].raw_len != link->raw_len)
        return pf_load_refuse(ld, "a length is not the page's");
    /* One that is compressed although it has no room for that is refused. */
    return QUIRE_POINT_RC(
        PF_CHAIN_BODY, QUIRE_CORRUPT,
        pg_frag_body(&ld->frag[i], buf,
                     ld->packable[i] ? pf_load_buf(ld, ld->raw[i]) : NULL,
                     ld->packable[i] ? link->raw_len : 0, &ld->body[i]));
}

/* The counterpart: nothing of fragment `i` is used from here on. Its bytes are
 * in the load's own segments, which go all at once. */
static void pf_load_release(struct pf_load *ld, unsigned i)
{
    ld->body[i].data = NULL;
    ld->body[i].size = 0;
}

static quire_status pf_load_build(struct pf_load *ld, enum quire_kind *kind)
{
    const struct pg_ref *ref = ld->ref;
    size_t cap = ra_seg_class_bytes(ref->image_len);

    switch (ref->kind) {
    case PG_LEAF:
    case PG_INNER:
        *kind = ref->kind == PG_LEAF ? QUIRE_KIND_LEAF : QUIRE_KIND_INNER;
        return pg_combine_labeled(ref, ld->frag, ld->body, ld->nfrags,
                                  ld->file->geo.page_bytes, ld->segs[0], cap,
                                  ld->nresults > 1 ? ld->segs[1] : NULL);
    case PG_OVERFLOW:
    case PG_OVINDEX:
    case PG_DEAD:
        *kind = QUIRE_KIND_OVERFLOW;
        if (ld->nfrags != 1 || ld->frag[0].kind != ref->kind)
            return pf_load_refuse(ld, "its kind is not the page's");
        return pg_image_plain(ref, &ld->body[0], ld->segs[0], cap);
    default:
        return pf_load_refuse(ld, "no kind of page");
    }
}

quire_status pf_load(void *ctx, uint64_t key, void *arg,
                     struct quire_page *page)
{
    struct pf_load ld;
    enum quire_kind kind = QUIRE_KIND_LEAF;
    quire_status rc;

    ld.file = ctx;
    ld.ref = arg;
    ld.nheld = 0;
    /* Of two loads one leaves nothing behind in the system's cache that was not
     * there, since the page will be in ours: what is asked for often is kept
     * soon enough. relaxed: any order of the loads is as good */
    ld.once = atomic_fetch_add_explicit(&ld.file->loads, 1,
                                        memory_order_relaxed) %
                  2 !=
              0;
    QUIRE_ASSERT(key == ld.ref->id);
    (void)key;
    rc = pf_load_plan(&ld);
    if (rc != QUIRE_OK)
        return rc;
    rc = QUIRE_POINT_RC(
        PF_CHAIN_SEGMENTS, QUIRE_NOMEM,
        ra_seg_alloc_many(ld.file->env.pool, ld.seg_bytes, ld.nsegs, ld.segs));
    if (rc != QUIRE_OK)
        return rc;
    pf_load_announce(&ld);
    while (ld.nheld < ld.nfrags) {
        rc = pf_load_acquire(&ld, ld.nheld);
        if (rc != QUIRE_OK)
            goto out;
        ld.nheld++; /* counted only once it is held */
    }
    rc = QUIRE_POINT_RC(PF_CHAIN_MERGE, QUIRE_CORRUPT,
                        pf_load_build(&ld, &kind));
    if (rc != QUIRE_OK)
        goto out;
    page->payload = ld.segs[0];
    page->weight_bytes = 0;
    page->kind = kind;
    for (unsigned i = 0; i < ld.nresults; i++) {
        page->weight_bytes += ra_seg_class_bytes(ld.seg_bytes[i]);
        ld.segs[i] = NULL; /* hand-over: the cache's from now on */
    }

out: /* reverse order of acquisition */
    while (ld.nheld > 0)
        pf_load_release(&ld, --ld.nheld);
    while (ld.nsegs > 0)
        ra_seg_free(ld.file->env.pool, ld.segs[--ld.nsegs]);
    return rc;
}

void pf_image_free(struct ra_pool *pool, struct pg_image *img)
{
    if (img == NULL)
        return;
    ra_seg_free(pool, pg_image_labels(img));
    ra_seg_free(pool, img);
}

void pf_removed(void *ctx, uint64_t key, const struct quire_page *page,
                quire_cause cause)
{
    const struct pf_file *file = ctx;

    (void)key;
    (void)cause;
    pf_image_free(file->env.pool, page->payload);
}

quire_status pf_page_pin(struct pf_file *file, const struct pg_ref *ref,
                         pc_hint *hint, const struct pg_image **img,
                         uint32_t *frame)
{
    const void *payload = NULL;
    quire_status rc;

    QUIRE_ASSERT(file->cache != NULL);
    /* The cache has no such key. No page is there either: it would reach beyond
     * PF_FILE_MAX. */
    if (ref->id == UINT64_MAX)
        return ra_fail(QUIRE_CORRUPT, "%s: a page at %llu is referred to",
                       file->path, PF_ULL(pg_id_off(ref->id)));
    /* The loader reads through the reference and changes nothing of it. */
    rc = QUIRE_POINT_RC(PF_PAGE_PIN, QUIRE_NOMEM,
                        pc_pin(file->cache, ref->id, hint,
                               (void *)(uintptr_t)ref, &payload, frame));
    if (rc == QUIRE_OK)
        *img = payload;
    return rc;
}
