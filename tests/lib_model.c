/*
 * lib_model.c - the naive store, the comparison, the generators, the twins.
 *
 * Snapshots share trees and trees share records, by counted references: a
 * commit costs a pointer for each tree, and the first change of a tree after it
 * a pointer for each record. Nothing here is clever, on purpose: an error in
 * the store and the same error here would go unseen. References are counted by
 * the owner thread alone: other threads look at snapshots, which stay.
 */
#include "tests/lib_model.h"

#include <inttypes.h>
#include <pthread.h>

#include "tests/test.h"

struct model {
    pthread_mutex_t lock;
    struct model_snap **snaps; /* by revision; under lock */
    size_t nsnaps;             /* under lock; written by the owner thread */
    size_t cap;                /* of `snaps`; owner thread */
    struct model_snap *work;   /* owner thread */
};

int model_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
    size_t n = alen < blen ? alen : blen;
    int c = n > 0 ? memcmp(a, b, n) : 0;

    if (c != 0)
        return c;
    return alen < blen ? -1 : alen > blen;
}

/* ---- records, trees, snapshots ---- */

static const struct quire_val no_label = { NULL, 0 };

static struct model_rec *model_rec_create(const struct quire_val *key,
                                          const struct quire_val *val,
                                          const struct quire_val *label)
{
    struct model_rec *r = malloc(sizeof(*r) + key->size + val->size +
                                 label->size);

    CHECK(r != NULL);
    r->refs = 1;
    r->key_len = (uint32_t)key->size;
    r->val_len = val->size;
    if (key->size > 0)
        memcpy(r->bytes, key->data, key->size);
    if (val->size > 0)
        memcpy(r->bytes + key->size, val->data, val->size);
    r->label_len = label->size;
    if (label->size > 0)
        memcpy(r->bytes + key->size + val->size, label->data, label->size);
    return r;
}

static void model_rec_unref(struct model_rec *r)
{
    if (--r->refs == 0)
        free(r);
}

static struct model_tree *model_tree_new(const char *name)
{
    struct model_tree *t = calloc(1, sizeof(*t));

    CHECK(t != NULL);
    t->refs = 1;
    if (name != NULL) {
        t->name = strdup(name);
        CHECK(t->name != NULL);
    }
    return t;
}

static void model_tree_unref(struct model_tree *t)
{
    if (--t->refs > 0)
        return;
    for (size_t i = 0; i < t->n; i++)
        model_rec_unref(t->recs[i]);
    free(t->recs);
    free(t->meta);
    free(t->name);
    free(t);
}

static struct model_tree *model_tree_clone(const struct model_tree *src)
{
    struct model_tree *t = model_tree_new(src->name);

    t->n = src->n;
    t->cap = src->n + 16;
    t->recs = malloc(t->cap * sizeof(*t->recs));
    CHECK(t->recs != NULL);
    for (size_t i = 0; i < t->n; i++) {
        t->recs[i] = src->recs[i];
        t->recs[i]->refs++;
    }
    if (src->meta != NULL) {
        t->meta = malloc(src->meta_len + 1);
        CHECK(t->meta != NULL);
        memcpy(t->meta, src->meta, src->meta_len);
        t->meta_len = src->meta_len;
    }
    return t;
}

static struct model_snap *model_snap_copy(const struct model_snap *src)
{
    struct model_snap *s = calloc(1, sizeof(*s));

    CHECK(s != NULL);
    s->n = src->n;
    s->trees = malloc(s->n * sizeof(*s->trees));
    CHECK(s->trees != NULL);
    for (size_t i = 0; i < s->n; i++) {
        s->trees[i] = src->trees[i];
        s->trees[i]->refs++;
    }
    return s;
}

static void model_snap_free(struct model_snap *s)
{
    for (size_t i = 0; i < s->n; i++)
        model_tree_unref(s->trees[i]);
    free(s->trees);
    free(s);
}

/* ---- the model ---- */

static void model_push(struct model *m, struct model_snap *s)
{
    pthread_mutex_lock(&m->lock);
    if (m->nsnaps == m->cap) {
        m->cap = m->cap == 0 ? 16 : 2 * m->cap;
        m->snaps = realloc(m->snaps, m->cap * sizeof(*m->snaps));
        CHECK(m->snaps != NULL);
    }
    m->snaps[m->nsnaps++] = s;
    pthread_mutex_unlock(&m->lock);
}

struct model *model_create(void)
{
    struct model *m = calloc(1, sizeof(*m));
    struct model_snap *s = calloc(1, sizeof(*s));

    CHECK(m != NULL && s != NULL);
    pthread_mutex_init(&m->lock, NULL);
    s->n = 1;
    s->trees = malloc(sizeof(*s->trees));
    CHECK(s->trees != NULL);
    s->trees[0] = model_tree_new(NULL);
    model_push(m, s);
    m->work = model_snap_copy(s);
    return m;
}

struct model *model_fork(const struct model *src)
{
    struct model *m = calloc(1, sizeof(*m));

    CHECK(m != NULL);
    pthread_mutex_init(&m->lock, NULL);
    for (size_t i = 0; i < src->nsnaps; i++)
        model_push(m, model_snap_copy(src->snaps[i]));
    m->work = model_snap_copy(m->snaps[m->nsnaps - 1]);
    return m;
}

