/*
 * test_fault_api.c - every function of quire.h, with everything that it asks
 * of the system, and every failure point that it passes, failing.
 *
 * The table has a row for each function. A row's work prepares what the call
 * needs, arms, calls, and tells fault_saw() the status; the driver does the
 * rest (lib_fault.h). Each row runs at the smallest budget with small pages and
 * at an ordinary one. What touches nothing that can fail is marked so, and then
 * must meet no failure; everything else must meet some. check-scenarios.sh
 * compares the table with quire.h.
 */
#include <errno.h>

#include "tests/lib_fault.h"
#include "tests/lib_point.h"
#include "tests/test.h"

#define MIB ((uint64_t)1 << 20)

/* ---- what the store holds ---- */

#define NSERIES 200u

static size_t series_key(unsigned i, char *buf, size_t cap)
{
    return (size_t)snprintf(buf, cap, "series/%06u", i);
}

static bool put_series(struct fault_env *e, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        struct quire_val k = { key, series_key(i, key, sizeof(key)) };
        struct quire_val v = twin_gen_val(&e->twin, 150, &e->rand);
        const struct quire_val label = { key + 7, k.size - 7 };

        if (!fault_saw(e, twin_put_labeled(&e->twin, NULL, &k, &v,
                                           i % 3 == 0 ? &label : NULL, 0)))
            return false;
    }
    return true;
}

/* Some leaves with labels, a value of one overflow page, one of several, a named tree with
 * metadata; two revisions. */
static void prepare_shop(struct fault_env *e)
{
    static const struct quire_val meta = { "columns=a,b", 11 };
    struct twin *t = &e->twin;

    CHECK_OK(twin_open(t, FAULT_PATH, &e->opt));
    CHECK_OK(twin_begin(t));
    CHECK(put_series(e, 0, NSERIES));
    CHECK_OK(twin_put_gen(t, NULL, "large", 5, 20000, &e->rand));
    CHECK_OK(twin_put_gen(t, NULL, "huge", 4, 600 << 10, &e->rand));
    CHECK_OK(twin_tree_create(t, "one"));
    CHECK_OK(twin_put_gen(t, "one", "key", 3, 10, &e->rand));
    CHECK_OK(twin_set_meta(t, "one", &meta));
    CHECK_OK(twin_commit(t, 0));
    CHECK_OK(twin_begin(t));
    CHECK(put_series(e, 50, 60));
    CHECK_OK(twin_commit(t, 0));
    CHECK_OK(twin_close(t));
}

/* So many revisions that the first are found in the index alone. */
static void prepare_indexed(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
    for (unsigned i = 0; i < 260; i++) {
        CHECK_OK(twin_begin(&e->twin));
        CHECK(put_series(e, i % 4, i % 4 + 1));
        CHECK_OK(twin_commit(&e->twin, QUIRE_NOSYNC));
    }
    CHECK_OK(twin_close(&e->twin));
}

static void open_shop(struct fault_env *e)
{
    CHECK_OK(twin_open(&e->twin, FAULT_PATH, &e->opt));
}

/* A read transaction on a store whose pages are not in memory. */
static struct quire_txn *read_shop(struct fault_env *e)
{
    open_shop(e);
    CHECK_OK(quire_begin(e->twin.db, QUIRE_READ, &e->reader));
    return e->reader;
}

static void write_shop(struct fault_env *e)
{
    open_shop(e);
    CHECK_OK(twin_begin(&e->twin));
}

static const struct model_rec *want(struct fault_env *e, const char *key)
{
    const struct model_snap *snap = model_at(e->twin.model, e->twin.published);
    const struct model_rec *r = model_find(snap->trees[0], key, strlen(key));

    CHECK(r != NULL);
    return r;
}

static void same(const struct model_rec *r, const void *data, size_t size,
                 size_t off)
{
    CHECK(off + size <= r->val_len);
    CHECK_MEM_EQ(data, model_val(r) + off, size);
}

static struct quire_val val_of(const char *text)
{
    return (struct quire_val){ text, strlen(text) };
}

/* ---- the library ---- */

static void on_strerror(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK(strlen(quire_strerror(QUIRE_NOMEM)) > 0);
}

static void on_error_detail(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK(quire_error_detail() != NULL);
}

static void on_version(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK(strlen(quire_version()) > 0);
}

static void on_simd(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK_OK(quire_simd_use(NULL));
    CHECK_STR_EQ(quire_simd(), quire_simd_variant(0));
}

static void on_sys_default(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK(quire_sys_default()->map != NULL);
}

static void on_io_default(struct fault_env *e)
{
    fault_env_arm(e);
    CHECK(quire_io_default()->open != NULL);
}

/* ---- stores ---- */

static void on_open(struct fault_env *e)
{
    fault_env_arm(e);
    fault_saw(e, twin_open(&e->twin, FAULT_PATH, &e->opt));
}

static void on_close(struct fault_env *e)
{
    struct quire *db;

    write_shop(e);
    CHECK(put_series(e, 0, 30));
    CHECK_OK(twin_commit(&e->twin, QUIRE_NOSYNC));
    db = e->twin.db;
    e->twin.db = NULL; /* it closes, whatever it says */
    fault_env_arm(e);
    fault_saw(e, quire_close(db));
}

static void on_close_report(struct fault_env *e)
{
    struct quire_close_report report = { .size = sizeof(report) };
    struct quire *db;

    write_shop(e);
    CHECK(put_series(e, 0, 30));
    CHECK_OK(twin_commit(&e->twin, QUIRE_NOSYNC));
    db = e->twin.db;
    e->twin.db = NULL;
    fault_env_arm(e);
    fault_saw(e, quire_close_report(db, &report));
    CHECK_EQ(report.pinned_pages + report.segments_in_use + report.intents, 0);
    CHECK(report.resident_peak_bytes <= e->opt.budget_bytes);
}

static void on_begin(struct fault_env *e)
{
    open_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_begin(e->twin.db, QUIRE_READ, &e->reader)))
        CHECK(e->reader == NULL);
    fault_saw(e, twin_begin(&e->twin));
}

static void on_begin_at(struct fault_env *e)
{
    open_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_begin_at(e->twin.db, 1, &e->reader)))
        CHECK_EQ(quire_txn_rev(e->reader), 1);
    else
        CHECK(e->reader == NULL);
}

static void on_begin_timed(struct fault_env *e)
{
    struct quire_txn *txn = NULL;

    open_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_begin_timed(e->twin.db, QUIRE_WRITE, 0, &txn)))
        CHECK(txn == NULL);
    quire_abort(txn);
}

static void on_begin_at_time(struct fault_env *e)
{
    open_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_begin_at_time(e->twin.db, INT64_MAX, &e->reader)))
        CHECK_EQ(quire_txn_rev(e->reader), e->twin.published);
    else
        CHECK(e->reader == NULL);
}

/* The index is asked, not only what was committed last. */
static void on_begin_at_moment(struct fault_env *e)
{
    struct quire_rev_info info = { .size = sizeof(info) };

    open_shop(e);
    CHECK_OK(quire_rev_info(e->twin.db, 9, &info));
    fault_env_arm(e);
    if (fault_saw(e, quire_begin_at_time(e->twin.db, info.time_us, &e->reader)))
        CHECK(quire_txn_rev(e->reader) >= 9);
    else
        CHECK(e->reader == NULL);
}

