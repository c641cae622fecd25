/*
 * Labels through quire.h: what a call does to them, at every revision, in
 * savepoints and aborts, beside values of any length, and what they cost.
 * Random histories with labels are in test_store_versioning.c and wherever
 * lib_change.c makes changes.
 */
#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define PATH "labels.quire"

struct shop {
    struct mem_disk *disk;
    struct quire_options opt;
    struct twin twin;
    uint64_t rand;
};

static void shop_open(struct shop *s)
{
    memset(s, 0, sizeof(*s));
    s->rand = test_seed();
    s->disk = mem_disk_create();
    s->opt = (struct quire_options){
        .size = sizeof(s->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = 4096,
        .flags = QUIRE_NOBACKGROUND,
        .io = mem_disk_io(s->disk),
    };
    twin_init(&s->twin);
    CHECK_OK(twin_open(&s->twin, PATH, &s->opt));
}

static void shop_check(struct shop *s)
{
    char why[MODEL_WHY_CAP];

    for (quire_rev rev = 0; rev <= s->twin.published; rev++) {
        if (!model_same_at(s->twin.model, s->twin.db, rev, MODEL_DEEP, why)) {
            print_error("revision %llu: %s\n", (unsigned long long)rev, why);
            CHECK(false);
        }
    }
}

static void shop_reopen(struct shop *s)
{
    CHECK_OK(twin_close(&s->twin));
    CHECK_OK(twin_open(&s->twin, PATH, &s->opt));
}

static void shop_close(struct shop *s)
{
    shop_check(s);
    shop_reopen(s);
    shop_check(s);
    CHECK_OK(quire_verify(s->twin.db, NULL, NULL, NULL));
    CHECK_OK(twin_close(&s->twin));
    twin_fini(&s->twin);
    mem_disk_destroy(s->disk);
}

static struct quire_val val_of(const char *text)
{
    return (struct quire_val){ text, strlen(text) };
}

static void put(struct shop *s, const char *key, size_t len, const char *label)
{
    struct quire_val k = val_of(key), l = val_of(label);
    struct quire_val v = twin_gen_val(&s->twin, len, &s->rand);

    CHECK_OK(twin_put_labeled(&s->twin, NULL, &k, &v, &l, 0));
}

/* The label of `key` in `txn` is `want`; NULL: there is no such record. */
static void is(struct quire_txn *txn, const char *key, const char *want)
{
    struct quire_val k = val_of(key);
    char buf[QUIRE_LABEL_MAX];
    size_t size = 999;
    quire_status rc = quire_get_label(txn, NULL, &k, buf, sizeof(buf), &size);

    if (want == NULL) {
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
        CHECK_EQ(size, 999);
        return;
    }
    CHECK_OK(rc);
    CHECK_EQ(size, strlen(want));
    CHECK_MEM_EQ(buf, want, size);
}

/* A record is replaced as a whole, whichever call does it. */
static void test_puts_replace_labels(void **state)
{
    static const char *const ways[] = { "put",    "put if",
                                        "swap",   "delete and put",
                                        "cursor", "empty label" };
    struct quire_val key = val_of("key"), val = val_of("new");
    struct quire_val none = { NULL, 0 };
    struct quire_cursor *cur;
    struct shop s;
    uint64_t size;

    (void)state;
    shop_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct twin *t = &s.twin;

        CHECK_CASE(ways[i]);
        CHECK_OK(twin_begin(t));
        put(&s, "key", 10, "a label");
        CHECK_OK(twin_commit(t, QUIRE_NOSYNC));
        CHECK_OK(twin_begin(t));
        is(t->txn, "key", "a label");
        if (i == 0) {
            CHECK_OK(quire_put(t->txn, NULL, &key, &val, 0));
        } else if (i == 1) {
            const struct model_rec *r = model_find(
                model_work_tree(t->model, NULL), key.data, key.size);
            struct quire_val old = { model_val(r), r->val_len };

            CHECK_OK(quire_put_if(t->txn, NULL, &key, &old, &val));
        } else if (i == 2) {
            CHECK_OK(quire_swap(t->txn, NULL, &key, &val, NULL, 0, &size));
        } else if (i == 3) {
            CHECK_OK(quire_del(t->txn, NULL, &key));
            is(t->txn, "key", NULL);
            CHECK_OK(quire_put(t->txn, NULL, &key, &val, 0));
        } else if (i == 4) {
            CHECK_OK(quire_cursor_open(t->txn, NULL, &cur));
            CHECK_OK(quire_cursor_put(cur, &key, &val, 0));
        } else {
            CHECK_OK(quire_put_labeled(t->txn, NULL, &key, &val, &none, 0));
        }
        model_put(t->model, NULL, &key, &val);
        is(t->txn, "key", "");
        CHECK_OK(twin_commit(t, QUIRE_NOSYNC));
    }
    shop_close(&s);
}

