/*
 * cmd_info.c - `quire revisions`, `trees`, `stat` and `verify`: what a store
 * is, and whether it is whole.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/record.h"

/* Read the options of a command that takes none but the usual; open the store
 * for reading. -1, or the exit status. */
static int open_plain(const char *command, const char *help,
                      const struct option *options, size_t noptions, int argc,
                      char **argv, const struct store_args *a,
                      struct quire **db)
{
    int nargs;
    int status = options_read(command, help, options, noptions, argc, argv,
                              &nargs);

    if (status >= 0)
        return status;
    if (nargs > 0)
        return say_usage(command, "%s: it takes no arguments", argv[0]);
    return store_open(command, a, QUIRE_RDONLY | QUIRE_NOCREATE, db);
}

static int finish(const char *path, struct quire *db, bool good)
{
    if (store_close(path, db, NULL) != 0 || stdout_finish() != 0)
        good = false;
    return good ? EXIT_OK : EXIT_FAILED;
}

/* ---- revisions ---- */

static const char revisions_help[] =
    "usage: quire revisions --db FILE [--tree NAME]\n"
    "\n"
    "List the revisions, oldest first: number, time of the commit (UTC), number\n"
    "of records in the tree (- where there is no such tree), offset of the\n"
    "commit record in the file; separated by tabs.\n"
    "\n"
    "  --tree NAME        count this tree's records, not the default one's\n" STORE_HELP;

/* Print one revision. */
static int revisions_one(const struct store_args *a, struct quire *db,
                         quire_rev rev)
{
    struct quire_rev_info info = { .size = sizeof(info) };
    struct quire_txn *txn = NULL;
    struct quire_tree *tree = NULL;
    char when[64] = "?";
    struct tm tm;
    time_t seconds;
    uint64_t nrecords = 0;
    quire_status rc = quire_rev_info(db, rev, &info);

    if (rc == QUIRE_OK)
        rc = quire_begin_at(db, rev, &txn);
    if (rc == QUIRE_OK && a->tree != NULL)
        rc = quire_tree_open(txn, a->tree, 0, &tree);
    if (rc == QUIRE_OK)
        rc = quire_tree_count(txn, tree, &nrecords);
    quire_abort(txn);
    if (rc != QUIRE_OK && !(rc == QUIRE_NOTFOUND && txn != NULL)) {
        char what[64];

        snprintf(what, sizeof(what), "revision %" PRIu64, rev);
        say_store(a->db, what, rc);
        return -1;
    }
    seconds = (time_t)(info.time_us / 1000000);
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    printf("%" PRIu64 "\t%s.%06dZ\t", rev, when, (int)(info.time_us % 1000000));
    if (rc == QUIRE_OK)
        printf("%" PRIu64, nrecords);
    else
        printf("-");
    printf("\t%" PRIu64 "\n", info.file_off);
    return 0;
}

int cmd_revisions(int argc, char **argv)
{
    struct store_args a = { 0 };
    const struct option options[] = {
        { "--tree", OPTION_TEXT, &a.tree, NULL },
        STORE_OPTIONS(&a),
    };
    struct quire *db = NULL;
    struct quire_stat st;
    bool good = true;
    int status = open_plain("revisions", revisions_help, options,
                            ARRAY_LEN(options), argc, argv, &a, &db);

    if (status >= 0)
        return status;
    store_figures(db, &st);
    printf("revision\ttime\trecords\toffset\n");
    for (quire_rev rev = 1; good && rev <= st.rev; rev++)
        good = revisions_one(&a, db, rev) == 0;
    return finish(a.db, db, good);
}

/* ---- trees ---- */

static const char trees_help[] =
    "usage: quire trees --db FILE [--rev N]\n"
    "\n"
    "List the trees: name (nothing for the default one), number of records,\n"
    "format, key, columns; separated by tabs.\n"
    "\n"
    "  --rev N            as of revision N instead of the newest\n" STORE_HELP;

static int trees_one(const char *path, struct quire_txn *txn,
                     struct quire_tree *tree, const char *name)
{
    struct schema schema;
    struct bytes line = { 0 };
    uint64_t nrecords;
    quire_status rc = quire_tree_count(txn, tree, &nrecords);
    int result = -1;

