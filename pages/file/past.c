/*
 * past.c - writing past the system's cache.
 *
 * A block that is to be on the disk at once is copied into the system's cache
 * only to be written out from there; handed to the disk directly (O_DIRECT), a
 * write and a sync of 4 KiB took nine tenths of the time, one of 128 KiB half
 * (README.md). So a second handle of the file is opened for such writes, where
 * the file system has them. The system keeps what the two handles show the
 * same, and a sync by the first covers both.
 *
 * Not for everything:
 *
 * - A NOSYNC batch.
 * - One whose writer is not alone: the disk's time would be spent while others
 *   wait for their turn. Such batches wait for their sync (pend.c), whose leader
 *   writes them this way.
 * - A long batch, which goes out in pieces while the next is being built.
 * - While a good part of what is written is read again, as when data are larger
 *   than the budget: it would no longer be in the system's cache.
 *
 * Zeros ahead are never read, and always go this way; in the system's cache they
 * would wait for the next commit's sync to write them out.
 *
 * The name is opened a second time, and may lead to another file by now. The
 * lock tells: the store's own file is locked by the first handle, so that the
 * second one is refused. But the other file may be a store too, and be locked
 * by whoever has it open; the superblocks tell these two apart, since a store
 * has an identity of its own, and each opening writes one of them. A handle that
 * is closed again may take the lock with it, if the table's locks belong to
 * processes (fcntl()'s older ones do); then the store takes it once more.
 */
#include <errno.h>

#include "pages/file/pf_impl.h"

/* Bytes written before it is settled anew whether much is read again. */
#define PF_PAST_WINDOW ((uint64_t)1 << 20)

/* Do both handles show the superblock in `slot`? */
static bool pf_past_same(const struct pf_file *file, void *handle,
                         unsigned slot)
{
    const struct quire_io *io = file->os.io;
    uint64_t off = (uint64_t)slot * file->geo.block_bytes;
    _Alignas(PF_DIRECT_ALIGN) uint8_t one[PF_DIRECT_ALIGN];
    _Alignas(PF_DIRECT_ALIGN) uint8_t two[PF_DIRECT_ALIGN];
    size_t got = 0;
    ssize_t n;

    PF_RETRY(n, io->pread(io->ctx, handle, one, sizeof(one), off));
    return n == (ssize_t)sizeof(one) &&
           pf_os_read(&file->os, two, sizeof(two), off, &got) == QUIRE_OK &&
           got == sizeof(two) && memcmp(one, two, sizeof(one)) == 0;
}

bool pf_past_open(struct pf_file *file)
{
    const struct quire_io *io = file->os.io;
    void *handle = NULL;
    int r;

    PF_RETRY(r, QUIRE_POINT(PF_FILE_PAST, -EMFILE,
                            io->open(io->ctx, file->path, QUIRE_IO_DIRECT, 0,
                                     &handle)));
    if (r < 0)
        return false;
    PF_RETRY(r, QUIRE_POINT(PF_PAST_LOCK, 0, io->lock(io->ctx, handle, true)));
    if ((r != -EAGAIN && r != -EACCES) || !pf_past_same(file, handle, 0) ||
        !pf_past_same(file, handle, 1)) {
        io->close(io->ctx, handle);
        return true;
    }
    file->past.io = io;
    file->past.path = file->path;
    file->past.handle = handle;
    return false;
}

void pf_past_close(struct pf_file *file)
{
    if (file->past.handle != NULL)
        file->past.io->close(file->past.io->ctx, file->past.handle);
    file->past.handle = NULL;
}

bool pf_past_pwritev(struct pf_file *file, const struct iovec *iov, int niov,
                     uint64_t off, ssize_t *n)
{
    const struct pf_os *os = &file->past;
    uint64_t bits = off;

    /* relaxed, both: at worst the system refuses once more */
    if (os->handle == NULL ||
        atomic_load_explicit(&file->past_refused, memory_order_relaxed))
        return false;
    for (int i = 0; i < niov; i++)
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    if (bits % PF_DIRECT_ALIGN != 0)
        return false;
    *n = os->io->pwritev(os->io->ctx, os->handle, iov, niov, off);
    if (*n != -EINVAL)
        return true;
    atomic_store_explicit(&file->past_refused, true, memory_order_relaxed);
    return false;
}

bool pf_past_wanted(struct pf_file *file)
{
    uint64_t nread;
    uint64_t nwritten;

    if (file->past.handle == NULL)
        return false;
    /* relaxed, both: figures */
    nread = atomic_load_explicit(&file->read_bytes, memory_order_relaxed);
    nwritten = atomic_load_explicit(&file->written_bytes, memory_order_relaxed);
    if (nwritten - file->past_written >= PF_PAST_WINDOW) {
        file->past_off = nread - file->past_read >=
                         (nwritten - file->past_written) / 4;
        file->past_read = nread;
        file->past_written = nwritten;
    }
    return !file->past_off;
}