struct model *model_fork_work(const struct model *src)
{
    struct model *m = model_fork(src);

    model_snap_free(m->work);
    m->work = model_snap_copy(src->work);
    model_commit(m);
    return m;
}

void model_destroy(struct model *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->nsnaps; i++)
        model_snap_free(m->snaps[i]);
    model_snap_free(m->work);
    free(m->snaps);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* The index of tree `name` among the snapshot's, or where it belongs. */
static size_t model_tree_index(const struct model_snap *s, const char *name,
                               bool *found)
{
    size_t i = 1;

    *found = true;
    if (name == NULL)
        return 0;
    while (i < s->n && strcmp(s->trees[i]->name, name) < 0)
        i++;
    *found = i < s->n && strcmp(s->trees[i]->name, name) == 0;
    return i;
}

const struct model_tree *model_work_tree(const struct model *m,
                                         const char *name)
{
    bool found;
    size_t i = model_tree_index(m->work, name, &found);

    return found ? m->work->trees[i] : NULL;
}

/* The working state's own tree, to be changed. */
static struct model_tree *model_tree_own(struct model *m, const char *name)
{
    bool found;
    size_t i = model_tree_index(m->work, name, &found);
    struct model_tree *t;

    CHECK(found);
    t = m->work->trees[i];
    if (t->refs > 1) {
        m->work->trees[i] = model_tree_clone(t);
        model_tree_unref(t);
        t = m->work->trees[i];
    }
    return t;
}

