#include "natpunch/os/key_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "natpunch/os/file.h"
#include "natpunch/base/secret.h"
#include "natpunch/base/text.h"

#define FILE_MAX (KEY_FILE_MAX * 256UL) /* lines are half as long, unless they are comments */

/* A key and the line that it stands on, until the names are known to differ. */
struct row {
	struct key key;
	unsigned line;
};

struct rows {
	const char *path;
	struct row *all;
	size_t count;
};

static int fail_at(const char *path, unsigned line, const char *problem, struct error *error)
{
	char safe[128];

	return error_set(error, EXIT_STATUS_LOCAL, "%s line %u: %s",
		text_escape(safe, sizeof(safe), path, strlen(path)), line, problem);
}

static size_t count_lines(const char *data, size_t size)
{
	size_t count = 1;

	for (size_t i = 0; i < size; i++)
		count += data[i] == '\n';
	return count;
}

/* Hands each key to `take`, which may refuse it, and where its line ends. */
static int read_keys(const char *path, const char *data, size_t size,
	int (*take)(void *context, const struct key *key, const struct key_reader *file,
		struct error *error),
	void *context, struct error *error)
{
	struct key_reader file = {.data = data, .size = size};
	const char *problem;
	struct key key;
	int result = 0;

	while (result == 0) {
		switch (key_reader_next(&file, &key, &problem)) {
		case KEY_READER_END:
			return 0;
		case KEY_READER_BAD:
			return fail_at(path, file.line, problem, error);
		case KEY_READER_KEY:
			result = take(context, &key, &file, error);
			secret_wipe(&key, sizeof(key));
		}
	}
	return result;
}

static int take_row(
	void *context, const struct key *key, const struct key_reader *file, struct error *error)
{
	struct rows *rows = context;

	if (rows->count == KEY_FILE_MAX)
		return fail_at(rows->path, file->line, "more names than 100000", error);
	rows->all[rows->count].key = *key;
	rows->all[rows->count++].line = file->line;
	return 0;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = *(const struct row *const *)a;
	const struct row *right = *(const struct row *const *)b;
	int order = strcmp(left->key.name, right->key.name);

	return order != 0 ? order : (left->line > right->line) - (left->line < right->line);
}

static int copy_sorted(
	const char *path, const struct row **order, struct key_file *out, struct error *error)
{
	for (size_t i = 0; i < out->count; i++) {
		const char *name = order[i]->key.name;

		out->rows[i] = order[i]->key;
		if (i < 2 || strcmp(order[i - 2]->key.name, name) != 0)
			continue;
		fail_at(path, order[i]->line, "a third key for a name", error);
		return error_hint(error, "lines %u and %u have the new and the old key for %s",
			order[i - 2]->line, order[i - 1]->line, name);
	}
	return 0;
}

/* Pointers are sorted, because qsort(3) may leave copies of what it sorts in memory. */
static int sort_rows(
	const char *path, const struct rows *rows, struct key_file *out, struct error *error)
{
	const struct row **order = calloc(rows->count + 1, sizeof(const struct row *));
	int result = -1;

	out->rows = calloc(rows->count + 1, sizeof(*out->rows));
	out->count = rows->count;
	if (order == NULL || out->rows == NULL) {
		error_set(error, EXIT_STATUS_LOCAL, "no memory for %zu keys", rows->count);
	} else {
		for (size_t i = 0; i < rows->count; i++)
			order[i] = &rows->all[i];
		qsort(order, rows->count, sizeof(const struct row *), compare_rows);
		result = copy_sorted(path, order, out, error);
	}
	free(order);
	if (result != 0)
		key_file_free(out);
	return result;
}

int key_file_load(const char *path, struct key_file *out, struct error *error)
{
	struct rows rows = {.path = path};
	size_t size = 0, capacity = 0;
	char *data = NULL;
	int result = -1;

	memset(out, 0, sizeof(*out));
	if (file_read_secret(path, FILE_MAX, &data, &size, error) != 0)
		return -1;
	capacity = count_lines(data, size);
	rows.all = calloc(capacity, sizeof(*rows.all));
	if (rows.all == NULL)
		error_set(error, EXIT_STATUS_LOCAL, "no memory for %zu keys", capacity);
	else if (read_keys(path, data, size, take_row, &rows, error) == 0)
		result = sort_rows(path, &rows, out, error);
	if (rows.all != NULL)
		secret_wipe(rows.all, rows.count * sizeof(*rows.all));
	free(rows.all);
	secret_wipe(data, size);
	free(data);
	return result;
}

void key_file_free(struct key_file *keys)
{
	if (keys->rows != NULL)
		secret_wipe(keys->rows, keys->count * sizeof(*keys->rows));
	free(keys->rows);
	memset(keys, 0, sizeof(*keys));
}

static int compare_name(const void *name, const void *key)
{
	return strcmp(name, ((const struct key *)key)->name);
}