/* Values of every sort keep their labels, and lose and get them without being
 * touched; flags are obeyed. */
static void test_labels_beside_values(void **state)
{
    static const size_t lens[] = { 0, 1, 1024, 1025, 60000, 700000 };
    struct shop s;
    char key[16];

    (void)state;
    shop_open(&s);
    CHECK_OK(twin_begin(&s.twin));
    for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
        snprintf(key, sizeof(key), "%u", i);
        put(&s, key, lens[i], "first");
        put(&s, key, lens[i], "again");
    }
    CHECK_OK(twin_commit(&s.twin, 0));
    for (unsigned pass = 0; pass < 3; pass++) {
        struct quire_val label = val_of(pass == 1 ? "" : "another one");
        uint64_t written;
        struct quire_stat st = { .size = sizeof(st) };

        CHECK_OK(quire_stat_get(s.twin.db, &st));
        written = st.written_bytes;
        CHECK_OK(twin_begin(&s.twin));
        for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
            struct quire_val k = val_of(key);

            snprintf(key, sizeof(key), "%u", i);
            k.size = strlen(key);
            CHECK_OK(twin_set_label(&s.twin, NULL, &k, &label));
            CHECK_OK(twin_set_label(&s.twin, NULL, &k, &label));
            is(s.twin.txn, key, pass == 1 ? "" : "another one");
        }
        CHECK_OK(twin_commit(&s.twin, 0));
        CHECK_OK(quire_stat_get(s.twin.db, &st));
        CHECK(st.written_bytes - written < 24000); /* no value among them */
        shop_reopen(&s);
    }
    /* A new value of this transaction, relabelled, stays what it is. */
    CHECK_OK(twin_begin(&s.twin));
    put(&s, "new", 20000, "");
    CHECK_OK(twin_set_label(&s.twin, NULL, &(struct quire_val){ "new", 3 },
                            &(struct quire_val){ "label", 5 }));
    CHECK_OK(twin_commit(&s.twin, 0));
    CHECK_OK(twin_begin(&s.twin));
    CHECK_STATUS(
        twin_put_labeled(&s.twin, NULL, &(struct quire_val){ "new", 3 },
                         &(struct quire_val){ "x", 1 },
                         &(struct quire_val){ "y", 1 }, QUIRE_NOREPLACE),
        QUIRE_EXISTS);
    is(s.twin.txn, "new", "label");
    twin_abort(&s.twin);
    shop_close(&s);
}

