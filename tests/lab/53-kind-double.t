#!/bin/sh
# A router behind a carrier's NAT: what is said of them, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try double endpoint-independent address-and-port-dependent
