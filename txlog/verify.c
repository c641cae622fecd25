/*
 * verify.c - walk every page of every revision.
 *
 * A page belongs to the revision that wrote it, its reference says which. Below
 * a reference with an older birth there is nothing new, and that older revision's
 * own walk has been there; so every page version is checked once, with each
 * fragment of its chain, and the whole walk costs what the file holds. Pages are
 * read from the file, not from the cache, through the cache's own loader: its
 * checks are the checks. What only a parent knows is checked here: kind, level,
 * fences, count.
 */
#include "txlog/tx_impl.h"

/* Pages that are read ahead of the walk, twice as many at most. */
#define WALK_AHEAD 32u

struct walk {
    struct quire *db;
    void (*fault)(void *arg, const struct quire_fault *f);
    void *arg;
    struct quire_verify_report report;
    quire_rev rev;
    const char *tree; /* whose pages are walked, for the report */
    pg_id system;     /* root of the newest revision's index */
};

/* Count and report a fault; a status that ends the walk is returned. */
static quire_status found(struct walk *w, uint64_t off, quire_status rc)
{
    struct quire_fault f;

    if (rc != QUIRE_CORRUPT && rc != QUIRE_IO)
        return rc;
    w->report.faults++;
    f.rev = w->rev;
    f.file_off = off;
    f.status = rc;
    f.tree = w->tree;
    f.text = quire_error_detail();
    if (w->fault != NULL)
        w->fault(w->arg, &f);
    return QUIRE_OK;
}

static quire_status bad(struct walk *w, const struct pg_ref *ref,
                        const char *what)
{
    uint64_t off = pg_id_off(ref->id);

    return found(w, off,
                 ra_fail(QUIRE_CORRUPT, "page at offset %llu: %s",
                         (unsigned long long)off, what));
}

/* Read a page past the cache; the image is the caller's. */
static quire_status page_read(struct walk *w, const struct pg_ref *ref,
                              struct pg_image **img)
{
    struct quire_page page;
    quire_status rc;

    rc = pf_load(w->db->file, ref->id, (void *)(uintptr_t)ref, &page);
    if (rc != QUIRE_OK)
        return rc;
    *img = page.payload;
    w->report.pages++;
    w->report.fragments += 1u + ref->nchain;
    return QUIRE_OK;
}

/* A value in overflow pages, of a record in the page at `off`: every piece, and
 * that they add up. */
static quire_status walk_large(struct walk *w, uint64_t off,
                               const struct quire_val *val)
{
    struct pg_image *index = NULL;
    struct pg_image *img;
    struct quire_val slots, bytes;
    struct pg_large large;
    uint64_t sum = 0;
    quire_status rc;

    rc = pg_large_decode(val, &large);
    if (rc != QUIRE_OK)
        return found(w, off, rc);
    if (large.ref.birth > w->rev)
        return bad(w, &large.ref, "a value of a later revision");
    if (large.ref.birth < w->rev)
        return QUIRE_OK;
    rc = page_read(w, &large.ref, &index);
    if (rc != QUIRE_OK)
        return found(w, pg_id_off(large.ref.id), rc);
    pg_image_bytes(index, &slots);
    if (large.ref.kind == PG_OVERFLOW) {
        sum = slots.size;
    } else {
        for (uint64_t i = 0; i < slots.size / PG_OVSLOT_BYTES; i++) {
            struct pg_ref ref;

            rc = tx_piece_ref(&large, &slots, i, &ref);
            if (rc != QUIRE_OK)
                goto out;
            rc = page_read(w, &ref, &img);
            if (rc == QUIRE_OK) {
                pg_image_bytes(img, &bytes);
                sum += bytes.size;
                pf_image_free(w->db->pool, img);
                continue;
            }
            rc = found(w, pg_id_off(ref.id), rc);
            if (rc != QUIRE_OK)
                goto out;
            sum += ref.raw_len; /* reported once */
        }
    }
    rc = QUIRE_OK;
    if (sum != large.size)
        rc = bad(w, &large.ref, "a value's pages do not add up");

out:
    pf_image_free(w->db->pool, index);
    return rc;
}

