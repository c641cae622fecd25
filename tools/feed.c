/*
 * feed.c - records with their keys, read ahead by a thread of its own.
 *
 * Reading, decompressing, parsing and making keys take about as long as
 * inserting, so on two cores they are done at the same time:
 *
 *     feeding thread                               loading thread
 *     reader -> keyer -> batch --> ring of FEED_BATCHES --> feed_next() -> put
 *
 * What the loading thread sees is the same as if it read itself: the same items
 * in the same order, and what the reader has to say when it says so in that
 * order (a message of the feeding thread travels with its batch).
 *
 * A thread costs more than it gives to a small input, so an input is first read
 * by the loading thread itself, without batches and copies, and the feeding
 * thread takes the reader over, between two records, when FEED_AHEAD bytes have
 * come. If the thread can't be made, that simply stays so.
 *
 *     batch: | head, reason, key, record | head, key, record | ... | free |
 *
 * Batches are of fixed size, and a record too large for one is lent: its item
 * points into the reader, which stands still until the item is done with.
 *
 * Traps
 *
 *   - Before the feeding thread waits for a pipe it hands over what it has,
 *     since those records may be all that ever come: input.c says when
 *     (struct input_waiter).
 *   - The loading thread may give up while the feeding thread waits for input
 *     or for a free batch: feed_close() wakes it from both.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tools/record.h"

/* As many batches as let either thread go on while the other is held up, by a
 * commit or by a slow device; measured, see README.md. */
#define FEED_BATCHES 24u
#define FEED_BATCH_BYTES ((size_t)128 << 10)
/* Bytes of input before a thread is worth it: about a millisecond's work. */
#define FEED_AHEAD ((uint64_t)256 << 10)

/* An item in a batch; reason, key and record follow it. */
struct head {
    uint64_t line;
    uint32_t len;     /* bytes of the record */
    uint16_t key_len; /* bytes */
    uint8_t result;   /* READ_RECORD or READ_REJECT */
    uint8_t row;      /* bool */
};

static_assert(sizeof(struct head) == 16, "no gaps: there is one a record");
static_assert(KEY_MAX_BYTES <= UINT16_MAX, "a key's length fits");
static_assert(FEED_BATCH_BYTES <= UINT32_MAX, "a record's length fits");

struct batch {
    unsigned char *data;   /* FEED_BATCH_BYTES */
    size_t used;           /* bytes of data */
    bool lent;             /* an item that points into the reader ends it */
    struct feed_item item; /* that one */
    struct bytes said;     /* messages, to be told behind the items */
    enum read_result end;  /* what comes behind them; READ_RECORD: a batch */
    uint64_t nread;        /* plain bytes taken up to here */
    uint64_t ntaken;       /* as they lie in the file */
};

struct feed {
    struct reader *rd; /* the caller's; the feeding thread's while it runs */
    struct input *in;  /* likewise */
    const struct schema *s; /* immutable, the caller's */
    struct keyer *keyer;    /* as rd */
    size_t key_max;         /* bytes; immutable */
    struct bytes key;       /* as rd: the key of the record in work */
    struct reject why;      /* as rd */
    enum feed_mode mode;    /* immutable */
    bool tried;             /* loading thread: to start the other */
    bool running;           /* loading thread: it has been started */

    struct batch batch[FEED_BATCHES]; /* owned by the feeding thread; full ones
                                         by the loading thread */
    unsigned fill;       /* feeding thread: the batch being filled */
    unsigned take;       /* loading thread: the batch in work */
    size_t pos;          /* loading thread: its next item */
    bool begun;          /* loading thread: that batch has been handed over */
    struct reject given; /* loading thread: the reason of the item given */
    uint64_t nread;      /* loading thread: of the last batch done with */
    uint64_t ntaken;     /* loading thread */

