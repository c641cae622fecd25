/*
 * lib_change.c - random changes of all kinds.
 *
 * Each kind is a function that picks its tree and its records from the model's
 * working state, calls the store, compares the answer, and does the same to the
 * model. What it picks follows from *rand and the model alone, so that equal
 * seeds make equal changes.
 */
#include "tests/lib_change.h"

#include "tests/test.h"

#define CHANGE_DEPTH 3u  /* most savepoints that are set */
#define CHANGE_SMALL 120 /* bytes: most values are no longer */

struct change {
    struct twin *twin;
    const struct change_how *how;
    uint64_t *rand;
    unsigned depth; /* savepoints that are set */
};

struct change_key {
    uint8_t bytes[GEN_KEY_MAX];
    struct quire_val val;
};

static uint64_t below(struct change *c, uint64_t n)
{
    return test_rand_below(c->rand, n);
}

static void gen(struct change *c, struct change_key *key)
{
    enum gen_shape shape = (enum gen_shape)below(c, GEN_SHAPES);

    key->val.data = key->bytes;
    key->val.size = gen_key(c->rand, shape, c->how->range, c->how->key_max,
                            key->bytes);
}

static size_t pick_len(struct change *c)
{
    return below(c, 1 + (below(c, 5) == 0 ? c->how->val_max : CHANGE_SMALL));
}

static const char *pick_tree(struct change *c)
{
    return below(c, 3) == 0 && model_tree_exists(c->twin->model, "side")
               ? "side"
               : NULL;
}

static struct quire_tree *tree_of(struct change *c, const char *name)
{
    struct quire_tree *tree;

    CHECK_OK(twin_tree(c->twin, name, 0, &tree));
    return tree;
}

/* A key that exists, mostly, and its record; else any, and NULL. */
static const struct model_rec *pick_rec(struct change *c, const char *name,
                                        struct change_key *key)
{
    const struct model_tree *t = model_work_tree(c->twin->model, name);
    const struct model_rec *rec;

    if (t->n == 0 || below(c, 4) == 0) {
        gen(c, key);
        return model_find(t, key->bytes, key->val.size);
    }
    rec = t->recs[below(c, t->n)];
    memcpy(key->bytes, rec->bytes, rec->key_len);
    key->val = (struct quire_val){ key->bytes, rec->key_len };
    return rec;
}

/* Store or delete in the model. */
static void model_set(struct change *c, const char *name,
                      const struct quire_val *key, const struct quire_val *val)
{
    if (val != NULL)
        model_put(c->twin->model, name, key, val);
    else
        model_del(c->twin->model, name, key);
}

/* ---- the kinds ---- */

static void do_put(struct change *c)
{
    const char *name = pick_tree(c);
    uint8_t text[QUIRE_LABEL_MAX];
    struct quire_val label = { text, gen_label(c->rand, text) };
    struct change_key key;
    struct quire_val val;

    gen(c, &key);
    val = twin_gen_val(c->twin, pick_len(c), c->rand);
    CHECK_OK(twin_put_labeled(c->twin, name, &key.val, &val,
                              label.size == 0 ? NULL : &label, 0));
}

/* Another label, or none. */
static void do_label(struct change *c)
{
    const char *name = pick_tree(c);
    uint8_t text[QUIRE_LABEL_MAX];
    struct quire_val label = { text, gen_label(c->rand, text) };
    struct change_key key;
    bool exists = pick_rec(c, name, &key) != NULL;

    CHECK_STATUS(twin_set_label(c->twin, name, &key.val, &label),
                 exists ? QUIRE_OK : QUIRE_NOTFOUND);
}

static void do_del(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    bool exists = pick_rec(c, name, &key) != NULL;

    CHECK_STATUS(twin_del(c->twin, name, &key.val),
                 exists ? QUIRE_OK : QUIRE_NOTFOUND);
}

static void do_put_if(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    const struct model_rec *was = pick_rec(c, name, &key);
    struct quire_val val = twin_gen_val(c->twin, pick_len(c), c->rand);
    struct quire_val old = { NULL, 0 };
    bool equal = below(c, 4) != 0;
    quire_status rc;

    if (was != NULL)
        old = (struct quire_val){ model_val(was), was->val_len };
    rc = quire_put_if(c->twin->txn, tree_of(c, name), &key.val,
                      (was != NULL) == equal ? &old : NULL, &val);
    CHECK_STATUS(rc, equal ? QUIRE_OK : QUIRE_MISMATCH);
    if (equal)
        model_set(c, name, &key.val, &val);
}