/* What is looked at in each record of a tree. */
typedef quire_status (*record_fn)(struct walk *w, const struct pg_image *img,
                                  unsigned slot);

/* The walk has come to child `i` of `img`: have those read ahead that follow
 * the next WALK_AHEAD, at first these too. */
static void walk_ahead(struct walk *w, const struct pg_image *img, unsigned i)
{
    unsigned from = i == 0 ? 0 : i + WALK_AHEAD;
    struct pf_soon soon;

    if (i % WALK_AHEAD != 0)
        return;
    soon.n = 0;
    for (unsigned at = from; at < img->n && at < i + 2 * WALK_AHEAD; at++) {
        struct quire_val val;
        struct pg_ref child;

        pg_image_value(img, at, &val);
        if (pg_ref_decode(val.data, val.size, &child) != QUIRE_OK ||
            child.intent || child.birth != w->rev)
            continue;
        if (!pf_soon_add(&soon, &child))
            break;
    }
    pf_soon_read(w->db->file, &soon);
}

/* Walk what revision w->rev wrote at and below `ref`, the child in `slot` of
 * `parent`. The depth is its level, which falls: the loader sees to it. */
static quire_status walk_page(struct walk *w, const struct pg_ref *ref,
                              const struct pg_image *parent, unsigned slot,
                              record_fn each)
{
    struct pg_image *img = NULL;
    struct quire_val val;
    uint64_t below = 0;
    quire_status rc;

    if (ref->birth > w->rev)
        return bad(w, ref, "a page of a later revision");
    if (ref->birth < w->rev)
        return QUIRE_OK;
    rc = page_read(w, ref, &img);
    if (rc != QUIRE_OK)
        return found(w, pg_id_off(ref->id), rc);
    if (img->kind != PG_LEAF && img->kind != PG_INNER) {
        rc = bad(w, ref, "neither leaf nor inner page");
        goto out;
    }
    if (!tr_fences_meet(img, parent, slot)) {
        rc = bad(w, ref, "its fences are not its parent's");
        goto out;
    }
    for (unsigned i = 0; i < img->n; i++) {
        struct pg_ref child;

        if (img->level == 0) {
            rc = each != NULL ? each(w, img, i) : QUIRE_OK;
            if (rc == QUIRE_OK &&
                pg_image_value(img, i, &val) == PG_ENTRY_OVERFLOW)
                rc = walk_large(w, pg_id_off(ref->id), &val);
            if (rc != QUIRE_OK)
                goto out;
            continue;
        }
        walk_ahead(w, img, i);
        pg_image_value(img, i, &val);
        rc = pg_ref_decode(val.data, val.size, &child);
        if (rc != QUIRE_OK) {
            rc = found(w, pg_id_off(ref->id), rc);
            if (rc != QUIRE_OK)
                goto out;
            continue;
        }
        below += child.count;
        rc = walk_page(w, &child, img, i, each);
        if (rc != QUIRE_OK)
            goto out;
    }
    if (ref->count != (img->level > 0 ? below : img->n))
        rc = bad(w, ref, "its count of records is not what is below it");

out:
    pf_image_free(w->db->pool, img);
    return rc;
}

static quire_status walk_tree(struct walk *w, const struct pg_ref *root,
                              record_fn each)
{
    if (root->id == PG_ID_NONE && !root->intent)
        return QUIRE_OK;
    return walk_page(w, root, NULL, 0, each);
}

