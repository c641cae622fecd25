/*
 * test_store_history.c - long random histories against the model: every
 * revision, in every configuration, before and after reopening.
 *
 * A history is puts, deletes, gets, aborts, new and dropped trees, metadata,
 * un-synced and empty commits, and from time to time everything of a tree is
 * deleted and put again. After it each revision is compared in both directions,
 * by seeks and by gets.
 */
#include <inttypes.h>

#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define PATH "history.quire"

struct config {
    uint32_t page_bytes;
    quire_versioning versioning;
    uint32_t window;
    uint64_t budget_bytes;
};

struct history {
    struct mem_disk *disk;
    struct quire_options opt;
    struct twin twin;
    uint64_t rand;
    uint64_t range; /* of keys */
    uint64_t revs;  /* revisions compared */
    uint64_t recs;  /* records in these */
    char name[96];
};

static const char *const tree_names[] = { NULL, "second", "third" };

static uint64_t below(struct history *h, uint64_t n)
{
    return test_rand_below(&h->rand, n);
}

static void history_begin(struct history *h, const struct config *c,
                          uint64_t seed)
{
    memset(h, 0, sizeof(*h));
    snprintf(h->name, sizeof(h->name),
             "page %u, versioning %d, window %u, budget %" PRIu64,
             c->page_bytes, (int)c->versioning, c->window, c->budget_bytes);
    CHECK_CASE(h->name);
    h->disk = mem_disk_create();
    h->rand = seed;
    h->range = 150 + below(h, 400);
    h->opt = (struct quire_options){
        .size = sizeof(h->opt),
        .budget_bytes = c->budget_bytes,
        .page_bytes = c->page_bytes,
        .versioning = c->versioning,
        .window = c->window,
        .io = mem_disk_io(h->disk),
    };
    if (below(h, 3) > 0)
        h->opt.flags |= QUIRE_NOBACKGROUND;
    twin_init(&h->twin);
    CHECK_OK(twin_open(&h->twin, PATH, &h->opt));
}

static void history_end(struct history *h)
{
    print_message("%s: %" PRIu64 " revisions, %" PRIu64 " compared, of %" PRIu64
                  " records\n",
                  h->name, h->twin.published, h->revs, h->recs);
    CHECK_OK(twin_close(&h->twin));
    twin_fini(&h->twin);
    mem_disk_destroy(h->disk);
}

static void tell_fault(void *arg, const struct quire_fault *f)
{
    (void)arg;
    print_error("verify: revision %" PRIu64 ", offset %" PRIu64 ", %d: %s\n",
                f->rev, f->file_off, (int)f->status, f->text);
}

static void history_check(struct history *h, quire_rev from, quire_rev step)
{
    struct quire_verify_report report = { .size = sizeof(report) };
    const struct model_snap *snap;
    char why[MODEL_WHY_CAP];
    uint64_t records = 0;

    for (quire_rev rev = from; rev <= h->twin.published; rev += step) {
        if (!model_same_at(h->twin.model, h->twin.db, rev, MODEL_DEEP, why)) {
            print_error("%s\n", why);
            CHECK(false);
        }
        snap = model_at(h->twin.model, rev);
        for (size_t i = 0; i < snap->n; i++)
            h->recs += snap->trees[i]->n;
        h->revs++;
    }
    CHECK_OK(quire_verify(h->twin.db, tell_fault, NULL, &report));
    snap = model_at(h->twin.model, h->twin.published);
    for (size_t i = 0; i < snap->n; i++)
        records += snap->trees[i]->n;
    CHECK_EQ(report.records, records);
    CHECK_EQ(report.faults, 0);
}

static void history_reopen(struct history *h)
{
    CHECK_OK(twin_close(&h->twin));
    CHECK_OK(twin_open(&h->twin, PATH, &h->opt));
}

/* A key for `tree`: each has shapes of its own. */
static void pick_key(struct history *h, unsigned tree, uint8_t *buf,
                     struct quire_val *key)
{
    static const enum gen_shape shapes[][2] = {
        { GEN_PREFIX, GEN_LONG },
        { GEN_INT, GEN_INT },
        { GEN_BINARY, GEN_TEXT },
    };
    enum gen_shape shape = shapes[tree][below(h, 2)];

    key->data = buf;
    key->size = gen_key(&h->rand, shape, h->range,
                        QUIRE_KEY_MAX(h->opt.page_bytes), buf);
}

