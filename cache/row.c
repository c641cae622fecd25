/*
 * row.c - rows: single records of pages that are not resident.
 *
 * When memory is smaller than the data, most of what a page brings along is
 * never asked for. So beside pages the cache keeps rows: what a page holds
 * under a name, a few bytes. Whoever had to load a page for one record hands
 * that over, and the next one who asks for it, the page being gone by then,
 * needs no load. A row is a fact about an image, which never changes (PC-1), so
 * that none is ever wrong, however long it stays and wherever it lies (PC-12).
 *
 * Rows lie in sets, each one segment, of the size of a page, so that what was a
 * page's becomes a set's and the reverse. A set is
 *
 *     header | ghosts u16[] | rows ->      room      <- slots
 *
 *     row    page u64 | lengths u16 u16 | room u16 | slot u16 | name | value
 *     slot   tag u16 | offset u16 | uses u8 | flags u8
 *
 * A slot is found by its tag, 16 bits of a hash of page and name; the row
 * decides. Which of the n sets a row belongs into says Lamping and Veach's jump
 * hash: when a set is added, an n-th of the rows belongs elsewhere, and those
 * that lie where they are not looked for any more are evicted as unused.
 *
 * Which row goes when a set is full is said as in S3-FIFO (Yang et al., 2023). A
 * new row is young. The young are a tenth of the rows: if there are more, the
 * oldest of them goes, unless it was found meanwhile: then it is no longer young.
 * Else one of the others goes, chosen by the set's clock: each hit counts up to
 * 3, the hand counts down. What goes leaves a ghost, its tag; a row whose tag is
 * a ghost's when it comes is not young. So what is asked for once displaces only
 * its like. Where rows are hardly found, one new row in 4 is taken, since all
 * that a row costs is in vain there. (The README has how often rows are found in
 * this way, and in others.)
 *
 * A set is added when one is full and a ghost comes back to it, or rows are found
 * well: signs that more would be found; or as long as there are few. Until a page
 * was evicted there is no row at all. Rows take a share of the pages' bytes, go when the pool is
 * pressed, and when they are not found any more.
 *
 * Traps. What is locked is a set, for moments; nothing is allocated under that
 * lock. The number of sets may change between the choice of one and its lock: a
 * look-up then finds nothing, or a row is put where nobody will look.
 */
#include "cache/pc_impl.h"

#include <xxhash.h>

#define PC_ROW_USES 3u      /* counted, at most */
#define PC_ROW_DEAD 0xffffu /* the slot of a row that was evicted */
#define PC_ROW_YOUNG 10u    /* one row of as many */
#define PC_ROW_GHOSTS 128u  /* a ghost for as many bytes of a set */
#define PC_ROW_PART 8u      /* a row is at most this part of a set */
/* Rows that are found less often than once in this many loads are not worth
 * their memory; looked at after as many times the resident pages. */
#define PC_ROW_WORTH 64u
#define PC_ROW_LOOK 4u
/* While that is not so, one in this many new rows is taken into a full set. */
#define PC_ROW_PASS 4u
/* A part of all sets that may be, which are taken without further signs. */
#define PC_ROW_FEW 8u
/* One in this many look-ups finds a row, and there were as many: another set
 * is worth its memory, before it is known who comes back. */
#define PC_ROW_EAGER 16u
#define PC_ROW_EAGER_LEAST 4u

struct pc_row {
    uint16_t page[4]; /* a u64, where 2 is the alignment */
    uint16_t name_len;
    uint16_t val_len;
    uint16_t room; /* bytes from here to the next row */
    uint16_t slot; /* its index; PC_ROW_DEAD */
    uint8_t bytes[];
};

struct pc_row_slot {
    uint16_t tag;     /* not 0 */
    uint16_t off;     /* bytes from the beginning of the set */
    uint8_t uses;     /* 0 .. PC_ROW_USES */
    bool nothing : 1; /* the page has nothing under this name */
    bool young : 1;   /* not found, or only since it came last */
};

