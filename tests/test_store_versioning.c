/*
 * The five versionings in a store: for every window random histories in which
 * each revision is compared after each commit, and how many fragments are read
 * to load a page.
 */
#include <inttypes.h>
#include <pthread.h>

#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define PATH "versions.quire"

static const struct {
    const char *name;
    quire_versioning versioning;
} all[] = {
    { "full", QUIRE_VERSIONING_FULL },
    { "incremental", QUIRE_VERSIONING_INCREMENTAL },
    { "differential", QUIRE_VERSIONING_DIFFERENTIAL },
    { "sliding", QUIRE_VERSIONING_SLIDING },
    { "adaptive", QUIRE_VERSIONING_ADAPTIVE },
};

/* ---- histories ---- */

struct history {
    struct mem_disk *disk;
    struct quire_options opt;
    struct twin twin;
    uint64_t rand;
    unsigned range; /* of keys */
};

static uint64_t below(struct history *h, uint64_t n)
{
    return test_rand_below(&h->rand, n);
}

static void put_one(struct history *h, unsigned i)
{
    /* Lengths on both sides of what stays in a page of 4 KiB. */
    static const size_t lens[] = { 0, 8, 8, 30, 60, 60, 200, 1000, 1040, 3000 };
    uint8_t text[QUIRE_LABEL_MAX];
    struct quire_val label = { text, gen_label(&h->rand, text) };
    char key[24];
    struct quire_val k = { key, 0 }, v;
    bool exists;

    k.size = (size_t)snprintf(key, sizeof(key), "key/%05u", i);
    exists = model_find(model_work_tree(h->twin.model, NULL), k.data, k.size) !=
             NULL;
    if (exists && below(h, 4) == 0) { /* another label, and the same value */
        CHECK_OK(twin_set_label(&h->twin, NULL, &k, &label));
        return;
    }
    v = twin_gen_val(&h->twin, lens[below(h, ARRAY_LEN(lens))], &h->rand);
    CHECK_OK(twin_put_labeled(&h->twin, NULL, &k, &v,
                              below(h, 2) == 0 ? NULL : &label, 0));
}

static void del_one(struct history *h, unsigned i)
{
    char key[24];
    struct quire_val k = { key, 0 };
    quire_status rc;

    k.size = (size_t)snprintf(key, sizeof(key), "key/%05u", i);
    rc = twin_del(&h->twin, NULL, &k);
    CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
}

/* Few keys, so that the same ones change, go and come back within a window;
 * now and then so many that pages are split, or so few that they are merged. */
static void one_transaction(struct history *h)
{
    uint64_t what = below(h, 16);
    unsigned n = 1 + (unsigned)below(h, 6);

    CHECK_OK(twin_begin(&h->twin));
    if (what == 0) {
        for (unsigned i = 0; i < 25; i++)
            put_one(h, (unsigned)below(h, h->range));
    } else if (what == 1) {
        unsigned from = (unsigned)below(h, h->range);

        for (unsigned i = from; i < from + h->range / 2; i++)
            del_one(h, i % h->range);
    } else {
        unsigned at = (unsigned)below(h, h->range);

        for (unsigned i = 0; i < n; i++) {
            unsigned k = (at + (unsigned)below(h, 9)) % h->range;

            if (below(h, 3) == 0)
                del_one(h, k);
            else
                put_one(h, k);
        }
    }
    CHECK_OK(twin_commit(&h->twin, QUIRE_NOSYNC | QUIRE_EMPTY));
}

static void check_all(struct history *h)
{
    char why[MODEL_WHY_CAP];

    for (quire_rev rev = 0; rev <= h->twin.published; rev++) {
        if (!model_same_at(h->twin.model, h->twin.db, rev, MODEL_FORWARD,
                           why)) {
            print_error("revision %" PRIu64 ": %s\n", rev, why);
            CHECK(false);
        }
    }
}

