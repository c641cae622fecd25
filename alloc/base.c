/*
 * base.c - error details, log lines, failed assertions, names of statuses.
 *
 * The detail of the last failure lives in a buffer of each thread: it needs no
 * lock, no allocation (the failure may be one of memory), and no clearing, so
 * that a failure deep inside reaches the embedder without being carried up by
 * hand. Statuses that pass through a layer leave the detail as it is; a layer
 * that knows more calls ra_fail() again.
 */
#include "alloc/base.h"

#include <stdio.h>
#include <stdlib.h>

#include "alloc/broken.h"

#define RA_LINE_CAP 512 /* bytes, with the final 0: details and log lines */

static _Thread_local char ra_detail[RA_LINE_CAP];

#if QUIRE_DEBUG >= 1
_Atomic unsigned ra_broken_now; /* atomic */
#endif

quire_status ra_fail(quire_status rc, const char *fmt, ...)
{
    char line[RA_LINE_CAP];
    va_list ap;

    /* Printed aside first: an argument may be the old detail itself. */
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    memcpy(ra_detail, line, sizeof(line));
    return rc;
}

void ra_log_line(const struct ra_log *log, quire_log_level level,
                 const char *fmt, ...)
{
    char line[RA_LINE_CAP];
    va_list ap;

    if (log == NULL || log->fn == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    log->fn(log->arg, level, line);
}

#if QUIRE_DEBUG >= 1
void quire_assert_failed(const char *what, const char *file, int line)
{
    /* Debug builds only: the process is about to end, so it may speak. */
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    fflush(stderr);
    abort();
}
#endif

const char *quire_error_detail(void)
{
    return ra_detail;
}

const char *quire_strerror(quire_status rc)
{
    switch (rc) {
    case QUIRE_OK:
        return "success";
    case QUIRE_NOTFOUND:
        return "not found";
    case QUIRE_EXISTS:
        return "exists already";
    case QUIRE_NOMEM:
        return "memory budget used up, or memory refused by the system";
    case QUIRE_NOSPACE:
        return "no space left in the file system";
    case QUIRE_IO:
        return "input or output failed";
    case QUIRE_CORRUPT:
        return "the file is damaged";
    case QUIRE_LOCKED:
        return "held by another process or handle";
    case QUIRE_BUSY:
        return "handles are still open";
    case QUIRE_READONLY:
        return "opened for reading only";
    case QUIRE_INVAL:
        return "argument or option out of range";
    case QUIRE_MISUSE:
        return "the interface was misused";
    case QUIRE_TOOBIG:
        return "too large";
    case QUIRE_POISONED:
        return "an earlier write failed; close and open again";
    case QUIRE_UNDECIDED:
        return "the commit's write failed; decided when opened again";
    case QUIRE_PERM:
        return "permission denied";
    case QUIRE_FORMAT:
        return "not a quire store, or of another version";
    case QUIRE_ABORTED:
        return "the transaction failed and can only be aborted";
    case QUIRE_TIMEOUT:
        return "the time limit has passed";
    case QUIRE_MISMATCH:
        return "the record is not what was expected";
    }
    return "unknown status";
}

#define RA_STR2(x) #x
#define RA_STR(x) RA_STR2(x)

const char *quire_version(void)
{
    return RA_STR(QUIRE_VERSION_MAJOR) "." RA_STR(
        QUIRE_VERSION_MINOR) "." RA_STR(QUIRE_VERSION_PATCH);
}
