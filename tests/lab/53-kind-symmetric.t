#!/bin/sh
# A NAT that allocates a random port for each destination: what natpunch says of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try symmetric address-and-port-dependent address-and-port-dependent verify
