/*
 * test_store_ops.c - the operations of write transactions, one by one and all
 * mixed, against the model.
 *
 * A *run* is a store and a model that get the same random operations; each
 * answer is compared, in the transaction itself; revisions are compared as a
 * whole when they are committed and again later. OPS= sets how many operations
 * the mixed test makes, SEED= which.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

#define V(s) (&(struct quire_val){ (s), sizeof(s) - 1 })

#define RUN_MARKS 8

struct run {
    struct mem_disk *disk;
    struct quire_options opt;
    struct quire *db;
    struct quire_txn *txn;
    struct model *model;
    uint64_t rand;
    bool watched;     /* threads read: it must not be closed */
    uint64_t range;   /* of keys */
    uint32_t val_max; /* bytes, of most values */
    unsigned nmarks;  /* savepoints that are set */
    struct {
        quire_savepoint sp;
        struct model_snap *snap;
    } marks[RUN_MARKS];
    uint8_t *buf; /* for values; RUN_VAL_MAX bytes */
    uint8_t *old; /* likewise */
};

#define RUN_VAL_MAX 600000u

static void run_init(struct run *r, uint32_t page_bytes, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->disk = mem_disk_create();
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = 16 << 20,
        .page_bytes = page_bytes,
        .io = mem_disk_io(r->disk),
    };
    r->rand = seed;
    r->range = 3000;
    r->val_max = 120;
    r->buf = malloc(RUN_VAL_MAX);
    r->old = malloc(RUN_VAL_MAX);
    CHECK(r->buf != NULL && r->old != NULL);
    r->model = model_create();
    CHECK_OK(quire_open("db", &r->opt, &r->db));
}

static void run_close(struct run *r)
{
    struct quire_close_report report = { .size = sizeof(report) };

    CHECK_OK(quire_close_report(r->db, &report));
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
    r->db = NULL;
}

static void run_fini(struct run *r)
{
    if (r->db != NULL)
        run_close(r);
    model_destroy(r->model);
    mem_disk_destroy(r->disk);
    free(r->buf);
    free(r->old);
}

static uint64_t below(struct run *r, uint64_t n)
{
    return test_rand_below(&r->rand, n);
}

/* The default tree, mostly, or one of those that exist. */
static const char *pick_tree(struct run *r)
{
    static const char *const names[] = { NULL, "a", "b", "c" };
    const char *name = names[below(r, 8) % ARRAY_LEN(names)];

    return name != NULL && model_tree_exists(r->model, name) ? name : NULL;
}

static struct quire_tree *tree_of(struct run *r, const char *name)
{
    struct quire_tree *tree = NULL;

    if (name != NULL)
        CHECK_OK(quire_tree_open(r->txn, name, 0, &tree));
    return tree;
}

struct key {
    uint8_t bytes[GEN_KEY_MAX];
    struct quire_val val;
};

static const struct quire_val *pick_key(struct run *r, struct key *key)
{
    enum gen_shape shape = (enum gen_shape)(below(r, 12) % GEN_SHAPES);

    if (shape == GEN_LONG && below(r, 4) != 0)
        shape = GEN_INT;
    key->val.data = key->bytes;
    key->val.size = gen_key(&r->rand, shape, r->range,
                            QUIRE_KEY_MAX(r->opt.page_bytes), key->bytes);
    return &key->val;
}

static struct quire_val pick_val(struct run *r)
{
    struct quire_val v = { r->buf, below(r, r->val_max) };
    uint64_t dice = below(r, 400);

    if (dice == 0)
        v.size = 250000 + below(r, 20000); /* about one overflow page */
    else if (dice < 12)
        v.size = r->opt.page_bytes / 4 + below(r, 3) - 1;
    else if (dice < 16)
        v.size = below(r, 70000);
    gen_bytes(&r->rand, r->buf, v.size);
    return v;
}

static const struct model_rec *model_rec_of(struct run *r, const char *tree,
                                            const struct quire_val *key)
{
    return model_find(model_work_tree(r->model, tree), key->data, key->size);
}

static bool val_is(const struct quire_val *v, const struct model_rec *rec)
{
    return v->size == rec->val_len &&
           (v->data == NULL || memcmp(v->data, model_val(rec), v->size) == 0);
}

/* ---- bounds and counts ---- */

/* Where `how` and `key` lead in the model: an index, or n. */
static size_t model_bound(const struct model_tree *t, quire_seek how,
                          const struct quire_val *key)
{
    bool found;
    size_t i = model_seek(t, key->data, key->size, &found);

    switch (how) {
    case QUIRE_SEEK_FIRST:
        return 0;
    case QUIRE_SEEK_LAST:
        return t->n == 0 ? 0 : t->n - 1;
    case QUIRE_SEEK_EQ:
        return found ? i : t->n;
    case QUIRE_SEEK_GE:
        return i;
    case QUIRE_SEEK_GT:
        return i + found;
    case QUIRE_SEEK_LE:
        return found ? i : i > 0 ? i - 1 : t->n;
    default:
        return i > 0 ? i - 1 : t->n;
    }
}

static void check_bound(struct run *r, struct quire_txn *txn,
                        struct quire_tree *tree, const struct model_tree *t)
{
    quire_seek how = (quire_seek)below(r, QUIRE_SEEK_LT + 1);
    struct quire_val found = { NULL, 0 }, val = { NULL, 0 };
    struct key key;
    size_t i = model_bound(t, how, pick_key(r, &key));
    quire_status rc = quire_get_bound(txn, tree, how, &key.val, &found, &val);

    if (i >= t->n) {
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
        return;
    }
    CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
    CHECK_EQ(found.size, t->recs[i]->key_len);
    CHECK_MEM_EQ(found.data, t->recs[i]->bytes, found.size);
    CHECK(val_is(&val, t->recs[i]));
}

