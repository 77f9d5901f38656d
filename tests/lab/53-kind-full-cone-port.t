#!/bin/sh
# A full cone that changes the port: what natpunch says of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try full-cone-port endpoint-independent endpoint-independent verify
