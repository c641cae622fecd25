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
 *      commit record. One write, now or by the sync.
 *   4. The written pages go to the cache, as far as memory allows; those that
 *      they supersede leave it, unless an open revision may read them.
 *   5. The new root is the writer's root, and the turn goes to the next writer.
 *   6. The sync: of this revision, or un-synced, of the last one that was to be
 *      synced. Threads that come here while one runs share the next.
 *   7. The new root is published.
 *
 * Three roots, each at or behind the one before:
 *
 *     writer's     the newest batch written; the next transaction's base
 *     published    what readers see
 *     durable      what a power cut leaves (a mark, not a root: pages/file/)
 *
 * Since a sync covers a prefix of the log, whoever finds his revision durable
 * publishes it over all before it, and no commit returns before every earlier
 * one has been published or failed. A revision that was not to be synced is
 * published as soon as all before it that were are durable.
 *
 * When very many trees were changed, the catalogue itself may be too large for
 * memory or for a batch. Then 1 and 2 change places: all trees are written
 * ahead, so that their roots are known when they are put into the catalogue,
 * which is then a tree like any other.
 *
 * A failure up to the record gives the batch up: nothing refers to what was
 * written of it. A failed sync leaves the outcome undecided until the store is
 * opened again, and the file poisoned; so are all commits that were written but
 * not published, and a transaction begun on one of them can't be committed.
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
    size_t width = tr_ref_width(tree->env);
    size_t len = 0;

    memset(buf, 0, PG_REF_BYTES_MAX);
    if (tree->root.intent) {
        /* It may be written as it was, when the window was larger. */
        const struct tr_intent *in = tr_log_intent(tree->log, tree->root.id);
        size_t now = PG_REF_BYTES(in->ref.nchain);

        return now > width ? now : width;
    }
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
    *indexed = db->wroot.rev - db->wroot.index_rev + 1 >= TX_PENDING_DUE ||
               (pf_file_log_bytes(db->file) >= TX_LOG_DUE && db->nsuper == 0);
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

/* Step 7: unless a later one has been published already. */
static void publish(struct quire *db, const struct tx_root *root)
{
    struct tx_root now;

    ra_mutex_lock(&db->commit_lock);
    tx_root_load(db, &now);
    if (now.rev < root->rev)
        tx_root_publish(db, root);
    ra_mutex_unlock(&db->commit_lock);
}

static quire_status base_undecided(void)
{
    return ra_fail(QUIRE_POISONED, "the revision that the transaction was "
                                   "based on is undecided: a sync has failed");
}

/* Wait until the newest revision that has been written may be published, and
 * publish it. */
static quire_status publish_written(struct quire *db)
{
    quire_status rc = pf_sync_to(db->file, db->wsynced);

    if (rc != QUIRE_OK)
        return base_undecided();
    publish(db, &db->wroot);
    return QUIRE_OK;
}

/* Before the batch: the superblock, if there is one to be written and it can be
 * without waiting. */
static quire_status advance_super(struct quire *db)
{
    bool done = false;
    quire_status rc;

    if (db->nsuper == 0 || (pf_file_durable(db->file) < db->super[0].rev &&
                            !ra_broken(RA_BROKEN_SUPER_EARLY)))
        return QUIRE_OK;
    rc = pf_super_step(db->file, &db->super[0], &done);
    if (rc != QUIRE_OK)
        ra_log_line(&db->log, QUIRE_LOG_ERROR, "superblock: %s",
                    quire_error_detail());
    if (done) {
        db->super[0] = db->super[1];
        db->nsuper--;
    }
    /* It only shortens recovery, and may wait until there is room. */
    return rc == QUIRE_NOSPACE ? QUIRE_OK : rc;
}

/* Is there a place in the ring for one more revision? */
static quire_status pending_room(struct quire *db)
{
    struct tx_root now;

    tx_root_load(db, &now);
    return db->wroot.rev + 1 - now.index_rev < TX_PENDING_MAX
               ? QUIRE_OK
               : publish_written(db);
}

/* The batch is written: this is what the next writer goes on from. */
static void written(struct quire *db, const struct pf_record *rec,
                    const struct tx_root *root, bool synced)
{
    tx_rev_note(db, rec);
    tx_pages_note(db);
    tx_needed_note(db);
    tr_log_finish(&db->wlog);
    db->last = *rec;
    db->wroot = *root;
    if (synced)
        db->wsynced = root->rev;
    if (root->index_rev == root->rev) {
        db->super[db->nsuper > 0] = *rec;
        if (db->nsuper < 2)
            db->nsuper++;
    }
    if (ra_broken(RA_BROKEN_SUPER_EARLY))
        (void)!advance_super(db);
    /* relaxed: a figure */
    atomic_fetch_add_explicit(&db->commits, 1, memory_order_relaxed);
}