static void check_count(struct run *r, struct quire_txn *txn,
                        struct quire_tree *tree, const struct model_tree *t)
{
    struct key a, b;
    const struct quire_val *from = below(r, 8) == 0 ? NULL : pick_key(r, &a);
    const struct quire_val *to = below(r, 8) == 0 ? NULL : pick_key(r, &b);
    bool found;
    size_t lo = from == NULL ? 0
                             : model_seek(t, from->data, from->size, &found);
    size_t hi = to == NULL ? t->n : model_seek(t, to->data, to->size, &found);
    uint64_t n = 0;

    CHECK_OK(quire_count_range(txn, tree, from, to, &n));
    CHECK_EQ(n, hi > lo ? hi - lo : 0);
}

static void op_bound(struct run *r)
{
    const char *name = pick_tree(r);

    check_bound(r, r->txn, tree_of(r, name), model_work_tree(r->model, name));
}

static void op_count(struct run *r)
{
    const char *name = pick_tree(r);

    check_count(r, r->txn, tree_of(r, name), model_work_tree(r->model, name));
}

/* ---- writes ---- */

static void op_put(struct run *r)
{
    static const unsigned flags[] = { 0, 0, 0, QUIRE_NOREPLACE, QUIRE_REPLACE };
    unsigned flag = flags[below(r, ARRAY_LEN(flags))];
    const char *name = pick_tree(r);
    struct key key;
    const struct model_rec *was = model_rec_of(r, name, pick_key(r, &key));
    struct quire_val val = pick_val(r);
    quire_status want = QUIRE_OK;

    if (was != NULL && flag == QUIRE_NOREPLACE)
        want = QUIRE_EXISTS;
    if (was == NULL && flag == QUIRE_REPLACE)
        want = QUIRE_NOTFOUND;
    CHECK_STATUS(quire_put(r->txn, tree_of(r, name), &key.val, &val, flag),
                 want);
    if (want == QUIRE_OK)
        model_put(r->model, name, &key.val, &val);
}

static void op_del(struct run *r)
{
    const char *name = pick_tree(r);
    struct key key;
    bool was = model_del(r->model, name, pick_key(r, &key));

    CHECK_STATUS(quire_del(r->txn, tree_of(r, name), &key.val),
                 was ? QUIRE_OK : QUIRE_NOTFOUND);
}

static void op_get(struct run *r)
{
    const char *name = pick_tree(r);
    struct key key;
    const struct model_rec *was = model_rec_of(r, name, pick_key(r, &key));
    struct quire_val val = { NULL, 0 };
    quire_status rc = quire_get(r->txn, tree_of(r, name), &key.val, &val);

    if (was == NULL)
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
    else
        CHECK((rc == QUIRE_OK || rc == QUIRE_TOOBIG) && val_is(&val, was));
}

/* A key that exists, if one does; else any. */
static const struct model_rec *pick_rec(struct run *r, const char *name,
                                        struct key *key)
{
    const struct model_tree *t = model_work_tree(r->model, name);
    const struct model_rec *rec;

    if (t->n == 0 || below(r, 4) == 0)
        return model_rec_of(r, name, pick_key(r, key));
    rec = t->recs[below(r, t->n)];
    memcpy(key->bytes, rec->bytes, rec->key_len);
    key->val = (struct quire_val){ key->bytes, rec->key_len };
    return rec;
}

/* Store or delete in the model. */
static void model_set(struct run *r, const char *name,
                      const struct quire_val *key, const struct quire_val *val)
{
    if (val != NULL)
        model_put(r->model, name, key, val);
    else
        model_del(r->model, name, key);
}

static void op_put_if(struct run *r)
{
    const char *name = pick_tree(r);
    struct key key;
    const struct model_rec *was = pick_rec(r, name, &key);
    struct quire_val v = pick_val(r), x = { NULL, 0 };
    const struct quire_val *val = below(r, 3) == 0 ? NULL : &v;
    const struct quire_val *expected = NULL;
    bool equal = was == NULL;
    uint64_t how = below(r, 4);

    if (how > 0) { /* right, too short, or one byte wrong */
        expected = &x;
        equal = false;
        if (was != NULL && was->val_len <= RUN_VAL_MAX) {
            memcpy(r->old, model_val(was), was->val_len);
            x = (struct quire_val){ r->old, was->val_len };
            equal = true;
            if (how == 2 && x.size > 0) {
                x.size--;
                equal = false;
            } else if (how == 3 && x.size > 0) {
                r->old[below(r, x.size)] ^= 1;
                equal = false;
            }
        }
    }
    CHECK_STATUS(
        quire_put_if(r->txn, tree_of(r, name), &key.val, expected, val),
        equal ? QUIRE_OK : QUIRE_MISMATCH);
    if (equal)
        model_set(r, name, &key.val, val);
}

static void op_swap(struct run *r)
{
    const char *name = pick_tree(r);
    struct key key;
    const struct model_rec *was = pick_rec(r, name, &key);
    struct quire_val v = pick_val(r);
    const struct quire_val *val = below(r, 3) == 0 ? NULL : &v;
    size_t cap = below(r, 8) == 0 ? 10 : RUN_VAL_MAX;
    uint64_t size = 0;
    bool fits = was == NULL || was->val_len <= cap;

    CHECK_STATUS(
        quire_swap(r->txn, tree_of(r, name), &key.val, val, r->old, cap, &size),
        fits ? QUIRE_OK : QUIRE_TOOBIG);
    CHECK_EQ(size, was == NULL ? QUIRE_NO_VALUE : was->val_len);
    if (!fits)
        return;
    if (was != NULL)
        CHECK_MEM_EQ(r->old, model_val(was), was->val_len);
    model_set(r, name, &key.val, val);
}

struct update {
    struct run *run;
    const struct model_rec *was;
    int verdict;
    struct quire_val val; /* data NULL: the first `size` bytes of the old */
    unsigned calls;
};

