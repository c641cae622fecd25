/*
 * write.c - put and delete: entering, splitting, merging.
 *
 * A put walks down and enters each page on its path into the log: the parent's
 * entry then names the changed page. Entering changes nothing that the tree
 * means, so a failure halfway down needs no undoing. At the leaf it is worked
 * out how far up a split can reach; segments, numbers and room in the pages
 * that will get an entry are made sure of; only then is anything changed, and
 * from there on nothing can fail (TR-2).
 *
 * Room. An entry that names a changed page is as wide as the widest reference
 * that may replace it, so that writing children out patches their parents in
 * place. Pages are split by content: leaves above the page size, inner pages
 * above twice that, where each entry counts as if it were that wide. What an
 * inner page takes is then bounded whichever of its children are entered later
 * (TR-9), and a committed one is about as large as a leaf.
 *
 * Sorted input: a put that falls into the leaf of the last one skips the
 * descent, and when puts keep going to the end of a leaf, a full leaf is split
 * at its end, so that what it leaves behind stays full.
 *
 * Merging is done after a delete and never fails it: whatever is missing
 * (memory, a readable sibling), the pages stay as they are.
 */
#include <stdatomic.h>

#include "txlog/tree/tr.h"

/* Puts in a row at the end of a leaf that are taken for sorted input. */
#define TR_ASCENDING 4u

struct path {
    uint64_t no[PG_LEVEL_MAX + 1];   /* by level; [0] the leaf */
    unsigned slot[PG_LEVEL_MAX + 1]; /* of the child, by level of the parent */
    unsigned height;                 /* level of the root */
};

static size_t split_bytes(const struct tr_env *env, unsigned level)
{
    return level == 0 ? env->page_bytes : 2 * (size_t)env->page_bytes;
}

/* The content of a page with all its children entered under entries of at least
 * `width`. O(n) for inner pages. */
static size_t content_at(const struct pg_image *img, size_t width)
{
    size_t total = pg_work_content(img);
    struct quire_val val;

    for (unsigned i = 0; img->level > 0 && i < img->n; i++) {
        if (pg_image_value(img, i, &val) != PG_ENTRY_TOMB && val.size < width)
            total += width - val.size + 4; /* 4: it is aligned */
    }
    return total;
}

/* The same for entries as wide as a reference may be: what it may grow to
 * without a put. */
static size_t full_content(const struct tr_env *env, const struct pg_image *img)
{
    return content_at(img, img->level > 0 ? tr_ref_width(env) : 0);
}

/* Is the page, with entries of at least `width`, of a size that splitting
 * leaves? */
static bool size_ok(const struct tr_env *env, const struct pg_image *img,
                    size_t width)
{
    size_t most = split_bytes(env, img->level) / 2 * 3;

    /* Mostly it is enough to know how many there are. */
    return pg_work_content(img) + img->n * (width + 4) <= most ||
           content_at(img, width) <= most;
}

/* ... whatever its entries become? */
static bool full_size_ok(const struct tr_env *env, const struct pg_image *img)
{
    return size_ok(env, img, img->level > 0 ? tr_ref_width(env) : 0);
}

/*
 * How wide an entry, of `now` bytes, becomes when the child is entered:
 * at least as wide as it is, so that the reference can be put back. A page that
 * was filled when references were less wide (another versioning, a smaller
 * window) might become too large; until it is split its children are entered
 * under entries that have room for a whole page's reference (TR-9).
 */
static size_t entry_width(const struct tr_env *env, const struct pg_image *page,
                          size_t now)
{
    size_t width = PG_REF_BYTES(0);

    if (!env->mixed || full_size_ok(env, page))
        width = tr_ref_width(env);
    return width > now ? width : now;
}

/* The segment that any page of this level fits in, with an entry to spare. */
static size_t seg_bytes(const struct tr_env *env, unsigned level)
{
    return level == 0 ? 2 * (size_t)env->page_bytes
                      : 4 * (size_t)env->page_bytes;
}

/* The reference to changed page `no`, and zeros behind it. */
static void intent_ref(struct tr_log *log, uint64_t no, uint8_t *buf)
{
    struct pg_image *img = tr_log_intent(log, no)->img;
    struct pg_ref ref;

    memset(&ref, 0, sizeof(ref));
    ref.id = no;
    ref.kind = img->kind;
    ref.level = img->level;
    ref.intent = true;
    memset(buf, 0, PG_REF_BYTES_MAX);
    pg_ref_encode(&ref, buf);
}

static void root_is_intent(struct tr_tree *tree, uint64_t no)
{
    struct pg_image *img = tr_log_intent(tree->log, no)->img;

    memset(&tree->root, 0, sizeof(tree->root));
    tree->root.id = no;
    tree->root.kind = img->kind;
    tree->root.level = img->level;
    tree->root.intent = true;
    tree->changed = true;
}

/* Can an entry of these lengths be put? */
static bool has_room(const struct pg_image *img, size_t key_len, size_t val_len)
{
    return img->cap - img->used >= pg_entry_bytes(key_len, val_len) + 8 &&
           img->n < img->slot_cap;
}

/* Put `no` into a segment without its tombstones; it will be written whole. A
 * page whose records come and go would else grow without bound. */
static quire_status shed_tombs(struct tr_log *log, uint64_t no)
{
    const struct pg_image *img = tr_log_image(log, no);
    size_t bytes = seg_bytes(log->env, img->level);
    struct quire_val lower, upper;
    bool bounded = pg_image_upper(img, &upper);
    void *seg;
    quire_status rc;

    pg_image_lower(img, &lower);
    rc = QUIRE_POINT_RC(TR_SHED_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(log->env->pool, bytes, &seg));
    if (rc != QUIRE_OK)
        return rc;
    if (!pg_work_slice(img, 0, img->n, &lower, bounded ? &upper : NULL, seg,
                       bytes)) {
        ra_seg_free(log->env->pool, seg);
        return ra_fail(QUIRE_TOOBIG, "a page of more than %zu bytes", bytes);
    }
    tr_log_replace(log, no, seg);
    return QUIRE_OK;
}

