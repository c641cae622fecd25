/*
 * lib_fault.c - the fault layer and the driver of scenarios.
 *
 * Each function of the two tables asks fault_hit() first and then calls the
 * table below. One mutex guards the counters; it is not held during the call
 * below, so that waiting there delays nobody.
 *
 * The driver's loop ends with the first run in which nothing was failed: then N
 * is greater than the number of calls that the work makes. A run begins with a
 * copy of the prepared disk and of the model, so that runs do not depend on
 * each other, and one that fails can be run alone by its number.
 */
#include "tests/lib_fault.h"

#include <errno.h>
#include <inttypes.h>

#include "tests/lib_point.h"
#include "tests/test.h"

static const char *const fault_names[FAULT_KINDS] = {
    [FAULT_ALLOC] = "alloc",       [FAULT_MAP] = "map",
    [FAULT_COMMIT] = "commit",     [FAULT_DECOMMIT] = "decommit",
    [FAULT_HUGE] = "huge",         [FAULT_THREAD] = "thread",
    [FAULT_OPEN] = "open",         [FAULT_PREAD] = "pread",
    [FAULT_PWRITEV] = "pwritev",   [FAULT_SYNC] = "sync",
    [FAULT_ALLOCATE] = "allocate", [FAULT_TRUNCATE] = "truncate",
    [FAULT_SIZE] = "size",         [FAULT_BLOCK] = "block_size",
    [FAULT_LOCK] = "lock",         [FAULT_RENAME] = "rename",
    [FAULT_REMOVE] = "remove",     [FAULT_SYNC_DIR] = "sync_dir",
    [FAULT_AHEAD] = "read_ahead",
};

const char *fault_kind_name(enum fault_kind kind)
{
    return fault_names[kind];
}

static const char *fault_errno_name(int err)
{
    return err == ENOMEM   ? "ENOMEM"
           : err == EIO    ? "EIO"
           : err == ENOSPC ? "ENOSPC"
           : err == EDQUOT ? "EDQUOT"
           : err == EACCES ? "EACCES"
           : err == EAGAIN ? "EAGAIN"
           : err == EMFILE ? "EMFILE"
                           : "?";
}

/* ---- the layer ---- */

static void fault_lock(struct fault *f)
{
    pthread_mutex_lock(&f->lock);
}

static void fault_unlock(struct fault *f)
{
    pthread_mutex_unlock(&f->lock);
}

/* Count a call; the errno, negative, with which it is to fail, or 0. */
static int fault_hit(struct fault *f, enum fault_kind kind)
{
    int err = 0;

    fault_lock(f);
    f->calls[kind]++;
    if ((f->kinds & FAULT_BIT(kind)) != 0) {
        f->seen++;
        if (f->seen == f->nth ||
            (f->seen > f->nth && (f->how & FAULT_STICKY) != 0)) {
            f->fired++;
            f->fired_kinds |= FAULT_BIT(kind);
            err = -f->err;
        }
    }
    fault_unlock(f);
    return err;
}

/* Whether this call is to be interrupted. */
static bool fault_interrupts(struct fault *f)
{
    bool yes;

    fault_lock(f);
    yes = f->eintr_every > 0 && ++f->interruptible % f->eintr_every == 0;
    fault_unlock(f);
    return yes;
}

static void fault_count(struct fault *f, int64_t objs, int64_t map_bytes,
                        int64_t threads, int64_t files)
{
    fault_lock(f);
    f->live.objs += objs;
    f->live.map_bytes += map_bytes;
    f->live.threads += threads;
    f->live.files += files;
    fault_unlock(f);
}

static int fault_sys_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_MAP);

    if (rc == 0)
        rc = f->inner_sys->map(f->inner_sys->ctx, nbytes, align, addr);
    if (rc == 0)
        fault_count(f, 0, (int64_t)nbytes, 0, 0);
    return rc;
}

