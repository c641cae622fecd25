/*
 * test_fault_store.c - every call that a store makes of its two tables fails
 * once, and then for good, in every scenario.
 *
 * A scenario tells fault_saw() each status and either stops at the first that
 * is not QUIRE_OK or goes on as a stubborn program would; fault_run() then
 * looks at what is left. Each test prints how many points it has reached.
 */
#include <errno.h>

#include "tests/lib_fault.h"
#include "tests/lib_point.h"
#include "tests/test.h"

/* ---- pieces of work ---- */

/* Lengths of values around the limits: inline, an overflow page, several. */
static const size_t lens[] = {
    0, 1, 20, 100, 100, 100, 300, 900, 1023, 1024, 1025, 1500, 5000, 40000,
};

/* Put `n` records of all shapes. Goes on after a failure when `stubborn`. */
static bool put_some(struct fault_env *e, const char *tree, unsigned n,
                     bool stubborn)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t key[GEN_KEY_MAX];
        enum gen_shape shape = (enum gen_shape)(i % GEN_SHAPES);
        size_t key_len = gen_key(&e->rand, shape, 4 * n,
                                 QUIRE_KEY_MAX(QUIRE_PAGE_MIN), key);
        size_t len = lens[test_rand_below(&e->rand, ARRAY_LEN(lens))];
        quire_status rc = twin_put_gen(&e->twin, tree, key, key_len, len,
                                       &e->rand);

        if (!fault_saw(e, rc) && (rc == QUIRE_ABORTED || !stubborn))
            return false;
    }
    return true;
}

/* Put the records from .. to-1 of an ascending series. */
static bool put_series(struct fault_env *e, unsigned from, unsigned to,
                       size_t len)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "series/%06u", i);

        if (!fault_saw(
                e, twin_put_gen(&e->twin, NULL, key, (size_t)n, len, &e->rand)))
            return false;
    }
    return true;
}

/* Delete the records from .. to-1 of the series but each `keep`-th. */
static bool del_series(struct fault_env *e, unsigned from, unsigned to,
                       unsigned keep)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        struct quire_val k = { key, 0 };

        k.size = (size_t)snprintf(key, sizeof(key), "series/%06u", i);
        if (i % keep != 0 && !fault_saw(e, twin_del(&e->twin, NULL, &k)))
            return false;
    }
    return true;
}

/* A value of more than one piece. */
static bool put_huge(struct fault_env *e, const char *key, size_t len)
{
    return fault_saw(
        e, twin_put_gen(&e->twin, NULL, key, strlen(key), len, &e->rand));
}

/* Compare what `txn` sees of the default tree with `snap`, by status. */
static bool read_all(struct fault_env *e, struct quire_txn *txn,
                     const struct model_snap *snap)
{
    const struct model_tree *want = snap->trees[0];
    struct quire_cursor *cur = NULL;
    struct quire_val key;
    struct quire_val val;
    quire_status rc;
    size_t i = 0;

    if (!fault_saw(e, quire_cursor_open(txn, NULL, &cur)))
        return false;
    rc = quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL);
    for (i = 0; rc == QUIRE_OK; i++) {
        const struct model_rec *r;
        uint8_t part[3000];
        uint64_t size = 0;

        CHECK(i < want->n);
        r = want->recs[i];
        rc = quire_cursor_get(cur, &key, &val);
        if (rc == QUIRE_TOOBIG) {
            size_t off = r->val_len > sizeof(part) ? r->val_len - sizeof(part)
                                                   : 0;

            rc = quire_cursor_read(cur, off, part, sizeof(part), &size);
            if (rc == QUIRE_OK)
                CHECK_MEM_EQ(part, model_val(r) + off, r->val_len - off);
        } else if (rc == QUIRE_OK) {
            CHECK_EQ(key.size, r->key_len);
            CHECK_MEM_EQ(key.data, r->bytes, key.size);
            CHECK_EQ(val.size, r->val_len);
            CHECK_MEM_EQ(val.data, model_val(r), val.size);
        }
        if (rc == QUIRE_OK)
            rc = quire_cursor_next(cur);
    }
    if (rc == QUIRE_NOTFOUND)
        CHECK_EQ(i, want->n);
    else
        fault_saw(e, rc);
    if (i % 2 == 0)
        quire_cursor_close(cur); /* else it ends with its transaction */
    return rc == QUIRE_NOTFOUND;
}

