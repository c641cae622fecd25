/*
 * flush.c - changed pages become fragments.
 *
 * Children first: a page is written when every page below it has been, and the
 * references to them stand in it. What is written of a page is decided by the
 * store's versioning (pages/strategy.c): its changed entries, perhaps some
 * others, or all of it, which starts a new chain. A page that was split, merged
 * or made anew is always written whole.
 *
 * Two uses. The commit writes all changed pages into its batch and keeps them
 * in the log until the batch is on its way, since a batch that fails must leave
 * nothing in the cache under ids that will be used again. Spilling writes
 * single pages ahead, into spans of their own, and lets them go at once.
 */
#include <stdatomic.h>

#include "txlog/tree/tr.h"

static bool page_is_plain(const struct pg_image *img)
{
    return img->kind != PG_LEAF && img->kind != PG_INNER;
}

/* What is to be written of a changed leaf or inner page. */
static void plan_page(const struct tr_env *env, const struct tr_intent *in,
                      struct pg_plan *plan)
{
    unsigned window = (unsigned)ra_min_u64(tr_window(env), in->links_max + 1u);

    pg_plan_make(in->img, &in->ref,
                 window < 2 ? QUIRE_VERSIONING_FULL : env->versioning,
                 window < 2 ? 2 : window, plan);
}

uint64_t tr_flush_bound(struct tr_log *log, uint64_t no)
{
    const struct tr_intent *in = tr_log_intent(log, no);
    struct pg_plan plan;
    size_t body;

    /* Entries of changed children count already: they were put at the width
     * of the widest reference. */
    if (page_is_plain(in->img)) {
        body = in->img->used - in->img->recs_off;
    } else {
        plan_page(log->env, in, &plan);
        body = plan.body_bytes;
    }
    return ra_round_up(pg_frag_bound(body, PG_CHAIN_MAX), PG_ALIGN);
}

/* Write the page itself; what is below it has been written. */
static quire_status write_page(struct tr_log *log, struct tr_intent *in,
                               quire_rev birth, uint64_t count, tr_sink sink)
{
    const struct tr_env *env = log->env;
    struct pg_frag_in frag;
    struct pg_ref ref;
    quire_status rc;

    memset(&frag, 0, sizeof(frag));
    frag.kind = in->img->kind;
    frag.level = in->img->level;
    frag.birth = birth;
    frag.count = count;
    if (page_is_plain(in->img)) {
        struct quire_val bytes;

        pg_image_bytes(in->img, &bytes);
        frag.self_contained = true;
        frag.nentries = 1;
        frag.count = bytes.size;
        frag.body = bytes.data;
        frag.body_len = bytes.size;
        frag.image_len = (uint32_t)pg_image_plain_bytes(bytes.size);
    } else {
        struct pg_plan plan;

        plan_page(env, in, &plan);
        pg_plan_mark(in->img, &plan);
        pg_plan_links(&plan, &in->ref, in->sums, &frag);
        frag.body_len = pg_body_encode(in->img, plan.form, log->scratch,
                                       PG_RAW_MAX, &frag.nentries);
        if (frag.body_len == 0)
            return ra_fail(QUIRE_TOOBIG, "a page of more than %zu bytes",
                           PG_RAW_MAX);
        frag.body = log->scratch;
        frag.image_len = (uint32_t)pg_plan_image_bytes(in->img, &plan);
        frag.label_len = (uint32_t)pg_label_bytes(in->img);
    }
    rc = sink(env->file, &frag, &ref);
    if (rc != QUIRE_OK)
        return rc;
    in->before = in->ref.id;
    in->before_birth = in->ref.birth;
    in->ref = ref;
    memcpy(in->sums, frag.sums, sizeof(in->sums));
    in->written = true;
    return QUIRE_OK;
}

/* Hand the image itself to the cache, if it is not larger than one made anew
 * and no savepoint knows of it. Then the log has it no longer. Of inner pages
 * there are few, but each commit changes some: they may be twice as large. */
