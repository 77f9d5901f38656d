/*
 * Fuzzes the record of a mapping, which is read from a file that anything may have happened to:
 * what is taken is what would be written, to the byte.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/base/mapping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char record[MAPPING_RECORD_SIZE];
	struct mapping mapping;

	if (mapping_decode_record(&mapping, (const char *)data, size) < 0)
		return 0;
	fuzz_check(mapping_encode_record(&mapping, record) == 0);
	fuzz_check(strlen(record) == size && memcmp(record, data, size) == 0);
	return 0;
}
