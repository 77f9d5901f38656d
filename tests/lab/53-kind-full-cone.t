#!/bin/sh
# A full cone that keeps the port: what natpunch says of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try full-cone endpoint-independent endpoint-independent
