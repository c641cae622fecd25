/*
 * test_fault_layers.c - the memory disk and the fault layer are themselves
 * tested, since all other fault tests believe them. No store is opened here.
 */
#include <errno.h>
#include <unistd.h>

#include "tests/lib_fault.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

static void *open_file(const struct quire_io *io, const char *path,
                       unsigned flags)
{
    void *file = NULL;

    CHECK_EQ(io->open(io->ctx, path, flags, 0644, &file), 0);
    CHECK(file != NULL);
    return file;
}

static ssize_t put(const struct quire_io *io, void *file, uint64_t off,
                   const char *text)
{
    struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };

    return io->pwritev(io->ctx, file, &iov, 1, off);
}

/* The same steps over the system's files and over the memory disk give the
 * same answers. */
static void run_file_steps(const struct quire_io *io, const char *path,
                           const char *path2)
{
    char a[] = "0123456789";
    char b[] = "abcdef";
    struct iovec iov[3] = { { a, 10 }, { b, 0 }, { b, 6 } };
    char buf[64];
    uint64_t size = 0;
    uint32_t block = 0;
    void *f = NULL;
    void *g = NULL;

    CHECK_EQ(io->open(io->ctx, path, 0, 0644, &f), -ENOENT);
    f = open_file(io, path, QUIRE_IO_CREATE);
    CHECK_EQ(io->open(io->ctx, path, QUIRE_IO_CREATE, 0644, &g), -EEXIST);
    CHECK_EQ(io->get_size(io->ctx, f, &size), 0);
    CHECK_EQ(size, 0);
    CHECK_EQ(io->pread(io->ctx, f, buf, sizeof(buf), 0), 0);
    CHECK_EQ(io->pwritev(io->ctx, f, iov, 3, 5000), 16);
    CHECK_EQ(io->get_size(io->ctx, f, &size), 0);
    CHECK_EQ(size, 5016);
    CHECK_EQ(io->pread(io->ctx, f, buf, 64, 5006), 10);
    CHECK_MEM_EQ(buf, "6789abcdef", 10);
    CHECK_EQ(io->pread(io->ctx, f, buf, 8, 100), 8);
    CHECK_MEM_EQ(buf, "\0\0\0\0\0\0\0", 8);
    CHECK_EQ(io->pread(io->ctx, f, buf, 8, 9999), 0);
    CHECK_EQ(io->truncate(io->ctx, f, 5003), 0);
    CHECK_EQ(io->truncate(io->ctx, f, 5010), 0);
    CHECK_EQ(io->pread(io->ctx, f, buf, 64, 5000), 10);
    CHECK_MEM_EQ(buf, "012\0\0\0\0\0\0\0", 10);
    CHECK_EQ(io->allocate(io->ctx, f, 5010, 10000), 0);
    CHECK_EQ(io->get_size(io->ctx, f, &size), 0);
    CHECK_EQ(size, 5010);
    CHECK_EQ(io->block_size(io->ctx, f, &block), 0);
    CHECK(block >= 512);
    CHECK_EQ(io->sync(io->ctx, f), 0);

    /* locks belong to handles */
    g = open_file(io, path, QUIRE_IO_RDONLY);
    CHECK_EQ(io->lock(io->ctx, f, true), 0);
    CHECK_EQ(io->lock(io->ctx, f, true), 0);
    CHECK_EQ(io->lock(io->ctx, g, false), -EAGAIN);
    io->close(io->ctx, f);
    CHECK_EQ(io->lock(io->ctx, g, false), 0);
    f = open_file(io, path, 0);
    CHECK_EQ(io->lock(io->ctx, f, true), -EAGAIN);
    CHECK_EQ(io->lock(io->ctx, f, false), 0);
    CHECK_EQ(put(io, g, 0, "x"), -EBADF);
    io->close(io->ctx, g);

    /* names */
    CHECK_EQ(io->rename(io->ctx, path2, path), -ENOENT);
    CHECK_EQ(io->rename(io->ctx, path, path2), 0);
    CHECK_EQ(io->open(io->ctx, path, 0, 0644, &g), -ENOENT);
    g = open_file(io, path, QUIRE_IO_CREATE);
    CHECK_EQ(io->rename(io->ctx, path2, path), -EEXIST);
    CHECK_EQ(io->sync_dir(io->ctx, path), 0);
    io->close(io->ctx, g);
    CHECK_EQ(io->remove(io->ctx, path2), 0);
    CHECK_EQ(io->remove(io->ctx, path2), -ENOENT);
    CHECK_EQ(io->pread(io->ctx, f, buf, 3, 5000), 3); /* it lives on */
    io->close(io->ctx, f);
    CHECK_EQ(io->remove(io->ctx, path), 0);
}