static int update_cb(void *arg, struct quire_update *up,
                     const struct quire_val *old, struct quire_val *val)
{
    struct update *u = arg;
    struct run *r = u->run;
    uint64_t size = 0;

    u->calls++;
    CHECK_EQ(old == NULL, u->was == NULL);
    if (old != NULL) {
        CHECK(val_is(old, u->was));
        CHECK_OK(quire_update_read(up, 0, r->old, RUN_VAL_MAX, &size));
        CHECK_EQ(size, u->was->val_len);
        CHECK_MEM_EQ(r->old, model_val(u->was), size);
        if (u->val.data == NULL) {
            val->data = old->data != NULL ? old->data : r->old;
            val->size = u->val.size;
            return u->verdict;
        }
    } else {
        CHECK_STATUS(quire_update_read(up, 0, NULL, 0, &size), QUIRE_NOTFOUND);
    }
    *val = u->val;
    return u->verdict;
}

static void op_update(struct run *r)
{
    const char *name = pick_tree(r);
    struct key key;
    struct update u = { .run = r, .was = pick_rec(r, name, &key) };
    struct quire_val val;
    quire_status want = QUIRE_OK;

    u.verdict = (int)below(r, 5) - 1; /* -1: QUIRE_NOTFOUND; 3: none */
    val = u.val = pick_val(r);
    if (u.was != NULL && below(r, 2) == 0) { /* cut the old value */
        u.val.data = NULL;
        u.val.size = below(r, u.was->val_len + 1);
        memcpy(r->buf, model_val(u.was), u.val.size);
        val = (struct quire_val){ r->buf, u.val.size };
    }
    if (u.verdict < 0)
        want = (quire_status)u.verdict;
    if (u.verdict > QUIRE_VERDICT_DELETE)
        want = QUIRE_INVAL;
    CHECK_STATUS(
        quire_update(r->txn, tree_of(r, name), &key.val, update_cb, &u), want);
    CHECK_EQ(u.calls, 1);
    if (u.verdict == QUIRE_VERDICT_STORE)
        model_put(r->model, name, &key.val, &val);
    if (u.verdict == QUIRE_VERDICT_DELETE)
        model_del(r->model, name, &key.val);
}

static void op_del_range(struct run *r)
{
    const char *name = pick_tree(r);
    const struct model_tree *t = model_work_tree(r->model, name);
    struct key a, b;
    struct quire_val ends[2];
    const struct quire_val *from, *to;
    size_t lo = 0, hi, len;
    bool found;
    uint64_t n = 0;

    if (below(r, 4) != 0) { /* mostly short ones, from and to real keys */
        len = 1u << below(r, below(r, 4) == 0 ? 12 : 7);
        lo = t->n == 0 ? 0 : below(r, t->n);
        hi = lo + len < t->n ? lo + len : t->n;
        from = to = NULL;
        if (lo < t->n) {
            ends[0] = (struct quire_val){ t->recs[lo]->bytes,
                                          t->recs[lo]->key_len };
            from = &ends[0];
        }
        if (hi < t->n) {
            ends[1] = (struct quire_val){ t->recs[hi]->bytes,
                                          t->recs[hi]->key_len };
            to = &ends[1];
        }
    } else if (below(r, 3) == 0) { /* anything */
        from = below(r, 20) == 0 ? NULL : pick_key(r, &a);
        to = below(r, 20) == 0 ? NULL : pick_key(r, &b);
    } else { /* nothing */
        from = pick_key(r, &a);
        to = from;
    }
    lo = from == NULL ? 0 : model_seek(t, from->data, from->size, &found);
    hi = to == NULL ? t->n : model_seek(t, to->data, to->size, &found);
    CHECK_OK(quire_del_range(r->txn, tree_of(r, name), from, to, &n));
    CHECK_EQ(n, hi > lo ? hi - lo : 0);
    while (n > 0) {
        const struct model_rec *rec =
            model_work_tree(r->model, name)->recs[lo + --n];

        memcpy(a.bytes, rec->bytes, rec->key_len);
        a.val = (struct quire_val){ a.bytes, rec->key_len };
        model_del(r->model, name, &a.val);
    }
}

/* ---- cursors ---- */

/* A cursor with the key that it must be at. */
struct at {
    struct quire_cursor *cur;
    bool on;
    struct key key;
};

/* The cursor answers as one at its key would. */
static void check_at_key(struct run *r, const char *name, struct at *at)
{
    struct quire_val key, val;
    const struct model_rec *rec;
    quire_status rc = quire_cursor_get(at->cur, &key, &val);

    rec = at->on ? model_rec_of(r, name, &at->key.val) : NULL;
    if (rec == NULL) {
        CHECK_STATUS(rc, QUIRE_NOTFOUND);
        return;
    }
    CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
    CHECK_EQ(key.size, rec->key_len);
    CHECK_MEM_EQ(key.data, rec->bytes, key.size);
    CHECK(val_is(&val, rec));
}

static void at_set(struct at *at, const struct model_tree *t, size_t i)
{
    at->on = i < t->n;
    if (!at->on)
        return;
    memcpy(at->key.bytes, t->recs[i]->bytes, t->recs[i]->key_len);
    at->key.val = (struct quire_val){ at->key.bytes, t->recs[i]->key_len };
}

static void at_seek(struct run *r, const char *name, struct at *at)
{
    const struct model_tree *t = model_work_tree(r->model, name);
    quire_seek how = (quire_seek)below(r, QUIRE_SEEK_LT + 1);
    struct key key;
    size_t i = model_bound(t, how, pick_key(r, &key));

    CHECK_STATUS(quire_cursor_seek(at->cur, how, &key.val),
                 i < t->n ? QUIRE_OK : QUIRE_NOTFOUND);
    at_set(at, t, i);
}

