/*
 * store.c - opening and closing a store, and its handles.
 *
 * Opening acquires, in this order: the handle, the fork marker, the pool, the
 * file (created first if need be), the cache, the writer's log and tables; then
 * recovery reads the log. Closing and every failure release in reverse.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "txlog/tx_impl.h"

/* Bytes of the marker page. */
#define ALIVE_BYTES 4096u

quire_status tx_store_why(struct quire *db)
{
    if (db == NULL)
        return ra_fail(QUIRE_MISUSE, "the store handle is NULL");
    if (db->magic != TX_DB_MAGIC)
        return ra_fail(QUIRE_MISUSE, "not an open store");
    if (*db->alive != 1)
        return ra_fail(QUIRE_MISUSE,
                       "the store was opened before fork(); open it anew");
    return QUIRE_OK;
}

/* ---- handles ---- */

void *tx_handle_take(struct quire *db, struct tx_handle **list, size_t nbytes,
                     uint64_t magic)
{
    struct tx_handle *h;

    ra_mutex_lock(&db->handles_lock);
    h = *list;
    if (h != NULL)
        *list = h->next;
    ra_mutex_unlock(&db->handles_lock);
    if (h == NULL)
        h = ra_obj_alloc(&db->sys, nbytes);
    if (h == NULL)
        return NULL;
    h->magic = magic;
    h->next = NULL;
    return h;
}

void tx_handle_give(struct quire *db, struct tx_handle **list, void *handle)
{
    struct tx_handle *h = handle;

    h->magic = 0;
    ra_mutex_lock(&db->handles_lock);
    h->next = *list;
    *list = h;
    ra_mutex_unlock(&db->handles_lock);
}

static void handles_free(struct quire *db, struct tx_handle *list)
{
    while (list != NULL) {
        struct tx_handle *next = list->next;

        ra_obj_free(&db->sys, list);
        list = next;
    }
}

/* ---- options ---- */

/* `opt` with its defaults filled in. */
static quire_status options_take(const struct quire_options *opt,
                                 struct quire_options *out)
{
    memset(out, 0, sizeof(*out));
    if (opt != NULL) {
        if (opt->size < offsetof(struct quire_options, log) ||
            opt->size > sizeof(*out) * 4)
            return ra_fail(QUIRE_INVAL,
                           "options: size is %zu, not sizeof(struct "
                           "quire_options)",
                           opt->size);
        memcpy(out, opt, opt->size < sizeof(*out) ? opt->size : sizeof(*out));
    }
    if ((out->flags & ~(QUIRE_RDONLY | QUIRE_NOCREATE | QUIRE_EXCL |
                        QUIRE_NOBACKGROUND | QUIRE_DIRECT)) != 0)
        return ra_fail(QUIRE_INVAL, "options: unknown flags 0x%x", out->flags);
    if ((out->flags & QUIRE_EXCL) != 0 &&
        (out->flags & (QUIRE_RDONLY | QUIRE_NOCREATE)) != 0)
        return ra_fail(QUIRE_INVAL, "options: QUIRE_EXCL with QUIRE_RDONLY or "
                                    "QUIRE_NOCREATE");
    if (out->mode == 0)
        out->mode = 0644;
    if (out->budget_bytes == 0)
        out->budget_bytes = QUIRE_BUDGET_DEFAULT;
    if (out->budget_bytes < QUIRE_BUDGET_MIN)
        return ra_fail(QUIRE_INVAL,
                       "options: budget_bytes is %llu, less than %llu",
                       (unsigned long long)out->budget_bytes,
                       (unsigned long long)QUIRE_BUDGET_MIN);
    if (out->page_bytes == 0)
        out->page_bytes = QUIRE_PAGE_DEFAULT;
    if (!ra_is_pow2(out->page_bytes) || out->page_bytes < QUIRE_PAGE_MIN ||
        out->page_bytes > QUIRE_PAGE_MAX)
        return ra_fail(QUIRE_INVAL,
                       "options: page_bytes is %u, not a power of two of %u to "
                       "%u",
                       out->page_bytes, QUIRE_PAGE_MIN, QUIRE_PAGE_MAX);
    if (out->versioning == QUIRE_VERSIONING_DEFAULT)
        out->versioning = QUIRE_VERSIONING_ADAPTIVE;
    if (!pf_versioning_known(out->versioning))
        return ra_fail(QUIRE_INVAL, "options: versioning %d is not known",
                       (int)out->versioning);
    if (out->window == 0)
        out->window = QUIRE_WINDOW_DEFAULT;
    if (out->window < 2 || out->window > QUIRE_WINDOW_MAX)
        return ra_fail(QUIRE_INVAL, "options: window is %u, not 2 to %u",
                       out->window, QUIRE_WINDOW_MAX);
    if (out->io == NULL)
        out->io = quire_io_default();
    if (out->io->size != sizeof(struct quire_io))
        return ra_fail(QUIRE_INVAL, "options: io->size is %zu, not %zu",
                       out->io->size, sizeof(struct quire_io));
    if (out->sys == NULL)
        out->sys = quire_sys_default();
    if (out->sys->size != sizeof(struct quire_sys))
        return ra_fail(QUIRE_INVAL, "options: sys->size is %zu, not %zu",
                       out->sys->size, sizeof(struct quire_sys));
    return QUIRE_OK;
}