size_t model_seek(const struct model_tree *t, const void *key, size_t len,
                  bool *found)
{
    size_t lo = 0;
    size_t hi = t->n;

    *found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = model_cmp(t->recs[mid]->bytes, t->recs[mid]->key_len, key, len);

        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct model_rec *model_find(const struct model_tree *t, const void *key,
                                   size_t len)
{
    bool found;
    size_t i = model_seek(t, key, len, &found);

    return found ? t->recs[i] : NULL;
}

bool model_put(struct model *m, const char *tree, const struct quire_val *key,
               const struct quire_val *val)
{
    return model_put_labeled(m, tree, key, val, &no_label);
}

bool model_set_label(struct model *m, const char *tree,
                     const struct quire_val *key, const struct quire_val *label)
{
    struct model_tree *t = model_tree_own(m, tree);
    struct quire_val val;
    struct model_rec *r;
    bool found;
    size_t i = model_seek(t, key->data, key->size, &found);

    if (!found)
        return false;
    val.data = model_val(t->recs[i]);
    val.size = t->recs[i]->val_len;
    r = model_rec_create(key, &val, label);
    model_rec_unref(t->recs[i]);
    t->recs[i] = r;
    return true;
}

bool model_put_labeled(struct model *m, const char *tree,
                       const struct quire_val *key, const struct quire_val *val,
                       const struct quire_val *label)
{
    struct model_tree *t = model_tree_own(m, tree);
    struct model_rec *r = model_rec_create(key, val, label);
    bool found;
    size_t i = model_seek(t, key->data, key->size, &found);

    if (found) {
        model_rec_unref(t->recs[i]);
        t->recs[i] = r;
        return true;
    }
    if (t->n == t->cap) {
        t->cap = t->cap < 16 ? 16 : 2 * t->cap;
        t->recs = realloc(t->recs, t->cap * sizeof(*t->recs));
        CHECK(t->recs != NULL);
    }
    memmove(t->recs + i + 1, t->recs + i, (t->n - i) * sizeof(*t->recs));
    t->recs[i] = r;
    t->n++;
    return false;
}

bool model_del(struct model *m, const char *tree, const struct quire_val *key)
{
    struct model_tree *t = model_tree_own(m, tree);
    bool found;
    size_t i = model_seek(t, key->data, key->size, &found);

    if (!found)
        return false;
    model_rec_unref(t->recs[i]);
    t->n--;
    memmove(t->recs + i, t->recs + i + 1, (t->n - i) * sizeof(*t->recs));
    return true;
}

bool model_tree_exists(const struct model *m, const char *tree)
{
    return model_work_tree(m, tree) != NULL;
}

void model_tree_create(struct model *m, const char *tree)
{
    struct model_snap *s = m->work;
    bool found;
    size_t i = model_tree_index(s, tree, &found);

    if (found)
        return;
    s->trees = realloc(s->trees, (s->n + 1) * sizeof(*s->trees));
    CHECK(s->trees != NULL);
    memmove(s->trees + i + 1, s->trees + i, (s->n - i) * sizeof(*s->trees));
    s->trees[i] = model_tree_new(tree);
    s->n++;
}

void model_tree_drop(struct model *m, const char *tree)
{
    struct model_snap *s = m->work;
    bool found;
    size_t i = model_tree_index(s, tree, &found);

    CHECK(tree != NULL && found);
    model_tree_unref(s->trees[i]);
    s->n--;
    memmove(s->trees + i, s->trees + i + 1, (s->n - i) * sizeof(*s->trees));
}

void model_tree_rename(struct model *m, const char *tree, const char *to)
{
    struct model_tree *t = model_tree_own(m, tree);
    struct model_snap *s = m->work;
    bool found;
    size_t i = model_tree_index(s, tree, &found);

    memmove(s->trees + i, s->trees + i + 1, (s->n - i - 1) * sizeof(*s->trees));
    s->n--;
    i = model_tree_index(s, to, &found);
    CHECK(!found);
    memmove(s->trees + i + 1, s->trees + i, (s->n - i) * sizeof(*s->trees));
    s->trees[i] = t;
    s->n++;
    free(t->name);
    t->name = strdup(to);
    CHECK(t->name != NULL);
}

const struct model_snap *model_work(const struct model *m)
{
    return m->work;
}

struct model_snap *model_mark(const struct model *m)
{
    return model_snap_copy(m->work);
}

void model_mark_free(struct model_snap *mark)
{
    model_snap_free(mark);
}

void model_back(struct model *m, const struct model_snap *mark)
{
    model_snap_free(m->work);
    m->work = model_snap_copy(mark);
}

void model_set_meta(struct model *m, const char *tree,
                    const struct quire_val *meta)
{
    struct model_tree *t = model_tree_own(m, tree);

    free(t->meta);
    t->meta = malloc(meta->size + 1); /* an empty one is not a missing one */
    CHECK(t->meta != NULL);
    if (meta->size > 0)
        memcpy(t->meta, meta->data, meta->size);
    t->meta_len = meta->size;
}

quire_rev model_commit(struct model *m)
{
    model_push(m, model_snap_copy(m->work));
    return m->nsnaps - 1;
}

void model_abort(struct model *m)
{
    model_snap_free(m->work);
    m->work = model_snap_copy(m->snaps[m->nsnaps - 1]);
}

quire_rev model_newest(const struct model *m)
{
    struct model *mm = (struct model *)m; /* the lock alone is changed */
    quire_rev rev;

    pthread_mutex_lock(&mm->lock);
    rev = mm->nsnaps - 1;
    pthread_mutex_unlock(&mm->lock);
    return rev;
}

void model_forget(struct model *m, quire_rev rev)
{
    CHECK(rev < m->nsnaps);
    pthread_mutex_lock(&m->lock);
    while (m->nsnaps - 1 > rev)
        model_snap_free(m->snaps[--m->nsnaps]);
    pthread_mutex_unlock(&m->lock);
    model_abort(m);
}

const struct model_snap *model_at(const struct model *m, quire_rev rev)
{
    struct model *mm = (struct model *)m; /* the lock alone is changed */
    const struct model_snap *s = NULL;

    pthread_mutex_lock(&mm->lock);
    if (rev < mm->nsnaps)
        s = mm->snaps[rev];
    pthread_mutex_unlock(&mm->lock);
    CHECK(s != NULL);
    return s;
}

/* ---- comparing ---- */

/* What a comparison carries along. */
struct model_look {
    struct quire_txn *txn;
    struct quire_tree *tree; /* the store's */
    const struct model_tree *want;
    struct quire_cursor *cur;
    uint8_t *buf; /* parts of large values */
    char *why;
    quire_status failed; /* of the call that did; QUIRE_OK: none */
};

#define LOOK_BUF ((size_t)100 * 1000) /* bytes: no multiple of any page size */

static bool look_differs(struct model_look *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static bool look_differs(struct model_look *l, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(l->why, MODEL_WHY_CAP, "tree %s: ",
                     l->want == NULL         ? "?"
                     : l->want->name == NULL ? "(default)"
                                             : l->want->name);

    va_start(ap, fmt);
    vsnprintf(l->why + n, MODEL_WHY_CAP - (size_t)n, fmt, ap);
    va_end(ap);
    return false;
}

static bool look_failed(struct model_look *l, const char *what, size_t i,
                        quire_status rc)
{
    l->failed = rc;
    return look_differs(l, "%s at record %zu gave %d (%s; %s)", what, i,
                        (int)rc, quire_strerror(rc), quire_error_detail());
}

static bool label_is(const struct model_rec *r, const void *label, size_t size)
{
    return size == r->label_len &&
           (size == 0 || memcmp(label, model_label(r), size) == 0);
}

/* The label of the record under the cursor. */
static bool look_label(struct model_look *l, const char *how, size_t i)
{
    struct quire_val label = { NULL, 1 };
    quire_status rc = quire_cursor_get_label(l->cur, &label);

    if (rc != QUIRE_OK)
        return look_failed(l, "quire_cursor_get_label", i, rc);
    if (!label_is(l->want->recs[i], label.data, label.size))
        return look_differs(l, "%s: another label at record %zu", how, i);
    return true;
}

/* The record under the cursor is want->recs[i]. */
static bool look_at_cursor(struct model_look *l, const char *how, size_t i)
{
    const struct model_rec *r = l->want->recs[i];
    struct quire_val key = { NULL, 0 };
    struct quire_val val = { NULL, 0 };
    quire_status rc = quire_cursor_get(l->cur, &key, &val);

    if (rc != QUIRE_OK && rc != QUIRE_TOOBIG)
        return look_failed(l, how, i, rc);
    if (model_cmp(key.data, key.size, r->bytes, r->key_len) != 0)
        return look_differs(l, "%s: another key at record %zu", how, i);
    if (val.size != r->val_len)
        return look_differs(l, "%s: %zu bytes instead of %zu at record %zu",
                            how, val.size, r->val_len, i);
    if (rc == QUIRE_OK) {
        if (val.size > 0 && memcmp(val.data, model_val(r), val.size) != 0)
            return look_differs(l, "%s: another value at record %zu", how, i);
        return look_label(l, how, i);
    }
    if (!look_label(l, how, i))
        return false;
    if (val.data != NULL)
        return look_differs(l, "%s: TOOBIG with data at record %zu", how, i);
    for (size_t off = 0; off < r->val_len; off += LOOK_BUF) {
        size_t n = r->val_len - off < LOOK_BUF ? r->val_len - off : LOOK_BUF;
        uint64_t size = 0;

        rc = quire_cursor_read(l->cur, off, l->buf, LOOK_BUF, &size);
        if (rc != QUIRE_OK)
            return look_failed(l, "quire_cursor_read", i, rc);
        if (size != r->val_len || memcmp(l->buf, model_val(r) + off, n) != 0)
            return look_differs(l, "%s: another large value at record %zu", how,
                                i);
    }
    return true;
}

static bool look_walk(struct model_look *l, bool backward)
{
    const char *how = backward ? "backward" : "forward";
    size_t n = l->want->n;
    quire_status rc;

    rc = quire_cursor_seek(l->cur,
                           backward ? QUIRE_SEEK_LAST : QUIRE_SEEK_FIRST, NULL);
    for (size_t i = 0; i < n; i++) {
        if (rc != QUIRE_OK)
            return look_failed(l, how, i, rc);
        if (!look_at_cursor(l, how, backward ? n - 1 - i : i))
            return false;
        rc = backward ? quire_cursor_prev(l->cur) : quire_cursor_next(l->cur);
    }
    if (rc == QUIRE_OK)
        return look_differs(l, "%s: more than %zu records", how, n);
    return rc == QUIRE_NOTFOUND || look_failed(l, how, n, rc);
}

/* One seek, and where it must lead: `at` == n is nowhere. */
static bool look_seek(struct model_look *l, quire_seek how, const char *name,
                      const struct quire_val *key, size_t at)
{
    quire_status rc = quire_cursor_seek(l->cur, how, key);

    if (at >= l->want->n)
        return rc == QUIRE_NOTFOUND ||
               (rc == QUIRE_OK ? look_differs(l, "%s found a record", name)
                               : look_failed(l, name, at, rc));
    return rc == QUIRE_OK ? look_at_cursor(l, name, at)
                          : look_failed(l, name, at, rc);
}

static bool look_seek_all(struct model_look *l, const struct quire_val *key)
{
    size_t none = l->want->n; /* nowhere */
    bool found;
    size_t i = model_seek(l->want, key->data, key->size, &found);
    size_t after = found ? i + 1 : i;
    size_t before = i > 0 ? i - 1 : none;

    return look_seek(l, QUIRE_SEEK_EQ, "SEEK_EQ", key, found ? i : none) &&
           look_seek(l, QUIRE_SEEK_GE, "SEEK_GE", key, i) &&
           look_seek(l, QUIRE_SEEK_GT, "SEEK_GT", key, after) &&
           look_seek(l, QUIRE_SEEK_LE, "SEEK_LE", key, found ? i : before) &&
           look_seek(l, QUIRE_SEEK_LT, "SEEK_LT", key, before);
}

static bool look_get(struct model_look *l, size_t i)
{
    const struct model_rec *r = l->want->recs[i];
    struct quire_val key = { r->bytes, r->key_len };
    struct quire_val val = { NULL, 0 };
    uint64_t size = 0;
    size_t off = r->val_len / 2;
    size_t n = r->val_len - off < LOOK_BUF ? r->val_len - off : LOOK_BUF;
    size_t label_size = 1;
    quire_status rc = quire_get(l->txn, l->tree, &key, &val);

    if (rc != QUIRE_OK && rc != QUIRE_TOOBIG)
        return look_failed(l, "quire_get", i, rc);
    if (val.size != r->val_len ||
        (rc == QUIRE_OK && val.size > 0 &&
         memcmp(val.data, model_val(r), val.size) != 0))
        return look_differs(l, "quire_get: another value at record %zu", i);
    /* the second half of each value by a copying read */
    rc = quire_read(l->txn, l->tree, &key, off, l->buf, LOOK_BUF, &size);
    if (rc != QUIRE_OK)
        return look_failed(l, "quire_read", i, rc);
    if (size != r->val_len || memcmp(l->buf, model_val(r) + off, n) != 0)
        return look_differs(l, "quire_read: another value at record %zu", i);
    rc = quire_get_label(l->txn, l->tree, &key, l->buf, LOOK_BUF, &label_size);
    if (rc != QUIRE_OK)
        return look_failed(l, "quire_get_label", i, rc);
    if (!label_is(r, l->buf, label_size))
        return look_differs(l, "quire_get_label: another one at record %zu", i);
    return true;
}

static bool look_deep(struct model_look *l)
{
    uint8_t near[GEN_KEY_MAX + 1];

    if (!look_walk(l, true))
        return false;
    for (size_t i = 0; i < l->want->n; i++)
        if (!look_get(l, i))
            return false;
    for (size_t i = 0; i < l->want->n; i += 1 + l->want->n / 64) {
        const struct model_rec *r = l->want->recs[i];
        struct quire_val key = { near, r->key_len };

        /* the key, and its neighbours on both sides */
        memcpy(near, r->bytes, r->key_len);
        if (!look_seek_all(l, &key))
            return false;
        near[r->key_len] = 0;
        key.size = r->key_len + 1u;
        if (!look_seek_all(l, &key))
            return false;
        key.size = r->key_len;
        if (key.size > 0 && near[key.size - 1]-- == 0)
            key.size--;
        if (!look_seek_all(l, &key))
            return false;
    }
    return true;
}

static bool look_tree(struct model_look *l, enum model_depth depth)
{
    const struct model_tree *want = l->want;
    uint64_t count = 0;
    size_t size = 0;
    quire_status rc;
    bool same;

    l->tree = NULL;
    if (want->name != NULL) {
        rc = quire_tree_open(l->txn, want->name, 0, &l->tree);
        if (rc != QUIRE_OK)
            return look_failed(l, "quire_tree_open", 0, rc);
    }
    rc = quire_tree_count(l->txn, l->tree, &count);
    if (rc != QUIRE_OK)
        return look_failed(l, "quire_tree_count", 0, rc);
    if (count != want->n)
        return look_differs(l, "counts %" PRIu64 " instead of %zu", count,
                            want->n);
    rc = quire_tree_get_meta(l->txn, l->tree, l->buf, LOOK_BUF, &size);
    if (rc != (want->meta != NULL ? QUIRE_OK : QUIRE_NOTFOUND))
        return look_failed(l, "quire_tree_get_meta", 0, rc);
    if (want->meta != NULL &&
        (size != want->meta_len ||
         memcmp(l->buf, want->meta, size < LOOK_BUF ? size : LOOK_BUF) != 0))
        return look_differs(l, "other metadata");
    rc = quire_cursor_open(l->txn, l->tree, &l->cur);
    if (rc != QUIRE_OK)
        return look_failed(l, "quire_cursor_open", 0, rc);
    same = look_walk(l, false) && (depth < MODEL_DEEP || look_deep(l));
    quire_cursor_close(l->cur);
    return same;
}

static bool model_look(const struct model_snap *snap, struct quire_txn *txn,
                       enum model_depth depth, quire_status *failed,
                       char why[MODEL_WHY_CAP])
{
    struct model_look l = { .txn = txn, .why = why };
    char name[QUIRE_NAME_MAX + 1] = "";
    bool same = true;
    quire_status rc;

    l.buf = malloc(LOOK_BUF);
    CHECK(l.buf != NULL);
    for (size_t i = 1; same && i <= snap->n; i++) {
        rc = quire_tree_next(txn, i == 1 ? NULL : name, name);
        if (i == snap->n) {
            if (rc == QUIRE_OK)
                same = look_differs(&l, "a tree \"%s\" too many", name);
            else if (rc != QUIRE_NOTFOUND)
                same = look_failed(&l, "quire_tree_next", i, rc);
        } else if (rc != QUIRE_OK) {
            same = look_failed(&l, "quire_tree_next", i, rc);
        } else if (strcmp(name, snap->trees[i]->name) != 0) {
            same = look_differs(&l, "a tree \"%s\" instead of \"%s\"", name,
                                snap->trees[i]->name);
        }
    }
    for (size_t i = 0; same && i < snap->n; i++) {
        l.want = snap->trees[i];
        same = look_tree(&l, depth);
    }
    free(l.buf);
    *failed = l.failed;
    return same;
}

bool model_same(const struct model_snap *snap, struct quire_txn *txn,
                enum model_depth depth, char why[MODEL_WHY_CAP])
{
    quire_status failed;

    return model_look(snap, txn, depth, &failed, why);
}

bool model_same_or(const struct model *m, struct quire *db, quire_rev rev,
                   enum model_depth depth, quire_status *failed,
                   char why[MODEL_WHY_CAP])
{
    struct quire_txn *txn = NULL;
    quire_status rc = quire_begin_at(db, rev, &txn);
    char text[MODEL_WHY_CAP];
    bool same;

    *failed = rc;
    if (rc != QUIRE_OK) {
        snprintf(why, MODEL_WHY_CAP,
                 "quire_begin_at(%" PRIu64 ") gave %d (%s; %s)", rev, (int)rc,
                 quire_strerror(rc), quire_error_detail());
        return false;
    }
    same = model_look(model_at(m, rev), txn, depth, failed, text);
    if (!same)
        snprintf(why, MODEL_WHY_CAP, "revision %" PRIu64 ", %.440s", rev, text);
    quire_abort(txn);
    return same;
}

bool model_same_at(const struct model *m, struct quire *db, quire_rev rev,
                   enum model_depth depth, char why[MODEL_WHY_CAP])
{
    quire_status failed;

    return model_same_or(m, db, rev, depth, &failed, why);
}

/* ---- generators ---- */

size_t gen_key(uint64_t *rand, enum gen_shape shape, uint64_t range,
               size_t key_max, uint8_t buf[GEN_KEY_MAX])
{
    uint64_t n = test_rand_below(rand, range);
    uint64_t bits = n * UINT64_C(0x9e3779b97f4a7c15); /* of the number alone */
    size_t len;

    switch (shape) {
    case GEN_INT:
        for (int i = 0; i < 8; i++)
            buf[i] = (uint8_t)(n >> (8 * (7 - i)));
        return 8;
    case GEN_PREFIX:
        return (size_t)snprintf((char *)buf, GEN_KEY_MAX,
                                "objects/by-identifier/%010" PRIu64, n);
    case GEN_TEXT:
        len = 0;
        do {
            buf[len++] = (uint8_t)('a' + n % 5);
            n /= 5;
        } while (n > 0);
        return len;
    case GEN_BINARY:
        len = (bits >> 40) % 41;
        for (size_t i = 0; i < len; i++) {
            uint64_t x = test_rand(&bits);

            buf[i] = x % 4 == 0 ? 0 : x % 4 == 1 ? 0xff : (uint8_t)(x >> 8);
        }
        return len;
    case GEN_LONG:
    default:
        len = key_max - (n % 3 == 0 ? 0 : test_rand_below(&bits, key_max / 4));
        memset(buf, 'k', len);
        for (size_t i = 0; i < 8; i++)
            buf[len - 1 - i] = (uint8_t)(n >> (8 * i));
        return len;
    }
}

size_t gen_label(uint64_t *rand, uint8_t buf[QUIRE_LABEL_MAX])
{
    static const uint8_t lens[] = { 0, 0, 0, 0, 0, 0, 1, 1, 4, 9, 30, 255 };
    size_t len = lens[test_rand_below(rand, ARRAY_LEN(lens))];

    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)test_rand_below(rand, 256);
    return len;
}

void gen_bytes(uint64_t *rand, void *buf, size_t len)
{
    uint8_t *p = buf;
    uint64_t x = test_rand(rand);
    uint64_t pattern = test_rand(rand);
    bool same = x % 2 == 0; /* repeats itself: compresses well */

    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = same ? pattern + i / 64 : test_rand(rand);

        memcpy(p + i, &word, len - i < 8 ? len - i : 8);
    }
}