static void at_step(struct run *r, const char *name, struct at *at)
{
    const struct model_tree *t = model_work_tree(r->model, name);
    bool forward = below(r, 2) == 0;
    quire_seek how = forward ? QUIRE_SEEK_GT : QUIRE_SEEK_LT;
    size_t i;

    if (!at->on)
        how = forward ? QUIRE_SEEK_FIRST : QUIRE_SEEK_LAST;
    if (!at->on)
        at->key.val = *V("");
    i = model_bound(t, how, &at->key.val);
    CHECK_STATUS(forward ? quire_cursor_next(at->cur)
                         : quire_cursor_prev(at->cur),
                 i < t->n ? QUIRE_OK : QUIRE_NOTFOUND);
    at_set(at, t, i);
}

static void at_put(struct run *r, const char *name, struct at *at)
{
    struct quire_val val = pick_val(r);
    struct key key;

    if (below(r, 2) == 0) {
        pick_key(r, &key);
        CHECK_OK(quire_cursor_put(at->cur, &key.val, &val, 0));
        model_put(r->model, name, &key.val, &val);
        at->on = true;
        memcpy(at->key.bytes, key.bytes, key.val.size);
        at->key.val = (struct quire_val){ at->key.bytes, key.val.size };
    } else if (at->on && model_rec_of(r, name, &at->key.val) != NULL) {
        CHECK_OK(quire_cursor_put(at->cur, NULL, &val, 0));
        model_put(r->model, name, &at->key.val, &val);
    } else {
        CHECK_STATUS(quire_cursor_put(at->cur, NULL, &val, 0), QUIRE_NOTFOUND);
    }
}

static void at_del(struct run *r, const char *name, struct at *at)
{
    bool was = at->on && model_del(r->model, name, &at->key.val);

    CHECK_STATUS(quire_cursor_del(at->cur), was ? QUIRE_OK : QUIRE_NOTFOUND);
}

/* Three cursors on one tree: whatever is done through one, each is where it
 * must be. Long runs of puts and deletes split, merge and empty leaves. */
static void op_cursors(struct run *r)
{
    const char *name = pick_tree(r);
    struct quire_tree *tree = tree_of(r, name);
    static struct at at[3];
    uint64_t len = 1u << below(r, 9);
    uint64_t bias = below(r, 7);

    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        at[i].on = false;
        CHECK_OK(quire_cursor_open(r->txn, tree, &at[i].cur));
    }
    for (uint64_t n = 0; n < len; n++) {
        struct at *a = &at[below(r, ARRAY_LEN(at))];
        uint64_t dice = below(r, 8);

        if (dice == 0)
            at_seek(r, name, a);
        else if (dice == 1 && below(r, 8) == 0)
            op_del_range(r);
        else if (dice < 4)
            at_step(r, name, a);
        else if (dice <= bias)
            at_put(r, name, a);
        else
            at_del(r, name, a);
        check_at_key(r, name, &at[below(r, ARRAY_LEN(at))]);
    }
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        quire_cursor_close(at[i].cur);
}

/* ---- trees ---- */

static void op_tree(struct run *r)
{
    static const char *const names[] = { "a", "b", "c" };
    const char *name = names[below(r, ARRAY_LEN(names))];
    const char *to = names[below(r, ARRAY_LEN(names))];
    uint64_t dice = below(r, 8);
    struct quire_tree *tree;
    struct quire_val meta;
    quire_status want = QUIRE_OK;

    if (!model_tree_exists(r->model, name)) {
        CHECK_STATUS(quire_tree_rename(r->txn, name, to), QUIRE_NOTFOUND);
        CHECK_OK(quire_tree_open(r->txn, name, QUIRE_TREE_CREATE, &tree));
        model_tree_create(r->model, name);
    } else if (dice == 0) {
        CHECK_OK(quire_tree_drop(r->txn, name));
        model_tree_drop(r->model, name);
    } else if (dice < 4) {
        if (model_tree_exists(r->model, to))
            want = QUIRE_EXISTS;
        CHECK_STATUS(quire_tree_rename(r->txn, name, to), want);
        if (want == QUIRE_OK)
            model_tree_rename(r->model, name, to);
    } else if (dice < 6) {
        meta = pick_val(r);
        CHECK_OK(quire_tree_set_meta(r->txn, tree_of(r, name), &meta));
        model_set_meta(r->model, name, &meta);
    }
}

/* ---- savepoints ---- */

static void check_txn(struct run *r)
{
    char why[MODEL_WHY_CAP] = "";
    bool same = model_same(model_work(r->model), r->txn, MODEL_FORWARD, why);

    if (!same)
        print_error("in the transaction: %s\n", why);
    CHECK(same);
}

static void marks_drop(struct run *r, unsigned from)
{
    while (r->nmarks > from)
        model_mark_free(r->marks[--r->nmarks].snap);
}

static void op_savepoint(struct run *r)
{
    uint64_t dice = below(r, 8);
    unsigned i;

    if (r->nmarks == 0 || (dice < 3 && r->nmarks < RUN_MARKS)) {
        i = r->nmarks++;
        CHECK_OK(quire_savepoint_set(r->txn, &r->marks[i].sp));
        CHECK(i == 0 || r->marks[i].sp > r->marks[i - 1].sp);
        r->marks[i].snap = model_mark(r->model);
        return;
    }
    i = r->nmarks - 1; /* mostly the innermost */
    if (below(r, 4) == 0)
        i = (unsigned)below(r, r->nmarks);
    if (dice < 6) {
        quire_savepoint gone = r->marks[r->nmarks - 1].sp;

        CHECK_OK(quire_savepoint_rollback(r->txn, r->marks[i].sp));
        model_back(r->model, r->marks[i].snap);
        if (i < r->nmarks - 1)
            CHECK_STATUS(quire_savepoint_rollback(r->txn, gone),
                         QUIRE_NOTFOUND);
        marks_drop(r, i + 1);
        if (below(r, 16) == 0)
            check_txn(r);
    } else {
        CHECK_OK(quire_savepoint_release(r->txn, r->marks[i].sp));
        CHECK_STATUS(quire_savepoint_release(r->txn, r->marks[i].sp),
                     QUIRE_NOTFOUND);
        marks_drop(r, i);
    }
}