    if (rc != QUIRE_OK) {
        say_store(path, "the number of records", rc);
        return -1;
    }
    if (schema_load(path, txn, tree, &schema) != 0)
        return -1;
    if (name == NULL && nrecords == 0 && schema.format == FORMAT_RAW)
        result =
            0; /* the default tree is always there; unused, it is no news */
    else if (print_escaped(&line, name != NULL ? name : "",
                           name != NULL ? strlen(name) : 0) == 0) {
        printf("%.*s\t%" PRIu64 "\t%s\t", (int)line.len,
               line.data != NULL ? (const char *)line.data : "", nrecords,
               format_name(schema.format));
        line.len = 0;
        if (schema_key_text(&schema, &line) == 0) {
            fwrite(line.data, 1, line.len, stdout);
            if (schema.ncolumns > 0)
                printf("\t%u\n", schema.ncolumns);
            else
                printf("\t-\n");
            result = 0;
        }
    }
    schema_free(&schema);
    bytes_free(&line);
    return result;
}

int cmd_trees(int argc, char **argv)
{
    struct store_args a = { 0 };
    uint64_t rev = UINT64_MAX;
    const struct option options[] = {
        { "--rev", OPTION_COUNT, &rev, NULL },
        STORE_OPTIONS(&a),
    };
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    struct quire_tree *tree = NULL;
    char name[QUIRE_NAME_MAX + 1] = "";
    char next[QUIRE_NAME_MAX + 1];
    bool good;
    int status = open_plain("trees", trees_help, options, ARRAY_LEN(options),
                            argc, argv, &a, &db);

    if (status >= 0)
        return status;
    good = store_begin_read(&a, db, rev, &txn, &tree) == 0;
    if (good)
        printf("tree\trecords\tformat\tkey\tcolumns\n");
    good = good && trees_one(a.db, txn, NULL, NULL) == 0;
    while (good) {
        quire_status rc = quire_tree_next(txn, name[0] != '\0' ? name : NULL,
                                          next);

        if (rc == QUIRE_NOTFOUND)
            break;
        if (rc == QUIRE_OK)
            strcpy(name, next);
        if (rc == QUIRE_OK)
            rc = quire_tree_open(txn, name, 0, &tree);
        if (rc != QUIRE_OK) {
            say_store(a.db, "the trees", rc);
            good = false;
        }
        good = good && trees_one(a.db, txn, tree, name) == 0;
    }
    quire_abort(txn);
    return finish(a.db, db, good);
}

/* ---- stat ---- */

static const char stat_help[] =
    "usage: quire stat --db FILE [--json]\n"
    "\n"
    "Print the store's figures, one `name: value` a line. Those of memory and\n"
    "cache are of this process and say what opening took. Then a line for each\n"
    "tree: its pages, how full they are, the bytes that are read to load all of\n"
    "them, and of how many fragments they are: 1:70 4:2 means seventy pages of\n"
    "one and two of four. Reads the pages above the leaves.\n"
    "\n"
    "  --json             as one JSON object\n" STORE_HELP;

