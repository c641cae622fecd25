/*
 * test_store_regress.c - faults that were fixed in the store and its trees,
 * each with the calls or the file that showed it.
 */
#include <errno.h>
#include <inttypes.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/lib_rig.h"
#include "tests/test.h"

struct shop { /* a store on a disk in memory */
    struct mem_disk *disk;
    struct fault fault;
    struct quire_options opt;
    struct quire *db;
};

static void shop_open(struct shop *s, uint32_t page_bytes, uint32_t window,
                      uint64_t budget_bytes)
{
    memset(s, 0, sizeof(*s));
    s->disk = mem_disk_create();
    fault_init(&s->fault, mem_disk_io(s->disk), NULL);
    s->opt = (struct quire_options){
        .size = sizeof(s->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = budget_bytes,
        .page_bytes = page_bytes,
        .window = window,
        .io = &s->fault.io,
        .sys = &s->fault.sys,
    };
    CHECK_OK(quire_open("db", &s->opt, &s->db));
}

/* Close, with nothing held. */
static void shop_shut(struct shop *s)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(s->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
}

static void shop_close(struct shop *s, uint64_t nrecords)
{
    struct quire_verify_report report = { .size = sizeof(report) };

    CHECK_OK(quire_verify(s->db, NULL, NULL, &report));
    CHECK_EQ(report.records, nrecords);
    shop_shut(s);
    fault_fini(&s->fault);
    mem_disk_destroy(s->disk);
}

static struct quire_txn *begin(struct shop *s)
{
    struct quire_txn *txn;

    CHECK_OK(quire_begin(s->db, QUIRE_WRITE, &txn));
    return txn;
}

/* Records that come and go again in one transaction leave tombstones in a page
 * that was committed before; they may not fill it up. */
static void test_records_come_and_go(void **state)
{
    struct quire_txn *txn;
    struct shop s;
    char buf[500];
    struct quire_val key = { buf, sizeof(buf) }, val = { "v", 1 };

    (void)state;
    shop_open(&s, 4096, 4, QUIRE_BUDGET_MIN);
    memset(buf, 'x', sizeof(buf));
    txn = begin(&s);
    CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    CHECK_OK(quire_commit(txn, 0, NULL));
    txn = begin(&s);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(buf, sizeof(buf), "%06u", i);
        CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
        CHECK_OK(quire_del(txn, NULL, &key));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    shop_close(&s, 1);
}

/* Many small commits leave inner pages with short references; one transaction
 * that then enters all children has them all at full width, and splits. */
static void test_children_entered_later(void **state)
{
    static const struct {
        const char *name;
        uint32_t page_bytes;
        uint32_t window;
        unsigned nrecords;
    } cases[] = {
        { "the longest references, small pages", 4096, 16, 1500 },
        { "the longest references, large pages", 65536, 16, 5000 },
        { "large pages", 65536, 4, 14000 },
    };

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        static char bytes[QUIRE_PAGE_MAX / 4];
        unsigned n = cases[c].nrecords;
        size_t len = cases[c].page_bytes / 4 - 40;
        struct quire_txn *txn = NULL;
        struct shop s;
        char buf[32];

        CHECK_CASE(cases[c].name);
        memset(bytes, 'v', sizeof(bytes));
        shop_open(&s, cases[c].page_bytes, cases[c].window, (uint64_t)64 << 20);
        for (unsigned i = 0; i < n; i++) {
            struct quire_val key = { buf, 8 }, val = { bytes, len };

            if (i % 8 == 0)
                txn = begin(&s);
            snprintf(buf, sizeof(buf), "%08u", 2 * i);
            CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
            if (i % 8 == 7 || i + 1 == n)
                CHECK_OK(quire_commit(txn, QUIRE_NOSYNC, NULL));
        }
        txn = begin(&s);
        for (unsigned pass = 0; pass < 2; pass++) {
            for (unsigned i = 0; i < n; i += 1 + 2 * pass) {
                struct quire_val key = { buf, 8 }, val = { bytes, len - 1 };

                snprintf(buf, sizeof(buf), "%08u", 2 * i + pass);
                CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
            }
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
        shop_close(&s, n + (n + 2) / 3);
    }
}

static size_t tree_name(unsigned i, char name[64])
{
    return (size_t)snprintf(name, 64, "tree %06u of a great many of them", i);
}

/* A transaction's trees and their metadata may be larger than the budget and
 * than a batch, too. */
static void test_great_catalogue(void **state)
{
    static const struct {
        const char *name;
        unsigned ntrees;
        size_t meta_len;
    } cases[] = {
        { "larger than a batch", 6000, 0 },
        { "larger than half of the budget", 16000, 0 },
        { "metadata larger than the budget", 6000, 1000 },
        { "metadata in pages of its own", 1000, 9000 },
    };

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        char meta[9000], got[9000], name[64];
        struct quire_tree *tree;
        struct quire_txn *txn;
        struct quire_val val;
        struct shop s;
        uint64_t n;
        size_t size;

        CHECK_CASE(cases[c].name);
        memset(meta, 'm', sizeof(meta));
        shop_open(&s, 4096, 4, QUIRE_BUDGET_MIN);
        txn = begin(&s);
        for (unsigned i = 0; i < cases[c].ntrees; i++) {
            struct quire_val key = { name, tree_name(i, name) };

            CHECK_OK(quire_tree_open(txn, name, QUIRE_TREE_CREATE, &tree));
            CHECK_OK(quire_put(txn, tree, &key, &key, 0));
            val = (struct quire_val){ meta, cases[c].meta_len };
            if (val.size > 0)
                CHECK_OK(quire_tree_set_meta(txn, tree, &val));
        }
        CHECK_OK(quire_commit(txn, 0, NULL));
        shop_shut(&s);
        CHECK_OK(quire_open("db", &s.opt, &s.db));
        CHECK_OK(quire_begin(s.db, QUIRE_READ, &txn));
        for (unsigned i = 0; i < cases[c].ntrees; i += 97) {
            struct quire_val key = { name, tree_name(i, name) };

            CHECK_OK(quire_tree_open(txn, name, 0, &tree));
            CHECK_OK(quire_tree_count(txn, tree, &n));
            CHECK_EQ(n, 1);
            CHECK_OK(quire_get(txn, tree, &key, &val));
            CHECK_EQ(val.size, key.size);
            CHECK_MEM_EQ(val.data, key.data, key.size);
            if (cases[c].meta_len == 0)
                continue;
            CHECK_OK(quire_tree_get_meta(txn, tree, got, sizeof(got), &size));
            CHECK_EQ(size, cases[c].meta_len);
            CHECK_MEM_EQ(got, meta, size);
        }
        quire_abort(txn);
        shop_close(&s, cases[c].ntrees);
    }
}

