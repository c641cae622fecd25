/*
 * cursor.c - a position in a tree that moves both ways.
 *
 * A cursor holds the leaf it is in and a slot. The next leaf is found by a
 * descent to the upper fence (backwards: to what is below the lower fence); no
 * stack of parents is kept, so nothing about the tree above can go stale. That
 * each leaf begins where the last one ended is checked, which bounds a scan
 * whatever the file holds.
 *
 * In a write transaction the leaf may change or go with any put or delete. The
 * log's generation tells; the cursor then finds its place again by its key, of
 * which it keeps a copy.
 */
#include <limits.h>

#include "txlog/tree/tr.h"

void tr_cursor_init(struct tr_cursor *cur, struct tr_tree *tree,
                    uint8_t *key_buf)
{
    memset(cur, 0, sizeof(*cur));
    cur->tree = tree;
    cur->key_buf = key_buf;
}

void tr_cursor_reset(struct tr_cursor *cur)
{
    tr_leaf_release(cur->tree->env, &cur->leaf);
    cur->prefixed = false;
    cur->on = false;
}

static uint64_t cursor_gen(const struct tr_cursor *cur)
{
    return cur->tree->log != NULL ? cur->tree->log->gen : 0;
}

static bool slot_is_live(const struct pg_image *img, unsigned i)
{
    struct quire_val val;

    return pg_image_value(img, i, &val) != PG_ENTRY_TOMB;
}

/* By its fence the leaf is the last one: NOTFOUND if it is so by the pages above
 * it too. A damaged page must not pass for the end. */
static quire_status cursor_end(struct tr_cursor *cur, bool forward)
{
    struct tr_leaf end = { NULL, 0, false };
    const struct pg_image *beside = NULL;
    bool same;
    quire_status rc;

    if (cur->tree->log != NULL) /* they are compared when they are entered */
        return QUIRE_NOTFOUND;
    rc = tr_leaf_find(cur->tree, forward ? TR_LAST : TR_AT, "", 0, &end,
                      &beside);
    if (rc != QUIRE_OK)
        return rc;
    same = end.img->id == cur->leaf.img->id;
    tr_leaf_release(cur->tree->env, &end);
    return same ? QUIRE_NOTFOUND
                : ra_fail(QUIRE_CORRUPT,
                          "page at offset %llu: it has no fence, but a "
                          "neighbour",
                          (unsigned long long)pg_id_off(cur->leaf.img->id));
}

/* Go on to the neighbouring leaf; NOTFOUND at the end of the tree. */
static quire_status cursor_turn(struct tr_cursor *cur, bool forward)
{
    struct tr_leaf next = { NULL, 0, false };
    struct quire_val fence, other;
    uint64_t nslow = cur->tree->nslow;
    quire_status rc;
    bool bounded;

    if (forward) {
        if (!pg_image_upper(cur->leaf.img, &fence))
            return cursor_end(cur, true);
    } else {
        pg_image_lower(cur->leaf.img, &fence);
        if (fence.size == 0)
            return cursor_end(cur, false);
    }
    /* The held leaf keeps the fence in place until the next one is held. */
    rc = tr_leaf_find(cur->tree, forward ? TR_AT : TR_BELOW, fence.data,
                      fence.size, &next, &cur->beside);
    if (rc != QUIRE_OK)
        return rc;
    if (forward) {
        pg_image_lower(next.img, &other);
        bounded = other.size == fence.size &&
                  memcmp(other.data, fence.data, fence.size) == 0;
    } else {
        bounded = pg_image_upper(next.img, &other) &&
                  other.size == fence.size &&
                  memcmp(other.data, fence.data, fence.size) == 0;
    }
    if (!bounded) {
        rc = ra_fail(QUIRE_CORRUPT,
                     "page at offset %llu: its fences do not meet those of "
                     "its neighbour at %llu",
                     (unsigned long long)pg_id_off(next.img->id),
                     (unsigned long long)pg_id_off(cur->leaf.img->id));
        tr_leaf_release(cur->tree->env, &next);
        return rc;
    }
    if (cur->tree->log == NULL)
        tr_ahead_turn(&cur->ahead, cur->tree, &fence, forward,
                      cur->tree->nslow != nslow);
    if (cur->fetch.forward == forward)
        pg_fetch_turn(&cur->fetch, cur->leaf.img, next.img);
    else
        pg_fetch_begin(&cur->fetch, next.img, forward ? 0 : next.img->n - 1,
                       forward);
    tr_leaf_release(cur->tree->env, &cur->leaf);
    cur->leaf = next;
    cur->prefixed = false;
    cur->slot = forward ? 0 : next.img->n;
    return QUIRE_OK;
}

