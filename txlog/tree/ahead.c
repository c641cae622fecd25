/*
 * ahead.c - reading ahead of a cursor that goes through the leaves.
 *
 * The page above the leaves names those that come next, and where all of their
 * fragments are. A cursor that has turned to its neighbour a few times has the
 * next ones read ahead, the ones that are not cached:
 *
 *     leaf  leaf  leaf  LEAF  leaf  leaf  leaf  leaf  leaf
 *      seek  turn  turn  here |- left: asked for -| |- asked for next -|
 *
 * It asks again when half of them has been used, for twice as many, up to a
 * limit; the limit is halved when the cursor goes elsewhere before half of them
 * has been used, and doubled by each window that is used up. The end of the
 * page above the leaves is an end for this, until the cursor has come there.
 *
 * Only a turn that had to load its leaf asks, so a scan of what is cached pays
 * nothing, and neither do seeks and gets, which never turn that often.
 */
#include "txlog/tree/tr.h"

static uint8_t ahead_limit(const struct tr_ahead *ah)
{
    return ah->limit == 0 ? TR_AHEAD_MAX : ah->limit;
}

void tr_ahead_stop(struct tr_ahead *ah)
{
    uint8_t limit = ahead_limit(ah);

    if (ah->left > ah->window / 2 && limit > TR_AHEAD_FIRST)
        ah->limit = limit / 2;
    ah->run = 0;
    ah->left = 0;
    ah->window = 0;
}

/* The resident page above the leaf that `fence` leads to, and the leaf's slot
 * in it; NULL: it isn't resident, or there is none. In a read section. */
static const struct pg_image *ahead_parent(struct tr_tree *tree,
                                           const struct quire_val *fence,
                                           bool forward, unsigned *slot)
{
    struct pc_cache *cache = tree->env->cache;
    const struct pg_image *img = pc_get(cache, tree->root.id, &tree->root_hint,
                                        NULL);

    for (unsigned level = tree->root.level; img != NULL; level--) {
        struct pg_child *child;

        if (level == 0 || img->kind != PG_INNER || img->level != level)
            return NULL;
        *slot = pg_image_child(img, fence->data, fence->size, !forward);
        if (level == 1)
            break;
        child = pg_image_child_at(img, *slot);
        img = pc_get(cache, child->id, &child->hint, NULL);
    }
    return img;
}

/* Collect those that aren't cached of `n` leaves, behind `skip` others behind
 * the one that `fence` leads to. How many there are, cached or not. */
static unsigned ahead_collect(struct tr_tree *tree,
                              const struct quire_val *fence, bool forward,
                              unsigned skip, unsigned n, struct pf_soon *soon)
{
    const struct pg_image *img;
    unsigned slot;
    unsigned i;

    pc_read_enter();
    img = ahead_parent(tree, fence, forward, &slot);
    for (i = 0; img != NULL && i < n; i++) {
        unsigned step = skip + 1 + i;
        const struct pg_child *child;
        struct quire_val val;
        struct pg_ref ref;

        if (forward ? img->n - slot <= step : slot < step)
            break;
        step = forward ? slot + step : slot - step;
        child = pg_image_child_at(img, step);
        if (pc_has(tree->env->cache, child->id, &child->hint))
            continue;
        pg_image_value(img, step, &val);
        if (pg_ref_decode(val.data, val.size, &ref) != QUIRE_OK ||
            !pf_soon_add(soon, &ref))
            break; /* who comes there hears of it; or there is no room */
    }
    pc_read_exit();
    return i;
}

void tr_ahead_turn(struct tr_ahead *ah, struct tr_tree *tree,
                   const struct quire_val *fence, bool forward, bool loaded)
{
    struct pf_soon soon;
    uint8_t limit;

    if (ah->forward != forward)
        tr_ahead_stop(ah);
    ah->forward = forward;
    if (ah->left > 0)
        ah->left--;
    if (ah->run < TR_AHEAD_AFTER) {
        ah->run++;
        if (ah->run < TR_AHEAD_AFTER)
            return;
    }
    if (!loaded || ah->left > ah->window / 2)
        return;
    limit = ahead_limit(ah);
    if (ah->window == limit && limit < TR_AHEAD_MAX)
        ah->limit = limit = limit * 2;
    ah->window = ah->window == 0 ? TR_AHEAD_FIRST : ah->window * 2;
    if (ah->window > limit)
        ah->window = limit;
    soon.n = 0;
    ah->left += ahead_collect(tree, fence, forward, ah->left,
                              ah->window - ah->left, &soon);
    pf_soon_read(tree->env->file, &soon);
}