static_assert(sizeof(struct pc_row) == 16 && _Alignof(struct pc_row) == 2,
              "rows lie at multiples of 2");
static_assert(sizeof(struct pc_row_slot) == 6, "slots are of 6 bytes");

/* All of it under the set's lock. */
struct pc_row_set {
    uint16_t n;        /* rows */
    uint16_t hand;     /* of the clock: a slot */
    uint16_t ghost;    /* the next to be overwritten */
    uint16_t young;    /* rows */
    uint32_t end;      /* bytes from the beginning: rows end here */
    uint32_t dead;     /* bytes of evicted ones among them */
    uint32_t hole;     /* the first of these, or rows before it; 0: none */
    uint32_t passed;   /* new ones that came when few were found */
    uint16_t ghosts[]; /* tags; 0: none */
};

static_assert(QUIRE_SEG_MIN / PC_ROW_GHOSTS * sizeof(uint16_t) +
                      sizeof(struct pc_row_set) <
                  QUIRE_SEG_MIN / 8,
              "the least set is for rows");

/* What is looked for. */
struct pc_row_key {
    uint64_t page;
    const struct quire_val *name;
    uint16_t tag;
};

static unsigned pc_row_nghosts(const struct pc_rows *rows)
{
    return (unsigned)(rows->set_bytes / PC_ROW_GHOSTS);
}

static uint32_t pc_row_base(const struct pc_rows *rows)
{
    return (uint32_t)(sizeof(struct pc_row_set) +
                      pc_row_nghosts(rows) * sizeof(uint16_t));
}

static struct pc_row_slot *pc_row_slot_at(const struct pc_rows *rows,
                                          struct pc_row_set *set, unsigned i)
{
    return (struct pc_row_slot *)((char *)set + rows->set_bytes) - 1 - i;
}

static struct pc_row *pc_row_at(struct pc_row_set *set, uint32_t off)
{
    return (struct pc_row *)((char *)set + off);
}

/* Lamping, Veach: A Fast, Minimal Memory, Consistent Hash Algorithm, 2014. */
static uint32_t pc_row_jump(uint64_t hash, uint32_t n)
{
    int64_t b = -1;
    int64_t j = 0;

    while (j < (int64_t)n) {
        b = j;
        hash = hash * UINT64_C(2862933555777941757) + 1;
        j = (int64_t)((double)(b + 1) *
                      (2147483648.0 / (double)((hash >> 33) + 1)));
    }
    return (uint32_t)b;
}

/* The key, and the set that it belongs into when there are `n`. */
static uint32_t pc_row_place(struct pc_row_key *key, uint64_t page,
                             const struct quire_val *name, uint32_t n)
{
    uint64_t hash = XXH3_64bits_withSeed(name->data, name->size, page);

    key->page = page;
    key->name = name;
    key->tag = (uint16_t)(hash >> 48);
    if (key->tag == 0)
        key->tag = 1;
    return pc_row_jump(hash, n);
}

static struct ra_mutex *pc_row_lock(struct pc_rows *rows, uint32_t at)
{
    struct ra_mutex *lock = &rows->locks[at % PC_ROW_LOCKS];

    ra_mutex_lock(lock);
    return lock;
}

static bool pc_row_is(const struct pc_row *row, const struct pc_row_key *key)
{
    return row->name_len == key->name->size &&
           memcmp(row->page, &key->page, sizeof(row->page)) == 0 &&
           (row->name_len == 0 ||
            memcmp(row->bytes, key->name->data, row->name_len) == 0);
}

/* The slot of `key`; NULL: it has none. */
static struct pc_row_slot *pc_row_find(const struct pc_rows *rows,
                                       struct pc_row_set *set,
                                       const struct pc_row_key *key)
{
    for (unsigned i = 0; i < set->n; i++) {
        struct pc_row_slot *s = pc_row_slot_at(rows, set, i);

        if (s->tag == key->tag && pc_row_is(pc_row_at(set, s->off), key))
            return s;
    }
    return NULL;
}

