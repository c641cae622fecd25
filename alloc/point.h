/*
 * point.h - named failure points, one at each acquisition of the library.
 *
 * An acquisition is written inside QUIRE_POINT(), with the value that it gives
 * when it fails:
 *
 *     r = QUIRE_POINT(RA_REGION_DESCRIPTOR, NULL, ra_line_alloc(sys, nbytes));
 *
 * Where a build has FIU_ENABLE (every build with assertions), libfiu is asked
 * first, by the point's name, and when it says so the acquisition is not tried
 * and has failed: what follows is the path of a real failure. Elsewhere only
 * the call is left.
 *
 * This is the one table of names. tests/check-acquire.sh looks for acquisitions
 * outside QUIRE_POINT(), tests/check-points.sh for points that no test fires.
 */
#ifndef QUIRE_ALLOC_POINT_H
#define QUIRE_ALLOC_POINT_H

/*
 * X(identifier, name, what it fails for). The last is one of
 *
 *   MEMORY    the caller gets QUIRE_NOMEM, if nothing else helps
 *   SPACE     the caller gets QUIRE_NOSPACE
 *   IO        the caller gets QUIRE_IO
 *   CORRUPT   the caller gets QUIRE_CORRUPT
 *   LOCKED    the caller gets QUIRE_LOCKED
 *   NOTHING   what is acquired can be done without: no call fails
 */