static void stat_print(const struct quire_stat *st, bool json)
{
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        { "revision", st->rev },
        { "revision_durable", st->rev_durable },
        { "file_bytes", st->file_bytes },
        { "log_offset", st->log_off },
        { "page_bytes", st->page_bytes },
        { "window", st->window },
        { "block_bytes", st->block_bytes },
        { "incarnation", st->incarnation },
        { "commits", st->commits },
        { "syncs", st->syncs },
        { "written_bytes", st->written_bytes },
        { "zeroed_bytes", st->zeroed_bytes },
        { "read_bytes", st->read_bytes },
        { "pages_ahead", st->pages_ahead },
        { "transactions", st->transactions },
        { "memory_budget_bytes", st->pool.budget_bytes },
        { "memory_virtual_bytes", st->pool.virtual_bytes },
        { "memory_resident_bytes", st->pool.resident_bytes },
        { "memory_in_use_bytes", st->pool.in_use_bytes },
        { "memory_resident_peak_bytes", st->pool.resident_peak_bytes },
        { "segments_in_use", st->pool.segments_in_use },
        { "regions", st->pool.regions },
        { "regions_empty", st->pool.regions_empty },
        { "regions_mapped", st->pool.regions_mapped },
        { "regions_reused", st->pool.regions_reused },
        { "regions_freed", st->pool.regions_freed },
        { "sweeps", st->pool.sweeps },
        { "pressure_calls", st->pool.pressure_calls },
        { "failed_allocs", st->pool.failed_allocs },
        { "misuses", st->pool.misuses },
        { "cache_pages", st->cache.pages },
        { "cache_bytes", st->cache.bytes },
        { "cache_rows", st->cache.rows },
        { "cache_row_bytes", st->cache.row_bytes },
        { "cache_row_lookups", st->cache.row_lookups },
        { "cache_row_hits", st->cache.row_hits },
        { "cache_pinned_pages", st->cache.pinned_pages },
        { "cache_pinned_leaf_bytes", st->cache.pinned_bytes[QUIRE_KIND_LEAF] },
        { "cache_pinned_inner_bytes",
          st->cache.pinned_bytes[QUIRE_KIND_INNER] },
        { "cache_pinned_fragment_bytes",
          st->cache.pinned_bytes[QUIRE_KIND_FRAGMENT] },
        { "cache_pinned_overflow_bytes",
          st->cache.pinned_bytes[QUIRE_KIND_OVERFLOW] },
        { "cache_limbo_bytes", st->cache.limbo_bytes },
        { "cache_hits_hint", st->cache.hits_hint },
        { "cache_hits_table", st->cache.hits_table },
        { "cache_misses", st->cache.misses },
        { "cache_loads", st->cache.loads },
        { "cache_load_failures", st->cache.load_failures },
        { "cache_waits", st->cache.waits },
        { "cache_evicted", st->cache.removals[QUIRE_CAUSE_EVICTED] },
        { "cache_removed", st->cache.removals[QUIRE_CAUSE_REMOVED] },
        { "cache_replaced", st->cache.removals[QUIRE_CAUSE_REPLACED] },
        { "cache_closed", st->cache.removals[QUIRE_CAUSE_CLOSED] },
    };

    printf(json ? "{\"library\":\"%s\",\"versioning\":\"%s\""
                : "library: %s\nversioning: %s\n",
           quire_version(), versioning_name(st->versioning));
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        printf(json ? ",\"%s\":%" PRIu64 : "%s: %" PRIu64 "\n", figures[i].name,
               figures[i].value);
}

/* Part of `whole` that `part` is, in percent. */
static double percent(uint64_t part, double whole)
{
    return whole > 0 ? 100 * (double)part / whole : 0;
}

static void tree_stat_print(const struct bytes *name,
                            const struct quire_tree_stat *st, bool json,
                            bool first)
{
    double leaf = percent(st->leaf_bytes,
                          (double)st->leaf_pages * st->page_bytes);
    double inner = percent(st->inner_bytes,
                           2.0 * (double)st->inner_pages * st->page_bytes);
    bool any = false;

    printf(json ? "%s{\"name\":" : "%stree ", json && !first ? "," : "");
    fwrite(name->data, 1, name->len, stdout);
    printf(
        json ? ",\"records\":%" PRIu64 ",\"height\":%u,\"leaf_pages\":%" PRIu64
               ",\"leaf_fill\":%.1f,\"inner_pages\":%" PRIu64
               ",\"inner_fill\":%.1f,\"stored_bytes\":%" PRIu64 ",\"chains\":{"
             : ": records %" PRIu64 ", height %u, leaves %" PRIu64
               " %.1f%% full, inner pages %" PRIu64 " %.1f%% full, %" PRIu64
               " bytes stored, chains",
        st->records, st->height, st->leaf_pages, leaf, st->inner_pages, inner,
        st->stored_bytes);
    for (unsigned n = 1; n <= QUIRE_WINDOW_MAX; n++) {
        if (st->chains[n] == 0)
            continue;
        printf(json ? "%s\"%u\":%" PRIu64 : "%s %u:%" PRIu64,
               json && any ? "," : "", n, st->chains[n]);
        any = true;
    }
    printf(json ? "}}" : "\n");
}

static int tree_stat_one(const char *path, struct quire_txn *txn,
                         struct quire_tree *tree, const char *name, bool json,
                         bool first)
{
    struct quire_tree_stat st = { .size = sizeof(st) };
    struct bytes plain = { 0 };
    struct bytes quoted = { 0 };
    quire_status rc = quire_tree_stat_get(txn, tree, &st);
    int result = -1;

    if (rc != QUIRE_OK) {
        say_store(path, "the pages of a tree", rc);
        return -1;
    }
    result = json_quote(&quoted, name, strlen(name));
    if (result > 0) { /* no text: with its bytes as escapes */
        quoted.len = 0;
        result = print_escaped(&plain, name, strlen(name));
        if (result == 0)
            result = json_quote(&quoted, plain.data, plain.len);
    }
    if (result == 0)
        tree_stat_print(&quoted, &st, json, first);
    bytes_free(&plain);
    bytes_free(&quoted);
    return result;
}