/* From `slot` on (backwards: from below it) to the first live record. */
static quire_status cursor_settle(struct tr_cursor *cur, bool forward)
{
    quire_status rc;

    for (;;) {
        const struct pg_image *img = cur->leaf.img;

        if (forward) {
            while (cur->slot < img->n && !slot_is_live(img, cur->slot))
                cur->slot++;
            if (cur->slot < img->n)
                break;
        } else {
            while (cur->slot > 0 && !slot_is_live(img, cur->slot - 1))
                cur->slot--;
            if (cur->slot > 0) {
                cur->slot--;
                break;
            }
        }
        rc = cursor_turn(cur, forward);
        if (rc != QUIRE_OK) {
            tr_cursor_reset(cur);
            return rc;
        }
    }
    cur->on = true;
    cur->gen = cursor_gen(cur);
    if (cur->tree->log != NULL)
        cur->key_len = pg_image_key_copy(cur->leaf.img, cur->slot,
                                         cur->key_buf);
    return QUIRE_OK;
}

quire_status tr_cursor_seek(struct tr_cursor *cur, quire_seek how,
                            const struct quire_val *key)
{
    static const struct quire_val empty = { "", 0 };
    enum tr_where where = how == QUIRE_SEEK_LAST ? TR_LAST : TR_AT;
    bool forward = how != QUIRE_SEEK_LAST && how != QUIRE_SEEK_LE &&
                   how != QUIRE_SEEK_LT;
    struct tr_leaf before = cur->leaf; /* `key` may lie in it */
    struct quire_val fence;
    quire_status rc;
    bool found = false;

    if (how == QUIRE_SEEK_FIRST || how == QUIRE_SEEK_LAST)
        key = &empty;
    cur->leaf.img = NULL;
    cur->leaf.pinned = false;
    cur->on = false;
    tr_ahead_stop(&cur->ahead);
    cur->prefixed = false;
    rc = tr_leaf_find(cur->tree, where, key->data, key->size, &cur->leaf,
                      &cur->beside);
    if (rc == QUIRE_OK && how != QUIRE_SEEK_LAST)
        cur->slot = pg_image_seek_from(cur->leaf.img, key->data, key->size,
                                       &found, &cur->fetch, forward);
    if (!forward && how != QUIRE_SEEK_LAST)
        cur->beside = NULL; /* it is the other one */
    tr_leaf_release(cur->tree->env, &before);
    if (rc != QUIRE_OK)
        return rc;
    /* What the pages above say is the first leaf, or the last, says so too. */
    if ((how == QUIRE_SEEK_FIRST && cur->leaf.img->lower_len != 0) ||
        (how == QUIRE_SEEK_LAST && pg_image_upper(cur->leaf.img, &fence))) {
        rc = ra_fail(QUIRE_CORRUPT,
                     "page at offset %llu: it has a fence, but no neighbour",
                     (unsigned long long)pg_id_off(cur->leaf.img->id));
        tr_cursor_reset(cur);
        return rc;
    }
    if (how == QUIRE_SEEK_LAST) {
        cur->slot = cur->leaf.img->n;
        pg_fetch_begin(&cur->fetch, cur->leaf.img, cur->slot - 1, false);
        return cursor_settle(cur, false);
    }
    if (found && !slot_is_live(cur->leaf.img, cur->slot) &&
        how == QUIRE_SEEK_EQ)
        found = false;
    switch (how) {
    case QUIRE_SEEK_EQ:
        if (!found) {
            tr_cursor_reset(cur);
            return QUIRE_NOTFOUND;
        }
        return cursor_settle(cur, true);
    case QUIRE_SEEK_GT:
        cur->slot += found;
        return cursor_settle(cur, true);
    case QUIRE_SEEK_LE:
        cur->slot += found;
        return cursor_settle(cur, false);
    case QUIRE_SEEK_LT:
        return cursor_settle(cur, false);
    default:
        return cursor_settle(cur, true);
    }
}

/* Find the place again after changes. NOTFOUND: the record was deleted. */
static quire_status cursor_refresh(struct tr_cursor *cur)
{
    quire_status rc;
    bool found;

    if (cur->gen == cursor_gen(cur) && cur->leaf.img != NULL)
        return QUIRE_OK;
    tr_leaf_release(cur->tree->env, &cur->leaf);
    cur->prefixed = false;
    rc = tr_leaf_find(cur->tree, TR_AT, cur->key_buf, cur->key_len, &cur->leaf,
                      &cur->beside);
    if (rc != QUIRE_OK)
        return rc;
    cur->slot = pg_image_seek_from(cur->leaf.img, cur->key_buf, cur->key_len,
                                   &found, &cur->fetch, true);
    if (!found || !slot_is_live(cur->leaf.img, cur->slot)) {
        tr_leaf_release(cur->tree->env, &cur->leaf);
        return QUIRE_NOTFOUND;
    }
    cur->gen = cursor_gen(cur);
    return QUIRE_OK;
}

void tr_cursor_place(struct tr_cursor *cur, const struct quire_val *key)
{
    QUIRE_ASSERT(cur->tree->log != NULL);
    tr_cursor_reset(cur);
    memmove(cur->key_buf, key->data, key->size); /* it may be the cursor's */
    cur->key_len = key->size;
    cur->on = true;
}

/* It goes back: what is beside the leaf in that direction is not known. */
static void cursor_reverse(struct tr_cursor *cur, bool forward)
{
    cur->beside = NULL;
    pg_fetch_begin(&cur->fetch, cur->leaf.img, cur->slot, forward);
}

