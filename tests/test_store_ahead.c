/*
 * test_store_ahead.c - what a store has the system read ahead, and what it lets
 * the system keep, counted where it leaves the library.
 *
 * A store larger than its budget lies on a disk in memory; the table between
 * notes every range that is asked for ahead, and whether each read was among
 * them.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"
#include "txlog/tx_impl.h"

#define PATH "ahead.quire"
#define RECORDS 24000u
#define VALUE 600u
#define PER_LEAF 20u /* records, at least */

static struct {
    const struct quire_io *inner;
    unsigned char *soon; /* blocks of 4 KiB that were asked for */
    uint64_t nblocks;
    uint64_t asked;  /* calls of read_ahead() */
    uint64_t bytes;  /* in them */
    uint64_t reads;  /* pread() and pread_once() */
    uint64_t onces;  /* pread_once() */
    uint64_t told;   /* reads that had been asked for ahead, wholly */
    int ahead_error; /* what read_ahead() returns */
    int once_error;  /* with which pread_once() fails; 0: not */
} seen;

static void note_read(uint64_t off, size_t nbytes)
{
    bool told = true;

    for (uint64_t b = off / 4096; b <= (off + nbytes - 1) / 4096; b++)
        told &= b < seen.nblocks && seen.soon[b] != 0;
    seen.reads++;
    seen.told += told;
}

static ssize_t seen_pread(void *ctx, void *file, void *buf, size_t nbytes,
                          uint64_t off)
{
    note_read(off, nbytes);
    return seen.inner->pread(ctx, file, buf, nbytes, off);
}

static ssize_t seen_pread_once(void *ctx, void *file, void *buf, size_t nbytes,
                               uint64_t off)
{
    note_read(off, nbytes);
    seen.onces++;
    if (seen.once_error != 0)
        return -seen.once_error;
    return seen.inner->pread(ctx, file, buf, nbytes, off);
}

static int seen_read_ahead(void *ctx, void *file, uint64_t off, uint64_t nbytes)
{
    (void)ctx;
    (void)file;
    CHECK(!pc_read_inside());
    CHECK(nbytes > 0);
    for (uint64_t b = off / 4096; b <= (off + nbytes - 1) / 4096; b++) {
        CHECK(b < seen.nblocks);
        seen.soon[b] = 1;
    }
    seen.asked++;
    seen.bytes += nbytes;
    return seen.ahead_error;
}

/* Count from now on. */
static void watch(void)
{
    memset(seen.soon, 0, seen.nblocks);
    seen.asked = 0;
    seen.bytes = 0;
    seen.reads = 0;
    seen.onces = 0;
    seen.told = 0;
}

struct world {
    quire_versioning versioning; /* of a new store */
    struct mem_disk *disk;
    struct quire_io io;
    struct quire *db;
};

static void key_of(uint64_t i, char key[17])
{
    snprintf(key, 17, "%016llu", (unsigned long long)i);
}

static void put(struct quire_txn *txn, uint64_t i, uint64_t *rand)
{
    unsigned char val[VALUE];
    char key[17];
    const struct quire_val k = { key, 16 };
    const struct quire_val v = { val, sizeof(val) };

    key_of(i, key);
    for (size_t at = 0; at < sizeof(val); at += 8) {
        uint64_t x = test_rand(rand);

        memcpy(val + at, &x, 8);
    }
    memcpy(val, &i, sizeof(i));
    CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
}

static void world_open(struct world *w, uint64_t budget)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND,
                                 .budget_bytes = budget,
                                 .versioning = w->versioning,
                                 .io = &w->io };

    CHECK_OK(quire_open(PATH, &opt, &w->db));
}

/* RECORDS in order, then some of all leaves in two commits: leaves of one and
 * of two fragments, which lie apart. */
