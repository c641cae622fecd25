/*
 * rev.c - from a revision's number to its commit record.
 *
 * The system tree maps the number, big-endian after an 'r', to the record's
 * image id, length and time. It is brought up to date every TX_PENDING_DUE
 * commits, within a commit (an *index commit*); only such a commit's record may
 * be named by a superblock, so that whoever opens the store finds every older
 * revision in the tree and every newer one in the log that recovery walks.
 * Those newer ones are kept in a ring:
 *
 *     index commit    published           newest written
 *     | 512 | 513 | ... | 600 | 601 | 602 |
 *       ^ index_rev: it and what follows is in the ring
 *
 * A root names its index commit, so that a reader of the published root looks
 * below it in the root's system tree, and from it on in the ring, while the
 * writer may be an index commit ahead.
 */
#include <assert.h>

#include "txlog/tx_impl.h"

#define REV_KEY_BYTES 9u
#define REV_VAL_BYTES 20u /* u64 image id, u32 length, i64 time */

static_assert((TX_PENDING_MAX & (TX_PENDING_MAX - 1)) == 0, "a ring");

static struct tx_pending *pending_at(struct quire *db, quire_rev rev)
{
    return &db->pending[rev % TX_PENDING_MAX];
}

static void rev_key(quire_rev rev, uint8_t buf[REV_KEY_BYTES])
{
    buf[0] = 'r';
    for (unsigned i = 0; i < 8; i++)
        buf[1 + i] = (uint8_t)(rev >> (56 - 8 * i));
}

quire_status tx_rev_find(struct quire *db, quire_rev rev,
                         struct tx_pending *where)
{
    struct tr_leaf leaf = { NULL, 0, false };
    uint8_t buf[REV_KEY_BYTES];
    const struct quire_val key = { buf, sizeof(buf) };
    struct quire_val val;
    enum pg_entry entry;
    struct tr_tree system;
    struct tx_root root;
    bool recent;
    quire_status rc;

    ra_mutex_lock(&db->commit_lock);
    tx_root_load(db, &root);
    recent = rev >= root.index_rev;
    if (recent && rev <= root.rev)
        *where = *pending_at(db, rev);
    ra_mutex_unlock(&db->commit_lock);
    if (rev > root.rev)
        return ra_fail(QUIRE_NOTFOUND,
                       "revision %llu does not exist; the newest is %llu",
                       (unsigned long long)rev, (unsigned long long)root.rev);
    if (recent)
        return QUIRE_OK;

    rev_key(rev, buf);
    tr_tree_init(&system, &db->env, NULL, &root.system);
    rc = tr_get(&system, &key, &leaf, &val, &entry);
    if (rc == QUIRE_NOTFOUND)
        return ra_fail(QUIRE_CORRUPT, "revision %llu is not in the index",
                       (unsigned long long)rev);
    if (rc != QUIRE_OK)
        return rc;
    if (entry != PG_ENTRY_PLAIN || val.size != REV_VAL_BYTES) {
        rc = ra_fail(QUIRE_CORRUPT, "the index entry of revision %llu",
                     (unsigned long long)rev);
    } else {
        where->rev = rev;
        where->id = ra_le64(val.data);
        where->stored_len = ra_le32((const uint8_t *)val.data + 8);
        where->time_us = (int64_t)ra_le64((const uint8_t *)val.data + 12);
    }
    tr_leaf_release(&db->env, &leaf);
    return rc;
}