static void fault_sys_unmap(void *ctx, void *addr, size_t nbytes)
{
    struct fault *f = ctx;

    f->inner_sys->unmap(f->inner_sys->ctx, addr, nbytes);
    fault_count(f, 0, -(int64_t)nbytes, 0, 0);
}

static int fault_sys_commit(void *ctx, void *addr, size_t nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_COMMIT);

    return rc != 0 ? rc : f->inner_sys->commit(f->inner_sys->ctx, addr, nbytes);
}

static int fault_sys_decommit(void *ctx, void *addr, size_t nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_DECOMMIT);

    return rc != 0 ? rc
                   : f->inner_sys->decommit(f->inner_sys->ctx, addr, nbytes);
}

static int fault_sys_huge(void *ctx, void *addr, size_t nbytes, bool allow)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_HUGE);

    if (rc == 0 && f->inner_sys->huge == NULL)
        rc = -EOPNOTSUPP;
    return rc != 0 ? rc
                   : f->inner_sys->huge(f->inner_sys->ctx, addr, nbytes, allow);
}

static void *fault_sys_alloc(void *ctx, size_t nbytes)
{
    struct fault *f = ctx;
    void *p = NULL;

    if (fault_hit(f, FAULT_ALLOC) == 0)
        p = f->inner_sys->alloc(f->inner_sys->ctx, nbytes);
    if (p != NULL)
        fault_count(f, 1, 0, 0, 0);
    return p;
}

static void fault_sys_free(void *ctx, void *ptr)
{
    struct fault *f = ctx;

    if (ptr != NULL)
        fault_count(f, -1, 0, 0, 0);
    f->inner_sys->free(f->inner_sys->ctx, ptr);
}

static int fault_sys_thread_create(void *ctx, void (*run)(void *arg), void *arg,
                                   void **thread)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_THREAD);

    if (rc == 0)
        rc = f->inner_sys->thread_create(f->inner_sys->ctx, run, arg, thread);
    if (rc == 0)
        fault_count(f, 0, 0, 1, 0);
    return rc;
}

static void fault_sys_thread_join(void *ctx, void *thread)
{
    struct fault *f = ctx;

    f->inner_sys->thread_join(f->inner_sys->ctx, thread);
    fault_count(f, 0, 0, -1, 0);
}

static int fault_io_open(void *ctx, const char *path, unsigned flags,
                         unsigned mode, void **file)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_OPEN);

    if (rc == 0 && fault_interrupts(f))
        rc = -EINTR;
    if (rc == 0)
        rc = f->inner_io->open(f->inner_io->ctx, path, flags, mode, file);
    if (rc == 0)
        fault_count(f, 0, 0, 0, 1);
    return rc;
}

static void fault_io_close(void *ctx, void *file)
{
    struct fault *f = ctx;

    f->inner_io->close(f->inner_io->ctx, file);
    fault_count(f, 0, 0, 0, -1);
}

/* pread(), or pread_once() if the table below has it. */
static ssize_t fault_read(struct fault *f, bool once, void *file, void *buf,
                          size_t nbytes, uint64_t off)
{
    const struct quire_io *io = f->inner_io;
    ssize_t (*inner)(void *ctx, void *file, void *buf, size_t nbytes,
                     uint64_t off) = io->pread;
    int rc = fault_hit(f, FAULT_PREAD);

    if (once && io->pread_once != NULL)
        inner = io->pread_once;
    if (rc != 0 && (f->how & FAULT_FLIP) != 0) {
        ssize_t n = inner(io->ctx, file, buf, nbytes, off);

        if (n > 0)
            ((uint8_t *)buf)[n / 2] ^= 0x10;
        return n;
    }
    if (rc != 0)
        return rc;
    if (fault_interrupts(f))
        return -EINTR;
    /* In whole units where all is in units: a handle for direct reads moves
     * nothing else. */
    if (f->halves && (((uintptr_t)buf | nbytes | off) & 4095) == 0)
        nbytes = nbytes > 4096 ? nbytes / 2 & ~(size_t)4095 : nbytes;
    else if (f->halves && nbytes > 1)
        nbytes /= 2;
    return inner(io->ctx, file, buf, nbytes, off);
}

