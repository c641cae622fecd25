/*
 * census.c - who holds which page: for whoever looks for a pin that was lost.
 *
 * The state word counts pins and doesn't know whose they are. In builds with
 * assertions each pin that a caller takes is noted beside it: the frame, the
 * thread, and the tag that the thread had set (pc_tag()). An unpin strikes out
 * the note of its frame that its own thread made last, or, if that has none,
 * the newest of another: a pin may be given back by any thread, and doesn't
 * say which one it was. Pins that the cache takes for itself, for moments, are
 * not noted.
 *
 * Notes are on lists by frame, from a fixed store: nothing is allocated. Pins
 * beyond it are counted as lost, and their unpins taken off that count.
 *
 * Not in a release build, nor under the thread sanitizer, to which the lock
 * here would hide what orders (or doesn't order) pins. The census is still
 * there, and tells keys and numbers of pins.
 */
#include "cache/pc_impl.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#if PC_CENSUS

static _Thread_local const char *pc_tag_now; /* owner thread; NULL: none */
static _Thread_local uint32_t pc_tid;        /* owner thread; 0: not asked */

static uint32_t pc_census_tid(void)
{
    if (pc_tid == 0)
        pc_tid = (uint32_t)syscall(SYS_gettid);
    return pc_tid;
}

const char *pc_tag(const char *tag)
{
    const char *was = pc_tag_now;

    pc_tag_now = tag;
    return was;
}

void pc_census_init(struct pc_census *s)
{
    ra_mutex_init(&s->lock, RA_RANK_PC_CENSUS);
    for (uint32_t i = 0; i < PC_HOLDERS; i++)
        s->holder[i].next = i + 2;
    s->holder[PC_HOLDERS - 1].next = 0;
    s->free = 1;
}

void pc_census_fini(struct pc_census *s)
{
    ra_mutex_fini(&s->lock);
}

static uint32_t *pc_census_list(struct pc_census *s, uint32_t frame)
{
    return &s->list[frame % ARRAY_LEN(s->list)];
}

void pc_census_pin(struct pc_cache *c, uint32_t frame)
{
    struct pc_census *s = &c->census;
    uint32_t *list = pc_census_list(s, frame);
    struct pc_holder *h;

    ra_mutex_lock(&s->lock);
    if (s->free == 0) {
        s->lost++;
        goto unlock;
    }
    h = &s->holder[s->free - 1];
    h->frame = frame;
    h->tid = pc_census_tid();
    snprintf(h->tag, sizeof(h->tag), "%s",
             pc_tag_now != NULL ? pc_tag_now : "no tag");
    /* the newest first */
    uint32_t next = h->next;

    h->next = *list;
    *list = s->free;
    s->free = next;
unlock:
    ra_mutex_unlock(&s->lock);
}

void pc_census_unpin(struct pc_cache *c, uint32_t frame)
{
    struct pc_census *s = &c->census;
    uint32_t *strike = NULL;

    ra_mutex_lock(&s->lock);
    for (uint32_t *at = pc_census_list(s, frame); *at != 0;
         at = &s->holder[*at - 1].next) {
        const struct pc_holder *h = &s->holder[*at - 1];

        if (h->frame != frame)
            continue;
        if (strike == NULL || h->tid == pc_census_tid())
            strike = at;
        if (h->tid == pc_census_tid())
            break;
    }
    if (strike != NULL) {
        struct pc_holder *h = &s->holder[*strike - 1];
        uint32_t at = *strike;

        *strike = h->next;
        h->next = s->free;
        s->free = at;
    } else if (s->lost > 0) {
        s->lost--;
    }
    ra_mutex_unlock(&s->lock);
}

/* Is there, before `h` on its list, a note of the same holder? */
static bool pc_census_told(const struct pc_census *s, uint32_t first,
                           const struct pc_holder *h)
{
    for (uint32_t at = first; at != 0; at = s->holder[at - 1].next) {
        const struct pc_holder *o = &s->holder[at - 1];

        if (o == h)
            return false;
        if (o->frame == h->frame && o->tid == h->tid &&
            strcmp(o->tag, h->tag) == 0)
            return true;
    }
    return false;
}

