/*
 * bench_data.c - the records of `quire bench store`.
 *
 * The table of keys is made once, in memory without a name, and mapped by
 * every measuring process: it costs each of them nothing of its own, so that
 * it does not count against a limit under which a store is measured.
 *
 *     | struct header | off u32[n + 1] | order u32[n] | keys |
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench_data.h"
#include "tools/input.h"
#include "tools/tool.h"

#define WORDS 4096 /* of which text is made */
#define THETA 0.99 /* of Zipf's law, as YCSB has it */

struct header {
    uint64_t n;
    uint64_t key_bytes;
    uint32_t value_bytes;
    uint32_t values;
};

/* ---- the table ---- */

/* A key while the table is being made. */
struct raw_key {
    const unsigned char *data;
    size_t len;
};

static int by_key(const void *a, const void *b)
{
    const struct raw_key *x = a;
    const struct raw_key *y = b;
    int c = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);

    if (c != 0)
        return c;
    return (x->len > y->len) - (x->len < y->len);
}

/* All bytes of the file `name`, decompressed. */
static int read_all(const char *name, struct bytes *to)
{
    struct input *in = NULL;
    ssize_t got;
    int rc = -1;

    if (input_open(name, (uint64_t)8 << 20, &in) != 0)
        return -1;
    do {
        if (bytes_reserve(to, INPUT_CHUNK) != 0)
            goto out;
        got = input_read(in, to->data + to->len, INPUT_CHUNK);
        if (got < 0)
            goto out;
        to->len += (size_t)got;
    } while (got != INPUT_END);
    rc = 0;
out:
    input_close(in);
    return rc;
}

/* Digits of a counter, or of random numbers, one key behind the other. */
static int make_digits(bool sparse, uint64_t n, struct bytes *to)
{
    uint64_t rand = 20;
    char digits[24];

    if (bytes_reserve(to, n * 16) != 0)
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t v = sparse ? bench_rand(&rand) % UINT64_C(10000000000000000)
                            : i;

        snprintf(digits, sizeof(digits), "%016llu", (unsigned long long)v);
        memcpy(to->data + to->len, digits, 16);
        to->len += 16;
    }
    return 0;
}

/* Where the keys are in `text`: every 16 bytes, or what a line has before its
 * first tab. At most `n`; what is no key is left out. */
static int find_keys(const struct bytes *text, bool lines, uint64_t n,
                     struct raw_key **keys, size_t *count)
{
    const unsigned char *end = text->data + text->len;
    struct raw_key *list;
    size_t cap = text->len / 16;
    size_t used = 0;

    if (lines) {
        cap = 1;
        for (size_t i = 0; i < text->len; i++)
            cap += text->data[i] == '\n';
    }
    list = malloc((cap + 1) * sizeof(*list));
    if (list == NULL) {
        say("no memory for %llu keys", (unsigned long long)cap);
        return -1;
    }
    for (const unsigned char *at = text->data; at < end && used < cap;) {
        const unsigned char *stop = at + 16;
        size_t len = 16;

        if (lines) {
            const unsigned char *tab;

            stop = memchr(at, '\n', (size_t)(end - at));
            if (stop == NULL)
                stop = end;
            tab = memchr(at, '\t', (size_t)(stop - at));
            len = (size_t)((tab != NULL ? tab : stop) - at);
        }
        if (len > 0 && len <= BENCH_KEY_MAX && (n == 0 || used < n))
            list[used++] = (struct raw_key){ at, len };
        at = lines ? stop + 1 : stop;
    }
    *keys = list;
    *count = used;
    return 0;
}

/* Sort, and keep one of each. */
static size_t sort_unique(struct raw_key *keys, size_t n)
{
    size_t used = 0;

    qsort(keys, n, sizeof(*keys), by_key);
    for (size_t i = 0; i < n; i++) {
        if (used == 0 || by_key(&keys[used - 1], &keys[i]) != 0)
            keys[used++] = keys[i];
    }
    return used;
}

/* Numbers below n in random order. */
static void shuffle(uint32_t *order, uint64_t n)
{
    uint64_t rand = 7;

    for (uint64_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = bench_rand(&rand) % i;
        uint32_t swap = order[i - 1];

        order[i - 1] = order[j];
        order[j] = swap;
    }
}

static int write_table(const struct raw_key *keys, size_t n,
                       enum bench_values values, uint32_t value_bytes,
                       struct bench_data *d)
{
    struct header h = { .n = n,
                        .value_bytes = value_bytes,
                        .values = (uint32_t)values };
    unsigned char *map;
    uint32_t *off;
    size_t bytes;
    int fd;

    for (size_t i = 0; i < n; i++)
        h.key_bytes += keys[i].len;
    if (n == 0 || n >= UINT32_MAX || h.key_bytes > UINT32_MAX) {
        say(n == 0 ? "there are no keys" : "there are too many keys");
        return -1;
    }
    bytes = sizeof(h) + (2 * n + 1) * sizeof(uint32_t) + h.key_bytes;
    fd = memfd_create("quire-bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        say("the table of keys: %m");
        goto fail;
    }
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        say("the table of keys: %m");
        goto fail;
    }
    memcpy(map, &h, sizeof(h));
    off = (uint32_t *)(void *)(map + sizeof(h));
    shuffle(off + n + 1, n);
    off[0] = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy((unsigned char *)(off + 2 * n + 1) + off[i], keys[i].data,
               keys[i].len);
        off[i + 1] = off[i] + (uint32_t)keys[i].len;
    }
    munmap(map, bytes);
    if (bench_data_map(fd, d) == 0)
        return 0;