static ssize_t fault_io_pread(void *ctx, void *file, void *buf, size_t nbytes,
                              uint64_t off)
{
    return fault_read(ctx, false, file, buf, nbytes, off);
}

/* Write the first half of what `iov` holds. */
static ssize_t fault_write_half(struct fault *f, void *file,
                                const struct iovec *iov, int iovcnt,
                                uint64_t off)
{
    struct iovec half[64];
    size_t total = 0;
    size_t left;
    int n = 0;

    for (int i = 0; i < iovcnt; i++)
        total += iov[i].iov_len;
    left = total > 1 ? total / 2 : total;
    while (left > 0 && n < (int)ARRAY_LEN(half)) {
        half[n] = iov[n];
        if (half[n].iov_len > left)
            half[n].iov_len = left;
        left -= half[n].iov_len;
        n++;
    }
    return f->inner_io->pwritev(f->inner_io->ctx, file, half, n, off);
}

static ssize_t fault_io_pwritev(void *ctx, void *file, const struct iovec *iov,
                                int iovcnt, uint64_t off)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_PWRITEV);

    if (rc != 0) {
        if ((f->how & FAULT_TORN) != 0)
            (void)!fault_write_half(f, file, iov, iovcnt, off);
        if ((f->how & FAULT_WHOLE) != 0)
            (void)!f->inner_io->pwritev(f->inner_io->ctx, file, iov, iovcnt,
                                        off);
        return rc;
    }
    if (fault_interrupts(f))
        return -EINTR;
    if (f->halves)
        return fault_write_half(f, file, iov, iovcnt, off);
    return f->inner_io->pwritev(f->inner_io->ctx, file, iov, iovcnt, off);
}

static int fault_io_sync(void *ctx, void *file)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_SYNC);

    if (rc == 0 && fault_interrupts(f))
        rc = -EINTR;
    return rc != 0 ? rc : f->inner_io->sync(f->inner_io->ctx, file);
}

static int fault_io_allocate(void *ctx, void *file, uint64_t off,
                             uint64_t nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_ALLOCATE);

    if (rc == 0 && fault_interrupts(f))
        rc = -EINTR;
    return rc != 0 ? rc
                   : f->inner_io->allocate(f->inner_io->ctx, file, off, nbytes);
}

static int fault_io_truncate(void *ctx, void *file, uint64_t nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_TRUNCATE);

    if (rc != 0 && (f->how & FAULT_WHOLE) != 0)
        (void)!f->inner_io->truncate(f->inner_io->ctx, file, nbytes);
    if (rc == 0 && fault_interrupts(f))
        rc = -EINTR;
    return rc != 0 ? rc : f->inner_io->truncate(f->inner_io->ctx, file, nbytes);
}

static int fault_io_get_size(void *ctx, void *file, uint64_t *nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_SIZE);

    return rc != 0 ? rc : f->inner_io->get_size(f->inner_io->ctx, file, nbytes);
}

static int fault_io_block_size(void *ctx, void *file, uint32_t *nbytes)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_BLOCK);

    return rc != 0 ? rc
                   : f->inner_io->block_size(f->inner_io->ctx, file, nbytes);
}

static int fault_io_lock(void *ctx, void *file, bool exclusive)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_LOCK);

    return rc != 0 ? rc : f->inner_io->lock(f->inner_io->ctx, file, exclusive);
}

static int fault_io_rename(void *ctx, const char *from, const char *to)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_RENAME);

    return rc != 0 ? rc : f->inner_io->rename(f->inner_io->ctx, from, to);
}