void pc_census_text(struct pc_cache *c, uint32_t frame, char *buf, size_t cap)
{
    struct pc_census *s = &c->census;
    const char *sep = ": by";
    size_t len = 0;
    uint32_t first;

    buf[0] = 0;
    ra_mutex_lock(&s->lock);
    first = *pc_census_list(s, frame);
    for (uint32_t at = first; at != 0; at = s->holder[at - 1].next) {
        const struct pc_holder *h = &s->holder[at - 1];
        unsigned n = 0;

        if (h->frame != frame || pc_census_told(s, first, h))
            continue;
        for (uint32_t k = at; k != 0; k = s->holder[k - 1].next) {
            const struct pc_holder *o = &s->holder[k - 1];

            n += o->frame == frame && o->tid == h->tid &&
                 strcmp(o->tag, h->tag) == 0;
        }
        len += (size_t)snprintf(
            buf + len, cap - len, "%s \"%s\" of thread %lu, %u time%s", sep,
            h->tag, (unsigned long)h->tid, n, n == 1 ? "" : "s");
        sep = ";";
        if (len >= cap - 1)
            break; /* as many as there is room for */
    }
    ra_mutex_unlock(&s->lock);
}

uint64_t pc_census_lost(struct pc_cache *c)
{
    uint64_t lost;

    ra_mutex_lock(&c->census.lock);
    lost = c->census.lost;
    ra_mutex_unlock(&c->census.lock);
    return lost;
}

#else

#if QUIRE_DEBUG >= 1
const char *pc_tag(const char *tag)
{
    (void)tag;
    return NULL;
}
#endif

void pc_census_text(struct pc_cache *c, uint32_t frame, char *buf, size_t cap)
{
    (void)c;
    (void)frame;
    (void)cap;
    buf[0] = 0;
}

uint64_t pc_census_lost(struct pc_cache *c)
{
    (void)c;
    return 0;
}

#endif

const char *pc_kind_name(unsigned kind)
{
    static const char *const names[QUIRE_KIND_COUNT] = { "leaf", "inner",
                                                         "fragment",
                                                         "overflow" };

    return names[kind % QUIRE_KIND_COUNT];
}

bool pc_census_line(struct pc_cache *c, uint32_t frame, quire_log_level level,
                    const char *begin)
{
    struct pc_frame *f = &c->frames[frame];
    /* acquire: pairs with the release of whoever made it an orphan, so far as
     * `gone_key` goes; else figures, which change while we look */
    pc_state s = atomic_load_explicit(&f->state, memory_order_acquire);
    uint64_t key = atomic_load_explicit(&f->key, memory_order_relaxed);
    unsigned kind = atomic_load_explicit(&f->kind, memory_order_relaxed);
    bool loads = (s & (PC_ST_LOADING | PC_ST_FAILED)) != 0;
    char what[64];
    char by[PC_TEXT_CAP / 2];

    if (pc_state_pins(s) == 0)
        return false;
    snprintf(
        what, sizeof(what), "%s of %lu bytes", pc_kind_name(kind),
        (unsigned long)atomic_load_explicit(&f->weight, memory_order_relaxed));
    pc_census_text(c, frame, by, sizeof(by));
    if (key == PC_KEY_NONE && (s & PC_ST_ORPHAN) != 0)
        key = atomic_load_explicit(&f->gone_key, memory_order_relaxed);
    ra_log_line(&c->opt.log, level,
                "cache: %skey %llu pinned %llu times%s%s, %s%s", begin,
                (unsigned long long)key, (unsigned long long)pc_state_pins(s),
                (s & PC_ST_ORPHAN) != 0 ? ", removed" : "",
                loads ? ", loading" : "", loads ? "no page yet" : what, by);
    return true;
}

uint64_t pc_census(struct pc_cache *cache, quire_log_level level)
{
    /* relaxed: a figure */
    uint32_t n = atomic_load_explicit(&cache->nused, memory_order_relaxed);
    uint64_t lost = pc_census_lost(cache);
    uint64_t npages = 0;

    for (uint32_t i = 0; i < n; i++)
        npages += pc_census_line(cache, i, level, "");
    ra_log_line(&cache->opt.log, level, "cache: %llu pages are pinned",
                (unsigned long long)npages);
    if (lost > 0)
        ra_log_line(&cache->opt.log, level,
                    "cache: of %llu pins it is not known who took them",
                    (unsigned long long)lost);
    return npages;
}
