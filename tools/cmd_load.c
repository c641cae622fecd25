/*
 * cmd_load.c - `quire load`: records from inputs into a tree.
 *
 *     input -> reader -> keyer --feed--> put -> (every N records) commit
 *
 * What is before the feed may run in a thread of its own (feed.c); everything
 * here runs in one.
 *
 * A record that is no good is counted, reported and left out; the load goes on.
 * Anything else that goes wrong ends it: the transaction in work is aborted,
 * earlier commits stay, and the message says how many records that are. A
 * signal ends it after the record in work, with a commit.
 *
 * The tree's schema is fixed by the first input that is loaded into it and is
 * compared with that of each further one, since keys and values that were made
 * in two ways would not be comparable. Only columns may be added behind
 * the last.
 *
 * With --mirror the tree is made equal to each input, in one commit each. The
 * keys of the input go into a second tree, SEEN_TREE, as its records go into the
 * first; at the input's end both are walked side by side, keys that are only in
 * the first are deleted, and the second tree is dropped before the commit. So
 * the keys need no memory outside the budget, however many they are. Records
 * that are there already as they are don't touch a page. A rejected record,
 * an input that holds nothing, a signal: the transaction is aborted, and nothing
 * of that input is done.
 *
 * `replaced` is counted by first putting with QUIRE_NOREPLACE; a key that
 * is there costs a second call, a new one nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/record.h"

#define COMMIT_EVERY_DEFAULT 100000u /* records */
#define MAX_RECORD_DEFAULT ((uint64_t)16 << 20)
#define WINDOW_DEFAULT ((uint64_t)8 << 20)
#define REJECTS_SHOWN 10u
#define SEEN_TREE "quire load --mirror: keys of the input"

enum duplicates {
    DUPLICATES_REPLACE,
    DUPLICATES_KEEP,
    DUPLICATES_ERROR
};

struct load {
    /* options */
    struct store_args store;
    const char *key_text;    /* --key; NULL: not given */
    const char *format_text; /* --format */
    const char *records;     /* --records; NULL: not given */
    const char *duplicates_text;
    const char *rejects_path; /* --rejects; NULL: not given */
    bool key_auto;
    bool no_header;
    bool ack;
    bool mirror;
    bool commit_every_given;
    uint64_t commit_every; /* records */
    uint64_t max_record;   /* bytes */
    uint64_t window_bytes; /* of zstd */
    uint64_t nthreads;     /* --threads; 0: not given */
    enum format format;    /* FORMAT_COUNT: by the input's name */
    enum duplicates duplicates;
    char **inputs;
    int ninputs;

    /* the store; txn and tree are NULL between a commit and the next record */
    struct quire *db;
    struct quire_txn *txn;
    struct quire_tree *tree;
    struct quire_tree *seen;   /* --mirror: keys of the input in work; NULL as
                                  long as txn */
    struct bytes old;          /* --mirror: scratch */
    size_t key_max;            /* bytes, by the store's page size */
    struct schema tree_schema; /* as the transaction in work leaves it */
    bool schema_changed;       /* not yet committed */
    bool meta_given; /* the metadata are raw_meta, not tree_schema's */
    struct bytes raw_meta;
    bool tree_foreign; /* its records are not quire load's: only a raw
                                  dump goes into it */
    bool tree_empty;   /* it held no record when the load began */
    bool header_read;  /* of any input: worth a revision */
    bool db_is_new;    /* the file was not there before */
    bool commit_tried;
    bool undecided;    /* whether the last commit is there */
    uint64_t pending;  /* records put since the last commit */
    int64_t next_auto; /* the next key of key_auto */

    /* --rejects */
    FILE *rejects; /* NULL: not asked for */
    struct bytes reject_line;
    struct bytes reject_text;

    /* the input in work */
    struct input *in;
    struct reader *rd;
    struct keyer *keyer;
    struct feed *feed;    /* NULL: not yet prepared */
    struct schema schema; /* of this input */
    bool prepared;        /* schema is complete and agreed */
    struct bytes key;     /* scratch */
    struct bytes meta;

    /* figures */
    uint64_t nread;
    uint64_t nloaded; /* replaced ones too */
    uint64_t nreplaced;
    uint64_t nkept;
    uint64_t nrejected;
    uint64_t nunchanged;  /* --mirror: of nloaded */
    uint64_t ndeleted;    /* --mirror */
    uint64_t nleft;       /* --mirror: good ones of inputs left out */
    uint64_t inputs_left; /* --mirror */
    uint64_t rejected_by[REASON_COUNT];
    uint64_t ncommitted; /* of nloaded */
    uint64_t nrevisions;
    quire_rev newest;
    uint64_t bytes_done; /* plain bytes of finished inputs */
    uint64_t taken_done; /* the same as they lie in the files */
    uint64_t total;      /* bytes of all files; 0: not known */
    double start;        /* seconds, monotonic */
    double next_progress;
};