/* Times never fall (TX-9), so revisions are in the order of their times. */
quire_status tx_rev_at_time(struct quire *db, int64_t time_us, quire_rev *rev)
{
    struct tx_pending where;
    struct tx_root newest;
    quire_rev low = 0;
    quire_rev high;
    quire_status rc;

    tx_root_load(db, &newest);
    if (newest.time_us <= time_us) {
        *rev = newest.rev;
        return QUIRE_OK;
    }
    /* The times of those before `low` are not later, those from `high` are. */
    high = newest.rev;
    while (low < high) {
        quire_rev middle = low + (high - low) / 2;

        rc = tx_rev_find(db, middle, &where);
        if (rc != QUIRE_OK)
            return rc;
        if (where.time_us <= time_us)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return ra_fail(QUIRE_NOTFOUND, "the store is younger than that");
    *rev = low - 1;
    return QUIRE_OK;
}

quire_status tx_rev_root(struct quire *db, quire_rev rev, struct tx_root *root)
{
    struct tx_pending where;
    struct pf_record rec;
    quire_status rc;

    tx_root_load(db, root);
    if (root->rev == rev)
        return QUIRE_OK;
    if (rev == 0) {
        memset(root, 0, sizeof(*root));
        return QUIRE_OK;
    }
    rc = tx_rev_find(db, rev, &where);
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_record_read(db->file, where.id, where.stored_len, &rec);
    if (rc != QUIRE_OK)
        return rc;
    if (rec.rev != rev)
        return ra_fail(QUIRE_CORRUPT,
                       "the commit record at offset %llu is of revision %llu, "
                       "not %llu",
                       (unsigned long long)pg_id_off(where.id),
                       (unsigned long long)rec.rev, (unsigned long long)rev);
    tx_root_of_record(&rec, root);
    return QUIRE_OK;
}

void tx_rev_note(struct quire *db, const struct pf_record *rec)
{
    ra_mutex_lock(&db->commit_lock);
    *pending_at(db, rec->rev) = (struct tx_pending){ rec->rev, rec->id,
                                                     rec->time_us,
                                                     rec->stored_len };
    ra_mutex_unlock(&db->commit_lock);
}

/* Put all revisions that it lacks into the system tree of this transaction.
 * Only the writer changes the ring, so it reads it without the lock. */
quire_status tx_rev_index(struct quire_txn *txn)
{
    struct quire *db = txn->db;

    for (quire_rev rev = db->wroot.index_rev; rev <= db->wroot.rev; rev++) {
        const struct tx_pending *p = pending_at(db, rev);
        uint8_t kbuf[REV_KEY_BYTES], vbuf[REV_VAL_BYTES];
        const struct quire_val key = { kbuf, sizeof(kbuf) };
        const struct quire_val val = { vbuf, sizeof(vbuf) };
        quire_status rc;

        QUIRE_ASSERT(p->rev == rev);
        rev_key(p->rev, kbuf);
        ra_put_le64(vbuf, p->id);
        ra_put_le32(vbuf + 8, p->stored_len);
        ra_put_le64(vbuf + 12, (uint64_t)p->time_us);
        rc = QUIRE_POINT_RC(TX_REV_ENTRY, QUIRE_NOMEM,
                            tr_put(&txn->system, &key, &val, PG_ENTRY_PLAIN));
        if (rc != QUIRE_OK)
            return rc;
    }
    return QUIRE_OK;
}

/* A record that recovery walks over: another system tree than the previous
 * record's means that all older revisions are in it. */
quire_status tx_rev_recovered(void *arg, const struct pf_record *rec)
{
    struct quire *db = arg;
    bool first = db->wroot.record_id == PG_ID_NONE;
    quire_rev index_rev = first ? rec->rev : db->wroot.index_rev;

    if (!first && rec->system.id != db->last.system.id) {
        index_rev = rec->rev;
        db->super[0] = *rec;
        db->nsuper = 1;
    }
    if (rec->rev - index_rev >= TX_PENDING_MAX)
        return ra_fail(QUIRE_CORRUPT,
                       "%u commits up to revision %llu without an index",
                       TX_PENDING_MAX, (unsigned long long)rec->rev);
    tx_rev_note(db, rec);
    tx_root_of_record(rec, &db->wroot);
    db->wroot.index_rev = index_rev;
    db->last = *rec;
    return QUIRE_OK;
}
