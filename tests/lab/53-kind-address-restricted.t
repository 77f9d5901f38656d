#!/bin/sh
# A NAT that filters by address: what natpunch says of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try address-restricted endpoint-independent address-dependent verify
