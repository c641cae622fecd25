/*
 * strategy.c - what a commit writes of a changed page.
 *
 * Each strategy is a filter over the slots of the working image. A slot knows
 * whether the transaction changed it, and its age: the index of the fragment
 * that its entry came from, 0 the newest (PG-14). R is the window.
 *
 *   FULL          everything; no chain.
 *   INCREMENTAL   the changed; everything when the chain has R fragments, and
 *                 the chain begins anew with it.
 *   ADAPTIVE      as DIFFERENTIAL, but everything when that is cheaper in the long
 *                 run.
 *   DIFFERENTIAL  the changed, and those of the differential before, whose
 *                 place this one takes: a chain is the whole page and one more.
 *                 A tombstone goes when the whole page lacks the key, which is
 *                 known of each slot. Everything every R-th time.
 *   SLIDING       the changed, and some of those that only old fragments have,
 *                 so that the oldest can be left out once there are R.
 *
 * ADAPTIVE. If each write changes c bytes of a page of w, the k-th differential
 * after the whole page has c * k of them, and a round of k writes costs
 * w + c * k * k / 2. A write's share of that is least for the k at which
 *
 *   (c * k) * (c * k) = 2 * w * c
 *
 * so the page is written whole when its differential passes the square root of
 * that: after sixteen writes of one record in a page of 125, after four of
 * sixteen. Any page is read with two reads at most, and references are short.
 *
 * SLIDING's rescue. The fragment of age a is left out by the (R - a)-th write
 * from now, this one being the first; until then its entries must have been
 * written again. With n[a] bytes of unchanged entries of age a,
 *
 *   cum(d) = the sum of n[a] over the ages a >= R - d     due within d writes
 *   L      = the greatest of cum(d) / d, d = 1 .. R
 *
 * is the least amount that, written every time, meets all of these dates. L
 * bytes are rescued, the oldest first. So what is due now is always among them
 * (d = 1), a page that was written whole is spread over R writes, and when each
 * fragment has its share no entry is written before it must be. An entry that
 * any newer fragment names, by a tombstone too, has not the old one's age, or is
 * not there: it is not rescued.
 *
 * Strategies change. A fragment says itself what it is, and nothing here looks
 * at how a chain was made but at what it has: ages are known of images whose
 * newest fragment is fenced or whole. DIFFERENTIAL and SLIDING write the whole
 * page where they are not known; DIFFERENTIAL, as ADAPTIVE, also where the chain
 * is neither the whole page alone nor one of its own. The others go on with any chain.
 */
#include "pages/pg_impl.h"

static_assert(QUIRE_WINDOW_MAX <= 16, "an age has four bits");

/* Bytes of a delta's body before its records. */
static size_t body_begin(const struct pg_image *img, enum pg_form form)
{
    size_t len = PG_BODY_HEADER;

    if (form == PG_FORM_DELTA)
        return len;
    return ra_round_up(len + img->lower_len + img->upper_len, PG_REC_ALIGN);
}

static size_t rec_size(const struct pg_image *img, unsigned i)
{
    struct pg_rec rec;

    pg_rec_read(pg_rec_at(img, i), &rec);
    return rec.size;
}

static void plan_whole(const struct pg_image *img, struct pg_plan *plan)
{
    memset(plan, 0, sizeof(*plan));
    plan->form = PG_FORM_WHOLE;
    plan->body_bytes = pg_body_bound(img, PG_FORM_WHOLE);
}

/* ---- INCREMENTAL ---- */

static void plan_incremental(const struct pg_image *img,
                             const struct pg_ref *ref, unsigned window,
                             struct pg_plan *plan)
{
    size_t delta;

    if (ref->nchain + 2u > window)
        return;
    delta = pg_body_bound(img, PG_FORM_DELTA);
    if (delta >= plan->body_bytes)
        return;
    plan->form = PG_FORM_DELTA;
    plan->nlinks = (uint8_t)(ref->nchain + 1);
    plan->body_bytes = delta;
}

/* ---- DIFFERENTIAL and ADAPTIVE ---- */

/* Which of the eight slots from `i` on are written by the differential after one
 * of `step` (0: after the whole page)? */
