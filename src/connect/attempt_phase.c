#include "connect/attempt_phase.h"

#include <errno.h>
#include <string.h>

enum phase_end attempt_phase_stop(struct attempt *in, enum phase_end end, enum exit_status status,
	const char *what, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&in->session.reflector, text);
	error_set(&in->error, status, "%s %s: %s", what, text, why);
	return end;
}

const char *attempt_phase_why(const struct attempt *in)
{
	return strerror(in->problem != 0 ? in->problem : ETIMEDOUT);
}

static void hint_way(struct attempt *in)
{
	const struct addr *own = &in->nearby.hosts[0];
	char text[ADDR_IP_TEXT_SIZE];

	if (in->nearby.count > 0)
		error_hint(&in->error,
			"home is behind the same NAT as this machine, and does not answer at its "
			"own address (%s); look why: ssh -p %u %s",
			strerror(in->nearby.problem != 0 ? in->nearby.problem : ETIMEDOUT),
			own->port, addr_format_ip(own, text));
	else
		error_hint(&in->error,
			"by way of a third host: ssh -N -R 1337:localhost:22 HOST at home, "
			"then ssh -J HOST "
			"-p 1337 localhost here");
}

enum phase_end attempt_phase_fail(struct attempt *in, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	if (in->home.family == ADDR_NONE) {
		error_set(&in->error, EXIT_STATUS_NETWORK,
			"%s knows no IPv%d address of %s, only one of the other family; %s",
			addr_format(&in->session.reflector, text),
			(int)in->session.reflector.family, in->config.key->name, why);
		return END_FAILED;
	}
	error_set(&in->error, EXIT_STATUS_UNREACHABLE, "no direct way to %s at %s: %s; %s",
		in->config.key->name, addr_format(&in->home, text), attempt_phase_why(in), why);
	hint_way(in);
	return END_FAILED;
}

enum phase_end attempt_phase_ask(struct attempt *in, uint32_t patience_ms, judge_answer *judge)
{
	enum reflector_answer answer = reflector_session_ask(&in->session);

	in->patience = patience_ms;
	in->due = in->now + patience_ms;
	return answer == REFLECTOR_ANSWER_NONE ? END_STAYS : judge(in, answer);
}

enum phase_end attempt_phase_hear(struct attempt *in, const struct pollfd *own,
	struct port_prediction *prediction, judge_answer *judge)
{
	enum reflector_answer answer = REFLECTOR_ANSWER_NONE;

	if (own->revents != 0)
		answer = reflector_session_read(&in->session, prediction);
	if (answer == REFLECTOR_ANSWER_AGAIN)
		return attempt_phase_ask(in, in->patience, judge);
	if (answer == REFLECTOR_ANSWER_NONE && in->now < in->due)
		return END_STAYS;
	return judge(in, answer);
}

void attempt_phase_watch_stream(const struct attempt *in, struct pollfd *own)
{
	own[0] = (struct pollfd){.fd = in->session.stream, .events = POLLIN};
}

struct addr attempt_phase_reach(const struct attempt *in, const struct addr *addr)
{
	struct addr target = *addr;

	if (in->config.family != (enum addr_family)in->config.reflector.family)
		nat64_map(&in->config.nat64, &target, &target);
	return target;
}