/* Get a sample of the records, and some keys that are not there. */
static bool get_some(struct fault_env *e, struct quire_txn *txn,
                     const struct model_snap *snap)
{
    const struct model_tree *want = snap->trees[0];

    for (size_t i = 0; i < want->n; i += 7) {
        const struct model_rec *r = want->recs[i];
        struct quire_val key = { r->bytes, r->key_len };
        struct quire_val none = { "\xff\xff\xff no such key", 15 };
        struct quire_val val = { NULL, 0 };
        uint64_t size = 0;
        uint8_t byte;
        quire_status rc = quire_get(txn, NULL, &key, &val);

        if (rc == QUIRE_TOOBIG)
            rc = quire_read(txn, NULL, &key, r->val_len - 1, &byte, 1, &size);
        else if (rc == QUIRE_OK && val.size > 0)
            CHECK_MEM_EQ(val.data, model_val(r), r->val_len);
        if (!fault_saw(e, rc))
            return false;
        rc = quire_get(txn, NULL, &none, &val);
        if (rc != QUIRE_NOTFOUND) {
            CHECK_NE(rc, QUIRE_OK);
            return fault_saw(e, rc);
        }
    }
    return true;
}

static bool open_store(struct fault_env *e)
{
    return fault_saw(e, twin_open(&e->twin, FAULT_PATH, &e->opt));
}

static bool commit(struct fault_env *e, unsigned flags)
{
    return fault_saw(e, twin_commit(&e->twin, flags));
}

/* ---- what stores hold at first ---- */

static void prepare_empty(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    CHECK_OK(twin_close(&e->twin));
}

/* Some hundred records in four revisions, fragments upon fragments. */
static void prepare_loaded(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(twin_begin(&e->twin));
        CHECK(put_some(e, NULL, 60, false));
        CHECK(put_series(e, 40 * i, 40 * (i + 1), 150));
        CHECK(commit(e, 0));
    }
    CHECK_OK(twin_close(&e->twin));
}

/* Three levels of 4 KiB pages. */
static void prepare_series(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    CHECK_OK(twin_begin(&e->twin));
    CHECK(put_series(e, 0, 600, 400));
    CHECK(commit(e, 0));
    CHECK_OK(twin_close(&e->twin));
}

static void prepare_trees(struct fault_env *e)
{
    static const struct quire_val meta = { "columns=a,b", 11 };

    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    CHECK_OK(twin_begin(&e->twin));
    CHECK_OK(twin_tree_create(&e->twin, "one"));
    CHECK_OK(twin_tree_create(&e->twin, "two"));
    CHECK(put_some(e, "one", 40, false));
    CHECK(put_some(e, "two", 40, false));
    CHECK_OK(twin_set_meta(&e->twin, "one", &meta));
    CHECK(commit(e, 0));
    CHECK_OK(twin_close(&e->twin));
}

/* A store whose process died: nothing after its last commit. */
static void prepare_unclosed(struct fault_env *e)
{
    uint8_t *copy;
    size_t len;

    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    for (unsigned i = 0; i < 5; i++) {
        CHECK_OK(twin_begin(&e->twin));
        CHECK(put_series(e, 30 * i, 30 * (i + 1), 200));
        CHECK(commit(e, i == 4 ? QUIRE_NOSYNC : 0));
    }
    CHECK(mem_disk_bytes(e->disk, FAULT_PATH, &len) != NULL);
    copy = malloc(len);
    CHECK(copy != NULL);
    memcpy(copy, mem_disk_bytes(e->disk, FAULT_PATH, &len), len);
    CHECK_OK(twin_close(&e->twin));
    mem_disk_put(e->disk, FAULT_PATH, copy, len);
    free(copy);
}

/* ---- the work ---- */

static void run_create(struct fault_env *e)
{
    fault_env_arm(e);
    if (open_store(e))
        fault_saw(e, twin_close(&e->twin));
}

static void run_open(struct fault_env *e)
{
    fault_env_arm(e);
    open_store(e);
}

static void run_open_rdonly(struct fault_env *e)
{
    e->opt.flags |= QUIRE_RDONLY;
    fault_env_arm(e);
    if (open_store(e)) {
        if (!fault_saw(e, quire_begin(e->twin.db, QUIRE_READ, &e->reader)))
            return;
        read_all(e, e->reader, model_at(e->twin.model, e->twin.published));
    }
}

static void load(struct fault_env *e, bool stubborn)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    for (unsigned i = 0; i < 3; i++) {
        if (!fault_saw(e, twin_begin(&e->twin)))
            return;
        if (!put_some(e, NULL, 70, stubborn) ||
            !put_series(e, 10 * i, 10 * (i + 1), 200) ||
            (i == 1 && !put_huge(e, "huge", 300 * 1024))) {
            if (!stubborn)
                return;
        }
        if (!commit(e, 0) && !stubborn)
            return;
    }
}

static void run_load(struct fault_env *e)
{
    load(e, false);
}