/* ---- twins ---- */

void twin_init(struct twin *t)
{
    memset(t, 0, sizeof(*t));
    t->model = model_create();
}

void twin_fini(struct twin *t)
{
    CHECK(t->db == NULL && t->txn == NULL);
    model_destroy(t->model);
    free(t->buf);
    memset(t, 0, sizeof(*t));
}

quire_status twin_open(struct twin *t, const char *path,
                       const struct quire_options *opt)
{
    quire_rev rev = 0;
    quire_status rc;

    CHECK(t->db == NULL);
    rc = quire_open(path, opt, &t->db);
    if (rc != QUIRE_OK) {
        CHECK(t->db == NULL);
        return rc;
    }
    CHECK_OK(quire_rev_newest(t->db, &rev));
    CHECK(rev >= t->acked);
    CHECK(rev <= t->tried);
    model_forget(t->model, rev);
    t->acked = rev;
    t->published = rev;
    t->tried = rev;
    t->poisoned = false;
    return QUIRE_OK;
}

quire_status twin_begin(struct twin *t)
{
    quire_status rc;

    CHECK(t->txn == NULL);
    rc = quire_begin(t->db, QUIRE_WRITE, &t->txn);
    if (rc != QUIRE_OK)
        CHECK(t->txn == NULL);
    else
        CHECK_EQ(quire_txn_rev(t->txn), t->tried);
    if (rc == QUIRE_POISONED)
        t->poisoned = true;
    t->nopen = 0;
    return rc;
}

