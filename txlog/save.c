/*
 * save.c - savepoints inside a write transaction.
 *
 * What a savepoint must bring back is three things: the changed pages, which
 * the log of changed pages versions itself (TR-11); the trees' roots, counts
 * and names, of which it keeps copies; and the place in what is written ahead,
 * so that spans taken since are offered again. Setting one can fail; going back
 * and releasing allocate nothing and cannot.
 *
 * A page that a savepoint needs can't be written ahead. When one is set, the
 * changed pages are therefore first brought down to half of their share, and so
 * there is always room to go on in, however deep the savepoints are.
 *
 * Tree handles that go with a drop are put aside while there are savepoints:
 * changed pages name them, and a rollback brings them back.
 */
#include "txlog/tx_impl.h"

/* A tree as it was. */
struct save_tree {
    struct quire_tree *tree;
    struct tr_tree state;
    size_t name_len;
    char name[QUIRE_NAME_MAX + 1];
};

/* One segment of them. */
struct save_trees {
    struct save_trees *next;
    size_t n;
    struct save_tree trees[];
};

#define SAVE_TREES_MAX \
    ((QUIRE_SEG_MAX - sizeof(struct save_trees)) / sizeof(struct save_tree))

struct tx_save {
    struct tx_save *outer;
    quire_savepoint number;
    uint32_t level; /* of the log of changed pages */
    struct tr_tree catalogue;
    struct tr_tree system;
    struct pf_ahead_mark ahead;
    struct save_trees *trees;
};

static struct quire_tree *tree_of(struct tx_handle *h)
{
    return (struct quire_tree *)h;
}

/* Leaves may be of another level now. */
static void forget_last_leaf(struct tr_tree *tree)
{
    tree->last_leaf = TR_NONE;
    tree->ascending = 0;
}

static void forget_last_leaves(struct quire_txn *txn)
{
    forget_last_leaf(&txn->catalogue);
    forget_last_leaf(&txn->system);
    for (struct tx_handle *h = txn->trees; h != NULL; h = h->next)
        forget_last_leaf(&tree_of(h)->tree);
}

static void save_free(struct quire_txn *txn, struct tx_save *save)
{
    struct ra_pool *pool = txn->db->pool;

    if (save == NULL)
        return;
    while (save->trees != NULL) {
        struct save_trees *t = save->trees;

        save->trees = t->next;
        ra_seg_free(pool, t);
    }
    ra_seg_free(pool, save);
}

/* Copy what the transaction knows of its trees. */
static quire_status save_trees(struct quire_txn *txn, struct tx_save *save)
{
    struct tx_handle *h = txn->trees;
    size_t left = 0;

    for (; h != NULL; h = h->next)
        left++;
    h = txn->trees;
    while (left > 0) {
        size_t n = ra_min_u64(left, SAVE_TREES_MAX);
        void *seg = NULL;
        struct save_trees *trees;
        quire_status rc;

        rc = QUIRE_POINT_RC(
            TX_SAVE_TREES, QUIRE_NOMEM,
            ra_seg_alloc(txn->db->pool,
                         sizeof(*trees) + n * sizeof(trees->trees[0]), &seg));
        if (rc != QUIRE_OK)
            return rc;
        trees = seg;
        trees->n = n;
        trees->next = save->trees;
        save->trees = trees;
        for (size_t i = 0; i < n; i++, h = h->next) {
            struct save_tree *to = &trees->trees[i];

            to->tree = tree_of(h);
            to->state = tree_of(h)->tree;
            to->name_len = tree_of(h)->name_len;
            memcpy(to->name, tree_of(h)->name, sizeof(to->name));
        }
        left -= n;
    }
    return QUIRE_OK;
}

quire_status tx_save_set(struct quire_txn *txn, quire_savepoint *sp)
{
    struct quire *db = txn->db;
    struct tx_save *save = NULL;
    void *seg = NULL;
    quire_status rc;

    tx_held_release(txn, &txn->held);
    if (db->wlog.level == UINT32_MAX)
        return ra_fail(QUIRE_TOOBIG, "too many savepoints");
    if (db->wlog.bytes > db->log_limit / 2) {
        rc = tx_spill(txn, db->log_limit / 2, false);
        if (rc != QUIRE_OK)
            return rc;
    }
    rc = QUIRE_POINT_RC(TX_SAVE_HANDLE, QUIRE_NOMEM,
                        ra_seg_alloc(db->pool, sizeof(*save), &seg));
    if (rc != QUIRE_OK)
        return rc;
    save = seg;
    save->trees = NULL;
    rc = save_trees(txn, save);
    if (rc != QUIRE_OK)
        goto out;
    rc = QUIRE_POINT_RC(TX_SAVE_MARK, QUIRE_NOSPACE,
                        pf_ahead_mark(db->file, &save->ahead));
    if (rc != QUIRE_OK) {
        txn->failed = true; /* what pages refer to may be lost */
        goto out;
    }
    tr_log_mark(&db->wlog);
    forget_last_leaves(txn);
    save->catalogue = txn->catalogue;
    save->system = txn->system;
    save->level = db->wlog.level;
    save->number = ++txn->nsaves;
    save->outer = txn->saves;
    txn->saves = save;
    *sp = save->number;
    save = NULL;

out:
    save_free(txn, save);
    return rc;
}

