/*
 * lib_mem.h - a disk in memory: named files behind a struct quire_io.
 *
 * Fault and crash tests open thousands of stores; here that costs a copy of
 * their bytes and no disk. Locks, removal of open files and a full disk behave
 * as the system's do. Writes are "durable" at once: what a crash loses is the
 * business of lib_crash.h.
 */
#ifndef QUIRE_TESTS_LIB_MEM_H
#define QUIRE_TESTS_LIB_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "quire.h"

struct mem_disk; /* opaque */

/* An empty disk without a limit; the caller's until mem_disk_destroy(). */
struct mem_disk *mem_disk_create(void);

/* A disk with the same files and limit, none of them open. */
struct mem_disk *mem_disk_copy(struct mem_disk *disk);

/* NULL is accepted. A file that is still open fails the test. */
void mem_disk_destroy(struct mem_disk *disk);

/* The table to put into the options; lives as long as the disk. Any thread. */
const struct quire_io *mem_disk_io(struct mem_disk *disk);

/* Create the file `path`, or replace its bytes, with a copy of `bytes`. */
void mem_disk_put(struct mem_disk *disk, const char *path, const void *bytes,
                  size_t nbytes);

/* The bytes of `path`, which stay the disk's, and their number; NULL when
 * there is no such file. To be changed in place only while nobody else uses
 * the disk; valid until the file is written. */
uint8_t *mem_disk_bytes(struct mem_disk *disk, const char *path,
                        size_t *nbytes);

size_t mem_disk_files(struct mem_disk *disk); /* names */
size_t mem_disk_opens(struct mem_disk *disk); /* handles not closed */

/* Most bytes that all files may have together; beyond it writes are cut short
 * and then give -ENOSPC. 0: no limit. */
void mem_disk_limit(struct mem_disk *disk, uint64_t nbytes);

/* The system's memory and threads, but mappings that are given back are used
 * again: most of what opening a small store costs is the kernel finding pages.
 * Any thread. */
const struct quire_sys *mem_sys_kept(void);

#endif /* QUIRE_TESTS_LIB_MEM_H */
