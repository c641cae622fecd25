/*
 * fail.c - failures that tests ask for, and a record of what was said; see
 * fail.h. Without failure points this file is empty.
 *
 * A point is one of libfiu's: that one which the environment names gets a
 * callback, which counts. The places of messages are pointers in a section of
 * their own, so that all are known without any of them being passed.
 */
#ifdef FIU_ENABLE

#include <errno.h>
#include <fcntl.h>
#include <fiu-control.h>
#include <fiu.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/fail.h"

#define NOTES_MAX 20u    /* messages noted of a place; enough for any test */
#define PLACES_MAX 1024u /* places that are counted */

/* What the linker makes of the places. */
extern const char *__start_tool_says[];
extern const char *__stop_tool_says[];

_Thread_local const char **fail_place;

/* What the environment says; immutable after fail_setup(), but for `seen`. */
static struct {
    char name[64];
    unsigned long nth; /* from 1 */
    unsigned long times;
    int error;
    char file[512]; /* made by the first failure */
    _Atomic unsigned long seen;
} fail;

static int on_point(const char *name, int *failnum, void **failinfo,
                    unsigned int *flags)
{
    /* relaxed: a counter */
    unsigned long n = atomic_fetch_add_explicit(&fail.seen, 1,
                                                memory_order_relaxed) +
                      1;
    int fd;

    (void)name;
    (void)failnum;
    (void)failinfo;
    (void)flags;
    if (n < fail.nth || n - fail.nth >= fail.times)
        return 0;
    fd = open(fail.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0)
        close(fd);
    return 1;
}

bool fail_here(const char *name)
{
    int error = errno;
    bool yes = fiu_fail(name) != 0;

    errno = yes ? fail.error : error;
    return yes;
}

void fail_setup(void)
{
    const char *spec = getenv("QUIRE_FAIL");

    if (spec == NULL)
        return;
    if (strcmp(spec, "list") == 0) {
        for (const char **p = __start_tool_says; p < __stop_tool_says; p++)
            puts(*p);
        exit(fflush(stdout) == 0 ? 0 : 1);
    }
    if (sscanf(spec, "%63s %lu %lu %d %511s", fail.name, &fail.nth, &fail.times,
               &fail.error, fail.file) != 5 ||
        fiu_init(0) != 0 ||
        fiu_enable_external(fail.name, 1, NULL, 0, on_point) != 0) {
        fprintf(stderr, "QUIRE_FAIL=%s: it is of no use\n", spec);
        exit(2);
    }
}

void fail_note(const char *fmt, va_list args)
{
    static _Atomic unsigned char noted[PLACES_MAX];
    const char *dir = getenv("QUIRE_SAYS");
    const char **place = fail_place;
    int error = errno;
    char path[600];
    char line[4096];
    va_list copy;
    int n;
    int fd;

    fail_place = NULL;
    if (dir == NULL || place == NULL)
        return;
    /* relaxed: a counter */
    if (place - __start_tool_says >= PLACES_MAX ||
        atomic_load_explicit(&noted[place - __start_tool_says],
                             memory_order_relaxed) >= NOTES_MAX)
        return;
    atomic_fetch_add_explicit(&noted[place - __start_tool_says], 1,
                              memory_order_relaxed);
    n = snprintf(line, sizeof(line), "%s\t", *place);
    va_copy(copy, args);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, copy);
    va_end(copy);
    if (n > (int)sizeof(line) - 2)
        n = sizeof(line) - 2;
    for (int i = 0; i < n; i++) {
        if (line[i] == '\n')
            line[i] = ' ';
    }
    line[n++] = '\n';
    snprintf(path, sizeof(path), "%s/said.%ld", dir, (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd >= 0) {
        if (write(fd, line, (size_t)n) < 0) {
            /* The record then lacks this message, and that is noticed. */
        }
        close(fd);
    }
    errno = error;
}

/* ---- the store's files ---- */

/* A function of the table: as the library's own, but it may fail. */
#define IO_CALL(func, point, type, params, args) \
    static type fail_##func params \
    { \
        return fail_here("tools/io/" point) ? -fail.error \
                                            : quire_io_default()->func args; \
    }

IO_CALL(open, "open", int,
        (void *ctx, const char *path, unsigned flags, unsigned mode,
         void **file),
        (ctx, path, flags, mode, file))
IO_CALL(pread, "read", ssize_t,
        (void *ctx, void *file, void *buf, size_t nbytes, uint64_t off),
        (ctx, file, buf, nbytes, off))
IO_CALL(pread_once, "read", ssize_t,
        (void *ctx, void *file, void *buf, size_t nbytes, uint64_t off),
        (ctx, file, buf, nbytes, off))
IO_CALL(pwritev, "write", ssize_t,
        (void *ctx, void *file, const struct iovec *iov, int n, uint64_t off),
        (ctx, file, iov, n, off))
IO_CALL(get_size, "size", int, (void *ctx, void *file, uint64_t *nbytes),
        (ctx, file, nbytes))
IO_CALL(lock, "lock", int, (void *ctx, void *file, bool exclusive),
        (ctx, file, exclusive))
IO_CALL(rename, "rename", int, (void *ctx, const char *from, const char *to),
        (ctx, from, to))

/* Where a failure is asked for, power stays: to wait for the disk many times
 * over would only make the tests slow. */
static int fail_sync(void *ctx, void *file)
{
    if (fail_here("tools/io/sync"))
        return -fail.error;
    return fail.nth > 0 ? 0 : quire_io_default()->sync(ctx, file);
}

static int fail_sync_dir(void *ctx, const char *path)
{
    if (fail_here("tools/io/sync-dir"))
        return -fail.error;
    return fail.nth > 0 ? 0 : quire_io_default()->sync_dir(ctx, path);
}

const struct quire_io *fail_io(void)
{
    static struct quire_io io;

    io = *quire_io_default();
    io.open = fail_open;
    io.pread = fail_pread;
    io.pread_once = fail_pread_once;
    io.pwritev = fail_pwritev;
    io.sync = fail_sync;
    io.get_size = fail_get_size;
    io.lock = fail_lock;
    io.rename = fail_rename;
    io.sync_dir = fail_sync_dir;
    return &io;
}

#else
typedef int fail_is_empty; /* a file of C holds something */
#endif