/* ---- all of them ---- */

static const struct {
    void (*op)(struct run *r);
    unsigned weight;
} ops[] = {
    { op_put, 300 },     { op_del, 100 },      { op_get, 100 },
    { op_bound, 100 },   { op_count, 100 },    { op_put_if, 60 },
    { op_swap, 60 },     { op_update, 60 },    { op_tree, 4 },
    { op_del_range, 4 }, { op_savepoint, 12 }, { op_cursors, 3 },
};

static void op_random(struct run *r)
{
    unsigned total = 0;
    uint64_t dice;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        total += ops[i].weight;
    dice = below(r, total);
    for (size_t i = 0;; i++) {
        if (dice < ops[i].weight) {
            ops[i].op(r);
            return;
        }
        dice -= ops[i].weight;
    }
}

static void check_at(struct run *r, quire_rev rev, enum model_depth depth)
{
    char why[MODEL_WHY_CAP] = "";
    bool same = model_same_at(r->model, r->db, rev, depth, why);

    if (!same)
        print_error("revision %" PRIu64 ": %s\n", (uint64_t)rev, why);
    CHECK(same);
}

/* Bounds and counts in an old revision. */
static void check_old(struct run *r)
{
    quire_rev rev = below(r, model_newest(r->model) + 1);
    const struct model_snap *snap = model_at(r->model, rev);
    struct quire_txn *txn = NULL;

    CHECK_OK(quire_begin_at(r->db, rev, &txn));
    for (unsigned i = 0; i < 20; i++) {
        check_bound(r, txn, NULL, snap->trees[0]);
        check_count(r, txn, NULL, snap->trees[0]);
    }
    quire_abort(txn);
}

static void run_end(struct run *r)
{
    uint64_t dice = below(r, 20);
    quire_rev rev = 0;

    if (below(r, 10) == 0)
        check_txn(r);
    if (dice == 0) {
        quire_abort(r->txn);
        model_abort(r->model);
    } else {
        CHECK_OK(quire_commit(
            r->txn, QUIRE_EMPTY | (dice < 15 ? QUIRE_NOSYNC : 0), &rev));
        CHECK_EQ(rev, model_commit(r->model));
    }
    r->txn = NULL;
    marks_drop(r, 0);
    check_old(r);
    if (below(r, 40) == 0)
        check_at(r, model_newest(r->model), MODEL_FORWARD);
    if (below(r, 40) == 0)
        check_at(r, below(r, model_newest(r->model) + 1), MODEL_FORWARD);
    if (!r->watched && below(r, 100) == 0) {
        struct quire_verify_report report = { .size = sizeof(report) };

        run_close(r);
        CHECK_OK(quire_open("db", &r->opt, &r->db));
        check_at(r, below(r, model_newest(r->model) + 1), MODEL_DEEP);
        CHECK_OK(quire_verify(r->db, NULL, NULL, &report));
    }
}

/* How many operations: OPS=, or `n`. */
static uint64_t ops_wanted(uint64_t n)
{
    const char *text = getenv("OPS");

    return text != NULL ? strtoull(text, NULL, 0) : test_rounds(n);
}

/*
 * All operations, in transactions of any length, over stores of all shapes;
 * each store gets at most OPS_A_STORE of them, since the model keeps every
 * revision.
 */
#define OPS_A_STORE 100000u

static void test_all_operations_against_the_model(void **state)
{
    static const uint32_t pages[] = { 4096, 8192, 16384, 65536 };
    static const quire_versioning versionings[] = {
        QUIRE_VERSIONING_ADAPTIVE,    QUIRE_VERSIONING_SLIDING,
        QUIRE_VERSIONING_INCREMENTAL, QUIRE_VERSIONING_DIFFERENTIAL,
        QUIRE_VERSIONING_FULL,
    };
    uint64_t total = ops_wanted(60000);
    uint64_t seed = test_seed();
    uint64_t done = 0, revs = 0, nstores = 0;

    (void)state;
    while (done < total) {
        uint64_t share = total / 6 < OPS_A_STORE ? total / 6 + 1 : OPS_A_STORE;
        struct run r;

        run_init(&r, pages[nstores % ARRAY_LEN(pages)], test_rand(&seed));
        run_close(&r);
        mem_disk_destroy(r.disk);
        r.disk = mem_disk_create();
        r.opt.io = mem_disk_io(r.disk);
        r.opt.versioning = versionings[nstores % ARRAY_LEN(versionings)];
        r.opt.window = (uint32_t)(2 + below(&r, 5));
        r.range = 50u << below(&r, 8);
        CHECK_OK(quire_open("db", &r.opt, &r.db));
        nstores++;
        for (uint64_t n = 0; n < share && done < total;) {
            uint64_t len = 1u << below(&r, 11);

            CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &r.txn));
            for (uint64_t i = 0; i < len; i++, n++, done++)
                op_random(&r);
            run_end(&r);
        }
        for (quire_rev rev = 0; rev <= model_newest(r.model); rev += 17)
            check_at(&r, rev, MODEL_FORWARD);
        revs += model_newest(r.model);
        run_fini(&r);
    }
    print_message("%" PRIu64 " operations, %" PRIu64 " revisions, %" PRIu64
                  " stores\n",
                  done, revs, nstores);
}

/* ---- readers beside the writer ---- */

#define READERS 3

struct readers {
    struct run *run;        /* the writer's; model_at() is anybody's */
    _Atomic bool stop;      /* atomic: the writer has done */
    _Atomic uint64_t seeds; /* atomic */
    _Atomic uint64_t looks; /* atomic: comparisons made */
};

