/*
 * engine_rocksdb.c - RocksDB under `quire bench store`, by its C interface.
 *
 * LZ4, Bloom filters of 10 bits a key, blocks of 4 KiB with a hash index,
 * dynamic level sizes, two background jobs, write buffers of 64 MiB (less
 * under a memory limit), the log always on: un-synced commits survive the
 * process. Gets are pinned, without a copy. jemalloc in the place of malloc().
 * Before it is read everything is merged into one level. Under a memory limit
 * indexes and filters live in the cache as well, in partitions.
 */
#include "tools/bench_engine.h"

#if __has_include(<rocksdb/c.h>)

#include <rocksdb/c.h>
#include <stdlib.h>

#include "tools/tool.h"

#define FUNCTIONS(X) \
    X(batched_multi_get_cf) \
    X(block_based_options_create) \
    X(block_based_options_destroy) \
    X(block_based_options_set_block_cache) \
    X(block_based_options_set_cache_index_and_filter_blocks) \
    X(block_based_options_set_data_block_hash_ratio) \
    X(block_based_options_set_data_block_index_type) \
    X(block_based_options_set_filter_policy) \
    X(block_based_options_set_format_version) \
    X(block_based_options_set_index_type) \
    X(block_based_options_set_partition_filters) \
    X(block_based_options_set_pin_top_level_index_and_filter) \
    X(cache_create_lru) \
    X(cache_destroy) \
    X(close) \
    X(column_family_handle_destroy) \
    X(compact_range) \
    X(create_iterator) \
    X(create_snapshot) \
    X(filterpolicy_create_bloom_full) \
    X(flush) \
    X(flush_wal) \
    X(flushoptions_create) \
    X(flushoptions_destroy) \
    X(free) \
    X(get_pinned) \
    X(iter_destroy) \
    X(iter_get_error) \
    X(iter_key) \
    X(iter_next) \
    X(iter_prev) \
    X(iter_seek) \
    X(iter_seek_to_first) \
    X(iter_seek_to_last) \
    X(iter_valid) \
    X(iter_value) \
    X(open_column_families) \
    X(options_create) \
    X(options_destroy) \
    X(options_set_block_based_table_factory) \
    X(options_set_compression) \
    X(options_set_create_if_missing) \
    X(options_set_info_log_level) \
    X(options_set_level_compaction_dynamic_level_bytes) \
    X(options_set_max_background_jobs) \
    X(options_set_max_open_files) \
    X(options_set_write_buffer_size) \
    X(pinnableslice_destroy) \
    X(pinnableslice_value) \
    X(readoptions_create) \
    X(readoptions_destroy) \
    X(readoptions_set_snapshot) \
    X(release_snapshot) \
    X(write) \
    X(writebatch_clear) \
    X(writebatch_create) \
    X(writebatch_destroy) \
    X(writebatch_put) \
    X(writeoptions_create) \
    X(writeoptions_destroy) \
    X(writeoptions_set_sync)

#define DECLARE(name) __typeof__(rocksdb_##name) *name;
static struct {
    FUNCTIONS(DECLARE)
} lib;

struct db {
    rocksdb_t *rocks;
    rocksdb_cache_t *cache;
    rocksdb_column_family_handle_t *family;
    bool durable;
};

struct thread {
    struct db *db;
    rocksdb_readoptions_t *ro;
    rocksdb_writeoptions_t *wo;
    rocksdb_writebatch_t *batch;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_pinnableslice_t *held[BENCH_MANY_MAX]; /* until the next call */
    size_t nheld;
};

static int failed(const char *what, char *err)
{
    say("rocksdb: %s: %s", what, err);
    lib.free(err);
    return -1;
}

static int bind(void *so)
{
    int rc = 0;

#define BIND(name) rc |= engine_symbol(so, "rocksdb_" #name, &lib.name);
    FUNCTIONS(BIND)
    return rc;
}

