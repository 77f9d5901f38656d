#!/bin/sh
# A NAT that filters by address and port and changes the port: what natpunch says of it, and whether that
# holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try port-restricted-port endpoint-independent address-and-port-dependent
