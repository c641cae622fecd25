/*
 * Creating and opening: what is refused and with which words, who may have a
 * store open, what is left behind by a failure.
 */
#include "tests/lib_point.h"
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A rig's store with `n` commits, closed; its bytes are the disk's. */
static uint8_t *closed_store(struct rig *rig, unsigned n, size_t *nbytes)
{
    rig_start(rig);
    for (unsigned i = 0; i < n; i++)
        rig_commit_ok(rig, i + 1);
    rig_close(rig);
    return mem_disk_bytes(rig->disk, RIG_PATH, nbytes);
}

static void test_what_is_no_store(void **state)
{
    static uint8_t zeros[20000];
    static uint8_t binary[20000] = { 1, 2, 3, 4, 0, 5 };
    static const char text[] = "Dear reader,\nthis is no store.\n";
    static const struct {
        const char *name;
        const void *bytes;
        size_t nbytes;
        const char *says;
    } cases[] = {
        { "empty", "", 0, "is empty" },
        { "one zero", zeros, 1, "zeros" },
        { "zeros", zeros, sizeof(zeros), "zeros" },
        { "text", text, sizeof(text) - 1, "text file" },
        { "short", "\1\2\3", 3, "3 bytes" },
        { "binary", binary, sizeof(binary), "not a quire store" },
        { "the magic alone", "QUIRE\0\r\n", 8, "8 bytes" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;

        CHECK_CASE(cases[i].name);
        rig_init(&rig, false);
        mem_disk_put(rig.disk, RIG_PATH, cases[i].bytes, cases[i].nbytes);
        for (int rdonly = 0; rdonly < 2; rdonly++) {
            CHECK_STATUS(rig_open(&rig, rdonly), QUIRE_FORMAT);
            CHECK(strstr(quire_error_detail(), cases[i].says) != NULL);
            CHECK(strstr(quire_error_detail(), RIG_PATH) != NULL);
        }
        CHECK_EQ(rig.fault.calls[FAULT_PWRITEV], 0);
        rig_fini(&rig);
    }
}

/* What the system may say to opening and locking. */
static void test_refusals_of_the_system(void **state)
{
    static const struct {
        const char *name;
        enum fault_kind kind;
        int err;
        quire_status want;
    } cases[] = {
        { "no permission", FAULT_OPEN, EACCES, QUIRE_PERM },
        { "read-only file system", FAULT_OPEN, EROFS, QUIRE_PERM },
        { "no file", FAULT_OPEN, ENOENT, QUIRE_NOTFOUND },
        { "no directory", FAULT_OPEN, ENOTDIR, QUIRE_NOTFOUND },
        { "a directory", FAULT_OPEN, EISDIR, QUIRE_FORMAT },
        { "a fifo", FAULT_OPEN, ESPIPE, QUIRE_FORMAT },
        { "too many files", FAULT_OPEN, EMFILE, QUIRE_IO },
        { "a bad path", FAULT_OPEN, ENAMETOOLONG, QUIRE_INVAL },
        { "locked", FAULT_LOCK, EAGAIN, QUIRE_LOCKED },
        { "locked, said otherwise", FAULT_LOCK, EACCES, QUIRE_LOCKED },
        { "no locks", FAULT_LOCK, ENOLCK, QUIRE_IO },
        { "unreadable", FAULT_PREAD, EIO, QUIRE_IO },
        { "no memory", FAULT_ALLOC, ENOMEM, QUIRE_NOMEM },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        size_t nbytes;

        CHECK_CASE(cases[i].name);
        rig_init(&rig, false);
        closed_store(&rig, 1, &nbytes);
        fault_arm(&rig.fault, FAULT_BIT(cases[i].kind), 1, cases[i].err,
                  FAULT_ONCE);
        CHECK_STATUS(rig_open(&rig, false), cases[i].want);
        CHECK(strstr(quire_error_detail(), RIG_PATH) != NULL);
        fault_heal(&rig.fault);
        CHECK_OK(rig_open(&rig, false));
        rig_fini(&rig);
    }
}

static void test_one_writer_or_many_readers(void **state)
{
    struct pf_file *second = NULL;
    struct rig rig;
    size_t nbytes;

    (void)state;
    rig_init(&rig, false);
    closed_store(&rig, 1, &nbytes);
    CHECK_OK(rig_open(&rig, false));
    CHECK_STATUS(pf_file_open(&rig.env, RIG_PATH, false, &second),
                 QUIRE_LOCKED);
    CHECK_STATUS(pf_file_open(&rig.env, RIG_PATH, true, &second), QUIRE_LOCKED);
    rig_close(&rig);
    CHECK_OK(rig_open(&rig, true));
    CHECK_STATUS(pf_file_open(&rig.env, RIG_PATH, false, &second),
                 QUIRE_LOCKED);
    CHECK_OK(pf_file_open(&rig.env, RIG_PATH, true, &second));
    pf_file_close(second);
    rig_fini(&rig);
}

/* A read-only opener reads every revision and writes nothing. */
static void test_reading_only_writes_nothing(void **state)
{
    struct rig rig;
    size_t nbytes;
    uint8_t *bytes;
    uint8_t *before;
    uint64_t writes;

    (void)state;
    rig_init(&rig, false);
    bytes = closed_store(&rig, 3, &nbytes);
    before = malloc(nbytes);
    memcpy(before, bytes, nbytes);
    writes = rig.fault.calls[FAULT_PWRITEV] + rig.fault.calls[FAULT_SYNC];
    CHECK_OK(rig_open(&rig, true));
    CHECK_EQ(rig.last.rev, 3);
    rig_check(&rig);
    rig_close(&rig);
    CHECK_EQ(rig.fault.calls[FAULT_PWRITEV] + rig.fault.calls[FAULT_SYNC],
             writes);
    CHECK_MEM_EQ(mem_disk_bytes(rig.disk, RIG_PATH, &nbytes), before, nbytes);
    free(before);
    rig_fini(&rig);
}

/* Change slot A or B, then open. */
static void test_damaged_superblocks(void **state)
{
    enum {
        KEEP,
        DAMAGE,
        ZERO,
        VERSION,
        FOREIGN
    };
    static const struct {
        const char *name;
        int a;
        int b;
        quire_status want;
    } cases[] = {
        { "both good", KEEP, KEEP, QUIRE_OK },
        { "A damaged", DAMAGE, KEEP, QUIRE_OK },
        { "B damaged", KEEP, DAMAGE, QUIRE_OK },
        { "A zero", ZERO, KEEP, QUIRE_OK },
        { "B zero", KEEP, ZERO, QUIRE_OK },
        { "both damaged", DAMAGE, DAMAGE, QUIRE_CORRUPT },
        { "A damaged, B zero", DAMAGE, ZERO, QUIRE_CORRUPT },
        { "A zero, B damaged", ZERO, DAMAGE, QUIRE_CORRUPT },
        { "both zero", ZERO, ZERO, QUIRE_FORMAT },
        { "both of another version", VERSION, VERSION, QUIRE_FORMAT },
        { "A of another store", FOREIGN, KEEP, QUIRE_CORRUPT },
    };
    static const uint32_t blocks[] = { 4096, 16384, 65536 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(blocks); i++) {
        const int how[2] = { cases[i / 3].a, cases[i / 3].b };
        uint32_t block = blocks[i % 3];
        struct rig rig;
        size_t nbytes;
        uint8_t *bytes;

        CHECK_CASE(cases[i / 3].name);
        rig_init(&rig, false);
        rig.geo.block_bytes = block;
        bytes = closed_store(&rig, 2, &nbytes);
        for (unsigned slot = 0; slot < 2; slot++) {
            uint8_t *p = bytes + slot * block;

            if (how[slot] == DAMAGE)
                p[70] ^= 1;
            else if (how[slot] == ZERO)
                memset(p, 0, PF_SUPER_BYTES);
            else if (how[slot] == VERSION)
                p[8] = 2;
            else if (how[slot] == FOREIGN)
                p[16] ^= 1;
            if (how[slot] >= VERSION)
                ra_put_le64(p + 504, XXH3_64bits(p, 504));
        }
        CHECK_STATUS(rig_open(&rig, false), cases[i / 3].want);
        if (cases[i / 3].want == QUIRE_OK) {
            CHECK_EQ(rig.last.rev, 2);
            CHECK_EQ(pf_file_geometry(rig.file)->block_bytes, block);
            rig_check(&rig);
            /* The damaged slot is written next, and then both are good. */
            CHECK_OK(pf_super_write(rig.file, &rig.last));
            rig_close(&rig);
            bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
            for (unsigned slot = 0; slot < 2; slot++) {
                struct pf_super super;

                CHECK_EQ(pf_super_decode(bytes + slot * block, &super),
                         PF_SUPER_VALID);
            }
            rig_reopen(&rig, 2);
            CHECK_EQ(rig.first, 2);
        }
        rig_fini(&rig);
    }
}

/* Slots alternate, and the newer one counts. */
static void test_superblocks_take_turns(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 1; i <= 6; i++) {
        struct pf_super super[2];
        size_t nbytes;
        uint8_t *bytes;

        rig_commit_ok(&rig, i);
        CHECK_OK(pf_super_write(rig.file, &rig.last));
        bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        CHECK_EQ(pf_super_decode(bytes, &super[0]), PF_SUPER_VALID);
        CHECK_EQ(pf_super_decode(bytes + 4096, &super[1]), PF_SUPER_VALID);
        CHECK_EQ(super[0].seq + super[1].seq, 2 * i + 3);
        CHECK_EQ(super[(i + 1) % 2].rev, i);
        CHECK_EQ(super[i % 2].rev, i - 1);
        if (i % 2 == 0) {
            rig_reopen(&rig, i);
            CHECK_EQ(rig.first, i);
        }
    }
    rig_fini(&rig);
}