static int fault_io_remove(void *ctx, const char *path)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_REMOVE);

    return rc != 0 ? rc : f->inner_io->remove(f->inner_io->ctx, path);
}

static int fault_io_sync_dir(void *ctx, const char *path)
{
    struct fault *f = ctx;
    int rc = fault_hit(f, FAULT_SYNC_DIR);

    return rc != 0 ? rc : f->inner_io->sync_dir(f->inner_io->ctx, path);
}

static ssize_t fault_io_pread_once(void *ctx, void *file, void *buf,
                                   size_t nbytes, uint64_t off)
{
    return fault_read(ctx, true, file, buf, nbytes, off);
}

static int fault_io_read_ahead(void *ctx, void *file, uint64_t off,
                               uint64_t nbytes)
{
    struct fault *f = ctx;
    const struct quire_io *io = f->inner_io;
    int rc = fault_hit(f, FAULT_AHEAD);

    return rc != 0 || io->read_ahead == NULL
               ? rc
               : io->read_ahead(io->ctx, file, off, nbytes);
}

void fault_init(struct fault *f, const struct quire_io *io,
                const struct quire_sys *sys)
{
    memset(f, 0, sizeof(*f));
    f->inner_io = io != NULL ? io : quire_io_default();
    f->inner_sys = sys != NULL ? sys : quire_sys_default();
    pthread_mutex_init(&f->lock, NULL);
    f->sys = (struct quire_sys){
        .size = sizeof(f->sys),
        .ctx = f,
        .map = fault_sys_map,
        .unmap = fault_sys_unmap,
        .commit = fault_sys_commit,
        .decommit = fault_sys_decommit,
        .alloc = fault_sys_alloc,
        .free = fault_sys_free,
        .thread_create = fault_sys_thread_create,
        .thread_join = fault_sys_thread_join,
        .huge = fault_sys_huge,
    };
    f->io = (struct quire_io){
        .size = sizeof(f->io),
        .ctx = f,
        .open = fault_io_open,
        .pread = fault_io_pread,
        .pwritev = fault_io_pwritev,
        .sync = fault_io_sync,
        .allocate = fault_io_allocate,
        .truncate = fault_io_truncate,
        .get_size = fault_io_get_size,
        .block_size = fault_io_block_size,
        .lock = fault_io_lock,
        .close = fault_io_close,
        .rename = fault_io_rename,
        .remove = fault_io_remove,
        .sync_dir = fault_io_sync_dir,
        .pread_once = fault_io_pread_once,
        .read_ahead = fault_io_read_ahead,
    };
}

void fault_fini(struct fault *f)
{
    pthread_mutex_destroy(&f->lock);
}

void fault_arm(struct fault *f, unsigned kinds, uint64_t nth, int err,
               unsigned how)
{
    fault_lock(f);
    f->kinds = kinds;
    f->nth = nth;
    f->err = err;
    f->how = how;
    f->seen = 0;
    f->fired = 0;
    f->fired_kinds = 0;
    fault_unlock(f);
}

void fault_heal(struct fault *f)
{
    fault_lock(f);
    f->kinds = 0;
    fault_unlock(f);
}

void fault_shorten(struct fault *f, bool halves, unsigned eintr_every)
{
    fault_lock(f);
    f->halves = halves;
    f->eintr_every = eintr_every;
    fault_unlock(f);
}

struct fault_live fault_live_get(struct fault *f)
{
    struct fault_live live;

    fault_lock(f);
    live = f->live;
    fault_unlock(f);
    return live;
}

bool fault_live_none(struct fault *f)
{
    struct fault_live live = fault_live_get(f);

    if (live.objs == 0 && live.map_bytes == 0 && live.threads == 0 &&
        live.files == 0)
        return true;
    print_error("never given back: %" PRId64 " objects, %" PRId64
                " mapped bytes, %" PRId64 " threads, %" PRId64 " files\n",
                live.objs, live.map_bytes, live.threads, live.files);
    return false;
}

