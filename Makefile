# tasker. The programs are whatever cmd/tasker-*.c there is; none is named here.
#
#   make          builds build/bin/          make check    installs what is missing, builds, tests
#   make demo     the same, and shows it     make bench    measures, all sides in one run
#   make install  PREFIX=/usr/local DESTDIR= (and uninstall)
#   make deps     installs what is missing   make clean
#   make check-san, check-valgrind: the tests under the sanitizers, or under valgrind
#   make check-faults: the programs killed, stopped and cut off at random, some minutes (F="--seed N")
#   SAN=1 sanitizers, WERROR=1 warnings are errors, OS=posix without what only Linux has,
#   V=1 shows the commands, BUILD=FOLDER where to build; T="NAME ..." which tests to run (tests/run has more)

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build$(if $(filter 1,$(SAN)),/san)$(if $(filter posix,$(OS)),/posix)
OS := $(or $(filter-out Windows_NT,$(OS)),$(if $(filter Linux,$(shell uname -s)),linux,posix))
VERSION := 0.1.0
PKGS := libzmq json-c yaml-0.1 libpcre2-8 sqlite3 libpq

CFLAGS ?= -O2 -g
override CFLAGS += -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wformat=2 -pthread $(if $(filter 1,$(WERROR)),-Werror) \
  $(if $(filter 1,$(SAN)),-fsanitize=address$(,)undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
, := ,
override CPPFLAGS += -Iinclude -Ilib -Icmd -DTASKER_VERSION='"$(VERSION)"' \
  $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
override LDFLAGS += -Wl,--as-needed $(if $(filter 1,$(SAN)),-fsanitize=address$(,)undefined)
override LDLIBS += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

LIB_C := $(filter-out lib/base/os_linux.c lib/base/os_posix.c,$(wildcard lib/*/*.c)) lib/base/os_$(OS).c
COMMON_C := $(wildcard cmd/common/*.c)
PROGRAMS := $(basename $(notdir $(wildcard cmd/tasker-*.c)))
PARTS := $(patsubst cmd/%/,$(BUILD)/cmd/%.a,$(sort $(dir $(wildcard cmd/*/*.c))))
UNITS := $(basename $(notdir $(wildcard tests/unit/*.c)))
BENCHES := $(basename $(notdir $(wildcard tests/bench/*.c)))
ALL_C := $(LIB_C) $(wildcard cmd/*.c cmd/*/*.c tests/unit/*.c tests/bench/*.c)
HEADERS := $(wildcard include/tasker/*.h)
SCHEMA := $(sort $(wildcard config/schema/*.sql))
LIB := $(BUILD)/libtasker.a
BINS := $(PROGRAMS:%=$(BUILD)/bin/%)
UNIT_BINS := $(UNITS:%=$(BUILD)/tests/unit/%)
BENCH_BINS := $(BENCHES:%=$(BUILD)/tests/bench/%)

all: build

# demo and check make this by a second make, for which the packages that they have installed are there.
build: $(LIB) $(BINS)

need-packages:
	@pkg-config --exists $(PKGS) 2>/dev/null || { \
	  echo 'make: some libraries are missing; "make deps" installs them' >&2; exit 1; }

# ---- objects, the library, programs

say = $(if $(V),,@echo '  $(1)';)

# An object is made again when the flags are others, all else when there are other files.
$(BUILD)/flags $(BUILD)/files: FORCE | need-packages
	@mkdir -p $(@D)
	@echo "$$STAMP" | cmp -s - $@ || echo "$$STAMP" >$@
$(BUILD)/flags: export STAMP = $(CC) $(CPPFLAGS) $(CFLAGS)
$(BUILD)/files: export STAMP = $(sort $(ALL_C)) $(SCHEMA) $(LDFLAGS) $(LDLIBS)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_C:%.c=$(BUILD)/%.o) $(BUILD)/schema.o $(BUILD)/files
	@rm -f $@
	$(call say,AR $@)$(AR) rcs $@ $(filter %.o,$^)

# The numbered steps of the schema, as texts in the library.
$(BUILD)/schema.c: $(SCHEMA) $(BUILD)/files
	@mkdir -p $(@D)
	$(call say,GEN $@){ echo '#include "store/ops.h"'; echo 'const struct tsk_migration tsk_migrations[] = {'; \
	  for f in $(SCHEMA); do n=$$(basename $$f .sql); \
	    echo "{$$(expr $${n%%_*} + 0), \"$${n#*_}\","; \
	    sed -e '/^--/d' -e '/^$$/d' -e 's/[\\"]/\\&/g' -e 's/^/"/' -e 's/$$/\\n"/' $$f; echo '},'; done; \
	  echo '};'; echo 'const size_t tsk_migration_count = sizeof tsk_migrations / sizeof *tsk_migrations;'; } >$@

$(BUILD)/schema.o: $(BUILD)/schema.c $(BUILD)/flags
	$(call say,CC $<)$(CC) $(CPPFLAGS) -Ilib $(CFLAGS) -c -o $@ $<

define link
@mkdir -p $(@D)
$(call say,LD $@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)
endef

# A program is its own file, those of the folder that has its name, the front end, the library.
.SECONDEXPANSION:
# (No second % on that line: make would put the name there before the functions are called.)
$(BUILD)/bin/tasker-%: $(BUILD)/cmd/tasker-%.o \
    $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(basename $$(wildcard cmd/$$*/*.c)))) \
    $(COMMON_C:%.c=$(BUILD)/%.o) $(LIB) $(BUILD)/files
	$(link)