    pthread_t thread;
    pthread_mutex_t lock;   /* a leaf: nothing is taken under it */
    pthread_cond_t filled;  /* nfull has grown */
    pthread_cond_t emptied; /* nfull has shrunk, or stop is set */
    unsigned nfull; /* batches handed over and not yet done with; under lock */
    bool stop;      /* under lock; input.c has waiter.stop */
    struct input_waiter waiter;
};

/* ---- one record ---- */

/* Make the key of a record, and find out whether it can be loaded. False: it is
 * no record at all, but an empty line. */
static bool make_item(struct feed *f, const struct record *rec,
                      struct feed_item *item)
{
    static const unsigned char empty_row[1] = { 0 };
    bool rows = format_has_rows(f->s->format);
    int rc = 0;

    item->result = READ_RECORD;
    item->row = rows;
    item->data = rec->data;
    item->len = rec->len;
    item->line = rec->line;
    item->why = NULL;
    f->key.len = 0;
    if (rows && rec->nfields == 0 && f->s->ncolumns != 1)
        return false;
    if (rows && rec->nfields == 0) {
        item->data = empty_row;
        item->len = 1;
    } else if (rows && rec->nfields != f->s->ncolumns) {
        rc = reject(&f->why, REASON_COLUMNS, "it has %u columns instead of %u",
                    rec->nfields, f->s->ncolumns);
    }
    /* A JSON record is checked by making its key, wanted or not. */
    if (rc == 0 && f->s->format != FORMAT_RAW &&
        (!f->s->key_auto || f->s->format == FORMAT_NDJSON))
        rc = keyer_make(f->keyer, item->data, item->len, &f->key, &f->why);
    if (f->s->format == FORMAT_RAW) {
        item->key = rec->key;
    } else {
        item->key.data = f->key.data;
        item->key.size = f->key.len;
    }
    if (rc == 0 && item->key.size > f->key_max)
        rc = reject(&f->why, REASON_KEY_TOO_LONG,
                    "the key has %zu bytes, this store takes %zu",
                    item->key.size, f->key_max);
    if (rc == 0) {
        if (rows)
            item->len = row_trim(item->data, item->len);
    } else if (rc == -1) {
        item->result = READ_REJECT;
        item->key.size = 0; /* it may be of any length */
        item->why = &f->why;
    } else {
        item->result = READ_FAILED;
    }
    return true;
}

/* Read up to the next item. */
static void read_item(struct feed *f, struct feed_item *item)
{
    struct record rec;

    do {
        item->result = reader_next(f->rd, &rec);
        if (item->result == READ_REJECT) {
            item->row = false;
            item->data = rec.data;
            item->len = rec.len;
            item->line = rec.line;
            item->key.size = 0;
            f->why = rec.why;
            item->why = &f->why;
            return;
        }
    } while (item->result == READ_RECORD && !make_item(f, &rec, item));
}

/* ---- the feeding thread ---- */

/* Hand the batch in work over; the next one is empty. False: to stop. */
static bool hand_over(struct feed *f, enum read_result end)
{
    struct batch *b = &f->batch[f->fill];
    bool lent = b->lent;
    bool go_on;

    b->end = end;
    b->nread = reader_bytes(f->rd);
    b->ntaken = input_taken(f->in);
    f->fill = (f->fill + 1) % FEED_BATCHES;
    pthread_mutex_lock(&f->lock);
    f->nfull++;
    pthread_cond_signal(&f->filled);
    /* What was lent must be given back; else one batch must be free. */
    while (!f->stop && end == READ_RECORD &&
           (f->nfull == FEED_BATCHES || (lent && f->nfull > 0)))
        pthread_cond_wait(&f->emptied, &f->lock);
    go_on = !f->stop;
    pthread_mutex_unlock(&f->lock);
    b = &f->batch[f->fill];
    if (end == READ_RECORD && go_on) {
        b->used = 0;
        b->lent = false;
        b->said.len = 0;
        say_collect(&b->said);
    }
    return go_on;
}