static void run_history(const char *name, quire_versioning versioning,
                        unsigned window, unsigned n, uint64_t seed)
{
    struct history h;

    CHECK_CASE(name);
    memset(&h, 0, sizeof(h));
    h.rand = seed;
    h.range = 40 + 40 * (unsigned)(seed % 3);
    h.disk = mem_disk_create();
    h.opt = (struct quire_options){
        .size = sizeof(h.opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = 4096,
        .versioning = versioning,
        .window = window,
        .flags = QUIRE_NOBACKGROUND,
        .io = mem_disk_io(h.disk),
    };
    twin_init(&h.twin);
    CHECK_OK(twin_open(&h.twin, PATH, &h.opt));
    for (unsigned i = 1; i <= n; i++) {
        one_transaction(&h);
        check_all(&h);
        if (i % 5 == 0) { /* from here on, from the file */
            CHECK_OK(twin_close(&h.twin));
            CHECK_OK(twin_open(&h.twin, PATH, &h.opt));
            check_all(&h);
        }
    }
    CHECK_OK(quire_verify(h.twin.db, NULL, NULL, NULL));
    CHECK_OK(twin_close(&h.twin));
    twin_fini(&h.twin);
    mem_disk_destroy(h.disk);
}

static void test_every_window(void **state)
{
    uint64_t seed = test_seed();
    unsigned n = 2 * QUIRE_WINDOW_MAX + 8;

    (void)state;
    for (size_t v = 0; v < ARRAY_LEN(all); v++) {
        for (unsigned r = 2; r <= QUIRE_WINDOW_MAX; r++, seed++) {
            if (test_rounds(4) < 4 && r % 5 != 2)
                continue;
            run_history(all[v].name, all[v].versioning, r, n, seed);
        }
    }
}

/* ---- changing it ---- */

static void open_history(struct history *h, uint64_t seed, uint32_t page_bytes,
                         quire_versioning versioning, uint32_t window)
{
    memset(h, 0, sizeof(*h));
    h->rand = seed;
    h->range = 120;
    h->disk = mem_disk_create();
    h->opt = (struct quire_options){
        .size = sizeof(h->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = page_bytes,
        .versioning = versioning,
        .window = window,
        .flags = QUIRE_NOBACKGROUND,
        .io = mem_disk_io(h->disk),
    };
    twin_init(&h->twin);
    CHECK_OK(twin_open(&h->twin, PATH, &h->opt));
}

static void close_history(struct history *h)
{
    CHECK_OK(quire_verify(h->twin.db, NULL, NULL, NULL));
    CHECK_OK(twin_close(&h->twin));
    twin_fini(&h->twin);
    mem_disk_destroy(h->disk);
}

static void reopen_history(struct history *h)
{
    CHECK_OK(twin_close(&h->twin));
    CHECK_OK(twin_open(&h->twin, PATH, &h->opt));
}

static void check_set(struct history *h, quire_versioning versioning,
                      uint32_t window)
{
    struct quire_stat st = { .size = sizeof(st) };

    CHECK_OK(quire_stat_get(h->twin.db, &st));
    CHECK_EQ(st.versioning, versioning);
    CHECK_EQ(st.window, window);
}

/* It is a revision of its own, durable, of the same contents; nothing when
 * nothing changes; and what is refused changes nothing. */
static void test_set_versioning(void **state)
{
    struct quire_options rdonly;
    struct quire_txn *txn;
    struct history h;
    struct quire *db;
    quire_rev rev;

    (void)state;
    open_history(&h, test_seed(), 4096, QUIRE_VERSIONING_DEFAULT, 0);
    one_transaction(&h);
    rev = h.twin.published;
    check_set(&h, QUIRE_VERSIONING_ADAPTIVE, QUIRE_WINDOW_DEFAULT);
    CHECK_OK(twin_set_versioning(&h.twin, QUIRE_VERSIONING_DEFAULT, 0));
    CHECK_OK(twin_set_versioning(&h.twin, QUIRE_VERSIONING_ADAPTIVE,
                                 QUIRE_WINDOW_DEFAULT));
    CHECK_EQ(h.twin.published, rev);
    CHECK_OK(twin_set_versioning(&h.twin, QUIRE_VERSIONING_SLIDING, 0));
    CHECK_EQ(h.twin.published, rev + 1);
    check_set(&h, QUIRE_VERSIONING_SLIDING, QUIRE_WINDOW_DEFAULT);
    CHECK_OK(twin_set_versioning(&h.twin, QUIRE_VERSIONING_DEFAULT, 9));
    check_set(&h, QUIRE_VERSIONING_SLIDING, 9);
    check_all(&h);
    reopen_history(&h);
    check_set(&h, QUIRE_VERSIONING_SLIDING, 9);
    one_transaction(&h);
    reopen_history(&h); /* also behind a superblock that names a later one */
    check_set(&h, QUIRE_VERSIONING_SLIDING, 9);
    /* back to what the store was created with */
    CHECK_OK(twin_set_versioning(&h.twin, QUIRE_VERSIONING_ADAPTIVE, 4));
    reopen_history(&h);
    check_set(&h, QUIRE_VERSIONING_ADAPTIVE, 4);
    check_all(&h);

    rev = h.twin.published;
    CHECK_STATUS(quire_set_versioning(h.twin.db, (quire_versioning)6, 4),
                 QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "versioning 6") != NULL);
    CHECK_STATUS(quire_set_versioning(h.twin.db, QUIRE_VERSIONING_FULL, 1),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_set_versioning(h.twin.db, QUIRE_VERSIONING_FULL, 17),
                 QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "window is 17") != NULL);
    CHECK_STATUS(quire_set_versioning(NULL, QUIRE_VERSIONING_FULL, 4),
                 QUIRE_MISUSE);
    CHECK_OK(quire_begin(h.twin.db, QUIRE_WRITE, &txn));
    CHECK_STATUS(quire_set_versioning(h.twin.db, QUIRE_VERSIONING_FULL, 4),
                 QUIRE_MISUSE); /* it would wait for itself */
    quire_abort(txn);
    check_set(&h, QUIRE_VERSIONING_ADAPTIVE, 4);
    CHECK_EQ(h.twin.published, rev);
    CHECK_OK(twin_close(&h.twin));
    rdonly = h.opt;
    rdonly.flags |= QUIRE_RDONLY;
    CHECK_OK(quire_open(PATH, &rdonly, &db));
    CHECK_STATUS(quire_set_versioning(db, QUIRE_VERSIONING_FULL, 4),
                 QUIRE_READONLY);
    CHECK_OK(quire_close(db));
    CHECK_OK(twin_open(&h.twin, PATH, &h.opt));
    close_history(&h);
}

