# tasker. The programs are whatever cmd/tasker-*.c there is; none is named here.
#
#   make          builds build/bin/          make check    installs what is missing, builds, tests
#   make demo     the same, and shows it     make bench    measures, both sides in one run
#   make install  PREFIX=/usr/local DESTDIR= (and uninstall)
#   make deps     installs what is missing   make clean
#   SAN=1 sanitizers, WERROR=1 warnings are errors, OS=posix without what only Linux has

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build$(if $(filter 1,$(SAN)),/san)$(if $(filter posix,$(OS)),/posix)
OS := $(or $(filter-out Windows_NT,$(OS)),$(if $(filter Linux,$(shell uname -s)),linux,posix))
VERSION := 0.1.0
PKGS := libzmq json-c yaml-0.1

CFLAGS ?= -O2 -g
override CFLAGS += -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wformat=2 $(if $(filter 1,$(WERROR)),-Werror) \
  $(if $(filter 1,$(SAN)),-fsanitize=address$(,)undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
, := ,
override CPPFLAGS += -Iinclude -Icmd -DTASKER_VERSION='"$(VERSION)"' \
  $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
override LDFLAGS += -Wl,--as-needed $(if $(filter 1,$(SAN)),-fsanitize=address$(,)undefined)
LDLIBS += $(shell pkg-config --libs $(PKGS) 2>/dev/null)

LIB_C := $(filter-out lib/os_%.c,$(wildcard lib/*.c)) lib/os_$(OS).c
COMMON_C := $(wildcard cmd/common/*.c)
PROGRAMS := $(basename $(notdir $(wildcard cmd/tasker-*.c)))
UNITS := $(basename $(notdir $(wildcard tests/unit/*.c)))
BENCHES := $(basename $(notdir $(wildcard tests/bench/*.c)))
ALL_C := $(LIB_C) $(wildcard cmd/*.c cmd/*/*.c tests/unit/*.c tests/bench/*.c)
LIB := $(BUILD)/libtasker.a
BINS := $(PROGRAMS:%=$(BUILD)/bin/%)

all: need-packages $(LIB) $(BINS)

$(LIB): $(LIB_C:%.c=$(BUILD)/%.o)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# A program is its own file, those of the folder that has its name, the front end, the library.
.SECONDEXPANSION:
$(BUILD)/bin/tasker-%: $(BUILD)/cmd/tasker-%.o $$(patsubst %.c,$(BUILD)/%.o,$$(wildcard cmd/$$*/*.c)) \
    $(COMMON_C:%.c=$(BUILD)/%.o) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(ALL_C:%.c=$(BUILD)/%.d)

clean:
	rm -rf build

.PHONY: all clean need-packages
.DELETE_ON_ERROR:
.SECONDARY:

need-packages:
	@pkg-config --exists $(PKGS) || { echo 'make: some libraries are missing; "make deps" installs them' >&2; exit 1; }