static int open_db(const struct bench_setup *s, void **to)
{
    struct db *db = calloc(1, sizeof(*db));
    rocksdb_block_based_table_options_t *table;
    const char *family = "default";
    rocksdb_options_t *opt;
    uint64_t buffer = (uint64_t)64 << 20;
    uint64_t cache = s->memory;
    char *err = NULL;

    if (db == NULL) {
        say("rocksdb: no memory");
        return -1;
    }
    if (s->limit != 0) {
        cache = s->limit / 10 * 3; /* larger shares are killed */
        buffer = s->limit / 16;
    }
    opt = lib.options_create();
    table = lib.block_based_options_create();
    db->cache = lib.cache_create_lru(cache);
    lib.block_based_options_set_block_cache(table, db->cache);
    lib.block_based_options_set_filter_policy(
        table, lib.filterpolicy_create_bloom_full(10));
    lib.block_based_options_set_format_version(table, 5);
    lib.block_based_options_set_data_block_index_type(
        table,
        rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    lib.block_based_options_set_data_block_hash_ratio(table, 0.75);
    if (s->limit != 0) {
        lib.block_based_options_set_cache_index_and_filter_blocks(table, 1);
        lib.block_based_options_set_index_type(
            table, rocksdb_block_based_table_index_type_two_level_index_search);
        lib.block_based_options_set_partition_filters(table, 1);
        lib.block_based_options_set_pin_top_level_index_and_filter(table, 1);
    }
    lib.options_set_block_based_table_factory(opt, table);
    lib.options_set_create_if_missing(opt, 1);
    lib.options_set_compression(opt, rocksdb_lz4_compression);
    lib.options_set_info_log_level(opt, 3);
    lib.options_set_level_compaction_dynamic_level_bytes(opt, 1);
    lib.options_set_max_background_jobs(opt, 2);
    lib.options_set_max_open_files(opt, -1);
    lib.options_set_write_buffer_size(opt, buffer);
    /* the long way to a handle of the default family, for get_many */
    db->rocks = lib.open_column_families(opt, s->dir, 1, &family,
                                         (const rocksdb_options_t *const *)&opt,
                                         &db->family, &err);
    lib.block_based_options_destroy(table);
    lib.options_destroy(opt);
    if (err != NULL) {
        lib.cache_destroy(db->cache);
        free(db);
        return failed("open", err);
    }
    db->durable = s->durable;
    *to = db;
    return 0;
}

static void close_db(void *arg)
{
    struct db *db = arg;

    lib.column_family_handle_destroy(db->family);
    lib.close(db->rocks);
    lib.cache_destroy(db->cache);
    free(db);
}

static int settle(void *arg, bool tidy)
{
    struct db *db = arg;
    rocksdb_flushoptions_t *fo;
    char *err = NULL;

    lib.flush_wal(db->rocks, 1, &err);
    if (err == NULL && tidy) {
        fo = lib.flushoptions_create();
        lib.flush(db->rocks, fo, &err);
        lib.flushoptions_destroy(fo);
        if (err == NULL)
            lib.compact_range(db->rocks, NULL, 0, NULL, 0);
    }
    return err == NULL ? 0 : failed("sync", err);
}

static int thread_open(void *arg, void **to)
{
    struct thread *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        say("rocksdb: no memory");
        return -1;
    }
    t->db = arg;
    t->ro = lib.readoptions_create();
    t->wo = lib.writeoptions_create();
    t->batch = lib.writebatch_create();
    lib.writeoptions_set_sync(t->wo, t->db->durable);
    *to = t;
    return 0;
}

static void drop_held(struct thread *t)
{
    while (t->nheld > 0) {
        if (t->held[--t->nheld] != NULL)
            lib.pinnableslice_destroy(t->held[t->nheld]);
    }
}

static void read_end(void *arg)
{
    struct thread *t = arg;

    drop_held(t);
    lib.readoptions_set_snapshot(t->ro, NULL);
    if (t->snapshot != NULL)
        lib.release_snapshot(t->db->rocks, t->snapshot);
    t->snapshot = NULL;
}

