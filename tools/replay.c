/*
 * replay.c - `quire replay`: what a cache of some size would have hit.
 *
 * The trace is read once and kept: its footprint is needed before sizes in
 * percent mean anything, and several sizes are replayed. Keys become numbers
 * by first appearance, and an object's size is the one it had then. Each
 * replay is a real cache whose payloads are empty and whose weights are the
 * trace's sizes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/input.h"
#include "tools/tool.h"

#define REPLAY_SIZES 64u                    /* sizes in one call, at most */
#define REPLAY_WINDOW ((uint64_t)128 << 20) /* bytes, of zstd */

struct trace {
    uint64_t *keys;  /* by object */
    uint32_t *sizes; /* by object; at first appearance */
    uint32_t nobjects;
    uint32_t objects_cap;
    uint32_t *requests; /* object of each */
    uint64_t nrequests;
    uint64_t requests_cap;
    uint32_t *index;    /* object + 1 by key, 0 empty; linear probing */
    uint32_t mask;      /* its slots - 1, a power of two - 1 */
    uint64_t footprint; /* sum of sizes */
    uint64_t nbytes;    /* sum of sizes over requests */
};

struct replay_size {
    double fraction;   /* of the footprint */
    uint64_t capacity; /* in the unit of the trace's sizes */
};

static int no_memory(const char *what)
{
    say("%s: the system has no memory for it", what);
    return -1;
}

static void trace_free(struct trace *t)
{
    free(t->keys);
    free(t->sizes);
    free(t->requests);
    free(t->index);
}

/* ---- reading ---- */

static uint32_t *trace_slot(const struct trace *t, uint64_t key)
{
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(h >> 32) & t->mask;

    while (t->index[i] != 0 && t->keys[t->index[i] - 1] != key)
        i = (i + 1) & t->mask;
    return &t->index[i];
}

/* Room for one more object: twice as many, and an index of twice that. */
static int trace_grow(struct trace *t)
{
    uint32_t cap = t->objects_cap == 0 ? 4096 : 2 * t->objects_cap;
    uint64_t *keys = realloc(t->keys, cap * sizeof(*keys));
    uint32_t *sizes;

    if (keys == NULL)
        return no_memory("trace");
    t->keys = keys;
    sizes = realloc(t->sizes, cap * sizeof(*sizes));
    if (sizes == NULL)
        return no_memory("trace");
    t->sizes = sizes;
    free(t->index);
    t->index = calloc(2 * (size_t)cap, sizeof(*t->index));
    if (t->index == NULL)
        return no_memory("trace");
    t->mask = 2 * cap - 1;
    t->objects_cap = cap;
    for (uint32_t i = 0; i < t->nobjects; i++)
        *trace_slot(t, t->keys[i]) = i + 1;
    return 0;
}

static int trace_add(struct trace *t, uint64_t key, uint32_t size)
{
    uint32_t *slot;

    if (t->nobjects == t->objects_cap && trace_grow(t) != 0)
        return -1;
    if (t->nrequests == t->requests_cap) {
        uint64_t cap = t->requests_cap == 0 ? 65536 : 2 * t->requests_cap;
        uint32_t *requests = realloc(t->requests, cap * sizeof(*requests));

        if (requests == NULL)
            return no_memory("trace");
        t->requests = requests;
        t->requests_cap = cap;
    }
    slot = trace_slot(t, key);
    if (*slot == 0) {
        t->keys[t->nobjects] = key;
        t->sizes[t->nobjects] = size;
        t->footprint += size;
        *slot = ++t->nobjects;
    }
    t->requests[t->nrequests++] = *slot - 1;
    t->nbytes += t->sizes[*slot - 1];
    return 0;
}

/* A number at *p, which is moved on; false: there is none. */
static bool trace_number(const char **p, uint64_t *number)
{
    const char *from = *p;

    *number = 0;
    while (**p >= '0' && **p <= '9') {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(**p - '0'), number))
            return false;
        ++*p;
    }
    return *p > from;
}