/* The first superblock of a handle is preceded by the newest one, again; an
 * opener may have found it where a disk had not (PF-4). */
static void test_first_superblock_of_a_handle(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    for (uint64_t want = 2; want > 0; want--) {
        uint64_t writes = rig.fault.calls[FAULT_PWRITEV];
        uint64_t syncs = rig.fault.calls[FAULT_SYNC];

        CHECK_OK(pf_super_write(rig.file, &rig.last));
        CHECK_EQ(rig.fault.calls[FAULT_PWRITEV] - writes, want);
        CHECK_EQ(rig.fault.calls[FAULT_SYNC] - syncs, want);
    }
    rig_fini(&rig);
}

static void test_create_refusals(void **state)
{
    struct rig rig;
    char longpath[PF_PATH_MAX + 10];

    (void)state;
    rig_init(&rig, false);
    CHECK_OK(rig_create(&rig));
    CHECK_STATUS(rig_create(&rig), QUIRE_EXISTS);
    CHECK(strstr(quire_error_detail(), RIG_PATH) != NULL);
    CHECK_EQ(mem_disk_files(rig.disk), 1);
    rig.geo.page_bytes = 5000;
    CHECK_STATUS(rig_create(&rig), QUIRE_INVAL);
    rig.geo.page_bytes = 4096;
    rig.geo.window = 1;
    CHECK_STATUS(rig_create(&rig), QUIRE_INVAL);
    rig.geo.window = 4;
    rig.geo.versioning = (quire_versioning)9;
    CHECK_STATUS(rig_create(&rig), QUIRE_INVAL);
    CHECK_EQ(mem_disk_files(rig.disk), 1);
    memset(longpath, 'x', sizeof(longpath));
    longpath[sizeof(longpath) - 1] = '\0';
    CHECK_STATUS(pf_file_create(&rig.env, longpath, 0644, &rig.geo, 0),
                 QUIRE_INVAL);
    rig_fini(&rig);
}

