/*
 * catalogue.c - named trees.
 *
 * The catalogue is a tree whose root the commit record holds. 'r' and a name
 * map to the reference of that tree's root, empty for a tree without pages; 'm'
 * and a name to its metadata. The default tree's name is empty. A tree that is
 * opened in a transaction is kept by it under its name until the end, so that
 * there is one place for its changes.
 */
#include "txlog/tx_impl.h"

size_t tx_catalogue_key(char what, const char *name, size_t name_len,
                        uint8_t buf[QUIRE_NAME_MAX + 1])
{
    buf[0] = (uint8_t)what;
    memcpy(buf + 1, name, name_len);
    return name_len + 1;
}

/* The root of tree `name` from the catalogue; NOTFOUND. */
static quire_status root_get(struct quire_txn *txn, const char *name,
                             size_t name_len, struct pg_ref *root)
{
    struct tr_leaf leaf = { NULL, 0, false };
    uint8_t buf[QUIRE_NAME_MAX + 1];
    struct quire_val key = { buf, 0 };
    struct quire_val val;
    enum pg_entry entry;
    quire_status rc;

    memset(root, 0, sizeof(*root));
    key.size = tx_catalogue_key('r', name, name_len, buf);
    rc = tr_get(&txn->catalogue, &key, &leaf, &val, &entry);
    if (rc != QUIRE_OK)
        return rc;
    if (entry != PG_ENTRY_PLAIN)
        rc = ra_fail(QUIRE_CORRUPT, "the catalogue's entry of tree '%s'", name);
    else if (val.size > 0)
        rc = pg_ref_decode(val.data, val.size, root);
    if (rc == QUIRE_OK && (root->intent || root->id != PG_ID_NONE) &&
        (root->intent || (root->kind != PG_LEAF && root->kind != PG_INNER) ||
         root->level > PG_LEVEL_MAX))
        rc = ra_fail(QUIRE_CORRUPT, "the catalogue's entry of tree '%s'", name);
    tr_leaf_release(&txn->db->env, &leaf);
    return rc;
}

quire_status tx_tree_get(struct quire_txn *txn, const char *name,
                         size_t name_len, bool create, struct quire_tree **tree)
{
    static const struct quire_val nothing = { "", 0 };
    struct quire *db = txn->db;
    struct quire_tree *t;
    struct pg_ref root;
    quire_status rc;

    for (struct tx_handle *h = txn->trees; h != NULL; h = h->next) {
        t = (struct quire_tree *)h;
        if (t->name_len == name_len && memcmp(t->name, name, name_len) == 0) {
            *tree = t;
            return QUIRE_OK;
        }
    }
    rc = root_get(txn, name, name_len, &root);
    if (rc == QUIRE_NOTFOUND && name_len == 0)
        rc = QUIRE_OK;
    if (rc == QUIRE_NOTFOUND && !create)
        return ra_fail(rc, "there is no tree '%s'", name);
    if (rc != QUIRE_OK && rc != QUIRE_NOTFOUND)
        return rc;
    t = QUIRE_POINT(
        TX_TREE_HANDLE, NULL,
        tx_handle_take(db, &db->free_trees, sizeof(*t), TX_TREE_MAGIC));
    if (t == NULL)
        return ra_fail(QUIRE_NOMEM, "no memory for a handle");
    if (rc == QUIRE_NOTFOUND) {
        uint8_t buf[QUIRE_NAME_MAX + 1];
        struct quire_val key = { buf, 0 };

        key.size = tx_catalogue_key('r', name, name_len, buf);
        rc = QUIRE_POINT_RC(TX_CATALOGUE_ENTRY, QUIRE_NOMEM,
                            tx_put(txn, &txn->catalogue, &key, &nothing, 0));
        if (rc != QUIRE_OK) {
            tx_handle_give(db, &db->free_trees, t);
            return rc;
        }
    }
    t->txn = txn;
    tr_tree_init(&t->tree, &db->env, txn->write ? &db->wlog : NULL, &root);
    t->name_len = name_len;
    memcpy(t->name, name, name_len);
    t->name[name_len] = '\0';
    t->h.next = txn->trees;
    txn->trees = &t->h;
    *tree = t;
    return QUIRE_OK;
}