static void run_load_stubborn(struct fault_env *e)
{
    load(e, true);
}

static void run_load_close(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (fault_saw(e, twin_begin(&e->twin)) && put_some(e, NULL, 30, false))
        commit(e, 0);
    if (e->twin.txn != NULL)
        twin_abort(&e->twin);
    fault_saw(e, twin_close(&e->twin));
}

static void run_abort(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    for (unsigned i = 0; i < 2; i++) {
        if (!fault_saw(e, twin_begin(&e->twin)))
            continue;
        if (put_some(e, NULL, 60, false) && put_huge(e, "huge", 280 * 1024))
            del_series(e, 0, 40, 3);
        twin_abort(&e->twin);
    }
    if (fault_saw(e, twin_begin(&e->twin)) && put_series(e, 500, 510, 100))
        commit(e, 0);
}

/* Deletes that merge pages until the root collapses, then splits again. */
static void run_merge_split(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(&e->twin)) || !del_series(e, 0, 600, 100) ||
        !commit(e, 0))
        return;
    if (fault_saw(e, twin_begin(&e->twin)) && put_series(e, 200, 400, 300))
        commit(e, 0);
}

static void run_small_commits(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    for (unsigned i = 0; i < 8; i++) {
        if (!fault_saw(e, twin_begin(&e->twin)))
            return;
        if (put_series(e, 50 * i, 50 * i + 1, 120))
            commit(e, i % 4 == 1 ? QUIRE_NOSYNC : 0);
        if (e->twin.txn != NULL)
            twin_abort(&e->twin);
    }
    fault_saw(e, twin_sync(&e->twin));
}

static void run_read(struct fault_env *e)
{
    struct twin *t = &e->twin;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    for (quire_rev rev = 0; rev <= t->published; rev++) {
        if (!fault_saw(e, quire_begin_at(t->db, rev, &e->reader)))
            continue;
        get_some(e, e->reader, model_at(t->model, rev));
        read_all(e, e->reader, model_at(t->model, rev));
        quire_abort(e->reader);
        e->reader = NULL;
    }
}

/* A reader of an old revision beside a writer. */
static void run_read_write(struct fault_env *e)
{
    struct twin *t = &e->twin;
    const struct model_snap *old = model_at(t->model, t->published);

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, quire_begin(t->db, QUIRE_READ, &e->reader)))
        return;
    if (fault_saw(e, twin_begin(t))) {
        if (put_some(e, NULL, 60, false) && get_some(e, e->reader, old) &&
            del_series(e, 0, 100, 4))
            commit(e, 0);
        else
            twin_abort(t);
    }
    read_all(e, e->reader, old);
}

static void run_trees(struct fault_env *e)
{
    static const struct quire_val meta = { "columns=c,d", 11 };
    struct twin *t = &e->twin;
    char name[QUIRE_NAME_MAX + 1];
    quire_status rc;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(t)) ||
        !fault_saw(e, twin_tree_create(t, "three")) ||
        !put_some(e, "three", 30, false) ||
        !fault_saw(e, twin_set_meta(t, "three", &meta)) ||
        !fault_saw(e, twin_tree_drop(t, "two")) ||
        !put_some(e, "one", 30, false) || !commit(e, 0))
        return;
    if (!fault_saw(e, quire_begin(t->db, QUIRE_READ, &e->reader)))
        return;
    rc = quire_tree_next(e->reader, NULL, name);
    while (rc == QUIRE_OK) {
        struct quire_tree *tree = NULL;
        uint64_t n = 0;
        size_t size = 0;

        if (!fault_saw(e, quire_tree_open(e->reader, name, 0, &tree)) ||
            !fault_saw(e, quire_tree_count(e->reader, tree, &n)) ||
            !fault_saw(e, quire_tree_get_meta(e->reader, tree, NULL, 0, &size)))
            return;
        CHECK_EQ(n, model_work_tree(t->model, name)->n);
        CHECK_EQ(size, 11);
        rc = quire_tree_next(e->reader, name, name);
    }
    if (rc != QUIRE_NOTFOUND)
        fault_saw(e, rc);
    else
        CHECK_STR_EQ(name, "three");
}

/* More changes than the transaction's share of the smallest budget. */
static void run_ahead(struct fault_env *e)
{
    struct twin *t = &e->twin;
    struct quire_stat st = { .size = sizeof(st) };

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(t)))
        return;
    for (unsigned i = 0; i < 4; i++) {
        char key[16];

        snprintf(key, sizeof(key), "huge %u", i);
        if (!put_huge(e, key, 700 * 1024))
            return;
    }
    if (!put_series(e, 0, 3000, 900))
        return;
    if (commit(e, 0)) {
        CHECK_OK(quire_stat_get(t->db, &st));
        CHECK(st.pages_ahead > 0);
    }
}