/* Each call of a creation fails in turn: nothing is left, and the next one
 * works. */
static void test_create_fails_at_each_call(void **state)
{
    unsigned npoints = 0;
    bool fired = true;

    (void)state;
    for (uint64_t nth = 1; fired; nth++) {
        struct rig rig;
        quire_status rc;

        rig_init(&rig, false);
        rig.geo.block_bytes = 0; /* ask the file system */
        fault_arm(&rig.fault, FAULT_IO | FAULT_MEMORY, nth, EIO,
                  nth % 2 != 0 ? FAULT_TORN : FAULT_WHOLE);
        rc = rig_create(&rig);
        fired = rig.fault.fired != 0;
        fault_heal(&rig.fault);
        if (rc != QUIRE_OK) { /* the pool may cope with a failure */
            CHECK(fired && (rc == QUIRE_IO || rc == QUIRE_NOMEM));
            CHECK_EQ(mem_disk_files(rig.disk), 0);
            CHECK_OK(rig_create(&rig));
            npoints++;
        }
        CHECK_EQ(mem_disk_files(rig.disk), 1);
        CHECK_OK(rig_open(&rig, false));
        rig_fini(&rig);
    }
    CHECK(npoints >= 7);
}

static void test_full_disk_at_creation(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    mem_disk_limit(rig.disk, 10000);
    CHECK_STATUS(rig_create(&rig), QUIRE_NOSPACE);
    CHECK_EQ(mem_disk_files(rig.disk), 0);
    mem_disk_limit(rig.disk, 0);
    CHECK_OK(rig_create(&rig));
    rig_fini(&rig);
}

