/*
 * api.c - the store's part of quire.h: arguments are checked here, the work is
 * done elsewhere in this folder.
 *
 * A handle is live when its magic number stands, its store is open, and this is
 * the process that opened it. What a caller can get wrong is answered with a
 * status in every build.
 */
#include "txlog/tx_impl.h"

static __attribute__((noinline)) quire_status txn_check_all(
    struct quire_txn *txn)
{
    if (txn == NULL)
        return ra_fail(QUIRE_MISUSE, "the transaction handle is NULL");
    if (txn->h.magic != TX_TXN_MAGIC)
        return ra_fail(QUIRE_MISUSE, "the transaction has ended");
    if (txn->busy)
        return ra_fail(QUIRE_MISUSE,
                       "a callback of this transaction is running");
    if (txn->write)
        tx_writer_touch(txn->db);
    return tx_store_check(txn->db);
}

/* The checks of every call, for most of which there is nothing to be done. */
static inline quire_status txn_check(struct quire_txn *txn)
{
    if (QUIRE_LIKELY(txn != NULL && txn->h.magic == TX_TXN_MAGIC &&
                     !txn->busy && !txn->write && tx_store_good(txn->db)))
        return QUIRE_OK;
    return txn_check_all(txn);
}

/* For calls that change something. */
static quire_status txn_check_write(struct quire_txn *txn)
{
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (!txn->write)
        return ra_fail(QUIRE_READONLY, "a read transaction");
    if (txn->failed)
        return ra_fail(QUIRE_ABORTED,
                       "an earlier call of the transaction failed halfway; "
                       "abort it");
    return QUIRE_OK;
}

/* The tree handle, or the default tree for NULL. */
static inline quire_status tree_check(struct quire_txn *txn,
                                      struct quire_tree *tree,
                                      struct quire_tree **out)
{
    if (tree == NULL) {
        tree = (struct quire_tree *)txn->trees; /* the one opened last */
        if (QUIRE_UNLIKELY(tree == NULL || tree->name_len != 0))
            return tx_tree_get(txn, "", 0, false, out);
        *out = tree;
        return QUIRE_OK;
    }
    if (tree->h.magic != TX_TREE_MAGIC || tree->txn != txn)
        return ra_fail(QUIRE_MISUSE,
                       "the tree is not open in this transaction");
    *out = tree;
    return QUIRE_OK;
}

static inline quire_status val_check(const struct quire_val *val,
                                     const char *what)
{
    if (val == NULL || (val->data == NULL && val->size > 0))
        return ra_fail(QUIRE_MISUSE, "%s is NULL", what);
    return QUIRE_OK;
}

/* A copy of `val` whose data is never NULL. */
static inline struct quire_val val_plain(const struct quire_val *val)
{
    struct quire_val v = *val;

    if (v.data == NULL)
        v.data = "";
    return v;
}

static quire_status name_check(const char *name, size_t *len)
{
    if (name == NULL)
        return ra_fail(QUIRE_MISUSE, "the tree's name is NULL");
    *len = strnlen(name, QUIRE_NAME_MAX + 1);
    if (*len == 0 || *len > QUIRE_NAME_MAX)
        return ra_fail(QUIRE_INVAL, "a tree's name has 1 to %u bytes",
                       QUIRE_NAME_MAX);
    return QUIRE_OK;
}

/* ---- store ---- */

quire_status quire_open(const char *path, const struct quire_options *opt,
                        struct quire **db)
{
    if (db == NULL || path == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_open: a NULL argument");
    *db = NULL;
    return tx_store_open(path, opt, db);
}

quire_status quire_close_report(struct quire *db,
                                struct quire_close_report *report)
{
    quire_status rc;

    if (db == NULL)
        return QUIRE_OK;
    rc = tx_store_check(db);
    if (rc != QUIRE_OK)
        return rc;
    if (report != NULL &&
        report->size < offsetof(struct quire_close_report, intents))
        return ra_fail(QUIRE_INVAL, "report: size is %zu", report->size);
    return tx_store_close(db, report);
}

quire_status quire_close(struct quire *db)
{
    return quire_close_report(db, NULL);
}

quire_status quire_sync(struct quire *db)
{
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK || db->rdonly)
        return rc;
    rc = tx_enter(db);
    if (rc != QUIRE_OK)
        return rc;
    rc = tx_sync(db);
    tx_leave(db);
    return rc;
}