static void do_swap(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    const struct model_rec *was = pick_rec(c, name, &key);
    struct quire_val val = twin_gen_val(c->twin, pick_len(c), c->rand);
    size_t cap = was == NULL ? 0 : was->val_len;
    bool deletes = below(c, 3) == 0;
    uint8_t *buf = malloc(cap + 1);
    uint64_t size = 0;

    CHECK(buf != NULL);
    CHECK_OK(quire_swap(c->twin->txn, tree_of(c, name), &key.val,
                        deletes ? NULL : &val, buf, cap, &size));
    CHECK_EQ(size, was == NULL ? QUIRE_NO_VALUE : was->val_len);
    if (was != NULL)
        CHECK_MEM_EQ(buf, model_val(was), was->val_len);
    free(buf);
    model_set(c, name, &key.val, deletes ? NULL : &val);
}

struct change_update {
    int verdict;
    struct quire_val val; /* data NULL: the old one, cut to `size` */
};

static int update_cb(void *arg, struct quire_update *up,
                     const struct quire_val *old, struct quire_val *val)
{
    struct change_update *u = arg;

    (void)up;
    *val = u->val;
    if (u->val.data == NULL && old != NULL)
        val->data = old->data;
    return u->verdict;
}

static void do_update(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    const struct model_rec *was = pick_rec(c, name, &key);
    struct change_update u = { .verdict = (int)below(c, 3) };
    struct quire_val val = twin_gen_val(c->twin, pick_len(c), c->rand);
    uint8_t *cut = NULL;

    if (was != NULL && was->val_len > 0 && was->val_len <= CHANGE_SMALL &&
        below(c, 2) == 0) {
        val.size = below(c, was->val_len + 1);
        cut = malloc(val.size + 1);
        CHECK(cut != NULL);
        memcpy(cut, model_val(was), val.size);
        val.data = cut;
        u.val.size = val.size;
    } else {
        u.val = val;
    }
    CHECK_OK(
        quire_update(c->twin->txn, tree_of(c, name), &key.val, update_cb, &u));
    if (u.verdict == QUIRE_VERDICT_STORE)
        model_set(c, name, &key.val, &val);
    else if (u.verdict == QUIRE_VERDICT_DELETE)
        model_set(c, name, &key.val, NULL);
    free(cut);
}

static void do_look(struct change *c)
{
    uint64_t what = below(c, 3);

    if (what == 0)
        do_put_if(c);
    else if (what == 1)
        do_swap(c);
    else
        do_update(c);
}

/* The counts of inner pages are right before they are written. */
static void check_counts(struct change *c, const char *name)
{
    const struct model_tree *t = model_work_tree(c->twin->model, name);

    for (unsigned i = 0; i < 4 && t->n > 0; i++) {
        size_t hi = below(c, t->n);
        size_t lo = below(c, hi + 1);
        const struct quire_val from = { t->recs[lo]->bytes,
                                        t->recs[lo]->key_len };
        const struct quire_val to = { t->recs[hi]->bytes,
                                      t->recs[hi]->key_len };
        uint64_t n = 0;

        CHECK_OK(
            quire_count_range(c->twin->txn, tree_of(c, name), &from, &to, &n));
        CHECK_EQ(n, hi - lo);
    }
}

/* One to eight records; now and then up to half of the tree. */
static void do_range(struct change *c)
{
    const char *name = pick_tree(c);
    const struct model_tree *t = model_work_tree(c->twin->model, name);
    size_t most = below(c, 12) == 0 ? t->n / 2 : 7;
    size_t lo = below(c, t->n + 1);
    size_t len = 1 + below(c, most + 1);
    size_t hi = len < t->n - lo ? lo + len : t->n;
    uint8_t last[64];
    struct quire_val from = { last, sizeof(last) };
    struct quire_val to;
    uint64_t n = 0;

    memset(last, 0xff, sizeof(last)); /* behind all: an empty range */
    if (lo < t->n)
        from = (struct quire_val){ t->recs[lo]->bytes, t->recs[lo]->key_len };
    if (hi < t->n)
        to = (struct quire_val){ t->recs[hi]->bytes, t->recs[hi]->key_len };
    CHECK_OK(quire_del_range(c->twin->txn, tree_of(c, name), &from,
                             hi < t->n ? &to : NULL, &n));
    CHECK_EQ(n, hi - lo);
    while (n-- > 0) {
        const struct model_rec *r =
            model_work_tree(c->twin->model, name)->recs[lo];
        const struct quire_val key = { r->bytes, r->key_len };

        CHECK(model_del(c->twin->model, name, &key));
    }
    check_counts(c, name);
}

/* There are at most two beside the default tree; "side" is one of them when
 * this returns. */
static void do_tree(struct change *c)
{
    struct twin *t = c->twin;
    bool other = model_tree_exists(t->model, "other");
    uint64_t what = below(c, 16);
    struct quire_val meta;

    if (what > 3) {
        meta = twin_gen_val(t, pick_len(c), c->rand);
        CHECK_OK(twin_set_meta(t, "side", &meta));
        return;
    }
    if (other) { /* make room for the name */
        CHECK_OK(twin_tree_drop(t, what == 1 ? "side" : "other"));
        if (what == 1)
            CHECK_OK(twin_tree_rename(t, "other", "side"));
    } else {
        CHECK_OK(twin_tree_rename(t, "side", "other"));
        CHECK_STATUS(twin_tree_rename(t, "side", "else"), QUIRE_NOTFOUND);
    }
    CHECK_OK(twin_tree_create(t, "side"));
}