/* Histories in which it changes now and then, in the middle of chains. */
static void test_changing_histories(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (unsigned round = 0; round < test_rounds(24); round++, seed++) {
        struct history h;

        open_history(&h, seed, 4096, all[seed % ARRAY_LEN(all)].versioning,
                     2 + (uint32_t)(seed * 7 % 15));
        for (unsigned i = 1; i <= 50; i++) {
            one_transaction(&h);
            if (below(&h, 5) == 0)
                CHECK_OK(twin_set_versioning(
                    &h.twin, all[below(&h, ARRAY_LEN(all))].versioning,
                    2 + (uint32_t)below(&h, 15)));
            if (i % 7 == 0)
                reopen_history(&h);
            if (i % 5 == 0)
                check_all(&h);
        }
        close_history(&h);
    }
}

/* A tree whose inner pages were filled when references were short, and then may
 * be long: each of its pages is changed time and again. The keys are long, so
 * that there are three levels. */
static void test_wider_references(void **state)
{
    static const struct {
        const char *name;
        quire_versioning before, after;
        uint32_t wbefore, wafter;
    } cases[] = {
        { "increments of 2, adaptive", QUIRE_VERSIONING_INCREMENTAL,
          QUIRE_VERSIONING_ADAPTIVE, 2, 4 },
        { "full, increments of 16", QUIRE_VERSIONING_FULL,
          QUIRE_VERSIONING_INCREMENTAL, 2, 16 },
        { "sliding of 2, sliding of 16", QUIRE_VERSIONING_SLIDING,
          QUIRE_VERSIONING_SLIDING, 2, 16 },
        { "adaptive, increments of 2", QUIRE_VERSIONING_ADAPTIVE,
          QUIRE_VERSIONING_INCREMENTAL, 4, 2 },
        { "increments of 16, full", QUIRE_VERSIONING_INCREMENTAL,
          QUIRE_VERSIONING_FULL, 16, 2 },
    };
    unsigned n = (unsigned)test_rounds(6000);

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct quire_tree_stat st = { .size = sizeof(st) };
        char why[MODEL_WHY_CAP];
        struct quire_txn *txn;
        struct history h;

        CHECK_CASE(cases[c].name);
        open_history(&h, test_seed(), 4096, cases[c].before, cases[c].wbefore);
        for (unsigned pass = 0; pass < 6; pass++) {
            if (pass == 2)
                CHECK_OK(twin_set_versioning(&h.twin, cases[c].after,
                                             cases[c].wafter));
            /* all of the pages, some of them, and those of one parent */
            for (unsigned part = 0; part < (pass == 0 ? 1 : 4); part++) {
                CHECK_OK(twin_begin(&h.twin));
                for (unsigned i = pass + part; i < n;
                     i += pass == 0 ? 1 : 7 + 20 * part) {
                    char key[80];
                    int len = snprintf(key, sizeof(key), "%08u%060u", i * 7919u,
                                       i);

                    if (pass == 4 && i % 3 != 0)
                        (void)!twin_del(
                            &h.twin, NULL,
                            &(struct quire_val){ key, (size_t)len });
                    else
                        CHECK_OK(twin_put_gen(&h.twin, NULL, key, (size_t)len,
                                              30, &h.rand));
                }
                CHECK_OK(twin_commit(&h.twin, QUIRE_NOSYNC));
            }
            reopen_history(&h);
            CHECK_OK(quire_begin(h.twin.db, QUIRE_READ, &txn));
            CHECK_OK(quire_tree_stat_get(txn, NULL, &st));
            if (n >= 6000)
                CHECK(st.height >= 3);
            quire_abort(txn);
        }
        for (quire_rev rev = h.twin.published; rev > 0; rev -= rev > 3 ? 3 : 1)
            if (!model_same_at(h.twin.model, h.twin.db, rev, MODEL_FORWARD,
                               why)) {
                print_error("revision %" PRIu64 ": %s\n", rev, why);
                CHECK(false);
            }
        close_history(&h);
    }
}

