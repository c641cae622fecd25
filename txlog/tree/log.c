/*
 * log.c - the changed pages of one write transaction.
 *
 * A changed page has a number, which its parent's entry holds in place of an
 * image id (pg_ref.intent). Descriptors lie in slabs, one segment each, so that
 * they are charged to the budget and never move; free numbers form a list
 * through `parent`.
 *
 * Savepoints (TR-11). Each version of a changed page carries the number of
 * savepoints that were open when it was made. Before a page of an outer level
 * is changed, its bytes are copied under a number of their own, to which the
 * page points; one that is dropped is only marked. Going back then frees the
 * newer versions and the newer pages, and takes the older ones up again:
 * nothing is allocated and nothing can fail.
 *
 * Structural changes take their segments from the spares, which are reserved
 * before anything is changed (TR-2). What an operation did not need stays for
 * the next one, up to TR_SPARES_MAX.
 */
#include "txlog/tree/tr.h"

quire_status tr_log_init(struct tr_log *log, const struct tr_env *env)
{
    void *segs[3] = { NULL, NULL, NULL };
    const size_t nbytes[3] = {
        TR_SLABS_MAX * sizeof(log->slabs[0]),
        PG_RAW_MAX,
        2 * pg_key_max(env->page_bytes) + 2 * PG_REF_BYTES_MAX,
    };
    quire_status rc;

    memset(log, 0, sizeof(*log));
    log->env = env;
    log->free_head = TR_NONE;
    rc = QUIRE_POINT_RC(TR_LOG_TABLES, QUIRE_NOMEM,
                        ra_seg_alloc_many(env->pool, nbytes, 3, segs));
    if (rc != QUIRE_OK)
        return rc;
    log->slabs = segs[0];
    log->scratch = segs[1];
    log->key_buf = segs[2];
    return QUIRE_OK;
}

void tr_log_fini(struct tr_log *log)
{
    if (log->env == NULL)
        return;
    QUIRE_ASSERT(log->nused == 0);
    while (log->nslabs > 0)
        ra_seg_free(log->env->pool, log->slabs[--log->nslabs]);
    ra_seg_free(log->env->pool, log->key_buf);
    ra_seg_free(log->env->pool, log->scratch);
    ra_seg_free(log->env->pool, log->slabs);
    memset(log, 0, sizeof(*log));
}

struct tr_intent *tr_log_intent(struct tr_log *log, uint64_t no)
{
    QUIRE_ASSERT(no < log->top);
    return &log->slabs[no / TR_SLAB_INTENTS][no % TR_SLAB_INTENTS];
}

uint64_t tr_log_count(struct tr_log *log, uint64_t no)
{
    const struct tr_intent *in = tr_log_intent(log, no);

    return in->img->level > 0 ? in->count : in->img->n - in->img->ntomb;
}

/* Make sure that `n` numbers are free; the slabs that this takes stay. */
static quire_status log_numbers(struct tr_log *log, uint64_t n)
{
    uint64_t have = log->nslabs * TR_SLAB_INTENTS - log->nused;

    while (have < n) {
        void *seg;
        quire_status rc;

        if (log->nslabs == TR_SLABS_MAX)
            return ra_fail(QUIRE_NOMEM, "too many changed pages (%llu)",
                           (unsigned long long)log->nused);
        rc = QUIRE_POINT_RC(TR_LOG_SLAB, QUIRE_NOMEM,
                            ra_seg_alloc(log->env->pool, TR_SLAB_BYTES, &seg));
        if (rc != QUIRE_OK)
            return rc;
        log->slabs[log->nslabs++] = seg;
        have += TR_SLAB_INTENTS;
    }
    return QUIRE_OK;
}

quire_status tr_log_adopt(struct tr_log *log, struct tr_tree *tree, void *seg,
                          uint64_t parent, uint64_t *no)
{
    struct tr_intent *in;
    quire_status rc;

    rc = log_numbers(log, 1);
    if (rc != QUIRE_OK)
        return rc;
    if (log->free_head != TR_NONE) {
        *no = log->free_head;
        log->free_head = tr_log_intent(log, *no)->parent;
    } else {
        *no = log->top++;
    }
    in = tr_log_intent(log, *no);
    memset(in, 0, sizeof(*in));
    in->img = seg;
    in->tree = tree;
    in->parent = parent;
    in->older = TR_NONE;
    in->level = log->level;
    in->links_max = PG_CHAIN_MAX;
    in->seg_bytes = (uint32_t)ra_seg_bytes(log->env->pool, seg);
    in->used = true;
    log->nused++;
    log->bytes += in->seg_bytes;
    log->gen++;
    return QUIRE_OK;
}

