#!/bin/bash
# Run Valkey like the official image, whose build changes the default of protected-mode to "no".
set -euo pipefail

if [[ "${1:-}" == -* || "${1:-}" == *.conf ]]; then
    set -- valkey-server "$@"
fi
# A configuration file has to be the first argument, and decides for itself.
if [[ "${1:-}" == valkey-server && "${2:-}" != *.conf ]]; then
    set -- valkey-server --protected-mode no "${@:2}"
fi
exec "$@"