static const char load_help[] =
    "usage: quire load --db FILE --key FIELD[,FIELD...] | --key-auto\n"
    "                  [option ...] INPUT...\n"
    "\n"
    "Load records into a tree of the store, which is made if need be. INPUT is\n"
    "a file, or - for standard input; .zst and .gz are decompressed, and of a\n"
    ".tar (also .tar.zst, .tar.gz) each file in it is an INPUT.\n"
    "\n"
    "  --key FIELD,...    the fields that make the key, as one CSV row: column\n"
    "                     or member names, exactly; #N is a column's number;\n"
    "                     FIELD:int sorts as a signed 64-bit number\n"
    "  --key-auto         number the records, on from the greatest key\n"
    "  --format F         csv, tsv, ndjson, json, lines, or raw, as quire dump\n"
    "                     --format raw prints it; default by the INPUT's name\n"
    "                     (.csv .tsv .tab .ndjson .jsonl .json .txt .lines),\n"
    "                     else as the tree is, else csv\n"
    "  --records POINTER  json: the array of records, as a JSON pointer (/a/b);\n"
    "                     default the outermost array, or /data\n"
    "  --no-header        the first line is a record, not the columns' names\n"
    "  --tree NAME        load into this tree instead of the default one\n"
    "  --on-duplicate D   a key that is there: replace its record (default),\n"
    "                     keep the old one, or error: stop with status 1\n"
    "  --commit-every N   make a revision every N records (100000)\n"
    "  --rejects FILE     write each rejected record to FILE, as TSV: input,\n"
    "                     line, reason, record; with \\t \\n \\r \\\\ and \\xHH\n"
    "                     for bytes that would disturb; of a broken record its\n"
    "                     first 1M\n"
    "  --mirror           make the tree equal to INPUT: keys that are not in it\n"
    "                     are deleted. One revision for each INPUT, also when\n"
    "                     nothing has changed; an INPUT with a rejected record,\n"
    "                     or with nothing in it, changes nothing\n"
    "  --max-record SIZE  reject longer records (16M)\n"
    "  --zstd-window SIZE allow zstd windows up to SIZE (8M); it is memory\n"
    "  --threads N        1: read and insert by turns; 2: at the same time, from\n"
    "                     the first record on; default: at the same time once\n"
    "                     an INPUT has given 256K\n"
    "  --ack              print `committed REVISION RECORDS` after each\n"
    "                     commit; the figures then go to standard error\n" STORE_HELP
    "\n"
    "csv: RFC 4180; fields may be quoted and hold commas, quotes, line ends;\n"
    "     blanks are data. tsv: split at tabs, no quoting. ndjson: one JSON\n"
    "     object a line; a key field that begins with a slash is a JSON pointer.\n"
    "     json: a document with an array of objects, kept as ndjson. In /data\n"
    "     records may be arrays, whose columns /meta/view/columns names. lines: the line is the key, the value is empty, and\n"
    "     neither --key nor --key-auto is given.\n"
    "\n"
    "A record without a usable key, with another number of columns or broken\n"
    "in itself is rejected: counted, the first 10 reported with their line,\n"
    "and the load goes on. On SIGINT or SIGTERM it finishes the record and\n"
    "commits.\n"
    "\n"
    "Status: 0 all loaded, 3 some rejected, 1 failed (earlier commits stay),\n"
    "2 usage, 128 + the signal's number when stopped by one.\n";

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- transactions ---- */

/* Say that `what` failed on the store; -1. */
#define fail_store(l, what, rc) (say_store((l)->store.db, (what), (rc)), -1)

/* Begin a write transaction, if none runs. */
static int load_begin(struct load *l)
{
    quire_status rc;

    if (l->txn != NULL)
        return 0;
    rc = FAIL_POINT("tools/store/begin", QUIRE_POISONED,
                    quire_begin(l->db, QUIRE_WRITE, &l->txn));
    if (rc != QUIRE_OK)
        return fail_store(l, "begin writing", rc);
    if (l->store.tree != NULL) {
        rc = quire_tree_open(l->txn, l->store.tree, QUIRE_TREE_CREATE,
                             &l->tree);
        if (rc != QUIRE_OK)
            return fail_store(l, l->store.tree, rc);
    }
    if (!l->mirror)
        return 0;
    rc = quire_tree_open(l->txn, SEEN_TREE, 0, &l->seen);
    if (rc == QUIRE_OK) {
        say("%s: it has a tree called \"%s\", which --mirror needs for itself",
            l->store.db, SEEN_TREE);
        return -1;
    }
    if (rc == QUIRE_NOTFOUND)
        rc = quire_tree_open(l->txn, SEEN_TREE, QUIRE_TREE_CREATE, &l->seen);
    return rc == QUIRE_OK ? 0 : fail_store(l, SEEN_TREE, rc);
}

static void load_abort(struct load *l)
{
    quire_abort(l->txn);
    l->txn = NULL;
    l->tree = NULL;
    l->seen = NULL;
}

/* What was rejected so far is in the file before the next commit is. */
static int rejects_flush(struct load *l)
{
    if (l->rejects == NULL ||
        (fflush(l->rejects) == 0 && ferror(l->rejects) == 0))
        return 0;
    say("%s: %m; rejected records could not be written down", l->rejects_path);
    return -1;
}

/* Commit what is pending. Nothing makes no revision; a header without records
 * does, but not one whose records have all been rejected. */
static int load_commit(struct load *l)
{
    quire_status rc;

    if (l->pending == 0 && !l->mirror &&
        !(l->schema_changed && l->header_read && l->nrejected == 0)) {
        load_abort(l);
        return 0;
    }
    if (rejects_flush(l) != 0 || load_begin(l) != 0)
        return -1;
    if (l->schema_changed) {
        struct quire_val meta;

        l->meta.len = 0;
        if (l->meta_given) {
            meta.data = l->raw_meta.data;
            meta.size = l->raw_meta.len;
        } else {
            if (schema_encode(&l->tree_schema, &l->meta) != 0)
                return -1;
            meta.data = l->meta.data;
            meta.size = l->meta.len;
        }
        rc = FAIL_POINT("tools/store/describe", QUIRE_IO,
                        quire_tree_set_meta(l->txn, l->tree, &meta));
        if (rc != QUIRE_OK)
            return fail_store(l, "the tree's description", rc);
    }
    if (l->seen != NULL) {
        rc = FAIL_POINT("tools/store/drop", QUIRE_IO,
                        quire_tree_drop(l->txn, SEEN_TREE));
        if (rc != QUIRE_OK)
            return fail_store(l, SEEN_TREE, rc);
    }
    l->commit_tried = true;
    rc = quire_commit(l->txn, l->mirror ? QUIRE_EMPTY : 0, &l->newest);
    l->txn = NULL;
    l->tree = NULL;
    l->seen = NULL;
    l->undecided = rc == QUIRE_UNDECIDED;
    if (rc != QUIRE_OK)
        return fail_store(l, "commit", rc);
    l->schema_changed = false;
    l->ncommitted += l->pending;
    l->pending = 0;
    l->nrevisions++;
    if (l->ack) {
        printf("committed %" PRIu64 " %" PRIu64 "\n", l->newest, l->ncommitted);
        if (stdout_finish() != 0)
            return -1;
    }
    return 0;
}

