#!/bin/bash
# Run Valkey like the official image, in which the default of protected-mode is "no".
set -euo pipefail

if [[ "${1:-}" == -* || "${1:-}" == *.conf ]]; then
    set -- valkey-server "$@"
fi
# A configuration file has to be the first argument. It may set protected-mode itself.
if [[ "${1:-}" == valkey-server && "${2:-}" != *.conf ]]; then
    set -- valkey-server --protected-mode no "${@:2}"
fi
exec "$@"
