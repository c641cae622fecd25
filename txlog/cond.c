/*
 * cond.c - writes that look at the old value first (compare and put, get and
 * put, read-modify-write), and deleting a range.
 *
 * There is one writer, so looking and writing need no lock between them: the
 * record can't change in the meantime. What is looked at is held (pinned, or a
 * working image) and let go before the write, which may move it.
 */
#include "txlog/tx_impl.h"

/* A record as it is before the write. */
struct tx_old {
    bool exists;
    enum pg_entry entry;
    struct quire_val val; /* what stands in the leaf */
    uint64_t size;        /* bytes of the value */
    struct tr_leaf leaf;
    struct tr_leaf page; /* the overflow page, when it is looked at */
};

static void old_release(struct quire_txn *txn, struct tx_old *old)
{
    tx_held_release(txn, &old->page);
    tx_held_release(txn, &old->leaf);
}

/* QUIRE_OK also when there is none. */
static quire_status old_find(struct quire_txn *txn, struct tr_tree *tree,
                             const struct quire_val *key, struct tx_old *old)
{
    struct pg_large large;
    quire_status rc;

    memset(old, 0, sizeof(*old));
    rc = tr_get(tree, key, &old->leaf, &old->val, &old->entry);
    if (rc == QUIRE_NOTFOUND)
        return QUIRE_OK;
    if (rc != QUIRE_OK)
        return rc;
    old->exists = true;
    old->size = old->val.size;
    if (old->entry == PG_ENTRY_OVERFLOW) {
        rc = pg_large_decode(&old->val, &large);
        if (rc == QUIRE_OK)
            old->size = large.size;
        else
            old_release(txn, old);
    }
    return rc;
}

/* Is the old value equal to `want`, which is as long? */
static quire_status old_equals(struct quire_txn *txn, struct tr_tree *tree,
                               const struct tx_old *old,
                               const struct quire_val *want, bool *equal)
{
    /* Nothing is written out between here and the return. */
    uint8_t *part = tree->log->scratch;
    uint64_t size;
    quire_status rc;

    if (old->entry != PG_ENTRY_OVERFLOW) {
        *equal = memcmp(old->val.data, want->data, want->size) == 0;
        return QUIRE_OK;
    }
    *equal = true;
    for (uint64_t off = 0; *equal && off < old->size; off += PG_RAW_MAX) {
        size_t n = ra_min_u64(old->size - off, PG_RAW_MAX);

        rc = tx_value_read(txn, tree, old->entry, &old->val, off, part, n,
                           &size);
        if (rc != QUIRE_OK)
            return rc;
        *equal = memcmp(part, (const uint8_t *)want->data + off, n) == 0;
    }
    return QUIRE_OK;
}

/* `val` NULL: delete what `existed`. */
static quire_status write_new(struct quire_txn *txn, struct tr_tree *tree,
                              const struct quire_val *key,
                              const struct quire_val *val, bool existed)
{
    if (val != NULL)
        return tx_put(txn, tree, key, val, 0);
    return existed ? tx_del(txn, tree, key) : QUIRE_OK;
}

quire_status tx_put_if(struct quire_txn *txn, struct tr_tree *tree,
                       const struct quire_val *key,
                       const struct quire_val *expected,
                       const struct quire_val *val)
{
    struct tx_old old;
    bool equal;
    quire_status rc;

    rc = old_find(txn, tree, key, &old);
    if (rc != QUIRE_OK)
        return rc;
    equal = old.exists == (expected != NULL);
    if (equal && expected != NULL) {
        equal = old.size == expected->size;
        if (equal)
            rc = old_equals(txn, tree, &old, expected, &equal);
    }
    old_release(txn, &old);
    if (rc != QUIRE_OK)
        return rc;
    if (!equal)
        return QUIRE_MISMATCH;
    return write_new(txn, tree, key, val, old.exists);
}

quire_status tx_swap(struct quire_txn *txn, struct tr_tree *tree,
                     const struct quire_val *key, const struct quire_val *val,
                     void *buf, size_t cap, uint64_t *old_size)
{
    struct tx_old old;
    uint64_t size = QUIRE_NO_VALUE;
    quire_status rc;

    rc = old_find(txn, tree, key, &old);
    if (rc != QUIRE_OK)
        return rc;
    if (old.exists) {
        size = old.size;
        if (buf != NULL && size > cap) {
            *old_size = size;
            rc = ra_fail(QUIRE_TOOBIG, "an old value of %llu bytes",
                         (unsigned long long)size);
        } else if (buf != NULL) {
            rc = tx_value_read(txn, tree, old.entry, &old.val, 0, buf, cap,
                               &size);
        }
    }
    old_release(txn, &old);
    if (rc == QUIRE_OK)
        rc = write_new(txn, tree, key, val, old.exists);
    if (rc == QUIRE_OK)
        *old_size = size;
    return rc;
}