static void test_memory_disk_is_like_the_systems(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    char dir[256];
    char path[300];
    char path2[300];

    (void)state;
    run_file_steps(mem_disk_io(disk), "a", "b");
    CHECK_EQ(mem_disk_files(disk), 0);
    mem_disk_destroy(disk);
    test_tmpdir(dir, sizeof(dir));
    test_path(path, sizeof(path), dir, "a");
    test_path(path2, sizeof(path2), dir, "b");
    run_file_steps(quire_io_default(), path, path2);
    test_rmtree(dir);
}

static void test_memory_disk_fills(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    const struct quire_io *io = mem_disk_io(disk);
    struct mem_disk *copy;
    size_t n = 0;
    void *f;

    (void)state;
    mem_disk_put(disk, "other", "12345", 5);
    mem_disk_limit(disk, 20);
    f = open_file(io, "f", QUIRE_IO_CREATE);
    CHECK_EQ(put(io, f, 0, "0123456789"), 10);
    CHECK_EQ(put(io, f, 10, "0123456789"), 5); /* cut short */
    CHECK_EQ(put(io, f, 15, "0123456789"), -ENOSPC);
    CHECK_EQ(put(io, f, 12, "abc"), 3); /* what is there may be rewritten */
    CHECK_EQ(io->allocate(io->ctx, f, 15, 1), -ENOSPC);
    CHECK_EQ(io->truncate(io->ctx, f, 16), -ENOSPC);
    CHECK_EQ(io->truncate(io->ctx, f, 2), 0);
    CHECK_EQ(put(io, f, 2, "0123456789"), 10);
    copy = mem_disk_copy(disk);
    CHECK_EQ(mem_disk_files(copy), 2);
    CHECK_MEM_EQ(mem_disk_bytes(copy, "f", &n), "010123456789", 12);
    CHECK_EQ(n, 12);
    CHECK(mem_disk_bytes(copy, "none", &n) == NULL);
    CHECK_EQ(mem_disk_opens(disk), 1);
    CHECK_EQ(mem_disk_opens(copy), 0);
    io->close(io->ctx, f);
    mem_disk_destroy(copy);
    mem_disk_destroy(disk);
}

static void test_the_nth_call_fails(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct fault f;
    size_t len = 0;
    char buf[8];
    void *file;

    (void)state;
    fault_init(&f, mem_disk_io(disk), NULL);
    file = open_file(&f.io, "f", QUIRE_IO_CREATE);
    fault_arm(&f, FAULT_BIT(FAULT_PWRITEV) | FAULT_BIT(FAULT_SYNC), 3, EIO,
              FAULT_ONCE);
    CHECK_EQ(put(&f.io, file, 0, "one"), 3);
    CHECK_EQ(f.io.pread(&f, file, buf, 3, 0), 3); /* not of the kinds */
    CHECK_EQ(f.io.sync(&f, file), 0);
    CHECK_EQ(put(&f.io, file, 0, "two"), -EIO);
    CHECK_EQ(put(&f.io, file, 0, "six"), 3);
    CHECK_EQ(f.fired, 1);
    CHECK_EQ(f.fired_kinds, FAULT_BIT(FAULT_PWRITEV));
    CHECK_EQ(f.calls[FAULT_PWRITEV], 3);

    fault_arm(&f, FAULT_BIT(FAULT_PWRITEV), 2, ENOSPC,
              FAULT_STICKY | FAULT_TORN);
    CHECK_EQ(put(&f.io, file, 0, "abcd"), 4);
    CHECK_EQ(put(&f.io, file, 0, "ABCD"), -ENOSPC);
    CHECK_EQ(put(&f.io, file, 4, "EF"), -ENOSPC);
    CHECK_MEM_EQ(mem_disk_bytes(disk, "f", &len), "ABcdE", 5);
    CHECK_EQ(len, 5);
    fault_heal(&f);
    CHECK_EQ(put(&f.io, file, 4, "EF"), 2);
    CHECK_EQ(f.fired, 2);
    fault_arm(&f, FAULT_BIT(FAULT_PWRITEV), 1, EIO, FAULT_ONCE | FAULT_WHOLE);
    CHECK_EQ(put(&f.io, file, 0, "whole"), -EIO);
    CHECK_MEM_EQ(mem_disk_bytes(disk, "f", &len), "wholeF", 6);
    fault_heal(&f);
    CHECK_EQ(fault_live_get(&f).files, 1);
    f.io.close(&f, file);
    CHECK(fault_live_none(&f));
    fault_fini(&f);
    mem_disk_destroy(disk);
}