/* Make room in `no` for an entry of these lengths, so that the next put of it
 * succeeds. */
static quire_status make_room(struct tr_log *log, uint64_t no, size_t key_len,
                              size_t val_len)
{
    struct pg_image *img = tr_log_image(log, no);
    size_t need;
    void *seg;
    quire_status rc;

    if (has_room(img, key_len, val_len))
        return QUIRE_OK;
    if (img->tomb_bytes > log->env->page_bytes) {
        rc = shed_tombs(log, no);
        if (rc != QUIRE_OK)
            return rc;
        img = tr_log_image(log, no);
        if (has_room(img, key_len, val_len))
            return QUIRE_OK;
    }
    need = pg_work_need(img, key_len, val_len);
    if (need > PG_IMAGE_MAX)
        return ra_fail(QUIRE_TOOBIG, "a page of %zu bytes", need);
    rc = QUIRE_POINT_RC(TR_GROW_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(log->env->pool, need, &seg));
    if (rc != QUIRE_OK)
        return rc;
    if (!pg_work_copy(img, seg, ra_seg_class_bytes(need))) {
        ra_seg_free(log->env->pool, seg);
        return ra_fail(QUIRE_TOOBIG, "a page of %zu bytes", need);
    }
    tr_log_replace(log, no, seg);
    return QUIRE_OK;
}

/* Can a page that was read be changed? It is of a size that splitting leaves,
 * and its reference not longer than what replaces it: what the file says is
 * checked before it is relied on. */
static quire_status enter_check(const struct tr_env *env,
                                const struct pg_ref *ref,
                                const struct pg_image *img)
{
    bool fits = env->mixed ? size_ok(env, img, PG_REF_BYTES(0))
                           : full_size_ok(env, img);

    if ((img->kind != PG_LEAF && img->kind != PG_INNER) ||
        (!env->mixed && ref->nchain >= tr_window(env)) || !fits)
        return ra_fail(QUIRE_CORRUPT,
                       "page at offset %llu: not one that this store writes",
                       (unsigned long long)pg_id_off(ref->id));
    return QUIRE_OK;
}

/* Enter the child in `slot` of the changed page `parent`. */
static quire_status enter_child(struct tr_tree *tree, uint64_t parent,
                                unsigned slot, uint64_t *no)
{
    struct tr_log *log = tree->log;
    struct pg_image *page = tr_log_image(log, parent);
    const struct pg_image *img;
    uint8_t enc[PG_REF_BYTES_MAX];
    struct quire_val val, key, lower, upper, mine;
    struct pg_ref ref;
    const char *tag;
    uint32_t frame;
    size_t width;
    bool found, pinned = false;
    quire_status rc;

    pg_image_value(page, slot, &val);
    rc = pg_ref_decode(val.data, val.size, &ref);
    if (rc != QUIRE_OK)
        return rc;
    if (ref.level + 1u != page->level)
        return ra_fail(QUIRE_CORRUPT, "child at level %u under level %u",
                       ref.level, page->level);
    if (ref.intent) {
        *no = ref.id;
        return tr_log_own(log, *no);
    }
    key.data = log->key_buf;
    key.size = pg_image_key_copy(page, slot, log->key_buf);
    width = entry_width(tree->env, page, val.size);
    rc = make_room(log, parent, key.size, width);
    if (rc != QUIRE_OK)
        return rc;
    page = tr_log_image(log, parent);
    slot = pg_image_seek(page, key.data, key.size, &found); /* may have moved */
    QUIRE_ASSERT(found);
    tag = pc_tag("writer");
    rc = tr_page_pin(tree->env, &ref, pg_work_hint(page, slot), &img, &frame);
    (void)pc_tag(tag);
    if (rc != QUIRE_OK)
        return rc;
    pinned = true;

    /* Keys are put within the fences; that they are the parent's is what the
     * file says, so it is checked. */
    pg_image_lower(img, &lower);
    if (lower.size != key.size || memcmp(lower.data, key.data, key.size) != 0)
        goto corrupt;
    if (pg_image_upper(img, &upper)) {
        unsigned next = slot + 1;

        while (next < page->n &&
               pg_image_value(page, next, &val) == PG_ENTRY_TOMB)
            next++;
        if (next < page->n) {
            if (pg_image_key_cmp(page, next, upper.data, upper.size) != 0)
                goto corrupt;
        } else if (!pg_image_upper(page, &mine) || mine.size != upper.size ||
                   memcmp(mine.data, upper.data, upper.size) != 0) {
            goto corrupt;
        }
    } else if (pg_image_upper(page, &mine)) {
        goto corrupt;
    }
    rc = enter_check(tree->env, &ref, img);
    if (rc == QUIRE_OK)
        rc = tr_log_enter(log, tree, &ref, img, parent, no);
    if (rc != QUIRE_OK)
        goto out;
    tr_log_intent(log, *no)->links_max = (uint8_t)((width - PG_REF_BYTES(0)) /
                                                   PG_REF_BYTES_LINK);
    intent_ref(log, *no, enc);
    val.data = enc;
    val.size = width;
    if (!pg_work_put(page, &key, &val, PG_ENTRY_PLAIN, NULL)) {
        tr_log_drop(log, *no);
        rc = ra_fail(QUIRE_NOMEM, "no room in a parent page");
    }
    goto out;

corrupt:
    rc = ra_fail(QUIRE_CORRUPT,
                 "page at offset %llu: its fences are not its parent's",
                 (unsigned long long)pg_id_off(ref.id));
out:
    if (pinned)
        pc_unpin(tree->env->cache, frame);
    return rc;
}

