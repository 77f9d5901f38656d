# natpunch: make, make test, make demo, make lint, make bench, make install; V=1 shows the commands.
VERSION = 0.1.0
PREFIX  = /usr/local
BINDIR  = $(PREFIX)/bin
MANDIR  = $(PREFIX)/share/man
UNITDIR = $(PREFIX)/lib/systemd/system
B       = build
CC      = cc
MUSL_CC = musl-gcc

BASE  = -std=gnu11 -D_GNU_SOURCE -DNATPUNCH_VERSION='"$(VERSION)"' -Iinclude
WARN  = -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
        $(if $(CI),-Werror)
HARD  = -O2 -g -fstack-protector-strong -ffunction-sections -fdata-sections \
        -fno-asynchronous-unwind-tables -fPIE
ALL_CFLAGS  = $(BASE) $(WARN) $(HARD) -MMD -MP $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -Wl,--gc-sections -Wl,-z,relro,-z,now $(if $(findstring -static,$(LDFLAGS)),,-pie) $(LDFLAGS)

SRC   = $(sort $(wildcard src/*.c src/*/*.c))
OBJ   = $(SRC:%.c=$(B)/%.o)
PARTS = $(filter-out $(B)/src/main.o,$(OBJ))
MAN   = $(sort $(wildcard man/*.[1-8]))
SERVICE = $(foreach unit,natpunch-probe@.service natpunch-reflect.service,$(unit)=$(UNITDIR)/$(unit)) \
          $(foreach file,natpunch-probe-sshd.conf natpunch.init,$(file)=$(PREFIX)/share/natpunch/$(file)) \
          natpunch.bash=$(PREFIX)/share/bash-completion/completions/natpunch \
          natpunch.zsh=$(PREFIX)/share/zsh/site-functions/_natpunch \
          natpunch.fish=$(PREFIX)/share/fish/vendor_completions.d/natpunch.fish

UNIT     = $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/*.c)))
PROPERTY = $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/property/*.c)))
PLATFORM = $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/platform/*.c tests/bench/*.c)))
LABTOOLS = $(patsubst tests/lab/%.c,$(B)/lab/%,$(sort $(wildcard tests/lab/*.c)))
REPLAY   = $(patsubst tests/fuzz/%.c,$(B)/tests/replay/%,$(filter-out tests/fuzz/replay.c,$(sort $(wildcard tests/fuzz/*.c))))
PROGRAMS = $(UNIT) $(PROPERTY) $(PLATFORM) $(LABTOOLS) $(REPLAY)

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

.PHONY: all static checks programs test demo lint bench soak fuzz print-flags install clean
.DELETE_ON_ERROR:

all: natpunch

natpunch: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(OBJ) $(ALL_LDFLAGS)

$(B)/%.o: %.c $(B)/flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Rebuilds everything when the compiler or its flags change.
$(B)/flags: FORCE
	$(Q)mkdir -p $(B)
	$(Q)printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' > $@
FORCE:

# For small machines: for size, and with the kernel headers that musl has none of its own of.
STATIC = natpunch-static
static:
	$(Q)sh tests/musl-headers $(B)/musl-include
	$(Q)$(MAKE) B=$(B)/musl CC='$(MUSL_CC)' CFLAGS='-Os $(CFLAGS)' \
	    LDFLAGS='-static -Wl,-z,noseparate-code $(LDFLAGS)' \
	    CPPFLAGS='-idirafter $(B)/musl-include $(CPPFLAGS)' $(STATIC)
natpunch-static: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(OBJ) $(ALL_LDFLAGS)

$(B)/libnatpunch.a: $(PARTS)
	$(Q)rm -f $@ && $(AR) rcs $@ $(PARTS)

TEST_CFLAGS = $(ALL_CFLAGS) -Itests
$(UNIT) $(PROPERTY) $(PLATFORM): $(B)/tests/%: tests/%.c $(B)/libnatpunch.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) -o $@ $< $(B)/libnatpunch.a $(ALL_LDFLAGS)
$(LABTOOLS): $(B)/lab/%: tests/lab/%.c $(B)/libnatpunch.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) -o $@ $< $(B)/libnatpunch.a $(ALL_LDFLAGS)
$(REPLAY): $(B)/tests/replay/%: tests/fuzz/%.c tests/fuzz/replay.c $(B)/libnatpunch.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) -MF $@.d -o $@ $< tests/fuzz/replay.c $(B)/libnatpunch.a $(ALL_LDFLAGS)

checks: $(UNIT) $(PROPERTY) $(REPLAY)
programs: natpunch $(PROGRAMS)

test:
	$(Q)sh tests/run
lint:
	$(Q)sh tests/run lint
demo:
	$(Q)sh tests/lab/demo
# As long as one likes: make soak ROUNDS=1000, make fuzz SECONDS=600 (for each target)
soak: programs
	$(Q)ROUNDS=$(or $(ROUNDS),200) LOSS_SECONDS=60 sh tests/lab/91-keep.t
bench: natpunch static $(filter $(B)/tests/bench/%,$(PLATFORM))
	$(Q)perl tests/bench/run
print-flags: # what every source is compiled with, for the tests of the source
	$(info $(BASE) $(WARN)) @:
fuzz:
	$(Q)sh tests/fuzz/run $(SECONDS)

install: natpunch
	install -D -m 755 natpunch $(DESTDIR)$(BINDIR)/natpunch
	for page in $(MAN); do \
	    install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; \
	done
	for file in $(SERVICE); do \
	    install -D -m 644 src/service/$${file%%=*} $(DESTDIR)$${file#*=} && \
	    sed -i 's|/usr/local/bin/|$(BINDIR)/|' $(DESTDIR)$${file#*=} || exit 1; \
	done

clean:
	rm -rf build natpunch natpunch-static

-include $(OBJ:.o=.d) $(addsuffix .d,$(PROGRAMS))
