/*
 * txn.c - beginning and ending transactions; the published root; the writers'
 * queue; writing ahead.
 *
 * A read transaction is a copy of a published root and nothing else: since
 * every revision is kept, it holds nobody up. The root is copied under a
 * sequence lock, so starting one waits for no commit.
 *
 * Writers queue: a list of waiting threads, first come, first served, each with
 * a condition variable of its own, so that giving the turn wakes one. Waking a
 * thread takes longer than a short transaction; so while turns are short, the
 * next in the queue does not sleep, and who gives the turn to it wakes the one
 * behind, which is then the next:
 *
 *     asleep --- is the next, turns are short ---> spins --- turn ---> writes
 *        |  ^--------------- no turn in time --------+                    ^
 *        +--------------------- turn: woken ------------------------------+
 *
 * The turn is not a mutex, since it may be given up by another thread than the
 * one that took it, and since a thread may stop waiting. A write transaction begins on
 * the newest revision that has been written, which may not be published yet
 * (commit.c).
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

/* ---- the writers' queue ---- */

/* A number that no other thread ever has; an address of the thread's own would
 * come back with a later thread. */
static uintptr_t thread_self(void)
{
    static _Atomic uintptr_t last;
    static _Thread_local uintptr_t self;

    /* relaxed: only that each number is given once matters */
    if (self == 0)
        self = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
    return self;
}

void tx_writer_touch(struct quire *db)
{
    uintptr_t self = thread_self();

    /* relaxed, here and below: a thread looks for its own name only, and what
     * it has stored itself it sees */
    if (atomic_load_explicit(&db->writer_thread, memory_order_relaxed) != self)
        atomic_store_explicit(&db->writer_thread, self, memory_order_relaxed);
}

/* Leave the queue without the turn. Under writer_lock. */
static void waiter_drop(struct quire *db, const struct tx_waiter *w)
{
    struct tx_waiter *before = NULL;
    struct tx_waiter **link = &db->writer_first;

    while (*link != w) {
        before = *link;
        link = &before->next;
    }
    *link = w->next;
    if (db->writer_last == w)
        db->writer_last = before;
}

/* No thread spins longer for its turn: some wake-ups of a sleeping one. */
#define TX_SPIN_NS_MAX ((uint64_t)100000)

/* How long the next in the queue may spin: twice what turns take, so that it
 * most often sees the end of the one in progress. 0: it sleeps. Under
 * writer_lock. */
static uint64_t spin_ns(const struct quire *db)
{
    uint64_t ns = 2 * db->turn_ns;

    return db->may_spin && ns <= TX_SPIN_NS_MAX ? ns : 0;
}

static bool waiter_granted(const struct tx_waiter *w)
{
    /* acquire: pairs with the release in writer_leave() */
    return atomic_load_explicit(&w->granted, memory_order_acquire);
}

static inline void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Look for the turn without sleeping. Not under writer_lock. */
static bool waiter_spin(const struct tx_waiter *w, uint64_t ns)
{
    uint64_t until = ra_clock_ns() + ns;

    do {
        for (unsigned i = 0; i < 64; i++) {
            if (waiter_granted(w))
                return true;
            spin_pause();
        }
    } while (ra_clock_ns() < until);
    return false;
}

/* Wait for the turn at the end of the queue. Called under writer_lock, which it
 * gives up. */