/* Enter the root; an empty tree gets an empty leaf. */
static quire_status enter_root(struct tr_tree *tree, uint64_t *no)
{
    static const struct quire_val lowest = { "", 0 };
    const struct pg_image *img;
    struct pg_ref ref = tree->root;
    struct quire_val upper;
    const char *tag;
    uint32_t frame;
    void *seg;
    quire_status rc;

    if (tree->root.intent) {
        *no = tree->root.id;
        return tr_log_own(tree->log, *no);
    }
    if (tree->root.id == PG_ID_NONE) {
        rc = QUIRE_POINT_RC(
            TR_ROOT_SPARE, QUIRE_NOMEM,
            tr_log_reserve(tree->log, 1, seg_bytes(tree->env, 0), 1));
        if (rc != QUIRE_OK)
            return rc;
        seg = tr_log_spare(tree->log, seg_bytes(tree->env, 0));
        if (!pg_work_init(seg, seg_bytes(tree->env, 0), PG_LEAF, 0, &lowest,
                          NULL)) {
            tr_log_spare_return(tree->log, seg);
            return ra_fail(QUIRE_NOMEM, "an empty leaf does not fit");
        }
        rc = QUIRE_POINT_RC(TR_ROOT_INTENT, QUIRE_NOMEM,
                            tr_log_adopt(tree->log, tree, seg, TR_NONE, no));
        if (rc != QUIRE_OK) {
            tr_log_spare_return(tree->log, seg);
            return rc;
        }
        root_is_intent(tree, *no);
        return QUIRE_OK;
    }
    tag = pc_tag("writer");
    rc = tr_page_pin(tree->env, &ref, &tree->root_hint, &img, &frame);
    (void)pc_tag(tag);
    if (rc != QUIRE_OK)
        return rc;
    if (img->lower_len != 0 || pg_image_upper(img, &upper))
        rc = ra_fail(QUIRE_CORRUPT, "page at offset %llu: a root with fences",
                     (unsigned long long)pg_id_off(ref.id));
    else
        rc = enter_check(tree->env, &ref, img);
    if (rc == QUIRE_OK)
        rc = tr_log_enter(tree->log, tree, &ref, img, TR_NONE, no);
    pc_unpin(tree->env->cache, frame);
    if (rc == QUIRE_OK)
        root_is_intent(tree, *no);
    return rc;
}

static unsigned live_child(const struct pg_image *img,
                           const struct quire_val *key)
{
    unsigned i = pg_image_child(img, key->data, key->size, false);
    struct quire_val val;

    while (i > 0 && pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
        i--;
    return i;
}

/* Enter all pages from the root to the leaf of `key`. */
static quire_status enter_path(struct tr_tree *tree,
                               const struct quire_val *key, struct path *path)
{
    uint64_t no;
    unsigned level;
    quire_status rc;

    rc = enter_root(tree, &no);
    if (rc != QUIRE_OK)
        return rc;
    level = tr_log_image(tree->log, no)->level;
    if (level > PG_LEVEL_MAX)
        return ra_fail(QUIRE_CORRUPT, "a tree of %u levels", level + 1);
    path->height = level;
    path->no[level] = no;
    while (level > 0) {
        path->slot[level] = live_child(tr_log_image(tree->log, no), key);
        rc = enter_child(tree, no, path->slot[level], &no);
        if (rc != QUIRE_OK)
            return rc;
        path->no[--level] = no;
    }
    return QUIRE_OK;
}

/* Tell the changed children of `no` that it is their parent, and count what is
 * below it anew. */
static void adopt_children(struct tr_log *log, uint64_t no)
{
    const struct pg_image *img = tr_log_intent(log, no)->img;
    uint64_t total = 0;
    struct quire_val val;
    struct pg_ref ref;

    for (unsigned i = 0; img->level > 0 && i < img->n; i++) {
        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB ||
            pg_ref_decode(val.data, val.size, &ref) != QUIRE_OK)
            continue;
        if (ref.intent) {
            tr_log_intent(log, ref.id)->parent = no;
            ref.count = tr_log_count(log, ref.id);
        }
        total += ref.count;
    }
    tr_log_intent(log, no)->count = total;
}

/* The leaf `no` has got a record, or lost one: so have those above it. */
static void count_up(struct tr_log *log, uint64_t no, bool more)
{
    for (;;) {
        no = tr_log_intent(log, no)->parent;
        if (no == TR_NONE)
            return;
        tr_log_intent(log, no)->count += more ? 1 : UINT64_MAX;
    }
}

/* Split the pages of `path` that have grown too large, from the leaf up. All
 * that is needed has been reserved. */