/* ---- scenarios ---- */

#define FAULT_STATUS(rc) (1u << (unsigned)-(int)(rc))

/* The statuses that `kinds` failing with `err` may bring about. */
static unsigned fault_allowed(unsigned kinds, int err)
{
    bool space = err == ENOSPC || err == EDQUOT;
    unsigned ok = 0;

    if ((kinds & (FAULT_MEMORY | FAULT_BIT(FAULT_DECOMMIT) |
                  FAULT_BIT(FAULT_HUGE) | FAULT_BIT(FAULT_THREAD))) != 0)
        ok |= FAULT_STATUS(QUIRE_NOMEM);
    if ((kinds & FAULT_IO) != 0) {
        ok |= FAULT_STATUS(space                           ? QUIRE_NOSPACE
                           : err == EACCES || err == EPERM ? QUIRE_PERM
                           : err == EAGAIN                 ? QUIRE_LOCKED
                                                           : QUIRE_IO);
    }
    if ((kinds & FAULT_BIT(FAULT_SYNC)) != 0 ||
        ((kinds & FAULT_WRITES) != 0 && !space))
        ok |= FAULT_STATUS(QUIRE_UNDECIDED) | FAULT_STATUS(QUIRE_POISONED) |
              FAULT_STATUS(QUIRE_IO);
    if (ok != 0)
        ok |= FAULT_STATUS(QUIRE_ABORTED);
    return ok;
}

/* The statuses that the failures so far may have brought about. */
static unsigned fault_explained(struct fault_env *e)
{
    unsigned kinds;
    unsigned ok = 0;

    if (e->point == FAULT_SURVEY)
        return 0;
    if (e->point == FAULT_CALLS) {
        fault_lock(&e->fault);
        kinds = e->fault.fired_kinds;
        fault_unlock(&e->fault);
        return fault_allowed(kinds, e->err);
    }
    if (point_fired() == 0)
        return 0;
    switch (point_fails((unsigned)e->point)) {
    case POINT_MEMORY:
        ok = FAULT_STATUS(QUIRE_NOMEM);
        break;
    case POINT_SPACE:
        ok = FAULT_STATUS(QUIRE_NOSPACE);
        break;
    case POINT_IO:
        ok = FAULT_STATUS(QUIRE_IO);
        break;
    case POINT_CORRUPT:
        ok = FAULT_STATUS(QUIRE_CORRUPT);
        break;
    case POINT_LOCKED:
        ok = FAULT_STATUS(QUIRE_LOCKED);
        break;
    case POINT_NOTHING:
        return 0;
    }
    return ok | FAULT_STATUS(QUIRE_ABORTED);
}

/* Has anything failed? */
static bool fault_touched(struct fault_env *e)
{
    return e->point == FAULT_CALLS ? e->fault.fired > 0 : point_fired() > 0;
}

bool fault_saw(struct fault_env *e, quire_status rc)
{
    if (rc == QUIRE_OK)
        return true;
    e->statuses |= FAULT_STATUS(rc);
    if ((fault_explained(e) & FAULT_STATUS(rc)) == 0) {
        print_error("status %d (%s; %s) is not explained by what failed\n",
                    (int)rc, quire_strerror(rc), quire_error_detail());
        CHECK(false);
    }
    return false;
}

void fault_env_arm(struct fault_env *e)
{
    e->armed = true;
    if (e->point == FAULT_CALLS)
        fault_arm(&e->fault, e->kinds, e->nth, e->err, e->how);
    else if (e->point == FAULT_SURVEY)
        point_survey();
    else
        point_arm(e->scene, (unsigned)e->point, e->nth,
                  (e->how & FAULT_STICKY) != 0);
}

void fault_env_heal(struct fault_env *e)
{
    fault_heal(&e->fault);
    point_disarm();
}