/* ---- changing a set ---- */

static void pc_row_ghost_note(const struct pc_rows *rows,
                              struct pc_row_set *set, uint16_t tag)
{
    set->ghosts[set->ghost] = tag;
    set->ghost = (uint16_t)((set->ghost + 1u) % pc_row_nghosts(rows));
}

/* Was `tag` a ghost? It is none any more. */
static bool pc_row_ghost_take(const struct pc_rows *rows,
                              struct pc_row_set *set, uint16_t tag)
{
    for (unsigned i = 0; i < pc_row_nghosts(rows); i++) {
        if (set->ghosts[i] == tag) {
            set->ghosts[i] = 0;
            return true;
        }
    }
    return false;
}

/* Move the rows together. */
static void pc_row_compact(const struct pc_rows *rows, struct pc_row_set *set)
{
    uint32_t to = set->hole != 0 ? set->hole : set->end;
    uint32_t room;

    for (uint32_t at = to; at < set->end; at += room) {
        struct pc_row *row = pc_row_at(set, at);

        room = row->room;
        if (row->slot == PC_ROW_DEAD)
            continue;
        pc_row_slot_at(rows, set, row->slot)->off = (uint16_t)to;
        if (to != at)
            memmove(pc_row_at(set, to), row, room);
        to += room;
    }
    set->end = to;
    set->dead = 0;
    set->hole = 0;
}

/* Is there room for a row of `room` bytes, and its slot? Then it is at the
 * end. */
static bool pc_row_fits(const struct pc_rows *rows, struct pc_row_set *set,
                        uint32_t room)
{
    uint32_t want = room + (uint32_t)sizeof(struct pc_row_slot);
    uint32_t left = (uint32_t)rows->set_bytes - set->end -
                    set->n * (uint32_t)sizeof(struct pc_row_slot);

    if (left >= want)
        return true;
    if (left + set->dead < want)
        return false;
    pc_row_compact(rows, set);
    return true;
}

/* The young row that came first: rows lie as they came. There is one. */
static unsigned pc_row_oldest(const struct pc_rows *rows,
                              struct pc_row_set *set)
{
    unsigned oldest = set->n;

    for (unsigned i = 0; i < set->n; i++) {
        const struct pc_row_slot *s = pc_row_slot_at(rows, set, i);

        if (s->young && (oldest == set->n ||
                         s->off < pc_row_slot_at(rows, set, oldest)->off))
            oldest = i;
    }
    return oldest;
}

/* The slot of the row that is to go; there is one. */
static unsigned pc_row_victim(const struct pc_rows *rows,
                              struct pc_row_set *set)
{
    struct pc_row_slot *s;
    unsigned at;

    QUIRE_ASSERT(set->n > 0);
    while (set->young * PC_ROW_YOUNG > set->n || set->young == set->n) {
        at = pc_row_oldest(rows, set);
        s = pc_row_slot_at(rows, set, at);
        if (s->uses == 0)
            return at;
        s->uses = 0;
        s->young = false;
        set->young--;
    }
    for (;; set->hand++) { /* at most PC_ROW_USES rounds */
        if (set->hand >= set->n)
            set->hand = 0;
        s = pc_row_slot_at(rows, set, set->hand);
        if (s->young)
            continue;
        if (s->uses == 0)
            return set->hand;
        s->uses--;
    }
}

/* Evict one; there is one. */
static void pc_row_evict(struct pc_rows *rows, struct pc_row_set *set)
{
    unsigned at = pc_row_victim(rows, set);
    struct pc_row_slot *s = pc_row_slot_at(rows, set, at);
    struct pc_row *row = pc_row_at(set, s->off);

    pc_row_ghost_note(rows, set, s->tag);
    row->slot = PC_ROW_DEAD;
    set->dead += row->room;
    if (set->hole == 0 || s->off < set->hole)
        set->hole = s->off;
    set->young = (uint16_t)(set->young - s->young);
    set->n--;
    if (at != set->n) {
        *s = *pc_row_slot_at(rows, set, set->n);
        pc_row_at(set, s->off)->slot = (uint16_t)at;
    }
    /* relaxed: a figure */
    atomic_fetch_sub_explicit(&rows->nrows, 1, memory_order_relaxed);
}

