/*
 * xfer.c - transfers that are continued, and what errors mean.
 *
 * Every transfer goes through the I/O table here, so that an embedder's table
 * may be as lazy as the system: a short transfer is continued where it ended,
 * EINTR is tried again, and a transfer that makes no progress, or claims more
 * than it was asked for, is an I/O error instead of a loop.
 */
#include <stdio.h>
#include <string.h>

#include "pages/file/pf_impl.h"

/* Zeros are written as many references to this. */
#define PF_ZERO_BYTES 4096u
#define PF_ZERO_IOVS 64
static const _Alignas(PF_ZERO_BYTES) uint8_t pf_zero_bytes[PF_ZERO_BYTES];

static_assert(PF_BLOCK_MIN % PF_ZERO_BYTES == 0, "zeros come in whole blocks");

quire_status pf_os_status(int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* a limit on the file's size: room for others remains */
        return QUIRE_NOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return QUIRE_PERM;
    case ENOENT:
    case ENOTDIR:
        return QUIRE_NOTFOUND;
    case EEXIST:
        return QUIRE_EXISTS;
    case ENAMETOOLONG:
        return QUIRE_INVAL;
    default:
        return QUIRE_IO;
    }
}

quire_status pf_os_fail(const struct pf_os *os, int err, const char *what)
{
    char buf[128];

    return ra_fail(pf_os_status(err), "%s: cannot %s: %s", os->path, what,
                   strerror_r(err, buf, sizeof(buf)));
}

static quire_status pf_xfer_fail(const struct pf_os *os, int err,
                                 const char *what, uint64_t off)
{
    char buf[128];

    return ra_fail(pf_os_status(err), "%s: cannot %s at offset %llu: %s",
                   os->path, what, PF_ULL(off),
                   strerror_r(err, buf, sizeof(buf)));
}

/* The errno of a transfer that said `n` when at most `most` was asked; 0: go
 * on. */
static int pf_os_verdict(ssize_t n, size_t most)
{
    if (n < 0)
        return n == -EINTR ? 0 : (int)-n;
    return (size_t)n > most ? EIO : 0;
}

/* pread() and pread_once(). */
typedef ssize_t (*pf_pread_fn)(void *ctx, void *file, void *buf, size_t nbytes,
                               uint64_t off);

static quire_status pf_os_read_by(const struct pf_os *os, pf_pread_fn read,
                                  void *buf, size_t nbytes, uint64_t off,
                                  size_t *got)
{
    size_t done = 0;

    while (done < nbytes) {
        ssize_t n = read(os->io->ctx, os->handle, (uint8_t *)buf + done,
                         nbytes - done, off + done);
        int err = pf_os_verdict(n, nbytes - done);

        if (err != 0)
            return pf_xfer_fail(os, err, "read", off + done);
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    *got = done;
    return QUIRE_OK;
}

quire_status pf_os_read(const struct pf_os *os, void *buf, size_t nbytes,
                        uint64_t off, size_t *got)
{
    return pf_os_read_by(os, os->io->pread, buf, nbytes, off, got);
}

static ssize_t pf_os_pwritev(const struct pf_os *os, struct pf_file *past,
                             const struct iovec *iov, int niov, uint64_t off)
{
    ssize_t n;

    if (past != NULL && pf_past_pwritev(past, iov, niov, off, &n))
        return n;
    return os->io->pwritev(os->io->ctx, os->handle, iov, niov, off);
}

quire_status pf_os_write(const struct pf_os *os, struct pf_file *past,
                         const void *buf, size_t nbytes, uint64_t off)
{
    size_t done = 0;

    while (done < nbytes) {
        struct iovec iov = {
            .iov_base = (uint8_t *)(uintptr_t)buf + done,
            .iov_len = nbytes - done,
        };
        ssize_t n = pf_os_pwritev(os, past, &iov, 1, off + done);
        int err = n == 0 ? EIO : pf_os_verdict(n, nbytes - done);

        if (err != 0)
            return pf_xfer_fail(os, err, "write", off + done);
        if (n > 0)
            done += (size_t)n;
    }
    return QUIRE_OK;
}

quire_status pf_os_zero(const struct pf_os *os, struct pf_file *past,
                        size_t nbytes, uint64_t off)
{
    size_t done = 0;

    while (done < nbytes) {
        struct iovec iov[PF_ZERO_IOVS];
        size_t want = 0;
        int niov = 0;
        ssize_t n;
        int err;

        while (niov < PF_ZERO_IOVS && done + want < nbytes) {
            iov[niov].iov_base = (uint8_t *)(uintptr_t)pf_zero_bytes;
            iov[niov].iov_len = ra_min_u64(PF_ZERO_BYTES, nbytes - done - want);
            want += iov[niov++].iov_len;
        }
        n = pf_os_pwritev(os, past, iov, niov, off + done);
        err = n == 0 ? EIO : pf_os_verdict(n, want);
        if (err != 0)
            return pf_xfer_fail(os, err, "write zeros", off + done);
        if (n > 0)
            done += (size_t)n;
    }
    return QUIRE_OK;
}

quire_status pf_os_sync(const struct pf_os *os, bool alone)
{
    int r;

    if (!alone || !pf_io_sync_alone(os, &r) || r == -EINTR)
        PF_RETRY(r, os->io->sync(os->io->ctx, os->handle));
    return r >= 0 ? QUIRE_OK : pf_os_fail(os, -r, "sync");
}

quire_status pf_read_all(struct pf_file *file, void *buf, size_t nbytes,
                         uint64_t off, bool once)
{
    const struct quire_io *io = file->os.io;
    size_t got = 0;
    quire_status rc;

    rc = pf_pend_read(file, off, nbytes);
    if (rc != QUIRE_OK)
        return rc;
    once = once && io->pread_once != NULL;
    rc = pf_os_read_by(&file->os, once ? io->pread_once : io->pread, buf,
                       nbytes, off, &got);
    if (rc != QUIRE_OK)
        return rc;
    pf_count(&file->read_bytes, got);
    if (got < nbytes)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: the file ends at %llu, but bytes %llu to %llu are "
                       "referred to",
                       file->path, PF_ULL(off + got), PF_ULL(off),
                       PF_ULL(off + nbytes));
    return QUIRE_OK;
}