static void world_init_as(struct world *w, uint64_t budget,
                          quire_versioning versioning)
{
    uint64_t rand = 1;
    struct quire_txn *txn;
    size_t len;

    memset(w, 0, sizeof(*w));
    w->versioning = versioning;
    memset(&seen, 0, sizeof(seen));
    w->disk = mem_disk_create();
    seen.inner = mem_disk_io(w->disk);
    seen.nblocks = (128u << 20) / 4096;
    seen.soon = calloc(1, seen.nblocks);
    CHECK(seen.soon != NULL);
    w->io = *seen.inner;
    w->io.pread = seen_pread;
    w->io.pread_once = seen_pread_once;
    w->io.read_ahead = seen_read_ahead;
    world_open(w, 64 << 20);
    for (unsigned c = 0; c < 3; c++) {
        CHECK_OK(quire_begin(w->db, QUIRE_WRITE, &txn));
        for (uint64_t i = 0; i < RECORDS; i++) {
            if (c == 0 || test_rand_below(&rand, 40) == 0)
                put(txn, i, &rand);
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
    }
    CHECK_OK(quire_close(w->db));
    (void)mem_disk_bytes(w->disk, PATH, &len);
    CHECK(len > 14 << 20 && len < seen.nblocks * 4096);
    world_open(w, budget);
    watch();
}

static void world_init(struct world *w, uint64_t budget)
{
    world_init_as(w, budget, QUIRE_VERSIONING_DEFAULT);
}

static void world_fini(struct world *w)
{
    CHECK_OK(quire_close(w->db));
    mem_disk_destroy(w->disk);
    free(seen.soon);
}

/* Step through `n` records from where `cur` is; it must be at record `at`. */
static void walk(struct quire_cursor *cur, uint64_t at, uint64_t n,
                 bool forward)
{
    for (uint64_t i = 0; i < n; i++) {
        struct quire_val key;
        struct quire_val val;
        char want[17];

        CHECK_OK(quire_cursor_get(cur, &key, &val));
        key_of(at, want);
        CHECK_EQ(key.size, 16);
        CHECK_MEM_EQ(key.data, want, 16);
        CHECK_EQ(val.size, VALUE);
        CHECK_MEM_EQ(val.data, &at, sizeof(at));
        if (i + 1 < n)
            CHECK_OK(forward ? quire_cursor_next(cur) : quire_cursor_prev(cur));
        at += forward ? 1 : (uint64_t)-1;
    }
}

static void scan(struct world *w, unsigned kind, bool forward)
{
    struct quire_cursor *cur;
    struct quire_txn *txn;

    CHECK_OK(quire_begin(w->db, kind, &txn));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_seek(
        cur, forward ? QUIRE_SEEK_FIRST : QUIRE_SEEK_LAST, NULL));
    walk(cur, forward ? 0 : RECORDS - 1, RECORDS, forward);
    CHECK_STATUS(forward ? quire_cursor_next(cur) : quire_cursor_prev(cur),
                 QUIRE_NOTFOUND);
    quire_cursor_close(cur);
    quire_abort(txn);
}

/* Of a scan's reads all but the first few are asked for ahead, and hardly
 * anything else is. */
static void test_scan_reads_ahead(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct quire_stat st = { .size = sizeof(st) };
        struct world w;
        uint64_t read;

        CHECK_CASE(way == 0 ? "forward" : "backward");
        world_init(&w, QUIRE_BUDGET_MIN);
        CHECK_OK(quire_stat_get(w.db, &st));
        read = st.read_bytes;
        scan(&w, QUIRE_READ, way == 0);
        CHECK_OK(quire_stat_get(w.db, &st));
        read = st.read_bytes - read;
        print_message("%llu of %llu reads told, %llu calls, %llu bytes for "
                      "%llu\n",
                      (unsigned long long)seen.told,
                      (unsigned long long)seen.reads,
                      (unsigned long long)seen.asked,
                      (unsigned long long)seen.bytes, (unsigned long long)read);
        CHECK(seen.reads > RECORDS / 40);
        /* each page above the leaves, and the first leaves below the first */
        CHECK(seen.reads - seen.told < 40);
        CHECK(seen.asked < seen.reads / 2);
        CHECK(seen.bytes < read * 2);
        world_fini(&w);
    }
}

/* Verification reads each revision's pages in the order of its tree: told of,
 * too, but for what is above the leaves and the records. */
static void test_verify_reads_ahead(void **state)
{
    struct quire_verify_report rep = { .size = sizeof(rep) };
    struct world w;

    (void)state;
    world_init(&w, QUIRE_BUDGET_MIN);
    CHECK_OK(quire_verify(w.db, NULL, NULL, &rep));
    print_message("%llu of %llu reads told, %llu calls\n",
                  (unsigned long long)seen.told, (unsigned long long)seen.reads,
                  (unsigned long long)seen.asked);
    CHECK(seen.told > rep.pages * 9 / 10);
    CHECK(seen.asked < seen.told / 2);
    world_fini(&w);
}

