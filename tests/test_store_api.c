/*
 * test_store_api.c - what each call of the store answers, and above all what it
 * answers to misuse: a status, in every build, and nothing has changed.
 *
 * Stores live in memory here (lib_mem.h); files are the business of
 * test_store_files.c.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib_mem.h"
#include "tests/test.h"

#define V(s) (&(struct quire_val){ (s), sizeof(s) - 1 })

/* A store in memory, new for each test. */
struct rig {
    struct mem_disk *disk;
    struct quire_options opt;
    struct quire *db;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    CHECK(r != NULL);
    r->disk = mem_disk_create();
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = QUIRE_PAGE_MIN,
        .io = mem_disk_io(r->disk),
    };
    CHECK_OK(quire_open("db", &r->opt, &r->db));
    *state = r;
    return 0;
}

static void close_clean(struct quire *db)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
    CHECK(report.resident_peak_bytes <= QUIRE_BUDGET_MIN);
}

static int teardown(void **state)
{
    struct rig *r = *state;

    close_clean(r->db);
    mem_disk_destroy(r->disk);
    free(r);
    return 0;
}

static struct quire_txn *begin(struct quire *db, unsigned kind)
{
    struct quire_txn *txn = NULL;

    CHECK_OK(quire_begin(db, kind, &txn));
    CHECK(txn != NULL);
    return txn;
}

static quire_rev commit(struct quire_txn *txn)
{
    quire_rev rev = 0;

    CHECK_OK(quire_commit(txn, 0, &rev));
    return rev;
}

/* Put one record in a transaction of its own. */
static quire_rev put_one(struct quire *db, const char *key, const char *val)
{
    struct quire_txn *txn = begin(db, QUIRE_WRITE);

    CHECK_OK(quire_put(txn, NULL, &(struct quire_val){ key, strlen(key) },
                       &(struct quire_val){ val, strlen(val) }, 0));
    return commit(txn);
}

/* ---- opening ---- */

static void test_options_out_of_range_are_refused(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *name;
        struct quire_options opt;
        const char *word; /* that the detail names */
    } cases[] = {
        { "no size", { .size = 0 }, "size" },
        { "unknown flag", { .flags = 1u << 30 }, "flags" },
        { "budget", { .budget_bytes = QUIRE_BUDGET_MIN - 1 }, "budget" },
        { "virtual below budget", { .virtual_bytes = 1 << 20 }, "virtual" },
        { "region no power of two", { .region_bytes = 3 << 20 }, "region" },
        { "region too small", { .region_bytes = 256 << 10 }, "region" },
        { "region too large", { .region_bytes = 128 << 20 }, "region" },
        { "page no power of two", { .page_bytes = 5000 }, "page" },
        { "page too small", { .page_bytes = 2048 }, "page" },
        { "page too large", { .page_bytes = 131072 }, "page" },
        { "window 1", { .window = 1 }, "window" },
        { "window 17", { .window = 17 }, "window" },
        { "versioning 6", { .versioning = (quire_versioning)6 }, "versioning" },
        { "versioning 9", { .versioning = (quire_versioning)9 }, "versioning" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quire_options opt = cases[i].opt;
        struct quire *db = NULL;

        CHECK_CASE(cases[i].name);
        if (i > 0)
            opt.size = sizeof(opt);
        opt.io = r->opt.io;
        CHECK_STATUS(quire_open("other", &opt, &db), QUIRE_INVAL);
        CHECK(db == NULL);
        CHECK(strstr(quire_error_detail(), cases[i].word) != NULL);
        CHECK_EQ(mem_disk_files(r->disk), 1);
    }
}

static void test_flags_of_open(void **state)
{
    struct rig *r = *state;
    struct quire_options opt = r->opt;
    struct quire *db = NULL;

    opt.flags = QUIRE_NOBACKGROUND | QUIRE_NOCREATE;
    CHECK_STATUS(quire_open("new", &opt, &db), QUIRE_NOTFOUND);
    opt.flags = QUIRE_NOBACKGROUND | QUIRE_RDONLY;
    CHECK_STATUS(quire_open("new", &opt, &db), QUIRE_NOTFOUND);
    CHECK_EQ(mem_disk_files(r->disk), 1);
    opt.flags = QUIRE_NOBACKGROUND | QUIRE_EXCL;
    CHECK_OK(quire_open("new", &opt, &db));
    close_clean(db);
    db = NULL;
    CHECK_STATUS(quire_open("new", &opt, &db), QUIRE_EXISTS);
    CHECK(db == NULL);
    opt.flags = QUIRE_NOBACKGROUND | QUIRE_NOCREATE;
    CHECK_OK(quire_open("new", &opt, &db));
    close_clean(db);
}

/* What is fixed at creation is ignored later. */
static void test_geometry_is_the_files(void **state)
{
    struct rig *r = *state;
    struct quire_stat st = { .size = sizeof(st) };
    struct quire_options opt = r->opt;

    close_clean(r->db);
    opt.page_bytes = QUIRE_PAGE_MAX;
    opt.window = 16;
    opt.versioning = QUIRE_VERSIONING_FULL;
    CHECK_OK(quire_open("db", &opt, &r->db));
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK_EQ(st.page_bytes, QUIRE_PAGE_MIN);
    CHECK_EQ(st.window, QUIRE_WINDOW_DEFAULT);
    CHECK_EQ(st.versioning, QUIRE_VERSIONING_ADAPTIVE);
    CHECK_EQ(st.pool.budget_bytes, QUIRE_BUDGET_MIN);
}