/* All trees of the newest revision; names quoted as in JSON. */
static int trees_stat(const struct store_args *a, struct quire *db, bool json)
{
    struct quire_txn *txn = NULL;
    struct quire_tree *tree = NULL;
    char name[QUIRE_NAME_MAX + 1] = "";
    char next[QUIRE_NAME_MAX + 1];
    bool good = store_begin_read(a, db, UINT64_MAX, &txn, &tree) == 0;

    if (json)
        printf(",\"trees\":[");
    good = good && tree_stat_one(a->db, txn, NULL, "", json, true) == 0;
    while (good) {
        quire_status rc = quire_tree_next(txn, name[0] != '\0' ? name : NULL,
                                          next);

        if (rc == QUIRE_NOTFOUND)
            break;
        if (rc == QUIRE_OK) {
            strcpy(name, next);
            rc = quire_tree_open(txn, name, 0, &tree);
        }
        if (rc != QUIRE_OK)
            say_store(a->db, "the trees", rc);
        good = rc == QUIRE_OK &&
               tree_stat_one(a->db, txn, tree, name, json, false) == 0;
    }
    quire_abort(txn);
    if (json)
        printf("]}\n");
    return good ? 0 : -1;
}

int cmd_stat(int argc, char **argv)
{
    struct store_args a = { 0 };
    bool json = false;
    const struct option options[] = {
        { "--json", OPTION_FLAG, &json, NULL },
        STORE_OPTIONS(&a),
    };
    struct quire *db = NULL;
    struct quire_stat st;
    int status = open_plain("stat", stat_help, options, ARRAY_LEN(options),
                            argc, argv, &a, &db);

    if (status >= 0)
        return status;
    store_figures(db, &st);
    stat_print(&st, json);
    return finish(a.db, db, trees_stat(&a, db, json) == 0);
}

/* ---- verify ---- */

static const char verify_help[] =
    "usage: quire verify --db FILE\n"
    "\n"
    "Walk every page of every revision and check checksums, order, bounds,\n"
    "references and counts. Every fault is printed with its place; then a\n"
    "summary.\n"
    "\n" STORE_HELP "\n"
    "Status: 0 no fault, 1 faults or the walk could not be finished, 2 usage.\n";

static void on_fault(void *arg, const struct quire_fault *f)
{
    (void)arg;
    printf("fault: revision %" PRIu64 ", offset %" PRIu64 ", ", f->rev,
           f->file_off);
    if (f->tree == NULL)
        printf("the store's own records");
    else if (f->tree[0] == '\0')
        printf("the default tree");
    else
        printf("tree \"%s\"", f->tree);
    printf(": %s (%s)\n", f->text, quire_strerror(f->status));
}

int cmd_verify(int argc, char **argv)
{
    struct store_args a = { 0 };
    const struct option options[] = { STORE_OPTIONS(&a) };
    struct quire_verify_report report = { .size = sizeof(report) };
    struct quire *db = NULL;
    quire_status rc;
    int status = open_plain("verify", verify_help, options, ARRAY_LEN(options),
                            argc, argv, &a, &db);

    if (status >= 0)
        return status;
    rc = quire_verify(db, on_fault, NULL, &report);
    if (rc != QUIRE_OK && rc != QUIRE_CORRUPT)
        say_store(a.db, "verify", rc);
    printf("revisions: %" PRIu64 "\n", report.revisions);
    printf("pages: %" PRIu64 "\n", report.pages);
    printf("fragments: %" PRIu64 "\n", report.fragments);
    printf("records: %" PRIu64 "\n", report.records);
    printf("faults: %" PRIu64 "\n", report.faults);
    if (rc == QUIRE_CORRUPT)
        say("%s: %" PRIu64 " faults; restore it from a copy, or read what can "
            "be read with quire scan",
            a.db, report.faults);
    return finish(a.db, db, rc == QUIRE_OK);
}
