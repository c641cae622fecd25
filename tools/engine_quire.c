/*
 * engine_quire.c - quire itself under `quire bench store`, through quire.h as
 * any embedder would. The options are the defaults, but for the budget.
 */
#include <stdlib.h>

#include "tools/bench_engine.h"
#include "tools/tool.h"

#define SCAN_MANY 16                           /* records had by one call */
#define SCAN_KEYS (16384 + QUIRE_PAGE_MAX / 8) /* bytes of their keys */

struct db {
    struct quire *store;
    unsigned commit_flags;
    size_t value_bytes;
    quire_rev marked;
};

struct thread {
    struct db *db;
    struct quire_txn *txn;
    unsigned char *values; /* room for BENCH_MANY_MAX */
    struct quire_lookup lookup[BENCH_MANY_MAX];
    struct quire_record records[SCAN_MANY];
    unsigned char keys[SCAN_KEYS];
};

static int failed(const char *what, quire_status rc)
{
    say("quire: %s: %s (%s)", what, quire_strerror(rc), quire_error_detail());
    return -1;
}

static int open_store(const struct bench_setup *s, void **to)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = s->direct ? QUIRE_DIRECT : 0,
                                 .budget_bytes = s->memory,
                                 .page_bytes = s->page_bytes };
    struct db *db = calloc(1, sizeof(*db));
    char path[4096];
    quire_status rc;

    if (db == NULL)
        return failed("open", QUIRE_NOMEM);
    snprintf(path, sizeof(path), "%s/store.quire", s->dir);
    rc = quire_open(path, &opt, &db->store);
    if (rc != QUIRE_OK) {
        failed("open", rc);
        free(db);
        return -1;
    }
    db->commit_flags = s->durable ? 0 : QUIRE_NOSYNC;
    db->value_bytes = s->value_bytes;
    *to = db;
    return 0;
}

static void close_store(void *arg)
{
    struct db *db = arg;
    quire_status rc = quire_close(db->store);

    if (rc != QUIRE_OK)
        failed("close", rc);
    free(db);
}

static int settle(void *arg, bool tidy)
{
    struct db *db = arg;
    quire_status rc = quire_sync(db->store);

    (void)tidy; /* nothing is put off */
    return rc == QUIRE_OK ? 0 : failed("sync", rc);
}

static void counts(void *arg, struct bench_counts *c)
{
    struct quire_stat st = { .size = sizeof(st) };

    if (quire_stat_get(((struct db *)arg)->store, &st) == QUIRE_OK) {
        c->written = st.written_bytes;
        c->zeroed = st.zeroed_bytes;
    }
}

static int thread_open(void *db, void **to)
{
    struct thread *t = calloc(1, sizeof(*t));

    if (t != NULL) {
        t->db = db;
        t->values = malloc(BENCH_MANY_MAX * t->db->value_bytes);
    }
    if (t == NULL || t->values == NULL) {
        free(t);
        return failed("a thread", QUIRE_NOMEM);
    }
    *to = t;
    return 0;
}

static void thread_close(void *arg)
{
    struct thread *t = arg;

    quire_abort(t->txn);
    free(t->values);
    free(t);
}

/* ---- reading ---- */

static int read_begin(void *arg)
{
    struct thread *t = arg;
    quire_status rc = quire_begin(t->db->store, QUIRE_READ, &t->txn);

    return rc == QUIRE_OK ? 0 : failed("begin", rc);
}

static int mark(void *arg)
{
    struct db *db = arg;
    struct quire_txn *txn = NULL;
    quire_status rc = quire_begin(db->store, QUIRE_READ, &txn);

    if (rc != QUIRE_OK)
        return failed("begin", rc);
    db->marked = quire_txn_rev(txn);
    quire_abort(txn);
    return 0;
}

static int read_begin_old(void *arg)
{
    struct thread *t = arg;
    quire_status rc = quire_begin_at(t->db->store, t->db->marked, &t->txn);

    return rc == QUIRE_OK ? 0 : failed("begin", rc);
}

static void read_end(void *arg)
{
    struct thread *t = arg;

    quire_abort(t->txn);
    t->txn = NULL;
}

