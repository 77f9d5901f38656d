/*
 * A key file as the file system has it: permissions, kinds of file, duplicates, many names.
 */
#include "natpunch/os/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

static char directory[] = "/tmp/natpunch-keys-XXXXXX";
static char path[64];

static FILE *create(mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || fchmod(fd, mode) != 0)
		bail_out("cannot make %s", path);
	return fdopen(fd, "w");
}

static void put_line(FILE *file, const char *name, uint8_t byte)
{
	struct key key = {.name = ""};
	char line[KEY_LINE_SIZE];

	memcpy(key.name, name, strlen(name) + 1);
	memset(key.secret, byte, sizeof(key.secret));
	fprintf(file, "%s\n", key_format(&key, line));
}

static void test_modes(void)
{
	struct error error;
	struct key_file keys;

	for (unsigned mode = 0; mode < 0777; mode++) {
		FILE *file = create(mode);

		put_line(file, "home", 1);
		fclose(file);
		if (getuid() != 0 && (mode & 0400) == 0)
			continue;
		int result = key_file_load(path, &keys, &error);
		if (result != ((mode & 077) == 0 ? 0 : -1))
			fail("mode %03o gives %d", mode, result);
		if (result == 0)
			key_file_free(&keys);
	}
	fclose(create(0640));
	is_int(key_file_load(path, &keys, &error), -1, "readable by the group is refused");
	ok(strstr(error.text, "open to others (mode 640)") != NULL, "and says so: %s", error.text);
	ok(strstr(error.hint, "chmod 600 /tmp/") == error.hint, "and what to do: %s", error.hint);
	is_int(error.status, EXIT_STATUS_LOCAL, "this machine's fault");
}

static void test_contents(void)
{
	struct error error;
	struct key_file keys;
	struct key one;
	FILE *file = create(0600);

	put_line(file, "work", 1);
	put_line(file, "home", 2);
	fclose(file);
	is_int(key_file_load(path, &keys, &error), 0, "two names");
	is_uint(keys.count, 2, "are two");
	is_str(keys.rows[0].name, "home", "in order");
	is_int(key_file_find(&keys, "work")->secret[0], 1, "each with its key");
	ok(key_file_find(&keys, "wor") == NULL, "no name by its beginning");
	key_file_free(&keys);
	ok(keys.rows == NULL && key_file_find(&keys, "work") == NULL, "none after the end");
	is_int(key_file_load_one(path, "home", &one, &error), 0, "one name of it");
	is_int(one.secret[0], 2, "its key");
	is_int(key_file_load_one(path, "elsewhere", &one, &error), -1, "a name that is not in it");
	ok(strstr(error.text, "has no key for elsewhere") != NULL, "says so: %s", error.text);

	file = create(0600);
	put_line(file, "home", 9);
	put_line(file, "work", 5);
	fprintf(file, "\n# before\n");
	put_line(file, "home", 1);
	fclose(file);
	is_int(key_file_load(path, &keys, &error), 0, "a name twice, while it is changed");
	is_int(key_file_find(&keys, "home")->secret[0], 9, "the first line is the new one");
	is_int(key_file_find(&keys, "home")[1].secret[0], 1, "and the old one is behind it");
	is_int(key_file_find(&keys, "work")->secret[0], 5, "of others there is one");
	key_file_free(&keys);
	is_int(key_file_load_one(path, "home", &one, &error), 0, "one name of two lines");
	is_int(one.secret[0], 9, "has the new key");

	file = create(0600);
	put_line(file, "home", 1);
	put_line(file, "work", 1);
	fprintf(file, "\n# again\n");
	put_line(file, "home", 2);
	put_line(file, "home", 3);
	fclose(file);
	is_int(key_file_load(path, &keys, &error), -1, "a name three times");
	ok(strstr(error.text, "line 6: a third key for a name") != NULL, "is named: %s",
		error.text);
	is_str(error.hint, "lines 1 and 5 have the new and the old key for home",
		"with the others");

	file = create(0600);
	put_line(file, "home", 1);
	fprintf(file, "\033[31m damaged\n");
	fclose(file);
	is_int(key_file_load(path, &keys, &error), -1, "a bad line");
	ok(strstr(error.text, "line 2: not a name") != NULL, "is named: %s", error.text);
}

static const char *content(void)
{
	static char text[4096];
	int fd = open(path, O_RDONLY);
	ssize_t got = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return text;
}

