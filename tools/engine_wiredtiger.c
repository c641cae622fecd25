/*
 * engine_wiredtiger.c - WiredTiger under `quire bench store`.
 *
 * Leaves of 16 KiB (8 KiB under a memory limit) with snappy, the only
 * compressor that Debian packs; log files made ahead, its sync by fsync; a
 * session and its cursors for each thread; snapshot isolation. jemalloc in the
 * place of malloc(). Settling is a checkpoint.
 */
#include "tools/bench_engine.h"

#if __has_include(<wiredtiger.h>)

#include <dlfcn.h>
#include <stdlib.h>
#include <wiredtiger.h>

#include "tools/tool.h"

static struct {
    __typeof__(wiredtiger_open) *wiredtiger_open;
    __typeof__(wiredtiger_strerror) *wiredtiger_strerror;
} lib;

struct db {
    WT_CONNECTION *conn;
};

struct thread {
    struct db *db;
    WT_SESSION *session;
    WT_CURSOR *cursor;
};

static int failed(const char *what, int rc)
{
    say("wiredtiger: %s: %s", what, lib.wiredtiger_strerror(rc));
    return -1;
}

static int bind(void *so)
{
    return ENGINE_SYMBOL(so, lib, wiredtiger_open) |
           ENGINE_SYMBOL(so, lib, wiredtiger_strerror);
}

static int open_db(const struct bench_setup *s, void **to)
{
    struct db *db = calloc(1, sizeof(*db));
    /* twice its cache is what it takes, and the kernel has to have some */
    uint64_t cache = s->limit != 0 ? s->limit / 10 * 4 : s->memory;
    bool snappy = true;
    WT_SESSION *session;
    char config[512];
    int rc;

    if (db == NULL)
        return failed("open", WT_ERROR);
    do {
        snprintf(config, sizeof(config),
                 "create,cache_size=%llu,session_max=%d,"
                 "log=(enabled,file_max=128MB,prealloc=true),"
                 "transaction_sync=(enabled=%s,method=fsync),"
                 "eviction=(threads_min=1,threads_max=2)%s%s",
                 (unsigned long long)(cache < (1 << 20) ? 1 << 20 : cache),
                 4 * BENCH_THREADS_MAX, s->durable ? "true" : "false",
                 s->limit != 0 ? ",mmap=false" : "",
                 snappy ? ",extensions=[libwiredtiger_snappy.so]" : "");
        rc = lib.wiredtiger_open(s->dir, NULL, config, &db->conn);
    } while (rc != 0 && snappy && (snappy = false, true));
    if (rc != 0) {
        free(db);
        return failed("open", rc);
    }
    rc = db->conn->open_session(db->conn, NULL, NULL, &session);
    if (rc == 0) {
        snprintf(config, sizeof(config),
                 "key_format=u,value_format=u,leaf_page_max=%s,"
                 "access_pattern_hint=random%s",
                 s->limit != 0 ? "8KB" : "16KB",
                 snappy ? ",block_compressor=snappy" : "");
        rc = session->create(session, "table:bench", config);
        session->close(session, NULL);
    }
    if (rc != 0) {
        db->conn->close(db->conn, NULL);
        free(db);
        return failed("create", rc);
    }

    *to = db;
    return 0;
}

static void close_db(void *arg)
{
    struct db *db = arg;
    int rc = db->conn->close(db->conn, "leak_memory=true");

    if (rc != 0)
        failed("close", rc);
    free(db);
}

static int settle(void *arg, bool tidy)
{
    struct db *db = arg;
    WT_SESSION *session;
    int rc = db->conn->open_session(db->conn, NULL, NULL, &session);

    if (rc == 0) {
        rc = tidy ? session->checkpoint(session, NULL)
                  : session->log_flush(session, "sync=on");
        session->close(session, NULL);
    }
    return rc == 0 ? 0 : failed("sync", rc);
}

