/*
 * io.c - the system's own files: what quire_io_default() returns.
 *
 * A handle is a file descriptor plus one, so that it is never NULL and needs no
 * memory. Functions report the system's error as it came (EINTR and short
 * transfers included); continuing is the business of xfer.c, which does it for
 * an embedder's table as well.
 *
 * Locks are open file description locks: they belong to the handle, not to the
 * process, so that a second handle in the same process is refused like any
 * other, and closing some other descriptor of the file does not drop them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pages/file/pf_impl.h"

static int pf_io_fd(void *file)
{
    return (int)((intptr_t)file - 1);
}

/* 0 or a negative errno, from what a system call returned. */
static int pf_io_result(int r)
{
    return r < 0 ? -errno : 0;
}

static int pf_io_open(void *ctx, const char *path, unsigned flags,
                      unsigned mode, void **file)
{
    /* NONBLOCK: a fifo in the store's place must not hang the opener; it means
     * nothing for regular files. */
    int how = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    struct stat st;
    int fd;
    int err = 0;

    (void)ctx;
    how |= (flags & QUIRE_IO_RDONLY) != 0 ? O_RDONLY : O_RDWR;
    if ((flags & QUIRE_IO_CREATE) != 0)
        how |= O_CREAT | O_EXCL;
    how |= (flags & QUIRE_IO_DIRECT) != 0 ? O_DIRECT : 0;
    fd = open(path, how, (mode_t)mode);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        err = -errno;
    else if (S_ISDIR(st.st_mode))
        err = -EISDIR; /* as opening it for writing says */
    else if (!S_ISREG(st.st_mode))
        err = -ESPIPE;
    if (err != 0) {
        close(fd);
        return err;
    }
    *file = (void *)((intptr_t)fd + 1);
    return 0;
}

static ssize_t pf_io_pread(void *ctx, void *file, void *buf, size_t nbytes,
                           uint64_t off)
{
    ssize_t n;

    (void)ctx;
    n = pread(pf_io_fd(file), buf, nbytes, (off_t)off);
    return n < 0 ? -errno : n;
}

/* From Linux 6.14 on: what was not cached before is dropped again. */
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80
#endif

static ssize_t pf_io_pread_once(void *ctx, void *file, void *buf, size_t nbytes,
                                uint64_t off)
{
    struct iovec iov = { .iov_base = buf, .iov_len = nbytes };
    ssize_t n = preadv2(pf_io_fd(file), &iov, 1, (off_t)off, RWF_DONTCACHE);

    if (n >= 0)
        return n;
    /* An older kernel, or a file system that can't: then it is kept. */
    if (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)
        return pf_io_pread(ctx, file, buf, nbytes, off);
    return -errno;
}

static int pf_io_read_ahead(void *ctx, void *file, uint64_t off,
                            uint64_t nbytes)
{
    (void)ctx;
    return -posix_fadvise(pf_io_fd(file), (off_t)off, (off_t)nbytes,
                          POSIX_FADV_WILLNEED);
}

static ssize_t pf_io_pwritev(void *ctx, void *file, const struct iovec *iov,
                             int iovcnt, uint64_t off)
{
    ssize_t n;

    (void)ctx;
    n = pwritev(pf_io_fd(file), iov, iovcnt, (off_t)off);
    return n < 0 ? -errno : n;
}

static int pf_io_sync(void *ctx, void *file)
{
    (void)ctx;
    return pf_io_result(fdatasync(pf_io_fd(file)));
}

bool pf_io_sync_alone(const struct pf_os *os, int *result)
{
    return os->io->sync == pf_io_sync &&
           pf_aio_sync(pf_io_fd(os->handle), result);
}

static int pf_io_allocate(void *ctx, void *file, uint64_t off, uint64_t nbytes)
{
    (void)ctx;
    /* KEEP_SIZE: the file's size says how far it was written. */
    return pf_io_result(fallocate(pf_io_fd(file), FALLOC_FL_KEEP_SIZE,
                                  (off_t)off, (off_t)nbytes));
}

static int pf_io_truncate(void *ctx, void *file, uint64_t nbytes)
{
    (void)ctx;
    return pf_io_result(ftruncate(pf_io_fd(file), (off_t)nbytes));
}

static int pf_io_get_size(void *ctx, void *file, uint64_t *nbytes)
{
    struct stat st;

    (void)ctx;
    if (fstat(pf_io_fd(file), &st) < 0)
        return -errno;
    *nbytes = (uint64_t)st.st_size;
    return 0;
}

static int pf_io_block_size(void *ctx, void *file, uint32_t *nbytes)
{
    struct statvfs vfs;
    unsigned long n;

    (void)ctx;
    if (fstatvfs(pf_io_fd(file), &vfs) < 0)
        return -errno;
    /* The unit of allocation; some file systems name only the other one, the
     * preferred size of a transfer. */
    n = vfs.f_frsize != 0 ? vfs.f_frsize : vfs.f_bsize;
    *nbytes = n == 0 || n > UINT32_MAX ? PF_BLOCK_MIN : (uint32_t)n;
    return 0;
}

static int pf_io_lock(void *ctx, void *file, bool exclusive)
{
    struct flock fl = {
        .l_type = (short)(exclusive ? F_WRLCK : F_RDLCK),
        .l_whence = SEEK_SET,
    };

    (void)ctx;
    if (fcntl(pf_io_fd(file), F_OFD_SETLK, &fl) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static void pf_io_close(void *ctx, void *file)
{
    struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    (void)ctx;
    /* The kernel's thread that has just made a sync may still hold the file for
     * a moment (aio.c), and the lock with it. */
    (void)fcntl(pf_io_fd(file), F_OFD_SETLK, &fl);
    /* Whatever close() says, the descriptor is gone. What was to be durable
     * has been synced. */
    (void)close(pf_io_fd(file));
}

/* Rename, but never over something that is there. */
static int pf_io_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* A file system that does not know the flag. */
    if (link(from, to) < 0)
        return -errno;
    return pf_io_result(unlink(from));
}

static int pf_io_remove(void *ctx, const char *path)
{
    (void)ctx;
    return pf_io_result(unlink(path));
}

static int pf_io_sync_dir(void *ctx, const char *path)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];
    size_t len;
    int fd;
    int err;

    (void)ctx;
    if (slash == NULL) {
        strcpy(dir, ".");
    } else {
        len = slash == path ? 1 : (size_t)(slash - path);
        if (len >= sizeof(dir))
            return -ENAMETOOLONG;
        memcpy(dir, path, len);
        dir[len] = '\0';
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    err = pf_io_result(fsync(fd));
    close(fd);
    /* Some file systems cannot sync a directory, and need not. */
    return err == -EINVAL ? 0 : err;
}

static const struct quire_io pf_io_system = {
    .size = sizeof(struct quire_io),
    .open = pf_io_open,
    .pread = pf_io_pread,
    .pwritev = pf_io_pwritev,
    .sync = pf_io_sync,
    .allocate = pf_io_allocate,
    .truncate = pf_io_truncate,
    .get_size = pf_io_get_size,
    .block_size = pf_io_block_size,
    .lock = pf_io_lock,
    .close = pf_io_close,
    .rename = pf_io_rename,
    .remove = pf_io_remove,
    .sync_dir = pf_io_sync_dir,
    .pread_once = pf_io_pread_once,
    .read_ahead = pf_io_read_ahead,
};

const struct quire_io *quire_io_default(void)
{
    return &pf_io_system;
}
