/*
 * lib_run.c - running the program `quire`; see lib_run.h.
 *
 * Output goes to unlinked files where nobody reads it meanwhile, since a pipe
 * that nobody empties would stop the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib_run.h"

#define ARGS_MAX 64
#define TIME_PROGRAM "/usr/bin/time"

static int temp_file(void)
{
    const char *dir = getenv("TMPDIR");
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/quire-run-XXXXXX",
             dir != NULL ? dir : "/tmp");
    fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

static char *slurp(int fd, size_t *len)
{
    off_t size = lseek(fd, 0, SEEK_END);
    size_t done = 0;
    char *data;

    CHECK(size >= 0);
    data = malloc((size_t)size + 1);
    CHECK(data != NULL);
    while (done < (size_t)size) {
        ssize_t n = pread(fd, data + done, (size_t)size - done, (off_t)done);

        CHECK(n > 0);
        done += (size_t)n;
    }
    data[done] = '\0';
    *len = done;
    return data;
}

static void spill(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    CHECK(fd >= 0);
    spill(fd, data, len);
    CHECK_EQ(close(fd), 0);
}

char *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data;

    CHECK(fd >= 0);
    data = slurp(fd, len);
    close(fd);
    return data;
}

/* Start the program with these files as its own. */
static pid_t spawn(const char *program, const char *const *args, int in,
                   int out, int err)
{
    const char *argv[ARGS_MAX + 2];
    size_t n = 0;
    pid_t pid;

    argv[0] = program;
    while (args[n] != NULL) {
        CHECK(n < ARGS_MAX);
        argv[n + 1] = args[n];
        n++;
    }
    argv[n + 1] = NULL;
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
            _exit(127);
        signal(SIGPIPE, SIG_DFL);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static void collect(pid_t pid, struct run *r)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    r->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                    : WEXITSTATUS(status);
}

void run_free(struct run *r)
{
    free(r->out);
    free(r->err);
    memset(r, 0, sizeof(*r));
}

static void run_to_end(struct run *r, const char *program, const void *in,
                       size_t in_len, const char *const *args)
{
    int in_fd = temp_file();
    int out_fd = temp_file();
    int err_fd = temp_file();

    run_free(r);
    spill(in_fd, in, in_len);
    CHECK_EQ(lseek(in_fd, 0, SEEK_SET), 0);
    collect(spawn(program, args, in_fd, out_fd, err_fd), r);
    r->out = slurp(out_fd, &r->out_len);
    r->err = slurp(err_fd, &r->err_len);
    close(in_fd);
    close(out_fd);
    close(err_fd);
}

void run_argv(struct run *r, const void *in, size_t in_len,
              const char *const *args)
{
    run_to_end(r, test_program(), in, in_len, args);
}

void run_shell(struct run *r, const char *before, const char *files,
               const char *const *args)
{
    const char *all[ARGS_MAX + 1] = { "-c" };
    char script[512];
    size_t n = 3;

    snprintf(script, sizeof(script), "%s%sexec \"$0\" \"$@\" %s", before,
             before[0] != '\0' ? " && " : "", files);
    all[1] = script;
    all[2] = test_program();
    for (size_t i = 0; args[i] != NULL; i++) {
        CHECK(n < ARGS_MAX);
        all[n++] = args[i];
    }
    all[n] = NULL;
    run_to_end(r, "/bin/sh", "", 0, all);
}

void run_measured(struct run *r, const char *const *args)
{
    const char *timed[ARGS_MAX + 1] = { "-q", "-f", "%M", "-o" };
    const char *dir = getenv("TMPDIR");
    char path[4096];
    char *text;
    size_t len;
    size_t n = 5;

    if (access(TIME_PROGRAM, X_OK) != 0) {
        run_argv(r, "", 0, args);
        return;
    }
    snprintf(path, sizeof(path), "%s/quire-peak-%d", dir != NULL ? dir : "/tmp",
             (int)getpid());
    timed[4] = path;
    timed[n++] = test_program();
    for (size_t i = 0; args[i] != NULL; i++) {
        CHECK(n < ARGS_MAX);
        timed[n++] = args[i];
    }
    timed[n] = NULL;
    run_to_end(r, TIME_PROGRAM, "", 0, timed);
    text = read_file(path, &len);
    r->peak_kib = strtol(text, NULL, 10);
    CHECK(r->peak_kib > 0);
    free(text);
    unlink(path);
}

/* The arguments of a call up to NULL, as an array. */
static void gather(const char **args, va_list ap)
{
    size_t n = 0;

    do {
        CHECK(n < ARGS_MAX);
        args[n] = va_arg(ap, const char *);
    } while (args[n++] != NULL);
}

void run(struct run *r, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;

    va_start(ap, r);
    gather(args, ap);
    va_end(ap);
    run_argv(r, "", 0, args);
}