/* One line, `KEY SIZE`, ended by 0. An empty one is none. */
static int trace_line(struct trace *t, const char *name, uint64_t line,
                      const char *text)
{
    const char *p = text;
    uint64_t key;
    uint64_t size = 1;

    if (*p == '\0')
        return 0;
    if (!trace_number(&p, &key))
        goto bad;
    p += strspn(p, " \t");
    if (*p != '\0' && (!trace_number(&p, &size) || *p != '\0'))
        goto bad;
    if (size == 0 || size > UINT32_MAX) {
        say("%s: line %" PRIu64 ": the size must be in 1 .. 2^32-1", name,
            line);
        return -1;
    }
    return trace_add(t, key, (uint32_t)size);

bad:
    say("%s: line %" PRIu64 ": expected `KEY SIZE`, two decimal numbers", name,
        line);
    return -1;
}

static int trace_read(struct trace *t, const char *name)
{
    struct input *in = NULL;
    char *buf = NULL;
    size_t len = 0;
    uint64_t line = 1;
    int rc = -1;

    if (input_open(name, REPLAY_WINDOW, &in) != 0)
        return -1;
    buf = malloc(INPUT_CHUNK + 1);
    if (buf == NULL) {
        no_memory("buffer");
        goto out;
    }
    for (;;) {
        char *at = buf;
        char *eol;
        ssize_t n = input_read(in, buf + len, INPUT_CHUNK - len);

        if (n < 0)
            goto out;
        len += (size_t)n;
        if (n == 0 && len > 0)
            buf[len++] = '\n'; /* the last line may lack it */
        while ((eol = memchr(at, '\n', len - (size_t)(at - buf))) != NULL) {
            if (eol > at && eol[-1] == '\r')
                eol[-1] = '\0';
            *eol = '\0';
            if (trace_line(t, name, line++, at) != 0)
                goto out;
            at = eol + 1;
        }
        len -= (size_t)(at - buf);
        memmove(buf, at, len);
        if (n == 0)
            break;
        if (len == INPUT_CHUNK) {
            say("%s: line %" PRIu64 " is longer than any `KEY SIZE`", name,
                line);
            goto out;
        }
    }
    if (t->nrequests == 0) {
        say("%s: there is no request in it", name);
        goto out;
    }
    rc = 0;

out:
    free(buf);
    input_close(in);
    return rc;
}

/* ---- replaying ---- */

/* Objects have no bytes; any pointer but NULL will do. */
static char replay_payload;

static quire_status replay_load(void *ctx, uint64_t key, void *arg,
                                struct quire_page *page)
{
    const struct trace *t = ctx;

