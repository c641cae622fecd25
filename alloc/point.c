/*
 * point.c - the names of the failure points, in builds that have them.
 */
#include "alloc/base.h"

#ifdef FIU_ENABLE
const char *const quire_point_names[QUIRE_POINT_COUNT] = {
#define QUIRE_POINT_NAME(id, name, fails_for) [QUIRE_POINT_##id] = (name),
    QUIRE_POINTS(QUIRE_POINT_NAME)
#undef QUIRE_POINT_NAME
};
#endif
