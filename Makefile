# natpunch: make, make test, make demo, make lint, make bench, make install; V=1 shows the commands.
# Elsewhere than on Linux it builds connect, lookup and keygen alone; on Linux PORTABLE=1 does, in
# build/portable and held to POSIX.1-2008. GNU make 3.81 is enough for that.
SYSTEM   := $(shell uname -s)
override PORTABLE := $(or $(filter-out 0,$(PORTABLE)),$(filter-out Linux,$(SYSTEM)))
STRICT   := $(and $(PORTABLE),$(filter Linux,$(SYSTEM)))
VERSION = 0.1.0
RELEASED = 2026-11-25
PREFIX  = /usr/local
BINDIR  = $(PREFIX)/bin
MANDIR  = $(PREFIX)/share/man
UNITDIR = $(PREFIX)/lib/systemd/system
ZSHDIR  = $(PREFIX)/share/zsh/site-functions
B       = build$(if $(STRICT),/portable)
PROGRAM = $(if $(STRICT),$(B)/)natpunch
CC      = cc
MUSL_CC = musl-gcc
# On 32 bits, times after 2038 and large files take the wide types.
BASE  = $(if $(STRICT),-std=c11 -D_POSIX_C_SOURCE=200809L -U__linux__ -include tests/lint/posix-only.h,-std=gnu11 -D_GNU_SOURCE) \
        -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 $(if $(PORTABLE),-DNATPUNCH_PORTABLE) -DNATPUNCH_VERSION='"$(VERSION)"' -Iinclude -Isrc
WARN  = -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
        $(if $(CI),-Werror)
HARD  = -O2 -g -fstack-protector-strong -ffunction-sections -fdata-sections \
        -fno-asynchronous-unwind-tables -fPIE -ffile-prefix-map=$(CURDIR)=.
ALL_CFLAGS  = $(BASE) $(WARN) $(HARD) -MMD -MP $(CPPFLAGS) $(CFLAGS)
LINUX_LDFLAGS = -Wl,--gc-sections -Wl,-z,relro,-z,now $(if $(LINKS_STATIC),,-pie)
LINKS_STATIC = $(if $(findstring -static,$(LDFLAGS)),natpunch-static)
ALL_LDFLAGS = $(if $(filter Linux,$(SYSTEM)),$(LINUX_LDFLAGS)) $(LDFLAGS)

PORTABLE_SRC = $(filter-out src/connect/udp_%,$(wildcard src/main.c src/base/*.c src/proto/*.c src/connect/*.c src/*/portable/*.c)) $(patsubst %,src/%.c, \
  borrow/bind borrow/borrow borrow/method client/binding_client client/mapping_race client/name_client client/port_sampler \
  client/punch client/reflector_call client/reflector_list client/stun_stream cmd/command cmd/common_options cmd/connect cmd/keygen cmd/lookup \
  cmd/name_options os/clock os/file os/key_file os/log os/random os/resolve os/socket os/startup os/watch)
SRC   = $(sort $(if $(PORTABLE),$(PORTABLE_SRC),$(wildcard src/*.c src/*/*.c)))
OBJ   = $(SRC:%.c=$(B)/%.o)
PARTS = $(filter-out $(B)/src/main.o,$(OBJ))
MAN   = $(sort $(filter-out $(if $(PORTABLE),man/natpunch-check.% man/natpunch-probe.% man/natpunch-reflect.%),$(wildcard man/*.[1-8])))
# What is installed, each SOURCE=PLACE.
INSTALLED = $(PROGRAM)=$(BINDIR)/natpunch $(foreach page,$(MAN),$(page)=$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
  src/service/natpunch.bash=$(PREFIX)/share/bash-completion/completions/natpunch \
  src/service/natpunch.zsh=$(ZSHDIR)/_natpunch src/service/natpunch.fish=$(PREFIX)/share/fish/vendor_completions.d/natpunch.fish \
  $(if $(PORTABLE),,$(SERVICES))
SERVICES = $(foreach unit,natpunch-probe@.service natpunch-reflect.service,src/service/$(unit)=$(UNITDIR)/$(unit)) \
  $(foreach file,natpunch-probe-after.conf natpunch-probe-sshd.conf natpunch.init,src/service/$(file)=$(PREFIX)/share/natpunch/$(file)) \
  src/service/natpunch.sysusers=$(PREFIX)/lib/sysusers.d/natpunch.conf

CHECKS   = $(patsubst %.c,$(B)/%,$(filter-out %/replay.c,$(sort $(wildcard $(if $(PORTABLE),tests/unit/base/*.c,tests/unit/*/*.c tests/property/*.c tests/fuzz/*.c)))))
PLATFORM = $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/platform/*.c tests/bench/*.c)))
LABTOOLS = $(patsubst tests/lab/%.c,$(B)/lab/%,$(sort $(wildcard tests/lab/*.c)))

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))
.PHONY: all static checks programs test machines checked demo lint bench soak fuzz faults print-flags print-sources install uninstall check dist deb clean
.DELETE_ON_ERROR:

all: $(PROGRAM)
$(if $(STRICT),,natpunch $(LINKS_STATIC)) $(B)/natpunch: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(OBJ) $(ALL_LDFLAGS)

$(B)/%.o: %.c $(B)/flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(TEST_FLAGS) -c -o $@ $<

# Rebuilds everything when the compiler or its flags change.
$(B)/flags: FORCE
	$(Q)mkdir -p $(B); printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' > $@
FORCE:

# For small machines: for size, and with the kernel headers that musl has none of its own of.
STATIC = natpunch-static
static $(if $(LINKS_STATIC),,natpunch-static): FORCE
	$(Q)sh tests/musl-headers $(B)/musl-include
	$(Q)$(MAKE) B=$(B)/musl CC='$(MUSL_CC)' CFLAGS='-Os $(CFLAGS)' \
	    LDFLAGS='-static -Wl,-z,noseparate-code $(LDFLAGS)' \
	    CPPFLAGS='-idirafter $(B)/musl-include $(CPPFLAGS)' $(STATIC)

$(B)/libnatpunch.a: $(PARTS); $(Q)rm -f $@ && $(AR) rcs $@ $(PARTS)

# A test's own code runs once, so it is made fast to compile; what it tests is as it is shipped.
$(CHECKS:=.o) $(B)/tests/main.o: TEST_FLAGS = -Itests $(or $(TEST_SPEED),-O0 -g1) -U_FORTIFY_SOURCE
$(filter $(B)/tests/fuzz/%,$(CHECKS:=.o)): TEST_FLAGS += -include tests/fuzz/replay.c
# To link one takes longer than to run it, so all are one program with many names, but for those that begin
# themselves or replace functions. Asked for by its name (make build/tests/unit/proto/stun), one is linked alone.
OWN    = $(addprefix $(B)/tests/,fuzz/responder unit/home/handover unit/os/hook unit/os/port_owner)
SHARED = $(filter-out $(OWN),$(CHECKS))
$(SHARED:=.o): TEST_FLAGS += -DTAP_SHARED
$(SHARED): $(B)/tests/main.o
link_test = rm -f $@ && $(CC) $(ALL_CFLAGS) -o $@ $(filter %.o,$^) $(B)/libnatpunch.a $(ALL_LDFLAGS)
$(CHECKS): %: %.o $(B)/libnatpunch.a; $(Q)$(link_test)
$(B)/tests/all: $(SHARED:=.o) $(B)/tests/main.o $(B)/libnatpunch.a
	$(Q)! nm -g $(SHARED:=.o) | grep ' T ' || { echo 'Functions for all tests: OWN is for these' >&2; exit 1; }
	$(Q)$(link_test) && perl -e 'for (@ARGV) { unlink; link "$@", $$_ or die "$$_: $$!\n" }' $(SHARED)
checks: $(B)/tests/all $(filter $(OWN),$(CHECKS))
# Begun thousands of times: of all that a short command does, its dynamic linking takes longest.
$(B)/lab/inside $(B)/lab/pids: STATIC_CC = $(or $(shell command -v $(MUSL_CC)),$(CC)) -static
make_tool = mkdir -p $(@D) && $(or $(STATIC_CC),$(CC) $(ALL_LDFLAGS)) $(ALL_CFLAGS) -Itests -MF $@.d -o $@ $< $(B)/libnatpunch.a
$(PLATFORM): $(B)/tests/%: tests/%.c $(B)/libnatpunch.a; $(Q)$(make_tool)
$(LABTOOLS): $(B)/lab/%: tests/lab/%.c $(B)/libnatpunch.a; $(Q)$(make_tool)

check: checks # what needs no privilege and no other program than perl
	$(Q)perl tests/harness $(CHECKS) </dev/null
programs: natpunch checks $(PLATFORM) $(LABTOOLS)
test:; $(Q)sh tests/run
lint:; $(Q)LINT=all sh tests/run lint
machines:; $(Q)MACHINES=all sh tests/run machines # with all that has other machines' code, and not only what is pure
checked:; $(Q)sh tests/run checked # the laboratory's main jobs under sanitizers and valgrind
demo:; $(Q)sh tests/lab/demo
# As long as one likes: make soak ROUNDS=1000 SOAK_SECONDS=3600, make fuzz SECONDS=600 (for each target)
soak: programs
	$(Q)ROUNDS=$(or $(ROUNDS),200) LOSS_SECONDS=60 sh tests/lab/91-keep.t
	$(Q)SOAK_SECONDS=$(or $(SOAK_SECONDS),300) sh tests/lab/92-soak.t
bench: natpunch static $(filter $(B)/tests/bench/%,$(PLATFORM))
	$(Q)perl tests/bench/run
print-flags:; $(info $(BASE) $(WARN)) @: # what every source is compiled with, for the tests of the source
print-sources:; $(info $(SRC)) @:
fuzz:; $(Q)sh tests/fuzz/run $(SECONDS)
faults: static
	$(Q)sh tests/tools build lab && perl tests/faults

install: $(PROGRAM) # not by install(1) and `sed -i`, which differ between systems
	umask 022; for file in $(INSTALLED); do \
	    from=$${file%%=*} place=$(DESTDIR)$${file#*=} && mkdir -p "$${place%/*}" && rm -f "$$place" && \
	    case $$from in src/service/*|man/*) sed 's|/usr/local/bin/|$(BINDIR)/|; s|/usr/local/share/|$(PREFIX)/share/|' $$from ;; \
	        *) cat $$from ;; esac >"$$place" && \
	    case $$from in *natpunch|*.init) chmod 755 "$$place" ;; esac || exit 1; \
	done
	$(if $(DESTDIR)$(PORTABLE),,@echo '  For services: systemd-sysusers $(PREFIX)/lib/sysusers.d/natpunch.conf; systemctl daemon-reload')
uninstall:
	for file in $(INSTALLED); do rm -f $(DESTDIR)$${file#*=} || exit 1; done
	rmdir $(DESTDIR)$(PREFIX)/share/natpunch 2>/dev/null || :

# A source tarball, the same bytes whoever makes it, and a package of it; both in build/.
dist deb:
	$(Q)sh src/service/release $@ $(VERSION) $(RELEASED)

clean:; rm -rf build natpunch natpunch-static

-include $(OBJ:.o=.d) $(addsuffix .d,$(CHECKS) $(B)/tests/main $(PLATFORM) $(LABTOOLS))