static void pc_row_append(struct pc_rows *rows, struct pc_row_set *set,
                          const struct pc_row_key *key,
                          const struct quire_val *val, uint32_t room,
                          bool young)
{
    struct pc_row_slot *s = pc_row_slot_at(rows, set, set->n);
    struct pc_row *row = pc_row_at(set, set->end);

    memcpy(row->page, &key->page, sizeof(row->page));
    row->name_len = (uint16_t)key->name->size;
    row->val_len = val != NULL ? (uint16_t)val->size : 0;
    row->room = (uint16_t)room;
    row->slot = set->n;
    if (row->name_len > 0)
        memcpy(row->bytes, key->name->data, row->name_len);
    if (row->val_len > 0)
        memcpy(row->bytes + row->name_len, val->data, row->val_len);
    s->tag = key->tag;
    s->off = (uint16_t)set->end;
    s->uses = 0;
    s->nothing = val == NULL;
    s->young = young;
    set->young = (uint16_t)(set->young + young);
    set->end += room;
    set->n++;
    /* relaxed: a figure */
    atomic_fetch_add_explicit(&rows->nrows, 1, memory_order_relaxed);
}

/* Are there so few sets that their ghosts would not tell much? */
static bool pc_row_few(const struct pc_rows *rows)
{
    /* relaxed: a figure */
    return atomic_load_explicit(&rows->n, memory_order_relaxed) <
           rows->max / PC_ROW_FEW;
}

/* Are enough of the rows that are looked for found, of late? */
static bool pc_row_found(const struct pc_rows *rows)
{
    /* relaxed, all: figures */
    uint64_t lookups = atomic_load_explicit(&rows->lookups,
                                            memory_order_relaxed) -
                       atomic_load_explicit(&rows->seen_lookups,
                                            memory_order_relaxed);
    uint64_t hits = atomic_load_explicit(&rows->hits, memory_order_relaxed) -
                    atomic_load_explicit(&rows->seen_hits,
                                         memory_order_relaxed);

    return hits >= lookups / PC_ROW_EAGER + PC_ROW_EAGER_LEAST;
}

/*
 * Take a row in that the set does not have. false: it is full, and another one
 * would be good, if there can be one (`more`).
 */
static bool pc_row_admit(struct pc_rows *rows, struct pc_row_set *set,
                         const struct pc_row_key *key,
                         const struct quire_val *val, bool more)
{
    size_t size = key->name->size + (val != NULL ? val->size : 0);
    uint32_t room = (uint32_t)ra_round_up(sizeof(struct pc_row) + size,
                                          _Alignof(struct pc_row));
    bool was = pc_row_ghost_take(rows, set, key->tag);
    bool full = !pc_row_fits(rows, set, room);
    bool good = was || !full || pc_row_found(rows);

    if (more && full && (good || pc_row_few(rows))) {
        if (was) /* it is looked for again, if this set stays its place */
            pc_row_ghost_note(rows, set, key->tag);
        return false;
    }
    if (!good && set->passed++ % PC_ROW_PASS != 0) {
        pc_row_ghost_note(rows, set, key->tag);
        return true;
    }
    while (!pc_row_fits(rows, set, room))
        pc_row_evict(rows, set);
    pc_row_append(rows, set, key, val, room, !was);
    return true;
}

/* ---- the sets ---- */

/* May there be `n` sets beside the pages that there are? */
static bool pc_row_share(const struct pc_cache *c, uint64_t n)
{
    /* relaxed: a figure */
    uint64_t pages = atomic_load_explicit(&c->charged_bytes,
                                          memory_order_relaxed);

    return n * c->rows.set_bytes <= pages / PC_ROW_SHARE_OF * PC_ROW_SHARE;
}

