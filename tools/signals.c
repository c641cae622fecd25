/*
 * signals.c - stopping a load in an orderly way.
 *
 * The handler may run on any thread, the library's too, so that it cannot be
 * relied on to interrupt a read() of ours, and a signal between a look at the
 * flag and a blocking read would be slept through. Hence the pipe: input.c
 * waits for its input and for this pipe together.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

static _Atomic int stop_number;       /* the signal; 0: none */
static int stop_pipe[2] = { -1, -1 }; /* immutable after stop_install() */

static void on_signal(int number)
{
    int saved = errno;

    /* relaxed: nothing is read by its leave */
    atomic_store_explicit(&stop_number, number, memory_order_relaxed);
    if (write(stop_pipe[1], "", 1) < 0) {
        /* Full: it is readable already. */
    }
    errno = saved;
}

int stop_install(void)
{
    struct sigaction action;

    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        say("pipe: %m");
        return -1;
    }
    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND; /* a second one kills, which is safe too */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
    return 0;
}

int stop_signal(void)
{
    return atomic_load_explicit(&stop_number, memory_order_relaxed);
}

int stop_fd(void)
{
    return stop_pipe[0];
}