/* Savepoints, aborts and old revisions have the labels of their time. */
static void test_labels_of_their_time(void **state)
{
    struct quire_val key = val_of("key"), one = val_of("one");
    struct quire_val two = val_of("two");
    struct quire_txn *txn;
    quire_savepoint sp;
    struct shop s;

    (void)state;
    shop_open(&s);
    CHECK_OK(twin_begin(&s.twin));
    put(&s, "key", 5, "zero");
    CHECK_OK(twin_commit(&s.twin, 0));
    CHECK_OK(twin_begin(&s.twin));
    CHECK_OK(quire_set_label(s.twin.txn, NULL, &key, &one));
    CHECK_OK(quire_savepoint_set(s.twin.txn, &sp));
    CHECK_OK(quire_set_label(s.twin.txn, NULL, &key, &two));
    is(s.twin.txn, "key", "two");
    CHECK_OK(quire_savepoint_rollback(s.twin.txn, sp));
    is(s.twin.txn, "key", "one");
    CHECK_OK(quire_begin(s.twin.db, QUIRE_READ, &txn));
    is(txn, "key", "zero");
    quire_abort(txn);
    twin_abort(&s.twin);
    CHECK_OK(twin_begin(&s.twin));
    is(s.twin.txn, "key", "zero");
    CHECK_OK(twin_set_label(&s.twin, NULL, &key, &two));
    CHECK_OK(twin_commit(&s.twin, 0));
    CHECK_OK(twin_begin(&s.twin));
    CHECK_OK(twin_del(&s.twin, NULL, &key));
    CHECK_OK(twin_commit(&s.twin, 0));
    for (quire_rev rev = 1; rev <= 3; rev++) {
        CHECK_OK(quire_begin_at(s.twin.db, rev, &txn));
        is(txn, "key", rev == 1 ? "zero" : rev == 2 ? "two" : NULL);
        quire_abort(txn);
    }
    shop_close(&s);
}

/* A transaction larger than memory writes leaves with labels ahead; splits and
 * merges move them. */
static void test_labels_written_ahead(void **state)
{
    uint8_t text[QUIRE_LABEL_MAX];
    struct shop s;
    char key[16];

    (void)state;
    shop_open(&s);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_OK(twin_begin(&s.twin));
        for (unsigned i = 0; i < 8000; i++) {
            unsigned n = (unsigned)test_rand_below(&s.rand, 12000);
            struct quire_val k = { key, 0 }, v, l = { text, 0 };

            k.size = (size_t)snprintf(key, sizeof(key), "%06u", n);
            if (round > 0 && i % 3 == 0) {
                quire_status rc = twin_del(&s.twin, NULL, &k);

                CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
                continue;
            }
            v = twin_gen_val(&s.twin, 20, &s.rand);
            l.size = gen_label(&s.rand, text);
            CHECK_OK(twin_put_labeled(&s.twin, NULL, &k, &v, &l, 0));
        }
        CHECK_OK(twin_commit(&s.twin, QUIRE_NOSYNC));
    }
    shop_close(&s);
}

/* What label memories take is weighed by the cache and told of trees; where no
 * record has a label there is none. */
static void test_labels_are_accounted_for(void **state)
{
    struct quire_tree_stat st = { .size = sizeof(st) };
    struct quire_stat before = { .size = sizeof(before) };
    struct quire_stat after = { .size = sizeof(after) };
    uint64_t bytes[2], segs[2];
    struct quire_txn *txn;
    struct shop s;
    char key[16];

    (void)state;
    shop_open(&s);
    for (unsigned with = 0; with < 2; with++) {
        CHECK_OK(twin_begin(&s.twin));
        for (unsigned i = 0; i < 100; i++) {
            snprintf(key, sizeof(key), "%06u", i);
            put(&s, key, 20, with != 0 && i == 50 ? "only" : "");
        }
        CHECK_OK(twin_commit(&s.twin, 0));
        shop_reopen(&s);
        CHECK_OK(quire_stat_get(s.twin.db, &before));
        CHECK_OK(quire_begin(s.twin.db, QUIRE_READ, &txn));
        is(txn, "000050", with != 0 ? "only" : "");
        CHECK_OK(quire_tree_stat_get(txn, NULL, &st));
        quire_abort(txn);
        CHECK_OK(quire_stat_get(s.twin.db, &after));
        bytes[with] = after.cache.bytes - before.cache.bytes;
        segs[with] = after.pool.segments_in_use - before.pool.segments_in_use;
        CHECK_EQ(st.leaf_pages, 1);
        CHECK_EQ(st.label_bytes, with != 0 ? 16 + 4 * 100 + 1 + 4 : 0);
    }
    CHECK_EQ(bytes[1], bytes[0] + QUIRE_SEG_MIN);
    CHECK_EQ(segs[1], segs[0] + 1);
    CHECK_OK(twin_begin(&s.twin));
    CHECK_OK(twin_set_label(&s.twin, NULL, &(struct quire_val){ "000001", 6 },
                            &(struct quire_val){ "x", 1 }));
    CHECK_OK(quire_tree_stat_get(s.twin.txn, NULL, &st));
    CHECK_EQ(st.label_bytes, 16 + 4 * 100 + 1 + 4 + 1 + 1);
    twin_abort(&s.twin);
    shop_close(&s);
}

