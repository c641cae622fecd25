/*
 * engine_sqlite.c - SQLite under `quire bench store`.
 *
 * A table without row ids, a connection and prepared statements for each
 * thread, the write-ahead log, checkpoints of 256 MiB, the file mapped unless
 * memory is limited. synchronous is FULL where commits are durable, else
 * NORMAL, where none waits. Writers queue at a mutex of the program: SQLite's
 * own way of waiting is to sleep and try again.
 */
#include "tools/bench_engine.h"

#if __has_include(<sqlite3.h>)

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "tools/tool.h"

#define FUNCTIONS(X) \
    X(bind_blob) \
    X(bind_int64) \
    X(close) \
    X(column_blob) \
    X(column_bytes) \
    X(errmsg) \
    X(exec) \
    X(finalize) \
    X(open_v2) \
    X(prepare_v2) \
    X(reset) \
    X(step) \
    X(wal_checkpoint_v2)

#define DECLARE(name) __typeof__(sqlite3_##name) *name;
static struct {
    FUNCTIONS(DECLARE)
} lib;

struct db {
    struct bench_setup setup;
    pthread_mutex_t writer;
    sqlite3 *sql; /* for settling */
    char path[4096];
};

enum {
    GET,
    NEXT,
    PREV,
    FIRST,
    LAST,
    PUT,
    STATEMENTS
};

struct thread {
    struct db *db;
    sqlite3 *sql;
    sqlite3_stmt *stmt[STATEMENTS];
};

static int failed(const char *what, sqlite3 *sql)
{
    say("sqlite: %s: %s", what, sql != NULL ? lib.errmsg(sql) : "no memory");
    return -1;
}

static int bind(void *so)
{
    int rc = 0;

#define BIND(name) rc |= engine_symbol(so, "sqlite3_" #name, &lib.name);
    FUNCTIONS(BIND)
    return rc;
}

static int connect(struct db *db, sqlite3 **to)
{
    uint64_t cache = db->setup.memory;
    uint64_t map = db->setup.raw_bytes * 4;
    sqlite3 *sql = NULL;
    char pragmas[512];

    if (db->setup.limit != 0) {
        cache = db->setup.limit / 10 * 3;
        map = 0;
    }
    snprintf(pragmas, sizeof(pragmas),
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
             "PRAGMA cache_size=-%llu; PRAGMA mmap_size=%llu;"
             "PRAGMA wal_autocheckpoint=65536; PRAGMA temp_store=MEMORY;"
             "CREATE TABLE IF NOT EXISTS t(k BLOB PRIMARY KEY, v BLOB)"
             " WITHOUT ROWID",
             db->setup.durable ? "FULL" : "NORMAL",
             (unsigned long long)cache / 1024, (unsigned long long)map);
    if (lib.open_v2(db->path, &sql,
                    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                        SQLITE_OPEN_NOMUTEX,
                    NULL) != SQLITE_OK ||
        lib.exec(sql, pragmas, NULL, NULL, NULL) != SQLITE_OK) {
        failed("open", sql);
        lib.close(sql);
        return -1;
    }
    *to = sql;
    return 0;
}

static int open_db(const struct bench_setup *s, void **to)
{
    struct db *db = calloc(1, sizeof(*db));

    if (db == NULL)
        return failed("open", NULL);
    db->setup = *s;
    snprintf(db->path, sizeof(db->path), "%s/store.sqlite", s->dir);
    pthread_mutex_init(&db->writer, NULL);
    if (connect(db, &db->sql) != 0) {
        free(db);
        return -1;
    }
    *to = db;
    return 0;
}

static void close_db(void *arg)
{
    struct db *db = arg;

    lib.close(db->sql);
    pthread_mutex_destroy(&db->writer);
    free(db);
}

static int settle(void *arg, bool tidy)
{
    struct db *db = arg;
    int mode = tidy ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;

    if (lib.wal_checkpoint_v2(db->sql, NULL, mode, NULL, NULL) == SQLITE_OK)
        return 0;
    return failed("checkpoint", db->sql);
}

static void thread_close(void *arg)
{
    struct thread *t = arg;

    for (size_t i = 0; i < STATEMENTS; i++)
        lib.finalize(t->stmt[i]);
    lib.close(t->sql);
    free(t);
}