/* Opened once in each transaction. */
quire_status twin_tree(struct twin *t, const char *name, unsigned flags,
                       struct quire_tree **tree)
{
    quire_status rc;

    *tree = NULL;
    if (name == NULL)
        return QUIRE_OK;
    for (unsigned i = 0; i < t->nopen; i++) {
        if (strcmp(t->open[i].name, name) == 0) {
            *tree = t->open[i].tree;
            return QUIRE_OK;
        }
    }
    CHECK(t->nopen < TWIN_TREES && strlen(name) < sizeof(t->open[0].name));
    rc = quire_tree_open(t->txn, name, flags, tree);
    if (rc != QUIRE_OK)
        return rc;
    strcpy(t->open[t->nopen].name, name);
    t->open[t->nopen++].tree = *tree;
    return QUIRE_OK;
}

quire_status twin_tree_create(struct twin *t, const char *name)
{
    struct quire_tree *tree;
    quire_status rc = twin_tree(t, name, QUIRE_TREE_CREATE, &tree);

    if (rc == QUIRE_OK)
        model_tree_create(t->model, name);
    CHECK_NE(rc, QUIRE_NOTFOUND);
    return rc;
}

/* `name` is no more the name of the tree that was opened by it. */
static void twin_tree_gone(struct twin *t, const char *name)
{
    for (unsigned i = 0; i < t->nopen; i++) {
        if (strcmp(t->open[i].name, name) == 0) {
            t->open[i] = t->open[--t->nopen];
            break;
        }
    }
}