/* A step of a cursor that fails leaves it where it was: trying again goes on
 * there, and not at the other end. */
static void test_cursor_step_again(void **state)
{
    struct quire_cursor *cur;
    struct quire_txn *txn;
    struct shop s;
    char buf[32], bytes[200];
    const unsigned n = 400;

    (void)state;
    memset(bytes, 'b', sizeof(bytes));
    shop_open(&s, 4096, 4, QUIRE_BUDGET_MIN);
    txn = begin(&s);
    for (unsigned i = 0; i < n; i++) {
        struct quire_val key = { buf, 8 }, val = { bytes, sizeof(bytes) };

        snprintf(buf, sizeof(buf), "%08u", i);
        CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    for (unsigned how = 0; how < 4; how++) {
        bool write = how % 2 == 1, forward = how < 2;
        unsigned nseen = 0, nfailed = 0;

        CHECK_CASE(forward ? "forward" : "backward");
        shop_shut(&s); /* so that all is read again */
        CHECK_OK(quire_open("db", &s.opt, &s.db));
        CHECK_OK(quire_begin(s.db, write ? QUIRE_WRITE : QUIRE_READ, &txn));
        CHECK_OK(quire_cursor_open(txn, NULL, &cur));
        for (;;) {
            struct quire_val key;
            quire_status rc;

            fault_arm(&s.fault, FAULT_BIT(FAULT_PREAD), 1, EIO, FAULT_ONCE);
            rc = forward ? quire_cursor_next(cur) : quire_cursor_prev(cur);
            fault_heal(&s.fault);
            if (rc == QUIRE_IO) {
                nfailed++;
                if (nseen > 0) { /* still on its record */
                    CHECK_OK(quire_cursor_get(cur, &key, NULL));
                    CHECK_MEM_EQ(key.data, buf, 8);
                }
                rc = forward ? quire_cursor_next(cur) : quire_cursor_prev(cur);
            }
            if (rc == QUIRE_NOTFOUND)
                break;
            CHECK_OK(rc);
            CHECK_OK(quire_cursor_get(cur, &key, NULL));
            snprintf(buf, sizeof(buf), "%08u", forward ? nseen : n - 1 - nseen);
            CHECK_MEM_EQ(key.data, buf, 8);
            nseen++;
        }
        CHECK_EQ(nseen, n);
        CHECK(nfailed > 5);
        quire_abort(txn);
    }
    shop_close(&s, n);
}

/* ---- files that no store wrote, with checksums that are right ---- */

static struct {
    uint8_t work[QUIRE_SEG_MAX];
    uint8_t body[QUIRE_SEG_MAX];
} forge;

/* Add a leaf with `n` records of `val_len` bytes to the batch. */
static void forge_leaf(struct rig *rig, const char *prefix, unsigned n,
                       size_t val_len, uint8_t nchain,
                       const struct pg_ref *below, struct pg_ref *ref)
{
    static const struct quire_val lowest = { "", 0 };
    static uint8_t bytes[QUIRE_SEG_MAX];
    struct pg_image *img = (struct pg_image *)(void *)forge.work;
    struct pg_frag_in in = { .kind = PG_LEAF, .birth = 1 };
    char buf[300];

    CHECK(pg_work_init(img, sizeof(forge.work), PG_LEAF, 0, &lowest, NULL));
    for (unsigned i = 0; i < n; i++) {
        struct quire_val key = { buf, 0 }, val = { bytes, val_len };

        key.size = (size_t)snprintf(buf, sizeof(buf), "%s%06u", prefix, i);
        CHECK(pg_work_put(img, &key, &val, PG_ENTRY_PLAIN, NULL));
    }
    in.self_contained = nchain == 0;
    in.count = n;
    in.nchain = nchain;
    for (unsigned i = 0; i < nchain; i++) {
        in.chain[i] = (struct pg_link){ below[i].id, below[i].stored_len,
                                        below[i].raw_len };
        in.sums[i] = below[i].sum;
    }
    in.body_len = pg_body_encode(img, nchain > 0, forge.body,
                                 sizeof(forge.body), &in.nentries);
    CHECK(in.body_len > 0);
    in.body = forge.body;
    in.image_len = (uint32_t)pg_image_compact_bytes(img, nchain);
    CHECK_OK(pf_batch_add(rig->file, &in, ref));
}

/* A catalogue that maps the default tree to `root`. */
static void forge_catalogue(struct rig *rig, const struct pg_ref *root,
                            struct pg_ref *ref)
{
    static const struct quire_val lowest = { "", 0 };
    struct pg_image *img = (struct pg_image *)(void *)forge.work;
    struct pg_frag_in in = { .kind = PG_LEAF, .birth = 1 };
    uint8_t enc[PG_REF_BYTES_MAX];
    struct quire_val key = { "r", 1 }, val = { enc, 0 };

    val.size = pg_ref_encode(root, enc);
    CHECK(pg_work_init(img, sizeof(forge.work), PG_LEAF, 0, &lowest, NULL));
    CHECK(pg_work_put(img, &key, &val, PG_ENTRY_PLAIN, NULL));
    in.self_contained = true;
    in.count = 1;
    in.body_len = pg_body_encode(img, false, forge.body, sizeof(forge.body),
                                 &in.nentries);
    in.body = forge.body;
    in.image_len = (uint32_t)pg_image_compact_bytes(img, 0);
    CHECK_OK(pf_batch_add(rig->file, &in, ref));
}

/* An inner page all of whose `n` children are the page *ref, which it becomes
 * itself. No page has a record below it. */
static void forge_inner(struct rig *rig, unsigned n, struct pg_ref *ref)
{
    static const struct quire_val lowest = { "", 0 };
    struct pg_image *img = (struct pg_image *)(void *)forge.work;
    struct pg_frag_in in = { .kind = PG_INNER, .birth = 1 };
    uint8_t enc[PG_REF_BYTES_MAX];
    struct quire_val val = { enc, pg_ref_encode(ref, enc) };

    in.level = (uint8_t)(ref->level + 1);
    CHECK(pg_work_init(img, sizeof(forge.work), PG_INNER, in.level, &lowest,
                       NULL));
    for (unsigned i = 0; i < n; i++) {
        char buf[8];
        struct quire_val key = { buf, 0 };

        if (i > 0)
            key.size = (size_t)snprintf(buf, sizeof(buf), "%03u", i);
        CHECK(pg_work_put(img, &key, &val, PG_ENTRY_PLAIN, NULL));
    }
    in.self_contained = true;
    in.body_len = pg_body_encode(img, PG_FORM_WHOLE, forge.body,
                                 sizeof(forge.body), &in.nentries);
    in.body = forge.body;
    in.image_len = (uint32_t)pg_image_compact_bytes(img, 0);
    CHECK_OK(pf_batch_add(rig->file, &in, ref));
}

enum forgery {
    FORGE_SANE,
    FORGE_LARGE,
    FORGE_CHAIN,
    FORGE_ID,
    FORGE_KIND
};

static void forge_store(struct rig *rig, enum forgery what)
{
    struct pg_ref chain[PG_CHAIN_MAX + 1], root;
    struct pf_record rec = { .rev = 1, .time_us = 1001 };

    rig_start(rig);
    CHECK_OK(pf_batch_begin(rig->file, (uint64_t)512 << 10));
    if (what == FORGE_KIND) {
        struct pg_frag_in in = { .kind = PG_OVERFLOW,
                                 .self_contained = true,
                                 .birth = 1,
                                 .count = 3,
                                 .nentries = 1,
                                 .body = "abc",
                                 .body_len = 3 };

        in.image_len = (uint32_t)pg_image_plain_bytes(3);
        CHECK_OK(pf_batch_add(rig->file, &in, &rec.catalogue));
    } else {
        bool large = what == FORGE_LARGE;

        forge_leaf(rig, "key ", large ? 200 : 10, large ? 1000 : 100, 0, NULL,
                   &root);
        for (unsigned i = 0; what == FORGE_CHAIN && i < PG_CHAIN_MAX; i++) {
            memmove(&chain[1], &chain[0], i * sizeof(chain[0]));
            chain[0] = root;
            forge_leaf(rig, "key ", 10, 100, (uint8_t)(i + 1), chain, &root);
        }
        if (what == FORGE_ID)
            root.id = UINT64_MAX;
        forge_catalogue(rig, &root, &rec.catalogue);
    }
    CHECK_OK(pf_batch_commit(rig->file, &rec, false));
    CHECK_OK(pf_sync(rig->file));
    rig_close(rig);
}

/* What a page says is checked before it is changed or walked. */
static void test_forged_pages(void **state)
{
    static const struct {
        const char *name;
        enum forgery what;
        quire_status scan;
        quire_status put;
    } cases[] = {
        { "nothing wrong", FORGE_SANE, QUIRE_OK, QUIRE_OK },
        { "a leaf of fifty pages", FORGE_LARGE, QUIRE_OK, QUIRE_CORRUPT },
        { "a chain longer than the window", FORGE_CHAIN, QUIRE_OK,
          QUIRE_CORRUPT },
        { "the one id that the cache has no place for", FORGE_ID, QUIRE_CORRUPT,
          QUIRE_CORRUPT },
        { "a value for a root", FORGE_KIND, QUIRE_CORRUPT, QUIRE_CORRUPT },
    };

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct quire_val key = { "key 000004x", 11 }, val = { "v", 1 };
        struct quire_options opt = { .size = sizeof(opt) };
        struct quire_cursor *cur;
        struct quire_txn *txn;
        struct quire *db;
        struct rig rig;
        char name[QUIRE_NAME_MAX + 1];
        quire_status rc;

        CHECK_CASE(cases[c].name);
        rig_init(&rig, false);
        forge_store(&rig, cases[c].what);
        opt.io = &rig.fault.io;
        opt.sys = &rig.fault.sys;
        CHECK_OK(quire_open(RIG_PATH, &opt, &db));
        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        CHECK_STATUS(quire_put(txn, NULL, &key, &val, 0), cases[c].put);
        quire_abort(txn);
        CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
        rc = quire_tree_next(txn, NULL, name);
        CHECK_STATUS(rc, cases[c].what != FORGE_KIND ? QUIRE_NOTFOUND
                                                     : QUIRE_CORRUPT);
        rc = quire_cursor_open(txn, NULL, &cur);
        while (rc == QUIRE_OK)
            rc = quire_cursor_next(cur);
        CHECK_STATUS(rc, cases[c].scan == QUIRE_OK ? QUIRE_NOTFOUND
                                                   : cases[c].scan);
        quire_abort(txn);
        rc = quire_verify(db, NULL, NULL, NULL);
        CHECK_STATUS(rc, cases[c].scan);
        CHECK_OK(quire_close(db));
        rig_fini(&rig);
    }
}