void run_with(struct run *r, const void *in, size_t in_len, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;

    va_start(ap, in_len);
    gather(args, ap);
    va_end(ap);
    run_argv(r, in, in_len, args);
}

static void start(struct running *p, int err, const char *const *args)
{
    int in[2];
    int out[2];

    CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
    signal(SIGPIPE, SIG_IGN);
    p->err = err >= 0 ? -1 : temp_file();
    p->pid = spawn(test_program(), args, in[0], out[1],
                   err >= 0 ? err : p->err);
    p->in = in[1];
    p->out = out[0];
    close(in[0]);
    close(out[1]);
}

void run_start(struct running *p, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;

    va_start(ap, p);
    gather(args, ap);
    va_end(ap);
    start(p, -1, args);
}

void run_start_err(struct running *p, int err, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;

    va_start(ap, err);
    gather(args, ap);
    va_end(ap);
    start(p, err, args);
}

void run_feed(struct running *p, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = write(p->in, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* it reads no more */
        at += n;
        len -= (size_t)n;
    }
}

bool run_line(struct running *p, char *line, size_t cap)
{
    size_t len = 0;

    for (;;) {
        char c;
        ssize_t n = read(p->out, &c, 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false; /* a line cut short is no line */
        if (c == '\n')
            break;
        CHECK(len + 1 < cap);
        line[len++] = c;
    }
    line[len] = '\0';
    return true;
}

void run_finish(struct running *p, struct run *r)
{
    size_t cap = 1 << 16;
    ssize_t n;

    run_free(r);
    if (p->in >= 0)
        close(p->in);
    r->out = malloc(cap);
    CHECK(r->out != NULL);
    while ((n = read(p->out, r->out + r->out_len, cap - r->out_len - 1)) > 0) {
        r->out_len += (size_t)n;
        if (cap - r->out_len < 2) {
            cap *= 2;
            r->out = realloc(r->out, cap);
            CHECK(r->out != NULL);
        }
    }
    r->out[r->out_len] = '\0';
    close(p->out);
    collect(p->pid, r);
    if (p->err < 0) {
        r->err = calloc(1, 1);
        return;
    }
    r->err = slurp(p->err, &r->err_len);
    close(p->err);
}

void run_check(const struct run *r, int want, const char *file, int line)
{
    if (r->status != want)
        fprintf(stderr, "quire ended with %d, not %d, and said:\n%s%.2000s\n",
                r->status, want, r->err, r->out);
    test_check(r->status == want, "the exit status", file, line);
}

/* Leave the lines around `at` in `text` where check-says.sh looks for messages
 * that a test has waited for. */
static void note(const char *text, const char *at, size_t len)
{
    const char *dir = getenv("QUIRE_SAYS");
    const char *end = at + len + strcspn(at + len, "\n");
    char path[4096];
    FILE *f;

    if (dir == NULL)
        return;
    if (len > 0 && at[len - 1] == '\n')
        end = at + len - 1;
    while (at > text && at[-1] != '\n')
        at--;
    snprintf(path, sizeof(path), "%s/waited.%ld", dir, (long)getpid());
    f = fopen(path, "a");
    CHECK(f != NULL);
    for (; at < end; at++)
        fputc(*at != '\n' ? *at : ' ', f);
    fputc('\n', f);
    fclose(f);
}

void run_check_says(const struct run *r, const char *text, const char *file,
                    int line)
{
    const char *at = strstr(r->err, text);
    bool says = at != NULL || strstr(r->out, text) != NULL;

    if (at != NULL)
        note(r->err, at, strlen(text));

    if (!says)
        fprintf(stderr, "quire did not say \"%s\" but:\n%s%.2000s\n", text,
                r->err, r->out);
    test_check(says, "what quire said", file, line);
}

/* The number behind "NAME: " at the beginning of a line of `text`. */
static bool find_figure(const char *text, const char *name, uint64_t *number)
{
    size_t len = strlen(name);

    for (const char *p = text; p != NULL; p = strchr(p, '\n')) {
        if (*p == '\n')
            p++;
        if (strncmp(p, name, len) == 0 && strncmp(p + len, ": ", 2) == 0) {
            *number = strtoull(p + len + 2, NULL, 10);
            return true;
        }
    }
    return false;
}

uint64_t run_figure(const struct run *r, const char *name)
{
    uint64_t number = 0;
    bool found = find_figure(r->out, name, &number) ||
                 find_figure(r->err, name, &number);

    if (!found)
        fprintf(stderr, "no figure \"%s\" in:\n%s%s\n", name, r->out, r->err);
    CHECK(found);
    return number;
}

uint64_t run_number(const char *p)
{
    uint64_t n = 0;

    while (*p >= '0' && *p <= '9')
        n = n * 10 + (uint64_t)(*p++ - '0');
    return n;
}