/* Learn what the tree has: schema, greatest automatic key. */
static int load_look(struct load *l)
{
    struct quire_stat st;
    uint64_t nrecords;
    quire_status rc;

    store_figures(l->db, &st);
    l->key_max = QUIRE_KEY_MAX(st.page_bytes);
    if (load_begin(l) != 0 ||
        schema_load(l->store.db, l->txn, l->tree, &l->tree_schema) != 0)
        return -1;
    rc = FAIL_POINT("tools/store/count", QUIRE_IO,
                    quire_tree_count(l->txn, l->tree, &nrecords));
    if (rc != QUIRE_OK)
        return fail_store(l, "the number of records", rc);
    l->tree_empty = nrecords == 0;
    l->tree_foreign = l->tree_schema.foreign ||
                      (l->tree_schema.format == FORMAT_RAW && nrecords > 0);
    return 0;
}

/* Where automatic keys go on. */
static int load_look_auto(struct load *l)
{
    struct quire_cursor *cur = NULL;
    struct quire_val key;
    quire_status rc;

    l->next_auto = 1;
    rc = quire_cursor_open(l->txn, l->tree, &cur);
    if (rc == QUIRE_OK)
        rc = quire_cursor_seek(cur, QUIRE_SEEK_LAST, NULL);
    if (rc == QUIRE_OK)
        rc = quire_cursor_get(cur, &key, NULL);
    if (rc == QUIRE_OK && key.size == 8)
        l->next_auto = (int64_t)((uint64_t)key_get_int(key.data) + 1);
    quire_cursor_close(cur);
    if (rc != QUIRE_OK && rc != QUIRE_NOTFOUND)
        return fail_store(l, "the greatest key", rc);
    return 0;
}

/* ---- schemas ---- */

/* Say that this input's keys and values are not made as the tree's. */
static int say_schema_differs(const struct load *l)
{
    struct bytes here = { 0 };
    struct bytes there = { 0 };

    if (schema_key_text(&l->schema, &here) == 0 &&
        schema_key_text(&l->tree_schema, &there) == 0)
        say("%s: the tree holds %s records with the key %.*s, this load has "
            "%s with %.*s; use the same, or another --tree",
            l->store.db, format_name(l->tree_schema.format), (int)there.len,
            (const char *)there.data, format_name(l->schema.format),
            (int)here.len, (const char *)here.data);
    bytes_free(&here);
    bytes_free(&there);
    return -1;
}

/* Agree on columns: the longer header holds, if the shorter begins it. */
static int merge_columns(struct load *l)
{
    struct schema *in = &l->schema;
    struct schema *tree = &l->tree_schema;
    const struct schema *longer = in->ncolumns > tree->ncolumns ? in : tree;

    if (in->header && tree->header) {
        size_t len = longer == in ? tree->columns.len : in->columns.len;

        if (len > 0 && memcmp(in->columns.data, tree->columns.data, len) != 0) {
            say("%s: its header differs from the columns that the tree has; "
                "columns may only be added behind the last; use another "
                "--tree",
                input_name(l->in));
            return -1;
        }
    }
    if (in->header && !tree->header && in->ncolumns < tree->ncolumns) {
        say("%s: its header names %u columns, the tree's records have %u; "
            "use another --tree",
            input_name(l->in), in->ncolumns, tree->ncolumns);
        return -1;
    }
    if (longer == tree && (tree->header || !in->header))
        return 0;
    if (in->header && (longer == in || !tree->header)) {
        tree->header = true;
        tree->columns.len = 0;
        if (bytes_append(&tree->columns, in->columns.data, in->columns.len) !=
            0)
            return -1;
    }
    tree->ncolumns = in->ncolumns;
    l->schema_changed = true;
    return 0;
}

/* Under --mirror the input's schema is the tree's, since no older record
 * stays. */
static int mirror_schema(struct load *l)
{
    struct bytes in = { 0 };
    struct bytes tree = { 0 };
    int rc = -1;

    if (schema_encode(&l->schema, &in) != 0 ||
        schema_encode(&l->tree_schema, &tree) != 0)
        goto out;
    rc = 0;
    if (in.len == tree.len && memcmp(in.data, tree.data, in.len) == 0)
        goto out;
    schema_free(&l->tree_schema);
    rc = schema_copy(&l->tree_schema, &l->schema);
    l->schema_changed = true;

out:
    bytes_free(&in);
    bytes_free(&tree);
    return rc;
}

/* The input's schema is complete and agreed: read records by it. */
static int load_open_feed(struct load *l)
{
    l->prepared = true;
    if (keyer_create(&l->schema, &l->keyer) != 0)
        return -1;
    return feed_open(l->rd, l->in, &l->schema, l->keyer, l->key_max,
                     l->nthreads == 0   ? FEED_AUTO
                     : l->nthreads == 1 ? FEED_BY_TURNS
                                        : FEED_AT_ONCE,
                     &l->feed);
}

/* The input's format, key and columns are known: compare with the tree's. */
static int load_prepare(struct load *l)
{
    struct schema *tree = &l->tree_schema;
    bool changed = l->schema_changed;

    if (schema_resolve(&l->schema, input_name(l->in)) != 0)
        return -1;
    l->schema_changed = false;
    /* Nothing binds a tree that holds no record. */
    if (tree->format == FORMAT_RAW || (l->tree_empty && l->nloaded == 0 &&
                                       !schema_same_key(tree, &l->schema))) {
        schema_free(tree);
        if (schema_copy(tree, &l->schema) != 0)
            return -1;
        l->schema_changed = true;
    } else if (l->mirror && schema_same_kind(tree, &l->schema)) {
        if (mirror_schema(l) != 0)
            return -1;
    } else if (!schema_same_key(tree, &l->schema)) {
        return say_schema_differs(l);
    } else if (format_has_rows(tree->format) && merge_columns(l) != 0) {
        return -1;
    }
    if (l->schema_changed)
        l->meta_given = false;
    l->schema_changed |= changed;
    if (l->schema.key_auto && l->next_auto == 0) {
        if (load_begin(l) != 0 || load_look_auto(l) != 0)
            return -1;
    }
    return load_open_feed(l);
}

/* The tree's metadata as the transaction in work will leave them, in l->meta;
 * 1: there are none. */
