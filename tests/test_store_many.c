/*
 * test_store_many.c - reads without a pin: quire_read() and quire_get_many()
 * over pages that are cached, changed, not resident or gone, against what was
 * put.
 */
#include <errno.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define V(s) (&(struct quire_val){ (s), sizeof(s) - 1 })
#define NKEYS 60000u   /* three levels of small pages, larger than the budget */
#define VALUE_MAX 9000 /* bytes: some need overflow pages */

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

static int teardown(void **state)
{
    struct rig *r = *state;
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(r->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    mem_disk_destroy(r->disk);
    free(r);
    return 0;
}

/* Every third key is absent; some values are long, some empty. */
static bool is_there(uint32_t i)
{
    return i % 3 != 0 && i < NKEYS;
}

static size_t value_make(uint32_t i, uint32_t version, uint8_t *buf)
{
    size_t len = i % 1009 == 1 ? VALUE_MAX : (i * 37 + version) % 200;

    for (size_t k = 0; k < len; k++)
        buf[k] = (uint8_t)(i + version + k * 7);
    return len;
}

static size_t key_make(uint32_t i, uint8_t *buf)
{
    uint32_t mixed = i * 0x9e3779b1u; /* odd: distinct keys stay distinct */

    buf[0] = 'k';
    memcpy(buf + 1, &mixed, 4);
    return 5;
}

static void fill(struct quire_txn *txn, struct quire_tree *tree,
                 uint32_t version, uint32_t step)
{
    static uint8_t val[VALUE_MAX];
    uint8_t key[5];

    for (uint32_t i = 0; i < NKEYS; i += step) {
        struct quire_val k = { key, key_make(i, key) };
        struct quire_val v = { val, value_make(i, version, val) };

        if (is_there(i))
            CHECK_OK(quire_put(txn, tree, &k, &v, 0));
    }
}

/* A batch of `n` random keys, absent ones and twice the same among them. */
static void ask(struct quire_txn *txn, struct quire_tree *tree, unsigned n,
                uint32_t version, uint32_t step, uint64_t *rng)
{
    static uint8_t want[VALUE_MAX], got[100][VALUE_MAX];
    struct quire_lookup lookups[100];
    uint8_t keys[100][5];
    uint32_t no[100];

    for (unsigned k = 0; k < n; k++) {
        struct quire_lookup *l = &lookups[k];

        no[k] = k > 0 && test_rand_below(rng, 10) == 0
                    ? no[k - 1]
                    : (uint32_t)test_rand_below(rng, NKEYS + NKEYS / 10);
        memset(l, 0x5a, sizeof(*l));
        l->key.data = keys[k];
        l->key.size = key_make(no[k], keys[k]);
        l->cap = (size_t)test_rand_below(rng, 4) == 0
                     ? (size_t)test_rand_below(rng, 50)
                     : VALUE_MAX;
        l->buf = l->cap == 0 ? NULL : got[k];
        memset(got[k], 0xee, VALUE_MAX);
    }
    CHECK_OK(quire_get_many(txn, tree, lookups, n));
    for (unsigned k = 0; k < n; k++) {
        struct quire_lookup *l = &lookups[k];
        struct quire_val key = { keys[k], 5 };
        uint64_t size = 0;
        size_t len;

        if (!is_there(no[k])) {
            CHECK_STATUS(l->status, QUIRE_NOTFOUND);
            CHECK_EQ(l->size, 0);
            CHECK_STATUS(quire_read(txn, tree, &key, 0, NULL, 0, &size),
                         QUIRE_NOTFOUND);
            continue;
        }
        len = value_make(no[k], no[k] % step == 0 ? version : 0, want);
        CHECK_OK(l->status);
        CHECK_EQ(l->size, len);
        CHECK_MEM_EQ(got[k], want, len < l->cap ? len : l->cap);
        if (l->cap < VALUE_MAX)
            CHECK_EQ(got[k][l->cap], 0xee); /* not a byte too many */
        CHECK_OK(
            quire_read(txn, tree, &key, len / 2, got[k], VALUE_MAX, &size));
        CHECK_EQ(size, len);
        CHECK_MEM_EQ(got[k], want + len / 2, len - len / 2);
    }
}

static void ask_all(struct quire_txn *txn, struct quire_tree *tree,
                    uint32_t version, uint32_t step, uint64_t *rng)
{
    static const unsigned sizes[] = { 1, 2, 7, 8, 9, 16, 17, 64, 100 };

    CHECK_OK(quire_get_many(txn, tree, NULL, 0));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (unsigned round = 0; round < 10; round++)
            ask(txn, tree, sizes[i], version, step, rng);
    }
}

