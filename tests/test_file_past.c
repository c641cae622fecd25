/*
 * test_file_past.c - which writes go past the system's cache.
 *
 * A table of functions over a disk in memory knows of each handle whether it
 * was opened for that, counts what is written by which, and can refuse it as
 * file systems do.
 */
#include <errno.h>
#include <stdatomic.h>

#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "past.quire"
#define HANDLES 8

struct watch {
    const struct quire_io *inner;
    struct quire_io io;
    void *direct[HANDLES]; /* handles that were opened so */
    unsigned ndirect;
    int fail_open;          /* errno of such an open; 0: none */
    bool other;             /* such an open finds another file under the name */
    bool per_process;       /* locks are: any close gives them up */
    bool taken;             /* and then another process takes them */
    bool held;              /* such a lock is */
    _Atomic int refuse;     /* errno of writes by such handles; 0: none */
    _Atomic int cut;        /* they write at most so many bytes; 0: all */
    _Atomic uint64_t past;  /* bytes written by them */
    _Atomic uint64_t kept;  /* and by the others */
    _Atomic uint64_t calls; /* of writes by them, refused ones too */
};

static bool is_direct(const struct watch *w, const void *file)
{
    for (unsigned i = 0; i < w->ndirect; i++) {
        if (w->direct[i] == file)
            return true;
    }
    return false;
}

static int watch_open(void *ctx, const char *path, unsigned flags,
                      unsigned mode, void **file)
{
    struct watch *w = ctx;
    bool direct = (flags & QUIRE_IO_DIRECT) != 0;
    int rc;

    if (direct && w->fail_open != 0)
        return -w->fail_open;
    rc = w->inner->open(w->inner->ctx, direct && w->other ? "other" : path,
                        flags, mode, file);
    if (rc == 0 && direct) {
        CHECK(w->ndirect < HANDLES);
        w->direct[w->ndirect++] = *file;
    }
    return rc;
}

static void watch_close(void *ctx, void *file)
{
    struct watch *w = ctx;

    for (unsigned i = 0; i < w->ndirect; i++) {
        if (w->direct[i] != file)
            continue;
        w->direct[i] = w->direct[--w->ndirect];
        if (w->taken)
            w->per_process = false;
    }
    w->held = false;
    w->inner->close(w->inner->ctx, file);
}

static ssize_t watch_pwritev(void *ctx, void *file, const struct iovec *iov,
                             int iovcnt, uint64_t off)
{
    struct watch *w = ctx;
    struct iovec one = iov[0];
    bool direct = is_direct(w, file);
    ssize_t n;

    if (direct) {
        int cut = atomic_load(&w->cut);

        CHECK_EQ(off % 4096, 0);
        for (int i = 0; i < iovcnt; i++) {
            CHECK_EQ((uintptr_t)iov[i].iov_base % 4096, 0);
            CHECK_EQ(iov[i].iov_len % 4096, 0);
        }
        atomic_fetch_add(&w->calls, 1);
        if (atomic_load(&w->refuse) != 0)
            return -atomic_load(&w->refuse);
        if (cut != 0 && one.iov_len > (size_t)cut) {
            one.iov_len = (size_t)cut;
            iov = &one;
            iovcnt = 1;
        }
    }
    n = w->inner->pwritev(w->inner->ctx, file, iov, iovcnt, off);
    if (n > 0)
        atomic_fetch_add(direct ? &w->past : &w->kept, (uint64_t)n);
    return n;
}

static struct mem_disk *begin(struct watch *w)
{
    struct mem_disk *disk = mem_disk_create();

    memset(w, 0, sizeof(*w));
    w->inner = mem_disk_io(disk);
    w->io = *w->inner;
    return disk;
}

/* The other functions are the inner table's, so its context stays; `w` is found
 * through a table of the thread's own. */
static struct watch *the_watch;

static int open_it(void *ctx, const char *path, unsigned flags, unsigned mode,
                   void **file)
{
    (void)ctx;
    return watch_open(the_watch, path, flags, mode, file);
}

static void close_it(void *ctx, void *file)
{
    (void)ctx;
    watch_close(the_watch, file);
}

static int lock_it(void *ctx, void *file, bool exclusive)
{
    if (the_watch->per_process) {
        the_watch->held = true;
        return 0;
    }
    return the_watch->taken ? -EAGAIN
                            : the_watch->inner->lock(ctx, file, exclusive);
}

static ssize_t pwritev_it(void *ctx, void *file, const struct iovec *iov,
                          int iovcnt, uint64_t off)
{
    (void)ctx;
    return watch_pwritev(the_watch, file, iov, iovcnt, off);
}