quire_status tr_log_enter(struct tr_log *log, struct tr_tree *tree,
                          const struct pg_ref *ref, const struct pg_image *img,
                          uint64_t parent, uint64_t *no)
{
    /* An inner page gets room for a few entries, a leaf for one like those it
     * has: most are changed once or twice, and without a larger segment for it
     * the image can go to the cache as it is. More is made when it is wanted. */
    size_t need = img->level == 0 ? pg_work_need(img, 0, 0)
                                  : pg_work_need(img, log->env->page_bytes / 16,
                                                 tr_ref_width(log->env));
    struct tr_intent *in;
    void *seg = NULL;
    quire_status rc;

    if (need > PG_IMAGE_MAX)
        return ra_fail(QUIRE_CORRUPT,
                       "page at offset %llu: too large to be changed",
                       (unsigned long long)pg_id_off(ref->id));
    rc = QUIRE_POINT_RC(TR_ENTER_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(log->env->pool, need, &seg));
    if (rc != QUIRE_OK)
        return rc;
    if (!pg_work_copy(img, seg, ra_seg_class_bytes(need))) {
        rc = ra_fail(QUIRE_CORRUPT, "page at offset %llu: does not fit",
                     (unsigned long long)pg_id_off(ref->id));
        goto out;
    }
    rc = QUIRE_POINT_RC(TR_ENTER_INTENT, QUIRE_NOMEM,
                        tr_log_adopt(log, tree, seg, parent, no));
    if (rc != QUIRE_OK)
        goto out;
    seg = NULL;
    in = tr_log_intent(log, *no);
    in->ref = *ref;
    in->count = ref->count;
    memcpy(in->sums, (const uint8_t *)img + img->sums_off,
           img->nchain * sizeof(in->sums[0]));

out:
    ra_seg_free(log->env->pool, seg);
    return rc;
}

void tr_log_replace(struct tr_log *log, uint64_t no, void *seg)
{
    struct tr_intent *in = tr_log_intent(log, no);

    QUIRE_ASSERT(in->level == log->level); /* TR-11 */
    log->bytes -= in->seg_bytes;
    ra_seg_free(log->env->pool, in->img);
    in->img = seg;
    in->seg_bytes = (uint32_t)ra_seg_bytes(log->env->pool, seg);
    log->bytes += in->seg_bytes;
    log->gen++;
}

/* Give the image of `no` back, unless it was handed over, and the number. */
static void log_free(struct tr_log *log, uint64_t no)
{
    struct tr_intent *in = tr_log_intent(log, no);

    log->bytes -= in->seg_bytes;
    ra_seg_free(log->env->pool, in->img);
    in->img = NULL;
    in->parent = log->free_head;
    log->free_head = no;
    log->nused--;
}

/* Make `no` its older version. */
static void log_undo(struct tr_log *log, uint64_t no)
{
    struct tr_intent *in = tr_log_intent(log, no);
    struct tr_intent *older = tr_log_intent(log, in->older);
    struct tr_intent now = *in;

    *in = *older;
    in->holds = false;
    older->img = now.img; /* which goes, with the number that held it */
    older->seg_bytes = now.seg_bytes;
    log_free(log, now.older);
}

quire_status tr_log_own(struct tr_log *log, uint64_t no)
{
    struct tr_intent *in = tr_log_intent(log, no);
    struct tr_intent *older;
    uint64_t holder = TR_NONE;
    void *seg = NULL;
    quire_status rc;

    QUIRE_ASSERT(in->img != NULL && !in->holds && in->dropped == 0);
    if (in->level == log->level)
        return QUIRE_OK;
    rc = QUIRE_POINT_RC(TR_OWN_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(log->env->pool, in->seg_bytes, &seg));
    if (rc != QUIRE_OK)
        return rc;
    rc = QUIRE_POINT_RC(TR_OWN_INTENT, QUIRE_NOMEM,
                        tr_log_adopt(log, in->tree, seg, TR_NONE, &holder));
    if (rc != QUIRE_OK) {
        ra_seg_free(log->env->pool, seg);
        return rc;
    }
    memcpy(seg, in->img, in->img->used);
    older = tr_log_intent(log, holder);
    *older = *in;
    older->img = seg;
    older->holds = true;
    in->older = holder;
    in->level = log->level;
    return QUIRE_OK;
}

void tr_log_drop(struct tr_log *log, uint64_t no)
{
    struct tr_intent *in = tr_log_intent(log, no);

    QUIRE_ASSERT((in->img != NULL || in->written) && !in->holds &&
                 in->dropped == 0);
    if (in->tree != NULL && in->tree->last_leaf == no)
        in->tree->last_leaf = TR_NONE;
    log->gen++;
    if (in->level == log->level) {
        if (in->older == TR_NONE) {
            log_free(log, no);
            return;
        }
        log_undo(log, no);
    }
    in->dropped = log->level;
}

static bool log_is_live(const struct tr_intent *in)
{
    return in->img != NULL && !in->holds && in->dropped == 0;
}

void tr_log_drop_tree(struct tr_log *log, const struct tr_tree *tree)
{
    for (uint64_t no = 0; no < log->top && log->nused > 0; no++) {
        const struct tr_intent *in = tr_log_intent(log, no);

        if (log_is_live(in) && in->tree == tree)
            tr_log_drop(log, no);
    }
}