/* Of one reader or writer beside the thread that changes it. */
struct beside {
    struct quire *db;
    bool write;
    uint64_t seed;
};

static void *beside_run(void *arg)
{
    struct beside *b = arg;

    for (unsigned i = 0; i < 60; i++) {
        struct quire_stat st = { .size = sizeof(st) };
        struct quire_tree_stat tree = { .size = sizeof(tree) };
        struct quire_txn *txn;

        CHECK_OK(quire_stat_get(b->db, &st));
        CHECK(st.window >= 2 && st.window <= QUIRE_WINDOW_MAX);
        CHECK(st.versioning >= QUIRE_VERSIONING_FULL &&
              st.versioning <= QUIRE_VERSIONING_ADAPTIVE);
        CHECK_OK(quire_begin(b->db, b->write ? QUIRE_WRITE : QUIRE_READ, &txn));
        for (unsigned k = 0; k < 5 && b->write; k++) {
            uint64_t n = test_rand_below(&b->seed, 400);
            struct quire_val key = { &n, sizeof(n) };
            struct quire_val val = { "a value of some bytes", 21 };

            CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
        }
        CHECK_OK(quire_tree_stat_get(txn, NULL, &tree));
        CHECK_OK(quire_commit(txn, QUIRE_NOSYNC, NULL));
    }
    return NULL;
}