static void split_path(struct tr_tree *tree, const struct path *path,
                       bool ascending)
{
    struct tr_log *log = tree->log;
    const struct tr_env *env = tree->env;
    uint8_t *sep_buf = log->key_buf + pg_key_max(env->page_bytes);
    unsigned level;

    for (level = 0; level <= path->height; level++) {
        uint64_t no = path->no[level];
        uint64_t right_no = TR_NONE;
        uint64_t parent;
        struct pg_image *img = tr_log_image(log, no);
        struct quire_val lower, upper, sep, val;
        uint8_t enc[PG_REF_BYTES_MAX];
        bool bounded, ok, at_end;
        unsigned at;
        void *left, *right;

        if (full_content(env, img) <= split_bytes(env, level) ||
            img->n - img->ntomb < 2)
            break;
        /* An inner page is only cut at its end when that is where it grew. */
        at_end = level == 0 || path->slot[level] + 2u >= img->n;
        at = pg_work_split_point(img, split_bytes(env, level),
                                 ascending && at_end);
        sep.data = sep_buf;
        sep.size = pg_work_separator(img, at, sep_buf);
        pg_image_lower(img, &lower);
        bounded = pg_image_upper(img, &upper);
        left = tr_log_spare(log, seg_bytes(env, level));
        right = tr_log_spare(log, seg_bytes(env, level));
        QUIRE_ASSERT(left != NULL && right != NULL);
        ok = pg_work_slice(img, 0, at, &lower, &sep, left,
                           ra_seg_bytes(env->pool, left)) &&
             pg_work_slice(img, at, img->n, &sep, bounded ? &upper : NULL,
                           right, ra_seg_bytes(env->pool, right));
        QUIRE_ASSERT(ok);
        ok = tr_log_adopt(log, tree, right, tr_log_intent(log, no)->parent,
                          &right_no) == QUIRE_OK;
        QUIRE_ASSERT(ok);
        tr_log_replace(log, no, left);
        adopt_children(log, no);
        adopt_children(log, right_no);

        parent = tr_log_intent(log, no)->parent;
        if (parent == TR_NONE) {
            static const struct quire_val lowest = { "", 0 };
            void *root = tr_log_spare(log, seg_bytes(env, level + 1));

            QUIRE_ASSERT(root != NULL);
            ok = pg_work_init(root, ra_seg_bytes(env->pool, root), PG_INNER,
                              level + 1, &lowest, NULL) &&
                 tr_log_adopt(log, tree, root, TR_NONE, &parent) == QUIRE_OK;
            QUIRE_ASSERT(ok);
            tr_log_intent(log, no)->parent = parent;
            intent_ref(log, no, enc);
            val.data = enc;
            val.size = tr_ref_width(env);
            ok = pg_work_put(root, &lowest, &val, PG_ENTRY_PLAIN, NULL);
            QUIRE_ASSERT(ok);
            root_is_intent(tree, parent);
        }
        tr_log_intent(log, right_no)->parent = parent;
        intent_ref(log, right_no, enc);
        val.data = enc;
        val.size = tr_ref_width(env);
        ok = pg_work_put(tr_log_image(log, parent), &sep, &val, PG_ENTRY_PLAIN,
                         NULL);
        QUIRE_ASSERT(ok);
        (void)ok;
        if (tr_log_intent(log, parent)->parent == TR_NONE)
            tr_log_intent(log, parent)->count = tree->count;
        if (level == 0)
            tree->last_leaf = ascending ? right_no : TR_NONE;
    }
}

/* Make sure that a put of these lengths, and the splits that it may lead to,
 * cannot fail. *splits: there may be one. */
static quire_status reserve_put(struct tr_tree *tree, const struct path *path,
                                const struct quire_val *key, size_t val_len,
                                bool *splits)
{
    const struct tr_env *env = tree->env;
    size_t key_len = key->size;
    size_t sep_len = pg_key_max(env->page_bytes);
    unsigned level = 0;
    unsigned ninner = 0;
    quire_status rc;

    *splits = false;
    if (pg_work_replaces(tr_log_image(tree->log, path->no[0]), key, val_len))
        return QUIRE_OK;
    for (;;) {
        const struct pg_image *img;

        rc = make_room(tree->log, path->no[level], key_len, val_len);
        if (rc != QUIRE_OK)
            return rc;
        img = tr_log_image(tree->log, path->no[level]);
        if (full_content(env, img) + pg_entry_bytes(key_len, val_len) <=
            split_bytes(env, level))
            break;
        *splits = true;
        ninner += level > 0 ? 2 : 0;
        if (level == PG_LEVEL_MAX)
            return ra_fail(QUIRE_CORRUPT, "a tree of %u levels", level + 2);
        if (level == path->height) {
            ninner++; /* a new root */
            break;
        }
        level++;
        key_len = sep_len;
        val_len = tr_ref_width(env);
    }
    if (!*splits)
        return QUIRE_OK;
    /* Larger spares serve as smaller ones, so the second call counts all. */
    rc = QUIRE_POINT_RC(
        TR_SPLIT_INNER, QUIRE_NOMEM,
        tr_log_reserve(tree->log, ninner, seg_bytes(env, 1), ninner + 2));
    if (rc != QUIRE_OK)
        return rc;
    return QUIRE_POINT_RC(
        TR_SPLIT_PAGES, QUIRE_NOMEM,
        tr_log_reserve(tree->log, ninner + 2, seg_bytes(env, 0), ninner + 2));
}

/* The overflow page of an entry that goes, if it is one of this transaction,
 * goes with it. */
static void drop_large(struct tr_tree *tree, const struct pg_image *img,
                       unsigned slot)
{
    struct quire_val val;
    struct pg_large large;

    if (pg_image_value(img, slot, &val) == PG_ENTRY_OVERFLOW &&
        pg_large_decode(&val, &large) == QUIRE_OK && large.ref.intent)
        tr_log_drop(tree->log, large.ref.id);
}

/* What is put under a key. */
struct put {
    const struct quire_val *key;
    const struct quire_val *val;
    const struct quire_val *label; /* NULL: none */
    enum pg_entry entry;
    bool relabel; /* the value is the old one: its overflow page stays */
};

/* Bytes of the value, and of the label behind it. */
static size_t put_bytes(const struct put *put)
{
    return put->val->size +
           (put->label == NULL ? 0 : PG_LABEL_ROOM(put->label->size));
}

