/*
 * lib_fuzz.h - what is fuzzed of pages, of the page file and of whole stores.
 *
 * A *target* is a function that takes any bytes, makes of them what a file
 * could hold, gives that to the library, and ends the program if an answer is
 * not one that the library's headers allow. Where bytes are guarded by a
 * checksum, the target makes it right, or puts it out of force, as the input
 * says: what lies behind it is what is to be met. `make fuzz` runs targets
 * under libFuzzer (fuzz_store.c), test_fuzz_corpus.c gives each the inputs
 * that are kept in tests/corpus/.
 *
 * One thread at a time.
 */
#ifndef QUIRE_TESTS_LIB_FUZZ_H
#define QUIRE_TESTS_LIB_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *data, size_t len);
    /* Write seed number `i` of those that can be made, at most `cap` bytes;
     * returns its length, 0 behind the last. */
    size_t (*seed)(unsigned i, uint8_t *buf, size_t cap);
};

extern const struct fuzz_target fuzz_page;
extern const struct fuzz_target fuzz_fragment;
extern const struct fuzz_target fuzz_record;
extern const struct fuzz_target fuzz_super;
extern const struct fuzz_target fuzz_file;

/* All of them, NULL behind the last. */
extern const struct fuzz_target *const fuzz_targets[];

/* The stores that the target file changes are being made: a program that wants
 * the same ones each time freezes clock and random bytes (frozen.h) while this
 * is true. */
extern bool fuzz_making;

/* How often a target's input, or a part of it, was taken for good by what
 * decodes it: that a target gets that far is worth a test. */
extern uint64_t fuzz_accepted;

/* What is being run, for the message of a failure; NULL: not known. */
extern const char *fuzz_input;

/* Longest input that a target looks at, and longest seed. */
#define FUZZ_LEN_MAX 16384u /* bytes */

/* End the program, saying where, unless `cond`. */
#define FUZZ_MUST(cond) \
    ((cond) ? (void)0 : fuzz_failed(#cond, __FILE__, __LINE__))
void fuzz_failed(const char *what, const char *file, int line)
    __attribute__((noreturn));

/* ---- an input that is used up from its beginning ---- */

struct fuzz_in {
    const uint8_t *next;
    size_t left; /* bytes */
};

/* The next number; 0 behind the end. */
uint8_t fuzz_u8(struct fuzz_in *in);
uint16_t fuzz_u16(struct fuzz_in *in);
uint32_t fuzz_u32(struct fuzz_in *in);

/* The next `want` bytes, or as many as are left; *len. */
const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t want, size_t *len);

/* Memory of exactly `nbytes`, so that a sanitizer sees a byte too far; never
 * NULL. */
void *fuzz_alloc(size_t nbytes);

/* Make the checksum of the fragment of `len` bytes right. */
void fuzz_seal(uint8_t *frag, size_t len);

#endif /* QUIRE_TESTS_LIB_FUZZ_H */