/* ---- misuse ---- */

static void test_nulls_are_misuse(void **state)
{
    struct rig *r = *state;
    struct quire_stat st = { .size = sizeof(st) };
    struct quire_rev_info info = { .size = sizeof(info) };
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_txn *t = NULL;
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur = NULL;
    struct quire_val val;
    quire_rev rev;
    uint64_t n;
    size_t size;
    char name[QUIRE_NAME_MAX + 1];
    char buf[8];

    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_STATUS(quire_open(NULL, &r->opt, &(struct quire *){ NULL }),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_open("x", &r->opt, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_close(NULL));
    CHECK_STATUS(quire_begin(NULL, QUIRE_READ, &t), QUIRE_MISUSE);
    CHECK_STATUS(quire_begin(r->db, QUIRE_READ, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_begin_at(NULL, 0, &t), QUIRE_MISUSE);
    CHECK_STATUS(quire_begin_at(r->db, 0, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_commit(NULL, 0, &rev), QUIRE_MISUSE);
    quire_abort(NULL);
    CHECK_EQ(quire_txn_rev(NULL), 0);
    CHECK_STATUS(quire_sync(NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_rev_newest(NULL, &rev), QUIRE_MISUSE);
    CHECK_STATUS(quire_rev_newest(r->db, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_rev_info(NULL, 0, &info), QUIRE_MISUSE);
    CHECK_STATUS(quire_rev_info(r->db, 0, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_open(NULL, "t", 0, &tree), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_open(txn, NULL, 0, &tree), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_open(txn, "t", 0, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_drop(NULL, "t"), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_drop(txn, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_next(NULL, NULL, name), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_next(txn, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_count(NULL, NULL, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_count(txn, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_set_meta(NULL, NULL, V("m")), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_set_meta(txn, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_get_meta(NULL, NULL, buf, 8, &size), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_get_meta(txn, NULL, NULL, 8, &size), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_get_meta(txn, NULL, buf, 8, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_put(NULL, NULL, V("k"), V("v"), 0), QUIRE_MISUSE);
    CHECK_STATUS(quire_put(txn, NULL, NULL, V("v"), 0), QUIRE_MISUSE);
    CHECK_STATUS(quire_put(txn, NULL, V("k"), NULL, 0), QUIRE_MISUSE);
    CHECK_STATUS(
        quire_put(txn, NULL, &(struct quire_val){ NULL, 1 }, V("v"), 0),
        QUIRE_MISUSE);
    CHECK_STATUS(
        quire_put(txn, NULL, V("k"), &(struct quire_val){ NULL, 1 }, 0),
        QUIRE_MISUSE);
    CHECK_STATUS(quire_del(NULL, NULL, V("k")), QUIRE_MISUSE);
    CHECK_STATUS(quire_del(txn, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(NULL, NULL, V("k"), &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(txn, NULL, NULL, &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(txn, NULL, V("k"), NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_read(NULL, NULL, V("k"), 0, buf, 8, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_read(txn, NULL, NULL, 0, buf, 8, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_read(txn, NULL, V("k"), 0, NULL, 8, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_read(txn, NULL, V("k"), 0, buf, 8, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_open(NULL, NULL, &cur), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_open(txn, NULL, NULL), QUIRE_MISUSE);
    quire_cursor_close(NULL);
    CHECK_STATUS(quire_cursor_seek(NULL, QUIRE_SEEK_FIRST, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_seek(cur, QUIRE_SEEK_GE, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next(NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_prev(NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_get(NULL, &val, &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_read(NULL, 0, buf, 8, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_stat_get(NULL, &st), QUIRE_MISUSE);
    CHECK_STATUS(quire_stat_get(r->db, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_verify(NULL, NULL, NULL, NULL), QUIRE_MISUSE);
    CHECK_EQ(commit(txn), 0); /* none of it has changed anything */
}

static void test_values_out_of_range(void **state)
{
    struct rig *r = *state;
    struct quire_stat st = { .size = 4 };
    struct quire_close_report report = { .size = 1 };
    struct quire_verify_report verify = { .size = 1 };
    struct quire_rev_info info = { .size = 1 };
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_txn *t = NULL;
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur = NULL;

    CHECK_STATUS(quire_begin(r->db, 7, &t), QUIRE_INVAL);
    CHECK(t == NULL);
    CHECK_STATUS(quire_stat_get(r->db, &st), QUIRE_INVAL);
    CHECK_STATUS(quire_close_report(r->db, &report), QUIRE_INVAL);
    CHECK_STATUS(quire_verify(r->db, NULL, NULL, &verify), QUIRE_INVAL);
    CHECK_STATUS(quire_rev_info(r->db, 0, &info), QUIRE_INVAL);
    CHECK_STATUS(quire_put(txn, NULL, V("k"), V("v"), 1u << 20), QUIRE_INVAL);
    CHECK_STATUS(quire_tree_open(txn, "t", 1u << 20, &tree), QUIRE_INVAL);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_STATUS(quire_cursor_seek(cur, (quire_seek)9, V("k")), QUIRE_INVAL);
    CHECK_STATUS(quire_cursor_seek(cur, (quire_seek)-1, V("k")), QUIRE_INVAL);
    quire_abort(txn);
}

static void test_ended_handles_are_misuse(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur = NULL;
    struct quire_val val;
    uint64_t n;

    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_put(txn, tree, V("k"), V("v"), 0));
    CHECK_OK(quire_cursor_open(txn, tree, &cur));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL));
    CHECK_EQ(commit(txn), 1);

    CHECK_STATUS(quire_put(txn, NULL, V("k"), V("v"), 0), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(txn, NULL, V("k"), &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_count(txn, NULL, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_commit(txn, 0, NULL), QUIRE_MISUSE);
    CHECK_EQ(quire_txn_rev(txn), 0);
    quire_abort(txn);
    CHECK_STATUS(quire_cursor_next(cur), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_get(cur, &val, &val), QUIRE_MISUSE);
    quire_cursor_close(cur);

    /* a tree handle of the transaction before */
    txn = begin(r->db, QUIRE_READ);
    CHECK_STATUS(quire_get(txn, tree, V("k"), &val), QUIRE_MISUSE);
    CHECK_OK(quire_tree_open(txn, "t", 0, &tree));
    CHECK_OK(quire_get(txn, tree, V("k"), &val));
    quire_abort(txn);
    CHECK_STATUS(quire_get(txn, tree, V("k"), &val), QUIRE_MISUSE);
}

static void test_foreign_handles_are_misuse(void **state)
{
    struct rig *r = *state;
    struct quire *db2 = NULL;
    struct quire_txn *a = NULL;
    struct quire_txn *b = NULL;
    struct quire_txn *c = NULL;
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur = NULL;
    struct quire_val val;

    CHECK_OK(quire_open("db2", &r->opt, &db2));
    a = begin(r->db, QUIRE_WRITE);
    CHECK_OK(quire_tree_open(a, "t", QUIRE_TREE_CREATE, &tree));
    b = begin(db2, QUIRE_WRITE); /* a writer of another store is no misuse */
    c = begin(r->db, QUIRE_READ);
    CHECK_STATUS(quire_put(b, tree, V("k"), V("v"), 0), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(c, tree, V("k"), &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_open(b, tree, &cur), QUIRE_MISUSE);
    CHECK(cur == NULL);
    quire_abort(c);
    CHECK_EQ(commit(b), 0);
    CHECK_EQ(commit(a), 1);
    close_clean(db2);
}

static void test_dropped_tree_handles_are_misuse(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur = NULL;
    struct quire_val val;
    uint64_t n = 7;

    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_put(txn, tree, V("k"), V("v"), 0));
    CHECK_OK(quire_cursor_open(txn, tree, &cur));
    CHECK_OK(quire_tree_drop(txn, "t"));
    CHECK_STATUS(quire_get(txn, tree, V("k"), &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_drop(txn, "t"), QUIRE_NOTFOUND);
    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_tree_count(txn, tree, &n));
    CHECK_EQ(n, 0);
    commit(txn);
}

/* ---- writers and readers ---- */

static void test_second_writer_of_a_thread_is_misuse(void **state)
{
    struct rig *r = *state;
    struct quire_txn *a = begin(r->db, QUIRE_WRITE);
    struct quire_txn *b = NULL;

    CHECK_STATUS(quire_begin(r->db, QUIRE_WRITE, &b), QUIRE_MISUSE);
    CHECK(b == NULL);
    quire_abort(a);
    a = begin(r->db, QUIRE_WRITE);
    quire_abort(a);
}

static void *write_in_thread(void *arg)
{
    struct rig *r = arg;

    for (unsigned i = 0; i < 50; i++) {
        struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
        struct quire_val val = { NULL, 0 };
        uint64_t n = 0;
        quire_status rc = quire_get(txn, NULL, V("count"), &val);

        if (rc == QUIRE_OK) {
            CHECK_EQ(val.size, sizeof(n));
            memcpy(&n, val.data, sizeof(n));
        }
        n++;
        CHECK_OK(quire_put(txn, NULL, V("count"),
                           &(struct quire_val){ &n, sizeof(n) }, 0));
        if (i % 5 == 4)
            quire_abort(txn);
        else
            CHECK_OK(quire_commit(txn, QUIRE_NOSYNC, NULL));
    }
    return NULL;
}

/* Writers of several threads take turns, and none of their work is lost. */
static void test_writers_take_turns(void **state)
{
    struct rig *r = *state;
    pthread_t thread[4];
    struct quire_txn *txn;
    struct quire_val val;
    uint64_t n;

    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, write_in_thread, r), 0);
    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    txn = begin(r->db, QUIRE_READ);
    CHECK_EQ(quire_txn_rev(txn), 160);
    CHECK_OK(quire_get(txn, NULL, V("count"), &val));
    memcpy(&n, val.data, sizeof(n));
    CHECK_EQ(n, 160);
    quire_abort(txn);
}

static void test_read_transactions_do_not_write(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn;
    struct quire_tree *tree = NULL;

    put_one(r->db, "k", "v");
    for (unsigned at = 0; at < 2; at++) {
        txn = NULL;
        if (at == 0)
            txn = begin(r->db, QUIRE_READ);
        else
            CHECK_OK(quire_begin_at(r->db, 1, &txn));
        CHECK_STATUS(quire_put(txn, NULL, V("k"), V("v"), 0), QUIRE_READONLY);
        CHECK_STATUS(quire_del(txn, NULL, V("k")), QUIRE_READONLY);
        CHECK_STATUS(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree),
                     QUIRE_READONLY);
        CHECK_STATUS(quire_tree_open(txn, "t", 0, &tree), QUIRE_NOTFOUND);
        CHECK_STATUS(quire_tree_drop(txn, "t"), QUIRE_READONLY);
        CHECK_STATUS(quire_tree_set_meta(txn, NULL, V("m")), QUIRE_READONLY);
        CHECK_EQ(commit(txn), 1);
    }
}

static void test_close_with_open_transactions_is_busy(void **state)
{
    struct rig *r = *state;
    struct quire_txn *a = begin(r->db, QUIRE_READ);
    struct quire_txn *b = begin(r->db, QUIRE_WRITE);

    CHECK_STATUS(quire_close(r->db), QUIRE_BUSY);
    quire_abort(a);
    CHECK_STATUS(quire_close(r->db), QUIRE_BUSY);
    CHECK_OK(quire_put(b, NULL, V("k"), V("v"), 0)); /* nothing was closed */
    CHECK_EQ(commit(b), 1);
}

/* ---- commits and revisions ---- */

static void test_commits_without_changes(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    quire_rev rev = 99;

    CHECK_EQ(commit(txn), 0);
    CHECK_EQ(put_one(r->db, "k", "v"), 1);
    txn = begin(r->db, QUIRE_WRITE);
    CHECK_EQ(quire_txn_rev(txn), 1);
    CHECK_STATUS(quire_del(txn, NULL, V("absent")), QUIRE_NOTFOUND);
    CHECK_EQ(commit(txn), 1);
    txn = begin(r->db, QUIRE_WRITE);
    CHECK_OK(quire_commit(txn, QUIRE_EMPTY, &rev));
    CHECK_EQ(rev, 2);
    txn = begin(r->db, QUIRE_READ);
    CHECK_STATUS(quire_commit(txn, 1u << 9, &rev), QUIRE_MISUSE);
    CHECK_EQ(commit(txn), 2);
    CHECK_OK(quire_rev_newest(r->db, &rev));
    CHECK_EQ(rev, 2);
}

static void test_revisions_that_do_not_exist(void **state)
{
    struct rig *r = *state;
    struct quire_rev_info info = { .size = sizeof(info) };
    struct quire_txn *txn = NULL;
    struct quire_val val;

    put_one(r->db, "k", "v");
    CHECK_STATUS(quire_begin_at(r->db, 2, &txn), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_begin_at(r->db, UINT64_MAX, &txn), QUIRE_NOTFOUND);
    CHECK(txn == NULL);
    CHECK_STATUS(quire_rev_info(r->db, 2, &info), QUIRE_NOTFOUND);
    CHECK_OK(quire_begin_at(r->db, 0, &txn));
    CHECK_STATUS(quire_get(txn, NULL, V("k"), &val), QUIRE_NOTFOUND);
    CHECK_EQ(commit(txn), 0);
}

static void test_revision_times_never_fall(void **state)
{
    struct rig *r = *state;
    int64_t last = 0;
    uint64_t off = 0;

    for (unsigned i = 0; i < 40; i++) {
        put_one(r->db, "k", "v");
        if (i % 10 == 5) {
            close_clean(r->db);
            CHECK_OK(quire_open("db", &r->opt, &r->db));
        }
    }
    for (quire_rev rev = 1; rev <= 40; rev++) {
        struct quire_rev_info info = { .size = sizeof(info) };

        CHECK_OK(quire_rev_info(r->db, rev, &info));
        CHECK_EQ(info.rev, rev);
        CHECK(info.time_us >= last);
        CHECK(info.time_us > INT64_C(1600000000) * 1000000);
        CHECK(info.file_off > off);
        last = info.time_us;
        off = info.file_off;
    }
}

static void test_unsynced_commits_become_durable(void **state)
{
    struct rig *r = *state;
    struct quire_stat st = { .size = sizeof(st) };
    struct quire_txn *txn;

    put_one(r->db, "a", "1");
    for (unsigned i = 0; i < 2; i++) {
        txn = begin(r->db, QUIRE_WRITE);
        CHECK_OK(quire_put(txn, NULL, V("b"), V("2"), 0));
        CHECK_OK(quire_commit(txn, QUIRE_NOSYNC, NULL));
    }
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK_EQ(st.rev, 3);
    CHECK_EQ(st.rev_durable, 1);
    CHECK_OK(quire_sync(r->db));
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK_EQ(st.rev_durable, 3);
    txn = begin(r->db, QUIRE_WRITE);
    CHECK_OK(quire_put(txn, NULL, V("c"), V("3"), 0));
    CHECK_OK(quire_commit(txn, QUIRE_NOSYNC, NULL));
    put_one(r->db, "d", "4");
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK_EQ(st.rev_durable, 5);
}

/* ---- records ---- */

static void test_exists_and_notfound(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_val val = { NULL, 0 };
    uint64_t size = 77;
    char buf[8] = "";

    CHECK_STATUS(quire_get(txn, NULL, V("k"), &val), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_read(txn, NULL, V("k"), 0, buf, 8, &size),
                 QUIRE_NOTFOUND);
    CHECK_EQ(size, 77);
    CHECK_STATUS(quire_del(txn, NULL, V("k")), QUIRE_NOTFOUND);
    CHECK_OK(quire_put(txn, NULL, V("k"), V("one"), QUIRE_NOREPLACE));
    CHECK_STATUS(quire_put(txn, NULL, V("k"), V("two"), QUIRE_NOREPLACE),
                 QUIRE_EXISTS);
    CHECK_OK(quire_get(txn, NULL, V("k"), &val));
    CHECK_EQ(val.size, 3);
    CHECK_MEM_EQ(val.data, "one", 3);
    CHECK_OK(quire_put(txn, NULL, V("k"), V("three"), 0));
    CHECK_OK(quire_read(txn, NULL, V("k"), 1, buf, 3, &size));
    CHECK_EQ(size, 5);
    CHECK_MEM_EQ(buf, "hre", 3);
    CHECK_OK(quire_read(txn, NULL, V("k"), 5, buf, 3, &size));
    CHECK_OK(quire_read(txn, NULL, V("k"), UINT64_MAX, buf, 3, &size));
    CHECK_EQ(size, 5);
    CHECK_OK(quire_read(txn, NULL, V("k"), 0, NULL, 0, &size));
    CHECK_EQ(size, 5);
    CHECK_OK(quire_del(txn, NULL, V("k")));
    CHECK_STATUS(quire_del(txn, NULL, V("k")), QUIRE_NOTFOUND);
    CHECK_OK(quire_put(txn, NULL, V("k"), V(""), QUIRE_NOREPLACE));
    commit(txn);
}

static void test_empty_keys_and_values(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_val none = { NULL, 0 };
    struct quire_val val = { "x", 1 };
    struct quire_cursor *cur = NULL;
    struct quire_val key;
    uint64_t n = 0;

    CHECK_OK(quire_put(txn, NULL, &none, V("empty key"), 0));
    CHECK_OK(quire_put(txn, NULL, V("\0"), &none, 0));
    CHECK_OK(quire_put(txn, NULL, V("\0\0"), V("two"), 0));
    CHECK_STATUS(quire_put(txn, NULL, &none, V(""), QUIRE_NOREPLACE),
                 QUIRE_EXISTS);
    commit(txn);
    txn = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_tree_count(txn, NULL, &n));
    CHECK_EQ(n, 3);
    CHECK_OK(quire_get(txn, NULL, V("\0"), &val));
    CHECK_EQ(val.size, 0);
    CHECK_OK(quire_get(txn, NULL, V(""), &val));
    CHECK_EQ(val.size, 9);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL));
    CHECK_OK(quire_cursor_get(cur, &key, NULL));
    CHECK_EQ(key.size, 0);
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_LE, &none));
    CHECK_STATUS(quire_cursor_seek(cur, QUIRE_SEEK_LT, &none), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_GT, &none));
    CHECK_OK(quire_cursor_get(cur, &key, &val));
    CHECK_EQ(key.size, 1);
    quire_abort(txn);
}

static void test_keys_at_the_limit(void **state)
{
    struct rig *r = *state;
    size_t max = QUIRE_KEY_MAX(QUIRE_PAGE_MIN);
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_val key = { NULL, 0 };
    struct quire_val val;
    struct quire_cursor *cur = NULL;
    uint8_t *bytes = malloc(max + 1);

    CHECK(bytes != NULL);
    memset(bytes, 'x', max + 1);
    key.data = bytes;
    key.size = max;
    CHECK_OK(quire_put(txn, NULL, &key, V("longest"), 0));
    key.size = max + 1;
    CHECK_STATUS(quire_put(txn, NULL, &key, V("longer"), 0), QUIRE_TOOBIG);
    /* such a key is nowhere, and can be asked for */
    CHECK_STATUS(quire_get(txn, NULL, &key, &val), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_del(txn, NULL, &key), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_LT, &key));
    CHECK_STATUS(quire_cursor_seek(cur, QUIRE_SEEK_GE, &key), QUIRE_NOTFOUND);
    /* a page is full of them */
    for (unsigned i = 0; i < 60; i++) {
        bytes[max - 1] = (uint8_t)i;
        key.size = max;
        CHECK_OK(quire_put(txn, NULL, &key, V("v"), 0));
    }
    commit(txn);
    txn = begin(r->db, QUIRE_READ);
    for (unsigned i = 0; i < 60; i++) {
        bytes[max - 1] = (uint8_t)i;
        CHECK_OK(quire_get(txn, NULL, &key, &val));
    }
    quire_abort(txn);
    free(bytes);
}

/* Values around every limit: inline, one overflow page, several pieces. */
static void test_value_sizes(void **state)
{
    struct rig *r = *state;
    static const size_t sizes[] = {
        0,      1,      1000,   1023,   1024,   1025,    4000,
        4096,   5000,   16384,  65536,  65537,  200000,  262143,
        262144, 262145, 300000, 524288, 524289, 1048576,
    };
    uint8_t *want = malloc(1048576);
    uint8_t *got = malloc(1048576);
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    uint64_t rand = 5;

    CHECK(want != NULL && got != NULL);
    for (size_t i = 0; i < 1048576; i += 8) {
        uint64_t x = test_rand(&rand);

        memcpy(want + i, &x, 8);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t k = (uint8_t)i;

        CHECK_OK(quire_put(txn, NULL, &(struct quire_val){ &k, 1 },
                           &(struct quire_val){ want, sizes[i] }, 0));
    }
    CHECK_STATUS(quire_put(txn, NULL, V("beyond"),
                           &(struct quire_val){ want, QUIRE_VALUE_MAX + 1 }, 0),
                 QUIRE_TOOBIG);
    /* in the transaction, after its commit, and once reopened */
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            uint8_t k = (uint8_t)i;
            struct quire_val key = { &k, 1 };
            struct quire_val val = { "", 99 };
            uint64_t size = 0;
            quire_status rc = quire_get(txn, NULL, &key, &val);
            size_t at[] = { 0, 1, sizes[i] / 2, 262143, 262144 };

            CHECK_EQ(val.size, sizes[i]);
            if (sizes[i] > QUIRE_SEG_MAX)
                CHECK_STATUS(rc, QUIRE_TOOBIG);
            if (rc == QUIRE_TOOBIG) {
                CHECK(sizes[i] > QUIRE_SEG_MAX - 4096);
                CHECK(val.data == NULL);
            } else {
                CHECK_OK(rc);
                CHECK_MEM_EQ(val.data, want, sizes[i]);
            }
            for (size_t k2 = 0; k2 < ARRAY_LEN(at); k2++) {
                size_t n = at[k2] < sizes[i] ? sizes[i] - at[k2] : 0;

                CHECK_OK(
                    quire_read(txn, NULL, &key, at[k2], got, 1048576, &size));
                CHECK_EQ(size, sizes[i]);
                CHECK_MEM_EQ(got, want + at[k2], n);
            }
        }
        if (round == 0) {
            commit(txn);
        } else {
            quire_abort(txn);
            close_clean(r->db);
            CHECK_OK(quire_open("db", &r->opt, &r->db));
        }
        txn = begin(r->db, QUIRE_READ);
    }
    quire_abort(txn);
    free(want);
    free(got);
}

/* A value got without a copy stays where it is while others are read. */
static void test_values_stay_pinned(void **state)
{
    struct rig *r = *state;
    static uint8_t big[100000];
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_stat st = { .size = sizeof(st) };
    struct quire_cursor *cur = NULL;
    struct quire_txn *txn2;
    struct quire_val val;

    memset(big, 0xab, sizeof(big));
    for (uint8_t i = 0; i < 200; i++)
        CHECK_OK(quire_put(txn, NULL, &(struct quire_val){ &i, 1 },
                           &(struct quire_val){ big, sizeof(big) - i }, 0));
    commit(txn);
    txn = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_get(txn, NULL, V("\x07"), &val));
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK(st.cache.pinned_pages > 0);
    /* 20 MB go through a cache of 8 MiB meanwhile */
    txn2 = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_cursor_open(txn2, NULL, &cur));
    for (unsigned i = 0; i < 200; i++) {
        struct quire_val v;

        CHECK_OK(quire_cursor_next(cur));
        CHECK_OK(quire_cursor_get(cur, NULL, &v));
        CHECK_EQ(v.size, sizeof(big) - i);
        CHECK_MEM_EQ(v.data, big, v.size);
    }
    CHECK_STATUS(quire_cursor_next(cur), QUIRE_NOTFOUND);
    quire_abort(txn2);
    CHECK_EQ(val.size, sizeof(big) - 7);
    CHECK_MEM_EQ(val.data, big, val.size);
    quire_abort(txn);
    CHECK_OK(quire_stat_get(r->db, &st));
    CHECK_EQ(st.cache.pinned_pages, 0);
    CHECK(st.pool.resident_peak_bytes <= QUIRE_BUDGET_MIN);
}

/* ---- trees ---- */

static void test_tree_names(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_tree *tree = NULL;
    struct quire_tree *same = NULL;
    char longest[QUIRE_NAME_MAX + 2];
    char name[QUIRE_NAME_MAX + 1];

    memset(longest, 'n', sizeof(longest));
    longest[QUIRE_NAME_MAX + 1] = '\0';
    CHECK_STATUS(quire_tree_open(txn, "", QUIRE_TREE_CREATE, &tree),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_tree_open(txn, longest, QUIRE_TREE_CREATE, &tree),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_tree_open(txn, "absent", 0, &tree), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_tree_drop(txn, "absent"), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_tree_next(txn, NULL, name), QUIRE_NOTFOUND);
    longest[QUIRE_NAME_MAX] = '\0';
    CHECK_OK(quire_tree_open(txn, longest, QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_tree_open(txn, "\xff\x01 b", QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_tree_open(txn, "a", QUIRE_TREE_CREATE, &tree));
    CHECK_OK(quire_put(txn, tree, V("k"), V("v"), 0));
    CHECK_OK(quire_tree_open(txn, "a", QUIRE_TREE_CREATE, &same));
    CHECK_STATUS(quire_put(txn, same, V("k"), V("v"), QUIRE_NOREPLACE),
                 QUIRE_EXISTS);
    commit(txn);
    txn = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_tree_next(txn, NULL, name));
    CHECK_STR_EQ(name, "a");
    CHECK_OK(quire_tree_next(txn, name, name));
    CHECK_STR_EQ(name, longest);
    CHECK_OK(quire_tree_next(txn, "zzz", name));
    CHECK_STR_EQ(name, "\xff\x01 b");
    CHECK_STATUS(quire_tree_next(txn, name, name), QUIRE_NOTFOUND);
    CHECK_OK(quire_tree_next(txn, "A", name)); /* need not exist */
    CHECK_STR_EQ(name, "a");
    quire_abort(txn);
}

static void test_metadata(void **state)
{
    struct rig *r = *state;
    static uint8_t big[300000];
    static uint8_t got[300000];
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_tree *tree = NULL;
    char buf[16];
    size_t size = 55;

    memset(big, 0x5a, sizeof(big));
    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    CHECK_STATUS(quire_tree_get_meta(txn, tree, buf, 16, &size),
                 QUIRE_NOTFOUND);
    CHECK_STATUS(quire_tree_get_meta(txn, NULL, buf, 16, &size),
                 QUIRE_NOTFOUND);
    CHECK_OK(quire_tree_set_meta(txn, tree, V("")));
    CHECK_OK(quire_tree_get_meta(txn, tree, buf, 16, &size));
    CHECK_EQ(size, 0);
    CHECK_OK(quire_tree_set_meta(txn, tree, V("header,line")));
    CHECK_OK(quire_tree_set_meta(txn, NULL,
                                 &(struct quire_val){ big, sizeof(big) }));
    CHECK_EQ(commit(txn), 1);
    txn = begin(r->db, QUIRE_WRITE);
    CHECK_OK(quire_tree_drop(txn, "t"));
    CHECK_EQ(commit(txn), 2);
    CHECK_OK(quire_begin_at(r->db, 1, &txn));
    CHECK_OK(quire_tree_open(txn, "t", 0, &tree));
    CHECK_OK(quire_tree_get_meta(txn, tree, buf, 6, &size));
    CHECK_EQ(size, 11);
    CHECK_MEM_EQ(buf, "header", 6);
    CHECK_OK(quire_tree_get_meta(txn, NULL, got, sizeof(got), &size));
    CHECK_EQ(size, sizeof(big));
    CHECK_MEM_EQ(got, big, sizeof(big));
    quire_abort(txn);
    txn = begin(r->db, QUIRE_WRITE); /* a new tree has no old metadata */
    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    CHECK_STATUS(quire_tree_get_meta(txn, tree, buf, 16, &size),
                 QUIRE_NOTFOUND);
    quire_abort(txn);
}

/* ---- cursors beside changes ---- */

static void check_cursor(struct quire_cursor *cur, const char *want)
{
    struct quire_val key;

    CHECK_OK(quire_cursor_get(cur, &key, NULL));
    CHECK_EQ(key.size, strlen(want));
    CHECK_MEM_EQ(key.data, want, key.size);
}

static void test_cursors_stay_at_their_keys(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_cursor *cur = NULL;
    struct quire_cursor *other = NULL;
    struct quire_val val;

    CHECK_OK(quire_put(txn, NULL, V("b"), V("1"), 0));
    CHECK_OK(quire_put(txn, NULL, V("d"), V("2"), 0));
    CHECK_OK(quire_put(txn, NULL, V("f"), V("3"), 0));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_open(txn, NULL, &other));
    CHECK_STATUS(quire_cursor_get(cur, NULL, &val), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_prev(cur)); /* on no record: the last */
    check_cursor(cur, "f");
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_EQ, V("d")));
    CHECK_OK(quire_put(txn, NULL, V("c"), V("x"), 0));
    CHECK_OK(quire_put(txn, NULL, V("e"), V("x"), 0));
    check_cursor(cur, "d");
    CHECK_OK(quire_cursor_next(cur));
    check_cursor(cur, "e");
    CHECK_OK(quire_cursor_prev(cur));
    check_cursor(cur, "d");
    /* its record is deleted: it is there no more, but its place is */
    CHECK_OK(quire_del(txn, NULL, V("d")));
    CHECK_STATUS(quire_cursor_get(cur, NULL, &val), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_seek(other, QUIRE_SEEK_GE, V("d")));
    check_cursor(other, "e");
    CHECK_OK(quire_cursor_next(cur));
    check_cursor(cur, "e");
    CHECK_OK(quire_del(txn, NULL, V("e")));
    CHECK_OK(quire_cursor_prev(cur));
    check_cursor(cur, "c");
    /* and comes back when its record does */
    CHECK_OK(quire_put(txn, NULL, V("e"), V("again"), 0));
    CHECK_OK(quire_cursor_get(other, NULL, &val));
    CHECK_EQ(val.size, 5);
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_LAST, NULL));
    CHECK_STATUS(quire_cursor_next(cur), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_next(cur)); /* on no record: the first */
    check_cursor(cur, "b");
    quire_cursor_close(other);
    commit(txn);
}

/* ---- the rest ---- */

static void test_status_texts(void **state)
{
    (void)state;
    for (int rc = 0; rc >= QUIRE_MISMATCH; rc--) {
        const char *text = quire_strerror((quire_status)rc);

        CHECK(text != NULL && text[0] != '\0');
        CHECK(strcmp(text, "unknown status") != 0);
        for (int other = 0; other > rc; other--)
            CHECK(strcmp(text, quire_strerror((quire_status)other)) != 0);
    }
    CHECK_STR_EQ(quire_strerror((quire_status)1), "unknown status");
    CHECK_STR_EQ(quire_strerror((quire_status)-1000), "unknown status");
    CHECK_STR_EQ(quire_version(), "0.1.0");
}

static void *detail_in_thread(void *arg)
{
    (void)arg;
    CHECK_STR_EQ(quire_error_detail(), "");
    return NULL;
}

static void test_details_are_a_threads_own(void **state)
{
    struct rig *r = *state;
    struct quire *db = NULL;
    pthread_t thread;

    CHECK_STATUS(quire_open("db", &r->opt, &db), QUIRE_LOCKED);
    CHECK(strstr(quire_error_detail(), "db") != NULL);
    CHECK_EQ(pthread_create(&thread, NULL, detail_in_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

struct lines {
    pthread_mutex_t lock;
    unsigned n;   /* under lock */
    bool newline; /* under lock */
};

static void count_line(void *arg, quire_log_level level, const char *line)
{
    struct lines *l = arg;

    pthread_mutex_lock(&l->lock);
    l->n++;
    if (strchr(line, '\n') != NULL || level > QUIRE_LOG_DEBUG)
        l->newline = true;
    pthread_mutex_unlock(&l->lock);
}

static void test_log_lines(void **state)
{
    struct rig *r = *state;
    struct lines lines = { .lock = PTHREAD_MUTEX_INITIALIZER };
    struct quire_options opt = r->opt;
    struct quire *db = NULL;

    opt.log = count_line;
    opt.log_arg = &lines;
    opt.flags &= ~QUIRE_NOBACKGROUND;
    CHECK_OK(quire_open("logged", &opt, &db));
    put_one(db, "k", "v");
    close_clean(db);
    CHECK(lines.n > 0);
    CHECK(!lines.newline);
}

/* In a forked child every handle is dead, and the parent's are not. */
static void test_forked_children_are_refused(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_txn *reader = begin(r->db, QUIRE_READ);
    struct quire_cursor *cur = NULL;
    int status = -1;
    pid_t pid;

    CHECK_OK(quire_put(txn, NULL, V("k"), V("v"), 0));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct quire_stat st = { .size = sizeof(st) };
        struct quire_txn *t = NULL;
        struct quire_val val;
        unsigned wrong = 0;

        wrong += quire_begin(r->db, QUIRE_READ, &t) != QUIRE_MISUSE;
        wrong += quire_put(txn, NULL, V("k"), V("w"), 0) != QUIRE_MISUSE;
        wrong += quire_get(reader, NULL, V("k"), &val) != QUIRE_MISUSE;
        wrong += quire_cursor_next(cur) != QUIRE_MISUSE;
        wrong += quire_commit(txn, 0, NULL) != QUIRE_MISUSE;
        wrong += quire_sync(r->db) != QUIRE_MISUSE;
        wrong += quire_stat_get(r->db, &st) != QUIRE_MISUSE;
        wrong += quire_verify(r->db, NULL, NULL, NULL) != QUIRE_MISUSE;
        wrong += quire_close(r->db) != QUIRE_MISUSE;
        quire_abort(txn);
        quire_cursor_close(cur);
        /* Not by an exit, where a leak checker would look for memory in
         * mappings that a child does not inherit. */
        if (wrong == 0)
            raise(SIGKILL);
        _exit(1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    quire_abort(reader);
    CHECK_EQ(commit(txn), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_options_out_of_range_are_refused),
        TEST(test_flags_of_open),
        TEST(test_geometry_is_the_files),
        TEST(test_nulls_are_misuse),
        TEST(test_values_out_of_range),
        TEST(test_ended_handles_are_misuse),
        TEST(test_foreign_handles_are_misuse),
        TEST(test_dropped_tree_handles_are_misuse),
        TEST(test_second_writer_of_a_thread_is_misuse),
        TEST(test_writers_take_turns),
        TEST(test_read_transactions_do_not_write),
        TEST(test_close_with_open_transactions_is_busy),
        TEST(test_commits_without_changes),
        TEST(test_revisions_that_do_not_exist),
        TEST(test_revision_times_never_fall),
        TEST(test_unsynced_commits_become_durable),
        TEST(test_exists_and_notfound),
        TEST(test_empty_keys_and_values),
        TEST(test_keys_at_the_limit),
        TEST(test_value_sizes),
        TEST(test_values_stay_pinned),
        TEST(test_tree_names),
        TEST(test_metadata),
        TEST(test_cursors_stay_at_their_keys),
        TEST(test_status_texts),
        TEST(test_details_are_a_threads_own),
        TEST(test_log_lines),
        TEST(test_forked_children_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