/* Put into changed leaf `no`, where there is room. */
static void put_leaf(struct tr_tree *tree, uint64_t no, const struct put *put)
{
    const struct quire_val *key = put->key;
    struct pg_image *img = tr_log_image(tree->log, no);
    bool found, ok, existed = false;
    unsigned i = pg_image_seek(img, key->data, key->size, &found);

    if (found && !put->relabel)
        drop_large(tree, img, i);
    tree->ascending = i == img->n ? tree->ascending + 1 : 0;
    if (QUIRE_LIKELY(put->label == NULL))
        ok = pg_work_put(img, key, put->val, put->entry, &existed);
    else
        ok = pg_work_put_labeled(img, key, put->val, put->label, put->entry,
                                 &existed);
    QUIRE_ASSERT(ok);
    (void)ok;
    if (!existed) {
        tree->count++;
        count_up(tree->log, no, true);
    }
    tree->changed = true;
    tree->last_leaf = no;
    tree->log->gen++;
}

static int key_cmp(const struct quire_val *a, const struct quire_val *b)
{
    size_t n = a->size < b->size ? a->size : b->size;
    int cmp = memcmp(a->data, b->data, n);

    return cmp != 0 ? cmp : (a->size > b->size) - (a->size < b->size);
}

/* Is `key` within the fences of the leaf of the last put? */
static bool last_leaf_holds(const struct tr_tree *tree,
                            const struct quire_val *key)
{
    const struct pg_image *img = tr_log_intent(tree->log, tree->last_leaf)->img;
    struct quire_val fence;

    pg_image_lower(img, &fence);
    if (key_cmp(&fence, key) > 0)
        return false;
    return !pg_image_upper(img, &fence) || key_cmp(&fence, key) > 0;
}

static quire_status put_record(struct tr_tree *tree, const struct put *put)
{
    const struct tr_env *env = tree->env;
    const struct quire_val *key = put->key;
    size_t val_len = put_bytes(put);
    struct path path;
    bool splits;
    quire_status rc;

    if (tree->last_leaf != TR_NONE && last_leaf_holds(tree, key)) {
        const struct pg_image *img =
            tr_log_intent(tree->log, tree->last_leaf)->img;
        size_t bytes = pg_entry_bytes(key->size, val_len);

        if (pg_work_content(img) + bytes <= env->page_bytes &&
            img->cap - img->used >= bytes + 8 && img->n < img->slot_cap) {
            put_leaf(tree, tree->last_leaf, put);
            return QUIRE_OK;
        }
    }
    rc = enter_path(tree, key, &path);
    if (rc != QUIRE_OK)
        return rc;
    rc = reserve_put(tree, &path, key, val_len, &splits);
    if (rc != QUIRE_OK)
        return rc;
    put_leaf(tree, path.no[0], put);
    if (splits)
        split_path(tree, &path, tree->ascending >= TR_ASCENDING);
    return QUIRE_OK;
}

quire_status tr_put(struct tr_tree *tree, const struct quire_val *key,
                    const struct quire_val *val, enum pg_entry entry)
{
    const struct put put = { key, val, NULL, entry, false };

    return put_record(tree, &put);
}

quire_status tr_put_labeled(struct tr_tree *tree, const struct quire_val *key,
                            const struct quire_val *val,
                            const struct quire_val *label, enum pg_entry entry)
{
    const struct put put = { key, val, label, entry, false };

    return put_record(tree, &put);
}

quire_status tr_set_label(struct tr_tree *tree, const struct quire_val *key,
                          const struct quire_val *label)
{
    struct put put = { .key = key, .label = label, .relabel = true };
    struct tr_leaf leaf = { NULL, 0, false };
    struct quire_val val, old;
    bool same;
    quire_status rc;

    rc = tr_get_labeled(tree, key, &leaf, &val, &old, &put.entry);
    if (rc != QUIRE_OK)
        return rc;
    same = old.size == label->size &&
           (old.size == 0 || memcmp(old.data, label->data, old.size) == 0);
    /* Nothing is written out before the copy is put. */
    QUIRE_ASSERT(val.size <= PG_RAW_MAX);
    if (!same && val.size != 0)
        memcpy(tree->log->scratch, val.data, val.size);
    val.data = tree->log->scratch;
    tr_leaf_release(tree->env, &leaf);
    if (same)
        return QUIRE_OK;
    put.val = &val;
    return put_record(tree, &put);
}

quire_status tr_patch(struct tr_tree *tree, const struct quire_val *key,
                      const void *val, size_t len)
{
    struct pg_image *img;
    struct path path;
    struct quire_val old;
    unsigned i;
    bool found;
    quire_status rc;

    rc = enter_path(tree, key, &path);
    if (rc != QUIRE_OK)
        return rc;
    img = tr_log_image(tree->log, path.no[0]);
    i = pg_image_seek(img, key->data, key->size, &found);
    if (!found || pg_image_value(img, i, &old) != PG_ENTRY_PLAIN ||
        old.size < len)
        return ra_fail(QUIRE_CORRUPT, "an entry to be patched is missing");
    pg_work_set(img, i, val, len, true);
    return QUIRE_OK;
}

/* ---- deleting ---- */

static unsigned live_count(const struct pg_image *img)
{
    return img->n - img->ntomb;
}

/* The nearest live slot on one side of `slot`; img->n when there is none. */
static unsigned live_neighbour(const struct pg_image *img, unsigned slot,
                               bool right)
{
    struct quire_val val;
    unsigned i = slot;

    for (;;) {
        if (right ? i + 1 >= img->n : i == 0)
            return img->n;
        i = right ? i + 1 : i - 1;
        if (pg_image_value(img, i, &val) != PG_ENTRY_TOMB)
            return i;
    }
}