# The parts of each program in an archive, so that a unit test links what it needs of them.
$(BUILD)/cmd/%.a: $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(basename $$(wildcard cmd/$$*/*.c)))) $(BUILD)/files
	@rm -f $@
	$(call say,AR $@)$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(PARTS) $(LIB)
	$(link)

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(PARTS) $(LIB)
	$(link)

-include $(ALL_C:%.c=$(BUILD)/%.d)

# ---- the two commands, and other ways to test

# -j where the caller named none
AGAIN = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN))

deps:
	@.ci/deps build demo check

demo:
	@.ci/deps build demo
	@$(AGAIN) build
	@TASKER_BIN=$(abspath $(BUILD))/bin config/demo/run

check:
	@.ci/deps build demo check
	@$(AGAIN) build units headers
	@TASKER_BUILD=$(abspath $(BUILD)) tests/run $(T)

check-san:
	@BATS_TEST_TIMEOUT=$${BATS_TEST_TIMEOUT:-900} \
	  $(MAKE) --no-print-directory SAN=1 BUILD=$(BUILD)/san check

# Programs as small scripts that put valgrind before the true ones; a test of the pipeline runs them.
VALGRIND := valgrind -q --suppressions=$(CURDIR)/tests/valgrind.supp --leak-check=full --show-leak-kinds=definite,indirect,possible \
  --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99
check-valgrind:
	@.ci/deps build demo check valgrind
	@$(AGAIN) build units
	@mkdir -p $(BUILD)/valgrind
	@for p in $(PROGRAMS); do \
	  printf '#!/bin/sh\nexec $(VALGRIND) "%s" "$$@"\n' "$(abspath $(BUILD))/bin/$$p" \
	    >$(BUILD)/valgrind/$$p && chmod +x $(BUILD)/valgrind/$$p || exit 1; done
	@TASKER_BUILD=$(abspath $(BUILD)) TASKER_BIN=$(abspath $(BUILD))/valgrind \
	  UNIT_WRAPPER='$(VALGRIND)' tests/run $(or $(T),$(UNITS:%=%.c) pipeline.bats)

check-faults:
	@.ci/deps build demo check
	@$(AGAIN) build
	@export TASKER_BUILD=$(abspath $(BUILD)); failed=0; \
	  for t in crash run; do tests/fault/$$t --long $(F) || failed=1; done; \
	  LOOP_KILLS=60 BATS_TEST_TIMEOUT=1500 tests/run -f 'killed at random' shapes || failed=1; \
	  exit $$failed

units: $(UNIT_BINS)

# Each header must compile alone, those of the library in C++ as well.
headers: $(HEADERS:%=$(BUILD)/%.ok) $(patsubst %,$(BUILD)/%.ok,$(wildcard cmd/*/*.h)) \
  $(HEADERS:%=$(BUILD)/%.c++)

$(BUILD)/%.h.ok: %.h $(BUILD)/flags
	@mkdir -p $(@D)
	@printf '#include "%s"\n#include "%s"\n' "$<" "$<" | \
	  $(CC) $(CPPFLAGS) -I. $(CFLAGS) -Werror -fsyntax-only -x c - && touch $@

$(BUILD)/%.h.c++: %.h $(BUILD)/flags
	@mkdir -p $(@D)
	@printf '#include "%s"\n#include "%s"\n' "$<" "$<" | \
	  $(CXX) $(CPPFLAGS) -I. -std=c++17 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -pedantic -Werror \
	  -fsyntax-only -x c++ - && touch $@

bench: need-packages
	@$(AGAIN) build benches
	@if [ -e tests/bench/run ]; then TASKER_BUILD=$(abspath $(BUILD)) tests/bench/run $(T); \
	else echo 'make: there is no tests/bench/run' >&2; exit 1; fi

benches: $(BENCH_BINS)

clean:
	rm -rf build $(BUILD)