/* What is refused leaves the file as it is. */
static void refuses(int result, const struct error *error, const char *problem)
{
	is_int(result, -1, "refused: %s", problem);
	ok(strstr(error->text, problem) != NULL, "and says so: %s", error->text);
}

static void test_change(void)
{
	struct key key = {.name = "home", .secret = {7}};
	char before[2048], line[KEY_LINE_SIZE], wanted[4096], link[80];
	struct stat status, now;
	struct error error;
	FILE *file = create(0400);

	fprintf(file, "# first\n\n \thome-is-another\n");
	fclose(file);
	refuses(key_file_put_new(path, &key, &error), &error, "line 3: no key behind the name");

	file = create(0400);
	fprintf(file, "# first\n\n");
	put_line(file, "work", 1);
	fprintf(file, "  ");
	put_line(file, "home", 2);
	fprintf(file, "# last, without an end");
	fclose(file);
	ok(chown(path, 65534, 65534) == 0 || getuid() != 0, "another user's file");
	stat(path, &status);
	snprintf(before, sizeof(before), "%s", content());
	refuses(key_file_remove_old(path, "home", &error), &error, "has no old key for home");
	snprintf(link, sizeof(link), "%s.link", path);
	ok(symlink("keys", link) == 0, "behind a link");
	refuses(key_file_put_new(link, &key, &error), &error, "it is a symbolic link");
	is_int(key_file_put_new(path, &key, &error), 0, "a new key is put");
	ok(lstat(link, &now) == 0 && S_ISLNK(now.st_mode), "the link stays");
	snprintf(wanted, sizeof(wanted), "%.*s%s\n%s", (int)(strstr(before, "  home") - before),
		before, key_format(&key, line), strstr(before, "  home"));
	is_str(content(), wanted, "before the present one, and all else is the same");
	ok(stat(path, &now) == 0 && now.st_mode == status.st_mode && now.st_uid == status.st_uid &&
			now.st_gid == status.st_gid,
		"its owner and its mode as well");
	refuses(key_file_put_new(path, &key, &error), &error, "has an old key for home already");
	is_str(error.hint,
		"the first line for home is the new key: give it to home and the laptops first, "
		"then --remove-old; or take that line out to drop the change",
		"nobody is told to remove the only key that home has");
	is_str(content(), wanted, "which changes nothing");
	is_int(key_file_remove_old(path, "home", &error), 0, "the old key is removed");
	snprintf(wanted, sizeof(wanted), "%.*s%s\n# last, without an end",
		(int)(strstr(before, "  home") - before), before, line);
	is_str(content(), wanted, "and nothing else");
	memcpy(key.name, "hom", 4);
	refuses(key_file_put_new(path, &key, &error), &error, "has no key for hom");
	ok(strstr(error.hint, "natpunch keygen hom >>/tmp/") == error.hint, "with a hint: %s",
		error.hint);
	unlink(link);
}

static void test_kinds(void)
{
	struct error error;
	struct key_file keys;

	unlink(path);
	is_int(key_file_load(path, &keys, &error), -1, "no file");
	is_int(key_file_load(directory, &keys, &error), -1, "a directory");
	ok(mkfifo(path, 0600) == 0, "made a fifo");
	is_int(key_file_load(path, &keys, &error), -1, "a fifo does not block");
	unlink(path);
	fclose(create(0600));
	is_int(key_file_load(path, &keys, &error), 0, "an empty file has no names");
	is_uint(keys.count, 0, "none");
	ok(key_file_find(&keys, "home") == NULL, "none is found");
	key_file_free(&keys);
}

static void test_many(unsigned count)
{
	struct error error;
	struct key_file keys;
	FILE *file = create(0600);
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "name-%u", (i * 7919U) % count);
		put_line(file, name, (uint8_t)i);
	}
	fclose(file);
	is_int(key_file_load(path, &keys, &error), count <= KEY_FILE_MAX ? 0 : -1, "%u names",
		count);
	if (count > KEY_FILE_MAX) {
		ok(strstr(error.text, "line 100001: more names") != NULL, "%s", error.text);
		return;
	}
	is_uint(keys.count, count, "all there");
	ok(key_file_find(&keys, "name-77777") != NULL, "one in the middle");
	key_file_free(&keys);
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		bail_out("no directory in /tmp");
	snprintf(path, sizeof(path), "%s/keys", directory);
	test_modes();
	test_contents();
	test_change();
	test_kinds();
	test_many(KEY_FILE_MAX);
	test_many(KEY_FILE_MAX + 1);
	unlink(path);
	rmdir(directory);
	return done_testing();
}
