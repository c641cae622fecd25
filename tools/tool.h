/*
 * tool.h - what the commands of `quire` share: saying, options, opening.
 *
 * A function that can fail returns 0, or -1 once it has said why on standard
 * error; the caller only cleans up. A message names the file, line or option,
 * then what is wrong, then what to do about it.
 */
#ifndef QUIRE_TOOLS_TOOL_H
#define QUIRE_TOOLS_TOOL_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "quire.h"
#include "tools/fail.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TOOL_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Exit statuses, as the manual has them. A signal that stopped a load adds its
 * number to EXIT_SIGNAL. */
#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_REJECTS 3
#define EXIT_SIGNAL 128

/* A growing byte buffer (bytes.c); all zero is an empty one. */
struct bytes {
    unsigned char *data; /* malloc; NULL while cap is 0 */
    size_t len;          /* bytes used */
    size_t cap;          /* bytes allocated */
};

/* ---- saying (say.c) ---- */

/* One line on standard error, "quire: ..."; clears a progress line first. */
void say(const char *fmt, ...) TOOL_PRINTF(1, 2);

/* Say that `what` failed on the store in `path`: the status in words, the
 * library's detail, what to do. Call it before anything else can fail. Of
 * STATUS_SAID it says nothing. */
void say_store(const char *path, const char *what, quire_status rc);
#define STATUS_SAID ((quire_status)1) /* not the library's: failed, said */

/* A usage error of `command`: says it, names --help, returns EXIT_USAGE. */
int say_usage(const char *command, const char *fmt, ...) TOOL_PRINTF(2, 3);

/* Tests want to know which message it was. */
#define say(...) SAID(say(__VA_ARGS__))
#define say_store(...) SAID(say_store(__VA_ARGS__))
#define say_usage(...) SAID(say_usage(__VA_ARGS__))

/* Show `line` as the progress line: in place on a terminal, else as a line of
 * its own. */
void say_progress(const char *line);
bool say_on_terminal(void);

/* What say() is told by this thread goes into `into` from now on, so that
 * another one can tell it in its own time; NULL: to standard error again. */
void say_collect(struct bytes *into);
/* Tell what was collected, and empty it. */
void say_collected(struct bytes *from);

/* ---- growing buffers (bytes.c) ---- */

/* Make room for `more` bytes past len; -1 when memory is short (said). */
int bytes_reserve(struct bytes *b, size_t more);
int bytes_append(struct bytes *b, const void *data, size_t len);
int bytes_append_text(struct bytes *b, const char *text);
/* Empty `b`, and give its memory back if it has grown past `keep` bytes. */
void bytes_reset(struct bytes *b, size_t keep);
void bytes_free(struct bytes *b);

/* ---- options (option.c) ---- */

enum option_kind {
    OPTION_FLAG,  /* no value; bool */
    OPTION_TEXT,  /* const char * */
    OPTION_COUNT, /* a whole number; uint64_t */
    OPTION_SIZE,  /* bytes with K, M or G; uint64_t */
    OPTION_TIME,  /* seconds, 0.25 as well; milliseconds as uint64_t */
};

struct option {
    const char *name; /* with its dashes */
    enum option_kind kind;
    void *dest;  /* where the value goes, of the kind's type */
    bool *given; /* set when the option was there; may be NULL */
};

/*
 * Read the options of `command` from argv[1..]; the other arguments are moved
 * to the front of argv and counted in *nargs. `--opt VALUE`, `--opt=VALUE`, and
 * `--` to end the options. `--help` prints `help` and is EXIT_OK.
 *
 * Returns: -1 to go on; otherwise the exit status to leave with.
 */
int options_read(const char *command, const char *help,
                 const struct option *options, size_t noptions, int argc,
                 char **argv, int *nargs);

/* ---- the store (store.c) ---- */

/* What every command that opens a store takes. */
struct store_args {
    const char *db;   /* --db */
    const char *tree; /* --tree; NULL: the default tree */
    uint64_t memory;  /* --memory, bytes; 0: the default */
    bool verbose;     /* --verbose */
};

#define STORE_OPTIONS(a) \
    { "--db", OPTION_TEXT, &(a)->db, NULL }, \
        { "--memory", OPTION_SIZE, &(a)->memory, NULL }, \
    { \
        "--verbose", OPTION_FLAG, &(a)->verbose, NULL \
    }

#define STORE_HELP \
    "  --db FILE          the store (required)\n" \
    "  --memory SIZE      memory budget: 32M, 1G; at least 8M, default " \
    "64M\n" \
    "  --verbose          the library's log on standard error\n"

/* Open `a->db` with quire_open()'s `flags`. -1, or the exit status. */
int store_open(const char *command, const struct store_args *a, unsigned flags,
               struct quire **db);

/* Begin reading at `rev` (UINT64_MAX: the newest) and open the tree. */
int store_begin_read(const struct store_args *a, struct quire *db, uint64_t rev,
                     struct quire_txn **txn, struct quire_tree **tree);

/* The store's figures. */
void store_figures(struct quire *db, struct quire_stat *st);

/* Close; -1 if that failed or the library still held something. `report` may
 * be NULL. */
int store_close(const char *path, struct quire *db,
                struct quire_close_report *report);

/* The value of `key` (or, with `cur`, of the cursor's record), whole: in
 * place if the library can, else copied into `buf`. STATUS_SAID: no memory. */
quire_status store_value(struct quire_txn *txn, struct quire_tree *tree,
                         struct quire_cursor *cur, const struct quire_val *key,
                         struct bytes *buf, struct quire_val *val);

/* ---- versionings (cmd_set.c) ---- */

const char *versioning_name(quire_versioning versioning);
/* What `text` names. -1, or EXIT_USAGE once that is said. */
int versioning_parse(const char *command, const char *text,
                     quire_versioning *versioning);

/* ---- signals (signals.c) ---- */

/* SIGINT and SIGTERM from now on set stop_signal() instead of killing; a
 * second one kills. SIGPIPE is ignored: writing says so itself. */
int stop_install(void);
int stop_signal(void); /* the signal's number; 0: none yet */
int stop_fd(void);     /* becomes readable with the signal; -1: none */

/* ---- the commands ---- */

int cmd_load(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_put(int argc, char **argv);
int cmd_del(int argc, char **argv);
int cmd_scan(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_revisions(int argc, char **argv);
int cmd_trees(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_gen(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* Flush standard output; -1 if anything written to it was lost. */
int stdout_finish(void);

#endif /* QUIRE_TOOLS_TOOL_H */