static void test_set_beside_others(void **state)
{
    struct quire_options opt = {
        .size = sizeof(opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = 4096,
    };
    struct mem_disk *disk = mem_disk_create();
    struct beside b[3];
    pthread_t thread[3];
    struct quire *db;
    uint64_t seed = test_seed();

    (void)state;
    opt.io = mem_disk_io(disk);
    CHECK_OK(quire_open(PATH, &opt, &db));
    for (unsigned i = 0; i < 3; i++) {
        b[i] = (struct beside){ db, i > 0, seed + i };
        CHECK_EQ(pthread_create(&thread[i], NULL, beside_run, &b[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++)
        CHECK_OK(quire_set_versioning(
            db, all[test_rand_below(&seed, ARRAY_LEN(all))].versioning,
            2 + (uint32_t)test_rand_below(&seed, 15)));
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* What is told of a tree's pages agrees with what is known. */
static void test_tree_stat(void **state)
{
    struct quire_tree_stat st = { .size = sizeof(st) };
    struct quire_txn *txn;
    struct history h;
    uint64_t pages = 0, more = 0;

    (void)state;
    open_history(&h, test_seed(), 4096, QUIRE_VERSIONING_SLIDING, 3);
    CHECK_OK(quire_begin(h.twin.db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_stat_get(txn, NULL, &st));
    CHECK_EQ(st.records + st.height + st.leaf_pages + st.inner_pages +
                 st.stored_bytes,
             0);
    st.size = 8;
    CHECK_STATUS(quire_tree_stat_get(txn, NULL, &st), QUIRE_INVAL);
    CHECK_STATUS(quire_tree_stat_get(txn, NULL, NULL), QUIRE_MISUSE);
    quire_abort(txn);
    for (unsigned i = 0; i < 30; i++)
        one_transaction(&h);
    CHECK_OK(quire_begin(h.twin.db, QUIRE_READ, &txn));
    memset(&st, 0, sizeof(st));
    st.size = sizeof(st);
    CHECK_OK(quire_tree_stat_get(txn, NULL, &st));
    CHECK_EQ(st.page_bytes, 4096);
    CHECK(st.height >= 1 && st.leaf_pages >= 1);
    CHECK(st.leaf_bytes <= st.leaf_pages * st.page_bytes);
    for (unsigned n = 1; n <= QUIRE_WINDOW_MAX; n++) {
        pages += st.chains[n];
        more += n > 1 ? st.chains[n] : 0;
        if (n > 3)
            CHECK_EQ(st.chains[n], 0);
    }
    CHECK_EQ(st.chains[0], 0);
    CHECK_EQ(pages, st.leaf_pages + st.inner_pages);
    CHECK(more > 0);
    quire_abort(txn);
    /* in a transaction that has changed all of it */
    CHECK_OK(twin_begin(&h.twin));
    for (unsigned i = 0; i < 120; i++)
        put_one(&h, i);
    memset(&st, 0, sizeof(st));
    st.size = sizeof(st);
    CHECK_OK(quire_tree_stat_get(h.twin.txn, NULL, &st));
    CHECK_EQ(st.records, 120);
    CHECK_EQ(st.chains[0], st.leaf_pages + st.inner_pages);
    CHECK_EQ(st.stored_bytes, 0);
    twin_abort(&h.twin);
    close_history(&h);
}

/* ---- reads ---- */

#define NRECORDS 150u

/* The disk, counting reads. Its context is the disk's own, and there is only
 * this thread. */
static uint64_t nreads;
static const struct quire_io *under;

static struct {
    uint64_t off, nbytes;
} hints[QUIRE_WINDOW_MAX];
static uint64_t nhints, nkept;  /* given; and followed by that very read */
static uint64_t nbefore, nlate; /* reads before a load; hints after its first */

static int counted_read_ahead(void *ctx, void *file, uint64_t off,
                              uint64_t nbytes)
{
    (void)ctx;
    (void)file;
    nlate += nreads != nbefore;
    if (nhints < ARRAY_LEN(hints)) {
        hints[nhints].off = off;
        hints[nhints].nbytes = nbytes;
    }
    nhints++;
    return 0;
}

static ssize_t counted_pread(void *ctx, void *file, void *buf, size_t nbytes,
                             uint64_t off)
{
    nreads++;
    if (nkept < nhints && nhints <= ARRAY_LEN(hints))
        nkept += hints[nkept].off == off && hints[nkept].nbytes == nbytes;
    return under->pread(ctx, file, buf, nbytes, off);
}

static void put_record(struct quire_txn *txn, unsigned i, unsigned version)
{
    char key[16], val[64];
    struct quire_val k = { key, 0 }, v = { val, sizeof(val) };

    k.size = (size_t)snprintf(key, sizeof(key), "key %04u", i);
    for (size_t b = 0; b < sizeof(val); b++) /* nothing that compresses */
        val[b] = (char)(test_rand(&(uint64_t){ i * 1000u + version + b }) >> 9);
    CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
}

static void get_record(struct quire_txn *txn, unsigned i)
{
    char key[16];
    struct quire_val k = { key, 0 }, v;

    k.size = (size_t)snprintf(key, sizeof(key), "key %04u", i);
    CHECK_OK(quire_get(txn, NULL, &k, &v));
}

/* How many reads it takes to load the leaf of record `i`, when the pages above
 * are there. */
static uint64_t reads_of_leaf(const struct quire_options *opt, unsigned i,
                              unsigned other)
{
    struct quire_txn *txn;
    struct quire *db;
    uint64_t n;

    CHECK_OK(quire_open(PATH, opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    get_record(txn, other);
    n = nreads;
    nbefore = n;
    nhints = nkept = nlate = 0;
    get_record(txn, i);
    n = nreads - n;
    CHECK_EQ(nhints, n - 1); /* all but the newest fragment were announced, */
    CHECK_EQ(nkept, nhints); /* and are what was read then */
    CHECK_EQ(nlate, 0);
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    return n;
}

/* One record of a leaf changes with each commit; another leaf does not. */
static void test_reads_of_a_page(void **state)
{
    static const unsigned windows[] = { 2, 3, 4, 7, 16 };

    (void)state;
    for (size_t v = 0; v < ARRAY_LEN(all); v++) {
        for (size_t w = 0; w < ARRAY_LEN(windows); w++) {
            unsigned window = windows[w];
            struct mem_disk *disk = mem_disk_create();
            struct quire_io io = *mem_disk_io(disk);
            struct quire_options opt = {
                .size = sizeof(opt),
                .budget_bytes = QUIRE_BUDGET_MIN,
                .page_bytes = 4096,
                .versioning = all[v].versioning,
                .window = window,
                .flags = QUIRE_NOBACKGROUND,
                .io = &io,
            };
            uint64_t most = 0, least = UINT64_MAX;
            struct quire_txn *txn;
            struct quire *db;

            CHECK_CASE(all[v].name);
            under = mem_disk_io(disk);
            io.pread = counted_pread;
            io.pread_once = NULL;
            io.read_ahead = counted_read_ahead;
            CHECK_OK(quire_open(PATH, &opt, &db));
            CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
            for (unsigned i = 0; i < NRECORDS; i++)
                put_record(txn, i, 0);
            CHECK_OK(quire_commit(txn, 0, NULL));
            CHECK_OK(quire_close(db));
            for (unsigned round = 1; round < 3 * window; round++) {
                uint64_t n;

                CHECK_OK(quire_open(PATH, &opt, &db));
                CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
                put_record(txn, round % 5, round);
                CHECK_OK(quire_commit(txn, 0, NULL));
                CHECK_OK(quire_close(db));
                n = reads_of_leaf(&opt, 2, NRECORDS - 1);
                if (all[v].versioning == QUIRE_VERSIONING_SLIDING)
                    CHECK_EQ(n, round < window ? round + 1 : window);
                most = n > most ? n : most;
                least = n < least ? n : least;
            }
            switch (all[v].versioning) {
            case QUIRE_VERSIONING_FULL:
                CHECK_EQ(most, 1);
                break;
            case QUIRE_VERSIONING_DIFFERENTIAL:
                CHECK_EQ(most, 2);
                CHECK_EQ(least, 1);
                break;
            case QUIRE_VERSIONING_SLIDING:
                CHECK_EQ(most, window);
                CHECK_EQ(least, 2); /* never whole again */
                break;
            case QUIRE_VERSIONING_ADAPTIVE:
                CHECK_EQ(most, 2);
                CHECK_EQ(least, 2); /* five records of many: never worth it */
                break;
            default:
                CHECK(most <= window);
                CHECK_EQ(least, 1);
                break;
            }
            mem_disk_destroy(disk);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_window),
        cmocka_unit_test(test_set_versioning),
        cmocka_unit_test(test_changing_histories),
        cmocka_unit_test(test_wider_references),
        cmocka_unit_test(test_set_beside_others),
        cmocka_unit_test(test_tree_stat),
        cmocka_unit_test(test_reads_of_a_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
