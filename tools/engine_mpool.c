/*
 * engine_mpool.c - Berkeley DB's memory pool under `quire bench cache`.
 *
 * A pool of pages of 4 KiB of a temporary file: whatever an entry is charged
 * with elsewhere, so that 100,000 fit into memory. What was evicted is read again
 * from the file, which the kernel has cached; the pool does not say when.
 */
#include "tools/bench_cache.h"

#if __has_include(<db.h>)

#include <db.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u

struct mpool {
    DB_ENV *env;
    DB_MPOOLFILE *file;
};

static void mpool_close(void *cache)
{
    struct mpool *m = cache;

    if (m->file != NULL)
        (void)m->file->close(m->file, 0);
    if (m->env != NULL)
        (void)m->env->close(m->env, 0);
    free(m);
}

static void *mpool_open(const struct bench_cache_setup *s)
{
    void *lib = dlopen("libdb-5.3.so", RTLD_NOW | RTLD_LOCAL);
    uint64_t bytes = s->entries * PAGE_BYTES;
    int (*env_create)(DB_ENV * *env, u_int32_t flags);
    struct mpool *m = NULL;
    void *sym;

    /* Berkeley DB adds a quarter of its own to less than 500 MB. */
    if (bytes < 500000000)
        bytes = bytes / 100 * 85;
    if (lib == NULL || (sym = dlsym(lib, "db_env_create")) == NULL)
        return NULL;
    memcpy(&env_create, &sym, sizeof(sym));
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    if (env_create(&m->env, 0) != 0) {
        m->env = NULL;
        goto failed;
    }
    if (m->env->set_cachesize(m->env, (u_int32_t)(bytes >> 30),
                              (u_int32_t)(bytes & ((1u << 30) - 1)), 1) != 0 ||
        m->env->open(m->env, NULL,
                     DB_CREATE | DB_INIT_MPOOL | DB_PRIVATE | DB_THREAD,
                     0) != 0 ||
        m->env->memp_fcreate(m->env, &m->file, 0) != 0 ||
        m->file->open(m->file, NULL, DB_CREATE, 0, PAGE_BYTES) != 0)
        goto failed;
    return m;

failed:
    mpool_close(m);
    return NULL;
}

static uint64_t mpool_run(void *cache, const uint32_t *keys, size_t n)
{
    struct mpool *m = cache;

    for (size_t i = 0; i < n; i++) {
        db_pgno_t page = keys[i];
        void *at;
        int rc = m->file->get(m->file, &page, NULL, 0, &at);

        if (rc == DB_PAGE_NOTFOUND)
            rc = m->file->get(m->file, &page, NULL, DB_MPOOL_CREATE, &at);
        if (rc != 0 || m->file->put(m->file, at, DB_PRIORITY_UNCHANGED, 0) != 0)
            return BENCH_MISSES_FAILED;
    }
    return 0;
}

const struct bench_cache_engine cache_engine_mpool = { "mpool", mpool_open,
                                                       mpool_close, mpool_run,
                                                       1 };

#else

const struct bench_cache_engine cache_engine_mpool = { "mpool", NULL, NULL,
                                                       NULL, 1 };

#endif