static int load_meta(struct load *l)
{
    size_t size = 0;
    quire_status rc;

    l->meta.len = 0;
    if (l->schema_changed && l->meta_given)
        return bytes_append(&l->meta, l->raw_meta.data, l->raw_meta.len);
    if (l->schema_changed)
        return schema_encode(&l->tree_schema, &l->meta);
    if (load_begin(l) != 0)
        return -1;
    rc = FAIL_POINT("tools/store/meta", QUIRE_IO,
                    quire_tree_get_meta(l->txn, l->tree, NULL, 0, &size));
    if (rc == QUIRE_OK && bytes_reserve(&l->meta, size + 1) != 0)
        return -1;
    if (rc == QUIRE_OK)
        rc = quire_tree_get_meta(l->txn, l->tree, l->meta.data, size, &size);
    if (rc == QUIRE_NOTFOUND)
        return 1;
    if (rc != QUIRE_OK)
        return fail_store(l, "the tree's metadata", rc);
    l->meta.len = size;
    return 0;
}

/* As load_prepare(), for a raw dump, which brings the tree's metadata along.
 * READ_RECORD: go on. */
static enum read_result load_prepare_raw(struct load *l)
{
    struct bytes meta = { 0 };
    bool given = false;
    enum read_result rc = raw_reader_begin(l->rd, &meta, &given);
    int none;
    int known;

    if (rc != READ_RECORD)
        goto out;
    rc = READ_FAILED;
    none = load_meta(l);
    if (none < 0)
        goto out;
    if (given != (none == 0) || meta.len != l->meta.len ||
        (meta.len > 0 && memcmp(meta.data, l->meta.data, meta.len) != 0)) {
        if (!given || !(l->mirror || (l->tree_empty && l->nloaded == 0))) {
            say("%s: its records are not described as the tree's are; load "
                "them into another one with --tree",
                input_name(l->in));
            goto out;
        }
        l->raw_meta.len = 0;
        if (bytes_append(&l->raw_meta, meta.data, meta.len) != 0)
            goto out;
        l->meta_given = true;
        l->schema_changed = true;
        l->header_read = true;
    }
    schema_free(&l->tree_schema);
    known = given ? schema_decode(&l->tree_schema, meta.data, meta.len) : 0;
    if (known < 0)
        goto out;
    if (known > 1) {
        say("%s: its description of the records is damaged or of a newer "
            "quire; use that one",
            input_name(l->in));
        goto out;
    }
    l->tree_foreign = l->tree_schema.format == FORMAT_RAW;
    l->next_auto = 0;
    if (load_open_feed(l) == 0)
        rc = READ_RECORD;

out:
    bytes_free(&meta);
    return rc;
}

/* Take the key's description from the options, or from the tree. */
static int load_key_options(struct load *l)
{
    struct schema *s = &l->schema;
    const struct schema *tree = &l->tree_schema;

    if (s->format == FORMAT_LINES || s->format == FORMAT_RAW) {
        if (l->key_text == NULL && !l->key_auto)
            return 0;
        say("%s: of format %s, where %s: leave --key and --key-auto out, or "
            "give another --format",
            input_name(l->in), format_name(s->format),
            s->format == FORMAT_RAW ? "the keys are given"
                                    : "the key is the line");
        return -1;
    }
    if (l->key_auto) {
        s->key_auto = true;
        return 0;
    }
    if (l->key_text != NULL)
        return schema_parse_key(s, l->key_text);
    if (tree->format == s->format) {
        schema_free(s);
        if (schema_copy(s, tree) != 0)
            return -1;
        bytes_free(&s->columns);
        s->header = false;
        s->ncolumns = 0;
        return 0;
    }
    say("%s: say what the key is: --key FIELD[,FIELD...] or --key-auto",
        input_name(l->in));
    return -1;
}

/* The first row of an input: its header, or the number of its columns. 1: it
 * was the header. */
static int load_first_row(struct load *l, const struct record *rec)
{
    struct schema *s = &l->schema;

    s->ncolumns = rec->nfields;
    if (!l->no_header) {
        s->header = true;
        if (bytes_append(&s->columns, rec->data, rec->len) != 0 ||
            load_prepare(l) != 0)
            return -1;
        l->header_read = true;
        return 1;
    }
    if (l->tree_schema.format == s->format && l->tree_schema.header) {
        s->header = true;
        s->ncolumns = l->tree_schema.ncolumns;
        if (bytes_append(&s->columns, l->tree_schema.columns.data,
                         l->tree_schema.columns.len) != 0)
            return -1;
    }
    return load_prepare(l);
}

/* ---- records ---- */

/* Write a rejected record down. */
static int rejects_add(struct load *l, const struct feed_item *item)
{
    struct bytes *line = &l->reject_line;
    struct bytes *text = &l->reject_text;
    const char *name = input_name(l->in);
    const char *why = item->why->text;
    char number[32];

    if (l->rejects == NULL)
        return 0;
    bytes_reset(line, REJECT_TEXT_MAX);
    bytes_reset(text, REJECT_TEXT_MAX);
    snprintf(number, sizeof(number), "\t%" PRIu64 "\t", item->line);
    if (print_escaped(line, name, strlen(name)) != 0 ||
        bytes_append_text(line, number) != 0 ||
        print_escaped(line, why, strlen(why)) != 0 ||
        bytes_append_text(line, "\t") != 0)
        return -1;
    if (item->row) {
        if (row_to_text(text, l->schema.format, item->data, item->len, 0) !=
                0 ||
            print_escaped(line, text->data, text->len) != 0)
            return -1;
    } else if (print_escaped(line, item->data, item->len) != 0) {
        return -1;
    }
    if (bytes_append_text(line, "\n") != 0)
        return -1;
    /* A failure stays with the stream: rejects_flush() tells it. */
    fwrite(line->data, 1, line->len, l->rejects);
    return 0;
}

static int load_reject(struct load *l, const struct feed_item *item)
{
    l->nrejected++;
    l->rejected_by[item->why->reason]++;
    if (l->nrejected <= REJECTS_SHOWN)
        say("%s:%" PRIu64 ": rejected: %s", input_name(l->in), item->line,
            item->why->text);
    if (l->nrejected == REJECTS_SHOWN)
        say("further rejected records are only %s",
            l->rejects != NULL ? "written down" : "counted");
    return rejects_add(l, item);
}

static int say_duplicate(struct load *l, const struct feed_item *item,
                         const struct quire_val *key)
{
    struct bytes text = { 0 };

    if (key_to_text(&l->schema, key->data, key->size, &text) == 0)
        say("%s:%" PRIu64 ": the key %.*s is there already; to go on, use "
            "--on-duplicate replace or keep",
            input_name(l->in), item->line, (int)text.len,
            (const char *)text.data);
    bytes_free(&text);
    return -1;
}

