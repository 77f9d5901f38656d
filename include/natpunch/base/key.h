/*
 * key.h - names, their keys, and the file that both sides keep them in.
 *
 * A line of the file is `NAME KEY`, with any blanks between and around them; the reader skips empty
 * lines and those that begin with '#'. The same line serves the reflector and the home.
 *
 *   NAME  1 to 63 of a-z 0-9 . _ -, the first a letter or a digit. Without capitals no two names
 *         differ in them alone.
 *   KEY   48 characters of base64url: 32 random bytes, and the first 4 of
 *         SHA-256("natpunch key 1" NUL NAME NUL bytes). By these the reader notices a slip of the
 *         editor and a key beside another name; they need not be secret.
 */
#ifndef NATPUNCH_BASE_KEY_H
#define NATPUNCH_BASE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_NAME_SIZE   64 /* with its NUL */
#define KEY_SECRET_SIZE 32
#define KEY_LINE_SIZE   (KEY_NAME_SIZE + 1 + 48)

struct key {
	char name[KEY_NAME_SIZE];
	uint8_t secret[KEY_SECRET_SIZE];
};

bool key_is_name(const char *text, size_t size);

/*
 * A number that tells keys apart: another key, or the same key under another name, has it only by
 * chance. It says nothing about the secret.
 */
uint32_t key_number(const struct key *key);

/* Writes the line without its newline. key->name must be valid (key_is_name()). Returns out. */
const char *key_format(const struct key *key, char out[KEY_LINE_SIZE]);

/* Goes through a file's lines. Start with line and offset 0; the bytes are the caller's. */
struct key_reader {
	const char *data;
	size_t size;
	size_t offset;
	unsigned line; /* of the key just read, or of what is wrong; from 1 */
};

enum key_reader_result {
	KEY_READER_KEY, /* *out is the next one */
	KEY_READER_END,
	KEY_READER_BAD, /* *problem is a constant that says what is wrong with the line */
};

enum key_reader_result key_reader_next(
	struct key_reader *file, struct key *out, const char **problem);

#endif