static quire_status try_open(struct watch *w, unsigned flags, struct quire **db)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = flags,
                                 .budget_bytes = QUIRE_BUDGET_MIN,
                                 .io = &w->io };

    the_watch = w;
    w->io.open = open_it;
    w->io.close = close_it;
    w->io.lock = lock_it;
    w->io.pwritev = pwritev_it;
    return quire_open(PATH, &opt, db);
}

static void open_store(struct watch *w, unsigned flags, struct quire **db)
{
    CHECK_OK(try_open(w, flags, db));
}

/* Put `n` records from number `from` on, of 1000 bytes that don't compress. */
static quire_status put(struct quire *db, unsigned from, unsigned n,
                        unsigned flags)
{
    uint64_t rand = from + 1;
    struct quire_txn *txn;
    char key[16];
    uint8_t val[1000];
    quire_status rc;

    rc = quire_begin(db, QUIRE_WRITE, &txn);
    for (unsigned i = from; rc == QUIRE_OK && i < from + n; i++) {
        struct quire_val k = { key,
                               (size_t)snprintf(key, sizeof(key), "%08u", i) };
        struct quire_val v = { val, sizeof(val) };

        for (size_t at = 0; at < sizeof(val); at++)
            val[at] = (uint8_t)test_rand(&rand);
        rc = quire_put(txn, NULL, &k, &v, 0);
    }
    return rc == QUIRE_OK ? quire_commit(txn, flags, NULL) : rc;
}

static void check_records(struct quire *db, unsigned n)
{
    struct quire_txn *txn;
    uint64_t count = 0;

    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    CHECK_EQ(count, n);
    quire_abort(txn);
}