/* A batch that is longer than the buffer it is written from, so that its first
 * part may fail when the rest has not been made yet; then another. */
static void run_long_batch(struct fault_env *e)
{
    struct quire_stat st = { .size = sizeof(st) };
    uint64_t writes;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    for (unsigned i = 0; i < 2; i++) {
        writes = e->fault.calls[FAULT_PWRITEV];
        if (!fault_saw(e, twin_begin(&e->twin)))
            return;
        if (put_series(e, 500 * i, 500 * i + 500, 1000) && commit(e, 0)) {
            CHECK_OK(quire_stat_get(e->twin.db, &st));
            /* Where memory was refused, pages may have gone ahead. */
            CHECK(st.pages_ahead != 0 ||
                  e->fault.calls[FAULT_PWRITEV] >= writes + 2);
        }
        if (e->twin.txn != NULL)
            twin_abort(&e->twin);
    }
}

/* For quire_update(): append a byte, delete what is long. */
static int grow_cb(void *arg, struct quire_update *up,
                   const struct quire_val *old, struct quire_val *val)
{
    struct quire_val *grown = arg;
    uint8_t *buf = (uint8_t *)grown->data;
    uint64_t size = 0;
    quire_status rc;

    if (old == NULL)
        return QUIRE_VERDICT_KEEP;
    if (old->size > 2000)
        return QUIRE_VERDICT_DELETE;
    rc = quire_update_read(up, 0, buf, 2000, &size);
    if (rc != QUIRE_OK)
        return rc;
    if (size % 2 == 0) { /* cut, in place */
        *val = (struct quire_val){ old->data, (size_t)size / 2 };
        grown->size = val->size;
    } else {
        buf[size] = 'x';
        grown->size = (size_t)size + 1;
        *val = *grown;
    }
    return QUIRE_VERDICT_STORE;
}

/* Writes that look first; bounds and counts between them. */
static void run_conditional(struct fault_env *e)
{
    struct twin *t = &e->twin;
    static uint8_t buf[400000];
    uint64_t nth = 0;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(t)))
        return;
    for (;; nth += 7) {
        const struct model_tree *m = model_work_tree(t->model, NULL);
        const struct model_rec *rec = nth < m->n ? m->recs[nth] : NULL;
        struct quire_val key, val = { "seen", 4 }, old, found;
        uint8_t kbuf[GEN_KEY_MAX];
        uint64_t size = 0;
        quire_status rc;
        bool deleted;

        if (rec == NULL)
            break;
        memcpy(kbuf, rec->bytes, rec->key_len);
        key = (struct quire_val){ kbuf, rec->key_len };
        rc = quire_get_bound(t->txn, NULL, QUIRE_SEEK_GE, &key, &found, NULL);
        if (!fault_saw(e, rc))
            return;
        CHECK_EQ(found.size, key.size);
        rc = quire_count_range(t->txn, NULL, NULL, &key, &size);
        if (!fault_saw(e, rc))
            return;
        CHECK_EQ(size, nth);
        old = (struct quire_val){ model_val(rec), rec->val_len };
        switch (nth % 4) {
        case 0:
            rc = quire_put_if(t->txn, NULL, &key, &old, &val);
            if (!fault_saw(e, rc))
                return;
            model_put(t->model, NULL, &key, &val);
            break;
        case 1:
            rc = quire_swap(t->txn, NULL, &key, NULL, buf, sizeof(buf), &size);
            if (!fault_saw(e, rc))
                return;
            CHECK_EQ(size, rec->val_len);
            CHECK_MEM_EQ(buf, model_val(rec), size);
            model_del(t->model, NULL, &key);
            break;
        default:
            val.data = buf;
            deleted = rec->val_len > 2000;
            if (!deleted)
                memcpy(buf, model_val(rec), rec->val_len);
            rc = quire_update(t->txn, NULL, &key, grow_cb, &val);
            if (!fault_saw(e, rc))
                return;
            if (deleted)
                model_del(t->model, NULL, &key);
            else
                model_put(t->model, NULL, &key, &val);
        }
    }
    commit(e, 0);
}