static struct quire_txn *begin(struct quire *db, unsigned kind)
{
    struct quire_txn *txn;

    CHECK_OK(quire_begin(db, kind, &txn));
    return txn;
}

/* In the transaction that puts, after its commit, in an older revision, and
 * while another transaction has changed some of the pages. */
static void test_many_against_puts(void **state)
{
    struct rig *r = *state;
    uint64_t rng = test_seed();
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_txn *old;

    fill(txn, NULL, 0, 1);
    ask_all(txn, NULL, 0, 1, &rng);
    CHECK_OK(quire_commit(txn, 0, NULL));
    old = begin(r->db, QUIRE_READ);
    ask_all(old, NULL, 0, 1, &rng);

    txn = begin(r->db, QUIRE_WRITE);
    fill(txn, NULL, 1, 50);
    ask_all(txn, NULL, 1, 50, &rng);
    ask_all(old, NULL, 0, 1, &rng);
    CHECK_OK(quire_commit(txn, 0, NULL));
    ask_all(old, NULL, 0, 1, &rng);
    quire_abort(old);
    txn = begin(r->db, QUIRE_READ);
    ask_all(txn, NULL, 1, 50, &rng);
    quire_abort(txn);
}

/* Trees without a page, with one leaf, and of a name. */
static void test_many_small_trees(void **state)
{
    struct rig *r = *state;
    uint8_t buf[2][8];
    struct quire_lookup l[2] = {
        { .key = *V("a"), .buf = buf[0], .cap = 8 },
        { .key = { NULL, 0 }, .buf = buf[1], .cap = 8 },
    };
    struct quire_tree *tree;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);

    CHECK_OK(quire_tree_open(txn, "t", QUIRE_TREE_CREATE, &tree));
    for (unsigned round = 0; round < 2; round++) {
        CHECK_OK(quire_get_many(txn, tree, l, 2));
        CHECK_STATUS(l[0].status, QUIRE_NOTFOUND);
        CHECK_STATUS(l[1].status, QUIRE_NOTFOUND);
        if (round == 0) {
            CHECK_OK(quire_commit(txn, QUIRE_EMPTY, NULL));
            txn = begin(r->db, QUIRE_READ);
            CHECK_OK(quire_tree_open(txn, "t", 0, &tree));
        }
    }
    quire_abort(txn);
    txn = begin(r->db, QUIRE_WRITE);
    CHECK_OK(quire_tree_open(txn, "t", 0, &tree));
    CHECK_OK(quire_put(txn, tree, V("a"), V("one"), 0));
    CHECK_OK(quire_put(txn, tree, &l[1].key, V(""), 0)); /* the empty key */
    for (unsigned round = 0; round < 2; round++) {
        CHECK_OK(quire_get_many(txn, tree, l, 2));
        CHECK_OK(l[0].status);
        CHECK_EQ(l[0].size, 3);
        CHECK_MEM_EQ(buf[0], "one", 3);
        CHECK_OK(l[1].status);
        CHECK_EQ(l[1].size, 0);
        if (round == 0) {
            CHECK_OK(quire_commit(txn, 0, NULL));
            txn = begin(r->db, QUIRE_READ);
            CHECK_OK(quire_tree_open(txn, "t", 0, &tree));
        }
    }
    quire_abort(txn);
}

static void test_many_misuse(void **state)
{
    static uint8_t long_key[QUIRE_PAGE_MIN];
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_lookup l = { .key = *V("a") };
    struct quire_lookup bad = { .key = { NULL, 3 } };

    CHECK_OK(quire_put(txn, NULL, V("a"), V("one"), 0));
    CHECK_STATUS(quire_get_many(NULL, NULL, &l, 1), QUIRE_MISUSE);
    CHECK_STATUS(quire_get_many(txn, NULL, NULL, 1), QUIRE_MISUSE);
    CHECK_STATUS(quire_get_many(txn, NULL, &bad, 1), QUIRE_MISUSE);
    l.cap = 1;
    CHECK_STATUS(quire_get_many(txn, NULL, &l, 1), QUIRE_MISUSE);
    l.cap = 0;
    CHECK_OK(quire_get_many(txn, NULL, &l, 1));
    CHECK_OK(l.status);
    CHECK_EQ(l.size, 3);
    l.key = (struct quire_val){ long_key, sizeof(long_key) };
    CHECK_OK(quire_get_many(txn, NULL, &l, 1));
    CHECK_STATUS(l.status, QUIRE_NOTFOUND);
    quire_abort(txn);
    CHECK_STATUS(quire_get_many(txn, NULL, &l, 1), QUIRE_MISUSE);
}