/* Note the record's key as seen, and find out whether the tree has the record
 * as it is. 1: nothing is to be put. */
static int mirror_look(struct load *l, const struct feed_item *item,
                       const struct quire_val *key, const struct quire_val *val)
{
    struct quire_val none = { NULL, 0 };
    struct quire_val old;
    quire_status rc = quire_put(l->txn, l->seen, key, &none, QUIRE_NOREPLACE);

    if (rc == QUIRE_EXISTS) {
        if (l->duplicates == DUPLICATES_ERROR)
            return say_duplicate(l, item, key);
        if (l->duplicates == DUPLICATES_KEEP) {
            l->nkept++;
            return 1;
        }
        rc = QUIRE_OK;
    }
    if (rc == QUIRE_OK)
        rc = store_value(l->txn, l->tree, NULL, key, &l->old, &old);
    if (rc == QUIRE_NOTFOUND)
        return 0;
    if (rc != QUIRE_OK)
        return fail_store(l, "compare", rc);
    if (old.size != val->size ||
        (old.size > 0 && memcmp(old.data, val->data, old.size) != 0))
        return 0;
    l->nunchanged++;
    l->nloaded++;
    l->pending++;
    return 1;
}

/* Delete what the input did not have. */
static int mirror_delete(struct load *l)
{
    struct quire_cursor *all = NULL;
    struct quire_cursor *seen = NULL;
    struct quire_val key;
    struct quire_val mark = { NULL, 0 };
    bool more = true; /* `seen` is on a record */
    quire_status rc;

    rc = quire_cursor_open(l->txn, l->tree, &all);
    if (rc == QUIRE_OK)
        rc = quire_cursor_open(l->txn, l->seen, &seen);
    if (rc == QUIRE_OK) {
        rc = quire_cursor_seek(seen, QUIRE_SEEK_FIRST, NULL);
        more = rc == QUIRE_OK;
    }
    if (rc == QUIRE_OK || rc == QUIRE_NOTFOUND)
        rc = quire_cursor_seek(all, QUIRE_SEEK_FIRST, NULL);
    while (rc == QUIRE_OK) {
        rc = quire_cursor_get(all, &key, NULL);
        if (rc == QUIRE_OK && more)
            rc = quire_cursor_get(seen, &mark, NULL);
        if (rc != QUIRE_OK)
            break;
        if (more && key.size == mark.size &&
            memcmp(key.data, mark.data, key.size) == 0) {
            rc = quire_cursor_next(seen);
            more = rc == QUIRE_OK;
            if (rc == QUIRE_NOTFOUND)
                rc = QUIRE_OK;
        } else {
            /* The key must not be the cursor's own memory. */
            l->key.len = 0;
            if (bytes_append(&l->key, key.data, key.size) != 0) {
                rc = STATUS_SAID;
                break;
            }
            key.data = l->key.data;
            rc = quire_del(l->txn, l->tree, &key);
            l->ndeleted++;
        }
        if (rc == QUIRE_OK)
            rc = quire_cursor_next(all);
    }
    quire_cursor_close(all);
    quire_cursor_close(seen);
    return rc == QUIRE_NOTFOUND ? 0 : fail_store(l, "delete", rc);
}

/* The next automatic key, in `to`. */
static int auto_key(struct load *l, unsigned char to[8], struct quire_val *key)
{
    if (l->next_auto == INT64_MIN) {
        say("%s: there is no key after the greatest number", l->store.db);
        return -1;
    }
    key_put_int(to, l->next_auto);
    key->data = to;
    key->size = 8;
    return 0;
}

/* Put one good record. */
static int load_put(struct load *l, const struct feed_item *item)
{
    unsigned char number[8];
    struct quire_val key = item->key;
    struct quire_val val = { item->data, item->len };
    quire_status rc;

    if (load_begin(l) != 0)
        return -1;
    if (l->schema.key_auto && auto_key(l, number, &key) != 0)
        return -1;
    if (l->schema.format == FORMAT_LINES)
        val.size = 0;
    if (l->mirror) {
        int done = mirror_look(l, item, &key, &val);

        if (done != 0)
            return done > 0 ? 0 : -1;
    }
    rc = FAIL_POINT("tools/store/too-big", QUIRE_TOOBIG,
                    quire_put(l->txn, l->tree, &key, &val, QUIRE_NOREPLACE));
    if (rc == QUIRE_EXISTS && !l->mirror) {
        if (l->duplicates == DUPLICATES_ERROR)
            return say_duplicate(l, item, &key);
        if (l->duplicates == DUPLICATES_KEEP) {
            l->nkept++;
            return 0;
        }
    }
    if (rc == QUIRE_EXISTS) {
        rc = quire_put(l->txn, l->tree, &key, &val, 0);
        l->nreplaced += rc == QUIRE_OK;
    }
    if (rc == QUIRE_TOOBIG) {
        struct feed_item rejected = *item;
        struct reject why;

        reject(&why, REASON_TOO_LONG, "the store says: %s",
               quire_error_detail());
        rejected.why = &why;
        return load_reject(l, &rejected);
    }
    if (rc != QUIRE_OK) {
        say("%s:%" PRIu64 ": this record could not be stored",
            input_name(l->in), item->line);
        return fail_store(l, "put", rc);
    }
    if (l->schema.key_auto)
        l->next_auto = (int64_t)((uint64_t)l->next_auto + 1);
    l->nloaded++;
    l->pending++;
    return l->mirror || l->pending < l->commit_every ? 0 : load_commit(l);
}

/* One item from the feed. */
static int load_item(struct load *l, const struct feed_item *item)
{
    l->nread++;
    return item->result == READ_REJECT ? load_reject(l, item)
                                       : load_put(l, item);
}

/* ---- progress and figures ---- */