static void on_commit(struct fault_env *e)
{
    write_shop(e);
    CHECK(put_series(e, 190, 300));
    CHECK_OK(twin_put_gen(&e->twin, "one", "other", 5, 9000, &e->rand));
    fault_env_arm(e);
    fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_commit_nosync(struct fault_env *e)
{
    write_shop(e);
    CHECK(put_series(e, 0, 5));
    fault_env_arm(e);
    fault_saw(e, twin_commit(&e->twin, QUIRE_NOSYNC));
}

static void on_abort(struct fault_env *e)
{
    write_shop(e);
    CHECK(put_series(e, 100, 260));
    CHECK_OK(twin_put_gen(&e->twin, NULL, "huge", 4, 700 << 10, &e->rand));
    fault_env_arm(e);
    twin_abort(&e->twin);
}

static void on_txn_rev(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);

    fault_env_arm(e);
    CHECK_EQ(quire_txn_rev(txn), 2);
}

static void on_sync(struct fault_env *e)
{
    write_shop(e);
    CHECK(put_series(e, 0, 5));
    CHECK_OK(twin_commit(&e->twin, QUIRE_NOSYNC));
    fault_env_arm(e);
    fault_saw(e, twin_sync(&e->twin));
}

static void on_rev_newest(struct fault_env *e)
{
    quire_rev rev = 0;

    open_shop(e);
    fault_env_arm(e);
    CHECK_OK(quire_rev_newest(e->twin.db, &rev));
    CHECK_EQ(rev, 2);
}

static void on_rev_info(struct fault_env *e)
{
    struct quire_rev_info info = { .size = sizeof(info) };

    open_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_rev_info(e->twin.db, 7, &info)))
        CHECK_EQ(info.rev, 7);
}

static void on_stat_get(struct fault_env *e)
{
    struct quire_stat st = { .size = sizeof(st) };

    open_shop(e);
    fault_env_arm(e);
    CHECK_OK(quire_stat_get(e->twin.db, &st)); /* a figure may be missing */
    CHECK_EQ(st.rev, 2);
}

static void on_set_versioning(struct fault_env *e)
{
    struct quire_stat st = { .size = sizeof(st) };
    quire_status rc;

    open_shop(e);
    CHECK_OK(quire_stat_get(e->twin.db, &st));
    CHECK_EQ(st.versioning, QUIRE_VERSIONING_ADAPTIVE);
    fault_env_arm(e);
    rc = twin_set_versioning(&e->twin, QUIRE_VERSIONING_SLIDING, 7);
    CHECK_OK(quire_stat_get(e->twin.db, &st));
    if (fault_saw(e, rc)) {
        CHECK_EQ(st.versioning, QUIRE_VERSIONING_SLIDING);
        CHECK_EQ(st.window, 7);
    } else if (rc != QUIRE_UNDECIDED) {
        CHECK_EQ(st.versioning, QUIRE_VERSIONING_ADAPTIVE);
    }
}

static void on_verify(struct fault_env *e)
{
    struct quire_verify_report report = { .size = sizeof(report) };
    quire_status rc;

    open_shop(e);
    fault_env_arm(e);
    rc = quire_verify(e->twin.db, NULL, NULL, &report);
    if (rc == QUIRE_CORRUPT) /* what can't be read is a fault of the file */
        CHECK((e->point >= 0 || (e->kinds & FAULT_BIT(FAULT_PREAD)) != 0) &&
              report.faults > 0);
    else if (fault_saw(e, rc))
        CHECK_EQ(report.faults, 0);
}

/* ---- trees ---- */

static void on_tree_open(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_tree *tree = NULL;

    fault_env_arm(e);
    if (!fault_saw(e, quire_tree_open(txn, "one", 0, &tree)))
        CHECK(tree == NULL);
}

static void on_tree_create(struct fault_env *e)
{
    struct quire_tree *tree = NULL;

    write_shop(e);
    fault_env_arm(e);
    /* Not through the twin: the transaction is aborted afterwards. */
    if (!fault_saw(
            e, quire_tree_open(e->twin.txn, "two", QUIRE_TREE_CREATE, &tree)))
        CHECK(tree == NULL);
}

static void on_tree_drop(struct fault_env *e)
{
    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, twin_tree_drop(&e->twin, "one")))
        fault_saw(e, twin_commit(&e->twin, 0));
}

/* Gives bytes that are counted, so that the model can be told. */
static quire_status give_bytes(void *arg, void *buf, size_t nbytes)
{
    uint64_t *at = arg;
    uint8_t *to = buf;

    for (size_t i = 0; i < nbytes; i++)
        to[i] = (uint8_t)(*at)++;
    return QUIRE_OK;
}

static void on_put_from(struct fault_env *e)
{
    static uint8_t whole[600000]; /* three pieces */
    struct quire_val key = val_of("large/from");
    struct quire_val val = { whole, sizeof(whole) };
    uint64_t at = 0;

    for (size_t i = 0; i < sizeof(whole); i++)
        whole[i] = (uint8_t)i;
    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_put_from(e->twin.txn, NULL, &key, sizeof(whole),
                                     give_bytes, &at)))
        return;
    (void)model_put(e->twin.model, NULL, &key, &val);
    fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_tree_rename(struct fault_env *e)
{
    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_tree_rename(e->twin.txn, "one", "other")))
        return;
    model_tree_rename(e->twin.model, "one", "other");
    fault_saw(e, twin_commit(&e->twin, 0));
}

/* Change records, which the model does not learn of: they are undone. */
static bool change_some(struct fault_env *e)
{
    struct quire_val to = val_of("series/000150");
    struct quire_val from = val_of("series/000020");
    uint64_t n;

    return fault_saw(e, quire_del_range(e->twin.txn, NULL, &from, &to, &n)) &&
           fault_saw(e, quire_put(e->twin.txn, NULL, &from, &to, 0)) &&
           fault_saw(e, quire_tree_drop(e->twin.txn, "one"));
}

static void on_savepoint_set(struct fault_env *e)
{
    quire_savepoint sp;

    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_savepoint_set(e->twin.txn, &sp)) || !change_some(e))
        return;
    CHECK_OK(quire_savepoint_rollback(e->twin.txn, sp));
    fault_saw(e, twin_commit(&e->twin, 0));
}

/* Going back asks for nothing, so that nothing can refuse it. */
static void on_savepoint_rollback(struct fault_env *e)
{
    quire_savepoint sp;

    write_shop(e);
    CHECK_OK(quire_savepoint_set(e->twin.txn, &sp));
    CHECK(change_some(e));
    fault_env_arm(e);
    CHECK_OK(quire_savepoint_rollback(e->twin.txn, sp));
    CHECK_OK(quire_savepoint_rollback(e->twin.txn, sp)); /* it stays set */
    quire_abort(e->twin.txn);
    e->twin.txn = NULL;
}