/* Gets of all kinds, and seeks with a few steps behind them. */
static void test_gets_read_nothing_ahead(void **state)
{
    struct quire_txn *txn;
    struct quire_cursor *cur;
    uint64_t rand = test_seed();
    struct world w;

    (void)state;
    /* whole pages: what a load has read ahead is its own page's, no other's */
    world_init_as(&w, QUIRE_BUDGET_MIN, QUIRE_VERSIONING_FULL);
    CHECK_OK(quire_begin(w.db, QUIRE_READ, &txn));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    for (unsigned i = 0; i < test_rounds(2000); i++) {
        uint64_t at = test_rand_below(&rand, RECORDS - 64);
        struct quire_lookup many[8];
        struct quire_val val;
        char key[9][17];
        struct quire_val k = { key[8], 16 };
        uint64_t size;
        char buf[8];

        key_of(at, key[8]);
        switch (i % 5) {
        case 0:
            CHECK_OK(quire_get(txn, NULL, &k, &val));
            break;
        case 1:
            CHECK_OK(quire_read(txn, NULL, &k, 0, buf, sizeof(buf), &size));
            break;
        case 2:
            for (unsigned j = 0; j < 8; j++) {
                key_of(test_rand_below(&rand, RECORDS), key[j]);
                many[j] = (struct quire_lookup){ .key = { key[j], 16 } };
            }
            CHECK_OK(quire_get_many(txn, NULL, many, 8));
            break;
        case 3:
            CHECK_OK(quire_get_bound(txn, NULL, QUIRE_SEEK_GE, &k, NULL, &val));
            break;
        default:
            CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_GE, &k));
            walk(cur, at, PER_LEAF / 2, true);
        }
    }
    CHECK(seen.reads > 0);
    CHECK_EQ(seen.asked, 0);
    quire_abort(txn);
    world_fini(&w);
}

/* What is cached is not asked for; nor is anything in a write transaction,
 * whose pages may be changed ones. */
static void test_cached_scan_asks_nothing(void **state)
{
    struct world w;

    (void)state;
    world_init_as(&w, 64 << 20, QUIRE_VERSIONING_FULL);
    scan(&w, QUIRE_WRITE, true);
    CHECK(seen.reads > 0);
    CHECK_EQ(seen.asked, 0);
    watch();
    scan(&w, QUIRE_READ, true);
    scan(&w, QUIRE_READ, false);
    CHECK_EQ(seen.reads, 0);
    CHECK_EQ(seen.asked, 0);
    world_fini(&w);
}

/* The window grows while it is used, and shrinks when it isn't. */
static void test_window_follows_use(void **state)
{
    const struct tr_ahead *ah;
    struct quire_cursor *cur;
    struct quire_txn *txn;
    uint64_t bytes[2];
    struct world w;

    (void)state;
    world_init(&w, QUIRE_BUDGET_MIN);
    CHECK_OK(quire_begin(w.db, QUIRE_READ, &txn));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    ah = &cur->cur.ahead;
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL));
    CHECK_EQ(ah->window, 0);
    walk(cur, 0, RECORDS, true);
    CHECK_EQ(ah->window, TR_AHEAD_MAX);
    /* Ranges of some ten leaves, over and over, at places that are not cached:
     * what is asked for beyond their ends becomes less. */
    for (unsigned i = 0; i < 40; i++) {
        uint64_t at = (i * 7919) % (RECORDS - 400);
        char key[17];
        const struct quire_val k = { key, 16 };

        if (i == 0 || i == 39)
            watch();
        key_of(at, key);
        CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_GE, &k));
        walk(cur, at, 250, true);
        if (i == 0 || i == 39)
            bytes[i == 39] = seen.bytes;
    }
    print_message("%llu bytes ahead of the first range, %llu of the last\n",
                  (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
    CHECK(ah->limit < TR_AHEAD_MAX);
    CHECK(bytes[1] <= bytes[0]);
    /* Turning about begins anew. */
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL));
    walk(cur, 0, RECORDS / 2, true);
    CHECK(ah->forward && ah->window > TR_AHEAD_FIRST);
    walk(cur, RECORDS / 2 - 1, 2 * PER_LEAF + 10, false);
    CHECK(!ah->forward && ah->window <= TR_AHEAD_FIRST);
    quire_abort(txn);
    world_fini(&w);
}

/* Of page loads one half may leave the system's cache as it was; a table
 * without the function is asked the ordinary way; its failure is one. */