    *(bool *)arg = true; /* a miss */
    page->payload = &replay_payload;
    page->weight_bytes = t->sizes[key];
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

static void replay_removed(void *ctx, uint64_t key,
                           const struct quire_page *page, quire_cause cause)
{
    (void)ctx;
    (void)key;
    (void)page;
    (void)cause;
}

struct replay_result {
    uint64_t hits;
    uint64_t hit_bytes;
};

static quire_status replay_requests(const struct trace *t,
                                    struct quire_cache *cache,
                                    uint64_t capacity,
                                    struct replay_result *result)
{
    for (uint64_t i = 0; i < t->nrequests; i++) {
        uint32_t object = t->requests[i];
        bool missed = false;
        struct quire_pin pin;
        quire_status rc;

        if (t->sizes[object] > capacity)
            continue; /* bypasses the cache */
        rc = quire_cache_pin(cache, object, NULL, &missed, &pin);
        if (rc != QUIRE_OK)
            return rc;
        quire_cache_unpin(cache, &pin);
        if (!missed) {
            result->hits++;
            result->hit_bytes += t->sizes[object];
        }
    }
    return QUIRE_OK;
}

/* Replay the trace through a cache of `capacity`. */
static int replay(struct trace *t, uint64_t capacity, quire_policy policy,
                  quire_objective objective, struct replay_result *result)
{
    /* One page more than fit: the one that is coming. */
    uint64_t pages = t->nobjects;
    struct quire_pool_options popt = { .size = sizeof(popt) };
    struct quire_cache_options opt = {
        .size = sizeof(opt),
        .capacity_bytes = capacity,
        .load = replay_load,
        .removed = replay_removed,
        .ctx = t,
        .objective = objective,
        .policy = policy,
        .synchronous = true,
    };
    struct quire_pool *pool = NULL;
    struct quire_cache *cache = NULL;
    quire_status rc;

    memset(result, 0, sizeof(*result));
    if (capacity == 0)
        return 0;
    if (pages > capacity)
        pages = capacity;
    opt.max_pages = (uint32_t)pages + 1;
    /* The frames and what the policy keeps, twice what they should need. */
    popt.budget_bytes = QUIRE_BUDGET_MIN + 1024 * (pages + 1);
    rc = quire_pool_create(&popt, &pool);
    if (rc == QUIRE_OK)
        rc = quire_cache_create(pool, &opt, &cache);
    if (rc == QUIRE_OK)
        rc = replay_requests(t, cache, capacity, result);
    if (rc != QUIRE_OK)
        say("replay: %s (%s)", quire_strerror(rc), quire_error_detail());
    if (quire_cache_destroy(cache) != QUIRE_OK ||
        quire_pool_destroy(pool) != QUIRE_OK) {
        say("replay: the library still held something");
        return -1;
    }
    return rc == QUIRE_OK ? 0 : -1;
}

/* ---- the command ---- */

static const char replay_help[] =
    "usage: quire replay TRACE --memory SIZE|PERCENT%[,...] [option ...]\n"
    "\n"
    "Replay a trace of requests through the page cache, with empty payloads, "
    "and\n"
    "print what part of the requests and of their bytes it would have hit. "
    "TRACE has\n"
    "a request a line, `KEY SIZE` in decimal (SIZE may be left out and is 1), "
    "plain,\n"
    ".zst or .gz, - for standard input. An object keeps the size it had first; "
    "one\n"
    "larger than the cache bypasses it. The same trace gives the same "
    "figures.\n"
    "\n"
    "  --memory LIST      cache sizes: in the trace's unit, with K, M or G, "
    "or\n"
    "                     as a percentage of all objects' sizes together; "
    "required\n"
    "  --policy NAME      adaptive (default), tinylfu, clock or greedy-dual\n"
    "  --objective NAME   requests (default) or bytes: what to hit most of\n"
    "  --json             a line of JSON for each size\n";

/* A decimal number with a fraction, e.g. 0.1; *end is behind it. */
static bool parse_decimal(const char *text, double *number, const char **end)
{
    char *stop;

    if (*text < '0' || *text > '9')
        return false;
    *number = strtod(text, &stop);
    *end = stop;
    return true;
}

/* One entry of --memory, of `len` bytes. */
static bool parse_size(const char *text, size_t len, const struct trace *t,
                       struct replay_size *size)
{
    char word[64];
    const char *end;
    double number;

    if (len == 0 || len >= sizeof(word))
        return false;
    memcpy(word, text, len);
    word[len] = '\0';
    if (!parse_decimal(word, &number, &end))
        return false;
    if (strcmp(end, "%") == 0) {
        if (!(number > 0 && number <= 100))
            return false;
        size->fraction = number / 100;
        size->capacity = (uint64_t)(size->fraction * (double)t->footprint + .5);
        return true;
    }
    if (strcmp(end, "K") == 0 || strcmp(end, "k") == 0)
        number *= 0x1p10;
    else if (strcmp(end, "M") == 0 || strcmp(end, "m") == 0)
        number *= 0x1p20;
    else if (strcmp(end, "G") == 0 || strcmp(end, "g") == 0)
        number *= 0x1p30;
    else if (*end != '\0')
        return false;
    if (!(number >= 1 && number <= 0x1p60))
        return false;
    size->capacity = (uint64_t)number;
    size->fraction = (double)size->capacity / (double)t->footprint;
    return true;
}

static int parse_sizes(const char *list, const struct trace *t,
                       struct replay_size *sizes, size_t *n)
{
    for (*n = 0;; ++*n) {
        size_t len = strcspn(list, ",");

        if (*n == REPLAY_SIZES)
            return say_usage("replay", "--memory: at most %u sizes",
                             REPLAY_SIZES);
        if (!parse_size(list, len, t, &sizes[*n]))
            return say_usage("replay",
                             "--memory %.*s: give a size, with K, M or G, or "
                             "a percentage like 0.1%%",
                             (int)len, list);
        if (list[len] == '\0') {
            ++*n;
            return -1;
        }
        list += len + 1;
    }
}

/* Which of `n` names `text` is; -1: none. */
static int parse_name(const char *text, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0)
            return (int)i;
    }
    return -1;
}