/* Say in a record how pages are written, unless it has always been as when the
 * store was created. */
static void pages_of(const struct quire *db, struct pf_record *rec)
{
    if (!db->env.mixed)
        return;
    rec->window = db->env.window;
    rec->versioning = db->env.versioning;
}

void tx_pages_note(struct quire *db)
{
    /* relaxed: a figure */
    atomic_store_explicit(&db->pages,
                          (uint32_t)db->env.versioning << 8 | db->env.window,
                          memory_order_relaxed);
}

/* Steps 1 to 5. */
static quire_status write_commit(struct quire_txn *txn, bool synced,
                                 struct tx_root *root)
{
    struct quire *db = txn->db;
    struct pf_record rec;
    const struct tr_env env = db->env;
    uint64_t bound = 0;
    bool in_batch = false, indexed = false, known = false;
    quire_status rc;

    if (txn->window != 0) {
        db->env.window = txn->window;
        db->env.versioning = txn->versioning;
        db->env.mixed = true;
    }
    rc = pending_room(db);
    if (rc == QUIRE_OK)
        rc = prepare(txn, &indexed, &known, &bound);
    if (rc == QUIRE_OK)
        rc = advance_super(db);
    if (rc == QUIRE_OK)
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
        rec.time_us = db->last.time_us; /* TX-9 */
    rec.durable_through = pf_file_durable(db->file);
    rec.catalogue = txn->catalogue.root;
    rec.system = txn->system.root;
    pages_of(db, &rec);
    rc = pf_batch_commit(db->file, &rec,
                         !synced               ? PF_BATCH_UNSYNCED
                         : tx_writer_alone(db) ? PF_BATCH_ALONE
                                               : PF_BATCH_SHARED);
    in_batch = false;
    if (rc != QUIRE_OK)
        goto out;
    tx_root_of_record(&rec, root);
    root->index_rev = indexed ? rec.rev : db->wroot.index_rev;
    written(db, &rec, root, synced);

out:
    if (in_batch)
        pf_batch_abort(db->file);
    if (rc != QUIRE_OK && txn->window != 0) {
        db->env.window = env.window;
        db->env.versioning = env.versioning;
        db->env.mixed = env.mixed;
    }
    return rc;
}

quire_status tx_commit(struct quire_txn *txn, unsigned flags, quire_rev *rev)
{
    struct quire *db = txn->db;
    bool nothing = !txn_changed(txn) && (flags & QUIRE_EMPTY) == 0;
    struct tx_root root;
    quire_rev until;
    quire_status rc = QUIRE_OK;

    tx_held_release(txn, &txn->held);
    if (txn->failed)
        rc = ra_fail(QUIRE_ABORTED, "an earlier call of it failed halfway");
    else if (nothing)
        root = txn->root; /* is to be published when the call returns */
    else
        rc = write_commit(txn, (flags & QUIRE_NOSYNC) == 0, &root);
    if (rc != QUIRE_OK || nothing)
        pf_ahead_abort(db->file);
    tr_log_clear(&db->wlog);
    until = db->wsynced;
    tx_release(txn); /* from here on the next writer runs */
    if (rc == QUIRE_OK) {
        rc = pf_sync_to(db->file, until);
        if (rc != QUIRE_OK && nothing)
            rc = base_undecided();
    }
    if (rc == QUIRE_OK) {
        publish(db, &root);
        if (rev != NULL)
            *rev = root.rev;
    }
    tx_end(txn);
    return rc;
}

quire_status tx_pages_set(struct quire *db, quire_versioning versioning,
                          uint32_t window)
{
    struct quire_txn *txn;
    quire_status rc = tx_begin(db, true, TX_FOREVER, NULL, &txn);

    if (rc != QUIRE_OK)
        return rc;
    txn->versioning = versioning != QUIRE_VERSIONING_DEFAULT
                          ? versioning
                          : db->env.versioning;
    txn->window = window != 0 ? window : db->env.window;
    if (txn->versioning == db->env.versioning &&
        txn->window == db->env.window) {
        txn->window = 0; /* they are in force: wait until that is durable */
        return tx_commit(txn, 0, NULL);
    }
    return tx_commit(txn, QUIRE_EMPTY, NULL);
}

quire_status tx_sync(struct quire *db)
{
    struct tx_root root;

    tx_root_load(db, &root);
    if (pf_file_durable(db->file) >= root.rev)
        return QUIRE_OK;
    if (pf_file_poisoned(db->file))
        return ra_fail(QUIRE_POISONED,
                       "an earlier write or sync failed; close and open the "
                       "store");
    return pf_sync_to(db->file, root.rev);
}
