/*
 * pids NS...: prints the processes in these network namespaces of ip-netns(8), each on a line. What
 * `ip netns pids` does, for all of them in one look at /proc.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#define NAMESPACES_MAX 32

int main(int argc, char **argv)
{
	struct stat known[NAMESPACES_MAX], own;
	struct dirent *entry;
	int count = 0;
	char path[300];
	DIR *proc = opendir("/proc");

	for (int i = 1; i < argc && count < NAMESPACES_MAX; i++) {
		snprintf(path, sizeof(path), "/run/netns/%s", argv[i]);
		count += stat(path, &known[count]) == 0;
	}
	while (proc != NULL && (entry = readdir(proc)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%s/ns/net", entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || stat(path, &own) != 0)
			continue;
		for (int i = 0; i < count; i++)
			if (own.st_ino == known[i].st_ino && own.st_dev == known[i].st_dev)
				puts(entry->d_name);
	}
	return proc != NULL ? 0 : 1;
}