static void load_progress(struct load *l)
{
    struct quire_stat st;
    double t = now();
    double seconds = t - l->start;
    uint64_t plain = l->bytes_done + feed_bytes(l->feed);
    uint64_t taken = l->taken_done + feed_taken(l->feed);
    char left[64] = "";
    char line[256];

    if (t < l->next_progress)
        return;
    l->next_progress = t + (say_on_terminal() ? 0.2 : 5);
    store_figures(l->db, &st);
    if (l->total > 0 && taken > 0 && taken <= l->total)
        snprintf(left, sizeof(left), ", %.0f %%, %.0f s left",
                 100.0 * (double)taken / (double)l->total,
                 seconds * (double)(l->total - taken) / (double)taken);
    snprintf(line, sizeof(line),
             "%" PRIu64 " records, %.1f MB%s, %.0f records/s, %.1f MB/s, "
             "%.1f MiB resident",
             l->nread, (double)plain / 1e6, left, (double)l->nread / seconds,
             (double)plain / 1e6 / seconds,
             (double)st.pool.resident_bytes / (1 << 20));
    say_progress(line);
}

static uint64_t total_of(char **inputs, int n)
{
    uint64_t total = 0;

    for (int i = 0; i < n; i++) {
        uint64_t one = input_total(inputs[i]);

        if (one == 0)
            return 0;
        total += one;
    }
    return total;
}

static void load_report(const struct load *l, double seconds,
                        const struct quire_close_report *closed,
                        uint64_t budget)
{
    FILE *to = l->ack ? stderr : stdout;
    double s = seconds > 1e-6 ? seconds : 1e-6;
    struct rusage usage;
    struct stat st;

    memset(&usage, 0, sizeof(usage));
    getrusage(RUSAGE_SELF, &usage);
    if (stat(l->store.db, &st) != 0)
        st.st_size = 0;
    fprintf(to, "records read: %" PRIu64 "\n", l->nread);
    fprintf(to, "records loaded: %" PRIu64 "\n", l->nloaded);
    fprintf(to, "records replaced: %" PRIu64 "\n", l->nreplaced);
    fprintf(to, "records kept: %" PRIu64 "\n", l->nkept);
    fprintf(to, "records rejected: %" PRIu64 "\n", l->nrejected);
    for (int r = 0; r < REASON_COUNT; r++) {
        if (l->rejected_by[r] > 0)
            fprintf(to, "rejected, %s: %" PRIu64 "\n",
                    reason_name((enum reason)r), l->rejected_by[r]);
    }
    if (l->mirror) {
        fprintf(to, "records unchanged: %" PRIu64 "\n", l->nunchanged);
        fprintf(to, "records deleted: %" PRIu64 "\n", l->ndeleted);
        fprintf(to, "records left out: %" PRIu64 "\n", l->nleft);
        fprintf(to, "inputs left out: %" PRIu64 "\n", l->inputs_left);
    }
    fprintf(to, "records committed: %" PRIu64 "\n", l->ncommitted);
    fprintf(to, "revisions: %" PRIu64 "\n", l->nrevisions);
    if (l->nrevisions > 0)
        fprintf(to, "newest revision: %" PRIu64 "\n", l->newest);
    fprintf(to, "seconds: %.3f\n", seconds);
    fprintf(to, "records/s: %.0f\n", (double)l->nread / s);
    fprintf(to, "MB/s: %.1f\n", (double)l->bytes_done / 1e6 / s);
    fprintf(to, "input bytes: %" PRIu64 "\n", l->bytes_done);
    fprintf(to, "file bytes: %" PRIu64 "\n", (uint64_t)st.st_size);
    fprintf(to, "memory budget bytes: %" PRIu64 "\n", budget);
    fprintf(to, "memory peak resident bytes: %" PRIu64 "\n",
            closed->resident_peak_bytes);
    fprintf(to, "process peak resident bytes: %ld\n", usage.ru_maxrss * 1024L);
    fprintf(to, "regions mapped: %" PRIu64 "\n", closed->regions_mapped);
    fprintf(to, "regions reused: %" PRIu64 "\n", closed->regions_reused);
    fprintf(to, "regions freed: %" PRIu64 "\n", closed->regions_freed);
    fprintf(to, "pages still pinned: %" PRIu64 "\n", closed->pinned_pages);
    fprintf(to, "segments still in use: %" PRIu64 "\n",
            closed->segments_in_use);
}

/* ---- inputs ---- */

static enum format load_format(const struct load *l, const char *input)
{
    enum format f = l->format;

    if (f == FORMAT_COUNT)
        f = format_of_input(input);
    if (f == FORMAT_COUNT)
        f = l->tree_schema.format;
    return f != FORMAT_RAW ? f : FORMAT_CSV;
}

/* Read an input of rows up to what tells its columns, and load that if it is a
 * record. READ_RECORD: the feed is open, go on with it. */
static enum read_result load_first(struct load *l)
{
    struct feed_item item;
    struct record rec;
    enum read_result rc;

    while (l->feed == NULL) {
        rc = reader_next(l->rd, &rec);
        if (rc == READ_REJECT) {
            item = (struct feed_item){ READ_REJECT, .data = rec.data,
                                       .len = rec.len, .line = rec.line,
                                       .why = &rec.why };
            if (load_item(l, &item) != 0)
                return READ_FAILED;
        } else if (rc != READ_RECORD) {
            return rc;
        } else if (rec.nfields > 0) { /* else an empty line */
            int header = load_first_row(l, &rec);

            if (header < 0)
                return READ_FAILED;
            if (header == 0 && feed_make(l->feed, &rec, &item) &&
                (item.result == READ_FAILED || load_item(l, &item) != 0))
                return READ_FAILED;
        }
        if (stop_signal() != 0)
            return READ_STOPPED;
    }
    return READ_RECORD;
}

/* Read the open input to its end. READ_END, READ_FAILED or READ_STOPPED. */
static enum read_result load_all(struct load *l)
{
    struct feed_item item;
    enum read_result rc = load_first(l);

    while (rc == READ_RECORD) {
        feed_next(l->feed, &item);
        if (item.result != READ_RECORD && item.result != READ_REJECT)
            return item.result;
        if (load_item(l, &item) != 0)
            return READ_FAILED;
        if (stop_signal() != 0)
            return READ_STOPPED;
        if ((l->nread & 255) == 0)
            load_progress(l);
    }
    return rc;
}

/* The counts that an input which is left out takes back. */
struct counts {
    uint64_t loaded;
    uint64_t replaced;
    uint64_t kept;
    uint64_t rejected;
    uint64_t unchanged;
};