/* One set more, if it is to be had at once. */
static void pc_row_grow(struct pc_cache *c)
{
    struct pc_rows *rows = &c->rows;
    struct pc_row_set *set = NULL;
    struct ra_mutex *lock;
    uint32_t n;

    ra_mutex_lock(&rows->size_lock);
    /* relaxed: changes under this lock */
    n = atomic_load_explicit(&rows->n, memory_order_relaxed);
    if (n < rows->max && pc_row_share(c, n + 1))
        set = QUIRE_POINT(PC_ROW_SEGMENT, NULL,
                          ra_seg_try(c->pool, rows->set_bytes));
    if (set != NULL) {
        memset(set, 0, pc_row_base(rows));
        set->end = pc_row_base(rows);
        lock = pc_row_lock(rows, n);
        rows->sets[n] = set;
        ra_mutex_unlock(lock);
        /* relaxed: who reads it takes the set's lock */
        atomic_store_explicit(&rows->n, n + 1, memory_order_relaxed);
    }
    ra_mutex_unlock(&rows->size_lock);
}

/* The last set goes, with its rows; false: there is none. */
static bool pc_row_drop(struct pc_cache *c)
{
    struct pc_rows *rows = &c->rows;
    struct pc_row_set *set = NULL;
    struct ra_mutex *lock;
    uint32_t n;

    if (rows->max == 0)
        return false;
    ra_mutex_lock(&rows->size_lock);
    /* relaxed, both: as in pc_row_grow() */
    n = atomic_load_explicit(&rows->n, memory_order_relaxed);
    if (n > 0) {
        atomic_store_explicit(&rows->n, n - 1, memory_order_relaxed);
        lock = pc_row_lock(rows, n - 1);
        set = rows->sets[n - 1];
        rows->sets[n - 1] = NULL;
        /* relaxed: a figure */
        atomic_fetch_sub_explicit(&rows->nrows, set->n, memory_order_relaxed);
        ra_mutex_unlock(lock);
    }
    ra_mutex_unlock(&rows->size_lock);
    ra_seg_free(c->pool, set);
    return set != NULL;
}

uint64_t pc_row_give(struct pc_cache *c, uint64_t nbytes)
{
    uint64_t given = 0;

    while (given < nbytes && pc_row_drop(c))
        given += c->rows.set_bytes;
    return given;
}

/* How many sets to give back since rows are hardly found. */
static uint64_t pc_row_idle(struct pc_cache *c, uint32_t n)
{
    struct pc_rows *rows = &c->rows;
    /* relaxed, all: figures; two threads that look at once both see little, and
     * give back a part each */
    uint64_t loads = atomic_load_explicit(&c->loads, memory_order_relaxed);
    uint64_t hits = atomic_load_explicit(&rows->hits, memory_order_relaxed);
    uint64_t since = loads - atomic_load_explicit(&rows->seen_loads,
                                                  memory_order_relaxed);
    uint64_t found = hits - atomic_load_explicit(&rows->seen_hits,
                                                 memory_order_relaxed);

    if (since <
        PC_ROW_LOOK * atomic_load_explicit(&c->npages, memory_order_relaxed))
        return 0;
    atomic_store_explicit(&rows->seen_loads, loads, memory_order_relaxed);
    atomic_store_explicit(&rows->seen_hits, hits, memory_order_relaxed);
    atomic_store_explicit(
        &rows->seen_lookups,
        atomic_load_explicit(&rows->lookups, memory_order_relaxed),
        memory_order_relaxed);
    return found < since / PC_ROW_WORTH ? n / 8 + 1 : 0;
}

uint64_t pc_row_trim(struct pc_cache *c)
{
    /* relaxed: a figure */
    uint32_t n = atomic_load_explicit(&c->rows.n, memory_order_relaxed);
    uint64_t given = 0;

    if (n == 0)
        return 0;
    given = pc_row_give(c, pc_row_idle(c, n) * c->rows.set_bytes);
    n = atomic_load_explicit(&c->rows.n, memory_order_relaxed);
    for (; n > 0 && !pc_row_share(c, n) && pc_row_drop(c); n--)
        given += c->rows.set_bytes;
    return given;
}