quire_status quire_stat_get(struct quire *db, struct quire_stat *st)
{
    struct quire_stat s;
    struct pf_stat pf;
    uint32_t pages;
    struct tx_root root;
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (st == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_stat_get: st is NULL");
    if (st->size < offsetof(struct quire_stat, pool))
        return ra_fail(QUIRE_INVAL, "stat: size is %zu", st->size);
    memset(&s, 0, sizeof(s));
    tx_root_load(db, &root);
    pf_file_stat(db->file, &pf);
    s.size = st->size;
    s.rev = root.rev;
    /* relaxed: a figure */
    s.rev_durable = pf_file_durable(db->file);
    s.commits = atomic_load_explicit(&db->commits, memory_order_relaxed);
    s.file_bytes = pf.file_bytes;
    s.log_off = pf.log_off;
    s.page_bytes = db->env.page_bytes;
    /* relaxed: a figure */
    pages = atomic_load_explicit(&db->pages, memory_order_relaxed);
    s.window = pages & 0xff;
    s.versioning = (quire_versioning)(pages >> 8);
    s.block_bytes = pf_file_geometry(db->file)->block_bytes;
    s.incarnation = pf.incarnation;
    s.syncs = pf.syncs;
    s.written_bytes = pf.written_bytes;
    s.zeroed_bytes = pf.zeroed_bytes;
    s.read_bytes = pf.read_bytes;
    s.pages_ahead = pf.ahead_frags;
    ra_mutex_lock(&db->handles_lock);
    s.transactions = db->open_txns;
    ra_mutex_unlock(&db->handles_lock);
    s.pool.size = sizeof(s.pool);
    ra_pool_stat(db->pool, &s.pool);
    s.cache.size = sizeof(s.cache);
    pc_stat(db->cache, &s.cache);
    memcpy(st, &s, ra_min_u64(st->size, sizeof(s)));
    return QUIRE_OK;
}

quire_status quire_set_versioning(struct quire *db, quire_versioning versioning,
                                  uint32_t window)
{
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (versioning != QUIRE_VERSIONING_DEFAULT &&
        !pf_versioning_known(versioning))
        return ra_fail(QUIRE_INVAL, "versioning %d is not known",
                       (int)versioning);
    if (window != 0 && (window < 2 || window > QUIRE_WINDOW_MAX))
        return ra_fail(QUIRE_INVAL, "window is %u, not 2 to %u", window,
                       QUIRE_WINDOW_MAX);
    return tx_pages_set(db, versioning, window);
}

quire_status quire_verify(struct quire *db,
                          void (*fault)(void *arg, const struct quire_fault *f),
                          void *arg, struct quire_verify_report *report)
{
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (report != NULL &&
        report->size < offsetof(struct quire_verify_report, pages))
        return ra_fail(QUIRE_INVAL, "report: size is %zu", report->size);
    return tx_verify(db, fault, arg, report);
}

/* ---- transactions ---- */

quire_status quire_begin(struct quire *db, unsigned kind,
                         struct quire_txn **txn)
{
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (txn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_begin: txn is NULL");
    *txn = NULL;
    if (kind != QUIRE_READ && kind != QUIRE_WRITE)
        return ra_fail(QUIRE_INVAL, "transaction kind %u", kind);
    return tx_begin(db, kind == QUIRE_WRITE, TX_FOREVER, NULL, txn);
}

quire_status quire_begin_timed(struct quire *db, unsigned kind,
                               uint64_t timeout_ms, struct quire_txn **txn)
{
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (txn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_begin_timed: txn is NULL");
    *txn = NULL;
    if (kind != QUIRE_READ && kind != QUIRE_WRITE)
        return ra_fail(QUIRE_INVAL, "transaction kind %u", kind);
    return tx_begin(db, kind == QUIRE_WRITE,
                    ra_min_u64(timeout_ms, TX_FOREVER - 1), NULL, txn);
}

quire_status quire_begin_at(struct quire *db, quire_rev rev,
                            struct quire_txn **txn)
{
    struct tx_root root;
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (txn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_begin_at: txn is NULL");
    *txn = NULL;
    rc = tx_rev_root(db, rev, &root);
    if (rc != QUIRE_OK)
        return rc;
    return tx_begin(db, false, 0, &root, txn);
}

quire_status quire_begin_at_time(struct quire *db, int64_t time_us,
                                 struct quire_txn **txn)
{
    quire_rev rev = 0;
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (txn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_begin_at_time: txn is NULL");
    *txn = NULL;
    rc = tx_rev_at_time(db, time_us, &rev);
    if (rc != QUIRE_OK)
        return rc;
    return quire_begin_at(db, rev, txn);
}

quire_status quire_commit(struct quire_txn *txn, unsigned flags, quire_rev *rev)
{
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if ((flags & ~(QUIRE_NOSYNC | QUIRE_EMPTY)) != 0)
        return ra_fail(QUIRE_MISUSE, "commit: unknown flags 0x%x", flags);
    if (!txn->write) {
        if (rev != NULL)
            *rev = txn->root.rev;
        tx_release(txn);
        tx_end(txn);
        return QUIRE_OK;
    }
    tx_save_end(txn, false);
    return tx_commit(txn, flags, rev);
}

void quire_abort(struct quire_txn *txn)
{
    if (txn == NULL || txn_check(txn) != QUIRE_OK)
        return;
    if (txn->write) {
        tx_save_end(txn, true);
        tr_log_clear(&txn->db->wlog);
        pf_ahead_abort(txn->db->file);
    }
    tx_release(txn);
    tx_end(txn);
}

quire_status quire_savepoint_set(struct quire_txn *txn, quire_savepoint *sp)
{
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (sp == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_savepoint_set: sp is NULL");
    return tx_save_set(txn, sp);
}

/* The savepoint `sp` of `txn`. */
static quire_status save_check(struct quire_txn *txn, quire_savepoint sp,
                               struct tx_save **save)
{
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    *save = tx_save_find(txn, sp);
    if (*save == NULL)
        return ra_fail(QUIRE_NOTFOUND, "there is no savepoint %llu",
                       (unsigned long long)sp);
    return QUIRE_OK;
}

quire_status quire_savepoint_rollback(struct quire_txn *txn, quire_savepoint sp)
{
    struct tx_save *save;
    quire_status rc = save_check(txn, sp, &save);

    if (rc == QUIRE_OK)
        tx_save_rollback(txn, save);
    return rc;
}

quire_status quire_savepoint_release(struct quire_txn *txn, quire_savepoint sp)
{
    struct tx_save *save;
    quire_status rc = save_check(txn, sp, &save);

    if (rc == QUIRE_OK)
        tx_save_release(txn, save);
    return rc;
}

quire_rev quire_txn_rev(const struct quire_txn *txn)
{
    return txn != NULL && txn->h.magic == TX_TXN_MAGIC ? txn->root.rev : 0;
}

/* ---- revisions ---- */

quire_status quire_rev_newest(struct quire *db, quire_rev *rev)
{
    struct tx_root root;
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (rev == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_rev_newest: rev is NULL");
    tx_root_load(db, &root);
    *rev = root.rev;
    return QUIRE_OK;
}

quire_status quire_rev_info(struct quire *db, quire_rev rev,
                            struct quire_rev_info *info)
{
    struct quire_rev_info i;
    struct tx_pending where;
    quire_status rc = tx_store_check(db);

    if (rc != QUIRE_OK)
        return rc;
    if (info == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_rev_info: info is NULL");
    if (info->size < sizeof(i))
        return ra_fail(QUIRE_INVAL, "info: size is %zu", info->size);
    rc = tx_rev_find(db, rev, &where);
    if (rc != QUIRE_OK)
        return rc;
    i.size = info->size;
    i.rev = where.rev;
    i.time_us = where.time_us;
    i.file_off = pg_id_off(where.id);
    *info = i;
    return QUIRE_OK;
}

/* ---- trees ---- */

quire_status quire_tree_open(struct quire_txn *txn, const char *name,
                             unsigned flags, struct quire_tree **tree)
{
    bool create = (flags & QUIRE_TREE_CREATE) != 0;
    size_t len;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (tree == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_tree_open: tree is NULL");
    *tree = NULL;
    if ((flags & ~QUIRE_TREE_CREATE) != 0)
        return ra_fail(QUIRE_INVAL, "tree: unknown flags 0x%x", flags);
    rc = name_check(name, &len);
    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    if (!txn->write && create) {
        rc = tx_tree_get(txn, name, len, false, tree);
        return rc == QUIRE_NOTFOUND
                   ? ra_fail(QUIRE_READONLY,
                             "tree '%s' can't be created in a read "
                             "transaction",
                             name)
                   : rc;
    }
    if (create) {
        rc = txn_check_write(txn);
        if (rc != QUIRE_OK)
            return rc;
    }
    return tx_tree_get(txn, name, len, create, tree);
}

quire_status quire_tree_drop(struct quire_txn *txn, const char *name)
{
    struct quire_tree *tree;
    size_t len;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = name_check(name, &len);
    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    rc = tx_tree_get(txn, name, len, false, &tree);
    if (rc != QUIRE_OK)
        return rc;
    return tx_tree_drop(txn, tree);
}

quire_status quire_tree_rename(struct quire_txn *txn, const char *name,
                               const char *to)
{
    struct quire_tree *tree;
    size_t len, to_len;
    quire_status rc = txn_check_write(txn);

    if (rc == QUIRE_OK)
        rc = name_check(name, &len);
    if (rc == QUIRE_OK)
        rc = name_check(to, &to_len);
    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    rc = tx_tree_get(txn, name, len, false, &tree);
    if (rc != QUIRE_OK)
        return rc;
    return tx_tree_rename(txn, tree, to, to_len);
}

quire_status quire_tree_next(struct quire_txn *txn, const char *after,
                             char name[QUIRE_NAME_MAX + 1])
{
    uint8_t buf[QUIRE_NAME_MAX + 1];
    uint8_t key_buf[QUIRE_PAGE_MAX / 8];
    struct quire_val key = { buf, 1 }, val;
    struct tr_cursor cur;
    enum pg_entry entry;
    size_t len = 0;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (name == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_tree_next: name is NULL");
    if (after != NULL) {
        rc = name_check(after, &len);
        if (rc != QUIRE_OK)
            return rc;
    }
    tx_held_release(txn, &txn->held);
    key.size = tx_catalogue_key('r', after != NULL ? after : "", len, buf);
    tr_cursor_init(&cur, &txn->catalogue, key_buf);
    rc = tr_cursor_seek(&cur, QUIRE_SEEK_GT, &key);
    if (rc == QUIRE_OK)
        rc = tr_cursor_get(&cur, &key, &val, &entry);
    if (rc == QUIRE_OK) {
        const uint8_t *found = key.data;

        if (key.size < 2 || found[0] != 'r') {
            rc = QUIRE_NOTFOUND;
        } else if (key.size - 1 > QUIRE_NAME_MAX) {
            rc = ra_fail(QUIRE_CORRUPT, "a tree's name of %zu bytes",
                         key.size - 1);
        } else if (memchr(found + 1, '\0', key.size - 1) != NULL) {
            rc = ra_fail(QUIRE_CORRUPT, "a tree's name with a NUL in it");
        } else {
            memcpy(name, found + 1, key.size - 1);
            name[key.size - 1] = '\0';
        }
    }
    tr_cursor_reset(&cur);
    return rc;
}

quire_status quire_tree_count(struct quire_txn *txn, struct quire_tree *tree,
                              uint64_t *nrecords)
{
    struct quire_tree *t;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (nrecords == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_tree_count: nrecords is NULL");
    rc = tree_check(txn, tree, &t);
    if (rc != QUIRE_OK)
        return rc;
    *nrecords = t->tree.count;
    return QUIRE_OK;
}

quire_status quire_tree_stat_get(struct quire_txn *txn, struct quire_tree *tree,
                                 struct quire_tree_stat *st)
{
    struct quire_tree_stat s;
    struct quire_tree *t;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (st == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_tree_stat_get: st is NULL");
    if (st->size < offsetof(struct quire_tree_stat, chains))
        return ra_fail(QUIRE_INVAL, "tree stat: size is %zu", st->size);
    rc = tree_check(txn, tree, &t);
    if (rc != QUIRE_OK)
        return rc;
    memset(&s, 0, sizeof(s));
    rc = tr_stat(&t->tree, &s);
    if (rc != QUIRE_OK)
        return rc;
    s.size = st->size;
    memcpy(st, &s, ra_min_u64(st->size, sizeof(s)));
    return QUIRE_OK;
}

quire_status quire_tree_set_meta(struct quire_txn *txn, struct quire_tree *tree,
                                 const struct quire_val *meta)
{
    uint8_t buf[QUIRE_NAME_MAX + 1];
    struct quire_val key = { buf, 0 }, val;
    struct quire_tree *t;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = val_check(meta, "the metadata");
    if (rc != QUIRE_OK)
        return rc;
    if (meta->size > QUIRE_VALUE_MAX)
        return ra_fail(QUIRE_TOOBIG, "metadata of %zu bytes", meta->size);
    rc = tree_check(txn, tree, &t);
    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    val = val_plain(meta);
    key.size = tx_catalogue_key('m', t->name, t->name_len, buf);
    return tx_put(txn, &txn->catalogue, &key, &val, 0);
}

quire_status quire_tree_get_meta(struct quire_txn *txn, struct quire_tree *tree,
                                 void *buf, size_t cap, size_t *size)
{
    struct tr_leaf leaf = { NULL, 0, false };
    uint8_t kbuf[QUIRE_NAME_MAX + 1];
    struct quire_val key = { kbuf, 0 }, val;
    struct quire_tree *t;
    enum pg_entry entry;
    uint64_t whole = 0;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_tree_get_meta: a NULL argument");
    rc = tree_check(txn, tree, &t);
    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    key.size = tx_catalogue_key('m', t->name, t->name_len, kbuf);
    rc = tr_get(&txn->catalogue, &key, &leaf, &val, &entry);
    if (rc != QUIRE_OK)
        return rc;
    rc = tx_value_read(txn, &txn->catalogue, entry, &val, 0, buf, cap, &whole);
    tx_held_release(txn, &leaf);
    if (rc == QUIRE_OK)
        *size = whole;
    return rc;
}

/* ---- records ---- */

/* Common to get, read, put and del: the tree, and the key within its limit. */
static inline quire_status record_check(struct quire_txn *txn,
                                        struct quire_tree *tree,
                                        const struct quire_val *key,
                                        struct quire_tree **out)
{
    quire_status rc = val_check(key, "the key");

    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(txn, &txn->held);
    return tree_check(txn, tree, out);
}

static quire_status key_too_big(const struct quire_txn *txn,
                                const struct quire_val *key)
{
    return ra_fail(QUIRE_TOOBIG,
                   "a key of %zu bytes; the limit is %zu, an eighth of a page",
                   key->size, pg_key_max(txn->db->env.page_bytes));
}

/* The page that the last call has returned, which this call's key may lie in:
 * it is let go when the key has been used. */
static inline struct tr_leaf held_take(struct quire_txn *txn)
{
    static const struct tr_leaf nothing = { NULL, 0, false };
    struct tr_leaf held = txn->held;

    txn->held = nothing;
    return held;
}

static quire_status label_check(const struct quire_val *label)
{
    quire_status rc = val_check(label, "the label");

    if (rc == QUIRE_OK && label->size > QUIRE_LABEL_MAX)
        rc = ra_fail(QUIRE_TOOBIG, "a label of %zu bytes; the limit is %u",
                     label->size, (unsigned)QUIRE_LABEL_MAX);
    return rc;
}

/* `label` NULL: none. */
static inline __attribute__((always_inline)) quire_status put(
    struct quire_txn *txn, struct quire_tree *tree, const struct quire_val *key,
    const struct quire_val *val, const struct quire_val *label, unsigned flags)
{
    struct quire_val k, v;
    struct quire_tree *t;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = val_check(val, "the value");
    if (rc == QUIRE_OK && label != NULL)
        rc = label_check(label);
    if (rc != QUIRE_OK)
        return rc;
    if ((flags & ~(QUIRE_NOREPLACE | QUIRE_REPLACE)) != 0 ||
        flags == (QUIRE_NOREPLACE | QUIRE_REPLACE))
        return ra_fail(QUIRE_INVAL, "put: flags 0x%x", flags);
    rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    if (key->size > pg_key_max(txn->db->env.page_bytes))
        return key_too_big(txn, key);
    if (val->size > QUIRE_VALUE_MAX)
        return ra_fail(QUIRE_TOOBIG, "a value of %zu bytes; the limit is %llu",
                       val->size, (unsigned long long)QUIRE_VALUE_MAX);
    k = val_plain(key);
    v = val_plain(val);
    return tx_put_labeled(txn, &t->tree, &k, &v, label, flags);
}

quire_status quire_put(struct quire_txn *txn, struct quire_tree *tree,
                       const struct quire_val *key, const struct quire_val *val,
                       unsigned flags)
{
    return put(txn, tree, key, val, NULL, flags);
}

quire_status quire_put_labeled(struct quire_txn *txn, struct quire_tree *tree,
                               const struct quire_val *key,
                               const struct quire_val *val,
                               const struct quire_val *label, unsigned flags)
{
    if (label == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_put_labeled: label is NULL");
    return put(txn, tree, key, val, label, flags);
}

quire_status quire_set_label(struct quire_txn *txn, struct quire_tree *tree,
                             const struct quire_val *key,
                             const struct quire_val *label)
{
    struct quire_val k;
    struct quire_tree *t;
    quire_status rc = txn_check_write(txn);

    if (rc == QUIRE_OK)
        rc = label_check(label);
    if (rc == QUIRE_OK)
        rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    if (key->size > pg_key_max(txn->db->env.page_bytes))
        return QUIRE_NOTFOUND;
    k = val_plain(key);
    return tx_set_label(txn, &t->tree, &k, label);
}

quire_status quire_get_label(struct quire_txn *txn, struct quire_tree *tree,
                             const struct quire_val *key, void *buf, size_t cap,
                             size_t *size)
{
    struct tr_leaf leaf = { NULL, 0, false };
    struct tr_leaf before;
    struct quire_val k, val, label;
    struct quire_tree *t;
    enum pg_entry entry;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_get_label: a NULL argument");
    before = held_take(txn);
    rc = record_check(txn, tree, key, &t);
    if (rc == QUIRE_OK) {
        k = val_plain(key);
        rc = tr_get_labeled(&t->tree, &k, &leaf, &val, &label, &entry);
    }
    if (rc == QUIRE_OK) {
        if (label.size > 0 && cap > 0) /* `buf` may be NULL otherwise */
            memcpy(buf, label.data, ra_min_u64(cap, label.size));
        *size = label.size;
    }
    tx_held_release(txn, &leaf);
    tx_held_release(txn, &before);
    return rc;
}

quire_status quire_put_from(struct quire_txn *txn, struct quire_tree *tree,
                            const struct quire_val *key, uint64_t size,
                            quire_read_fn read, void *arg)
{
    struct quire_val k;
    struct quire_tree *t;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (read == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_put_from: read is NULL");
    rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    if (key->size > pg_key_max(txn->db->env.page_bytes))
        return key_too_big(txn, key);
    if (size > QUIRE_VALUE_MAX)
        return ra_fail(QUIRE_TOOBIG, "a value of %llu bytes; the limit is %llu",
                       (unsigned long long)size,
                       (unsigned long long)QUIRE_VALUE_MAX);
    k = val_plain(key);
    return tx_put_from(txn, &t->tree, &k, size, read, arg);
}

quire_status quire_del(struct quire_txn *txn, struct quire_tree *tree,
                       const struct quire_val *key)
{
    struct quire_val k;
    struct quire_tree *t;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    if (key->size > pg_key_max(txn->db->env.page_bytes))
        return QUIRE_NOTFOUND;
    k = val_plain(key);
    return tx_del(txn, &t->tree, &k);
}

static quire_status get_record(struct quire_txn *txn, struct quire_tree *tree,
                               const struct quire_val *key,
                               struct quire_val *val)
{
    struct tr_leaf leaf = { NULL, 0, false };
    struct tr_leaf page = { NULL, 0, false };
    /* A row has as many bytes as a key, at most. */
    struct tr_row row = { .buf = txn->key_buf,
                          .cap = pg_key_max(txn->db->env.page_bytes) };
    struct quire_tree *t;
    struct quire_val k, v;
    enum pg_entry entry;
    quire_status rc;

    rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    k = val_plain(key);
    rc = tr_get_row(&t->tree, &k, &row, &leaf, &v, &entry);
    if (rc != QUIRE_OK)
        return rc;
    if (row.hit) {
        QUIRE_ASSERT(row.size <= row.cap);
        val->data = row.buf;
        val->size = row.size;
        return QUIRE_OK;
    }
    rc = tx_value_hold(txn, &t->tree, entry, &v, &page);
    if (rc == QUIRE_OK || rc == QUIRE_TOOBIG)
        *val = v;
    if (rc == QUIRE_OK && page.img == NULL) {
        txn->held = leaf;
    } else {
        txn->held = page;
        tx_held_release(txn, &leaf);
    }
    return rc;
}

quire_status quire_get(struct quire_txn *txn, struct quire_tree *tree,
                       const struct quire_val *key, struct quire_val *val)
{
    struct tr_leaf before;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (val == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_get: val is NULL");
    before = held_take(txn);
    rc = get_record(txn, tree, key, val);
    tx_held_release(txn, &before);
    return rc;
}

/* quire_read() when the arguments are good. */
static quire_status value_read(struct quire_txn *txn, struct quire_tree *t,
                               const struct quire_val *key, uint64_t off,
                               void *buf, size_t cap, uint64_t *size)
{
    struct tr_leaf leaf = { NULL, 0, false };
    struct quire_val v;
    enum pg_entry entry;
    uint64_t whole = 0;
    struct tr_row row = { .off = off, .buf = buf, .cap = cap };
    quire_status rc;
    bool done;

    rc = tr_get_copy(&t->tree, key, off, buf, cap, size, &done);
    if (done)
        return rc;
    rc = tr_get_row(&t->tree, key, &row, &leaf, &v, &entry);
    if (rc != QUIRE_OK)
        return rc;
    if (row.hit) {
        *size = row.size;
        return QUIRE_OK;
    }
    rc = tx_value_read(txn, &t->tree, entry, &v, off, buf, cap, &whole);
    tx_held_release(txn, &leaf);
    if (rc == QUIRE_OK)
        *size = whole;
    return rc;
}

static quire_status get_bound(struct quire_txn *txn, struct quire_tree *tree,
                              quire_seek how, const struct quire_val *key,
                              struct quire_val *found, struct quire_val *val)
{
    struct tr_leaf page = { NULL, 0, false };
    struct quire_val k = { "", 0 }, at, v;
    struct quire_tree *t;
    struct tr_cursor cur;
    enum pg_entry entry;
    quire_status rc;

    if (how == QUIRE_SEEK_FIRST || how == QUIRE_SEEK_LAST)
        key = &k;
    rc = record_check(txn, tree, key, &t);
    if (rc != QUIRE_OK)
        return rc;
    k = val_plain(key);
    tr_cursor_init(&cur, &t->tree, txn->key_buf);
    rc = tr_cursor_seek(&cur, how, &k);
    if (rc != QUIRE_OK)
        return rc;
    rc = tr_cursor_get(&cur, &at, &v, &entry);
    if (rc != QUIRE_OK)
        goto out;
    if (val != NULL) {
        rc = tx_value_hold(txn, &t->tree, entry, &v, &page);
        if (rc != QUIRE_OK && rc != QUIRE_TOOBIG)
            goto out;
        *val = v;
    }
    if (found != NULL && page.img != NULL && at.data != txn->key_buf) {
        /* It points into the leaf, which is let go for the value's page. */
        memcpy(txn->key_buf, at.data, at.size);
        at.data = txn->key_buf;
    }
    if (found != NULL)
        *found = at;
    if (page.img == NULL) {
        txn->held = cur.leaf;
        cur.leaf = page; /* handed over */
    } else {
        txn->held = page;
    }

out:
    tr_cursor_reset(&cur);
    return rc;
}

quire_status quire_get_bound(struct quire_txn *txn, struct quire_tree *tree,
                             quire_seek how, const struct quire_val *key,
                             struct quire_val *found, struct quire_val *val)
{
    struct tr_leaf before;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (found == NULL && val == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_get_bound: nothing is asked for");
    if ((unsigned)how > QUIRE_SEEK_LT)
        return ra_fail(QUIRE_INVAL, "seek: mode %d", (int)how);
    before = held_take(txn);
    rc = get_bound(txn, tree, how, key, found, val);
    tx_held_release(txn, &before);
    return rc;
}

quire_status quire_count_range(struct quire_txn *txn, struct quire_tree *tree,
                               const struct quire_val *from,
                               const struct quire_val *to, uint64_t *nrecords)
{
    static const struct quire_val lowest = { "", 0 };
    uint64_t below = 0, end;
    struct quire_tree *t;
    struct quire_val k;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (nrecords == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_count_range: nrecords is NULL");
    rc = record_check(txn, tree, from != NULL ? from : &lowest, &t);
    if (rc == QUIRE_OK && to != NULL)
        rc = val_check(to, "the end of the range");
    if (rc != QUIRE_OK)
        return rc;
    if (from != NULL) {
        k = val_plain(from);
        rc = tr_rank(&t->tree, &k, &below);
        if (rc != QUIRE_OK)
            return rc;
    }
    end = t->tree.count;
    if (to != NULL) {
        k = val_plain(to);
        rc = tr_rank(&t->tree, &k, &end);
        if (rc != QUIRE_OK)
            return rc;
    }
    *nrecords = end > below ? end - below : 0;
    return QUIRE_OK;
}

quire_status quire_read(struct quire_txn *txn, struct quire_tree *tree,
                        const struct quire_val *key, uint64_t off, void *buf,
                        size_t cap, uint64_t *size)
{
    struct tr_leaf before;
    struct quire_tree *t;
    struct quire_val k;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_read: a NULL argument");
    before = held_take(txn);
    rc = record_check(txn, tree, key, &t);
    if (rc == QUIRE_OK) {
        k = val_plain(key);
        rc = value_read(txn, t, &k, off, buf, cap, size);
    }
    tx_held_release(txn, &before);
    return rc;
}

/* Some look-ups: those over resident pages together, the rest one by one. */
static quire_status lookups_some(struct quire_txn *txn, struct quire_tree *t,
                                 struct quire_lookup *lookups, unsigned n)
{
    bool done[TR_MANY_MAX];

    for (unsigned i = 0; i < n; i++) {
        struct quire_lookup *l = &lookups[i];
        quire_status rc = val_check(&l->key, "a key");

        if (rc == QUIRE_OK && l->buf == NULL && l->cap > 0)
            rc = ra_fail(QUIRE_MISUSE, "quire_get_many: a buffer is NULL");
        if (rc != QUIRE_OK)
            return rc;
        l->key = val_plain(&l->key);
        l->size = 0;
    }
    tr_get_many(&t->tree, lookups, n, done);
    for (unsigned i = 0; i < n; i++) {
        struct quire_lookup *l = &lookups[i];

        if (done[i])
            continue;
        l->status = value_read(txn, t, &l->key, 0, l->buf, l->cap, &l->size);
        if (l->status != QUIRE_OK && l->status != QUIRE_NOTFOUND)
            return l->status;
    }
    return QUIRE_OK;
}

quire_status quire_get_many(struct quire_txn *txn, struct quire_tree *tree,
                            struct quire_lookup *lookups, size_t nlookups)
{
    struct tr_leaf before;
    struct quire_tree *t;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (lookups == NULL && nlookups > 0)
        return ra_fail(QUIRE_MISUSE, "quire_get_many: lookups is NULL");
    before = held_take(txn);
    rc = tree_check(txn, tree, &t);
    for (size_t i = 0; i < nlookups && rc == QUIRE_OK; i += TR_MANY_MAX)
        rc = lookups_some(txn, t, lookups + i,
                          (unsigned)ra_min_u64(nlookups - i, TR_MANY_MAX));
    tx_held_release(txn, &before);
    return rc;
}

/* ---- writes that look first ---- */

/* Common to them: as quire_put() checks; `val` may be NULL. */
static quire_status write_check(struct quire_txn *txn, struct quire_tree *tree,
                                const struct quire_val *key,
                                const struct quire_val *val,
                                struct quire_tree **out)
{
    quire_status rc = txn_check_write(txn);

    if (rc == QUIRE_OK && val != NULL)
        rc = val_check(val, "the value");
    if (rc == QUIRE_OK)
        rc = record_check(txn, tree, key, out);
    if (rc != QUIRE_OK)
        return rc;
    if (key->size > pg_key_max(txn->db->env.page_bytes))
        return key_too_big(txn, key);
    if (val != NULL && val->size > QUIRE_VALUE_MAX)
        return ra_fail(QUIRE_TOOBIG, "a value of %zu bytes; the limit is %llu",
                       val->size, (unsigned long long)QUIRE_VALUE_MAX);
    return QUIRE_OK;
}

quire_status quire_put_if(struct quire_txn *txn, struct quire_tree *tree,
                          const struct quire_val *key,
                          const struct quire_val *expected,
                          const struct quire_val *val)
{
    struct quire_val k, x, v;
    struct quire_tree *t;
    quire_status rc = write_check(txn, tree, key, val, &t);

    if (rc == QUIRE_OK && expected != NULL)
        rc = val_check(expected, "the expected value");
    if (rc != QUIRE_OK)
        return rc;
    k = val_plain(key);
    if (expected != NULL)
        x = val_plain(expected);
    if (val != NULL)
        v = val_plain(val);
    return tx_put_if(txn, &t->tree, &k, expected != NULL ? &x : NULL,
                     val != NULL ? &v : NULL);
}

quire_status quire_swap(struct quire_txn *txn, struct quire_tree *tree,
                        const struct quire_val *key,
                        const struct quire_val *val, void *buf, size_t cap,
                        uint64_t *old_size)
{
    struct quire_val k, v;
    struct quire_tree *t;
    quire_status rc = write_check(txn, tree, key, val, &t);

    if (rc != QUIRE_OK)
        return rc;
    if (old_size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_swap: a NULL argument");
    k = val_plain(key);
    if (val != NULL)
        v = val_plain(val);
    return tx_swap(txn, &t->tree, &k, val != NULL ? &v : NULL, buf, cap,
                   old_size);
}

quire_status quire_update(struct quire_txn *txn, struct quire_tree *tree,
                          const struct quire_val *key, quire_update_fn fn,
                          void *arg)
{
    struct quire_val k;
    struct quire_tree *t;
    quire_status rc = write_check(txn, tree, key, NULL, &t);

    if (rc != QUIRE_OK)
        return rc;
    if (fn == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_update: fn is NULL");
    k = val_plain(key);
    return tx_update(txn, &t->tree, &k, fn, arg);
}

quire_status quire_del_range(struct quire_txn *txn, struct quire_tree *tree,
                             const struct quire_val *from,
                             const struct quire_val *to, uint64_t *ndeleted)
{
    struct quire_val f = { "", 0 }, e;
    struct quire_tree *t;
    uint64_t n = 0;
    quire_status rc = txn_check_write(txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = record_check(txn, tree, from != NULL ? from : &f, &t);
    if (rc == QUIRE_OK && to != NULL)
        rc = val_check(to, "the end of the range");
    if (rc != QUIRE_OK)
        return rc;
    if (from != NULL)
        f = val_plain(from);
    if (to != NULL)
        e = val_plain(to);
    rc = tx_del_range(txn, &t->tree, &f, to != NULL ? &e : NULL, &n);
    if (rc == QUIRE_OK && ndeleted != NULL)
        *ndeleted = n;
    return rc;
}

/* ---- cursors ---- */

/* *to = *from, by halves: they have just been stored, and a load of both at once,
 * into which compilers make an assignment, waits until the cache has them. */
static inline void val_give(struct quire_val *to, const struct quire_val *from)
{
    const void *data = from->data;
    size_t size = from->size;

    __asm__("" : "+r"(data), "+r"(size));
    to->data = data;
    to->size = size;
}

static __attribute__((noinline)) quire_status cursor_check_all(
    struct quire_cursor *cur)
{
    quire_status rc;

    if (cur == NULL)
        return ra_fail(QUIRE_MISUSE, "the cursor handle is NULL");
    if (cur->h.magic != TX_CURSOR_MAGIC)
        return ra_fail(QUIRE_MISUSE, "the cursor is closed");
    rc = txn_check(cur->txn);
    if (rc == QUIRE_OK)
        tx_held_release(cur->txn, &cur->held);
    return rc;
}

static inline quire_status cursor_check(struct quire_cursor *cur)
{
    /* an open cursor's transaction has not ended */
    if (QUIRE_LIKELY(cur != NULL && cur->h.magic == TX_CURSOR_MAGIC &&
                     !cur->held.pinned && !cur->txn->busy && !cur->txn->write &&
                     tx_store_good(cur->txn->db)))
        return QUIRE_OK;
    return cursor_check_all(cur);
}

quire_status quire_cursor_open(struct quire_txn *txn, struct quire_tree *tree,
                               struct quire_cursor **out)
{
    struct quire_cursor *cur;
    struct quire_tree *t;
    quire_status rc = txn_check(txn);

    if (rc != QUIRE_OK)
        return rc;
    if (out == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_cursor_open: cur is NULL");
    *out = NULL;
    rc = tree_check(txn, tree, &t);
    if (rc != QUIRE_OK)
        return rc;
    cur = QUIRE_POINT(
        TX_CURSOR_HANDLE, NULL,
        tx_handle_take(txn->db, &txn->db->free_cursors,
                       sizeof(*cur) + pg_key_max(txn->db->env.page_bytes),
                       TX_CURSOR_MAGIC));
    if (cur == NULL)
        return ra_fail(QUIRE_NOMEM, "no memory for a handle");
    cur->txn = txn;
    cur->tree = t;
    tr_cursor_init(&cur->cur, &t->tree, cur->key_buf);
    memset(&cur->held, 0, sizeof(cur->held));
    cur->h.next = txn->cursors;
    txn->cursors = &cur->h;
    *out = cur;
    return QUIRE_OK;
}

void quire_cursor_close(struct quire_cursor *cur)
{
    struct tx_handle **link;

    if (cur == NULL || cursor_check(cur) != QUIRE_OK)
        return;
    for (link = &cur->txn->cursors; *link != &cur->h; link = &(*link)->next)
        ;
    *link = cur->h.next;
    tr_cursor_reset(&cur->cur);
    tx_handle_give(cur->txn->db, &cur->txn->db->free_cursors, cur);
}

quire_status quire_cursor_seek(struct quire_cursor *cur, quire_seek how,
                               const struct quire_val *key)
{
    struct quire_val k = { "", 0 };
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    if ((unsigned)how > QUIRE_SEEK_LT)
        return ra_fail(QUIRE_INVAL, "seek: mode %d", (int)how);
    if (how != QUIRE_SEEK_FIRST && how != QUIRE_SEEK_LAST) {
        rc = val_check(key, "the key");
        if (rc != QUIRE_OK)
            return rc;
        k = val_plain(key);
    }
    return tr_cursor_seek(&cur->cur, how, &k);
}

quire_status quire_cursor_next(struct quire_cursor *cur)
{
    quire_status rc = cursor_check(cur);

    return rc == QUIRE_OK ? tr_cursor_step(&cur->cur, true) : rc;
}

quire_status quire_cursor_prev(struct quire_cursor *cur)
{
    quire_status rc = cursor_check(cur);

    return rc == QUIRE_OK ? tr_cursor_step(&cur->cur, false) : rc;
}

quire_status quire_cursor_get(struct quire_cursor *cur, struct quire_val *key,
                              struct quire_val *val)
{
    struct quire_val v;
    enum pg_entry entry;
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    rc = tr_cursor_get(&cur->cur, key, &v, &entry);
    if (rc != QUIRE_OK || val == NULL)
        return rc;
    if (QUIRE_LIKELY(entry == PG_ENTRY_PLAIN)) {
        val_give(val, &v);
        return QUIRE_OK;
    }
    rc = tx_value_hold(cur->txn, &cur->tree->tree, entry, &v, &cur->held);
    if (rc == QUIRE_OK || rc == QUIRE_TOOBIG)
        *val = v;
    return rc;
}

quire_status quire_cursor_next_many(struct quire_cursor *cur,
                                    struct quire_record *records, size_t cap,
                                    void *buf, size_t buf_bytes, size_t *n)
{
    struct tr_cursor before;
    struct quire_val key, val;
    enum pg_entry entry;
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    if (records == NULL || buf == NULL || n == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_cursor_next_many: a NULL argument");
    *n = 0;
    if (cap == 0 || buf_bytes < pg_key_max(cur->txn->db->env.page_bytes))
        return ra_fail(QUIRE_INVAL,
                       "quire_cursor_next_many: no room for a record: %zu "
                       "records, %zu bytes of keys; at least 1 and %zu",
                       cap, buf_bytes,
                       pg_key_max(cur->txn->db->env.page_bytes));
    *n = tr_cursor_records(&cur->cur, true, true, records, cap, buf, buf_bytes);
    if (QUIRE_LIKELY(*n > 0))
        return QUIRE_OK;
    tr_cursor_save(&cur->cur, &before, buf);
    rc = tr_cursor_step(&cur->cur, true);
    if (rc != QUIRE_OK) {
        tr_cursor_forget(&before);
        return rc;
    }
    *n = tr_cursor_records(&cur->cur, false, true, records, cap, buf,
                           buf_bytes);
    if (*n > 0) {
        tr_cursor_forget(&before);
        return QUIRE_OK;
    }
    rc = tr_cursor_get(&cur->cur, &key, &val, &entry);
    if (rc == QUIRE_OK)
        rc = tx_value_hold(cur->txn, &cur->tree->tree, entry, &val, &cur->held);
    if (rc != QUIRE_OK && rc != QUIRE_TOOBIG) {
        tr_cursor_restore(&cur->cur, &before, buf); /* it has not moved */
        return rc;
    }
    tr_cursor_forget(&before);
    memcpy(buf, key.data, key.size);
    records[0].key.data = buf;
    records[0].key.size = key.size;
    records[0].val = val; /* data NULL if too big */
    *n = 1;
    return QUIRE_OK;
}

quire_status quire_cursor_read(struct quire_cursor *cur, uint64_t off,
                               void *buf, size_t cap, uint64_t *size)
{
    struct quire_val v;
    enum pg_entry entry;
    uint64_t whole = 0;
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    if (size == NULL || (buf == NULL && cap > 0))
        return ra_fail(QUIRE_MISUSE, "quire_cursor_read: a NULL argument");
    rc = tr_cursor_get(&cur->cur, NULL, &v, &entry);
    if (rc != QUIRE_OK)
        return rc;
    rc = tx_value_read(cur->txn, &cur->tree->tree, entry, &v, off, buf, cap,
                       &whole);
    if (rc == QUIRE_OK)
        *size = whole;
    return rc;
}

quire_status quire_cursor_get_label(struct quire_cursor *cur,
                                    struct quire_val *label)
{
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    if (label == NULL)
        return ra_fail(QUIRE_MISUSE, "quire_cursor_get_label: label is NULL");
    return tr_cursor_label(&cur->cur, label);
}

/* Common to put and delete: the transaction may write. */
static quire_status cursor_check_write(struct quire_cursor *cur)
{
    quire_status rc = cursor_check(cur);

    if (rc != QUIRE_OK)
        return rc;
    tx_held_release(cur->txn, &cur->txn->held);
    return txn_check_write(cur->txn);
}

quire_status quire_cursor_put(struct quire_cursor *cur,
                              const struct quire_val *key,
                              const struct quire_val *val, unsigned flags)
{
    struct quire_val k, v;
    enum pg_entry entry;
    quire_status rc = cursor_check_write(cur);

    if (rc != QUIRE_OK)
        return rc;
    if (key == NULL) { /* of the cursor's own record, which exists */
        rc = tr_cursor_get(&cur->cur, &k, &v, &entry);
        if (rc != QUIRE_OK)
            return rc;
        key = &k;
    }
    rc = quire_put(cur->txn, cur->tree, key, val, flags);
    if (rc == QUIRE_OK) {
        k = val_plain(key);
        tr_cursor_place(&cur->cur, &k);
    }
    return rc;
}

quire_status quire_cursor_del(struct quire_cursor *cur)
{
    struct quire_val k, v;
    enum pg_entry entry;
    quire_status rc = cursor_check_write(cur);

    if (rc != QUIRE_OK)
        return rc;
    rc = tr_cursor_get(&cur->cur, &k, &v, &entry);
    if (rc != QUIRE_OK)
        return rc;
    return tx_del(cur->txn, &cur->tree->tree, &k);
}