static void thread_close(void *arg)
{
    struct thread *t = arg;

    read_end(t);
    lib.writebatch_destroy(t->batch);
    lib.writeoptions_destroy(t->wo);
    lib.readoptions_destroy(t->ro);
    free(t);
}

static int read_begin(void *arg)
{
    struct thread *t = arg;

    t->snapshot = lib.create_snapshot(t->db->rocks);
    lib.readoptions_set_snapshot(t->ro, t->snapshot);
    return 0;
}

static int get(void *arg, const struct quire_val *key, struct quire_val *val)
{
    struct thread *t = arg;
    char *err = NULL;

    drop_held(t);
    t->held[0] = lib.get_pinned(t->db->rocks, t->ro, key->data, key->size,
                                &err);
    if (err != NULL)
        return failed("get", err);
    if (t->held[0] == NULL) {
        say("rocksdb: get: a record is not there");
        return -1;
    }
    t->nheld = 1;
    val->data = lib.pinnableslice_value(t->held[0], &val->size);
    return 0;
}

static int get_many(void *arg, size_t n, const struct quire_val *keys,
                    struct quire_val *vals)
{
    struct thread *t = arg;
    const char *data[BENCH_MANY_MAX];
    size_t len[BENCH_MANY_MAX];
    char *errs[BENCH_MANY_MAX];

    drop_held(t);
    for (size_t i = 0; i < n; i++) {
        data[i] = keys[i].data;
        len[i] = keys[i].size;
        errs[i] = NULL;
        t->held[i] = NULL;
    }
    lib.batched_multi_get_cf(t->db->rocks, t->ro, t->db->family, n, data, len,
                             t->held, errs, false);
    t->nheld = n;
    for (size_t i = 0; i < n; i++) {
        if (errs[i] != NULL)
            return failed("multi-get", errs[i]);
        if (t->held[i] == NULL) {
            say("rocksdb: multi-get: a record is not there");
            return -1;
        }
        vals[i].data = lib.pinnableslice_value(t->held[i], &vals[i].size);
    }
    return 0;
}

static int scan(void *arg, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check)
{
    struct thread *t = arg;
    rocksdb_iterator_t *it = lib.create_iterator(t->db->rocks, t->ro);
    char *err = NULL;

    if (from != NULL)
        lib.iter_seek(it, from->data, from->size);
    else if (reverse)
        lib.iter_seek_to_last(it);
    else
        lib.iter_seek_to_first(it);
    for (; n > 0 && lib.iter_valid(it); n--) {
        size_t key_len;
        size_t len;
        const char *key = lib.iter_key(it, &key_len);
        const char *value = lib.iter_value(it, &len);

        bench_check_record(check, key, key_len, value, len);
        if (n > 1) {
            if (reverse)
                lib.iter_prev(it);
            else
                lib.iter_next(it);
        }
    }
    lib.iter_get_error(it, &err);
    lib.iter_destroy(it);
    return err == NULL ? 0 : failed("scan", err);
}

static int write_begin(void *arg)
{
    lib.writebatch_clear(((struct thread *)arg)->batch);
    return 0;
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    (void)append;
    lib.writebatch_put(((struct thread *)arg)->batch, key->data, key->size,
                       val->data, val->size);
    return 0;
}

static int commit(void *arg)
{
    struct thread *t = arg;
    char *err = NULL;

    lib.write(t->db->rocks, t->wo, t->batch, &err);
    return err == NULL ? 0 : failed("write", err);
}

const struct bench_engine engine_rocksdb = {
    .name = "rocksdb",
    .library = "librocksdb.so",
    .preload = "libjemalloc.so.2",
    .bind = bind,
    .open = open_db,
    .close = close_db,
    .settle = settle,
    .thread_open = thread_open,
    .thread_close = thread_close,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .get_many = get_many,
    .scan = scan,
    .write_begin = write_begin,
    .put = put,
    .commit = commit,
};

#else /* built without its header */

const struct bench_engine engine_rocksdb = { .name = "rocksdb" };

#endif