quire_status tr_cursor_step(struct tr_cursor *cur, bool forward)
{
    quire_status rc;

    if (QUIRE_LIKELY(cur->on && cur->tree->log == NULL &&
                     cur->leaf.img != NULL)) {
        /* Most steps: to the neighbour in a committed leaf, where all live. */
        const struct pg_image *img = cur->leaf.img;
        unsigned left = forward ? img->n - 1 - cur->slot : cur->slot;

        if (QUIRE_LIKELY(left > 0)) {
            cur->slot += forward ? 1u : -1u;
            if (QUIRE_UNLIKELY(cur->fetch.forward != forward))
                cursor_reverse(cur, forward);
            pg_fetch_step(&cur->fetch, img, cur->beside, cur->slot);
            return QUIRE_OK;
        }
    }
    if (!cur->on)
        return tr_cursor_seek(cur, forward ? QUIRE_SEEK_FIRST : QUIRE_SEEK_LAST,
                              NULL);
    if (cur->gen != cursor_gen(cur) || cur->leaf.img == NULL) {
        struct quire_val key = { cur->key_buf, cur->key_len };

        rc = tr_cursor_seek(cur, forward ? QUIRE_SEEK_GT : QUIRE_SEEK_LT, &key);
    } else {
        /* The key may be needed when the neighbouring leaf can't be had. */
        if (cur->tree->log == NULL &&
            (forward ? cur->slot + 1 == cur->leaf.img->n : cur->slot == 0))
            cur->key_len = pg_image_key_copy(cur->leaf.img, cur->slot,
                                             cur->key_buf);
        cur->slot += forward;
        rc = cursor_settle(cur, forward);
    }
    if (rc != QUIRE_OK && rc != QUIRE_NOTFOUND)
        cur->on = true; /* still at its key, so that a retry goes on there */
    return rc;
}

quire_status tr_cursor_get(struct tr_cursor *cur, struct quire_val *key,
                           struct quire_val *val, enum pg_entry *entry)
{
    quire_status rc;

    if (!cur->on)
        return QUIRE_NOTFOUND;
    if (QUIRE_LIKELY(cur->tree->log == NULL && cur->leaf.img != NULL)) {
        if (key == NULL) {
            *entry = pg_image_value(cur->leaf.img, cur->slot, val);
            return QUIRE_OK;
        }
        /* the leaf stays while the cursor is on it */
        *entry = pg_image_whole(cur->leaf.img, cur->slot, cur->key_buf,
                                cur->prefixed, key, val);
        cur->prefixed = true;
        return QUIRE_OK;
    }
    rc = cursor_refresh(cur);
    if (rc != QUIRE_OK)
        return rc;
    *entry = pg_image_value(cur->leaf.img, cur->slot, val);
    if (key == NULL)
        return QUIRE_OK;
    if (cur->tree->log == NULL)
        cur->key_len = pg_image_key_copy(cur->leaf.img, cur->slot,
                                         cur->key_buf);
    key->data = cur->key_buf;
    key->size = cur->key_len;
    return QUIRE_OK;
}

quire_status tr_cursor_label(struct tr_cursor *cur, struct quire_val *label)
{
    struct quire_val val;
    enum pg_entry entry;
    quire_status rc = tr_cursor_get(cur, NULL, &val, &entry);

    if (rc == QUIRE_OK)
        pg_image_label(cur->leaf.img, cur->slot, label);
    return rc;
}

unsigned tr_cursor_records(struct tr_cursor *cur, bool step, bool forward,
                           struct quire_record *records, size_t cap, void *buf,
                           size_t buf_bytes)
{
    const struct pg_image *img = cur->leaf.img;
    unsigned from = cur->slot;
    unsigned n;

    if (step)
        from += forward ? 1u : -1u;
    if (cur->tree->log != NULL || !cur->on || img == NULL || from >= img->n)
        return 0; /* `from` may be below 0, too */
    if (QUIRE_UNLIKELY(cur->fetch.forward != forward))
        cursor_reverse(cur, forward);
    n = pg_image_records(img, from, (unsigned)ra_min_u64(cap, UINT_MAX),
                         records, buf, buf_bytes, &cur->fetch, cur->beside);
    if (n == 0)
        return 0;
    cur->slot = forward ? from + (n - 1) : from - (n - 1);
    return n;
}

void tr_cursor_save(const struct tr_cursor *cur, struct tr_cursor *saved,
                    void *key)
{
    const char *tag = pc_tag("saved cursor");

    *saved = *cur;
    if (saved->leaf.pinned)
        pc_repin(cur->tree->env->cache, saved->leaf.frame);
    (void)pc_tag(tag);
    memcpy(key, cur->key_buf, cur->key_len);
}

void tr_cursor_restore(struct tr_cursor *cur, const struct tr_cursor *saved,
                       const void *key)
{
    tr_leaf_release(cur->tree->env, &cur->leaf);
    *cur = *saved;
    cur->prefixed = false;
    memcpy(cur->key_buf, key, cur->key_len);
}

void tr_cursor_forget(struct tr_cursor *saved)
{
    tr_leaf_release(saved->tree->env, &saved->leaf);
}