void tr_log_clear(struct tr_log *log)
{
    for (uint64_t no = 0; no < log->top && log->nused > 0; no++) {
        if (tr_log_intent(log, no)->img != NULL)
            log_free(log, no);
    }
    log->gen++;
    QUIRE_ASSERT(log->nused == 0 && log->bytes == 0);
    tr_log_trim_spares(log);
    /* One slab is kept: the next small transaction allocates nothing for
     * its descriptors. */
    while (log->nslabs > 1)
        ra_seg_free(log->env->pool, log->slabs[--log->nslabs]);
    ra_seg_free(log->env->pool, log->gone);
    log->gone = NULL;
    log->ngone = 0;
    log->free_head = TR_NONE;
    log->top = 0;
    log->hand = 0;
    log->level = 0;
}

/* ---- savepoints ---- */

void tr_log_mark(struct tr_log *log)
{
    log->level++;
}

/* Who is whose parent follows from the entries, and is not kept in versions. */
static void log_parents(struct tr_log *log)
{
    for (uint64_t no = 0; no < log->top; no++) {
        if (log_is_live(tr_log_intent(log, no)))
            tr_log_intent(log, no)->parent = TR_NONE;
    }
    for (uint64_t no = 0; no < log->top; no++) {
        const struct tr_intent *in = tr_log_intent(log, no);
        struct quire_val val;
        struct pg_ref ref;

        if (!log_is_live(in) || in->img->level == 0)
            continue;
        for (unsigned i = 0; i < in->img->n; i++) {
            if (pg_image_value(in->img, i, &val) != PG_ENTRY_TOMB &&
                pg_ref_decode(val.data, val.size, &ref) == QUIRE_OK &&
                ref.intent)
                tr_log_intent(log, ref.id)->parent = no;
        }
    }
}

void tr_log_rollback(struct tr_log *log, uint32_t level)
{
    QUIRE_ASSERT(level > 0 && level <= log->level);
    for (uint64_t no = 0; no < log->top; no++) {
        struct tr_intent *in = tr_log_intent(log, no);

        if (in->img == NULL || in->holds)
            continue;
        if (in->dropped >= level)
            in->dropped = 0;
        while (in->img != NULL && in->level >= level) {
            if (in->older != TR_NONE)
                log_undo(log, no);
            else
                log_free(log, no);
        }
    }
    log->level = level;
    log->gen++;
    log_parents(log);
}

void tr_log_release(struct tr_log *log, uint32_t level)
{
    QUIRE_ASSERT(level > 0 && level <= log->level);
    log->level = level - 1;
    log->gen++;
    for (uint64_t no = 0; no < log->top; no++) {
        struct tr_intent *in = tr_log_intent(log, no);

        if (in->img == NULL || in->holds)
            continue;
        if (in->level >= level) {
            while (in->older != TR_NONE &&
                   tr_log_intent(log, in->older)->level >= level - 1) {
                uint64_t older = in->older;

                in->older = tr_log_intent(log, older)->older;
                log_free(log, older);
            }
            in->level = level - 1;
        }
        if (in->dropped >= level) { /* as if dropped only now */
            in->dropped = 0;
            tr_log_drop(log, no);
        }
    }
}

quire_status tr_log_reserve(struct tr_log *log, unsigned n, size_t bytes,
                            unsigned nnew)
{
    unsigned have = 0;
    quire_status rc;

    rc = QUIRE_POINT_RC(TR_LOG_NUMBER, QUIRE_NOMEM, log_numbers(log, nnew));
    if (rc != QUIRE_OK)
        return rc;
    for (unsigned i = 0; i < log->nspares; i++)
        have += log->spare_bytes[i] >= bytes;
    while (have < n) {
        void *seg;

        if (log->nspares == TR_SPARES_MAX) {
            tr_log_trim_spares(log);
            have = 0;
        }
        rc = QUIRE_POINT_RC(TR_LOG_SPARE, QUIRE_NOMEM,
                            ra_seg_alloc(log->env->pool, bytes, &seg));
        if (rc != QUIRE_OK)
            return rc;
        log->spares[log->nspares] = seg;
        log->spare_bytes[log->nspares++] = ra_seg_class_bytes(bytes);
        have++;
    }
    return QUIRE_OK;
}

void *tr_log_spare(struct tr_log *log, size_t bytes)
{
    unsigned best = log->nspares;
    void *seg;

    for (unsigned i = 0; i < log->nspares; i++) {
        if (log->spare_bytes[i] >= bytes &&
            (best == log->nspares ||
             log->spare_bytes[i] < log->spare_bytes[best]))
            best = i;
    }
    if (best == log->nspares)
        return NULL;
    seg = log->spares[best];
    log->nspares--;
    log->spares[best] = log->spares[log->nspares];
    log->spare_bytes[best] = log->spare_bytes[log->nspares];
    return seg;
}

void tr_log_spare_return(struct tr_log *log, void *seg)
{
    if (seg == NULL)
        return;
    if (log->nspares == TR_SPARES_MAX) {
        ra_seg_free(log->env->pool, seg);
        return;
    }
    log->spares[log->nspares] = seg;
    log->spare_bytes[log->nspares++] = ra_seg_bytes(log->env->pool, seg);
}

void tr_log_trim_spares(struct tr_log *log)
{
    while (log->nspares > 0)
        ra_seg_free(log->env->pool, log->spares[--log->nspares]);
}