quire_status twin_tree_drop(struct twin *t, const char *name)
{
    quire_status rc = quire_tree_drop(t->txn, name);

    if (rc == QUIRE_OK || rc == QUIRE_NOTFOUND)
        CHECK_EQ(rc == QUIRE_OK, model_tree_exists(t->model, name));
    if (rc != QUIRE_OK)
        return rc;
    model_tree_drop(t->model, name);
    twin_tree_gone(t, name);
    return QUIRE_OK;
}

quire_status twin_tree_rename(struct twin *t, const char *name, const char *to)
{
    quire_status rc = quire_tree_rename(t->txn, name, to);

    if (rc == QUIRE_OK || rc == QUIRE_NOTFOUND)
        CHECK_EQ(rc == QUIRE_OK, model_tree_exists(t->model, name));
    if (rc == QUIRE_OK || rc == QUIRE_EXISTS)
        CHECK_EQ(rc == QUIRE_EXISTS, model_tree_exists(t->model, to));
    if (rc != QUIRE_OK)
        return rc;
    model_tree_rename(t->model, name, to);
    twin_tree_gone(t, name); /* the handle is valid, its name another */
    return QUIRE_OK;
}

quire_status twin_put(struct twin *t, const char *name,
                      const struct quire_val *key, const struct quire_val *val,
                      unsigned flags)
{
    return twin_put_labeled(t, name, key, val, NULL, flags);
}