static void test_transfers_are_shortened(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct fault f;
    char a[] = "0123456";
    char b[] = "789";
    struct iovec iov[2] = { { a, 7 }, { b, 3 } };
    unsigned interrupted = 0;
    char buf[16];
    void *file;

    (void)state;
    fault_init(&f, mem_disk_io(disk), NULL);
    file = open_file(&f.io, "f", QUIRE_IO_CREATE);
    fault_shorten(&f, true, 0);
    CHECK_EQ(f.io.pwritev(&f, file, iov, 2, 0), 5);
    iov[0].iov_len = 1;
    CHECK_EQ(f.io.pwritev(&f, file, iov, 2, 5), 2);
    CHECK_EQ(f.io.pwritev(&f, file, iov, 1, 9), 1);
    CHECK_EQ(f.io.pread(&f, file, buf, 16, 0), 8);
    CHECK_EQ(f.io.pread(&f, file, buf, 1, 0), 1);
    fault_shorten(&f, false, 3);
    for (unsigned i = 0; i < 30; i++) {
        ssize_t n = i % 2 ? f.io.pread(&f, file, buf, 4, 0)
                          : f.io.pwritev(&f, file, iov, 1, 0);

        CHECK(n == -EINTR || n > 0);
        interrupted += n == -EINTR;
    }
    CHECK_EQ(interrupted, 10);
    f.io.close(&f, file);
    fault_fini(&f);
    mem_disk_destroy(disk);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Memory and threads fail, and what is not given back is counted. */
static void test_memory_is_accounted(void **state)
{
    struct mem_disk *disk = mem_disk_create();
    struct fault f;
    void *obj;
    void *map = NULL;
    void *thread = NULL;

    (void)state;
    fault_init(&f, mem_disk_io(disk), NULL);
    obj = f.sys.alloc(&f, 100);
    CHECK(obj != NULL);
    CHECK_EQ(f.sys.map(&f, 65536, 65536, &map), 0);
    CHECK_EQ((uintptr_t)map % 65536, 0);
    CHECK_EQ(f.sys.commit(&f, map, 65536), 0);
    memset(map, 1, 65536);
    CHECK_EQ(f.sys.decommit(&f, map, 65536), 0);
    CHECK_EQ(f.sys.thread_create(&f, nothing, NULL, &thread), 0);
    CHECK_EQ(fault_live_get(&f).objs, 1);
    CHECK_EQ(fault_live_get(&f).map_bytes, 65536);
    CHECK_EQ(fault_live_get(&f).threads, 1);
    fault_arm(
        &f, FAULT_MEMORY | FAULT_BIT(FAULT_DECOMMIT) | FAULT_BIT(FAULT_THREAD),
        1, ENOMEM, FAULT_STICKY);
    CHECK(f.sys.alloc(&f, 1) == NULL);
    CHECK_EQ(f.sys.map(&f, 4096, 4096, &map), -ENOMEM);
    CHECK_EQ(f.sys.commit(&f, map, 4096), -ENOMEM);
    CHECK_EQ(f.sys.decommit(&f, map, 4096), -ENOMEM);
    CHECK_EQ(f.sys.thread_create(&f, nothing, NULL, &thread), -ENOMEM);
    CHECK_EQ(f.fired, 5);
    f.sys.free(&f, obj);
    f.sys.free(&f, NULL);
    f.sys.unmap(&f, map, 65536);
    f.sys.thread_join(&f, thread);
    CHECK(fault_live_none(&f));
    fault_fini(&f);
    mem_disk_destroy(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_disk_is_like_the_systems),
        cmocka_unit_test(test_memory_disk_fills),
        cmocka_unit_test(test_the_nth_call_fails),
        cmocka_unit_test(test_transfers_are_shortened),
        cmocka_unit_test(test_memory_is_accounted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
