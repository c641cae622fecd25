/*
 * bench_limit.c - limits by control groups, of either version.
 *
 * A new group is made below the one that this process is in; where that can't
 * be written, as in a container that sees another hierarchy than the kernel
 * does, below the root. Version 1 has a hierarchy for memory alone; in version
 * 2 the controller must have been handed down.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench_limit.h"
#include "tools/tool.h"

static const struct {
    const char *mount;
    const char *controller; /* in /proc/self/cgroup */
    const char *limit;
    const char *swap;
} versions[] = {
    { "/sys/fs/cgroup/memory", ":memory:", "memory.limit_in_bytes",
      "memory.memsw.limit_in_bytes" },
    { "/sys/fs/cgroup", "0::", "memory.max", "memory.swap.max" },
};

/* Write `text` to the file `name` of a group. */
static int put(const char *dir, const char *name, const char *text)
{
    char path[600];
    ssize_t len = (ssize_t)strlen(text);
    int fd;
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    rc = write(fd, text, (size_t)len) == len ? 0 : -1;
    close(fd);
    return rc;
}

/* The group that we are in, as a path below the mount; "" is the root. */
static void own_group(const char *controller, char *path, size_t cap)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[512];

    path[0] = '\0';
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *at = strstr(line, controller);

        if (at == NULL || (controller[0] != ':' && at != line))
            continue;
        at += strlen(controller);
        snprintf(path, cap, "%.*s", (int)strcspn(at, "\n"), at);
        if (strcmp(path, "/") == 0)
            path[0] = '\0';
        break;
    }
    if (f != NULL)
        fclose(f);
}

int bench_limit_make(struct bench_limit *l, const char *name, uint64_t nbytes)
{
    char number[24];

    snprintf(number, sizeof(number), "%llu", (unsigned long long)nbytes);
    for (size_t i = 0; i < 2 * ARRAY_LEN(versions); i++) {
        size_t v = i / 2;
        char group[256] = "";

        if (i % 2 == 0)
            own_group(versions[v].controller, group, sizeof(group));
        snprintf(l->dir, sizeof(l->dir), "%s%s/%s", versions[v].mount, group,
                 name);
        if (mkdir(l->dir, 0755) != 0)
            continue;
        if (put(l->dir, versions[v].limit, number) == 0) {
            /* no swap, where it is counted */
            (void)put(l->dir, versions[v].swap, v == 0 ? number : "0");
            return 0;
        }
        rmdir(l->dir);
    }
    l->dir[0] = '\0';
    return -1;
}

int bench_limit_enter(const struct bench_limit *l)
{
    return l->dir[0] == '\0' ? 0 : put(l->dir, "cgroup.procs", "0");
}

void bench_limit_remove(struct bench_limit *l)
{
    /* Its last process may still be on its way out. */
    for (int i = 0; i < 100 && l->dir[0] != '\0'; i++) {
        if (rmdir(l->dir) == 0 || errno != EBUSY)
            break;
        usleep(10000);
    }
    l->dir[0] = '\0';
}