static uint64_t fault_budget_bytes = QUIRE_BUDGET_MIN;
static uint32_t fault_page_bytes = QUIRE_PAGE_MIN;

void fault_sizes(uint64_t budget_bytes, uint32_t page_bytes)
{
    fault_budget_bytes = budget_bytes;
    fault_page_bytes = page_bytes;
}

/* A fresh environment without a file. */
static void fault_env_init(struct fault_env *e)
{
    memset(e, 0, sizeof(*e));
    e->disk = mem_disk_create();
    fault_init(&e->fault, mem_disk_io(e->disk), mem_sys_kept());
    twin_init(&e->twin);
    e->rand = 1;
    e->point = FAULT_CALLS;
    e->opt = (struct quire_options){
        .size = sizeof(e->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = fault_budget_bytes,
        .page_bytes = fault_page_bytes,
        .io = &e->fault.io,
        .sys = &e->fault.sys,
    };
}

/* An environment that begins where `base` is. */
static void fault_env_fork(struct fault_env *e, struct fault_env *base)
{
    memset(e, 0, sizeof(*e));
    e->disk = mem_disk_copy(base->disk);
    fault_init(&e->fault, mem_disk_io(e->disk), mem_sys_kept());
    e->twin.model = model_fork(base->twin.model);
    e->twin.acked = base->twin.acked;
    e->twin.published = base->twin.published;
    e->twin.tried = base->twin.tried;
    e->rand = 2;
    e->point = FAULT_CALLS;
    e->opt = base->opt;
    e->opt.io = &e->fault.io;
    e->opt.sys = &e->fault.sys;
}

static void fault_env_fini(struct fault_env *e)
{
    twin_fini(&e->twin);
    fault_fini(&e->fault);
    mem_disk_destroy(e->disk);
}

static void fault_check_same(struct fault_env *e, quire_rev rev,
                             enum model_depth depth)
{
    char why[MODEL_WHY_CAP];

    if (!model_same_at(e->twin.model, e->twin.db, rev, depth, why)) {
        print_error("%s\n", why);
        CHECK(false);
    }
}

static void fault_tell_verify(void *arg, const struct quire_fault *f)
{
    (void)arg;
    print_error("verify: revision %" PRIu64 ", offset %" PRIu64 ", %d: %s\n",
                f->rev, f->file_off, (int)f->status, f->text);
}

/* The handle is healthy again, or says that it must be reopened. */
static void fault_settle_open(struct fault_env *e)
{
    unsigned may = fault_explained(e);
    bool may_poison = (may & FAULT_STATUS(QUIRE_POISONED)) != 0;
    struct quire_stat st = { .size = sizeof(st) };
    struct twin *t = &e->twin;
    quire_status rc;

    CHECK_OK(quire_stat_get(t->db, &st));
    CHECK_EQ(st.transactions, 0);
    CHECK_EQ(st.cache.pinned_pages, 0);
    CHECK_EQ(st.pool.misuses, 0);
    CHECK_EQ(st.rev, t->published);
    CHECK(st.pool.resident_bytes <= e->opt.budget_bytes);
    if ((e->opt.flags & QUIRE_RDONLY) == 0) {
        rc = twin_begin(t);
        if (rc == QUIRE_OK) {
            rc = twin_put_gen(t, NULL, "next on the handle", 18, 100, &e->rand);
            if (rc == QUIRE_OK)
                rc = twin_commit(t, 0);
            else
                twin_abort(t);
        }
        if (rc != QUIRE_OK) {
            CHECK_STATUS(rc, QUIRE_POISONED);
            CHECK(may_poison);
        } else {
            CHECK(!t->poisoned);
        }
    }
    fault_check_same(e, t->published, MODEL_FORWARD);
    CHECK_OK(quire_verify(t->db, fault_tell_verify, NULL, NULL));
    rc = twin_close(t);
    if (rc != QUIRE_OK) {
        CHECK(t->poisoned && may_poison);
        CHECK(rc == QUIRE_IO || rc == QUIRE_UNDECIDED || rc == QUIRE_POISONED);
    }
}

/* The store opens, verifies, holds what it must, and goes on. */
static void fault_settle_reopened(struct fault_env *e)
{
    struct twin *t = &e->twin;

    e->opt.flags &= ~(QUIRE_RDONLY | QUIRE_NOCREATE | QUIRE_EXCL);
    CHECK_OK(twin_open(t, FAULT_PATH, &e->opt));
    CHECK_OK(quire_verify(t->db, fault_tell_verify, NULL, NULL));
    for (quire_rev rev = 0; rev <= t->published; rev++)
        fault_check_same(e, rev, MODEL_FORWARD);
    CHECK_OK(twin_begin(t));
    CHECK_OK(twin_put_gen(t, NULL, "next once reopened", 18, 100, &e->rand));
    CHECK_OK(twin_commit(t, 0));
    fault_check_same(e, t->published, MODEL_FORWARD);
    CHECK_OK(twin_close(t));
}

/* Faults have stopped: look at what is left. */
static void fault_settle(struct fault_env *e)
{
    struct twin *t = &e->twin;

    fault_env_heal(e);
    quire_abort(e->reader);
    e->reader = NULL;
    if (t->txn != NULL)
        twin_abort(t);
    if (t->db != NULL)
        fault_settle_open(e);
    CHECK(fault_live_none(&e->fault));
    CHECK_EQ(mem_disk_opens(e->disk), 0);
    if ((e->kinds & FAULT_BIT(FAULT_REMOVE)) == 0)
        CHECK(mem_disk_files(e->disk) <= 1);
    fault_settle_reopened(e);
    CHECK(fault_live_none(&e->fault));
}

static const char *fault_how_name(unsigned how)
{
    return (how & FAULT_TORN) != 0    ? "torn"
           : (how & FAULT_WHOLE) != 0 ? "whole"
           : (how & FAULT_FLIP) != 0  ? "flip"
                                      : "";
}

static void fault_tell(const struct fault_scenario *s, const char *kinds,
                       int err, unsigned how, uint64_t points,
                       unsigned statuses)
{
    char text[256] = "";
    size_t len = 0;

    for (int i = 0; i < 32; i++) {
        if ((statuses & (1u << i)) != 0)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %d", -i);
        if (len >= sizeof(text) - 8)
            break;
    }
    print_message(
        "fault: %-18s %-8s %-6s %-6s %-5s %5" PRIu64 " points, statuses%s\n",
        s->name, kinds, fault_errno_name(err),
        (how & FAULT_STICKY) != 0 ? "sticky" : "once", fault_how_name(how),
        points, text[0] != '\0' ? text : " none");
}

static const char *fault_kinds_name(unsigned kinds)
{
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        if (kinds == FAULT_BIT(k))
            return fault_names[k];
    return (kinds & ~FAULT_IO) == 0       ? "i/o"
           : (kinds & ~FAULT_MEMORY) == 0 ? "memory"
                                          : "several";
}

bool fault_long_form(void)
{
    const char *form = getenv("QUIRE_CRASH");

    return form != NULL && strcmp(form, "long") == 0;
}

/* What is injected, in all runs of a scenario. */
struct fault_plan {
    unsigned kinds;
    int err;
    unsigned how;
    int point; /* FAULT_CALLS: those of `kinds` */
};

static const char *fault_plan_name(const struct fault_plan *p)
{
    return p->point < 0 ? fault_kinds_name(p->kinds)
                        : point_name((unsigned)p->point);
}

static uint64_t fault_sample_all;
static unsigned fault_sample_then;

void fault_sample(uint64_t all, unsigned then)
{
    fault_sample_all = all;
    fault_sample_then = then;
}

/* The N after `nth`. Where tests are slow, a sample of what would be tried at
 * full speed. */
static uint64_t fault_next(uint64_t nth, uint64_t *rand)
{
    uint64_t slow = 64 / test_rounds(64);
    uint64_t step = slow > 1 ? 4 * slow : 1;

    if (fault_sample_then > 0 && nth >= fault_sample_all)
        step *= 1 + nth / fault_sample_then;
    return nth + (step == 1 ? 1 : 1 + test_rand_below(rand, 2 * step - 1));
}

static uint64_t fault_run_plan(const struct fault_scenario *s,
                               const struct fault_plan *p, bool none_ok)
{
    struct fault_env base;
    uint64_t points = 0;
    unsigned statuses = 0;
    uint64_t rand = 3;
    uint64_t nth = 1;
    bool untouched = false;

    fault_env_init(&base);
    if (s->prepare != NULL) {
        s->prepare(&base);
        CHECK(base.twin.db == NULL && fault_live_none(&base.fault));
    }
    while (!untouched) {
        char name[160];
        struct fault_env e;

        snprintf(name, sizeof(name), "%s, %s call %" PRIu64 " fails, %s %s %s",
                 s->name, fault_plan_name(p), nth,
                 p->point < 0 ? fault_errno_name(p->err) : "",
                 (p->how & FAULT_STICKY) != 0 ? "sticky" : "once",
                 fault_how_name(p->how));
        CHECK_CASE(name);
        fault_env_fork(&e, &base);
        e.scene = s->name;
        e.kinds = p->kinds;
        e.how = p->how;
        e.nth = nth;
        e.err = p->err;
        e.point = p->point;
        s->run(&e);
        CHECK(e.armed);
        untouched = !fault_touched(&e);
        fault_settle(&e);
        statuses |= e.statuses;
        fault_env_fini(&e);
        if (!untouched)
            points++;
        nth = fault_next(nth, &rand);
    }
    CHECK_CASE(s->name);
    if (p->point < 0)
        fault_tell(s, fault_plan_name(p), p->err, p->how, points, statuses);
    CHECK(points > 0 || none_ok);
    fault_env_fini(&base);
    return points;
}

uint64_t fault_run(const struct fault_scenario *s, unsigned kinds, int err,
                   unsigned how, bool none_ok)
{
    struct fault_plan p = { kinds, err, how, FAULT_CALLS };

    return fault_run_plan(s, &p, none_ok);
}

uint64_t fault_run_point(const struct fault_scenario *s, unsigned point,
                         unsigned how, bool none_ok)
{
    struct fault_plan p = { 0, 0, how, (int)point };

    return fault_run_plan(s, &p, none_ok);
}

void fault_survey(const struct fault_scenario *s, uint64_t *passed)
{
    struct fault_env base;
    struct fault_env e;

    CHECK_CASE(s->name);
    fault_env_init(&base);
    if (s->prepare != NULL)
        s->prepare(&base);
    fault_env_fork(&e, &base);
    e.scene = s->name;
    e.point = FAULT_SURVEY;
    s->run(&e);
    fault_env_heal(&e);
    for (unsigned i = 0; i < point_count(); i++)
        passed[i] = point_passed(i);
    fault_settle(&e);
    fault_env_fini(&e);
    fault_env_fini(&base);
}

void fault_run_short(const struct fault_scenario *s)
{
    struct fault_env base;

    fault_env_init(&base);
    if (s->prepare != NULL)
        s->prepare(&base);
    for (unsigned every = 2; every <= 7; every++) {
        struct fault_env e;

        CHECK_CASE(s->name);
        fault_env_fork(&e, &base);
        fault_shorten(&e.fault, true, every);
        s->run(&e);
        CHECK(e.fault.interruptible > 0);
        CHECK_EQ(e.statuses, 0);
        fault_settle(&e);
        fault_env_fini(&e);
    }
    fault_env_fini(&base);
}