fail:
    if (fd >= 0)
        close(fd);
    return -1;
}

int bench_data_make(const char *keys, uint64_t n, enum bench_values values,
                    uint32_t value_bytes, struct bench_data *d)
{
    bool dense = strcmp(keys, "dense") == 0;
    bool sparse = strcmp(keys, "sparse") == 0;
    struct bytes text = { 0 };
    struct raw_key *list = NULL;
    size_t count;
    int rc = -1;

    if (dense || sparse ? make_digits(sparse, n, &text) != 0
                        : read_all(keys, &text) != 0)
        goto out;
    if (find_keys(&text, !dense && !sparse, n, &list, &count) != 0)
        goto out;
    rc = write_table(list, sort_unique(list, count), values, value_bytes, d);
out:
    free(list);
    bytes_free(&text);
    return rc;
}

int bench_data_map(int fd, struct bench_data *d)
{
    const struct header *h;
    struct stat st;
    void *map;

    if (fstat(fd, &st) != 0 || (size_t)st.st_size < sizeof(*h)) {
        say("the table of keys can't be used");
        return -1;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        say("the table of keys: %m");
        return -1;
    }
    h = map;
    d->n = h->n;
    d->value_bytes = h->value_bytes;
    d->values = (enum bench_values)h->values;
    d->raw_bytes = h->key_bytes + h->n * h->value_bytes;
    d->off = (const uint32_t *)(const void *)(h + 1);
    d->order = d->off + h->n + 1;
    d->keys = (const unsigned char *)(d->order + h->n);
    d->map = map;
    d->map_bytes = (size_t)st.st_size;
    d->fd = fd;
    return 0;
}

void bench_data_close(struct bench_data *d)
{
    if (d->map == NULL)
        return;
    munmap(d->map, d->map_bytes);
    close(d->fd);
    d->map = NULL;
}

/* ---- values ---- */

/* The k-th word of a language that has WORDS of them, 2 to 9 letters. */
static size_t put_word(uint64_t k, unsigned char *to, size_t cap)
{
    static const char soft[] = "aeiou";
    static const char hard[] = "bcdfghklmnprstvz";
    uint64_t bits = bench_mix(k + 1);
    size_t len = 2 + bits % 8;

    if (len > cap)
        len = cap;
    for (size_t i = 0; i < len; i++) {
        bits = bits >> 6 | bits << 58;
        to[i] = (unsigned char)(i % 2 == 0 ? hard[bits % 16] : soft[bits % 5]);
    }
    return len;
}

void bench_value(const struct bench_data *d, uint64_t number, uint32_t version,
                 unsigned char *value)
{
    uint64_t proof = bench_proof(number, version);
    uint64_t rand = proof;
    size_t end = d->value_bytes - 4;
    size_t at = 12;

    memcpy(value, &proof, 8);
    memcpy(value + 8, &version, 4);
    if (d->values == BENCH_TEXT) {
        while (at < end) {
            uint64_t r = bench_rand(&rand);

            /* the product of two even draws: the first words often */
            at += put_word((r & 0xffffffff) * (r >> 32 & (WORDS - 1)) >> 32,
                           value + at, end - at);
            if (at < end)
                value[at++] = ' ';
        }
    } else {
        size_t half = d->value_bytes / 2;

        for (; at < half; at += 8) {
            uint64_t r = bench_rand(&rand);

            memcpy(value + at, &r, half - at < 8 ? half - at : 8);
        }
        /* what the first half has behind its head, once more */
        for (at = half > 12 ? half : 12; at < end; at++)
            value[at] = half > 12 ? value[12 + (at - half) % (half - 12)] : 0;
    }
    memcpy(value + end, &proof, 4);
}

bool bench_value_equals(const struct bench_data *d, uint64_t number,
                        const void *value, size_t len)
{
    unsigned char want[BENCH_VALUE_MAX];
    uint32_t version;

    if (!bench_value_fits(d, number, value, len))
        return false;
    memcpy(&version, (const unsigned char *)value + 8, 4);
    bench_value(d, number, version, want);
    return memcmp(want, value, len) == 0;
}

/* ---- Zipf's law, by Gray et al.'s method as in YCSB ---- */

void bench_zipf_init(struct bench_zipf *z, uint64_t n)
{
    double zeta2 = 1 + pow(0.5, THETA);

    z->n = n;
    z->zetan = 0;
    for (uint64_t i = 1; i <= n; i++)
        z->zetan += pow(1.0 / (double)i, THETA);
    z->alpha = 1 / (1 - THETA);
    z->half = zeta2;
    z->eta = (1 - pow(2.0 / (double)n, 1 - THETA)) / (1 - zeta2 / z->zetan);
}

uint64_t bench_zipf_next(const struct bench_zipf *z, uint64_t *rand)
{
    double u = (double)(bench_rand(rand) >> 11) * 0x1p-53;
    double uz = u * z->zetan;
    uint64_t k = 0;

    if (uz >= z->half)
        k = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
    else if (uz >= 1)
        k = 1;
    /* scattered: what is asked for often lies anywhere */
    return bench_mix(k + 1) % z->n;
}