static void *read_old_revisions(void *arg)
{
    struct readers *rd = arg;
    struct run *run = rd->run;
    /* relaxed, here and below: counters */
    uint64_t seed = atomic_fetch_add_explicit(&rd->seeds, 1,
                                              memory_order_relaxed);
    struct run mine = { .opt = run->opt, .range = run->range, .rand = seed };
    bool last = false;

    while (!last) {
        quire_rev rev = below(&mine, model_newest(run->model) + 1);
        const struct model_snap *snap = model_at(run->model, rev);
        struct quire_txn *txn = NULL;
        char why[MODEL_WHY_CAP] = "";
        bool same;

        /* acquire: pairs with the release in the test */
        last = atomic_load_explicit(&rd->stop, memory_order_acquire);
        CHECK_OK(quire_begin_at(run->db, rev, &txn));
        for (unsigned i = 0; i < 10; i++) {
            check_bound(&mine, txn, NULL, snap->trees[0]);
            check_count(&mine, txn, NULL, snap->trees[0]);
        }
        same = model_same(snap, txn, MODEL_FORWARD, why);
        if (!same)
            print_error("revision %" PRIu64 ": %s\n", (uint64_t)rev, why);
        CHECK(same);
        quire_abort(txn);
        atomic_fetch_add_explicit(&rd->looks, 1, memory_order_relaxed);
    }
    return NULL;
}

/* All operations, while threads compare old revisions with the model's. */
static void test_readers_of_old_revisions(void **state)
{
    uint64_t total = test_rounds(8000);
    uint64_t seed = test_seed();
    pthread_t threads[READERS];
    struct readers rd;
    struct run r;

    (void)state;
    run_init(&r, 4096, test_rand(&seed));
    run_close(&r);
    r.opt.flags = 0;
    r.range = 300;
    r.watched = true;
    CHECK_OK(quire_open("db", &r.opt, &r.db));
    rd.run = &r;
    atomic_init(&rd.stop, false);
    atomic_init(&rd.seeds, test_rand(&seed));
    atomic_init(&rd.looks, 0);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, read_old_revisions, &rd), 0);
    for (uint64_t done = 0; done < total;) {
        uint64_t len = 1u << below(&r, 9);

        CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &r.txn));
        for (uint64_t i = 0; i < len; i++, done++)
            op_random(&r);
        run_end(&r);
    }
    /* release: pairs with the acquire in read_old_revisions() */
    atomic_store_explicit(&rd.stop, true, memory_order_release);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK(atomic_load(&rd.looks) >= READERS);
    print_message("%" PRIu64 " revisions, %" PRIu64 " looks at old ones\n",
                  model_newest(r.model), atomic_load(&rd.looks));
    run_fini(&r);
}

/* ---- ranges ---- */

/* Of a range that spans most of the file hardly anything is read. */
static void test_a_range_is_cut_off_unread(void **state)
{
    struct quire_stat before = { .size = sizeof(before) };
    struct quire_stat after = { .size = sizeof(after) };
    struct quire_txn *txn = NULL;
    struct run r;
    char key[16];
    struct quire_val k = { key, 0 };
    uint64_t n = 0;

    (void)state;
    run_init(&r, QUIRE_PAGE_MIN, 1);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    for (unsigned i = 0; i < 20000; i++) {
        k.size = (size_t)snprintf(key, sizeof(key), "%06u", i);
        gen_bytes(&r.rand, r.buf, 100);
        CHECK_OK(
            quire_put(txn, NULL, &k, &(struct quire_val){ r.buf, 100 }, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    run_close(&r);
    CHECK_OK(quire_open("db", &r.opt, &r.db));
    CHECK_OK(quire_stat_get(r.db, &before));
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_del_range(txn, NULL, V("000500"), V("019500"), &n));
    CHECK_EQ(n, 19000);
    CHECK_OK(quire_stat_get(r.db, &after));
    CHECK(after.read_bytes - before.read_bytes < after.file_bytes / 10);
    CHECK_OK(quire_tree_count(txn, NULL, &n));
    CHECK_EQ(n, 1000);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_verify(r.db, NULL, NULL, NULL));
    run_fini(&r);
}

/* ---- savepoints, one by one ---- */

/* Handles and cursors over a rollback; names; what is gone. */
static void test_rollback_brings_trees_back(void **state)
{
    struct quire_tree *old = NULL, *late = NULL;
    struct quire_cursor *cur = NULL, *gone = NULL;
    struct quire_txn *txn = NULL;
    struct quire_val key, val;
    quire_savepoint outer = 0, inner = 0;
    struct run r;

    (void)state;
    run_init(&r, QUIRE_PAGE_MIN, 1);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_tree_open(txn, "old", QUIRE_TREE_CREATE, &old));
    CHECK_OK(quire_put(txn, old, V("k"), V("1"), 0));
    CHECK_OK(quire_put(txn, NULL, V("d"), V("1"), 0));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_savepoint_set(txn, &outer));
    CHECK_OK(quire_put(txn, NULL, V("e"), V("2"), 0));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_EQ, V("e")));
    CHECK_OK(quire_tree_rename(txn, "old", "new"));
    CHECK_OK(quire_put(txn, old, V("k"), V("2"), 0));
    CHECK_OK(quire_savepoint_set(txn, &inner));
    CHECK_OK(quire_tree_open(txn, "late", QUIRE_TREE_CREATE, &late));
    CHECK_OK(quire_cursor_open(txn, late, &gone));
    CHECK_OK(quire_tree_drop(txn, "new"));
    CHECK_STATUS(quire_get(txn, old, V("k"), &val), QUIRE_MISUSE);

    CHECK_OK(quire_savepoint_rollback(txn, inner));
    CHECK_STATUS(quire_get(txn, late, V("k"), &val), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next(gone), QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_open(txn, "late", 0, &late), QUIRE_NOTFOUND);
    CHECK_OK(quire_get(txn, old, V("k"), &val)); /* under its new name */
    CHECK_MEM_EQ(val.data, "2", 1);
    CHECK_OK(quire_cursor_get(cur, &key, &val));

    CHECK_OK(quire_tree_drop(txn, "new"));
    CHECK_OK(quire_savepoint_rollback(txn, outer));
    CHECK_STATUS(quire_savepoint_rollback(txn, inner), QUIRE_NOTFOUND);
    CHECK_OK(quire_get(txn, old, V("k"), &val));
    CHECK_MEM_EQ(val.data, "1", 1);
    CHECK_STATUS(quire_tree_open(txn, "new", 0, &late), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_cursor_get(cur, &key, &val), QUIRE_NOTFOUND);
    CHECK_OK(quire_cursor_prev(cur)); /* from where "e" was */
    CHECK_OK(quire_cursor_get(cur, &key, &val));
    CHECK_MEM_EQ(key.data, "d", 1);
    CHECK_OK(quire_savepoint_release(txn, outer));
    CHECK_STATUS(quire_savepoint_rollback(txn, outer), QUIRE_NOTFOUND);
    CHECK_OK(quire_commit(txn, 0, NULL));

    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn)); /* of the next revision */
    CHECK_OK(quire_tree_rename(txn, "old", "new"));
    CHECK_STATUS(quire_tree_rename(txn, "old", "x"), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_tree_rename(txn, "new", "new"), QUIRE_EXISTS);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_begin_at(r.db, 1, &txn));
    CHECK_OK(quire_tree_open(txn, "old", 0, &old));
    CHECK_STATUS(quire_tree_open(txn, "new", 0, &late), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_savepoint_set(txn, &outer), QUIRE_READONLY);
    quire_abort(txn);
    CHECK_OK(quire_begin(r.db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_open(txn, "new", 0, &late));
    CHECK_OK(quire_get(txn, late, V("k"), &val));
    CHECK_STATUS(quire_tree_open(txn, "old", 0, &old), QUIRE_NOTFOUND);
    quire_abort(txn);
    run_fini(&r);
}

