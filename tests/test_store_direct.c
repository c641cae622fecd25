/*
 * test_store_direct.c - QUIRE_DIRECT: pages are loaded through a handle of
 * their own, in aligned units, with the same contents and the same errors.
 *
 * The disk in memory refuses unaligned reads of such a handle as the system
 * does. The last test runs on the system's own files.
 */
#include <errno.h>
#include <unistd.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "direct.quire"
#define RECORDS 12000u
#define LARGE ((size_t)3 << 20) /* bytes of a value in pieces */

static struct {
    const struct quire_io *inner;
    void *direct;       /* handle opened with QUIRE_IO_DIRECT; NULL: none */
    int refuse_open;    /* errno of its opening; 0: none */
    int refuse_read;    /* errno of its reads */
    const char *detour; /* what it leads to; NULL: what is asked for */
    uint64_t direct_reads;
    uint64_t other_reads;
    uint64_t aheads;
} seen;

static int seen_open(void *ctx, const char *path, unsigned flags, unsigned mode,
                     void **file)
{
    /* the one that pages are loaded by; another is for writing */
    bool direct = (flags & QUIRE_IO_DIRECT) != 0 &&
                  (flags & QUIRE_IO_RDONLY) != 0;
    int rc;

    if (direct && seen.refuse_open != 0)
        return -seen.refuse_open;
    if (direct && seen.detour != NULL)
        path = seen.detour;
    rc = seen.inner->open(ctx, path, flags, mode, file);
    if (rc == 0 && direct)
        seen.direct = *file;
    return rc;
}

static ssize_t seen_pread(void *ctx, void *file, void *buf, size_t nbytes,
                          uint64_t off)
{
    if (file == seen.direct && seen.refuse_read != 0)
        return -seen.refuse_read;
    if (file == seen.direct)
        seen.direct_reads++;
    else
        seen.other_reads++;
    return seen.inner->pread(ctx, file, buf, nbytes, off);
}

static int seen_read_ahead(void *ctx, void *file, uint64_t off, uint64_t nbytes)
{
    (void)ctx;
    (void)file;
    (void)off;
    (void)nbytes;
    seen.aheads++;
    return 0;
}

static struct quire_io seen_table(struct mem_disk *disk)
{
    struct quire_io io;

    memset(&seen, 0, sizeof(seen));
    seen.inner = mem_disk_io(disk);
    io = *seen.inner;
    io.open = seen_open;
    io.pread = seen_pread;
    io.read_ahead = seen_read_ahead;
    return io;
}

static void value_of(uint64_t i, unsigned version, char val[200])
{
    uint64_t x = i * 31 + version;

    memset(val, 'a' + (int)(i % 26), 200);
    for (size_t at = 0; at < 96; at += 8) {
        x = test_rand(&x);
        memcpy(val + at, &x, 8);
    }
}

static void put(struct quire_txn *txn, uint64_t i, unsigned version)
{
    char val[200];
    char key[17];
    const struct quire_val k = { key, 16 };
    const struct quire_val v = { val, sizeof(val) };

    snprintf(key, sizeof(key), "%016llu", (unsigned long long)i);
    value_of(i, version, val);
    CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
}

/* Every `every`-th record has `version`, the others have 1. */
static void check_all(struct quire *db, quire_rev rev, uint64_t every,
                      unsigned version)
{
    struct quire_cursor *cur;
    struct quire_txn *txn;
    struct quire_val key;
    struct quire_val val;
    char want[200];

    CHECK_OK(quire_begin_at(db, rev, &txn));
    CHECK_OK(quire_cursor_open(txn, NULL, &cur));
    CHECK_OK(quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL));
    for (uint64_t i = 0; i < RECORDS; i++) {
        CHECK_OK(quire_cursor_get(cur, &key, &val));
        value_of(i, i % every == 0 ? version : 1, want);
        CHECK_EQ(val.size, sizeof(want));
        CHECK_MEM_EQ(val.data, want, sizeof(want));
        if (i + 1 < RECORDS)
            CHECK_OK(quire_cursor_next(cur));
    }
    quire_abort(txn);
}

