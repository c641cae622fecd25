/*
 * tree.c - finding leaves and records.
 *
 * Two descents lead to the same leaf. The fast one runs in one read section
 * over resident committed pages: a child is found by the hint beside its entry,
 * nothing is pinned, decoded or loaded on the way, and only the leaf is pinned
 * at the end. Whatever it can't do (a page that isn't resident, a changed page)
 * is left to the slow one, which holds a pin on the parent while it pins, and
 * perhaps loads, the child.
 *
 * What a page says of itself was checked when it was loaded; here it is checked
 * against what its parent says: kind and level (so that every descent ends),
 * and for neighbours the fences (so that every scan ends).
 */
#include <stdatomic.h>

#include "txlog/tree/tr.h"

void tr_tree_init(struct tr_tree *tree, const struct tr_env *env,
                  struct tr_log *log, const struct pg_ref *root)
{
    memset(tree, 0, sizeof(*tree));
    tree->env = env;
    tree->log = log;
    tree->root = *root;
    tree->count = root->id == PG_ID_NONE ? 0 : root->count;
    tree->last_leaf = TR_NONE;
    atomic_init(&tree->root_hint, PC_HINT_NONE);
}

quire_status tr_page_pin(const struct tr_env *env, const struct pg_ref *ref,
                         pc_hint *hint, const struct pg_image **img,
                         uint32_t *frame)
{
    const struct pg_image *page;
    uint32_t at;
    quire_status rc;

    rc = pf_page_pin(env->file, ref, hint, &page, &at);
    if (rc != QUIRE_OK)
        return rc;
    if (page->kind != ref->kind || page->level != ref->level) {
        pc_unpin(env->cache, at);
        return ra_fail(QUIRE_CORRUPT,
                       "page at offset %llu: kind %u level %u where kind %u "
                       "level %u was referred to",
                       (unsigned long long)pg_id_off(ref->id), page->kind,
                       page->level, ref->kind, ref->level);
    }
    *img = page;
    *frame = at;
    return QUIRE_OK;
}

void tr_leaf_release(const struct tr_env *env, struct tr_leaf *leaf)
{
    if (leaf->pinned)
        pc_unpin(env->cache, leaf->frame);
    leaf->img = NULL;
    leaf->pinned = false;
}

/* The slot of the child to go to. Tombstones, which only changed pages have,
 * are passed over; slot 0 never is one. */
static unsigned child_slot(const struct pg_image *img, enum tr_where where,
                           const void *key, size_t key_len)
{
    struct quire_val val;
    unsigned i;

    if (where == TR_LAST)
        i = img->n - 1;
    else
        i = pg_image_child(img, key, key_len, where == TR_BELOW);
    while (i > 0 && pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
        i--;
    return i;
}

/* The descent over resident committed pages; false: use the other one. */
static bool find_fast(struct tr_tree *tree, enum tr_where where,
                      const void *key, size_t key_len, struct tr_leaf *leaf)
{
    struct pc_cache *cache = tree->env->cache;
    const struct pg_image *img;
    struct quire_val val;
    pc_hint *hint = &tree->root_hint;
    pg_id id = tree->root.id;
    unsigned level = tree->root.level;
    uint32_t frame;
    bool found = false;

    pc_read_enter();
    for (;;) {
        unsigned i;

        img = pc_get(cache, id, hint, &frame);
        if (img == NULL || img->level != level)
            break;
        if (level == 0) {
            found = img->kind == PG_LEAF && pc_pin_frame(cache, frame, id);
            break;
        }
        if (img->kind != PG_INNER)
            break;
        i = child_slot(img, where, key, key_len);
        pg_image_value(img, i, &val);
        id = pg_ref_peek_id(val.data);
        hint = pg_image_hint(img, i);
        level--;
    }
    pc_read_exit();
    if (found) {
        leaf->img = img;
        leaf->frame = frame;
        leaf->pinned = true;
    }
    return found;
}

/* Hold the page of `ref`: a changed page, or a pinned one. */
static quire_status page_hold(struct tr_tree *tree, const struct pg_ref *ref,
                              pc_hint *hint, struct tr_leaf *page)
{
    quire_status rc;

    if (ref->intent) {
        QUIRE_ASSERT(tree->log != NULL);
        page->img = tr_log_image(tree->log, ref->id);
        page->pinned = false;
        return QUIRE_OK;
    }
    rc = tr_page_pin(tree->env, ref, hint, &page->img, &page->frame);
    page->pinned = rc == QUIRE_OK;
    return rc;
}

static quire_status find_slow(struct tr_tree *tree, enum tr_where where,
                              const void *key, size_t key_len,
                              struct tr_leaf *leaf)
{
    struct tr_leaf page = { NULL, 0, false };
    struct tr_leaf child = { NULL, 0, false };
    struct pg_ref ref;
    quire_status rc;

    rc = page_hold(tree, &tree->root, &tree->root_hint, &page);
    if (rc != QUIRE_OK)
        return rc;
    while (page.img->level > 0) {
        unsigned i = child_slot(page.img, where, key, key_len);
        struct quire_val val;

        pg_image_value(page.img, i, &val);
        rc = pg_ref_decode(val.data, val.size, &ref);
        if (rc != QUIRE_OK)
            goto out;
        if (ref.level + 1u != page.img->level ||
            (ref.intent && tree->log == NULL)) {
            rc = ra_fail(QUIRE_CORRUPT, "child at level %u under level %u",
                         ref.level, page.img->level);
            goto out;
        }
        rc = page_hold(tree, &ref, pg_image_hint(page.img, i), &child);
        if (rc != QUIRE_OK)
            goto out;
        tr_leaf_release(tree->env, &page);
        page = child;
    }
    if (page.img->kind != PG_LEAF) {
        rc = ra_fail(QUIRE_CORRUPT, "page at offset %llu: not a leaf",
                     (unsigned long long)pg_id_off(page.img->id));
        goto out;
    }
    *leaf = page;
    page.pinned = false; /* handed over */

out:
    tr_leaf_release(tree->env, &page);
    return rc;
}

quire_status tr_leaf_find(struct tr_tree *tree, enum tr_where where,
                          const void *key, size_t key_len, struct tr_leaf *leaf)
{
    if (tree->root.id == PG_ID_NONE && !tree->root.intent)
        return QUIRE_NOTFOUND;
    if (!tree->root.intent && find_fast(tree, where, key, key_len, leaf))
        return QUIRE_OK;
    return find_slow(tree, where, key, key_len, leaf);
}

quire_status tr_get(struct tr_tree *tree, const struct quire_val *key,
                    struct tr_leaf *leaf, struct quire_val *val,
                    enum pg_entry *entry)
{
    struct tr_leaf held = { NULL, 0, false };
    quire_status rc;
    unsigned i;
    bool found;

    rc = tr_leaf_find(tree, TR_AT, key->data, key->size, &held);
    if (rc != QUIRE_OK)
        return rc;
    i = pg_image_seek(held.img, key->data, key->size, &found);
    if (found) {
        *entry = pg_image_value(held.img, i, val);
        found = *entry != PG_ENTRY_TOMB;
    }
    if (!found) {
        tr_leaf_release(tree->env, &held);
        return QUIRE_NOTFOUND;
    }
    *leaf = held;
    return QUIRE_OK;
}
