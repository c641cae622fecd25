/*
 * commit.c - a write transaction becomes a revision.
 *
 *   1. Every changed tree gets a place in the catalogue as wide as the widest
 *      reference to its root; from time to time the system tree takes in the
 *      revisions since it was last brought up to date. After this no page is
 *      entered, split or made any more.
 *   2. What does not fit one batch is written ahead.
 *   3. The batch: each tree's changed pages, children first; their roots into
 *      the catalogue, in place; the catalogue's and the system tree's pages; the
 *      commit record. One write.
 *   4. One fdatasync, unless un-synced.
 *   5. The written pages go to the cache, as far as memory allows.
 *   6. The new root is published.
 *
 * When very many trees were changed, the catalogue itself may be too large for
 * memory or for a batch. Then 1 and 2 change places: all trees are written
 * ahead, so that their roots are known when they are put into the catalogue,
 * which is then a tree like any other.
 *
 * A failure up to the record gives the batch up: nothing refers to what was
 * written of it. A failed sync leaves the outcome undecided until the store is
 * opened again, and the file poisoned.
 */
#include "txlog/tx_impl.h"

static struct quire_tree *tree_of(struct tx_handle *h)
{
    return (struct quire_tree *)h;
}

static bool txn_changed(const struct quire_txn *txn)
{
    if (txn->catalogue.changed || txn->system.changed)
        return true;
    for (struct tx_handle *h = txn->trees; h != NULL; h = h->next) {
        if (tree_of(h)->tree.changed)
            return true;
    }
    return false;
}

/* The value under which a tree's root stands in the catalogue while the
 * transaction commits: the reference if it is known, at full width. */
static size_t root_value(const struct tr_tree *tree, uint8_t *buf)
{
    size_t width = PG_REF_BYTES(tree->env->window - 1);
    size_t len = 0;

    memset(buf, 0, PG_REF_BYTES_MAX);
    if (tree->root.intent)
        return width;
    if (tree->root.id != PG_ID_NONE)
        len = pg_ref_encode(&tree->root, buf);
    return len > width ? len : width;
}

/* Step 1. With `known` no root will change any more, and the catalogue's pages
 * may be written ahead on the way. */
static quire_status place_roots(struct quire_txn *txn, bool known,
                                bool *indexed)
{
    struct quire *db = txn->db;
    struct pf_stat st;
    quire_status rc;

    for (struct tx_handle *h = txn->trees; h != NULL; h = h->next) {
        struct quire_tree *t = tree_of(h);
        uint8_t kbuf[QUIRE_NAME_MAX + 1], vbuf[PG_REF_BYTES_MAX];
        struct quire_val key = { kbuf, 0 }, val = { vbuf, 0 };

        if (!t->tree.changed)
            continue;
        key.size = tx_catalogue_key('r', t->name, t->name_len, kbuf);
        val.size = root_value(&t->tree, vbuf);
        rc = QUIRE_POINT_RC(
            TX_CATALOGUE_ROOT, QUIRE_NOMEM,
            known ? tx_put(txn, &txn->catalogue, &key, &val, 0)
                  : tr_put(&txn->catalogue, &key, &val, PG_ENTRY_PLAIN));
        if (rc != QUIRE_OK)
            return rc;
    }
    pf_file_stat(db->file, &st);
    *indexed = db->npending >= TX_PENDING_DUE || st.log_bytes >= TX_LOG_DUE;
    return *indexed ? tx_rev_index(txn) : QUIRE_OK;
}

static uint64_t log_bound(struct tr_log *log)
{
    uint64_t total = 0;

    for (uint64_t no = 0; no < log->top; no++) {
        if (tr_log_intent(log, no)->img != NULL)
            total += tr_flush_bound(log, no);
    }
    return total;
}

/* Step 2. Bounds are of uncompressed pages. Each round writes half of what is
 * left ahead, until nothing but the catalogue and the system tree is. */