/* What the page in `slot` of `parent` would bring to a merge; its content if it
 * is a changed page, else what its committed image takes. */
static bool sibling_bytes(struct tr_log *log, const struct pg_image *parent,
                          unsigned slot, size_t *bytes)
{
    struct quire_val val;
    struct pg_ref ref;

    pg_image_value(parent, slot, &val);
    if (pg_ref_decode(val.data, val.size, &ref) != QUIRE_OK)
        return false;
    *bytes = ref.intent
                 ? full_content(log->env, tr_log_intent(log, ref.id)->img)
                 : (size_t)ref.image_len + ref.label_len;
    return true;
}

/*
 * Merge the page at `level` of `path` with a sibling if both are thin. true: the
 * parent has lost an entry, and is to be looked at next.
 */
static bool merge_level(struct tr_tree *tree, const struct path *path,
                        unsigned level)
{
    struct tr_log *log = tree->log;
    const struct tr_env *env = tree->env;
    uint64_t parent_no = path->no[level + 1];
    struct pg_image *parent = tr_log_image(log, parent_no);
    unsigned slot = path->slot[level + 1];
    size_t mine = full_content(env, tr_log_intent(log, path->no[level])->img);
    size_t limit = split_bytes(env, level);
    uint64_t left_no, right_no;
    struct pg_image *left, *right;
    struct quire_val upper, lower;
    unsigned other = parent->n;
    size_t bytes;
    void *seg;
    bool found;

    if (live_count(tr_log_intent(log, path->no[level])->img) > 0) {
        if (mine > limit / 4)
            return false;
        limit = limit / 4 * 3; /* so that the next puts do not split again */
    }
    for (unsigned side = 0; side < 2; side++) {
        unsigned i = live_neighbour(parent, slot, side == 0);

        if (i < parent->n && sibling_bytes(log, parent, i, &bytes) &&
            bytes + mine <= limit + sizeof(struct pg_image)) {
            other = i;
            break;
        }
    }
    if (other == parent->n)
        return false;
    if (QUIRE_POINT_RC(TR_MERGE_SPARE, QUIRE_NOMEM,
                       tr_log_reserve(log, 1, seg_bytes(env, level), 1)) !=
        QUIRE_OK)
        return false;
    if (QUIRE_POINT_RC(TR_MERGE_SIBLING, QUIRE_NOMEM,
                       enter_child(tree, parent_no, other, &left_no)) !=
        QUIRE_OK)
        return false;
    parent = tr_log_image(log, parent_no); /* may have moved */
    right_no = path->no[level];
    if (other > slot) {
        right_no = left_no;
        left_no = path->no[level];
    }
    left = tr_log_image(log, left_no);
    right = tr_log_image(log, right_no);
    pg_image_lower(right, &lower);
    if (!pg_image_upper(left, &upper) || upper.size != lower.size ||
        memcmp(upper.data, lower.data, upper.size) != 0)
        return false;
    if (full_content(env, left) + full_content(env, right) >
        split_bytes(env, level) + sizeof(struct pg_image))
        return false;
    seg = tr_log_spare(log, seg_bytes(env, level));
    if (seg == NULL)
        return false;
    /* Its prefix may be shorter than theirs, and its records longer. */
    if (!pg_work_merge(left, right, seg, ra_seg_bytes(env->pool, seg)) ||
        full_content(env, seg) > split_bytes(env, level)) {
        tr_log_spare_return(log, seg);
        return false;
    }
    slot = pg_image_seek(parent, lower.data, lower.size, &found);
    QUIRE_ASSERT(found);
    tr_log_replace(log, left_no, seg);
    tr_log_drop(log, right_no);
    adopt_children(log, left_no);
    pg_work_del(parent, slot);
    if (level == 0)
        tree->last_leaf = TR_NONE;
    return true;
}