static void on_savepoint_release(struct fault_env *e)
{
    quire_savepoint outer, inner;

    write_shop(e);
    CHECK_OK(quire_savepoint_set(e->twin.txn, &outer));
    CHECK_OK(quire_savepoint_set(e->twin.txn, &inner));
    CHECK(change_some(e));
    fault_env_arm(e);
    CHECK_OK(quire_savepoint_release(e->twin.txn, inner));
    CHECK_OK(quire_savepoint_rollback(e->twin.txn, outer));
    CHECK_OK(quire_savepoint_release(e->twin.txn, outer));
    quire_abort(e->twin.txn);
    e->twin.txn = NULL;
}

static void on_tree_next(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    char name[QUIRE_NAME_MAX + 1];

    fault_env_arm(e);
    if (fault_saw(e, quire_tree_next(txn, NULL, name)))
        CHECK_STR_EQ(name, "one");
}

static void on_tree_count(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    uint64_t n = 0;

    fault_env_arm(e);
    if (fault_saw(e, quire_tree_count(txn, NULL, &n)))
        CHECK_EQ(n, NSERIES + 2);
}

static void on_tree_stat_get(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_tree_stat st = { .size = sizeof(st) };

    fault_env_arm(e);
    if (fault_saw(e, quire_tree_stat_get(txn, NULL, &st))) {
        CHECK_EQ(st.records, NSERIES + 2);
        CHECK(st.leaf_pages > 1 && st.inner_pages > 0);
    }
}

static void on_tree_set_meta(struct fault_env *e)
{
    struct quire_val meta = val_of("columns=c,d,e");

    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, twin_set_meta(&e->twin, "one", &meta)))
        fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_tree_get_meta(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_tree *tree = NULL;
    char buf[16];
    size_t size = 0;

    fault_env_arm(e);
    if (fault_saw(e, quire_tree_open(txn, "one", 0, &tree)) &&
        fault_saw(e, quire_tree_get_meta(txn, tree, buf, sizeof(buf), &size))) {
        CHECK_EQ(size, 11);
        CHECK_MEM_EQ(buf, "columns=a,b", 11);
    }
}

/* ---- records ---- */

static void on_put(struct fault_env *e)
{
    write_shop(e);
    fault_env_arm(e);
    if (put_series(e, 120, 124) && put_series(e, 500, 540) &&
        fault_saw(e,
                  twin_put_gen(&e->twin, NULL, "large", 5, 30000, &e->rand)) &&
        fault_saw(e,
                  twin_put_gen(&e->twin, NULL, "huge", 4, 520 << 10, &e->rand)))
        fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_del(struct fault_env *e)
{
    write_shop(e);
    fault_env_arm(e);
    for (unsigned i = 20; i < 170; i++) {
        char key[32];
        struct quire_val k = { key, series_key(i, key, sizeof(key)) };

        if (!fault_saw(e, twin_del(&e->twin, NULL, &k)))
            return;
    }
    fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_get(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_val key = val_of("series/000077");
    struct quire_val large = val_of("large");
    struct quire_val val = { NULL, 0 };

    fault_env_arm(e);
    if (fault_saw(e, quire_get(txn, NULL, &key, &val)))
        same(want(e, "series/000077"), val.data, val.size, 0);
    if (fault_saw(e, quire_get(txn, NULL, &large, &val)))
        same(want(e, "large"), val.data, val.size, 0);
}

static void on_read(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_val key = val_of("huge");
    static uint8_t buf[600 << 10];
    uint64_t size = 0;

    fault_env_arm(e);
    if (fault_saw(e,
                  quire_read(txn, NULL, &key, 300, buf, sizeof(buf), &size))) {
        CHECK_EQ(size, sizeof(buf));
        same(want(e, "huge"), buf, sizeof(buf) - 300, 300);
    }
}

static void on_get_many(struct fault_env *e)
{
    static const char *const keys[] = { "series/000003", "large",
                                        "series/000199", "huge", "none" };
    struct quire_txn *txn = read_shop(e);
    static uint8_t buf[ARRAY_LEN(keys)][4096];
    struct quire_lookup look[ARRAY_LEN(keys)];

    memset(look, 0, sizeof(look));
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        look[i].key = val_of(keys[i]);
        look[i].buf = buf[i];
        look[i].cap = sizeof(buf[i]);
    }
    fault_env_arm(e);
    if (!fault_saw(e, quire_get_many(txn, NULL, look, ARRAY_LEN(look))))
        return;
    for (unsigned i = 0; i < 4; i++) {
        const struct model_rec *r = want(e, keys[i]);

        CHECK_OK(look[i].status);
        CHECK_EQ(look[i].size, r->val_len);
        same(r, buf[i], look[i].size < 4096 ? look[i].size : 4096, 0);
    }
    CHECK_STATUS(look[4].status, QUIRE_NOTFOUND);
}

static void on_get_bound(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_val key = val_of("series/000077+");
    struct quire_val found = { NULL, 0 };
    struct quire_val val = { NULL, 0 };

    fault_env_arm(e);
    if (!fault_saw(
            e, quire_get_bound(txn, NULL, QUIRE_SEEK_LE, &key, &found, &val)))
        return;
    CHECK_EQ(found.size, 13);
    CHECK_MEM_EQ(found.data, "series/000077", 13);
    same(want(e, "series/000077"), val.data, val.size, 0);
}

static void on_count_range(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_val from = val_of("series/000010");
    struct quire_val to = val_of("series/000190");
    uint64_t n = 0;

    fault_env_arm(e);
    if (fault_saw(e, quire_count_range(txn, NULL, &from, &to, &n)))
        CHECK_EQ(n, 180);
}

static void on_del_range(struct fault_env *e)
{
    struct quire_val from = val_of("series/000010");
    struct quire_val to = val_of("series/000190");
    uint64_t n = 0;

    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_del_range(e->twin.txn, NULL, &from, &to, &n)))
        return;
    CHECK_EQ(n, 180);
    for (unsigned i = 10; i < 190; i++) {
        char key[32];
        struct quire_val k = { key, series_key(i, key, sizeof(key)) };

        CHECK(model_del(e->twin.model, NULL, &k));
    }
    fault_saw(e, twin_commit(&e->twin, 0));
}

/* The value that the calls below store. */
static const struct quire_val other = { "another value", 13 };

/* The call has stored `other` under `key`: so does the model; commit. */
static void stored(struct fault_env *e, const char *key)
{
    struct quire_val k = val_of(key);

    (void)model_put(e->twin.model, NULL, &k, &other);
    fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_put_labeled(struct fault_env *e)
{
    static const struct quire_val label = { "of its own", 10 };
    struct quire_val key = val_of("series/000077+");

    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, twin_put_labeled(&e->twin, NULL, &key, &other, &label, 0)))
        fault_saw(e, twin_commit(&e->twin, 0));
}

/* Of an overflow value, and one that a record has taken away. */
static void on_set_label(struct fault_env *e)
{
    static const struct quire_val label = { "of a large one", 14 };
    static const struct quire_val none = { NULL, 0 };
    struct quire_val key = val_of("huge");

    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, twin_set_label(&e->twin, NULL, &key, &label)))
        return;
    key = val_of("series/000003");
    if (fault_saw(e, twin_set_label(&e->twin, NULL, &key, &none)))
        fault_saw(e, twin_commit(&e->twin, 0));
}

