/*
 * lib_point.c - failure points, through libfiu's callbacks.
 *
 * A point that is armed has a callback, which counts passages and decides. A
 * callback runs under libfiu's lock for reading: it may wait for threads that
 * pass other points, but nothing may be armed or disarmed meanwhile.
 */
#include "tests/lib_point.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#include "alloc/point.h"
#include "tests/test.h"

#ifdef FIU_ENABLE
#include <fiu-control.h>

static const enum point_fails point_kinds[] = {
#define POINT_KIND(id, name, fails_for) POINT_##fails_for,
    QUIRE_POINTS(POINT_KIND)
#undef POINT_KIND
};

/* One line of the table that this program writes. */
struct point_line {
    const char *scene;
    unsigned point;
    uint64_t fired;
};

static struct {
    bool ready;
    pid_t pid;
    /* the armed point */
    const char *scene;
    unsigned point;
    bool armed;
    bool sticky;
    uint64_t nth;
    _Atomic uint64_t seen;
    _Atomic uint64_t fired;
    /* all of them */
    bool survey;
    _Atomic uint64_t passed[QUIRE_POINT_COUNT];
    /* the watched point */
    bool watched;
    unsigned watch;
    void (*fn)(void *arg);
    void *arg;
    /* what has fired */
    struct point_line *lines;
    size_t nlines;
} points;

static void point_write(void)
{
    const char *dir = getenv("QUIRE_POINTS");
    char path[4096];
    FILE *f;

    if (dir == NULL || points.nlines == 0 || getpid() != points.pid)
        return;
    snprintf(path, sizeof(path), "%s/%ld", dir, (long)getpid());
    f = fopen(path, "w");
    if (f == NULL)
        return; /* the table then lacks these points, and says so */
    for (size_t i = 0; i < points.nlines; i++)
        fprintf(f, "%s\t%" PRIu64 "\t%s\n",
                quire_point_names[points.lines[i].point], points.lines[i].fired,
                points.lines[i].scene);
    fclose(f);
}

static void point_ready(void)
{
    if (points.ready)
        return;
    points.ready = true;
    points.pid = getpid();
    CHECK_EQ(fiu_init(0), 0);
    CHECK_EQ(atexit(point_write), 0);
}

unsigned point_count(void)
{
    return QUIRE_POINT_COUNT;
}

const char *point_name(unsigned point)
{
    CHECK(point < QUIRE_POINT_COUNT);
    return quire_point_names[point];
}

enum point_fails point_fails(unsigned point)
{
    CHECK(point < QUIRE_POINT_COUNT);
    return point_kinds[point];
}

unsigned point_find(const char *name)
{
    unsigned i = 0;

    while (i < QUIRE_POINT_COUNT && strcmp(quire_point_names[i], name) != 0)
        i++;
    CHECK(i < QUIRE_POINT_COUNT);
    return i;
}

static int point_armed_cb(const char *name, int *failnum, void **failinfo,
                          unsigned int *flags)
{
    /* relaxed, here and below: counters */
    uint64_t n = atomic_fetch_add_explicit(&points.seen, 1,
                                           memory_order_relaxed) +
                 1;

    (void)name;
    (void)failnum;
    (void)failinfo;
    (void)flags;
    if (n != points.nth && !(points.sticky && n > points.nth))
        return 0;
    atomic_fetch_add_explicit(&points.fired, 1, memory_order_relaxed);
    return 1;
}

void point_arm(const char *scene, unsigned point, uint64_t nth, bool sticky)
{
    point_ready();
    CHECK(!points.armed && !points.survey && point < QUIRE_POINT_COUNT);
    CHECK(!points.watched || points.watch != point);
    points.scene = scene;
    points.point = point;
    points.nth = nth;
    points.sticky = sticky;
    points.seen = 0;
    points.fired = 0;
    points.armed = true;
    CHECK_EQ(fiu_enable_external(quire_point_names[point], 1, NULL, 0,
                                 point_armed_cb),
             0);
}

uint64_t point_fired(void)
{
    return points.fired;
}

/* Add what the armed point has fired to the table. */
static void point_note(void)
{
    size_t i = 0;

    while (i < points.nlines && (points.lines[i].point != points.point ||
                                 points.lines[i].scene != points.scene))
        i++;
    if (i == points.nlines) {
        points.lines = realloc(points.lines, (i + 1) * sizeof(points.lines[0]));
        CHECK(points.lines != NULL);
        points.lines[i] = (struct point_line){ points.scene, points.point, 0 };
        points.nlines++;
    }
    points.lines[i].fired += points.fired;
}

void point_disarm(void)
{
    if (points.armed) {
        CHECK_EQ(fiu_disable(quire_point_names[points.point]), 0);
        if (points.fired > 0)
            point_note();
    }
    for (unsigned i = 0; points.survey && i < QUIRE_POINT_COUNT; i++)
        CHECK_EQ(fiu_disable(quire_point_names[i]), 0);
    points.armed = false;
    points.survey = false;
}

static int point_survey_cb(const char *name, int *failnum, void **failinfo,
                           unsigned int *flags)
{
    _Atomic uint64_t *passed = *failinfo;

    (void)name;
    (void)failnum;
    (void)flags;
    atomic_fetch_add_explicit(passed, 1, memory_order_relaxed);
    return 0;
}

void point_survey(void)
{
    point_ready();
    CHECK(!points.armed && !points.survey && !points.watched);
    points.survey = true;
    for (unsigned i = 0; i < QUIRE_POINT_COUNT; i++) {
        points.passed[i] = 0;
        CHECK_EQ(fiu_enable_external(quire_point_names[i], 1,
                                     (void *)&points.passed[i], 0,
                                     point_survey_cb),
                 0);
    }
}

uint64_t point_passed(unsigned point)
{
    CHECK(point < QUIRE_POINT_COUNT);
    return points.passed[point];
}

static int point_watch_cb(const char *name, int *failnum, void **failinfo,
                          unsigned int *flags)
{
    (void)name;
    (void)failnum;
    (void)failinfo;
    (void)flags;
    points.fn(points.arg);
    return 0;
}

void point_watch(unsigned point, void (*fn)(void *arg), void *arg)
{
    point_ready();
    if (points.watched)
        CHECK_EQ(fiu_disable(quire_point_names[points.watch]), 0);
    points.watched = fn != NULL;
    points.watch = point;
    points.fn = fn;
    points.arg = arg;
    if (fn != NULL)
        CHECK_EQ(fiu_enable_external(quire_point_names[point], 1, NULL, 0,
                                     point_watch_cb),
                 0);
}

#else /* a library without points */

unsigned point_count(void)
{
    return 0;
}

const char *point_name(unsigned point)
{
    (void)point;
    return "";
}

enum point_fails point_fails(unsigned point)
{
    (void)point;
    return POINT_NOTHING;
}

unsigned point_find(const char *name)
{
    (void)name;
    return 0;
}

void point_arm(const char *scene, unsigned point, uint64_t nth, bool sticky)
{
    (void)scene;
    (void)point;
    (void)nth;
    (void)sticky;
}

uint64_t point_fired(void)
{
    return 0;
}

void point_disarm(void)
{
}

void point_survey(void)
{
}

uint64_t point_passed(unsigned point)
{
    (void)point;
    return 0;
}

void point_watch(unsigned point, void (*fn)(void *arg), void *arg)
{
    (void)point;
    (void)fn;
    (void)arg;
}
#endif
