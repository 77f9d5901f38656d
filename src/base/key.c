/*
 * key.c - names, their keys, and the file that both sides keep them in.
 *
 * People write the file, also by `>>`. A line that is not exactly a key is an error: to skip it
 * would silently lose a name.
 */
#include "natpunch/base/key.h"

#include <string.h>

#include "natpunch/base/base64.h"
#include "natpunch/base/secret.h"
#include "natpunch/base/sha256.h"

#define CHECK_SIZE 4
#define TEXT_SIZE  BASE64_SIZE(KEY_SECRET_SIZE + CHECK_SIZE)

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool key_is_name(const char *text, size_t size)
{
	if (size == 0 || size >= KEY_NAME_SIZE || !is_alphanumeric(text[0]))
		return false;
	for (size_t i = 1; i < size; i++)
		if (!is_alphanumeric(text[i]) && text[i] != '.' && text[i] != '_' && text[i] != '-')
			return false;
	return true;
}

/* `label` is hashed with its NUL, so that no label and name can read as another pair. */
static void compute_hash(const char *label, const struct key *key, uint8_t hash[SHA256_SIZE])
{
	struct sha256 state;

	sha256_start(&state);
	sha256_update(&state, label, strlen(label) + 1);
	sha256_update(&state, key->name, strlen(key->name) + 1);
	sha256_update(&state, key->secret, sizeof(key->secret));
	sha256_finish(&state, hash);
}

static void compute_check(const struct key *key, uint8_t out[CHECK_SIZE])
{
	uint8_t hash[SHA256_SIZE];

	compute_hash("natpunch key 1", key, hash);
	memcpy(out, hash, CHECK_SIZE);
}

uint32_t key_number(const struct key *key)
{
	uint8_t hash[SHA256_SIZE];

	compute_hash("natpunch state 1", key, hash);
	return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}

const char *key_format(const struct key *key, char out[KEY_LINE_SIZE])
{
	uint8_t bytes[KEY_SECRET_SIZE + CHECK_SIZE];
	size_t size = strlen(key->name);

	memcpy(bytes, key->secret, KEY_SECRET_SIZE);
	compute_check(key, bytes + KEY_SECRET_SIZE);
	memcpy(out, key->name, size);
	out[size] = ' ';
	base64_encode(bytes, sizeof(bytes), out + size + 1);
	out[size + 1 + TEXT_SIZE] = '\0';
	secret_wipe(bytes, sizeof(bytes));
	return out;
}

/* A carriage return is one too, for a file written on Windows. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line: *word and its size, which is 0 when there is none left. */
static size_t take_word(const char **at, const char *end, const char **word)
{
	while (*at < end && is_blank(**at))
		++*at;
	*word = *at;
	while (*at < end && !is_blank(**at))
		++*at;
	return (size_t)(*at - *word);
}

/* NULL when the words are a name and its key. */
static const char *read_key(
	const char *name, size_t name_size, const char *text, size_t text_size, struct key *out)
{
	uint8_t bytes[KEY_SECRET_SIZE + CHECK_SIZE], check[CHECK_SIZE];
	const char *problem = NULL;

	if (!key_is_name(name, name_size))
		return "not a name";
	if (text_size == 0)
		return "no key behind the name";
	if (text_size != TEXT_SIZE || base64_decode(text, text_size, bytes) != 0)
		return "not a key";
	memcpy(out->name, name, name_size);
	out->name[name_size] = '\0';
	memcpy(out->secret, bytes, KEY_SECRET_SIZE);
	compute_check(out, check);
	if (!secret_equal(check, bytes + KEY_SECRET_SIZE, CHECK_SIZE))
		problem = "damaged, or the key of another name";
	secret_wipe(bytes, sizeof(bytes));
	return problem;
}

enum key_reader_result key_reader_next(
	struct key_reader *file, struct key *out, const char **problem)
{
	while (file->offset < file->size) {
		const char *at = file->data + file->offset, *name, *text, *rest;
		size_t left = file->size - file->offset;
		const char *newline = memchr(at, '\n', left);
		const char *end = newline != NULL ? newline : at + left;
		size_t name_size, text_size;

		file->offset += (size_t)(end - at) + (newline != NULL ? 1 : 0);
		file->line++;
		name_size = take_word(&at, end, &name);
		if (name_size == 0 || *name == '#')
			continue;
		text_size = take_word(&at, end, &text);
		*problem = read_key(name, name_size, text, text_size, out);
		if (*problem == NULL && take_word(&at, end, &rest) > 0)
			*problem = "more than a name and a key";
		if (*problem == NULL)
			return KEY_READER_KEY;
		secret_wipe(out, sizeof(*out));
		return KEY_READER_BAD;
	}
	return KEY_READER_END;
}
