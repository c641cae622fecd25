/*
 * stat.c - what a tree's pages are like: how many, how full, of how many
 * fragments.
 *
 * A reference says all that is asked for, so leaves are not read: the pages
 * above them are, each once, depth first, with one pin a level. What a file
 * made by somebody else says is checked on the way down: were a page its
 * parent's child many times, and that so on each level, the walk would not end.
 */
#include "txlog/tree/tr.h"

/* Count the page of `ref`. */
static void count_page(struct tr_tree *tree, const struct pg_ref *ref,
                       struct quire_tree_stat *st)
{
    uint64_t labels = ref->label_len;
    uint64_t bytes = ref->image_len;
    unsigned nfrags = ref->nchain + 1u;

    if (ref->intent) {
        labels = pg_label_bytes(tr_log_intent(tree->log, ref->id)->img);
        bytes = pg_work_content(tr_log_intent(tree->log, ref->id)->img);
        nfrags = 0;
    } else {
        st->stored_bytes += ref->stored_len;
        for (unsigned i = 0; i < ref->nchain; i++)
            st->stored_bytes += ref->chain[i].stored_len;
    }
    st->chains[nfrags]++;
    if (ref->level > 0) {
        st->inner_pages++;
        st->inner_bytes += bytes;
    } else {
        st->leaf_pages++;
        st->leaf_bytes += bytes;
        st->label_bytes += labels;
    }
}

/* `parent` is NULL for a root, and below a changed page. */
static quire_status walk(struct tr_tree *tree, const struct pg_ref *ref,
                         const struct pg_image *parent, unsigned slot,
                         struct quire_tree_stat *st)
{
    const struct pg_image *img;
    uint32_t frame = 0;
    quire_status rc = QUIRE_OK;

    count_page(tree, ref, st);
    if (ref->level == 0)
        return QUIRE_OK;
    if (ref->intent) {
        img = tr_log_intent(tree->log, ref->id)->img;
    } else {
        rc = tr_page_pin(tree->env, ref, NULL, &img, &frame);
        if (rc != QUIRE_OK)
            return rc;
        if (parent != NULL && !tr_fences_meet(img, parent, slot)) /* TR-5 */
            rc = ra_fail(QUIRE_CORRUPT,
                         "page at offset %llu: its fences are not its parent's",
                         (unsigned long long)pg_id_off(ref->id));
    }
    for (unsigned i = 0; i < img->n && rc == QUIRE_OK; i++) {
        struct quire_val val;
        struct pg_ref child;

        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            continue;
        rc = pg_ref_decode(val.data, val.size, &child);
        if (rc == QUIRE_OK && (child.level + 1u != ref->level ||
                               (child.intent && tree->log == NULL)))
            rc = ra_fail(QUIRE_CORRUPT, "child at level %u under level %u",
                         child.level, ref->level); /* TR-6 */
        if (rc == QUIRE_OK)
            rc = walk(tree, &child, ref->intent ? NULL : img, i, st);
    }
    if (!ref->intent)
        pc_unpin(tree->env->cache, frame);
    return rc;
}

quire_status tr_stat(struct tr_tree *tree, struct quire_tree_stat *st)
{
    struct pg_ref root = tree->root;

    st->records = tree->count;
    st->page_bytes = tree->env->page_bytes;
    if (root.id == PG_ID_NONE && !root.intent)
        return QUIRE_OK;
    st->height = root.level + 1u;
    return walk(tree, &root, NULL, 0, st);
}