static uint64_t differing(const struct pg_image *img, unsigned i, unsigned step)
{
    uint64_t ages = pg_ages_word(img, i);
    uint64_t lanes = pg_lanes_changed(ages);
    uint64_t left;

    /* Ages first: they lie close together, records do not. */
    if (step != 0)
        lanes |= pg_lanes_newest(ages);
    if (QUIRE_LIKELY(img->ntomb == 0))
        return lanes;
    /* no tombstones of keys that the whole page is known to lack */
    left = lanes & ages / PG_AGE_NEW;
    while (left != 0) {
        unsigned k = pg_lanes_pop(&left);

        if (pg_is_tomb(img, i + k))
            lanes &= ~(UINT64_C(1) << 8 * k);
    }
    return lanes;
}

/* Can the next fragment be a differential? */
static bool takes_differential(const struct pg_image *img,
                               const struct pg_ref *ref)
{
    return (img->flags & PG_IMAGE_AGED) != 0 &&
           (ref->nchain == 0 || ref->step != 0);
}

static void plan_differential(const struct pg_image *img,
                              const struct pg_ref *ref, bool adaptive,
                              unsigned window, struct pg_plan *plan)
{
    size_t delta = body_begin(img, PG_FORM_FENCED);
    uint64_t changes = 0; /* c */
    uint64_t all = 0;     /* c * k */

    if (!takes_differential(img, ref) ||
        (!adaptive && ref->step + 1u >= window))
        return;
    for (unsigned i = 0; i < img->n; i += 8) {
        uint64_t lanes = differing(img, i, ref->step);

        while (lanes != 0) {
            unsigned k = i + pg_lanes_pop(&lanes);
            size_t size = rec_size(img, k);

            all += size;
            changes += pg_is_changed(img, k) ? size : 0;
        }
    }
    delta += all;
    if (changes == 0) /* what was changed is as in the whole page again */
        changes = all / (ref->step + 1u);
    if (delta >= plan->body_bytes ||
        (adaptive && all * all > 2 * plan->body_bytes * changes))
        return;
    plan->form = PG_FORM_FENCED;
    /* ADAPTIVE does not count: for those who go on with its chain it is long */
    plan->step = (uint8_t)ra_min_u64(ref->step + 1u, PG_CHAIN_MAX);
    plan->from = ref->nchain; /* the whole page */
    plan->nlinks = 1;
    plan->body_bytes = delta;
}

static void mark_differential(struct pg_image *img, const struct pg_plan *plan)
{
    uint8_t *ages = pg_at_mut(img, img->ages_off);

    for (unsigned i = 0; i < img->n; i += 8) {
        uint64_t want = differing(img, i, plan->step - 1u);
        uint64_t changed = pg_lanes_changed(pg_ages_word(img, i));
        uint64_t other = want ^ changed;

        img->nchanged += pg_lanes_count(want) - pg_lanes_count(changed);
        while (other != 0)
            ages[i + pg_lanes_pop(&other)] ^= PG_AGE_CHANGED;
    }
}

/* ---- SLIDING ---- */

/* Work out the rescue: all entries from age `all_age` on, and `some_bytes` of
 * those one younger. */
static void rescue_plan(const size_t nbytes[QUIRE_WINDOW_MAX], unsigned window,
                        struct pg_plan *plan)
{
    size_t load = 0; /* L */
    size_t cum = 0;

    /* Ages of `window` and more are due too: it was larger once. */
    for (unsigned a = QUIRE_WINDOW_MAX; a-- > 0;) {
        unsigned d = a >= window - 1 ? 1 : window - a;

        cum += nbytes[a];
        load = ra_max_u64(load, (cum + d - 1) / d);
    }
    plan->all_age = QUIRE_WINDOW_MAX;
    while (plan->all_age > 0 && nbytes[plan->all_age - 1] <= load) {
        plan->all_age--;
        load -= nbytes[plan->all_age];
    }
    plan->some_bytes = plan->all_age > 0 ? load : 0;
}