/* ---- for neighbours ---- */

bool pc_row_get(struct pc_cache *cache, uint64_t page,
                const struct quire_val *name, uint64_t off, void *buf,
                size_t cap, uint64_t *size, bool *nothing)
{
    struct pc_rows *rows = &cache->rows;
    /* relaxed: the set's lock comes before all that is read of it */
    uint32_t n = atomic_load_explicit(&rows->n, memory_order_relaxed);
    const struct pc_row *row;
    struct pc_row_slot *s = NULL;
    struct pc_row_set *set;
    struct pc_row_key key;
    struct ra_mutex *lock;
    uint32_t at;

    QUIRE_ASSERT(!pc_read_inside());
    if (n == 0)
        return false;
    pc_count(&rows->lookups);
    at = pc_row_place(&key, page, name, n);
    lock = pc_row_lock(rows, at);
    set = rows->sets[at];
    if (set != NULL)
        s = pc_row_find(rows, set, &key);
    if (s != NULL) {
        row = pc_row_at(set, s->off);
        if (s->uses < PC_ROW_USES)
            s->uses++;
        *nothing = s->nothing;
        *size = row->val_len;
        if (off < row->val_len && cap > 0)
            memcpy(buf, row->bytes + row->name_len + off,
                   ra_min_u64(cap, row->val_len - off));
    }
    ra_mutex_unlock(lock);
    if (s != NULL)
        pc_count(&rows->hits);
    return s != NULL;
}

size_t pc_row_max(const struct pc_cache *cache)
{
    return cache->rows.set_bytes / PC_ROW_PART;
}

void pc_row_put(struct pc_cache *cache, uint64_t page,
                const struct quire_val *name, const struct quire_val *val)
{
    struct pc_rows *rows = &cache->rows;
    struct pc_row_set *set;
    struct pc_row_key key;
    struct ra_mutex *lock;
    bool more = true;
    bool done;
    uint32_t at;
    uint32_t n;

    QUIRE_ASSERT(!pc_read_inside());
    if (name->size > pc_row_max(cache) ||
        (val != NULL && val->size > pc_row_max(cache) - name->size))
        return;
    /* relaxed: as long as all has its place there is no row */
    if (rows->max == 0 ||
        atomic_load_explicit(&cache->nevicted, memory_order_relaxed) == 0)
        return;
    for (;;) {
        /* relaxed: as in pc_row_get() */
        n = atomic_load_explicit(&rows->n, memory_order_relaxed);
        done = n == 0 && !more;
        if (n > 0) {
            at = pc_row_place(&key, page, name, n);
            lock = pc_row_lock(rows, at);
            set = rows->sets[at];
            /* It may be there by now: another thread had missed it too. */
            done = set == NULL || pc_row_find(rows, set, &key) != NULL ||
                   pc_row_admit(rows, set, &key, val, more);
            ra_mutex_unlock(lock);
        }
        if (done)
            break;
        QUIRE_ASSERT(more);
        pc_row_grow(cache);
        more = false; /* the second time it is taken as things are */
    }
}

/* ---- creating, destroying, checking ---- */