/* `label` NULL: by quire_put(). */
quire_status twin_put_labeled(struct twin *t, const char *name,
                              const struct quire_val *key,
                              const struct quire_val *val,
                              const struct quire_val *label, unsigned flags)
{
    struct quire_tree *tree;
    quire_status rc = twin_tree(t, name, 0, &tree);
    bool exists;

    if (rc != QUIRE_OK)
        return rc;
    rc = label == NULL
             ? quire_put(t->txn, tree, key, val, flags)
             : quire_put_labeled(t->txn, tree, key, val, label, flags);
    if (rc != QUIRE_OK && rc != QUIRE_EXISTS)
        return rc;
    exists = model_find(model_work_tree(t->model, name), key->data,
                        key->size) != NULL;
    CHECK_EQ(rc == QUIRE_EXISTS, exists && (flags & QUIRE_NOREPLACE) != 0);
    if (rc == QUIRE_OK)
        model_put_labeled(t->model, name, key, val,
                          label == NULL ? &no_label : label);
    return rc;
}

quire_status twin_set_label(struct twin *t, const char *name,
                            const struct quire_val *key,
                            const struct quire_val *label)
{
    struct quire_tree *tree;
    quire_status rc = twin_tree(t, name, 0, &tree);

    if (rc != QUIRE_OK)
        return rc;
    rc = quire_set_label(t->txn, tree, key, label);
    if (rc == QUIRE_OK)
        CHECK(model_set_label(t->model, name, key, label));
    else if (rc == QUIRE_NOTFOUND)
        CHECK(!model_set_label(t->model, name, key, label));
    return rc;
}

struct quire_val twin_gen_val(struct twin *t, size_t len, uint64_t *rand)
{
    if (len > t->buf_cap) {
        free(t->buf);
        t->buf_cap = len;
        t->buf = malloc(len);
        CHECK(t->buf != NULL);
    }
    gen_bytes(rand, t->buf, len);
    return (struct quire_val){ t->buf, len };
}

quire_status twin_put_gen(struct twin *t, const char *name, const void *key,
                          size_t key_len, size_t len, uint64_t *rand)
{
    struct quire_val k = { key, key_len };
    struct quire_val v = twin_gen_val(t, len, rand);

    return twin_put(t, name, &k, &v, 0);
}

quire_status twin_del(struct twin *t, const char *name,
                      const struct quire_val *key)
{
    struct quire_tree *tree;
    quire_status rc = twin_tree(t, name, 0, &tree);

    if (rc != QUIRE_OK)
        return rc;
    rc = quire_del(t->txn, tree, key);
    if (rc == QUIRE_OK)
        CHECK(model_del(t->model, name, key));
    else if (rc == QUIRE_NOTFOUND)
        CHECK(!model_del(t->model, name, key));
    return rc;
}

quire_status twin_get(struct twin *t, const char *name,
                      const struct quire_val *key)
{
    const struct model_rec *r = model_find(model_work_tree(t->model, name),
                                           key->data, key->size);
    struct quire_tree *tree;
    struct quire_val val = { NULL, 0 };
    quire_status rc = twin_tree(t, name, 0, &tree);

    if (rc != QUIRE_OK)
        return rc;
    rc = quire_get(t->txn, tree, key, &val);
    if (rc == QUIRE_OK || rc == QUIRE_TOOBIG || rc == QUIRE_NOTFOUND)
        CHECK_EQ(rc == QUIRE_NOTFOUND, r == NULL);
    if (rc == QUIRE_OK || rc == QUIRE_TOOBIG)
        CHECK_EQ(val.size, r->val_len);
    if (rc == QUIRE_OK)
        CHECK_MEM_EQ(val.data, model_val(r), val.size);
    return rc;
}