/* Scan by many, in parts of random size, beside a scan record by record. */
static void scan_check(struct quire_txn *txn, bool batched, uint64_t *rng)
{
    static uint8_t buf[16384], large[VALUE_MAX];
    struct quire_record recs[40];
    struct quire_cursor *many, *one;
    uint64_t total = 0, count, batches = 0;

    CHECK_OK(quire_cursor_open(txn, NULL, &many));
    CHECK_OK(quire_cursor_open(txn, NULL, &one));
    for (;;) {
        size_t cap = 1 + (size_t)test_rand_below(rng, ARRAY_LEN(recs));
        size_t n = 99;
        quire_status rc = quire_cursor_next_many(
            many, recs, cap, buf,
            test_rand_below(rng, 2) ? sizeof(buf) : QUIRE_PAGE_MIN / 8, &n);
        struct quire_val key, val;

        if (rc == QUIRE_NOTFOUND) {
            CHECK_EQ(n, 0);
            break;
        }
        CHECK_OK(rc);
        CHECK(n >= 1 && n <= cap);
        batches++;
        for (size_t i = 0; i < n; i++) {
            CHECK_OK(quire_cursor_next(one));
            rc = quire_cursor_get(one, &key, &val);
            CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
            CHECK_EQ(recs[i].key.size, key.size);
            CHECK_MEM_EQ(recs[i].key.data, key.data, key.size);
            CHECK_EQ(recs[i].val.size, val.size);
            CHECK_EQ(recs[i].val.data == NULL, val.data == NULL);
            if (val.data != NULL)
                CHECK_MEM_EQ(recs[i].val.data, val.data, val.size);
        }
        total += n;
        /* on the last of them */
        CHECK_OK(quire_cursor_get(many, &key, NULL));
        CHECK_EQ(key.size, recs[n - 1].key.size);
        CHECK_MEM_EQ(key.data, recs[n - 1].key.data, key.size);
        if (recs[n - 1].val.size == VALUE_MAX) {
            uint64_t size;

            CHECK_OK(quire_cursor_read(many, 0, large, VALUE_MAX, &size));
            CHECK_EQ(size, VALUE_MAX);
        }
    }
    CHECK_STATUS(quire_cursor_next(one), QUIRE_NOTFOUND);
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    CHECK_EQ(total, count);
    CHECK(!batched || batches < total / 2);
    quire_cursor_close(many);
    quire_cursor_close(one);
}

static void test_many_scan(void **state)
{
    struct rig *r = *state;
    uint64_t rng = test_seed();
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);

    fill(txn, NULL, 0, 1);
    scan_check(txn, false, &rng);
    CHECK_OK(quire_commit(txn, 0, NULL));
    txn = begin(r->db, QUIRE_READ);
    scan_check(txn, true, &rng);
    quire_abort(txn);
}