static size_t pick_len(struct history *h)
{
    uint64_t what = below(h, 200);

    if (what == 0)
        return 262144 + below(h, 300000);
    if (what < 6)
        return below(h, 3 * (uint64_t)h->opt.page_bytes);
    if (what < 30)
        return below(h, h->opt.page_bytes / 3);
    return below(h, 60);
}

static void change_one(struct history *h)
{
    unsigned tree = (unsigned)below(h, ARRAY_LEN(tree_names));
    const char *name = tree_names[tree];
    uint8_t buf[GEN_KEY_MAX];
    struct quire_val key;
    quire_status rc;

    if (!model_tree_exists(h->twin.model, name))
        CHECK_OK(twin_tree_create(&h->twin, name));
    pick_key(h, tree, buf, &key);
    switch (below(h, 12)) {
    case 0:
    case 1:
    case 2:
        rc = twin_del(&h->twin, name, &key);
        CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
        break;
    case 3:
        rc = twin_get(&h->twin, name, &key);
        CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND || rc == QUIRE_TOOBIG);
        break;
    case 4:
        rc = twin_put(&h->twin, name, &key,
                      &(struct quire_val){ "only if new", 11 },
                      QUIRE_NOREPLACE);
        CHECK(rc == QUIRE_OK || rc == QUIRE_EXISTS);
        break;
    default:
        CHECK_OK(
            twin_put_gen(&h->twin, name, buf, key.size, pick_len(h), &h->rand));
        break;
    }
}

/* Delete all that a tree holds, forward, backward or in random order. */
static void delete_all(struct history *h, const char *name)
{
    const struct model_tree *t = model_work_tree(h->twin.model, name);
    uint64_t how = below(h, 3);

    while (t != NULL && t->n > 0) {
        size_t i = how == 0 ? 0 : how == 1 ? t->n - 1 : (size_t)below(h, t->n);
        uint8_t buf[GEN_KEY_MAX];
        struct quire_val key = { buf, t->recs[i]->key_len };

        memcpy(buf, t->recs[i]->bytes, key.size);
        CHECK_OK(twin_del(&h->twin, name, &key));
        t = model_work_tree(h->twin.model, name);
    }
}

static void put_series(struct history *h, const char *name, unsigned n)
{
    bool down = below(h, 2) == 0;

    for (unsigned i = 0; i < n; i++) {
        char key[24];
        int len = snprintf(key, sizeof(key), "%08u", down ? n - i : i);

        CHECK_OK(twin_put_gen(&h->twin, name, key, (size_t)len, below(h, 100),
                              &h->rand));
    }
}

static void one_transaction(struct history *h)
{
    struct twin *t = &h->twin;
    unsigned n = below(h, 4) == 0 ? 60 : 8;
    unsigned flags = below(h, 3) == 0 ? QUIRE_NOSYNC : 0;

    CHECK_OK(twin_begin(t));
    switch (below(h, 16)) {
    case 0:
        delete_all(h, NULL);
        break;
    case 1:
        put_series(h, NULL, 200);
        break;
    case 2:
        delete_all(h, NULL);
        put_series(h, NULL, 30);
        break;
    case 3:
        if (model_tree_exists(t->model, "third"))
            CHECK_OK(twin_tree_drop(t, "third"));
        break;
    case 4:
        CHECK_OK(twin_set_meta(t, NULL,
                               &(struct quire_val){ h->name, below(h, 90) }));
        break;
    default:
        break;
    }
    for (unsigned i = 1 + (unsigned)below(h, n); i > 0; i--)
        change_one(h);
    if (below(h, 7) == 0)
        twin_abort(t);
    else
        CHECK_OK(twin_commit(t, flags | (below(h, 2) ? QUIRE_EMPTY : 0)));
}

/* The committed state is read in the writer's own transaction as well. */
static void look_inside(struct history *h)
{
    struct model *m;
    char why[MODEL_WHY_CAP];

    CHECK_OK(twin_begin(&h->twin));
    for (unsigned i = 0; i < 20; i++)
        change_one(h);
    m = model_fork_work(h->twin.model);
    if (!model_same(model_at(m, model_newest(m)), h->twin.txn, MODEL_DEEP,
                    why)) {
        print_error("%s\n", why);
        CHECK(false);
    }
    model_destroy(m);
    if (below(h, 2) == 0)
        twin_abort(&h->twin);
    else
        CHECK_OK(twin_commit(&h->twin, QUIRE_EMPTY));
}

