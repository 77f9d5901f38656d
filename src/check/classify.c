#include "natpunch/check/classify.h"

#include <string.h>

#include "check/classify_tcp.h"
#include "check/classify_udp.h"

int classify_run(const struct mapping_race_request *request, const struct router_trial *trial,
	struct nat_report *report, struct error *error)
{
	int status;

	memset(report, 0, sizeof(*report));
	report->protocol = request->protocol;
	status = request->protocol == MAPPING_TCP ? classify_tcp(request, trial, report, error)
						  : classify_udp(request, trial, report, error);
	if (status == 0)
		nat_report_judge(report);
	return status;
}