static bool hand_over(struct tr_log *log, struct tr_intent *in, uint32_t *hint)
{
    const struct tr_env *env = log->env;
    bool leaf = in->img->kind == PG_LEAF;
    size_t most = ra_seg_class_bytes(in->ref.image_len) * (leaf ? 1 : 2);
    struct quire_page page = {
        .payload = in->img,
        .weight_bytes = in->seg_bytes,
        .kind = leaf ? QUIRE_KIND_LEAF : QUIRE_KIND_INNER,
    };

    if (page_is_plain(in->img) || in->level != log->level ||
        in->older != TR_NONE || in->seg_bytes > most ||
        !pg_work_settle(in->img, &in->ref, in->sums))
        return false;
    if (QUIRE_POINT_RC(TR_CACHE_HAND_OVER, QUIRE_NOMEM,
                       pc_insert_hint(env->cache, in->ref.id, &page, hint)) ==
        QUIRE_OK)
        in->img = NULL;
    return true; /* or it will be loaded when it is wanted */
}

/* A committed image of the written page for the cache, if it can be had. Returns
 * where it is (never to be read: it may have gone by now), with a hint; NULL. */
static const struct pg_image *to_cache(struct tr_log *log, struct tr_intent *in,
                                       bool evict, uint32_t *hint)
{
    const struct pg_image *img = in->img;
    const struct tr_env *env = log->env;
    struct quire_page page;
    struct quire_val bytes;
    void *labels = NULL;
    void *seg = NULL;
    bool ok;

    if (hand_over(log, in, hint))
        return in->img == NULL ? img : NULL;
    if (!evict)
        seg = QUIRE_POINT(TR_CACHE_TRY, NULL,
                          ra_seg_try(env->pool, in->ref.image_len));
    else if (QUIRE_POINT_RC(TR_CACHE_SEGMENT, QUIRE_NOMEM,
                            ra_seg_alloc(env->pool, in->ref.image_len, &seg)) !=
             QUIRE_OK)
        seg = NULL;
    if (seg == NULL)
        return NULL; /* it will be loaded when it is wanted */
    page.weight_bytes = ra_seg_bytes(env->pool, seg);
    if (QUIRE_UNLIKELY(in->ref.label_len != 0)) {
        labels = QUIRE_POINT(TR_CACHE_LABELS, NULL,
                             ra_seg_try(env->pool, in->ref.label_len));
        if (labels == NULL) {
            ra_seg_free(env->pool, seg);
            return NULL;
        }
        page.weight_bytes += ra_seg_bytes(env->pool, labels);
    }
    if (page_is_plain(in->img)) {
        pg_image_bytes(in->img, &bytes);
        ok = pg_image_plain(&in->ref, &bytes, seg, page.weight_bytes) ==
             QUIRE_OK;
        page.kind = QUIRE_KIND_OVERFLOW;
    } else {
        ok = pg_image_compact_labeled(in->img, &in->ref, in->sums, seg,
                                      ra_seg_class_bytes(in->ref.image_len),
                                      labels);
        page.kind = in->img->level == 0 ? QUIRE_KIND_LEAF : QUIRE_KIND_INNER;
    }
    page.payload = seg;
    if (!ok || QUIRE_POINT_RC(TR_CACHE_INSERT, QUIRE_NOMEM,
                              pc_insert_hint(env->cache, in->ref.id, &page,
                                             hint)) != QUIRE_OK) {
        ra_seg_free(env->pool, labels);
        ra_seg_free(env->pool, seg);
        return NULL;
    }
    return seg;
}

/* The version before a written page makes room, unless an open revision may
 * read it: else the newest images would displace pages in use, or take fresh
 * memory while those that nobody wants keep theirs. */
static void superseded(struct tr_log *log, pg_id before, quire_rev birth)
{
    if (before != PG_ID_NONE && birth > log->needed)
        (void)pc_remove(log->env->cache, before); /* or it is not there */
}

/* The same for what is written ahead in revision `birth`. The version before
 * only goes before others until the commit, unless this transaction itself has
 * written it, so that nobody else can know it. */
