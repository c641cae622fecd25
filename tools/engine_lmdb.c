/*
 * engine_lmdb.c - LMDB under `quire bench store`.
 *
 * MDB_NOMEMINIT and MDB_NOTLS always, MDB_NOSYNC where commits need not be
 * durable, MDB_NORDAHEAD where the data are larger than memory, MDB_APPEND for
 * ascending keys. A second engine, lmdb-wm, adds MDB_WRITEMAP, which is faster
 * where nothing is synced and slower where it is.
 */
#include "tools/bench_engine.h"

#if __has_include(<lmdb.h>)

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>

#include "tools/tool.h"

static struct {
    __typeof__(mdb_strerror) *mdb_strerror;
    __typeof__(mdb_env_create) *mdb_env_create;
    __typeof__(mdb_env_set_mapsize) *mdb_env_set_mapsize;
    __typeof__(mdb_env_set_maxreaders) *mdb_env_set_maxreaders;
    __typeof__(mdb_env_open) *mdb_env_open;
    __typeof__(mdb_env_close) *mdb_env_close;
    __typeof__(mdb_env_sync) *mdb_env_sync;
    __typeof__(mdb_txn_begin) *mdb_txn_begin;
    __typeof__(mdb_txn_commit) *mdb_txn_commit;
    __typeof__(mdb_txn_abort) *mdb_txn_abort;
    __typeof__(mdb_txn_reset) *mdb_txn_reset;
    __typeof__(mdb_txn_renew) *mdb_txn_renew;
    __typeof__(mdb_dbi_open) *mdb_dbi_open;
    __typeof__(mdb_get) *mdb_get;
    __typeof__(mdb_put) *mdb_put;
    __typeof__(mdb_cursor_open) *mdb_cursor_open;
    __typeof__(mdb_cursor_renew) *mdb_cursor_renew;
    __typeof__(mdb_cursor_close) *mdb_cursor_close;
    __typeof__(mdb_cursor_get) *mdb_cursor_get;
} lib;

struct db {
    MDB_env *env;
    MDB_dbi dbi;
};

struct thread {
    struct db *db;
    MDB_txn *reader; /* reset between snapshots, as its manual advises */
    MDB_cursor *cursor;
    MDB_txn *writer;
};

static int failed(const char *what, int rc)
{
    say("lmdb: %s: %s", what, lib.mdb_strerror(rc));
    return -1;
}

static int bind(void *so)
{
    return ENGINE_SYMBOL(so, lib, mdb_strerror) |
           ENGINE_SYMBOL(so, lib, mdb_env_create) |
           ENGINE_SYMBOL(so, lib, mdb_env_set_mapsize) |
           ENGINE_SYMBOL(so, lib, mdb_env_set_maxreaders) |
           ENGINE_SYMBOL(so, lib, mdb_env_open) |
           ENGINE_SYMBOL(so, lib, mdb_env_close) |
           ENGINE_SYMBOL(so, lib, mdb_env_sync) |
           ENGINE_SYMBOL(so, lib, mdb_txn_begin) |
           ENGINE_SYMBOL(so, lib, mdb_txn_commit) |
           ENGINE_SYMBOL(so, lib, mdb_txn_abort) |
           ENGINE_SYMBOL(so, lib, mdb_txn_reset) |
           ENGINE_SYMBOL(so, lib, mdb_txn_renew) |
           ENGINE_SYMBOL(so, lib, mdb_dbi_open) |
           ENGINE_SYMBOL(so, lib, mdb_get) | ENGINE_SYMBOL(so, lib, mdb_put) |
           ENGINE_SYMBOL(so, lib, mdb_cursor_open) |
           ENGINE_SYMBOL(so, lib, mdb_cursor_renew) |
           ENGINE_SYMBOL(so, lib, mdb_cursor_close) |
           ENGINE_SYMBOL(so, lib, mdb_cursor_get);
}

static int open_env(const struct bench_setup *s, unsigned flags, void **to)
{
    struct db *db = calloc(1, sizeof(*db));
    MDB_txn *txn = NULL;
    int rc;

    if (db == NULL)
        return failed("open", ENOMEM);
    flags |= MDB_NOTLS | MDB_NOMEMINIT;
    if (!s->durable)
        flags |= MDB_NOSYNC;
    if (s->limit != 0)
        flags |= MDB_NORDAHEAD;
    rc = lib.mdb_env_create(&db->env);
    if (rc == 0)
        rc = lib.mdb_env_set_mapsize(
            db->env, (size_t)(s->raw_bytes * 8 + ((uint64_t)1 << 30)));
    if (rc == 0)
        rc = lib.mdb_env_set_maxreaders(db->env, 2 * BENCH_THREADS_MAX);
    if (rc == 0)
        rc = lib.mdb_env_open(db->env, s->dir, flags, 0644);
    if (rc == 0)
        rc = lib.mdb_txn_begin(db->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = lib.mdb_dbi_open(txn, NULL, 0, &db->dbi);
        if (rc == 0)
            rc = lib.mdb_txn_commit(txn);
        else
            lib.mdb_txn_abort(txn);
    }
    if (rc != 0) {
        lib.mdb_env_close(db->env);
        free(db);
        return failed("open", rc);
    }
    *to = db;
    return 0;
}