/* ---- opening ---- */

/* A page that a forked child sees as zeros. The table's mappings are not
 * inherited at all, so this one is told to be. */
static quire_status alive_map(struct quire *db)
{
    void *page = NULL;
    int err = QUIRE_POINT(
        TX_STORE_MARKER, -ENOMEM,
        db->sys.map(db->sys.ctx, ALIVE_BYTES, ALIVE_BYTES, &page));

    if (err != 0)
        return ra_fail(QUIRE_NOMEM, "a page for the handle: %s",
                       strerror(-err));
    (void)madvise(page, ALIVE_BYTES, MADV_DOFORK);
    (void)madvise(page, ALIVE_BYTES, MADV_WIPEONFORK);
    db->alive = page;
    *db->alive = 1;
    return QUIRE_OK;
}

int64_t tx_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static quire_status file_create(struct quire *db, const struct pf_env *env,
                                const char *path,
                                const struct quire_options *opt)
{
    struct pf_geometry geo;

    memset(&geo, 0, sizeof(geo));
    if (getrandom(geo.uuid, sizeof(geo.uuid), 0) != sizeof(geo.uuid))
        return ra_fail(QUIRE_IO, "no random bytes for a store's identity");
    geo.page_bytes = opt->page_bytes;
    geo.window = opt->window;
    geo.versioning = opt->versioning;
    ra_log_line(&db->log, QUIRE_LOG_INFO, "creating %s", path);
    return pf_file_create(env, path, opt->mode, &geo, tx_now_us());
}

static quire_status file_open(struct quire *db, const char *path,
                              const struct quire_options *opt)
{
    const struct pf_env env = { &db->io, db->pool, db->log,
                                (opt->flags & QUIRE_NOBACKGROUND) == 0 &&
                                    !db->rdonly,
                                (opt->flags & QUIRE_DIRECT) != 0 };
    bool may_create = (opt->flags & (QUIRE_RDONLY | QUIRE_NOCREATE)) == 0;
    quire_status rc;

    if ((opt->flags & QUIRE_EXCL) != 0) {
        rc = file_create(db, &env, path, opt);
        if (rc != QUIRE_OK)
            return rc;
        return pf_file_open(&env, path, false, &db->file);
    }
    rc = pf_file_open(&env, path, db->rdonly, &db->file);
    if (rc != QUIRE_NOTFOUND || !may_create)
        return rc;
    rc = file_create(db, &env, path, opt);
    if (rc != QUIRE_OK && rc != QUIRE_EXISTS)
        return rc; /* EXISTS: another process was faster */
    return pf_file_open(&env, path, false, &db->file);
}

static quire_status cache_create(struct quire *db,
                                 const struct quire_options *opt)
{
    const struct pc_options pc = {
        .capacity_bytes = 0,
        .max_pages = (uint32_t)ra_min_u64(opt->budget_bytes / QUIRE_PAGE_MIN,
                                          (uint64_t)1 << 30),
        .load = pf_load,
        .removed = pf_removed,
        .ctx = db->file,
        .background = (opt->flags & QUIRE_NOBACKGROUND) == 0,
        .row_set_bytes = pf_file_geometry(db->file)->page_bytes,
        .row_bytes_max = opt->budget_bytes / 8 * TX_ROW_SHARE,
        .log = db->log,
    };

    return pc_cache_create(db->pool, &pc, &db->cache);
}

static void store_release(struct quire *db, bool leaks,
                          struct quire_close_report *report)
{
    struct quire_close_report r;
    struct quire_pool_stat st;

    memset(&r, 0, sizeof(r));
    r.size = sizeof(r);
    db->magic = 0;
    r.intents = db->wlog.nused;
    if (db->wlog.env != NULL)
        tr_log_clear(&db->wlog);
    tr_log_fini(&db->wlog);
    if (db->cache != NULL)
        r.pinned_pages = pc_cache_destroy(db->cache, leaks);
    pf_file_close(db->file);
    if (db->pool != NULL) {
        if (db->pending != NULL)
            ra_table_free(db->pool, db->pending,
                          TX_PENDING_MAX * sizeof(db->pending[0]));
        memset(&st, 0, sizeof(st));
        st.size = sizeof(st);
        ra_pool_stat(db->pool, &st);
        r.resident_peak_bytes = st.resident_peak_bytes;
        r.regions_mapped = st.regions_mapped;
        r.regions_reused = st.regions_reused;
        r.regions_freed = st.regions_freed;
        r.segments_in_use = ra_pool_destroy(db->pool, leaks);
    }
    if (report != NULL)
        memcpy(&report->pinned_pages, &r.pinned_pages,
               ra_min_u64(report->size, sizeof(r)) -
                   offsetof(struct quire_close_report, pinned_pages));
    if (db->alive != NULL)
        db->sys.unmap(db->sys.ctx, (void *)(uintptr_t)db->alive, ALIVE_BYTES);
    handles_free(db, db->free_cursors);
    handles_free(db, db->free_trees);
    handles_free(db, db->free_txns);
    ra_mutex_fini(&db->writer_lock);
    ra_mutex_fini(&db->handles_lock);
    ra_mutex_fini(&db->commit_lock);
    {
        struct quire_sys sys = db->sys;

        ra_obj_free(&sys, db);
    }
}