static void on_get_label(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_val key = val_of("series/000003");
    uint8_t buf[QUIRE_LABEL_MAX];
    size_t size = 0;

    fault_env_arm(e);
    if (!fault_saw(e,
                   quire_get_label(txn, NULL, &key, buf, sizeof(buf), &size)))
        return;
    CHECK_EQ(size, 6);
    CHECK_MEM_EQ(buf, "000003", 6);
}

static void on_put_if(struct fault_env *e)
{
    const struct model_rec *r = want(e, "huge");
    struct quire_val key = val_of("huge");
    struct quire_val old = { model_val(r), r->val_len };

    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_put_if(e->twin.txn, NULL, &key, &old, &other)))
        stored(e, "huge");
}

static void on_swap(struct fault_env *e)
{
    struct quire_val key = val_of("large");
    static uint8_t buf[20000];
    uint64_t size = 0;

    write_shop(e);
    fault_env_arm(e);
    if (!fault_saw(e, quire_swap(e->twin.txn, NULL, &key, &other, buf,
                                 sizeof(buf), &size)))
        return;
    same(want(e, "large"), buf, size, 0);
    stored(e, "large");
}

static int update_small(void *arg, struct quire_update *up,
                        const struct quire_val *old, struct quire_val *val)
{
    struct fault_env *e = arg;

    (void)up;
    same(want(e, "series/000042"), old->data, old->size, 0);
    *val = other;
    return QUIRE_VERDICT_STORE;
}

static void on_update(struct fault_env *e)
{
    struct quire_val key = val_of("series/000042");

    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_update(e->twin.txn, NULL, &key, update_small, e)))
        stored(e, "series/000042");
}

/* The row is for reading; the verdict is what that said. */
static int update_huge(void *arg, struct quire_update *up,
                       const struct quire_val *old, struct quire_val *val)
{
    struct fault_env *e = arg;
    static uint8_t buf[300 << 10];
    uint64_t size = 0;
    quire_status rc = quire_update_read(up, 1000, buf, sizeof(buf), &size);

    if (rc != QUIRE_OK)
        return rc;
    CHECK_EQ(size, old->size);
    same(want(e, "huge"), buf, sizeof(buf), 1000);
    *val = other;
    return QUIRE_VERDICT_STORE;
}

static void on_update_read(struct fault_env *e)
{
    struct quire_val key = val_of("huge");

    write_shop(e);
    fault_env_arm(e);
    if (fault_saw(e, quire_update(e->twin.txn, NULL, &key, update_huge, e)))
        stored(e, "huge");
}

/* ---- cursors ---- */

static struct quire_cursor *cursor_shop(struct fault_env *e, quire_seek how,
                                        const char *key)
{
    struct quire_cursor *cur = NULL;
    struct quire_val k = val_of(key);

    CHECK_OK(quire_cursor_open(read_shop(e), NULL, &cur));
    CHECK_OK(quire_cursor_seek(cur, how, &k));
    return cur;
}

static void on_cursor_open(struct fault_env *e)
{
    struct quire_txn *txn = read_shop(e);
    struct quire_cursor *cur = NULL;

    fault_env_arm(e);
    if (!fault_saw(e, quire_cursor_open(txn, NULL, &cur)))
        CHECK(cur == NULL);
}

static void on_cursor_close(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_FIRST, "");

    fault_env_arm(e);
    quire_cursor_close(cur);
}

static void on_cursor_seek(struct fault_env *e)
{
    struct quire_cursor *cur = NULL;
    struct quire_val key = val_of("series/000100");

    CHECK_OK(quire_cursor_open(read_shop(e), NULL, &cur));
    fault_env_arm(e);
    fault_saw(e, quire_cursor_seek(cur, QUIRE_SEEK_GE, &key));
    fault_saw(e, quire_cursor_seek(cur, QUIRE_SEEK_LAST, NULL));
}

/* Whatever was said before, it may be asked again. */
static void ask_again(quire_status rc)
{
    CHECK_NE(rc, QUIRE_MISUSE);
}

/* To the end, over every leaf. */
static void walk(struct fault_env *e, struct quire_cursor *cur, bool forward)
{
    unsigned n = 1;
    quire_status rc;

    fault_env_arm(e);
    do {
        rc = forward ? quire_cursor_next(cur) : quire_cursor_prev(cur);
        n += rc == QUIRE_OK;
    } while (rc == QUIRE_OK);
    if (rc == QUIRE_NOTFOUND)
        CHECK_EQ(n, NSERIES + 2);
    else
        fault_saw(e, rc);
}

static void on_cursor_next(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_FIRST, "");

    walk(e, cur, true);
    ask_again(quire_cursor_next(cur));
}

static void on_cursor_prev(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_LAST, "");

    walk(e, cur, false);
    ask_again(quire_cursor_prev(cur));
}

static void on_cursor_get(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_EQ, "large");
    struct quire_val key;
    struct quire_val val;

    fault_env_arm(e);
    if (fault_saw(e, quire_cursor_get(cur, &key, &val)))
        same(want(e, "large"), val.data, val.size, 0);
}

static void on_cursor_get_label(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_EQ, "series/000006");
    struct quire_val label = { NULL, 0 };

    fault_env_arm(e);
    if (!fault_saw(e, quire_cursor_get_label(cur, &label)))
        return;
    CHECK_EQ(label.size, 6);
    CHECK_MEM_EQ(label.data, "000006", 6);
}

static void on_cursor_read(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_shop(e, QUIRE_SEEK_EQ, "huge");
    static uint8_t buf[300 << 10];
    uint64_t size = 0;

    fault_env_arm(e);
    if (fault_saw(e, quire_cursor_read(cur, 1000, buf, sizeof(buf), &size)))
        same(want(e, "huge"), buf, sizeof(buf), 1000);
}

static void on_cursor_next_many(struct fault_env *e)
{
    static uint8_t buf[QUIRE_PAGE_DEFAULT];
    struct quire_record records[16];
    struct quire_cursor *cur = NULL;
    unsigned total = 0;
    quire_status rc;

    CHECK_OK(quire_cursor_open(read_shop(e), NULL, &cur));
    fault_env_arm(e);
    do {
        size_t n = 0;

        rc = quire_cursor_next_many(cur, records, ARRAY_LEN(records), buf,
                                    sizeof(buf), &n);
        total += rc == QUIRE_OK ? (unsigned)n : 0;
    } while (rc == QUIRE_OK);
    if (rc == QUIRE_NOTFOUND)
        CHECK_EQ(total, NSERIES + 2);
    else
        fault_saw(e, rc);
}

static struct quire_cursor *cursor_write(struct fault_env *e)
{
    struct quire_cursor *cur = NULL;

    write_shop(e);
    CHECK_OK(quire_cursor_open(e->twin.txn, NULL, &cur));
    return cur;
}

static void on_cursor_put(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_write(e);
    struct quire_val key = val_of("series/000077+");

    fault_env_arm(e);
    if (fault_saw(e, quire_cursor_put(cur, &key, &other, 0)))
        stored(e, "series/000077+");
}