quire_status pf_read_direct(struct pf_file *file, void *buf, size_t nbytes,
                            uint64_t off)
{
    const struct pf_os *os = &file->direct;
    uint64_t from = off - off % PF_DIRECT_ALIGN;
    size_t want = ra_round_up((size_t)(off - from) + nbytes, PF_DIRECT_ALIGN);
    size_t done = 0;
    quire_status rc = pf_pend_read(file, off, nbytes);

    if (rc != QUIRE_OK)
        return rc;
    while (done < want) {
        ssize_t n = os->io->pread(os->io->ctx, os->handle,
                                  (uint8_t *)buf + done, want - done,
                                  from + done);
        int err = pf_os_verdict(n, want - done);

        if (err != 0)
            return pf_xfer_fail(os, err, "read", from + done);
        if (n < 0)
            continue;
        /* Going on within a unit is not allowed. */
        if ((size_t)n < PF_DIRECT_ALIGN)
            break;
        done += (size_t)n - (size_t)n % PF_DIRECT_ALIGN;
    }
    pf_count(&file->read_bytes, done);
    if (from + done >= off + nbytes)
        return QUIRE_OK;
    /* The file's end, or a table that moves little at a time: the other handle
     * tells. */
    return pf_read_all(file, (uint8_t *)buf + (off - from), nbytes, off, true);
}

void pf_read_soon(const struct pf_file *file, uint64_t off, uint64_t nbytes)
{
    const struct quire_io *io = file->os.io;

    if (io->read_ahead != NULL)
        (void)io->read_ahead(io->ctx, file->os.handle, off, nbytes);
}

quire_status pf_write_all(struct pf_file *file, const void *buf, size_t nbytes,
                          uint64_t off, bool past)
{
    quire_status rc;

    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    rc = pf_os_write(&file->os, past ? file : NULL, buf, nbytes, off);
    if (rc == QUIRE_OK) {
        pf_count(&file->written_bytes, nbytes);
    } else if (rc != QUIRE_NOSPACE) {
        pf_poison(file, quire_error_detail()); /* PF-5 */
        rc = QUIRE_IO;
    }
    return rc;
}

void pf_poison(struct pf_file *file, const char *why)
{
    /* release: pairs with the acquire in pf_file_poisoned(); whoever sees the
     * mark also sees what was done before it. */
    if (!atomic_exchange_explicit(&file->poisoned, true, memory_order_release))
        ra_log_line(&file->env.log, QUIRE_LOG_ERROR,
                    "nothing is written to the store any more until it is "
                    "opened again: %s",
                    why);
}

bool pf_file_poisoned(const struct pf_file *file)
{
    /* acquire: pairs with the release in pf_poison() */
    return atomic_load_explicit(&file->poisoned, memory_order_acquire);
}

quire_status pf_refuse_poisoned(const struct pf_file *file)
{
    return ra_fail(QUIRE_POISONED,
                   "%s: an earlier write or sync failed; close the store and "
                   "open it again",
                   file->path);
}