static void check_large(struct quire *db, const char *large)
{
    const struct quire_val key = { "zz", 2 };
    struct quire_txn *txn;
    uint64_t size = 0;
    char *got = malloc(LARGE);

    CHECK(got != NULL);
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_OK(quire_read(txn, NULL, &key, 0, got, LARGE, &size));
    CHECK_EQ(size, LARGE);
    CHECK(memcmp(got, large, LARGE) == 0);
    quire_abort(txn);
    free(got);
}

/* Three revisions: all records; every 10th again, not synced; every 3rd. And a
 * value whose pieces are the longest fragments there are, not compressible. */
static void work(const char *path, const struct quire_io *io, bool mem)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND | QUIRE_DIRECT,
                                 .budget_bytes = QUIRE_BUDGET_MIN,
                                 .io = io };
    static const uint64_t every[3] = { 1, 10, 3 };
    const struct quire_val k = { "zz", 2 };
    char *large = malloc(LARGE);
    uint64_t rand = test_seed();
    struct quire_verify_report rep = { .size = sizeof(rep) };
    struct quire_txn *txn;
    struct quire *db;

    CHECK(large != NULL);
    for (size_t at = 0; at < LARGE; at += 8) {
        uint64_t x = test_rand(&rand);

        memcpy(large + at, &x, 8);
    }
    CHECK_OK(quire_open(path, &opt, &db));
    for (unsigned c = 0; c < 3; c++) {
        const struct quire_val v = { large, LARGE };

        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        for (uint64_t i = 0; i < RECORDS; i++) {
            if (i % every[c] == 0)
                put(txn, i, c + 1);
        }
        if (c == 0)
            CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
        CHECK_OK(quire_commit(txn, c == 1 ? QUIRE_NOSYNC : 0, NULL));
        check_all(db, 1, 1, 1);
        if (c >= 1)
            check_all(db, 2, 10, 2);
        check_large(db, large);
    }
    CHECK_OK(quire_close(db));

    opt.flags |= QUIRE_RDONLY;
    CHECK_OK(quire_open(path, &opt, &db));
    seen.direct_reads = 0;
    seen.other_reads = 0;
    check_all(db, 1, 1, 1);
    check_all(db, 2, 10, 2);
    check_large(db, large);
    if (mem) {
        /* all but commit records and the very longest fragments */
        CHECK(seen.direct_reads > RECORDS / 100);
        CHECK(seen.other_reads < seen.direct_reads / 4);
        CHECK_EQ(seen.aheads, 0);
    }
    CHECK_OK(quire_verify(db, NULL, NULL, &rep));
    CHECK_OK(quire_close(db));
    free(large);
}

static void test_pages_are_read_directly(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_io io = seen_table(disk);

    (void)state;
    work(PATH, &io, true);
    CHECK_EQ(mem_disk_opens(disk), 0);
    mem_disk_destroy(disk);
}

/* A table that moves half of what it is asked, and is interrupted. */
static void test_short_direct_reads(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct fault f;

    (void)state;
    fault_init(&f, mem_disk_io(disk), NULL);
    fault_shorten(&f, true, 3);
    work(PATH, &f.io, false);
    CHECK(fault_live_none(&f));
    fault_fini(&f);
    mem_disk_destroy(disk);
}