static void do_cursor(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    const struct model_rec *was = pick_rec(c, name, &key);
    struct quire_val val = twin_gen_val(c->twin, pick_len(c), c->rand);
    struct quire_cursor *cur = NULL;

    CHECK_OK(quire_cursor_open(c->twin->txn, tree_of(c, name), &cur));
    CHECK_STATUS(quire_cursor_seek(cur, QUIRE_SEEK_EQ, &key.val),
                 was != NULL ? QUIRE_OK : QUIRE_NOTFOUND);
    if (was != NULL && below(c, 3) == 0) {
        CHECK_OK(quire_cursor_del(cur));
        model_set(c, name, &key.val, NULL);
        CHECK_STATUS(quire_cursor_put(cur, NULL, &val, 0), QUIRE_NOTFOUND);
    } else {
        CHECK_OK(quire_cursor_put(cur, was != NULL ? NULL : &key.val, &val, 0));
        model_set(c, name, &key.val, &val);
    }
    gen(c, &key);
    val = twin_gen_val(c->twin, pick_len(c), c->rand);
    CHECK_OK(quire_cursor_put(cur, &key.val, &val, 0));
    model_set(c, name, &key.val, &val);
    if (below(c, 2) == 0) {
        CHECK_OK(quire_cursor_del(cur));
        model_set(c, name, &key.val, NULL);
    }
    if (below(c, 2) == 0)
        quire_cursor_close(cur); /* else it ends with its transaction */
}

struct change_stream {
    const uint8_t *bytes;
    size_t left; /* before it fails */
};

static quire_status stream_cb(void *arg, void *buf, size_t nbytes)
{
    struct change_stream *s = arg;

    if (nbytes > s->left)
        return QUIRE_IO;
    memcpy(buf, s->bytes, nbytes);
    s->bytes += nbytes;
    s->left -= nbytes;
    return QUIRE_OK;
}

static void do_stream(struct change *c)
{
    const char *name = pick_tree(c);
    struct change_key key;
    struct quire_val val = twin_gen_val(c->twin, below(c, c->how->val_max + 1),
                                        c->rand);
    struct change_stream s = { val.data, val.size };
    bool whole = val.size == 0 || below(c, 4) != 0;

    (void)pick_rec(c, name, &key);
    if (!whole)
        s.left = below(c, val.size);
    CHECK_STATUS(quire_put_from(c->twin->txn, tree_of(c, name), &key.val,
                                val.size, stream_cb, &s),
                 whole ? QUIRE_OK : QUIRE_IO);
    if (whole)
        model_set(c, name, &key.val, &val);
}

static void do_some(struct change *c, unsigned n);

/* Changes that stay or don't, and again after going back. */
static void do_savepoint(struct change *c, unsigned n)
{
    struct twin *t = c->twin;
    struct model_snap *mark;
    quire_savepoint sp = 0;
    uint64_t what;

    if (c->depth == CHANGE_DEPTH)
        return;
    CHECK_OK(quire_savepoint_set(t->txn, &sp));
    mark = model_mark(t->model);
    c->depth++;
    do_some(c, n);
    for (what = below(c, 4); what > 1; what--) {
        CHECK_OK(quire_savepoint_rollback(t->txn, sp));
        model_back(t->model, mark);
        t->nopen = 0; /* some handles are gone */
        check_counts(c, NULL);
        if (what == 3)
            do_some(c, n);
    }
    if (what == 1)
        CHECK_OK(quire_savepoint_release(t->txn, sp));
    c->depth--;
    model_mark_free(mark);
}

static void do_some(struct change *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned kind = 1u << below(c, 12); /* half of them no kind */

        switch (kind & c->how->kinds) {
        case CHANGE_SAVEPOINTS:
            do_savepoint(c, 1 + (n - i) / 3);
            break;
        case CHANGE_RANGES:
            do_range(c);
            break;
        case CHANGE_TREES:
            do_tree(c);
            break;
        case CHANGE_LOOKING:
            do_look(c);
            break;
        case CHANGE_CURSORS:
            do_cursor(c);
            break;
        case CHANGE_STREAMS:
            do_stream(c);
            break;
        default:
            if (below(c, 10) < 6)
                do_put(c);
            else if (below(c, 4) == 0)
                do_label(c);
            else
                do_del(c);
        }
    }
}

void change_some(struct twin *t, const struct change_how *how, uint64_t *rand,
                 unsigned n)
{
    struct change c = { t, how, rand, 0 };

    do_some(&c, n);
}