/* Much more than the budget is written after a savepoint, again and again: what
 * is rolled back returns its memory and its place in the file. */
static void test_rollback_over_what_was_written_ahead(void **state)
{
    struct quire_stat st = { .size = sizeof(st) };
    struct quire_txn *txn = NULL;
    quire_savepoint sp = 0;
    uint64_t size = 0, n = 0, in_use = 0;
    struct run r;
    char key[32];
    struct quire_val k = { key, 0 };

    (void)state;
    run_init(&r, QUIRE_PAGE_MIN, 1);
    run_close(&r);
    r.opt.budget_bytes = QUIRE_BUDGET_MIN;
    CHECK_OK(quire_open("db", &r.opt, &r.db));
    gen_bytes(&r.rand, r.buf, RUN_VAL_MAX);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    for (unsigned i = 0; i < 8000; i++) {
        k.size = (size_t)snprintf(key, sizeof(key), "%08u", i * 7);
        CHECK_OK(
            quire_put(txn, NULL, &k, &(struct quire_val){ r.buf + i, 700 }, 0));
    }
    for (unsigned round = 0; round < 6; round++) {
        if (round == 0) /* then it stays set */
            CHECK_OK(quire_savepoint_set(txn, &sp));
        for (unsigned i = 0; i < 12000; i++) {
            k.size = (size_t)snprintf(key, sizeof(key), "%08u", i * 5);
            CHECK_OK(quire_put(txn, NULL, &k,
                               &(struct quire_val){ r.buf + i + round, 900 },
                               0));
        }
        CHECK_OK(quire_put(txn, NULL, V("large"),
                           &(struct quire_val){ r.buf, RUN_VAL_MAX }, 0));
        CHECK_OK(quire_stat_get(r.db, &st));
        CHECK(st.pages_ahead > 0);
        CHECK(st.pool.resident_peak_bytes <= QUIRE_BUDGET_MIN);
        CHECK_OK(quire_savepoint_rollback(txn, sp));
        CHECK_OK(quire_tree_count(txn, NULL, &n));
        CHECK_EQ(n, 8000);
        CHECK_OK(quire_stat_get(r.db, &st));
        if (round == 2) /* leftovers of odd lengths have settled */
            size = st.file_bytes;
        if (round > 2) /* the same spans again */
            CHECK(st.file_bytes <= size + (1 << 20));
        in_use = st.pool.in_use_bytes;
        CHECK(in_use <= QUIRE_BUDGET_MIN);
    }
    for (unsigned i = 0; i < 8000; i++) {
        struct quire_val val;

        k.size = (size_t)snprintf(key, sizeof(key), "%08u", i * 7);
        CHECK_OK(quire_get(txn, NULL, &k, &val));
        CHECK_EQ(val.size, 700);
        CHECK_MEM_EQ(val.data, r.buf + i, 700);
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_verify(r.db, NULL, NULL, NULL));
    run_fini(&r);
}

/* ---- what the calls refuse ---- */

struct misuse {
    struct quire_txn *txn;
    struct quire_tree *tree;
    struct quire_cursor *cur;
    struct quire_update *up;
};

