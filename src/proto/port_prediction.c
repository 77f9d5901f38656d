#include "natpunch/proto/port_prediction.h"

#define SIZE 4

static int magnitude(int number)
{
	return number < 0 ? -number : number;
}

/* `port` moved on by `by`, where that is a port; else what cannot be told. */
static struct port_prediction at(int port, int step)
{
	if (port < 1 || port > UINT16_MAX)
		return (struct port_prediction){.port = 0};
	return (struct port_prediction){.port = (uint16_t)port, .step = (int16_t)step};
}

struct port_prediction port_prediction_make(const uint16_t ports[PORT_PREDICTION_SAMPLES])
{
	const struct port_prediction untold = {.port = 0};
	int first = ports[1] - ports[0];
	int second = ports[2] - ports[1];
	int small = magnitude(first) < magnitude(second) ? first : second;
	int large = small == first ? second : first;

	if (ports[0] == 0 || ports[1] == 0 || ports[2] == 0)
		return untold;
	if (first == 0 && second == 0)
		return at(ports[2], 0);
	/* Of two steps, one may have another's connection in it: then it is a multiple. */
	if (small == 0 || (first < 0) != (second < 0) ||
		magnitude(large) > PORT_PREDICTION_STEP_MAX || large % small != 0)
		return untold;
	return at(ports[2] + small, small);
}

bool port_prediction_is_excluded(const uint16_t ports[PORT_PREDICTION_SAMPLES])
{
	for (int i = 0; i < PORT_PREDICTION_SAMPLES; i++)
		for (int k = i + 1; k < PORT_PREDICTION_SAMPLES; k++)
			if (ports[i] != 0 && ports[k] != 0 &&
				magnitude(ports[k] - ports[i]) > (k - i) * PORT_PREDICTION_STEP_MAX)
				return true;
	return false;
}

struct port_prediction port_prediction_after(
	const struct port_prediction *prediction, unsigned connections)
{
	if (prediction->port == 0 || connections > UINT16_MAX)
		return (struct port_prediction){.port = 0};
	return at(prediction->port + prediction->step * (int)connections, prediction->step);
}

size_t port_prediction_candidates(
	const struct port_prediction *prediction, uint16_t out[PORT_PREDICTION_CANDIDATES])
{
	size_t most = prediction->step == 0 ? 1 : PORT_PREDICTION_CANDIDATES;
	size_t count = 0;

	for (; count < most; count++) {
		out[count] = port_prediction_after(prediction, (unsigned)count).port;
		if (out[count] == 0)
			break;
	}
	return count;
}

void port_prediction_put(struct wire_writer *writer, const struct port_prediction *prediction)
{
	const uint16_t step = (uint16_t)prediction->step;
	const uint8_t value[SIZE] = {(uint8_t)(prediction->port >> 8), (uint8_t)prediction->port,
		(uint8_t)(step >> 8), (uint8_t)step};

	stun_put(writer, STUN_NATPUNCH_PREDICTION, value, sizeof(value));
}

int port_prediction_read(const struct stun_attribute *attribute, struct port_prediction *out)
{
	const uint8_t *value = attribute->value;
	int step;

	*out = (struct port_prediction){.port = 0};
	if (attribute->size != SIZE)
		return -1;
	step = value[2] << 8 | value[3];
	if (step > INT16_MAX)
		step -= UINT16_MAX + 1;
	if (magnitude(step) > PORT_PREDICTION_STEP_MAX)
		return -1;
	*out = at(value[0] << 8 | value[1], step);
	return out->port != 0 || step == 0 ? 0 : -1;
}
