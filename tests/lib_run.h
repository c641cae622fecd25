/*
 * lib_run.h - running the program `quire` from a test and looking at what it
 * did: exit status, output, messages, memory.
 */
#ifndef QUIRE_TESTS_LIB_RUN_H
#define QUIRE_TESTS_LIB_RUN_H

#include <sys/types.h>

#include "tests/test.h"

/* What a finished run has left. */
struct run {
    int status;     /* exit status; 128 + the signal that ended it */
    char *out;      /* standard output, NUL behind it; malloc */
    size_t out_len; /* bytes */
    char *err;      /* standard error, NUL behind it; malloc */
    size_t err_len; /* bytes */
    long peak_kib;  /* most memory resident at once; 0: not measured */
};

/* Run `quire` with the arguments up to NULL, standard input empty, and wait for
 * it. What `r` held before is freed: begin with an all-zero one. */
void run(struct run *r, ...) __attribute__((sentinel));

/* As run(), with `in` as standard input (a file). */
void run_with(struct run *r, const void *in, size_t in_len, ...)
    __attribute__((sentinel));

/* As run(), with the arguments in an array that ends with NULL. */
void run_argv(struct run *r, const void *in, size_t in_len,
              const char *const *args);

/* As run_argv() with empty input, and measures peak_kib from outside, where
 * /usr/bin/time is there to do it. (A child's own figure, as wait4() gives it,
 * begins with the memory of the test that it was forked from.) */
void run_measured(struct run *r, const char *const *args);

/* As run_argv() with empty input, started by a shell that first does what
 * `before` says and then sends the program's files where `files` says:
 * "ulimit -n 4" and ">/dev/full", for example. Either may be "". */
void run_shell(struct run *r, const char *before, const char *files,
               const char *const *args);

void run_free(struct run *r);

/* A running `quire`, its standard input and output pipes. */
struct running {
    pid_t pid;
    int in;  /* write end of its standard input; -1: closed */
    int out; /* read end of its standard output */
    int err; /* its standard error, an unlinked file; -1: the caller's */
};

void run_start(struct running *p, ...) __attribute__((sentinel));
/* As run_start(), with standard error going to `err`, which stays the
 * caller's; run_finish() then has no messages. */
void run_start_err(struct running *p, int err, ...) __attribute__((sentinel));
/* Write all of `data` to its standard input; stops early when it has closed. */
void run_feed(struct running *p, const void *data, size_t len);
/* Read a line of its output into `line`, without the line end; false at its
 * end. */
bool run_line(struct running *p, char *line, size_t cap);
/* Close its input, wait for its end, collect the rest of its output. */
void run_finish(struct running *p, struct run *r);

/* ---- looking at what came ---- */

/* The exit status is `want`; otherwise what the program said is told. */
#define CHECK_RUN(r, want) run_check((r), (want), __FILE__, __LINE__)
void run_check(const struct run *r, int want, const char *file, int line);

/* `text` occurs in the output or the messages. */
#define CHECK_SAYS(r, text) run_check_says((r), (text), __FILE__, __LINE__)
void run_check_says(const struct run *r, const char *text, const char *file,
                    int line);

/* The number in the line "NAME: NUMBER" of the output or messages. Fails
 * without it. */
uint64_t run_figure(const struct run *r, const char *name);

/* The digits at `p` as a number. (The C library's functions are told by the
 * address sanitizer to look at the whole string, which may be the whole
 * output.) */
uint64_t run_number(const char *p);

/* ---- files ---- */

void write_file(const char *path, const void *data, size_t len);
/* All of a file, NUL behind it; malloc. */
char *read_file(const char *path, size_t *len);

#endif /* QUIRE_TESTS_LIB_RUN_H */
