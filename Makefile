# quire: the library, the program, the tests. `make help` lists the targets.
#
# Everything is built into $(BUILD_ROOT)/<configuration>/, where DEBUG and SAN
# choose the configuration; sources are found by wildcard, so that a new file
# needs no change here. CFLAGS, CPPFLAGS and LDFLAGS are the user's; what quire
# itself needs is in the Q_ variables.

DEBUG ?= 0
SAN ?=
V ?= 0
WERROR ?= 0
# 1: count what is executed, for the target coverage.
COVERAGE ?= 0
BUILD_ROOT ?= build
PREFIX ?= /usr/local
DESTDIR ?=
TESTS ?=
JOBS ?= 2
# 1: show what the tests print that pass, too.
SHOW ?= 0
# Test programs that check-valgrind leaves out, by name.
VALGRIND_SKIP ?=
# Long test programs that check-tsan leaves out: they have one thread, but for
# the library's own here and there, and what they drive is driven by several in
# others. TSAN_SKIP= takes them in.
TSAN_SKIP ?= test_crash_broken test_crash_damage test_fault_api \
    test_fault_store test_fuzz_corpus test_pages_strategy test_store_history \
    test_store_regress test_tools_data test_tools_fail
QUIRE_SHARED ?= $(abspath $(wildcard ../shared))

CFLAGS ?=
CPPFLAGS ?=
LDFLAGS ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
OBJCOPY ?= objcopy

# ---- the configuration ----

ifeq ($(filter 0 1 2,$(DEBUG)),)
$(error DEBUG is 0, 1 or 2)
endif

# The tests want assertions unless told otherwise; the sanitizers always.
CHECK_CONFIG := $(if $(filter file,$(origin DEBUG)),DEBUG=1)
ifneq "$(SAN)" ""
ifeq "$(DEBUG)" "0"
override DEBUG := 1
endif
endif

comma := ,
CONFIG_0 := release
CONFIG_1 := debug
CONFIG_2 := debug2
ifeq "$(SAN)" ""
CONFIG := $(CONFIG_$(DEBUG))
else
CONFIG_address,undefined := asan
CONFIG_undefined := ubsan
CONFIG_thread := tsan
CONFIG := $(or $(CONFIG_$(SAN)),$(subst $(comma),-,$(SAN)))$(filter 2,$(DEBUG))
endif
ifneq "$(COVERAGE)" "0"
CONFIG := coverage
endif
B := $(BUILD_ROOT)/$(CONFIG)

Q := $(if $(filter 0,$(V)),@)
say = $(if $(filter 0,$(V)),@echo '  $(1)')

VERSION_PART = $(shell sed -n 's/^.define QUIRE_VERSION_$(1) //p' quire.h)
VERSION := $(call VERSION_PART,MAJOR).$(call VERSION_PART,MINOR).$(call VERSION_PART,PATCH)
SONAME := libquire.so.0

# ---- flags ----

Q_WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
Q_CPPFLAGS := -D_GNU_SOURCE -I.
Q_CFLAGS := -std=c11 -O2 -g -fPIC -fvisibility=hidden -pthread $(Q_WARN)
Q_LDFLAGS := -pthread -Wl,--as-needed
Q_LIBS := -lurcu-bp -lurcu-common -llz4 -lxxhash
PROGRAM_LIBS := -lcsv -lyajl -larchive -lzstd -lz -lm -ldl
TEST_LIBS := -lcmocka -lfiu $(PROGRAM_LIBS)

ifneq "$(WERROR)" "0"
Q_CFLAGS += -Werror
endif
# Counters are atomic, since many threads count; inlining would count twice.
ifneq "$(COVERAGE)" "0"
Q_CFLAGS += -O1 -fno-inline --coverage -fprofile-update=atomic
endif
# Named failure points are compiled in together with the assertions; a release
# build knows nothing of libfiu.
ifneq "$(DEBUG)" "0"
Q_CPPFLAGS += -DQUIRE_DEBUG=$(DEBUG) -DFIU_ENABLE
Q_LIBS += -lfiu
endif
ifneq "$(SAN)" ""
Q_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
Q_LDFLAGS += -fsanitize=$(SAN)
else
Q_SOFLAGS := -Wl,-z,defs
endif

