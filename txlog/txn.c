/*
 * txn.c - beginning and ending transactions; the published root; the writers'
 * queue; writing ahead.
 *
 * A read transaction is a copy of a published root and nothing else: since
 * every revision is kept, it holds nobody up. The root is copied under a
 * sequence lock, so starting one waits for no commit.
 *
 * Writers queue by ticket. The turn is not a mutex, since it may be given up
 * by another thread than the one that took it.
 */
#include "txlog/tx_impl.h"

void tx_root_load(struct quire *db, struct tx_root *root)
{
    struct tx_root_box *box = &db->root;
    uint64_t words[TX_ROOT_WORDS];
    uint64_t before, after;

    do {
        /* acquire: pairs with the release of the even value below */
        before = atomic_load_explicit(&box->seq, memory_order_acquire);
        for (size_t i = 0; i < TX_ROOT_WORDS; i++) {
            /* acquire: pairs with the release store of the word; whoever sees
             * a newer word also sees the odd value stored before it */
            words[i] = atomic_load_explicit(&box->words[i],
                                            memory_order_acquire);
        }
        /* relaxed: ordered after the words by their acquire loads */
        after = atomic_load_explicit(&box->seq, memory_order_relaxed);
    } while (before != after || (before & 1) != 0);
    memcpy(root, words, sizeof(words));
}

void tx_root_publish(struct quire *db, const struct tx_root *root)
{
    struct tx_root_box *box = &db->root;
    uint64_t words[TX_ROOT_WORDS];
    uint64_t seq;

    memcpy(words, root, sizeof(words));
    /* relaxed: only the holder of commit_lock writes */
    seq = atomic_load_explicit(&box->seq, memory_order_relaxed);
    atomic_store_explicit(&box->seq, seq + 1, memory_order_relaxed);
    for (size_t i = 0; i < TX_ROOT_WORDS; i++) {
        /* release: pairs with the acquire loads in tx_root_load() */
        atomic_store_explicit(&box->words[i], words[i], memory_order_release);
    }
    /* release: pairs with the first load in tx_root_load() */
    atomic_store_explicit(&box->seq, seq + 2, memory_order_release);
}

void tx_root_of_record(const struct pf_record *rec, struct tx_root *root)
{
    memset(root, 0, sizeof(*root));
    root->rev = rec->rev;
    root->time_us = rec->time_us;
    root->record_id = rec->id;
    root->record_len = rec->stored_len;
    root->catalogue = rec->catalogue;
    root->system = rec->system;
}

static quire_status writer_enter(struct quire *db)
{
    quire_status rc = QUIRE_OK;
    uint64_t ticket;

    ra_mutex_lock(&db->writer_lock);
    if (db->writer_active && pthread_equal(db->writer_thread, pthread_self())) {
        rc = ra_fail(QUIRE_MISUSE,
                     "this thread has a write transaction open already");
        goto unlock;
    }
    ticket = db->writer_next++;
    while (db->writer_serving != ticket)
        ra_cond_wait(&db->writer_turn, &db->writer_lock);
    db->writer_active = true;
    db->writer_thread = pthread_self();

unlock:
    ra_mutex_unlock(&db->writer_lock);
    return rc;
}

void tx_writer_leave(struct quire *db)
{
    ra_mutex_lock(&db->writer_lock);
    db->writer_active = false;
    db->writer_serving++;
    pthread_cond_broadcast(&db->writer_turn);
    ra_mutex_unlock(&db->writer_lock);
}

void tx_held_release(struct quire_txn *txn, struct tr_leaf *held)
{
    tr_leaf_release(&txn->db->env, held);
}

quire_status tx_begin(struct quire *db, bool write, const struct tx_root *at,
                      struct quire_txn **txn)
{
    struct tr_log *wlog = write ? &db->wlog : NULL;
    struct quire_txn *t = NULL;
    bool turn = false;
    quire_status rc;

    if (write) {
        if (db->rdonly)
            return ra_fail(QUIRE_READONLY, "the store is open read-only");
        rc = writer_enter(db);
        if (rc != QUIRE_OK)
            return rc;
        turn = true;
        if (pf_file_poisoned(db->file)) {
            rc = ra_fail(QUIRE_POISONED,
                         "an earlier write failed; close and open the store");
            goto out;
        }
    }
    t = QUIRE_POINT(
        TX_TXN_HANDLE, NULL,
        tx_handle_take(db, &db->free_txns, sizeof(*t), TX_TXN_MAGIC));
    if (t == NULL) {
        rc = ra_fail(QUIRE_NOMEM, "no memory for a handle");
        goto out;
    }
    t->db = db;
    t->write = write;
    t->failed = false;
    if (at != NULL)
        t->root = *at;
    else
        tx_root_load(db, &t->root);
    tr_tree_init(&t->catalogue, &db->env, wlog, &t->root.catalogue);
    tr_tree_init(&t->system, &db->env, wlog, &t->root.system);
    t->trees = NULL;
    t->cursors = NULL;
    memset(&t->held, 0, sizeof(t->held));
    ra_mutex_lock(&db->handles_lock);
    db->open_txns++;
    ra_mutex_unlock(&db->handles_lock);
    *txn = t;
    return QUIRE_OK;

out:
    if (turn)
        tx_writer_leave(db);
    return rc;
}

/* Give back whatever the transaction holds, the writer's turn last. The log of
 * changed pages is the caller's business: it has been cleared. */
void tx_end(struct quire_txn *txn)
{
    struct quire *db = txn->db;
    bool write = txn->write;

    while (txn->cursors != NULL) {
        struct quire_cursor *cur = (struct quire_cursor *)txn->cursors;

        txn->cursors = cur->h.next;
        tr_cursor_reset(&cur->cur);
        tx_held_release(txn, &cur->held);
        tx_handle_give(db, &db->free_cursors, cur);
    }
    while (txn->trees != NULL) {
        struct tx_handle *tree = txn->trees;

        txn->trees = tree->next;
        tx_handle_give(db, &db->free_trees, tree);
    }
    tx_held_release(txn, &txn->held);
    tx_handle_give(db, &db->free_txns, txn);
    ra_mutex_lock(&db->handles_lock);
    db->open_txns--;
    ra_mutex_unlock(&db->handles_lock);
    if (write)
        tx_writer_leave(db);
}

quire_status tx_spill(struct quire_txn *txn, uint64_t keep_bytes,
                      bool trees_only)
{
    struct quire *db = txn->db;
    const struct tr_tree *keep[2] = { &txn->catalogue, &txn->system };
    bool wrote = false;
    quire_status rc = QUIRE_OK;

    while (rc == QUIRE_OK && db->wlog.bytes > keep_bytes) {
        rc = tr_spill_one(&db->wlog, txn->root.rev + 1, keep,
                          trees_only ? 2 : 0);
        wrote = wrote || rc == QUIRE_OK;
    }
    if (rc == QUIRE_NOTFOUND)
        rc = QUIRE_OK; /* the rest is needed */
    if (wrote && (rc == QUIRE_OK || rc == QUIRE_NOMEM)) {
        quire_status flushed = pf_ahead_flush(db->file);

        if (flushed != QUIRE_OK)
            rc = flushed;
    }
    if (rc != QUIRE_OK && rc != QUIRE_NOMEM)
        txn->failed = true; /* fragments may be lost that pages refer to */
    return rc;
}