static int thread_open(void *arg, void **to)
{
    struct thread *t = calloc(1, sizeof(*t));
    struct db *db = arg;
    int rc;

    if (t == NULL)
        return failed("a thread", WT_ERROR);
    t->db = db;
    rc = db->conn->open_session(db->conn, NULL, "isolation=snapshot",
                                &t->session);
    if (rc == 0)
        rc = t->session->open_cursor(t->session, "table:bench", NULL, NULL,
                                     &t->cursor);
    if (rc != 0) {
        free(t);
        return failed("a thread", rc);
    }
    *to = t;
    return 0;
}

static void thread_close(void *arg)
{
    struct thread *t = arg;

    t->session->close(t->session, NULL); /* and its cursors */
    free(t);
}

static int begin(void *arg)
{
    struct thread *t = arg;
    int rc = t->session->begin_transaction(t->session, NULL);

    return rc == 0 ? 0 : failed("begin", rc);
}

static void read_end(void *arg)
{
    struct thread *t = arg;
    int rc;

    t->cursor->reset(t->cursor);
    rc = t->session->rollback_transaction(t->session, NULL);
    if (rc != 0)
        failed("end", rc);
}

static int get(void *arg, const struct quire_val *key, struct quire_val *val)
{
    struct thread *t = arg;
    WT_ITEM item = { .data = key->data, .size = key->size };
    int rc;

    t->cursor->set_key(t->cursor, &item);
    rc = t->cursor->search(t->cursor);
    if (rc == 0)
        rc = t->cursor->get_value(t->cursor, &item);
    if (rc != 0)
        return failed("get", rc);
    val->data = item.data;
    val->size = item.size;
    return 0;
}

static int scan(void *arg, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check)
{
    WT_CURSOR *c = ((struct thread *)arg)->cursor;
    WT_ITEM item;
    int how = 0;
    int rc;

    if (from == NULL) {
        rc = c->reset(c);
        if (rc == 0)
            rc = reverse ? c->prev(c) : c->next(c);
    } else {
        item = (WT_ITEM){ .data = from->data, .size = from->size };
        c->set_key(c, &item);
        rc = c->search_near(c, &how);
        if (rc == 0 && how != 0 && (how < 0) != reverse)
            rc = reverse ? c->prev(c) : c->next(c);
    }
    for (; rc == 0 && n > 0; n--) {
        WT_ITEM key;

        rc = c->get_key(c, &key);
        if (rc == 0)
            rc = c->get_value(c, &item);
        if (rc != 0)
            break;
        bench_check_record(check, key.data, key.size, item.data, item.size);
        if (n > 1)
            rc = reverse ? c->prev(c) : c->next(c);
    }
    return rc == 0 || rc == WT_NOTFOUND ? 0 : failed("scan", rc);
}

/* The transaction is gone, or what it did has failed. */
static int undo(struct thread *t, const char *what, int rc)
{
    t->session->rollback_transaction(t->session, NULL);
    return rc == WT_ROLLBACK ? BENCH_AGAIN : failed(what, rc);
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    struct thread *t = arg;
    WT_ITEM k = { .data = key->data, .size = key->size };
    WT_ITEM v = { .data = val->data, .size = val->size };
    int rc;

    (void)append;
    t->cursor->set_key(t->cursor, &k);
    t->cursor->set_value(t->cursor, &v);
    rc = t->cursor->insert(t->cursor); /* which overwrites */
    return rc == 0 ? 0 : undo(t, "put", rc);
}

static int commit(void *arg)
{
    struct thread *t = arg;
    int rc = t->session->commit_transaction(t->session, NULL);

    if (rc == WT_ROLLBACK)
        return BENCH_AGAIN;
    return rc == 0 ? 0 : failed("commit", rc);
}

const struct bench_engine engine_wiredtiger = {
    .name = "wiredtiger",
    .library = "libwiredtiger.so.0",
    .preload = "libjemalloc.so.2",
    .bind = bind,
    .open = open_db,
    .close = close_db,
    .settle = settle,
    .thread_open = thread_open,
    .thread_close = thread_close,
    .read_begin = begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .write_begin = begin,
    .put = put,
    .commit = commit,
};

#else /* built without its header */

const struct bench_engine engine_wiredtiger = { .name = "wiredtiger" };

#endif