struct tx_save *tx_save_find(struct quire_txn *txn, quire_savepoint sp)
{
    struct tx_save *save = txn->saves;

    while (save != NULL && save->number != sp)
        save = save->outer;
    return save;
}

static void restore(struct tr_tree *tree, const struct tr_tree *state)
{
    *tree = *state;
    forget_last_leaf(tree);
    atomic_store_explicit(&tree->root_hint, PC_HINT_NONE,
                          memory_order_relaxed); /* a hint */
}

/* Put the trees of `list` that were open back among the transaction's, and give
 * the others back. */
static void sort_out(struct quire_txn *txn, struct tx_handle *list)
{
    struct quire *db = txn->db;

    while (list != NULL) {
        struct quire_tree *t = tree_of(list);

        list = list->next;
        if (t->keep) {
            t->h.magic = TX_TREE_MAGIC;
            t->h.next = txn->trees;
            txn->trees = &t->h;
        } else {
            tx_tree_close_cursors(txn, t);
            tx_handle_give(db, &db->free_trees, t);
        }
    }
}

/* Bring the trees back that `save` knows. Others that were put aside under an
 * outer savepoint stay there. */
static void restore_trees(struct quire_txn *txn, const struct tx_save *save)
{
    struct tx_handle *open = txn->trees;
    struct tx_handle **link = &txn->dropped;
    struct tx_handle *back = NULL;

    for (struct tx_handle *h = open; h != NULL; h = h->next)
        tree_of(h)->keep = false;
    for (struct tx_handle *h = txn->dropped; h != NULL; h = h->next)
        tree_of(h)->keep = false;
    for (const struct save_trees *s = save->trees; s != NULL; s = s->next) {
        for (size_t i = 0; i < s->n; i++) {
            struct quire_tree *t = s->trees[i].tree;

            restore(&t->tree, &s->trees[i].state);
            t->name_len = s->trees[i].name_len;
            memcpy(t->name, s->trees[i].name, sizeof(t->name));
            t->keep = true;
        }
    }
    while (*link != NULL) {
        struct tx_handle *h = *link;

        if (!tree_of(h)->keep) {
            link = &h->next;
            continue;
        }
        *link = h->next;
        h->next = back;
        back = h;
    }
    txn->trees = NULL;
    sort_out(txn, open);
    sort_out(txn, back);
}

void tx_save_rollback(struct quire_txn *txn, struct tx_save *save)
{
    struct quire *db = txn->db;

    tx_held_release(txn, &txn->held);
    while (txn->saves != save) {
        struct tx_save *inner = txn->saves;

        txn->saves = inner->outer;
        save_free(txn, inner);
    }
    tr_log_rollback(&db->wlog, save->level);
    restore(&txn->catalogue, &save->catalogue);
    restore(&txn->system, &save->system);
    restore_trees(txn, save);
    pf_ahead_rewind(db->file, &save->ahead);
}

/* No savepoint is left: nothing brings a dropped tree back. */
static void forget_dropped(struct quire_txn *txn)
{
    while (txn->dropped != NULL) {
        struct tx_handle *h = txn->dropped;

        txn->dropped = h->next;
        tx_handle_give(txn->db, &txn->db->free_trees, h);
    }
}

void tx_save_release(struct quire_txn *txn, struct tx_save *save)
{
    struct tx_save *outer = save->outer;

    tx_held_release(txn, &txn->held);
    tr_log_release(&txn->db->wlog, save->level);
    while (txn->saves != outer) {
        struct tx_save *inner = txn->saves;

        txn->saves = inner->outer;
        save_free(txn, inner);
    }
    forget_last_leaves(txn);
    if (txn->saves == NULL)
        forget_dropped(txn);
}

void tx_save_end(struct quire_txn *txn, bool abort)
{
    struct tx_save *save = txn->saves;

    if (save == NULL)
        return;
    if (!abort) {
        while (save->outer != NULL)
            save = save->outer;
        tx_save_release(txn, save);
        return;
    }
    while (txn->saves != NULL) {
        save = txn->saves;
        txn->saves = save->outer;
        save_free(txn, save);
    }
    forget_dropped(txn);
}