/* A new store is three blocks. */
static void test_new_store_is_small(void **state)
{
    struct rig rig;
    struct pf_stat st;

    (void)state;
    rig_init(&rig, false);
    rig.geo.block_bytes = 0; /* ask the file system */
    rig_start(&rig);
    CHECK_EQ(pf_file_geometry(rig.file)->block_bytes, 4096);
    rig_commit_ok(&rig, 1);
    pf_file_stat(rig.file, &st);
    CHECK_EQ(st.file_bytes, 4 * 4096);
    CHECK_EQ(st.log_off, st.file_bytes);
    CHECK_EQ(st.incarnation, 2);
    CHECK_EQ(st.syncs, 1);
    rig_fini(&rig);
}

/* The optional functions of the system's table: what was read once is what is
 * there, up to the file's end, and failures are told. */
static void test_system_reads_once_and_ahead(void **state)
{
    const struct quire_io *io = quire_io_default();
    static uint8_t wrote[100000];
    static uint8_t got[100000];
    const struct iovec iov = { wrote, sizeof(wrote) };
    uint64_t rand = test_seed();
    void *handle = NULL;
    char dir[512];
    char path[600];

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(path, sizeof(path), dir, "once");
    for (size_t i = 0; i < sizeof(wrote); i++)
        wrote[i] = (uint8_t)test_rand(&rand);
    CHECK_EQ(io->open(io->ctx, path, QUIRE_IO_CREATE, 0600, &handle), 0);
    CHECK_EQ(io->pwritev(io->ctx, handle, &iov, 1, 0), sizeof(wrote));
    CHECK_EQ(io->read_ahead(io->ctx, handle, 4096, 50000), 0);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t off = test_rand_below(&rand, sizeof(wrote));
        size_t len = test_rand_below(&rand, sizeof(wrote)) + 1;
        size_t there = len < sizeof(wrote) - off ? len : sizeof(wrote) - off;

        if (i == 50) /* from the disk too, where that is possible */
            CHECK_EQ(io->sync(io->ctx, handle), 0);
        memset(got, 0, sizeof(got));
        CHECK_EQ(io->pread_once(io->ctx, handle, got, len, off), there);
        CHECK_MEM_EQ(got, wrote + off, there);
    }
    CHECK_EQ(io->pread_once(io->ctx, handle, got, 1, sizeof(wrote)), 0);
    CHECK_EQ(io->read_ahead(io->ctx, handle, sizeof(wrote), 4096), 0);
    io->close(io->ctx, handle);
    CHECK_EQ(io->pread_once(io->ctx, handle, got, 1, 0), -EBADF);
    CHECK_EQ(io->read_ahead(io->ctx, handle, 0, 4096), -EBADF);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(dir), 0);
}

/* A thread that syncs a file of its own. */
struct syncer {
    pthread_t thread;
    const char *path;
    unsigned nsyncs;
};

static void *syncer_run(void *arg)
{
    const struct syncer *s = arg;
    const struct quire_io *io = quire_io_default();

    for (unsigned i = 0; i < s->nsyncs; i++) {
        const struct iovec iov = { (void *)(uintptr_t) "x", 1 };
        struct pf_os os = { io, NULL, s->path };

        CHECK_EQ(io->open(io->ctx, s->path, i == 0 ? QUIRE_IO_CREATE : 0, 0600,
                          &os.handle),
                 0);
        CHECK_EQ(io->lock(io->ctx, os.handle, true), 0); /* given back */
        CHECK_EQ(io->pwritev(io->ctx, os.handle, &iov, 1, i), 1);
        CHECK_OK(pf_os_sync(&os, true));
        io->close(io->ctx, os.handle);
    }
    return NULL;
}