/* Twelve pages that are a thousand million million ones to whoever follows each
 * reference: a walk of the whole tree ends all the same. */
static void test_forged_tower(void **state)
{
    struct pf_record rec = { .rev = 1, .time_us = 1001 };
    struct quire_options opt = { .size = sizeof(opt) };
    struct quire_tree_stat st = { .size = sizeof(st) };
    struct pg_ref root;
    struct quire_txn *txn;
    struct quire *db;
    struct rig rig;
    uint64_t n = 0;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    CHECK_OK(pf_batch_begin(rig.file, (uint64_t)512 << 10));
    forge_leaf(&rig, "", 0, 0, 0, NULL, &root);
    for (unsigned level = 1; level < 12; level++)
        forge_inner(&rig, 20, &root);
    forge_catalogue(&rig, &root, &rec.catalogue);
    CHECK_OK(pf_batch_commit(rig.file, &rec, false));
    CHECK_OK(pf_sync(rig.file));
    rig_close(&rig);
    opt.io = &rig.fault.io;
    opt.sys = &rig.fault.sys;
    CHECK_OK(quire_open(RIG_PATH, &opt, &db));
    CHECK_STATUS(quire_verify(db, NULL, NULL, NULL), QUIRE_CORRUPT);
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    CHECK_STATUS(quire_tree_stat_get(txn, NULL, &st), QUIRE_CORRUPT);
    CHECK_OK(quire_count_range(txn, NULL, NULL, NULL, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(quire_del_range(txn, NULL, NULL, NULL, &n));
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_come_and_go),
        cmocka_unit_test(test_children_entered_later),
        cmocka_unit_test(test_great_catalogue),
        cmocka_unit_test(test_cursor_step_again),
        cmocka_unit_test(test_forged_pages),
        cmocka_unit_test(test_forged_tower),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
