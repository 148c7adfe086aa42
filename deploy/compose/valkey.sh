#!/bin/bash
# `valkey.sh serve` starts Valkey with the password of its secret file; `valkey.sh check` exits with 0 if it answers.
# The password is on no command line, which other processes could read.
set -euo pipefail

password="$(<"${SECRETS_FOLDER:-/run/secrets}/valkey_password")"

serve() {
    local complete="${TMPDIR:-/tmp}/valkey.conf"
    umask 077
    {
        cat "${VALKEY_CONFIGURATION:-/opt/orderly/valkey.conf}"
        printf '\nprotected-mode no\nrequirepass %s\n' "$password"
    } >"$complete"
    exec valkey-server "$complete"
}

# While Valkey loads its data, it answers PING with an error.
check() {
    local answer
    exec 3<>"/dev/tcp/127.0.0.1/${VALKEY_PORT:-6379}"
    printf 'AUTH %s\r\nPING\r\n' "$password" >&3
    read -r -t 3 answer <&3
    read -r -t 3 answer <&3
    [[ "$answer" == +PONG* ]]
}

"$1"
