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

/* Is the tree one that the fast descents can begin with? */
static bool root_is_page(const struct tr_tree *tree)
{
    return tree->root.id != PG_ID_NONE && !tree->root.intent;
}

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

static bool same(const struct quire_val *a, const struct quire_val *b)
{
    return a->size == b->size &&
           (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

bool tr_fences_meet(const struct pg_image *img, const struct pg_image *parent,
                    unsigned slot)
{
    struct quire_val fence, outer;
    bool bounded;

    pg_image_lower(img, &fence);
    if (parent == NULL)
        return fence.size == 0 && !pg_image_upper(img, &fence);
    if (pg_image_key_cmp(parent, slot, fence.data, fence.size) != 0)
        return false;
    bounded = pg_image_upper(img, &fence);
    if (slot + 1 < parent->n)
        return bounded &&
               pg_image_key_cmp(parent, slot + 1, fence.data, fence.size) == 0;
    return pg_image_upper(parent, &outer) ? bounded && same(&fence, &outer)
                                          : !bounded;
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

/* The child to go to, of a resident committed page. */
static unsigned child_at(const struct pg_image *img, enum tr_where where,
                         const void *key, size_t key_len)
{
    if (where == TR_LAST)
        return img->n - 1;
    return pg_image_child(img, key, key_len, where == TR_BELOW);
}

/*
 * The image is where it was guessed to be, or elsewhere, of which note is taken.
 *
 * What is returned is the same as `img`. But if the guess was right it comes
 * from the guess: the processor then goes on, past a branch that it foresees,
 * with an address that it has had since it read the parent, and does not wait
 * for the line of the frame before it asks for those of the image.
 */
static inline const struct pg_image *guess_settle(const struct pg_image *parent,
                                                  struct pg_child *child,
                                                  const struct pg_image *guess,
                                                  const struct pg_image *img)
{
    if (QUIRE_LIKELY(img == guess)) {
        /* the compiler shall not know that the two are the same */
        __asm__("" : "+r"(guess));
        return guess;
    }
    if (img != NULL)
        pg_child_seen(parent, child, img);
    return img;
}

/* Where the leaf beside that of `slot` was last seen; NULL: not known, or under
 * another parent. */
static const struct pg_image *neighbour_guess(const struct pc_cache *cache,
                                              const struct pg_image *img,
                                              unsigned slot, bool forward)
{
    const struct pg_image *guess;
    struct pg_child *child;

    if (forward ? slot + 1 == img->n : slot == 0)
        return NULL;
    child = pg_image_child_at(img, forward ? slot + 1 : slot - 1);
    pc_prefetch(cache, &child->hint);
    guess = pg_child_guess(img, child);
    return guess == img ? NULL : guess;
}

/*
 * The descent over resident committed pages, inside a read section: the page
 * at level 0, of which only the cache has been asked so far, its lines are on
 * their way. NULL: use the other one. *ahead, if asked for, is where its
 * neighbour was last seen, or as it was.
 */
static const struct pg_image *leaf_resident(struct tr_tree *tree,
                                            enum tr_where where,
                                            const void *key, size_t key_len,
                                            uint32_t *frame, pg_id *id,
                                            const struct pg_image **ahead)
{
    struct pc_cache *cache = tree->env->cache;
    const struct pg_image *img;
    unsigned level = tree->root.level;

    *id = tree->root.id;
    img = pc_get(cache, *id, &tree->root_hint, frame);
    for (; img != NULL && level > 0; level--) {
        const struct pg_image *parent = img;
        const struct pg_image *guess;
        struct pg_child *child;
        unsigned slot;

        if (img->kind != PG_INNER || img->level != level)
            return NULL;
        slot = child_at(img, where, key, key_len);
        child = pg_image_child_at(img, slot);
        guess = pg_child_guess(img, child);
        if (level == 1) {
            /* while the cache is asked for it */
            if (ahead == NULL) {
                pg_image_prefetch(guess);
            } else {
                pg_image_prefetch_seek(guess);
                *ahead = neighbour_guess(cache, img, slot, where == TR_AT);
            }
        }
        *id = child->id;
        img = pc_get(cache, *id, &child->hint, frame);
        img = guess_settle(parent, child, guess, img);
    }
    return img;
}

static bool find_fast(struct tr_tree *tree, enum tr_where where,
                      const void *key, size_t key_len, struct tr_leaf *leaf,
                      const struct pg_image **ahead)
{
    const struct pg_image *img;
    const char *tag;
    uint32_t frame;
    bool pinned;
    pg_id id;

    pc_read_enter();
    img = leaf_resident(tree, where, key, key_len, &frame, &id, ahead);
    tag = pc_tag("look-up");
    pinned = img != NULL && pc_pin_frame(tree->env->cache, frame, id);
    (void)pc_tag(tag);
    pc_read_exit();
    if (!pinned)
        return false;
    if (img->kind != PG_LEAF) {
        pc_unpin(tree->env->cache, frame);
        return false;
    }
    leaf->img = img;
    leaf->frame = frame;
    leaf->pinned = true;
    return true;
}

/* Hold the page of `ref`: a changed page, or a pinned one. */
static quire_status page_hold(struct tr_tree *tree, const struct pg_ref *ref,
                              pc_hint *hint, struct tr_leaf *page)
{
    const char *tag;
    quire_status rc;

    if (ref->intent) {
        QUIRE_ASSERT(tree->log != NULL);
        page->img = tr_log_image(tree->log, ref->id);
        page->pinned = false;
        return QUIRE_OK;
    }
    tag = pc_tag("look-up");
    rc = tr_page_pin(tree->env, ref, hint, &page->img, &page->frame);
    (void)pc_tag(tag);
    page->pinned = rc == QUIRE_OK;
    return rc;
}

/* The reference to the child in `slot` of the inner page `page`. */
static quire_status child_ref(const struct tr_tree *tree,
                              const struct tr_leaf *page, unsigned slot,
                              struct pg_ref *ref)
{
    struct quire_val val;
    quire_status rc;

    pg_image_value(page->img, slot, &val);
    rc = pg_ref_decode(val.data, val.size, ref);
    if (rc != QUIRE_OK)
        return rc;
    if (ref->level + 1u != page->img->level ||
        (ref->intent && tree->log == NULL))
        return ra_fail(QUIRE_CORRUPT, "child at level %u under level %u",
                       ref->level, page->img->level);
    return QUIRE_OK;
}

/* Hold the child in `slot` of the inner page `page`; *ref says what it is. */
static quire_status child_hold(struct tr_tree *tree, const struct tr_leaf *page,
                               unsigned slot, struct pg_ref *ref,
                               struct tr_leaf *child)
{
    quire_status rc = child_ref(tree, page, slot, ref);

    if (rc != QUIRE_OK)
        return rc;
    return page_hold(tree, ref, pg_image_hint(page->img, slot), child);
}

/* A look-up that may be answered by a row. */
struct row_get {
    struct tr_row *row;
    const struct quire_val *key;
    pg_id missed; /* the leaf was not resident; PG_ID_NONE: it was */
    bool nothing; /* a row says that there is no such record */
};

/* The leaf of `ref` is to be loaded, unless there is a row. */
static bool row_find(struct tr_tree *tree, struct row_get *get,
                     const struct pg_ref *ref, const pc_hint *hint)
{
    struct pc_cache *cache = tree->env->cache;
    struct tr_row *row = get->row;
    bool resident;

    if (ref->intent || ref->kind != PG_LEAF || ref->id == PG_ID_NONE)
        return false;
    pc_read_enter();
    resident = pc_has(cache, ref->id, hint);
    pc_read_exit();
    if (resident)
        return false;
    get->missed = ref->id;
    row->hit = pc_row_get(cache, ref->id, get->key, row->off, row->buf,
                          row->cap, &row->size, &get->nothing);
    return row->hit;
}

/* Leave a row behind of the leaf that was loaded; `val` NULL: the record is
 * not in it. */
static void row_keep(struct tr_tree *tree, const struct row_get *get,
                     const struct quire_val *val, enum pg_entry entry)
{
    if (val == NULL || entry == PG_ENTRY_PLAIN)
        pc_row_put(tree->env->cache, get->missed, get->key, val);
}

/* `get`: NULL, or what may be answered by a row; then no leaf is held. */
static quire_status find_slow(struct tr_tree *tree, enum tr_where where,
                              const void *key, size_t key_len,
                              struct row_get *get, struct tr_leaf *leaf)
{
    struct tr_leaf page = { NULL, 0, false };
    struct tr_leaf child = { NULL, 0, false };
    struct pg_ref ref;
    unsigned slot;
    quire_status rc;

    rc = page_hold(tree, &tree->root, &tree->root_hint, &page);
    if (rc != QUIRE_OK)
        return rc;
    while (page.img->level > 0) {
        slot = child_slot(page.img, where, key, key_len);
        rc = child_ref(tree, &page, slot, &ref);
        if (rc != QUIRE_OK)
            goto out;
        if (get != NULL && ref.level == 0 &&
            row_find(tree, get, &ref, pg_image_hint(page.img, slot)))
            goto out;
        rc = page_hold(tree, &ref, pg_image_hint(page.img, slot), &child);
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
                          const void *key, size_t key_len, struct tr_leaf *leaf,
                          const struct pg_image **ahead)
{
    *ahead = NULL;
    if (!root_is_page(tree) && !tree->root.intent)
        return QUIRE_NOTFOUND;
    if (!tree->root.intent && find_fast(tree, where, key, key_len, leaf, ahead))
        return QUIRE_OK;
    tree->nslow++;
    return find_slow(tree, where, key, key_len, NULL, leaf);
}

/*
 * The same over resident committed pages. The leaf is pinned last, when all
 * there is to be waited for has come: a pin holds up what follows it until all
 * before it is done. false: not to be had in this way.
 */
static bool get_fast(struct tr_tree *tree, const struct quire_val *key,
                     struct tr_leaf *leaf, struct quire_val *val,
                     enum pg_entry *entry, unsigned *slot, quire_status *rc)
{
    const struct pg_image *img;
    const char *tag;
    uint32_t frame;
    bool done = false;
    pg_id id;

    pc_read_enter();
    img = leaf_resident(tree, TR_AT, key->data, key->size, &frame, &id, NULL);
    if (img == NULL || img->kind != PG_LEAF)
        goto out;
    *slot = pg_image_find(img, key->data, key->size);
    done = *slot == img->n;
    *rc = QUIRE_NOTFOUND;
    if (done)
        goto out;
    *entry = pg_image_value(img, *slot, val);
    tag = pc_tag("look-up");
    done = pc_pin_frame(tree->env->cache, frame, id);
    (void)pc_tag(tag);
    if (done) {
        leaf->img = img;
        leaf->frame = frame;
        leaf->pinned = true;
        *rc = QUIRE_OK;
    }
out:
    pc_read_exit();
    return done;
}

/* Look `key` up; *slot is where it is in the leaf. */
static inline __attribute__((always_inline)) quire_status leaf_get(
    struct tr_tree *tree, const struct quire_val *key, struct row_get *get,
    struct tr_leaf *leaf, struct quire_val *val, enum pg_entry *entry,
    unsigned *slot)
{
    struct tr_leaf held = { NULL, 0, false };
    quire_status rc;
    unsigned i;
    bool found;

    if (!root_is_page(tree) && !tree->root.intent)
        return QUIRE_NOTFOUND;
    if (root_is_page(tree) && get_fast(tree, key, leaf, val, entry, slot, &rc))
        return rc;
    rc = find_slow(tree, TR_AT, key->data, key->size, get, &held);
    if (rc != QUIRE_OK)
        return rc;
    if (get != NULL && get->row->hit)
        return get->nothing ? QUIRE_NOTFOUND : QUIRE_OK;
    i = pg_image_find(held.img, key->data, key->size);
    found = i < held.img->n;
    if (found) {
        *entry = pg_image_value(held.img, i, val);
        found = *entry != PG_ENTRY_TOMB;
    }
    if (get != NULL && get->missed != PG_ID_NONE)
        row_keep(tree, get, found ? val : NULL,
                 found ? *entry : PG_ENTRY_PLAIN);
    if (!found) {
        tr_leaf_release(tree->env, &held);
        return QUIRE_NOTFOUND;
    }
    *leaf = held;
    *slot = i;
    return QUIRE_OK;
}

quire_status tr_get(struct tr_tree *tree, const struct quire_val *key,
                    struct tr_leaf *leaf, struct quire_val *val,
                    enum pg_entry *entry)
{
    unsigned slot;

    return leaf_get(tree, key, NULL, leaf, val, entry, &slot);
}

quire_status tr_get_row(struct tr_tree *tree, const struct quire_val *key,
                        struct tr_row *row, struct tr_leaf *leaf,
                        struct quire_val *val, enum pg_entry *entry)
{
    struct row_get get = { .row = row, .key = key, .missed = PG_ID_NONE };
    unsigned slot;

    row->hit = false;
    return leaf_get(tree, key, &get, leaf, val, entry, &slot);
}

quire_status tr_get_labeled(struct tr_tree *tree, const struct quire_val *key,
                            struct tr_leaf *leaf, struct quire_val *val,
                            struct quire_val *label, enum pg_entry *entry)
{
    unsigned slot;
    quire_status rc = leaf_get(tree, key, NULL, leaf, val, entry, &slot);

    if (rc == QUIRE_OK)
        pg_image_label(leaf->img, slot, label);
    return rc;
}

/* Copy out what a look-up has found, if it is all there. */
static quire_status copy_out(const struct pg_image *img, unsigned slot,
                             uint64_t off, void *buf, size_t cap,
                             uint64_t *size, bool *done)
{
    struct quire_val val;

    *done = true;
    if (slot == img->n)
        return QUIRE_NOTFOUND;
    if (pg_image_value(img, slot, &val) != PG_ENTRY_PLAIN) {
        *done = false;
        return QUIRE_OK;
    }
    if (off < val.size && cap > 0)
        memcpy(buf, (const uint8_t *)val.data + off,
               ra_min_u64(cap, val.size - off));
    *size = val.size;
    return QUIRE_OK;
}

quire_status tr_get_copy(struct tr_tree *tree, const struct quire_val *key,
                         uint64_t off, void *buf, size_t cap, uint64_t *size,
                         bool *done)
{
    const struct pg_image *img;
    quire_status rc = QUIRE_OK;
    uint32_t frame;
    pg_id id;

    *done = false;
    if (!root_is_page(tree))
        return QUIRE_OK;
    pc_read_enter();
    img = leaf_resident(tree, TR_AT, key->data, key->size, &frame, &id, NULL);
    if (img != NULL && img->kind == PG_LEAF)
        rc = copy_out(img, pg_image_find(img, key->data, key->size), off, buf,
                      cap, size, done);
    pc_read_exit();
    return rc;
}

/*
 * All keys go down together, level by level, each step asking for what the
 * next one will read: the misses of up to TR_MANY_MAX look-ups overlap, where
 * a single look-up waits for each of its own in turn.
 */
void tr_get_many(struct tr_tree *tree, struct quire_lookup *lookups, unsigned n,
                 bool *done)
{
    struct pc_cache *cache = tree->env->cache;
    const struct pg_image *img[TR_MANY_MAX];
    struct pg_probe probe[TR_MANY_MAX];
    struct pg_child *child[TR_MANY_MAX];
    const struct pg_image *guess[TR_MANY_MAX];

    QUIRE_ASSERT(n <= TR_MANY_MAX);
    for (unsigned k = 0; k < n; k++)
        done[k] = false;
    if (!root_is_page(tree))
        return;
    pc_read_enter();
    img[0] = pc_get(cache, tree->root.id, &tree->root_hint, NULL);
    for (unsigned k = 1; k < n; k++)
        img[k] = img[0];
    for (unsigned level = tree->root.level; level > 0; level--) {
        for (unsigned k = 0; k < n; k++) {
            const struct quire_val *key = &lookups[k].key;

            if (img[k] != NULL &&
                (img[k]->kind != PG_INNER || img[k]->level != level))
                img[k] = NULL;
            if (img[k] == NULL)
                continue;
            child[k] = pg_image_child_at(
                img[k], child_at(img[k], TR_AT, key->data, key->size));
            pc_prefetch(cache, &child[k]->hint);
            guess[k] = pg_child_guess(img[k], child[k]);
            if (level == 1)
                pg_image_prefetch(guess[k]);
        }
        for (unsigned k = 0; k < n; k++) {
            const struct pg_image *parent;

            if (img[k] == NULL)
                continue;
            parent = img[k];
            img[k] = pc_get(cache, child[k]->id, &child[k]->hint, NULL);
            img[k] = guess_settle(parent, child[k], guess[k], img[k]);
        }
    }
    for (unsigned k = 0; k < n; k++) {
        if (img[k] != NULL && img[k]->kind != PG_LEAF)
            img[k] = NULL;
        if (img[k] != NULL)
            pg_image_probe(img[k], lookups[k].key.data, lookups[k].key.size,
                           &probe[k]);
    }
    for (unsigned k = 0; k < n; k++) {
        struct quire_lookup *l = &lookups[k];

        if (img[k] != NULL)
            l->status = copy_out(img[k], pg_image_probe_end(img[k], &probe[k]),
                                 0, l->buf, l->cap, &l->size, &done[k]);
    }
    pc_read_exit();
}

/* Records below the entries before slot `slot` of an inner page. */
static quire_status count_before(struct tr_tree *tree,
                                 const struct pg_image *img, unsigned slot,
                                 uint64_t *total)
{
    for (unsigned i = 0; i < slot; i++) {
        struct quire_val val;
        struct pg_ref ref;
        quire_status rc;

        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            continue;
        rc = pg_ref_decode(val.data, val.size, &ref);
        if (rc != QUIRE_OK)
            return rc;
        if (ref.intent) {
            if (tree->log == NULL)
                return ra_fail(QUIRE_CORRUPT, "a page that was never written");
            *total += tr_log_count(tree->log, ref.id);
        } else {
            *total += ref.count;
        }
    }
    return QUIRE_OK;
}

quire_status tr_rank(struct tr_tree *tree, const struct quire_val *key,
                     uint64_t *rank)
{
    struct tr_leaf page = { NULL, 0, false };
    struct tr_leaf child = { NULL, 0, false };
    struct quire_val val;
    struct pg_ref ref;
    uint64_t total = 0;
    unsigned i;
    bool found;
    quire_status rc;

    if (tree->root.id == PG_ID_NONE && !tree->root.intent) {
        *rank = 0;
        return QUIRE_OK;
    }
    rc = page_hold(tree, &tree->root, &tree->root_hint, &page);
    if (rc != QUIRE_OK)
        return rc;
    while (page.img->level > 0) {
        i = child_slot(page.img, TR_AT, key->data, key->size);
        rc = count_before(tree, page.img, i, &total);
        if (rc != QUIRE_OK)
            goto out;
        rc = child_hold(tree, &page, i, &ref, &child);
        if (rc != QUIRE_OK)
            goto out;
        tr_leaf_release(tree->env, &page);
        page = child;
    }
    i = pg_image_seek(page.img, key->data, key->size, &found);
    if (page.img->ntomb == 0) {
        total += i;
    } else {
        while (i > 0)
            total += pg_image_value(page.img, --i, &val) != PG_ENTRY_TOMB;
    }
    *rank = total;

out:
    tr_leaf_release(tree->env, &page);
    return rc;
}
