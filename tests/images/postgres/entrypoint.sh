#!/bin/bash
# Run PostgreSQL like the official image: the first start makes the data folder with the help of a temporary server.
set -euo pipefail

initialise() {
    local password="${POSTGRES_PASSWORD:?must be set for the first start}"
    mkdir -p -m 700 "$PGDATA"
    initdb --pgdata="$PGDATA" --username=postgres --pwfile=<(printf '%s\n' "$password") \
        --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    # pg_ctl gets no log file, so that the temporary server logs to standard output.
    pg_ctl --pgdata="$PGDATA" --options="$(printf '%q ' "$@" -c listen_addresses= -p 5432)" --wait start
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

if [[ "${1:-}" == -* ]]; then
    set -- postgres "$@"
fi
if [[ "${1:-}" == postgres && ! -s "$PGDATA/PG_VERSION" ]]; then
    initialise "${@:2}"
fi
exec "$@"