static void run_history(const struct config *c, uint64_t seed,
                        unsigned ntransactions)
{
    struct history h;

    history_begin(&h, c, seed);
    for (unsigned i = 1; i <= ntransactions; i++) {
        one_transaction(&h);
        if (i % 16 == 3)
            look_inside(&h);
        if (i % 13 == 0)
            history_reopen(&h);
        if (i % 20 == 0)
            history_check(&h, h.twin.published, 1);
    }
    CHECK_OK(twin_sync(&h.twin));
    history_check(&h, 0, 1);
    history_reopen(&h);
    history_check(&h, below(&h, 3), 3);
    history_end(&h);
}

static void test_random_histories(void **state)
{
    static const uint32_t pages[] = { 4096, 16384 };
    static const quire_versioning versionings[] = {
        QUIRE_VERSIONING_FULL,         QUIRE_VERSIONING_INCREMENTAL,
        QUIRE_VERSIONING_DIFFERENTIAL, QUIRE_VERSIONING_SLIDING,
        QUIRE_VERSIONING_ADAPTIVE,
    };
    static const uint32_t windows[] = { 2, 4, 16 };
    uint64_t seed = test_seed();
    unsigned n = (unsigned)test_rounds(160);

    (void)state;
    for (size_t p = 0; p < ARRAY_LEN(pages); p++) {
        for (size_t v = 0; v < ARRAY_LEN(versionings); v++) {
            for (size_t w = 0; w < ARRAY_LEN(windows); w++) {
                struct config c = { pages[p], versionings[v], windows[w],
                                    (p + v + w) % 2 == 0 ? QUIRE_BUDGET_MIN
                                                         : 0 };

                run_history(&c, seed++, n);
            }
        }
    }
}

static void test_one_long_history(void **state)
{
    struct config c = { 4096, QUIRE_VERSIONING_DEFAULT, 0, QUIRE_BUDGET_MIN };

    (void)state;
    run_history(&c, test_seed() + 1000, (unsigned)test_rounds(2000));
}

static void test_largest_pages(void **state)
{
    struct config c = { QUIRE_PAGE_MAX, QUIRE_VERSIONING_INCREMENTAL, 3,
                        QUIRE_BUDGET_MIN };

    (void)state;
    run_history(&c, test_seed() + 2000, (unsigned)test_rounds(300));
}

/* More revisions than are kept in memory between two superblocks. */
static void test_many_revisions(void **state)
{
    struct config c = { 4096, QUIRE_VERSIONING_DEFAULT, 0, QUIRE_BUDGET_MIN };
    unsigned n = (unsigned)test_rounds(2500);
    struct history h;

    (void)state;
    history_begin(&h, &c, test_seed());
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(twin_begin(&h.twin));
        change_one(&h);
        CHECK_OK(twin_commit(&h.twin,
                             QUIRE_EMPTY | (i % 50 == 0 ? 0 : QUIRE_NOSYNC)));
        if (i % 701 == 700)
            history_reopen(&h);
    }
    CHECK_EQ(h.twin.published, n);
    for (unsigned round = 0; round < 2; round++) {
        history_check(&h, below(&h, 50), 97);
        for (quire_rev rev = 1; rev <= n; rev++) {
            struct quire_rev_info info = { .size = sizeof(info) };

            CHECK_OK(quire_rev_info(h.twin.db, rev, &info));
            CHECK_EQ(info.rev, rev);
        }
        history_reopen(&h);
    }
    history_end(&h);
}

/* A tree that grows to many levels, goes to nothing, and grows again. */
static void test_growing_and_vanishing(void **state)
{
    struct config c = { 4096, QUIRE_VERSIONING_DEFAULT, 0, QUIRE_BUDGET_MIN };
    struct history h;

    (void)state;
    history_begin(&h, &c, test_seed());
    for (unsigned round = 0; round < 4; round++) {
        CHECK_OK(twin_begin(&h.twin));
        put_series(&h, NULL, (unsigned)test_rounds(6000));
        CHECK_OK(twin_commit(&h.twin, QUIRE_NOSYNC));
        history_check(&h, h.twin.published, 1);
        CHECK_OK(twin_begin(&h.twin));
        delete_all(&h, NULL);
        if (round % 2 == 0) {
            CHECK_OK(twin_commit(&h.twin, QUIRE_NOSYNC));
            history_check(&h, h.twin.published, 1);
        } else { /* and all within one transaction */
            put_series(&h, NULL, 500);
            CHECK_OK(twin_commit(&h.twin, 0));
            history_reopen(&h);
        }
    }
    history_check(&h, 0, 1);
    history_end(&h);
}