COMPILE = $(CC) $(Q_CPPFLAGS) $(CPPFLAGS) $(Q_CFLAGS) $(CFLAGS) -MMD -MP -c
LINK = $(CC) $(Q_CFLAGS) $(CFLAGS) $(Q_LDFLAGS) $(LDFLAGS)

# ---- sources ----

LIB_SRCS := $(sort $(wildcard alloc/*.c cache/*.c pages/*.c pages/file/*.c \
    txlog/tree/*.c txlog/*.c))
PROGRAM_SRCS := $(sort $(wildcard tools/*.c))
EXAMPLE_SRCS := $(sort $(wildcard tools/examples/*.c))
TEST_SRCS := $(sort $(wildcard tests/test_*.c))
TEST_LIB_SRCS := $(sort $(wildcard tests/lib_*.c))

objs = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB_OBJS := $(call objs,$(LIB_SRCS))
PROGRAM_OBJS := $(call objs,$(PROGRAM_SRCS))
EXAMPLE_OBJS := $(call objs,$(EXAMPLE_SRCS))
TEST_OBJS := $(call objs,$(TEST_SRCS))
TEST_LIB_OBJS := $(call objs,$(TEST_LIB_SRCS))
ALL_OBJS := $(LIB_OBJS) $(PROGRAM_OBJS) $(EXAMPLE_OBJS) $(TEST_OBJS) \
    $(TEST_LIB_OBJS)

HAVE_ROCKSDB_CACHE := $(if $(PROGRAM_SRCS),$(shell echo '\#include <rocksdb/cache.h>' | \
    $(CXX) -std=c++17 -E -x c++ - >/dev/null 2>&1 && echo yes))

# A part without sources, as in a tree that holds only the library, is left out.
LIBS := $(if $(LIB_SRCS),$(B)/libquire.a $(B)/libquire.so)
PROGRAM := $(if $(PROGRAM_SRCS),$(B)/quire)
EXAMPLES := $(patsubst tools/examples/%.c,$(B)/examples/%,$(EXAMPLE_SRCS))
TEST_NAMES := $(or $(TESTS),$(patsubst tests/%.c,%,$(TEST_SRCS)))
TEST_BINS := $(addprefix $(B)/tests/,$(TEST_NAMES))
LATEST := $(if $(filter release,$(CONFIG)),$(if $(PROGRAM),$(BUILD_ROOT)/quire))

# ---- targets ----

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all help tests test run-tests check check-asan check-ubsan check-tsan \
    check-valgrind check-layers check-headers check-symbols demo crash coverage \
    fuzz soak check-neon format-check install install-deps clean FORCE

all: $(LIBS) $(PROGRAM) $(EXAMPLES) $(LATEST) ## the libraries, the program and the examples (default)

help: ## this list
	@echo 'usage: make [TARGET] [VARIABLE=VALUE ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  DEBUG=0|1|2     assertions: none, quick ones, slow ones too'
	@echo '  SAN=LIST        sanitizers: address,undefined or thread'
	@echo '  TESTS="NAME.."  only these test programs (test_alloc_ra ...)'
	@echo '  SEED=N          the seed of randomized tests'
	@echo '  JOBS=N          test programs run at once (2)'
	@echo '  SHOW=1          show what the tests print that pass, too'
	@echo '  QUIRE_SHARED=D  directory of the sample data, for tests that need it'
	@echo '  V=1             show the commands'
	@echo '  WERROR=1        a warning is an error'
	@echo '  BUILD_ROOT=DIR  where to build (build)'
	@echo '  PREFIX=, DESTDIR=, CC=, CFLAGS=, CPPFLAGS=, LDFLAGS= as usual'

# Objects are made anew when the command that makes them has changed.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' >$@

# So are libraries and programs when a source has come or gone.
$(B)/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJS) $(PROGRAM_OBJS) $(TEST_LIB_OBJS)' | cmp -s - $@ || \
	    echo '$(LIB_OBJS) $(PROGRAM_OBJS) $(TEST_LIB_OBJS)' >$@

$(B)/obj/%.o: %.c $(B)/flags
	$(call say,CC      $<)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -o $@ $<

# What `quire bench` can measure beside depends on headers that are there
# or not; those files are made anew when one has come or gone.
$(B)/peers: FORCE
	@mkdir -p $(@D)
	@printf '#if __has_include(<%s>)\n%s\n#endif\n' lmdb.h lmdb \
	    rocksdb/c.h rocksdb wiredtiger.h wiredtiger sqlite3.h sqlite \
	    db.h mpool | \
	    $(CC) $(CPPFLAGS) -E -P -x c - >$@.new && \
	    { cmp -s $@.new $@ || cp $@.new $@; }

$(filter $(B)/obj/tools/engine_%.o,$(PROGRAM_OBJS)): $(B)/peers

# RocksDB's caches have a C++ interface only: a library beside the program,
# where the headers and a compiler for them are.
ifneq "$(HAVE_ROCKSDB_CACHE)" ""
$(B)/quire-cache-rocksdb.so: tools/cache_rocksdb.cc tools/bench_cache.h $(B)/flags
	$(call say,CXX     $<)
	@mkdir -p $(@D)
	$(Q)$(CXX) -I. -std=c++17 -O2 -g -fPIC -shared -fvisibility=hidden -Wall \
	    -Wextra $(CXXFLAGS) -o $@ $< -lrocksdb

all: $(B)/quire-cache-rocksdb.so
endif

-include $(ALL_OBJS:.o=.d)

# One object in which only quire_* is global: a two-letter prefix must not meet
# an application's own.
$(B)/libquire.a: $(LIB_OBJS) $(B)/sources
	$(call say,AR      $@)
	$(Q)$(LD) -r -o $(B)/obj/quire.o $(LIB_OBJS)
	$(Q)$(OBJCOPY) --localize-hidden $(B)/obj/quire.o
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(B)/obj/quire.o

$(B)/$(SONAME): $(LIB_OBJS) $(B)/sources
	$(call say,LD      $@)
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) $(Q_SOFLAGS) -o $@ $(LIB_OBJS) $(Q_LIBS)

$(B)/libquire.so: $(B)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(B)/quire: $(PROGRAM_OBJS) $(B)/libquire.a $(B)/sources
	$(call say,LD      $@)
	$(Q)$(LINK) -o $@ $(PROGRAM_OBJS) $(B)/libquire.a $(PROGRAM_LIBS) $(Q_LIBS)

$(B)/examples/%: $(B)/obj/tools/examples/%.o $(B)/libquire.a
	$(call say,LD      $@)
	@mkdir -p $(@D)
	$(Q)$(LINK) -o $@ $< $(B)/libquire.a $(Q_LIBS)

# Tests see the inside of the library, so they get its objects.
$(B)/tests/%: $(B)/obj/tests/%.o $(TEST_LIB_OBJS) $(LIB_OBJS) $(B)/sources
	$(call say,LD      $@)
	@mkdir -p $(@D)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(TEST_LIBS) $(Q_LIBS)

ifneq "$(LATEST)" ""
$(LATEST): $(PROGRAM)
	$(Q)ln -sfn $(CONFIG)/quire $@
endif

# ---- tests ----

TEST_CHECKS := tests/check-layers.sh tests/check-headers.sh \
    tests/check-acquire.sh tests/check-scenarios.sh tests/check-release.sh \
    tests/check-examples.sh
TEST_TIMEOUT := 280
TEST_DIVISOR ?= 1
TEST_WRAPPER :=
ifeq "$(SAN)" ""
ifneq "$(LIBS)" ""
TEST_CHECKS += tests/check-symbols.sh
endif
else
TEST_CHECKS :=
TEST_TIMEOUT := 900
TEST_DIVISOR := 4
endif
ifneq "$(TESTS)" ""
TEST_CHECKS :=
endif

# Which failure points were fired and which messages came is known when all
# programs have run, and only where there are points.
END_CHECKS = $(if $(filter-out 0,$(DEBUG)),$(if $(strip $(TEST_CHECKS)),\
    -p tests/check-points.sh -s tests/check-says.sh))

TEST_ENV = CC='$(CC)' CXX='$(CXX)' LC_ALL=C \
    FLAGS='-std=c11 $(Q_CPPFLAGS) $(CPPFLAGS) $(Q_WARN)' \
    LIBRARY_DIR='$(B)' \
    QUIRE_BIN='$(abspath $(PROGRAM))' \
    QUIRE_SHARED='$(QUIRE_SHARED)' \
    ASAN_OPTIONS='detect_leaks=1:strict_string_checks=1' \
    UBSAN_OPTIONS='halt_on_error=1:print_stacktrace=1' \
    TSAN_OPTIONS='suppressions=$(CURDIR)/tests/tsan.supp'

# The thread sanitizer of this compiler wants addresses where they were before
# kernels randomized them further: without randomization they are.
ifeq "$(SAN)" "thread"
TEST_WRAPPER := $(shell setarch -R true 2>/dev/null && echo setarch -R)
endif

# Make the sub-make parallel, unless this one is already.
SUBMAKE = $(MAKE) --no-print-directory \
    $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

tests: all $(TEST_BINS) ## build the test programs, run nothing

run-tests: tests
	@$(TEST_ENV) TEST_DIVISOR='$(TEST_DIVISOR)' tests/run.sh -j $(JOBS) \
	    -t $(TEST_TIMEOUT) -w '$(TEST_WRAPPER)' $(END_CHECKS) \
	    $(if $(filter-out 0,$(SHOW)),-v) \
	    $(TEST_CHECKS) \
	    $(filter-out $(TEST_EXCEPT),$(TEST_BINS))

check: ## install what is missing, build, run all tests (with assertions)
	@tools/install-deps.sh
	@$(SUBMAKE) $(CHECK_CONFIG) run-tests

test: ## as check, without installing anything
	@$(SUBMAKE) $(CHECK_CONFIG) run-tests

check-asan: ## the tests with the address and undefined sanitizers
	@$(SUBMAKE) SAN=address,undefined run-tests

check-ubsan: ## the tests with the undefined sanitizer alone
	@$(SUBMAKE) SAN=undefined run-tests

check-tsan: ## the tests with the thread sanitizer (but those in TSAN_SKIP)
	@$(SUBMAKE) SAN=thread TEST_EXCEPT='$(addprefix %/,$(TSAN_SKIP))' run-tests

VALGRIND := valgrind -q --leak-check=full --show-leak-kinds=definite,indirect,possible \
    --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99 \
    --num-callers=30 --fair-sched=yes

check-valgrind: ## the tests under Valgrind (but those in VALGRIND_SKIP)
	@$(SUBMAKE) DEBUG=1 TEST_CHECKS= TEST_TIMEOUT=3600 TEST_DIVISOR=20 \
	    TEST_WRAPPER='$(VALGRIND)' \
	    TEST_EXCEPT='$(addprefix %/,$(VALGRIND_SKIP))' run-tests

# Assertions and faults put in on purpose (alloc/broken.h) are not the
# library's branches. The counts must be open to all: tests run the program as
# another user. It is built anew, since gcovr stumbles over what an older source
# has left.
GCOVR := gcovr --root . --object-directory $(BUILD_ROOT)/coverage/obj \
    --filter '(alloc|cache|pages|txlog)/' --exclude-throw-branches \
    --exclude-branches-by-pattern '.*(QUIRE_ASSERT|ra_broken|QUIRE_POINT).*'

coverage: ## the tests' coverage of lines and branches, by gcovr
	@tools/install-deps.sh --with-checks
	@rm -rf $(BUILD_ROOT)/coverage
	@umask 0; rc=0; $(SUBMAKE) DEBUG=1 COVERAGE=1 TEST_CHECKS= \
	    TEST_TIMEOUT=900 run-tests || rc=$$?; \
	$(GCOVR) --print-summary --html-details $(BUILD_ROOT)/coverage/index.html \
	    --txt || rc=$$?; exit $$rc

CRASH_TESTS := $(foreach t,$(patsubst tests/%.c,%,$(TEST_SRCS)),\
    $(if $(findstring crash,$(t))$(findstring kill,$(t))$(findstring\
    fault,$(t)),$(t)))

crash: ## the long form of the crash, kill and fault tests
	@$(if $(strip $(CRASH_TESTS)),,echo 'no test is named after crash, kill or fault'; exit 1)
	@QUIRE_CRASH=long $(SUBMAKE) $(CHECK_CONFIG) TEST_CHECKS= \
	    SHOW=1 TEST_TIMEOUT=14400 TESTS='$(strip $(CRASH_TESTS))' run-tests

# How many operations the mixed test of a soak makes.
SOAK_OPS ?= 10000000

soak: ## transactions of 4 GiB, values of 1 GiB (30 GiB of disk), SOAK_OPS (10 million) random operations
	@QUIRE_SOAK=long OPS=$(SOAK_OPS) $(SUBMAKE) $(CHECK_CONFIG) TEST_CHECKS= \
	    TEST_TIMEOUT=14400 TESTS='test_store_ops test_store_large' run-tests

# Readers and keys without the input they come from: the targets have their
# own. For the others the library itself is made for the fuzzer, in a
# configuration of its own.
FUZZ_SECONDS ?= 60
FUZZ_READERS := csv tsv json
FUZZ_STORES := page fragment record super file
FUZZ_TARGETS ?= $(FUZZ_READERS) $(FUZZ_STORES)
FUZZ_CC ?= clang
FUZZ_SRCS := tests/fuzz_tools_read.c $(addprefix tools/,bytes.c json.c key.c \
    parser.c print.c read_csv.c read_json.c read_raw.c reader.c record.c row.c \
    say.c schema.c)
FUZZ_BINS := $(addprefix $(BUILD_ROOT)/fuzz/,$(filter $(FUZZ_READERS),$(FUZZ_TARGETS)))
FUZZ_STORE_BINS := $(addprefix $(BUILD_ROOT)/fuzz/asan/fuzz_,$(filter $(FUZZ_STORES),$(FUZZ_TARGETS)))
FUZZ_STORE_MAKE = $(SUBMAKE) CC='$(FUZZ_CC)' SAN=address,undefined \
    BUILD_ROOT='$(BUILD_ROOT)/fuzz' \
    CFLAGS='$(CFLAGS) -fsanitize=fuzzer-no-link'

$(addprefix $(BUILD_ROOT)/fuzz/,$(FUZZ_READERS)): $(BUILD_ROOT)/fuzz/%: \
    $(FUZZ_SRCS) $(wildcard tools/*.h) $(BUILD_ROOT)/debug/libquire.a
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=c11 -O1 -g $(Q_CPPFLAGS) $(CPPFLAGS) $(Q_WARN) \
	    -DFUZZ_$(shell echo $* | tr a-z A-Z) \
	    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    -o $@ $(FUZZ_SRCS) $(BUILD_ROOT)/debug/libquire.a \
	    $(PROGRAM_LIBS) $(Q_LIBS) -lfiu -pthread

$(addprefix $(B)/fuzz_,$(FUZZ_STORES)): $(B)/fuzz_%: tests/fuzz_store.c \
    $(LIB_OBJS) $(TEST_LIB_OBJS) $(B)/sources
	$(call say,LD      $@)
	@mkdir -p $(@D)
	$(Q)$(LINK) $(Q_CPPFLAGS) $(CPPFLAGS) -fsanitize=fuzzer \
	    -DFUZZ_TARGET=fuzz_$* -o $@ tests/fuzz_store.c $(filter %.o,$^) \
	    $(TEST_LIBS) $(Q_LIBS)

# What is found is kept in build/fuzz/TARGET.corpus from run to run; a target
# begins with that, with its seeds, and with what tests/corpus has.
fuzz: ## fuzz each of FUZZ_TARGETS (readers of records, pages, stores) for FUZZ_SECONDS (60), with clang
	@$(if $(FUZZ_BINS),$(SUBMAKE) DEBUG=1 $(BUILD_ROOT)/debug/libquire.a)
	@$(if $(FUZZ_BINS),$(SUBMAKE) $(FUZZ_BINS))
	@$(if $(FUZZ_STORE_BINS),$(FUZZ_STORE_MAKE) $(FUZZ_STORE_BINS))
	@for t in $(FUZZ_TARGETS); do \
	    bin=$(BUILD_ROOT)/fuzz/$$t; len=4096; more=-close_fd_mask=3; \
	    case " $(FUZZ_STORES) " in *" $$t "*) \
	        bin=$(BUILD_ROOT)/fuzz/asan/fuzz_$$t; len=2048; more= ;; esac; \
	    [ $$t != file ] || len=256; \
	    mkdir -p $(BUILD_ROOT)/fuzz/$$t.corpus && \
	    echo "fuzzing $$t" && \
	    QUIRE_FUZZ_SEEDS=$(BUILD_ROOT)/fuzz/$$t.corpus $$bin \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=$$len -timeout=25 \
	        -print_final_stats=1 $$more \
	        -artifact_prefix=$(BUILD_ROOT)/fuzz/$$t- \
	        $(BUILD_ROOT)/fuzz/$$t.corpus \
	        $$(ls -d tests/corpus/$$t 2>/dev/null) || exit 1; \
	done

# The searches and what is above them for Arm, run by an emulator: needs
# gcc-aarch64-linux-gnu and qemu-user. cmocka's header is the same everywhere;
# its functions are tests/bare_cmocka.c.
NEON_CC ?= aarch64-linux-gnu-gcc
NEON_RUN ?= qemu-aarch64
CMOCKA_H ?= /usr/include/cmocka.h
NEON_TESTS := test_pages_varint test_pages_ref test_pages_simd test_pages_image \
    test_pages_work
NEON_SRCS := tests/bare_cmocka.c tests/lib_test.c tests/lib_page.c \
    $(addprefix pages/,simd.c image.c label.c varint.c ref.c work.c check.c \
    large.c) alloc/base.c

check-neon: ## tests of pages cross-compiled for Arm, under qemu-user
	@mkdir -p $(BUILD_ROOT)/neon
	@cp $(CMOCKA_H) $(BUILD_ROOT)/neon/
	@for t in $(NEON_TESTS); do \
	    $(NEON_CC) -std=c11 -O2 -g $(Q_WARN) -Werror -D_GNU_SOURCE -I. \
	        -I$(BUILD_ROOT)/neon -DQUIRE_DEBUG=2 -static \
	        -o $(BUILD_ROOT)/neon/$$t tests/$$t.c $(NEON_SRCS) && \
	    echo "$$t on Arm" && $(NEON_RUN) $(BUILD_ROOT)/neon/$$t || exit 1; \
	done

check-layers: ## includes point up the table of layers only
	@tests/check-layers.sh

check-headers: ## each header compiles alone, quire.h as C++ too
	@$(TEST_ENV) tests/check-headers.sh

check-symbols: $(LIBS) ## the libraries define quire_* only
	@$(TEST_ENV) tests/check-symbols.sh

format-check: ## what clang-format would change
	@clang-format --dry-run -Werror quire.h \
	    $$(find alloc cache pages txlog tools tests -name '*.[ch]')

demo: ## install what is missing, build, load and read a million records
	@tools/install-deps.sh
	@$(SUBMAKE) all
	@QUIRE_BIN='$(abspath $(B)/quire)' tools/demo.sh

install-deps: ## install what is missing; ARGS=--with-peers: and what bench compares with
	@tools/install-deps.sh $(ARGS)

# ---- installation ----

BINDIR := $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR := $(PREFIX)/include

install: all ## into DESTDIR and PREFIX: quire.h, libraries, quire.pc, program
	install -d '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' \
	    '$(DESTDIR)$(BINDIR)'
	install -m 644 quire.h '$(DESTDIR)$(INCLUDEDIR)/quire.h'
	install -m 644 $(B)/libquire.a '$(DESTDIR)$(LIBDIR)/libquire.a'
	install -m 755 $(B)/$(SONAME) '$(DESTDIR)$(LIBDIR)/libquire.so.$(VERSION)'
	ln -sf libquire.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libquire.so'
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' \
	    'includedir=$(INCLUDEDIR)' '' 'Name: quire' \
	    'Description: page cache and versioned storage for key-value stores' \
	    'Version: $(VERSION)' 'Requires.private: liburcu-bp liblz4 libxxhash' \
	    'Libs: -L$${libdir} -lquire' 'Libs.private: -pthread' \
	    'Cflags: -I$${includedir}' >$(B)/quire.pc
	install -m 644 $(B)/quire.pc '$(DESTDIR)$(LIBDIR)/pkgconfig/quire.pc'
	install -m 755 $(B)/quire '$(DESTDIR)$(BINDIR)/quire'

clean: ## remove everything that was built
	rm -rf $(BUILD_ROOT)