static void test_labels_refused(void **state)
{
    static const char text[QUIRE_LABEL_MAX + 1];
    struct quire_val key = val_of("key"), none = val_of("none");
    struct quire_val longest = { text, QUIRE_LABEL_MAX };
    struct quire_val longer = { text, QUIRE_LABEL_MAX + 1 };
    struct quire_val lost = { NULL, 1 }, long_key;
    struct quire_cursor *cur;
    struct quire_val label;
    struct quire_txn *txn;
    uint8_t buf[4];
    size_t size = 0;
    struct shop s;

    (void)state;
    shop_open(&s);
    CHECK_OK(twin_begin(&s.twin));
    txn = s.twin.txn;
    put(&s, "key", 5, "label");
    CHECK_STATUS(quire_put_labeled(txn, NULL, &key, &key, &longer, 0),
                 QUIRE_TOOBIG);
    CHECK(strstr(quire_error_detail(), "a label of 256 bytes") != NULL);
    CHECK_STATUS(quire_put_labeled(txn, NULL, &key, &key, NULL, 0),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_put_labeled(txn, NULL, &key, &key, &lost, 0),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_put_labeled(txn, NULL, &key, &key, &key, 64),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_set_label(txn, NULL, &key, &longer), QUIRE_TOOBIG);
    CHECK_STATUS(quire_set_label(txn, NULL, &key, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_set_label(txn, NULL, &none, &longest), QUIRE_NOTFOUND);
    long_key.data = memset(malloc(4096), 'k', 4096);
    long_key.size = 4096;
    CHECK_STATUS(quire_set_label(txn, NULL, &long_key, &longest),
                 QUIRE_NOTFOUND);
    CHECK_STATUS(quire_get_label(txn, NULL, &long_key, NULL, 0, &size),
                 QUIRE_NOTFOUND);
    free((void *)(uintptr_t)long_key.data);
    CHECK_STATUS(quire_get_label(txn, NULL, &key, NULL, 1, &size),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_get_label(txn, NULL, &key, buf, 4, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_get_label(txn, NULL, &key, buf, 4, &size)); /* a part */
    CHECK_EQ(size, 5);
    CHECK_MEM_EQ(buf, "labe", 4);
    CHECK_OK(quire_get_label(txn, NULL, &key, NULL, 0, &size));
    CHECK_EQ(size, 5);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_STATUS(quire_cursor_get_label(cur, &label), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_next(cur));
    CHECK_STATUS(quire_cursor_get_label(cur, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_cursor_get_label(cur, &label));
    CHECK_EQ(label.size, 5);
    CHECK_OK(twin_set_label(&s.twin, NULL, &key, &longest));
    CHECK_OK(quire_cursor_get_label(cur, &label));
    CHECK_EQ(label.size, QUIRE_LABEL_MAX);
    CHECK_OK(quire_cursor_del(cur));
    CHECK_STATUS(quire_cursor_get_label(cur, &label), QUIRE_NOTFOUND);
    CHECK(model_del(s.twin.model, NULL, &key));
    put(&s, "key", 5, "label");
    CHECK_OK(twin_commit(&s.twin, 0));
    CHECK_OK(quire_begin(s.twin.db, QUIRE_READ, &txn));
    CHECK_STATUS(quire_set_label(txn, NULL, &key, &key), QUIRE_READONLY);
    CHECK_STATUS(quire_put_labeled(txn, NULL, &key, &key, &key, 0),
                 QUIRE_READONLY);
    quire_abort(txn);
    shop_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_puts_replace_labels),
        cmocka_unit_test(test_labels_beside_values),
        cmocka_unit_test(test_labels_of_their_time),
        cmocka_unit_test(test_labels_written_ahead),
        cmocka_unit_test(test_labels_are_accounted_for),
        cmocka_unit_test(test_labels_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