static int get(void *arg, const struct quire_val *key, struct quire_val *val)
{
    struct thread *t = arg;
    quire_status rc = quire_get(t->txn, NULL, key, val);

    return rc == QUIRE_OK ? 0 : failed("get", rc);
}

static int get_many(void *arg, size_t n, const struct quire_val *keys,
                    struct quire_val *vals)
{
    struct thread *t = arg;
    quire_status rc;

    for (size_t i = 0; i < n; i++) {
        t->lookup[i].key = keys[i];
        t->lookup[i].buf = t->values + i * t->db->value_bytes;
        t->lookup[i].cap = t->db->value_bytes;
    }
    rc = quire_get_many(t->txn, NULL, t->lookup, n);
    for (size_t i = 0; i < n && rc == QUIRE_OK; i++) {
        rc = t->lookup[i].status;
        vals[i].data = t->lookup[i].buf;
        vals[i].size = t->lookup[i].size;
    }
    return rc == QUIRE_OK ? 0 : failed("get-many", rc);
}

/* Hand on what comes behind the cursor's record, page by page. */
static quire_status scan_on(struct thread *t, struct quire_cursor *cur,
                            uint64_t n, struct bench_check *check)
{
    quire_status rc = QUIRE_OK;

    while (rc == QUIRE_OK && n > 0) {
        size_t want = n < SCAN_MANY ? (size_t)n : SCAN_MANY;
        size_t got = 0;

        rc = quire_cursor_next_many(cur, t->records, want, t->keys,
                                    sizeof(t->keys), &got);
        for (size_t i = 0; i < got; i++) {
            const struct quire_record *r = &t->records[i];

            bench_check_record(check, r->key.data, r->key.size, r->val.data,
                               r->val.size);
        }
        n -= got;
    }
    return rc;
}

static int scan(void *arg, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check)
{
    struct thread *t = arg;
    struct quire_cursor *cur = NULL;
    struct quire_val key;
    struct quire_val val;
    quire_status rc = quire_cursor_open(t->txn, NULL, &cur);

    if (rc != QUIRE_OK)
        return failed("cursor", rc);
    if (from == NULL)
        rc = quire_cursor_seek(
            cur, reverse ? QUIRE_SEEK_LAST : QUIRE_SEEK_FIRST, NULL);
    else
        rc = quire_cursor_seek(cur, reverse ? QUIRE_SEEK_LE : QUIRE_SEEK_GE,
                               from);
    for (; rc == QUIRE_OK && n > 0; n--) {
        rc = quire_cursor_get(cur, &key, &val);
        if (rc != QUIRE_OK)
            break;
        bench_check_record(check, key.data, key.size, val.data, val.size);
        if (!reverse) {
            rc = scan_on(t, cur, n - 1, check);
            break;
        }
        if (n > 1)
            rc = quire_cursor_prev(cur);
    }
    quire_cursor_close(cur);
    return rc == QUIRE_OK || rc == QUIRE_NOTFOUND ? 0 : failed("scan", rc);
}

/* ---- writing ---- */

static int write_begin(void *arg)
{
    struct thread *t = arg;
    quire_status rc = quire_begin(t->db->store, QUIRE_WRITE, &t->txn);

    return rc == QUIRE_OK ? 0 : failed("begin", rc);
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    struct thread *t = arg;
    quire_status rc = quire_put(t->txn, NULL, key, val, 0);

    (void)append; /* it sees for itself */
    return rc == QUIRE_OK ? 0 : failed("put", rc);
}

static int commit(void *arg)
{
    struct thread *t = arg;
    quire_status rc = quire_commit(t->txn, t->db->commit_flags, NULL);

    t->txn = NULL;
    return rc == QUIRE_OK ? 0 : failed("commit", rc);
}

const struct bench_engine engine_quire = {
    .name = "quire",
    .open = open_store,
    .close = close_store,
    .settle = settle,
    .counts = counts,
    .thread_open = thread_open,
    .thread_close = thread_close,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .get_many = get_many,
    .mark = mark,
    .read_begin_old = read_begin_old,
    .scan = scan,
    .write_begin = write_begin,
    .put = put,
    .commit = commit,
};