#define QUIRE_POINTS(X) \
    /* the pool itself */ \
    X(RA_POOL_HANDLE, "alloc/pool/handle", MEMORY) \
    X(RA_POOL_MAP, "alloc/pool/map", MEMORY) \
    X(RA_POOL_COMMIT, "alloc/pool/commit", MEMORY) \
    X(RA_SWEEPER_THREAD, "alloc/sweeper/thread", MEMORY) \
    /* regions and segments */ \
    X(RA_REGION_BUDGET, "alloc/region/budget", MEMORY) \
    X(RA_REGION_ADDRESSES, "alloc/region/addresses", MEMORY) \
    X(RA_REGION_DESCRIPTOR, "alloc/region/descriptor", MEMORY) \
    X(RA_REGION_MAP, "alloc/region/map", MEMORY) \
    X(RA_REGION_HUGE, "alloc/region/huge", NOTHING) \
    X(RA_REGION_PLAIN, "alloc/region/plain", MEMORY) \
    X(RA_SEGMENT_BUDGET, "alloc/segment/budget", MEMORY) \
    X(RA_SEGMENT_COMMIT, "alloc/segment/commit", MEMORY) \
    X(RA_SEGMENT_HUGE, "alloc/segment/huge", NOTHING) \
    X(RA_SEGMENT_MANY, "alloc/segment/many", MEMORY) \
    X(RA_API_SEGMENT, "alloc/api/segment", MEMORY) \
    X(RA_MAG_BUDGET, "alloc/magazine/budget", NOTHING) \
    X(RA_MAG_DESCRIPTOR, "alloc/magazine/descriptor", NOTHING) \
    X(RA_SWEEP_REGION, "alloc/sweep/region", MEMORY) \
    X(RA_SWEEP_SEGMENTS, "alloc/sweep/segments", MEMORY) \
    X(RA_TABLE_BUDGET, "alloc/table/budget", MEMORY) \
    X(RA_TABLE_ADDRESSES, "alloc/table/addresses", MEMORY) \
    X(RA_TABLE_DESCRIPTOR, "alloc/table/descriptor", MEMORY) \
    X(RA_TABLE_MAP, "alloc/table/map", MEMORY) \
    X(RA_TABLE_HUGE, "alloc/table/huge", NOTHING) \
    X(RA_TABLE_COMMIT, "alloc/table/commit", MEMORY) \
    /* the cache: its tables, frames, pins */ \
    X(PC_CACHE_HANDLE, "cache/cache/handle", MEMORY) \
    X(PC_CACHE_FRAMES, "cache/cache/frames", MEMORY) \
    X(PC_CACHE_TABLE, "cache/cache/table", MEMORY) \
    X(PC_CACHE_POLICY, "cache/cache/policy", MEMORY) \
    X(PC_CACHE_ROWS, "cache/cache/rows", MEMORY) \
    X(PC_ROW_SEGMENT, "cache/row/segment", NOTHING) \
    X(PC_EVICTOR_THREAD, "cache/evictor/thread", MEMORY) \
    X(PC_PIN_FRAME, "cache/pin/frame", MEMORY) \
    X(PC_PIN_ENTRY, "cache/pin/entry", MEMORY) \
    X(PC_LOAD_PAGE, "cache/load/page", MEMORY) \
    X(PC_LOAD_CHARGE, "cache/load/charge", MEMORY) \
    X(PC_INSERT_FRAME, "cache/insert/frame", MEMORY) \
    X(PC_INSERT_CHARGE, "cache/insert/charge", MEMORY) \
    X(PC_INSERT_ENTRY, "cache/insert/entry", MEMORY) \
    X(PC_API_PIN, "cache/api/pin", MEMORY) \
    X(PC_API_INSERT, "cache/api/insert", MEMORY) \
    /* the page file: files, locks, buffers, spans, chains */ \
    X(PF_CREATE_OPEN, "pages/create/open", IO) \
    X(PF_CREATE_LOCK, "pages/create/lock", IO) \
    X(PF_CREATE_SEGMENT, "pages/create/segment", MEMORY) \
    X(PF_FILE_HANDLE, "pages/file/handle", MEMORY) \
    X(PF_FILE_OPEN, "pages/file/open", IO) \
    X(PF_FILE_LOCK, "pages/file/lock", LOCKED) \
    X(PF_FILE_DIRECT, "pages/file/direct", IO) \
    X(PF_FILE_PAST, "pages/file/past", NOTHING) \
    X(PF_PAST_LOCK, "pages/past/lock", NOTHING) \
    X(PF_AIO_QUEUE, "pages/aio/queue", NOTHING) \
    X(PF_AIO_SUBMIT, "pages/aio/submit", NOTHING) \
    X(PF_RECORD_SEGMENT, "pages/record/segment", MEMORY) \
    X(PF_RECOVER_SEGMENTS, "pages/recover/segments", MEMORY) \
    X(PF_OUT_TABLE, "pages/out/table", MEMORY) \
    X(PF_ZERO_THREAD, "pages/zero/thread", MEMORY) \
    X(PF_BATCH_SPAN, "pages/batch/span", SPACE) \
    X(PF_AHEAD_SPAN, "pages/ahead/span", SPACE) \
    X(PF_AHEAD_RESERVE, "pages/ahead/reserve", SPACE) \
    X(PF_PAGE_PIN, "pages/page/pin", MEMORY) \
    X(PF_CHAIN_SEGMENTS, "pages/chain/segments", MEMORY) \
    X(PF_CHAIN_READ, "pages/chain/read", IO) \
    X(PF_CHAIN_CHECK, "pages/chain/check", CORRUPT) \
    X(PF_CHAIN_BODY, "pages/chain/body", CORRUPT) \
    X(PF_CHAIN_MERGE, "pages/chain/merge", CORRUPT) \
    /* the tree: intents, working images, images for the cache */ \
    X(TR_LOG_TABLES, "tree/log/tables", MEMORY) \
    X(TR_LOG_SLAB, "tree/log/slab", MEMORY) \
    X(TR_LOG_NUMBER, "tree/log/number", MEMORY) \
    X(TR_LOG_SPARE, "tree/log/spare", MEMORY) \
    X(TR_ENTER_SEGMENT, "tree/enter/segment", MEMORY) \
    X(TR_ENTER_INTENT, "tree/enter/intent", MEMORY) \
    X(TR_ROOT_SPARE, "tree/root/spare", MEMORY) \
    X(TR_ROOT_INTENT, "tree/root/intent", MEMORY) \
    X(TR_SHED_SEGMENT, "tree/shed/segment", MEMORY) \
    X(TR_GROW_SEGMENT, "tree/grow/segment", MEMORY) \
    X(TR_SPLIT_INNER, "tree/split/inner", MEMORY) \
    X(TR_SPLIT_PAGES, "tree/split/pages", MEMORY) \
    X(TR_OWN_SEGMENT, "txlog/own/segment", MEMORY) \
    X(TR_OWN_INTENT, "txlog/own/intent", MEMORY) \
    X(TX_SAVE_HANDLE, "txlog/save/handle", MEMORY) \
    X(TX_SAVE_TREES, "txlog/save/trees", MEMORY) \
    X(TX_SAVE_MARK, "txlog/save/mark", SPACE) \
    X(TR_CUT_NUMBER, "txlog/cut/number", MEMORY) \
    X(TR_CUT_PAGE, "txlog/cut/page", MEMORY) \
    X(TR_MERGE_SPARE, "tree/merge/spare", NOTHING) \
    X(TR_MERGE_SIBLING, "tree/merge/sibling", NOTHING) \
    X(TR_CACHE_TRY, "tree/cache/try", NOTHING) \
    X(TR_GONE_SEGMENT, "tree/gone/segment", NOTHING) \
    X(TR_CACHE_SEGMENT, "tree/cache/segment", NOTHING) \
    X(TR_CACHE_HAND_OVER, "tree/cache/hand-over", NOTHING) \
    X(TR_CACHE_LABELS, "tree/cache/labels", NOTHING) \
    X(TR_CACHE_INSERT, "tree/cache/insert", NOTHING) \
    /* transactions: handles, values, the catalogue, batches */ \
    X(TX_STORE_HANDLE, "txlog/store/handle", MEMORY) \
    X(TX_STORE_MARKER, "txlog/store/marker", MEMORY) \
    X(TX_STORE_PENDING, "txlog/store/pending", MEMORY) \
    X(TX_TXN_HANDLE, "txlog/txn/handle", MEMORY) \
    X(TX_TREE_HANDLE, "txlog/tree/handle", MEMORY) \
    X(TX_CURSOR_HANDLE, "txlog/cursor/handle", MEMORY) \
    X(TX_VALUE_SOURCE, "txlog/value/source", MEMORY) \
    X(TX_VALUE_INDEX, "txlog/value/index", MEMORY) \
    X(TX_VALUE_SEGMENT, "txlog/value/segment", MEMORY) \
    X(TX_VALUE_COPY, "txlog/value/copy", MEMORY) \
    X(TX_VALUE_INTENT, "txlog/value/intent", MEMORY) \
    X(TX_CATALOGUE_ENTRY, "txlog/catalogue/entry", MEMORY) \
    X(TX_CATALOGUE_ROOT, "txlog/catalogue/root", MEMORY) \
    X(TX_REV_ENTRY, "txlog/rev/entry", MEMORY) \
    X(TX_COMMIT_BATCH, "txlog/commit/batch", SPACE)

#ifdef FIU_ENABLE

#include <fiu.h>

enum quire_point {
#define QUIRE_POINT_ENUM(id, name, fails_for) QUIRE_POINT_##id,
    QUIRE_POINTS(QUIRE_POINT_ENUM)
#undef QUIRE_POINT_ENUM
    QUIRE_POINT_COUNT
};

extern const char *const quire_point_names[QUIRE_POINT_COUNT];

/* `call`, or `failed` in its place. */
#define QUIRE_POINT(id, failed, call) \
    (fiu_fail(quire_point_names[QUIRE_POINT_##id]) != 0 ? (failed) : (call))

#else
#define QUIRE_POINT(id, failed, call) (call)
#endif

/* The same where a status tells of failures, and the detail has the reason. */
#define QUIRE_POINT_RC(id, status, call) \
    QUIRE_POINT(id, ra_fail(status, "failure point " #id), call)

#endif /* QUIRE_ALLOC_POINT_H */
