#!/bin/sh
# A router behind a provider's NAT: what natpunch says of them, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try double endpoint-independent address-and-port-dependent