/* Go over what is rescued; `mark` it. Returns its bytes. */
static size_t rescue_walk(struct pg_image *img, const struct pg_plan *plan,
                          bool mark)
{
    uint8_t *ages = pg_at_mut(img, img->ages_off);
    size_t total = 0;
    size_t some = 0; /* bytes of those one younger than all_age */

    for (unsigned i = 0; i < img->n; i++) {
        unsigned age = pg_age(img, i);
        size_t size;

        if (pg_is_tomb(img, i) || pg_is_changed(img, i) ||
            age + 1 < plan->all_age ||
            (age < plan->all_age && some >= plan->some_bytes))
            continue;
        size = rec_size(img, i);
        if (age < plan->all_age)
            some += size;
        total += size;
        if (mark) {
            ages[i] |= PG_AGE_CHANGED;
            img->nchanged++;
        }
    }
    return total;
}

static void plan_sliding(const struct pg_image *img, const struct pg_ref *ref,
                         unsigned window, struct pg_plan *plan)
{
    size_t nbytes[QUIRE_WINDOW_MAX] = { 0 };
    struct pg_plan p = { .form = PG_FORM_FENCED };
    size_t delta = body_begin(img, PG_FORM_FENCED);

    for (unsigned i = 0; i < img->n; i++) {
        if (pg_is_changed(img, i))
            delta += rec_size(img, i);
        else if (!pg_is_tomb(img, i))
            nbytes[pg_age(img, i)] += rec_size(img, i);
    }
    rescue_plan(nbytes, window, &p);
    /* not marked, so not changed */
    delta += rescue_walk((struct pg_image *)(uintptr_t)img, &p, false);
    if (delta >= plan->body_bytes)
        return;
    p.nlinks = (uint8_t)ra_min_u64(ref->nchain + 1u, window - 1);
    p.body_bytes = delta;
    *plan = p;
}

/* ---- all ---- */

void pg_plan_make(const struct pg_image *img, const struct pg_ref *ref,
                  quire_versioning versioning, unsigned window,
                  struct pg_plan *plan)
{
    bool aged = (img->flags & PG_IMAGE_AGED) != 0;

    QUIRE_ASSERT(pg_is_work(img));
    QUIRE_ASSERT(window >= 2 && window <= QUIRE_WINDOW_MAX);
    plan_whole(img, plan);
    if (ref->id == PG_ID_NONE || (img->flags & PG_IMAGE_WHOLE) != 0)
        return;
    switch (versioning) {
    case QUIRE_VERSIONING_INCREMENTAL:
        plan_incremental(img, ref, window, plan);
        break;
    case QUIRE_VERSIONING_ADAPTIVE:
        plan_differential(img, ref, true, window, plan);
        break;
    case QUIRE_VERSIONING_DIFFERENTIAL:
        plan_differential(img, ref, false, window, plan);
        break;
    case QUIRE_VERSIONING_SLIDING:
        if (aged)
            plan_sliding(img, ref, window, plan);
        break;
    default:
        break;
    }
    QUIRE_ASSERT(plan->nlinks < window);
}

void pg_plan_mark(struct pg_image *img, const struct pg_plan *plan)
{
    if (plan->form != PG_FORM_FENCED)
        return;
    if (plan->step != 0)
        mark_differential(img, plan);
    else
        (void)rescue_walk(img, plan, true);
    QUIRE_ASSERT_SLOW(pg_check_image(img));
}

void pg_plan_links(const struct pg_plan *plan, const struct pg_ref *ref,
                   const uint64_t *sums, struct pg_frag_in *in)
{
    QUIRE_ASSERT(plan->from + plan->nlinks <= ref->nchain + 1u);
    in->self_contained = plan->form == PG_FORM_WHOLE;
    in->fenced = plan->form == PG_FORM_FENCED;
    in->step = plan->step;
    in->nchain = plan->nlinks;
    for (unsigned i = 0; i < plan->nlinks; i++) {
        unsigned f = plan->from + i;

        if (f == 0) {
            in->chain[i] = (struct pg_link){ ref->id, ref->stored_len,
                                             ref->raw_len };
            in->sums[i] = ref->sum;
        } else {
            in->chain[i] = ref->chain[f - 1];
            in->sums[i] = sums[f - 1];
        }
    }
}

size_t pg_plan_image_bytes(const struct pg_image *img,
                           const struct pg_plan *plan)
{
    if (plan->form == PG_FORM_FENCED)
        return pg_image_aged_bytes(img, plan->nlinks, plan->step);
    return pg_image_compact_bytes(img, plan->nlinks);
}