/* From a place, both ways, and what is refused. */
static void test_many_scan_calls(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_record recs[8];
    struct quire_cursor *cur;
    struct quire_val key;
    uint8_t buf[QUIRE_PAGE_MIN / 8];
    size_t n = 7;

    for (unsigned i = 0; i < 10; i++) {
        uint8_t k[2] = { 'k', (uint8_t)('0' + i) };

        CHECK_OK(quire_put(txn, NULL, &(struct quire_val){ k, 2 }, V("v"), 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    txn = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_EQ, V("k3")));
    CHECK_OK(quire_cursor_next_many(cur, recs, 3, buf, sizeof(buf), &n));
    CHECK_EQ(n, 3);
    CHECK_MEM_EQ(recs[0].key.data, "k4", 2);
    CHECK_MEM_EQ(recs[2].key.data, "k6", 2);
    CHECK_OK(quire_cursor_prev(cur));
    CHECK_OK(quire_cursor_get(cur, &key, NULL));
    CHECK_MEM_EQ(key.data, "k5", 2);
    CHECK_OK(quire_cursor_next_many(cur, recs, 8, buf, sizeof(buf), &n));
    CHECK_EQ(n, 4);
    CHECK_STATUS(quire_cursor_next_many(cur, recs, 8, buf, sizeof(buf), &n),
                 QUIRE_NOTFOUND);
    CHECK_EQ(n, 0);
    CHECK_OK(quire_cursor_next_many(cur, recs, 8, buf, sizeof(buf), &n));
    CHECK_EQ(n, 8); /* past the end means on no record: from the first again */
    CHECK_STATUS(quire_cursor_next_many(cur, recs, 0, buf, sizeof(buf), &n),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_cursor_next_many(cur, recs, 8, buf, sizeof(buf) - 1, &n),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_cursor_next_many(cur, NULL, 8, buf, sizeof(buf), &n),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next_many(cur, recs, 8, NULL, sizeof(buf), &n),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next_many(cur, recs, 8, buf, sizeof(buf), NULL),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next_many(NULL, recs, 8, buf, sizeof(buf), &n),
                 QUIRE_MISUSE);
    quire_cursor_close(cur);
    quire_abort(txn);
}

/* A read that finds its page gone and can't read it says so, and the next one
 * succeeds. */
static void test_many_read_error(void **state)
{
    struct rig *r = *state;
    uint64_t rng = test_seed();
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    static uint8_t buf[64][VALUE_MAX];
    uint8_t keys[64][5];
    struct quire_lookup l[64];
    unsigned failed = 0;
    struct fault fault;

    fill(txn, NULL, 0, 1);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(r->db));
    fault_init(&fault, r->opt.io, NULL);
    r->opt.io = &fault.io;
    CHECK_OK(quire_open("db", &r->opt, &r->db)); /* nothing is resident */
    txn = begin(r->db, QUIRE_READ);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t no = 1 + 3 * (uint32_t)test_rand_below(&rng, NKEYS / 3 - 1);

        l[i].key = (struct quire_val){ keys[i], key_make(no, keys[i]) };
        l[i].buf = buf[i];
        l[i].cap = VALUE_MAX;
    }
    for (unsigned k = 1;; k++) {
        quire_status rc;

        fault_arm(&fault, FAULT_BIT(FAULT_PREAD), k, EIO, FAULT_ONCE);
        rc = quire_get_many(txn, NULL, l, 64);
        fault_heal(&fault);
        if (fault.fired == 0) {
            CHECK_OK(rc);
            break;
        }
        CHECK_STATUS(rc, QUIRE_IO);
        failed++;
    }
    CHECK(failed > 0);
    for (unsigned i = 0; i < 64; i++)
        CHECK_OK(l[i].status);
    quire_abort(txn);
    CHECK_OK(quire_close(r->db));
    fault_fini(&fault);
    r->opt.io = mem_disk_io(r->disk);
    CHECK_OK(quire_open("db", &r->opt, &r->db));
}

