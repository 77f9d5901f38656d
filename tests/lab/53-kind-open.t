#!/bin/sh
# No NAT: what is said of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try open none endpoint-independent
