/*
 * sync.c - syncs: one at a time, shared by those who wait for them.
 *
 * The trap is in the errors. The system tells a write-back error once for each
 * open file: of two syncs at the same time one may be told and the other get
 * away, though its pages may be the lost ones. So one sync runs at a time, and
 * the next one looks at the verdict of the one before first (PF-5). The same
 * holds for the zero-ahead thread's syncs.
 *
 * Syncs have numbers. A sync makes durable what was written when it began:
 *
 *     written   ... | 7 | 8 | 9 | 10 |
 *                        ^ sync n began here: 8 is durable when it ends
 *                                 ^ sync n + 1 begins: 10
 *
 * pf_sync() waits for a sync that begins after the call; pf_sync_to() for its
 * revision, by whichever sync. Whoever finds none running leads the next one,
 * the others wait for its end:
 *
 *     idle --- somebody asks ---> gathering --- time, all ---> running --- ok ---> idle
 *                                                                 --- error --> poisoned
 *
 * Gathering. While a sync runs, other threads write their commits, and one of
 * them leads the next sync the moment this one ends. At this moment those that
 * it has answered are about to write theirs: waiting for them for a fraction of
 * a sync's time lets all share one. So who would lead waits until as many ask as
 * did when the last sync ended (answered by it or not), but at most a half of
 * what a sync takes on average; and the one that makes them complete leads, since
 * it is awake. A thread alone never waits; one that does not come back is
 * waited for once.
 */
#include "pages/file/pf_impl.h"

/* No leader waits longer for others, whatever the disk. */
#define PF_GATHER_NS_MAX ((uint64_t)2000000)

uint64_t pf_sync_next(struct pf_file *file)
{
    uint64_t number;

    ra_mutex_lock(&file->lock);
    number = file->sync_begun + 1;
    ra_mutex_unlock(&file->lock);
    return number;
}

bool pf_sync_passed(struct pf_file *file, uint64_t number)
{
    bool passed;

    ra_mutex_lock(&file->lock);
    passed = file->sync_done >= number;
    ra_mutex_unlock(&file->lock);
    return passed;
}

void pf_sync_note(struct pf_file *file, quire_rev rev)
{
    ra_mutex_lock(&file->lock);
    file->written = rev;
    ra_mutex_unlock(&file->lock);
}

bool pf_sync_alone(struct pf_file *file)
{
    bool alone;

    ra_mutex_lock(&file->lock);
    alone = file->nasks == 0 && file->sync_expect <= 1;
    ra_mutex_unlock(&file->lock);
    return alone;
}

quire_rev pf_file_durable(const struct pf_file *file)
{
    /* acquire: pairs with the release in pf_sync_lead(); whoever sees a
     * revision durable also sees what was done before its sync ended */
    return atomic_load_explicit(&file->durable, memory_order_acquire);
}

/* Have as many asked as are likely to? Under the lock. */
static bool pf_sync_complete(const struct pf_file *file)
{
    return file->nasks >= file->sync_expect;
}

/* Wait for those who are likely to ask soon. false: one of them began a sync
 * meanwhile. Under the lock. */
static bool pf_sync_gather(struct pf_file *file)
{
    uint64_t limit = ra_min_u64(file->sync_ns / 2, PF_GATHER_NS_MAX);
    uint64_t begun = file->sync_begun;
    uint64_t until;

    if (pf_sync_complete(file) || limit == 0)
        return true;
    until = ra_clock_ns() + limit;
    file->sync_gathering = true;
    while (file->sync_begun == begun && !pf_sync_complete(file) &&
           ra_cond_wait_until(&file->changed, &file->lock, until))
        ;
    return file->sync_begun == begun;
}

/* Take `ask` from the list, if it is still there. Under the lock. */
static void pf_ask_drop(struct pf_file *file, const struct pf_ask *ask)
{
    struct pf_ask **link = &file->asks;

    while (*link != NULL && *link != ask)
        link = &(*link)->next;
    if (*link != NULL) {
        *link = ask->next;
        file->nasks--;
    }
}

/* A sync has ended: those whose revision is durable, or never will be known to
 * be, ask no more, though they may run much later. Under the lock. */
static void pf_ask_answer(struct pf_file *file, bool all, quire_rev durable)
{
    struct pf_ask **link = &file->asks;

    file->sync_expect = file->nasks;
    while (*link != NULL) {
        if (all || (*link)->rev <= durable) {
            *link = (*link)->next;
            file->nasks--;
        } else {
            link = &(*link)->next;
        }
    }
}