/* The input is about to wait: let what is there be loaded meanwhile. */
static void on_wait(void *arg)
{
    struct feed *f = arg;

    if (f->batch[f->fill].used > 0)
        hand_over(f, READ_RECORD); /* to stop: the input is told as well */
}

/* Heads are aligned. */
static size_t round_up(size_t n)
{
    return (n + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
}

static unsigned char *copy(unsigned char *to, const void *data, size_t len)
{
    if (len > 0)
        memcpy(to, data, len);
    return to + len;
}

/* Put an item into the batch, or lend it. False: to stop. */
static bool add_item(struct feed *f, const struct feed_item *item)
{
    struct batch *b = &f->batch[f->fill];
    size_t why_len = item->why != NULL ? sizeof(*item->why) : 0;
    struct head head = { .line = item->line,
                         .len = (uint32_t)item->len,
                         .key_len = (uint16_t)item->key.size,
                         .result = (uint8_t)item->result,
                         .row = item->row };
    size_t need = sizeof(head) + why_len + item->key.size;
    unsigned char *to;

    if (item->len > FEED_BATCH_BYTES / 2) {
        b->item = *item;
        b->lent = true;
        return hand_over(f, READ_RECORD);
    }
    need = round_up(need + item->len);
    if (need > FEED_BATCH_BYTES - b->used) {
        if (!hand_over(f, READ_RECORD))
            return false;
        b = &f->batch[f->fill];
    }
    to = copy(b->data + b->used, &head, sizeof(head));
    to = copy(to, item->why, why_len);
    to = copy(to, item->key.data, item->key.size);
    copy(to, item->data, item->len);
    b->used += need;
    return true;
}

/* Take the item at f->pos out of the batch. */
static void take_item(struct feed *f, struct feed_item *item)
{
    const struct batch *b = &f->batch[f->take];
    const unsigned char *from = b->data + f->pos;
    struct head head;

    memcpy(&head, from, sizeof(head));
    from += sizeof(head);
    item->result = (enum read_result)head.result;
    item->row = head.row != 0;
    item->line = head.line;
    item->why = NULL;
    if (item->result == READ_REJECT) {
        memcpy(&f->given, from, sizeof(f->given));
        from += sizeof(f->given);
        item->why = &f->given;
    }
    item->key.data = from;
    item->key.size = head.key_len;
    item->data = from + head.key_len;
    item->len = head.len;
    f->pos = round_up((size_t)(item->data - b->data) + item->len);
}

static void *feed_run(void *arg)
{
    struct feed *f = arg;
    struct feed_item item;

    say_collect(&f->batch[f->fill].said);
    do
        read_item(f, &item);
    while ((item.result == READ_RECORD || item.result == READ_REJECT) &&
           add_item(f, &item));
    if (item.result != READ_RECORD && item.result != READ_REJECT)
        hand_over(f, item.result);
    say_collect(NULL);
    return NULL;
}

/* ---- the loading thread ---- */

static void batches_free(struct feed *f)
{
    for (unsigned i = 0; i < FEED_BATCHES; i++) {
        free(f->batch[i].data);
        bytes_free(&f->batch[i].said);
        memset(&f->batch[i], 0, sizeof(f->batch[i]));
    }
}

/* Start the feeding thread. Without it the load goes on, by turns. */
static void feed_start(struct feed *f)
{
    int error = ENOMEM;

    f->tried = true;
    for (unsigned i = 0; i < FEED_BATCHES; i++) {
        f->batch[i].data = mem_alloc(FEED_BATCH_BYTES);
        if (f->batch[i].data == NULL)
            goto failed;
    }
    f->waiter.wake_fd = FAIL_POINT(MEMORY_POINT, -1,
                                   eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (f->waiter.wake_fd < 0) {
        error = errno;
        goto failed;
    }
    f->nread = reader_bytes(f->rd);
    f->ntaken = input_taken(f->in);
    input_set_waiter(f->in, &f->waiter);
    error = FAIL_POINT(MEMORY_POINT, EAGAIN,
                       pthread_create(&f->thread, NULL, feed_run, f));
    if (error == 0) {
        f->running = true;
        return;
    }
    input_set_waiter(f->in, NULL);
    close(f->waiter.wake_fd);

failed:
    batches_free(f);
    say("no thread could be started to read ahead: %s; reading and inserting "
        "take turns",
        strerror(error));
}

int feed_open(struct reader *rd, struct input *in, const struct schema *s,
              struct keyer *keyer, size_t key_max, enum feed_mode mode,
              struct feed **out)
{
    struct feed *f = mem_zero(1, sizeof(*f));

    if (f == NULL) {
        say("the system has no memory to read ahead");
        return -1;
    }
    f->rd = rd;
    f->in = in;
    f->s = s;
    f->keyer = keyer;
    f->key_max = key_max;
    f->mode = mode;
    f->waiter.on_wait = on_wait;
    f->waiter.arg = f;
    /* Neither can fail here: they take no attributes and allocate nothing. */
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->filled, NULL);
    pthread_cond_init(&f->emptied, NULL);
    *out = f;
    return 0;
}

void feed_close(struct feed *f)
{
    uint64_t one = 1;

    if (f == NULL)
        return;
    if (f->running) {
        pthread_mutex_lock(&f->lock);
        f->stop = true;
        pthread_cond_signal(&f->emptied);
        pthread_mutex_unlock(&f->lock);
        /* relaxed: nothing is read by its leave */
        atomic_store_explicit(&f->waiter.stop, true, memory_order_relaxed);
        if (write(f->waiter.wake_fd, &one, sizeof(one)) < 0) {
            /* Full: it is readable already. */
        }
        pthread_join(f->thread, NULL);
        input_set_waiter(f->in, NULL);
        close(f->waiter.wake_fd);
    }
    batches_free(f);
    bytes_free(&f->key);
    pthread_cond_destroy(&f->emptied);
    pthread_cond_destroy(&f->filled);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* The batch in work is done with: go to the next one, or to the end. */
static enum read_result next_batch(struct feed *f)
{
    struct batch *b = &f->batch[f->take];

    say_collected(&b->said);
    f->nread = b->nread;
    f->ntaken = b->ntaken;
    if (b->end != READ_RECORD)
        return b->end;
    f->take = (f->take + 1) % FEED_BATCHES;
    f->pos = 0;
    f->begun = false;
    pthread_mutex_lock(&f->lock);
    f->nfull--;
    pthread_cond_signal(&f->emptied);
    pthread_mutex_unlock(&f->lock);
    return READ_RECORD;
}

static void wait_filled(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    while (f->nfull == 0)
        pthread_cond_wait(&f->filled, &f->lock);
    pthread_mutex_unlock(&f->lock);
    f->begun = true;
}

bool feed_make(struct feed *f, const struct record *rec, struct feed_item *item)
{
    return make_item(f, rec, item);
}

void feed_next(struct feed *f, struct feed_item *item)
{
    if (!f->tried && f->mode != FEED_BY_TURNS &&
        (f->mode == FEED_AT_ONCE || reader_bytes(f->rd) >= FEED_AHEAD))
        feed_start(f);
    if (!f->running) {
        read_item(f, item);
        f->nread = reader_bytes(f->rd);
        f->ntaken = input_taken(f->in);
        return;
    }
    for (;;) {
        struct batch *b = &f->batch[f->take];

        if (!f->begun)
            wait_filled(f);
        if (f->pos < b->used) {
            take_item(f, item);
            return;
        }
        if (b->lent && f->pos == b->used) {
            *item = b->item;
            f->pos++; /* it has been given */
            return;
        }
        item->result = next_batch(f);
        if (item->result != READ_RECORD)
            return;
    }
}

uint64_t feed_bytes(const struct feed *f)
{
    return f->nread;
}

uint64_t feed_taken(const struct feed *f)
{
    return f->ntaken;
}
