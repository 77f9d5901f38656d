#!/bin/sh
# A NAT that answers strangers with a reset: what natpunch says of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try port-restricted-rst endpoint-independent address-and-port-dependent