/* The sync itself; the other conditions are for tests of the tests. */
static quire_status pf_sync_os(const struct pf_file *file, bool alone)
{
    quire_status rc;

    if (ra_broken(RA_BROKEN_NO_SYNC) || ra_broken(RA_BROKEN_RECORD_FIRST))
        return QUIRE_OK;
    rc = pf_os_sync(&file->os, alone);
    if (rc != QUIRE_OK && ra_broken(RA_BROKEN_NO_POISON))
        rc = pf_os_sync(&file->os, false);
    return rc;
}

/* Run a sync, unless somebody else does while others are waited for, and tell
 * everybody. Called and returns with the lock held, which is given up meanwhile.
 * A failure poisons the file; false: the calling thread's
 * detail has its words. */
static bool pf_sync_lead(struct pf_file *file, bool gather)
{
    quire_rev target;
    uint64_t number;
    uint64_t ns;
    bool poisoned;
    bool alone;
    bool ok = false;
    quire_status rc;

    if (gather && !pf_sync_gather(file))
        return true;
    file->syncing = true;
    file->sync_gathering = false;
    alone = gather && file->nasks <= 1 && file->sync_expect <= 1;
    number = ++file->sync_begun;
    target = file->written;
    ns = ra_clock_ns();
    rc = pf_pend_write(file);
    ra_mutex_unlock(&file->lock);

    /* The sync that was waited for may have been told of our pages. */
    poisoned = rc == QUIRE_POISONED ||
               (rc == QUIRE_OK && pf_file_poisoned(file));
    if (rc == QUIRE_OK && !poisoned) {
        ok = pf_sync_os(file, alone) == QUIRE_OK;
        if (!ok)
            pf_poison(file, quire_error_detail()); /* PF-5: before the next */
    }
    ns = ra_clock_ns() - ns;

    ra_mutex_lock(&file->lock);
    if (ra_broken(RA_BROKEN_SYNC_LATE))
        target = file->written;
    if (ok) {
        pf_count(&file->syncs, 1);
        file->sync_done = number;
        file->sync_ns = file->sync_ns == 0 ? ns : (file->sync_ns * 7 + ns) / 8;
        /* release: pairs with the acquire in pf_file_durable() */
        atomic_store_explicit(&file->durable, target, memory_order_release);
    }
    pf_ask_answer(file, !ok, target);
    file->syncing = false;
    pthread_cond_broadcast(&file->changed);
    return ok || poisoned;
}

static quire_status pf_sync_undecided(const struct pf_file *file)
{
    return ra_fail(QUIRE_UNDECIDED,
                   "%s: a sync has failed; what was written since the one "
                   "before is undecided until the store is opened again",
                   file->path);
}

quire_status pf_sync(struct pf_file *file)
{
    quire_status rc = QUIRE_OK;
    bool told = false;
    uint64_t want;

    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    ra_mutex_lock(&file->lock);
    want = file->sync_begun + 1;
    while (file->sync_done < want && !pf_file_poisoned(file)) {
        if (file->syncing || file->sync_gathering)
            ra_cond_wait(&file->changed, &file->lock);
        else
            told = !pf_sync_lead(file, false);
    }
    if (file->sync_done < want)
        rc = told ? QUIRE_UNDECIDED : pf_sync_undecided(file);
    ra_mutex_unlock(&file->lock);
    return rc;
}

quire_status pf_sync_to(struct pf_file *file, quire_rev rev)
{
    struct pf_ask ask = { rev, NULL };
    quire_status rc = QUIRE_OK;
    bool told = false;

    if (pf_file_durable(file) >= rev)
        return QUIRE_OK;
    ra_mutex_lock(&file->lock);
    QUIRE_ASSERT(rev <= file->written);
    ask.next = file->asks;
    file->asks = &ask;
    file->nasks++;
    pf_zero_ask(file);
    while (pf_file_durable(file) < rev && !pf_file_poisoned(file)) {
        if (file->syncing || (file->sync_gathering && !pf_sync_complete(file)))
            ra_cond_wait(&file->changed, &file->lock);
        else
            told = !pf_sync_lead(file, true);
    }
    pf_ask_drop(file, &ask);
    if (pf_file_durable(file) < rev)
        rc = told ? QUIRE_UNDECIDED : pf_sync_undecided(file);
    ra_mutex_unlock(&file->lock);
    return rc;
}