static quire_status waiter_wait(struct quire *db, uint64_t timeout_ms)
{
    struct tx_waiter w = { .thread = thread_self() };
    bool timed = timeout_ms != TX_FOREVER;
    uint64_t until = 0;
    bool in_time = true;
    bool spun = false;

    if (timed)
        until = ra_clock_ns() +
                ra_min_u64(timeout_ms, UINT64_MAX / 4000000) * 1000000;
    ra_cond_init(&w.cond);
    if (db->writer_last != NULL)
        db->writer_last->next = &w;
    else
        db->writer_first = &w;
    db->writer_last = &w;
    while (!waiter_granted(&w) && in_time) {
        uint64_t ns = db->writer_first == &w && !spun ? spin_ns(db) : 0;

        if (ns != 0) {
            spun = true;
            ra_mutex_unlock(&db->writer_lock);
            if (waiter_spin(&w, ns))
                goto out;
            ra_mutex_lock(&db->writer_lock);
            continue; /* it may have come before the lock */
        }
        w.asleep = true;
        if (timed)
            in_time = ra_cond_wait_until(&w.cond, &db->writer_lock, until);
        else
            ra_cond_wait(&w.cond, &db->writer_lock);
        w.asleep = false;
    }
    /* The turn may have come at the last moment. */
    if (!waiter_granted(&w))
        waiter_drop(db, &w);
    ra_mutex_unlock(&db->writer_lock);

out:
    pthread_cond_destroy(&w.cond);
    return waiter_granted(&w)
               ? QUIRE_OK
               : ra_fail(QUIRE_TIMEOUT,
                         "another write transaction did not end within "
                         "%llu ms",
                         (unsigned long long)timeout_ms);
}

static quire_status writer_enter(struct quire *db, uint64_t timeout_ms)
{
    quire_status rc = QUIRE_OK;
    bool wait = false;

    ra_mutex_lock(&db->writer_lock);
    /* relaxed: see tx_writer_touch() */
    if (!db->writer_active)
        db->writer_active = true;
    else if (atomic_load_explicit(&db->writer_thread, memory_order_relaxed) ==
             thread_self())
        rc = ra_fail(QUIRE_MISUSE,
                     "this thread has a write transaction open already");
    else if (timeout_ms == 0)
        rc = ra_fail(QUIRE_TIMEOUT, "a write transaction is open");
    else
        wait = true;
    /* Whoever had the turn before must not find his name beside it. */
    if (rc == QUIRE_OK && !wait)
        tx_writer_touch(db);
    if (wait)
        rc = waiter_wait(db, timeout_ms); /* who gave the turn wrote the name */
    else
        ra_mutex_unlock(&db->writer_lock);
    if (rc == QUIRE_OK)
        db->turn_from = ra_clock_ns();
    return rc;
}

bool tx_writer_alone(struct quire *db)
{
    bool alone;

    ra_mutex_lock(&db->writer_lock);
    alone = db->writer_first == NULL;
    ra_mutex_unlock(&db->writer_lock);
    return alone;
}

static void writer_leave(struct quire *db)
{
    uint64_t ns = ra_clock_ns() - db->turn_from;
    struct tx_waiter *w;

    ra_mutex_lock(&db->writer_lock);
    db->turn_ns = (db->turn_ns * 7 + ns) / 8;
    w = db->writer_first;
    if (w != NULL) {
        db->writer_first = w->next;
        if (w->next == NULL)
            db->writer_last = NULL;
        /* relaxed: see tx_writer_touch() */
        atomic_store_explicit(&db->writer_thread, w->thread,
                              memory_order_relaxed);
        if (w->asleep)
            pthread_cond_signal(&w->cond);
        /* release: pairs with the acquire in waiter_granted(); what this turn
         * did is seen by the next. If it spins, `w` is gone from here on. */
        atomic_store_explicit(&w->granted, true, memory_order_release);
        w = db->writer_first;
        if (w != NULL && w->asleep && spin_ns(db) != 0)
            pthread_cond_signal(&w->cond); /* to spin for the turn after */
    } else {
        db->writer_active = false;
    }
    ra_mutex_unlock(&db->writer_lock);
}

/* ---- begin and end ---- */

quire_status tx_enter(struct quire *db)
{
    quire_status rc = QUIRE_OK;

    ra_mutex_lock(&db->handles_lock);
    if (db->closing)
        rc = ra_fail(QUIRE_MISUSE, "the store is being closed");
    else
        db->open_txns++;
    ra_mutex_unlock(&db->handles_lock);
    return rc;
}

void tx_leave(struct quire *db)
{
    ra_mutex_lock(&db->handles_lock);
    db->open_txns--;
    ra_mutex_unlock(&db->handles_lock);
}