/* Delete the records of the series from .. to-1 as a range. */
static bool cut_series(struct fault_env *e, unsigned from, unsigned to)
{
    struct twin *t = &e->twin;
    char lo[32], hi[32];
    struct quire_val a = { lo, 0 }, b = { hi, 0 };
    uint64_t n = 0;

    a.size = (size_t)snprintf(lo, sizeof(lo), "series/%06u", from);
    b.size = (size_t)snprintf(hi, sizeof(hi), "series/%06u", to);
    if (!fault_saw(e, quire_del_range(t->txn, NULL, &a, &b, &n)))
        return false;
    for (unsigned i = from; i < to; i++) {
        char key[32];
        struct quire_val k = { key, 0 };

        k.size = (size_t)snprintf(key, sizeof(key), "series/%06u", i);
        n -= model_del(t->model, NULL, &k);
    }
    CHECK_EQ(n, 0);
    return true;
}

/* Ranges: within a leaf, over subtrees, again over what is left, all. Puts and
 * deletes through a cursor between them. */
static void run_ranges(struct fault_env *e)
{
    struct twin *t = &e->twin;
    struct quire_cursor *cur = NULL;
    struct quire_val key = { "series/000300x", 14 }, val = { "here", 4 };
    uint64_t n = 0, all;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(t)) || !cut_series(e, 3, 5) ||
        !cut_series(e, 100, 500) || !put_series(e, 250, 260, 1500) ||
        !cut_series(e, 90, 255))
        return;
    if (!fault_saw(e, quire_cursor_open(t->txn, NULL, &cur)) ||
        !fault_saw(e, quire_cursor_put(cur, &key, &val, 0)))
        return;
    model_put(t->model, NULL, &key, &val);
    val.data = "else";
    if (!fault_saw(e, quire_cursor_put(cur, NULL, &val, 0)))
        return;
    model_put(t->model, NULL, &key, &val);
    if (!fault_saw(e, quire_cursor_del(cur)))
        return;
    model_del(t->model, NULL, &key);
    if (!commit(e, 0) || !fault_saw(e, twin_begin(t)))
        return;
    all = model_work_tree(t->model, NULL)->n;
    if (!fault_saw(e, quire_del_range(t->txn, NULL, NULL, NULL, &n)))
        return;
    CHECK_EQ(n, all);
    while (model_work_tree(t->model, NULL)->n > 0) {
        const struct model_rec *r = model_work_tree(t->model, NULL)->recs[0];
        uint8_t buf[GEN_KEY_MAX];

        memcpy(buf, r->bytes, r->key_len);
        model_del(t->model, NULL, &(struct quire_val){ buf, r->key_len });
    }
    if (put_series(e, 7, 9, 100))
        commit(e, 0);
}

/* Savepoints, nested, over splits, ranges, overflow values, trees made,
 * renamed and dropped; rolling back never fails. */
static void run_savepoints(struct fault_env *e)
{
    struct twin *t = &e->twin;
    struct model_snap *before;
    quire_savepoint outer = 0, inner = 0;
    bool ok;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(t)) || !put_series(e, 100, 110, 300) ||
        !fault_saw(e, quire_savepoint_set(t->txn, &outer)))
        return;
    before = model_mark(t->model);
    ok = put_series(e, 105, 160, 700) && put_huge(e, "huge", 20000) &&
         put_huge(e, "huger", 280 * 1024) &&
         fault_saw(e, twin_tree_create(t, "made")) &&
         fault_saw(e, quire_tree_rename(t->txn, "made", "named"));
    if (ok) {
        model_tree_rename(t->model, "made", "named");
        t->nopen = 0;
        ok = fault_saw(e, quire_savepoint_set(t->txn, &inner)) &&
             cut_series(e, 101, 400) && put_huge(e, "huge", 30000) &&
             fault_saw(e, twin_tree_drop(t, "named"));
    }
    /* The transaction goes on whatever failed, if it has not said ABORTED. */
    if (fault_saw(e, quire_savepoint_rollback(t->txn, outer))) {
        model_back(t->model, before);
        t->nopen = 0;
        if (put_series(e, 120, 125, 100) &&
            fault_saw(e, quire_savepoint_set(t->txn, &inner)) &&
            cut_series(e, 0, 50) &&
            fault_saw(e, quire_savepoint_release(t->txn, outer)))
            commit(e, 0);
    }
    model_mark_free(before);
}

static void run_verify(struct fault_env *e)
{
    struct quire_verify_report report = { .size = sizeof(report) };
    quire_status rc;

    if (!open_store(e))
        return;
    fault_env_arm(e);
    rc = quire_verify(e->twin.db, NULL, NULL, &report);
    if (rc == QUIRE_CORRUPT) /* what can't be read is a fault of the file */
        CHECK((e->point >= 0 || (e->kinds & FAULT_BIT(FAULT_PREAD)) != 0) &&
              report.faults > 0);
    else
        fault_saw(e, rc);
}

static void run_close(struct fault_env *e)
{
    if (!open_store(e) || !fault_saw(e, twin_begin(&e->twin)) ||
        !put_series(e, 0, 20, 100) || !commit(e, QUIRE_NOSYNC))
        return;
    fault_env_arm(e);
    fault_saw(e, twin_close(&e->twin));
}