static void superseded_ahead(struct tr_log *log, const struct tr_intent *in,
                             quire_rev birth)
{
    if (in->before == PG_ID_NONE)
        return;
    if (in->before_birth == birth) {
        superseded(log, in->before, birth);
        return;
    }
    if (in->before_birth > log->needed)
        pc_demote(log->env->cache, in->before);
    if (log->gone == NULL)
        log->gone = QUIRE_POINT(TR_GONE_SEGMENT, NULL,
                                ra_seg_try(log->env->pool, TR_GONE_BYTES));
    if (log->gone != NULL && log->ngone < TR_GONE_MAX)
        log->gone[log->ngone++] = (struct tr_gone){ in->before,
                                                    in->before_birth };
}

static quire_status flush_rec(struct tr_log *log, uint64_t no, quire_rev birth,
                              bool ahead, struct pg_ref *ref);

/* Write the changed pages that the entries of `no` name, and put the references
 * to them in. */
static quire_status flush_children(struct tr_log *log, uint64_t no,
                                   quire_rev birth, bool ahead)
{
    struct pg_image *img = tr_log_intent(log, no)->img;
    quire_status rc;

    for (unsigned i = pg_work_next_changed(img, 0); i < img->n;
         i = pg_work_next_changed(img, i + 1)) {
        uint8_t enc[PG_REF_BYTES_MAX];
        struct quire_val val;
        struct pg_ref ref;
        uint64_t child;

        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB ||
            !pg_ref_peek_intent(val.data))
            continue;
        child = pg_ref_peek_id(val.data);
        rc = flush_rec(log, child, birth, ahead, &ref);
        if (rc != QUIRE_OK)
            return rc;
        pg_work_set(img, i, enc, pg_ref_encode(&ref, enc), true);
        tr_log_intent(log, child)->slot = i;
        if (ahead)
            tr_log_drop(log, child);
    }
    return QUIRE_OK;
}

/* The same for the overflow pages of a leaf. */
static quire_status flush_large(struct tr_log *log, uint64_t no,
                                quire_rev birth, bool ahead)
{
    struct pg_image *img = tr_log_intent(log, no)->img;
    quire_status rc;

    for (unsigned i = pg_work_next_changed(img, 0); i < img->n;
         i = pg_work_next_changed(img, i + 1)) {
        uint8_t enc[PG_LARGE_BYTES];
        struct quire_val val;
        struct pg_large large;
        uint64_t page;

        if (pg_image_value(img, i, &val) != PG_ENTRY_OVERFLOW)
            continue;
        rc = pg_large_decode(&val, &large);
        if (rc != QUIRE_OK)
            return rc;
        if (!large.ref.intent)
            continue;
        page = large.ref.id;
        rc = flush_rec(log, page, birth, ahead, &large.ref);
        if (rc != QUIRE_OK)
            return rc;
        pg_work_set(img, i, enc, pg_large_encode(&large, enc), true);
        if (ahead)
            tr_log_drop(log, page);
    }
    return QUIRE_OK;
}

/* Depth is the height of the tree, and one for overflow pages. */
static quire_status flush_rec(struct tr_log *log, uint64_t no, quire_rev birth,
                              bool ahead, struct pg_ref *ref)
{
    struct tr_intent *in = tr_log_intent(log, no);
    quire_status rc = QUIRE_OK;
    uint32_t hint;

    if (in->img->level > 0)
        rc = flush_children(log, no, birth, ahead);
    else if (in->img->kind == PG_LEAF)
        rc = flush_large(log, no, birth, ahead);
    if (rc != QUIRE_OK)
        return rc;
    /* Entered, but nothing in it was changed in the end. */
    if (!page_is_plain(in->img) && in->ref.id != PG_ID_NONE &&
        in->img->nchanged == 0 && (in->img->flags & PG_IMAGE_WHOLE) == 0) {
        *ref = in->ref;
        return QUIRE_OK;
    }
    rc = write_page(log, in, birth, tr_log_count(log, no),
                    ahead ? pf_ahead_add : pf_batch_add);
    if (rc != QUIRE_OK)
        return rc;
    *ref = in->ref;
    if (ahead) {
        superseded_ahead(log, in, birth);
        (void)to_cache(log, in, false, &hint);
    }
    return QUIRE_OK;
}

quire_status tr_flush(struct tr_log *log, uint64_t no, quire_rev birth,
                      bool ahead, struct pg_ref *ref)
{
    quire_status rc = flush_rec(log, no, birth, ahead, ref);

    if (rc == QUIRE_OK && ahead)
        tr_log_drop(log, no);
    return rc;
}