/* ---- a cursor beside puts and deletes ---- */

/* The cursor's place in the model: a key, or none. */
struct place {
    bool on;
    uint8_t key[GEN_KEY_MAX];
    size_t len;
};

static void place_set(struct place *p, const struct model_tree *t, size_t i)
{
    p->on = i < t->n;
    if (p->on) {
        p->len = t->recs[i]->key_len;
        memcpy(p->key, t->recs[i]->bytes, p->len);
    }
}

static void step(struct history *h, struct quire_cursor *cur, struct place *p,
                 bool forward)
{
    const struct model_tree *t = model_work_tree(h->twin.model, NULL);
    quire_status rc = forward ? quire_cursor_next(cur) : quire_cursor_prev(cur);
    bool found = false;
    size_t i;

    if (p->on) {
        i = model_seek(t, p->key, p->len, &found);
        i = forward ? i + (found ? 1 : 0) : i - 1; /* 0 - 1: beyond all */
    } else {
        i = forward ? 0 : t->n - 1;
    }
    place_set(p, t, i);
    CHECK_STATUS(rc, p->on ? QUIRE_OK : QUIRE_NOTFOUND);
}

static void check_place(struct history *h, struct quire_cursor *cur,
                        const struct place *p)
{
    const struct model_tree *t = model_work_tree(h->twin.model, NULL);
    const struct model_rec *r = p->on ? model_find(t, p->key, p->len) : NULL;
    struct quire_val key;
    struct quire_val val;
    quire_status rc = quire_cursor_get(cur, &key, &val);

    if (r == NULL) {
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
        return;
    }
    CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
    CHECK_EQ(key.size, p->len);
    CHECK_MEM_EQ(key.data, p->key, p->len);
    CHECK_EQ(val.size, r->val_len);
    if (rc == QUIRE_OK)
        CHECK_MEM_EQ(val.data, model_val(r), val.size);
}

static void test_cursors_walk_beside_changes(void **state)
{
    struct config c = { 4096, QUIRE_VERSIONING_DEFAULT, 0, QUIRE_BUDGET_MIN };
    unsigned rounds = (unsigned)test_rounds(200);
    struct history h;

    (void)state;
    history_begin(&h, &c, test_seed());
    for (unsigned round = 0; round < rounds; round++) {
        struct quire_cursor *cur[3] = { NULL };
        struct place place[3] = { { .on = false } };

        CHECK_OK(twin_begin(&h.twin));
        for (unsigned k = 0; k < 3; k++)
            CHECK_OK(quire_cursor_open(h.twin.txn, NULL, &cur[k]));
        for (unsigned i = 0; i < 400; i++) {
            unsigned k = (unsigned)below(&h, 3);
            struct place *p = &place[k];
            const struct model_tree *t = model_work_tree(h.twin.model, NULL);
            uint8_t buf[GEN_KEY_MAX];
            struct quire_val key;
            quire_status rc;
            bool found;

            pick_key(&h, 0, buf, &key);
            switch (below(&h, 8)) {
            case 0:
                rc = quire_cursor_seek(cur[k], QUIRE_SEEK_GE, &key);
                place_set(p, t, model_seek(t, buf, key.size, &found));
                CHECK_STATUS(rc, p->on ? QUIRE_OK : QUIRE_NOTFOUND);
                break;
            case 1:
                if (p->on) { /* the record under a cursor */
                    key.data = p->key;
                    key.size = p->len;
                }
                rc = twin_del(&h.twin, NULL, &key);
                CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
                break;
            case 2:
            case 3:
                CHECK_OK(twin_put_gen(&h.twin, NULL, buf, key.size,
                                      below(&h, 200), &h.rand));
                break;
            default:
                step(&h, cur[k], p, below(&h, 3) > 0);
                break;
            }
            for (k = 0; k < 3; k++)
                check_place(&h, cur[k], &place[k]);
        }
        if (round % 3 == 2)
            twin_abort(&h.twin);
        else
            CHECK_OK(twin_commit(&h.twin, QUIRE_NOSYNC));
    }
    history_check(&h, 0, 1);
    history_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_one_long_history),
        cmocka_unit_test(test_largest_pages),
        cmocka_unit_test(test_many_revisions),
        cmocka_unit_test(test_growing_and_vanishing),
        cmocka_unit_test(test_cursors_walk_beside_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
