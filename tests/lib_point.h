/*
 * lib_point.h - arm one of the library's named failure points.
 *
 * alloc/point.h has their table. At most one is armed at a time, for all
 * threads. What fired, and in which scenario, is written into the directory
 * that QUIRE_POINTS names when the program ends, so that a run of all programs
 * can tell which points were never fired (check-points.sh). Where the library
 * is built without points, point_count() is 0.
 */
#ifndef QUIRE_TESTS_LIB_POINT_H
#define QUIRE_TESTS_LIB_POINT_H

#include <stdbool.h>
#include <stdint.h>

/* What a point fails for; see alloc/point.h. */
enum point_fails {
    POINT_MEMORY,
    POINT_SPACE,
    POINT_IO,
    POINT_CORRUPT,
    POINT_LOCKED,
    POINT_NOTHING,
};

/* Points are numbered from 0. */
unsigned point_count(void);
const char *point_name(unsigned point);
enum point_fails point_fails(unsigned point);

/* The number of `name`, which must be a point. */
unsigned point_find(const char *name);

/* Fail the `nth` passage (from 1) of `point` from now on; `sticky`: and all
 * that follow. `scene` is named in the table; it outlives the program. */
void point_arm(const char *scene, unsigned point, uint64_t nth, bool sticky);

/* How often the armed point, or the one armed last, has fired. */
uint64_t point_fired(void);

/* Nothing fails any more. */
void point_disarm(void);

/* Count the passages of every point from now on, until point_disarm(). */
void point_survey(void);
uint64_t point_passed(unsigned point);

/*
 * Call `fn(arg)` in each thread that passes `point`, before what it guards; at
 * most one watch at a time, beside the armed point. `fn` may wait for other
 * threads, but arms and disarms nothing. `fn` NULL: no more.
 */
void point_watch(unsigned point, void (*fn)(void *arg), void *arg);

#endif /* QUIRE_TESTS_LIB_POINT_H */