/* A scan that fails goes on at the record that it could not have. */
static void test_many_scan_goes_on(void **state)
{
    static uint8_t val[30000];
    struct rig *r = *state;
    uint64_t rng = test_seed();
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_record recs[4];
    uint8_t buf[QUIRE_PAGE_MIN / 8];
    struct quire_cursor *cur;
    struct fault fault;
    unsigned seen, failed = 0;
    size_t n;

    for (size_t i = 0; i < sizeof(val); i++)
        val[i] = (uint8_t)test_rand(&rng);
    for (unsigned i = 0; i < 6; i++) {
        uint8_t k[2] = { 'k', (uint8_t)('0' + i) };
        struct quire_val v = { val, i == 0 ? 5 : 20000 + i * 1000 };

        CHECK_OK(quire_put(txn, NULL, &(struct quire_val){ k, 2 }, &v, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    fault_init(&fault, r->opt.io, NULL);
    r->opt.io = &fault.io;
    for (unsigned kind = QUIRE_READ; kind <= QUIRE_WRITE; kind++) {
        for (unsigned at = 0; at < 6; at++) {
            CHECK_OK(quire_close(r->db));
            CHECK_OK(quire_open("db", &r->opt, &r->db));
            txn = begin(r->db, kind);
            CHECK_OK(quire_cursor_open(txn, NULL, &cur));
            for (seen = 0; seen < 6;) {
                quire_status rc;

                if (seen == at)
                    fault_arm(&fault, FAULT_BIT(FAULT_PREAD), 1, EIO,
                              FAULT_ONCE);
                rc = quire_cursor_next_many(cur, recs, 4, buf, sizeof(buf), &n);
                fault_heal(&fault);
                if (rc != QUIRE_OK) {
                    CHECK_STATUS(rc, QUIRE_IO);
                    CHECK_EQ(n, 0);
                    failed++;
                    rc = quire_cursor_next_many(cur, recs, 4, buf, sizeof(buf),
                                                &n);
                }
                CHECK_OK(rc);
                CHECK_EQ(n, 1);
                CHECK_EQ(((const char *)recs[0].key.data)[1],
                         (int)('0' + seen));
                seen++;
            }
            CHECK_STATUS(
                quire_cursor_next_many(cur, recs, 4, buf, sizeof(buf), &n),
                QUIRE_NOTFOUND);
            quire_abort(txn);
        }
    }
    CHECK(failed >= 10);
    CHECK_OK(quire_close(r->db));
    fault_fini(&fault);
    r->opt.io = mem_disk_io(r->disk);
    CHECK_OK(quire_open("db", &r->opt, &r->db));
}

/* What a call has returned may be the key of the next, though its page could
 * be evicted while another is loaded: the budget is far below the data. */
static void test_many_key_from_before(void **state)
{
    struct rig *r = *state;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    struct quire_val key = { "", 0 }, val;
    struct quire_cursor *cur;
    uint64_t n = 0, count;

    fill(txn, NULL, 0, 1);
    CHECK_OK(quire_commit(txn, 0, NULL));
    txn = begin(r->db, QUIRE_READ);
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    while (quire_get_bound(txn, NULL, QUIRE_SEEK_GT, &key, &key, NULL) ==
           QUIRE_OK)
        n++;
    CHECK_EQ(n, count);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    key = (struct quire_val){ "", 0 };
    for (n = 0; quire_cursor_seek(cur, QUIRE_SEEK_GT, &key) == QUIRE_OK; n++) {
        quire_status rc = quire_cursor_get(cur, &key, &val);

        CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
    }
    CHECK_EQ(n, count);
    quire_abort(txn);
}

/* A commit changes inner pages; what they know of where children are lives on,
 * and where the changed ones are now they know at once. */
static void test_many_hints_outlive_commits(void **state)
{
    enum {
        N = 3000,
        COMMITS = 40,
        STEP = 37
    };
    struct rig *r = *state;
    struct quire_stat before = { .size = sizeof(before) }, now = before;
    struct quire_txn *txn = begin(r->db, QUIRE_WRITE);
    uint8_t key[5], buf[100];
    struct quire_val k = { key, sizeof(key) };
    struct quire_val v = { buf, sizeof(buf) };
    uint64_t hits, size;

    memset(buf, 'v', sizeof(buf));
    for (uint32_t i = 0; i < N; i++) {
        key_make(i, key);
        CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    for (uint32_t round = 0; round <= COMMITS; round++) {
        /* the first round is what finds out where all are */
        if (round == 1)
            CHECK_OK(quire_stat_get(r->db, &before));
        txn = begin(r->db, QUIRE_READ);
        /* then some, which are mostly in different leaves */
        for (uint32_t i = 0; i < N; i += round == 0 ? 1 : STEP) {
            key_make(i, key);
            CHECK_OK(quire_read(txn, NULL, &k, 0, buf, sizeof(buf), &size));
        }
        quire_abort(txn);
        txn = begin(r->db, QUIRE_WRITE);
        for (uint32_t i = round; i < N; i += COMMITS) { /* most leaves */
            key_make(i, key);
            CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
    }
    CHECK_OK(quire_stat_get(r->db, &now));
    hits = now.cache.hits_hint - before.cache.hits_hint;
    CHECK(hits > COMMITS * (N / STEP));
    /* a root in each, when it is first asked for */
    CHECK(now.cache.hits_table - before.cache.hits_table < hits / 8);
    CHECK_EQ(now.cache.misses, before.cache.misses);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_against_puts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_many_small_trees, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_misuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_scan_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_scan_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_many_key_from_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_many_read_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_hints_outlive_commits, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