/* The trace's name: the file's without folder and endings. */
static size_t trace_name(const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');

    *name = slash != NULL ? slash + 1 : path;
    return strcspn(*name, ".");
}

static void print_json_name(const char *name, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_result(const struct trace *t, const char *path, bool json,
                         const struct replay_size *size,
                         const struct replay_result *r)
{
    double by_request = (double)r->hits / (double)t->nrequests;
    double by_byte = (double)r->hit_bytes / (double)t->nbytes;
    const char *name;
    size_t len = trace_name(path, &name);

    if (!json) {
        printf("%9.4g%% %16" PRIu64 " %9.4f %9.4f\n", size->fraction * 100,
               size->capacity, by_request, by_byte);
        return;
    }
    printf("{\"trace\": ");
    print_json_name(name, len);
    printf(", \"fraction\": %.9g, \"capacity\": %" PRIu64
           ", \"request_hit_ratio\": %.6f, \"byte_hit_ratio\": %.6f}\n",
           size->fraction, size->capacity, by_request, by_byte);
}

int cmd_replay(int argc, char **argv)
{
    /* In the order of the enums. */
    static const char *const policies[] = { "adaptive", "tinylfu", "clock",
                                            "greedy-dual" };
    static const char *const objectives[] = { "requests", "bytes" };
    const char *memory = NULL;
    const char *policy_name = policies[0];
    const char *objective_name = objectives[0];
    bool json = false;
    const struct option options[] = {
        { "--memory", OPTION_TEXT, &memory, NULL },
        { "--policy", OPTION_TEXT, &policy_name, NULL },
        { "--objective", OPTION_TEXT, &objective_name, NULL },
        { "--json", OPTION_FLAG, &json, NULL },
    };
    struct replay_size sizes[REPLAY_SIZES];
    struct trace t = { 0 };
    size_t nsizes = 0;
    int policy;
    int objective;
    int nargs;
    int status = options_read("replay", replay_help, options,
                              ARRAY_LEN(options), argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs != 1)
        return say_usage("replay", "name one trace");
    if (memory == NULL)
        return say_usage("replay", "--memory is required");
    policy = parse_name(policy_name, policies, ARRAY_LEN(policies));
    if (policy < 0)
        return say_usage("replay", "--policy %s: there is no such policy",
                         policy_name);
    objective = parse_name(objective_name, objectives, ARRAY_LEN(objectives));
    if (objective < 0)
        return say_usage("replay", "--objective %s: requests or bytes",
                         objective_name);
    status = EXIT_FAILED;
    if (trace_read(&t, argv[0]) != 0)
        goto out;
    status = parse_sizes(memory, &t, sizes, &nsizes);
    if (status >= 0)
        goto out;
    status = EXIT_FAILED;
    if (!json)
        printf("%" PRIu64 " requests, %" PRIu32 " objects, footprint %" PRIu64
               "\n%10s %16s %9s %9s\n",
               t.nrequests, t.nobjects, t.footprint, "part", "capacity",
               "requests", "bytes");
    for (size_t i = 0; i < nsizes; i++) {
        struct replay_result result;

        if (replay(&t, sizes[i].capacity, (quire_policy)policy,
                   (quire_objective)objective, &result) != 0)
            goto out;
        print_result(&t, argv[0], json, &sizes[i], &result);
    }
    status = stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;

out:
    trace_free(&t);
    return status;
}
