#!/bin/sh
# A random port for each destination: what is said of it, and whether that holds.

# shellcheck source=tests/lab/kind.sh
. "$(dirname "$0")/kind.sh"

kind_try symmetric address-and-port-dependent address-and-port-dependent verify