static void on_cursor_del(struct fault_env *e)
{
    struct quire_cursor *cur = cursor_write(e);
    struct quire_val key = val_of("series/000077");

    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_EQ, &key));
    fault_env_arm(e);
    if (!fault_saw(e, quire_cursor_del(cur)))
        return;
    CHECK(model_del(e->twin.model, NULL, &key));
    fault_saw(e, twin_commit(&e->twin, 0));
}

/* ---- the page cache ---- */

struct shelf {
    struct quire_pool *pool;
    struct quire_cache *cache;
    unsigned removed;
};

static quire_status shelf_load(void *ctx, uint64_t key, void *arg,
                               struct quire_page *page)
{
    struct shelf *s = ctx;
    quire_status rc = quire_pool_alloc(s->pool, 8192, &page->payload);

    (void)arg;
    if (rc != QUIRE_OK)
        return rc;
    memcpy(page->payload, &key, sizeof(key));
    page->weight_bytes = 8192;
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

static void shelf_removed(void *ctx, uint64_t key,
                          const struct quire_page *page, quire_cause cause)
{
    struct shelf *s = ctx;

    (void)cause;
    CHECK_MEM_EQ(page->payload, &key, sizeof(key));
    CHECK_OK(quire_pool_free(s->pool, page->payload));
    s->removed++;
}

static quire_status pool_make(struct fault_env *e, struct shelf *s,
                              bool background)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = e->opt.budget_bytes,
        .region_bytes = e->opt.region_bytes,
        .background = background,
        .sys = &e->fault.sys,
    };

    memset(s, 0, sizeof(*s));
    return quire_pool_create(&opt, &s->pool);
}

static struct quire_cache_options cache_options(struct shelf *s)
{
    return (struct quire_cache_options){
        .size = sizeof(struct quire_cache_options),
        .max_pages = 64,
        .load = shelf_load,
        .removed = shelf_removed,
        .ctx = s,
    };
}

static void shelf_make(struct fault_env *e, struct shelf *s)
{
    struct quire_cache_options opt = cache_options(s);

    CHECK_OK(pool_make(e, s, false));
    CHECK_OK(quire_cache_create(s->pool, &opt, &s->cache));
}

/* Nothing fails any more: nothing is pinned, pages come and go, and all that
 * was taken is given back. */
static void shelf_settle(struct fault_env *e, struct shelf *s)
{
    struct quire_cache_stat cst = { .size = sizeof(cst) };
    struct quire_pool_stat pst = { .size = sizeof(pst) };
    struct quire_pin pin;
    void *seg = NULL;

    fault_env_heal(e);
    if (s->cache != NULL) {
        CHECK_OK(quire_cache_pin(s->cache, 77, NULL, NULL, &pin));
        CHECK_MEM_EQ(pin.payload, &(uint64_t){ 77 }, 8);
        quire_cache_unpin(s->cache, &pin);
        CHECK_OK(quire_cache_stat_get(s->cache, &cst));
        CHECK_EQ(cst.pinned_pages, 0);
        CHECK_EQ(cst.misuses, 0);
        CHECK_OK(quire_cache_destroy(s->cache));
    }
    if (s->pool == NULL)
        return;
    CHECK_OK(quire_pool_alloc(s->pool, QUIRE_SEG_MAX, &seg));
    memset(seg, 1, QUIRE_SEG_MAX);
    CHECK_OK(quire_pool_free(s->pool, seg));
    CHECK_OK(quire_pool_stat_get(s->pool, &pst));
    CHECK_EQ(pst.segments_in_use, 0);
    CHECK_EQ(pst.misuses, 0);
    CHECK(pst.resident_bytes <= pst.budget_bytes);
    CHECK_OK(quire_pool_destroy(s->pool));
}

static void on_cache_create(struct fault_env *e)
{
    struct shelf s;
    struct quire_cache_options opt = cache_options(&s);

    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    if (!fault_saw(e, quire_cache_create(s.pool, &opt, &s.cache)))
        CHECK(s.cache == NULL);
    shelf_settle(e, &s);
}

static void on_cache_destroy(struct fault_env *e)
{
    struct shelf s;
    struct quire_pin pin;

    shelf_make(e, &s);
    CHECK_OK(quire_cache_pin(s.cache, 1, NULL, NULL, &pin));
    quire_cache_unpin(s.cache, &pin);
    fault_env_arm(e);
    CHECK_OK(quire_cache_destroy(s.cache));
    s.cache = NULL;
    CHECK_EQ(s.removed, 1);
    shelf_settle(e, &s);
}

static void on_cache_pin(struct fault_env *e)
{
    struct shelf s;

    shelf_make(e, &s);
    fault_env_arm(e);
    for (uint64_t key = 1; key <= 3; key++) {
        struct quire_pin pin;
        uint32_t hint = QUIRE_HINT_NONE;

        if (!fault_saw(e, quire_cache_pin(s.cache, key, &hint, NULL, &pin))) {
            CHECK(pin.payload == NULL);
            continue;
        }
        CHECK_MEM_EQ(pin.payload, &key, sizeof(key));
        quire_cache_unpin(s.cache, &pin);
    }
    shelf_settle(e, &s);
}

static void on_cache_unpin(struct fault_env *e)
{
    struct shelf s;
    struct quire_pin pin;

    shelf_make(e, &s);
    CHECK_OK(quire_cache_pin(s.cache, 1, NULL, NULL, &pin));
    CHECK_OK(quire_cache_remove(s.cache, 1)); /* it leaves with the pin */
    fault_env_arm(e);
    quire_cache_unpin(s.cache, &pin);
    shelf_settle(e, &s);
    CHECK_EQ(s.removed, 2); /* this one, and that of the settling */
}

static void on_cache_census(struct fault_env *e)
{
    struct shelf s;
    struct quire_pin pin;
    uint64_t n;

    shelf_make(e, &s);
    fault_env_arm(e);
    (void)quire_cache_tag("census");
    CHECK_OK(quire_cache_census(s.cache, &n));
    CHECK_EQ(n, 0);
    if (fault_saw(e, quire_cache_pin(s.cache, 1, NULL, NULL, &pin))) {
        CHECK_OK(quire_cache_census(s.cache, &n));
        CHECK_EQ(n, 1);
        quire_cache_unpin(s.cache, &pin);
    }
    (void)quire_cache_tag(NULL);
    shelf_settle(e, &s);
}

static void on_cache_enter(struct fault_env *e)
{
    struct shelf s;

    shelf_make(e, &s);
    fault_env_arm(e);
    quire_cache_enter(s.cache);
    quire_cache_exit(s.cache);
    shelf_settle(e, &s);
}

static void on_cache_get(struct fault_env *e)
{
    struct shelf s;
    struct quire_pin pin;

    shelf_make(e, &s);
    CHECK_OK(quire_cache_pin(s.cache, 1, NULL, NULL, &pin));
    quire_cache_unpin(s.cache, &pin);
    fault_env_arm(e);
    quire_cache_enter(s.cache);
    CHECK(quire_cache_get(s.cache, 1, NULL) == pin.payload);
    CHECK(quire_cache_get(s.cache, 2, NULL) == NULL);
    quire_cache_exit(s.cache);
    shelf_settle(e, &s);
}