const struct key *key_file_find(const struct key_file *keys, const char *name)
{
	const struct key *found;

	if (keys->count == 0)
		return NULL;
	found = bsearch(name, keys->rows, keys->count, sizeof(*keys->rows), compare_name);
	if (found != NULL && found > keys->rows && strcmp(found[-1].name, name) == 0)
		found--;
	return found;
}

int key_file_load_one(const char *path, const char *name, struct key *out, struct error *error)
{
	const struct key *found;
	char safe[128];
	struct key_file keys;
	int result = 0;

	if (key_file_load(path, &keys, error) != 0)
		return -1;
	found = key_file_find(&keys, name);
	if (found != NULL) {
		*out = *found;
	} else {
		text_escape(safe, sizeof(safe), path, strlen(path));
		error_set(error, EXIT_STATUS_LOCAL, "%s has no key for %s", safe, name);
		result = error_hint(error, "the line that natpunch keygen made belongs into it");
	}
	key_file_free(&keys);
	return result;
}

/* ---- changing a key ------------------------------------------------------------------------- */

/* A file as text, and where the lines of one name are: those are the bytes from `begin` to `end`.
 */
struct text {
	const char *name;
	char *data;
	size_t size;
	struct {
		size_t begin, end;
	} lines[2];
	size_t count;
};

static void free_text(struct text *text)
{
	if (text->data != NULL)
		secret_wipe(text->data, text->size);
	free(text->data);
}

static void note_line(struct text *text, size_t end)
{
	size_t begin = end - 1;

	while (begin > 0 && text->data[begin - 1] != '\n')
		begin--;
	if (text->count < 2) {
		text->lines[text->count].begin = begin;
		text->lines[text->count].end = end;
	}
	text->count++;
}

static int take_line(
	void *context, const struct key *key, const struct key_reader *file, struct error *error)
{
	struct text *text = context;

	(void)error;
	if (strcmp(key->name, text->name) == 0)
		note_line(text, file->offset);
	return 0;
}

/* Fails unless the name has so many keys: 1 or 2. */
static int check_count(const char *path, const char *name, const struct text *text, size_t wanted,
	struct error *error)
{
	char safe[128];

	if (text->count == wanted)
		return 0;
	text_escape(safe, sizeof(safe), path, strlen(path));
	if (text->count == 0) {
		error_set(error, EXIT_STATUS_LOCAL, "%s has no key for %s", safe, name);
		return error_hint(error, "natpunch keygen %s >>%s", name,
			text_escape_shell(safe, sizeof(safe), path));
	}
	if (text->count == 1)
		return error_set(error, EXIT_STATUS_LOCAL, "%s has no old key for %s", safe, name);
	error_set(error, EXIT_STATUS_LOCAL, "%s has an old key for %s already", safe, name);
	return error_hint(error,
		"the first line for %s is the new key: give it to home and the laptops first, "
		"then --remove-old; or take that line out to drop the change",
		name);
}

/* Fails as well unless the name has `wanted` keys. free_text() must follow in either case. */
static int read_text(
	const char *path, const char *name, size_t wanted, struct text *text, struct error *error)
{
	*text = (struct text){.name = name};
	if (file_read_secret(path, FILE_MAX, &text->data, &text->size, error) != 0) {
		text->data = NULL;
		return -1;
	}
	if (read_keys(path, text->data, text->size, take_line, text, error) != 0)
		return -1;
	return check_count(path, name, text, wanted, error);
}

/* Writes the text with `line` in the place of the bytes from `begin` to `end`. */
static int write_text(const char *path, const struct text *text, size_t begin, size_t end,
	const char *line, struct error *error)
{
	size_t middle = strlen(line);
	size_t size = text->size - (end - begin) + middle;
	char *data = malloc(size + 1);
	int result;

	if (data == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for %zu bytes", size);
	memcpy(data, text->data, begin);
	memcpy(data + begin, line, middle);
	memcpy(data + begin + middle, text->data + end, text->size - end);
	result = file_replace_content(path, data, size, error);
	secret_wipe(data, size);
	free(data);
	return result;
}

int key_file_check_one(const char *path, const char *name, struct error *error)
{
	struct text text;
	int result = read_text(path, name, 1, &text, error);

	free_text(&text);
	return result;
}

int key_file_put_new(const char *path, const struct key *key, struct error *error)
{
	char line[KEY_LINE_SIZE + 1];
	struct text text;
	int result = -1;

	key_format(key, line);
	memcpy(line + strlen(line), "\n", 2);
	if (read_text(path, key->name, 1, &text, error) == 0)
		result = write_text(
			path, &text, text.lines[0].begin, text.lines[0].begin, line, error);
	free_text(&text);
	secret_wipe(line, sizeof(line));
	return result;
}

int key_file_remove_old(const char *path, const char *name, struct error *error)
{
	struct text text;
	int result = -1;

	if (read_text(path, name, 2, &text, error) == 0)
		result = write_text(path, &text, text.lines[1].begin, text.lines[1].end, "", error);
	free_text(&text);
	return result;
}