static void test_which_writes(void **state)
{
    static struct watch w;
    struct mem_disk *disk = begin(&w);
    struct quire *db;
    uint64_t past;
    uint64_t kept;

    (void)state;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    CHECK_EQ(w.ndirect, 1);
    /* alone, synced, short */
    past = atomic_load(&w.past);
    kept = atomic_load(&w.kept);
    CHECK_OK(put(db, 0, 1, 0));
    CHECK(atomic_load(&w.past) >= past + 4096);
    CHECK_EQ(atomic_load(&w.kept), kept);
    /* not synced */
    past = atomic_load(&w.past);
    CHECK_OK(put(db, 1, 1, QUIRE_NOSYNC));
    CHECK_EQ(atomic_load(&w.past), past);
    CHECK(atomic_load(&w.kept) > kept);
    /* in pieces */
    kept = atomic_load(&w.kept);
    CHECK_OK(put(db, 2, 1000, 0));
    CHECK_EQ(atomic_load(&w.past), past);
    CHECK(atomic_load(&w.kept) >= kept + 1000000);
    check_records(db, 1002);
    CHECK_OK(quire_close(db));
    open_store(&w, QUIRE_RDONLY, &db);
    CHECK_EQ(w.ndirect, 0);
    check_records(db, 1002);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* What is read again is better kept: 32 MB of records under 8 MiB, changed in
 * an order that finds none of their pages in memory. */
static void test_read_again(void **state)
{
    static struct watch w;
    struct mem_disk *disk = begin(&w);
    struct quire *db;
    uint64_t rand = test_seed();
    uint64_t past;

    (void)state;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    for (unsigned i = 0; i < 32000; i += 1000)
        CHECK_OK(put(db, i, 1000, QUIRE_NOSYNC));
    for (unsigned i = 0; i < 600; i++)
        CHECK_OK(put(db, (unsigned)test_rand_below(&rand, 32000), 1, 0));
    past = atomic_load(&w.past);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(put(db, (unsigned)test_rand_below(&rand, 32000), 1, 0));
    CHECK_EQ(atomic_load(&w.past), past);
    /* and when it no longer is: one page, again and again (with so little memory
     * it may be displaced by what is made for it, for some hundred commits) */
    for (unsigned i = 0; i < 2000; i++)
        CHECK_OK(put(db, 0, 1, 0));
    CHECK(atomic_load(&w.past) > past);
    check_records(db, 32000);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* A store commits whatever the second handle does. */
static void test_refused(void **state)
{
    static const struct {
        const char *name;
        int fail_open;
        int refuse;
        int cut;
        bool other;
        bool used;
    } rows[] = {
        { .name = "not opened", .fail_open = EINVAL },
        { .name = "no descriptor left", .fail_open = EMFILE },
        { .name = "another file of this name", .other = true },
        { .name = "refused at the first write", .refuse = EINVAL },
        { .name = "short writes of odd lengths", .cut = 1000, .used = true },
        { .name = "short writes", .cut = 4096, .used = true },
    };
    static struct watch w;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mem_disk *disk = begin(&w);
        struct quire *db;

        CHECK_CASE(rows[i].name);
        mem_disk_put(disk, "other", "nothing of ours", 15);
        w.fail_open = rows[i].fail_open;
        w.other = rows[i].other;
        w.refuse = rows[i].refuse;
        w.cut = rows[i].cut;
        open_store(&w, QUIRE_NOBACKGROUND, &db);
        for (unsigned k = 0; k < 20; k++)
            CHECK_OK(put(db, k * 10, 10, 0));
        CHECK((atomic_load(&w.past) > 0) == rows[i].used);
        /* asked once, not each time */
        CHECK(rows[i].used || atomic_load(&w.calls) == (rows[i].refuse != 0));
        check_records(db, 200);
        CHECK_OK(quire_close(db));
        CHECK_EQ(w.ndirect, 0);
        CHECK_EQ(mem_disk_opens(disk), 0);
        open_store(&w, QUIRE_NOBACKGROUND, &db);
        check_records(db, 200);
        CHECK_OK(quire_close(db));
        mem_disk_destroy(disk);
    }
}

/* The name leads to another store by now, which somebody has open, and thus
 * locked as the store's own file is. */
static void test_another_store(void **state)
{
    static struct watch w;
    struct mem_disk *disk = begin(&w);
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND,
                                 .budget_bytes = QUIRE_BUDGET_MIN,
                                 .io = w.inner };
    struct quire *other;
    struct quire *db;

    (void)state;
    CHECK_OK(quire_open("other", &opt, &other));
    CHECK_OK(put(other, 0, 30, 0));
    w.other = true;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    for (unsigned k = 0; k < 20; k++)
        CHECK_OK(put(db, k * 10, 10, 0));
    CHECK_EQ(atomic_load(&w.past), 0);
    CHECK_EQ(w.ndirect, 0);
    CHECK_OK(quire_close(db));
    CHECK_OK(quire_close(other));
    CHECK_OK(quire_open("other", &opt, &other));
    check_records(other, 30);
    CHECK_OK(quire_verify(other, NULL, NULL, NULL));
    CHECK_OK(quire_close(other));
    w.other = false;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    check_records(db, 200);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* Locks that belong to a process are given up when any handle of the file is
 * closed: the store has its lock all the same, or isn't open. */
static void test_locks_of_processes(void **state)
{
    static struct watch w;
    struct mem_disk *disk = begin(&w);
    struct quire *db = NULL;

    (void)state;
    w.per_process = true;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    CHECK(w.held);
    CHECK_OK(put(db, 0, 10, 0));
    CHECK_EQ(atomic_load(&w.past), 0);
    CHECK_OK(quire_close(db));
    w.taken = true;
    CHECK_STATUS(try_open(&w, QUIRE_NOBACKGROUND, &db), QUIRE_LOCKED);
    CHECK_EQ(mem_disk_opens(disk), 0);
    mem_disk_destroy(disk);
}

/* An error is one like any other: the commit is undecided, the store is to be
 * opened again, and has what was told durable. */
static void test_error(void **state)
{
    static struct watch w;
    struct mem_disk *disk = begin(&w);
    struct quire *db;

    (void)state;
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    CHECK_OK(put(db, 0, 10, 0));
    w.refuse = EIO;
    CHECK_EQ(put(db, 10, 10, 0), QUIRE_UNDECIDED);
    w.refuse = 0;
    CHECK_EQ(put(db, 20, 10, 0), QUIRE_POISONED);
    CHECK_OK(quire_close(db));
    open_store(&w, QUIRE_NOBACKGROUND, &db);
    check_records(db, 10);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* On a real file system, if it has such writes: what two handles write and
 * read is one file. */
static void test_system(void **state)
{
    char dir[256];
    char path[512];
    struct quire_options opt = { .size = sizeof(opt),
                                 .budget_bytes = QUIRE_BUDGET_MIN };
    struct quire *db;

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(path, sizeof(path), dir, PATH);
    CHECK_OK(quire_open(path, &opt, &db));
    for (unsigned k = 0; k < 200; k++)
        CHECK_OK(put(db, k * 10, 10, k % 3 == 0 ? QUIRE_NOSYNC : 0));
    check_records(db, 2000);
    CHECK_OK(quire_close(db));
    CHECK_OK(quire_open(path, &opt, &db));
    check_records(db, 2000);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
    test_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_writes),
        cmocka_unit_test(test_read_again),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_another_store),
        cmocka_unit_test(test_locks_of_processes),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_system),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
