#!/bin/sh
# One full cone behind another: what natpunch says of them, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try full-cone+full-cone-port endpoint-independent endpoint-independent
