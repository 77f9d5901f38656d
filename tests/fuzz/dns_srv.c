/*
 * Fuzzes the reader of a name server's answer: what is kept is a host name and a port, and ordering
 * neither loses nor changes a record.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/host_port.h"
#include "natpunch/proto/dns_srv.h"

static unsigned count_of(const struct dns_srv_answer *answer, const struct dns_srv_record *record)
{
	unsigned count = 0;

	for (size_t i = 0; i < answer->count; i++)
		count += answer->records[i].priority == record->priority &&
			 answer->records[i].weight == record->weight &&
			 answer->records[i].port == record->port &&
			 strcmp(answer->records[i].target, record->target) == 0;
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_srv_answer answer, ordered;
	struct host_port host;
	uint32_t random[DNS_SRV_MAX];

	if (dns_srv_read(data, size, &answer) < 0) {
		fuzz_check(answer.count == 0);
		return 0;
	}
	fuzz_check(answer.count <= DNS_SRV_MAX);
	for (size_t i = 0; i < DNS_SRV_MAX; i++)
		random[i] = (uint32_t)(size * 2654435761U + i * 40503U);
	ordered = answer;
	dns_srv_order(&ordered, random);
	fuzz_check(ordered.count == answer.count);
	for (size_t i = 0; i < ordered.count; i++) {
		const struct dns_srv_record *record = &ordered.records[i];

		fuzz_check(record->port != 0 && record->target[0] != '\0');
		fuzz_check(strlen(record->target) <= 253);
		fuzz_check(host_port_parse(record->target, 1, &host) == 0);
		fuzz_check(i == 0 || ordered.records[i - 1].priority <= record->priority);
		fuzz_check(count_of(&ordered, record) == count_of(&answer, record));
	}
	return 0;
}
