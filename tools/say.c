/*
 * say.c - everything that goes to standard error.
 *
 * A load shows progress on a terminal by writing one line again and again;
 * any other line must first clear it, so all lines go through here.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

/* The cursor stands behind a progress line. Atomic: the feeding thread speaks
 * for itself when it has no memory to be collected from. */
static _Atomic bool progress_shown;
static _Thread_local struct bytes *collecting; /* NULL: not */

bool say_on_terminal(void)
{
    static int terminal = -1; /* -1: not asked yet */

    if (terminal < 0)
        terminal = isatty(STDERR_FILENO);
    return terminal != 0;
}

static void clear_progress(void)
{
    /* relaxed, here and below: nothing is read by its leave */
    if (atomic_exchange_explicit(&progress_shown, false, memory_order_relaxed))
        fputs("\r\033[K", stderr);
}

void say_progress(const char *line)
{
    clear_progress();
    fputs(line, stderr);
    if (say_on_terminal())
        atomic_store_explicit(&progress_shown, true, memory_order_relaxed);
    else
        fputc('\n', stderr);
    fflush(stderr);
}

/* Collect a message. -1: there is no memory for it. */
static int collect(struct bytes *into, const char *fmt, va_list args)
{
    int error = errno; /* for %m */
    va_list copy;
    int len;
    int rc;

    va_copy(copy, args);
    len = vsnprintf(NULL, 0, fmt, copy);
    va_end(copy);
    if (len < 0)
        return -1;
    /* Should memory be short, that is said at once. */
    collecting = NULL;
    rc = bytes_reserve(into, (size_t)len + sizeof("quire: \n"));
    collecting = into;
    if (rc != 0)
        return -1;
    bytes_append_text(into, "quire: ");
    errno = error;
    vsnprintf((char *)into->data + into->len, (size_t)len + 1, fmt, args);
    into->len += (size_t)len;
    return bytes_append_text(into, "\n");
}

void(say)(const char *fmt, ...)
{
    int error = errno; /* for %m */
    va_list args;

    va_start(args, fmt);
    fail_note(fmt, args);
    if (collecting == NULL || collect(collecting, fmt, args) != 0) {
        clear_progress();
        fputs("quire: ", stderr);
        errno = error;
        vfprintf(stderr, fmt, args);
        fputc('\n', stderr);
    }
    va_end(args);
}

void say_collect(struct bytes *into)
{
    collecting = into;
}

void say_collected(struct bytes *from)
{
    if (from->len == 0)
        return;
    clear_progress();
    fwrite(from->data, 1, from->len, stderr);
    from->len = 0;
}

int(say_usage)(const char *command, const char *fmt, ...)
{
    va_list args;

    clear_progress();
    fprintf(stderr, "quire %s: ", command);
    va_start(args, fmt);
    fail_note(fmt, args);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "; see quire %s --help\n", command);
    return EXIT_USAGE;
}

/* What the user can do about a status; NULL: nothing in general. */
static const char *advice(quire_status rc)
{
    switch (rc) {
    case QUIRE_NOMEM:
        return "give more with --memory";
    case QUIRE_NOSPACE:
        return "make room and run it again: what was committed is there";
    case QUIRE_IO:
    case QUIRE_POISONED:
        return "check the device, then run it again: what was committed is "
               "there";
    case QUIRE_UNDECIDED:
        return "run `quire revisions`: opening the store decides whether the "
               "last commit is there";
    case QUIRE_CORRUPT:
        return "run `quire verify` for the places; restore from a copy";
    case QUIRE_LOCKED:
        return "another process has it open: wait for its end";
    case QUIRE_PERM:
        return "check the permissions of the file and its directory";
    case QUIRE_FORMAT:
        return "check the path: nothing was changed";
    default:
        return NULL;
    }
}

void(say_store)(const char *path, const char *what, quire_status rc)
{
    const char *detail = quire_error_detail();
    const char *what_to_do = advice(rc);

    if (rc == STATUS_SAID)
        return;
    (say)("%s: %s: %s%s%s%s%s%s", path, what, quire_strerror(rc),
          detail[0] != '\0' ? " (" : "", detail, detail[0] != '\0' ? ")" : "",
          what_to_do != NULL ? "; " : "", what_to_do != NULL ? what_to_do : "");
}

int stdout_finish(void)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return 0;
    say("standard output: %m; what was printed is not complete");
    return -1;
}