quire_status twin_set_meta(struct twin *t, const char *name,
                           const struct quire_val *meta)
{
    struct quire_tree *tree;
    quire_status rc = twin_tree(t, name, 0, &tree);

    if (rc == QUIRE_OK)
        rc = quire_tree_set_meta(t->txn, tree, meta);
    if (rc == QUIRE_OK)
        model_set_meta(t->model, name, meta);
    return rc;
}

/* The working state holds what the newest snapshot does. */
static bool twin_unchanged(const struct model *m)
{
    const struct model_snap *a = m->work;
    const struct model_snap *b = m->snaps[m->nsnaps - 1];

    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct model_tree *x = a->trees[i];
        const struct model_tree *y = b->trees[i];

        if (x == y)
            continue;
        if (x->n != y->n || (x->meta == NULL) != (y->meta == NULL) ||
            x->meta_len != y->meta_len ||
            (i > 0 && strcmp(x->name, y->name) != 0) ||
            (x->meta != NULL && memcmp(x->meta, y->meta, x->meta_len) != 0))
            return false;
        for (size_t j = 0; j < x->n; j++) {
            const struct model_rec *p = x->recs[j];
            const struct model_rec *q = y->recs[j];

            if (p->key_len != q->key_len || p->val_len != q->val_len ||
                p->label_len != q->label_len ||
                memcmp(p->bytes, q->bytes,
                       p->key_len + p->val_len + p->label_len) != 0)
                return false;
        }
    }
    return true;
}

quire_status twin_commit(struct twin *t, unsigned flags)
{
    quire_rev rev = UINT64_MAX;
    quire_status rc = quire_commit(t->txn, flags, &rev);

    CHECK_NE(rc, QUIRE_MISUSE);
    t->txn = NULL;
    t->nopen = 0;
    if (rc == QUIRE_OK && rev == t->published) {
        CHECK((flags & QUIRE_EMPTY) == 0 && twin_unchanged(t->model));
        model_abort(t->model);
    } else if (rc == QUIRE_OK) {
        CHECK_EQ(rev, t->published + 1);
        CHECK_EQ(model_commit(t->model), rev);
        t->published = rev;
        t->tried = rev;
        if ((flags & QUIRE_NOSYNC) == 0)
            t->acked = rev;
    } else if (rc == QUIRE_UNDECIDED) {
        t->tried = model_commit(t->model);
        t->poisoned = true;
    } else {
        if (rc == QUIRE_POISONED)
            t->poisoned = true;
        model_abort(t->model);
    }
    return rc;
}

struct quire_txn *twin_give(struct twin *t)
{
    struct quire_txn *txn = t->txn;

    CHECK(txn != NULL);
    t->txn = NULL;
    t->nopen = 0;
    t->tried = model_commit(t->model);
    return txn;
}

void twin_given(struct twin *t, unsigned flags, quire_rev rev, quire_status rc)
{
    if (rc != QUIRE_OK) {
        CHECK(rc == QUIRE_UNDECIDED || rc == QUIRE_POISONED);
        t->poisoned = true;
        return;
    }
    CHECK(rev == t->published + 1 && rev <= t->tried);
    t->published = rev;
    if ((flags & QUIRE_NOSYNC) == 0)
        t->acked = rev;
}

quire_status twin_sync(struct twin *t)
{
    quire_status rc = quire_sync(t->db);

    if (rc == QUIRE_OK)
        t->acked = t->published;
    else if (rc == QUIRE_UNDECIDED || rc == QUIRE_POISONED)
        t->poisoned = true;
    return rc;
}

quire_status twin_set_versioning(struct twin *t, quire_versioning versioning,
                                 uint32_t window)
{
    quire_status rc = quire_set_versioning(t->db, versioning, window);
    quire_rev rev = 0;

    CHECK_NE(rc, QUIRE_MISUSE);
    if (rc == QUIRE_OK) {
        CHECK_OK(quire_rev_newest(t->db, &rev));
        CHECK(rev == t->published || rev == t->published + 1);
        if (rev > t->published)
            CHECK_EQ(model_commit(t->model), rev);
        t->published = t->tried = t->acked = rev;
    } else if (rc == QUIRE_UNDECIDED) {
        t->tried = model_commit(t->model);
        t->poisoned = true;
    } else if (rc == QUIRE_POISONED) {
        t->poisoned = true;
    }
    return rc;
}

void twin_abort(struct twin *t)
{
    quire_abort(t->txn);
    t->txn = NULL;
    t->nopen = 0;
    model_abort(t->model);
}

quire_status twin_close(struct twin *t)
{
    struct quire_close_report report = { .size = sizeof(report) };
    quire_status rc;

    CHECK(t->txn == NULL);
    rc = quire_close_report(t->db, &report);
    CHECK_NE(rc, QUIRE_BUSY);
    t->db = NULL;
    CHECK_EQ(report.pinned_pages, 0);
    CHECK_EQ(report.segments_in_use, 0);
    CHECK_EQ(report.intents, 0);
    if (rc == QUIRE_OK && !t->poisoned)
        t->acked = t->published;
    return rc;
}