quire_status pc_row_init(struct pc_cache *c, const struct pc_options *opt)
{
    struct pc_rows *rows = &c->rows;
    void *sets = NULL;
    quire_status rc;

    if (opt->row_set_bytes == 0)
        return QUIRE_OK;
    QUIRE_ASSERT(opt->row_set_bytes >= QUIRE_SEG_MIN &&
                 opt->row_set_bytes <= PC_ROW_SET_MAX);
    rows->max = (uint32_t)ra_min_u64(opt->row_bytes_max / opt->row_set_bytes,
                                     INT32_MAX);
    if (rows->max == 0)
        return QUIRE_OK;
    rc = QUIRE_POINT_RC(
        PC_CACHE_ROWS, QUIRE_NOMEM,
        ra_table_alloc(c->pool, rows->max * sizeof(void *), &sets));
    if (rc != QUIRE_OK) {
        rows->max = 0;
        return rc;
    }
    rows->set_bytes = opt->row_set_bytes;
    rows->sets = sets;
    ra_mutex_init(&rows->size_lock, RA_RANK_PC_ROWS);
    for (unsigned i = 0; i < PC_ROW_LOCKS; i++)
        ra_mutex_init(&rows->locks[i], RA_RANK_PC_ROW);
    return QUIRE_OK;
}

void pc_row_fini(struct pc_cache *c)
{
    struct pc_rows *rows = &c->rows;

    if (rows->sets == NULL)
        return;
    while (pc_row_drop(c))
        continue;
    ra_mutex_fini(&rows->size_lock);
    for (unsigned i = 0; i < PC_ROW_LOCKS; i++)
        ra_mutex_fini(&rows->locks[i]);
    ra_table_free(c->pool, rows->sets, rows->max * sizeof(void *));
    rows->sets = NULL;
}

/* Does what the set says of itself fit together? */
static bool pc_row_check_set(const struct pc_rows *rows, struct pc_row_set *set)
{
    uint32_t at = pc_row_base(rows);
    uint32_t dead = 0;
    unsigned young = 0;
    unsigned n = 0;

    if (set->end + set->n * sizeof(struct pc_row_slot) > rows->set_bytes ||
        set->ghost >= pc_row_nghosts(rows))
        return false;
    while (at < set->end) {
        const struct pc_row *row = pc_row_at(set, at);
        const struct pc_row_slot *s;

        if (row->room < sizeof(*row) || row->room > set->end - at ||
            sizeof(*row) + row->name_len + row->val_len > row->room)
            return false;
        if (row->slot == PC_ROW_DEAD) {
            if (set->hole == 0 || at < set->hole)
                return false;
            dead += row->room;
        } else {
            if (row->slot >= set->n)
                return false;
            s = pc_row_slot_at(rows, set, row->slot);
            if (s->off != at || s->tag == 0 || s->uses > PC_ROW_USES)
                return false;
            young += s->young;
            n++;
        }
        at += row->room;
    }
    return n == set->n && young == set->young && dead == set->dead;
}

bool pc_row_check(struct pc_cache *c)
{
    struct pc_rows *rows = &c->rows;
    uint64_t nrows = 0;
    uint32_t n;
    bool good = true;

    if (rows->sets == NULL)
        return true;
    ra_mutex_lock(&rows->size_lock);
    /* relaxed, all: under the lock, and figures */
    n = atomic_load_explicit(&rows->n, memory_order_relaxed);
    good = n <= rows->max;
    for (uint32_t i = 0; good && i < rows->max; i++) {
        struct ra_mutex *lock = pc_row_lock(rows, i);
        struct pc_row_set *set = rows->sets[i];

        good = (set != NULL) == (i < n) &&
               (set == NULL || pc_row_check_set(rows, set));
        if (set != NULL)
            nrows += set->n;
        ra_mutex_unlock(lock);
    }
    if (nrows != atomic_load_explicit(&rows->nrows, memory_order_relaxed))
        good = false;
    ra_mutex_unlock(&rows->size_lock);
    return good;
}

void pc_row_stat(struct pc_cache *c, struct quire_cache_stat *st)
{
    const struct pc_rows *rows = &c->rows;

    /* relaxed, all: figures */
    st->row_lookups = atomic_load_explicit(&rows->lookups,
                                           memory_order_relaxed);
    st->row_hits = atomic_load_explicit(&rows->hits, memory_order_relaxed);
    st->rows = atomic_load_explicit(&rows->nrows, memory_order_relaxed);
    st->row_bytes = rows->set_bytes *
                    atomic_load_explicit(&rows->n, memory_order_relaxed);
}