static void test_half_of_loads_are_once(void **state)
{
    struct quire_txn *txn;
    struct world w;
    char key[17];
    const struct quire_val k = { key, 16 };
    struct quire_val val;

    (void)state;
    world_init(&w, QUIRE_BUDGET_MIN);
    scan(&w, QUIRE_READ, true);
    CHECK(seen.onces > seen.reads * 4 / 10);
    CHECK(seen.onces < seen.reads * 6 / 10);

    seen.once_error = EIO;
    CHECK_OK(quire_begin(w.db, QUIRE_READ, &txn));
    for (uint64_t at = 0, failed = 0; failed == 0; at += 1000) {
        quire_status rc;

        CHECK(at < RECORDS);
        key_of(at, key);
        rc = quire_get(txn, NULL, &k, &val);
        if (rc != QUIRE_OK) {
            CHECK_STATUS(rc, QUIRE_IO);
            failed++;
            seen.once_error = 0;
            CHECK_OK(quire_get(txn, NULL, &k, &val));
        }
    }
    quire_abort(txn);
    CHECK_OK(quire_close(w.db));
    w.io.pread_once = NULL;
    world_open(&w, QUIRE_BUDGET_MIN);
    watch();
    scan(&w, QUIRE_READ, true);
    CHECK(seen.reads > 0);
    CHECK_EQ(seen.onces, 0);
    world_fini(&w);
}

/* Reading ahead that fails, and a table that has none of it. */
static void test_failing_read_ahead_is_harmless(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, QUIRE_BUDGET_MIN);
    seen.ahead_error = -EIO;
    scan(&w, QUIRE_READ, true);
    scan(&w, QUIRE_READ, false);
    CHECK(seen.asked > 0);
    CHECK_OK(quire_close(w.db));
    w.io.read_ahead = NULL;
    world_open(&w, QUIRE_BUDGET_MIN);
    watch();
    scan(&w, QUIRE_READ, true);
    CHECK_EQ(seen.asked, 0);
    world_fini(&w);
}

/* Ranges are sorted and joined; one that can be none of ours is left out; what
 * does not fit is refused whole. */
static void test_ranges_are_joined(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t len;
    } put_in[] = {
        { 1 << 20, 5000 }, { 4096, 100 },     { 8192, 4096 },    { 9000, 100 },
        { 40960, 16 },     { 2 << 20, 4096 }, { 1 << 20, 6000 },
    };
    struct pf_soon soon = { .n = 0 };
    struct pg_ref ref;
    struct world w;

    (void)state;
    world_init(&w, QUIRE_BUDGET_MIN);
    memset(&ref, 0, sizeof(ref));
    for (size_t i = 0; i < ARRAY_LEN(put_in); i++) {
        ref.id = pg_id_make(put_in[i].off, 0);
        ref.stored_len = put_in[i].len;
        CHECK(pf_soon_add(&soon, &ref));
    }
    ref.stored_len = PF_FRAG_MAX + 1;
    CHECK(pf_soon_add(&soon, &ref));
    CHECK_EQ(soon.n, ARRAY_LEN(put_in));
    pf_soon_read(w.db->file, &soon);
    /* 4096..12288, 40960.., 1 MiB.., 2 MiB.. */
    CHECK_EQ(seen.asked, 4);
    CHECK_EQ(seen.bytes, 8192 + 16 + 6000 + 4096);
    CHECK_EQ(soon.n, 0);
    pf_soon_read(w.db->file, &soon);
    CHECK_EQ(seen.asked, 4);

    ref.stored_len = 100;
    ref.nchain = 1;
    ref.chain[0] = (struct pg_link){ pg_id_make(4 << 20, 0), 100, 100 };
    for (unsigned n = 0; n < PF_SOON_MAX; n += 2)
        CHECK(pf_soon_add(&soon, &ref));
    CHECK(!pf_soon_add(&soon, &ref));
    CHECK_EQ(soon.n, PF_SOON_MAX);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan_reads_ahead),
        cmocka_unit_test(test_verify_reads_ahead),
        cmocka_unit_test(test_gets_read_nothing_ahead),
        cmocka_unit_test(test_cached_scan_asks_nothing),
        cmocka_unit_test(test_window_follows_use),
        cmocka_unit_test(test_half_of_loads_are_once),
        cmocka_unit_test(test_failing_read_ahead_is_harmless),
        cmocka_unit_test(test_ranges_are_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