static quire_status fit_batch(struct quire_txn *txn, uint64_t *bound)
{
    struct quire *db = txn->db;
    uint64_t room = pf_batch_room(db->file);
    uint64_t total = log_bound(&db->wlog);
    uint64_t before = 0;
    quire_status rc = QUIRE_OK;

    while (rc == QUIRE_OK && total > room && total != before) {
        before = total;
        rc = tx_spill(txn, db->wlog.bytes / 2, true);
        total = log_bound(&db->wlog);
    }
    *bound = total;
    return rc;
}

/* Steps 1 and 2; *known: the catalogue holds all roots already. */
static quire_status prepare(struct quire_txn *txn, bool *indexed, bool *known,
                            uint64_t *bound)
{
    struct quire *db = txn->db;
    quire_status rc;

    *known = false;
    rc = place_roots(txn, false, indexed);
    if (rc == QUIRE_OK)
        rc = fit_batch(txn, bound);
    if (rc != QUIRE_NOMEM &&
        (rc != QUIRE_OK || *bound <= pf_batch_room(db->file)))
        return rc;
    *known = true;
    rc = tx_spill(txn, 0, false);
    tr_log_trim_spares(&db->wlog);
    if (rc == QUIRE_OK)
        rc = place_roots(txn, true, indexed);
    if (rc == QUIRE_OK && log_bound(&db->wlog) > pf_batch_room(db->file))
        rc = tx_spill(txn, 0, false);
    *bound = log_bound(&db->wlog);
    return rc;
}

/* Write a tree's changed pages into the batch. */
static quire_status flush_tree(struct quire_txn *txn, struct tr_tree *tree)
{
    struct pg_ref ref;
    quire_status rc;

    if (!tree->root.intent)
        return QUIRE_OK;
    rc = tr_flush(&txn->db->wlog, tree->root.id, txn->root.rev + 1, false,
                  &ref);
    if (rc == QUIRE_OK)
        tree->root = ref;
    return rc;
}

/* Step 3, up to the record. */
static quire_status fill_batch(struct quire_txn *txn, bool known)
{
    quire_status rc;

    for (struct tx_handle *h = txn->trees; h != NULL && !known; h = h->next) {
        struct quire_tree *t = tree_of(h);
        uint8_t kbuf[QUIRE_NAME_MAX + 1], vbuf[PG_REF_BYTES_MAX];
        struct quire_val key = { kbuf, 0 };

        if (!t->tree.changed)
            continue;
        rc = flush_tree(txn, &t->tree);
        if (rc != QUIRE_OK)
            return rc;
        key.size = tx_catalogue_key('r', t->name, t->name_len, kbuf);
        rc = tr_patch(&txn->catalogue, &key, vbuf, root_value(&t->tree, vbuf));
        if (rc != QUIRE_OK)
            return rc;
    }
    rc = flush_tree(txn, &txn->catalogue);
    if (rc != QUIRE_OK)
        return rc;
    return flush_tree(txn, &txn->system);
}

/* Step 6. After an index commit, `pending` holds this revision alone. */
static void publish(struct quire *db, const struct pf_record *rec, bool indexed,
                    bool durable)
{
    struct tx_root root;

    tx_root_of_record(rec, &root);
    ra_mutex_lock(&db->commit_lock);
    if (indexed)
        db->npending = 0;
    QUIRE_ASSERT(db->npending < TX_PENDING_MAX);
    db->pending[db->npending++] = (struct tx_pending){ rec->rev, rec->id,
                                                       rec->time_us,
                                                       rec->stored_len };
    tx_root_publish(db, &root);
    if (durable) {
        /* relaxed: written under the lock, read as a lower bound */
        atomic_store_explicit(&db->durable, rec->rev, memory_order_relaxed);
    }
    ra_mutex_unlock(&db->commit_lock);
    /* relaxed: a figure */
    atomic_fetch_add_explicit(&db->commits, 1, memory_order_relaxed);
    db->last = *rec;
    if (indexed) {
        db->super = *rec;
        db->super_due = true;
    }
}

