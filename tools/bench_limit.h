/*
 * bench_limit.h - a limit on the memory of a measuring process, by a control
 * group.
 */
#ifndef QUIRE_TOOLS_BENCH_LIMIT_H
#define QUIRE_TOOLS_BENCH_LIMIT_H

#include <stdint.h>

struct bench_limit {
    char dir[512]; /* of the group; "" is none */
};

/*
 * Make a group whose processes together, the pages they cache included, use
 * at most `nbytes`. -1: this machine allows none, or not to us; nothing said.
 */
int bench_limit_make(struct bench_limit *l, const char *name, uint64_t nbytes);
/* Move this process into it; between fork() and exec(). */
int bench_limit_enter(const struct bench_limit *l);
/* Remove it; its processes have ended. */
void bench_limit_remove(struct bench_limit *l);

#endif /* QUIRE_TOOLS_BENCH_LIMIT_H */