/* A record of the catalogue: a tree's root is walked. */
static quire_status walk_catalogue_record(struct walk *w,
                                          const struct pg_image *img,
                                          unsigned slot)
{
    char name[QUIRE_PAGE_MAX / 8 + 1];
    size_t len = pg_image_key_copy(img, slot, name);
    struct quire_val val;
    struct pg_ref root;
    const char *outer = w->tree;
    quire_status rc;

    if (len == 0 || name[0] != 'r' ||
        pg_image_value(img, slot, &val) != PG_ENTRY_PLAIN || val.size == 0)
        return QUIRE_OK;
    name[len] = '\0';
    w->tree = name + 1;
    rc = pg_ref_decode(val.data, val.size, &root);
    rc = rc == QUIRE_OK ? walk_tree(w, &root, NULL)
                        : found(w, pg_id_off(img->id), rc);
    w->tree = outer;
    return rc;
}

static quire_status walk_rev(struct walk *w, quire_rev rev)
{
    struct tx_pending where;
    struct pf_record rec;
    quire_status rc;

    w->rev = rev;
    w->tree = NULL;
    w->report.revisions++;
    rc = tx_rev_find(w->db, rev, &where);
    if (rc != QUIRE_OK) /* in the index: at or below its root */
        return found(w, pg_id_off(w->system), rc);
    rc = pf_record_read(w->db->file, where.id, where.stored_len, &rec);
    if (rc != QUIRE_OK)
        return found(w, pg_id_off(where.id), rc);
    if (rec.rev != rev)
        return found(
            w, pg_id_off(where.id),
            ra_fail(QUIRE_CORRUPT, "a record of revision %llu stands for %llu",
                    (unsigned long long)rec.rev, (unsigned long long)rev));
    rc = walk_tree(w, &rec.catalogue, walk_catalogue_record);
    if (rc != QUIRE_OK)
        return rc;
    w->tree = NULL;
    return walk_tree(w, &rec.system, NULL);
}

/* Records of the newest revision, all trees together. */
static quire_status count_records(struct walk *w, const struct tx_root *root)
{
    uint8_t key_buf[QUIRE_PAGE_MAX / 8];
    struct quire_val key, val;
    struct tr_tree catalogue;
    struct tr_cursor cur;
    enum pg_entry entry;
    struct pg_ref ref;
    quire_status rc;

    tr_tree_init(&catalogue, &w->db->env, NULL, &root->catalogue);
    tr_cursor_init(&cur, &catalogue, key_buf);
    while ((rc = tr_cursor_step(&cur, true)) == QUIRE_OK) {
        rc = tr_cursor_get(&cur, &key, &val, &entry);
        if (rc != QUIRE_OK)
            break;
        if (key.size > 0 && *(const char *)key.data == 'r' &&
            entry == PG_ENTRY_PLAIN && val.size > 0 &&
            pg_ref_decode(val.data, val.size, &ref) == QUIRE_OK)
            w->report.records += ref.count;
    }
    tr_cursor_reset(&cur);
    return rc == QUIRE_NOTFOUND || rc == QUIRE_CORRUPT || rc == QUIRE_IO
               ? QUIRE_OK /* what can't be read has been reported */
               : rc;
}

quire_status tx_verify(struct quire *db,
                       void (*fault)(void *arg, const struct quire_fault *f),
                       void *arg, struct quire_verify_report *report)
{
    struct walk w;
    struct tx_root root;
    quire_status rc = QUIRE_OK;

    memset(&w, 0, sizeof(w));
    w.db = db;
    w.fault = fault;
    w.arg = arg;
    tx_root_load(db, &root);
    w.system = root.system.id;
    for (quire_rev rev = 1; rev <= root.rev && rc == QUIRE_OK; rev++)
        rc = walk_rev(&w, rev);
    if (rc == QUIRE_OK)
        rc = count_records(&w, &root);
    if (report != NULL)
        memcpy(&report->revisions, &w.report.revisions,
               ra_min_u64(report->size, sizeof(*report)) -
                   offsetof(struct quire_verify_report, revisions));
    if (rc == QUIRE_OK && w.report.faults > 0)
        rc = ra_fail(QUIRE_CORRUPT, "%llu faults",
                     (unsigned long long)w.report.faults);
    return rc;
}