void tx_tree_close_cursors(struct quire_txn *txn, const struct quire_tree *tree)
{
    struct tx_handle **link = &txn->cursors;

    while (*link != NULL) {
        struct quire_cursor *cur = (struct quire_cursor *)*link;

        if (cur->tree != tree) {
            link = &(*link)->next;
            continue;
        }
        *link = cur->h.next;
        tr_cursor_reset(&cur->cur);
        tx_held_release(txn, &cur->held);
        tx_handle_give(txn->db, &txn->db->free_cursors, cur);
    }
}

quire_status tx_tree_drop(struct quire_txn *txn, struct quire_tree *tree)
{
    struct quire *db = txn->db;
    struct tx_handle **link;
    uint8_t buf[QUIRE_NAME_MAX + 1];
    struct quire_val key = { buf, 0 };
    quire_status rc;

    key.size = tx_catalogue_key('m', tree->name, tree->name_len, buf);
    rc = tx_del(txn, &txn->catalogue, &key);
    if (rc != QUIRE_OK && rc != QUIRE_NOTFOUND)
        return rc;
    key.size = tx_catalogue_key('r', tree->name, tree->name_len, buf);
    rc = tx_del(txn, &txn->catalogue, &key);
    if (rc != QUIRE_OK && rc != QUIRE_NOTFOUND) {
        txn->failed = true; /* the metadata is gone already */
        return rc;
    }
    tx_tree_close_cursors(txn, tree);
    tr_log_drop_tree(&db->wlog, &tree->tree);
    for (link = &txn->trees; *link != &tree->h; link = &(*link)->next)
        ;
    *link = tree->h.next;
    if (txn->saves != NULL) { /* its pages may be wanted again */
        tree->h.magic = 0;
        tree->h.next = txn->dropped;
        txn->dropped = &tree->h;
    } else {
        tx_handle_give(db, &db->free_trees, tree);
    }
    return QUIRE_OK;
}

/* Move an entry of the catalogue from one key to another. */
static quire_status entry_move(struct quire_txn *txn, char what,
                               const struct quire_tree *tree, const char *name,
                               size_t name_len)
{
    struct tr_tree *cat = &txn->catalogue;
    struct tr_leaf leaf = { NULL, 0, false };
    uint8_t from_buf[QUIRE_NAME_MAX + 1], to_buf[QUIRE_NAME_MAX + 1];
    struct quire_val from = { from_buf, 0 }, to = { to_buf, 0 }, val;
    enum pg_entry entry;
    quire_status rc;

    from.size = tx_catalogue_key(what, tree->name, tree->name_len, from_buf);
    to.size = tx_catalogue_key(what, name, name_len, to_buf);
    rc = tr_get(cat, &from, &leaf, &val, &entry);
    if (rc != QUIRE_OK)
        return rc == QUIRE_NOTFOUND ? QUIRE_OK : rc;
    /* Nothing is encoded between here and the put, which needs no scratch. */
    QUIRE_ASSERT(val.size <= PG_RAW_MAX);
    memcpy(cat->log->scratch, val.data, val.size);
    val.data = cat->log->scratch;
    tr_leaf_release(&txn->db->env, &leaf);
    rc = tr_put(cat, &to, &val, entry);
    if (rc == QUIRE_OK)
        rc = tr_del_moved(cat, &from);
    return rc;
}

quire_status tx_tree_rename(struct quire_txn *txn, struct quire_tree *tree,
                            const char *name, size_t name_len)
{
    struct pg_ref root;
    quire_savepoint sp;
    quire_status rc;

    rc = root_get(txn, name, name_len, &root);
    if (rc == QUIRE_OK)
        return ra_fail(QUIRE_EXISTS, "there is a tree '%s'", name);
    if (rc != QUIRE_NOTFOUND)
        return rc;
    rc = tx_write_room(txn);
    if (rc == QUIRE_OK)
        rc = tx_save_set(txn, &sp);
    if (rc != QUIRE_OK)
        return rc;
    rc = entry_move(txn, 'r', tree, name, name_len);
    if (rc == QUIRE_OK)
        rc = entry_move(txn, 'm', tree, name, name_len);
    if (rc == QUIRE_OK) {
        tree->name_len = name_len;
        memcpy(tree->name, name, name_len + 1);
    } else {
        tx_save_rollback(txn, txn->saves);
    }
    tx_save_release(txn, txn->saves);
    return rc;
}