# ---- install

BINDIR = $(DESTDIR)$(PREFIX)/bin
LIBDIR = $(DESTDIR)$(PREFIX)/lib
INCDIR = $(DESTDIR)$(PREFIX)/include/tasker
MANDIR = $(DESTDIR)$(PREFIX)/share/man
BASHDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISHDIR = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/tasker
UNITDIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
DOCS := config/tasker.yaml config/handlers.yaml config/crontab
TEMPLATES := $(wildcard config/tasks/*.yaml)
# What the examples above name; the demo itself and its loop are for this folder.
EXAMPLES := $(filter-out %/run %/loop,$(wildcard config/demo/*))
UNITS_SYSTEMD := $(wildcard config/systemd/*)
PAGES1 := $(wildcard cmd/*.1)
PAGES7 := $(wildcard cmd/*.7)

define PC
prefix=$(PREFIX)
libdir=$${prefix}/lib
includedir=$${prefix}/include

Name: tasker
Description: Workflow steps in batches over ZeroMQ
Version: $(VERSION)
Requires: $(PKGS)
Libs: -L$${libdir} -ltasker -lm
Cflags: -I$${includedir} -D_POSIX_C_SOURCE=200809L
endef
export PC

# bash and fish look for a completion by the name of the command, so each program has a link.
install: all
	install -d $(BINDIR) $(LIBDIR)/pkgconfig $(INCDIR) $(MANDIR)/man1 $(MANDIR)/man7 \
	  $(BASHDIR) $(ZSHDIR) $(FISHDIR) $(DOCDIR)/tasks $(DOCDIR)/demo $(UNITDIR)
	install -m 755 $(BINS) $(BINDIR)
	install -m 644 $(LIB) $(LIBDIR)
	echo "$$PC" >$(LIBDIR)/pkgconfig/tasker.pc
	install -m 644 $(HEADERS) $(INCDIR)
	$(if $(PAGES1),install -m 644 $(PAGES1) $(MANDIR)/man1)
	$(if $(PAGES7),install -m 644 $(PAGES7) $(MANDIR)/man7)
	install -m 644 $(DOCS) $(DOCDIR)
	install -m 644 $(TEMPLATES) $(DOCDIR)/tasks
	install -m 755 $(filter-out %.jsonl,$(EXAMPLES)) $(DOCDIR)/demo
	install -m 644 $(filter %.jsonl,$(EXAMPLES)) $(DOCDIR)/demo
	sed -i 's|^PATH=/usr/local/bin|PATH=$(PREFIX)/bin|' $(DOCDIR)/crontab
	install -m 644 $(UNITS_SYSTEMD) $(UNITDIR)
	sed -i 's|/usr/local/bin|$(PREFIX)/bin|' $(UNITS_SYSTEMD:config/systemd/%=$(UNITDIR)/%)
	install -m 644 completions/tasker.bash $(BASHDIR)/tasker
	install -m 644 completions/tasker.fish $(FISHDIR)/tasker.fish
	install -m 644 completions/_tasker $(ZSHDIR)/_tasker
	for p in $(PROGRAMS); do \
	  ln -sf tasker $(BASHDIR)/$$p && ln -sf tasker.fish $(FISHDIR)/$$p.fish || exit 1; done

uninstall:
	rm -f $(PROGRAMS:%=$(BINDIR)/%) $(LIBDIR)/libtasker.a $(LIBDIR)/pkgconfig/tasker.pc
	rm -f $(PAGES1:cmd/%=$(MANDIR)/man1/%) $(PAGES7:cmd/%=$(MANDIR)/man7/%)
	rm -f $(UNITS_SYSTEMD:config/systemd/%=$(UNITDIR)/%)
	rm -f $(BASHDIR)/tasker $(PROGRAMS:%=$(BASHDIR)/%) $(ZSHDIR)/_tasker
	rm -f $(FISHDIR)/tasker.fish $(PROGRAMS:%=$(FISHDIR)/%.fish)
	rm -rf $(INCDIR) $(DOCDIR)
	-rmdir --ignore-fail-on-non-empty $(UNITDIR) $(dir $(UNITDIR)) $(LIBDIR)/pkgconfig $(BASHDIR) $(dir $(BASHDIR)) \
	  $(ZSHDIR) $(dir $(ZSHDIR)) $(FISHDIR) $(dir $(FISHDIR)) $(MANDIR)/man1 $(MANDIR)/man7 $(dir $(DOCDIR)) 2>/dev/null

.PHONY: all build need-packages deps demo check check-san check-valgrind check-faults units headers \
  bench benches clean install uninstall FORCE
.DELETE_ON_ERROR:
.SECONDARY:
FORCE:
