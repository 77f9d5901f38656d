#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/client/both_families.h"
#include "natpunch/client/client_sandbox.h"
#include "natpunch/os/clock.h"
#include "natpunch/cmd/command.h"
#include "natpunch/os/file.h"
#include "natpunch/home/handover.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/hook.h"
#include "natpunch/home/keep.h"
#include "natpunch/os/key_file.h"
#include "natpunch/os/log.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/name_register.h"
#include "natpunch/client/register_each.h"
#include "natpunch/os/notify.h"
#include "natpunch/os/program.h"
#include "natpunch/client/mapping_race.h"
#include "cmd/probe_forward.h"
#include "cmd/probe_options.h"
#include "cmd/probe_record.h"
#include "natpunch/base/secret.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/base/text.h"

#define HOLD_SECONDS 10

/* What was announced in one family. */
struct announcement {
	struct mapping mapping;
	bool made;
	bool told; /* FILE says so of the mapping */
};

/* One run: what the user, the hook and FILE get, and what they got last. */
struct probe_state {
	const struct probe_options *options;
	struct hook hook;
	struct announcement ipv4;
	struct announcement ipv6;
	bool receiver_logged;
	const struct port_owner *owner; /* with -k: of the local port, as it was found before */
	struct key key;                 /* with -n */
	struct probe_forward forward;   /* with -F */
	bool failed;                    /* a result could not be announced; error says why */
	bool complained;                /* with -k: that was said */
	struct error error;
};

static struct announcement *announcement_of(
	struct probe_state *state, const struct mapping *mapping)
{
	return mapping->public_addr.family == ADDR_IPV6 ? &state->ipv6 : &state->ipv4;
}

/* What a person should know about the mapping before relying on it. */
static void log_caveats(
	const struct probe_options *options, const struct mapping_race_result *result)
{
	char ip[ADDR_IP_TEXT_SIZE];
	enum addr_class class = addr_classify(&result->mapping.public_addr);

	addr_format_ip(&result->mapping.public_addr, ip);
	if (result->no_nat)
		log_note("no NAT: %s is an address of this machine", ip);
	else if (result->nat_here)
		log_warning("a NAT of this machine turns port %u of its own address %s into port "
			    "%u: by a rule, by a connection that it still remembers, or in user "
			    "space (pasta); strangers will not get through",
			result->mapping.local.port, ip, result->mapping.public_addr.port);
	else if (class != ADDR_CLASS_PUBLIC)
		log_warning("%s is a %s address: it is not reachable from everywhere", ip,
			addr_class_name(class));
	if (result->differs)
		log_warning("the port depends on who is asked (the NAT's mapping is not "
			    "endpoint-independent): strangers will not get through");
	if (!options->verify)
		probe_forward_log_unproved(&result->mapping);
}

static int print_mapping(
	const struct probe_options *options, const struct mapping *mapping, struct error *error)
{
	char line[MAPPING_LINE_SIZE];

	if (mapping_format(mapping, options->format, line) != 0)
		return error_set(error, EXIT_STATUS_USAGE, "the format makes too long a line");
	return command_print_line(line, error);
}

/* FILE holds what was printed last; where both families are printed, of each. */
static bool prints_both(const struct probe_options *options)
{
	return options->both || (options->keep && options->request.family == ADDR_NONE);
}

/*
 * -c: under the lock, so that of two runs that find the same change only one prints it. If FILE
 * cannot be written the mapping is printed all the same. *tell: the hook has not taken it yet.
 */
static int print_if_changed(
	struct probe_state *state, const struct mapping *mapping, bool *tell, struct error *error)
{
	const char *path = state->options->changed_file;
	struct probe_records records;
	struct probe_record *record = probe_record_of(&records, mapping);
	int lock = probe_record_lock(path, error);
	int result = lock < 0 ? -1 : 0;
	bool changed;

	*tell = false;
	if (probe_record_read(path, &records, error) != 0) {
		result = -1;
		goto unlock;
	}
	changed = !record->known || !mapping_equal(&record->mapping, mapping);
	*tell = changed || !record->told;
	if (!changed) {
		log_detail("the mapping is the one in %s", path);
		/* The next run compares FILE's age with the lease. */
		if (lock >= 0 && mapping->router_port != 0) {
			record->mapping = *mapping;
			result = probe_record_write(path, &records, error);
		}
	} else if (print_mapping(state->options, mapping, error) != 0) {
		result = -1;
	} else if (lock >= 0) {
		if (!prints_both(state->options))
			memset(&records, 0, sizeof(records));
		*record = (struct probe_record){
			.known = true, .told = state->hook.path == NULL, .mapping = *mapping};
		result = probe_record_write(path, &records, error);
	}
unlock:
	if (lock >= 0)
		file_unlock(path, lock);
	return result;
}

/* A damaged, unreadable or unwritable FILE is an error before the network is asked. */
static int check_file(const struct probe_options *options, struct error *error)
{
	struct probe_records before;

	if (options->changed_file == NULL)
		return 0;
	/* Except on a read-only disk: a mapping that cannot be remembered can still be used. */
	if (file_check_writable(options->changed_file, error) != 0 && errno != EROFS)
		return -1;
	return probe_record_read(options->changed_file, &before, error);
}

/* With -k: says what failed, once until it works again. */
static void complain(struct probe_state *state)
{
	if (state->failed && !state->complained)
		log_print_error(&state->error);
	state->complained = state->failed;
}

static void note_in_file(struct probe_state *state, const struct mapping *mapping, bool told)
{
	struct announcement *announcement = announcement_of(state, mapping);
	struct error error;

	if (state->options->changed_file == NULL || announcement->told == told)
		return;
	announcement->told = told;
	if (probe_record_note(state->options->changed_file, mapping, told, &error) == 0 ||
		state->failed)
		return;
	state->error = error;
	state->failed = true;
	if (state->options->keep)
		complain(state);
}

/* While the hook runs, FILE says that it has not taken the mapping. */
static void call_hook(
	struct probe_state *state, enum hook_event event, const struct mapping *mapping)
{
	if (hook_wants(&state->hook, event))
		note_in_file(state, mapping, false);
	hook_call(&state->hook, event, mapping, clock_now_ms());
}

static void note_hook_end(void *context, const struct hook_call *call, bool taken)
{
	if (taken && (call->event == HOOK_UP || call->event == HOOK_CHANGE))
		note_in_file(context, &call->mapping, true);
}

/* A line for a mapping that was not announced before. Returns whether it is news for the hook. */
static bool tell(struct probe_state *state, const struct mapping *mapping)
{
	struct announcement *announcement = announcement_of(state, mapping);
	bool news = true;
	int status;

	if (state->options->changed_file != NULL)
		status = print_if_changed(state, mapping, &news, &state->error);
	else
		status = print_mapping(state->options, mapping, &state->error);
	state->failed = status != 0;
	*announcement = (struct announcement){.mapping = *mapping, .made = true, .told = !news};
	return news;
}

/* With -c: has the next run call the hook again if this one failed. */
static void check_hook(struct probe_state *state)
{
	if (state->options->changed_file == NULL || !state->hook.failed || state->failed)
		return;
	error_set(&state->error, EXIT_STATUS_LOCAL,
		"the hook has not taken the mapping: the next run calls it again");
	state->failed = true;
}

/* -n: is the registered address the mapping? */
static void log_registration(const struct probe_state *state, const struct mapping *mapping,
	const struct name_message_record *registered)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&registered->addr, text);
	log_detail("%s registered %s as %s", mapping->reflector, state->key.name, text);
	if (!addr_equal(&registered->addr, &mapping->public_addr))
		log_warning("%s is registered as %s, which is not the mapping: this machine has "
			    "more than one way out",
			state->key.name, text);
}

static int register_name(const struct probe_state *state, struct family_side *side,
	struct home_facts *facts, enum binding_mode mode, struct error *error)
{
	uint64_t deadline = clock_now_ms() + side->request.timeout_ms;
	struct mapping_race_result *result = &side->result;
	struct name_message_record registered;

	if (name_register_mapping(&side->request, result, &state->key, facts, mode, deadline,
		    &registered, error) != 0)
		return -1;
	log_registration(state, &result->mapping, &registered);
	return 0;
}

static void warn_unregistered(
	const struct probe_state *state, const char *reflector, const struct error *error)
{
	log_warning("%s is not registered at %s: %s", state->key.name, reflector, error->text);
}

static void tell_registration(void *context, const char *reflector,
	const struct mapping_race_result *seen, const struct name_message_record *registered,
	const struct error *error)
{
	if (registered != NULL)
		log_registration(context, &seen->mapping, registered);
	else
		warn_unregistered(context, reflector, error);
}

/* Registers at each reflector; one that takes it is enough. */
static int register_name_at_each(struct probe_state *state, struct family_side *side,
	enum binding_mode mode, bool tells_lookups, struct error *error)
{
	struct home_facts facts;
	const struct register_each_request request = {
		.probe = &side->request,
		.first = &side->result,
		.key = &state->key,
		.facts = &facts,
		.mode = mode,
		.tells_lookups = tells_lookups,
		.tell = tell_registration,
		.context = state,
	};
	size_t others;
	int status;

	home_facts_init(&facts);
	if (!addr_equal(&side->result.mapping.public_addr, &side->result.winner.answer.mapped))
		facts.proved = side->result.mapping.public_addr;
	status = register_name(state, side, &facts, mode, error);
	if (register_each(&request, &others) == 0 || status == 0)
		return status;
	warn_unregistered(state, side->result.mapping.reflector, error);
	return 0;
}

static struct client_sandbox_plan make_plan(
	struct probe_state *state, enum client_sandbox_stay stay)
{
	const struct probe_options *options = state->options;

	return (struct client_sandbox_plan){
		.stay = stay,
		.reflectors = &options->common.reflectors,
		.hook = options->hook_path != NULL ? &state->hook : NULL,
		.changed_file = options->changed_file,
		.taps = options->verify,
		.secret = options->name != NULL,
	};
}

static int load_key(struct probe_state *state)
{
	const struct probe_options *options = state->options;

	if (options->name == NULL)
		return 0;
	return key_file_load_one(options->key_path, options->name, &state->key, &state->error);
}

/* With -k -n. */
static bool reload_key(void *context)
{
	struct probe_state *state = context;
	const struct probe_options *options = state->options;
	struct error error;
	struct key key;
	bool other;

	if (options->name == NULL)
		return false;
	if (key_file_load_one(options->key_path, options->name, &key, &error) != 0) {
		log_print_error(&error);
		log_warning("the key stays as it was");
		return false;
	}
	other = !secret_equal(key.secret, state->key.secret, sizeof(key.secret));
	state->key = key;
	secret_wipe(&key, sizeof(key));
	log_note("key read again: it is %s", other ? "another one" : "the same");
	return other;
}

/* IPv4 where there is one; with -4 -6 each. */
static bool is_printed(const struct both_families *both, size_t index)
{
	return both->sides[index].mapped && (both->all || index == 0 || !both->sides[0].mapped);
}

/* The family that has no line: could it have one, or why not? */
static void log_other(const struct both_families *both, size_t index)
{
	const struct family_side *side = &both->sides[index];
	int family = (int)side->request.family;

	if (side->mapped)
		log_note("there is a mapping in IPv%d as well: -%d prints it", family, family);
	else if (both->all)
		log_warning("no line for IPv%d: %s", family, side->error.text);
	else if (index == 0 && side->spoke)
		log_note("no line for IPv%d: %s", family, side->error.text);
}

/* Prints. The hook gets the first line at once, and that in `later` when it is done. */
static void announce_found(
	struct probe_state *state, const struct both_families *both, const struct mapping **later)
{
	bool called = false;
	bool failed = false;

	*later = NULL;
	for (size_t i = 0; i < both->count; i++) {
		const struct mapping *mapping = &both->sides[i].result.mapping;

		if (!is_printed(both, i)) {
			log_other(both, i);
			continue;
		}
		if (tell(state, mapping)) {
			if (called)
				*later = mapping;
			else
				call_hook(state, HOOK_UP, mapping);
			called = true;
		}
		failed = failed || state->failed;
		log_caveats(state->options, &both->sides[i].result);
	}
	state->failed = failed;
}

/* Says when a one-shot's connection did not end without a packet, as it should. */
static void log_closing(const struct family_side *side, enum binding_mode wanted)
{
	const struct binding_client *winner = &side->result.winner;

	if (wanted != BINDING_MODE_FORGET || side->result.no_nat ||
		winner->port.kind != BORROW_STREAM)
		return;
	if (side->result.nat_here && winner->answer.mode == BINDING_MODE_FORGET)
		log_note("the connection to %s is reset: a NAT of this machine may never forget "
			 "one that ends without a packet",
			side->result.mapping.reflector);
	if (winner->answer.mode != BINDING_MODE_CLOSE)
		return;
	log_warning("%s closes the connection, as it lacks CAP_NET_ADMIN or was asked too "
		    "often: many NATs forget this mapping within minutes; keep it with -k",
		side->result.mapping.reflector);
}

/* Registers in each family. An error in a family that was not asked for does not end the run. */
static void register_found(
	struct probe_state *state, struct both_families *both, enum binding_mode mode)
{
	for (size_t i = 0; i < both->count; i++) {
		struct family_side *side = &both->sides[i];
		struct error error;

		if (!side->mapped || register_name_at_each(state, side, mode, i == 0, &error) == 0)
			continue;
		if (!is_printed(both, i)) {
			log_warning("%s", error.text);
			continue;
		}
		if (state->failed)
			log_print_error(&state->error);
		state->error = error;
		state->failed = true;
	}
}

/* -V, and nobody gets in: the reason in each family. */
static int fail_unverified(const struct both_families *both)
{
	int status = EXIT_STATUS_DONE;

	for (size_t i = 0; i < both->count; i++) {
		const struct family_side *side = &both->sides[i];

		if (!side->spoke && both->count == 2 && !both->all)
			continue;
		log_print_error(&side->error);
		if (status == EXIT_STATUS_DONE || side->error.status == EXIT_STATUS_UNREACHABLE)
			status = (int)side->error.status;
	}
	return status;
}

static int run_once(struct probe_state *state, const struct mapping_race_request *asked)
{
	const struct probe_options *options = state->options;
	struct mapping_race_request request = *asked;
	enum binding_mode mode = socket_can_forget() ? BINDING_MODE_FORGET : BINDING_MODE_CLOSE;
	uint64_t deadline = clock_now_ms() + request.timeout_ms;
	bool each = options->both || options->name != NULL;
	const struct mapping *later;
	struct both_families both;

	/* For further questions the connection has to stay until the last answer. */
	request.mode = options->name != NULL ? BINDING_MODE_HOLD : mode;
	request.hold_seconds = HOLD_SECONDS;
	both_families_init(&both, &request, options->both);
	if (state->forward.options.wanted && state->forward.options.lease == 0)
		return probe_forward_take_back(&state->forward, &both, deadline);
	if (state->forward.options.wanted)
		probe_forward_ask(&state->forward, &both, deadline);
	if (both_families_find(&both, &state->error) != 0) {
		mapping_race_hint_at_udp(&request, deadline, &state->error);
		return command_fail(&state->error);
	}
	if (options->verify && both_families_verify(&both, each, deadline) != 0)
		return fail_unverified(&both);
	announce_found(state, &both, &later);
	if (!options->verify)
		probe_forward_hint(&both);
	if (options->name != NULL)
		register_found(state, &both, mode);
	for (size_t i = 0; i < both.count; i++)
		if (is_printed(&both, i))
			log_closing(&both.sides[i], mode);
	both_families_end(&both);
	hook_finish(&state->hook);
	if (later != NULL) {
		call_hook(state, HOOK_UP, later);
		hook_finish(&state->hook);
	}
	check_hook(state);
	return state->failed ? command_fail(&state->error) : EXIT_STATUS_DONE;
}

static int run_once_confined(struct probe_state *state)
{
	const struct client_sandbox_plan plan = make_plan(state, CLIENT_SANDBOX_ONCE);
	struct mapping_race_request request = state->options->request;
	struct client_sandbox sandbox;
	int status;

	if (client_sandbox_open(&sandbox, &plan, &state->error) != 0 || load_key(state) != 0 ||
		probe_forward_prepare(&state->forward, state->options, &state->error) != 0) {
		status = command_fail(&state->error);
	} else {
		request.resolver = &sandbox.resolver;
		client_sandbox_find_owner(&sandbox, &request, state->options->verify);
		status = client_sandbox_enter(&plan, &state->error) == 0
				 ? run_once(state, &request)
				 : command_fail(&state->error);
	}
	client_sandbox_close(&sandbox);
	return status;
}

/* Warns that --to or the command gets no connections, as another program takes them. */
static void log_unused(const struct probe_options *options, const char *owner)
{
	const char *what = options->command != NULL ? "the command" : "--to";

	if (options->command == NULL && options->to.port == 0)
		return;
	log_warning("%s is %s: %s listens on port %u itself", what,
		options->name != NULL && options->request.protocol == MAPPING_TCP
			? "for natpunch connect alone"
			: "not used",
		owner, options->request.local.port);
}

/* With -k, once there is a mapping: says which program gets the connections through it. */
static void log_receiver(const struct probe_state *state, const struct mapping *mapping)
{
	const struct probe_options *options = state->options;
	const struct addr *local = &options->request.local;
	struct port_owner owner;
	const char *name;
	char where[256];
	char ip[ADDR_IP_TEXT_SIZE];

	if (port_owner_find_again(options->request.protocol, (enum addr_family)local->family,
		    local->port, state->owner, &owner) != 0)
		return;
	name = owner.name[0] != '\0' ? owner.name : "another process";
	if (owner.listens && owner.pid != getpid())
		log_unused(options, name);
	if (!owner.listens)
		log_warning("nothing listens on port %u: connections are refused", local->port);
	else if (owner.pid == getpid())
		log_note("%s to port %u go to %s",
			options->request.protocol == MAPPING_UDP ? "datagrams" : "connections",
			local->port,
			options->command != NULL ? options->command[0] : options->to.host);
	else if (mapping->local.port != local->port)
		log_note("connections to port %u go to %s on port %u", mapping->local.port, name,
			local->port);
	else if (!port_owner_takes(&owner, &mapping->local, strcmp(mapping->method, "bind") == 0))
		log_warning("%s: have it listen on %s as well",
			port_owner_describe(&owner, where, sizeof(where)),
			addr_format_ip(&mapping->local, ip));
	else
		log_note("%s listens on port %u itself; the mapping is kept, %s", name, local->port,
			!options->verify ? "not verified (-V)"
			: options->request.protocol == MAPPING_UDP
				? "and is reached from outside"
				: "and is answered from outside");
}

static void announce_event(
	void *context, enum hook_event event, const struct mapping_race_result *result)
{
	struct probe_state *state = context;
	const struct probe_options *options = state->options;
	const struct announcement *before = announcement_of(state, &result->mapping);
	char text[ADDR_TEXT_SIZE];

	addr_format(&result->mapping.public_addr, text);
	if (event == HOOK_DOWN || event == HOOK_UNREACHABLE) {
		if (event == HOOK_DOWN)
			log_note("%s is not kept any more", text);
		call_hook(state, event, &result->mapping);
		return;
	}
	if ((before->made && mapping_equal(&before->mapping, &result->mapping)) ||
		tell(state, &result->mapping))
		call_hook(state, event, &result->mapping);
	complain(state);
	log_caveats(options, result);
	log_note("keeping %s by %s, asking %s", text, result->mapping.method,
		result->mapping.reflector);
	if (!state->receiver_logged)
		log_receiver(state, &result->mapping);
	state->receiver_logged = true;
}

/* Would a connection that we hand over come to us again? */
static bool leads_to_itself(const struct probe_options *options)
{
	const struct addr *local = &options->request.local;
	struct addr to;

	if (options->to.port != local->port)
		return false;
	if (strcmp(options->to.host, "localhost") == 0)
		return local->family == ADDR_NONE;
	if (addr_parse_ip(&to, options->to.host) != 0)
		return false;
	return local->family == ADDR_NONE ? socket_is_local_ip(&to) : addr_equal_ip(&to, local);
}

/*
 * Fails now, and not when the first connection comes. A hook that exists and cannot be run counts
 * as one that fails: the mapping is printed and kept all the same.
 */
static int check_programs(const struct probe_options *options, struct error *error)
{
	const char *hook = options->hook_path;

	if (hook != NULL && access(hook, F_OK) != 0 && program_check("hook ", hook, error) != 0)
		return error_hint(error, "-e takes the path of a program, which may be a script");
	if (options->command != NULL && program_check("", options->command[0], error) != 0)
		return error_hint(error, "a command is the path of a program");
	return 0;
}

/* Listens if connections are to be handed over and no other program listens on the port. */
static int open_listener(const struct probe_options *options, int *listener, struct error *error)
{
	const struct addr *local = &options->request.local;
	struct port_owner owner;

	*listener = -1;
	if (options->request.protocol != MAPPING_TCP ||
		(options->command == NULL && options->to.port == 0))
		return 0;
	if (port_owner_find(MAPPING_TCP, (enum addr_family)local->family, local->port, &owner) ==
			0 &&
		owner.listens)
		return 0;
	if (leads_to_itself(options))
		return error_set(
			error, EXIT_STATUS_USAGE, "--to is the very port that connections come to");
	*listener = handover_listen(local, options->request.interface, error);
	return *listener >= 0 ? 0 : -1;
}

/*
 * -u --to: the port is taken, and shared with the questions. Nothing of it where somebody has the
 * port already, which log_unused() says.
 */
static int open_forward(
	struct keep_config *config, const struct probe_options *options, struct error *error)
{
	struct mapping_race_request *probe = &config->probe;
	struct udp_forward *forward = config->udp_forward;
	struct port_owner owner;

	config->udp_forward = NULL;
	if (probe->protocol != MAPPING_UDP || options->to.port == 0)
		return 0;
	if (port_owner_find(MAPPING_UDP, (enum addr_family)probe->local.family, probe->local.port,
		    &owner) == 0 &&
		owner.listens)
		return 0;
	if (udp_forward_open(forward, &probe->local, probe->interface, &options->to, error) != 0)
		return -1;
	config->udp_forward = forward;
	probe->method = &borrow_method_bind;
	probe->leave_free = false;
	probe->shared = true;
	return 0;
}

static int enter_sandbox(struct probe_state *state, struct mapping_race_request *request,
	struct client_sandbox *sandbox, struct handover *handover)
{
	struct client_sandbox_plan plan = make_plan(state, CLIENT_SANDBOX_KEEPS);

	plan.caller_task = handover_task(handover);
	plan.caller_file = HANDOVER_SPARE_FILE;
	plan.key_file = state->options->key_path;
	if (client_sandbox_open(sandbox, &plan, &state->error) != 0 || load_key(state) != 0 ||
		probe_forward_prepare(&state->forward, state->options, &state->error) != 0)
		return -1;
	handover->launcher = &sandbox->launcher;
	handover->task = CLIENT_SANDBOX_TASK_CALLER;
	request->resolver = &sandbox->resolver;
	client_sandbox_find_owner(sandbox, request, true);
	state->owner = &sandbox->owner;
	return client_sandbox_enter(&plan, &state->error);
}

static int run_kept(struct probe_state *state)
{
	const struct probe_options *options = state->options;
	struct host_port to = {.host = ""};
	struct client_sandbox sandbox;
	struct handover handover;
	struct udp_forward forward;
	struct notify notify;
	struct keep_config config = {
		.probe = options->request,
		.interval_ms = options->interval_ms,
		.verify = options->verify,
		.verify_open_ms = KEEP_VERIFY_OPEN_MS,
		.verify_again_ms = KEEP_VERIFY_AGAIN_MS,
		.forward = options->forward.wanted ? &state->forward.options : NULL,
		.key = options->name != NULL ? &state->key : NULL,
		.reload_key = reload_key,
		.hook = &state->hook,
		.handover = &handover,
		.udp_forward = &forward,
		.launcher = &sandbox.launcher,
		.notify = &notify,
		.report = announce_event,
		.context = state,
	};
	int status;

	/* Without --to, an initiator's connection goes to the server that listens on the port. */
	if (options->to.port != 0)
		to = options->to;
	else
		to.port = options->request.local.port;
	config.probe.leave_free = true;
	handover_init(&handover, options->command, &to);
	if (open_listener(options, &config.listener, &state->error) != 0 ||
		open_forward(&config, options, &state->error) != 0)
		return command_fail(&state->error);
	notify_open(&notify);
	status = enter_sandbox(state, &config.probe, &sandbox, &handover);
	if (status == 0)
		status = keep_run(&config, &state->error);
	client_sandbox_close(&sandbox);
	notify_close(&notify);
	handover_end(&handover);
	if (config.udp_forward != NULL)
		udp_forward_end(config.udp_forward);
	if (config.listener >= 0)
		close(config.listener);
	return status == 0 ? EXIT_STATUS_DONE : command_fail(&state->error);
}

static int run(const struct command *row, int argc, char **argv)
{
	struct probe_options options;
	struct probe_state state = {.options = &options};
	int status;

	if (probe_options_read(&options, row, argc, argv, &state.error) != 0)
		return command_fail(&state.error);
	if (options.common.help) {
		command_print_help(row);
		return EXIT_STATUS_DONE;
	}
	if (check_programs(&options, &state.error) != 0 ||
		check_file(&options, &state.error) != 0 ||
		common_options_mark(&options.common, &state.error) != 0)
		return command_fail(&state.error);
	hook_init(&state.hook, options.hook_path, options.hook_order);
	state.hook.events = options.hook_events;
	state.hook.repeats = options.keep;
	state.hook.ended = note_hook_end;
	state.hook.context = &state;
	status = options.keep ? run_kept(&state) : run_once_confined(&state);
	secret_wipe(&state.key, sizeof(state.key));
	return status;
}

const struct command command_probe = {
	.name = "probe",
	.summary = "find and keep the public address of a local port",
	.synopsis = "[options] [-- COMMAND [ARG...]]",
	.options = probe_option_rows,
	.run = run,
};