static void prepare_background(struct fault_env *e)
{
    prepare_loaded(e);
    e->opt.flags &= ~QUIRE_NOBACKGROUND;
}

static void prepare_direct(struct fault_env *e)
{
    prepare_loaded(e);
    e->opt.flags |= QUIRE_DIRECT;
}

/* One leaf, half full. */
static void prepare_leaf(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    CHECK_OK(twin_begin(&e->twin));
    CHECK(put_series(e, 0, 20, 100));
    CHECK(commit(e, 0));
    CHECK_OK(twin_close(&e->twin));
}

/* Records that come and go in one leaf, until it sheds its tombstones. */
static void run_shed(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (!fault_saw(e, twin_begin(&e->twin)) || !put_series(e, 0, 1, 20))
        return;
    for (unsigned i = 0; i < 40; i++) {
        char buf[480];
        struct quire_val key = { buf, sizeof(buf) };

        memset(buf, 'k', sizeof(buf));
        snprintf(buf, sizeof(buf), "%04u", i);
        if (!fault_saw(
                e, twin_put_gen(&e->twin, NULL, buf, key.size, 30, &e->rand)) ||
            !fault_saw(e, twin_del(&e->twin, NULL, &key)))
            return;
    }
    commit(e, 0);
}

/* As many commits as are kept outside the index of revisions. */
static void prepare_unindexed(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    for (unsigned i = 0; i < 255; i++) {
        CHECK_OK(twin_begin(&e->twin));
        CHECK(put_series(e, i % 4, i % 4 + 1, 20));
        CHECK(commit(e, QUIRE_NOSYNC));
    }
    CHECK_OK(twin_close(&e->twin));
}

static void run_index(struct fault_env *e)
{
    if (!open_store(e))
        return;
    fault_env_arm(e);
    if (fault_saw(e, twin_begin(&e->twin)) && put_series(e, 5, 6, 20))
        commit(e, 0);
}

/* Small commits over chains of the other sorts. */
static void prepare_differential(struct fault_env *e)
{
    e->opt.versioning = QUIRE_VERSIONING_DIFFERENTIAL;
    prepare_series(e);
}

static void prepare_sliding(struct fault_env *e)
{
    e->opt.versioning = QUIRE_VERSIONING_SLIDING;
    e->opt.window = 3;
    prepare_series(e);
}

/* ---- the table ---- */

static const struct fault_scenario scenarios[] = {
    { "create", NULL, run_create },
    { "open", prepare_loaded, run_open },
    { "open, recover", prepare_unclosed, run_open },
    { "open, read only", prepare_loaded, run_open_rdonly },
    { "read only, recover", prepare_unclosed, run_open_rdonly },
    { "load", prepare_empty, run_load },
    { "load, stubborn", prepare_empty, run_load_stubborn },
    { "load more, close", prepare_loaded, run_load_close },
    { "abort", prepare_loaded, run_abort },
    { "merge, split", prepare_series, run_merge_split },
    { "small commits", prepare_series, run_small_commits },
    { "differentials", prepare_differential, run_small_commits },
    { "sliding window", prepare_sliding, run_small_commits },
    { "read", prepare_loaded, run_read },
    { "read and write", prepare_loaded, run_read_write },
    { "trees", prepare_trees, run_trees },
    { "conditional writes", prepare_loaded, run_conditional },
    { "ranges", prepare_series, run_ranges },
    { "savepoints", prepare_series, run_savepoints },
    { "verify", prepare_loaded, run_verify },
    { "background", prepare_background, run_load_close },
};

/* What no other scenario comes to. */
static const struct fault_scenario rare[] = {
    { "shed tombstones", prepare_leaf, run_shed },
    { "index revisions", prepare_unindexed, run_index },
    { "long batch", prepare_leaf, run_long_batch },
    { "read directly", prepare_direct, run_open_rdonly },
    { "open, background", prepare_background, run_open },
};

static const struct fault_scenario closing = { "close", prepare_loaded,
                                               run_close };
static const struct fault_scenario ahead = { "ahead", prepare_loaded,
                                             run_ahead };

/* Run every scenario; together they must have met some point. */
static void run_all(unsigned kinds, int err, unsigned how, bool none_ok)
{
    uint64_t points = 0;

    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        points += fault_run(&scenarios[i], kinds, err, how, none_ok);
    CHECK(points > 0);
    print_message("fault: %llu points in all\n", (unsigned long long)points);
}

static void test_memory_fails_once(void **state)
{
    (void)state;
    run_all(FAULT_MEMORY, ENOMEM, FAULT_ONCE, false);
}

