#include "cmd/name_options.h"

static int usage_error(struct error *error, const struct command *row, const char *problem)
{
	error_set(error, EXIT_STATUS_USAGE, "%s", problem);
	return error_hint(error, "natpunch help %s", row->name);
}

static int settle(
	struct name_options *options, const struct option_reader *reader, struct error *error)
{
	const struct command *row = reader->command;

	if (common_options_settle(&options->common, error) != 0)
		return -1;
	if (reader->first_operand + 1 != reader->argc)
		return usage_error(error, row, "one NAME is needed");
	options->name = reader->argv[reader->first_operand];
	if (option_check_name(options->name, error) != 0)
		return -1;
	if (reflector_list_add_from_environment(&options->common.reflectors, error) != 0)
		return -1;
	if (options->common.reflectors.count == 0)
		return usage_error(error, row, "no reflector named: -r");
	if (options->key_path == NULL)
		return usage_error(error, row, "no key file named: -K");
	return 0;
}

int name_options_read(struct name_options *options, const struct command *row, int argc,
	char **argv, name_options_own *own, void *context, struct error *error)
{
	struct option_reader reader;
	int code;

	option_start(&reader, row, argc, argv);
	while ((code = common_options_next(&options->common, &reader, error)) > OPTION_END) {
		int result = code == 'K'
				     ? option_take_text(&reader, "file", &options->key_path, error)
				     : own(context, &reader, code, error);
		if (result != 0)
			return -1;
	}
	if (code == OPTION_ERROR)
		return -1;
	return options->common.help ? 0 : settle(options, &reader, error);
}