/* --mirror, at an input's end: commit it, or leave it out. */
static int mirror_end(struct load *l, const struct counts *before,
                      const char *name, bool stopped)
{
    const char *why = NULL;

    if (stopped)
        why = "stopped by a signal";
    else if (l->nrejected > before->rejected)
        why = "records were rejected";
    else if (!l->prepared)
        why = "it is empty";
    if (why == NULL)
        return load_begin(l) == 0 && mirror_delete(l) == 0 ? load_commit(l)
                                                           : -1;
    say("%s: %s: nothing of it is mirrored", name, why);
    load_abort(l);
    l->nleft += l->nloaded - before->loaded + l->nkept - before->kept;
    l->nloaded = before->loaded;
    l->nreplaced = before->replaced;
    l->nkept = before->kept;
    l->nunchanged = before->unchanged;
    l->inputs_left++;
    l->pending = 0;
    l->schema_changed = false;
    schema_free(&l->tree_schema);
    return rejects_flush(l) == 0 ? load_look(l) : -1;
}

/* Load the file `name`; with `in`, that is a file of an archive, open. */
static enum read_result load_input(struct load *l, const char *name,
                                   struct input *in)
{
    struct counts before = { l->nloaded, l->nreplaced, l->nkept, l->nrejected,
                             l->nunchanged };
    enum read_result rc = READ_FAILED;
    enum format format = load_format(l, name);

    schema_init(&l->schema, format == FORMAT_JSON   ? FORMAT_NDJSON
                            : format == FORMAT_DUMP ? FORMAT_RAW
                                                    : format);
    l->prepared = false;
    l->in = in;
    if (l->tree_foreign && format != FORMAT_DUMP) {
        say("%s: the tree holds records that quire load did not make; load "
            "into another one with --tree",
            l->store.db);
        goto out;
    }
    if (in == NULL && input_open(name, l->window_bytes, &l->in) != 0)
        goto out;
    if (load_key_options(l) != 0 ||
        reader_open(format, l->records, l->in, l->max_record, &l->rd) != 0)
        goto out;
    if (format == FORMAT_DUMP) {
        rc = load_prepare_raw(l);
        if (rc != READ_RECORD)
            goto out;
        rc = READ_FAILED;
    } else if (!format_has_rows(l->schema.format) && load_prepare(l) != 0) {
        goto out;
    }
    rc = load_all(l);
    if (rc == READ_END && !l->prepared)
        say("%s: it is empty: no %s, nothing loaded", input_name(l->in),
            l->no_header ? "record" : "header line");
    if (l->mirror && (rc == READ_END || rc == READ_STOPPED) &&
        mirror_end(l, &before, input_name(l->in), rc == READ_STOPPED) != 0)
        rc = READ_FAILED;

out:
    if (l->feed != NULL)
        l->bytes_done += feed_bytes(l->feed);
    else if (l->rd != NULL)
        l->bytes_done += reader_bytes(l->rd);
    feed_close(l->feed);
    l->feed = NULL;
    if (l->in != NULL && in == NULL)
        l->taken_done += input_taken(l->in);
    keyer_destroy(l->keyer);
    l->keyer = NULL;
    reader_close(l->rd);
    l->rd = NULL;
    input_close(l->in);
    l->in = NULL;
    schema_free(&l->schema);
    return rc;
}

/* Load each file of an archive. */
static enum read_result load_archive(struct load *l, const char *name)
{
    enum read_result rc = READ_END;
    struct tar *t;
    struct input *in;
    int got = 1;

    if (tar_open(name, l->window_bytes, &t) != 0)
        return READ_FAILED;
    while (rc == READ_END && got > 0) {
        got = tar_next(t, &in);
        if (got > 0)
            rc = load_input(l, input_name(in), in);
        else if (got != INPUT_END)
            rc = got == INPUT_STOPPED ? READ_STOPPED : READ_FAILED;
    }
    l->taken_done += tar_taken(t);
    tar_close(t);
    return rc;
}

/* All inputs, then the last commit. The exit status. */
static int load_run(struct load *l)
{
    enum read_result rc = READ_END;

    if (load_look(l) != 0)
        goto failed;
    for (int i = 0; i < l->ninputs && rc == READ_END; i++)
        rc = input_is_tar(l->inputs[i]) ? load_archive(l, l->inputs[i])
                                        : load_input(l, l->inputs[i], NULL);
    if (rc == READ_FAILED)
        goto failed;
    if (l->mirror) {
        load_abort(l); /* each input has been committed at its end */
        if (rc == READ_STOPPED)
            return EXIT_SIGNAL + stop_signal();
        return l->inputs_left > 0 ? EXIT_REJECTS : EXIT_OK;
    }
    if (rc == READ_STOPPED)
        say("stopped by signal %d: committing the %" PRIu64
            " records since the last commit",
            stop_signal(), l->pending);
    if (load_commit(l) != 0 || rejects_flush(l) != 0)
        goto failed;
    if (rc == READ_STOPPED)
        return EXIT_SIGNAL + stop_signal();
    return l->nrejected > 0 ? EXIT_REJECTS : EXIT_OK;

failed:
    load_abort(l);
    say("%s: the load has failed: %" PRIu64 " records in %" PRIu64
        " revisions are committed, %" PRIu64 " after them %s",
        l->store.db, l->ncommitted, l->nrevisions, l->pending,
        l->undecided ? "may be" : "are not");
    return EXIT_FAILED;
}