static void test_memory_fails_for_good(void **state)
{
    (void)state;
    run_all(FAULT_MEMORY, ENOMEM, FAULT_STICKY, false);
}

static void test_decommit_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        fault_run(&scenarios[i], FAULT_BIT(FAULT_DECOMMIT), ENOMEM,
                  FAULT_STICKY, true);
    fault_run(&ahead, FAULT_BIT(FAULT_DECOMMIT), ENOMEM, FAULT_ONCE, true);
}

static void test_threads_fail(void **state)
{
    static const struct fault_scenario s = { "background", prepare_background,
                                             run_load_close };

    (void)state;
    fault_run(&(struct fault_scenario){ "open, background", prepare_background,
                                        run_open },
              FAULT_BIT(FAULT_THREAD), EAGAIN, FAULT_ONCE, false);
    fault_run(&(struct fault_scenario){ "open, background", prepare_background,
                                        run_open },
              FAULT_BIT(FAULT_THREAD), EAGAIN, FAULT_STICKY, false);
    fault_run(&s, FAULT_MEMORY, ENOMEM, FAULT_STICKY, false);
}

static void test_io_fails_once(void **state)
{
    (void)state;
    run_all(FAULT_IO, EIO, FAULT_ONCE, false);
}

static void test_io_fails_for_good(void **state)
{
    (void)state;
    run_all(FAULT_IO, EIO, FAULT_STICKY, false);
}

/* Giving back needs no memory; but what was not synced is synced. */
static void test_closing_fails(void **state)
{
    (void)state;
    CHECK_EQ(fault_run(&closing, FAULT_MEMORY, ENOMEM, FAULT_STICKY, true), 0);
    fault_run(&closing, FAULT_IO, EIO, FAULT_ONCE, false);
    fault_run(&closing, FAULT_IO, EIO, FAULT_STICKY, false);
    fault_run(&closing, FAULT_IO, EIO, FAULT_STICKY | FAULT_WHOLE, false);
}

/* Half of what a failing write was to write is there. */
static void test_writes_tear(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        fault_run(&scenarios[i], FAULT_WRITES, EIO, FAULT_STICKY | FAULT_TORN,
                  true);
}

/* What a failing write was to write is there, all of it. */
static void test_writes_fail_afterwards(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        fault_run(&scenarios[i], FAULT_WRITES | FAULT_BIT(FAULT_SYNC), EIO,
                  FAULT_ONCE | FAULT_WHOLE, true);
        fault_run(&scenarios[i], FAULT_WRITES, ENOSPC, FAULT_ONCE | FAULT_WHOLE,
                  true);
    }
}

static void test_disk_fills(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        fault_run(&scenarios[i], FAULT_WRITES, ENOSPC, FAULT_ONCE | FAULT_TORN,
                  true);
        fault_run(&scenarios[i], FAULT_WRITES, EDQUOT, FAULT_STICKY, true);
    }
}

static void test_locks_and_opens_are_refused(void **state)
{
    (void)state;
    fault_run(&scenarios[0], FAULT_BIT(FAULT_OPEN), EACCES, FAULT_STICKY,
              false);
    fault_run(&scenarios[1], FAULT_BIT(FAULT_OPEN), EACCES, FAULT_STICKY,
              false);
    fault_run(&scenarios[1], FAULT_BIT(FAULT_LOCK), EAGAIN, FAULT_ONCE, false);
    fault_run(&scenarios[3], FAULT_BIT(FAULT_LOCK), EAGAIN, FAULT_ONCE, false);
}

/* Two calls of the table are not made at all (pages/file/README.md); who begins
 * to make them finds the scenarios here. */
static void test_uncalled_calls(void **state)
{
    const unsigned kinds = FAULT_BIT(FAULT_ALLOCATE) |
                           FAULT_BIT(FAULT_TRUNCATE);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        CHECK_EQ(fault_run(&scenarios[i], kinds, EIO, FAULT_STICKY, true), 0);
    CHECK_EQ(fault_run(&ahead, kinds, EIO, FAULT_STICKY, true), 0);
}

static void test_writing_ahead_fails(void **state)
{
    (void)state;
    fault_run(&ahead, FAULT_BIT(FAULT_ALLOC) | FAULT_BIT(FAULT_MAP), ENOMEM,
              FAULT_STICKY, false);
    fault_run(&ahead, FAULT_IO, EIO, FAULT_ONCE, false);
    fault_run(&ahead, FAULT_WRITES, ENOSPC, FAULT_STICKY | FAULT_TORN, false);
}

