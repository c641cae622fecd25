/*
 * frozen.h - a clock that stands still, and random bytes that repeat.
 *
 * Included by the one file of a program whose recordings must be equal byte for
 * byte in every run: the two functions take the place of the C library's in the
 * whole program, the library under test included. With FROZEN_WHILE defined as
 * a condition, only while that is true.
 */
#ifndef QUIRE_TESTS_FROZEN_H
#define QUIRE_TESTS_FROZEN_H

#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef FROZEN_WHILE
#define FROZEN_WHILE 1
#endif

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (clock != CLOCK_REALTIME || !(FROZEN_WHILE))
        return (int)syscall(SYS_clock_gettime, clock, ts);
    ts->tv_sec = 1700000000;
    ts->tv_nsec = 0;
    return 0;
}

ssize_t getrandom(void *buf, size_t nbytes, unsigned flags)
{
    if (!(FROZEN_WHILE))
        return (ssize_t)syscall(SYS_getrandom, buf, nbytes, flags);
    memset(buf, 0x5a, nbytes);
    return (ssize_t)nbytes;
}

#endif /* QUIRE_TESTS_FROZEN_H */