static void on_cache_insert(struct fault_env *e)
{
    struct shelf s;
    struct quire_page page;

    shelf_make(e, &s);
    CHECK_OK(shelf_load(&s, 5, NULL, &page));
    fault_env_arm(e);
    if (!fault_saw(e, quire_cache_insert(s.cache, 5, &page)))
        CHECK_OK(quire_pool_free(s.pool, page.payload)); /* still ours */
    shelf_settle(e, &s);
}

static void on_cache_remove(struct fault_env *e)
{
    struct shelf s;
    struct quire_pin pin;

    shelf_make(e, &s);
    CHECK_OK(quire_cache_pin(s.cache, 1, NULL, NULL, &pin));
    quire_cache_unpin(s.cache, &pin);
    fault_env_arm(e);
    CHECK_OK(quire_cache_remove(s.cache, 1));
    CHECK_STATUS(quire_cache_remove(s.cache, 1), QUIRE_NOTFOUND);
    shelf_settle(e, &s);
}

static void on_cache_stat_get(struct fault_env *e)
{
    struct quire_cache_stat st = { .size = sizeof(st) };
    struct shelf s;

    shelf_make(e, &s);
    fault_env_arm(e);
    CHECK_OK(quire_cache_stat_get(s.cache, &st));
    shelf_settle(e, &s);
}

/* ---- the region allocator ---- */

static void on_pool_create(struct fault_env *e)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = e->opt.budget_bytes,
        .background = true,
        .sys = &e->fault.sys,
    };
    struct shelf s = { 0 };

    fault_env_arm(e);
    if (!fault_saw(e, quire_pool_create(&opt, &s.pool)))
        CHECK(s.pool == NULL);
    shelf_settle(e, &s);
}

static void on_pool_destroy(struct fault_env *e)
{
    struct shelf s;
    void *seg;

    CHECK_OK(pool_make(e, &s, true));
    CHECK_OK(quire_pool_alloc(s.pool, 4096, &seg));
    CHECK_OK(quire_pool_free(s.pool, seg));
    fault_env_arm(e);
    CHECK_OK(quire_pool_destroy(s.pool));
}

/* One of each class and more, all given back. */
static void take_some(struct fault_env *e, struct shelf *s)
{
    void *seg[24];
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(seg); i++) {
        size_t nbytes = QUIRE_SEG_MIN << (i % QUIRE_SEG_CLASSES);

        if (!fault_saw(e, quire_pool_alloc(s->pool, nbytes, &seg[n])))
            CHECK(seg[n] == NULL);
        else
            memset(seg[n++], 7, nbytes);
    }
    while (n > 0)
        CHECK_OK(quire_pool_free(s->pool, seg[--n]));
}

static void on_pool_alloc(struct fault_env *e)
{
    struct shelf s;
    void *seg = NULL;

    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    if (fault_saw(e, quire_pool_alloc(s.pool, 1, &seg)))
        CHECK_OK(quire_pool_free(s.pool, seg));
    take_some(e, &s);
    shelf_settle(e, &s);
}

static void on_pool_free(struct fault_env *e)
{
    struct shelf s;
    void *seg = NULL;

    CHECK_OK(pool_make(e, &s, false));
    CHECK_OK(quire_pool_alloc(s.pool, 70000, &seg));
    fault_env_arm(e);
    CHECK_OK(quire_pool_free(s.pool, seg));
    shelf_settle(e, &s);
}

static uint64_t no_pressure(void *arg, uint64_t nbytes)
{
    (void)arg;
    (void)nbytes;
    return 0;
}

static void on_pool_set_pressure(struct fault_env *e)
{
    struct shelf s;

    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    CHECK_OK(quire_pool_set_pressure(s.pool, no_pressure, NULL));
    shelf_settle(e, &s);
}

/* Three of ten segments stay, so that neighbours are given back one by one. */
static void sparse(struct shelf *s, void *kept[30])
{
    void *seg[100];

    for (unsigned i = 0; i < ARRAY_LEN(seg); i++)
        CHECK_OK(quire_pool_alloc(s->pool, 16384, &seg[i]));
    for (unsigned i = 0, n = 0; i < ARRAY_LEN(seg); i++) {
        if (i % 10 < 3)
            kept[n++] = seg[i];
        else
            CHECK_OK(quire_pool_free(s->pool, seg[i]));
    }
}

static void on_pool_set_budget(struct fault_env *e)
{
    struct quire_pool_stat st = { .size = sizeof(st) };
    uint64_t less = e->opt.budget_bytes;
    unsigned n = (unsigned)(less / QUIRE_SEG_MAX) + 4;
    void **seg = calloc(n, sizeof(*seg));
    struct shelf s;

    CHECK(seg != NULL);
    e->opt.budget_bytes = 2 * less;
    e->opt.region_bytes = (uint32_t)(less / 8);
    CHECK_OK(pool_make(e, &s, false));
    e->opt.budget_bytes = less;
    e->opt.region_bytes = 0;
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(quire_pool_alloc(s.pool, QUIRE_SEG_MAX, &seg[i]));
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(quire_pool_free(s.pool, seg[i]));
    free(seg);
    fault_env_arm(e);
    if (!fault_saw(e, quire_pool_set_budget(s.pool, less))) {
        CHECK_OK(quire_pool_stat_get(s.pool, &st));
        CHECK_EQ(st.budget_bytes, 2 * less);
    }
    shelf_settle(e, &s);
}

static void on_pool_sweep(struct fault_env *e)
{
    struct shelf s;
    void *kept[30];

    CHECK_OK(pool_make(e, &s, false));
    sparse(&s, kept);
    (void)quire_pool_sweep(s.pool); /* idle is what a pass has seen */
    fault_env_arm(e);
    (void)quire_pool_sweep(s.pool);
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        CHECK_OK(quire_pool_free(s.pool, kept[i]));
    (void)quire_pool_sweep(s.pool);
    shelf_settle(e, &s);
}

static void on_pool_stat_get(struct fault_env *e)
{
    struct quire_pool_stat st = { .size = sizeof(st) };
    struct shelf s;

    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    CHECK_OK(quire_pool_stat_get(s.pool, &st));
    shelf_settle(e, &s);
}

/* A large budget has what a small one does without: magazines of the threads,
 * huge pages. */
static void on_pool_large(struct fault_env *e)
{
    struct shelf s;
    void *kept[30];

    e->opt.budget_bytes = 256 * MIB;
    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    take_some(e, &s);
    take_some(e, &s);
    fault_env_heal(e);
    sparse(&s, kept);
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        CHECK_OK(quire_pool_free(s.pool, kept[i]));
    shelf_settle(e, &s);
}