static int thread_open(void *arg, void **to)
{
    static const char *const text[STATEMENTS] = {
        [GET] = "SELECT v FROM t WHERE k = ?1",
        [NEXT] = "SELECT k, v FROM t WHERE k >= ?1 ORDER BY k LIMIT ?2",
        [PREV] = "SELECT k, v FROM t WHERE k <= ?1 ORDER BY k DESC LIMIT ?2",
        [FIRST] = "SELECT k, v FROM t ORDER BY k LIMIT ?2",
        [LAST] = "SELECT k, v FROM t ORDER BY k DESC LIMIT ?2",
        [PUT] = "INSERT OR REPLACE INTO t(k, v) VALUES(?1, ?2)",
    };
    struct thread *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return failed("a thread", NULL);
    t->db = arg;
    if (connect(t->db, &t->sql) != 0) {
        free(t);
        return -1;
    }
    for (size_t i = 0; i < STATEMENTS; i++) {
        if (lib.prepare_v2(t->sql, text[i], -1, &t->stmt[i], NULL) !=
            SQLITE_OK) {
            failed("prepare", t->sql);
            thread_close(t);
            return -1;
        }
    }
    *to = t;
    return 0;
}

static int read_begin(void *arg)
{
    struct thread *t = arg;

    return lib.exec(t->sql, "BEGIN", NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : failed("begin", t->sql);
}

static void read_end(void *arg)
{
    struct thread *t = arg;

    lib.reset(t->stmt[GET]);
    if (lib.exec(t->sql, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        failed("end", t->sql);
}

static int get(void *arg, const struct quire_val *key, struct quire_val *val)
{
    struct thread *t = arg;
    sqlite3_stmt *stmt = t->stmt[GET];

    lib.reset(stmt);
    if (lib.bind_blob(stmt, 1, key->data, (int)key->size, SQLITE_STATIC) !=
            SQLITE_OK ||
        lib.step(stmt) != SQLITE_ROW)
        return failed("get", t->sql);
    val->data = lib.column_blob(stmt, 0);
    val->size = (size_t)lib.column_bytes(stmt, 0);
    return 0;
}

static int scan(void *arg, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check)
{
    struct thread *t = arg;
    sqlite3_stmt *stmt = t->stmt[from != NULL ? (reverse ? PREV : NEXT)
                                              : (reverse ? LAST : FIRST)];
    int rc;

    lib.reset(stmt);
    if (from != NULL)
        lib.bind_blob(stmt, 1, from->data, (int)from->size, SQLITE_STATIC);
    lib.bind_int64(stmt, 2, (sqlite3_int64)n);
    while ((rc = lib.step(stmt)) == SQLITE_ROW) {
        const void *key = lib.column_blob(stmt, 0);
        const void *value = lib.column_blob(stmt, 1);

        bench_check_record(check, key, (size_t)lib.column_bytes(stmt, 0), value,
                           (size_t)lib.column_bytes(stmt, 1));
    }
    lib.reset(stmt);
    return rc == SQLITE_DONE ? 0 : failed("scan", t->sql);
}

static int write_begin(void *arg)
{
    struct thread *t = arg;

    pthread_mutex_lock(&t->db->writer);
    if (lib.exec(t->sql, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    failed("begin", t->sql);
    pthread_mutex_unlock(&t->db->writer);
    return -1;
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    struct thread *t = arg;
    sqlite3_stmt *stmt = t->stmt[PUT];
    int rc;

    (void)append;
    lib.bind_blob(stmt, 1, key->data, (int)key->size, SQLITE_STATIC);
    lib.bind_blob(stmt, 2, val->data, (int)val->size, SQLITE_STATIC);
    rc = lib.step(stmt);
    lib.reset(stmt);
    return rc == SQLITE_DONE ? 0 : failed("put", t->sql);
}

static int commit(void *arg)
{
    struct thread *t = arg;
    int rc = 0;

    if (lib.exec(t->sql, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        rc = failed("commit", t->sql);
    pthread_mutex_unlock(&t->db->writer);
    return rc;
}

const struct bench_engine engine_sqlite = {
    .name = "sqlite",
    .library = "libsqlite3.so.0",
    .bind = bind,
    .open = open_db,
    .close = close_db,
    .settle = settle,
    .thread_open = thread_open,
    .thread_close = thread_close,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .write_begin = write_begin,
    .put = put,
    .commit = commit,
};

#else /* built without its header */

const struct bench_engine engine_sqlite = { .name = "sqlite" };

#endif
