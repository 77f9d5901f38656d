/*
 * The reader and the writer against a naive model, on memory that ends at a guard page: any
 * sequence of calls reads and writes what the model does, and fails when and only when it does.
 */
#include "natpunch/base/wire.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define SIZE_MOST 64
#define ROUNDS    20000

static struct random rng;
static struct guard guard;

/* How many bytes a call asks for; rarely more than there can ever be. */
static size_t pick_count(void)
{
	if (random_once(&rng, 50))
		return SIZE_MAX - random_below(&rng, 8);
	return random_below(&rng, 12);
}

struct model {
	uint8_t bytes[SIZE_MOST];
	size_t size, offset;
	bool failed;
};

/* Where the model's next count bytes are, or SIZE_MAX. */
static size_t model_take(struct model *model, size_t count)
{
	size_t at = model->offset;

	if (model->failed || count > model->size - model->offset) {
		model->failed = true;
		return SIZE_MAX;
	}
	model->offset += count;
	return at;
}

static uint32_t model_value(const struct model *model, size_t at, size_t count)
{
	uint32_t value = 0;

	for (size_t i = 0; at != SIZE_MAX && i < count; i++)
		value = value << 8 | model->bytes[at + i];
	return value;
}

static bool read_once(struct wire_reader *reader, struct model *model)
{
	static const size_t sizes[] = {1, 2, 4};
	size_t kind = random_below(&rng, 5), count = kind < 3 ? sizes[kind] : pick_count(), at;
	uint8_t u8 = 9, out[16];
	uint16_t u16 = 9;
	uint32_t u32 = 9;

	if (kind == 3 && count > sizeof(out))
		count = sizeof(out);
	if (kind == 4) {
		at = model_take(model, count);
		return wire_read_view(reader, count) == (at == SIZE_MAX ? NULL : reader->data + at);
	}
	at = model_take(model, count);
	switch (kind) {
	case 0:
		return wire_read_u8(reader, &u8) == (at != SIZE_MAX) &&
		       u8 == model_value(model, at, 1);
	case 1:
		return wire_read_u16(reader, &u16) == (at != SIZE_MAX) &&
		       u16 == model_value(model, at, 2);
	case 2:
		return wire_read_u32(reader, &u32) == (at != SIZE_MAX) &&
		       u32 == model_value(model, at, 4);
	default:
		memset(out, 9, sizeof(out));
		if (wire_read_bytes(reader, out, count) != (at != SIZE_MAX))
			return false;
		for (size_t i = 0; i < count; i++) {
			if (out[i] != (at == SIZE_MAX ? 0 : model->bytes[at + i]))
				return false;
		}
		return true;
	}
}

static bool reading_holds(void)
{
	struct model model = {.size = random_below(&rng, SIZE_MOST + 1)};
	struct wire_reader reader;

	random_fill(&rng, model.bytes, sizeof(model.bytes));
	wire_reader_start(&reader, guard_copy_end(&guard, model.bytes, model.size), model.size);
	for (int i = 0; i < 20; i++) {
		if (!read_once(&reader, &model) || reader.failed != model.failed ||
			reader.offset != model.offset ||
			wire_reader_left(&reader) != model.size - model.offset)
			return false;
	}
	return true;
}

static void model_put(struct model *model, size_t at, uint32_t value, size_t count)
{
	for (size_t i = 0; at != SIZE_MAX && i < count; i++)
		model->bytes[at + i] = (uint8_t)(value >> 8 * (count - 1 - i));
}

static bool patch_once(struct wire_writer *writer, struct model *model)
{
	size_t at = random_once(&rng, 20) ? SIZE_MAX - random_below(&rng, 4)
					  : random_below(&rng, SIZE_MOST + 4);
	uint16_t value = (uint16_t)random_next(&rng);
	bool fits = !model->failed && at < SIZE_MAX - 2 && at + 2 <= model->offset;

	if (fits)
		model_put(model, at, value, 2);
	else
		model->failed = true;
	return wire_patch_u16(writer, at, value) == fits;
}

static bool write_once(struct wire_writer *writer, struct model *model)
{
	static const size_t sizes[] = {1, 2, 4};
	static const uint8_t zeros[16];
	size_t kind = random_below(&rng, 6), count = kind < 3 ? sizes[kind] : pick_count(), at;
	uint32_t value = (uint32_t)random_next(&rng);
	uint8_t bytes[16];

	if (kind == 5)
		return random_once(&rng, 4) ? patch_once(writer, model) : true;
	if (kind == 3 && count > sizeof(bytes))
		count = sizeof(bytes);
	random_fill(&rng, bytes, sizeof(bytes));
	at = model_take(model, count);
	if (kind < 3)
		model_put(model, at, value, count);
	else if (at != SIZE_MAX)
		memcpy(model->bytes + at, kind == 3 ? bytes : zeros, count);
	switch (kind) {
	case 0:
		return wire_write_u8(writer, (uint8_t)value) == (at != SIZE_MAX);
	case 1:
		return wire_write_u16(writer, (uint16_t)value) == (at != SIZE_MAX);
	case 2:
		return wire_write_u32(writer, value) == (at != SIZE_MAX);
	case 3:
		return wire_write_bytes(writer, bytes, count) == (at != SIZE_MAX);
	default:
		return wire_write_zeros(writer, count) == (at != SIZE_MAX);
	}
}

static bool writing_holds(void)
{
	struct model model = {.size = random_below(&rng, SIZE_MOST + 1)};
	struct wire_writer writer;
	uint8_t *memory;

	random_fill(&rng, model.bytes, sizeof(model.bytes));
	memory = guard_copy_end(&guard, model.bytes, model.size);
	wire_writer_start(&writer, memory, model.size);
	for (int i = 0; i < 20; i++) {
		if (!write_once(&writer, &model) || writer.failed != model.failed ||
			writer.offset != model.offset)
			return false;
	}
	return memcmp(memory, model.bytes, model.size) == 0;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(SIZE_MOST);
	for (round = 0; round < ROUNDS && reading_holds(); round++)
		;
	is_int(round, ROUNDS, "readers do as the model does");
	for (round = 0; round < ROUNDS && writing_holds(); round++)
		;
	is_int(round, ROUNDS, "writers do as the model does");
	return done_testing();
}