/* Do the new value's bytes lie in the old one's? */
static bool overlap(const struct quire_val *a, const struct quire_val *b)
{
    uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;

    return a->size > 0 && b->size > 0 && a0 < b0 + b->size && b0 < a0 + a->size;
}

/* Ask `fn`; a value that it wants stored is in *val, which does not lie in the
 * old one: else it is in *copy. */
static quire_status ask(struct quire_txn *txn, struct tr_tree *tree,
                        struct tx_old *old, quire_update_fn fn, void *arg,
                        int *verdict, struct quire_val *val, void **copy)
{
    struct quire_val bytes = old->val;
    quire_status rc;

    if (old->exists) {
        rc = tx_value_hold(txn, tree, old->entry, &bytes, &old->page);
        if (rc != QUIRE_OK && rc != QUIRE_TOOBIG)
            return rc;
    }
    txn->busy = true;
    txn->update = (struct quire_update){ txn, tree, old };
    *verdict = fn(arg, &txn->update, old->exists ? &bytes : NULL, val);
    txn->update.txn = NULL;
    txn->busy = false;
    if (*verdict < 0)
        return (quire_status)*verdict;
    if (*verdict > QUIRE_VERDICT_DELETE)
        return ra_fail(QUIRE_INVAL, "update: verdict %d", *verdict);
    if (*verdict != QUIRE_VERDICT_STORE)
        return QUIRE_OK;
    if (val->data == NULL) {
        if (val->size > 0)
            return ra_fail(QUIRE_MISUSE, "update: the new value is NULL");
        val->data = "";
    }
    if (val->size > QUIRE_VALUE_MAX)
        return ra_fail(QUIRE_TOOBIG, "a value of %zu bytes; the limit is %llu",
                       val->size, (unsigned long long)QUIRE_VALUE_MAX);
    if (old->exists && bytes.data != NULL && overlap(val, &bytes)) {
        /* The old value is in one segment, but the new one may end elsewhere
         * only by a fault of the caller's. */
        if (val->size > bytes.size)
            return ra_fail(QUIRE_MISUSE,
                           "update: the new value begins in the old one and "
                           "does not end in it");
        rc = QUIRE_POINT_RC(TX_VALUE_COPY, QUIRE_NOMEM,
                            ra_seg_alloc(txn->db->pool, val->size, copy));
        if (rc != QUIRE_OK)
            return rc;
        memcpy(*copy, val->data, val->size);
        val->data = *copy;
    }
    return QUIRE_OK;
}

quire_status tx_update(struct quire_txn *txn, struct tr_tree *tree,
                       const struct quire_val *key, quire_update_fn fn,
                       void *arg)
{
    struct quire_val val = { NULL, 0 };
    int verdict = QUIRE_VERDICT_KEEP;
    void *copy = NULL;
    struct tx_old old;
    quire_status rc;

    rc = old_find(txn, tree, key, &old);
    if (rc != QUIRE_OK)
        return rc;
    rc = ask(txn, tree, &old, fn, arg, &verdict, &val, &copy);
    old_release(txn, &old);
    if (rc == QUIRE_OK && verdict != QUIRE_VERDICT_KEEP)
        rc = write_new(txn, tree, key,
                       verdict == QUIRE_VERDICT_STORE ? &val : NULL,
                       old.exists);
    ra_seg_free(txn->db->pool, copy);
    return rc;
}

quire_status quire_update_read(struct quire_update *up, uint64_t off, void *buf,
                               size_t cap, uint64_t *size)
{
    uint64_t whole = 0;
    quire_status rc;

    if (up == NULL || up->txn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_update_read: no callback runs");
    if (size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_update_read: a NULL argument");
    if (!up->old->exists)
        return QUIRE_NOTFOUND;
    rc = tx_value_read(up->txn, up->tree, up->old->entry, &up->old->val, off,
                       buf, cap, &whole);
    if (rc == QUIRE_OK)
        *size = whole;
    return rc;
}

quire_status tx_del_range(struct quire_txn *txn, struct tr_tree *tree,
                          const struct quire_val *from,
                          const struct quire_val *to, uint64_t *ndeleted)
{
    quire_status rc;

    rc = tx_write_room(txn);
    if (rc != QUIRE_OK)
        return rc;
    rc = tr_del_range(tree, from, to, ndeleted);
    if (rc == QUIRE_NOMEM && !txn->failed) {
        rc = tx_spill(txn, 0, false);
        tr_log_trim_spares(&txn->db->wlog);
        if (rc == QUIRE_OK)
            rc = tr_del_range(tree, from, to, ndeleted);
    }
    return rc;
}