/* Its tables lie in huge pages. */
static void on_cache_large(struct fault_env *e)
{
    struct shelf s;
    struct quire_cache_options opt = cache_options(&s);

    e->opt.budget_bytes = 256 * MIB;
    opt.max_pages = 40000;
    CHECK_OK(pool_make(e, &s, false));
    fault_env_arm(e);
    if (!fault_saw(e, quire_cache_create(s.pool, &opt, &s.cache)))
        CHECK(s.cache == NULL);
    shelf_settle(e, &s);
}

/* A budget that becomes small gives huge pages up. */
static void on_pool_less(struct fault_env *e)
{
    struct shelf s;

    e->opt.budget_bytes = 256 * MIB;
    CHECK_OK(pool_make(e, &s, false));
    take_some(e, &s);
    fault_env_arm(e);
    (void)quire_pool_sweep(s.pool);
    (void)quire_pool_sweep(s.pool);
    if (fault_saw(e, quire_pool_set_budget(s.pool, 64 * MIB)))
        take_some(e, &s);
    shelf_settle(e, &s);
}

/* ---- the table ---- */

/* What a row must meet. */
enum meets {
    MEETS_NOTHING, /* it cannot fail: no call of the tables, no point */
    MEETS_FAILURES,
};

struct row {
    struct fault_scenario scene;
    enum meets meets;
    bool store; /* it reads a store, which short transfers do not disturb */
};

#define ROW(function, work, prepare, meets, store) \
    { \
        { #function ", " #work, prepare, on_##work }, meets, store \
    }
#define SURE MEETS_NOTHING
#define MAY MEETS_FAILURES

static const struct row rows[] = {
    ROW(quire_strerror, strerror, NULL, SURE, false),
    ROW(quire_error_detail, error_detail, NULL, SURE, false),
    ROW(quire_version, version, NULL, SURE, false),
    ROW(quire_simd, simd, NULL, SURE, false),
    ROW(quire_simd_variant, simd, NULL, SURE, false),
    ROW(quire_simd_use, simd, NULL, SURE, false),
    ROW(quire_sys_default, sys_default, NULL, SURE, false),
    ROW(quire_io_default, io_default, NULL, SURE, false),
    ROW(quire_open, open, NULL, MAY, true),
    ROW(quire_open, open, prepare_shop, MAY, true),
    ROW(quire_close, close, prepare_shop, MAY, true),
    ROW(quire_close_report, close_report, prepare_shop, MAY, true),
    ROW(quire_begin, begin, prepare_shop, MAY, true),
    ROW(quire_begin_timed, begin_timed, prepare_shop, MAY, true),
    ROW(quire_begin_at, begin_at, prepare_shop, MAY, true),
    ROW(quire_begin_at_time, begin_at_time, prepare_shop, MAY, true),
    ROW(quire_begin_at_time, begin_at_moment, prepare_indexed, MAY, true),
    ROW(quire_commit, commit, prepare_shop, MAY, true),
    ROW(quire_commit, commit_nosync, prepare_shop, MAY, true),
    ROW(quire_abort, abort, prepare_shop, SURE, true),
    ROW(quire_txn_rev, txn_rev, prepare_shop, SURE, true),
    ROW(quire_sync, sync, prepare_shop, MAY, true),
    ROW(quire_set_versioning, set_versioning, prepare_shop, MAY, true),
    ROW(quire_rev_newest, rev_newest, prepare_shop, SURE, true),
    ROW(quire_rev_info, rev_info, prepare_indexed, MAY, true),
    ROW(quire_stat_get, stat_get, prepare_shop, MAY, true),
    ROW(quire_verify, verify, prepare_shop, MAY, true),
    ROW(quire_tree_open, tree_open, prepare_shop, MAY, true),
    ROW(quire_tree_open, tree_create, prepare_shop, MAY, true),
    ROW(quire_tree_drop, tree_drop, prepare_shop, MAY, true),
    ROW(quire_tree_rename, tree_rename, prepare_shop, MAY, true),
    ROW(quire_savepoint_set, savepoint_set, prepare_shop, MAY, true),
    ROW(quire_savepoint_rollback, savepoint_rollback, prepare_shop, SURE, true),
    ROW(quire_savepoint_release, savepoint_release, prepare_shop, SURE, true),
    ROW(quire_tree_next, tree_next, prepare_shop, MAY, true),
    ROW(quire_tree_stat_get, tree_stat_get, prepare_shop, MAY, true),
    ROW(quire_tree_count, tree_count, prepare_shop, MAY, true),
    ROW(quire_tree_set_meta, tree_set_meta, prepare_shop, MAY, true),
    ROW(quire_tree_get_meta, tree_get_meta, prepare_shop, MAY, true),
    ROW(quire_put, put, prepare_shop, MAY, true),
    ROW(quire_put_from, put_from, prepare_shop, MAY, true),
    ROW(quire_put_labeled, put_labeled, prepare_shop, MAY, true),
    ROW(quire_set_label, set_label, prepare_shop, MAY, true),
    ROW(quire_get_label, get_label, prepare_shop, MAY, true),
    ROW(quire_del, del, prepare_shop, MAY, true),
    ROW(quire_get, get, prepare_shop, MAY, true),
    ROW(quire_read, read, prepare_shop, MAY, true),
    ROW(quire_get_many, get_many, prepare_shop, MAY, true),
    ROW(quire_get_bound, get_bound, prepare_shop, MAY, true),
    ROW(quire_count_range, count_range, prepare_shop, MAY, true),
    ROW(quire_del_range, del_range, prepare_shop, MAY, true),
    ROW(quire_put_if, put_if, prepare_shop, MAY, true),
    ROW(quire_swap, swap, prepare_shop, MAY, true),
    ROW(quire_update, update, prepare_shop, MAY, true),
    ROW(quire_update_read, update_read, prepare_shop, MAY, true),
    ROW(quire_cursor_open, cursor_open, prepare_shop, MAY, true),
    ROW(quire_cursor_close, cursor_close, prepare_shop, SURE, true),
    ROW(quire_cursor_seek, cursor_seek, prepare_shop, MAY, true),
    ROW(quire_cursor_next, cursor_next, prepare_shop, MAY, true),
    ROW(quire_cursor_prev, cursor_prev, prepare_shop, MAY, true),
    ROW(quire_cursor_next_many, cursor_next_many, prepare_shop, MAY, true),
    ROW(quire_cursor_put, cursor_put, prepare_shop, MAY, true),
    ROW(quire_cursor_del, cursor_del, prepare_shop, MAY, true),
    ROW(quire_cursor_get, cursor_get, prepare_shop, MAY, true),
    ROW(quire_cursor_get_label, cursor_get_label, prepare_shop, SURE, true),
    ROW(quire_cursor_read, cursor_read, prepare_shop, MAY, true),
    ROW(quire_cache_create, cache_create, NULL, MAY, false),
    ROW(quire_cache_destroy, cache_destroy, NULL, SURE, false),
    ROW(quire_cache_pin, cache_pin, NULL, MAY, false),
    ROW(quire_cache_unpin, cache_unpin, NULL, SURE, false),
    ROW(quire_cache_census, cache_census, NULL, MAY, false),
    ROW(quire_cache_tag, cache_census, NULL, MAY, false),
    ROW(quire_cache_enter, cache_enter, NULL, SURE, false),
    ROW(quire_cache_exit, cache_enter, NULL, SURE, false),
    ROW(quire_cache_get, cache_get, NULL, SURE, false),
    ROW(quire_cache_insert, cache_insert, NULL, MAY, false),
    ROW(quire_cache_remove, cache_remove, NULL, SURE, false),
    ROW(quire_cache_stat_get, cache_stat_get, NULL, SURE, false),
    ROW(quire_pool_create, pool_create, NULL, MAY, false),
    ROW(quire_pool_destroy, pool_destroy, NULL, SURE, false),
    ROW(quire_pool_alloc, pool_alloc, NULL, MAY, false),
    ROW(quire_pool_free, pool_free, NULL, SURE, false),
    ROW(quire_pool_set_pressure, pool_set_pressure, NULL, SURE, false),
    ROW(quire_pool_set_budget, pool_set_budget, NULL, MAY, false),
    ROW(quire_pool_sweep, pool_sweep, NULL, MAY, false),
    ROW(quire_pool_stat_get, pool_stat_get, NULL, SURE, false),
};

static const struct row large[] = {
    { { "quire_pool_alloc, large", NULL, on_pool_large }, MAY, false },
    { { "quire_cache_create, large", NULL, on_cache_large }, MAY, false },
    { { "quire_pool_set_budget, less", NULL, on_pool_less }, MAY, false },
};

#define SYSTEM \
    (FAULT_MEMORY | FAULT_BIT(FAULT_DECOMMIT) | FAULT_BIT(FAULT_HUGE) | \
     FAULT_BIT(FAULT_THREAD))

/* Every call that the row makes of the tables. */
static uint64_t run_calls(const struct row *r, bool ordinary)
{
    const struct fault_scenario *s = &r->scene;
    uint64_t n = 0;

    bool all = !ordinary || fault_long_form();

    n += fault_run(s, SYSTEM, ENOMEM, FAULT_ONCE, true);
    if (all)
        n += fault_run(s, SYSTEM, ENOMEM, FAULT_STICKY, true);
    if (r->store)
        n += fault_run(s, FAULT_IO, EIO, FAULT_ONCE, true);
    if (!r->store || !all)
        return n;
    n += fault_run(s, FAULT_IO, EIO, FAULT_STICKY, true);
    n += fault_run(s, FAULT_WRITES, ENOSPC, FAULT_ONCE | FAULT_TORN, true);
    n += fault_run(s, FAULT_WRITES, EDQUOT, FAULT_STICKY, true);
    if (fault_long_form())
        fault_run_short(s);
    return n;
}

/* Every failure point that it passes. */
static uint64_t run_points(const struct row *r)
{
    unsigned npoints = point_count();
    uint64_t *passed = calloc(npoints + 1u, sizeof(*passed));
    uint64_t n = 0;

    CHECK(passed != NULL);
    fault_survey(&r->scene, passed);
    if (!fault_long_form())
        fault_sample(1, 1);
    for (unsigned p = 0; p < npoints; p++) {
        if (passed[p] > 0)
            n += fault_run_point(&r->scene, p, FAULT_ONCE, false);
    }
    fault_sample(0, 0);
    free(passed);
    return n;
}

static void run_row(const struct row *r, const char *budget, bool points)
{
    uint64_t ncalls = run_calls(r, !points);
    uint64_t npoints = points ? run_points(r) : 0;

    print_message("fault: %s, %s budget: %llu calls, %llu named points\n",
                  r->scene.name, budget, (unsigned long long)ncalls,
                  (unsigned long long)npoints);
    CHECK_CASE(r->scene.name);
    if (r->meets == MEETS_NOTHING)
        CHECK_EQ(ncalls + npoints, 0);
    else if (points && point_count() > 0)
        CHECK(ncalls + npoints > 0);
}

/* All rows; of so many one where tests are slow. */
static size_t row_step(size_t one_of)
{
    return one_of / test_rounds(one_of);
}

static void test_smallest_budget(void **state)
{
    (void)state;
    fault_sizes(QUIRE_BUDGET_MIN, QUIRE_PAGE_MIN);
    for (size_t i = 0; i < ARRAY_LEN(rows); i += row_step(2))
        run_row(&rows[i], "smallest", true);
}

static void test_ordinary_budget(void **state)
{
    (void)state;
    fault_sizes(QUIRE_BUDGET_DEFAULT, QUIRE_PAGE_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i += row_step(4))
        run_row(&rows[i], "ordinary", false);
    fault_sizes(QUIRE_BUDGET_MIN, QUIRE_PAGE_MIN);
}

static void test_large_budget(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(large); i++)
        run_row(&large[i], "large", true);
}