static bool has_changed_child(const struct pg_image *img)
{
    struct quire_val val;

    if (img->level == 0)
        return false;
    for (unsigned i = pg_work_next_changed(img, 0); i < img->n;
         i = pg_work_next_changed(img, i + 1)) {
        if (pg_image_value(img, i, &val) != PG_ENTRY_TOMB &&
            pg_ref_peek_intent(val.data))
            return true;
    }
    return false;
}

/* Write `no` ahead and tell its parent. */
static quire_status spill(struct tr_log *log, uint64_t no, quire_rev birth)
{
    struct tr_intent *in = tr_log_intent(log, no);
    struct tr_tree *tree = in->tree;
    uint64_t parent_no = in->parent;
    uint8_t enc[PG_REF_BYTES_MAX];
    struct pg_image *parent;
    struct quire_val lower;
    struct pg_ref ref;
    quire_rev before;
    unsigned slot = 0;
    size_t len;
    bool found = true;
    quire_status rc;

    if (parent_no != TR_NONE) {
        pg_image_lower(in->img, &lower);
        parent = tr_log_intent(log, parent_no)->img;
        slot = pg_image_seek(parent, lower.data, lower.size, &found);
    }
    QUIRE_ASSERT(found);
    QUIRE_ASSERT(parent_no == TR_NONE ||
                 tr_log_intent(log, parent_no)->level == log->level);
    before = in->ref.id;
    rc = tr_flush(log, no, birth, true, &ref);
    if (rc != QUIRE_OK)
        return rc;
    if (parent_no == TR_NONE) {
        tree->root = ref;
        atomic_store_explicit(&tree->root_hint, PC_HINT_NONE,
                              memory_order_relaxed); /* a hint */
        return QUIRE_OK;
    }
    parent = tr_log_intent(log, parent_no)->img;
    len = pg_ref_encode(&ref, enc);
    pg_work_set(parent, slot, enc, len, ref.id != before);
    return QUIRE_OK;
}

quire_status tr_spill_one(struct tr_log *log, quire_rev birth,
                          const struct tr_tree *const *keep, unsigned nkeep)
{
    /* Twice around: the first may only find pages that were used lately. */
    for (uint64_t step = 0; step < 2 * log->top; step++) {
        uint64_t no = log->hand;
        struct tr_intent *in;
        unsigned i;

        log->hand = no + 1 < log->top ? no + 1 : 0;
        if (no >= log->top)
            continue;
        in = tr_log_intent(log, no);
        if (in->img == NULL || page_is_plain(in->img))
            continue; /* overflow pages go with their leaf */
        if (in->holds || in->dropped != 0 || in->level != log->level)
            continue; /* a savepoint needs it; TR-11 */
        for (i = 0; i < nkeep && keep[i] != in->tree; i++)
            ;
        if (i < nkeep)
            continue;
        if (in->used) {
            in->used = false;
            continue;
        }
        if (has_changed_child(in->img))
            continue;
        return spill(log, no, birth);
    }
    return QUIRE_NOTFOUND;
}

void tr_log_finish(struct tr_log *log)
{
    /* Backwards: children mostly come after their parents, which then learn
     * where they are. */
    for (uint64_t no = log->top; no-- > 0;) {
        struct tr_intent *in = tr_log_intent(log, no);
        const struct pg_image *img;
        struct pg_image *parent;
        uint32_t hint;

        if (in->img == NULL || !in->written)
            continue;
        superseded(log, in->before, in->before_birth);
        img = to_cache(log, in, in->img->level > 0, &hint);
        parent = in->parent == TR_NONE ? NULL
                                       : tr_log_intent(log, in->parent)->img;
        if (img != NULL && parent != NULL &&
            (parent->flags & PG_IMAGE_WORK) != 0)
            pg_work_child_seen(parent, in->slot, hint, img);
        if (in->img == NULL)
            tr_log_drop(log, no);
    }
    for (unsigned i = 0; i < log->ngone; i++)
        superseded(log, log->gone[i].id, log->gone[i].birth);
    tr_log_clear(log);
}
