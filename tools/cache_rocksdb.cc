/*
 * cache_rocksdb.cc - RocksDB's caches under `quire bench cache`.
 *
 * They have no C interface of their own, so this is C++, and a library apart,
 * made where the headers are and loaded when it is measured: the program itself
 * needs neither. Keys are of 16 bytes, as HyperClockCache demands, values null;
 * metadata isn't charged, so that as many entries fit as in the others.
 */
#include <rocksdb/cache.h>

#include <cstring>
#include <memory>

#include "tools/bench_cache.h"

namespace
{

struct Handle {
    std::shared_ptr<rocksdb::Cache> cache;
    uint64_t (*charge)(uint32_t key);
};

void deleter(const rocksdb::Slice &, void *)
{
}

void *open_hyperclock(const struct bench_cache_setup *s)
{
    rocksdb::HyperClockCacheOptions opt(s->capacity_bytes, s->mean_bytes, -1,
                                        false, nullptr,
                                        rocksdb::kDontChargeCacheMetadata);

    return new Handle{ opt.MakeSharedCache(), s->charge };
}

void *open_lru(const struct bench_cache_setup *s)
{
    rocksdb::LRUCacheOptions opt;

    opt.capacity = s->capacity_bytes;
    opt.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata;
    return new Handle{ rocksdb::NewLRUCache(opt), s->charge };
}

void close(void *cache)
{
    delete static_cast<Handle *>(cache);
}

uint64_t run(void *cache, const uint32_t *keys, size_t n)
{
    Handle *h = static_cast<Handle *>(cache);
    rocksdb::Cache *c = h->cache.get();
    uint64_t misses = 0;
    char text[16] = { 0 };

    for (size_t i = 0; i < n; i++) {
        /* well spread, as a block's key is */
        uint64_t mixed = keys[i] * UINT64_C(0x9E3779B97F4A7C15);

        std::memcpy(text, &mixed, sizeof(mixed));
        std::memcpy(text + sizeof(mixed), &keys[i], sizeof(keys[i]));
        rocksdb::Slice key(text, sizeof(text));
        rocksdb::Cache::Handle *found = c->Lookup(key);

        if (found != nullptr) {
            c->Release(found);
            continue;
        }
        misses++;
        if (!c->Insert(key, nullptr, h->charge(keys[i]), deleter).ok())
            return BENCH_MISSES_FAILED;
    }
    return misses;
}

const struct bench_cache_engine hyperclock = { "hyperclock", open_hyperclock,
                                               close, run, 0 };
const struct bench_cache_engine lru = { "lru", open_lru, close, run,
                                        0 };

} // namespace

extern "C" __attribute__((visibility("default")))
const struct bench_cache_peers bench_cache_peers;
const struct bench_cache_peers bench_cache_peers = { &hyperclock, &lru };