quire_status tx_commit(struct quire_txn *txn, unsigned flags, quire_rev *rev)
{
    struct quire *db = txn->db;
    quire_rev made = txn->root.rev;
    struct pf_record rec;
    uint64_t bound = 0;
    bool in_batch = false, indexed = false, known = false, written = false;
    quire_status rc = QUIRE_OK;

    if (txn->failed) {
        rc = ra_fail(QUIRE_ABORTED, "an earlier call of it failed halfway");
        goto out;
    }
    if (!txn_changed(txn) && (flags & QUIRE_EMPTY) == 0)
        goto out;
    tx_held_release(txn, &txn->held);
    rc = prepare(txn, &indexed, &known, &bound);
    if (rc != QUIRE_OK)
        goto out;
    rc = QUIRE_POINT_RC(TX_COMMIT_BATCH, QUIRE_NOSPACE,
                        pf_batch_begin(db->file, bound));
    if (rc != QUIRE_OK)
        goto out;
    in_batch = true;
    rc = fill_batch(txn, known);
    if (rc != QUIRE_OK)
        goto out;
    memset(&rec, 0, sizeof(rec));
    rec.rev = txn->root.rev + 1;
    rec.time_us = tx_now_us();
    if (rec.time_us < db->last.time_us)
        rec.time_us = db->last.time_us; /* revision times never go back */
    /* relaxed: a lower bound is all that is claimed */
    rec.durable_through = atomic_load_explicit(&db->durable,
                                               memory_order_relaxed);
    rec.catalogue = txn->catalogue.root;
    rec.system = txn->system.root;
    rc = pf_batch_commit(db->file, &rec);
    in_batch = false;
    if (rc != QUIRE_OK)
        goto out;
    written = true;
    if ((flags & QUIRE_NOSYNC) == 0 &&
        !((indexed || db->super_due) && ra_broken(RA_BROKEN_SUPER_EARLY))) {
        rc = pf_sync(db->file);
        if (rc == QUIRE_POISONED)
            rc = QUIRE_UNDECIDED; /* another thread's sync met the failure */
        if (rc != QUIRE_OK)
            goto out;
    }
    made = rec.rev;
    tr_log_finish(&db->wlog);
    publish(db, &rec, indexed, (flags & QUIRE_NOSYNC) == 0);
    if (db->super_due && (flags & QUIRE_NOSYNC) == 0) {
        /* The commit stands whatever becomes of this; a failure of its sync
         * poisons the file, and the next write says so. */
        if (pf_super_write(db->file, &db->super) == QUIRE_OK)
            db->super_due = false;
        else
            ra_log_line(&db->log, QUIRE_LOG_ERROR, "superblock: %s",
                        quire_error_detail());
    }

out:
    if (in_batch)
        pf_batch_abort(db->file);
    if (!written)
        pf_ahead_abort(db->file);
    tr_log_clear(&db->wlog);
    if (rc == QUIRE_OK && rev != NULL)
        *rev = made;
    tx_end(txn);
    return rc;
}

quire_status tx_sync(struct quire *db)
{
    quire_status rc = QUIRE_OK;
    quire_rev newest;
    struct tx_root root;

    tx_root_load(db, &root);
    newest = root.rev;
    /* relaxed: an older value only leads to one sync too many */
    if (atomic_load_explicit(&db->durable, memory_order_relaxed) < newest) {
        rc = pf_sync(db->file);
        if (rc != QUIRE_OK)
            return rc;
    }
    ra_mutex_lock(&db->commit_lock);
    /* relaxed: under the lock, and read as a figure elsewhere */
    if (atomic_load_explicit(&db->durable, memory_order_relaxed) < newest)
        atomic_store_explicit(&db->durable, newest, memory_order_relaxed);
    ra_mutex_unlock(&db->commit_lock);
    return rc;
}