/* Check what the options say together. -1, or the exit status. */
static int load_check_options(struct load *l)
{
    if (l->key_text != NULL && l->key_auto)
        return say_usage("load", "give --key or --key-auto, not both");
    l->format = FORMAT_COUNT;
    if (l->format_text != NULL) {
        l->format = format_find(l->format_text, strlen(l->format_text));
        if (l->format == FORMAT_COUNT)
            return say_usage("load",
                             "--format %s: it is csv, tsv, ndjson, json, lines "
                             "or raw",
                             l->format_text);
    }
    if (l->records != NULL && l->records[0] != '/' && l->records[0] != '\0')
        return say_usage("load",
                         "--records %s: a JSON pointer begins with a slash",
                         l->records);
    if (l->duplicates_text == NULL ||
        strcmp(l->duplicates_text, "replace") == 0)
        l->duplicates = DUPLICATES_REPLACE;
    else if (strcmp(l->duplicates_text, "keep") == 0)
        l->duplicates = DUPLICATES_KEEP;
    else if (strcmp(l->duplicates_text, "error") == 0)
        l->duplicates = DUPLICATES_ERROR;
    else
        return say_usage("load",
                         "--on-duplicate %s: it is replace, keep or error",
                         l->duplicates_text);
    if (l->mirror && (l->key_auto || l->commit_every_given))
        return say_usage("load", "--mirror goes with neither --key-auto nor "
                                 "--commit-every");
    if (l->commit_every == 0)
        return say_usage("load", "--commit-every 0: at least 1 record");
    if (l->max_record == 0 || l->max_record > QUIRE_VALUE_MAX)
        return say_usage("load", "--max-record: it is 1 byte to 1G");
    if (l->window_bytes < 1024 || l->window_bytes > (uint64_t)2 << 30)
        return say_usage("load", "--zstd-window: it is 1K to 2G");
    if (l->ninputs == 0)
        return say_usage("load", "name an INPUT, or - for standard input");
    return -1;
}

/* Open --rejects' file, which neither an input nor the store may be: it is made
 * empty. A file that was not there is made first, so that one which the store
 * would have made is known too. */
static int rejects_open(struct load *l)
{
    const char *path = l->rejects_path;
    bool is_new = false;
    struct stat own;
    struct stat st;
    int fd;

    if (path == NULL)
        return 0;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        is_new = fd >= 0;
    }
    if (fd < 0 || fstat(fd, &own) != 0) {
        say("--rejects %s: %m", path);
        goto failed;
    }
    for (int i = 0; i <= l->ninputs; i++) {
        const char *name = i < l->ninputs ? l->inputs[i] : l->store.db;

        if (name == NULL || stat(name, &st) != 0 || st.st_dev != own.st_dev ||
            st.st_ino != own.st_ino)
            continue;
        say("--rejects %s: it is %s, which would be lost; name another "
            "file",
            path, i < l->ninputs ? "an input" : "the store");
        goto failed;
    }
    if (S_ISREG(own.st_mode) &&
        FAIL_POINT("tools/rejects/truncate", -1, ftruncate(fd, 0)) != 0) {
        say("--rejects %s: %m", path);
        goto failed;
    }
    l->rejects = FAIL_POINT(MEMORY_POINT, NULL, fdopen(fd, "w"));
    if (l->rejects == NULL) {
        say("--rejects %s: %m", path);
        goto failed;
    }
    fputs("input\tline\treason\trecord\n", l->rejects);
    return 0;

failed:
    if (fd >= 0)
        close(fd);
    if (is_new)
        unlink(path);
    return -1;
}

int cmd_load(int argc, char **argv)
{
    struct load l = {
        .commit_every = COMMIT_EVERY_DEFAULT,
        .max_record = MAX_RECORD_DEFAULT,
        .window_bytes = WINDOW_DEFAULT,
    };
    bool threads_given = false;
    const struct option options[] = {
        { "--key", OPTION_TEXT, &l.key_text, NULL },
        { "--key-auto", OPTION_FLAG, &l.key_auto, NULL },
        { "--format", OPTION_TEXT, &l.format_text, NULL },
        { "--records", OPTION_TEXT, &l.records, NULL },
        { "--no-header", OPTION_FLAG, &l.no_header, NULL },
        { "--tree", OPTION_TEXT, &l.store.tree, NULL },
        { "--on-duplicate", OPTION_TEXT, &l.duplicates_text, NULL },
        { "--rejects", OPTION_TEXT, &l.rejects_path, NULL },
        { "--commit-every", OPTION_COUNT, &l.commit_every,
          &l.commit_every_given },
        { "--mirror", OPTION_FLAG, &l.mirror, NULL },
        { "--max-record", OPTION_SIZE, &l.max_record, NULL },
        { "--zstd-window", OPTION_SIZE, &l.window_bytes, NULL },
        { "--threads", OPTION_COUNT, &l.nthreads, &threads_given },
        { "--ack", OPTION_FLAG, &l.ack, NULL },
        STORE_OPTIONS(&l.store),
    };
    struct quire_close_report closed = { .size = sizeof(closed) };
    struct quire_stat st;
    struct stat before;
    int status = options_read("load", load_help, options, ARRAY_LEN(options),
                              argc, argv, &l.ninputs);

    if (status >= 0)
        return status;
    l.inputs = argv;
    if (threads_given && (l.nthreads == 0 || l.nthreads > 2))
        return say_usage("load", "--threads: it is 1 or 2");
    status = load_check_options(&l);
    if (status >= 0)
        return status;
    if (stop_install() != 0 || rejects_open(&l) != 0)
        return EXIT_FAILED;
    l.db_is_new = l.store.db != NULL && stat(l.store.db, &before) != 0 &&
                  errno == ENOENT;
    status = store_open("load", &l.store, 0, &l.db);
    if (status >= 0) {
        if (l.rejects != NULL)
            fclose(l.rejects);
        return status;
    }
    l.total = total_of(l.inputs, l.ninputs);
    l.start = now();
    l.next_progress = l.start + (say_on_terminal() ? 0.2 : 5);

    status = load_run(&l);
    store_figures(l.db, &st);
    if (store_close(l.store.db, l.db, &closed) != 0)
        status = EXIT_FAILED;
    /* A wrong option or name must not leave an empty store behind. */
    if (status == EXIT_FAILED && l.db_is_new && !l.commit_tried)
        unlink(l.store.db);
    load_report(&l, now() - l.start, &closed, st.pool.budget_bytes);
    if (stdout_finish() != 0)
        status = EXIT_FAILED;
    if (l.rejects != NULL &&
        FAIL_POINT("tools/rejects/close", (fclose(l.rejects), EOF),
                   fclose(l.rejects)) != 0) {
        say("%s: %m", l.rejects_path);
        status = EXIT_FAILED;
    }
    schema_free(&l.tree_schema);
    bytes_free(&l.old);
    bytes_free(&l.raw_meta);
    bytes_free(&l.reject_line);
    bytes_free(&l.reject_text);
    bytes_free(&l.key);
    bytes_free(&l.meta);
    return status;
}