/* A root with one child gives way to it. */
static void collapse_root(struct tr_tree *tree)
{
    struct tr_log *log = tree->log;

    while (tree->root.intent) {
        struct pg_image *img = tr_log_image(log, tree->root.id);
        struct quire_val val;
        struct pg_ref ref;
        uint64_t no = tree->root.id;
        unsigned i = 0;

        if (img->level == 0 || live_count(img) != 1)
            return;
        while (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            i++;
        if (pg_ref_decode(val.data, val.size, &ref) != QUIRE_OK)
            return;
        if (ref.intent) {
            tr_log_intent(log, ref.id)->parent = TR_NONE;
            tr_log_drop(log, no);
            root_is_intent(tree, ref.id);
        } else {
            tr_log_drop(log, no);
            tree->root = ref;
            atomic_store_explicit(&tree->root_hint, PC_HINT_NONE,
                                  memory_order_relaxed); /* a hint */
        }
    }
}

static quire_status del(struct tr_tree *tree, const struct quire_val *key,
                        bool moved)
{
    struct tr_leaf leaf = { NULL, 0, false };
    struct pg_image *img;
    struct path path;
    struct quire_val val;
    enum pg_entry entry;
    bool found;
    unsigned i, level;
    quire_status rc;

    /* A key that isn't there changes nothing, not even the log. */
    rc = tr_get(tree, key, &leaf, &val, &entry);
    if (rc != QUIRE_OK)
        return rc;
    tr_leaf_release(tree->env, &leaf);
    rc = enter_path(tree, key, &path);
    if (rc != QUIRE_OK)
        return rc;
    img = tr_log_image(tree->log, path.no[0]);
    i = pg_image_seek(img, key->data, key->size, &found);
    if (!found)
        return ra_fail(QUIRE_CORRUPT, "a record is in one descent only");
    if (!moved)
        drop_large(tree, img, i);
    pg_work_del(img, i);
    tree->count--;
    count_up(tree->log, path.no[0], false);
    tree->changed = true;
    tree->ascending = 0;
    tree->log->gen++;
    for (level = 0; level < path.height; level++) {
        if (!merge_level(tree, &path, level))
            break;
    }
    collapse_root(tree);
    return QUIRE_OK;
}

quire_status tr_del(struct tr_tree *tree, const struct quire_val *key)
{
    return del(tree, key, false);
}

quire_status tr_del_moved(struct tr_tree *tree, const struct quire_val *key)
{
    return del(tree, key, true);
}

/* ---- deleting a range ---- */

/*
 * Of a range only the leaves that hold its ends, and the pages above them, are
 * entered. In each of those inner pages the children that lie wholly within the
 * range stand side by side: a run. The first entry of a run gets a new empty
 * subtree for all of the run's keys, the other ones go, and nothing below them
 * is read. So every fence still meets its neighbour's, no page that stays gets
 * other fences (and with them, perhaps, a shorter prefix and longer records),
 * and all that can fail comes first (TR-2). The empty pages are then merged
 * away like those that single deletes leave.
 */
#define CUT_PAGES_MAX (PG_LEVEL_MAX * PG_LEVEL_MAX + 1)

struct cut {
    struct tr_tree *tree;
    size_t page_bytes; /* of each segment */
    unsigned npages;
    void *pages[CUT_PAGES_MAX]; /* segments for the empty subtrees */
};

static void drop_subtree(struct tr_tree *tree, uint64_t no)
{
    const struct pg_image *img = tr_log_intent(tree->log, no)->img;
    struct quire_val val;
    struct pg_ref ref;

    for (unsigned i = 0; i < img->n; i++) {
        if (img->level == 0)
            drop_large(tree, img, i);
        else if (pg_image_value(img, i, &val) != PG_ENTRY_TOMB &&
                 pg_ref_decode(val.data, val.size, &ref) == QUIRE_OK &&
                 ref.intent)
            drop_subtree(tree, ref.id);
    }
    tr_log_drop(tree->log, no);
}

/* An empty subtree of `level` + 1 pages with these fences. */
static uint64_t cut_empty(struct cut *cut, unsigned level,
                          const struct quire_val *lower,
                          const struct quire_val *upper, uint64_t parent)
{
    struct tr_tree *tree = cut->tree;
    uint8_t enc[PG_REF_BYTES_MAX];
    struct quire_val val = { enc, tr_ref_width(tree->env) };
    uint64_t no = TR_NONE;
    void *page;
    bool ok;

    QUIRE_ASSERT(cut->npages > 0);
    page = cut->pages[--cut->npages];
    ok = pg_work_init(page, cut->page_bytes, level == 0 ? PG_LEAF : PG_INNER,
                      level, lower, upper) &&
         tr_log_adopt(tree->log, tree, page, parent, &no) == QUIRE_OK;
    QUIRE_ASSERT(ok);
    if (level > 0) {
        intent_ref(tree->log, cut_empty(cut, level - 1, lower, upper, no), enc);
        ok = pg_work_put(page, lower, &val, PG_ENTRY_PLAIN, NULL);
        QUIRE_ASSERT(ok);
    }
    (void)ok;
    return no;
}

/* Cut the children in slots from .. to-1 of the changed page `no` off. */
static void cut_run(struct cut *cut, uint64_t no, unsigned from, unsigned to)
{
    struct tr_tree *tree = cut->tree;
    struct tr_log *log = tree->log;
    struct pg_image *img = tr_log_image(log, no);
    uint8_t *upper_buf = log->key_buf + pg_key_max(tree->env->page_bytes);
    uint8_t enc[PG_REF_BYTES_MAX];
    struct quire_val lower, upper, val;
    struct pg_ref ref;
    bool bounded = true, ok;
    unsigned next = to;

    while (from < to && pg_image_value(img, from, &val) == PG_ENTRY_TOMB)
        from++;
    if (from == to)
        return;
    while (next < img->n && pg_image_value(img, next, &val) == PG_ENTRY_TOMB)
        next++;
    if (next < img->n) {
        upper.size = pg_image_key_copy(img, next, upper_buf);
        upper.data = upper_buf;
    } else {
        bounded = pg_image_upper(img, &upper);
    }
    lower.size = pg_image_key_copy(img, from, log->key_buf);
    lower.data = log->key_buf;
    for (unsigned i = to; i-- > from;) {
        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            continue;
        if (pg_ref_decode(val.data, val.size, &ref) == QUIRE_OK && ref.intent)
            drop_subtree(tree, ref.id);
        if (i > from)
            pg_work_del(img, i);
    }
    intent_ref(
        log,
        cut_empty(cut, img->level - 1u, &lower, bounded ? &upper : NULL, no),
        enc);
    val.data = enc;
    val.size = tr_ref_width(tree->env);
    ok = pg_work_put(img, &lower, &val, PG_ENTRY_PLAIN, NULL);
    QUIRE_ASSERT(ok);
    (void)ok;
}

/* Delete the records in slots from .. to-1 of the changed leaf `no`. */
static void cut_leaf(struct cut *cut, uint64_t no, unsigned from, unsigned to)
{
    struct pg_image *img = tr_log_image(cut->tree->log, no);
    struct quire_val val;

    for (unsigned i = to; i-- > from;) {
        if (pg_image_value(img, i, &val) == PG_ENTRY_TOMB)
            continue;
        drop_large(cut->tree, img, i);
        pg_work_del(img, i);
    }
}

static unsigned leaf_slot(struct tr_log *log, uint64_t no,
                          const struct quire_val *key)
{
    bool found;

    return pg_image_seek(tr_log_image(log, no), key->data, key->size, &found);
}

/* All that can fail: room for an entry in each inner page of both paths up to
 * `top`, and the pages of the empty subtrees. */
static quire_status cut_reserve(struct cut *cut, const struct path *left,
                                const struct path *right, unsigned top)
{
    struct tr_tree *tree = cut->tree;
    size_t key_max = pg_key_max(tree->env->page_bytes);
    unsigned need = right != NULL ? top * top : top * (top + 1) / 2;
    quire_status rc;

    for (unsigned level = 1; level <= top; level++) {
        rc = make_room(tree->log, left->no[level], key_max,
                       tr_ref_width(tree->env));
        if (rc == QUIRE_OK && right != NULL && level < top)
            rc = make_room(tree->log, right->no[level], key_max,
                           tr_ref_width(tree->env));
        if (rc != QUIRE_OK)
            return rc;
    }
    rc = QUIRE_POINT_RC(TR_CUT_NUMBER, QUIRE_NOMEM,
                        tr_log_reserve(tree->log, 0, 0, need));
    while (rc == QUIRE_OK && cut->npages < need) {
        rc = QUIRE_POINT_RC(TR_CUT_PAGE, QUIRE_NOMEM,
                            ra_seg_alloc(tree->env->pool, cut->page_bytes,
                                         &cut->pages[cut->npages]));
        cut->npages += rc == QUIRE_OK;
    }
    return rc;
}

/* Merge what the cut has left thin, from the leaf of `from` to that of `to`.
 * What can't be had stays as it is. */
static void cut_mend(struct tr_tree *tree, const struct quire_val *from,
                     const struct quire_val *to)
{
    uint8_t buf[QUIRE_PAGE_MAX / 8];
    struct quire_val key = *from, upper;
    struct path path;

    for (;;) {
        const struct pg_image *img;

        if (enter_path(tree, &key, &path) != QUIRE_OK)
            break;
        for (unsigned level = 0; level < path.height; level++)
            (void)merge_level(tree, &path, level);
        if (enter_path(tree, &key, &path) != QUIRE_OK)
            break;
        img = tr_log_image(tree->log, path.no[0]);
        if (!pg_image_upper(img, &upper) ||
            (to != NULL && key_cmp(&upper, to) > 0))
            break;
        memcpy(buf, upper.data, upper.size);
        key.data = buf;
        key.size = upper.size;
    }
    collapse_root(tree);
}

/* Forget all pages: the tree is empty. */
static void clear_tree(struct tr_tree *tree)
{
    tr_log_drop_tree(tree->log, tree);
    memset(&tree->root, 0, sizeof(tree->root));
    atomic_store_explicit(&tree->root_hint, PC_HINT_NONE,
                          memory_order_relaxed); /* a hint */
    tree->count = 0;
}

quire_status tr_del_range(struct tr_tree *tree, const struct quire_val *from,
                          const struct quire_val *to, uint64_t *ndeleted)
{
    struct tr_log *log = tree->log;
    struct cut cut;
    struct path left, right;
    uint64_t below, end = tree->count;
    unsigned top;
    quire_status rc;

    rc = tr_rank(tree, from, &below);
    if (rc == QUIRE_OK && to != NULL)
        rc = tr_rank(tree, to, &end);
    if (rc != QUIRE_OK)
        return rc;
    *ndeleted = end > below ? end - below : 0;
    if (*ndeleted == 0)
        return QUIRE_OK;
    cut.tree = tree;
    cut.npages = 0;
    cut.page_bytes = ra_seg_class_bytes(sizeof(struct pg_image) + 1024 +
                                        tr_ref_width(tree->env) +
                                        3 * pg_key_max(tree->env->page_bytes));
    if (*ndeleted == tree->count) {
        clear_tree(tree);
        goto done;
    }
    rc = enter_path(tree, from, &left);
    if (rc == QUIRE_OK && to != NULL)
        rc = enter_path(tree, to, &right);
    if (rc != QUIRE_OK)
        return rc;
    top = left.height;
    if (to != NULL) {
        for (top = 0; left.no[top] != right.no[top]; top++)
            ;
    }
    rc = cut_reserve(&cut, &left, to != NULL ? &right : NULL, top);
    if (rc != QUIRE_OK)
        goto out;

    if (to != NULL && top == 0) {
        cut_leaf(&cut, left.no[0], leaf_slot(log, left.no[0], from),
                 leaf_slot(log, left.no[0], to));
    } else {
        cut_leaf(&cut, left.no[0], leaf_slot(log, left.no[0], from),
                 tr_log_image(log, left.no[0])->n);
        if (to != NULL)
            cut_leaf(&cut, right.no[0], 0, leaf_slot(log, right.no[0], to));
    }
    for (unsigned level = 1; level <= left.height; level++) {
        uint64_t no = left.no[level];
        struct pg_image *img = tr_log_image(log, no);

        if (to != NULL && level < top) {
            cut_run(&cut, right.no[level], 0,
                    live_child(tr_log_image(log, right.no[level]), to));
            adopt_children(log, right.no[level]);
        }
        if (to == NULL || level < top)
            cut_run(&cut, no, live_child(img, from) + 1, img->n);
        else if (level == top)
            cut_run(&cut, no, live_child(img, from) + 1, live_child(img, to));
        adopt_children(log, no);
    }
    tree->count -= *ndeleted;

done:
    tree->changed = true;
    tree->ascending = 0;
    tree->last_leaf = TR_NONE;
    log->gen++;
    if (tree->count > 0)
        cut_mend(tree, from, to);
out:
    while (cut.npages > 0)
        ra_seg_free(tree->env->pool, cut.pages[--cut.npages]);
    return rc;
}