/* What is refused when the store is opened, and that nothing stays open. */
static void test_refusals(void **state)
{
    static const struct {
        const char *name;
        int refuse_open;
        int refuse_read;
        const char *detour;
        quire_status want;
        const char *text;
    } cases[] = {
        { "the file system opens none", EINVAL, 0, NULL, QUIRE_INVAL,
          "QUIRE_DIRECT: the file system" },
        { "it reads none", 0, EINVAL, NULL, QUIRE_INVAL,
          "QUIRE_DIRECT: the file system" },
        { "not supported", EOPNOTSUPP, 0, NULL, QUIRE_INVAL, "QUIRE_DIRECT" },
        { "no handle left", EMFILE, 0, NULL, QUIRE_IO,
          "past the system's cache" },
        { "not permitted", EACCES, 0, NULL, QUIRE_PERM,
          "past the system's cache" },
        { "the disk fails", 0, EIO, NULL, QUIRE_IO, "past the system's cache" },
        { "gone", ENOENT, 0, NULL, QUIRE_NOTFOUND, "past the system's cache" },
        { "another file", 0, 0, "other.quire", QUIRE_IO, "another file" },
    };
    struct mem_disk *disk = mem_disk_create();
    struct quire_io io = seen_table(disk);
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND,
                                 .io = &io };
    struct quire *db;

    (void)state;
    CHECK_OK(quire_open("other.quire", &opt, &db));
    CHECK_OK(quire_close(db));
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK(seen.direct == NULL);
    CHECK_OK(quire_close(db));
    opt.flags |= QUIRE_DIRECT | QUIRE_NOCREATE;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        seen.refuse_open = cases[i].refuse_open;
        seen.refuse_read = cases[i].refuse_read;
        seen.detour = cases[i].detour;
        CHECK_STATUS(quire_open(PATH, &opt, &db), cases[i].want);
        CHECK(strstr(quire_error_detail(), cases[i].text) != NULL);
        CHECK_EQ(mem_disk_opens(disk), 0);
    }
    seen.refuse_open = 0;
    seen.refuse_read = 0;
    seen.detour = NULL;
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK(seen.direct != NULL);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* A read that fails is an error of the call, and the next one works. A file
 * that ends too early is damage. */
static void test_failing_direct_reads(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_io io = seen_table(disk);
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND | QUIRE_DIRECT,
                                 .io = &io };
    const struct quire_val key = { "0000000000000007", 16 };
    struct quire_txn *txn;
    struct quire_val val;
    struct quire *db;
    void *file;

    (void)state;
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    for (uint64_t i = 0; i < RECORDS; i++)
        put(txn, i, 1);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(db));
    opt.flags |= QUIRE_RDONLY;

    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    seen.refuse_read = EIO;
    CHECK_STATUS(quire_get(txn, NULL, &key, &val), QUIRE_IO);
    seen.refuse_read = 0;
    CHECK_OK(quire_get(txn, NULL, &key, &val));
    CHECK_EQ(val.size, 200);
    quire_abort(txn);
    CHECK_OK(quire_close(db));

    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_EQ(seen.inner->open(io.ctx, PATH, 0, 0, &file), 0);
    CHECK_EQ(io.truncate(io.ctx, file, 20000), 0);
    io.close(io.ctx, file);
    CHECK_STATUS(quire_get(txn, NULL, &key, &val), QUIRE_CORRUPT);
    CHECK(strstr(quire_error_detail(), "the file ends at") != NULL);
    quire_abort(txn);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

static void test_system_files(void **state)
{
    struct quire_options opt = { .size = sizeof(opt), .flags = QUIRE_DIRECT };
    struct quire *db;
    char dir[512];
    char path[600];
    quire_status rc;

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(path, sizeof(path), dir, "store");
    rc = quire_open(path, &opt, &db);
    if (rc == QUIRE_OK) {
        CHECK_OK(quire_close(db));
        CHECK_EQ(unlink(path), 0);
        work(path, NULL, false);
    } else { /* a file system without it */
        CHECK_STATUS(rc, QUIRE_INVAL);
        CHECK(strstr(quire_error_detail(), "QUIRE_DIRECT") != NULL);
    }
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_read_directly),
        cmocka_unit_test(test_short_direct_reads),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failing_direct_reads),
        cmocka_unit_test(test_system_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