/* ---- as a program that embeds quire would do it ---- */

/* A day's work: what is acknowledged, or 0. */
static quire_rev embedder_work(const struct quire_options *opt)
{
    struct quire_val key = { "order", 5 };
    struct quire_val val = { "a dozen", 7 };
    struct quire_txn *txn = NULL;
    struct quire *db = NULL;
    quire_rev rev = 0;
    quire_status rc = quire_open("shop.quire", opt, &db);

    if (rc == QUIRE_OK)
        rc = quire_begin(db, QUIRE_WRITE, &txn);
    if (rc == QUIRE_OK)
        rc = quire_put(txn, NULL, &key, &val, 0);
    if (rc == QUIRE_OK) {
        rc = quire_commit(txn, 0, &rev);
        txn = NULL;
    }
    quire_abort(txn);
    (void)quire_close(db); /* what is acknowledged is durable already */
    return rc == QUIRE_OK ? rev : 0;
}

/* Afterwards the store opens, and what was acknowledged is there. */
static void embedder_check(const struct quire_options *opt, quire_rev acked)
{
    struct quire *db = NULL;
    quire_rev rev = 0;

    CHECK_OK(quire_open("shop.quire", opt, &db));
    CHECK_OK(quire_rev_newest(db, &rev));
    CHECK(rev >= acked && rev <= 1);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
}

static void test_embedder(void **state)
{
    uint64_t nth = 0;
    bool touched;

    (void)state;
    do {
        struct mem_disk *disk = mem_disk_create();
        struct fault f;
        quire_rev acked;
        struct quire_options opt = {
            .size = sizeof(opt),
            .flags = QUIRE_NOBACKGROUND,
            .budget_bytes = QUIRE_BUDGET_MIN,
            .io = &f.io,
            .sys = &f.sys,
        };

        fault_init(&f, mem_disk_io(disk), NULL);
        fault_arm(&f, FAULT_IO | FAULT_MEMORY, ++nth, EIO, FAULT_ONCE);
        acked = embedder_work(&opt);
        touched = f.fired > 0;
        CHECK(touched || acked == 1);
        fault_heal(&f);
        CHECK(fault_live_none(&f));
        embedder_check(&opt, acked);
        fault_fini(&f);
        mem_disk_destroy(disk);
    } while (touched);
    CHECK(nth > 20);
    print_message("fault: an embedder's program: %llu points\n",
                  (unsigned long long)nth - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_budget),
        cmocka_unit_test(test_ordinary_budget),
        cmocka_unit_test(test_large_budget),
        cmocka_unit_test(test_embedder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
