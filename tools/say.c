/*
 * say.c - everything that goes to standard error.
 *
 * A load shows progress on a terminal by writing one line again and again;
 * any other line must first clear it, so all lines go through here.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

static bool progress_shown; /* the cursor stands behind a progress line */
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
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

void say_progress(const char *line)
{
    clear_progress();
    fputs(line, stderr);
    if (say_on_terminal())
        progress_shown = true;
    else
        fputc('\n', stderr);
    fflush(stderr);
}

static void say_list(const char *fmt, va_list args)
{
    clear_progress();
    fputs("quire: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

void say(const char *fmt, ...)
{
    struct bytes *into = collecting;
    va_list args;
    char *text = NULL;

    va_start(args, fmt);
    if (into == NULL) {
        say_list(fmt, args);
    } else if (vasprintf(&text, fmt, args) >= 0) {
        /* If memory is short this says so; let it. */
        collecting = NULL;
        if (bytes_append_text(into, "quire: ") != 0 ||
            bytes_append_text(into, text) != 0 ||
            bytes_append_text(into, "\n") != 0)
            into->len = 0;
        collecting = into;
        free(text);
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

int say_usage(const char *command, const char *fmt, ...)
{
    va_list args;

    clear_progress();
    fprintf(stderr, "quire %s: ", command);
    va_start(args, fmt);
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
    case QUIRE_READONLY:
        return "check that the store may be written";
    default:
        return NULL;
    }
}

void say_store(const char *path, const char *what, quire_status rc)
{
    const char *detail = quire_error_detail();
    const char *what_to_do = advice(rc);

    say("%s: %s: %s%s%s%s%s%s", path, what, quire_strerror(rc),
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