static int open_plain(const struct bench_setup *s, void **to)
{
    return open_env(s, 0, to);
}

static int open_writemap(const struct bench_setup *s, void **to)
{
    return open_env(s, MDB_WRITEMAP, to);
}

static void close_env(void *arg)
{
    struct db *db = arg;

    lib.mdb_env_close(db->env);
    free(db);
}

static int settle(void *arg, bool tidy)
{
    int rc = lib.mdb_env_sync(((struct db *)arg)->env, 1);

    (void)tidy; /* nothing is put off */
    return rc == 0 ? 0 : failed("sync", rc);
}

static int thread_open(void *arg, void **to)
{
    struct thread *t = calloc(1, sizeof(*t));
    struct db *db = arg;
    int rc = ENOMEM;

    if (t != NULL) {
        t->db = db;
        rc = lib.mdb_txn_begin(db->env, NULL, MDB_RDONLY, &t->reader);
    }
    if (rc == 0)
        rc = lib.mdb_cursor_open(t->reader, db->dbi, &t->cursor);
    if (rc != 0) {
        if (t != NULL && t->reader != NULL)
            lib.mdb_txn_abort(t->reader);
        free(t);
        return failed("a thread", rc);
    }
    lib.mdb_txn_reset(t->reader);
    *to = t;
    return 0;
}

static void thread_close(void *arg)
{
    struct thread *t = arg;

    if (t->writer != NULL)
        lib.mdb_txn_abort(t->writer);
    lib.mdb_cursor_close(t->cursor);
    lib.mdb_txn_abort(t->reader);
    free(t);
}

static int read_begin(void *arg)
{
    struct thread *t = arg;
    int rc = lib.mdb_txn_renew(t->reader);

    if (rc == 0)
        rc = lib.mdb_cursor_renew(t->reader, t->cursor);
    return rc == 0 ? 0 : failed("begin", rc);
}

static void read_end(void *arg)
{
    lib.mdb_txn_reset(((struct thread *)arg)->reader);
}

static int get(void *arg, const struct quire_val *key, struct quire_val *val)
{
    struct thread *t = arg;
    MDB_val k = { key->size, (void *)(uintptr_t)key->data };
    MDB_val v;
    int rc = lib.mdb_get(t->reader, t->db->dbi, &k, &v);

    if (rc != 0)
        return failed("get", rc);
    val->data = v.mv_data;
    val->size = v.mv_size;
    return 0;
}

static int scan(void *arg, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check)
{
    struct thread *t = arg;
    MDB_val k = { 0, NULL };
    MDB_val v;
    int rc;

    if (from == NULL) {
        rc = lib.mdb_cursor_get(t->cursor, &k, &v,
                                reverse ? MDB_LAST : MDB_FIRST);
    } else {
        k.mv_size = from->size;
        k.mv_data = (void *)(uintptr_t)from->data;
        rc = lib.mdb_cursor_get(t->cursor, &k, &v, MDB_SET_RANGE);
    }
    for (; rc == 0 && n > 0; n--) {
        bench_check_record(check, k.mv_data, k.mv_size, v.mv_data, v.mv_size);
        if (n > 1)
            rc = lib.mdb_cursor_get(t->cursor, &k, &v,
                                    reverse ? MDB_PREV : MDB_NEXT);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : failed("scan", rc);
}

static int write_begin(void *arg)
{
    struct thread *t = arg;
    int rc = lib.mdb_txn_begin(t->db->env, NULL, 0, &t->writer);

    return rc == 0 ? 0 : failed("begin", rc);
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    struct thread *t = arg;
    MDB_val k = { key->size, (void *)(uintptr_t)key->data };
    MDB_val v = { val->size, (void *)(uintptr_t)val->data };
    int rc = lib.mdb_put(t->writer, t->db->dbi, &k, &v,
                         append ? MDB_APPEND : 0);

    return rc == 0 ? 0 : failed("put", rc);
}

static int commit(void *arg)
{
    struct thread *t = arg;
    int rc = lib.mdb_txn_commit(t->writer);

    t->writer = NULL;
    return rc == 0 ? 0 : failed("commit", rc);
}

#define FUNCTIONS \
    .bind = bind, .close = close_env, .settle = settle, \
    .thread_open = thread_open, .thread_close = thread_close, \
    .read_begin = read_begin, .read_end = read_end, .get = get, .scan = scan, \
    .write_begin = write_begin, .put = put, .commit = commit

const struct bench_engine engine_lmdb = {
    .name = "lmdb",
    .library = "liblmdb.so.0",
    .open = open_plain,
    FUNCTIONS,
};

const struct bench_engine engine_lmdb_wm = {
    .name = "lmdb-wm",
    .library = "liblmdb.so.0",
    .cannot = BENCH_NO_READ | BENCH_NO_SYNC,
    .open = open_writemap,
    FUNCTIONS,
};

#else /* built without its header */

const struct bench_engine engine_lmdb = { .name = "lmdb" };
const struct bench_engine engine_lmdb_wm = { .name = "lmdb-wm" };

#endif