static int misuse_cb(void *arg, struct quire_update *up,
                     const struct quire_val *old, struct quire_val *val)
{
    struct misuse *m = arg;
    struct quire_val v;
    uint64_t n;

    (void)old;
    m->up = up;
    CHECK_STATUS(quire_put(m->txn, NULL, V("x"), V("y"), 0), QUIRE_MISUSE);
    CHECK_STATUS(quire_del(m->txn, NULL, V("k")), QUIRE_MISUSE);
    CHECK_STATUS(quire_get(m->txn, NULL, V("k"), &v), QUIRE_MISUSE);
    CHECK_STATUS(quire_count_range(m->txn, NULL, NULL, NULL, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_update(m->txn, NULL, V("k"), misuse_cb, m),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_tree_drop(m->txn, "t"), QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next(m->cur), QUIRE_MISUSE);
    CHECK_STATUS(quire_commit(m->txn, 0, NULL), QUIRE_MISUSE);
    quire_abort(m->txn);
    quire_cursor_close(m->cur);
    *val = *V("new");
    return QUIRE_VERDICT_STORE;
}

static void test_a_callback_may_not_use_its_transaction(void **state)
{
    struct misuse m = { NULL, NULL, NULL, NULL };
    struct quire_val val;
    uint64_t size;
    struct run r;

    (void)state;
    run_init(&r, QUIRE_PAGE_MIN, 1);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &m.txn));
    CHECK_OK(quire_tree_open(m.txn, "t", QUIRE_TREE_CREATE, &m.tree));
    CHECK_OK(quire_put(m.txn, NULL, V("k"), V("old"), 0));
    CHECK_OK(quire_cursor_open(m.txn, NULL, &m.cur));
    CHECK_OK(quire_update(m.txn, NULL, V("k"), misuse_cb, &m));
    CHECK_STATUS(quire_update_read(NULL, 0, NULL, 0, &size), QUIRE_MISUSE);
    /* kept by the callback, which has returned */
    CHECK_STATUS(quire_update_read(m.up, 0, NULL, 0, &size), QUIRE_MISUSE);
    CHECK_OK(quire_get(m.txn, NULL, V("k"), &val));
    CHECK_EQ(val.size, 3);
    CHECK_MEM_EQ(val.data, "new", 3);
    CHECK_OK(quire_cursor_next(m.cur));
    CHECK_OK(quire_commit(m.txn, 0, NULL));
    run_fini(&r);
}

/* A value of five bytes that are nowhere. */
static int null_cb(void *arg, struct quire_update *up,
                   const struct quire_val *old, struct quire_val *val)
{
    (void)old;
    CHECK_STATUS(quire_update_read(up, 0, NULL, 5, arg), QUIRE_MISUSE);
    *val = (struct quire_val){ NULL, 5 };
    return QUIRE_VERDICT_STORE;
}

static quire_status never_read(void *arg, void *buf, size_t nbytes)
{
    (void)arg;
    (void)buf;
    (void)nbytes;
    CHECK(false);
    return QUIRE_IO;
}

static void test_arguments_are_checked(void **state)
{
    static char bytes[QUIRE_KEY_MAX(QUIRE_PAGE_MIN) + 1];
    const struct quire_val long_key = { bytes, sizeof(bytes) };
    struct quire_lookup lookup = { .key = { "k", 1 }, .cap = 5 };
    struct quire_cursor *cur = NULL;
    struct quire_record rec;
    size_t many = 0;
    struct quire_txn *txn = NULL;
    struct quire_val val;
    uint64_t n;
    struct run r;

    (void)state;
    run_init(&r, QUIRE_PAGE_MIN, 1);
    CHECK_OK(quire_begin(r.db, QUIRE_READ, &txn));
    CHECK_STATUS(quire_put_if(txn, NULL, V("k"), NULL, V("v")), QUIRE_READONLY);
    CHECK_STATUS(quire_swap(txn, NULL, V("k"), V("v"), NULL, 0, &n),
                 QUIRE_READONLY);
    CHECK_STATUS(quire_update(txn, NULL, V("k"), misuse_cb, NULL),
                 QUIRE_READONLY);
    CHECK_STATUS(quire_get_bound(txn, NULL, (quire_seek)7, V("k"), &val, NULL),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_get_bound(txn, NULL, QUIRE_SEEK_GE, V("k"), NULL, NULL),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_get_bound(txn, NULL, QUIRE_SEEK_GE, NULL, &val, NULL),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_get_bound(txn, NULL, QUIRE_SEEK_LAST, NULL, &val, NULL),
                 QUIRE_NOTFOUND);
    CHECK_STATUS(quire_count_range(txn, NULL, NULL, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_del_range(txn, NULL, NULL, NULL, NULL), QUIRE_READONLY);
    quire_abort(txn);
    CHECK_OK(quire_begin(r.db, QUIRE_WRITE, &txn));
    CHECK_STATUS(
        quire_put(txn, NULL, V("k"), V("v"), QUIRE_NOREPLACE | QUIRE_REPLACE),
        QUIRE_INVAL);
    CHECK_STATUS(quire_swap(txn, NULL, V("k"), V("v"), NULL, 5, &n),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_update(txn, NULL, V("k"), NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_update(txn, NULL, V("k"), null_cb, &n), QUIRE_MISUSE);
    CHECK_STATUS(quire_savepoint_set(txn, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_put_from(txn, NULL, V("k"), 1, NULL, NULL),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_put_from(txn, NULL, &long_key, 1, never_read, NULL),
                 QUIRE_TOOBIG);
    CHECK_STATUS(quire_put_from(txn, NULL, V("k"), QUIRE_VALUE_MAX + 1,
                                never_read, NULL),
                 QUIRE_TOOBIG);
    CHECK_STATUS(quire_put_if(txn, NULL, &long_key, NULL, V("v")),
                 QUIRE_TOOBIG);
    CHECK_STATUS(quire_get_many(txn, NULL, NULL, 1), QUIRE_MISUSE);
    CHECK_STATUS(quire_get_many(txn, NULL, &lookup, 1), QUIRE_MISUSE);
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_STATUS(quire_cursor_next_many(cur, NULL, 1, bytes, 1, &many),
                 QUIRE_MISUSE);
    CHECK_STATUS(quire_cursor_next_many(cur, &rec, 1, bytes, 1, &many),
                 QUIRE_INVAL);
    CHECK_STATUS(quire_cursor_read(cur, 0, NULL, 5, &n), QUIRE_MISUSE);
    /* After all that it can still be used. */
    CHECK_OK(quire_put(txn, NULL, V("k"), V("v"), 0));
    CHECK_OK(quire_commit(txn, 0, NULL));
    run_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_operations_against_the_model),
        cmocka_unit_test(test_readers_of_old_revisions),
        cmocka_unit_test(test_a_range_is_cut_off_unread),
        cmocka_unit_test(test_rollback_brings_trees_back),
        cmocka_unit_test(test_rollback_over_what_was_written_ahead),
        cmocka_unit_test(test_a_callback_may_not_use_its_transaction),
        cmocka_unit_test(test_arguments_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
