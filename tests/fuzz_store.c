/*
 * fuzz_store.c - libFuzzer's entry to the targets of lib_fuzz.h; FUZZ_TARGET
 * is the name of the one that is run, e.g. fuzz_page.
 *
 * With QUIRE_FUZZ_SEEDS in the environment, the target's seeds are written into
 * the directory that it names before fuzzing begins.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib_fuzz.h"

#define FROZEN_WHILE fuzz_making
#include "tests/frozen.h"

#ifndef FUZZ_TARGET
#error "define FUZZ_TARGET, as fuzz_page"
#endif

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void seed_write(const char *dir, unsigned i, const uint8_t *buf,
                       size_t len)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/seed%02u", dir, i);
    f = fopen(path, "wb");
    FUZZ_MUST(f != NULL);
    FUZZ_MUST(fwrite(buf, 1, len, f) == len);
    FUZZ_MUST(fclose(f) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static uint8_t buf[FUZZ_LEN_MAX];
    const char *dir = getenv("QUIRE_FUZZ_SEEDS");
    size_t len;

    (void)argc;
    (void)argv;
    for (unsigned i = 0; dir != NULL; i++) {
        len = FUZZ_TARGET.seed(i, buf, sizeof(buf));
        if (len == 0)
            break;
        seed_write(dir, i, buf, len);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len <= FUZZ_LEN_MAX)
        FUZZ_TARGET.run(data, len);
    return 0;
}