/* The system's syncs for those who are alone: by more threads than there are queues for, where no queue
 * is to be had, where the kernel refuses, in a forked child, of no file; and
 * none holds the file, or its lock, longer than its handle. */
static void test_system_syncs(void **state)
{
    static const char *const points[] = { "pages/aio/queue",
                                          "pages/aio/submit" };
    bool fire = point_count() > 0;
    const struct quire_io *io = quire_io_default();
    struct syncer s[7];
    char dir[512];
    char path[ARRAY_LEN(s)][600];
    struct pf_os os = { io, NULL, path[0] };
    int status = -1;
    pid_t pid;

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    for (unsigned round = 0; round < 3; round++) {
        if (round < 2 && fire)
            point_arm("syncs of the system", point_find(points[round]), 1,
                      true);
        for (unsigned i = 0; i < ARRAY_LEN(s); i++) {
            char name[32];

            snprintf(name, sizeof(name), "file%u-%u", round, i);
            test_path(path[i], sizeof(path[i]), dir, name);
            s[i] = (struct syncer){ .path = path[i],
                                    .nsyncs = test_rounds(40) };
            CHECK_EQ(pthread_create(&s[i].thread, NULL, syncer_run, &s[i]), 0);
        }
        for (unsigned i = 0; i < ARRAY_LEN(s); i++)
            CHECK_EQ(pthread_join(s[i].thread, NULL), 0);
        /* Queues that an earlier test has made are not made again. */
        if (round == 1 && fire)
            CHECK(point_fired() > 0);
        point_disarm();
    }
    CHECK_EQ(io->open(io->ctx, path[0], 0, 0, &os.handle), 0);
    pid = fork();
    if (pid == 0)
        _exit(pf_os_sync(&os, true) == QUIRE_OK ? 0 : 1);
    CHECK(pid > 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    io->close(io->ctx, os.handle);
    CHECK_STATUS(pf_os_sync(&os, true), QUIRE_IO);
    test_rmtree(dir);
}

/* The same on the system's own files. */
static void test_real_files(void **state)
{
    const struct quire_io *io = quire_io_default();
    struct pf_file *file = NULL;
    struct pf_file *second = NULL;
    struct pf_record last;
    struct stat st;
    struct rig rig;
    char dir[512];
    char path[600];
    char other[600];
    uint64_t size = 0;
    uint32_t block = 0;
    void *handle;
    int fd;

    (void)state;
    rig_init(&rig, false);
    rig.env.io = io;
    rig.geo.block_bytes = 0;
    test_tmpdir(dir, sizeof(dir));
    test_path(path, sizeof(path), dir, "store");
    test_path(other, sizeof(other), dir, "other");

    CHECK_STATUS(pf_file_open(&rig.env, path, false, &file), QUIRE_NOTFOUND);
    CHECK_STATUS(pf_file_open(&rig.env, dir, false, &file), QUIRE_FORMAT);
    CHECK_STATUS(pf_file_open(&rig.env, dir, true, &file), QUIRE_FORMAT);
    CHECK(strstr(quire_error_detail(), "directory") != NULL);
    CHECK_EQ(mkfifo(other, 0600), 0);
    CHECK_STATUS(pf_file_open(&rig.env, other, true, &file), QUIRE_FORMAT);
    CHECK_EQ(unlink(other), 0);
    CHECK_STATUS(
        pf_file_create(&rig.env, "/nonexistent/dir/x", 0644, &rig.geo, 0),
        QUIRE_NOTFOUND);

    CHECK_OK(pf_file_create(&rig.env, path, 0600, &rig.geo, 0));
    CHECK_STATUS(pf_file_create(&rig.env, path, 0600, &rig.geo, 0),
                 QUIRE_EXISTS);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK_OK(pf_file_open(&rig.env, path, false, &file));
    CHECK_STATUS(pf_file_open(&rig.env, path, true, &second), QUIRE_LOCKED);
    CHECK_OK(pf_file_recover(file, NULL, NULL, &last));
    CHECK_EQ(last.rev, 0);
    rig.file = file;
    rig.last = last;
    rig_commit_ok(&rig, 1);
    rig_check(&rig);
    CHECK_OK(pf_super_write(file, &rig.last));
    rig_close(&rig);
    CHECK_OK(pf_file_open(&rig.env, path, true, &file));
    CHECK_OK(pf_file_open(&rig.env, path, true, &second));
    CHECK_OK(pf_file_recover(file, NULL, NULL, &last));
    CHECK_EQ(last.rev, 1);
    pf_file_close(file);
    pf_file_close(second);

    /* the rest of the table */
    CHECK_EQ(io->open(io->ctx, path, QUIRE_IO_CREATE, 0644, &handle), -EEXIST);
    CHECK_EQ(io->open(io->ctx, path, 0, 0, &handle), 0);
    fd = (int)((intptr_t)handle - 1);
    CHECK_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    CHECK_EQ(io->block_size(io->ctx, handle, &block), 0);
    CHECK(block > 0);
    CHECK_EQ(io->truncate(io->ctx, handle, 10000), 0);
    {
        int r = io->allocate(io->ctx, handle, 20000, 5000);

        CHECK(r == 0 || r == -EOPNOTSUPP);
    }
    CHECK_EQ(io->get_size(io->ctx, handle, &size), 0);
    CHECK_EQ(size, 10000);
    io->close(io->ctx, handle);
    CHECK_EQ(io->rename(io->ctx, path, other), 0);
    CHECK_EQ(io->rename(io->ctx, path, other), -ENOENT);
    CHECK_EQ(link(other, path), 0);
    CHECK_EQ(io->rename(io->ctx, path, other), -EEXIST);
    CHECK_EQ(io->remove(io->ctx, path), 0);
    CHECK_EQ(io->remove(io->ctx, path), -ENOENT);
    CHECK_EQ(io->sync_dir(io->ctx, other), 0);
    CHECK_EQ(io->sync_dir(io->ctx, "no-slash"), 0);
    CHECK_EQ(io->sync_dir(io->ctx, "/x"), 0);
    CHECK_EQ(io->sync_dir(io->ctx, "/nonexistent/x"), -ENOENT);
    test_rmtree(dir);
    rig_fini(&rig);
}

/* A file that nobody may touch. The superuser is refused nothing, and becomes
 * somebody else for the test; by relative paths, since the directories above
 * may be closed to that one. */
static void test_no_permission(void **state)
{
    const uid_t nobody = 65534;
    bool super = geteuid() == 0;
    struct pf_file *file = NULL;
    struct rig rig;
    char dir[512];
    int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    CHECK(cwd >= 0);
    rig_init(&rig, false);
    rig.env.io = quire_io_default();
    test_tmpdir(dir, sizeof(dir));
    CHECK_EQ(chmod(dir, 0755), 0);
    CHECK_EQ(chdir(dir), 0);
    CHECK_OK(pf_file_create(&rig.env, "store", 0, &rig.geo, 0));
    if (super)
        CHECK_EQ(seteuid(nobody), 0);
    CHECK_STATUS(pf_file_open(&rig.env, "store", false, &file), QUIRE_PERM);
    CHECK_STATUS(pf_file_open(&rig.env, "store", true, &file), QUIRE_PERM);
    if (super) {
        CHECK_STATUS(pf_file_create(&rig.env, "other", 0644, &rig.geo, 0),
                     QUIRE_PERM);
        CHECK_EQ(seteuid(0), 0);
    }
    CHECK_EQ(fchdir(cwd), 0);
    close(cwd);
    test_rmtree(dir);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_store),
        cmocka_unit_test(test_refusals_of_the_system),
        cmocka_unit_test(test_one_writer_or_many_readers),
        cmocka_unit_test(test_reading_only_writes_nothing),
        cmocka_unit_test(test_damaged_superblocks),
        cmocka_unit_test(test_superblocks_take_turns),
        cmocka_unit_test(test_first_superblock_of_a_handle),
        cmocka_unit_test(test_create_refusals),
        cmocka_unit_test(test_create_fails_at_each_call),
        cmocka_unit_test(test_full_disk_at_creation),
        cmocka_unit_test(test_new_store_is_small),
        cmocka_unit_test(test_system_syncs), /* makes the first queue */
        cmocka_unit_test(test_system_reads_once_and_ahead),
        cmocka_unit_test(test_real_files),
        cmocka_unit_test(test_no_permission),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