/* How many processors this thread may run on, and those that it makes. */
static int processors(void)
{
    cpu_set_t set;

    /* It fails where there are more than a set has room for. */
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                        : INT_MAX;
}

quire_status tx_store_open(const char *path, const struct quire_options *opt,
                           struct quire **out)
{
    struct quire_pool_options po;
    const struct pf_geometry *geo;
    struct quire_options o;
    struct pf_record last;
    struct quire *db;
    void *table = NULL;
    quire_status rc;

    rc = options_take(opt, &o);
    if (rc != QUIRE_OK)
        return rc;
    db = QUIRE_POINT(TX_STORE_HANDLE, NULL, ra_obj_alloc(o.sys, sizeof(*db)));
    if (db == NULL)
        return ra_fail(QUIRE_NOMEM, "no memory for a handle");
    db->io = *o.io;
    db->sys = *o.sys;
    db->log.fn = o.log;
    db->log.arg = o.log_arg;
    db->rdonly = (o.flags & QUIRE_RDONLY) != 0;
    db->log_limit = o.budget_bytes / TX_LOG_SHARE;
    ra_mutex_init(&db->commit_lock, RA_RANK_TX_COMMIT);
    ra_mutex_init(&db->handles_lock, RA_RANK_TX_HANDLES);
    ra_mutex_init(&db->writer_lock, RA_RANK_TX_WRITER);
    db->may_spin = processors() > 1;

    rc = alive_map(db);
    if (rc != QUIRE_OK)
        goto out;
    memset(&po, 0, sizeof(po));
    po.size = sizeof(po);
    po.budget_bytes = o.budget_bytes;
    po.virtual_bytes = o.virtual_bytes;
    po.region_bytes = o.region_bytes;
    po.background = (o.flags & QUIRE_NOBACKGROUND) == 0;
    po.log = o.log;
    po.log_arg = o.log_arg;
    po.sys = &db->sys;
    rc = ra_pool_create(&po, &db->pool);
    if (rc != QUIRE_OK)
        goto out;
    rc = file_open(db, path, &o);
    if (rc != QUIRE_OK)
        goto out;
    rc = cache_create(db, &o);
    if (rc != QUIRE_OK)
        goto out;
    pf_file_set_cache(db->file, db->cache);
    geo = pf_file_geometry(db->file);
    db->env.file = db->file;
    db->env.cache = db->cache;
    db->env.pool = db->pool;
    db->env.page_bytes = geo->page_bytes;
    db->env.window = geo->window;
    db->env.versioning = geo->versioning;
    rc = QUIRE_POINT_RC(TX_STORE_PENDING, QUIRE_NOMEM,
                        ra_table_alloc(db->pool,
                                       TX_PENDING_MAX * sizeof(db->pending[0]),
                                       &table));
    if (rc != QUIRE_OK)
        goto out;
    db->pending = table;
    if (!db->rdonly) {
        rc = tr_log_init(&db->wlog, &db->env);
        if (rc != QUIRE_OK)
            goto out;
    }
    rc = pf_file_recover(db->file, tx_rev_recovered, db, &last);
    if (rc != QUIRE_OK)
        goto out;
    QUIRE_ASSERT(db->wroot.rev == last.rev);
    if (last.window != 0) {
        db->env.window = last.window;
        db->env.versioning = last.versioning;
        db->env.mixed = true;
    }
    tx_pages_note(db);
    ra_mutex_lock(&db->commit_lock);
    tx_root_publish(db, &db->wroot);
    ra_mutex_unlock(&db->commit_lock);
    db->magic = TX_DB_MAGIC;
    ra_log_line(&db->log, QUIRE_LOG_INFO, "opened %s at revision %llu", path,
                (unsigned long long)last.rev);
    *out = db;
    return QUIRE_OK;

out:
    store_release(db, false, NULL);
    return rc;
}

quire_status tx_store_close(struct quire *db, struct quire_close_report *report)
{
    quire_status rc = QUIRE_OK;
    uint64_t nopen;

    ra_mutex_lock(&db->handles_lock);
    nopen = db->open_txns;
    db->closing = nopen == 0;
    ra_mutex_unlock(&db->handles_lock);
    if (nopen > 0)
        return ra_fail(QUIRE_BUSY,
                       "%llu transactions are open or being committed",
                       (unsigned long long)nopen);
    if (!db->rdonly && !pf_file_poisoned(db->file)) {
        rc = tx_sync(db);
        if (rc == QUIRE_OK && db->nsuper > 0 &&
            pf_super_write(db->file, &db->super[db->nsuper - 1]) != QUIRE_OK)
            ra_log_line(&db->log, QUIRE_LOG_ERROR, "superblock: %s",
                        quire_error_detail());
    }
    store_release(db, false, report);
    return rc;
}