static void test_rare_paths_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rare) - 1; i++) {
        fault_run(&rare[i], FAULT_MEMORY, ENOMEM, FAULT_ONCE, false);
        fault_run(&rare[i], FAULT_IO, EIO, FAULT_ONCE, false);
        fault_run(&rare[i], FAULT_WRITES, ENOSPC, FAULT_ONCE | FAULT_TORN,
                  rare[i].run == run_open_rdonly);
    }
}

/* Short transfers are continued, interrupted calls made again. */
static void test_short_and_interrupted_transfers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        fault_run_short(&scenarios[i]);
    fault_run_short(&ahead);
}

/* Scenarios for each point in the short form. */
#define POINT_SCENES 1u

/* Each named failure point, in scenarios that pass it. */
static void test_points_fail(void **state)
{
    bool all = fault_long_form();
    struct fault_scenario scenes[ARRAY_LEN(scenarios) + ARRAY_LEN(rare) + 2];
    uint64_t failures[ARRAY_LEN(scenes)] = { 0 };
    const size_t nscenes = ARRAY_LEN(scenes);
    unsigned npoints = point_count();
    uint64_t *passed = calloc(nscenes * (npoints + 1u), sizeof(*passed));

    (void)state;
    CHECK(passed != NULL);
    memcpy(scenes, scenarios, sizeof(scenarios));
    memcpy(scenes + ARRAY_LEN(scenarios), rare, sizeof(rare));
    scenes[nscenes - 2] = closing;
    scenes[nscenes - 1] = ahead;
    for (size_t i = 0; i < nscenes; i++)
        fault_survey(&scenes[i], passed + i * npoints);
    for (unsigned p = 0; p < npoints; p++) {
        unsigned n = 0;

        for (size_t k = 0; k < nscenes && (all || n < POINT_SCENES); k++) {
            size_t i = (p + k) % nscenes;
            bool threads = scenes[i].prepare == prepare_background;

            if (passed[i * npoints + p] == 0)
                continue;
            if (all && scenes[i].run == run_ahead) /* runs that take long */
                fault_sample(4, 3);
            else
                fault_sample(all ? 16 : 1, all ? 8 : 1);
            failures[i] += fault_run_point(&scenes[i], p, FAULT_ONCE, threads);
            if (n++ == 0 || all)
                failures[i] += fault_run_point(&scenes[i], p, FAULT_STICKY,
                                               threads);
        }
    }
    fault_sample(0, 0);
    for (size_t i = 0; i < nscenes; i++)
        print_message("fault: %-18s named points, %llu failures\n",
                      scenes[i].name, (unsigned long long)failures[i]);
    free(passed);
}

/* All of it at an ordinary budget with ordinary pages; in the short form a
 * sample. */
static void test_ordinary_budget(void **state)
{
    (void)state;
    if (!fault_long_form())
        fault_sample(2, 2);
    fault_sizes(QUIRE_BUDGET_DEFAULT, QUIRE_PAGE_DEFAULT);
    run_all(FAULT_MEMORY, ENOMEM, FAULT_ONCE, true);
    run_all(FAULT_MEMORY, ENOMEM, FAULT_STICKY, true);
    run_all(FAULT_BIT(FAULT_DECOMMIT) | FAULT_BIT(FAULT_THREAD) | FAULT_MEMORY,
            ENOMEM, FAULT_STICKY, true);
    run_all(FAULT_IO, EIO, FAULT_ONCE, false);
    run_all(FAULT_IO, EIO, FAULT_STICKY, false);
    run_all(FAULT_IO, ENOSPC, FAULT_ONCE | FAULT_TORN, false);
    run_all(FAULT_WRITES, EDQUOT, FAULT_STICKY, true);
    fault_sizes(QUIRE_BUDGET_MIN, QUIRE_PAGE_MIN);
    fault_sample(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_and_interrupted_transfers),
        cmocka_unit_test(test_memory_fails_once),
        cmocka_unit_test(test_memory_fails_for_good),
        cmocka_unit_test(test_decommit_fails),
        cmocka_unit_test(test_threads_fail),
        cmocka_unit_test(test_io_fails_once),
        cmocka_unit_test(test_io_fails_for_good),
        cmocka_unit_test(test_closing_fails),
        cmocka_unit_test(test_writes_tear),
        cmocka_unit_test(test_writes_fail_afterwards),
        cmocka_unit_test(test_disk_fills),
        cmocka_unit_test(test_locks_and_opens_are_refused),
        cmocka_unit_test(test_uncalled_calls),
        cmocka_unit_test(test_writing_ahead_fails),
        cmocka_unit_test(test_rare_paths_fail),
        cmocka_unit_test(test_points_fail),
        cmocka_unit_test(test_ordinary_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