/* A read transaction begins at `rev`, and ends. */
static void reads_enter(struct quire *db, quire_rev rev)
{
    /* relaxed, all: at worst a page is loaded again */
    uint64_t newest = atomic_load_explicit(&db->newest_read,
                                           memory_order_relaxed);

    atomic_fetch_add_explicit(&db->open_reads, 1, memory_order_relaxed);
    while (newest < rev && !atomic_compare_exchange_weak_explicit(
                               &db->newest_read, &newest, rev,
                               memory_order_relaxed, memory_order_relaxed))
        ;
}

static void reads_leave(struct quire *db)
{
    /* relaxed, both: as above */
    if (atomic_fetch_sub_explicit(&db->open_reads, 1, memory_order_relaxed) ==
        1)
        atomic_store_explicit(&db->newest_read, 0, memory_order_relaxed);
}

void tx_needed_note(struct quire *db)
{
    /* relaxed, both: as above */
    db->wlog.needed = atomic_load_explicit(&db->open_reads,
                                           memory_order_relaxed) == 0
                          ? 0
                          : atomic_load_explicit(&db->newest_read,
                                                 memory_order_relaxed);
}

/* The store is not to be written; or the turn is had. */
static quire_status begin_write(struct quire *db, uint64_t timeout_ms)
{
    quire_status rc;

    if (db->rdonly)
        return ra_fail(QUIRE_READONLY, "the store is open read-only");
    rc = writer_enter(db, timeout_ms);
    if (rc != QUIRE_OK || !pf_file_poisoned(db->file))
        return rc;
    writer_leave(db);
    return ra_fail(QUIRE_POISONED,
                   "an earlier write failed; close and open the store");
}

quire_status tx_begin(struct quire *db, bool write, uint64_t timeout_ms,
                      const struct tx_root *at, struct quire_txn **txn)
{
    struct tr_log *wlog = write ? &db->wlog : NULL;
    struct quire_txn *t = NULL;
    bool turn = false;
    quire_status rc;

    rc = tx_enter(db);
    if (rc != QUIRE_OK)
        return rc;
    if (write) {
        rc = begin_write(db, timeout_ms);
        if (rc != QUIRE_OK)
            goto out;
        turn = true;
    }
    t = QUIRE_POINT(TX_TXN_HANDLE, NULL,
                    tx_handle_take(db, &db->free_txns,
                                   sizeof(*t) + pg_key_max(db->env.page_bytes),
                                   TX_TXN_MAGIC));
    if (t == NULL) {
        rc = ra_fail(QUIRE_NOMEM, "no memory for a handle");
        goto out;
    }
    t->db = db;
    t->write = write;
    t->failed = false;
    t->window = 0;
    t->busy = false;
    t->update.txn = NULL;
    t->saves = NULL;
    t->nsaves = 0;
    t->dropped = NULL;
    if (write)
        t->root = db->wroot;
    else if (at != NULL)
        t->root = *at;
    else
        tx_root_load(db, &t->root);
    if (write)
        tx_needed_note(db);
    else
        reads_enter(db, t->root.rev);
    tr_tree_init(&t->catalogue, &db->env, wlog, &t->root.catalogue);
    tr_tree_init(&t->system, &db->env, wlog, &t->root.system);
    t->trees = NULL;
    t->cursors = NULL;
    memset(&t->held, 0, sizeof(t->held));
    *txn = t;
    return QUIRE_OK;

out:
    if (turn)
        writer_leave(db);
    tx_leave(db);
    return rc;
}

/* The log of changed pages is the caller's business: it has been cleared. */
void tx_release(struct quire_txn *txn)
{
    struct quire *db = txn->db;

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
    txn->h.magic = 0;
    if (txn->write)
        writer_leave(db);
}

void tx_end(struct quire_txn *txn)
{
    struct quire *db = txn->db;

    if (!txn->write)
        reads_leave(db);
    tx_handle_give(db, &db->free_txns, txn);
    tx_leave(db);
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
